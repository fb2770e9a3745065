/*
 * Memory that may be used, from made-up files of control groups.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "core/system_memory.h"

static char root[] = "/tmp/penstock-test-XXXXXX";

static void write_file(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof(command), "rm -r %s", root);
    return system(command);
}

static void the_least_of_host_and_groups_counts(void **state)
{
    (void)state;
    assert_int_equal(system_memory_bytes_below(root, 5000), 5000);
    write_file("proc/self/cgroup", "1:cpu:/old\n0::/a.slice/b.service\n");
    assert_int_equal(system_memory_bytes_below(root, 5000), 5000);
    write_file("sys/fs/cgroup/a.slice/b.service/memory.max", "max\n");
    assert_int_equal(system_memory_bytes_below(root, 5000), 5000);
    write_file("sys/fs/cgroup/a.slice/memory.max", "3000\n");
    assert_int_equal(system_memory_bytes_below(root, 5000), 3000);
    write_file("sys/fs/cgroup/a.slice/b.service/memory.max", "2000\n");
    assert_int_equal(system_memory_bytes_below(root, 5000), 2000);
    assert_int_equal(system_memory_bytes_below(root, 1000), 1000);
    write_file("sys/fs/cgroup/memory.max", "700\n");
    write_file("proc/self/cgroup", "0::/\n");
    assert_int_equal(system_memory_bytes_below(root, 1000), 700);
}

static void this_host_has_memory(void **state)
{
    (void)state;
    assert_true(system_memory_bytes() > 1 << 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_of_host_and_groups_counts),
        cmocka_unit_test(this_host_has_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
