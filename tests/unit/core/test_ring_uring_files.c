/*
 * File requests on the io_uring ring, as far as they need the kernel or the inside of the ring:
 * what goes on after a short transfer, errors, chains that came apart, the end of the ring's
 * thread. The rest is in tests/contract/.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/ring_file.h"
#include "ring_uring_internal.h"
#include "support/scratch_directory.h"

enum { WAITS_MAX = 1000 };

struct fixture {
    char path[SCRATCH_PATH_BYTES];
    int directory;
    int fd;
    struct ring *ring;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    ps_assert(f != NULL);
    const struct ring_options options = {.sockets_max = 4, .mode = RING_MODE_AUTO};
    char error[256] = "";
    if (ring_create(&options, &f->ring, error, sizeof(error)) != 0) {
        printf("skipped: %s\n", error);
        exit(77);
    }
    scratch_directory_make(f->path);
    assert_int_equal(disk_open_directory(f->path, &f->directory), 0);
    assert_int_equal(disk_open(f->directory, "0.seg", DISK_OPEN_CREATE_NEW, &f->fd), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ring_destroy(f->ring);
    disk_close(f->fd);
    disk_close(f->directory);
    scratch_directory_remove(f->path);
    free(f);
    return 0;
}

static void wait_once(struct ring *ring)
{
    struct ring_event event;
    assert_int_equal(ring_wait(ring, ring_now_ns(ring) + 10000000ULL, &event, 1), 0);
}

static struct ring_file_request *take_next(struct ring *ring)
{
    for (uint32_t i = 0; i < WAITS_MAX; i++) {
        struct ring_file_request *request = ring_file_take(ring);
        if (request != NULL)
            return request;
        wait_once(ring);
    }
    fail_msg("no request was answered");
    return NULL;
}

static int32_t run(struct ring *ring, struct ring_file_request *request)
{
    assert_int_equal(ring_file_submit(ring, request), 0);
    assert_ptr_equal(take_next(ring), request);
    return request->result;
}

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void expect_bytes(int fd, const unsigned char *expected, size_t bytes)
{
    unsigned char *read = calloc(1, bytes + 1);
    size_t count = 0;
    ps_assert(read != NULL);
    assert_int_equal(disk_read(fd, read, bytes + 1, 0, &count), 0);
    assert_int_equal(count, bytes);
    assert_memory_equal(read, expected, bytes);
    free(read);
}

static void a_write_goes_on_after_a_short_one(void **state)
{
    struct fixture *f = *state;
    enum { BYTES = 200000, FIRST = 65536 };
    assert_int_equal(ring_start(f->ring), 0);
    signal(SIGXFSZ, SIG_IGN);
    unsigned char *bytes = malloc(BYTES);
    ps_assert(bytes != NULL);
    for (uint32_t i = 0; i < BYTES; i++)
        bytes[i] = (unsigned char)(i * 31 + i / 256);
    struct ring_file_request request = {
        .fd = f->fd,
        .kind = RING_FILE_WRITE_SYNCED,
        .buffer = bytes,
        .bytes = BYTES,
    };
    set_file_limit(FIRST);
    assert_int_equal(ring_file_submit(f->ring, &request), 0);
    /* Until the write was short; the rest is not submitted. */
    for (uint32_t i = 0; i < WAITS_MAX && f->ring->counters.completions < 1; i++)
        wait_once(f->ring);
    set_file_limit(RLIM_INFINITY);
    assert_int_equal(f->ring->counters.completions, 1);
    assert_null(ring_file_take(f->ring));
    uint64_t size = 0;
    assert_int_equal(disk_size(f->fd, &size), 0);
    assert_int_equal(size, FIRST);
    assert_ptr_equal(take_next(f->ring), &request);
    assert_int_equal(request.result, BYTES);
    assert_int_equal(f->ring->counters.completions, 2);
    expect_bytes(f->fd, bytes, BYTES);
    free(bytes);
}

static void what_stops_a_write_is_told(void **state)
{
    struct fixture *f = *state;
    enum { BYTES = 200000, FIRST = 65536 };
    assert_int_equal(ring_start(f->ring), 0);
    signal(SIGXFSZ, SIG_IGN);
    unsigned char *bytes = calloc(1, BYTES);
    ps_assert(bytes != NULL);
    struct ring_file_request request = {
        .fd = f->fd,
        .kind = RING_FILE_WRITE_SYNCED,
        .buffer = bytes,
        .bytes = BYTES,
    };
    set_file_limit(FIRST);
    int32_t limited = run(f->ring, &request);
    set_file_limit(RLIM_INFINITY);
    assert_int_equal(limited, -EFBIG);
    expect_bytes(f->fd, bytes, FIRST);
    int full = open("/dev/full", O_RDWR | O_CLOEXEC);
    assert_true(full >= 0);
    request.fd = full;
    assert_int_equal(run(f->ring, &request), -ENOSPC);
    close(full);
    int reader = -1;
    assert_int_equal(disk_open(f->directory, "0.seg", DISK_OPEN_READ, &reader), 0);
    request.fd = reader;
    assert_int_equal(run(f->ring, &request), -EBADF);
    request.kind = RING_FILE_WRITE;
    assert_int_equal(run(f->ring, &request), -EBADF);
    disk_close(reader);
    assert_int_equal(f->ring->counters.file_errors, 4);
    free(bytes);
}

