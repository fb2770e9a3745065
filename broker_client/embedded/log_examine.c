/*
 * Recovery's look at one segment; see log_recovery_internal.h.
 *
 *   index there and whole      -> believed, if the file is as long as it says and its sequences fit
 *   header never written, torn -> nothing counts, if no batch but perhaps the first is there
 *   else                       -> read whole, batch by batch, up to
 *                                 - the first batch that is not valid: a torn tail, if nothing
 *                                   speaks against it
 *                                 - a batch that stands again in the next segment; but all of it
 *                                   counts, and nothing of what is later, where that was only begun
 *
 * Against a torn tail speak: a valid batch header behind it; a later segment of the run that goes
 * on further up; a later run, whose start has left it whole. A run whose commits were not synced
 * (modes written and memory) and that did not end in order may have left anything: then none of
 * that counts. What is refused without --repair is cut with it, and named.
 *
 * Nothing is changed here. Thread: the one that opens the store.
 */
#include <inttypes.h>

#include "core/disk.h"
#include "core/heap.h"
#include "core/log.h"
#include "log_recovery_internal.h"
#include "log_scan_internal.h"
#include "segment_files_internal.h"

enum {
    NO_SLOT = UINT32_MAX,
    TAIL_BYTES_USUAL = 65536 /* more than that is hardly one batch that was being written */
};

/* One partition in the segment that is being read. */
struct slot {
    uint64_t next;         /* after the batches that count */
    uint64_t next_pending; /* after the batch that is being read */
    uint64_t lost_first;   /* of valid batches behind what counts; 0: none */
    uint64_t lost_next;    /* last sequence + 1 of these */
    uint32_t records;
    uint32_t records_pending;
    uint32_t records_lost;
};

struct examination {
    struct recovery *recovery;
    struct recovery_segment *found;
    struct log_scan scan;
    struct segment_header header;
    struct segment_partition *partitions; /* NULL: there is no valid header */
    struct slot *slots;                   /* as partitions */
    struct segment_index *index;          /* repair only: what was believed before */
    bool is_last_run;
    bool is_lenient;
    bool has_within; /* of the batch: records that count */
    bool has_beyond; /* records that a later segment has */
    bool is_lost;    /* what is read now does not count */
    uint64_t last_batch;
};

static struct log *log_of(const struct recovery *recovery)
{
    return recovery->store->log;
}

/* The run before may have left anything unsynced. */
static bool is_lenient_run(const struct log_numbers *numbers)
{
    return !numbers->is_clean && numbers->commit != EMBEDDED_COMMIT_SYNCED;
}

/* 0 with --repair: the segment is cut there. Else refused. */
static int damage(struct examination *examination, uint64_t offset, const char *what)
{
    struct recovery *recovery = examination->recovery;
    if (recovery->store->config.is_repair) {
        if (log_of(recovery) != NULL)
            log_write(log_of(recovery), LOG_WARNING, "log_damage",
                      "file=log/%016" PRIx64 ".seg offset=%" PRIu64 " what=\"%s\"",
                      examination->found->number, offset, what);
        return 0;
    }
    return log_store_refuse(recovery->store, recovery->error, -EBADMSG,
                            "log/%016" PRIx64 ".seg: %s, at offset %" PRIu64
                            "; --repair cuts what is damaged and says what is lost",
                            examination->found->number, what, offset);
}

static int io_failed(struct examination *examination, int result)
{
    struct recovery *recovery = examination->recovery;
    return log_store_refuse(recovery->store, recovery->error, result,
                            "log/%016" PRIx64 ".seg: cannot be read: %s",
                            examination->found->number, strerror(-result));
}

/* ---- reading a segment ---- */

