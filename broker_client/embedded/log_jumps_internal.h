/*
 * The numbers of one partition that never were a record's: what starts after a crash have skipped,
 * and what a repair has cut. So that readers are told what retention took from them, and not more.
 *
 * A value; its owner's thread. Ranges are ascending and do not touch. When there are more than
 * LOG_JUMPS_MAX the lowest is forgotten, and counts as if it had been records.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_JUMPS_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_JUMPS_INTERNAL_H

#include <stdint.h>

enum { LOG_JUMPS_MAX = 8 };

struct log_jump {
    uint64_t from;
    uint64_t to; /* behind the last one */
};

struct log_jumps {
    uint32_t count;
    struct log_jump jumps[LOG_JUMPS_MAX];
};

/* Adds [from, to), which may overlap with what is there; nothing if it is empty. */
void log_jumps_add(struct log_jumps *jumps, uint64_t from, uint64_t to);

/* How many numbers of [from, to) can have been records. */
uint64_t log_jumps_records(const struct log_jumps *jumps, uint64_t from, uint64_t to);

#endif
