/*
 * The owner of partitions: what a shard does for every shard of the gateway, for the partitions p
 * with p mod S = its index. Appends, hands committed records over to the shards that want them,
 * keeps interest, answers reads, and keeps retained values.
 *
 * Rules: 1. everything for one shard leaves in one FIFO; 2. a record is handed over when it is
 * committed, or relayed at QoS 0, in the partition's order; 3. the owner never waits for a shard: a
 * full mailbox makes that shard late in the partition, and until its own read has met what was
 * handed over, it gets nothing of that partition and no answer that says "up to the tail".
 *
 * Owner and thread: one shard's hub.
 */
#ifndef PENSTOCK_SESSION_OWNER_H
#define PENSTOCK_SESSION_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "core/pool.h"
#include "session/topic_index.h"

struct hub;
struct hub_mail;
struct interest_request;
struct late_read;
struct outbox_mail;
struct retained_read;

enum {
    OWNER_APPENDS_MAX = 256, /* appends under way, over all partitions */
    OWNER_WAITING_MAX = 1024 /* QoS 0 records behind an unfinished retained one, per owner */
};

/* Records of one partition on their way into the log, and who waits for their answers. */
struct owner_append {
    struct broker_append append;
    struct owner *owner;
    struct owner_append *next; /* of those that are to be submitted */
    struct owner_append *next_of_all;
    struct owner_append **link_of_all;
    struct {
        struct pool_handle session; /* generation 0: nobody waits, unless it is the gateway's own */
        uint32_t position;
        uint32_t shard;
        struct will *own;
    } publishers[BROKER_APPEND_MAX];
};

struct owner_partition {
    uint64_t handed_over;         /* every record up to here was handed over */
    uint64_t committed;           /* highest sequence that the driver has answered */
    uint64_t old_tail;            /* the log's tail at the start: up to here nobody is waiting */
    uint64_t applied;             /* "applied up to", as last written */
    uint64_t needed_from;         /* the first record that retained values still need */
    uint64_t late_shards;         /* bit per shard */
    struct owner_append *filling; /* gathers this turn's records */
    struct broker_pull *channel;
    uint32_t held_for;  /* QoS 0 retained records that were taken in; runs freely */
    uint32_t held_done; /* of these, handed over or refused */
    uint16_t partition;
    bool is_pulling;
};

struct owner_counters {
    uint64_t appends;
    uint64_t retries;   /* records repeated after BROKER_UNKNOWN */
    uint64_t handovers; /* mails */
    uint64_t late_marks;
    uint64_t retained_writes;
    uint64_t retained_failures; /* values that the store did not take, or could not give */
};

struct owner {
    struct hub *hub;
    struct topic_index index;           /* filters to shards */
    struct owner_partition *partitions; /* those that it owns, p / S */
    uint32_t partition_count;
    uint32_t appends_under_way;
    struct owner_append *appends_all;
    struct late_read *reads;              /* that the broker has */
    struct retained_read *retained_reads; /* likewise */
    uint64_t *wanted; /* by partition and shard: the lowest sequence that late sessions want */
    struct owner_append *submits_first; /* refused by a full queue, or to be repeated */
    struct owner_append *submits_last;
    uint64_t pulls_due_ns;   /* the log could not be read: no channel is pulled until then */
    uint64_t submits_due_ns; /* the log could not take one: they wait until then */
    struct owner_waiting *waiting_first; /* QoS 0 behind a retained one */
    struct owner_waiting *waiting_last;
    uint32_t waiting_count;
    struct outbox_mail
        *interest_waiting; /* interest requests to be answered; at most answers_max */
    uint32_t position_tick;
    struct retained_writer *retained;
    struct owner_start *start; /* NULL once it is over */
    bool is_started;           /* every partition knows from where on it hands over */
    struct owner_counters counters;
};

int owner_create(struct hub *hub, struct owner **out_owner);
void owner_destroy(struct owner *owner);

/* The beginning, in owner_start.c; owner_step drives it. */
int owner_start_create(struct owner *owner);
void owner_start_step(struct owner *owner);
bool owner_start_is_asking(const struct owner *owner);
bool owner_start_has_more(const struct owner *owner); /* at once */
void owner_start_destroy(struct owner *owner);

/* A publish came. Takes over its record. False: the broker is behind, or the owner has not begun;
 * the mail is to be given again. */
bool owner_publish(struct owner *owner, uint32_t from_shard, const struct hub_mail *mail);

/* False: owner_publish would refuse what has to be appended. */
bool owner_has_room(const struct owner *owner);

/* Answered from the owner's start on (is_started) only. */
void owner_interest(struct owner *owner, struct interest_request *request, bool is_drop);

/* Answers the requests that waited for the channels; after the broker's turn. */
void owner_interest_step(struct owner *owner);

/* Gives up what waits; for owner_destroy. */
void owner_interest_abort(struct owner *owner);

void owner_read(struct owner *owner, struct late_read *read);

/* The connected sessions of a shard that are late want nothing of the partition below `sequence`
 * (UINT64_MAX: there are none). Until a shard has said so everything is wanted. */
void owner_set_wanted(struct owner *owner, uint32_t shard, uint16_t partition, uint64_t sequence);

/* Submits what was gathered, keeps the channels pulling, tells positions. True: more to do at once.
 */
bool owner_step(struct owner *owner);

/* Something is to be tried again soon, and no answer brings it back. */
bool owner_waits(const struct owner *owner);

/* No append is under way, and no retained value is on its way to the store. */
bool owner_is_idle(const struct owner *owner);

struct owner_partition *owner_partition(struct owner *owner, uint16_t partition);

/* Hands a record over to the shards that want it; takes over a reference. */
void owner_hand_over(struct owner *owner, struct owner_partition *partition, struct record *record);

#endif
