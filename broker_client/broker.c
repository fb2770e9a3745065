/*
 * The way from broker.h into a driver: checks what every driver would have to check, and keeps what
 * all requests have in common. The request belongs to the driver from a 0 until
 * broker_request_finish.
 *
 * Thread: the handle's shard. Never calls back from inside a call.
 */
#include "broker_client/broker.h"

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "core/hash.h"

/* Marks `request` before the driver sees it, and unmarks it when the driver refuses. */
static void request_prepare(struct broker_request *request, enum broker_request_kind kind)
{
    ps_assert(!request->is_taken);
    request->kind = (uint8_t)kind;
    request->is_taken = true;
    request->next = NULL;
}

static int request_answer(struct broker *broker, struct broker_request *request, int result)
{
    if (result < 0)
        request->is_taken = false;
    if (result == -EAGAIN)
        broker->counters.queue_full++;
    return result;
}

bool broker_turn(struct broker *broker, uint64_t now_ns, uint64_t wall_ms)
{
    return broker->driver->turn(broker, now_ns, wall_ms);
}

uint64_t broker_deadline_ns(const struct broker *broker)
{
    return broker->driver->deadline_ns != NULL ? broker->driver->deadline_ns(broker) : UINT64_MAX;
}

int broker_append(struct broker *broker, struct broker_append *append)
{
    ps_assert(append->count > 0 && append->count <= BROKER_APPEND_MAX);
    if (!broker_owns(broker, append->partition))
        return -EINVAL;
    request_prepare(&append->request, BROKER_REQUEST_APPEND);
    return request_answer(broker, &append->request, broker->driver->append(broker, append));
}

int broker_relay(struct broker *broker, uint16_t partition, struct record *const *records,
                 uint16_t count)
{
    ps_assert(count <= BROKER_APPEND_MAX);
    if (!broker_owns(broker, partition))
        return -EINVAL;
    if (broker->driver->relay != NULL)
        return broker->driver->relay(broker, partition, records, count);
    broker->counters.relayed_records += count; /* there is nobody to relay to */
    return 0;
}

int broker_channel_set(struct broker *broker, struct broker_tail *tail)
{
    if (!broker_owns(broker, tail->partition))
        return -EINVAL;
    request_prepare(&tail->request, BROKER_REQUEST_CHANNEL_SET);
    return request_answer(broker, &tail->request, broker->driver->channel_set(broker, tail));
}

int broker_pull(struct broker *broker, struct broker_pull *pull)
{
    if (!broker_owns(broker, pull->partition))
        return -EINVAL;
    request_prepare(&pull->request, BROKER_REQUEST_PULL);
    return request_answer(broker, &pull->request, broker->driver->pull(broker, pull));
}

int broker_tail(struct broker *broker, struct broker_tail *tail)
{
    if (tail->partition >= broker->partition_count)
        return -EINVAL;
    request_prepare(&tail->request, BROKER_REQUEST_TAIL);
    return request_answer(broker, &tail->request, broker->driver->tail(broker, tail));
}

int broker_trim(struct broker *broker, uint16_t partition, uint64_t below)
{
    if (!broker_owns(broker, partition))
        return -EINVAL;
    return broker->driver->trim(broker, partition, below);
}

void broker_hold(struct broker *broker, uint16_t partition, uint64_t needed_from,
                 uint64_t wanted_from)
{
    ps_assert(broker_owns(broker, partition));
    if (broker->driver->hold != NULL)
        broker->driver->hold(broker, partition, needed_from, wanted_from);
}

static bool is_key(struct broker_bytes key)
{
    return key.count > 0 && key.count <= BROKER_KEY_BYTES_MAX;
}

int broker_get(struct broker *broker, struct broker_get *get)
{
    ps_assert(get->count > 0 && get->count <= BROKER_KEYS_MAX);
    for (uint16_t index = 0; index < get->count; index++)
        if (!is_key(get->keys[index]))
            return -EINVAL;
    request_prepare(&get->request, BROKER_REQUEST_GET);
    return request_answer(broker, &get->request, broker->driver->get(broker, get));
}

int broker_commit(struct broker *broker, struct broker_commit *commit)
{
    ps_assert(commit->count > 0 &&
              commit->count <= (commit->many != NULL ? BROKER_WRITES_MAX : BROKER_KEYS_MAX));
    if (commit->guard_key.count > BROKER_KEY_BYTES_MAX)
        return -EINVAL;
    for (uint16_t index = 0; index < commit->count; index++)
        if (!is_key(broker_commit_write(commit, index)->key))
            return -EINVAL;
    request_prepare(&commit->request, BROKER_REQUEST_COMMIT);
    return request_answer(broker, &commit->request, broker->driver->commit(broker, commit));
}

int broker_list(struct broker *broker, struct broker_list *list)
{
    ps_assert(list->entries_max > 0 && list->entries_max <= BROKER_LIST_MAX);
    if (list->prefix.count > BROKER_KEY_BYTES_MAX || list->after.count > BROKER_KEY_BYTES_MAX)
        return -EINVAL;
    request_prepare(&list->request, BROKER_REQUEST_LIST);
    return request_answer(broker, &list->request, broker->driver->list(broker, list));
}

int broker_watch(struct broker *broker, struct broker_watch *watch)
{
    if (watch->prefix.count > BROKER_KEY_BYTES_MAX)
        return -EINVAL;
    request_prepare(&watch->request, BROKER_REQUEST_WATCH);
    return request_answer(broker, &watch->request, broker->driver->watch(broker, watch));
}

void broker_cancel(struct broker *broker, struct broker_request *request)
{
    ps_assert(request->is_taken);
    broker->driver->cancel(broker, request);
}

