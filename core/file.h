/*
 * Reads a whole small file: configurations, password files. Blocking: for the start of a program
 * and the helper thread, never for a shard's thread. Stateless.
 */
#ifndef PENSTOCK_CORE_FILE_H
#define PENSTOCK_CORE_FILE_H

#include <stddef.h>

struct heap;

enum { FILE_WAIT_MS_MAX = 2000 }; /* for each piece of what is no regular file */

/* 0 with *out_bytes (the caller's, to be given to heap_free; a NUL follows the last byte) and
 * *out_count; or -errno: what open or read said (-EISDIR for a folder), -EFBIG beyond bytes_max,
 * -ETIMEDOUT (a pipe that nobody writes to), -ENOMEM. */
int file_read(struct heap *heap, const char *path, size_t bytes_max, char **out_bytes,
              size_t *out_count);

#endif
