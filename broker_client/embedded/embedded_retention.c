/*
 * What goes, and when: extents that retention or a trim takes, records of a tail that is too long
 * and that an index covers; and the numbers that come, reserved ahead.
 *
 * Retention names segments by number (the store's retain_from). An extent of one stays beyond that
 * when a record at or above needed_from is in it, and, while what the partition so keeps is within
 * its share of hold_bytes, one at or above wanted_from; the oldest go first.
 *
 * Thread: the handle's shard, but for run_reserve.
 */
#include "core/base.h"
#include "core/heap.h"
#include "embedded_handle_internal.h"

enum {
    EXTENTS_AHEAD = JOURNAL_RETIRED_MAX + 2, /* of segments that are written or wait for an index */
    TRIM_MAX = 1024,
    EVICT_AT_ONCE = 64, /* records of one partition before looking for the oldest */
    EVICT_MAX = 2 * EMBEDDED_TURN_RECORDS_MAX,
    RESERVE_RETRY_MS = 1000
};

uint64_t embedded_oldest(const struct embedded_partition *partition)
{
    const struct memory_log *log = &partition->log;
    uint64_t oldest = partition->extent_count > 0
                          ? ps_min_u64(partition->extents[0].first, log->first)
                          : log->first;
    return ps_max_u64(oldest, ps_min_u64(log->trim_below, log->next));
}

int embedded_extents_reserve(struct embedded_handle *handle, struct embedded_partition *partition)
{
    uint32_t wanted = partition->extent_count + EXTENTS_AHEAD;
    if (ps_likely(partition->extent_capacity >= wanted))
        return 0;
    uint32_t capacity = ps_max_u32(2 * partition->extent_capacity, wanted);
    struct log_extent *extents =
        heap_realloc(embedded_heap_of(handle), partition->extents, capacity * sizeof(extents[0]));
    if (extents == NULL)
        return -ENOMEM;
    partition->extents = extents;
    partition->extent_capacity = capacity;
    return 0;
}

/* Records that are there in [from, to). */
static uint64_t count_records(const struct embedded_partition *partition, uint64_t from,
                              uint64_t to)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < partition->extent_count; i++) {
        uint64_t begin = ps_max_u64(from, partition->extents[i].first);
        uint64_t end = ps_min_u64(to, partition->extents[i].next);
        count += end > begin ? end - begin : 0;
    }
    uint64_t begin = ps_max_u64(from, partition->covered);
    uint64_t end = ps_min_u64(to, partition->log.next);
    return count + (end > begin ? end - begin : 0);
}

/* The first `count` extents go. Records of them that are not trimmed are the caller's to count. */
static void drop_extents(struct embedded_handle *handle, struct embedded_partition *partition,
                         uint32_t count)
{
    struct log_store *log = &handle->store->log;
    if (count == 0)
        return;
    log_reader_forget(handle->reader, partition->number, partition->extents[count - 1].next);
    for (uint32_t i = 0; i < count; i++) {
        struct log_segment *segment = partition->extents[i].segment;
        handle->log_bytes -= partition->extents[i].bytes;
        if (atomic_fetch_sub_explicit(&segment->extent_count, 1, memory_order_acq_rel) == 1)
            log_segment_drop(log, segment);
        log_segment_release(log, segment);
    }
    partition->extent_count -= count;
    memmove(partition->extents, partition->extents + count,
            partition->extent_count * sizeof(partition->extents[0]));
}

void embedded_on_indexed(void *context, struct log_segment *segment)
{
    struct embedded_handle *handle = context;
    struct log_store *log = &handle->store->log;
    const struct segment_index *index = atomic_load_explicit(&segment->index, memory_order_acquire);
    uint32_t count = 0;
    for (uint32_t i = 0; i < index->partition_count; i++) {
        const struct segment_index_partition *of = &index->partitions[i];
        if (of->records == 0)
            continue;
        struct embedded_partition *partition = embedded_partition_of(handle, of->partition);
        ps_assert(partition->number == of->partition && of->first >= partition->covered &&
                  of->next <= partition->log.next);
        partition->covered = of->next;
        if (of->next <= partition->log.trim_below) {
            handle->log_bytes -= of->bytes;
            continue;
        }
        ps_assert(partition->extent_count < partition->extent_capacity);
        partition->extents[partition->extent_count++] = (struct log_extent){
            .segment = segment,
            .first = of->first,
            .next = of->next,
            .records = of->records,
            .bytes = of->bytes,
        };
        log_segment_acquire(segment);
        count++;
    }
    atomic_store_explicit(&segment->extent_count, count, memory_order_release);
    if (count == 0)
        log_segment_drop(log, segment);
    log_segment_release(log, segment);
    handle->retain_seen = 0; /* it may be beyond retention already */
}

/* Records below `below` go, those of the tail in the turns that come. Result: how many. */
static uint64_t remove_below(struct embedded_handle *handle, struct embedded_partition *partition,
                             uint64_t below)
{
    uint64_t before = partition->log.trim_below;
    if (below <= before)
        return 0;
    uint64_t records = count_records(partition, before, below);
    uint32_t count = 0;
    while (count < partition->extent_count && partition->extents[count].next <= below)
        count++;
    partition->log.trim_below = below;
    drop_extents(handle, partition, count);
    handle->log_records -= records;
    if (partition->log.first < below) {
        embedded_set_due(handle, partition);
        handle->has_news = true;
    }
    return records;
}

void embedded_trim(struct embedded_handle *handle, struct embedded_partition *partition,
                   uint64_t below)
{
    remove_below(handle, partition, ps_min_u64(below, partition->log.next));
}

