/*
 * The control packets of MQTT 3.1, 3.1.1 and 5.0 as values: what the decoder fills in and the
 * encoders take. Everything that points does so into the bytes that were decoded; nothing here owns
 * memory.
 */
#ifndef PENSTOCK_NET_MQTT_PACKET_H
#define PENSTOCK_NET_MQTT_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* MQTT 2.2.1 */
enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK,
    MQTT_PUBLISH,
    MQTT_PUBACK,
    MQTT_PUBREC,
    MQTT_PUBREL,
    MQTT_PUBCOMP,
    MQTT_SUBSCRIBE,
    MQTT_SUBACK,
    MQTT_UNSUBSCRIBE,
    MQTT_UNSUBACK,
    MQTT_PINGREQ,
    MQTT_PINGRESP,
    MQTT_DISCONNECT,
    MQTT_AUTH, /* 5.0 */
    MQTT_PACKET_TYPES
};

enum mqtt_level { MQTT_3_1 = 3, MQTT_3_1_1 = 4, MQTT_5_0 = 5 };

/* Why a packet was refused; the metric's label is mqtt_reason_name(). */
enum mqtt_reason {
    MQTT_GOOD,
    MQTT_BAD_TYPE,             /* 0, or AUTH before 5.0 (2.2.1) */
    MQTT_BAD_FLAGS,            /* reserved flags of the fixed header [MQTT-2.2.2-2] */
    MQTT_BAD_REMAINING_LENGTH, /* more than four bytes (2.2.3); 5.0: longer than needed */
    MQTT_TOO_LARGE,            /* beyond packet_bytes_max */
    MQTT_TRUNCATED,            /* a field ends beyond the packet */
    MQTT_TRAILING_BYTES,       /* the packet goes on after its last field */
    MQTT_BAD_UTF8,             /* [MQTT-1.5.3-1], U+0000 [MQTT-1.5.3-2] */
    MQTT_BAD_PROTOCOL_NAME,    /* [MQTT-3.1.2-1] */
    MQTT_BAD_PROTOCOL_LEVEL,   /* [MQTT-3.1.2-2]: answered with CONNACK 1 */
    MQTT_BAD_CONNECT_FLAGS,    /* the reserved bit [MQTT-3.1.2-3] */
    MQTT_BAD_WILL_FLAGS,     /* will QoS or retain without will [MQTT-3.1.2-13], [MQTT-3.1.2-15] */
    MQTT_PASSWORD_ALONE,     /* password without user name [MQTT-3.1.2-22] */
    MQTT_BAD_QOS,            /* 3 [MQTT-3.3.1-4], [MQTT-3.1.2-14], [MQTT-3-8.3-4] */
    MQTT_BAD_OPTIONS,        /* reserved bits of a SUBSCRIBE's options [MQTT-3-8.3-4] */
    MQTT_BAD_DUP,            /* DUP with QoS 0 [MQTT-3.3.1-2] */
    MQTT_BAD_PACKET_ID,      /* 0 [MQTT-2.3.1-1] */
    MQTT_BAD_TOPIC,          /* empty [MQTT-4.7.3-1], wildcard [MQTT-3.3.2-2] */
    MQTT_BAD_FILTER,         /* empty, misplaced wildcard [MQTT-4.7.1-2], [MQTT-4.7.1-3] */
    MQTT_EMPTY_LIST,         /* [MQTT-3.8.3-3], [MQTT-3.10.3-2] */
    MQTT_BAD_CODE,           /* a return or reason code that the packet cannot have */
    MQTT_BAD_CONNACK_FLAGS,  /* reserved bits, or session present beside a refusal
                                [MQTT-3.2.2-4] */
    MQTT_BAD_PROPERTIES,     /* 5.0, 2.2.2: the block cannot be read */
    MQTT_MISPLACED_PROPERTY, /* 5.0: unknown, or not one of this packet */
    MQTT_REPEATED_PROPERTY,  /* 5.0: twice what may stand once */
    MQTT_BAD_PROPERTY_VALUE, /* 5.0: beyond the property's range */
    MQTT_REASONS
};

