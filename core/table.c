/*
 * Linear hashing over pages of open addressing; see table.h.
 *
 * A page is an array of buckets, each one cache line: five tags, five pointers, and how many
 * entries were filed beyond it because it was full (where that is none, a search ends). A page is
 * rebuilt when it gets too full or too empty, at a size of the allocator's own classes (4, 5, 6 or
 * 7 times a power of two lines), so that little is lost to rounding. Pages are split in turn, one
 * per insert while their mean is above TABLE_PAGE_ENTRIES, and merged likewise; because a page fits
 * its content, it does no harm that those still to be split hold up to twice as much as the others.
 *
 * A tag is 32 bits mixed from the whole hash. Its low bits choose the page, its high bits the home
 * bucket; so hashes are not stored, and pages are split and rebuilt without looking at an item.
 */
#include "core/table.h"

#include <assert.h>

#include "core/base.h"
#include "core/heap.h"

enum { BUCKET_ENTRIES = 5, BUCKET_FULL = (1 << BUCKET_ENTRIES) - 1, PAGE_BUCKETS_MAX = 8192 };

struct table_bucket {
    void *items[BUCKET_ENTRIES];
    uint32_t tags[BUCKET_ENTRIES];
    uint16_t passed; /* entries that were filed beyond this bucket and begin at or before it */
    uint8_t used;    /* a bit for each entry */
    uint8_t reserved;
};

static_assert(sizeof(struct table_bucket) == 64, "a bucket is a cache line");

struct table_page {
    struct table_bucket *buckets; /* NULL while bucket_count is 0 */
    uint32_t bucket_count;
    uint32_t count;
};

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash ^ (hash >> 32));
}

static struct table_page *page_at(const struct table *table, uint32_t number)
{
    return &table->segments[number / TABLE_SEGMENT_PAGES][number % TABLE_SEGMENT_PAGES];
}

static struct table_page *page_of(const struct table *table, uint32_t tag)
{
    uint32_t number = tag & (table->level * 2 - 1);
    return page_at(table, number < table->page_count ? number : tag & (table->level - 1));
}

static uint32_t home_of(const struct table_page *page, uint32_t tag)
{
    return ((tag >> 16) * page->bucket_count) >> 16;
}

static uint32_t bucket_after(const struct table_page *page, uint32_t number)
{
    return number + 1 == page->bucket_count ? 0 : number + 1;
}

/* The entries of the bucket with this tag, a bit each. */
static uint32_t bucket_matches(const struct table_bucket *bucket, uint32_t tag)
{
    uint32_t matches = 0;
    for (uint32_t i = 0; i < BUCKET_ENTRIES; i++)
        matches |= (uint32_t)(bucket->tags[i] == tag) << i;
    return matches & bucket->used;
}

void table_init(struct table *table, struct heap *heap)
{
    *table = (struct table){.heap = heap, .count_max = TABLE_COUNT_MAX};
}

void table_deinit(struct table *table)
{
    for (uint32_t number = 0; number < table->page_count; number++)
        heap_free(table->heap, page_at(table, number)->buckets);
    for (uint32_t first = 0; first < table->page_count; first += TABLE_SEGMENT_PAGES)
        heap_free(table->heap, table->segments[first / TABLE_SEGMENT_PAGES]);
    heap_free(table->heap, table->segments);
    *table = (struct table){0};
}

void *table_find(const struct table *table, uint64_t hash, table_match *match, const void *key)
{
    if (table->count == 0)
        return NULL;
    uint32_t tag = tag_of(hash);
    const struct table_page *page = page_of(table, tag);
    uint32_t number = home_of(page, tag);
    for (uint32_t left = page->bucket_count; left > 0; left--) {
        const struct table_bucket *bucket = &page->buckets[number];
        for (uint32_t matches = bucket_matches(bucket, tag); matches != 0; matches &= matches - 1) {
            void *item = bucket->items[__builtin_ctz(matches)];
            if (match(item, key))
                return item;
        }
        if (bucket->passed == 0)
            return NULL;
        number = bucket_after(page, number);
    }
    return NULL;
}

/* Files an entry in a page that has room. */
static void page_put(struct table_page *page, uint32_t tag, void *item)
{
    uint32_t number = home_of(page, tag);
    while (page->buckets[number].used == BUCKET_FULL) {
        page->buckets[number].passed++;
        number = bucket_after(page, number);
    }
    struct table_bucket *bucket = &page->buckets[number];
    uint32_t index = (uint32_t)__builtin_ctz(~(uint32_t)bucket->used);
    bucket->tags[index] = tag;
    bucket->items[index] = item;
    bucket->used |= (uint8_t)(1U << index);
    page->count++;
}

