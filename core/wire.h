/*
 * Integers and byte strings on the wire, all big-endian: two cursors that check every step. A
 * cursor's fault is sticky: after the first one it is at its end, reads answer 0 or NULL and writes
 * do nothing, so that a decoder reads straight down and asks once. Loads and stores at a place that
 * is known to hold them are in core/wire_big.h.
 *
 * Owner: the caller, usually its stack. Thread: any. Never allocates; never looks outside the
 * memory it was given.
 */
#ifndef PENSTOCK_CORE_WIRE_H
#define PENSTOCK_CORE_WIRE_H

#include "core/base.h"
#include "core/wire_big.h"

enum {
    WIRE_VARINT_BYTES_MAX = 4,
    WIRE_VARINT_MAX = 268435455, /* 2^28 - 1 */
    WIRE_PREFIXED_BYTES_MAX = 65535
};

enum wire_fault {
    WIRE_FAULT_NONE,
    WIRE_FAULT_END,   /* a field goes on beyond the end */
    WIRE_FAULT_VARINT /* a varint goes on beyond four bytes; on writing: the value is too large */
};

/* Bytes that a varint takes: seven bits of value each, least significant first, 1 to 4 of them.
 * `value` is at most WIRE_VARINT_MAX. */
static inline uint32_t wire_varint_bytes(uint32_t value)
{
    return 1u + (value > 0x7f) + (value > 0x3fff) + (value > 0x1fffff);
}

struct wire_reader {
    const unsigned char *position; /* next byte to read */
    const unsigned char *end;
    enum wire_fault fault; /* the first one */
};

static inline void wire_reader_init(struct wire_reader *reader, const void *bytes, size_t count)
{
    reader->position = bytes;
    reader->end = count > 0 ? reader->position + count : reader->position;
    reader->fault = WIRE_FAULT_NONE;
}

static inline size_t wire_reader_left(const struct wire_reader *reader)
{
    return (size_t)(reader->end - reader->position);
}

static inline void wire_reader_fail(struct wire_reader *reader, enum wire_fault fault)
{
    if (reader->fault == WIRE_FAULT_NONE)
        reader->fault = fault;
    reader->position = reader->end;
}

/* The next `count` bytes where they stand, or NULL with the fault set when there are fewer. For 0
 * bytes the result is the position (NULL in a reader of nothing): ask `fault`, not the pointer. */
static inline const unsigned char *wire_read_bytes(struct wire_reader *reader, size_t count)
{
    if (ps_unlikely(wire_reader_left(reader) < count)) {
        wire_reader_fail(reader, WIRE_FAULT_END);
        return NULL;
    }
    const unsigned char *bytes = reader->position;
    if (count > 0)
        reader->position += count;
    return bytes;
}

static inline uint8_t wire_read_u8(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_read_bytes(reader, 1);
    return bytes != NULL ? bytes[0] : 0;
}

static inline uint16_t wire_read_u16(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_read_bytes(reader, 2);
    return bytes != NULL ? wire_load_u16(bytes) : 0;
}

static inline uint32_t wire_read_u32(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_read_bytes(reader, 4);
    return bytes != NULL ? wire_load_u32(bytes) : 0;
}

static inline uint64_t wire_read_u64(struct wire_reader *reader)
{
    const unsigned char *bytes = wire_read_bytes(reader, 8);
    return bytes != NULL ? wire_load_u64(bytes) : 0;
}

/* 0 to WIRE_VARINT_MAX. Longer forms of a small value are accepted; who must refuse them compares
 * the bytes read with wire_varint_bytes. */
static inline uint32_t wire_read_varint(struct wire_reader *reader)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 7 * WIRE_VARINT_BYTES_MAX; shift += 7) {
        uint8_t byte = wire_read_u8(reader);
        value |= (uint32_t)(byte & 0x7f) << shift;
        if (ps_likely(byte < 0x80)) /* also the 0 of a reader that has failed */
            return reader->fault == WIRE_FAULT_NONE ? value : 0;
    }
    wire_reader_fail(reader, WIRE_FAULT_VARINT);
    return 0;
}

/* Bytes behind a 16-bit length, as a view; *out_count is 0 after a fault. */
static inline const unsigned char *wire_read_prefixed(struct wire_reader *reader,
                                                      uint32_t *out_count)
{
    uint32_t count = wire_read_u16(reader);
    const unsigned char *bytes = wire_read_bytes(reader, count);
    *out_count = bytes != NULL ? count : 0;
    return bytes;
}

struct wire_writer {
    unsigned char *position; /* next byte to write */
    unsigned char *end;
    enum wire_fault fault; /* the first one */
};

static inline void wire_writer_init(struct wire_writer *writer, void *bytes, size_t count)
{
    writer->position = bytes;
    writer->end = count > 0 ? writer->position + count : writer->position;
    writer->fault = WIRE_FAULT_NONE;
}

static inline size_t wire_writer_left(const struct wire_writer *writer)
{
    return (size_t)(writer->end - writer->position);
}

static inline void wire_writer_fail(struct wire_writer *writer, enum wire_fault fault)
{
    if (writer->fault == WIRE_FAULT_NONE)
        writer->fault = fault;
    writer->end = writer->position;
}

/* Room for `count` bytes that the caller fills, or NULL with the fault set. */
static inline unsigned char *wire_write_room(struct wire_writer *writer, size_t count)
{
    if (ps_unlikely(wire_writer_left(writer) < count)) {
        wire_writer_fail(writer, WIRE_FAULT_END);
        return NULL;
    }
    unsigned char *room = writer->position;
    if (count > 0)
        writer->position += count;
    return room;
}

static inline void wire_write_u8(struct wire_writer *writer, uint8_t value)
{
    unsigned char *room = wire_write_room(writer, 1);
    if (room != NULL)
        room[0] = value;
}

static inline void wire_write_u16(struct wire_writer *writer, uint16_t value)
{
    unsigned char *room = wire_write_room(writer, 2);
    if (room != NULL)
        wire_store_u16(room, value);
}

static inline void wire_write_u32(struct wire_writer *writer, uint32_t value)
{
    unsigned char *room = wire_write_room(writer, 4);
    if (room != NULL)
        wire_store_u32(room, value);
}

static inline void wire_write_u64(struct wire_writer *writer, uint64_t value)
{
    unsigned char *room = wire_write_room(writer, 8);
    if (room != NULL)
        wire_store_u64(room, value);
}

static inline void wire_write_varint(struct wire_writer *writer, uint32_t value)
{
    if (ps_unlikely(value > WIRE_VARINT_MAX)) {
        wire_writer_fail(writer, WIRE_FAULT_VARINT);
        return;
    }
    for (; value > 0x7f; value >>= 7)
        wire_write_u8(writer, (uint8_t)(value | 0x80));
    wire_write_u8(writer, (uint8_t)value);
}

/* `bytes` may be NULL when `count` is 0. */
static inline void wire_write_bytes(struct wire_writer *writer, const void *bytes, size_t count)
{
    unsigned char *room = wire_write_room(writer, count);
    if (room != NULL && count > 0)
        memcpy(room, bytes, count);
}

/* A 16-bit length, then the bytes; more than WIRE_PREFIXED_BYTES_MAX are a fault. */
static inline void wire_write_prefixed(struct wire_writer *writer, const void *bytes, size_t count)
{
    if (ps_unlikely(count > WIRE_PREFIXED_BYTES_MAX)) {
        wire_writer_fail(writer, WIRE_FAULT_END);
        return;
    }
    wire_write_u16(writer, (uint16_t)count);
    wire_write_bytes(writer, bytes, count);
}

#endif
