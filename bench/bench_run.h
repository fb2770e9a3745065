/*
 * A run of the load client: plays its options against a server and tells what came of it.
 *
 * Owner: the caller. Thread: one, from begin to end of bench_run; several clients are several
 * processes.
 */
#ifndef PENSTOCK_BENCH_RUN_H
#define PENSTOCK_BENCH_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/bench_check.h"
#include "bench/bench_histogram.h"
#include "bench/bench_options.h"
#include "bench/bench_process.h"

struct bench_counters {
    uint64_t sent;        /* messages published, by all publishers */
    uint64_t acked;       /* of these, acknowledged to the end (QoS 1 and 2) */
    uint64_t deliveries;  /* PUBLISH packets received */
    uint64_t expected;    /* deliveries that the messages sent should cause; 0: not known */
    uint64_t foreign;     /* deliveries of another run, publisher or subscription */
    uint64_t others;      /* --filter: deliveries of other topics, not counted above */
    uint64_t corrupt;     /* payloads that are not as they were sent */
    uint64_t wrong_qos;   /* deliveries at another QoS than asked for */
    uint64_t bad_packets; /* what a server may not send, or not then */
    uint64_t connect_failures;
    uint64_t refused; /* CONNACK or SUBACK that says no */
    uint64_t lost;    /* connections that ended before the client ended them */
    uint64_t pings;
    uint64_t pings_answered;
    uint64_t pings_late;    /* not answered when the next was due */
    uint64_t sends;         /* handed to the kernel */
    uint64_t sends_blocked; /* of these, not taken whole */
    uint64_t receives;
};

/* What the mode endure found; of messages unless it says otherwise. */
struct bench_endurance {
    uint64_t reconnects;          /* connections that were up once more */
    uint64_t received;            /* distinct */
    uint64_t acked;               /* PUBACK or PUBREC came */
    uint64_t lost_acked;          /* acknowledged and never received */
    uint64_t lost;                /* sent and never received */
    uint64_t misordered;          /* came first after a later one of their topic */
    uint64_t duplicates_1;        /* at QoS 1 */
    uint64_t duplicates_1_old;    /* of these, beyond --duplicate-age-ms */
    uint64_t duplicates_1_resent; /* of these, since the publisher sent again */
    uint64_t outlived_ns;  /* the most that a connection outlived a message that came again */
    uint64_t duplicates_2; /* at QoS 2: came again under a packet id that was released */
    uint64_t duplicates_2_unsecured; /* since the publisher's session had not yet been answered */
    uint64_t repeats_2;              /* at QoS 2: PUBLISH again, before its release; no fault */
    uint64_t id_conflicts;       /* at QoS 2: another message under an id that is not released */
    uint64_t unreleased;         /* at QoS 2: packet ids without PUBREL at the end */
    uint64_t answers_misordered; /* PUBACK or PUBREC not in the order of PUBLISH */
    uint64_t sessions_lost;      /* that had been answered, and were not present */
    uint64_t retained_lost;      /* retained values older than acknowledged, or absent */
    uint64_t retained_checks;    /* times that all were asked for and came */
    uint64_t given_up;           /* 1: the server was away for longer than --away */
};

struct bench_result {
    struct bench_counters all;     /* from begin to end */
    struct bench_counters measure; /* from the end of the warm-up to the end of publishing */
    struct bench_tally tally;
    struct bench_endurance endurance;
    struct bench_histogram latency; /* ns; pub: until the acknowledgement; pingpong: there and back;
                                       --missed: from the start until a session has all; else until
                                       the delivery */
    uint64_t sockets;
    uint64_t up;     /* connections that got as far as they should */
    uint64_t up_end; /* of these, still there at the end */
    uint64_t connect_ns;
    uint64_t measure_ns;
    uint64_t served_ns;   /* --missed: from the start until all had all; 0: not yet */
    uint64_t undelivered; /* expected and not received, after draining */
    uint64_t unacked;     /* published and not acknowledged, after draining */
    /* With the deliveries below: from the end of the warm-up to the end of draining. */
    struct bench_process_use client_use;
    struct bench_process_use server_use;
    uint64_t used_messages;       /* deliveries in that time; pub: messages sent */
    uint64_t server_dirty_before; /* Private_Dirty bytes before the first connection */
    uint64_t server_dirty_up;     /* and with all of them */
    uint64_t client_dirty_before;
    uint64_t client_dirty_up;
};

/* 0 with *out_result, or -errno with a line in `error` when the run could not begin. */
int bench_run(const struct bench_options *options, struct bench_result *out_result, char *error,
              size_t error_bytes);

/* Whether nothing was lost that should not be, and every check passed. */
bool bench_result_is_good(const struct bench_options *options, const struct bench_result *result);

#endif
