/*
 * Numbers that no segment has; see log_recovery_internal.h. Retention may take segments from
 * between others (a hold keeps an older one), and nothing that is stored tells that from a file
 * that somebody removed: so it is said, once, and not refused.
 *
 * Nothing is changed here. Thread: the one that opens the store.
 */
#include <inttypes.h>

#include "core/log.h"
#include "log_recovery_internal.h"

/* Numbers that no segment has and that no start is known to have left out. */
struct gaps {
    uint64_t numbers;
    uint32_t partitions;
    uint16_t partition; /* the first of them, and what is missing there */
    uint64_t from;
    uint64_t to;
    uint64_t after; /* the segment that ends before it */
};

static void add_gap(struct gaps *gaps, const struct log_number *number, uint16_t partition,
                    uint64_t from, uint64_t to, uint64_t after)
{
    const struct log_jumps *jumps = &number->jumps;
    uint64_t numbers = log_jumps_records(jumps, from, to);
    /* Jumps below these may have been forgotten. */
    if (numbers == 0 || (jumps->count == LOG_JUMPS_MAX && from < jumps->jumps[0].from))
        return;
    if (gaps->numbers == 0)
        *gaps = (struct gaps){.partition = partition, .from = from, .to = to, .after = after};
    gaps->numbers += numbers;
}

void log_gaps_tell(const struct recovery *recovery)
{
    const struct log_store *store = recovery->store;
    const struct log_numbers *numbers = store->numbers;
    bool may_have_lost = !numbers->is_clean && numbers->commit != EMBEDDED_COMMIT_SYNCED;
    struct gaps gaps = {0};
    for (uint16_t index = 0; index < numbers->partition_count && recovery->has_numbers; index++) {
        const struct log_partition_state *state = &store->partitions[index];
        const struct log_number *number = &numbers->partitions[index];
        uint64_t before = gaps.numbers;
        for (uint32_t at = 1; at < state->extent_count; at++) {
            const struct log_extent *extent = &state->extents[at];
            if (!may_have_lost || recovery_run(extent->segment->number) != numbers->run)
                add_gap(&gaps, number, index, extent[-1].next, extent->first,
                        extent[-1].segment->number);
        }
        uint64_t end = recovery->partitions[index].end;
        if (numbers->is_clean && end > 0)
            add_gap(&gaps, number, index, end, number->floor,
                    recovery->partitions[index].end_number);
        gaps.partitions += gaps.numbers > before;
    }
    if (gaps.numbers > 0 && store->log != NULL)
        log_write(store->log, LOG_WARNING, "log_gap",
                  "numbers=%" PRIu64 " partitions=%u partition=%u first=%" PRIu64 " last=%" PRIu64
                  " after=log/%016" PRIx64 ".seg what=\"no segment has them: retention took them "
                  "from between others, or a segment file was removed\"",
                  gaps.numbers, gaps.partitions, gaps.partition, gaps.from, gaps.to - 1,
                  gaps.after);
}
