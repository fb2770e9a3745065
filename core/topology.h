/*
 * The cores that this process may use, and a place on one of them for each shard: the thread
 * pinned, its memory preferred from the node that the core belongs to. Works the same where there
 * is one node or no NUMA at all. The only user of libnuma.
 *
 * Thread: read once by the gateway's thread before it starts any other; afterwards immutable and
 * read by all.
 */
#ifndef PENSTOCK_CORE_TOPOLOGY_H
#define PENSTOCK_CORE_TOPOLOGY_H

#include <stdbool.h>
#include <stdint.h>

/* More cores than this are left unused. */
enum { TOPOLOGY_CORES_MAX = 1024 };

struct topology {
    uint32_t core_count; /* that the process may run on, at least 1 */
    uint32_t node_count; /* memory nodes, at least 1 */
    uint16_t cores[TOPOLOGY_CORES_MAX];
};

/* Where a thread was put; for the log. */
struct topology_place {
    uint32_t core;            /* the kernel's number */
    uint32_t node;            /* 0 where there is no NUMA */
    bool is_memory_preferred; /* false: one node only, or the kernel refused (containers do) */
};

/* The cores in the affinity of the calling thread, ascending. 0, or -errno when the kernel does not
 * tell; then *out_topology is one core, number 0. */
int topology_read(struct topology *out_topology);

/* Pins the calling thread to core `index` modulo core_count, so that more shards than cores are
 * legal, and prefers memory of its node from here on. 0 with *out_place, or -errno when the thread
 * could not be pinned (then it runs as before). Memory that cannot be preferred is not an error. */
int topology_pin(const struct topology *topology, uint32_t index, struct topology_place *out_place);

#endif
