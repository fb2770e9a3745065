/*
 * The simulated world's clock and network: streams made of memory, test peers and ports. See
 * network.h for the rules and network_internal.h for how a stream is laid out.
 *
 * What is on its way stands in one heap, ordered by time and then by when it was sent: per end only
 * its first flight, so that the heap is never larger than the number of ends.
 */
#include "network_internal.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/random.h"
#include "core/wire.h"
#include "disk_sim_internal.h"

enum {
    BUFFER_BYTES = 64 * 1024,
    FIRST_PORT = 20000,
    FIRST_CLIENT_PORT = 32768,
    BACKLOG_MAX = 4096
};

struct sim_peer {
    struct sim_world *world;
    struct sim_end *end;
    struct sim_peer *previous;
    struct sim_peer *next;
    bool is_shut; /* its own direction has ended */
};

struct sim_port {
    struct sim_world *world;
    struct sim_listener *listener;
    struct sim_port *next;
};

struct sim_world {
    struct random random;
    struct sim_disk *disk;
    struct sim_faults faults;
    uint64_t now_ns;
    uint64_t start_ns;
    uint64_t start_wall_ms;
    uint32_t buffer_bytes;
    uint32_t stream_count;
    int32_t ring_count;
    uint16_t next_port;
    uint16_t next_client_port;
    struct sim_listener *listeners;
    struct sim_peer *peers;
    struct sim_port *ports;
    struct sim_end **heap;
    uint32_t heap_count;
    uint32_t heap_capacity;
    uint64_t heap_order;
};

static _Thread_local struct sim_world *current_world;

void *sim_alloc(size_t bytes)
{
    void *memory = calloc(1, bytes);
    ps_assert(memory != NULL);
    return memory;
}

/* The world. */

struct sim_world *sim_world_create(const struct sim_options *options)
{
    ps_assert(current_world == NULL);
    struct sim_world *world = sim_alloc(sizeof(*world));
    random_init(&world->random, options->seed);
    world->disk = sim_disk_create(options->seed);
    sim_disk_advance(world->disk, options->start_ns);
    world->faults = options->faults;
    world->now_ns = options->start_ns;
    world->start_ns = options->start_ns;
    world->start_wall_ms = options->start_wall_ms;
    world->buffer_bytes = options->buffer_bytes == 0 ? BUFFER_BYTES : options->buffer_bytes;
    world->next_port = FIRST_PORT;
    world->next_client_port = FIRST_CLIENT_PORT;
    current_world = world;
    return world;
}

void sim_world_destroy(struct sim_world *world)
{
    ps_assert(world == current_world && world->ring_count == 0);
    while (world->peers != NULL)
        sim_client_close(world->peers);
    while (world->ports != NULL)
        sim_port_close(world->ports);
    ps_assert(world->stream_count == 0 && world->heap_count == 0);
    current_world = NULL;
    sim_disk_destroy(world->disk);
    free(world->heap);
    free(world);
}

struct sim_world *sim_world_current(void)
{
    ps_assert(current_world != NULL);
    return current_world;
}

void sim_world_add_ring(struct sim_world *world, int32_t difference)
{
    world->ring_count += difference;
}

void sim_world_set_faults(struct sim_world *world, const struct sim_faults *faults)
{
    world->faults = *faults;
}

const struct sim_faults *sim_world_faults(const struct sim_world *world)
{
    return &world->faults;
}

struct sim_disk *sim_world_disk(const struct sim_world *world)
{
    return world->disk;
}

struct random *sim_world_random(struct sim_world *world)
{
    return &world->random;
}

uint64_t sim_world_now_ns(const struct sim_world *world)
{
    return world->now_ns;
}

uint64_t sim_world_wall_ms(const struct sim_world *world)
{
    return world->start_wall_ms + (world->now_ns - world->start_ns) / 1000000;
}

uint32_t sim_world_stream_count(const struct sim_world *world)
{
    return world->stream_count;
}

bool sim_draw(struct sim_world *world, uint32_t chance)
{
    return chance != 0 && random_chance(&world->random, chance, 65536);
}

/* What is on its way: an indexed heap. */

static uint64_t due_ns(const struct sim_end *end)
{
    return end->flights[end->flight_head].at_ns;
}

