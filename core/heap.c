/*
 * Heaps under a common byte budget; see heap.h. Each heap keeps its own count and settles with the
 * budget every HEAP_SLACK_BYTES, so that the hot path touches no shared cache line. The only file
 * that includes mimalloc.
 */
#include "core/heap.h"

#include <malloc.h>
#include <mimalloc.h>
#include <stdlib.h>

#include "core/base.h"

/* PS_SANITIZER is a constant, so the branch that is not taken is not compiled in. */
static inline void *allocator_alloc(size_t bytes)
{
    return PS_SANITIZER ? malloc(bytes) : mi_malloc(bytes);
}

static inline void *allocator_realloc(void *memory, size_t bytes)
{
    return PS_SANITIZER ? realloc(memory, bytes) : mi_realloc(memory, bytes);
}

static inline void allocator_free(void *memory)
{
    if (PS_SANITIZER)
        free(memory);
    else
        mi_free(memory);
}

static inline size_t allocator_bytes(void *memory)
{
    return PS_SANITIZER ? malloc_usable_size(memory) : mi_usable_size(memory);
}

void heap_init(struct heap *heap, struct heap_budget *budget)
{
    *heap = (struct heap){.budget = budget};
}

static void settle(struct heap *heap)
{
    atomic_fetch_add_explicit(&heap->budget->bytes_used, heap->bytes_unsettled,
                              memory_order_relaxed);
    heap->bytes_unsettled = 0;
}

void heap_deinit(struct heap *heap)
{
    settle(heap);
}

static void account(struct heap *heap, int64_t bytes)
{
    heap->bytes_unsettled += bytes;
    int64_t net = atomic_load_explicit(&heap->bytes_net, memory_order_relaxed) + bytes;
    atomic_store_explicit(&heap->bytes_net, net, memory_order_relaxed);
    if (ps_unlikely(heap->bytes_unsettled > HEAP_SLACK_BYTES ||
                    heap->bytes_unsettled < -HEAP_SLACK_BYTES))
        settle(heap);
}

/* True when an allocation of `bytes` may be tried. */
static bool is_allowed(struct heap *heap, size_t bytes)
{
    heap->allocations++;
    if (ps_unlikely(heap->allocations == heap->fail_at))
        goto refused;
    const struct heap_budget *budget = heap->budget;
    if (budget->bytes_max == 0)
        return true;
    int64_t used = atomic_load_explicit(&budget->bytes_used, memory_order_relaxed);
    if (ps_likely(used + heap->bytes_unsettled + (int64_t)bytes <= budget->bytes_max))
        return true;
refused:
    heap->failures++;
    return false;
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    ps_assert(bytes > 0);
    if (!is_allowed(heap, bytes))
        return NULL;
    void *memory = allocator_alloc(bytes);
    if (memory == NULL) {
        heap->failures++;
        return NULL;
    }
    account(heap, (int64_t)allocator_bytes(memory));
    return memory;
}

void *heap_zalloc(struct heap *heap, size_t bytes)
{
    void *memory = heap_alloc(heap, bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

void *heap_realloc(struct heap *heap, void *memory, size_t bytes)
{
    ps_assert(bytes > 0);
    if (!is_allowed(heap, bytes))
        return NULL;
    int64_t before = memory == NULL ? 0 : (int64_t)allocator_bytes(memory);
    void *moved = allocator_realloc(memory, bytes);
    if (moved == NULL) {
        heap->failures++;
        return NULL;
    }
    account(heap, (int64_t)allocator_bytes(moved) - before);
    return moved;
}

void heap_free(struct heap *heap, void *memory)
{
    if (memory == NULL)
        return;
    account(heap, -(int64_t)allocator_bytes(memory));
    allocator_free(memory);
}

int64_t heap_budget_bytes_used(const struct heap_budget *budget)
{
    return atomic_load_explicit(&budget->bytes_used, memory_order_relaxed);
}
