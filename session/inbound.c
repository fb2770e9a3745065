/*
 * What a client publishes; see inbound.h.
 */
#include "session/inbound.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "net/mqtt_topic.h"
#include "session/exactly_once.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/opening.h"
#include "session/progress.h"
#include "session/session.h"
#include "session/session_store.h"

enum {
    ANSWERS_MIN = 16,
    REPEATS_MS = 10000 /* after that a client has begun to repeat what it will, or pauses so long */
};

void inbound_address(struct hub *hub, struct record *record)
{
    record->topic_hash =
        topic_index_hash(&hub->index, (const char *)record_topic(record), record->topic_bytes);
    record->partition = broker_partition(record_topic(record), record->topic_bytes,
                                         hub->partition_count, hub->partition_levels);
    record->publish_ms = hub->shard->wall_ms;
}

static struct inbound *inbound_of(struct hub *hub, struct session *session)
{
    if (session->inbound == NULL)
        session->inbound = heap_zalloc(hub->heap, sizeof(*session->inbound));
    return session->inbound;
}

static struct inbound_answer *answer_at(const struct inbound *inbound, uint32_t position)
{
    return &inbound->answers[position & (inbound->capacity - 1)];
}

/* Makes room for one more answer, up to `count_max`. */
static bool make_room(struct hub *hub, struct inbound *inbound)
{
    if (inbound->count < inbound->capacity)
        return true;
    uint32_t capacity = inbound->capacity == 0 ? ANSWERS_MIN : inbound->capacity * 2;
    struct inbound_answer *grown = heap_alloc(hub->heap, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    for (uint32_t i = 0; i < inbound->count; i++) {
        uint32_t position = inbound->first + i;
        grown[position & (capacity - 1)] = *answer_at(inbound, position);
    }
    heap_free(hub->heap, inbound->answers);
    inbound->answers = grown;
    inbound->capacity = capacity;
    return true;
}

static uint64_t *generation_of(const struct inbound *inbound, uint16_t packet_id)
{
    struct inbound_page *page =
        inbound->pages == NULL ? NULL : inbound->pages[packet_id / INBOUND_PAGE_IDS];
    return page == NULL ? NULL : &page->generations[packet_id % INBOUND_PAGE_IDS];
}

bool inbound_open(struct hub *hub, struct session *session, uint16_t packet_id, uint64_t generation)
{
    struct inbound *inbound = inbound_of(hub, session);
    if (inbound == NULL)
        return false;
    if (inbound->pages == NULL)
        inbound->pages = heap_zalloc(hub->heap, INBOUND_PAGES * sizeof(struct inbound_page *));
    if (inbound->pages == NULL)
        return false;
    struct inbound_page **page = &inbound->pages[packet_id / INBOUND_PAGE_IDS];
    if (*page == NULL)
        *page = heap_zalloc(hub->heap, sizeof(**page));
    if (*page == NULL)
        return false;
    uint64_t *place = &(*page)->generations[packet_id % INBOUND_PAGE_IDS];
    (*page)->open_count += *place == 0;
    inbound->open_count += *place == 0;
    *place = generation;
    progress_note(hub, session);
    return true;
}

void inbound_iterate(const struct session *session,
                     void (*visit)(void *context, uint16_t packet_id, uint64_t generation),
                     void *context)
{
    const struct inbound *inbound = session->inbound;
    if (inbound == NULL || inbound->open_count == 0)
        return;
    for (uint32_t id = 1; id < INBOUND_PAGES * INBOUND_PAGE_IDS; id++) {
        const uint64_t *generation = generation_of(inbound, (uint16_t)id);
        if (generation == NULL)
            id |= INBOUND_PAGE_IDS - 1; /* past the page */
        else if (*generation != 0)
            visit(context, (uint16_t)id, *generation);
    }
}

/* Says why a publish is not taken; it is acknowledged all the same, as the client can do nothing
 * about it. */
static bool is_rejected(struct hub *hub, const struct mqtt_publish *publish)
{
    bool is_sys = publish->topic.count >= 5 && memcmp(publish->topic.bytes, "$SYS/", 5) == 0;
    if (is_sys) {
        hub->counters.rejected[HUB_REJECT_SYS]++;
        return true;
    }
    return false;
}

static bool is_topic_beyond_limits(struct hub *hub, const struct mqtt_publish *publish)
{
    /* A short topic cannot have too many levels: most need not be counted. */
    bool may_be_deep = publish->topic.count >= hub->limits->topic_levels_max;
    return publish->topic.count > hub->limits->topic_bytes_max ||
           (may_be_deep && mqtt_topic_levels(publish->topic.bytes, publish->topic.count) >
                               hub->limits->topic_levels_max);
}

static bool is_record_too_large(struct hub *hub, const struct mqtt_publish *publish)
{
    return (uint64_t)publish->topic.count + publish->payload.count >
           broker_record_bytes_max(hub->broker);
}

static struct record *make_record(struct hub *hub, const struct mqtt_publish *publish)
{
    const struct record_source source = {
        .topic = publish->topic.bytes,
        .payload = publish->payload.bytes,
        .topic_bytes = publish->topic.count,
        .payload_bytes = publish->payload.count,
        .flags = (uint8_t)(publish->qos | (publish->is_retain ? RECORD_RETAIN : 0)),
    };
    struct record *record = record_create(hub->heap, &source);
    if (record != NULL)
        inbound_address(hub, record);
    return record;
}

/* Queues an acknowledgement that is due once those before it have gone. */
static void queue_answer(struct inbound *inbound, uint16_t packet_id, uint8_t qos,
                         enum inbound_state state)
{
    *answer_at(inbound, inbound->first + inbound->count) =
        (struct inbound_answer){.packet_id = packet_id, .qos = qos & 3U, .state = (uint8_t)state};
    inbound->count++;
}

/* What was left unread can be read. */
static void resume(struct hub *hub, struct session *session)
{
    if (!(session->flags & SESSION_INBOUND_FULL))
        return;
    session->flags &= (uint16_t)~SESSION_INBOUND_FULL;
    if (session->connection != NULL && session->connection->state == CONNECTION_OPEN)
        net_resume(hub->net, session->connection);
}

/* Sends every acknowledgement that is due and has none before it. */
static void send_due(struct hub *hub, struct session *session)
{
    struct inbound *inbound = session->inbound;
    uint32_t due = 0;
    while (due < inbound->count && answer_at(inbound, inbound->first + due)->state == INBOUND_DUE)
        due++;
    if (due == 0)
        return;
    uint32_t told = 0;
    for (uint32_t i = 0; i < due; i++)
        told += !answer_at(inbound, inbound->first + i)->is_mute;
    unsigned char *out = NULL;
    if (told != 0 && session->connection != NULL && session->connection->state == CONNECTION_OPEN)
        out = connection_reserve(hub->net, session->connection, told * 4);
    for (uint32_t i = 0; i < due; i++) {
        const struct inbound_answer *answer = answer_at(inbound, inbound->first + i);
        enum mqtt_type type = answer->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
        if (out == NULL || answer->is_mute)
            continue;
        out += mqtt_encode_ack(type, answer->packet_id, out);
        net_count_sent(hub->net, type, 1, 0);
    }
    inbound->first += due;
    inbound->count -= due;
    resume(hub, session);
}

/* The connection waits until the owner's mailbox has room. */
static enum net_verdict retry_later(struct hub *hub, struct session *session)
{
    if (!(session->flags & SESSION_IN_RETRY)) {
        session->flags |= SESSION_IN_RETRY;
        session->next_retry = hub->retry_first;
        session->previous_retry = 0;
        if (session->next_retry != 0)
            ((struct session *)pool_at(&hub->session_pool, session->next_retry - 1))
                ->previous_retry = session->handle.index + 1;
        hub->retry_first = session->handle.index + 1;
    }
    return NET_RETRY;
}

static bool post(struct hub *hub, struct session *session, struct record *record, uint32_t position)
{
    struct hub_mail mail = {
        .kind = HUB_MAIL_PUBLISH,
        .partition = record->partition,
        .pointer = record,
        .position = position,
    };
    if (record_qos(record) != 0)
        mail.session = session->handle;
    uint32_t bytes = (uint32_t)record_memory_bytes(record->topic_bytes, 0, record->payload_bytes);
    return hub_post(hub, hub_owner_of(hub, record->partition), &mail, bytes);
}

static enum net_verdict publish_at_most_once(struct hub *hub, struct session *session,
                                             const struct mqtt_publish *publish)
{
    if (is_rejected(hub, publish)) {
        hub->counters.accepted[0]++;
        return NET_CONTINUE;
    }
    struct record *record = make_record(hub, publish);
    if (record == NULL) {
        hub->counters.accepted[0]++;
        hub->counters.dropped[HUB_DROP_MEMORY]++;
        return NET_CONTINUE;
    }
    if (!post(hub, session, record, 0)) {
        record_release(hub->heap, record);
        return retry_later(hub, session);
    }
    hub->counters.accepted[0]++;
    return NET_CONTINUE;
}

/* Gives a QoS 2 record its identity, so that a repetition after a crash is known for one. */
static void identify(struct session *session, struct record *record, uint16_t packet_id,
                     uint64_t generation)
{
    record->packet_id = packet_id;
    record->generation = generation;
    if (session->stored == NULL)
        return;
    record->session_number = session->stored->number;
    const uint64_t words[] = {record->session_number.high, record->session_number.low, packet_id,
                              generation};
    record->deduplication_id = (struct record_id){
        .high = hash_bytes_seeded(1, words, sizeof(words)),
        .low = hash_bytes_seeded(2, words, sizeof(words)),
    };
}

/* A repeated QoS 2 PUBLISH: its PUBREC is due when the first one's is. That stands before it in the
 * queue if it still waits, mute if it came on an older connection, and holds it up until then. */
static void repeat_answer(struct hub *hub, struct session *session, uint16_t packet_id)
{
    hub->counters.accepted[2]++;
    hub->counters.duplicates++;
    queue_answer(session->inbound, packet_id, 2, INBOUND_DUE);
    send_due(hub, session);
}

static bool is_recovering(const struct session *session)
{
    return session->stored != NULL && session->stored->next_repeated != 0;
}

static bool was_announced(const struct session *session, const struct mqtt_publish *publish)
{
    const struct inbound *inbound = session->inbound;
    return publish->qos == 2 && inbound->announced_id == publish->packet_id &&
           inbound->is_announced;
}

/* Whether the store has to know of it before the log may have it; see inbound.h. */
static bool must_announce(const struct session *session, const struct mqtt_publish *publish,
                          uint64_t open)
{
    bool is_new = publish->qos == 2 && !publish->is_dup && !was_announced(session, publish);
    return is_new && session->stored != NULL && (open != 0 || is_recovering(session));
}

/* The publish is left unread until the store knows its id and number. */
static enum net_verdict announce(struct hub *hub, struct session *session, uint16_t packet_id)
{
    struct inbound *inbound = session->inbound;
    const struct connection *connection = session->connection;
    if (inbound->announced_id != packet_id) {
        if (hub->shard->now_ns >= session->stored->repeats_until_ns)
            session->stored->next_repeated = 0;
        if (!inbound_open(hub, session, packet_id, (session->generation + 1) | INBOUND_DOUBTFUL)) {
            connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
            return NET_CLOSE;
        }
        session->generation++;
        inbound->announced_id = packet_id;
        inbound->is_announced = false;
        exactly_once_take(hub, session, EXACTLY_ONCE_APPEND, packet_id, NULL);
        if (connection->state != CONNECTION_OPEN)
            return NET_CLOSE;
    }
    session->flags |= SESSION_INBOUND_FULL;
    return NET_RETRY;
}

void inbound_on_announced(struct hub *hub, struct session *session)
{
    if (session->inbound == NULL)
        return;
    session->inbound->is_announced = true;
    resume(hub, session);
}

void inbound_recover(struct session *session)
{
    struct stored_session *stored = session->stored;
    if (stored->next_repeated != 0)
        return; /* again: what was new between is in the store */
    stored->next_repeated = session->generation + 1;
    session->generation += INBOUND_RECOVERY_STEP;
}

void inbound_attach(struct hub *hub, struct session *session)
{
    if (session->stored != NULL)
        session->stored->repeats_until_ns = hub->shard->now_ns + REPEATS_MS * 1000000ULL;
}

/* Only QoS 2 counts. */
static uint64_t next_generation(const struct session *session, const struct mqtt_publish *publish,
                                uint64_t open)
{
    if ((open & INBOUND_DOUBTFUL) && (publish->is_dup || was_announced(session, publish)))
        return open & ~INBOUND_DOUBTFUL;
    if (publish->qos == 2 && publish->is_dup && is_recovering(session))
        return session->stored->next_repeated;
    return session->generation + (publish->qos == 2);
}

/* A publish is on its way under this number. */
static void count_generation(struct hub *hub, struct session *session,
                             const struct mqtt_publish *publish, uint64_t generation)
{
    if (publish->qos != 2)
        return;
    session->inbound->announced_id = 0;
    if (is_recovering(session) && generation == session->stored->next_repeated) {
        session->stored->next_repeated++;
        inbound_attach(hub, session); /* and there may be more */
    }
    session->generation = ps_max_u64(session->generation, generation);
}

static void close_id(struct hub *hub, struct inbound *inbound, uint16_t packet_id)
{
    uint64_t *generation = inbound == NULL ? NULL : generation_of(inbound, packet_id);
    if (generation == NULL || *generation == 0)
        return;
    *generation = 0;
    inbound->open_count--;
    struct inbound_page **page = &inbound->pages[packet_id / INBOUND_PAGE_IDS];
    if (--(*page)->open_count != 0)
        return;
    heap_free(hub->heap, *page);
    *page = NULL;
}

/* The id is again what it was before a publish that is not taken. */
static void reset_id(struct hub *hub, struct inbound *inbound, uint16_t packet_id, uint64_t before)
{
    if (before == 0)
        close_id(hub, inbound, packet_id);
    else
        *generation_of(inbound, packet_id) = before;
}

static enum net_verdict publish_acknowledged(struct hub *hub, struct session *session,
                                             const struct mqtt_publish *publish)
{
    struct inbound *inbound = inbound_of(hub, session);
    if (inbound == NULL || !make_room(hub, inbound))
        goto out_of_memory;
    uint32_t position = inbound->first + inbound->count;
    const uint64_t *known = publish->qos == 2 ? generation_of(inbound, publish->packet_id) : NULL;
    uint64_t open = known == NULL ? 0 : *known;
    if (open != 0 && !(open & INBOUND_DOUBTFUL)) {
        repeat_answer(hub, session, publish->packet_id);
        return NET_CONTINUE;
    }
    if (publish->qos == 2 && open == 0 && inbound->open_count >= hub->limits->unreleased_max) {
        /* It cannot be left unread: the PUBRELs that would make room come behind. */
        hub->counters.accepted[2]++;
        hub->counters.rejected[HUB_REJECT_UNRELEASED]++;
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_LIMIT);
        return NET_CLOSE;
    }
    bool is_logged = is_rejected(hub, publish);
    if (!is_logged && must_announce(session, publish, open))
        return announce(hub, session, publish->packet_id);
    uint64_t generation = next_generation(session, publish, open);
    /* Before the message is on its way: once the log has it, the id must be known. */
    if (publish->qos == 2 && !inbound_open(hub, session, publish->packet_id,
                                           generation | (is_logged ? 0 : INBOUND_UNLOGGED)))
        goto out_of_memory;
    if (!is_logged) {
        struct record *record = make_record(hub, publish);
        if (record != NULL && publish->qos == 2)
            identify(session, record, publish->packet_id, generation);
        if (record == NULL || !post(hub, session, record, position)) {
            if (publish->qos == 2)
                reset_id(hub, inbound, publish->packet_id, open);
            if (record == NULL)
                goto out_of_memory;
            record_release(hub->heap, record);
            return retry_later(hub, session);
        }
        queue_answer(inbound, publish->packet_id, publish->qos, INBOUND_WAITING);
        count_generation(hub, session, publish, generation);
    } else {
        queue_answer(inbound, publish->packet_id, publish->qos, INBOUND_DUE);
        send_due(hub, session);
    }
    hub->counters.accepted[publish->qos]++;
    return NET_CONTINUE;
out_of_memory:
    connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
    return NET_CLOSE;
}

