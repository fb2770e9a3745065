/*
 * The topic table: what makes an entry stale and what does not, eviction, and resolution without
 * memory.
 */
#include <stdio.h>

#include "support/topic_index_fixture.h"

static void an_entry_is_made_once_and_found_again(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *exact = fixture_subscribe(&fixture, "a/b");
    struct filter *pattern = fixture_subscribe(&fixture, "a/+");
    struct topic *topic = fixture_resolve(&fixture, "a/b");
    assert_true(topic->is_cached);
    assert_ptr_equal(topic->exact, exact);
    assert_int_equal(topic->pattern_count, 1);
    assert_ptr_equal(topic->patterns[0], pattern);
    assert_memory_equal(topic->text, "a/b", 3);
    topic->user = 7;
    assert_ptr_equal(fixture_resolve(&fixture, "a/b"), topic);
    assert_ptr_equal(topic_find(&fixture.index, "a/b", 3, topic->hash), topic);
    assert_int_equal(topic->user, 7);
    assert_int_equal(fixture.index.counters.topics_made, 1);
    assert_int_equal(fixture.index.counters.topics_reresolved, 0);
    fixture_unsubscribe(&fixture, exact);
    fixture_unsubscribe(&fixture, pattern);
    fixture_stop(&fixture);
}

static void a_topic_nobody_wants_has_an_empty_entry(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    const struct topic *topic = fixture_resolve(&fixture, "a/b");
    assert_null(topic->exact);
    assert_int_equal(topic->pattern_count, 0);
    fixture_stop(&fixture);
}

static void an_exact_filter_comes_and_goes_without_a_new_resolution(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct topic *topic = fixture_resolve(&fixture, "a/b");
    struct filter *other = fixture_subscribe(&fixture, "a/c");
    assert_null(fixture_resolve(&fixture, "a/b")->exact);
    struct filter *exact = NULL;
    assert_int_equal(filter_acquire(&fixture.index, "a/b", 3, &exact), 0);
    assert_null(fixture_resolve(&fixture, "a/b")->exact);
    topic_index_activate(&fixture.index, exact);
    assert_ptr_equal(fixture_resolve(&fixture, "a/b")->exact, exact);
    topic_index_deactivate(&fixture.index, exact);
    assert_null(fixture_resolve(&fixture, "a/b")->exact);
    topic_index_activate(&fixture.index, exact);
    assert_ptr_equal(fixture_resolve(&fixture, "a/b"), topic);
    assert_ptr_equal(topic->exact, exact);
    assert_int_equal(fixture.index.counters.topics_reresolved, 0);
    fixture_unsubscribe(&fixture, exact);
    fixture_unsubscribe(&fixture, other);
    fixture_stop(&fixture);
}

/* Entries of topics that share the pattern's literal prefix are resolved anew, others are not. */
static void a_pattern_makes_stale_what_shares_its_prefix(void **state)
{
    (void)state;
    static const struct {
        const char *pattern;
        const char *topic;
        bool is_stale;
    } cases[] = {
        {"#", "a/b/c/d", true},
        {"+/x", "a/b/c/d", true},
        {"a/#", "a/b/c/d", true},
        {"a/#", "a", true},
        {"a/+/x", "a/b/c/d", true},
        {"a/b/#", "a/b", true},
        {"a/b/#", "a/c", false},
        {"a/b/c/#", "a/b/c", true},
        {"a/b/c/#", "a/b", false},
        {"a/b/c/d/e/#", "a/b/c", true},
        {"a/b/x/#", "a/b/c", false},
        {"x/#", "a/b/c/d", false},
        {"a/b/c/#", "a/b/c/d/e", true},
        {"/+", "/x", true},
        {"/+", "x", false},
    };
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        struct topic_index_fixture fixture;
        fixture_start(&fixture, 10);
        (void)fixture_resolve(&fixture, cases[i].topic);
        struct filter *pattern = fixture_subscribe(&fixture, cases[i].pattern);
        (void)fixture_resolve(&fixture, cases[i].topic);
        (void)fixture_resolve(&fixture, cases[i].topic);
        if (fixture.index.counters.topics_reresolved != (cases[i].is_stale ? 1 : 0))
            fail_msg("%s %s", cases[i].pattern, cases[i].topic);
        fixture_unsubscribe(&fixture, pattern);
        (void)fixture_resolve(&fixture, cases[i].topic);
        assert_int_equal(fixture.index.counters.topics_reresolved, cases[i].is_stale ? 2 : 0);
        fixture_stop(&fixture);
    }
}

