/*
 * The embedded driver: a handle's entry points and its turn; see embedded.h and
 * embedded_handle_internal.h.
 *
 * A turn:
 *   1. numbers; what the ring and the helper thread have done: the journal tells what is committed
 *   2. answers that are ready (cancelled requests)
 *   3. partitions that are due: tell what is committed, feed the channel, let appends join
 *   4. the batch that has gathered goes to the ring
 *   5. tails and pulls in the order they came; the reader's part of them; keys
 *   6. retention
 * Each step does a bounded amount; the turn says so when something is left.
 */
#include "broker_client/embedded/embedded.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/ring_file.h"
#include "embedded_handle_internal.h"

enum {
    TURN_WORK_MAX = 20000, /* of pulls in one turn, in steps of some 10 ns */
    WORK_PER_REQUEST = 10,
    WALL_STEP_MS = 100
};

static int push_request(struct broker *broker, struct broker_request *request)
{
    struct embedded_handle *handle = embedded_handle_of(broker);
    if (handle->taken_count >= handle->store->log.config.requests_max)
        return -EAGAIN;
    handle->taken_count++;
    broker_queue_push(&handle->requests, request);
    return 0;
}

static int append(struct broker *broker, struct broker_append *request)
{
    return embedded_partition_append(embedded_handle_of(broker), request);
}

static int channel_set(struct broker *broker, struct broker_tail *request)
{
    return push_request(broker, &request->request);
}

static int pull(struct broker *broker, struct broker_pull *request)
{
    if (request->wait)
        return embedded_partition_channel(embedded_handle_of(broker), request);
    return push_request(broker, &request->request);
}

static int tail(struct broker *broker, struct broker_tail *request)
{
    return push_request(broker, &request->request);
}

static int trim(struct broker *broker, uint16_t partition, uint64_t below)
{
    struct embedded_handle *handle = embedded_handle_of(broker);
    embedded_trim(handle, embedded_partition_of(handle, partition), below);
    return 0;
}

static void hold(struct broker *broker, uint16_t number, uint64_t needed_from, uint64_t wanted_from)
{
    struct embedded_handle *handle = embedded_handle_of(broker);
    struct embedded_partition *partition = embedded_partition_of(handle, number);
    handle->is_hold_new |=
        partition->needed_from != needed_from || partition->wanted_from != wanted_from;
    partition->needed_from = needed_from;
    partition->wanted_from = wanted_from;
}

static int get(struct broker *broker, struct broker_get *request)
{
    return embedded_keys_port_submit(embedded_handle_of(broker)->keys, &request->request);
}

static int commit(struct broker *broker, struct broker_commit *request)
{
    return embedded_keys_port_submit(embedded_handle_of(broker)->keys, &request->request);
}

static int list(struct broker *broker, struct broker_list *request)
{
    return embedded_keys_port_submit(embedded_handle_of(broker)->keys, &request->request);
}

static int watch(struct broker *broker, struct broker_watch *request)
{
    return embedded_keys_port_submit(embedded_handle_of(broker)->keys, &request->request);
}

static bool cancel_pull(struct embedded_handle *handle, struct broker_request *request)
{
    struct broker_pull *own = ps_container_of(request, struct broker_pull, request);
    if (own->wait)
        return embedded_partition_cancel_channel(handle, own);
    if (broker_queue_remove(&handle->requests, request) ||
        broker_queue_remove(&handle->reads, request)) {
        handle->taken_count--;
        return true;
    }
    if (!log_reader_cancel(handle->reader, own))
        return false;
    handle->reading_count--;
    handle->taken_count--;
    return true;
}

