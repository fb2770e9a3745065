/*
 * The partitions of an embedded handle: appends join the journal's batch in order, and are answered
 * when their last record is committed; see embedded_handle_internal.h.
 *
 * A partition commits no faster than its channel is fed: one that is EMBEDDED_CHANNEL_LAG_MAX ahead
 * of the pull that waits lets nothing join. So appends queue where publishers feel it, and what
 * live subscribers wait for is in memory. A partition that nobody pulls commits freely.
 *
 * Thread: the handle's shard.
 */
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "embedded_handle_internal.h"

void embedded_partition_init(struct embedded_handle *handle, struct embedded_partition *partition,
                             uint16_t number)
{
    struct log_store *log = &handle->store->log;
    struct log_partition_state *state = &log->partitions[number];
    struct heap *heap = embedded_heap_of(handle);
    memory_log_init(&partition->log, heap, &handle->account, log->hash_seed);
    memory_log_start(&partition->log, state->next);
    memory_window_init(&partition->window, heap, &handle->windows, log->config.deduplication_max,
                       log->hash_seed);
    partition->number = number;
    partition->next = state->next;
    partition->reserved = state->reserved;
    partition->jumps = state->jumps;
    partition->covered = state->next;
    partition->needed_from = UINT64_MAX;
    partition->wanted_from = UINT64_MAX;
    partition->extents = state->extents;
    partition->extent_count = state->extent_count;
    partition->extent_capacity = state->extent_capacity;
    state->extents = NULL;
    state->extent_count = 0;
    state->extent_capacity = 0;
    for (uint32_t i = 0; i < partition->extent_count; i++) {
        handle->log_records += partition->extents[i].next - partition->extents[i].first;
        handle->log_bytes += partition->extents[i].bytes;
    }
    partition->tail = &log->tails[number];
    atomic_store_explicit(partition->tail, state->next - 1, memory_order_release);
}

static int compare_ids(const void *left, const void *right)
{
    const struct record_id *a = &((const struct segment_index_id *)left)->id;
    const struct record_id *b = &((const struct segment_index_id *)right)->id;
    if (a->high != b->high)
        return a->high < b->high ? -1 : 1;
    return a->low < b->low ? -1 : a->low > b->low;
}

/* The ids that the log had when the store was opened (those of the window before its newest record)
 * are known as long as this run lasts: a client that a crash cut off before its PUBREC may repeat
 * its PUBLISH hours later. */
void embedded_partition_start(struct embedded_handle *handle, struct embedded_partition *partition)
{
    struct log_partition_state *state = &handle->store->log.partitions[partition->number];
    partition->recovered = state->ids;
    partition->recovered_count = state->id_count;
    if (state->id_count > 1)
        qsort(state->ids, state->id_count, sizeof(state->ids[0]), compare_ids);
    state->ids = NULL;
    state->id_count = 0;
}

/* The sequence that came with `id` in this run's window or before this run; 0: it is not known. */
static uint64_t find_id(const struct embedded_partition *partition, struct record_id id)
{
    uint64_t sequence = memory_window_find(&partition->window, id);
    if (sequence != 0 || partition->recovered_count == 0)
        return sequence;
    const struct segment_index_id key = {.id = id};
    const struct segment_index_id *found =
        bsearch(&key, partition->recovered, partition->recovered_count, sizeof(key), compare_ids);
    return found == NULL ? 0 : found->sequence;
}

static void release_records(struct embedded_handle *handle, const struct broker_append *append,
                            uint32_t from)
{
    for (uint32_t index = from; index < append->count; index++)
        record_release(embedded_heap_of(handle), append->records[index]);
}

