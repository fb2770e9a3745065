/*
 * Reads of records larger than a block; see large_read_internal.h. A read that its owner gave up
 * stays until the kernel is done with its buffer. A shard's; its thread's.
 */
#include "large_read_internal.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/ring_file.h"
#include "segment_files_internal.h"

struct large_read {
    struct ring_file_request request;
    struct large_read *next;
    struct log_segment *segment; /* referenced while it is on its way */
    void *owner;                 /* NULL: given up */
    bool is_done;
    unsigned char bytes[];
};

static void free_read(struct large_reads *reads, struct large_read *read)
{
    struct large_read **link = &reads->all;
    while (*link != read)
        link = &(*link)->next;
    *link = read->next;
    reads->bytes -= read->request.bytes;
    heap_free(reads->heap, read);
    reads->on_ready(reads->context, NULL);
}

static int begin(struct large_reads *reads, struct large_read **out_read, void *owner,
                 struct log_segment *segment, uint64_t offset, uint32_t bytes)
{
    if (reads->bytes > 0 && reads->bytes + bytes > reads->bytes_max)
        return -EINPROGRESS;
    struct large_read *read = heap_alloc(reads->heap, sizeof(*read) + bytes);
    if (read == NULL)
        return -ENOMEM;
    *read = (struct large_read){
        .request = {.fd = segment->fd,
                    .kind = RING_FILE_READ,
                    .buffer = read->bytes,
                    .bytes = bytes,
                    .offset = offset,
                    .owner = reads},
        .next = reads->all,
        .segment = segment,
        .owner = owner,
    };
    bool is_open = segment_files_hold(reads->store, segment);
    ps_assert(is_open); /* the read that asks holds them too */
    if (ring_file_submit(reads->ring, &read->request) != 0) {
        segment_files_let_go(reads->store, segment);
        heap_free(reads->heap, read);
        return -EAGAIN;
    }
    log_segment_acquire(segment);
    reads->all = read;
    reads->bytes += bytes;
    *out_read = read;
    return -EINPROGRESS;
}

int large_read_get(struct large_reads *reads, struct large_read **read, void *owner,
                   struct log_segment *segment, uint64_t offset, uint32_t bytes,
                   const unsigned char **out_bytes)
{
    if (*read == NULL)
        return begin(reads, read, owner, segment, offset, bytes);
    const struct ring_file_request *request = &(*read)->request;
    ps_assert((*read)->is_done && request->offset == offset && request->bytes == bytes);
    if (request->result == (int32_t)bytes) {
        *out_bytes = (*read)->bytes;
        return 0;
    }
    int result = request->result < 0 ? -EIO : -EBADMSG;
    large_read_end(reads, read);
    return result;
}

void large_read_end(struct large_reads *reads, struct large_read **read)
{
    struct large_read *own = *read;
    *read = NULL;
    if (own == NULL)
        return;
    if (own->is_done)
        free_read(reads, own);
    else
        own->owner = NULL;
}

bool large_reads_take(struct large_reads *reads, struct ring_file_request *request)
{
    if (request->owner != reads)
        return false;
    struct large_read *read = ps_container_of(request, struct large_read, request);
    read->is_done = true;
    segment_files_let_go(reads->store, read->segment);
    log_segment_release(reads->store, read->segment);
    if (read->owner != NULL)
        reads->on_ready(reads->context, read->owner);
    else
        free_read(reads, read);
    return true;
}

void large_reads_deinit(struct large_reads *reads)
{
    while (reads->all != NULL) {
        struct large_read *read = reads->all;
        reads->all = read->next;
        if (!read->is_done) {
            segment_files_let_go(reads->store, read->segment);
            log_segment_release(reads->store, read->segment);
        }
        heap_free(reads->heap, read);
    }
}
