/*
 * The keys of the embedded driver: the opening, and the helper's job; see
 * embedded_keys_internal.h and embedded_keys_parts_internal.h.
 *
 * A job: 1. when the disk has failed and the pause is over: open the file again, settle what became
 * of the batch. 2. gather what the ports' requests are, carry them out, commit, publish. 3. one
 * step for one watch. It submits itself again while it gets on.
 *
 * The file after a failure:
 *
 *   works --(anything but the commit fails)--> opened again; the batch goes back to its ports
 *   works --(the commit fails)--> kept: opened again, and the number that is stored is read:
 *       it is not the batch's: the batch goes back to its ports
 *       it is: the batch is there, perhaps in the page cache only. Another commit makes it durable;
 *       then its answers go out. Until then nobody reads what may not last.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "core/base.h"
#include "core/log.h"
#include "embedded_keys_parts_internal.h"

enum {
    PAUSE_MS_MIN = 100,
    PAUSE_MS_MAX = 5000,
    MAP_BYTES_MIN = 1 << 20,
    MAP_GRAIN_BYTES = 65536, /* of pages of any size */
    REQUESTS_MAX_DEFAULT = 1024,
    DELETED_ENTRIES_MAX_DEFAULT = 16384,
    WATCHES_MAX_DEFAULT = 16,
    ANSWER_BUDGET_SHARE = 4
};

#define MAP_BYTES_DEFAULT (UINT64_C(16) << 30)

/* The rest of the map is for what a batch writes anew before the old pages are free, so that what
 * takes no room always passes. */
static uint64_t room_of(uint64_t map_bytes)
{
    return map_bytes - map_bytes / 8;
}

static bool complete_options(struct embedded_keys_options *options)
{
    options->map_bytes = broker_default(options->map_bytes, MAP_BYTES_DEFAULT);
    options->map_bytes -= options->map_bytes % MAP_GRAIN_BYTES;
    options->key_bytes_max = broker_default(options->key_bytes_max, room_of(options->map_bytes));
    const int64_t budget_bytes = options->heap->budget->bytes_max;
    options->answer_bytes_max = broker_default(
        options->answer_bytes_max,
        budget_bytes > 0 ? (uint64_t)budget_bytes / ANSWER_BUDGET_SHARE : UINT64_MAX);
    options->requests_max = (uint32_t)broker_default(options->requests_max, REQUESTS_MAX_DEFAULT);
    options->deleted_entries_max =
        (uint32_t)broker_default(options->deleted_entries_max, DELETED_ENTRIES_MAX_DEFAULT);
    options->watches_max = (uint16_t)broker_default(options->watches_max, WATCHES_MAX_DEFAULT);
    return options->map_bytes >= MAP_BYTES_MIN && options->key_bytes_max < options->map_bytes;
}

static const char *reason_of(int status)
{
    switch (status) {
    case -EBADMSG:
        return "the file is damaged";
    case -EDQUOT:
        return "the file has no room left within its map";
    default:
        return strerrordesc_np(-status);
    }
}

static uint64_t wall_ms_of(struct embedded_keys *keys)
{
    return atomic_load_explicit(&keys->wall_ms, memory_order_relaxed);
}

static int open_file(struct embedded_keys *keys, char *error, size_t error_bytes)
{
    const struct key_file_options options = {.directory = keys->directory,
                                             .map_bytes = keys->options.map_bytes,
                                             .must_exist = keys->options.must_exist,
                                             .is_synced = !keys->options.is_unsynced,
                                             .error = error,
                                             .error_bytes = error_bytes};
    return key_file_open(&keys->heap, &options, &keys->file);
}

static void close_file(struct embedded_keys *keys)
{
    key_file_close(&keys->heap, keys->file);
    keys->file = NULL;
}

/* In a transaction: counts the keys of the counted kind, of which there were others when the file
 * was written. */
static int recount(struct embedded_keys *keys, struct embedded_state *state)
{
    const char kind = keys->options.counted_kind;
    struct key_file_entry entry;
    state->kind_count = 0;
    state->counted_kind = kind;
    if (kind == 0)
        return 0;
    const struct broker_bytes prefix = {&kind, 1};
    int status = key_file_seek(keys->file, KEY_FILE_KEYS, prefix, &entry);
    for (; status == 0 && broker_has_prefix(entry.key, prefix);
         status = key_file_next(keys->file, KEY_FILE_KEYS, &entry))
        state->kind_count++;
    return status == -ENOENT ? 0 : status;
}

