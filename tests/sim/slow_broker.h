/*
 * A broker that takes its time, as one with a disk does: what a shard asks of its handle of the
 * memory driver comes there after a drawn delay, in order. Until then it is on its way, and lost
 * with a crash. Stands between broker.c and the driver by taking the place of a handle's driver.
 * It can write keys one by one, stand still, refuse and fail, and notes what retention is to leave
 * alone.
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

enum { SLOW_BROKERS_MAX = 8, SLOW_PARTITIONS_MAX = 16 };

struct single_write;
struct slow_request;

/* In zeroed memory; all handles of one gateway. */
struct slow_brokers {
    struct sim_world *world;
    struct random random;
    uint64_t delay_max_ns;    /* of each request, evenly drawn from 0; 0: nothing is slow, and what
                                 follows but for the holds is without effect */
    bool is_stalled;          /* nothing arrives */
    bool keeps_keys;          /* nor do requests for keys, while appends and pulls do */
    bool fails_reads;         /* pulls that do not wait, and lists, are answered UNKNOWN */
    bool writes_singly;       /* not atomic: each write of a commit arrives by itself */
    uint32_t value_bytes_max; /* commits with a larger value are refused as FULL; 0: none */
    uint64_t reads;           /* that were failed */
    uint64_t commits;         /* that were handed on */
    uint64_t writes;          /* of these */
    uint64_t channel_removed; /* the next answer to a channel says that so many records went */
    struct {
        uint64_t needed_from;
        uint64_t wanted_from;
        uint32_t count; /* of calls */
    } holds[SLOW_PARTITIONS_MAX];
    struct {
        struct broker *broker;
        struct slow_request *first;
        struct slow_request *last;
        struct single_write *singles; /* under way */
    } handles[SLOW_BROKERS_MAX];
};

/* From here this handle is slow. */
void slow_brokers_add(struct slow_brokers *brokers, uint32_t shard, struct broker *broker);

/* What is on its way is lost; before the handles end. */
void slow_brokers_end(struct slow_brokers *brokers);

/* When this shard's next request arrives; UINT64_MAX: none is on its way. */
uint64_t slow_brokers_due_ns(const struct slow_brokers *brokers, uint32_t shard);

#endif
