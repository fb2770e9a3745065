/*
 * Reading a segment file batch by batch; see log_scan_internal.h.
 */
#include "log_scan_internal.h"

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"

int log_scan_init(struct log_scan *scan, struct heap *heap, int fd, uint64_t seed, uint64_t number,
                  uint64_t file_bytes)
{
    *scan = (struct log_scan){
        .heap = heap, .fd = fd, .seed = seed, .number = number, .file_bytes = file_bytes};
    size_t bytes = ps_max_u64(SEGMENT_PAGE_BYTES, ps_min_u64(LOG_SCAN_BYTES, file_bytes));
    scan->buffer = heap_alloc(heap, bytes);
    if (scan->buffer == NULL)
        return -ENOMEM;
    scan->buffer_bytes = bytes;
    return 0;
}

void log_scan_deinit(struct log_scan *scan)
{
    heap_free(scan->heap, scan->buffer);
    scan->buffer = NULL;
}

/* Where `bytes` bytes at `offset` stand in memory, or -ENODATA when the file ends before. */
static int fetch(struct log_scan *scan, uint64_t offset, size_t bytes,
                 const unsigned char **out_bytes)
{
    if (offset > scan->file_bytes || scan->file_bytes - offset < bytes)
        return -ENODATA;
    bool is_there = offset >= scan->buffer_offset &&
                    offset - scan->buffer_offset <= scan->buffer_count &&
                    scan->buffer_count - (offset - scan->buffer_offset) >= bytes;
    if (!is_there) {
        if (bytes > scan->buffer_bytes) {
            scan->buffer_count = 0;
            unsigned char *buffer = heap_realloc(scan->heap, scan->buffer, bytes);
            if (buffer == NULL)
                return -ENOMEM;
            scan->buffer = buffer;
            scan->buffer_bytes = bytes;
        }
        size_t wanted = ps_min_u64(scan->buffer_bytes, scan->file_bytes - offset);
        size_t count = 0;
        scan->buffer_count = 0;
        int result = disk_read(scan->fd, scan->buffer, wanted, offset, &count);
        if (result < 0)
            return result;
        scan->buffer_offset = offset;
        scan->buffer_count = count;
        if (count < bytes)
            return -ENODATA;
    }
    *out_bytes = scan->buffer + (offset - scan->buffer_offset);
    return 0;
}

int log_scan_header(struct log_scan *scan, struct segment_header *out_header,
                    struct segment_partition **out_partitions)
{
    const unsigned char *bytes = NULL;
    int result = fetch(scan, 0, SEGMENT_PAGE_BYTES, &bytes);
    if (result < 0)
        return result == -ENODATA ? -EBADMSG : result;
    uint32_t length = segment_header_length(bytes);
    if (length > SEGMENT_PAGE_BYTES) {
        result = fetch(scan, 0, length, &bytes);
        if (result < 0)
            return result == -ENODATA ? -EBADMSG : result;
    }
    uint32_t partitions_max = UINT16_MAX;
    if (length > 0) /* the array is as long as the header can name */
        partitions_max = length / (uint32_t)sizeof(struct segment_partition);
    struct segment_partition *partitions =
        heap_alloc(scan->heap, (size_t)partitions_max * sizeof(*partitions));
    if (partitions == NULL)
        return -ENOMEM;
    long taken = segment_header_decode(scan->seed, bytes, length > 0 ? length : SEGMENT_PAGE_BYTES,
                                       out_header, partitions, partitions_max);
    if (taken > 0 && out_header->number != scan->number)
        taken = -EBADMSG;
    if (taken < 0) {
        heap_free(scan->heap, partitions);
        return taken == -EAGAIN ? -EBADMSG : (int)taken;
    }
    scan->offset = (uint64_t)taken;
    scan->batch = 0;
    *out_partitions = partitions;
    return 0;
}

int log_scan_next(struct log_scan *scan, void *context,
                  int (*on_record)(void *context, const struct segment_record *record))
{
    const unsigned char *bytes = NULL;
    int result = fetch(scan, scan->offset, SEGMENT_BATCH_HEADER_BYTES, &bytes);
    if (result < 0)
        return result;
    struct segment_batch batch;
    if (segment_batch_decode(scan->seed, bytes, &batch) < 0 || batch.number != scan->batch)
        return -ENODATA;
    result = fetch(scan, scan->offset, batch.bytes, &bytes);
    if (result < 0)
        return result;
    result = segment_batch_scan(scan->seed, scan->offset, bytes, &batch, context, on_record);
    if (result < 0)
        return result == -EBADMSG ? -ENODATA : result;
    scan->offset += batch.bytes;
    scan->batch++;
    return 0;
}

/* The scan goes on at the first batch header, of at least that number, that begins within `part`
 * bytes; `left` bytes are there. False: none does. */
static bool find_header(struct log_scan *scan, const unsigned char *bytes, size_t part, size_t left,
                        uint64_t offset, uint64_t batch_min)
{
    for (size_t byte = 0; byte < part && left - byte >= SEGMENT_BATCH_HEADER_BYTES;
         byte += SEGMENT_ALIGNMENT) {
        struct segment_batch batch;
        if (segment_batch_decode(scan->seed, bytes + byte, &batch) < 0 || batch.number < batch_min)
            continue;
        scan->offset = offset + byte;
        scan->batch = batch.number;
        return true;
    }
    return false;
}

int log_scan_search(struct log_scan *scan, uint64_t from, uint64_t batch_min, uint64_t *out_end)
{
    enum { STEP = LOG_SCAN_BYTES - 64 }; /* each with what follows fills the buffer once */
    static const unsigned char zeros[64];
    *out_end = scan->offset;
    for (uint64_t offset = from; offset < scan->file_bytes;) {
        size_t count = ps_min_u64(STEP, scan->file_bytes - offset);
        size_t beyond = ps_min_u64(SEGMENT_BATCH_HEADER_BYTES, scan->file_bytes - offset - count);
        const unsigned char *bytes = NULL;
        int result = fetch(scan, offset, count + beyond, &bytes);
        if (result < 0)
            return result == -ENODATA ? -EIO : result; /* the file became shorter */
        for (size_t at = 0; at < count; at += sizeof(zeros)) {
            size_t part = ps_min_u64(sizeof(zeros), count - at);
            if (memcmp(bytes + at, zeros, part) == 0)
                continue;
            for (size_t byte = 0; byte < part; byte++)
                if (bytes[at + byte] != 0)
                    *out_end = offset + at + byte + 1;
            if (find_header(scan, bytes + at, part, count + beyond - at, offset + at, batch_min))
                return 1;
        }
        offset += count;
    }
    return 0;
}
