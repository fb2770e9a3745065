/*
 * Blocks of segments in memory; see block_cache_internal.h.
 *
 *   free --fetch--> on its way --> ready <--> pinned     found by place: in the table
 *    ^                  |           | evicted (unpinned only), discarded
 *    |                  v failed    v
 *    '--- last pin ----  out of the table
 *
 * Ready blocks that nobody pins stand in the order of their last use. A shard's; its thread's.
 */
#include "block_cache_internal.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/ring_file.h"
#include "segment_files_internal.h"

enum block_state { BLOCK_FREE, BLOCK_FETCHING, BLOCK_READY, BLOCK_FAILED };

struct cached_block {
    struct block block; /* what holders see; first */
    struct ring_file_request request;
    struct cached_block *chain; /* of the table; of the free ones */
    struct cached_block *older; /* ready and unpinned: by last use */
    struct cached_block *newer;
    struct block_holder *waiting;
    struct block_place place; /* its segment is referenced and looked at while fetching only */
    uint64_t number;          /* of the segment */
    enum block_state state;
    int result; /* of a failed fetch */
    uint32_t pins;
    bool is_found; /* in the table */
    unsigned char bytes[];
};

struct block_cache {
    struct log_store *store;
    struct ring *ring;
    struct heap *heap;
    struct log_reader_counters *counters;
    struct block_cache_events events;
    struct cached_block **blocks; /* all that were allocated */
    struct cached_block *free;
    struct cached_block *oldest;
    struct cached_block *newest;
    struct block_holder *room_first; /* wait for a buffer */
    struct block_holder *room_last;
    uint32_t block_count;
    uint32_t block_max;
    uint32_t fetching;
    uint32_t table_mask;
    struct cached_block *table[];
};

int block_cache_create(struct log_store *store, struct ring *ring, struct heap *heap,
                       uint64_t bytes_max, struct log_reader_counters *counters,
                       const struct block_cache_events *events, struct block_cache **out_cache)
{
    uint64_t block_max = ps_max_u64(1, ps_min_u64(bytes_max / BLOCK_BYTES, UINT32_MAX / 4));
    uint64_t table_count = 1;
    while (table_count < block_max)
        table_count *= 2;
    struct block_cache *cache =
        heap_zalloc(heap, sizeof(*cache) + table_count * sizeof(struct cached_block *));
    if (cache == NULL)
        return -ENOMEM;
    cache->blocks = heap_alloc(heap, block_max * sizeof(struct cached_block *));
    if (cache->blocks == NULL) {
        heap_free(heap, cache);
        return -ENOMEM;
    }
    cache->store = store;
    cache->ring = ring;
    cache->heap = heap;
    cache->counters = counters;
    cache->events = *events;
    cache->block_max = (uint32_t)block_max;
    cache->table_mask = (uint32_t)table_count - 1;
    *out_cache = cache;
    return 0;
}

/* The ring is done with a block. */
static void let_go_of_segment(struct block_cache *cache, struct cached_block *block)
{
    segment_files_let_go(cache->store, block->place.segment);
    log_segment_release(cache->store, block->place.segment);
}

void block_cache_destroy(struct block_cache *cache)
{
    for (uint32_t index = 0; index < cache->block_count; index++) {
        struct cached_block *block = cache->blocks[index];
        if (block->state == BLOCK_FETCHING)
            let_go_of_segment(cache, block);
        heap_free(cache->heap, block);
    }
    heap_free(cache->heap, cache->blocks);
    heap_free(cache->heap, cache);
}

static struct cached_block *cached(struct block *block)
{
    return ps_container_of(block, struct cached_block, block);
}

static struct cached_block **slot_of(struct block_cache *cache, uint64_t number, uint32_t block,
                                     bool is_index)
{
    uint64_t key = number << 33 ^ (uint64_t)block << 1 ^ is_index;
    return &cache->table[(key * 0x9e3779b97f4a7c15 >> 32) & cache->table_mask];
}

static bool is_at(const struct cached_block *block, const struct block_place *place)
{
    return block->place.block == place->block && block->place.is_index == place->is_index &&
           block->number == place->segment->number;
}

static struct cached_block *find(struct block_cache *cache, const struct block_place *place)
{
    struct cached_block *block =
        *slot_of(cache, place->segment->number, place->block, place->is_index);
    while (block != NULL && !is_at(block, place))
        block = block->chain;
    return block;
}

