/*
 * The simulated gateway, seed by seed. See README.md.
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
#include "sim/run.h"

static void run(const struct scenario *scenario)
{
    char line[512];
    struct run_result result = {0};
    scenario_describe(scenario, line, sizeof(line));
    printf("%s\n", line);
    fflush(stdout);
    assert_true(run_scenario(scenario, false, &result));
    printf("    %llu publishes, %llu receipts, %llu connects, %llu ms, %llu turns, %llu late, %llu "
           "shards late, %llu lost to retention\n",
           (unsigned long long)result.publishes, (unsigned long long)result.receipts,
           (unsigned long long)result.connects, (unsigned long long)result.simulated_ms,
           (unsigned long long)result.turns, (unsigned long long)result.counters.turned_late,
           (unsigned long long)result.counters.shard_lates,
           (unsigned long long)result.counters.dropped[HUB_DROP_RETENTION]);
}

static void plain_clients_are_served(void **state)
{
    (void)state;
    struct scenario scenario;
    scenario_init(&scenario, 1);
    run(&scenario);
}

int main(void)
{
    const char *seed = getenv("PENSTOCK_SIM_SEED");
    const char *count = getenv("PENSTOCK_SIM_COUNT");
    if (seed != NULL) {
        uint64_t first = strtoull(seed, NULL, 0);
        uint64_t number = count == NULL ? 1 : strtoull(count, NULL, 0);
        for (uint64_t i = first; i < first + number; i++) {
            struct scenario scenario;
            char line[512];
            struct run_result result = {0};
            scenario_draw(&scenario, i);
            scenario_describe(&scenario, line, sizeof(line));
            printf("%s\n", line);
            fflush(stdout);
            run_scenario(&scenario, false, &result);
        }
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_clients_are_served),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
