/*
 * The ring's contract: file requests (core/ring_file.h), in a directory of the test's own.
 */
#include "ring_contract_internal.h"

#include <stdlib.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/ring_file.h"

enum { LARGE_BYTES = 2 * 1024 * 1024 + 77 };

/* A ring and a file that the test may write. */
struct file_fixture {
    struct contract *contract;
    struct ring *ring;
    int directory;
    int fd;
};

static struct file_fixture open_fixture(struct contract *contract)
{
    struct file_fixture f = {.contract = contract};
    f.ring = contract_make_ring(contract, 4, 0);
    assert_int_equal(disk_open_directory(contract_directory(), &f.directory), 0);
    assert_int_equal(disk_open(f.directory, "0.seg", DISK_OPEN_CREATE_NEW, &f.fd), 0);
    return f;
}

static void close_fixture(const struct file_fixture *f)
{
    disk_close(f->fd);
    disk_close(f->directory);
}

static struct ring_file_request *take_next(struct ring *ring)
{
    for (uint32_t i = 0; i < CONTRACT_TRIES_MAX; i++) {
        struct ring_file_request *request = ring_file_take(ring);
        if (request != NULL)
            return request;
        struct ring_event event;
        uint64_t deadline_ns = ring_now_ns(ring) + CONTRACT_STEP_MS * CONTRACT_MS;
        assert_int_equal(ring_wait(ring, deadline_ns, &event, 1), 0);
        contract_pass_time(ring, deadline_ns);
    }
    fail_msg("no request was answered");
    return NULL;
}

/* Submits one and waits for its answer. */
static int32_t run(const struct file_fixture *f, enum ring_file_kind kind, void *buffer,
                   uint32_t bytes, uint64_t offset)
{
    struct ring_file_request request = {
        .fd = f->fd,
        .kind = kind,
        .buffer = buffer,
        .bytes = bytes,
        .offset = offset,
        .result = INT32_MIN,
        .owner = &request,
    };
    assert_int_equal(ring_file_submit(f->ring, &request), 0);
    const struct ring_file_request *taken = take_next(f->ring);
    assert_ptr_equal(taken, &request);
    assert_ptr_equal(taken->owner, &request);
    assert_null(taken->next);
    assert_null(ring_file_take(f->ring));
    return request.result;
}

static unsigned char *make_bytes(uint32_t count, uint32_t salt)
{
    unsigned char *bytes = malloc(count);
    ps_assert(bytes != NULL);
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = (unsigned char)(i * 13 + i / 512 + salt);
    return bytes;
}

static void what_was_written_is_read_on_either_way(void **state)
{
    struct file_fixture f = open_fixture(*state);
    unsigned char *wrote = make_bytes(LARGE_BYTES, 1);
    unsigned char *read = calloc(1, LARGE_BYTES);
    ps_assert(read != NULL);
    assert_int_equal(run(&f, RING_FILE_WRITE, wrote, LARGE_BYTES, 300), LARGE_BYTES);
    assert_int_equal(run(&f, RING_FILE_READ, read, LARGE_BYTES, 300), LARGE_BYTES);
    assert_memory_equal(read, wrote, LARGE_BYTES);
    size_t count = 0;
    memset(read, 0, LARGE_BYTES);
    assert_int_equal(disk_read(f.fd, read, LARGE_BYTES, 300, &count), 0);
    assert_int_equal(count, LARGE_BYTES);
    assert_memory_equal(read, wrote, LARGE_BYTES);
    assert_int_equal(disk_write(f.fd, "here", 4, 4096), 0);
    assert_int_equal(run(&f, RING_FILE_READ, read, 4, 4096), 4);
    assert_memory_equal(read, "here", 4);
    close_fixture(&f);
    free(wrote);
    free(read);
}

static void a_read_is_short_at_the_end_only(void **state)
{
    struct file_fixture f = open_fixture(*state);
    char buffer[100];
    assert_int_equal(run(&f, RING_FILE_READ, buffer, 100, 0), 0);
    assert_int_equal(run(&f, RING_FILE_WRITE, "0123456789", 10, 0), 10);
    assert_int_equal(run(&f, RING_FILE_READ, buffer, 100, 4), 6);
    assert_memory_equal(buffer, "456789", 6);
    assert_int_equal(run(&f, RING_FILE_READ, buffer, 100, 10), 0);
    assert_int_equal(run(&f, RING_FILE_READ, buffer, 100, 5000), 0);
    close_fixture(&f);
}

