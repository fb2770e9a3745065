/*
 * What must hold for every packet that the decoder accepts, whatever bytes it came from: its views
 * lie inside the packet, and encoding it again gives a packet that means the same, and the same
 * bytes where MQTT leaves no choice. Shared by unit tests and fuzz targets. For tests only.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_MQTT_ECHO_H
#define PENSTOCK_TESTS_SUPPORT_MQTT_ECHO_H

#include <stdlib.h>

#include "core/wire.h"
#include "net/mqtt_decode.h"
#include "net/mqtt_encode.h"
#include "net/mqtt_properties.h"

static inline size_t mqtt_echo_filters(const struct mqtt_filters *list, enum mqtt_level level,
                                       unsigned char *out)
{
    struct mqtt_filter *filters = calloc(list->count, sizeof(*filters));
    ps_assert(filters != NULL);
    uint32_t position = 0;
    uint32_t count = 0;
    while (count < list->count && mqtt_filter_next(list, &position, &filters[count]))
        count++;
    struct mqtt_filter beyond;
    ps_assert(count == list->count && !mqtt_filter_next(list, &position, &beyond));
    size_t bytes =
        mqtt_encode_filters(list->has_options, list->packet_id, filters, count, level, out);
    free(filters);
    return bytes;
}

/* Encodes a decoded packet again. */
static inline size_t mqtt_echo(const struct mqtt_packet *packet, enum mqtt_level level,
                               unsigned char *out)
{
    switch (packet->type) {
    case MQTT_CONNECT:
        return mqtt_encode_connect(&packet->connect, out);
    case MQTT_CONNACK:
        return mqtt_encode_connack(&packet->connack, level, out);
    case MQTT_PUBLISH:
        return mqtt_encode_publish(&packet->publish, level, out);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return level < MQTT_5_0 ? mqtt_encode_ack(packet->type, packet->ack.packet_id, out)
                                : mqtt_encode_ack_5(packet->type, &packet->ack, out);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return mqtt_echo_filters(&packet->filters, level, out);
    case MQTT_SUBACK:
        return mqtt_encode_suback(&packet->codes, level, out);
    case MQTT_UNSUBACK:
        return mqtt_encode_unsuback(&packet->codes, level, out);
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        return level < MQTT_5_0 ? mqtt_encode_empty(packet->type, out)
                                : mqtt_encode_ack_5(packet->type, &packet->ack, out);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_encode_empty(packet->type, out);
    case MQTT_PACKET_TYPES:
        break;
    }
    ps_assert_failed("a type that the decoder gives", __FILE__, __LINE__);
}

/* Walking the properties of a block and writing them again gives the same bytes. */
static inline void mqtt_echo_check_properties(const struct mqtt_bytes *block)
{
    unsigned char *copy = malloc(block->count + 1);
    ps_assert(copy != NULL);
    struct wire_writer writer;
    wire_writer_init(&writer, copy, block->count);
    uint32_t position = 0;
    struct mqtt_property property;
    while (mqtt_property_next(block, &position, &property)) {
        struct mqtt_property found;
        ps_assert(mqtt_property_find(block, property.id, &found) && found.id == property.id);
        mqtt_property_write(&writer, &property);
    }
    ps_assert(writer.fault == WIRE_FAULT_NONE && wire_writer_left(&writer) == 0);
    ps_assert(block->count == 0 || memcmp(copy, block->bytes, block->count) == 0);
    free(copy);
}

