/*
 * A segment or its index as a damaged file may hold it, on the simulated disk. The first byte says
 * how the rest is taken:
 *   bit 0   checksums and lengths are made to fit, so that the fuzzer gets past them
 *   bit 1   it is an index, else a segment
 *   bit 2   a segment is found by the start of a log store; bit 3: with repair
 * A segment that can be read is indexed, and what is looked up in the index is what was read.
 */
#include <stdlib.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/wire_little.h"
#include "log_scan_internal.h"
#include "log_store_internal.h"
#include "segment_index_internal.h"
#include "sim/disk_sim.h"
#include "sim/network.h"

enum { PARTITIONS = 4, LOOKUPS_MAX = 32, INPUT_MAX = 1 << 18, HASH_SEED = 1 };
static const uint64_t number = UINT64_C(1) << 32; /* the first of the first run */

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

struct subject {
    struct heap heap;
    struct heap_budget budget;
    struct sim_world *world;
    struct segment_index_builder *builder;
    struct segment_record seen[LOOKUPS_MAX];
    unsigned char *topics; /* of what was seen: 64 Ki each */
    uint32_t seen_count;
    uint32_t record_count;
    uint64_t ids;
};

/* ---- making it fit ---- */

static void fit_header(unsigned char *bytes, size_t count)
{
    if (count < SEGMENT_PAGE_BYTES)
        return;
    uint16_t partitions = bytes[44] % (PARTITIONS + 1);
    memcpy(bytes + 8, "PSSEGMNT", 8);
    wire_little_store_u32(bytes + 16, SEGMENT_FORMAT);
    wire_little_store_u32(bytes + 20, SEGMENT_PAGE_BYTES);
    wire_little_store_u64(bytes + 24, number);
    wire_little_store_u64(bytes + 32, 1);
    wire_little_store_u16(bytes + 44, partitions);
    for (uint32_t slot = 0; slot < partitions; slot++) {
        unsigned char *at = bytes + 56 + 16 * slot;
        wire_little_store_u32(at, at[0] % PARTITIONS);
        wire_little_store_u64(at + 8, at[8] + 1U);
    }
    uint64_t seed = segment_seed(HASH_SEED, number);
    wire_little_store_u64(bytes, hash_bytes_seeded(seed, bytes + 8, SEGMENT_PAGE_BYTES - 8));
}

/* A record at the start of `bytes`; its length comes out. */
static uint32_t fit_record(unsigned char *bytes, size_t count)
{
    uint32_t length = RECORD_HEADER_BYTES + 1 + bytes[8];
    if (length > count)
        return 0;
    uint32_t topic = 1 + bytes[84] % (length - RECORD_HEADER_BYTES);
    uint16_t partition = bytes[14] % PARTITIONS;
    wire_little_store_u32(bytes + 8, length);
    bytes[12] = RECORD_FORMAT;
    bytes[13] &= 0x0d;
    wire_little_store_u16(bytes + 14, partition);
    wire_little_store_u64(bytes + 16, wire_little_load_u16(bytes + 16) + 1U);
    wire_little_store_u32(bytes + 80, 0);
    wire_little_store_u16(bytes + 84, (uint16_t)topic);
    uint64_t seed = segment_record_seed(segment_seed(HASH_SEED, number), partition);
    wire_little_store_u64(bytes, hash_bytes_seeded(seed, bytes + 8, length - 8));
    return (length + SEGMENT_ALIGNMENT - 1) & ~(uint32_t)(SEGMENT_ALIGNMENT - 1);
}

static void fit_segment(unsigned char *bytes, size_t count)
{
    fit_header(bytes, count);
    uint64_t batch_number = 0;
    for (size_t offset = SEGMENT_PAGE_BYTES; offset + 256 < count; batch_number++) {
        uint32_t records_max = 1 + bytes[offset + 24] % 8;
        uint32_t records = 0;
        uint32_t used = SEGMENT_BATCH_HEADER_BYTES;
        while (records < records_max && offset + used + RECORD_HEADER_BYTES < count) {
            uint32_t record = fit_record(bytes + offset + used, count - offset - used);
            if (record == 0)
                break;
            used += record;
            records++;
        }
        if (records == 0 || offset + used > count)
            return;
        const struct segment_batch batch = {batch_number, used, records};
        segment_batch_encode(segment_seed(HASH_SEED, number), &batch, bytes + offset);
        offset += used;
    }
}

