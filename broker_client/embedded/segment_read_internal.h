/*
 * One pull's way through closed segments: a machine that does a small step at a time, stops where a
 * block is missing, and goes on from there. `position` is at any time the sequence up to which
 * everything was looked at, so that a pull can be answered wherever it stands.
 *
 *   SEEK -> the extent at position --> OPEN: its files ------------------------.
 *    ^       | hints                           | everything, or a dense hint    | none left, or
 *    |       v                                 v                                | enough looked at
 *    |    DIRECTORY: each hint's group       SPARSE: search the entry           v
 *    |       v                                 v                              done
 *    |    POSTINGS: the lowest from       .> GROUP: where its 32 records begin  ^
 *    |     ^ v      position on           |    v                                | the answer is
 * full |     | |                            |  WALK: their places                 | |     | '---->
 * RECORDS: decode, filter, answer <--'  ----------------------' |     '-- more below limit --' |
 * '-- next group --'
 *    '------- limit reached --------'
 *
 * A walk steps over headers that no checksum covers alone. So it gives a group of 32 records only
 * when it met as many as the index says, ascending, below the next group's first sequence, and
 * where sequences are left out each with a checksum that holds, wanted or not: a bit that flipped
 * in any header cannot hide a record. What is found damaged later begins the group again.
 *
 * SEEK steps over a segment whose filter knows none of the hints.
 *
 * A posting can lead to a record of another partition: its text has the same 32 bits of hash, and
 * ours is not in this segment. If its checksum holds that hint has nothing here, and the round
 * begins again.
 *
 * Owner and thread: the log reader; the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_READ_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_READ_INTERNAL_H

#include "block_cache_internal.h"
#include "large_read_internal.h"
#include "log_reader_internal.h"
#include "read_plan_internal.h"
#include "segment_files_internal.h"
#include "segment_filter_internal.h"

enum {
    SEGMENT_READ_SEGMENTS_MAX = 16, /* looked at for one answer */
    SEGMENT_READ_BLOCKS_MAX = 256   /* after that an answer ends where it can */
};

/* What the reads of a handle share. */
struct segment_read_context {
    struct log_store *store;
    struct heap *heap;
    struct block_cache *cache;
    struct large_reads *large;
    struct segment_opener *opener;
    struct segment_filters *filters;
    struct log_reader_counters *counters;
    const struct log_reader_events *events;
};

enum segment_read_state {
    SEGMENT_READ_SEEK,
    SEGMENT_READ_OPEN,
    SEGMENT_READ_DIRECTORY,
    SEGMENT_READ_POSTINGS,
    SEGMENT_READ_SPARSE,
    SEGMENT_READ_GROUP,
    SEGMENT_READ_WALK,
    SEGMENT_READ_RECORDS
};

/* Bytes that stand in two blocks, put together. */
struct segment_read_straddle {
    uint64_t offset;
    uint32_t count;
    uint32_t have;
    unsigned char *bytes; /* BLOCK_BYTES; NULL until it is needed */
};

struct segment_read {
    struct broker_pull *pull;
    struct read_plan *plan; /* NULL: everything is wanted */
    uint64_t position;
    uint64_t answer_bytes;
    uint32_t segment_count; /* looked at for this answer */
    uint32_t block_count;
    enum segment_read_state state;
    bool is_walk;
    bool has_group;  /* of the segment at hand: some hint is in its directory */
    bool is_dense;   /* the group at hand leaves no sequence out */
    bool is_ended;   /* answer with what there is */
    bool has_files;  /* holds those of the segment at hand */
    bool is_opening; /* waits for them */
    int open_result; /* why they could not be opened; 0: nothing is known */
    struct block_holder holder;
    struct block_place place; /* that was held last */
    struct large_read *large;
    struct segment_read_straddle straddle;
    /* The segment at hand. */
    struct log_segment *segment;
    const struct segment_index *index;
    const struct segment_index_partition *of;
    uint64_t limit; /* position goes no further in this segment */
    /* Searches: in a group's postings, or in sparse entries; and at which hint. */
    uint32_t low;
    uint32_t high;
    uint32_t hint;
    /* A walk: at which group of 32 records, and how far in it. */
    uint32_t group;
    uint32_t group_records;
    uint32_t walked;
    uint32_t ahead;       /* blocks to fetch ahead */
    uint32_t ahead_next;  /* those of this segment below it were */
    uint64_t walk_offset; /* 0: not known */
    uint64_t group_offset;
    uint64_t walk_from; /* lowest sequence that can come */
    uint64_t walk_end;  /* sequence of the next group's first */
    /* Records to decode. */
    uint32_t posting;
    uint32_t record_bytes; /* of the one at hand; 0: its header was not read */
    bool is_foreign;       /* it says that it is another partition's */
    uint64_t covered;      /* position when all are done */
    struct read_postings postings;
};

/* Takes a pull; `read` is zero. 0 or -ENOMEM. */
int segment_read_begin(const struct segment_read_context *context, struct segment_read *read,
                       struct broker_pull *pull);

/* 0: go on; 1: the answer can be given, `position` is its next; -EINPROGRESS: on_ready of the cache
 * or of large reads comes, or while is_opening the opener's answer. Else it cannot go on here, and
 * may be tried again later: -EIO, -EBADMSG (counted), -ENOMEM, -EAGAIN. */
int segment_read_step(const struct segment_read_context *context, struct segment_read *read);

/* Leaves the segment at hand and whatever it waits for. */
void segment_read_leave(const struct segment_read_context *context, struct segment_read *read);

/* Gives everything back, the answer's records too. */
void segment_read_end(const struct segment_read_context *context, struct segment_read *read);

#endif
