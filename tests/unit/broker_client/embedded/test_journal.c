/*
 * A journal on the simulated disk: when records are committed in each mode, what happens to a batch
 * that the disk refuses, and when a segment is left and indexed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "journal_internal.h"
#include "sim/disk_sim.h"
#include "sim/network.h"

enum { PARTITIONS = 2, MS = 1000000, TURNS_MAX = 10000 };

struct fixture {
    struct sim_world *world;
    struct heap_budget budget;
    struct heap heap;
    struct heap helper_heap;
    struct log_store store;
    struct ring *ring;
    struct journal *journal;
    uint64_t next[PARTITIONS];
    uint64_t committed[PARTITIONS]; /* the last sequence */
    uint32_t indexed;
    uint32_t left;
    uint32_t unhealthy;
    uint32_t healthy;
    uint64_t indexed_next[PARTITIONS];
    uint64_t indexed_number; /* of the last one */
};

static void on_committed(void *context, struct record *const *records, uint32_t count)
{
    struct fixture *f = context;
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(records[i]->sequence, f->committed[records[i]->partition] + 1);
        f->committed[records[i]->partition]++;
        record_release(&f->heap, records[i]);
    }
}

static uint16_t fill_partitions(void *context, struct segment_partition *out, uint16_t max)
{
    const struct fixture *f = context;
    assert_true(max >= PARTITIONS);
    for (uint16_t i = 0; i < PARTITIONS; i++)
        out[i] = (struct segment_partition){i, f->next[i]};
    return PARTITIONS;
}

static void on_left(void *context)
{
    ((struct fixture *)context)->left++;
}

/* Segments follow each other without a gap in any partition. */
static void on_indexed(void *context, struct log_segment *segment)
{
    struct fixture *f = context;
    const struct segment_index *index = atomic_load(&segment->index);
    assert_int_equal(index->partition_count, PARTITIONS);
    for (uint16_t i = 0; i < PARTITIONS; i++) {
        if (index->partitions[i].records == 0)
            continue;
        assert_int_equal(index->partitions[i].first, f->indexed_next[i]);
        f->indexed_next[i] = index->partitions[i].next;
    }
    f->indexed_number = segment->number;
    f->indexed++;
    log_segment_release(&f->store, segment);
}

static void on_health(void *context, bool is_healthy)
{
    struct fixture *f = context;
    f->unhealthy += !is_healthy;
    f->healthy += is_healthy;
}

static struct fixture *begin_with_age(enum embedded_commit commit, uint64_t age_ms)
{
    struct fixture *f = calloc(1, sizeof(*f));
    char error[EMBEDDED_ERROR_BYTES] = "";
    assert_non_null(f);
    const struct sim_options options = {
        .seed = 1, .start_ns = 1000000000, .start_wall_ms = 1700000000000};
    f->world = sim_world_create(&options);
    heap_init(&f->heap, &f->budget);
    heap_init(&f->helper_heap, &f->budget);
    f->store.config = (struct embedded_store_config){.directory = "/data",
                                                     .commit = commit,
                                                     .segment_bytes = 65536,
                                                     .retention_age_ms = age_ms,
                                                     .deduplication_ms = 120000,
                                                     .deduplication_max = 8192,
                                                     .partition_count = PARTITIONS,
                                                     .partition_levels = 2,
                                                     .shard_count = 1,
                                                     .random_seed = 1};
    f->store.heap = &f->heap;
    f->store.helper_heap = &f->helper_heap;
    assert_int_equal(helper_create(&f->heap, 0, &f->store.helper), 0);
    assert_int_equal(log_store_open(&f->store, error), 0);
    const struct ring_options ring = {.sockets_max = 1};
    assert_int_equal(ring_create(&ring, &f->ring, error, sizeof(error)), 0);
    assert_int_equal(ring_start(f->ring), 0);
    const struct journal_events events = {.context = f,
                                          .on_committed = on_committed,
                                          .fill_partitions = fill_partitions,
                                          .on_left = on_left,
                                          .on_indexed = on_indexed,
                                          .on_health = on_health};
    assert_int_equal(
        journal_create(&f->store, f->ring, &f->heap, 0, NULL, NULL, &events, &f->journal), 0);
    for (uint16_t i = 0; i < PARTITIONS; i++) {
        f->next[i] = 1;
        f->indexed_next[i] = 1;
    }
    return f;
}

