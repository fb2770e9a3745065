/*
 * Steps of QoS 2 that wait for the session's record; see exactly_once.h.
 */
#include "session/exactly_once.h"

#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "session/delivery.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/window.h"

enum {
    HELD_MIN = 8,
    STEPS_SLACK = 64,
    OLDEST = 1 << 30, /* age of what is to be released before all else */
    UNKNOWN_MAX = 64  /* packet ids that one commit of the store may take with it */
};

struct held_step {
    struct record *record;
    uint32_t number;
    uint8_t step; /* enum exactly_once_step */
};

/* At most steps_max: a window, a window of answers, and what the client releases of it. */
struct exactly_once {
    struct held_step *steps; /* a queue in an array: the first `writing` are in the write */
    uint32_t capacity;
    uint32_t count;
    uint32_t writing;
    uint16_t writing_packet_id; /* the write's next one */
    uint32_t next_wanting;      /* session index + 1 */
    uint32_t previous_wanting;
    bool is_wanting; /* in the hub's list */
};

static void send_ack(struct hub *hub, struct session *session, enum mqtt_type type,
                     uint16_t packet_id)
{
    unsigned char *out = connection_reserve(hub->net, session->connection, 4);
    if (out != NULL) {
        mqtt_encode_ack(type, packet_id, out);
        net_count_sent(hub->net, type, 1, 0);
    }
}

static void publish(struct hub *hub, struct session *session, uint16_t packet_id,
                    struct record *record)
{
    const struct window_entry *entry = window_find(session->window, packet_id);
    if (entry == NULL || entry->partition != record->partition ||
        entry->sequence != record->sequence)
        return;
    delivery_write(hub, session, record, entry->qos, packet_id,
                   entry->topic != NULL ? DELIVERY_RETAIN : 0);
}

/* Takes a step whose time has come. */
static void perform(struct hub *hub, struct session *session, enum exactly_once_step step,
                    uint32_t number, struct record *record)
{
    bool is_open = session->connection != NULL && session->connection->state == CONNECTION_OPEN;
    switch (step) {
    case EXACTLY_ONCE_PUBLISH:
        if (is_open)
            publish(hub, session, (uint16_t)number, record);
        record_release(hub->heap, record);
        break;
    case EXACTLY_ONCE_PUBREL:
        if (is_open)
            send_ack(hub, session, MQTT_PUBREL, (uint16_t)number);
        break;
    case EXACTLY_ONCE_PUBREC:
        inbound_set_due(hub, session, number);
        break;
    case EXACTLY_ONCE_APPEND:
        inbound_on_announced(hub, session);
        break;
    case EXACTLY_ONCE_PUBCOMP:
        if (is_open)
            send_ack(hub, session, MQTT_PUBCOMP, (uint16_t)number);
        break;
    case EXACTLY_ONCE_UNSUBACK:
        if (is_open)
            send_ack(hub, session, MQTT_UNSUBACK, (uint16_t)number);
        break;
    }
}

static struct exactly_once *state_of(struct hub *hub, struct session *session)
{
    if (session->exactly_once == NULL)
        session->exactly_once = heap_zalloc(hub->heap, sizeof(*session->exactly_once));
    return session->exactly_once;
}

/* More than a client that keeps to the protocol can have due: one PUBREL and one PUBCOMP for each
 * packet id, besides what the gateway itself has made. */
static uint32_t steps_max(const struct hub *hub)
{
    const struct hub_limits *limits = hub->limits;
    return 2 * (limits->window_max + limits->unreleased_max) + limits->inbound_max + STEPS_SLACK;
}

