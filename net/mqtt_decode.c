/*
 * The MQTT decoder; see mqtt_decode.h. Each packet has one function that reads its fields straight
 * down, asks the reader once whether they were all there, and then judges their values.
 */
#include "net/mqtt_decode.h"

#include "mqtt_fields_internal.h"
#include "net/mqtt_code.h"
#include "net/mqtt_properties.h"
#include "net/mqtt_topic.h"

enum { /* the fixed header's first byte (2.2.2), CONNECT's flags (3.1.2.3) */
       FLAG_RETAIN = 0x01,
       FLAG_DUP = 0x08,
       CONNECT_RESERVED = 0x01,
       CONNECT_CLEAN = 0x02,
       CONNECT_WILL = 0x04,
       CONNECT_WILL_QOS = 0x18,
       CONNECT_WILL_RETAIN = 0x20,
       CONNECT_PASSWORD = 0x40,
       CONNECT_USER_NAME = 0x80,
       CONNACK_SESSION_PRESENT = 0x01
};

static const struct mqtt_bytes nothing;

static enum mqtt_frame_state frame_is_bad(struct mqtt_frame *frame, enum mqtt_reason reason)
{
    frame->reason = reason;
    return MQTT_FRAME_BAD;
}

enum mqtt_frame_state mqtt_frame_find(const unsigned char *bytes, size_t count,
                                      uint32_t packet_bytes_max, struct mqtt_frame *out_frame)
{
    *out_frame = (struct mqtt_frame){.packet_bytes = 2};
    if (count == 0)
        return MQTT_FRAME_NEEDS_MORE;
    out_frame->first_byte = bytes[0];
    if (bytes[0] >> 4 == 0)
        return frame_is_bad(out_frame, MQTT_BAD_TYPE);
    struct wire_reader reader;
    wire_reader_init(&reader, bytes + 1, count - 1);
    uint32_t remaining_bytes = wire_read_varint(&reader);
    if (ps_unlikely(reader.fault == WIRE_FAULT_VARINT))
        return frame_is_bad(out_frame, MQTT_BAD_REMAINING_LENGTH);
    if (ps_unlikely(reader.fault == WIRE_FAULT_END)) {
        out_frame->packet_bytes = (uint32_t)count + 1; /* count is less than a header's 5 */
        return MQTT_FRAME_NEEDS_MORE;
    }
    out_frame->header_bytes = (uint32_t)(reader.position - bytes);
    out_frame->packet_bytes = out_frame->header_bytes + remaining_bytes;
    if (ps_unlikely(out_frame->packet_bytes > packet_bytes_max))
        return frame_is_bad(out_frame, MQTT_TOO_LARGE);
    return out_frame->packet_bytes <= count ? MQTT_FRAME_WHOLE : MQTT_FRAME_NEEDS_MORE;
}

static enum mqtt_reason check_topic(const struct mqtt_bytes *topic)
{
    if (ps_likely(topic->count > 0 && mqtt_text_is_plain(topic->bytes, topic->count)))
        return MQTT_GOOD;
    if (!mqtt_utf8_is_valid(topic->bytes, topic->count))
        return MQTT_BAD_UTF8;
    return mqtt_topic_is_valid(topic->bytes, topic->count) ? MQTT_GOOD : MQTT_BAD_TOPIC;
}

static enum mqtt_reason check_filter(const struct mqtt_bytes *filter)
{
    if (!mqtt_utf8_is_valid(filter->bytes, filter->count))
        return MQTT_BAD_UTF8;
    return mqtt_filter_is_valid(filter->bytes, filter->count) ? MQTT_GOOD : MQTT_BAD_FILTER;
}

/* Reads and checks a block of properties with its length (5.0, 2.2.2); before 5.0 there is none. */
static enum mqtt_reason read_properties(struct wire_reader *reader, enum mqtt_level level,
                                        unsigned place, struct mqtt_bytes *out_block)
{
    *out_block = nothing;
    if (level < MQTT_5_0)
        return MQTT_GOOD;
    uint32_t count = mqtt_read_shortest_varint(reader);
    if (reader->fault == WIRE_FAULT_VARINT)
        return MQTT_BAD_PROPERTIES;
    struct mqtt_bytes block = {.bytes = wire_read_bytes(reader, count), .count = count};
    if (reader->fault != WIRE_FAULT_NONE)
        return MQTT_TRUNCATED;
    *out_block = block;
    return mqtt_properties_check(&block, place);
}

