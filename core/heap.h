/*
 * Memory of a shard: a heap per thread under one byte budget for the whole gateway. Stands on
 * mimalloc; in sanitizer builds on malloc, since mimalloc hides a use after free. Nothing else in
 * the house allocates.
 *
 * Thread: a heap is used by one thread. Memory may be freed into another thread's heap than it came
 * from.
 */
#ifndef PENSTOCK_CORE_HEAP_H
#define PENSTOCK_CORE_HEAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* Shared by the heaps of a gateway. */
struct heap_budget {
    _Atomic int64_t bytes_used; /* allocated, over all heaps, within HEAP_SLACK_BYTES per heap */
    int64_t bytes_max;          /* 0: unlimited */
};

/* A heap settles its own count with the budget in steps of this many bytes. */
enum { HEAP_SLACK_BYTES = 65536 };

struct heap {
    struct heap_budget *budget;
    int64_t bytes_unsettled; /* allocated minus freed since the last settlement; this thread only */
    _Atomic int64_t
        bytes_net;     /* allocated minus freed by this heap; exact in the sum over all heaps */
    uint64_t failures; /* allocations refused, for want of budget or injected */
    uint64_t fail_at;  /* test only: the allocation with this number fails; 0: none */
    uint64_t allocations;
};

void heap_init(struct heap *heap, struct heap_budget *budget);

/* Settles the rest with the budget. Memory that is still allocated stays valid. */
void heap_deinit(struct heap *heap);

/* At least `bytes` (> 0), aligned to 16; NULL when the budget is spent or the system has no more.
 */
void *heap_alloc(struct heap *heap, size_t bytes);
void *heap_zalloc(struct heap *heap, size_t bytes);

/* Like realloc; on NULL the old memory is untouched. */
void *heap_realloc(struct heap *heap, void *memory, size_t bytes);

/* NULL is allowed. */
void heap_free(struct heap *heap, void *memory);

/* Bytes in use over all heaps of the budget, within the slack; any thread. */
int64_t heap_budget_bytes_used(const struct heap_budget *budget);

#endif