static bool make_room(struct hub *hub, struct exactly_once *state)
{
    if (state->count >= steps_max(hub))
        return false;
    if (state->count < state->capacity)
        return true;
    uint32_t capacity = state->capacity == 0 ? HELD_MIN : state->capacity * 2;
    struct held_step *grown = heap_realloc(hub->heap, state->steps, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    state->steps = grown;
    state->capacity = capacity;
    return true;
}

/* What the session of a number in the hub's list waits for. */
static struct exactly_once *state_at(const struct hub *hub, uint32_t number)
{
    return ((struct session *)pool_at(&hub->session_pool, number - 1))->exactly_once;
}

static void want_write(struct hub *hub, struct session *session)
{
    struct exactly_once *state = session->exactly_once;
    if (state->is_wanting || state->writing != 0)
        return;
    state->is_wanting = true;
    state->next_wanting = hub->wanting_first;
    state->previous_wanting = 0;
    if (state->next_wanting != 0)
        state_at(hub, state->next_wanting)->previous_wanting = session->handle.index + 1;
    hub->wanting_first = session->handle.index + 1;
    hub->wants_turn = true;
}

static void destroy(struct hub *hub, struct session *session)
{
    struct exactly_once *state = session->exactly_once;
    session->exactly_once = NULL;
    heap_free(hub->heap, state->steps);
    heap_free(hub->heap, state);
}

void exactly_once_take(struct hub *hub, struct session *session, enum exactly_once_step step,
                       uint32_t number, struct record *record)
{
    if (session->stored == NULL) {
        perform(hub, session, step, number, record);
        return;
    }
    struct exactly_once *state = state_of(hub, session);
    if (state == NULL || !make_room(hub, state)) {
        if (record != NULL)
            record_release(hub->heap, record);
        if (state != NULL && state->capacity == 0)
            destroy(hub, session);
        if (session->connection != NULL)
            connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
        if (step == EXACTLY_ONCE_PUBREC) /* told to nobody now, and not in the way of others */
            inbound_set_due(hub, session, number);
        return;
    }
    state->steps[state->count++] =
        (struct held_step){.record = record, .number = number, .step = (uint8_t)step};
    want_write(hub, session);
}

/* The first `count` steps leave the queue; each is taken, or only let go of. */
static void finish(struct hub *hub, struct session *session, uint32_t count, bool is_taken)
{
    struct exactly_once *state = session->exactly_once;
    for (uint32_t i = 0; i < count; i++) {
        const struct held_step step = state->steps[i];
        if (is_taken || step.step == EXACTLY_ONCE_PUBREC)
            perform(hub, session, (enum exactly_once_step)step.step, step.number, step.record);
        else if (step.record != NULL)
            record_release(hub->heap, step.record);
    }
    state->count -= count;
    memmove(state->steps, state->steps + count, state->count * sizeof(struct held_step));
}

/* An own record with this next packet id is committed. Whether more ids are new in it than a
 * session releases that has lost it. */
static bool is_far(const struct hub *hub, const struct session *session, uint16_t next_packet_id)
{
    struct stored_session *stored = session->stored;
    uint16_t distance = (uint16_t)(next_packet_id - stored->kept_packet_id);
    stored->kept_packet_id = next_packet_id;
    return distance > UNKNOWN_MAX && broker_may_take_back(hub->broker);
}

bool exactly_once_note_stored(struct hub *hub, struct session *session)
{
    return session->stored == NULL || !is_far(hub, session, session->stored->next_packet_id);
}

/* Whether its client may be in an exchange at QoS 2. */
static bool has_qos_2(const struct session *session)
{
    const struct subscription *subscription = session->subscriptions;
    while (subscription != NULL && subscription->qos != 2)
        subscription = subscription->next_of_session;
    return subscription != NULL;
}

bool exactly_once_release_unknown(struct hub *hub, struct session *session)
{
    struct stored_session *stored = session->stored;
    if (!broker_may_take_back(hub->broker) || !has_qos_2(session))
        return true;
    for (uint32_t i = 0; i < UNKNOWN_MAX; i++) {
        uint16_t packet_id = stored->next_packet_id++;
        if (packet_id == 0 || window_find(session->window, packet_id) != NULL)
            continue;
        struct window_entry *entry = window_put(hub->heap, &session->window, packet_id);
        if (entry == NULL)
            return false;
        entry->qos = 2;
        entry->state = WINDOW_RELEASED;
        entry->sequence = UINT64_MAX;
        entry->order = 0 - OLDEST + i;
        hub->counters.in_flight++;
        hub->counters.loaded++;
    }
    return true;
}

static void on_written(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    (void)context;
    struct exactly_once *state = session == NULL ? NULL : session->exactly_once;
    if (state == NULL || state->writing == 0)
        return; /* its connection ended meanwhile */
    uint32_t count = state->writing;
    if (is_stored && is_far(hub, session, state->writing_packet_id)) {
        state->writing = 0; /* the next write makes this one last */
        want_write(hub, session);
        return;
    }
    if (!is_stored) {
        state->writing = 0;
        if (session->connection != NULL)
            connection_close(hub->net, session->connection, CONNECTION_CLOSED_LIMIT);
        return;
    }
    finish(hub, session, count, true);
    state->writing = 0;
    if (state->count != 0)
        want_write(hub, session);
    else
        destroy(hub, session);
}

void exactly_once_step(struct hub *hub)
{
    uint32_t number = hub->wanting_first;
    hub->wanting_first = 0;
    while (number != 0) {
        struct session *session = pool_at(&hub->session_pool, number - 1);
        struct exactly_once *state = session->exactly_once;
        number = state->next_wanting;
        state->is_wanting = false;
        if (state->count == 0)
            continue;
        state->writing = state->count;
        state->writing_packet_id = session->stored->next_packet_id;
        session_store_write_own(hub, session, on_written);
    }
}

static void leave_list(struct hub *hub, struct session *session)
{
    if (!session->exactly_once->is_wanting)
        return;
    const struct exactly_once *state = session->exactly_once;
    if (state->previous_wanting == 0)
        hub->wanting_first = state->next_wanting;
    else
        state_at(hub, state->previous_wanting)->next_wanting = state->next_wanting;
    if (state->next_wanting != 0)
        state_at(hub, state->next_wanting)->previous_wanting = state->previous_wanting;
}

void exactly_once_detach(struct hub *hub, struct session *session)
{
    struct exactly_once *state = session->exactly_once;
    if (state == NULL)
        return;
    leave_list(hub, session);
    finish(hub, session, state->count, false);
    destroy(hub, session);
}
