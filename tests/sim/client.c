/*
 * A simulated client: its connections, and bytes in and out. See client.h.
 */
#include "sim/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client_internal.h"
#include "core/base.h"
#include "net/mqtt_decode.h"
#include "net/mqtt_encode.h"

enum { RECONNECT_MS_MAX = 300, SUBSCRIBE_MS = 500, READ_BYTES = 16384, PACKET_BYTES_MAX = 1 << 20 };

void client_queue_put(struct client_queue *queue, uint8_t type, uint16_t packet_id)
{
    if (queue->first == queue->count) {
        queue->first = 0;
        queue->count = 0;
    }
    if (queue->count == queue->max) {
        queue->max = queue->max == 0 ? 64 : queue->max * 2;
        queue->items = realloc(queue->items, queue->max * sizeof(*queue->items));
        ps_assert(queue->items != NULL);
    }
    queue->items[queue->count++] = (struct client_ack){.type = type, .packet_id = packet_id};
}

struct client_ack *client_queue_take(struct client_queue *queue)
{
    return client_queue_is_empty(queue) ? NULL : &queue->items[queue->first++];
}

static void queue_clear(struct client_queue *queue)
{
    queue->first = 0;
    queue->count = 0;
}

/* Moves what there is to the front of new memory. At least half of the old one was filled or
 * dropped since the last time, so that a byte is moved some two times, however small the pieces. */
static void bytes_move(struct client_bytes *bytes, uint32_t count_wanted)
{
    if (count_wanted > bytes->max / 2)
        bytes->max = count_wanted * 2 + 256;
    unsigned char *memory = malloc(bytes->max);
    ps_assert(memory != NULL);
    if (bytes->count != 0)
        memcpy(memory, bytes->bytes, bytes->count);
    free(bytes->memory);
    bytes->memory = memory;
    bytes->bytes = memory;
}

static unsigned char *bytes_reserve(struct client_bytes *bytes, uint32_t count)
{
    uint32_t dropped = (uint32_t)(bytes->bytes - bytes->memory);
    if (dropped + bytes->count + count > bytes->max)
        bytes_move(bytes, bytes->count + count);
    bytes->count += count;
    return bytes->bytes + bytes->count - count;
}

static void bytes_drop(struct client_bytes *bytes, uint32_t count)
{
    bytes->bytes += count;
    bytes->count -= count;
}

unsigned char *client_reserve(struct client *client, uint32_t bytes)
{
    if (client->keepalive_seconds != 0)
        client->ping_ns =
            client_now_ns(client) + (uint64_t)client->keepalive_seconds * 500000000ULL;
    return bytes_reserve(&client->out, bytes);
}

static void print_event(const struct client *client, const struct client_event *event)
{
    fprintf(stderr, "%11.3f ms  %7llu  client %-3u ", (double)event->at_ns / 1e6,
            (unsigned long long)event->clock, client->number);
    if (event->text != NULL) {
        fprintf(stderr, "%s %u\n", event->text, event->number);
        return;
    }
    fprintf(stderr, "%s %s", event->is_out ? "->" : "<-",
            mqtt_type_name((enum mqtt_type)event->kind));
    if (event->kind == MQTT_PUBLISH) {
        fprintf(stderr, " message %d topic %s qos %u%s%s", (int)event->message,
                client->model->topics[event->number], event->qos, event->is_dup ? " DUP" : "",
                event->is_retain ? " RETAIN" : "");
    } else if (event->kind == MQTT_SUBSCRIBE || event->kind == MQTT_UNSUBSCRIBE) {
        fprintf(stderr, " %s qos %u", client->model->filters[event->number], event->qos);
    } else if (event->number != 0) {
        fprintf(stderr, " code %u", event->number);
    }
    if (event->packet_id != 0)
        fprintf(stderr, " id %u", event->packet_id);
    fprintf(stderr, "\n");
}

void client_note(struct client *client, const struct client_event *event)
{
    struct client_event *kept = &client->events[client->event_count++ % CLIENT_EVENTS];
    *kept = *event;
    kept->at_ns = client_now_ns(client);
    kept->clock = client->model->clock;
    if (client->is_tracing)
        print_event(client, kept);
}

void client_say(struct client *client, const char *text, uint32_t number)
{
    const struct client_event event = {.text = text, .number = number};
    client_note(client, &event);
}

void client_print_events(const struct client *client)
{
    fprintf(stderr, "client %u (%s), state %d, last events:\n", client->number, client->id,
            (int)client->state);
    uint32_t first = client->event_count > CLIENT_EVENTS ? client->event_count - CLIENT_EVENTS : 0;
    for (uint32_t i = first; i < client->event_count; i++)
        print_event(client, &client->events[i % CLIENT_EVENTS]);
}

