/*
 * Retained values on the owner's side; see retained_writer.h. Batches are submitted in order and
 * the driver keeps that order, so that a page that is read after a batch was submitted sees what it
 * wrote.
 */
#include "session/retained_writer.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/wire.h"
#include "net/mqtt_topic.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/owner.h"
#include "session/retained_read.h"
#include "session/retained_topics.h"

enum {
    BATCH_VALUES_MAX = BROKER_KEYS_MAX - 1,
    APPLIED_VALUE_BYTES = 8,
    APPLIED_RECORDS_MIN = 4096,
    BATCHES_MAX = 256,
    BATCH_BYTES_MAX = 8 << 20, /* keys and values, of all batches */
    COMPLAINT_TICKS = 60000 / SHARD_TICK_MS
};

/* Values of one partition on their way to the store. */
struct retained_batch {
    struct broker_commit commit;
    struct retained_batch *next; /* of those that wait */
    struct retained_batch *next_of_all;
    struct retained_batch **link_of_all;
    struct retained_writer *writer;
    uint64_t first;   /* lowest sequence in this batch */
    uint64_t applied; /* highest */
    uint64_t due_ns;  /* it failed: it is submitted again then */
    size_t bytes;
    uint16_t partition;
    uint16_t value_count;
    bool is_alone; /* what a full store refused is tried value by value */
    void *memory[BATCH_VALUES_MAX];
    uint64_t hashes[BATCH_VALUES_MAX]; /* of their topics */
    uint64_t sequences[BATCH_VALUES_MAX];
    unsigned char applied_key[RETAINED_APPLIED_KEY_BYTES];
    unsigned char applied_value[APPLIED_VALUE_BYTES];
};

struct retained_writer {
    struct owner *owner;
    struct retained_topics topics;
    struct retained_batch *filling;       /* of one partition */
    struct retained_batch *waiting_first; /* refused by the broker's full queue, or put off */
    struct retained_batch *waiting_last;
    struct retained_batch *first_of_all;
    uint32_t count; /* of all batches */
    size_t bytes;
    uint64_t due_ns; /* memory was out: nothing is applied before */
    bool has_complained;
    uint32_t complaint_tick;
};

int retained_writer_create(struct owner *owner, struct retained_writer **out_writer)
{
    struct retained_writer *writer = heap_zalloc(owner->hub->heap, sizeof(*writer));
    if (writer == NULL)
        return -ENOMEM;
    writer->owner = owner;
    retained_topics_init(&writer->topics, owner);
    *out_writer = writer;
    return 0;
}

static struct retained_batch *create_batch(struct retained_writer *writer, uint16_t partition)
{
    struct retained_batch *batch = heap_zalloc(writer->owner->hub->heap, sizeof(*batch));
    if (batch == NULL)
        return NULL;
    batch->writer = writer;
    batch->partition = partition;
    batch->first = UINT64_MAX;
    batch->next_of_all = writer->first_of_all;
    batch->link_of_all = &writer->first_of_all;
    if (batch->next_of_all != NULL)
        batch->next_of_all->link_of_all = &batch->next_of_all;
    writer->first_of_all = batch;
    writer->count++;
    return batch;
}

static void free_batch(struct retained_batch *batch)
{
    struct retained_writer *writer = batch->writer;
    struct heap *heap = writer->owner->hub->heap;
    *batch->link_of_all = batch->next_of_all;
    if (batch->next_of_all != NULL)
        batch->next_of_all->link_of_all = batch->link_of_all;
    writer->count--;
    writer->bytes -= batch->bytes;
    for (uint32_t i = 0; i < batch->value_count; i++)
        heap_free(heap, batch->memory[i]);
    heap_free(heap, batch);
}

void retained_writer_destroy(struct retained_writer *writer)
{
    if (writer == NULL)
        return;
    retained_topics_deinit(&writer->topics);
    while (writer->first_of_all != NULL)
        free_batch(writer->first_of_all);
    heap_free(writer->owner->hub->heap, writer);
}

bool retained_writer_is_busy(const struct retained_writer *writer)
{
    return writer->count != 0 || retained_topics_is_asking(&writer->topics);
}

bool retained_writer_waits(const struct retained_writer *writer)
{
    return writer->waiting_first != NULL || writer->owner->hub->shard->now_ns < writer->due_ns;
}

bool retained_writer_is_behind(const struct retained_writer *writer)
{
    return writer->count >= BATCHES_MAX || writer->bytes >= BATCH_BYTES_MAX ||
           writer->owner->hub->shard->now_ns < writer->due_ns;
}

