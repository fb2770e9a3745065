/*
 * The send queue; see send_queue.h. A chunk with bytes of its own is one buffer of the cache that
 * begins with the chunk's header; the first is small, since most connections send little in a turn.
 */
#include "net/send_queue.h"

#include "core/base.h"
#include "core/buffer.h"

enum { CHUNK_BYTES_FIRST = 512, CHUNK_BYTES_LATER = 4096, CHUNK_BYTES_MUCH = 16384 };

struct send_chunk {
    struct send_chunk *next;
    const unsigned char *data; /* first unsent byte */
    size_t buffer_bytes;       /* of the buffer that holds this header */
    uint32_t bytes;            /* unsent */
    uint32_t room;             /* free bytes behind the unsent ones */
    void *reference;           /* NULL: the bytes are in this buffer */
};

static void append(struct send_queue *queue, struct send_chunk *chunk)
{
    if (queue->last == NULL)
        queue->first = chunk;
    else
        queue->last->next = chunk;
    queue->last = chunk;
}

unsigned char *send_queue_reserve(struct send_queue *queue, struct buffer_cache *cache,
                                  uint32_t bytes)
{
    struct send_chunk *chunk = queue->last;
    if (chunk == NULL || chunk->room < bytes) {
        size_t wanted = CHUNK_BYTES_FIRST;
        if (queue->unsent_bytes >= CHUNK_BYTES_LATER)
            wanted = CHUNK_BYTES_MUCH;
        else if (chunk != NULL)
            wanted = CHUNK_BYTES_LATER;
        size_t real_bytes = 0;
        chunk = buffer_acquire(cache, ps_max_u64(wanted, sizeof(*chunk) + bytes), &real_bytes);
        if (chunk == NULL)
            return NULL;
        *chunk = (struct send_chunk){
            .data = (unsigned char *)(chunk + 1),
            .buffer_bytes = real_bytes,
            .room = (uint32_t)(real_bytes - sizeof(*chunk)),
        };
        append(queue, chunk);
    }
    unsigned char *at = (unsigned char *)(uintptr_t)chunk->data + chunk->bytes;
    chunk->bytes += bytes;
    chunk->room -= bytes;
    queue->unsent_bytes += bytes;
    return at;
}

bool send_queue_borrow(struct send_queue *queue, struct buffer_cache *cache, const void *bytes,
                       uint32_t count, void *reference)
{
    size_t real_bytes = 0;
    struct send_chunk *chunk = buffer_acquire(cache, sizeof(*chunk), &real_bytes);
    if (chunk == NULL)
        return false;
    *chunk = (struct send_chunk){
        .data = bytes,
        .buffer_bytes = real_bytes,
        .bytes = count,
        .reference = reference,
    };
    append(queue, chunk);
    queue->unsent_bytes += count;
    return true;
}

uint32_t send_queue_vectors(const struct send_queue *queue, struct iovec *vectors,
                            uint32_t vectors_max, uint32_t *out_bytes)
{
    uint32_t count = 0;
    uint32_t bytes = 0;
    const struct send_chunk *chunk = queue->first;
    for (; chunk != NULL && count < vectors_max; chunk = chunk->next) {
        vectors[count++] = (struct iovec){
            .iov_base = (void *)(uintptr_t)chunk->data,
            .iov_len = chunk->bytes,
        };
        bytes += chunk->bytes;
    }
    *out_bytes = bytes;
    return count;
}

static void drop_first(struct send_queue *queue, struct buffer_cache *cache,
                       send_queue_release *release, void *context)
{
    struct send_chunk *chunk = queue->first;
    queue->first = chunk->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->unsent_bytes -= chunk->bytes;
    if (chunk->reference != NULL)
        release(context, chunk->reference);
    buffer_release(cache, chunk, chunk->buffer_bytes);
}

void send_queue_consume(struct send_queue *queue, struct buffer_cache *cache, uint32_t bytes,
                        send_queue_release *release, void *context)
{
    ps_assert(bytes <= queue->unsent_bytes);
    while (bytes != 0) {
        struct send_chunk *chunk = queue->first;
        if (bytes < chunk->bytes) {
            chunk->data += bytes;
            chunk->bytes -= bytes;
            queue->unsent_bytes -= bytes;
            return;
        }
        bytes -= chunk->bytes;
        drop_first(queue, cache, release, context);
    }
}

void send_queue_clear(struct send_queue *queue, struct buffer_cache *cache,
                      send_queue_release *release, void *context)
{
    while (queue->first != NULL)
        drop_first(queue, cache, release, context);
}
