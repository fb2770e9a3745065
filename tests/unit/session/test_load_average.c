/*
 * Load averages: they come near a steady rate, the short ones sooner, and forget it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "session/load_average.h"

static void run(struct load_average *average, uint32_t minutes, uint64_t per_minute)
{
    uint64_t total = average->total;
    for (uint32_t step = 0; step < minutes * 60000 / LOAD_STEP_MS; step++) {
        total += per_minute * LOAD_STEP_MS / 60000;
        load_average_step(average, total, LOAD_STEP_MS);
    }
}

static void a_steady_rate_is_told_by_the_shortest_window_first(void **state)
{
    (void)state;
    struct load_average average = {0};
    run(&average, 1, 6000);
    /* After one window 1 - 1/e of it. */
    assert_float_equal(average.per_minute[0], 6000 * 0.632, 6);
    assert_true(average.per_minute[0] > average.per_minute[1]);
    assert_true(average.per_minute[1] > average.per_minute[2]);
    run(&average, 120, 6000);
    for (uint32_t i = 0; i < LOAD_WINDOWS; i++)
        assert_float_equal(average.per_minute[i], 6000, 6);
    run(&average, 15, 0);
    assert_float_equal(average.per_minute[0], 0, 1);
    assert_float_equal(average.per_minute[2], 6000 * 0.368, 6);
}

static void a_late_step_is_told_by_its_real_length(void **state)
{
    (void)state;
    struct load_average average = {0};
    load_average_step(&average, 100, 60000);
    struct load_average same = {0};
    load_average_step(&same, 10, 6000);
    assert_float_equal(average.per_minute[0], same.per_minute[0], 0.001);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_steady_rate_is_told_by_the_shortest_window_first),
        cmocka_unit_test(a_late_step_is_told_by_its_real_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
