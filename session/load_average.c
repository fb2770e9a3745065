/*
 * Load averages; see load_average.h.
 */
#include "session/load_average.h"

#include "core/base.h"

void load_average_step(struct load_average *average, uint64_t total, uint64_t elapsed_ms)
{
    /* exp(-LOAD_STEP_MS / window): a step that comes late counts as one step. */
    static const double kept[LOAD_WINDOWS] = {0.92004441462932, 0.98347145382162, 0.99445983628180};
    ps_assert(elapsed_ms != 0);
    uint64_t grown = total - average->total;
    double now = (double)grown * 60000.0 / (double)elapsed_ms;
    average->total = total;
    for (uint32_t i = 0; i < LOAD_WINDOWS; i++)
        average->per_minute[i] = average->per_minute[i] * kept[i] + now * (1.0 - kept[i]);
}
