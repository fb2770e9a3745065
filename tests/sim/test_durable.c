/*
 * The gateway over the embedded driver, on a disk and with keys that are simulated: it is killed,
 * loses power and is stopped at any step, starts with other shards over what is left, while the
 * disk is slow, full or failing. See README.md for what holds.
 *
 * PENSTOCK_SIM_SEED=n runs that seed, PENSTOCK_SIM_COUNT=m the m - 1 after it, too;
 * PENSTOCK_TEST_LONG=1 runs many more fresh ones.
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

#include "core/base.h"
#include "core/random.h"
#include "sim/known_seeds.h"
#include "sim/run.h"

enum {
    FRESH_SEEDS = 200,
    FRESH_SEEDS_LONG = 1500,
    BUSY_MS = 1200,
    ACTIONS_MAX = 500,
    LEFT_OUT_SEEDS_MAX = 60,
    LOSSY_TIMES = 5
};

/* A killed gateway frees nothing of what was on its way, as its process would. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
    return 1;
}

static bool run(const struct scenario *scenario, bool is_quiet, struct run_result *result)
{
    char line[1024];
    scenario_describe(scenario, line, sizeof(line));
    *result = (struct run_result){0};
    bool is_good = run_scenario(scenario, is_quiet, result);
    if (!is_good || getenv("PENSTOCK_SIM_SEED") != NULL)
        printf("%s\n    %u crashes, %llu publishes, %llu receipts, %llu again, %llu connects, "
               "%llu ms\n",
               line, result->crashes, (unsigned long long)result->publishes,
               (unsigned long long)result->receipts, (unsigned long long)result->repeated,
               (unsigned long long)result->connects, (unsigned long long)result->simulated_ms);
    fflush(stdout);
    return is_good;
}

/* Everything drawn, but small: a run of many has to be short. */
static void make(struct scenario *scenario, uint64_t seed)
{
    struct random random;
    scenario_draw(scenario, seed);
    random_init(&random, seed ^ 0xd15c5);
    scenario->name = "durable";
    if (scenario->client_count > 12)
        scenario->client_count = (uint32_t)random_between(&random, 4, 16);
    scenario->burst_max = ps_min_u32(scenario->burst_max, 6);
    scenario->duration_ms = BUSY_MS;
    uint32_t actions = (uint32_t)random_between(&random, ACTIONS_MAX / 3, ACTIONS_MAX);
    scenario->action_gap_us = BUSY_MS * 1000 * scenario->client_count / actions;
    scenario->crash_count = (uint32_t)random_between(&random, 1, 4);
    scenario->crash_moment = (enum crash_moment)random_below(&random, CRASH_MOMENTS);
    scenario->crash_changes_shards = random_chance(&random, 1, 2);
    scenario_draw_disk(scenario);
    scenario->news_first_chance = random_chance(&random, 1, 3) ? 60 : 0;
    /* What may be lost is of the last second or two: most of a run has to be older. */
    if (scenario_is_lossy(scenario)) {
        scenario->duration_ms *= LOSSY_TIMES;
        scenario->action_gap_us *= LOSSY_TIMES;
    }
}

static bool run_seed(uint64_t seed, bool is_quiet, struct run_result *result)
{
    struct scenario scenario;
    make(&scenario, seed);
    return run(&scenario, is_quiet, result);
}

/* Syncs that answer and do nothing; then power is lost. */
static const struct left_out {
    const char *name;
    uint32_t classes;
    bool keys;
} left_out[] = {
    {"a_journal_that_is_not_synced_is_found", SIM_DISK_JOURNAL, false},
    {"an_index_that_is_not_synced_is_found", SIM_DISK_INDEX, false},
    {"a_manifest_that_is_not_synced_is_found", SIM_DISK_MANIFEST, false},
    {"numbers_that_are_not_synced_are_found", SIM_DISK_NUMBERS, false},
    {"a_directory_that_is_not_synced_is_found", SIM_DISK_DIRECTORY, false},
    {"keys_that_are_not_synced_are_found", 0, true},
};

