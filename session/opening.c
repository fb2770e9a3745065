/*
 * Opening and closing of sessions; see opening.h.
 *
 *   CONNECT -> checks -> (password) -> older connection goes -> store is read -> (will is written)
 *           -> interest of a resumed session -> CONNACK
 */
#include "session/opening.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/log.h"
#include "net/mqtt_encode.h"
#include "net/mqtt_topic.h"
#include "session/authorizer.h"
#include "session/catch_up.h"
#include "session/exactly_once.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/interest.h"
#include "session/progress.h"
#include "session/resend.h"
#include "session/retained_due.h"
#include "session/retained_job.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/will.h"
#include "session/window.h"

struct opening {
    struct connection *connection; /* NULL: it went away while we waited */
    struct will *will;
    uint16_t keepalive_seconds;
    uint8_t writes; /* under way */
    bool is_failed; /* one of them */
    bool is_clean;
    bool is_session_present;
};

static void log_refusal(const struct hub *hub, const struct connection *connection,
                        const struct mqtt_bytes *client_id, enum hub_refusal reason)
{
    static const char *const names[HUB_REFUSALS] = {
        [HUB_REFUSED_CLIENT_ID] = "client_id",     [HUB_REFUSED_UNAVAILABLE] = "unavailable",
        [HUB_REFUSED_CONNECTIONS] = "connections", [HUB_REFUSED_OVERLOAD] = "overload",
        [HUB_REFUSED_CREDENTIALS] = "credentials", [HUB_REFUSED_NOT_AUTHORIZED] = "not_authorized",
    };
    if (hub->log == NULL || !log_is_enabled(hub->log, LOG_DEBUG))
        return;
    char peer[CONNECTION_PEER_BYTES];
    char quoted[160];
    connection_format_peer(hub->net, connection, peer);
    log_write(hub->log, LOG_DEBUG, "connect_refused", "reason=%s peer=%s client_id=%s",
              names[reason], peer,
              log_quote(quoted, sizeof(quoted), client_id->bytes, client_id->count));
}

/* Answers CONNECT with a code other than 0. */
static void refuse_for(struct hub *hub, struct connection *connection,
                       const struct mqtt_bytes *client_id, enum mqtt_connack_code code,
                       enum hub_refusal reason)
{
    hub->counters.connects_refused[reason]++;
    log_refusal(hub, connection, client_id, reason);
    const struct mqtt_connack connack = {.code = (uint8_t)code};
    enum mqtt_level level = connection->level;
    unsigned char *out = connection_reserve(hub->net, connection,
                                            (uint32_t)mqtt_encode_connack(&connack, level, NULL));
    if (out != NULL) {
        mqtt_encode_connack(&connack, level, out);
        net_count_sent(hub->net, MQTT_CONNACK, 1, 0);
    }
    connection_close(hub->net, connection, CONNECTION_CLOSED_REFUSED);
}

static void refuse(struct hub *hub, struct connection *connection,
                   const struct mqtt_bytes *client_id, enum mqtt_connack_code code)
{
    enum hub_refusal reason = HUB_REFUSED_UNAVAILABLE;
    if (code == MQTT_CONNACK_BAD_CLIENT_ID)
        reason = HUB_REFUSED_CLIENT_ID;
    else if (code == MQTT_CONNACK_BAD_USER_NAME_OR_PASSWORD)
        reason = HUB_REFUSED_CREDENTIALS;
    else if (code == MQTT_CONNACK_NOT_AUTHORIZED)
        reason = HUB_REFUSED_NOT_AUTHORIZED;
    refuse_for(hub, connection, client_id, code, reason);
}

static void destroy(struct hub *hub, struct opening *opening)
{
    will_forget(hub, opening->will);
    heap_free(hub->heap, opening);
}

static void on_saved(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    (void)context;
    if (session == NULL || session->state != SESSION_SAVING)
        return;
    if (is_stored) {
        session_destroy(hub, session);
        return;
    }
    session->flags |= SESSION_UNSAVED;
    progress_note(hub, session);
}

void opening_save(struct hub *hub, struct session *session)
{
    session->flags &= (uint16_t)~SESSION_UNSAVED;
    if (session->state == SESSION_SAVING && !inbound_is_waiting(session))
        session_store_save(hub, session, on_saved, NULL);
}