static bool is_earlier(const struct sim_end *a, const struct sim_end *b)
{
    uint64_t a_ns = due_ns(a);
    uint64_t b_ns = due_ns(b);
    return a_ns != b_ns ? a_ns < b_ns : a->heap_order < b->heap_order;
}

static void heap_set(struct sim_world *world, uint32_t at, struct sim_end *end)
{
    world->heap[at] = end;
    end->heap_at = at + 1;
}

static void heap_rise(struct sim_world *world, uint32_t at, struct sim_end *end)
{
    while (at > 0 && is_earlier(end, world->heap[(at - 1) / 2])) {
        heap_set(world, at, world->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_set(world, at, end);
}

static void heap_sink(struct sim_world *world, uint32_t at, struct sim_end *end)
{
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= world->heap_count)
            break;
        if (child + 1 < world->heap_count && is_earlier(world->heap[child + 1], world->heap[child]))
            child++;
        if (!is_earlier(world->heap[child], end))
            break;
        heap_set(world, at, world->heap[child]);
        at = child;
    }
    heap_set(world, at, end);
}

static void heap_remove(struct sim_world *world, struct sim_end *end)
{
    if (end->heap_at == 0)
        return;
    uint32_t at = end->heap_at - 1;
    end->heap_at = 0;
    struct sim_end *last = world->heap[--world->heap_count];
    if (last == end)
        return;
    if (at > 0 && is_earlier(last, world->heap[(at - 1) / 2]))
        heap_rise(world, at, last);
    else
        heap_sink(world, at, last);
}

static void heap_add(struct sim_world *world, struct sim_end *end)
{
    if (world->heap_count == world->heap_capacity) {
        world->heap_capacity = world->heap_capacity == 0 ? 64 : world->heap_capacity * 2;
        struct sim_end **grown =
            realloc(world->heap, world->heap_capacity * sizeof(struct sim_end *));
        ps_assert(grown != NULL);
        world->heap = grown;
    }
    end->heap_order = world->heap_order++;
    heap_rise(world, world->heap_count++, end);
}

/* Flights: what an end will see, in order. */

static void push_flight(struct sim_end *end, uint64_t at_ns, enum sim_flight_kind kind,
                        uint32_t bytes)
{
    if (end->flight_count == end->flight_capacity) {
        uint32_t capacity = end->flight_capacity == 0 ? 4 : end->flight_capacity * 2;
        struct sim_flight *grown = sim_alloc(capacity * sizeof(*grown));
        for (uint32_t i = 0; i < end->flight_count; i++)
            grown[i] = end->flights[(end->flight_head + i) & (end->flight_capacity - 1)];
        free(end->flights);
        end->flights = grown;
        end->flight_head = 0;
        end->flight_capacity = capacity;
    }
    uint32_t at = (end->flight_head + end->flight_count++) & (end->flight_capacity - 1);
    end->flights[at] = (struct sim_flight){.at_ns = at_ns, .kind = kind, .bytes = bytes};
}

static void on_open(struct sim_end *end)
{
    end->is_opening = false;
    if (end->holder == SIM_RING) {
        sim_ring_on_opened(end->ring, end->slot, end->open_result);
    } else if (end->holder == SIM_BACKLOG) {
        struct sim_listener *listener = end->listener;
        end->next_waiting = NULL;
        if (listener->last_waiting != NULL)
            listener->last_waiting->next_waiting = end;
        else
            listener->first_waiting = end;
        listener->last_waiting = end;
        if (listener->ring != NULL)
            sim_ring_on_backlog(listener->ring, listener->number);
    }
}

static void land(struct sim_end *end, const struct sim_flight *flight)
{
    switch (flight->kind) {
    case SIM_FLIGHT_OPEN:
        on_open(end);
        return;
    case SIM_FLIGHT_BYTES:
        end->arrived += flight->bytes;
        break;
    case SIM_FLIGHT_END:
        end->is_end_seen = true;
        break;
    case SIM_FLIGHT_RESET:
        end->is_reset_seen = true;
        /* What this end still had on its way is lost with the connection. */
        if (end->holder == SIM_RING)
            sim_ring_on_room(end->ring, end->slot);
        break;
    }
    if (end->holder == SIM_RING)
        sim_ring_on_arrival(end->ring, end->slot);
}

