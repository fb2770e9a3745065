/*
 * One partition's log in memory: references to records in blocks of 1,024, found by sequence in
 * O(1), and by topic or literal prefix through an index per block that is made when the first
 * reader asks for it. Appending and the channel's own reading never pay for an index.
 *
 * Owner and thread: the shard that owns the partition.
 */
#ifndef PENSTOCK_BROKER_CLIENT_MEMORY_LOG_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_MEMORY_LOG_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker_request.h"

struct heap;

enum {
    MEMORY_LOG_BLOCK_RECORDS = 1024,
    MEMORY_LOG_PREFIX_LEVELS = 3, /* prefixes of 1 to 3 levels are indexed */
    MEMORY_LOG_HINTS_MAX = 1024   /* a reader with more is given everything */
};

struct memory_log_index;

struct memory_log_block {
    struct memory_log_index *topics; /* NULL until a reader asked */
    struct memory_log_index *prefixes;
    struct record *records[MEMORY_LOG_BLOCK_RECORDS];
};

/* Over all logs of one handle. */
struct memory_log_account {
    uint64_t bytes; /* of records, blocks, indexes and deduplication windows */
    uint64_t records;
};

struct memory_log {
    struct heap *heap;
    struct memory_log_account *account;
    struct memory_log_block **blocks; /* ring by block number */
    struct memory_log_block *spare;   /* the last block freed, so that a boundary costs nothing */
    uint64_t first;                   /* oldest sequence that is kept; `next` when there is none */
    uint64_t next;                    /* the sequence of the next record; tail + 1 */
    uint64_t unreserved;              /* the first sequence whose block is not there */
    uint64_t trim_below;              /* asked for by trim, perhaps not yet done */
    uint64_t hash_seed;
    uint32_t block_capacity; /* of `blocks`; a power of two */
};

/* One hint, hashed. */
struct memory_log_hint {
    uint64_t hash;
    const struct broker_bytes *deep_prefix; /* set when it has more levels than are indexed */
};

/* A handle's scratch for one read. */
struct memory_log_scratch {
    uint16_t topic_count;
    uint16_t prefix_count;
    struct memory_log_hint hints[MEMORY_LOG_HINTS_MAX]; /* topics, then prefixes */
};

void memory_log_init(struct memory_log *log, struct heap *heap, struct memory_log_account *account,
                     uint64_t hash_seed);

/* An unused log begins at `sequence` instead of 1. */
void memory_log_start(struct memory_log *log, uint64_t sequence);

/* Releases every record. */
void memory_log_deinit(struct memory_log *log);

/* The log goes from one owner to another: its memory is the business of this heap and this account
 * from here on. Its indexes go. */
void memory_log_move(struct memory_log *log, struct heap *heap, struct memory_log_account *account);

static inline uint64_t memory_log_tail(const struct memory_log *log)
{
    return log->next - 1;
}

static inline bool memory_log_is_empty(const struct memory_log *log)
{
    return log->first == log->next;
}

/* The record at a kept sequence. */
static inline struct record *memory_log_at(const struct memory_log *log, uint64_t sequence)
{
    uint64_t position = sequence - 1;
    const struct memory_log_block *block =
        log->blocks[position / MEMORY_LOG_BLOCK_RECORDS & (log->block_capacity - 1)];
    return block->records[position % MEMORY_LOG_BLOCK_RECORDS];
}

/* Commits `record`, whose reference becomes the log's, and writes its sequence. 0 or -ENOMEM. */
int memory_log_append(struct memory_log *log, struct record *record);

/* The same in two steps, for a record whose commit comes later and may not fail then: room for
 * everything up to `sequence`, and the record, whose sequence is set and is the next one's. */
int memory_log_reserve(struct memory_log *log, uint64_t sequence);
void memory_log_put(struct memory_log *log, struct record *record);

/* Removes the oldest records below `below`, at most `count_max`. Result: how many went. */
uint32_t memory_log_remove(struct memory_log *log, uint64_t below, uint32_t count_max);

/* Fills in the answer to a pull with every record (`is_channel`), or with those its hint covers.
 * A hinted read looks at a bounded part of the log; what it takes comes off *work_left. Memory for
 * an index that cannot be had costs precision, not correctness. */
void memory_log_read(struct memory_log *log, struct broker_pull *pull, bool is_channel,
                     struct memory_log_scratch *scratch, uint32_t *work_left);

/* The index of one block, in memory_log_index.c. */

/* One bit per record of a block. */
struct memory_log_marks {
    uint64_t words[MEMORY_LOG_BLOCK_RECORDS / 64];
};

/* Hashes the hints of `hint` into `scratch`; false when there are too many. */
bool memory_log_hints_prepare(struct memory_log_scratch *scratch, const struct broker_hint *hint,
                              uint64_t hash_seed);

/* Marks the records of a block that the hints cover, and perhaps a few more, from sequence `begin`
 * (kept, and of this block) below `end`. Result: the work it took, in steps of some 10 ns. */
uint32_t memory_log_block_mark(struct memory_log *log, struct memory_log_block *block,
                               uint64_t begin, uint64_t end,
                               const struct memory_log_scratch *scratch,
                               struct memory_log_marks *out_marks);

/* Frees a block's indexes. */
void memory_log_block_forget(struct memory_log *log, struct memory_log_block *block);

#endif
