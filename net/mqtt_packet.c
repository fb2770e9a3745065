/*
 * Names of packet types and refusals, for logs and metric labels. Stateless; any thread.
 */
#include "net/mqtt_packet.h"

#include "core/base.h"

const char *mqtt_type_name(enum mqtt_type type)
{
    static const char *const names[MQTT_PACKET_TYPES] = {
        [MQTT_CONNECT] = "CONNECT",   [MQTT_CONNACK] = "CONNACK",
        [MQTT_PUBLISH] = "PUBLISH",   [MQTT_PUBACK] = "PUBACK",
        [MQTT_PUBREC] = "PUBREC",     [MQTT_PUBREL] = "PUBREL",
        [MQTT_PUBCOMP] = "PUBCOMP",   [MQTT_SUBSCRIBE] = "SUBSCRIBE",
        [MQTT_SUBACK] = "SUBACK",     [MQTT_UNSUBSCRIBE] = "UNSUBSCRIBE",
        [MQTT_UNSUBACK] = "UNSUBACK", [MQTT_PINGREQ] = "PINGREQ",
        [MQTT_PINGRESP] = "PINGRESP", [MQTT_DISCONNECT] = "DISCONNECT",
        [MQTT_AUTH] = "AUTH",
    };
    const char *name = (unsigned)type < MQTT_PACKET_TYPES ? names[type] : NULL;
    return name != NULL ? name : "unknown";
}

const char *mqtt_reason_name(enum mqtt_reason reason)
{
    static const char *const names[MQTT_REASONS] = {
        [MQTT_GOOD] = "good",
        [MQTT_BAD_TYPE] = "bad_type",
        [MQTT_BAD_FLAGS] = "bad_flags",
        [MQTT_BAD_REMAINING_LENGTH] = "bad_remaining_length",
        [MQTT_TOO_LARGE] = "too_large",
        [MQTT_TRUNCATED] = "truncated",
        [MQTT_TRAILING_BYTES] = "trailing_bytes",
        [MQTT_BAD_UTF8] = "bad_utf8",
        [MQTT_BAD_PROTOCOL_NAME] = "bad_protocol_name",
        [MQTT_BAD_PROTOCOL_LEVEL] = "bad_protocol_level",
        [MQTT_BAD_CONNECT_FLAGS] = "bad_connect_flags",
        [MQTT_BAD_WILL_FLAGS] = "bad_will_flags",
        [MQTT_PASSWORD_ALONE] = "password_alone",
        [MQTT_BAD_QOS] = "bad_qos",
        [MQTT_BAD_OPTIONS] = "bad_options",
        [MQTT_BAD_DUP] = "bad_dup",
        [MQTT_BAD_PACKET_ID] = "bad_packet_id",
        [MQTT_BAD_TOPIC] = "bad_topic",
        [MQTT_BAD_FILTER] = "bad_filter",
        [MQTT_EMPTY_LIST] = "empty_list",
        [MQTT_BAD_CODE] = "bad_code",
        [MQTT_BAD_CONNACK_FLAGS] = "bad_connack_flags",
        [MQTT_BAD_PROPERTIES] = "bad_properties",
        [MQTT_MISPLACED_PROPERTY] = "misplaced_property",
        [MQTT_REPEATED_PROPERTY] = "repeated_property",
        [MQTT_BAD_PROPERTY_VALUE] = "bad_property_value",
    };
    return (unsigned)reason < MQTT_REASONS ? names[reason] : "unknown";
}
