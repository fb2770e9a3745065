/*
 * What the files of the topic index share: filter.c, topic.c and topic_index.c.
 */
#ifndef PENSTOCK_SESSION_TOPIC_INDEX_INTERNAL_H
#define PENSTOCK_SESSION_TOPIC_INDEX_INTERNAL_H

#include "session/topic_index.h"

/* The epoch counter of a literal prefix of one level or more. */
uint16_t topic_index_epoch_slot(const struct topic_index *index, const char *prefix,
                                uint32_t bytes);

/* Frees every topic, without on_evict. */
void topic_clear(struct topic_index *index);

#endif
