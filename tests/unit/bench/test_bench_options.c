/*
 * The command line says what is wrong with it, and gives what it was told otherwise.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench_options.h"
#include "core/base.h"
#include "net/address.h"

static char error[BENCH_ERROR_BYTES_MAX];

/* Parses a line of words separated by blanks. */
static int parse(const char *line, struct bench_options *out_options)
{
    static char text[512];
    static char *words[64];
    int count = 0;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " "))
        words[count++] = word;
    error[0] = '\0';
    return bench_options_parse(count, words, out_options, error, sizeof(error));
}

static struct bench_options parsed(const char *line)
{
    struct bench_options options = {0};
    assert_int_equal(parse(line, &options), 0);
    assert_string_equal(error, "");
    return options;
}

static void assert_refused(const char *line, const char *expected)
{
    struct bench_options options = {.port = 42};
    assert_int_equal(parse(line, &options), -EINVAL);
    assert_non_null(strstr(error, expected));
    assert_int_equal(options.port, 42); /* written only on success */
}

static void every_mode_has_a_name(void **state)
{
    (void)state;
    for (int mode = 0; mode < BENCH_MODES; mode++)
        assert_int_equal(parsed(bench_mode_name((enum bench_mode)mode)).mode, mode);
    assert_string_equal(bench_mode_name(BENCH_MODES), "unknown");
}

static void defaults_are_those_of_the_usage(void **state)
{
    (void)state;
    struct bench_options options = parsed("pairs");
    assert_string_equal(options.host, "127.0.0.1");
    assert_int_equal(options.port, 1883);
    assert_int_equal(options.connections, 100);
    assert_int_equal(options.duration_ms, 10000);
    assert_int_equal(options.window, 200);
    assert_int_equal(options.inflight, 256);
    assert_int_equal(options.payload_bytes, 64);
    assert_int_equal(options.keepalive_seconds, 60);
    assert_true(options.cpu == BENCH_CPU_ANY);
    assert_int_equal(parsed("pingpong").window, 1);
    assert_int_equal(parsed("pairs --rate 5000").window, 0);
    assert_int_equal(parsed("pub").window, 0);
}

static void runs_that_end_by_themselves_have_time(void **state)
{
    (void)state;
    assert_int_equal(parsed("pub --topics 200 --rounds 3").duration_ms, 600000);
    assert_int_equal(parsed("pub --topics 200").duration_ms, 10000);
    assert_int_equal(parsed("sub --missed 3 --seconds 5").duration_ms, 5000);
    assert_true(parsed("sub --missed 3").is_durable);
    assert_string_equal(parsed("sub --missed 3").id, "bench");
}

static void sessions_that_endure_stay_and_are_their_own(void **state)
{
    (void)state;
    struct bench_options options = parsed("endure --duplicate-age-ms 1500 --away 2.5");
    assert_true(options.is_durable);
    assert_null(options.id);
    assert_int_equal(options.window, 200);
    assert_int_equal(options.duplicate_age_ms, 1500);
    assert_int_equal(options.away_ms, 2500);
    assert_int_equal(bench_options_sockets(&options), 201);
}

static void options_of_another_mode_are_refused(void **state)
{
    (void)state;
    assert_refused("pairs --topics 200", "--topics belongs to the mode pub");
    assert_refused("pub --topics 99", "more publishers than topics");
    assert_refused("pub --rounds 9", "--rounds needs --topics");
    assert_refused("pairs --missed 9", "--missed belongs to the mode sub");
    assert_refused("pairs --filter #", "--filter belongs to");
    assert_refused("sub --filter #", "it needs --publishers");
}

static void values_come_as_a_word_or_behind_a_sign(void **state)
{
    (void)state;
    struct bench_options options =
        parsed("--port=7 fanin --connections 1000 --seconds 1.25 --qos 2 --json --topic=a/b");
    assert_int_equal(options.mode, BENCH_FANIN);
    assert_int_equal(options.port, 7);
    assert_int_equal(options.connections, 1000);
    assert_int_equal(options.duration_ms, 1250);
    assert_int_equal(options.qos, 2);
    assert_true(options.is_json);
    assert_false(options.is_quiet);
    assert_string_equal(options.topic, "a/b");
    assert_int_equal(parsed("pub --drain 0.001").drain_ms, 1);
    assert_int_equal(parsed("pub --drain 0").drain_ms, 0);
}

