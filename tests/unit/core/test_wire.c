/*
 * Cursors stop at the end, keep their first fault, and write what they read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/wire.h"
#include "support/guard_page.h"

static void integers_are_big_endian(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
                                          0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f};
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, sizeof(bytes));
    assert_int_equal(wire_read_u8(&reader), 0x01);
    assert_int_equal(wire_read_u16(&reader), 0x0203);
    assert_int_equal(wire_read_u32(&reader), 0x04050607);
    assert_true(wire_read_u64(&reader) == 0x08090a0b0c0d0e0f);
    assert_int_equal(wire_reader_left(&reader), 0);
    assert_int_equal(reader.fault, WIRE_FAULT_NONE);

    unsigned char copy[sizeof(bytes)];
    struct wire_writer writer;
    wire_writer_init(&writer, copy, sizeof(copy));
    wire_write_u8(&writer, 0x01);
    wire_write_u16(&writer, 0x0203);
    wire_write_u32(&writer, 0x04050607);
    wire_write_u64(&writer, 0x08090a0b0c0d0e0f);
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    assert_int_equal(wire_writer_left(&writer), 0);
    assert_memory_equal(copy, bytes, sizeof(bytes));
}

static void a_read_fault_is_sticky(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {1, 2, 3};
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, sizeof(bytes));
    assert_int_equal(wire_read_u32(&reader), 0);
    assert_int_equal(reader.fault, WIRE_FAULT_END);
    assert_int_equal(wire_read_u8(&reader), 0); /* though a byte would have been there */
    assert_int_equal(wire_read_u16(&reader), 0);
    assert_true(wire_read_u64(&reader) == 0);
    assert_int_equal(wire_read_varint(&reader), 0);
    uint32_t count = 7;
    (void)wire_read_prefixed(&reader, &count);
    assert_int_equal(count, 0);
    wire_reader_fail(&reader, WIRE_FAULT_VARINT);
    assert_int_equal(reader.fault, WIRE_FAULT_END);
}

static void a_write_fault_is_sticky_and_stays_inside(void **state)
{
    (void)state;
    struct guard_page guard;
    guard_page_init(&guard, 3);
    unsigned char *room = guard_page_room(&guard, 3);
    memset(room, 0xee, 3);
    struct wire_writer writer;
    wire_writer_init(&writer, room, 3);
    wire_write_u16(&writer, 0x0102);
    wire_write_u16(&writer, 0x0304);
    assert_int_equal(writer.fault, WIRE_FAULT_END);
    wire_write_u8(&writer, 0x05);
    wire_write_u64(&writer, 0x06);
    wire_write_bytes(&writer, "x", 1);
    wire_write_prefixed(&writer, NULL, 0);
    static const unsigned char expected[] = {1, 2, 0xee};
    assert_memory_equal(room, expected, sizeof(expected));
    guard_page_deinit(&guard);
}

static void an_empty_reader_and_writer_hold_nothing(void **state)
{
    (void)state;
    struct wire_reader reader;
    wire_reader_init(&reader, NULL, 0);
    (void)wire_read_bytes(&reader, 0);
    assert_int_equal(reader.fault, WIRE_FAULT_NONE);
    assert_int_equal(wire_read_u8(&reader), 0);
    assert_int_equal(reader.fault, WIRE_FAULT_END);

    struct wire_writer writer;
    wire_writer_init(&writer, NULL, 0);
    wire_write_bytes(&writer, NULL, 0);
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    wire_write_u8(&writer, 1);
    assert_int_equal(writer.fault, WIRE_FAULT_END);
}

