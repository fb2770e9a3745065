/*
 * Buffers are reused last in, first out, by size, and the cache keeps its bound.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/base.h"
#include "core/buffer.h"
#include "core/heap.h"
#include "core/random.h"

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct buffer_cache cache;
};

static void set_up(struct fixture *fixture, size_t cached_bytes_max)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    buffer_cache_init(&fixture->cache, &fixture->heap, cached_bytes_max);
}

static void tear_down(struct fixture *fixture)
{
    buffer_cache_deinit(&fixture->cache);
    assert_int_equal(heap_bytes_net(&fixture->heap), 0);
    heap_deinit(&fixture->heap);
}

static void sizes_are_powers_of_two_and_then_pages(void **state)
{
    (void)state;
    static const struct {
        size_t asked;
        size_t given;
    } cases[] = {
        {0, 512},       {1, 512},       {512, 512},         {513, 1024},
        {1024, 1024},   {1025, 2048},   {32768, 32768},     {32769, 65536},
        {65536, 65536}, {65537, 69632}, {1 << 20, 1 << 20}, {(1 << 20) + 1, (1 << 20) + 4096},
    };
    struct fixture fixture;
    set_up(&fixture, 1 << 20);
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        size_t bytes = 0;
        unsigned char *buffer = buffer_acquire(&fixture.cache, cases[i].asked, &bytes);
        assert_non_null(buffer);
        assert_int_equal(bytes, cases[i].given);
        assert_int_equal((uintptr_t)buffer % 16, 0);
        assert_int_equal(fixture.cache.acquired_bytes, bytes);
        memset(buffer, 1, bytes);
        buffer_release(&fixture.cache, buffer, bytes);
    }
    size_t volatile absurd = SIZE_MAX;
    size_t bytes = 1;
    assert_null(buffer_acquire(&fixture.cache, absurd, &bytes));
    assert_int_equal(bytes, 1);
    tear_down(&fixture);
}

static void the_last_released_is_acquired_first(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1 << 20);
    size_t bytes;
    void *first = buffer_acquire(&fixture.cache, 1000, &bytes);
    void *second = buffer_acquire(&fixture.cache, 1000, &bytes);
    buffer_release(&fixture.cache, second, bytes);
    buffer_release(&fixture.cache, first, bytes);
    assert_int_equal(fixture.cache.cached_bytes, 2048);
    assert_ptr_equal(buffer_acquire(&fixture.cache, 600, &bytes), first);
    assert_ptr_equal(buffer_acquire(&fixture.cache, 1024, &bytes), second);
    assert_int_equal(fixture.cache.cached_bytes, 0);
    assert_int_equal(fixture.cache.hits, 2);
    assert_int_equal(fixture.cache.misses, 2);
    buffer_release(&fixture.cache, first, bytes);
    buffer_release(&fixture.cache, second, bytes);
    tear_down(&fixture);
}

static void beyond_its_bound_the_cache_keeps_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1024);
    size_t bytes;
    void *buffers[3];
    for (int i = 0; i < 3; i++)
        buffers[i] = buffer_acquire(&fixture.cache, 512, &bytes);
    for (int i = 0; i < 3; i++)
        buffer_release(&fixture.cache, buffers[i], bytes);
    assert_int_equal(fixture.cache.cached_bytes, 1024);
    assert_true(heap_bytes_net(&fixture.heap) < 3 * 512);
    void *large = buffer_acquire(&fixture.cache, 70000, &bytes);
    buffer_release(&fixture.cache, large, bytes);
    assert_int_equal(fixture.cache.cached_bytes, 1024);
    tear_down(&fixture);
}

static void without_memory_there_is_no_buffer(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1 << 20);
    size_t bytes = 7;
    heap_fail_at(&fixture.heap, 1);
    assert_null(buffer_acquire(&fixture.cache, 100, &bytes));
    assert_int_equal(bytes, 7);
    assert_int_equal(fixture.cache.acquired_bytes, 0);
    void *buffer = buffer_acquire(&fixture.cache, 100, &bytes);
    assert_non_null(buffer);
    buffer_release(&fixture.cache, buffer, bytes);
    /* What is cached needs no memory. */
    heap_fail_at(&fixture.heap, 1);
    buffer = buffer_acquire(&fixture.cache, 100, &bytes);
    assert_non_null(buffer);
    buffer_release(&fixture.cache, buffer, bytes);
    tear_down(&fixture);
}

/* No two users ever hold the same bytes, whatever the order of their coming and going. */
static void buffers_never_overlap(void **state)
{
    (void)state;
    enum { SLOTS = 64, STEPS = 5000 };
    struct fixture fixture;
    set_up(&fixture, 100000);
    struct random random;
    random_init(&random, 5);
    struct {
        unsigned char *buffer;
        size_t bytes;
    } slots[SLOTS] = {0};
    for (int step = 0; step < STEPS; step++) {
        size_t i = random_below(&random, SLOTS);
        if (slots[i].buffer == NULL) {
            size_t asked = 1ULL << random_below(&random, 18);
            slots[i].buffer = buffer_acquire(&fixture.cache, asked, &slots[i].bytes);
            memset(slots[i].buffer, (int)i + 1, slots[i].bytes);
        } else {
            for (size_t at = 0; at < slots[i].bytes; at += 37)
                assert_int_equal(slots[i].buffer[at], i + 1);
            buffer_release(&fixture.cache, slots[i].buffer, slots[i].bytes);
            slots[i].buffer = NULL;
        }
        assert_true(fixture.cache.cached_bytes <= fixture.cache.cached_bytes_max);
    }
    for (size_t i = 0; i < SLOTS; i++) {
        if (slots[i].buffer != NULL)
            buffer_release(&fixture.cache, slots[i].buffer, slots[i].bytes);
    }
    tear_down(&fixture);
}

static void a_cached_buffer_is_poisoned(void **state)
{
    (void)state;
    if (!PS_ADDRESS_SANITIZER)
        skip();
    struct fixture fixture;
    set_up(&fixture, 1 << 20);
    size_t bytes;
    unsigned char *volatile buffer = buffer_acquire(&fixture.cache, 512, &bytes);
    buffer_release(&fixture.cache, buffer, bytes);
    pid_t child = fork();
    if (child == 0) {
        close(STDERR_FILENO);
        buffer[100] = 1;
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_powers_of_two_and_then_pages),
        cmocka_unit_test(the_last_released_is_acquired_first),
        cmocka_unit_test(beyond_its_bound_the_cache_keeps_nothing),
        cmocka_unit_test(without_memory_there_is_no_buffer),
        cmocka_unit_test(buffers_never_overlap),
        cmocka_unit_test(a_cached_buffer_is_poisoned),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
