/*
 * The trie of patterns; see pattern_trie.h.
 *
 * A match walks level by level: the nodes that the topic's levels so far lead to form a list, and
 * each adds its '+' and its literal child to the next level's. A node is reached over one path
 * only, so one link in each suffices, and neither recursion nor a stack grows with a peer's topic.
 * A level's text is hashed at most once, its child then found with the parent mixed in.
 */
#include "session/pattern_trie.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "topic_level_internal.h"

struct node_key {
    const struct pattern_node *parent;
    const char *text;
    uint32_t bytes;
};

static const char *node_text(const struct pattern_node *node)
{
    return (const char *)(node + 1);
}

static bool node_matches(const void *item, const void *key)
{
    const struct pattern_node *node = item;
    const struct node_key *wanted = key;
    return node->parent == wanted->parent && node->bytes == wanted->bytes &&
           memcmp(node_text(node), wanted->text, wanted->bytes) == 0;
}

static uint64_t node_hash(const struct pattern_node *parent, uint64_t level_hash)
{
    return hash_bytes_seeded(level_hash, &parent, sizeof parent);
}

void pattern_trie_init(struct pattern_trie *trie, struct heap *heap, uint64_t seed)
{
    *trie = (struct pattern_trie){.heap = heap, .seed = seed};
    table_init(&trie->nodes, heap);
    pattern_shape_init(&trie->shapes, heap, seed);
}

void pattern_trie_deinit(struct pattern_trie *trie)
{
    ps_assert(trie->pattern_count == 0 && trie->node_count == 0);
    table_deinit(&trie->nodes);
    pattern_shape_deinit(&trie->shapes);
}

static struct pattern_node *find_literal(const struct pattern_trie *trie,
                                         const struct pattern_node *parent, const char *text,
                                         uint32_t bytes)
{
    if (parent->literal_count == 0)
        return NULL;
    struct node_key key = {.parent = parent, .text = text, .bytes = bytes};
    uint64_t hash = node_hash(parent, hash_bytes_seeded(trie->seed, text, bytes));
    return table_find(&trie->nodes, hash, node_matches, &key);
}

/* The new child of `parent` for a level, or NULL without memory. */
static struct pattern_node *add_child(struct pattern_trie *trie, struct pattern_node *parent,
                                      const char *text, uint32_t bytes, bool is_plus)
{
    struct pattern_node *node =
        heap_alloc(trie->heap, sizeof *node + (is_plus ? 0 : (size_t)bytes));
    if (node == NULL)
        return NULL;
    *node = (struct pattern_node){.parent = parent, .is_plus = is_plus};
    if (is_plus) {
        parent->plus = node;
    } else {
        node->bytes = (uint16_t)bytes;
        memcpy(node + 1, text, bytes);
        uint64_t hash = node_hash(parent, hash_bytes_seeded(trie->seed, text, bytes));
        if (table_insert(&trie->nodes, hash, node) < 0) {
            heap_free(trie->heap, node);
            return NULL;
        }
        parent->literal_count++;
    }
    trie->node_count++;
    return node;
}

static bool is_unused(const struct pattern_node *node)
{
    return node->ending_here == NULL && node->ending_below == NULL && node->plus == NULL &&
           node->literal_count == 0;
}

/* Frees the node and those above it as far as nothing needs them. */
static void prune(struct pattern_trie *trie, struct pattern_node *node)
{
    while (node != &trie->root && is_unused(node)) {
        struct pattern_node *parent = node->parent;
        if (node->is_plus) {
            parent->plus = NULL;
        } else {
            uint64_t hash =
                node_hash(parent, hash_bytes_seeded(trie->seed, node_text(node), node->bytes));
            bool was_there = table_remove(&trie->nodes, hash, node);
            ps_assert(was_there);
            parent->literal_count--;
        }
        heap_free(trie->heap, node);
        trie->node_count--;
        node = parent;
    }
}

/* Where the pattern hangs: *out_slot of the node returned. With `is_adding` nodes that are not
 * there are made; NULL: without memory, or not there. */
