/*
 * The index of a closed segment, as its readers see it: loading what stays in memory, and lookups
 * in blocks; see segment_index_internal.h. The file may be damaged or made up: counts are checked
 * against each other and against the file before anything is allocated by them, and a lookup never
 * gives a place outside of the postings.
 *
 * Loading blocks (core/disk.h): the thread that opens the store. The rest: any thread, no state.
 */
#include <stddef.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/hash.h"
#include "core/heap.h"
#include "segment_index_format_internal.h"

/* Offsets of the header; README.md has them as a table. */
enum {
    AT_MAGIC = 0,
    AT_FORMAT = 8,
    AT_HEADER_BLOCKS = 12,
    AT_NUMBER = 16,
    AT_DATA_END = 24,
    AT_PARTITION_COUNT = 32,
    AT_DIRECTORY_COUNT = 36,
    AT_POSTINGS_COUNT = 40,
    AT_IDS_COUNT = 44,
    AT_SPARSE_BLOCK = 48,
    AT_DIRECTORY_BLOCK = 52,
    AT_POSTINGS_BLOCK = 56,
    AT_IDS_BLOCK = 60,
    AT_FILTER_BLOCK = 64,
    AT_ZERO = 68
};

static const unsigned char magic[8] = {'P', 'S', 'I', 'N', 'D', 'E', 'X', '1'};

#define SEED_STEP UINT64_C(0x9e3779b97f4a7c15)

static uint64_t block_checksum(uint64_t seed, uint32_t block, const void *bytes)
{
    return hash_bytes_seeded(seed ^ block, bytes, SEGMENT_INDEX_PAYLOAD_BYTES);
}

void segment_index_block_seal(uint64_t seed, uint32_t block, unsigned char *bytes)
{
    wire_little_store_u64(bytes + SEGMENT_INDEX_PAYLOAD_BYTES, block_checksum(seed, block, bytes));
}

bool segment_index_block_check(uint64_t seed, uint32_t block, const void *bytes)
{
    return wire_little_load_u64((const unsigned char *)bytes + SEGMENT_INDEX_PAYLOAD_BYTES) ==
           block_checksum(seed, block, bytes);
}

uint32_t segment_index_hash(uint64_t hash_seed, uint16_t partition, uint32_t levels,
                            const void *text, uint32_t text_bytes)
{
    uint64_t seed =
        hash_seed + ((uint64_t)partition * (SEGMENT_INDEX_LEVELS + 1) + levels + 1) * SEED_STEP;
    return (uint32_t)(hash_bytes_seeded(seed, text, text_bytes) >> 32);
}

struct segment_index *segment_index_alloc(struct heap *heap, uint32_t partition_count,
                                          uint32_t fence_count)
{
    size_t partitions_bytes = partition_count * sizeof(struct segment_index_partition);
    struct segment_index *index =
        heap_zalloc(heap, sizeof(*index) + partitions_bytes + fence_count * sizeof(uint32_t));
    if (index == NULL)
        return NULL;
    index->partition_count = partition_count;
    index->fence_count = fence_count;
    index->fences = (uint32_t *)(void *)&index->partitions[partition_count];
    return index;
}

void segment_index_destroy(struct heap *heap, struct segment_index *index)
{
    heap_free(heap, index);
}

/* The filter begins in the block in which the sparse entries end, if there is room for a bucket. */
static void lay_out_filter(struct segment_index *index)
{
    index->filter_buckets = segment_filter_buckets(index->directory_count);
    index->filter_block = index->sparse_block + index->sparse_count / SEGMENT_INDEX_PLACES;
    index->filter_byte = index->sparse_count % SEGMENT_INDEX_PLACES * SEGMENT_INDEX_PLACE_BYTES;
    if (index->filter_byte + SEGMENT_FILTER_BUCKET_BYTES > SEGMENT_INDEX_PAYLOAD_BYTES) {
        index->filter_block++;
        index->filter_byte = 0;
    }
}

