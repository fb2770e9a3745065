/*
 * The log's lines: form, levels, the ring between shards and the helper thread, and its losses.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "core/heap.h"
#include "core/log.h"

#define TIME_TEXT "ts=2026-01-02T03:04:05.678Z "

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct log *log;
    int read_fd;
    int write_fd;
    uint32_t wakes;
    char output[262144];
};

static uint64_t fixed_now_ms(void *context)
{
    (void)context;
    return 1767323045678;
}

static void count_wake(void *context)
{
    struct fixture *fixture = context;
    fixture->wakes++;
}

static void set_up(struct fixture *fixture, enum log_level level)
{
    memset(fixture, 0, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    int fds[2];
    assert_int_equal(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
    fixture->read_fd = fds[0];
    fixture->write_fd = fds[1];
    struct log_options options = {
        .fd = fds[1], .level = level, .ring_bytes_max = 4096, .now_ms = fixed_now_ms};
    assert_int_equal(log_create(&fixture->heap, &options, &fixture->log), 0);
}

static void tear_down(struct fixture *fixture)
{
    log_destroy(&fixture->heap, fixture->log);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
    close(fixture->read_fd);
    close(fixture->write_fd);
}

/* What was written since the last call. */
static const char *written(struct fixture *fixture)
{
    size_t count = 0;
    ssize_t result;
    while ((result = read(fixture->read_fd, fixture->output + count,
                          sizeof(fixture->output) - 1 - count)) > 0)
        count += (size_t)result;
    fixture->output[count] = '\0';
    return fixture->output;
}

static void a_line_carries_time_level_event_and_pairs(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_write(fixture.log, LOG_INFO, "ready", "listen=%s shards=%d", "127.0.0.1:41883", 2);
    assert_string_equal(written(&fixture),
                        TIME_TEXT "level=info event=ready listen=127.0.0.1:41883 shards=2\n");
    log_write(fixture.log, LOG_FATAL, "stop", "%s", "");
    assert_string_equal(written(&fixture), TIME_TEXT "level=fatal event=stop\n");
    tear_down(&fixture);
}

static void lines_below_the_level_are_not_made(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_WARNING);
    log_write(fixture.log, LOG_INFO, "quiet", "a=%d", 1);
    assert_string_equal(written(&fixture), "");
    log_set_level(fixture.log, LOG_DEBUG);
    assert_true(log_is_enabled(fixture.log, LOG_DEBUG));
    log_write(fixture.log, LOG_DEBUG, "loud", "a=%d", 1);
    assert_string_equal(written(&fixture), TIME_TEXT "level=debug event=loud a=1\n");
    assert_int_equal(log_counters(fixture.log)->lines, 1);
    tear_down(&fixture);
}

static void an_event_is_one_line_whatever_it_says(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_write(fixture.log, LOG_INFO, "odd", "text=%s", "a\nb\tc\x7f");
    assert_string_equal(written(&fixture), TIME_TEXT "level=info event=odd text=a?b?c?\n");
    tear_down(&fixture);
}

static void a_long_line_is_cut_and_says_so(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    for (int length = 900; length < 1100; length++) {
        uint64_t cut_before = log_counters(fixture.log)->lines_cut;
        log_write(fixture.log, LOG_INFO, "long", "text=%0*d", length, 0);
        const char *line = written(&fixture);
        size_t whole = strlen(TIME_TEXT "level=info event=long text=\n") + (size_t)length;
        bool is_cut = whole > LOG_LINE_BYTES_MAX;
        assert_int_equal(strlen(line), is_cut ? LOG_LINE_BYTES_MAX : whole);
        assert_int_equal(strstr(line, "0 cut=1\n") != NULL, is_cut);
        assert_int_equal(log_counters(fixture.log)->lines_cut - cut_before, is_cut);
    }
    tear_down(&fixture);
}