/* Makes the state of a file without keys. */
static int make_state(struct embedded_keys *keys)
{
    struct key_file_entry entry;
    int status = key_file_begin(keys->file, true);
    if (status < 0)
        return status;
    status = key_file_seek(keys->file, KEY_FILE_KEYS, (struct broker_bytes){0}, &entry);
    if (status == -ENOENT)
        status = embedded_state_store(keys, &keys->state);
    else if (status == 0)
        status = -EBADMSG; /* keys without a state */
    if (status == 0)
        return key_file_commit(keys->file);
    key_file_abort(keys->file);
    return status;
}

static int load_state(struct embedded_keys *keys)
{
    uint64_t next_expiry_ms = UINT64_MAX;
    int status = key_file_begin(keys->file, false);
    if (status < 0)
        return status;
    status = embedded_state_load(keys, &keys->state);
    bool is_new = status == -ENOENT;
    if (status == 0 && keys->state.counted_kind != keys->options.counted_kind)
        status = recount(keys, &keys->state);
    if (status == 0)
        status = embedded_batch_next_expiry(keys, &next_expiry_ms);
    key_file_abort(keys->file);
    if (is_new) {
        keys->state = (struct embedded_state){.counted_kind = keys->options.counted_kind};
        status = make_state(keys);
    }
    atomic_init(&keys->next_expiry_ms, next_expiry_ms);
    return status;
}

static void publish_counters(struct embedded_keys *keys)
{
    atomic_store_explicit(&keys->key_count, keys->state.key_count, memory_order_relaxed);
    atomic_store_explicit(&keys->key_bytes, keys->state.key_bytes, memory_order_relaxed);
    atomic_store_explicit(&keys->kind_count, keys->state.kind_count, memory_order_relaxed);
}

/* Under the mutex: every port has something to be told. */
static void call_all(struct embedded_keys *keys)
{
    for (struct embedded_keys_port *port = keys->ports; port != NULL; port = port->next)
        embedded_keys_call(port);
}

/* Under the mutex: the tasks of a batch that came to nothing wait again, but for those that were
 * cancelled meanwhile. */
static void give_back(struct embedded_keys_port *port)
{
    uint32_t left = port->in_batch_count;
    struct embedded_tasks waiting = {0};
    port->in_batch_count = 0;
    if (left == 0)
        return;
    while (port->waiting.first != NULL) {
        struct embedded_task *task = embedded_tasks_pop(&port->waiting);
        if (left > 0 && task->is_cancelled) {
            broker_request_set_cancelled(task->request);
            embedded_tasks_push(&port->answered, task);
            embedded_keys_call(port);
        } else {
            embedded_tasks_push(&waiting, task);
        }
        left -= left > 0;
    }
    port->waiting = waiting;
}

/* Lets go of the batch: nothing of it is stored. */
static void release_batch(struct embedded_keys *keys)
{
    embedded_batch_reset(keys);
    pthread_mutex_lock(&keys->mutex);
    for (struct embedded_keys_port *port = keys->ports; port != NULL; port = port->next)
        give_back(port);
    keys->is_batch_kept = false;
    pthread_mutex_unlock(&keys->mutex);
    keys->batch.count = 0;
}