bool segment_index_lay_out(struct segment_index *index)
{
    uint64_t header_bytes = segment_index_header_bytes(index->partition_count, index->fence_count);
    uint64_t block = (header_bytes + SEGMENT_INDEX_PAYLOAD_BYTES - 1) / SEGMENT_INDEX_PAYLOAD_BYTES;
    index->sparse_block = (uint32_t)block;
    lay_out_filter(index);
    block = ps_max_u64(block + segment_index_blocks(index->sparse_count, SEGMENT_INDEX_PLACES),
                       segment_filter_end_block(index));
    index->directory_block = (uint32_t)block;
    block += segment_index_blocks(index->directory_count, SEGMENT_INDEX_GROUPS);
    index->postings_block = (uint32_t)block;
    block += segment_index_blocks(index->postings_count, SEGMENT_INDEX_PLACES);
    index->ids_block = (uint32_t)block;
    block += segment_index_blocks(index->ids_count, SEGMENT_INDEX_IDS);
    index->block_count = (uint32_t)block;
    index->file_bytes = block * SEGMENT_INDEX_BLOCK_BYTES;
    return block < UINT32_MAX;
}

void segment_index_header_encode(const struct segment_index *index, unsigned char *bytes)
{
    memcpy(bytes + AT_MAGIC, magic, sizeof(magic));
    wire_little_store_u32(bytes + AT_FORMAT, SEGMENT_INDEX_FORMAT);
    wire_little_store_u32(bytes + AT_HEADER_BLOCKS, index->sparse_block);
    wire_little_store_u64(bytes + AT_NUMBER, index->number);
    wire_little_store_u64(bytes + AT_DATA_END, index->data_end);
    wire_little_store_u32(bytes + AT_PARTITION_COUNT, index->partition_count);
    wire_little_store_u32(bytes + AT_DIRECTORY_COUNT, index->directory_count);
    wire_little_store_u32(bytes + AT_POSTINGS_COUNT, index->postings_count);
    wire_little_store_u32(bytes + AT_IDS_COUNT, index->ids_count);
    wire_little_store_u32(bytes + AT_SPARSE_BLOCK, index->sparse_block);
    wire_little_store_u32(bytes + AT_DIRECTORY_BLOCK, index->directory_block);
    wire_little_store_u32(bytes + AT_POSTINGS_BLOCK, index->postings_block);
    wire_little_store_u32(bytes + AT_IDS_BLOCK, index->ids_block);
    wire_little_store_u32(bytes + AT_FILTER_BLOCK, index->filter_block);
    wire_little_store_u32(bytes + AT_ZERO, 0);
    unsigned char *at = bytes + SEGMENT_INDEX_HEADER_BYTES;
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *partition = &index->partitions[slot];
        wire_little_store_u16(at, partition->partition);
        wire_little_store_u16(at + 2, 0);
        wire_little_store_u32(at + 4, partition->records);
        wire_little_store_u64(at + 8, partition->first);
        wire_little_store_u64(at + 16, partition->next);
        wire_little_store_u64(at + 24, partition->oldest_ms);
        wire_little_store_u64(at + 32, partition->newest_ms);
        wire_little_store_u64(at + 40, partition->bytes);
        wire_little_store_u32(at + 48, partition->sparse_first);
        wire_little_store_u32(at + 52, partition->sparse_count);
        at += SEGMENT_INDEX_PARTITION_BYTES;
    }
    for (uint32_t fence = 0; fence < index->fence_count; fence++, at += 4)
        wire_little_store_u32(at, index->fences[fence]);
}

