/*
 * Promises kept and broken; see bench_ledger.h.
 */
#include "bench/bench_ledger.h"

#include "core/base.h"
#include "core/heap.h"

enum { WORD_BITS = 64, WORDS_FIRST = 64 };

static bool is_seen(const struct bench_ledger *ledger, uint64_t sequence)
{
    uint64_t word = sequence / WORD_BITS;
    return word < ledger->seen_words && (ledger->seen[word] >> (sequence % WORD_BITS) & 1) != 0;
}

static int make_room(struct bench_ledger *ledger, struct heap *heap, uint64_t sequence)
{
    uint64_t word = sequence / WORD_BITS;
    if (word < ledger->seen_words)
        return 0;
    uint64_t words = ps_max_u64(WORDS_FIRST, 2 * (word + 1));
    uint64_t *seen = heap_realloc(heap, ledger->seen, words * sizeof(*seen));
    if (seen == NULL)
        return -ENOMEM;
    memset(seen + ledger->seen_words, 0, (words - ledger->seen_words) * sizeof(*seen));
    ledger->seen = seen;
    ledger->seen_words = words;
    return 0;
}

static bool holds(struct bench_range range, uint64_t sequence)
{
    return sequence >= range.from && sequence < range.to;
}

static enum bench_verdict judge_again(const struct bench_ledger *ledger, uint64_t sequence)
{
    if (holds(ledger->unsecured, sequence))
        return BENCH_AGAIN_UNSECURED;
    if (holds(ledger->resent, sequence))
        return BENCH_AGAIN_RESENT;
    return sequence < ledger->old_below ? BENCH_AGAIN_OLD : BENCH_AGAIN;
}

int bench_ledger_take(struct bench_ledger *ledger, struct heap *heap, uint64_t sequence,
                      enum bench_verdict *out_verdict)
{
    if (is_seen(ledger, sequence)) {
        *out_verdict = judge_again(ledger, sequence);
        return 0;
    }
    int status = make_room(ledger, heap, sequence);
    if (status < 0)
        return status;
    ledger->seen[sequence / WORD_BITS] |= 1ULL << (sequence % WORD_BITS);
    ledger->received++;
    *out_verdict = sequence < ledger->next ? BENCH_LATE : BENCH_FIRST;
    ledger->next = ps_max_u64(ledger->next, sequence + 1);
    return 0;
}

/* From the oldest, 0, on. */
static const struct bench_mark *mark_at(const struct bench_ledger *ledger, uint32_t index)
{
    return &ledger->marks[(ledger->mark_first + index) % BENCH_LEDGER_MARKS];
}

static void add_mark(struct bench_ledger *ledger, uint64_t now_ns)
{
    if (ledger->mark_count == BENCH_LEDGER_MARKS) {
        ledger->mark_first = (ledger->mark_first + 1) % BENCH_LEDGER_MARKS;
        ledger->mark_count--;
    }
    uint32_t at = (ledger->mark_first + ledger->mark_count) % BENCH_LEDGER_MARKS;
    ledger->marks[at] = (struct bench_mark){.time_ns = now_ns, .next = ledger->next};
    ledger->mark_count++;
}

void bench_ledger_age(struct bench_ledger *ledger, uint64_t now_ns, uint64_t age_ns)
{
    if (ledger->end_ns != 0)
        ledger->mark_count = 0;
    ledger->end_ns = 0;
    for (uint32_t i = 0; i < ledger->mark_count; i++) {
        const struct bench_mark *mark = mark_at(ledger, i);
        if (now_ns - mark->time_ns < age_ns)
            break;
        ledger->old_below = ps_max_u64(ledger->old_below, mark->next);
    }
    uint64_t step_ns = age_ns / BENCH_LEDGER_MARKS_PER_AGE;
    if (ledger->mark_count == 0 ||
        now_ns - mark_at(ledger, ledger->mark_count - 1)->time_ns >= step_ns)
        add_mark(ledger, now_ns);
}

void bench_ledger_disconnect(struct bench_ledger *ledger, uint64_t now_ns)
{
    /* One that never came up has added nothing, and leaves the marks of the one before. */
    if (ledger->end_ns == 0)
        ledger->end_ns = now_ns;
}

uint64_t bench_ledger_outlived_ns(const struct bench_ledger *ledger, uint64_t sequence)
{
    for (uint32_t i = 0; i < ledger->mark_count && ledger->end_ns != 0; i++) {
        const struct bench_mark *mark = mark_at(ledger, i);
        if (sequence < mark->next)
            return ledger->end_ns - mark->time_ns;
    }
    return 0;
}

uint64_t bench_ledger_missing(const struct bench_ledger *ledger, uint64_t count)
{
    uint64_t missing = 0;
    for (uint64_t sequence = 0; sequence < count; sequence++)
        missing += !is_seen(ledger, sequence);
    return missing;
}

void bench_ledger_release(struct bench_ledger *ledger, struct heap *heap)
{
    heap_free(heap, ledger->seen);
    *ledger = (struct bench_ledger){0};
}