static struct fixture *begin(enum embedded_commit commit)
{
    return begin_with_age(commit, 0);
}

static void end(struct fixture *f)
{
    journal_destroy(f->journal);
    ring_destroy(f->ring);
    helper_stop(f->store.helper);
    log_store_close(&f->store, false);
    helper_destroy(&f->heap, f->store.helper);
    heap_deinit(&f->heap);
    heap_deinit(&f->helper_heap);
    assert_int_equal(heap_budget_bytes_used(&f->budget), 0);
    assert_int_equal(sim_disk_open_count(f->world), 0);
    sim_world_destroy(f->world);
    free(f);
}

static int add(struct fixture *f, uint16_t partition, uint32_t payload_bytes)
{
    void *payload = calloc(1, payload_bytes + 1);
    assert_non_null(payload);
    const struct record_source source = {.topic = "a/b",
                                         .topic_bytes = 3,
                                         .payload = payload,
                                         .payload_bytes = payload_bytes,
                                         .flags = 1};
    struct record *record = record_create(&f->heap, &source);
    assert_non_null(record);
    free(payload);
    record->partition = partition;
    record->publish_ms = ring_wall_ms(f->ring);
    record->sequence = f->next[partition];
    int status = journal_add(f->journal, record);
    if (status < 0)
        record_release(&f->heap, record);
    else
        f->next[partition]++;
    return status;
}

/* One turn as a handle makes it, and the helper's jobs. */
static void turn(struct fixture *f)
{
    struct ring_event event;
    struct ring_file_request *request;
    assert_int_equal(ring_wait(f->ring, 0, &event, 1), 0);
    while ((request = ring_file_take(f->ring)) != NULL)
        assert_true(journal_take(f->journal, request));
    uint64_t now_ns = sim_world_now_ns(f->world);
    journal_turn(f->journal, now_ns);
    journal_send(f->journal, now_ns);
    helper_turn(f->store.helper, now_ns);
}

static void pass(struct fixture *f, uint64_t ns)
{
    sim_world_advance(f->world, sim_world_now_ns(f->world) + ns);
    turn(f);
}

static void settle(struct fixture *f)
{
    for (uint32_t turns = 0; !journal_is_at_rest(f->journal); turns++) {
        assert_true(turns < TURNS_MAX);
        pass(f, MS);
    }
}

static void set_delays(struct fixture *f)
{
    const struct sim_disk_faults faults = {.write_delay_max_ns = MS, .sync_delay_max_ns = MS};
    sim_disk_set_faults(f->world, &faults);
}

static void a_record_is_committed_when_its_mode_says_so(void **state)
{
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct fixture *f = begin((enum embedded_commit)commit);
        turn(f); /* the first segment is prepared */
        turn(f);
        uint64_t syncs = ring_counters(f->ring)->file_syncs;
        set_delays(f);
        assert_int_equal(add(f, 0, 10), 0);
        assert_int_equal(add(f, 1, 10), 0);
        assert_int_equal(f->committed[0], 0);
        /* What is committed without a disk is told in the next turn, for which nothing else asks.
         */
        bool wants_turn = journal_send(f->journal, sim_world_now_ns(f->world));
        assert_int_equal(wants_turn, commit == EMBEDDED_COMMIT_MEMORY);
        turn(f);
        turn(f);
        assert_int_equal(f->committed[1], commit == EMBEDDED_COMMIT_MEMORY ? 1 : 0);
        for (uint32_t turns = 0; !journal_is_idle(f->journal); turns++) {
            assert_true(turns < TURNS_MAX);
            pass(f, MS / 10);
        }
        assert_int_equal(f->committed[1], 1);
        bool is_synced = ring_counters(f->ring)->file_syncs > syncs;
        assert_int_equal(is_synced, commit == EMBEDDED_COMMIT_SYNCED);
        bool is_deadline = journal_deadline_ns(f->journal) <= sim_world_now_ns(f->world) + 500 * MS;
        assert_int_equal(is_deadline, commit != EMBEDDED_COMMIT_SYNCED);
        for (uint32_t waited_ms = 0; waited_ms < 1000; waited_ms += 10)
            pass(f, 10 * MS);
        assert_true(journal_is_at_rest(f->journal));
        assert_true(ring_counters(f->ring)->file_syncs > syncs);
        end(f);
    }
}

