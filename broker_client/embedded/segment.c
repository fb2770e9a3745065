/*
 * The format of a segment; see segment_internal.h, and broker_client/README.md for the layout. What
 * is decoded comes from a file that may be damaged: every length is checked before it is used, and
 * nothing of a batch is told before all of it was checked.
 *
 * Stateless; any thread. No IO, no allocation.
 */
#include "segment_internal.h"

#include <stdio.h>

#include "core/base.h"
#include "core/hash.h"
#include "core/wire_little.h"

/* Offsets of the header; README.md has them as a table. */
enum {
    AT_CHECKSUM = 0,
    AT_MAGIC = 8,
    AT_FORMAT = 16,
    AT_HEADER_BYTES = 20,
    AT_NUMBER = 24,
    AT_RUN = 32,
    AT_SHARD = 40,
    AT_SHARD_COUNT = 42,
    AT_PARTITION_COUNT = 44,
    AT_CREATED_MS = 48,
    AT_PARTITIONS = 56,
    PARTITION_BYTES = 16
};

/* Offsets of a batch header. */
enum {
    AT_BATCH_MAGIC = 8,
    AT_BATCH_BYTES = 12,
    AT_BATCH_NUMBER = 16,
    AT_BATCH_RECORDS = 24,
    AT_BATCH_ZERO = 28
};

static const unsigned char magic[8] = {'P', 'S', 'S', 'E', 'G', 'M', 'N', 'T'};
static const unsigned char batch_magic[4] = {'P', 'S', 'B', 'T'};

enum { NUMBER_DIGITS = 16, SUFFIX_BYTES = 3 };

uint64_t segment_seed(uint64_t hash_seed, uint64_t number)
{
    unsigned char bytes[8];
    wire_little_store_u64(bytes, number);
    return hash_bytes_seeded(hash_seed, bytes, sizeof(bytes));
}

void segment_name(uint64_t number, const char *suffix, char *out_name)
{
    int written =
        snprintf(out_name, SEGMENT_NAME_BYTES, "%016llx.%s", (unsigned long long)number, suffix);
    ps_assert(written == NUMBER_DIGITS + 1 + SUFFIX_BYTES);
}

bool segment_name_parse(const char *name, const char *suffix, uint64_t *out_number)
{
    uint64_t number = 0;
    for (uint32_t at = 0; at < NUMBER_DIGITS; at++) {
        char digit = name[at];
        if (digit >= '0' && digit <= '9')
            number = number << 4 | (uint64_t)(digit - '0');
        else if (digit >= 'a' && digit <= 'f')
            number = number << 4 | (uint64_t)(digit - 'a' + 10);
        else
            return false;
    }
    if (name[NUMBER_DIGITS] != '.' || strcmp(name + NUMBER_DIGITS + 1, suffix) != 0)
        return false;
    *out_number = number;
    return true;
}

uint32_t segment_header_bytes(uint16_t partition_count)
{
    uint32_t bytes = AT_PARTITIONS + (uint32_t)partition_count * PARTITION_BYTES;
    return (bytes + SEGMENT_PAGE_BYTES - 1) & ~(uint32_t)(SEGMENT_PAGE_BYTES - 1);
}

void segment_header_encode(uint64_t seed, const struct segment_header *header,
                           const struct segment_partition *partitions, void *out_bytes)
{
    unsigned char *bytes = out_bytes;
    uint32_t length = segment_header_bytes(header->partition_count);
    memset(bytes, 0, length);
    memcpy(bytes + AT_MAGIC, magic, sizeof(magic));
    wire_little_store_u32(bytes + AT_FORMAT, SEGMENT_FORMAT);
    wire_little_store_u32(bytes + AT_HEADER_BYTES, length);
    wire_little_store_u64(bytes + AT_NUMBER, header->number);
    wire_little_store_u64(bytes + AT_RUN, header->run);
    wire_little_store_u16(bytes + AT_SHARD, header->shard);
    wire_little_store_u16(bytes + AT_SHARD_COUNT, header->shard_count);
    wire_little_store_u16(bytes + AT_PARTITION_COUNT, header->partition_count);
    wire_little_store_u64(bytes + AT_CREATED_MS, header->created_ms);
    unsigned char *at = bytes + AT_PARTITIONS;
    for (uint32_t index = 0; index < header->partition_count; index++, at += PARTITION_BYTES) {
        wire_little_store_u32(at, partitions[index].partition);
        wire_little_store_u64(at + 8, partitions[index].next);
    }
    wire_little_store_u64(bytes + AT_CHECKSUM,
                          hash_bytes_seeded(seed, bytes + AT_MAGIC, length - AT_MAGIC));
}

