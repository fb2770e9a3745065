/*
 * SUBSCRIBE and UNSUBSCRIBE; see subscribe.h.
 *
 *   SUBSCRIBE -> own tables -> interest at the owners -> (store) -> SUBACK -> retained values
 *   UNSUBSCRIBE -> own tables -> (store) -> UNSUBACK; the interest is dropped with the last
 * subscriber
 */
#include "session/subscribe.h"

#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "net/mqtt_topic.h"
#include "session/catch_up.h"
#include "session/delivery.h"
#include "session/exactly_once.h"
#include "session/hub.h"
#include "session/interest.h"
#include "session/retained_due.h"
#include "session/retained_job.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/sys_topics.h"

/* One SUBSCRIBE on its way; the filters with references, NULL where one was refused. */
struct subscribe_job {
    struct subscribe_job *next; /* of the hub */
    struct subscribe_job **link;
    struct pool_handle session;
    uint32_t slot; /* of the connection that asked */
    uint32_t generation;
    uint16_t packet_id;
    uint32_t count;
    struct starts *starts;
    struct filter **filters;
    struct retained_due **dues; /* a reference each; NULL where a filter was refused */
    uint8_t *codes;
    uint8_t *before; /* what each filter was granted before this SUBSCRIBE, or NOT_SUBSCRIBED */
};

enum {
    NOT_SUBSCRIBED = 0xff,
    JOBS_MAX = 16 /* of a session; beyond it the client is left unread */
};

static bool is_durable(const struct session *session)
{
    return session->stored != NULL && !session_is_clean(session);
}

/* The client has as many SUBSCRIBEs and UNSUBSCRIBEs under way as it may. */
static bool must_wait(struct session *session)
{
    if (session->subscribe_jobs < JOBS_MAX)
        return false;
    session->flags |= SESSION_SUBSCRIBES_FULL;
    return true;
}

static void let_go_on(struct hub *hub, struct session *session)
{
    if (!(session->flags & SESSION_SUBSCRIBES_FULL))
        return;
    session->flags &= (uint16_t)~SESSION_SUBSCRIBES_FULL;
    bool is_open = session->connection != NULL && session->connection->state == CONNECTION_OPEN;
    if (is_open && !hub->is_ending)
        net_resume(hub->net, session->connection);
}

static void destroy(struct hub *hub, struct subscribe_job *job)
{
    struct session *session = session_get(hub, job->session);
    if (session != NULL) {
        session->subscribe_jobs--;
        let_go_on(hub, session);
    }
    *job->link = job->next;
    if (job->next != NULL)
        job->next->link = job->link;
    for (uint32_t i = 0; i < job->count; i++) {
        if (job->dues[i] != NULL)
            retained_due_release(hub, job->dues[i]);
        if (job->filters[i] != NULL)
            filter_release(&hub->index, job->filters[i]);
    }
    starts_release(hub, job->starts);
    heap_free(hub->heap, job);
}

static struct subscribe_job *create(struct hub *hub, struct session *session, uint16_t packet_id,
                                    uint32_t count)
{
    struct subscribe_job *job =
        heap_zalloc(hub->heap, sizeof(*job) + count * (2 * sizeof(void *) + 2));
    if (job == NULL)
        return NULL;
    job->filters = (struct filter **)(job + 1);
    job->dues = (struct retained_due **)(job->filters + count);
    job->codes = (uint8_t *)(job->dues + count);
    job->before = job->codes + count;
    job->session = session->handle;
    job->slot = session->connection->slot;
    job->generation = session->connection->generation;
    job->packet_id = packet_id;
    job->count = count;
    job->starts = starts_create(hub, UINT64_MAX);
    if (job->starts == NULL) {
        heap_free(hub->heap, job);
        return NULL;
    }
    session->subscribe_jobs++;
    job->next = hub->subscribe_jobs;
    job->link = &hub->subscribe_jobs;
    if (job->next != NULL)
        job->next->link = &job->next;
    hub->subscribe_jobs = job;
    return job;
}

