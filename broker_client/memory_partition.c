/*
 * The partitions of a memory handle: commits, channels and retention; see memory_handle_internal.h.
 *
 * A partition commits no faster than its channel is fed: one whose channel has not met the tail
 * after an answer waits for the channel's next pull. So records are handed over before retention
 * can come near them, and appends queue where publishers feel it. A partition that nobody pulls
 * commits freely.
 */
#include "core/base.h"
#include "core/heap.h"
#include "memory_handle_internal.h"

enum {
    TURN_BYTES_MAX =
        1 << 20, /* committed by one partition in a turn, unless one record is larger */
    TRIM_MAX = 1024,
    RETAIN_AT_ONCE = 64, /* records removed from one partition before looking for the oldest */
    RETAIN_MAX = 2 * MEMORY_TURN_RECORDS_MAX,
    RETAIN_SLACK_MS = 100 /* records of this long count as equally old */
};

static struct heap *heap_of(const struct memory_handle *handle)
{
    return handle->broker.options.heap;
}

void memory_partition_init(struct memory_handle *handle, struct memory_partition *partition,
                           uint16_t number)
{
    const struct memory_store_config *config = &handle->store->config;
    struct memory_kept *kept = &handle->store->kept[number];
    if (kept->is_there) {
        partition->log = kept->log;
        partition->window = kept->window;
        memory_log_move(&partition->log, heap_of(handle), &handle->account);
        memory_window_move(&partition->window, heap_of(handle), &handle->account);
        kept->is_there = false;
    } else {
        memory_log_init(&partition->log, heap_of(handle), &handle->account, config->hash_seed);
        memory_window_init(&partition->window, heap_of(handle), &handle->account,
                           config->deduplication_max, config->hash_seed);
    }
    partition->tail = memory_store_tail(handle->store, number);
    atomic_store_explicit(partition->tail, memory_log_tail(&partition->log), memory_order_release);
}

static void release_records(struct memory_handle *handle, const struct broker_append *append,
                            uint32_t from)
{
    for (uint32_t index = from; index < append->count; index++)
        record_release(heap_of(handle), append->records[index]);
}

void memory_partition_deinit(struct memory_handle *handle, struct memory_partition *partition,
                             uint16_t number)
{
    struct memory_store *store = handle->store;
    uint32_t done = partition->append_done;
    for (;;) {
        struct broker_request *request = broker_queue_pop(&partition->appends);
        if (request == NULL)
            break;
        release_records(handle, ps_container_of(request, struct broker_append, request), done);
        done = 0;
    }
    memory_log_move(&partition->log, store->heap, &store->kept_account);
    memory_window_move(&partition->window, store->heap, &store->kept_account);
    store->kept[number] =
        (struct memory_kept){.log = partition->log, .window = partition->window, .is_there = true};
}

static void set_due(struct memory_handle *handle, struct memory_partition *partition)
{
    handle->due_count += !partition->is_due;
    partition->is_due = true;
}

int memory_partition_append(struct memory_handle *handle, struct broker_append *append)
{
    const struct memory_store_config *config = &handle->store->config;
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
    struct memory_partition *partition = memory_partition_of(handle, append->partition);
    handle->append_bytes += bytes;
    handle->taken_count++;
    broker_queue_push(&partition->appends, &append->request);
    set_due(handle, partition);
    return 0;
}

int memory_partition_channel(struct memory_handle *handle, struct broker_pull *pull)
{
    struct memory_partition *partition = memory_partition_of(handle, pull->partition);
    if (partition->channel != NULL)
        return -EAGAIN;
    partition->channel = pull;
    if (pull->from <= memory_log_tail(&partition->log))
        set_due(handle, partition);
    return 0;
}

bool memory_partition_cancel_append(struct memory_handle *handle, struct broker_append *append)
{
    struct memory_partition *partition = memory_partition_of(handle, append->partition);
    bool is_first = partition->appends.first == &append->request;
    if (!broker_queue_remove(&partition->appends, &append->request))
        return false;
    uint32_t done = is_first ? partition->append_done : 0;
    if (is_first)
        partition->append_done = 0;
    for (uint32_t index = done; index < append->count; index++) {
        append->results[index] = (struct broker_result){.status = BROKER_CANCELLED};
        handle->append_bytes -= broker_record_bytes(append->records[index]);
    }
    release_records(handle, append, done);
    return true;
}

