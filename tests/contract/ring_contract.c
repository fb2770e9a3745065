/*
 * The fixture of the ring's contract suite, and its run. See ring_contract.h.
 */
#include "ring_contract_internal.h"

#include <stdlib.h>

#include "core/base.h"

int ring_contract_run(enum ring_mode mode)
{
    const struct {
        const char *name;
        struct contract_tests tests;
    } groups[] = {
        {"listen", ring_contract_listen_tests()},
        {"stream", ring_contract_stream_tests()},
        {"bank", ring_contract_bank_tests()},
        {"files", ring_contract_files_tests()},
    };
    int failed = 0;
    for (size_t i = 0; i < ps_array_count(groups); i++) {
        size_t count = groups[i].tests.count;
        struct CMUnitTest *tests = calloc(count, sizeof(*tests));
        ps_assert(tests != NULL);
        for (size_t test = 0; test < count; test++) {
            tests[test] = groups[i].tests.tests[test];
            tests[test].initial_state = &mode;
        }
        failed += _cmocka_run_group_tests(groups[i].name, tests, count, NULL, NULL);
        free(tests);
    }
    return failed;
}

int contract_set_up(void **state)
{
    struct contract *contract = calloc(1, sizeof(*contract));
    ps_assert(contract != NULL);
    contract->mode = *(const enum ring_mode *)*state;
    contract_world_begin();
    *state = contract;
    return 0;
}

int contract_tear_down(void **state)
{
    struct contract *contract = *state;
    for (uint32_t i = 0; i < contract->ring_count; i++)
        ring_destroy(contract->rings[i]);
    for (uint32_t i = 0; i < contract->peer_count; i++)
        contract_peer_close(contract->peers[i]);
    contract_world_end();
    free(contract);
    return 0;
}

struct ring *contract_make_ring(struct contract *contract, uint32_t sockets_max,
                                uint32_t sockets_per_ring_max)
{
    const struct ring_options options = {
        .sockets_max = sockets_max,
        .sockets_per_ring_max = sockets_per_ring_max,
        .mode = contract->mode,
    };
    struct ring *ring = NULL;
    char error[256] = "";
    if (ring_create(&options, &ring, error, sizeof(error)) != 0)
        fail_msg("ring_create: %s", error);
    assert_int_equal(ring_start(ring), 0);
    assert_true(contract->ring_count < CONTRACT_RINGS_MAX);
    contract->rings[contract->ring_count++] = ring;
    return ring;
}

void contract_destroy_ring(struct contract *contract, struct ring *ring)
{
    for (uint32_t i = 0; i < contract->ring_count; i++) {
        if (contract->rings[i] == ring)
            contract->rings[i] = NULL;
    }
    ring_destroy(ring);
}

int contract_open_listener(struct ring *ring, struct sockaddr_storage *address, bool is_first,
                           uint32_t *out_listener)
{
    const struct ring_listen_options options = {.backlog = 64};
    return ring_listen(ring, address, sizeof(*address), is_first, &options, out_listener);
}

void contract_listen(struct contract *contract, uint32_t sockets_max)
{
    contract->ring = contract_make_ring(contract, sockets_max, 0);
    contract->address = (struct sockaddr_storage){.ss_family = AF_INET};
    assert_int_equal(
        contract_open_listener(contract->ring, &contract->address, true, &contract->listener), 0);
}

void contract_keep(struct contract *contract, struct contract_peer *peer)
{
    assert_non_null(peer);
    assert_true(contract->peer_count < CONTRACT_PEERS_MAX);
    contract->peers[contract->peer_count++] = peer;
}

void contract_forget(struct contract *contract, struct contract_peer *peer)
{
    for (uint32_t i = 0; i < contract->peer_count; i++) {
        if (contract->peers[i] == peer) {
            contract->peers[i] = contract->peers[--contract->peer_count];
            return;
        }
    }
    fail_msg("the peer is not of this test");
}

struct contract_peer *contract_connect(struct contract *contract)
{
    struct contract_peer *peer = contract_peer_connect(&contract->address);
    contract_keep(contract, peer);
    return peer;
}

struct contract_peer *contract_pair(struct contract *contract, struct ring_socket *out_socket)
{
    assert_int_equal(ring_accept(contract->ring, contract->listener, 1), 1);
    struct contract_peer *peer = contract_connect(contract);
    *out_socket = contract_expect(contract->ring, RING_ACCEPTED).socket;
    return peer;
}

/* One step of waiting. */
static int step(struct ring *ring, struct ring_event *event)
{
    uint64_t deadline_ns = ring_now_ns(ring) + CONTRACT_STEP_MS * CONTRACT_MS;
    int count = ring_wait(ring, deadline_ns, event, 1);
    assert_in_range(count, 0, 1);
    if (count == 0)
        contract_pass_time(ring, deadline_ns);
    return count;
}

struct ring_event contract_next(struct ring *ring)
{
    struct ring_event event;
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX; i++) {
        if (step(ring, &event) == 1)
            return event;
    }
    fail_msg("no event came");
    return event;
}

struct ring_event contract_expect(struct ring *ring, enum ring_event_kind kind)
{
    struct ring_event event = contract_next(ring);
    assert_int_equal(event.kind, kind);
    return event;
}

void contract_expect_none(struct ring *ring)
{
    /* Several turns, since a kernel may need some for what a turn before has begun. */
    for (uint32_t i = 0; i < 4; i++) {
        struct ring_event event;
        if (step(ring, &event) != 0)
            fail_msg("an event of kind %d that nobody expects", (int)event.kind);
    }
}

int32_t contract_peer_sees(struct ring *ring, struct contract_peer *peer, void *buffer,
                           uint32_t bytes_max)
{
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX; i++) {
        int32_t result = contract_peer_receive(peer, buffer, bytes_max);
        if (result != -EAGAIN)
            return result;
        struct ring_event event;
        assert_int_equal(step(ring, &event), 0);
    }
    return -EAGAIN;
}

void contract_expect_end(struct ring *ring, struct contract_peer *peer)
{
    char byte;
    assert_int_equal(contract_peer_sees(ring, peer, &byte, 1), 0);
}

struct ring_receive contract_receive(struct ring *ring, struct ring_socket socket, void *buffer,
                                     uint32_t bytes_max)
{
    struct ring_receive request = {
        .socket = socket,
        .buffer = buffer,
        .bytes_max = bytes_max,
        .result = INT32_MIN,
    };
    ring_receive_batch(ring, &request, 1);
    return request;
}

struct ring_receive contract_receive_some(struct ring *ring, struct ring_socket socket,
                                          void *buffer, uint32_t bytes_max)
{
    struct ring_receive request = {0};
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX; i++) {
        request = contract_receive(ring, socket, buffer, bytes_max);
        if (request.result != -EAGAIN)
            return request;
        struct ring_event event;
        assert_int_equal(step(ring, &event), 0);
    }
    fail_msg("nothing came");
    return request;
}

int32_t contract_send(struct ring *ring, struct ring_socket socket, const void *bytes, size_t count)
{
    const struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = count};
    struct ring_send request = {
        .socket = socket,
        .vectors = &vector,
        .vector_count = 1,
        .result = INT32_MIN,
    };
    ring_send_batch(ring, &request, 1);
    return request.result;
}

bool contract_is_same(struct ring_socket a, struct ring_socket b)
{
    return a.slot == b.slot && a.generation == b.generation;
}
