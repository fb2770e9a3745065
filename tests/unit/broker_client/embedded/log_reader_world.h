/*
 * The world that the log reader is tested in: the host's disk and ring, or the simulated ones. One
 * at a time.
 */
#ifndef PENSTOCK_TESTS_UNIT_LOG_READER_WORLD_H
#define PENSTOCK_TESTS_UNIT_LOG_READER_WORLD_H

#include <stdint.h>

struct ring;

void log_reader_world_begin(uint64_t seed);
void log_reader_world_end(void);
const char *log_reader_world_directory(void);

/* Until something is done or `deadline_ns`: waits, or lets simulated time pass. */
void log_reader_world_wait(struct ring *ring, uint64_t deadline_ns);

#endif
