/*
 * What the broker's key-value store keeps of a durable session, and the writes and reads of it.
 * Layouts are in session/README.md: `own` (number, positions, what is in flight and open), and
 * blocks of filters.
 *
 * Writes of one session are committed in the order in which they were asked for. Asked for by one,
 * called back once, also after the session is gone (then with NULL).
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_SESSION_STORE_H
#define PENSTOCK_SESSION_SESSION_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_client/record.h"
#include "core/pool.h"

struct hub;
struct session;

enum {
    SESSION_STORE_FORMAT = 1,         /* of own records */
    SESSION_STORE_FILTERS_FORMAT = 2, /* of blocks; 1 is read */
    SESSION_STORE_BLOCK_FILTERS = 64
};

#define SESSION_STORE_KIND 'o' /* first byte of the keys of own records: one per stored session */

/* A block of filters in the store. */
struct stored_block {
    uint16_t filter_count;
    bool is_marked; /* waits to be written */
};

struct stored_session {
    struct record_id number;
    uint64_t epoch;       /* raised by each connect */
    uint64_t line_run;    /* the checkpoint line that tells of it while it is attached, */
    uint64_t line_number; /* from this snapshot on */
    uint8_t line_shard;
    uint16_t next_packet_id; /* of the next delivery at QoS 2 */
    uint16_t kept_packet_id; /* the same in the last own record that is committed */
    /* After a crash: the number of the next QoS 2 publish that its client repeats and the store
     * does not know of; 0: such ones are new (inbound.h). */
    uint64_t next_repeated;
    uint64_t repeats_until_ns; /* by then they have come */
    bool was_attached;         /* as loaded: its gateway ended without saving it */
    bool is_attached;          /* its record names this run's line */
    bool is_written;           /* its own record is in the store, or on its way there */
    struct stored_block *blocks;
    uint32_t block_capacity;
    uint16_t block_count; /* blocks that may exist */
    uint16_t block_next;  /* no block before this one has room */
    /* By its record in the store, or on its way there: others do not count. */
    uint16_t blocks_named;
};

typedef void session_store_done(struct hub *hub, struct session *session, void *context,
                                bool is_stored);

/* What a CONNECT finds. */
enum session_store_found {
    SESSION_STORE_ABSENT,
    SESSION_STORE_LOADED, /* the session has what was stored: subscriptions without interest, a
                             cursor in every partition, window, ids */
    SESSION_STORE_FAILED
};

typedef void session_store_found_done(struct hub *hub, struct session *session, void *context,
                                      enum session_store_found found);

/* Makes the session durable: a new number, nothing written yet. False: memory is out. */
bool session_store_create(struct hub *hub, struct session *session);

/* Looks the client up; with `is_wanted` what is found is loaded into the session, else it is
 * deleted. */
void session_store_look_up(struct hub *hub, struct session *session, bool is_wanted,
                           session_store_found_done *on_done, void *context);

/* Which block a new subscription belongs to: the first with room. Marks it for the next write.
 * False: no more blocks, or memory is out. */
bool session_store_place(struct hub *hub, struct session *session, uint16_t *out_block);

/* A subscription of this block changed, or goes. */
void session_store_mark(struct session *session, uint16_t block);
void session_store_leave(struct session *session, uint16_t block);

/* Writes the marked blocks. */
void session_store_write_filters(struct hub *hub, struct session *session,
                                 session_store_done *on_done, void *context);

/* Writes everything for a session that is about to be attached: its epoch is raised, and from here
 * on the checkpoint line tells how far it is. */
void session_store_attach(struct hub *hub, struct session *session, session_store_done *on_done);

/* Writes everything of an attached session again, so that the store keeps it. */
void session_store_renew(struct hub *hub, struct session *session);

/* Writes the own record of an attached session as it is now. */
void session_store_write_own(struct hub *hub, struct session *session, session_store_done *on_done);

/* How long what an attached session has in the store is kept: longer than session_expiry_ms by the
 * slack in which it is renewed. */
uint64_t session_store_attached_ms(const struct hub *hub);

/* Writes everything, to be kept for session_expiry_ms. */
void session_store_save(struct hub *hub, struct session *session, session_store_done *on_done,
                        void *context);

/* Deletes everything that is stored of this session; nobody waits for it. */
void session_store_delete(struct hub *hub, struct session *session);

/* One key of somebody else's (a will's, a line's): put on behalf of a session or of nobody (NULL),
 * which on_done is told of, or removed, with nobody waiting. Key and value are copied.
 * time_to_live_ms 0: for ever. */
void session_store_put(struct hub *hub, struct session *session, const char *key,
                       uint32_t key_bytes, const void *value, size_t value_bytes,
                       uint64_t time_to_live_ms, session_store_done *on_done);
void session_store_remove(struct hub *hub, const char *key, uint32_t key_bytes);

/* The memory of session->stored. */
void session_store_destroy(struct hub *hub, struct session *session);

/* Tries again what a full queue of the broker refused. */
void session_store_step(struct hub *hub);

/* Gives up everything, what the broker had too, which must be gone; for hub_destroy. */
void session_store_abort(struct hub *hub);

#endif
