/*
 * Connections from the connect to being up, keepalive, and their end; see bench_internal.h.
 *
 * UNBORN -> CONNECTING -> GREETING -> SUBSCRIBING -> UP; from each of them -> GONE. In the mode
 * endure AWAY stands for UNBORN and GONE.
 */
#include <errno.h>
#include <stdio.h>

#include "bench_endure.h"
#include "net/address.h"
#include "net/mqtt_encode.h"

enum { SUBSCRIBE_PACKET_ID = 1, FILTER_BYTES_MAX = BENCH_TEXT_BYTES_MAX + 32 };

/* A connection has got as far as it will, or for the first time as far as it should. */
static void decide(struct bench_run *run, struct bench_connection *connection)
{
    if (connection->is_decided)
        return;
    ps_assert(run->undecided > 0);
    connection->is_decided = true;
    run->undecided--;
    run->progress_ns = run->now_ns;
}

static void leave(struct bench_run *run, uint32_t index)
{
    struct bench_connection *connection = &run->connections[index];
    switch ((enum bench_state)connection->state) {
    case BENCH_CONNECTING:
    case BENCH_GREETING:
    case BENCH_SUBSCRIBING:
        run->connecting--;
        break;
    case BENCH_UP:
        run->up--;
        break;
    case BENCH_UNBORN:
    case BENCH_AWAY:
    case BENCH_GONE:
        break;
    }
    if (run->endure != NULL) {
        bench_endure_on_loss(run, index);
        return;
    }
    decide(run, connection);
    connection->state = BENCH_GONE;
}

bool bench_connection_is_open(const struct bench_connection *connection)
{
    return connection->state == BENCH_GREETING || connection->state == BENCH_SUBSCRIBING ||
           connection->state == BENCH_UP;
}

/* Of the first only: when one fails, as a rule all do. */
static void fail_connect(struct bench_run *run, uint32_t index, int status)
{
    if (run->counters.connect_failures++ == 0) {
        struct sockaddr_storage address;
        socklen_t address_bytes = 0;
        char text[ADDRESS_TEXT_BYTES];
        bench_options_address(run->options, index, &address, &address_bytes);
        address_format(&address, text);
        fprintf(stderr, "penstock-bench: connect to %s: %s\n", text, strerror(-status));
    }
    leave(run, index);
}

/* Sockets are numbered by the ring: events find their connection by slot. */
static bool note_slot(struct bench_run *run, uint32_t slot, uint32_t index)
{
    if (slot >= run->slot_count) {
        uint32_t count = (slot + 1) * 2;
        uint32_t *grown = heap_realloc(&run->heap, run->by_slot, count * sizeof(*grown));
        if (grown == NULL)
            return false;
        memset(grown + run->slot_count, 0, (count - run->slot_count) * sizeof(*grown));
        run->by_slot = grown;
        run->slot_count = count;
    }
    run->by_slot[slot] = index + 1;
    return true;
}

bool bench_connection_open(struct bench_run *run, uint32_t index)
{
    struct sockaddr_storage address;
    socklen_t address_bytes = 0;
    bench_options_address(run->options, index, &address, &address_bytes);
    struct bench_connection *connection = &run->connections[index];
    int status = ring_connect(run->ring, &address, address_bytes, index, &connection->socket);
    if (status == -EAGAIN)
        return false;
    if (status == 0 && !note_slot(run, connection->socket.slot, index)) {
        ring_close(run->ring, connection->socket, false);
        status = -ENOMEM;
    }
    if (status < 0) {
        fail_connect(run, index, status);
        return true;
    }
    connection->state = BENCH_CONNECTING;
    run->connecting++;
    return true;
}

void bench_connection_open_more(struct bench_run *run)
{
    const struct bench_options *options = run->options;
    uint64_t allowed = run->connection_count;
    if (options->connect_rate > 0) {
        double elapsed_s = (double)(run->now_ns - run->phase_start_ns) / 1e9;
        allowed = ps_min_u64(allowed, (uint64_t)(elapsed_s * (double)options->connect_rate) + 1);
    }
    while (run->connection_next < allowed && run->connecting < options->connecting_max) {
        if (!bench_connection_open(run, run->connection_next))
            return;
        run->connection_next++;
    }
}

static void greet(struct bench_run *run, uint32_t index)
{
    char id[BENCH_TEXT_BYTES_MAX + 16];
    int id_bytes = snprintf(id, sizeof(id), "%s-%u", run->id, index);
    const struct bench_options *options = run->options;
    const char *user_name = options->user_name;
    const char *password = options->password;
    const struct mqtt_connect connect = {
        .level = MQTT_3_1_1,
        .is_clean = !options->is_durable || bench_endure_is_checker(run, index),
        .keepalive_seconds = (uint16_t)options->keepalive_seconds,
        .client_id = {(const unsigned char *)id, (uint32_t)id_bytes},
        .has_user_name = user_name != NULL,
        .has_password = password != NULL,
        .user_name = {(const unsigned char *)user_name,
                      user_name != NULL ? (uint32_t)strlen(user_name) : 0},
        .password = {(const unsigned char *)password,
                     password != NULL ? (uint32_t)strlen(password) : 0},
    };
    unsigned char *room = bench_output_room(run, index, mqtt_encode_connect(&connect, NULL));
    if (room != NULL)
        mqtt_encode_connect(&connect, room);
}

