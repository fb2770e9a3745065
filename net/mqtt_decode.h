/*
 * The MQTT decoder: bytes to packets, for both ends of a connection. Does no IO, copies nothing,
 * keeps nothing. First a frame is found in what was received, then the whole packet is decoded and
 * validated.
 */
#ifndef PENSTOCK_NET_MQTT_DECODE_H
#define PENSTOCK_NET_MQTT_DECODE_H

#include "net/mqtt_packet.h"

enum mqtt_frame_state { MQTT_FRAME_WHOLE, MQTT_FRAME_NEEDS_MORE, MQTT_FRAME_BAD };

struct mqtt_frame {
    uint8_t first_byte;
    enum mqtt_reason reason; /* of MQTT_FRAME_BAD */
    uint32_t header_bytes;   /* fixed header */
    uint32_t packet_bytes;   /* header and remaining length; NEEDS_MORE: as far as known, at least
                                count + 1 */
};

/* Looks at the start of `bytes`. Reads at most `count` of them; `packet_bytes_max` bounds the whole
 * packet. */
enum mqtt_frame_state mqtt_frame_find(const unsigned char *bytes, size_t count,
                                      uint32_t packet_bytes_max, struct mqtt_frame *out_frame);

/* Decodes the whole packet that `frame` found at `bytes`. `level` is the connection's, ignored for
 * CONNECT. MQTT_GOOD with *out_packet, or the reason of refusal. On MQTT_BAD_PROTOCOL_LEVEL
 * out_packet->connect.level holds what the client asked for. */
enum mqtt_reason mqtt_decode(const unsigned char *bytes, const struct mqtt_frame *frame,
                             enum mqtt_level level, struct mqtt_packet *out_packet);

/* Gives the filters of a SUBSCRIBE or UNSUBSCRIBE one by one. *position begins at 0. False: no
 * more. */
bool mqtt_filter_next(const struct mqtt_filters *filters, uint32_t *position,
                      struct mqtt_filter *out_filter);

#endif