void subscribe_abort(struct hub *hub)
{
    while (hub->subscribe_jobs != NULL)
        destroy(hub, hub->subscribe_jobs);
}

/* The session, if the connection that asked is still its own. */
static struct session *session_of(struct hub *hub, const struct subscribe_job *job)
{
    struct session *session = session_get(hub, job->session);
    bool is_here = session != NULL && session->state == SESSION_ATTACHED &&
                   session->connection->slot == job->slot &&
                   session->connection->generation == job->generation &&
                   session->connection->state == CONNECTION_OPEN;
    return is_here ? session : NULL;
}

static void send_suback(struct hub *hub, struct session *session, const struct subscribe_job *job)
{
    const struct mqtt_codes suback = {
        .packet_id = job->packet_id,
        .codes = {job->codes, job->count},
    };
    enum mqtt_level level = session->connection->level;
    unsigned char *out = connection_reserve(hub->net, session->connection,
                                            (uint32_t)mqtt_encode_suback(&suback, level, NULL));
    if (out != NULL) {
        mqtt_encode_suback(&suback, level, out);
        net_count_sent(hub->net, MQTT_SUBACK, 1, 0);
    }
}

/* Where the session has passed the start already it need not be kept. */
static void settle_start(struct hub *hub, struct session *session, const struct subscribe_job *job,
                         struct subscription *subscription)
{
    if (subscription->starts != job->starts)
        return;
    if (session_is_past_starts(hub, session))
        session_forget_start(hub, subscription);
    else
        session->flags |= SESSION_HAS_STARTS;
}

static void finish(struct hub *hub, struct subscribe_job *job)
{
    struct session *session = session_of(hub, job);
    if (session != NULL)
        send_suback(hub, session, job);
    for (uint32_t i = 0; session != NULL && i < job->count; i++) {
        struct filter *filter = job->filters[i];
        struct subscription *subscription =
            filter == NULL ? NULL : session_subscription(session, filter);
        hub->counters.subscriptions_refused += job->codes[i] == MQTT_SUBACK_FAILURE;
        if (subscription == NULL)
            continue; /* refused, or unsubscribed meanwhile */
        settle_start(hub, session, job, subscription);
        if (job->codes[i] == MQTT_SUBACK_FAILURE)
            continue;
        retained_job_add(hub, session, job->dues[i]);
        sys_topics_greet(hub, session, filter);
    }
    destroy(hub, job);
}

/* Answers a filter with 0x80: the session has again what it had. What another SUBSCRIBE that is
 * under way may count on stays. */
static void refuse(struct hub *hub, struct subscribe_job *job, uint32_t index)
{
    job->codes[index] = MQTT_SUBACK_FAILURE;
    struct session *session = session_of(hub, job);
    struct subscription *subscription =
        session == NULL || job->filters[index] == NULL || session->subscribe_jobs > 1
            ? NULL
            : session_subscription(session, job->filters[index]);
    if (subscription == NULL)
        return;
    bool is_new = job->before[index] == NOT_SUBSCRIBED;
    if (session->stored != NULL && is_new)
        session_store_leave(session, subscription->block);
    else if (session->stored != NULL)
        session_store_mark(session, subscription->block);
    if (is_new) {
        session_unsubscribe(hub, session, subscription);
        return;
    }
    subscription->qos = job->before[index];
    if (retained_due_of(hub, subscription) == job->dues[index])
        retained_due_set(hub, subscription, NULL);
}

static void on_stored(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    struct subscribe_job *job = context;
    (void)session;
    for (uint32_t i = 0; !is_stored && i < job->count; i++)
        refuse(hub, job, i);
    /* Of several commits the first ones may have been stored: what is refused is not to be kept. */
    struct session *refused = is_stored ? NULL : session_of(hub, job);
    if (refused != NULL && refused->stored != NULL && !session_is_clean(refused))
        session_store_write_filters(hub, refused, NULL, NULL);
    finish(hub, job);
}