static void a_synced_write_tells_its_bytes_and_a_sync_none(void **state)
{
    struct file_fixture f = open_fixture(*state);
    unsigned char *wrote = make_bytes(LARGE_BYTES, 2);
    assert_int_equal(disk_preallocate(f.fd, 2 * LARGE_BYTES), 0);
    assert_int_equal(run(&f, RING_FILE_WRITE_SYNCED, wrote, LARGE_BYTES, 0), LARGE_BYTES);
    assert_int_equal(run(&f, RING_FILE_WRITE_SYNCED, wrote, 1, LARGE_BYTES), 1);
    assert_int_equal(run(&f, RING_FILE_SYNC, NULL, 0, 0), 0);
    unsigned char byte = 0;
    assert_int_equal(run(&f, RING_FILE_READ, &byte, 1, LARGE_BYTES), 1);
    assert_int_equal(byte, wrote[0]);
    const struct ring_counters *counters = ring_counters(f.ring);
    assert_int_equal(counters->file_writes, 2);
    assert_int_equal(counters->file_syncs, 3);
    assert_int_equal(counters->file_reads, 1);
    assert_int_equal(counters->file_bytes_written, LARGE_BYTES + 1);
    assert_int_equal(counters->file_bytes_read, 1);
    assert_int_equal(counters->file_errors, 0);
    close_fixture(&f);
    free(wrote);
}

