/*
 * Clients that fight over one ClientId, each connecting again as soon as the other has taken its
 * session over, are slowed down: takeovers of one id are counted in windows of DAMPER_WINDOW_MS,
 * and beyond a number of them each has to wait. Counted in a sketch of fixed size by the id's hash:
 * two ids with one place are counted together, which at worst delays a takeover.
 *
 * Pure: no memory, no clock. Owner and thread: one shard's hub.
 */
#ifndef PENSTOCK_SESSION_DAMPER_H
#define PENSTOCK_SESSION_DAMPER_H

#include <stdint.h>

enum { DAMPER_PLACES = 1024, DAMPER_WINDOW_MS = 10000 };

struct damper {
    struct damper_place {
        uint32_t start_tick; /* SHARD_TICK_MS; of the window */
        uint32_t count;
    } places[DAMPER_PLACES];
};

/* Counts one takeover of the id with this hash. Result: how many there were in this window. */
uint32_t damper_count(struct damper *damper, uint64_t hash, uint32_t tick);

#endif
