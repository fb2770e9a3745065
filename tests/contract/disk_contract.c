/*
 * What core/disk.h promises, on whatever disk is linked. See disk_contract.h.
 */
#include "disk_contract.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/disk.h"

enum { LARGE_BYTES = 3 * 1024 * 1024 + 137, NAMES_MAX = 64 };

struct fixture {
    const char *path;
    int directory;
    char names[NAMES_MAX][DISK_NAME_BYTES_MAX + 1];
    uint32_t name_count;
    const char *removed; /* by the listing; NULL: nothing */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    ps_assert(f != NULL);
    f->path = disk_contract_begin();
    assert_int_equal(disk_open_directory(f->path, &f->directory), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    disk_close(f->directory);
    disk_contract_end();
    free(f);
    return 0;
}

static int open_file(struct fixture *f, const char *name, enum disk_open_mode mode)
{
    int fd = -1;
    assert_int_equal(disk_open(f->directory, name, mode, &fd), 0);
    assert_true(fd >= 0);
    return fd;
}

static void write_file(struct fixture *f, const char *name, const char *text)
{
    int fd = open_file(f, name, DISK_OPEN_CREATE_NEW);
    assert_int_equal(disk_write(fd, text, strlen(text), 0), 0);
    disk_close(fd);
}

/* The whole of a small file is this text. */
static void expect_bytes(int fd, const char *text)
{
    char bytes[64];
    size_t count = 0;
    assert_int_equal(disk_read(fd, bytes, sizeof(bytes), 0, &count), 0);
    assert_int_equal(count, strlen(text));
    assert_memory_equal(bytes, text, count);
}

static void expect_file(struct fixture *f, const char *name, const char *text)
{
    int fd = open_file(f, name, DISK_OPEN_READ);
    expect_bytes(fd, text);
    disk_close(fd);
}

static void expect_size(int fd, uint64_t expected)
{
    uint64_t bytes = UINT64_MAX;
    assert_int_equal(disk_size(fd, &bytes), 0);
    assert_int_equal(bytes, expected);
}

static bool is_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] != 0)
            return false;
    }
    return true;
}

static void a_directory_is_made_once_and_opened_again(void **state)
{
    struct fixture *f = *state;
    write_file(f, "here", "x");
    int again = -1;
    assert_int_equal(disk_open_directory(f->path, &again), 0);
    assert_int_not_equal(again, f->directory);
    int fd = -1;
    assert_int_equal(disk_open(again, "here", DISK_OPEN_READ, &fd), 0);
    disk_close(fd);
    disk_close(again);
}

static void a_directory_is_locked_by_one(void **state)
{
    struct fixture *f = *state;
    int lock = -1;
    int second = -1;
    assert_int_equal(disk_lock(f->directory, &lock), 0);
    assert_int_equal(disk_lock(f->directory, &second), -EWOULDBLOCK);
    int again = -1;
    assert_int_equal(disk_open_directory(f->path, &again), 0);
    assert_int_equal(disk_lock(again, &second), -EWOULDBLOCK);
    assert_int_equal(second, -1);
    disk_close(f->directory); /* the lock stays */
    assert_int_equal(disk_lock(again, &second), -EWOULDBLOCK);
    disk_close(lock);
    assert_int_equal(disk_lock(again, &second), 0);
    disk_close(second);
    f->directory = again;
}

static int keep_name(void *context, const char *name)
{
    struct fixture *f = context;
    assert_true(f->name_count < NAMES_MAX);
    strcpy(f->names[f->name_count++], name);
    if (f->removed != NULL && strcmp(name, f->removed) == 0)
        assert_int_equal(disk_remove(f->directory, name), 0);
    return 0;
}

static uint32_t count_name(const struct fixture *f, const char *name)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < f->name_count; i++)
        count += strcmp(f->names[i], name) == 0;
    return count;
}

static int refuse_name(void *context, const char *name)
{
    (void)name;
    ++*(int *)context;
    return 7;
}

