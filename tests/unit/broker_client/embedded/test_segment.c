/*
 * The format of a segment: what was encoded is read back, and what was changed is refused, whatever
 * byte of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "segment_internal.h"

enum { NUMBER = 77, PARTITIONS = 5, BATCH_RECORDS = 3, BATCH_OFFSET = 8192 };

#define SEED UINT64_C(0x1234567890abcdef) /* of the segment */

static const struct segment_header header = {.number = NUMBER,
                                             .run = 9,
                                             .created_ms = 1700000000123,
                                             .shard = 1,
                                             .shard_count = 4,
                                             .partition_count = PARTITIONS};

static void fill_partitions(struct segment_partition *partitions)
{
    for (uint16_t index = 0; index < PARTITIONS; index++)
        partitions[index] =
            (struct segment_partition){(uint16_t)(1 + 4 * index), 1000 + (uint64_t)index};
}

static void a_name_is_its_number(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_BYTES];
    segment_name(0x0123456789abcdef, "idx", name);
    assert_string_equal(name, "0123456789abcdef.idx");
    uint64_t number = 0;
    assert_true(segment_name_parse(name, "idx", &number));
    assert_int_equal(number, 0x0123456789abcdef);
    assert_false(segment_name_parse(name, "seg", &number));
    static const char *const others[] = {"",
                                         "lock",
                                         "0123456789abcde.idx",
                                         "0123456789ABCDEF.idx",
                                         "0123456789abcdef",
                                         "0123456789abcdef.",
                                         "0123456789abcdef.idx2"};
    for (size_t index = 0; index < ps_array_count(others); index++)
        assert_false(segment_name_parse(others[index], "idx", &number));
}

static void a_header_is_read_back(void **state)
{
    (void)state;
    struct segment_partition partitions[PARTITIONS];
    struct segment_partition read[PARTITIONS];
    fill_partitions(partitions);
    unsigned char bytes[SEGMENT_PAGE_BYTES];
    assert_int_equal(segment_header_bytes(PARTITIONS), sizeof(bytes));
    segment_header_encode(SEED, &header, partitions, bytes);
    struct segment_header out;
    assert_int_equal(segment_header_length(bytes), sizeof(bytes));
    assert_int_equal(segment_header_decode(SEED, bytes, sizeof(bytes), &out, read, PARTITIONS),
                     sizeof(bytes));
    assert_memory_equal(&out, &header, sizeof(out));
    for (uint32_t index = 0; index < PARTITIONS; index++) {
        assert_int_equal(read[index].partition, partitions[index].partition);
        assert_int_equal(read[index].next, partitions[index].next);
    }
    assert_int_equal(segment_header_decode(SEED, bytes, sizeof(bytes), &out, read, PARTITIONS - 1),
                     -EBADMSG);
    assert_int_equal(segment_header_decode(SEED + 1, bytes, sizeof(bytes), &out, read, PARTITIONS),
                     -EBADMSG);
    assert_int_equal(segment_header_decode(SEED, bytes, sizeof(bytes) - 1, &out, read, PARTITIONS),
                     -EAGAIN);
}

static void a_header_of_many_partitions_takes_several_pages(void **state)
{
    (void)state;
    enum { MANY = UINT16_MAX };
    struct segment_partition *partitions = calloc(MANY, sizeof(*partitions));
    struct segment_partition *read = calloc(MANY, sizeof(*read));
    for (uint32_t index = 0; index < MANY; index++)
        partitions[index] = (struct segment_partition){(uint16_t)index, index + 1};
    struct segment_header many = header;
    many.partition_count = MANY;
    uint32_t length = segment_header_bytes(MANY);
    unsigned char *bytes = malloc(length);
    segment_header_encode(SEED, &many, partitions, bytes);
    struct segment_header out;
    assert_int_equal(segment_header_decode(SEED, bytes, SEGMENT_PAGE_BYTES, &out, read, MANY),
                     -EAGAIN);
    assert_int_equal(segment_header_length(bytes), length);
    assert_int_equal(segment_header_decode(SEED, bytes, length, &out, read, MANY), length);
    assert_int_equal(read[MANY - 1].next, MANY);
    free(bytes);
    free(read);
    free(partitions);
}