static void cancel(struct broker *broker, struct broker_request *request)
{
    struct embedded_handle *handle = embedded_handle_of(broker);
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_APPEND:
        /* Fills in the results itself: some of its records may have joined. */
        embedded_partition_cancel_append(handle,
                                         ps_container_of(request, struct broker_append, request));
        return;
    case BROKER_REQUEST_PULL:
        if (!cancel_pull(handle, request))
            return;
        break;
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET:
        if (!broker_queue_remove(&handle->requests, request))
            return;
        handle->taken_count--;
        break;
    case BROKER_REQUEST_GET:
    case BROKER_REQUEST_COMMIT:
    case BROKER_REQUEST_LIST:
    case BROKER_REQUEST_WATCH:
        embedded_keys_port_cancel(handle->keys, request);
        return;
    }
    broker_request_set_cancelled(request);
    broker_queue_push(&handle->answered, request);
}

void embedded_update_health(struct embedded_handle *handle)
{
    bool is_healthy = !handle->is_journal_failing && !handle->reserve.is_failing &&
                      embedded_keys_port_is_healthy(handle->keys);
    if (is_healthy == handle->broker.is_healthy)
        return;
    handle->broker.is_healthy = is_healthy;
    const struct broker_events *events = handle->broker.options.events;
    if (events != NULL && events->on_health != NULL)
        events->on_health(events->context, is_healthy);
}

static void on_journal_health(void *context, bool is_healthy)
{
    struct embedded_handle *handle = context;
    handle->is_journal_failing = !is_healthy;
    embedded_update_health(handle);
}

static void on_keys_health(void *context, bool is_healthy)
{
    (void)is_healthy;
    embedded_update_health(context);
}

static void on_left(void *context)
{
    struct embedded_handle *handle = context;
    handle->segment_bytes = 0;
}

static uint16_t fill_partitions(void *context, struct segment_partition *out, uint16_t max)
{
    const struct embedded_handle *handle = context;
    ps_assert(handle->partition_count <= max);
    for (uint32_t i = 0; i < handle->partition_count; i++)
        out[i] =
            (struct segment_partition){handle->partitions[i].number, handle->partitions[i].next};
    return (uint16_t)handle->partition_count;
}

static void take_files(struct embedded_handle *handle)
{
    struct ring_file_request *request;
    while ((request = ring_file_take(handle->broker.options.ring)) != NULL) {
        bool is_ours =
            journal_take(handle->journal, request) || log_reader_take(handle->reader, request);
        ps_assert(is_ours);
    }
}

/* Calls back what was answered before; what callbacks add waits for the next turn. */
static void finish_answered(struct embedded_handle *handle)
{
    for (uint32_t left = handle->answered.count; left > 0; left--)
        broker_request_finish(broker_queue_pop(&handle->answered));
}

static void turn_partitions(struct embedded_handle *handle, struct embedded_turn *turn)
{
    if (handle->due_count == 0)
        return;
    uint32_t count = handle->partition_count;
    handle->partition_first = (handle->partition_first + 1) % count;
    for (uint32_t step = 0; step < count; step++) {
        struct embedded_partition *partition =
            &handle->partitions[(handle->partition_first + step) % count];
        if (partition->is_due)
            embedded_partition_turn(handle, partition, turn);
    }
}

/* Begins a pull. False: the reader takes no more now, and it waits for that. */
static bool begin_pull(struct embedded_handle *handle, struct broker_request *request,
                       uint32_t *work_left)
{
    struct broker_pull *own = ps_container_of(request, struct broker_pull, request);
    struct embedded_partition *partition = embedded_partition_of(handle, own->partition);
    int status = 0;
    if (!embedded_read_begin(handle, partition, own, false, work_left, &status))
        return status == 0;
    handle->taken_count--;
    broker_request_finish(request);
    return true;
}

static void run_reads(struct embedded_handle *handle, uint32_t *work_left)
{
    uint32_t reads_max = handle->store->log.config.reads_max;
    while (*work_left > 0 && handle->reads.count > 0 && handle->reading_count < reads_max) {
        struct broker_request *request = broker_queue_pop(&handle->reads);
        if (begin_pull(handle, request, work_left))
            continue;
        broker_queue_push(&handle->reads, request); /* want of memory */
        return;
    }
}