/* Ends an opening whose connection is to be told nothing, or was told already. The session goes
 * with it, back to the store if it was there or in memory before this CONNECT. */
static void give_up(struct hub *hub, struct session *session)
{
    struct opening *opening = session->opening;
    session->opening = NULL;
    if (opening->connection != NULL)
        opening->connection->owner = NULL;
    bool is_kept = opening->is_session_present && session->stored != NULL;
    destroy(hub, opening);
    if (!is_kept) {
        session_store_delete(hub, session);
        session_destroy(hub, session);
        return;
    }
    session->state = SESSION_SAVING;
    opening_save(hub, session);
}

static void refuse_opening(struct hub *hub, struct session *session, enum mqtt_connack_code code)
{
    struct connection *connection = session->opening->connection;
    const struct mqtt_bytes client_id = {(const unsigned char *)session->client_id,
                                         session->client_id_bytes};
    if (connection != NULL)
        refuse(hub, connection, &client_id, code);
    give_up(hub, session);
}

static void attach_opening(struct session *session, struct opening *opening)
{
    session->opening = opening;
    opening->connection->owner = session;
}

/* A clean CONNECT took the place of one that had asked for the stored session: nothing of that may
 * stay. NULL: memory is out, and the connection was refused. */
static struct session *start_anew(struct hub *hub, struct session *session)
{
    struct opening *opening = session->opening;
    uint32_t bytes = session->client_id_bytes;
    char client_id[BROKER_KEY_BYTES_MAX];
    memcpy(client_id, session->client_id, bytes);
    session->opening = NULL;
    session_store_delete(hub, session);
    session_destroy(hub, session);
    struct session *fresh = session_create(hub, client_id, bytes);
    if (fresh == NULL) {
        opening->connection->owner = NULL;
        const struct mqtt_bytes id = {(const unsigned char *)client_id, bytes};
        refuse(hub, opening->connection, &id, MQTT_CONNACK_UNAVAILABLE);
        destroy(hub, opening);
        return NULL;
    }
    opening->is_session_present = false;
    attach_opening(fresh, opening);
    return fresh;
}

static void send_connack(struct hub *hub, struct connection *connection, bool is_session_present)
{
    const struct mqtt_connack connack = {.is_session_present = is_session_present};
    enum mqtt_level level = connection->level;
    unsigned char *out = connection_reserve(hub->net, connection,
                                            (uint32_t)mqtt_encode_connack(&connack, level, NULL));
    if (out != NULL) {
        mqtt_encode_connack(&connack, level, out);
        net_count_sent(hub->net, MQTT_CONNACK, 1, 0);
    }
}

static void on_found(struct hub *hub, struct session *session, void *context,
                     enum session_store_found found);

/* Everything is there: CONNACK, and the client may speak. */
static void complete(struct hub *hub, struct session *session)
{
    struct opening *opening = session->opening;
    struct connection *connection = opening->connection;
    if (connection == NULL || connection->state != CONNECTION_OPENING) {
        /* The client left while we waited. What was loaded is still stored. */
        give_up(hub, session);
        return;
    }
    if (opening->is_clean && session->stored != NULL) {
        session = start_anew(hub, session);
        /* CONNACK waits until what was stored is gone: the look-up comes behind that. */
        if (session != NULL)
            session_store_look_up(hub, session, false, on_found, NULL);
        return;
    }
    session->opening = NULL;
    session->state = SESSION_ATTACHED;
    session->connection = connection;
    session->will = opening->will;
    opening->will = NULL;
    session->flags &= (uint16_t)~SESSION_CLEAN;
    if (opening->is_clean)
        session->flags |= SESSION_CLEAN;
    send_connack(hub, connection, opening->is_session_present);
    hub->counters.connects++;
    if (connection->state == CONNECTION_OPENING)
        connection_accept(hub->net, connection, opening->keepalive_seconds);
    destroy(hub, opening);
    inbound_attach(hub, session);
    resend_start(hub, session);
    retained_job_resume(hub, session);
    catch_up_schedule(hub, session);
}