static enum mqtt_reason check_end(const struct wire_reader *reader)
{
    if (reader->fault != WIRE_FAULT_NONE)
        return MQTT_TRUNCATED;
    return wire_reader_left(reader) == 0 ? MQTT_GOOD : MQTT_TRAILING_BYTES;
}

static enum mqtt_reason decode_publish(struct wire_reader *reader, uint8_t first_byte,
                                       enum mqtt_level level, struct mqtt_publish *out_publish)
{
    uint8_t qos = first_byte >> 1 & 3;
    out_publish->qos = qos;
    out_publish->is_dup = (first_byte & FLAG_DUP) != 0;
    out_publish->is_retain = (first_byte & FLAG_RETAIN) != 0;
    if (ps_unlikely(qos == 3))
        return MQTT_BAD_QOS; /* [MQTT-3.3.1-4] */
    if (ps_unlikely(qos == 0 && out_publish->is_dup))
        return MQTT_BAD_DUP; /* [MQTT-3.3.1-2] */
    out_publish->topic = mqtt_read_prefixed(reader);
    out_publish->packet_id = qos > 0 ? wire_read_u16(reader) : 0;
    if (ps_unlikely(reader->fault != WIRE_FAULT_NONE))
        return MQTT_TRUNCATED;
    if (ps_unlikely(qos > 0 && out_publish->packet_id == 0))
        return MQTT_BAD_PACKET_ID; /* [MQTT-2.3.1-1] */
    enum mqtt_reason reason =
        read_properties(reader, level, MQTT_PUBLISH, &out_publish->properties);
    if (ps_unlikely(reason != MQTT_GOOD))
        return reason;
    out_publish->payload = mqtt_read_rest(reader);
    struct mqtt_property alias;
    if (ps_unlikely(out_publish->topic.count == 0) &&
        mqtt_property_find(&out_publish->properties, MQTT_PROPERTY_TOPIC_ALIAS, &alias))
        return MQTT_GOOD; /* 5.0, 3.3.2.3.4: the alias stands for the topic */
    return check_topic(&out_publish->topic);
}

/* The protocol's name and level [MQTT-3.1.2-1], [MQTT-3.1.2-2]: "MQIsdp" goes with 3, "MQTT" with 4
 * and 5. Nothing behind the level is looked at when it is another one. */
static enum mqtt_reason read_protocol(struct wire_reader *reader, uint8_t *out_level)
{
    struct mqtt_bytes name = mqtt_read_prefixed(reader);
    uint8_t level = wire_read_u8(reader);
    if (reader->fault != WIRE_FAULT_NONE)
        return MQTT_TRUNCATED;
    bool is_mqtt = name.count == 4 && memcmp(name.bytes, "MQTT", 4) == 0;
    bool is_mqisdp = name.count == 6 && memcmp(name.bytes, "MQIsdp", 6) == 0;
    if (!is_mqtt && !is_mqisdp)
        return MQTT_BAD_PROTOCOL_NAME;
    *out_level = level;
    if (is_mqisdp ? level != MQTT_3_1 : level != MQTT_3_1_1 && level != MQTT_5_0)
        return MQTT_BAD_PROTOCOL_LEVEL;
    return MQTT_GOOD;
}

/* CONNECT's flags and what they exclude. 3.1 disregards will QoS and retain without a will, and has
 * no rule for bit 0. */
static enum mqtt_reason decode_connect_flags(uint8_t flags, struct mqtt_connect *out_connect)
{
    bool is_strict = out_connect->level >= MQTT_3_1_1;
    out_connect->is_clean = (flags & CONNECT_CLEAN) != 0;
    out_connect->has_will = (flags & CONNECT_WILL) != 0;
    out_connect->has_user_name = (flags & CONNECT_USER_NAME) != 0;
    out_connect->has_password = (flags & CONNECT_PASSWORD) != 0;
    out_connect->will_qos = 0;
    out_connect->will_retain = false;
    if (is_strict && (flags & CONNECT_RESERVED) != 0)
        return MQTT_BAD_CONNECT_FLAGS; /* [MQTT-3.1.2-3] */
    if (out_connect->has_will) {
        out_connect->will_qos = flags >> 3 & 3;
        out_connect->will_retain = (flags & CONNECT_WILL_RETAIN) != 0;
        if (out_connect->will_qos == 3)
            return MQTT_BAD_QOS; /* [MQTT-3.1.2-14] */
    } else if (is_strict && (flags & (CONNECT_WILL_QOS | CONNECT_WILL_RETAIN)) != 0) {
        return MQTT_BAD_WILL_FLAGS; /* [MQTT-3.1.2-13], [MQTT-3.1.2-15] */
    }
    if (out_connect->has_password && !out_connect->has_user_name && out_connect->level < MQTT_5_0)
        return MQTT_PASSWORD_ALONE; /* [MQTT-3.1.2-22], also in 3.1; 5.0 permits it */
    return MQTT_GOOD;
}

