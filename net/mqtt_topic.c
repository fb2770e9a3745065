/*
 * Topic names and filters; see mqtt_topic.h. Texts are scanned eight bytes at a time where they
 * are long enough; nothing is read beyond them.
 */
#include "net/mqtt_topic.h"

#include "mqtt_fields_internal.h"

enum { TOPIC_BYTES_MAX = WIRE_PREFIXED_BYTES_MAX }; /* [MQTT-4.7.3-3] */

/* Bytes of the well-formed multi-byte sequence that begins at `text` (Unicode's table 3-7), or 0.
 * Surrogates are ED A0..BF xx, overlong forms C0, C1, E0 80..9F and F0 80..8F, too large ones
 * F4 90.. and up. */
static uint32_t utf8_sequence_bytes(const unsigned char *text, uint32_t left)
{
    unsigned char lead = text[0];
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    uint32_t bytes = 2u + (lead >= 0xe0) + (lead >= 0xf0);
    if (bytes > left)
        return 0;
    unsigned char second_min = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char second_max = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    if (text[1] < second_min || text[1] > second_max)
        return 0;
    for (uint32_t index = 2; index < bytes; index++) {
        if ((text[index] & 0xc0) != 0x80)
            return 0;
    }
    return bytes;
}

bool mqtt_utf8_is_valid(const void *text, uint32_t bytes)
{
    const unsigned char *start = text;
    uint32_t index = 0;
    while (index < bytes) {
        if (bytes - index >= 8 && mqtt_text_not_ascii(mqtt_text_load_u64(start + index)) == 0) {
            index += 8;
        } else if (start[index] < 0x80) {
            if (start[index] == 0)
                return false;
            index++;
        } else {
            uint32_t sequence_bytes = utf8_sequence_bytes(start + index, bytes - index);
            if (sequence_bytes == 0)
                return false;
            index += sequence_bytes;
        }
    }
    return true;
}

static bool is_wildcard(unsigned char byte)
{
    return byte == '+' || byte == '#';
}

/* Index of the first wildcard at `from` or later; `bytes` when there is none. */
static uint32_t find_wildcard(const unsigned char *text, uint32_t bytes, uint32_t from)
{
    uint32_t index = from;
    while (bytes - index >= 8 && mqtt_text_wildcards(mqtt_text_load_u64(text + index)) == 0)
        index += 8;
    while (index < bytes && !is_wildcard(text[index]))
        index++;
    return index;
}

bool mqtt_topic_is_valid(const void *topic, uint32_t bytes)
{
    return bytes > 0 && bytes <= TOPIC_BYTES_MAX && find_wildcard(topic, bytes, 0) == bytes;
}

bool mqtt_filter_is_valid(const void *filter, uint32_t bytes)
{
    const unsigned char *text = filter;
    if (bytes == 0 || bytes > TOPIC_BYTES_MAX)
        return false;
    for (uint32_t index = find_wildcard(text, bytes, 0); index < bytes;
         index = find_wildcard(text, bytes, index + 1)) {
        bool is_last = index + 1 == bytes;
        if (index > 0 && text[index - 1] != '/')
            return false;
        if (text[index] == '#' ? !is_last : !is_last && text[index + 1] != '/')
            return false;
    }
    return true;
}

bool mqtt_filter_is_pattern(const void *filter, uint32_t bytes)
{
    return find_wildcard(filter, bytes, 0) < bytes;
}

/* Separators among the eight bytes of a word. Adding 0x7f to the low seven bits carries into the
 * high one for any byte but 0, without a carry between bytes; the product sums the eight flags. */
static uint32_t word_separators(uint64_t word)
{
    uint64_t zero = word ^ '/' * MQTT_TEXT_ONES;
    uint64_t others = ((zero & ~MQTT_TEXT_HIGHS) + ~MQTT_TEXT_HIGHS) | zero;
    return (uint32_t)(((~others & MQTT_TEXT_HIGHS) >> 7) * MQTT_TEXT_ONES >> 56);
}

uint32_t mqtt_topic_levels(const void *topic, uint32_t bytes)
{
    const unsigned char *text = topic;
    uint32_t levels = 1;
    uint32_t index = 0;
    for (; bytes - index >= 8; index += 8)
        levels += word_separators(mqtt_text_load_u64(text + index));
    for (; index < bytes; index++)
        levels += text[index] == '/';
    return levels;
}

uint32_t mqtt_topic_prefix_bytes(const void *topic, uint32_t bytes, uint32_t levels)
{
    const unsigned char *text = topic;
    if (levels == 0)
        return 0;
    for (uint32_t index = 0; index < bytes; index++) {
        if (text[index] == '/' && --levels == 0)
            return index;
    }
    return bytes;
}

uint32_t mqtt_filter_literal_bytes(const void *filter, uint32_t bytes)
{
    uint32_t wildcard = find_wildcard(filter, bytes, 0);
    return wildcard == bytes || wildcard == 0 ? wildcard : wildcard - 1;
}

/* Walks filter and topic level by level; both positions are at the beginning of a level at the top
 * of the loop. */
bool mqtt_topic_matches(const void *filter, uint32_t filter_bytes, const void *topic,
                        uint32_t topic_bytes)
{
    const unsigned char *f = filter;
    const unsigned char *t = topic;
    uint32_t fi = 0;
    uint32_t ti = 0;
    if (filter_bytes > 0 && topic_bytes > 0 && is_wildcard(f[0]) && t[0] == '$')
        return false; /* [MQTT-4.7.2-1] */
    while (fi < filter_bytes && f[fi] != '#') {
        if (f[fi] == '+') {
            fi++;
            while (ti < topic_bytes && t[ti] != '/')
                ti++;
        } else {
            while (fi < filter_bytes && f[fi] != '/') {
                if (ti == topic_bytes || t[ti] != f[fi])
                    return false;
                fi++;
                ti++;
            }
        }
        if (ti < topic_bytes && t[ti] != '/')
            return false;
        if (fi == filter_bytes)
            return ti == topic_bytes;
        if (ti == topic_bytes) /* "a/#" matches its parent "a" (4.7.1.2) */
            return filter_bytes - fi == 2 && f[fi + 1] == '#';
        fi++;
        ti++;
    }
    return fi < filter_bytes || ti == topic_bytes;
}
