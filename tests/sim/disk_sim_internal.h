/*
 * What the files of the simulated disk share: disk_sim.c (core/disk.h, names, faults, crashes) on
 * top of disk_sim_file.c (content of one file) and beside disk_sim_request.c (requests of rings, in
 * simulated time), which ring_sim.c uses.
 */
#ifndef PENSTOCK_TESTS_SIM_DISK_SIM_INTERNAL_H
#define PENSTOCK_TESTS_SIM_DISK_SIM_INTERNAL_H

#include <stddef.h>

#include "core/disk.h"
#include "core/random.h"
#include "core/ring_file.h"
#include "sim/disk_sim.h"

enum {
    SIM_CHUNK_SECTORS = 8, /* one byte has a bit for each */
    SIM_CHUNK_BYTES = SIM_CHUNK_SECTORS * SIM_DISK_SECTOR_BYTES,
    SIM_DISK_OPERATIONS = 3
};

/* 4 KiB of a file; what was never written has none and reads as zeros. */
struct sim_chunk {
    uint8_t dirty; /* sectors written since a sync took them */
    unsigned char written[SIM_CHUNK_BYTES];
    unsigned char durable[SIM_CHUNK_BYTES];
};

/* Sectors of one chunk that a sync has taken. */
struct sim_taken {
    uint32_t chunk;
    uint8_t sectors; /* that are not on the disk yet */
    unsigned char bytes[SIM_CHUNK_BYTES];
};

/* A sync under way: what it will make durable. */
struct sim_sync {
    struct sim_sync *next; /* of the file, in the order in which they began */
    uint64_t from;         /* bytes of the file that it covers */
    uint64_t to;
    uint64_t size;
    bool is_failing;
    bool is_size_over; /* a later one that has ended has told its own */
    struct sim_taken *taken;
    uint32_t taken_count;
};

struct sim_file {
    struct sim_file *next; /* of the disk, oldest first */
    uint64_t size;
    uint64_t durable_size;
    struct sim_chunk **chunks;
    uint32_t chunk_capacity;
    uint32_t open_count;
    struct sim_sync *syncs;
};

struct sim_name {
    char text[DISK_NAME_BYTES_MAX + 1];
    struct sim_file *file;
};

struct sim_names {
    struct sim_name *entries;
    uint32_t count;
    uint32_t capacity;
};

/* An operation on names that no sync of its directory has taken: `from` (if not empty) is gone,
 * `to` (if not empty) is the file's. */
struct sim_change {
    char from[DISK_NAME_BYTES_MAX + 1];
    char to[DISK_NAME_BYTES_MAX + 1];
    struct sim_file *file;
};

struct sim_directory {
    struct sim_directory *next;
    char *path;
    struct sim_names names;
    struct sim_names durable;
    struct sim_change *changes;
    uint32_t change_count;
    uint32_t change_capacity;
    bool is_locked;
};

enum sim_descriptor_kind {
    SIM_DESCRIPTOR_FREE,
    SIM_DESCRIPTOR_FILE,
    SIM_DESCRIPTOR_DIRECTORY,
    SIM_DESCRIPTOR_LOCK,
    SIM_DESCRIPTOR_DEAD /* of a run that has crashed; may be closed */
};

struct sim_descriptor {
    enum sim_descriptor_kind kind;
    struct sim_file *file;
    struct sim_directory *directory;
    bool is_writable;
    uint32_t requests; /* of rings, under way */
};

struct sim_file_job; /* a ring's request that is under way */

/* The nth operation from now that fails; 0: none. */
struct sim_disk_armed {
    uint64_t nth;
    uint32_t classes;
};

struct sim_disk {
    struct random random;
    uint64_t now_ns;
    struct sim_disk_faults faults;
    struct sim_disk_armed armed[SIM_DISK_OPERATIONS];
    struct sim_disk_counters counters;
    uint64_t capacity;
    uint32_t descriptors_max;
    bool is_down;
    uint64_t calls_to_crash; /* 0: none is to come by itself */
    enum sim_disk_crash_kind crash_to_come;
    struct sim_file *files;
    struct sim_directory *directories;
    struct sim_descriptor descriptors[SIM_DISK_DESCRIPTORS_MAX];
    struct sim_file_job *jobs; /* in no order */
    uint32_t job_count;
    uint32_t job_capacity;
    uint64_t job_order;
};

