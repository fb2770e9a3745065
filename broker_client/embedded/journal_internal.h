/*
 * A shard's journal: records gather into a batch while the batch before it is written and synced
 * through the ring; one write is under way at a time.
 *
 *   gather --(nothing under way)--> write + fdatasync --ok--> committed, in order
 *                                        | failed: the segment ends at its last synced batch, and
 *                                        v the batch goes whole into the next one, before any later
 *                                   new segment (prepared by the helper thread), written again
 *
 * It knows no partition's log: who appends is told when the batch that holds the record is
 * committed. A segment is left when the next batch does not fit, or when the owner asks
 * (journal_close_segment); the helper thread then indexes it.
 *
 * Owner and thread: the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_JOURNAL_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_JOURNAL_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log_store_internal.h"

struct ring;
struct ring_file_request;
struct journal;

enum {
    JOURNAL_BATCH_BYTES_MAX = 1 << 20, /* unless one record is larger */
    JOURNAL_PENDING_MAX = 65536        /* records in the two batches */
};

/* Where a record stands once its batch is committed. */
struct journal_place {
    struct log_segment *segment;
    uint64_t offset;
};

struct journal_events {
    void *context;
    /* Records of a batch, in the order they were added. The reference is the callee's from here. */
    void (*on_committed)(void *context, struct record *record, uint32_t bytes,
                         const struct log_segment *segment);
    /* First sequences for the header of a new segment: of every partition of the shard, the first
     * that is not committed. Result: how many. */
    uint16_t (*fill_partitions)(void *context, struct segment_partition *out, uint16_t max);
    /* A segment is being written now / has its index now. */
    void (*on_segment)(void *context, struct log_segment *segment);
    void (*on_indexed)(void *context, struct log_segment *segment);
    void (*on_health)(void *context, bool is_healthy);
};

struct journal_counters {
    uint64_t batches;
    uint64_t records;
    uint64_t bytes;    /* written, headers included */
    uint64_t failures; /* of writes and syncs */
    uint64_t segments; /* begun */
    uint64_t sync_ns;  /* sum over batches, from submission to completion */
    uint64_t longest_sync_ns;
    uint64_t stalled_ns; /* without a segment to write to */
};

/* 0 or -ENOMEM. */
int journal_create(struct log_store *store, struct ring *ring, struct heap *heap, uint16_t shard,
                   void (*wake)(void *), void *wake_context, const struct journal_events *events,
                   struct journal **out_journal);

/* Waits for what the kernel has; a prepared or written segment stays as it is. */
void journal_destroy(struct journal *journal);

/* Adds a record whose sequence and partition are set; encodes it at once, the reference is the
 * journal's. 0, or -EAGAIN: the gathering batch is full, after a turn there is room. */
int journal_add(struct journal *journal, struct record *record);

/* A completed file request of the shard's ring: true if it was this journal's, and is dealt with in
 * the next turn. */
bool journal_take(struct journal *journal, struct ring_file_request *request);

/* Answers for what is committed, submits what has gathered. `now_ns` for the pauses between
 * attempts. True: call again soon. */
bool journal_turn(struct journal *journal, uint64_t now_ns);

/* Earliest time at which a turn is wanted although nothing happens; UINT64_MAX: never. */
uint64_t journal_deadline_ns(const struct journal *journal);

void journal_close_segment(struct journal *journal);
bool journal_is_idle(const struct journal *journal);
const struct journal_counters *journal_counters(const struct journal *journal);

#endif
