/*
 * The embedded broker alone on the simulated disk: a store, its handles and a client that appends
 * numbered records and remembers which were acknowledged. Header only.
 */
#ifndef PENSTOCK_TESTS_SIM_EMBEDDED_FIXTURE_H
#define PENSTOCK_TESTS_SIM_EMBEDDED_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_client/embedded/embedded.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/random.h"
#include "core/ring.h"
#include "sim/disk_sim.h"
#include "sim/key_file_sim.h"
#include "sim/network.h"

enum {
    FIXTURE_PARTITIONS = 5,
    FIXTURE_SHARDS_MAX = 3,
    FIXTURE_APPENDS = 8,
    FIXTURE_NUMBERS_MAX = 1 << 16,
    FIXTURE_STEPS_MAX = 100000,
    FIXTURE_STEP_MS = 50
};

struct embedded_fixture;

/* One append under way. */
struct fixture_append {
    struct broker_append append;
    struct embedded_fixture *fixture;
    uint32_t first; /* number of its first record */
    bool is_free;
};

struct embedded_fixture {
    struct embedded_store_config config;
    struct sim_world *world;
    struct key_file_disk *keys;
    struct heap_budget budget;
    struct heap heap;
    struct heap heaps[FIXTURE_SHARDS_MAX];
    struct embedded_store *store;
    struct ring *rings[FIXTURE_SHARDS_MAX];
    struct broker *brokers[FIXTURE_SHARDS_MAX];
    struct broker_events events;
    struct random random;
    struct fixture_append appends[FIXTURE_APPENDS];
    uint32_t next_number[FIXTURE_PARTITIONS];
    bool is_acknowledged[FIXTURE_PARTITIONS][FIXTURE_NUMBERS_MAX];
    uint64_t sequence[FIXTURE_PARTITIONS][FIXTURE_NUMBERS_MAX]; /* of the acknowledged ones */
    uint32_t acknowledged;
    uint32_t unhealthy; /* how often it was told so */
    uint32_t healthy;
    uint32_t payload_bytes_max;
    bool is_answered; /* by the pull under way */
};

static inline void fixture_on_health(void *context, bool is_healthy)
{
    struct embedded_fixture *f = context;
    f->unhealthy += !is_healthy;
    f->healthy += is_healthy;
}

static inline void fixture_wake(void *context)
{
    (void)context; /* every step turns every handle */
}

static inline int fixture_open(struct embedded_fixture *f, uint16_t shard_count, char *error)
{
    f->config.shard_count = shard_count;
    int status = embedded_store_open(&f->config, &f->heap, NULL, &f->store, error);
    if (status < 0)
        return status;
    for (uint32_t i = 0; i < shard_count; i++) {
        const struct ring_options ring = {.sockets_max = 1};
        char text[128];
        assert_int_equal(ring_create(&ring, &f->rings[i], text, sizeof(text)), 0);
        assert_int_equal(ring_start(f->rings[i]), 0);
        const struct broker_options options = {.heap = &f->heaps[i],
                                               .shard_index = i,
                                               .shard_count = shard_count,
                                               .events = &f->events,
                                               .ring = f->rings[i],
                                               .wake = fixture_wake};
        assert_int_equal(embedded_broker_create(f->store, &options, &f->brokers[i]), 0);
    }
    for (uint32_t i = 0; i < FIXTURE_APPENDS; i++)
        f->appends[i] = (struct fixture_append){.fixture = f, .is_free = true};
    return 0;
}

static inline void fixture_start(struct embedded_fixture *f, uint16_t shard_count)
{
    char error[EMBEDDED_ERROR_BYTES] = "";
    int status = fixture_open(f, shard_count, error);
    assert_string_equal(error, "");
    assert_int_equal(status, 0);
}

static inline void fixture_release(struct embedded_fixture *f, struct fixture_append *own)
{
    for (uint32_t i = 0; i < own->append.count; i++)
        record_release(&f->heap, own->append.records[i]);
    own->is_free = true;
}

static inline void fixture_stop(struct embedded_fixture *f, bool is_clean)
{
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        broker_destroy(f->brokers[i]);
    embedded_store_close(f->store, is_clean);
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        ring_destroy(f->rings[i]);
    for (uint32_t i = 0; i < FIXTURE_APPENDS; i++)
        if (!f->appends[i].is_free)
            fixture_release(f, &f->appends[i]);
    assert_int_equal(sim_disk_open_count(f->world), 0);
}

static inline void fixture_crash(struct embedded_fixture *f, enum sim_disk_crash_kind kind)
{
    sim_disk_crash(f->world, kind);
    fixture_stop(f, false);
    sim_disk_restart(f->world);
    key_file_disk_crash(f->keys, kind == SIM_DISK_CRASH_POWER);
}

static inline struct embedded_fixture *fixture_begin(uint64_t seed, enum embedded_commit commit)
{
    struct embedded_fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    const struct sim_options options = {
        .seed = seed, .start_ns = 1000000000, .start_wall_ms = 1700000000000};
    f->world = sim_world_create(&options);
    f->keys = key_file_disk_create("/data");
    heap_init(&f->heap, &f->budget);
    for (uint32_t i = 0; i < FIXTURE_SHARDS_MAX; i++)
        heap_init(&f->heaps[i], &f->budget);
    random_init(&f->random, seed);
    f->events = (struct broker_events){.context = f, .on_health = fixture_on_health};
    f->payload_bytes_max = 300;
    f->config = (struct embedded_store_config){.directory = "/data",
                                               .commit = commit,
                                               .segment_bytes = 96 << 10,
                                               .tail_bytes = 768 << 10,
                                               .cache_bytes = 1 << 20,
                                               .key_map_bytes = 16 << 20,
                                               .record_bytes_max = 1 << 20,
                                               .partition_count = FIXTURE_PARTITIONS,
                                               .partition_levels = 2,
                                               .random_seed = seed};
    return f;
}

static inline void fixture_end(struct embedded_fixture *f)
{
    for (uint32_t i = 0; i < FIXTURE_SHARDS_MAX; i++)
        heap_deinit(&f->heaps[i]);
    heap_deinit(&f->heap);
    assert_int_equal(heap_budget_bytes_used(&f->budget), 0);
    key_file_disk_destroy(f->keys);
    sim_world_destroy(f->world);
    free(f);
}

#endif
