/*
 * The topic table; see topic.h.
 *
 * An entry is valid while no pattern of the index changed since it was last looked at
 * (changes_seen), or else while the sum of its prefixes' epochs stands. An entry whose patterns
 * memory did not allow to keep borrows the index's array and is never valid twice.
 *
 * The clock is a ring of all entries. New ones go in behind the hand, so that it passes them last.
 * A sweep is cut off after SWEEP_MAX entries: then the one at the hand goes, seen or not, so that
 * no publish waits for a walk over the whole table.
 */
#include "session/topic.h"

#include "core/base.h"
#include "core/heap.h"
#include "session/topic_index.h"
#include "topic_index_internal.h"
#include "topic_level_internal.h"

enum { SWEEP_MAX = 32 };

/* No sum of epochs and no number of changes ever reaches it. */
#define STALE UINT64_MAX

_Static_assert(offsetof(struct topic, recent_first) == 64, "a lookup reads the first 64 bytes");

struct topic_key {
    const char *text;
    uint32_t bytes;
};

static bool topic_equals(const void *item, const void *key)
{
    const struct topic *topic = item;
    const struct topic_key *wanted = key;
    return topic->bytes == wanted->bytes && memcmp(topic->text, wanted->text, wanted->bytes) == 0;
}

struct topic *topic_find(const struct topic_index *index, const char *text, uint32_t bytes,
                         uint64_t hash)
{
    struct topic_key key = {.text = text, .bytes = bytes};
    return table_find(&index->topics, hash, topic_equals, &key);
}

/* A prefix that the topic is too short for is stood for by the whole topic. */
static void set_epoch_slots(const struct topic_index *index, struct topic *topic)
{
    uint32_t end = topic_level_end(topic->text, topic->bytes, 0);
    for (uint32_t i = 0; i < TOPIC_EPOCH_PREFIXES; i++) {
        topic->epoch_slots[i] = topic_index_epoch_slot(index, topic->text, end);
        if (end < topic->bytes)
            end = topic_level_end(topic->text, topic->bytes, end + 1);
    }
}

static uint64_t epoch_of(const struct topic_index *index, const struct topic *topic)
{
    uint64_t sum = index->epoch;
    for (uint32_t i = 0; i < TOPIC_EPOCH_PREFIXES; i++)
        sum += index->epochs[topic->epoch_slots[i]];
    return sum;
}

struct collection {
    struct topic_index *index;
    uint32_t count;
};

static bool collect_active(void *context, struct filter *pattern)
{
    struct collection *collection = context;
    if (!pattern->is_active)
        return true;
    ps_assert(collection->count < collection->index->matches_capacity);
    collection->index->matches[collection->count++] = pattern;
    return true;
}

static void set_patterns(struct topic *topic, struct filter **patterns, uint32_t capacity)
{
    topic->patterns = patterns;
    topic->pattern_capacity = capacity;
}

static void free_patterns(struct topic_index *index, struct topic *topic)
{
    if (topic->pattern_capacity > 0)
        heap_free(index->options.heap, topic->patterns);
    set_patterns(topic, topic->patterns_inline, 0);
}

/* Gives the entry a place for `count` patterns, neither too small nor far too large. False without
 * memory; then it has none of its own. */
static bool make_room(struct topic_index *index, struct topic *topic, uint32_t count)
{
    if (count <= topic->pattern_capacity && count > topic->pattern_capacity / 4)
        return true;
    free_patterns(index, topic);
    if (count <= TOPIC_PATTERNS_INLINE)
        return true;
    struct filter **patterns = heap_alloc(index->options.heap, count * sizeof(struct filter *));
    if (patterns == NULL)
        return false;
    set_patterns(topic, patterns, count);
    return true;
}

/* Finds the patterns of an entry. False when they could not be kept: then the entry is complete,
 * but stale from the start. */
static bool resolve_patterns(struct topic_index *index, struct topic *topic)
{
    struct collection collection = {.index = index};
    pattern_trie_match(&index->trie, topic->text, topic->bytes, collect_active, &collection);
    topic->pattern_count = collection.count;
    if (!topic->is_cached || !make_room(index, topic, collection.count)) {
        set_patterns(topic, index->matches, 0);
        topic->changes_seen = STALE;
        topic->epoch = STALE;
        return false;
    }
    for (uint32_t i = 0; i < collection.count; i++)
        topic->patterns[i] = index->matches[i];
    topic->changes_seen = index->pattern_changes;
    topic->epoch = epoch_of(index, topic);
    return true;
}

static void resolve_exact(struct topic_index *index, struct topic *topic)
{
    struct filter *filter = filter_find(index, topic->text, topic->bytes);
    bool is_match = filter != NULL && filter->is_active && !filter->is_pattern;
    topic->exact = is_match ? filter : NULL;
}

