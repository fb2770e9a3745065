/*
 * Publish rates: one second's worth at once, then as much as the rate gives; debts are paid.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "net/publish_rate.h"

/* Publishes as long as it is allowed. Result: how many. */
static uint32_t drain(struct publish_rate *rate, const struct publish_rate_limits *limits,
                      uint32_t tick, uint32_t bytes)
{
    uint32_t count = 0;
    while (count < 100000 && publish_rate_allows(rate, limits, tick)) {
        publish_rate_charge(rate, limits, bytes);
        count++;
    }
    return count;
}

static void a_second_may_come_at_once_and_then_the_rate_holds(void **state)
{
    (void)state;
    const struct publish_rate_limits limits = {.messages_per_second = 50};
    struct publish_rate rate;
    publish_rate_init(&rate, 1000);
    assert_int_equal(drain(&rate, &limits, 1000, 1), 50);
    uint32_t in_a_minute = 0;
    for (uint32_t tick = 1001; tick <= 1600; tick++)
        in_a_minute += drain(&rate, &limits, tick, 1);
    assert_int_equal(in_a_minute, 60 * 50);
    /* What was not used is not kept for longer than a second. */
    assert_int_equal(drain(&rate, &limits, 9000, 1), 50);
}

static void a_rate_below_one_a_tick_is_kept(void **state)
{
    (void)state;
    const struct publish_rate_limits limits = {.messages_per_second = 3};
    struct publish_rate rate;
    publish_rate_init(&rate, 0);
    uint32_t count = 0;
    for (uint32_t tick = 0; tick < 100; tick++)
        count += drain(&rate, &limits, tick, 1);
    assert_in_range(count, 3 + 29, 3 + 30);
}

static void a_message_larger_than_the_bucket_passes_and_is_paid_for(void **state)
{
    (void)state;
    const struct publish_rate_limits limits = {.bytes_per_second = 1000};
    struct publish_rate rate;
    publish_rate_init(&rate, 0);
    assert_int_equal(drain(&rate, &limits, 0, 5000), 1);
    /* 5,000 bytes less the full bucket of 1,000: four seconds. */
    assert_int_equal(drain(&rate, &limits, 40, 5000), 0);
    assert_int_equal(drain(&rate, &limits, 41, 5000), 1);
}

static void both_limits_hold(void **state)
{
    (void)state;
    const struct publish_rate_limits limits = {.messages_per_second = 10, .bytes_per_second = 100};
    struct publish_rate rate;
    publish_rate_init(&rate, 0);
    assert_int_equal(drain(&rate, &limits, 0, 1), 10);
    assert_int_equal(drain(&rate, &limits, 10, 50), 2);
}

static void without_limits_nothing_is_held(void **state)
{
    (void)state;
    const struct publish_rate_limits limits = {0};
    struct publish_rate rate;
    publish_rate_init(&rate, 0);
    assert_int_equal(drain(&rate, &limits, 0, 1 << 20), 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_second_may_come_at_once_and_then_the_rate_holds),
        cmocka_unit_test(a_rate_below_one_a_tick_is_kept),
        cmocka_unit_test(a_message_larger_than_the_bucket_passes_and_is_paid_for),
        cmocka_unit_test(both_limits_hold),
        cmocka_unit_test(without_limits_nothing_is_held),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
