/*
 * The buffer cache; see buffer.h. A free buffer carries the link to the next one in its own first
 * bytes.
 */
#include "core/buffer.h"

#include <assert.h>

#include "core/base.h"
#include "core/heap.h"

struct buffer_free {
    struct buffer_free *next;
};

static_assert((BUFFER_BYTES_MIN << (BUFFER_CLASSES - 1)) == BUFFER_BYTES_CACHED_MAX, "classes");

/* The class whose buffers hold `bytes`; BUFFER_CLASSES when none does. */
static uint32_t class_of(size_t bytes)
{
    if (bytes > BUFFER_BYTES_CACHED_MAX)
        return BUFFER_CLASSES;
    if (bytes <= BUFFER_BYTES_MIN)
        return 0;
    return 64U - (uint32_t)__builtin_clzll((bytes - 1) / BUFFER_BYTES_MIN);
}

/* The size of a buffer of that class, or of one for `bytes` that no class holds. */
static size_t real_bytes_of(uint32_t class, size_t bytes)
{
    enum { PAGE_BYTES = 4096 };
    if (class < BUFFER_CLASSES)
        return (size_t)BUFFER_BYTES_MIN << class;
    return (bytes + PAGE_BYTES - 1) & ~(size_t)(PAGE_BYTES - 1);
}

static void *pop(struct buffer_cache *cache, uint32_t class)
{
    size_t bytes = real_bytes_of(class, 0);
    struct buffer_free *buffer = cache->free[class];
    ps_unpoison(buffer, bytes);
    cache->free[class] = buffer->next;
    cache->cached_bytes -= bytes;
    return buffer;
}

void buffer_cache_init(struct buffer_cache *cache, struct heap *heap, size_t cached_bytes_max)
{
    *cache = (struct buffer_cache){.heap = heap, .cached_bytes_max = cached_bytes_max};
}

void buffer_cache_deinit(struct buffer_cache *cache)
{
    ps_assert(cache->acquired_bytes == 0);
    for (uint32_t class = 0; class < BUFFER_CLASSES; class ++) {
        while (cache->free[class] != NULL)
            heap_free(cache->heap, pop(cache, class));
    }
}

void *buffer_acquire(struct buffer_cache *cache, size_t bytes, size_t *out_bytes)
{
    /* Beyond what a heap gives, and where rounding up would overflow. */
    if (bytes > HEAP_ALLOC_BYTES_MAX)
        return NULL;
    uint32_t class = class_of(bytes);
    size_t real_bytes = real_bytes_of(class, bytes);
    void *buffer;
    if (class < BUFFER_CLASSES && cache->free[class] != NULL) {
        buffer = pop(cache, class);
        cache->hits++;
    } else {
        buffer = heap_alloc(cache->heap, real_bytes);
        if (buffer == NULL)
            return NULL;
        cache->misses++;
    }
    cache->acquired_bytes += real_bytes;
    *out_bytes = real_bytes;
    return buffer;
}

void buffer_release(struct buffer_cache *cache, void *buffer, size_t bytes)
{
    uint32_t class = class_of(bytes);
    ps_assert(real_bytes_of(class, bytes) == bytes);
    ps_assert(cache->acquired_bytes >= bytes);
    cache->acquired_bytes -= bytes;
    if (class >= BUFFER_CLASSES || cache->cached_bytes + bytes > cache->cached_bytes_max) {
        heap_free(cache->heap, buffer);
        return;
    }
    struct buffer_free *free = buffer;
    free->next = cache->free[class];
    cache->free[class] = free;
    cache->cached_bytes += bytes;
    ps_poison(buffer, bytes);
}
