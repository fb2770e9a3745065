/*
 * Growing text keeps what was appended, and its failures.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/heap.h"
#include "core/text.h"

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct text text;
};

static void set_up(struct fixture *fixture, size_t bytes_max)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    text_init(&fixture->text, &fixture->heap, bytes_max);
}

static void tear_down(struct fixture *fixture)
{
    text_deinit(&fixture->text);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
}

static void appends_grow_the_text(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 100000);
    assert_string_equal(text_string(&fixture.text), "");
    for (int i = 0; i < 1000; i++) {
        text_append(&fixture.text, "%03d,", i);
        text_append_bytes(&fixture.text, ";;", 2);
    }
    assert_int_equal(fixture.text.error, 0);
    assert_int_equal(fixture.text.count, 6000);
    assert_memory_equal(text_string(&fixture.text) + 5994, "999,;;", 7);
    tear_down(&fixture);
}

static void beyond_the_limit_nothing_is_appended_any_more(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 8);
    text_append(&fixture.text, "%s", "12345678");
    assert_int_equal(fixture.text.error, 0);
    text_append(&fixture.text, "%s", "9");
    assert_int_equal(fixture.text.error, -EFBIG);
    text_append(&fixture.text, "%s", "");
    assert_string_equal(text_string(&fixture.text), "12345678");
    text_clear(&fixture.text);
    text_append_bytes(&fixture.text, "ab", 2);
    assert_int_equal(fixture.text.error, 0);
    assert_string_equal(text_string(&fixture.text), "ab");
    tear_down(&fixture);
}

static void missing_memory_is_remembered(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 100000);
    text_append(&fixture.text, "kept");
    fixture.heap.fail_at = fixture.heap.allocations + 1;
    text_append(&fixture.text, "%4000d", 1);
    assert_int_equal(fixture.text.error, -ENOMEM);
    text_append(&fixture.text, "more");
    assert_string_equal(text_string(&fixture.text), "kept");
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appends_grow_the_text),
        cmocka_unit_test(beyond_the_limit_nothing_is_appended_any_more),
        cmocka_unit_test(missing_memory_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
