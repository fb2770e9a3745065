/*
 * The MQTT encoders for both ends. Each writes a whole packet into the caller's memory and answers
 * its bytes; with out NULL it only answers them, so that a caller can make room first.
 */
#ifndef PENSTOCK_NET_MQTT_ENCODE_H
#define PENSTOCK_NET_MQTT_ENCODE_H

#include "net/mqtt_packet.h"

/* Everything of a PUBLISH before its payload: fixed header, topic, packet id (QoS > 0), and for 5.0
 * the properties with their length. The payload's `count` is part of the remaining length; its
 * bytes are not written. Result: bytes of this head. */
size_t mqtt_encode_publish_head(const struct mqtt_publish *publish, enum mqtt_level level,
                                unsigned char *out);

/* Head and payload. */
size_t mqtt_encode_publish(const struct mqtt_publish *publish, enum mqtt_level level,
                           unsigned char *out);

/* PUBACK, PUBREC, PUBREL, PUBCOMP and UNSUBACK of 3.1.1: four bytes. */
size_t mqtt_encode_ack(enum mqtt_type type, uint16_t packet_id, unsigned char *out);

size_t mqtt_encode_connack(const struct mqtt_connack *connack, enum mqtt_level level,
                           unsigned char *out);
size_t mqtt_encode_suback(const struct mqtt_codes *suback, enum mqtt_level level,
                          unsigned char *out);

/* PINGREQ, PINGRESP, DISCONNECT (3.1.1): two bytes. */
size_t mqtt_encode_empty(enum mqtt_type type, unsigned char *out);

size_t mqtt_encode_connect(const struct mqtt_connect *connect, unsigned char *out);

/* SUBSCRIBE (has_qos) or UNSUBSCRIBE with `count` filters. */
size_t mqtt_encode_filters(bool has_qos, uint16_t packet_id, const struct mqtt_filter *filters,
                           uint32_t count, enum mqtt_level level, unsigned char *out);

#endif
