/*
 * Records in memory and in their encoded form; see record.h, and README.md for the layout. What is
 * decoded comes from a file or from the network: every length is checked before it is used.
 *
 * Any thread; the heap is the calling thread's.
 */
#include "broker_client/record.h"

#include <limits.h>

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/wire_little.h"

/* Offsets of the encoded form; README.md has them as a table. */
enum {
    AT_CHECKSUM = 0,
    AT_LENGTH = 8,
    AT_FORMAT = 12,
    AT_FLAGS = 13,
    AT_PARTITION = 14,
    AT_SEQUENCE = 16,
    AT_PUBLISH_MS = 24,
    AT_EXPIRY_MS = 32,
    AT_GENERATION = 40,
    AT_SESSION_NUMBER = 48,
    AT_DEDUPLICATION_ID = 64,
    AT_FIELDS_BYTES = 80,
    AT_TOPIC_BYTES = 84,
    AT_PACKET_ID = 86,
    HEADER_BYTES = RECORD_HEADER_BYTES
};

enum {
    FLAGS_ENCODED = RECORD_QOS_MASK | RECORD_RETAIN | RECORD_VALUE_ONLY | RECORD_WILL,
    FIELDS_BYTES_MAX = RECORD_PAYLOAD_BYTES_MAX /* a PUBLISH has no room for more */
};

/* The longest record's length fits the 32 bits it is stored in, so sums of lengths cannot wrap. */
#define ENCODED_BYTES_MAX                                                                          \
    ((uint64_t)HEADER_BYTES + RECORD_TOPIC_BYTES_MAX + FIELDS_BYTES_MAX + RECORD_PAYLOAD_BYTES_MAX)
_Static_assert(ENCODED_BYTES_MAX <= UINT32_MAX, "a record's length is stored in 32 bits");
_Static_assert(ENCODED_BYTES_MAX <= LONG_MAX, "a record's length is a result");

static size_t body_bytes(const struct record *record)
{
    return (size_t)record->topic_bytes + record->fields_bytes + record->payload_bytes;
}

size_t record_memory_bytes(uint32_t topic_bytes, uint32_t fields_bytes, uint32_t payload_bytes)
{
    return sizeof(struct record) + topic_bytes + fields_bytes + payload_bytes;
}

/* A zeroed record with one reference and the lengths set; its bytes are the caller's to fill. */
static struct record *record_alloc(struct heap *heap, uint32_t topic_bytes, uint32_t fields_bytes,
                                   uint32_t payload_bytes)
{
    struct record *record =
        heap_alloc(heap, record_memory_bytes(topic_bytes, fields_bytes, payload_bytes));
    if (record == NULL)
        return NULL;
    memset(record, 0, sizeof(*record));
    atomic_init(&record->references, 1);
    record->topic_bytes = (uint16_t)topic_bytes;
    record->fields_bytes = fields_bytes;
    record->payload_bytes = payload_bytes;
    return record;
}

struct record *record_create(struct heap *heap, const struct record_source *source)
{
    ps_assert(source->topic_bytes > 0 && source->topic_bytes <= RECORD_TOPIC_BYTES_MAX);
    ps_assert(source->fields_bytes <= FIELDS_BYTES_MAX);
    ps_assert(source->payload_bytes <= RECORD_PAYLOAD_BYTES_MAX);
    struct record *record =
        record_alloc(heap, source->topic_bytes, source->fields_bytes, source->payload_bytes);
    if (record == NULL)
        return NULL;
    record->flags = source->flags;
    unsigned char *bytes = record->bytes;
    memcpy(bytes, source->topic, source->topic_bytes);
    bytes += source->topic_bytes;
    if (source->fields_bytes > 0)
        memcpy(bytes, source->fields, source->fields_bytes);
    bytes += source->fields_bytes;
    if (source->payload_bytes > 0)
        memcpy(bytes, source->payload, source->payload_bytes);
    return record;
}

void record_release(struct heap *heap, struct record *record)
{
    /* The only holder needs no locked instruction: nobody is left who could acquire. */
    uint32_t before = atomic_load_explicit(&record->references, memory_order_acquire);
    if (before != 1)
        before = atomic_fetch_sub_explicit(&record->references, 1, memory_order_acq_rel);
    ps_assert(before > 0);
    if (before == 1)
        heap_free(heap, record);
}

size_t record_encoded_bytes(const struct record *record)
{
    return HEADER_BYTES + body_bytes(record);
}

static void store_id(unsigned char *bytes, struct record_id id)
{
    wire_little_store_u64(bytes, id.high);
    wire_little_store_u64(bytes + 8, id.low);
}

static struct record_id load_id(const unsigned char *bytes)
{
    return (struct record_id){wire_little_load_u64(bytes), wire_little_load_u64(bytes + 8)};
}

static uint64_t checksum(uint64_t seed, const unsigned char *bytes, size_t length)
{
    return hash_bytes_seeded(seed, bytes + AT_LENGTH, length - AT_LENGTH);
}

