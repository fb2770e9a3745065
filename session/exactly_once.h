/*
 * QoS 2 of durable sessions: what must be in the session's record before the other side may know of
 * it. A step is held until a write of the record that was begun after it is committed; one write
 * serves all steps of a session that came since the last one.
 *
 *   outgoing: PUBLISH waits for (packet id, sequence), PUBREL for "received"
 *   incoming: PUBREC waits for "open" once the log has the message, PUBCOMP for "released";
 *             now and then the log waits for "open, and perhaps logged" (inbound.h)
 *
 * So neither side of an exchange can be further than what a crash leaves; where a loss of power may
 * take the last commit back, not further than what the session sets right when it is resumed.
 * Sessions that are not durable take every step at once.
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_EXACTLY_ONCE_H
#define PENSTOCK_SESSION_EXACTLY_ONCE_H

#include <stdbool.h>
#include <stdint.h>

struct exactly_once;
struct hub;
struct record;
struct session;

enum exactly_once_step {
    EXACTLY_ONCE_PUBLISH, /* packet id; record, a reference of its own */
    EXACTLY_ONCE_PUBREL,  /* packet id */
    EXACTLY_ONCE_PUBREC,  /* position of the answer to a publish */
    EXACTLY_ONCE_PUBCOMP, /* packet id */
    EXACTLY_ONCE_APPEND,  /* packet id of a publish that was announced */
    EXACTLY_ONCE_UNSUBACK /* packet id; waits only for what was taken before it */
};

/* Takes the step, now or when it may be. Takes over the record's reference in any case. Without
 * memory, and beyond what a session's limits allow to be due, the connection is closed, and the
 * step is not taken (an answer to a publish is due then, with nobody to tell). */
void exactly_once_take(struct hub *hub, struct session *session, enum exactly_once_step step,
                       uint32_t number, struct record *record);

/* The step of the turn: asks for the writes that are wanted. */
void exactly_once_step(struct hub *hub);

/* A connect has written all that a session has. False: it is to be written once more before its
 * client may know of it, for a session that has lost this write would not release all new ids. */
bool exactly_once_note_stored(struct hub *hub, struct session *session);

/* A session came out of the store whose gateway died. Where what that wrote last may be gone its
 * client may know packet ids from there: they are to be released before anything else. False:
 * memory is out. */
bool exactly_once_release_unknown(struct hub *hub, struct session *session);

/* The connection is gone: what is held will not be sent; answers to publishes are due. */
void exactly_once_detach(struct hub *hub, struct session *session);

#endif