enum net_verdict inbound_publish(struct hub *hub, struct session *session,
                                 const struct mqtt_publish *publish)
{
    bool is_bad_topic = is_topic_beyond_limits(hub, publish);
    if (is_bad_topic || is_record_too_large(hub, publish)) {
        hub->counters.accepted[publish->qos]++;
        hub->counters.rejected[is_bad_topic ? HUB_REJECT_TOPIC : HUB_REJECT_TOO_LARGE]++;
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_LIMIT);
        return NET_CLOSE;
    }
    if (publish->qos == 0)
        return publish_at_most_once(hub, session, publish);
    if (session->inbound != NULL && session->inbound->count >= hub->limits->inbound_max) {
        session->flags |= SESSION_INBOUND_FULL;
        return NET_RETRY;
    }
    return publish_acknowledged(hub, session, publish);
}

void inbound_release(struct hub *hub, struct session *session, uint16_t packet_id)
{
    close_id(hub, session->inbound, packet_id);
    exactly_once_take(hub, session, EXACTLY_ONCE_PUBCOMP, packet_id, NULL);
}

void inbound_set_due(struct hub *hub, struct session *session, uint32_t position)
{
    const struct inbound *inbound = session->inbound;
    if (inbound == NULL || position - inbound->first >= inbound->count)
        return;
    answer_at(inbound, position)->state = INBOUND_DUE;
    send_due(hub, session);
}

