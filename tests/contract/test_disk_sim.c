/*
 * The simulated disk passes the disk's contract, in a world without faults.
 */
#include "disk_contract.h"

#include "core/base.h"
#include "sim/disk_sim.h"
#include "sim/network.h"

static struct sim_world *world;

const char *disk_contract_begin(void)
{
    const struct sim_options options = {.seed = 1, .start_ns = 1000, .start_wall_ms = 1000};
    world = sim_world_create(&options);
    return "/data";
}

void disk_contract_end(void)
{
    ps_assert(sim_disk_open_count(world) == 0);
    sim_world_destroy(world);
}

int main(void)
{
    return disk_contract_run();
}