static void quoting_hides_what_is_not_printable(void **state)
{
    (void)state;
    char buffer[64];
    assert_string_equal(log_quote(buffer, sizeof(buffer), "a b", 3), "\"a b\"");
    assert_string_equal(log_quote(buffer, sizeof(buffer), "", 0), "\"\"");
    assert_string_equal(log_quote(buffer, sizeof(buffer), "a\"\\\n\0\xff", 6),
                        "\"a\\x22\\x5c\\x0a\\x00\\xff\"");
    assert_string_equal(log_quote(buffer, 10, "abcdefgh", 8), "\"abcd...\"");
    assert_string_equal(log_quote(buffer, 9, "ab\nd", 4), "\"ab...\"");
    memset(buffer, 'x', sizeof(buffer));
    assert_string_equal(log_quote(buffer, 8, "abcdefgh", 8), "\"ab...\"");
    assert_int_equal(buffer[8], 'x');
}

static void deferred_lines_wait_for_the_drain(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_defer(fixture.log, count_wake, &fixture);
    log_write(fixture.log, LOG_INFO, "one", "a=%d", 1);
    log_write(fixture.log, LOG_INFO, "two", "a=%d", 2);
    assert_string_equal(written(&fixture), "");
    assert_int_not_equal(log_waiting_bytes(fixture.log), 0);
    log_drain(fixture.log);
    assert_string_equal(written(&fixture), TIME_TEXT "level=info event=one a=1\n" TIME_TEXT
                                                     "level=info event=two a=2\n");
    assert_int_equal(log_waiting_bytes(fixture.log), 0);
    tear_down(&fixture);
}

static void a_full_ring_drops_lines_and_the_drain_says_how_many(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_defer(fixture.log, count_wake, &fixture);
    for (int i = 0; i < 100; i++)
        log_write(fixture.log, LOG_INFO, "many", "number=%050d", i);
    uint64_t dropped = log_counters(fixture.log)->lines_dropped;
    assert_true(dropped > 0 && dropped < 100);
    assert_int_equal(fixture.wakes, 1);
    log_drain(fixture.log);
    const char *output = written(&fixture);
    uint32_t lines = 0;
    for (const char *at = output; (at = strchr(at, '\n')) != NULL; at++)
        lines++;
    assert_int_equal(lines, 100 - dropped + 1);
    char last[128];
    snprintf(last, sizeof(last), TIME_TEXT "level=warning event=log_dropped lines=%u\n",
             (unsigned)dropped);
    assert_string_equal(output + strlen(output) - strlen(last), last);
    log_drain(fixture.log);
    assert_string_equal(written(&fixture), "");
    tear_down(&fixture);
}

static void the_ring_keeps_lines_whole_when_it_wraps(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_defer(fixture.log, NULL, NULL);
    for (int i = 0; i < 500; i++) {
        char line[128];
        snprintf(line, sizeof(line), TIME_TEXT "level=info event=wrap number=%0*d\n", 1 + i % 31,
                 i);
        log_write(fixture.log, LOG_INFO, "wrap", "number=%0*d", 1 + i % 31, i);
        log_drain(fixture.log);
        assert_string_equal(written(&fixture), line);
    }
    tear_down(&fixture);
}

static void a_fatal_line_is_written_at_once_behind_what_waits(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_defer(fixture.log, NULL, NULL);
    log_write(fixture.log, LOG_INFO, "before", "a=%d", 1);
    log_write(fixture.log, LOG_FATAL, "end", "a=%d", 2);
    assert_string_equal(written(&fixture), TIME_TEXT "level=info event=before a=1\n" TIME_TEXT
                                                     "level=fatal event=end a=2\n");
    tear_down(&fixture);
}

