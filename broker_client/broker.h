/*
 * The broker as a shard sees it: a partitioned log of records, a small key-value store, and control
 * messages between gateways. Three drivers stand behind it (memory, embedded, jetstream); gateway.c
 * alone names one.
 *
 * Asynchronous and single-shard: each shard has a handle of its own and calls it from its thread
 * only. A call either refuses at once (-errno, and nothing will be called back) or takes the
 * request and later calls its on_done exactly once, always from broker_turn, never from inside the
 * call itself. The request structure belongs to the caller, is borrowed by the driver until
 * on_done, and may be used again from there. Every call may answer -EAGAIN when its bounded queue
 * is full: the caller tries again at a later turn.
 *
 * Numbers: a partition's sequences start at 1 and are never reused. "Tail" is the last committed
 * sequence, 0 when there was none. Only the partition's owner may append, relay, pull, trim and set
 * its channel.
 */
#ifndef PENSTOCK_BROKER_CLIENT_BROKER_H
#define PENSTOCK_BROKER_CLIENT_BROKER_H

#include "broker_client/broker_request.h"

struct ring;

/* News that no request asked for; called from broker_turn. */
struct broker_events {
    void *context;
    void (*on_control)(void *context, const char *gateway, struct broker_bytes message);
    void (*on_lease_lost)(void *context);
    void (*on_health)(void *context, bool is_healthy);
};

/* Read by the ledgers and the metrics; written by the handle's thread only. */
struct broker_counters {
    uint64_t appended_records;
    uint64_t duplicate_records;
    uint64_t refused_records;
    uint64_t relayed_records;
    uint64_t retention_records; /* removed by retention */
    uint64_t log_bytes;         /* now */
    uint64_t log_records;       /* now */
    uint64_t key_count;         /* now */
    uint64_t key_bytes;         /* now */
    uint64_t kind_count; /* now; keys that begin with the byte that the driver was told to count */
    uint64_t kind_expired;  /* of these, removed at the end of their time to live */
    uint64_t queue_full;    /* -EAGAIN answers */
    uint64_t full_commits;  /* BROKER_FULL answers */
    uint64_t refused_reads; /* gets and lists answered with BROKER_REFUSED */
    uint64_t early_ids;     /* deduplication ids forgotten before their time, by number */

    /* Of a driver that keeps its log on a disk. */
    uint64_t batches;         /* written */
    uint64_t batch_bytes;     /* of them */
    uint64_t sync_ns;         /* over all batches, from submission to completion */
    uint64_t longest_sync_ns; /* of one */
    uint64_t stalled_ns;      /* records waited for a segment to be written to */
    uint64_t segments_begun;
    uint64_t disk_failures;    /* writes, syncs, reads, files that could not be made */
    uint64_t damaged_blocks;   /* read, with a checksum that does not hold */
    uint64_t file_bytes;       /* now; of all segments */
    uint64_t held_bytes;       /* now; kept beyond retention for who still needs it */
    uint64_t tail_bytes;       /* now; of recent records in memory */
    uint64_t blocks_fetched;   /* by late readers */
    uint64_t blocks_shared;    /* which they found in memory, or on their way */
    uint64_t channel_waits;    /* turns in which a partition's appends waited for its channel */
    uint64_t full_tails;       /* times that there was no room for recent records */
    uint64_t waiting_reads;    /* now; pulls that the reader has no place for */
    uint64_t filters_loaded;   /* of closed segments */
    uint64_t filter_bytes;     /* now */
    uint64_t segments_skipped; /* by late readers, for what their filter says */
    uint64_t open_segments;    /* now; closed segments whose files are open */
    uint64_t segment_opens;    /* of these files, for late readers */
    uint64_t key_batches;      /* commits of the key-value store's file */
    uint64_t key_failures;     /* of that file: a commit, or anything else at it */
    uint64_t longest_key_commit_ns;
};

