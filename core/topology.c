/*
 * Cores and memory nodes; see topology.h. The policy is set by the system call itself, because
 * libnuma's own wrapper prints to standard error where a container forbids it.
 */
#include "core/topology.h"

#include <numa.h>
#include <numaif.h>
#include <sched.h>

#include "core/base.h"

int topology_read(struct topology *out_topology)
{
    *out_topology = (struct topology){.core_count = 1, .node_count = 1};
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        return -errno;
    uint32_t count = 0;
    for (uint32_t core = 0; core < TOPOLOGY_CORES_MAX && core < CPU_SETSIZE; core++) {
        if (CPU_ISSET(core, &set))
            out_topology->cores[count++] = (uint16_t)core;
    }
    ps_assert(count > 0);
    out_topology->core_count = count;
    if (numa_available() >= 0)
        out_topology->node_count = (uint32_t)numa_max_node() + 1;
    return 0;
}

/* Prefers memory of `node` for the calling thread; false when the kernel refuses. */
static bool prefer_memory(uint32_t node)
{
    enum { WORD_BITS = 8 * sizeof(unsigned long) };
    unsigned long mask[TOPOLOGY_CORES_MAX / WORD_BITS] = {0};
    if (node >= TOPOLOGY_CORES_MAX)
        return false;
    mask[node / WORD_BITS] = 1UL << (node % WORD_BITS);
    return set_mempolicy(MPOL_PREFERRED, mask, TOPOLOGY_CORES_MAX) == 0;
}

int topology_pin(const struct topology *topology, uint32_t index, struct topology_place *out_place)
{
    struct topology_place place = {.core = topology->cores[index % topology->core_count]};
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(place.core, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        return -errno;
    if (topology->node_count > 1) {
        int node = numa_node_of_cpu((int)place.core);
        if (node >= 0) {
            place.node = (uint32_t)node;
            place.is_memory_preferred = prefer_memory(place.node);
        }
    }
    *out_place = place;
    return 0;
}
