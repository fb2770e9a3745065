/*
 * The configuration: forms of values, a file's traps, what errors say, overrides, reload, print.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/config.h"
#include "core/heap.h"
#include "core/text.h"

struct settings {
    uint64_t expiry_ms;
    uint64_t sessions_max;
    uint64_t memory_bytes;
    bool is_anonymous;
    const char *data_dir;
    struct config_list listen;
    uint32_t commit;
};

static const char *const commits[] = {"synced", "written", "memory", NULL};

static const struct config_key keys[] = {
    {"session.expiry", CONFIG_DURATION, "7d", 0, 31536000000, NULL, NULL, true, "Time to live.",
     offsetof(struct settings, expiry_ms)},
    {"session.count_max", CONFIG_INTEGER, "1000", 1, 65535, "sessions", NULL, false, "How many.",
     offsetof(struct settings, sessions_max)},
    {"broker.memory_bytes", CONFIG_BYTES, "256M", 1024, 1099511627776, NULL, NULL, false, "Memory.",
     offsetof(struct settings, memory_bytes)},
    {"broker.commit", CONFIG_CHOICE, "synced", 0, 0, NULL, commits, false, "When.",
     offsetof(struct settings, commit)},
    {"anonymous", CONFIG_BOOLEAN, "no", 0, 0, NULL, NULL, true, "Whether.",
     offsetof(struct settings, is_anonymous)},
    {"data_dir", CONFIG_STRING, "", 0, 20, NULL, NULL, false, "Where.",
     offsetof(struct settings, data_dir)},
    {"listen", CONFIG_LIST, "127.0.0.1:1883", 0, 0, NULL, NULL, false, "Addresses.",
     offsetof(struct settings, listen)},
};

enum { OVERRIDES_MAX = 4 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct config_source source;
    struct config *config;
    const char *overrides[OVERRIDES_MAX];
    char error[CONFIG_ERROR_BYTES_MAX];
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    fixture->source = (struct config_source){.keys = keys,
                                             .key_count = ps_array_count(keys),
                                             .values_bytes = sizeof(struct settings),
                                             .path = "test.conf",
                                             .overrides = fixture->overrides};
}

static void tear_down(struct fixture *fixture)
{
    config_destroy(&fixture->heap, fixture->config);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
}

/* Loads a text; the settings of an error are NULL. */
static const struct settings *load(struct fixture *fixture, const char *text)
{
    config_destroy(&fixture->heap, fixture->config);
    fixture->config = NULL;
    int result = config_load_text(&fixture->heap, &fixture->source, text, strlen(text),
                                  &fixture->config, fixture->error, sizeof(fixture->error));
    if (result != 0) {
        assert_int_equal(result, -EINVAL);
        assert_null(fixture->config);
        assert_null(strchr(fixture->error, '\n'));
        return NULL;
    }
    return config_values(fixture->config);
}

static void override(struct fixture *fixture, const char *text)
{
    fixture->overrides[fixture->source.override_count++] = text;
}

static void assert_refused(struct fixture *fixture, const char *text, const char *error)
{
    assert_null(load(fixture, text));
    assert_string_equal(fixture->error, error);
}

static void without_a_file_every_key_has_its_default(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.source.path = NULL;
    assert_int_equal(config_load(&fixture.heap, &fixture.source, &fixture.config, fixture.error,
                                 sizeof(fixture.error)),
                     0);
    const struct settings *settings = config_values(fixture.config);
    assert_int_equal(settings->expiry_ms, 604800000);
    assert_int_equal(settings->sessions_max, 1000);
    assert_int_equal(settings->memory_bytes, 268435456);
    assert_int_equal(settings->commit, 0);
    assert_false(settings->is_anonymous);
    assert_string_equal(settings->data_dir, "");
    assert_int_equal(settings->listen.count, 1);
    assert_string_equal(settings->listen.items[0], "127.0.0.1:1883");
    assert_string_equal(config_text(fixture.config, "session.expiry"), "7d");
    assert_null(config_text(fixture.config, "session"));
    tear_down(&fixture);
}

