/*
 * What the connection layer does to protect itself: connections per source, the accept rate, the
 * publish rate of a client, overload. See net.h; the rules themselves stand in source_limit.h,
 * publish_rate.h and overload.h.
 */
#include <netinet/in.h>

#include "core/base.h"
#include "core/heap.h"
#include "net/source_limit.h"
#include "net_internal.h"

enum {
    SLOW_ACCEPTS_DIVISOR = 10, /* under overload */
    SLOW_ACCEPTS_MAX = 1000,   /* per second, where the rate is unlimited otherwise */
    HELD_MIN = 64,
    STALLED_LOOKS_PER_TICK = 4096, /* slots that are looked at for who does not drain */
    STALLED_MS_MAX = 1000          /* without draining, when memory is nearly out */
};

/* ---- Sources ---- */

static struct source_address source_of(const struct connection_peer *peer)
{
    struct source_address source = {.is_ipv6 = peer->family == AF_INET6};
    memcpy(source.bytes, peer->address, sizeof(source.bytes));
    return source;
}

bool net_enter_source(struct net *net, struct connection *connection)
{
    struct source_limit *sources = net->shared->sources;
    bool is_exempt = (connection->flags & CONNECTION_LOOPBACK) && !net->limits->is_loopback_limited;
    if (sources == NULL || is_exempt)
        return true;
    struct source_address source = source_of(net_peer_at(net, connection->slot));
    if (!source_limit_enter(sources, &source, net->limits->connections_per_source_max))
        return false;
    connection->flags |= CONNECTION_SOURCE;
    return true;
}

void net_leave_source(struct net *net, const struct connection_peer *peer)
{
    struct source_address source = source_of(peer);
    source_limit_leave(net->shared->sources, &source);
}

/* ---- Accepts ---- */

uint32_t net_accept_rate(const struct net *net)
{
    uint32_t rate = net->limits->accepts_per_second_max;
    if (net->overload.level < OVERLOAD_SLOW_ACCEPTS)
        return rate;
    return rate == 0 ? SLOW_ACCEPTS_MAX : rate / SLOW_ACCEPTS_DIVISOR + 1;
}

uint32_t net_take_accepts(struct net *net, uint32_t wanted)
{
    uint32_t rate = net_accept_rate(net);
    if (rate == 0)
        return wanted;
    uint64_t second = net->shard->now_ns / 1000000000ULL;
    if (second != net->accept_second) {
        net->accept_second = second;
        net->accept_tokens = rate;
    }
    uint32_t taken = ps_min_u32(wanted, ps_min_u32(net->accept_tokens, rate));
    net->accept_tokens -= taken;
    net->counters.accepts_delayed += taken == 0;
    return taken;
}

/* ---- Publishes ---- */

/* The publish credits of a connection; NULL: memory is out. */
static struct publish_rate *rate_of(struct net *net, const struct connection *connection)
{
    struct connection_segment *segment = net->segments[connection->slot / CONNECTIONS_PER_SEGMENT];
    if (ps_unlikely(segment->rates == NULL)) {
        segment->rates = heap_alloc(net->heap, CONNECTIONS_PER_SEGMENT * sizeof(*segment->rates));
        if (segment->rates == NULL)
            return NULL;
        for (uint32_t i = 0; i < CONNECTIONS_PER_SEGMENT; i++)
            publish_rate_init(&segment->rates[i], net->shard->tick);
    }
    return &segment->rates[connection->slot % CONNECTIONS_PER_SEGMENT];
}

/* Leaves a connection unread until the next tick. False: memory is out, and it is not held. */
static bool hold(struct net *net, struct connection *connection)
{
    if (connection->flags & CONNECTION_HELD)
        return true;
    if (net->held_count == net->held_capacity) {
        uint32_t capacity = net->held_capacity == 0 ? HELD_MIN : net->held_capacity * 2;
        struct ring_socket *grown = heap_realloc(net->heap, net->held, capacity * sizeof(*grown));
        if (grown == NULL)
            return false;
        net->held = grown;
        net->held_capacity = capacity;
    }
    connection->flags |= CONNECTION_HELD;
    net->held[net->held_count++] = net_socket(connection);
    net->counters.publishers_held++;
    return true;
}

