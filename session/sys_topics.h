/*
 * $SYS/broker/...: the gateway's own values, under the names that mosquitto's users know. Made on
 * the helper thread from the metrics' snapshots, delivered by each shard to its own subscribers:
 * every sys.interval, and at once, with RETAIN set, to who subscribes. Never appended, relayed or
 * stored.
 *
 * Threads: the publisher is shared, refreshed by the helper thread, and read by every shard, under
 * a mutex that is held for a copy of some 3 KB.
 */
#ifndef PENSTOCK_SESSION_SYS_TOPICS_H
#define PENSTOCK_SESSION_SYS_TOPICS_H

#include <stdint.h>

struct filter;
struct heap;
struct hub;
struct metrics;
struct session;
struct sys_publisher;

int sys_publisher_create(struct heap *heap, struct metrics *metrics, uint64_t start_ms,
                         struct sys_publisher **out_publisher);
void sys_publisher_destroy(struct heap *heap, struct sys_publisher *publisher);

/* The helper thread's. */
void sys_publisher_refresh(struct sys_publisher *publisher);

/* A shard's step: publishes when it is time. */
void sys_topics_step(struct hub *hub);

/* Sends the values that match a filter that was just subscribed. */
void sys_topics_greet(struct hub *hub, struct session *session, const struct filter *filter);

#endif