static void a_file_names_keys_in_sections_or_with_dots(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    const struct settings *settings = load(&fixture, "#\n# a comment\n"
                                                     "session { expiry = 90s } # more\n"
                                                     "session.count_max = 5\r\n"
                                                     "broker {\n memory_bytes=2G\n commit=memory}\n"
                                                     "anonymous = on\n"
                                                     "data_dir = '/a # \"b\\'c'\n"
                                                     "listen = {\"[::1]:0\", 10.0.0.1:1}\n");
    assert_non_null(settings);
    assert_int_equal(settings->expiry_ms, 90000);
    assert_int_equal(settings->sessions_max, 5);
    assert_int_equal(settings->memory_bytes, 2147483648);
    assert_int_equal(settings->commit, 2);
    assert_true(settings->is_anonymous);
    assert_string_equal(settings->data_dir, "/a # \"b'c");
    assert_int_equal(settings->listen.count, 2);
    assert_string_equal(settings->listen.items[0], "[::1]:0");
    assert_string_equal(settings->listen.items[1], "10.0.0.1:1");
    settings = load(&fixture, "session {expiry=1s}\nsession {count_max=2}\nlisten = \"\"");
    assert_int_equal(settings->expiry_ms, 1000);
    assert_int_equal(settings->sessions_max, 2);
    assert_int_equal(settings->listen.count, 0);
    tear_down(&fixture);
}

static void every_form_of_a_number_is_understood(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t expiry_ms;
    } durations[] = {{"0", 0},
                     {"0d", 0},
                     {"5ms", 5},
                     {"5s", 5000},
                     {"5m", 300000},
                     {"5h", 18000000},
                     {"365d", 31536000000},
                     {"8760h", 31536000000}};
    static const struct {
        const char *text;
        uint64_t memory_bytes;
    } sizes[] = {{"1024", 1024}, {"3k", 3072}, {"3M", 3145728}, {"1024G", 1099511627776}};
    struct fixture fixture;
    set_up(&fixture);
    char line[64];
    for (size_t i = 0; i < ps_array_count(durations); i++) {
        snprintf(line, sizeof(line), "session.expiry = %s", durations[i].text);
        assert_int_equal(load(&fixture, line)->expiry_ms, durations[i].expiry_ms);
    }
    for (size_t i = 0; i < ps_array_count(sizes); i++) {
        snprintf(line, sizeof(line), "broker.memory_bytes = %s", sizes[i].text);
        assert_int_equal(load(&fixture, line)->memory_bytes, sizes[i].memory_bytes);
    }
    tear_down(&fixture);
}

static void a_wrong_value_is_refused_with_place_key_and_what_is_allowed(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_refused(&fixture, "# one\n\nsession {\n# two\n  expiry = 8x\n}\n",
                   "test.conf:5: session.expiry: \"8x\" is not a duration (digits with ms, s, m, h "
                   "or d); allowed: 0s to 365d");
    assert_refused(&fixture, "session.expiry = 366d",
                   "test.conf:1: session.expiry: \"366d\" is out of range; allowed: 0s to 365d");
    assert_refused(&fixture, "session.expiry = 5",
                   "test.conf:1: session.expiry: \"5\" is not a duration (digits with ms, s, m, h "
                   "or d); allowed: 0s to 365d");
    assert_refused(&fixture, "session.count_max = 0",
                   "test.conf:1: session.count_max: \"0\" is out of range; allowed: 1 to 65535 "
                   "sessions");
    assert_refused(&fixture, "session.count_max = -1",
                   "test.conf:1: session.count_max: \"-1\" is not a whole number; allowed: 1 to "
                   "65535 sessions");
    assert_refused(&fixture, "session.count_max = 18446744073709551617",
                   "test.conf:1: session.count_max: \"18446744073709551617\" is not a whole "
                   "number; allowed: 1 to 65535 sessions");
    assert_refused(&fixture, "broker.memory_bytes = 17179869184G",
                   "test.conf:1: broker.memory_bytes: \"17179869184G\" is not a size (digits, "
                   "perhaps with k, M or G); allowed: 1k to 1024G");
    assert_refused(&fixture, "broker.memory_bytes = k",
                   "test.conf:1: broker.memory_bytes: \"k\" is not a size (digits, perhaps with "
                   "k, M or G); allowed: 1k to 1024G");
    assert_refused(&fixture, "broker.commit = \"\\x1b\"",
                   "test.conf:1: broker.commit: \"\\x1b\" is not one of the choices; allowed: "
                   "synced or written or memory");
    assert_refused(&fixture, "anonymous = 1",
                   "test.conf:1: anonymous: \"1\" is not a truth value; allowed: true or false");
    assert_refused(&fixture, "data_dir = 123456789012345678901",
                   "test.conf:1: data_dir: \"123456789012345678901\" is too long; allowed: text "
                   "of at most 20 bytes");
    assert_refused(&fixture, "listen = {a, \"\"}",
                   "test.conf:1: listen: \"a,\" is not a list of texts; allowed: up to 64 texts "
                   "without commas");
    assert_refused(&fixture, "listen = {a, \"b,c\"}",
                   "test.conf:1: listen: an item of a list may not contain a comma");
    tear_down(&fixture);
}