void client_init(struct client *client, uint32_t number, const struct scenario *scenario,
                 struct model *model, struct sim_world *world,
                 const struct sockaddr_storage *address)
{
    *client = (struct client){
        .number = number,
        .scenario = scenario,
        .model = model,
        .world = world,
        .address = address,
        .life = CLIENT_NONE,
        .will = CLIENT_NONE,
        .ping_ns = UINT64_MAX,
        .next_packet_id = 1,
    };
    random_init(&client->random, scenario->seed * 1000003 + number);
    snprintf(client->id, sizeof(client->id), "client-%u", number);
    client->is_anonymous = client_chance(client, scenario->anonymous_chance);
    client->level = client_chance(client, scenario->level_3_chance) && !client->is_anonymous
                        ? MQTT_3_1
                        : MQTT_3_1_1;
    client->next_packet_id = (uint16_t)random_between(&client->random, 1, 65535);
    client->next_action_ns = client_now_ns(client) + random_below(&client->random, 50000000);
    if (scenario->subscribes_first)
        client->begins_ns = client_now_ns(client) + SUBSCRIBE_MS * 1000000ULL;
}

void client_deinit(struct client *client)
{
    free(client->out.memory);
    free(client->in.memory);
    free(client->expected.items);
    free(client->releases.items);
    free(client->acks.items);
    free(client->deliveries);
}

static bool wants_clean(struct client *client)
{
    if (client->is_anonymous || client->must_be_clean)
        return true;
    if (client->is_settling)
        return false;
    if (client->stored == STORED_DURABLE) /* a session that is there is mostly gone on with */
        return !client_chance(client, 85 + client->scenario->durable_chance / 7);
    return !client_chance(client, client->scenario->durable_chance);
}

/* The session is given up, at the latest when a clean CONNECT is sent. */
static void end_life(struct client *client)
{
    if (client->life != CLIENT_NONE)
        model_life_end(client->model, client->life);
    client->life = CLIENT_NONE;
    client_abandon_publishes(client);
    client_forget_deliveries(client, false);
    memset(client->requests, 0, sizeof(client->requests));
    client->has_subscribed = false;
}

static void add_will(struct client *client, struct mqtt_connect *connect, unsigned char *payload)
{
    const struct scenario *scenario = client->scenario;
    if (client->is_settling || !client_chance(client, scenario->will_chance))
        return;
    struct model *model = client->model;
    const struct model_message will = {
        .topic = (uint32_t)random_below(&client->random, model->topic_count),
        .publisher = client->number,
        .life = UINT32_MAX,
        .payload_bytes = (uint32_t)random_between(&client->random, MODEL_STAMP_BYTES, 64),
        .sends = 1,
        .sent_at = model->clock,
        .qos = (uint8_t)random_below(&client->random, 3),
        .is_retain = client_chance(client, scenario->retain_chance),
        .is_will = true,
    };
    client->will = model_add_message(model, &will);
    model_fill_payload(client->will, payload, will.payload_bytes);
    const char *topic = model->topics[will.topic];
    connect->has_will = true;
    connect->will_qos = will.qos;
    connect->will_retain = will.is_retain;
    connect->will_topic =
        (struct mqtt_bytes){(const unsigned char *)topic, (uint32_t)strlen(topic)};
    connect->will_payload = (struct mqtt_bytes){payload, will.payload_bytes};
}

static void send_connect(struct client *client)
{
    unsigned char payload[64];
    struct mqtt_connect connect = {
        .level = client->level,
        .is_clean = client->is_clean,
        .client_id = {(const unsigned char *)client->id, (uint32_t)strlen(client->id)},
    };
    if (client->is_anonymous)
        connect.client_id.count = 0;
    if (!client->is_settling && client_chance(client, client->scenario->keepalive_chance))
        connect.keepalive_seconds = (uint16_t)random_between(&client->random, 1, 4);
    client->keepalive_seconds = connect.keepalive_seconds;
    client->ping_ns = UINT64_MAX;
    client->model->clock++;
    add_will(client, &connect, payload);
    uint32_t bytes = (uint32_t)mqtt_encode_connect(&connect, NULL);
    mqtt_encode_connect(&connect, client_reserve(client, bytes));
    const struct client_event event = {
        .kind = MQTT_CONNECT, .is_out = true, .number = client->is_clean};
    client_note(client, &event);
}