/* The checksum of every block, as segment_index.c makes it. */
static void fit_index(unsigned char *bytes, size_t count)
{
    if (count < SEGMENT_INDEX_BLOCK_BYTES)
        return;
    memcpy(bytes, "PSINDEX1", 8);
    wire_little_store_u32(bytes + 8, SEGMENT_INDEX_FORMAT);
    wire_little_store_u64(bytes + 16, number);
    for (uint32_t block = 0; (block + 1ULL) * SEGMENT_INDEX_BLOCK_BYTES <= count; block++) {
        unsigned char *at = bytes + (size_t)block * SEGMENT_INDEX_BLOCK_BYTES;
        uint64_t seed = segment_seed(HASH_SEED, number) ^ block;
        wire_little_store_u64(at + SEGMENT_INDEX_BLOCK_BYTES - 8,
                              hash_bytes_seeded(seed, at, SEGMENT_INDEX_BLOCK_BYTES - 8));
    }
}

/* ---- reading ---- */

static int on_record(void *context, const struct segment_record *record)
{
    struct subject *subject = context;
    int result = segment_index_builder_add(subject->builder, record);
    if (result < 0)
        return result == -EBADMSG ? -EPROTO : result;
    subject->record_count++;
    if (subject->seen_count == LOOKUPS_MAX)
        return 0;
    unsigned char *topic = subject->topics + (size_t)subject->seen_count * RECORD_TOPIC_BYTES_MAX;
    memcpy(topic, record->view.topic, record->view.topic_bytes);
    subject->seen[subject->seen_count] = *record;
    subject->seen[subject->seen_count++].view.topic = topic;
    return 0;
}

static void on_id(void *context, const struct segment_index_id *id)
{
    struct subject *subject = context;
    (void)id;
    subject->ids++;
}

static bool read_block(int fd, uint32_t block, unsigned char *bytes)
{
    size_t count = 0;
    int result = disk_read(fd, bytes, SEGMENT_INDEX_BLOCK_BYTES,
                           (uint64_t)block * SEGMENT_INDEX_BLOCK_BYTES, &count);
    ps_assert(result == 0);
    return count == SEGMENT_INDEX_BLOCK_BYTES &&
           segment_index_block_check(segment_seed(HASH_SEED, number), block, bytes);
}

/* 1: the place was found under the hash, or the hash is dense. 0: not. */
static bool find(const struct segment_index *index, int fd, const struct segment_record *record,
                 uint32_t hash)
{
    static unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    uint32_t block = segment_index_directory_block(index, hash);
    struct segment_index_group group;
    if (block == UINT32_MAX || !read_block(fd, block, bytes) ||
        !segment_index_find_group(index, block, bytes, hash, &group))
        return false;
    if (group.first == SEGMENT_INDEX_DENSE)
        return true;
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *of = &index->partitions[slot];
        for (uint32_t at = 0; at < group.records && of->partition == record->view.partition; at++) {
            uint32_t entry = group.first + at;
            if (!read_block(fd, segment_index_posting_block(index, entry), bytes))
                return false;
            struct segment_index_posting posting =
                segment_index_posting_read(index, of, entry, bytes);
            if (posting.offset == record->offset && posting.sequence == record->view.sequence)
                return true;
        }
    }
    return false;
}

static void try_index(struct subject *subject, int directory, bool is_ours)
{
    struct segment_index *index = NULL;
    int fd = -1;
    int result = segment_index_load(directory, &subject->heap, segment_seed(HASH_SEED, number),
                                    number, &index, &fd);
    ps_assert(result == 0 || !is_ours);
    if (result < 0)
        return;
    for (uint32_t at = 0; at < subject->seen_count; at++) {
        const struct record_view *view = &subject->seen[at].view;
        uint32_t hash =
            segment_index_hash(HASH_SEED, view->partition, 0, view->topic, view->topic_bytes);
        bool is_found = find(index, fd, &subject->seen[at], hash);
        ps_assert(is_found || !is_ours);
    }
    for (uint32_t at = 0; at < index->fence_count && at < LOOKUPS_MAX; at++)
        find(index, fd, &subject->seen[0], index->fences[at]);
    result = segment_index_load_ids(fd, &subject->heap, index, subject, on_id);
    ps_assert(result == 0 || !is_ours);
    segment_index_destroy(&subject->heap, index);
    disk_close(fd);
}

