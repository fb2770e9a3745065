/*
 * Reads of closed segments for one handle: pulls that begin below the memory tail. A pull looks its
 * hints up in the index of one segment after the other, gathers the places of the records from its
 * start on, and decodes them from blocks. Blocks, of indexes and of data, are fetched through the
 * ring into a bounded cache that all pulls of the handle share; a block that is on its way is
 * waited for, not fetched twice. A pull that wants everything, or a hint that a quarter of the
 * partition's records match, reads on from the sparse entries.
 *
 * Cost: a pull costs in proportion to what it gives and to the segments it looks into (one
 * directory block each), and is bounded: it answers with what it has after 16 segments, or where it
 * can after 256 blocks. A segment whose filter is in memory and knows none of the hints is stepped
 * over and does not count. More hints than 1,024 are taken as everything.
 *
 * A block that cannot be read, and a record whose checksum does not hold, is counted, told by one
 * log line per segment, and tried again after a pause (100 ms, doubling to 5 s): what was found
 * before it is given, the pull that begins there waits, others go on. Nothing is given from
 * outside of an extent, and nothing within is passed over.
 *
 * Owner and thread: the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_READER_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_READER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log_store_internal.h"

struct log_reader;
struct ring;
struct ring_file_request;

/* A partition as a reader sees it; the owner keeps it up to date. An extent is there until the
 * owner has told log_reader_forget. */
struct log_reader_partition {
    const struct log_extent *extents; /* ascending */
    uint32_t extent_count;
    uint64_t tail_first; /* sequences from here on are in memory: a read ends below */
};

struct log_reader_events {
    void *context;
    struct log_reader_partition (*partition)(void *context, uint16_t partition);
    /* The answer is filled in but for is_at_tail (false; `next` may be tail_first: the owner goes
     * on from memory if there is room). `removed` is what the owner had there, plus what
     * log_reader_forget took from under the pull before it was looked at; what was gone before the
     * pull is the owner's to tell. Records are borrowed until it returns, their topic_hash is 0.
     * The pull may be used again from here. From log_reader_turn only. */
    void (*on_read)(void *context, struct broker_pull *pull);
    void (*wake)(void *context); /* makes the shard call log_reader_turn soon; any thread */
    void *wake_context;
};

struct log_reader_counters {
    uint64_t records;
    uint64_t blocks_fetched;
    uint64_t blocks_shared;  /* found in the cache or on their way */
    uint64_t read_failures;  /* -EIO of the kernel; tried again */
    uint64_t damaged_blocks; /* a checksum that does not hold; the pull waits, and tries again */
    uint64_t filters_loaded;
    uint64_t filter_bytes;     /* now */
    uint64_t segments_skipped; /* by their filter, without a look into them */
};

struct log_reader_limits {
    uint64_t cache_bytes; /* of blocks, one at least; records larger than a block take half as much
                             more, and one record of any size */
    uint64_t filter_bytes_max; /* of filters */
    uint32_t reads_max;        /* > 0 */
};

/* Of the store its hash_seed, its log, its segments' references and files are used. 0 or -ENOMEM.
 */
int log_reader_create(struct log_store *store, struct ring *ring, struct heap *heap,
                      const struct log_reader_limits *limits,
                      const struct log_reader_events *events, struct log_reader **out_reader);
/* Pulls are given up without a callback. The ring has nothing of the reader any more: after
 * ring_file_drain or ring_destroy (core/ring_file.h), or with log_reader_is_idle. */
void log_reader_destroy(struct log_reader *reader);

/* 0, or -EAGAIN: reads_max are under way, or memory is out. */
int log_reader_pull(struct log_reader *reader, struct broker_pull *pull);
/* True: the pull was here and is the caller's again, without a callback. */
bool log_reader_cancel(struct log_reader *reader, struct broker_pull *pull);

/* Extents of this partition below `below` go, and are not looked at from here; pulls on them
 * answer with what they have, or go on from `below`. The view still has them. */
void log_reader_forget(struct log_reader *reader, uint16_t partition, uint64_t below);

/* A completed file request of the shard's ring: true if it was this reader's. */
bool log_reader_take(struct log_reader *reader, struct ring_file_request *request);

/* Goes on with pulls for so many steps, of some 0.1 to 0.5 us, and calls back. True: call again
 * soon.
 */
bool log_reader_turn(struct log_reader *reader, uint32_t steps_max, uint64_t now_ns);
uint64_t log_reader_deadline_ns(const struct log_reader *reader);
/* No pull, and nothing of it in the ring. */
bool log_reader_is_idle(const struct log_reader *reader);
const struct log_reader_counters *log_reader_counters(const struct log_reader *reader);

#endif
