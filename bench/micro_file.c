/*
 * Requests of files on a ring, one at a time, as a shard's journal makes them: a write with its
 * fdatasync into a preallocated file, beginning anew when it is full. Time per request is its
 * latency, CPU time is what it costs the shard's thread (the harness shows both). Below TMPDIR or
 * /tmp: what is measured is that file system and its disk.
 *
 * `fresh` writes into room that was only reserved, so that each sync also writes the file system's
 * journal; `written` into bytes that were written and synced before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "micro.h"

enum { FILE_BYTES = 64 << 20 };

struct subject {
    struct ring *ring;
    char path[64];
    int directory;
    int fd;
    uint32_t bytes;
    uint64_t offset;
    bool is_fresh;
    unsigned char *buffer;
};

static void expect(int status)
{
    ps_assert(status == 0);
}

static void *create(uint64_t size, bool is_fresh)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    const char *base = getenv("TMPDIR");
    snprintf(subject->path, sizeof(subject->path), "%s/penstock_micro_XXXXXX",
             base == NULL ? "/tmp" : base);
    ps_assert(mkdtemp(subject->path) != NULL);
    const struct ring_options options = {.sockets_max = 4, .mode = RING_MODE_PLAIN};
    char error[256] = "";
    expect(ring_create(&options, &subject->ring, error, sizeof(error)));
    expect(ring_start(subject->ring));
    expect(disk_open_directory(subject->path, &subject->directory));
    expect(disk_open(subject->directory, "0.seg", DISK_OPEN_CREATE_NEW, &subject->fd));
    subject->bytes = (uint32_t)size;
    subject->is_fresh = is_fresh;
    subject->buffer = malloc(size);
    ps_assert(subject->buffer != NULL);
    memset(subject->buffer, 'x', size);
    expect(disk_preallocate(subject->fd, FILE_BYTES));
    for (uint64_t at = 0; !is_fresh && at < FILE_BYTES; at += size)
        expect(disk_write(subject->fd, subject->buffer, size, at));
    expect(disk_sync(subject->fd));
    return subject;
}

static void *create_fresh(uint64_t size)
{
    return create(size, true);
}

static void *create_written(uint64_t size)
{
    return create(size, false);
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ring_destroy(subject->ring);
    disk_close(subject->fd);
    expect(disk_remove(subject->directory, "0.seg"));
    disk_close(subject->directory);
    rmdir(subject->path);
    free(subject->buffer);
    free(subject);
}

static void begin_anew(struct subject *subject)
{
    subject->offset = 0;
    if (!subject->is_fresh)
        return;
    expect(disk_truncate(subject->fd, 0));
    expect(disk_preallocate(subject->fd, FILE_BYTES));
    expect(disk_sync(subject->fd));
}

static void advance(struct subject *subject)
{
    subject->offset += subject->bytes;
    if (subject->offset + subject->bytes > FILE_BYTES)
        begin_anew(subject);
}

static void run(struct subject *subject, enum ring_file_kind kind, uint64_t iterations)
{
    for (uint64_t i = 0; i < iterations; i++) {
        struct ring_file_request request = {
            .fd = subject->fd,
            .kind = kind,
            .buffer = subject->buffer,
            .bytes = subject->bytes,
            .offset = subject->offset,
        };
        expect(ring_file_submit(subject->ring, &request));
        while (ring_file_take(subject->ring) == NULL) {
            struct ring_event event;
            int count = ring_wait(subject->ring, UINT64_MAX, &event, 1);
            ps_assert(count == 0);
        }
        ps_assert(request.result == (int32_t)subject->bytes);
        advance(subject);
    }
}

/* What the same costs a thread that waits for the disk itself. */
static void run_blocking(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        expect(disk_write(subject->fd, subject->buffer, subject->bytes, subject->offset));
        expect(disk_sync(subject->fd));
        advance(subject);
    }
}

static void run_write_synced(void *memory, uint64_t iterations)
{
    run(memory, RING_FILE_WRITE_SYNCED, iterations);
}

static void run_write(void *memory, uint64_t iterations)
{
    run(memory, RING_FILE_WRITE, iterations);
}

static void run_read(void *memory, uint64_t iterations)
{
    run(memory, RING_FILE_READ, iterations);
}

const struct micro_case micro_file_cases[] = {
    {"file/write_synced_fresh/4096", create_fresh, destroy, run_write_synced, 4096},
    {"file/write_synced_fresh/65536", create_fresh, destroy, run_write_synced, 65536},
    {"file/write_synced_written/65536", create_written, destroy, run_write_synced, 65536},
    {"file/write_synced_written/262144", create_written, destroy, run_write_synced, 262144},
    {"file/blocking_fresh/65536", create_fresh, destroy, run_blocking, 65536},
    {"file/blocking_written/65536", create_written, destroy, run_blocking, 65536},
    {"file/write/65536", create_written, destroy, run_write, 65536},
    {"file/read_cached/65536", create_written, destroy, run_read, 65536},
    {NULL, NULL, NULL, NULL, 0},
};
