/*
 * The syntax of topic names and topic filters (MQTT 4.7), and plain matching of one against the
 * other. Stateless; any thread.
 */
#ifndef PENSTOCK_NET_MQTT_TOPIC_H
#define PENSTOCK_NET_MQTT_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms) without U+0000 [MQTT-1.5.3-1, -2].
 */
bool mqtt_utf8_is_valid(const void *text, uint32_t bytes);

/* At least one character [MQTT-4.7.3-1], at most 65,535 bytes [MQTT-4.7.3-3], no wildcard
 * [MQTT-3.3.2-2]; UTF-8 is not looked at. */
bool mqtt_topic_is_valid(const void *topic, uint32_t bytes);

/* At least one character, at most 65,535 bytes, wildcards only as whole levels, '#' only as the
 * last [MQTT-4.7.1-2, -3]; UTF-8 is not looked at. */
bool mqtt_filter_is_valid(const void *filter, uint32_t bytes);

/* Has a wildcard. */
bool mqtt_filter_is_pattern(const void *filter, uint32_t bytes);

/* Separators + 1. */
uint32_t mqtt_topic_levels(const void *topic, uint32_t bytes);

/* Bytes of the first `levels` levels without the separator after them; all of them when there are
 * fewer; 0 for no level. */
uint32_t mqtt_topic_prefix_bytes(const void *topic, uint32_t bytes, uint32_t levels);

/* Bytes of the literal levels before a filter's first wildcard, without the separator after them.
 */
uint32_t mqtt_filter_literal_bytes(const void *filter, uint32_t bytes);

/* Whether a valid filter matches a valid topic, byte by byte without any normalization
 * [MQTT-4.7.3-4]. Wildcards do not match a first level that begins with '$' [MQTT-4.7.2-1]. The
 * plain rule, to scan few topics and to test the index against; many filters are matched by the
 * index. */
bool mqtt_topic_matches(const void *filter, uint32_t filter_bytes, const void *topic,
                        uint32_t topic_bytes);

#endif