/* What gateway.c gives to a driver's create function, for each shard's handle. */
struct broker_options {
    struct heap *heap;
    uint32_t
        shard_index; /* this handle owns the partitions p with p mod shard_count == shard_index */
    uint32_t shard_count;
    const struct broker_events *events;
    struct ring *ring; /* the shard's; drivers that keep everything in memory do without */
    void (*wake)(void *context); /* makes this handle's shard call broker_turn soon; any thread */
    void *wake_context;
};

struct broker;

/* Does the work that is due and calls back. Called once a turn of the shard; `now_ns` is monotonic,
 * `wall_ms` since 1970. Result: true while there is more to do at once. */
bool broker_turn(struct broker *broker, uint64_t now_ns, uint64_t wall_ms);

/* When a turn is wanted although nothing happens (monotonic); UINT64_MAX: never. */
uint64_t broker_deadline_ns(const struct broker *broker);

/* Records of one partition, committed in this order. -EAGAIN: queue full; -EINVAL: not this
 * shard's. */
int broker_append(struct broker *broker, struct broker_append *append);

/* Unlogged: reaches the waiting pull of this partition on every *other* gateway, flagged
 * RECORD_RELAYED. The records are the caller's again when it returns; on one gateway alone it does
 * nothing. */
int broker_relay(struct broker *broker, uint16_t partition, struct record *const *records,
                 uint16_t count);

/* Narrows what the waiting pull is fed with. Answers, once that is in force, with the leader's
 * tail: every record above that tail and within the hint reaches the channel. */
int broker_channel_set(struct broker *broker, struct broker_tail *tail);
int broker_pull(struct broker *broker, struct broker_pull *pull);
int broker_tail(struct broker *broker, struct broker_tail *tail);

/* Records of `partition` below `below` are no longer needed by anybody on this gateway. */
int broker_trim(struct broker *broker, uint16_t partition, uint64_t below);

/* What retention must leave alone, until the next call: nothing from `needed_from` on is removed
 * (UINT64_MAX: nothing is needed), and segments with records from `wanted_from` on only beyond what
 * the driver may hold back for connected sessions. */
void broker_hold(struct broker *broker, uint16_t partition, uint64_t needed_from,
                 uint64_t wanted_from);

int broker_get(struct broker *broker, struct broker_get *get);
int broker_commit(struct broker *broker, struct broker_commit *commit);
int broker_list(struct broker *broker, struct broker_list *list);
int broker_watch(struct broker *broker, struct broker_watch *watch);

/* Ends a taken request: on_done follows with BROKER_CANCELLED, unless its answer was already on its
 * way. */
void broker_cancel(struct broker *broker, struct broker_request *request);

/* -ENETUNREACH when there is no such gateway (always, on one gateway alone). */
int broker_control_send(struct broker *broker, const char *gateway, struct broker_bytes message);
int broker_lease_refresh(struct broker *broker, uint64_t time_to_live_ms);

uint16_t broker_partition_count(const struct broker *broker);
uint16_t broker_partition_levels(const struct broker *broker);
/* The largest sum of topic, fields and payload bytes that a record may have. */
uint32_t broker_record_bytes_max(const struct broker *broker);
bool broker_is_atomic(const struct broker *broker);
/* Whether a loss of power may take back the last of the committed keys: what is committed is safe
 * when something that was asked for after its answer is committed. */
bool broker_may_take_back(const struct broker *broker);
bool broker_is_healthy(const struct broker *broker);
const struct broker_counters *broker_counters(const struct broker *broker);

/* Outstanding requests are given up without a callback; their references on records are released.
 */
void broker_destroy(struct broker *broker);

/* partition(topic) = xxh3(first `levels` levels) mod `partition_count`; levels 0, or a topic with
 * fewer levels: the whole topic is hashed. The hash is unseeded, for every gateway must agree. */
uint16_t broker_partition(const void *topic, uint32_t topic_bytes, uint16_t partition_count,
                          uint16_t levels);

#endif
