/*
 * What shards say to each other: the layout of a mail. Requests go from a shard to the owner of a
 * partition, news and answers from an owner to a shard, each pair in one FIFO. A pointer in a mail
 * passes ownership of what it points to until it comes back in the answer; a record is one
 * reference.
 *
 * A request reserves the room of its answer: a hub has at most answers_max requests under way at
 * each owner, so that an answer always finds room (hub_answer).
 */
#ifndef PENSTOCK_SESSION_HUB_MAIL_H
#define PENSTOCK_SESSION_HUB_MAIL_H

#include <stdint.h>

#include "core/pool.h"

struct will;

enum hub_mail_kind {
    /* To an owner. */
    HUB_MAIL_PUBLISH,       /* record; who is answered: session and position, or `own`, or nobody */
    HUB_MAIL_INTEREST,      /* struct interest_request: wants its filters; answered */
    HUB_MAIL_INTEREST_DROP, /* struct interest_request: no longer wants them; answered, to free it
                             */
    HUB_MAIL_READ,          /* struct late_read; answered */
    HUB_MAIL_RETAINED,      /* struct retained_read; answered */
    HUB_MAIL_WANTED,        /* partition, sequence: the shard's late sessions want nothing below;
                               UINT64_MAX: there are none */
    /* From an owner. */
    HUB_MAIL_HANDOVER,       /* record */
    HUB_MAIL_LATE,           /* partition, sequence: what comes from here on has to be read */
    HUB_MAIL_POSITION,       /* partition, sequence: handed over up to here */
    HUB_MAIL_PUBLISH_ANSWER, /* session, position, status; or own, status */
    HUB_MAIL_INTEREST_ANSWER,
    HUB_MAIL_INTEREST_DROPPED,
    HUB_MAIL_READ_ANSWER,
    HUB_MAIL_RETAINED_ANSWER
};

struct hub_mail {
    uint8_t kind;   /* enum hub_mail_kind */
    uint8_t status; /* enum broker_status */
    uint16_t partition;
    uint32_t position;
    struct pool_handle session;
    uint64_t sequence;
    void *pointer;
    struct will *own; /* the gateway's own publish; comes back in its answer */
};

/* Where a request waits that finds no room: part of what the request points to. */
struct outbox_mail {
    struct outbox_mail *next;
    uint32_t to;
    struct hub_mail mail;
};

_Static_assert(sizeof(struct hub_mail) <= 56, "a mail's payload");

#endif
