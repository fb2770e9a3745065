/*
 * Scenarios; see scenario.h.
 */
#include "sim/scenario.h"

#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "core/random.h"

static const uint32_t plain_weights[ACTIONS] = {
    [ACTION_PUBLISH] = 60, [ACTION_SUBSCRIBE] = 8,  [ACTION_UNSUBSCRIBE] = 3,
    [ACTION_PING] = 2,     [ACTION_DISCONNECT] = 2,
};

static void init_limits(struct scenario *scenario)
{
    scenario->hub_limits = (struct hub_limits){
        .sessions_max = 100000,
        .subscriptions_max = 1000,
        .window_max = 256,
        .inbound_max = 1024,
        .unreleased_max = 65535,
        .client_id_bytes_max = 256,
        .topic_bytes_max = 4096,
        .topic_levels_max = 200,
        .pending_bytes_max = 1 << 20,
        .topics_max = 4096,
        .filters_max = 100000,
        .recent_entries_max = 4096,
        .recent_bytes_max = 4 << 20,
        .reads_max = 64,
        .session_expiry_ms = 86400000,
    };
    scenario->net_limits = (struct net_limits){
        .connections_max = 100000,
        .packet_bytes_max = 1 << 20,
        .connect_timeout_ms = 10000,
        .pending_bytes_max = 1 << 20,
        .input_bytes_per_turn_max = 256 * 1024,
        .linger_ms = 1000,
        .topic_bytes_max = 4096,
        .topic_levels_max = 200,
        .backlog = 1024,
    };
    scenario->store = (struct memory_store_config){
        .memory_bytes = 256 << 20,
        .partition_count = 8,
        .partition_levels = 2,
    };
    scenario->mailbox_entries_max = 8192;
    scenario->mailbox_reserved_max = 4096;
    scenario->mailbox_bytes_max = 8 << 20;
}

void scenario_init(struct scenario *scenario, uint64_t seed)
{
    *scenario = (struct scenario){
        .name = "plain",
        .seed = seed,
        .shard_count = 1,
        .client_count = 8,
        .topic_count = 12,
        .filter_count = 12,
        .duration_ms = 1000,
        .action_gap_us = 5000,
        .burst_max = 4,
        .in_flight_max = 20,
        .payload_bytes_max = 100,
        .qos_weights = {1, 1, 1},
        .grant_weights = {1, 1, 1},
        .subscribe_filters_max = 3,
        .durable_chance = 50,
    };
    memcpy(scenario->weights, plain_weights, sizeof(plain_weights));
    init_limits(scenario);
}

/* One of a few values. */
static uint32_t one_of(struct random *random, const uint32_t *values, uint32_t count)
{
    return values[random_below(random, count)];
}

#define ONE_OF(random, ...)                                                                        \
    one_of(random, (const uint32_t[]){__VA_ARGS__},                                                \
           ps_array_count(((const uint32_t[]){__VA_ARGS__})))

static void draw_faults(struct scenario *scenario, struct random *random)
{
    struct sim_faults *faults = &scenario->faults;
    faults->delay_max_ns = ONE_OF(random, 0, 0, 100000, 2000000, 20000000);
    if (random_chance(random, 1, 3))
        return;
    uint32_t level = ONE_OF(random, 500, 3000, 15000);
    faults->receive_short = (uint32_t)random_below(random, level);
    faults->receive_again = (uint32_t)random_below(random, level);
    faults->send_short = (uint32_t)random_below(random, level);
    faults->send_again = (uint32_t)random_below(random, level);
    faults->spurious_readable = (uint32_t)random_below(random, level);
    faults->event_late = (uint32_t)random_below(random, level);
    faults->accept_failed = (uint32_t)random_below(random, level / 2);
    faults->move_failed = (uint32_t)random_below(random, level / 4);
    if (random_chance(random, 1, 2))
        faults->reset = (uint32_t)random_below(random, 200);
}

static void draw_actions(struct scenario *scenario, struct random *random)
{
    uint32_t *weights = scenario->weights;
    weights[ACTION_PUBLISH] = ONE_OF(random, 30, 60, 100);
    weights[ACTION_SUBSCRIBE] = ONE_OF(random, 2, 8, 20);
    weights[ACTION_UNSUBSCRIBE] = ONE_OF(random, 0, 3, 10);
    weights[ACTION_DISCONNECT] = ONE_OF(random, 0, 1, 5);
    weights[ACTION_CLOSE] = ONE_OF(random, 0, 1, 5);
    weights[ACTION_RESET] = ONE_OF(random, 0, 1, 5);
    weights[ACTION_TAKE_OVER] = ONE_OF(random, 0, 1, 5);
    weights[ACTION_STOP_READING] = ONE_OF(random, 0, 1, 5);
    weights[ACTION_STOP_ACKING] = ONE_OF(random, 0, 1, 5);
    weights[ACTION_TRICKLE] = ONE_OF(random, 0, 1, 3);
    weights[ACTION_FALL_SILENT] = ONE_OF(random, 0, 1);
    for (uint32_t i = 0; i < 3; i++) {
        scenario->qos_weights[i] = ONE_OF(random, 0, 1, 3);
        scenario->grant_weights[i] = ONE_OF(random, 0, 1, 3);
    }
    scenario->retain_chance = ONE_OF(random, 0, 5, 30);
    scenario->empty_chance = ONE_OF(random, 0, 10, 50);
    scenario->durable_chance = ONE_OF(random, 0, 50, 90, 100);
    scenario->will_chance = ONE_OF(random, 0, 20, 60);
    scenario->keepalive_chance = ONE_OF(random, 0, 0, 50);
    scenario->anonymous_chance = ONE_OF(random, 0, 10);
    scenario->level_3_chance = ONE_OF(random, 0, 10);
}