/* False: what this says cannot be. *sparse_count is the sum so far. */
static bool partition_decode(const unsigned char *at, uint32_t *sparse_count,
                             struct segment_index_partition *out_partition)
{
    struct segment_index_partition partition = {.partition = wire_little_load_u16(at),
                                                .records = wire_little_load_u32(at + 4),
                                                .first = wire_little_load_u64(at + 8),
                                                .next = wire_little_load_u64(at + 16),
                                                .oldest_ms = wire_little_load_u64(at + 24),
                                                .newest_ms = wire_little_load_u64(at + 32),
                                                .bytes = wire_little_load_u64(at + 40),
                                                .sparse_first = wire_little_load_u32(at + 48),
                                                .sparse_count = wire_little_load_u32(at + 52)};
    uint32_t expected = segment_index_blocks(partition.records, SEGMENT_INDEX_SPARSE_EVERY);
    if (partition.first == 0 || partition.next < partition.first ||
        partition.next - partition.first < partition.records ||
        (partition.records == 0) != (partition.next == partition.first) ||
        partition.sparse_first != *sparse_count || partition.sparse_count != expected ||
        partition.sparse_count > UINT32_MAX - *sparse_count)
        return false;
    *sparse_count += partition.sparse_count;
    *out_partition = partition;
    return true;
}

/* Everything behind the counts. 0 or -EBADMSG. */
static int header_decode(const unsigned char *bytes, struct segment_index *index)
{
    index->directory_count = wire_little_load_u32(bytes + AT_DIRECTORY_COUNT);
    index->postings_count = wire_little_load_u32(bytes + AT_POSTINGS_COUNT);
    index->ids_count = wire_little_load_u32(bytes + AT_IDS_COUNT);
    index->data_end = wire_little_load_u64(bytes + AT_DATA_END);
    index->number = wire_little_load_u64(bytes + AT_NUMBER);
    const unsigned char *at = bytes + SEGMENT_INDEX_HEADER_BYTES;
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        if (!partition_decode(at, &index->sparse_count, &index->partitions[slot]))
            return -EBADMSG;
        at += SEGMENT_INDEX_PARTITION_BYTES;
    }
    for (uint32_t fence = 0; fence < index->fence_count; fence++, at += 4) {
        index->fences[fence] = wire_little_load_u32(at);
        if (fence > 0 && index->fences[fence] <= index->fences[fence - 1])
            return -EBADMSG;
    }
    if (!segment_index_lay_out(index) ||
        index->sparse_block != wire_little_load_u32(bytes + AT_SPARSE_BLOCK) ||
        index->directory_block != wire_little_load_u32(bytes + AT_DIRECTORY_BLOCK) ||
        index->postings_block != wire_little_load_u32(bytes + AT_POSTINGS_BLOCK) ||
        index->ids_block != wire_little_load_u32(bytes + AT_IDS_BLOCK) ||
        index->filter_block != wire_little_load_u32(bytes + AT_FILTER_BLOCK))
        return -EBADMSG;
    return 0;
}

int segment_index_read_block(int fd, uint64_t seed, uint32_t block, void *bytes)
{
    size_t count = 0;
    int result = disk_read(fd, bytes, SEGMENT_INDEX_BLOCK_BYTES,
                           (uint64_t)block * SEGMENT_INDEX_BLOCK_BYTES, &count);
    if (result < 0)
        return result;
    return count == SEGMENT_INDEX_BLOCK_BYTES && segment_index_block_check(seed, block, bytes)
               ? 0
               : -EBADMSG;
}

/* 0 with what block 0 says of the header's size, or -errno. */
static int read_counts(int fd, uint64_t seed, uint64_t file_bytes, unsigned char *block,
                       uint32_t *out_partitions, uint32_t *out_fences, uint32_t *out_blocks)
{
    int result = segment_index_read_block(fd, seed, 0, block);
    if (result < 0)
        return result;
    if (memcmp(block + AT_MAGIC, magic, sizeof(magic)) != 0)
        return -EBADMSG;
    if (wire_little_load_u32(block + AT_FORMAT) != SEGMENT_INDEX_FORMAT)
        return -EPROTONOSUPPORT;
    uint32_t partitions = wire_little_load_u32(block + AT_PARTITION_COUNT);
    uint32_t fences = segment_index_blocks(wire_little_load_u32(block + AT_DIRECTORY_COUNT),
                                           SEGMENT_INDEX_GROUPS);
    uint64_t header_bytes = segment_index_header_bytes(partitions, fences);
    if (partitions > UINT16_MAX + 1 || header_bytes > file_bytes)
        return -EBADMSG;
    *out_partitions = partitions;
    *out_fences = fences;
    *out_blocks =
        (uint32_t)((header_bytes + SEGMENT_INDEX_PAYLOAD_BYTES - 1) / SEGMENT_INDEX_PAYLOAD_BYTES);
    return 0;
}