/* Files every entry of `from` whose tag has any of `bits`, or every entry that has none if
 * `is_without`. */
static void page_copy(struct table_page *to, const struct table_page *from, uint32_t bits,
                      bool is_without)
{
    for (uint32_t number = 0; number < from->bucket_count; number++) {
        const struct table_bucket *bucket = &from->buckets[number];
        for (uint32_t used = bucket->used; used != 0; used &= used - 1) {
            uint32_t index = (uint32_t)__builtin_ctz(used);
            if (((bucket->tags[index] & bits) == 0) == is_without)
                page_put(to, bucket->tags[index], bucket->items[index]);
        }
    }
}

/* The least number of buckets that is a size class of the allocator and at least `buckets`. */
static uint32_t class_above(uint32_t buckets)
{
    if (buckets <= 8)
        return buckets;
    uint32_t step = 1U << (29 - __builtin_clz(buckets - 1)); /* a quarter of the power below */
    return (buckets + step - 1) & ~(step - 1);
}

/* The number of buckets for a page of `count` entries, with room for some more: a load of at most
 * 0.9. */
static uint32_t buckets_for(uint32_t count)
{
    return class_above((count * 10 + BUCKET_ENTRIES * 9 - 1) / (BUCKET_ENTRIES * 9));
}

/* An empty page; with 0 buckets it takes no memory. False when memory is out. */
static bool page_create(struct table *table, uint32_t bucket_count, struct table_page *out_page)
{
    struct table_page page = {.bucket_count = bucket_count};
    if (bucket_count > 0) {
        size_t bytes = bucket_count * sizeof(struct table_bucket);
        page.buckets = heap_alloc_aligned(table->heap, sizeof(struct table_bucket), bytes);
        if (page.buckets == NULL)
            return false;
        memset(page.buckets, 0, bytes);
    }
    *out_page = page;
    return true;
}

/* Gives a page another number of buckets; false when memory is out: then it is as it was. */
static bool page_rebuild(struct table *table, struct table_page *page, uint32_t bucket_count)
{
    struct table_page rebuilt;
    if (!page_create(table, bucket_count, &rebuilt))
        return false;
    page_copy(&rebuilt, page, 0, true);
    heap_free(table->heap, page->buckets);
    *page = rebuilt;
    return true;
}

/* Sees to it that one more entry fits; grows above a load of 0.95. 0, -ENOMEM, or -ENOSPC when a
 * hash that is not even has filled one page beyond measure. */
static int page_make_room(struct table *table, struct table_page *page)
{
    uint32_t room = page->bucket_count * BUCKET_ENTRIES;
    if ((page->count + 1) * 20 <= room * 19)
        return 0;
    if (page->bucket_count < PAGE_BUCKETS_MAX &&
        page_rebuild(table, page, class_above(page->bucket_count + 1)))
        return 0;
    if (page->count < room)
        return 0;
    return page->bucket_count < PAGE_BUCKETS_MAX ? -ENOMEM : -ENOSPC;
}

/* Shrinks a page below a load of 0.7, if it is then not too full. */
static void page_make_smaller(struct table *table, struct table_page *page)
{
    uint32_t bucket_count = buckets_for(page->count * 11 / 10);
    if (page->count * 10 < page->bucket_count * BUCKET_ENTRIES * 7 &&
        bucket_count < page->bucket_count)
        page_rebuild(table, page, bucket_count);
}

/* Makes room in the directory for page number `page_count`. */
static bool directory_grow(struct table *table)
{
    uint32_t segment = table->page_count / TABLE_SEGMENT_PAGES;
    if (table->page_count % TABLE_SEGMENT_PAGES != 0)
        return true;
    if (segment >= table->segment_capacity) {
        uint32_t capacity = table->segment_capacity == 0 ? 4 : table->segment_capacity * 2;
        struct table_page **grown =
            heap_realloc(table->heap, table->segments, capacity * sizeof(struct table_page *));
        if (grown == NULL)
            return false;
        table->segments = grown;
        table->segment_capacity = capacity;
    }
    table->segments[segment] =
        heap_alloc(table->heap, TABLE_SEGMENT_PAGES * sizeof(struct table_page));
    return table->segments[segment] != NULL;
}

/* Undoes directory_grow, or follows the last page when it goes. */
static void directory_shrink(struct table *table)
{
    if (table->page_count % TABLE_SEGMENT_PAGES == 0)
        heap_free(table->heap, table->segments[table->page_count / TABLE_SEGMENT_PAGES]);
}

static bool first_page(struct table *table)
{
    if (!directory_grow(table))
        return false;
    *page_at(table, 0) = (struct table_page){0};
    table->page_count = 1;
    table->level = 1;
    return true;
}