static void no_changed_byte_of_a_header_is_accepted(void **state)
{
    (void)state;
    struct segment_partition partitions[PARTITIONS];
    fill_partitions(partitions);
    unsigned char bytes[SEGMENT_PAGE_BYTES] = {0};
    struct segment_header out;
    assert_int_equal(
        segment_header_decode(SEED, bytes, sizeof(bytes), &out, partitions, PARTITIONS), -ENODATA);
    segment_header_encode(SEED, &header, partitions, bytes);
    for (uint32_t at = 0; at < sizeof(bytes); at++) {
        bytes[at] ^= 1;
        assert_true(
            segment_header_decode(SEED, bytes, sizeof(bytes), &out, partitions, PARTITIONS) < 0);
        bytes[at] ^= 1;
    }
    bytes[16]++;
    assert_int_equal(
        segment_header_decode(SEED, bytes, sizeof(bytes), &out, partitions, PARTITIONS),
        -EPROTONOSUPPORT);
}

struct batch_fixture {
    struct heap_budget budget;
    struct heap heap;
    struct record *records[BATCH_RECORDS];
    unsigned char bytes[1024];
    struct segment_batch batch;
    uint32_t told;
    int answer;
};

static int batch_set_up(void **state)
{
    static struct batch_fixture fixture;
    fixture = (struct batch_fixture){.batch = {.number = 3, .records = BATCH_RECORDS}};
    heap_init(&fixture.heap, &fixture.budget);
    uint32_t bytes = SEGMENT_BATCH_HEADER_BYTES;
    for (uint32_t index = 0; index < BATCH_RECORDS; index++) {
        const struct record_source source = {
            .topic = "a/b/c", .topic_bytes = 1 + index, .payload = "payload", .payload_bytes = 7};
        struct record *record = record_create(&fixture.heap, &source);
        record->partition = (uint16_t)(1 + 4 * (index % 2));
        record->sequence = 1000 + index;
        record->publish_ms = 5 + index;
        record->deduplication_id = (struct record_id){index, 1};
        long encoded = record_encode(record, segment_record_seed(SEED, record->partition),
                                     fixture.bytes + bytes, sizeof(fixture.bytes) - bytes);
        assert_true(encoded > 0);
        bytes += (uint32_t)segment_record_bytes(record);
        fixture.records[index] = record;
    }
    fixture.batch.bytes = bytes;
    segment_batch_encode(SEED, &fixture.batch, fixture.bytes);
    *state = &fixture;
    return 0;
}

static int batch_tear_down(void **state)
{
    struct batch_fixture *fixture = *state;
    for (uint32_t index = 0; index < BATCH_RECORDS; index++)
        record_release(&fixture->heap, fixture->records[index]);
    heap_deinit(&fixture->heap);
    return heap_budget_bytes_used(&fixture->budget) == 0 ? 0 : -1;
}

static int on_record(void *context, const struct segment_record *record)
{
    struct batch_fixture *fixture = context;
    const struct record *expected = fixture->records[fixture->told++];
    const unsigned char *at = fixture->bytes + (record->offset - BATCH_OFFSET);
    uint16_t partition;
    uint64_t sequence;
    uint32_t bytes;
    assert_true(segment_record_peek(at, &partition, &sequence, &bytes));
    assert_int_equal(partition, expected->partition);
    assert_int_equal(sequence, expected->sequence);
    assert_int_equal(bytes, record_encoded_bytes(expected));
    assert_int_equal(record->view.partition, expected->partition);
    assert_int_equal(record->view.sequence, expected->sequence);
    assert_int_equal(record->view.publish_ms, expected->publish_ms);
    assert_true(record_id_equal(record->view.deduplication_id, expected->deduplication_id));
    assert_int_equal(record->view.bytes, bytes);
    assert_int_equal(record->view.topic_bytes, expected->topic_bytes);
    assert_memory_equal(record->view.topic, record_topic(expected), expected->topic_bytes);
    return fixture->answer;
}

static int scan(struct batch_fixture *fixture)
{
    struct segment_batch batch;
    fixture->told = 0;
    int result = segment_batch_decode(SEED, fixture->bytes, &batch);
    if (result < 0)
        return result;
    assert_int_equal(batch.bytes, fixture->batch.bytes);
    assert_int_equal(batch.number, 3);
    return segment_batch_scan(SEED, BATCH_OFFSET, fixture->bytes, &batch, fixture, on_record);
}

static void a_batch_tells_of_its_records(void **state)
{
    struct batch_fixture *fixture = *state;
    assert_int_equal(scan(fixture), 0);
    assert_int_equal(fixture->told, BATCH_RECORDS);
    fixture->answer = -ENOMEM;
    assert_int_equal(scan(fixture), -ENOMEM);
    assert_int_equal(fixture->told, 1);
}

