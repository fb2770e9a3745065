/*
 * The layout of an index file, shared by who writes it and who reads it: blocks, sections, header.
 * broker_client/README.md has it as a table. Stateless; any thread.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_INDEX_FORMAT_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_INDEX_FORMAT_INTERNAL_H

#include "core/wire_little.h"
#include "segment_index_internal.h"

enum {
    SEGMENT_INDEX_PAYLOAD_BYTES = SEGMENT_INDEX_BLOCK_BYTES - 8, /* then the checksum */
    SEGMENT_INDEX_PLACE_BYTES = 8,                               /* of sparse and postings */
    SEGMENT_INDEX_GROUP_BYTES = 12,
    SEGMENT_INDEX_ID_BYTES = 40,
    SEGMENT_FILTER_BUCKET_BYTES = 32,
    SEGMENT_FILTER_HASH_BITS = 12, /* of the filter for each hash */
    SEGMENT_INDEX_PLACES = SEGMENT_INDEX_PAYLOAD_BYTES / SEGMENT_INDEX_PLACE_BYTES,
    SEGMENT_INDEX_GROUPS = SEGMENT_INDEX_PAYLOAD_BYTES / SEGMENT_INDEX_GROUP_BYTES,
    SEGMENT_INDEX_IDS = SEGMENT_INDEX_PAYLOAD_BYTES / SEGMENT_INDEX_ID_BYTES,
    SEGMENT_INDEX_BUCKETS = SEGMENT_INDEX_PAYLOAD_BYTES / SEGMENT_FILTER_BUCKET_BYTES,
    SEGMENT_INDEX_HEADER_BYTES = 72, /* then the partitions, then the fences */
    SEGMENT_INDEX_PARTITION_BYTES = 56
};

/* Blocks that a section of that many entries takes. */
static inline uint32_t segment_index_blocks(uint32_t entries, uint32_t entries_per_block)
{
    return entries / entries_per_block + (entries % entries_per_block != 0);
}

static inline uint64_t segment_index_header_bytes(uint32_t partition_count, uint32_t fence_count)
{
    return SEGMENT_INDEX_HEADER_BYTES + (uint64_t)partition_count * SEGMENT_INDEX_PARTITION_BYTES +
           (uint64_t)fence_count * 4;
}

/* Buckets of the filter over that many hashes; see segment_filter_internal.h. */
static inline uint32_t segment_filter_buckets(uint32_t hashes)
{
    uint64_t bits = (uint64_t)hashes * SEGMENT_FILTER_HASH_BITS;
    return (uint32_t)((bits + SEGMENT_FILTER_BUCKET_BYTES * 8 - 1) /
                      (SEGMENT_FILTER_BUCKET_BYTES * 8));
}

/* The bucket of a hash: ascending with it. */
static inline uint32_t segment_filter_bucket(uint32_t hash, uint32_t bucket_count)
{
    return (uint32_t)((uint64_t)hash * bucket_count >> 32);
}

/* Where a bucket stands. */
static inline uint32_t segment_filter_block(const struct segment_index *index, uint32_t bucket,
                                            uint32_t *out_byte)
{
    uint32_t in_first =
        (SEGMENT_INDEX_PAYLOAD_BYTES - index->filter_byte) / SEGMENT_FILTER_BUCKET_BYTES;
    if (bucket < in_first) {
        *out_byte = index->filter_byte + bucket * SEGMENT_FILTER_BUCKET_BYTES;
        return index->filter_block;
    }
    bucket -= in_first;
    *out_byte = bucket % SEGMENT_INDEX_BUCKETS * SEGMENT_FILTER_BUCKET_BYTES;
    return index->filter_block + 1 + bucket / SEGMENT_INDEX_BUCKETS;
}

/* Behind the last block of the filter; without buckets its first. */
static inline uint32_t segment_filter_end_block(const struct segment_index *index)
{
    uint32_t byte;
    if (index->filter_buckets == 0)
        return index->filter_block;
    return segment_filter_block(index, index->filter_buckets - 1, &byte) + 1;
}

/* Sets a hash's bit in each word of its bucket. */
void segment_filter_add(unsigned char *bucket, uint32_t hash);
/* All of them are set. */
bool segment_filter_has(const unsigned char *bucket, uint32_t hash);

/* Zeroed but for its counts, with room for partitions and fences; NULL: memory is out. */
struct segment_index *segment_index_alloc(struct heap *heap, uint32_t partition_count,
                                          uint32_t fence_count);

/* Fills in where the sections are, from the counts. False: too large for 32-bit blocks. */
bool segment_index_lay_out(struct segment_index *index);

/* Writes the checksum of a block whose payload is there. */
void segment_index_block_seal(uint64_t seed, uint32_t block, unsigned char *bytes);

/* Writes segment_index_header_bytes() of it. */
void segment_index_header_encode(const struct segment_index *index, unsigned char *bytes);

#endif
