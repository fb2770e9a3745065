/*
 * How much of something happened per minute, over the last 1, 5 and 15 minutes: exponentially
 * weighted means, as mosquitto's $SYS/broker/load topics have them.
 *
 * Pure: no clock, no memory. Owner: who adds.
 */
#ifndef PENSTOCK_SESSION_LOAD_AVERAGE_H
#define PENSTOCK_SESSION_LOAD_AVERAGE_H

#include <stdint.h>

enum { LOAD_STEP_MS = 5000, LOAD_WINDOWS = 3 };

struct load_average {
    uint64_t total; /* at the last step */
    double per_minute[LOAD_WINDOWS];
};

/* To be called about every LOAD_STEP_MS with the growing total, and how long ago the last step was.
 */
void load_average_step(struct load_average *average, uint64_t total, uint64_t elapsed_ms);

#endif
