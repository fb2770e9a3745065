/*
 * Addresses as text: what is taken, what is refused and why, and the way back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>

#include "core/base.h"
#include "net/address.h"

static void hosts_and_ports_are_taken_and_formatted(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"127.0.0.1:1883", "127.0.0.1:1883"},
        {"[::1]:0", "[::1]:0"},
        {":1883", "0.0.0.0:1883"},
        {"[2001:db8::5]:65535", "[2001:db8::5]:65535"},
    };
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        struct sockaddr_storage address;
        socklen_t bytes = 0;
        assert_int_equal(address_parse(cases[i][0], &address, &bytes), 0);
        char text[ADDRESS_TEXT_BYTES];
        address_format(&address, text);
        assert_string_equal(text, cases[i][1]);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "",    "1883",     "127.0.0.1", "127.0.0.1:",      "127.0.0.1:65536", "127.0.0.1:-1",
        "a:b", "::1:1883", "[::1]",     "127.0.0.1:1883x", "127.0.0.1: 1883",
    };
    struct sockaddr_storage address;
    socklen_t bytes = 0;
    for (size_t i = 0; i < ps_array_count(cases); i++)
        assert_int_equal(address_parse(cases[i], &address, &bytes), -EINVAL);
    /* The top-level domain is reserved for names that do not exist. */
    assert_int_equal(address_parse("penstock.invalid:1883", &address, &bytes), -ENOENT);
}

static void loopback_addresses_are_told_from_others(void **state)
{
    (void)state;
    static const char *const loopback[] = {"127.0.0.1:1", "127.255.0.9:0", "[::1]:1",
                                           "[::ffff:127.0.0.1]:1"};
    static const char *const others[] = {":1", "0.0.0.0:1", "[::]:1", "128.0.0.1:1",
                                         "[::ffff:192.0.2.1]:1"};
    struct sockaddr_storage address;
    socklen_t bytes = 0;
    for (size_t i = 0; i < ps_array_count(loopback); i++) {
        assert_int_equal(address_parse(loopback[i], &address, &bytes), 0);
        assert_true(address_is_loopback(&address));
    }
    for (size_t i = 0; i < ps_array_count(others); i++) {
        assert_int_equal(address_parse(others[i], &address, &bytes), 0);
        assert_false(address_is_loopback(&address));
        assert_int_equal(address_port(&address), 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_and_ports_are_taken_and_formatted),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(loopback_addresses_are_told_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
