/*
 * The embedded driver: the log and the key-value store of one gateway on its own disk, so that one
 * host needs nothing else. One *store* per data directory (lock, manifest, recovery, segments,
 * keys, and a helper thread of its own), one *handle* per shard. Formats: broker_client/README.md.
 *
 *   append -> dedup -> batch of the shard's journal -> write, fdatasync (ring) -> tail -> results
 *   pull   <- tail of recent records | index and blocks of closed segments (ring, cached)
 *   keys   -> LMDB on the store's helper thread, batched
 *
 * Threads: embedded_store_open, _start and _close by one thread while no handle exists; each handle
 * by its shard. Between, handles meet in atomics and in the store's mutex, never held over IO.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"

struct log;

enum embedded_commit {
    EMBEDDED_COMMIT_SYNCED,  /* a record is committed when fdatasync has returned */
    EMBEDDED_COMMIT_WRITTEN, /* when it is written; synced within a second */
    EMBEDDED_COMMIT_MEMORY   /* at once; written and synced within a second */
};

/* 0 means the default where one is named. */
struct embedded_store_config {
    const char *directory; /* made if it is missing */
    enum embedded_commit commit;
    uint64_t retention_bytes;     /* of segment files; the oldest go beyond it; 0: never */
    uint64_t retention_age_ms;    /* records older than this go, by segments; 0: never */
    uint64_t hold_bytes;          /* of segments kept beyond that for connected sessions */
    uint64_t segment_bytes;       /* preallocated; 32 MiB */
    uint64_t tail_bytes;          /* recent records in memory, over all shards; 128 MiB */
    uint64_t cache_bytes;         /* blocks that late readers share, over all shards; 32 MiB */
    uint64_t filter_bytes_max;    /* of filters, over all shards; half of cache_bytes */
    uint64_t key_map_bytes;       /* address space of the key-value store; 16 GiB */
    uint64_t key_bytes_max;       /* of keys and values; 0: what the map holds */
    uint64_t deduplication_ms;    /* 120,000 */
    uint32_t deduplication_max;   /* ids remembered per partition; 8,192 */
    uint32_t record_bytes_max;    /* 0: the protocol's */
    uint32_t append_queue_bytes;  /* waiting per handle; 0: tail_bytes / 8 / shard_count */
    uint32_t requests_max;        /* taken per handle; 1,024 */
    uint32_t reads_max;           /* pulls from disk under way per handle; 64 */
    uint32_t segments_open_max;   /* closed ones whose two files are open; 256 */
    uint32_t deleted_entries_max; /* 16,384 */
    uint16_t watches_max;         /* per handle; 16 */
    uint16_t partition_count;
    uint16_t partition_levels;
    uint16_t shard_count;
    char counted_kind;
    uint64_t random_seed; /* for jitter, and the seed of a new directory's hashes */
    bool is_repair;       /* cut what is damaged instead of refusing it, saying what was cut */
};

/* What a start found; for the log line and the tests. */
struct embedded_recovery {
    uint64_t segments;
    uint64_t segments_scanned; /* that had no index */
    uint64_t indexes_damaged;  /* and were made again: no crash leaves one */
    uint64_t records;
    uint64_t log_bytes;
    uint64_t torn_bytes;     /* cut behind the last whole batch of a segment */
    uint64_t repaired_bytes; /* cut by is_repair */
    bool was_clean;          /* the run before ended in order */
    bool was_unsynced;       /* its commits were not synced */
};

enum { EMBEDDED_ERROR_BYTES = 512 };

struct embedded_store;

/* Locks the directory, checks or makes its manifest, recovers the log, opens the keys. 0, or -errno
 * with one line in `error` that says what is wrong and what helps: -EWOULDBLOCK (another gateway
 * has it), -EINVAL (other partitions than the directory has), -EPROTONOSUPPORT (format), -EBADMSG
 * (damage, and where), or what the system said. `heap` serves the store's own memory; `log` takes
 * lines about what was cut and about disk errors later. */
int embedded_store_open(const struct embedded_store_config *config, struct heap *heap,
                        struct log *log, struct embedded_store **out_store, char *error);

/* Descriptors that such a store may have open, while its helper thread keeps up. */
uint32_t embedded_store_descriptors_max(const struct embedded_store_config *config);

const struct embedded_recovery *embedded_store_recovery(const struct embedded_store *store);

/* Starts the store's helper thread (simulations do not, and call embedded_store_helper_turn, which
 * says whether there was a job to be run). */
int embedded_store_start(struct embedded_store *store);
bool embedded_store_helper_turn(struct embedded_store *store, uint64_t now_ns);

/* Every handle must be gone. With `is_clean` the numbers file says that the run ended in order. */
void embedded_store_close(struct embedded_store *store, bool is_clean);

/* The handle of shard options->shard_index; options->ring must be set. 0, -EINVAL or -ENOMEM.
 * broker_destroy waits for what the kernel and the helper thread have of it: a batch under way may
 * or may not be found at the next start; embedded_broker_is_idle tells when everything taken is
 * committed and answered. */
int embedded_broker_create(struct embedded_store *store, const struct broker_options *options,
                           struct broker **out_broker);
bool embedded_broker_is_idle(const struct broker *broker);

#endif
