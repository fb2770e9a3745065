/*
 * Step "receive" of the connection layer: bytes in, packets up. See net.h.
 *
 * A connection with nothing partial receives into scratch memory that is hot in the cache; what is
 * left of a packet goes into receive memory of its own, which grows with what has come, never with
 * what was promised. A connection stands in the ready list at most once. Paused, it keeps what was
 * received and is not read.
 */
#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "net_internal.h"

enum { ANSWERS_BYTES_MAX = 65536 /* beyond pending_bytes_max, for what is not a delivery */ };

void net_receive_buffer_release(struct net *net, struct connection *connection)
{
    if (connection->receive == NULL)
        return;
    buffer_release(&net->buffers, connection->receive, connection->receive->buffer_bytes);
    connection->receive = NULL;
    connection->flags &= (uint16_t)~CONNECTION_UNPARSED;
}

/* Makes room for `more` bytes in the connection's receive memory. False: memory is out. */
static bool make_room(struct net *net, struct connection *connection, uint32_t more)
{
    struct receive_buffer *old = connection->receive;
    uint32_t used = old == NULL ? 0 : old->used;
    if (old != NULL && old->capacity - used >= more)
        return true;
    size_t real_bytes = 0;
    struct receive_buffer *receive =
        buffer_acquire(&net->buffers, sizeof(*receive) + used + more, &real_bytes);
    if (receive == NULL)
        return false;
    receive->buffer_bytes = real_bytes;
    receive->capacity = (uint32_t)(real_bytes - sizeof(*receive));
    receive->used = used;
    if (old != NULL) {
        memcpy(receive->bytes, old->bytes, used);
        uint16_t unparsed = connection->flags & CONNECTION_UNPARSED;
        net_receive_buffer_release(net, connection);
        connection->flags |= unparsed;
    }
    connection->receive = receive;
    return true;
}

/* What is no known level is answered as 3.1.1 asks of its servers [MQTT-3.1.2-2]. */
static void refuse_level(struct net *net, struct connection *connection, uint8_t level)
{
    enum mqtt_level as = level == MQTT_5_0 ? MQTT_5_0 : MQTT_3_1_1;
    struct mqtt_connack connack = {
        .code = as == MQTT_5_0 ? MQTT_CONNACK_5_BAD_LEVEL : MQTT_CONNACK_BAD_LEVEL,
    };
    unsigned char *out =
        connection_reserve(net, connection, (uint32_t)mqtt_encode_connack(&connack, as, NULL));
    if (out != NULL) {
        mqtt_encode_connack(&connack, as, out);
        net_count_sent(net, MQTT_CONNACK, 1, 0);
    }
    connection_close(net, connection, CONNECTION_CLOSED_REFUSED);
}

static enum net_verdict refuse(struct net *net, struct connection *connection,
                               enum mqtt_reason reason, const struct mqtt_packet *packet)
{
    net->counters.malformed[reason]++;
    net_log_close(net, connection, mqtt_reason_name(reason));
    if (reason == MQTT_BAD_PROTOCOL_LEVEL && connection->state == CONNECTION_ACCEPTED)
        refuse_level(net, connection, packet->connect.level);
    else
        connection_close(net, connection,
                         reason == MQTT_TOO_LARGE ? CONNECTION_CLOSED_TOO_LARGE
                                                  : CONNECTION_CLOSED_MALFORMED);
    return NET_CLOSE;
}

static enum net_verdict handle_connect(struct net *net, struct connection *connection,
                                       const struct mqtt_packet *packet)
{
    /* The first packet and no later one [MQTT-3.1.0-1] [MQTT-3.1.0-2]. */
    if (connection->state != CONNECTION_ACCEPTED) {
        connection_close(net, connection, CONNECTION_CLOSED_PROTOCOL);
        return NET_CLOSE;
    }
    if (packet->connect.level == MQTT_5_0) /* decoded, but not served */
        return refuse(net, connection, MQTT_BAD_PROTOCOL_LEVEL, packet);
    connection->state = CONNECTION_OPENING;
    connection->level = packet->connect.level;
    if (!(connection->flags & CONNECTION_MOVED))
        net->counters.connects++;
    enum net_verdict verdict =
        net->callbacks.on_connect(net->callbacks.context, connection, &packet->connect);
    return connection->state == CONNECTION_MOVING ? NET_RETRY : verdict;
}

