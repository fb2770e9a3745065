/*
 * One shard's handle of the embedded driver: its requests, the partitions that it owns, and what
 * works for it: a journal, a reader, a port to the keys.
 *
 *   appends -join-> journal -committed-> tail (memory_log) -indexed-> evicted when room is short
 *              `--> joined (waits for its last record) -> on_done
 *
 * Owner and thread: the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_HANDLE_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_HANDLE_INTERNAL_H

#include "broker_client/broker_driver.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "embedded_keys_internal.h"
#include "journal_internal.h"
#include "log_reader_internal.h"
#include "log_store_internal.h"
#include "memory_log_internal.h"
#include "memory_window_internal.h"

struct embedded_store {
    struct log_store log;
    struct embedded_keys *keys;
    struct heap *heap;
    struct heap helper_heap;
    char *directory;
    _Atomic uint64_t wall_ms; /* of the handles' turns, within 100 ms */
    _Atomic uint32_t handle_count;
};

enum {
    EMBEDDED_TURN_RECORDS_MAX = 4096, /* join in one turn, over all partitions */
    EMBEDDED_CHANNEL_LAG_MAX = 4096   /* records that a partition may be ahead of its channel */
};

struct embedded_partition {
    struct memory_log log; /* the tail; `next` - 1 is the partition's committed tail */
    struct memory_window window;
    struct segment_index_id *recovered; /* ids from before this run, ascending by id */
    uint32_t recovered_count;
    uint64_t next;     /* of the next record that joins */
    uint64_t reserved; /* the first sequence that may not be used yet */
    struct log_jumps jumps;
    uint64_t covered; /* extents cover what is there below; from here on the tail alone has it */
    uint64_t needed_from; /* see broker_hold */
    uint64_t wanted_from;
    uint64_t held_bytes;        /* of extents that are kept beyond retention */
    struct log_extent *extents; /* ascending */
    uint32_t extent_count;
    uint32_t extent_capacity;
    struct broker_queue appends; /* not yet, or not whole, in the journal */
    struct broker_queue joined;  /* not yet, or not whole, committed */
    uint64_t joined_until;       /* when this is committed the first of them is; 0: not known yet */
    struct broker_pull *channel; /* the pull that waits */
    struct broker_hint channel_hint; /* its own one, while the reader has it */
    _Atomic uint64_t *tail;          /* for the other handles */
    uint16_t number;
    uint16_t append_joined;  /* records of the first append that have joined */
    bool is_channel_reading; /* the reader has it */
    bool is_due;             /* something is to be done in the next turn */
};

/* Makes more sequences usable, one partition after the other. */
struct embedded_reserve {
    struct helper_job job;
    struct log_store *store;
    struct embedded_partition *partition;
    uint64_t until;
    uint64_t retry_ns;
    uint64_t failures;
    int status;
    bool is_out;
    bool is_failing;
};

struct embedded_handle {
    struct broker broker;
    struct embedded_store *store;
    struct journal *journal;
    struct log_reader *reader;
    struct embedded_keys_port *keys;
    struct helper_port *port; /* of `reserve` */
    struct embedded_reserve reserve;
    struct memory_log_account account; /* of the tails */
    struct memory_log_account windows; /* of the deduplication windows */
    struct embedded_partition *partitions;
    uint32_t partition_count;
    uint32_t partition_first; /* has the first go in the next turn */
    uint32_t due_count;
    struct broker_queue requests; /* tails, and pulls that nobody has looked at */
    struct broker_queue reads;    /* pulls that wait for the reader to take more */
    struct broker_queue answered; /* only their on_done is left to be called */
    uint32_t reading_count;       /* pulls that the reader has, the channels' too */
    uint32_t taken_count;         /* appends, tails and pulls, but for channels */
    uint64_t append_bytes;        /* of appends that have not joined */
    uint64_t tail_bytes_max;
    uint64_t segment_bytes; /* memory of what joined the current segment */
    uint64_t log_records;
    uint64_t log_bytes;
    uint64_t held_bytes;
    uint64_t retain_seen; /* the store's retain_from when retention had its last look */
    uint64_t now_ns;
    uint64_t wall_ms;
    uint32_t now_s; /* monotonic */
    bool is_started;
    bool is_full;     /* the tail has no room, and nothing may be evicted */
    bool has_news;    /* a call came that the next turn has something to do for */
    bool is_hold_new; /* broker_hold was called since retention's last look */
    bool is_journal_failing;
    struct memory_log_scratch scratch;
};