static void send_flight(struct sim_end *end, enum sim_flight_kind kind, uint32_t bytes)
{
    struct sim_world *world = end->stream->world;
    uint64_t delay_ns = world->faults.delay_max_ns == 0
                            ? 0
                            : random_between(&world->random, 0, world->faults.delay_max_ns);
    uint64_t at_ns = ps_max_u64(world->now_ns + delay_ns, end->last_ns);
    end->last_ns = at_ns;
    if (end->flight_count == 0 && at_ns <= world->now_ns) {
        const struct sim_flight flight = {.at_ns = at_ns, .kind = kind, .bytes = bytes};
        land(end, &flight);
        return;
    }
    push_flight(end, at_ns, kind, bytes);
    if (end->heap_at == 0)
        heap_add(world, end);
}

static void land_due(struct sim_world *world)
{
    while (world->heap_count != 0 && due_ns(world->heap[0]) <= world->now_ns) {
        struct sim_end *end = world->heap[0];
        struct sim_flight flight = end->flights[end->flight_head];
        heap_remove(world, end);
        end->flight_head = (end->flight_head + 1) & (end->flight_capacity - 1);
        if (--end->flight_count != 0)
            heap_add(world, end);
        land(end, &flight);
    }
}

void sim_world_advance(struct sim_world *world, uint64_t now_ns)
{
    /* Instant by instant, so that what one arrival causes has its own time. */
    uint64_t next_ns = 0;
    while ((next_ns = sim_next_event_ns(world)) <= now_ns && next_ns != UINT64_MAX) {
        world->now_ns = ps_max_u64(world->now_ns, next_ns);
        land_due(world);
        sim_disk_advance(world->disk, world->now_ns);
    }
    world->now_ns = ps_max_u64(world->now_ns, now_ns);
    sim_disk_advance(world->disk, world->now_ns);
}

uint64_t sim_next_event_ns(const struct sim_world *world)
{
    uint64_t disk_ns = sim_disk_due_ns(world->disk);
    return world->heap_count == 0 ? disk_ns : ps_min_u64(disk_ns, due_ns(world->heap[0]));
}

/* Streams. */

static struct sim_end *other_end(struct sim_end *end)
{
    struct sim_stream *stream = end->stream;
    return &stream->ends[end == &stream->ends[0]];
}

static const struct sim_end *other_end_const(const struct sim_end *end)
{
    const struct sim_stream *stream = end->stream;
    return &stream->ends[end == &stream->ends[0]];
}

/* Forgets what is on its way to an end, but not that it is opening. */
static void drop_flights(struct sim_end *end)
{
    end->count = end->arrived;
    if (end->flight_count == 0)
        return;
    if (end->is_opening) {
        end->flight_count = 1;
        return;
    }
    heap_remove(end->stream->world, end);
    end->flight_count = 0;
}

static void reset_towards(struct sim_end *end)
{
    if (end->is_reset_sent)
        return;
    drop_flights(end);
    end->is_reset_sent = true;
    send_flight(end, SIM_FLIGHT_RESET, 0);
}

static void free_stream(struct sim_stream *stream)
{
    for (uint32_t i = 0; i < 2; i++) {
        heap_remove(stream->world, &stream->ends[i]);
        free(stream->ends[i].bytes);
        free(stream->ends[i].flights);
    }
    stream->world->stream_count--;
    free(stream);
}

void sim_end_close(struct sim_end *end, bool is_reset)
{
    struct sim_end *other = other_end(end);
    ps_assert(end->holder != SIM_NOBODY);
    end->holder = SIM_NOBODY;
    if (other->holder == SIM_NOBODY) {
        free_stream(end->stream);
        return;
    }
    bool is_unread = end->arrived != 0;
    bool is_met = end->count > end->arrived; /* bytes that will meet a closed socket */
    end->is_opening = false;
    end->arrived = 0;
    drop_flights(end);
    if (end->is_reset_seen)
        return; /* the connection had ended already */
    if (is_reset || is_unread) {
        reset_towards(other);
        return;
    }
    if (!other->is_end_sent) {
        other->is_end_sent = true;
        send_flight(other, SIM_FLIGHT_END, 0);
    }
    if (is_met && !other->is_reset_sent) {
        other->is_reset_sent = true;
        send_flight(other, SIM_FLIGHT_RESET, 0);
    }
}

