/*
 * Heaps keep the common budget, count exactly, and fail where they are told to.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/random.h"

static void memory_is_aligned_and_zeroed_as_promised(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    for (size_t bytes = 1; bytes <= 300; bytes++) {
        unsigned char *memory = heap_zalloc(&heap, bytes);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % (bytes <= 8 ? 8 : 16), 0);
        for (size_t i = 0; i < bytes; i++)
            assert_int_equal(memory[i], 0);
        memset(memory, 0xff, bytes); /* so that the next one is not zero by chance */
        heap_free(&heap, memory);
    }
    for (size_t alignment = 8; alignment <= HEAP_ALIGNMENT_MAX; alignment *= 2) {
        void *memory = heap_alloc_aligned(&heap, alignment, 100);
        assert_non_null(memory);
        assert_int_equal((uintptr_t)memory % alignment, 0);
        memset(memory, 1, 100);
        heap_free(&heap, memory);
    }
    assert_int_equal(heap_bytes_net(&heap), 0);
    heap_deinit(&heap);
    assert_int_equal(heap_budget_bytes_used(&budget), 0);
}

/* With one heap the budget is exact, since a heap knows its own unsettled bytes. */
static void a_spent_budget_refuses_and_a_free_makes_room(void **state)
{
    (void)state;
    enum { BUDGET = 1 << 20, PIECE = 4096 };
    struct heap_budget budget = {.bytes_max = BUDGET};
    struct heap heap;
    heap_init(&heap, &budget);
    void *pieces[BUDGET / PIECE + 1];
    uint32_t count = 0;
    while ((pieces[count] = heap_alloc(&heap, PIECE)) != NULL)
        count++;
    assert_int_equal(count, BUDGET / PIECE);
    assert_int_equal(heap.failures, 1);
    assert_int_equal(heap_bytes_net(&heap), BUDGET);
    assert_null(heap_alloc_aligned(&heap, 64, PIECE));
    assert_null(heap_zalloc(&heap, 1));
    heap_free(&heap, pieces[--count]);
    pieces[count] = heap_alloc(&heap, PIECE);
    assert_non_null(pieces[count]);
    for (uint32_t i = 0; i <= count; i++)
        heap_free(&heap, pieces[i]);
    heap_free(&heap, NULL);
    heap_deinit(&heap);
    assert_int_equal(heap_budget_bytes_used(&budget), 0);
}

static void a_full_budget_lets_memory_shrink_but_not_grow(void **state)
{
    (void)state;
    struct heap_budget budget = {.bytes_max = 1 << 20};
    struct heap heap;
    heap_init(&heap, &budget);
    unsigned char *memory = heap_realloc(&heap, NULL, 1 << 20);
    assert_non_null(memory);
    memory[0] = 7;
    assert_null(heap_realloc(&heap, memory, (1 << 20) + 65536));
    assert_int_equal(memory[0], 7);
    unsigned char *shrunk = heap_realloc(&heap, memory, 1 << 18);
    assert_non_null(shrunk);
    assert_int_equal(shrunk[0], 7);
    assert_in_range(heap_bytes_net(&heap), 1 << 18, (1 << 20) - 1);
    heap_free(&heap, shrunk);
    assert_int_equal(heap_bytes_net(&heap), 0);
    heap_deinit(&heap);
}

static void absurd_sizes_are_refused(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    size_t volatile absurd = SIZE_MAX; /* hidden from the compiler's own check */
    assert_null(heap_alloc(&heap, absurd));
    assert_null(heap_alloc(&heap, absurd / 2 + 1));
    assert_null(heap_alloc_aligned(&heap, 4096, absurd));
    assert_null(heap_realloc(&heap, NULL, absurd));
    assert_int_equal(heap.failures, 4);
    heap_deinit(&heap);
}

static void the_nth_allocation_fails_once(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    heap_fail_at(&heap, 3);
    for (uint32_t number = 1; number <= 5; number++) {
        void *memory = number % 2 == 0 ? heap_alloc(&heap, 10) : heap_realloc(&heap, NULL, 10);
        assert_true((memory == NULL) == (number == 3));
        heap_free(&heap, memory);
    }
    heap_fail_at(&heap, 1);
    heap_fail_at(&heap, 0);
    void *memory = heap_alloc_aligned(&heap, 64, 10);
    assert_non_null(memory);
    heap_free(&heap, memory);
    assert_int_equal(heap.failures, 1);
    heap_deinit(&heap);
}

/* Random work within one budget: the count follows, and the budget holds at every step. */
static void the_count_is_zero_when_everything_is_freed(void **state)
{
    (void)state;
    enum { SLOTS = 200, STEPS = 20000, BUDGET = 2 << 20 };
    struct heap_budget budget = {.bytes_max = BUDGET};
    struct heap heap;
    heap_init(&heap, &budget);
    struct random random;
    random_init(&random, 1);
    void *slots[SLOTS] = {0};
    for (int step = 0; step < STEPS; step++) {
        void **slot = &slots[random_below(&random, SLOTS)];
        size_t bytes = random_between(&random, 1, 40000);
        if (random_chance(&random, 1, 3)) {
            heap_free(&heap, *slot);
            *slot = NULL;
        } else {
            void *moved = heap_realloc(&heap, *slot, bytes);
            *slot = moved == NULL ? *slot : moved;
        }
        /* The allocator rounds up after the budget was asked: at most an eighth of one piece. */
        assert_true(heap_bytes_net(&heap) <= BUDGET + 40000 / 4);
    }
    assert_true(heap.failures > 0);
    for (int i = 0; i < SLOTS; i++)
        heap_free(&heap, slots[i]);
    assert_int_equal(heap_bytes_net(&heap), 0);
    heap_deinit(&heap);
    assert_int_equal(heap_budget_bytes_used(&budget), 0);
}

enum { PASSED_COUNT = 2000, PASSED_BYTES = 300 };

struct giver {
    struct heap_budget *budget;
    void *passed[PASSED_COUNT];
    int64_t bytes_net;
};

static void *allocate_all(void *context)
{
    struct giver *giver = context;
    struct heap heap;
    heap_init(&heap, giver->budget);
    for (int i = 0; i < PASSED_COUNT; i++)
        giver->passed[i] = heap_alloc(&heap, PASSED_BYTES);
    giver->bytes_net = heap_bytes_net(&heap);
    heap_deinit(&heap);
    return NULL;
}

static void memory_may_be_freed_into_the_heap_of_another_thread(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    static struct giver giver;
    giver.budget = &budget;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, allocate_all, &giver), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(giver.bytes_net >= PASSED_COUNT * PASSED_BYTES);
    assert_int_equal(heap_budget_bytes_used(&budget), giver.bytes_net);
    for (int i = 0; i < PASSED_COUNT; i++)
        heap_free(&heap, giver.passed[i]);
    assert_int_equal(heap_bytes_net(&heap), -giver.bytes_net);
    heap_deinit(&heap);
    assert_int_equal(heap_budget_bytes_used(&budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_and_zeroed_as_promised),
        cmocka_unit_test(a_spent_budget_refuses_and_a_free_makes_room),
        cmocka_unit_test(a_full_budget_lets_memory_shrink_but_not_grow),
        cmocka_unit_test(absurd_sizes_are_refused),
        cmocka_unit_test(the_nth_allocation_fails_once),
        cmocka_unit_test(the_count_is_zero_when_everything_is_freed),
        cmocka_unit_test(memory_may_be_freed_into_the_heap_of_another_thread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
