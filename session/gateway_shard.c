/*
 * The assembly of one shard; see gateway_shard.h.
 */
#include "session/gateway_shard.h"

#include <inttypes.h>

#include "core/base.h"
#include "core/helper_thread.h"
#include "core/log.h"

static void wake_shard(void *context)
{
    shard_wake(context);
}

static int create_shard(struct gateway_shard *own, uint32_t index)
{
    const struct gateway_common *common = own->common;
    const struct shard_options options = {
        .index = index,
        .count = common->hub_shared->hub_count,
        .ring = common->rings[index],
        .heap = &own->heap,
        .mailbox_entries_max = common->mailbox_entries_max,
        .mailbox_reserved_max = common->mailbox_reserved_max,
        .mailbox_bytes_max = common->mailbox_bytes_max,
    };
    int status = shard_create(&options, &own->shard);
    if (status < 0)
        return status;
    common->peers[index] = own->shard;
    shard_connect(own->shard, common->peers);
    return 0;
}

/* What the disk said is the driver's to tell; what it means for clients is told here. */
static void on_health(void *context, bool is_healthy)
{
    struct gateway_shard *own = context;
    bool was_failing = atomic_load_explicit(&own->is_failing, memory_order_relaxed);
    if (was_failing == !is_healthy)
        return;
    atomic_store_explicit(&own->is_failing, !is_healthy, memory_order_release);
    if (!is_healthy)
        own->failing_since_ns = own->shard->now_ns;
    if (own->common->log == NULL)
        return;
    if (!is_healthy) {
        log_write(own->common->log, LOG_ERROR, "broker_failing",
                  "shard=%u remark=\"what is published waits and is not acknowledged\"",
                  own->shard->index);
        return;
    }
    log_write(own->common->log, LOG_INFO, "broker_healthy", "shard=%u after_ms=%" PRIu64,
              own->shard->index, (own->shard->now_ns - own->failing_since_ns) / 1000000);
}

static void ignore_control(void *context, const char *gateway, struct broker_bytes message)
{
    (void)context;
    (void)gateway;
    (void)message;
}

static void ignore_lease(void *context)
{
    (void)context;
}

static int create_broker(struct gateway_shard *own, uint32_t index)
{
    own->events = (struct broker_events){
        .context = own,
        .on_control = ignore_control,
        .on_lease_lost = ignore_lease,
        .on_health = on_health,
    };
    const struct broker_options options = {
        .heap = &own->heap,
        .shard_index = index,
        .shard_count = own->common->hub_shared->hub_count,
        .events = &own->events,
        .ring = own->common->rings[index],
        .wake = wake_shard,
        .wake_context = own->shard,
    };
    const struct broker_maker *brokers = &own->common->brokers;
    return brokers->create(brokers->context, &options, &own->broker);
}

static int create_hub(struct gateway_shard *own, uint32_t index, uint64_t random_seed)
{
    const struct gateway_common *common = own->common;
    const struct hub_options options = {
        .shard = own->shard,
        .heap = &own->heap,
        .broker = own->broker,
        .log = common->log,
        .authorizer = &own->authorizer,
        .limits = common->hub_limits,
        .net_limits = common->net_limits,
        .net_shared = common->net_shared,
        .shared = common->hub_shared,
        .rings = common->rings,
        .sockets_max = common->sockets_max,
        .sys = common->sys,
        .random_seed = random_seed,
    };
    int status = hub_create(&options, &own->hub);
    if (status == 0)
        common->hub_shared->hubs[index] = own->hub;
    return status;
}

int gateway_shard_create(struct gateway_shard *own, const struct gateway_common *common,
                         uint32_t index, uint64_t random_seed)
{
    own->common = common;
    heap_init(&own->heap, common->budget);
    int status = create_shard(own, index);
    if (status == 0)
        status = create_broker(own, index);
    own->authorizer.helper = common->helper;
    if (status == 0 && common->helper != NULL)
        status = helper_port_create(&own->heap, common->helper, wake_shard, own->shard,
                                    &own->authorizer.port);
    if (status == 0)
        status = create_hub(own, index, random_seed);
    return status;
}

void gateway_shard_end_broker(struct gateway_shard *own)
{
    if (own->broker != NULL)
        broker_destroy(own->broker);
    own->broker = NULL;
    if (own->hub != NULL)
        own->hub->broker = NULL;
}

void gateway_shard_end_hub(struct gateway_shard *own)
{
    if (own->hub != NULL)
        authorizer_stop(own->hub);
    hub_destroy(own->hub);
    own->hub = NULL;
    helper_port_destroy(&own->heap, own->authorizer.port);
    own->authorizer.port = NULL;
}

void gateway_shard_destroy(struct gateway_shard *own)
{
    if (own->common == NULL)
        return;
    shard_destroy(own->shard);
    own->shard = NULL;
    heap_deinit(&own->heap);
    own->common = NULL;
}
