/*
 * The encoders: the bytes of each packet as the specification writes them, sizes known beforehand,
 * nothing written beyond them, and what MQTT cannot express answered with 0.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "net/mqtt_code.h"
#include "net/mqtt_decode.h"
#include "net/mqtt_encode.h"
#include "support/guard_page.h"

#define VIEW(literal)                                                                              \
    {                                                                                              \
        (const unsigned char *)(literal), sizeof(literal) - 1                                      \
    }

/* Encodes with `call`, whose last argument is `out`, and compares with the literal: the size asked
 * for beforehand, and the bytes, which end at a guarded page. */
#define assert_encodes(call, literal)                                                              \
    do {                                                                                           \
        struct guard_page guard;                                                                   \
        guard_page_init(&guard, sizeof(literal));                                                  \
        unsigned char *out = NULL;                                                                 \
        assert_int_equal((call), sizeof(literal) - 1);                                             \
        out = guard_page_room(&guard, sizeof(literal) - 1);                                        \
        assert_int_equal((call), sizeof(literal) - 1);                                             \
        assert_memory_equal(out, (literal), sizeof(literal) - 1);                                  \
        guard_page_deinit(&guard);                                                                 \
    } while (0)

static void publish_is_head_and_payload(void **state)
{
    (void)state;
    struct mqtt_publish publish = {.topic = VIEW("a/b"), .payload = VIEW("hello")};
    assert_encodes(mqtt_encode_publish(&publish, MQTT_3_1_1, out), "\x30\x0a\0\3a/bhello");
    assert_encodes(mqtt_encode_publish_head(&publish, MQTT_3_1_1, out), "\x30\x0a\0\3a/b");
    publish.qos = 1;
    publish.packet_id = 0x1234;
    assert_encodes(mqtt_encode_publish(&publish, MQTT_3_1, out), "\x32\x0c\0\3a/b\x12\64hello");
    assert_encodes(mqtt_encode_publish_head(&publish, MQTT_3_1_1, out), "\x32\x0c\0\3a/b\x12\64");
    publish.qos = 2;
    publish.is_dup = true;
    publish.is_retain = true;
    publish.payload.count = 0;
    assert_encodes(mqtt_encode_publish(&publish, MQTT_3_1_1, out), "\x3d\x07\0\3a/b\x12\64");
    publish.properties = (struct mqtt_bytes)VIEW("\1\1");
    assert_encodes(mqtt_encode_publish(&publish, MQTT_5_0, out), "\x3d\x0a\0\3a/b\x12\64\2\1\1");
    assert_encodes(mqtt_encode_publish(&publish, MQTT_3_1_1, out), "\x3d\x07\0\3a/b\x12\64");
}

static void answers_are_four_bytes(void **state)
{
    (void)state;
    assert_encodes(mqtt_encode_ack(MQTT_PUBACK, 0x1234, out), "\x40\2\x12\64");
    assert_encodes(mqtt_encode_ack(MQTT_PUBREC, 0x1234, out), "\x50\2\x12\64");
    assert_encodes(mqtt_encode_ack(MQTT_PUBREL, 0x1234, out), "\x62\2\x12\64");
    assert_encodes(mqtt_encode_ack(MQTT_PUBCOMP, 0xffff, out), "\x70\2\xff\xff");
    assert_encodes(mqtt_encode_ack(MQTT_UNSUBACK, 1, out), "\xb0\2\0\1");
}

static void answers_of_5_0_leave_out_what_is_empty(void **state)
{
    (void)state;
    struct mqtt_ack ack = {.packet_id = 0x1234};
    assert_encodes(mqtt_encode_ack_5(MQTT_PUBREL, &ack, out), "\x62\2\x12\64");
    ack.code = MQTT_CODE_PACKET_ID_NOT_FOUND;
    assert_encodes(mqtt_encode_ack_5(MQTT_PUBREL, &ack, out), "\x62\3\x12\64\x92");
    ack.properties = (struct mqtt_bytes)VIEW("\x1f\0\1x");
    assert_encodes(mqtt_encode_ack_5(MQTT_PUBCOMP, &ack, out), "\x70\10\x12\64\x92\4\x1f\0\1x");
    ack.code = 0;
    assert_encodes(mqtt_encode_ack_5(MQTT_PUBACK, &ack, out), "\x40\10\x12\64\0\4\x1f\0\1x");
    assert_encodes(mqtt_encode_ack_5(MQTT_DISCONNECT, &ack, out), "\xe0\6\0\4\x1f\0\1x");
    ack = (struct mqtt_ack){.code = MQTT_CODE_SERVER_SHUTTING_DOWN};
    assert_encodes(mqtt_encode_ack_5(MQTT_DISCONNECT, &ack, out), "\xe0\1\x8b");
    ack.code = 0;
    assert_encodes(mqtt_encode_ack_5(MQTT_DISCONNECT, &ack, out), "\xe0\0");
    ack.code = MQTT_CODE_CONTINUE_AUTHENTICATION;
    assert_encodes(mqtt_encode_ack_5(MQTT_AUTH, &ack, out), "\xf0\1\x18");
}