static void run_requests(struct embedded_handle *handle)
{
    uint32_t work_left = TURN_WORK_MAX;
    run_reads(handle, &work_left);
    /* What callbacks ask for waits for the next turn; they may also cancel. */
    for (uint32_t left = handle->requests.count; left > 0 && work_left > 0; left--) {
        struct broker_request *request = broker_queue_pop(&handle->requests);
        if (request == NULL)
            return;
        work_left -= ps_min_u32(WORK_PER_REQUEST, work_left);
        if (request->kind == BROKER_REQUEST_PULL) {
            if (!begin_pull(handle, request, &work_left))
                broker_queue_push(&handle->reads, request);
            continue;
        }
        struct broker_tail *own = ps_container_of(request, struct broker_tail, request);
        handle->taken_count--;
        own->status = BROKER_OK;
        own->tail =
            atomic_load_explicit(&handle->store->log.tails[own->partition], memory_order_acquire);
        broker_request_finish(request);
    }
}

/* What all handles share is counted by the first shard's, so that the sum over all is right. */
static void update_shared_counters(struct embedded_handle *handle)
{
    struct broker_counters *counters = &handle->broker.counters;
    struct embedded_keys_counters keys;
    embedded_keys_counters(handle->store->keys, &keys);
    counters->key_count = keys.key_count;
    counters->key_bytes = keys.key_bytes;
    counters->kind_count = keys.kind_count;
    counters->kind_expired = keys.kind_expired;
    counters->key_batches = keys.batches;
    counters->key_failures = keys.batch_failures;
    counters->longest_key_commit_ns = keys.longest_commit_ns;
    struct log_store *log = &handle->store->log;
    counters->file_bytes = atomic_load_explicit(&log->segment_bytes, memory_order_relaxed);
    counters->open_segments = atomic_load_explicit(&log->open_count, memory_order_relaxed);
    counters->segment_opens = atomic_load_explicit(&log->opens, memory_order_relaxed);
}

static void update_counters(struct embedded_handle *handle)
{
    struct broker_counters *counters = &handle->broker.counters;
    const struct journal_counters *journal = journal_counters(handle->journal);
    const struct log_reader_counters *reader = log_reader_counters(handle->reader);
    counters->log_bytes = handle->log_bytes;
    counters->log_records = handle->log_records;
    counters->full_commits = embedded_keys_port_full_commits(handle->keys);
    counters->refused_reads = embedded_keys_port_refused_reads(handle->keys);
    counters->batches = journal->batches;
    counters->batch_bytes = journal->bytes;
    counters->sync_ns = journal->sync_ns;
    counters->longest_sync_ns = journal->longest_sync_ns;
    counters->stalled_ns = journal->stalled_ns;
    counters->disk_failures = journal->failures + handle->reserve.failures + reader->read_failures;
    counters->damaged_blocks = reader->damaged_blocks;
    counters->segments_begun = journal->segments;
    counters->held_bytes = handle->held_bytes;
    counters->tail_bytes = handle->account.bytes;
    counters->waiting_reads = handle->reads.count;
    counters->blocks_fetched = reader->blocks_fetched;
    counters->blocks_shared = reader->blocks_shared;
    counters->filters_loaded = reader->filters_loaded;
    counters->filter_bytes = reader->filter_bytes;
    counters->segments_skipped = reader->segments_skipped;
    if (handle->broker.options.shard_index == 0)
        update_shared_counters(handle);
}

enum { READ_STEPS_MAX = 256, READ_STEPS_BESIDE_BATCH_MAX = 24 }; /* of a turn */

static void start(struct embedded_handle *handle)
{
    handle->is_started = true;
    for (uint32_t i = 0; i < handle->partition_count; i++)
        embedded_partition_start(handle, &handle->partitions[i]);
}

