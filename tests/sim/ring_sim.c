/*
 * core/ring.h on the simulated world: every promise of the header, with the faults that the world
 * is told to make, and assertions where a caller breaks its side of the contract. Nothing sleeps:
 * ring_wait gives what is there. Memory is the C library's, so that the sanitizers see its leaks.
 *
 * Where the kernel is free, the simulation is unkind: a closed slot is used again at the next
 * ring_wait and the last one first, and memory that an event points to is freed by the next
 * ring_wait. One thread; a ring is its world's.
 */
#include "network_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/random.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "disk_sim_internal.h"
#include "sim/network.h"

enum { LISTENERS_MAX = 32, ACCEPTS_MAX = 128, CONNECTS_MAX = 256 };

enum slot_flags {
    SLOT_OPEN = 1,
    SLOT_READ_ALWAYS = 2,
    SLOT_READ_ONCE = 4,
    SLOT_WRITE_ONCE = 8,
    SLOT_READ_QUEUED = 16, /* an event of this kind waits for ring_wait */
    SLOT_WRITE_QUEUED = 32,
    SLOT_CONNECTING = 64,
    SLOT_MOVING = 128
};

struct slot {
    uint32_t generation;
    uint32_t next_free; /* + 1 */
    uint32_t flags;
    uint32_t batch; /* the last batch that named it */
    uint64_t token; /* of a connect */
    struct sim_end *end;
};

struct listener {
    struct sim_listener *network; /* NULL: free */
    uint32_t armed;
};

struct ring {
    struct sim_world *world;
    enum ring_mode mode;
    bool is_started;
    bool is_woken;
    uint32_t sockets_max;
    uint32_t room; /* free slots that no armed accept has claimed */
    uint32_t free_head;
    uint32_t batch;
    uint32_t accepts_armed;
    uint32_t accepted_queued;
    uint32_t connects;
    struct slot *slots;
    uint32_t *closing; /* slots to be freed by the next ring_wait */
    uint32_t closing_count;
    struct listener listeners[LISTENERS_MAX];
    struct ring_event *queue; /* a ring buffer; queue_capacity is a power of two */
    uint32_t queue_head;
    uint32_t queue_count;
    uint32_t queue_capacity;
    struct sockaddr_storage *peers; /* of the events given by the last ring_wait */
    uint32_t file_count;            /* submitted and not taken */
    struct ring_file_request *files_done_first;
    struct ring_file_request *files_done_last; /* when there is a first */
    struct ring_counters counters;
};

int ring_create(const struct ring_options *options, struct ring **out_ring, char *error,
                size_t error_bytes)
{
    if (options->sockets_max == 0) {
        snprintf(error, error_bytes, "a ring without sockets");
        return -EINVAL;
    }
    struct ring *ring = sim_alloc(sizeof(*ring));
    ring->world = sim_world_current();
    ring->mode = options->mode == RING_MODE_PLAIN ? RING_MODE_PLAIN : RING_MODE_DIRECT;
    ring->sockets_max = options->sockets_max;
    ring->room = options->sockets_max;
    ring->slots = sim_alloc(options->sockets_max * sizeof(*ring->slots));
    ring->closing = sim_alloc(options->sockets_max * sizeof(*ring->closing));
    for (uint32_t i = options->sockets_max; i-- > 0;) {
        ring->slots[i].next_free = ring->free_head;
        ring->free_head = i + 1;
    }
    sim_world_add_ring(ring->world, 1);
    *out_ring = ring;
    return 0;
}

int ring_start(struct ring *ring)
{
    ps_assert(!ring->is_started);
    ring->is_started = true;
    ring->counters.rings = 1;
    return 0;
}

void ring_destroy(struct ring *ring)
{
    if (ring == NULL)
        return;
    for (uint32_t i = 0; i < LISTENERS_MAX; i++) {
        if (ring->listeners[i].network != NULL)
            sim_listener_close(ring->listeners[i].network);
    }
    for (uint32_t i = 0; i < ring->sockets_max; i++) {
        if (ring->slots[i].end != NULL)
            sim_end_close(ring->slots[i].end, false);
    }
    ring_file_drain(ring);
    sim_world_add_ring(ring->world, -1);
    free(ring->slots);
    free(ring->closing);
    free(ring->queue);
    free(ring->peers);
    free(ring);
}

