/*
 * One good packet of every kind and level, as its first byte and what follows the fixed header.
 * What the tests of decoder and encoder begin from. For tests only.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_MQTT_SAMPLES_H
#define PENSTOCK_TESTS_SUPPORT_MQTT_SAMPLES_H

#include "core/wire.h"
#include "net/mqtt_packet.h"

struct mqtt_sample {
    const char *name;
    enum mqtt_level level;
    uint8_t first_byte;
    const char *body;
    size_t body_bytes;
};

#define MQTT_BODY(literal) (literal), sizeof(literal) - 1

/* Puts a fixed header before the body; answers the bytes of the whole packet. */
static inline size_t mqtt_sample_write(uint8_t first_byte, const void *body, size_t body_bytes,
                                       unsigned char *out, size_t out_bytes)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, out_bytes);
    wire_write_u8(&writer, first_byte);
    wire_write_varint(&writer, (uint32_t)body_bytes);
    wire_write_bytes(&writer, body, body_bytes);
    ps_assert(writer.fault == WIRE_FAULT_NONE);
    return (size_t)(writer.position - out);
}

static const struct mqtt_sample mqtt_samples[] = {
    {"CONNECT 3.1", MQTT_3_1, 0x10, MQTT_BODY("\0\6MQIsdp\3\2\0\74\0\3abc")},
    {"CONNECT 3.1 with all", MQTT_3_1, 0x10,
     MQTT_BODY("\0\6MQIsdp\3\356\0\74\0\3abc\0\3w/t\0\2\0\1\0\1u\0\1p")},
    {"CONNECT", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\2\0\74\0\3abc")},
    {"CONNECT without client id", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\2\0\0\0\0")},
    {"CONNECT with all", MQTT_3_1_1, 0x10,
     MQTT_BODY("\0\4MQTT\4\366\377\377\0\3abc\0\3w/t\0\2\0\1\0\2\303\244\0\2p\0")},
    {"CONNECT with an empty will", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\4\0\1\0\3abc\0\1t\0\0")},
    {"CONNECT with user name alone", MQTT_3_1_1, 0x10, MQTT_BODY("\0\4MQTT\4\202\0\1\0\3abc\0\0")},
    {"CONNECT 5.0", MQTT_5_0, 0x10,
     MQTT_BODY("\0\4MQTT\5\306\0\74\5\21\0\0\0\12\0\3abc\5\30\0\0\0\1\0\1t\0\1w\0\1u\0\1p")},
    {"CONNECT 5.0 with password alone", MQTT_5_0, 0x10,
     MQTT_BODY("\0\4MQTT\5\100\0\74\0\0\3abc\0\1p")},
    {"CONNACK 3.1", MQTT_3_1, 0x20, MQTT_BODY("\0\0")},
    {"CONNACK", MQTT_3_1_1, 0x20, MQTT_BODY("\1\0")},
    {"CONNACK refusing", MQTT_3_1_1, 0x20, MQTT_BODY("\0\5")},
    {"CONNACK 5.0", MQTT_5_0, 0x20, MQTT_BODY("\0\0\5\41\0\12\44\1")},
    {"PUBLISH", MQTT_3_1_1, 0x30, MQTT_BODY("\0\3a/bhello")},
    {"PUBLISH of one letter", MQTT_3_1_1, 0x30, MQTT_BODY("\0\1a")},
    {"PUBLISH retained, empty", MQTT_3_1_1, 0x31, MQTT_BODY("\0\13a/b/c/d/e/f")},
    {"PUBLISH at QoS 1", MQTT_3_1_1, 0x32, MQTT_BODY("\0\7a/b/\303\244/\0\1hello")},
    {"PUBLISH at QoS 2 again", MQTT_3_1_1, 0x3d, MQTT_BODY("\0\3a/b\377\377\0\1\2")},
    {"PUBLISH 3.1", MQTT_3_1, 0x3a, MQTT_BODY("\0\3a/b\0\12hello")},
    {"PUBLISH 5.0", MQTT_5_0, 0x32, MQTT_BODY("\0\3a/b\0\12\11\1\1\13\1\13\2\43\0\1hello")},
    {"PUBLISH 5.0 by alias", MQTT_5_0, 0x30, MQTT_BODY("\0\0\3\43\0\1hello")},
    {"PUBACK 3.1", MQTT_3_1, 0x40, MQTT_BODY("\0\1")},
    {"PUBACK", MQTT_3_1_1, 0x40, MQTT_BODY("\22\64")},
    {"PUBREC", MQTT_3_1_1, 0x50, MQTT_BODY("\22\64")},
    {"PUBREL", MQTT_3_1_1, 0x62, MQTT_BODY("\22\64")},
    {"PUBREL 3.1 again", MQTT_3_1, 0x6a, MQTT_BODY("\22\64")},
    {"PUBCOMP", MQTT_3_1_1, 0x70, MQTT_BODY("\22\64")},
    {"PUBACK 5.0 short", MQTT_5_0, 0x40, MQTT_BODY("\22\64")},
    {"PUBREC 5.0 with code", MQTT_5_0, 0x50, MQTT_BODY("\22\64\220")},
    {"PUBREL 5.0 with all", MQTT_5_0, 0x62, MQTT_BODY("\22\64\222\6\37\0\3why")},
    {"PUBCOMP 5.0 with all, empty", MQTT_5_0, 0x70, MQTT_BODY("\22\64\0\0")},
    {"SUBSCRIBE 3.1", MQTT_3_1, 0x82, MQTT_BODY("\0\12\0\3a/b\1")},
    {"SUBSCRIBE 3.1 again", MQTT_3_1, 0x8a, MQTT_BODY("\0\12\0\3a/b\1")},
    {"SUBSCRIBE", MQTT_3_1_1, 0x82, MQTT_BODY("\0\12\0\3a/b\0\0\3c/#\1\0\1+\2\0\1a\2")},
    {"SUBSCRIBE 5.0", MQTT_5_0, 0x82, MQTT_BODY("\0\12\2\13\1\0\3a/b\56\0\1#\1")},
    {"SUBACK 3.1", MQTT_3_1, 0x90, MQTT_BODY("\0\12\2")},
    {"SUBACK", MQTT_3_1_1, 0x90, MQTT_BODY("\0\12\0\1\2\200")},
    {"SUBACK 5.0", MQTT_5_0, 0x90, MQTT_BODY("\0\12\7\46\0\1k\0\1v\0\207")},
    {"UNSUBSCRIBE 3.1 again", MQTT_3_1, 0xaa, MQTT_BODY("\0\12\0\1#")},
    {"UNSUBSCRIBE", MQTT_3_1_1, 0xa2, MQTT_BODY("\0\12\0\3a/b\0\3c/#")},
    {"UNSUBSCRIBE 5.0", MQTT_5_0, 0xa2, MQTT_BODY("\0\12\0\0\3a/b")},
    {"UNSUBACK 3.1", MQTT_3_1, 0xb0, MQTT_BODY("\0\12")},
    {"UNSUBACK", MQTT_3_1_1, 0xb0, MQTT_BODY("\0\12")},
    {"UNSUBACK 5.0", MQTT_5_0, 0xb0, MQTT_BODY("\0\12\0\0\21")},
    {"PINGREQ", MQTT_3_1_1, 0xc0, NULL, 0},
    {"PINGRESP", MQTT_3_1_1, 0xd0, NULL, 0},
    {"DISCONNECT 3.1", MQTT_3_1, 0xe0, NULL, 0},
    {"DISCONNECT", MQTT_3_1_1, 0xe0, NULL, 0},
    {"DISCONNECT 5.0", MQTT_5_0, 0xe0, MQTT_BODY("\4\5\21\0\0\0\1")},
    {"DISCONNECT 5.0 short", MQTT_5_0, 0xe0, NULL, 0},
    {"AUTH 5.0", MQTT_5_0, 0xf0, MQTT_BODY("\30\7\25\0\4none")},
};

#endif
