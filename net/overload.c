/*
 * Overload; see overload.h.
 */
#include "net/overload.h"

#include "core/base.h"

/* One turn that was long because the thread was off its core says little: a mean over some turns.
 */
enum { MEAN_TURNS = 8 };

static enum overload_level by_memory(const struct overload_limits *limits, uint64_t bytes_used,
                                     uint64_t bytes_max)
{
    if (bytes_max == 0 || limits->memory_percent >= 100)
        return OVERLOAD_NONE;
    uint64_t start = bytes_max / 100 * limits->memory_percent;
    if (bytes_used < start)
        return OVERLOAD_NONE;
    uint64_t step = (bytes_max - start) / OVERLOAD_CLOSE + 1;
    uint64_t level = OVERLOAD_SLOW_ACCEPTS + (bytes_used - start) / step;
    return level < OVERLOAD_CLOSE ? (enum overload_level)level : OVERLOAD_CLOSE;
}

static enum overload_level by_drift(const struct overload_limits *limits, uint64_t mean_turn_ns)
{
    uint64_t drift_ns = (uint64_t)limits->drift_ms * 1000000ULL;
    if (drift_ns == 0 || mean_turn_ns < drift_ns)
        return OVERLOAD_NONE;
    if (mean_turn_ns < 2 * drift_ns)
        return OVERLOAD_SLOW_ACCEPTS;
    return mean_turn_ns < 4 * drift_ns ? OVERLOAD_REFUSE_CONNECTS : OVERLOAD_SLOW_PUBLISHERS;
}

enum overload_level overload_look(struct overload *overload, const struct overload_limits *limits,
                                  uint64_t bytes_used, uint64_t bytes_max, uint64_t turn_ns)
{
    uint64_t mean_ns = overload->mean_turn_ns;
    overload->mean_turn_ns = mean_ns - mean_ns / MEAN_TURNS + turn_ns / MEAN_TURNS;
    enum overload_level memory = by_memory(limits, bytes_used, bytes_max);
    enum overload_level drift = by_drift(limits, overload->mean_turn_ns);
    overload->level = memory > drift ? memory : drift;
    return overload->level;
}