void retained_writer_lower_needed(const struct retained_writer *writer)
{
    const struct retained_batch *batch = writer->first_of_all;
    for (; batch != NULL; batch = batch->next_of_all) {
        struct owner_partition *partition = owner_partition(writer->owner, batch->partition);
        partition->needed_from = ps_min_u64(partition->needed_from, batch->first);
    }
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

static void submit(struct retained_writer *writer, struct retained_batch *batch);

/* Behind those that wait. */
static void queue(struct retained_writer *writer, struct retained_batch *batch)
{
    batch->next = NULL;
    if (writer->waiting_last == NULL)
        writer->waiting_first = batch;
    else
        writer->waiting_last->next = batch;
    writer->waiting_last = batch;
}

/* No later record of its topic has been applied since. */
static bool is_current(const struct retained_batch *batch, uint32_t index)
{
    const struct retained_topic *topic =
        retained_topics_find(&batch->writer->topics, batch->hashes[index]);
    if (batch->commit.writes[index].kind == BROKER_DELETE)
        return topic == NULL;
    return topic != NULL && topic->sequence == batch->sequences[index];
}

/* Moves a value of one batch to the end of another. */
static void move_value(struct retained_batch *from, uint32_t index, struct retained_batch *to)
{
    const struct broker_write write = from->commit.writes[index];
    void *memory = from->memory[index];
    uint32_t at = to->value_count++;
    from->memory[index] = NULL;
    to->memory[at] = memory;
    to->hashes[at] = from->hashes[index];
    to->sequences[at] = from->sequences[index];
    to->commit.writes[at] = write;
    to->first = ps_min_u64(to->first, to->sequences[at]);
    from->bytes -= write.key.count + write.value.count;
    to->bytes += write.key.count + write.value.count;
}

static void complain(struct retained_writer *writer)
{
    const struct hub *hub = writer->owner->hub;
    writer->owner->counters.retained_failures++;
    bool is_soon = writer->has_complained &&
                   hub->shard->tick - writer->complaint_tick < (uint32_t)COMPLAINT_TICKS;
    if (hub->log == NULL || is_soon)
        return;
    writer->has_complained = true;
    writer->complaint_tick = hub->shard->tick;
    log_write(hub->log, LOG_WARNING, "retained_refused", "shard=%u reason=\"%s\"",
              hub->shard->index,
              "the key-value store is full; topics whose new value it refuses have none");
}

/* A full store took nothing of the batch. Each value is tried alone; one that is refused alone
 * leaves nothing, for the older value is no longer the topic's. */
static void settle_refused(struct retained_batch *batch)
{
    struct retained_writer *writer = batch->writer;
    if (batch->is_alone) {
        struct broker_write *write = &batch->commit.writes[0];
        if (!is_current(batch, 0) || write->kind == BROKER_DELETE) {
            free_batch(batch);
            return;
        }
        complain(writer);
        retained_topics_remove(&writer->topics, batch->hashes[0]);
        write->kind = BROKER_DELETE;
        write->value.count = 0;
        submit(writer, batch);
        return;
    }
    for (uint32_t i = 0; i < batch->value_count; i++) {
        struct retained_batch *alone =
            is_current(batch, i) ? create_batch(writer, batch->partition) : NULL;
        if (alone == NULL) {
            writer->owner->counters.retained_failures += is_current(batch, i);
            continue;
        }
        alone->is_alone = true;
        move_value(batch, i, alone);
        submit(writer, alone);
    }
    free_batch(batch);
}

/* A value goes that is not to be written any more. */
static void take_back(struct retained_batch *batch, uint32_t index)
{
    const struct broker_write *write = &batch->commit.writes[index];
    batch->bytes -= write->key.count + write->value.count;
    batch->writer->bytes -= write->key.count + write->value.count;
    heap_free(batch->writer->owner->hub->heap, batch->memory[index]);
    batch->memory[index] = NULL;
}

/* Nobody knows whether the batch is stored: what of it still holds is written again, later. */
static void repeat(struct retained_batch *batch)
{
    struct retained_writer *writer = batch->writer;
    uint16_t count = batch->value_count;
    batch->value_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (is_current(batch, i))
            move_value(batch, i, batch);
        else
            take_back(batch, i);
    }
    batch->due_ns = writer->owner->hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
    queue(writer, batch);
}

static void on_committed(struct broker_commit *commit)
{
    struct retained_batch *batch = ps_container_of(commit, struct retained_batch, commit);
    if (commit->status == BROKER_FULL) {
        settle_refused(batch);
        return;
    }
    if (commit->status != BROKER_OK) {
        repeat(batch);
        return;
    }
    batch->writer->owner->counters.retained_writes += batch->value_count;
    free_batch(batch);
}

/* "Applied up to" goes with every batch but those of values alone, which are behind it already. */
static bool start(struct retained_writer *writer, struct retained_batch *batch)
{
    struct broker_commit *commit = &batch->commit;
    commit->count = batch->value_count;
    if (!batch->is_alone) {
        retained_writer_applied_key(batch->partition, batch->applied_key);
        wire_store_u64(batch->applied_value, batch->applied);
        commit->writes[commit->count++] = (struct broker_write){
            .kind = BROKER_PUT,
            .key = {batch->applied_key, RETAINED_APPLIED_KEY_BYTES},
            .value = {batch->applied_value, APPLIED_VALUE_BYTES},
            .expected_revision = BROKER_ANY_REVISION,
        };
    }
    commit->on_done = on_committed;
    return broker_commit(writer->owner->hub->broker, commit) == 0;
}

