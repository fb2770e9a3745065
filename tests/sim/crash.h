/*
 * When a run's gateway is killed: at drawn times, or at the next moment of a kind after each of
 * them, and a few rounds later, so that everything may be half done. See scenario.h.
 *
 * Owner: the run.
 */
#ifndef PENSTOCK_TESTS_SIM_CRASH_H
#define PENSTOCK_TESTS_SIM_CRASH_H

#include <stdbool.h>
#include <stdint.h>

#include "core/random.h"
#include "sim/gateway_sim.h"
#include "sim/model.h"
#include "sim/scenario.h"

struct crash_plan {
    const struct scenario *scenario;
    struct random random;
    uint64_t due_ns[MODEL_CRASHES_MAX]; /* ascending */
    uint32_t done;
    uint64_t seen; /* what the moment counts, when it was last looked at */
    bool has_met;  /* the moment was met; the gateway lives on for... */
    uint32_t rounds_left;
    bool is_armed; /* it dies by itself */
    bool is_stop;
    enum sim_disk_crash_kind kind;
};

/* Crashes within the busy part, which begins at start_ns. */
void crash_plan_init(struct crash_plan *plan, const struct scenario *scenario, uint64_t start_ns);

/* Called before each round. True: the gateway is to end now. */
bool crash_plan_step(struct crash_plan *plan, struct gateway_sim *gateway);

/* How it ends, and with how many shards it begins again. */
struct gateway_sim_end crash_plan_end(struct crash_plan *plan, const struct gateway_sim *gateway);

#endif
