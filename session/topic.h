/*
 * The topic table of a topic index: a bounded cache of what each topic matches, so that a publish
 * costs one lookup. An entry is made when its topic is first seen and stays valid until a pattern
 * with one of the topic's literal prefixes is activated or deactivated; then it is resolved anew,
 * in place. At topics_max the clock (second chance) makes room. An entry is only ever a cache:
 * without memory a topic is resolved into an entry that lives until the next resolution.
 *
 * Owner and thread: the topic index, on its shard.
 */
#ifndef PENSTOCK_SESSION_TOPIC_H
#define PENSTOCK_SESSION_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include "session/filter.h"

enum { TOPIC_PATTERNS_INLINE = 2, TOPIC_EPOCH_PREFIXES = 3 };

/* The first 64 bytes are what a publish reads. The filters are all active. */
struct topic {
    uint64_t hash;            /* topic_index_hash() of the text */
    const char *text;         /* `bytes` of it, not terminated */
    struct filter *exact;     /* the filter with the same text, or NULL */
    struct filter **patterns; /* `pattern_count` of them, each once, in no particular order */
    uint32_t pattern_count;
    uint16_t bytes;
    bool is_cached;     /* false: an entry without memory; its user's fields must stay 0 */
    bool is_referenced; /* seen since the clock's hand last passed */
    uint64_t changes_seen;
    struct filter *patterns_inline[TOPIC_PATTERNS_INLINE];

    uint64_t recent_first; /* the user's: positions in its hand-over ring, 0: none */
    uint64_t recent_last;
    uint64_t user; /* the user's */

    uint64_t epoch; /* sum of its prefixes' counters when it was resolved */
    struct topic *clock_next;
    struct topic *clock_previous;
    uint32_t pattern_capacity; /* of an array of its own; 0: inline or borrowed from the index */
    uint16_t epoch_slots[TOPIC_EPOCH_PREFIXES];
};

/* News of an entry that is about to be freed, so that the user can let go of what its fields name.
 * May not call the index. */
typedef void topic_evicted(void *context, struct topic *topic);

/* The topic's entry, valid and complete; never NULL. `hash` is topic_index_hash() of the text,
 * `bytes` 1 to 65,535. The entry stays until a later resolution evicts it (never the one just
 * resolved); its `patterns` may be read until the next call that resolves, acquires, activates,
 * deactivates or releases. An entry with is_cached false borrows `text` and lives until the next
 * resolution. */
struct topic *topic_resolve(struct topic_index *index, const char *text, uint32_t bytes,
                            uint64_t hash);

/* The topic's entry as it is, without resolving: its filters may be stale and must not be read, the
 * user's fields may. NULL when it is not in the table. */
struct topic *topic_find(const struct topic_index *index, const char *text, uint32_t bytes,
                         uint64_t hash);

/* Visits every active filter that matches the topic, each once, without the table. */
void topic_matches_walk(struct topic_index *index, const char *text, uint32_t bytes,
                        filter_visit *visit, void *context);

#endif