static void an_unknown_key_is_refused_with_the_known_ones(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_refused(&fixture, "\nsession {\n expirey = 7d\n}",
                   "test.conf:3: unknown key \"expirey\" in session; allowed in session: expiry, "
                   "count_max");
    assert_refused(&fixture, "sesion { expiry = 7d }",
                   "test.conf:1: unknown key \"sesion\"; allowed: session.expiry, "
                   "session.count_max, broker.memory_bytes, broker.commit, anonymous, data_dir, "
                   "listen");
    tear_down(&fixture);
}

static void a_key_may_stand_once_in_a_file(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "session {expiry = 1s}\nsession.expiry = 1s",
        "session.expiry = 1s\nsession.expiry = 1s",
        "session {expiry = 1s\n expiry = 2s}",
        "session {expiry = 1s}\nsession {expiry = 2s}",
    };
    struct fixture fixture;
    set_up(&fixture);
    for (size_t i = 0; i < ps_array_count(texts); i++)
        assert_refused(&fixture, texts[i],
                       "test.conf:2: session.expiry: stands twice in the file; allowed: once");
    assert_refused(&fixture, "listen = {a, b}\nlisten = {c, d}",
                   "test.conf:2: listen: stands twice in the file; allowed: once");
    assert_refused(&fixture, "listen = \"\"\nlisten = c",
                   "test.conf:2: listen: stands twice in the file; allowed: once");
    tear_down(&fixture);
}

static void what_the_parser_would_misread_is_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_refused(&fixture, "listen = *:1883", "test.conf:1: '*' must stand in quotes");
    assert_refused(&fixture, "/* old style */", "test.conf:1: '*' must stand in quotes");
    assert_refused(&fixture, "listen += b", "test.conf:1: '+' must stand in quotes");
    assert_refused(&fixture, "session|expiry = 1s", "test.conf:1: '|' must stand in quotes");
    assert_refused(&fixture, "\ndata_dir = ${HOME}", "test.conf:2: '$' must stand in quotes");
    assert_refused(&fixture, "data_dir = \"${HOME}\"",
                   "test.conf:1: \"${\" has no meaning here; write \"\\${\" for the text");
    assert_refused(&fixture, "// remark", "test.conf:1: a comment begins with '#'");
    assert_refused(&fixture, "data_dir = x // remark", "test.conf:1: a comment begins with '#'");
    assert_refused(&fixture, "listen = {}", "test.conf:1: an empty list is written as \"\"");
    assert_refused(&fixture, "data_dir = \"a\nb\"",
                   "test.conf:1: a quote is not closed on its line");
    assert_refused(&fixture, "data_dir = 'a", "test.conf:1: a quote is not closed on its line");
    assert_refused(&fixture, "data_dir = a\x01", "test.conf:1: a control character (byte 1)");
    const struct settings *settings = load(&fixture, "data_dir = \"*+|()\\${x}//\"");
    assert_string_equal(settings->data_dir, "*+|()${x}//");
    settings = load(&fixture, "data_dir = http://a$b");
    assert_string_equal(settings->data_dir, "http://a$b");
    tear_down(&fixture);
}

static void broken_syntax_is_refused_at_its_line(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\nanonymous",   "\nanonymous = ",   "\nanonymous on",   "\n}",
        "\nsession = 1", "\nlisten = {a",    "\nlisten = {a b}", "\nsession { expiry = 1s",
        "\n= 3",         "\ndata_dir = {a}", "\nsession {{",     "\ndata_dir = \"\\777\"",
        "\n\"a\\nb\" c",
    };
    struct fixture fixture;
    set_up(&fixture);
    for (size_t i = 0; i < ps_array_count(texts); i++) {
        if (load(&fixture, texts[i]) != NULL)
            fail_msg("accepted: %s", texts[i]);
        assert_memory_equal(fixture.error, "test.conf:2: ", 13);
        assert_true(strlen(fixture.error) > 20);
    }
    tear_down(&fixture);
}