static void every_name_is_listed_once(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(disk_list(f->directory, keep_name, f), 0);
    assert_int_equal(f->name_count, 0);
    char name[16];
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof(name), "%d.seg", i);
        write_file(f, name, "x");
    }
    f->removed = "7.seg";
    for (int round = 0; round < 2; round++) {
        f->name_count = 0;
        assert_int_equal(disk_list(f->directory, keep_name, f), 0);
        assert_int_equal(f->name_count, 20 - round);
        for (int i = 0; i < 20; i++) {
            snprintf(name, sizeof(name), "%d.seg", i);
            assert_int_equal(count_name(f, name), i == 7 ? 1 - round : 1);
        }
        f->removed = NULL;
    }
    int calls = 0;
    assert_int_equal(disk_list(f->directory, refuse_name, &calls), 7);
    assert_int_equal(calls, 1);
}

static void a_file_is_opened_as_its_mode_says(void **state)
{
    struct fixture *f = *state;
    int fd = -1;
    assert_int_equal(disk_open(f->directory, "a", DISK_OPEN_READ, &fd), -ENOENT);
    assert_int_equal(disk_open(f->directory, "a", DISK_OPEN_WRITE, &fd), -ENOENT);
    write_file(f, "a", "text");
    assert_int_equal(disk_open(f->directory, "a", DISK_OPEN_CREATE_NEW, &fd), -EEXIST);
    assert_int_equal(fd, -1);
    fd = open_file(f, "a", DISK_OPEN_CREATE); /* keeps what is there */
    expect_bytes(fd, "text");
    disk_close(fd);
    fd = open_file(f, "a", DISK_OPEN_WRITE);
    assert_int_equal(disk_write(fd, "T", 1, 0), 0);
    disk_close(fd);
    expect_file(f, "a", "Text");
    fd = open_file(f, "b", DISK_OPEN_CREATE);
    expect_size(fd, 0);
    disk_close(fd);
}

static void what_was_written_is_read(void **state)
{
    struct fixture *f = *state;
    unsigned char *wrote = malloc(LARGE_BYTES);
    unsigned char *read = calloc(1, LARGE_BYTES);
    ps_assert(wrote != NULL && read != NULL);
    for (size_t i = 0; i < LARGE_BYTES; i++)
        wrote[i] = (unsigned char)(i * 7 + i / 4096 + 1);
    int fd = open_file(f, "large", DISK_OPEN_CREATE_NEW);
    assert_int_equal(disk_write(fd, wrote, LARGE_BYTES, 1000), 0);
    expect_size(fd, LARGE_BYTES + 1000);
    size_t count = 0;
    assert_int_equal(disk_read(fd, read, LARGE_BYTES, 1000, &count), 0);
    assert_int_equal(count, LARGE_BYTES);
    assert_memory_equal(read, wrote, LARGE_BYTES);
    assert_int_equal(disk_read(fd, read, 1000, 0, &count), 0); /* before it nothing was written */
    assert_int_equal(count, 1000);
    assert_true(is_zero(read, 1000));
    assert_int_equal(disk_read(fd, read, 100, LARGE_BYTES + 1000 - 60, &count), 0);
    assert_int_equal(count, 60); /* up to the end */
    assert_int_equal(disk_read(fd, read, 100, LARGE_BYTES + 1000, &count), 0);
    assert_int_equal(count, 0);
    assert_int_equal(disk_write(fd, "mid", 3, 5000), 0);
    assert_int_equal(disk_read(fd, read, 5, 4999, &count), 0);
    assert_memory_equal(read + 1, "mid", 3);
    assert_int_equal(read[0], wrote[3999]);
    assert_int_equal(read[4], wrote[4003]);
    disk_close(fd);
    free(wrote);
    free(read);
}

static void preallocated_room_reads_as_zeros(void **state)
{
    struct fixture *f = *state;
    int fd = open_file(f, "a", DISK_OPEN_CREATE_NEW);
    assert_int_equal(disk_preallocate(fd, 0), 0);
    expect_size(fd, 0);
    assert_int_equal(disk_write(fd, "abc", 3, 0), 0);
    assert_int_equal(disk_preallocate(fd, 100000), 0);
    expect_size(fd, 100000);
    unsigned char bytes[2000];
    size_t count = 0;
    assert_int_equal(disk_read(fd, bytes, sizeof(bytes), 0, &count), 0);
    assert_memory_equal(bytes, "abc", 3);
    assert_true(is_zero(bytes + 3, sizeof(bytes) - 3));
    assert_int_equal(disk_read(fd, bytes, sizeof(bytes), 99000, &count), 0);
    assert_int_equal(count, 1000);
    assert_true(is_zero(bytes, count));
    assert_int_equal(disk_preallocate(fd, 500), 0); /* it never shortens */
    expect_size(fd, 100000);
    disk_close(fd);
}