void client_connect(struct client *client)
{
    client->peer = sim_client_connect(client->world, client->address);
    if (client->peer == NULL) {
        client->next_action_ns = client_now_ns(client) + 10000000;
        return;
    }
    client->out.count = 0;
    client->in.count = 0;
    queue_clear(&client->expected);
    queue_clear(&client->releases);
    queue_clear(&client->acks);
    memset(client->requests, 0, sizeof(client->requests));
    client_forget_deliveries(client, true);
    client->is_clean = wants_clean(client);
    client->is_resumed = false;
    client->is_silent = false;
    client->is_cut_off = false;
    client->reads_again_ns = 0;
    client->acks_again_ns = 0;
    client->writes_whole_ns = 0;
    client->will = CLIENT_NONE;
    client->state = CLIENT_CONNECTING;
    client->connect_count++;
    client->connected_at = ++client->model->clock;
    if (client->is_clean)
        end_life(client);
    send_connect(client);
}

/* What is known of the will when its connection has ended. */
static void settle_will(struct client *client, bool is_clean_end)
{
    if (client->will == CLIENT_NONE)
        return;
    struct model_message *will = &client->model->messages[client->will];
    will->ended_ns = client_now_ns(client);
    bool was_left = client->state == CLIENT_LEAVING;
    if (client->model->mutation == MODEL_FORGETS_WILL && was_left)
        will->must_appear = true;
    else if (was_left && is_clean_end && client->keepalive_seconds == 0 && !client->is_cut_off)
        will->is_forbidden = true;
    else if (client->state == CLIENT_ONLINE || (was_left && client->is_cut_off))
        will->must_appear = true;
    client->will = CLIENT_NONE;
}

/* The gateway closes, or is killed. A DISCONNECT that is under way may have come too late; one that
 * is sent before the client sees the end does, although that looks as if it was the answer. */
void client_on_stop(struct client *client)
{
    client->is_cut_off = client->peer != NULL;
    if (client->state == CLIENT_LEAVING)
        client->will = CLIENT_NONE;
}

void client_on_crash(struct client *client, bool is_lossy)
{
    /* The store may have lost what it learned last of the session. The client has what it had: ids
     * of QoS 2 that the gateway has forgotten must be released before they are used again. */
    if (is_lossy) {
        client->must_be_clean |= client->stored == STORED_NONE && !client->is_anonymous;
        client->stored = STORED_UNKNOWN;
    }
    client_on_stop(client);
}

/* What would have taken them over may never have arrived. */
static void close_older(struct client *client)
{
    for (uint32_t i = 0; i < CLIENT_OLDER_MAX; i++) {
        if (client->older[i] != NULL)
            sim_client_close(client->older[i]);
        client->older[i] = NULL;
    }
}

/* The connection is over, by whomever; the peer is closed by the caller. */
void client_end_connection(struct client *client, bool is_clean_end)
{
    settle_will(client, is_clean_end);
    client->peer = NULL;
    if (client->state == CLIENT_CONNECTING) {
        close_older(client);
        if (client->is_clean)
            client->must_be_clean = !client->is_anonymous;
        else if (client->stored == STORED_NONE)
            client->stored = STORED_UNKNOWN;
    } else if (client->is_clean) {
        end_life(client);
    }
    client->state = CLIENT_OFFLINE;
    client->next_action_ns =
        client_now_ns(client) + random_below(&client->random, RECONNECT_MS_MAX * 1000000ULL);
    if (client->scenario->subscribes_first || client->is_settling)
        client->next_action_ns = client_now_ns(client) + 1000000;
}

/* A second connection with the same id; the gateway has to close the first. */
void client_take_over(struct client *client)
{
    for (uint32_t i = 0; i < CLIENT_OLDER_MAX; i++) {
        if (client->older[i] != NULL)
            continue;
        client->older[i] = client->peer;
        client_say(client, "takes itself over", 0);
        client_end_connection(client, false);
        client_connect(client);
        return;
    }
}

/* Reads what an older connection still gives until the gateway closes it. It never does when the
 * CONNECT that was to take over was reset on its way: who stays away then ends it himself. */
static bool read_older(struct client *client)
{
    bool stays_away = client->is_settling && client->state == CLIENT_OFFLINE &&
                      client->life == CLIENT_NONE && !client->must_be_clean;
    bool has_moved = false;
    unsigned char buffer[4096];
    for (uint32_t i = 0; i < CLIENT_OLDER_MAX; i++) {
        if (client->older[i] == NULL)
            continue;
        int32_t count = sim_client_receive(client->older[i], buffer, sizeof(buffer));
        if (count == -EAGAIN && !stays_away)
            continue;
        has_moved = true;
        if (count > 0)
            continue;
        sim_client_close(client->older[i]);
        client->older[i] = NULL;
    }
    return has_moved;
}

