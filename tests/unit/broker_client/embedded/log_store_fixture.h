/*
 * A log store on the simulated disk, a writer for it, and its log: for the tests of what a start
 * finds. Everything here asserts with cmocka.
 */
#ifndef PENSTOCK_TESTS_UNIT_LOG_STORE_FIXTURE_H
#define PENSTOCK_TESTS_UNIT_LOG_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/log.h"
#include "sim/disk_sim.h"
#include "sim/network.h"
#include "support/log_writer.h"

enum { PARTITIONS = 4, BATCH = 8, PAYLOAD = 200 };

struct fixture {
    struct sim_world *world;
    struct heap_budget budget;
    struct heap heap;
    struct log *log;
    int log_fd;
    struct log_store store;
    struct log_writer writer;
    char error[EMBEDDED_ERROR_BYTES];
    char lines[65536]; /* of the log */
};

static inline int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    const struct sim_options options = {.seed = 5, .start_ns = 1000, .start_wall_ms = 1000};
    fixture->world = sim_world_create(&options);
    heap_init(&fixture->heap, &fixture->budget);
    fixture->log_fd = memfd_create("log", MFD_CLOEXEC);
    const struct log_options log_options = {.fd = fixture->log_fd, .level = LOG_DEBUG};
    *state = fixture;
    return log_create(&fixture->heap, &log_options, &fixture->log);
}

static inline int tear_down(void **state)
{
    struct fixture *fixture = *state;
    log_destroy(&fixture->heap, fixture->log);
    close(fixture->log_fd);
    bool is_clean = sim_disk_open_count(fixture->world) == 0;
    sim_world_destroy(fixture->world);
    heap_deinit(&fixture->heap);
    is_clean &= heap_budget_bytes_used(&fixture->budget) == 0;
    free(fixture);
    return is_clean ? 0 : -1;
}

static inline void configure(struct fixture *fixture)
{
    memset(&fixture->store, 0, sizeof(fixture->store));
    fixture->store.config = (struct embedded_store_config){.directory = "/data",
                                                           .partition_count = PARTITIONS,
                                                           .partition_levels = 2,
                                                           .shard_count = 1,
                                                           .random_seed = 0xfeed};
    fixture->store.heap = &fixture->heap;
    fixture->store.helper_heap = &fixture->heap;
    fixture->store.log = fixture->log;
}

static inline int try_open(struct fixture *fixture)
{
    int result = log_store_open(&fixture->store, fixture->error);
    if (result == 0)
        log_writer_init(&fixture->writer, &fixture->store, &fixture->heap, 0);
    return result;
}

static inline void open_again(struct fixture *fixture)
{
    configure(fixture);
    int result = try_open(fixture);
    if (result < 0)
        fail_msg("%d %s", result, fixture->error);
}

static inline void close_store(struct fixture *fixture, bool is_clean)
{
    log_writer_deinit(&fixture->writer);
    for (uint32_t index = 0; index < PARTITIONS; index++)
        atomic_store(&fixture->store.tails[index], fixture->writer.committed[index] - 1);
    log_store_close(&fixture->store, is_clean);
}

/* The process dies; everything written stays. */
static inline void crash(struct fixture *fixture)
{
    sim_disk_crash(fixture->world, SIM_DISK_CRASH_PROCESS);
    close_store(fixture, false);
    sim_disk_restart(fixture->world);
}

static inline void write_batch(struct fixture *fixture, uint16_t partition, uint64_t publish_ms)
{
    struct log_writer_record records[BATCH];
    for (uint32_t index = 0; index < BATCH; index++)
        records[index] = (struct log_writer_record){
            .partition = partition,
            .sequence = fixture->writer.committed[partition] + index,
            .value = index,
            .publish_ms = publish_ms + index,
            .id = {partition + 1U, fixture->writer.committed[partition] + index},
            .payload_bytes = PAYLOAD};
    assert_int_equal(log_writer_batch(&fixture->writer, records, BATCH), 0);
}

/* A segment with `batches` batches of a partition, left and indexed. Result: its number. */
static inline uint64_t write_segment(struct fixture *fixture, uint16_t partition, uint32_t batches,
                                     uint64_t publish_ms)
{
    for (uint32_t index = 0; index < batches; index++)
        write_batch(fixture, partition, publish_ms);
    uint64_t number = fixture->writer.segment->number;
    assert_int_equal(log_writer_leave(&fixture->writer), 0);
    assert_int_equal(log_writer_index(&fixture->writer), 0);
    return number;
}

static inline bool has_line(struct fixture *fixture, const char *text)
{
    ssize_t count = pread(fixture->log_fd, fixture->lines, sizeof(fixture->lines) - 1, 0);
    fixture->lines[count > 0 ? count : 0] = '\0';
    return strstr(fixture->lines, text) != NULL;
}

static inline void flip(struct fixture *fixture, uint64_t segment, const char *suffix,
                        uint64_t offset)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment, suffix, name);
    assert_true(sim_disk_flip_bit(fixture->world, name, offset, 3));
}

static inline void remove_file(const char *path, const char *name)
{
    int directory = -1;
    assert_int_equal(disk_open_directory(path, &directory), 0);
    assert_int_equal(disk_remove(directory, name), 0);
    disk_close(directory);
}

static inline void remove_index(uint64_t segment)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment, "idx", name);
    remove_file("/data/log", name);
}

static inline int on_file(void *context, const char *name)
{
    (void)name;
    ++*(uint32_t *)context;
    return 0;
}

static inline uint32_t count_files(struct fixture *fixture)
{
    uint32_t count = 0;
    assert_int_equal(disk_list(fixture->store.log_directory, on_file, &count), 0);
    return count;
}

static inline void refused(struct fixture *fixture, int expected, const char *text)
{
    int result = try_open(fixture);
    if (result != expected || strstr(fixture->error, text) == NULL)
        fail_msg("%d, not %d: %s", result, expected, fixture->error);
}

#endif
