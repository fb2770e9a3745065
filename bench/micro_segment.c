/*
 * Segments of the embedded log, per record of 100 bytes of payload under one of 100,000 topics of
 * three levels: the scan of a start, and the index that the helper thread makes of a closed segment
 * of 32 MiB (built, sorted, written to a file in /tmp and synced).
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "micro.h"
#include "segment_index_internal.h"

#define SEED UINT64_C(0x1234567890abcdef) /* of the segment */

enum {
    NUMBER = 5,
    PARTITIONS = 16,
    TOPICS = 100000,
    PAYLOAD_BYTES = 100,
    BATCH_RECORDS = 512,
    BATCHES_MAX = 4096,
    SEGMENT_BYTES = 32 << 20
};

struct subject {
    struct heap_budget budget;
    struct heap heap;
    unsigned char *bytes;
    struct segment_batch batches[BATCHES_MAX];
    uint64_t offsets[BATCHES_MAX];
    uint32_t batch_count;
    uint32_t record_count;
    uint32_t position; /* batch */
    struct segment_partition partitions[PARTITIONS];
    char path[32];
    int directory;
    struct segment_index_builder *spare;
    struct segment_index_builder *builder; /* the same while a segment is being indexed */
    uint64_t told;
    uint64_t file_bytes;
    int64_t due; /* records that are still to be worked off */
};

static uint32_t write_record(struct subject *subject, uint32_t number, uint64_t *next,
                             unsigned char *to)
{
    uint32_t topic_number = number * 2654435761U % TOPICS;
    char topic[40];
    int topic_bytes =
        snprintf(topic, sizeof(topic), "site/%u/sensor%u", topic_number / 100, topic_number % 100);
    static const unsigned char payload[PAYLOAD_BYTES];
    const struct record_source source = {.topic = topic,
                                         .topic_bytes = (uint32_t)topic_bytes,
                                         .payload = payload,
                                         .payload_bytes = PAYLOAD_BYTES,
                                         .flags = 1};
    struct record *record = record_create(&subject->heap, &source);
    ps_assert(record != NULL);
    record->partition = (uint16_t)(topic_number % PARTITIONS);
    record->sequence = next[record->partition]++;
    record->publish_ms = 1700000000000 + number;
    uint32_t bytes = (uint32_t)segment_record_bytes(record);
    long encoded = record_encode(record, segment_record_seed(SEED, record->partition), to, bytes);
    ps_assert(encoded > 0);
    record_release(&subject->heap, record);
    return bytes;
}

static void *create(uint64_t size)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    (void)size;
    ps_assert(subject != NULL);
    heap_init(&subject->heap, &subject->budget);
    subject->bytes = calloc(1, SEGMENT_BYTES);
    ps_assert(subject->bytes != NULL);
    uint64_t next[PARTITIONS];
    for (uint16_t index = 0; index < PARTITIONS; index++) {
        subject->partitions[index] = (struct segment_partition){index, 1};
        next[index] = 1;
    }
    uint64_t offset = segment_header_bytes(PARTITIONS);
    while (offset + BATCH_RECORDS * 256 < SEGMENT_BYTES) {
        uint32_t bytes = SEGMENT_BATCH_HEADER_BYTES;
        for (uint32_t index = 0; index < BATCH_RECORDS; index++)
            bytes += write_record(subject, subject->record_count++, next,
                                  subject->bytes + offset + bytes);
        uint32_t number = subject->batch_count++;
        subject->batches[number] = (struct segment_batch){number, bytes, BATCH_RECORDS};
        subject->offsets[number] = offset;
        offset += bytes;
    }
    snprintf(subject->path, sizeof(subject->path), "/tmp/penstock-micro-XXXXXX");
    const char *made = mkdtemp(subject->path);
    int result = disk_open_directory(subject->path, &subject->directory);
    ps_assert(made != NULL && result == 0);
    return subject;
}

static int remove_file(void *context, const char *name)
{
    const struct subject *subject = context;
    return disk_remove(subject->directory, name);
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ps_assert(subject->told > 0);
    if (subject->file_bytes > 0)
        fprintf(stderr, "%.1f bytes of index for each of %u records\n",
                (double)subject->file_bytes / subject->record_count, subject->record_count);
    segment_index_builder_destroy(subject->spare);
    disk_list(subject->directory, remove_file, subject);
    disk_close(subject->directory);
    rmdir(subject->path);
    heap_deinit(&subject->heap);
    free(subject->bytes);
    free(subject);
}

static int on_record(void *context, const struct segment_record *record)
{
    struct subject *subject = context;
    subject->told++;
    return subject->builder == NULL ? 0 : segment_index_builder_add(subject->builder, record);
}

/* The next batch; behind the last one the first again. */
static void scan_batch(struct subject *subject)
{
    uint32_t at = subject->position;
    int result =
        segment_batch_scan(SEED, subject->offsets[at], subject->bytes + subject->offsets[at],
                           &subject->batches[at], subject, on_record);
    ps_assert(result == 0);
    subject->position = at + 1 < subject->batch_count ? at + 1 : 0;
}

static void scan(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (subject->due += (int64_t)iterations; subject->due > 0; subject->due -= BATCH_RECORDS)
        scan_batch(subject);
}

static void begin_index(struct subject *subject)
{
    const struct segment_header header = {.number = NUMBER, .partition_count = PARTITIONS};
    if (subject->spare == NULL)
        subject->spare =
            segment_index_builder_create(&subject->heap, 7, &header, subject->partitions);
    ps_assert(subject->spare != NULL);
    int result = segment_index_builder_reset(subject->spare, &header, subject->partitions);
    ps_assert(result == 0);
    subject->builder = subject->spare;
}

static void write_index(struct subject *subject)
{
    struct segment_index *index = NULL;
    int fd = -1;
    int result = segment_index_write(subject->builder, subject->directory, 1, &index, &fd);
    ps_assert(result == 0);
    subject->file_bytes = index->file_bytes;
    segment_index_destroy(&subject->heap, index);
    subject->builder = NULL;
    disk_close(fd);
}

static void scan_and_index(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (subject->due += (int64_t)iterations; subject->due > 0; subject->due -= BATCH_RECORDS) {
        if (subject->position == 0)
            begin_index(subject);
        scan_batch(subject);
        if (subject->position == 0)
            write_index(subject);
    }
}

const struct micro_case micro_segment_cases[] = {
    {"segment/scan", create, destroy, scan, 0},
    {"segment/scan_and_index", create, destroy, scan_and_index, 0},
    {NULL, NULL, NULL, NULL, 0},
};
