/*
 * What a checkpoint line says to a session that comes back after its gateway ended without saving
 * it. How lines are written is the simulator's matter.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/wire.h"
#include "session/progress.h"
#include "session/session_record.h"
#include "support/stored_session.h"

enum { LINE_BYTES_MAX = 4096, FLOOR = 500 };

/* A line with floors from FLOOR up and one entry: that of `listed`, or none. */
static size_t write_line(unsigned char *out, uint64_t number, const struct stored_fixture *listed)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, LINE_BYTES_MAX);
    wire_write_u8(&writer, 1);
    wire_write_u64(&writer, number);
    wire_write_u16(&writer, STORED_PARTITIONS);
    for (uint64_t p = 0; p < STORED_PARTITIONS; p++)
        wire_write_u64(&writer, FLOOR + p);
    wire_write_u32(&writer, listed != NULL);
    if (listed != NULL) {
        size_t bytes = session_record_progress_bytes(&listed->hub, &listed->session);
        wire_write_u32(&writer, (uint32_t)bytes);
        session_record_progress_encode(&listed->hub, &listed->session,
                                       wire_write_room(&writer, bytes), bytes);
    }
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    return LINE_BYTES_MAX - wire_writer_left(&writer);
}

/* A session as it was loaded from its own record: at 10 everywhere, with one delivery in flight. */
static void load(struct stored_fixture *fixture, uint64_t session_number)
{
    stored_set_up(fixture);
    struct session *session = &fixture->session;
    session->stored->number.low = session_number;
    session->stored->number.high = 1;
    session->stored->line_number = 8;
    for (uint16_t p = 0; p < STORED_PARTITIONS; p++)
        assert_true(catch_up_start(&fixture->hub, session, p, 10));
    struct window_entry *entry = window_put(&fixture->heap, &session->window, 3);
    assert_non_null(entry);
    entry->sequence = 9;
    entry->qos = 1;
    fixture->hub.counters.in_flight++;
}

static void a_session_that_a_later_line_does_not_list_is_at_its_floors(void **state)
{
    (void)state;
    unsigned char line[LINE_BYTES_MAX];
    size_t count = write_line(line, 8, NULL);
    struct stored_fixture fixture;
    load(&fixture, 77);
    assert_int_equal(progress_apply(&fixture.hub, &fixture.session, line, count), 0);
    for (uint16_t p = 0; p < STORED_PARTITIONS; p++)
        assert_int_equal(catch_up_position(&fixture.hub, &fixture.session, p), FLOOR + p + 1);
    assert_int_equal(window_count(fixture.session.window), 0);
    assert_int_equal(fixture.hub.counters.in_flight, 0);
    stored_tear_down(&fixture);
}

static void a_listed_session_is_where_the_line_says(void **state)
{
    (void)state;
    struct stored_fixture source;
    load(&source, 77);
    catch_up_set_position(&source.session, 1, 44);
    assert_true(inbound_open(&source.hub, &source.session, 5, 21));
    source.session.generation = 30;
    unsigned char line[LINE_BYTES_MAX];
    size_t count = write_line(line, 9, &source);
    struct stored_fixture fixture;
    load(&fixture, 77);
    assert_int_equal(progress_apply(&fixture.hub, &fixture.session, line, count), 0);
    assert_int_equal(catch_up_position(&fixture.hub, &fixture.session, 1), 44);
    assert_int_equal(catch_up_position(&fixture.hub, &fixture.session, 2), 10);
    assert_int_equal(window_find(fixture.session.window, 3)->sequence, 9);
    assert_int_equal(fixture.session.inbound->open_count, 1);
    assert_int_equal(fixture.session.generation, 30);
    stored_tear_down(&fixture);
    stored_tear_down(&source);
}

static void another_session_of_the_line_changes_nothing(void **state)
{
    (void)state;
    struct stored_fixture source;
    load(&source, 78);
    unsigned char line[LINE_BYTES_MAX];
    size_t count = write_line(line, 9, &source);
    struct stored_fixture fixture;
    load(&fixture, 77);
    assert_int_equal(progress_apply(&fixture.hub, &fixture.session, line, count), 0);
    assert_int_equal(catch_up_position(&fixture.hub, &fixture.session, 0), FLOOR + 1);
    assert_int_equal(window_count(fixture.session.window), 0);
    stored_tear_down(&fixture);
    stored_tear_down(&source);
}

static void an_older_line_changes_nothing(void **state)
{
    (void)state;
    unsigned char line[LINE_BYTES_MAX];
    size_t count = write_line(line, 7, NULL);
    struct stored_fixture fixture;
    load(&fixture, 77);
    assert_int_equal(progress_apply(&fixture.hub, &fixture.session, line, count), 0);
    assert_int_equal(catch_up_position(&fixture.hub, &fixture.session, 0), 10);
    assert_int_equal(window_count(fixture.session.window), 1);
    stored_tear_down(&fixture);
}

static void a_line_that_is_cut_is_refused(void **state)
{
    (void)state;
    struct stored_fixture source;
    load(&source, 77);
    unsigned char line[LINE_BYTES_MAX];
    size_t count = write_line(line, 9, &source);
    for (size_t cut = 0; cut < count; cut++) {
        struct stored_fixture fixture;
        load(&fixture, 77);
        assert_int_equal(progress_apply(&fixture.hub, &fixture.session, line, cut), -EBADMSG);
        stored_tear_down(&fixture);
    }
    stored_tear_down(&source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_that_a_later_line_does_not_list_is_at_its_floors),
        cmocka_unit_test(a_listed_session_is_where_the_line_says),
        cmocka_unit_test(another_session_of_the_line_changes_nothing),
        cmocka_unit_test(an_older_line_changes_nothing),
        cmocka_unit_test(a_line_that_is_cut_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
