/*
 * How fast one client may publish, in messages and in bytes: a bucket for each, filled evenly,
 * which holds what one second allows. A publish is taken while there is any credit and may leave a
 * debt, so that one larger than the bucket passes too and is paid for afterwards. A client that has
 * none is left unread, and its own flow control slows it; nothing is lost.
 *
 * Pure: no memory, no clock. Owner: the connection layer.
 */
#ifndef PENSTOCK_NET_PUBLISH_RATE_H
#define PENSTOCK_NET_PUBLISH_RATE_H

#include <stdbool.h>
#include <stdint.h>

/* Credits are counted in tenths, for a tick is a tenth of a second. */
struct publish_rate {
    int64_t messages;
    int64_t bytes;
    uint32_t tick; /* SHARD_TICK_MS; when credits were last added */
};

struct publish_rate_limits {
    uint64_t messages_per_second; /* 0: unlimited */
    uint64_t bytes_per_second;    /* 0: unlimited; whole packets */
};

/* A client that has published nothing: its buckets are full. */
void publish_rate_init(struct publish_rate *rate, uint32_t tick);

/* True: a publish is allowed now. False: try again at a later tick. */
bool publish_rate_allows(struct publish_rate *rate, const struct publish_rate_limits *limits,
                         uint32_t tick);

/* Counts a publish that was taken. */
void publish_rate_charge(struct publish_rate *rate, const struct publish_rate_limits *limits,
                         uint32_t bytes);

#endif