enum ring_mode ring_mode(const struct ring *ring)
{
    return ring->mode;
}

uint32_t ring_sockets_max(const struct ring *ring)
{
    return ring->sockets_max;
}

const struct ring_counters *ring_counters(const struct ring *ring)
{
    return &ring->counters;
}

uint64_t ring_now_ns(const struct ring *ring)
{
    return sim_world_now_ns(ring->world);
}

uint64_t ring_wall_ms(const struct ring *ring)
{
    return sim_world_wall_ms(ring->world);
}

/* Slots. */

static struct slot *live_slot(const struct ring *ring, struct ring_socket socket)
{
    ps_assert(ring->is_started && socket.slot < ring->sockets_max);
    struct slot *slot = &ring->slots[socket.slot];
    bool is_live = (slot->flags & SLOT_OPEN) && slot->generation == socket.generation;
    return is_live ? slot : NULL;
}

/* The slot of a socket that the caller may use now. */
static struct slot *usable_slot(const struct ring *ring, struct ring_socket socket)
{
    struct slot *slot = live_slot(ring, socket);
    ps_assert(slot != NULL && (slot->flags & (SLOT_CONNECTING | SLOT_MOVING)) == 0);
    return slot;
}

/* Room must have been claimed. */
static struct ring_socket open_slot(struct ring *ring, struct sim_end *end)
{
    ps_assert(ring->free_head != 0);
    uint32_t index = ring->free_head - 1;
    struct slot *slot = &ring->slots[index];
    ring->free_head = slot->next_free;
    slot->flags = SLOT_OPEN;
    slot->batch = 0;
    slot->end = end;
    end->holder = SIM_RING;
    end->ring = ring;
    end->slot = index;
    ring->counters.sockets++;
    return (struct ring_socket){.slot = index, .generation = slot->generation};
}

/* The name is dead from here; the slot is free after the next ring_wait. */
static void let_go(struct ring *ring, struct slot *slot)
{
    if (slot->flags & SLOT_CONNECTING)
        ring->connects--;
    slot->flags = 0;
    slot->end = NULL;
    slot->generation = (slot->generation + 1) & 0xffffffU;
    ring->closing[ring->closing_count++] = (uint32_t)(slot - ring->slots);
    ring->counters.sockets--;
}

static void free_closed_slots(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->closing_count; i++) {
        ring->slots[ring->closing[i]].next_free = ring->free_head;
        ring->free_head = ring->closing[i] + 1;
    }
    ring->room += ring->closing_count;
    ring->closing_count = 0;
}

/* Events. */

static void push_event(struct ring *ring, const struct ring_event *event)
{
    if (ring->queue_count == ring->queue_capacity) {
        uint32_t capacity = ring->queue_capacity == 0 ? 64 : ring->queue_capacity * 2;
        struct ring_event *grown = sim_alloc(capacity * sizeof(*grown));
        for (uint32_t i = 0; i < ring->queue_count; i++)
            grown[i] = ring->queue[(ring->queue_head + i) & (ring->queue_capacity - 1)];
        free(ring->queue);
        ring->queue = grown;
        ring->queue_head = 0;
        ring->queue_capacity = capacity;
    }
    uint32_t at = (ring->queue_head + ring->queue_count++) & (ring->queue_capacity - 1);
    ring->queue[at] = *event;
}

static struct ring_event pop_event(struct ring *ring)
{
    struct ring_event event = ring->queue[ring->queue_head];
    ring->queue_head = (ring->queue_head + 1) & (ring->queue_capacity - 1);
    ring->queue_count--;
    return event;
}

static void queue_readiness(struct ring *ring, uint32_t index, enum ring_event_kind kind)
{
    struct slot *slot = &ring->slots[index];
    uint32_t queued = kind == RING_READABLE ? SLOT_READ_QUEUED : SLOT_WRITE_QUEUED;
    if (slot->flags & queued)
        return;
    slot->flags |= queued;
    const struct ring_event event = {
        .kind = kind,
        .socket = {.slot = index, .generation = slot->generation},
    };
    push_event(ring, &event);
}

