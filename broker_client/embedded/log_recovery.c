/*
 * What a start finds in a log; see log_recovery_internal.h. In this order: the names in the
 * directory, the numbers of the run before, every segment (newest first), what must hold between
 * them and the numbers; then the files are put in order, and extents, numbers and deduplication ids
 * of the partitions follow.
 *
 * Thread: the one that opens the store.
 */
#include "log_recovery_internal.h"

#include <inttypes.h>
#include <stdlib.h>

#include "core/disk.h"
#include "core/heap.h"
#include "core/log.h"
#include "segment_files_internal.h"

enum {
    COPY_BYTES = 1 << 20,
    DEDUPLICATION_MAX_DEFAULT = 8192,
    DEDUPLICATION_MS_DEFAULT = 120000,
    /* More than a run reserves ahead of what it has written, so that rebuilt numbers are above
     * everything that it can have given. */
    REBUILT_AHEAD = 4 * LOG_STORE_RESERVE
};

/* ---- the names in the directory ---- */

static struct recovery_segment *add_number(struct recovery *recovery, uint64_t number)
{
    if (recovery->segment_count == recovery->segment_capacity) {
        uint32_t capacity = recovery->segment_capacity == 0 ? 64 : recovery->segment_capacity * 2;
        struct recovery_segment *segments =
            heap_realloc(recovery->store->heap, recovery->segments, capacity * sizeof(*segments));
        if (segments == NULL)
            return NULL;
        recovery->segments = segments;
        recovery->segment_capacity = capacity;
    }
    struct recovery_segment *segment = &recovery->segments[recovery->segment_count++];
    *segment = (struct recovery_segment){.number = number};
    return segment;
}

static int on_name(void *context, const char *name)
{
    struct recovery *recovery = context;
    uint64_t number = 0;
    bool is_data = segment_name_parse(name, "seg", &number);
    if (!is_data && !segment_name_parse(name, "idx", &number))
        return 0;
    struct recovery_segment *segment = add_number(recovery, number);
    if (segment == NULL)
        return -ENOMEM;
    segment->has_data = is_data;
    segment->has_index = !is_data;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t left = ((const struct recovery_segment *)a)->number;
    uint64_t right = ((const struct recovery_segment *)b)->number;
    return (left > right) - (left < right);
}

/* One entry for each number with data; an index alone is what a removal left. */
static void merge_names(struct recovery *recovery)
{
    uint32_t count = 0;
    if (recovery->segment_count > 0)
        qsort(recovery->segments, recovery->segment_count, sizeof(*recovery->segments),
              compare_numbers);
    for (uint32_t at = 0; at < recovery->segment_count; at++) {
        struct recovery_segment *last = count > 0 ? &recovery->segments[count - 1] : NULL;
        if (last != NULL && last->number == recovery->segments[at].number) {
            last->has_data |= recovery->segments[at].has_data;
            last->has_index |= recovery->segments[at].has_index;
        } else {
            recovery->segments[count++] = recovery->segments[at];
        }
    }
    recovery->segment_count = count;
}

static int remove_new(void *context, const char *name)
{
    const struct log_store *store = context;
    uint64_t number = 0;
    return segment_name_parse(name, "new", &number) ? disk_remove(store->log_directory, name) : 0;
}

static int list_segments(struct recovery *recovery)
{
    struct log_store *store = recovery->store;
    /* What the process before did to names may not be on the disk yet. */
    int result = disk_sync_directory(store->log_directory);
    if (result == 0)
        result = disk_list(store->log_directory, on_name, recovery);
    if (result < 0)
        return log_store_refuse(store, recovery->error, result, "log: cannot be listed: %s",
                                strerror(-result));
    merge_names(recovery);
    return 0;
}

/* ---- the numbers of the run before ---- */

