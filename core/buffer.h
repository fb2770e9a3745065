/*
 * Byte buffers by power of two from 512 B to 64 KiB, kept in a LIFO per size so that the hot one is
 * used again; bigger ones come from and go to the heap. For partial packets and unsent bytes.
 *
 * Owner and thread: one shard.
 */
#ifndef PENSTOCK_CORE_BUFFER_H
#define PENSTOCK_CORE_BUFFER_H

#include <stddef.h>
#include <stdint.h>

struct heap;
struct buffer_free;

enum { BUFFER_BYTES_MIN = 512, BUFFER_BYTES_CACHED_MAX = 65536, BUFFER_CLASSES = 8 };

struct buffer_cache {
    struct heap *heap;
    struct buffer_free *free[BUFFER_CLASSES];
    size_t cached_bytes;     /* in the cache now */
    size_t cached_bytes_max; /* what is released beyond goes back to the heap */
    size_t acquired_bytes;   /* with the users now */
    uint64_t hits;           /* acquired from the cache */
    uint64_t misses;         /* acquired from the heap */
};

/* cached_bytes_max 0: nothing is kept. */
void buffer_cache_init(struct buffer_cache *cache, struct heap *heap, size_t cached_bytes_max);

/* Every buffer must have been released. */
void buffer_cache_deinit(struct buffer_cache *cache);

/* A buffer of at least `bytes`, aligned to 16, its contents undefined. *out_bytes is its real size:
 * a power of two up to BUFFER_BYTES_CACHED_MAX, whole pages beyond. NULL: memory is out. */
void *buffer_acquire(struct buffer_cache *cache, size_t bytes, size_t *out_bytes);

/* `bytes` is the real size that buffer_acquire gave. The memory is poisoned in sanitizer builds. */
void buffer_release(struct buffer_cache *cache, void *buffer, size_t bytes);

#endif
