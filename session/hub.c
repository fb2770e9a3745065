/*
 * The hub: its making and ending, its mail, and the news of the connection layer. See hub.h.
 */
#include "session/hub.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "session/authorizer.h"
#include "session/catch_up.h"
#include "session/delivery.h"
#include "session/exactly_once.h"
#include "session/hub_mail.h"
#include "session/inbound.h"
#include "session/interest.h"
#include "session/late_read.h"
#include "session/opening.h"
#include "session/owner.h"
#include "session/progress.h"
#include "session/retained_due.h"
#include "session/retained_job.h"
#include "session/retained_read.h"
#include "session/retained_writer.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/subscribe.h"
#include "session/sys_topics.h"
#include "session/wanted.h"
#include "session/will.h"
#include "session/window.h"

enum { MAIL_PER_TURN = 4096 /* from one shard */ };

uint64_t hub_random(struct hub *hub)
{
    /* splitmix64; ids need to be unlike each other, not secret. */
    uint64_t value = hub->random_state += 0x9e3779b97f4a7c15ULL;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ULL;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebULL;
    return value ^ (value >> 31);
}

uint32_t hub_home_shard(const struct hub *hub, const void *client_id, uint32_t bytes)
{
    return (uint32_t)(hash_bytes(client_id, bytes) % hub->shard->count);
}

uint32_t hub_owner_of(const struct hub *hub, uint16_t partition)
{
    return partition % hub->shard->count;
}

static struct mail as_mail(const struct hub_mail *mail)
{
    struct mail out = {0};
    memcpy(out.bytes, mail, sizeof(*mail));
    return out;
}

/* Whether the owner answers this mail. */
static bool is_answered(const struct hub_mail *mail)
{
    switch ((enum hub_mail_kind)mail->kind) {
    case HUB_MAIL_PUBLISH:
        return mail->session.generation != 0 || mail->own != NULL;
    case HUB_MAIL_INTEREST:
    case HUB_MAIL_INTEREST_DROP:
    case HUB_MAIL_READ:
    case HUB_MAIL_RETAINED:
        return true;
    case HUB_MAIL_WANTED:
    case HUB_MAIL_HANDOVER:
    case HUB_MAIL_LATE:
    case HUB_MAIL_POSITION:
    case HUB_MAIL_PUBLISH_ANSWER:
    case HUB_MAIL_INTEREST_ANSWER:
    case HUB_MAIL_INTEREST_DROPPED:
    case HUB_MAIL_READ_ANSWER:
    case HUB_MAIL_RETAINED_ANSWER:
        break;
    }
    return false;
}

static bool is_answer(const struct hub_mail *mail)
{
    return mail->kind >= HUB_MAIL_PUBLISH_ANSWER;
}

static bool deliver_or_post(struct hub *hub, uint32_t to, const struct hub_mail *mail,
                            uint32_t bytes)
{
    if (mail->kind == HUB_MAIL_PUBLISH && hub_is_direct(hub, to))
        return owner_publish(hub->owner, to, mail);
    struct mail out = as_mail(mail);
    return shard_post(hub->shard, to, &out, bytes);
}

/* With the room of the answer reserved. */
static bool post(struct hub *hub, uint32_t to, const struct hub_mail *mail, uint32_t bytes)
{
    bool wants_answer = is_answered(mail);
    if (wants_answer && hub->answers_due[to] >= hub->answers_max)
        return false;
    if (!deliver_or_post(hub, to, mail, bytes))
        return false;
    hub->answers_due[to] += wants_answer;
    return true;
}

bool hub_post(struct hub *hub, uint32_t to, const struct hub_mail *mail, uint32_t bytes)
{
    /* Requests of this hub that wait for room go first. */
    bool must_wait = mail->kind == HUB_MAIL_PUBLISH && hub->outbox_first != NULL;
    if (!must_wait && post(hub, to, mail, bytes))
        return true;
    if (mail->kind == HUB_MAIL_PUBLISH)
        hub->full_owners |= 1ULL << to;
    return false;
}

