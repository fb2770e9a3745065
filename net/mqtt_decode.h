/*
 * The MQTT decoder: bytes to packets, for both ends of a connection. First a frame is found in what
 * was received, then the whole packet is decoded and validated in one pass, and from there on its
 * fields can be trusted. Does no IO, copies nothing, keeps nothing, allocates nothing.
 *
 * Owner: nobody; results are views into the caller's bytes and live as long as these. Thread: any.
 */
#ifndef PENSTOCK_NET_MQTT_DECODE_H
#define PENSTOCK_NET_MQTT_DECODE_H

#include "net/mqtt_packet.h"

enum mqtt_frame_state { MQTT_FRAME_WHOLE, MQTT_FRAME_NEEDS_MORE, MQTT_FRAME_BAD };

struct mqtt_frame {
    uint8_t first_byte;      /* set whenever count > 0, so that an unwanted type can be refused
                                before the packet is whole */
    enum mqtt_reason reason; /* of MQTT_FRAME_BAD */
    uint32_t header_bytes;   /* fixed header; 0 while it is not whole */
    uint32_t packet_bytes;   /* header and remaining length; NEEDS_MORE: as far as known, at least
                                count + 1; until the header is whole it is that of a header */
};

/* Looks at the start of `bytes`, reads at most `count` of them (0 is legal). `packet_bytes_max`
 * bounds the whole packet. MQTT_FRAME_BAD comes as soon as it is known, with
 * MQTT_BAD_TYPE (0), MQTT_BAD_REMAINING_LENGTH or MQTT_TOO_LARGE (header_bytes and packet_bytes are
 * then set, so that it can be logged). */
enum mqtt_frame_state mqtt_frame_find(const unsigned char *bytes, size_t count,
                                      uint32_t packet_bytes_max, struct mqtt_frame *out_frame);

/* Decodes the whole packet that `frame` (MQTT_FRAME_WHOLE) found at `bytes`. `level` is the
 * connection's, ignored for CONNECT. Answers MQTT_GOOD with *out_packet, or the reason of refusal:
 * then *out_packet has no meaning, but for MQTT_BAD_PROTOCOL_LEVEL, where
 * out_packet->connect.level holds what the client asked for.
 *
 * A CONNECT of level 5 is decoded as the others are: whether it is served is the caller's matter.
 * Which packets may come when, and from which side, is too.
 *
 * What 3.1 (level 3) lets a client do and 3.1.1 does not is let pass at level 3: DUP on PUBREL,
 * SUBSCRIBE and UNSUBSCRIBE; CONNECT's bit 0; will QoS and retain without a will; user name and
 * password that are announced but missing at the packet's end (they count as absent). */
enum mqtt_reason mqtt_decode(const unsigned char *bytes, const struct mqtt_frame *frame,
                             enum mqtt_level level, struct mqtt_packet *out_packet);

/* Gives the filters of a decoded SUBSCRIBE or UNSUBSCRIBE one by one, in the packet's order.
 * *position begins at 0 and is the iterator's own. False: no more. */
bool mqtt_filter_next(const struct mqtt_filters *filters, uint32_t *position,
                      struct mqtt_filter *out_filter);

#endif
