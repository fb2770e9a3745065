/*
 * One page of retained values on its way: made by a shard, filled in by the owner of the partition,
 * passed back. At each moment it belongs to one of the two.
 */
#ifndef PENSTOCK_SESSION_RETAINED_READ_H
#define PENSTOCK_SESSION_RETAINED_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "core/pool.h"
#include "session/hub_mail.h"

struct owner;

enum { RETAINED_READ_RECORDS_MAX = BROKER_LIST_MAX, RETAINED_READ_BYTES_MAX = 1 << 20 };

struct retained_read {
    struct broker_list list;
    struct outbox_mail room;
    struct retained_read *next; /* of the owner's that the broker has */
    struct retained_read **link;
    struct pool_handle session;
    uint32_t from_shard;
    uint32_t serial; /* the asker's; for a resend the packet id in flight */
    bool is_of_resend;
    uint16_t partition;
    bool is_last;   /* answer: the partition has no more */
    bool is_failed; /* answer: to be asked again */
    uint32_t record_count;
    uint32_t after_bytes;  /* of the last key that was looked at; 0: begin */
    uint32_t filter_bytes; /* the filter stands behind this structure */
    struct record *records[RETAINED_READ_RECORDS_MAX]; /* answer: one reference each */
    unsigned char prefix[BROKER_KEY_BYTES_MAX];
    unsigned char after[BROKER_KEY_BYTES_MAX];
    char filter[];
};

/* The owner's side: looks up the page and answers. */
void retained_read_answer(struct owner *owner, struct retained_read *read);

#endif
