/*
 * The ring's contract: readiness, receiving, sending, closing.
 */
#include "ring_contract_internal.h"

#include <stdlib.h>

#include "core/base.h"

static void arrivals_are_told_until_unwatched(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_readable(contract->ring, socket);
    contract_expect_none(contract->ring);
    for (uint32_t i = 0; i < 5; i++) {
        assert_int_equal(contract_peer_send(peer, "hello", 5), 5);
        struct ring_event event = contract_expect(contract->ring, RING_READABLE);
        assert_true(contract_is_same(event.socket, socket));
        char buffer[16];
        assert_int_equal(contract_receive_some(contract->ring, socket, buffer, 16).result, 5);
        assert_int_equal(contract_receive(contract->ring, socket, buffer, 16).result, -EAGAIN);
    }
    ring_unwatch(contract->ring, socket);
    assert_int_equal(contract_peer_send(peer, "hello", 5), 5);
    contract_expect_none(contract->ring);
}

static void what_is_there_already_is_told_at_once(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket sockets[2];
    struct contract_peer *peers[2];
    for (uint32_t i = 0; i < 2; i++) {
        peers[i] = contract_pair(contract, &sockets[i]);
        assert_int_equal(contract_peer_send(peers[i], "x", 1), 1);
    }
    contract_expect_none(contract->ring);
    ring_watch_readable(contract->ring, sockets[0]);
    contract_expect(contract->ring, RING_READABLE);
    ring_watch_readable_once(contract->ring, sockets[1]);
    contract_expect(contract->ring, RING_READABLE);
    contract_expect_none(contract->ring);
}

static void an_end_and_an_error_are_told_as_readable(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    char byte;
    ring_watch_readable(contract->ring, socket);
    contract_peer_shutdown(peer);
    contract_expect(contract->ring, RING_READABLE);
    assert_int_equal(contract_receive(contract->ring, socket, &byte, 1).result, 0);
    /* The other direction is open still. */
    assert_int_equal(contract_send(contract->ring, socket, "x", 1), 1);
    assert_int_equal(contract_peer_sees(contract->ring, peer, &byte, 1), 1);
    peer = contract_pair(contract, &socket);
    ring_watch_readable_once(contract->ring, socket);
    contract_forget(contract, peer);
    contract_peer_reset(peer);
    contract_expect(contract->ring, RING_READABLE);
    assert_int_equal(contract_receive(contract->ring, socket, &byte, 1).result, -ECONNRESET);
}

static void a_watch_for_one_event_tells_one(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_readable_once(contract->ring, socket);
    ring_watch_readable_once(contract->ring, socket);
    assert_int_equal(contract_peer_send(peer, "a", 1), 1);
    contract_expect(contract->ring, RING_READABLE);
    assert_int_equal(contract_peer_send(peer, "b", 1), 1);
    contract_expect_none(contract->ring);
    ring_watch_readable_once(contract->ring, socket);
    contract_expect(contract->ring, RING_READABLE);
    contract_expect_none(contract->ring);
}

static void a_watch_for_one_event_leaves_a_standing_one(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    char byte;
    ring_watch_readable(contract->ring, socket);
    ring_watch_readable_once(contract->ring, socket);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(contract_peer_send(peer, "x", 1), 1);
        contract_expect(contract->ring, RING_READABLE);
        assert_int_equal(contract_receive(contract->ring, socket, &byte, 1).result, 1);
    }
    /* And a standing watch takes the place of one for one event. */
    peer = contract_pair(contract, &socket);
    ring_watch_readable_once(contract->ring, socket);
    ring_watch_readable(contract->ring, socket);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(contract_peer_send(peer, "x", 1), 1);
        contract_expect(contract->ring, RING_READABLE);
        assert_int_equal(contract_receive(contract->ring, socket, &byte, 1).result, 1);
    }
}

