/*
 * The memory driver: a handle's entry points and its turn; see memory.h. What is shared is in
 * memory_store.c, what concerns one partition in memory_partition.c.
 *
 * A turn:
 *   1. answers that are ready (cancelled requests)
 *   2. partitions that are due: trim, feed the channel, commit appends, feed the channel
 *   3. requests in the order they came: keys, tails, reads
 *   4. watches
 *   5. retention, and keys that have expired
 * Each step does a bounded amount; the turn says so when something is left.
 */
#include "broker_client/memory.h"

#include "core/base.h"
#include "core/heap.h"
#include "memory_handle_internal.h"

enum {
    TURN_WORK_MAX = 20000, /* of requests in one turn, in steps of some 10 ns */
    WORK_PER_REQUEST = 10,
    WORK_PER_KEY = 50,
    WATCH_ROUNDS_MAX = 8 /* of one watch in one turn */
};

static int push_request(struct broker *broker, struct broker_request *request)
{
    struct memory_handle *handle = memory_handle_of(broker);
    if (handle->taken_count >= handle->store->config.requests_max)
        return -EAGAIN;
    handle->taken_count++;
    broker_queue_push(&handle->requests, request);
    return 0;
}

static int append(struct broker *broker, struct broker_append *request)
{
    return memory_partition_append(memory_handle_of(broker), request);
}

static int channel_set(struct broker *broker, struct broker_tail *request)
{
    return push_request(broker, &request->request);
}

static int pull(struct broker *broker, struct broker_pull *request)
{
    if (request->wait)
        return memory_partition_channel(memory_handle_of(broker), request);
    return push_request(broker, &request->request);
}

static int tail(struct broker *broker, struct broker_tail *request)
{
    return push_request(broker, &request->request);
}

static int trim(struct broker *broker, uint16_t partition, uint64_t below)
{
    struct memory_handle *handle = memory_handle_of(broker);
    memory_partition_trim(handle, memory_partition_of(handle, partition), below);
    return 0;
}

static int get(struct broker *broker, struct broker_get *request)
{
    return push_request(broker, &request->request);
}

static int commit(struct broker *broker, struct broker_commit *request)
{
    return push_request(broker, &request->request);
}

static int list(struct broker *broker, struct broker_list *request)
{
    return push_request(broker, &request->request);
}

static int watch(struct broker *broker, struct broker_watch *request)
{
    struct memory_handle *handle = memory_handle_of(broker);
    if (handle->watch_count == handle->store->config.watches_max)
        return -EAGAIN;
    struct memory_watch *watch = heap_zalloc(broker->options.heap, sizeof(*watch));
    if (watch == NULL)
        return -ENOMEM;
    watch->watch = request;
    watch->next = handle->watches;
    handle->watches = watch;
    handle->watch_count++;
    handle->watched_revision = 0; /* nothing is known of this one yet */
    memory_store_watch(handle->store, broker->options.shard_index, watch);
    return 0;
}

static bool cancel_channel(struct memory_handle *handle, struct broker_request *request)
{
    struct broker_pull *waiting = ps_container_of(request, struct broker_pull, request);
    struct memory_partition *partition = memory_partition_of(handle, waiting->partition);
    if (partition->channel != waiting)
        return false;
    partition->channel = NULL;
    return true;
}

/* A watch's own memory goes in the next turn: this may be called while it is being told. */
static bool cancel_watch(struct memory_handle *handle, struct broker_request *request)
{
    for (struct memory_watch *watch = handle->watches; watch != NULL; watch = watch->next) {
        if (&watch->watch->request != request || watch->is_ended)
            continue;
        watch->is_ended = true;
        handle->watch_count--;
        memory_store_unwatch(handle->store, handle->broker.options.shard_index, watch);
        return true;
    }
    return false;
}

static void cancel(struct broker *broker, struct broker_request *request)
{
    struct memory_handle *handle = memory_handle_of(broker);
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_APPEND:
        /* Fills in the results itself: some of its records may be committed. */
        if (!memory_partition_cancel_append(
                handle, ps_container_of(request, struct broker_append, request)))
            return;
        handle->taken_count--;
        broker_queue_push(&handle->answered, request);
        return;
    case BROKER_REQUEST_PULL:
        if (cancel_channel(handle, request))
            break;
        /* fall through */
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET:
    case BROKER_REQUEST_GET:
    case BROKER_REQUEST_COMMIT:
    case BROKER_REQUEST_LIST:
        if (!broker_queue_remove(&handle->requests, request))
            return;
        handle->taken_count--;
        break;
    case BROKER_REQUEST_WATCH:
        if (!cancel_watch(handle, request))
            return;
        break;
    }
    broker_request_set_cancelled(request);
    broker_queue_push(&handle->answered, request);
}

/* Calls back what was answered before; what callbacks add waits for the next turn. */
static void finish_answered(struct memory_handle *handle)
{
    for (uint32_t left = handle->answered.count; left > 0; left--)
        broker_request_finish(broker_queue_pop(&handle->answered));
}

