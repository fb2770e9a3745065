/*
 * What a resumed session had in flight: sent again before anything else, in the order in which it
 * was sent first [MQTT-4.4.0-1] [MQTT-4.6.0-1]. PUBLISHes with DUP and their packet ids, their
 * messages read again from the log, retained values from the store while it has them; PUBRELs as
 * they are. A message that neither has any more is given up and counted.
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_RESEND_H
#define PENSTOCK_SESSION_RESEND_H

#include <stdbool.h>

struct hub;
struct late_read;
struct retained_read;
struct session;

/* Begins, if there is anything in flight. Until it is done the session's window takes nothing new.
 */
void resend_start(struct hub *hub, struct session *session);

/* Asks for what is still missing. False: no read is free; to be called again. */
bool resend_continue(struct hub *hub, struct session *session);

void resend_on_read(struct hub *hub, struct late_read *read);

/* An answer to the request for one retained value; the read stays the caller's. */
void resend_on_value(struct hub *hub, struct retained_read *read);
void resend_abort(struct hub *hub, struct session *session);

#endif
