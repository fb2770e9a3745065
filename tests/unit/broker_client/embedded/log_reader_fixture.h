/*
 * A log of closed segments that is made from a seed, the model of what is in it, and pulls that are
 * held against the model: every record from a pull's `from` below its `next` that the hint covers,
 * and no other. The world below is one of two: log_reader_world.h.
 *
 * Everything here asserts with cmocka.
 */
#ifndef PENSTOCK_TESTS_UNIT_LOG_READER_FIXTURE_H
#define PENSTOCK_TESTS_UNIT_LOG_READER_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/heap.h"
#include "core/random.h"
#include "log_reader_internal.h"

enum {
    FIXTURE_PARTITIONS = 4, /* the last one is in some segments only, with few records */
    FIXTURE_SEGMENTS_MAX = 40,
    FIXTURE_TOPICS = 80,
    FIXTURE_TOPIC_BYTES_MAX = 40,
    FIXTURE_PULLS = 12
};

struct fixture_options {
    uint64_t seed;
    uint32_t segments;
    uint32_t records;      /* of a segment */
    uint32_t payload_max;  /* of most records */
    uint32_t large_chance; /* in 1024: a payload of up to 60,000 bytes */
    uint32_t gap_chance;   /* in 1024: sequences are left out */
    uint32_t cache_bytes;
    uint32_t filter_bytes_max;
    uint32_t reads_max;
    uint32_t segments_open_max; /* 0: every file stays open, and there is no helper */
    bool has_twins;             /* topic 0 in partition 0 has the hash of topic 1 in partition 1 */
};

/* One record of the model; its bytes follow from it. */
struct fixture_record {
    uint64_t sequence;
    uint32_t topic;
    uint32_t payload_bytes;
    uint32_t salt;
    uint32_t segment;
    uint64_t offset; /* in the segment's file */
};

struct fixture_partition {
    struct fixture_record *records; /* ascending */
    uint32_t count;
    struct log_extent extents[FIXTURE_SEGMENTS_MAX];
    uint32_t extent_first; /* those before are forgotten */
    uint32_t extent_count;
    uint64_t tail_first;
};

/* A pull that goes on until everything was looked at, or until `stop_after` answers. */
struct fixture_pull {
    struct broker_pull pull;
    struct fixture *fixture;
    struct broker_bytes topics[16];
    struct broker_bytes prefixes[16];
    uint64_t end;   /* done when `next` is here */
    uint32_t model; /* index of the next record of the model that may come */
    uint32_t answers;
    uint32_t given;
    uint64_t removed;
    bool is_active;
    bool is_done;
    bool is_once; /* one answer, and no further pull */
};

struct fixture {
    struct fixture_options options;
    struct heap_budget budget;
    struct heap heap;
    struct log_store store;
    struct ring *ring;
    struct log_reader *reader;
    struct random random;
    int directory;
    int log_fd;
    struct log_segment segments[FIXTURE_SEGMENTS_MAX];
    uint64_t data_ends[FIXTURE_SEGMENTS_MAX];
    struct fixture_partition partitions[FIXTURE_PARTITIONS];
    char topics[FIXTURE_TOPICS][FIXTURE_TOPIC_BYTES_MAX];
    struct fixture_pull pulls[FIXTURE_PULLS];
    uint64_t now_ns; /* of the last turn */
};

struct fixture *fixture_create(const struct fixture_options *options);
void fixture_destroy(struct fixture *fixture);

/* The reader alone, anew, with the options' cache and reads. */
void fixture_reader_create(struct fixture *fixture);

/* Random hints, from and limits; `kind` 0: any, 1: all, 2: exact topics, 3: prefixes. */
struct fixture_pull *fixture_pull_make(struct fixture *fixture, uint32_t slot, uint32_t kind);
/* With hints that the caller has put into `topics` and `prefixes`. */
void fixture_pull_start(struct fixture_pull *own);

/* One turn of the shard: takes what is done, reader's turn, time passes. */
void fixture_turn(struct fixture *fixture);
/* Turns until every active pull is done; fails beyond a bound of turns. */
void fixture_finish(struct fixture *fixture);

/* True when the hint covers the topic: the contract, written again. */
bool fixture_covers(const struct broker_hint *hint, const char *topic);

/* Extents that end at or below `below` go, for the model too. */
void fixture_forget(struct fixture *fixture, uint16_t partition, uint32_t extents);

#endif
