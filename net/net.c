/*
 * The connection layer: the table of connections, listeners, ring events, moves and timers. See
 * net.h.
 */
#include "net/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "net/address.h"
#include "net/mqtt_encode.h"
#include "net_internal.h"

enum {
    ACCEPTS_ARMED = 32, /* per listener */
    BUFFERS_CACHED_BYTES_MAX = 4 << 20,
    TIMERS_PER_TURN = 2048
};

struct connection *net_at(const struct net *net, uint32_t slot)
{
    return &net->segments[slot / CONNECTIONS_PER_SEGMENT]
                ->connections[slot % CONNECTIONS_PER_SEGMENT];
}

struct connection_peer *net_peer_at(const struct net *net, uint32_t slot)
{
    return &net->segments[slot / CONNECTIONS_PER_SEGMENT]->peers[slot % CONNECTIONS_PER_SEGMENT];
}

struct ring_socket net_socket(const struct connection *connection)
{
    return (struct ring_socket){.slot = connection->slot, .generation = connection->generation};
}

struct connection *net_connection(struct net *net, uint32_t slot, uint32_t generation)
{
    if (slot / CONNECTIONS_PER_SEGMENT >= net->segment_count ||
        net->segments[slot / CONNECTIONS_PER_SEGMENT] == NULL)
        return NULL;
    struct connection *connection = net_at(net, slot);
    bool is_live = connection->state != CONNECTION_FREE && connection->generation == generation;
    return is_live ? connection : NULL;
}

static void list_append(struct net *net, struct connection_list *list,
                        struct connection *connection, bool is_ready_list)
{
    uint32_t number = connection->slot + 1;
    if (list->last == 0)
        list->first = number;
    else if (is_ready_list)
        net_at(net, list->last - 1)->next_ready = number;
    else
        net_at(net, list->last - 1)->next_dirty = number;
    list->last = number;
    list->count++;
}

void net_make_ready(struct net *net, struct connection *connection)
{
    if (connection->flags & CONNECTION_IN_READY)
        return;
    connection->flags |= CONNECTION_IN_READY;
    connection->next_ready = 0;
    list_append(net, &net->ready, connection, true);
}

void net_make_dirty(struct net *net, struct connection *connection)
{
    if (connection->flags & CONNECTION_IN_DIRTY)
        return;
    connection->flags |= CONNECTION_IN_DIRTY;
    connection->next_dirty = 0;
    list_append(net, &net->dirty, connection, false);
}

struct connection *net_take(struct net *net, struct connection_list *list, uint16_t flag)
{
    if (list->first == 0)
        return NULL;
    struct connection *connection = net_at(net, list->first - 1);
    list->first = flag == CONNECTION_IN_READY ? connection->next_ready : connection->next_dirty;
    if (list->first == 0)
        list->last = 0;
    list->count--;
    connection->flags &= (uint16_t)~flag;
    return connection;
}

static struct timer *timer_of(void *context, uint32_t slot)
{
    return &net_at(context, slot)->timer;
}

static void on_event(void *context, const struct ring_event *event);

int net_create(const struct net_options *options, struct net **out_net)
{
    struct net *net = heap_zalloc(options->heap, sizeof(*net));
    if (net == NULL)
        return -ENOMEM;
    net->shard = options->shard;
    net->log = options->log;
    net->heap = options->heap;
    net->ring = options->shard->ring;
    net->rings = options->rings;
    net->limits = options->limits;
    net->shared = options->shared;
    net->callbacks = *options->callbacks;
    net->segment_count = options->sockets_max / CONNECTIONS_PER_SEGMENT + 1;
    net->segments =
        heap_zalloc(net->heap, net->segment_count * sizeof(struct connection_segment *));
    net->scratch = heap_alloc(net->heap, (size_t)NET_RECEIVE_BATCH * NET_RECEIVE_BYTES);
    if (net->segments == NULL || net->scratch == NULL) {
        heap_free(net->heap, net->segments);
        heap_free(net->heap, net->scratch);
        heap_free(net->heap, net);
        return -ENOMEM;
    }
    buffer_cache_init(&net->buffers, net->heap, BUFFERS_CACHED_BYTES_MAX);
    pool_init(&net->send_queues, net->heap, sizeof(struct send_queue), options->sockets_max);
    timer_wheel_init(&net->wheel, net->shard->tick, timer_of, net);
    net->shard->on_event = on_event;
    net->shard->event_context = net;
    *out_net = net;
    return 0;
}

