/*
 * The table of topics with a retained value, and the listing of the store; see retained_topics.h.
 */
#include "session/retained_topics.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/wire.h"
#include "session/hub.h"
#include "session/owner.h"
#include "session/retained_writer.h"

enum { LIST_BYTES_MAX = 1 << 18, KEY_HEAD_BYTES = 3 };

struct retained_list {
    struct broker_list list;
    struct retained_topics *topics;
    uint32_t partition; /* index into owner->partitions */
    uint64_t due_ns;    /* of the next page, after one that failed */
    bool is_asking;
    uint32_t after_bytes;
    unsigned char prefix[KEY_HEAD_BYTES];
    unsigned char after[BROKER_KEY_BYTES_MAX];
};

void retained_topics_init(struct retained_topics *topics, struct owner *owner)
{
    topics->owner = owner;
    table_init(&topics->topics, owner->hub->heap);
    table_init(&topics->deleted, owner->hub->heap);
}

static bool free_topic(void *context, void *item)
{
    heap_free(context, item);
    return true;
}

static void forget_deleted(struct retained_topics *topics)
{
    struct heap *heap = topics->owner->hub->heap;
    table_iterate(&topics->deleted, free_topic, heap);
    table_deinit(&topics->deleted);
    table_init(&topics->deleted, heap);
}

void retained_topics_deinit(struct retained_topics *topics)
{
    struct heap *heap = topics->owner->hub->heap;
    table_iterate(&topics->topics, free_topic, heap);
    table_deinit(&topics->topics);
    forget_deleted(topics);
    heap_free(heap, topics->list);
}

static bool is_hash(const void *item, const void *key)
{
    const struct retained_topic *topic = item;
    return topic->hash == *(const uint64_t *)key;
}

struct retained_topic *retained_topics_find(const struct retained_topics *topics, uint64_t hash)
{
    return table_find(&topics->topics, hash, is_hash, &hash);
}

static struct retained_topic *insert(struct table *table, struct heap *heap, uint64_t hash)
{
    struct retained_topic *topic = heap_zalloc(heap, sizeof(*topic));
    if (topic == NULL)
        return NULL;
    topic->hash = hash;
    if (table_insert(table, hash, topic) == 0)
        return topic;
    heap_free(heap, topic);
    return NULL;
}

struct retained_topic *retained_topics_add(struct retained_topics *topics, uint64_t hash,
                                           bool *out_is_full)
{
    struct hub *hub = topics->owner->hub;
    uint64_t count_max = topics->is_listed ? hub->limits->retained_max : 0;
    uint64_t count =
        atomic_fetch_add_explicit(&hub->shared->retained_values, 1, memory_order_relaxed);
    *out_is_full = count_max != 0 && count >= count_max;
    struct retained_topic *topic = *out_is_full ? NULL : insert(&topics->topics, hub->heap, hash);
    if (topic == NULL)
        atomic_fetch_sub_explicit(&hub->shared->retained_values, 1, memory_order_relaxed);
    else
        hub->counters.retained_values++;
    return topic;
}

void retained_topics_remove(struct retained_topics *topics, uint64_t hash)
{
    struct hub *hub = topics->owner->hub;
    /* Without memory a page that has it makes the count one too high until it is written again. */
    if (!topics->is_listed && table_find(&topics->deleted, hash, is_hash, &hash) == NULL)
        insert(&topics->deleted, hub->heap, hash);
    struct retained_topic *topic = retained_topics_find(topics, hash);
    if (topic == NULL)
        return;
    table_remove(&topics->topics, hash, topic);
    heap_free(hub->heap, topic);
    hub->counters.retained_values--;
    atomic_fetch_sub_explicit(&hub->shared->retained_values, 1, memory_order_relaxed);
}

/* The hash of a listed value's topic. A long one stands in the value alone. False: it cannot be
 * read. */
static bool hash_of(const struct retained_topics *topics, const struct broker_entry *entry,
                    uint64_t *out_hash)
{
    struct owner *owner = topics->owner;
    const char *topic = (const char *)entry->key.bytes + KEY_HEAD_BYTES;
    uint32_t bytes = entry->key.count - KEY_HEAD_BYTES;
    if (bytes <= RETAINED_KEY_TOPIC_BYTES) {
        *out_hash = topic_index_hash(&owner->index, topic, bytes);
        return true;
    }
    struct record *record = NULL;
    struct heap *heap = owner->hub->heap;
    if (record_decode(heap, 0, entry->value.bytes, entry->value.count, &record) < 0)
        return false;
    *out_hash =
        topic_index_hash(&owner->index, (const char *)record_topic(record), record->topic_bytes);
    record_release(heap, record);
    return true;
}

static void finish(struct retained_topics *topics)
{
    heap_free(topics->owner->hub->heap, topics->list);
    topics->list = NULL;
    topics->is_listed = true;
    forget_deleted(topics);
}

static void on_listed(struct broker_list *page)
{
    struct retained_list *list = ps_container_of(page, struct retained_list, list);
    struct retained_topics *topics = list->topics;
    struct hub *hub = topics->owner->hub;
    list->is_asking = false;
    hub->wants_turn = true;
    if (page->status != BROKER_OK) {
        list->due_ns = hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
        return;
    }
    for (uint32_t i = 0; i < page->count; i++) {
        uint64_t hash = 0;
        if (!hash_of(topics, &page->entries[i], &hash) ||
            table_find(&topics->deleted, hash, is_hash, &hash) != NULL ||
            retained_topics_find(topics, hash) != NULL)
            continue;
        bool is_full = false;
        retained_topics_add(topics, hash, &is_full); /* without memory it is not counted */
    }
    if (!page->is_last && page->count != 0) {
        const struct broker_bytes *last = &page->entries[page->count - 1].key;
        memcpy(list->after, last->bytes, last->count);
        list->after_bytes = last->count;
        return;
    }
    list->after_bytes = 0;
    if (++list->partition == topics->owner->partition_count)
        finish(topics);
}

bool retained_topics_is_asking(const struct retained_topics *topics)
{
    return topics->list != NULL && topics->list->is_asking;
}

static void ask(struct retained_list *list)
{
    struct owner *owner = list->topics->owner;
    retained_writer_key(owner->partitions[list->partition].partition, "", 0, true, list->prefix);
    list->list = (struct broker_list){
        .on_done = on_listed,
        .prefix = {list->prefix, KEY_HEAD_BYTES},
        .after = {list->after, list->after_bytes},
        .bytes_max = LIST_BYTES_MAX,
        .entries_max = BROKER_LIST_MAX,
    };
    list->is_asking = broker_list(owner->hub->broker, &list->list) == 0;
}

void retained_topics_step(struct retained_topics *topics)
{
    struct owner *owner = topics->owner;
    if (topics->is_listed || !owner->is_started || owner->hub->is_stopping)
        return;
    if (owner->partition_count == 0) {
        topics->is_listed = true;
        return;
    }
    if (topics->list == NULL) {
        topics->list = heap_zalloc(owner->hub->heap, sizeof(*topics->list));
        if (topics->list == NULL)
            return; /* at a later turn */
        topics->list->topics = topics;
    }
    if (!topics->list->is_asking && owner->hub->shard->now_ns >= topics->list->due_ns)
        ask(topics->list);
}
