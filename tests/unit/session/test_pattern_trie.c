/*
 * The trie of patterns: every wildcard rule, the bound by shapes, nodes given back, and levels
 * without number.
 */
#include <stdio.h>

#include "support/topic_index_fixture.h"

static bool count_visit(void *context, struct filter *filter)
{
    uint32_t *count = context;
    assert_true(filter->is_active);
    (*count)++;
    return true;
}

static uint32_t count_matches(struct topic_index_fixture *fixture, const char *topic)
{
    uint32_t count = 0;
    topic_matches_walk(&fixture->index, topic, (uint32_t)strlen(topic), count_visit, &count);
    return count;
}

struct rule {
    const char *filter;
    const char *topic;
    bool is_match;
};

static void check_rules(const struct rule *rules, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct topic_index_fixture fixture;
        fixture_start(&fixture, 10);
        struct filter *filter = fixture_subscribe(&fixture, rules[i].filter);
        if (count_matches(&fixture, rules[i].topic) != (rules[i].is_match ? 1 : 0))
            fail_msg("%s %s", rules[i].filter, rules[i].topic);
        const struct topic *topic = fixture_resolve(&fixture, rules[i].topic);
        assert_int_equal(fixture_names(topic, filter), rules[i].is_match);
        fixture_unsubscribe(&fixture, filter);
        assert_int_equal(fixture.index.trie.node_count, 0);
        fixture_stop(&fixture);
    }
}

/* [MQTT-4.7.1-2], with the level that '#' follows */
static void multi_level_wildcard_matches_parent_and_any_depth(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {"sport/tennis/#", "sport/tennis", true},
        {"sport/tennis/#", "sport/tennis/", true},
        {"sport/tennis/#", "sport/tennis/a/b/c", true},
        {"sport/tennis/#", "sport/tennisx", false},
        {"sport/tennis/#", "sport", false},
        {"sport/tennis/#", "sport/golf/a", false},
        {"#", "a", true},
        {"#", "/", true},
        {"#", "a/b/c", true},
        {"/#", "/", true},
        {"/#", "/a", true},
        {"/#", "a", false},
        {"+/#", "a", true},
        {"+/#", "a/b", true},
        {"+/#", "/", true},
        {"a/+/#", "a", false},
        {"a/+/#", "a/b", true},
    };
    check_rules(rules, ps_array_count(rules));
}

/* [MQTT-4.7.1-3] */
static void single_level_wildcard_matches_exactly_one_level(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"sport/+", "sport/a", true},
        {"sport/+", "sport/a/b", false},
        {"+", "a", true},
        {"+", "a/b", false},
        {"+", "/a", false},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+/b/+", "a/b/c", true},
        {"+/b/+", "a/c/c", false},
        {"a/+/c", "a//c", true},
        {"+/tennis/#", "x/tennis", true},
        {"sport/+/player1", "sport/tennis/player1", true},
    };
    check_rules(rules, ps_array_count(rules));
}

/* [MQTT-4.7.2-1] */
static void leading_wildcards_do_not_match_topics_with_a_dollar(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {"#", "$SYS/a", false},     {"+/monitor/clients", "$SYS/monitor/clients", false},
        {"+", "$SYS", false},       {"+/#", "$SYS/a", false},
        {"$SYS/#", "$SYS/a", true}, {"$SYS/#", "$SYS", true},
        {"$SYS/+", "$SYS/a", true}, {"$SYS/a", "$SYS/a", true},
        {"a/+", "a/$b", true},      {"a/#", "a/$b", true},
        {"#", "a$", true},
    };
    check_rules(rules, ps_array_count(rules));
}

/* [MQTT-4.7.3-4]: byte by byte, without normalization; empty levels are levels [MQTT-4.7.1-1] */
static void literal_levels_match_byte_by_byte(void **state)
{
    (void)state;
    static const struct rule rules[] = {
        {"ACCOUNTS", "Accounts", false},
        {"a b", "a b", true},
        {"/a", "a", false},
        {"a", "/a", false},
        {"a/", "a", false},
        {"a//b", "a/b", false},
        {"a//b", "a//b", true},
        {"+/a/", "x/a/", true},
        {"+/a/", "x/a", false},
        {"\xc3\x85/+", "A\xcc\x8a/x", false},
    };
    check_rules(rules, ps_array_count(rules));
}

static void inactive_filters_match_nothing(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    static const char *const texts[] = {"a/b", "a/+", "a/#"};
    struct filter *filters[ps_array_count(texts)];
    for (size_t i = 0; i < ps_array_count(texts); i++)
        assert_int_equal(filter_acquire(&fixture.index, texts[i], 3, &filters[i]), 0);
    assert_int_equal(count_matches(&fixture, "a/b"), 0);
    for (size_t i = 0; i < ps_array_count(texts); i++)
        topic_index_activate(&fixture.index, filters[i]);
    assert_int_equal(count_matches(&fixture, "a/b"), 3);
    for (size_t i = 0; i < ps_array_count(texts); i++)
        fixture_unsubscribe(&fixture, filters[i]);
    fixture_stop(&fixture);
}

static bool stop_visit(void *context, struct filter *filter)
{
    (void)filter;
    uint32_t *visits_left = context;
    return --*visits_left > 0;
}

