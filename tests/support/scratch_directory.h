/*
 * A directory of a test's own on the host's disk, below TMPDIR or /tmp, and its removal with all
 * that is in it. Header only; any test that needs real files.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_SCRATCH_DIRECTORY_H
#define PENSTOCK_TESTS_SUPPORT_SCRATCH_DIRECTORY_H

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"

enum { SCRATCH_PATH_BYTES = 256, SCRATCH_DESCRIPTORS_MAX = 8 };

/* `path` has SCRATCH_PATH_BYTES. */
static inline void scratch_directory_make(char *path)
{
    const char *base = getenv("TMPDIR");
    int count = snprintf(path, SCRATCH_PATH_BYTES, "%s/penstock_XXXXXX",
                         base == NULL || base[0] == '\0' ? "/tmp" : base);
    ps_assert(count > 0 && count < SCRATCH_PATH_BYTES);
    ps_assert(mkdtemp(path) != NULL);
}

static inline int scratch_remove_one(const char *path, const struct stat *status, int kind,
                                     struct FTW *position)
{
    (void)status;
    (void)kind;
    (void)position;
    return remove(path);
}

static inline void scratch_directory_remove(const char *path)
{
    int status =
        nftw(path, scratch_remove_one, SCRATCH_DESCRIPTORS_MAX, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    ps_assert(status == 0);
}

#endif
