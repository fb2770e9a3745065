/*
 * Big-endian integers, as networks and MQTT have them, at a place that is known to hold them; the
 * cursors of core/wire.h stand on these.
 *
 * Stateless; any thread. The caller has checked that the bytes are there.
 */
#ifndef PENSTOCK_CORE_WIRE_BIG_H
#define PENSTOCK_CORE_WIRE_BIG_H

#include <stdint.h>

/* At `bytes`, which needs no alignment; the compiler makes one load and a byte swap of each. */
static inline uint16_t wire_load_u16(const unsigned char *bytes)
{
    return (uint16_t)((unsigned)bytes[0] << 8 | bytes[1]);
}

static inline uint32_t wire_load_u32(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static inline uint64_t wire_load_u64(const unsigned char *bytes)
{
    return (uint64_t)wire_load_u32(bytes) << 32 | wire_load_u32(bytes + 4);
}

static inline void wire_store_u16(unsigned char *bytes, uint16_t value)
{
    bytes[0] = (unsigned char)(value >> 8);
    bytes[1] = (unsigned char)value;
}

static inline void wire_store_u32(unsigned char *bytes, uint32_t value)
{
    bytes[0] = (unsigned char)(value >> 24);
    bytes[1] = (unsigned char)(value >> 16);
    bytes[2] = (unsigned char)(value >> 8);
    bytes[3] = (unsigned char)value;
}

static inline void wire_store_u64(unsigned char *bytes, uint64_t value)
{
    wire_store_u32(bytes, (uint32_t)(value >> 32));
    wire_store_u32(bytes + 4, (uint32_t)value);
}

#endif