void embedded_partition_deinit(struct embedded_handle *handle, struct embedded_partition *partition)
{
    uint32_t joined = partition->append_joined;
    for (;;) {
        struct broker_request *request = broker_queue_pop(&partition->appends);
        if (request == NULL)
            break;
        release_records(handle, ps_container_of(request, struct broker_append, request), joined);
        joined = 0;
    }
    struct log_partition_state *state = &handle->store->log.partitions[partition->number];
    state->extents = partition->extents;
    state->extent_count = partition->extent_count;
    state->extent_capacity = partition->extent_capacity;
    heap_free(embedded_heap_of(handle), partition->recovered);
    memory_window_deinit(&partition->window);
    memory_log_deinit(&partition->log);
}

int embedded_partition_append(struct embedded_handle *handle, struct broker_append *append)
{
    const struct embedded_store_config *config = &handle->store->log.config;
    if (handle->taken_count >= config->requests_max)
        return -EAGAIN;
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < append->count; index++)
        bytes += broker_record_bytes(append->records[index]);
    /* The first one is always taken, however large. */
    if (handle->append_bytes > 0 && handle->append_bytes + bytes > config->append_queue_bytes)
        return -EAGAIN;
    for (uint32_t index = 0; index < append->count; index++)
        record_acquire(append->records[index]);
    struct embedded_partition *partition = embedded_partition_of(handle, append->partition);
    handle->append_bytes += bytes;
    handle->taken_count++;
    broker_queue_push(&partition->appends, &append->request);
    embedded_set_due(handle, partition);
    handle->has_news = true;
    return 0;
}

void embedded_partition_cancel_append(struct embedded_handle *handle, struct broker_append *append)
{
    struct embedded_partition *partition = embedded_partition_of(handle, append->partition);
    bool is_first = partition->appends.first == &append->request;
    if (!broker_queue_remove(&partition->appends, &append->request))
        return;
    uint32_t joined = is_first ? partition->append_joined : 0;
    if (is_first)
        partition->append_joined = 0;
    for (uint32_t index = joined; index < append->count; index++) {
        append->results[index] = (struct broker_result){.status = BROKER_CANCELLED};
        handle->append_bytes -= broker_record_bytes(append->records[index]);
    }
    release_records(handle, append, joined);
    /* What has joined will be committed, and is answered then. */
    broker_queue_push(&partition->joined, &append->request);
    embedded_set_due(handle, partition);
    handle->has_news = true;
}

int embedded_partition_channel(struct embedded_handle *handle, struct broker_pull *pull)
{
    struct embedded_partition *partition = embedded_partition_of(handle, pull->partition);
    if (partition->channel != NULL)
        return -EAGAIN;
    partition->channel = pull;
    if (pull->from <= memory_log_tail(&partition->log) || partition->appends.count > 0) {
        embedded_set_due(handle, partition);
        handle->has_news = true;
    }
    return 0;
}

bool embedded_partition_cancel_channel(struct embedded_handle *handle, struct broker_pull *pull)
{
    struct embedded_partition *partition = embedded_partition_of(handle, pull->partition);
    if (partition->channel != pull)
        return false;
    if (partition->is_channel_reading) {
        if (!log_reader_cancel(handle->reader, pull))
            return false;
        pull->hint = partition->channel_hint;
        partition->is_channel_reading = false;
        handle->reading_count--;
    }
    partition->channel = NULL;
    handle->has_news = true; /* what joined no more for the channel's sake */
    return true;
}

void embedded_partition_committed(void *context, struct record *const *records, uint32_t count)
{
    struct embedded_handle *handle = context;
    struct embedded_partition *partition = NULL; /* of the record before; often the same */
    for (uint32_t index = 0; index < count; index++) {
        struct record *record = records[index];
        if (partition == NULL || partition->number != record->partition)
            partition = embedded_partition_of(handle, record->partition);
        handle->log_bytes += record_encoded_bytes(record);
        memory_log_put(&partition->log, record);
        embedded_set_due(handle, partition);
    }
    handle->log_records += count;
    handle->broker.counters.appended_records += count;
}

enum join_result { JOINED, JOIN_BLOCKED, JOIN_WITHOUT_MEMORY };