static int on_record(void *context, const struct segment_record *record)
{
    struct examination *examination = context;
    const struct record_view *view = &record->view;
    struct recovery *recovery = examination->recovery;
    if (view->partition >= recovery->store->config.partition_count)
        return -EPROTO;
    struct recovery_partition *partition = &recovery->partitions[view->partition];
    if (partition->slot == NO_SLOT)
        return -EPROTO;
    struct slot *slot = &examination->slots[partition->slot];
    if (examination->is_lost) {
        slot->records_lost++;
        if (slot->lost_first == 0)
            slot->lost_first = view->sequence;
        slot->lost_next = ps_max_u64(slot->lost_next, view->sequence + 1);
        return 0;
    }
    if (view->sequence < slot->next_pending || view->sequence == UINT64_MAX)
        return -EPROTO;
    slot->next_pending = view->sequence + 1;
    slot->records_pending++;
    if (view->sequence >= partition->limit)
        examination->has_beyond = true;
    else
        examination->has_within = true;
    return 0;
}

/* The batch counts; or not, and is as if it had not been read. */
static void settle_batch(struct examination *examination, bool counts)
{
    for (uint32_t index = 0; index < examination->header.partition_count; index++) {
        struct slot *slot = &examination->slots[index];
        if (counts) {
            slot->next = slot->next_pending;
            slot->records = slot->records_pending;
        }
        slot->next_pending = slot->next;
        slot->records_pending = slot->records;
    }
}

/* Reads what counts. 0 with data_end, -EPROTO with damage there, or -errno. *out_behind is
 * data_end, or the end of a batch there that stands again elsewhere: nothing may follow it. */
static int read_batches(struct examination *examination, uint64_t *out_behind)
{
    struct log_scan *scan = &examination->scan;
    struct recovery_segment *found = examination->found;
    for (;;) {
        found->data_end = scan->offset;
        examination->has_within = examination->has_beyond = false;
        int result = log_scan_next(scan, examination, on_record);
        bool counts = result == 0 && !examination->has_beyond;
        settle_batch(examination, counts);
        if (counts) {
            examination->last_batch = found->data_end;
            continue;
        }
        *out_behind = scan->offset;
        if (result == 0 && examination->has_within)
            return -EPROTO; /* a batch stands again whole, or not at all */
        return result == -ENODATA ? 0 : result;
    }
}

/* Counts what of the cut part could have been read, for the report. */
static int count_lost(struct examination *examination, uint64_t from)
{
    struct log_scan *scan = &examination->scan;
    uint64_t end = 0;
    examination->is_lost = true;
    for (;;) {
        scan->offset = from;
        int result = log_scan_search(scan, from, 0, &end);
        if (result <= 0)
            return result;
        uint64_t here = scan->offset;
        result = log_scan_next(scan, examination, on_record);
        if (result < 0 && result != -ENODATA && result != -EPROTO)
            return result;
        from = result == 0 ? scan->offset : here + SEGMENT_ALIGNMENT;
    }
    return 0;
}

static void report_lost(const struct examination *examination)
{
    const struct recovery *recovery = examination->recovery;
    uint64_t run = recovery_run(examination->found->number);
    for (uint32_t index = 0; index < examination->header.partition_count; index++) {
        const struct slot *slot = &examination->slots[index];
        uint16_t number = examination->partitions[index].partition;
        const struct recovery_partition *partition = &recovery->partitions[number];
        uint64_t next = slot->lost_next;
        uint32_t records = slot->records_lost;
        if (slot->next > 0 && partition->limit != UINT64_MAX &&
            recovery_run(partition->limit_number) == run)
            next = partition->limit; /* from there the next segment has it */
        for (uint32_t at = 0;
             examination->index != NULL && at < examination->index->partition_count; at++) {
            const struct segment_index_partition *was = &examination->index->partitions[at];
            if (was->partition == number && was->records > slot->records) {
                next = ps_max_u64(next, was->next);
                records = was->records - slot->records;
            }
        }
        uint64_t first = slot->next > 0 ? slot->next : slot->lost_first;
        if (first > 0 && next > first && log_of(recovery) != NULL)
            log_write(log_of(recovery), LOG_WARNING, "log_lost",
                      "file=log/%016" PRIx64 ".seg partition=%u first=%" PRIu64 " last=%" PRIu64
                      " records_known=%u",
                      examination->found->number, number, first, next - 1, records);
    }
}

