/*
 * How much memory this process may use: the host's, or less where a control group (version 2) that
 * it belongs to says so. Stateless; reads files, so not on a shard's thread.
 */
#ifndef PENSTOCK_CORE_SYSTEM_MEMORY_H
#define PENSTOCK_CORE_SYSTEM_MEMORY_H

#include <stdint.h>

/* Bytes; never 0. */
uint64_t system_memory_bytes(void);

/* The same with the files below `root` ("" for the real ones) and the host's bytes given; for
 * tests. */
uint64_t system_memory_bytes_below(const char *root, uint64_t host_bytes);

#endif
