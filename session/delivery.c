/*
 * Delivery; see delivery.h. The ledger: matched = queued + turned late + dropped, per delivery.
 *
 * Where several filters match, two passes over their subscribers find each session's highest QoS
 * without memory: the first stamps the session with the job's number and raises its QoS, the second
 * delivers. The stamp stays and says that the session has had this record.
 */
#include "session/delivery.h"

#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "net/mqtt_topic.h"
#include "session/catch_up.h"
#include "session/exactly_once.h"
#include "session/hub.h"
#include "session/progress.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/window.h"

enum {
    FAN_OUT_PER_TURN = 16384,   /* subscribers looked at before the shard does its other work */
    REFERENCE_BYTES_MIN = 2048, /* payloads from here on are borrowed, not copied */
    MATCH_DIRECT_MAX = 8        /* subscriptions that are matched one by one */
};

/* A hand-over: which filters match, which pass, and the next subscriber. One that goes on in
 * another turn has the filters, with references, behind it. */
struct fan_out {
    struct record *record;
    uint64_t position; /* in the recent ring; 0: not there */
    struct subscription *next;
    struct filter *exact; /* NULL, or the first of the filters; the patterns are the others */
    struct filter *const *patterns;
    uint32_t filter_index;
    uint32_t filter_count;
    uint32_t pass;
    bool is_outdated; /* a subscription went or changed: what the first pass granted may not hold */
    struct filter *filters[];
};

static struct filter *filter_at(const struct fan_out *job, uint32_t index)
{
    if (job->exact == NULL)
        return job->patterns[index];
    return index == 0 ? job->exact : job->patterns[index - 1];
}

bool delivery_may_queue(const struct hub *hub, const struct session *session,
                        const struct record *record)
{
    uint32_t unsent = connection_unsent_bytes(hub->net, session->connection);
    return unsent == 0 || unsent + record->topic_bytes + record->payload_bytes + 16 <=
                              hub->limits->pending_bytes_max;
}

bool delivery_is_open(const struct hub *hub, const struct session *session)
{
    return session->state == SESSION_ATTACHED && session->resend == NULL &&
           session->connection->state == CONNECTION_OPEN &&
           window_count(session->window) < hub->limits->window_max &&
           connection_unsent_bytes(hub->net, session->connection) < hub->limits->pending_bytes_max;
}

bool delivery_write(struct hub *hub, struct session *session, struct record *record, uint8_t qos,
                    uint16_t packet_id, uint8_t flags)
{
    struct connection *connection = session->connection;
    const struct mqtt_publish publish = {
        .qos = qos,
        .is_dup = (flags & DELIVERY_DUP) != 0,
        .is_retain = (flags & DELIVERY_RETAIN) != 0,
        .packet_id = packet_id,
        .topic = {record_topic(record), record->topic_bytes},
        .payload = {record_payload(record), record->payload_bytes},
    };
    enum mqtt_level level = connection->level;
    uint32_t head_bytes = (uint32_t)mqtt_encode_publish_head(&publish, level, NULL);
    bool is_copied = record->payload_bytes < REFERENCE_BYTES_MIN;
    uint32_t bytes = head_bytes + (is_copied ? record->payload_bytes : 0);
    unsigned char *out = connection_reserve(hub->net, connection, bytes);
    if (ps_unlikely(out == NULL))
        return false;
    mqtt_encode_publish_head(&publish, level, out);
    net_count_sent(hub->net, MQTT_PUBLISH, 1, record->payload_bytes);
    if (is_copied) {
        memcpy(out + head_bytes, record_payload(record), record->payload_bytes);
        return true;
    }
    return connection_write_reference(hub->net, connection, record_payload(record),
                                      record->payload_bytes, record_acquire(record));
}

bool delivery_send(struct hub *hub, struct session *session, struct record *record, uint8_t qos,
                   uint64_t due)
{
    uint16_t *next_packet_id = qos == 2 && session->stored != NULL
                                   ? &session->stored->next_packet_id
                                   : &session->next_packet_id;
    struct window_entry *entry = window_take(hub->heap, &session->window, next_packet_id);
    if (entry == NULL)
        return false;
    if (due != 0 &&
        !window_set_topic(hub->heap, entry, due, record_topic(record), record->topic_bytes)) {
        window_release(hub->heap, session->window, entry);
        return false;
    }
    entry->partition = record->partition;
    entry->sequence = record->sequence;
    entry->qos = qos;
    hub->counters.in_flight++;
    progress_note(hub, session);
    /* QoS 1 behind a QoS 2 that waits keeps its place. */
    if (qos == 2 || session->exactly_once != NULL)
        exactly_once_take(hub, session, EXACTLY_ONCE_PUBLISH, entry->packet_id,
                          record_acquire(record));
    else
        delivery_write(hub, session, record, qos, entry->packet_id, due != 0 ? DELIVERY_RETAIN : 0);
    return true;
}

