/*
 * The ring's contract: listening, accepting, connecting.
 */
#include "ring_contract_internal.h"

#include "core/base.h"

static void port_0_becomes_a_real_port(void **state)
{
    struct contract *contract = *state;
    const struct sockaddr_storage asked = {.ss_family = AF_INET};
    contract_listen(contract, 4);
    assert_memory_not_equal(&contract->address, &asked, sizeof(asked));
    struct ring_socket socket;
    contract_pair(contract, &socket);
}

static void an_address_in_use_is_refused(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring *other = contract_make_ring(contract, 4, 0);
    uint32_t listener = 77;
    struct sockaddr_storage address = contract->address;
    assert_int_equal(contract_open_listener(other, &address, true, &listener), -EADDRINUSE);
    assert_int_equal(listener, 77);
    assert_null(contract_port_open(&address));
    struct sockaddr_storage foreign = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open(&foreign);
    assert_non_null(port);
    assert_int_equal(contract_open_listener(other, &foreign, true, &listener), -EADDRINUSE);
    assert_int_equal(contract_open_listener(other, &foreign, false, &listener), -EADDRINUSE);
    contract_port_close(port);
}

static void rings_share_an_address(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 64);
    struct ring *other = contract_make_ring(contract, 64, 0);
    uint32_t listener = 0;
    assert_int_equal(contract_open_listener(other, &contract->address, false, &listener), 0);
    enum { PEERS = 40 };
    assert_int_equal(ring_accept(contract->ring, contract->listener, PEERS), PEERS);
    assert_int_equal(ring_accept(other, listener, PEERS), PEERS);
    uint32_t counts[2] = {0, 0};
    for (uint32_t i = 0; i < PEERS; i++)
        contract_connect(contract);
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX && counts[0] + counts[1] < PEERS; i++) {
        struct ring_event event;
        counts[0] += (uint32_t)ring_wait(contract->ring, 0, &event, 1);
        counts[1] += (uint32_t)ring_wait(other, 0, &event, 1);
    }
    assert_int_equal(counts[0] + counts[1], PEERS);
    assert_in_range(counts[0], 1, PEERS - 1);
}

static void no_more_connections_are_accepted_than_were_asked_for(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 8);
    for (uint32_t i = 0; i < 3; i++)
        contract_connect(contract);
    contract_expect_none(contract->ring);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 2), 2);
    contract_expect(contract->ring, RING_ACCEPTED);
    contract_expect(contract->ring, RING_ACCEPTED);
    contract_expect_none(contract->ring);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 1), 1);
    contract_expect(contract->ring, RING_ACCEPTED);
    assert_int_equal(ring_counters(contract->ring)->accepts, 3);
    assert_int_equal(ring_counters(contract->ring)->sockets, 3);
}

static void an_accept_tells_the_listener_and_the_peer(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct sockaddr_storage second = {.ss_family = AF_INET};
    uint32_t listener = 0;
    assert_int_equal(contract_open_listener(contract->ring, &second, true, &listener), 0);
    assert_int_not_equal(listener, contract->listener);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 1), 1);
    assert_int_equal(ring_accept(contract->ring, listener, 2), 2);
    contract_keep(contract, contract_peer_connect(&second));
    struct ring_event event = contract_expect(contract->ring, RING_ACCEPTED);
    assert_int_equal(event.listener, listener);
    assert_int_equal(event.peer->ss_family, AF_INET);
    struct sockaddr_storage first = *event.peer;
    contract_keep(contract, contract_peer_connect(&second));
    event = contract_expect(contract->ring, RING_ACCEPTED);
    assert_memory_not_equal(event.peer, &first, sizeof(first)); /* another port */
    contract_connect(contract);
    event = contract_expect(contract->ring, RING_ACCEPTED);
    assert_int_equal(event.listener, contract->listener);
}

static void a_full_table_drops_no_connection(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 2);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 10), 2);
    assert_int_equal(ring_counters(contract->ring)->accepts_refused, 8);
    struct contract_peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = contract_connect(contract);
    struct ring_socket first = contract_expect(contract->ring, RING_ACCEPTED).socket;
    contract_expect(contract->ring, RING_ACCEPTED);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 1), 0);
    contract_expect_none(contract->ring);
    ring_close(contract->ring, first, false);
    contract_expect_none(contract->ring);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 10), 1);
    struct ring_socket third = contract_expect(contract->ring, RING_ACCEPTED).socket;
    assert_int_equal(contract_peer_send(peers[2], "x", 1), 1);
    char byte;
    assert_int_equal(contract_receive_some(contract->ring, third, &byte, 1).result, 1);
}