static void draw_limits(struct scenario *scenario, struct random *random)
{
    struct hub_limits *hub = &scenario->hub_limits;
    hub->window_max = ONE_OF(random, 1, 2, 7, 20, 256);
    hub->inbound_max = ONE_OF(random, 1, 5, 20, 1024);
    hub->topics_max = ONE_OF(random, 16, 16, 64, 4096);
    hub->recent_entries_max = ONE_OF(random, 16, 64, 1024);
    hub->recent_bytes_max = ONE_OF(random, 4096, 65536, 4 << 20);
    hub->reads_max = ONE_OF(random, 1, 2, 8, 64);
    hub->pending_bytes_max = ONE_OF(random, 4096, 16384, 1 << 20);
    scenario->net_limits.pending_bytes_max = hub->pending_bytes_max;
    scenario->net_limits.input_bytes_per_turn_max = ONE_OF(random, 16384, 65536, 262144);
    struct memory_store_config *store = &scenario->store;
    store->partition_count = (uint16_t)ONE_OF(random, 1, 2, 5, 16);
    store->partition_levels = (uint16_t)ONE_OF(random, 0, 1, 2, 3);
    if (random_chance(random, 1, 5))
        store->memory_bytes = (uint64_t)random_between(random, 1, 3) << 20;
    scenario->mailbox_reserved_max = store->partition_count + ONE_OF(random, 2, 10, 60, 1000);
    scenario->mailbox_entries_max =
        scenario->mailbox_reserved_max + ONE_OF(random, 4, 20, 100, 4000);
    scenario->mailbox_bytes_max = ONE_OF(random, 2000, 20000, 8 << 20);
    scenario->buffer_bytes = ONE_OF(random, 1024, 4096, 65536);
}

/* What was added later, so that known seeds stay what they were as far as can be. */
static void draw_later(struct scenario *scenario, struct random *random)
{
    scenario->hub_limits.fan_out_max = ONE_OF(random, 0, 0, 1, 3, 20);
    if (random_chance(random, 1, 25))
        scenario->client_count = 250;
}

void scenario_draw(struct scenario *scenario, uint64_t seed)
{
    struct random random;
    random_init(&random, seed);
    scenario_init(scenario, seed);
    scenario->name = "drawn";
    scenario->shard_count = (uint32_t)random_between(&random, 1, 4);
    scenario->client_count = ONE_OF(&random, 3, 6, 12, 30, 80);
    scenario->topic_count = ONE_OF(&random, 2, 5, 15, 40, 80);
    scenario->filter_count = ONE_OF(&random, 2, 6, 20, 50);
    scenario->burst_max = ONE_OF(&random, 1, 4, 15);
    scenario->in_flight_max = ONE_OF(&random, 1, 10, 40, 200);
    scenario->payload_bytes_max = ONE_OF(&random, 20, 200, 3000, 6000);
    scenario->subscribe_filters_max = ONE_OF(&random, 1, 3, 12);
    draw_actions(scenario, &random);
    draw_limits(scenario, &random);
    draw_faults(scenario, &random);
    if (random_chance(&random, 1, 2)) {
        scenario->stall_chance = ONE_OF(&random, 2, 20, 100);
        scenario->stall_ms_max = ONE_OF(&random, 2, 20, 200);
    }
    scenario->action_gap_us = ONE_OF(&random, 1000, 5000, 20000);
    draw_later(scenario, &random);
    /* The busier, the shorter: a run has some thousands of publishes. */
    uint32_t actions = 6000 / scenario->burst_max + 600;
    scenario->duration_ms =
        (uint32_t)((uint64_t)actions * scenario->action_gap_us / scenario->client_count / 1000);
    if (scenario->duration_ms < 50)
        scenario->duration_ms = 50;
}

static uint64_t kib(uint32_t count)
{
    return (uint64_t)count << 10;
}