static void records_wait_while_two_batches_are_full(void **state)
{
    (void)state;
    struct fixture *f = begin(EMBEDDED_COMMIT_SYNCED);
    assert_int_equal(add(f, 0, 10), -EAGAIN); /* there is no segment yet */
    turn(f);
    turn(f);
    set_delays(f);
    uint32_t taken = 0;
    for (; add(f, 0, 1000) == 0; taken++)
        ;
    assert_true(taken > 50); /* a segment's worth */
    turn(f);
    assert_int_equal(add(f, 0, 1000), -EAGAIN); /* the next segment is not prepared */
    settle(f);
    assert_int_equal(add(f, 0, 1000), 0);
    settle(f);
    assert_int_equal(f->committed[0], taken + 1);
    assert_true(journal_counters(f->journal)->stalled_ns > 0);
    end(f);
}

static void a_segment_is_left_when_full_or_asked_and_then_indexed(void **state)
{
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct fixture *f = begin((enum embedded_commit)commit);
        set_delays(f);
        for (uint32_t i = 0; i < 300;) {
            if (add(f, i % PARTITIONS, 1000) == 0)
                i++;
            else
                pass(f, MS);
        }
        settle(f);
        assert_true(f->indexed >= 4);
        assert_int_equal(f->indexed, f->left);
        uint32_t indexed = f->indexed;
        journal_leave_below(f->journal, f->indexed_number + 1); /* not that one */
        settle(f);
        assert_int_equal(f->left, indexed);
        journal_close_segment(f->journal);
        pass(f, MS);
        settle(f);
        assert_int_equal(f->indexed, indexed + 1);
        for (uint16_t i = 0; i < PARTITIONS; i++)
            assert_int_equal(f->indexed_next[i], f->next[i]);
        end(f);
    }
}

/* A slow shard's records would never go else. */
static void a_segment_is_left_after_an_eighth_of_the_age(void **state)
{
    enum { MINUTE_S = 60, AGE_S = 80 * MINUTE_S };
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct fixture *f = begin_with_age((enum embedded_commit)commit, AGE_S * UINT64_C(1000));
        turn(f);
        turn(f);
        pass(f, 3600 * UINT64_C(1000) * MS);
        assert_int_equal(add(f, 0, 10), 0); /* the age of a segment begins with its first batch */
        settle(f);
        for (uint32_t minute = 1; minute < 10; minute++) {
            pass(f, MINUTE_S * UINT64_C(1000) * MS);
            settle(f);
            assert_int_equal(add(f, 0, 10), 0); /* it is not idle */
            settle(f);
        }
        assert_int_equal(f->left, 0);
        assert_true(journal_deadline_ns(f->journal) <=
                    sim_world_now_ns(f->world) + MINUTE_S * UINT64_C(1000) * MS);
        pass(f, MINUTE_S * UINT64_C(1000) * MS);
        settle(f);
        assert_int_equal(f->left, 1);
        assert_int_equal(f->indexed, 1);
        assert_int_equal(f->indexed_next[0], f->next[0]);
        pass(f, 3600 * UINT64_C(1000) * MS);
        settle(f);
        assert_int_equal(f->left, 1); /* with nothing in it there is nothing to leave */
        end(f);
    }
}

/* A shard that was idle for long has a segment from before what retention has reached. */
static void nothing_is_written_below_what_retention_has_reached(void **state)
{
    (void)state;
    struct fixture *f = begin(EMBEDDED_COMMIT_SYNCED);
    turn(f);
    turn(f);
    assert_int_equal(add(f, 0, 10), 0);
    settle(f);
    uint64_t reached = atomic_load(&f->store.segment_next);
    atomic_fetch_add(&f->store.segment_next, 10); /* others went on */
    journal_leave_below(f->journal, reached + 5);
    pass(f, MS);
    settle(f);
    assert_int_equal(f->indexed, 1);
    assert_true(f->indexed_number < reached);
    assert_int_equal(add(f, 0, 10), 0);
    settle(f);
    journal_close_segment(f->journal);
    pass(f, MS);
    settle(f);
    assert_int_equal(f->indexed, 2);
    assert_true(f->indexed_number >= reached + 10);
    end(f);
}