static void store_bytes(struct sim_end *end, const void *bytes, uint32_t count)
{
    if (end->count + count > end->capacity) {
        uint32_t capacity = end->capacity == 0 ? 256 : end->capacity;
        while (capacity < end->count + count)
            capacity *= 2;
        unsigned char *grown = sim_alloc(capacity);
        uint32_t first = ps_min_u32(end->count, end->capacity - end->head);
        if (end->count != 0) {
            memcpy(grown, end->bytes + end->head, first);
            memcpy(grown + first, end->bytes, end->count - first);
        }
        free(end->bytes);
        end->bytes = grown;
        end->head = 0;
        end->capacity = capacity;
    }
    uint32_t at = (end->head + end->count) & (end->capacity - 1);
    uint32_t first = ps_min_u32(count, end->capacity - at);
    memcpy(end->bytes + at, bytes, first);
    memcpy(end->bytes, (const unsigned char *)bytes + first, count - first);
    end->count += count;
}

uint32_t sim_end_room(const struct sim_end *end)
{
    const struct sim_end *other = other_end_const(end);
    uint32_t buffer_bytes = end->stream->world->buffer_bytes;
    return other->count < buffer_bytes ? buffer_bytes - other->count : 0;
}

bool sim_end_is_writable(const struct sim_end *end)
{
    return end->is_reset_seen || sim_end_room(end) != 0;
}

int32_t sim_end_write(struct sim_end *end, const struct iovec *vectors, uint32_t count,
                      uint32_t bytes_max)
{
    struct sim_end *other = other_end(end);
    struct sim_world *world = end->stream->world;
    if (end->is_reset_seen)
        return end->is_end_seen ? -EPIPE : -ECONNRESET;
    if (sim_draw(world, world->faults.reset)) {
        reset_towards(other);
        drop_flights(end);
        end->is_reset_sent = true;
        const struct sim_flight reset = {.kind = SIM_FLIGHT_RESET};
        land(end, &reset);
        return -ECONNRESET;
    }
    /* Who has been reset takes nothing more, although the writer does not know yet. */
    bool is_there = other->holder != SIM_NOBODY && !other->is_reset_seen;
    uint32_t room = ps_min_u32(sim_end_room(end), bytes_max);
    uint32_t taken = 0;
    for (uint32_t i = 0; i < count && taken < room; i++) {
        uint32_t piece = (uint32_t)ps_min_u64(vectors[i].iov_len, room - taken);
        if (piece != 0 && is_there)
            store_bytes(other, vectors[i].iov_base, piece);
        taken += piece;
    }
    if (taken == 0)
        return room == 0 ? -EAGAIN : 0;
    if (is_there) {
        send_flight(other, SIM_FLIGHT_BYTES, taken);
    } else if (!end->is_reset_sent) {
        end->is_reset_sent = true;
        send_flight(end, SIM_FLIGHT_RESET, 0);
    }
    return (int32_t)taken;
}

int32_t sim_end_read(struct sim_end *end, void *buffer, uint32_t bytes_max)
{
    uint32_t count = ps_min_u32(end->arrived, bytes_max);
    if (count == 0) {
        if (end->is_reset_seen)
            return -ECONNRESET;
        return end->is_end_seen ? 0 : -EAGAIN;
    }
    uint32_t first = ps_min_u32(count, end->capacity - end->head);
    memcpy(buffer, end->bytes + end->head, first);
    memcpy((unsigned char *)buffer + first, end->bytes, count - first);
    end->head = (end->head + count) & (end->capacity - 1);
    end->count -= count;
    end->arrived -= count;
    struct sim_end *other = other_end(end);
    if (other->holder == SIM_RING)
        sim_ring_on_room(other->ring, other->slot);
    return (int32_t)count;
}

bool sim_end_is_readable(const struct sim_end *end)
{
    return end->arrived != 0 || end->is_end_seen || end->is_reset_seen;
}

/* Listeners. */

static uint16_t *port_of(struct sockaddr_storage *address)
{
    switch (address->ss_family) {
    case AF_INET:
        return &((struct sockaddr_in *)address)->sin_port;
    case AF_INET6:
        return &((struct sockaddr_in6 *)address)->sin6_port;
    default:
        ps_assert(!"an IPv4 or IPv6 address");
        return NULL;
    }
}

