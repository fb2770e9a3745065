/*
 * What core/disk.c says of the host's file system beyond the contract (tests/contract/): locks
 * between processes, what is not a file, errors of the system.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "core/base.h"
#include "core/disk.h"
#include "support/scratch_directory.h"

struct fixture {
    char path[SCRATCH_PATH_BYTES];
    int directory;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    ps_assert(f != NULL);
    scratch_directory_make(f->path);
    assert_int_equal(disk_open_directory(f->path, &f->directory), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    disk_close(f->directory);
    scratch_directory_remove(f->path);
    free(f);
    return 0;
}

static const char *below(const struct fixture *f, const char *name)
{
    static char path[SCRATCH_PATH_BYTES + 32];
    snprintf(path, sizeof(path), "%s/%s", f->path, name);
    return path;
}

static void a_directory_is_made_for_its_owner_and_group(void **state)
{
    struct fixture *f = *state;
    mode_t mask = umask(0);
    int made = -1;
    assert_int_equal(disk_open_directory(below(f, "data"), &made), 0);
    umask(mask);
    struct stat status;
    assert_int_equal(fstat(made, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0750);
    assert_true((fcntl(made, F_GETFD) & FD_CLOEXEC) != 0);
    disk_close(made);
}

static void what_cannot_be_a_directory_is_told(void **state)
{
    struct fixture *f = *state;
    int fd = -1;
    assert_int_equal(disk_open_directory(below(f, "no/data"), &fd), -ENOENT);
    int file = -1;
    assert_int_equal(disk_open(f->directory, "file", DISK_OPEN_CREATE_NEW, &file), 0);
    assert_true((fcntl(file, F_GETFD) & FD_CLOEXEC) != 0);
    disk_close(file);
    assert_int_equal(disk_open_directory(below(f, "file"), &fd), -ENOTDIR);
    assert_int_equal(disk_open_directory("", &fd), -ENOENT);
    assert_int_equal(fd, -1);
}

/* The child answers with the status of its own attempt. */
static int lock_in_a_child(const char *path)
{
    pid_t child = fork();
    ps_assert(child >= 0);
    if (child == 0) {
        int directory = -1;
        int lock = -1;
        int status = disk_open_directory(path, &directory);
        if (status == 0)
            status = disk_lock(directory, &lock);
        _exit(-status); /* and with the process its lock goes */
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

static void another_process_cannot_have_the_lock(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(lock_in_a_child(f->path), 0);
    int lock = -1;
    assert_int_equal(disk_lock(f->directory, &lock), 0);
    assert_int_equal(lock_in_a_child(f->path), -EWOULDBLOCK);
    disk_close(lock);
    assert_int_equal(lock_in_a_child(f->path), 0);
}

static int count_names(void *context, const char *name)
{
    assert_string_equal(name, "file");
    ++*(uint32_t *)context;
    return 0;
}

static void what_is_no_file_is_not_listed(void **state)
{
    struct fixture *f = *state;
    int fd = -1;
    assert_int_equal(disk_open(f->directory, "file", DISK_OPEN_CREATE_NEW, &fd), 0);
    disk_close(fd);
    assert_int_equal(mkdirat(f->directory, "folder", 0700), 0);
    assert_int_equal(mkfifoat(f->directory, "pipe", 0600), 0);
    assert_int_equal(symlinkat("file", f->directory, "link"), 0);
    uint32_t count = 0;
    assert_int_equal(disk_list(f->directory, count_names, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(disk_open(f->directory, "folder", DISK_OPEN_READ, &fd), -EISDIR);
    assert_int_equal(disk_open(f->directory, "folder", DISK_OPEN_WRITE, &fd), -EISDIR);
}

static void errors_of_the_system_are_told(void **state)
{
    struct fixture *f = *state;
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(full >= 0);
    assert_int_equal(disk_write(full, "x", 1, 0), -ENOSPC);
    close(full);
    int fd = -1;
    assert_int_equal(disk_open(f->directory, "file", DISK_OPEN_CREATE_NEW, &fd), 0);
    disk_close(fd);
    assert_int_equal(disk_open(f->directory, "file", DISK_OPEN_READ, &fd), 0);
    assert_int_equal(disk_write(fd, "x", 1, 0), -EBADF);
    assert_int_equal(disk_preallocate(fd, 100), -EBADF);
    disk_close(fd);
    uint64_t size = 0;
    size_t count = 0;
    char byte = 0;
    assert_int_equal(disk_size(-1, &size), -EBADF);
    assert_int_equal(disk_read(-1, &byte, 1, 0, &count), -EBADF);
    assert_int_equal(disk_sync(-1), -EBADF);
    assert_int_equal(disk_sync_directory(-1), -EBADF);
    assert_int_equal(disk_truncate(-1, 0), -EBADF);
    assert_int_equal(disk_free_bytes(-1, &size), -EBADF);
    assert_int_equal(disk_list(-1, count_names, &count), -EBADF);
    assert_int_equal(disk_lock(-1, &fd), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_directory_is_made_for_its_owner_and_group, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_a_directory_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_process_cannot_have_the_lock, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_not_listed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(errors_of_the_system_are_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
