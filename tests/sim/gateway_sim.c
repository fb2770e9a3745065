/*
 * A gateway on one thread; see gateway_sim.h.
 */
#include "sim/gateway_sim.h"

#include <netinet/in.h>

#include <inttypes.h>
#include <stdio.h>

#include "core/base.h"
#include "core/ring.h"
#include "net/address.h"
#include "session/catch_up.h"
#include "session/filter.h"
#include "session/owner.h"
#include "session/session.h"
#include "session/window.h"

enum { SOCKETS_MAX = 2048 };

static void make_ring(struct gateway_sim *gateway, uint32_t index)
{
    const struct ring_options options = {.sockets_max = SOCKETS_MAX};
    char error[256];
    int status = ring_create(&options, &gateway->rings[index], error, sizeof(error));
    ps_assert(status == 0);
    status = ring_start(gateway->rings[index]);
    ps_assert(status == 0);
}

static void describe_common(struct gateway_sim *gateway, const struct scenario *scenario)
{
    gateway->hub_limits = scenario->hub_limits;
    gateway->net_limits = scenario->net_limits;
    gateway->hub_shared = (struct hub_shared){
        .seed = scenario->seed,
        .hubs = gateway->hubs,
        .hub_count = gateway->shard_count,
        .run = gateway->runs,
        .start_ms = 1,
    };
    gateway->common = (struct gateway_common){
        .budget = &gateway->budget,
        .brokers = {&gateway->store, store_sim_create_broker},
        .hub_limits = &gateway->hub_limits,
        .net_limits = &gateway->net_limits,
        .net_shared = &gateway->net_shared,
        .hub_shared = &gateway->hub_shared,
        .rings = gateway->rings,
        .peers = gateway->peers,
        .sockets_max = SOCKETS_MAX,
        .mailbox_entries_max = scenario->mailbox_entries_max,
        .mailbox_reserved_max = scenario->mailbox_reserved_max,
        .mailbox_bytes_max = scenario->mailbox_bytes_max,
    };
}

/* Rings, shards and listeners over the store that is there. */
static void begin(struct gateway_sim *gateway, const struct scenario *scenario)
{
    describe_common(gateway, scenario);
    uint64_t seed = scenario->seed * 31 + gateway->runs * 1000003;
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        make_ring(gateway, i);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        int status = gateway_shard_create(&gateway->shards[i], &gateway->common, i, seed + i);
        ps_assert(status == 0);
        gateway->stalled_until_ns[i] = 0;
        slow_brokers_add(&gateway->slow_brokers, i, gateway->shards[i].broker);
    }
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        int status =
            net_listen(gateway->hubs[i]->net, &gateway->address, sizeof(struct sockaddr_in));
        ps_assert(status == 0);
    }
}

void gateway_sim_start(struct gateway_sim *gateway, struct sim_world *world,
                       const struct scenario *scenario)
{
    gateway->world = world;
    gateway->shard_count = scenario->shard_count;
    store_sim_init(&gateway->store, world, scenario, &gateway->budget);
    bool is_open = store_sim_open(&gateway->store, scenario->shard_count);
    ps_assert(is_open);
    gateway->slow_brokers.world = world;
    gateway->slow_brokers.delay_max_ns = scenario->broker_delay_us_max * 1000ULL;
    gateway->slow_brokers.writes_singly = scenario->writes_keys_singly;
    random_init(&gateway->slow_brokers.random, scenario->seed ^ 0xd15c);
    socklen_t bytes = 0;
    int status = address_parse("127.0.0.1:1883", &gateway->address, &bytes);
    ps_assert(status == 0);
    begin(gateway, scenario);
}

static void end(struct gateway_sim *gateway)
{
    slow_brokers_end(&gateway->slow_brokers);
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        gateway_shard_end_broker(&gateway->shards[i]);
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        gateway_shard_end_hub(&gateway->shards[i]);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        gateway_shard_destroy(&gateway->shards[i]);
        ring_destroy(gateway->rings[i]);
    }
}

