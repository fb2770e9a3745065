/*
 * One MQTT connection as the session layer uses it: bytes to send, reading paused or resumed,
 * closing. The record is hot state, at most 64 bytes, in an array indexed by the ring's slot; it
 * lives as long as the slot's socket. Receive memory exists only while a packet is partial, send
 * memory only while something is unsent.
 *
 * Owner and thread: the shard's struct net. What is written here goes out in the send step of this
 * turn.
 */
#ifndef PENSTOCK_NET_CONNECTION_H
#define PENSTOCK_NET_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/timer_wheel.h"

struct net;
struct receive_buffer;
struct send_queue;

enum { CONNECTION_PEER_BYTES = 48 };

enum connection_state {
    CONNECTION_FREE,     /* the slot has no socket */
    CONNECTION_ACCEPTED, /* waits for CONNECT */
    CONNECTION_OPENING,  /* CONNECT was handed up; paused until connection_accept */
    CONNECTION_MOVING,   /* on its way to another shard */
    CONNECTION_OPEN,
    CONNECTION_CLOSING /* nothing is read any more; the last bytes go out for at most linger_ms */
};

/* Why a connection ended; metric label, and what decides whether a will is published. */
enum connection_close_reason {
    CONNECTION_CLOSED_DISCONNECT, /* the client said DISCONNECT */
    CONNECTION_CLOSED_PEER,       /* end of stream or reset without DISCONNECT */
    CONNECTION_CLOSED_KEEPALIVE,  /* [MQTT-3.1.2-24] */
    CONNECTION_CLOSED_CONNECT_TIMEOUT,
    CONNECTION_CLOSED_MALFORMED, /* the codec refused a packet */
    CONNECTION_CLOSED_PROTOCOL,  /* a valid packet at a wrong place */
    CONNECTION_CLOSED_TOO_LARGE,
    CONNECTION_CLOSED_REFUSED,    /* CONNACK with a code other than 0 */
    CONNECTION_CLOSED_TAKEN_OVER, /* [MQTT-3.1.4-2] */
    CONNECTION_CLOSED_LIMIT,      /* a limit that closes, such as pending_bytes_max */
    CONNECTION_CLOSED_OVERLOAD,   /* had not drained for long when memory was nearly out */
    CONNECTION_CLOSED_MEMORY,
    CONNECTION_CLOSED_SHUTDOWN,
    CONNECTION_CLOSED_MOVE_FAILED,
    CONNECTION_CLOSE_REASONS
};

struct connection {
    uint32_t slot;
    uint32_t generation;            /* of the ring's socket */
    void *owner;                    /* the layer above's; NULL: it does not want on_close */
    struct timer timer;             /* time to CONNECT, keepalive, linger: by state */
    uint32_t active_tick;           /* when the last packet came */
    struct send_queue *send;        /* NULL: nothing is unsent */
    struct receive_buffer *receive; /* NULL: nothing is partial */
    uint32_t next_ready;            /* slot + 1 */
    uint32_t next_dirty;            /* slot + 1 */
    uint16_t keepalive_seconds;     /* 0: never expires */
    uint16_t flags;                 /* the connection layer's */
    uint8_t state;                  /* enum connection_state */
    uint8_t level;                  /* MQTT protocol level; 0 before CONNECT */
    uint8_t close_reason;           /* enum connection_close_reason, while CLOSING */
    uint8_t to_shard;               /* while MOVING */
};

/* CONNECT is answered; the connection reads on. keepalive_seconds 0: never expires. */
void connection_accept(struct net *net, struct connection *connection, uint16_t keepalive_seconds);

/* Room for `bytes` contiguous bytes that the caller fills at once; they are part of the stream from
 * here. NULL when memory is out: the connection is then being closed (reason MEMORY). */
unsigned char *connection_reserve(struct net *net, struct connection *connection, uint32_t bytes);

/* Adds bytes that are not copied: they must stay as they are until on_release(reference). Ownership
 * of `reference` passes in any case. False: memory is out and the connection is being closed. */
bool connection_write_reference(struct net *net, struct connection *connection, const void *bytes,
                                uint32_t count, void *reference);

/* Bytes written and not yet taken by the kernel, this turn's included. */
uint32_t connection_unsent_bytes(const struct net *net, const struct connection *connection);

/* True while the kernel has refused bytes and not asked for more yet. */
bool connection_is_blocked(const struct connection *connection);

/* Milliseconds since the kernel last took bytes while some wait; 0 when nothing waits. */
uint32_t connection_blocked_ms(const struct net *net, const struct connection *connection);

/* on_drained is called once, when nothing is unsent any more. */
void connection_notify_drained(struct net *net, struct connection *connection);

/* Marks the connection as being closed: reading stops now, on_close follows (if owner is set) from
 * the send step, what was written before still goes out for at most linger_ms. Repeating it does
 * nothing. */
void connection_close(struct net *net, struct connection *connection,
                      enum connection_close_reason reason);

/* The peer's address as text, for a line of the log. */
void connection_format_peer(const struct net *net, const struct connection *connection,
                            char out_text[CONNECTION_PEER_BYTES]);

/* True when the peer's address is a loopback one. */
bool connection_is_loopback(const struct net *net, const struct connection *connection);

#endif