void memory_partition_trim(struct memory_handle *handle, struct memory_partition *partition,
                           uint64_t below)
{
    if (below <= partition->log.trim_below)
        return;
    partition->log.trim_below = below;
    if (partition->log.first < below)
        set_due(handle, partition);
}

/* Commits a record with an id, unless the window knows it. */
static struct broker_result commit_once(struct memory_handle *handle,
                                        struct memory_partition *partition, struct record *record)
{
    struct memory_window *window = &partition->window;
    uint32_t kept_s = (uint32_t)(handle->store->config.deduplication_ms / 1000);
    memory_window_expire(window, handle->now_s - ps_min_u32(kept_s, handle->now_s));
    uint64_t first = memory_window_find(window, record->deduplication_id);
    if (first != 0) {
        handle->broker.counters.duplicate_records++;
        record_release(heap_of(handle), record);
        return (struct broker_result){BROKER_DUPLICATE, first};
    }
    if (memory_window_reserve(window) < 0 || memory_log_append(&partition->log, record) < 0) {
        record_release(heap_of(handle), record);
        return (struct broker_result){BROKER_UNKNOWN, 0};
    }
    handle->broker.counters.early_ids +=
        memory_window_add(window, record->deduplication_id, record->sequence, handle->now_s);
    return (struct broker_result){BROKER_OK, record->sequence};
}

/* Commits a record, whose reference is used up. */
static struct broker_result commit(struct memory_handle *handle, struct memory_partition *partition,
                                   struct record *record)
{
    if (ps_unlikely(broker_record_bytes(record) > handle->broker.record_bytes_max)) {
        handle->broker.counters.refused_records++;
        record_release(heap_of(handle), record);
        return (struct broker_result){BROKER_REFUSED, 0};
    }
    if (!record_id_is_zero(record->deduplication_id))
        return commit_once(handle, partition, record);
    if (ps_unlikely(memory_log_append(&partition->log, record) < 0)) {
        record_release(heap_of(handle), record);
        return (struct broker_result){BROKER_UNKNOWN, 0};
    }
    return (struct broker_result){BROKER_OK, record->sequence};
}

/* Commits records of the first append, until it or what the turn allows is used up. Behind a record
 * for which memory was out all are unknown, so that repeating them keeps their order. Result: it is
 * complete. */
static bool commit_some(struct memory_handle *handle, struct memory_partition *partition,
                        struct broker_append *append, uint32_t *records_left, uint64_t *bytes_left,
                        bool *is_gapped)
{
    uint64_t tail_before = memory_log_tail(&partition->log);
    uint32_t index = partition->append_done;
    for (; index < append->count; index++) {
        bool is_over = *records_left == 0 || *bytes_left == 0;
        if (is_over && !*is_gapped)
            break;
        struct record *record = append->records[index];
        uint64_t bytes = broker_record_bytes(record);
        handle->append_bytes -= bytes;
        if (*is_gapped) {
            record_release(heap_of(handle), record);
            append->results[index] = (struct broker_result){BROKER_UNKNOWN, 0};
            continue;
        }
        *bytes_left -= ps_min_u64(bytes, *bytes_left);
        --*records_left;
        append->results[index] = commit(handle, partition, record);
        *is_gapped = append->results[index].status == BROKER_UNKNOWN;
    }
    partition->append_done = (uint16_t)index;
    handle->broker.counters.appended_records += memory_log_tail(&partition->log) - tail_before;
    return index == append->count;
}

static void commit_appends(struct memory_handle *handle, struct memory_partition *partition,
                           struct memory_turn *turn)
{
    uint32_t records_left = ps_min_u32(BROKER_PULL_RECORDS_MAX, turn->records_left);
    uint32_t records_before = records_left;
    uint64_t bytes_left = ps_min_u64(TURN_BYTES_MAX, memory_store_share(handle->store) / 8);
    bool is_gapped = false;
    /* What callbacks append waits for the next turn; they may also cancel. */
    for (uint32_t left = partition->appends.count; left > 0 && partition->appends.first; left--) {
        struct broker_append *append =
            ps_container_of(partition->appends.first, struct broker_append, request);
        bool is_complete =
            commit_some(handle, partition, append, &records_left, &bytes_left, &is_gapped);
        atomic_store_explicit(partition->tail, memory_log_tail(&partition->log),
                              memory_order_release);
        if (!is_complete)
            break;
        partition->append_done = 0;
        handle->taken_count--;
        broker_queue_pop(&partition->appends);
        broker_request_finish(&append->request);
    }
    turn->records_left -= records_before - records_left;
}

