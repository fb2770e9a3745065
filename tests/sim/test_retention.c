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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_quiet_log_forgets_by_age),
        cmocka_unit_test(a_slow_log_forgets_by_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
