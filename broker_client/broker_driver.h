/*
 * What a driver (memory, embedded, jetstream) gives to broker.c, and the helpers that all drivers
 * share. For drivers only: everybody else includes broker.h.
 *
 * A driver's structure begins with a struct broker, filled in by its create function. broker.c
 * checks what a caller may get wrong before it calls the driver, and marks a request as taken when
 * the driver answered 0.
 */
#ifndef PENSTOCK_BROKER_CLIENT_BROKER_DRIVER_H
#define PENSTOCK_BROKER_CLIENT_BROKER_DRIVER_H

#include "broker_client/broker.h"
#include "core/base.h"

/* Each as the function of broker.h with the same name. A driver of one gateway alone leaves out
 * what concerns others: relay, control_send, lease_refresh. */
struct broker_driver {
    bool (*turn)(struct broker *broker, uint64_t now_ns, uint64_t wall_ms);
    uint64_t (*deadline_ns)(const struct broker *broker); /* NULL: never */
    int (*append)(struct broker *broker, struct broker_append *append);
    int (*relay)(struct broker *broker, uint16_t partition, struct record *const *records,
                 uint16_t count);
    int (*channel_set)(struct broker *broker, struct broker_tail *tail);
    int (*pull)(struct broker *broker, struct broker_pull *pull);
    int (*tail)(struct broker *broker, struct broker_tail *tail);
    int (*trim)(struct broker *broker, uint16_t partition, uint64_t below);
    void (*hold)(struct broker *broker, uint16_t partition, uint64_t needed_from,
                 uint64_t wanted_from); /* NULL: retention looks at nobody */
    int (*get)(struct broker *broker, struct broker_get *get);
    int (*commit)(struct broker *broker, struct broker_commit *commit);
    int (*list)(struct broker *broker, struct broker_list *list);
    int (*watch)(struct broker *broker, struct broker_watch *watch);
    void (*cancel)(struct broker *broker, struct broker_request *request);
    int (*control_send)(struct broker *broker, const char *gateway, struct broker_bytes message);
    int (*lease_refresh)(struct broker *broker, uint64_t time_to_live_ms);
    void (*destroy)(struct broker *broker);
};

struct broker {
    const struct broker_driver *driver;
    struct broker_options options;
    struct broker_counters counters;
    uint32_t record_bytes_max;
    uint16_t partition_count;
    uint16_t partition_levels;
    bool is_atomic;
    bool may_take_back;
    bool is_healthy;
};

/* What a request is, in its `kind`. */
enum broker_request_kind {
    BROKER_REQUEST_APPEND,
    BROKER_REQUEST_PULL,
    BROKER_REQUEST_TAIL,
    BROKER_REQUEST_CHANNEL_SET,
    BROKER_REQUEST_GET,
    BROKER_REQUEST_COMMIT,
    BROKER_REQUEST_LIST,
    BROKER_REQUEST_WATCH
};

static inline bool broker_owns(const struct broker *broker, uint16_t partition)
{
    return partition < broker->partition_count &&
           partition % broker->options.shard_count == broker->options.shard_index;
}

/* Bytes that count against broker_record_bytes_max and a pull's bytes_max. */
static inline uint64_t broker_record_bytes(const struct record *record)
{
    return (uint64_t)record->topic_bytes + record->fields_bytes + record->payload_bytes;
}

/* A value of a configuration, 0 meaning the default. */
static inline uint64_t broker_default(uint64_t value, uint64_t otherwise)
{
    return value != 0 ? value : otherwise;
}

/* The order of keys: below, at or above 0. */
static inline int broker_compare_bytes(struct broker_bytes a, struct broker_bytes b)
{
    uint32_t common = ps_min_u32(a.count, b.count);
    int order = common > 0 ? memcmp(a.bytes, b.bytes, common) : 0;
    return order != 0 ? order : (a.count > b.count) - (a.count < b.count);
}

static inline bool broker_has_prefix(struct broker_bytes key, struct broker_bytes prefix)
{
    return key.count >= prefix.count &&
           (prefix.count == 0 || memcmp(key.bytes, prefix.bytes, prefix.count) == 0);
}

/* Fills in the answer of a request that was cancelled before it had one. */
void broker_request_set_cancelled(struct broker_request *request);

/* Gives an answered request back to its caller: on_done, from which it may be used again. */
void broker_request_finish(struct broker_request *request);

/* First in, first out; linked through the requests. */
struct broker_queue {
    struct broker_request *first;
    struct broker_request *last;
    uint32_t count;
};

void broker_queue_push(struct broker_queue *queue, struct broker_request *request);
struct broker_request *broker_queue_pop(struct broker_queue *queue); /* NULL when empty */

/* False when it is not there. Walks the queue, which its driver bounds. */
bool broker_queue_remove(struct broker_queue *queue, struct broker_request *request);

#endif
