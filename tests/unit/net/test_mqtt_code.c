/*
 * Each packet carries the codes that the specification lists for it, and no other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "net/mqtt_code.h"

static void assert_allowed(enum mqtt_type type, enum mqtt_level level, const char *codes,
                           size_t count)
{
    for (unsigned code = 0; code < 256; code++) {
        bool is_listed = count > 0 && memchr(codes, (int)code, count) != NULL;
        if (mqtt_code_is_allowed(type, level, (uint8_t)code) != is_listed)
            fail_msg("%s with %02x", mqtt_type_name(type), code);
    }
}

#define CODES(literal) (literal), sizeof(literal) - 1

static void before_5_0_two_packets_carry_codes(void **state)
{
    (void)state;
    assert_allowed(MQTT_CONNACK, MQTT_3_1, CODES("\0\1\2\3\4\5"));
    assert_allowed(MQTT_CONNACK, MQTT_3_1_1, CODES("\0\1\2\3\4\5"));
    assert_allowed(MQTT_SUBACK, MQTT_3_1_1, CODES("\0\1\2\x80")); /* [MQTT-3.9.3-2] */
    assert_allowed(MQTT_PUBACK, MQTT_3_1_1, NULL, 0);
    assert_allowed(MQTT_DISCONNECT, MQTT_3_1_1, NULL, 0);
}

/* The tables of 5.0: 3.2.2.2, 3.4.2.1, 3.5.2.1, 3.6.2.1, 3.7.2.1, 3.9.3, 3.11.3, 3.14.2.1, 3.15.2.1
 */
static void packets_of_5_0_carry_the_codes_of_their_table(void **state)
{
    (void)state;
    assert_allowed(MQTT_CONNACK, MQTT_5_0,
                   CODES("\0\x80\x81\x82\x83\x84\x85\x86\x87\x88\x89\x8a\x8c\x90\x95\x97\x99\x9a"
                         "\x9b\x9c\x9d\x9f"));
    assert_allowed(MQTT_PUBACK, MQTT_5_0, CODES("\0\x10\x80\x83\x87\x90\x91\x97\x99"));
    assert_allowed(MQTT_PUBREC, MQTT_5_0, CODES("\0\x10\x80\x83\x87\x90\x91\x97\x99"));
    assert_allowed(MQTT_PUBREL, MQTT_5_0, CODES("\0\x92"));
    assert_allowed(MQTT_PUBCOMP, MQTT_5_0, CODES("\0\x92"));
    assert_allowed(MQTT_SUBACK, MQTT_5_0, CODES("\0\1\2\x80\x83\x87\x8f\x91\x97\x9e\xa1\xa2"));
    assert_allowed(MQTT_UNSUBACK, MQTT_5_0, CODES("\0\x11\x80\x83\x87\x8f\x91"));
    assert_allowed(
        MQTT_DISCONNECT, MQTT_5_0,
        CODES("\0\4\x80\x81\x82\x83\x87\x89\x8b\x8c\x8d\x8e\x8f\x90\x93\x94\x95\x96\x97\x98"
              "\x99\x9a\x9b\x9c\x9d\x9e\x9f\xa0\xa1\xa2"));
    assert_allowed(MQTT_AUTH, MQTT_5_0, CODES("\0\x18\x19"));
    assert_allowed(MQTT_PINGREQ, MQTT_5_0, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_5_0_two_packets_carry_codes),
        cmocka_unit_test(packets_of_5_0_carry_the_codes_of_their_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
