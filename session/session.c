/*
 * Sessions and their subscriptions; see session.h.
 */
#include "session/session.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/table.h"
#include "session/catch_up.h"
#include "session/delivery.h"
#include "session/exactly_once.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/interest.h"
#include "session/opening.h"
#include "session/progress.h"
#include "session/resend.h"
#include "session/retained_due.h"
#include "session/retained_job.h"
#include "session/session_store.h"
#include "session/will.h"
#include "session/window.h"

struct client_key {
    const void *bytes;
    uint32_t count;
};

static bool matches_client(const void *item, const void *key)
{
    const struct session *session = item;
    const struct client_key *client = key;
    return session->client_id_bytes == client->count &&
           memcmp(session->client_id, client->bytes, client->count) == 0;
}

struct session *session_find(const struct hub *hub, const void *client_id, uint32_t bytes)
{
    const struct client_key key = {client_id, bytes};
    uint64_t hash = topic_index_hash(&hub->index, client_id, bytes);
    return table_find(&hub->sessions, hash, matches_client, &key);
}

struct session *session_create(struct hub *hub, const void *client_id, uint32_t bytes)
{
    struct pool_handle handle;
    struct session *session = pool_acquire(&hub->session_pool, &handle);
    if (session == NULL)
        return NULL;
    session->handle = handle;
    session->hash = topic_index_hash(&hub->index, client_id, bytes);
    session->client_id = heap_alloc(hub->heap, bytes + 1);
    if (session->client_id == NULL || table_insert(&hub->sessions, session->hash, session) != 0) {
        heap_free(hub->heap, session->client_id);
        pool_release(&hub->session_pool, handle.index);
        return NULL;
    }
    memcpy(session->client_id, client_id, bytes);
    session->client_id[bytes] = '\0';
    session->client_id_bytes = (uint16_t)bytes;
    session->state = SESSION_OPENING;
    hub->counters.sessions++;
    return session;
}

struct session *session_get(const struct hub *hub, struct pool_handle handle)
{
    return pool_get(&hub->session_pool, handle);
}

struct session *session_at(const struct hub *hub, uint32_t number)
{
    return pool_at(&hub->session_pool, number - 1);
}

static void leave_retry_list(struct hub *hub, struct session *session)
{
    if (!(session->flags & SESSION_IN_RETRY))
        return;
    if (session->previous_retry == 0)
        hub->retry_first = session->next_retry;
    else
        session_at(hub, session->previous_retry)->next_retry = session->next_retry;
    if (session->next_retry != 0)
        session_at(hub, session->next_retry)->previous_retry = session->previous_retry;
    session->flags &= (uint16_t)~SESSION_IN_RETRY;
}

void session_destroy(struct hub *hub, struct session *session)
{
    catch_up_unschedule(hub, session);
    leave_retry_list(hub, session);
    progress_forget(hub, session);
    catch_up_clear(hub, session);
    resend_abort(hub, session);
    exactly_once_detach(hub, session);
    retained_job_abort(hub, session);
    while (session->subscriptions != NULL)
        session_unsubscribe(hub, session, session->subscriptions);
    hub->counters.in_flight -= window_count(session->window);
    hub->counters.returned += window_count(session->window);
    window_destroy(hub->heap, session->window);
    inbound_destroy(hub, session);
    session_store_destroy(hub, session);
    will_destroy(hub, session->will);
    bool was_there = table_remove(&hub->sessions, session->hash, session);
    ps_assert(was_there);
    heap_free(hub->heap, session->client_id);
    pool_release(&hub->session_pool, session->handle.index);
    hub->counters.sessions--;
}

struct starts *starts_create(struct hub *hub, uint64_t from)
{
    struct starts *starts =
        heap_alloc(hub->heap, sizeof(*starts) + hub->partition_count * sizeof(uint64_t));
    if (starts == NULL)
        return NULL;
    starts->references = 1;
    starts->missing = 0;
    for (uint32_t p = 0; p < hub->partition_count; p++)
        starts->from[p] = from;
    return starts;
}

void starts_release(struct hub *hub, struct starts *starts)
{
    if (starts != NULL && --starts->references == 0)
        heap_free(hub->heap, starts);
}

void session_forget_start(struct hub *hub, struct subscription *subscription)
{
    starts_release(hub, subscription->starts);
    subscription->starts = NULL;
    subscription->flags &= (uint8_t)~SUBSCRIPTION_RAISED;
}

bool session_is_past_starts(const struct hub *hub, const struct session *session)
{
    return session->cursors == NULL && hub->late_partitions == 0;
}

void session_forget_starts(struct hub *hub, struct session *session)
{
    bool is_due = (session->flags & SESSION_HAS_STARTS) && session->subscribe_jobs == 0 &&
                  session_is_past_starts(hub, session);
    if (!is_due)
        return;
    session->flags &= (uint16_t)~SESSION_HAS_STARTS;
    struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session)
        session_forget_start(hub, subscription);
}

