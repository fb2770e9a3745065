/*
 * The patterns of a topic index, by level: one node per distinct level that leads to a pattern,
 * found from its parent through one hash table for all nodes. A pattern that ends in '#' hangs on
 * the node before it, so that "a/#" matches "a" [MQTT-4.7.1-2] without a step of its own. Nodes go
 * when the last pattern below them goes.
 *
 * Shapes (pattern_shape.h) bound a match: no topic matches more patterns than there are shapes.
 *
 * Owner and thread: one topic index, on its shard.
 */
#ifndef PENSTOCK_SESSION_PATTERN_TRIE_H
#define PENSTOCK_SESSION_PATTERN_TRIE_H

#include "core/table.h"
#include "session/filter.h"
#include "session/pattern_shape.h"

/* A node; the `bytes` of its level's text follow it. */
struct pattern_node {
    struct pattern_node *parent;
    struct pattern_node *plus;       /* the child '+' */
    struct pattern_node *match_next; /* links the nodes of one level during a match */
    struct filter *ending_here;
    struct filter *ending_below; /* with '#' as the level after this one */
    uint32_t literal_count;      /* literal children */
    uint16_t bytes;
    bool is_plus;
};

struct pattern_trie {
    struct heap *heap;
    uint64_t seed;
    struct pattern_node root; /* no text; its children are the first levels */
    struct table nodes;       /* literal children, by parent and level */
    struct pattern_shapes shapes;
    uint64_t node_count; /* without the root */
    uint64_t pattern_count;
};

/* `seed` is the process's. The trie may not move from here on. */
void pattern_trie_init(struct pattern_trie *trie, struct heap *heap, uint64_t seed);

/* Every pattern must have been removed. */
void pattern_trie_deinit(struct pattern_trie *trie);

/* Adds a pattern that is not there yet; it must stay until it is removed. 0, or -ENOMEM and nothing
 * has changed. */
int pattern_trie_insert(struct pattern_trie *trie, struct filter *pattern);

void pattern_trie_remove(struct pattern_trie *trie, const struct filter *pattern);

/* No topic matches more patterns than this. */
uint64_t pattern_trie_matches_max(const struct pattern_trie *trie);

/* Visits every pattern, active or not, that matches a topic, each once. Patterns that begin with a
 * wildcard do not match topics that begin with '$' [MQTT-4.7.2-1]. Not reentrant. */
void pattern_trie_match(struct pattern_trie *trie, const char *topic, uint32_t bytes,
                        filter_visit *visit, void *context);

#endif