void net_destroy(struct net *net)
{
    if (net == NULL)
        return;
    net->callbacks.on_close = NULL;
    for (uint32_t i = 0; i < net->segment_count; i++) {
        struct connection_segment *segment = net->segments[i];
        for (uint32_t k = 0; segment != NULL && k < CONNECTIONS_PER_SEGMENT; k++) {
            if (segment->connections[k].state != CONNECTION_FREE)
                net_finish(net, &segment->connections[k], false);
        }
        if (segment != NULL)
            heap_free(net->heap, segment->rates);
        heap_free(net->heap, segment);
    }
    heap_free(net->heap, net->held);
    pool_deinit(&net->send_queues);
    buffer_cache_deinit(&net->buffers);
    heap_free(net->heap, net->segments);
    heap_free(net->heap, net->scratch);
    heap_free(net->heap, net);
}

const struct net_counters *net_counters(const struct net *net)
{
    return &net->counters;
}

/* The record for a new socket, or NULL when memory is out. */
static struct connection *start(struct net *net, struct ring_socket socket)
{
    struct connection_segment **segment = &net->segments[socket.slot / CONNECTIONS_PER_SEGMENT];
    if (*segment == NULL)
        *segment = heap_zalloc(net->heap, sizeof(**segment));
    if (*segment == NULL)
        return NULL;
    struct connection *connection = net_at(net, socket.slot);
    /* The record may still stand in a list: from a socket that ended there. Then it stays in it. */
    uint16_t listed = connection->flags & (CONNECTION_IN_READY | CONNECTION_IN_DIRTY);
    uint32_t next_ready = connection->next_ready;
    uint32_t next_dirty = connection->next_dirty;
    ps_assert(connection->state == CONNECTION_FREE);
    *connection = (struct connection){
        .slot = socket.slot,
        .generation = socket.generation,
        .active_tick = net->shard->tick,
        .next_ready = next_ready,
        .next_dirty = next_dirty,
        .flags = listed,
        .state = CONNECTION_ACCEPTED,
    };
    if ((*segment)->rates != NULL)
        publish_rate_init(&(*segment)->rates[socket.slot % CONNECTIONS_PER_SEGMENT],
                          net->shard->tick);
    timer_clear(&connection->timer);
    timer_wheel_add(&net->wheel, connection->slot,
                    net->shard->tick + net->limits->connect_timeout_ms / SHARD_TICK_MS + 1);
    net->counters.connections++;
    return connection;
}

static void remember_peer(struct net *net, struct connection *connection,
                          const struct sockaddr_storage *address)
{
    struct connection_peer *peer = net_peer_at(net, connection->slot);
    memset(peer, 0, sizeof(*peer));
    peer->family = address->ss_family;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        memcpy(peer->address, &in->sin_addr, 4);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        memcpy(peer->address, &in6->sin6_addr, 16);
    }
    if (address_is_loopback(address))
        connection->flags |= CONNECTION_LOOPBACK;
}

int net_listen(struct net *net, struct sockaddr_storage *address, socklen_t address_bytes)
{
    if (net->listener_count == NET_LISTENERS_MAX)
        return -EMFILE;
    struct ring_listen_options options = {.backlog = net->limits->backlog};
    struct net_listener *listener = &net->listeners[net->listener_count];
    int status = ring_listen(net->ring, address, address_bytes, net->shard->index == 0, &options,
                             &listener->id);
    if (status < 0)
        return status;
    listener->is_open = true;
    listener->armed = 0;
    net->listener_count++;
    return 0;
}

void net_listen_stop(struct net *net)
{
    for (uint32_t i = 0; i < net->listener_count; i++) {
        if (net->listeners[i].is_open)
            ring_listen_close(net->ring, net->listeners[i].id);
        net->listeners[i].is_open = false;
    }
}

