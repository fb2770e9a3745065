/*
 * Stored forms of a session: read as they were written, refused when they are damaged or say what
 * no gateway writes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "core/wire.h"
#include "session/session_record.h"
#include "support/stored_session.h"

enum { RECORD_BYTES_MAX = 4096 };

struct flight {
    uint16_t packet_id;
    uint16_t partition;
    uint8_t state;
    uint8_t qos;
    const char *topic; /* of a retained value; NULL: none */
};

/* Writes an own record of `flight_count` deliveries and `inbound_count` open ids. */
static size_t write_own(unsigned char *out, size_t bytes, const struct flight *flights,
                        uint32_t flight_count, const uint16_t *inbound, uint32_t inbound_count)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, bytes);
    wire_write_u8(&writer, SESSION_STORE_FORMAT);
    wire_write_u8(&writer, 0);                    /* not attached */
    for (uint64_t value = 1; value <= 5; value++) /* number, epoch, generation, line's run */
        wire_write_u64(&writer, value);
    wire_write_u8(&writer, 6);   /* line's shard */
    wire_write_u64(&writer, 7);  /* line's number */
    wire_write_u16(&writer, 2);  /* blocks */
    wire_write_u16(&writer, 77); /* next packet id */
    wire_write_u16(&writer, STORED_PARTITIONS);
    for (uint64_t p = 0; p < STORED_PARTITIONS; p++)
        wire_write_u64(&writer, 100 + p);
    wire_write_u16(&writer, (uint16_t)flight_count);
    for (uint32_t i = 0; i < flight_count; i++) {
        wire_write_u16(&writer, flights[i].packet_id);
        wire_write_u16(&writer, flights[i].partition);
        wire_write_u8(&writer, flights[i].state);
        const char *topic = flights[i].topic;
        wire_write_u8(&writer, (uint8_t)(flights[i].qos | (topic != NULL ? 0x80 : 0)));
        wire_write_u32(&writer, flight_count - i);
        wire_write_u64(&writer, 1000 + i);
        if (topic == NULL)
            continue;
        wire_write_u64(&writer, 2000 + i);
        wire_write_prefixed(&writer, topic, strlen(topic));
    }
    wire_write_u32(&writer, inbound_count);
    for (uint32_t i = 0; i < inbound_count; i++) {
        wire_write_u16(&writer, inbound[i]);
        wire_write_u64(&writer, 50 + i);
    }
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    return bytes - wire_writer_left(&writer);
}

static void write_vector(struct wire_writer *writer, uint64_t first)
{
    for (uint64_t p = 0; p < STORED_PARTITIONS; p++)
        wire_write_u64(writer, first + p);
}

/* One filter per text, all with starts from 7, 8, 9 when has_starts, and a cut at 4, 5, 6. */
static size_t write_block(unsigned char *out, uint8_t qos, uint8_t flags, bool has_starts,
                          const char *const *texts, uint32_t count)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, RECORD_BYTES_MAX);
    bool is_due = (flags & SUBSCRIPTION_RETAINED_DUE) != 0;
    wire_write_u8(&writer, SESSION_STORE_FILTERS_FORMAT);
    wire_write_u16(&writer, STORED_PARTITIONS);
    wire_write_u16(&writer, (uint16_t)(has_starts + is_due));
    if (has_starts)
        write_vector(&writer, 7);
    if (is_due)
        write_vector(&writer, 4);
    wire_write_u16(&writer, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        wire_write_u8(&writer, qos);
        wire_write_u8(&writer, flags);
        wire_write_u16(&writer, has_starts);
        if (is_due) {
            wire_write_u64(&writer, 3000 + i);
            wire_write_u16(&writer, (uint16_t)(has_starts + 1));
        }
        wire_write_prefixed(&writer, texts[i], strlen(texts[i]));
    }
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    return RECORD_BYTES_MAX - wire_writer_left(&writer);
}

/* As format 1 had it: each filter with its own starts, if any. */
static size_t write_old_block(unsigned char *out, uint8_t flags, bool has_starts,
                              const char *const *texts, uint32_t count)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, RECORD_BYTES_MAX);
    wire_write_u8(&writer, 1);
    wire_write_u16(&writer, STORED_PARTITIONS);
    wire_write_u16(&writer, (uint16_t)count);
    for (uint32_t i = 0; i < count; i++) {
        wire_write_u8(&writer, 1);
        wire_write_u8(&writer, flags);
        wire_write_u8(&writer, has_starts);
        if (has_starts)
            write_vector(&writer, 7);
        wire_write_prefixed(&writer, texts[i], strlen(texts[i]));
    }
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    return RECORD_BYTES_MAX - wire_writer_left(&writer);
}

