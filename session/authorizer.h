/*
 * Who may connect: anonymous clients on loopback addresses (elsewhere only if configured), and
 * users of the password file, whose hashes are computed on the helper thread.
 *
 * One per shard; its thread's. The password file is shared, immutable, and replaced as a whole.
 */
#ifndef PENSTOCK_SESSION_AUTHORIZER_H
#define PENSTOCK_SESSION_AUTHORIZER_H

#include <stdatomic.h>

#include "net/mqtt_packet.h"

struct connection;
struct helper;
struct helper_port;
struct hub;
struct password_file;

struct authorizer {
    struct helper *helper;
    struct helper_port *port;
    const struct password_file *_Atomic file; /* replaced at SIGHUP; NULL: no users */
};

/* Called once, perhaps before authorizer_check returns. */
typedef void authorizer_done(void *context, enum mqtt_connack_code code);

/* The packet's views are used only during the call. */
void authorizer_check(struct hub *hub, struct connection *connection,
                      const struct mqtt_connect *connect, authorizer_done *on_done, void *context);

/* Takes the helper's results; a step of the turn. */
void authorizer_step(struct hub *hub);

/* Refuses who still waits. The helper has been stopped, the hub not yet destroyed. */
void authorizer_stop(struct hub *hub);

#endif
