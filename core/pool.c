/*
 * Pools of fixed-size objects; see pool.h. A segment holds POOL_SEGMENT_OBJECTS objects and, before
 * them, a word for each: its generation and, while it is free, the link to the next free one.
 */
#include "core/pool.h"

#include "core/base.h"
#include "core/heap.h"

struct pool_slot {
    uint32_t generation; /* odd while acquired */
    uint32_t next_free;  /* index + 1 */
};

struct pool_segment {
    struct pool_slot slots[POOL_SEGMENT_OBJECTS];
    _Alignas(16) unsigned char objects[];
};

static struct pool_slot *slot_at(const struct pool *pool, uint32_t index)
{
    return &pool->segments[index / POOL_SEGMENT_OBJECTS]->slots[index % POOL_SEGMENT_OBJECTS];
}

static void *object_at(const struct pool *pool, uint32_t index)
{
    struct pool_segment *segment = pool->segments[index / POOL_SEGMENT_OBJECTS];
    return segment->objects + (size_t)(index % POOL_SEGMENT_OBJECTS) * pool->object_bytes;
}

void pool_init(struct pool *pool, struct heap *heap, uint32_t object_bytes, uint32_t count_max)
{
    *pool = (struct pool){
        .heap = heap,
        .object_bytes = (object_bytes + 15U) & ~15U,
        .count_max = count_max,
    };
}

void pool_deinit(struct pool *pool)
{
    ps_assert(pool->count == 0);
    for (uint32_t i = 0; i < pool->segment_count; i++) {
        struct pool_segment *segment = pool->segments[i];
        ps_unpoison(segment->objects, (size_t)pool->object_bytes * POOL_SEGMENT_OBJECTS);
        heap_free(pool->heap, segment);
    }
    heap_free(pool->heap, pool->segments);
    *pool = (struct pool){0};
}

static bool add_segment(struct pool *pool)
{
    if (pool->segment_count == pool->segment_capacity) {
        uint32_t capacity = pool->segment_capacity == 0 ? 16 : pool->segment_capacity * 2;
        struct pool_segment **grown =
            heap_realloc(pool->heap, pool->segments, capacity * sizeof(struct pool_segment *));
        if (grown == NULL)
            return false;
        pool->segments = grown;
        pool->segment_capacity = capacity;
    }
    size_t objects_bytes = (size_t)pool->object_bytes * POOL_SEGMENT_OBJECTS;
    struct pool_segment *segment =
        heap_alloc(pool->heap, sizeof(struct pool_segment) + objects_bytes);
    if (segment == NULL)
        return false;
    uint32_t first = pool->segment_count * POOL_SEGMENT_OBJECTS;
    for (uint32_t i = 0; i < POOL_SEGMENT_OBJECTS; i++) {
        uint32_t next = i + 1 < POOL_SEGMENT_OBJECTS ? first + i + 2 : pool->free_head;
        segment->slots[i] = (struct pool_slot){.generation = 0, .next_free = next};
    }
    ps_poison(segment->objects, objects_bytes);
    pool->segments[pool->segment_count++] = segment;
    pool->free_head = first + 1;
    return true;
}

void *pool_acquire(struct pool *pool, struct pool_handle *out_handle)
{
    if (pool->count >= pool->count_max)
        return NULL;
    if (pool->free_head == 0 && !add_segment(pool))
        return NULL;
    uint32_t index = pool->free_head - 1;
    struct pool_slot *slot = slot_at(pool, index);
    pool->free_head = slot->next_free;
    slot->generation++;
    pool->count++;
    void *object = object_at(pool, index);
    ps_unpoison(object, pool->object_bytes);
    memset(object, 0, pool->object_bytes);
    *out_handle = (struct pool_handle){.index = index, .generation = slot->generation};
    return object;
}

void pool_release(struct pool *pool, uint32_t index)
{
    struct pool_slot *slot = slot_at(pool, index);
    ps_assert(slot->generation % 2 == 1);
    slot->generation++;
    slot->next_free = pool->free_head;
    pool->free_head = index + 1;
    pool->count--;
    ps_poison(object_at(pool, index), pool->object_bytes);
}

void *pool_at(const struct pool *pool, uint32_t index)
{
    ps_assert(index / POOL_SEGMENT_OBJECTS < pool->segment_count);
    ps_assert(slot_at(pool, index)->generation % 2 == 1);
    return object_at(pool, index);
}

void *pool_get(const struct pool *pool, struct pool_handle handle)
{
    if (handle.index / POOL_SEGMENT_OBJECTS >= pool->segment_count)
        return NULL;
    if (handle.generation % 2 == 0 || slot_at(pool, handle.index)->generation != handle.generation)
        return NULL;
    return object_at(pool, handle.index);
}

uint32_t pool_index_count(const struct pool *pool)
{
    return pool->segment_count * POOL_SEGMENT_OBJECTS;
}

void *pool_peek(const struct pool *pool, uint32_t index)
{
    ps_assert(index < pool_index_count(pool));
    return slot_at(pool, index)->generation % 2 == 1 ? object_at(pool, index) : NULL;
}

uint32_t pool_generation(const struct pool *pool, uint32_t index)
{
    return slot_at(pool, index)->generation;
}