/* What reading it into a new session says. */
static int read_own(const void *record, size_t count, uint64_t fail_at)
{
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    heap_fail_at(&fixture.heap, fail_at);
    int result = session_record_own_decode(&fixture.hub, &fixture.session, record, count);
    heap_fail_at(&fixture.heap, 0);
    stored_tear_down(&fixture);
    return result;
}

static int read_block(const void *record, size_t count, uint64_t fail_at)
{
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    heap_fail_at(&fixture.heap, fail_at);
    int result = session_record_block_decode(&fixture.hub, &fixture.session, 0, record, count);
    heap_fail_at(&fixture.heap, 0);
    stored_tear_down(&fixture);
    return result;
}

static const struct flight flights[] = {{5, 0, WINDOW_PUBLISHED, 1, NULL},
                                        {6, 2, WINDOW_RELEASED, 2, NULL},
                                        {13, 1, WINDOW_PUBLISHED, 2, "a/b"}};
static const uint16_t inbound_ids[] = {1, 300};

static void an_own_record_is_read_as_it_was_written(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    size_t count = write_own(record, sizeof(record), flights, 3, inbound_ids, 2);
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    struct session *session = &fixture.session;
    assert_int_equal(session_record_own_decode(&fixture.hub, session, record, count), 0);
    assert_int_equal(session->stored->number.high, 1);
    assert_int_equal(session->stored->epoch, 3);
    assert_int_equal(session->generation, 4);
    assert_int_equal(window_count(session->window), 3);
    assert_int_equal(window_find(session->window, 6)->state, WINDOW_RELEASED);
    assert_null(window_find(session->window, 6)->topic);
    assert_int_equal(window_find(session->window, 13)->topic->bytes, 3);
    assert_int_equal(window_find(session->window, 13)->topic->due, 2002);
    assert_int_equal(session->inbound->open_count, 2);
    assert_int_equal(catch_up_position(&fixture.hub, session, 2), 102);
    unsigned char again[RECORD_BYTES_MAX];
    assert_int_equal(session_record_own_bytes(&fixture.hub, session), count);
    session_record_own_encode(&fixture.hub, session, again, count);
    assert_memory_equal(again, record, count);
    uint16_t blocks = 0;
    assert_int_equal(session_record_own_blocks(record, count, &blocks), 0);
    assert_int_equal(blocks, 2);
    stored_tear_down(&fixture);
}

static void filters_are_read_as_they_were_written(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    static const char *const texts[] = {"a/+/#"};
    const uint8_t flags = SUBSCRIPTION_RETAINED_DUE | SUBSCRIPTION_RAISED;
    size_t count = write_block(record, 2, flags, true, texts, 1);
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    struct session *session = &fixture.session;
    assert_int_equal(session_record_block_decode(&fixture.hub, session, 4, record, count), 0);
    const struct subscription *subscription = session->subscriptions;
    assert_non_null(subscription);
    assert_int_equal(subscription->qos, 2);
    assert_int_equal(subscription->flags, SUBSCRIPTION_RAISED);
    assert_int_equal(subscription->block, 4);
    assert_int_equal(subscription->starts->from[1], 8);
    const struct retained_due *due = retained_due_of(&fixture.hub, subscription);
    assert_non_null(due);
    assert_int_equal(due->number, 3000);
    assert_int_equal(due->cut->from[2], 6);
    unsigned char again[RECORD_BYTES_MAX];
    assert_int_equal(session_record_block_bytes(&fixture.hub, session, 4), count);
    assert_int_equal(session_record_block_bytes(&fixture.hub, session, 0), 0);
    session_record_block_encode(&fixture.hub, session, 4, again, count);
    assert_memory_equal(again, record, count);
    stored_tear_down(&fixture);
}

