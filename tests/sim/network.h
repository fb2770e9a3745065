/*
 * The simulated world: a clock, a network made of memory and one seed, on which simulated rings
 * (ring_sim.c defines every function of core/ring.h) and test peers meet. Many shards and many
 * peers run on one thread; whoever drives the simulation decides whose turn it is and when time
 * passes. The same seed and the same calls give the same world.
 *
 * A driver's loop: give every shard turns (ring_wait never sleeps here) and every peer its moves
 * until nobody has more to do, then sim_world_advance to the earliest of sim_next_event_ns and the
 * shards' deadlines.
 *
 * A connection is a stream of bytes each way, with a bounded socket buffer per direction. What one
 * side writes is seen by the other after the delay that the world draws for it, in order; an end of
 * stream or a reset comes behind the bytes before it. A reset throws away what is still on its way,
 * and so does closing a socket that holds unread bytes, as TCP does.
 *
 * Owner: the test owns world, rings and peers; peers are destroyed by it, or with the world. Rings
 * go before their world.
 */
#ifndef PENSTOCK_TESTS_SIM_NETWORK_H
#define PENSTOCK_TESTS_SIM_NETWORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct random;
struct ring;
struct sim_world;
struct sim_peer;
struct sim_port;

/* Chances are in 65536; all zero: nothing goes wrong and nothing takes time. */
struct sim_faults {
    uint32_t receive_short; /* a ring's receive gives fewer bytes than there are */
    uint32_t receive_again; /* a ring's receive says -EAGAIN although there is something; what is
                               there is then told as a new arrival */
    uint32_t send_short;    /* a ring's send takes fewer bytes than there is room for */
    uint32_t send_again;    /* a ring's send says -EAGAIN although there is room */
    uint32_t spurious_readable; /* a watched socket is told readable without anything there */
    uint32_t event_late;        /* readiness is told by a later ring_wait */
    uint32_t reset;             /* a write, by whoever, resets the connection instead */
    uint32_t accept_failed;     /* an accept fails; half of these drop the connection */
    uint32_t move_failed;       /* a move fails with -ENOMEM */
    uint64_t delay_max_ns;      /* of each write, evenly drawn from 0 */
};

struct sim_options {
    uint64_t seed;
    uint64_t start_ns;      /* ring_now_ns at the beginning */
    uint64_t start_wall_ms; /* ring_wall_ms at the beginning */
    uint32_t buffer_bytes;  /* of a socket, in each direction; 0: 64 KiB */
    struct sim_faults faults;
};

/* Makes a world and makes it the one in which this thread's ring_create makes rings. Aborts when
 * there is no memory, as everything here does. */
struct sim_world *sim_world_create(const struct sim_options *options);

/* Destroys the peers and ports that are left. Every ring must be gone. */
void sim_world_destroy(struct sim_world *world);

/* From here these faults, for streams that are there too. */
void sim_world_set_faults(struct sim_world *world, const struct sim_faults *faults);

/* The world's own numbers; drawing from them changes what comes after, deterministically. */
struct random *sim_world_random(struct sim_world *world);

uint64_t sim_world_now_ns(const struct sim_world *world);

/* Moves the clock, never backwards. */
void sim_world_advance(struct sim_world *world, uint64_t now_ns);

/* When something that is on its way will be seen by a ring or a peer; later than now. UINT64_MAX:
 * nothing is on its way. */
uint64_t sim_next_event_ns(const struct sim_world *world);

/* True when this ring's next ring_wait has an event to give (which event_late may still hold back),
 * or would end for a wake. */
bool sim_ring_has_event(const struct ring *ring);

/* Streams that an end still holds; 0 when everything was closed. For leak checks. */
uint32_t sim_world_stream_count(const struct sim_world *world);

/* Connects to a listening ring, or to a port of a test. NULL: refused (nobody listens, or the
 * backlog is full). Which of several listeners gets it is drawn. */
struct sim_peer *sim_client_connect(struct sim_world *world, const struct sockaddr_storage *to);

/* Bytes taken, fewer than `count` when the buffer fills; -EAGAIN: it is full; -EPIPE, -ECONNRESET:
 * the connection is over. */
int32_t sim_client_send(struct sim_peer *peer, const void *bytes, uint32_t count);

/* Bytes; 0: end of stream; -EAGAIN: nothing there now; -ECONNRESET. */
int32_t sim_client_receive(struct sim_peer *peer, void *buffer, uint32_t bytes_max);

/* Whether sim_client_receive would give something other than -EAGAIN. */
bool sim_client_is_readable(const struct sim_peer *peer);

/* Free bytes of the buffer towards the ring. */
uint32_t sim_client_room(const struct sim_peer *peer);

/* Ends the own direction; the other stays open for receiving. */
void sim_client_shutdown(struct sim_peer *peer);

/* Closes both directions and frees the peer. */
void sim_client_close(struct sim_peer *peer);

/* Resets the connection and frees the peer. */
void sim_client_reset(struct sim_peer *peer);

/* A listening port of a test, for rings that connect out. NULL: the address is in use. *address is
 * updated with the real port. */
struct sim_port *sim_port_open(struct sim_world *world, struct sockaddr_storage *address);
void sim_port_close(struct sim_port *port);

/* A connection that came to the port, or NULL. */
struct sim_peer *sim_port_accept(struct sim_port *port);

#endif