static bool is_same_address(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    if (a->ss_family != b->ss_family)
        return false;
    if (a->ss_family == AF_INET) {
        const struct sockaddr_in *a4 = (const struct sockaddr_in *)a;
        const struct sockaddr_in *b4 = (const struct sockaddr_in *)b;
        return a4->sin_port == b4->sin_port &&
               (a4->sin_addr.s_addr == b4->sin_addr.s_addr || a4->sin_addr.s_addr == INADDR_ANY ||
                b4->sin_addr.s_addr == INADDR_ANY);
    }
    const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)a;
    const struct sockaddr_in6 *b6 = (const struct sockaddr_in6 *)b;
    return a6->sin6_port == b6->sin6_port &&
           (memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) == 0 ||
            IN6_IS_ADDR_UNSPECIFIED(&a6->sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&b6->sin6_addr));
}

int sim_listener_open(struct sim_world *world, struct sockaddr_storage *address, bool shares,
                      uint32_t backlog_max, struct sim_listener **out_listener)
{
    uint16_t *port = port_of(address);
    if (*port == 0)
        wire_store_u16((unsigned char *)port, world->next_port++);
    for (struct sim_listener *listener = world->listeners; listener != NULL;
         listener = listener->next) {
        if (is_same_address(&listener->address, address) && (!shares || listener->ring == NULL))
            return -EADDRINUSE;
    }
    struct sim_listener *listener = sim_alloc(sizeof(*listener));
    listener->world = world;
    listener->address = *address;
    listener->backlog_max = backlog_max;
    listener->next = world->listeners;
    world->listeners = listener;
    *out_listener = listener;
    return 0;
}

struct sim_end *sim_listener_take(struct sim_listener *listener)
{
    struct sim_end *end = listener->first_waiting;
    if (end == NULL)
        return NULL;
    listener->first_waiting = end->next_waiting;
    if (listener->first_waiting == NULL)
        listener->last_waiting = NULL;
    listener->backlog_count--;
    return end;
}

void sim_listener_untake(struct sim_listener *listener, struct sim_end *end)
{
    end->next_waiting = listener->first_waiting;
    listener->first_waiting = end;
    if (listener->last_waiting == NULL)
        listener->last_waiting = end;
    listener->backlog_count++;
}

void sim_listener_close(struct sim_listener *listener)
{
    struct sim_end *end;
    while ((end = sim_listener_take(listener)) != NULL)
        sim_end_close(end, true);
    /* What is still opening is known by the heap alone. */
    struct sim_world *world = listener->world;
    for (uint32_t i = 0; listener->backlog_count != 0 && i < world->heap_count; i++) {
        end = world->heap[i];
        if (end->holder == SIM_BACKLOG && end->listener == listener) {
            listener->backlog_count--;
            sim_end_close(end, true);
            i = UINT32_MAX; /* the heap has changed: from the start */
        }
    }
    ps_assert(listener->backlog_count == 0);
    struct sim_listener **link = &world->listeners;
    while (*link != listener)
        link = &(*link)->next;
    *link = listener->next;
    free(listener);
}

/* One of those that listen there, drawn; NULL when there is none or it has no room. */
static struct sim_listener *find_listener(struct sim_world *world,
                                          const struct sockaddr_storage *to)
{
    uint32_t count = 0;
    for (struct sim_listener *at = world->listeners; at != NULL; at = at->next)
        count += is_same_address(&at->address, to);
    if (count == 0)
        return NULL;
    uint32_t chosen = count == 1 ? 0 : (uint32_t)random_below(&world->random, count);
    for (struct sim_listener *at = world->listeners; at != NULL; at = at->next) {
        if (is_same_address(&at->address, to) && chosen-- == 0)
            return at->backlog_count < at->backlog_max ? at : NULL;
    }
    return NULL;
}

static void give_client_address(struct sim_world *world, struct sim_stream *stream,
                                sa_family_t family)
{
    uint16_t port = world->next_client_port++;
    if (world->next_client_port == 0)
        world->next_client_port = FIRST_CLIENT_PORT;
    stream->client.ss_family = family;
    wire_store_u16((unsigned char *)port_of(&stream->client), port);
    if (family == AF_INET)
        wire_store_u32((unsigned char *)&((struct sockaddr_in *)&stream->client)->sin_addr,
                       INADDR_LOOPBACK);
    else
        ((struct sockaddr_in6 *)&stream->client)->sin6_addr = in6addr_loopback;
}

