/*
 * The connection layer of one shard: listeners, the table of connections, and the two steps of the
 * turn that move bytes (receive and send). It knows no session; news goes up through net_callbacks.
 *
 * Owner: one shard. Thread: that shard's, except where a line says otherwise.
 *
 * Steps (registered by net_create in this order, the layers above put theirs between them):
 *   receive   RECV in batches of NET_RECEIVE_BATCH into scratch memory, decode every whole packet,
 * call up; bounded by input_bytes_per_turn_max over all connections and NET_RECEIVES_PER_TURN each
 *   timers    time to CONNECT, keepalive at one and a half times [MQTT-3.1.2-24], closing
 * connections' linger send      one send per connection that has something new, then the closes
 */
#ifndef PENSTOCK_NET_NET_H
#define PENSTOCK_NET_NET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/shard.h"
#include "net/connection.h"
#include "net/mqtt_decode.h"
#include "net/overload.h"
#include "net/publish_rate.h"

struct heap;
struct net;
struct ring;
struct ring_event;
struct shard;
struct source_limit;

enum {
    NET_RECEIVE_BATCH = 16,    /* connections in one batch of receives */
    NET_RECEIVE_BYTES = 16384, /* scratch memory per receive (notes: 16 KB x 16 measured best) */
    NET_RECEIVES_PER_TURN = 4, /* of one connection */
    NET_SEND_BATCH = 128,      /* connections in one batch of sends */
    NET_SEND_VECTORS = 16,     /* pieces of memory in one send */
    NET_LISTENERS_MAX = 16
};

/* What a callback says of the packet it was given. */
enum net_verdict {
    NET_CONTINUE, /* taken; go on with the next packet */
    NET_PAUSE,    /* taken; stop reading this connection until net_resume */
    NET_RETRY,    /* not taken: give it again after net_resume */
    NET_CLOSE     /* the callback has called connection_close */
};

struct net_callbacks {
    void *context;
    /* A valid CONNECT; the views live until it returns. The layer above answers (CONNACK) and calls
     * connection_accept, or moves the connection to another shard with net_move, or closes it. */
    enum net_verdict (*on_connect)(void *context, struct connection *connection,
                                   const struct mqtt_connect *connect);
    /* Any other valid packet of an accepted connection; PINGREQ is answered below. */
    enum net_verdict (*on_packet)(void *context, struct connection *connection,
                                  const struct mqtt_packet *packet);
    /* All that waited was sent: asked for by connection_notify_drained. */
    void (*on_drained)(void *context, struct connection *connection);
    /* The connection is gone. Exactly once for each connection whose `owner` is set; never from
     * inside a call of the layer above. */
    void (*on_close)(void *context, struct connection *connection,
                     enum connection_close_reason reason);
    /* Memory given to connection_write_reference is no longer needed. */
    void (*on_release)(void *context, void *reference);
};

/* Values that SIGHUP may change are read at each use. Units in the names. */
struct net_limits {
    uint32_t connections_max;        /* of the gateway, over all shards */
    uint32_t accepts_per_second_max; /* of this shard; 0: unlimited */
    uint32_t packet_bytes_max;       /* whole packet */
    uint32_t connect_timeout_ms;
    uint32_t pending_bytes_max; /* unsent bytes of one connection */
    uint32_t input_bytes_per_turn_max;
    uint32_t keepalive_seconds_max; /* a client that asks for more, or for none, gets this; 0: no
                                       limit */
    uint32_t linger_ms;             /* for the last bytes of a connection that is being closed; at a
                                     * shutdown since its peer last took some */
    uint32_t topic_bytes_max;
    uint32_t topic_levels_max;
    uint32_t backlog;                        /* of listening sockets */
    uint32_t connections_per_source_max;     /* 0: unlimited */
    bool is_loopback_limited;                /* loopback addresses count as sources too */
    struct publish_rate_limits publish_rate; /* of one connection */
    struct overload_limits overload;
};

