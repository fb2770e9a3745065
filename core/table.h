/*
 * A hash table of pointers to the caller's objects, by 64-bit hash. It grows and shrinks page by
 * page (linear hashing over pages, each of which is sized to what it holds), never as a whole: an
 * insert or a removal moves at most the entries of two pages, some hundreds, and takes some
 * microseconds at worst. A lookup reads one cache line of a page, now and then two. An entry costs
 * 12.8 bytes at a load between 0.7 and 0.9: 16 bytes on average, directory and all.
 *
 * Owner and thread: one shard.
 */
#ifndef PENSTOCK_CORE_TABLE_H
#define PENSTOCK_CORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;
struct table_page;

enum {
    TABLE_PAGE_ENTRIES = 128,  /* mean of a page, above which the next one is split */
    TABLE_SEGMENT_PAGES = 256, /* of the directory */
    TABLE_COUNT_MAX = 1 << 27
};

struct table {
    struct heap *heap;
    struct table_page **segments; /* the directory */
    uint32_t segment_capacity;
    uint32_t page_count;
    uint32_t level; /* pages of the last doubling, a power of two; page_count is in [level, 2 level)
                     */
    uint64_t count;
    uint64_t count_max; /* TABLE_COUNT_MAX; the owner may lower it after table_init */
};

/* True when `item` is what `key` names. Called only for items whose hash most likely is the key's.
 */
typedef bool table_match(const void *item, const void *key);

/* Result: false stops the iteration. */
typedef bool table_visit(void *context, void *item);

/* Takes no memory before the first insert. */
void table_init(struct table *table, struct heap *heap);

/* The items are the caller's; only the table's own memory goes. */
void table_deinit(struct table *table);

/* The item with this hash for which match(item, key) holds, or NULL. The hash must be even in all
 * its bits, as xxh3 is. */
void *table_find(const struct table *table, uint64_t hash, table_match *match, const void *key);

/* Adds an item (not NULL); the caller has made sure that an equal one is not there. 0, -ENOMEM, or
 * -ENOSPC at count_max. On an error nothing has changed. */
int table_insert(struct table *table, uint64_t hash, void *item);

/* Removes exactly this item; false when it is not there. Never fails for want of memory: what
 * cannot be made smaller stays as it is. */
bool table_remove(struct table *table, uint64_t hash, const void *item);

/* Visits every item in no particular order; the visitor may not insert or remove. */
void table_iterate(const struct table *table, table_visit *visit, void *context);

#endif
