/*
 * Interning of filters; see filter.h. A pattern takes its place in the trie, and room for one more
 * match, when it is acquired, so that activating it later cannot fail.
 */
#include "session/filter.h"

#include "core/base.h"
#include "core/heap.h"
#include "session/topic_index.h"
#include "topic_level_internal.h"

enum { MATCHES_CAPACITY_MIN = 16 };

struct filter_key {
    const char *text;
    uint32_t bytes;
};

static bool filter_matches(const void *item, const void *key)
{
    const struct filter *filter = item;
    const struct filter_key *wanted = key;
    return filter->bytes == wanted->bytes && memcmp(filter->text, wanted->text, wanted->bytes) == 0;
}

static struct filter *find(const struct topic_index *index, uint64_t hash, const char *text,
                           uint32_t bytes)
{
    struct filter_key key = {.text = text, .bytes = bytes};
    return table_find(&index->filters, hash, filter_matches, &key);
}

struct filter *filter_find(const struct topic_index *index, const char *text, uint32_t bytes)
{
    return find(index, topic_index_hash(index, text, bytes), text, bytes);
}

/* What the text says about a filter. */
struct filter_parts {
    uint32_t level_count;
    uint32_t literal_levels;
    bool is_pattern;
};

/* False when a wildcard is not a level of its own, or '#' not the last one. */
static bool parse(const char *text, uint32_t bytes, struct filter_parts *out_parts)
{
    struct filter_parts parts = {0};
    for (uint32_t start = 0; start <= bytes;) {
        uint32_t end = topic_level_end(text, bytes, start);
        bool is_hash = topic_level_is(text, start, end, '#');
        if (is_hash || topic_level_is(text, start, end, '+')) {
            if (is_hash && end != bytes)
                return false;
            parts.is_pattern = true;
        } else if (memchr(text + start, '+', end - start) != NULL ||
                   memchr(text + start, '#', end - start) != NULL) {
            return false;
        }
        parts.level_count++;
        if (!parts.is_pattern)
            parts.literal_levels++;
        start = end + 1;
    }
    *out_parts = parts;
    return true;
}

/* Makes room for the matches of any topic once there is one shape more. */
static int reserve_matches(struct topic_index *index)
{
    uint64_t needed = pattern_trie_matches_max(&index->trie) + 1;
    if (needed <= index->matches_capacity)
        return 0;
    uint64_t capacity = ps_max_u64(index->matches_capacity * 2, MATCHES_CAPACITY_MIN);
    struct filter **grown =
        heap_realloc(index->options.heap, index->matches, capacity * sizeof(struct filter *));
    if (grown == NULL)
        return -ENOMEM;
    index->matches = grown;
    index->matches_capacity = capacity;
    return 0;
}

/* Puts a new filter into the tables. */
static int enter(struct topic_index *index, uint64_t hash, struct filter *filter)
{
    int result = 0;
    if (filter->is_pattern) {
        result = reserve_matches(index);
        if (result == 0)
            result = pattern_trie_insert(&index->trie, filter);
        if (result < 0)
            return result;
    }
    result = table_insert(&index->filters, hash, filter);
    if (result < 0 && filter->is_pattern)
        pattern_trie_remove(&index->trie, filter);
    return result;
}

static int create(struct topic_index *index, uint64_t hash, const char *text, uint32_t bytes,
                  struct filter **out_filter)
{
    struct filter_parts parts;
    if (!parse(text, bytes, &parts))
        return -EINVAL;
    if (index->filters.count >= index->options.filters_max) {
        index->counters.filters_refused++;
        return -ENOSPC;
    }
    struct filter *filter = heap_zalloc(index->options.heap, offsetof(struct filter, text) + bytes);
    if (filter == NULL)
        return -ENOMEM;
    filter->references = 1;
    filter->bytes = (uint16_t)bytes;
    filter->level_count = (uint16_t)ps_min_u32(parts.level_count, UINT16_MAX);
    filter->literal_levels = (uint8_t)ps_min_u32(parts.literal_levels, UINT8_MAX);
    filter->is_pattern = parts.is_pattern;
    memcpy(filter->text, text, bytes);
    int result = enter(index, hash, filter);
    if (result < 0) {
        heap_free(index->options.heap, filter);
        return result;
    }
    *out_filter = filter;
    return 0;
}

int filter_acquire(struct topic_index *index, const char *text, uint32_t bytes,
                   struct filter **out_filter)
{
    if (bytes == 0 || bytes > UINT16_MAX)
        return -EINVAL;
    uint64_t hash = topic_index_hash(index, text, bytes);
    struct filter *filter = find(index, hash, text, bytes);
    if (filter == NULL)
        return create(index, hash, text, bytes, out_filter);
    filter_retain(filter);
    *out_filter = filter;
    return 0;
}

void filter_retain(struct filter *filter)
{
    ps_assert(filter->references > 0 && filter->references < UINT32_MAX);
    filter->references++;
}

void filter_release(struct topic_index *index, struct filter *filter)
{
    ps_assert(filter->references > 0);
    if (--filter->references > 0)
        return;
    ps_assert(!filter->is_active && filter->subscriber_count == 0);
    ps_assert(filter->subscribers == NULL);
    uint64_t hash = topic_index_hash(index, filter->text, filter->bytes);
    bool was_there = table_remove(&index->filters, hash, filter);
    ps_assert(was_there);
    if (filter->is_pattern)
        pattern_trie_remove(&index->trie, filter);
    heap_free(index->options.heap, filter);
}

/* A visitor of the filters seen as a visitor of the table. */
struct filter_iteration {
    filter_visit *visit;
    void *context;
};

static bool visit_item(void *context, void *item)
{
    const struct filter_iteration *iteration = context;
    return iteration->visit(iteration->context, item);
}

void filter_iterate(const struct topic_index *index, filter_visit *visit, void *context)
{
    struct filter_iteration iteration = {.visit = visit, .context = context};
    table_iterate(&index->filters, visit_item, &iteration);
}
