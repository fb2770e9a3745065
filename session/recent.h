/*
 * The hand-overs that a shard had last, for sessions that are just behind: a bounded ring of
 * references, chained by topic and by partition. Positions count from 1 and are never reused.
 *
 * Owner and thread: one shard's hub.
 */
#ifndef PENSTOCK_SESSION_RECENT_H
#define PENSTOCK_SESSION_RECENT_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/record.h"

struct heap;
struct topic;

/* In recent_entry.next: the topic's entry was evicted, so what follows has to be looked for. */
#define RECENT_UNKNOWN UINT64_MAX

struct recent_entry {
    struct record *record;
    uint64_t next; /* position of the next one on the same topic; 0: none yet; RECENT_UNKNOWN */
    uint64_t next_of_partition; /* 0: none yet */
};

struct recent {
    struct heap *heap;
    struct recent_entry *entries;
    uint32_t entries_max; /* a power of two */
    uint32_t bytes_max;
    uint64_t first; /* oldest position that is there */
    uint64_t next;  /* position of the next hand-over */
    uint64_t bytes;
    uint64_t *last_of_partition; /* positions, 0: none */
};

int recent_init(struct recent *recent, struct heap *heap, uint32_t entries_max, uint32_t bytes_max,
                uint16_t partition_count);
void recent_deinit(struct recent *recent);

/* Adds a hand-over with a sequence; takes a reference of its own. Result: its position. */
uint64_t recent_push(struct recent *recent, struct record *record, struct topic *topic);

/* The entry at a position, or NULL when it is no longer, or not yet, there. */
const struct recent_entry *recent_at(const struct recent *recent, uint64_t position);

/* To be called when a topic's entry goes: ends its chain with RECENT_UNKNOWN. */
void recent_forget_topic(struct recent *recent, const struct topic *topic);

#endif
