/*
 * Which topics of an owner's partitions have a retained value, by their hashes, so that there are
 * never more than retained_max, and which record each value is of. Two topics with one 64-bit hash
 * count as one.
 *
 * The store may have values from an earlier run. They are listed in the background from the
 * owner's start on, page by page; until that is done (is_listed) no value is refused for their
 * number. What is deleted meanwhile is remembered until then, as a page may still have it.
 *
 * Owner and thread: the partitions' owner.
 */
#ifndef PENSTOCK_SESSION_RETAINED_TOPICS_H
#define PENSTOCK_SESSION_RETAINED_TOPICS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/table.h"

struct owner;
struct retained_list;

struct retained_topic {
    uint64_t hash;
    uint64_t sequence; /* of its last record; 0: as listed */
};

struct retained_topics {
    struct owner *owner;
    struct table topics;
    struct table deleted;       /* hashes (struct retained_topic), while the store is listed */
    struct retained_list *list; /* NULL: it was listed, or has not begun */
    bool is_listed;
};

void retained_topics_init(struct retained_topics *topics, struct owner *owner);
void retained_topics_deinit(struct retained_topics *topics);

/* NULL: it has no value, or is not listed yet. */
struct retained_topic *retained_topics_find(const struct retained_topics *topics, uint64_t hash);

/* The topic, which is not there yet, has a value. NULL: there are retained_max already
 * (*out_is_full), or memory is out. */
struct retained_topic *retained_topics_add(struct retained_topics *topics, uint64_t hash,
                                           bool *out_is_full);

/* The topic has no value any more, whether it was known or not. */
void retained_topics_remove(struct retained_topics *topics, uint64_t hash);

/* A page is under way. */
bool retained_topics_is_asking(const struct retained_topics *topics);

/* The step of the turn: asks for the next page of the list. */
void retained_topics_step(struct retained_topics *topics);

#endif
