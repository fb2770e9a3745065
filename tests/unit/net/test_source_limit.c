/*
 * Connections per source: counted by prefix, families apart, given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "net/source_limit.h"

static struct source_limit *create(uint8_t ipv4_bits, uint8_t ipv6_bits)
{
    struct source_limit *limit = calloc(1, sizeof(*limit));
    assert_non_null(limit);
    source_limit_init(limit, 7, ipv4_bits, ipv6_bits);
    return limit;
}

static struct source_address address(const char *text)
{
    struct source_address address = {.is_ipv6 = strchr(text, ':') != NULL};
    assert_int_equal(inet_pton(address.is_ipv6 ? AF_INET6 : AF_INET, text, address.bytes), 1);
    return address;
}

static bool enter(struct source_limit *limit, const char *text, uint32_t count_max)
{
    struct source_address from = address(text);
    return source_limit_enter(limit, &from, count_max);
}

static void leave(struct source_limit *limit, const char *text)
{
    struct source_address from = address(text);
    source_limit_leave(limit, &from);
}

static void a_source_has_so_many_connections_and_no_more(void **state)
{
    (void)state;
    struct source_limit *limit = create(32, 128);
    for (uint32_t i = 0; i < 3; i++)
        assert_true(enter(limit, "192.0.2.1", 3));
    assert_false(enter(limit, "192.0.2.1", 3));
    assert_false(enter(limit, "192.0.2.1", 3)); /* a refusal counts nothing */
    assert_true(enter(limit, "192.0.2.2", 3));
    leave(limit, "192.0.2.1");
    assert_true(enter(limit, "192.0.2.1", 3));
    assert_false(enter(limit, "192.0.2.1", 3));
    assert_true(enter(limit, "192.0.2.1", 0));
    free(limit);
}

static void addresses_with_one_prefix_are_one_source(void **state)
{
    (void)state;
    struct source_limit *limit = create(20, 61);
    assert_true(enter(limit, "10.1.16.1", 1));
    assert_false(enter(limit, "10.1.31.255", 1));
    assert_true(enter(limit, "10.1.32.0", 1));
    assert_true(enter(limit, "2001:db8:0:8::1", 1));
    assert_false(enter(limit, "2001:db8:0:f:1::", 1));
    assert_true(enter(limit, "2001:db8:0:10::", 1));
    free(limit);
}

static void a_mapped_address_is_the_one_that_it_stands_for(void **state)
{
    (void)state;
    struct source_limit *limit = create(32, 64);
    assert_true(enter(limit, "192.0.2.1", 1));
    assert_false(enter(limit, "::ffff:192.0.2.1", 1));
    assert_true(enter(limit, "::ffff:192.0.2.9", 1));
    leave(limit, "192.0.2.9");
    assert_true(enter(limit, "::", 1)); /* not the IPv4 network of the same bytes */
    assert_true(enter(limit, "0.0.0.0", 1));
    free(limit);
}

static void many_sources_do_not_stand_in_each_others_way(void **state)
{
    (void)state;
    struct source_limit *limit = create(32, 64);
    uint32_t refused = 0;
    for (uint32_t i = 0; i < 20000; i++) {
        char text[32];
        snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
        refused += !enter(limit, text, 4);
    }
    assert_int_equal(refused, 0);
    free(limit);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_has_so_many_connections_and_no_more),
        cmocka_unit_test(addresses_with_one_prefix_are_one_source),
        cmocka_unit_test(a_mapped_address_is_the_one_that_it_stands_for),
        cmocka_unit_test(many_sources_do_not_stand_in_each_others_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
