/*
 * The keys of the memory driver: entries in key order (a skip list), in the order of their
 * revisions (a list, for watches), and by the second in which they expire (a hashed wheel). Nothing
 * here allocates but memory_entry_create, so a commit that has its entries cannot fail half way.
 *
 * Owner: the memory store, under whose lock everything is called except memory_entry_create,
 * memory_entry_acquire and memory_entry_release. An entry's key and value never change, so that who
 * holds a reference reads them without the lock.
 */
#ifndef PENSTOCK_BROKER_CLIENT_MEMORY_KEYS_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_MEMORY_KEYS_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker_request.h"

struct heap;

enum {
    MEMORY_KEYS_LEVELS_MAX = 14, /* of the skip list; a quarter of the entries has one more */
    MEMORY_KEYS_SECONDS = 1024   /* of the wheel */
};

/* A place in a circular list. */
struct memory_link {
    struct memory_link *previous;
    struct memory_link *next;
};

/* A place in the order of revisions: of an entry, or of a watch that has been told what is before.
 */
struct memory_change {
    struct memory_link link;
    uint64_t revision; /* 0: a watch */
};

struct memory_entry {
    struct memory_change change;
    struct memory_link group; /* of the second it expires in, or of the deletions */
    uint64_t expires_ms;      /* 0: never */
    _Atomic uint32_t references;
    uint32_t value_bytes;
    uint16_t key_bytes;
    uint8_t level_count;
    bool is_deletion;
    uint16_t second;             /* of the wheel, when expires_ms != 0 */
    struct memory_entry *next[]; /* one per level; then the key, then the value */
};

struct memory_second {
    struct memory_link entries;
    uint32_t count;
};

struct memory_keys {
    uint64_t hash_seed;
    char counted_kind;           /* first byte of the keys that kind_count counts */
    uint64_t kind_count;         /* of entries */
    uint64_t kind_expired;       /* of entries that were removed because they had expired */
    uint64_t revision;           /* the last one given */
    uint64_t forgotten_revision; /* the last deletion that is not kept any more */
    uint64_t bytes;              /* of entries and deletions */
    uint64_t count;              /* of entries */
    uint64_t deletion_count;
    uint64_t swept_s;    /* everything that expired in a second before this one is gone */
    uint32_t sweep_left; /* entries of second `swept_s` still to be looked at, when `is_sweeping` */
    bool is_sweeping;
    struct memory_link changes;   /* of struct memory_change */
    struct memory_link deletions; /* oldest first */
    struct memory_entry *heads[MEMORY_KEYS_LEVELS_MAX];
    struct memory_second seconds[MEMORY_KEYS_SECONDS];
};

static inline const void *memory_entry_key(const struct memory_entry *entry)
{
    return &entry->next[entry->level_count];
}

static inline struct broker_bytes memory_entry_value(const struct memory_entry *entry)
{
    const unsigned char *key = memory_entry_key(entry);
    return (struct broker_bytes){key + entry->key_bytes, entry->value_bytes};
}

static inline bool memory_entry_is_expired(const struct memory_entry *entry, uint64_t wall_ms)
{
    return entry->expires_ms != 0 && entry->expires_ms <= wall_ms;
}

/* What an entry counts for. */
uint64_t memory_entry_bytes(const struct memory_entry *entry);

/* An entry of no list yet, with one reference; NULL when `heap` is out of its budget. */
struct memory_entry *memory_entry_create(struct heap *heap, uint64_t hash_seed,
                                         struct broker_bytes key, struct broker_bytes value,
                                         uint64_t expires_ms);

static inline struct memory_entry *memory_entry_acquire(struct memory_entry *entry)
{
    atomic_fetch_add_explicit(&entry->references, 1, memory_order_relaxed);
    return entry;
}

/* Any thread; the last one frees into `heap`, the calling thread's. NULL is allowed. */
void memory_entry_release(struct heap *heap, struct memory_entry *entry);

void memory_keys_init(struct memory_keys *keys, uint64_t hash_seed);

/* Releases every entry. No watch stands in the order any more. */
void memory_keys_deinit(struct memory_keys *keys, struct heap *heap);

/* NULL: there is none. Expired ones are found. */
struct memory_entry *memory_keys_find(struct memory_keys *keys, struct broker_bytes key);

/* The first entry above `key`, or at it when `is_inclusive`; NULL: there is none. The next one in
 * order is its next[0]. */
struct memory_entry *memory_keys_above(struct memory_keys *keys, struct broker_bytes key,
                                       bool is_inclusive);

/* Adds an entry, whose reference becomes the keys', with the next revision. Result: the one that
 * it replaces, whose reference is the caller's now, or NULL. */
struct memory_entry *memory_keys_put(struct memory_keys *keys, struct memory_entry *entry);

/* Takes an entry out. `deletion`, of the same key, is kept in its place for the watches; NULL:
 * there is no memory for one, and the entry itself is kept. Result: the entry, now the caller's, or
 * NULL.
 */
struct memory_entry *memory_keys_remove(struct memory_keys *keys, struct memory_entry *entry,
                                        struct memory_entry *deletion);

/* Forgets the oldest deletion if its revision is at most `told`. Result: it, now the caller's;
 * NULL: there is none. */
struct memory_entry *memory_keys_forget_deletion(struct memory_keys *keys, uint64_t told);

/* The next entry that has expired and is still there; NULL: no more, or *looks_left (entries that
 * may be looked at) is used up. */
struct memory_entry *memory_keys_next_expired(struct memory_keys *keys, uint64_t wall_ms,
                                              uint32_t *looks_left);

/* True while memory_keys_next_expired has not come to the present. */
bool memory_keys_is_sweeping(const struct memory_keys *keys, uint64_t wall_ms);

static inline void memory_link_init(struct memory_link *list)
{
    list->previous = list;
    list->next = list;
}

static inline bool memory_link_is_empty(const struct memory_link *list)
{
    return list->next == list;
}

static inline void memory_link_insert_before(struct memory_link *place, struct memory_link *link)
{
    link->previous = place->previous;
    link->next = place;
    place->previous->next = link;
    place->previous = link;
}

static inline void memory_link_remove(struct memory_link *link)
{
    link->previous->next = link->next;
    link->next->previous = link->previous;
}

#endif