static void connack_shows_a_session_from_3_1_1_on(void **state)
{
    (void)state;
    struct mqtt_connack connack = {.is_session_present = true};
    assert_encodes(mqtt_encode_connack(&connack, MQTT_3_1, out), "\x20\2\0\0");
    assert_encodes(mqtt_encode_connack(&connack, MQTT_3_1_1, out), "\x20\2\1\0");
    assert_encodes(mqtt_encode_connack(&connack, MQTT_5_0, out), "\x20\3\1\0\0");
    connack = (struct mqtt_connack){.code = MQTT_CONNACK_NOT_AUTHORIZED};
    assert_encodes(mqtt_encode_connack(&connack, MQTT_3_1_1, out), "\x20\2\0\5");
    connack = (struct mqtt_connack){.code = MQTT_CONNACK_5_BAD_LEVEL};
    assert_encodes(mqtt_encode_connack(&connack, MQTT_5_0, out), "\x20\3\0\x84\0");
}

static void answers_to_lists_have_a_code_per_filter(void **state)
{
    (void)state;
    struct mqtt_codes codes = {.packet_id = 0x1234, .codes = VIEW("\0\1\2\x80")};
    assert_encodes(mqtt_encode_suback(&codes, MQTT_3_1_1, out), "\x90\6\x12\64\0\1\2\x80");
    assert_encodes(mqtt_encode_suback(&codes, MQTT_5_0, out), "\x90\7\x12\64\0\0\1\2\x80");
    assert_encodes(mqtt_encode_unsuback(&codes, MQTT_3_1_1, out), "\xb0\2\x12\64");
    codes.codes = (struct mqtt_bytes)VIEW("\0\x11");
    assert_encodes(mqtt_encode_unsuback(&codes, MQTT_5_0, out), "\xb0\5\x12\64\0\0\x11");
}

static void packets_without_fields_are_two_bytes(void **state)
{
    (void)state;
    assert_encodes(mqtt_encode_empty(MQTT_PINGREQ, out), "\xc0\0");
    assert_encodes(mqtt_encode_empty(MQTT_PINGRESP, out), "\xd0\0");
    assert_encodes(mqtt_encode_empty(MQTT_DISCONNECT, out), "\xe0\0");
}

static void connect_carries_what_its_flags_say(void **state)
{
    (void)state;
    struct mqtt_connect connect = {.level = MQTT_3_1_1,
                                   .is_clean = true,
                                   .keepalive_seconds = 60,
                                   .client_id = VIEW("abc"),
                                   .will_topic = VIEW("unused"),
                                   .user_name = VIEW("unused"),
                                   .password = VIEW("unused")};
    assert_encodes(mqtt_encode_connect(&connect, out), "\x10\x0f\0\4MQTT\4\2\0\x3c\0\3abc");
    connect.level = MQTT_3_1;
    assert_encodes(mqtt_encode_connect(&connect, out), "\x10\x11\0\6MQIsdp\3\2\0\x3c\0\3abc");
    connect.level = MQTT_5_0;
    assert_encodes(mqtt_encode_connect(&connect, out), "\x10\x10\0\4MQTT\5\2\0\x3c\0\0\3abc");
    connect = (struct mqtt_connect){.level = MQTT_3_1_1,
                                    .has_will = true,
                                    .will_qos = 2,
                                    .will_retain = true,
                                    .has_user_name = true,
                                    .has_password = true,
                                    .client_id = VIEW(""),
                                    .will_topic = VIEW("w"),
                                    .will_payload = VIEW("\0\1"),
                                    .user_name = VIEW("me"),
                                    .password = VIEW("p")};
    assert_encodes(mqtt_encode_connect(&connect, out),
                   "\x10\x1a\0\4MQTT\4\xf4\0\0\0\0\0\1w\0\2\0\1\0\2me\0\1p");
    connect.level = MQTT_5_0;
    connect.will_properties = (struct mqtt_bytes)VIEW("\x18\0\0\0\1");
    assert_encodes(mqtt_encode_connect(&connect, out),
                   "\x10\x21\0\4MQTT\5\xf4\0\0\0\0\0\5\x18\0\0\0\1\0\1w\0\2\0\1\0\2me\0\1p");
}

