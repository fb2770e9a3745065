/*
 * The simulated disk of a simulated world (network.h): core/disk.h and core/ring_file.h over
 * memory, which knows what is durable and what is only written, can lose power, fail and be full.
 * Each world has one, empty when the world is made; it outlives the rings and the gateway on it.
 *
 * A file's content is kept in sectors of SIM_DISK_SECTOR_BYTES, twice: as written (what reads see)
 * and as durable. A sync takes what is dirty when it begins and makes it durable when it ends, in
 * simulated time; what is overwritten before it was synced may have reached the disk in between. A
 * directory keeps the operations on names since its last sync. Names, sizes and sectors are
 * independent of each other: nothing here is ordered that core/disk.h does not say is.
 *
 * A crash: sim_disk_crash, then end what ran (its calls do nothing and answer -EIO, as do the
 * requests that were under way), then sim_disk_restart and begin anew. Descriptors from before the
 * crash are dead; the locks are free.
 *
 * The disk draws from a generator of its own, seeded with the world's seed: what a disk does moves
 * no other draw. One thread, as the world.
 */
#ifndef PENSTOCK_TESTS_SIM_DISK_SIM_H
#define PENSTOCK_TESTS_SIM_DISK_SIM_H

#include <stdbool.h>
#include <stdint.h>

struct sim_world;

enum {
    SIM_DISK_SECTOR_BYTES = 512,
    SIM_DISK_DESCRIPTORS_MAX = 1024, /* of files, directories and locks; beyond: -EMFILE */
    SIM_DISK_FIRST_DESCRIPTOR = 1000 /* no number of a real one */
};

/* What a file is, by its name; one bit each. */
enum sim_disk_class {
    SIM_DISK_JOURNAL = 1,  /* *.seg */
    SIM_DISK_INDEX = 2,    /* *.idx, and *.new that is none of the next two */
    SIM_DISK_MANIFEST = 4, /* manifest* */
    SIM_DISK_NUMBERS = 8,  /* numbers* */
    SIM_DISK_OTHER = 16,   /* any other file, and one that was removed */
    SIM_DISK_DIRECTORY = 32,
    SIM_DISK_ANY = 63
};

enum sim_disk_operation { SIM_DISK_READ, SIM_DISK_WRITE, SIM_DISK_SYNC };

/* Chances are in 65536; all zero: nothing goes wrong and nothing takes time. */
struct sim_disk_faults {
    uint32_t read_error;  /* -EIO */
    uint32_t write_error; /* -EIO; any first part is written */
    /* -EIO: each dirty sector is durable or lost, and clean either way, so that no later sync tries
     * it again; what is lost is read as written until it leaves the cache, at the latest after the
     * next crash. Of a directory: nothing became durable, the next sync tries again. */
    uint32_t sync_error;
    uint32_t error_classes;     /* to which the errors are limited; 0: any */
    uint32_t syncs_left_out;    /* classes whose syncs answer 0 and do nothing */
    uint64_t read_delay_max_ns; /* of ring requests, evenly drawn from 0 */
    uint64_t write_delay_max_ns;
    uint64_t sync_delay_max_ns;
};

struct sim_disk_counters {
    uint64_t reads;
    uint64_t writes;
    uint64_t syncs; /* of files and directories, those left out not among them */
    uint64_t syncs_left_out;
    uint64_t errors; /* -EIO told, by chance or by sim_disk_fail */
    uint64_t full;   /* -ENOSPC told */
    uint64_t crashes;
    uint64_t writes_torn;  /* by a crash: some of it written, some not */
    uint64_t sectors_lost; /* by a loss of power or a failed sync */
    uint64_t names_lost;   /* operations on names, by a loss of power */
};

enum sim_disk_crash_kind {
    SIM_DISK_CRASH_PROCESS, /* what was written stays, synced or not */
    SIM_DISK_CRASH_POWER    /* of what is not durable each sector, size and name is kept or lost */
};

/* From here these faults, for requests that are under way too (but for their delays). */
void sim_disk_set_faults(struct sim_world *world, const struct sim_disk_faults *faults);
const struct sim_disk_faults *sim_disk_faults(const struct sim_world *world);

/* The nth operation of this kind on these classes from now (1: the next) fails with -EIO, once. One
 * for each kind: a later call replaces it, 0 takes it back. A write that is being allocated by
 * disk_preallocate counts as a write. */
void sim_disk_fail(struct sim_world *world, enum sim_disk_operation operation, uint32_t classes,
                   uint64_t nth);

/* The sum of all files' sizes may not grow beyond it; UINT64_MAX at first. It may be below what is
 * there: then nothing grows. */
void sim_disk_set_capacity(struct sim_world *world, uint64_t bytes);
uint64_t sim_disk_used_bytes(const struct sim_world *world);

/* Turns one bit (0 to 7) of the byte at `offset` over, in what is read and in what is durable.
 * False: no such file in any directory, or it is shorter. */
bool sim_disk_flip_bit(struct sim_world *world, const char *name, uint64_t offset, uint32_t bit);

/* See above. Requests under way are torn: of each write any first part may be written. */
void sim_disk_crash(struct sim_world *world, enum sim_disk_crash_kind kind);
void sim_disk_restart(struct sim_world *world);

/* The crash comes by itself with the nth call of core/disk.h that opens, reads, changes or syncs
 * something (1: the next), which is told -EIO already. A later call replaces it, 0 takes it back,
 * sim_disk_crash as well. */
void sim_disk_crash_after(struct sim_world *world, enum sim_disk_crash_kind kind, uint64_t nth);
/* It has crashed and was not restarted. */
bool sim_disk_is_down(const struct sim_world *world);

/* How many descriptors can be open, at most SIM_DISK_DESCRIPTORS_MAX, which is what it begins with;
 * beyond: -EMFILE. What is open stays so. */
void sim_disk_set_descriptors(struct sim_world *world, uint32_t max);

/* Descriptors that are open; for leak checks. */
uint32_t sim_disk_open_count(const struct sim_world *world);

const struct sim_disk_counters *sim_disk_counters(const struct sim_world *world);

#endif
