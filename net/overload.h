/*
 * How loaded a shard is, from the memory in use and from how late its loop comes round, and what is
 * done about it. Each level includes those before it:
 *   1  new connections are accepted slowly          4  QoS 0 is dropped for who does not drain
 *   2  CONNECT is refused with the right code       5  who has not drained for long is closed
 *   3  publishers are read once a tick
 * Memory begins to count at memory_percent of its budget, and the rest is divided evenly among the
 * levels. A loop whose turns take `drift_ms` in the mean is at level 1, twice that at 2, four times
 * at 3; lateness alone never costs anybody a message or a connection.
 *
 * Pure: no clock, no memory. Owner: the connection layer of one shard.
 */
#ifndef PENSTOCK_NET_OVERLOAD_H
#define PENSTOCK_NET_OVERLOAD_H

#include <stdint.h>

enum overload_level {
    OVERLOAD_NONE,
    OVERLOAD_SLOW_ACCEPTS,
    OVERLOAD_REFUSE_CONNECTS,
    OVERLOAD_SLOW_PUBLISHERS,
    OVERLOAD_DROP,
    OVERLOAD_CLOSE
};

struct overload_limits {
    uint32_t memory_percent; /* 1 to 99; 100: memory is not looked at */
    uint32_t drift_ms;       /* 0: lateness is not looked at */
};

struct overload {
    uint64_t mean_turn_ns;
    enum overload_level level;
};

/* Once a turn. `turn_ns`: how long the last turn took, 0 when the loop has slept since. bytes_max
 * 0: memory is unlimited. */
enum overload_level overload_look(struct overload *overload, const struct overload_limits *limits,
                                  uint64_t bytes_used, uint64_t bytes_max, uint64_t turn_ns);

#endif