static void table_add(struct block_cache *cache, struct cached_block *block)
{
    struct cached_block **slot =
        slot_of(cache, block->number, block->place.block, block->place.is_index);
    block->chain = *slot;
    block->is_found = true;
    *slot = block;
}

static void table_remove(struct block_cache *cache, struct cached_block *block)
{
    struct cached_block **slot =
        slot_of(cache, block->number, block->place.block, block->place.is_index);
    while (*slot != block)
        slot = &(*slot)->chain;
    *slot = block->chain;
    block->is_found = false;
}

static void order_add(struct block_cache *cache, struct cached_block *block)
{
    block->older = cache->newest;
    block->newer = NULL;
    *(cache->newest != NULL ? &cache->newest->newer : &cache->oldest) = block;
    cache->newest = block;
}

static void order_remove(struct block_cache *cache, struct cached_block *block)
{
    *(block->older != NULL ? &block->older->newer : &cache->oldest) = block->newer;
    *(block->newer != NULL ? &block->newer->older : &cache->newest) = block->older;
}

/* All are told: who comes first has the room, the others wait again in their order. */
static void tell_room(struct block_cache *cache)
{
    struct block_holder *holder = cache->room_first;
    cache->room_first = NULL;
    cache->room_last = NULL;
    while (holder != NULL) {
        struct block_holder *next = holder->next;
        holder->is_waiting = false;
        cache->events.on_ready(cache->events.context, holder);
        holder = next;
    }
}

static void set_free(struct block_cache *cache, struct cached_block *block)
{
    block->state = BLOCK_FREE;
    block->chain = cache->free;
    cache->free = block;
}

/* A block that is ready or failed and has no pin any more, or never had one. */
static void rest(struct block_cache *cache, struct cached_block *block)
{
    if (block->is_found)
        order_add(cache, block);
    else
        set_free(cache, block);
    tell_room(cache);
}

static void pin(struct block_cache *cache, struct cached_block *block, struct block_holder *holder)
{
    if (block->pins++ == 0 && block->state == BLOCK_READY)
        order_remove(cache, block);
    holder->block = &block->block;
}

static void unpin(struct block_cache *cache, struct block_holder *holder)
{
    struct cached_block *block = cached(holder->block);
    holder->block = NULL;
    ps_assert(block->pins > 0);
    if (--block->pins == 0 && block->state != BLOCK_FETCHING)
        rest(cache, block);
}

/* A buffer, of those free, new, or of the block that was used longest ago. */
static struct cached_block *buffer_take(struct block_cache *cache)
{
    struct cached_block *block = cache->free;
    if (block != NULL) {
        cache->free = block->chain;
        return block;
    }
    if (cache->block_count < cache->block_max) {
        block = heap_alloc(cache->heap, sizeof(*block) + BLOCK_BYTES);
        if (block != NULL) {
            memset(block, 0, sizeof(*block));
            block->block.bytes = block->bytes;
            cache->blocks[cache->block_count++] = block;
            return block;
        }
    }
    block = cache->oldest;
    if (block != NULL) {
        order_remove(cache, block);
        table_remove(cache, block);
    }
    return block;
}

/* Begins a fetch into a buffer that was taken, and holds the segment's files until it is done. 0 or
 * -EAGAIN (they are closed, or the ring is full); then the buffer is free. */
static int fetch(struct block_cache *cache, struct cached_block *block,
                 const struct block_place *place)
{
    if (!segment_files_hold(cache->store, place->segment)) {
        set_free(cache, block);
        return -EAGAIN;
    }
    block->place = *place;
    block->number = place->segment->number;
    block->request = (struct ring_file_request){
        .fd = place->is_index ? place->segment->index_fd : place->segment->fd,
        .kind = RING_FILE_READ,
        .buffer = block->bytes,
        .bytes = BLOCK_BYTES,
        .offset = (uint64_t)place->block * BLOCK_BYTES,
        .owner = cache,
    };
    if (ring_file_submit(cache->ring, &block->request) != 0) {
        segment_files_let_go(cache->store, place->segment);
        set_free(cache, block);
        return -EAGAIN;
    }
    log_segment_acquire(place->segment);
    block->state = BLOCK_FETCHING;
    block->pins = 0;
    table_add(cache, block);
    cache->fetching++;
    cache->counters->blocks_fetched++;
    return 0;
}

static void wait_for_room(struct block_cache *cache, struct block_holder *holder)
{
    holder->next = NULL;
    holder->is_waiting = true;
    *(cache->room_last != NULL ? &cache->room_last->next : &cache->room_first) = holder;
    cache->room_last = holder;
}

