/*
 * What decoder, encoders and properties share: fields as struct mqtt_bytes on the cursors of
 * core/wire.h, and scanning text eight bytes at a time. Stateless; any thread.
 */
#ifndef PENSTOCK_NET_MQTT_FIELDS_INTERNAL_H
#define PENSTOCK_NET_MQTT_FIELDS_INTERNAL_H

#include "core/wire.h"
#include "net/mqtt_packet.h"

static inline struct mqtt_bytes mqtt_read_prefixed(struct wire_reader *reader)
{
    struct mqtt_bytes field;
    field.bytes = wire_read_prefixed(reader, &field.count);
    return field;
}

/* What is left of the reader. A packet is smaller than 2^28 bytes. */
static inline struct mqtt_bytes mqtt_read_rest(struct wire_reader *reader)
{
    struct mqtt_bytes field = {.count = (uint32_t)wire_reader_left(reader)};
    field.bytes = wire_read_bytes(reader, field.count);
    return field;
}

/* A varint in its shortest form, as 5.0 demands [MQTT-1.5.5-1]; a longer one is a fault. */
static inline uint32_t mqtt_read_shortest_varint(struct wire_reader *reader)
{
    size_t left = wire_reader_left(reader);
    uint32_t value = wire_read_varint(reader);
    if (reader->fault == WIRE_FAULT_NONE &&
        left - wire_reader_left(reader) != wire_varint_bytes(value))
        wire_reader_fail(reader, WIRE_FAULT_VARINT);
    return value;
}

static inline void mqtt_write_prefixed(struct wire_writer *writer, const struct mqtt_bytes *field)
{
    wire_write_prefixed(writer, field->bytes, field->count);
}

static inline uint64_t mqtt_text_load_u64(const unsigned char *text)
{
    uint64_t word;
    memcpy(&word, text, sizeof(word));
    return word;
}

static inline uint64_t mqtt_text_load_u32(const unsigned char *text)
{
    uint32_t word;
    memcpy(&word, text, sizeof(word));
    return word;
}

#define MQTT_TEXT_ONES  0x0101010101010101u
#define MQTT_TEXT_HIGHS 0x8080808080808080u

/* Nonzero when a byte of the word is not ASCII, or is U+0000. Subtracting 1 borrows only from a
 * zero byte, so that without one and without a high bit the result has no high bit either. */
static inline uint64_t mqtt_text_not_ascii(uint64_t word)
{
    return (word | (word - MQTT_TEXT_ONES)) & MQTT_TEXT_HIGHS;
}

/* Nonzero when a byte of the word is '+' or '#', which differ in one bit only. */
static inline uint64_t mqtt_text_wildcards(uint64_t word)
{
    uint64_t zero = (word | 0x08 * MQTT_TEXT_ONES) ^ '+' * MQTT_TEXT_ONES;
    return (zero - MQTT_TEXT_ONES) & ~zero & MQTT_TEXT_HIGHS;
}

static inline uint64_t mqtt_text_not_plain(uint64_t word)
{
    return mqtt_text_not_ascii(word) | mqtt_text_wildcards(word);
}

/* Only ASCII, without U+0000 and without wildcards: what nearly all topics are, found out in some
 * ten instructions per eight bytes. The last words overlap instead of ending in a loop over bytes.
 */
static inline bool mqtt_text_is_plain(const unsigned char *text, uint32_t bytes)
{
    uint64_t bad = 0;
    if (bytes >= 8) {
        for (uint32_t index = 0; index < bytes - 8; index += 8)
            bad |= mqtt_text_not_plain(mqtt_text_load_u64(text + index));
        bad |= mqtt_text_not_plain(mqtt_text_load_u64(text + bytes - 8));
    } else if (bytes >= 4) {
        bad = mqtt_text_not_plain(mqtt_text_load_u32(text) | mqtt_text_load_u32(text + bytes - 4)
                                                                 << 32);
    } else if (bytes > 0) {
        bad = mqtt_text_not_plain((MQTT_TEXT_ONES & ~(uint64_t)0xffffff) | text[0] |
                                  (uint64_t)text[bytes / 2] << 8 | (uint64_t)text[bytes - 1] << 16);
    }
    return bad == 0;
}

#endif
