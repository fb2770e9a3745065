/*
 * A shard's way to the kernel: sockets by slot, readiness as events, and receives and sends in
 * batches that are decided when the call returns. Behind it stand io_uring (ring_uring*.c: a bank
 * of rings with direct descriptors) and, in simulations, a network made of memory
 * (tests/sim/ring_sim.c); programs choose one when they are linked, and both pass one contract
 * suite (tests/contract/).
 *
 * Sockets: the ring numbers them by slot, from 0 to ring_sockets_max() - 1, so that a caller can
 * keep an array. A slot's generation (24 bits) changes with each socket that uses it; completions
 * of an older one never surface.
 *
 * Lifetime: 1. Memory given to a batch is the caller's again when the call returns. 2. After
 * ring_close the socket's name is dead; its slot is used again only when the kernel has let go of
 * it. 3. A pointer in an event is valid until the next ring_wait. 4. From ring_move to
 * RING_MOVED_OUT a socket is the ring's: it is neither read, written, watched nor closed.
 *
 * Thread: created and destroyed by any one thread, with no other ring moving sockets here any
 * more; ring_start and everything after it by the shard's thread, except ring_wake, ring_now_ns
 * and ring_wall_ms, which any thread may call. The latter two and ring_mode may be called before
 * ring_start.
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
    /* 0: as many as RLIMIT_NOFILE and the kernel allow; tests say less */
    uint32_t sockets_per_ring_max;
    enum ring_mode mode;
    /* Of plain sockets, which share RLIMIT_NOFILE with everything: descriptors that the process
     * needs for files, and how many rings share the rest evenly (0: this one alone). */
    uint32_t descriptors_kept;
    uint32_t ring_count;
};

enum ring_event_kind {
    RING_ACCEPTED,      /* socket, listener, peer */
    RING_ACCEPT_FAILED, /* listener, result: -errno; -ECANCELED after ring_accept_pause */
    RING_CONNECTED,     /* socket, token, result: 0 or -errno (the socket is then closed) */
    RING_READABLE,      /* socket; also at end of stream and on errors */
    RING_WRITABLE,      /* socket; also on errors */
    RING_MOVED_IN,      /* socket, token */
    RING_MOVED_OUT      /* socket, token, result: 0 (the socket's name is dead here) or -errno (the
                           socket is still ours; -ENFILE: the target is full) */
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
    bool has_more;  /* answer: the socket is known to hold more: bytes, its end or an error */
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
    uint64_t accepts_refused; /* accepts or connects that were not begun: no free slot or request */
    uint64_t stale;           /* completions of a socket that was closed meanwhile */
    uint64_t moves;           /* sockets that came from another ring */
    uint64_t moves_failed;    /* of this ring's own sockets to another ring */
    uint64_t closes;
    uint64_t rings;       /* rings in the bank, now */
    uint64_t sockets;     /* open, now */
    uint64_t file_reads;  /* of core/ring_file.h: answered, with or without an error */
    uint64_t file_writes; /* synced ones too */
    uint64_t file_syncs;  /* of synced writes too */
    uint64_t file_bytes_read;
    uint64_t file_bytes_written;
    uint64_t file_errors; /* answered with -errno */
};

/* 0 with *out_ring, or -errno with a line in `error` that names the reason and its remedy: io_uring
 * missing or forbidden (sysctl, seccomp), a kernel below 6.1, a RLIMIT_NOFILE that is too small.
 * Tries in some milliseconds what the kernel does, and chooses the mode by it. */
int ring_create(const struct ring_options *options, struct ring **out_ring, char *error,
                size_t error_bytes);

/* Called once by the thread that will use the ring, before anything else. 0 or -errno. */
int ring_start(struct ring *ring);

/* Closes every socket. The thread that used the ring has stopped using it. NULL is no ring. */
void ring_destroy(struct ring *ring);

/* Direct or plain, as chosen. */
enum ring_mode ring_mode(const struct ring *ring);

/* How many sockets there can be: sockets_max, or fewer where plain descriptors and RLIMIT_NOFILE
 * leave no room for as many. */
uint32_t ring_sockets_max(const struct ring *ring);

/* Valid as long as the ring; its values are the owner thread's. */
const struct ring_counters *ring_counters(const struct ring *ring);

