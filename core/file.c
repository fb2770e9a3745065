/*
 * Whole small files; see file.h. Reads until the end, not until the size that stat tells: what is
 * read may be a pipe or be growing.
 */
#include "core/file.h"

#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"

enum { FILE_STEP_BYTES = 16384 };

/* A pipe may have no writer, ever; a regular file is always ready. */
static int wait_for_bytes(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLIN};
    int count = 0;
    do {
        count = poll(&ready, 1, FILE_WAIT_MS_MAX);
    } while (count < 0 && errno == EINTR);
    if (count < 0)
        return -errno;
    return count == 0 ? -ETIMEDOUT : 0;
}

/* Reads until the end or more than bytes_max bytes. 0 or -errno; *bytes is the caller's either way.
 */
static int read_all(struct heap *heap, int fd, size_t bytes_max, char **bytes, size_t *count)
{
    size_t capacity = 0;
    for (;;) {
        if (capacity - *count < 2) {
            size_t larger = capacity == 0 ? FILE_STEP_BYTES : capacity * 2;
            char *grown = heap_realloc(heap, *bytes, larger);
            if (grown == NULL)
                return -ENOMEM;
            *bytes = grown;
            capacity = larger;
        }
        int waited = wait_for_bytes(fd);
        if (waited < 0)
            return waited;
        ssize_t result = read(fd, *bytes + *count, capacity - *count - 1);
        if (result < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (result < 0)
            return -errno;
        if (result == 0)
            break;
        *count += (size_t)result;
        if (*count > bytes_max)
            return -EFBIG;
    }
    (*bytes)[*count] = '\0';
    return 0;
}

int file_read(struct heap *heap, const char *path, size_t bytes_max, char **out_bytes,
              size_t *out_count)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    char *bytes = NULL;
    size_t count = 0;
    int result = read_all(heap, fd, bytes_max, &bytes, &count);
    close(fd);
    if (result < 0) {
        heap_free(heap, bytes);
        return result;
    }
    *out_bytes = bytes;
    *out_count = count;
    return 0;
}
