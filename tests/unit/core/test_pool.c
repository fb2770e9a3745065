/*
 * Pools: handles go stale, limits hold, memory is given back. That freed objects are poisoned is
 * proved by test_pool_poison.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/pool.h"

enum { OBJECT_BYTES = 40, COUNT = POOL_SEGMENT_OBJECTS * 3 + 5 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct pool pool;
    struct pool_handle handles[COUNT];
};

static struct fixture fixture;

static int set_up(void **state)
{
    fixture = (struct fixture){0};
    heap_init(&fixture.heap, &fixture.budget);
    pool_init(&fixture.pool, &fixture.heap, OBJECT_BYTES, COUNT);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pool_deinit(&f->pool);
    assert_int_equal(heap_bytes_net(&f->heap), 0);
    heap_deinit(&f->heap);
    return 0;
}

static void objects_are_zeroed_apart_and_stay_where_they_are(void **state)
{
    struct fixture *f = *state;
    static unsigned char *objects[COUNT];
    for (uint32_t round = 0; round < 2; round++) { /* the second time they were used before */
        for (uint32_t i = 0; i < COUNT; i++) {
            objects[i] = pool_acquire(&f->pool, &f->handles[i]);
            assert_non_null(objects[i]);
            assert_int_equal((uintptr_t)objects[i] % 16, 0);
            for (uint32_t byte = 0; byte < OBJECT_BYTES; byte++)
                assert_int_equal(objects[i][byte], 0);
            memset(objects[i], (int)(i % 255) + 1, OBJECT_BYTES);
        }
        for (uint32_t i = 0; i < COUNT; i++) {
            assert_ptr_equal(pool_get(&f->pool, f->handles[i]), objects[i]);
            assert_ptr_equal(pool_at(&f->pool, f->handles[i].index), objects[i]);
            assert_int_equal(objects[i][0], i % 255 + 1);
            assert_int_equal(objects[i][OBJECT_BYTES - 1], i % 255 + 1);
        }
        for (uint32_t i = 0; i < COUNT; i++)
            pool_release(&f->pool, f->handles[i].index);
        assert_int_equal(f->pool.count, 0);
    }
}

static void a_handle_is_stale_after_the_release(void **state)
{
    struct fixture *f = *state;
    struct pool_handle before = {0};
    assert_null(pool_get(&f->pool, before)); /* nothing was acquired yet */
    for (uint32_t i = 0; i < 100; i++) {
        struct pool_handle handle;
        void *object = pool_acquire(&f->pool, &handle);
        assert_int_not_equal(handle.generation, 0);
        assert_int_equal(pool_generation(&f->pool, handle.index), handle.generation);
        if (i > 0) {
            assert_int_equal(handle.index, before.index); /* the same place, another object */
            assert_int_not_equal(handle.generation, before.generation);
            assert_null(pool_get(&f->pool, before));
        }
        assert_ptr_equal(pool_get(&f->pool, handle), object);
        pool_release(&f->pool, handle.index);
        assert_null(pool_get(&f->pool, handle));
        before = handle;
    }
}

static void a_handle_that_was_never_given_finds_nothing(void **state)
{
    struct fixture *f = *state;
    struct pool_handle handle;
    pool_acquire(&f->pool, &handle);
    const struct pool_handle wrong[] = {
        {handle.index, handle.generation + 1},
        {handle.index, handle.generation + 2},
        {handle.index, 0},
        {handle.index + 1, handle.generation},
        {COUNT * 10, handle.generation},
        {UINT32_MAX, 1},
    };
    for (size_t i = 0; i < ps_array_count(wrong); i++)
        assert_null(pool_get(&f->pool, wrong[i]));
    pool_release(&f->pool, handle.index);
}

static void the_limit_refuses_and_a_release_makes_room(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < COUNT; i++)
        assert_non_null(pool_acquire(&f->pool, &f->handles[i]));
    struct pool_handle handle = {.index = 77};
    assert_null(pool_acquire(&f->pool, &handle));
    assert_int_equal(handle.index, 77);
    assert_int_equal(f->pool.count, COUNT);
    pool_release(&f->pool, f->handles[10].index);
    assert_non_null(pool_acquire(&f->pool, &f->handles[10]));
    for (uint32_t i = 0; i < COUNT; i++)
        pool_release(&f->pool, f->handles[i].index);
}

static void a_pool_without_memory_refuses_and_goes_on_later(void **state)
{
    struct fixture *f = *state;
    struct pool_handle handle;
    for (uint64_t failing = 1; failing <= 2; failing++) { /* the array of segments, a segment */
        heap_fail_at(&f->heap, failing);
        assert_null(pool_acquire(&f->pool, &handle));
        assert_int_equal(f->pool.count, 0);
    }
    heap_fail_at(&f->heap, 0);
    assert_non_null(pool_acquire(&f->pool, &handle));
    pool_release(&f->pool, handle.index);
}

#define pool_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(objects_are_zeroed_apart_and_stay_where_they_are),
        pool_test(a_handle_is_stale_after_the_release),
        pool_test(a_handle_that_was_never_given_finds_nothing),
        pool_test(the_limit_refuses_and_a_release_makes_room),
        pool_test(a_pool_without_memory_refuses_and_goes_on_later),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