int broker_control_send(struct broker *broker, const char *gateway, struct broker_bytes message)
{
    if (broker->driver->control_send == NULL)
        return -ENETUNREACH;
    return broker->driver->control_send(broker, gateway, message);
}

int broker_lease_refresh(struct broker *broker, uint64_t time_to_live_ms)
{
    if (broker->driver->lease_refresh == NULL)
        return 0; /* nobody else could take it */
    return broker->driver->lease_refresh(broker, time_to_live_ms);
}

uint16_t broker_partition_count(const struct broker *broker)
{
    return broker->partition_count;
}

uint16_t broker_partition_levels(const struct broker *broker)
{
    return broker->partition_levels;
}

uint32_t broker_record_bytes_max(const struct broker *broker)
{
    return broker->record_bytes_max;
}

bool broker_may_take_back(const struct broker *broker)
{
    return broker->may_take_back;
}

bool broker_is_atomic(const struct broker *broker)
{
    return broker->is_atomic;
}

bool broker_is_healthy(const struct broker *broker)
{
    return broker->is_healthy;
}

const struct broker_counters *broker_counters(const struct broker *broker)
{
    return &broker->counters;
}

void broker_destroy(struct broker *broker)
{
    broker->driver->destroy(broker);
}

uint16_t broker_partition(const void *topic, uint32_t topic_bytes, uint16_t partition_count,
                          uint16_t levels)
{
    ps_assert(partition_count > 0);
    const char *text = topic;
    uint32_t count = 0;
    for (uint16_t level = 0; level < levels && count < topic_bytes; level++) {
        if (level > 0)
            count++; /* the separator before this level */
        const char *slash = memchr(text + count, '/', topic_bytes - count);
        count = slash != NULL ? (uint32_t)(slash - text) : topic_bytes;
    }
    if (levels == 0)
        count = topic_bytes;
    return (uint16_t)(hash_bytes(topic, count) % partition_count);
}

void broker_request_set_cancelled(struct broker_request *request)
{
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_APPEND: {
        struct broker_append *append = ps_container_of(request, struct broker_append, request);
        for (uint16_t index = 0; index < append->count; index++)
            append->results[index] = (struct broker_result){.status = BROKER_CANCELLED};
        break;
    }
    case BROKER_REQUEST_PULL: {
        struct broker_pull *pull = ps_container_of(request, struct broker_pull, request);
        pull->status = BROKER_CANCELLED;
        pull->count = 0;
        pull->removed = 0;
        pull->next = pull->from;
        pull->is_at_tail = false;
        break;
    }
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET:
        ps_container_of(request, struct broker_tail, request)->status = BROKER_CANCELLED;
        break;
    case BROKER_REQUEST_GET: {
        struct broker_get *get = ps_container_of(request, struct broker_get, request);
        for (uint16_t index = 0; index < get->count; index++)
            get->values[index] = (struct broker_value){.status = BROKER_CANCELLED};
        break;
    }
    case BROKER_REQUEST_COMMIT:
        ps_container_of(request, struct broker_commit, request)->status = BROKER_CANCELLED;
        break;
    case BROKER_REQUEST_LIST: {
        struct broker_list *list = ps_container_of(request, struct broker_list, request);
        list->status = BROKER_CANCELLED;
        list->count = 0;
        list->is_last = false;
        break;
    }
    case BROKER_REQUEST_WATCH: /* has no answer but its end */
        break;
    }
}

void broker_request_finish(struct broker_request *request)
{
    ps_assert(request->is_taken);
    request->is_taken = false;
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_APPEND: {
        struct broker_append *append = ps_container_of(request, struct broker_append, request);
        append->on_done(append);
        break;
    }
    case BROKER_REQUEST_PULL: {
        struct broker_pull *pull = ps_container_of(request, struct broker_pull, request);
        pull->on_done(pull);
        break;
    }
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET: {
        struct broker_tail *tail = ps_container_of(request, struct broker_tail, request);
        tail->on_done(tail);
        break;
    }
    case BROKER_REQUEST_GET: {
        struct broker_get *get = ps_container_of(request, struct broker_get, request);
        get->on_done(get);
        break;
    }
    case BROKER_REQUEST_COMMIT: {
        struct broker_commit *commit = ps_container_of(request, struct broker_commit, request);
        commit->on_done(commit);
        break;
    }
    case BROKER_REQUEST_LIST: {
        struct broker_list *list = ps_container_of(request, struct broker_list, request);
        list->on_done(list);
        break;
    }
    case BROKER_REQUEST_WATCH: {
        struct broker_watch *watch = ps_container_of(request, struct broker_watch, request);
        watch->on_done(watch);
        break;
    }
    }
}

void broker_queue_push(struct broker_queue *queue, struct broker_request *request)
{
    request->next = NULL;
    if (queue->last != NULL)
        queue->last->next = request;
    else
        queue->first = request;
    queue->last = request;
    queue->count++;
}

struct broker_request *broker_queue_pop(struct broker_queue *queue)
{
    struct broker_request *request = queue->first;
    if (request == NULL)
        return NULL;
    queue->first = request->next;
    if (queue->first == NULL)
        queue->last = NULL;
    request->next = NULL;
    queue->count--;
    return request;
}

bool broker_queue_remove(struct broker_queue *queue, struct broker_request *request)
{
    struct broker_request *previous = NULL;
    for (struct broker_request *at = queue->first; at != NULL; previous = at, at = at->next) {
        if (at != request)
            continue;
        if (previous != NULL)
            previous->next = at->next;
        else
            queue->first = at->next;
        if (queue->last == at)
            queue->last = previous;
        at->next = NULL;
        queue->count--;
        return true;
    }
    return false;
}