static int load(int fd, struct heap *heap, uint64_t seed, struct segment_index **out_index)
{
    uint64_t file_bytes = 0;
    uint32_t partitions = 0;
    uint32_t fences = 0;
    uint32_t blocks = 0;
    struct segment_index *index = NULL;
    unsigned char *header = NULL;
    unsigned char *block = heap_alloc(heap, SEGMENT_INDEX_BLOCK_BYTES);
    int result = block == NULL ? -ENOMEM : disk_size(fd, &file_bytes);
    if (result == 0)
        result = read_counts(fd, seed, file_bytes, block, &partitions, &fences, &blocks);
    if (result < 0)
        goto done;
    index = segment_index_alloc(heap, partitions, fences);
    header = heap_alloc(heap, (size_t)blocks * SEGMENT_INDEX_PAYLOAD_BYTES);
    result = index == NULL || header == NULL ? -ENOMEM : 0;
    for (uint32_t at = 0; at < blocks && result == 0; at++) {
        if (at > 0)
            result = segment_index_read_block(fd, seed, at, block);
        memcpy(header + (size_t)at * SEGMENT_INDEX_PAYLOAD_BYTES, block,
               SEGMENT_INDEX_PAYLOAD_BYTES);
    }
    if (result == 0)
        result = header_decode(header, index);
    if (result == 0 && index->file_bytes != file_bytes)
        result = -EBADMSG;
    if (result < 0)
        goto done;
    index->seed = seed;
    *out_index = index;
    index = NULL;
done:
    heap_free(heap, index);
    heap_free(heap, header);
    heap_free(heap, block);
    return result;
}

int segment_index_load(int directory, struct heap *heap, uint64_t seed, uint64_t number,
                       struct segment_index **out_index, int *out_fd)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, "idx", name);
    int fd = -1;
    int result = disk_open(directory, name, DISK_OPEN_READ, &fd);
    if (result < 0)
        return result;
    struct segment_index *index = NULL;
    result = load(fd, heap, seed, &index);
    if (result == 0 && index->number != number) {
        segment_index_destroy(heap, index);
        result = -EBADMSG;
    }
    if (result == 0) {
        *out_index = index;
        *out_fd = fd;
    } else {
        disk_close(fd);
    }
    return result;
}

int segment_index_load_ids(int fd, struct heap *heap, const struct segment_index *index,
                           void *context,
                           void (*on_id)(void *context, const struct segment_index_id *id))
{
    unsigned char *block = heap_alloc(heap, SEGMENT_INDEX_BLOCK_BYTES);
    int result = block == NULL ? -ENOMEM : 0;
    for (uint32_t entry = 0; entry < index->ids_count && result == 0; entry++) {
        uint32_t in_block = entry % SEGMENT_INDEX_IDS;
        if (in_block == 0)
            result = segment_index_read_block(fd, index->seed,
                                              index->ids_block + entry / SEGMENT_INDEX_IDS, block);
        if (result < 0)
            break;
        const unsigned char *at = block + in_block * SEGMENT_INDEX_ID_BYTES;
        const struct segment_index_id id = {
            .id = {wire_little_load_u64(at), wire_little_load_u64(at + 8)},
            .sequence = wire_little_load_u64(at + 16),
            .partition = wire_little_load_u16(at + 24),
            .publish_ms = wire_little_load_u64(at + 32)};
        on_id(context, &id);
    }
    heap_free(heap, block);
    return result;
}

/* One bit in each of the eight words of a bucket, by eight multiplications. */
static void filter_masks(uint32_t hash, uint32_t *out_masks)
{
    static const uint32_t salts[8] = {0x47b6137b, 0x44974d91, 0x8824ad5b, 0xa2b7289d,
                                      0x705495c7, 0x2df1424b, 0x9efc4947, 0x5c6bfb31};
    hash = (hash ^ hash >> 16) * 0x85ebca6b; /* those of a bucket have their upper bits in common */
    hash = (hash ^ hash >> 13) * 0xc2b2ae35;
    hash ^= hash >> 16;
    for (uint32_t word = 0; word < ps_array_count(salts); word++)
        out_masks[word] = UINT32_C(1) << (hash * salts[word] >> 27);
}

