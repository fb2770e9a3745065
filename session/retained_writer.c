/*
 * Retained values on the owner's side; see retained_writer.h. Batches are submitted in order and
 * the driver keeps that order, so that a page that is read after a batch was submitted sees what it
 * wrote.
 */
#include "session/retained_writer.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/table.h"
#include "core/wire.h"
#include "net/mqtt_topic.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/owner.h"
#include "session/retained_read.h"

enum {
    BATCH_VALUES_MAX = BROKER_KEYS_MAX - 1,
    APPLIED_VALUE_BYTES = 8,
    APPLIED_RECORDS_MIN = 4096
};

struct retained_batch {
    struct broker_commit commit;
    struct retained_batch *next;
    struct retained_writer *writer;
    uint64_t applied; /* highest sequence in this batch */
    uint16_t partition;
    void *memory[BATCH_VALUES_MAX];
    struct retained_topic *fresh[BATCH_VALUES_MAX]; /* topics that had no value before; or NULL */
    uint64_t hashes[BATCH_VALUES_MAX];              /* of their topics */
    unsigned char applied_key[RETAINED_APPLIED_KEY_BYTES];
    unsigned char applied_value[APPLIED_VALUE_BYTES];
};

/* A topic that has a value. */
struct retained_topic {
    uint64_t hash;
};

struct retained_writer {
    struct owner *owner;
    struct table topics;            /* by hash; two topics with one 64-bit hash count as one */
    struct retained_batch *filling; /* of one partition */
    struct retained_batch *waiting_first; /* refused by the broker's full queue */
    struct retained_batch *waiting_last;
    uint32_t under_way;
};

int retained_writer_create(struct owner *owner, struct retained_writer **out_writer)
{
    struct retained_writer *writer = heap_zalloc(owner->hub->heap, sizeof(*writer));
    if (writer == NULL)
        return -ENOMEM;
    writer->owner = owner;
    table_init(&writer->topics, owner->hub->heap);
    *out_writer = writer;
    return 0;
}

static void free_batch(struct retained_batch *batch)
{
    struct heap *heap = batch->writer->owner->hub->heap;
    for (uint32_t i = 0; i < batch->commit.count; i++) {
        if (i < BATCH_VALUES_MAX)
            heap_free(heap, batch->memory[i]);
    }
    heap_free(heap, batch);
}

static bool is_hash(const void *item, const void *key)
{
    const struct retained_topic *topic = item;
    return topic->hash == *(const uint64_t *)key;
}

/* The topic has no value any more. */
static void forget_topic(struct retained_writer *writer, struct retained_topic *topic)
{
    struct hub *hub = writer->owner->hub;
    table_remove(&writer->topics, topic->hash, topic);
    heap_free(hub->heap, topic);
    hub->counters.retained_values--;
    atomic_fetch_sub_explicit(&hub->shared->retained_values, 1, memory_order_relaxed);
}

/* A topic gets its first value. NULL: there are retained_max already, or memory is out. */
static struct retained_topic *remember_topic(struct retained_writer *writer, uint64_t hash)
{
    struct hub *hub = writer->owner->hub;
    uint64_t count_max = hub->limits->retained_max;
    uint64_t count =
        atomic_fetch_add_explicit(&hub->shared->retained_values, 1, memory_order_relaxed);
    struct retained_topic *topic =
        count_max != 0 && count >= count_max ? NULL : heap_alloc(hub->heap, sizeof(*topic));
    if (topic != NULL) {
        topic->hash = hash;
        if (table_insert(&writer->topics, hash, topic) == 0) {
            hub->counters.retained_values++;
            return topic;
        }
        heap_free(hub->heap, topic);
    }
    atomic_fetch_sub_explicit(&hub->shared->retained_values, 1, memory_order_relaxed);
    return NULL;
}

static bool free_topic(void *context, void *item)
{
    struct retained_writer *writer = context;
    heap_free(writer->owner->hub->heap, item);
    return true;
}

void retained_writer_destroy(struct retained_writer *writer)
{
    if (writer == NULL)
        return;
    table_iterate(&writer->topics, free_topic, writer);
    table_deinit(&writer->topics);
    if (writer->filling != NULL)
        free_batch(writer->filling);
    while (writer->waiting_first != NULL) {
        struct retained_batch *batch = writer->waiting_first;
        writer->waiting_first = batch->next;
        free_batch(batch);
    }
    heap_free(writer->owner->hub->heap, writer);
}

bool retained_writer_is_busy(const struct retained_writer *writer)
{
    return writer->filling != NULL || writer->waiting_first != NULL || writer->under_way != 0;
}

