/*
 * What a start says of numbers that no segment has: of a segment file that somebody removed, and
 * nothing of what starts have left out.
 */
#include "log_store_fixture.h"

static uint32_t count_gaps(struct fixture *fixture)
{
    uint32_t count = 0;
    (void)has_line(fixture, "");
    for (const char *at = fixture->lines; (at = strstr(at, "event=log_gap")) != NULL; at++)
        count++;
    return count;
}

static void remove_segment(uint64_t segment)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment, "seg", name);
    remove_file("/data/log", name);
}

static void a_segment_that_somebody_removed_is_told_once(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 1, 1, 1000);
    uint64_t between = write_segment(fixture, 1, 2, 1000);
    write_segment(fixture, 1, 1, 1000);
    crash(fixture);
    open_again(fixture);
    write_segment(fixture, 1, 1, 1000);
    close_store(fixture, true);
    open_again(fixture);
    write_segment(fixture, 2, 1, 1000);
    uint64_t last = write_segment(fixture, 1, 1, 1000);
    close_store(fixture, true);
    assert_int_equal(count_gaps(fixture), 0);
    remove_segment(between);
    open_again(fixture);
    assert_int_equal(count_gaps(fixture), 1);
    assert_true(
        has_line(fixture, "numbers=16 partitions=1 partition=1 first=9 last=24 after=log/"));
    close_store(fixture, true);
    remove_segment(last);
    open_again(fixture);
    assert_int_equal(count_gaps(fixture), 2);
    assert_true(
        has_line(fixture, "numbers=8 partitions=1 partition=1 first=41 last=48 after=log/"));
    close_store(fixture, true);
    open_again(fixture);
    close_store(fixture, true);
    assert_int_equal(count_gaps(fixture), 2);
}

static void numbers_that_a_start_left_out_are_no_gap(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t life = 0; life < 12; life++) {
        configure(fixture);
        fixture->store.config.commit =
            life % 3 == 2 ? EMBEDDED_COMMIT_SYNCED : EMBEDDED_COMMIT_MEMORY;
        assert_int_equal(try_open(fixture), 0);
        write_segment(fixture, 1, 1, 1000);
        if (life % 2 == 0)
            write_batch(fixture, 1, 1000);
        if (life % 4 == 3)
            close_store(fixture, true);
        else
            crash(fixture);
    }
    assert_int_equal(count_gaps(fixture), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_segment_that_somebody_removed_is_told_once, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(numbers_that_a_start_left_out_are_no_gap, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