/* Answers the pull that waits, if there is something for it. Result: the sequence that it may go on
 * from; 0: there was nothing. */
static uint64_t feed_channel(struct memory_handle *handle, struct memory_partition *partition)
{
    struct broker_pull *pull = partition->channel;
    if (pull == NULL || pull->from > memory_log_tail(&partition->log))
        return 0;
    uint32_t work_left = UINT32_MAX;
    partition->channel = NULL;
    memory_log_read(&partition->log, pull, true, &handle->scratch, &work_left);
    uint64_t next = pull->next;
    broker_request_finish(&pull->request);
    return next;
}

static bool trim(struct memory_partition *partition)
{
    struct memory_log *log = &partition->log;
    memory_log_remove(log, log->trim_below, TRIM_MAX);
    return !memory_log_is_empty(log) && log->first < log->trim_below;
}

void memory_partition_turn(struct memory_handle *handle, struct memory_partition *partition,
                           struct memory_turn *turn)
{
    partition->is_due = false;
    handle->due_count--;
    bool has_more = trim(partition);
    uint64_t fed = feed_channel(handle, partition);
    bool is_behind = fed != 0 && fed <= memory_log_tail(&partition->log);
    if (!is_behind && !handle->is_over && partition->appends.count > 0) {
        commit_appends(handle, partition, turn);
        fed = ps_max_u64(fed, feed_channel(handle, partition));
        is_behind = fed != 0 && fed <= memory_log_tail(&partition->log);
    }
    if (partition->appends.count > 0 || has_more)
        set_due(handle, partition);
    turn->has_more |= is_behind; /* once it is pulled again */
}

/* The partition whose first record is the oldest, the longest one of those equally old; NULL: there
 * are no records. *out_until_ms: how old the oldest of the others is. */
static struct memory_partition *find_oldest(struct memory_handle *handle, uint64_t *out_until_ms)
{
    struct memory_partition *oldest = NULL;
    uint64_t oldest_ms = UINT64_MAX;
    uint64_t other_ms = UINT64_MAX;
    uint64_t oldest_count = 0;
    for (uint32_t index = 0; index < handle->partition_count; index++) {
        struct memory_partition *partition = &handle->partitions[index];
        const struct memory_log *log = &partition->log;
        if (memory_log_is_empty(log))
            continue;
        uint64_t age_ms = memory_log_at(log, log->first)->publish_ms / RETAIN_SLACK_MS;
        uint64_t count = log->next - log->first;
        if (age_ms < oldest_ms || (age_ms == oldest_ms && count > oldest_count)) {
            other_ms = oldest_ms;
            oldest = partition;
            oldest_ms = age_ms;
            oldest_count = count;
        } else {
            other_ms = ps_min_u64(other_ms, age_ms);
        }
    }
    *out_until_ms = other_ms;
    return oldest;
}

/* Removes some of the oldest records. Result: false when there is none that may go. The newest one
 * of a handle stays: it may be larger than all that the handle is allowed. */
static bool remove_oldest(struct memory_handle *handle, uint64_t bytes_wanted, uint32_t *left)
{
    if (handle->account.records <= 1)
        return false;
    uint64_t until_ms = 0;
    struct memory_log *log = &find_oldest(handle, &until_ms)->log;
    uint64_t records_max = ps_min_u64(RETAIN_AT_ONCE, handle->account.records - 1);
    uint32_t removed = 0;
    while (removed < records_max && handle->account.bytes > bytes_wanted) {
        removed += memory_log_remove(log, log->next, 1);
        if (memory_log_is_empty(log) ||
            memory_log_at(log, log->first)->publish_ms / RETAIN_SLACK_MS > until_ms)
            break;
    }
    handle->broker.counters.retention_records += removed;
    *left -= ps_min_u32(removed, *left);
    return true;
}

bool memory_partition_retain(struct memory_handle *handle)
{
    uint32_t left = RETAIN_MAX;
    uint32_t shard_index = handle->broker.options.shard_index;
    uint64_t excess = memory_store_account(handle->store, shard_index, handle->account.bytes);
    if (ps_likely(excess == 0))
        return false;
    uint64_t bytes_wanted = handle->account.bytes - excess;
    while (handle->account.bytes > bytes_wanted && left > 0)
        if (!remove_oldest(handle, bytes_wanted, &left))
            break;
    bool is_over = handle->account.bytes > bytes_wanted && left == 0;
    memory_store_account(handle->store, shard_index, handle->account.bytes);
    return is_over;
}
