/*
 * The facade of the subscription index: its life, and activation; see topic_index.h. Interning is
 * in filter.c, the topic table in topic.c.
 */
#include "session/topic_index.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "topic_index_internal.h"
#include "topic_level_internal.h"

int topic_index_init(struct topic_index *index, const struct topic_index_options *options)
{
    ps_assert(options->topics_max > 0 && options->filters_max > 0);
    *index = (struct topic_index){.options = *options};
    index->epochs = heap_zalloc(options->heap, TOPIC_INDEX_EPOCHS * sizeof(uint32_t));
    if (index->epochs == NULL)
        return -ENOMEM;
    table_init(&index->filters, options->heap);
    table_init(&index->topics, options->heap);
    pattern_trie_init(&index->trie, options->heap, options->seed);
    return 0;
}

void topic_index_deinit(struct topic_index *index)
{
    ps_assert(index->filters.count == 0);
    topic_clear(index);
    pattern_trie_deinit(&index->trie);
    table_deinit(&index->topics);
    table_deinit(&index->filters);
    heap_free(index->options.heap, index->matches);
    heap_free(index->options.heap, index->epochs);
    *index = (struct topic_index){0};
}

uint64_t topic_index_hash(const struct topic_index *index, const char *text, uint32_t bytes)
{
    return hash_bytes_seeded(index->options.seed, text, bytes);
}

uint16_t topic_index_epoch_slot(const struct topic_index *index, const char *prefix, uint32_t bytes)
{
    return (uint16_t)(topic_index_hash(index, prefix, bytes) >> 48);
}

/* Makes stale the entries of all topics that the pattern can match. */
static void advance_epoch(struct topic_index *index, const struct filter *pattern)
{
    index->pattern_changes++;
    if (pattern->literal_levels == 0) {
        index->epoch++;
        return;
    }
    uint32_t prefix_levels = ps_min_u32(pattern->literal_levels, TOPIC_EPOCH_PREFIXES);
    uint32_t end = topic_level_end(pattern->text, pattern->bytes, 0);
    for (uint32_t level = 1; level < prefix_levels; level++)
        end = topic_level_end(pattern->text, pattern->bytes, end + 1);
    index->epochs[topic_index_epoch_slot(index, pattern->text, end)]++;
}

static void set_active(struct topic_index *index, struct filter *filter, bool is_active)
{
    ps_assert(filter->is_active != is_active && filter->references > 0);
    filter->is_active = is_active;
    if (filter->is_pattern) {
        advance_epoch(index, filter);
        return;
    }
    uint64_t hash = topic_index_hash(index, filter->text, filter->bytes);
    struct topic *topic = topic_find(index, filter->text, filter->bytes, hash);
    if (topic != NULL)
        topic->exact = is_active ? filter : NULL;
}

void topic_index_activate(struct topic_index *index, struct filter *filter)
{
    set_active(index, filter, true);
}

void topic_index_deactivate(struct topic_index *index, struct filter *filter)
{
    set_active(index, filter, false);
}
