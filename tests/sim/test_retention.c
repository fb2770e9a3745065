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

/* What a reader from the first number on is told that retention took, over all partitions. */
static uint64_t count_removed(struct embedded_fixture *f)
{
    uint64_t removed = 0;
    for (uint16_t partition = 0; partition < FIXTURE_PARTITIONS; partition++) {
        struct broker_pull pull = {.request = {.owner = f},
                                   .on_done = fixture_on_pulled,
                                   .hint = {.all = true},
                                   .from = 1,
                                   .bytes_max = 1 << 20,
                                   .partition = partition};
        while (!pull.is_at_tail) {
            f->is_answered = false;
            assert_int_equal(broker_pull(f->brokers[partition % f->config.shard_count], &pull), 0);
            while (!f->is_answered)
                fixture_step(f);
            removed += pull.removed;
            for (uint32_t i = 0; i < pull.count; i++)
                record_release(&f->heap, pull.records[i]);
            pull.from = pull.next;
        }
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_log_forgets_by_age),
        cmocka_unit_test(a_slow_log_forgets_by_age),
        cmocka_unit_test(what_crashes_left_out_was_not_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
