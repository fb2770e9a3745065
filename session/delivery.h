/*
 * Delivery: from a record that came to this shard to its subscribers' connections.
 *
 * A hand-over finds the topic's filters with one lookup and walks their subscribers. Each gets one
 * copy at the highest QoS that its filters grant, never above the published one [MQTT-3.8.4-6]
 * [MQTT-3.3.5-1]. At effective QoS 0 it is written or dropped here and now; above, it is written if
 * the session is live and its window open, else the session has a cursor from here on. A hand-over
 * with many subscribers is a job with a position that goes on in the next turn; until it is done no
 * further mail is taken, so that order holds.
 *
 * Owner and thread: the hub.
 */
#ifndef PENSTOCK_SESSION_DELIVERY_H
#define PENSTOCK_SESSION_DELIVERY_H

#include <stdbool.h>
#include <stdint.h>

struct filter;
struct hub;
struct record;
struct session;
struct subscription;

/* Fans a record out; takes over the caller's reference. True when it is done; false when a job is
 * left over for delivery_continue. */
bool delivery_handover(struct hub *hub, struct record *record);

/* Called once a turn: a new turn's budget, and the job that is under way goes on; true when none is
 * left. */
bool delivery_continue(struct hub *hub);

/* To be called before a subscription goes, lest a job stand on it. */
void delivery_forget(struct hub *hub, const struct subscription *subscription);

/* A subscription's QoS has changed: a job under way looks at what is granted now. */
void delivery_note_changed(struct hub *hub);

/* Every record of the partition up to here was delivered to this session, as far as it was live. */
uint64_t delivery_floor(const struct hub *hub, const struct session *session, uint16_t partition);

/* The session has come to this record by itself: a hand-over of it that is under way passes it
 * over. */
void delivery_note_had(struct hub *hub, struct session *session, const struct record *record);

/* Ends a job that is under way. */
void delivery_abort(struct hub *hub);

/* In session.job_qos: the fan-out that stamped the session has delivered to it. */
enum { DELIVERY_DONE = UINT8_MAX };

enum delivery_flags { DELIVERY_DUP = 1, DELIVERY_RETAIN = 2 };

/* Writes a PUBLISH to the session's connection. packet_id is 0 at QoS 0. False: memory is out and
 * the connection is being closed. */
bool delivery_write(struct hub *hub, struct session *session, struct record *record, uint8_t qos,
                    uint16_t packet_id, uint8_t flags);

/* Whether an unsent QoS 0 message of this record may be added to what the connection has to send.
 */
bool delivery_may_queue(const struct hub *hub, const struct session *session,
                        const struct record *record);

/* Whether another QoS 1 or 2 delivery may go out now: window, unsent bytes, connection. */
bool delivery_is_open(const struct hub *hub, const struct session *session);

/* Delivers at QoS 1 or 2 through the window, which is open. `due`: the number of the retained_due
 * whose value it is; 0: it is none. False: memory is out, nothing was sent. */
bool delivery_send(struct hub *hub, struct session *session, struct record *record, uint8_t qos,
                   uint64_t due);

/* The QoS that the session's subscriptions grant to a record, or -1: none of them covers it. */
int delivery_granted(struct hub *hub, const struct session *session, const struct record *record);

#endif