static void what_is_not_a_number_in_range_is_refused(void **state)
{
    (void)state;
    assert_refused("pub --qos 3", "--qos: \"3\" is not a number from 0 to 2");
    assert_refused("pub --port 0", "from 1 to 65535");
    assert_refused("pub --port -1", "--port");
    assert_refused("pub --port 1x", "--port");
    assert_refused("pub --port 99999999999999999999", "--port");
    assert_refused("pub --payload 23", "from 24 to");
    assert_refused("pub --connections 1.5", "--connections");
    assert_refused("pub --seconds 0", "--seconds");
    assert_refused("pub --seconds 1.2345", "--seconds");
    assert_refused("pub --seconds .5", "--seconds");
    assert_refused("pub --topic=", "--topic: between 1 and");
}

static void words_that_mean_nothing_are_refused(void **state)
{
    (void)state;
    assert_refused("", "a mode is missing");
    assert_refused("--json", "a mode is missing");
    assert_refused("walk", "unexpected word: walk");
    assert_refused("pub sub", "unexpected word: sub");
    assert_refused("pub --frob 1", "unknown option: --frob");
    assert_refused("pub --por 1", "unknown option: --por");
    assert_refused("pub --port", "--port needs a value");
    assert_refused("pub --json=1", "--json takes no value");
    assert_refused("pub --host example", "not an IPv4 or IPv6 address");
    assert_refused("pub --window 5", "--window");
    assert_refused("pub --publishers 5", "belongs to the mode sub");
    assert_refused("pub --password x", "needs --username");
    assert_refused("conn --host ::1 --addresses 2", "only IPv4");
}

static void durable_sessions_are_found_again(void **state)
{
    (void)state;
    assert_false(parsed("pairs").is_durable);
    assert_null(parsed("pairs").id);
    assert_true(parsed("pairs --durable").is_durable);
    assert_string_equal(parsed("pairs --durable").id, "bench");
    assert_string_equal(parsed("pairs --durable --id desk").id, "desk");
    assert_refused("pairs --durable=1", "--durable takes no value");
}

static void help_needs_no_mode(void **state)
{
    (void)state;
    assert_true(parsed("--help").is_help);
    assert_true(parsed("pub --help --qos 1").is_help);
}

static void modes_open_their_sockets(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        uint64_t sockets;
    } cases[] = {
        {"conn --connections 7", 7},      {"pub --connections 7", 7},
        {"sub --connections 7", 7},       {"pairs --connections 7", 14},
        {"pingpong --connections 7", 14}, {"fanout --connections 7", 8},
        {"fanin --connections 7", 8},
    };
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        struct bench_options options = parsed(cases[i].line);
        assert_int_equal(bench_options_sockets(&options), cases[i].sockets);
    }
}

static void assert_address(const struct bench_options *options, uint64_t connection,
                           const char *expected)
{
    struct sockaddr_storage address;
    socklen_t bytes = 0;
    char text[ADDRESS_TEXT_BYTES];
    assert_int_equal(bench_options_address(options, connection, &address, &bytes), 0);
    address_format(&address, text);
    assert_string_equal(text, expected);
}

static void loopback_connections_are_spread_over_addresses(void **state)
{
    (void)state;
    struct bench_options options = parsed("conn --connections 200000 --port 99");
    assert_int_equal(options.addresses, 25);
    assert_address(&options, 0, "127.0.0.1:99");
    assert_address(&options, 24, "127.0.0.25:99");
    assert_address(&options, 25, "127.0.0.1:99");
    options = parsed("conn --connections 20000");
    assert_int_equal(options.addresses, 1);
    options = parsed("pairs --connections 10001 --host 127.0.0.255");
    assert_int_equal(options.addresses, 3);
    assert_address(&options, 1, "127.0.1.0:1883");
    options = parsed("conn --connections 200000 --host 10.1.2.3");
    assert_int_equal(options.addresses, 1);
    options = parsed("conn --connections 200000 --host ::1 --port 5");
    assert_address(&options, 3, "[::1]:5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode_has_a_name),
        cmocka_unit_test(defaults_are_those_of_the_usage),
        cmocka_unit_test(runs_that_end_by_themselves_have_time),
        cmocka_unit_test(sessions_that_endure_stay_and_are_their_own),
        cmocka_unit_test(options_of_another_mode_are_refused),
        cmocka_unit_test(values_come_as_a_word_or_behind_a_sign),
        cmocka_unit_test(what_is_not_a_number_in_range_is_refused),
        cmocka_unit_test(words_that_mean_nothing_are_refused),
        cmocka_unit_test(durable_sessions_are_found_again),
        cmocka_unit_test(help_needs_no_mode),
        cmocka_unit_test(modes_open_their_sockets),
        cmocka_unit_test(loopback_connections_are_spread_over_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