static void on_publish_answer(struct hub *hub, const struct hub_mail *mail)
{
    if (mail->own != NULL)
        will_on_published(hub, mail->own, (enum broker_status)mail->status);
    else
        inbound_on_answer(hub, mail);
}

void hub_answer(struct hub *hub, uint32_t to, const struct hub_mail *mail)
{
    if (mail->kind == HUB_MAIL_PUBLISH_ANSWER && hub_is_direct(hub, to)) {
        hub->answers_due[to]--;
        on_publish_answer(hub, mail);
        return;
    }
    struct mail out = as_mail(mail);
    bool is_posted = shard_post_reserved(hub->shard, to, &out, 0);
    ps_assert(is_posted);
}

void hub_request(struct hub *hub, uint32_t to, const struct hub_mail *mail,
                 struct outbox_mail *room)
{
    if (hub->outbox_first == NULL && post(hub, to, mail, 0))
        return;
    *room = (struct outbox_mail){.to = to, .mail = *mail};
    if (hub->outbox_last == NULL)
        hub->outbox_first = room;
    else
        hub->outbox_last->next = room;
    hub->outbox_last = room;
}

static void empty_outbox(struct hub *hub)
{
    while (hub->outbox_first != NULL) {
        struct outbox_mail *waiting = hub->outbox_first;
        struct outbox_mail *next = waiting->next; /* an answer may come before we look again */
        if (!post(hub, waiting->to, &waiting->mail, 0))
            return;
        hub->outbox_first = next;
        if (next == NULL)
            hub->outbox_last = NULL;
    }
}

static void on_position(struct hub *hub, const struct hub_mail *mail)
{
    if (mail->sequence > hub->floors[mail->partition])
        hub->floors[mail->partition] = mail->sequence;
}

/* One mail. False: it cannot be handled now and is to be given again. */
static bool on_mail(struct hub *hub, uint32_t from, const struct hub_mail *mail)
{
    switch ((enum hub_mail_kind)mail->kind) {
    case HUB_MAIL_PUBLISH:
        return owner_publish(hub->owner, from, mail);
    case HUB_MAIL_INTEREST:
    case HUB_MAIL_INTEREST_DROP:
        if (!hub->owner->is_started)
            return false;
        owner_interest(hub->owner, mail->pointer, mail->kind == HUB_MAIL_INTEREST_DROP);
        return true;
    case HUB_MAIL_READ:
        if (!hub->owner->is_started)
            return false;
        owner_read(hub->owner, mail->pointer);
        return true;
    case HUB_MAIL_RETAINED:
        retained_read_answer(hub->owner, mail->pointer);
        return true;
    case HUB_MAIL_WANTED:
        owner_set_wanted(hub->owner, from, mail->partition, mail->sequence);
        return true;
    case HUB_MAIL_HANDOVER:
        if (hub->fan_out != NULL)
            return false;
        delivery_handover(hub, mail->pointer);
        return true;
    case HUB_MAIL_LATE:
        if (hub->fan_out != NULL)
            return false;
        hub->counters.shard_lates++;
        catch_up_on_shard_late(hub, mail->partition, mail->sequence);
        return true;
    case HUB_MAIL_POSITION:
        if (hub->fan_out != NULL)
            return false;
        on_position(hub, mail);
        return true;
    case HUB_MAIL_PUBLISH_ANSWER:
        on_publish_answer(hub, mail);
        return true;
    case HUB_MAIL_INTEREST_ANSWER:
    case HUB_MAIL_INTEREST_DROPPED:
        if (hub->fan_out != NULL)
            return false;
        interest_on_answer(hub, mail->pointer, from);
        return true;
    case HUB_MAIL_READ_ANSWER:
        if (hub->fan_out != NULL)
            return false;
        catch_up_on_read(hub, mail->pointer);
        return true;
    case HUB_MAIL_RETAINED_ANSWER:
        retained_job_on_page(hub, mail->pointer);
        return true;
    }
    return true;
}

