/*
 * What this shard's sessions still want of the log: per partition the lowest cursor of those that
 * are connected and late. The owners are told, so that retention spares the segments that it lies
 * in (broker_hold).
 *
 * Once a second the shard's cursors are walked, WANTED_LOOKS_PER_TURN a turn, and each owner is
 * told of the partitions whose lowest cursor is another than it was told before. A cursor that
 * comes while a walk is under way may wait for the next one.
 *
 * Owner and thread: the hub.
 */
#ifndef PENSTOCK_SESSION_WANTED_H
#define PENSTOCK_SESSION_WANTED_H

#include <stdbool.h>

struct hub;
struct wanted;

enum { WANTED_MS = 1000, WANTED_LOOKS_PER_TURN = 8192 };

/* 0 or -ENOMEM. */
int wanted_create(struct hub *hub, struct wanted **out_wanted);
void wanted_destroy(struct hub *hub, struct wanted *wanted);

/* The step of the turn. */
void wanted_step(struct hub *hub);

/* A walk is under way: the shard should not sleep. */
bool wanted_is_looking(const struct wanted *wanted);

#endif
