/*
 * Requests on their way; see slow_broker.h. A handle's requests arrive in the order in which they
 * were made. Pulls that wait, trims and the rest are not delayed: nobody's life hangs on them.
 */
#include "sim/slow_broker.h"

#include <stdlib.h>

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "sim/network.h"

struct slow_request {
    struct slow_request *next;
    struct broker_request *request;
    uint64_t due_ns;
};

/* One write of a commit of several. */
struct single_write {
    struct single_write *next;
    struct single_write **link;
    struct broker_commit *whole;
    bool is_last;
    struct broker_commit commit;
};

/* The handles of the gateway that runs on this thread, and what the memory driver would do. */
static _Thread_local struct slow_brokers *current;
static _Thread_local const struct broker_driver *inner;

static uint32_t shard_of(const struct broker *broker)
{
    return broker->options.shard_index;
}

static int send_off(struct broker *broker, struct broker_request *request)
{
    uint32_t shard = shard_of(broker);
    struct slow_request *sent = malloc(sizeof(*sent));
    ps_assert(sent != NULL && current->handles[shard].broker == broker);
    struct slow_request *last = current->handles[shard].last;
    uint64_t due_ns = sim_world_now_ns(current->world) +
                      random_below(&current->random, current->delay_max_ns + 1);
    *sent = (struct slow_request){
        .request = request,
        .due_ns = last == NULL ? due_ns : ps_max_u64(due_ns, last->due_ns),
    };
    if (last == NULL)
        current->handles[shard].first = sent;
    else
        last->next = sent;
    current->handles[shard].last = sent;
    return 0;
}

static bool is_too_large(const struct broker_commit *commit)
{
    for (uint32_t i = 0; i < commit->count; i++) {
        if (broker_commit_write(commit, i)->value.count > current->value_bytes_max)
            return current->value_bytes_max != 0;
    }
    return false;
}

/* Answers a request that the driver is not to see. False: it is. */
static bool is_answered(struct broker_request *request)
{
    struct broker_pull *pull = ps_container_of(request, struct broker_pull, request);
    struct broker_list *list = ps_container_of(request, struct broker_list, request);
    struct broker_commit *commit = ps_container_of(request, struct broker_commit, request);
    bool is_pull = request->kind == BROKER_REQUEST_PULL;
    if (request->kind == BROKER_REQUEST_COMMIT && is_too_large(commit)) {
        commit->status = BROKER_FULL;
    } else if (current->fails_reads && is_pull) {
        pull->status = BROKER_UNKNOWN;
        pull->count = 0;
        pull->removed = 0;
        pull->next = pull->from;
    } else if (current->fails_reads && request->kind == BROKER_REQUEST_LIST) {
        list->status = BROKER_UNKNOWN;
        list->count = 0;
    } else {
        return false;
    }
    current->reads += request->kind != BROKER_REQUEST_COMMIT;
    broker_request_finish(request);
    return true;
}

/* Hands a request on. */
static int arrive(struct broker *broker, struct broker_request *request)
{
    switch ((enum broker_request_kind)request->kind) {
    case BROKER_REQUEST_APPEND:
        return inner->append(broker, ps_container_of(request, struct broker_append, request));
    case BROKER_REQUEST_PULL:
        return inner->pull(broker, ps_container_of(request, struct broker_pull, request));
    case BROKER_REQUEST_TAIL:
        return inner->tail(broker, ps_container_of(request, struct broker_tail, request));
    case BROKER_REQUEST_GET:
        return inner->get(broker, ps_container_of(request, struct broker_get, request));
    case BROKER_REQUEST_COMMIT:
        current->commits++;
        current->writes += ps_container_of(request, struct broker_commit, request)->count;
        return inner->commit(broker, ps_container_of(request, struct broker_commit, request));
    case BROKER_REQUEST_LIST:
        return inner->list(broker, ps_container_of(request, struct broker_list, request));
    case BROKER_REQUEST_CHANNEL_SET:
    case BROKER_REQUEST_WATCH:
        break;
    }
    ps_assert(false); /* is not delayed */
    return 0;
}

static bool is_kept(const struct broker_request *request)
{
    bool is_of_keys = request->kind == BROKER_REQUEST_GET ||
                      request->kind == BROKER_REQUEST_COMMIT ||
                      request->kind == BROKER_REQUEST_LIST;
    return current->keeps_keys && is_of_keys;
}

static void find_last(uint32_t shard)
{
    struct slow_request *last = current->handles[shard].first;
    while (last != NULL && last->next != NULL)
        last = last->next;
    current->handles[shard].last = last;
}

