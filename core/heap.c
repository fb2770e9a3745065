/*
 * Heaps under a common byte budget; see heap.h. What is counted is what the allocator gave, its
 * rounding included. The only file that includes mimalloc.
 */
#include "core/heap.h"

#include <malloc.h>
#include <mimalloc.h>
#include <stdlib.h>

#include "core/base.h"

/* PS_SANITIZER is a constant, so the branch that is not taken is not compiled in. */
static inline void *allocator_alloc(size_t bytes)
{
    return PS_SANITIZER ? malloc(bytes) : mi_malloc(bytes);
}

static inline void allocator_free(void *memory)
{
    if (PS_SANITIZER)
        free(memory);
    else
        mi_free(memory);
}

static inline void *allocator_alloc_aligned(size_t alignment, size_t bytes)
{
    size_t whole_bytes = (bytes + alignment - 1) & ~(alignment - 1);
    if (PS_SANITIZER)
        return aligned_alloc(alignment, whole_bytes);
    /* Blocks of mimalloc's classes mostly lie on multiples of their size's own power of two; asked
     * for an alignment above 16 it would take a bigger block all the same. */
    void *memory = mi_malloc(whole_bytes);
    if (ps_likely((uintptr_t)memory % alignment == 0))
        return memory;
    mi_free(memory);
    return mi_malloc_aligned(bytes, alignment);
}

static inline void *allocator_realloc(void *memory, size_t bytes)
{
    return PS_SANITIZER ? realloc(memory, bytes) : mi_realloc(memory, bytes);
}

static inline size_t allocator_bytes(void *memory)
{
    return PS_SANITIZER ? malloc_usable_size(memory) : mi_usable_size(memory);
}

void heap_init(struct heap *heap, struct heap_budget *budget)
{
    *heap = (struct heap){.budget = budget};
}

static void settle(struct heap *heap)
{
    atomic_fetch_add_explicit(&heap->budget->bytes_used, heap->bytes_unsettled,
                              memory_order_relaxed);
    heap->bytes_unsettled = 0;
}

void heap_deinit(struct heap *heap)
{
    settle(heap);
}

static void account(struct heap *heap, int64_t bytes)
{
    heap->bytes_unsettled += bytes;
    int64_t net = atomic_load_explicit(&heap->bytes_net, memory_order_relaxed) + bytes;
    atomic_store_explicit(&heap->bytes_net, net, memory_order_relaxed);
    if (ps_unlikely(heap->bytes_unsettled > HEAP_SLACK_BYTES ||
                    heap->bytes_unsettled < -HEAP_SLACK_BYTES))
        settle(heap);
}

/* True when memory may grow by `growth_bytes`; counts the attempt and its failure. */
static bool is_allowed(struct heap *heap, size_t bytes, int64_t growth_bytes)
{
    heap->allocations++;
    if (ps_unlikely(heap->allocations == heap->fail_at || bytes > HEAP_ALLOC_BYTES_MAX))
        goto refused;
    const struct heap_budget *budget = heap->budget;
    if (budget->bytes_max == 0 || growth_bytes <= 0)
        return true;
    int64_t used = atomic_load_explicit(&budget->bytes_used, memory_order_relaxed);
    if (ps_likely(used + heap->bytes_unsettled + growth_bytes <= budget->bytes_max))
        return true;
refused:
    heap->failures++;
    return false;
}

/* Accounts for what the allocator gave, or for its failure. */
static void *take(struct heap *heap, void *memory, int64_t bytes_before)
{
    if (ps_unlikely(memory == NULL))
        heap->failures++;
    else
        account(heap, (int64_t)allocator_bytes(memory) - bytes_before);
    return memory;
}

void *heap_alloc(struct heap *heap, size_t bytes)
{
    ps_assert(bytes > 0);
    if (!is_allowed(heap, bytes, (int64_t)bytes))
        return NULL;
    return take(heap, allocator_alloc(bytes), 0);
}

void *heap_zalloc(struct heap *heap, size_t bytes)
{
    void *memory = heap_alloc(heap, bytes);
    if (memory != NULL)
        memset(memory, 0, bytes);
    return memory;
}

void *heap_alloc_aligned(struct heap *heap, size_t alignment, size_t bytes)
{
    ps_assert(bytes > 0);
    ps_assert(alignment >= sizeof(void *) && (alignment & (alignment - 1)) == 0);
    ps_assert(alignment <= HEAP_ALIGNMENT_MAX);
    if (!is_allowed(heap, bytes, (int64_t)bytes))
        return NULL;
    return take(heap, allocator_alloc_aligned(alignment, bytes), 0);
}

void *heap_realloc(struct heap *heap, void *memory, size_t bytes)
{
    ps_assert(bytes > 0);
    int64_t before = memory == NULL ? 0 : (int64_t)allocator_bytes(memory);
    if (!is_allowed(heap, bytes, (int64_t)bytes - before))
        return NULL;
    return take(heap, allocator_realloc(memory, bytes), before);
}

void heap_free(struct heap *heap, void *memory)
{
    if (memory == NULL)
        return;
    account(heap, -(int64_t)allocator_bytes(memory));
    allocator_free(memory);
}

void heap_fail_at(struct heap *heap, uint64_t number)
{
    heap->fail_at = number == 0 ? 0 : heap->allocations + number;
}

int64_t heap_bytes_net(const struct heap *heap)
{
    return atomic_load_explicit(&heap->bytes_net, memory_order_relaxed);
}

int64_t heap_budget_bytes_used(const struct heap_budget *budget)
{
    return atomic_load_explicit(&budget->bytes_used, memory_order_relaxed);
}