static int open_numbers(struct recovery *recovery)
{
    struct log_store *store = recovery->store;
    struct log_numbers *numbers = store->numbers;
    int result = log_numbers_read(store->directory, store->heap, numbers);
    if (result == 0) {
        recovery->has_numbers = true;
        return 0;
    }
    if (result == -ENOENT && recovery->segment_count == 0) {
        numbers->is_clean = true; /* a new directory */
        return 0;
    }
    if (result == -EPROTONOSUPPORT)
        return log_store_refuse(store, recovery->error, result,
                                "numbers: of format %u, and this version reads 2; start the one "
                                "that wrote it",
                                numbers->format);
    bool is_lost = result == -ENOENT || result == -EBADMSG;
    if (is_lost && store->config.is_repair) {
        numbers->commit = EMBEDDED_COMMIT_SYNCED;
        numbers->is_clean = false;
        if (recovery->segment_count > 0)
            numbers->run = recovery_run(recovery->segments[recovery->segment_count - 1].number);
        return 0;
    }
    if (is_lost)
        return log_store_refuse(store, recovery->error, -EBADMSG,
                                "numbers: %s, although there are segments; --repair makes it anew, "
                                "above every number that the log has",
                                result == -ENOENT ? "missing" : "damaged");
    return log_store_refuse(store, recovery->error, result, "numbers: cannot be read: %s",
                            strerror(-result));
}

/* What must hold between the log and the numbers. */
static int check_numbers(struct recovery *recovery)
{
    const struct log_store *store = recovery->store;
    const struct log_numbers *numbers = store->numbers;
    if (!recovery->has_numbers || store->config.is_repair)
        return 0;
    for (uint32_t index = 0; index < numbers->partition_count; index++) {
        const struct recovery_partition *partition = &recovery->partitions[index];
        const struct log_number *number = &numbers->partitions[index];
        bool is_early = numbers->is_clean && recovery_run(partition->end_number) == numbers->run &&
                        partition->end < number->floor;
        if (partition->end == 0 || (!is_early && partition->end <= number->reserved))
            continue;
        return log_store_refuse(
            store, recovery->error, -EBADMSG,
            "log/%016" PRIx64 ".seg: partition %u ends at %" PRIu64 ", but numbers says %s %" PRIu64
            "; --repair takes the log as it is",
            partition->end_number, index, partition->end - 1, is_early ? "at" : "at most",
            (is_early ? number->floor : number->reserved) - 1);
    }
    return 0;
}

/* Where each partition goes on. */
static void set_numbers(struct recovery *recovery)
{
    struct log_store *store = recovery->store;
    const struct log_numbers *numbers = store->numbers;
    bool is_rebuilt = !recovery->has_numbers && store->config.is_repair;
    bool is_jump = store->config.is_repair ||
                   (!numbers->is_clean && numbers->commit != EMBEDDED_COMMIT_SYNCED);
    for (uint32_t index = 0; index < numbers->partition_count; index++) {
        const struct log_number *number = &numbers->partitions[index];
        struct log_partition_state *state = &store->partitions[index];
        uint64_t end = recovery->partitions[index].end;
        uint64_t next = ps_max_u64(ps_max_u64(end, number->floor), 1);
        if (is_jump)
            next = ps_max_u64(next, number->reserved);
        if (is_rebuilt)
            next += REBUILT_AHEAD;
        state->next = next;
        state->jumps = number->jumps;
        for (uint32_t at = 1; at < state->extent_count; at++)
            log_jumps_add(&state->jumps, state->extents[at - 1].next, state->extents[at].first);
        log_jumps_add(&state->jumps, end > 0 ? end : ps_max_u64(number->floor, 1), next);
    }
}

/* ---- putting the files in order ---- */

/* After a failed sync the kernel may show bytes that are not on the disk, and no later sync would
 * write them: so what could be such is written again first. */
static int rewrite(struct log_store *store, const struct recovery_segment *found)
{
    int fd = found->segment->fd;
    unsigned char *bytes = heap_alloc(store->heap, COPY_BYTES);
    int result = bytes == NULL ? -ENOMEM : 0;
    for (uint64_t offset = found->rewrite_from; offset < found->data_end && result == 0;) {
        size_t count = 0;
        result =
            disk_read(fd, bytes, ps_min_u64(COPY_BYTES, found->data_end - offset), offset, &count);
        if (result == 0 && count == 0)
            result = -EIO; /* it was longer a moment ago */
        if (result == 0)
            result = disk_write(fd, bytes, count, offset);
        offset += count;
    }
    heap_free(store->heap, bytes);
    return result;
}