void net_shutdown(struct net *net)
{
    net->is_shut_down = true;
    net_listen_stop(net);
    for (uint32_t i = 0; i < net->segment_count; i++) {
        struct connection_segment *segment = net->segments[i];
        for (uint32_t k = 0; segment != NULL && k < CONNECTIONS_PER_SEGMENT; k++) {
            struct connection *connection = &segment->connections[k];
            if (connection->state != CONNECTION_FREE && connection->state != CONNECTION_MOVING)
                connection_close(net, connection, CONNECTION_CLOSED_SHUTDOWN);
        }
    }
}

/* Keeps accepts armed on every listener, as far as rate and slots allow. */
static void arm_accepts(struct net *net)
{
    for (uint32_t i = 0; i < net->listener_count; i++) {
        struct net_listener *listener = &net->listeners[i];
        if (!listener->is_open || listener->armed > ACCEPTS_ARMED / 2)
            continue;
        uint32_t wanted = net_take_accepts(net, ACCEPTS_ARMED - listener->armed);
        listener->armed += ring_accept(net->ring, listener->id, wanted);
    }
}

/* An accept was met or has failed: an open listener's, as ring_listen_close promises. */
static void accept_done(struct net *net, uint32_t id)
{
    uint32_t i = 0;
    while (i < net->listener_count && !(net->listeners[i].is_open && net->listeners[i].id == id))
        i++;
    ps_assert(i < net->listener_count && net->listeners[i].armed > 0);
    net->listeners[i].armed--;
}

static void on_accepted(struct net *net, const struct ring_event *event)
{
    accept_done(net, event->listener);
    net->counters.accepts++;
    struct connection *connection = net->is_shut_down ? NULL : start(net, event->socket);
    if (connection == NULL) {
        net->counters.accepts_refused++;
        ring_close(net->ring, event->socket, true);
        return;
    }
    remember_peer(net, connection, event->peer);
    if (!net_enter_source(net, connection)) {
        net->counters.accepts_over_source++;
        connection->flags |= CONNECTION_DISCARD;
        connection->close_reason = CONNECTION_CLOSED_LIMIT;
        net_log_close(net, connection, "too_many_of_its_source");
        net_finish(net, connection, false);
        return;
    }
    net_make_ready(net, connection);
}

/* Target and source let go of it in either order: the source with the answer, or at its end. */
static void release_moved(struct net *net, struct moved_connection *moved)
{
    if (atomic_fetch_sub_explicit(&moved->holders, 1, memory_order_acq_rel) == 1)
        heap_free(net->heap, moved);
}

static void on_moved_in(struct net *net, const struct ring_event *event)
{
    struct moved_connection *moved = (struct moved_connection *)(uintptr_t)event->token;
    bool is_packed = atomic_load_explicit(&moved->is_packed, memory_order_acquire);
    ps_assert(is_packed);
    size_t buffer_bytes = 0;
    struct connection *connection = start(net, event->socket);
    struct receive_buffer *receive =
        connection == NULL
            ? NULL
            : buffer_acquire(&net->buffers, sizeof(*receive) + moved->byte_count, &buffer_bytes);
    if (receive == NULL) {
        net->counters.accepts_refused++;
        if (moved->flags & CONNECTION_SOURCE)
            net_leave_source(net, &moved->peer);
        if (connection != NULL)
            net_finish(net, connection, false);
        else
            ring_close(net->ring, event->socket, true);
        release_moved(net, moved);
        return;
    }
    receive->buffer_bytes = buffer_bytes;
    receive->capacity = (uint32_t)(buffer_bytes - sizeof(*receive));
    receive->used = moved->byte_count;
    memcpy(receive->bytes, moved->bytes, moved->byte_count);
    connection->receive = receive;
    connection->flags |= moved->flags | CONNECTION_MOVED | CONNECTION_UNPARSED;
    *net_peer_at(net, connection->slot) = moved->peer;
    release_moved(net, moved);
    net->counters.moves_in++;
    net_make_ready(net, connection);
    if (net->is_shut_down)
        connection_close(net, connection, CONNECTION_CLOSED_SHUTDOWN);
}

