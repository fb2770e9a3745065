/*
 * What is asked of memory on the way of a message: a buffer, a pooled object, an item of a table
 * with a million entries, a hash of a topic.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/buffer.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/pool.h"
#include "core/table.h"
#include "micro.h"

enum { HELD = 64, OBJECT_BYTES = 64, TEXT_MAX = 48, CACHED_BYTES_MAX = 1 << 20 };

struct item {
    uint64_t number;
};

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct buffer_cache buffers;
    struct pool pool;
    struct table table;
    struct item *items;
    uint64_t size;
    uint64_t next;
    uint64_t found; /* keeps the compiler from leaving the work out */
    char text[TEXT_MAX];
};

static uint64_t scatter(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15ULL >> 20;
}

static void *create(uint64_t size)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    heap_init(&subject->heap, &subject->budget);
    buffer_cache_init(&subject->buffers, &subject->heap, CACHED_BYTES_MAX);
    pool_init(&subject->pool, &subject->heap, OBJECT_BYTES, 1 << 20);
    table_init(&subject->table, &subject->heap);
    subject->size = size;
    snprintf(subject->text, sizeof(subject->text), "plant/7/line/3/temperature/of/the/oven");
    return subject;
}

static uint64_t hash_of(uint64_t number)
{
    return hash_bytes_seeded(42, &number, sizeof(number));
}

static void *create_table(uint64_t size)
{
    struct subject *subject = create(size);
    subject->items = calloc(size, sizeof(struct item));
    ps_assert(subject->items != NULL);
    for (uint64_t i = 0; i < size; i++) {
        subject->items[i].number = i;
        int result = table_insert(&subject->table, hash_of(i), &subject->items[i]);
        ps_assert(result == 0);
    }
    return subject;
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ps_assert(subject->found > 0);
    table_deinit(&subject->table);
    pool_deinit(&subject->pool);
    buffer_cache_deinit(&subject->buffers);
    ps_assert(subject->heap.bytes_net == 0);
    heap_deinit(&subject->heap);
    free(subject->items);
    free(subject);
}

static void run_buffer(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        size_t bytes = 0;
        void *buffer = buffer_acquire(&subject->buffers, subject->size, &bytes);
        ps_assert(buffer != NULL);
        subject->found += bytes;
        buffer_release(&subject->buffers, buffer, bytes);
    }
}

/* HELD objects at a time, so that each one released is not the next one acquired. */
static void run_pool(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    struct pool_handle handles[HELD];
    for (uint64_t i = 0; i < iterations; i += HELD) {
        for (uint32_t k = 0; k < HELD; k++) {
            void *object = pool_acquire(&subject->pool, &handles[k]);
            ps_assert(object != NULL);
        }
        for (uint32_t k = 0; k < HELD; k++)
            pool_release(&subject->pool, handles[k].index);
        subject->found += HELD;
    }
}

static bool matches(const void *item, const void *key)
{
    return ((const struct item *)item)->number == *(const uint64_t *)key;
}

static void run_table_find(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        uint64_t number = scatter(subject->next++) % subject->size;
        subject->found += table_find(&subject->table, hash_of(number), matches, &number) != NULL;
    }
}

static void run_hash(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        subject->text[0] = (char)i;
        subject->found += hash_bytes_seeded(42, subject->text, subject->size) | 1;
    }
}

const struct micro_case micro_memory_cases[] = {
    {"buffer/acquire_release/512", create, destroy, run_buffer, 512},
    {"buffer/acquire_release/4096", create, destroy, run_buffer, 4096},
    {"pool/acquire_release", create, destroy, run_pool, 0},
    {"table_find/1000", create_table, destroy, run_table_find, 1000},
    {"table_find/1000000", create_table, destroy, run_table_find, 1000000},
    {"hash_bytes_seeded/16", create, destroy, run_hash, 16},
    {"hash_bytes_seeded/38", create, destroy, run_hash, 38},
    {NULL, NULL, NULL, NULL, 0},
};