static void clock_insert(struct topic_index *index, struct topic *topic)
{
    struct topic *hand = index->clock_hand;
    if (hand == NULL) {
        topic->clock_next = topic;
        topic->clock_previous = topic;
        index->clock_hand = topic;
        return;
    }
    topic->clock_next = hand;
    topic->clock_previous = hand->clock_previous;
    hand->clock_previous->clock_next = topic;
    hand->clock_previous = topic;
}

static void clock_remove(struct topic_index *index, struct topic *topic)
{
    if (topic->clock_next == topic) {
        index->clock_hand = NULL;
        return;
    }
    topic->clock_next->clock_previous = topic->clock_previous;
    topic->clock_previous->clock_next = topic->clock_next;
    if (index->clock_hand == topic)
        index->clock_hand = topic->clock_next;
}

static void destroy(struct topic_index *index, struct topic *topic)
{
    bool was_there = table_remove(&index->topics, topic->hash, topic);
    ps_assert(was_there);
    clock_remove(index, topic);
    free_patterns(index, topic);
    heap_free(index->options.heap, topic);
}

static void evict_one(struct topic_index *index)
{
    for (uint32_t i = 0; i < SWEEP_MAX && index->clock_hand->is_referenced; i++) {
        index->clock_hand->is_referenced = false;
        index->clock_hand = index->clock_hand->clock_next;
    }
    struct topic *victim = index->clock_hand;
    index->counters.topics_evicted++;
    if (index->options.on_evict != NULL)
        index->options.on_evict(index->options.context, victim);
    destroy(index, victim);
}

void topic_clear(struct topic_index *index)
{
    while (index->clock_hand != NULL)
        destroy(index, index->clock_hand);
}

/* A new entry in the table, its matches still to be found; NULL without memory. */
static struct topic *enter(struct topic_index *index, const char *text, uint32_t bytes,
                           uint64_t hash)
{
    struct topic *topic = heap_alloc(index->options.heap, sizeof *topic + bytes);
    if (topic == NULL)
        return NULL;
    char *own_text = (char *)(topic + 1);
    memcpy(own_text, text, bytes);
    *topic =
        (struct topic){.hash = hash, .text = own_text, .bytes = (uint16_t)bytes, .is_cached = true};
    if (table_insert(&index->topics, hash, topic) < 0) {
        heap_free(index->options.heap, topic);
        return NULL;
    }
    clock_insert(index, topic);
    index->counters.topics_made++;
    return topic;
}

static struct topic *resolve_new(struct topic_index *index, const char *text, uint32_t bytes,
                                 uint64_t hash)
{
    ps_assert(bytes > 0 && bytes <= UINT16_MAX);
    if (index->topics.count >= index->options.topics_max)
        evict_one(index);
    struct topic *topic = enter(index, text, bytes, hash);
    if (topic == NULL && index->clock_hand != NULL) {
        /* The topics of the moment are worth more than those of before memory ran out. */
        evict_one(index);
        topic = enter(index, text, bytes, hash);
    }
    if (topic == NULL) {
        topic = &index->uncached;
        *topic = (struct topic){.hash = hash, .text = text, .bytes = (uint16_t)bytes};
    }
    set_patterns(topic, topic->patterns_inline, 0);
    set_epoch_slots(index, topic);
    resolve_exact(index, topic);
    if (!resolve_patterns(index, topic))
        index->counters.topics_uncached++;
    return topic;
}

/* Looks at an entry after patterns changed somewhere. */
static void refresh(struct topic_index *index, struct topic *topic)
{
    if (topic->epoch == epoch_of(index, topic)) {
        topic->changes_seen = index->pattern_changes;
        return;
    }
    index->counters.topics_reresolved++;
    if (!resolve_patterns(index, topic))
        index->counters.topics_uncached++;
}

struct topic *topic_resolve(struct topic_index *index, const char *text, uint32_t bytes,
                            uint64_t hash)
{
    struct topic *topic = topic_find(index, text, bytes, hash);
    if (ps_unlikely(topic == NULL))
        return resolve_new(index, text, bytes, hash);
    topic->is_referenced = true;
    if (ps_unlikely(topic->changes_seen != index->pattern_changes))
        refresh(index, topic);
    return topic;
}

/* A visitor that is told only of active filters. */
struct active_walk {
    filter_visit *visit;
    void *context;
};

static bool visit_active(void *context, struct filter *filter)
{
    const struct active_walk *walk = context;
    return !filter->is_active || walk->visit(walk->context, filter);
}

void topic_matches_walk(struct topic_index *index, const char *text, uint32_t bytes,
                        filter_visit *visit, void *context)
{
    struct active_walk walk = {.visit = visit, .context = context};
    struct filter *exact = filter_find(index, text, bytes);
    if (exact != NULL && !exact->is_pattern && !visit_active(&walk, exact))
        return;
    pattern_trie_match(&index->trie, text, bytes, visit_active, &walk);
}
