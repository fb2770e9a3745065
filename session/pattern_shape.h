/*
 * The distinct shapes of a set of patterns: a shape says for every level whether it is literal, '+'
 * or '#'. Two patterns of one shape match one topic only if they are equal, so the number of shapes
 * bounds what a topic can match.
 *
 * Owner and thread: one pattern trie, on its shard.
 */
#ifndef PENSTOCK_SESSION_PATTERN_SHAPE_H
#define PENSTOCK_SESSION_PATTERN_SHAPE_H

#include "core/table.h"

struct pattern_shapes {
    struct heap *heap;
    uint64_t seed;
    struct table table; /* `count` of it is the number of shapes */
};

void pattern_shape_init(struct pattern_shapes *shapes, struct heap *heap, uint64_t seed);

/* Every pattern must have been removed. */
void pattern_shape_deinit(struct pattern_shapes *shapes);

/* Counts a valid pattern in. 0, or -ENOMEM and nothing has changed. */
int pattern_shape_add(struct pattern_shapes *shapes, const char *pattern, uint32_t bytes);

/* Counts a pattern out that was counted in. */
void pattern_shape_remove(struct pattern_shapes *shapes, const char *pattern, uint32_t bytes);

#endif