static void overrides_come_last_and_replace_each_other(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    override(&fixture, "session.expiry=2s");
    override(&fixture, "listen= a , b");
    override(&fixture, "session.expiry=3s");
    override(&fixture, "data_dir=a=b");
    const struct settings *settings = load(&fixture, "session.expiry = 1s");
    assert_int_equal(settings->expiry_ms, 3000);
    assert_int_equal(settings->listen.count, 2);
    assert_string_equal(settings->listen.items[0], "a");
    assert_string_equal(settings->listen.items[1], "b");
    assert_string_equal(settings->data_dir, "a=b");
    tear_down(&fixture);
}

static void a_wrong_override_is_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"session.expiry", "command line: \"session.expiry\": allowed: KEY=VALUE"},
        {"a\nb=1", "command line: unknown key \"a\\x0ab\"; --print-config lists what is allowed"},
        {"anonymous=",
         "command line: anonymous: \"\" is not a truth value; allowed: true or false"},
    };
    struct fixture fixture;
    set_up(&fixture);
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        fixture.source.override_count = 0;
        override(&fixture, cases[i][0]);
        assert_refused(&fixture, "", cases[i][1]);
    }
    tear_down(&fixture);
}

static void the_place_where_a_value_was_written_is_known(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    override(&fixture, "anonymous=yes");
    static const char text[] = "# one\nsession {\n  expiry = 8d\n}\nlisten = {a, b}\n";
    assert_int_equal(config_load_text(&fixture.heap, &fixture.source, text, strlen(text),
                                      &fixture.config, fixture.error, sizeof(fixture.error)),
                     0);
    static const char *const cases[][2] = {
        {"session.expiry", "test.conf:3: "},
        {"listen", "test.conf:5: "},
        {"anonymous", "command line: "},
        {"data_dir", ""},
    };
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        char origin[64];
        config_origin(fixture.config, cases[i][0], origin, sizeof(origin));
        assert_string_equal(origin, cases[i][1]);
    }
    tear_down(&fixture);
}

static void an_unreadable_file_is_named(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.source.path = "/nowhere/penstock.conf";
    assert_int_equal(config_load(&fixture.heap, &fixture.source, &fixture.config, fixture.error,
                                 sizeof(fixture.error)),
                     -ENOENT);
    assert_string_equal(fixture.error,
                        "/nowhere/penstock.conf: cannot be read: No such file or directory");
    fixture.source.path = "/tmp";
    assert_int_equal(config_load(&fixture.heap, &fixture.source, &fixture.config, fixture.error,
                                 sizeof(fixture.error)),
                     -EISDIR);
    tear_down(&fixture);
}

static void what_is_printed_can_be_read_back(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    override(&fixture, "listen=*:1883,b");
    override(&fixture, "data_dir=a\"\\$\n#{}'");
    assert_non_null(load(&fixture, "session.expiry = 60s broker.commit = written"));
    fixture.source.override_count = 0;
    struct text printed;
    text_init(&printed, &fixture.heap, 65536);
    config_print(fixture.config, &printed);
    static const char begin[] = "# Time to live. Default: 7d. Allowed: 0s to 365d. SIGHUP applies "
                                "changes.\nsession.expiry = 60s\n"
                                "# How many. Default: 1000. Allowed: 1 to 65535 sessions.\n"
                                "session.count_max = 1000\n";
    assert_memory_equal(text_string(&printed), begin, sizeof(begin) - 1);
    const struct settings *settings = load(&fixture, text_string(&printed));
    assert_string_equal(fixture.error, "");
    assert_int_equal(settings->expiry_ms, 60000);
    assert_int_equal(settings->commit, 1);
    assert_string_equal(settings->data_dir, "a\"\\$\n#{}'");
    assert_int_equal(settings->listen.count, 2);
    assert_string_equal(settings->listen.items[0], "*:1883");
    settings = load(&fixture, "listen = \"\"");
    text_clear(&printed);
    config_print(fixture.config, &printed);
    assert_int_equal(load(&fixture, text_string(&printed))->listen.count, 0);
    text_deinit(&printed);
    tear_down(&fixture);
}

struct changes {
    uint32_t count;
    char lines[512];
};

