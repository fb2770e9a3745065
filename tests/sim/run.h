/*
 * One run of the simulator: a gateway of real shards over the simulated world, simulated clients,
 * the model, and the checks at the end. See README.md.
 */
#ifndef PENSTOCK_TESTS_SIM_RUN_H
#define PENSTOCK_TESTS_SIM_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "session/hub.h"
#include "sim/scenario.h"

struct run_result {
    uint32_t failures;
    uint32_t crashes;
    uint64_t repeated; /* receipts at QoS 1 that only a crash explains */
    uint64_t publishes;
    uint64_t receipts;
    uint64_t connects;
    uint64_t simulated_ms;
    uint64_t turns;
    struct hub_counters counters; /* sums over the shards */
    char report[MODEL_REPORT_BYTES];
};

/* Runs it to the end. With `is_quiet` a failure is not printed (it is expected). True: nothing
 * failed. */
bool run_scenario(const struct scenario *scenario, bool is_quiet, struct run_result *out_result);

#endif
