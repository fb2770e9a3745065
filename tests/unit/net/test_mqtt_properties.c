/*
 * Properties of MQTT 5.0: each kind is read, written and found; what stands at a wrong place, twice
 * or out of range is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/mqtt_properties.h"
#include "support/guard_page.h"

#define BLOCK(literal) (literal), sizeof(literal) - 1

/* 5.0, table 2-4: which packet may carry which property; W is the will. */
static void each_property_stands_where_the_table_says(void **state)
{
    (void)state;
    static const char places[] = "WCcPahmdSsUuXXDA"; /* by type; X: packets without properties */
    static const struct {
        const char *block;
        size_t bytes;
        const char *places;
    } cases[] = {
        {BLOCK("\x01\1"), "PW"},
        {BLOCK("\x02\0\0\0\0"), "PW"},
        {BLOCK("\x03\0\1t"), "PW"},
        {BLOCK("\x08\0\1t"), "PW"},
        {BLOCK("\x09\0\1\0"), "PW"},
        {BLOCK("\x0b\1"), "PS"},
        {BLOCK("\x11\xff\xff\xff\xff"), "CcD"},
        {BLOCK("\x12\0\1t"), "c"},
        {BLOCK("\x13\0\0"), "c"},
        {BLOCK("\x15\0\1t"), "CcA"},
        {BLOCK("\x16\0\1\xff"), "CcA"},
        {BLOCK("\x17\1"), "C"},
        {BLOCK("\x18\0\0\0\1"), "W"},
        {BLOCK("\x19\0"), "C"},
        {BLOCK("\x1a\0\1t"), "c"},
        {BLOCK("\x1c\0\1t"), "cD"},
        {BLOCK("\x1f\0\1t"), "cahmdsuDA"},
        {BLOCK("\x21\0\1"), "Cc"},
        {BLOCK("\x22\0\0"), "Cc"},
        {BLOCK("\x23\0\1"), "P"},
        {BLOCK("\x24\1"), "c"},
        {BLOCK("\x25\0"), "c"},
        {BLOCK("\x26\0\1k\0\1v"), "WCcPahmdSsUuDA"},
        {BLOCK("\x27\0\0\0\1"), "Cc"},
        {BLOCK("\x28\1"), "c"},
        {BLOCK("\x29\1"), "c"},
        {BLOCK("\x2a\1"), "c"},
    };
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        struct mqtt_bytes block = {(const unsigned char *)cases[index].block,
                                   (uint32_t)cases[index].bytes};
        for (unsigned place = 0; place < MQTT_PACKET_TYPES; place++) {
            enum mqtt_reason reason = mqtt_properties_check(&block, place);
            bool may_stand = strchr(cases[index].places, places[place]) != NULL;
            if (reason != (may_stand ? MQTT_GOOD : MQTT_MISPLACED_PROPERTY))
                fail_msg("%02x in %c: %s", block.bytes[0], places[place], mqtt_reason_name(reason));
        }
    }
}

