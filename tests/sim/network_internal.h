/*
 * What the two halves of the simulated world share: network.c (clock, streams, peers, ports) below,
 * ring_sim.c (core/ring.h) above it. News goes up through the sim_ring_on_* functions, which only
 * queue events and never call back down.
 *
 * A stream has two ends. Each end keeps what comes in to it: bytes in a ring buffer, of which the
 * first `arrived` can be seen, and the flights that will make more of it visible, in order of time.
 * An end is held by nobody (closed), a listener's backlog, a ring or a peer; a stream lives as long
 * as one of its ends is held.
 */
#ifndef PENSTOCK_TESTS_SIM_NETWORK_INTERNAL_H
#define PENSTOCK_TESTS_SIM_NETWORK_INTERNAL_H

#include <sys/uio.h>

#include "core/ring.h"
#include "sim/network.h"

enum sim_holder { SIM_NOBODY, SIM_BACKLOG, SIM_RING, SIM_PEER };

enum sim_flight_kind { SIM_FLIGHT_OPEN, SIM_FLIGHT_BYTES, SIM_FLIGHT_END, SIM_FLIGHT_RESET };

struct sim_flight {
    uint64_t at_ns;
    enum sim_flight_kind kind;
    uint32_t bytes;
};

struct sim_stream;
struct sim_listener;

struct sim_end {
    struct sim_stream *stream;
    enum sim_holder holder;
    struct ring *ring; /* SIM_RING */
    uint32_t slot;
    struct sim_listener *listener; /* SIM_BACKLOG */
    struct sim_end *next_waiting;  /* in the backlog */
    unsigned char *bytes;          /* a ring buffer; `capacity` is a power of two */
    uint32_t capacity;
    uint32_t head;
    uint32_t count;   /* unread bytes, arrived or on their way */
    uint32_t arrived; /* of these, what can be seen */
    bool is_opening;
    int32_t open_result;
    bool is_end_sent; /* the other side has ended its direction */
    bool is_end_seen;
    bool is_reset_sent;
    bool is_reset_seen;
    struct sim_flight *flights; /* a ring buffer; flight_capacity is a power of two */
    uint32_t flight_head;
    uint32_t flight_count;
    uint32_t flight_capacity;
    uint64_t last_ns; /* nothing arrives before what was sent earlier */
    uint32_t heap_at; /* place in the world's heap of what is on its way, + 1; 0: not in it */
    uint64_t heap_order;
};

struct sim_stream {
    struct sim_world *world;
    struct sim_end ends[2];         /* the one that connected, the one that was connected to */
    struct sockaddr_storage client; /* address of ends[0] */
};

struct sim_listener {
    struct sim_world *world;
    struct sim_listener *next; /* of the world */
    struct sockaddr_storage address;
    struct ring *ring; /* NULL: a port of the test */
    uint32_t number;   /* the ring's */
    uint32_t backlog_max;
    uint32_t backlog_count; /* including those that are still opening */
    struct sim_end *first_waiting;
    struct sim_end *last_waiting;
};

/* The world in which this thread makes rings; aborts when there is none. */
struct sim_world *sim_world_current(void);
void sim_world_add_ring(struct sim_world *world, int32_t difference);
uint64_t sim_world_wall_ms(const struct sim_world *world);
const struct sim_faults *sim_world_faults(const struct sim_world *world);

/* True `chance` times in 65536; draws nothing when it is 0. */
bool sim_draw(struct sim_world *world, uint32_t chance);

/* Zeroed memory, or the end of the test. */
void *sim_alloc(size_t bytes);

/* `shares`: other ring listeners may be there already. 0, -EADDRINUSE or -EINVAL. */
int sim_listener_open(struct sim_world *world, struct sockaddr_storage *address, bool shares,
                      uint32_t backlog_max, struct sim_listener **out_listener);
/* Resets what waits in the backlog. */
void sim_listener_close(struct sim_listener *listener);
/* The first end that has arrived in the backlog, held by nobody from here; NULL: none. */
struct sim_end *sim_listener_take(struct sim_listener *listener);
/* Puts it back to the front. */
void sim_listener_untake(struct sim_listener *listener, struct sim_end *end);

/* A stream whose ends[0] is given to the caller, who becomes its holder; the other end waits in the
 * listener's backlog. open_result: 0, or -ECONNREFUSED when nobody listens there. */
struct sim_end *sim_connect(struct sim_world *world, const struct sockaddr_storage *to);
/* Tells the ring that holds it, after a delay, that the connection is made or refused. */
void sim_end_open(struct sim_end *end);

int32_t sim_end_write(struct sim_end *end, const struct iovec *vectors, uint32_t count,
                      uint32_t bytes_max);
int32_t sim_end_read(struct sim_end *end, void *buffer, uint32_t bytes_max);
bool sim_end_is_readable(const struct sim_end *end);
/* Bytes that a write would take. */
uint32_t sim_end_room(const struct sim_end *end);
bool sim_end_is_writable(const struct sim_end *end);
/* The holder lets go; the end may be freed with its stream. */
void sim_end_close(struct sim_end *end, bool is_reset);

/* Defined by ring_sim.c. */
void sim_ring_on_opened(struct ring *ring, uint32_t slot, int32_t result);
void sim_ring_on_arrival(struct ring *ring, uint32_t slot);
void sim_ring_on_room(struct ring *ring, uint32_t slot);
void sim_ring_on_backlog(struct ring *ring, uint32_t listener);

#endif
