/*
 * A message as the broker keeps it: one immutable, reference-counted buffer, encoded once where it
 * enters the house and shared by every shard, session and log that needs it.
 *
 * Ownership: record_create gives one reference. Any thread may acquire and release; the last
 * release frees. Fields may be written only by the creator before the record is handed on, except
 * `sequence`, which the driver writes at the commit, before anybody else can see it. After that
 * nothing changes.
 */
#ifndef PENSTOCK_BROKER_CLIENT_RECORD_H
#define PENSTOCK_BROKER_CLIENT_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

enum {
    RECORD_FORMAT = 1,                   /* format number of the encoded form */
    RECORD_TOPIC_BYTES_MAX = 65535,      /* MQTT 1.5.3 */
    RECORD_PAYLOAD_BYTES_MAX = 268435455 /* MQTT 2.2.3 */
};

enum record_flags {
    RECORD_QOS_MASK = 0x03,   /* published QoS, 0 to 2 */
    RECORD_RETAIN = 0x04,     /* published with RETAIN = 1 */
    RECORD_VALUE_ONLY = 0x08, /* carries a retained value; live subscriptions do not match it */
    RECORD_WILL = 0x10,       /* published by a gateway for a client that went away */
    RECORD_RELAYED = 0x20     /* unlogged: has no sequence; never encoded */
};

struct record_id {
    uint64_t high;
    uint64_t low;
};

/* What a creator fills in; the pointers need to live only until record_create returns. */
struct record_source {
    const void *topic;
    const void *fields; /* block of tagged fields (MQTT properties); NULL when fields_bytes is 0 */
    const void *payload;
    uint32_t topic_bytes; /* 1 to RECORD_TOPIC_BYTES_MAX */
    uint32_t fields_bytes;
    uint32_t payload_bytes; /* 0 to RECORD_PAYLOAD_BYTES_MAX */
    uint8_t flags;          /* enum record_flags */
};

struct record {
    _Atomic uint32_t references;
    uint32_t payload_bytes;
    uint32_t fields_bytes;
    uint16_t topic_bytes;
    uint16_t partition;
    uint16_t packet_id;                /* the publisher's, QoS 2 only; else 0 */
    uint8_t flags;                     /* enum record_flags */
    uint64_t sequence;                 /* 0 until committed, and for ever when relayed */
    uint64_t topic_hash;               /* seeded per process; never stored */
    uint64_t publish_ms;               /* wall time, ms since 1970 */
    uint64_t expiry_ms;                /* wall time; 0: never */
    uint64_t generation;               /* of the packet id, QoS 2 only */
    struct record_id session_number;   /* the publisher's; zero: none */
    struct record_id deduplication_id; /* zero: not deduplicated */
    unsigned char bytes[];             /* topic, fields, payload, in this order */
};

static inline const unsigned char *record_topic(const struct record *record)
{
    return record->bytes;
}

static inline const unsigned char *record_fields(const struct record *record)
{
    return record->bytes + record->topic_bytes;
}

static inline const unsigned char *record_payload(const struct record *record)
{
    return record->bytes + record->topic_bytes + record->fields_bytes;
}

static inline unsigned record_qos(const struct record *record)
{
    return record->flags & RECORD_QOS_MASK;
}

static inline bool record_id_is_zero(struct record_id id)
{
    return (id.high | id.low) == 0;
}

static inline bool record_id_equal(struct record_id a, struct record_id b)
{
    return a.high == b.high && a.low == b.low;
}

/* Bytes that a record of these lengths takes in memory. */
size_t record_memory_bytes(uint32_t topic_bytes, uint32_t fields_bytes, uint32_t payload_bytes);

/* A record with one reference and every field that the source does not name zero; NULL when `heap`
 * is out of its budget. */
struct record *record_create(struct heap *heap, const struct record_source *source);

static inline struct record *record_acquire(struct record *record)
{
    atomic_fetch_add_explicit(&record->references, 1, memory_order_relaxed);
    return record;
}

/* Gives one reference back; the last one frees the record into `heap`, the calling thread's own. */
void record_release(struct heap *heap, struct record *record);

/* Bytes of the encoded form, which is the same for every driver and for values that hold a record
 * (little-endian; layout in broker_client/README.md). */
size_t record_encoded_bytes(const struct record *record);

/* Writes the encoded form. `seed` goes into the checksum (xxh3), so that bytes of another place or
 * time are not taken for this one. Result: the bytes written, or -ENOBUFS when `bytes_max` is too
 * small. */
long record_encode(const struct record *record, uint64_t seed, void *out_bytes, size_t bytes_max);

/* Reads one encoded record from the start of `bytes`. Result: the bytes it took, with *out_record a
 * new record; -EAGAIN: `count` ends before the record does; -EBADMSG: checksum, format or a length
 * is wrong; -ENOMEM. topic_hash is left 0 for the caller. */
long record_decode(struct heap *heap, uint64_t seed, const void *bytes, size_t count,
                   struct record **out_record);

enum { RECORD_HEADER_BYTES = 88 }; /* of the encoded form, before the topic */

/* What an encoded record says of itself, for who steps over records or indexes them. */
struct record_view {
    uint64_t sequence;
    uint64_t publish_ms;
    struct record_id deduplication_id;
    const unsigned char *topic; /* behind the header; may be beyond the bytes that are there */
    uint32_t bytes;             /* of the whole encoded record */
    uint16_t topic_bytes;
    uint16_t partition;
};

/* Reads the header alone, RECORD_HEADER_BYTES of `bytes`, without the checksum. False: no record
 * has such a header. */
bool record_peek(const void *bytes, struct record_view *out_view);

/* True: the checksum of an encoded record of that many bytes, all there, holds. */
bool record_check(uint64_t seed, const void *bytes, uint32_t record_bytes);

#endif