/* The views of a packet; its blocks of properties are the first *out_blocks of them. */
static inline uint32_t mqtt_echo_views(const struct mqtt_packet *packet,
                                       const struct mqtt_bytes *out_views[8], uint32_t *out_blocks)
{
    uint32_t count = 0;
    *out_blocks = 1;
    switch (packet->type) {
    case MQTT_CONNECT:
        out_views[count++] = &packet->connect.properties;
        out_views[count++] = &packet->connect.will_properties;
        *out_blocks = count;
        out_views[count++] = &packet->connect.client_id;
        out_views[count++] = &packet->connect.will_topic;
        out_views[count++] = &packet->connect.will_payload;
        out_views[count++] = &packet->connect.user_name;
        out_views[count++] = &packet->connect.password;
        return count;
    case MQTT_CONNACK:
        out_views[count++] = &packet->connack.properties;
        return count;
    case MQTT_PUBLISH:
        out_views[count++] = &packet->publish.properties;
        out_views[count++] = &packet->publish.topic;
        out_views[count++] = &packet->publish.payload;
        return count;
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        out_views[count++] = &packet->filters.properties;
        out_views[count++] = &packet->filters.list;
        return count;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        out_views[count++] = &packet->codes.properties;
        out_views[count++] = &packet->codes.codes;
        return count;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        out_views[count++] = &packet->ack.properties;
        return count;
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    case MQTT_PACKET_TYPES:
        break;
    }
    *out_blocks = 0;
    return 0;
}

static inline void mqtt_echo_check_views(const struct mqtt_packet *packet,
                                         const unsigned char *bytes, const struct mqtt_frame *frame)
{
    const struct mqtt_bytes *views[8];
    uint32_t blocks;
    uint32_t count = mqtt_echo_views(packet, views, &blocks);
    for (uint32_t index = 0; index < count; index++) {
        const struct mqtt_bytes *view = views[index];
        ps_assert(view->count == 0 || (view->bytes >= bytes + frame->header_bytes &&
                                       view->bytes + view->count <= bytes + frame->packet_bytes));
        if (index < blocks)
            mqtt_echo_check_properties(view);
    }
}

/* Whether MQTT leaves no choice in how this packet is written: with the shortest length, and
 * without what 3.1 disregards or 5.0 may leave out. */
static inline bool mqtt_echo_is_exact(const struct mqtt_packet *packet,
                                      const struct mqtt_frame *frame, enum mqtt_level level)
{
    bool is_shortest =
        frame->header_bytes == 1 + wire_varint_bytes(frame->packet_bytes - frame->header_bytes);
    bool is_publish = packet->type == MQTT_PUBLISH;
    bool has_one_form =
        packet->type == MQTT_CONNACK || packet->type == MQTT_SUBACK || packet->type == MQTT_CONNECT;
    return is_shortest &&
           (level == MQTT_3_1_1 || is_publish || (level == MQTT_5_0 && has_one_form));
}

/* Asserts all of the above for a packet that mqtt_decode accepted at `level`. */
static inline void mqtt_echo_check(const struct mqtt_packet *packet, const unsigned char *bytes,
                                   const struct mqtt_frame *frame, enum mqtt_level level)
{
    if (packet->type == MQTT_CONNECT)
        level = (enum mqtt_level)packet->connect.level;
    mqtt_echo_check_views(packet, bytes, frame);
    size_t count = mqtt_echo(packet, level, NULL);
    ps_assert(count > 0 && count <= frame->packet_bytes);
    unsigned char *copy = malloc(count);
    ps_assert(copy != NULL && mqtt_echo(packet, level, copy) == count);
    if (mqtt_echo_is_exact(packet, frame, level))
        ps_assert(count == frame->packet_bytes && memcmp(copy, bytes, count) == 0);

    struct mqtt_frame frame_again;
    struct mqtt_packet packet_again;
    ps_assert(mqtt_frame_find(copy, count, UINT32_MAX, &frame_again) == MQTT_FRAME_WHOLE);
    ps_assert(frame_again.packet_bytes == count);
    ps_assert(mqtt_decode(copy, &frame_again, level, &packet_again) == MQTT_GOOD);
    unsigned char *copy_again = malloc(count);
    ps_assert(copy_again != NULL && mqtt_echo(&packet_again, level, copy_again) == count);
    ps_assert(memcmp(copy, copy_again, count) == 0);
    free(copy_again);
    free(copy);
}

#endif