/* Shared by all shards of a gateway. */
struct net_shared {
    struct source_limit *sources; /* NULL: not counted */
    _Atomic uint32_t connections; /* accepted by a CONNACK 0 and not yet closed */
    _Atomic uint64_t connections_peak;
    /* Each shard's pressure: until this time a subscriber that drains has much to take, and
     * publishers are read less. Written by its shard, read by all once a turn. */
    _Atomic uint64_t pressed_until_ns[SHARD_COUNT_MAX];
};

struct net_counters {
    uint64_t accepts;
    uint64_t accepts_refused;     /* over connections_max or out of memory */
    uint64_t accepts_over_source; /* closed at once: too many from that source */
    uint64_t accepts_delayed;     /* turns in which the rate left connections in the backlog */
    uint64_t publishers_held;     /* times that a client was left unread for its publish rate */
    uint64_t overload_level;      /* now, enum overload_level */
    uint64_t overloaded_turns;    /* turns in which overload left publishers unread */
    uint64_t connects;            /* valid CONNECT packets on the shard that accepted */
    uint64_t moves_in;
    uint64_t moves_out;
    uint64_t moves_failed;
    uint64_t packets_in[MQTT_PACKET_TYPES];
    uint64_t packets_out[MQTT_PACKET_TYPES];
    uint64_t publish_bytes_in;  /* payloads */
    uint64_t publish_bytes_out; /* payloads */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t sends;
    uint64_t sends_short; /* left something unsent */
    uint64_t retries;     /* packets that were given again */
    uint64_t closes[CONNECTION_CLOSE_REASONS];
    uint64_t malformed[MQTT_REASONS]; /* by reason of the codec */
    uint64_t pressed_turns;           /* turns in which publishers were left unread */
    uint64_t unsent_bytes;            /* now, over all connections */
    uint64_t connections;             /* now, in any state */
    uint64_t clients;                 /* now, accepted by a CONNACK 0 */
};

struct net_options {
    struct shard *shard;
    struct log *log; /* NULL: nothing is logged */
    struct heap *heap;
    struct ring *const *rings; /* of all shards, for moves */
    const struct net_limits *limits;
    struct net_shared *shared;
    const struct net_callbacks *callbacks;
    uint32_t sockets_max;
};

/* 0, or -ENOMEM. Takes over the shard's on_event. */
int net_create(const struct net_options *options, struct net **out_net);

/* Closes everything at once, without callbacks. */
void net_destroy(struct net *net);

/* The steps to register with shard_add_step, in the places that the gateway chooses. */
bool net_step_receive(void *net, struct shard *shard);
bool net_step_timers(void *net, struct shard *shard);
bool net_step_send(void *net, struct shard *shard);
uint64_t net_deadline(void *net, const struct shard *shard);

/* Opens a listening socket on this shard (SO_REUSEPORT: every shard opens the same address) and
 * begins to accept. *address is updated with the real port. 0 or -errno (-EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES). */
int net_listen(struct net *net, struct sockaddr_storage *address, socklen_t address_bytes);

/* Ends accepting; the connections stay. */
void net_listen_stop(struct net *net);

/* Closes every connection (reason SHUTDOWN). What is unsent goes out as long as its peer takes some
 * of it every linger_ms; the caller bounds the whole. */
void net_shutdown(struct net *net);

/* Passes a connection whose CONNECT is being handled (from on_connect only; the verdict is
 * NET_CLOSE's counterpart NET_PAUSE) to another shard with everything that was received and not
 * consumed, the CONNECT included. When the target has no room it is refused here with CONNACK 3. */
void net_move(struct net *net, struct connection *connection, uint32_t to_shard);

/* Lets a paused connection go on: what waited is decoded in this turn's or the next receive step.
 */
void net_resume(struct net *net, struct connection *connection);

const struct net_counters *net_counters(const struct net *net);

/* Counts packets that were written to a connection; of a PUBLISH also its payload. */
void net_count_sent(struct net *net, enum mqtt_type type, uint32_t packets, uint32_t payload_bytes);

/* As of this turn. */
enum overload_level net_overload(const struct net *net);

/* The connection in a slot, or NULL when there is none. */
struct connection *net_connection(struct net *net, uint32_t slot, uint32_t generation);

#endif
