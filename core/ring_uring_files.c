/*
 * File requests on the io_uring ring; see ring_file.h. All of them go to the bank's main ring, in
 * plain descriptors of the process. One shard's; its thread's.
 *
 * A request has a slot from its submission until it is done:
 *
 *   begin -> read or write -> all moved?  no: begin again, with the rest
 *                                         yes, or the end of the file, or an error: done
 *   a synced write is a write linked to a sync: the kernel begins the sync when the write was
 *   whole, and answers -ECANCELED otherwise. Both are answered before the slot moves on.
 *
 * The kernel ends a chain where a submission ends. When one takes less than what was queued, a sync
 * may have begun before its write was done: every synced write under way is then synced once more.
 */
#include "ring_uring_internal.h"

#include <unistd.h>

#include "core/base.h"

static struct bank_ring *main_ring(const struct ring *ring)
{
    return ring->bank[0];
}

static void prepare_sync(struct ring *ring, uint32_t index)
{
    struct ring_file_slot *slot = &ring->files[index];
    struct io_uring_sqe *entry = ring_bank_entry(ring, main_ring(ring));
    io_uring_prep_fsync(entry, slot->request->fd, IORING_FSYNC_DATASYNC);
    entry->user_data = ring_user_index(RING_OP_FILE_SYNC, index);
    slot->pending++;
}

static void prepare_transfer(struct ring *ring, uint32_t index)
{
    struct ring_file_slot *slot = &ring->files[index];
    const struct ring_file_request *request = slot->request;
    struct bank_ring *bank = main_ring(ring);
    bool is_synced = request->kind == RING_FILE_WRITE_SYNCED;
    if (is_synced && io_uring_sq_space_left(&bank->uring) < 2)
        ring_bank_submit(ring, bank); /* both in one submission, or they are no chain */
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    char *buffer = (char *)request->buffer + slot->moved;
    uint32_t bytes = request->bytes - slot->moved;
    uint64_t offset = request->offset + slot->moved;
    if (request->kind == RING_FILE_READ)
        io_uring_prep_read(entry, request->fd, buffer, bytes, offset);
    else
        io_uring_prep_write(entry, request->fd, buffer, bytes, offset);
    entry->user_data = ring_user_index(RING_OP_FILE, index);
    slot->pending++;
    slot->is_moving = true;
    slot->is_synced = false;
    if (is_synced) {
        entry->flags |= IOSQE_IO_LINK;
        prepare_sync(ring, index);
    }
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
    request->next = NULL;
    if (is_sync)
        prepare_sync(ring, index);
    else
        prepare_transfer(ring, index);
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
}

/* What comes next when everything that was asked for has been answered. */
static void settle(struct ring *ring, uint32_t index)
{
    struct ring_file_slot *slot = &ring->files[index];
    const struct ring_file_request *request = slot->request;
    bool is_whole =
        request->kind == RING_FILE_SYNC || slot->moved == request->bytes || slot->is_at_end;
    bool has_sync = request->kind == RING_FILE_SYNC || request->kind == RING_FILE_WRITE_SYNCED;
    if (slot->error < 0) {
        finish(ring, slot, slot->error);
    } else if (!is_whole) {
        prepare_transfer(ring, index);
    } else if (has_sync && !slot->is_synced) {
        prepare_sync(ring, index);
    } else {
        finish(ring, slot, (int32_t)slot->moved);
    }
}

void ring_files_on_moved(struct ring *ring, uint32_t index, int32_t result)
{
    struct ring_file_slot *slot = &ring->files[index];
    bool is_read = slot->request->kind == RING_FILE_READ;
    slot->is_moving = false;
    if (result > 0)
        slot->moved += (uint32_t)result;
    else if (result == 0 && is_read)
        slot->is_at_end = true;
    else if (result == 0)
        slot->error = -EIO; /* a regular file never answers so; a loop would not end */
    else if (result != -EINTR)
        slot->error = result;
    if (--slot->pending == 0)
        settle(ring, index);
}

void ring_files_on_synced(struct ring *ring, uint32_t index, int32_t result)
{
    struct ring_file_slot *slot = &ring->files[index];
    bool is_early = slot->is_moving || slot->is_chain_cut;
    slot->is_chain_cut = false;
    slot->is_synced = result == 0 && !is_early;
    /* Cancelled: the write was not whole, and says why, or goes on with a sync of its own. */
    bool is_cancelled = result == -ECANCELED && slot->request->kind == RING_FILE_WRITE_SYNCED;
    if (result < 0 && result != -EINTR && !is_cancelled)
        slot->error = slot->error < 0 ? slot->error : result;
    if (--slot->pending == 0)
        settle(ring, index);
}

void ring_files_on_chains_cut(struct ring *ring)
{
    for (uint32_t i = 0; i < RING_FILES_MAX; i++)
        ring->files[i].is_chain_cut = ring->files[i].request != NULL;
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
        if (io_uring_sq_ready(uring) != 0)
            ring_files_on_chains_cut(ring);
        ring_bank_reap(ring, 0);
    }
    while (ring_file_take(ring) != NULL)
        ;
}