/* The entries of a page that a split by `bit` takes away. */
static uint32_t count_with(const struct table_page *page, uint32_t bit)
{
    uint32_t count = 0;
    for (uint32_t number = 0; number < page->bucket_count; number++) {
        const struct table_bucket *bucket = &page->buckets[number];
        for (uint32_t used = bucket->used; used != 0; used &= used - 1)
            count += (bucket->tags[__builtin_ctz(used)] & bit) != 0;
    }
    return count;
}

/* Splits the page whose turn it is into itself and a new last one. Without memory it is left for a
 * later insert. */
static void split_one(struct table *table)
{
    if (!directory_grow(table))
        return;
    uint32_t bit = table->level;
    struct table_page *source = page_at(table, table->page_count - table->level);
    uint32_t leaving = count_with(source, bit);
    struct table_page staying_page;
    struct table_page leaving_page;
    if (!page_create(table, buckets_for(source->count - leaving), &staying_page))
        goto no_memory;
    if (!page_create(table, buckets_for(leaving), &leaving_page)) {
        heap_free(table->heap, staying_page.buckets);
        goto no_memory;
    }
    page_copy(&staying_page, source, bit, true);
    page_copy(&leaving_page, source, bit, false);
    heap_free(table->heap, source->buckets);
    *source = staying_page;
    *page_at(table, table->page_count) = leaving_page;
    table->page_count++;
    if (table->page_count == table->level * 2)
        table->level *= 2;
    return;
no_memory:
    directory_shrink(table);
}

/* Merges the last page into the one that it was split from; without memory they stay apart. */
static void merge_one(struct table *table)
{
    uint32_t number = table->page_count - 1;
    uint32_t level = number < table->level ? table->level / 2 : table->level;
    struct table_page *source = page_at(table, number);
    struct table_page *target = page_at(table, number - level);
    struct table_page merged;
    if (!page_create(table, buckets_for(source->count + target->count), &merged))
        return;
    page_copy(&merged, target, 0, true);
    page_copy(&merged, source, 0, true);
    heap_free(table->heap, target->buckets);
    heap_free(table->heap, source->buckets);
    *target = merged;
    table->page_count = number;
    table->level = level;
    directory_shrink(table);
}

int table_insert(struct table *table, uint64_t hash, void *item)
{
    ps_assert(item != NULL);
    if (table->count >= table->count_max)
        return -ENOSPC;
    if (table->page_count == 0 && !first_page(table))
        return -ENOMEM;
    if (table->count >= (uint64_t)table->page_count * TABLE_PAGE_ENTRIES)
        split_one(table);
    uint32_t tag = tag_of(hash);
    struct table_page *page = page_of(table, tag);
    int status = page_make_room(table, page);
    if (status != 0)
        return status;
    page_put(page, tag, item);
    table->count++;
    return 0;
}

/* Takes an item out of its page; false when it is not there. */
static bool page_take(struct table_page *page, uint32_t tag, const void *item)
{
    uint32_t home = home_of(page, tag);
    uint32_t number = home;
    for (uint32_t left = page->bucket_count; left > 0; left--) {
        struct table_bucket *bucket = &page->buckets[number];
        for (uint32_t matches = bucket_matches(bucket, tag); matches != 0; matches &= matches - 1) {
            uint32_t index = (uint32_t)__builtin_ctz(matches);
            if (bucket->items[index] != item)
                continue;
            bucket->used &= (uint8_t) ~(1U << index);
            page->count--;
            for (; home != number; home = bucket_after(page, home))
                page->buckets[home].passed--;
            return true;
        }
        if (bucket->passed == 0)
            return false;
        number = bucket_after(page, number);
    }
    return false;
}

bool table_remove(struct table *table, uint64_t hash, const void *item)
{
    if (table->count == 0)
        return false;
    uint32_t tag = tag_of(hash);
    struct table_page *page = page_of(table, tag);
    if (!page_take(page, tag, item))
        return false;
    table->count--;
    page_make_smaller(table, page);
    /* Half the mean at which it grows, so that it does not swing between the two. */
    if (table->page_count > 1 &&
        table->count < (uint64_t)(table->page_count - 1) * TABLE_PAGE_ENTRIES / 2)
        merge_one(table);
    return true;
}

void table_iterate(const struct table *table, table_visit *visit, void *context)
{
    for (uint32_t number = 0; number < table->page_count; number++) {
        const struct table_page *page = page_at(table, number);
        for (uint32_t i = 0; i < page->bucket_count; i++) {
            const struct table_bucket *bucket = &page->buckets[i];
            for (uint32_t used = bucket->used; used != 0; used &= used - 1) {
                if (!visit(context, bucket->items[__builtin_ctz(used)]))
                    return;
            }
        }
    }
}
