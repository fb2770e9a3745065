/*
 * From CONNECT to CONNACK, and from the end of a connection to the end of its session's stay in
 * memory.
 *
 * A CONNECT is answered on its home shard. What stands between it and CONNACK is one struct
 * opening: who it is, and what has to be waited for (password check, the older connection's going,
 * the store). A later CONNECT with the same ClientId takes the place of one that still waits.
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_OPENING_H
#define PENSTOCK_SESSION_OPENING_H

#include <stdbool.h>

#include "net/net.h"

struct hub;
struct session;

enum net_verdict opening_connect(struct hub *hub, struct connection *connection,
                                 const struct mqtt_connect *connect);

/* The connection of a session (open or opening) is gone. */
void opening_on_close(struct hub *hub, struct session *session, struct connection *connection,
                      enum connection_close_reason reason);

/* DISCONNECT came: the will is not published [MQTT-3.14.4-3]. */
void opening_forget_will(struct hub *hub, struct session *session);

/* A step of the turn: takeovers that were delayed and are due. When the next one is. */
void opening_step(struct hub *hub);
uint64_t opening_deadline(const struct hub *hub);

/* Frees those that are delayed; for hub_destroy. */
void opening_abort_delayed(struct hub *hub);

/* Writes the record of a session without a connection, which then leaves memory; not while the log
 * owes an answer to one of its publishes: whether a QoS 2 id is open must be known. */
void opening_save(struct hub *hub, struct session *session);

/* Frees what waits of an opening; for hub_destroy. */
void opening_abort(struct hub *hub, struct session *session);

#endif
