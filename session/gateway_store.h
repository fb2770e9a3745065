/*
 * The broker behind a gateway: its driver as configured (broker.type), the store that the shards'
 * handles share, and what its start found. The only one that calls concrete brokers.
 *
 * Owner: the gateway. Thread: the program's main one; a handle is made and asked by its shard's, or
 * by the main thread while that does not run.
 */
#ifndef PENSTOCK_SESSION_GATEWAY_STORE_H
#define PENSTOCK_SESSION_GATEWAY_STORE_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"

struct gateway_config;
struct gateway_store;
struct heap;
struct log;

struct gateway_store_options {
    const struct gateway_config *config;
    uint32_t shard_count;
    struct heap *heap;
    struct log *log;
    uint64_t random_seed;
    bool is_repair; /* what is damaged is cut, and what was cut is logged */
};

/* Opens the broker's store: for the embedded one the data directory is locked, its log recovered
 * and what was found logged. 0, or -errno with one line in `error` (GATEWAY_ERROR_BYTES). */
int gateway_store_open(const struct gateway_store_options *options,
                       struct gateway_store **out_store, char *error);

/* Starts its threads, before the first handle. 0 or -errno. */
int gateway_store_start(struct gateway_store *store);

/* Every handle must be gone. `is_clean`: everything was committed and answered. NULL is allowed. */
void gateway_store_close(struct gateway_store *store, bool is_clean);

/* A shard's handle; for struct broker_maker, whose context is the store. */
int gateway_store_create_broker(void *store, const struct broker_options *options,
                                struct broker **out_broker);

/* What the handle has taken is committed and answered. */
bool gateway_store_is_idle(const struct gateway_store *store, const struct broker *broker);

/* Descriptors that it may have open, however long its log: a small share of RLIMIT_NOFILE. */
uint32_t gateway_store_descriptors_max(const struct gateway_store *store);

/* Logs where everything is kept. */
void gateway_store_announce(const struct gateway_store *store, const struct gateway_config *config);

/* The largest record of a store of this configuration. */
uint32_t gateway_store_record_bytes_max(const struct gateway_config *config, uint32_t shard_count);

#endif
