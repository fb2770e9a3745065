/*
 * Where a topic goes: the partition is a promise between all gateways, so its values are pinned.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "broker_client/broker.h"
#include "core/hash.h"

static uint16_t partition(const char *topic, uint16_t count, uint16_t levels)
{
    return broker_partition(topic, (uint32_t)strlen(topic), count, levels);
}

static uint16_t hashed(const char *text, uint16_t count)
{
    return (uint16_t)(hash_bytes(text, strlen(text)) % count);
}

static void only_the_first_levels_choose_the_partition(void **state)
{
    (void)state;
    assert_int_equal(partition("a/b/c", 1021, 2), hashed("a/b", 1021));
    assert_int_equal(partition("a/b", 1021, 2), hashed("a/b", 1021));
    assert_int_equal(partition("a/b/", 1021, 2), hashed("a/b", 1021));
    assert_int_equal(partition("a/b/c", 1021, 1), hashed("a", 1021));
}

static void a_topic_with_fewer_levels_is_hashed_whole(void **state)
{
    (void)state;
    assert_int_equal(partition("alone", 1021, 2), hashed("alone", 1021));
    assert_int_equal(partition("a/b", 1021, 5), hashed("a/b", 1021));
}

static void empty_levels_count(void **state)
{
    (void)state;
    assert_int_equal(partition("//x/y", 1021, 2), hashed("/", 1021));
    assert_int_equal(partition("/a/b", 1021, 1), hashed("", 1021));
    assert_int_equal(partition("a/", 1021, 2), hashed("a/", 1021));
}

static void levels_0_hashes_the_whole_topic(void **state)
{
    (void)state;
    assert_int_equal(partition("a/b/c/d", 1021, 0), hashed("a/b/c/d", 1021));
}

static void the_values_are_those_that_other_gateways_compute(void **state)
{
    (void)state;
    assert_int_equal(partition("plant/7/level", 16, 2), 0);
    assert_int_equal(partition("sensor", 16, 2), 14);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_first_levels_choose_the_partition),
        cmocka_unit_test(a_topic_with_fewer_levels_is_hashed_whole),
        cmocka_unit_test(empty_levels_count),
        cmocka_unit_test(levels_0_hashes_the_whole_topic),
        cmocka_unit_test(the_values_are_those_that_other_gateways_compute),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
