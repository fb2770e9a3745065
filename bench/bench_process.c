/*
 * Readings of /proc; see bench_process.h.
 */
#include "bench/bench_process.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int bench_process_use(uint64_t pid, struct bench_process_use *out_use)
{
    char path[64];
    char line[1024];
    snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    const char *got = fgets(line, sizeof(line), file);
    fclose(file);
    /* The name may hold blanks and brackets: fields are counted from its closing one. */
    const char *rest = got != NULL ? strrchr(line, ')') : NULL;
    unsigned long long user = 0;
    unsigned long long system = 0;
    if (rest == NULL || sscanf(rest + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %llu %llu",
                               &user, &system) != 2)
        return -EIO;
    uint64_t tick_us = 1000000 / (uint64_t)sysconf(_SC_CLK_TCK);
    *out_use = (struct bench_process_use){.user_us = user * tick_us, .system_us = system * tick_us};
    return 0;
}

int bench_process_dirty(uint64_t pid, uint64_t *out_bytes)
{
    char path[64];
    char line[256];
    snprintf(path, sizeof(path), "/proc/%llu/smaps_rollup", (unsigned long long)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return -errno;
    int status = -EIO;
    unsigned long long kilobytes = 0;
    while (status != 0 && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Private_Dirty: %llu kB", &kilobytes) == 1)
            status = 0;
    }
    fclose(file);
    if (status == 0)
        *out_bytes = kilobytes * 1024;
    return status;
}

struct bench_process_use bench_process_since(struct bench_process_use before,
                                             struct bench_process_use after)
{
    return (struct bench_process_use){.user_us = after.user_us - before.user_us,
                                      .system_us = after.system_us - before.system_us};
}