uint32_t retained_writer_key(uint16_t partition, const void *topic, uint32_t bytes, bool is_prefix,
                             unsigned char *out_key)
{
    out_key[0] = 'r';
    wire_store_u16(out_key + 1, partition);
    uint32_t kept = ps_min_u32(bytes, RETAINED_KEY_TOPIC_BYTES);
    memcpy(out_key + 3, topic, kept);
    if (kept == bytes || is_prefix)
        return 3 + kept;
    wire_store_u64(out_key + 3 + kept, hash_bytes_seeded(1, topic, bytes));
    wire_store_u64(out_key + 3 + kept + 8, hash_bytes_seeded(2, topic, bytes));
    return 3 + kept + 16;
}

/* The store took nothing of a batch: its new values are none. */
static void give_up(struct retained_batch *batch)
{
    struct retained_writer *writer = batch->writer;
    writer->owner->counters.retained_failures++;
    for (uint32_t i = 0; i + 1 < batch->commit.count; i++) {
        struct retained_topic *topic = batch->fresh[i];
        /* It may have been deleted meanwhile. */
        if (topic != NULL &&
            table_find(&writer->topics, batch->hashes[i], is_hash, &batch->hashes[i]) == topic)
            forget_topic(writer, topic);
    }
}

static void on_committed(struct broker_commit *commit)
{
    struct retained_batch *batch = ps_container_of(commit, struct retained_batch, commit);
    struct owner *owner = batch->writer->owner;
    batch->writer->under_way--;
    if (commit->status == BROKER_OK)
        owner->counters.retained_writes += commit->count - 1U;
    else
        give_up(batch);
    free_batch(batch);
}

/* Adds "applied up to" and hands the batch to the broker. */
static void submit(struct retained_writer *writer, struct retained_batch *batch)
{
    retained_writer_applied_key(batch->partition, batch->applied_key);
    wire_store_u64(batch->applied_value, batch->applied);
    batch->commit.writes[batch->commit.count++] = (struct broker_write){
        .kind = BROKER_PUT,
        .key = {batch->applied_key, RETAINED_APPLIED_KEY_BYTES},
        .value = {batch->applied_value, APPLIED_VALUE_BYTES},
        .expected_revision = BROKER_ANY_REVISION,
    };
    writer->under_way++;
    if (writer->waiting_first == NULL &&
        broker_commit(writer->owner->hub->broker, &batch->commit) == 0)
        return;
    writer->under_way--;
    batch->next = NULL;
    if (writer->waiting_last == NULL)
        writer->waiting_first = batch;
    else
        writer->waiting_last->next = batch;
    writer->waiting_last = batch;
}

void retained_writer_step(struct retained_writer *writer)
{
    while (writer->waiting_first != NULL) {
        struct retained_batch *batch = writer->waiting_first;
        if (broker_commit(writer->owner->hub->broker, &batch->commit) != 0)
            break;
        writer->under_way++;
        writer->waiting_first = batch->next;
        if (writer->waiting_first == NULL)
            writer->waiting_last = NULL;
    }
    if (writer->filling == NULL)
        return;
    struct retained_batch *batch = writer->filling;
    writer->filling = NULL;
    submit(writer, batch);
}

void retained_writer_applied_key(uint16_t partition, unsigned char *out_key)
{
    out_key[0] = 'a';
    wire_store_u16(out_key + 1, partition);
}

static struct retained_batch *batch_for(struct retained_writer *writer, uint16_t partition)
{
    struct retained_batch *batch = writer->filling;
    bool is_fit =
        batch != NULL && batch->partition == partition && batch->commit.count < BATCH_VALUES_MAX;
    if (is_fit)
        return batch;
    if (batch != NULL) {
        writer->filling = NULL;
        submit(writer, batch);
    }
    batch = heap_zalloc(writer->owner->hub->heap, sizeof(*batch));
    if (batch == NULL)
        return NULL;
    batch->writer = writer;
    batch->partition = partition;
    batch->commit.on_done = on_committed;
    writer->owner->hub->wants_turn = true; /* which submits it */
    writer->filling = batch;
    return batch;
}

