/*
 * Filters of closed segments; see segment_filter_internal.h. One that cannot be read, for want of
 * memory or because the disk refuses, is not there: readers look into the directory. A shard's; its
 * thread's.
 */
#include "segment_filter_internal.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/ring_file.h"
#include "segment_files_internal.h"
#include "segment_index_format_internal.h"

#define REST_NS UINT64_C(10000000000)

struct segment_filter {
    struct segment_filter *chain;
    struct segment_filter *older;
    struct segment_filter *newer;
    uint64_t number; /* of the segment */
    uint64_t used_ns;
    uint32_t bucket_count;
    unsigned char buckets[];
};

/* One that is being read; its own memory. */
struct segment_filter_load {
    struct ring_file_request request;
    struct segment_filter_load *next;
    struct log_segment *segment; /* referenced, its files held */
    unsigned char bytes[];
};

static struct segment_filter **slot_of(struct segment_filters *filters, uint64_t number)
{
    uint64_t key = number * UINT64_C(0x9e3779b97f4a7c15) >> 32;
    return &filters->table[key % SEGMENT_FILTER_SLOTS];
}

static void order_remove(struct segment_filters *filters, struct segment_filter *filter)
{
    *(filter->older != NULL ? &filter->older->newer : &filters->oldest) = filter->newer;
    *(filter->newer != NULL ? &filter->newer->older : &filters->newest) = filter->older;
}

static void order_add(struct segment_filters *filters, struct segment_filter *filter)
{
    filter->older = filters->newest;
    filter->newer = NULL;
    *(filters->newest != NULL ? &filters->newest->newer : &filters->oldest) = filter;
    filters->newest = filter;
    filter->used_ns = filters->now_ns;
}

static uint64_t filter_bytes(uint32_t bucket_count)
{
    return sizeof(struct segment_filter) + (uint64_t)bucket_count * SEGMENT_FILTER_BUCKET_BYTES;
}

static struct segment_filter *find(struct segment_filters *filters, uint64_t number)
{
    struct segment_filter *filter = *slot_of(filters, number);
    while (filter != NULL && filter->number != number)
        filter = filter->chain;
    return filter;
}

static void set_bytes(struct segment_filters *filters, uint64_t bytes)
{
    filters->bytes = bytes;
    filters->counters->filter_bytes = bytes;
}

static void forget(struct segment_filters *filters, struct segment_filter *filter)
{
    struct segment_filter **at = slot_of(filters, filter->number);
    while (*at != filter)
        at = &(*at)->chain;
    *at = filter->chain;
    order_remove(filters, filter);
    set_bytes(filters, filters->bytes - filter_bytes(filter->bucket_count));
    heap_free(filters->heap, filter);
}

/* Room for that many bytes more, if need be of filters that rest. */
static bool make_room(struct segment_filters *filters, uint64_t bytes)
{
    while (filters->bytes + bytes > filters->bytes_max && filters->oldest != NULL &&
           filters->oldest->used_ns + REST_NS <= filters->now_ns)
        forget(filters, filters->oldest);
    return filters->bytes + bytes <= filters->bytes_max;
}

bool segment_filters_exclude(struct segment_filters *filters, const struct log_segment *segment,
                             uint32_t hash)
{
    struct segment_filter *filter = find(filters, segment->number);
    if (filter == NULL)
        return false;
    if (filter != filters->newest) {
        order_remove(filters, filter);
        order_add(filters, filter);
    }
    filter->used_ns = filters->now_ns;
    uint32_t bucket = segment_filter_bucket(hash, filter->bucket_count);
    return !segment_filter_has(filter->buckets + (size_t)bucket * SEGMENT_FILTER_BUCKET_BYTES,
                               hash);
}

/* The buckets in `bytes`, one block of the index after the other, as a filter. NULL: a block is
 * damaged, or memory is out. */