static void try_segment(struct subject *subject, int directory, int fd, size_t count)
{
    struct log_scan scan;
    struct segment_header header;
    struct segment_partition *partitions = NULL;
    int result =
        log_scan_init(&scan, &subject->heap, fd, segment_seed(HASH_SEED, number), number, count);
    ps_assert(result == 0);
    if (log_scan_header(&scan, &header, &partitions) == 0) {
        subject->builder =
            segment_index_builder_create(&subject->heap, HASH_SEED, &header, partitions);
        ps_assert(subject->builder != NULL);
        while (log_scan_next(&scan, subject, on_record) == 0)
            ps_assert(scan.offset <= count);
        uint64_t data_end = scan.offset;
        uint64_t end = 0;
        result = log_scan_search(&scan, scan.offset, 0, &end);
        ps_assert(result >= 0 && end <= count);
        struct segment_index *index = NULL;
        int index_fd = -1;
        result = segment_index_write(subject->builder, directory, data_end, &index, &index_fd);
        ps_assert(result == 0);
        segment_index_destroy(&subject->heap, index);
        disk_close(index_fd);
        segment_index_builder_destroy(subject->builder);
        heap_free(&subject->heap, partitions);
        try_index(subject, directory, true);
    }
    log_scan_deinit(&scan);
}

/* The first run of a directory; then a segment of it is found. */
static void try_store(struct subject *subject, const void *bytes, size_t count, bool is_repair)
{
    struct log_store *store = calloc(1, sizeof(*store));
    char error[EMBEDDED_ERROR_BYTES];
    for (uint32_t start = 0; start < 3; start++) {
        memset(store, 0, sizeof(*store));
        store->config = (struct embedded_store_config){.directory = "/data",
                                                       .partition_count = PARTITIONS,
                                                       .shard_count = 1,
                                                       .random_seed = HASH_SEED,
                                                       .is_repair = is_repair};
        store->heap = store->helper_heap = &subject->heap;
        int result = log_store_open(store, error);
        ps_assert(result == 0 || start == 1);
        if (result < 0) {
            ps_assert(error[0] != '\0');
            break;
        }
        int fd = -1;
        char name[SEGMENT_NAME_BYTES];
        segment_name(number, "seg", name);
        if (start == 0) {
            result = disk_open(store->log_directory, name, DISK_OPEN_CREATE_NEW, &fd);
            ps_assert(result == 0);
            result = disk_write(fd, bytes, count, 0);
            ps_assert(result == 0);
            disk_close(fd);
        }
        log_store_close(store, false);
    }
    free(store);
}

static void try_file(struct subject *subject, const void *bytes, size_t count, bool is_index)
{
    int directory = -1;
    int fd = -1;
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, is_index ? "idx" : "seg", name);
    int result = disk_open_directory("/data", &directory);
    ps_assert(result == 0);
    result = disk_open(directory, name, DISK_OPEN_CREATE_NEW, &fd);
    ps_assert(result == 0);
    result = disk_write(fd, bytes, count, 0);
    ps_assert(result == 0);
    if (is_index)
        try_index(subject, directory, false);
    else
        try_segment(subject, directory, fd, count);
    disk_close(fd);
    disk_close(directory);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count < 2 || count > INPUT_MAX)
        return 0;
    struct subject *subject = calloc(1, sizeof(*subject));
    const struct sim_options options = {.seed = 1, .start_ns = 1, .start_wall_ms = 1};
    size_t input_bytes = count - 1;
    unsigned char *input = malloc(input_bytes); /* exact, so that ASan sees a read beyond */
    ps_assert(subject != NULL && input != NULL);
    memcpy(input, bytes + 1, input_bytes);
    subject->topics = malloc((size_t)LOOKUPS_MAX * RECORD_TOPIC_BYTES_MAX);
    subject->world = sim_world_create(&options);
    heap_init(&subject->heap, &subject->budget);
    bool is_index = bytes[0] & 2;
    if (bytes[0] & 1) {
        if (is_index)
            fit_index(input, input_bytes);
        else
            fit_segment(input, input_bytes);
    }
    if (bytes[0] & 4)
        try_store(subject, input, input_bytes, bytes[0] & 8);
    else
        try_file(subject, input, input_bytes, is_index);
    ps_assert(sim_disk_open_count(subject->world) == 0);
    sim_world_destroy(subject->world);
    heap_deinit(&subject->heap);
    ps_assert(heap_budget_bytes_used(&subject->budget) == 0);
    free(subject->topics);
    free(subject);
    free(input);
    return 0;
}
