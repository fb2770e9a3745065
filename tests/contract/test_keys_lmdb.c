/*
 * The embedded keys on LMDB, in a directory of the host.
 */
#include "keys_contract.h"
#include "support/scratch_directory.h"

static char scratch[SCRATCH_PATH_BYTES];

const char *keys_contract_begin(void)
{
    scratch_directory_make(scratch);
    return scratch;
}

void keys_contract_end(void)
{
    scratch_directory_remove(scratch);
}

int main(void)
{
    /* Thousands of commits, which need not outlive the test: in memory, where that is to be had. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 0);
    return keys_contract_run();
}