/* Hands the answers of a batch over; what it wrote is durable. */
static void publish_batch(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    keys->state = batch->next;
    pthread_mutex_lock(&keys->mutex);
    keys->is_batch_kept = false;
    keys->revision = keys->state.revision;
    for (uint32_t index = 0; index < batch->done_count; index++) {
        struct embedded_task *task = batch->tasks[index];
        if (task == NULL)
            continue;
        struct embedded_keys_port *port = task->port;
        struct embedded_task *first = embedded_tasks_pop(&port->waiting);
        ps_assert(first == task && port->in_batch_count > 0);
        port->in_batch_count--;
        port->answered_bytes += task->answer_bytes;
        embedded_tasks_push(&port->answered, task);
        embedded_keys_call(port);
    }
    for (struct embedded_keys_port *port = keys->ports; port != NULL; port = port->next)
        give_back(port);
    if (batch->is_dirty) {
        embedded_watch_publish(keys, &batch->news, keys->state.revision);
        atomic_store_explicit(&keys->next_expiry_ms, batch->next_expiry_ms, memory_order_relaxed);
        publish_counters(keys);
        atomic_fetch_add_explicit(&keys->kind_expired, batch->kind_expired, memory_order_relaxed);
        atomic_fetch_add_explicit(&keys->batches, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&keys->mutex);
    batch->done_count = 0;
    batch->count = 0;
}

static void recover(struct embedded_keys *keys)
{
    char quoted[256];
    keys->is_failing = false;
    if (keys->options.log != NULL)
        log_write(keys->options.log, LOG_INFO, "keys_recovered", "directory=%s",
                  log_quote(quoted, sizeof(quoted), keys->directory, strlen(keys->directory)));
    atomic_store_explicit(&keys->is_healthy, true, memory_order_relaxed);
    pthread_mutex_lock(&keys->mutex);
    call_all(keys);
    pthread_mutex_unlock(&keys->mutex);
}

/* Opens the file again, when it is closed, and finds out what became of the batch. */
static void settle_file(struct embedded_keys *keys)
{
    char error[8];
    struct embedded_state stored;
    if (keys->file == NULL && open_file(keys, error, sizeof(error)) < 0)
        return;
    int status = key_file_begin(keys->file, false);
    if (status == 0) {
        status = embedded_state_load(keys, &stored);
        key_file_abort(keys->file);
    }
    if (status < 0)
        close_file(keys);
    else if (keys->is_batch_kept && stored.number <= keys->state.number)
        release_batch(keys);
}

/* After a failure of the disk; `is_unknown`: the batch may be stored. */
static void fail(struct embedded_keys *keys, int status, bool is_unknown)
{
    char quoted[256];
    keys->pause_ms = keys->is_failing ? ps_min_u64(2 * keys->pause_ms, PAUSE_MS_MAX) : PAUSE_MS_MIN;
    keys->failed_ms = wall_ms_of(keys);
    atomic_fetch_add_explicit(&keys->batch_failures, 1, memory_order_relaxed);
    if (!keys->is_failing && keys->options.log != NULL)
        log_write(keys->options.log, LOG_ERROR, "keys_failed", "directory=%s reason=\"%s\"",
                  log_quote(quoted, sizeof(quoted), keys->directory, strlen(keys->directory)),
                  reason_of(status));
    keys->is_failing = true;
    atomic_store_explicit(&keys->is_healthy, false, memory_order_relaxed);
    close_file(keys);
    pthread_mutex_lock(&keys->mutex);
    keys->is_batch_kept |= is_unknown;
    call_all(keys);
    pthread_mutex_unlock(&keys->mutex);
    if (!keys->is_batch_kept)
        release_batch(keys);
    settle_file(keys);
}

/* The number of the next commit is above that of the one that may or may not last. */
static void confirm_batch(struct embedded_keys *keys)
{
    struct embedded_state confirmed = keys->batch.next;
    confirmed.number = ++keys->batch.next.number;
    int status = key_file_begin(keys->file, true);
    if (status == 0) {
        status = embedded_state_store(keys, &confirmed);
        if (status == 0)
            status = key_file_commit(keys->file);
        else
            key_file_abort(keys->file);
    }
    if (status < 0) {
        fail(keys, status, true);
        return;
    }
    publish_batch(keys);
    recover(keys);
}

/* The pause is over. */
static void retry(struct embedded_keys *keys)
{
    settle_file(keys);
    if (keys->file == NULL) {
        keys->pause_ms = ps_min_u64(2 * keys->pause_ms, PAUSE_MS_MAX);
        keys->failed_ms = wall_ms_of(keys);
    } else if (keys->is_batch_kept) {
        confirm_batch(keys);
    }
}

static uint64_t commit_bytes(const struct broker_commit *commit)
{
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < commit->count; index++) {
        const struct broker_write *write = broker_commit_write(commit, index);
        bytes += write->key.count + (uint64_t)write->value.count;
    }
    return bytes;
}

/* Takes a port's tasks into the batch, as far as they may be. False: the batch is full. */
static bool gather_port(struct embedded_keys *keys, struct embedded_keys_port *port, bool may_write,
                        struct embedded_gathered *gathered)
{
    struct embedded_batch *batch = &keys->batch;
    if (port->answered_bytes >= EMBEDDED_ANSWERED_BYTES_MAX)
        return true;
    for (struct embedded_task *task = port->waiting.first; task != NULL; task = task->next) {
        if (batch->count == EMBEDDED_BATCH_TASKS_MAX ||
            gathered->writes >= EMBEDDED_BATCH_WRITES_MAX ||
            gathered->bytes >= EMBEDDED_BATCH_BYTES_MAX)
            return false;
        if (task->request->kind == BROKER_REQUEST_COMMIT) {
            const struct broker_commit *commit =
                ps_container_of(task->request, struct broker_commit, request);
            if (!may_write)
                return true;
            gathered->writes += commit->count;
            gathered->bytes += commit_bytes(commit);
        }
        task->is_refused = false;
        batch->tasks[batch->count++] = task;
        port->in_batch_count++;
    }
    return true;
}

