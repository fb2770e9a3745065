/*
 * The metrics of a shard: which counters of which layer are told, under which names. The hot path
 * counts in plain structures; once in a while the shard copies them into these snapshots, which any
 * thread may read.
 *
 * Owner and thread: published by the shard, read by the registry.
 */
#ifndef PENSTOCK_SESSION_GATEWAY_METRICS_H
#define PENSTOCK_SESSION_GATEWAY_METRICS_H

#include <stdint.h>

#include "broker_client/broker.h"
#include "core/metrics.h"
#include "core/ring.h"
#include "core/shard.h"
#include "net/net.h"
#include "session/hub.h"
#include "session/owner.h"

struct heap_budget;
struct helper;
struct log;

struct gateway_metrics_values {
    uint32_t published_tick;
    struct hub_counters hub;
    struct net_counters net;
    struct shard_counters shard;
    struct ring_counters ring;
    struct broker_counters broker;
    uint64_t broker_healthy; /* 1, or 0 while the broker cannot commit */
    uint64_t broker_failing; /* the other way round */
    struct topic_index_counters index;
    struct owner_counters owner;
};

/* Copies the counters, at most once a tick. */
void gateway_metrics_publish(struct gateway_metrics_values *values, const struct hub *hub,
                             const struct broker *broker, const struct shard *shard,
                             const struct ring *ring);

/* 0 or -errno. */
int gateway_metrics_register(struct metrics *metrics, const struct gateway_metrics_values *values,
                             uint32_t shard);

/* What the whole gateway has once. 0 or -errno. */
int gateway_metrics_register_common(struct metrics *metrics, const struct heap_budget *budget,
                                    const struct net_shared *shared, const struct helper *helper,
                                    const struct log *log);

/* "0.1.0" and the short commit that was built, as --version prints them. */
const char *gateway_version(void);

#endif