static void turn_partitions(struct memory_handle *handle, struct memory_turn *turn)
{
    if (handle->due_count == 0)
        return;
    uint32_t count = handle->partition_count;
    handle->partition_first = (handle->partition_first + 1) % count;
    for (uint32_t step = 0; step < count && turn->records_left > 0; step++) {
        struct memory_partition *partition =
            &handle->partitions[(handle->partition_first + step) % count];
        if (partition->is_due)
            memory_partition_turn(handle, partition, turn);
    }
}

/* Calls back, then lets go of the entries that the answer borrowed. */
static void finish_held(struct memory_handle *handle, struct broker_request *request,
                        struct memory_entry **held, uint32_t count)
{
    broker_request_finish(request);
    for (uint32_t index = 0; index < count; index++)
        memory_entry_release(handle->broker.options.heap, held[index]);
}

_Static_assert(BROKER_LIST_MAX <= BROKER_KEYS_MAX, "one array serves gets and lists");

/* Answers a request and takes what it cost off *work_left. */
static void run_request(struct memory_handle *handle, struct broker_request *request,
                        uint32_t *work_left)
{
    struct memory_store *store = handle->store;
    struct memory_entry *held[BROKER_KEYS_MAX];
    uint32_t held_count = 0;
    uint32_t work = WORK_PER_REQUEST;
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_PULL: {
        struct broker_pull *pull = ps_container_of(request, struct broker_pull, request);
        memory_log_read(&memory_partition_of(handle, pull->partition)->log, pull, false,
                        &handle->scratch, work_left);
        break;
    }
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET: {
        struct broker_tail *tail = ps_container_of(request, struct broker_tail, request);
        tail->status = BROKER_OK;
        tail->tail =
            atomic_load_explicit(memory_store_tail(store, tail->partition), memory_order_acquire);
        break;
    }
    case BROKER_REQUEST_GET: {
        struct broker_get *get = ps_container_of(request, struct broker_get, request);
        held_count = memory_store_get(store, get, handle->wall_ms, held);
        work += get->count * WORK_PER_KEY;
        break;
    }
    case BROKER_REQUEST_COMMIT: {
        struct broker_commit *commit = ps_container_of(request, struct broker_commit, request);
        memory_store_commit(store, &handle->broker.options, commit, handle->wall_ms);
        handle->broker.counters.full_commits += commit->status == BROKER_FULL;
        work += 2 * commit->count * WORK_PER_KEY;
        break;
    }
    case BROKER_REQUEST_LIST: {
        struct broker_list *list = ps_container_of(request, struct broker_list, request);
        held_count = memory_store_list(store, list, handle->wall_ms, held);
        work += (list->count + 1) * WORK_PER_KEY;
        break;
    }
    case BROKER_REQUEST_APPEND:
    case BROKER_REQUEST_WATCH:
        ps_assert(false); /* have queues of their own */
    }
    *work_left -= ps_min_u32(work, *work_left);
    finish_held(handle, request, held, held_count);
}

static void run_requests(struct memory_handle *handle)
{
    uint32_t work_left = TURN_WORK_MAX;
    /* What callbacks ask for waits for the next turn; they may also cancel. */
    for (uint32_t left = handle->requests.count; left > 0 && work_left > 0; left--) {
        struct broker_request *request = broker_queue_pop(&handle->requests);
        if (request == NULL)
            break;
        handle->taken_count--;
        run_request(handle, request, &work_left);
    }
}

/* Result: true while there is more to tell. */
static bool tell_watch(struct memory_handle *handle, struct memory_watch *watch)
{
    bool has_more = true;
    for (uint32_t round = 0; round < WATCH_ROUNDS_MAX && has_more && !watch->is_ended; round++) {
        struct memory_news news[MEMORY_STORE_WATCH_ENTRIES_MAX];
        uint32_t count =
            memory_store_changes(handle->store, watch, handle->wall_ms, news, &has_more);
        for (uint32_t index = 0; index < count; index++) {
            struct memory_entry *entry = news[index].entry;
            const struct broker_entry told = {.key = {memory_entry_key(entry), entry->key_bytes},
                                              .value = memory_entry_value(entry),
                                              .revision = news[index].revision};
            if (!watch->is_ended)
                watch->watch->on_change(watch->watch, &told, news[index].is_deletion);
            memory_entry_release(handle->broker.options.heap, entry);
        }
    }
    return has_more && !watch->is_ended;
}

