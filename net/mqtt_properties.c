/*
 * Properties of MQTT 5.0; see mqtt_properties.h. One table says of each id how it is encoded, where
 * it may stand, whether it may be repeated and which numbers it may have (2.2.2.2 and the packet's
 * own section).
 */
#include "net/mqtt_properties.h"

#include "mqtt_fields_internal.h"
#include "net/mqtt_topic.h"

#define WILL        (1u << MQTT_PLACE_WILL)
#define CONNECT     (1u << MQTT_CONNECT)
#define CONNACK     (1u << MQTT_CONNACK)
#define PUBLISH     (1u << MQTT_PUBLISH)
#define SUBSCRIBE   (1u << MQTT_SUBSCRIBE)
#define UNSUBSCRIBE (1u << MQTT_UNSUBSCRIBE)
#define DISCONNECT  (1u << MQTT_DISCONNECT)
#define AUTH        (1u << MQTT_AUTH)
#define ANSWERS                                                                                    \
    (1u << MQTT_PUBACK | 1u << MQTT_PUBREC | 1u << MQTT_PUBREL | 1u << MQTT_PUBCOMP |              \
     1u << MQTT_SUBACK | 1u << MQTT_UNSUBACK)

struct property_rule {
    uint8_t kind; /* enum mqtt_property_kind */
    bool may_repeat;
    uint16_t places; /* bits by place */
    uint32_t number_min;
    uint32_t number_max;
};

static const struct property_rule rules[MQTT_PROPERTY_IDS] = {
    [MQTT_PROPERTY_PAYLOAD_FORMAT] = {MQTT_PROPERTY_U8, false, PUBLISH | WILL, 0, 1},
    [MQTT_PROPERTY_MESSAGE_EXPIRY_SECONDS] = {MQTT_PROPERTY_U32, false, PUBLISH | WILL, 0,
                                              UINT32_MAX},
    [MQTT_PROPERTY_CONTENT_TYPE] = {MQTT_PROPERTY_TEXT, false, PUBLISH | WILL, 0, 0},
    [MQTT_PROPERTY_RESPONSE_TOPIC] = {MQTT_PROPERTY_TEXT, false, PUBLISH | WILL, 0, 0},
    [MQTT_PROPERTY_CORRELATION_DATA] = {MQTT_PROPERTY_BINARY, false, PUBLISH | WILL, 0, 0},
    [MQTT_PROPERTY_SUBSCRIPTION_ID] = {MQTT_PROPERTY_VARINT, false, PUBLISH | SUBSCRIBE, 1,
                                       WIRE_VARINT_MAX},
    [MQTT_PROPERTY_SESSION_EXPIRY_SECONDS] = {MQTT_PROPERTY_U32, false,
                                              CONNECT | CONNACK | DISCONNECT, 0, UINT32_MAX},
    [MQTT_PROPERTY_ASSIGNED_CLIENT_ID] = {MQTT_PROPERTY_TEXT, false, CONNACK, 0, 0},
    [MQTT_PROPERTY_SERVER_KEEPALIVE_SECONDS] = {MQTT_PROPERTY_U16, false, CONNACK, 0, UINT16_MAX},
    [MQTT_PROPERTY_AUTHENTICATION_METHOD] = {MQTT_PROPERTY_TEXT, false, CONNECT | CONNACK | AUTH, 0,
                                             0},
    [MQTT_PROPERTY_AUTHENTICATION_DATA] = {MQTT_PROPERTY_BINARY, false, CONNECT | CONNACK | AUTH, 0,
                                           0},
    [MQTT_PROPERTY_REQUEST_PROBLEM] = {MQTT_PROPERTY_U8, false, CONNECT, 0, 1},
    [MQTT_PROPERTY_WILL_DELAY_SECONDS] = {MQTT_PROPERTY_U32, false, WILL, 0, UINT32_MAX},
    [MQTT_PROPERTY_REQUEST_RESPONSE] = {MQTT_PROPERTY_U8, false, CONNECT, 0, 1},
    [MQTT_PROPERTY_RESPONSE_INFORMATION] = {MQTT_PROPERTY_TEXT, false, CONNACK, 0, 0},
    [MQTT_PROPERTY_SERVER_REFERENCE] = {MQTT_PROPERTY_TEXT, false, CONNACK | DISCONNECT, 0, 0},
    [MQTT_PROPERTY_REASON_STRING] = {MQTT_PROPERTY_TEXT, false,
                                     CONNACK | ANSWERS | DISCONNECT | AUTH, 0, 0},
    [MQTT_PROPERTY_RECEIVE_MAXIMUM] = {MQTT_PROPERTY_U16, false, CONNECT | CONNACK, 1, UINT16_MAX},
    [MQTT_PROPERTY_TOPIC_ALIAS_MAXIMUM] = {MQTT_PROPERTY_U16, false, CONNECT | CONNACK, 0,
                                           UINT16_MAX},
    [MQTT_PROPERTY_TOPIC_ALIAS] = {MQTT_PROPERTY_U16, false, PUBLISH, 1, UINT16_MAX},
    [MQTT_PROPERTY_MAXIMUM_QOS] = {MQTT_PROPERTY_U8, false, CONNACK, 0, 1},
    [MQTT_PROPERTY_RETAIN_AVAILABLE] = {MQTT_PROPERTY_U8, false, CONNACK, 0, 1},
    [MQTT_PROPERTY_USER] = {MQTT_PROPERTY_PAIR, true,
                            CONNECT | CONNACK | PUBLISH | WILL | ANSWERS | SUBSCRIBE | UNSUBSCRIBE |
                                DISCONNECT | AUTH,
                            0, 0},
    [MQTT_PROPERTY_MAXIMUM_PACKET_BYTES] = {MQTT_PROPERTY_U32, false, CONNECT | CONNACK, 1,
                                            UINT32_MAX},
    [MQTT_PROPERTY_WILDCARDS_AVAILABLE] = {MQTT_PROPERTY_U8, false, CONNACK, 0, 1},
    [MQTT_PROPERTY_SUBSCRIPTION_IDS_AVAILABLE] = {MQTT_PROPERTY_U8, false, CONNACK, 0, 1},
    [MQTT_PROPERTY_SHARED_AVAILABLE] = {MQTT_PROPERTY_U8, false, CONNACK, 0, 1},
};

