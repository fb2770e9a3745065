/*
 * A shard's journal: records gather into a batch while the batch before it is written and synced
 * through the ring; one write is under way at a time.
 *
 *   gather --(nothing under way)--> write + fdatasync --ok--> committed, in order
 *                                        | failed: the segment ends at its last synced batch, and
 *                                        v all that is not synced goes whole into the next one,
 *                                   new segment (prepared by the helper thread), in order
 *
 * When a record is committed, and when the disk has it, by the store's mode:
 *   synced   when the fdatasync of its batch has returned
 *   written  when its batch is written; an fdatasync follows within half a second
 *   memory   in the turn after it was added; its batch is written when it is full or half a second
 *            old, the fdatasync follows as above
 * In the last two the journal keeps its reference until the fdatasync, to be able to write again.
 *
 * It knows no partition's log: who appends is told when records are committed. A segment is left
 * when the next batch does not fit, when the owner asks (journal_close_segment), or when messages
 * go by age and it was begun an eighth of that ago (at least a minute, or the age): else what is in
 * the open segment of a slow shard would stay for ever. The helper thread then indexes it.
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
    JOURNAL_PENDING_MAX = 65536,       /* records that are not synced */
    JOURNAL_RETIRED_MAX = 64           /* segments that wait for their index */
};

struct journal_events {
    void *context;
    /* Records in the order they were added. The references are the callee's from here. */
    void (*on_committed)(void *context, struct record *const *records, uint32_t count);
    /* For the header of a new segment: of every partition of the shard, ascending, the sequence
     * that the next record to be added has. Result: how many. */
    uint16_t (*fill_partitions)(void *context, struct segment_partition *out, uint16_t max);
    /* A segment was left: what is added from here on is in a later one. */
    void (*on_left)(void *context);
    /* A segment has its index now. The reference is the callee's. */
    void (*on_indexed)(void *context, struct log_segment *segment);
    void (*on_health)(void *context, bool is_healthy);
};

struct journal_counters {
    uint64_t batches;
    uint64_t bytes;    /* written, headers included */
    uint64_t failures; /* of writes, syncs, and of preparing and indexing segments */
    uint64_t segments; /* begun */
    uint64_t sync_ns;  /* sum over batches, from submission to completion */
    uint64_t longest_sync_ns;
    uint64_t stalled_ns; /* without a segment to write to */
};

/* 0 or -ENOMEM. */
int journal_create(struct log_store *store, struct ring *ring, struct heap *heap, uint16_t shard,
                   void (*wake)(void *), void *wake_context, const struct journal_events *events,
                   struct journal **out_journal);

/* Waits for what the kernel and the helper thread have. In the modes written and memory what is
 * committed is written and synced; in the mode synced what is not committed is given up. */
void journal_destroy(struct journal *journal);

/* Adds a record whose sequence and partition are set; encodes it at once, the reference is the
 * journal's. 0, or -EAGAIN: there is no room before a turn that comes after an event. */
int journal_add(struct journal *journal, struct record *record);

/* A completed file request of the shard's ring: true if it was this journal's, and is dealt with in
 * the next turn. */
bool journal_take(struct journal *journal, struct ring_file_request *request);

/* Tells what is committed, goes on with segments. */
void journal_turn(struct journal *journal, uint64_t now_ns);

/* Submits what has gathered; after what the turn adds. True: call again soon. */
bool journal_send(struct journal *journal, uint64_t now_ns);

/* Earliest time at which a turn is wanted although nothing happens; UINT64_MAX: never. */
uint64_t journal_deadline_ns(const struct journal *journal);

/* The current segment is left early, if something was written to it. True: that was not so before;
 * a turn is wanted. */
bool journal_close_segment(struct journal *journal);

/* The same if its number is below that one, which retention has reached; nor will a segment with
 * such a number be begun, however long ago it was prepared: what is written to it would go at once.
 */
void journal_leave_below(struct journal *journal, uint64_t number);

/* Everything that was added is committed. */
bool journal_is_idle(const struct journal *journal);

/* Everything is on the disk, and no helper job is under way. */
bool journal_is_at_rest(const struct journal *journal);
const struct journal_counters *journal_counters(const struct journal *journal);

#endif