static void draw_store(struct embedded_store_config *store, struct random *random)
{
    static const enum embedded_commit commits[] = {EMBEDDED_COMMIT_SYNCED, EMBEDDED_COMMIT_SYNCED,
                                                   EMBEDDED_COMMIT_SYNCED, EMBEDDED_COMMIT_WRITTEN,
                                                   EMBEDDED_COMMIT_MEMORY};
    store->commit = commits[random_below(random, ps_array_count(commits))];
    store->segment_bytes = kib(ONE_OF(random, 64, 64, 96, 256));
    store->tail_bytes = kib(ONE_OF(random, 64, 192, 768));
    store->cache_bytes = kib(ONE_OF(random, 128, 1024));
    store->key_map_bytes = 16 << 20;
    store->record_bytes_max = 1 << 20;
    store->reads_max = ONE_OF(random, 1, 4, 64);
    if (random_chance(random, 1, 6)) {
        store->retention_bytes = kib(ONE_OF(random, 256, 1024));
        store->hold_bytes = kib(ONE_OF(random, 64, 1024));
    }
}

void scenario_draw_disk(struct scenario *scenario)
{
    struct scenario_disk *disk = &scenario->disk;
    struct random random;
    random_init(&random, scenario->seed ^ 0x6469736b);
    disk->is_used = true;
    draw_store(&disk->store, &random);
    if (scenario->store.deduplication_max == 0)
        scenario->store.deduplication_max = 4096;
    uint32_t us_max = ONE_OF(&random, 0, 100, 1000, 10000);
    disk->faults.read_delay_max_ns = us_max * 1000ULL;
    disk->faults.write_delay_max_ns = us_max * 1000ULL;
    disk->faults.sync_delay_max_ns = us_max * 3000ULL;
    disk->helper_delay_us_max = ONE_OF(&random, 0, 300, 3000, 20000);
    disk->power_chance = ONE_OF(&random, 0, 50, 100);
    disk->stop_chance = ONE_OF(&random, 0, 0, 30);
    disk->again_chance = ONE_OF(&random, 0, 30, 70);
    if (random_chance(&random, 1, 3)) {
        disk->trouble_gap_ms = ONE_OF(&random, 50, 300);
        disk->trouble_ms_max = ONE_OF(&random, 5, 50, 300);
    }
    scenario->broker_delay_us_max = 0; /* the disk has its own */
    if (random_chance(&random, 1, 2))
        scenario->crash_moment = (enum crash_moment)random_below(&random, CRASH_MOMENTS_ON_DISK);
}

bool scenario_is_lossy(const struct scenario *scenario)
{
    const struct scenario_disk *disk = &scenario->disk;
    if (!disk->is_used || scenario->crash_count == 0)
        return false;
    switch (disk->store.commit) {
    case EMBEDDED_COMMIT_SYNCED:
        return false;
    case EMBEDDED_COMMIT_WRITTEN:
        return disk->power_chance != 0;
    case EMBEDDED_COMMIT_MEMORY:
        break;
    }
    return true;
}

static const char *commit_name(enum embedded_commit commit)
{
    switch (commit) {
    case EMBEDDED_COMMIT_SYNCED:
        return "synced";
    case EMBEDDED_COMMIT_WRITTEN:
        return "written";
    case EMBEDDED_COMMIT_MEMORY:
        break;
    }
    return "memory";
}

static void describe_disk(const struct scenario_disk *disk, char *out, size_t out_bytes)
{
    snprintf(
        out, out_bytes,
        "; disk: %s, segments %llu KiB, tail %llu KiB a shard, cache %llu KiB, retention %llu KiB, "
        "sync %llu us, helper %u us, power %u, stop %u, again %u, trouble %u/%u",
        commit_name(disk->store.commit), (unsigned long long)(disk->store.segment_bytes >> 10),
        (unsigned long long)(disk->store.tail_bytes >> 10),
        (unsigned long long)(disk->store.cache_bytes >> 10),
        (unsigned long long)(disk->store.retention_bytes >> 10),
        (unsigned long long)(disk->faults.sync_delay_max_ns / 1000), disk->helper_delay_us_max,
        disk->power_chance, disk->stop_chance, disk->again_chance, disk->trouble_gap_ms,
        disk->trouble_ms_max);
}

void scenario_describe(const struct scenario *scenario, char *out, size_t out_bytes)
{
    snprintf(
        out, out_bytes,
        "%s seed %llu: %u shards, %u clients, %u topics, %u filters, %u ms, payload %u, window "
        "%u, mailbox %u-%u/%u, store %llu KiB, %u partitions, delay %llu us, reset %u, stall %u",
        scenario->name, (unsigned long long)scenario->seed, scenario->shard_count,
        scenario->client_count, scenario->topic_count, scenario->filter_count,
        scenario->duration_ms, scenario->payload_bytes_max, scenario->hub_limits.window_max,
        scenario->mailbox_entries_max, scenario->mailbox_reserved_max, scenario->mailbox_bytes_max,
        (unsigned long long)(scenario->store.memory_bytes >> 10), scenario->store.partition_count,
        (unsigned long long)(scenario->faults.delay_max_ns / 1000), scenario->faults.reset,
        scenario->stall_chance);
    size_t used = strlen(out);
    if (scenario->disk.is_used)
        describe_disk(&scenario->disk, out + used, out_bytes - used);
}
