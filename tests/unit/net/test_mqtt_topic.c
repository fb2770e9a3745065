/*
 * Topic names, filters and their matching (MQTT 4.7), and UTF-8 (1.5.3). Texts stand before a page
 * that nobody may touch, at every length, since they are read several bytes at a time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "net/mqtt_topic.h"
#include "support/guard_page.h"

struct text_case {
    const char *text;
    uint32_t bytes;
    bool is_valid;
};

#define TEXT(literal) (literal), sizeof(literal) - 1

/* At every place of words and their tails: behind 0 to 17 letters and before 0 to 17 letters. */
static void assert_at_every_place(bool (*check)(const void *text, uint32_t bytes),
                                  const struct text_case *text)
{
    struct guard_page guard;
    guard_page_init(&guard, 128);
    for (uint32_t before = 0; before < 18; before++) {
        for (uint32_t after = 0; after < 18; after++) {
            uint32_t bytes = before + text->bytes + after;
            unsigned char *room = guard_page_room(&guard, bytes);
            memset(room, 'x', bytes);
            memcpy(room + before, text->text, text->bytes);
            assert_int_equal(check(room, bytes), text->is_valid);
        }
    }
    guard_page_deinit(&guard);
}

/* [MQTT-1.5.3-1], [MQTT-1.5.3-2], [MQTT-1.5.3-3] */
static void utf8_is_accepted_when_well_formed(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {TEXT("plain"), true},
        {TEXT("\x01\x1f\x7f"), true}, /* control characters are discouraged, not forbidden */
        {TEXT("\xc2\x80"), true},
        {TEXT("\xdf\xbf"), true},
        {TEXT("\xe0\xa0\x80"), true},
        {TEXT("\xed\x9f\xbf"), true}, /* U+D7FF */
        {TEXT("\xee\x80\x80"), true}, /* U+E000 */
        {TEXT("\xef\xbb\xbf"), true}, /* U+FEFF is a character like others */
        {TEXT("\xef\xbf\xbf"), true}, /* a non-character is discouraged, not forbidden */
        {TEXT("\xf0\x90\x80\x80"), true},
        {TEXT("\xf4\x8f\xbf\xbf"), true},  /* U+10FFFF */
        {TEXT("\0"), false},               /* U+0000 */
        {TEXT("\x80"), false},             /* continuation without lead */
        {TEXT("\xc0\x80"), false},         /* U+0000, overlong */
        {TEXT("\xc1\xbf"), false},         /* overlong */
        {TEXT("\xc2"), false},             /* lead without continuation */
        {TEXT("\xc2\xc0"), false},         /* lead where a continuation must be */
        {TEXT("\xe0\x9f\xbf"), false},     /* overlong */
        {TEXT("\xe1\x80"), false},         /* one continuation short */
        {TEXT("\xed\xa0\x80"), false},     /* U+D800 */
        {TEXT("\xed\xbf\xbf"), false},     /* U+DFFF */
        {TEXT("\xf0\x8f\xbf\xbf"), false}, /* overlong */
        {TEXT("\xf0\x90\x80"), false},     /* one continuation short */
        {TEXT("\xf0\x90\x80\xc0"), false}, /* last continuation is none */
        {TEXT("\xf4\x90\x80\x80"), false}, /* above U+10FFFF */
        {TEXT("\xf8\x88\x80\x80\x80"), false} /* five bytes */,
        {TEXT("\xff"), false},
    };
    for (size_t index = 0; index < ps_array_count(cases); index++)
        assert_at_every_place(mqtt_utf8_is_valid, &cases[index]);
    assert_true(mqtt_utf8_is_valid("", 0));
}

/* [MQTT-3.3.2-2], [MQTT-4.7.3-1], [MQTT-4.7.3-3] */
static void topics_have_no_wildcards_and_are_not_empty(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {TEXT("a"), true},
        {TEXT("/"), true},
        {TEXT(" "), true},
        {TEXT("$S"), true},
        {TEXT("*"), true},
        {TEXT("\""), true},
        {TEXT("+"), false},
        {TEXT("#"), false},
        {TEXT("\xc3\xa4"), true},
        {TEXT("\xab"), true} /* '+' with the high bit: UTF-8 is not its matter */,
    };
    for (size_t index = 0; index < ps_array_count(cases); index++)
        assert_at_every_place(mqtt_topic_is_valid, &cases[index]);
    assert_false(mqtt_topic_is_valid("", 0));
    static unsigned char long_topic[65536];
    memset(long_topic, 'x', sizeof(long_topic));
    assert_true(mqtt_topic_is_valid(long_topic, 65535));
    assert_false(mqtt_topic_is_valid(long_topic, 65536));
    assert_true(mqtt_filter_is_valid(long_topic, 65535));
    assert_false(mqtt_filter_is_valid(long_topic, 65536));
}