/* Takes mail of one shard. True: there is more. */
static bool take_mail(struct hub *hub, uint32_t from)
{
    struct mailbox *inbox = hub->shard->inboxes[from];
    uint32_t answers = 0;
    for (uint32_t count = 0; count < MAIL_PER_TURN; count++) {
        struct mail *mail = mailbox_take(inbox);
        if (mail == NULL)
            break;
        struct hub_mail copy;
        memcpy(&copy, mail->bytes, sizeof(copy));
        if (!on_mail(hub, from, &copy)) {
            mailbox_untake(inbox);
            break;
        }
        answers += is_answer(&copy);
    }
    mailbox_give_back(inbox);
    hub->answers_due[from] -= answers;
    hub->holds_mail |= inbox->is_held;
    return !mailbox_is_quiet(inbox);
}

/* Whether one of the owners that refused a publish would now take some. */
static bool has_room_again(const struct hub *hub)
{
    uint64_t owners = hub->outbox_first == NULL ? hub->full_owners : 0;
    while (owners != 0) {
        uint32_t to = (uint32_t)__builtin_ctzll(owners);
        owners &= owners - 1;
        struct mailbox *mailbox = hub->shard->peers[to]->inboxes[hub->shard->index];
        bool has_room = to == hub->shard->index ? owner_has_room(hub->owner) : true;
        if (has_room && hub->answers_due[to] < hub->answers_max && mailbox_has_room(mailbox))
            return true;
    }
    return false;
}

/* Connections whose publish found no room are given another chance, once there is some: to decode
 * and be refused again and again would take the core from an owner that has to make it. */
static void retry_publishers(struct hub *hub)
{
    if (!has_room_again(hub))
        return;
    uint32_t number = hub->retry_first;
    hub->retry_first = 0;
    hub->full_owners = 0;
    while (number != 0) {
        struct session *session = pool_at(&hub->session_pool, number - 1);
        number = session->next_retry;
        session->flags &= (uint16_t)~SESSION_IN_RETRY;
        if (session->connection != NULL && session->connection->state == CONNECTION_OPEN)
            net_resume(hub->net, session->connection);
    }
}

static bool step_mail(void *context, struct shard *shard)
{
    struct hub *hub = context;
    hub->holds_mail = false;
    bool has_more = !delivery_continue(hub);
    /* Own mail that this turn's input posted is taken in this turn. */
    mailbox_flush(shard->inboxes[shard->index]);
    for (uint32_t from = 0; from < shard->count; from++)
        has_more |= take_mail(hub, from);
    empty_outbox(hub);
    if (hub->retry_first != 0)
        retry_publishers(hub);
    return has_more;
}

static bool step_broker(void *context, struct shard *shard)
{
    struct hub *hub = context;
    hub->wants_turn = false;
    retained_writer_step(hub->owner->retained);
    exactly_once_step(hub);
    session_store_step(hub);
    bool has_more = owner_step(hub->owner);
    /* What the broker committed and handed over reaches this shard's sessions in this turn. */
    mailbox_flush(shard->inboxes[shard->index]);
    bool may_go_on = hub->holds_mail && owner_has_room(hub->owner);
    return take_mail(hub, shard->index) || may_go_on || has_more;
}

enum { RETRY_MS = 1 };

/* What was left after its step; what waits for another shard's mailbox is tried again soon. */
static uint64_t deadline(void *context, const struct shard *shard)
{
    const struct hub *hub = context;
    if (hub->wants_turn || hub->late.first != 0)
        return 0;
    bool waits = hub->outbox_first != NULL || hub->retry_first != 0 || hub->store_first != NULL ||
                 hub->read_waits.first != 0 || hub->late_unread != 0 || hub->holds_mail ||
                 owner_waits(hub->owner) || wanted_is_looking(hub->wanted);
    uint64_t soon = shard->now_ns + RETRY_MS * 1000000ULL;
    uint64_t next_second = shard->now_ns + 1000000000ULL;
    if (waits)
        return soon;
    uint64_t next = ps_min_u64(next_second, broker_deadline_ns(hub->broker));
    return ps_min_u64(next, opening_deadline(hub));
}

