/*
 * The log reader on the host's disk and the io_uring ring.
 */
#include "core/base.h"
#include "core/ring.h"
#include "log_reader_suite.h"
#include "log_reader_world.h"
#include "support/scratch_directory.h"

static char scratch[SCRATCH_PATH_BYTES];

void log_reader_world_begin(uint64_t seed)
{
    (void)seed;
    scratch_directory_make(scratch);
}

void log_reader_world_end(void)
{
    scratch_directory_remove(scratch);
}

const char *log_reader_world_directory(void)
{
    return scratch;
}

void log_reader_world_wait(struct ring *ring, uint64_t deadline_ns)
{
    struct ring_event event;
    int result = ring_wait(ring, deadline_ns, &event, 1);
    ps_assert(result == 0);
}

int main(void)
{
    return log_reader_suite_run();
}
