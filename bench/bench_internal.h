/*
 * What the files of the load client's engine share. A run owns everything; connections and streams
 * are addressed by their number. The turn: 1. publishes that came due, 2. flush: one send for each
 * connection with something to say, 3. wait, 4. connects and readiness, 5. receives of the readable
 * connections, 16 in a batch into one hot scratch, their packets handled at once.
 *
 * Memory: a connection holds an output buffer only from its first unsent byte to its last, and an
 * input buffer only while a packet is partial. Output is bounded by what the server may provoke
 * (its window of acknowledgements): a connection with OUTPUT_BYTES_MAX unsent is not read.
 */
#ifndef PENSTOCK_BENCH_INTERNAL_H
#define PENSTOCK_BENCH_INTERNAL_H

#include "bench/bench_run.h"
#include "core/base.h"
#include "core/buffer.h"
#include "core/heap.h"
#include "core/ring.h"
#include "net/mqtt_packet.h"

enum {
    BENCH_SEND_BYTES_MAX = 16384, /* published by a connection in one turn */
    BENCH_SENDS_MAX = 32,         /* in a batch */
    BENCH_RECEIVE_BYTES_MAX = 16384,
    BENCH_RECEIVES_MAX = 16, /* in a batch */
    BENCH_EVENTS_MAX = 512,
    BENCH_OUTPUT_BYTES_MAX = 131072,
    BENCH_TICK_MS = 50
};

enum bench_state {
    BENCH_UNBORN,
    BENCH_AWAY, /* endure: will connect again */
    BENCH_CONNECTING,
    BENCH_GREETING,    /* CONNECT is under way */
    BENCH_SUBSCRIBING, /* SUBSCRIBE is under way */
    BENCH_UP,
    BENCH_GONE
};

#define BENCH_NO_STREAM UINT32_MAX

struct bench_connection {
    struct ring_socket socket;
    unsigned char *output;    /* NULL while nothing is unsent */
    unsigned char *partial;   /* NULL while no packet is partial */
    uint32_t output_sent;     /* of output_bytes */
    uint32_t output_bytes;    /* queued */
    uint32_t output_capacity; /* as buffer_acquire told */
    uint32_t partial_bytes;
    uint32_t partial_capacity;
    uint32_t stream;     /* that it publishes, or BENCH_NO_STREAM */
    uint32_t flow_first; /* its flows, one per publisher from publisher_first */
    uint32_t flow_count; /* 0: subscribes to nothing */
    uint32_t publisher_first;
    uint64_t owed; /* --missed: messages that are still to come */
    uint8_t state;
    bool is_readable; /* stands in the list */
    bool is_dirty;    /* stands in the list */
    bool is_blocked;  /* its socket takes no more for now */
    bool is_parked;   /* is not read until it is no longer blocked */
    bool is_decided;  /* was up, or has given up */
    uint8_t pinged;   /* PINGREQs that were not answered yet */
};

enum bench_inflight_state { BENCH_FREE, BENCH_AWAITS_FIRST, BENCH_AWAITS_PUBCOMP };

struct bench_inflight {
    uint64_t time_ns;
    enum bench_inflight_state state;
};

/* What one publisher sends. Message n has sequence n and, at QoS 1 and 2, the packet id
 * n % inflight + 1. */
struct bench_stream {
    unsigned char *head; /* its PUBLISH without the payload; the packet id stands at the end */
    uint32_t head_bytes;
    uint32_t connection;
    uint32_t receivers;              /* that a message should reach; 0: somebody else's matter */
    bool is_paced;                   /* sends only what is due */
    uint64_t due;                    /* messages that may be sent now, beyond the window */
    uint64_t sent;                   /* messages */
    uint64_t messages_max;           /* --rounds: to be sent; else UINT64_MAX */
    uint64_t settled;                /* up to here every receiver has got or missed each */
    uint32_t *arrivals;              /* receivers > 1 and a window: of the unsettled, by sequence */
    uint64_t *times;                 /* pingpong: when, by sequence */
    struct bench_inflight *inflight; /* QoS 1 and 2: by packet id - 1 */
    uint32_t unacked;
};

/* A PUBLISH that came. */
struct bench_delivery {
    const unsigned char *payload;
    uint32_t payload_bytes;
    uint16_t packet_id; /* 0 at QoS 0 */
    uint8_t qos;
    bool is_retain;
    bool is_others; /* --filter: its topic is none of PREFIX/... */
};

enum bench_phase {
    BENCH_OPENS,
    BENCH_WARMS,
    BENCH_MEASURES,
    BENCH_DRAINS,
    BENCH_CHECKS, /* endure: the retained values, once more */
    BENCH_LINGERS
};

struct bench_endure;

struct bench_run {
    const struct bench_options *options;
    struct bench_result *result;
    struct heap_budget budget;
    struct heap heap;
    struct buffer_cache buffers;
    struct ring *ring;
    const char *id;
    char id_made[32];
    uint32_t run_id;
    enum bench_phase phase;
    uint64_t now_ns; /* at the last wait or receive */
    uint64_t start_ns;
    uint64_t phase_start_ns;
    uint64_t pace_start_ns;
    uint64_t paced; /* messages that have come due, of all streams */
    uint64_t progress_ns;
    uint64_t tick_ns;
    uint64_t report_ns;