static void a_refused_batch_stands_whole_in_the_next_segment(void **state)
{
    (void)state;
    static const enum sim_disk_operation operations[] = {SIM_DISK_WRITE, SIM_DISK_SYNC};
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        for (size_t i = 0; i < ps_array_count(operations); i++) {
            struct fixture *f = begin((enum embedded_commit)commit);
            turn(f);
            turn(f);
            assert_int_equal(add(f, 0, 10), 0);
            settle(f);
            set_delays(f);
            sim_disk_fail(f->world, operations[i], SIM_DISK_JOURNAL, 1);
            assert_int_equal(add(f, 0, 20), 0);
            assert_int_equal(add(f, 1, 20), 0);
            settle(f);
            assert_int_equal(f->unhealthy, 1);
            assert_int_equal(f->healthy, 1);
            assert_int_equal(journal_counters(f->journal)->failures, 1);
            assert_int_equal(f->committed[0], 2);
            assert_int_equal(f->committed[1], 1);
            assert_int_equal(f->indexed, 1); /* the segment that failed, with its first record */
            assert_int_equal(f->indexed_next[0], 2);
            journal_close_segment(f->journal);
            pass(f, MS);
            settle(f);
            assert_int_equal(f->indexed_next[0], 3);
            assert_int_equal(f->indexed_next[1], 2);
            end(f);
        }
    }
}

static void pauses_grow_to_5_seconds_while_the_disk_fails(void **state)
{
    (void)state;
    struct fixture *f = begin(EMBEDDED_COMMIT_SYNCED);
    turn(f);
    turn(f);
    const struct sim_disk_faults faults = {.sync_error = 65536, .error_classes = SIM_DISK_JOURNAL};
    sim_disk_set_faults(f->world, &faults);
    assert_int_equal(add(f, 0, 10), 0);
    turn(f);
    turn(f);
    uint64_t begin_ns = sim_world_now_ns(f->world);
    uint64_t end_ns = begin_ns + 60 * 1000 * (uint64_t)MS;
    while (sim_world_now_ns(f->world) < end_ns) {
        uint64_t now_ns = sim_world_now_ns(f->world);
        uint64_t deadline_ns = journal_deadline_ns(f->journal);
        assert_true(deadline_ns <= now_ns + 5000 * (uint64_t)MS);
        sim_world_advance(f->world, ps_max_u64(deadline_ns, now_ns + MS));
        turn(f);
        turn(f);
    }
    /* 0.1, 0.2 ... 3.2, 5, 5 ...: of the batch, or of the segment that it needs. */
    assert_in_range(journal_counters(f->journal)->failures, 12, 40);
    assert_int_equal(f->unhealthy, 1);
    assert_int_equal(f->committed[0], 0);
    const struct sim_disk_faults none = {0};
    sim_disk_set_faults(f->world, &none);
    for (uint32_t seconds = 0; seconds < 6; seconds++)
        pass(f, 1000 * (uint64_t)MS);
    settle(f);
    assert_int_equal(f->committed[0], 1);
    assert_int_equal(f->healthy, 1);
    end(f);
}

static void a_large_record_gets_a_segment_that_fits(void **state)
{
    (void)state;
    struct fixture *f = begin(EMBEDDED_COMMIT_SYNCED);
    uint32_t turns = 0;
    for (; add(f, 0, 3 << 20) < 0; turns++) {
        assert_true(turns < 10);
        turn(f);
    }
    settle(f);
    assert_int_equal(f->committed[0], 1);
    assert_int_equal(f->unhealthy, 0);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_committed_when_its_mode_says_so),
        cmocka_unit_test(records_wait_while_two_batches_are_full),
        cmocka_unit_test(a_segment_is_left_when_full_or_asked_and_then_indexed),
        cmocka_unit_test(a_segment_is_left_after_an_eighth_of_the_age),
        cmocka_unit_test(nothing_is_written_below_what_retention_has_reached),
        cmocka_unit_test(a_refused_batch_stands_whole_in_the_next_segment),
        cmocka_unit_test(pauses_grow_to_5_seconds_while_the_disk_fails),
        cmocka_unit_test(a_large_record_gets_a_segment_that_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