void segment_filter_add(unsigned char *bucket, uint32_t hash)
{
    uint32_t masks[8];
    filter_masks(hash, masks);
    for (uint32_t word = 0; word < ps_array_count(masks); word++, bucket += 4)
        wire_little_store_u32(bucket, wire_little_load_u32(bucket) | masks[word]);
}

bool segment_filter_has(const unsigned char *bucket, uint32_t hash)
{
    uint32_t masks[8];
    uint32_t missing = 0;
    filter_masks(hash, masks);
    for (uint32_t word = 0; word < ps_array_count(masks); word++, bucket += 4)
        missing |= masks[word] & ~wire_little_load_u32(bucket);
    return missing == 0;
}

uint32_t segment_index_directory_block(const struct segment_index *index, uint32_t hash)
{
    uint32_t low = 0;
    uint32_t high = index->fence_count;
    while (low < high) { /* fences below `low` are at or below the hash, from `high` on above */
        uint32_t middle = low + (high - low) / 2;
        if (index->fences[middle] <= hash)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? index->directory_block + low - 1 : UINT32_MAX;
}

bool segment_index_find_group(const struct segment_index *index, uint32_t block, const void *bytes,
                              uint32_t hash, struct segment_index_group *out_group)
{
    ps_assert(block >= index->directory_block && block < index->postings_block);
    const unsigned char *groups = bytes;
    uint32_t begin = (block - index->directory_block) * SEGMENT_INDEX_GROUPS;
    uint32_t low = 0;
    uint32_t high = ps_min_u32(SEGMENT_INDEX_GROUPS, index->directory_count - begin);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (wire_little_load_u32(groups + middle * SEGMENT_INDEX_GROUP_BYTES) < hash)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == ps_min_u32(SEGMENT_INDEX_GROUPS, index->directory_count - begin))
        return false;
    const unsigned char *at = groups + low * SEGMENT_INDEX_GROUP_BYTES;
    if (wire_little_load_u32(at) != hash)
        return false;
    struct segment_index_group group = {wire_little_load_u32(at + 4), wire_little_load_u32(at + 8)};
    /* What cannot be is read whole: more than asked, and nothing outside of the postings. */
    if (group.first > index->postings_count || group.records > index->postings_count - group.first)
        group.first = SEGMENT_INDEX_DENSE;
    *out_group = group;
    return true;
}

uint32_t segment_index_posting_block(const struct segment_index *index, uint32_t entry)
{
    return index->postings_block + entry / SEGMENT_INDEX_PLACES;
}

uint32_t segment_index_sparse_block(const struct segment_index *index, uint32_t entry)
{
    return index->sparse_block + entry / SEGMENT_INDEX_PLACES;
}

static struct segment_index_posting place_read(const struct segment_index_partition *of,
                                               uint32_t entry, const void *block_bytes)
{
    const unsigned char *at = (const unsigned char *)block_bytes +
                              entry % SEGMENT_INDEX_PLACES * SEGMENT_INDEX_PLACE_BYTES;
    return (struct segment_index_posting){of->first + wire_little_load_u32(at),
                                          (uint64_t)wire_little_load_u32(at + 4) *
                                              SEGMENT_ALIGNMENT};
}

struct segment_index_posting segment_index_posting_read(const struct segment_index *index,
                                                        const struct segment_index_partition *of,
                                                        uint32_t entry, const void *block_bytes)
{
    ps_assert(entry < index->postings_count);
    return place_read(of, entry, block_bytes);
}

struct segment_index_posting segment_index_sparse_read(const struct segment_index *index,
                                                       const struct segment_index_partition *of,
                                                       uint32_t entry, const void *block_bytes)
{
    ps_assert(entry < index->sparse_count);
    return place_read(of, entry, block_bytes);
}