static void a_visitor_can_stop_anywhere(void **state)
{
    (void)state;
    static const char *const texts[] = {"a/b", "#", "a/#", "a/+", "+/+", "a/b/#", "+/b/#"};
    struct filter *filters[ps_array_count(texts)];
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    for (size_t i = 0; i < ps_array_count(texts); i++)
        filters[i] = fixture_subscribe(&fixture, texts[i]);
    for (uint32_t stop_at = 1; stop_at <= ps_array_count(texts); stop_at++) {
        uint32_t visits_left = stop_at;
        topic_matches_walk(&fixture.index, "a/b", 3, stop_visit, &visits_left);
        assert_int_equal(visits_left, 0);
    }
    for (size_t i = 0; i < ps_array_count(texts); i++)
        fixture_unsubscribe(&fixture, filters[i]);
    fixture_stop(&fixture);
}

static void shapes_bound_what_a_topic_matches(void **state)
{
    (void)state;
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    enum { PATTERNS = 1000 };
    static struct filter *filters[PATTERNS];
    for (uint32_t i = 0; i < PATTERNS; i++) {
        char text[32];
        (void)snprintf(text, sizeof text, i % 2 == 0 ? "d/%u/#" : "d/%u/+", i);
        filters[i] = fixture_subscribe(&fixture, text);
    }
    assert_int_equal(pattern_trie_matches_max(&fixture.index.trie), 2);
    assert_int_equal(fixture.index.trie.node_count, 1 + PATTERNS + PATTERNS / 2);
    assert_int_equal(count_matches(&fixture, "d/7/x"), 1);
    for (uint32_t i = 0; i < PATTERNS; i++)
        fixture_unsubscribe(&fixture, filters[i]);
    assert_int_equal(pattern_trie_matches_max(&fixture.index.trie), 0);
    assert_int_equal(fixture.index.trie.node_count, 0);
    fixture_stop(&fixture);
}

/* Every level of a topic literal or '+', with and without '#': all of them match, and all of them
 * are found though they are more than the index first has room for. */
static void a_topic_can_match_as_many_patterns_as_there_are_shapes(void **state)
{
    (void)state;
    enum { LEVELS = 6, COMBINATIONS = 1 << LEVELS };
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *filters[COMBINATIONS * 2];
    uint32_t count = 0;
    for (uint32_t mask = 0; mask < COMBINATIONS; mask++) {
        for (uint32_t with_hash = mask == 0 ? 1 : 0; with_hash < 2; with_hash++) {
            char text[64] = "";
            for (uint32_t level = 0; level < LEVELS; level++) {
                strcat(text, level == 0 ? "" : "/");
                strcat(text, (mask >> level & 1) != 0 ? "+" : "x");
            }
            strcat(text, with_hash != 0 ? "/#" : "");
            filters[count++] = fixture_subscribe(&fixture, text);
        }
    }
    assert_int_equal(pattern_trie_matches_max(&fixture.index.trie), count);
    assert_int_equal(count_matches(&fixture, "x/x/x/x/x/x"), count);
    const struct topic *topic = fixture_resolve(&fixture, "x/x/x/x/x/x");
    assert_int_equal(topic->pattern_count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_true(fixture_names(topic, filters[i]));
    for (uint32_t i = 0; i < count; i++)
        fixture_unsubscribe(&fixture, filters[i]);
    fixture_stop(&fixture);
}

static void the_longest_topics_and_patterns_are_walked_without_recursion(void **state)
{
    (void)state;
    static char separators[UINT16_MAX];
    static char pluses[UINT16_MAX];
    memset(separators, '/', sizeof separators);
    for (uint32_t i = 0; i < sizeof pluses; i++)
        pluses[i] = i % 2 == 0 ? '+' : '/';
    struct topic_index_fixture fixture;
    fixture_start(&fixture, 10);
    struct filter *exact = NULL;
    struct filter *pattern = NULL;
    assert_int_equal(filter_acquire(&fixture.index, separators, UINT16_MAX, &exact), 0);
    assert_int_equal(filter_acquire(&fixture.index, pluses, UINT16_MAX, &pattern), 0);
    assert_int_equal(exact->level_count, UINT16_MAX);
    assert_int_equal(pattern->level_count, UINT16_MAX / 2 + 1);
    topic_index_activate(&fixture.index, exact);
    topic_index_activate(&fixture.index, pattern);
    uint32_t count = 0;
    topic_matches_walk(&fixture.index, separators, UINT16_MAX, count_visit, &count);
    assert_int_equal(count, 1);
    topic_matches_walk(&fixture.index, separators, UINT16_MAX / 2, count_visit, &count);
    assert_int_equal(count, 2);
    fixture_unsubscribe(&fixture, exact);
    fixture_unsubscribe(&fixture, pattern);
    assert_int_equal(fixture.index.trie.node_count, 0);
    fixture_stop(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(multi_level_wildcard_matches_parent_and_any_depth),
        cmocka_unit_test(single_level_wildcard_matches_exactly_one_level),
        cmocka_unit_test(leading_wildcards_do_not_match_topics_with_a_dollar),
        cmocka_unit_test(literal_levels_match_byte_by_byte),
        cmocka_unit_test(inactive_filters_match_nothing),
        cmocka_unit_test(a_visitor_can_stop_anywhere),
        cmocka_unit_test(shapes_bound_what_a_topic_matches),
        cmocka_unit_test(a_topic_can_match_as_many_patterns_as_there_are_shapes),
        cmocka_unit_test(the_longest_topics_and_patterns_are_walked_without_recursion),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