void retained_writer_apply(struct retained_writer *writer, struct record *record)
{
    struct owner *owner = writer->owner;
    bool is_deletion = record->payload_bytes == 0;
    uint64_t hash = record->topic_hash;
    struct retained_topic *known = table_find(&writer->topics, hash, is_hash, &hash);
    struct retained_topic *fresh = NULL;
    if (known == NULL && !is_deletion) {
        fresh = remember_topic(writer, hash);
        if (fresh == NULL) {
            owner->hub->counters.retained_refused++;
            return;
        }
    }
    struct retained_batch *batch = batch_for(writer, record->partition);
    size_t value_bytes = is_deletion ? 0 : record_encoded_bytes(record);
    unsigned char key[BROKER_KEY_BYTES_MAX];
    uint32_t key_bytes = retained_writer_key(record->partition, record_topic(record),
                                             record->topic_bytes, false, key);
    unsigned char *memory =
        batch == NULL ? NULL : heap_alloc(owner->hub->heap, key_bytes + value_bytes);
    if (memory == NULL) {
        owner->counters.retained_failures++;
        if (fresh != NULL)
            forget_topic(writer, fresh);
        return;
    }
    if (known != NULL && is_deletion)
        forget_topic(writer, known);
    memcpy(memory, key, key_bytes);
    if (!is_deletion)
        record_encode(record, 0, memory + key_bytes, value_bytes);
    batch->memory[batch->commit.count] = memory;
    batch->fresh[batch->commit.count] = fresh;
    batch->hashes[batch->commit.count] = hash;
    batch->commit.writes[batch->commit.count++] = (struct broker_write){
        .kind = is_deletion ? BROKER_DELETE : BROKER_PUT,
        .key = {memory, key_bytes},
        .value = {memory + key_bytes, (uint32_t)value_bytes},
        .expected_revision = BROKER_ANY_REVISION,
    };
    batch->applied = record->sequence;
    owner_partition(owner, record->partition)->applied = record->sequence;
}

void retained_writer_tell_applied(struct retained_writer *writer)
{
    struct owner *owner = writer->owner;
    for (uint32_t i = 0; i < owner->partition_count; i++) {
        struct owner_partition *partition = &owner->partitions[i];
        if (partition->handed_over - partition->applied < APPLIED_RECORDS_MIN)
            continue;
        /* Batches are committed in order: what was applied before is there when this is. */
        struct retained_batch *batch = batch_for(writer, partition->partition);
        if (batch == NULL)
            return;
        batch->applied = partition->handed_over;
        partition->applied = partition->handed_over;
    }
}

static void answer(struct owner *owner, struct retained_read *read)
{
    const struct hub_mail mail = {.kind = HUB_MAIL_RETAINED_ANSWER, .pointer = read};
    hub_answer(owner->hub, read->from_shard, &mail);
}

/* Adds a stored value if its topic matches. What cannot be read is counted. False: memory is out.
 */
static bool take_value(struct owner *owner, struct retained_read *read,
                       const struct broker_bytes *value)
{
    struct record *record = NULL;
    long bytes = record_decode(owner->hub->heap, 0, value->bytes, value->count, &record);
    if (bytes < 0) {
        owner->counters.retained_failures++;
        return bytes != -ENOMEM;
    }
    if (!mqtt_topic_matches(read->filter, read->filter_bytes, record_topic(record),
                            record->topic_bytes)) {
        record_release(owner->hub->heap, record);
        return true;
    }
    read->records[read->record_count++] = record;
    return true;
}

static void on_listed(struct broker_list *list)
{
    struct retained_read *read = ps_container_of(list, struct retained_read, list);
    struct owner *owner = list->request.owner;
    read->is_failed = list->status != BROKER_OK;
    read->is_last = !read->is_failed && (list->is_last || list->count == 0);
    for (uint32_t i = 0; !read->is_failed && i < list->count; i++)
        read->is_failed = !take_value(owner, read, &list->entries[i].value);
    read->is_last &= !read->is_failed;
    if (!read->is_last && !read->is_failed) {
        const struct broker_bytes *last = &list->entries[list->count - 1].key;
        memcpy(read->after, last->bytes, last->count);
        read->after_bytes = last->count;
    }
    answer(owner, read);
}

void retained_read_answer(struct owner *owner, struct retained_read *read)
{
    /* What was applied is submitted first, so that the page sees it. */
    retained_writer_step(owner->retained);
    uint32_t literal_bytes = mqtt_filter_literal_bytes(read->filter, read->filter_bytes);
    bool is_pattern = mqtt_filter_is_pattern(read->filter, read->filter_bytes);
    uint32_t prefix_bytes = retained_writer_key(read->partition, read->filter,
                                                is_pattern ? literal_bytes : read->filter_bytes,
                                                is_pattern, read->prefix);
    read->record_count = 0;
    read->list = (struct broker_list){
        .on_done = on_listed,
        .prefix = {read->prefix, prefix_bytes},
        .after = {read->after, read->after_bytes},
        .bytes_max = RETAINED_READ_BYTES_MAX,
        .entries_max = RETAINED_READ_RECORDS_MAX,
    };
    read->list.request.owner = owner;
    bool is_behind = owner->retained->waiting_first != NULL;
    if (!is_behind && broker_list(owner->hub->broker, &read->list) == 0)
        return;
    read->is_failed = true;
    read->is_last = false;
    answer(owner, read);
}
