/*
 * The gateway is killed and begins again over the same broker: what the session layer keeps there
 * must be enough. See README.md for what holds after a crash.
 *
 * PENSTOCK_SIM_SEED=n runs the drawn scenario of that seed, PENSTOCK_SIM_COUNT=m the m - 1 after
 * it, too; PENSTOCK_TEST_LONG=1 runs many seeds of everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "core/random.h"
#include "sim/known_seeds.h"
#include "sim/run.h"

/* A killed gateway frees nothing of what was on its way, as its process would. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static bool run(const struct scenario *scenario, struct run_result *result)
{
    char line[512];
    scenario_describe(scenario, line, sizeof(line));
    printf("%s\n", line);
    fflush(stdout);
    *result = (struct run_result){0};
    bool is_good = run_scenario(scenario, false, result);
    printf("    %u crashes, %llu publishes, %llu receipts, %llu again, %llu connects, %llu ms\n",
           result->crashes, (unsigned long long)result->publishes,
           (unsigned long long)result->receipts, (unsigned long long)result->repeated,
           (unsigned long long)result->connects, (unsigned long long)result->simulated_ms);
    return is_good;
}

/* Durable clients that come back, publish and subscribe at QoS 1 and 2 for some seconds. */
static void make(struct scenario *scenario, uint64_t seed)
{
    struct random random;
    random_init(&random, seed);
    scenario_init(scenario, seed);
    scenario->name = "crash";
    scenario->shard_count = (uint32_t)random_between(&random, 1, 3);
    scenario->client_count = 10;
    scenario->duration_ms = 4000;
    scenario->action_gap_us = 30000;
    scenario->durable_chance = 85;
    scenario->qos_weights[0] = 0;
    scenario->grant_weights[0] = 0;
    scenario->weights[ACTION_DISCONNECT] = 1;
    scenario->weights[ACTION_RESET] = 1;
    scenario->crash_count = 1;
    scenario->faults.delay_max_ns = random_chance(&random, 1, 2) ? 0 : 2000000;
    scenario->broker_delay_us_max = random_chance(&random, 1, 3) ? 0 : 3000;
}

enum { SEEDS = 4, SEEDS_LONG = 60, DRAWN_MS = 2500 };

typedef void vary(struct scenario *scenario);

static bool run_one(const char *name, vary *change, uint64_t seed, struct run_result *result)
{
    struct scenario scenario;
    make(&scenario, seed);
    scenario.name = name;
    change(&scenario);
    return run(&scenario, result);
}

static void with_qos_2_in_flight(struct scenario *scenario)
{
    scenario->qos_weights[1] = 0;
    scenario->grant_weights[1] = 0;
    scenario->burst_max = 10;
    scenario->weights[ACTION_STOP_ACKING] = 3;
    scenario->crash_moment = CRASH_IN_WRITES;
    scenario->crash_count = 3;
}

/* Resumed clients send new messages before those that they repeat. */
static void with_news_before_repetitions(struct scenario *scenario)
{
    with_qos_2_in_flight(scenario);
    scenario->news_first_chance = 70;
    scenario->weights[ACTION_RESET] = 6;
    scenario->broker_delay_us_max = 20000;
    scenario->crash_count = 8;
}

static void while_sessions_attach(struct scenario *scenario)
{
    scenario->weights[ACTION_DISCONNECT] = 20;
    scenario->weights[ACTION_RESET] = 10;
    scenario->weights[ACTION_TAKE_OVER] = 10;
    scenario->durable_chance = 50;
    scenario->crash_moment = CRASH_AFTER_CONNECT;
    scenario->crash_count = 12;
}

/* At QoS 1 alone and with nothing else to write, so that the line is all that is known. */
static void just_after_a_checkpoint(struct scenario *scenario)
{
    scenario->qos_weights[2] = 0;
    scenario->grant_weights[2] = 0;
    scenario->weights[ACTION_STOP_ACKING] = 1;
    scenario->weights[ACTION_SUBSCRIBE] = 0;
    scenario->weights[ACTION_UNSUBSCRIBE] = 0;
    scenario->weights[ACTION_DISCONNECT] = 0;
    scenario->weights[ACTION_RESET] = 0;
    scenario->duration_ms = 6000;
    scenario->crash_moment = CRASH_AFTER_CHECKPOINT;
    scenario->crash_count = 2;
}

static void with_wills(struct scenario *scenario)
{
    scenario->will_chance = 90;
    scenario->weights[ACTION_DISCONNECT] = 6;
    scenario->weights[ACTION_CLOSE] = 6;
    scenario->crash_moment = CRASH_AFTER_WILL;
    scenario->crash_count = 8;
}

/* So many topics and so slow a store that a value which the crash cut off is asked for before there
 * is a newer one. */
static void with_retained(struct scenario *scenario)
{
    scenario->topic_count = 60;
    scenario->filter_count = 40;
    scenario->broker_delay_us_max = 20000;
    scenario->retain_chance = 60;
    scenario->weights[ACTION_SUBSCRIBE] = 25;
    scenario->weights[ACTION_UNSUBSCRIBE] = 15;
    scenario->crash_moment = CRASH_IN_APPENDS;
    scenario->crash_count = 8;
}