static bool step_catch_up(void *context, struct shard *shard)
{
    struct hub *hub = context;
    (void)shard;
    authorizer_step(hub);
    opening_step(hub);
    sys_topics_step(hub);
    progress_step(hub);
    wanted_step(hub);
    return catch_up_step(hub);
}

static enum net_verdict on_connect(void *context, struct connection *connection,
                                   const struct mqtt_connect *connect)
{
    return opening_connect(context, connection, connect);
}

/* PUBACK, PUBREC, PUBCOMP: what a delivery's receiver says. Ids that are not in flight are ignored.
 */
static void on_acknowledged(struct hub *hub, struct session *session, enum mqtt_type type,
                            uint16_t packet_id)
{
    struct window_entry *entry = window_find(session->window, packet_id);
    if (type == MQTT_PUBREC) { /* [MQTT-4.3.3-1] */
        if (entry != NULL && entry->qos != 2)
            return;
        if (entry != NULL)
            window_mark_released(session->window, entry);
        exactly_once_take(hub, session, EXACTLY_ONCE_PUBREL, packet_id, NULL);
        return;
    }
    bool is_expected =
        entry != NULL && (type == MQTT_PUBACK ? entry->qos == 1 : entry->state == WINDOW_RELEASED);
    if (!is_expected)
        return;
    window_release(hub->heap, session->window, entry);
    hub->counters.finished++;
    hub->counters.in_flight--;
    if (session->window->count == 0 && session->cursors == NULL) {
        heap_free(hub->heap, session->window);
        session->window = NULL;
    }
    catch_up_schedule(hub, session);
}

static enum net_verdict on_packet(void *context, struct connection *connection,
                                  const struct mqtt_packet *packet)
{
    struct hub *hub = context;
    struct session *session = connection->owner;
    switch (packet->type) {
    case MQTT_PUBLISH:
        return inbound_publish(hub, session, &packet->publish);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        on_acknowledged(hub, session, packet->type, packet->ack.packet_id);
        return NET_CONTINUE;
    case MQTT_PUBREL:
        inbound_release(hub, session, packet->ack.packet_id);
        return NET_CONTINUE;
    case MQTT_SUBSCRIBE:
        return subscribe_on_subscribe(hub, session, &packet->filters);
    case MQTT_UNSUBSCRIBE:
        return subscribe_on_unsubscribe(hub, session, &packet->filters);
    case MQTT_DISCONNECT:
        opening_forget_will(hub, session);
        connection_close(hub->net, connection, CONNECTION_CLOSED_DISCONNECT);
        return NET_CLOSE;
    case MQTT_CONNECT:
    case MQTT_CONNACK:
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
    case MQTT_AUTH:
    case MQTT_PACKET_TYPES:
        break;
    }
    connection_close(hub->net, connection, CONNECTION_CLOSED_PROTOCOL);
    return NET_CLOSE;
}

static void on_drained(void *context, struct connection *connection)
{
    struct session *session = connection->owner;
    if (session != NULL)
        catch_up_schedule(context, session);
}

static void on_close(void *context, struct connection *connection,
                     enum connection_close_reason reason)
{
    opening_on_close(context, connection->owner, connection, reason);
}

static void on_release(void *context, void *reference)
{
    struct hub *hub = context;
    record_release(hub->heap, reference);
}

static void on_topic_evicted(void *context, struct topic *topic)
{
    struct hub *hub = context;
    recent_forget_topic(&hub->recent, topic);
}

static int create_net(struct hub *hub, const struct hub_options *options)
{
    const struct net_callbacks callbacks = {
        .context = hub,
        .on_connect = on_connect,
        .on_packet = on_packet,
        .on_drained = on_drained,
        .on_close = on_close,
        .on_release = on_release,
    };
    const struct net_options net_options = {
        .shard = options->shard,
        .log = options->log,
        .heap = options->heap,
        .rings = options->rings,
        .limits = options->net_limits,
        .shared = options->net_shared,
        .callbacks = &callbacks,
        .sockets_max = options->sockets_max,
    };
    return net_create(&net_options, &hub->net);
}

