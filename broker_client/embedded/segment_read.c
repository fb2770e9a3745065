/*
 * One pull's way through closed segments; see segment_read_internal.h for its states. Index blocks
 * come checked; what a data block says is believed only within the bounds that the index gives, and
 * a record only when its checksum holds and it is the one that was looked for. A shard's; its
 * thread's.
 */
#include "segment_read_internal.h"

#include "core/base.h"
#include "core/heap.h"

enum {
    HINTS_AHEAD = 16,   /* whose blocks are fetched ahead */
    SEGMENTS_AHEAD = 8, /* whose directory blocks are, for few hints */
    FEW_HINTS = 4,
    RECORDS_AHEAD = 32,    /* blocks of found records */
    WALK_AHEAD_MAX = 16,   /* blocks of a walk */
    FILTER_HINTS_MAX = 32, /* looked up at once, to step over a segment */
    HEADERS_PER_STEP = 32  /* of a walk */
};

/* On to the next segment: what this one was looked at with is given back. */
static void seek(const struct segment_read_context *context, struct segment_read *read)
{
    if (read->has_files)
        segment_files_let_go(context->store, read->segment);
    read->has_files = false;
    read->is_opening = false;
    read->open_result = 0;
    read->state = SEGMENT_READ_SEEK;
}

static int hold(const struct segment_read_context *context, struct segment_read *read,
                uint32_t block, bool is_index)
{
    const struct block_place place = {read->segment, block, is_index};
    int result = block_cache_hold(context->cache, &read->holder, &place);
    if (result != 0)
        return result;
    if (place.segment == read->place.segment && place.block == read->place.block &&
        place.is_index == read->place.is_index)
        return 0;
    read->place = place;
    read->block_count++;
    if (read->state == SEGMENT_READ_WALK) {
        uint64_t end = (read->index->data_end + BLOCK_BYTES - 1) / BLOCK_BYTES;
        end = ps_min_u64(end, (uint64_t)block + 1 + read->ahead);
        for (read->ahead_next = ps_max_u32(read->ahead_next, block + 1); read->ahead_next < end;
             read->ahead_next++) {
            const struct block_place next = {read->segment, read->ahead_next, false};
            block_cache_fetch_ahead(context->cache, &next);
        }
    }
    return 0;
}

/* Of a segment to come, whose files may be closed: then they are asked for instead. */
static void fetch_ahead_of(const struct segment_read_context *context,
                           const struct block_place *place)
{
    if (!segment_files_hold(context->store, place->segment)) {
        segment_opener_want(context->opener, place->segment);
        return;
    }
    block_cache_fetch_ahead(context->cache, place);
    segment_files_let_go(context->store, place->segment);
}

static void fetch_index_ahead(const struct segment_read_context *context,
                              const struct segment_read *read, uint32_t block)
{
    const struct block_place place = {read->segment, block, true};
    block_cache_fetch_ahead(context->cache, &place);
}

/* The data at `offset` is not what it should be: its blocks are fetched again when the read goes
 * on. A walk begins its group again: what led it here may be anywhere in it. */
static int damaged(const struct segment_read_context *context, struct segment_read *read,
                   uint64_t offset, uint64_t bytes)
{
    uint64_t first = offset;
    context->counters->damaged_blocks++;
    if (read->state == SEGMENT_READ_WALK ||
        (read->state == SEGMENT_READ_RECORDS && read->is_walk)) {
        first = read->group_offset;
        read->state = SEGMENT_READ_GROUP;
        read->walk_offset = 0;
    }
    for (uint64_t block = first / BLOCK_BYTES; block <= (offset + bytes - 1) / BLOCK_BYTES;
         block++) {
        const struct block_place place = {read->segment, (uint32_t)block, false};
        block_cache_discard(context->cache, &place);
    }
    read->straddle.count = 0;
    read->record_bytes = 0;
    return -EBADMSG;
}

/* The index contradicts itself, although its checksums hold. */
static int index_damaged(const struct segment_read_context *context)
{
    context->counters->damaged_blocks++;
    return -EBADMSG;
}