/* One whole, valid packet. */
static enum net_verdict handle_packet(struct net *net, struct connection *connection,
                                      const struct mqtt_packet *packet)
{
    if (packet->type == MQTT_CONNECT)
        return handle_connect(net, connection, packet);
    bool is_from_server = packet->type == MQTT_CONNACK || packet->type == MQTT_SUBACK ||
                          packet->type == MQTT_UNSUBACK || packet->type == MQTT_PINGRESP;
    if (connection->state != CONNECTION_OPEN || is_from_server) {
        connection_close(net, connection, CONNECTION_CLOSED_PROTOCOL);
        return NET_CLOSE;
    }
    if (packet->type == MQTT_PINGREQ) { /* [MQTT-3.12.4-1] */
        unsigned char *out = connection_reserve(net, connection, 2);
        if (out == NULL)
            return NET_CLOSE;
        mqtt_encode_empty(MQTT_PINGRESP, out);
        net_count_sent(net, MQTT_PINGRESP, 1, 0);
        return NET_CONTINUE;
    }
    if (packet->type == MQTT_PUBLISH)
        connection->flags |= CONNECTION_PUBLISHER;
    enum net_verdict verdict = net->callbacks.on_packet(net->callbacks.context, connection, packet);
    /* What the packet set off may have ended the connection, and with it its receive memory. */
    return connection->state == CONNECTION_CLOSING ? NET_CLOSE : verdict;
}

/* Decodes every whole packet of `bytes`. *out_taken: how many bytes are done with; *out_needed: how
 * many the packet that begins there has, as far as is known. */
static enum net_verdict decode_packets(struct net *net, struct connection *connection,
                                       const unsigned char *bytes, uint32_t count,
                                       uint32_t *out_taken, uint32_t *out_needed)
{
    enum net_verdict verdict = NET_CONTINUE;
    uint32_t at = 0;
    *out_needed = 0;
    while (verdict == NET_CONTINUE && at < count) {
        struct mqtt_frame frame;
        enum mqtt_frame_state state =
            mqtt_frame_find(bytes + at, count - at, net->limits->packet_bytes_max, &frame);
        if (state == MQTT_FRAME_NEEDS_MORE) {
            *out_needed = frame.packet_bytes;
            break;
        }
        if (state == MQTT_FRAME_BAD) {
            verdict = refuse(net, connection, frame.reason, NULL);
            break;
        }
        struct mqtt_packet packet;
        enum mqtt_level level = connection->level == MQTT_3_1 ? MQTT_3_1 : MQTT_3_1_1;
        enum mqtt_reason reason = mqtt_decode(bytes + at, &frame, level, &packet);
        if (reason != MQTT_GOOD) {
            verdict = refuse(net, connection, reason, &packet);
            break;
        }
        bool is_publish = packet.type == MQTT_PUBLISH && connection->state == CONNECTION_OPEN;
        if (is_publish && !net_may_publish(net, connection)) {
            verdict = NET_RETRY;
            break;
        }
        verdict = handle_packet(net, connection, &packet);
        if (verdict == NET_RETRY) {
            net->counters.retries += connection->state != CONNECTION_MOVING;
            break;
        }
        if (packet.type == MQTT_PUBLISH)
            net->counters.publish_bytes_in += packet.publish.payload.count;
        if (is_publish)
            net_charge_publish(net, connection, frame.packet_bytes);
        net->counters.packets_in[packet.type]++;
        at += frame.packet_bytes;
    }
    *out_taken = at;
    return verdict;
}

/* Keeps what is left after decode_packets. `bytes` is scratch memory or the receive buffer itself.
 */
