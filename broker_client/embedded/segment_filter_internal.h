/*
 * Filters of closed segments: what of a segment's index says in a few bits for each hash that the
 * hash is not there, so that a pull steps over segments that others filled without a look into
 * their directories.
 *
 * A filter is a row of buckets of 256 bits; a hash belongs to one of them and has a bit in each of
 * its eight words (12 bits a hash: some 0.5 % of the hashes that are not there look as if they
 * were). It stands in the index file, is read through the ring when a second look into the
 * segment's directory has found nothing, and kept while there is room: filters that were not used
 * for 10 s make room for others, younger ones do not, so that more segments than there is room for
 * do not chase each other.
 *
 * Owner and thread: the log reader; the handle's shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_FILTER_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_FILTER_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log_reader_internal.h"

enum {
    SEGMENT_FILTER_SLOTS = 1024, /* of the table by segment; longer chains beyond */
    SEGMENT_FILTER_LOADS_MAX = 4 /* on their way at a time */
};

struct segment_filter;
struct segment_filter_load;

struct segment_filters {
    struct log_store *store;
    struct ring *ring;
    struct heap *heap;
    struct log_reader_counters *counters; /* filter_* */
    uint64_t bytes_max;
    uint64_t now_ns; /* set by the owner each turn */
    uint64_t bytes;  /* of filters, and of buffers that are being read into */
    uint32_t load_count;
    struct segment_filter_load *loads; /* on their way */
    struct segment_filter *oldest;     /* ready: by last use */
    struct segment_filter *newest;
    struct segment_filter *table[SEGMENT_FILTER_SLOTS];
    uint64_t missed[SEGMENT_FILTER_SLOTS]; /* numbers of segments; one miss each */
};

/* Zeroed, and filled in down to bytes_max, it is ready. The ring has nothing of it any more here.
 */
void segment_filters_deinit(struct segment_filters *filters);

/* True: the hash is certainly not in that segment's directory. */
bool segment_filters_exclude(struct segment_filters *filters, const struct log_segment *segment,
                             uint32_t hash);

/* A look into the directory of a segment has found nothing, or a filter would have said so. The
 * caller holds the segment's files. */
void segment_filters_missed(struct segment_filters *filters, struct log_segment *segment);

/* A completed request: true if it was one of these. */
bool segment_filters_take(struct segment_filters *filters, struct ring_file_request *request);

#endif