static int straddle_at(const struct segment_read_context *context, struct segment_read *read,
                       uint64_t offset, uint32_t count, const unsigned char **out_bytes)
{
    struct segment_read_straddle *straddle = &read->straddle;
    if (straddle->bytes == NULL)
        straddle->bytes = heap_alloc(context->heap, BLOCK_BYTES);
    if (straddle->bytes == NULL)
        return -ENOMEM;
    if (straddle->offset != offset || straddle->count != count) {
        straddle->offset = offset;
        straddle->count = count;
        straddle->have = 0;
    }
    while (straddle->have < count) {
        uint64_t at = offset + straddle->have;
        uint32_t inside = (uint32_t)(at % BLOCK_BYTES);
        uint32_t part = ps_min_u32(count - straddle->have, BLOCK_BYTES - inside);
        int result = hold(context, read, (uint32_t)(at / BLOCK_BYTES), false);
        if (result != 0)
            return result;
        const struct block *block = read->holder.block;
        if (block->count < inside + part)
            return damaged(context, read, offset, count);
        memcpy(straddle->bytes + straddle->have, block->bytes + inside, part);
        straddle->have += part;
    }
    *out_bytes = straddle->bytes;
    return 0;
}

/* At most BLOCK_BYTES of data, valid until the next step. 0 or as a step. */
static int bytes_at(const struct segment_read_context *context, struct segment_read *read,
                    uint64_t offset, uint32_t count, const unsigned char **out_bytes)
{
    uint32_t inside = (uint32_t)(offset % BLOCK_BYTES);
    if (inside + count > BLOCK_BYTES)
        return straddle_at(context, read, offset, count, out_bytes);
    int result = hold(context, read, (uint32_t)(offset / BLOCK_BYTES), false);
    if (result != 0)
        return result;
    const struct block *block = read->holder.block;
    if (block->count < inside + count)
        return damaged(context, read, offset, count);
    *out_bytes = block->bytes + inside;
    return 0;
}

static uint32_t records_left(const struct segment_read *read)
{
    uint32_t max = read->pull->records_max;
    if (max == 0 || max > BROKER_PULL_RECORDS_MAX)
        max = BROKER_PULL_RECORDS_MAX;
    return max - read->pull->count;
}

static const struct segment_index_partition *find_partition(const struct segment_index *index,
                                                            uint16_t partition)
{
    for (uint32_t at = 0; at < index->partition_count; at++) {
        if (index->partitions[at].partition == partition)
            return &index->partitions[at];
    }
    return NULL;
}

static const struct segment_index *index_of(const struct log_segment *segment)
{
    return atomic_load_explicit(&segment->index, memory_order_acquire);
}

/* The directory's block for a hint; UINT32_MAX: the segment has not got the hash. */
static uint32_t directory_block(const struct segment_read_context *context,
                                const struct log_segment *segment, uint32_t hash)
{
    uint32_t block = segment_index_directory_block(index_of(segment), hash);
    return block != UINT32_MAX && segment_filters_exclude(context->filters, segment, hash)
               ? UINT32_MAX
               : block;
}

/* True: nothing of the plan is in the segment at hand. */
static bool is_excluded(const struct segment_read_context *context, const struct segment_read *read)
{
    const struct read_plan *plan = read->plan;
    if (plan == NULL || plan->hint_count > FILTER_HINTS_MAX)
        return false;
    for (uint32_t hint = 0; hint < plan->hint_count; hint++)
        if (!segment_filters_exclude(context->filters, read->segment, plan->hints[hint].hash))
            return false;
    return true;
}

/* Few hints look into one directory block of a segment after the other: those to come are fetched
 * together. */
static void fetch_directories_ahead(const struct segment_read_context *context,
                                    const struct segment_read *read,
                                    const struct log_reader_partition *view, uint32_t extent)
{
    if (read->segment_count % SEGMENTS_AHEAD != 0 || read->plan->hint_count > FEW_HINTS)
        return;
    uint32_t end = ps_min_u32(extent + SEGMENTS_AHEAD, view->extent_count);
    for (; extent < end && view->extents[extent].first < view->tail_first; extent++) {
        struct log_segment *segment = view->extents[extent].segment;
        for (uint32_t hint = 0; index_of(segment) != NULL && hint < read->plan->hint_count;
             hint++) {
            const struct block_place place = {
                segment, directory_block(context, segment, read->plan->hints[hint].hash), true};
            if (place.block != UINT32_MAX)
                fetch_ahead_of(context, &place);
        }
    }
}