/* A list of so many is walked; a session with more has a table beside it. */
enum { SUBSCRIPTIONS_FEW = 32 };

static uint64_t hash_of(const struct filter *filter)
{
    return hash_bytes(&filter, sizeof(filter));
}

static bool is_to_filter(const void *item, const void *key)
{
    const struct subscription *subscription = item;
    return subscription->filter == key;
}

static void drop_table(struct hub *hub, struct session *session)
{
    if (session->by_filter == NULL)
        return;
    table_deinit(session->by_filter);
    heap_free(hub->heap, session->by_filter);
    session->by_filter = NULL;
}

/* Enters a new subscription, and with the first one too many all of them. Without memory there is
 * no table, which costs time only; the next subscription tries again. */
static void enter_table(struct hub *hub, struct session *session, struct subscription *subscription)
{
    bool is_new = session->by_filter == NULL;
    if (is_new && session->subscription_count <= SUBSCRIPTIONS_FEW)
        return;
    if (is_new)
        session->by_filter = heap_alloc(hub->heap, sizeof(struct table));
    if (session->by_filter == NULL)
        return;
    if (is_new)
        table_init(session->by_filter, hub->heap);
    struct subscription *next = is_new ? session->subscriptions : subscription;
    int status = 0;
    while (status == 0 && next != NULL) {
        status = table_insert(session->by_filter, hash_of(next->filter), next);
        next = is_new ? next->next_of_session : NULL;
    }
    if (status != 0)
        drop_table(hub, session);
}

static void leave_table(struct hub *hub, struct session *session, struct subscription *subscription)
{
    if (session->by_filter == NULL)
        return;
    if (session->subscription_count <= SUBSCRIPTIONS_FEW / 2)
        drop_table(hub, session);
    else
        table_remove(session->by_filter, hash_of(subscription->filter), subscription);
}

struct subscription *session_subscription(const struct session *session,
                                          const struct filter *filter)
{
    if (session->by_filter != NULL)
        return table_find(session->by_filter, hash_of(filter), is_to_filter, filter);
    /* The shorter of the two lists that the subscription stands in. */
    if (filter->subscriber_count < session->subscription_count) {
        struct subscription *subscription = filter->subscribers;
        while (subscription != NULL && subscription->session != session->handle.index)
            subscription = subscription->next_of_filter;
        return subscription;
    }
    struct subscription *subscription = session->subscriptions;
    while (subscription != NULL && subscription->filter != filter)
        subscription = subscription->next_of_session;
    return subscription;
}

struct subscription *session_subscribe(struct hub *hub, struct session *session,
                                       struct filter *filter, struct starts *starts, uint8_t qos)
{
    struct pool_handle handle;
    struct subscription *subscription = pool_acquire(&hub->subscription_pool, &handle);
    if (subscription == NULL)
        return NULL;
    subscription->index = handle.index;
    subscription->session = session->handle.index;
    subscription->filter = filter;
    subscription->starts = starts;
    if (starts != NULL)
        starts->references++;
    subscription->qos = qos;
    subscription->next_of_session = session->subscriptions;
    if (session->subscriptions != NULL)
        session->subscriptions->previous_of_session = subscription;
    session->subscriptions = subscription;
    session->subscription_count++;
    enter_table(hub, session, subscription);
    struct subscription *first = filter->subscribers;
    subscription->next_of_filter = first;
    if (first != NULL)
        first->previous_of_filter = subscription;
    filter->subscribers = subscription;
    if (filter->subscriber_count++ == 0)
        topic_index_activate(&hub->index, filter);
    hub->counters.subscriptions++;
    return subscription;
}

static void leave_filter(struct hub *hub, struct subscription *subscription)
{
    struct filter *filter = subscription->filter;
    if (subscription->previous_of_filter == NULL)
        filter->subscribers = subscription->next_of_filter;
    else
        subscription->previous_of_filter->next_of_filter = subscription->next_of_filter;
    if (subscription->next_of_filter != NULL)
        subscription->next_of_filter->previous_of_filter = subscription->previous_of_filter;
    if (--filter->subscriber_count == 0) {
        topic_index_deactivate(&hub->index, filter);
        interest_drop(hub, filter);
    }
    filter_release(&hub->index, filter);
}

void session_unsubscribe(struct hub *hub, struct session *session,
                         struct subscription *subscription)
{
    delivery_forget(hub, subscription);
    if (subscription->previous_of_session == NULL)
        session->subscriptions = subscription->next_of_session;
    else
        subscription->previous_of_session->next_of_session = subscription->next_of_session;
    if (subscription->next_of_session != NULL)
        subscription->next_of_session->previous_of_session = subscription->previous_of_session;
    session->subscription_count--;
    leave_table(hub, session, subscription);
    retained_due_set(hub, subscription, NULL);
    leave_filter(hub, subscription);
    starts_release(hub, subscription->starts);
    pool_release(&hub->subscription_pool, subscription->index);
    hub->counters.subscriptions--;
}
