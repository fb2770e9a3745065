/*
 * A simulated client: what it does of its own accord. See client.h.
 */
#include <stdlib.h>
#include <string.h>

#include "client_internal.h"
#include "core/base.h"
#include "net/mqtt_encode.h"

static uint32_t draw(struct client *client, const uint32_t *weights, uint32_t count)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += weights[i];
    uint64_t at = sum == 0 ? 0 : random_below(&client->random, sum);
    for (uint32_t i = 0; i < count; i++) {
        if (at < weights[i])
            return i;
        at -= weights[i];
    }
    return 0;
}

static bool is_id_used(const struct client *client, uint16_t packet_id)
{
    for (uint32_t i = 0; i < client->publish_count; i++) {
        if (client->publishes[i].packet_id == packet_id)
            return true;
    }
    for (uint32_t i = 0; i < ps_array_count(client->requests); i++) {
        if (client->requests[i].packet_id == packet_id)
            return true;
    }
    return packet_id == 0;
}

static uint16_t take_id(struct client *client)
{
    while (is_id_used(client, client->next_packet_id))
        client->next_packet_id++;
    return client->next_packet_id++;
}

/* Writes a PUBLISH of a message that the model knows. */
static void write_publish(struct client *client, uint32_t number, uint16_t packet_id, bool is_dup)
{
    struct model *model = client->model;
    const struct model_message *message = &model->messages[number];
    unsigned char *payload = NULL;
    if (!message->is_empty) {
        payload = malloc(message->payload_bytes);
        ps_assert(payload != NULL);
        model_fill_payload(number, payload, message->payload_bytes);
    }
    const char *topic = model->topics[message->topic];
    const struct mqtt_publish publish = {
        .qos = message->qos,
        .is_dup = is_dup,
        .is_retain = message->is_retain,
        .packet_id = packet_id,
        .topic = {(const unsigned char *)topic, (uint32_t)strlen(topic)},
        .payload = {payload, message->payload_bytes},
    };
    enum mqtt_level level = (enum mqtt_level)client->level;
    model_sent(model, number);
    uint32_t bytes = (uint32_t)mqtt_encode_publish(&publish, level, NULL);
    mqtt_encode_publish(&publish, level, client_reserve(client, bytes));
    free(payload);
    const struct client_event event = {.kind = MQTT_PUBLISH,
                                       .is_out = true,
                                       .message = number,
                                       .number = message->topic,
                                       .qos = message->qos,
                                       .is_dup = is_dup,
                                       .is_retain = message->is_retain,
                                       .packet_id = packet_id};
    client_note(client, &event);
    if (message->qos == 0)
        client->qos_0_sent++;
    else
        client_queue_put(&client->expected, message->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                         packet_id);
}

static bool publish_one(struct client *client)
{
    const struct scenario *scenario = client->scenario;
    uint8_t qos = (uint8_t)draw(client, scenario->qos_weights, 3);
    bool is_full = client->publish_count >= scenario->in_flight_max;
    if (qos != 0 && is_full)
        return false;
    bool is_retain = client_chance(client, scenario->retain_chance);
    struct model_message message = {
        .topic = (uint32_t)random_below(&client->random, client->model->topic_count),
        .publisher = client->number,
        .life = client->life,
        .payload_bytes = (uint32_t)random_between(&client->random, MODEL_STAMP_BYTES,
                                                  scenario->payload_bytes_max),
        .qos = qos,
        .is_retain = is_retain,
        .is_empty = is_retain && client_chance(client, scenario->empty_chance),
    };
    if (message.is_empty)
        message.payload_bytes = 0;
    uint32_t number = model_add_message(client->model, &message);
    struct model *model = client->model;
    if (model->mutation == MODEL_INVENTS_ACK && qos != 0 && !message.is_empty &&
        model->mutation_at-- == 0) {
        model_sent(model, number);
        model_acked(model, number);
        return true;
    }
    uint16_t packet_id = qos == 0 ? 0 : take_id(client);
    if (qos != 0)
        client->publishes[client->publish_count++] =
            (struct client_publish){.message = number, .packet_id = packet_id, .qos = qos};
    write_publish(client, number, packet_id, false);
    return true;
}

void client_send_release(struct client *client, struct client_publish *publish)
{
    publish->is_received = true;
    mqtt_encode_ack(MQTT_PUBREL, publish->packet_id, client_reserve(client, 4));
    client_queue_put(&client->releases, MQTT_PUBCOMP, publish->packet_id);
    const struct client_event event = {
        .kind = MQTT_PUBREL, .is_out = true, .packet_id = publish->packet_id};
    client_note(client, &event);
}

/* After a resume: everything unacknowledged again, in order [MQTT-4.4.0-1]. Some clients send new
 * messages first, or between. */
