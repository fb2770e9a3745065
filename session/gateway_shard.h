/*
 * One shard of a gateway, assembled: heap, shard, broker handle, authorizer and hub over a ring
 * that the caller made. The gateway puts threads around it, the simulator runs several on one
 * thread.
 *
 * Owner: whoever assembles the gateway. Thread: created and destroyed by that one's, while no shard
 * runs; between, everything in it belongs to its shard's thread.
 */
#ifndef PENSTOCK_SESSION_GATEWAY_SHARD_H
#define PENSTOCK_SESSION_GATEWAY_SHARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "core/heap.h"
#include "core/shard.h"
#include "session/authorizer.h"
#include "session/hub.h"

/* Makes a handle of the gateway's broker, whosever it is; `context` outlives the handles. */
struct broker_maker {
    void *context;
    int (*create)(void *context, const struct broker_options *options, struct broker **out_broker);
};

/* What all shards of a gateway have in common; outlives them. */
struct gateway_common {
    struct heap_budget *budget;
    struct log *log;
    struct broker_maker brokers;
    struct helper *helper; /* NULL: passwords are not checked */
    struct sys_publisher *sys;
    const struct hub_limits *hub_limits;
    const struct net_limits *net_limits;
    struct net_shared *net_shared;
    struct hub_shared *hub_shared; /* hub_shared->hubs is filled in by gateway_shard_create */
    struct ring **rings;           /* by shard; all made before the first turn */
    struct shard **peers;          /* by shard; filled in by gateway_shard_create */
    uint32_t sockets_max;          /* of one shard */
    uint32_t mailbox_entries_max;
    uint32_t mailbox_reserved_max;
    size_t mailbox_bytes_max;
};

struct gateway_shard {
    const struct gateway_common *common; /* NULL: not created */
    struct heap heap;
    struct shard *shard;
    struct broker *broker;
    struct authorizer authorizer;
    struct hub *hub;
    struct broker_events events;
    _Atomic bool is_failing; /* the broker cannot commit; any thread may read */
    uint64_t failing_since_ns;
};

/* Assembles shard `index` in zeroed memory over common->rings[index]. 0 or -errno; after a failure
 * too it goes through the three steps below. */
int gateway_shard_create(struct gateway_shard *own, const struct gateway_common *common,
                         uint32_t index, uint64_t random_seed);

/* The end, in three steps, each for every shard before the next: a broker's threads read what it
 * was asked until its handle has gone, and only then may the hub free it; mail may hold the last
 * reference of another shard's record, and memory comes back to other heaps than it came from. */
void gateway_shard_end_broker(struct gateway_shard *own);
void gateway_shard_end_hub(struct gateway_shard *own);
void gateway_shard_destroy(struct gateway_shard *own);

#endif
