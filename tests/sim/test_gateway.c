/*
 * The simulated gateway: fixed scenarios, seeds that once failed. See README.md.
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

#include "core/base.h"
#include "sim/known_seeds.h"
#include "sim/run.h"

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
        cmocka_unit_test(seeds_that_once_failed_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