static int remove_segment(struct log_store *store, struct recovery_segment *found)
{
    int result = log_segment_remove_file(store, found->number, "seg");
    if (result == 0)
        result = log_segment_remove_file(store, found->number, "idx");
    log_segment_destroy(store, store->heap, found->segment);
    found->segment = NULL;
    return result;
}

/* What was begun again goes when the one that has it all is on the disk, and before that one gets
 * its index, with which the next start would find that the two overlap. */
static int remove_forgotten(struct recovery *recovery, const struct recovery_segment *found)
{
    struct log_store *store = recovery->store;
    int result = disk_sync(found->segment->fd);
    for (uint32_t at = (uint32_t)(found - recovery->segments) + 1;
         at < recovery->segment_count && result == 0; at++) {
        struct recovery_segment *later = &recovery->segments[at];
        if (later->is_forgotten && later->shard == found->shard && later->segment != NULL)
            result = remove_segment(store, later);
    }
    return result < 0 ? result : disk_sync_directory(store->log_directory);
}

static int settle_scanned(struct recovery *recovery, struct recovery_segment *found)
{
    struct log_store *store = recovery->store;
    int result = log_segment_open(store, found->segment); /* closed when it was examined */
    if (result == 0)
        result = rewrite(store, found);
    if (result == 0 && found->forgets_later)
        result = remove_forgotten(recovery, found);
    void *state = NULL;
    if (result == 0) {
        do {
            result = log_store_index(store, found->segment, found->data_end, &state);
        } while (result == -EAGAIN);
    }
    store->recovery.segments_scanned++;
    return result;
}

/* The segment is the store's from here on, or gone. */
static int settle(struct recovery *recovery, struct recovery_segment *found)
{
    struct log_store *store = recovery->store;
    int result = 0;
    if (found->verdict == RECOVERY_NOTHING) /* of a forgotten one nothing is left */
        return found->segment == NULL ? 0 : remove_segment(store, found);
    atomic_store(&found->segment->file_bytes, found->file_bytes);
    atomic_fetch_add(&store->segment_bytes, found->file_bytes);
    if (found->verdict == RECOVERY_SCANNED)
        result = settle_scanned(recovery, found);
    else
        log_segment_publish(store, found->segment, atomic_load(&found->segment->index), -1);
    if (result < 0)
        return result;
    log_store_append(store, found->segment);
    store->recovery.segments++;
    return 0;
}

static int settle_all(struct recovery *recovery)
{
    struct log_store *store = recovery->store;
    int result = disk_list(store->log_directory, remove_new, store);
    for (uint32_t at = 0; at < recovery->segment_count && result == 0; at++) {
        struct recovery_segment *found = &recovery->segments[at];
        if (found->has_data)
            result = settle(recovery, found);
        else
            result = log_segment_remove_file(store, found->number, "idx");
    }
    if (result == 0)
        result = disk_sync_directory(store->log_directory);
    if (result < 0)
        return log_store_refuse(store, recovery->error, result,
                                "log: what the run before left cannot be put in order: %s",
                                strerror(-result));
    return 0;
}

/* ---- extents ---- */

static int add_extent(struct log_store *store, struct log_segment *segment,
                      const struct segment_index_partition *partition)
{
    struct log_partition_state *state = &store->partitions[partition->partition];
    if (state->extent_count == state->extent_capacity) {
        uint32_t capacity = state->extent_capacity == 0 ? 16 : state->extent_capacity * 2;
        struct log_extent *extents =
            heap_realloc(store->heap, state->extents, capacity * sizeof(*extents));
        if (extents == NULL)
            return -ENOMEM;
        state->extents = extents;
        state->extent_capacity = capacity;
    }
    state->extents[state->extent_count++] = (struct log_extent){.segment = segment,
                                                                .first = partition->first,
                                                                .next = partition->next,
                                                                .records = partition->records,
                                                                .bytes = partition->bytes};
    log_segment_acquire(segment);
    atomic_fetch_add(&segment->extent_count, 1);
    store->recovery.records += partition->records;
    return 0;
}

