/*
 * Readings of /proc, tried on this process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/bench_process.h"
#include "core/base.h"

static uint64_t used_us(const struct bench_process_use *use)
{
    return use->user_us + use->system_us;
}

static void time_that_is_spent_is_seen(void **state)
{
    (void)state;
    struct bench_process_use before;
    struct bench_process_use after;
    assert_int_equal(bench_process_use((uint64_t)getpid(), &before), 0);
    volatile uint64_t number = 1;
    do {
        for (int i = 0; i < 1000000; i++)
            number = number * 3 + 1;
        assert_int_equal(bench_process_use((uint64_t)getpid(), &after), 0);
    } while (used_us(&after) < used_us(&before) + 20000);
    struct bench_process_use since = bench_process_since(before, after);
    assert_int_equal(used_us(&since), used_us(&after) - used_us(&before));
}

static void memory_that_is_written_is_seen(void **state)
{
    (void)state;
    enum { BYTES = 32 << 20 };
    uint64_t before = 0;
    uint64_t after = 0;
    assert_int_equal(bench_process_dirty((uint64_t)getpid(), &before), 0);
    unsigned char *memory = malloc(BYTES);
    assert_non_null(memory);
    memset(memory, 1, BYTES);
    assert_int_equal(bench_process_dirty((uint64_t)getpid(), &after), 0);
    assert_true(after >= before + BYTES);
    free(memory);
}

static void a_process_that_is_not_there_is_told(void **state)
{
    (void)state;
    struct bench_process_use use;
    uint64_t bytes = 0;
    assert_int_equal(bench_process_use(UINT32_MAX, &use), -ENOENT);
    assert_int_equal(bench_process_dirty(UINT32_MAX, &bytes), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_that_is_spent_is_seen),
        cmocka_unit_test(memory_that_is_written_is_seen),
        cmocka_unit_test(a_process_that_is_not_there_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
