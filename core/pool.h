/*
 * Fixed-size objects addressed by a small index, with a generation each, so that what refers to an
 * object can be a number that goes stale instead of a pointer that dangles. Grows by segments;
 * addresses are stable. Freed objects are poisoned in sanitizer builds.
 *
 * Owner and thread: one shard.
 */
#ifndef PENSTOCK_CORE_POOL_H
#define PENSTOCK_CORE_POOL_H

#include <stddef.h>
#include <stdint.h>

struct heap;
struct pool_segment;

struct pool_handle {
    uint32_t index;
    uint32_t generation; /* never 0 for an acquired object */
};

struct pool {
    struct heap *heap;
    struct pool_segment **segments;
    uint32_t segment_count;
    uint32_t segment_capacity; /* of the `segments` array */
    uint32_t object_bytes;
    uint32_t count;     /* acquired now */
    uint32_t count_max; /* acquired at most */
    uint32_t free_head; /* index + 1; 0: none */
};

enum { POOL_SEGMENT_OBJECTS = 256 };

void pool_init(struct pool *pool, struct heap *heap, uint32_t object_bytes, uint32_t count_max);

/* Everything must have been released. */
void pool_deinit(struct pool *pool);

/* A zeroed object, or NULL at count_max or when memory is out. */
void *pool_acquire(struct pool *pool, struct pool_handle *out_handle);

/* `index` names an acquired object; every handle to it is stale from here. */
void pool_release(struct pool *pool, uint32_t index);

/* The acquired object at `index`. */
void *pool_at(const struct pool *pool, uint32_t index);

/* For walking the pool a piece at a time: how many indexes there are, and the object at one of
 * them, or NULL when nothing is acquired there. */
uint32_t pool_index_count(const struct pool *pool);
void *pool_peek(const struct pool *pool, uint32_t index);

/* The object of a handle, or NULL when it was released since. */
void *pool_get(const struct pool *pool, struct pool_handle handle);

uint32_t pool_generation(const struct pool *pool, uint32_t index);

#endif
