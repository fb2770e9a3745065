/*
 * Checkpoint lines: how far this shard's durable sessions are, written to the store once a second,
 * so that after a crash a session goes on where it was, give or take that second.
 *
 * A line is up to PROGRESS_SLOTS records, by hash of ClientId, each whole by itself: its number,
 * the shard's floors (per partition, up to which everything was handed over and fanned out), and
 * the sessions of its slot that are not simply there: positions, what is in flight, open inbound
 * ids. Each record is overwritten by its next; a slot in which nothing moved is not rewritten. A
 * session that is not in its slot's record stands at the floors. A session's own record names the
 * line and the number of the first snapshot after it; it holds until a record with that number or a
 * later one is there. While the writes of a snapshot are under way no other is made. So a session
 * is listed until its own record that says "detached" is committed.
 *
 * Key: "l", run (8 bytes), shard (1), slot (1).
 *
 * Owner and thread: the hub.
 */
#ifndef PENSTOCK_SESSION_PROGRESS_H
#define PENSTOCK_SESSION_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;
struct hub;
struct progress;
struct session;

enum {
    PROGRESS_SLOTS = 64,
    PROGRESS_KEY_BYTES = 11,
    PROGRESS_RECORD_BYTES_MAX = 128
                                << 10, /* what does not fit goes into the sessions' own records */
    PROGRESS_MS = 1000
};

int progress_create(struct hub *hub, struct progress **out_progress);
void progress_destroy(struct hub *hub, struct progress *progress);

/* The number of the snapshot that is written next. */
uint64_t progress_next_number(const struct hub *hub);

/* The session may stand elsewhere than at the floors from here on, or has to be saved again. Cheap;
 * to be called as often as one likes. Only durable sessions matter. */
void progress_note(struct hub *hub, struct session *session);

/* The session's memory goes. */
void progress_forget(struct hub *hub, struct session *session);

/* A durable session came to this shard's slots, or left them. */
void progress_count(struct hub *hub, const struct session *session, int change);

/* The step of the turn: a snapshot when one is due. */
void progress_step(struct hub *hub);

/* The key of the record that names this client's progress, in PROGRESS_KEY_BYTES. */
void progress_key(uint64_t run, uint8_t shard, const void *client_id, uint32_t bytes,
                  char *out_key);

/* Brings a session that came out of the store, and was attached when its gateway ended, to where
 * the line's record says. What is older than the session's own record changes nothing. 0, -EBADMSG,
 * -ENOMEM. */
int progress_apply(struct hub *hub, struct session *session, const void *bytes, size_t count);

#endif