/* QoS 0: written or dropped, never waited for. */
static void deliver_at_most_once(struct hub *hub, struct session *session, struct record *record)
{
    if (!delivery_may_queue(hub, session, record)) {
        hub->counters.dropped[HUB_DROP_PENDING]++;
        return;
    }
    bool is_overloaded = net_overload(hub->net) >= OVERLOAD_DROP;
    if (is_overloaded && connection_is_blocked(session->connection)) {
        hub->counters.dropped[HUB_DROP_OVERLOAD]++;
        return;
    }
    if (delivery_write(hub, session, record, 0, 0, 0))
        hub->counters.queued[0]++;
    else
        hub->counters.dropped[HUB_DROP_MEMORY]++;
}

/* One delivery at the session's QoS for this record. */
static void deliver(struct hub *hub, struct session *session, struct record *record,
                    uint8_t granted, uint64_t position)
{
    uint8_t qos = (uint8_t)ps_min_u32(record_qos(record), granted);
    if (session->state != SESSION_ATTACHED || session->connection->state != CONNECTION_OPEN) {
        /* Its subscriptions outlive its connection by a moment; QoS > 0 stays behind a cursor. */
        if (qos != 0 && catch_up_admit(hub, session, record) == CATCH_UP_LIVE)
            catch_up_turn_late(hub, session, record, position);
        return;
    }
    if (qos == 0) {
        hub->counters.matched++;
        deliver_at_most_once(hub, session, record);
        return;
    }
    switch (catch_up_admit(hub, session, record)) {
    case CATCH_UP_SKIP: /* it has it already */
        return;
    case CATCH_UP_LATE: /* its cursor will come to it */
        hub->counters.matched++;
        hub->counters.turned_late++;
        return;
    case CATCH_UP_LIVE:
        break;
    }
    hub->counters.matched++;
    if (delivery_is_open(hub, session) && delivery_send(hub, session, record, qos, 0)) {
        hub->counters.queued[qos]++;
        return;
    }
    hub->counters.turned_late++;
    catch_up_turn_late(hub, session, record, position);
}

static void visit(struct hub *hub, const struct fan_out *job, struct subscription *subscription,
                  uint32_t filter_count)
{
    struct session *session = pool_at(&hub->session_pool, subscription->session);
    if (filter_count == 1 || job->pass == 0) {
        int granted = subscription_grants(subscription, job->record);
        if (granted < 0)
            return;
        if (session->job != hub->job || granted > session->job_qos)
            session->job_qos = (uint8_t)granted;
        session->job = hub->job;
    }
    if (filter_count > 1 && job->pass == 0)
        return;
    if (session->job != hub->job || session->job_qos == DELIVERY_DONE)
        return;
    int granted = session->job_qos;
    if (ps_unlikely(job->is_outdated))
        granted = delivery_granted(hub, session, job->record);
    session->job_qos = DELIVERY_DONE;
    if (granted >= 0)
        deliver(hub, session, job->record, (uint8_t)granted, job->position);
}

/* Goes on until the job is done (true) or `*budget` is used up. */
static bool run(struct hub *hub, struct fan_out *job, uint32_t *budget)
{
    uint32_t passes = job->filter_count > 1 ? 2 : 1;
    while (job->pass < passes) {
        while (job->filter_index < job->filter_count) {
            while (job->next != NULL) {
                if (*budget == 0)
                    return false;
                (*budget)--;
                struct subscription *subscription = job->next;
                job->next = subscription->next_of_filter;
                visit(hub, job, subscription, job->filter_count);
            }
            job->filter_index++;
            if (job->filter_index < job->filter_count)
                job->next = filter_at(job, job->filter_index)->subscribers;
        }
        job->pass++;
        job->filter_index = 0;
        job->next = filter_at(job, 0)->subscribers;
    }
    return true;
}

static void finish(struct hub *hub, struct record *record)
{
    if (record->sequence != 0 && record->sequence > hub->floors[record->partition])
        hub->floors[record->partition] = record->sequence;
    record_release(hub->heap, record);
}

/* Keeps an unfinished hand-over for the next turn. Without memory it is finished in this one. */
static bool keep(struct hub *hub, const struct fan_out *job)
{
    struct fan_out *kept =
        heap_alloc(hub->heap, sizeof(*kept) + job->filter_count * sizeof(struct filter *));
    if (kept == NULL) {
        uint32_t budget = UINT32_MAX;
        struct fan_out rest = *job;
        run(hub, &rest, &budget);
        return false;
    }
    *kept = *job;
    for (uint32_t i = 0; i < job->filter_count; i++) {
        kept->filters[i] = filter_at(job, i);
        filter_retain(kept->filters[i]);
    }
    kept->exact = NULL;
    kept->patterns = kept->filters;
    hub->fan_out = kept;
    return true;
}