static bool is_zero(const unsigned char *bytes, size_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

uint32_t segment_header_length(const void *page)
{
    const unsigned char *bytes = page;
    if (memcmp(bytes + AT_MAGIC, magic, sizeof(magic)) != 0)
        return 0;
    uint32_t length = wire_little_load_u32(bytes + AT_HEADER_BYTES);
    return length == segment_header_bytes(wire_little_load_u16(bytes + AT_PARTITION_COUNT)) ? length
                                                                                            : 0;
}

long segment_header_decode(uint64_t seed, const void *bytes, size_t count,
                           struct segment_header *out_header,
                           struct segment_partition *out_partitions, uint32_t partitions_max)
{
    const unsigned char *from = bytes;
    if (count < SEGMENT_PAGE_BYTES)
        return -EAGAIN;
    if (is_zero(from, SEGMENT_PAGE_BYTES))
        return -ENODATA;
    if (memcmp(from + AT_MAGIC, magic, sizeof(magic)) != 0)
        return -EBADMSG;
    /* Another format may have its checksum elsewhere; what this one says of it is not trusted. */
    if (wire_little_load_u32(from + AT_FORMAT) != SEGMENT_FORMAT)
        return -EPROTONOSUPPORT;
    uint32_t length = segment_header_length(from);
    if (length == 0)
        return -EBADMSG;
    if (count < length)
        return -EAGAIN;
    if (wire_little_load_u64(from + AT_CHECKSUM) !=
        hash_bytes_seeded(seed, from + AT_MAGIC, length - AT_MAGIC))
        return -EBADMSG;
    struct segment_header header = {.number = wire_little_load_u64(from + AT_NUMBER),
                                    .run = wire_little_load_u64(from + AT_RUN),
                                    .created_ms = wire_little_load_u64(from + AT_CREATED_MS),
                                    .shard = wire_little_load_u16(from + AT_SHARD),
                                    .shard_count = wire_little_load_u16(from + AT_SHARD_COUNT),
                                    .partition_count =
                                        wire_little_load_u16(from + AT_PARTITION_COUNT)};
    if (header.partition_count > partitions_max)
        return -EBADMSG;
    const unsigned char *at = from + AT_PARTITIONS;
    for (uint32_t index = 0; index < header.partition_count; index++, at += PARTITION_BYTES) {
        uint32_t partition = wire_little_load_u32(at);
        uint64_t next = wire_little_load_u64(at + 8);
        if (partition > UINT16_MAX || next == 0)
            return -EBADMSG;
        out_partitions[index] = (struct segment_partition){(uint16_t)partition, next};
    }
    *out_header = header;
    return (long)length;
}

void segment_batch_encode(uint64_t seed, const struct segment_batch *batch, void *out_header)
{
    unsigned char *bytes = out_header;
    memcpy(bytes + AT_BATCH_MAGIC, batch_magic, sizeof(batch_magic));
    wire_little_store_u32(bytes + AT_BATCH_BYTES, batch->bytes);
    wire_little_store_u64(bytes + AT_BATCH_NUMBER, batch->number);
    wire_little_store_u32(bytes + AT_BATCH_RECORDS, batch->records);
    wire_little_store_u32(bytes + AT_BATCH_ZERO, 0);
    wire_little_store_u64(bytes + AT_CHECKSUM,
                          hash_bytes_seeded(seed, bytes + AT_BATCH_MAGIC,
                                            SEGMENT_BATCH_HEADER_BYTES - AT_BATCH_MAGIC));
}

int segment_batch_decode(uint64_t seed, const void *header, struct segment_batch *out_batch)
{
    const unsigned char *from = header;
    if (memcmp(from + AT_BATCH_MAGIC, batch_magic, sizeof(batch_magic)) != 0 ||
        wire_little_load_u64(from + AT_CHECKSUM) !=
            hash_bytes_seeded(seed, from + AT_BATCH_MAGIC,
                              SEGMENT_BATCH_HEADER_BYTES - AT_BATCH_MAGIC))
        return -EBADMSG;
    struct segment_batch batch = {.number = wire_little_load_u64(from + AT_BATCH_NUMBER),
                                  .bytes = wire_little_load_u32(from + AT_BATCH_BYTES),
                                  .records = wire_little_load_u32(from + AT_BATCH_RECORDS)};
    if (batch.bytes < SEGMENT_BATCH_HEADER_BYTES || batch.bytes % SEGMENT_ALIGNMENT != 0 ||
        batch.records == 0 || batch.records > SEGMENT_RECORDS_MAX)
        return -EBADMSG;
    *out_batch = batch;
    return 0;
}

/* The record at `at`, of which at most `left` bytes are there, as far as its header goes. */
static bool peek(const unsigned char *at, uint32_t left, struct record_view *out_view)
{
    return left >= RECORD_HEADER_BYTES && record_peek(at, out_view) && out_view->sequence > 0 &&
           segment_padded(out_view->bytes) <= left;
}

static bool is_whole(uint64_t seed, const unsigned char *bytes, const struct segment_batch *batch)
{
    uint32_t position = SEGMENT_BATCH_HEADER_BYTES;
    for (uint32_t index = 0; index < batch->records; index++) {
        struct record_view view;
        const unsigned char *at = bytes + position;
        if (!peek(at, batch->bytes - position, &view) ||
            !record_check(segment_record_seed(seed, view.partition), at, view.bytes))
            return false;
        position += (uint32_t)segment_padded(view.bytes);
    }
    return position == batch->bytes;
}

int segment_batch_scan(uint64_t seed, uint64_t offset, const void *bytes,
                       const struct segment_batch *batch, void *context,
                       int (*on_record)(void *context, const struct segment_record *record))
{
    const unsigned char *from = bytes;
    if (!is_whole(seed, from, batch))
        return -EBADMSG;
    uint32_t position = SEGMENT_BATCH_HEADER_BYTES;
    for (uint32_t index = 0; index < batch->records; index++) {
        struct segment_record record = {.offset = offset + position};
        bool is_record = record_peek(from + position, &record.view);
        ps_assert(is_record);
        position += (uint32_t)segment_padded(record.view.bytes);
        int result = on_record(context, &record);
        if (result < 0)
            return result;
    }
    return 0;
}

bool segment_record_peek(const void *bytes, uint16_t *out_partition, uint64_t *out_sequence,
                         uint32_t *out_bytes)
{
    struct record_view view;
    if (!record_peek(bytes, &view) || view.sequence == 0)
        return false;
    *out_partition = view.partition;
    *out_sequence = view.sequence;
    *out_bytes = view.bytes;
    return true;
}
