/*
 * What a connection has still to send: a list of chunks, each either bytes of its own or a borrowed
 * piece of somebody's memory with a reference. What a send leaves over stays where it is; only an
 * offset moves.
 *
 * Owner and thread: the connection, on its shard.
 */
#ifndef PENSTOCK_NET_SEND_QUEUE_H
#define PENSTOCK_NET_SEND_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

struct buffer_cache;
struct send_chunk;

struct send_queue {
    struct send_chunk *first;
    struct send_chunk *last;
    uint32_t unsent_bytes;
    uint32_t progress_tick; /* when the kernel last took bytes */
    uint32_t index;         /* in the pool that it came from */
    bool is_blocked;        /* waits for RING_WRITABLE */
    bool wants_drained;
};

/* Lets go of a borrowed piece. */
typedef void send_queue_release(void *context, void *reference);

/* Room for `bytes` contiguous bytes at the end; NULL: memory is out. */
unsigned char *send_queue_reserve(struct send_queue *queue, struct buffer_cache *cache,
                                  uint32_t bytes);

/* Adds a borrowed piece. False: memory is out; the reference is then still the caller's. */
bool send_queue_borrow(struct send_queue *queue, struct buffer_cache *cache, const void *bytes,
                       uint32_t count, void *reference);

/* Describes up to `vectors_max` pieces from the front; *out_bytes is their sum. Result: how many.
 */
uint32_t send_queue_vectors(const struct send_queue *queue, struct iovec *vectors,
                            uint32_t vectors_max, uint32_t *out_bytes);

/* Drops `bytes` from the front. */
void send_queue_consume(struct send_queue *queue, struct buffer_cache *cache, uint32_t bytes,
                        send_queue_release *release, void *context);

/* Drops everything. */
void send_queue_clear(struct send_queue *queue, struct buffer_cache *cache,
                      send_queue_release *release, void *context);

#endif
