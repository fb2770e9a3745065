/*
 * What a simulated gateway's broker stands on: the memory driver's store, or the embedded one's on
 * the world's disk and a simulated file of keys, with its helper thread's rounds and with faults.
 *
 * Owner: the simulated gateway. It outlives the gateway's runs, as a machine does.
 */
#ifndef PENSTOCK_TESTS_SIM_STORE_SIM_H
#define PENSTOCK_TESTS_SIM_STORE_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "broker_client/embedded/embedded.h"
#include "core/heap.h"
#include "core/random.h"
#include "sim/disk_sim.h"
#include "sim/scenario.h"

struct key_file_disk;
struct memory_store;

struct store_sim {
    const struct scenario *scenario;
    struct sim_world *world;
    struct heap heap;
    struct memory_store *memory;     /* NULL: the embedded one */
    struct embedded_store *embedded; /* NULL: the memory's, or none is open */
    struct key_file_disk *keys;
    struct random random;
    uint64_t helper_due_ns; /* the helper thread's next round */
    uint64_t trouble_ns;    /* when the disk's next trouble begins, or the one under way ends */
    bool is_in_trouble;
    bool dies_with_keys;            /* soon: nothing else is done to their file */
    enum sim_disk_crash_kind death; /* how it died last, or is about to */
    uint64_t starts_cut_off;
    uint64_t segments; /* found by all starts */
    uint64_t torn_bytes;
    uint64_t indexes_damaged;
    char error[EMBEDDED_ERROR_BYTES];
};

/* In zeroed memory; nothing is open yet. */
void store_sim_init(struct store_sim *store, struct sim_world *world,
                    const struct scenario *scenario, struct heap_budget *budget);
void store_sim_deinit(struct store_sim *store);

/* Opens it for that many shards. False: the start was refused; `error` says why. */
bool store_sim_open(struct store_sim *store, uint32_t shard_count);

/* Opens it after a crash; starts may be cut off by another one, which the scenario draws. Once
 * nothing cuts it off any more it has to succeed. */
bool store_sim_open_again(struct store_sim *store, uint32_t shard_count);

/* Every handle is gone. */
void store_sim_close(struct store_sim *store, bool is_clean);

/* For struct broker_maker, whose context is the store. */
int store_sim_create_broker(void *store, const struct broker_options *options,
                            struct broker **out_broker);
bool store_sim_is_idle(const struct store_sim *store, const struct broker *broker);

/* A shard had a turn, in which it may have had a job for the helper. */
void store_sim_wake(struct store_sim *store);
/* A round of the helper thread, and a trouble's begin or end, if one is due. True: there was. */
bool store_sim_turn(struct store_sim *store);
uint64_t store_sim_due_ns(const struct store_sim *store);
/* Troubles end, for good. */
void store_sim_calm(struct store_sim *store);

/* What runs is dead from here on, unless it died by itself. Then everything ends, the store is
 * closed and the machine begins anew. */
void store_sim_die(struct store_sim *store, enum sim_disk_crash_kind kind);
/* It dies by itself, soon: with a call to the disk, or with a commit of the keys. */
void store_sim_die_soon(struct store_sim *store, enum sim_disk_crash_kind kind, bool with_keys);
bool store_sim_is_dead(const struct store_sim *store);
void store_sim_restart(struct store_sim *store);

#endif
