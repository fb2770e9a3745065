/*
 * Reads, writes and syncs of files on a shard's ring, so that the shard never waits for a disk. The
 * other half of core/ring.h: behind it stand io_uring (ring_uring_files.c) and, in simulations, a
 * disk made of memory (tests/sim/); both pass one contract suite (tests/contract/).
 *
 * A request is embedded in its owner, whom `owner` names, and linked by `next` while the ring has
 * it. Requests are independent: the kernel may begin and end them in any order, two of one file
 * too. RING_FILE_SYNC covers the writes to its file that were answered before it was submitted.
 *
 * Lifetime: 1. Request, buffer and descriptor are the ring's from ring_file_submit until
 * ring_file_take has given the request back. 2. ring_file_drain, and ring_destroy too, waits for
 * what is under way and then forgets it, and what was not taken: after it everything is the owner's
 * again. With requests under
 * way it is called by the ring's thread, or when that thread has ended (the kernel lets no thread
 * end before its requests); in the latter case what had not begun is not done. 3. In neither case
 * does anybody hear the results: who needs them takes them before.
 *
 * Errors: a failed write may have changed any part of its range. After a failed sync nobody can say
 * which of the file's bytes are on the disk, a later sync that succeeds does not either (Linux
 * marks the pages clean): such a file is read again from the disk or given up, never synced again.
 *
 * Thread: the ring's.
 */
#ifndef PENSTOCK_CORE_RING_FILE_H
#define PENSTOCK_CORE_RING_FILE_H

#include <stdint.h>

struct ring;

enum {
    RING_FILES_MAX = 256,          /* submitted and not taken yet, of one ring */
    RING_FILE_BYTES_MAX = 1U << 30 /* of one request */
};

enum ring_file_kind {
    RING_FILE_READ,
    RING_FILE_WRITE, /* answered when the bytes are in the page cache */
    /* The same, and answered when these bytes are on the disk, with what it takes to read them, as
     * by fdatasync; says nothing of other writes. */
    RING_FILE_WRITE_SYNCED,
    RING_FILE_SYNC /* fdatasync; buffer, bytes and offset mean nothing */
};

struct ring_file_request {
    int fd; /* of core/disk.h, open for this kind */
    enum ring_file_kind kind;
    void *buffer; /* a write only reads it */
    uint32_t bytes;
    uint64_t offset;
    /* Answer: bytes moved, or -errno of the write, else of the sync. A read gives fewer than
     * `bytes` only at the end of the file, a write never: it goes on after a short one (and tells
     * -ENOSPC or what else stops it), a sync gives 0. */
    int32_t result;
    void *owner; /* the caller's, not looked at */
    struct ring_file_request *next;
};

/* Begins the request; it goes to the kernel with the next ring_wait or batch. bytes is 1 to
 * RING_FILE_BYTES_MAX but for a sync. 0, or -EAGAIN when there are RING_FILES_MAX already: then the
 * request is still the caller's, to be tried again after a take. */
int ring_file_submit(struct ring *ring, struct ring_file_request *request);

/* The next one that is done, in the order in which they were done; NULL: none. ring_wait does not
 * sleep, and gives perhaps no event, while there is one: the owner takes them all in its step of
 * the turn, or has more to do. */
struct ring_file_request *ring_file_take(struct ring *ring);

/* For owners that end before the ring; see lifetime rule 2. The ring may go on afterwards, unless
 * its thread has ended. */
void ring_file_drain(struct ring *ring);

#endif