static void take_clock(struct embedded_handle *handle, uint64_t now_ns, uint64_t wall_ms)
{
    struct embedded_store *store = handle->store;
    handle->now_ns = now_ns;
    handle->now_s = (uint32_t)(now_ns / 1000000000);
    handle->wall_ms = wall_ms;
    if (wall_ms - atomic_load_explicit(&store->wall_ms, memory_order_relaxed) >= WALL_STEP_MS)
        atomic_store_explicit(&store->wall_ms, wall_ms, memory_order_relaxed);
    if (ps_unlikely(!handle->is_started))
        start(handle);
}

/* A reader of the log makes turns long, and each message that is published now waits for some of
 * them: for its batch to be written, and to be told that it is. */
static uint32_t read_steps(const struct embedded_handle *handle)
{
    return journal_is_idle(handle->journal) ? READ_STEPS_MAX : READ_STEPS_BESIDE_BATCH_MAX;
}

static bool turn(struct broker *broker, uint64_t now_ns, uint64_t wall_ms)
{
    struct embedded_handle *handle = embedded_handle_of(broker);
    struct embedded_turn turn = {.records_left = EMBEDDED_TURN_RECORDS_MAX};
    take_clock(handle, now_ns, wall_ms);
    handle->has_news = false;
    take_files(handle);
    journal_turn(handle->journal, now_ns);
    embedded_reserve_turn(handle);
    finish_answered(handle);
    turn_partitions(handle, &turn);
    turn.has_more |= journal_send(handle->journal, now_ns);
    run_requests(handle);
    turn.has_more |= log_reader_turn(handle->reader, read_steps(handle), now_ns);
    turn.has_more |= embedded_keys_port_turn(handle->keys, wall_ms);
    turn.has_more |= embedded_retain(handle);
    update_counters(handle);
    return turn.has_more || handle->has_news || handle->requests.count > 0 ||
           handle->answered.count > 0;
}

static uint64_t deadline_ns(const struct broker *broker)
{
    const struct embedded_handle *handle = embedded_handle_of_const(broker);
    uint64_t deadline =
        ps_min_u64(journal_deadline_ns(handle->journal), log_reader_deadline_ns(handle->reader));
    if (handle->reserve.is_failing)
        deadline = ps_min_u64(deadline, handle->reserve.retry_ns);
    return deadline;
}

bool embedded_broker_is_idle(const struct broker *broker)
{
    const struct embedded_handle *handle = embedded_handle_of_const(broker);
    return handle->taken_count == 0 && handle->reading_count == 0 && handle->answered.count == 0 &&
           journal_is_idle(handle->journal) && embedded_keys_port_is_idle(handle->keys);
}

static void free_handle(struct embedded_handle *handle)
{
    struct heap *heap = embedded_heap_of(handle);
    handle->broker.options.events = NULL;
    if (handle->journal != NULL)
        journal_destroy(handle->journal);
    if (handle->reader != NULL)
        log_reader_destroy(handle->reader);
    if (handle->keys != NULL)
        embedded_keys_port_destroy(handle->keys);
    while (handle->port != NULL && helper_take_last(handle->port) != NULL)
        ;
    helper_port_destroy(heap, handle->port);
    heap_free(heap, handle->partitions);
    heap_free(heap, handle);
}

static void destroy(struct broker *broker)
{
    struct embedded_handle *handle = embedded_handle_of(broker);
    ring_file_drain(broker->options.ring);
    for (uint32_t i = 0; i < handle->partition_count; i++)
        embedded_partition_deinit(handle, &handle->partitions[i]);
    ps_assert(handle->account.bytes == 0 && handle->account.records == 0);
    ps_assert(handle->windows.bytes == 0);
    atomic_fetch_sub_explicit(&handle->store->handle_count, 1, memory_order_acq_rel);
    free_handle(handle);
}