/* Used by network.c: a world makes its disk, moves its clock and destroys it. */
struct sim_disk *sim_disk_create(uint64_t seed);
void sim_disk_destroy(struct sim_disk *disk);
/* When the next request of a ring comes a step further; UINT64_MAX: there is none. */
uint64_t sim_disk_due_ns(const struct sim_disk *disk);
/* Moves its clock, and what is due at that instant one step further. */
void sim_disk_advance(struct sim_disk *disk, uint64_t now_ns);

/* Used by ring_sim.c. sim_ring_on_file_done comes later, or before it returns. */
void sim_disk_submit(struct sim_disk *disk, struct ring *ring, struct ring_file_request *request);
/* Ends at once what is under way for this ring; nothing is told. */
void sim_disk_drain(struct sim_disk *disk, struct ring *ring);

/* Defined by network.c and ring_sim.c. */
struct sim_disk *sim_world_disk(const struct sim_world *world);
void sim_ring_on_file_done(struct ring *ring, struct ring_file_request *request);

/* True `chance` times in 65536; draws nothing when it is 0. */
bool sim_disk_draw(struct sim_disk *disk, uint32_t chance);
/* Whether this operation fails with -EIO, by order or by chance. */
bool sim_disk_is_failing(struct sim_disk *disk, enum sim_disk_operation operation,
                         uint32_t class_bit);
uint32_t sim_disk_class_of(const struct sim_disk *disk, const struct sim_file *file);
/* The open descriptor; asserts that there is one. */
struct sim_descriptor *sim_disk_descriptor(struct sim_disk *disk, int fd);
/* A file that no name, change or descriptor leads to is freed. */
void sim_disk_collect(struct sim_disk *disk);

/* One file's reads and writes with their faults: bytes, or -errno. */
int64_t sim_disk_read_file(struct sim_disk *disk, struct sim_file *file, void *buffer, size_t bytes,
                           uint64_t offset);
int64_t sim_disk_write_file(struct sim_disk *disk, struct sim_file *file, const void *buffer,
                            size_t bytes, uint64_t offset);
/* Begins a sync of these bytes with its faults; NULL: it is left out. */
struct sim_sync *sim_disk_begin_sync(struct sim_disk *disk, struct sim_file *file, uint64_t from,
                                     uint64_t to);
/* 0 or -EIO; NULL is answered 0. */
int sim_disk_end_sync(struct sim_disk *disk, struct sim_file *file, struct sim_sync *sync);
/* What was under way when the machine or the process died; the jobs are told -EIO. */
void sim_disk_tear_jobs(struct sim_disk *disk);

/* disk_sim_file.c: content only, no faults but those drawn for a failing sync. */
void sim_file_read(const struct sim_file *file, void *buffer, size_t bytes, uint64_t offset);
void sim_file_write(struct sim_disk *disk, struct sim_file *file, const void *buffer, size_t bytes,
                    uint64_t offset);
void sim_file_resize(struct sim_disk *disk, struct sim_file *file, uint64_t size);
struct sim_sync *sim_file_begin_sync(struct sim_file *file, uint64_t from, uint64_t to,
                                     bool is_failing);
void sim_file_end_sync(struct sim_disk *disk, struct sim_file *file, struct sim_sync *sync);
void sim_file_flip(struct sim_file *file, uint64_t offset, uint32_t bit);
/* The process died: syncs under way are over, their sectors dirty again; what a failed sync lost
 * may have left the cache. */
void sim_file_on_process_death(struct sim_disk *disk, struct sim_file *file);
/* Each sector and the size kept with this chance. */
void sim_file_on_power_loss(struct sim_disk *disk, struct sim_file *file, uint32_t keep);
void sim_file_free(struct sim_file *file);

#endif
