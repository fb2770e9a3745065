/*
 * Little-endian integers, for formats of our own that are stored and never sent to a client
 * (MQTT's are big-endian: core/wire.h). Unaligned; each compiles to one load or store.
 *
 * Stateless; any thread. The caller has checked that the bytes are there.
 */
#ifndef PENSTOCK_CORE_WIRE_LITTLE_H
#define PENSTOCK_CORE_WIRE_LITTLE_H

#include <stdint.h>

static inline uint16_t wire_little_load_u16(const unsigned char *bytes)
{
    return (uint16_t)(bytes[0] | (unsigned)bytes[1] << 8);
}

static inline uint32_t wire_little_load_u32(const unsigned char *bytes)
{
    return bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

static inline uint64_t wire_little_load_u64(const unsigned char *bytes)
{
    return wire_little_load_u32(bytes) | (uint64_t)wire_little_load_u32(bytes + 4) << 32;
}

static inline void wire_little_store_u16(unsigned char *bytes, uint16_t value)
{
    bytes[0] = (unsigned char)value;
    bytes[1] = (unsigned char)(value >> 8);
}

static inline void wire_little_store_u32(unsigned char *bytes, uint32_t value)
{
    wire_little_store_u16(bytes, (uint16_t)value);
    wire_little_store_u16(bytes + 2, (uint16_t)(value >> 16));
}

static inline void wire_little_store_u64(unsigned char *bytes, uint64_t value)
{
    wire_little_store_u32(bytes, (uint32_t)value);
    wire_little_store_u32(bytes + 4, (uint32_t)(value >> 32));
}

#endif
