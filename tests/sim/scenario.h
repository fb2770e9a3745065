/*
 * What a run is made of: every number is drawn from one seed, or set by a named scenario.
 */
#ifndef PENSTOCK_TESTS_SIM_SCENARIO_H
#define PENSTOCK_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/memory.h"
#include "net/net.h"
#include "session/hub.h"
#include "sim/model.h"
#include "sim/network.h"

/* When the gateway is killed, from a drawn time on. */
enum crash_moment {
    CRASH_ANY_TIME,
    CRASH_AFTER_CHECKPOINT, /* a shard has just asked for a line to be written */
    CRASH_IN_WRITES,        /* something is on its way to the store */
    CRASH_IN_APPENDS,    /* something is on its way to the log, or a retained value to the store */
    CRASH_AFTER_WILL,    /* a will has just been sent off */
    CRASH_AFTER_CONNECT, /* a CONNACK has */
    CRASH_MOMENTS
};

/* What a connected client may do next. */
enum client_action {
    ACTION_PUBLISH,
    ACTION_SUBSCRIBE,
    ACTION_UNSUBSCRIBE,
    ACTION_PING,
    ACTION_DISCONNECT, /* with the packet */
    ACTION_CLOSE,      /* without */
    ACTION_RESET,
    ACTION_TAKE_OVER,    /* a second connection with the same id */
    ACTION_STOP_READING, /* for a time */
    ACTION_STOP_ACKING,  /* for a time, or until it connects again */
    ACTION_TRICKLE,      /* writes a few bytes at a time, for a time */
    ACTION_FALL_SILENT,  /* until the keepalive ends the connection */
    ACTIONS
};

struct scenario {
    const char *name;
    uint64_t seed;
    uint32_t shard_count;
    uint32_t client_count;
    uint32_t topic_count;
    uint32_t filter_count;
    uint32_t duration_ms;   /* of the busy part */
    uint32_t action_gap_us; /* on average, of one client */
    uint32_t weights[ACTIONS];
    uint32_t burst_max;     /* publishes of one ACTION_PUBLISH */
    uint32_t in_flight_max; /* unacknowledged publishes of one client */
    uint32_t payload_bytes_max;
    uint32_t qos_weights[3];        /* of publishes */
    uint32_t grant_weights[3];      /* of subscriptions */
    uint32_t subscribe_filters_max; /* in one packet */
    /* In 100. */
    uint32_t retain_chance;
    uint32_t empty_chance; /* of retained ones */
    uint32_t durable_chance;
    uint32_t will_chance;
    uint32_t keepalive_chance;
    uint32_t anonymous_chance;
    uint32_t level_3_chance;
    uint32_t stall_chance; /* of a shard, per round, in 1000 */
    uint32_t stall_ms_max;
    bool subscribes_first; /* everybody subscribes once connected; nobody goes: QoS 0 is counted */
    uint32_t buffer_bytes; /* of a socket */
    struct sim_faults faults;
    uint32_t broker_delay_us_max; /* of what is asked of it; 0: it is as fast as memory */
    uint32_t crash_count;
    enum crash_moment crash_moment;
    bool crash_changes_shards; /* the gateway begins again with a drawn number of shards */
    uint32_t mailbox_entries_max;
    uint32_t mailbox_reserved_max;
    uint32_t mailbox_bytes_max;
    struct hub_limits hub_limits;
    struct net_limits net_limits;
    struct memory_store_config store;
    enum model_mutation mutation;
    uint32_t mutation_at;
};

/* Everything plain: one shard, a few clients, QoS 0 to 2, no faults, wide limits. */
void scenario_init(struct scenario *scenario, uint64_t seed);

/* Everything drawn. */
void scenario_draw(struct scenario *scenario, uint64_t seed);

/* One line that says what it is. */
void scenario_describe(const struct scenario *scenario, char *out, size_t out_bytes);

#endif
