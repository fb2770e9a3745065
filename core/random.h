/*
 * A small fast generator of pseudo-random numbers (xoshiro256**) for simulations, tests and jitter:
 * the same seed gives the same numbers on every machine. Not for keys, ids or anything that a peer
 * must not guess.
 *
 * Owner and thread: whoever holds the struct; it holds no other memory.
 */
#ifndef PENSTOCK_CORE_RANDOM_H
#define PENSTOCK_CORE_RANDOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct random {
    uint64_t state[4]; /* never all zero */
};

/* Any seed is good, 0 too. In production the caller takes it from getrandom(2). */
void random_init(struct random *random, uint64_t seed);

/* 64 evenly distributed bits. */
uint64_t random_next(struct random *random);

/* Evenly distributed in [0, bound), without bias; bound > 0. */
uint64_t random_below(struct random *random, uint64_t bound);

/* Evenly distributed in [first, last], both included; first <= last. */
uint64_t random_between(struct random *random, uint64_t first, uint64_t last);

/* True `numerator` times in `denominator` (> 0), on average. */
bool random_chance(struct random *random, uint64_t numerator, uint64_t denominator);

void random_fill(struct random *random, void *bytes, size_t count);

#endif