struct sim_end *sim_connect(struct sim_world *world, const struct sockaddr_storage *to)
{
    struct sim_listener *listener = find_listener(world, to);
    struct sim_stream *stream = sim_alloc(sizeof(*stream));
    stream->world = world;
    world->stream_count++;
    give_client_address(world, stream, to->ss_family);
    struct sim_end *client = &stream->ends[0];
    struct sim_end *server = &stream->ends[1];
    client->stream = stream;
    server->stream = stream;
    client->open_result = listener == NULL ? -ECONNREFUSED : 0;
    client->holder = SIM_PEER; /* held from here on: the other end may drop the stream at once */
    if (listener != NULL) {
        server->holder = SIM_BACKLOG;
        server->listener = listener;
        server->is_opening = true;
        listener->backlog_count++;
        send_flight(server, SIM_FLIGHT_OPEN, 0);
    }
    return client;
}

void sim_end_open(struct sim_end *end)
{
    end->is_opening = true;
    send_flight(end, SIM_FLIGHT_OPEN, 0);
}

/* Peers. */

static struct sim_peer *make_peer(struct sim_world *world, struct sim_end *end)
{
    struct sim_peer *peer = sim_alloc(sizeof(*peer));
    peer->world = world;
    peer->end = end;
    peer->next = world->peers;
    if (world->peers != NULL)
        world->peers->previous = peer;
    world->peers = peer;
    end->holder = SIM_PEER;
    return peer;
}

static void free_peer(struct sim_peer *peer, bool is_reset)
{
    sim_end_close(peer->end, is_reset);
    if (peer->next != NULL)
        peer->next->previous = peer->previous;
    if (peer->previous != NULL)
        peer->previous->next = peer->next;
    else
        peer->world->peers = peer->next;
    free(peer);
}

struct sim_peer *sim_client_connect(struct sim_world *world, const struct sockaddr_storage *to)
{
    struct sim_end *end = sim_connect(world, to);
    if (end->open_result < 0) {
        free_stream(end->stream);
        return NULL;
    }
    return make_peer(world, end);
}

int32_t sim_client_send(struct sim_peer *peer, const void *bytes, uint32_t count)
{
    const struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
    return peer->is_shut ? -EPIPE : sim_end_write(peer->end, &vector, 1, count);
}

int32_t sim_client_receive(struct sim_peer *peer, void *buffer, uint32_t bytes_max)
{
    return sim_end_read(peer->end, buffer, bytes_max);
}

bool sim_client_is_readable(const struct sim_peer *peer)
{
    return sim_end_is_readable(peer->end);
}

uint32_t sim_client_room(const struct sim_peer *peer)
{
    return sim_end_room(peer->end);
}

void sim_client_shutdown(struct sim_peer *peer)
{
    struct sim_end *other = other_end(peer->end);
    peer->is_shut = true;
    if (other->holder == SIM_NOBODY || other->is_end_sent || other->is_reset_sent)
        return;
    other->is_end_sent = true;
    send_flight(other, SIM_FLIGHT_END, 0);
}

void sim_client_close(struct sim_peer *peer)
{
    free_peer(peer, false);
}

void sim_client_reset(struct sim_peer *peer)
{
    free_peer(peer, true);
}

/* Ports. */

struct sim_port *sim_port_open(struct sim_world *world, struct sockaddr_storage *address)
{
    struct sim_listener *listener = NULL;
    if (sim_listener_open(world, address, false, BACKLOG_MAX, &listener) < 0)
        return NULL;
    struct sim_port *port = sim_alloc(sizeof(*port));
    port->world = world;
    port->listener = listener;
    port->next = world->ports;
    world->ports = port;
    return port;
}

void sim_port_close(struct sim_port *port)
{
    sim_listener_close(port->listener);
    struct sim_port **link = &port->world->ports;
    while (*link != port)
        link = &(*link)->next;
    *link = port->next;
    free(port);
}

struct sim_peer *sim_port_accept(struct sim_port *port)
{
    struct sim_end *end = sim_listener_take(port->listener);
    return end == NULL ? NULL : make_peer(port->world, end);
}