void client_resend(struct client *client)
{
    const struct scenario *scenario = client->scenario;
    uint32_t count = client->publish_count;
    bool has_news = scenario->news_first_chance != 0 && !client->is_settling &&
                    client_chance(client, scenario->news_first_chance);
    for (uint32_t i = 0; i < count; i++) {
        if (has_news && client_chance(client, i == 0 ? 80 : 10))
            publish_one(client);
        struct client_publish *publish = &client->publishes[i];
        client->model->messages[publish->message].is_out_of_turn |= client->publish_count > count;
        if (publish->is_received)
            client_send_release(client, publish);
        else
            write_publish(client, publish->message, publish->packet_id, true);
    }
}

void client_abandon_publishes(struct client *client)
{
    client->publish_count = 0;
}

static struct client_request *free_request(struct client *client)
{
    for (uint32_t i = 0; i < ps_array_count(client->requests); i++) {
        if (client->requests[i].packet_id == 0)
            return &client->requests[i];
    }
    return NULL;
}

/* Different filters, as a packet with one filter twice says nothing about which grant holds when.
 */
static uint32_t draw_filters(struct client *client, uint32_t count, uint32_t *out_filters)
{
    uint32_t found = 0;
    for (uint32_t tries = 0; tries < count * 2 && found < count; tries++) {
        uint32_t filter = (uint32_t)random_below(&client->random, client->model->filter_count);
        bool is_new = true;
        for (uint32_t i = 0; i < found; i++)
            is_new &= out_filters[i] != filter;
        if (is_new)
            out_filters[found++] = filter;
    }
    return found;
}

static void write_filters(struct client *client, const struct client_request *request,
                          const uint32_t *numbers, const uint8_t *grants)
{
    struct mqtt_filter filters[16];
    for (uint32_t i = 0; i < request->count; i++) {
        const char *text = client->model->filters[numbers[i]];
        filters[i] = (struct mqtt_filter){
            .text = {(const unsigned char *)text, (uint32_t)strlen(text)},
            .qos = grants == NULL ? 0 : grants[i],
            .options = grants == NULL ? 0 : grants[i],
        };
        const struct client_event event = {
            .kind = request->is_subscribe ? MQTT_SUBSCRIBE : MQTT_UNSUBSCRIBE,
            .is_out = true,
            .number = numbers[i],
            .qos = filters[i].qos,
            .packet_id = request->packet_id,
        };
        client_note(client, &event);
    }
    enum mqtt_level level = (enum mqtt_level)client->level;
    uint32_t bytes = (uint32_t)mqtt_encode_filters(request->is_subscribe, request->packet_id,
                                                   filters, request->count, level, NULL);
    mqtt_encode_filters(request->is_subscribe, request->packet_id, filters, request->count, level,
                        client_reserve(client, bytes));
}

bool client_subscribe(struct client *client, uint32_t count)
{
    struct client_request *request = free_request(client);
    if (request == NULL)
        return false;
    uint32_t numbers[16];
    uint8_t grants[16];
    *request = (struct client_request){
        .packet_id = take_id(client), .is_subscribe = true, .life = client->life};
    request->count = draw_filters(client, count, numbers);
    for (uint32_t i = 0; i < request->count; i++) {
        grants[i] = (uint8_t)draw(client, client->scenario->grant_weights, 3);
        request->entries[i] = model_subscribe(client->model, client->life, numbers[i], grants[i]);
    }
    write_filters(client, request, numbers, grants);
    return true;
}

/* One filter that it has, or any. */
static bool unsubscribe(struct client *client)
{
    struct client_request *request = free_request(client);
    if (request == NULL)
        return false;
    const struct model_life *life = &client->model->lives[client->life];
    uint32_t filter = (uint32_t)random_below(&client->random, client->model->filter_count);
    if (life->entry_count != 0)
        filter = life->entries[random_below(&client->random, life->entry_count)].filter;
    *request = (struct client_request){
        .packet_id = take_id(client), .count = 1, .life = client->life, .entries = {filter}};
    model_unsubscribe(client->model, client->life, filter);
    request->asked_at = client->model->clock;
    write_filters(client, request, &filter, NULL);
    return true;
}

void client_send_ping(struct client *client)
{
    mqtt_encode_empty(MQTT_PINGREQ, client_reserve(client, 2));
    const struct client_event event = {.kind = MQTT_PINGREQ, .is_out = true};
    client_note(client, &event);
}

/* With the packet; the gateway closes. */
void client_send_disconnect(struct client *client)
{
    mqtt_encode_empty(MQTT_DISCONNECT, client_reserve(client, 2));
    client->state = CLIENT_LEAVING;
    client->writes_whole_ns = 0;
    client->next_action_ns = UINT64_MAX;
    client->ping_ns = UINT64_MAX;
    const struct client_event event = {.kind = MQTT_DISCONNECT, .is_out = true};
    client_note(client, &event);
}