/* [MQTT-4.7.1-1], [MQTT-4.7.1-2], [MQTT-4.7.1-3] */
static void wildcards_stand_alone_in_their_level(void **state)
{
    (void)state;
    static const struct text_case cases[] = {
        {TEXT("sport/tennis/player1/#"), true},
        {TEXT("sport/#"), true},
        {TEXT("#"), true},
        {TEXT("/#"), true},
        {TEXT("+"), true},
        {TEXT("+/tennis/#"), true},
        {TEXT("sport/+/player1"), true},
        {TEXT("/+"), true},
        {TEXT("+/+"), true},
        {TEXT("+/"), true},
        {TEXT("$SYS/#"), true},
        {TEXT("a//b"), true},
        {TEXT("/"), true},
        {TEXT("a rather long filter without wildcards/in it"), true},
        {TEXT("a rather long filter/with wildcards in/it/+/#"), true},
        {TEXT(""), false},
        {TEXT("sport/tennis#"), false},
        {TEXT("sport/tennis/#/ranking"), false},
        {TEXT("#/"), false},
        {TEXT("##"), false},
        {TEXT("sport+"), false},
        {TEXT("+sport"), false},
        {TEXT("sport/+tennis"), false},
        {TEXT("++"), false},
        {TEXT("+#"), false},
        {TEXT("#+"), false},
        {TEXT("a/+b/c"), false},
        {TEXT("a/b+/c"), false},
        {TEXT("a/#b"), false},
        {TEXT("a rather long filter/with wildcards in it/+/b#"), false},
    };
    struct guard_page guard;
    guard_page_init(&guard, 128);
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        const struct text_case *text = &cases[index];
        unsigned char *filter = guard_page_put(&guard, text->text, text->bytes);
        assert_int_equal(mqtt_filter_is_valid(filter, text->bytes), text->is_valid);
        bool has_wildcard = memchr(text->text, '+', text->bytes) != NULL ||
                            memchr(text->text, '#', text->bytes) != NULL;
        assert_int_equal(mqtt_filter_is_pattern(filter, text->bytes), has_wildcard);
    }
    guard_page_deinit(&guard);
}

static void a_filter_is_literal_up_to_its_first_wildcard(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        uint32_t literal_bytes;
    } cases[] = {
        {"a/b", 3},
        {"a/+", 1},
        {"a/b/#", 3},
        {"#", 0},
        {"+/b", 0},
        {"/#", 0},
        {"devices/17/#", 10},
        {"$SYS/+/x", 4},
        {"a/", 2},
        {"a//+", 2},
        {"long/enough/for/words/+/x", 21},
    };
    for (size_t index = 0; index < ps_array_count(cases); index++)
        assert_int_equal(
            mqtt_filter_literal_bytes(cases[index].filter, (uint32_t)strlen(cases[index].filter)),
            cases[index].literal_bytes);
}

static void levels_are_separators_and_one(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        uint32_t levels;
        uint32_t prefix_bytes[5]; /* of 0 to 4 levels */
    } cases[] = {
        {"a", 1, {0, 1, 1, 1, 1}},
        {"/", 2, {0, 0, 1, 1, 1}},
        {"a/b", 2, {0, 1, 3, 3, 3}},
        {"a/b/", 3, {0, 1, 3, 4, 4}},
        {"//", 3, {0, 0, 1, 2, 2}},
        {"building/floor3/room17/temperature", 4, {0, 8, 15, 22, 34}},
        {"....../././././././.", 8, {0, 6, 8, 10, 12}}, /* '.' and '0' are '/' but for one bit */
        {"0/0000000/.\xaf", 3, {0, 1, 9, 12, 12}},
    };
    struct guard_page guard;
    guard_page_init(&guard, 128);
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        uint32_t bytes = (uint32_t)strlen(cases[index].topic);
        unsigned char *topic = guard_page_put(&guard, cases[index].topic, bytes);
        assert_int_equal(mqtt_topic_levels(topic, bytes), cases[index].levels);
        for (uint32_t levels = 0; levels < 5; levels++)
            assert_int_equal(mqtt_topic_prefix_bytes(topic, bytes, levels),
                             cases[index].prefix_bytes[levels]);
    }
    guard_page_deinit(&guard);
}

