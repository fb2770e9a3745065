/*
 * The index of a closed segment: made by reading the segment once, on the store's helper thread,
 * written as a file, and looked up by readers through blocks that they fetch themselves. Layout in
 * broker_client/README.md.
 *
 * segment_index_builder: fed with the segment's records in order, then written.
 * segment_index: what stays in memory of a written one; immutable, shared by shards.
 * segment_index_find_*: pure lookups in blocks that the caller has fetched and checked.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_INDEX_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_INDEX_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_client/broker_request.h"
#include "segment_internal.h"

struct heap;

enum {
    SEGMENT_INDEX_FORMAT = 3,
    SEGMENT_INDEX_BLOCK_BYTES = 16384,
    SEGMENT_INDEX_LEVELS = 3,        /* prefixes of 1 to 3 levels */
    SEGMENT_INDEX_SPARSE_EVERY = 32, /* records of a partition per sparse entry */
    SEGMENT_INDEX_IDS_MAX = 8192,    /* latest ids kept of each partition */
    SEGMENT_INDEX_DENSE_SHARE = 4,   /* a hash is dense with 1/4 of its partition's records */
    SEGMENT_INDEX_RARE_SHARE = 64    /* but not in a partition below 1/64 of the record bytes */
};

/* A dense hash has no postings: read all records of the partition. So has one that texts of two
 * partitions share, whose postings could not be told apart. */
#define SEGMENT_INDEX_DENSE UINT32_MAX

/* Of one partition in one segment. */
struct segment_index_partition {
    uint16_t partition;
    uint32_t records;
    uint64_t first; /* sequence; with no records the one that the segment's header names */
    uint64_t next;  /* last sequence + 1 */
    uint64_t oldest_ms;
    uint64_t newest_ms;
    uint64_t bytes; /* of its records in the file */
    uint32_t sparse_first;
    uint32_t sparse_count;
};

struct segment_index {
    uint64_t seed; /* segment_seed of the number */
    uint64_t number;
    uint64_t data_end; /* offset behind the last batch */
    uint32_t directory_count;
    uint32_t postings_count;
    uint32_t ids_count;
    uint32_t sparse_count;
    uint32_t sparse_block; /* first block of each section */
    uint32_t directory_block;
    uint32_t postings_block;
    uint32_t ids_block;
    uint32_t filter_block; /* of the first bucket, and where in it */
    uint32_t filter_byte;
    uint32_t filter_buckets;
    uint32_t block_count;
    uint64_t file_bytes;
    uint32_t partition_count;
    uint32_t fence_count;
    uint32_t *fences; /* first hash of each directory block; of the same memory */
    struct segment_index_partition partitions[]; /* in the order of the segment's header */
};

struct segment_index_builder;

/* NULL: memory is out. `hash_seed` is the directory's; `header` and its partitions are copied. */
struct segment_index_builder *
segment_index_builder_create(struct heap *heap, uint64_t hash_seed,
                             const struct segment_header *header,
                             const struct segment_partition *partitions);
/* Begins again, for another segment; what it has allocated stays. 0; -ENOMEM: to be destroyed. */
int segment_index_builder_reset(struct segment_index_builder *builder,
                                const struct segment_header *header,
                                const struct segment_partition *partitions);
void segment_index_builder_destroy(struct segment_index_builder *builder);

/* 0, -ENOMEM, -EBADMSG (a partition that the header does not name, or sequences that do not
 * ascend). */
int segment_index_builder_add(struct segment_index_builder *builder,
                              const struct segment_record *record);

/* What was added so far, for a segment whose records end at `data_end`: partitions' ranges. */
const struct segment_index_partition *
segment_index_builder_partitions(const struct segment_index_builder *builder, uint32_t *out_count);

/* What stays in memory of it, without postings and ids: for a segment of which nothing counts. Of
 * the builder's heap; NULL: memory is out. */
struct segment_index *segment_index_plan(const struct segment_index_builder *builder,
                                         uint64_t data_end);

/* Sorts, writes "<number>.new" in `directory` (core/disk.h), syncs, renames to .idx, syncs the
 * directory. Out: what stays in memory (of the builder's heap), and the file, open for reading. 0
 * or -errno, and no .new is left; after a failed sync of the directory a whole .idx may be there.
 * Nothing is to be added any more; it may be tried again. */
int segment_index_write(struct segment_index_builder *builder, int directory, uint64_t data_end,
                        struct segment_index **out_index, int *out_fd);

/* Opens "<number>.idx" and reads its header; `seed` is the segment's. 0, -ENOENT, -EBADMSG (damage,
 * or of another segment), -EPROTONOSUPPORT, -ENOMEM, -EIO ... */
int segment_index_load(int directory, struct heap *heap, uint64_t seed, uint64_t number,
                       struct segment_index **out_index, int *out_fd);
void segment_index_destroy(struct heap *heap, struct segment_index *index);

/* Tells the ids of records that have one, ascending by sequence within a partition. 0, -EBADMSG,
 * -ENOMEM, -EIO ... */
struct segment_index_id {
    struct record_id id;
    uint64_t sequence;
    uint64_t publish_ms;
    uint16_t partition;
};
int segment_index_load_ids(int fd, struct heap *heap, const struct segment_index *index,
                           void *context,
                           void (*on_id)(void *context, const struct segment_index_id *id));

/* True: the checksum of block `block` of that segment's index holds. */
bool segment_index_block_check(uint64_t seed, uint32_t block, const void *bytes);

/* Reads one block of an index file, and checks it. 0, -EBADMSG, or what the disk said. */
int segment_index_read_block(int fd, uint64_t seed, uint32_t block, void *bytes);

/* The hash under which a topic (levels 0) or the prefix of its first `levels` levels stands. */
uint32_t segment_index_hash(uint64_t hash_seed, uint16_t partition, uint32_t levels,
                            const void *text, uint32_t text_bytes);

/* The block in which the directory has `hash`, if it has it (UINT32_MAX: it has not). A hash stands
 * in one block only, or begins the next. */
uint32_t segment_index_directory_block(const struct segment_index *index, uint32_t hash);

struct segment_index_group {
    uint32_t records;
    uint32_t first; /* posting, or SEGMENT_INDEX_DENSE */
};

/* Looks a hash up in that block. */
bool segment_index_find_group(const struct segment_index *index, uint32_t block, const void *bytes,
                              uint32_t hash, struct segment_index_group *out_group);

struct segment_index_posting {
    uint64_t sequence;
    uint64_t offset;
};

/* Where entry `entry` of the postings or of the sparse section stands, and its reading. */
uint32_t segment_index_posting_block(const struct segment_index *index, uint32_t entry);
uint32_t segment_index_sparse_block(const struct segment_index *index, uint32_t entry);
struct segment_index_posting segment_index_posting_read(const struct segment_index *index,
                                                        const struct segment_index_partition *of,
                                                        uint32_t entry, const void *block_bytes);
struct segment_index_posting segment_index_sparse_read(const struct segment_index *index,
                                                       const struct segment_index_partition *of,
                                                       uint32_t entry, const void *block_bytes);

#endif