static inline struct embedded_handle *embedded_handle_of(struct broker *broker)
{
    return ps_container_of(broker, struct embedded_handle, broker);
}

_Static_assert(offsetof(struct embedded_handle, broker) == 0, "begins with it");

static inline const struct embedded_handle *embedded_handle_of_const(const struct broker *broker)
{
    return (const struct embedded_handle *)(const void *)broker;
}

static inline struct heap *embedded_heap_of(const struct embedded_handle *handle)
{
    return handle->broker.options.heap;
}

static inline struct embedded_partition *embedded_partition_of(struct embedded_handle *handle,
                                                               uint16_t partition)
{
    return &handle->partitions[partition / handle->broker.options.shard_count];
}

static inline void embedded_set_due(struct embedded_handle *handle,
                                    struct embedded_partition *partition)
{
    handle->due_count += !partition->is_due;
    partition->is_due = true;
}

/* What the partitions of a handle may still do in this turn. */
struct embedded_turn {
    uint32_t records_left;
    bool has_more;
};

/* embedded_partition.c: appends, commits, channels. */

/* Takes over what recovery found. */
void embedded_partition_init(struct embedded_handle *handle, struct embedded_partition *partition,
                             uint16_t number);
/* Gives its extents back to the store; what waits is given up. */
void embedded_partition_deinit(struct embedded_handle *handle,
                               struct embedded_partition *partition);
/* The first turn: takes the ids that recovery found. */
void embedded_partition_start(struct embedded_handle *handle, struct embedded_partition *partition);

/* 0 or -EAGAIN; takes references of its own on the records. */
int embedded_partition_append(struct embedded_handle *handle, struct broker_append *append);
/* False: nothing of it can be cancelled any more. */
void embedded_partition_cancel_append(struct embedded_handle *handle, struct broker_append *append);
/* Takes the waiting pull; -EAGAIN when there is one already. */
int embedded_partition_channel(struct embedded_handle *handle, struct broker_pull *pull);
/* False: it is not the one that waits. */
bool embedded_partition_cancel_channel(struct embedded_handle *handle, struct broker_pull *pull);

/* The journal's: records are committed. */
void embedded_partition_committed(void *context, struct record *const *records, uint32_t count);

/* Tells what is committed, feeds the channel, lets appends join. */
void embedded_partition_turn(struct embedded_handle *handle, struct embedded_partition *partition,
                             struct embedded_turn *turn);

/* embedded_read.c: pulls. */

/* Answers from memory (true), or hands it to the reader (false with *out_status 0), which may be
 * busy (-EAGAIN). The answer's on_done is the caller's to call. */
bool embedded_read_begin(struct embedded_handle *handle, struct embedded_partition *partition,
                         struct broker_pull *pull, bool is_channel, uint32_t *work_left,
                         int *out_status);
/* The reader's two callbacks. */
struct log_reader_partition embedded_read_partition(void *context, uint16_t partition);
void embedded_read_done(void *context, struct broker_pull *pull);

/* embedded_retention.c: what goes, from memory and from the disk; numbers. */

/* The oldest sequence that is there; the next one when there is none. */
uint64_t embedded_oldest(const struct embedded_partition *partition);
/* Room for the extents of segments that are not indexed yet, so that they cannot fail. 0, -ENOMEM.
 */
int embedded_extents_reserve(struct embedded_handle *handle, struct embedded_partition *partition);
/* The journal's: a segment has its index; what it holds is covered from here on. */
void embedded_on_indexed(void *context, struct log_segment *segment);
void embedded_trim(struct embedded_handle *handle, struct embedded_partition *partition,
                   uint64_t below);
/* Removes trimmed records from the tail, some at a time. Result: there are more. */
bool embedded_trim_some(struct embedded_partition *partition);
/* Extents that retention takes, and the oldest of a tail that is too long. Result: there is more to
 * do. */
bool embedded_retain(struct embedded_handle *handle);
/* Has sequences reserved ahead. */
void embedded_reserve_turn(struct embedded_handle *handle);

/* embedded.c */
void embedded_update_health(struct embedded_handle *handle);

#endif
