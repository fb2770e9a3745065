/*
 * Numbers that were never given; see log_jumps_internal.h.
 */
#include "log_jumps_internal.h"

#include <string.h>

#include "core/base.h"

/* Takes jumps[first] to jumps[end - 1] out. */
static void take_out(struct log_jumps *jumps, uint32_t first, uint32_t end)
{
    memmove(&jumps->jumps[first], &jumps->jumps[end],
            (jumps->count - end) * sizeof(jumps->jumps[0]));
    jumps->count -= end - first;
}

void log_jumps_add(struct log_jumps *jumps, uint64_t from, uint64_t to)
{
    if (from >= to)
        return;
    uint32_t first = 0;
    while (first < jumps->count && jumps->jumps[first].to < from)
        first++;
    uint32_t end = first;
    for (; end < jumps->count && jumps->jumps[end].from <= to; end++) {
        from = ps_min_u64(from, jumps->jumps[end].from);
        to = ps_max_u64(to, jumps->jumps[end].to);
    }
    take_out(jumps, first, end);
    if (jumps->count == LOG_JUMPS_MAX) {
        if (first == 0)
            return; /* it would be the lowest */
        take_out(jumps, 0, 1);
        first--;
    }
    memmove(&jumps->jumps[first + 1], &jumps->jumps[first],
            (jumps->count - first) * sizeof(jumps->jumps[0]));
    jumps->jumps[first] = (struct log_jump){from, to};
    jumps->count++;
}

uint64_t log_jumps_records(const struct log_jumps *jumps, uint64_t from, uint64_t to)
{
    if (from >= to)
        return 0;
    uint64_t records = to - from;
    for (uint32_t at = 0; at < jumps->count; at++) {
        uint64_t jump_from = ps_max_u64(from, jumps->jumps[at].from);
        uint64_t jump_to = ps_min_u64(to, jumps->jumps[at].to);
        records -= jump_to > jump_from ? jump_to - jump_from : 0;
    }
    return records;
}