static bool keep_rest(struct net *net, struct connection *connection, const unsigned char *bytes,
                      uint32_t count)
{
    struct receive_buffer *receive = connection->receive;
    if (count == 0) {
        net_receive_buffer_release(net, connection);
        return true;
    }
    if (receive != NULL && bytes >= receive->bytes && bytes <= receive->bytes + receive->capacity) {
        memmove(receive->bytes, bytes, count);
        receive->used = count;
        return true;
    }
    ps_assert(receive == NULL);
    if (!make_room(net, connection, count))
        return false;
    memcpy(connection->receive->bytes, bytes, count);
    connection->receive->used = count;
    return true;
}

/* Decodes `count` bytes at `bytes` and keeps the rest. */
static void take_bytes(struct net *net, struct connection *connection, const unsigned char *bytes,
                       uint32_t count)
{
    uint32_t taken = 0;
    uint32_t needed = 0;
    connection->flags &= (uint16_t)~CONNECTION_UNPARSED;
    enum net_verdict verdict = decode_packets(net, connection, bytes, count, &taken, &needed);
    if (taken != 0)
        connection->active_tick = net->shard->tick;
    if (connection->state == CONNECTION_CLOSING)
        return;
    if (!keep_rest(net, connection, bytes + taken, count - taken)) {
        connection_close(net, connection, CONNECTION_CLOSED_MEMORY);
        return;
    }
    if (connection->state == CONNECTION_MOVING) {
        net_start_move(net, connection);
        return;
    }
    if (verdict == NET_PAUSE || verdict == NET_RETRY) {
        connection->flags |= CONNECTION_PAUSED;
        if (connection->receive != NULL)
            connection->flags |= CONNECTION_UNPARSED;
    } else if (connection->receive != NULL &&
               connection->receive->used == connection->receive->capacity) {
        /* Room for as much again, but not for more than the packet has. */
        uint32_t more = ps_min_u32(needed - connection->receive->used, connection->receive->used);
        if (!make_room(net, connection, more))
            connection_close(net, connection, CONNECTION_CLOSED_MEMORY);
    }
}

static bool may_read(const struct connection *connection)
{
    return (connection->state == CONNECTION_ACCEPTED || connection->state == CONNECTION_OPEN) &&
           !(connection->flags & CONNECTION_PAUSED);
}

/* Watches a connection that was read until it had nothing more. */
static void park(struct net *net, struct connection *connection)
{
    if (connection->state == CONNECTION_ACCEPTED) {
        /* Once, so that nothing is armed when it moves to another shard. */
        ring_watch_readable_once(net->ring, net_socket(connection));
    } else if (!(connection->flags & CONNECTION_WATCHED)) {
        connection->flags |= CONNECTION_WATCHED;
        ring_watch_readable(net->ring, net_socket(connection));
    }
}

/* Deliveries keep to pending_bytes_max by themselves; a client that asks and asks and never reads
 * its answers does not. */
static bool is_flooding(const struct net *net, const struct connection *connection)
{
    const struct send_queue *queue = connection->send;
    return queue != NULL && queue->is_blocked && connection->state == CONNECTION_OPEN &&
           queue->unsent_bytes > (uint64_t)net->limits->pending_bytes_max + ANSWERS_BYTES_MAX;
}

static void on_received(struct net *net, struct connection *connection,
                        const struct ring_receive *request, bool is_scratch)
{
    if (connection->state == CONNECTION_CLOSING || connection->state == CONNECTION_FREE)
        return; /* closed meanwhile by what another connection of the batch said */
    bool is_gone = (connection->flags & CONNECTION_DISCARD) != 0; /* a send said so */
    if (request->result == -EAGAIN && !is_gone) {
        park(net, connection);
        return;
    }
    if (request->result <= 0) {
        connection_close(net, connection, CONNECTION_CLOSED_PEER);
        return;
    }
    uint32_t count = (uint32_t)request->result;
    net->counters.bytes_in += count;
    if (is_scratch) {
        take_bytes(net, connection, request->buffer, count);
    } else {
        connection->receive->used += count;
        take_bytes(net, connection, connection->receive->bytes, connection->receive->used);
    }
    if (is_flooding(net, connection))
        connection_close(net, connection, CONNECTION_CLOSED_LIMIT);
    if (!may_read(connection))
        return;
    bool is_watched = (connection->flags & CONNECTION_WATCHED) != 0;
    if (request->has_more || count == request->bytes_max || !is_watched || is_gone)
        net_make_ready(net, connection);
}