void net_start_move(struct net *net, struct connection *connection)
{
    struct receive_buffer *receive = connection->receive;
    struct moved_connection *moved = heap_alloc(net->heap, sizeof(*moved) + receive->used);
    if (moved == NULL) {
        connection->state = CONNECTION_ACCEPTED;
        connection_close(net, connection, CONNECTION_CLOSED_MEMORY);
        return;
    }
    atomic_init(&moved->holders, 2);
    moved->peer = *net_peer_at(net, connection->slot);
    moved->flags = connection->flags & (CONNECTION_LOOPBACK | CONNECTION_SOURCE);
    moved->byte_count = receive->used;
    memcpy(moved->bytes, receive->bytes, receive->used);
    net_receive_buffer_release(net, connection);
    timer_wheel_remove(&net->wheel, connection->slot);
    /* Kept here until the answer: it is ours alone if the move fails. */
    connection->owner = moved;
    atomic_store_explicit(&moved->is_packed, true, memory_order_release);
    net->counters.moves_out++;
    ring_move(net->ring, net_socket(connection), net->rings[connection->to_shard],
              (uint64_t)(uintptr_t)moved);
}

void net_move(struct net *net, struct connection *connection, uint32_t to_shard)
{
    (void)net;
    ps_assert(connection->state == CONNECTION_OPENING);
    ps_assert(!(connection->flags & CONNECTION_MOVED));
    connection->state = CONNECTION_MOVING;
    connection->to_shard = (uint8_t)to_shard;
}

static void on_moved_out(struct net *net, const struct ring_event *event)
{
    struct connection *connection =
        net_connection(net, event->socket.slot, event->socket.generation);
    ps_assert(connection != NULL && connection->state == CONNECTION_MOVING);
    struct moved_connection *moved = connection->owner;
    connection->owner = NULL;
    if (event->result == 0) {
        release_moved(net, moved);
        net_finish(net, connection, true);
        return;
    }
    heap_free(net->heap, moved);
    net->counters.moves_failed++;
    connection->state = CONNECTION_OPENING;
    struct mqtt_connack connack = {.code = MQTT_CONNACK_UNAVAILABLE};
    size_t bytes = mqtt_encode_connack(&connack, MQTT_3_1_1, NULL);
    unsigned char *out = connection_reserve(net, connection, (uint32_t)bytes);
    if (out != NULL) {
        mqtt_encode_connack(&connack, MQTT_3_1_1, out);
        net_count_sent(net, MQTT_CONNACK, 1, 0);
    }
    connection_close(net, connection, CONNECTION_CLOSED_MOVE_FAILED);
}

static void on_event(void *context, const struct ring_event *event)
{
    struct net *net = context;
    struct connection *connection = NULL;
    switch (event->kind) {
    case RING_ACCEPTED:
        on_accepted(net, event);
        return;
    case RING_ACCEPT_FAILED:
        accept_done(net, event->listener);
        net->counters.accepts_refused++;
        return;
    case RING_MOVED_IN:
        on_moved_in(net, event);
        return;
    case RING_MOVED_OUT:
        on_moved_out(net, event);
        return;
    case RING_READABLE:
        connection = net_connection(net, event->socket.slot, event->socket.generation);
        if (connection != NULL)
            net_make_ready(net, connection);
        return;
    case RING_WRITABLE:
        connection = net_connection(net, event->socket.slot, event->socket.generation);
        if (connection != NULL && connection->send != NULL) {
            connection->send->is_blocked = false;
            net_make_dirty(net, connection);
        }
        return;
    case RING_CONNECTED:
        return;
    }
}

static uint32_t keepalive_ticks(const struct connection *connection)
{
    /* One and a half times the keepalive [MQTT-3.1.2-24]. */
    return (uint32_t)connection->keepalive_seconds * 1500 / SHARD_TICK_MS;
}

static void fire_open(struct net *net, struct connection *connection)
{
    uint32_t ticks = keepalive_ticks(connection);
    if (ticks == 0)
        return;
    /* A socket that is left unread on purpose cannot prove that its client lives. */
    if (connection->flags & CONNECTION_PAUSED)
        connection->active_tick = net->shard->tick;
    uint32_t deadline = connection->active_tick + ticks;
    if ((int32_t)(net->shard->tick - deadline) > 0)
        connection_close(net, connection, CONNECTION_CLOSED_KEEPALIVE);
    else
        timer_wheel_add(&net->wheel, connection->slot, deadline + 1);
}

/* At a shutdown linger_ms counts from when the peer last took something: whoever has called for it
 * bounds the whole, and sooner is not asked for. True: the timer runs again. */
