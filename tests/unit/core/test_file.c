/*
 * Whole files: content, limits, and what the system says.
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
#include "core/file.h"
#include "core/heap.h"

static char *write_file(size_t count)
{
    static char path[64];
    snprintf(path, sizeof(path), "%s", "/tmp/penstock_file_XXXXXX");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(write(fd, &"0123456789"[i % 10], 1), 1);
    close(fd);
    return path;
}

static void a_file_is_read_up_to_its_limit(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    char *path = write_file(20000);
    char *bytes = NULL;
    size_t count = 0;
    assert_int_equal(file_read(&heap, path, 20000, &bytes, &count), 0);
    assert_int_equal(count, 20000);
    assert_memory_equal(bytes + 19990, "0123456789", 11);
    heap_free(&heap, bytes);
    assert_int_equal(file_read(&heap, path, 19999, &bytes, &count), -EFBIG);
    unlink(path);
    assert_int_equal(heap.bytes_net, 0);
    heap_deinit(&heap);
}

static void a_pipe_without_a_writer_is_not_waited_for(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    char *path = write_file(0);
    unlink(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    char *bytes = NULL;
    size_t count = 0;
    assert_int_equal(file_read(&heap, path, 100, &bytes, &count), -ETIMEDOUT);
    unlink(path);
    assert_int_equal(heap.bytes_net, 0);
    heap_deinit(&heap);
}

static void a_pipe_is_read_to_its_end(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(write(ends[1], "listen", 6), 6);
    close(ends[1]);
    char path[32];
    snprintf(path, sizeof(path), "/dev/fd/%d", ends[0]);
    char *bytes = NULL;
    size_t count = 0;
    assert_int_equal(file_read(&heap, path, 100, &bytes, &count), 0);
    assert_string_equal(bytes, "listen");
    heap_free(&heap, bytes);
    close(ends[0]);
    heap_deinit(&heap);
}

static void what_cannot_be_read_is_told(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    char *bytes = NULL;
    size_t count = 0;
    assert_int_equal(file_read(&heap, "/nowhere/at/all", 10, &bytes, &count), -ENOENT);
    assert_int_equal(file_read(&heap, "/tmp", 10, &bytes, &count), -EISDIR);
    heap.fail_at = heap.allocations + 1;
    assert_int_equal(file_read(&heap, "/dev/null", 10, &bytes, &count), -ENOMEM);
    assert_int_equal(file_read(&heap, "/dev/null", 10, &bytes, &count), 0);
    assert_int_equal(count, 0);
    assert_string_equal(bytes, "");
    heap_free(&heap, bytes);
    heap_deinit(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_read_up_to_its_limit),
        cmocka_unit_test(a_pipe_without_a_writer_is_not_waited_for),
        cmocka_unit_test(a_pipe_is_read_to_its_end),
        cmocka_unit_test(what_cannot_be_read_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
