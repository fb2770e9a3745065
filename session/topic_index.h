/*
 * The subscription index: which filters match a topic. A shard has one (filters -> its
 * subscribers), and a partition's owner has one (filters -> shards that want them). It keeps
 * filters (filter.h), a trie of patterns (pattern_trie.h) and a table of topics (topic.h), which
 * names for each topic its exact filter and the patterns that match.
 *
 *   acquire -> inactive --activate--> active --deactivate--> inactive -> release
 *
 * Activation cannot fail: whatever needs memory is done at acquire. An exact filter's activation
 * touches its topic's entry and nothing else. A pattern's adds 1 to the epoch counter of its
 * literal prefix (0 to 3 levels); an entry is valid while the sum of its prefixes' counters stands,
 * so that clients coming with "devices/<id>/#" leave each other's topics alone.
 *
 * Owner and thread: one shard.
 */
#ifndef PENSTOCK_SESSION_TOPIC_INDEX_H
#define PENSTOCK_SESSION_TOPIC_INDEX_H

#include "core/table.h"
#include "session/filter.h"
#include "session/pattern_trie.h"
#include "session/topic.h"

struct heap;

enum { TOPIC_INDEX_EPOCHS = 65536 };

struct topic_index_options {
    struct heap *heap;
    uint64_t seed; /* the process's, the same in all its indexes: hashes travel with messages */
    uint32_t topics_max;     /* entries of the topic table, > 0 */
    uint32_t filters_max;    /* > 0 */
    topic_evicted *on_evict; /* NULL: nobody wants to know */
    void *context;           /* for on_evict */
};

/* Ever since the index began. */
struct topic_index_counters {
    uint64_t topics_made;       /* entries made */
    uint64_t topics_reresolved; /* entries that had gone stale */
    uint64_t topics_evicted;    /* at topics_max */
    uint64_t topics_uncached;   /* resolutions whose result memory did not allow to keep */
    uint64_t filters_refused;   /* at filters_max */
};

struct topic_index {
    struct topic_index_options options;
    struct topic_index_counters counters;
    struct table filters; /* exact ones and patterns, by topic_index_hash() */
    struct table topics;
    struct pattern_trie trie;
    uint64_t pattern_changes;  /* patterns activated and deactivated */
    uint64_t epoch;            /* of the patterns without a literal prefix */
    uint32_t *epochs;          /* of the others: TOPIC_INDEX_EPOCHS counters by prefix */
    struct filter **matches;   /* room for what any topic can match */
    uint64_t matches_capacity; /* >= pattern_trie_matches_max() */
    struct topic *clock_hand;  /* NULL: no entries */
    struct topic uncached;     /* the entry when there is no memory for one */
};

/* 0 or -ENOMEM. Takes 256 KiB for the epochs. The index may not move from here on. */
int topic_index_init(struct topic_index *index, const struct topic_index_options *options);

/* Every filter must have been released. Frees the topics without on_evict. */
void topic_index_deinit(struct topic_index *index);

/* The hash of a topic's or filter's text; the same in every index with the same seed. */
uint64_t topic_index_hash(const struct topic_index *index, const char *text, uint32_t bytes);

/* The filter has its first active user: from here on it matches. It must be inactive. */
void topic_index_activate(struct topic_index *index, struct filter *filter);

/* The last active user went: from here on it matches nothing. It must be active. */
void topic_index_deactivate(struct topic_index *index, struct filter *filter);

#endif
