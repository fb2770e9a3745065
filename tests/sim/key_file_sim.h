/*
 * The file of the keys in memory, linked in place of LMDB's: ordered tables, atomic commits,
 * durable once they were answered, and the faults of a disk. A disk outlives the file that is
 * opened on it, so that a gateway can crash and come back.
 *
 * Thread: one; disks are known by the name of their directory to the thread that made them.
 */
#ifndef PENSTOCK_TESTS_SIM_KEY_FILE_SIM_H
#define PENSTOCK_TESTS_SIM_KEY_FILE_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct key_file_disk;

enum key_file_fault {
    KEY_FILE_FAULT_NONE,
    KEY_FILE_FAULT_WRITE,        /* a commit fails, nothing of it is stored */
    KEY_FILE_FAULT_SYNC,         /* a commit fails, but is there when the file is opened again; it
                                    is durable only when a later one has succeeded */
    KEY_FILE_FAULT_CRASH_BEFORE, /* the machine stops when a commit begins */
    KEY_FILE_FAULT_CRASH_AFTER   /* ... when it is durable, before anybody learns of it */
};

/* An empty disk, whose directory is `directory`. Destroyed with no file open on it. */
struct key_file_disk *key_file_disk_create(const char *directory);
void key_file_disk_destroy(struct key_file_disk *disk);

/* From the `skip_count`-th commit from here on, `count` of them meet the fault; those
 * that fail answer `error`, a negative errno. A later call replaces what an earlier one has left.
 */
void key_file_disk_fail(struct key_file_disk *disk, enum key_file_fault fault, int error,
                        uint32_t skip_count, uint32_t count);

/* The next `count` openings answer `error`, a negative errno. */
void key_file_disk_fail_opening(struct key_file_disk *disk, int error, uint32_t count);

/* With `is_left_out` commits are answered without having been synced: a power failure takes all of
 * them back, to the last one that was. */
void key_file_disk_leave_out_sync(struct key_file_disk *disk, bool is_left_out);

/* The gateway is gone (no file is open); a power failure also takes back what is not durable. The
 * disk works again. */
void key_file_disk_crash(struct key_file_disk *disk, bool is_power_failure);

/* A crash point was met: everything fails until key_file_disk_crash. */
bool key_file_disk_is_stopped(const struct key_file_disk *disk);

/* Commits that have succeeded, and that power could take back. */
uint64_t key_file_disk_commits(const struct key_file_disk *disk);
uint64_t key_file_disk_unsynced(const struct key_file_disk *disk);

#endif