static void lists_of_filters_are_written_in_order(void **state)
{
    (void)state;
    static const struct mqtt_filter filters[] = {
        {.text = VIEW("a/b"), .qos = 1, .options = 0x2d},
        {.text = VIEW("c/#"), .qos = 2},
    };
    assert_encodes(mqtt_encode_filters(true, 10, filters, 2, MQTT_3_1_1, out),
                   "\x82\x0e\0\x0a\0\3a/b\1\0\3c/#\2");
    assert_encodes(mqtt_encode_filters(false, 10, filters, 2, MQTT_3_1_1, out),
                   "\xa2\x0c\0\x0a\0\3a/b\0\3c/#");
    assert_encodes(mqtt_encode_filters(true, 10, filters, 2, MQTT_5_0, out),
                   "\x82\x0f\0\x0a\0\0\3a/b\x2d\0\3c/#\2");
}

static void remaining_lengths_grow_at_their_limits(void **state)
{
    (void)state;
    static const struct {
        uint32_t remaining_bytes;
        uint32_t header_bytes;
    } cases[] = {
        {127, 2}, {128, 3}, {16383, 3}, {16384, 4}, {2097151, 4}, {2097152, 5}, {268435455, 5},
    };
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        struct mqtt_publish publish = {.topic = VIEW("t"),
                                       .payload.count = cases[index].remaining_bytes - 3};
        unsigned char head[8];
        assert_int_equal(mqtt_encode_publish_head(&publish, MQTT_3_1_1, head),
                         cases[index].header_bytes + 3);
        struct mqtt_frame frame;
        mqtt_frame_find(head, cases[index].header_bytes, MQTT_PACKET_BYTES_MAX, &frame);
        assert_int_equal(frame.header_bytes, cases[index].header_bytes);
        assert_int_equal(frame.packet_bytes,
                         cases[index].header_bytes + cases[index].remaining_bytes);
    }
}

static void what_mqtt_cannot_express_is_not_written(void **state)
{
    (void)state;
    static unsigned char long_text[65536];
    unsigned char out[16];
    memset(out, 0xee, sizeof(out));
    struct mqtt_publish publish = {.topic = VIEW("t"),
                                   .payload.count = MQTT_REMAINING_BYTES_MAX - 2};
    assert_int_equal(mqtt_encode_publish_head(&publish, MQTT_3_1_1, out), 0);
    assert_int_equal(mqtt_encode_publish(&publish, MQTT_3_1_1, out), 0);
    publish.payload.count = UINT32_MAX;
    assert_int_equal(mqtt_encode_publish_head(&publish, MQTT_3_1_1, out), 0);
    publish = (struct mqtt_publish){.topic = {long_text, 65536}};
    assert_int_equal(mqtt_encode_publish(&publish, MQTT_3_1_1, NULL), 0);
    assert_int_equal(mqtt_encode_publish(&publish, MQTT_3_1_1, out), 0);
    publish.topic.count = 65535;
    assert_int_equal(mqtt_encode_publish(&publish, MQTT_3_1_1, NULL), 4 + 2 + 65535);

    struct mqtt_connect connect = {.level = MQTT_3_1_1, .client_id = {long_text, 65536}};
    assert_int_equal(mqtt_encode_connect(&connect, out), 0);
    struct mqtt_filter filter = {.text = {long_text, 65536}};
    assert_int_equal(mqtt_encode_filters(true, 1, &filter, 1, MQTT_3_1_1, out), 0);
    struct mqtt_codes codes = {.codes = {long_text, MQTT_REMAINING_BYTES_MAX - 1}};
    assert_int_equal(mqtt_encode_suback(&codes, MQTT_3_1_1, out), 0);
    struct mqtt_ack ack = {.properties = {long_text, UINT32_MAX}};
    assert_int_equal(mqtt_encode_ack_5(MQTT_DISCONNECT, &ack, out), 0);
    struct mqtt_connack connack = {.properties = {long_text, UINT32_MAX}};
    assert_int_equal(mqtt_encode_connack(&connack, MQTT_5_0, out), 0);
    for (size_t index = 0; index < sizeof(out); index++)
        assert_int_equal(out[index], 0xee);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(publish_is_head_and_payload),
        cmocka_unit_test(answers_are_four_bytes),
        cmocka_unit_test(answers_of_5_0_leave_out_what_is_empty),
        cmocka_unit_test(connack_shows_a_session_from_3_1_1_on),
        cmocka_unit_test(answers_to_lists_have_a_code_per_filter),
        cmocka_unit_test(packets_without_fields_are_two_bytes),
        cmocka_unit_test(connect_carries_what_its_flags_say),
        cmocka_unit_test(lists_of_filters_are_written_in_order),
        cmocka_unit_test(remaining_lengths_grow_at_their_limits),
        cmocka_unit_test(what_mqtt_cannot_express_is_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
