/* Interim assembly of the memory driver over its partition logs, until the whole one lands. */
#include "broker_client/memory.h"

#include <pthread.h>

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "core/heap.h"
#include "memory_log_internal.h"

struct entry {
    uint64_t revision;
    uint64_t expires_ms;
    uint32_t key_bytes;
    uint32_t value_bytes;
    unsigned char bytes[];
};
struct memory_store {
    struct memory_store_config config;
    struct heap *heap;
    pthread_mutex_t mutex;
    struct entry **entries;
    uint64_t count, capacity, revision;
    _Atomic uint64_t bytes;
};
struct memory_broker {
    struct broker broker;
    struct memory_store *store;
    struct memory_log_account account;
    struct memory_log *logs;
    struct broker_pull **channels;
    struct broker_queue queue;
    struct memory_log_scratch scratch;
    uint64_t wall_ms;
    uint64_t told_bytes;
};
static int compare(const void *a, uint32_t an, const void *b, uint32_t bn)
{
    int order = memcmp(a, b, an < bn ? an : bn);
    return order != 0 ? order : (an > bn) - (an < bn);
}
static uint64_t lower(struct memory_store *s, const void *key, uint32_t n)
{
    uint64_t low = 0, high = s->count;
    while (low < high) {
        uint64_t mid = (low + high) / 2;
        if (compare(s->entries[mid]->bytes, s->entries[mid]->key_bytes, key, n) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}
static struct entry *find(struct memory_store *s, struct broker_bytes key, uint64_t *at)
{
    *at = lower(s, key.bytes, key.count);
    if (*at < s->count &&
        compare(s->entries[*at]->bytes, s->entries[*at]->key_bytes, key.bytes, key.count) == 0)
        return s->entries[*at];
    return NULL;
}
static struct memory_log *log_of(struct memory_broker *b, uint16_t partition)
{
    return &b->logs[partition / b->broker.options.shard_count];
}
static int push(struct broker *broker, struct broker_request *request)
{
    struct memory_broker *b = (struct memory_broker *)broker;
    if (b->queue.count >= 1024)
        return -EAGAIN;
    broker_queue_push(&b->queue, request);
    return 0;
}
static int do_append(struct broker *b, struct broker_append *r)
{
    return push(b, &r->request);
}
static int do_channel(struct broker *b, struct broker_tail *r)
{
    return push(b, &r->request);
}
static int do_tail(struct broker *b, struct broker_tail *r)
{
    return push(b, &r->request);
}
static int do_get(struct broker *b, struct broker_get *r)
{
    return push(b, &r->request);
}
static int do_commit(struct broker *b, struct broker_commit *r)
{
    return push(b, &r->request);
}
static int do_list(struct broker *b, struct broker_list *r)
{
    return push(b, &r->request);
}
static int do_watch(struct broker *b, struct broker_watch *r)
{
    (void)b;
    (void)r;
    return -EAGAIN;
}
static int do_relay(struct broker *b, uint16_t p, struct record *const *r, uint16_t n)
{
    (void)p;
    (void)r;
    b->counters.relayed_records += n;
    return 0;
}
static int do_pull(struct broker *broker, struct broker_pull *pull)
{
    struct memory_broker *b = (struct memory_broker *)broker;
    if (!pull->wait)
        return push(broker, &pull->request);
    struct broker_pull **slot = &b->channels[pull->partition / broker->options.shard_count];
    if (*slot != NULL)
        return -EAGAIN;
    *slot = pull;
    return 0;
}
static int do_trim(struct broker *b, uint16_t p, uint64_t below)
{
    (void)b;
    (void)p;
    (void)below;
    return 0;
}
static void do_cancel(struct broker *b, struct broker_request *r)
{
    (void)b;
    (void)r;
}
static int do_control(struct broker *b, const char *g, struct broker_bytes m)
{
    (void)b;
    (void)g;
    (void)m;
    return -ENETUNREACH;
}
static int do_lease(struct broker *b, uint64_t t)
{
    (void)b;
    (void)t;
    return 0;
}
static void run_append(struct memory_broker *b, struct broker_append *append)
{
    for (uint16_t i = 0; i < append->count; i++) {
        struct memory_log *log = log_of(b, append->partition);
        if (memory_log_append(log, record_acquire(append->records[i])) != 0) {
            record_release(b->broker.options.heap, append->records[i]);
            append->results[i] = (struct broker_result){BROKER_UNKNOWN, 0};
            continue;
        }
        append->results[i] = (struct broker_result){BROKER_OK, memory_log_tail(log)};
        b->broker.counters.appended_records++;
    }
}
static void run_commit(struct memory_broker *b, struct broker_commit *c)
{
    struct memory_store *s = b->store;
    pthread_mutex_lock(&s->mutex);
    c->status = BROKER_OK;
    for (uint16_t i = 0; i < c->count; i++) {
        struct broker_write *w = &c->writes[i];
        uint64_t at = 0;
        struct entry *old = find(s, w->key, &at);
        w->revision = ++s->revision;
        if (w->kind == BROKER_DELETE) {
            if (old != NULL) {
                heap_free(b->broker.options.heap, old);
                memmove(&s->entries[at], &s->entries[at + 1], (s->count - at - 1) * sizeof(void *));
                s->count--;
            }
            continue;
        }
        struct entry *e =
            heap_alloc(b->broker.options.heap, sizeof(*e) + w->key.count + w->value.count);
        if (e == NULL) {
            c->status = BROKER_FULL;
            break;
        }
        *e = (struct entry){.revision = w->revision,
                            .key_bytes = w->key.count,
                            .value_bytes = w->value.count,
                            .expires_ms = w->time_to_live_ms ? b->wall_ms + w->time_to_live_ms : 0};
        memcpy(e->bytes, w->key.bytes, w->key.count);
        if (w->value.count)
            memcpy(e->bytes + w->key.count, w->value.bytes, w->value.count);
        if (old != NULL) {
            heap_free(b->broker.options.heap, old);
            s->entries[at] = e;
            continue;
        }
        if (s->count == s->capacity) {
            s->capacity = s->capacity ? s->capacity * 2 : 64;
            s->entries =
                heap_realloc(b->broker.options.heap, s->entries, s->capacity * sizeof(void *));
        }
        memmove(&s->entries[at + 1], &s->entries[at], (s->count - at) * sizeof(void *));
        s->entries[at] = e;
        s->count++;
    }
    pthread_mutex_unlock(&s->mutex);
}
static void run(struct memory_broker *b, struct broker_request *request)
{
    struct memory_store *s = b->store;
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_APPEND:
        run_append(b, (struct broker_append *)request);
        break;
    case BROKER_REQUEST_PULL: {
        uint32_t work = 1 << 30;
        struct broker_pull *pull = (struct broker_pull *)request;
        memory_log_read(log_of(b, pull->partition), pull, false, &b->scratch, &work);
        break;
    }
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET: {
        struct broker_tail *tail = (struct broker_tail *)request;
        tail->status = BROKER_OK;
        tail->tail = memory_log_tail(log_of(b, tail->partition));
        break;
    }
    case BROKER_REQUEST_COMMIT:
        run_commit(b, (struct broker_commit *)request);
        break;
    case BROKER_REQUEST_GET: {
        struct broker_get *get = (struct broker_get *)request;
        pthread_mutex_lock(&s->mutex);
        for (uint16_t i = 0; i < get->count; i++) {
            uint64_t at = 0;
            struct entry *e = find(s, get->keys[i], &at);
            if (e != NULL && e->expires_ms && e->expires_ms <= b->wall_ms)
                e = NULL;
            get->values[i] =
                e == NULL ? (struct broker_value){.status = BROKER_NOT_FOUND}
                          : (struct broker_value){
                                BROKER_OK, e->revision, {e->bytes + e->key_bytes, e->value_bytes}};
        }
        broker_request_finish(request);
        pthread_mutex_unlock(&s->mutex);
        return;
    }
    case BROKER_REQUEST_LIST: {
        struct broker_list *list = (struct broker_list *)request;
        pthread_mutex_lock(&s->mutex);
        struct broker_bytes from = list->after.count ? list->after : list->prefix;
        uint64_t at = lower(s, from.bytes, from.count);
        list->count = 0;
        list->status = BROKER_OK;
        list->is_last = true;
        for (; at < s->count; at++) {
            struct entry *e = s->entries[at];
            if (list->after.count &&
                compare(e->bytes, e->key_bytes, list->after.bytes, list->after.count) <= 0)
                continue;
            if (e->key_bytes < list->prefix.count ||
                memcmp(e->bytes, list->prefix.bytes, list->prefix.count))
                break;
            if (list->count == list->entries_max) {
                list->is_last = false;
                break;
            }
            list->entries[list->count++] = (struct broker_entry){
                {e->bytes, e->key_bytes}, {e->bytes + e->key_bytes, e->value_bytes}, e->revision};
        }
        broker_request_finish(request);
        pthread_mutex_unlock(&s->mutex);
        return;
    }
    case BROKER_REQUEST_WATCH:
        break;
    }
    broker_request_finish(request);
}
static void account(struct memory_broker *b)
{
    uint64_t limit = b->store->config.memory_bytes;
    uint64_t all = atomic_load(&b->store->bytes) + b->account.bytes - b->told_bytes;
    atomic_store(&b->store->bytes, all);
    b->told_bytes = b->account.bytes;
    while (atomic_load(&b->store->bytes) > limit && b->account.records > 0) {
        struct memory_log *oldest = NULL;
        for (uint32_t i = 0; i * b->broker.options.shard_count + b->broker.options.shard_index <
                             b->broker.partition_count;
             i++) {
            struct memory_log *log = &b->logs[i];
            if (!memory_log_is_empty(log) &&
                (oldest == NULL || memory_log_at(log, log->first)->publish_ms <
                                       memory_log_at(oldest, oldest->first)->publish_ms))
                oldest = log;
        }
        if (oldest == NULL)
            break;
        b->broker.counters.retention_records += memory_log_remove(oldest, oldest->first + 64, 64);
        atomic_fetch_add(&b->store->bytes, b->account.bytes - b->told_bytes);
        b->told_bytes = b->account.bytes;
    }
}
static bool do_turn(struct broker *broker, uint64_t now_ns, uint64_t wall_ms)
{
    struct memory_broker *b = (struct memory_broker *)broker;
    (void)now_ns;
    b->wall_ms = wall_ms;
    uint32_t left = b->queue.count;
    while (left-- > 0)
        run(b, broker_queue_pop(&b->queue));
    for (uint32_t i = 0;
         i * broker->options.shard_count + broker->options.shard_index < broker->partition_count;
         i++) {
        struct broker_pull *pull = b->channels[i];
        if (pull == NULL || pull->from > memory_log_tail(&b->logs[i]))
            continue;
        uint32_t work = 1 << 30;
        b->channels[i] = NULL;
        memory_log_read(&b->logs[i], pull, true, &b->scratch, &work);
        broker_request_finish(&pull->request);
    }
    account(b);
    broker->counters.log_bytes = b->account.bytes;
    broker->counters.log_records = b->account.records;
    return b->queue.count != 0;
}
static void do_destroy(struct broker *broker)
{
    struct memory_broker *b = (struct memory_broker *)broker;
    for (uint32_t i = 0;
         i * broker->options.shard_count + broker->options.shard_index < broker->partition_count;
         i++)
        memory_log_deinit(&b->logs[i]);
    heap_free(broker->options.heap, b->logs);
    heap_free(broker->options.heap, b->channels);
    heap_free(broker->options.heap, b);
}
static const struct broker_driver driver = {
    do_turn,   do_append, do_relay, do_channel, do_pull,    do_tail,  do_trim,   do_get,
    do_commit, do_list,   do_watch, do_cancel,  do_control, do_lease, do_destroy};
int memory_store_create(const struct memory_store_config *config, struct heap *heap,
                        struct memory_store **out)
{
    struct memory_store *s = heap_zalloc(heap, sizeof(*s));
    s->config = *config;
    s->heap = heap;
    pthread_mutex_init(&s->mutex, NULL);
    *out = s;
    return 0;
}
void memory_store_destroy(struct memory_store *s)
{
    for (uint64_t i = 0; i < s->count; i++)
        heap_free(s->heap, s->entries[i]);
    heap_free(s->heap, s->entries);
    heap_free(s->heap, s);
}
int memory_broker_create(struct memory_store *s, const struct broker_options *options,
                         struct broker **out)
{
    struct memory_broker *b = heap_zalloc(options->heap, sizeof(*b));
    b->broker = (struct broker){.driver = &driver,
                                .options = *options,
                                .record_bytes_max = 16 << 20,
                                .partition_count = s->config.partition_count,
                                .partition_levels = s->config.partition_levels,
                                .is_atomic = true,
                                .is_healthy = true};
    b->store = s;
    uint32_t n = s->config.partition_count / options->shard_count + 1;
    b->logs = heap_zalloc(options->heap, n * sizeof(*b->logs));
    b->channels = heap_zalloc(options->heap, n * sizeof(void *));
    for (uint32_t i = 0; i < n; i++)
        memory_log_init(&b->logs[i], options->heap, &b->account, s->config.hash_seed);
    *out = &b->broker;
    return 0;
}