bool delivery_handover(struct hub *hub, struct record *record)
{
    ps_assert(hub->fan_out == NULL);
    hub->counters.handovers++;
    struct topic *topic = topic_resolve(&hub->index, (const char *)record_topic(record),
                                        record->topic_bytes, record->topic_hash);
    uint32_t count = topic->pattern_count + (topic->exact != NULL);
    if (count == 0) {
        finish(hub, record);
        return true;
    }
    struct fan_out job = {
        .record = record,
        .exact = topic->exact,
        .patterns = topic->patterns,
        .filter_count = count,
    };
    job.next = filter_at(&job, 0)->subscribers;
    if (record_qos(record) != 0 && record->sequence != 0)
        job.position = recent_push(&hub->recent, record, topic);
    hub->job++;
    bool is_done = run(hub, &job, &hub->fan_out_left) || !keep(hub, &job);
    if (is_done)
        finish(hub, record);
    return is_done;
}

static void end_job(struct hub *hub)
{
    struct fan_out *job = hub->fan_out;
    hub->fan_out = NULL;
    for (uint32_t i = 0; i < job->filter_count; i++)
        filter_release(&hub->index, job->filters[i]);
    finish(hub, job->record);
    heap_free(hub->heap, job);
}

bool delivery_continue(struct hub *hub)
{
    uint32_t fan_out_max = hub->limits->fan_out_max;
    hub->fan_out_left = fan_out_max == 0 ? FAN_OUT_PER_TURN : fan_out_max;
    if (hub->fan_out == NULL)
        return true;
    if (!run(hub, hub->fan_out, &hub->fan_out_left))
        return false;
    end_job(hub);
    return true;
}

void delivery_forget(struct hub *hub, const struct subscription *subscription)
{
    if (hub->fan_out != NULL && hub->fan_out->next == subscription)
        hub->fan_out->next = subscription->next_of_filter;
    delivery_note_changed(hub);
}

void delivery_note_changed(struct hub *hub)
{
    if (hub->fan_out != NULL)
        hub->fan_out->is_outdated = true;
}

uint64_t delivery_floor(const struct hub *hub, const struct session *session, uint16_t partition)
{
    const struct fan_out *job = hub->fan_out;
    bool has_had = job != NULL && job->record->partition == partition &&
                   job->record->sequence > hub->floors[partition] && session->job == hub->job &&
                   session->job_qos == DELIVERY_DONE;
    return has_had ? job->record->sequence : hub->floors[partition];
}

void delivery_note_had(struct hub *hub, struct session *session, const struct record *record)
{
    if (ps_likely(hub->fan_out == NULL || hub->fan_out->record != record))
        return;
    session->job = hub->job;
    session->job_qos = DELIVERY_DONE;
}

void delivery_abort(struct hub *hub)
{
    if (hub->fan_out != NULL)
        end_job(hub);
}

/* Whether one subscription's filter matches, by text. */
static bool matches(const struct subscription *subscription, const struct record *record)
{
    const struct filter *filter = subscription->filter;
    if (!filter->is_pattern)
        return filter->bytes == record->topic_bytes &&
               memcmp(filter->text, record_topic(record), filter->bytes) == 0;
    return mqtt_topic_matches(filter->text, filter->bytes, record_topic(record),
                              record->topic_bytes);
}

static int raise_granted(int granted, const struct subscription *subscription,
                         const struct record *record)
{
    int own = subscription_grants(subscription, record);
    return own > granted ? own : granted;
}

/* Through the topic's filters, for sessions with many subscriptions. */
static int granted_by_topic(struct hub *hub, const struct session *session,
                            const struct record *record)
{
    int granted = -1;
    struct topic *topic = topic_resolve(&hub->index, (const char *)record_topic(record),
                                        record->topic_bytes, record->topic_hash);
    for (uint32_t i = 0; i < topic->pattern_count + 1; i++) {
        struct filter *filter = i == 0 ? topic->exact : topic->patterns[i - 1];
        struct subscription *subscription =
            filter == NULL ? NULL : session_subscription(session, filter);
        if (subscription != NULL)
            granted = raise_granted(granted, subscription, record);
    }
    return granted;
}

int delivery_granted(struct hub *hub, const struct session *session, const struct record *record)
{
    if (session->subscription_count > MATCH_DIRECT_MAX)
        return granted_by_topic(hub, session, record);
    int granted = -1;
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        if (matches(subscription, record))
            granted = raise_granted(granted, subscription, record);
    }
    return granted;
}
