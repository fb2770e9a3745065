/*
 * A gateway on one thread: real shards, hubs, connection layers and broker handles over simulated
 * rings in a simulated world.
 *
 * Owner: the run. Order of things: world, gateway, clients; ended the other way round.
 */
#ifndef PENSTOCK_TESTS_SIM_GATEWAY_SIM_H
#define PENSTOCK_TESTS_SIM_GATEWAY_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "session/gateway_shard.h"
#include "sim/scenario.h"
#include "sim/slow_broker.h"
#include "sim/store_sim.h"

enum { GATEWAY_SIM_SHARDS_MAX = 8 };

struct gateway_sim {
    struct sim_world *world;
    struct heap_budget budget;
    struct store_sim store;
    struct slow_brokers slow_brokers;
    struct hub_limits hub_limits;
    struct net_limits net_limits;
    struct net_shared net_shared;
    struct hub_shared hub_shared;
    struct gateway_common common;
    struct sockaddr_storage address;
    uint32_t shard_count;
    struct gateway_shard shards[GATEWAY_SIM_SHARDS_MAX];
    struct hub *hubs[GATEWAY_SIM_SHARDS_MAX];
    struct ring *rings[GATEWAY_SIM_SHARDS_MAX];
    struct shard *peers[GATEWAY_SIM_SHARDS_MAX];
    uint64_t stalled_until_ns[GATEWAY_SIM_SHARDS_MAX]; /* gets no turn before */
    bool is_stopping;
    uint64_t turns;
    uint32_t runs;                     /* how often it was killed */
    uint64_t lost_before;              /* to retention, in the runs before */
    uint64_t lost_to_shards;           /* by late shards to retention: records x sessions there */
    uint64_t retained_failures_before; /* of the runs before */
};

/* How a run of a gateway ends, and the next one begins. */
struct gateway_sim_end {
    uint32_t shard_count; /* of the next */
    bool is_clean;        /* it was stopped, and is drained */
    enum sim_disk_crash_kind kind;
};

/* In zeroed memory. Aborts on failure. */
void gateway_sim_start(struct gateway_sim *gateway, struct sim_world *world,
                       const struct scenario *scenario);

/* A turn of a shard, if it has something to do. True: it had. */
bool gateway_sim_turn(struct gateway_sim *gateway, uint32_t shard);

/* When a shard wants its next turn; UINT64_MAX: never. */
uint64_t gateway_sim_deadline_ns(const struct gateway_sim *gateway);

/* Kills it and begins anew over the same broker, with that many shards: connections are reset, what
 * was in memory is gone, what was on its way to the broker never comes there. */
void gateway_sim_crash(struct gateway_sim *gateway, const struct scenario *scenario,
                       uint32_t shard_count);

/* The same as told. False: the start is refused, gateway->store.error says why; the gateway has no
 * shards then and can only be stopped. */
bool gateway_sim_begin_again(struct gateway_sim *gateway, const struct scenario *scenario,
                             const struct gateway_sim_end *end);

/* As SIGTERM does: connections end, what is under way is brought to its end. */
void gateway_sim_begin_stop(struct gateway_sim *gateway);
bool gateway_sim_is_drained(const struct gateway_sim *gateway);

/* A round of the store's helper thread, if one is due. True: it had something to do. */
bool gateway_sim_turn_store(struct gateway_sim *gateway);

/* Sums over the shards, since it began the last time. */
void gateway_sim_counters(const struct gateway_sim *gateway, struct hub_counters *out_counters);
/* Deliveries that retention may have taken, in all runs. */
uint64_t gateway_sim_lost(const struct gateway_sim *gateway);
/* Retained values that the store did not take, or could not give. */
uint64_t gateway_sim_retained_failures(const struct gateway_sim *gateway);
bool gateway_sim_is_idle(const struct gateway_sim *gateway);

/* Prints what the gateway keeps of a client's session. */
void gateway_sim_print_session(const struct gateway_sim *gateway, const char *client_id);

/* Closes everything. Result: bytes that are still allocated. */
int64_t gateway_sim_stop(struct gateway_sim *gateway);

#endif
