/*
 * What the files of the io_uring ring share. A bank is one main ring and as many more as its
 * sockets need; every ring has a table of direct descriptors, or none in plain mode, where there is
 * only the main ring.
 *
 * Room: each ring of the bank counts, in one atomic, the slots that nobody has claimed. An accept,
 * a connect or another shard's move claims one before the kernel is asked, so that a full table
 * never drops a connection; the close's completion gives it back. In direct mode the kernel picks
 * the slot. Moves come to rings that exist, so a bank whose room runs low grows before it is full.
 *
 * Watches: a poll's removal misses one whose wake-up is under way; that one completes later and,
 * if it is multishot, stays armed and holds the socket. So every poll carries the generation and
 * the watch of its slot, and one that completes for an older one is removed again.
 */
#ifndef PENSTOCK_CORE_RING_URING_INTERNAL_H
#define PENSTOCK_CORE_RING_URING_INTERNAL_H

#include <stdatomic.h>

#include "core/ring.h"
#include "core/ring_file.h"
#include "ring_uring_abi_internal.h"

enum {
    RING_BANK_MAX = 512,
    RING_SLOTS_MAX = 1 << 24, /* user_data has 24 bits for a slot */
    RING_CONNECTS_MAX = 256,  /* under way at once */
    RING_LISTENERS_MAX = 32,
    RING_ACCEPTS_MAX = 128, /* armed at once, over all listeners of a ring */
    RING_MAIN_ENTRIES = 2048,
    RING_MAIN_COMPLETIONS = 32768,
    RING_CHILD_ENTRIES = 1024,
    RING_CHILD_COMPLETIONS = 8192
};

/* Upper byte of user_data; below it 24 bits of generation, 8 of watch and 24 of slot, or 56 bits of
 * something else. */
enum ring_operation {
    RING_OP_IGNORE, /* removals and other requests whose result nobody needs */
    RING_OP_WAKE,
    RING_OP_ACCEPT,
    RING_OP_POLL_IN,
    RING_OP_POLL_OUT,
    RING_OP_REMOVE_IN, /* of the poll that has the same socket and watch */
    RING_OP_REMOVE_OUT,
    RING_OP_RECEIVE,
    RING_OP_SEND,
    RING_OP_CONNECT,
    RING_OP_INSTALL,
    RING_OP_CLOSE,
    RING_OP_MOVE_OUT,
    RING_OP_MOVE_IN,
    RING_OP_FILE
};

enum slot_flags {
    SLOT_OPEN = 1,
    SLOT_READ_PERSISTENT = 2,
    SLOT_READ_ARMED = 4,
    SLOT_WRITE_ARMED = 8,
    SLOT_READ_QUEUED = 16, /* an event of this kind waits for ring_wait */
    SLOT_WRITE_QUEUED = 32,
    SLOT_BUSY = 64,    /* connecting or moving: the ring's own until that is answered */
    SLOT_CLOSING = 128 /* plain mode: the descriptor's close is queued */
};

struct ring_slot {
    uint32_t generation; /* 24 bits are compared */
    int32_t fd;          /* plain mode; while free: the next free slot of this ring, -1: none */
    uint8_t flags;
    uint8_t watch;  /* changes when a watch ends before it has told */
    bool has_ended; /* the peer has ended or reset: there is more to receive than its bytes */
};

struct bank_ring {
    struct io_uring uring;
    struct ring_slot *slots;
    _Atomic int32_t room;
    int32_t free_head; /* plain mode: local slot, -1: none */
    bool is_queued;    /* has submissions that were not entered yet */
};

struct ring_accept_request {
    struct sockaddr_storage address;
    socklen_t address_bytes;
    uint32_t listener; /* + 1; 0: the request is free */
    uint32_t bank_index;
    bool is_silent; /* the listener is closed: ends without an event */
};

struct ring_connect_request {
    struct ring_socket socket;
    uint64_t token;
    bool is_used;
};

struct ring_move_request {
    struct bank_ring *target; /* whose room is claimed */
    struct ring_socket socket;
    uint64_t token;
    uint32_t next_free; /* index + 1; 0: none */
};

/* Of a file request that is not done yet. */
struct ring_file_slot {
    struct ring_file_request *request; /* NULL: free */
    uint32_t moved;
};