static void filters_of_one_subscribe_share_what_is_stored_of_it(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    static const char *const texts[] = {"a", "b", "c"};
    size_t count = write_block(record, 1, SUBSCRIPTION_RETAINED_DUE, true, texts, 3);
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    struct session *session = &fixture.session;
    assert_int_equal(session_record_block_decode(&fixture.hub, session, 0, record, count), 0);
    const struct subscription *first = session->subscriptions;
    const struct subscription *last = first->next_of_session->next_of_session;
    assert_ptr_equal(first->starts, last->starts);
    assert_int_equal(first->starts->references, 3);
    const struct retained_due *due = retained_due_of(&fixture.hub, first);
    assert_ptr_equal(due->cut, retained_due_of(&fixture.hub, last)->cut);
    assert_int_equal(session_record_block_bytes(&fixture.hub, session, 0), count);
    stored_tear_down(&fixture);
}

static void filters_of_format_1_are_read(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    static const char *const texts[] = {"a", "b"};
    for (uint32_t has_starts = 0; has_starts < 2; has_starts++) {
        size_t count =
            write_old_block(record, SUBSCRIPTION_RETAINED_DUE, has_starts != 0, texts, 2);
        for (size_t cut = 0; cut < count; cut++)
            assert_int_equal(read_block(record, cut, 0), -EBADMSG);
        struct stored_fixture fixture;
        stored_set_up(&fixture);
        struct session *session = &fixture.session;
        assert_int_equal(session_record_block_decode(&fixture.hub, session, 0, record, count), 0);
        assert_int_equal(session->subscription_count, 2);
        const struct subscription *subscription = session->subscriptions;
        assert_int_equal(subscription->starts != NULL, has_starts);
        if (subscription->starts != NULL)
            assert_int_equal(subscription->starts->from[2], 9);
        const struct retained_due *due = retained_due_of(&fixture.hub, subscription);
        assert_non_null(due);
        assert_null(due->cut);
        assert_int_not_equal(due->number, 0);
        stored_tear_down(&fixture);
    }
}

static void a_record_that_is_cut_is_refused(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    size_t count = write_own(record, sizeof(record), flights, 3, inbound_ids, 2);
    for (size_t cut = 0; cut < count; cut++)
        assert_int_equal(read_own(record, cut, 0), -EBADMSG);
    static const char *const texts[] = {"a/b", "c"};
    count = write_block(record, 1, SUBSCRIPTION_RETAINED_DUE, true, texts, 2);
    for (size_t cut = 0; cut < count; cut++)
        assert_int_equal(read_block(record, cut, 0), -EBADMSG);
}

static void a_record_with_bytes_behind_it_is_refused(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX] = {0};
    size_t count = write_own(record, sizeof(record), flights, 3, inbound_ids, 2);
    assert_int_equal(read_own(record, count + 1, 0), -EBADMSG);
    static const char *const texts[] = {"a/b"};
    count = write_block(record, 1, 0, false, texts, 1);
    assert_int_equal(read_block(record, count + 1, 0), -EBADMSG);
}

static void an_open_id_that_is_named_twice_is_refused(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    static const uint16_t twice[] = {3, 3};
    size_t count = write_own(record, sizeof(record), NULL, 0, twice, 2);
    assert_int_equal(read_own(record, count, 0), -EBADMSG);
}

static void a_delivery_that_nobody_can_have_sent_is_refused(void **state)
{
    (void)state;
    static const struct flight wrong[] = {
        {0, 0, WINDOW_PUBLISHED, 1, NULL},                 /* no packet id */
        {1, STORED_PARTITIONS, WINDOW_PUBLISHED, 1, NULL}, /* no such partition */
        {1, 0, WINDOW_FREE, 1, NULL},
        {1, 0, WINDOW_RELEASED + 1, 2, NULL},
        {1, 0, WINDOW_PUBLISHED, 0, NULL}, /* QoS 0 is not in flight */
        {1, 0, WINDOW_PUBLISHED, 3, NULL},
        {1, 0, WINDOW_RELEASED, 1, NULL},   /* PUBREL is of QoS 2 */
        {1, 0, WINDOW_PUBLISHED, 1, "a/#"}, /* a filter */
        {1, 0, WINDOW_PUBLISHED, 1, ""},
        {1, 0, WINDOW_RELEASED, 2, "a"}, /* what was received is not sent again */
    };
    for (uint32_t i = 0; i < ps_array_count(wrong); i++) {
        unsigned char record[RECORD_BYTES_MAX];
        size_t count = write_own(record, sizeof(record), &wrong[i], 1, NULL, 0);
        assert_int_equal(read_own(record, count, 0), -EBADMSG);
    }
    static const struct flight twice[] = {{9, 0, WINDOW_PUBLISHED, 1, NULL},
                                          {9, 1, WINDOW_PUBLISHED, 1, NULL}};
    unsigned char record[RECORD_BYTES_MAX];
    size_t count = write_own(record, sizeof(record), twice, 2, NULL, 0);
    assert_int_equal(read_own(record, count, 0), -EBADMSG);
}