static void store(struct hub *hub, struct session *session);
/* One of the writes that CONNACK waits for. */
static void on_written(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    (void)context;
    struct opening *opening = session == NULL ? NULL : session->opening;
    if (opening == NULL)
        return;
    opening->is_failed |= !is_stored;
    if (--opening->writes != 0)
        return;
    if (opening->is_failed)
        refuse_opening(hub, session, MQTT_CONNACK_UNAVAILABLE);
    else if (opening->will != NULL && !opening->will->is_stored)
        store(hub, session); /* a later CONNECT took the place of the one that asked */
    else if (!opening->is_clean && !exactly_once_note_stored(hub, session))
        store(hub, session); /* what the client may know of goes before the last commit */
    else
        complete(hub, session);
}

/* The session is there: its record, when it is durable, and the will are written before CONNACK. */
static void store(struct hub *hub, struct session *session)
{
    struct opening *opening = session->opening;
    opening->is_failed = false;
    opening->writes = 1;
    if (session->stored != NULL && !opening->is_clean) {
        opening->writes++;
        session_store_attach(hub, session, on_written);
    }
    if (opening->will != NULL) {
        opening->writes++;
        will_store(hub, opening->will, session, on_written);
    }
    on_written(hub, session, NULL, true);
}

/* A SUBSCRIBE that was cut off while it waited for its owners starts where they are now. */
static void name_starts(struct hub *hub, struct session *session, const uint64_t *from)
{
    struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        struct starts *starts = subscription->starts;
        for (uint32_t p = 0; starts != NULL && p < hub->partition_count; p++) {
            if (starts->from[p] == UINT64_MAX)
                starts->from[p] = from[p] == UINT64_MAX ? 0 : from[p];
        }
    }
}

/* What each owner goes on with tells which of the resumed session's cursors have something to read.
 */
static void on_interest(struct hub *hub, struct interest_request *request)
{
    struct session *session = session_get(hub, request->session);
    if (session == NULL || session->opening == NULL) {
        interest_destroy(hub, request);
        return;
    }
    for (uint32_t i = 0; i < request->count; i++) {
        if (!interest_is_refused(request, i))
            continue;
        interest_destroy(hub, request);
        refuse_opening(hub, session, MQTT_CONNACK_UNAVAILABLE);
        return;
    }
    name_starts(hub, session, request->from);
    bool is_whole = retained_due_name_cuts(hub, session);
    catch_up_resume(hub, session, request->from);
    interest_destroy(hub, request);
    if (is_whole)
        store(hub, session);
    else
        refuse_opening(hub, session, MQTT_CONNACK_UNAVAILABLE);
}

/* A session with subscriptions came out of the store: its owners have to know that this shard wants
 * them. */
static void ask_interest(struct hub *hub, struct session *session)
{
    uint32_t count = session->subscription_count;
    const struct filter **filters = heap_alloc(hub->heap, (count + 1) * sizeof(struct filter *));
    uint32_t i = 0;
    const struct subscription *subscription = session->subscriptions;
    for (; filters != NULL && subscription != NULL; subscription = subscription->next_of_session)
        filters[i++] = subscription->filter;
    struct interest_request *request =
        filters == NULL ? NULL : interest_create(hub, filters, count);
    heap_free(hub->heap, filters);
    if (request == NULL) {
        refuse_opening(hub, session, MQTT_CONNACK_UNAVAILABLE);
        return;
    }
    request->session = session->handle;
    request->on_done = on_interest;
    interest_send(hub, request, false);
}

static void on_found(struct hub *hub, struct session *session, void *context,
                     enum session_store_found found)
{
    (void)context;
    if (session == NULL || session->opening == NULL)
        return;
    struct opening *opening = session->opening;
    if (found == SESSION_STORE_FAILED) {
        session_store_destroy(hub, session); /* what was not loaded whole stays stored as it is */
        refuse_opening(hub, session, MQTT_CONNACK_UNAVAILABLE);
        return;
    }
    opening->is_session_present = found == SESSION_STORE_LOADED;
    if (found == SESSION_STORE_ABSENT && !opening->is_clean &&
        !session_store_create(hub, session)) {
        refuse_opening(hub, session, MQTT_CONNACK_UNAVAILABLE);
        return;
    }
    if (session->subscription_count != 0) {
        ask_interest(hub, session);
        return;
    }
    catch_up_clear(hub, session);
    store(hub, session);
}

static void publish_will(struct hub *hub, struct session *session)
{
    if (session->will == NULL)
        return;
    struct will *will = session->will;
    session->will = NULL;
    will_publish(hub, will);
}