static void an_unwatched_event_does_not_surface(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 8);
    struct ring_socket sockets[3];
    struct contract_peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = contract_pair(contract, &sockets[i]);
    for (uint32_t i = 0; i < 3; i++) {
        ring_watch_readable(contract->ring, sockets[i]);
        ring_watch_writable(contract->ring, sockets[i]);
        assert_int_equal(contract_peer_send(peers[i], "x", 1), 1);
    }
    struct ring_event event = contract_next(contract->ring); /* one of six; the others wait */
    for (uint32_t i = 0; i < 3; i++)
        ring_unwatch(contract->ring, sockets[i]);
    contract_expect_none(contract->ring);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(contract_peer_send(peers[i], "y", 1), 1);
    contract_expect_none(contract->ring);
    ring_watch_readable_once(contract->ring, event.socket);
    contract_expect(contract->ring, RING_READABLE);
    contract_expect_none(contract->ring);
}

static void an_unwatched_socket_may_be_watched_again_at_once(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    char byte;
    ring_watch_readable(contract->ring, socket);
    contract_expect_none(contract->ring);
    for (uint32_t i = 0; i < 300; i++) { /* more often than any small counter goes around */
        ring_unwatch(contract->ring, socket);
        ring_watch_readable(contract->ring, socket);
        if (i % 2 == 0)
            assert_int_equal(contract_peer_send(peer, "x", 1), 1);
        ring_unwatch(contract->ring, socket);
        ring_watch_readable_once(contract->ring, socket);
        if (i % 2 == 0) {
            contract_expect(contract->ring, RING_READABLE);
            assert_int_equal(contract_receive(contract->ring, socket, &byte, 1).result, 1);
        }
    }
    contract_expect_none(contract->ring);
}

static void room_is_told_once(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_writable(contract->ring, socket);
    struct ring_event event = contract_expect(contract->ring, RING_WRITABLE);
    assert_true(contract_is_same(event.socket, socket));
    contract_expect_none(contract->ring);
    /* A failure is told too. */
    contract_forget(contract, peer);
    contract_peer_reset(peer);
    ring_watch_writable(contract->ring, socket);
    contract_expect(contract->ring, RING_WRITABLE);
    assert_true(contract_send(contract->ring, socket, "x", 1) < 0);
}

/* Bytes that tell their place in the stream. */
static void fill(unsigned char *bytes, size_t count, size_t from)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)((from + i) * 7 + (from + i) / 251);
}

enum { BIG_BYTES = 32 << 20, PIECE_BYTES = 1 << 20 };

/* A stream from a ring to a peer, under way. */
struct transfer {
    struct ring *ring;
    struct ring_socket socket;
    struct contract_peer *peer;
    unsigned char *piece;
    unsigned char *seen;
    size_t sent;
    size_t received;
    uint32_t stops;
    bool is_watched;
};

/* Sends until the socket is full and stays so. */
static void send_until_full(struct transfer *transfer)
{
    while (transfer->sent < BIG_BYTES) {
        fill(transfer->piece, PIECE_BYTES, transfer->sent);
        size_t count = ps_min_u64(PIECE_BYTES, BIG_BYTES - transfer->sent);
        int32_t result = contract_send(transfer->ring, transfer->socket, transfer->piece, count);
        if (result > 0) {
            transfer->sent += (size_t)result;
            continue;
        }
        assert_int_equal(result, -EAGAIN);
        transfer->stops++;
        ring_watch_writable(transfer->ring, transfer->socket);
        struct ring_event event;
        uint64_t deadline_ns = ring_now_ns(transfer->ring) + CONTRACT_MS;
        transfer->is_watched = ring_wait(transfer->ring, deadline_ns, &event, 1) == 0;
        if (transfer->is_watched)
            return;
        assert_int_equal(event.kind, RING_WRITABLE); /* a kernel may have made room meanwhile */
    }
}

/* Receives all that was sent. */
static void receive_all(struct transfer *transfer)
{
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX && transfer->received < transfer->sent; i++) {
        int32_t result = contract_peer_receive(transfer->peer, transfer->seen, PIECE_BYTES);
        if (result > 0) {
            fill(transfer->piece, (size_t)result, transfer->received);
            assert_memory_equal(transfer->seen, transfer->piece, (size_t)result);
            transfer->received += (size_t)result;
            continue;
        }
        assert_int_equal(result, -EAGAIN);
        struct ring_event event;
        uint64_t deadline_ns = ring_now_ns(transfer->ring) + CONTRACT_MS;
        if (ring_wait(transfer->ring, deadline_ns, &event, 1) == 1) {
            assert_int_equal(event.kind, RING_WRITABLE);
            transfer->is_watched = false;
        }
    }
    assert_int_equal(transfer->received, transfer->sent);
}

