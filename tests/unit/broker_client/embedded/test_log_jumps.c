/*
 * Numbers that were never given, against a map of each.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/random.h"
#include "log_jumps_internal.h"

enum { NUMBERS = 200, ROUNDS = 200, ADDS = 12 };

static uint64_t count_free(const bool *is_jumped, uint64_t from, uint64_t to)
{
    uint64_t count = 0;
    for (uint64_t number = from; number < to; number++)
        count += !is_jumped[number];
    return count;
}

static void ranges_merge_and_are_left_out(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct log_jumps jumps = {0};
        bool is_jumped[NUMBERS] = {false};
        for (uint32_t add = 0; add < ADDS; add++) {
            uint64_t from = random_below(&random, NUMBERS);
            uint64_t to = random_between(&random, from, ps_min_u64(from + 40, NUMBERS));
            log_jumps_add(&jumps, from, to);
            for (uint64_t number = from; number < to; number++)
                is_jumped[number] = true;
            for (uint32_t at = 1; at < jumps.count; at++)
                assert_true(jumps.jumps[at - 1].to < jumps.jumps[at].from);
            assert_true(jumps.count <= LOG_JUMPS_MAX);
            uint64_t low = jumps.count == LOG_JUMPS_MAX ? jumps.jumps[0].from : 0;
            uint64_t begin = random_between(&random, low, NUMBERS);
            uint64_t end = random_between(&random, begin, NUMBERS);
            assert_int_equal(log_jumps_records(&jumps, begin, end),
                             count_free(is_jumped, begin, end));
            if (jumps.count == LOG_JUMPS_MAX)
                break;
        }
    }
}

static void the_lowest_is_forgotten_when_there_are_too_many(void **state)
{
    (void)state;
    struct log_jumps jumps = {0};
    for (uint64_t at = 1; at <= LOG_JUMPS_MAX + 2; at++)
        log_jumps_add(&jumps, 100 * at, 100 * at + 10);
    assert_int_equal(jumps.count, LOG_JUMPS_MAX);
    assert_int_equal(jumps.jumps[0].from, 300);
    log_jumps_add(&jumps, 5, 6);
    assert_int_equal(jumps.jumps[0].from, 300);
    assert_int_equal(log_jumps_records(&jumps, 100, 320), 210);
    assert_int_equal(log_jumps_records(&jumps, 305, 300), 0);
    log_jumps_add(&jumps, 7, 7);
    assert_int_equal(jumps.count, LOG_JUMPS_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_merge_and_are_left_out),
        cmocka_unit_test(the_lowest_is_forgotten_when_there_are_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
