/*
 * core/disk.c passes the disk's contract, in a directory of the host.
 */
#include <stdio.h>

#include "disk_contract.h"
#include "support/scratch_directory.h"

static char scratch[SCRATCH_PATH_BYTES];
static char path[SCRATCH_PATH_BYTES + 8];

const char *disk_contract_begin(void)
{
    scratch_directory_make(scratch);
    snprintf(path, sizeof(path), "%s/data", scratch);
    return path;
}

void disk_contract_end(void)
{
    scratch_directory_remove(scratch);
}

int main(void)
{
    return disk_contract_run();
}