static void a_pause_takes_back_what_is_armed(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 3);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 3), 3);
    contract_connect(contract);
    contract_expect(contract->ring, RING_ACCEPTED);
    ring_accept_pause(contract->ring, contract->listener);
    for (uint32_t i = 0; i < 2; i++) {
        struct ring_event event = contract_expect(contract->ring, RING_ACCEPT_FAILED);
        assert_int_equal(event.result, -ECANCELED);
        assert_int_equal(event.listener, contract->listener);
    }
    contract_connect(contract);
    contract_expect_none(contract->ring);
    /* Their slots are free again, and the listener stands. */
    assert_int_equal(ring_accept(contract->ring, contract->listener, 3), 2);
    contract_expect(contract->ring, RING_ACCEPTED);
    ring_accept_pause(contract->ring, contract->listener);
    contract_expect(contract->ring, RING_ACCEPT_FAILED);
    ring_accept_pause(contract->ring, contract->listener);
    contract_expect_none(contract->ring);
}

static void every_accept_ends_once_though_the_pause_meets_a_connection(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 2), 2);
    contract_connect(contract);
    ring_accept_pause(contract->ring, contract->listener);
    /* Whether the connection was met before the pause is the kernel's to say. */
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < 2; i++)
        accepted += contract_next(contract->ring).kind == RING_ACCEPTED;
    contract_expect_none(contract->ring);
    assert_int_equal(ring_counters(contract->ring)->sockets, accepted);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 9), 4 - accepted);
}

static void closing_a_listener_ends_its_accepts_silently(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 4), 4);
    contract_expect_none(contract->ring);
    ring_listen_close(contract->ring, contract->listener);
    contract_expect_none(contract->ring);
    assert_null(contract_peer_connect(&contract->address));
    /* Number and slots serve the next one. */
    assert_int_equal(
        contract_open_listener(contract->ring, &contract->address, true, &contract->listener), 0);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 4), 4);
    contract_connect(contract);
    contract_expect(contract->ring, RING_ACCEPTED);
    contract_expect_none(contract->ring);
}

static void a_new_listener_hears_nothing_of_the_one_before(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 8);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 4), 4);
    contract_connect(contract);
    ring_listen_close(contract->ring, contract->listener);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    uint32_t listener = 0;
    assert_int_equal(contract_open_listener(contract->ring, &address, true, &listener), 0);
    assert_int_equal(ring_accept(contract->ring, listener, 1), 1);
    contract_expect_none(contract->ring);
    contract_keep(contract, contract_peer_connect(&address));
    contract_expect(contract->ring, RING_ACCEPTED);
    assert_int_equal(ring_counters(contract->ring)->sockets, 1);
}

static void a_connection_met_and_not_told_is_closed_with_its_listener(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    assert_int_equal(ring_accept(contract->ring, contract->listener, 3), 3);
    struct contract_peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = contract_connect(contract);
    contract_expect(contract->ring, RING_ACCEPTED); /* takes one event only */
    ring_listen_close(contract->ring, contract->listener);
    contract_expect_none(contract->ring);
    assert_int_equal(ring_counters(contract->ring)->sockets, 1);
    uint32_t ended = 0;
    for (uint32_t i = 0; i < 3; i++) {
        char byte;
        int32_t seen = contract_peer_receive(peers[i], &byte, 1);
        ended += seen == 0 || seen == -ECONNRESET;
    }
    assert_int_equal(ended, 2);
}

static void a_connect_succeeds(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 4, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open(&address);
    struct ring_socket socket;
    assert_int_equal(ring_connect(ring, &address, sizeof(address), 0xfedcba9876543210ULL, &socket),
                     0);
    struct ring_event event = contract_expect(ring, RING_CONNECTED);
    assert_int_equal(event.result, 0);
    assert_true(event.token == 0xfedcba9876543210ULL);
    assert_true(contract_is_same(event.socket, socket));
    struct contract_peer *peer = contract_port_accept(port);
    contract_keep(contract, peer);
    char buffer[8];
    assert_int_equal(contract_send(ring, socket, "ping", 4), 4);
    assert_int_equal(contract_peer_sees(ring, peer, buffer, sizeof(buffer)), 4);
    assert_int_equal(contract_peer_send(peer, "pong", 4), 4);
    ring_watch_readable(ring, socket);
    contract_expect(ring, RING_READABLE);
    assert_int_equal(contract_receive(ring, socket, buffer, sizeof(buffer)).result, 4);
    contract_port_close(port);
}