static void a_batch_counts_whole_or_not_at_all(void **state)
{
    struct batch_fixture *fixture = *state;
    uint32_t accepted = 0;
    for (uint32_t at = 0; at < fixture->batch.bytes; at++) {
        fixture->bytes[at] ^= 0x10;
        if (scan(fixture) == 0)
            accepted++;
        else
            assert_int_equal(fixture->told, 0);
        fixture->bytes[at] ^= 0x10;
    }
    /* Only what fills a record up is nobody's. */
    uint32_t filling = 0;
    for (uint32_t index = 0; index < BATCH_RECORDS; index++)
        filling += (uint32_t)(segment_record_bytes(fixture->records[index]) -
                              record_encoded_bytes(fixture->records[index]));
    assert_int_equal(accepted, filling);
}

static void a_batch_of_another_place_is_refused(void **state)
{
    struct batch_fixture *fixture = *state;
    struct segment_batch batch;
    assert_int_equal(segment_batch_decode(SEED + 1, fixture->bytes, &batch), -EBADMSG);
    /* The same records under a header of another segment. */
    segment_batch_encode(SEED + 1, &fixture->batch, fixture->bytes);
    assert_int_equal(segment_batch_decode(SEED + 1, fixture->bytes, &batch), 0);
    assert_int_equal(
        segment_batch_scan(SEED + 1, BATCH_OFFSET, fixture->bytes, &batch, fixture, on_record),
        -EBADMSG);
}

static void a_batch_whose_counts_do_not_agree_is_refused(void **state)
{
    struct batch_fixture *fixture = *state;
    const struct segment_batch wrong[] = {
        {3, fixture->batch.bytes, BATCH_RECORDS - 1},
        {3, fixture->batch.bytes, BATCH_RECORDS + 1},
        {3, fixture->batch.bytes - 8, BATCH_RECORDS},
        {3, SEGMENT_BATCH_HEADER_BYTES, BATCH_RECORDS},
    };
    for (size_t index = 0; index < ps_array_count(wrong); index++)
        assert_int_equal(segment_batch_scan(SEED, BATCH_OFFSET, fixture->bytes, &wrong[index],
                                            fixture, on_record),
                         -EBADMSG);
    const struct segment_batch impossible[] = {
        {3, SEGMENT_BATCH_HEADER_BYTES - 8, 1}, {3, 100, 1}, {3, 1024, 0}};
    for (size_t index = 0; index < ps_array_count(impossible); index++) {
        struct segment_batch batch;
        segment_batch_encode(SEED, &impossible[index], fixture->bytes);
        assert_int_equal(segment_batch_decode(SEED, fixture->bytes, &batch), -EBADMSG);
    }
    assert_int_equal(fixture->told, 0);
}

static void an_uncommitted_record_is_refused(void **state)
{
    struct batch_fixture *fixture = *state;
    struct record *record = fixture->records[0];
    record->sequence = 0;
    assert_true(record_encode(record, segment_record_seed(SEED, record->partition),
                              fixture->bytes + SEGMENT_BATCH_HEADER_BYTES, 512) > 0);
    assert_int_equal(scan(fixture), -EBADMSG);
    uint16_t partition;
    uint64_t sequence;
    uint32_t bytes;
    assert_false(segment_record_peek(fixture->bytes + SEGMENT_BATCH_HEADER_BYTES, &partition,
                                     &sequence, &bytes));
}

static void a_seed_is_of_a_directory_and_a_number(void **state)
{
    (void)state;
    assert_int_equal(segment_seed(5, NUMBER), segment_seed(5, NUMBER));
    assert_true(segment_seed(5, NUMBER) != segment_seed(5, NUMBER + 1));
    assert_true(segment_seed(5, NUMBER) != segment_seed(6, NUMBER));
    assert_true(segment_record_seed(SEED, 1) != segment_record_seed(SEED, 2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seed_is_of_a_directory_and_a_number),
        cmocka_unit_test(a_name_is_its_number),
        cmocka_unit_test(a_header_is_read_back),
        cmocka_unit_test(a_header_of_many_partitions_takes_several_pages),
        cmocka_unit_test(no_changed_byte_of_a_header_is_accepted),
        cmocka_unit_test_setup_teardown(a_batch_tells_of_its_records, batch_set_up,
                                        batch_tear_down),
        cmocka_unit_test_setup_teardown(a_batch_counts_whole_or_not_at_all, batch_set_up,
                                        batch_tear_down),
        cmocka_unit_test_setup_teardown(a_batch_of_another_place_is_refused, batch_set_up,
                                        batch_tear_down),
        cmocka_unit_test_setup_teardown(a_batch_whose_counts_do_not_agree_is_refused, batch_set_up,
                                        batch_tear_down),
        cmocka_unit_test_setup_teardown(an_uncommitted_record_is_refused, batch_set_up,
                                        batch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
