/*
 * What one pull looks for: its hints as hashes, ascending, so that blocks of an index are met in
 * their order; and the lowest postings that they have, a bounded number of them.
 *
 * Owner and thread: the pull's read; the handle's shard. Texts are those of the pull's hint.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_READ_PLAN_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_READ_PLAN_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "segment_index_internal.h"

enum { READ_PLAN_HINTS_MAX = 1024 /* a pull with more is given everything */ };

struct read_hint {
    const struct broker_bytes *text;
    struct segment_index_group group; /* the reader's: what the segment at hand has of it */
    uint32_t hash;
    uint8_t levels; /* hashed; 0: a whole topic */
};

struct read_plan {
    uint64_t hash_seed;
    uint16_t partition;
    uint16_t hint_count;
    uint8_t levels_mask; /* bit n: some hint has that many levels hashed */
    struct read_hint hints[];
};

/* Everything is wanted, or more than can be looked up: no plan. */
bool read_plan_is_all(const struct broker_hint *hint);

/* NULL: memory is out. heap_free frees it. */
struct read_plan *read_plan_create(struct heap *heap, uint64_t hash_seed, uint16_t partition,
                                   const struct broker_hint *hint);

/* True: a hint covers the record's topic, by its bytes. Costs a hash and a search for each number
 * of levels that hints have, however many they are. */
bool read_plan_covers(const struct read_plan *plan, const struct record *record);

struct read_posting {
    uint64_t sequence;
    uint64_t offset;
    uint32_t hint; /* of the plan that it came from */
};

/* The lowest `max` of the postings that were added, ascending, each sequence once. */
struct read_postings {
    uint32_t count;
    uint32_t max;
    bool is_cut; /* some were left out: there may be more above the last one */
    struct read_posting entries[BROKER_PULL_RECORDS_MAX];
};

/* `max` is 1 to BROKER_PULL_RECORDS_MAX. */
static inline void read_postings_clear(struct read_postings *postings, uint32_t max)
{
    postings->count = 0;
    postings->max = max;
    postings->is_cut = false;
}

/* False: it was left out, and so is everything above it. */
bool read_postings_add(struct read_postings *postings, struct read_posting posting);

#endif