/* Of a store that is not atomic, with sessions of several blocks. */
static void between_the_writes_of_a_commit(struct scenario *scenario)
{
    scenario->topic_count = 60;
    scenario->filter_count = 120;
    scenario->subscribe_filters_max = 12;
    scenario->writes_keys_singly = true;
    scenario->broker_delay_us_max = 5000;
    scenario->retain_chance = 30;
    scenario->durable_chance = 80;
    scenario->weights[ACTION_SUBSCRIBE] = 25;
    scenario->weights[ACTION_UNSUBSCRIBE] = 15;
    scenario->weights[ACTION_DISCONNECT] = 8;
    scenario->crash_moment = CRASH_IN_WRITES;
    scenario->crash_count = 8;
}

static void with_late_sessions(struct scenario *scenario)
{
    scenario->hub_limits.window_max = 3;
    scenario->hub_limits.recent_entries_max = 16;
    scenario->burst_max = 10;
    scenario->weights[ACTION_STOP_ACKING] = 6;
    scenario->weights[ACTION_STOP_READING] = 4;
    scenario->crash_count = 2;
}

static void several(struct scenario *scenario)
{
    scenario->crash_count = 8;
    scenario->crash_changes_shards = true;
    scenario->will_chance = 30;
    scenario->retain_chance = 20;
}

/* Everything drawn, over some seconds, with crashes at moments of any kind. */
static void drawn(struct scenario *scenario)
{
    uint64_t seed = scenario->seed;
    const char *name = scenario->name;
    struct random random;
    scenario_draw(scenario, seed);
    random_init(&random, seed ^ 0xd7a3);
    scenario->name = name;
    if (scenario->duration_ms < DRAWN_MS) {
        scenario->action_gap_us = scenario->action_gap_us * DRAWN_MS / scenario->duration_ms;
        scenario->duration_ms = DRAWN_MS;
    }
    scenario->crash_count = (uint32_t)random_between(&random, 1, 5);
    scenario->crash_moment = (enum crash_moment)random_below(&random, CRASH_MOMENTS);
    scenario->crash_changes_shards = random_chance(&random, 1, 3);
    /* A small window waits for the store with each message. */
    if (random_chance(&random, 1, 2))
        scenario->broker_delay_us_max =
            (uint32_t)random_below(&random, scenario->hub_limits.window_max < 7 ? 1000 : 20000);
    /* A publish that is repeated after a crash is known by its id. */
    scenario->store.deduplication_max = 4096;
    scenario->news_first_chance = random_chance(&random, 1, 3) ? 60 : 0;
}

static const struct named {
    const char *name;
    vary *change;
} scenarios[] = {
    {"crash_with_qos_2_in_flight", with_qos_2_in_flight},
    {"crash_with_news_before_repetitions", with_news_before_repetitions},
    {"crash_while_sessions_attach", while_sessions_attach},
    {"crash_just_after_a_checkpoint", just_after_a_checkpoint},
    {"crash_with_wills", with_wills},
    {"crash_with_retained", with_retained},
    {"crash_between_the_writes_of_a_commit", between_the_writes_of_a_commit},
    {"crash_with_late_sessions", with_late_sessions},
    {"several_crashes", several},
    {"crash_drawn", drawn},
};

/* Some seeds of a scenario, many in a long run. */
static void run_seeds(void **state)
{
    const struct named *named = *state;
    const char *is_long = getenv("PENSTOCK_TEST_LONG");
    uint64_t count = is_long != NULL && is_long[0] == '1' ? SEEDS_LONG : SEEDS;
    if (named->change == drawn)
        count *= 4;
    uint32_t failed = 0;
    uint32_t crashes = 0;
    for (uint64_t seed = 1; seed <= count; seed++) {
        struct run_result result;
        failed += !run_one(named->name, named->change, seed, &result);
        crashes += result.crashes;
    }
    assert_int_equal(failed, 0);
    assert_true(crashes != 0);
}

static void seeds_that_once_failed_pass(void **state)
{
    (void)state;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < ps_array_count(known_crash_seeds); i++) {
        struct run_result result;
        printf("%s\n", known_crash_seeds[i].name);
        failed += !run_one("crash_drawn", drawn, known_crash_seeds[i].seed, &result);
    }
    assert_int_equal(failed, 0);
}

/* Seeds of one scenario by hand. */
static int run_by_hand(const char *name, const char *seed)
{
    const char *count = getenv("PENSTOCK_SIM_COUNT");
    uint64_t first = strtoull(seed, NULL, 0);
    uint64_t number = count == NULL ? 1 : strtoull(count, NULL, 0);
    uint32_t failed = 0;
    bool is_known = name == NULL;
    for (uint32_t i = 0; i < ps_array_count(scenarios); i++) {
        struct run_result result;
        if (name != NULL && strcmp(name, scenarios[i].name) != 0)
            continue;
        is_known = true;
        for (uint64_t at = first; at < first + number; at++)
            failed += !run_one(scenarios[i].name, scenarios[i].change, at, &result);
    }
    if (!is_known)
        fprintf(stderr, "no scenario is called %s\n", name);
    return failed != 0 || !is_known;
}

int main(int argc, char **argv)
{
    const char *seed = getenv("PENSTOCK_SIM_SEED");
    if (seed != NULL)
        return run_by_hand(argc > 1 ? argv[1] : NULL, seed);
    struct CMUnitTest tests[ps_array_count(scenarios) + 1];
    struct named named[ps_array_count(scenarios)];
    for (uint32_t i = 0; i < ps_array_count(scenarios); i++) {
        named[i] = scenarios[i];
        tests[i] = (struct CMUnitTest){
            .name = named[i].name, .test_func = run_seeds, .initial_state = &named[i]};
    }
    tests[ps_array_count(scenarios)] =
        (struct CMUnitTest)cmocka_unit_test(seeds_that_once_failed_pass);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