/* Gives a record its sequence and puts it into the journal's batch. */
static enum join_result join_journal(struct embedded_handle *handle,
                                     struct embedded_partition *partition, struct record *record)
{
    if (ps_unlikely(partition->next >= partition->reserved))
        return JOIN_BLOCKED;
    if (ps_unlikely(memory_log_reserve(&partition->log, partition->next) < 0 ||
                    embedded_extents_reserve(handle, partition) < 0))
        return JOIN_WITHOUT_MEMORY;
    ps_assert(record->sequence == 0);
    record->sequence = partition->next;
    record->partition = partition->number;
    if (ps_unlikely(journal_add(handle->journal, record) < 0)) {
        record->sequence = 0;
        return JOIN_BLOCKED;
    }
    partition->next++;
    handle->segment_bytes +=
        record_memory_bytes(record->topic_bytes, record->fields_bytes, record->payload_bytes);
    return JOINED;
}

static enum join_result join_once(struct embedded_handle *handle,
                                  struct embedded_partition *partition, struct record *record,
                                  struct broker_result *out_result)
{
    struct memory_window *window = &partition->window;
    uint64_t kept_s = handle->store->log.config.deduplication_ms / 1000;
    memory_window_expire(window, handle->now_s - (uint32_t)ps_min_u64(kept_s, handle->now_s));
    uint64_t first = find_id(partition, record->deduplication_id);
    if (first != 0) {
        handle->broker.counters.duplicate_records++;
        record_release(embedded_heap_of(handle), record);
        *out_result = (struct broker_result){BROKER_DUPLICATE, first};
        return JOINED;
    }
    if (memory_window_reserve(window) < 0)
        return JOIN_WITHOUT_MEMORY;
    enum join_result joined = join_journal(handle, partition, record);
    if (joined != JOINED)
        return joined;
    handle->broker.counters.early_ids +=
        memory_window_add(window, record->deduplication_id, record->sequence, handle->now_s);
    *out_result = (struct broker_result){BROKER_OK, record->sequence};
    return JOINED;
}

/* Its reference is used up unless it is blocked. */
static enum join_result join(struct embedded_handle *handle, struct embedded_partition *partition,
                             struct record *record, struct broker_result *out_result)
{
    if (ps_unlikely(broker_record_bytes(record) > handle->broker.record_bytes_max)) {
        handle->broker.counters.refused_records++;
        record_release(embedded_heap_of(handle), record);
        *out_result = (struct broker_result){BROKER_REFUSED, 0};
        return JOINED;
    }
    enum join_result joined;
    if (!record_id_is_zero(record->deduplication_id)) {
        joined = join_once(handle, partition, record, out_result);
    } else {
        joined = join_journal(handle, partition, record);
        if (joined == JOINED)
            *out_result = (struct broker_result){BROKER_OK, record->sequence};
    }
    if (ps_unlikely(joined == JOIN_WITHOUT_MEMORY)) {
        record_release(embedded_heap_of(handle), record);
        *out_result = (struct broker_result){BROKER_UNKNOWN, 0};
    }
    return joined;
}

/* Lets records of the first append join. Behind a record for which memory was out all are unknown,
 * so that repeating them keeps their order. Result: all have joined. */
static bool join_some(struct embedded_handle *handle, struct embedded_partition *partition,
                      struct broker_append *append, struct embedded_turn *turn, bool *is_gapped)
{
    uint32_t index = partition->append_joined;
    for (; index < append->count; index++) {
        struct record *record = append->records[index];
        uint64_t bytes = broker_record_bytes(record);
        if (ps_unlikely(*is_gapped)) {
            record_release(embedded_heap_of(handle), record);
            append->results[index] = (struct broker_result){BROKER_UNKNOWN, 0};
        } else {
            if (turn->records_left == 0)
                break;
            enum join_result joined = join(handle, partition, record, &append->results[index]);
            if (joined == JOIN_BLOCKED)
                break;
            *is_gapped = joined == JOIN_WITHOUT_MEMORY;
            turn->records_left--;
        }
        handle->append_bytes -= bytes;
    }
    partition->append_joined = (uint16_t)index;
    return index == append->count;
}