static void a_full_socket_takes_a_part_and_is_writable_later(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct transfer transfer = {
        .ring = contract->ring,
        .piece = malloc(PIECE_BYTES),
        .seen = malloc(PIECE_BYTES),
    };
    transfer.peer = contract_pair(contract, &transfer.socket);
    while (transfer.received < BIG_BYTES) {
        send_until_full(&transfer);
        receive_all(&transfer);
        if (transfer.is_watched)
            contract_expect(contract->ring, RING_WRITABLE);
        transfer.is_watched = false;
    }
    assert_int_equal(transfer.sent, BIG_BYTES);
    assert_true(transfer.stops > 0);
    assert_true(ring_counters(contract->ring)->sends_short >= transfer.stops);
    free(transfer.piece);
    free(transfer.seen);
}

static void a_receive_tells_whether_there_is_more(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    char buffer[16];
    assert_int_equal(contract_receive(contract->ring, socket, buffer, 16).result, -EAGAIN);
    assert_int_equal(contract_peer_send(peer, "0123456789", 10), 10);
    struct ring_receive request = contract_receive_some(contract->ring, socket, buffer, 4);
    assert_int_equal(request.result, 4);
    assert_true(request.has_more);
    request = contract_receive(contract->ring, socket, buffer + 4, 12);
    assert_int_equal(request.result, 6);
    assert_false(request.has_more);
    assert_memory_equal(buffer, "0123456789", 10);
    request = contract_receive(contract->ring, socket, buffer, 16);
    assert_int_equal(request.result, -EAGAIN);
    assert_false(request.has_more);
}

enum { MANY = 100 };

static void a_batch_receives_from_each_its_own(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, MANY);
    struct ring_receive requests[MANY];
    char buffers[MANY][8];
    for (uint32_t i = 0; i < MANY; i++) {
        requests[i] = (struct ring_receive){.buffer = buffers[i], .bytes_max = 8};
        struct contract_peer *peer = contract_pair(contract, &requests[i].socket);
        const char bytes[2] = {(char)i, (char)(i + 1)};
        if (i % 4 == 1)
            contract_peer_shutdown(peer);
        else if (i % 4 == 2)
            assert_int_equal(contract_peer_send(peer, bytes, 2), 2);
        else if (i % 4 == 3) {
            contract_forget(contract, peer);
            contract_peer_reset(peer);
        }
    }
    contract_expect_none(contract->ring);
    ring_receive_batch(contract->ring, requests, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        const int32_t expected[4] = {-EAGAIN, 0, 2, -ECONNRESET};
        assert_int_equal(requests[i].result, expected[i % 4]);
        if (i % 4 == 2) {
            assert_int_equal(buffers[i][0], (char)i);
            assert_int_equal(buffers[i][1], (char)(i + 1));
        }
    }
    assert_int_equal(ring_counters(contract->ring)->receives, MANY);
}

static void a_batch_sends_to_each_its_own_vectors(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, MANY);
    struct ring_send requests[MANY];
    struct contract_peer *peers[MANY];
    static const char text[] = "abcdefghijklmnopqrstuvwxyz";
    struct iovec vectors[MANY][3];
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t first = i % 20;
        vectors[i][0] = (struct iovec){(void *)(uintptr_t)text, first};
        vectors[i][1] = (struct iovec){(void *)(uintptr_t)(text + first), 1};
        vectors[i][2] = (struct iovec){(void *)(uintptr_t)(text + first + 1), i % 5};
        requests[i] = (struct ring_send){.vectors = vectors[i], .vector_count = 3};
        peers[i] = contract_pair(contract, &requests[i].socket);
    }
    ring_send_batch(contract->ring, requests, MANY);
    for (uint32_t i = 0; i < MANY; i++) {
        char buffer[64];
        int32_t expected = (int32_t)(i % 20 + 1 + i % 5);
        assert_int_equal(requests[i].result, expected);
        assert_int_equal(contract_peer_sees(contract->ring, peers[i], buffer, 64), expected);
        assert_memory_equal(buffer, text, (size_t)expected);
    }
    assert_int_equal(ring_counters(contract->ring)->sends, MANY);
    assert_int_equal(ring_counters(contract->ring)->sends_short, 0);
}