/* Decodes the whole packets that came. */
static void take_packets(struct client *client)
{
    uint32_t done = 0;
    while (client->peer != NULL) {
        struct mqtt_frame frame;
        struct mqtt_packet packet;
        enum mqtt_frame_state state = mqtt_frame_find(
            client->in.bytes + done, client->in.count - done, PACKET_BYTES_MAX, &frame);
        if (state == MQTT_FRAME_NEEDS_MORE)
            break;
        enum mqtt_reason reason = frame.reason;
        if (state == MQTT_FRAME_WHOLE)
            reason = mqtt_decode(client->in.bytes + done, &frame, (enum mqtt_level)client->level,
                                 &packet);
        if (state == MQTT_FRAME_BAD || reason != MQTT_GOOD) {
            model_fail(client->model, client->number, "the gateway sent what is no packet: %s",
                       mqtt_reason_name(reason));
            client->in.count = 0;
            return;
        }
        client->packets_received += packet.type != MQTT_PINGRESP;
        client_on_packet(client, &packet);
        done += frame.packet_bytes;
    }
    if (done != 0)
        bytes_drop(&client->in, done);
}

static bool read_bytes(struct client *client)
{
    if (client->peer == NULL || client_now_ns(client) < client->reads_again_ns)
        return false;
    unsigned char *room = bytes_reserve(&client->in, READ_BYTES);
    int32_t count = sim_client_receive(client->peer, room, READ_BYTES);
    client->in.count -= READ_BYTES - (count > 0 ? (uint32_t)count : 0);
    if (count == -EAGAIN)
        return false;
    if (count > 0) {
        take_packets(client);
        return true;
    }
    client_say(client, count == 0 ? "sees the end" : "sees a reset", 0);
    sim_client_close(client->peer);
    client_end_connection(client, count == 0);
    return true;
}

static bool write_bytes(struct client *client)
{
    if (client->peer == NULL || client->out.count == 0)
        return false;
    uint32_t count = client->out.count;
    if (client_now_ns(client) < client->writes_whole_ns)
        count = ps_min_u32(count, (uint32_t)random_between(&client->random, 0, 9));
    if (count == 0)
        return false;
    int32_t taken = sim_client_send(client->peer, client->out.bytes, count);
    if (taken == -EAGAIN || taken == 0)
        return false;
    if (taken < 0) {
        /* What the gateway said before it may still be there, the end comes behind it. */
        client->out.count = 0;
        return false;
    }
    bytes_drop(&client->out, (uint32_t)taken);
    return true;
}

bool client_step(struct client *client)
{
    bool has_moved = read_older(client);
    has_moved |= read_bytes(client);
    has_moved |= client_write_acks(client);
    has_moved |= client_act(client);
    has_moved |= write_bytes(client);
    return has_moved;
}

uint64_t client_deadline_ns(const struct client *client)
{
    uint64_t now_ns = client_now_ns(client);
    uint64_t deadline_ns = client->next_action_ns;
    if (client->peer == NULL)
        return deadline_ns;
    if (!client->is_silent)
        deadline_ns = ps_min_u64(deadline_ns, client->ping_ns);
    if (client->reads_again_ns > now_ns)
        deadline_ns = ps_min_u64(deadline_ns, client->reads_again_ns);
    if (client->acks_again_ns > now_ns && client->acks_again_ns != UINT64_MAX)
        deadline_ns = ps_min_u64(deadline_ns, client->acks_again_ns);
    if (client->out.count != 0 && client->writes_whole_ns > now_ns)
        deadline_ns = ps_min_u64(deadline_ns, now_ns + 1000000);
    return deadline_ns;
}

void client_settle(struct client *client)
{
    client->is_settling = true;
    client->reads_again_ns = 0;
    client->acks_again_ns = 0;
    client->writes_whole_ns = 0;
    client->next_action_ns = client_now_ns(client);
}

bool client_is_at_rest(const struct client *client)
{
    for (uint32_t i = 0; i < CLIENT_OLDER_MAX; i++) {
        if (client->older[i] != NULL)
            return false;
    }
    if (client->state == CLIENT_OFFLINE)
        return client->life == CLIENT_NONE && !client->must_be_clean;
    if (client->state != CLIENT_ONLINE || client->out.count != 0 || client->publish_count != 0)
        return false;
    for (uint32_t i = 0; i < ps_array_count(client->requests); i++) {
        if (client->requests[i].packet_id != 0)
            return false;
    }
    return client_queue_is_empty(&client->acks) && client_deliveries_open(client) == 0;
}

void client_leave_for_good(struct client *client)
{
    if (client->peer != NULL) {
        sim_client_close(client->peer);
        client_end_connection(client, false);
    }
    client->is_going = true;
    client->must_be_clean = client->stored != STORED_NONE;
    client->next_action_ns = client_now_ns(client);
}

bool client_has_left(const struct client *client)
{
    return client->state == CLIENT_OFFLINE && client->stored == STORED_NONE;
}
