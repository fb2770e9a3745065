/*
 * Records: references, and an encoded form that survives the round trip and nothing else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker_client/record.h"
#include "core/base.h"
#include "core/heap.h"

enum { SEED = 0x5eed, BUFFER_BYTES = 512 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
};

static int fixture_create(void **state)
{
    static struct fixture fixture;
    fixture = (struct fixture){.budget = {.bytes_max = 1 << 20}};
    heap_init(&fixture.heap, &fixture.budget);
    *state = &fixture;
    return 0;
}

static int fixture_destroy(void **state)
{
    struct fixture *fixture = *state;
    heap_deinit(&fixture->heap);
    assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
    return 0;
}

static struct record *make_record(struct fixture *fixture)
{
    const struct record_source source = {.topic = "plant/7/level",
                                         .topic_bytes = 13,
                                         .fields = "\x26\x01k\x01v",
                                         .fields_bytes = 5,
                                         .payload = "3.25 m",
                                         .payload_bytes = 6,
                                         .flags = 2 | RECORD_RETAIN | RECORD_WILL};
    struct record *record = record_create(&fixture->heap, &source);
    assert_non_null(record);
    record->partition = 513;
    record->packet_id = 40001;
    record->sequence = 0x0102030405060708;
    record->publish_ms = 1700000000123;
    record->expiry_ms = 1700000060123;
    record->generation = UINT64_MAX;
    record->session_number = (struct record_id){11, 12};
    record->deduplication_id = (struct record_id){13, 14};
    return record;
}

static void assert_same(const struct record *a, const struct record *b)
{
    assert_int_equal(a->topic_bytes, b->topic_bytes);
    assert_int_equal(a->fields_bytes, b->fields_bytes);
    assert_int_equal(a->payload_bytes, b->payload_bytes);
    assert_int_equal(a->partition, b->partition);
    assert_int_equal(a->packet_id, b->packet_id);
    assert_int_equal(a->flags, b->flags);
    assert_true(a->sequence == b->sequence);
    assert_true(a->publish_ms == b->publish_ms);
    assert_true(a->expiry_ms == b->expiry_ms);
    assert_true(a->generation == b->generation);
    assert_true(record_id_equal(a->session_number, b->session_number));
    assert_true(record_id_equal(a->deduplication_id, b->deduplication_id));
    assert_memory_equal(a->bytes, b->bytes,
                        (size_t)a->topic_bytes + a->fields_bytes + a->payload_bytes);
}

static void create_copies_its_source_and_zeroes_the_rest(void **state)
{
    struct fixture *fixture = *state;
    const struct record_source source = {.topic = "t", .topic_bytes = 1, .flags = 1};
    struct record *record = record_create(&fixture->heap, &source);
    assert_non_null(record);
    assert_memory_equal(record_topic(record), "t", 1);
    assert_int_equal(record_qos(record), 1);
    assert_int_equal(record->payload_bytes, 0);
    assert_true(record->sequence == 0 && record->publish_ms == 0 && record->topic_hash == 0);
    assert_true(record_id_is_zero(record->deduplication_id));
    record_release(&fixture->heap, record);
}

static void the_last_release_frees(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    int64_t held = atomic_load(&fixture->heap.bytes_net);
    record_acquire(record);
    record_release(&fixture->heap, record);
    assert_true(atomic_load(&fixture->heap.bytes_net) == held);
    record_release(&fixture->heap, record);
    assert_true(atomic_load(&fixture->heap.bytes_net) == 0);
}

static void create_fails_cleanly_without_memory(void **state)
{
    struct fixture *fixture = *state;
    fixture->heap.fail_at = fixture->heap.allocations + 1;
    const struct record_source source = {.topic = "t", .topic_bytes = 1};
    assert_null(record_create(&fixture->heap, &source));
}

static void every_field_survives_the_round_trip(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    assert_true(length > 0);
    assert_int_equal(length, record_encoded_bytes(record));
    struct record *decoded = NULL;
    assert_int_equal(record_decode(&fixture->heap, SEED, bytes, sizeof(bytes), &decoded), length);
    assert_same(record, decoded);
    assert_true(decoded->topic_hash == 0);
    record_release(&fixture->heap, decoded);
    record_release(&fixture->heap, record);
}

static void a_record_without_fields_and_payload_survives(void **state)
{
    struct fixture *fixture = *state;
    const struct record_source source = {.topic = "t", .topic_bytes = 1};
    struct record *record = record_create(&fixture->heap, &source);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    struct record *decoded = NULL;
    assert_int_equal(record_decode(&fixture->heap, SEED, bytes, (size_t)length, &decoded), length);
    assert_same(record, decoded);
    record_release(&fixture->heap, decoded);
    record_release(&fixture->heap, record);
}

/* The layout is a promise to every file written so far: a change needs a new format number. */
static void the_layout_is_that_of_format_1(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    static const unsigned char expected[] = {
        112,  0,    0,    0,    1,    2 | 4 | 16, 1,    2,             /* length to partition */
        8,    7,    6,    5,    4,    3,          2,    1,             /* sequence */
        0x7b, 0x68, 0xe5, 0xcf, 0x8b, 1,          0,    0,             /* publish_ms */
        0xdb, 0x52, 0xe6, 0xcf, 0x8b, 1,          0,    0,             /* expiry_ms */
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff,       0xff, 0xff,          /* generation */
        11,   0,    0,    0,    0,    0,          0,    0,             /* session number */
        12,   0,    0,    0,    0,    0,          0,    0,             /* */
        13,   0,    0,    0,    0,    0,          0,    0,             /* deduplication id */
        14,   0,    0,    0,    0,    0,          0,    0,             /* */
        5,    0,    0,    0,    13,   0,          0x41, 0x9c,          /* lengths, packet id */
        'p',  'l',  'a',  'n',  't',  '/',        '7',  '/',  'l', 'e' /* topic */
    };
    assert_int_equal(length, 112);
    assert_memory_equal(bytes + 8, expected, sizeof(expected));
    record_release(&fixture->heap, record);
}

