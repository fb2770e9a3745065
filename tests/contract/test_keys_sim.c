/*
 * The embedded keys on the simulated file, and what a disk can do to them.
 */
#include "keys_contract.h"
#include "sim/key_file_sim.h"

static struct key_file_disk *disk;

const char *keys_contract_begin(void)
{
    disk = key_file_disk_create("data");
    return "data";
}

void keys_contract_end(void)
{
    key_file_disk_destroy(disk);
}

int main(void)
{
    return keys_contract_run();
}
