/*
 * The stored forms of a durable session: encoding and decoding of its `own` record and of its
 * blocks of filters. Layouts, big-endian, in session/README.md. No IO.
 */
#ifndef PENSTOCK_SESSION_SESSION_RECORD_H
#define PENSTOCK_SESSION_SESSION_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;
struct session;

/* Bytes of the session's own record. */
size_t session_record_own_bytes(const struct hub *hub, const struct session *session);
void session_record_own_encode(const struct hub *hub, const struct session *session, void *out,
                               size_t bytes);

/* Fills the session from its own record: number, cursors, window, open ids. 0, -EBADMSG, -ENOMEM.
 */
int session_record_own_decode(struct hub *hub, struct session *session, const void *bytes,
                              size_t count);

/* How far a session is, as a checkpoint line lists it: session number, generation and next packet
 * id, the positions that are not at the shard's floors, what is in flight, open inbound ids. */
size_t session_record_progress_bytes(const struct hub *hub, const struct session *session);
void session_record_progress_encode(const struct hub *hub, const struct session *session, void *out,
                                    size_t bytes);
bool session_record_progress_is_of(const struct session *session, const void *bytes, size_t count);

/* Forgets what is in flight and which ids are open, before what a line says is put in its place. */
void session_record_progress_clear(struct hub *hub, struct session *session);

/* Into a session with a cursor in every partition and nothing in flight. 0, -EBADMSG, -ENOMEM. */
int session_record_progress_decode(struct hub *hub, struct session *session, const void *bytes,
                                   size_t count);

/* Only the number of blocks, for deleting them. */
int session_record_own_blocks(const void *bytes, size_t count, uint16_t *out_blocks);

/* A block's record; 0 bytes when no filter is in it. */
size_t session_record_block_bytes(const struct hub *hub, const struct session *session,
                                  uint16_t block);
void session_record_block_encode(const struct hub *hub, const struct session *session,
                                 uint16_t block, void *out, size_t bytes);

/* Adds a block's filters to the session as subscriptions. 0, -EBADMSG, -ENOMEM. */
int session_record_block_decode(struct hub *hub, struct session *session, uint16_t block,
                                const void *bytes, size_t count);

#endif