uint64_t ring_now_ns(const struct ring *ring);  /* monotonic */
uint64_t ring_wall_ms(const struct ring *ring); /* since 1970 */

/* Submits what is queued, sleeps until there is an event, a wake, a file request to be taken
 * (core/ring_file.h) or `deadline_ns` (a ring_now_ns; what has passed means: do not sleep), and
 * gives up to events_max events; what is over stays for the next call, which then does not sleep.
 * It may return early with none. Result: how many, or -errno. */
int ring_wait(struct ring *ring, uint64_t deadline_ns, struct ring_event *events,
              uint32_t events_max);

/* Ends the ring_wait of `ring` that is under way, or the next one. Any thread. Wakes that come
 * before one is noticed are one. */
void ring_wake(struct ring *ring);

/* Binds a listening socket with SO_REUSEPORT, so that every shard's ring can listen on one address;
 * *address is updated with the real port. `is_first`: this is the process's first listener there,
 * and the address must be free of anybody else's: it is first bound alone, which SO_REUSEPORT
 * would not tell. 0 with *out_listener, or -errno (-EADDRINUSE, -EACCES ...). */
int ring_listen(struct ring *ring, struct sockaddr_storage *address, socklen_t address_bytes,
                bool is_first, const struct ring_listen_options *options, uint32_t *out_listener);

/* Accepts `count` more connections; each ends in one RING_ACCEPTED or RING_ACCEPT_FAILED. Never
 * more than there are free slots, so that a full table never drops a connection: what is not
 * armed waits in the listener's backlog. Result: how many were armed. */
uint32_t ring_accept(struct ring *ring, uint32_t listener, uint32_t count);

/* Takes back the accepts that are armed; those not yet met end in RING_ACCEPT_FAILED with
 * -ECANCELED, their slots are free again. The listener stays. */
void ring_accept_pause(struct ring *ring, uint32_t listener);

/* Closes the listening socket. Its accepts end without an event; a connection that was met and not
 * yet told is closed. The listener's number may be used again. */
void ring_listen_close(struct ring *ring, uint32_t listener);

/* Begins to connect, with TCP_NODELAY; RING_CONNECTED with the token follows, unless the socket is
 * closed before. Nothing else but ring_close may be done with the socket until then. -ENFILE: no
 * free slot; -EAGAIN: too many connects under way. */
int ring_connect(struct ring *ring, const struct sockaddr_storage *address, socklen_t address_bytes,
                 uint64_t token, struct ring_socket *out_socket);

/* RING_READABLE when there is something to receive, an end or an error: at once if it is there
 * already, then at each arrival (several may be told as one), until ring_unwatch or ring_close. */
void ring_watch_readable(struct ring *ring, struct ring_socket socket);
/* The same, one RING_READABLE only. No effect on a socket that is watched for reading already. */
void ring_watch_readable_once(struct ring *ring, struct ring_socket socket);
/* One RING_WRITABLE, when the socket takes bytes again or has failed. */
void ring_watch_writable(struct ring *ring, struct ring_socket socket);
/* Ends every watch of the socket; an event that was not yet given does not surface. It may be
 * watched again at once. */
void ring_unwatch(struct ring *ring, struct ring_socket socket);

/* Never waits for bytes; every request is decided when it returns. At most one request per socket
 * in a batch (asserted). bytes_max > 0. */
void ring_receive_batch(struct ring *ring, struct ring_receive *requests, uint32_t count);
void ring_send_batch(struct ring *ring, struct ring_send *requests, uint32_t count);

/* The peer sees the end of the stream, whatever was watched. With `is_reset` it sees a reset and
 * what is unsent is thrown away; a kernel that cannot do so with direct descriptors (below 6.7)
 * closes as usual. */
void ring_close(struct ring *ring, struct ring_socket socket, bool is_reset);

/* Passes a socket that is watched by nothing (or whose one event was given) to another ring of the
 * same mode, with the bytes that nobody has received. RING_MOVED_IN comes there, RING_MOVED_OUT
 * here, in any order; after a failure only the latter. `token` has 56 bits. */
void ring_move(struct ring *ring, struct ring_socket socket, struct ring *target, uint64_t token);

#endif