static void on_part(struct hub *hub, struct interest_request *request, uint32_t owner)
{
    struct subscribe_job *job = request->context;
    for (uint32_t p = owner; p < hub->partition_count; p += hub->shard->count)
        job->starts->from[p] = request->from[p];
}

/* What was stored meanwhile, for another reason, did not know the starts. */
static void mark_again(struct session *session, const struct subscribe_job *job)
{
    for (uint32_t i = 0; i < job->count; i++) {
        const struct subscription *subscription =
            job->filters[i] == NULL ? NULL : session_subscription(session, job->filters[i]);
        if (subscription != NULL)
            session_store_mark(session, subscription->block);
    }
}

static void on_interest(struct hub *hub, struct interest_request *request)
{
    struct subscribe_job *job = request->context;
    uint32_t known = 0;
    for (uint32_t i = 0; i < job->count; i++) {
        if (job->filters[i] != NULL && interest_is_refused(request, known++))
            refuse(hub, job, i);
    }
    interest_destroy(hub, request);
    /* Partitions that no filter concerns send nothing that could match. */
    for (uint32_t p = 0; p < hub->partition_count; p++) {
        if (job->starts->from[p] == UINT64_MAX)
            job->starts->from[p] = 0;
    }
    struct session *session = session_of(hub, job);
    if (session == NULL || !is_durable(session)) {
        finish(hub, job);
        return;
    }
    mark_again(session, job);
    session_store_write_filters(hub, session, on_stored, job);
}

/* The session is subscribed to the filter already. */
static void repeat(struct hub *hub, struct session *session, const struct subscribe_job *job,
                   struct subscription *subscription, uint8_t qos)
{
    /* The older start stays, but for one that granted only QoS 0 until now; it goes on at that
     * until the new start, if its own is past: what lies before that was never its. */
    if (subscription->qos == 0 && qos != 0) {
        if (subscription->starts == NULL)
            subscription->flags |= SUBSCRIPTION_RAISED;
        starts_release(hub, subscription->starts);
        subscription->starts = job->starts;
        job->starts->references++;
    }
    subscription->qos = qos;
    delivery_note_changed(hub);
    if (is_durable(session))
        session_store_mark(session, subscription->block);
}

/* A new subscription, which takes over the reference to the filter. NULL: there is no room for it,
 * nothing was taken. */
static struct subscription *enter(struct hub *hub, struct session *session,
                                  const struct subscribe_job *job, struct filter *filter,
                                  uint8_t qos)
{
    uint16_t block = 0;
    if (session->subscription_count >= hub->limits->subscriptions_max ||
        (is_durable(session) && !session_store_place(hub, session, &block)))
        return NULL;
    struct subscription *subscription = session_subscribe(hub, session, filter, job->starts, qos);
    if (subscription == NULL) {
        if (is_durable(session))
            session_store_leave(session, block);
        return NULL;
    }
    subscription->block = block;
    catch_up_on_subscribed(hub, session);
    return subscription;
}

/* Adds or changes the subscription of the job's filter at this index. Result: the SUBACK's code. */
static uint8_t subscribe_one(struct hub *hub, struct session *session, struct subscribe_job *job,
                             uint32_t index, const struct mqtt_filter *wanted)
{
    const char *text = (const char *)wanted->text.bytes;
    uint32_t bytes = wanted->text.count;
    if (bytes > hub->limits->topic_bytes_max ||
        mqtt_topic_levels(text, bytes) > hub->limits->topic_levels_max)
        return MQTT_SUBACK_FAILURE;
    struct filter *filter = NULL;
    if (filter_acquire(&hub->index, text, bytes, &filter) != 0)
        return MQTT_SUBACK_FAILURE;
    struct retained_due *due = retained_due_create(hub, filter, job->starts, 0);
    struct subscription *subscription = session_subscription(session, filter);
    uint8_t before = subscription == NULL ? NOT_SUBSCRIBED : subscription->qos;
    if (due != NULL && subscription != NULL) {
        repeat(hub, session, job, subscription, wanted->qos);
    } else if (due != NULL) {
        subscription = enter(hub, session, job, filter, wanted->qos);
        if (subscription != NULL)
            filter_retain(filter); /* the job's own reference */
    }
    if (due == NULL || subscription == NULL) {
        if (due != NULL)
            retained_due_release(hub, due);
        filter_release(&hub->index, filter);
        return MQTT_SUBACK_FAILURE;
    }
    retained_due_set(hub, subscription, due);
    job->filters[index] = filter;
    job->dues[index] = due;
    job->before[index] = before;
    return wanted->qos;
}

