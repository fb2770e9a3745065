/*
 * Memory that ends at a page nobody may touch: input is put so that it ends there, and one byte
 * read beyond it is a fault, with or without sanitizers. Owner: the test. For tests only.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_GUARD_PAGE_H
#define PENSTOCK_TESTS_SUPPORT_GUARD_PAGE_H

#include <sys/mman.h>
#include <unistd.h>

#include "core/base.h"

struct guard_page {
    unsigned char *mapping;
    size_t mapping_bytes;
    unsigned char *end; /* where the guarded page begins */
};

/* Room for `bytes_max` bytes before the guarded page. */
static inline void guard_page_init(struct guard_page *guard, size_t bytes_max)
{
    size_t page_bytes = (size_t)sysconf(_SC_PAGESIZE);
    size_t room_bytes = (bytes_max / page_bytes + 1) * page_bytes;
    guard->mapping_bytes = room_bytes + page_bytes;
    guard->mapping = mmap(NULL, guard->mapping_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ps_assert(guard->mapping != MAP_FAILED);
    guard->end = guard->mapping + room_bytes;
    ps_assert(mprotect(guard->end, page_bytes, PROT_NONE) == 0);
}

static inline void guard_page_deinit(struct guard_page *guard)
{
    munmap(guard->mapping, guard->mapping_bytes);
}

/* The last `count` bytes before the guarded page; valid until the next call. */
static inline unsigned char *guard_page_room(struct guard_page *guard, size_t count)
{
    ps_assert(count <= (size_t)(guard->end - guard->mapping));
    return guard->end - count;
}

/* A copy of the bytes that ends at the guarded page; valid until the next call. */
static inline unsigned char *guard_page_put(struct guard_page *guard, const void *bytes,
                                            size_t count)
{
    unsigned char *room = guard_page_room(guard, count);
    if (count > 0)
        memmove(room, bytes, count);
    return room;
}

#endif
