/*
 * A shard's side of the embedded keys; see embedded_keys_internal.h. What is submitted waits in the
 * port until the turn, so that all of a turn's requests reach the helper together, and under one
 * lock.
 *
 * A turn: 1. take what is answered 2. call back, TURN_ANSWERS_MAX at most 3. tell the watches
 * 4. hand over what was submitted, and have the helper run.
 */
#include "core/base.h"
#include "embedded_keys_parts_internal.h"

enum {
    TURN_ANSWERS_MAX = 256,
    TURN_NEWS_MAX = 256, /* of one watch */
    STALL_MS = 10        /* between two looks whether what stalled can go on */
};

void embedded_tasks_push(struct embedded_tasks *tasks, struct embedded_task *task)
{
    task->next = NULL;
    if (tasks->last != NULL)
        tasks->last->next = task;
    else
        tasks->first = task;
    tasks->last = task;
    tasks->count++;
}

struct embedded_task *embedded_tasks_pop(struct embedded_tasks *tasks)
{
    struct embedded_task *task = tasks->first;
    if (task == NULL)
        return NULL;
    tasks->first = task->next;
    if (tasks->first == NULL)
        tasks->last = NULL;
    task->next = NULL;
    tasks->count--;
    return task;
}

/* Puts all of `more` behind. */
static void append_tasks(struct embedded_tasks *tasks, struct embedded_tasks *more)
{
    if (more->first == NULL)
        return;
    if (tasks->last != NULL)
        tasks->last->next = more->first;
    else
        tasks->first = more->first;
    tasks->last = more->last;
    tasks->count += more->count;
    *more = (struct embedded_tasks){0};
}

/* Takes out the task of `request`, unless it is one of the first `kept_count`; those are marked.
 * NULL: it is not there, or was marked. */
static struct embedded_task *take_out(struct embedded_tasks *tasks,
                                      const struct broker_request *request, uint32_t kept_count)
{
    struct embedded_task *previous = NULL;
    uint32_t index = 0;
    struct embedded_task *task = tasks->first;
    for (; task != NULL && task->request != request; index++) {
        previous = task;
        task = task->next;
    }
    if (task == NULL)
        return NULL;
    if (index < kept_count) {
        task->is_cancelled = true;
        return NULL;
    }
    if (previous != NULL)
        previous->next = task->next;
    else
        tasks->first = task->next;
    if (tasks->last == task)
        tasks->last = previous;
    tasks->count--;
    return task;
}

int embedded_keys_port_create(struct embedded_keys *keys,
                              const struct embedded_keys_port_options *options,
                              struct embedded_keys_port **out_port)
{
    uint32_t count = keys->options.requests_max;
    struct embedded_keys_port *port = heap_zalloc(options->heap, sizeof(*port));
    struct embedded_task *tasks = heap_zalloc(options->heap, count * sizeof(*tasks));
    if (port == NULL || tasks == NULL) {
        heap_free(options->heap, port);
        heap_free(options->heap, tasks);
        return -ENOMEM;
    }
    port->keys = keys;
    port->options = *options;
    port->tasks = tasks;
    port->is_healthy = true;
    for (uint32_t index = 0; index < count; index++) {
        tasks[index].port = port;
        embedded_tasks_push(&port->free, &tasks[index]);
    }
    pthread_mutex_lock(&keys->mutex);
    port->next = keys->ports;
    keys->ports = port;
    pthread_mutex_unlock(&keys->mutex);
    *out_port = port;
    return 0;
}

/* Under the mutex. */
static void unlink_watch(struct embedded_keys *keys, const struct embedded_watch *watch)
{
    struct embedded_watch **at = &keys->watches;
    while (*at != watch)
        at = &(*at)->next_of_all;
    *at = watch->next_of_all;
}

void embedded_keys_port_destroy(struct embedded_keys_port *port)
{
    struct embedded_keys *keys = port->keys;
    struct heap *heap = port->options.heap;
    pthread_mutex_lock(&keys->mutex);
    while (keys->is_running)
        pthread_cond_wait(&keys->idle, &keys->mutex);
    struct embedded_keys_port **at = &keys->ports;
    while (*at != port)
        at = &(*at)->next;
    *at = port->next;
    for (uint32_t index = 0; index < keys->batch.count; index++) {
        struct embedded_task **task = &keys->batch.tasks[index];
        if (*task != NULL && (*task)->port == port)
            *task = NULL;
    }
    for (struct embedded_watch *watch = port->watches; watch != NULL; watch = watch->next)
        if (!watch->is_ended)
            unlink_watch(keys, watch);
    pthread_mutex_unlock(&keys->mutex);
    while (port->watches != NULL) {
        struct embedded_watch *watch = port->watches;
        port->watches = watch->next;
        embedded_watch_free(heap, watch);
    }
    for (uint32_t index = 0; index < keys->options.requests_max; index++)
        heap_free(heap, port->tasks[index].answer);
    heap_free(heap, port->tasks);
    heap_free(heap, port);
}

