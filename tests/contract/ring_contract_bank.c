/*
 * The ring's contract: waiting and waking, slots, several rings in a bank, moving to another ring.
 */
#include "ring_contract_internal.h"

#include "core/base.h"

static void a_wait_ends_at_its_deadline(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 4, 0);
    struct ring_event event;
    uint64_t deadline_ns = ring_now_ns(ring) + 20 * CONTRACT_MS;
    uint32_t waits = 0;
    while (ring_now_ns(ring) < deadline_ns) {
        assert_int_equal(ring_wait(ring, deadline_ns, &event, 1), 0);
        contract_pass_time(ring, deadline_ns);
        waits++;
    }
    assert_in_range(waits, 1, 50); /* it slept, though it may return early */
    assert_int_equal(ring_wait(ring, 0, &event, 1), 0);
}

static void a_wait_whose_deadline_has_passed_gives_what_is_there(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_readable(contract->ring, socket);
    assert_int_equal(contract_peer_send(peer, "x", 1), 1);
    struct ring_event event;
    int count = 0;
    for (uint32_t i = 0; i < 3 && count == 0; i++)
        count = ring_wait(contract->ring, 0, &event, 1);
    assert_int_equal(count, 1);
    assert_int_equal(event.kind, RING_READABLE);
}

static void a_wake_ends_the_wait(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 4, 0);
    struct ring_event event;
    uint64_t start_ns = ring_now_ns(ring);
    /* Before the wait, and again: two wakes before one is noticed are one. */
    for (uint32_t i = 0; i < 3; i++) {
        ring_wake(ring);
        ring_wake(ring);
        assert_int_equal(ring_wait(ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
    }
    for (uint32_t i = 0; i < 20; i++) {
        contract_wake_from_elsewhere(ring);
        assert_int_equal(ring_wait(ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
        contract_wake_join();
    }
    assert_true(ring_now_ns(ring) - start_ns < 15000 * CONTRACT_MS);
}

static void a_wake_before_a_batch_ends_the_next_wait(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    contract_pair(contract, &socket);
    uint64_t start_ns = ring_now_ns(contract->ring);
    for (uint32_t i = 0; i < 10; i++) {
        char byte;
        struct ring_event event;
        ring_wake(contract->ring);
        for (uint32_t batch = 0; batch < 3; batch++)
            assert_int_equal(contract_receive(contract->ring, socket, &byte, 1).result, -EAGAIN);
        assert_int_equal(ring_wait(contract->ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
    }
    assert_true(ring_now_ns(contract->ring) - start_ns < 15000 * CONTRACT_MS);
}

static void a_wake_that_meets_a_connect_ends_the_next_wait(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 4, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open(&address);
    uint64_t start_ns = ring_now_ns(ring);
    for (uint32_t i = 0; i < 10; i++) {
        struct ring_event event;
        ring_wake(ring);
        struct ring_socket socket;
        assert_int_equal(ring_connect(ring, &address, sizeof(address), 1, &socket), 0);
        ring_close(ring, socket, false);
        assert_int_equal(ring_wait(ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
        contract_expect_none(ring);
    }
    assert_true(ring_now_ns(ring) - start_ns < 15000 * CONTRACT_MS);
    contract_port_close(port);
}

static void events_that_do_not_fit_come_with_the_next_wait(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 16);
    struct ring_socket sockets[10];
    struct contract_peer *peers[10];
    for (uint32_t i = 0; i < 10; i++)
        peers[i] = contract_pair(contract, &sockets[i]);
    for (uint32_t i = 0; i < 10; i++) {
        ring_watch_readable_once(contract->ring, sockets[i]);
        assert_int_equal(contract_peer_send(peers[i], "x", 1), 1);
    }
    uint64_t start_ns = ring_now_ns(contract->ring);
    uint32_t told = 0;
    for (uint32_t i = 0; i < 10 && told < 10; i++) {
        struct ring_event events[3];
        int count = ring_wait(contract->ring, start_ns + 30000 * CONTRACT_MS, events,
                              ps_array_count(events));
        assert_in_range(count, 1, 3); /* there are some: it does not sleep */
        told += (uint32_t)count;
    }
    assert_int_equal(told, 10);
    assert_true(ring_now_ns(contract->ring) - start_ns < 15000 * CONTRACT_MS);
}

static void slots_are_used_again_with_other_generations(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 2);
    assert_int_equal(ring_sockets_max(contract->ring), 2);
    uint32_t generations[2] = {UINT32_MAX, UINT32_MAX};
    for (uint32_t i = 0; i < 40; i++) {
        struct ring_socket socket;
        struct contract_peer *peer = contract_pair(contract, &socket);
        assert_true(socket.slot < 2);
        assert_int_not_equal(socket.generation, generations[socket.slot]);
        assert_true(socket.generation < 1U << 24);
        generations[socket.slot] = socket.generation;
        ring_watch_readable(contract->ring, socket);
        ring_close(contract->ring, socket, false);
        contract_expect_end(contract->ring, peer);
        contract_forget(contract, peer);
        contract_peer_close(peer);
    }
    contract_expect_none(contract->ring);
    assert_int_equal(ring_counters(contract->ring)->closes, 40);
}

static void a_bank_grows_to_all_its_sockets(void **state)
{
    struct contract *contract = *state;
    enum { SOCKETS = 11, PER_RING = 3 }; /* the last ring is smaller */
    contract->ring = contract_make_ring(contract, SOCKETS, PER_RING);
    contract->address.ss_family = AF_INET;
    assert_int_equal(
        contract_open_listener(contract->ring, &contract->address, true, &contract->listener), 0);
    struct contract_peer *peers[SOCKETS];
    struct ring_socket sockets[SOCKETS];
    bool is_used[SOCKETS] = {false};
    for (uint32_t round = 0; round < 3; round++) {
        for (uint32_t i = 0; i < SOCKETS; i++) {
            peers[i] = contract_pair(contract, &sockets[i]);
            assert_true(sockets[i].slot < SOCKETS);
            is_used[sockets[i].slot] = true;
            ring_watch_readable(contract->ring, sockets[i]);
        }
        assert_int_equal(ring_accept(contract->ring, contract->listener, 1), 0);
        contract_expect_none(contract->ring);
        /* Whichever ring of the bank it is in, an arrival ends the sleep, and a batch reaches it.
         */
        for (uint32_t i = 0; i < SOCKETS; i++) {
            uint64_t deadline_ns = ring_now_ns(contract->ring) + 30000 * CONTRACT_MS;
            assert_int_equal(contract_peer_send(peers[i], "x", 1), 1);
            struct ring_event event;
            int count = 0;
            for (uint32_t wait = 0; wait < 5 && count == 0; wait++)
                count = ring_wait(contract->ring, deadline_ns, &event, 1);
            assert_int_equal(count, 1);
            assert_true(contract_is_same(event.socket, sockets[i]));
            assert_true(ring_now_ns(contract->ring) < deadline_ns);
        }
        struct ring_receive receives[SOCKETS];
        char bytes[SOCKETS];
        for (uint32_t i = 0; i < SOCKETS; i++)
            receives[i] = (struct ring_receive){sockets[i], &bytes[i], 1, 0, false};
        ring_receive_batch(contract->ring, receives, SOCKETS);
        for (uint32_t i = 0; i < SOCKETS; i++) {
            assert_int_equal(receives[i].result, 1);
            ring_close(contract->ring, sockets[i], false);
        }
        for (uint32_t i = 0; i < SOCKETS; i++)
            contract_expect_end(contract->ring, peers[i]);
        contract_expect_none(contract->ring);
    }
    for (uint32_t i = 0; i < SOCKETS; i++)
        assert_true(is_used[i]);
}

/* Waits for the two answers of a move that goes well. */
static struct ring_socket expect_moved(struct ring *from, struct ring *to,
                                       struct ring_socket socket, uint64_t token)
{
    struct ring_event in = {0};
    struct ring_event out = {0};
    int in_count = 0;
    int out_count = 0;
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX && (in_count == 0 || out_count == 0); i++) {
        if (out_count == 0)
            out_count = ring_wait(from, ring_now_ns(from) + CONTRACT_MS, &out, 1);
        if (in_count == 0)
            in_count = ring_wait(to, ring_now_ns(to) + CONTRACT_MS, &in, 1);
    }
    assert_int_equal(in_count, 1);
    assert_int_equal(out_count, 1);
    assert_int_equal(in.kind, RING_MOVED_IN);
    assert_true(in.token == token);
    assert_int_equal(out.kind, RING_MOVED_OUT);
    assert_int_equal(out.result, 0);
    assert_true(out.token == token);
    assert_true(contract_is_same(out.socket, socket));
    return in.socket;
}

static void a_socket_moves_with_its_unread_bytes(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring *target = contract_make_ring(contract, 4, 0);
    const uint64_t token = 0x00fedcba98765432ULL;
    for (uint32_t i = 0; i < 10; i++) {
        struct ring_socket socket;
        struct contract_peer *peer = contract_pair(contract, &socket);
        char buffer[16];
        ring_watch_readable_once(contract->ring, socket);
        assert_int_equal(contract_peer_send(peer, "0123456789", 10), 10);
        contract_expect(contract->ring, RING_READABLE);
        assert_int_equal(contract_receive(contract->ring, socket, buffer, 4).result, 4);
        ring_move(contract->ring, socket, target, token + i);
        struct ring_socket moved = expect_moved(contract->ring, target, socket, token + i);
        assert_int_equal(ring_counters(contract->ring)->sockets, 0);
        assert_int_equal(ring_counters(target)->sockets, 1);
        ring_watch_readable(target, moved);
        contract_expect(target, RING_READABLE);
        assert_int_equal(contract_receive(target, moved, buffer, 16).result, 6);
        assert_memory_equal(buffer, "456789", 6);
        assert_int_equal(contract_send(target, moved, "back", 4), 4);
        assert_int_equal(contract_peer_sees(target, peer, buffer, 16), 4);
        ring_close(target, moved, false);
        contract_expect_none(contract->ring);
        contract_expect_end(target, peer);
        contract_forget(contract, peer);
        contract_peer_close(peer);
    }
    assert_int_equal(ring_counters(target)->moves, 10);
    assert_int_equal(ring_counters(contract->ring)->moves_failed, 0);
}

static void an_unwatched_socket_moves(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring *target = contract_make_ring(contract, 4, 0);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_readable(contract->ring, socket);
    contract_expect_none(contract->ring);
    contract_peer_shutdown(peer); /* crosses the unwatch */
    ring_unwatch(contract->ring, socket);
    ring_move(contract->ring, socket, target, 3);
    struct ring_socket moved = expect_moved(contract->ring, target, socket, 3);
    char byte;
    assert_int_equal(contract_receive(target, moved, &byte, 1).result, 0);
    ring_close(target, moved, false);
    contract_expect_none(contract->ring);
    contract_expect_end(target, peer);
}

static void a_move_to_a_full_ring_fails_and_the_socket_stays(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring *target = contract_make_ring(contract, 1, 0);
    struct ring_socket sockets[2];
    struct contract_peer *peers[2];
    for (uint32_t i = 0; i < 2; i++)
        peers[i] = contract_pair(contract, &sockets[i]);
    ring_move(contract->ring, sockets[0], target, 1);
    struct ring_socket moved = expect_moved(contract->ring, target, sockets[0], 1);
    ring_move(contract->ring, sockets[1], target, 2);
    struct ring_event event = contract_expect(contract->ring, RING_MOVED_OUT);
    assert_int_equal(event.result, -ENFILE);
    assert_true(event.token == 2 && contract_is_same(event.socket, sockets[1]));
    contract_expect_none(target);
    assert_int_equal(ring_counters(contract->ring)->moves_failed, 1);
    assert_int_equal(ring_counters(contract->ring)->sockets, 1);
    /* It is ours and works. */
    char byte;
    ring_watch_readable(contract->ring, sockets[1]);
    assert_int_equal(contract_peer_send(peers[1], "x", 1), 1);
    contract_expect(contract->ring, RING_READABLE);
    assert_int_equal(contract_receive(contract->ring, sockets[1], &byte, 1).result, 1);
    ring_unwatch(contract->ring, sockets[1]);
    /* When the target has room, it can move after all. */
    ring_close(target, moved, false);
    contract_expect_none(target);
    ring_move(contract->ring, sockets[1], target, 3);
    expect_moved(contract->ring, target, sockets[1], 3);
}

static void moves_fill_every_ring_of_the_targets_bank(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 16);
    enum { SOCKETS = 12, PER_RING = 4 };
    struct ring *target = contract_make_ring(contract, SOCKETS, PER_RING);
    for (uint64_t i = 0; i < SOCKETS; i++) {
        struct ring_socket socket;
        struct contract_peer *peer = contract_pair(contract, &socket);
        ring_move(contract->ring, socket, target, i);
        struct ring_socket moved = expect_moved(contract->ring, target, socket, i);
        ring_watch_readable(target, moved);
        assert_int_equal(contract_peer_send(peer, "x", 1), 1);
        contract_expect(target, RING_READABLE);
    }
    assert_int_equal(ring_counters(target)->sockets, SOCKETS);
}

static void the_counters_tell_what_was_done(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    const struct ring_counters *counters = ring_counters(contract->ring);
    struct ring_socket socket;
    contract_pair(contract, &socket);
    assert_true(counters->enters > 0 && counters->completions > 0 && counters->rings > 0);
    assert_int_equal(counters->overflows, 0);
    assert_int_equal(counters->accepts, 1);
    assert_int_equal(counters->sockets, 1);
    char byte;
    contract_receive(contract->ring, socket, &byte, 1);
    contract_send(contract->ring, socket, "x", 1);
    assert_int_equal(counters->receives, 1);
    assert_int_equal(counters->sends, 1);
    assert_int_equal(counters->sends_short, 0);
    ring_close(contract->ring, socket, false);
    assert_int_equal(counters->closes, 1);
    assert_int_equal(counters->sockets, 0);
}

static void destroying_a_ring_closes_its_sockets(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 8);
    struct ring *other = contract_make_ring(contract, 4, 0);
    struct ring_socket sockets[3];
    struct contract_peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = contract_pair(contract, &sockets[i]);
    ring_watch_readable(contract->ring, sockets[1]);
    contract_expect_none(contract->ring);
    contract_destroy_ring(contract, contract->ring);
    for (uint32_t i = 0; i < 3; i++)
        contract_expect_end(other, peers[i]);
    assert_null(contract_peer_connect(&contract->address));
    ring_destroy(NULL);
}

static void the_clocks_go_forward(void **state)
{
    struct contract *contract = *state;
    const struct ring_options options = {.sockets_max = 4, .mode = contract->mode};
    struct ring *ring = NULL;
    char error[256];
    assert_int_equal(ring_create(&options, &ring, error, sizeof(error)), 0);
    /* Before ring_start already. */
    uint64_t now_ns = ring_now_ns(ring);
    uint64_t wall_ms = ring_wall_ms(ring);
    assert_int_equal(ring_mode(ring), contract->mode);
    assert_int_equal(ring_start(ring), 0);
    struct ring_event event;
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t deadline_ns = now_ns + 2 * CONTRACT_MS;
        ring_wait(ring, deadline_ns, &event, 1);
        contract_pass_time(ring, deadline_ns);
        assert_true(ring_now_ns(ring) >= now_ns);
        assert_true(ring_wall_ms(ring) >= wall_ms);
        now_ns = ring_now_ns(ring);
        wall_ms = ring_wall_ms(ring);
    }
    ring_destroy(ring);
}

struct contract_tests ring_contract_bank_tests(void)
{
    static const struct CMUnitTest tests[] = {
        contract_test(a_wait_ends_at_its_deadline),
        contract_test(a_wait_whose_deadline_has_passed_gives_what_is_there),
        contract_test(a_wake_ends_the_wait),
        contract_test(a_wake_before_a_batch_ends_the_next_wait),
        contract_test(a_wake_that_meets_a_connect_ends_the_next_wait),
        contract_test(events_that_do_not_fit_come_with_the_next_wait),
        contract_test(slots_are_used_again_with_other_generations),
        contract_test(a_bank_grows_to_all_its_sockets),
        contract_test(a_socket_moves_with_its_unread_bytes),
        contract_test(an_unwatched_socket_moves),
        contract_test(a_move_to_a_full_ring_fails_and_the_socket_stays),
        contract_test(moves_fill_every_ring_of_the_targets_bank),
        contract_test(the_counters_tell_what_was_done),
        contract_test(destroying_a_ring_closes_its_sockets),
        contract_test(the_clocks_go_forward),
    };
    return (struct contract_tests){tests, ps_array_count(tests)};
}
