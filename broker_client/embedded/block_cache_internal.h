/*
 * Blocks of 16 KiB of closed segments and their indexes, fetched through the shard's ring and kept,
 * least recently used first to go, in a bounded number of buffers that all reads of one handle
 * share. A block that is on its way is waited for, never fetched twice at a time.
 *
 * Whoever reads has a *holder*, which pins one block at a time: so a cache of one block serves any
 * number of readers, slowly, and nobody waits in a circle. Who finds every buffer pinned waits for
 * the next one that is not.
 *
 *   hold -> 0: holder->block is there          until the next hold or let_go
 *        -> -EINPROGRESS: on_ready comes       then hold again
 *        -> -EIO, -EBADMSG: the fetch failed   the next hold fetches again
 *
 * Index blocks come checked by their checksum. Data blocks are not: records are.
 *
 * Owner and thread: the handle's shard. A segment has a reference, and its files are held open,
 * while one of its blocks is fetched, not while it is kept.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_BLOCK_CACHE_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_BLOCK_CACHE_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log_reader_internal.h"

enum {
    BLOCK_BYTES = SEGMENT_INDEX_BLOCK_BYTES,
    BLOCK_FETCHES_AHEAD_MAX = 64 /* on their way, beyond which nothing is fetched ahead */
};

struct block_cache;

struct block_place {
    struct log_segment *segment;
    uint32_t block; /* offset / BLOCK_BYTES */
    bool is_index;
};

struct block {
    const unsigned char *bytes;
    uint32_t count; /* BLOCK_BYTES but at the end of the file */
};

/* Zeroed by its owner, and there until block_cache_let_go. */
struct block_holder {
    struct block *block;       /* pinned, if any; on its way while is_waiting */
    struct block_holder *next; /* among those who wait for the same */
    bool is_waiting;           /* on_ready will come */
};

struct block_cache_events {
    void *context;
    void (*on_ready)(void *context, struct block_holder *holder); /* from take and from let_go */
};

/* `bytes_max` is of buffers, which are allocated when first needed; one is always allowed.
 * `counters` is the caller's: blocks_* and read_failures, damaged_blocks of index blocks. 0 or
 * -ENOMEM. */
int block_cache_create(struct log_store *store, struct ring *ring, struct heap *heap,
                       uint64_t bytes_max, struct log_reader_counters *counters,
                       const struct block_cache_events *events, struct block_cache **out_cache);

/* The ring has nothing of it any more: nothing is on its way, or the ring was destroyed. */
void block_cache_destroy(struct block_cache *cache);

/* As above; lets go of another block that the holder had. The caller holds the segment's files.
 * -ENOMEM: not one buffer; -EAGAIN: the ring takes no more; for both: later. Not while is_waiting.
 */
int block_cache_hold(struct block_cache *cache, struct block_holder *holder,
                     const struct block_place *place);

/* Ends a hold or a wait; nothing when there is none. */
void block_cache_let_go(struct block_cache *cache, struct block_holder *holder);

/* The block does not hold what it should: the next hold fetches it again. */
void block_cache_discard(struct block_cache *cache, const struct block_place *place);

/* Fetches the block for a hold to come, if there is room for it and few are on their way. */
void block_cache_fetch_ahead(struct block_cache *cache, const struct block_place *place);

/* A completed request: true if it was the cache's. */
bool block_cache_take(struct block_cache *cache, struct ring_file_request *request);

/* Nothing is on its way. */
bool block_cache_is_idle(const struct block_cache *cache);

#endif
