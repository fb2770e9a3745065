/*
 * xxh3, the only hash of the house. Unseeded where every gateway must agree (partitions, home
 * shards), seeded per process where a peer chooses the bytes, so that it cannot choose collisions.
 * Stateless; any thread.
 */
#ifndef PENSTOCK_CORE_HASH_H
#define PENSTOCK_CORE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t hash_bytes(const void *bytes, size_t count);
uint64_t hash_bytes_seeded(uint64_t seed, const void *bytes, size_t count);

#endif
