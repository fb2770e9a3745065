/*
 * Reads of records that are larger than a block: each its own request with a buffer of its exact
 * length. All of one handle together are bounded in bytes, beyond which they wait; a single one is
 * always allowed.
 *
 * Owner and thread: the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LARGE_READ_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LARGE_READ_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log_store_internal.h"

struct ring;
struct ring_file_request;
struct large_read;

/* All of a handle; zeroed and filled in down to on_ready by its owner, who destroys none. */
struct large_reads {
    struct log_store *store;
    struct ring *ring;
    struct heap *heap;
    uint64_t bytes_max;
    void *context;
    /* The read of that owner is done; with NULL: there is room, for who waits for it. */
    void (*on_ready)(void *context, void *owner);
    uint64_t bytes;         /* of buffers */
    struct large_read *all; /* on their way, done, and given up */
};

/* Begins or goes on with the owner's one read; *read is NULL before and its own until
 * large_read_end. 0: *out_bytes is there; -EINPROGRESS: on_ready comes; -EIO; -EBADMSG: the file
 * ends before; -ENOMEM, -EAGAIN: later. After an error *read is NULL again. */
int large_read_get(struct large_reads *reads, struct large_read **read, void *owner,
                   struct log_segment *segment, uint64_t offset, uint32_t bytes,
                   const unsigned char **out_bytes);

/* Frees it, now or when it is done. NULL is none. */
void large_read_end(struct large_reads *reads, struct large_read **read);

/* A completed request: true if it was one of these. */
bool large_reads_take(struct large_reads *reads, struct ring_file_request *request);

/* Frees what is left; the ring has nothing of it any more. */
void large_reads_deinit(struct large_reads *reads);

#endif
