/*
 * The MQTT encoders for both ends. Each writes a whole packet into the caller's memory and answers
 * its bytes; with out NULL it only answers them, so that a caller can make room first. The answer
 * is 0, and nothing is written, when MQTT has no such packet: more than MQTT_REMAINING_BYTES_MAX
 * after the fixed header, or a string of more than 65,535 bytes.
 *
 * Values are otherwise the caller's promise: topics, filters and codes are written as they are.
 * `properties` are blocks without their length, written at level 5 and ignored before.
 *
 * Owner: nobody; nothing is kept. Thread: any. Never allocates.
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

/* PUBACK, PUBREC, PUBREL, PUBCOMP (at 5.0 too: code 0), and UNSUBACK before 5.0: four bytes. */
size_t mqtt_encode_ack(enum mqtt_type type, uint16_t packet_id, unsigned char *out);

/* PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT and AUTH of 5.0 in their shortest form: code 0 and no
 * properties are left out. */
size_t mqtt_encode_ack_5(enum mqtt_type type, const struct mqtt_ack *ack, unsigned char *out);

/* Before 3.1.1 the bit "session present" does not exist and is written as 0. */
size_t mqtt_encode_connack(const struct mqtt_connack *connack, enum mqtt_level level,
                           unsigned char *out);
size_t mqtt_encode_suback(const struct mqtt_codes *suback, enum mqtt_level level,
                          unsigned char *out);

/* 5.0 with a code per filter; before it has none and `codes` is ignored. */
size_t mqtt_encode_unsuback(const struct mqtt_codes *unsuback, enum mqtt_level level,
                            unsigned char *out);

/* PINGREQ, PINGRESP, DISCONNECT (at 5.0: code 0): two bytes. */
size_t mqtt_encode_empty(enum mqtt_type type, unsigned char *out);

/* The protocol name follows from connect->level. Will, user name and password are written as their
 * has_ flags say. */
size_t mqtt_encode_connect(const struct mqtt_connect *connect, unsigned char *out);

/* SUBSCRIBE (has_qos) or UNSUBSCRIBE with `count` filters. At level 5 without properties, and with
 * the upper bits of each filter's options. */
size_t mqtt_encode_filters(bool has_qos, uint16_t packet_id, const struct mqtt_filter *filters,
                           uint32_t count, enum mqtt_level level, unsigned char *out);

#endif