/* Names what is cut behind data_end, up to `end`. */
static void report_cut(struct examination *examination, uint64_t end, bool is_damage)
{
    struct recovery *recovery = examination->recovery;
    struct recovery_segment *found = examination->found;
    uint64_t bytes = end - found->data_end;
    if (is_damage)
        recovery->store->recovery.repaired_bytes += bytes;
    else
        recovery->store->recovery.torn_bytes += bytes;
    if (log_of(recovery) != NULL)
        log_write(log_of(recovery), is_damage || bytes > TAIL_BYTES_USUAL ? LOG_WARNING : LOG_INFO,
                  is_damage ? "log_repaired" : "log_tail_cut",
                  "file=log/%016" PRIx64 ".seg offset=%" PRIu64 " bytes=%" PRIu64, found->number,
                  found->data_end, bytes);
}

/* Every partition goes on in a later segment of the run exactly where this one ends, or below where
 * it begins: a sync that failed took all the batches that were not synced there, be they whole here
 * or not, and those of the segment before, too, if that was not synced either. */
static bool is_taken_over(const struct examination *examination)
{
    const struct recovery *recovery = examination->recovery;
    if (recovery->store->numbers->commit == EMBEDDED_COMMIT_SYNCED)
        return false; /* there it is one batch */
    for (uint32_t index = 0; index < examination->header.partition_count; index++) {
        const struct recovery_partition *partition =
            &recovery->partitions[examination->partitions[index].partition];
        if (partition->limit == UINT64_MAX || examination->slots[index].next < partition->limit ||
            recovery_run(partition->limit_number) != recovery_run(examination->found->number))
            return false;
    }
    return true;
}

/* What follows data_end is a torn tail, or it is damage. From `behind` on a batch speaks against
 * it: data_end, or the end of the batch there that stands again elsewhere. */
static int judge_tail(struct examination *examination, int read_result, uint64_t behind)
{
    struct recovery_segment *found = examination->found;
    struct log_scan *scan = &examination->scan;
    /* The number of the batch at data_end; one that stands again elsewhere was read. */
    uint64_t batch = scan->offset == found->data_end ? scan->batch : scan->batch - 1;
    uint64_t end = 0;
    scan->offset = behind;
    int is_followed = log_scan_search(scan, behind, batch + 1, &end);
    if (is_followed < 0)
        return io_failed(examination, is_followed);
    if (is_followed > 0)
        end = found->file_bytes;
    const char *what = NULL;
    if (read_result == -EPROTO)
        what = examination->has_within && examination->has_beyond
                   ? "a batch overlaps the next segment in part"
                   : "records that are not in order, or not of this segment";
    else if (is_taken_over(examination))
        what = NULL;
    else if (is_followed > 0 && !examination->is_lenient)
        what = behind > found->data_end ? "more than one batch overlaps the next segment"
                                        : "a damaged batch with valid ones behind it";
    else if (end > found->data_end && !examination->is_last_run)
        what = "a damaged batch in a segment that an earlier start has seen whole";
    if (what != NULL) {
        int result = damage(examination, found->data_end, what);
        if (result < 0)
            return result;
        result = count_lost(examination, found->data_end + SEGMENT_ALIGNMENT);
        if (result < 0)
            return io_failed(examination, result);
    }
    if (end > found->data_end)
        report_cut(examination, end, what != NULL);
    return 0;
}

/* The next segment of the same run goes on where this one ends. */
static int judge_gaps(struct examination *examination)
{
    const struct recovery *recovery = examination->recovery;
    struct recovery_segment *found = examination->found;
    if (examination->is_lenient || !examination->is_last_run)
        return 0;
    for (uint32_t index = 0; index < examination->header.partition_count; index++) {
        const struct recovery_partition *partition =
            &recovery->partitions[examination->partitions[index].partition];
        if (partition->limit != UINT64_MAX && examination->slots[index].next < partition->limit &&
            recovery_run(partition->limit_number) == recovery_run(found->number))
            return damage(examination, found->data_end,
                          "its last batches are damaged, a later segment goes on behind them");
    }
    return 0;
}

/* ---- what a segment says of its partitions ---- */

