/*
 * A session: what a ClientId owns. Its record lives in its home shard's pool while it is open or
 * being written; what a durable session is without a connection stands in the broker's key-value
 * store.
 *
 *   OPENING --accepted--> ATTACHED --connection ends--> (clean) gone
 *      ^  \--refused--> gone                       \--> (durable) SAVING --written--> gone
 *      |                                                   |
 *      +---- not in memory: the store is read              +--CONNECT--> ATTACHED
 *
 * Owner and thread: its home shard's hub.
 */
#ifndef PENSTOCK_SESSION_SESSION_H
#define PENSTOCK_SESSION_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/record.h"
#include "core/pool.h"

struct connection;
struct cursor;
struct exactly_once;
struct filter;
struct hub;
struct inbound;
struct opening;
struct resend;
struct retained_job;
struct starts;
struct stored_session;
struct table;
struct will;
struct window;

enum session_state { SESSION_OPENING, SESSION_ATTACHED, SESSION_SAVING };

enum session_flags {
    SESSION_CLEAN = 1,
    SESSION_IN_LATE = 2,           /* in one of the hub's lists of sessions that can catch up */
    SESSION_IN_RETRY = 4,          /* its connection waits for room in a mailbox */
    SESSION_INBOUND_FULL = 8,      /* its connection waits for answers to its publishes */
    SESSION_HAS_STARTS = 16,       /* subscriptions keep starts that it has not passed everywhere */
    SESSION_NOTED = 32,            /* in the list of those that checkpoint lines may have to list */
    SESSION_UNSAVED = 64,          /* its last record could not be written: to be tried again */
    SESSION_WROTE_ITSELF = 128,    /* this snapshot has no room for it: its own record says it */
    SESSION_TOLD_LOSS = 256,       /* what retention took from it was logged */
    SESSION_SUBSCRIBES_FULL = 512, /* its connection waits for answers to its SUBSCRIBEs */
    SESSION_WAITS_READ = 1024      /* SESSION_IN_LATE, and in the list of those that want a read */
};

struct session {
    struct pool_handle handle;
    uint64_t hash; /* of the client id, seeded */
    char *client_id;
    struct connection *connection; /* NULL: none */
    struct subscription *subscriptions;
    struct table
        *by_filter;         /* of its subscriptions, when there are many; NULL: the list is short */
    struct cursor *cursors; /* partitions in which it is not simply live */
    struct window *window;  /* NULL: nothing is in flight */
    struct inbound *inbound;
    struct stored_session *stored; /* durable sessions */
    struct retained_job *retained;
    struct resend *resend;
    struct exactly_once *exactly_once; /* QoS 2 steps that wait for a write; NULL: none */
    struct opening *opening;
    struct will *will;
    uint64_t generation; /* of QoS 2 packet ids; never reused within the session */
    uint64_t job;        /* the last fan-out that came to it */
    uint32_t subscription_count;
    uint32_t subscribe_jobs; /* SUBSCRIBEs whose SUBACK is due */
    uint32_t next_late; /* of this list and the next two: index + 1, so that leaving is one step */
    uint32_t previous_late;
    uint32_t next_retry;
    uint32_t previous_retry;
    uint32_t next_noted;
    uint32_t previous_noted;
    uint16_t client_id_bytes;
    uint16_t next_packet_id; /* of the next delivery; of durable sessions, at QoS 1 */
    uint8_t job_qos;         /* what that fan-out grants, or DELIVERY_DONE */
    uint8_t state;           /* enum session_state */
    uint16_t flags;
};

/* From which sequences on a subscription holds; shared by the filters of one SUBSCRIBE. */
struct starts {
    uint32_t references;
    uint32_t missing; /* owners that have not answered */
    uint64_t from[];  /* by partition; UINT64_MAX: not known yet, so nothing is delivered */
};

enum subscription_flags {
    SUBSCRIPTION_RETAINED_DUE = 1, /* as stored: `due` is not 0 */
    SUBSCRIPTION_RAISED = 2        /* granted QoS 0 until its start, and more from there */
};

struct subscription {
    struct subscription *next_of_session;
    struct subscription *previous_of_session;
    struct subscription *next_of_filter;
    struct subscription *previous_of_filter;
    struct filter *filter;
    struct starts *starts; /* NULL: every sequence that can still come */
    uint32_t session;      /* index */
    uint32_t index;        /* of this subscription, in its pool */
    uint32_t due;          /* retained_due.h: index + 1; 0: no values are due */
    uint16_t block;        /* durable sessions: the store's block that holds it */
    uint8_t qos;           /* granted */
    uint8_t flags;
};

/* A new session in state OPENING, in the hub's table. NULL: sessions_max or memory. */
struct session *session_create(struct hub *hub, const void *client_id, uint32_t bytes);

/* Gives back everything: subscriptions (and with the last one the interest), window, cursors,
 * memory. The connection, if any, is left to the caller. */
void session_destroy(struct hub *hub, struct session *session);

struct session *session_find(const struct hub *hub, const void *client_id, uint32_t bytes);

static inline bool session_is_clean(const struct session *session)
{
    return (session->flags & SESSION_CLEAN) != 0;
}

/* The session of a list's number, index + 1. */
struct session *session_at(const struct hub *hub, uint32_t number);

/* The session of a handle, or NULL when it is gone. */
struct session *session_get(const struct hub *hub, struct pool_handle handle);

/* The subscription of this session to this filter, or NULL. */
struct subscription *session_subscription(const struct session *session,
                                          const struct filter *filter);

/* Adds one (session and filter do not know each other yet); takes over a reference to `filter` and
 * acquires one to `starts`. NULL: memory is out, nothing was taken. */
struct subscription *session_subscribe(struct hub *hub, struct session *session,
                                       struct filter *filter, struct starts *starts, uint8_t qos);

/* Removes it. The filter's reference goes; when it was its last subscriber the owners are told. */
void session_unsubscribe(struct hub *hub, struct session *session,
                         struct subscription *subscription);

/* The subscription holds for everything that can still come: the session has passed its start. */
void session_forget_start(struct hub *hub, struct subscription *subscription);

/* True when a start that every owner has answered can no longer matter to the session. */
bool session_is_past_starts(const struct hub *hub, const struct session *session);

/* Its last cursor ended: forgets what starts its subscriptions have kept, if it is past them. */
void session_forget_starts(struct hub *hub, struct session *session);

struct starts *starts_create(struct hub *hub, uint64_t from);
void starts_release(struct hub *hub, struct starts *starts);

/* The QoS that the subscription grants to a record of its topic (sequence 0: relayed), or -1 while
 * the record lies before the subscription's start. */
static inline int subscription_grants(const struct subscription *subscription,
                                      const struct record *record)
{
    if (subscription->starts == NULL)
        return subscription->qos;
    uint64_t from = subscription->starts->from[record->partition];
    bool is_covered = record->sequence == 0 ? from != UINT64_MAX : record->sequence >= from;
    if (is_covered)
        return subscription->qos;
    return subscription->flags & SUBSCRIPTION_RAISED ? 0 : -1;
}

#endif
