/*
 * What the handles of the memory driver share: the byte budget, the tails of all partitions, and
 * the key-value store.
 *
 * Threads: any handle's shard. The keys and the list of handles are under a mutex, held for one
 * request, for the shared part only: entries are made before and freed after, and no callback but
 * `wake` is called under it. The rest is atomic and written by one shard each.
 */
#ifndef PENSTOCK_BROKER_CLIENT_MEMORY_STORE_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_MEMORY_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "broker_client/memory.h"
#include "memory_keys_internal.h"
#include "memory_log_internal.h"
#include "memory_window_internal.h"

enum {
    MEMORY_STORE_ALIGNMENT = 64,
    MEMORY_STORE_WATCH_ENTRIES_MAX = 32 /* told at a time */
};

/* What the others see of one handle. */
struct memory_store_shard {
    _Alignas(MEMORY_STORE_ALIGNMENT) _Atomic uint64_t log_bytes; /* written by its shard */
    _Atomic bool is_called;      /* woken, and has not had its turn since */
    _Atomic uint64_t *tails;     /* of its partitions, in order; written by its shard */
    void (*wake)(void *context); /* this and the rest: under the lock */
    void *wake_context;
    uint32_t watch_count;
    bool is_open;
};

/* A watch that was taken. It belongs to its handle; its place in the order is under the lock. */
struct memory_watch {
    struct memory_watch *next; /* the handle's */
    struct broker_watch *watch;
    struct memory_change place;
    struct memory_link among_watches; /* of the store */
    uint64_t told;                    /* everything up to this revision was looked at */
    bool is_ended;
};

/* A change that a watch is told. What it was under the lock: for want of memory an entry may become
 * its own deletion later. */
struct memory_news {
    struct memory_entry *entry;
    uint64_t revision;
    bool is_deletion;
};

/* A partition between two handles. */
struct memory_kept {
    struct memory_log log;
    struct memory_window window;
    bool is_there;
};

struct memory_store {
    struct memory_store_config config; /* every default filled in */
    struct heap *heap;
    struct memory_store_shard *shards;
    struct memory_kept *kept; /* by partition; each used where its handle is made or ends */
    struct memory_log_account kept_account;
    _Atomic uint64_t *tails;    /* of all partitions, each shard's on cache lines of its own */
    _Atomic uint64_t log_bytes; /* over all handles */
    _Atomic uint64_t key_bytes; /* written under the lock, as are the next five */
    _Atomic uint64_t key_count;
    _Atomic uint64_t kind_count;
    _Atomic uint64_t kind_expired;
    _Atomic uint64_t revision;
    _Atomic uint64_t swept_s;
    pthread_mutex_t mutex; /* of everything below */
    struct memory_link watches;
    struct memory_keys keys;
};

static inline _Atomic uint64_t *memory_store_tail(struct memory_store *store, uint16_t partition)
{
    const struct memory_store_shard *shard = &store->shards[partition % store->config.shard_count];
    return &shard->tails[partition / store->config.shard_count];
}

/* 0, or -EINVAL when that shard has a handle. */
int memory_store_open(struct memory_store *store, const struct broker_options *options);
void memory_store_close(struct memory_store *store, uint32_t shard_index);

/* Takes a handle's log bytes over; what was told before is replaced. Result: how many of them have
 * to go (0: none). Wakes handles that hold more than their share when room is short. */
uint64_t memory_store_account(struct memory_store *store, uint32_t shard_index, uint64_t log_bytes);

/* The bytes that a handle's log may have whatever the others do. */
uint64_t memory_store_share(const struct memory_store *store);

/* Each answers its request but for calling back. The entries whose key and value the answer borrows
 * are acquired, at most BROKER_KEYS_MAX or BROKER_LIST_MAX of them. Result: how many. */
uint32_t memory_store_get(struct memory_store *store, struct broker_get *get, uint64_t wall_ms,
                          struct memory_entry **out_held);
uint32_t memory_store_list(struct memory_store *store, struct broker_list *list, uint64_t wall_ms,
                           struct memory_entry **out_held);
void memory_store_commit(struct memory_store *store, const struct broker_options *options,
                         struct broker_commit *commit, uint64_t wall_ms);

/* Begins and ends a watch. */
void memory_store_watch(struct memory_store *store, uint32_t shard_index,
                        struct memory_watch *watch);
void memory_store_unwatch(struct memory_store *store, uint32_t shard_index,
                          struct memory_watch *watch);

/* The next changes that a watch is to be told, acquired, at most MEMORY_STORE_WATCH_ENTRIES_MAX.
 * *out_has_more: not everything has been looked at. */
uint32_t memory_store_changes(struct memory_store *store, struct memory_watch *watch,
                              uint64_t wall_ms, struct memory_news *out_news, bool *out_has_more);

/* Removes some of the keys that have expired. Result: true while there are more to look at. */
bool memory_store_sweep(struct memory_store *store, const struct broker_options *options,
                        uint64_t wall_ms);

#endif