enum net_verdict subscribe_on_subscribe(struct hub *hub, struct session *session,
                                        const struct mqtt_filters *filters)
{
    if (must_wait(session))
        return NET_RETRY;
    struct subscribe_job *job = create(hub, session, filters->packet_id, filters->count);
    const struct filter **known =
        job == NULL ? NULL : heap_alloc(hub->heap, filters->count * sizeof(struct filter *));
    if (known == NULL) {
        if (job != NULL)
            destroy(hub, job);
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
        return NET_CLOSE;
    }
    uint32_t position = 0;
    uint32_t known_count = 0;
    struct mqtt_filter wanted;
    for (uint32_t i = 0; mqtt_filter_next(filters, &position, &wanted); i++) {
        job->codes[i] = subscribe_one(hub, session, job, i, &wanted);
        if (job->filters[i] != NULL)
            known[known_count++] = job->filters[i];
    }
    struct interest_request *request =
        known_count == 0 ? NULL : interest_create(hub, known, known_count);
    heap_free(hub->heap, known);
    if (request == NULL) {
        for (uint32_t i = 0; i < job->count; i++)
            refuse(hub, job, i);
        finish(hub, job);
        return NET_CONTINUE;
    }
    request->session = session->handle;
    request->context = job;
    request->on_part = on_part;
    request->on_done = on_interest;
    interest_send(hub, request, false);
    return NET_CONTINUE;
}

static void send_unsuback(struct hub *hub, struct connection *connection, uint16_t packet_id)
{
    unsigned char *out = connection_reserve(hub->net, connection, 4);
    if (out != NULL) {
        mqtt_encode_ack(MQTT_UNSUBACK, packet_id, out);
        net_count_sent(hub->net, MQTT_UNSUBACK, 1, 0);
    }
}

static void on_removed(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    struct subscribe_job *job = context;
    (void)session;
    struct session *asking = session_of(hub, job);
    if (asking != NULL && is_stored && asking->exactly_once != NULL) /* deliveries are before it */
        exactly_once_take(hub, asking, EXACTLY_ONCE_UNSUBACK, job->packet_id, NULL);
    else if (asking != NULL && is_stored)
        send_unsuback(hub, asking->connection, job->packet_id);
    else if (asking != NULL) /* 3.1.1 has no way to say that it failed */
        connection_close(hub->net, asking->connection, CONNECTION_CLOSED_LIMIT);
    destroy(hub, job);
}

enum net_verdict subscribe_on_unsubscribe(struct hub *hub, struct session *session,
                                          const struct mqtt_filters *filters)
{
    if (must_wait(session))
        return NET_RETRY;
    uint32_t position = 0;
    struct mqtt_filter unwanted;
    while (mqtt_filter_next(filters, &position, &unwanted)) {
        struct filter *filter =
            filter_find(&hub->index, (const char *)unwanted.text.bytes, unwanted.text.count);
        struct subscription *subscription =
            filter == NULL ? NULL : session_subscription(session, filter);
        if (subscription == NULL)
            continue;
        if (is_durable(session))
            session_store_leave(session, subscription->block);
        retained_job_forget(hub, session, filter);
        session_unsubscribe(hub, session, subscription);
    }
    if (!is_durable(session)) {
        send_unsuback(hub, session->connection, filters->packet_id);
        return NET_CONTINUE;
    }
    struct subscribe_job *job = create(hub, session, filters->packet_id, 0);
    if (job == NULL) {
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
        return NET_CLOSE;
    }
    session_store_write_filters(hub, session, on_removed, job);
    return NET_CONTINUE;
}
