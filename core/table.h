/*
 * A hash table of pointers to the caller's objects, by 64-bit hash. Grows and shrinks one bucket at
 * a time (linear hashing) over segments that never move, so that no operation rehashes more than
 * one bucket. An entry costs a 4-byte tag and a pointer at a load near 0.8.
 *
 * Owner and thread: one shard.
 */
#ifndef PENSTOCK_CORE_TABLE_H
#define PENSTOCK_CORE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;
struct table_bucket;

enum {
    TABLE_SEGMENT_BUCKETS = 256,
    TABLE_SEGMENTS_MAX = 65536 /* some 94 million entries */
};

struct table {
    struct heap *heap;
    struct table_bucket **segments;
    uint32_t segment_capacity;
    uint32_t bucket_count;
    uint32_t level; /* buckets of the last doubling, a power of two; bucket_count is in [level, 2
                       level) */
    uint32_t overflow_count;
    uint64_t count;
};

/* True when `item` is what `key` names. */
typedef bool table_match(const void *item, const void *key);

/* Result: false stops the iteration. */
typedef bool table_visit(void *context, void *item);

void table_init(struct table *table, struct heap *heap);

/* The items are the caller's; only the table's own memory goes. */
void table_deinit(struct table *table);

/* The item with this hash for which match(item, key) holds, or NULL. */
void *table_find(const struct table *table, uint64_t hash, table_match *match, const void *key);

/* Adds an item; the caller has made sure that an equal one is not there. 0 or -ENOMEM. */
int table_insert(struct table *table, uint64_t hash, void *item);

/* Removes exactly this item; false when it is not there. */
bool table_remove(struct table *table, uint64_t hash, const void *item);

/* Visits every item in no particular order; the visitor may not insert or remove. */
void table_iterate(const struct table *table, table_visit *visit, void *context);

#endif