/* True when the connection is to be received from now; what it has already received is decoded
 * first. */
static bool prepare(struct net *net, struct connection *connection)
{
    if (connection->state == CONNECTION_FREE || connection->state == CONNECTION_CLOSING ||
        connection->state == CONNECTION_MOVING)
        return false;
    if (!may_read(connection))
        return false;
    if (connection->flags & CONNECTION_UNPARSED)
        take_bytes(net, connection, connection->receive->bytes, connection->receive->used);
    return may_read(connection);
}

/* Takes connections off the ready list into one batch. Result: how many. */
static uint32_t gather(struct net *net, uint32_t *left)
{
    uint32_t taken = 0;
    while (taken < NET_RECEIVE_BATCH && *left != 0) {
        (*left)--;
        struct connection *connection = net_take(net, &net->ready, CONNECTION_IN_READY);
        if (net->pressed_until_ns != 0 && (connection->flags & CONNECTION_PUBLISHER) &&
            connection->state == CONNECTION_OPEN) {
            connection->active_tick = net->shard->tick; /* left unread, it cannot prove it lives */
            net_make_ready(net, connection);
            continue;
        }
        if (prepare(net, connection))
            net->receiving[taken++] = connection;
    }
    /* What one had to decode may have ended another that was taken before it (a takeover), and with
     * it its receive memory: only now does it stand where each receives to. */
    uint32_t count = 0;
    for (uint32_t i = 0; i < taken; i++) {
        struct connection *connection = net->receiving[i];
        if (!may_read(connection))
            continue;
        struct receive_buffer *receive = connection->receive;
        net->receiving[count] = connection;
        net->receives[count] = (struct ring_receive){
            .socket = net_socket(connection),
            .buffer = receive == NULL ? net->scratch + (size_t)count * NET_RECEIVE_BYTES
                                      : receive->bytes + receive->used,
            .bytes_max = receive == NULL ? NET_RECEIVE_BYTES : receive->capacity - receive->used,
        };
        count++;
    }
    return count;
}

/* The latest time that any shard named, 0 when all are past. */
static uint64_t pressure(const struct net *net)
{
    uint64_t latest = 0;
    for (uint32_t i = 0; i < net->shard->count; i++)
        latest = ps_max_u64(
            latest, atomic_load_explicit(&net->shared->pressed_until_ns[i], memory_order_relaxed));
    return latest > net->shard->now_ns ? latest : 0;
}

/* One round over what was ready when it began. */
static void receive_round(struct net *net, uint64_t input_bytes_end)
{
    uint32_t left = net->ready.count;
    while (left != 0 && net->counters.bytes_in < input_bytes_end) {
        uint32_t count = gather(net, &left);
        if (count == 0)
            continue;
        ring_receive_batch(net->ring, net->receives, count);
        for (uint32_t i = 0; i < count; i++) {
            bool is_scratch = net->receiving[i]->receive == NULL;
            on_received(net, net->receiving[i], &net->receives[i], is_scratch);
        }
    }
}

bool net_step_receive(void *context, struct shard *shard)
{
    struct net *net = context;
    (void)shard;
    net->pressed_until_ns = pressure(net);
    net_slow_publishers(net);
    net->counters.pressed_turns += net->pressed_until_ns != 0;
    uint64_t end = net->counters.bytes_in + net->limits->input_bytes_per_turn_max;
    for (uint32_t round = 0; round < RECEIVE_ROUNDS_PER_TURN && net->ready.count != 0; round++) {
        if (net->counters.bytes_in >= end)
            break;
        receive_round(net, end);
        if (net->pressed_until_ns != 0)
            break;
    }
    if (net->ready.count == 0)
        net->pressed_until_ns = 0; /* nobody is held back: no deadline is needed */
    return net->ready.count != 0 && net->pressed_until_ns == 0;
}
