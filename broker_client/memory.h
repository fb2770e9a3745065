/*
 * The memory driver: a broker inside the gateway, gone with it. One store per gateway holds the
 * budget and the keys; each shard has a handle that owns its partitions' logs. A handle that ends
 * gives them back to the store, and the one that is made next goes on with them.
 *
 * Threads: store create and destroy by one thread while no handle exists; each handle by its shard.
 * Keys are shared under a mutex that is held for one request or one small batch, never across a
 * callback.
 */
#ifndef PENSTOCK_BROKER_CLIENT_MEMORY_H
#define PENSTOCK_BROKER_CLIENT_MEMORY_H

#include <stdint.h>

#include "broker_client/broker.h"

/* 0 means the default where one is named. */
struct memory_store_config {
    uint64_t memory_bytes;        /* logs, their indexes and keys together; at least 1 MiB */
    uint64_t key_bytes_max;       /* share of it for keys; half of memory_bytes */
    uint64_t deduplication_ms;    /* how long an id is remembered; 120,000 */
    uint32_t deduplication_max;   /* ids remembered per partition; 8,192, or what a sixteenth of
                                     memory_bytes has room for */
    uint32_t record_bytes_max;    /* at most and by default what keys leave of memory_bytes, by 4 or
                                     shard_count, whichever is more; never above the protocol's */
    uint32_t append_queue_bytes;  /* waiting per handle; memory_bytes / 32 / shard_count */
    uint32_t requests_max;        /* taken per handle, waiting pulls and watches apart; 1,024 */
    uint32_t deleted_entries_max; /* deletions kept for watches; at least 128; 16,384 */
    uint16_t watches_max;         /* per handle; 16 */
    uint16_t partition_count;
    uint16_t partition_levels;
    uint16_t shard_count;
    char counted_kind;  /* first byte of the keys of broker_counters.kind_count; 0: none */
    uint64_t hash_seed; /* random, so that peers cannot choose collisions */
};

struct memory_store;

/* 0, -EINVAL (a value outside its range) or -ENOMEM. `heap` serves the store's own memory and is
 * used again by memory_store_destroy. */
int memory_store_create(const struct memory_store_config *config, struct heap *heap,
                        struct memory_store **out_store);

/* The largest record of a store with this memory and these shards, other values being 0. */
uint32_t memory_store_record_bytes_max(uint64_t memory_bytes, uint16_t shard_count);

/* Every handle must be gone. */
void memory_store_destroy(struct memory_store *store);

/* From here this many shards; every handle must be gone. 0, -EINVAL (the largest record would not
 * fit a shard's share any more) or -ENOMEM. */
int memory_store_set_shards(struct memory_store *store, uint16_t shard_count);

/* The handle of shard options->shard_index. 0, -EINVAL (shard_count or shard_index disagrees with
 * the store's, or that shard has a handle) or -ENOMEM. Ends with broker_destroy. */
int memory_broker_create(struct memory_store *store, const struct broker_options *options,
                         struct broker **out_broker);

#endif