static void tell_readable(struct ring *ring, uint32_t index)
{
    struct slot *slot = &ring->slots[index];
    if ((slot->flags & (SLOT_READ_ALWAYS | SLOT_READ_ONCE)) == 0)
        return;
    slot->flags &= ~(uint32_t)SLOT_READ_ONCE;
    queue_readiness(ring, index, RING_READABLE);
}

static void tell_writable(struct ring *ring, uint32_t index)
{
    struct slot *slot = &ring->slots[index];
    if ((slot->flags & SLOT_WRITE_ONCE) == 0)
        return;
    slot->flags &= ~(uint32_t)SLOT_WRITE_ONCE;
    queue_readiness(ring, index, RING_WRITABLE);
}

void sim_ring_on_arrival(struct ring *ring, uint32_t slot)
{
    tell_readable(ring, slot);
}

void sim_ring_on_room(struct ring *ring, uint32_t slot)
{
    tell_writable(ring, slot);
}

void sim_ring_on_opened(struct ring *ring, uint32_t index, int32_t result)
{
    struct slot *slot = &ring->slots[index];
    const struct ring_event event = {
        .kind = RING_CONNECTED,
        .result = result,
        .token = slot->token,
        .socket = {.slot = index, .generation = slot->generation},
    };
    push_event(ring, &event);
}

/* A socket that nobody listens to, or that is told without reason: which one is drawn. */
static void make_spurious_event(struct ring *ring)
{
    uint32_t index = (uint32_t)random_below(sim_world_random(ring->world), ring->sockets_max);
    tell_readable(ring, index);
}

static bool is_readiness(const struct ring_event *event)
{
    return event->kind == RING_READABLE || event->kind == RING_WRITABLE;
}

/* Settles what giving this event means. False: it tells of a socket or a watch that is over. */
static bool take_event(struct ring *ring, const struct ring_event *event)
{
    if (event->kind == RING_ACCEPT_FAILED)
        return true;
    if (event->kind == RING_ACCEPTED)
        ring->accepted_queued--;
    if (event->kind == RING_MOVED_OUT && event->result == 0)
        return true;
    struct slot *slot = live_slot(ring, event->socket);
    if (slot == NULL) {
        ring->counters.stale++;
        return false;
    }
    if (event->kind == RING_MOVED_OUT)
        slot->flags &= ~(uint32_t)SLOT_MOVING;
    if (event->kind == RING_CONNECTED) {
        slot->flags &= ~(uint32_t)SLOT_CONNECTING;
        ring->connects--;
        if (event->result < 0) {
            sim_end_close(slot->end, false);
            let_go(ring, slot);
        }
    }
    if (is_readiness(event)) {
        uint32_t queued = event->kind == RING_READABLE ? SLOT_READ_QUEUED : SLOT_WRITE_QUEUED;
        if ((slot->flags & queued) == 0)
            return false; /* unwatched since */
        slot->flags &= ~queued;
    }
    return true;
}

static void keep_peer(struct ring *ring, struct ring_event *event, uint32_t at, uint32_t events_max)
{
    if (event->kind != RING_ACCEPTED)
        return;
    if (ring->peers == NULL)
        ring->peers = sim_alloc(events_max * sizeof(*ring->peers));
    ring->peers[at] = ring->slots[event->socket.slot].end->stream->client;
    event->peer = &ring->peers[at];
}

int ring_wait(struct ring *ring, uint64_t deadline_ns, struct ring_event *events,
              uint32_t events_max)
{
    (void)deadline_ns;
    ps_assert(ring->is_started && events_max > 0);
    const struct sim_faults *faults = sim_world_faults(ring->world);
    ring->counters.enters++;
    ring->is_woken = false;
    free(ring->peers);
    ring->peers = NULL;
    free_closed_slots(ring);
    if (sim_draw(ring->world, faults->spurious_readable))
        make_spurious_event(ring);
    uint32_t count = 0;
    for (uint32_t look = ring->queue_count; look != 0 && count < events_max; look--) {
        struct ring_event event = pop_event(ring);
        if (is_readiness(&event) && sim_draw(ring->world, faults->event_late)) {
            push_event(ring, &event);
            continue;
        }
        if (!take_event(ring, &event))
            continue;
        keep_peer(ring, &event, count, events_max);
        events[count++] = event;
    }
    ring->counters.completions += count;
    return (int)count;
}