static void tell(struct recovery *recovery, uint64_t number, uint16_t partition, uint64_t first,
                 uint64_t next)
{
    struct recovery_partition *of = &recovery->partitions[partition];
    if (of->end == 0)
        of->end_number = number;
    of->end = ps_max_u64(of->end, next);
    if (first < of->limit) {
        of->limit = first;
        of->limit_number = number;
    }
}

static void tell_index(struct recovery *recovery, const struct segment_index *index)
{
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *partition = &index->partitions[slot];
        tell(recovery, index->number, partition->partition, partition->first, partition->next);
    }
}

/* ---- segments without an index ---- */

/* Without a header: what could have been read, of any partition. */
static int report_headless(struct examination *examination)
{
    struct recovery *recovery = examination->recovery;
    struct heap *heap = recovery->store->heap;
    uint16_t count = recovery->store->config.partition_count;
    examination->header.partition_count = count;
    examination->partitions = heap_zalloc(heap, count * sizeof(struct segment_partition));
    examination->slots = heap_zalloc(heap, count * sizeof(struct slot));
    if (examination->partitions == NULL || examination->slots == NULL)
        return io_failed(examination, -ENOMEM);
    for (uint16_t partition = 0; partition < count; partition++) {
        examination->partitions[partition].partition = partition;
        recovery->partitions[partition].slot = partition;
    }
    int result = count_lost(examination, 0);
    if (result < 0)
        return io_failed(examination, result);
    report_lost(examination);
    return 0;
}

/* The header is not there, or not valid. Only a first write that was torn looks so, with at most
 * that first batch behind it. */
static int examine_headless(struct examination *examination)
{
    struct log_scan *scan = &examination->scan;
    struct recovery_segment *found = examination->found;
    uint64_t end = 0;
    scan->offset = 0;
    int result = log_scan_search(scan, 0, 0, &end);
    bool has_first = result > 0 && scan->batch == 0;
    bool has_more = result > 0 && scan->batch > 0;
    if (has_first)
        result = log_scan_search(scan, scan->offset + SEGMENT_ALIGNMENT, 1, &end);
    if (result < 0)
        return io_failed(examination, result);
    has_more |= has_first && result > 0;
    if (has_first || has_more)
        end = found->file_bytes;
    found->verdict = RECOVERY_NOTHING;
    found->data_end = 0;
    bool is_damage = examination->is_last_run ? has_more && !examination->is_lenient : end > 0;
    if (is_damage) {
        result = damage(examination, 0, "a damaged header");
        if (result == 0)
            result = report_headless(examination);
        if (result < 0)
            return result;
    }
    if (end > 0)
        report_cut(examination, end, is_damage);
    return 0;
}

/* Which slot of the header each partition has. False: a header that names what cannot be. */
static bool set_slots(struct examination *examination)
{
    struct recovery *recovery = examination->recovery;
    uint16_t count = recovery->store->config.partition_count;
    for (uint32_t partition = 0; partition < count; partition++)
        recovery->partitions[partition].slot = NO_SLOT;
    for (uint32_t index = 0; index < examination->header.partition_count; index++) {
        uint16_t partition = examination->partitions[index].partition;
        if (partition >= count || recovery->partitions[partition].slot != NO_SLOT)
            return false;
        recovery->partitions[partition].slot = index;
        examination->slots[index].next = examination->partitions[index].next;
        examination->slots[index].next_pending = examination->partitions[index].next;
    }
    return true;
}

static int read_header(struct examination *examination)
{
    struct heap *heap = examination->recovery->store->heap;
    int result =
        log_scan_header(&examination->scan, &examination->header, &examination->partitions);
    if (result < 0)
        return result;
    examination->slots =
        heap_zalloc(heap, (examination->header.partition_count + 1U) * sizeof(struct slot));
    if (examination->slots == NULL)
        return -ENOMEM;
    if (examination->header.run != recovery_run(examination->found->number) ||
        !set_slots(examination))
        return -EBADMSG;
    return 0;
}