void opening_forget_will(struct hub *hub, struct session *session)
{
    will_forget(hub, session->will);
    session->will = NULL;
}

/* Takes a session off its connection. */
static void detach(struct hub *hub, struct session *session)
{
    publish_will(hub, session);
    exactly_once_detach(hub, session);
    inbound_detach(hub, session);
    resend_abort(hub, session);
    retained_job_abort(hub, session);
    session->connection = NULL;
    session->state = SESSION_SAVING;
}

void opening_on_close(struct hub *hub, struct session *session, struct connection *connection,
                      enum connection_close_reason reason)
{
    if (session->state == SESSION_OPENING) {
        if (session->opening->connection == connection)
            session->opening->connection = NULL;
        return;
    }
    if (session->connection != connection)
        return;
    if (reason == CONNECTION_CLOSED_DISCONNECT)
        opening_forget_will(hub, session);
    detach(hub, session);
    if (session_is_clean(session))
        session_destroy(hub, session);
    else
        opening_save(hub, session);
}

/* The older connection goes before the new one is answered [MQTT-3.1.4-2]. */
static void take_over(struct hub *hub, struct session *session)
{
    struct connection *older = session->connection;
    hub->counters.takeovers++;
    older->owner = NULL;
    connection_close(hub->net, older, CONNECTION_CLOSED_TAKEN_OVER);
    detach(hub, session);
}

/* The session of this client is in memory. True: it was dealt with; false: it is gone, make a new
 * one. */
static bool meet_existing(struct hub *hub, struct session *session, struct opening *opening)
{
    if (session->state == SESSION_OPENING) {
        struct opening *waiting = session->opening;
        struct connection *older = waiting->connection;
        if (older != NULL) {
            older->owner = NULL;
            connection_close(hub->net, older, CONNECTION_CLOSED_TAKEN_OVER);
        }
        /* What is under way for the older one goes on for this one. */
        waiting->connection = opening->connection;
        waiting->keepalive_seconds = opening->keepalive_seconds;
        waiting->is_clean = opening->is_clean;
        struct will *will = waiting->will;
        waiting->will = opening->will;
        opening->will = will; /* of the older one, which never had its CONNACK */
        waiting->connection->owner = session;
        destroy(hub, opening);
        return true;
    }
    if (session->state == SESSION_ATTACHED)
        take_over(hub, session);
    if (opening->is_clean || session_is_clean(session)) {
        session_store_delete(hub, session);
        session_destroy(hub, session);
        return false;
    }
    session->state = SESSION_OPENING;
    attach_opening(session, opening);
    opening->is_session_present = true;
    store(hub, session);
    return true;
}

static void begin(struct hub *hub, struct opening *opening, const struct mqtt_bytes *client_id,
                  bool is_generated)
{
    struct session *session = session_find(hub, client_id->bytes, client_id->count);
    if (session != NULL && meet_existing(hub, session, opening))
        return;
    session = session_create(hub, client_id->bytes, client_id->count);
    if (session == NULL) {
        refuse(hub, opening->connection, client_id, MQTT_CONNACK_UNAVAILABLE);
        destroy(hub, opening);
        return;
    }
    attach_opening(session, opening);
    if (is_generated)
        on_found(hub, session, NULL, SESSION_STORE_ABSENT);
    else
        session_store_look_up(hub, session, !opening->is_clean, on_found, NULL);
}

/* An id that nobody has and that is at home here; 32 hexadecimal digits. */
static void generate_client_id(struct hub *hub, char out[33])
{
    static const char digits[] = "0123456789abcdef";
    do {
        for (uint32_t word = 0; word < 2; word++) {
            uint64_t value = hub_random(hub);
            for (uint32_t i = 0; i < 16; i++, value >>= 4)
                out[word * 16 + i] = digits[value & 15];
        }
        out[32] = '\0';
    } while (hub_home_shard(hub, out, 32) != hub->shard->index ||
             session_find(hub, out, 32) != NULL);
}

static bool is_will_allowed(const struct hub *hub, const struct mqtt_connect *connect)
{
    const struct mqtt_bytes *topic = &connect->will_topic;
    return mqtt_topic_is_valid(topic->bytes, topic->count) &&
           topic->count <= hub->limits->topic_bytes_max &&
           mqtt_topic_levels(topic->bytes, topic->count) <= hub->limits->topic_levels_max &&
           !(topic->count >= 5 && memcmp(topic->bytes, "$SYS/", 5) == 0) &&
           (uint64_t)topic->count + connect->will_payload.count <=
               broker_record_bytes_max(hub->broker);
}