static int make_extents(struct recovery *recovery)
{
    struct log_store *store = recovery->store;
    for (struct log_segment *at = store->first; at != NULL; at = at->next) {
        const struct segment_index *index = atomic_load(&at->index);
        for (uint32_t slot = 0; slot < index->partition_count; slot++)
            if (index->partitions[slot].records > 0 &&
                add_extent(store, at, &index->partitions[slot]) < 0)
                return log_store_refuse(store, recovery->error, -ENOMEM, "memory is out");
    }
    store->recovery.log_bytes = atomic_load(&store->segment_bytes);
    return 0;
}

/* ---- deduplication ids ---- */

/* The ids of a partition are gathered from the newest segment down, at the end of an array. */
struct ids_fill {
    struct log_store *store;
    uint64_t oldest_ms;
    uint32_t capacity; /* of each partition */
    uint32_t *counts;  /* by partition: in the segment that is being read */
    uint32_t *skips;   /* of these the first ones have no room */
    bool is_counting;
};

static void on_id(void *context, const struct segment_index_id *id)
{
    struct ids_fill *fill = context;
    if (id->publish_ms < fill->oldest_ms || id->partition >= fill->store->config.partition_count)
        return;
    if (fill->is_counting) {
        fill->counts[id->partition]++;
        return;
    }
    if (fill->skips[id->partition] > 0) {
        fill->skips[id->partition]--;
        return;
    }
    struct log_partition_state *state = &fill->store->partitions[id->partition];
    ps_assert(fill->counts[id->partition] > 0);
    uint32_t position = fill->capacity - state->id_count - fill->counts[id->partition]--;
    state->ids[position] = *id;
}

/* Room for what was counted. id_count is raised by the caller when it is filled. */
static int make_room(struct ids_fill *fill, uint32_t partition)
{
    struct log_partition_state *state = &fill->store->partitions[partition];
    uint32_t room = fill->capacity - state->id_count;
    uint32_t count = fill->counts[partition];
    fill->skips[partition] = count > room ? count - room : 0;
    fill->counts[partition] = ps_min_u32(count, room);
    if (fill->counts[partition] > 0 && state->ids == NULL)
        state->ids = heap_alloc(fill->store->heap, fill->capacity * sizeof(state->ids[0]));
    return fill->counts[partition] > 0 && state->ids == NULL ? -ENOMEM : 0;
}

/* The caller holds the segment's files. */
static int load_segment_ids(struct ids_fill *fill, const struct log_segment *segment)
{
    struct log_store *store = fill->store;
    const struct segment_index *index = atomic_load(&segment->index);
    uint32_t partition_count = store->config.partition_count;
    memset(fill->counts, 0, partition_count * sizeof(fill->counts[0]));
    fill->is_counting = true;
    int result = segment_index_load_ids(segment->index_fd, store->heap, index, fill, on_id);
    for (uint32_t partition = 0; partition < partition_count && result == 0; partition++)
        result = make_room(fill, partition);
    if (result < 0)
        return result;
    uint32_t *added = heap_alloc(store->heap, partition_count * sizeof(*added));
    if (added == NULL)
        return -ENOMEM;
    memcpy(added, fill->counts, partition_count * sizeof(*added));
    fill->is_counting = false;
    result = segment_index_load_ids(segment->index_fd, store->heap, index, fill, on_id);
    for (uint32_t partition = 0; partition < partition_count && result == 0; partition++) {
        ps_assert(fill->counts[partition] == 0);
        store->partitions[partition].id_count += added[partition];
    }
    heap_free(store->heap, added);
    return result;
}

/* True: a partition of the segment may still be given ids. */
static bool is_wanted(const struct ids_fill *fill, const struct segment_index *index)
{
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *partition = &index->partitions[slot];
        if (partition->records > 0 && partition->newest_ms >= fill->oldest_ms &&
            fill->store->partitions[partition->partition].id_count < fill->capacity)
            return index->ids_count > 0;
    }
    return false;
}