void ring_wake(struct ring *ring)
{
    ring->is_woken = true;
}

bool sim_ring_has_event(const struct ring *ring)
{
    return ring->queue_count != 0 || ring->is_woken || ring->files_done_first != NULL;
}

/* Listening and accepting. */

int ring_listen(struct ring *ring, struct sockaddr_storage *address, socklen_t address_bytes,
                bool is_first, const struct ring_listen_options *options, uint32_t *out_listener)
{
    (void)address_bytes;
    ps_assert(ring->is_started);
    uint32_t number = 0;
    while (number < LISTENERS_MAX && ring->listeners[number].network != NULL)
        number++;
    if (number == LISTENERS_MAX)
        return -EMFILE;
    struct sim_listener *network = NULL;
    int status = sim_listener_open(ring->world, address, !is_first, options->backlog, &network);
    if (status < 0)
        return status;
    network->ring = ring;
    network->number = number;
    ring->listeners[number] = (struct listener){.network = network};
    *out_listener = number;
    return 0;
}

static void queue_accept_failed(struct ring *ring, uint32_t number, int32_t result)
{
    ring->listeners[number].armed--;
    ring->accepts_armed--;
    ring->room++;
    const struct ring_event event = {
        .kind = RING_ACCEPT_FAILED,
        .result = result,
        .listener = number,
    };
    push_event(ring, &event);
}

/* Brings armed accepts and waiting connections together. */
void sim_ring_on_backlog(struct ring *ring, uint32_t number)
{
    struct listener *listener = &ring->listeners[number];
    while (listener->armed != 0) {
        struct sim_end *end = sim_listener_take(listener->network);
        if (end == NULL)
            return;
        if (sim_draw(ring->world, sim_world_faults(ring->world)->accept_failed)) {
            bool is_dropped = sim_draw(ring->world, 65536 / 2);
            if (is_dropped)
                sim_end_close(end, true);
            else
                sim_listener_untake(listener->network, end);
            queue_accept_failed(ring, number, is_dropped ? -ECONNABORTED : -ENOMEM);
            continue;
        }
        listener->armed--;
        ring->accepts_armed--;
        ring->accepted_queued++;
        ring->counters.accepts++;
        const struct ring_event event = {
            .kind = RING_ACCEPTED,
            .socket = open_slot(ring, end),
            .listener = number,
        };
        push_event(ring, &event);
    }
}

uint32_t ring_accept(struct ring *ring, uint32_t listener, uint32_t count)
{
    ps_assert(listener < LISTENERS_MAX && ring->listeners[listener].network != NULL);
    uint32_t armed = ps_min_u32(count, ring->room);
    armed = ps_min_u32(armed, ACCEPTS_MAX - ring->accepts_armed - ring->accepted_queued);
    ring->room -= armed;
    ring->accepts_armed += armed;
    ring->listeners[listener].armed += armed;
    if (armed < count)
        ring->counters.accepts_refused += count - armed;
    sim_ring_on_backlog(ring, listener);
    return armed;
}

void ring_accept_pause(struct ring *ring, uint32_t listener)
{
    ps_assert(listener < LISTENERS_MAX && ring->listeners[listener].network != NULL);
    while (ring->listeners[listener].armed != 0)
        queue_accept_failed(ring, listener, -ECANCELED);
}

void ring_listen_close(struct ring *ring, uint32_t number)
{
    struct listener *listener = &ring->listeners[number];
    ps_assert(number < LISTENERS_MAX && listener->network != NULL);
    ring->accepts_armed -= listener->armed;
    ring->room += listener->armed;
    for (uint32_t i = ring->queue_count; i != 0; i--) {
        struct ring_event event = pop_event(ring);
        bool is_of_listener = (event.kind == RING_ACCEPTED || event.kind == RING_ACCEPT_FAILED) &&
                              event.listener == number;
        if (!is_of_listener)
            push_event(ring, &event);
        else if (event.kind == RING_ACCEPTED) {
            ring->accepted_queued--;
            ring_close(ring, event.socket, false);
        }
    }
    struct sim_listener *network = listener->network;
    *listener = (struct listener){0};
    sim_listener_close(network);
}