/* Lets the memory of ended watches go. */
static void free_ended_watches(struct memory_handle *handle)
{
    struct memory_watch **at = &handle->watches;
    while (*at != NULL) {
        struct memory_watch *watch = *at;
        if (!watch->is_ended) {
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        heap_free(handle->broker.options.heap, watch);
    }
}

static bool tell_watches(struct memory_handle *handle)
{
    if (handle->watches == NULL)
        return false;
    free_ended_watches(handle);
    uint64_t revision = atomic_load_explicit(&handle->store->revision, memory_order_acquire);
    if (revision == handle->watched_revision)
        return false;
    handle->watched_revision = revision;
    bool has_more = false;
    for (struct memory_watch *watch = handle->watches; watch != NULL; watch = watch->next)
        has_more |= tell_watch(handle, watch);
    if (has_more)
        handle->watched_revision = 0;
    return handle->watched_revision != revision; /* a callback may have begun another watch */
}

/* Keys are shared: the first shard's handle counts them, so that the sum over all is right. */
static void update_counters(struct memory_handle *handle)
{
    struct broker_counters *counters = &handle->broker.counters;
    counters->log_bytes = handle->account.bytes;
    counters->log_records = handle->account.records;
    if (handle->broker.options.shard_index != 0)
        return;
    counters->key_count = atomic_load_explicit(&handle->store->key_count, memory_order_relaxed);
    counters->kind_count = atomic_load_explicit(&handle->store->kind_count, memory_order_relaxed);
    counters->kind_expired =
        atomic_load_explicit(&handle->store->kind_expired, memory_order_relaxed);
    counters->key_bytes = atomic_load_explicit(&handle->store->key_bytes, memory_order_relaxed);
}

static bool turn(struct broker *broker, uint64_t now_ns, uint64_t wall_ms)
{
    struct memory_handle *handle = memory_handle_of(broker);
    struct memory_store *store = handle->store;
    struct memory_turn turn = {.records_left = MEMORY_TURN_RECORDS_MAX};
    handle->now_s = (uint32_t)(now_ns / 1000000000);
    handle->wall_ms = wall_ms;
    atomic_store_explicit(&store->shards[broker->options.shard_index].is_called, false,
                          memory_order_release);
    finish_answered(handle);
    turn_partitions(handle, &turn);
    run_requests(handle);
    turn.has_more |= tell_watches(handle);
    turn.has_more |= memory_store_sweep(store, &broker->options, wall_ms);
    handle->is_over = memory_partition_retain(handle);
    update_counters(handle);
    return turn.has_more || handle->is_over || handle->due_count > 0 ||
           handle->requests.count > 0 || handle->answered.count > 0;
}

static void destroy(struct broker *broker)
{
    struct memory_handle *handle = memory_handle_of(broker);
    struct heap *heap = broker->options.heap;
    for (struct memory_watch *watch = handle->watches; watch != NULL; watch = watch->next) {
        if (!watch->is_ended)
            memory_store_unwatch(handle->store, broker->options.shard_index, watch);
        watch->is_ended = true;
    }
    free_ended_watches(handle);
    for (uint32_t index = 0; index < handle->partition_count; index++)
        memory_partition_deinit(
            handle, &handle->partitions[index],
            (uint16_t)(index * broker->options.shard_count + broker->options.shard_index));
    ps_assert(handle->account.bytes == 0 && handle->account.records == 0);
    memory_store_close(handle->store, broker->options.shard_index);
    heap_free(heap, handle->partitions);
    heap_free(heap, handle);
}

static const struct broker_driver driver = {
    .turn = turn,
    .append = append,
    .channel_set = channel_set,
    .pull = pull,
    .tail = tail,
    .trim = trim,
    .get = get,
    .commit = commit,
    .list = list,
    .watch = watch,
    .cancel = cancel,
    .destroy = destroy,
};

int memory_broker_create(struct memory_store *store, const struct broker_options *options,
                         struct broker **out_broker)
{
    const struct memory_store_config *config = &store->config;
    if (options->shard_count != config->shard_count || options->shard_index >= options->shard_count)
        return -EINVAL;
    uint32_t count = (config->partition_count + options->shard_count - 1 - options->shard_index) /
                     options->shard_count;
    struct memory_handle *handle = heap_zalloc(options->heap, sizeof(*handle));
    struct memory_partition *partitions =
        heap_zalloc(options->heap, (count + 1) * sizeof(*partitions)); /* never of 0 bytes */
    int status = handle != NULL && partitions != NULL ? memory_store_open(store, options) : -ENOMEM;
    if (status < 0) {
        heap_free(options->heap, handle);
        heap_free(options->heap, partitions);
        return status;
    }
    handle->broker = (struct broker){.driver = &driver,
                                     .options = *options,
                                     .record_bytes_max = config->record_bytes_max,
                                     .partition_count = config->partition_count,
                                     .partition_levels = config->partition_levels,
                                     .is_atomic = true,
                                     .is_healthy = true};
    handle->store = store;
    handle->partitions = partitions;
    handle->partition_count = count;
    for (uint32_t index = 0; index < count; index++)
        memory_partition_init(handle, &partitions[index],
                              (uint16_t)(index * options->shard_count + options->shard_index));
    *out_broker = &handle->broker;
    return 0;
}
