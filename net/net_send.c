/*
 * Step "send" of the connection layer: one send per connection that has something new, then the
 * closes. See net.h. What a send leaves over stays in its queue; the connection is then blocked
 * until RING_WRITABLE.
 */
#include "core/base.h"
#include "core/heap.h"
#include "net_internal.h"

enum { SEND_ROUNDS_PER_TURN = 4, PRESSURE_MS = 5 };

static struct send_queue *queue_of(struct net *net, struct connection *connection)
{
    if (connection->send != NULL)
        return connection->send;
    struct pool_handle handle;
    struct send_queue *queue = pool_acquire(&net->send_queues, &handle);
    if (queue == NULL)
        return NULL;
    queue->index = handle.index;
    queue->progress_tick = net->shard->tick;
    connection->send = queue;
    return queue;
}

static void release_queue(struct net *net, struct connection *connection)
{
    pool_release(&net->send_queues, connection->send->index);
    connection->send = NULL;
}

static void out_of_memory(struct net *net, struct connection *connection)
{
    connection_close(net, connection, CONNECTION_CLOSED_MEMORY);
}

unsigned char *connection_reserve(struct net *net, struct connection *connection, uint32_t bytes)
{
    struct send_queue *queue = queue_of(net, connection);
    unsigned char *out = queue == NULL ? NULL : send_queue_reserve(queue, &net->buffers, bytes);
    if (ps_unlikely(out == NULL)) {
        out_of_memory(net, connection);
        return NULL;
    }
    net->counters.unsent_bytes += bytes;
    if (!queue->is_blocked)
        net_make_dirty(net, connection);
    return out;
}

bool connection_write_reference(struct net *net, struct connection *connection, const void *bytes,
                                uint32_t count, void *reference)
{
    struct send_queue *queue = queue_of(net, connection);
    if (ps_unlikely(queue == NULL ||
                    !send_queue_borrow(queue, &net->buffers, bytes, count, reference))) {
        net->callbacks.on_release(net->callbacks.context, reference);
        out_of_memory(net, connection);
        return false;
    }
    net->counters.unsent_bytes += count;
    if (!queue->is_blocked)
        net_make_dirty(net, connection);
    return true;
}

void net_count_sent(struct net *net, enum mqtt_type type, uint32_t packets, uint32_t payload_bytes)
{
    net->counters.packets_out[type] += packets;
    net->counters.publish_bytes_out += payload_bytes;
}

uint32_t connection_unsent_bytes(const struct net *net, const struct connection *connection)
{
    (void)net;
    return connection->send == NULL ? 0 : connection->send->unsent_bytes;
}

bool connection_is_blocked(const struct connection *connection)
{
    return connection->send != NULL && connection->send->is_blocked;
}

uint32_t connection_blocked_ms(const struct net *net, const struct connection *connection)
{
    if (connection->send == NULL || !connection->send->is_blocked)
        return 0;
    return (net->shard->tick - connection->send->progress_tick) * SHARD_TICK_MS;
}

void connection_notify_drained(struct net *net, struct connection *connection)
{
    struct send_queue *queue = queue_of(net, connection);
    if (queue == NULL) {
        out_of_memory(net, connection);
        return;
    }
    queue->wants_drained = true;
    if (!queue->is_blocked)
        net_make_dirty(net, connection);
}

/* Says to all shards' publishers that a subscriber here has much to take and takes it. */
static void press(struct net *net)
{
    atomic_store_explicit(&net->shared->pressed_until_ns[net->shard->index],
                          net->shard->now_ns + PRESSURE_MS * 1000000ULL, memory_order_relaxed);
}

static void on_drained(struct net *net, struct connection *connection)
{
    bool wants_drained = connection->send->wants_drained;
    release_queue(net, connection);
    if (wants_drained && connection->state == CONNECTION_OPEN)
        net->callbacks.on_drained(net->callbacks.context, connection);
}

/* The peer takes nothing more. What it said before it went, such as acknowledgements and
 * DISCONNECT, still counts: it is read to its end, which then closes. */