static void a_filter_that_nobody_can_have_subscribed_is_refused(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    static const char *const twice[] = {"a/b", "a/b"};
    size_t count = write_block(record, 1, 0, false, twice, 2);
    assert_int_equal(read_block(record, count, 0), -EBADMSG);
    static const char *const misplaced[] = {"a/#/b"};
    count = write_block(record, 1, 0, false, misplaced, 1);
    assert_int_equal(read_block(record, count, 0), -EBADMSG);
    static const char *const good[] = {"a/b"};
    count = write_block(record, 3, 0, false, good, 1); /* no such QoS */
    assert_int_equal(read_block(record, count, 0), -EBADMSG);
    count = write_block(record, 1, 0, false, good, 1);
    assert_int_equal(read_block(record, count, 0), 0);
    record[count - strlen(good[0]) - 4 + 1] = 1; /* its starts: there is no vector */
    assert_int_equal(read_block(record, count, 0), -EBADMSG);
    char names[SESSION_STORE_BLOCK_FILTERS + 1][4];
    const char *many[SESSION_STORE_BLOCK_FILTERS + 1];
    for (uint32_t i = 0; i <= SESSION_STORE_BLOCK_FILTERS; i++) {
        snprintf(names[i], sizeof(names[i]), "%u", i);
        many[i] = names[i];
    }
    count = write_block(record, 1, 0, false, many, SESSION_STORE_BLOCK_FILTERS);
    assert_int_equal(read_block(record, count, 0), 0);
    count = write_block(record, 1, 0, false, many, SESSION_STORE_BLOCK_FILTERS + 1);
    assert_int_equal(read_block(record, count, 0), -EBADMSG);
}

static void a_filter_that_stands_in_two_blocks_is_subscribed_once(void **state)
{
    (void)state;
    unsigned char record[RECORD_BYTES_MAX];
    static const char *const texts[] = {"a/b"};
    size_t count = write_block(record, 1, 0, false, texts, 1);
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    struct session *session = &fixture.session;
    assert_int_equal(session_record_block_decode(&fixture.hub, session, 0, record, count), 0);
    assert_int_equal(session_record_block_decode(&fixture.hub, session, 1, record, count), 0);
    assert_int_equal(session->subscription_count, 1);
    stored_tear_down(&fixture);
}

static void without_memory_nothing_is_lost(void **state)
{
    (void)state;
    unsigned char own[RECORD_BYTES_MAX];
    size_t own_count = write_own(own, sizeof(own), flights, 3, inbound_ids, 2);
    uint64_t fail_at = 1;
    while (read_own(own, own_count, fail_at) == -ENOMEM)
        fail_at++;
    assert_in_range(fail_at, 3, 32);
    assert_int_equal(read_own(own, own_count, fail_at), 0);
    static const char *const texts[] = {"a/b", "c/+", "#"};
    unsigned char block[RECORD_BYTES_MAX];
    size_t block_count = write_block(block, 1, SUBSCRIPTION_RETAINED_DUE, true, texts, 3);
    fail_at = 1;
    while (read_block(block, block_count, fail_at) == -ENOMEM)
        fail_at++;
    assert_in_range(fail_at, 3, 64);
    assert_int_equal(read_block(block, block_count, fail_at), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_own_record_is_read_as_it_was_written),
        cmocka_unit_test(filters_are_read_as_they_were_written),
        cmocka_unit_test(filters_of_one_subscribe_share_what_is_stored_of_it),
        cmocka_unit_test(filters_of_format_1_are_read),
        cmocka_unit_test(a_record_that_is_cut_is_refused),
        cmocka_unit_test(a_record_with_bytes_behind_it_is_refused),
        cmocka_unit_test(an_open_id_that_is_named_twice_is_refused),
        cmocka_unit_test(a_delivery_that_nobody_can_have_sent_is_refused),
        cmocka_unit_test(a_filter_that_nobody_can_have_subscribed_is_refused),
        cmocka_unit_test(a_filter_that_stands_in_two_blocks_is_subscribed_once),
        cmocka_unit_test(without_memory_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
