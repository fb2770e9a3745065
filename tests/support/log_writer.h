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
    LOG_WRITER_PARTITIONS_MAX = 64,
    LOG_WRITER_LEFT_MAX = 8 /* beyond, the oldest is indexed at once */
};

struct log_writer_record {
    uint16_t partition;
    uint64_t sequence;
    uint64_t value; /* stands in the payload */
    uint64_t publish_ms;
    struct record_id id;
    uint32_t payload_bytes; /* at least 8 */
    const char *topic;      /* NULL: "t/<partition>/<value % 16>" */
    const void *payload;    /* NULL: value, then zeros */
};

/* A segment that was left and has no index yet. */
struct log_writer_left {
    struct log_segment *segment;
    uint64_t data_end;
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
    struct log_writer_left left[LOG_WRITER_LEFT_MAX];
    uint32_t left_count;
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
static inline uint32_t log_writer_encode(struct heap *heap, uint64_t seed,
                                         const struct log_writer_record *from, unsigned char *to)
{
    char topic[64];
    int topic_bytes = from->topic != NULL ? snprintf(topic, sizeof(topic), "%s", from->topic)
                                          : snprintf(topic, sizeof(topic), "t/%u/%u",
                                                     from->partition, (unsigned)(from->value % 16));
    unsigned char *payload = calloc(1, from->payload_bytes);
    memcpy(payload, &from->value, sizeof(from->value));
    if (from->payload != NULL)
        memcpy(payload, from->payload, from->payload_bytes);
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
    ps_assert(record_encode(record, segment_record_seed(seed, from->partition), to, bytes) > 0);
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
    segment_header_encode(writer->segment->seed, &header, partitions, writer->bytes);
    return segment_header_bytes(count);
}

/* One batch into the segment there is. 0 or what the disk said. */
static inline int log_writer_try(struct log_writer *writer, const struct log_writer_record *records,
                                 uint32_t count)
{
    uint64_t seed = writer->segment->seed;
    uint32_t begin = writer->offset == 0 ? log_writer_encode_header(writer) : 0;
    uint32_t end = begin + SEGMENT_BATCH_HEADER_BYTES;
    for (uint32_t index = 0; index < count; index++)
        end += log_writer_encode(writer->heap, seed, &records[index], writer->bytes + end);
    ps_assert(end <= sizeof(writer->bytes));
    const struct segment_batch batch = {writer->batch, end - begin, count};
    segment_batch_encode(seed, &batch, writer->bytes + begin);
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

/* Gives the segment that was left first its index. 0 or -errno, and then it has none. */
static inline int log_writer_index(struct log_writer *writer)
{
    ps_assert(writer->left_count > 0);
    struct log_writer_left left = writer->left[0];
    writer->left_count--;
    memmove(writer->left, writer->left + 1, writer->left_count * sizeof(left));
    void *state = NULL;
    int result;
    do {
        result = log_store_index(writer->store, left.segment, left.data_end, &state);
    } while (result == -EAGAIN);
    log_segment_release(writer->store, left.segment);
    return result;
}

/* Leaves the segment that is being written. What was not synced is before the next one begins;
 * else -errno, and it is still being written. */
static inline int log_writer_leave(struct log_writer *writer)
{
    if (writer->segment == NULL)
        return 0;
    int result = writer->is_synced ? 0 : disk_sync(writer->segment->fd);
    if (result < 0)
        return result;
    if (writer->left_count == LOG_WRITER_LEFT_MAX)
        log_writer_index(writer);
    writer->left[writer->left_count++] = (struct log_writer_left){writer->segment, writer->offset};
    writer->segment = NULL;
    writer->offset = writer->batch = 0;
    return 0;
}

/* References to segments go; they stay as they are. */
static inline void log_writer_deinit(struct log_writer *writer)
{
    if (writer->segment != NULL)
        log_segment_release(writer->store, writer->segment);
    for (uint32_t index = 0; index < writer->left_count; index++)
        log_segment_release(writer->store, writer->left[index].segment);
    writer->segment = NULL;
    writer->left_count = 0;
}

/* 0: committed; -errno: the disk is gone. */
static inline int log_writer_batch(struct log_writer *writer,
                                   const struct log_writer_record *records, uint32_t count)
{
    for (uint32_t attempt = 0; attempt < 4; attempt++) {
        if (writer->offset + LOG_WRITER_BATCH_BYTES_MAX > writer->capacity &&
            log_writer_leave(writer) < 0)
            return -EIO;
        if (writer->segment == NULL) {
            int result = log_store_prepare(writer->store, writer->capacity, &writer->segment);
            if (result < 0)
                return result;
        }
        if (log_writer_try(writer, records, count) == 0)
            return 0;
        if (log_writer_leave(writer) < 0)
            break;
    }
    return -EIO;
}

#endif
