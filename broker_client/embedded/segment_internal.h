/*
 * The format of a segment, without IO: headers, batches, the scan. Layouts are in
 * broker_client/README.md. Stateless; any thread.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

#include "broker_client/record.h"

enum {
    SEGMENT_FORMAT = 2,
    SEGMENT_PAGE_BYTES = 4096,
    SEGMENT_ALIGNMENT = 8, /* of batches and of records in them */
    SEGMENT_BATCH_HEADER_BYTES = 32,
    SEGMENT_RECORDS_MAX = 1 << 24, /* of a batch; sequences of a segment span less than 2^32 */
    SEGMENT_NAME_BYTES = 24        /* "0123456789abcdef.seg" and a NUL */
};

struct segment_partition {
    uint16_t partition;
    uint64_t next; /* sequence of the first record that this segment can hold of it */
};

struct segment_header {
    uint64_t number;
    uint64_t run;
    uint64_t created_ms;
    uint16_t shard;
    uint16_t shard_count;
    uint16_t partition_count;
};

struct segment_batch {
    uint64_t number; /* in its segment, from 0 */
    uint32_t bytes;  /* header included */
    uint32_t records;
};

/* Of all checksums of a segment and of its index. The directory's `hash_seed` is in it, which no
 * client knows: a payload cannot hold what is taken for a batch. */
uint64_t segment_seed(uint64_t hash_seed, uint64_t number);

/* Of the checksum of a record of this partition, in the segment with that seed. */
static inline uint64_t segment_record_seed(uint64_t seed, uint16_t partition)
{
    return seed ^ (uint64_t)partition << 48;
}

/* "<number>.seg", in the directory "log"; `suffix` is "seg", "idx" or "new". */
void segment_name(uint64_t number, const char *suffix, char *out_name);
/* False: not such a name. */
bool segment_name_parse(const char *name, const char *suffix, uint64_t *out_number);

/* Bytes of a header for that many partitions: a multiple of SEGMENT_PAGE_BYTES. */
uint32_t segment_header_bytes(uint16_t partition_count);
/* Writes all segment_header_bytes() of it. `seed` is the segment's, here and below. */
void segment_header_encode(uint64_t seed, const struct segment_header *header,
                           const struct segment_partition *partitions, void *out_bytes);
/* The bytes it took; -ENODATA: its first page is zero, never written; -EAGAIN: `count` is too small
 * (SEGMENT_PAGE_BYTES say how many there are: segment_header_length); -EBADMSG; -EPROTONOSUPPORT:
 * another format. `out_partitions` has room for partitions_max (else -EBADMSG). */
long segment_header_decode(uint64_t seed, const void *bytes, size_t count,
                           struct segment_header *out_header,
                           struct segment_partition *out_partitions, uint32_t partitions_max);

/* What the first page of a header says of its whole length; 0: no header begins so. */
uint32_t segment_header_length(const void *page);

void segment_batch_encode(uint64_t seed, const struct segment_batch *batch, void *out_header);
/* Reads SEGMENT_BATCH_HEADER_BYTES. 0, or -EBADMSG: no batch header stands here. */
int segment_batch_decode(uint64_t seed, const void *header, struct segment_batch *out_batch);

/* Bytes of a record in a batch, of its encoded ones. */
static inline uint64_t segment_padded(uint64_t bytes)
{
    return (bytes + SEGMENT_ALIGNMENT - 1) & ~(uint64_t)(SEGMENT_ALIGNMENT - 1);
}

static inline uint64_t segment_record_bytes(const struct record *record)
{
    return segment_padded(record_encoded_bytes(record));
}

/* What a scan is told of each record of a whole batch; nothing is copied. */
struct segment_record {
    uint64_t offset; /* in the file */
    struct record_view view;
};

/* Checks one batch that stands whole at `bytes` (its header said how long) and tells of each of its
 * records, only if all are valid. 0, -EBADMSG, or what on_record gave (below 0), which ends it. */
int segment_batch_scan(uint64_t seed, uint64_t offset, const void *bytes,
                       const struct segment_batch *batch, void *context,
                       int (*on_record)(void *context, const struct segment_record *record));

/* The record header at `bytes` alone (88 bytes): partition, sequence and whole encoded length, not
 * checked by its checksum. False: cannot be one. For readers that step over other partitions. */
bool segment_record_peek(const void *bytes, uint16_t *out_partition, uint64_t *out_sequence,
                         uint32_t *out_bytes);

#endif
