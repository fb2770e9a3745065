/*
 * One shard's handle of the memory driver: its requests that wait, and the partitions that it owns.
 *
 * Owner and thread: the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_MEMORY_HANDLE_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_MEMORY_HANDLE_INTERNAL_H

#include "broker_client/broker_driver.h"
#include "memory_log_internal.h"
#include "memory_store_internal.h"
#include "memory_window_internal.h"

enum { MEMORY_TURN_RECORDS_MAX = 4096 /* committed in one turn, over all partitions */ };

struct memory_partition {
    struct memory_log log;
    struct memory_window window;
    struct broker_queue appends;
    struct broker_pull *channel; /* the pull that waits */
    _Atomic uint64_t *tail;      /* for the other handles */
    uint16_t append_done;        /* records of the first append that have their results */
    bool is_due;                 /* something is to be done in the next turn */
};

struct memory_handle {
    struct broker broker;
    struct memory_store *store;
    struct memory_log_account account;
    struct memory_partition *partitions;
    uint32_t partition_count;
    uint32_t partition_first;     /* has the first go in the next turn */
    uint32_t due_count;           /* partitions that are due */
    struct broker_queue requests; /* all but appends and what waits */
    struct broker_queue answered; /* only their on_done is left to be called */
    uint32_t taken_count;         /* appends and requests */
    uint64_t append_bytes;        /* of appends that wait */
    struct memory_watch *watches;
    uint32_t watch_count;
    uint64_t watched_revision; /* the store's, when every watch had been told everything */
    uint64_t wall_ms;
    uint32_t now_s; /* monotonic */
    bool is_over;   /* records must go before more are taken */
    struct memory_log_scratch scratch;
};

static inline struct memory_handle *memory_handle_of(struct broker *broker)
{
    return ps_container_of(broker, struct memory_handle, broker);
}

/* What the partitions of a handle may still do in this turn. */
struct memory_turn {
    uint32_t records_left;
    bool has_more;
};

static inline struct memory_partition *memory_partition_of(struct memory_handle *handle,
                                                           uint16_t partition)
{
    return &handle->partitions[partition / handle->broker.options.shard_count];
}

/* Goes on with what an earlier handle gave back to the store, if there was one. */
void memory_partition_init(struct memory_handle *handle, struct memory_partition *partition,
                           uint16_t number);

/* Releases the records of the appends that wait; log and window are the store's again. */
void memory_partition_deinit(struct memory_handle *handle, struct memory_partition *partition,
                             uint16_t number);

/* 0 or -EAGAIN; takes references of its own on the records. */
int memory_partition_append(struct memory_handle *handle, struct broker_append *append);

/* Takes the waiting pull; -EAGAIN when there is one already. */
int memory_partition_channel(struct memory_handle *handle, struct broker_pull *pull);

/* False: it is not one of those that wait. */
bool memory_partition_cancel_append(struct memory_handle *handle, struct broker_append *append);

void memory_partition_trim(struct memory_handle *handle, struct memory_partition *partition,
                           uint64_t below);

/* Trims, feeds the channel, commits what waits, feeds the channel. */
void memory_partition_turn(struct memory_handle *handle, struct memory_partition *partition,
                           struct memory_turn *turn);

/* Removes the oldest records of the handle's partitions, by publish time, while it holds more than
 * it may. Result: true while it still does and can go on. */
bool memory_partition_retain(struct memory_handle *handle);

#endif