static const struct broker_driver driver = {
    .turn = turn,
    .deadline_ns = deadline_ns,
    .append = append,
    .channel_set = channel_set,
    .pull = pull,
    .tail = tail,
    .trim = trim,
    .hold = hold,
    .get = get,
    .commit = commit,
    .list = list,
    .watch = watch,
    .cancel = cancel,
    .destroy = destroy,
};

static int create_parts(struct embedded_handle *handle)
{
    const struct broker_options *options = &handle->broker.options;
    struct embedded_store *store = handle->store;
    const struct embedded_store_config *config = &store->log.config;
    const struct journal_events journal = {.context = handle,
                                           .on_committed = embedded_partition_committed,
                                           .fill_partitions = fill_partitions,
                                           .on_left = on_left,
                                           .on_indexed = embedded_on_indexed,
                                           .on_health = on_journal_health};
    int status =
        journal_create(&store->log, options->ring, options->heap, (uint16_t)options->shard_index,
                       options->wake, options->wake_context, &journal, &handle->journal);
    if (status < 0)
        return status;
    const struct log_reader_events reader = {.context = handle,
                                             .partition = embedded_read_partition,
                                             .on_read = embedded_read_done,
                                             .wake = options->wake,
                                             .wake_context = options->wake_context};
    const struct log_reader_limits limits = {
        .cache_bytes = config->cache_bytes / config->shard_count,
        .filter_bytes_max = config->filter_bytes_max / config->shard_count,
        .reads_max = config->reads_max};
    status = log_reader_create(&store->log, options->ring, options->heap, &limits, &reader,
                               &handle->reader);
    if (status < 0)
        return status;
    const struct embedded_keys_port_options keys = {.heap = options->heap,
                                                    .wake = options->wake,
                                                    .wake_context = options->wake_context,
                                                    .on_health = on_keys_health,
                                                    .health_context = handle};
    status = embedded_keys_port_create(store->keys, &keys, &handle->keys);
    if (status < 0)
        return status;
    return helper_port_create(options->heap, store->log.helper, options->wake,
                              options->wake_context, &handle->port);
}

int embedded_broker_create(struct embedded_store *store, const struct broker_options *options,
                           struct broker **out_broker)
{
    const struct embedded_store_config *config = &store->log.config;
    if (options->shard_count != config->shard_count ||
        options->shard_index >= options->shard_count || options->ring == NULL)
        return -EINVAL;
    uint32_t count = (config->partition_count + options->shard_count - 1 - options->shard_index) /
                     options->shard_count;
    struct embedded_handle *handle = heap_zalloc(options->heap, sizeof(*handle));
    if (handle == NULL)
        return -ENOMEM;
    handle->broker = (struct broker){.driver = &driver,
                                     .options = *options,
                                     .record_bytes_max = config->record_bytes_max,
                                     .partition_count = config->partition_count,
                                     .partition_levels = config->partition_levels,
                                     .is_atomic = true,
                                     .may_take_back = store->log.recovery.was_unsynced ||
                                                      config->commit != EMBEDDED_COMMIT_SYNCED,
                                     .is_healthy = true};
    handle->store = store;
    handle->tail_bytes_max = config->tail_bytes / config->shard_count;
    handle->reserve.store = &store->log;
    handle->partitions = heap_zalloc(options->heap, (count + 1) * sizeof(handle->partitions[0]));
    int status = handle->partitions != NULL ? create_parts(handle) : -ENOMEM;
    if (status < 0) {
        free_handle(handle);
        return status;
    }
    handle->partition_count = count;
    for (uint32_t i = 0; i < count; i++)
        embedded_partition_init(handle, &handle->partitions[i],
                                (uint16_t)(i * options->shard_count + options->shard_index));
    atomic_fetch_add_explicit(&store->handle_count, 1, memory_order_acq_rel);
    *out_broker = &handle->broker;
    return 0;
}
