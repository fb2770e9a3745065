/*
 * The pulls of one handle that read closed segments; see log_reader_internal.h. This file has their
 * life: taken, run in slices, waiting, pausing after a failure, answered. What a slice does is in
 * segment_read.c, where blocks come from in block_cache.c.
 *
 *   free -> ready <-> running --> answered -> free       ready: a queue, so that reads take turns
 *             ^          |--> waiting for a block, for room or for files: until it is told
 *             '----------'--> paused: until a time
 *
 * A shard's; its thread's. Never waits for a disk.
 */
#include "log_reader_internal.h"

#include <inttypes.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "segment_read_internal.h"

enum {
    STEPS_PER_SLICE = 32,
    LOGGED_MAX = 32,       /* segments whose trouble was told, the latest ones */
    RECORD_BYTES_SHARE = 2 /* records larger than a block may take half of the cache's bytes more */
};

#define FAILURE_PAUSE_NS     UINT64_C(100000000)
#define FAILURE_PAUSE_MAX_NS UINT64_C(5000000000)
#define BUSY_PAUSE_NS        UINT64_C(1000000)

enum read_stage { READ_FREE, READ_READY, READ_WAITING, READ_PAUSED };

struct log_read {
    struct segment_read read;
    struct log_read *next; /* ready, or free */
    enum read_stage stage;
    uint32_t failures;  /* one after the other at this place */
    uint64_t failed_at; /* position */
    uint64_t retry_ns;
};

struct log_reader {
    struct log_store *store;
    struct heap *heap;
    struct log_reader_events events;
    struct log_reader_counters counters;
    struct segment_read_context context;
    struct block_cache *cache;
    struct large_reads large;
    struct segment_opener opener;
    struct segment_filters filters;
    struct log_read *free;
    struct log_read *ready_first;
    struct log_read *ready_last;
    uint64_t logged[LOGGED_MAX]; /* numbers of segments */
    uint32_t logged_count;
    uint32_t paused_count;
    uint32_t read_count; /* not free */
    uint32_t reads_max;
    struct log_read reads[];
};

static void set_ready(struct log_reader *reader, struct log_read *own)
{
    own->stage = READ_READY;
    own->next = NULL;
    *(reader->ready_last != NULL ? &reader->ready_last->next : &reader->ready_first) = own;
    reader->ready_last = own;
}

static void on_block_ready(void *context, struct block_holder *holder)
{
    struct segment_read *read = ps_container_of(holder, struct segment_read, holder);
    struct log_read *own = ps_container_of(read, struct log_read, read);
    ps_assert(own->stage == READ_WAITING);
    set_ready(context, own);
}

static bool waits_for_large_room(const struct log_read *own)
{
    return own->stage == READ_WAITING && !own->read.holder.is_waiting && !own->read.is_opening &&
           own->read.large == NULL;
}

static void on_large_ready(void *context, void *owner)
{
    struct log_reader *reader = context;
    if (owner != NULL) {
        struct log_read *own = ps_container_of((struct segment_read *)owner, struct log_read, read);
        ps_assert(own->stage == READ_WAITING);
        set_ready(reader, own);
        return;
    }
    for (uint32_t index = 0; index < reader->reads_max; index++) {
        if (waits_for_large_room(&reader->reads[index]))
            set_ready(reader, &reader->reads[index]);
    }
}

int log_reader_create(struct log_store *store, struct ring *ring, struct heap *heap,
                      const struct log_reader_limits *limits,
                      const struct log_reader_events *events, struct log_reader **out_reader)
{
    uint32_t reads_max = limits->reads_max;
    ps_assert(reads_max > 0);
    struct log_reader *reader =
        heap_zalloc(heap, sizeof(*reader) + (size_t)reads_max * sizeof(struct log_read));
    if (reader == NULL)
        return -ENOMEM;
    const struct block_cache_events cache_events = {reader, on_block_ready};
    int result = block_cache_create(store, ring, heap, limits->cache_bytes, &reader->counters,
                                    &cache_events, &reader->cache);
    if (result != 0) {
        heap_free(heap, reader);
        return result;
    }
    result = segment_opener_init(&reader->opener, store, heap, events->wake, events->wake_context);
    if (result != 0) {
        block_cache_destroy(reader->cache);
        heap_free(heap, reader);
        return result;
    }
    reader->store = store;
    reader->heap = heap;
    reader->events = *events;
    reader->reads_max = reads_max;
    reader->large = (struct large_reads){.store = store,
                                         .ring = ring,
                                         .heap = heap,
                                         .bytes_max = limits->cache_bytes / RECORD_BYTES_SHARE,
                                         .context = reader,
                                         .on_ready = on_large_ready};
    reader->filters = (struct segment_filters){.store = store,
                                               .ring = ring,
                                               .heap = heap,
                                               .counters = &reader->counters,
                                               .bytes_max = limits->filter_bytes_max};
    reader->context = (struct segment_read_context){.store = store,
                                                    .heap = heap,
                                                    .cache = reader->cache,
                                                    .large = &reader->large,
                                                    .opener = &reader->opener,
                                                    .filters = &reader->filters,
                                                    .counters = &reader->counters,
                                                    .events = &reader->events};
    for (uint32_t index = reads_max; index-- > 0;) {
        reader->reads[index].next = reader->free;
        reader->free = &reader->reads[index];
    }
    *out_reader = reader;
    return 0;
}

