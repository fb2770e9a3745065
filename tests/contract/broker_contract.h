/*
 * What every driver behind broker.h promises, as tests: one suite, run against a driver through a
 * small fixture, once with one handle and once with three.
 */
#ifndef PENSTOCK_TESTS_CONTRACT_BROKER_CONTRACT_H
#define PENSTOCK_TESTS_CONTRACT_BROKER_CONTRACT_H

#include "broker_client/broker.h"
#include "core/heap.h"

enum {
    BROKER_CONTRACT_HANDLES_MAX = 3,
    BROKER_CONTRACT_PARTITIONS = 6,
    BROKER_CONTRACT_SMALL_KEYS_MAX = 20000 /* of 1 KiB: a small store is full before */
};

struct broker_contract_options {
    struct heap *heap;           /* for what the handles share */
    struct broker_options *each; /* handle_count of them, complete */
    uint32_t handle_count;
    bool is_small; /* the log and the store hold a few hundred KiB each, so that tests fill them */
};

struct broker_contract_driver {
    const char *name;

    /* Makes a new, empty broker. Out: what destroy needs, and the handles. */
    void *(*create)(const struct broker_contract_options *options, struct broker **out_brokers);

    /* The handles, which may have requests that are not answered, and all that they shared. */
    void (*destroy)(void *state, struct broker **brokers, uint32_t count);

    /* Waits a while for what comes from outside; NULL when all work is done in turns. Result: true
     * when something came or is still to come for what was taken. */
    bool (*wait)(void *state);

    uint64_t small_log_bytes; /* that a small log and its small store never exceed */
    bool removes_segments;    /* retention takes a segment whole, with what is younger in it */
    uint64_t expiry_ms;       /* how late a watch may learn that a key has expired */
};

/* Result: the number of tests that failed. */
int broker_contract_run(const struct broker_contract_driver *driver);

#endif