static void encode_refuses_a_buffer_that_is_one_byte_short(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    assert_int_equal(record_encode(record, SEED, bytes, record_encoded_bytes(record) - 1),
                     -ENOBUFS);
    record_release(&fixture->heap, record);
}

static void a_record_cut_at_any_byte_asks_for_more(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    for (long count = 0; count < length; count++) {
        struct record *decoded = NULL;
        assert_int_equal(record_decode(&fixture->heap, SEED, bytes, (size_t)count, &decoded),
                         -EAGAIN);
        assert_null(decoded);
    }
    record_release(&fixture->heap, record);
}

static void every_flipped_bit_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    for (long bit = 0; bit < 8 * length; bit++) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        struct record *decoded = NULL;
        long result = record_decode(&fixture->heap, SEED, bytes, (size_t)length, &decoded);
        /* A length that grew looks like a record that is not all there yet. */
        bool is_length = bit / 8 >= 8 && bit / 8 < 12;
        assert_true(result == -EBADMSG || (is_length && result == -EAGAIN));
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    record_release(&fixture->heap, record);
}

static void a_record_of_another_place_is_not_taken(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    struct record *decoded = NULL;
    assert_int_equal(record_decode(&fixture->heap, SEED + 1, bytes, (size_t)length, &decoded),
                     -EBADMSG);
    record_release(&fixture->heap, record);
}

static void decode_fails_cleanly_without_memory(void **state)
{
    struct fixture *fixture = *state;
    struct record *record = make_record(fixture);
    unsigned char bytes[BUFFER_BYTES];
    long length = record_encode(record, SEED, bytes, sizeof(bytes));
    fixture->heap.fail_at = fixture->heap.allocations + 1;
    struct record *decoded = NULL;
    assert_int_equal(record_decode(&fixture->heap, SEED, bytes, (size_t)length, &decoded), -ENOMEM);
    record_release(&fixture->heap, record);
}

#define record_test(name) cmocka_unit_test_setup_teardown(name, fixture_create, fixture_destroy)

int main(void)
{
    const struct CMUnitTest tests[] = {
        record_test(create_copies_its_source_and_zeroes_the_rest),
        record_test(the_last_release_frees),
        record_test(create_fails_cleanly_without_memory),
        record_test(every_field_survives_the_round_trip),
        record_test(a_record_without_fields_and_payload_survives),
        record_test(the_layout_is_that_of_format_1),
        record_test(encode_refuses_a_buffer_that_is_one_byte_short),
        record_test(a_record_cut_at_any_byte_asks_for_more),
        record_test(every_flipped_bit_is_noticed),
        record_test(a_record_of_another_place_is_not_taken),
        record_test(decode_fails_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