void log_reader_destroy(struct log_reader *reader)
{
    for (uint32_t index = 0; index < reader->reads_max; index++) {
        if (reader->reads[index].stage != READ_FREE)
            segment_read_end(&reader->context, &reader->reads[index].read);
    }
    segment_opener_deinit(&reader->opener, reader->heap);
    large_reads_deinit(&reader->large);
    segment_filters_deinit(&reader->filters);
    block_cache_destroy(reader->cache);
    heap_free(reader->heap, reader);
}

int log_reader_pull(struct log_reader *reader, struct broker_pull *pull)
{
    struct log_read *own = reader->free;
    if (own == NULL || segment_read_begin(&reader->context, &own->read, pull) != 0)
        return -EAGAIN;
    reader->free = own->next;
    reader->read_count++;
    own->failures = 0;
    set_ready(reader, own);
    return 0;
}

/* Out of the queue or the number that it stands in. */
static void unstage(struct log_reader *reader, struct log_read *own)
{
    if (own->stage == READ_PAUSED)
        reader->paused_count--;
    if (own->stage != READ_READY)
        return;
    struct log_read *before = NULL;
    for (struct log_read *at = reader->ready_first; at != own; at = at->next)
        before = at;
    *(before != NULL ? &before->next : &reader->ready_first) = own->next;
    if (reader->ready_last == own)
        reader->ready_last = before;
}

/* What it had is given back, and its place is free. */
static void release(struct log_reader *reader, struct log_read *own)
{
    own->stage = READ_FREE; /* before others are told of room: it waits for none any more */
    segment_read_end(&reader->context, &own->read);
    own->next = reader->free;
    reader->free = own;
    reader->read_count--;
}

bool log_reader_cancel(struct log_reader *reader, struct broker_pull *pull)
{
    for (uint32_t index = 0; index < reader->reads_max; index++) {
        struct log_read *own = &reader->reads[index];
        if (own->stage == READ_FREE || own->read.pull != pull)
            continue;
        unstage(reader, own);
        release(reader, own);
        pull->count = 0;
        return true;
    }
    return false;
}

/* Its place is free before the callback, which may take it for the next pull. */
static void answer(struct log_reader *reader, struct log_read *own)
{
    struct record *records[BROKER_PULL_RECORDS_MAX];
    struct broker_pull *pull = own->read.pull;
    uint16_t count = pull->count;
    memcpy(records, pull->records, count * sizeof(records[0]));
    pull->next = own->read.position;
    pull->count = 0;
    release(reader, own);
    pull->count = count;
    reader->events.on_read(reader->events.context, pull);
    for (uint32_t index = 0; index < count; index++)
        record_release(reader->heap, records[index]);
}

/* Numbers in [from, below) that extents have: what is between them never was a record. */
static uint64_t count_in_extents(const struct log_reader *reader, uint16_t partition, uint64_t from,
                                 uint64_t below)
{
    const struct log_reader_partition view =
        reader->events.partition(reader->events.context, partition);
    uint64_t count = 0;
    for (uint32_t at = 0; at < view.extent_count && view.extents[at].first < below; at++) {
        uint64_t begin = ps_max_u64(from, view.extents[at].first);
        uint64_t end = ps_min_u64(below, view.extents[at].next);
        count += end > begin ? end - begin : 0;
    }
    return count;
}

void log_reader_forget(struct log_reader *reader, uint16_t partition, uint64_t below)
{
    for (uint32_t index = 0; index < reader->reads_max; index++) {
        struct log_read *own = &reader->reads[index];
        struct segment_read *read = &own->read;
        if (own->stage == READ_FREE || read->pull->partition != partition ||
            read->position >= below)
            continue;
        unstage(reader, own);
        own->stage = READ_READY; /* waits for nothing any more */
        segment_read_leave(&reader->context, read);
        if (read->pull->count > 0) {
            read->is_ended = true;
        } else {
            read->pull->removed += count_in_extents(reader, partition, read->position, below);
            read->position = below;
        }
        set_ready(reader, own);
    }
}

