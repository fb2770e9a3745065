/*
 * Takeovers by ClientId: counted in windows, ids apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/shard.h"
#include "session/damper.h"

enum { WINDOW_TICKS = DAMPER_WINDOW_MS / SHARD_TICK_MS };

static void takeovers_are_counted_by_id_and_window(void **state)
{
    (void)state;
    static struct damper damper;
    for (uint32_t i = 1; i <= 5; i++)
        assert_int_equal(damper_count(&damper, 7, i), i);
    assert_int_equal(damper_count(&damper, 8, 5), 1);
    assert_int_equal(damper_count(&damper, 7, WINDOW_TICKS), 6);
    assert_int_equal(damper_count(&damper, 7, WINDOW_TICKS + 1), 1);
    assert_int_equal(damper_count(&damper, 7, WINDOW_TICKS + 2), 2);
}

static void the_first_window_need_not_begin_at_zero(void **state)
{
    (void)state;
    static struct damper damper;
    /* Just before the tick counter wraps. */
    assert_int_equal(damper_count(&damper, 1, UINT32_MAX - 1), 1);
    assert_int_equal(damper_count(&damper, 1, 3), 2);
    assert_int_equal(damper_count(&damper, 1, WINDOW_TICKS), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takeovers_are_counted_by_id_and_window),
        cmocka_unit_test(the_first_window_need_not_begin_at_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