/* User name and password. At 3.1 the packet's length goes before the flags: what is announced and
 * not there counts as absent. */
static void read_credentials(struct wire_reader *reader, struct mqtt_connect *connect)
{
    bool may_be_missing = connect->level == MQTT_3_1;
    if (may_be_missing && wire_reader_left(reader) == 0)
        connect->has_user_name = false;
    connect->user_name = connect->has_user_name ? mqtt_read_prefixed(reader) : nothing;
    if (may_be_missing && wire_reader_left(reader) == 0)
        connect->has_password = false;
    connect->password = connect->has_password ? mqtt_read_prefixed(reader) : nothing;
}

static enum mqtt_reason decode_connect(struct wire_reader *reader, struct mqtt_connect *out_connect)
{
    enum mqtt_reason reason = read_protocol(reader, &out_connect->level);
    if (reason != MQTT_GOOD)
        return reason;
    enum mqtt_level level = (enum mqtt_level)out_connect->level;
    reason = decode_connect_flags(wire_read_u8(reader), out_connect);
    if (reason != MQTT_GOOD)
        return reason;
    out_connect->keepalive_seconds = wire_read_u16(reader);
    reason = read_properties(reader, level, MQTT_CONNECT, &out_connect->properties);
    if (reason != MQTT_GOOD)
        return reason;
    out_connect->client_id = mqtt_read_prefixed(reader);
    out_connect->will_topic = nothing;
    out_connect->will_payload = nothing;
    out_connect->will_properties = nothing;
    if (out_connect->has_will) {
        reason = read_properties(reader, level, MQTT_PLACE_WILL, &out_connect->will_properties);
        if (reason != MQTT_GOOD)
            return reason;
        out_connect->will_topic = mqtt_read_prefixed(reader);
        out_connect->will_payload = mqtt_read_prefixed(reader);
    }
    read_credentials(reader, out_connect);
    reason = check_end(reader);
    if (reason != MQTT_GOOD)
        return reason;
    if (!mqtt_utf8_is_valid(out_connect->client_id.bytes, out_connect->client_id.count) ||
        !mqtt_utf8_is_valid(out_connect->user_name.bytes, out_connect->user_name.count))
        return MQTT_BAD_UTF8; /* [MQTT-3.1.3-4], [MQTT-3.1.3-11] */
    /* The will is published as it is, so its topic must be one [MQTT-3.1.3-10]. */
    return out_connect->has_will ? check_topic(&out_connect->will_topic) : MQTT_GOOD;
}

static enum mqtt_reason decode_connack(struct wire_reader *reader, enum mqtt_level level,
                                       struct mqtt_connack *out_connack)
{
    uint8_t flags = wire_read_u8(reader);
    out_connack->code = wire_read_u8(reader);
    enum mqtt_reason reason =
        read_properties(reader, level, MQTT_CONNACK, &out_connack->properties);
    if (reason != MQTT_GOOD)
        return reason;
    reason = check_end(reader);
    if (reason != MQTT_GOOD)
        return reason;
    if (!mqtt_code_is_allowed(MQTT_CONNACK, level, out_connack->code))
        return MQTT_BAD_CODE;
    /* 3.1 has no use for the first byte and does not say what it holds. */
    out_connack->is_session_present = level > MQTT_3_1 && (flags & CONNACK_SESSION_PRESENT) != 0;
    if (level > MQTT_3_1 && ((flags & ~CONNACK_SESSION_PRESENT) != 0 ||
                             (out_connack->is_session_present && out_connack->code != 0)))
        return MQTT_BAD_CONNACK_FLAGS; /* [MQTT-3.2.2-4] */
    return MQTT_GOOD;
}

