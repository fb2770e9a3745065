/*
 * Overload: levels by memory and by lateness, and the way back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "net/overload.h"

static const struct overload_limits limits = {.memory_percent = 80, .drift_ms = 100};

static void memory_raises_the_level_step_by_step(void **state)
{
    (void)state;
    static const struct {
        uint64_t used;
        enum overload_level level;
    } cases[] = {
        {0, OVERLOAD_NONE},
        {799, OVERLOAD_NONE},
        {800, OVERLOAD_SLOW_ACCEPTS},
        {841, OVERLOAD_REFUSE_CONNECTS},
        {882, OVERLOAD_SLOW_PUBLISHERS},
        {923, OVERLOAD_DROP},
        {964, OVERLOAD_CLOSE},
        {5000, OVERLOAD_CLOSE},
        {100, OVERLOAD_NONE},
    };
    struct overload overload = {0};
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        assert_int_equal(overload_look(&overload, &limits, cases[i].used, 1000, 0), cases[i].level);
        assert_int_equal(overload.level, cases[i].level);
    }
    assert_int_equal(overload_look(&overload, &limits, 5000, 0, 0), OVERLOAD_NONE);
    const struct overload_limits without = {.memory_percent = 100};
    assert_int_equal(overload_look(&overload, &without, 5000, 1000, 0), OVERLOAD_NONE);
}

static enum overload_level after_turns(struct overload *overload, uint32_t count, uint64_t turn_ms)
{
    for (uint32_t i = 0; i < count; i++)
        overload_look(overload, &limits, 0, 0, turn_ms * 1000000);
    return overload->level;
}

static void one_long_turn_is_no_overload_but_many_are(void **state)
{
    (void)state;
    struct overload overload = {0};
    assert_int_equal(after_turns(&overload, 1, 700), OVERLOAD_NONE);
    assert_int_equal(after_turns(&overload, 50, 0), OVERLOAD_NONE);
    assert_int_equal(after_turns(&overload, 50, 150), OVERLOAD_SLOW_ACCEPTS);
    assert_int_equal(after_turns(&overload, 50, 300), OVERLOAD_REFUSE_CONNECTS);
    assert_int_equal(after_turns(&overload, 50, 100000), OVERLOAD_SLOW_PUBLISHERS);
    assert_int_equal(after_turns(&overload, 100, 0), OVERLOAD_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_raises_the_level_step_by_step),
        cmocka_unit_test(one_long_turn_is_no_overload_but_many_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
