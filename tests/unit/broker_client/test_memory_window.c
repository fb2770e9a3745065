/*
 * The deduplication window, against a plain array.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/random.h"
#include "memory_log_internal.h"
#include "memory_window_internal.h"

enum { SEED = 11 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct memory_log_account account;
    struct memory_window window;
};

static void init(struct fixture *fixture, uint32_t count_max)
{
    *fixture = (struct fixture){.account = {0}};
    heap_init(&fixture->heap, &fixture->budget);
    memory_window_init(&fixture->window, &fixture->heap, &fixture->account, count_max, SEED);
}

static void deinit(struct fixture *fixture)
{
    memory_window_deinit(&fixture->window);
    heap_deinit(&fixture->heap);
    assert_int_equal(fixture->account.bytes, 0);
    assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
}

static struct record_id id_of(uint64_t number)
{
    return (struct record_id){number / 7, number};
}

static void add(struct fixture *fixture, uint64_t number, uint32_t now_s)
{
    assert_int_equal(memory_window_reserve(&fixture->window), 0);
    uint32_t count = fixture->window.next - fixture->window.first;
    bool is_one_less = memory_window_add(&fixture->window, id_of(number), number + 1000, now_s);
    assert_int_equal(is_one_less, count == fixture->window.count_max);
}

static bool is_known(const struct fixture *fixture, uint64_t number)
{
    uint64_t sequence = memory_window_find(&fixture->window, id_of(number));
    assert_true(sequence == 0 || sequence == number + 1000);
    return sequence != 0;
}

static void the_last_ids_are_known_and_no_others(void **state)
{
    (void)state;
    static const uint32_t counts_max[] = {1, 3, 64, 100, 128, 1000};
    for (uint32_t way = 0; way < ps_array_count(counts_max); way++) {
        struct fixture fixture;
        uint32_t count_max = counts_max[way];
        init(&fixture, count_max);
        assert_false(is_known(&fixture, 0));
        for (uint64_t number = 0; number < 3000; number++) {
            add(&fixture, number, 0);
            if (number % 97 != 0)
                continue;
            for (uint64_t other = 0; other < 3000; other += 1 + other % 5)
                assert_int_equal(is_known(&fixture, other),
                                 other <= number && other + count_max > number);
        }
        deinit(&fixture);
    }
}

static void ids_leave_by_age(void **state)
{
    (void)state;
    struct fixture fixture;
    init(&fixture, 1000);
    memory_window_expire(&fixture.window, 5);
    for (uint32_t second = 0; second < 500; second++)
        add(&fixture, second, second);
    memory_window_expire(&fixture.window, 200);
    for (uint32_t second = 0; second < 500; second++)
        assert_int_equal(is_known(&fixture, second), second >= 200);
    memory_window_expire(&fixture.window, 1000);
    assert_false(is_known(&fixture, 499));
    add(&fixture, 5, 1000);
    assert_true(is_known(&fixture, 5));
    deinit(&fixture);
}

static void numbers_may_wrap(void **state)
{
    (void)state;
    struct fixture fixture;
    struct random random;
    random_init(&random, SEED);
    init(&fixture, 200);
    add(&fixture, 0, 0);
    memory_window_expire(&fixture.window, 1);
    fixture.window.first = fixture.window.next = UINT32_MAX - 300;
    for (uint64_t number = 1; number < 1000; number++) {
        add(&fixture, number, 1);
        uint64_t other = random_between(&random, 1, 1000);
        assert_int_equal(is_known(&fixture, other), other <= number && other + 200 > number);
    }
    deinit(&fixture);
}

static void without_memory_nothing_is_forgotten(void **state)
{
    (void)state;
    struct fixture fixture;
    init(&fixture, 1000);
    for (uint64_t fail_at = 1; fail_at <= 2; fail_at++) {
        heap_fail_at(&fixture.heap, fail_at);
        assert_int_equal(memory_window_reserve(&fixture.window), -ENOMEM);
    }
    for (uint64_t number = 0; number < 64; number++)
        add(&fixture, number, 0);
    for (uint64_t fail_at = 1; fail_at <= 2; fail_at++) {
        heap_fail_at(&fixture.heap, fail_at);
        assert_int_equal(memory_window_reserve(&fixture.window), -ENOMEM);
        for (uint64_t number = 0; number < 64; number++)
            assert_true(is_known(&fixture, number));
    }
    add(&fixture, 64, 0);
    assert_true(is_known(&fixture, 0) && is_known(&fixture, 64));
    deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_ids_are_known_and_no_others),
        cmocka_unit_test(ids_leave_by_age),
        cmocka_unit_test(numbers_may_wrap),
        cmocka_unit_test(without_memory_nothing_is_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