bool inbound_is_waiting(const struct session *session)
{
    return session->inbound != NULL && session->inbound->count != 0;
}

/* The log has the message of a QoS 2 publish: its id is open, whatever happens. */
static void on_logged(struct hub *hub, struct session *session, uint32_t position)
{
    struct inbound_answer *answer = answer_at(session->inbound, position);
    uint64_t *generation = generation_of(session->inbound, answer->packet_id);
    if (generation != NULL)
        *generation &= ~INBOUND_UNLOGGED;
    answer->state = INBOUND_LOGGED;
    if (session->state == SESSION_ATTACHED)
        exactly_once_take(hub, session, EXACTLY_ONCE_PUBREC, position, NULL);
    else
        inbound_set_due(hub, session, position); /* what is saved says it */
}

/* Not stored: 3.1.1 has no negative acknowledgement, so the client learns by losing its connection,
 * and its repetition is a new publish. */
static void on_refused(struct hub *hub, struct session *session, uint32_t position)
{
    struct inbound_answer *answer = answer_at(session->inbound, position);
    if (answer->qos == 2)
        close_id(hub, session->inbound, answer->packet_id);
    answer->is_mute = true;
    if (session->connection != NULL)
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_LIMIT);
    inbound_set_due(hub, session, position);
}

void inbound_on_answer(struct hub *hub, const struct hub_mail *mail)
{
    struct session *session = session_get(hub, mail->session);
    struct inbound *inbound = session == NULL ? NULL : session->inbound;
    if (inbound == NULL || mail->position - inbound->first >= inbound->count)
        return; /* its session ended meanwhile */
    bool is_stored = mail->status == BROKER_OK || mail->status == BROKER_DUPLICATE;
    if (!is_stored)
        on_refused(hub, session, mail->position);
    else if (answer_at(inbound, mail->position)->qos == 2)
        on_logged(hub, session, mail->position);
    else
        inbound_set_due(hub, session, mail->position);
    if (session->state == SESSION_SAVING)
        opening_save(hub, session);
}

void inbound_detach(struct hub *hub, struct session *session)
{
    struct inbound *inbound = session->inbound;
    session->flags &= (uint16_t)~SESSION_INBOUND_FULL;
    if (session->stored != NULL && hub->shard->now_ns >= session->stored->repeats_until_ns)
        session->stored->next_repeated = 0;
    if (inbound == NULL)
        return;
    inbound->announced_id = 0;
    for (uint32_t i = 0; i < inbound->count; i++)
        answer_at(inbound, inbound->first + i)->is_mute = true;
    send_due(hub, session);
}

void inbound_destroy(struct hub *hub, struct session *session)
{
    struct inbound *inbound = session->inbound;
    if (inbound == NULL)
        return;
    for (uint32_t i = 0; inbound->pages != NULL && i < INBOUND_PAGES; i++)
        heap_free(hub->heap, inbound->pages[i]);
    heap_free(hub->heap, inbound->pages);
    heap_free(hub->heap, inbound->answers);
    heap_free(hub->heap, inbound);
    session->inbound = NULL;
}
