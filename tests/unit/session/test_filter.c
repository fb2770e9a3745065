/*
 * Interned filters: one per text, what is refused, and that a failed acquire leaves nothing behind.
 */
#include "support/topic_index_fixture.h"

static int acquire(struct topic_index_fixture *fixture, const char *text,
                   struct filter **out_filter)
{
    return filter_acquire(&fixture->index, text, (uint32_t)strlen(text), out_filter);
}

static void one_filter_per_text(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *first = NULL;
    struct filter *second = NULL;
    struct filter *other = NULL;
    assert_int_equal(acquire(&fixture, "a/+/c", &first), 0);
    assert_int_equal(acquire(&fixture, "a/+/c", &second), 0);
    assert_int_equal(acquire(&fixture, "a/+/C", &other), 0);
    assert_ptr_equal(first, second);
    assert_ptr_not_equal(first, other);
    assert_int_equal(first->references, 2);
    assert_int_equal(first->bytes, 5);
    assert_memory_equal(first->text, "a/+/c", 5);
    filter_release(&fixture.index, second);
    assert_ptr_equal(filter_find(&fixture.index, "a/+/c", 5), first);
    filter_retain(first);
    filter_release(&fixture.index, first);
    assert_ptr_equal(filter_find(&fixture.index, "a/+/c", 5), first);
    filter_release(&fixture.index, first);
    assert_null(filter_find(&fixture.index, "a/+/c", 5));
    filter_release(&fixture.index, other);
    fixture_stop(&fixture);
}

static void levels_and_wildcards_are_counted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t level_count;
        uint8_t literal_levels;
        bool is_pattern;
    } cases[] = {
        {"a", 1, 1, false},    {"a/b", 2, 2, false},
        {"/", 2, 2, false},    {"a//b", 3, 3, false},
        {"#", 1, 0, true},     {"+", 1, 0, true},
        {"a/#", 2, 1, true},   {"/+", 2, 1, true},
        {"a/+/b", 3, 1, true}, {"a/b/c/d/+/e/#", 7, 4, true},
        {"+/a", 2, 0, true},
    };
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        struct filter *filter = NULL;
        assert_int_equal(acquire(&fixture, cases[i].text, &filter), 0);
        assert_int_equal(filter->level_count, cases[i].level_count);
        assert_int_equal(filter->literal_levels, cases[i].literal_levels);
        assert_int_equal(filter->is_pattern, cases[i].is_pattern);
        assert_false(filter->is_active);
        filter_release(&fixture.index, filter);
    }
    fixture_stop(&fixture);
}

/* [MQTT-4.7.1-2] [MQTT-4.7.1-3] [MQTT-4.7.3-1] */
static void misplaced_wildcards_and_bad_lengths_are_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {"",   "a#",     "#a", "a/#/b", "#/a", "a/b#", "+a",
                                        "a+", "a/+b/c", "++", "##",    "+#",  "a/b+"};
    static char too_long[UINT16_MAX + 1];
    memset(too_long, 'x', sizeof too_long);
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *filter = NULL;
    for (size_t i = 0; i < ps_array_count(cases); i++)
        assert_int_equal(acquire(&fixture, cases[i], &filter), -EINVAL);
    assert_int_equal(filter_acquire(&fixture.index, too_long, sizeof too_long, &filter), -EINVAL);
    assert_int_equal(filter_acquire(&fixture.index, too_long, UINT16_MAX, &filter), 0);
    filter_release(&fixture.index, filter);
    fixture_stop(&fixture);
}

static void filters_beyond_the_maximum_are_refused_and_counted(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    fixture.index.options.filters_max = 1;
    struct filter *filter = NULL;
    struct filter *again = NULL;
    assert_int_equal(acquire(&fixture, "a", &filter), 0);
    assert_int_equal(acquire(&fixture, "b/#", &again), -ENOSPC);
    assert_int_equal(fixture.index.counters.filters_refused, 1);
    assert_int_equal(acquire(&fixture, "a", &again), 0);
    filter_release(&fixture.index, again);
    filter_release(&fixture.index, filter);
    assert_int_equal(acquire(&fixture, "b/#", &filter), 0);
    filter_release(&fixture.index, filter);
    fixture_stop(&fixture);
}

static bool count_visit(void *context, struct filter *filter)
{
    uint32_t *left = context;
    assert_non_null(filter);
    return --*left > 0;
}

static void iteration_visits_all_and_can_stop(void **state)
{
    (void)state;
    static const char *const texts[] = {"a", "b/+", "c/#", "d"};
    struct filter *filters[ps_array_count(texts)];
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    for (size_t i = 0; i < ps_array_count(texts); i++)
        assert_int_equal(acquire(&fixture, texts[i], &filters[i]), 0);
    uint32_t left = 100;
    filter_iterate(&fixture.index, count_visit, &left);
    assert_int_equal(left, 100 - ps_array_count(texts));
    left = 2;
    filter_iterate(&fixture.index, count_visit, &left);
    assert_int_equal(left, 0);
    for (size_t i = 0; i < ps_array_count(texts); i++)
        filter_release(&fixture.index, filters[i]);
    fixture_stop(&fixture);
}

static void an_acquire_without_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    static const char *const texts[] = {"a/b/c/d", "x/+/y/z/#", "x/+/y", "#", "x/+/y/w/+"};
    uint32_t failures = 0;
    for (uint64_t fail_at = 1;; fail_at++) {
        struct topic_index_fixture fixture;
        if (fixture_try_start(&fixture, 10, fail_at) < 0) {
            assert_int_equal(fixture.heap.bytes_net, 0);
            failures++;
            continue;
        }
        struct filter *filters[ps_array_count(texts)] = {NULL};
        for (size_t i = 0; i < ps_array_count(texts); i++) {
            uint64_t nodes = fixture.index.trie.node_count;
            int result = acquire(&fixture, texts[i], &filters[i]);
            if (result == 0)
                continue;
            assert_int_equal(result, -ENOMEM);
            assert_int_equal(fixture.index.trie.node_count, nodes);
            assert_null(filter_find(&fixture.index, texts[i], (uint32_t)strlen(texts[i])));
            assert_int_equal(acquire(&fixture, texts[i], &filters[i]), 0);
        }
        bool is_clean = fixture.heap.failures == 0;
        for (size_t i = 0; i < ps_array_count(texts); i++)
            filter_release(&fixture.index, filters[i]);
        fixture_stop(&fixture);
        if (is_clean)
            break;
        failures++;
    }
    assert_true(failures > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_filter_per_text),
        cmocka_unit_test(levels_and_wildcards_are_counted),
        cmocka_unit_test(misplaced_wildcards_and_bad_lengths_are_refused),
        cmocka_unit_test(filters_beyond_the_maximum_are_refused_and_counted),
        cmocka_unit_test(iteration_visits_all_and_can_stop),
        cmocka_unit_test(an_acquire_without_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
