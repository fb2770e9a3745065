/*
 * The properties of MQTT 5.0 (2.2.2) as a bounded view: a block is checked once when its packet is
 * decoded, and then walked in place as often as needed. Copies nothing, allocates nothing.
 *
 * Owner: nobody; results are views into the block. Thread: any.
 */
#ifndef PENSTOCK_NET_MQTT_PROPERTIES_H
#define PENSTOCK_NET_MQTT_PROPERTIES_H

#include "core/wire.h"
#include "net/mqtt_packet.h"

/* MQTT 5.0, 2.2.2.2 */
enum mqtt_property_id {
    MQTT_PROPERTY_PAYLOAD_FORMAT = 0x01,
    MQTT_PROPERTY_MESSAGE_EXPIRY_SECONDS = 0x02,
    MQTT_PROPERTY_CONTENT_TYPE = 0x03,
    MQTT_PROPERTY_RESPONSE_TOPIC = 0x08,
    MQTT_PROPERTY_CORRELATION_DATA = 0x09,
    MQTT_PROPERTY_SUBSCRIPTION_ID = 0x0b,
    MQTT_PROPERTY_SESSION_EXPIRY_SECONDS = 0x11,
    MQTT_PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
    MQTT_PROPERTY_SERVER_KEEPALIVE_SECONDS = 0x13,
    MQTT_PROPERTY_AUTHENTICATION_METHOD = 0x15,
    MQTT_PROPERTY_AUTHENTICATION_DATA = 0x16,
    MQTT_PROPERTY_REQUEST_PROBLEM = 0x17,
    MQTT_PROPERTY_WILL_DELAY_SECONDS = 0x18,
    MQTT_PROPERTY_REQUEST_RESPONSE = 0x19,
    MQTT_PROPERTY_RESPONSE_INFORMATION = 0x1a,
    MQTT_PROPERTY_SERVER_REFERENCE = 0x1c,
    MQTT_PROPERTY_REASON_STRING = 0x1f,
    MQTT_PROPERTY_RECEIVE_MAXIMUM = 0x21,
    MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM = 0x22,
    MQTT_PROPERTY_TOPIC_ALIAS = 0x23,
    MQTT_PROPERTY_MAXIMUM_QOS = 0x24,
    MQTT_PROPERTY_RETAIN_AVAILABLE = 0x25,
    MQTT_PROPERTY_USER = 0x26,
    MQTT_PROPERTY_MAXIMUM_PACKET_BYTES = 0x27,
    MQTT_PROPERTY_WILDCARDS_AVAILABLE = 0x28,
    MQTT_PROPERTY_SUBSCRIPTION_IDS_AVAILABLE = 0x29,
    MQTT_PROPERTY_SHARED_AVAILABLE = 0x2a,
    MQTT_PROPERTY_IDS
};

enum mqtt_property_kind {
    MQTT_PROPERTY_NONE, /* no such property */
    MQTT_PROPERTY_U8,
    MQTT_PROPERTY_U16,
    MQTT_PROPERTY_U32,
    MQTT_PROPERTY_VARINT,
    MQTT_PROPERTY_TEXT,
    MQTT_PROPERTY_BINARY,
    MQTT_PROPERTY_PAIR
};

enum { MQTT_PLACE_WILL = 0 }; /* a will's properties; elsewhere the place is the enum mqtt_type */

struct mqtt_property {
    enum mqtt_property_id id;
    uint32_t number;          /* of the numeric kinds */
    struct mqtt_bytes text;   /* of TEXT and BINARY, and the name of a PAIR */
    struct mqtt_bytes second; /* the value of a PAIR */
};

/* How the property is encoded; MQTT_PROPERTY_NONE for an id that is none. */
enum mqtt_property_kind mqtt_property_kind(uint32_t id);

/* Checks a whole block (without its length) that stood at `place`: ids, places, repetition, ranges,
 * UTF-8, and that the last one ends with the block. MQTT_GOOD or the reason. */
enum mqtt_reason mqtt_properties_check(const struct mqtt_bytes *block, unsigned place);

/* Gives the properties of a checked block one by one, in order. *position begins at 0 and is the
 * iterator's own. False: no more. */
bool mqtt_property_next(const struct mqtt_bytes *block, uint32_t *position,
                        struct mqtt_property *out_property);

/* The first property with this id in a checked block; false when there is none. */
bool mqtt_property_find(const struct mqtt_bytes *block, enum mqtt_property_id id,
                        struct mqtt_property *out_property);

/* Appends one property to a block that is being written; the writer's fault tells whether it
 * fitted.
 */
void mqtt_property_write(struct wire_writer *writer, const struct mqtt_property *property);

#endif
