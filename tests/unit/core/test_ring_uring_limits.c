/*
 * How many sockets a ring has where they are descriptors of the process.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/resource.h>

#include "core/ring.h"

enum { LIMIT = 1024, MARGIN = 64, KEPT = 160 };

static uint32_t sockets_of(const struct ring_options *options)
{
    struct ring *ring = NULL;
    char error[256] = "";
    if (ring_create(options, &ring, error, sizeof(error)) < 0) {
        print_message("%s\n", error);
        skip();
    }
    uint32_t sockets_max = ring_sockets_max(ring);
    ring_destroy(ring);
    return sockets_max;
}

/* So that files can be opened however many clients come. */
static void rings_share_what_files_leave(void **state)
{
    (void)state;
    const struct rlimit limit = {LIMIT, LIMIT};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct ring_options options = {.sockets_max = 100000, .mode = RING_MODE_PLAIN};
    assert_int_equal(sockets_of(&options), LIMIT - MARGIN);
    options.descriptors_kept = KEPT;
    assert_int_equal(sockets_of(&options), LIMIT - MARGIN - KEPT);
    options.ring_count = 4;
    assert_int_equal(sockets_of(&options), (LIMIT - MARGIN - KEPT) / 4);
    options.sockets_max = 10;
    assert_int_equal(sockets_of(&options), 10);
    options.sockets_max = 100000;
    options.descriptors_kept = 100000; /* never more than half */
    assert_int_equal(sockets_of(&options), (LIMIT - MARGIN) / 2 / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rings_share_what_files_leave),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