static void on_send_failed(struct net *net, struct connection *connection, int32_t result)
{
    bool is_gone = result == -EPIPE || result == -ECONNRESET;
    connection->flags |= CONNECTION_DISCARD;
    if (is_gone && connection->state == CONNECTION_OPEN)
        net_make_ready(net, connection);
    else
        connection_close(net, connection, CONNECTION_CLOSED_PEER);
    net_make_dirty(net, connection);
}

/* What an open connection would send to a peer that is gone. */
static void discard(struct net *net, struct connection *connection)
{
    if (connection->send == NULL)
        return;
    net->counters.unsent_bytes -= connection->send->unsent_bytes;
    send_queue_clear(connection->send, &net->buffers, net->callbacks.on_release,
                     net->callbacks.context);
    on_drained(net, connection);
}

static void on_sent(struct net *net, struct connection *connection, const struct ring_send *request,
                    uint32_t given_bytes)
{
    struct send_queue *queue = connection->send;
    int32_t result = request->result;
    if (result < 0 && result != -EAGAIN) {
        on_send_failed(net, connection, result);
        return;
    }
    uint32_t sent = result < 0 ? 0 : (uint32_t)result;
    net->counters.bytes_out += sent;
    net->counters.unsent_bytes -= sent;
    send_queue_consume(queue, &net->buffers, sent, net->callbacks.on_release,
                       net->callbacks.context);
    if (sent != 0)
        queue->progress_tick = net->shard->tick;
    if (sent == given_bytes) {
        if (queue->unsent_bytes != 0 || connection->state == CONNECTION_CLOSING)
            net_make_dirty(net, connection);
        else
            on_drained(net, connection);
        return;
    }
    net->counters.sends_short++;
    queue->is_blocked = true;
    ring_watch_writable(net->ring, net_socket(connection));
    bool is_draining = net->shard->tick - queue->progress_tick <= 1;
    if (is_draining && queue->unsent_bytes > net->limits->pending_bytes_max / 4)
        press(net);
}

/* True when there is something to send; without it a closing connection ends here. */
static bool wants_send(struct net *net, struct connection *connection)
{
    if (connection->state == CONNECTION_FREE || connection->state == CONNECTION_MOVING)
        return false;
    bool is_closing = connection->state == CONNECTION_CLOSING;
    bool is_empty = connection->send == NULL || connection->send->unsent_bytes == 0;
    if (is_closing && (is_empty || (connection->flags & CONNECTION_DISCARD))) {
        net_finish(net, connection, false);
        return false;
    }
    if (connection->flags & CONNECTION_DISCARD) {
        discard(net, connection);
        return false;
    }
    if (is_empty) {
        if (connection->send != NULL)
            on_drained(net, connection);
        return false;
    }
    return !connection->send->is_blocked;
}

static void send_round(struct net *net)
{
    uint32_t left = net->dirty.count;
    uint32_t given[NET_SEND_BATCH];
    while (left != 0) {
        uint32_t count = 0;
        for (; count < NET_SEND_BATCH && left != 0; left--) {
            struct connection *connection = net_take(net, &net->dirty, CONNECTION_IN_DIRTY);
            if (!wants_send(net, connection))
                continue;
            struct iovec *vectors = &net->vectors[count * NET_SEND_VECTORS];
            net->sending[count] = connection;
            net->sends[count] = (struct ring_send){
                .socket = net_socket(connection),
                .vectors = vectors,
                .vector_count =
                    send_queue_vectors(connection->send, vectors, NET_SEND_VECTORS, &given[count]),
            };
            count++;
        }
        if (count == 0)
            continue;
        ring_send_batch(net->ring, net->sends, count);
        net->counters.sends += count;
        for (uint32_t i = 0; i < count; i++)
            on_sent(net, net->sending[i], &net->sends[i], given[i]);
    }
}

bool net_step_send(void *context, struct shard *shard)
{
    struct net *net = context;
    (void)shard;
    for (uint32_t round = 0; round < SEND_ROUNDS_PER_TURN && net->dirty.count != 0; round++)
        send_round(net);
    return net->dirty.count != 0;
}
