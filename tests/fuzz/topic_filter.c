/*
 * A filter and a topic, parted by the first zero byte, against a model that is as plain as the text
 * of MQTT 4.7: it splits into levels and compares them one by one.
 */
#include "core/base.h"
#include "net/mqtt_topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static uint32_t level_bytes(const uint8_t *text, uint32_t count)
{
    const uint8_t *end = count > 0 ? memchr(text, '/', count) : NULL;
    return end != NULL ? (uint32_t)(end - text) : count;
}

/* The levels from here on match. */
static bool model_matches(const uint8_t *filter, uint32_t filter_count, const uint8_t *topic,
                          uint32_t topic_count)
{
    uint32_t filter_level = level_bytes(filter, filter_count);
    uint32_t topic_level = level_bytes(topic, topic_count);
    bool is_filter_last = filter_level == filter_count;
    bool is_topic_last = topic_level == topic_count;
    if (filter_level == 1 && filter[0] == '#')
        return true;
    if (!(filter_level == 1 && filter[0] == '+') &&
        (filter_level != topic_level ||
         (topic_level > 0 && memcmp(filter, topic, topic_level) != 0)))
        return false;
    if (is_filter_last || is_topic_last)
        return is_topic_last && (is_filter_last || (filter_count - filter_level == 2 &&
                                                    filter[filter_level + 1] == '#'));
    return model_matches(filter + filter_level + 1, filter_count - filter_level - 1,
                         topic + topic_level + 1, topic_count - topic_level - 1);
}

static bool model_is_valid(const uint8_t *filter, uint32_t count)
{
    uint32_t level = level_bytes(filter, count);
    bool is_last = level == count;
    bool is_plain = true;
    for (uint32_t index = 0; index < level; index++)
        is_plain = is_plain && filter[index] != '+' && filter[index] != '#';
    bool is_good = is_plain || (level == 1 && (filter[0] == '+' || is_last));
    return is_good && (is_last || model_is_valid(filter + level + 1, count - level - 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    const uint8_t *zero = count > 0 ? memchr(bytes, 0, count) : NULL;
    if (zero == NULL || count > 4096)
        return 0;
    uint32_t filter_count = (uint32_t)(zero - bytes);
    uint32_t topic_count = (uint32_t)count - filter_count - 1;
    const uint8_t *topic = zero + 1;
    bool is_valid = filter_count > 0 && model_is_valid(bytes, filter_count);
    ps_assert(mqtt_filter_is_valid(bytes, filter_count) == is_valid);
    ps_assert(mqtt_filter_literal_bytes(bytes, filter_count) <= filter_count);
    (void)mqtt_utf8_is_valid(topic, topic_count);
    if (!is_valid || !mqtt_topic_is_valid(topic, topic_count))
        return 0;
    ps_assert(!mqtt_filter_is_pattern(topic, topic_count));
    ps_assert(mqtt_topic_matches(topic, topic_count, topic, topic_count));
    bool is_hidden = topic[0] == '$' && (bytes[0] == '+' || bytes[0] == '#');
    bool does_match = mqtt_topic_matches(bytes, filter_count, topic, topic_count);
    ps_assert(does_match == (!is_hidden && model_matches(bytes, filter_count, topic, topic_count)));
    uint32_t levels = mqtt_topic_levels(topic, topic_count);
    ps_assert(mqtt_topic_prefix_bytes(topic, topic_count, levels) == topic_count);
    ps_assert(levels == 1 || mqtt_topic_prefix_bytes(topic, topic_count, levels - 1) < topic_count);
    return 0;
}
