/*
 * What the parts of the broker's contract suite share: a broker under test with its clock, requests
 * that remember how often they were called back, and shorthands that assert on the way.
 */
#ifndef PENSTOCK_TESTS_CONTRACT_BROKER_CONTRACT_INTERNAL_H
#define PENSTOCK_TESTS_CONTRACT_BROKER_CONTRACT_INTERNAL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "broker_contract.h"

struct contract {
    const struct broker_contract_driver *driver;
    uint32_t handle_count;
    bool is_small;
    struct heap_budget budget;
    struct heap heap; /* for what is shared, and for the tests' records */
    struct heap heaps[BROKER_CONTRACT_HANDLES_MAX];
    struct broker_options options[BROKER_CONTRACT_HANDLES_MAX];
    struct broker *brokers[BROKER_CONTRACT_HANDLES_MAX];
    bool is_woken[BROKER_CONTRACT_HANDLES_MAX];
    void *state;
    uint64_t now_ns;
    uint64_t wall_ms;
    bool is_turning;
    uint32_t calls; /* of on_done, over all requests of the test */
    uint32_t held_count;
    struct record *held[BROKER_PULL_RECORDS_MAX]; /* of the last answer to a pull, acquired */
};

/* Of the tests of one part; `tests` ends with a zeroed one. Those of `small` have a small broker.
 */
extern const struct CMUnitTest broker_contract_log_tests[];
extern const struct CMUnitTest broker_contract_log_small_tests[];
extern const struct CMUnitTest broker_contract_pull_tests[];
extern const struct CMUnitTest broker_contract_keys_tests[];
extern const struct CMUnitTest broker_contract_keys_small_tests[];
extern const struct CMUnitTest broker_contract_watch_tests[];

static inline struct broker *owner_of(struct contract *contract, uint16_t partition)
{
    return contract->brokers[partition % contract->handle_count];
}

/* A handle that does not own `partition`; the only one when there is one. */
struct broker *other_than_owner(struct contract *contract, uint16_t partition);

/* Destroys what the teardown would: for a test whose requests are still out when it ends. */
void destroy_broker(struct contract *contract);

/* One turn of every handle. Result: one of them has more to do, or was woken. */
bool turn_all(struct contract *contract);

/* Turns until nothing is left to do. */
void settle(struct contract *contract);

/* Turns until a taken request is answered; fails when the broker says that it has no more to do. */
void finish(struct contract *contract, const struct broker_request *request);

/* Lets time pass and turns. */
void advance(struct contract *contract, uint64_t ms);

/* Makes a request ready for its call: `owner` is the contract, on_done checks and counts. The
 * records of a pull stay readable until the next answer to one. */
void prepare_append(struct contract *contract, struct broker_append *append, uint16_t partition);
void prepare_pull(struct contract *contract, struct broker_pull *pull, uint16_t partition,
                  uint64_t from);
void prepare_tail(struct contract *contract, struct broker_tail *tail, uint16_t partition);
void prepare_get(struct contract *contract, struct broker_get *get, const char *key);
void prepare_commit(struct contract *contract, struct broker_commit *commit);
void prepare_list(struct contract *contract, struct broker_list *list, const char *prefix);

/* Counts a callback; every on_done calls it. */
void called_back(struct contract *contract, const struct broker_request *request);

struct record *make_record(struct contract *contract, const char *topic, const void *payload,
                           uint32_t payload_bytes);

/* Appends `count` records whose payload is their number, from 0 on. Result: the last sequence. */
uint64_t append_many(struct contract *contract, uint16_t partition, const char *topic,
                     uint32_t count);

/* Appends one record, whose reference is used up, and returns its result. */
struct broker_result append_one(struct contract *contract, uint16_t partition,
                                struct record *record);

/* Appends records of 1 KiB; result: the last sequence. */
uint64_t append_bytes(struct contract *contract, uint16_t partition, uint32_t count);

uint64_t tail_of(struct contract *contract, uint16_t partition);

/* The number that append_many wrote. */
uint32_t number_of(const struct record *record);

/* Adds a write of a whole string; a value of NULL deletes. */
struct broker_write *add_write(struct broker_commit *commit, const char *key, const char *value);

/* Commits through handle 0 and asserts the status. Result: the revision of the first write. */
uint64_t commit_as(struct contract *contract, struct broker_commit *commit,
                   enum broker_status status);
uint64_t put(struct contract *contract, const char *key, const char *value);
uint64_t delete_key(struct contract *contract, const char *key);

/* Asserts what a key holds, as every handle sees it; NULL: it is not there. Result: its revision.
 */
uint64_t assert_value(struct contract *contract, const char *key, const char *value);

struct broker_bytes bytes_of(const char *text);

#endif
