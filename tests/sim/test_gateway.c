/*
 * The simulated gateway: fixed scenarios, seeds that once failed, fresh seeds. See README.md.
 *
 * PENSTOCK_SIM_SEED=n runs that seed alone (PENSTOCK_SIM_COUNT=m: and the m - 1 after it).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "core/base.h"
#include "sim/known_seeds.h"
#include "sim/run.h"

enum { FRESH_CPU_MS = 30000, FRESH_CPU_MS_LONG = 1200000 };

/* One line before, so that it is known what an abort belongs to, and one after. */
static bool run(const struct scenario *scenario, struct run_result *result)
{
    char line[512];
    scenario_describe(scenario, line, sizeof(line));
    printf("%s\n", line);
    fflush(stdout);
    *result = (struct run_result){0};
    bool is_good = run_scenario(scenario, false, result);
    const struct hub_counters *counters = &result->counters;
    printf("    %llu publishes, %llu receipts, %llu connects, %llu ms, %llu turns, %llu late, %llu "
           "shards late, %llu lost to retention\n",
           (unsigned long long)result->publishes, (unsigned long long)result->receipts,
           (unsigned long long)result->connects, (unsigned long long)result->simulated_ms,
           (unsigned long long)result->turns, (unsigned long long)counters->turned_late,
           (unsigned long long)counters->shard_lates,
           (unsigned long long)counters->dropped[HUB_DROP_RETENTION]);
    return is_good;
}

static bool run_seed(uint64_t seed)
{
    struct scenario scenario;
    struct run_result result;
    scenario_draw(&scenario, seed);
    return run(&scenario, &result);
}

static void plain_clients_are_served(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 1);
    assert_true(run(&scenario, &result));
    assert_true(result.receipts > 1000);
}

/* A fan-out of one subscriber a turn: every hand-over is a job that others come in between of. */
static void the_smallest_fan_out_delivers_once_and_in_order(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 8);
    scenario.name = "small fan-out";
    scenario.shard_count = 2;
    scenario.client_count = 30;
    scenario.hub_limits.fan_out_max = 1;
    scenario.weights[ACTION_CLOSE] = 2;
    scenario.weights[ACTION_TAKE_OVER] = 2;
    assert_true(run(&scenario, &result));
    assert_true(result.receipts > 1000);
}

static void a_seed_is_the_same_run_every_time(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result first;
    struct run_result second;
    scenario_draw(&scenario, 22);
    assert_true(run(&scenario, &first));
    assert_true(run(&scenario, &second));
    assert_memory_equal(&first, &second, sizeof(first));
}

static void seeds_that_once_failed_pass(void **state)
{
    (void)state;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < ps_array_count(known_seeds); i++) {
        printf("%s\n", known_seeds[i].name);
        failed += !run_seed(known_seeds[i].seed);
    }
    assert_int_equal(failed, 0);
}

/* Four shards, mailboxes for a handful of records, shards that get no turn for a while. */
static void a_full_mailbox_makes_the_shard_late_and_loses_nothing(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 3);
    scenario.name = "full mailbox";
    scenario.shard_count = 4;
    scenario.client_count = 24;
    scenario.burst_max = 12;
    scenario.mailbox_reserved_max = 40;
    scenario.mailbox_entries_max = 64;
    scenario.stall_chance = 100;
    scenario.stall_ms_max = 100;
    assert_true(run(&scenario, &result));
    assert_true(result.counters.shard_lates > 10);
}

/* Readers that stop, little room for what is unsent: QoS 0 is dropped, and counted. */
static void qos_0_is_received_or_counted(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 4);
    scenario.name = "QoS 0";
    scenario.shard_count = 3;
    scenario.client_count = 20;
    scenario.subscribes_first = true;
    scenario.duration_ms = 2000;
    scenario.payload_bytes_max = 1000;
    scenario.buffer_bytes = 4096;
    scenario.hub_limits.pending_bytes_max = 8192;
    scenario.net_limits.pending_bytes_max = 8192;
    memset(scenario.weights, 0, sizeof(scenario.weights));
    scenario.weights[ACTION_PUBLISH] = 20;
    scenario.weights[ACTION_STOP_READING] = 1;
    assert_true(run(&scenario, &result));
    assert_true(result.counters.dropped[HUB_DROP_PENDING] > 100);
    assert_true(result.counters.queued[0] > 1000);
}

