/*
 * What the files of the io_uring ring share. A bank is one main ring and as many more as its
 * sockets need; every ring has a table of direct descriptors, or none in plain mode, where there is
 * only the main ring.
 *
 * Room: each ring of the bank counts, in one atomic, the slots that nobody has claimed. An accept,
 * a connect or another shard's move claims one before the kernel is asked, so that a full table
 * never drops a connection; the close's completion gives it back. In direct mode the kernel picks
 * the slot.
 */
#ifndef PENSTOCK_CORE_RING_URING_INTERNAL_H
#define PENSTOCK_CORE_RING_URING_INTERNAL_H

#include <stdatomic.h>

#include "core/ring.h"
#include "ring_uring_abi_internal.h"

enum {
    RING_BANK_MAX = 512,
    RING_LISTENERS_MAX = 32,
    RING_ACCEPTS_MAX = 128, /* armed at once, over all listeners of a ring */
    RING_MAIN_ENTRIES = 2048,
    RING_MAIN_COMPLETIONS = 32768,
    RING_CHILD_ENTRIES = 1024,
    RING_CHILD_COMPLETIONS = 8192
};

/* Upper byte of user_data; below it 24 bits of generation and 32 of slot, or 56 bits of something
 * else. */
enum ring_operation {
    RING_OP_IGNORE, /* removals and other requests whose result nobody needs */
    RING_OP_WAKE,
    RING_OP_ACCEPT,
    RING_OP_POLL_IN,
    RING_OP_POLL_OUT,
    RING_OP_RECEIVE,
    RING_OP_SEND,
    RING_OP_CONNECT,
    RING_OP_SOCKET,
    RING_OP_CLOSE,
    RING_OP_MOVE_OUT,
    RING_OP_MOVE_IN
};

enum slot_flags {
    SLOT_OPEN = 1,
    SLOT_READ_PERSISTENT = 2,
    SLOT_READ_ARMED = 4,
    SLOT_WRITE_ARMED = 8,
    SLOT_READ_QUEUED = 16, /* an event of this kind waits for ring_wait */
    SLOT_WRITE_QUEUED = 32
};

struct ring_slot {
    uint32_t generation; /* 24 bits are compared */
    int32_t fd;          /* plain mode; while free: the next free slot of this ring, -1: none */
    uint8_t flags;
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
    _Atomic bool is_wake_pending;
    int listener_fds[RING_LISTENERS_MAX]; /* -1: free */
    struct ring_accept_request accepts[RING_ACCEPTS_MAX];
    struct sockaddr_storage
        peers[2 * RING_ACCEPTS_MAX]; /* of events queued, and given by the last wait */
    uint32_t peer_count;
    uint32_t accepts_armed;
    uint32_t accepted_queued; /* events not yet given; with the armed at most RING_ACCEPTS_MAX */
    struct ring_event *queue; /* events not yet given; a ring buffer */
    uint32_t queue_head;
    uint32_t queue_count;
    uint32_t queue_capacity;
    struct ring_receive *receives; /* the batch under way */
    struct ring_send *sends;
    uint32_t undecided;
    int64_t socket_result; /* of RING_OP_SOCKET; INT64_MIN: not yet */
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

/* Addresses a request to a socket: descriptor or table index. */
void ring_entry_target(const struct ring *ring, struct io_uring_sqe *entry, uint32_t slot);

struct ring_event *ring_queue_event(struct ring *ring, enum ring_event_kind kind);

uint64_t ring_user_data(enum ring_operation operation, uint32_t generation, uint32_t slot);

/* Whether this kernel lets go of a direct descriptor while older requests are armed (6.13 and later
 * do). */
bool ring_probe_direct(void);

#endif