/* Whether another record may join before the channel has been fed. */
static bool is_ahead_of_channel(const struct embedded_partition *partition)
{
    return partition->channel != NULL &&
           partition->next > partition->channel->from + EMBEDDED_CHANNEL_LAG_MAX;
}

static void join_appends(struct embedded_handle *handle, struct embedded_partition *partition,
                         struct embedded_turn *turn)
{
    bool is_gapped = false;
    while (partition->appends.first != NULL && !is_ahead_of_channel(partition)) {
        struct broker_append *append =
            ps_container_of(partition->appends.first, struct broker_append, request);
        if (!join_some(handle, partition, append, turn, &is_gapped))
            break;
        partition->append_joined = 0;
        broker_queue_push(&partition->joined, broker_queue_pop(&partition->appends));
    }
    handle->broker.counters.channel_waits +=
        partition->appends.first != NULL && is_ahead_of_channel(partition);
    if (handle->segment_bytes > handle->tail_bytes_max / 2)
        journal_close_segment(handle->journal);
}

/* The sequence of its last record; what its other results name comes before, or is of an append
 * before it. */
static uint64_t last_sequence(const struct broker_append *append)
{
    for (uint32_t index = append->count; index-- > 0;)
        if (append->results[index].status == BROKER_OK)
            return append->results[index].sequence;
    return 0;
}

/* Calls back for appends that are committed; what that appends waits for the next turn. */
static void finish_joined(struct embedded_handle *handle, struct embedded_partition *partition)
{
    uint64_t tail = memory_log_tail(&partition->log);
    for (uint32_t left = partition->joined.count; left > 0; left--) {
        struct broker_append *append =
            ps_container_of(partition->joined.first, struct broker_append, request);
        if (partition->joined_until == 0)
            partition->joined_until = last_sequence(append);
        if (partition->joined_until > tail)
            return;
        partition->joined_until = 0;
        handle->taken_count--;
        broker_queue_pop(&partition->joined);
        broker_request_finish(&append->request);
    }
}

/* Answers the pull that waits, if there is something for it. Result: the sequence that it may go on
 * from; 0: there was nothing, or the reader has it. */
static uint64_t feed_channel(struct embedded_handle *handle, struct embedded_partition *partition,
                             bool *out_is_blocked)
{
    struct broker_pull *pull = partition->channel;
    if (pull == NULL || partition->is_channel_reading ||
        pull->from > memory_log_tail(&partition->log))
        return 0;
    uint32_t work_left = UINT32_MAX;
    int status = 0;
    if (!embedded_read_begin(handle, partition, pull, true, &work_left, &status)) {
        *out_is_blocked = status < 0;
        return 0;
    }
    partition->channel = NULL;
    uint64_t next = pull->next;
    broker_request_finish(&pull->request);
    return next;
}

void embedded_partition_turn(struct embedded_handle *handle, struct embedded_partition *partition,
                             struct embedded_turn *turn)
{
    partition->is_due = false;
    handle->due_count--;
    uint64_t tail = memory_log_tail(&partition->log);
    atomic_store_explicit(partition->tail, tail, memory_order_release);
    bool has_trimmed = embedded_trim_some(partition);
    bool is_blocked = false;
    uint64_t fed = feed_channel(handle, partition, &is_blocked);
    finish_joined(handle, partition);
    if (partition->appends.count > 0 && !handle->is_full)
        join_appends(handle, partition, turn);
    /* Refused and repeated ones wait for nothing. */
    finish_joined(handle, partition);
    if (partition->appends.count > 0 || has_trimmed || is_blocked)
        embedded_set_due(handle, partition);
    turn->has_more |= has_trimmed || turn->records_left == 0 ||
                      (fed != 0 && fed <= tail); /* once it is pulled again */
}
