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