static bool may_drain_on(struct net *net, struct connection *connection)
{
    if (!net->is_shut_down || connection->send == NULL)
        return false;
    uint32_t deadline =
        connection->send->progress_tick + net->limits->linger_ms / SHARD_TICK_MS + 1;
    if ((int32_t)(deadline - net->shard->tick) <= 0)
        return false;
    timer_wheel_add(&net->wheel, connection->slot, deadline);
    return true;
}

static void on_timer(void *context, uint32_t slot)
{
    struct net *net = context;
    struct connection *connection = net_at(net, slot);
    switch ((enum connection_state)connection->state) {
    case CONNECTION_FREE:
    case CONNECTION_MOVING:
        return;
    case CONNECTION_ACCEPTED:
        connection_close(net, connection, CONNECTION_CLOSED_CONNECT_TIMEOUT);
        return;
    case CONNECTION_OPENING:
        timer_wheel_add(&net->wheel, slot, net->shard->tick + 1000 / SHARD_TICK_MS);
        return;
    case CONNECTION_OPEN:
        fire_open(net, connection);
        return;
    case CONNECTION_CLOSING:
        if (may_drain_on(net, connection))
            return;
        connection->flags |= CONNECTION_DISCARD;
        net_make_dirty(net, connection);
        return;
    }
}

bool net_step_timers(void *context, struct shard *shard)
{
    struct net *net = context;
    net_protect(net);
    arm_accepts(net);
    return timer_wheel_advance(&net->wheel, shard->tick, TIMERS_PER_TURN, on_timer);
}

uint64_t net_deadline(void *context, const struct shard *shard)
{
    const struct net *net = context;
    uint64_t deadline = UINT64_MAX;
    uint32_t tick = 0;
    if (net->ready.count != 0 && net->pressed_until_ns == 0)
        return 0; /* resumed after this turn's receive step */
    if (timer_wheel_next(&net->wheel, &tick))
        deadline = net_tick_ns(shard, tick);
    if (net->pressed_until_ns != 0)
        deadline = ps_min_u64(deadline, net->pressed_until_ns);
    if (net->held_count != 0)
        deadline = ps_min_u64(deadline, net_tick_ns(shard, net->protect_tick + 1));
    bool waits_for_tokens = net->listener_count != 0 && net_accept_rate(net) != 0 &&
                            net->accept_tokens == 0 && !net->is_shut_down;
    if (waits_for_tokens)
        deadline = ps_min_u64(deadline, (net->accept_second + 1) * 1000000000ULL);
    return deadline;
}

/* A client is in; remembers how many there were at most. */
static void count_client(struct net *net, struct connection *connection)
{
    connection->flags |= CONNECTION_COUNTED;
    net->counters.clients++;
    uint64_t now =
        atomic_fetch_add_explicit(&net->shared->connections, 1, memory_order_relaxed) + 1ULL;
    uint64_t peak = atomic_load_explicit(&net->shared->connections_peak, memory_order_relaxed);
    while (now > peak &&
           !atomic_compare_exchange_weak_explicit(&net->shared->connections_peak, &peak, now,
                                                  memory_order_relaxed, memory_order_relaxed))
        continue;
}

void connection_accept(struct net *net, struct connection *connection, uint16_t keepalive_seconds)
{
    ps_assert(connection->state == CONNECTION_OPENING);
    connection->state = CONNECTION_OPEN;
    connection->keepalive_seconds = keepalive_seconds;
    connection->active_tick = net->shard->tick;
    count_client(net, connection);
    timer_wheel_remove(&net->wheel, connection->slot);
    if (keepalive_seconds != 0)
        timer_wheel_add(&net->wheel, connection->slot,
                        net->shard->tick + keepalive_ticks(connection) + 1);
    net_resume(net, connection);
}

void net_resume(struct net *net, struct connection *connection)
{
    connection->flags &= (uint16_t)~CONNECTION_PAUSED;
    net_make_ready(net, connection);
}