/* The port that comes first has the last go the next time. */
static void rotate_ports(struct embedded_keys *keys)
{
    struct embedded_keys_port *first = keys->ports;
    if (first == NULL || first->next == NULL)
        return;
    struct embedded_keys_port **last = &keys->ports;
    while (*last != NULL)
        last = &(*last)->next;
    *last = first;
    keys->ports = first->next;
    first->next = NULL;
}

/* Result: there is something to do. */
static bool gather(struct embedded_keys *keys, bool may_write)
{
    struct embedded_batch *batch = &keys->batch;
    struct embedded_gathered gathered = {0};
    batch->count = 0;
    batch->done_count = 0;
    batch->has_moved = false;
    batch->wall_ms = wall_ms_of(keys);
    batch->is_probing = may_write && keys->is_failing;
    uint64_t next_expiry_ms = atomic_load_explicit(&keys->next_expiry_ms, memory_order_relaxed);
    pthread_mutex_lock(&keys->mutex);
    may_write = may_write && !embedded_watch_is_behind(keys);
    rotate_ports(keys);
    struct embedded_keys_port *port = keys->ports;
    while (port != NULL && gather_port(keys, port, may_write, &gathered))
        port = port->next;
    batch->has_watches = keys->watches != NULL;
    pthread_mutex_unlock(&keys->mutex);
    batch->is_sweeping = may_write && next_expiry_ms <= batch->wall_ms;
    batch->is_writing = gathered.writes > 0 || batch->is_sweeping || batch->is_probing;
    return batch->count > 0 || batch->is_writing;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static int commit(struct embedded_keys *keys)
{
    uint64_t begin_ns = clock_ns();
    int status = key_file_commit(keys->file);
    uint64_t spent_ns = clock_ns() - begin_ns;
    if (spent_ns > atomic_load_explicit(&keys->longest_commit_ns, memory_order_relaxed))
        atomic_store_explicit(&keys->longest_commit_ns, spent_ns, memory_order_relaxed);
    return status;
}

/* One batch. Result: something came on by it. */
static bool run_batch(struct embedded_keys *keys, bool may_write)
{
    struct embedded_batch *batch = &keys->batch;
    bool is_commit_failed;
    int status;
    if (!gather(keys, may_write))
        return false;
    do {
        is_commit_failed = false;
        status = embedded_batch_run(keys);
        if (status == 0 && batch->is_dirty) {
            status = commit(keys);
            is_commit_failed = status < 0 && status != -EDQUOT;
        }
    } while (status == -EDQUOT && embedded_batch_shrink(keys));
    if (status < 0) {
        fail(keys, status, is_commit_failed);
        return false;
    }
    bool has_moved = batch->done_count > 0 || batch->has_moved || batch->is_dirty;
    publish_batch(keys);
    if (batch->is_probing)
        recover(keys);
    return has_moved;
}

static bool is_sweep_due(struct embedded_keys *keys)
{
    return atomic_load_explicit(&keys->next_expiry_ms, memory_order_relaxed) <= wall_ms_of(keys);
}

/* Submits the job once more while it gets on. */
static void end_job(struct embedded_keys *keys, bool has_moved)
{
    pthread_mutex_lock(&keys->mutex);
    bool has_work = is_sweep_due(keys) || embedded_watch_has_work(keys);
    for (struct embedded_keys_port *port = keys->ports; port != NULL; port = port->next)
        has_work |= port->waiting.count > 0;
    keys->is_running = false;
    keys->is_scheduled = false;
    if (has_work && has_moved)
        embedded_keys_schedule(keys);
    atomic_store_explicit(&keys->is_stalled, keys->is_failing || (has_work && !keys->is_scheduled),
                          memory_order_relaxed);
    pthread_cond_broadcast(&keys->idle);
    pthread_mutex_unlock(&keys->mutex);
}

static void run_job(void *context)
{
    struct embedded_keys *keys = context;
    bool has_moved = false;
    pthread_mutex_lock(&keys->mutex);
    keys->is_running = true;
    pthread_mutex_unlock(&keys->mutex);
    /* Also when the clock was set back. */
    bool may_write = !keys->is_failing || wall_ms_of(keys) - keys->failed_ms >= keys->pause_ms;
    if (keys->is_failing && may_write)
        retry(keys);
    if (keys->file != NULL && !keys->is_batch_kept)
        has_moved = run_batch(keys, may_write);
    if (keys->file != NULL && !keys->is_batch_kept) {
        int status = embedded_watch_step(keys);
        has_moved |= status > 0;
        if (status < 0)
            fail(keys, status, false);
    }
    end_job(keys, has_moved);
}

void embedded_keys_schedule(struct embedded_keys *keys)
{
    if (keys->is_scheduled)
        return;
    keys->job.run = run_job;
    keys->job.context = keys;
    /* A helper that is stopping takes no more; then what waits is given up by its ports. */
    keys->is_scheduled = helper_submit(keys->options.helper, NULL, &keys->job) == 0;
}

void embedded_keys_call(struct embedded_keys_port *port)
{
    if (!atomic_exchange_explicit(&port->is_called, true, memory_order_acq_rel) &&
        port->options.wake != NULL)
        port->options.wake(port->options.wake_context);
}

/* Opens the file for the first time. The reason goes to options.error. */
static int begin(struct embedded_keys *keys)
{
    const struct embedded_keys_options *options = &keys->options;
    int status = open_file(keys, options->error, options->error_bytes);
    if (status < 0)
        return status;
    status = load_state(keys);
    if (status == -EPROTO) {
        (void)snprintf(options->error, options->error_bytes,
                       "the keys in %s are of another format than %d, the one that is known",
                       keys->directory, EMBEDDED_KEYS_FORMAT);
        status = -EBADMSG;
    } else if (status < 0) {
        (void)snprintf(options->error, options->error_bytes, "the keys in %s: %s", keys->directory,
                       reason_of(status));
    }
    keys->options.must_exist = true; /* when it is opened again */
    return status;
}

static void free_keys(struct embedded_keys *keys)
{
    struct heap *heap = keys->options.heap;
    close_file(keys);
    embedded_batch_reset(keys);
    embedded_news_free(&keys->heap, &keys->deletions);
    heap_free(heap, keys->directory);
    heap_deinit(&keys->heap);
    pthread_cond_destroy(&keys->idle);
    pthread_mutex_destroy(&keys->mutex);
    heap_free(heap, keys);
}

int embedded_keys_open(const struct embedded_keys_options *options, struct embedded_keys **out_keys)
{
    struct embedded_keys_options complete = *options;
    complete.error[0] = '\0';
    if (!complete_options(&complete)) {
        (void)snprintf(complete.error, complete.error_bytes,
                       "a map of %lu bytes with room for %lu bytes of keys cannot be",
                       complete.map_bytes, complete.key_bytes_max);
        return -EINVAL;
    }
    size_t directory_bytes = strlen(options->directory) + 1;
    struct embedded_keys *keys = heap_zalloc(options->heap, sizeof(*keys));
    char *directory = heap_alloc(options->heap, directory_bytes);
    if (keys == NULL || directory == NULL) {
        heap_free(options->heap, keys);
        heap_free(options->heap, directory);
        (void)snprintf(complete.error, complete.error_bytes, "no memory for the keys");
        return -ENOMEM;
    }
    memcpy(directory, options->directory, directory_bytes);
    keys->options = complete;
    keys->directory = directory;
    keys->file_bytes_max = room_of(complete.map_bytes);
    heap_init(&keys->heap, options->heap->budget);
    pthread_mutex_init(&keys->mutex, NULL);
    pthread_cond_init(&keys->idle, NULL);
    atomic_init(&keys->is_healthy, true);
    int status = begin(keys);
    if (status < 0) {
        free_keys(keys);
        return status;
    }
    keys->revision = keys->state.revision;
    keys->forgotten_revision = keys->state.revision;
    publish_counters(keys);
    *out_keys = keys;
    return 0;
}

void embedded_keys_close(struct embedded_keys *keys)
{
    ps_assert(keys->ports == NULL && !keys->is_scheduled);
    free_keys(keys);
}

void embedded_keys_counters(const struct embedded_keys *keys, struct embedded_keys_counters *out)
{
    *out = (struct embedded_keys_counters){
        .key_count = atomic_load_explicit(&keys->key_count, memory_order_relaxed),
        .key_bytes = atomic_load_explicit(&keys->key_bytes, memory_order_relaxed),
        .kind_count = atomic_load_explicit(&keys->kind_count, memory_order_relaxed),
        .kind_expired = atomic_load_explicit(&keys->kind_expired, memory_order_relaxed),
        .batches = atomic_load_explicit(&keys->batches, memory_order_relaxed),
        .batch_failures = atomic_load_explicit(&keys->batch_failures, memory_order_relaxed),
        .longest_commit_ns = atomic_load_explicit(&keys->longest_commit_ns, memory_order_relaxed),
    };
}