struct ring {
    struct bank_ring *bank[RING_BANK_MAX];
    _Atomic uint32_t bank_count; /* read by other shards that move sockets here */
    uint32_t bank_max;
    uint32_t sockets_per_ring;
    uint32_t sockets_max;
    bool is_direct;
    int wake_fd;
    uint64_t wake_value;
    /* Counted up by who moves a socket here, read when it has come: the kernel carries the socket,
     * this carries what its token points to. */
    _Atomic uint32_t moves_begun;
    _Atomic bool is_wake_pending;
    bool is_woken;                        /* a wake came that no ring_wait has told of yet */
    bool is_growth_failed;                /* no ring could be added ahead of need */
    int listener_fds[RING_LISTENERS_MAX]; /* -1: free */
    struct ring_accept_request accepts[RING_ACCEPTS_MAX];
    struct sockaddr_storage
        peers[2 * RING_ACCEPTS_MAX]; /* of events queued, and given by the last wait */
    uint32_t peer_count;
    uint32_t accepts_armed;
    uint32_t accepted_queued; /* events not yet given; with the armed at most RING_ACCEPTS_MAX */
    struct ring_connect_request connects[RING_CONNECTS_MAX];
    struct ring_move_request *moves; /* by index, which is the request's user_data */
    uint32_t move_capacity;
    uint32_t move_free;       /* index + 1; 0: none */
    struct ring_event *queue; /* events not yet given; a ring buffer */
    uint32_t queue_head;
    uint32_t queue_count;
    uint32_t queue_capacity;
    struct ring_receive *receives; /* the batch under way */
    struct ring_send *sends;
    uint32_t undecided;
    int64_t install_result; /* of RING_OP_INSTALL; INT64_MIN: not yet */
    struct ring_file_slot files[RING_FILES_MAX];
    uint32_t file_count;   /* submitted and not taken */
    uint32_t files_begun;  /* of these, not done: in `files` */
    uint32_t writes_begun; /* of files_begun: writes and syncs, which a worker thread makes */
    struct ring_file_request *files_done_first;
    struct ring_file_request *files_done_last; /* when there is a first */
    pid_t thread_id;                           /* that ring_start was called by */
    struct ring_counters counters;
};

/* A ring of the bank that has room, its room claimed; a new one is made if need be. NULL: none.
 * Only the owner makes rings; `ring` may be another shard's with `may_create` false. */
struct bank_ring *ring_bank_claim(struct ring *ring, bool may_create, uint32_t *out_index);

int ring_bank_add(struct ring *ring, bool is_main);

/* A submission entry of that ring; submits what is queued when there is none. */
struct io_uring_sqe *ring_bank_entry(struct ring *ring, struct bank_ring *bank);

/* Enters every queued submission of one ring. */
void ring_bank_submit(struct ring *ring, struct bank_ring *bank);

/* Takes every completion that is there into the queue of events, or into the batch under way. */
void ring_bank_reap(struct ring *ring, uint32_t index);

struct bank_ring *ring_bank_of(const struct ring *ring, uint32_t slot);
struct ring_slot *ring_slot_of(const struct ring *ring, uint32_t slot);

/* The slot of an open socket, or NULL when its name is dead. */
struct ring_slot *ring_slot_live(const struct ring *ring, struct ring_socket socket);

/* A slot for a new socket: local slot `result` in direct mode, the descriptor `result` in plain
 * mode. */
struct ring_socket ring_slot_open(struct ring *ring, uint32_t index, int32_t result);

/* Forgets an open slot: its name is dead, and the kernel is told to close it. */
void ring_slot_close(struct ring *ring, struct ring_socket socket, bool is_reset);

/* Cancels a request, whatever has become of it since. */
void ring_cancel(struct ring *ring, struct bank_ring *bank, uint64_t request_data);

/* Takes the connect of this socket out of the table; its token. */
uint64_t ring_connect_forget(struct ring *ring, struct ring_socket socket);

/* Addresses a request to a socket: descriptor or table index. */
void ring_entry_target(const struct ring *ring, struct io_uring_sqe *entry, uint32_t slot);

/* The kernel has answered what it was asked for the file slot; never calls the owner. */
void ring_files_on_answer(struct ring *ring, uint32_t index, int32_t result);

struct ring_event *ring_queue_event(struct ring *ring, enum ring_event_kind kind);

/* Of a request that stands for a socket's generation and watch. */
uint64_t ring_user_data(enum ring_operation operation, struct ring_socket socket, uint8_t watch);

/* Of any other request; `data` has 56 bits. */
uint64_t ring_user_index(enum ring_operation operation, uint64_t data);

/* Whether this kernel lets go of a direct descriptor while older requests are armed (6.13 and later
 * do). */
bool ring_probe_direct(void);

#endif
