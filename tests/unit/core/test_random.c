/*
 * Seeded numbers are the same everywhere, even, and within their bounds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/random.h"

/* The published first outputs of xoshiro256** for the state {1, 2, 3, 4}. */
static void the_sequence_is_that_of_xoshiro256(void **state)
{
    (void)state;
    struct random random = {.state = {1, 2, 3, 4}};
    static const uint64_t expected[] = {11520, 0, 1509978240, 1215971899390074240ULL};
    for (size_t i = 0; i < ps_array_count(expected); i++)
        assert_int_equal(random_next(&random), expected[i]);
}

/* The published first output of splitmix64 for the seed 0 becomes the first word of the state. */
static void seed_zero_is_a_good_seed(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 0);
    assert_int_equal(random.state[0], 0xe220a8397b1dcdafULL);
    assert_int_not_equal(random_next(&random), random_next(&random));
}

static void equal_seeds_repeat_and_neighbours_differ(void **state)
{
    (void)state;
    struct random first, same, other;
    random_init(&first, 7);
    random_init(&same, 7);
    random_init(&other, 8);
    uint32_t equal_to_other = 0;
    for (int i = 0; i < 1000; i++) {
        uint64_t number = random_next(&first);
        assert_int_equal(number, random_next(&same));
        equal_to_other += number == random_next(&other);
    }
    assert_int_equal(equal_to_other, 0);
}

static void below_is_even_and_stays_below(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 1);
    uint32_t counts[7] = {0};
    for (int i = 0; i < 70000; i++) {
        uint64_t number = random_below(&random, 7);
        assert_true(number < 7);
        counts[number]++;
    }
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9600, 10400); /* 4 standard deviations */
    assert_int_equal(random_below(&random, 1), 0);
    for (int i = 0; i < 100; i++)
        assert_true(random_below(&random, UINT64_MAX) < UINT64_MAX);
}

static void between_reaches_both_ends(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 2);
    uint32_t seen = 0;
    for (int i = 0; i < 200; i++) {
        uint64_t number = random_between(&random, 10, 13);
        assert_in_range(number, 10, 13);
        seen |= 1U << (number - 10);
    }
    assert_int_equal(seen, 15);
    assert_int_equal(random_between(&random, 5, 5), 5);
    random_between(&random, 0, UINT64_MAX);
}

static void chance_keeps_its_odds(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 3);
    uint32_t hits = 0;
    for (int i = 0; i < 10000; i++) {
        hits += random_chance(&random, 1, 4);
        assert_false(random_chance(&random, 0, 4));
        assert_true(random_chance(&random, 4, 4));
    }
    assert_in_range(hits, 2320, 2680);
}

static void fill_writes_every_byte_and_no_more(void **state)
{
    (void)state;
    struct random random;
    random_init(&random, 4);
    for (size_t count = 0; count <= 17; count++) {
        unsigned char written[20] = {0};
        for (int round = 0; round < 20; round++) {
            unsigned char bytes[20] = {0};
            random_fill(&random, bytes, count);
            for (size_t i = 0; i < sizeof(bytes); i++)
                written[i] |= bytes[i];
        }
        for (size_t i = 0; i < sizeof(written); i++)
            assert_true((written[i] != 0) == (i < count));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_that_of_xoshiro256),
        cmocka_unit_test(seed_zero_is_a_good_seed),
        cmocka_unit_test(equal_seeds_repeat_and_neighbours_differ),
        cmocka_unit_test(below_is_even_and_stays_below),
        cmocka_unit_test(between_reaches_both_ends),
        cmocka_unit_test(chance_keeps_its_odds),
        cmocka_unit_test(fill_writes_every_byte_and_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