/* Repair: what the index of before says is what there is. */
static bool agrees(const struct examination *examination)
{
    const struct segment_index *index = examination->index;
    if (index->data_end != examination->found->data_end ||
        index->partition_count != examination->header.partition_count)
        return false;
    for (uint32_t slot = 0; slot < index->partition_count; slot++)
        if (index->partitions[slot].partition != examination->partitions[slot].partition ||
            index->partitions[slot].records != examination->slots[slot].records ||
            index->partitions[slot].next != examination->slots[slot].next)
            return false;
    return true;
}

/* Whether later segments of the run, all without an index, have what the end of this one has, too.
 */
static bool is_begun_again(const struct examination *examination)
{
    const struct recovery *recovery = examination->recovery;
    const struct recovery_segment *end = recovery->segments + recovery->segment_count;
    const struct segment_header *header = &examination->header;
    bool is_later = false;
    for (const struct recovery_segment *at = examination->found + 1; at < end; at++) {
        const struct segment_index *index =
            at->segment == NULL ? NULL : atomic_load(&at->segment->index);
        if (index != NULL && index->partition_count != 0 &&
            index->partitions[0].partition % header->shard_count == header->shard)
            return false;
        is_later |= at->has_data && at->verdict == RECOVERY_SCANNED && at->shard == header->shard;
    }
    return is_later;
}

/* They have no more of any partition than this one, and less of one. */
static bool reaches_further(const struct examination *examination)
{
    bool is_further = false;
    for (uint32_t index = 0; index < examination->header.partition_count; index++) {
        const struct recovery_partition *partition =
            &examination->recovery->partitions[examination->partitions[index].partition];
        if (examination->slots[index].next < partition->end)
            return false;
        is_further |= partition->end != 0 && examination->slots[index].next > partition->end;
    }
    return is_further;
}

/* They go, as if they had not been begun. */
static void forget_later(struct examination *examination)
{
    struct recovery *recovery = examination->recovery;
    struct recovery_segment *end = recovery->segments + recovery->segment_count;
    for (struct recovery_segment *at = examination->found + 1; at < end; at++) {
        if (at->has_data && at->verdict == RECOVERY_SCANNED &&
            at->shard == examination->header.shard) {
            at->verdict = RECOVERY_NOTHING;
            at->is_forgotten = true;
        }
    }
    examination->found->forgets_later = true;
    for (uint32_t index = 0; index < examination->header.partition_count; index++)
        recovery->partitions[examination->partitions[index].partition] =
            (struct recovery_partition){.limit = UINT64_MAX, .slot = index};
}

/* In modes written and memory many batches may have been committed that a failure takes to the next
 * segment. A crash while they are written there leaves some of them twice, and the others here
 * alone: then it is this segment that counts. The scan stands behind the header, before and after.
 */
static int prefer_whole(struct examination *examination)
{
    struct log_scan *scan = &examination->scan;
    uint64_t header_end = scan->offset;
    uint64_t batch = scan->batch;
    if (!examination->is_lenient || examination->index != NULL || !is_begun_again(examination))
        return 0;
    int result = 0;
    while (result == 0) {
        result = log_scan_next(scan, examination, on_record);
        settle_batch(examination, result == 0);
    }
    if (result != -ENODATA && result != -EPROTO)
        return result;
    if (reaches_further(examination))
        forget_later(examination);
    for (uint32_t index = 0; index < examination->header.partition_count; index++)
        examination->slots[index] = (struct slot){0};
    scan->offset = header_end;
    scan->batch = batch;
    return set_slots(examination) ? 0 : -EBADMSG;
}