/* Code and properties of 5.0, both left out when they are 0 and empty; before 5.0 nothing. */
static enum mqtt_reason read_code_and_properties(struct wire_reader *reader, enum mqtt_type type,
                                                 enum mqtt_level level, struct mqtt_ack *ack)
{
    ack->code = MQTT_CODE_SUCCESS;
    ack->properties = nothing;
    if (level < MQTT_5_0 || wire_reader_left(reader) == 0)
        return check_end(reader);
    ack->code = wire_read_u8(reader);
    if (!mqtt_code_is_allowed(type, level, ack->code))
        return MQTT_BAD_CODE;
    if (wire_reader_left(reader) == 0)
        return MQTT_GOOD;
    enum mqtt_reason reason = read_properties(reader, level, type, &ack->properties);
    return reason != MQTT_GOOD ? reason : check_end(reader);
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP */
static enum mqtt_reason decode_ack(struct wire_reader *reader, enum mqtt_type type,
                                   enum mqtt_level level, struct mqtt_ack *out_ack)
{
    out_ack->packet_id = wire_read_u16(reader);
    enum mqtt_reason reason = read_code_and_properties(reader, type, level, out_ack);
    if (reason != MQTT_GOOD)
        return reason;
    return out_ack->packet_id != 0 ? MQTT_GOOD : MQTT_BAD_PACKET_ID; /* [MQTT-2.3.1-1] */
}

/* DISCONNECT, AUTH */
static enum mqtt_reason decode_end(struct wire_reader *reader, enum mqtt_type type,
                                   enum mqtt_level level, struct mqtt_ack *out_ack)
{
    out_ack->packet_id = 0;
    return read_code_and_properties(reader, type, level, out_ack);
}

/* A SUBSCRIBE's options byte: before 5.0 the QoS alone; 5.0 adds no local, retain as published and
 * a retain handling of 0 to 2. */
static enum mqtt_reason check_options(uint8_t options, enum mqtt_level level)
{
    if ((options & 3) == 3)
        return MQTT_BAD_QOS; /* [MQTT-3-8.3-4] */
    uint8_t reserved = level < MQTT_5_0 ? 0xfc : 0xc0;
    bool is_bad_handling = (options & 0x30) == 0x30;
    return (options & reserved) != 0 || is_bad_handling ? MQTT_BAD_OPTIONS : MQTT_GOOD;
}

/* SUBSCRIBE, UNSUBSCRIBE */
static enum mqtt_reason decode_filters(struct wire_reader *reader, enum mqtt_type type,
                                       enum mqtt_level level, struct mqtt_filters *out_filters)
{
    out_filters->has_options = type == MQTT_SUBSCRIBE;
    out_filters->count = 0;
    out_filters->packet_id = wire_read_u16(reader);
    enum mqtt_reason reason = read_properties(reader, level, type, &out_filters->properties);
    if (reason != MQTT_GOOD)
        return reason;
    if (reader->fault != WIRE_FAULT_NONE)
        return MQTT_TRUNCATED;
    if (out_filters->packet_id == 0)
        return MQTT_BAD_PACKET_ID; /* [MQTT-2.3.1-1] */
    if (wire_reader_left(reader) == 0)
        return MQTT_EMPTY_LIST; /* [MQTT-3.8.3-3], [MQTT-3.10.3-2] */
    struct wire_reader list = *reader;
    out_filters->list = mqtt_read_rest(reader);
    while (wire_reader_left(&list) > 0) {
        struct mqtt_bytes text = mqtt_read_prefixed(&list);
        uint8_t options = out_filters->has_options ? wire_read_u8(&list) : 0;
        if (list.fault != WIRE_FAULT_NONE)
            return MQTT_TRUNCATED;
        reason = check_filter(&text);
        if (reason == MQTT_GOOD)
            reason = check_options(options, level);
        if (reason != MQTT_GOOD)
            return reason;
        out_filters->count++;
    }
    return MQTT_GOOD;
}

bool mqtt_filter_next(const struct mqtt_filters *filters, uint32_t *position,
                      struct mqtt_filter *out_filter)
{
    ps_assert(*position <= filters->list.count);
    if (*position == filters->list.count)
        return false;
    struct wire_reader reader;
    wire_reader_init(&reader, filters->list.bytes + *position, filters->list.count - *position);
    out_filter->text = mqtt_read_prefixed(&reader);
    out_filter->options = filters->has_options ? wire_read_u8(&reader) : 0;
    out_filter->qos = out_filter->options & 3;
    ps_assert(reader.fault == WIRE_FAULT_NONE); /* the list was checked when it was decoded */
    *position = filters->list.count - (uint32_t)wire_reader_left(&reader);
    return true;
}

/* SUBACK, UNSUBACK */
static enum mqtt_reason decode_codes(struct wire_reader *reader, enum mqtt_type type,
                                     enum mqtt_level level, struct mqtt_codes *out_codes)
{
    bool has_codes = type == MQTT_SUBACK || level >= MQTT_5_0;
    out_codes->packet_id = wire_read_u16(reader);
    enum mqtt_reason reason = read_properties(reader, level, type, &out_codes->properties);
    if (reason != MQTT_GOOD)
        return reason;
    out_codes->codes = has_codes ? mqtt_read_rest(reader) : nothing;
    reason = check_end(reader);
    if (reason != MQTT_GOOD)
        return reason;
    if (out_codes->packet_id == 0)
        return MQTT_BAD_PACKET_ID;
    if (has_codes && out_codes->codes.count == 0)
        return MQTT_EMPTY_LIST;
    for (uint32_t index = 0; index < out_codes->codes.count; index++) {
        if (!mqtt_code_is_allowed(type, level, out_codes->codes.bytes[index]))
            return MQTT_BAD_CODE; /* [MQTT-3.9.3-2] */
    }
    return MQTT_GOOD;
}

/* The fixed header's flags but PUBLISH's [MQTT-2.2.2-1], [MQTT-2.2.2-2]. 3.1 clients may set DUP on
 * what they repeat. */
static bool flags_are_good(enum mqtt_type type, uint8_t flags, enum mqtt_level level)
{
    bool is_two = type == MQTT_PUBREL || type == MQTT_SUBSCRIBE || type == MQTT_UNSUBSCRIBE;
    if (is_two && level == MQTT_3_1)
        flags &= (uint8_t)~FLAG_DUP;
    return flags == (is_two ? 2 : 0);
}

static enum mqtt_reason decode_other(struct wire_reader *reader, enum mqtt_level level,
                                     struct mqtt_packet *out_packet)
{
    enum mqtt_type type = out_packet->type;
    switch (type) {
    case MQTT_CONNECT:
        return decode_connect(reader, &out_packet->connect);
    case MQTT_CONNACK:
        return decode_connack(reader, level, &out_packet->connack);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return decode_ack(reader, type, level, &out_packet->ack);
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
        return decode_filters(reader, type, level, &out_packet->filters);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return decode_codes(reader, type, level, &out_packet->codes);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return check_end(reader);
    case MQTT_DISCONNECT:
        return decode_end(reader, type, level, &out_packet->ack);
    case MQTT_AUTH:
        return level < MQTT_5_0 ? MQTT_BAD_TYPE : decode_end(reader, type, level, &out_packet->ack);
    case MQTT_PUBLISH: /* decoded by the caller */
    case MQTT_PACKET_TYPES:
        break;
    }
    return MQTT_BAD_TYPE;
}

enum mqtt_reason mqtt_decode(const unsigned char *bytes, const struct mqtt_frame *frame,
                             enum mqtt_level level, struct mqtt_packet *out_packet)
{
    struct wire_reader reader;
    uint32_t remaining_bytes = frame->packet_bytes - frame->header_bytes;
    wire_reader_init(&reader, bytes + frame->header_bytes, remaining_bytes);
    enum mqtt_type type = (enum mqtt_type)(frame->first_byte >> 4);
    out_packet->type = type;
    enum mqtt_reason reason;
    if (ps_likely(type == MQTT_PUBLISH)) {
        reason = decode_publish(&reader, frame->first_byte, level, &out_packet->publish);
    } else {
        if (!flags_are_good(type, frame->first_byte & 0x0f, level))
            return MQTT_BAD_FLAGS;
        reason = decode_other(&reader, level, out_packet);
        if (reason == MQTT_GOOD && type == MQTT_CONNECT)
            level = (enum mqtt_level)out_packet->connect.level;
    }
    /* 3.1.1 lets the length be written longer than needed, 5.0 does not [MQTT-1.5.5-1]. */
    if (ps_unlikely(level == MQTT_5_0) && reason == MQTT_GOOD &&
        frame->header_bytes != 1 + wire_varint_bytes(remaining_bytes))
        return MQTT_BAD_REMAINING_LENGTH;
    return reason;
}