static void bad_blocks_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *block;
        size_t bytes;
        unsigned place;
        enum mqtt_reason reason;
    } cases[] = {
        {BLOCK(""), MQTT_PUBLISH, MQTT_GOOD},
        {BLOCK("\0"), MQTT_PUBLISH, MQTT_MISPLACED_PROPERTY},
        {BLOCK("\x04\1"), MQTT_PUBLISH, MQTT_MISPLACED_PROPERTY},
        {BLOCK("\x2b\1"), MQTT_CONNACK, MQTT_MISPLACED_PROPERTY},
        {BLOCK("\xff\xff\xff\x7f\1"), MQTT_CONNACK, MQTT_MISPLACED_PROPERTY},
        {BLOCK("\x81\0\1"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES}, /* an id longer than needed */
        {BLOCK("\x80"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x01"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x02\0\0\0"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x03\0\2t"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x23\1"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x26\0\1k\0"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x0b\x80"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x0b\x81\0"), MQTT_PUBLISH, MQTT_BAD_PROPERTIES},
        {BLOCK("\x01\2"), MQTT_PUBLISH, MQTT_BAD_PROPERTY_VALUE},
        {BLOCK("\x0b\0"), MQTT_SUBSCRIBE, MQTT_BAD_PROPERTY_VALUE},
        {BLOCK("\x21\0\0"), MQTT_CONNECT, MQTT_BAD_PROPERTY_VALUE},
        {BLOCK("\x27\0\0\0\0"), MQTT_CONNECT, MQTT_BAD_PROPERTY_VALUE},
        {BLOCK("\x24\2"), MQTT_CONNACK, MQTT_BAD_PROPERTY_VALUE},
        {BLOCK("\x01\1\x01\1"), MQTT_PUBLISH, MQTT_REPEATED_PROPERTY},
        {BLOCK("\x0b\1\x0b\1"), MQTT_SUBSCRIBE, MQTT_REPEATED_PROPERTY},
        {BLOCK("\x0b\1\x0b\2"), MQTT_PUBLISH, MQTT_GOOD},
        {BLOCK("\x26\0\0\0\0\x26\0\0\0\0"), MQTT_PUBLISH, MQTT_GOOD},
        {BLOCK("\x03\0\1\x80"), MQTT_PUBLISH, MQTT_BAD_UTF8},
        {BLOCK("\x26\0\1\0\0\1v"), MQTT_PUBLISH, MQTT_BAD_UTF8},
        {BLOCK("\x26\0\1k\0\1\xc0"), MQTT_PUBLISH, MQTT_BAD_UTF8},
        {BLOCK("\x09\0\1\x80"), MQTT_PUBLISH, MQTT_GOOD},
        {BLOCK("\x08\0\1#"), MQTT_PUBLISH, MQTT_BAD_TOPIC},
        {BLOCK("\x08\0\0"), MQTT_PLACE_WILL, MQTT_BAD_TOPIC},
    };
    struct guard_page guard;
    guard_page_init(&guard, 64);
    for (size_t index = 0; index < ps_array_count(cases); index++) {
        struct mqtt_bytes block = {guard_page_put(&guard, cases[index].block, cases[index].bytes),
                                   (uint32_t)cases[index].bytes};
        enum mqtt_reason reason = mqtt_properties_check(&block, cases[index].place);
        if (reason != cases[index].reason)
            fail_msg("case %zu: %s", index, mqtt_reason_name(reason));
    }
    guard_page_deinit(&guard);
}

static void properties_are_written_walked_and_found(void **state)
{
    (void)state;
    static const struct mqtt_property properties[] = {
        {.id = MQTT_PROPERTY_PAYLOAD_FORMAT, .number = 1},
        {.id = MQTT_PROPERTY_MESSAGE_EXPIRY_SECONDS, .number = 0x01020304},
        {.id = MQTT_PROPERTY_CONTENT_TYPE, .text = {(const unsigned char *)"json", 4}},
        {.id = MQTT_PROPERTY_CORRELATION_DATA, .text = {(const unsigned char *)"\0\xff", 2}},
        {.id = MQTT_PROPERTY_SUBSCRIPTION_ID, .number = 268435455},
        {.id = MQTT_PROPERTY_TOPIC_ALIAS, .number = 0x1234},
        {.id = MQTT_PROPERTY_USER,
         .text = {(const unsigned char *)"key", 3},
         .second = {(const unsigned char *)"value", 5}},
    };
    unsigned char bytes[64];
    struct wire_writer writer;
    wire_writer_init(&writer, bytes, sizeof(bytes));
    for (size_t index = 0; index < ps_array_count(properties); index++)
        mqtt_property_write(&writer, &properties[index]);
    assert_int_equal(writer.fault, WIRE_FAULT_NONE);
    static const char expected[] = "\x01\1\x02\1\2\3\4\x03\0\4json\x09\0\2\0\xff"
                                   "\x0b\xff\xff\xff\x7f\x23\x12\x34\x26\0\3key\0\5value";
    struct mqtt_bytes block = {bytes, (uint32_t)(writer.position - bytes)};
    assert_int_equal(block.count, sizeof(expected) - 1);
    assert_memory_equal(bytes, expected, sizeof(expected) - 1);
    assert_int_equal(mqtt_properties_check(&block, MQTT_PUBLISH), MQTT_GOOD);

    uint32_t position = 0;
    struct mqtt_property property;
    for (size_t index = 0; index < ps_array_count(properties); index++) {
        assert_true(mqtt_property_next(&block, &position, &property));
        assert_int_equal(property.id, properties[index].id);
        assert_int_equal(property.number, properties[index].number);
        assert_int_equal(property.text.count, properties[index].text.count);
        assert_int_equal(property.second.count, properties[index].second.count);
        if (property.text.count > 0)
            assert_memory_equal(property.text.bytes, properties[index].text.bytes,
                                property.text.count);
        if (property.second.count > 0)
            assert_memory_equal(property.second.bytes, properties[index].second.bytes,
                                property.second.count);
    }
    assert_false(mqtt_property_next(&block, &position, &property));
    assert_true(mqtt_property_find(&block, MQTT_PROPERTY_TOPIC_ALIAS, &property));
    assert_int_equal(property.number, 0x1234);
    property.number = 7;
    assert_false(mqtt_property_find(&block, MQTT_PROPERTY_RESPONSE_TOPIC, &property));
    assert_int_equal(property.number, 7); /* results are written on success only */
}

static void a_block_that_is_full_takes_no_more(void **state)
{
    (void)state;
    unsigned char bytes[4];
    struct wire_writer writer;
    wire_writer_init(&writer, bytes, sizeof(bytes));
    struct mqtt_property property = {.id = MQTT_PROPERTY_MESSAGE_EXPIRY_SECONDS, .number = 1};
    mqtt_property_write(&writer, &property);
    assert_int_equal(writer.fault, WIRE_FAULT_END);
}

static void kinds_are_known_for_every_id(void **state)
{
    (void)state;
    assert_int_equal(mqtt_property_kind(0), MQTT_PROPERTY_NONE);
    assert_int_equal(mqtt_property_kind(0x04), MQTT_PROPERTY_NONE);
    assert_int_equal(mqtt_property_kind(MQTT_PROPERTY_USER), MQTT_PROPERTY_PAIR);
    assert_int_equal(mqtt_property_kind(MQTT_PROPERTY_SHARED_AVAILABLE), MQTT_PROPERTY_U8);
    assert_int_equal(mqtt_property_kind(MQTT_PROPERTY_IDS), MQTT_PROPERTY_NONE);
    assert_int_equal(mqtt_property_kind(UINT32_MAX), MQTT_PROPERTY_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_property_stands_where_the_table_says),
        cmocka_unit_test(bad_blocks_are_refused),
        cmocka_unit_test(properties_are_written_walked_and_found),
        cmocka_unit_test(a_block_that_is_full_takes_no_more),
        cmocka_unit_test(kinds_are_known_for_every_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
