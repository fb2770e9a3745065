/*
 * A log written without a ring: batches made by the same encoders as the journal's, written and
 * synced one after the other through core/disk.h, in segments of a log store. After a failed write
 * or sync it does what a journal has to: the segment ends, the batch goes whole into the next one.
 *
 * For tests that see the private headers of broker_client/embedded.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_LOG_WRITER_H
#define PENSTOCK_TESTS_SUPPORT_LOG_WRITER_H

#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "log_store_internal.h"

enum {
    LOG_WRITER_BATCH_BYTES_MAX = 1 << 16,
    LOG_WRITER_RECORDS_MAX = 256,
    LOG_WRITER_PARTITIONS_MAX = 64
};

struct log_writer_record {
    uint16_t partition;
    uint64_t sequence;
    uint64_t value; /* stands in the payload */
    uint64_t publish_ms;
    struct record_id id;
    uint32_t payload_bytes; /* at least 8 */
    const char *topic;      /* NULL: "t/<partition>/<value % 16>" */
};

struct log_writer {
    struct log_store *store;
    struct heap *heap;
    uint16_t shard;
    bool is_synced; /* each batch */
    uint64_t capacity;
    uint64_t committed[LOG_WRITER_PARTITIONS_MAX]; /* by partition: the next sequence */
    struct log_segment *segment;                   /* NULL: the next batch begins one */
    uint64_t offset;                               /* behind the last batch that stands */
    uint64_t batch;
    unsigned char bytes[LOG_WRITER_BATCH_BYTES_MAX];
};

static inline void log_writer_init(struct log_writer *writer, struct log_store *store,
                                   struct heap *heap, uint16_t shard)
{
    memset(writer, 0, sizeof(*writer));
    writer->store = store;
    writer->heap = heap;
    writer->shard = shard;
    writer->is_synced = true;
    writer->capacity = 1 << 17;
    ps_assert(store->config.partition_count <= LOG_WRITER_PARTITIONS_MAX);
    for (uint32_t index = 0; index < store->config.partition_count; index++)
        writer->committed[index] = store->partitions[index].next;
}

/* The whole of a record, where it goes; the bytes it took, filling included. */
static inline uint32_t log_writer_encode(struct heap *heap, uint64_t segment,
                                         const struct log_writer_record *from, unsigned char *to)
{
    char topic[64];
    int topic_bytes = from->topic != NULL ? snprintf(topic, sizeof(topic), "%s", from->topic)
                                          : snprintf(topic, sizeof(topic), "t/%u/%u",
                                                     from->partition, (unsigned)(from->value % 16));
    unsigned char *payload = calloc(1, from->payload_bytes);
    memcpy(payload, &from->value, sizeof(from->value));
    const struct record_source source = {.topic = topic,
                                         .topic_bytes = (uint32_t)topic_bytes,
                                         .payload = payload,
                                         .payload_bytes = from->payload_bytes};
    struct record *record = record_create(heap, &source);
    ps_assert(record != NULL);
    record->partition = from->partition;
    record->sequence = from->sequence;
    record->publish_ms = from->publish_ms;
    record->deduplication_id = from->id;
    uint32_t bytes = (uint32_t)segment_record_bytes(record);
    memset(to, 0, bytes);
    ps_assert(record_encode(record, segment_seed(segment, from->partition), to, bytes) > 0);
    record_release(heap, record);
    free(payload);
    return bytes;
}

/* The header with the first batch of a segment. */
static inline uint32_t log_writer_encode_header(struct log_writer *writer)
{
    const struct log_store *store = writer->store;
    struct segment_partition partitions[LOG_WRITER_PARTITIONS_MAX];
    uint16_t count = 0;
    for (uint32_t index = writer->shard; index < store->config.partition_count;
         index += store->config.shard_count)
        partitions[count++] = (struct segment_partition){(uint16_t)index, writer->committed[index]};
    const struct segment_header header = {.number = writer->segment->number,
                                          .run = store->run,
                                          .created_ms = 1,
                                          .shard = writer->shard,
                                          .shard_count = store->config.shard_count,
                                          .partition_count = count};
    segment_header_encode(&header, partitions, writer->bytes);
    return segment_header_bytes(count);
}

/* One batch into the segment there is. 0 or what the disk said. */
static inline int log_writer_try(struct log_writer *writer, const struct log_writer_record *records,
                                 uint32_t count)
{
    uint64_t number = writer->segment->number;
    uint32_t begin = writer->offset == 0 ? log_writer_encode_header(writer) : 0;
    uint32_t end = begin + SEGMENT_BATCH_HEADER_BYTES;
    for (uint32_t index = 0; index < count; index++)
        end += log_writer_encode(writer->heap, number, &records[index], writer->bytes + end);
    ps_assert(end <= sizeof(writer->bytes));
    const struct segment_batch batch = {writer->batch, end - begin, count};
    segment_batch_encode(number, &batch, writer->bytes + begin);
    int result = disk_write(writer->segment->fd, writer->bytes, end, writer->offset);
    if (result == 0 && writer->is_synced)
        result = disk_sync(writer->segment->fd);
    if (result < 0)
        return result;
    writer->offset += end;
    writer->batch++;
    for (uint32_t index = 0; index < count; index++)
        writer->committed[records[index].partition] = records[index].sequence + 1;
    return 0;
}

/* Leaves the segment and gives it its index. 0 or -errno, and then it has none. */
static inline int log_writer_close_segment(struct log_writer *writer)
{
    struct log_segment *segment = writer->segment;
    if (segment == NULL)
        return 0;
    void *state = NULL;
    int result;
    do {
        result = log_store_index(writer->store, segment, writer->offset, &state);
    } while (result == -EAGAIN);
    log_segment_release(writer->store, segment);
    writer->segment = NULL;
    writer->offset = writer->batch = 0;
    return result;
}

/* 0: committed; -errno: the disk is gone. */
static inline int log_writer_batch(struct log_writer *writer,
                                   const struct log_writer_record *records, uint32_t count)
{
    for (uint32_t attempt = 0; attempt < 4; attempt++) {
        if (writer->segment != NULL &&
            writer->offset + LOG_WRITER_BATCH_BYTES_MAX > writer->capacity)
            log_writer_close_segment(writer);
        if (writer->segment == NULL) {
            int result = log_store_prepare(writer->store, writer->capacity, &writer->segment);
            if (result < 0)
                return result;
        }
        if (log_writer_try(writer, records, count) == 0)
            return 0;
        log_writer_close_segment(writer);
    }
    return -EIO;
}

#endif
