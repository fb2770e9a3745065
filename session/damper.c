/*
 * Takeovers by ClientId; see damper.h.
 */
#include "session/damper.h"

#include "core/shard.h"

uint32_t damper_count(struct damper *damper, uint64_t hash, uint32_t tick)
{
    struct damper_place *place = &damper->places[hash % DAMPER_PLACES];
    if (place->count == 0 || tick - place->start_tick >= DAMPER_WINDOW_MS / SHARD_TICK_MS)
        *place = (struct damper_place){.start_tick = tick};
    return ++place->count;
}