static struct pattern_node *descend(struct pattern_trie *trie, const struct filter *pattern,
                                    bool is_adding, struct filter ***out_slot)
{
    const char *text = pattern->text;
    struct pattern_node *node = &trie->root;
    for (uint32_t start = 0; start <= pattern->bytes;) {
        uint32_t end = topic_level_end(text, pattern->bytes, start);
        if (topic_level_is(text, start, end, '#')) {
            *out_slot = &node->ending_below;
            return node;
        }
        bool is_plus = topic_level_is(text, start, end, '+');
        struct pattern_node *child =
            is_plus ? node->plus : find_literal(trie, node, text + start, end - start);
        if (child == NULL && is_adding)
            child = add_child(trie, node, text + start, end - start, is_plus);
        if (child == NULL) {
            prune(trie, node);
            return NULL;
        }
        node = child;
        start = end + 1;
    }
    *out_slot = &node->ending_here;
    return node;
}

int pattern_trie_insert(struct pattern_trie *trie, struct filter *pattern)
{
    ps_assert(pattern->is_pattern);
    int result = pattern_shape_add(&trie->shapes, pattern->text, pattern->bytes);
    if (result < 0)
        return result;
    struct filter **slot = NULL;
    if (descend(trie, pattern, true, &slot) == NULL) {
        pattern_shape_remove(&trie->shapes, pattern->text, pattern->bytes);
        return -ENOMEM;
    }
    ps_assert(*slot == NULL);
    *slot = pattern;
    trie->pattern_count++;
    return 0;
}

void pattern_trie_remove(struct pattern_trie *trie, const struct filter *pattern)
{
    struct filter **slot = NULL;
    struct pattern_node *node = descend(trie, pattern, false, &slot);
    ps_assert(node != NULL && *slot == pattern);
    *slot = NULL;
    trie->pattern_count--;
    prune(trie, node);
    pattern_shape_remove(&trie->shapes, pattern->text, pattern->bytes);
}

uint64_t pattern_trie_matches_max(const struct pattern_trie *trie)
{
    return trie->shapes.table.count;
}

/* Puts the children of `node` that a level leads to in front of the list `next`; the new list. */
static struct pattern_node *step(const struct pattern_trie *trie, const struct pattern_node *node,
                                 struct node_key level, uint64_t level_hash,
                                 struct pattern_node *next)
{
    if (node->literal_count == 0)
        return next;
    level.parent = node;
    struct pattern_node *child =
        table_find(&trie->nodes, node_hash(node, level_hash), node_matches, &level);
    if (child == NULL)
        return next;
    child->match_next = next;
    return child;
}

/* Visits what hangs on the nodes that the whole topic leads to. */
static void visit_ends(const struct pattern_node *node, filter_visit *visit, void *context)
{
    for (; node != NULL; node = node->match_next) {
        if (node->ending_here != NULL && !visit(context, node->ending_here))
            return;
        if (node->ending_below != NULL && !visit(context, node->ending_below))
            return;
    }
}

void pattern_trie_match(struct pattern_trie *trie, const char *topic, uint32_t bytes,
                        filter_visit *visit, void *context)
{
    ps_assert(bytes > 0);
    struct pattern_node *nodes = &trie->root;
    for (uint32_t start = 0; start <= bytes && nodes != NULL;) {
        uint32_t end = topic_level_end(topic, bytes, start);
        struct node_key level = {.text = topic + start, .bytes = end - start};
        uint64_t level_hash = hash_bytes_seeded(trie->seed, level.text, level.bytes);
        struct pattern_node *next = NULL;
        for (struct pattern_node *node = nodes; node != NULL; node = node->match_next) {
            next = step(trie, node, level, level_hash, next);
            if (topic[0] == '$' && node == &trie->root)
                continue; /* [MQTT-4.7.2-1] */
            if (node->ending_below != NULL && !visit(context, node->ending_below))
                return;
            if (node->plus != NULL) {
                node->plus->match_next = next;
                next = node->plus;
            }
        }
        nodes = next;
        start = end + 1;
    }
    visit_ends(nodes, visit, context);
}
