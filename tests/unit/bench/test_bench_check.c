/*
 * The checker sees every loss, duplicate and inversion, and nothing where there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "bench/bench_check.h"
#include "core/base.h"

/* Takes sequences in the order given, up to UINT64_MAX; answers how many they decide. */
static uint64_t take_all(struct bench_flow *flow, struct bench_tally *tally,
                         const uint64_t *sequences)
{
    uint64_t decided = 0;
    for (; *sequences != UINT64_MAX; sequences++)
        decided += bench_flow_take(flow, *sequences, tally);
    return decided;
}

static void assert_tally(const struct bench_tally *tally, uint64_t received, uint64_t duplicates,
                         uint64_t misordered, uint64_t missing)
{
    assert_int_equal(tally->received, received);
    assert_int_equal(tally->duplicates, duplicates);
    assert_int_equal(tally->misordered, misordered);
    assert_int_equal(tally->missing, missing);
}

static void a_flow_in_order_is_clean(void **state)
{
    (void)state;
    struct bench_flow flow = {0};
    struct bench_tally tally = {0};
    for (uint64_t sequence = 0; sequence < 1000; sequence++)
        assert_int_equal(bench_flow_take(&flow, sequence, &tally), 1);
    assert_tally(&tally, 1000, 0, 0, 0);
}

static void a_gap_is_missing_and_decided_by_the_next(void **state)
{
    (void)state;
    struct bench_flow flow = {0};
    struct bench_tally tally = {0};
    assert_int_equal(take_all(&flow, &tally, (uint64_t[]){0, 1, 4, 5, UINT64_MAX}), 6);
    assert_tally(&tally, 4, 0, 0, 2);
}

static void the_first_can_be_missing(void **state)
{
    (void)state;
    struct bench_flow flow = {0};
    struct bench_tally tally = {0};
    assert_int_equal(bench_flow_take(&flow, 3, &tally), 4);
    assert_tally(&tally, 1, 0, 0, 3);
}

static void a_repeated_message_is_a_duplicate(void **state)
{
    (void)state;
    struct bench_flow flow = {0};
    struct bench_tally tally = {0};
    assert_int_equal(take_all(&flow, &tally, (uint64_t[]){0, 1, 1, 2, 0, UINT64_MAX}), 3);
    assert_tally(&tally, 3, 2, 0, 0);
}

static void a_late_message_is_out_of_order_and_no_longer_missing(void **state)
{
    (void)state;
    struct bench_flow flow = {0};
    struct bench_tally tally = {0};
    assert_int_equal(take_all(&flow, &tally, (uint64_t[]){0, 2, 1, 3, UINT64_MAX}), 4);
    assert_tally(&tally, 4, 0, 1, 0);
    assert_int_equal(bench_flow_take(&flow, 1, &tally), 0);
    assert_tally(&tally, 4, 1, 1, 0);
}

static void a_gap_of_more_than_the_window_is_counted(void **state)
{
    (void)state;
    struct bench_flow flow = {0};
    struct bench_tally tally = {0};
    assert_int_equal(take_all(&flow, &tally, (uint64_t[]){0, 1000, UINT64_MAX}), 1001);
    assert_tally(&tally, 2, 0, 0, 999);
    /* Of these the recent ones are known one by one. */
    assert_int_equal(take_all(&flow, &tally, (uint64_t[]){999, 999, 940, UINT64_MAX}), 0);
    assert_tally(&tally, 4, 1, 2, 997);
}

static void what_is_older_than_the_window_is_late_only_where_something_is_missing(void **state)
{
    (void)state;
    struct bench_flow whole = {0};
    struct bench_tally tally = {0};
    for (uint64_t sequence = 0; sequence < 200; sequence++)
        bench_flow_take(&whole, sequence, &tally);
    bench_flow_take(&whole, 3, &tally);
    assert_tally(&tally, 200, 1, 0, 0);

    struct bench_flow holed = {0};
    tally = (struct bench_tally){0};
    for (uint64_t sequence = 1; sequence < 200; sequence++)
        bench_flow_take(&holed, sequence, &tally);
    assert_tally(&tally, 199, 0, 0, 1);
    bench_flow_take(&holed, 0, &tally);
    assert_tally(&tally, 200, 0, 1, 0);
}

static void shifts_at_the_width_of_the_window_keep_what_is_seen(void **state)
{
    (void)state;
    for (uint64_t gap = 61; gap < 68; gap++) {
        struct bench_flow flow = {0};
        struct bench_tally tally = {0};
        bench_flow_take(&flow, 0, &tally);
        bench_flow_take(&flow, gap, &tally);
        assert_tally(&tally, 2, 0, 0, gap - 1);
        bench_flow_take(&flow, gap, &tally);
        assert_int_equal(tally.duplicates, 1);
        bench_flow_take(&flow, gap - 1, &tally);
        assert_int_equal(tally.misordered, 1);
        if (gap < 64) {
            bench_flow_take(&flow, 0, &tally);
            assert_int_equal(tally.duplicates, 2);
        }
    }
}

static void an_open_flow_begins_with_what_comes_first(void **state)
{
    (void)state;
    struct bench_flow flow = {.next = BENCH_FLOW_OPEN};
    struct bench_tally tally = {0};
    assert_int_equal(take_all(&flow, &tally, (uint64_t[]){700, 701, 703, UINT64_MAX}), 4);
    assert_tally(&tally, 3, 0, 0, 1);
}

static void a_stamp_is_read_as_it_was_written(void **state)
{
    (void)state;
    const struct bench_stamp stamp = {.run = 0xfedcba98,
                                      .publisher = 77,
                                      .sequence = 0x0123456789abcdefULL,
                                      .time_ns = UINT64_MAX - 1};
    unsigned char payload[BENCH_STAMP_BYTES];
    bench_stamp_write(&stamp, payload);
    struct bench_stamp read;
    bench_stamp_read(payload, &read);
    assert_int_equal(read.run, stamp.run);
    assert_int_equal(read.publisher, stamp.publisher);
    assert_int_equal(read.sequence, stamp.sequence);
    assert_int_equal(read.time_ns, stamp.time_ns);
}

static void neighbouring_bytes_of_a_payload_differ(void **state)
{
    (void)state;
    unsigned char payload[1024];
    bench_payload_fill(payload, sizeof(payload));
    for (size_t i = BENCH_STAMP_BYTES + 1; i < sizeof(payload); i++)
        assert_int_not_equal(payload[i], payload[i - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flow_in_order_is_clean),
        cmocka_unit_test(a_gap_is_missing_and_decided_by_the_next),
        cmocka_unit_test(the_first_can_be_missing),
        cmocka_unit_test(a_repeated_message_is_a_duplicate),
        cmocka_unit_test(a_late_message_is_out_of_order_and_no_longer_missing),
        cmocka_unit_test(a_gap_of_more_than_the_window_is_counted),
        cmocka_unit_test(what_is_older_than_the_window_is_late_only_where_something_is_missing),
        cmocka_unit_test(shifts_at_the_width_of_the_window_keep_what_is_seen),
        cmocka_unit_test(an_open_flow_begins_with_what_comes_first),
        cmocka_unit_test(a_stamp_is_read_as_it_was_written),
        cmocka_unit_test(neighbouring_bytes_of_a_payload_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
