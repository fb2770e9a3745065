/*
 * A simulated world with one ring and one directory on its disk: the fixture of the tests of the
 * simulated disk. Header only.
 */
#ifndef PENSTOCK_TESTS_SIM_DISK_FIXTURE_H
#define PENSTOCK_TESTS_SIM_DISK_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "sim/disk_sim.h"
#include "sim/network.h"

enum { ALWAYS = 65536, SEEDS = 100, SECTOR = SIM_DISK_SECTOR_BYTES, MS = 1000000 };

struct disk_fixture {
    struct sim_world *world;
    struct ring *ring;
    int directory;
    int fd; /* of 0.seg */
};

static inline void disk_fixture_open_all(struct disk_fixture *f)
{
    const struct ring_options options = {.sockets_max = 4};
    char error[128];
    assert_int_equal(ring_create(&options, &f->ring, error, sizeof(error)), 0);
    assert_int_equal(ring_start(f->ring), 0);
    assert_int_equal(disk_open_directory("/data", &f->directory), 0);
    f->fd = -1;
}

static inline int disk_fixture_open_file(const struct disk_fixture *f, const char *name)
{
    int fd = -1;
    assert_int_equal(disk_open(f->directory, name, DISK_OPEN_CREATE, &fd), 0);
    return fd;
}

/* A world with a ring and a directory in which 0.seg is durable, and empty. */
static inline void disk_fixture_begin(struct disk_fixture *f, uint64_t seed)
{
    const struct sim_options options = {.seed = seed, .start_ns = 1000};
    f->world = sim_world_create(&options);
    disk_fixture_open_all(f);
    f->fd = disk_fixture_open_file(f, "0.seg");
    assert_int_equal(disk_sync_directory(f->directory), 0);
}

static inline void disk_fixture_end(struct disk_fixture *f)
{
    if (f->fd >= 0)
        disk_close(f->fd);
    disk_close(f->directory);
    ring_destroy(f->ring);
    assert_int_equal(sim_disk_open_count(f->world), 0);
    sim_world_destroy(f->world);
}

/* Ends the run and begins another; 0.seg is open if it is there. */
static inline void disk_fixture_crash(struct disk_fixture *f, enum sim_disk_crash_kind kind)
{
    sim_disk_crash(f->world, kind);
    ring_destroy(f->ring);
    sim_disk_restart(f->world);
    disk_fixture_open_all(f);
    disk_open(f->directory, "0.seg", DISK_OPEN_WRITE, &f->fd);
}

static inline void disk_fixture_fill(int fd, uint32_t first, uint32_t sectors, char letter)
{
    char bytes[SECTOR];
    memset(bytes, letter, sizeof(bytes));
    for (uint32_t i = 0; i < sectors; i++)
        assert_int_equal(disk_write(fd, bytes, SECTOR, (uint64_t)(first + i) * SECTOR), 0);
}

/* The letter that fills a sector; '.': zeros; '-': beyond the end; it is never torn within. */
static inline char disk_fixture_sector_at(int fd, uint32_t sector)
{
    char bytes[SECTOR];
    size_t count = 0;
    assert_int_equal(disk_read(fd, bytes, SECTOR, (uint64_t)sector * SECTOR, &count), 0);
    if (count == 0)
        return '-';
    assert_int_equal(count, SECTOR);
    for (size_t i = 1; i < SECTOR; i++)
        assert_int_equal(bytes[i], bytes[0]);
    return bytes[0] == '\0' ? '.' : bytes[0];
}

static inline void disk_fixture_read_letters(int fd, uint32_t count, char *out_letters)
{
    for (uint32_t i = 0; i < count; i++)
        out_letters[i] = disk_fixture_sector_at(fd, i);
    out_letters[count] = '\0';
}

static inline uint64_t disk_fixture_file_size(int fd)
{
    uint64_t bytes = 0;
    assert_int_equal(disk_size(fd, &bytes), 0);
    return bytes;
}

static inline struct ring_file_request *disk_fixture_take_at(struct disk_fixture *f,
                                                             uint64_t now_ns)
{
    struct ring_event event;
    sim_world_advance(f->world, now_ns);
    assert_int_equal(ring_wait(f->ring, 0, &event, 1), 0);
    return ring_file_take(f->ring);
}

static inline void disk_fixture_submit(struct disk_fixture *f, struct ring_file_request *request,
                                       enum ring_file_kind kind, void *buffer, uint32_t bytes,
                                       uint64_t offset)
{
    *request = (struct ring_file_request){
        .fd = f->fd,
        .kind = kind,
        .buffer = buffer,
        .bytes = bytes,
        .offset = offset,
        .result = INT32_MIN,
    };
    assert_int_equal(ring_file_submit(f->ring, request), 0);
}

#endif