static void on_change(void *context, const struct config_key *key, const char *before,
                      const char *after, bool is_applied)
{
    struct changes *changes = context;
    size_t used = strlen(changes->lines);
    changes->count++;
    snprintf(changes->lines + used, sizeof(changes->lines) - used, "%s %s>%s %d;", key->name,
             before, after, is_applied);
}

static void write_text(int fd, const char *text)
{
    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pwrite(fd, text, strlen(text), 0), strlen(text));
}

static void reload_applies_what_it_may_and_tells_the_rest(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    char path[] = "/tmp/penstock_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    fixture.source.path = path;
    override(&fixture, "data_dir=/x");
    write_text(fd, "session.expiry = 1m\nlisten = {a, b}");
    assert_int_equal(config_load(&fixture.heap, &fixture.source, &fixture.config, fixture.error,
                                 sizeof(fixture.error)),
                     0);
    struct changes changes = {0};
    struct config *next = NULL;
    write_text(fd, "session.expiry = 60s\nlisten = {a,b}\ndata_dir = /y");
    assert_int_equal(config_reload(&fixture.heap, fixture.config, on_change, &changes, &next,
                                   fixture.error, sizeof(fixture.error)),
                     0);
    assert_int_equal(changes.count, 0);
    config_destroy(&fixture.heap, next);

    write_text(fd, "session {expiry = 2m\ncount_max = 9}\nlisten = c\nanonymous = yes");
    assert_int_equal(config_reload(&fixture.heap, fixture.config, on_change, &changes, &next,
                                   fixture.error, sizeof(fixture.error)),
                     0);
    assert_string_equal(changes.lines, "session.expiry 1m>2m 1;session.count_max 1000>9 0;"
                                       "anonymous no>yes 1;listen a,b>c 0;");
    const struct settings *settings = config_values(next);
    assert_int_equal(settings->expiry_ms, 120000);
    assert_int_equal(settings->sessions_max, 1000);
    assert_true(settings->is_anonymous);
    assert_int_equal(settings->listen.count, 2);
    assert_string_equal(settings->data_dir, "/x");
    config_destroy(&fixture.heap, fixture.config);
    fixture.config = next;

    write_text(fd, "session.expiry = never");
    changes = (struct changes){0};
    assert_int_equal(config_reload(&fixture.heap, fixture.config, on_change, &changes, &next,
                                   fixture.error, sizeof(fixture.error)),
                     -EINVAL);
    assert_int_equal(changes.count, 0);
    assert_ptr_equal(next, fixture.config);
    close(fd);
    unlink(path);
    tear_down(&fixture);
}

/* Every allocation fails once; nothing may leak or be half done. */
static void missing_memory_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    const char *text = "session {expiry = 1s}\nlisten = {a, b}\ndata_dir = x";
    int result = -ENOMEM;
    uint32_t failures = 0;
    for (uint64_t allocation = 1; result == -ENOMEM; allocation++) {
        fixture.error[0] = '\0';
        fixture.heap.fail_at = fixture.heap.allocations + allocation;
        result = config_load_text(&fixture.heap, &fixture.source, text, strlen(text),
                                  &fixture.config, fixture.error, sizeof(fixture.error));
        if (result == -ENOMEM) {
            assert_non_null(strstr(fixture.error, "out of memory"));
            assert_int_equal(fixture.heap.bytes_net, 0);
            failures++;
        }
    }
    assert_int_equal(result, 0);
    assert_true(failures > 10);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_every_key_has_its_default),
        cmocka_unit_test(a_file_names_keys_in_sections_or_with_dots),
        cmocka_unit_test(every_form_of_a_number_is_understood),
        cmocka_unit_test(a_wrong_value_is_refused_with_place_key_and_what_is_allowed),
        cmocka_unit_test(an_unknown_key_is_refused_with_the_known_ones),
        cmocka_unit_test(a_key_may_stand_once_in_a_file),
        cmocka_unit_test(what_the_parser_would_misread_is_refused),
        cmocka_unit_test(broken_syntax_is_refused_at_its_line),
        cmocka_unit_test(overrides_come_last_and_replace_each_other),
        cmocka_unit_test(a_wrong_override_is_named),
        cmocka_unit_test(the_place_where_a_value_was_written_is_known),
        cmocka_unit_test(an_unreadable_file_is_named),
        cmocka_unit_test(what_is_printed_can_be_read_back),
        cmocka_unit_test(reload_applies_what_it_may_and_tells_the_rest),
        cmocka_unit_test(missing_memory_is_told_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
