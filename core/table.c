/*
 * Linear hashing over buckets of four entries; see table.h.
 *
 * A bucket is one cache line: four tags and four pointers. What does not fit hangs on as an
 * overflow bucket. Only the last link of a chain is partly used. An insert splits at most one chain
 * and a removal merges at most two, and both work with the overflow buckets that the chains already
 * have: splitting a chain never needs more of them, merging needs at most one. A tag is 32 bits
 * mixed from the whole hash; the bucket's number is taken from it, so hashes are not stored.
 */
#include "core/table.h"

#include "core/base.h"
#include "core/heap.h"

enum { BUCKET_ENTRIES = 4, CHAIN_ENTRIES_MAX = 64 };

/* 64 bytes. */
struct table_bucket {
    uint32_t tags[BUCKET_ENTRIES];
    void *items[BUCKET_ENTRIES];
    struct table_bucket *overflow;
    uint32_t used; /* entries in use: the first `used` of this bucket */
    uint32_t reserved;
};

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash ^ (hash >> 32));
}

static struct table_bucket *bucket_at(const struct table *table, uint32_t number)
{
    return &table->segments[number / TABLE_SEGMENT_BUCKETS][number % TABLE_SEGMENT_BUCKETS];
}

static uint32_t bucket_number(const struct table *table, uint32_t tag)
{
    uint32_t number = tag & (table->level * 2 - 1);
    return number < table->bucket_count ? number : tag & (table->level - 1);
}

void table_init(struct table *table, struct heap *heap)
{
    *table = (struct table){.heap = heap};
}

static void free_overflows(struct table *table, struct table_bucket *bucket)
{
    struct table_bucket *overflow = bucket->overflow;
    while (overflow != NULL) {
        struct table_bucket *next = overflow->overflow;
        heap_free(table->heap, overflow);
        overflow = next;
    }
}

void table_deinit(struct table *table)
{
    for (uint32_t i = 0; i < table->bucket_count; i++)
        free_overflows(table, bucket_at(table, i));
    uint32_t segments = (table->bucket_count + TABLE_SEGMENT_BUCKETS - 1) / TABLE_SEGMENT_BUCKETS;
    for (uint32_t i = 0; i < segments; i++)
        heap_free(table->heap, table->segments[i]);
    heap_free(table->heap, table->segments);
    *table = (struct table){0};
}

void *table_find(const struct table *table, uint64_t hash, table_match *match, const void *key)
{
    if (table->bucket_count == 0)
        return NULL;
    uint32_t tag = tag_of(hash);
    const struct table_bucket *bucket = bucket_at(table, bucket_number(table, tag));
    for (; bucket != NULL; bucket = bucket->overflow) {
        for (uint32_t i = 0; i < bucket->used; i++) {
            if (bucket->tags[i] == tag && match(bucket->items[i], key))
                return bucket->items[i];
        }
    }
    return NULL;
}

/* Makes room for bucket number `bucket_count`. */
static bool add_bucket(struct table *table)
{
    uint32_t number = table->bucket_count;
    uint32_t segment = number / TABLE_SEGMENT_BUCKETS;
    if (number % TABLE_SEGMENT_BUCKETS == 0) {
        if (segment >= TABLE_SEGMENTS_MAX)
            return false;
        if (segment >= table->segment_capacity) {
            uint32_t capacity = table->segment_capacity == 0 ? 4 : table->segment_capacity * 2;
            struct table_bucket **grown = heap_realloc(table->heap, table->segments,
                                                       capacity * sizeof(struct table_bucket *));
            if (grown == NULL)
                return false;
            table->segments = grown;
            table->segment_capacity = capacity;
        }
        table->segments[segment] =
            heap_zalloc(table->heap, TABLE_SEGMENT_BUCKETS * sizeof(struct table_bucket));
        if (table->segments[segment] == NULL)
            return false;
    }
    memset(bucket_at(table, number), 0, sizeof(struct table_bucket));
    table->bucket_count++;
    if (table->bucket_count >= table->level * 2)
        table->level *= 2;
    return true;
}

/* Entries and overflow buckets of chains that are being taken apart and put together again. */
struct chain_parts {
    struct table_bucket *spare; /* linked by `overflow` */
    uint32_t count;
    uint32_t tags[CHAIN_ENTRIES_MAX];
    void *items[CHAIN_ENTRIES_MAX];
};

static uint32_t chain_count(const struct table_bucket *bucket)
{
    uint32_t count = 0;
    for (; bucket != NULL; bucket = bucket->overflow)
        count += bucket->used;
    return count;
}

/* Empties a chain into `parts`, which has room for it. */
static void chain_take_apart(struct chain_parts *parts, struct table_bucket *bucket)
{
    struct table_bucket *link = bucket;
    while (link != NULL) {
        struct table_bucket *next = link->overflow;
        for (uint32_t i = 0; i < link->used; i++) {
            parts->tags[parts->count] = link->tags[i];
            parts->items[parts->count] = link->items[i];
            parts->count++;
        }
        link->used = 0;
        link->overflow = NULL;
        if (link != bucket) {
            link->overflow = parts->spare;
            parts->spare = link;
        }
        link = next;
    }
}

