/*
 * Quantiles are right within a bucket's width, from the smallest value to the largest.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/bench_histogram.h"
#include "core/base.h"
#include "core/random.h"

static void an_empty_one_answers_zero(void **state)
{
    (void)state;
    struct bench_histogram histogram = {0};
    assert_int_equal(bench_histogram_quantile(&histogram, 500000), 0);
    assert_int_equal(bench_histogram_quantile(&histogram, 1000000), 0);
    assert_int_equal(bench_histogram_mean(&histogram), 0);
}

static void small_values_are_exact(void **state)
{
    (void)state;
    struct bench_histogram histogram = {0};
    for (uint64_t value = 1; value <= 100; value++)
        bench_histogram_record(&histogram, value <= 60 ? value : 60);
    assert_int_equal(bench_histogram_quantile(&histogram, 10000), 1);
    assert_int_equal(bench_histogram_quantile(&histogram, 500000), 50);
    assert_int_equal(bench_histogram_quantile(&histogram, 600000), 60);
    assert_int_equal(bench_histogram_quantile(&histogram, 1000000), 60);
}

/* Compared with the sorted values themselves. */
static void quantiles_are_within_a_bucket(void **state)
{
    (void)state;
    enum { COUNT = 20000 };
    static uint64_t counted[1 << 20];
    struct random random;
    struct bench_histogram histogram = {0};
    random_init(&random, 11);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint64_t value = random_below(&random, ps_array_count(counted));
        counted[value]++;
        bench_histogram_record(&histogram, value);
    }
    static const uint32_t per_millions[] = {1, 100, 10000, 250000, 500000, 900000, 990000, 999900};
    for (size_t i = 0; i < ps_array_count(per_millions); i++) {
        uint64_t rank = ((uint64_t)COUNT * per_millions[i] + 999999) / 1000000;
        uint64_t value = 0;
        for (uint64_t seen = counted[0]; seen < rank; seen += counted[value])
            value++;
        uint64_t told = bench_histogram_quantile(&histogram, per_millions[i]);
        assert_in_range(told, value, value + value / 64 + 1);
    }
}

static void the_largest_is_exact_and_what_is_larger_counts_as_the_limit(void **state)
{
    (void)state;
    struct bench_histogram histogram = {0};
    bench_histogram_record(&histogram, 1000001);
    assert_int_equal(bench_histogram_quantile(&histogram, 1000000), 1000001);
    bench_histogram_record(&histogram, UINT64_MAX);
    assert_int_equal(bench_histogram_quantile(&histogram, 1000000), BENCH_HISTOGRAM_VALUE_MAX);
}

/* Every power of two and its neighbours have a bucket that holds them. */
static void every_value_has_its_bucket(void **state)
{
    (void)state;
    for (uint32_t bit = 0; bit < BENCH_HISTOGRAM_BITS_MAX; bit++) {
        uint64_t power = 1ULL << bit;
        const uint64_t values[] = {power - 1, power, power + 1, power + power / 2};
        for (size_t i = 0; i < ps_array_count(values); i++) {
            struct bench_histogram histogram = {0};
            bench_histogram_record(&histogram, values[i]);
            bench_histogram_record(&histogram, BENCH_HISTOGRAM_VALUE_MAX);
            uint64_t told = bench_histogram_quantile(&histogram, 500000);
            assert_in_range(told, values[i], values[i] + values[i] / 64);
        }
    }
}

static void merging_adds_counts_and_keeps_the_largest(void **state)
{
    (void)state;
    struct bench_histogram first = {0};
    struct bench_histogram second = {0};
    bench_histogram_record(&first, 10);
    bench_histogram_record(&second, 30);
    bench_histogram_record(&second, 50);
    bench_histogram_merge(&first, &second);
    assert_int_equal(first.count, 3);
    assert_int_equal(first.max, 50);
    assert_int_equal(bench_histogram_mean(&first), 30);
    assert_int_equal(bench_histogram_quantile(&first, 500000), 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_one_answers_zero),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(quantiles_are_within_a_bucket),
        cmocka_unit_test(the_largest_is_exact_and_what_is_larger_counts_as_the_limit),
        cmocka_unit_test(every_value_has_its_bucket),
        cmocka_unit_test(merging_adds_counts_and_keeps_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