/* Each of the 65,536 pairs of bytes beside each other, inside one word. */
static void separators_are_counted_whatever_stands_beside_them(void **state)
{
    (void)state;
    for (uint32_t pair = 0; pair < 65536; pair++) {
        unsigned char text[8] = "abc\0\0fgh";
        text[3] = (unsigned char)(pair >> 8);
        text[4] = (unsigned char)pair;
        uint32_t expected = 1u + (text[3] == '/') + (text[4] == '/');
        assert_int_equal(mqtt_topic_levels(text, sizeof(text)), expected);
        bool has_wildcard = text[3] == '+' || text[3] == '#' || text[4] == '+' || text[4] == '#';
        assert_int_equal(mqtt_topic_is_valid(text, sizeof(text)), !has_wildcard);
    }
}

/* 4.7.1, 4.7.2, 4.7.3 with their examples */
static void filters_match_as_the_specification_says(void **state)
{
    (void)state;
    static const struct {
        const char *filter;
        const char *topic;
        bool does_match;
    } cases[] = {
        {"sport/tennis/player1/#", "sport/tennis/player1", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/ranking", true},
        {"sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true},
        {"sport/tennis/player1/#", "sport/tennis/player2", false},
        {"sport/tennis/player1/#", "sport/tennis/player11", false},
        {"sport/#", "sport", true},
        {"sport/#", "sports", false},
        {"sport/#", "sport/", true},
        {"#", "sport/tennis", true},
        {"#", "/", true},
        {"sport/tennis/+", "sport/tennis/player1", true},
        {"sport/tennis/+", "sport/tennis/player1/ranking", false},
        {"sport/+", "sport", false},
        {"sport/+", "sport/", true},
        {"+/+", "/finance", true},
        {"/+", "/finance", true},
        {"+", "/finance", false},
        {"+", "finance", true},
        {"+/+/#", "a", false},
        {"+/+/#", "a/b", true},
        {"+/b", "a/b", true},
        {"+/b", "a/c", false},
        {"a/+/c", "a//c", true},
        {"a/+/c", "a/b/c/d", false},
        {"a/+/c/#", "a/b/c", true},
        {"a", "a", true},
        {"a", "A", false}, /* 4.7.3: case sensitive */
        {"a", "a/", false},
        {"a/", "a", false},
        {"a/", "a/", true},
        {"/a", "a", false}, /* 4.7.3: a leading separator makes another topic */
        {"ab", "a", false},
        {"a", "ab", false},
        {"a/b", "a", false},
        {"a/b/#", "a", false},
        {"#", "$SYS/x", false}, /* [MQTT-4.7.2-1] */
        {"+/x", "$SYS/x", false},
        {"+", "$SYS", false},
        {"$SYS/#", "$SYS/x", true},
        {"$SYS/#", "$SYS", true},
        {"$SYS/+", "$SYS/x", true},
        {"$SYS/+", "$SYS/$x", true},
        {"a/+", "a/$x", true}, /* only the first level hides */
        {"a/#", "a/$x", true},
    };
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        bool does_match =
            mqtt_topic_matches(cases[index].filter, (uint32_t)strlen(cases[index].filter),
                               cases[index].topic, (uint32_t)strlen(cases[index].topic));
        if (does_match != cases[index].does_match)
            fail_msg("%s against %s", cases[index].filter, cases[index].topic);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(utf8_is_accepted_when_well_formed),
        cmocka_unit_test(topics_have_no_wildcards_and_are_not_empty),
        cmocka_unit_test(wildcards_stand_alone_in_their_level),
        cmocka_unit_test(a_filter_is_literal_up_to_its_first_wildcard),
        cmocka_unit_test(levels_are_separators_and_one),
        cmocka_unit_test(separators_are_counted_whatever_stands_beside_them),
        cmocka_unit_test(filters_match_as_the_specification_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