static int examine_data(struct examination *examination)
{
    struct recovery *recovery = examination->recovery;
    struct recovery_segment *found = examination->found;
    int result = read_header(examination);
    if (result == -ENODATA || result == -EBADMSG) {
        heap_free(recovery->store->heap, examination->slots);
        heap_free(recovery->store->heap, examination->partitions);
        examination->slots = NULL;
        examination->partitions = NULL;
        return examine_headless(examination);
    }
    if (result == -EPROTONOSUPPORT)
        return log_store_refuse(recovery->store, recovery->error, result,
                                "log/%016" PRIx64 ".seg: another format than this version reads",
                                found->number);
    if (result < 0)
        return io_failed(examination, result);
    found->shard = examination->header.shard;
    uint64_t header_end = examination->scan.offset;
    uint64_t behind = 0;
    result = prefer_whole(examination);
    if (result < 0)
        return io_failed(examination, result);
    int read_result = read_batches(examination, &behind);
    if (read_result < 0 && read_result != -EPROTO)
        return io_failed(examination, read_result);
    result = judge_tail(examination, read_result, behind);
    if (result == 0)
        result = judge_gaps(examination);
    if (result < 0)
        return result;
    if (recovery->store->config.is_repair)
        report_lost(examination);
    if (found->data_end == header_end) {
        found->verdict = RECOVERY_NOTHING;
        return 0;
    }
    found->verdict = RECOVERY_SCANNED;
    bool is_first = examination->last_batch == header_end; /* the header came with it */
    bool is_all = is_first || recovery->store->numbers->commit != EMBEDDED_COMMIT_SYNCED;
    found->rewrite_from = is_all ? 0 : examination->last_batch;
    if (!examination->is_last_run)
        found->rewrite_from = found->data_end;
    for (uint32_t slot = 0; slot < examination->header.partition_count; slot++)
        tell(recovery, found->number, examination->partitions[slot].partition,
             examination->partitions[slot].next, examination->slots[slot].next);
    return 0;
}

/* Reads the segment whole. `index`: of before, for the repair; stays the caller's. */
static int examine_file(struct recovery *recovery, struct recovery_segment *found,
                        struct segment_index *index, bool *out_agrees)
{
    const struct log_numbers *numbers = recovery->store->numbers;
    struct examination examination = {.recovery = recovery, .found = found, .index = index};
    examination.is_last_run = recovery_run(found->number) == numbers->run;
    examination.is_lenient = examination.is_last_run && is_lenient_run(numbers);
    struct heap *heap = recovery->store->heap;
    int result = log_scan_init(&examination.scan, heap, found->segment->fd, found->segment->seed,
                               found->number, found->file_bytes);
    if (result < 0)
        return io_failed(&examination, result);
    result = examine_data(&examination);
    if (result == 0 && index != NULL)
        *out_agrees = found->verdict == RECOVERY_SCANNED && agrees(&examination);
    log_scan_deinit(&examination.scan);
    heap_free(heap, examination.partitions);
    heap_free(heap, examination.slots);
    return result;
}

/* ---- segments with an index ---- */

/* Retention can have taken segments from between two, when one that is older was held back: then a
 * number is missing there. */
static bool is_number_missing(const struct recovery *recovery, uint32_t position, uint64_t above)
{
    uint64_t expected = recovery->segments[position].number + 1;
    for (uint32_t at = position + 1; at < recovery->segment_count && expected < above; at++) {
        if (!recovery->segments[at].has_data)
            continue; /* an index that a removal left */
        if (recovery->segments[at].number != expected)
            return true;
        expected++;
    }
    return false;
}

/* What is wrong with it, or NULL. A gap behind it speaks against the segment between, in the run
 * before; of older runs it was judged by the start that ended them. */
static const char *index_fault(const struct recovery *recovery, uint32_t position,
                               const struct segment_index *index)
{
    const struct recovery_segment *found = &recovery->segments[position];
    const struct log_numbers *numbers = recovery->store->numbers;
    bool is_whole = recovery_run(found->number) == numbers->run && !is_lenient_run(numbers);
    if (found->file_bytes < index->data_end)
        return "its index names bytes that the file has not";
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *partition = &index->partitions[slot];
        if (partition->partition >= recovery->store->config.partition_count)
            return "its index names a partition that is not there";
        const struct recovery_partition *of = &recovery->partitions[partition->partition];
        if (partition->next > of->limit)
            return "its index overlaps a later segment";
        if (is_whole && of->limit != UINT64_MAX && partition->next < of->limit &&
            recovery_run(of->limit_number) == recovery_run(found->number) &&
            !is_number_missing(recovery, position, of->limit_number))
            return "its index ends before the next segment begins";
    }
    return NULL;
}