int ring_connect(struct ring *ring, const struct sockaddr_storage *address, socklen_t address_bytes,
                 uint64_t token, struct ring_socket *out_socket)
{
    (void)address_bytes;
    ps_assert(ring->is_started);
    if (ring->room == 0 || ring->connects == CONNECTS_MAX) {
        ring->counters.accepts_refused++;
        return ring->room == 0 ? -ENFILE : -EAGAIN;
    }
    ring->room--;
    ring->connects++;
    struct sim_end *end = sim_connect(ring->world, address);
    *out_socket = open_slot(ring, end);
    struct slot *slot = &ring->slots[out_socket->slot];
    slot->flags |= SLOT_CONNECTING;
    slot->token = token;
    sim_end_open(end);
    return 0;
}

/* Watching. */

void ring_watch_readable(struct ring *ring, struct ring_socket socket)
{
    struct slot *slot = usable_slot(ring, socket);
    bool is_new = (slot->flags & SLOT_READ_ALWAYS) == 0;
    slot->flags |= SLOT_READ_ALWAYS;
    slot->flags &= ~(uint32_t)SLOT_READ_ONCE;
    if (is_new && sim_end_is_readable(slot->end))
        tell_readable(ring, socket.slot);
}

void ring_watch_readable_once(struct ring *ring, struct ring_socket socket)
{
    struct slot *slot = usable_slot(ring, socket);
    if (slot->flags & (SLOT_READ_ALWAYS | SLOT_READ_ONCE))
        return;
    slot->flags |= SLOT_READ_ONCE;
    if (sim_end_is_readable(slot->end))
        tell_readable(ring, socket.slot);
}

void ring_watch_writable(struct ring *ring, struct ring_socket socket)
{
    struct slot *slot = usable_slot(ring, socket);
    slot->flags |= SLOT_WRITE_ONCE;
    if (sim_end_is_writable(slot->end))
        tell_writable(ring, socket.slot);
}

void ring_unwatch(struct ring *ring, struct ring_socket socket)
{
    struct slot *slot = usable_slot(ring, socket);
    slot->flags &= SLOT_OPEN;
}

/* Batches. */

static struct slot *batch_slot(struct ring *ring, struct ring_socket socket)
{
    struct slot *slot = usable_slot(ring, socket);
    ps_assert(slot->batch != ring->batch);
    slot->batch = ring->batch;
    return slot;
}

static void receive(struct ring *ring, struct ring_receive *request)
{
    struct sim_world *world = ring->world;
    const struct sim_faults *faults = sim_world_faults(world);
    struct slot *slot = batch_slot(ring, request->socket);
    struct sim_end *end = slot->end;
    uint32_t bytes_max = request->bytes_max;
    ps_assert(bytes_max > 0);
    request->has_more = false;
    if (end->arrived != 0 && sim_draw(world, faults->receive_again)) {
        request->result = -EAGAIN;
        tell_readable(ring, request->socket.slot);
        return;
    }
    uint32_t there = ps_min_u32(end->arrived, bytes_max);
    if (there > 1 && sim_draw(world, faults->receive_short))
        bytes_max = (uint32_t)random_between(sim_world_random(world), 1, there - 1);
    request->result = sim_end_read(end, request->buffer, bytes_max);
    request->has_more = request->result > 0 && sim_end_is_readable(end);
}

void ring_receive_batch(struct ring *ring, struct ring_receive *requests, uint32_t count)
{
    ring->batch++;
    ring->counters.enters++;
    for (uint32_t i = 0; i < count; i++)
        receive(ring, &requests[i]);
    ring->counters.receives += count;
}