static int submit_watch(struct embedded_keys_port *port, struct broker_watch *request)
{
    struct embedded_keys *keys = port->keys;
    if (port->watch_count == keys->options.watches_max)
        return -EAGAIN;
    struct embedded_watch *watch =
        heap_zalloc(port->options.heap, sizeof(*watch) + request->prefix.count);
    if (watch == NULL)
        return -ENOMEM;
    watch->port = port;
    watch->watch = request;
    watch->told = request->after_revision;
    /* Who knows nothing yet need not be told what has gone. */
    watch->deletions_above = request->after_revision == 0 ? UINT64_MAX : 0;
    watch->prefix_bytes = request->prefix.count;
    if (request->prefix.count > 0)
        memcpy(watch->prefix, request->prefix.bytes, request->prefix.count);
    watch->next = port->watches;
    port->watches = watch;
    port->watch_count++;
    port->is_kicking = true;
    pthread_mutex_lock(&keys->mutex);
    request->is_gapped =
        request->after_revision > 0 && request->after_revision < keys->forgotten_revision;
    watch->next_of_all = keys->watches;
    keys->watches = watch;
    pthread_mutex_unlock(&keys->mutex);
    return 0;
}

int embedded_keys_port_submit(struct embedded_keys_port *port, struct broker_request *request)
{
    if (request->kind == BROKER_REQUEST_WATCH)
        return submit_watch(port, ps_container_of(request, struct broker_watch, request));
    ps_assert(request->kind == BROKER_REQUEST_GET || request->kind == BROKER_REQUEST_COMMIT ||
              request->kind == BROKER_REQUEST_LIST);
    struct embedded_task *task = embedded_tasks_pop(&port->free);
    if (task == NULL)
        return -EAGAIN;
    task->request = request;
    embedded_tasks_push(&port->fresh, task);
    return 0;
}

/* The watch's own memory goes in a later turn: it may be being told, or scanned for. */
static void cancel_watch(struct embedded_keys_port *port, struct broker_request *request)
{
    struct embedded_watch *watch = port->watches;
    while (watch != NULL && (watch->is_ended || &watch->watch->request != request))
        watch = watch->next;
    if (watch == NULL)
        return;
    pthread_mutex_lock(&port->keys->mutex);
    watch->is_ended = true;
    unlink_watch(port->keys, watch);
    pthread_mutex_unlock(&port->keys->mutex);
    port->watch_count--;
    port->has_backlog = true;
    broker_request_set_cancelled(request);
    broker_queue_push(&port->ended, request);
}

void embedded_keys_port_cancel(struct embedded_keys_port *port, struct broker_request *request)
{
    if (request->kind == BROKER_REQUEST_WATCH) {
        cancel_watch(port, request);
        return;
    }
    struct embedded_task *task = take_out(&port->fresh, request, 0);
    if (task == NULL) {
        pthread_mutex_lock(&port->keys->mutex);
        task = take_out(&port->waiting, request, port->in_batch_count);
        pthread_mutex_unlock(&port->keys->mutex);
    }
    if (task == NULL)
        return; /* its answer is on its way */
    broker_request_set_cancelled(request);
    embedded_tasks_push(&port->done, task);
}

static void count_answer(struct embedded_keys_port *port, struct broker_request *request)
{
    bool is_refused = false;
    if (request->kind == BROKER_REQUEST_COMMIT) {
        port->full_commits +=
            ps_container_of(request, struct broker_commit, request)->status == BROKER_FULL;
    } else if (request->kind == BROKER_REQUEST_LIST) {
        is_refused =
            ps_container_of(request, struct broker_list, request)->status == BROKER_REFUSED;
    } else if (request->kind == BROKER_REQUEST_GET) {
        const struct broker_get *get = ps_container_of(request, struct broker_get, request);
        for (uint32_t index = 0; index < get->count; index++)
            is_refused |= get->values[index].status == BROKER_REFUSED;
    }
    port->refused_reads += is_refused;
}

/* Calls back what is answered. What callbacks add waits for the next turn. */
static void finish_answers(struct embedded_keys_port *port)
{
    for (uint32_t left = port->ended.count; left > 0; left--)
        broker_request_finish(broker_queue_pop(&port->ended));
    for (uint32_t left = ps_min_u32(port->done.count, TURN_ANSWERS_MAX); left > 0; left--) {
        struct embedded_task *task = embedded_tasks_pop(&port->done);
        struct broker_request *request = task->request;
        void *answer = task->answer;
        port->freed_bytes += task->answer_bytes;
        *task = (struct embedded_task){.port = port};
        embedded_tasks_push(&port->free, task);
        count_answer(port, request);
        broker_request_finish(request);
        heap_free(port->options.heap, answer);
    }
}