static int fill_ids(struct recovery *recovery, struct ids_fill *fill)
{
    for (uint32_t at = recovery->segment_count; at > 0; at--) {
        struct log_segment *segment = recovery->segments[at - 1].segment;
        if (segment == NULL || !is_wanted(fill, atomic_load(&segment->index)))
            continue;
        int result = segment_files_open(fill->store, segment);
        if (result == 0) {
            result = load_segment_ids(fill, segment);
            segment_files_let_go(fill->store, segment);
        }
        if (result < 0)
            return log_store_refuse(fill->store, recovery->error, result,
                                    "log/%016" PRIx64 ".idx: cannot be read: %s%s", segment->number,
                                    strerror(-result),
                                    result == -EBADMSG ? "; --repair makes it anew" : "");
    }
    return 0;
}

static int load_ids(struct recovery *recovery)
{
    struct log_store *store = recovery->store;
    const struct embedded_store_config *config = &store->config;
    uint64_t newest_ms = 0;
    for (const struct log_segment *at = store->first; at != NULL; at = at->next)
        newest_ms = ps_max_u64(newest_ms, atomic_load(&at->newest_ms));
    uint64_t window_ms =
        config->deduplication_ms > 0 ? config->deduplication_ms : DEDUPLICATION_MS_DEFAULT;
    struct ids_fill fill = {.store = store,
                            .oldest_ms = newest_ms > window_ms ? newest_ms - window_ms : 0,
                            .capacity = config->deduplication_max > 0 ? config->deduplication_max
                                                                      : DEDUPLICATION_MAX_DEFAULT};
    fill.counts = heap_alloc(store->heap, config->partition_count * sizeof(fill.counts[0]));
    fill.skips = heap_zalloc(store->heap, config->partition_count * sizeof(fill.skips[0]));
    int result = 0;
    if (fill.counts == NULL || fill.skips == NULL)
        result = log_store_refuse(store, recovery->error, -ENOMEM, "memory is out");
    else
        result = fill_ids(recovery, &fill);
    heap_free(store->heap, fill.counts);
    heap_free(store->heap, fill.skips);
    for (uint32_t index = 0; index < config->partition_count && result == 0; index++) {
        struct log_partition_state *state = &store->partitions[index];
        if (state->id_count > 0)
            memmove(state->ids, state->ids + (fill.capacity - state->id_count),
                    state->id_count * sizeof(state->ids[0]));
    }
    return result;
}

/* ---- all of it ---- */

static int examine_all(struct recovery *recovery)
{
    for (uint32_t at = recovery->segment_count; at > 0; at--) {
        if (!recovery->segments[at - 1].has_data)
            continue;
        int result = log_examine(recovery, at - 1);
        if (result < 0)
            return result;
    }
    return 0;
}

static int recover(struct recovery *recovery)
{
    int result = list_segments(recovery);
    if (result == 0)
        result = open_numbers(recovery);
    if (result == 0)
        result = examine_all(recovery);
    if (result == 0)
        result = check_numbers(recovery);
    if (result == 0)
        result = settle_all(recovery);
    if (result == 0)
        result = make_extents(recovery);
    if (result == 0)
        result = load_ids(recovery);
    if (result == 0) {
        log_gaps_tell(recovery);
        set_numbers(recovery);
    }
    return result;
}

int log_recover(struct log_store *store, char *error)
{
    struct recovery recovery = {.store = store, .error = error};
    uint16_t count = store->config.partition_count;
    recovery.partitions = heap_zalloc(store->heap, count * sizeof(recovery.partitions[0]));
    if (recovery.partitions == NULL)
        return log_store_refuse(store, error, -ENOMEM, "memory is out");
    for (uint32_t index = 0; index < count; index++)
        recovery.partitions[index].limit = UINT64_MAX;
    int result = recover(&recovery);
    store->recovery.was_clean = store->numbers->is_clean;
    store->recovery.was_unsynced = store->numbers->commit != EMBEDDED_COMMIT_SYNCED;
    /* What did not come into the list is still ours. */
    for (uint32_t at = 0; at < recovery.segment_count && result < 0; at++) {
        struct log_segment *segment = recovery.segments[at].segment;
        bool is_listed = false;
        for (const struct log_segment *of = store->first; of != NULL; of = of->next)
            is_listed |= of == segment;
        if (segment != NULL && !is_listed)
            log_segment_destroy(store, store->heap, segment);
    }
    heap_free(store->heap, recovery.segments);
    heap_free(store->heap, recovery.partitions);
    return result;
}