bool hub_is_idle(const struct hub *hub)
{
    for (uint32_t i = 0; i < hub->shard->count; i++) {
        if (hub->answers_due[i] != 0)
            return false;
    }
    return hub->outbox_first == NULL && hub->store_count == 0 && hub->fan_out == NULL &&
           owner_is_idle(hub->owner);
}

static void add_steps(struct hub *hub)
{
    const struct shard_step steps[] = {
        {.name = "receive", .run = net_step_receive, .deadline = net_deadline, .context = hub->net},
        {.name = "mail", .run = step_mail, .context = hub},
        {.name = "broker", .run = step_broker, .deadline = deadline, .context = hub},
        {.name = "catch-up", .run = step_catch_up, .context = hub},
        {.name = "timers", .run = net_step_timers, .context = hub->net},
        {.name = "send", .run = net_step_send, .context = hub->net},
    };
    for (size_t i = 0; i < ps_array_count(steps); i++)
        shard_add_step(hub->shard, &steps[i]);
}

static int create_tables(struct hub *hub)
{
    const struct hub_limits *limits = hub->limits;
    const struct topic_index_options index = {
        .heap = hub->heap,
        .seed = hub->shared->seed,
        .topics_max = limits->topics_max,
        .filters_max = limits->filters_max,
        .on_evict = on_topic_evicted,
        .context = hub,
    };
    table_init(&hub->sessions, hub->heap);
    pool_init(&hub->session_pool, hub->heap, sizeof(struct session), limits->sessions_max);
    pool_init(&hub->subscription_pool, hub->heap, sizeof(struct subscription), UINT32_MAX);
    pool_init(&hub->cursor_pool, hub->heap, sizeof(struct cursor), UINT32_MAX);
    pool_init(&hub->due_pool, hub->heap, sizeof(struct retained_due), UINT32_MAX);
    hub->floors = heap_zalloc(hub->heap, hub->partition_count * sizeof(uint64_t));
    hub->answers_due = heap_zalloc(hub->heap, hub->shard->count * sizeof(uint32_t));
    hub->lateness = heap_zalloc(hub->heap, hub->partition_count);
    if (hub->floors == NULL || hub->lateness == NULL || hub->answers_due == NULL)
        return -ENOMEM;
    int status = topic_index_init(&hub->index, &index);
    if (status != 0)
        return status;
    return recent_init(&hub->recent, hub->heap, limits->recent_entries_max,
                       limits->recent_bytes_max, hub->partition_count);
}

int hub_create(const struct hub_options *options, struct hub **out_hub)
{
    struct hub *hub = heap_zalloc(options->heap, sizeof(*hub));
    if (hub == NULL)
        return -ENOMEM;
    hub->shard = options->shard;
    hub->heap = options->heap;
    hub->broker = options->broker;
    hub->log = options->log;
    hub->authorizer = options->authorizer;
    hub->limits = options->limits;
    hub->net_limits = options->net_limits;
    hub->net_shared = options->net_shared;
    hub->shared = options->shared;
    hub->sys = options->sys;
    hub->random_state = options->random_seed;
    hub->partition_count = broker_partition_count(hub->broker);
    hub->partition_levels = broker_partition_levels(hub->broker);
    /* Beside answers an owner's "late" takes reserved room, at most one for each partition. */
    uint32_t reserved_max = hub->shard->inboxes[0]->reserved_max;
    ps_assert(reserved_max > hub->partition_count);
    hub->answers_max = reserved_max - hub->partition_count;
    int status = create_tables(hub);
    if (status == 0)
        status = create_net(hub, options);
    if (status == 0)
        status = progress_create(hub, &hub->progress);
    if (status == 0)
        status = wanted_create(hub, &hub->wanted);
    if (status == 0)
        status = owner_create(hub, &hub->owner);
    if (status != 0) {
        hub_destroy(hub);
        return status;
    }
    add_steps(hub);
    *out_hub = hub;
    return 0;
}

