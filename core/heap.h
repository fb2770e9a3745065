/*
 * Memory of a shard: a heap per thread under one byte budget for the whole gateway. Stands on
 * mimalloc; in sanitizer builds on malloc, since mimalloc hides a use after free. Nothing else in
 * the house allocates.
 *
 * Thread: a heap is used by one thread at a time. Memory may be freed into the heap of another
 * thread than it came from; then one heap's count falls below zero and the other's stays high, and
 * only their sum says what is in use.
 */
#ifndef PENSTOCK_CORE_HEAP_H
#define PENSTOCK_CORE_HEAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Shared by the heaps of a gateway; outlives them. */
struct heap_budget {
    _Atomic int64_t bytes_used; /* allocated, over all heaps, within HEAP_SLACK_BYTES per heap */
    int64_t bytes_max;          /* 0: unlimited; set before the first heap_init */
};

/* A heap settles its own count with the budget in steps of this many bytes, so that the budget is
 * kept within this much per heap and the hot path touches no shared cache line. */
enum { HEAP_SLACK_BYTES = 65536 };

/* No single allocation is larger. */
#define HEAP_ALLOC_BYTES_MAX (1ULL << 40)

enum { HEAP_ALIGNMENT_MAX = 1 << 20 };

struct heap {
    struct heap_budget *budget;
    int64_t bytes_unsettled; /* allocated minus freed since the last settlement; its thread only */
    _Atomic int64_t bytes_net; /* allocated minus freed by this heap; any thread may read */
    uint64_t failures;         /* allocations refused, for want of budget, memory, or injected */
    uint64_t fail_at;          /* test only: the allocation with this number fails; 0: none */
    uint64_t allocations;      /* asked for, whether granted or not */
};

void heap_init(struct heap *heap, struct heap_budget *budget);

/* Settles the rest with the budget. Memory that is still allocated stays valid. */
void heap_deinit(struct heap *heap);

/* At least `bytes` (> 0), aligned to 16 (to 8 when bytes <= 8); NULL when the budget is spent, the
 * system has no more, or a failure was injected. */
void *heap_alloc(struct heap *heap, size_t bytes);
void *heap_zalloc(struct heap *heap, size_t bytes);

/* Like heap_alloc, aligned to `alignment`, a power of two from 8 to HEAP_ALIGNMENT_MAX. heap_free
 * it as any other; not for heap_realloc, which would lose the alignment. */
void *heap_alloc_aligned(struct heap *heap, size_t alignment, size_t bytes);

/* Like realloc; NULL memory allocates. On NULL the old memory is untouched. Only what it grows by
 * counts against the budget: shrinking is never refused for want of budget. */
void *heap_realloc(struct heap *heap, void *memory, size_t bytes);

/* NULL is allowed. Of any heap of the same budget. */
void heap_free(struct heap *heap, void *memory);

/* Test only: the `number`-th allocation from here on fails (1: the next); 0: none. */
void heap_fail_at(struct heap *heap, uint64_t number);

/* Allocated minus freed by this heap; any thread. Exact in the sum over all heaps when they rest.
 */
int64_t heap_bytes_net(const struct heap *heap);

/* Bytes in use over all heaps of the budget, within the slack; any thread. */
int64_t heap_budget_bytes_used(const struct heap_budget *budget);

#endif