static void tell_health(struct embedded_keys_port *port)
{
    bool is_healthy = embedded_keys_port_is_healthy(port);
    if (is_healthy == port->is_healthy)
        return;
    port->is_healthy = is_healthy;
    if (port->options.on_health != NULL)
        port->options.on_health(port->options.health_context, is_healthy);
}

/* Result: true while there is more to tell. */
static bool tell_watch(struct embedded_keys_port *port, struct embedded_watch *watch)
{
    struct embedded_news_list news = {0};
    pthread_mutex_lock(&port->keys->mutex);
    while (news.count < TURN_NEWS_MAX && watch->queue.first != NULL)
        embedded_news_push(&news, embedded_news_pop(&watch->queue));
    bool has_more = watch->queue.first != NULL;
    /* The helper makes the next page when this one is taken. */
    port->is_kicking |= !has_more && watch->state != EMBEDDED_WATCH_LIVE;
    pthread_mutex_unlock(&port->keys->mutex);
    struct embedded_news *one;
    while ((one = embedded_news_pop(&news)) != NULL) {
        const struct broker_entry entry = {.key = {one->bytes, one->key_bytes},
                                           .value = {one->bytes + one->key_bytes, one->value_bytes},
                                           .revision = one->revision};
        if (!watch->is_ended)
            watch->watch->on_change(watch->watch, &entry, one->is_deletion);
        heap_free(port->options.heap, one);
    }
    return has_more && !watch->is_ended;
}

static void free_ended_watches(struct embedded_keys_port *port)
{
    struct embedded_watch **at = &port->watches;
    while (*at != NULL) {
        struct embedded_watch *watch = *at;
        bool is_busy = true;
        if (watch->is_ended) {
            pthread_mutex_lock(&port->keys->mutex);
            is_busy = watch->is_busy;
            pthread_mutex_unlock(&port->keys->mutex);
        }
        if (is_busy) {
            at = &watch->next;
            continue;
        }
        *at = watch->next;
        embedded_watch_free(port->options.heap, watch);
    }
}

static void tell_watches(struct embedded_keys_port *port)
{
    free_ended_watches(port);
    port->has_backlog = false;
    for (struct embedded_watch *watch = port->watches; watch != NULL; watch = watch->next)
        if (!watch->is_ended)
            port->has_backlog |= tell_watch(port, watch);
}

/* True when the helper has something to do that it was not told of. */
static bool has_to_kick(struct embedded_keys_port *port, uint64_t wall_ms)
{
    struct embedded_keys *keys = port->keys;
    if (port->fresh.count > 0 || port->is_kicking)
        return true;
    if (!atomic_load_explicit(&keys->is_stalled, memory_order_relaxed))
        return atomic_load_explicit(&keys->next_expiry_ms, memory_order_relaxed) <= wall_ms;
    uint64_t kicked_ms = atomic_load_explicit(&keys->kicked_ms, memory_order_relaxed);
    return port->freed_bytes > 0 || wall_ms - kicked_ms >= STALL_MS;
}

bool embedded_keys_port_turn(struct embedded_keys_port *port, uint64_t wall_ms)
{
    struct embedded_keys *keys = port->keys;
    /* Looked at first: every shard comes here in every turn, and most have nothing to write. */
    if (atomic_load_explicit(&keys->wall_ms, memory_order_relaxed) != wall_ms)
        atomic_store_explicit(&keys->wall_ms, wall_ms, memory_order_relaxed);
    bool is_called = atomic_load_explicit(&port->is_called, memory_order_relaxed) &&
                     atomic_exchange_explicit(&port->is_called, false, memory_order_acq_rel);
    if (is_called) {
        pthread_mutex_lock(&keys->mutex);
        append_tasks(&port->done, &port->answered);
        pthread_mutex_unlock(&keys->mutex);
    }
    finish_answers(port);
    tell_health(port);
    if (is_called || port->has_backlog)
        tell_watches(port);
    if (has_to_kick(port, wall_ms)) {
        atomic_store_explicit(&keys->kicked_ms, wall_ms, memory_order_relaxed);
        port->is_kicking = false;
        pthread_mutex_lock(&keys->mutex);
        append_tasks(&port->waiting, &port->fresh);
        port->answered_bytes -= port->freed_bytes;
        embedded_keys_schedule(keys);
        pthread_mutex_unlock(&keys->mutex);
        port->freed_bytes = 0;
    }
    return port->done.count > 0 || port->ended.count > 0 || port->has_backlog;
}

bool embedded_keys_port_is_healthy(const struct embedded_keys_port *port)
{
    return atomic_load_explicit(&port->keys->is_healthy, memory_order_relaxed);
}

bool embedded_keys_port_is_idle(const struct embedded_keys_port *port)
{
    return port->free.count == port->keys->options.requests_max && port->ended.count == 0;
}

uint64_t embedded_keys_port_full_commits(const struct embedded_keys_port *port)
{
    return port->full_commits;
}

uint64_t embedded_keys_port_refused_reads(const struct embedded_keys_port *port)
{
    return port->refused_reads;
}