static void what_is_cut_off_is_gone(void **state)
{
    struct fixture *f = *state;
    int fd = open_file(f, "a", DISK_OPEN_CREATE_NEW);
    assert_int_equal(disk_write(fd, "0123456789", 10, 0), 0);
    assert_int_equal(disk_truncate(fd, 11), -EINVAL);
    assert_int_equal(disk_truncate(fd, 10), 0);
    assert_int_equal(disk_truncate(fd, 4), 0);
    expect_bytes(fd, "0123");
    assert_int_equal(disk_write(fd, "z", 1, 8), 0);
    unsigned char bytes[16];
    size_t count = 0;
    assert_int_equal(disk_read(fd, bytes, sizeof(bytes), 0, &count), 0);
    assert_int_equal(count, 9);
    assert_memory_equal(bytes, "0123\0\0\0\0z", 9);
    disk_close(fd);
}

static void a_removed_file_stays_until_it_is_closed(void **state)
{
    struct fixture *f = *state;
    write_file(f, "a", "old");
    int fd = open_file(f, "a", DISK_OPEN_WRITE);
    assert_int_equal(disk_remove(f->directory, "a"), 0);
    assert_int_equal(disk_remove(f->directory, "a"), -ENOENT);
    write_file(f, "a", "new");
    assert_int_equal(disk_write(fd, "O", 1, 0), 0);
    expect_bytes(fd, "Old");
    expect_file(f, "a", "new");
    disk_close(fd);
    expect_file(f, "a", "new");
}

static void a_rename_replaces_what_had_the_name(void **state)
{
    struct fixture *f = *state;
    write_file(f, "manifest", "old");
    write_file(f, "manifest.new", "new");
    int fd = open_file(f, "manifest", DISK_OPEN_READ);
    assert_int_equal(disk_rename(f->directory, "manifest.new", "manifest"), 0);
    assert_int_equal(disk_rename(f->directory, "manifest.new", "manifest"), -ENOENT);
    expect_file(f, "manifest", "new");
    expect_bytes(fd, "old");
    disk_close(fd);
    f->name_count = 0;
    assert_int_equal(disk_list(f->directory, keep_name, f), 0);
    assert_int_equal(f->name_count, 1);
    assert_string_equal(f->names[0], "manifest");
    assert_int_equal(disk_rename(f->directory, "manifest", "manifest"), 0);
    expect_file(f, "manifest", "new");
}

static void syncs_and_the_free_room_are_answered(void **state)
{
    struct fixture *f = *state;
    int fd = open_file(f, "a", DISK_OPEN_CREATE_NEW);
    assert_int_equal(disk_sync(fd), 0);
    assert_int_equal(disk_write(fd, "x", 1, 0), 0);
    assert_int_equal(disk_sync(fd), 0);
    assert_int_equal(disk_sync_directory(f->directory), 0);
    uint64_t bytes = 0;
    assert_int_equal(disk_free_bytes(f->directory, &bytes), 0);
    assert_true(bytes > 0);
    disk_close(fd);
    fd = open_file(f, "a", DISK_OPEN_READ); /* who only reads may ask for a sync */
    assert_int_equal(disk_sync(fd), 0);
    disk_close(fd);
}

int disk_contract_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_is_made_once_and_opened_again, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_directory_is_locked_by_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_name_is_listed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_is_opened_as_its_mode_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_written_is_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(preallocated_room_reads_as_zeros, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_cut_off_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_removed_file_stays_until_it_is_closed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_rename_replaces_what_had_the_name, set_up, tear_down),
        cmocka_unit_test_setup_teardown(syncs_and_the_free_room_are_answered, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
