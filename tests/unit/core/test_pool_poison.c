/*
 * Proves that the sanitizer reports a use of pool memory after its release: a child process does
 * it, and must die of it. Skipped in builds without AddressSanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/pool.h"

enum { REPORT_BYTES_MAX = 1 << 16, TOUCHED = 17 };

enum touch { TOUCH_ACQUIRED, TOUCH_RELEASED, TOUCH_NEVER_ACQUIRED };

/* In the child: reads one byte of an object. Never returns. */
static void touch_object(enum touch touch)
{
    struct heap_budget budget = {0};
    struct heap heap;
    struct pool pool;
    heap_init(&heap, &budget);
    pool_init(&pool, &heap, 64, 100);
    struct pool_handle handle;
    volatile unsigned char *object = pool_acquire(&pool, &handle);
    object[0] = TOUCHED;
    if (touch == TOUCH_RELEASED)
        pool_release(&pool, handle.index);
    if (touch == TOUCH_NEVER_ACQUIRED)
        object += 64;
    _exit(object[0]);
}

/* The child's status; what it wrote to standard error is in `report`. */
static int run_child(enum touch touch, char *report)
{
    int pipe_fds[2];
    assert_int_equal(pipe(pipe_fds), 0);
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        dup2(pipe_fds[1], STDERR_FILENO);
        touch_object(touch);
    }
    close(pipe_fds[1]);
    size_t used = 0;
    ssize_t count;
    while ((count = read(pipe_fds[0], report + used, REPORT_BYTES_MAX - 1 - used)) > 0)
        used += (size_t)count;
    report[used] = '\0';
    close(pipe_fds[0]);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

static char report[REPORT_BYTES_MAX];

static void an_acquired_object_may_be_touched(void **state)
{
    (void)state;
    int status = run_child(TOUCH_ACQUIRED, report);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == TOUCHED);
    assert_string_equal(report, "");
}

static void assert_reported(enum touch touch)
{
    int status = run_child(touch, report);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_non_null(strstr(report, "AddressSanitizer: use-after-poison"));
    assert_non_null(strstr(report, "touch_object"));
}

static void a_released_object_may_not_be_touched(void **state)
{
    (void)state;
    assert_reported(TOUCH_RELEASED);
}

static void an_object_that_was_never_acquired_may_not_be_touched(void **state)
{
    (void)state;
    assert_reported(TOUCH_NEVER_ACQUIRED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_acquired_object_may_be_touched),
        cmocka_unit_test(a_released_object_may_not_be_touched),
        cmocka_unit_test(an_object_that_was_never_acquired_may_not_be_touched),
    };
    if (!PS_ADDRESS_SANITIZER) {
        printf("skipped: this build has no AddressSanitizer\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