static void a_sync_that_fails_is_told(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ring_start(f->ring), 0);
    int ends[2];
    assert_int_equal(pipe(ends), 0); /* cannot be synced */
    struct ring_file_request request = {.fd = ends[1], .kind = RING_FILE_SYNC};
    assert_int_equal(run(f->ring, &request), -EINVAL);
    close(ends[0]);
    close(ends[1]);
}

/* Linux 6.5; the C library has no name for it yet. */
enum { CACHESTAT = 451 };

/* Pages of the file that are to be written or are being written. -1: this kernel does not tell. */
static int64_t count_dirty(int fd)
{
    const uint64_t range[2] = {0, 0}; /* all of it */
    uint64_t pages[5] = {0};          /* cached, dirty, under way, evicted, evicted lately */
    if (syscall(CACHESTAT, fd, range, pages, 0) < 0)
        return -1;
    return (int64_t)(pages[1] + pages[2]);
}

static void a_synced_write_and_a_sync_leave_nothing_dirty(void **state)
{
    struct fixture *f = *state;
    enum { BYTES = 64 * 1024 };
    static unsigned char bytes[BYTES];
    assert_int_equal(ring_start(f->ring), 0);
    assert_int_equal(disk_write(f->fd, bytes, BYTES, 0), 0);
    assert_int_equal(disk_sync(f->fd), 0);
    if (count_dirty(f->fd) != 0) { /* an old kernel, or a file system in memory */
        printf("skipped: nothing tells what is dirty in %s\n", f->path);
        skip();
    }
    struct ring_file_request request = {
        .fd = f->fd,
        .kind = RING_FILE_WRITE,
        .buffer = bytes,
        .bytes = BYTES,
    };
    const enum ring_file_kind kinds[] = {RING_FILE_SYNC, RING_FILE_WRITE_SYNCED};
    for (uint32_t i = 0; i < 2; i++) {
        request.kind = RING_FILE_WRITE;
        assert_int_equal(run(f->ring, &request), BYTES);
        assert_true(count_dirty(f->fd) > 0);
        request.kind = kinds[i];
        assert_int_equal(run(f->ring, &request), i == 0 ? 0 : BYTES);
        assert_int_equal(count_dirty(f->fd), 0);
    }
}

static void a_read_goes_on_after_a_short_one(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ring_start(f->ring), 0);
    int ends[2];
    assert_int_equal(pipe(ends), 0); /* gives what is there */
    char buffer[16] = "";
    struct ring_file_request request = {
        .fd = ends[0],
        .kind = RING_FILE_READ,
        .buffer = buffer,
        .bytes = 10,
    };
    assert_int_equal(ring_file_submit(f->ring, &request), 0);
    for (uint64_t part = 1; part <= 2; part++) {
        assert_int_equal(write(ends[1], "abc", 3), 3);
        for (uint32_t i = 0; i < WAITS_MAX && f->ring->counters.completions < part; i++)
            wait_once(f->ring);
        assert_null(ring_file_take(f->ring));
    }
    close(ends[1]); /* the end */
    assert_ptr_equal(take_next(f->ring), &request);
    assert_int_equal(request.result, 6);
    assert_string_equal(buffer, "abcabc");
    close(ends[0]);
}

struct other {
    struct fixture *fixture;
    struct ring_file_request requests[8];
    unsigned char *bytes;
};

enum { OTHER_BYTES = 1 << 20 };

static void *begin_and_end(void *memory)
{
    struct other *other = memory;
    struct ring *ring = other->fixture->ring;
    ps_assert(ring_start(ring) == 0);
    for (uint32_t i = 0; i < ps_array_count(other->requests); i++) {
        other->requests[i] = (struct ring_file_request){
            .fd = other->fixture->fd,
            .kind = RING_FILE_WRITE_SYNCED,
            .buffer = other->bytes,
            .bytes = OTHER_BYTES,
            .offset = (uint64_t)i * OTHER_BYTES,
        };
        ps_assert(ring_file_submit(ring, &other->requests[i]) == 0);
    }
    struct ring_event event;
    ps_assert(ring_wait(ring, 0, &event, 1) >= 0); /* to the kernel, and away */
    return NULL;
}

/* What the kernel still read after that would be seen in the file as the bytes that came later. */
static void a_thread_that_has_ended_has_nothing_under_way(void **state)
{
    struct fixture *f = *state;
    struct other other = {.fixture = f, .bytes = malloc(OTHER_BYTES)};
    ps_assert(other.bytes != NULL);
    memset(other.bytes, 'a', OTHER_BYTES);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, begin_and_end, &other), 0);
    pthread_join(thread, NULL);
    ring_destroy(f->ring);
    f->ring = NULL;
    memset(other.bytes, 'b', OTHER_BYTES);
    uint64_t size = 0;
    assert_int_equal(disk_size(f->fd, &size), 0);
    char *read = malloc(OTHER_BYTES);
    ps_assert(read != NULL);
    for (uint64_t at = 0; at < size; at += OTHER_BYTES) {
        size_t count = 0;
        assert_int_equal(disk_read(f->fd, read, OTHER_BYTES, at, &count), 0);
        assert_null(memchr(read, 'b', count));
    }
    free(read);
    free(other.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_write_goes_on_after_a_short_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_stops_a_write_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sync_that_fails_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_synced_write_and_a_sync_leave_nothing_dirty, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_read_goes_on_after_a_short_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_thread_that_has_ended_has_nothing_under_way, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
