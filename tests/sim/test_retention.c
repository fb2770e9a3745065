/*
 * What retention takes from the embedded broker's log, and what it leaves: by age, beside what is
 * held for who still needs it, and how much readers are told was taken.
 */
#include "sim/embedded_workload.h"

enum { AGE_S = 80 };

static const struct broker_counters *counters_of(const struct embedded_fixture *f)
{
    return broker_counters(f->brokers[0]);
}

/* Turns until then. */
static void pass_seconds(struct embedded_fixture *f, uint64_t seconds)
{
    uint64_t until_ns = sim_world_now_ns(f->world) + seconds * 1000000000;
    while (sim_world_now_ns(f->world) < until_ns)
        fixture_step(f);
}

/* Appends for that many steps, and until everything is answered. */
static void append_some(struct embedded_fixture *f, uint32_t steps)
{
    fixture_run(f, steps);
    fixture_settle(f);
}

static void a_quiet_log_forgets_by_age(void **state)
{
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct embedded_fixture *f = fixture_begin(commit + 1, (enum embedded_commit)commit);
        f->config.retention_age_ms = AGE_S * 1000;
        fixture_start(f, 1);
        append_some(f, 3); /* far from a whole segment */
        uint64_t records = f->acknowledged;
        assert_true(records > 0);
        pass_seconds(f, AGE_S - 20);
        assert_int_equal(counters_of(f)->log_records, records);
        pass_seconds(f, AGE_S + 20);
        assert_int_equal(counters_of(f)->log_records, 0);
        assert_int_equal(counters_of(f)->retention_records, records);
        append_some(f, 3); /* and goes on */
        assert_true(counters_of(f)->log_records > 0);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

/* Records that trickle in keep a segment open for long: they go all the same, the oldest first. */
static void a_slow_log_forgets_by_age(void **state)
{
    (void)state;
    struct embedded_fixture *f = fixture_begin(5, EMBEDDED_COMMIT_SYNCED);
    f->config.segment_bytes = 8 << 20;
    f->config.retention_age_ms = AGE_S * 1000;
    fixture_start(f, 2);
    for (uint32_t round = 0; round < 40; round++) {
        append_some(f, 1);
        pass_seconds(f, AGE_S / 8);
    }
    uint64_t taken = 0;
    uint64_t left = 0;
    for (uint32_t i = 0; i < 2; i++) {
        taken += broker_counters(f->brokers[i])->retention_records;
        left += broker_counters(f->brokers[i])->log_records;
    }
    assert_int_equal(taken + left, f->acknowledged);
    assert_true(left > 0 && taken > left);
    fixture_stop(f, true);
    fixture_end(f);
}

/* What a reader from the first number on is told that retention took of a partition; and how many
 * records it is given. */
static uint64_t read_removed(struct embedded_fixture *f, uint16_t partition, uint64_t *out_given)
{
    uint64_t removed = 0;
    struct broker_pull pull = {.request = {.owner = f},
                               .on_done = fixture_on_pulled,
                               .hint = {.all = true},
                               .from = 1,
                               .bytes_max = 1 << 20,
                               .partition = partition};
    *out_given = 0;
    while (!pull.is_at_tail) {
        fixture_pull(f, &pull);
        removed += pull.removed;
        *out_given += pull.count;
        for (uint32_t i = 0; i < pull.count; i++)
            record_release(&f->heap, pull.records[i]);
        pull.from = pull.next;
    }
    return removed;
}

/* Over all partitions. */
static uint64_t count_removed(struct embedded_fixture *f)
{
    uint64_t removed = 0;
    uint64_t given = 0;
    for (uint16_t partition = 0; partition < FIXTURE_PARTITIONS; partition++)
        removed += read_removed(f, partition, &given);
    return removed;
}

/* Every crash leaves a million numbers out. */
static void what_crashes_left_out_was_not_taken(void **state)
{
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_WRITTEN; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct embedded_fixture *f = fixture_begin(commit, (enum embedded_commit)commit);
        f->config.retention_age_ms = AGE_S * 1000;
        for (uint16_t life = 0; life < 4; life++) {
            fixture_start(f, (uint16_t)(life % FIXTURE_SHARDS_MAX + 1));
            append_some(f, 20);
            pass_seconds(f, 2); /* it is on the disk */
            fixture_crash(f, SIM_DISK_CRASH_PROCESS);
        }
        fixture_start(f, 2);
        assert_int_equal(count_removed(f), 0);
        pass_seconds(f, AGE_S / 2);
        append_some(f, 20);
        uint64_t acknowledged = f->acknowledged;
        pass_seconds(f, AGE_S + AGE_S / 4); /* the older ones go, then all */
        uint64_t removed = count_removed(f);
        assert_true(removed > 0 && removed <= acknowledged);
        pass_seconds(f, 2 * AGE_S);
        assert_int_equal(count_removed(f), acknowledged);
        fixture_crash(f, SIM_DISK_CRASH_PROCESS);
        fixture_start(f, 3);
        assert_int_equal(count_removed(f), acknowledged);
        fixture_stop(f, true);
        fixture_start(f, 1);
        assert_int_equal(count_removed(f), acknowledged);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

/* A log of one shard that is many times as large as retention allows; partition 0 is held. */
static struct embedded_fixture *begin_held(uint64_t hold_bytes, uint64_t needed_from,
                                           uint64_t wanted_from)
{
    struct embedded_fixture *f = fixture_begin(11, EMBEDDED_COMMIT_SYNCED);
    f->config.retention_bytes = 400 << 10;
    f->config.hold_bytes = hold_bytes;
    fixture_start(f, 1);
    broker_hold(f->brokers[0], 0, needed_from, wanted_from);
    for (uint32_t round = 0; round < 20; round++) {
        append_some(f, 30);
        pass_seconds(f, 2);
    }
    return f;
}

/* Every record of a partition was given, or taken by retention. Result: how many were taken. */
static uint64_t check_partition(struct embedded_fixture *f, uint16_t partition)
{
    uint64_t given = 0;
    uint64_t removed = read_removed(f, partition, &given);
    assert_int_equal(given + removed, f->next_number[partition]);
    return removed;
}

static void what_is_needed_is_kept_however_much_it_is(void **state)
{
    (void)state;
    struct embedded_fixture *f = begin_held(0, 1, UINT64_MAX);
    assert_int_equal(check_partition(f, 0), 0);
    for (uint16_t partition = 1; partition < FIXTURE_PARTITIONS; partition++)
        assert_true(check_partition(f, partition) > 0);
    assert_true(counters_of(f)->held_bytes > 0);
    assert_true(counters_of(f)->file_bytes > f->config.retention_bytes);
    /* From the middle on. */
    uint64_t middle = f->next_number[0] / 2;
    broker_hold(f->brokers[0], 0, middle, UINT64_MAX);
    pass_seconds(f, 5);
    uint64_t removed = check_partition(f, 0);
    assert_true(removed > 0 && removed < middle);
    /* And when nobody needs it any more all of it goes, and the files with it. */
    broker_hold(f->brokers[0], 0, UINT64_MAX, UINT64_MAX);
    pass_seconds(f, 5);
    assert_true(check_partition(f, 0) > middle);
    assert_int_equal(counters_of(f)->held_bytes, 0);
    assert_true(counters_of(f)->file_bytes <=
                f->config.retention_bytes + 2 * f->config.segment_bytes);
    fixture_stop(f, true);
    fixture_end(f);
}

static void what_is_wanted_is_kept_within_a_partitions_share(void **state)
{
    (void)state;
    struct embedded_fixture *f = begin_held((uint64_t)FIXTURE_PARTITIONS << 30, UINT64_MAX, 1);
    assert_int_equal(check_partition(f, 0), 0);
    uint64_t all = counters_of(f)->held_bytes;
    assert_true(all > 0);
    fixture_stop(f, true);
    fixture_end(f);

    uint64_t share = all / 2;
    f = begin_held(share * FIXTURE_PARTITIONS, UINT64_MAX, 1);
    uint64_t removed = check_partition(f, 0);
    assert_true(removed > 0); /* the oldest */
    assert_true(removed < f->next_number[0] / 2 + f->next_number[0] / 4);
    assert_true(counters_of(f)->held_bytes > 0 && counters_of(f)->held_bytes <= share);
    fixture_stop(f, true);
    fixture_end(f);

    f = begin_held(0, UINT64_MAX, 1);
    assert_true(check_partition(f, 0) > 0);
    assert_int_equal(counters_of(f)->held_bytes, 0);
    fixture_stop(f, true);
    fixture_end(f);
}

/* An owner that does not know yet says that everything is needed; nothing is said after a start. */
static void a_hold_is_of_a_run_and_an_age_waits_for_it(void **state)
{
    (void)state;
    struct embedded_fixture *f = fixture_begin(12, EMBEDDED_COMMIT_SYNCED);
    f->config.retention_age_ms = AGE_S * 1000;
    fixture_start(f, 1);
    broker_hold(f->brokers[0], 2, 1, 1);
    append_some(f, 20);
    pass_seconds(f, 4 * AGE_S);
    assert_int_equal(check_partition(f, 2), 0);
    assert_int_equal(check_partition(f, 3), f->next_number[3]);
    fixture_stop(f, true);
    fixture_start(f, 1);
    pass_seconds(f, 5);
    assert_int_equal(check_partition(f, 2), f->next_number[2]);
    fixture_stop(f, true);
    fixture_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_log_forgets_by_age),
        cmocka_unit_test(a_slow_log_forgets_by_age),
        cmocka_unit_test(what_crashes_left_out_was_not_taken),
        cmocka_unit_test(what_is_needed_is_kept_however_much_it_is),
        cmocka_unit_test(what_is_wanted_is_kept_within_a_partitions_share),
        cmocka_unit_test(a_hold_is_of_a_run_and_an_age_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