static struct segment_filter *make_filter(struct segment_filters *filters,
                                          const struct segment_index *index,
                                          const unsigned char *bytes)
{
    struct segment_filter *filter = heap_alloc(filters->heap, filter_bytes(index->filter_buckets));
    if (filter == NULL)
        return NULL;
    *filter =
        (struct segment_filter){.number = index->number, .bucket_count = index->filter_buckets};
    uint32_t checked = UINT32_MAX;
    for (uint32_t bucket = 0; bucket < index->filter_buckets; bucket++) {
        uint32_t byte;
        uint32_t block = segment_filter_block(index, bucket, &byte);
        const unsigned char *from =
            bytes + (size_t)(block - index->filter_block) * SEGMENT_INDEX_BLOCK_BYTES;
        if (block != checked && !segment_index_block_check(index->seed, block, from)) {
            filters->counters->damaged_blocks++;
            heap_free(filters->heap, filter);
            return NULL;
        }
        checked = block;
        memcpy(filter->buckets + (size_t)bucket * SEGMENT_FILTER_BUCKET_BYTES, from + byte,
               SEGMENT_FILTER_BUCKET_BYTES);
    }
    return filter;
}

static void add(struct segment_filters *filters, struct segment_filter *filter)
{
    struct segment_filter **slot = slot_of(filters, filter->number);
    filter->chain = *slot;
    *slot = filter;
    order_add(filters, filter);
    set_bytes(filters, filters->bytes + filter_bytes(filter->bucket_count));
    filters->counters->filters_loaded++;
}

static void begin_load(struct segment_filters *filters, struct log_segment *segment)
{
    const struct segment_index *index = atomic_load_explicit(&segment->index, memory_order_acquire);
    uint64_t bytes = (uint64_t)(segment_filter_end_block(index) - index->filter_block) *
                     SEGMENT_INDEX_BLOCK_BYTES;
    uint64_t needed = bytes + filter_bytes(index->filter_buckets);
    if (bytes == 0 || bytes > RING_FILE_BYTES_MAX ||
        filters->load_count == SEGMENT_FILTER_LOADS_MAX || !make_room(filters, needed))
        return;
    struct segment_filter_load *load = heap_alloc(filters->heap, sizeof(*load) + bytes);
    if (load == NULL || !segment_files_hold(filters->store, segment)) {
        heap_free(filters->heap, load);
        return;
    }
    *load = (struct segment_filter_load){
        .request = {.fd = segment->index_fd,
                    .kind = RING_FILE_READ,
                    .buffer = load->bytes,
                    .bytes = (uint32_t)bytes,
                    .offset = (uint64_t)index->filter_block * SEGMENT_INDEX_BLOCK_BYTES,
                    .owner = filters},
        .next = filters->loads,
        .segment = segment,
    };
    if (ring_file_submit(filters->ring, &load->request) != 0) {
        segment_files_let_go(filters->store, segment);
        heap_free(filters->heap, load);
        return;
    }
    log_segment_acquire(segment);
    set_bytes(filters, filters->bytes + bytes);
    filters->loads = load;
    filters->load_count++;
}

void segment_filters_missed(struct segment_filters *filters, struct log_segment *segment)
{
    uint64_t number = segment->number;
    uint64_t *missed = &filters->missed[number % SEGMENT_FILTER_SLOTS];
    if (find(filters, number) != NULL)
        return; /* it said that the hash may be there */
    bool is_second = *missed == number;
    *missed = is_second ? 0 : number;
    if (is_second)
        begin_load(filters, segment);
}

static void end_load(struct segment_filters *filters, struct segment_filter_load *load)
{
    segment_files_let_go(filters->store, load->segment);
    log_segment_release(filters->store, load->segment);
    set_bytes(filters, filters->bytes - load->request.bytes);
    struct segment_filter_load **at = &filters->loads;
    while (*at != load)
        at = &(*at)->next;
    *at = load->next;
    filters->load_count--;
    heap_free(filters->heap, load);
}

void segment_filters_deinit(struct segment_filters *filters)
{
    while (filters->loads != NULL)
        end_load(filters, filters->loads);
    while (filters->oldest != NULL)
        forget(filters, filters->oldest);
}

bool segment_filters_take(struct segment_filters *filters, struct ring_file_request *request)
{
    if (request->owner != filters)
        return false;
    struct segment_filter_load *load =
        ps_container_of(request, struct segment_filter_load, request);
    const struct segment_index *index = atomic_load(&load->segment->index);
    struct segment_filter *filter = NULL;
    if (request->result < 0)
        filters->counters->read_failures++;
    else if (request->result == (int32_t)request->bytes && find(filters, index->number) == NULL)
        filter = make_filter(filters, index, load->bytes);
    end_load(filters, load);
    if (filter != NULL)
        add(filters, filter);
    return true;
}