static void a_connect_is_refused(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 1, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    contract_port_close(contract_port_open(&address));
    for (uint64_t i = 0; i < 3; i++) { /* its only slot is free again each time */
        struct ring_socket socket;
        assert_int_equal(ring_connect(ring, &address, sizeof(address), i, &socket), 0);
        struct ring_event event = contract_expect(ring, RING_CONNECTED);
        assert_int_equal(event.result, -ECONNREFUSED);
        assert_true(event.token == i && contract_is_same(event.socket, socket));
        assert_int_equal(ring_counters(ring)->sockets, 0);
        contract_expect_none(ring);
    }
}

static void a_connect_without_a_free_slot_is_not_begun(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 1, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open(&address);
    struct ring_socket socket;
    assert_int_equal(ring_connect(ring, &address, sizeof(address), 1, &socket), 0);
    struct ring_socket second;
    assert_int_equal(ring_connect(ring, &address, sizeof(address), 2, &second), -ENFILE);
    assert_int_equal(ring_counters(ring)->accepts_refused, 1);
    assert_true(contract_expect(ring, RING_CONNECTED).token == 1);
    contract_expect_none(ring);
    contract_port_close(port);
}

static void a_connect_that_is_closed_before_tells_nothing(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 1, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open(&address);
    struct ring_socket socket;
    assert_int_equal(ring_connect(ring, &address, sizeof(address), 1, &socket), 0);
    ring_close(ring, socket, false);
    contract_expect_none(ring);
    assert_int_equal(ring_counters(ring)->sockets, 0);
    struct ring_socket second;
    assert_int_equal(ring_connect(ring, &address, sizeof(address), 2, &second), 0);
    assert_false(contract_is_same(socket, second));
    assert_true(contract_expect(ring, RING_CONNECTED).token == 2);
    contract_port_close(port);
}

static void a_connect_under_way_lets_go_of_its_slot(void **state)
{
    struct contract *contract = *state;
    struct ring *ring = contract_make_ring(contract, 1, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open_deaf(&address);
    struct ring_socket before = {.slot = UINT32_MAX};
    for (uint32_t i = 0; i < 3; i++) {
        struct ring_socket socket;
        assert_int_equal(ring_connect(ring, &address, sizeof(address), i, &socket), 0);
        contract_expect_none(ring);
        ring_close(ring, socket, false);
        contract_expect_none(ring);
        assert_false(contract_port_is_asked(port));
        assert_false(contract_is_same(socket, before));
        before = socket;
    }
    assert_int_equal(ring_counters(ring)->sockets, 0);
    contract_port_close(port);
}

static void too_many_connects_under_way_are_not_begun(void **state)
{
    struct contract *contract = *state;
    enum { SOCKETS = 2000 };
    struct ring *ring = contract_make_ring(contract, SOCKETS, 0);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    struct contract_port *port = contract_port_open_deaf(&address);
    struct ring_socket sockets[SOCKETS];
    uint32_t count = 0;
    int status = 0;
    while (count < SOCKETS && status == 0) {
        status = ring_connect(ring, &address, sizeof(address), count, &sockets[count]);
        count += status == 0;
    }
    assert_int_equal(status, -EAGAIN);
    assert_true(count > 1);
    for (uint32_t i = 0; i < count; i++)
        ring_close(ring, sockets[i], false);
    contract_expect_none(ring);
    assert_int_equal(ring_connect(ring, &address, sizeof(address), 0, &sockets[0]), 0);
    contract_port_close(port);
}

struct contract_tests ring_contract_listen_tests(void)
{
    static const struct CMUnitTest tests[] = {
        contract_test(port_0_becomes_a_real_port),
        contract_test(an_address_in_use_is_refused),
        contract_test(rings_share_an_address),
        contract_test(no_more_connections_are_accepted_than_were_asked_for),
        contract_test(an_accept_tells_the_listener_and_the_peer),
        contract_test(a_full_table_drops_no_connection),
        contract_test(a_pause_takes_back_what_is_armed),
        contract_test(every_accept_ends_once_though_the_pause_meets_a_connection),
        contract_test(closing_a_listener_ends_its_accepts_silently),
        contract_test(a_new_listener_hears_nothing_of_the_one_before),
        contract_test(a_connection_met_and_not_told_is_closed_with_its_listener),
        contract_test(a_connect_succeeds),
        contract_test(a_connect_is_refused),
        contract_test(a_connect_without_a_free_slot_is_not_begun),
        contract_test(a_connect_that_is_closed_before_tells_nothing),
        contract_test(a_connect_under_way_lets_go_of_its_slot),
        contract_test(too_many_connects_under_way_are_not_begun),
    };
    return (struct contract_tests){tests, ps_array_count(tests)};
}
