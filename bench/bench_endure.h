/*
 * The mode endure: pairs of a publisher and a subscriber whose sessions stay, while the server is
 * killed and comes back. Internal to the load client, beside bench_internal.h.
 *
 * Connection i < N is the subscriber of pair i, N + i its publisher, 2 N the checker: a clean
 * session that subscribes to every pair's retained topic whenever it (re)connects, and is to be
 * told of each at least what was acknowledged before it asked.
 *
 *   AWAY -> CONNECTING -> GREETING -> (SUBSCRIBING ->) UP; from each of them -> AWAY, with a
 *   moment of jitter, doubled by each failure up to a bound
 *
 * A publisher's operations (a message or a retained value) are numbered from 0 over the whole run:
 *
 *   first <= answered <= sent <= begun       operation n has packet id n % 65,535 + 1
 *   [first, answered): QoS 2 only, PUBREL is due or PUBCOMP is awaited, or over
 *   [answered, begun): PUBACK or PUBREC is awaited; what begins at `sent` has not yet gone out on
 *                      this connection and goes again with DUP [MQTT-4.4.0-1]
 *
 * First answers come in the order of the PUBLISH packets of a connection [MQTT-4.6.0-2],
 * [MQTT-4.6.0-3], so that what is answered needs no list. Thread: the run's.
 */
#ifndef PENSTOCK_BENCH_ENDURE_H
#define PENSTOCK_BENCH_ENDURE_H

#include "bench/bench_ledger.h"
#include "bench_internal.h"

enum {
    BENCH_PACKET_IDS = 65535,
    /* Operations; the first is one. Seldom, so that a value that was lost is noticed before the
     * next one hides it. */
    BENCH_RETAINED_EVERY = 1024
};

/* In a stamp's publisher: a retained value. */
#define BENCH_RETAINED_FLAG (1U << 31)

struct bench_operation {
    uint64_t time_ns;
    uint64_t sequence; /* of the message or of the retained value */
    bool is_retained;
    bool is_over;
};

struct bench_pair {
    /* the publisher */
    struct bench_operation *operations; /* ring of options->inflight */
    uint64_t first;
    uint64_t answered;
    uint64_t sent;
    uint64_t begun;
    uint64_t messages;          /* begun; their sequences run from 0 */
    uint64_t messages_acked;    /* these were answered */
    uint64_t retained;          /* begun; the values count from 0 */
    uint64_t retained_acked;    /* these were answered */
    bool is_publisher_secured;  /* a PUBREC came: its session stands */
    bool is_publisher_resumed;  /* the server knew the session of this connection */
    bool is_subscriber_secured; /* a SUBACK came */
    /* the subscriber */
    struct bench_ledger ledger;
    uint32_t *open_ids; /* QoS 2: by packet id, sequence + 1 of what is not released; else NULL */
    uint32_t open_count;
    /* what the checker is due, when is_check_due: at least this value */
    uint64_t check_value;
    bool is_check_due;
};

struct bench_life {
    uint64_t due_ns;   /* AWAY: when it connects */
    uint64_t since_ns; /* else: when it began to connect */
    uint32_t failures; /* since it was up */
    bool has_been_up;
};

struct bench_endure {
    struct bench_pair *pairs;
    struct bench_life *lives; /* by connection */
    uint32_t pair_count;
    uint32_t checks_due; /* pairs with is_check_due */
    uint64_t check_progress_ns;
    bool is_check_under_way;
    uint64_t checks_begun;
    uint64_t check_final; /* the number of the one that ends the run; 0: not yet asked for */
    uint64_t last_up_ns;  /* anybody */
    uint64_t random;
    struct bench_endurance tally;
};

/* QoS of pair i, from 1 and 2 in all four combinations unless --qos says one. */
uint8_t bench_endure_publish_qos(const struct bench_run *run, uint32_t pair);
uint8_t bench_endure_subscribe_qos(const struct bench_run *run, uint32_t connection);
/* The filter of a subscriber or of the checker. */
void bench_endure_filter(const struct bench_run *run, uint32_t connection, char *out,
                         size_t out_bytes);
bool bench_endure_is_checker(const struct bench_run *run, uint32_t connection);
/* NULL: no publisher's connection. */
struct bench_pair *bench_endure_publisher(const struct bench_run *run, uint32_t connection);

/* 0 or -ENOMEM; released by bench_endure_release in either case. */
int bench_endure_plan(struct bench_run *run);
void bench_endure_release(struct bench_run *run);
/* The counters of the result. */
void bench_endure_finish(struct bench_run *run);

/* Connects who is due, as far as --connecting allows; ends what hangs; notes the time. Each turn.
 */
void bench_endure_turn(struct bench_run *run);
/* The connection has ended or could not be made: it will come again. */
void bench_endure_on_loss(struct bench_run *run, uint32_t connection);
void bench_endure_on_connack(struct bench_run *run, uint32_t connection,
                             const struct mqtt_connack *connack);
/* SUBACK came, or there was nothing to subscribe to. */
void bench_endure_on_up(struct bench_run *run, uint32_t connection);
/* The server was away for longer than it may. */
bool bench_endure_has_given_up(const struct bench_run *run);
/* Everything sent is answered, received and released. */
bool bench_endure_is_drained(const struct bench_run *run);
/* Begins the check that ends the run, once; true when it is over. */
bool bench_endure_check_finally(struct bench_run *run);

/* bench_endure_flow.c: the packets. */
bool bench_endure_fill(struct bench_run *run, uint32_t connection);
void bench_endure_on_answer(struct bench_run *run, uint32_t connection, enum mqtt_type type,
                            uint16_t packet_id);
void bench_endure_on_release(struct bench_run *run, uint32_t connection, uint16_t packet_id);
void bench_endure_on_publish(struct bench_run *run, uint32_t connection,
                             const struct bench_delivery *delivery);

#endif
