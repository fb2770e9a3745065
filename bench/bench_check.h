/*
 * What the load client knows of the messages it receives: the stamp at the start of each payload,
 * and per flow (one publisher's messages at one subscriber) which sequence numbers came. Finds
 * loss, duplicates, wrong order, strangers and changed bytes.
 *
 * Owner and thread: the caller's. Never allocates.
 */
#ifndef PENSTOCK_BENCH_CHECK_H
#define PENSTOCK_BENCH_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BENCH_STAMP_BYTES = 24, BENCH_PAYLOAD_BYTES_MAX = 262144 };

struct bench_stamp {
    uint32_t run;       /* tells this run's messages from others' */
    uint32_t publisher; /* its number within the run, from 0 */
    uint64_t sequence;  /* of this publisher, from 0 */
    uint64_t time_ns;   /* when it was to be sent */
};

/* Over BENCH_STAMP_BYTES; the rest of a payload is filled by bench_payload_fill once. */
void bench_stamp_write(const struct bench_stamp *stamp, unsigned char *payload);
void bench_stamp_read(const unsigned char *payload, struct bench_stamp *out_stamp);

/* A payload of `count` bytes, at least BENCH_STAMP_BYTES, with a zero stamp. */
void bench_payload_fill(unsigned char *payload, size_t count);

/* Sums over any number of flows. */
struct bench_tally {
    uint64_t received;   /* distinct messages */
    uint64_t duplicates; /* came again */
    uint64_t misordered; /* came after a later one */
    uint64_t missing;    /* passed over by a later one and not come since */
};

/* Zero: begins with sequence 0. `next` BENCH_FLOW_OPEN: begins with whatever comes first. */
struct bench_flow {
    uint64_t next; /* one above the highest sequence that came */
    uint64_t seen; /* bit i: sequence next - 1 - i came */
};

#define BENCH_FLOW_OPEN UINT64_MAX

/* Takes one message. Answers how many messages it decides: itself and those that it passed over; 0
 * for one that an earlier answer has decided. A message that lies more than 64 behind the highest
 * is known only by whether the flow misses any: then it counts as late, else as a duplicate; the
 * sums of a tally are exact as long as nothing comes that late. */
uint64_t bench_flow_take(struct bench_flow *flow, uint64_t sequence, struct bench_tally *tally);

#endif
