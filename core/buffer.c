/*
 * The buffer cache; see buffer.h. A free buffer carries the link to the next one in its own first
 * bytes.
 */
#include "core/buffer.h"

#include "core/base.h"
#include "core/heap.h"

struct buffer_free {
    struct buffer_free *next;
};

static uint32_t class_of(size_t bytes)
{
    uint32_t class = 0;
    while (((size_t)BUFFER_BYTES_MIN << class) < bytes)
        class ++;
    return class;
}

void buffer_cache_init(struct buffer_cache *cache, struct heap *heap, size_t cached_bytes_max)
{
    *cache = (struct buffer_cache){.heap = heap, .cached_bytes_max = cached_bytes_max};
}

void buffer_cache_deinit(struct buffer_cache *cache)
{
    for (uint32_t class = 0; class < BUFFER_CLASSES; class ++) {
        while (cache->free[class] != NULL) {
            struct buffer_free *buffer = cache->free[class];
            ps_unpoison(buffer, (size_t)BUFFER_BYTES_MIN << class);
            cache->free[class] = buffer->next;
            heap_free(cache->heap, buffer);
        }
    }
    cache->cached_bytes = 0;
}

void *buffer_acquire(struct buffer_cache *cache, size_t bytes, size_t *out_bytes)
{
    uint32_t class = class_of(bytes);
    size_t real_bytes = (size_t)BUFFER_BYTES_MIN << class;
    if (class < BUFFER_CLASSES && cache->free[class] != NULL) {
        struct buffer_free *buffer = cache->free[class];
        ps_unpoison(buffer, real_bytes);
        cache->free[class] = buffer->next;
        cache->cached_bytes -= real_bytes;
        *out_bytes = real_bytes;
        return buffer;
    }
    void *buffer = heap_alloc(cache->heap, real_bytes);
    if (buffer != NULL)
        *out_bytes = real_bytes;
    return buffer;
}

void buffer_release(struct buffer_cache *cache, void *buffer, size_t bytes)
{
    uint32_t class = class_of(bytes);
    ps_assert(((size_t)BUFFER_BYTES_MIN << class) == bytes);
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
