/*
 * Stamps and flows; see bench_check.h.
 */
#include "bench/bench_check.h"

#include "core/wire.h"

enum { SEEN_COUNT = 64 };

void bench_stamp_write(const struct bench_stamp *stamp, unsigned char *payload)
{
    wire_store_u32(payload, stamp->run);
    wire_store_u32(payload + 4, stamp->publisher);
    wire_store_u64(payload + 8, stamp->sequence);
    wire_store_u64(payload + 16, stamp->time_ns);
}

void bench_stamp_read(const unsigned char *payload, struct bench_stamp *out_stamp)
{
    *out_stamp = (struct bench_stamp){
        .run = wire_load_u32(payload),
        .publisher = wire_load_u32(payload + 4),
        .sequence = wire_load_u64(payload + 8),
        .time_ns = wire_load_u64(payload + 16),
    };
}

void bench_payload_fill(unsigned char *payload, size_t count)
{
    ps_assert(count >= BENCH_STAMP_BYTES);
    memset(payload, 0, BENCH_STAMP_BYTES);
    for (size_t i = BENCH_STAMP_BYTES; i < count; i++)
        payload[i] = (unsigned char)(i * 7 + (i >> 8));
}

/* A message below the highest that came. */
static void take_old(struct bench_flow *flow, uint64_t sequence, struct bench_tally *tally)
{
    uint64_t distance = flow->next - 1 - sequence;
    if (distance < SEEN_COUNT) {
        uint64_t bit = 1ULL << distance;
        if (flow->seen & bit) {
            tally->duplicates++;
            return;
        }
        flow->seen |= bit;
    } else if (tally->missing == 0) {
        tally->duplicates++;
        return;
    }
    tally->misordered++;
    tally->received++;
    if (tally->missing > 0)
        tally->missing--;
}

uint64_t bench_flow_take(struct bench_flow *flow, uint64_t sequence, struct bench_tally *tally)
{
    if (ps_likely(sequence == flow->next)) {
        flow->next++;
        flow->seen = flow->seen << 1 | 1;
        tally->received++;
        return 1;
    }
    if (flow->next == BENCH_FLOW_OPEN) {
        /* What came before nobody waited for: it counts as seen. */
        *flow = (struct bench_flow){.next = sequence + 1, .seen = UINT64_MAX};
        tally->received++;
        return 1;
    }
    if (sequence < flow->next) {
        take_old(flow, sequence, tally);
        return 0;
    }
    uint64_t passed = sequence - flow->next;
    flow->seen = passed + 1 < SEEN_COUNT ? flow->seen << (passed + 1) | 1 : 1;
    flow->next = sequence + 1;
    tally->missing += passed;
    tally->received++;
    return passed + 1;
}
