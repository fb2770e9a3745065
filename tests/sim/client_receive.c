/*
 * A simulated client: what the gateway says to it. See client.h.
 */
#include <stdlib.h>

#include "client_internal.h"
#include "core/base.h"

static void fail(struct client *client, const char *what, uint32_t number)
{
    model_fail(client->model, client->number, "%s (%u)", what, number);
}

static struct client_delivery *find_delivery(struct client *client, uint16_t packet_id)
{
    for (uint32_t i = 0; i < client->delivery_count; i++) {
        if (client->deliveries[i].packet_id == packet_id)
            return &client->deliveries[i];
    }
    return NULL;
}

static void add_delivery(struct client *client, uint16_t packet_id, uint8_t qos)
{
    if (client->delivery_count == client->deliveries_max) {
        client->deliveries_max = client->deliveries_max == 0 ? 32 : client->deliveries_max * 2;
        client->deliveries =
            realloc(client->deliveries, client->deliveries_max * sizeof(struct client_delivery));
        ps_assert(client->deliveries != NULL);
    }
    client->deliveries[client->delivery_count++] =
        (struct client_delivery){.packet_id = packet_id, .qos = qos};
    uint32_t count = 0;
    for (uint32_t i = 0; i < client->delivery_count; i++)
        count += !client->deliveries[i].is_forgotten;
    if (count > client->scenario->hub_limits.window_max)
        fail(client, "more deliveries in flight than the window allows", count);
}

/* A new connection: what came at QoS 1 and was not acknowledged comes again; ids of QoS 2 stay. */
void client_forget_deliveries(struct client *client, bool keeps_received)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < client->delivery_count; i++) {
        if (keeps_received && client->deliveries[i].qos == 2)
            client->deliveries[kept++] = client->deliveries[i];
    }
    client->delivery_count = kept;
}

uint32_t client_deliveries_open(const struct client *client)
{
    return client->delivery_count;
}

static void begin_life(struct client *client)
{
    client_abandon_publishes(client);
    client_forget_deliveries(client, false);
    client->life = model_life_begin(client->model, client->number, !client->is_clean);
    client->has_subscribed = false;
}

static void on_connack(struct client *client, const struct mqtt_connack *connack)
{
    if (client->state != CLIENT_CONNECTING) {
        fail(client, "CONNACK out of turn", connack->code);
        return;
    }
    if (connack->code != MQTT_CONNACK_ACCEPTED) {
        if (connack->code != MQTT_CONNACK_UNAVAILABLE)
            fail(client, "refused", connack->code);
        return; /* the gateway closes */
    }
    client->state = CLIENT_ONLINE;
    /* It was on its way when its gateway died: what it says may be lost with that. */
    bool is_unsure = client->is_cut_off && client->model->loss_window_ns != 0;
    client->must_be_clean = client->is_clean && is_unsure && !client->is_anonymous;
    bool can_tell = client->level >= MQTT_3_1_1;
    bool is_present = connack->is_session_present;
    if (client->is_clean) {
        if (is_present) /* [MQTT-3.2.2-1] */
            fail(client, "session present on a clean CONNECT", 0);
        client->stored = STORED_NONE;
        begin_life(client);
        return;
    }
    bool was_there = client->stored == STORED_DURABLE;
    if (can_tell && client->stored != STORED_UNKNOWN && is_present != was_there)
        fail(client, is_present ? "session present, but there was none" : "the session is gone",
             client->stored);
    client->stored = is_unsure ? STORED_UNKNOWN : STORED_DURABLE;
    if (client->life == CLIENT_NONE || (can_tell && !is_present)) {
        if (client->life != CLIENT_NONE)
            model_life_end(client->model, client->life);
        begin_life(client);
        return;
    }
    client->is_resumed = true;
    client->model->lives[client->life].resumes++;
    client_resend(client);
}

static void deliver(struct client *client, const struct mqtt_publish *publish, uint32_t topic,
                    uint32_t message)
{
    if (publish->payload.count == 0) {
        model_receive_empty(client->model, client->life, topic, publish->is_retain,
                            publish->is_dup);
        return;
    }
    const struct model_receipt receipt = {
        .message = message,
        .connected_at = client->connected_at,
        .qos = publish->qos,
        .is_retain = publish->is_retain,
        .is_dup = publish->is_dup,
    };
    model_receive(client->model, client->life, &receipt);
}

/* Packet ids at QoS 1 and 2. True: it is a new delivery. */
static bool take_id(struct client *client, const struct mqtt_publish *publish)
{
    struct client_delivery *known = find_delivery(client, publish->packet_id);
    if (publish->is_dup && !client->is_resumed)
        fail(client, "DUP on a connection that resumed nothing", publish->packet_id);
    if (known != NULL && !publish->is_dup)
        fail(client, "a packet id that is in flight was used anew", publish->packet_id);
    if (known == NULL)
        add_delivery(client, publish->packet_id, publish->qos);
    client_queue_put(&client->acks, publish->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                     publish->packet_id);
    return known == NULL || publish->qos == 1;
}

static void on_publish(struct client *client, const struct mqtt_publish *publish)
{
    struct model *model = client->model;
    uint32_t topic = model_find_topic(model, publish->topic.bytes, publish->topic.count);
    uint32_t message = CLIENT_NONE;
    if (publish->payload.count != 0)
        message = model_identify(model, publish->payload.bytes, publish->payload.count);
    const struct client_event event = {.kind = MQTT_PUBLISH,
                                       .message = message,
                                       .number = topic == UINT32_MAX ? 0 : topic,
                                       .qos = publish->qos,
                                       .is_dup = publish->is_dup,
                                       .is_retain = publish->is_retain,
                                       .packet_id = publish->packet_id};
    client_note(client, &event);
    bool is_ours = topic != UINT32_MAX && (publish->payload.count == 0 || message != CLIENT_NONE);
    if (!is_ours || (message != CLIENT_NONE && model->messages[message].topic != topic)) {
        fail(client, "a message that nobody published", publish->payload.count);
        return;
    }
    bool is_new = publish->qos == 0 || take_id(client, publish);
    if (is_new)
        deliver(client, publish, topic, message);
}