static void memory_of_a_batch_is_the_callers_again(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    for (uint32_t i = 0; i < 20; i++) {
        char *bytes = malloc(1000);
        memset(bytes, (int)i, 1000);
        assert_int_equal(contract_send(contract->ring, socket, bytes, 1000), 1000);
        memset(bytes, 0xee, 1000);
        free(bytes);
        char seen[1000];
        assert_int_equal(contract_peer_sees(contract->ring, peer, seen, 1000), 1000);
        assert_int_equal(seen[0], (char)i);
        assert_int_equal(seen[999], (char)i);
    }
}

static void a_close_ends_the_stream_behind_its_bytes(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    for (uint32_t watch = 0; watch < 4; watch++) {
        struct ring_socket socket;
        struct contract_peer *peer = contract_pair(contract, &socket);
        if (watch == 1)
            ring_watch_readable(contract->ring, socket);
        if (watch == 2)
            ring_watch_readable_once(contract->ring, socket);
        contract_expect_none(contract->ring);
        if (watch == 3) { /* armed, and not even submitted */
            ring_watch_readable(contract->ring, socket);
            ring_watch_writable(contract->ring, socket);
        }
        assert_int_equal(contract_send(contract->ring, socket, "bye", 3), 3);
        ring_close(contract->ring, socket, false);
        char buffer[8];
        assert_int_equal(contract_peer_sees(contract->ring, peer, buffer, 8), 3);
        contract_expect_end(contract->ring, peer);
        contract_expect_none(contract->ring);
    }
    assert_int_equal(ring_counters(contract->ring)->closes, 4);
    assert_int_equal(ring_counters(contract->ring)->sockets, 0);
}

static void a_close_that_crosses_an_arrival_ends_the_stream(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    for (uint32_t i = 0; i < 2; i++) {
        struct ring_socket socket;
        struct contract_peer *peer = contract_pair(contract, &socket);
        ring_watch_readable(contract->ring, socket);
        contract_expect_none(contract->ring);
        /* Nobody has asked the ring for the event when the socket is closed. */
        if (i == 0)
            contract_peer_shutdown(peer);
        else
            assert_int_equal(contract_peer_send(peer, "x", 1), 1);
        ring_close(contract->ring, socket, false);
        char byte;
        int32_t seen = contract_peer_sees(contract->ring, peer, &byte, 1);
        assert_int_equal(seen, i == 0 ? 0 : -ECONNRESET); /* unread bytes reset, as TCP does */
    }
}

/* As when a client's DISCONNECT comes in a second segment while the first is being read: its
 * wake-up is not processed yet at the close, and then finds nothing to tell. */
static void a_close_that_crosses_an_arrival_which_was_received_ends_the_stream(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 64);
    for (uint32_t i = 0; i < 32; i++) {
        struct ring_socket socket;
        struct contract_peer *peer = contract_pair(contract, &socket);
        char buffer[8];
        ring_watch_readable(contract->ring, socket);
        contract_expect_none(contract->ring);
        assert_int_equal(contract_peer_send(peer, "x", 1), 1);
        assert_int_equal(contract_receive(contract->ring, socket, buffer, 8).result, 1);
        ring_close(contract->ring, socket, false);
        contract_expect_end(contract->ring, peer);
    }
}

/* A reset behind bytes may be told together with them. */
static void a_receive_of_the_last_bytes_before_a_reset_has_more(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    char buffer[8];
    ring_watch_readable(contract->ring, socket);
    contract_expect_none(contract->ring);
    assert_int_equal(contract_peer_send(peer, "x", 1), 1);
    contract_forget(contract, peer);
    contract_peer_reset(peer);
    contract_expect(contract->ring, RING_READABLE);
    struct ring_receive received = contract_receive(contract->ring, socket, buffer, 8);
    if (received.result == 1) { /* a world may also throw the byte away */
        assert_true(received.has_more);
        received = contract_receive(contract->ring, socket, buffer, 8);
    }
    assert_int_equal(received.result, -ECONNRESET);
}