/* Goes without a word, perhaps in the middle of a packet. */
static void drop_connection(struct client *client, bool is_reset)
{
    client_say(client, is_reset ? "resets" : "closes", 0);
    if (client->out.count != 0)
        sim_client_send(client->peer, client->out.bytes,
                        (uint32_t)random_below(&client->random, client->out.count));
    if (is_reset)
        sim_client_reset(client->peer);
    else
        sim_client_close(client->peer);
    client_end_connection(client, false);
}

static void act(struct client *client, enum client_action action)
{
    const struct scenario *scenario = client->scenario;
    uint64_t now_ns = client_now_ns(client);
    uint64_t until_ns = now_ns + random_below(&client->random, 400000000);
    switch (action) {
    case ACTION_PUBLISH:
        for (uint64_t i = random_between(&client->random, 1, scenario->burst_max); i != 0; i--)
            publish_one(client);
        break;
    case ACTION_SUBSCRIBE:
        client_subscribe(
            client, (uint32_t)random_between(&client->random, 1, scenario->subscribe_filters_max));
        break;
    case ACTION_UNSUBSCRIBE:
        unsubscribe(client);
        break;
    case ACTION_PING:
        client_send_ping(client);
        break;
    case ACTION_DISCONNECT:
        client_send_disconnect(client);
        break;
    case ACTION_CLOSE:
    case ACTION_RESET:
        drop_connection(client, action == ACTION_RESET);
        break;
    case ACTION_TAKE_OVER:
        if (!client->is_anonymous)
            client_take_over(client);
        break;
    case ACTION_STOP_READING:
        client->reads_again_ns = until_ns;
        break;
    case ACTION_STOP_ACKING:
        client->acks_again_ns = client_chance(client, 30) ? UINT64_MAX : until_ns;
        client_say(client, "holds acknowledgements back", client->acks_again_ns == UINT64_MAX);
        break;
    case ACTION_TRICKLE:
        client->writes_whole_ns = until_ns;
        break;
    case ACTION_FALL_SILENT:
        client->is_silent = client->keepalive_seconds != 0;
        break;
    case ACTIONS:
        break;
    }
}

static void schedule(struct client *client)
{
    uint64_t gap_ns = (uint64_t)client->scenario->action_gap_us * 1000;
    client->next_action_ns = client_now_ns(client) + random_below(&client->random, 2 * gap_ns + 1);
}

static bool act_offline(struct client *client)
{
    bool is_wanted = !client->is_settling || client->life != CLIENT_NONE || client->must_be_clean;
    if (!is_wanted) {
        client->next_action_ns = UINT64_MAX;
        return false;
    }
    client_connect(client);
    schedule(client);
    return true;
}

bool client_act(struct client *client)
{
    uint64_t now_ns = client_now_ns(client);
    if (client->state == CLIENT_ONLINE && client->is_going) {
        client_send_disconnect(client);
        return true;
    }
    if (client->state == CLIENT_ONLINE && !client->is_silent && now_ns >= client->ping_ns)
        client_send_ping(client);
    if (now_ns < client->next_action_ns)
        return false;
    if (client->state == CLIENT_OFFLINE)
        return act_offline(client);
    schedule(client);
    /* A client that does not get through stops adding to what it has to say. */
    bool can_act = client->state == CLIENT_ONLINE && !client->is_settling && !client->is_silent &&
                   client->out.count < 65536;
    if (client->is_settling)
        client->next_action_ns = UINT64_MAX;
    if (!can_act)
        return false;
    const struct scenario *scenario = client->scenario;
    bool is_first = !client->has_subscribed;
    if (!is_first && now_ns < client->begins_ns)
        return false;
    client->has_subscribed = true;
    if (is_first && (scenario->subscribes_first || client_chance(client, 70)))
        act(client, ACTION_SUBSCRIBE);
    else
        act(client, (enum client_action)draw(client, scenario->weights, ACTIONS));
    return true;
}

bool client_write_acks(struct client *client)
{
    bool can_write = client->state == CLIENT_ONLINE && !client->is_silent &&
                     client_now_ns(client) >= client->acks_again_ns;
    if (!can_write || client_queue_is_empty(&client->acks))
        return false;
    const struct client_ack *ack = NULL;
    while ((ack = client_queue_take(&client->acks)) != NULL) {
        for (uint32_t i = 0; i < client->delivery_count; i++) {
            struct client_delivery *delivery = &client->deliveries[i];
            if (delivery->packet_id != ack->packet_id)
                continue;
            if (ack->type == MQTT_PUBREC)
                delivery->is_acknowledged = true;
            else if (ack->type == MQTT_PUBACK || ack->type == MQTT_PUBCOMP)
                *delivery = client->deliveries[--client->delivery_count];
            break;
        }
        mqtt_encode_ack((enum mqtt_type)ack->type, ack->packet_id, client_reserve(client, 4));
        const struct client_event event = {
            .kind = ack->type, .is_out = true, .packet_id = ack->packet_id};
        client_note(client, &event);
    }
    return true;
}
