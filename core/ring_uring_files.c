/*
 * File requests on the io_uring ring; see ring_file.h. All of them go to the bank's main ring, in
 * plain descriptors of the process. One shard's; its thread's.
 *
 * A request has a slot from its submission until it is done, and at most one request of the kernel:
 *
 *   begin -> read, write or sync -> all moved?  no: begin again, with the rest
 *                                               yes, or the end of the file, or an error: done
 *
 * A synced write is a write with RWF_DSYNC: the worker that writes also syncs, in one completion.
 */
#include "ring_uring_internal.h"

#include <unistd.h>

#include "core/base.h"

static struct bank_ring *main_ring(const struct ring *ring)
{
    return ring->bank[0];
}

/* Queues what is left of the request. */
static void begin(struct ring *ring, uint32_t index)
{
    struct ring_file_slot *slot = &ring->files[index];
    const struct ring_file_request *request = slot->request;
    struct io_uring_sqe *entry = ring_bank_entry(ring, main_ring(ring));
    char *buffer = (char *)request->buffer + slot->moved;
    uint32_t bytes = request->bytes - slot->moved;
    uint64_t offset = request->offset + slot->moved;
    switch (request->kind) {
    case RING_FILE_READ:
        io_uring_prep_read(entry, request->fd, buffer, bytes, offset);
        break;
    case RING_FILE_WRITE:
        io_uring_prep_write(entry, request->fd, buffer, bytes, offset);
        break;
    case RING_FILE_WRITE_SYNCED:
        io_uring_prep_write(entry, request->fd, buffer, bytes, offset);
        entry->rw_flags = RWF_DSYNC;
        break;
    case RING_FILE_SYNC:
        io_uring_prep_fsync(entry, request->fd, IORING_FSYNC_DATASYNC);
        break;
    }
    entry->user_data = ring_user_index(RING_OP_FILE, index);
}

int ring_file_submit(struct ring *ring, struct ring_file_request *request)
{
    bool is_sync = request->kind == RING_FILE_SYNC;
    ps_assert(is_sync || (request->bytes >= 1 && request->bytes <= RING_FILE_BYTES_MAX));
    ps_assert(is_sync || request->offset <= INT64_MAX - RING_FILE_BYTES_MAX);
    if (ring->file_count == RING_FILES_MAX)
        return -EAGAIN;
    uint32_t index = 0;
    while (ring->files[index].request != NULL)
        index++;
    ring->files[index] = (struct ring_file_slot){.request = request};
    ring->file_count++;
    ring->files_begun++;
    ring->writes_begun += request->kind != RING_FILE_READ;
    request->next = NULL;
    begin(ring, index);
    if (request->kind == RING_FILE_WRITE_SYNCED) /* the disk works while the turn goes on */
        ring_bank_submit(ring, main_ring(ring));
    return 0;
}

struct ring_file_request *ring_file_take(struct ring *ring)
{
    struct ring_file_request *request = ring->files_done_first;
    if (request == NULL)
        return NULL;
    ring->files_done_first = request->next;
    request->next = NULL;
    ring->file_count--;
    return request;
}

static void count_result(struct ring_counters *counters, const struct ring_file_request *request)
{
    uint64_t bytes = request->result < 0 ? 0 : (uint64_t)request->result;
    switch (request->kind) {
    case RING_FILE_READ:
        counters->file_reads++;
        counters->file_bytes_read += bytes;
        break;
    case RING_FILE_WRITE_SYNCED:
        counters->file_syncs++;
        counters->file_writes++;
        counters->file_bytes_written += bytes;
        break;
    case RING_FILE_WRITE:
        counters->file_writes++;
        counters->file_bytes_written += bytes;
        break;
    case RING_FILE_SYNC:
        counters->file_syncs++;
        break;
    }
    counters->file_errors += request->result < 0;
}

static void finish(struct ring *ring, struct ring_file_slot *slot, int32_t result)
{
    struct ring_file_request *request = slot->request;
    slot->request = NULL;
    request->result = result;
    count_result(&ring->counters, request);
    if (ring->files_done_first == NULL)
        ring->files_done_first = request;
    else
        ring->files_done_last->next = request;
    ring->files_done_last = request;
    ring->files_begun--;
    ring->writes_begun -= request->kind != RING_FILE_READ;
}

void ring_files_on_answer(struct ring *ring, uint32_t index, int32_t result)
{
    struct ring_file_slot *slot = &ring->files[index];
    const struct ring_file_request *request = slot->request;
    if (result > 0)
        slot->moved += (uint32_t)result;
    bool is_over = request->kind == RING_FILE_SYNC || slot->moved == request->bytes;
    bool is_at_end = result == 0 && request->kind == RING_FILE_READ;
    if (result == -EINTR)
        begin(ring, index);
    else if (result < 0)
        finish(ring, slot, result);
    else if (is_over || is_at_end)
        finish(ring, slot, (int32_t)slot->moved);
    else if (result == 0)
        finish(ring, slot, -EIO); /* a regular file never answers so; a loop would not end */
    else
        begin(ring, index);
}

void ring_file_drain(struct ring *ring)
{
    /* Another thread cannot enter this ring; the kernel has waited for the requests of the one that
     * has ended, and nobody will look at their answers. */
    if (gettid() != ring->thread_id)
        return;
    struct io_uring *uring = ring->files_begun == 0 ? NULL : &main_ring(ring)->uring;
    while (ring->files_begun != 0) {
        int status = io_uring_submit_and_wait(uring, 1);
        ps_assert(status >= 0 || status == -EINTR || status == -EAGAIN || status == -EBUSY);
        ring_bank_reap(ring, 0);
    }
    while (ring_file_take(ring) != NULL)
        ;
}
