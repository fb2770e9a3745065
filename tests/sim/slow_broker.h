/*
 * A broker that takes its time, as one with a disk does: what a shard asks of its handle of the
 * memory driver comes there after a drawn delay, in order. Until then it is on its way, and lost
 * with a crash. Stands between broker.c and the driver by taking the place of a handle's driver.
 *
 * Owner: the simulated gateway. One handle a shard.
 */
#ifndef PENSTOCK_TESTS_SIM_SLOW_BROKER_H
#define PENSTOCK_TESTS_SIM_SLOW_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/random.h"

struct broker;
struct sim_world;

enum { SLOW_BROKERS_MAX = 8 };

struct slow_request;

/* In zeroed memory; all handles of one gateway. */
struct slow_brokers {
    struct sim_world *world;
    struct random random;
    uint64_t delay_max_ns; /* of each request, evenly drawn from 0; 0: nothing is slow */
    struct {
        struct broker *broker;
        struct slow_request *first;
        struct slow_request *last;
    } handles[SLOW_BROKERS_MAX];
};

/* From here this handle is slow. */
void slow_brokers_add(struct slow_brokers *brokers, uint32_t shard, struct broker *broker);

/* What is on its way is lost; before the handles end. */
void slow_brokers_end(struct slow_brokers *brokers);

/* When this shard's next request arrives; UINT64_MAX: none is on its way. */
uint64_t slow_brokers_due_ns(const struct slow_brokers *brokers, uint32_t shard);

#endif
