/*
 * The embedded keys as one suite of behaviours, linked once with LMDB (test_keys_lmdb.c) and once
 * with the simulated file (test_keys_sim.c): two ports, a helper that is never started, so that the
 * test says when it runs, and requests that remember what they were answered.
 */
#ifndef PENSTOCK_TESTS_CONTRACT_KEYS_CONTRACT_H
#define PENSTOCK_TESTS_CONTRACT_KEYS_CONTRACT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "embedded_keys_internal.h"

enum { KEYS_PORTS = 2, KEYS_TEXT_BYTES = 8192, KEYS_VALUE_BYTES = 2048 };

struct keys {
    struct heap_budget budget;
    struct heap heap; /* of what is shared */
    struct heap heaps[KEYS_PORTS];
    struct helper *helper;
    struct embedded_keys_options options; /* of the next opening */
    struct embedded_keys *keys;
    struct embedded_keys_port *ports[KEYS_PORTS];
    uint64_t wall_ms;
    uint32_t wakes;
    bool is_healthy[KEYS_PORTS];
    uint32_t health_changes;
    uint32_t answers; /* of all requests of the test */
    char error[256];
};

/* A request of one key, with room for its answer. Zeroed before its first use. */
struct asked_get {
    struct broker_get get;
    struct keys *owner;
    enum broker_status status;
    uint64_t revision;
    uint32_t number; /* which answer it was, from 1 on; 0: none yet */
    uint32_t value_bytes;
    char value[KEYS_VALUE_BYTES];
};

struct asked_commit {
    struct broker_commit commit;
    struct keys *owner;
    uint32_t number;
};

/* What a list gave: "key=value " of each. */
struct asked_list {
    struct broker_list list;
    struct keys *owner;
    uint32_t number;
    char text[KEYS_TEXT_BYTES];
};

/* Writes down what it is told: "+key=value " or "-key ". */
struct asked_watch {
    struct broker_watch watch;
    struct keys *owner;
    uint64_t revision;
    uint32_t changes;
    uint32_t deletions;
    bool is_ended;
    bool is_silent; /* counts only */
    char text[KEYS_TEXT_BYTES];
};

/* Defined by each of the two: a new, empty place, and its end. The path is valid until then. */
const char *keys_contract_begin(void);
void keys_contract_end(void);

/* Result: how many tests failed. */
int keys_contract_run(void);

extern const struct CMUnitTest keys_contract_watch_tests[]; /* ends with a zeroed one */

/* For every test: an open store of the default options; and that everything was given back. */
int keys_set_up(void **state);
int keys_tear_down(void **state);

/* Runs tests that end with a zeroed one. */
int keys_run_tests(const char *name, const struct CMUnitTest *tests);

void keys_open(struct keys *keys);
void keys_close(struct keys *keys); /* also what is not answered */
void keys_reopen(struct keys *keys);

/* A turn of every port; the helper; a turn of every port; until nobody has more to do. */
void keys_settle(struct keys *keys);
void keys_turn_ports(struct keys *keys);
void keys_help(struct keys *keys);
void keys_advance(struct keys *keys, uint64_t ms); /* and settles */

struct embedded_keys_counters keys_counters(const struct keys *keys);

struct broker_bytes keys_bytes(const char *text);
void keys_begin_commit(struct keys *keys, struct asked_commit *asked);
struct broker_write *keys_add(struct asked_commit *asked, const char *key, const char *value);
void keys_submit_commit(struct keys *keys, uint32_t port, struct asked_commit *asked);
void keys_submit_get(struct keys *keys, uint32_t port, struct asked_get *asked, const char *key);
void keys_submit_list(struct keys *keys, uint32_t port, struct asked_list *asked,
                      const char *prefix);
void keys_submit_watch(struct keys *keys, uint32_t port, struct asked_watch *asked,
                       const char *prefix, uint64_t after);
void keys_cancel_watch(struct keys *keys, uint32_t port, struct asked_watch *asked);

/* Commits one write through port 0 (value NULL: deletes), and asserts the status. Result: its
 * revision. */
uint64_t keys_put(struct keys *keys, const char *key, const char *value);
uint64_t keys_put_for(struct keys *keys, const char *key, const char *value, uint64_t ms);
uint64_t keys_put_as(struct keys *keys, const char *key, struct broker_bytes value,
                     enum broker_status status);

/* Asserts what a key holds (NULL: it is not there). Result: its revision. */
uint64_t keys_assert_value(struct keys *keys, const char *key, const char *value);
void keys_assert_list(struct keys *keys, const char *prefix, const char *text);

#endif
