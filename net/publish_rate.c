/*
 * Publish rates; see publish_rate.h.
 */
#include "net/publish_rate.h"

#include "core/base.h"
#include "core/shard.h"

enum { TICKS_PER_SECOND = 1000 / SHARD_TICK_MS };

void publish_rate_init(struct publish_rate *rate, uint32_t tick)
{
    *rate = (struct publish_rate){.tick = tick - TICKS_PER_SECOND};
}

static int64_t refill(int64_t credit, uint64_t per_second, uint32_t ticks)
{
    int64_t full = (int64_t)per_second * TICKS_PER_SECOND;
    int64_t more = (int64_t)per_second * ticks;
    return credit + more < full ? credit + more : full;
}

bool publish_rate_allows(struct publish_rate *rate, const struct publish_rate_limits *limits,
                         uint32_t tick)
{
    uint32_t elapsed = tick - rate->tick;
    if (elapsed != 0) {
        /* Bounded so that it cannot overflow; who waits to pay a debt comes every tick. */
        uint32_t ticks = ps_min_u32(elapsed, UINT16_MAX);
        rate->messages = refill(rate->messages, limits->messages_per_second, ticks);
        rate->bytes = refill(rate->bytes, limits->bytes_per_second, ticks);
        rate->tick = tick;
    }
    bool has_messages = limits->messages_per_second == 0 || rate->messages > 0;
    bool has_bytes = limits->bytes_per_second == 0 || rate->bytes > 0;
    return has_messages && has_bytes;
}

void publish_rate_charge(struct publish_rate *rate, const struct publish_rate_limits *limits,
                         uint32_t bytes)
{
    if (limits->messages_per_second != 0)
        rate->messages -= TICKS_PER_SECOND;
    if (limits->bytes_per_second != 0)
        rate->bytes -= (int64_t)bytes * TICKS_PER_SECOND;
}
