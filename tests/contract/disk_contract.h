/*
 * The contract of core/disk.h as one suite of behaviours, linked once with core/disk.c on the
 * host's file system (test_disk.c) and once with the simulated disk (test_disk_sim.c). Requests of
 * rings are in ring_contract_files.c.
 */
#ifndef PENSTOCK_TESTS_CONTRACT_DISK_CONTRACT_H
#define PENSTOCK_TESTS_CONTRACT_DISK_CONTRACT_H

/* Result: how many tests failed. */
int disk_contract_run(void);

/* Before and after each test, defined by each of the two. The path, valid until the end, is of a
 * directory that is not there yet; its parent is. */
const char *disk_contract_begin(void);
void disk_contract_end(void);

#endif