long record_encode(const struct record *record, uint64_t seed, void *out_bytes, size_t bytes_max)
{
    ps_assert((record->flags & ~FLAGS_ENCODED) == 0); /* a relayed record is never stored */
    size_t length = record_encoded_bytes(record);
    if (length > bytes_max)
        return -ENOBUFS;
    unsigned char *bytes = out_bytes;
    wire_little_store_u32(bytes + AT_LENGTH, (uint32_t)length);
    bytes[AT_FORMAT] = RECORD_FORMAT;
    bytes[AT_FLAGS] = record->flags;
    wire_little_store_u16(bytes + AT_PARTITION, record->partition);
    wire_little_store_u64(bytes + AT_SEQUENCE, record->sequence);
    wire_little_store_u64(bytes + AT_PUBLISH_MS, record->publish_ms);
    wire_little_store_u64(bytes + AT_EXPIRY_MS, record->expiry_ms);
    wire_little_store_u64(bytes + AT_GENERATION, record->generation);
    store_id(bytes + AT_SESSION_NUMBER, record->session_number);
    store_id(bytes + AT_DEDUPLICATION_ID, record->deduplication_id);
    wire_little_store_u32(bytes + AT_FIELDS_BYTES, record->fields_bytes);
    wire_little_store_u16(bytes + AT_TOPIC_BYTES, record->topic_bytes);
    wire_little_store_u16(bytes + AT_PACKET_ID, record->packet_id);
    memcpy(bytes + HEADER_BYTES, record->bytes, body_bytes(record));
    wire_little_store_u64(bytes + AT_CHECKSUM, checksum(seed, bytes, length));
    return (long)length;
}

/* What the header says of lengths, once it holds together. */
struct lengths {
    uint32_t topic_bytes;
    uint32_t fields_bytes;
    uint32_t payload_bytes;
    uint32_t all;
};

/* False: a header that no record has. */
static bool read_lengths(const unsigned char *bytes, struct lengths *out_lengths)
{
    uint32_t all = wire_little_load_u32(bytes + AT_LENGTH);
    uint32_t topic_bytes = wire_little_load_u16(bytes + AT_TOPIC_BYTES);
    uint32_t fields_bytes = wire_little_load_u32(bytes + AT_FIELDS_BYTES);
    uint8_t flags = bytes[AT_FLAGS];
    if (bytes[AT_FORMAT] != RECORD_FORMAT || (flags & ~FLAGS_ENCODED) != 0 ||
        (flags & RECORD_QOS_MASK) == RECORD_QOS_MASK)
        return false;
    if (topic_bytes == 0 || fields_bytes > FIELDS_BYTES_MAX ||
        all < HEADER_BYTES + topic_bytes + fields_bytes)
        return false;
    uint32_t payload_bytes = all - HEADER_BYTES - topic_bytes - fields_bytes;
    if (payload_bytes > RECORD_PAYLOAD_BYTES_MAX)
        return false;
    *out_lengths = (struct lengths){topic_bytes, fields_bytes, payload_bytes, all};
    return true;
}

long record_decode(struct heap *heap, uint64_t seed, const void *bytes, size_t count,
                   struct record **out_record)
{
    const unsigned char *from = bytes;
    if (count < HEADER_BYTES)
        return -EAGAIN;
    struct lengths lengths;
    if (!read_lengths(from, &lengths))
        return -EBADMSG;
    if (count < lengths.all)
        return -EAGAIN;
    if (wire_little_load_u64(from + AT_CHECKSUM) != checksum(seed, from, lengths.all))
        return -EBADMSG;
    struct record *record =
        record_alloc(heap, lengths.topic_bytes, lengths.fields_bytes, lengths.payload_bytes);
    if (record == NULL)
        return -ENOMEM;
    record->flags = from[AT_FLAGS];
    record->partition = wire_little_load_u16(from + AT_PARTITION);
    record->sequence = wire_little_load_u64(from + AT_SEQUENCE);
    record->publish_ms = wire_little_load_u64(from + AT_PUBLISH_MS);
    record->expiry_ms = wire_little_load_u64(from + AT_EXPIRY_MS);
    record->generation = wire_little_load_u64(from + AT_GENERATION);
    record->session_number = load_id(from + AT_SESSION_NUMBER);
    record->deduplication_id = load_id(from + AT_DEDUPLICATION_ID);
    record->packet_id = wire_little_load_u16(from + AT_PACKET_ID);
    memcpy(record->bytes, from + HEADER_BYTES, body_bytes(record));
    *out_record = record;
    return (long)lengths.all;
}

bool record_peek(const void *bytes, struct record_view *out_view)
{
    const unsigned char *from = bytes;
    struct lengths lengths;
    if (!read_lengths(from, &lengths))
        return false;
    out_view->sequence = wire_little_load_u64(from + AT_SEQUENCE);
    out_view->publish_ms = wire_little_load_u64(from + AT_PUBLISH_MS);
    out_view->deduplication_id = load_id(from + AT_DEDUPLICATION_ID);
    out_view->topic = from + HEADER_BYTES;
    out_view->bytes = lengths.all;
    out_view->topic_bytes = (uint16_t)lengths.topic_bytes;
    out_view->partition = wire_little_load_u16(from + AT_PARTITION);
    return true;
}

bool record_check(uint64_t seed, const void *bytes, uint32_t record_bytes)
{
    return wire_little_load_u64(bytes) == checksum(seed, bytes, record_bytes);
}