/* How many blocks ahead of a walk are worth fetching: what the answer has room for. */
static uint32_t blocks_ahead(const struct segment_read *read)
{
    const struct segment_index_partition *of = read->of;
    uint64_t bytes = of->bytes / of->records * records_left(read);
    bytes = ps_min_u64(bytes, read->pull->bytes_max);
    uint64_t share = read->index->data_end / ps_max_u64(of->bytes, 1) + 1;
    return (uint32_t)ps_min_u64(WALK_AHEAD_MAX, bytes * share / BLOCK_BYTES + 1);
}

static void begin_walk(struct segment_read *read)
{
    read->is_walk = true;
    read->low = 0;
    read->high = read->of->sparse_count;
    read->state = SEGMENT_READ_SPARSE;
}

static void begin_postings(struct segment_read *read)
{
    read->state = SEGMENT_READ_POSTINGS;
    read->hint = 0;
    read->low = 0;
    read->high = read->plan->hint_count > 0 ? read->plan->hints[0].group.records : 0;
    read_postings_clear(&read->postings, records_left(read));
}

/* The first extent that ends above `position`. */
static uint32_t find_extent(const struct log_reader_partition *view, uint64_t position)
{
    uint32_t low = 0;
    uint32_t high = view->extent_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (view->extents[middle].next <= position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int step_seek(const struct segment_read_context *context, struct segment_read *read)
{
    const struct log_reader_partition view =
        context->events->partition(context->events->context, read->pull->partition);
    uint32_t at = find_extent(&view, read->position);
    if (at == view.extent_count || view.extents[at].first >= view.tail_first ||
        read->position >= view.tail_first) {
        read->position = ps_max_u64(read->position, view.tail_first);
        return 1;
    }
    const struct log_extent *extent = &view.extents[at];
    read->position = ps_max_u64(read->position, extent->first);
    read->segment = extent->segment;
    read->limit = ps_min_u64(extent->next, view.tail_first);
    if (is_excluded(context, read)) {
        context->counters->segments_skipped++;
        read->position = read->limit;
        return 0;
    }
    if (read->segment_count == SEGMENT_READ_SEGMENTS_MAX ||
        read->block_count >= SEGMENT_READ_BLOCKS_MAX)
        return 1;
    read->index = index_of(read->segment);
    ps_assert(read->index != NULL); /* what no index covers is in the tail */
    read->of = find_partition(read->index, read->pull->partition);
    if (read->plan != NULL)
        fetch_directories_ahead(context, read, &view, at);
    read->segment_count++;
    if (read->of == NULL || read->of->records == 0 || read->of->next <= read->position) {
        read->position = read->limit;
        return 0;
    }
    read->state = SEGMENT_READ_OPEN;
    return 0;
}

static int step_open(const struct segment_read_context *context, struct segment_read *read)
{
    int result = read->open_result;
    read->open_result = 0;
    if (result == -EAGAIN || result == -ENOMEM || result == -EMFILE || result == -ENFILE)
        return result == -EAGAIN ? -EAGAIN : -ENOMEM;
    if (result < 0) {
        context->counters->read_failures++;
        return -EIO;
    }
    if (!read->has_files)
        read->has_files = segment_files_hold(context->store, read->segment);
    if (!read->has_files) {
        read->is_opening = true;
        segment_opener_want(context->opener, read->segment);
        return -EINPROGRESS;
    }
    read->is_walk = false;
    read->ahead_next = 0;
    read->has_group = false;
    read->hint = 0;
    if (read->plan != NULL)
        read->state = SEGMENT_READ_DIRECTORY;
    else
        begin_walk(read);
    return 0;
}

static int step_directory(const struct segment_read_context *context, struct segment_read *read)
{
    struct read_plan *plan = read->plan;
    if (read->hint == plan->hint_count) {
        if (!read->has_group)
            segment_filters_missed(context->filters, read->segment);
        begin_postings(read);
        return 0;
    }
    if (read->hint % HINTS_AHEAD == 0) {
        uint32_t end = ps_min_u32(read->hint + HINTS_AHEAD, plan->hint_count);
        for (uint32_t hint = read->hint; hint < end; hint++) {
            uint32_t ahead = directory_block(context, read->segment, plan->hints[hint].hash);
            if (ahead != UINT32_MAX)
                fetch_index_ahead(context, read, ahead);
        }
    }
    struct read_hint *hint = &plan->hints[read->hint];
    hint->group = (struct segment_index_group){0, 0};
    uint32_t block = directory_block(context, read->segment, hint->hash);
    if (block != UINT32_MAX) {
        int result = hold(context, read, block, true);
        if (result != 0)
            return result;
        if (!segment_index_find_group(read->index, block, read->holder.block->bytes, hint->hash,
                                      &hint->group))
            hint->group.records = 0;
    }
    read->has_group |= hint->group.records > 0;
    if (hint->group.records > 0 && hint->group.first == SEGMENT_INDEX_DENSE) {
        begin_walk(read);
        return 0;
    }
    if (hint->group.first > read->index->postings_count ||
        hint->group.records > read->index->postings_count - hint->group.first)
        return index_damaged(context);
    read->hint++;
    return 0;
}

static void begin_records(const struct segment_read_context *context, struct segment_read *read)
{
    read->state = SEGMENT_READ_RECORDS;
    read->posting = 0;
    read->record_bytes = 0;
    uint32_t before = UINT32_MAX;
    for (uint32_t at = 0, blocks = 0; at < read->postings.count && blocks < RECORDS_AHEAD; at++) {
        uint32_t block = (uint32_t)(read->postings.entries[at].offset / BLOCK_BYTES);
        if (block == before)
            continue;
        const struct block_place place = {read->segment, block, false};
        block_cache_fetch_ahead(context->cache, &place);
        before = block;
        blocks++;
    }
}

static void fetch_postings_ahead(const struct segment_read_context *context,
                                 const struct segment_read *read)
{
    const struct read_plan *plan = read->plan;
    uint32_t end = ps_min_u32(read->hint + HINTS_AHEAD, plan->hint_count);
    for (uint32_t hint = read->hint; hint < end; hint++) {
        const struct segment_index_group *group = &plan->hints[hint].group;
        if (group->records > 0)
            fetch_index_ahead(context, read,
                              segment_index_posting_block(read->index, group->first));
    }
}

/* One step of the search for the first posting at or above position. */
static int search_postings(const struct segment_read_context *context, struct segment_read *read,
                           uint32_t first)
{
    uint32_t middle = read->low + (read->high - read->low) / 2;
    int result =
        hold(context, read, segment_index_posting_block(read->index, first + middle), true);
    if (result != 0)
        return result;
    const struct segment_index_posting posting = segment_index_posting_read(
        read->index, read->of, first + middle, read->holder.block->bytes);
    if (posting.sequence < read->position)
        read->low = middle + 1;
    else
        read->high = middle;
    return 0;
}

/* Adds the postings from `low` on that one block has. 0 or as a step; *out_is_last: there is no
 * use in going on. */
static int add_postings(const struct segment_read_context *context, struct segment_read *read,
                        const struct segment_index_group *group, bool *out_is_last)
{
    uint32_t entry = group->first + read->low;
    uint32_t end = group->first + group->records;
    uint32_t block = segment_index_posting_block(read->index, entry);
    int result = hold(context, read, block, true);
    if (result != 0)
        return result;
    for (; entry < end && segment_index_posting_block(read->index, entry) == block; entry++) {
        const struct segment_index_posting posting =
            segment_index_posting_read(read->index, read->of, entry, read->holder.block->bytes);
        const struct read_posting found = {posting.sequence, posting.offset, read->hint};
        if (posting.sequence >= read->limit || !read_postings_add(&read->postings, found)) {
            *out_is_last = true;
            return 0;
        }
    }
    read->low = entry - group->first;
    read->high = read->low;
    *out_is_last = entry == end;
    return 0;
}

static int step_postings(const struct segment_read_context *context, struct segment_read *read)
{
    const struct read_plan *plan = read->plan;
    if (read->hint == plan->hint_count) {
        const struct read_postings *postings = &read->postings;
        read->covered =
            postings->is_cut ? postings->entries[postings->count - 1].sequence + 1 : read->limit;
        begin_records(context, read);
        return 0;
    }
    const struct segment_index_group *group = &plan->hints[read->hint].group;
    bool is_last = false;
    int result = 0;
    if (read->hint % HINTS_AHEAD == 0 && read->low == 0 && read->high == group->records)
        fetch_postings_ahead(context, read);
    if (read->low < read->high)
        result = search_postings(context, read, group->first);
    else if (read->low < group->records)
        result = add_postings(context, read, group, &is_last);
    else
        is_last = true;
    if (result != 0 || !is_last)
        return result;
    read->hint++;
    read->low = 0;
    read->high = read->hint < plan->hint_count ? plan->hints[read->hint].group.records : 0;
    return 0;
}

static int read_sparse(const struct segment_read_context *context, struct segment_read *read,
                       uint32_t entry, struct segment_index_posting *out_posting)
{
    entry += read->of->sparse_first;
    int result = hold(context, read, segment_index_sparse_block(read->index, entry), true);
    if (result != 0)
        return result;
    *out_posting =
        segment_index_sparse_read(read->index, read->of, entry, read->holder.block->bytes);
    return 0;
}

/* One step of the search for the last sparse entry at or below position. */
static int step_sparse(const struct segment_read_context *context, struct segment_read *read)
{
    if (read->low == read->high) {
        read->group = read->low > 0 ? read->low - 1 : 0;
        read->walk_offset = 0;
        read->state = SEGMENT_READ_GROUP;
        return 0;
    }
    uint32_t middle = read->low + (read->high - read->low) / 2;
    struct segment_index_posting posting;
    int result = read_sparse(context, read, middle, &posting);
    if (result != 0)
        return result;
    if (posting.sequence <= read->position)
        read->low = middle + 1;
    else
        read->high = middle;
    return 0;
}

static int step_group(const struct segment_read_context *context, struct segment_read *read)
{
    const struct segment_index_partition *of = read->of;
    uint32_t before = read->group * SEGMENT_INDEX_SPARSE_EVERY;
    if (read->group >= of->sparse_count || before >= of->records)
        return index_damaged(context);
    struct segment_index_posting posting;
    if (read->walk_offset == 0) {
        int result = read_sparse(context, read, read->group, &posting);
        if (result != 0)
            return result;
        read->walk_offset = posting.offset;
        read->group_offset = posting.offset;
        read->walk_from = posting.sequence;
    }
    if (read->group + 1 < of->sparse_count) {
        int result = read_sparse(context, read, read->group + 1, &posting);
        if (result != 0)
            return result;
        read->walk_end = posting.sequence;
    } else {
        read->walk_end = of->next;
    }
    read->group_records = ps_min_u32(SEGMENT_INDEX_SPARSE_EVERY, of->records - before);
    read->is_dense = read->walk_end - read->walk_from == read->group_records;
    read->walked = 0;
    read->ahead = blocks_ahead(read);
    read_postings_clear(&read->postings, BROKER_PULL_RECORDS_MAX);
    read->state = SEGMENT_READ_WALK;
    return 0;
}

static bool is_wanted(const struct segment_read *read, uint64_t sequence)
{
    return sequence >= read->position && sequence < read->limit;
}

/* The header that stands at walk_offset: steps over it. False: it cannot be one. */
static bool walk_over(struct segment_read *read, const unsigned char *bytes)
{
    uint16_t partition = 0;
    uint64_t sequence = 0;
    uint32_t count = 0;
    if (!segment_record_peek(bytes, &partition, &sequence, &count)) {
        struct segment_batch batch;
        if (segment_batch_decode(read->segment->seed, bytes, &batch) != 0)
            return false;
        read->walk_offset += SEGMENT_BATCH_HEADER_BYTES;
        return true;
    }
    if (count > read->index->data_end - read->walk_offset)
        return false;
    if (partition == read->pull->partition) {
        if (sequence < read->walk_from || sequence >= read->walk_end)
            return false;
        if (!read->is_dense || is_wanted(read, sequence))
            read->postings.entries[read->postings.count++] =
                (struct read_posting){.sequence = sequence, .offset = read->walk_offset};
        read->walked++;
        read->walk_from = sequence + 1;
    }
    read->walk_offset += segment_padded(count);
    return true;
}

static int step_walk(const struct segment_read_context *context, struct segment_read *read)
{
    for (uint32_t step = 0; step < HEADERS_PER_STEP && read->walked < read->group_records; step++) {
        uint64_t offset = read->walk_offset;
        const unsigned char *bytes = NULL;
        if (offset >= read->index->data_end || read->index->data_end - offset < RECORD_HEADER_BYTES)
            return damaged(context, read, offset, 1);
        int result = bytes_at(context, read, offset, RECORD_HEADER_BYTES, &bytes);
        if (result != 0)
            return result;
        if (!walk_over(read, bytes))
            return damaged(context, read, offset, RECORD_HEADER_BYTES);
    }
    if (read->walked < read->group_records)
        return 0;
    read->covered = ps_min_u64(read->walk_end, read->limit);
    begin_records(context, read);
    return 0;
}

/* All records of a round are done: where the next one begins. */
static int end_round(const struct segment_read_context *context, struct segment_read *read)
{
    read->position = ps_max_u64(read->position, read->covered);
    if (read->position >= read->limit) {
        seek(context, read);
        return 0;
    }
    if (read->block_count >= SEGMENT_READ_BLOCKS_MAX)
        return 1;
    if (read->is_walk) {
        read->group++;
        read->walk_offset = 0;
        read->state = SEGMENT_READ_GROUP;
    } else {
        begin_postings(read);
    }
    return 0;
}

/* 0 with `record_bytes`, of a record that is the one that was looked for as far as its header says.
 */
static int read_header(const struct segment_read_context *context, struct segment_read *read,
                       const struct read_posting *posting)
{
    const unsigned char *bytes = NULL;
    uint64_t data_end = read->index->data_end;
    if (posting->offset >= data_end || data_end - posting->offset < RECORD_HEADER_BYTES)
        return index_damaged(context);
    int result = bytes_at(context, read, posting->offset, RECORD_HEADER_BYTES, &bytes);
    if (result != 0)
        return result;
    struct record_view view;
    bool is_valid = record_peek(bytes, &view) && view.bytes <= data_end - posting->offset;
    bool is_ours = is_valid && view.partition == read->pull->partition;
    if (!is_valid || (is_ours && view.sequence != posting->sequence) || (!is_ours && read->is_walk))
        return damaged(context, read, posting->offset, RECORD_HEADER_BYTES);
    read->record_bytes = view.bytes;
    read->is_foreign = !is_ours;
    return 0;
}

/* See the head of segment_read_internal.h. */
static int pass_foreign(const struct segment_read_context *context, struct segment_read *read,
                        const struct read_posting *posting, const unsigned char *bytes)
{
    struct record_view view;
    if (!record_peek(bytes, &view) ||
        !record_check(segment_record_seed(read->segment->seed, view.partition), bytes,
                      read->record_bytes))
        return damaged(context, read, posting->offset, read->record_bytes);
    read->plan->hints[posting->hint].group.records = 0;
    begin_postings(read);
    return 0;
}

/* The whole record; its buffer is the block, the straddle or the large read. */
static int record_at(const struct segment_read_context *context, struct segment_read *read,
                     uint64_t offset, const unsigned char **out_bytes)
{
    if (read->record_bytes <= BLOCK_BYTES)
        return bytes_at(context, read, offset, read->record_bytes, out_bytes);
    block_cache_let_go(context->cache, &read->holder);
    int result = large_read_get(context->large, &read->large, read, read->segment, offset,
                                read->record_bytes, out_bytes);
    if (result == -EBADMSG)
        return damaged(context, read, offset, read->record_bytes);
    if (result == -EIO)
        context->counters->read_failures++;
    return result;
}

static int decode(const struct segment_read_context *context, struct segment_read *read,
                  const struct read_posting *posting, const unsigned char *bytes)
{
    struct broker_pull *pull = read->pull;
    struct record *record = NULL;
    long result =
        record_decode(context->heap, segment_record_seed(read->segment->seed, pull->partition),
                      bytes, read->record_bytes, &record);
    if (result == -ENOMEM)
        return -ENOMEM;
    if (result < 0)
        return damaged(context, read, posting->offset, read->record_bytes);
    if (record->partition != pull->partition || record->sequence != posting->sequence) {
        record_release(context->heap, record);
        return damaged(context, read, posting->offset, read->record_bytes);
    }
    if (!is_wanted(read, posting->sequence) ||
        (read->plan != NULL && !read_plan_covers(read->plan, record))) {
        record_release(context->heap, record);
        return 0;
    }
    read->answer_bytes +=
        (uint64_t)record->topic_bytes + record->fields_bytes + record->payload_bytes;
    pull->records[pull->count++] = record;
    context->counters->records++;
    return 0;
}

static int step_record(const struct segment_read_context *context, struct segment_read *read)
{
    if (read->posting == read->postings.count)
        return end_round(context, read);
    const struct read_posting *posting = &read->postings.entries[read->posting];
    const unsigned char *bytes = NULL;
    int result = 0;
    if (read->record_bytes == 0)
        result = read_header(context, read, posting);
    if (result != 0)
        return result;
    if (read->pull->count > 0 && !read->is_foreign && is_wanted(read, posting->sequence) &&
        read->answer_bytes + read->record_bytes - RECORD_HEADER_BYTES > read->pull->bytes_max) {
        read->position = posting->sequence;
        return 1;
    }
    result = record_at(context, read, posting->offset, &bytes);
    if (result == 0 && !read->is_foreign)
        result = decode(context, read, posting, bytes);
    else if (result == 0)
        result = pass_foreign(context, read, posting, bytes);
    if (result != -EINPROGRESS)
        large_read_end(context->large, &read->large);
    if (result != 0 || read->state != SEGMENT_READ_RECORDS)
        return result;
    read->record_bytes = 0;
    read->posting++;
    if (is_wanted(read, posting->sequence))
        read->position = posting->sequence + 1;
    return records_left(read) == 0 ? 1 : 0;
}

int segment_read_begin(const struct segment_read_context *context, struct segment_read *read,
                       struct broker_pull *pull)
{
    if (!read_plan_is_all(&pull->hint)) {
        read->plan = read_plan_create(context->heap, context->store->hash_seed, pull->partition,
                                      &pull->hint);
        if (read->plan == NULL)
            return -ENOMEM;
    }
    read->pull = pull;
    read->position = ps_max_u64(pull->from, 1);
    pull->status = BROKER_OK;
    pull->count = 0;
    pull->is_at_tail = false;
    return 0;
}

int segment_read_step(const struct segment_read_context *context, struct segment_read *read)
{
    if (read->is_ended)
        return 1;
    switch (read->state) {
    case SEGMENT_READ_SEEK:
        return step_seek(context, read);
    case SEGMENT_READ_OPEN:
        return step_open(context, read);
    case SEGMENT_READ_DIRECTORY:
        return step_directory(context, read);
    case SEGMENT_READ_POSTINGS:
        return step_postings(context, read);
    case SEGMENT_READ_SPARSE:
        return step_sparse(context, read);
    case SEGMENT_READ_GROUP:
        return step_group(context, read);
    case SEGMENT_READ_WALK:
        return step_walk(context, read);
    case SEGMENT_READ_RECORDS:
        return step_record(context, read);
    }
    return 1;
}

void segment_read_leave(const struct segment_read_context *context, struct segment_read *read)
{
    block_cache_let_go(context->cache, &read->holder);
    large_read_end(context->large, &read->large);
    read->straddle.count = 0;
    seek(context, read);
    read->place = (struct block_place){0};
    read->segment = NULL;
    read->index = NULL;
    read->of = NULL;
}

void segment_read_end(const struct segment_read_context *context, struct segment_read *read)
{
    segment_read_leave(context, read);
    for (uint32_t index = 0; index < read->pull->count; index++)
        record_release(context->heap, read->pull->records[index]);
    heap_free(context->heap, read->plan);
    heap_free(context->heap, read->straddle.bytes);
    *read = (struct segment_read){0};
}