/* Fills the pipe, then lets it take the rest: every line is written whole or counted. */
static void a_descriptor_that_would_block_keeps_lines_for_the_next_drain(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    assert_int_not_equal(fcntl(fixture.write_fd, F_SETPIPE_SZ, 4096), -1);
    for (int i = 0; i < 60; i++)
        log_write(fixture.log, LOG_INFO, "many", "number=%0100d", i);
    assert_int_not_equal(log_waiting_bytes(fixture.log), 0);
    char all[16384] = "";
    do {
        strcat(all, written(&fixture));
        log_drain(fixture.log);
    } while (log_waiting_bytes(fixture.log) > 0);
    strcat(all, written(&fixture));
    uint32_t lines = 0;
    uint32_t dropped = 0;
    for (const char *at = all; *at != '\0'; at = strchr(at, '\n') + 1) {
        unsigned count = 0;
        if (sscanf(at, TIME_TEXT "level=warning event=log_dropped lines=%u", &count) == 1)
            dropped += count;
        else if (strncmp(at, TIME_TEXT "level=info event=many number=000", 60) == 0)
            lines++;
    }
    assert_int_equal(dropped, log_counters(fixture.log)->lines_dropped);
    assert_int_equal(lines, 60 - dropped);
    assert_int_equal(log_counters(fixture.log)->write_errors, 0);
    tear_down(&fixture);
}

static void a_broken_descriptor_is_counted_and_stops_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(dup2(fd, fixture.write_fd) >= 0);
    close(fd);
    log_write(fixture.log, LOG_INFO, "lost", "a=%d", 1);
    assert_int_equal(log_counters(fixture.log)->write_errors, 1);
    assert_int_equal(log_waiting_bytes(fixture.log), 0);
    tear_down(&fixture);
}

enum { WRITERS = 4, LINES_PER_WRITER = 200 };

static void *write_lines(void *argument)
{
    struct log *log = argument;
    for (int i = 0; i < LINES_PER_WRITER; i++)
        log_write(log, LOG_INFO, "threads", "number=%d", i);
    return NULL;
}

static void lines_of_several_threads_never_mix(void **state)
{
    (void)state;
    static struct fixture fixture;
    set_up(&fixture, LOG_INFO);
    log_defer(fixture.log, NULL, NULL);
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, fixture.log), 0);
    uint32_t lines = 0;
    uint64_t told = 0;
    bool is_last = false;
    for (int joined = 0; !is_last;) {
        is_last = joined == WRITERS;
        log_drain(fixture.log);
        char *line = fixture.output;
        written(&fixture);
        for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
            *end = '\0';
            unsigned count = 0;
            int number = -1;
            if (sscanf(line, TIME_TEXT "level=warning event=log_dropped lines=%u", &count) == 1)
                told += count;
            else if (sscanf(line, TIME_TEXT "level=info event=threads number=%d", &number) == 1)
                lines++;
            else
                fail_msg("mixed: %s", line);
        }
        if (joined < WRITERS)
            assert_int_equal(pthread_join(threads[joined++], NULL), 0);
    }
    assert_int_equal(lines + told, WRITERS * LINES_PER_WRITER);
    assert_int_equal(told, log_counters(fixture.log)->lines_dropped);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_carries_time_level_event_and_pairs),
        cmocka_unit_test(lines_below_the_level_are_not_made),
        cmocka_unit_test(an_event_is_one_line_whatever_it_says),
        cmocka_unit_test(a_long_line_is_cut_and_says_so),
        cmocka_unit_test(quoting_hides_what_is_not_printable),
        cmocka_unit_test(deferred_lines_wait_for_the_drain),
        cmocka_unit_test(a_full_ring_drops_lines_and_the_drain_says_how_many),
        cmocka_unit_test(the_ring_keeps_lines_whole_when_it_wraps),
        cmocka_unit_test(a_fatal_line_is_written_at_once_behind_what_waits),
        cmocka_unit_test(a_descriptor_that_would_block_keeps_lines_for_the_next_drain),
        cmocka_unit_test(a_broken_descriptor_is_counted_and_stops_nothing),
        cmocka_unit_test(lines_of_several_threads_never_mix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