/* Repair: every block of the index holds. 0, -EBADMSG, or what the disk said. */
static int check_index_blocks(struct heap *heap, const struct segment_index *index, int fd)
{
    unsigned char *block = heap_alloc(heap, SEGMENT_INDEX_BLOCK_BYTES);
    int result = block == NULL ? -ENOMEM : 0;
    for (uint32_t number = 0; number < index->block_count && result == 0; number++)
        result = segment_index_read_block(fd, index->seed, number, block);
    heap_free(heap, block);
    return result;
}

static void believe(struct recovery *recovery, struct recovery_segment *found,
                    struct segment_index *index, int index_fd)
{
    found->verdict = RECOVERY_INDEXED;
    found->data_end = index->data_end;
    tell_index(recovery, index);
    atomic_store(&found->segment->index, index);
    found->segment->index_fd = index_fd;
}

/* The index is looked at with suspicion: its segment is read, and it is believed only if it says
 * the same. */
static int verify(struct recovery *recovery, uint32_t position, struct segment_index *index,
                  int index_fd)
{
    struct recovery_segment *found = &recovery->segments[position];
    struct heap *heap = recovery->store->heap;
    bool is_right = false;
    int result = examine_file(recovery, found, index, &is_right);
    if (result == 0 && is_right)
        is_right = check_index_blocks(heap, index, index_fd) == 0;
    if (result == 0 && is_right) {
        believe(recovery, found, index, index_fd);
        return 0;
    }
    segment_index_destroy(heap, index);
    disk_close(index_fd);
    return result;
}

static int examine_index(struct recovery *recovery, uint32_t position, bool *out_is_done)
{
    struct recovery_segment *found = &recovery->segments[position];
    struct log_store *store = recovery->store;
    struct segment_index *index = NULL;
    int index_fd = -1;
    int result = segment_index_load(store->log_directory, store->heap, found->segment->seed,
                                    found->number, &index, &index_fd);
    if (result == -EBADMSG) { /* the segment has it all: it is made again */
        store->recovery.indexes_damaged++;
        if (store->log != NULL)
            log_write(store->log, LOG_WARNING, "index_damaged", "file=log/%016" PRIx64 ".idx",
                      found->number);
        return 0;
    }
    if (result == -EPROTONOSUPPORT)
        return 0; /* of another format: likewise */
    if (result < 0)
        return log_store_refuse(store, recovery->error, result,
                                "log/%016" PRIx64 ".idx: cannot be used: %s", found->number,
                                strerror(-result));
    *out_is_done = true;
    if (store->config.is_repair)
        return verify(recovery, position, index, index_fd);
    const char *fault = index_fault(recovery, position, index);
    if (fault == NULL) {
        believe(recovery, found, index, index_fd);
        return 0;
    }
    uint64_t data_end = index->data_end;
    segment_index_destroy(store->heap, index);
    disk_close(index_fd);
    struct examination examination = {.recovery = recovery, .found = found};
    return damage(&examination, ps_min_u64(data_end, found->file_bytes), fault);
}

int log_examine(struct recovery *recovery, uint32_t position)
{
    struct recovery_segment *found = &recovery->segments[position];
    struct log_store *store = recovery->store;
    char name[SEGMENT_NAME_BYTES];
    segment_name(found->number, "seg", name);
    found->segment = log_segment_create(store, store->heap, found->number);
    if (found->segment == NULL)
        return log_store_refuse(store, recovery->error, -ENOMEM, "memory is out");
    int result = log_segment_open(store, found->segment);
    if (result == 0)
        result = disk_size(found->segment->fd, &found->file_bytes);
    if (result < 0)
        return log_store_refuse(store, recovery->error, result, "log/%s: cannot be opened: %s",
                                name, strerror(-result));
    if (recovery->has_numbers && recovery_run(found->number) > store->numbers->run) {
        struct examination examination = {.recovery = recovery, .found = found};
        result = damage(&examination, 0, "of a later run than the file numbers knows of");
    }
    bool is_done = false;
    if (result == 0 && found->has_index)
        result = examine_index(recovery, position, &is_done);
    if (result == 0 && !is_done)
        result = examine_file(recovery, found, NULL, NULL);
    segment_files_close(store, found->segment); /* there may be more segments than descriptors */
    return result;
}