/* PUBACK and PUBREC, in the order of the PUBLISHes [MQTT-4.6.0-2]. */
static void on_acknowledged(struct client *client, enum mqtt_type type, uint16_t packet_id)
{
    const struct client_ack *expected = client_queue_take(&client->expected);
    if (expected == NULL || expected->type != type || expected->packet_id != packet_id) {
        fail(client, "an acknowledgement that is not the next one due", packet_id);
        return;
    }
    for (uint32_t i = 0; i < client->publish_count; i++) {
        struct client_publish *publish = &client->publishes[i];
        if (publish->packet_id != packet_id)
            continue;
        model_acked(client->model, publish->message);
        if (type == MQTT_PUBREC) {
            if (client->state == CLIENT_ONLINE)
                client_send_release(client, publish);
            else
                publish->is_received = true;
            return;
        }
        memmove(publish, publish + 1, (client->publish_count - i - 1) * sizeof(*publish));
        client->publish_count--;
        return;
    }
}

static void on_complete(struct client *client, uint16_t packet_id)
{
    const struct client_ack *expected = client_queue_take(&client->releases);
    if (expected == NULL || expected->packet_id != packet_id) {
        fail(client, "PUBCOMP that is not the next one due", packet_id);
        return;
    }
    for (uint32_t i = 0; i < client->publish_count; i++) {
        struct client_publish *publish = &client->publishes[i];
        if (publish->packet_id != packet_id)
            continue;
        memmove(publish, publish + 1, (client->publish_count - i - 1) * sizeof(*publish));
        client->publish_count--;
        return;
    }
}

static void on_release(struct client *client, uint16_t packet_id)
{
    struct client_delivery *delivery = find_delivery(client, packet_id);
    if (delivery != NULL && !delivery->is_acknowledged && !client->is_resumed)
        fail(client, "PUBREL before PUBREC", packet_id);
    /* What a resumed session releases because it may have lost it is beside its window. */
    if (delivery != NULL && model_has_lost(client->model))
        delivery->is_forgotten = true;
    client_queue_put(&client->acks, MQTT_PUBCOMP, packet_id);
}

static struct client_request *find_request(struct client *client, uint16_t packet_id,
                                           bool is_subscribe)
{
    for (uint32_t i = 0; i < ps_array_count(client->requests); i++) {
        struct client_request *request = &client->requests[i];
        if (request->packet_id == packet_id && packet_id != 0 &&
            request->is_subscribe == is_subscribe)
            return request;
    }
    return NULL;
}

static void on_suback(struct client *client, const struct mqtt_codes *suback)
{
    struct client_request *request = find_request(client, suback->packet_id, true);
    if (request == NULL || suback->codes.count != request->count) {
        fail(client, "SUBACK that answers nothing", suback->packet_id);
        return;
    }
    for (uint32_t i = 0; i < request->count; i++)
        model_suback(client->model, request->life, request->entries[i], suback->codes.bytes[i]);
    request->packet_id = 0;
}

static void on_unsuback(struct client *client, uint16_t packet_id)
{
    struct client_request *request = find_request(client, packet_id, false);
    if (request == NULL) {
        fail(client, "UNSUBACK that answers nothing", packet_id);
        return;
    }
    model_unsuback(client->model, request->life, request->entries[0], request->asked_at);
    request->packet_id = 0;
}

static void note_packet(struct client *client, const struct mqtt_packet *packet)
{
    struct client_event event = {.kind = (uint8_t)packet->type};
    if (packet->type == MQTT_CONNACK)
        event.number = packet->connack.code * 2U + packet->connack.is_session_present;
    else if (packet->type == MQTT_SUBACK || packet->type == MQTT_UNSUBACK)
        event.packet_id = packet->codes.packet_id;
    else if (packet->type != MQTT_PINGRESP)
        event.packet_id = packet->ack.packet_id;
    client_note(client, &event);
}

void client_on_packet(struct client *client, const struct mqtt_packet *packet)
{
    if (packet->type != MQTT_PUBLISH)
        note_packet(client, packet);
    if (client->state == CLIENT_CONNECTING && packet->type != MQTT_CONNACK) {
        fail(client, "a packet before CONNACK", packet->type); /* [MQTT-3.2.0-1] */
        return;
    }
    switch (packet->type) {
    case MQTT_CONNACK:
        on_connack(client, &packet->connack);
        return;
    case MQTT_PUBLISH:
        on_publish(client, &packet->publish);
        return;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
        on_acknowledged(client, packet->type, packet->ack.packet_id);
        return;
    case MQTT_PUBREL:
        on_release(client, packet->ack.packet_id);
        return;
    case MQTT_PUBCOMP:
        on_complete(client, packet->ack.packet_id);
        return;
    case MQTT_SUBACK:
        on_suback(client, &packet->codes);
        return;
    case MQTT_UNSUBACK:
        on_unsuback(client, packet->codes.packet_id);
        return;
    case MQTT_PINGRESP:
        return;
    case MQTT_CONNECT:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_PINGREQ:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
    case MQTT_PACKET_TYPES:
        break;
    }
    fail(client, "a packet that a server does not send", packet->type);
}
