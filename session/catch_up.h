/*
 * Sessions that are behind. A cursor names, for a session and a partition, the first sequence not
 * yet delivered; a session without a cursor in a partition is live there.
 *
 *   LIVE --window full--> NEAR --end of the recent ring--> LIVE
 *                          |  the ring has let go of it
 *                          v
 *   (resumed) ----------> FAR --a read is free--> READING --answer--> FAR, or
 *                          ^                                 |  "up to the tail": JOINED
 *                          +---------------------------------+
 *   JOINED: live from the cursor's sequence on; what comes below it is skipped, and the first
 * record at or above it ends the cursor.
 *
 * A cursor holds no message. Reading goes on when the window opens; the number of reads under way
 * is bounded.
 *
 * Owner and thread: the hub.
 */
#ifndef PENSTOCK_SESSION_CATCH_UP_H
#define PENSTOCK_SESSION_CATCH_UP_H

#include <stdbool.h>
#include <stdint.h>

#include "core/pool.h"

struct hub;
struct late_read;
struct record;
struct session;

enum cursor_state { CURSOR_NEAR, CURSOR_FAR, CURSOR_READING, CURSOR_JOINED };

struct cursor {
    struct cursor *next;
    uint64_t sequence; /* first one not delivered */
    union {
        uint64_t position;   /* NEAR: where to go on in the recent ring */
        uint64_t publish_ms; /* FAR, READING: of the last record that a read brought; 0: none */
    };
    struct late_read *read;
    uint32_t index; /* of this cursor, in its pool */
    uint16_t partition;
    uint8_t state;
    bool scans; /* NEAR: follows the partition's chain, for its topic's is not enough */
};

enum catch_up_verdict { CATCH_UP_LIVE, CATCH_UP_LATE, CATCH_UP_SKIP };

/* What is to be done with a record that was handed over to this session: deliver it, leave it to
 * the cursor, or skip it since the session has it. */
enum catch_up_verdict catch_up_admit(struct hub *hub, struct session *session,
                                     const struct record *record);

/* The session, live so far in this partition, stays behind from this record on. `position`: the
 * record's in the recent ring. Without memory for a cursor the connection is closed, so that
 * nothing is passed over. */
void catch_up_turn_late(struct hub *hub, struct session *session, const struct record *record,
                        uint64_t position);

/* A cursor that begins FAR at a sequence; for a session that comes out of the store. It stands
 * before the session's subscriptions do, so that what is handed over meanwhile is left to it.
 * False: memory is out. */
bool catch_up_start(struct hub *hub, struct session *session, uint16_t partition,
                    uint64_t sequence);

/* Moves the cursor of a session that is being loaded. */
void catch_up_set_position(struct session *session, uint16_t partition, uint64_t sequence);

/* The owners have the interest of a session out of the store: from from[partition] on everything is
 * handed over (UINT64_MAX: the partition does not concern it). Cursors with nothing to read go. */
void catch_up_resume(struct hub *hub, struct session *session, const uint64_t *from);

/* The session has a subscription more: what it reads or follows was chosen without it, so cursors
 * under way are taken back to where they can see it. To be called before the owners are asked for
 * the subscription's start, so that what is read from here on is answered after it. */
void catch_up_on_subscribed(struct hub *hub, struct session *session);

/* The session's window or send memory has room again: it goes on at the next catch_up_step. */
void catch_up_schedule(struct hub *hub, struct session *session);

/* Takes the session out of the list that it is in, if any. */
void catch_up_unschedule(struct hub *hub, struct session *session);

/* The step of the turn. True: there is more to do at once. */
bool catch_up_step(struct hub *hub);

/* An answer to a read came. */
void catch_up_on_read(struct hub *hub, struct late_read *read);

/* From here on this shard has to read the partition itself (its mailbox was full). */
void catch_up_on_shard_late(struct hub *hub, uint16_t partition, uint64_t sequence);

/* The first sequence that the session has not had, for its record in the store. */
uint64_t catch_up_position(const struct hub *hub, const struct session *session,
                           uint16_t partition);

/* Every cursor goes. */
void catch_up_clear(struct hub *hub, struct session *session);

#endif
