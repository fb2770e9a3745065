/*
 * The deduplication window of one partition; see memory_window_internal.h.
 */
#include "memory_window_internal.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "memory_log_internal.h"

enum { CAPACITY_FIRST = 64 };

static uint64_t capacity_bytes(uint32_t capacity)
{
    return capacity * (sizeof(struct memory_window_id) + sizeof(uint32_t));
}

void memory_window_init(struct memory_window *window, struct heap *heap,
                        struct memory_log_account *account, uint32_t count_max, uint64_t hash_seed)
{
    ps_assert(count_max > 0 && count_max <= 1U << 30); /* differences of numbers must be clear */
    *window = (struct memory_window){
        .heap = heap, .account = account, .count_max = count_max, .hash_seed = hash_seed};
}

static void free_memory(struct memory_window *window)
{
    window->account->bytes -= capacity_bytes(window->capacity);
    heap_free(window->heap, window->ids);
    heap_free(window->heap, window->newest);
}

void memory_window_deinit(struct memory_window *window)
{
    free_memory(window);
}

void memory_window_move(struct memory_window *window, struct heap *heap,
                        struct memory_log_account *account)
{
    window->account->bytes -= capacity_bytes(window->capacity);
    account->bytes += capacity_bytes(window->capacity);
    window->account = account;
    window->heap = heap;
}

static uint32_t count_of(const struct memory_window *window)
{
    return window->next - window->first;
}

static struct memory_window_id *id_at(const struct memory_window *window, uint32_t number)
{
    return &window->ids[number & (window->capacity - 1)];
}

static uint32_t *chain_of(const struct memory_window *window, struct record_id id)
{
    uint64_t hash = hash_bytes_seeded(window->hash_seed, &id, sizeof(id));
    return &window->newest[hash & (window->capacity - 1)];
}

void memory_window_expire(struct memory_window *window, uint32_t oldest_s)
{
    while (window->first != window->next && id_at(window, window->first)->added_s < oldest_s)
        window->first++;
}

uint64_t memory_window_find(const struct memory_window *window, struct record_id id)
{
    if (window->first == window->next)
        return 0;
    uint32_t age = 0; /* of the last one seen; a chain grows older, else it has left the window */
    for (uint32_t number = *chain_of(window, id);; number = id_at(window, number)->older) {
        uint32_t next_age = window->next - number;
        if (next_age <= age || next_age > count_of(window))
            return 0;
        age = next_age;
        if (record_id_equal(id_at(window, number)->id, id))
            return id_at(window, number)->sequence;
    }
}

static void link_newest(struct memory_window *window, uint32_t number)
{
    uint32_t *chain = chain_of(window, id_at(window, number)->id);
    id_at(window, number)->older = *chain;
    *chain = number;
}

static int grow(struct memory_window *window)
{
    struct memory_window larger = *window;
    larger.capacity = window->capacity > 0 ? 2 * window->capacity : CAPACITY_FIRST;
    larger.ids = heap_alloc(window->heap, larger.capacity * sizeof(larger.ids[0]));
    larger.newest = heap_alloc(window->heap, larger.capacity * sizeof(larger.newest[0]));
    if (larger.ids == NULL || larger.newest == NULL) {
        heap_free(window->heap, larger.ids);
        heap_free(window->heap, larger.newest);
        return -ENOMEM;
    }
    /* An empty chain names a number that has left already. */
    for (uint32_t chain = 0; chain < larger.capacity; chain++)
        larger.newest[chain] = window->first - 1;
    for (uint32_t number = window->first; number != window->next; number++) {
        *id_at(&larger, number) = *id_at(window, number);
        link_newest(&larger, number);
    }
    free_memory(window);
    *window = larger;
    window->account->bytes += capacity_bytes(larger.capacity);
    return 0;
}

int memory_window_reserve(struct memory_window *window)
{
    uint32_t count = count_of(window);
    return count == window->capacity && count < window->count_max ? grow(window) : 0;
}

bool memory_window_add(struct memory_window *window, struct record_id id, uint64_t sequence,
                       uint32_t now_s)
{
    bool is_full = count_of(window) >= ps_min_u32(window->count_max, window->capacity);
    window->first += is_full;
    uint32_t number = window->next++;
    *id_at(window, number) =
        (struct memory_window_id){.id = id, .sequence = sequence, .added_s = now_s};
    link_newest(window, number);
    return is_full;
}
