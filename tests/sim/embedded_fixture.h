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

static inline void fixture_on_appended(struct broker_append *append)
{
    struct fixture_append *own = ps_container_of(append, struct fixture_append, append);
    struct embedded_fixture *f = own->fixture;
    for (uint32_t i = 0; i < append->count; i++) {
        assert_int_equal(append->results[i].status, BROKER_OK);
        f->is_acknowledged[append->partition][own->first + i] = true;
        f->sequence[append->partition][own->first + i] = append->results[i].sequence;
        f->acknowledged++;
    }
    fixture_release(f, own);
}

static inline struct record *fixture_record(struct embedded_fixture *f, uint32_t number)
{
    char payload[1 << 12] = {0};
    char topic[16];
    uint32_t bytes = (uint32_t)random_between(&f->random, sizeof(number), f->payload_bytes_max);
    memcpy(payload, &number, sizeof(number));
    snprintf(topic, sizeof(topic), "t/%u", number % 7);
    const struct record_source source = {.topic = topic,
                                         .topic_bytes = (uint32_t)strlen(topic),
                                         .payload = payload,
                                         .payload_bytes = bytes,
                                         .flags = 1};
    struct record *record = record_create(&f->heap, &source);
    assert_non_null(record);
    record->publish_ms = ring_wall_ms(f->rings[0]);
    record->deduplication_id = (struct record_id){number + 1, number};
    return record;
}

/* Begins an append of some records of a drawn partition, if one is free and the broker takes it. */
static inline void fixture_append(struct embedded_fixture *f)
{
    struct fixture_append *own = &f->appends[random_between(&f->random, 0, FIXTURE_APPENDS - 1)];
    if (!own->is_free)
        return;
    uint16_t partition = (uint16_t)random_between(&f->random, 0, FIXTURE_PARTITIONS - 1);
    memset(&own->append, 0, sizeof(own->append));
    own->append.on_done = fixture_on_appended;
    own->append.partition = partition;
    own->append.count = (uint16_t)random_between(&f->random, 1, 20);
    own->first = f->next_number[partition];
    own->is_free = false;
    assert_true(own->first + own->append.count < FIXTURE_NUMBERS_MAX);
    for (uint32_t i = 0; i < own->append.count; i++)
        own->append.records[i] = fixture_record(f, own->first + i);
    if (broker_append(f->brokers[partition % f->config.shard_count], &own->append) < 0)
        fixture_release(f, own);
    else
        f->next_number[partition] += own->append.count;
}

/* One turn of everything, then time passes until something is due. */
static inline void fixture_step(struct embedded_fixture *f)
{
    bool has_more = false;
    for (uint32_t i = 0; i < f->config.shard_count; i++) {
        struct ring_event events[4];
        assert_int_equal(ring_wait(f->rings[i], 0, events, 4), 0);
        has_more |= broker_turn(f->brokers[i], ring_now_ns(f->rings[i]), ring_wall_ms(f->rings[i]));
    }
    has_more |= embedded_store_helper_turn(f->store, sim_world_now_ns(f->world));
    uint64_t now_ns = sim_world_now_ns(f->world);
    uint64_t next_ns =
        ps_min_u64(sim_next_event_ns(f->world), now_ns + FIXTURE_STEP_MS * 1000000ULL);
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        next_ns = ps_min_u64(next_ns, broker_deadline_ns(f->brokers[i]));
    if (!has_more)
        sim_world_advance(f->world, ps_max_u64(next_ns, now_ns + 1000));
}

static inline bool fixture_is_idle(const struct embedded_fixture *f)
{
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        if (!embedded_broker_is_idle(f->brokers[i]))
            return false;
    return true;
}

static inline void fixture_settle(struct embedded_fixture *f)
{
    for (uint32_t steps = 0; !fixture_is_idle(f); steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
}

/* Appends for that many steps. */
static inline void fixture_run(struct embedded_fixture *f, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        fixture_append(f);
        fixture_append(f);
        fixture_step(f);
    }
}

static inline void fixture_on_pulled(struct broker_pull *pull)
{
    struct embedded_fixture *f = pull->request.owner;
    f->is_answered = true;
    for (uint32_t i = 0; i < pull->count; i++)
        record_acquire(pull->records[i]);
}

/* Reads a whole partition: numbers ascend, all that was acknowledged is there where it was. */
static inline void fixture_check_partition(struct embedded_fixture *f, uint16_t partition)
{
    struct broker *broker = f->brokers[partition % f->config.shard_count];
    struct broker_pull pull = {.request = {.owner = f},
                               .on_done = fixture_on_pulled,
                               .hint = {.all = true},
                               .from = 1,
                               .bytes_max = 1 << 20,
                               .partition = partition};
    uint32_t next = 0; /* number */
    do {
        f->is_answered = false;
        assert_int_equal(broker_pull(broker, &pull), 0);
        for (uint32_t steps = 0; !f->is_answered; steps++) {
            assert_true(steps < FIXTURE_STEPS_MAX);
            fixture_step(f);
        }
        assert_int_equal(pull.status, BROKER_OK);
        /* What a crash left out before the first record that is there cannot be told from what
         * retention took. */
        assert_true(pull.removed == 0 || f->config.commit != EMBEDDED_COMMIT_SYNCED);
        for (uint32_t i = 0; i < pull.count; i++) {
            uint32_t number = 0;
            memcpy(&number, record_payload(pull.records[i]), sizeof(number));
            assert_true(number >= next && number < f->next_number[partition]);
            for (; next < number; next++)
                assert_false(f->is_acknowledged[partition][next]);
            if (f->is_acknowledged[partition][number])
                assert_int_equal(pull.records[i]->sequence, f->sequence[partition][number]);
            next = number + 1;
            record_release(&f->heap, pull.records[i]);
        }
        assert_true(pull.is_at_tail || pull.next > pull.from);
        pull.from = pull.next;
    } while (!pull.is_at_tail);
    for (; next < f->next_number[partition]; next++)
        assert_false(f->is_acknowledged[partition][next]);
}

static inline void fixture_check(struct embedded_fixture *f)
{
    for (uint16_t partition = 0; partition < FIXTURE_PARTITIONS; partition++)
        fixture_check_partition(f, partition);
}

#endif
