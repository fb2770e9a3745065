/*
 * How many connections come from one source: an IPv4 or IPv6 prefix of configured length. Counted
 * over all shards of a gateway in a sketch of fixed size: two rows of counters, in each of which a
 * prefix has one place by a seeded hash. The smaller of its two counters is never too low; it is
 * too high only where both places are shared with busy others.
 *
 * Threads: shared by all shards, which touch it at accept and close only.
 */
#ifndef PENSTOCK_NET_SOURCE_LIMIT_H
#define PENSTOCK_NET_SOURCE_LIMIT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { SOURCE_LIMIT_ROWS = 2, SOURCE_LIMIT_COLUMNS = 65536 };

struct source_limit {
    uint64_t seed;
    uint8_t ipv4_prefix_bits; /* 0 to 32 */
    uint8_t ipv6_prefix_bits; /* 0 to 128 */
    _Atomic uint32_t counts[SOURCE_LIMIT_ROWS][SOURCE_LIMIT_COLUMNS];
};

/* An address that begins with ::ffff:0:0/96 counts as the IPv4 address that it stands for. */
struct source_address {
    unsigned char bytes[16]; /* IPv6, or IPv4 in its first four bytes */
    bool is_ipv6;
};

/* In zeroed memory. */
void source_limit_init(struct source_limit *limit, uint64_t seed, uint8_t ipv4_prefix_bits,
                       uint8_t ipv6_prefix_bits);

/* Counts one more connection from there. False: there are count_max already (0: any number is
 * allowed), and nothing was counted. */
bool source_limit_enter(struct source_limit *limit, const struct source_address *address,
                        uint32_t count_max);

/* Takes back a source_limit_enter that was true. */
void source_limit_leave(struct source_limit *limit, const struct source_address *address);

#endif
