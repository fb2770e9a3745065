/*
 * xoshiro256** (Blackman and Vigna), seeded through splitmix64 so that similar seeds give unrelated
 * sequences; see random.h.
 */
#include "core/random.h"

#include "core/base.h"

static uint64_t rotate_left(uint64_t word, uint32_t bits)
{
    return (word << bits) | (word >> (64 - bits));
}

static uint64_t splitmix(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ULL;
    uint64_t mixed = *state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebULL;
    return mixed ^ (mixed >> 31);
}

void random_init(struct random *random, uint64_t seed)
{
    /* Four successive outputs of a bijection are distinct, so they are never all zero. */
    for (uint32_t i = 0; i < 4; i++)
        random->state[i] = splitmix(&seed);
}

uint64_t random_next(struct random *random)
{
    uint64_t *state = random->state;
    uint64_t result = rotate_left(state[1] * 5, 7) * 9;
    uint64_t shifted = state[1] << 17;
    state[2] ^= state[0];
    state[3] ^= state[1];
    state[1] ^= state[2];
    state[0] ^= state[3];
    state[2] ^= shifted;
    state[3] = rotate_left(state[3], 45);
    return result;
}

uint64_t random_below(struct random *random, uint64_t bound)
{
    ps_assert(bound > 0);
    /* The high half of a product spreads 2^64 numbers over the bound; the few products that would
     * make it uneven are thrown away (Lemire). */
    unsigned __int128 product = (unsigned __int128)random_next(random) * bound;
    if ((uint64_t)product < bound) {
        uint64_t uneven = -bound % bound;
        while ((uint64_t)product < uneven)
            product = (unsigned __int128)random_next(random) * bound;
    }
    return (uint64_t)(product >> 64);
}

uint64_t random_between(struct random *random, uint64_t first, uint64_t last)
{
    ps_assert(first <= last);
    if (last - first == UINT64_MAX)
        return random_next(random);
    return first + random_below(random, last - first + 1);
}

bool random_chance(struct random *random, uint64_t numerator, uint64_t denominator)
{
    return random_below(random, denominator) < numerator;
}

void random_fill(struct random *random, void *bytes, size_t count)
{
    unsigned char *at = bytes;
    while (count > 0) {
        uint64_t word = random_next(random);
        size_t part = count < sizeof(word) ? count : sizeof(word);
        memcpy(at, &word, part);
        at += part;
        count -= part;
    }
}