void bench_connection_on_connected(struct bench_run *run, uint32_t index, int32_t result)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->state != BENCH_CONNECTING)
        return;
    if (result < 0) {
        run->by_slot[connection->socket.slot] = 0;
        fail_connect(run, index, result);
        return;
    }
    connection->state = BENCH_GREETING;
    ring_watch_readable(run->ring, connection->socket);
    greet(run, index);
}

void bench_connection_arrive(struct bench_run *run, uint32_t index)
{
    run->connections[index].state = BENCH_UP;
    run->up++;
    run->connecting--;
    decide(run, &run->connections[index]);
    if (run->endure != NULL)
        bench_endure_on_up(run, index);
}

void bench_connection_on_connack(struct bench_run *run, uint32_t index,
                                 const struct mqtt_connack *connack)
{
    struct bench_connection *connection = &run->connections[index];
    if (run->endure != NULL) {
        bench_endure_on_connack(run, index, connack);
        return;
    }
    bool is_resumed = run->options->missed == 0 || connack->is_session_present;
    bool is_accepted = connack->code == MQTT_CONNACK_ACCEPTED && is_resumed;
    if (connection->state != BENCH_GREETING || !is_accepted) {
        run->counters.refused++;
        bench_connection_drop(run, index, false);
        return;
    }
    if (connection->flow_count == 0 || run->options->missed > 0)
        bench_connection_arrive(run, index);
    else
        bench_connection_subscribe(run, index);
}

void bench_connection_subscribe(struct bench_run *run, uint32_t index)
{
    run->connections[index].state = BENCH_SUBSCRIBING;
    char text[FILTER_BYTES_MAX];
    bench_plan_filter(run, index, text, sizeof(text));
    const struct mqtt_filter filter = {
        .text = {(const unsigned char *)text, (uint32_t)strlen(text)},
        .qos = bench_plan_qos(run, index),
        .options = bench_plan_qos(run, index),
    };
    size_t bytes = mqtt_encode_filters(true, SUBSCRIBE_PACKET_ID, &filter, 1, MQTT_3_1_1, NULL);
    unsigned char *room = bench_output_room(run, index, bytes);
    if (room != NULL)
        mqtt_encode_filters(true, SUBSCRIBE_PACKET_ID, &filter, 1, MQTT_3_1_1, room);
}

void bench_connection_on_suback(struct bench_run *run, uint32_t index,
                                const struct mqtt_codes *suback)
{
    bool is_granted = run->connections[index].state == BENCH_SUBSCRIBING &&
                      suback->packet_id == SUBSCRIBE_PACKET_ID && suback->codes.count == 1 &&
                      suback->codes.bytes[0] == bench_plan_qos(run, index);
    if (is_granted) {
        bench_connection_arrive(run, index);
        return;
    }
    run->counters.refused++;
    bench_connection_drop(run, index, false);
}

static void ping(struct bench_run *run, uint32_t index)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->state != BENCH_UP || connection->pinged == UINT8_MAX)
        return;
    run->counters.pings++;
    run->pinged++;
    connection->pinged++;
    unsigned char *room = bench_output_room(run, index, 2);
    if (room != NULL)
        mqtt_encode_empty(MQTT_PINGREQ, room);
}

/* Walks over all connections once in half a keepalive, so that pings are spread evenly. While a run
 * drains, everybody was just pinged beside that: then one that waits is not late. */
void bench_connection_ping_due(struct bench_run *run)
{
    if (run->options->keepalive_seconds == 0 || run->connection_count == 0)
        return;
    double period_s = (double)run->options->keepalive_seconds / 2;
    double elapsed_s = (double)(run->now_ns - run->start_ns) / 1e9;
    uint64_t position = (uint64_t)(elapsed_s / period_s * run->connection_count);
    for (; run->ping_position < position; run->ping_position++) {
        uint32_t index = (uint32_t)(run->ping_position % run->connection_count);
        run->counters.pings_late +=
            run->connections[index].pinged > 0 && run->phase != BENCH_DRAINS;
        ping(run, index);
    }
}

void bench_connection_ping_all(struct bench_run *run)
{
    for (uint32_t i = 0; i < run->connection_count; i++)
        ping(run, i);
}

void bench_connection_on_pingresp(struct bench_run *run, uint32_t index)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->pinged == 0) {
        run->counters.bad_packets++;
        return;
    }
    connection->pinged--;
    run->pinged--;
    run->counters.pings_answered++;
    /* Elsewhere a keepalive's answer says nothing about what is still outstanding. */
    if (run->options->mode == BENCH_PUB)
        run->progress_ns = run->now_ns;
}

void bench_connection_drop(struct bench_run *run, uint32_t index, bool is_lost)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->state != BENCH_CONNECTING && !bench_connection_is_open(connection))
        return;
    run->counters.lost += is_lost;
    if (connection->is_blocked)
        run->blocked--;
    connection->is_blocked = false;
    connection->is_parked = false;
    run->pinged -= connection->pinged;
    connection->pinged = 0;
    bench_output_release(run, connection);
    bench_receive_release(run, connection);
    struct ring_socket socket = connection->socket;
    run->by_slot[socket.slot] = 0;
    leave(run, index);
    ring_close(run->ring, socket, false);
}
