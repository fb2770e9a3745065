/*
 * The MQTT encoders; see mqtt_encode.h. Each sums up what follows its fixed header in 64 bits, so
 * that no sum can wrap, then writes through a cursor over exactly that many bytes; that both agree
 * is asserted at the end of each packet.
 */
#include "net/mqtt_encode.h"

#include "mqtt_fields_internal.h"

static const unsigned char mqtt_name[] = "MQTT";
static const unsigned char mqisdp_name[] = "MQIsdp";

static uint64_t prefixed_bytes(const struct mqtt_bytes *field)
{
    /* What has no place behind 16 bits makes the packet too large. */
    return field->count <= WIRE_PREFIXED_BYTES_MAX ? 2 + field->count
                                                   : (uint64_t)MQTT_REMAINING_BYTES_MAX + 1;
}

static uint64_t properties_bytes(const struct mqtt_bytes *block, enum mqtt_level level)
{
    return level < MQTT_5_0 ? 0 : (uint64_t)wire_varint_bytes(block->count) + block->count;
}

static void write_properties(struct wire_writer *writer, const struct mqtt_bytes *block,
                             enum mqtt_level level)
{
    if (level < MQTT_5_0)
        return;
    wire_write_varint(writer, block->count);
    wire_write_bytes(writer, block->bytes, block->count);
}

/* Begins a packet of which `remaining_bytes` follow the fixed header and the last `payload_bytes`
 * are not the writer's. Answers what it takes up without these; 0 when there is no such packet.
 * Writes the fixed header when `out` is not NULL; then the caller goes on with the writer. */
static size_t packet_begin(struct wire_writer *writer, uint8_t first_byte, uint64_t remaining_bytes,
                           uint64_t payload_bytes, unsigned char *out)
{
    if (remaining_bytes > MQTT_REMAINING_BYTES_MAX)
        return 0;
    uint32_t length = (uint32_t)remaining_bytes;
    size_t head_bytes = 1u + wire_varint_bytes(length) + (length - (size_t)payload_bytes);
    if (out != NULL) {
        wire_writer_init(writer, out, head_bytes);
        wire_write_u8(writer, first_byte);
        wire_write_varint(writer, length);
    }
    return head_bytes;
}

static size_t packet_end(const struct wire_writer *writer, size_t bytes)
{
    ps_assert(writer->fault == WIRE_FAULT_NONE && wire_writer_left(writer) == 0);
    return bytes;
}

/* [MQTT-2.2.2-1]: bit 1 is set in the packets that a client may have to repeat. */
static uint8_t first_byte_of(enum mqtt_type type)
{
    bool is_two = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
    return (uint8_t)((unsigned)type << 4 | (is_two ? 2u : 0u));
}

size_t mqtt_encode_publish_head(const struct mqtt_publish *publish, enum mqtt_level level,
                                unsigned char *out)
{
    uint8_t first_byte = (uint8_t)((unsigned)MQTT_PUBLISH << 4 | (publish->is_dup ? 8u : 0u) |
                                   (unsigned)publish->qos << 1 | (publish->is_retain ? 1u : 0u));
    uint64_t remaining_bytes = prefixed_bytes(&publish->topic) + (publish->qos > 0 ? 2 : 0) +
                               properties_bytes(&publish->properties, level) +
                               publish->payload.count;
    struct wire_writer writer;
    size_t bytes = packet_begin(&writer, first_byte, remaining_bytes, publish->payload.count, out);
    if (out == NULL || bytes == 0)
        return bytes;
    mqtt_write_prefixed(&writer, &publish->topic);
    if (publish->qos > 0)
        wire_write_u16(&writer, publish->packet_id);
    write_properties(&writer, &publish->properties, level);
    return packet_end(&writer, bytes);
}

size_t mqtt_encode_publish(const struct mqtt_publish *publish, enum mqtt_level level,
                           unsigned char *out)
{
    size_t head_bytes = mqtt_encode_publish_head(publish, level, out);
    if (head_bytes == 0)
        return 0;
    if (out != NULL && publish->payload.count > 0)
        memcpy(out + head_bytes, publish->payload.bytes, publish->payload.count);
    return head_bytes + publish->payload.count;
}

size_t mqtt_encode_ack(enum mqtt_type type, uint16_t packet_id, unsigned char *out)
{
    if (out != NULL) {
        out[0] = first_byte_of(type);
        out[1] = 2;
        wire_store_u16(out + 2, packet_id);
    }
    return 4;
}

size_t mqtt_encode_ack_5(enum mqtt_type type, const struct mqtt_ack *ack, unsigned char *out)
{
    bool has_packet_id = type != MQTT_DISCONNECT && type != MQTT_AUTH;
    bool has_properties = ack->properties.count > 0;
    bool has_code = has_properties || ack->code != 0;
    uint64_t remaining_bytes = (has_packet_id ? 2u : 0u) + (has_code ? 1u : 0u) +
                               (has_properties ? properties_bytes(&ack->properties, MQTT_5_0) : 0);
    struct wire_writer writer;
    size_t bytes = packet_begin(&writer, first_byte_of(type), remaining_bytes, 0, out);
    if (out == NULL || bytes == 0)
        return bytes;
    if (has_packet_id)
        wire_write_u16(&writer, ack->packet_id);
    if (has_code)
        wire_write_u8(&writer, ack->code);
    if (has_properties)
        write_properties(&writer, &ack->properties, MQTT_5_0);
    return packet_end(&writer, bytes);
}

