/*
 * The contract of core/ring.h as one suite of behaviours, linked once with the io_uring ring
 * (test_ring_uring.c) and once with the simulated one (test_ring_sim.c). What differs between the
 * two worlds, the other ends of connections and the passing of time, each of them defines as the
 * contract_* functions below.
 *
 * Nothing here waits but in ring_wait, in small steps and a bounded number of times.
 */
#ifndef PENSTOCK_TESTS_CONTRACT_RING_CONTRACT_H
#define PENSTOCK_TESTS_CONTRACT_RING_CONTRACT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/ring.h"

/* Runs the whole suite on rings of this mode. Result: how many tests failed. */
int ring_contract_run(enum ring_mode mode);

struct contract_peer; /* the other end of a connection; results as in sim/network.h */
struct contract_port; /* a listening port of somebody else */

/* Before and after each test. */
void contract_world_begin(void);
void contract_world_end(void);

/* Lets time pass up to `deadline_ns` where it does not pass by itself. */
void contract_pass_time(struct ring *ring, uint64_t deadline_ns);

/* Calls ring_wake a little later from another thread, where there are threads. */
void contract_wake_from_elsewhere(struct ring *ring);
/* When whoever wakes is done with the ring. */
void contract_wake_join(void);

/* A directory for the files of the test, empty or not there yet when the test begins. */
const char *contract_directory(void);

/* Whether a close with is_reset can do what it says in this mode. */
bool contract_can_reset(enum ring_mode mode);

/* NULL: refused. */
struct contract_peer *contract_peer_connect(const struct sockaddr_storage *to);
int32_t contract_peer_send(struct contract_peer *peer, const void *bytes, uint32_t count);
int32_t contract_peer_receive(struct contract_peer *peer, void *buffer, uint32_t bytes_max);
void contract_peer_shutdown(struct contract_peer *peer);
void contract_peer_close(struct contract_peer *peer);
void contract_peer_reset(struct contract_peer *peer);

/* NULL: the address is in use. */
struct contract_port *contract_port_open(struct sockaddr_storage *address);
/* A port where a connect stays under way, neither accepted nor refused. */
struct contract_port *contract_port_open_deaf(struct sockaddr_storage *address);
/* Whether a connect to it is under way. */
bool contract_port_is_asked(const struct contract_port *port);
/* NULL: nobody came yet. */
struct contract_peer *contract_port_accept(struct contract_port *port);
void contract_port_close(struct contract_port *port);

#endif