/* A wait whose deadline is far away ends, and the one after it does not begin to sleep. */
static void a_request_that_is_done_ends_the_wait(void **state)
{
    struct file_fixture f = open_fixture(*state);
    uint64_t start_ns = ring_now_ns(f.ring);
    struct ring_event event;
    for (uint32_t i = 0; i < 20; i++) {
        struct ring_file_request request = {
            .fd = f.fd,
            .kind = i % 2 == 0 ? RING_FILE_WRITE_SYNCED : RING_FILE_READ,
            .buffer = &(char[4096]){0},
            .bytes = 4096,
        };
        assert_int_equal(ring_file_submit(f.ring, &request), 0);
        uint64_t done_before =
            ring_counters(f.ring)->file_writes + ring_counters(f.ring)->file_reads;
        uint64_t done = done_before;
        for (uint32_t waits = 0; waits < 10 && done == done_before; waits++) {
            assert_int_equal(ring_wait(f.ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
            contract_pass_time(f.ring, ring_now_ns(f.ring) + CONTRACT_MS);
            done = ring_counters(f.ring)->file_writes + ring_counters(f.ring)->file_reads;
        }
        assert_int_equal(done, done_before + 1);
        for (uint32_t waits = 0; waits < 3; waits++)
            assert_int_equal(ring_wait(f.ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
        assert_ptr_equal(ring_file_take(f.ring), &request);
    }
    assert_true(ring_now_ns(f.ring) - start_ns < 15000 * CONTRACT_MS);
    close_fixture(&f);
}

/* A batch takes the completion of a file request from the kernel: it is not lost, and told by the
 * next wait. */
static void a_batch_that_meets_an_answer_keeps_it(void **state)
{
    struct contract *contract = *state;
    contract_listen(contract, 4);
    struct ring_socket socket;
    contract_pair(contract, &socket);
    struct ring *ring = contract->ring;
    int directory = -1;
    int fd = -1;
    assert_int_equal(disk_open_directory(contract_directory(), &directory), 0);
    assert_int_equal(disk_open(directory, "0.seg", DISK_OPEN_CREATE_NEW, &fd), 0);
    uint64_t start_ns = ring_now_ns(ring);
    uint64_t end_ns = start_ns + 15000 * CONTRACT_MS;
    for (uint32_t i = 0; i < 10; i++) {
        struct ring_file_request request = {
            .fd = fd,
            .kind = RING_FILE_WRITE,
            .buffer = &(char[4096]){0},
            .bytes = 4096,
        };
        assert_int_equal(ring_file_submit(ring, &request), 0);
        while (ring_counters(ring)->file_writes == i && ring_now_ns(ring) < end_ns) {
            char byte;
            assert_int_equal(contract_receive(ring, socket, &byte, 1).result, -EAGAIN);
            contract_pass_time(ring, ring_now_ns(ring) + CONTRACT_MS);
        }
        struct ring_event event;
        assert_int_equal(ring_wait(ring, start_ns + 30000 * CONTRACT_MS, &event, 1), 0);
        assert_ptr_equal(ring_file_take(ring), &request);
        assert_int_equal(request.result, 4096);
    }
    assert_true(ring_now_ns(ring) < end_ns);
    disk_close(fd);
    disk_close(directory);
}

static void what_is_beyond_the_limit_is_refused(void **state)
{
    struct file_fixture f = open_fixture(*state);
    static unsigned char buffers[RING_FILES_MAX + 1][64];
    struct ring_file_request *requests = calloc(RING_FILES_MAX + 1, sizeof(*requests));
    ps_assert(requests != NULL);
    for (uint32_t i = 0; i <= RING_FILES_MAX; i++) {
        memset(buffers[i], (int)(i & 0xff), sizeof(buffers[i]));
        requests[i] = (struct ring_file_request){
            .fd = f.fd,
            .kind = RING_FILE_WRITE,
            .buffer = buffers[i],
            .bytes = sizeof(buffers[i]),
            .offset = i * sizeof(buffers[i]),
            .result = INT32_MIN,
            .owner = buffers[i],
        };
        int expected = i == RING_FILES_MAX ? -EAGAIN : 0;
        assert_int_equal(ring_file_submit(f.ring, &requests[i]), expected);
    }
    struct ring_file_request *last = &requests[RING_FILES_MAX];
    uint32_t counts[RING_FILES_MAX + 1] = {0};
    counts[take_next(f.ring) - requests]++;
    assert_int_equal(ring_file_submit(f.ring, last), 0); /* one taken, one room */
    assert_int_equal(ring_file_submit(f.ring, &(struct ring_file_request){.kind = RING_FILE_SYNC}),
                     -EAGAIN);
    for (uint32_t i = 0; i < RING_FILES_MAX; i++)
        counts[take_next(f.ring) - requests]++;
    assert_null(ring_file_take(f.ring));
    for (uint32_t i = 0; i <= RING_FILES_MAX; i++) {
        unsigned char read[64];
        assert_int_equal(counts[i], 1);
        assert_int_equal(requests[i].result, 64);
        assert_int_equal(run(&f, RING_FILE_READ, read, 64, i * 64), 64);
        assert_memory_equal(read, buffers[i], 64);
    }
    close_fixture(&f);
    free(requests);
}

/* Memory that the kernel still wrote from or into would show in the file or to the sanitizers. */
static void destroying_a_ring_waits_for_what_is_under_way(void **state)
{
    struct contract *contract = *state;
    struct file_fixture f = open_fixture(contract);
    enum { COUNT = 8, BYTES = 256 * 1024 };
    struct ring_file_request requests[COUNT];
    unsigned char *buffers[COUNT];
    for (uint32_t i = 0; i < COUNT; i++) {
        buffers[i] = make_bytes(BYTES, i);
        requests[i] = (struct ring_file_request){
            .fd = f.fd,
            .kind = i % 2 == 0 ? RING_FILE_WRITE_SYNCED : RING_FILE_WRITE,
            .buffer = buffers[i],
            .bytes = BYTES,
            .offset = (uint64_t)i * BYTES,
        };
        assert_int_equal(ring_file_submit(f.ring, &requests[i]), 0);
    }
    contract_destroy_ring(contract, f.ring);
    for (uint32_t i = 0; i < COUNT; i++) {
        unsigned char *read = malloc(BYTES);
        size_t count = 0;
        ps_assert(read != NULL);
        assert_int_equal(disk_read(f.fd, read, BYTES, (uint64_t)i * BYTES, &count), 0);
        assert_int_equal(count, BYTES);
        assert_memory_equal(read, buffers[i], BYTES);
        memset(buffers[i], 0, BYTES);
        free(buffers[i]);
        free(read);
    }
    close_fixture(&f);
}

static void a_drained_ring_has_forgotten_its_requests_and_goes_on(void **state)
{
    struct contract *contract = *state;
    struct file_fixture f = open_fixture(contract);
    enum { BYTES = 256 * 1024 };
    struct ring_file_request *requests = calloc(RING_FILES_MAX, sizeof(*requests));
    unsigned char *buffer = make_bytes(BYTES, 1);
    ps_assert(requests != NULL);
    for (uint32_t i = 0; i < RING_FILES_MAX; i++) {
        requests[i] = (struct ring_file_request){.fd = f.fd,
                                                 .kind = RING_FILE_WRITE,
                                                 .buffer = buffer,
                                                 .bytes = BYTES,
                                                 .offset = i % 4 * BYTES};
        assert_int_equal(ring_file_submit(f.ring, &requests[i]), 0);
    }
    ring_file_drain(f.ring);
    assert_null(ring_file_take(f.ring));
    free(requests);
    memset(buffer, 0, BYTES);
    assert_int_equal(run(&f, RING_FILE_WRITE, buffer, BYTES, 0), BYTES);
    assert_int_equal(run(&f, RING_FILE_READ, buffer, BYTES, 0), BYTES);
    assert_int_equal(buffer[BYTES - 1], 0);
    free(buffer);
    close_fixture(&f);
}

struct contract_tests ring_contract_files_tests(void)
{
    static const struct CMUnitTest tests[] = {
        contract_test(what_was_written_is_read_on_either_way),
        contract_test(a_read_is_short_at_the_end_only),
        contract_test(a_synced_write_tells_its_bytes_and_a_sync_none),
        contract_test(a_request_that_is_done_ends_the_wait),
        contract_test(a_batch_that_meets_an_answer_keeps_it),
        contract_test(what_is_beyond_the_limit_is_refused),
        contract_test(destroying_a_ring_waits_for_what_is_under_way),
        contract_test(a_drained_ring_has_forgotten_its_requests_and_goes_on),
    };
    return (struct contract_tests){tests, ps_array_count(tests)};
}