static void an_entry_resolved_anew_is_valid_again(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    (void)fixture_resolve(&fixture, "a/b");
    struct filter *related = fixture_subscribe(&fixture, "a/#");
    (void)fixture_resolve(&fixture, "a/b");
    assert_int_equal(fixture.index.counters.topics_reresolved, 1);
    struct filter *unrelated = fixture_subscribe(&fixture, "x/#");
    assert_int_equal(fixture_resolve(&fixture, "a/b")->pattern_count, 1);
    assert_int_equal(fixture.index.counters.topics_reresolved, 1);
    fixture_unsubscribe(&fixture, related);
    fixture_unsubscribe(&fixture, unrelated);
    fixture_stop(&fixture);
}

/* What a fleet does at start: every client brings "devices/<id>/#". The others' entries stay, but
 * for those that meet one of the 65,536 counters by chance: 3 of them x 500 changes x 200 topics,
 * so 4.6 are to be expected. */
static void a_storm_of_patterns_leaves_others_entries_valid(void **state)
{
    (void)state;
    enum { TOPICS = 200, PATTERNS = 500, BY_CHANCE_MAX = 15 };
    static struct filter *filters[PATTERNS];
    char text[32];
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 1000);
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(text, sizeof text, "devices/%u/state/on", i);
        (void)fixture_resolve(&fixture, text);
    }
    for (uint32_t i = 0; i < PATTERNS; i++) {
        (void)snprintf(text, sizeof text, "devices/%u/#", TOPICS - 1 + i);
        filters[i] = fixture_subscribe(&fixture, text);
    }
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(text, sizeof text, "devices/%u/state/on", i);
        assert_int_equal(fixture_resolve(&fixture, text)->pattern_count, i == TOPICS - 1 ? 1 : 0);
    }
    assert_in_range(fixture.index.counters.topics_reresolved, 1, BY_CHANCE_MAX);
    for (uint32_t i = 0; i < PATTERNS; i++)
        fixture_unsubscribe(&fixture, filters[i]);
    fixture_stop(&fixture);
}

static void patterns_grow_and_shrink_with_an_entry(void **state)
{
    (void)state;
    static const char *const texts[] = {"#",   "+/#",   "+/+",   "a/#",   "a/+",
                                        "+/b", "a/b/#", "+/b/#", "a/+/#", "+/+/#"};
    struct filter *filters[ps_array_count(texts)];
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    for (uint32_t i = 0; i < ps_array_count(texts); i++) {
        filters[i] = fixture_subscribe(&fixture, texts[i]);
        const struct topic *topic = fixture_resolve(&fixture, "a/b");
        assert_int_equal(topic->pattern_count, i + 1);
        for (uint32_t j = 0; j <= i; j++)
            assert_true(fixture_names(topic, filters[j]));
    }
    for (uint32_t i = 0; i < ps_array_count(texts); i++) {
        fixture_unsubscribe(&fixture, filters[i]);
        const struct topic *topic = fixture_resolve(&fixture, "a/b");
        assert_int_equal(topic->pattern_count, ps_array_count(texts) - 1 - i);
        for (uint32_t j = i + 1; j < ps_array_count(texts); j++)
            assert_true(fixture_names(topic, filters[j]));
    }
    assert_int_equal(fixture.index.counters.topics_made, 1);
    fixture_stop(&fixture);
}

static void topics_never_exceed_the_maximum_and_evictions_are_told(void **state)
{
    (void)state;
    enum { TOPICS_MAX = 8, TOPICS = 100 };
    struct topic_index_fixture fixture;
    fixture_start(&fixture, TOPICS_MAX);
    uint64_t user_sum = 0;
    char text[32];
    for (uint32_t i = 0; i < TOPICS; i++) {
        (void)snprintf(text, sizeof text, "t/%u", i);
        struct topic *topic = fixture_resolve(&fixture, text);
        assert_true(topic->is_cached);
        topic->user = i + 1;
        user_sum += i + 1;
        assert_true(fixture.index.topics.count <= TOPICS_MAX);
    }
    assert_int_equal(fixture.index.counters.topics_evicted, TOPICS - TOPICS_MAX);
    for (const struct topic *topic = fixture.index.clock_hand; user_sum > fixture.evicted_user_sum;
         topic = topic->clock_next)
        user_sum -= topic->user;
    assert_int_equal(user_sum, fixture.evicted_user_sum);
    fixture_stop(&fixture);
}