static struct opening *create(struct hub *hub, struct connection *connection,
                              const struct mqtt_connect *connect,
                              const struct mqtt_bytes *client_id)
{
    struct opening *opening = heap_zalloc(hub->heap, sizeof(*opening));
    if (opening == NULL)
        return NULL;
    opening->connection = connection;
    opening->is_clean = connect->is_clean;
    opening->keepalive_seconds = connect->keepalive_seconds;
    uint32_t longest = hub->net_limits->keepalive_seconds_max;
    if (longest != 0 && (connect->keepalive_seconds == 0 || connect->keepalive_seconds > longest))
        opening->keepalive_seconds = (uint16_t)longest;
    if (connect->has_will) {
        opening->will = will_create(hub, connect, client_id->bytes, client_id->count);
        if (opening->will == NULL) {
            destroy(hub, opening);
            return NULL;
        }
    }
    return opening;
}

/* The checks that need nothing but the packet. False: the connection was refused or closed. */
static bool check(struct hub *hub, struct connection *connection,
                  const struct mqtt_connect *connect)
{
    bool is_bad_id =
        connect->client_id.count > hub->limits->client_id_bytes_max ||
        (connect->client_id.count == 0 && (!connect->is_clean || connect->level < MQTT_3_1_1));
    if (is_bad_id) { /* [MQTT-3.1.3-8] [MQTT-3.1.3-9] */
        refuse(hub, connection, &connect->client_id, MQTT_CONNACK_BAD_CLIENT_ID);
        return false;
    }
    if (connect->has_will && !is_will_allowed(hub, connect)) {
        connection_close(hub->net, connection, CONNECTION_CLOSED_PROTOCOL);
        return false;
    }
    if (net_overload(hub->net) >= OVERLOAD_REFUSE_CONNECTS) {
        refuse_for(hub, connection, &connect->client_id, MQTT_CONNACK_UNAVAILABLE,
                   HUB_REFUSED_OVERLOAD);
        return false;
    }
    return true;
}

/* A CONNECT that waits for its password check, and perhaps for its turn to take a session over. */
struct opening_wait {
    struct opening_wait *next; /* while it is delayed */
    uint64_t due_ns;
    struct hub *hub;
    struct opening *opening;
    uint32_t slot;
    uint32_t generation;
    uint32_t client_id_bytes;
    bool is_generated;
    char client_id[];
};

static void go_on(struct hub *hub, struct opening_wait *waiting)
{
    struct connection *connection = net_connection(hub->net, waiting->slot, waiting->generation);
    const struct mqtt_bytes client_id = {(const unsigned char *)waiting->client_id,
                                         waiting->client_id_bytes};
    if (connection != NULL && connection->state == CONNECTION_OPENING)
        begin(hub, waiting->opening, &client_id, waiting->is_generated);
    else
        destroy(hub, waiting->opening);
    heap_free(hub->heap, waiting);
}

/* Two clients with one ClientId that take the session from each other again and again have to wait.
 * True: this one does. */
static bool delay(struct hub *hub, struct opening_wait *waiting)
{
    const struct session *session = session_find(hub, waiting->client_id, waiting->client_id_bytes);
    bool is_takeover = session != NULL &&
                       (session->state == SESSION_ATTACHED || session->state == SESSION_OPENING);
    if (!is_takeover || hub->limits->takeovers_max == 0)
        return false;
    uint64_t hash =
        hash_bytes_seeded(hub->shared->seed, waiting->client_id, waiting->client_id_bytes);
    if (damper_count(&hub->damper, hash, hub->shard->tick) <= hub->limits->takeovers_max)
        return false;
    hub->counters.takeovers_delayed++;
    waiting->next = NULL;
    waiting->due_ns = hub->shard->now_ns + hub->limits->takeover_delay_ms * 1000000ULL;
    if (hub->delayed_last == NULL)
        hub->delayed_first = waiting;
    else
        hub->delayed_last->next = waiting;
    hub->delayed_last = waiting;
    return true;
}

