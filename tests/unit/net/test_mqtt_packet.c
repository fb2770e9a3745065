/*
 * Every type and reason has a name of its own, since they are metric labels.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "net/mqtt_packet.h"

static void every_reason_has_a_label_of_its_own(void **state)
{
    (void)state;
    for (unsigned reason = 0; reason < MQTT_REASONS; reason++) {
        const char *name = mqtt_reason_name((enum mqtt_reason)reason);
        assert_non_null(name);
        assert_string_not_equal(name, "unknown");
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(name));
        for (unsigned other = 0; other < reason; other++)
            assert_string_not_equal(name, mqtt_reason_name((enum mqtt_reason)other));
    }
    assert_string_equal(mqtt_reason_name(MQTT_REASONS), "unknown");
}

static void every_type_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (unsigned type = MQTT_CONNECT; type < MQTT_PACKET_TYPES; type++) {
        const char *name = mqtt_type_name((enum mqtt_type)type);
        assert_string_not_equal(name, "unknown");
        for (unsigned other = MQTT_CONNECT; other < type; other++)
            assert_string_not_equal(name, mqtt_type_name((enum mqtt_type)other));
    }
    assert_string_equal(mqtt_type_name((enum mqtt_type)0), "unknown");
    assert_string_equal(mqtt_type_name(MQTT_PACKET_TYPES), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_a_label_of_its_own),
        cmocka_unit_test(every_type_has_a_name_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