bool gateway_sim_begin_again(struct gateway_sim *gateway, const struct scenario *scenario,
                             const struct gateway_sim_end *how)
{
    struct hub_counters counters;
    gateway_sim_counters(gateway, &counters);
    gateway->lost_before += counters.dropped[HUB_DROP_RETENTION];
    gateway->retained_failures_before = gateway_sim_retained_failures(gateway);
    gateway->runs++;
    if (!how->is_clean)
        store_sim_die(&gateway->store, how->kind);
    end(gateway);
    gateway->is_stopping = false;
    gateway->shard_count = 0;
    ps_assert(how->shard_count <= GATEWAY_SIM_SHARDS_MAX);
    if (how->is_clean)
        store_sim_close(&gateway->store, true);
    else
        store_sim_restart(&gateway->store);
    bool is_open = how->is_clean ? store_sim_open(&gateway->store, how->shard_count)
                                 : store_sim_open_again(&gateway->store, how->shard_count);
    if (!is_open)
        return false;
    gateway->shard_count = how->shard_count;
    begin(gateway, scenario);
    return true;
}

void gateway_sim_crash(struct gateway_sim *gateway, const struct scenario *scenario,
                       uint32_t shard_count)
{
    const struct gateway_sim_end how = {.shard_count = shard_count};
    bool is_open = gateway_sim_begin_again(gateway, scenario, &how);
    ps_assert(is_open);
}

void gateway_sim_begin_stop(struct gateway_sim *gateway)
{
    gateway->is_stopping = true;
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        net_shutdown(gateway->hubs[i]->net);
    }
}

bool gateway_sim_is_drained(const struct gateway_sim *gateway)
{
    uint64_t moving = 0; /* between two shards no connection is counted */
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        const struct hub *hub = gateway->hubs[i];
        const struct net_counters *counters = net_counters(hub->net);
        moving += counters->moves_out - counters->moves_in - counters->moves_failed;
        if (counters->connections != 0 || hub->sessions.count != 0 || !hub_is_idle(hub) ||
            !store_sim_is_idle(&gateway->store, gateway->shards[i].broker))
            return false;
    }
    return moving == 0;
}

bool gateway_sim_turn_store(struct gateway_sim *gateway)
{
    return store_sim_turn(&gateway->store);
}

static bool has_mail(const struct shard *shard)
{
    for (uint32_t from = 0; from < shard->count; from++) {
        if (!mailbox_is_empty(shard->inboxes[from]))
            return true;
    }
    return false;
}

static bool wants_mail(const struct shard *shard)
{
    for (uint32_t from = 0; from < shard->count; from++) {
        if (!mailbox_is_quiet(shard->inboxes[from]))
            return true;
    }
    return false;
}

bool gateway_sim_turn(struct gateway_sim *gateway, uint32_t index)
{
    struct shard *shard = gateway->peers[index];
    uint64_t now_ns = sim_world_now_ns(gateway->world);
    if (now_ns < gateway->stalled_until_ns[index])
        return false;
    bool is_due = shard->has_more || sim_ring_has_event(shard->ring) || wants_mail(shard) ||
                  shard_deadline(shard) <= now_ns ||
                  slow_brokers_due_ns(&gateway->slow_brokers, index) <= now_ns;
    if (!is_due)
        return false;
    gateway->turns++;
    const struct hub_counters *counters = &gateway->hubs[index]->counters;
    const struct hub_counters before = *counters;
    uint64_t sessions = 0;
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        sessions += gateway->hubs[i]->counters.sessions;
    shard_turn(shard, true);
    store_sim_wake(&gateway->store);
    gateway->lost_to_shards += (counters->dropped[HUB_DROP_RETENTION_CHANNEL] -
                                before.dropped[HUB_DROP_RETENTION_CHANNEL]) *
                               sessions;
    gateway->lost_to_shards +=
        (counters->dropped[HUB_DROP_RETENTION_SHARD] - before.dropped[HUB_DROP_RETENTION_SHARD]) *
        ps_max_u64(counters->sessions, before.sessions);
    return true;
}

