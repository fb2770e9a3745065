/*
 * What the files of the ring's contract suite share: a listening ring with its peers, and the
 * bounded waits.
 */
#ifndef PENSTOCK_TESTS_CONTRACT_RING_CONTRACT_INTERNAL_H
#define PENSTOCK_TESTS_CONTRACT_RING_CONTRACT_INTERNAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ring_contract.h"

enum {
    CONTRACT_RINGS_MAX = 4,
    CONTRACT_PEERS_MAX = 128,
    CONTRACT_TRIES_MAX = 1000, /* of CONTRACT_STEP_MS each */
    CONTRACT_STEP_MS = 5
};

#define CONTRACT_MS 1000000ULL

struct contract {
    enum ring_mode mode;
    struct ring *ring; /* the first of `rings` */
    struct sockaddr_storage address;
    uint32_t listener;
    struct ring *rings[CONTRACT_RINGS_MAX];
    uint32_t ring_count;
    struct contract_peer *peers[CONTRACT_PEERS_MAX];
    uint32_t peer_count;
};

/* The tests of each file, and how many. */
struct contract_tests {
    const struct CMUnitTest *tests;
    size_t count;
};
struct contract_tests ring_contract_listen_tests(void);
struct contract_tests ring_contract_stream_tests(void);
struct contract_tests ring_contract_bank_tests(void);
struct contract_tests ring_contract_files_tests(void);

/* A started ring, destroyed at the end of the test. */
struct ring *contract_make_ring(struct contract *contract, uint32_t sockets_max,
                                uint32_t sockets_per_ring_max);

/* Destroys a ring before the end of the test. */
void contract_destroy_ring(struct contract *contract, struct ring *ring);

/* The fixture's first ring, listening on a port of its own. */
void contract_listen(struct contract *contract, uint32_t sockets_max);

/* A listener with a backlog of 64; address as in ring_listen. */
int contract_open_listener(struct ring *ring, struct sockaddr_storage *address, bool is_first,
                           uint32_t *out_listener);

/* A peer that is closed at the end of the test unless it is forgotten before. */
struct contract_peer *contract_connect(struct contract *contract);
void contract_keep(struct contract *contract, struct contract_peer *peer);
void contract_forget(struct contract *contract, struct contract_peer *peer);

/* Connects a peer and accepts it on the fixture's ring. */
struct contract_peer *contract_pair(struct contract *contract, struct ring_socket *out_socket);

/* Waits for the ring's next event; the test fails when none comes. */
struct ring_event contract_next(struct ring *ring);
/* The same, of the kind that is expected. */
struct ring_event contract_expect(struct ring *ring, enum ring_event_kind kind);
/* The ring has nothing to tell. */
void contract_expect_none(struct ring *ring);

/* What the peer sees next, giving the ring its turns meanwhile; events are not expected. */
int32_t contract_peer_sees(struct ring *ring, struct contract_peer *peer, void *buffer,
                           uint32_t bytes_max);
/* The peer sees the end of the stream. */
void contract_expect_end(struct ring *ring, struct contract_peer *peer);

struct ring_receive contract_receive(struct ring *ring, struct ring_socket socket, void *buffer,
                                     uint32_t bytes_max);
/* Receives until there is something other than -EAGAIN. */
struct ring_receive contract_receive_some(struct ring *ring, struct ring_socket socket,
                                          void *buffer, uint32_t bytes_max);
int32_t contract_send(struct ring *ring, struct ring_socket socket, const void *bytes,
                      size_t count);

bool contract_is_same(struct ring_socket a, struct ring_socket b);

/* One test with the fixture. */
int contract_set_up(void **state);
int contract_tear_down(void **state);
#define contract_test(name)                                                                        \
    cmocka_unit_test_setup_teardown(name, contract_set_up, contract_tear_down)

#endif
