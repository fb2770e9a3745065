/*
 * What the files of the connection layer share: struct net, the flags of a connection, and the
 * calls between net.c (table, listeners, events, timers), net_receive.c and net_send.c.
 */
#ifndef PENSTOCK_NET_NET_INTERNAL_H
#define PENSTOCK_NET_NET_INTERNAL_H

#include "core/buffer.h"
#include "core/pool.h"
#include "core/timer_wheel.h"
#include "net/net.h"
#include "net/send_queue.h"

enum { CONNECTIONS_PER_SEGMENT = 1024, RECEIVE_ROUNDS_PER_TURN = NET_RECEIVES_PER_TURN };

enum connection_flags {
    CONNECTION_IN_READY = 1,   /* in the ready list */
    CONNECTION_IN_DIRTY = 2,   /* in the dirty list */
    CONNECTION_PAUSED = 4,     /* the layer above wants no packets now */
    CONNECTION_UNPARSED = 8,   /* whole packets may stand in `receive` */
    CONNECTION_PUBLISHER = 32, /* has sent a PUBLISH */
    CONNECTION_LOOPBACK = 64,  /* peer is on this host */
    CONNECTION_MOVED = 128,    /* came from another shard: is never moved again */
    CONNECTION_DISCARD = 256,  /* what is unsent is thrown away: the peer takes nothing more */
    CONNECTION_COUNTED = 512,  /* in net_shared.connections */
    CONNECTION_WATCHED = 1024, /* readable events come by themselves */
    CONNECTION_SOURCE = 2048,  /* counted in net_shared.sources */
    CONNECTION_HELD = 4096     /* in the held list: its publish rate is used up */
};

/* Bytes received and not yet taken; the head of a power-of-two buffer. */
struct receive_buffer {
    uint32_t used;
    uint32_t capacity; /* of bytes[] */
    size_t buffer_bytes;
    unsigned char bytes[];
};

struct connection_peer {
    unsigned char address[16]; /* IPv6, or IPv4 in its first four bytes */
    uint16_t family;
};

struct connection_segment {
    struct connection connections[CONNECTIONS_PER_SEGMENT];
    struct connection_peer peers[CONNECTIONS_PER_SEGMENT];
    struct publish_rate *rates; /* by slot; NULL until one of these connections publishes */
};

/* A connection on its way to another shard: all that is not in its socket. */
struct moved_connection {
    /* Released by the shard that packs, acquired by the one that unpacks: the kernel's order of the
     * two completions, said in the language's terms too. */
    _Atomic bool is_packed;
    _Atomic uint32_t holders; /* target and source: the later one frees it */
    struct connection_peer peer;
    uint16_t flags;
    uint32_t byte_count;
    unsigned char bytes[];
};

struct connection_list {
    uint32_t first; /* slot + 1 */
    uint32_t last;
    uint32_t count;
};

struct net_listener {
    uint32_t id;
    bool is_open;
    uint32_t armed; /* accepts that have not been met */
};

struct net {
    struct shard *shard;
    struct log *log;
    struct heap *heap;
    struct ring *ring;
    struct ring *const *rings;
    const struct net_limits *limits;
    struct net_shared *shared;
    struct net_callbacks callbacks;
    struct connection_segment **segments;
    uint32_t segment_count;
    struct connection_list ready;
    struct connection_list dirty;
    uint64_t pressed_until_ns; /* the highest over all shards, as seen this turn; 0: nothing is held
                                  back */
    struct buffer_cache buffers;
    struct pool send_queues;
    struct timer_wheel wheel;
    struct net_listener listeners[NET_LISTENERS_MAX];
    uint32_t listener_count;
    uint32_t accept_tokens; /* of accepts_per_second_max, for this second */
    uint64_t accept_second;
    struct ring_socket *held; /* connections that wait for the next tick's publish credits */
    uint32_t held_count;
    uint32_t held_capacity;
    uint32_t protect_tick; /* of the last net_protect that was the first of its tick */
    struct overload overload;
    uint64_t last_now_ns; /* of the last net_protect */
    uint64_t last_sleeps;
    uint32_t publisher_tick;  /* when publishers were last read under overload */
    uint32_t overload_cursor; /* slot at which the search for who does not drain goes on */
    bool is_shut_down;
    struct net_counters counters;
    struct ring_receive receives[NET_RECEIVE_BATCH];
    struct connection *receiving[NET_RECEIVE_BATCH];
    struct ring_send sends[NET_SEND_BATCH];
    struct connection *sending[NET_SEND_BATCH];
    struct iovec vectors[NET_SEND_BATCH * NET_SEND_VECTORS];
    unsigned char *scratch; /* NET_RECEIVE_BATCH x NET_RECEIVE_BYTES */
};

/* When a tick begins. */
static inline uint64_t net_tick_ns(const struct shard *shard, uint32_t tick)
{
    return shard->start_ns + (uint64_t)tick * SHARD_TICK_MS * 1000000ULL;
}

struct connection *net_at(const struct net *net, uint32_t slot);
struct connection_peer *net_peer_at(const struct net *net, uint32_t slot);
struct ring_socket net_socket(const struct connection *connection);

void net_make_ready(struct net *net, struct connection *connection);
void net_make_dirty(struct net *net, struct connection *connection);
struct connection *net_take(struct net *net, struct connection_list *list, uint16_t flag);

/* Ends the record of a connection: its memory goes, on_close is called if it has an owner. The
 * socket is closed unless it was moved. */
void net_finish(struct net *net, struct connection *connection, bool is_moved);

/* A debug line, unless `reason` is NULL: a peer's mistake, or a limit that it met. */
void net_log_close(const struct net *net, const struct connection *connection, const char *reason);

/* Hands a MOVING connection, with the bytes in its receive memory, to its target. */
void net_start_move(struct net *net, struct connection *connection);

/* net_protect.c. Counts an accepted connection with its source; false: there are too many. */
bool net_enter_source(struct net *net, struct connection *connection);
void net_leave_source(struct net *net, const struct connection_peer *peer);

/* Accepts per second of this shard, 0: unlimited; and how many of `wanted` it allows now. */
uint32_t net_accept_rate(const struct net *net);
uint32_t net_take_accepts(struct net *net, uint32_t wanted);

/* Whether a publish may be taken now; if not, the connection is left unread until the next tick. */
bool net_may_publish(struct net *net, struct connection *connection);
void net_charge_publish(struct net *net, const struct connection *connection, uint32_t bytes);

/* Under overload publishers are read in one turn of each tick. */
void net_slow_publishers(struct net *net);

/* Once a turn: looks at the load; once a tick: lets those go on who waited for credits. */
void net_protect(struct net *net);

void net_receive_buffer_release(struct net *net, struct connection *connection);

#endif
