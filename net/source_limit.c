/*
 * Connections per source; see source_limit.h.
 */
#include "net/source_limit.h"

#include "core/base.h"
#include "core/hash.h"

void source_limit_init(struct source_limit *limit, uint64_t seed, uint8_t ipv4_prefix_bits,
                       uint8_t ipv6_prefix_bits)
{
    ps_assert(ipv4_prefix_bits <= 32 && ipv6_prefix_bits <= 128);
    limit->seed = seed;
    limit->ipv4_prefix_bits = ipv4_prefix_bits;
    limit->ipv6_prefix_bits = ipv6_prefix_bits;
}

/* The places of an address's prefix, one in each row. */
static void find(struct source_limit *limit, const struct source_address *address,
                 _Atomic uint32_t *out_places[SOURCE_LIMIT_ROWS])
{
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    const unsigned char *bytes = address->bytes;
    bool is_ipv6 = address->is_ipv6;
    if (is_ipv6 && memcmp(bytes, mapped, sizeof(mapped)) == 0) {
        bytes += sizeof(mapped);
        is_ipv6 = false;
    }
    uint32_t bits = is_ipv6 ? limit->ipv6_prefix_bits : limit->ipv4_prefix_bits;
    unsigned char key[17] = {is_ipv6}; /* the families are counted apart */
    memcpy(key + 1, bytes, bits / 8);
    if (bits % 8 != 0)
        key[1 + bits / 8] = bytes[bits / 8] & (unsigned char)(0xff00 >> (bits % 8));
    uint64_t hash = hash_bytes_seeded(limit->seed, key, sizeof(key));
    for (uint32_t row = 0; row < SOURCE_LIMIT_ROWS; row++)
        out_places[row] = &limit->counts[row][(hash >> (row * 32)) % SOURCE_LIMIT_COLUMNS];
}

bool source_limit_enter(struct source_limit *limit, const struct source_address *address,
                        uint32_t count_max)
{
    _Atomic uint32_t *places[SOURCE_LIMIT_ROWS];
    find(limit, address, places);
    uint32_t least = UINT32_MAX;
    for (uint32_t row = 0; row < SOURCE_LIMIT_ROWS; row++)
        least = ps_min_u32(least, atomic_fetch_add_explicit(places[row], 1, memory_order_relaxed));
    if (count_max == 0 || least < count_max)
        return true;
    source_limit_leave(limit, address);
    return false;
}

void source_limit_leave(struct source_limit *limit, const struct source_address *address)
{
    _Atomic uint32_t *places[SOURCE_LIMIT_ROWS];
    find(limit, address, places);
    for (uint32_t row = 0; row < SOURCE_LIMIT_ROWS; row++) {
        uint32_t before = atomic_fetch_sub_explicit(places[row], 1, memory_order_relaxed);
        ps_assert(before != 0);
    }
}
