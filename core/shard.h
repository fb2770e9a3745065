/*
 * A shard: one thread with its ring, its heap, its mailboxes to and from every shard (itself
 * included), and an ordered list of steps that make up a turn. It knows no protocol: the layers
 * above register their steps.
 *
 * The turn, by number (see core/README.md):
 *   1. wait      sleep on the ring until an event, a doorbell or the earliest deadline; not at all
 * while any step has more to do
 *   2. clock     one `now_ns`, `wall_ms` and `tick` for the whole turn
 *   3. events    each ring event goes to on_event
 *   4. steps     the registered steps, in the order of their registration
 *   5. flush     mail posted in this turn becomes visible; a sleeping consumer's doorbell is rung
 * A handler never runs a step or another handler: it leaves work for a step to find.
 *
 * Thread: created and destroyed by the gateway's thread; between, everything but shard_stop and
 * shard_wake belongs to the thread that calls shard_run (or, in a simulation, to the one thread
 * that calls shard_turn).
 */
#ifndef PENSTOCK_CORE_SHARD_H
#define PENSTOCK_CORE_SHARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/mailbox.h"
#include "core/ring.h"

enum {
    SHARD_COUNT_MAX = 64, /* an interest keeps one bit per shard in one word */
    SHARD_STEPS_MAX = 16,
    SHARD_EVENTS_MAX = 512, /* ring events per turn */
    SHARD_TICK_MS = 100     /* unit of `tick`, for timer wheels */
};

struct heap;
struct shard;

/* Result: true when there is more to do at once, so that the shard must not sleep. */
typedef bool shard_step_run(void *context, struct shard *shard);

/* Earliest time at which the step wants to run although nothing happens; UINT64_MAX: never. */
typedef uint64_t shard_step_deadline(void *context, const struct shard *shard);

struct shard_step {
    const char *name;
    shard_step_run *run;
    shard_step_deadline *deadline; /* NULL: never */
    void *context;
};

struct shard_counters {
    uint64_t turns;
    uint64_t sleeps;
    uint64_t doorbells;
    uint64_t mail_posted;
    uint64_t mail_refused; /* posts that found a full mailbox */
    uint64_t busy_ns;      /* time not spent waiting, of the turns that have ended */
    uint64_t longest_turn_ns;
};

struct shard {
    uint32_t index;
    uint32_t count;
    uint32_t tick;    /* SHARD_TICK_MS since the shard was created; of this turn */
    uint64_t now_ns;  /* monotonic, of this turn */
    uint64_t wall_ms; /* since 1970, of this turn */
    uint64_t start_ns;
    struct ring *ring;
    struct heap *heap;
    struct shard *const *peers; /* `count` shards, this one among them; immutable once running */
    struct mailbox **inboxes;   /* by source shard; this shard consumes */
    void (*on_event)(void *context, const struct ring_event *event);
    void *event_context;
    struct shard_step steps[SHARD_STEPS_MAX];
    uint32_t step_count;
    bool has_more; /* a step had more to do in the last turn */
    struct shard_counters counters;
    uint64_t flush_mask; /* destinations that were posted to in this turn */
    _Atomic bool is_stopping;
    struct ring_event events[SHARD_EVENTS_MAX];
};

struct shard_options {
    uint32_t index;
    uint32_t count; /* 1 to SHARD_COUNT_MAX */
    struct ring *ring;
    struct heap *heap;
    uint32_t mailbox_entries_max;
    uint32_t mailbox_reserved_max; /* of these, kept for mailbox_post_reserved */
    size_t mailbox_bytes_max;
};

/* Makes a shard with its inboxes. 0, or -ENOMEM. */
int shard_create(const struct shard_options *options, struct shard **out_shard);
void shard_destroy(struct shard *shard);

/* Tells the shard who its peers are: an array of `count` shards that outlives it. Before the first
 * turn. */
void shard_connect(struct shard *shard, struct shard *const *peers);

void shard_add_step(struct shard *shard, const struct shard_step *step);

/* One turn. With `may_sleep` step 1 may wait; without it the turn takes what is there. Result: true
 * when another turn should follow at once. */
bool shard_turn(struct shard *shard, bool may_sleep);

/* Turns until shard_stop, over a ring that the calling thread has started. That thread is the
 * shard's from here. */
void shard_run(struct shard *shard);

/* Any thread. */
void shard_stop(struct shard *shard);
void shard_wake(struct shard *shard);

/* Earliest deadline over all steps; what step 1 sleeps until. */
uint64_t shard_deadline(const struct shard *shard);

/* Posts to another shard, or to this one. The mail becomes visible at step 5. False: the mailbox is
 * full (of ordinary room), nothing was posted. `bytes` is its weight against the mailbox's byte
 * cap. */
bool shard_post(struct shard *shard, uint32_t to, const struct mail *mail, uint32_t bytes);

/* The same into the room reserved for answers; false only when more answers are posted than
 * requests were counted, which is a bug of the caller. */
bool shard_post_reserved(struct shard *shard, uint32_t to, const struct mail *mail, uint32_t bytes);

#endif