/* What is logged where it ends here; NULL: nothing has gone wrong, or who decided tells more. */
static const char *const close_reason_names[CONNECTION_CLOSE_REASONS] = {
    [CONNECTION_CLOSED_KEEPALIVE] = "keepalive",
    [CONNECTION_CLOSED_CONNECT_TIMEOUT] = "connect_timeout",
    [CONNECTION_CLOSED_PROTOCOL] = "protocol",
    [CONNECTION_CLOSED_TAKEN_OVER] = "taken_over",
    [CONNECTION_CLOSED_LIMIT] = "limit",
    [CONNECTION_CLOSED_OVERLOAD] = "overload",
    [CONNECTION_CLOSED_MEMORY] = "memory",
    [CONNECTION_CLOSED_MOVE_FAILED] = "move_failed",
};

void connection_format_peer(const struct net *net, const struct connection *connection,
                            char out_text[CONNECTION_PEER_BYTES])
{
    const struct connection_peer *peer = net_peer_at(net, connection->slot);
    if (inet_ntop(peer->family, peer->address, out_text, CONNECTION_PEER_BYTES) == NULL)
        snprintf(out_text, CONNECTION_PEER_BYTES, "unknown");
}

void net_log_close(const struct net *net, const struct connection *connection, const char *reason)
{
    if (reason == NULL || net->log == NULL || !log_is_enabled(net->log, LOG_DEBUG))
        return;
    char peer[CONNECTION_PEER_BYTES];
    connection_format_peer(net, connection, peer);
    log_write(net->log, LOG_DEBUG, "connection_closed", "reason=%s peer=%s", reason, peer);
}

void connection_close(struct net *net, struct connection *connection,
                      enum connection_close_reason reason)
{
    ps_assert(connection->state != CONNECTION_FREE && connection->state != CONNECTION_MOVING);
    if (connection->state == CONNECTION_CLOSING)
        return;
    connection->state = CONNECTION_CLOSING;
    connection->close_reason = (uint8_t)reason;
    net_log_close(net, connection, close_reason_names[reason]);
    if (reason == CONNECTION_CLOSED_PEER || reason == CONNECTION_CLOSED_MEMORY)
        connection->flags |= CONNECTION_DISCARD;
    net_receive_buffer_release(net, connection);
    timer_wheel_add(&net->wheel, connection->slot,
                    net->shard->tick + net->limits->linger_ms / SHARD_TICK_MS + 1);
    net_make_dirty(net, connection);
}

void net_finish(struct net *net, struct connection *connection, bool is_moved)
{
    enum connection_close_reason reason = connection->close_reason;
    timer_wheel_remove(&net->wheel, connection->slot);
    if (connection->send != NULL) {
        net->counters.unsent_bytes -= connection->send->unsent_bytes;
        send_queue_clear(connection->send, &net->buffers, net->callbacks.on_release,
                         net->callbacks.context);
        pool_release(&net->send_queues, connection->send->index);
        connection->send = NULL;
    }
    net_receive_buffer_release(net, connection);
    if (connection->flags & CONNECTION_COUNTED) {
        net->counters.clients--;
        atomic_fetch_sub_explicit(&net->shared->connections, 1, memory_order_relaxed);
    }
    void *owner = connection->owner;
    if (connection->state == CONNECTION_MOVING && owner != NULL) {
        release_moved(net, owner); /* only at the end: the move was not answered */
        owner = NULL;
    }
    if (!is_moved) {
        /* Of one whose move was not answered the target may have taken the count over. */
        if ((connection->flags & CONNECTION_SOURCE) && connection->state != CONNECTION_MOVING)
            net_leave_source(net, net_peer_at(net, connection->slot));
        if (net->callbacks.on_close != NULL) {
            net->counters.closes[reason]++;
            if (owner != NULL)
                net->callbacks.on_close(net->callbacks.context, connection, reason);
        }
        /* What is being moved is the ring's until its answer, which does not come any more. */
        if (connection->state != CONNECTION_MOVING)
            ring_close(net->ring, net_socket(connection), connection->flags & CONNECTION_DISCARD);
    }
    connection->owner = NULL;
    connection->state = CONNECTION_FREE;
    connection->flags &= CONNECTION_IN_READY | CONNECTION_IN_DIRTY;
    net->counters.connections--;
}

bool connection_is_loopback(const struct net *net, const struct connection *connection)
{
    (void)net;
    return (connection->flags & CONNECTION_LOOPBACK) != 0;
}