static void sync_left_out(void **state)
{
    const struct left_out *which = *state;
    for (uint64_t seed = 1; seed <= LEFT_OUT_SEEDS_MAX; seed++) {
        struct scenario scenario;
        struct run_result result;
        make(&scenario, seed);
        scenario.name = which->name;
        scenario.disk.store.commit = EMBEDDED_COMMIT_SYNCED;
        scenario.disk.store.retention_bytes = 0;
        scenario.disk.power_chance = 100;
        scenario.disk.stop_chance = 0;
        scenario.disk.trouble_gap_ms = 0;
        scenario.disk.faults.syncs_left_out = which->classes;
        scenario.disk.leaves_out_keys = which->keys;
        if (!run(&scenario, true, &result)) {
            printf("    seed %llu: %s", (unsigned long long)seed, result.report);
            return;
        }
    }
    fail_msg("%u seeds show nothing", LEFT_OUT_SEEDS_MAX);
}

static bool is_long(void)
{
    const char *text = getenv("PENSTOCK_TEST_LONG");
    return text != NULL && text[0] == '1';
}

/* From the commit's number; from a new one in a long run. */
static void fresh_seeds_pass(void **state)
{
    (void)state;
    const char *base_text = getenv("PENSTOCK_SIM_BASE");
    uint32_t base = 0;
    assert_int_equal(getrandom(&base, sizeof(base), 0), sizeof(base));
    if (base_text != NULL && !is_long())
        base = (uint32_t)strtoull(base_text, NULL, 0);
    printf("fresh seeds from %u on\n", base);
    uint64_t count = is_long() ? FRESH_SEEDS_LONG : FRESH_SEEDS;
    uint32_t failed = 0;
    struct run_result sums = {0};
    for (uint64_t seed = base; seed < base + count && failed < 3; seed++) {
        struct run_result result;
        failed += !run_seed(seed, false, &result);
        sums.crashes += result.crashes;
        sums.publishes += result.publishes;
        sums.receipts += result.receipts;
        sums.repeated += result.repeated;
    }
    printf("    %u crashes, %llu publishes, %llu receipts, %llu again\n", sums.crashes,
           (unsigned long long)sums.publishes, (unsigned long long)sums.receipts,
           (unsigned long long)sums.repeated);
    assert_int_equal(failed, 0);
    assert_true(sums.crashes >= count / 2);
}

static void seeds_that_once_failed_pass(void **state)
{
    (void)state;
    uint32_t failed = 0;
    for (uint32_t i = 0; i < ps_array_count(known_durable_seeds); i++) {
        struct run_result result;
        printf("%s\n", known_durable_seeds[i].name);
        failed += !run_seed(known_durable_seeds[i].seed, false, &result);
    }
    assert_int_equal(failed, 0);
}

static int run_by_hand(const char *seed)
{
    const char *count = getenv("PENSTOCK_SIM_COUNT");
    uint64_t first = strtoull(seed, NULL, 0);
    uint64_t number = count == NULL ? 1 : strtoull(count, NULL, 0);
    uint32_t failed = 0;
    for (uint64_t i = first; i < first + number; i++) {
        struct run_result result;
        failed += !run_seed(i, false, &result);
    }
    return failed != 0;
}

enum { OTHER_TESTS = 2 };

int main(void)
{
    const char *seed = getenv("PENSTOCK_SIM_SEED");
    if (seed != NULL)
        return run_by_hand(seed);
    struct CMUnitTest tests[ps_array_count(left_out) + OTHER_TESTS] = {
        cmocka_unit_test(seeds_that_once_failed_pass),
        cmocka_unit_test(fresh_seeds_pass),
    };
    struct left_out states[ps_array_count(left_out)];
    for (uint32_t i = 0; i < ps_array_count(left_out); i++) {
        states[i] = left_out[i];
        tests[i + OTHER_TESTS] = (struct CMUnitTest){
            .name = states[i].name, .test_func = sync_left_out, .initial_state = &states[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