static bool turn(struct broker *broker, uint64_t now_ns, uint64_t wall_ms)
{
    uint32_t shard = shard_of(broker);
    struct slow_request **link = &current->handles[shard].first;
    while (*link != NULL && !current->is_stalled) {
        struct slow_request *sent = *link;
        if (is_kept(sent->request)) {
            link = &sent->next;
            continue;
        }
        if (sent->due_ns > now_ns)
            break;
        *link = sent->next;
        if (sent->next == NULL)
            find_last(shard); /* what calls back may ask for more */
        if (!is_answered(sent->request) && arrive(broker, sent->request) != 0) {
            *link = sent;
            break;
        }
        free(sent);
    }
    find_last(shard);
    return inner->turn(broker, now_ns, wall_ms);
}

static int append(struct broker *broker, struct broker_append *request)
{
    return send_off(broker, &request->request);
}

/* Of every channel: they have one callback. */
static _Thread_local void (*on_channel)(struct broker_pull *pull);

static void on_channel_pulled(struct broker_pull *pull)
{
    pull->removed += current->channel_removed;
    current->channel_removed = 0;
    on_channel(pull);
}

static int pull(struct broker *broker, struct broker_pull *request)
{
    if (!request->wait)
        return send_off(broker, &request->request);
    on_channel = request->on_done;
    request->on_done = on_channel_pulled;
    return inner->pull(broker, request);
}

static int tail(struct broker *broker, struct broker_tail *request)
{
    return send_off(broker, &request->request);
}

static int get(struct broker *broker, struct broker_get *request)
{
    return send_off(broker, &request->request);
}

static void free_single(struct single_write *single)
{
    *single->link = single->next;
    if (single->next != NULL)
        single->next->link = single->link;
    free(single);
}

/* The commit fails with the first of its writes that does; the others stand. */
static void on_single(struct broker_commit *commit)
{
    struct single_write *single = ps_container_of(commit, struct single_write, commit);
    struct broker_commit *whole = single->whole;
    if (whole->status == BROKER_OK)
        whole->status = commit->status;
    bool is_last = single->is_last;
    free_single(single);
    if (is_last)
        broker_request_finish(&whole->request);
}

static void send_off_singly(struct broker *broker, struct broker_commit *whole)
{
    struct single_write **first = &current->handles[shard_of(broker)].singles;
    whole->status = BROKER_OK;
    for (uint32_t i = 0; i < whole->count; i++) {
        struct single_write *single = calloc(1, sizeof(*single));
        ps_assert(single != NULL);
        single->whole = whole;
        single->is_last = i + 1U == whole->count;
        single->commit.on_done = on_single;
        single->commit.count = 1;
        single->commit.writes[0] = *broker_commit_write(whole, i);
        single->commit.request.kind = BROKER_REQUEST_COMMIT;
        single->commit.request.is_taken = true;
        single->next = *first;
        single->link = first;
        if (single->next != NULL)
            single->next->link = &single->next;
        *first = single;
        send_off(broker, &single->commit.request);
    }
}

static int commit(struct broker *broker, struct broker_commit *request)
{
    if (!current->writes_singly)
        return send_off(broker, &request->request);
    send_off_singly(broker, request);
    return 0;
}

static int list(struct broker *broker, struct broker_list *request)
{
    return send_off(broker, &request->request);
}

static void hold(struct broker *broker, uint16_t partition, uint64_t needed_from,
                 uint64_t wanted_from)
{
    (void)broker;
    ps_assert(partition < SLOW_PARTITIONS_MAX);
    current->holds[partition].needed_from = needed_from;
    current->holds[partition].wanted_from = wanted_from;
    current->holds[partition].count++;
}

void slow_brokers_add(struct slow_brokers *brokers, uint32_t shard, struct broker *broker)
{
    static _Thread_local struct broker_driver slow;
    brokers->handles[shard].broker = broker;
    if (brokers->delay_max_ns == 0)
        return;
    inner = broker->driver == &slow ? inner : broker->driver;
    current = brokers;
    slow = *inner;
    slow.turn = turn;
    slow.append = append;
    slow.pull = pull;
    slow.tail = tail;
    slow.get = get;
    slow.commit = commit;
    slow.list = list;
    slow.hold = hold;
    broker->driver = &slow;
    if (brokers->writes_singly)
        broker->is_atomic = false;
}

void slow_brokers_end(struct slow_brokers *brokers)
{
    for (uint32_t shard = 0; shard < SLOW_BROKERS_MAX; shard++) {
        while (brokers->handles[shard].first != NULL) {
            struct slow_request *sent = brokers->handles[shard].first;
            brokers->handles[shard].first = sent->next;
            free(sent);
        }
        while (brokers->handles[shard].singles != NULL)
            free_single(brokers->handles[shard].singles);
        brokers->handles[shard].last = NULL;
        brokers->handles[shard].broker = NULL;
    }
}

uint64_t slow_brokers_due_ns(const struct slow_brokers *brokers, uint32_t shard)
{
    const struct slow_request *first = brokers->handles[shard].first;
    while (first != NULL && is_kept(first->request))
        first = first->next;
    return first == NULL || brokers->is_stalled ? UINT64_MAX : first->due_ns;
}