bool embedded_trim_some(struct embedded_partition *partition)
{
    struct memory_log *log = &partition->log;
    if (ps_likely(log->first >= log->trim_below))
        return false;
    memory_log_remove(log, log->trim_below, TRIM_MAX);
    return !memory_log_is_empty(log) && log->first < log->trim_below;
}

/* How many of a partition's extents retention takes now. */
static uint32_t count_unretained(struct embedded_handle *handle,
                                 struct embedded_partition *partition, uint64_t retain_from)
{
    const struct embedded_store_config *config = &handle->store->log.config;
    uint64_t share = config->hold_bytes / config->partition_count;
    uint64_t beyond = 0; /* bytes of extents beyond retention that are still there */
    uint32_t count = 0;
    for (; count < partition->extent_count; count++) {
        if (partition->extents[count].segment->number >= retain_from)
            break;
        beyond += partition->extents[count].bytes;
    }
    uint32_t taken = 0;
    while (taken < count) {
        const struct log_extent *extent = &partition->extents[taken];
        bool is_needed = extent->next > partition->needed_from;
        bool is_wanted = extent->next > partition->wanted_from && beyond <= share;
        if (is_needed || is_wanted)
            break;
        beyond -= extent->bytes;
        taken++;
    }
    handle->held_bytes += beyond - partition->held_bytes;
    partition->held_bytes = beyond;
    return taken;
}

static void retain_extents(struct embedded_handle *handle)
{
    uint64_t retain_from =
        atomic_load_explicit(&handle->store->log.retain_from, memory_order_acquire);
    if (ps_likely(retain_from == handle->retain_seen && !handle->is_hold_new))
        return;
    handle->retain_seen = retain_from;
    journal_leave_below(handle->journal, retain_from);
    handle->is_hold_new = false;
    for (uint32_t i = 0; i < handle->partition_count; i++) {
        struct embedded_partition *partition = &handle->partitions[i];
        uint32_t count = count_unretained(handle, partition, retain_from);
        if (count == 0)
            continue;
        handle->broker.counters.retention_records +=
            remove_below(handle, partition, partition->extents[count - 1].next);
    }
}

static bool is_evictable(const struct embedded_partition *partition)
{
    return partition->log.first < partition->covered && !memory_log_is_empty(&partition->log);
}

/* The partition whose first record in memory is the oldest of those that may go; NULL: none. */
static struct embedded_partition *find_oldest(struct embedded_handle *handle)
{
    struct embedded_partition *oldest = NULL;
    uint64_t oldest_ms = UINT64_MAX;
    for (uint32_t i = 0; i < handle->partition_count; i++) {
        struct embedded_partition *partition = &handle->partitions[i];
        if (!is_evictable(partition))
            continue;
        uint64_t age_ms = memory_log_at(&partition->log, partition->log.first)->publish_ms;
        if (oldest == NULL || age_ms < oldest_ms) {
            oldest = partition;
            oldest_ms = age_ms;
        }
    }
    return oldest;
}

/* Makes the tail shorter. Result: there is more that may go. */
static bool evict(struct embedded_handle *handle)
{
    uint32_t left = EVICT_MAX;
    bool has_more = true;
    while (handle->account.bytes > handle->tail_bytes_max && left > 0) {
        struct embedded_partition *oldest = find_oldest(handle);
        has_more = oldest != NULL;
        if (!has_more)
            break;
        left -= memory_log_remove(&oldest->log, oldest->covered, ps_min_u32(EVICT_AT_ONCE, left));
    }
    bool was_full = handle->is_full;
    /* Blocks and indexes stay: with many partitions they alone may be more than there is room. */
    handle->is_full = handle->account.bytes > handle->tail_bytes_max && handle->account.records > 0;
    handle->broker.counters.full_tails += handle->is_full && !was_full;
    /* What the tail is full of may all be in the current segment, which nothing more can fill. */
    if (handle->is_full && !has_more && journal_close_segment(handle->journal))
        return true;
    return (was_full && !handle->is_full) || (handle->is_full && has_more);
}

bool embedded_retain(struct embedded_handle *handle)
{
    retain_extents(handle);
    return evict(handle);
}

static void run_reserve(void *context)
{
    struct embedded_reserve *reserve = context;
    reserve->status = log_store_reserve(reserve->store, reserve->partition->number, reserve->until);
}

static void take_reserve(struct embedded_handle *handle)
{
    struct embedded_reserve *reserve = &handle->reserve;
    if (helper_take(handle->port) == NULL)
        return;
    reserve->is_out = false;
    reserve->is_failing = reserve->status < 0;
    if (reserve->status == 0) {
        reserve->partition->reserved = reserve->until;
        if (reserve->partition->appends.count > 0)
            embedded_set_due(handle, reserve->partition);
    } else {
        reserve->retry_ns = handle->now_ns + RESERVE_RETRY_MS * 1000000ULL;
        reserve->failures++;
    }
    embedded_update_health(handle);
}

void embedded_reserve_turn(struct embedded_handle *handle)
{
    struct embedded_reserve *reserve = &handle->reserve;
    if (reserve->is_out)
        take_reserve(handle);
    if (reserve->is_out || handle->now_ns < reserve->retry_ns)
        return;
    for (uint32_t i = 0; i < handle->partition_count; i++) {
        struct embedded_partition *partition = &handle->partitions[i];
        if (ps_likely(partition->reserved - partition->next >= LOG_STORE_RESERVE / 2))
            continue;
        reserve->partition = partition;
        reserve->until = partition->next + LOG_STORE_RESERVE;
        reserve->job = (struct helper_job){.run = run_reserve, .context = reserve};
        if (helper_submit(handle->store->log.helper, handle->port, &reserve->job) == 0)
            reserve->is_out = true;
        else
            reserve->retry_ns = handle->now_ns + 100000000;
        return;
    }
}
