/*
 * A shard's way to the kernel: sockets by slot, readiness as events, and receives and sends in
 * batches that are decided when the call returns. Behind it stand io_uring (ring_uring*.c: a bank
 * of rings with direct descriptors) and, in simulations, a network made of memory; programs choose
 * one when they are linked.
 *
 * Sockets: the ring numbers them by slot, from 0 to sockets_max - 1, so that a caller can keep an
 * array. A slot's generation changes with each socket that uses it; completions of an older one
 * never surface.
 *
 * Lifetime: 1. memory given to a batch is the caller's again when the call returns. 2. After
 * ring_close the socket's name is dead; its slot is used again only when the kernel has let go of
 * it. 3. A pointer in an event is valid until the next ring_wait.
 *
 * Thread: created and destroyed by any one thread; ring_start and everything after it by the
 * shard's thread, except ring_wake, which any thread may call.
 */
#ifndef PENSTOCK_CORE_RING_H
#define PENSTOCK_CORE_RING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

struct ring;

struct ring_socket {
    uint32_t slot;
    uint32_t generation;
};

enum ring_mode {
    RING_MODE_AUTO,   /* direct where the kernel passes the probe, else plain */
    RING_MODE_DIRECT, /* descriptors in the rings' own tables */
    RING_MODE_PLAIN   /* descriptors of the process */
};

struct ring_options {
    uint32_t sockets_max;
    uint32_t
        sockets_per_ring_max; /* 0: as many as RLIMIT_NOFILE and the kernel allow; tests say less */
    enum ring_mode mode;
};

enum ring_event_kind {
    RING_ACCEPTED,      /* socket, listener, peer */
    RING_ACCEPT_FAILED, /* listener, result: -errno */
    RING_CONNECTED,     /* socket, token, result: 0 or -errno (the socket is then closed) */
    RING_READABLE,      /* socket; also at end of stream and on errors */
    RING_WRITABLE,      /* socket */
    RING_MOVED_IN,      /* socket, token */
    RING_MOVED_OUT /* socket, token, result: 0 (the socket's name is dead here) or -errno (still
                      ours) */
};

struct ring_event {
    enum ring_event_kind kind;
    int32_t result;
    struct ring_socket socket;
    uint32_t listener;
    uint64_t token;
    const struct sockaddr_storage *peer;
};

struct ring_receive {
    struct ring_socket socket;
    void *buffer;
    uint32_t bytes_max;
    int32_t result; /* answer: bytes; 0: end of stream; -EAGAIN: nothing there; -errno */
    bool has_more;  /* answer: the socket is known to hold more */
};

struct ring_send {
    struct ring_socket socket;
    const struct iovec *vectors;
    uint32_t vector_count;
    int32_t result; /* answer: bytes taken, perhaps fewer than given; -EAGAIN; -errno */
};

struct ring_listen_options {
    uint32_t backlog;
    uint32_t send_buffer_bytes; /* 0: the system's */
    uint32_t receive_buffer_bytes;
    uint32_t unsent_low_water_bytes; /* TCP_NOTSENT_LOWAT; 0: the system's */
};

struct ring_counters {
    uint64_t enters; /* io_uring_enter calls */
    uint64_t completions;
    uint64_t overflows; /* completion queue overflowed */
    uint64_t receives;
    uint64_t sends;
    uint64_t sends_short; /* fewer bytes than given, or -EAGAIN */
    uint64_t accepts;
    uint64_t stale; /* completions of a socket that was closed meanwhile */
    uint64_t moves;
    uint64_t closes;
    uint64_t rings;   /* rings in the bank, now */
    uint64_t sockets; /* open, now */
};

/* 0 with *out_ring, or -errno with a line in `error` that names the reason and its remedy: io_uring
 * missing or forbidden (sysctl, seccomp), a kernel below 6.1, a RLIMIT_NOFILE that is too small. */
int ring_create(const struct ring_options *options, struct ring **out_ring, char *error,
                size_t error_bytes);

/* Called once by the thread that will use the ring, before anything else. 0 or -errno. */
int ring_start(struct ring *ring);

/* Closes every socket. */
void ring_destroy(struct ring *ring);

enum ring_mode ring_mode(const struct ring *ring);
const struct ring_counters *ring_counters(const struct ring *ring);

uint64_t ring_now_ns(const struct ring *ring);  /* monotonic */
uint64_t ring_wall_ms(const struct ring *ring); /* since 1970 */

/* Submits what is queued, sleeps until there is an event, a wake or `deadline_ns` (a ring_now_ns;
 * what has passed means: do not sleep), and gives up to events_max events. Result: how many, or
 * -errno. */
int ring_wait(struct ring *ring, uint64_t deadline_ns, struct ring_event *events,
              uint32_t events_max);

/* Ends the ring_wait of `ring` that is under way, or the next one. Any thread. */
void ring_wake(struct ring *ring);

/* Binds a listening socket with SO_REUSEPORT, so that every shard's ring can listen on one address;
 * *address is updated with the real port. `is_first`: this is the process's first listener there,
 * and the address must be free of anybody else's. 0 with *out_listener, or -errno. */
int ring_listen(struct ring *ring, struct sockaddr_storage *address, socklen_t address_bytes,
                bool is_first, const struct ring_listen_options *options, uint32_t *out_listener);

/* Accepts `count` more connections, one event each; never more than there are free slots. Result:
 * how many were armed. */
uint32_t ring_accept(struct ring *ring, uint32_t listener, uint32_t count);

/* Closes the listening socket; accepts that were armed and not yet met end without an event. */
void ring_listen_close(struct ring *ring, uint32_t listener);

/* Begins to connect; RING_CONNECTED follows. -ENFILE: no free slot. */
int ring_connect(struct ring *ring, const struct sockaddr_storage *address, socklen_t address_bytes,
                 uint64_t token, struct ring_socket *out_socket);

/* RING_READABLE at each arrival of bytes, until ring_unwatch or ring_close. What was there before
 * may or may not be told: receive until -EAGAIN, then watch, then receive once more. */
void ring_watch_readable(struct ring *ring, struct ring_socket socket);
/* One RING_READABLE. */
void ring_watch_readable_once(struct ring *ring, struct ring_socket socket);
/* One RING_WRITABLE. */
void ring_watch_writable(struct ring *ring, struct ring_socket socket);

/* Never waits for bytes; every request is decided when it returns. At most one request per socket.
 */
void ring_receive_batch(struct ring *ring, struct ring_receive *requests, uint32_t count);
void ring_send_batch(struct ring *ring, struct ring_send *requests, uint32_t count);

/* The peer sees the end of the stream. With `is_reset` what is unsent is thrown away (RST) where
 * the mode can do so; direct descriptors close as usual. */
void ring_close(struct ring *ring, struct ring_socket socket, bool is_reset);

/* Passes a socket that is watched by nothing to another ring. RING_MOVED_IN comes there,
 * RING_MOVED_OUT here. */
void ring_move(struct ring *ring, struct ring_socket socket, struct ring *target, uint64_t token);

#endif