/* MQTT 2.2.3, table 2.4 */
static void varints_have_the_sizes_of_the_specification(void **state)
{
    (void)state;
    static const struct {
        uint32_t value;
        uint32_t count;
        unsigned char bytes[4];
    } cases[] = {
        {0, 1, {0x00}},
        {127, 1, {0x7f}},
        {128, 2, {0x80, 0x01}},
        {16383, 2, {0xff, 0x7f}},
        {16384, 3, {0x80, 0x80, 0x01}},
        {2097151, 3, {0xff, 0xff, 0x7f}},
        {2097152, 4, {0x80, 0x80, 0x80, 0x01}},
        {268435455, 4, {0xff, 0xff, 0xff, 0x7f}},
    };
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        unsigned char bytes[4];
        struct wire_writer writer;
        wire_writer_init(&writer, bytes, sizeof(bytes));
        wire_write_varint(&writer, cases[index].value);
        assert_int_equal(writer.fault, WIRE_FAULT_NONE);
        assert_int_equal(writer.position - bytes, cases[index].count);
        assert_int_equal(wire_varint_bytes(cases[index].value), cases[index].count);
        assert_memory_equal(bytes, cases[index].bytes, cases[index].count);

        struct wire_reader reader;
        wire_reader_init(&reader, bytes, cases[index].count);
        assert_int_equal(wire_read_varint(&reader), cases[index].value);
        assert_int_equal(reader.fault, WIRE_FAULT_NONE);
        assert_int_equal(wire_reader_left(&reader), 0);

        wire_reader_init(&reader, bytes, cases[index].count - 1);
        assert_int_equal(wire_read_varint(&reader), 0);
        assert_int_equal(reader.fault, WIRE_FAULT_END);
    }
}

static void a_varint_of_five_bytes_is_a_fault_of_its_own(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0x80, 0x80, 0x80, 0x80, 0x01};
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, sizeof(bytes));
    assert_int_equal(wire_read_varint(&reader), 0);
    assert_int_equal(reader.fault, WIRE_FAULT_VARINT);
    wire_reader_init(&reader, bytes, 4); /* known at the fourth byte */
    assert_int_equal(wire_read_varint(&reader), 0);
    assert_int_equal(reader.fault, WIRE_FAULT_VARINT);

    unsigned char out[8];
    struct wire_writer writer;
    wire_writer_init(&writer, out, sizeof(out));
    wire_write_varint(&writer, WIRE_VARINT_MAX + 1);
    assert_int_equal(writer.fault, WIRE_FAULT_VARINT);
    assert_ptr_equal(writer.position, out);
}

static void prefixed_bytes_end_with_the_input(void **state)
{
    (void)state;
    static const unsigned char bytes[] = {0, 3, 'a', 'b', 'c'};
    struct guard_page guard;
    guard_page_init(&guard, sizeof(bytes));
    for (size_t count = 0; count <= sizeof(bytes); count++) {
        struct wire_reader reader;
        wire_reader_init(&reader, guard_page_put(&guard, bytes, count), count);
        uint32_t length;
        const unsigned char *view = wire_read_prefixed(&reader, &length);
        bool is_whole = count == sizeof(bytes);
        assert_int_equal(reader.fault, is_whole ? WIRE_FAULT_NONE : WIRE_FAULT_END);
        assert_int_equal(length, is_whole ? 3 : 0);
        if (is_whole)
            assert_memory_equal(view, "abc", 3);
    }
    guard_page_deinit(&guard);
}

static void prefixed_bytes_beyond_sixteen_bits_are_refused(void **state)
{
    (void)state;
    static unsigned char room[WIRE_PREFIXED_BYTES_MAX + 8];
    static const unsigned char long_text[WIRE_PREFIXED_BYTES_MAX + 1];
    struct wire_writer writer;
    wire_writer_init(&writer, room, sizeof(room));
    wire_write_prefixed(&writer, long_text, WIRE_PREFIXED_BYTES_MAX);
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    assert_int_equal(writer.position - room, WIRE_PREFIXED_BYTES_MAX + 2);
    wire_writer_init(&writer, room, sizeof(room));
    wire_write_prefixed(&writer, long_text, sizeof(long_text));
    assert_int_equal(writer.fault, WIRE_FAULT_END);
    assert_ptr_equal(writer.position, room);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(a_read_fault_is_sticky),
        cmocka_unit_test(a_write_fault_is_sticky_and_stays_inside),
        cmocka_unit_test(an_empty_reader_and_writer_hold_nothing),
        cmocka_unit_test(varints_have_the_sizes_of_the_specification),
        cmocka_unit_test(a_varint_of_five_bytes_is_a_fault_of_its_own),
        cmocka_unit_test(prefixed_bytes_end_with_the_input),
        cmocka_unit_test(prefixed_bytes_beyond_sixteen_bits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
