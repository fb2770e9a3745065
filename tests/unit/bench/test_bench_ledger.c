/*
 * The ledger of a subscriber that comes and goes: what is lost, late, young and old.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/bench_ledger.h"
#include "core/base.h"
#include "core/heap.h"

enum { AGE_NS = 3200 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct bench_ledger ledger;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){0};
    heap_init(&fixture.heap, &fixture.budget);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    bench_ledger_release(&fixture->ledger, &fixture->heap);
    heap_deinit(&fixture->heap);
    return 0;
}

static enum bench_verdict take(struct fixture *fixture, uint64_t sequence)
{
    enum bench_verdict verdict = BENCH_LATE;
    assert_int_equal(bench_ledger_take(&fixture->ledger, &fixture->heap, sequence, &verdict), 0);
    return verdict;
}

static void messages_in_order_are_first(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t sequence = 0; sequence < 20000; sequence++)
        assert_int_equal(take(fixture, sequence), BENCH_FIRST);
    assert_int_equal(fixture->ledger.received, 20000);
    assert_int_equal(bench_ledger_missing(&fixture->ledger, 20000), 0);
    assert_int_equal(bench_ledger_missing(&fixture->ledger, 20003), 3);
}

static void what_never_came_is_missing(void **state)
{
    struct fixture *fixture = *state;
    take(fixture, 0);
    assert_int_equal(take(fixture, 70), BENCH_FIRST);
    assert_int_equal(bench_ledger_missing(&fixture->ledger, 71), 69);
    assert_int_equal(take(fixture, 5), BENCH_LATE);
    assert_int_equal(bench_ledger_missing(&fixture->ledger, 71), 68);
    assert_int_equal(take(fixture, 5), BENCH_AGAIN);
    assert_int_equal(fixture->ledger.received, 3);
}

/* Four messages at 0, 1,000, 2,000 and 3,000 ns, and time up to `end_ns`. */
static void live(struct fixture *fixture, uint64_t end_ns)
{
    for (uint64_t now_ns = 0; now_ns <= end_ns; now_ns += 100) {
        if (now_ns % 1000 == 0 && now_ns <= 3000)
            take(fixture, now_ns / 1000);
        bench_ledger_age(&fixture->ledger, now_ns, AGE_NS);
    }
}

static void a_duplicate_is_old_when_its_connection_outlived_the_age(void **state)
{
    struct fixture *fixture = *state;
    live(fixture, 5000);
    assert_int_equal(bench_ledger_outlived_ns(&fixture->ledger, 0), 0);
    bench_ledger_disconnect(&fixture->ledger, 5000);
    assert_in_range(bench_ledger_outlived_ns(&fixture->ledger, 1), 3800, 4000);
    assert_in_range(bench_ledger_outlived_ns(&fixture->ledger, 3), 1800, 2000);
    assert_int_equal(bench_ledger_outlived_ns(&fixture->ledger, 4), 0);
    assert_int_equal(take(fixture, 0), BENCH_AGAIN_OLD);
    assert_int_equal(take(fixture, 1), BENCH_AGAIN_OLD);
    assert_int_equal(take(fixture, 2), BENCH_AGAIN);
    assert_int_equal(take(fixture, 3), BENCH_AGAIN);
}

static void time_without_a_connection_makes_nothing_old(void **state)
{
    struct fixture *fixture = *state;
    live(fixture, 3000);
    bench_ledger_disconnect(&fixture->ledger, 3000);
    bench_ledger_age(&fixture->ledger, 1000000, AGE_NS);
    assert_int_equal(take(fixture, 0), BENCH_AGAIN);
    bench_ledger_age(&fixture->ledger, 1000000 + AGE_NS, AGE_NS);
    assert_int_equal(take(fixture, 0), BENCH_AGAIN_OLD);
}

static void marks_far_apart_do_no_harm(void **state)
{
    struct fixture *fixture = *state;
    for (uint64_t now_ns = 0; now_ns < 100 * AGE_NS; now_ns += 1 + AGE_NS / 7) {
        take(fixture, now_ns);
        bench_ledger_age(&fixture->ledger, now_ns, AGE_NS);
    }
    assert_int_equal(take(fixture, 0), BENCH_AGAIN_OLD);
    assert_int_equal(take(fixture, fixture->ledger.next - 1), BENCH_AGAIN);
}

static void what_was_sent_again_is_not_old(void **state)
{
    struct fixture *fixture = *state;
    live(fixture, 20000);
    fixture->ledger.resent = (struct bench_range){.from = 2, .to = 3};
    fixture->ledger.unsecured = (struct bench_range){.from = 3, .to = 9};
    assert_int_equal(take(fixture, 1), BENCH_AGAIN_OLD);
    assert_int_equal(take(fixture, 2), BENCH_AGAIN_RESENT);
    assert_int_equal(take(fixture, 3), BENCH_AGAIN_UNSECURED);
}

static void without_memory_nothing_is_taken(void **state)
{
    struct fixture *fixture = *state;
    enum bench_verdict verdict = BENCH_LATE;
    heap_fail_at(&fixture->heap, 1);
    assert_int_equal(bench_ledger_take(&fixture->ledger, &fixture->heap, 0, &verdict), -ENOMEM);
    assert_int_equal(fixture->ledger.received, 0);
    assert_int_equal(take(fixture, 0), BENCH_FIRST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(messages_in_order_are_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_never_came_is_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_duplicate_is_old_when_its_connection_outlived_the_age,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(time_without_a_connection_makes_nothing_old, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(marks_far_apart_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_sent_again_is_not_old, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_memory_nothing_is_taken, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