struct victims {
    struct session **sessions;
    uint32_t count;
};

static bool collect(void *context, void *item)
{
    struct victims *victims = context;
    victims->sessions[victims->count++] = item;
    return true;
}

static void destroy_sessions(struct hub *hub)
{
    if (hub->sessions.count == 0)
        return;
    struct victims victims = {
        .sessions = heap_alloc(hub->heap, hub->sessions.count * sizeof(struct session *)),
    };
    if (victims.sessions == NULL)
        return;
    table_iterate(&hub->sessions, collect, &victims);
    for (uint32_t i = 0; i < victims.count; i++) {
        victims.sessions[i]->connection = NULL; /* net is gone */
        opening_abort(hub, victims.sessions[i]);
        session_destroy(hub, victims.sessions[i]);
    }
    heap_free(hub->heap, victims.sessions);
}

/* Gives back what a mail that nobody will take stands for. */
static void discard(struct hub *hub, const struct hub_mail *mail)
{
    switch ((enum hub_mail_kind)mail->kind) {
    case HUB_MAIL_PUBLISH:
        record_release(hub->heap, mail->pointer);
        heap_free(hub->heap, mail->own); /* in which the mail itself may stand */
        return;
    case HUB_MAIL_HANDOVER:
        record_release(hub->heap, mail->pointer);
        return;
    case HUB_MAIL_PUBLISH_ANSWER:
        heap_free(hub->heap, mail->own);
        return;
    case HUB_MAIL_INTEREST:
    case HUB_MAIL_INTEREST_ANSWER:
    case HUB_MAIL_INTEREST_DROP:
    case HUB_MAIL_INTEREST_DROPPED:
        interest_discard(hub, mail->pointer);
        return;
    case HUB_MAIL_READ:
    case HUB_MAIL_READ_ANSWER:
        late_read_finish(hub, mail->pointer);
        return;
    case HUB_MAIL_RETAINED:
    case HUB_MAIL_RETAINED_ANSWER:
        retained_job_discard(hub, mail->pointer);
        return;
    case HUB_MAIL_WANTED:
    case HUB_MAIL_LATE:
    case HUB_MAIL_POSITION:
        return;
    }
}

static void discard_mail(struct hub *hub)
{
    for (uint32_t from = 0; from < hub->shard->count; from++) {
        struct mailbox *inbox = hub->shard->inboxes[from];
        struct mail *mail = NULL;
        while ((mail = mailbox_take(inbox)) != NULL)
            discard(hub, (const struct hub_mail *)(const void *)mail->bytes);
        mailbox_give_back(inbox);
    }
    while (hub->outbox_first != NULL) {
        struct outbox_mail *waiting = hub->outbox_first;
        hub->outbox_first = waiting->next; /* read before the memory that it stands in goes */
        discard(hub, &waiting->mail);
    }
}

void hub_destroy(struct hub *hub)
{
    if (hub == NULL)
        return;
    hub->is_ending = true;
    delivery_abort(hub);
    opening_abort_delayed(hub);
    net_destroy(hub->net);
    destroy_sessions(hub);
    discard_mail(hub);
    subscribe_abort(hub);
    session_store_abort(hub);
    owner_destroy(hub->owner);
    progress_destroy(hub, hub->progress);
    wanted_destroy(hub, hub->wanted);
    recent_deinit(&hub->recent);
    topic_index_deinit(&hub->index);
    table_deinit(&hub->sessions);
    pool_deinit(&hub->session_pool);
    pool_deinit(&hub->subscription_pool);
    pool_deinit(&hub->cursor_pool);
    pool_deinit(&hub->due_pool);
    heap_free(hub->heap, hub->floors);
    heap_free(hub->heap, hub->lateness);
    heap_free(hub->heap, hub->answers_due);
    heap_free(hub->heap, hub);
}