    struct bench_connection *connections;
    uint32_t connection_count;
    uint32_t connection_next; /* to be opened */
    uint32_t connecting;
    uint32_t undecided; /* neither up nor given up */
    uint32_t up;
    uint32_t blocked;
    uint64_t ping_position;
    uint64_t pinged;   /* over all connections */
    uint32_t *by_slot; /* connection + 1; 0: none */
    uint32_t slot_count;

    struct bench_stream *streams;
    uint32_t stream_count;
    uint32_t paced_count; /* the first of these share the rate */
    struct bench_flow *flows;
    uint64_t flow_count;
    struct bench_endure *endure; /* NULL in other modes */
    uint64_t unacked;            /* over all streams */
    uint64_t outstanding;        /* deliveries sent for and not settled */
    int64_t releases_due;        /* PUBREC sent and PUBREL not received */

    uint32_t *readable;
    uint32_t *reading; /* the list of this turn */
    uint32_t readable_count;
    uint32_t *dirty;
    uint32_t *flushing;
    uint32_t dirty_count;
    unsigned char *scratch; /* BENCH_RECEIVES_MAX slices */
    size_t slice_bytes;
    uint32_t headroom_bytes; /* in a slice, before what is received: for a partial packet */
    unsigned char *payload;  /* as it should be, apart from the stamp */

    struct bench_histogram interval; /* latencies since the last progress line */
    struct bench_counters counters;
    struct bench_counters measure_start;
    struct bench_counters reported; /* at the last progress line */
    struct bench_tally tally;
    struct bench_process_use client_start;
    struct bench_process_use server_start;
    bool is_interrupted;
};

/* bench_plan.c: who publishes and subscribes what. 0 or -ENOMEM; what was made is released by
 * bench_plan_release in either case. */
int bench_plan(struct bench_run *run);
void bench_plan_release(struct bench_run *run);
/* The filter that a connection subscribes to, and the QoS that it asks for. */
void bench_plan_filter(const struct bench_run *run, uint32_t connection, char *out,
                       size_t out_bytes);
uint8_t bench_plan_qos(const struct bench_run *run, uint32_t connection);

/* bench_connection.c: from the connect to being up, keepalive, the end. */
void bench_connection_open_more(struct bench_run *run);
/* Bytes can be exchanged. */
bool bench_connection_is_open(const struct bench_connection *connection);
/* Begins to connect; false: not now. */
bool bench_connection_open(struct bench_run *run, uint32_t index);
/* After CONNACK: what the connection subscribes to, or that it is up. */
void bench_connection_subscribe(struct bench_run *run, uint32_t index);
void bench_connection_arrive(struct bench_run *run, uint32_t index);
void bench_connection_on_connected(struct bench_run *run, uint32_t index, int32_t result);
void bench_connection_on_connack(struct bench_run *run, uint32_t index,
                                 const struct mqtt_connack *connack);
void bench_connection_on_suback(struct bench_run *run, uint32_t index,
                                const struct mqtt_codes *suback);
void bench_connection_ping_due(struct bench_run *run);
/* A PINGREQ to everyone: its answer tells that the server has read what was sent before. */
void bench_connection_ping_all(struct bench_run *run);
void bench_connection_on_pingresp(struct bench_run *run, uint32_t index);
/* Ends a connection that is not what it should be; `is_lost` when the other side ended it. */
void bench_connection_drop(struct bench_run *run, uint32_t index, bool is_lost);

/* bench_output.c: what waits to be sent. */
void bench_output_mark(struct bench_run *run, uint32_t index);
/* Room for `bytes` at the end of the connection's output; the connection is marked. NULL: memory is
 * out, the connection was dropped. */
unsigned char *bench_output_room(struct bench_run *run, uint32_t index, size_t bytes);
void bench_output_flush(struct bench_run *run);
void bench_output_unblock(struct bench_run *run, uint32_t index);
void bench_output_release(struct bench_run *run, struct bench_connection *connection);

/* bench_publish.c: streams. */
bool bench_publish_is_on(const struct bench_run *run);
/* What --rounds lets a stream send. */
uint64_t bench_publish_messages_max(const struct bench_run *run, uint32_t stream);
/* Whether every message of --rounds was sent. */
bool bench_publish_is_over(const struct bench_run *run);
/* Appends what the stream of a connection may send in this turn to its output. True: there is more
 * that it could send at once. */
bool bench_publish_fill(struct bench_run *run, uint32_t index);
/* Lets the messages that have come due be sent. */
void bench_publish_pace(struct bench_run *run);
/* When the next message comes due; UINT64_MAX: none. */
uint64_t bench_publish_next_ns(const struct bench_run *run);
/* `count` messages of a stream from `sequence` on are decided at one of its receivers. */
void bench_publish_settle(struct bench_run *run, uint32_t stream, uint64_t sequence,
                          uint64_t count);
/* PUBACK, PUBREC, PUBCOMP. */
void bench_publish_on_ack(struct bench_run *run, uint32_t index, enum mqtt_type type,
                          uint16_t packet_id);

/* bench_receive.c: receives a bounded amount from the readable connections. */
/* A payload as this run writes them, apart from the stamp. */
bool bench_receive_is_intact(const struct bench_run *run, const struct bench_delivery *delivery);
void bench_receive_mark(struct bench_run *run, uint32_t index);
void bench_receive_all(struct bench_run *run);
void bench_receive_release(struct bench_run *run, struct bench_connection *connection);

/* bench_report.c */
void bench_report_progress(struct bench_run *run);

#endif