uint64_t gateway_sim_deadline_ns(const struct gateway_sim *gateway)
{
    uint64_t deadline_ns = store_sim_due_ns(&gateway->store);
    uint64_t now_ns = sim_world_now_ns(gateway->world);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        uint64_t own_ns = ps_min_u64(shard_deadline(gateway->peers[i]),
                                     slow_brokers_due_ns(&gateway->slow_brokers, i));
        if (gateway->stalled_until_ns[i] > now_ns)
            own_ns = gateway->stalled_until_ns[i];
        deadline_ns = ps_min_u64(deadline_ns, own_ns);
    }
    return deadline_ns;
}

void gateway_sim_counters(const struct gateway_sim *gateway, struct hub_counters *out_counters)
{
    /* The structure is nothing but 64-bit counters. */
    *out_counters = (struct hub_counters){0};
    uint64_t *sums = (uint64_t *)out_counters;
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        const uint64_t *words = (const uint64_t *)&gateway->hubs[i]->counters;
        for (size_t k = 0; k < sizeof(*out_counters) / sizeof(uint64_t); k++)
            sums[k] += words[k];
    }
}

uint64_t gateway_sim_lost(const struct gateway_sim *gateway)
{
    struct hub_counters counters;
    gateway_sim_counters(gateway, &counters);
    return gateway->lost_before + gateway->lost_to_shards + counters.dropped[HUB_DROP_RETENTION];
}

uint64_t gateway_sim_retained_failures(const struct gateway_sim *gateway)
{
    uint64_t failures = gateway->retained_failures_before;
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        failures += gateway->hubs[i]->owner->counters.retained_failures +
                    gateway->hubs[i]->counters.retained_refused;
    return failures;
}

bool gateway_sim_is_idle(const struct gateway_sim *gateway)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        if (!hub_is_idle(gateway->hubs[i]) || has_mail(gateway->peers[i]))
            return false;
    }
    return true;
}

static void print_subscriptions(const struct hub *hub, const struct session *session)
{
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        fprintf(stderr, "    %.*s qos %u flags %u", (int)subscription->filter->bytes,
                subscription->filter->text, subscription->qos, subscription->flags);
        for (uint32_t p = 0; subscription->starts != NULL && p < hub->partition_count; p++)
            fprintf(stderr, " %" PRId64, (int64_t)subscription->starts->from[p]);
        fprintf(stderr, "\n");
    }
}

void gateway_sim_print_session(const struct gateway_sim *gateway, const char *client_id)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        const struct hub *hub = gateway->hubs[i];
        fprintf(stderr,
                "  shard %u: outbox %d stores %u fan-out %d owner idle %d reads %u waiters %u\n", i,
                hub->outbox_first != NULL, hub->store_count, hub->fan_out != NULL,
                owner_is_idle(hub->owner), hub->read_count, hub->read_waiters);
        const struct session *session = session_find(hub, client_id, (uint32_t)strlen(client_id));
        if (session == NULL)
            continue;
        fprintf(stderr,
                "  shard %u: state %u flags %u, resend %d, retained %d, reads %u, waiters %u, late "
                "list %u, late partitions %u\n",
                i, session->state, session->flags, session->resend != NULL,
                session->retained != NULL, hub->read_count, hub->read_waiters, hub->late.first,
                hub->late_partitions);
        print_subscriptions(hub, session);
        for (const struct cursor *at = session->cursors; at != NULL; at = at->next)
            fprintf(stderr,
                    "    cursor: partition %u sequence %" PRIu64 " state %u floor %" PRIu64 "\n",
                    at->partition, at->sequence, at->state, hub->floors[at->partition]);
        for (uint32_t k = 0; session->window != NULL && k < session->window->capacity; k++) {
            const struct window_entry *entry = &session->window->entries[k];
            if (entry->state != WINDOW_FREE)
                fprintf(stderr, "    in flight: id %u state %u qos %u sequence %" PRId64 "\n",
                        entry->packet_id, entry->state, entry->qos, (int64_t)entry->sequence);
        }
    }
}

int64_t gateway_sim_stop(struct gateway_sim *gateway)
{
    end(gateway);
    store_sim_close(&gateway->store, false);
    store_sim_deinit(&gateway->store);
    return heap_budget_bytes_used(&gateway->budget);
}