/* Appends to a chain, with an overflow bucket out of `spare` (if not NULL) or of the heap. */
static bool chain_append(struct table *table, struct table_bucket *bucket, uint32_t tag, void *item,
                         struct table_bucket **spare)
{
    while (bucket->used == BUCKET_ENTRIES) {
        if (bucket->overflow == NULL) {
            struct table_bucket *added = spare == NULL ? NULL : *spare;
            if (added != NULL) {
                *spare = added->overflow;
                added->overflow = NULL;
            } else {
                added = heap_zalloc(table->heap, sizeof(struct table_bucket));
                if (added == NULL)
                    return false;
                table->overflow_count++;
            }
            bucket->overflow = added;
        }
        bucket = bucket->overflow;
    }
    bucket->tags[bucket->used] = tag;
    bucket->items[bucket->used] = item;
    bucket->used++;
    return true;
}

/* Files every entry of `parts` by the table's present bucket numbers and frees what is spare. */
static void put_together(struct table *table, struct chain_parts *parts)
{
    for (uint32_t i = 0; i < parts->count; i++) {
        struct table_bucket *bucket = bucket_at(table, bucket_number(table, parts->tags[i]));
        bool is_filed = chain_append(table, bucket, parts->tags[i], parts->items[i], &parts->spare);
        ps_assert(is_filed);
    }
    while (parts->spare != NULL) {
        struct table_bucket *next = parts->spare->overflow;
        heap_free(table->heap, parts->spare);
        table->overflow_count--;
        parts->spare = next;
    }
}

/* Splits the bucket whose turn it is into itself and a new last one. Without memory, or with a
 * chain beyond CHAIN_ENTRIES_MAX (which a good hash does not make), it is left for a later insert.
 */
static void split_one(struct table *table)
{
    struct table_bucket *source = bucket_at(table, table->bucket_count - table->level);
    if (chain_count(source) > CHAIN_ENTRIES_MAX || !add_bucket(table))
        return;
    struct chain_parts parts = {.count = 0};
    chain_take_apart(&parts, source);
    put_together(table, &parts);
}

/* Merges the last bucket into the one that it was split from. */
static void merge_one(struct table *table)
{
    uint32_t number = table->bucket_count - 1;
    uint32_t level = number < table->level ? table->level / 2 : table->level;
    struct table_bucket *source = bucket_at(table, number);
    struct table_bucket *target = bucket_at(table, number - level);
    if (chain_count(source) + chain_count(target) > CHAIN_ENTRIES_MAX)
        return;
    struct table_bucket *extra = heap_zalloc(table->heap, sizeof(struct table_bucket));
    if (extra == NULL)
        return;
    table->overflow_count++;
    struct chain_parts parts = {.spare = extra};
    chain_take_apart(&parts, source);
    chain_take_apart(&parts, target);
    table->bucket_count = number;
    table->level = level;
    put_together(table, &parts);
    if (number % TABLE_SEGMENT_BUCKETS == 0)
        heap_free(table->heap, table->segments[number / TABLE_SEGMENT_BUCKETS]);
}

int table_insert(struct table *table, uint64_t hash, void *item)
{
    if (table->bucket_count == 0) {
        table->level = 1;
        if (!add_bucket(table))
            return -ENOMEM;
    }
    uint32_t tag = tag_of(hash);
    struct table_bucket *bucket = bucket_at(table, bucket_number(table, tag));
    if (!chain_append(table, bucket, tag, item, NULL))
        return -ENOMEM;
    table->count++;
    if (table->count * 5 > (uint64_t)table->bucket_count * BUCKET_ENTRIES * 4)
        split_one(table);
    return 0;
}

/* Removes entry `index` of `at`, a link of the chain that begins at `first`: the chain's last entry
 * takes its place. */
static void chain_remove(struct table *table, struct table_bucket *first, struct table_bucket *at,
                         uint32_t index)
{
    struct table_bucket *last = first;
    struct table_bucket *before_last = NULL;
    while (last->overflow != NULL) {
        before_last = last;
        last = last->overflow;
    }
    last->used--;
    at->tags[index] = last->tags[last->used];
    at->items[index] = last->items[last->used];
    if (last->used == 0 && before_last != NULL) {
        before_last->overflow = NULL;
        heap_free(table->heap, last);
        table->overflow_count--;
    }
}

bool table_remove(struct table *table, uint64_t hash, const void *item)
{
    if (table->bucket_count == 0)
        return false;
    uint32_t tag = tag_of(hash);
    struct table_bucket *first = bucket_at(table, bucket_number(table, tag));
    for (struct table_bucket *bucket = first; bucket != NULL; bucket = bucket->overflow) {
        for (uint32_t i = 0; i < bucket->used; i++) {
            if (bucket->items[i] != item)
                continue;
            chain_remove(table, first, bucket, i);
            table->count--;
            /* Half the load at which it grows, so that it does not swing between the two. */
            if (table->bucket_count > 1 &&
                table->count * 5 < (uint64_t)(table->bucket_count - 1) * BUCKET_ENTRIES * 2)
                merge_one(table);
            return true;
        }
    }
    return false;
}

void table_iterate(const struct table *table, table_visit *visit, void *context)
{
    for (uint32_t number = 0; number < table->bucket_count; number++) {
        const struct table_bucket *bucket = bucket_at(table, number);
        for (; bucket != NULL; bucket = bucket->overflow) {
            for (uint32_t i = 0; i < bucket->used; i++) {
                if (!visit(context, bucket->items[i]))
                    return;
            }
        }
    }
}