/* Once for a segment, not for each attempt. */
static void log_failure(struct log_reader *reader, const struct segment_read *read, int result)
{
    uint64_t number = read->segment->number;
    for (uint32_t index = 0; index < ps_min_u32(reader->logged_count, LOGGED_MAX); index++) {
        if (reader->logged[index] == number)
            return;
    }
    reader->logged[reader->logged_count++ % LOGGED_MAX] = number;
    if (reader->store->log == NULL)
        return;
    log_write(reader->store->log, LOG_ERROR, "log_read_failed",
              "segment=%016" PRIx64 " partition=%u sequence=%" PRIu64 " reason=%s what=\"%s\"",
              number, read->pull->partition, read->position, result == -EIO ? "io" : "damaged",
              result == -EIO
                  ? "it is tried again; who wants these messages waits"
                  : "who wants these messages waits; stop, and penstock --repair cuts them");
}

static void pause_read(struct log_reader *reader, struct log_read *own, int result, uint64_t now_ns)
{
    uint64_t pause_ns = result == -EAGAIN ? BUSY_PAUSE_NS : FAILURE_PAUSE_NS;
    if (result == -EIO || result == -EBADMSG) {
        log_failure(reader, &own->read, result);
        if (own->failed_at != own->read.position)
            own->failures = 0;
        own->failed_at = own->read.position;
        pause_ns =
            ps_min_u64(FAILURE_PAUSE_NS << ps_min_u32(own->failures++, 10), FAILURE_PAUSE_MAX_NS);
        /* The places for open files are few, and others want to read what is whole. */
        segment_read_leave(&reader->context, &own->read);
        own->read.segment_count = 0;
        own->read.block_count = 0;
    }
    block_cache_let_go(reader->cache, &own->read.holder);
    own->stage = READ_PAUSED;
    own->retry_ns = now_ns + pause_ns;
    reader->paused_count++;
}

/* Result: the steps it took. */
static uint32_t run(struct log_reader *reader, struct log_read *own, uint64_t now_ns)
{
    for (uint32_t steps = 1; steps <= STEPS_PER_SLICE; steps++) {
        int result = segment_read_step(&reader->context, &own->read);
        if (result == 0)
            continue;
        if (result == -EINPROGRESS)
            own->stage = READ_WAITING;
        else if (result > 0 || own->read.pull->count > 0)
            answer(reader, own);
        else
            pause_read(reader, own, result, now_ns);
        return steps;
    }
    set_ready(reader, own);
    return STEPS_PER_SLICE;
}

static void wake_paused(struct log_reader *reader, uint64_t now_ns)
{
    for (uint32_t index = 0; index < reader->reads_max && reader->paused_count > 0; index++) {
        struct log_read *own = &reader->reads[index];
        if (own->stage != READ_PAUSED || own->retry_ns > now_ns)
            continue;
        unstage(reader, own);
        set_ready(reader, own);
    }
}

/* Reads that wait for files go on with what became of them: with a hold of their own, with the
 * failure, or to ask again. */
static void tell_opened(struct log_reader *reader, int result_of_job)
{
    for (uint32_t index = 0; index < reader->reads_max; index++) {
        struct log_read *own = &reader->reads[index];
        if (own->stage != READ_WAITING || !own->read.is_opening)
            continue;
        int result = result_of_job;
        if (result == 0)
            result = segment_opener_result(&reader->opener, own->read.segment);
        own->read.is_opening = false;
        own->read.open_result = result < 0 ? result : 0;
        if (result == 0)
            own->read.has_files = segment_files_hold(reader->store, own->read.segment);
        set_ready(reader, own);
    }
}

bool log_reader_turn(struct log_reader *reader, uint32_t steps_max, uint64_t now_ns)
{
    reader->filters.now_ns = now_ns;
    if (segment_opener_take(&reader->opener)) {
        tell_opened(reader, 0);
        segment_opener_finish(&reader->opener);
    }
    if (reader->paused_count > 0)
        wake_paused(reader, now_ns);
    for (uint32_t steps = 0; reader->ready_first != NULL && steps < steps_max;) {
        struct log_read *own = reader->ready_first;
        unstage(reader, own);
        steps += run(reader, own, now_ns);
    }
    if (segment_opener_submit(&reader->opener) < 0)
        tell_opened(reader, -EAGAIN);
    return reader->ready_first != NULL;
}

uint64_t log_reader_deadline_ns(const struct log_reader *reader)
{
    uint64_t deadline_ns = UINT64_MAX;
    for (uint32_t index = 0; index < reader->reads_max && reader->paused_count > 0; index++) {
        if (reader->reads[index].stage == READ_PAUSED)
            deadline_ns = ps_min_u64(deadline_ns, reader->reads[index].retry_ns);
    }
    return deadline_ns;
}

bool log_reader_is_idle(const struct log_reader *reader)
{
    return reader->read_count == 0 && block_cache_is_idle(reader->cache) &&
           reader->large.all == NULL && !reader->opener.is_out && reader->filters.loads == NULL;
}

bool log_reader_take(struct log_reader *reader, struct ring_file_request *request)
{
    return block_cache_take(reader->cache, request) || large_reads_take(&reader->large, request) ||
           segment_filters_take(&reader->filters, request);
}

const struct log_reader_counters *log_reader_counters(const struct log_reader *reader)
{
    return &reader->counters;
}
