/*
 * What a process has used so far, read from /proc.
 *
 * Owner and thread: any. Keeps nothing.
 */
#ifndef PENSTOCK_BENCH_PROCESS_H
#define PENSTOCK_BENCH_PROCESS_H

#include <stdint.h>

struct bench_process_use {
    uint64_t user_us; /* in the kernel's ticks of 10 ms */
    uint64_t system_us;
};

/* utime and stime of /proc/PID/stat. 0, or -errno. */
int bench_process_use(uint64_t pid, struct bench_process_use *out_use);

/* Private_Dirty of /proc/PID/smaps_rollup in bytes. 0, or -errno. */
int bench_process_dirty(uint64_t pid, uint64_t *out_bytes);

/* What was used between two readings. */
struct bench_process_use bench_process_since(struct bench_process_use before,
                                             struct bench_process_use after);

#endif
