/*
 * A read of a partition for somebody who is behind: made by a shard, passed to the partition's
 * owner, who pulls from the broker, and passed back with what was found. At each moment it belongs
 * to one of the two.
 */
#ifndef PENSTOCK_SESSION_LATE_READ_H
#define PENSTOCK_SESSION_LATE_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "core/pool.h"
#include "session/hub_mail.h"

struct hub;
struct session;

enum { LATE_READ_FILTERS_MAX = 16, LATE_READ_BYTES_MAX = 1 << 20 };

enum late_read_purpose {
    LATE_READ_SESSION, /* a session's cursor */
    LATE_READ_RESEND,  /* what a resumed session had in flight */
    LATE_READ_SHARD    /* a shard whose mailbox was full */
};

struct late_read {
    struct broker_pull pull;
    struct outbox_mail room;
    struct late_read *next; /* of the owner's that the broker has */
    struct late_read **link;
    struct pool_handle session;
    uint32_t from_shard;
    uint8_t purpose;
    bool is_up_to_tail; /* answer: every later record comes by hand-over, after this answer */
    char *texts;        /* memory of the hint's texts; the shard's */
    struct broker_bytes topics[LATE_READ_FILTERS_MAX];
    struct broker_bytes prefixes[LATE_READ_FILTERS_MAX];
};

/* How many reads can be begun now; those of the shard itself may always. */
uint32_t late_read_room(const struct hub *hub);

/* A read for a session (NULL: for the whole shard), hinted by its subscriptions, posted to the
 * owner. NULL: reads_max are under way, or one has failed just now, or memory is out. */
struct late_read *late_read_start(struct hub *hub, const struct session *session,
                                  enum late_read_purpose purpose, uint16_t partition, uint64_t from,
                                  uint16_t records_max);

/* Releases the records that it still holds, and the read. */
void late_read_finish(struct hub *hub, struct late_read *read);

#endif
