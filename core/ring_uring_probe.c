/*
 * What this kernel does, tried at start on a ring of its own, in some milliseconds at most.
 * Stateless.
 */
#include "ring_uring_internal.h"

#include <poll.h>
#include <unistd.h>

#include "core/base.h"

enum { PROBE_MS_MAX = 50 };

/* With a poll armed on slot 0, closes slot 1. True when the other end of slot 1's pair sees it. */
static bool closes_at_once(struct io_uring *uring, int watched, int closed, int other_end)
{
    int descriptors[2] = {watched, closed};
    if (io_uring_register_files_update(uring, 0, descriptors, 2) != 2)
        return false;
    struct io_uring_sqe *entry = io_uring_get_sqe(uring);
    ps_assert(entry != NULL); /* the queue of 8 is empty */
    io_uring_prep_poll_add(entry, 0, POLLIN);
    entry->flags |= IOSQE_FIXED_FILE;
    if (io_uring_submit(uring) != 1)
        return false;
    close(closed);
    entry = io_uring_get_sqe(uring);
    ps_assert(entry != NULL);
    io_uring_prep_close(entry, 0);
    entry->file_index = 2; /* slot 1, counted from one */
    if (io_uring_submit(uring) != 1)
        return false;
    io_uring_get_events(uring);
    struct pollfd end = {.fd = other_end, .events = POLLIN};
    char byte = 0;
    return poll(&end, 1, PROBE_MS_MAX) == 1 && read(other_end, &byte, 1) == 0;
}

bool ring_probe_direct(void)
{
    struct io_uring uring;
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
    };
    if (io_uring_queue_init_params(8, &uring, &parameters) < 0)
        return false;
    int watched[2] = {-1, -1};
    int closed[2] = {-1, -1};
    bool is_direct = false;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, watched) == 0 &&
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, closed) == 0 &&
        io_uring_register_files_sparse(&uring, 4) == 0) {
        is_direct = closes_at_once(&uring, watched[0], closed[0], closed[1]);
        closed[0] = -1;
    }
    io_uring_queue_exit(&uring);
    const int descriptors[] = {watched[0], watched[1], closed[0], closed[1]};
    for (size_t i = 0; i < ps_array_count(descriptors); i++) {
        if (descriptors[i] >= 0)
            close(descriptors[i]);
    }
    return is_direct;
}