size_t mqtt_encode_connack(const struct mqtt_connack *connack, enum mqtt_level level,
                           unsigned char *out)
{
    struct wire_writer writer;
    size_t bytes = packet_begin(&writer, first_byte_of(MQTT_CONNACK),
                                2 + properties_bytes(&connack->properties, level), 0, out);
    if (out == NULL || bytes == 0)
        return bytes;
    wire_write_u8(&writer, connack->is_session_present && level > MQTT_3_1 ? 1 : 0);
    wire_write_u8(&writer, connack->code);
    write_properties(&writer, &connack->properties, level);
    return packet_end(&writer, bytes);
}

static size_t encode_codes(enum mqtt_type type, const struct mqtt_codes *codes,
                           const struct mqtt_bytes *list, enum mqtt_level level, unsigned char *out)
{
    struct wire_writer writer;
    size_t bytes =
        packet_begin(&writer, first_byte_of(type),
                     2 + properties_bytes(&codes->properties, level) + list->count, 0, out);
    if (out == NULL || bytes == 0)
        return bytes;
    wire_write_u16(&writer, codes->packet_id);
    write_properties(&writer, &codes->properties, level);
    wire_write_bytes(&writer, list->bytes, list->count);
    return packet_end(&writer, bytes);
}

size_t mqtt_encode_suback(const struct mqtt_codes *suback, enum mqtt_level level,
                          unsigned char *out)
{
    return encode_codes(MQTT_SUBACK, suback, &suback->codes, level, out);
}

size_t mqtt_encode_unsuback(const struct mqtt_codes *unsuback, enum mqtt_level level,
                            unsigned char *out)
{
    static const struct mqtt_bytes none;
    return encode_codes(MQTT_UNSUBACK, unsuback, level < MQTT_5_0 ? &none : &unsuback->codes, level,
                        out);
}

size_t mqtt_encode_empty(enum mqtt_type type, unsigned char *out)
{
    if (out != NULL) {
        out[0] = first_byte_of(type);
        out[1] = 0;
    }
    return 2;
}

static uint8_t connect_flags(const struct mqtt_connect *connect)
{
    unsigned will = connect->has_will ? 0x04u | (unsigned)connect->will_qos << 3 |
                                            (connect->will_retain ? 0x20u : 0u)
                                      : 0u;
    return (uint8_t)((connect->is_clean ? 0x02u : 0u) | will |
                     (connect->has_password ? 0x40u : 0u) | (connect->has_user_name ? 0x80u : 0u));
}

static struct mqtt_bytes protocol_name(uint8_t level)
{
    if (level == MQTT_3_1)
        return (struct mqtt_bytes){mqisdp_name, sizeof(mqisdp_name) - 1};
    return (struct mqtt_bytes){mqtt_name, sizeof(mqtt_name) - 1};
}

size_t mqtt_encode_connect(const struct mqtt_connect *connect, unsigned char *out)
{
    enum mqtt_level level = (enum mqtt_level)connect->level;
    struct mqtt_bytes name = protocol_name(connect->level);
    uint64_t remaining_bytes = prefixed_bytes(&name) + 4 +
                               properties_bytes(&connect->properties, level) +
                               prefixed_bytes(&connect->client_id);
    if (connect->has_will)
        remaining_bytes += properties_bytes(&connect->will_properties, level) +
                           prefixed_bytes(&connect->will_topic) +
                           prefixed_bytes(&connect->will_payload);
    if (connect->has_user_name)
        remaining_bytes += prefixed_bytes(&connect->user_name);
    if (connect->has_password)
        remaining_bytes += prefixed_bytes(&connect->password);
    struct wire_writer writer;
    size_t bytes = packet_begin(&writer, first_byte_of(MQTT_CONNECT), remaining_bytes, 0, out);
    if (out == NULL || bytes == 0)
        return bytes;
    mqtt_write_prefixed(&writer, &name);
    wire_write_u8(&writer, connect->level);
    wire_write_u8(&writer, connect_flags(connect));
    wire_write_u16(&writer, connect->keepalive_seconds);
    write_properties(&writer, &connect->properties, level);
    mqtt_write_prefixed(&writer, &connect->client_id);
    if (connect->has_will) {
        write_properties(&writer, &connect->will_properties, level);
        mqtt_write_prefixed(&writer, &connect->will_topic);
        mqtt_write_prefixed(&writer, &connect->will_payload);
    }
    if (connect->has_user_name)
        mqtt_write_prefixed(&writer, &connect->user_name);
    if (connect->has_password)
        mqtt_write_prefixed(&writer, &connect->password);
    return packet_end(&writer, bytes);
}

size_t mqtt_encode_filters(bool has_qos, uint16_t packet_id, const struct mqtt_filter *filters,
                           uint32_t count, enum mqtt_level level, unsigned char *out)
{
    static const struct mqtt_bytes no_properties;
    uint64_t remaining_bytes = 2 + properties_bytes(&no_properties, level);
    for (uint32_t index = 0; index < count; index++)
        remaining_bytes += prefixed_bytes(&filters[index].text) + (has_qos ? 1 : 0);
    struct wire_writer writer;
    size_t bytes = packet_begin(&writer, first_byte_of(has_qos ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE),
                                remaining_bytes, 0, out);
    if (out == NULL || bytes == 0)
        return bytes;
    wire_write_u16(&writer, packet_id);
    write_properties(&writer, &no_properties, level);
    for (uint32_t index = 0; index < count; index++) {
        const struct mqtt_filter *filter = &filters[index];
        mqtt_write_prefixed(&writer, &filter->text);
        uint8_t upper_bits = level < MQTT_5_0 ? 0 : filter->options & 0xfc;
        if (has_qos)
            wire_write_u8(&writer, upper_bits | filter->qos);
    }
    return packet_end(&writer, bytes);
}