static void a_topic_in_use_outlives_topics_seen_once(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 4);
    struct topic *hot = fixture_resolve(&fixture, "hot");
    hot->user = 1000000;
    char text[32];
    for (uint32_t i = 0; i < 100; i++) {
        assert_ptr_equal(fixture_resolve(&fixture, "hot"), hot);
        (void)snprintf(text, sizeof text, "cold/%u", i);
        (void)fixture_resolve(&fixture, text);
    }
    assert_int_equal(hot->user, 1000000);
    assert_int_equal(fixture.evicted_user_sum, 0);
    fixture_stop(&fixture);
}

static void a_sweep_over_topics_all_in_use_is_cut_off(void **state)
{
    (void)state;
    enum { TOPICS_MAX = 200, SWEPT_MAX = 40 };
    struct topic_index_fixture fixture;
    fixture_start(&fixture, TOPICS_MAX);
    char text[32];
    for (uint32_t i = 0; i < TOPICS_MAX * 2; i++) {
        (void)snprintf(text, sizeof text, "t/%u", i % TOPICS_MAX);
        (void)fixture_resolve(&fixture, text);
    }
    (void)fixture_resolve(&fixture, "one more");
    assert_int_equal(fixture.index.counters.topics_evicted, 1);
    uint32_t referenced_count = 0;
    const struct topic *topic = fixture.index.clock_hand;
    for (uint32_t i = 0; i < TOPICS_MAX; i++, topic = topic->clock_next)
        referenced_count += topic->is_referenced ? 1 : 0;
    assert_in_range(referenced_count, TOPICS_MAX - SWEPT_MAX, TOPICS_MAX - 2);
    fixture_stop(&fixture);
}

static void an_evicted_topic_comes_back_complete(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 1);
    struct filter *exact = fixture_subscribe(&fixture, "a/b");
    struct filter *pattern = fixture_subscribe(&fixture, "+/b");
    for (uint32_t i = 0; i < 3; i++) {
        const struct topic *topic = fixture_resolve(&fixture, "a/b");
        assert_ptr_equal(topic->exact, exact);
        assert_int_equal(topic->pattern_count, 1);
        assert_null(fixture_resolve(&fixture, "c/d")->exact);
    }
    assert_int_equal(fixture.index.counters.topics_evicted, 5);
    fixture_unsubscribe(&fixture, exact);
    fixture_unsubscribe(&fixture, pattern);
    fixture_stop(&fixture);
}

enum { WILD_COUNT = 5 };

static const char *const wild_texts[WILD_COUNT] = {"#", "+/#", "a/+", "a/#", "+/b"};

static void check_complete(const struct topic *topic, const struct filter *exact,
                           struct filter *const *wilds)
{
    assert_ptr_equal(topic->exact, exact);
    assert_int_equal(topic->pattern_count, WILD_COUNT);
    for (uint32_t i = 0; i < WILD_COUNT; i++)
        assert_true(fixture_names(topic, wilds[i]));
}

static void without_memory_a_new_topic_is_resolved_but_not_kept(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *exact = fixture_subscribe(&fixture, "a/b");
    struct filter *wilds[WILD_COUNT];
    for (uint32_t i = 0; i < WILD_COUNT; i++)
        wilds[i] = fixture_subscribe(&fixture, wild_texts[i]);
    fixture_set_memory(&fixture, false);
    const struct topic *topic = fixture_resolve(&fixture, "a/b");
    assert_false(topic->is_cached);
    check_complete(topic, exact, wilds);
    assert_int_equal(fixture.index.counters.topics_uncached, 1);
    assert_int_equal(fixture.index.topics.count, 0);
    fixture_set_memory(&fixture, true);
    topic = fixture_resolve(&fixture, "a/b");
    assert_true(topic->is_cached);
    check_complete(topic, exact, wilds);
    assert_int_equal(fixture.index.counters.topics_uncached, 1);
    fixture_unsubscribe(&fixture, exact);
    for (uint32_t i = 0; i < WILD_COUNT; i++)
        fixture_unsubscribe(&fixture, wilds[i]);
    fixture_stop(&fixture);
}