/* MQTT 3.2.2.3. The codes of 5.0 are in net/mqtt_code.h. */
enum mqtt_connack_code {
    MQTT_CONNACK_ACCEPTED = 0,
    MQTT_CONNACK_BAD_LEVEL = 1,
    MQTT_CONNACK_BAD_CLIENT_ID = 2,
    MQTT_CONNACK_UNAVAILABLE = 3,
    MQTT_CONNACK_BAD_USER_NAME_OR_PASSWORD = 4,
    MQTT_CONNACK_NOT_AUTHORIZED = 5,
    MQTT_CONNACK_5_BAD_LEVEL = 0x84 /* 5.0: unsupported protocol version */
};

enum {
    MQTT_SUBACK_FAILURE = 0x80,
    MQTT_FIXED_HEADER_BYTES_MAX = 5,
    MQTT_REMAINING_BYTES_MAX = 268435455, /* 2.2.3 */
    MQTT_PACKET_BYTES_MAX = MQTT_FIXED_HEADER_BYTES_MAX + MQTT_REMAINING_BYTES_MAX
};

struct mqtt_bytes {
    const unsigned char *bytes; /* NULL when the field is absent */
    uint32_t count;
};

struct mqtt_connect {
    uint8_t level; /* as the client sent it */
    bool is_clean;
    bool has_will;
    bool will_retain;
    uint8_t will_qos;
    bool has_user_name;
    bool has_password;
    uint16_t keepalive_seconds;
    struct mqtt_bytes client_id;
    struct mqtt_bytes will_topic;
    struct mqtt_bytes will_payload;
    struct mqtt_bytes user_name;
    struct mqtt_bytes password;
    struct mqtt_bytes properties;      /* 5.0: the block without its length */
    struct mqtt_bytes will_properties; /* 5.0 */
};

struct mqtt_connack {
    bool is_session_present;
    uint8_t code;
    struct mqtt_bytes properties;
};

struct mqtt_publish {
    uint8_t qos;
    bool is_dup;
    bool is_retain;
    uint16_t packet_id; /* 0 at QoS 0 */
    struct mqtt_bytes topic;
    struct mqtt_bytes properties;
    struct mqtt_bytes payload;
};

/* PUBACK, PUBREC, PUBREL, PUBCOMP; DISCONNECT and AUTH of 5.0 (packet_id 0). */
struct mqtt_ack {
    uint16_t packet_id;
    uint8_t code; /* 5.0 reason code; 0 before */
    struct mqtt_bytes properties;
};

/* SUBSCRIBE, UNSUBSCRIBE: the list is walked with mqtt_filter_next. */
struct mqtt_filters {
    uint16_t packet_id;
    bool has_options;       /* SUBSCRIBE: each filter is followed by its options byte */
    uint32_t count;         /* at least 1 */
    struct mqtt_bytes list; /* valid in full */
    struct mqtt_bytes properties;
};

struct mqtt_filter {
    struct mqtt_bytes text;
    uint8_t qos;     /* SUBSCRIBE */
    uint8_t options; /* the whole options byte; before 5.0 the same as qos */
};

/* SUBACK; UNSUBACK (without codes before 5.0). */
struct mqtt_codes {
    uint16_t packet_id;
    struct mqtt_bytes codes;
    struct mqtt_bytes properties;
};

struct mqtt_packet {
    enum mqtt_type type;
    union {
        struct mqtt_connect connect;
        struct mqtt_connack connack;
        struct mqtt_publish publish;
        struct mqtt_ack ack;
        struct mqtt_filters filters;
        struct mqtt_codes codes;
    };
};

/* "CONNECT" and so on; "unknown" for what is none. Static memory. */
const char *mqtt_type_name(enum mqtt_type type);

/* "bad_utf8" and so on, as a metric's label; "unknown" for what is none. Static memory. */
const char *mqtt_reason_name(enum mqtt_reason reason);

#endif
