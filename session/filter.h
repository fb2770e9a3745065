/*
 * The filters of a topic index: each text once, counted by reference. A filter stands for all its
 * subscribers; who they are is its user's business. Inactive filters are known but match nothing.
 *
 * Owner and thread: the topic index that the filter came from, on its shard.
 */
#ifndef PENSTOCK_SESSION_FILTER_H
#define PENSTOCK_SESSION_FILTER_H

#include <stdbool.h>
#include <stdint.h>

struct topic_index;

/* 22 bytes and the text: there is one per distinct subscription of the host. Its hash is not kept:
 * topic_index_hash() of the text is that of the topic with the same bytes. */
struct filter {
    union {
        void *subscribers; /* a shard's index: the user's list */
        uint64_t shards;   /* an owner's index: bit per shard that wants it */
    };
    uint32_t subscriber_count; /* the user's */
    uint32_t references;
    uint16_t bytes;
    uint16_t level_count;   /* separators + 1, at most UINT16_MAX */
    uint8_t literal_levels; /* before the first wildcard, at most UINT8_MAX */
    uint8_t is_pattern : 1; /* has a wildcard */
    uint8_t is_active : 1;  /* set and cleared by topic_index_activate() and _deactivate() */
    char text[];            /* `bytes` of it, not terminated */
};

/* False stops the iteration. May not acquire, release, activate, deactivate or resolve. */
typedef bool filter_visit(void *context, struct filter *filter);

/* The filter with this text, made inactive if it is new, with one reference for the caller. Shared
 * subscriptions come without their "$share/<group>/". 0; -EINVAL: empty, longer than 65,535 bytes,
 * or a wildcard that is not a whole level, or '#' not the last one [MQTT-4.7.1-2]
 * [MQTT-4.7.1-3]; -ENOSPC: filters_max is reached; -ENOMEM. */
int filter_acquire(struct topic_index *index, const char *text, uint32_t bytes,
                   struct filter **out_filter);

/* One more reference to a filter that the caller holds. */
void filter_retain(struct filter *filter);

/* Gives a reference back. With the last one the filter is freed; it must be inactive by then, and
 * what its user hung on to it must be gone. */
void filter_release(struct topic_index *index, struct filter *filter);

/* The filter with this text, active or not, without a reference; NULL when there is none. */
struct filter *filter_find(const struct topic_index *index, const char *text, uint32_t bytes);

/* Visits every filter, active or not, in no particular order. */
void filter_iterate(const struct topic_index *index, filter_visit *visit, void *context);

#endif