/* Hands the batch to the broker, behind those that wait. */
static void submit(struct retained_writer *writer, struct retained_batch *batch)
{
    if (writer->waiting_first != NULL || !start(writer, batch))
        queue(writer, batch);
}

void retained_writer_step(struct retained_writer *writer)
{
    retained_topics_step(&writer->topics);
    while (writer->waiting_first != NULL) {
        struct retained_batch *batch = writer->waiting_first;
        if (batch->due_ns > writer->owner->hub->shard->now_ns || !start(writer, batch))
            break;
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
        batch != NULL && batch->partition == partition && batch->value_count < BATCH_VALUES_MAX;
    if (is_fit)
        return batch;
    if (batch != NULL) {
        writer->filling = NULL;
        submit(writer, batch);
    }
    batch = create_batch(writer, partition);
    if (batch == NULL)
        return NULL;
    batch->applied = owner_partition(writer->owner, partition)->applied;
    writer->owner->hub->wants_turn = true; /* which submits it */
    writer->filling = batch;
    return batch;
}

/* Where the batch has a write of this topic already, or one place more: a commit writes a key once.
 */
static uint32_t place_of(const struct retained_batch *batch, uint64_t hash,
                         const struct broker_bytes *key)
{
    for (uint32_t i = 0; i < batch->value_count; i++) {
        const struct broker_bytes *other = &batch->commit.writes[i].key;
        if (batch->hashes[i] == hash && other->count == key->count &&
            memcmp(other->bytes, key->bytes, key->count) == 0)
            return i;
    }
    return batch->value_count;
}

/* The write of a record, in memory of its own. False: memory is out. */
static bool add_value(struct retained_writer *writer, struct record *record)
{
    struct heap *heap = writer->owner->hub->heap;
    struct retained_batch *batch = batch_for(writer, record->partition);
    if (batch == NULL)
        return false;
    bool is_deletion = record->payload_bytes == 0;
    size_t value_bytes = is_deletion ? 0 : record_encoded_bytes(record);
    unsigned char key[BROKER_KEY_BYTES_MAX];
    uint32_t key_bytes = retained_writer_key(record->partition, record_topic(record),
                                             record->topic_bytes, false, key);
    unsigned char *memory = heap_alloc(heap, key_bytes + value_bytes);
    if (memory == NULL)
        return false; /* the batch, empty perhaps, says how far was applied before */
    memcpy(memory, key, key_bytes);
    if (!is_deletion)
        record_encode(record, 0, memory + key_bytes, value_bytes);
    const struct broker_bytes whole_key = {memory, key_bytes};
    uint32_t at = place_of(batch, record->topic_hash, &whole_key);
    if (at == batch->value_count)
        batch->value_count++;
    else
        take_back(batch, at);
    batch->memory[at] = memory;
    batch->hashes[at] = record->topic_hash;
    batch->sequences[at] = record->sequence;
    batch->commit.writes[at] = (struct broker_write){
        .kind = is_deletion ? BROKER_DELETE : BROKER_PUT,
        .key = whole_key,
        .value = {memory + key_bytes, (uint32_t)value_bytes},
        .expected_revision = BROKER_ANY_REVISION,
    };
    batch->bytes += key_bytes + value_bytes;
    writer->bytes += key_bytes + value_bytes;
    batch->first = ps_min_u64(batch->first, record->sequence);
    batch->applied = record->sequence;
    return true;
}

static bool put_off(struct retained_writer *writer)
{
    writer->due_ns = writer->owner->hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
    return false;
}

bool retained_writer_apply(struct retained_writer *writer, struct record *record)
{
    struct owner *owner = writer->owner;
    uint64_t hash = record->topic_hash;
    struct retained_topic *known = retained_topics_find(&writer->topics, hash);
    if (known == NULL && record->payload_bytes != 0) {
        bool is_full = false;
        known = retained_topics_add(&writer->topics, hash, &is_full);
        owner->hub->counters.retained_refused += is_full;
        if (known == NULL)
            return is_full || put_off(writer);
    }
    if (!add_value(writer, record)) {
        if (known != NULL && known->sequence == 0)
            retained_topics_remove(&writer->topics, hash);
        return put_off(writer);
    }
    if (record->payload_bytes == 0)
        retained_topics_remove(&writer->topics, hash);
    else
        known->sequence = record->sequence;
    owner_partition(owner, record->partition)->applied = record->sequence;
    return true;
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
    *read->link = read->next;
    if (read->next != NULL)
        read->next->link = read->link;
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
    if (!is_behind && broker_list(owner->hub->broker, &read->list) == 0) {
        read->next = owner->retained_reads;
        read->link = &owner->retained_reads;
        if (read->next != NULL)
            read->next->link = &read->next;
        owner->retained_reads = read;
        return;
    }
    read->is_failed = true;
    read->is_last = false;
    answer(owner, read);
}