/* Takes the first that is delayed. */
static struct opening_wait *take_delayed(struct hub *hub)
{
    struct opening_wait *waiting = hub->delayed_first;
    hub->delayed_first = waiting->next;
    if (hub->delayed_first == NULL)
        hub->delayed_last = NULL;
    return waiting;
}

void opening_step(struct hub *hub)
{
    while (hub->delayed_first != NULL && hub->delayed_first->due_ns <= hub->shard->now_ns)
        go_on(hub, take_delayed(hub));
}

uint64_t opening_deadline(const struct hub *hub)
{
    return hub->delayed_first == NULL ? UINT64_MAX : hub->delayed_first->due_ns;
}

void opening_abort_delayed(struct hub *hub)
{
    while (hub->delayed_first != NULL) {
        struct opening_wait *waiting = take_delayed(hub);
        destroy(hub, waiting->opening);
        heap_free(hub->heap, waiting);
    }
}

static void on_authorized(void *context, enum mqtt_connack_code code)
{
    struct opening_wait *waiting = context;
    struct hub *hub = waiting->hub;
    struct connection *connection = net_connection(hub->net, waiting->slot, waiting->generation);
    bool is_there = connection != NULL && connection->state == CONNECTION_OPENING;
    if (!is_there || code == MQTT_CONNACK_ACCEPTED) {
        if (!is_there || !delay(hub, waiting))
            go_on(hub, waiting);
        return;
    }
    const struct mqtt_bytes client_id = {(const unsigned char *)waiting->client_id,
                                         waiting->client_id_bytes};
    refuse(hub, connection, &client_id, code);
    destroy(hub, waiting->opening);
    heap_free(hub->heap, waiting);
}

/* Whether a session may have a connection, asked on its home shard: at the gateway's limit only in
 * place of the one that it has. */
static bool may_connect(const struct hub *hub, const struct mqtt_bytes *client_id)
{
    uint32_t connections =
        atomic_load_explicit(&hub->net_shared->connections, memory_order_relaxed);
    if (connections < hub->net_limits->connections_max)
        return true;
    const struct session *session = session_find(hub, client_id->bytes, client_id->count);
    return session != NULL && session->state == SESSION_ATTACHED;
}

enum net_verdict opening_connect(struct hub *hub, struct connection *connection,
                                 const struct mqtt_connect *connect)
{
    if (!check(hub, connection, connect))
        return NET_CLOSE;
    char generated[33];
    struct mqtt_bytes client_id = connect->client_id;
    bool is_generated = client_id.count == 0;
    if (is_generated) { /* [MQTT-3.1.3-6] */
        generate_client_id(hub, generated);
        client_id = (struct mqtt_bytes){(const unsigned char *)generated, 32};
    }
    uint32_t home = hub_home_shard(hub, client_id.bytes, client_id.count);
    if (home != hub->shard->index) {
        net_move(hub->net, connection, home);
        return NET_RETRY;
    }
    if (!may_connect(hub, &client_id)) {
        refuse_for(hub, connection, &client_id, MQTT_CONNACK_UNAVAILABLE, HUB_REFUSED_CONNECTIONS);
        return NET_CLOSE;
    }
    struct opening *opening = create(hub, connection, connect, &client_id);
    struct opening_wait *waiting =
        opening == NULL ? NULL : heap_alloc(hub->heap, sizeof(*waiting) + client_id.count);
    if (waiting == NULL) {
        if (opening != NULL)
            destroy(hub, opening);
        refuse(hub, connection, &client_id, MQTT_CONNACK_UNAVAILABLE);
        return NET_CLOSE;
    }
    *waiting = (struct opening_wait){
        .hub = hub,
        .opening = opening,
        .slot = connection->slot,
        .generation = connection->generation,
        .client_id_bytes = client_id.count,
        .is_generated = is_generated,
    };
    memcpy(waiting->client_id, client_id.bytes, client_id.count);
    authorizer_check(hub, connection, connect, on_authorized, waiting);
    if (connection->state == CONNECTION_OPEN)
        return NET_CONTINUE;
    return connection->state == CONNECTION_CLOSING ? NET_CLOSE : NET_PAUSE;
}

void opening_abort(struct hub *hub, struct session *session)
{
    if (session->opening == NULL)
        return;
    will_destroy(hub, session->opening->will);
    session->opening->will = NULL;
    destroy(hub, session->opening);
    session->opening = NULL;
}