/* Its entry stays, with its user's fields, and is kept again when there is memory. */
static void without_memory_a_stale_topic_is_resolved_each_time(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *exact = fixture_subscribe(&fixture, "a/b");
    struct topic *topic = fixture_resolve(&fixture, "a/b");
    topic->recent_first = 5;
    struct filter *wilds[WILD_COUNT];
    for (uint32_t i = 0; i < WILD_COUNT; i++)
        wilds[i] = fixture_subscribe(&fixture, wild_texts[i]);
    fixture_set_memory(&fixture, false);
    for (uint32_t i = 1; i <= 3; i++) {
        assert_ptr_equal(fixture_resolve(&fixture, "a/b"), topic);
        check_complete(topic, exact, wilds);
        assert_int_equal(fixture.index.counters.topics_uncached, i);
    }
    fixture_set_memory(&fixture, true);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ptr_equal(fixture_resolve(&fixture, "a/b"), topic);
        check_complete(topic, exact, wilds);
        assert_int_equal(fixture.index.counters.topics_uncached, 3);
        assert_int_equal(fixture.index.counters.topics_reresolved, 4);
    }
    assert_int_equal(topic->recent_first, 5);
    fixture_unsubscribe(&fixture, exact);
    for (uint32_t i = 0; i < WILD_COUNT; i++)
        fixture_unsubscribe(&fixture, wilds[i]);
    fixture_stop(&fixture);
}

static void every_resolution_is_complete_whichever_allocation_fails(void **state)
{
    (void)state;
    static const char *const texts[] = {"a/b", "c/b", "a/d", "a/b", "c/b"};
    struct topic_index_fixture fixture;
    uint64_t uncached_count = 0;
    for (uint64_t fail_after = 1;; fail_after++) {
        fixture_start(&fixture, 2);
        struct filter *wilds[WILD_COUNT];
        for (uint32_t i = 0; i < WILD_COUNT; i++)
            wilds[i] = fixture_subscribe(&fixture, wild_texts[i]);
        fixture.heap.fail_at = fixture.heap.allocations + fail_after;
        for (size_t i = 0; i < ps_array_count(texts); i++) {
            const struct topic *topic = fixture_resolve(&fixture, texts[i]);
            uint32_t expected = texts[i][0] == 'a' ? 4 : 3;
            if (strcmp(texts[i], "a/b") == 0)
                expected = 5;
            assert_int_equal(topic->pattern_count, expected);
        }
        bool is_clean = fixture.heap.failures == 0;
        uncached_count += fixture.index.counters.topics_uncached;
        for (uint32_t i = 0; i < WILD_COUNT; i++)
            fixture_unsubscribe(&fixture, wilds[i]);
        fixture_stop(&fixture);
        if (is_clean)
            break;
    }
    assert_true(uncached_count > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_is_made_once_and_found_again),
        cmocka_unit_test(a_topic_nobody_wants_has_an_empty_entry),
        cmocka_unit_test(an_exact_filter_comes_and_goes_without_a_new_resolution),
        cmocka_unit_test(a_pattern_makes_stale_what_shares_its_prefix),
        cmocka_unit_test(an_entry_resolved_anew_is_valid_again),
        cmocka_unit_test(a_storm_of_patterns_leaves_others_entries_valid),
        cmocka_unit_test(patterns_grow_and_shrink_with_an_entry),
        cmocka_unit_test(topics_never_exceed_the_maximum_and_evictions_are_told),
        cmocka_unit_test(a_topic_in_use_outlives_topics_seen_once),
        cmocka_unit_test(a_sweep_over_topics_all_in_use_is_cut_off),
        cmocka_unit_test(an_evicted_topic_comes_back_complete),
        cmocka_unit_test(without_memory_a_new_topic_is_resolved_but_not_kept),
        cmocka_unit_test(without_memory_a_stale_topic_is_resolved_each_time),
        cmocka_unit_test(every_resolution_is_complete_whichever_allocation_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
