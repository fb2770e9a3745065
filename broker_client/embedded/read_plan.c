/*
 * Hints as hashes, and the lowest of their postings; see read_plan_internal.h. Bounded by the
 * limits of a pull, without IO. A shard's; its thread's.
 */
#include "read_plan_internal.h"

#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"

bool read_plan_is_all(const struct broker_hint *hint)
{
    return hint->all || (uint32_t)hint->topic_count + hint->prefix_count > READ_PLAN_HINTS_MAX;
}

/* Bytes of the first `*levels` levels of `text`; *levels is made smaller when it has fewer. */
static uint32_t prefix_bytes(const unsigned char *text, uint32_t text_bytes, uint32_t *levels)
{
    uint32_t position = 0;
    for (uint32_t level = 1;; level++) {
        const unsigned char *slash =
            position < text_bytes ? memchr(text + position, '/', text_bytes - position) : NULL;
        if (slash == NULL) {
            *levels = level;
            return text_bytes;
        }
        if (level == *levels)
            return (uint32_t)(slash - text);
        position = (uint32_t)(slash - text) + 1;
    }
}

static int compare_hints(const void *a, const void *b)
{
    uint32_t left = ((const struct read_hint *)a)->hash;
    uint32_t right = ((const struct read_hint *)b)->hash;
    return (left > right) - (left < right);
}

static void add_hint(struct read_plan *plan, const struct broker_bytes *text, bool is_prefix)
{
    uint32_t levels = is_prefix ? SEGMENT_INDEX_LEVELS : 0;
    uint32_t bytes = is_prefix ? prefix_bytes(text->bytes, text->count, &levels) : text->count;
    plan->levels_mask |= (uint8_t)(1 << levels);
    plan->hints[plan->hint_count++] = (struct read_hint){
        .text = text,
        .hash = segment_index_hash(plan->hash_seed, plan->partition, levels, text->bytes, bytes),
        .levels = (uint8_t)levels,
    };
}

struct read_plan *read_plan_create(struct heap *heap, uint64_t hash_seed, uint16_t partition,
                                   const struct broker_hint *hint)
{
    uint32_t count = (uint32_t)hint->topic_count + hint->prefix_count;
    ps_assert(count <= READ_PLAN_HINTS_MAX);
    struct read_plan *plan =
        heap_alloc(heap, sizeof(*plan) + (size_t)count * sizeof(struct read_hint));
    if (plan == NULL)
        return NULL;
    *plan = (struct read_plan){.hash_seed = hash_seed, .partition = partition};
    for (uint32_t index = 0; index < hint->topic_count; index++)
        add_hint(plan, &hint->topics[index], false);
    for (uint32_t index = 0; index < hint->prefix_count; index++)
        add_hint(plan, &hint->prefixes[index], true);
    qsort(plan->hints, count, sizeof(struct read_hint), compare_hints);
    return plan;
}

static bool covers(const struct read_hint *hint, const struct record *record)
{
    const unsigned char *topic = record_topic(record);
    uint32_t count = hint->text->count;
    if (record->topic_bytes < count || (count > 0 && memcmp(topic, hint->text->bytes, count) != 0))
        return false;
    return record->topic_bytes == count || (hint->levels > 0 && topic[count] == '/');
}

static bool covers_hash(const struct read_plan *plan, uint32_t hash, uint32_t levels,
                        const struct record *record)
{
    uint32_t low = 0;
    uint32_t high = plan->hint_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (plan->hints[middle].hash < hash)
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < plan->hint_count && plan->hints[low].hash == hash; low++) {
        if (plan->hints[low].levels == levels && covers(&plan->hints[low], record))
            return true;
    }
    return false;
}

bool read_plan_covers(const struct read_plan *plan, const struct record *record)
{
    const unsigned char *topic = record_topic(record);
    for (uint32_t levels = 0; levels <= SEGMENT_INDEX_LEVELS; levels++) {
        if ((plan->levels_mask >> levels & 1) == 0)
            continue;
        uint32_t levels_there = levels;
        uint32_t bytes = levels > 0 ? prefix_bytes(topic, record->topic_bytes, &levels_there)
                                    : record->topic_bytes;
        if (levels_there < levels)
            return false;
        uint32_t hash = segment_index_hash(plan->hash_seed, plan->partition, levels, topic, bytes);
        if (covers_hash(plan, hash, levels, record))
            return true;
    }
    return false;
}

bool read_postings_add(struct read_postings *postings, struct read_posting posting)
{
    uint32_t low = 0;
    uint32_t high = postings->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (postings->entries[middle].sequence < posting.sequence)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < postings->count && postings->entries[low].sequence == posting.sequence)
        return true;
    if (postings->count == postings->max) {
        postings->is_cut = true;
        if (low == postings->max)
            return false;
        postings->count--;
    }
    memmove(&postings->entries[low + 1], &postings->entries[low],
            (postings->count - low) * sizeof(postings->entries[0]));
    postings->entries[low] = posting;
    postings->count++;
    return true;
}
