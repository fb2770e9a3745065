/*
 * What only the simulated world has: one seed, one world; each fault really happens; delays keep
 * the order; a reset and a close do to a stream what TCP does; leaks are counted. What it shares
 * with the real ring is proved by tests/contract/.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/random.h"
#include "core/ring.h"
#include "sim/network.h"

enum { ALWAYS = 65536, EVENTS_MAX = 64, MS = 1000000 };

static const struct ring_listen_options listen_options = {.backlog = 16};

/* A world with one ring that listens and accepts. */
struct fixture {
    struct sim_world *world;
    struct ring *ring;
    struct sockaddr_storage address;
    uint32_t listener;
    struct ring_event events[EVENTS_MAX];
    int event_count;
};

static struct ring *make_ring(uint32_t sockets_max)
{
    const struct ring_options options = {.sockets_max = sockets_max};
    struct ring *ring = NULL;
    char error[128];
    assert_int_equal(ring_create(&options, &ring, error, sizeof(error)), 0);
    assert_int_equal(ring_start(ring), 0);
    return ring;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct sim_options options = {.seed = 7, .buffer_bytes = 4096};
    f->world = sim_world_create(&options);
    f->ring = make_ring(16);
    f->address.ss_family = AF_INET;
    assert_int_equal(
        ring_listen(f->ring, &f->address, sizeof(f->address), true, &listen_options, &f->listener),
        0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ring_destroy(f->ring);
    sim_world_destroy(f->world);
    free(f);
    return 0;
}

static int wait_events(struct fixture *f)
{
    f->event_count = ring_wait(f->ring, 0, f->events, EVENTS_MAX);
    return f->event_count;
}

/* A peer and its socket in the ring, made before any fault. */
static struct sim_peer *make_pair(struct fixture *f, struct ring_socket *out_socket)
{
    struct sim_peer *peer = sim_client_connect(f->world, &f->address);
    assert_non_null(peer);
    assert_int_equal(ring_accept(f->ring, f->listener, 1), 1);
    assert_int_equal(wait_events(f), 1);
    assert_int_equal(f->events[0].kind, RING_ACCEPTED);
    *out_socket = f->events[0].socket;
    return peer;
}

static void set_faults(struct fixture *f, struct sim_faults faults)
{
    sim_world_set_faults(f->world, &faults);
}

static struct ring_receive receive(struct fixture *f, struct ring_socket socket, void *buffer,
                                   uint32_t bytes_max)
{
    struct ring_receive request = {.socket = socket, .buffer = buffer, .bytes_max = bytes_max};
    ring_receive_batch(f->ring, &request, 1);
    return request;
}

static int32_t send_bytes(struct fixture *f, struct ring_socket socket, const char *bytes,
                          size_t count)
{
    const struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
    struct ring_send request = {.socket = socket, .vectors = &vector, .vector_count = 1};
    ring_send_batch(f->ring, &request, 1);
    return request.result;
}

/* A short life of one world with every fault, as a number. */
static uint64_t live(uint64_t seed)
{
    const struct sim_options options = {
        .seed = seed,
        .buffer_bytes = 512,
        .faults =
            {
                .receive_short = 20000,
                .receive_again = 10000,
                .send_short = 20000,
                .send_again = 10000,
                .spurious_readable = 5000,
                .event_late = 10000,
                .reset = 300,
                .accept_failed = 10000,
                .delay_max_ns = 5 * MS,
            },
    };
    struct sim_world *world = sim_world_create(&options);
    struct ring *ring = make_ring(32);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    uint32_t listener = 0;
    ring_listen(ring, &address, sizeof(address), true, &listen_options, &listener);
    struct sim_peer *peers[8];
    for (uint32_t i = 0; i < ps_array_count(peers); i++)
        peers[i] = sim_client_connect(world, &address);
    uint64_t sum = 1;
    for (uint32_t step = 0; step < 2000; step++) {
        ring_accept(ring, listener, step % 100 == 0);
        for (uint32_t i = 0; i < ps_array_count(peers); i++) {
            char bytes[64] = {0};
            sum = sum * 31 + (uint64_t)sim_client_send(peers[i], bytes, 1 + step % 64);
            sum = sum * 31 + (uint64_t)sim_client_receive(peers[i], bytes, sizeof(bytes));
        }
        struct ring_event events[EVENTS_MAX];
        int count = ring_wait(ring, 0, events, EVENTS_MAX);
        for (int i = 0; i < count; i++) {
            sum = sum * 31 + (uint64_t)events[i].kind * 1000 + events[i].socket.slot;
            if (events[i].kind == RING_ACCEPTED)
                ring_watch_readable(ring, events[i].socket);
            if (events[i].kind != RING_READABLE)
                continue;
            char bytes[100];
            struct ring_receive request = {events[i].socket, bytes, sizeof(bytes), 0, false};
            ring_receive_batch(ring, &request, 1);
            sum = sum * 31 + (uint64_t)request.result;
        }
        if (step % 3 == 0)
            sim_world_advance(
                world, ps_min_u64(sim_next_event_ns(world), sim_world_now_ns(world) + 1 * MS));
    }
    ring_destroy(ring);
    sim_world_destroy(world);
    return sum;
}

static void the_same_seed_gives_the_same_world(void **state)
{
    (void)state;
    assert_int_equal(live(1), live(1));
    assert_int_not_equal(live(1), live(2));
}

static void a_short_receive_leaves_bytes_and_says_so(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    set_faults(f, (struct sim_faults){.receive_short = ALWAYS});
    assert_int_equal(sim_client_send(peer, "0123456789", 10), 10);
    char buffer[10];
    struct ring_receive request = receive(f, socket, buffer, sizeof(buffer));
    assert_in_range(request.result, 1, 9);
    assert_true(request.has_more);
    set_faults(f, (struct sim_faults){0});
    int32_t first = request.result;
    request = receive(f, socket, buffer + first, sizeof(buffer) - (uint32_t)first);
    assert_int_equal(first + request.result, 10);
    assert_memory_equal(buffer, "0123456789", 10);
}

static void a_receive_that_says_again_is_followed_by_an_arrival(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    ring_watch_readable(f->ring, socket);
    sim_client_send(peer, "x", 1);
    assert_int_equal(wait_events(f), 1);
    set_faults(f, (struct sim_faults){.receive_again = ALWAYS});
    char buffer[4];
    assert_int_equal(receive(f, socket, buffer, sizeof(buffer)).result, -EAGAIN);
    set_faults(f, (struct sim_faults){0});
    assert_int_equal(wait_events(f), 1);
    assert_int_equal(f->events[0].kind, RING_READABLE);
    assert_int_equal(receive(f, socket, buffer, sizeof(buffer)).result, 1);
}

static void a_send_is_short_or_refused_although_there_is_room(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    set_faults(f, (struct sim_faults){.send_short = ALWAYS});
    int32_t taken = send_bytes(f, socket, "0123456789", 10);
    assert_in_range(taken, 1, 9);
    set_faults(f, (struct sim_faults){.send_again = ALWAYS});
    assert_int_equal(send_bytes(f, socket, "0123456789", 10), -EAGAIN);
    assert_int_equal(ring_counters(f->ring)->sends_short, 2);
    char buffer[16];
    assert_int_equal(sim_client_receive(peer, buffer, sizeof(buffer)), taken);
    ring_watch_writable(f->ring, socket);
    assert_int_equal(wait_events(f), 1);
    assert_int_equal(f->events[0].kind, RING_WRITABLE);
}

static void a_watched_socket_is_told_readable_without_reason(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    make_pair(f, &socket);
    ring_watch_readable(f->ring, socket);
    assert_int_equal(wait_events(f), 0);
    set_faults(f, (struct sim_faults){.spurious_readable = ALWAYS});
    uint32_t told = 0;
    for (uint32_t i = 0; i < 1000; i++)
        told += (uint32_t)wait_events(f);
    assert_in_range(told, 1, 999);
    char buffer[4];
    assert_int_equal(receive(f, socket, buffer, sizeof(buffer)).result, -EAGAIN);
}

static void a_late_event_comes_with_a_later_wait(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    ring_watch_readable(f->ring, socket);
    set_faults(f, (struct sim_faults){.event_late = ALWAYS});
    sim_client_send(peer, "x", 1);
    assert_int_equal(wait_events(f), 0);
    assert_true(sim_ring_has_event(f->ring));
    set_faults(f, (struct sim_faults){0});
    assert_int_equal(wait_events(f), 1);
    assert_false(sim_ring_has_event(f->ring));
}

static void a_write_may_reset_the_connection(void **state)
{
    struct fixture *f = *state;
    struct ring_socket sockets[2];
    struct sim_peer *peers[2];
    for (uint32_t i = 0; i < 2; i++)
        peers[i] = make_pair(f, &sockets[i]);
    ring_watch_readable(f->ring, sockets[0]);
    ring_watch_readable(f->ring, sockets[1]);
    set_faults(f, (struct sim_faults){.reset = ALWAYS});
    char buffer[4];
    assert_int_equal(send_bytes(f, sockets[0], "x", 1), -ECONNRESET);
    assert_int_equal(sim_client_receive(peers[0], buffer, sizeof(buffer)), -ECONNRESET);
    assert_int_equal(sim_client_send(peers[1], "x", 1), -ECONNRESET);
    assert_int_equal(receive(f, sockets[1], buffer, sizeof(buffer)).result, -ECONNRESET);
    assert_int_equal(wait_events(f), 2); /* whoever wrote, the ring is told */
}

static void an_accept_fails_and_half_of_these_drop_the_connection(void **state)
{
    struct fixture *f = *state;
    set_faults(f, (struct sim_faults){.accept_failed = ALWAYS});
    uint32_t dropped = 0;
    enum { TRIES = 200 };
    for (uint32_t i = 0; i < TRIES; i++) {
        struct sim_peer *peer = sim_client_connect(f->world, &f->address);
        assert_int_equal(ring_accept(f->ring, f->listener, 1), 1);
        assert_int_equal(wait_events(f), 1);
        assert_int_equal(f->events[0].kind, RING_ACCEPT_FAILED);
        char byte;
        if (sim_client_receive(peer, &byte, 1) == -ECONNRESET) {
            assert_int_equal(f->events[0].result, -ECONNABORTED);
            dropped++;
        } else {
            /* It waits still, and the next accept that goes well meets it. */
            set_faults(f, (struct sim_faults){0});
            assert_int_equal(ring_accept(f->ring, f->listener, 1), 1);
            assert_int_equal(wait_events(f), 1);
            assert_int_equal(f->events[0].kind, RING_ACCEPTED);
            ring_close(f->ring, f->events[0].socket, false);
            set_faults(f, (struct sim_faults){.accept_failed = ALWAYS});
        }
        sim_client_close(peer);
    }
    assert_in_range(dropped, TRIES / 4, TRIES * 3 / 4);
    assert_int_equal(sim_world_stream_count(f->world), 0);
}

static void a_move_that_fails_leaves_the_socket_where_it_was(void **state)
{
    struct fixture *f = *state;
    struct ring *target = make_ring(4);
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    set_faults(f, (struct sim_faults){.move_failed = ALWAYS});
    ring_move(f->ring, socket, target, 5);
    assert_int_equal(wait_events(f), 1);
    assert_int_equal(f->events[0].kind, RING_MOVED_OUT);
    assert_int_equal(f->events[0].result, -ENOMEM);
    assert_false(sim_ring_has_event(target));
    sim_client_send(peer, "x", 1);
    char byte;
    assert_int_equal(receive(f, socket, &byte, 1).result, 1);
    ring_destroy(target);
}

static void bytes_take_time_and_keep_their_order(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    set_faults(f, (struct sim_faults){.delay_max_ns = 10 * MS});
    enum { WRITES = 100 };
    for (uint8_t i = 0; i < WRITES; i++)
        assert_int_equal(sim_client_send(peer, &i, 1), 1);
    sim_client_shutdown(peer);
    uint8_t expected = 0;
    uint32_t instants = 0;
    bool is_end = false;
    while (!is_end) {
        uint8_t buffer[WRITES];
        struct ring_receive request = receive(f, socket, buffer, sizeof(buffer));
        for (int32_t i = 0; i < request.result; i++)
            assert_int_equal(buffer[i], expected++);
        is_end = request.result == 0;
        if (request.result == -EAGAIN) {
            assert_in_range(sim_next_event_ns(f->world), sim_world_now_ns(f->world) + 1, 10 * MS);
            sim_world_advance(f->world, sim_next_event_ns(f->world));
            instants++;
        }
    }
    assert_int_equal(expected, WRITES);
    assert_in_range(instants, 2, WRITES + 1);
    assert_int_equal(sim_next_event_ns(f->world), UINT64_MAX);
}

static void a_connection_takes_time_and_is_seen_before_its_bytes(void **state)
{
    struct fixture *f = *state;
    set_faults(f, (struct sim_faults){.delay_max_ns = 10 * MS});
    struct sim_peer *peer = sim_client_connect(f->world, &f->address);
    assert_int_equal(sim_client_send(peer, "hello", 5), 5);
    assert_int_equal(ring_accept(f->ring, f->listener, 1), 1);
    assert_int_equal(wait_events(f), 0);
    sim_world_advance(f->world, 20 * MS);
    assert_int_equal(wait_events(f), 1);
    char buffer[8];
    assert_int_equal(receive(f, f->events[0].socket, buffer, sizeof(buffer)).result, 5);
}

static void a_reset_throws_away_what_is_on_its_way(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    sim_client_send(peer, "seen", 4);
    set_faults(f, (struct sim_faults){.delay_max_ns = 10 * MS});
    sim_client_send(peer, "lost", 4);
    sim_client_reset(peer);
    sim_world_advance(f->world, 100 * MS);
    char buffer[16];
    assert_int_equal(receive(f, socket, buffer, sizeof(buffer)).result, 4);
    assert_memory_equal(buffer, "seen", 4);
    assert_int_equal(receive(f, socket, buffer, sizeof(buffer)).result, -ECONNRESET);
    assert_true(send_bytes(f, socket, "x", 1) < 0);
}

static void closing_with_unread_bytes_resets(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    sim_client_send(peer, "unread", 6);
    ring_close(f->ring, socket, false);
    char byte;
    assert_int_equal(sim_client_receive(peer, &byte, 1), -ECONNRESET);
    sim_client_close(peer);
    /* What meets the closed socket later is answered by a reset, behind the bytes and the end. */
    peer = make_pair(f, &socket);
    assert_int_equal(send_bytes(f, socket, "b", 1), 1);
    ring_close(f->ring, socket, false);
    assert_int_equal(sim_client_send(peer, "late", 4), 4);
    assert_int_equal(sim_client_receive(peer, &byte, 1), 1);
    assert_int_equal(sim_client_receive(peer, &byte, 1), -ECONNRESET);
    assert_int_equal(sim_client_send(peer, "late", 4), -EPIPE);
    sim_client_close(peer);
    assert_int_equal(sim_world_stream_count(f->world), 0);
}

static void a_buffer_is_bounded_in_each_direction(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    static char bytes[5000];
    assert_int_equal(sim_client_room(peer), 4096);
    assert_int_equal(sim_client_send(peer, bytes, sizeof(bytes)), 4096);
    assert_int_equal(sim_client_send(peer, bytes, 1), -EAGAIN);
    assert_int_equal(send_bytes(f, socket, bytes, sizeof(bytes)), 4096);
    assert_int_equal(send_bytes(f, socket, bytes, 1), -EAGAIN);
    assert_int_equal(receive(f, socket, bytes, 96).result, 96);
    assert_int_equal(sim_client_room(peer), 96);
}

static void a_connection_is_refused_without_listener_or_room(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peers[17];
    for (uint32_t i = 0; i < 17; i++)
        peers[i] = sim_client_connect(f->world, &f->address);
    assert_non_null(peers[15]);
    assert_null(peers[16]); /* the backlog is 16 */
    ring_listen_close(f->ring, f->listener);
    char byte;
    assert_int_equal(sim_client_receive(peers[0], &byte, 1), -ECONNRESET);
    assert_null(sim_client_connect(f->world, &f->address));
}

static void a_port_of_the_test_is_connected_to(void **state)
{
    struct fixture *f = *state;
    assert_null(sim_port_open(f->world, &f->address));
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct sim_port *port = sim_port_open(f->world, &address);
    assert_non_null(port);
    assert_null(sim_port_accept(port));
    struct ring_socket socket;
    assert_int_equal(ring_connect(f->ring, &address, sizeof(address), 9, &socket), 0);
    assert_int_equal(wait_events(f), 1);
    assert_int_equal(f->events[0].kind, RING_CONNECTED);
    struct sim_peer *peer = sim_port_accept(port);
    assert_non_null(peer);
    assert_int_equal(send_bytes(f, socket, "x", 1), 1);
    char byte;
    assert_int_equal(sim_client_receive(peer, &byte, 1), 1);
    sim_port_close(port);
}

static void streams_are_counted_until_both_ends_let_go(void **state)
{
    struct fixture *f = *state;
    struct ring_socket socket;
    struct sim_peer *peer = make_pair(f, &socket);
    assert_int_equal(sim_world_stream_count(f->world), 1);
    sim_client_close(peer);
    assert_int_equal(sim_world_stream_count(f->world), 1);
    ring_close(f->ring, socket, false);
    assert_int_equal(sim_world_stream_count(f->world), 0);
    assert_int_equal(sim_next_event_ns(f->world), UINT64_MAX);
}

static void connections_are_spread_over_the_listeners_of_an_address(void **state)
{
    struct fixture *f = *state;
    struct ring *other = make_ring(16);
    uint32_t listener = 0;
    assert_int_equal(
        ring_listen(other, &f->address, sizeof(f->address), false, &listen_options, &listener), 0);
    assert_int_equal(ring_accept(other, listener, 16), 16);
    assert_int_equal(ring_accept(f->ring, f->listener, 16), 16);
    for (uint32_t i = 0; i < 16; i++)
        sim_client_connect(f->world, &f->address);
    assert_in_range(wait_events(f), 1, 15);
    int here = f->event_count;
    assert_int_equal(ring_wait(other, 0, f->events, EVENTS_MAX), 16 - here);
    ring_destroy(other);
}

#define world_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_gives_the_same_world),
        world_test(a_short_receive_leaves_bytes_and_says_so),
        world_test(a_receive_that_says_again_is_followed_by_an_arrival),
        world_test(a_send_is_short_or_refused_although_there_is_room),
        world_test(a_watched_socket_is_told_readable_without_reason),
        world_test(a_late_event_comes_with_a_later_wait),
        world_test(a_write_may_reset_the_connection),
        world_test(an_accept_fails_and_half_of_these_drop_the_connection),
        world_test(a_move_that_fails_leaves_the_socket_where_it_was),
        world_test(bytes_take_time_and_keep_their_order),
        world_test(a_connection_takes_time_and_is_seen_before_its_bytes),
        world_test(a_reset_throws_away_what_is_on_its_way),
        world_test(closing_with_unread_bytes_resets),
        world_test(a_buffer_is_bounded_in_each_direction),
        world_test(a_connection_is_refused_without_listener_or_room),
        world_test(a_port_of_the_test_is_connected_to),
        world_test(streams_are_counted_until_both_ends_let_go),
        world_test(connections_are_spread_over_the_listeners_of_an_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