static void send_one(struct ring *ring, struct ring_send *request)
{
    struct sim_world *world = ring->world;
    const struct sim_faults *faults = sim_world_faults(world);
    struct slot *slot = batch_slot(ring, request->socket);
    size_t bytes = 0;
    for (uint32_t i = 0; i < request->vector_count; i++)
        bytes += request->vectors[i].iov_len;
    uint32_t room = (uint32_t)ps_min_u64(bytes, sim_end_room(slot->end));
    uint32_t bytes_max = UINT32_MAX;
    if (room != 0 && sim_draw(world, faults->send_again)) {
        request->result = -EAGAIN;
    } else {
        if (room > 1 && sim_draw(world, faults->send_short))
            bytes_max = (uint32_t)random_between(sim_world_random(world), 1, room - 1);
        request->result =
            sim_end_write(slot->end, request->vectors, request->vector_count, bytes_max);
    }
    if (request->result < 0 || (size_t)request->result < bytes)
        ring->counters.sends_short++;
}

void ring_send_batch(struct ring *ring, struct ring_send *requests, uint32_t count)
{
    ring->batch++;
    ring->counters.enters++;
    for (uint32_t i = 0; i < count; i++)
        send_one(ring, &requests[i]);
    ring->counters.sends += count;
}

/* Closing and moving. */

void ring_close(struct ring *ring, struct ring_socket socket, bool is_reset)
{
    struct slot *slot = live_slot(ring, socket);
    ps_assert(slot != NULL && (slot->flags & SLOT_MOVING) == 0);
    sim_end_close(slot->end, is_reset);
    let_go(ring, slot);
    ring->counters.closes++;
}

void ring_move(struct ring *ring, struct ring_socket socket, struct ring *target, uint64_t token)
{
    struct slot *slot = usable_slot(ring, socket);
    ps_assert(token >> 56 == 0 && ring->mode == target->mode && ring->world == target->world);
    ps_assert(slot->flags == SLOT_OPEN); /* watched by nothing, and every event given */
    struct ring_event out = {.kind = RING_MOVED_OUT, .socket = socket, .token = token};
    if (!target->is_started || target->room == 0)
        out.result = -ENFILE;
    else if (sim_draw(ring->world, sim_world_faults(ring->world)->move_failed))
        out.result = -ENOMEM;
    if (out.result < 0) {
        ring->counters.moves_failed++;
        slot->flags |= SLOT_MOVING;
        push_event(ring, &out);
        return;
    }
    target->room--;
    target->counters.moves++;
    const struct ring_event in = {
        .kind = RING_MOVED_IN,
        .socket = open_slot(target, slot->end),
        .token = token,
    };
    push_event(target, &in);
    let_go(ring, slot);
    push_event(ring, &out);
}

/* Files. */

int ring_file_submit(struct ring *ring, struct ring_file_request *request)
{
    bool is_sync = request->kind == RING_FILE_SYNC;
    ps_assert(ring->is_started);
    ps_assert(is_sync || (request->bytes >= 1 && request->bytes <= RING_FILE_BYTES_MAX));
    if (ring->file_count == RING_FILES_MAX)
        return -EAGAIN;
    ring->file_count++;
    request->next = NULL;
    sim_disk_submit(sim_world_disk(ring->world), ring, request);
    return 0;
}

static void count_file(struct ring_counters *counters, const struct ring_file_request *request)
{
    bool is_read = request->kind == RING_FILE_READ;
    bool is_sync = request->kind == RING_FILE_SYNC;
    uint64_t bytes = request->result < 0 ? 0 : (uint64_t)request->result;
    counters->file_reads += is_read;
    counters->file_writes += !is_read && !is_sync;
    counters->file_syncs += is_sync || request->kind == RING_FILE_WRITE_SYNCED;
    counters->file_bytes_read += is_read ? bytes : 0;
    counters->file_bytes_written += is_read ? 0 : bytes;
    counters->file_errors += request->result < 0;
}

void sim_ring_on_file_done(struct ring *ring, struct ring_file_request *request)
{
    count_file(&ring->counters, request);
    if (ring->files_done_first == NULL)
        ring->files_done_first = request;
    else
        ring->files_done_last->next = request;
    ring->files_done_last = request;
}

struct ring_file_request *ring_file_take(struct ring *ring)
{
    struct ring_file_request *request = ring->files_done_first;
    if (request == NULL)
        return NULL;
    ring->files_done_first = request->next;
    request->next = NULL;
    ring->file_count--;
    return request;
}

void ring_file_drain(struct ring *ring)
{
    sim_disk_drain(sim_world_disk(ring->world), ring);
    ring->files_done_first = NULL;
    ring->file_count = 0;
}