/* A store that holds a fraction of what is published while sessions are away. */
static void what_retention_takes_is_counted(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 5);
    scenario.name = "retention";
    scenario.shard_count = 2;
    scenario.payload_bytes_max = 6000;
    scenario.duration_ms = 2000;
    scenario.durable_chance = 100;
    scenario.weights[ACTION_CLOSE] = 6;
    scenario.weights[ACTION_STOP_ACKING] = 4;
    scenario.hub_limits.window_max = 4;
    scenario.hub_limits.recent_entries_max = 16;
    scenario.store.memory_bytes = 1 << 20;
    assert_true(run(&scenario, &result));
    assert_true(result.counters.dropped[HUB_DROP_RETENTION] > 0);
}

/* Shards that get no turn for long while the others publish more than the store holds: what they
 * come too late for was never handed over, so that the sessions' own losses say nothing of it. */
static void what_retention_takes_from_a_late_shard_is_counted(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 10);
    scenario.name = "retention, late shards";
    scenario.shard_count = 4;
    scenario.client_count = 24;
    scenario.subscribes_first = true;
    scenario.subscribe_filters_max = 12;
    scenario.duration_ms = 1500;
    scenario.action_gap_us = 2000;
    scenario.burst_max = 12;
    scenario.in_flight_max = 200;
    scenario.payload_bytes_max = 6000;
    scenario.durable_chance = 0;
    scenario.qos_weights[0] = 0;
    scenario.grant_weights[0] = 0;
    memset(scenario.weights, 0, sizeof(scenario.weights));
    scenario.weights[ACTION_PUBLISH] = 1;
    scenario.hub_limits.window_max = 4000;
    scenario.mailbox_reserved_max = 40;
    scenario.mailbox_entries_max = 64;
    scenario.mailbox_bytes_max = 100000;
    scenario.stall_chance = 2;
    scenario.stall_ms_max = 1000;
    scenario.store.memory_bytes = 1 << 20;
    assert_true(run(&scenario, &result));
    assert_true(result.counters.dropped[HUB_DROP_RETENTION_SHARD] > 0);
}

/* Windows of one message: nearly every delivery is replayed, near or far. */
static void the_smallest_window_delivers_everything(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result;
    scenario_init(&scenario, 6);
    scenario.name = "small window";
    scenario.shard_count = 3;
    scenario.client_count = 12;
    scenario.hub_limits.window_max = 1;
    scenario.hub_limits.recent_entries_max = 64;
    scenario.hub_limits.topics_max = 16;
    scenario.topic_count = 40;
    scenario.faults.delay_max_ns = 1000000;
    assert_true(run(&scenario, &result));
    assert_true(result.counters.replayed > 1000);
}

static uint64_t cpu_ms(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* As many as the time allows. The base is the commit's, so that a failure is the commit's and not
 * the day's; a long run, and one that does not know its commit, takes a new one each time. */
static void fresh_seeds_pass(void **state)
{
    (void)state;
    const char *long_text = getenv("PENSTOCK_TEST_LONG");
    const char *base_text = getenv("PENSTOCK_SIM_BASE");
    bool is_long = long_text != NULL && strcmp(long_text, "1") == 0;
    uint64_t budget_ms = is_long ? FRESH_CPU_MS_LONG : FRESH_CPU_MS;
    uint32_t base = 0;
    ssize_t got = getrandom(&base, sizeof(base), 0);
    assert_int_equal(got, sizeof(base));
    if (base_text != NULL && !is_long)
        base = (uint32_t)strtoull(base_text, NULL, 0);
    printf("fresh seeds from %u on\n", base);
    uint64_t began_ms = cpu_ms();
    uint32_t failed = 0;
    for (uint64_t seed = base; cpu_ms() - began_ms < budget_ms && failed < 3; seed++)
        failed += !run_seed(seed);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const char *seed = getenv("PENSTOCK_SIM_SEED");
    const char *count = getenv("PENSTOCK_SIM_COUNT");
    if (seed != NULL) {
        uint64_t first = strtoull(seed, NULL, 0);
        uint64_t number = count == NULL ? 1 : strtoull(count, NULL, 0);
        uint32_t failed = 0;
        for (uint64_t i = first; i < first + number; i++)
            failed += !run_seed(i);
        return failed != 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_clients_are_served),
        cmocka_unit_test(a_full_mailbox_makes_the_shard_late_and_loses_nothing),
        cmocka_unit_test(qos_0_is_received_or_counted),
        cmocka_unit_test(what_retention_takes_is_counted),
        cmocka_unit_test(what_retention_takes_from_a_late_shard_is_counted),
        cmocka_unit_test(the_smallest_window_delivers_everything),
        cmocka_unit_test(the_smallest_fan_out_delivers_once_and_in_order),
        cmocka_unit_test(a_seed_is_the_same_run_every_time),
        cmocka_unit_test(seeds_that_once_failed_pass),
        cmocka_unit_test(fresh_seeds_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