enum mqtt_property_kind mqtt_property_kind(uint32_t id)
{
    return id < MQTT_PROPERTY_IDS ? (enum mqtt_property_kind)rules[id].kind : MQTT_PROPERTY_NONE;
}

/* Reads one property; false when it cannot be read: the reader has then failed, or the id is none
 * (out_property->id holds it, as far as it fits). */
static bool read_property(struct wire_reader *reader, struct mqtt_property *out_property)
{
    uint32_t id = mqtt_read_shortest_varint(reader);
    *out_property = (struct mqtt_property){.id = (enum mqtt_property_id)id};
    switch (mqtt_property_kind(id)) {
    case MQTT_PROPERTY_NONE:
        return false;
    case MQTT_PROPERTY_U8:
        out_property->number = wire_read_u8(reader);
        break;
    case MQTT_PROPERTY_U16:
        out_property->number = wire_read_u16(reader);
        break;
    case MQTT_PROPERTY_U32:
        out_property->number = wire_read_u32(reader);
        break;
    case MQTT_PROPERTY_VARINT:
        out_property->number = mqtt_read_shortest_varint(reader);
        break;
    case MQTT_PROPERTY_TEXT:
    case MQTT_PROPERTY_BINARY:
        out_property->text = mqtt_read_prefixed(reader);
        break;
    case MQTT_PROPERTY_PAIR:
        out_property->text = mqtt_read_prefixed(reader);
        out_property->second = mqtt_read_prefixed(reader);
        break;
    }
    return reader->fault == WIRE_FAULT_NONE;
}

