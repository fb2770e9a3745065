/*
 * Assertions stay on and name what broke.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base.h"

static void assert_aborts_when_the_condition_is_false(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        ps_assert(child != 0);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static void container_of_finds_the_owner(void **state)
{
    (void)state;
    struct owner {
        int before;
        int member;
    } owner;
    assert_ptr_equal(ps_container_of(&owner.member, struct owner, member), &owner);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assert_aborts_when_the_condition_is_false),
        cmocka_unit_test(container_of_finds_the_owner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