static void an_unwatch_that_crosses_an_arrival_lets_the_socket_close(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_readable(contract->ring, socket);
    contract_expect_none(contract->ring);
    contract_peer_shutdown(peer);
    ring_unwatch(contract->ring, socket);
    ring_close(contract->ring, socket, false);
    contract_expect_end(contract->ring, peer);
}

static void a_close_with_reset_resets(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    ring_watch_readable(contract->ring, socket);
    contract_expect_none(contract->ring);
    ring_close(contract->ring, socket, true);
    char byte;
    int32_t seen = contract_peer_sees(contract->ring, peer, &byte, 1);
    assert_int_equal(seen, contract_can_reset(contract->mode) ? -ECONNRESET : 0);
}

static void what_is_told_of_a_closed_socket_does_not_surface(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 3);
    struct ring_socket sockets[3];
    struct contract_peer *peers[3];
    for (uint32_t i = 0; i < 3; i++)
        peers[i] = contract_pair(contract, &sockets[i]);
    for (uint32_t i = 0; i < 3; i++) {
        ring_watch_readable(contract->ring, sockets[i]);
        assert_int_equal(contract_peer_send(peers[i], "x", 1), 1);
    }
    struct ring_event event = contract_expect(contract->ring, RING_READABLE); /* one of three */
    for (uint32_t i = 0; i < 3; i++)
        ring_close(contract->ring, sockets[i], false);
    contract_expect_none(contract->ring);
    /* The same slots, other generations: nothing of the old ones is told as theirs. */
    for (uint32_t i = 0; i < 3; i++) {
        struct ring_socket socket;
        contract_pair(contract, &socket);
        assert_false(contract_is_same(socket, event.socket));
        ring_watch_readable(contract->ring, socket);
    }
    contract_expect_none(contract->ring);
}

static void sending_to_a_peer_that_is_gone_fails(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    struct contract_peer *peer = contract_pair(contract, &socket);
    contract_forget(contract, peer);
    contract_peer_close(peer);
    int32_t result = 0;
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX && result >= 0; i++)
        result = contract_send(contract->ring, socket, "x", 1);
    assert_true(result == -EPIPE || result == -ECONNRESET);
}

struct contract_tests ring_contract_stream_tests(void)
{
    static const struct CMUnitTest tests[] = {
        contract_test(arrivals_are_told_until_unwatched),
        contract_test(what_is_there_already_is_told_at_once),
        contract_test(an_end_and_an_error_are_told_as_readable),
        contract_test(a_watch_for_one_event_tells_one),
        contract_test(a_watch_for_one_event_leaves_a_standing_one),
        contract_test(an_unwatched_event_does_not_surface),
        contract_test(an_unwatched_socket_may_be_watched_again_at_once),
        contract_test(room_is_told_once),
        contract_test(a_full_socket_takes_a_part_and_is_writable_later),
        contract_test(a_receive_tells_whether_there_is_more),
        contract_test(a_batch_receives_from_each_its_own),
        contract_test(a_batch_sends_to_each_its_own_vectors),
        contract_test(memory_of_a_batch_is_the_callers_again),
        contract_test(a_close_ends_the_stream_behind_its_bytes),
        contract_test(a_close_that_crosses_an_arrival_ends_the_stream),
        contract_test(a_close_that_crosses_an_arrival_which_was_received_ends_the_stream),
        contract_test(a_receive_of_the_last_bytes_before_a_reset_has_more),
        contract_test(an_unwatch_that_crosses_an_arrival_lets_the_socket_close),
        contract_test(a_close_with_reset_resets),
        contract_test(what_is_told_of_a_closed_socket_does_not_surface),
        contract_test(sending_to_a_peer_that_is_gone_fails),
    };
    return (struct contract_tests){tests, ps_array_count(tests)};
}