static enum mqtt_reason check_value(const struct mqtt_property *property)
{
    const struct property_rule *rule = &rules[property->id];
    if (property->number < rule->number_min || property->number > rule->number_max)
        return MQTT_BAD_PROPERTY_VALUE;
    bool is_text = rule->kind == MQTT_PROPERTY_TEXT || rule->kind == MQTT_PROPERTY_PAIR;
    if (is_text && !mqtt_utf8_is_valid(property->text.bytes, property->text.count))
        return MQTT_BAD_UTF8;
    if (!mqtt_utf8_is_valid(property->second.bytes, property->second.count))
        return MQTT_BAD_UTF8;
    if (property->id == MQTT_PROPERTY_RESPONSE_TOPIC &&
        !mqtt_topic_is_valid(property->text.bytes, property->text.count))
        return MQTT_BAD_TOPIC; /* 5.0 [MQTT-3.3.2-14] */
    return MQTT_GOOD;
}

enum mqtt_reason mqtt_properties_check(const struct mqtt_bytes *block, unsigned place)
{
    struct wire_reader reader;
    wire_reader_init(&reader, block->bytes, block->count);
    uint64_t seen = 0;
    while (wire_reader_left(&reader) > 0) {
        struct mqtt_property property;
        if (!read_property(&reader, &property))
            return reader.fault == WIRE_FAULT_NONE ? MQTT_MISPLACED_PROPERTY : MQTT_BAD_PROPERTIES;
        const struct property_rule *rule = &rules[property.id];
        if ((rule->places >> place & 1u) == 0)
            return MQTT_MISPLACED_PROPERTY;
        /* A PUBLISH to a client names every subscription that it answers (5.0, 3.3.2.3.8). */
        bool may_repeat = rule->may_repeat ||
                          (property.id == MQTT_PROPERTY_SUBSCRIPTION_ID && place == MQTT_PUBLISH);
        if ((seen >> property.id & 1u) != 0 && !may_repeat)
            return MQTT_REPEATED_PROPERTY;
        seen |= (uint64_t)1 << property.id;
        enum mqtt_reason reason = check_value(&property);
        if (reason != MQTT_GOOD)
            return reason;
    }
    return MQTT_GOOD;
}

bool mqtt_property_next(const struct mqtt_bytes *block, uint32_t *position,
                        struct mqtt_property *out_property)
{
    ps_assert(*position <= block->count);
    if (*position == block->count)
        return false;
    struct wire_reader reader;
    wire_reader_init(&reader, block->bytes + *position, block->count - *position);
    bool is_read = read_property(&reader, out_property);
    ps_assert(is_read); /* the block was checked */
    *position = block->count - (uint32_t)wire_reader_left(&reader);
    return true;
}

bool mqtt_property_find(const struct mqtt_bytes *block, enum mqtt_property_id id,
                        struct mqtt_property *out_property)
{
    struct mqtt_property property;
    for (uint32_t position = 0; mqtt_property_next(block, &position, &property);) {
        if (property.id == id) {
            *out_property = property;
            return true;
        }
    }
    return false;
}

void mqtt_property_write(struct wire_writer *writer, const struct mqtt_property *property)
{
    enum mqtt_property_kind kind = mqtt_property_kind(property->id);
    ps_assert(kind != MQTT_PROPERTY_NONE);
    wire_write_varint(writer, property->id);
    switch (kind) {
    case MQTT_PROPERTY_NONE:
        break;
    case MQTT_PROPERTY_U8:
        wire_write_u8(writer, (uint8_t)property->number);
        break;
    case MQTT_PROPERTY_U16:
        wire_write_u16(writer, (uint16_t)property->number);
        break;
    case MQTT_PROPERTY_U32:
        wire_write_u32(writer, property->number);
        break;
    case MQTT_PROPERTY_VARINT:
        wire_write_varint(writer, property->number);
        break;
    case MQTT_PROPERTY_TEXT:
    case MQTT_PROPERTY_BINARY:
        mqtt_write_prefixed(writer, &property->text);
        break;
    case MQTT_PROPERTY_PAIR:
        mqtt_write_prefixed(writer, &property->text);
        mqtt_write_prefixed(writer, &property->second);
        break;
    }
}
