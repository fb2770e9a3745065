/*
 * What one subscriber that comes and goes was promised of one publisher's messages, and what it
 * got: every message of the run is known, so that loss, order and duplicates are exact however
 * often the server was away. Sequences run from 0 without a gap.
 *
 * A duplicate is young or old. Young ones are what a crash may cause at QoS 1: the server goes on
 * where it last noted the subscriber's progress. Old is a message that came again although it came
 * first on a connection that lived for the whole of the age after it, so that there was time to
 * note it; what the publisher itself sent again is never old.
 *
 * Owner and thread: the caller's. Memory: a bit for each message, from the caller's heap.
 */
#ifndef PENSTOCK_BENCH_LEDGER_H
#define PENSTOCK_BENCH_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

enum { BENCH_LEDGER_MARKS = 64, BENCH_LEDGER_MARKS_PER_AGE = 16 };

enum bench_verdict {
    BENCH_FIRST,          /* as it should be */
    BENCH_LATE,           /* came first, but after a later one */
    BENCH_AGAIN,          /* a young duplicate */
    BENCH_AGAIN_OLD,      /* an old one */
    BENCH_AGAIN_RESENT,   /* of what the publisher sent again */
    BENCH_AGAIN_UNSECURED /* of what it sent again because the server does not know its session */
};

struct bench_range {
    uint64_t from;
    uint64_t to; /* exclusive */
};

struct bench_mark {
    uint64_t time_ns;
    uint64_t next;
};

/* Zero: nothing sent, nothing came. */
struct bench_ledger {
    uint64_t *seen; /* bit for each message */
    uint64_t seen_words;
    uint64_t next;                               /* one above the highest that came */
    uint64_t received;                           /* distinct messages */
    uint64_t old_below;                          /* these are old */
    struct bench_range resent;                   /* what the publisher sent again, last */
    struct bench_range unsecured;                /* what it sent again to a session that was new */
    struct bench_mark marks[BENCH_LEDGER_MARKS]; /* of the latest connection, a ring */
    uint32_t mark_first;
    uint32_t mark_count;
    uint64_t end_ns; /* of that connection; 0: it stands */
};

/* Takes one message. 0 with *out_verdict, or -ENOMEM. */
int bench_ledger_take(struct bench_ledger *ledger, struct heap *heap, uint64_t sequence,
                      enum bench_verdict *out_verdict);

/* Time goes by on a connection; called more often than BENCH_LEDGER_MARKS_PER_AGE times in an age,
 * or less becomes old than could. */
void bench_ledger_age(struct bench_ledger *ledger, uint64_t now_ns, uint64_t age_ns);

/* The subscriber's connection ended. */
void bench_ledger_disconnect(struct bench_ledger *ledger, uint64_t now_ns);

/* How long a connection, the one that ended last, went on after it had this message for the first
 * time: at least so much, and no more than is remembered (four ages). 0: not known. */
uint64_t bench_ledger_outlived_ns(const struct bench_ledger *ledger, uint64_t sequence);

/* Of the first `count` messages, those that never came. */
uint64_t bench_ledger_missing(const struct bench_ledger *ledger, uint64_t count);

void bench_ledger_release(struct bench_ledger *ledger, struct heap *heap);

#endif