/* The block that the holder has already: 0, or what its fetch ended with. */
static int held(struct block_cache *cache, struct block_holder *holder)
{
    const struct cached_block *block = cached(holder->block);
    if (block->state == BLOCK_READY)
        return 0;
    ps_assert(block->state == BLOCK_FAILED);
    int result = block->result;
    unpin(cache, holder);
    return result;
}

int block_cache_hold(struct block_cache *cache, struct block_holder *holder,
                     const struct block_place *place)
{
    ps_assert(!holder->is_waiting);
    if (holder->block != NULL) {
        const struct cached_block *own = cached(holder->block);
        if (is_at(own, place) && (own->is_found || own->state == BLOCK_FAILED))
            return held(cache, holder);
        unpin(cache, holder);
    }
    struct cached_block *block = find(cache, place);
    if (block == NULL) {
        block = buffer_take(cache);
        if (block == NULL) {
            if (cache->block_count == 0)
                return -ENOMEM;
            wait_for_room(cache, holder);
            return -EINPROGRESS;
        }
        int result = fetch(cache, block, place);
        if (result != 0)
            return result;
    } else {
        cache->counters->blocks_shared++;
    }
    pin(cache, block, holder);
    if (block->state == BLOCK_READY)
        return 0;
    holder->next = block->waiting;
    holder->is_waiting = true;
    block->waiting = holder;
    return -EINPROGRESS;
}

static void room_remove(struct block_cache *cache, struct block_holder *holder)
{
    struct block_holder *before = NULL;
    for (struct block_holder *at = cache->room_first; at != holder; at = at->next)
        before = at;
    *(before != NULL ? &before->next : &cache->room_first) = holder->next;
    if (cache->room_last == holder)
        cache->room_last = before;
}

void block_cache_let_go(struct block_cache *cache, struct block_holder *holder)
{
    if (holder->is_waiting && holder->block == NULL) {
        room_remove(cache, holder);
    } else if (holder->is_waiting) {
        struct block_holder **link = &cached(holder->block)->waiting;
        while (*link != holder)
            link = &(*link)->next;
        *link = holder->next;
    }
    holder->is_waiting = false;
    if (holder->block != NULL)
        unpin(cache, holder);
}

void block_cache_discard(struct block_cache *cache, const struct block_place *place)
{
    struct cached_block *block = find(cache, place);
    if (block == NULL || block->state != BLOCK_READY)
        return;
    table_remove(cache, block);
    if (block->pins > 0)
        return;
    order_remove(cache, block);
    set_free(cache, block);
}

void block_cache_fetch_ahead(struct block_cache *cache, const struct block_place *place)
{
    if (cache->fetching >= ps_min_u32(BLOCK_FETCHES_AHEAD_MAX, cache->block_max / 2) ||
        cache->room_first != NULL || find(cache, place) != NULL)
        return;
    struct cached_block *block = buffer_take(cache);
    if (block != NULL)
        (void)fetch(cache, block, place); /* the hold that needs it tries again */
}

/* 0, or why the bytes cannot be used. */
static int check(struct block_cache *cache, const struct cached_block *block)
{
    int32_t result = block->request.result;
    if (result < 0) {
        cache->counters->read_failures++;
        return -EIO;
    }
    if (!block->place.is_index)
        return 0;
    if (result == BLOCK_BYTES &&
        segment_index_block_check(block->place.segment->seed, block->place.block, block->bytes))
        return 0;
    cache->counters->damaged_blocks++;
    return -EBADMSG;
}

bool block_cache_take(struct block_cache *cache, struct ring_file_request *request)
{
    if (request->owner != cache)
        return false;
    struct cached_block *block = ps_container_of(request, struct cached_block, request);
    ps_assert(block->state == BLOCK_FETCHING);
    cache->fetching--;
    block->result = check(cache, block);
    block->state = block->result == 0 ? BLOCK_READY : BLOCK_FAILED;
    block->block.count = block->result == 0 ? (uint32_t)request->result : 0;
    if (block->state == BLOCK_FAILED)
        table_remove(cache, block);
    let_go_of_segment(cache, block);
    struct block_holder *holder = block->waiting;
    block->waiting = NULL;
    if (block->pins == 0)
        rest(cache, block);
    while (holder != NULL) {
        struct block_holder *next = holder->next;
        holder->is_waiting = false;
        cache->events.on_ready(cache->events.context, holder);
        holder = next;
    }
    return true;
}

bool block_cache_is_idle(const struct block_cache *cache)
{
    return cache->fetching == 0;
}
