/*
 * What a run is made of: every number is drawn from one seed, or set by a named scenario.
 */
#ifndef PENSTOCK_TESTS_SIM_SCENARIO_H
#define PENSTOCK_TESTS_SIM_SCENARIO_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/embedded/embedded.h"
#include "broker_client/memory.h"
#include "net/net.h"
#include "session/hub.h"
#include "sim/disk_sim.h"
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
    CRASH_MOMENTS,       /* of any broker; on a disk also: */
    CRASH_IN_DISK_CALL = CRASH_MOMENTS,
    CRASH_IN_KEY_COMMIT,
    CRASH_MOMENTS_ON_DISK
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

/* The embedded driver on the simulated disk; unless it is used the broker is in memory. Chances are
 * in 100. */
struct scenario_disk {
    bool is_used;
    struct embedded_store_config store; /* mode and sizes (tail and cache: a shard's) */
    struct sim_disk_faults faults;      /* always: delays, and what is left out */
    bool leaves_out_keys;               /* the syncs of the keys' file are left out */
    uint32_t helper_delay_us_max;       /* of a round of the helper thread */
    uint32_t power_chance;              /* of a crash to be a loss of power */
    uint32_t stop_chance;               /* of a crash to be an end in order */
    uint32_t again_chance;              /* of a start to be cut off */
    uint32_t trouble_gap_ms;            /* between times with a full or failing disk; 0: none */
    uint32_t trouble_ms_max;
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
    uint32_t news_first_chance; /* of a resumed client to publish before it sends again */
    uint32_t stall_chance;      /* of a shard, per round, in 1000 */
    uint32_t stall_ms_max;
    bool subscribes_first; /* everybody subscribes once connected; nobody goes: QoS 0 is counted */
    uint32_t buffer_bytes; /* of a socket */
    struct sim_faults faults;
    uint32_t broker_delay_us_max; /* of what is asked of it; 0: it is as fast as memory */
    bool writes_keys_singly;      /* a slow one: a commit of several keys is not one write */
    uint32_t crash_count;
    enum crash_moment crash_moment;
    bool crash_changes_shards; /* the gateway begins again with a drawn number of shards */
    uint32_t mailbox_entries_max;
    uint32_t mailbox_reserved_max;
    uint32_t mailbox_bytes_max;
    struct hub_limits hub_limits;
    struct net_limits net_limits;
    struct memory_store_config store; /* partitions and ids also of the one on a disk */
    struct scenario_disk disk;
    enum model_mutation mutation;
    uint32_t mutation_at;
};

/* Everything plain: one shard, a few clients, QoS 0 to 2, no faults, wide limits. */
void scenario_init(struct scenario *scenario, uint64_t seed);

/* Everything drawn. */
void scenario_draw(struct scenario *scenario, uint64_t seed);

/* The embedded driver below it, everything of that drawn: from a generator of its own, so that the
 * rest stays what it was. */
void scenario_draw_disk(struct scenario *scenario);

/* A crash may take what was acknowledged: the commit mode permits it. */
bool scenario_is_lossy(const struct scenario *scenario);

/* One line that says what it is. */
void scenario_describe(const struct scenario *scenario, char *out, size_t out_bytes);

#endif
