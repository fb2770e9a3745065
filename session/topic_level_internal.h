/*
 * Levels of topics and filters: what stands between separators, possibly nothing [MQTT-4.7.1-1].
 * Stateless.
 */
#ifndef PENSTOCK_SESSION_TOPIC_LEVEL_INTERNAL_H
#define PENSTOCK_SESSION_TOPIC_LEVEL_INTERNAL_H

#include "core/base.h"

/* The end (exclusive) of the level that begins at `start`, which is at most `bytes`. The next level
 * begins one further; there is none when that is beyond `bytes`. */
static inline uint32_t topic_level_end(const char *text, uint32_t bytes, uint32_t start)
{
    const char *separator = memchr(text + start, '/', bytes - start);
    return separator == NULL ? bytes : (uint32_t)(separator - text);
}

/* True when the level from `start` to `end` is `wildcard` and nothing else. */
static inline bool topic_level_is(const char *text, uint32_t start, uint32_t end, char wildcard)
{
    return end - start == 1 && text[start] == wildcard;
}

#endif