bool net_may_publish(struct net *net, struct connection *connection)
{
    const struct publish_rate_limits *limits = &net->limits->publish_rate;
    if (limits->messages_per_second == 0 && limits->bytes_per_second == 0)
        return true;
    struct publish_rate *rate = rate_of(net, connection);
    return rate == NULL || publish_rate_allows(rate, limits, net->shard->tick) ||
           !hold(net, connection);
}

void net_charge_publish(struct net *net, const struct connection *connection, uint32_t bytes)
{
    struct connection_segment *segment = net->segments[connection->slot / CONNECTIONS_PER_SEGMENT];
    if (segment->rates != NULL)
        publish_rate_charge(&segment->rates[connection->slot % CONNECTIONS_PER_SEGMENT],
                            &net->limits->publish_rate, bytes);
}

/* New publish credits: who waited for them reads on. */
static void release_held(struct net *net)
{
    for (uint32_t i = 0; i < net->held_count; i++) {
        struct connection *connection =
            net_connection(net, net->held[i].slot, net->held[i].generation);
        if (connection == NULL)
            continue;
        connection->flags &= (uint16_t)~CONNECTION_HELD;
        if (connection->state == CONNECTION_OPEN)
            net_resume(net, connection);
    }
    net->held_count = 0;
}

/* ---- Overload ---- */

/* Memory is nearly out: who has not drained for long pays for the others. */
static void close_stalled(struct net *net)
{
    uint32_t slots = net->segment_count * CONNECTIONS_PER_SEGMENT;
    uint32_t looks = ps_min_u32(STALLED_LOOKS_PER_TICK, slots);
    for (uint32_t look = 0; look < looks; look++) {
        uint32_t slot = net->overload_cursor % slots;
        net->overload_cursor = slot + 1;
        if (net->segments[slot / CONNECTIONS_PER_SEGMENT] == NULL) {
            net->overload_cursor = (slot / CONNECTIONS_PER_SEGMENT + 1) * CONNECTIONS_PER_SEGMENT;
            continue;
        }
        struct connection *connection = net_at(net, slot);
        if (connection->state == CONNECTION_OPEN &&
            connection_blocked_ms(net, connection) > STALLED_MS_MAX) {
            connection_close(net, connection, CONNECTION_CLOSED_OVERLOAD);
            connection->flags |= CONNECTION_DISCARD;
        }
    }
}

static void look_at_load(struct net *net)
{
    const struct shard *shard = net->shard;
    bool has_slept = shard->counters.sleeps != net->last_sleeps || net->last_now_ns == 0;
    uint64_t turn_ns = has_slept ? 0 : shard->now_ns - net->last_now_ns;
    net->last_sleeps = shard->counters.sleeps;
    net->last_now_ns = shard->now_ns;
    const struct heap_budget *budget = net->heap->budget;
    int64_t used = heap_budget_bytes_used(budget);
    net->counters.overload_level =
        overload_look(&net->overload, &net->limits->overload, used < 0 ? 0 : (uint64_t)used,
                      (uint64_t)budget->bytes_max, turn_ns);
}

enum overload_level net_overload(const struct net *net)
{
    return net->overload.level;
}

void net_slow_publishers(struct net *net)
{
    if (net->overload.level < OVERLOAD_SLOW_PUBLISHERS)
        return;
    if (net->publisher_tick != net->shard->tick) {
        net->publisher_tick = net->shard->tick;
        return;
    }
    net->pressed_until_ns =
        ps_max_u64(net->pressed_until_ns, net_tick_ns(net->shard, net->shard->tick + 1));
    net->counters.overloaded_turns++;
}

void net_protect(struct net *net)
{
    look_at_load(net);
    if (net->protect_tick == net->shard->tick)
        return;
    net->protect_tick = net->shard->tick;
    release_held(net);
    if (net->overload.level == OVERLOAD_CLOSE)
        close_stalled(net);
}
