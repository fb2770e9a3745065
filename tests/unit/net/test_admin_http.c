/*
 * The administrator's HTTP server, asked over a real socket.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/text.h"
#include "core/wire.h"
#include "net/admin_http.h"

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct log *log;
    int log_fd;
    struct sockaddr_storage address;
    struct admin_http *server;
    _Atomic bool is_healthy;
    _Atomic bool is_ready;
    size_t metrics_bytes;
    char answer[65536];
};

static void on_metrics(void *context, struct text *text)
{
    const struct fixture *fixture = context;
    text_append(text, "penstock_up 1\n");
    for (size_t i = 0; i < fixture->metrics_bytes; i++)
        text_append_bytes(text, "x", 1);
}

static bool on_health(void *context, struct text *text)
{
    struct fixture *fixture = context;
    (void)text;
    return fixture->is_healthy;
}

static bool on_ready(void *context, struct text *text)
{
    struct fixture *fixture = context;
    if (!fixture->is_ready)
        text_append(text, "draining");
    return fixture->is_ready;
}

static int start(struct fixture *fixture, struct admin_http **out_server)
{
    struct admin_http_options options = {.budget = &fixture->budget,
                                         .log = fixture->log,
                                         .callbacks = {.context = fixture,
                                                       .on_metrics = on_metrics,
                                                       .on_health = on_health,
                                                       .on_ready = on_ready}};
    return admin_http_start(&options, &fixture->address, sizeof(struct sockaddr_in), out_server);
}

static void set_up(struct fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    fixture->log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    struct log_options log_options = {.fd = fixture->log_fd};
    assert_int_equal(log_create(&fixture->heap, &log_options, &fixture->log), 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    wire_store_u32((unsigned char *)&address.sin_addr.s_addr, INADDR_LOOPBACK);
    memcpy(&fixture->address, &address, sizeof(address));
    assert_int_equal(start(fixture, &fixture->server), 0);
}

static void tear_down(struct fixture *fixture)
{
    admin_http_stop(fixture->server);
    log_destroy(&fixture->heap, fixture->log);
    heap_deinit(&fixture->heap);
    assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
    close(fixture->log_fd);
}

static uint16_t port(const struct fixture *fixture)
{
    struct sockaddr_in address;
    memcpy(&address, &fixture->address, sizeof(address));
    return wire_load_u16((const unsigned char *)&address.sin_port);
}

static int connect_to(const struct fixture *fixture)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(
        connect(fd, (const struct sockaddr *)&fixture->address, sizeof(struct sockaddr_in)), 0);
    return fd;
}

/* Sends a request and reads until the server closes. */
static const char *ask(struct fixture *fixture, const char *request)
{
    int fd = connect_to(fixture);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    size_t count = 0;
    ssize_t result;
    while ((result = recv(fd, fixture->answer + count, sizeof(fixture->answer) - 1 - count, 0)) > 0)
        count += (size_t)result;
    fixture->answer[count] = '\0';
    close(fd);
    return fixture->answer;
}

static const char *get(struct fixture *fixture, const char *path)
{
    char request[256];
    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
             path);
    return ask(fixture, request);
}

static void assert_answer(const char *answer, const char *status, const char *body)
{
    char line[64];
    snprintf(line, sizeof(line), "HTTP/1.1 %s\r\n", status);
    assert_memory_equal(answer, line, strlen(line));
    const char *end = strstr(answer, "\r\n\r\n");
    assert_non_null(end);
    assert_string_equal(end + 4, body);
}

static void the_real_port_is_told_and_the_three_paths_answer(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_not_equal(port(&fixture), 0);
    assert_answer(get(&fixture, "/metrics"), "200 OK", "penstock_up 1\n");
    assert_non_null(strstr(fixture.answer, "text/plain; version=0.0.4"));
    assert_answer(get(&fixture, "/healthz"), "503 Service Unavailable", "not ok\n");
    assert_answer(get(&fixture, "/readyz"), "503 Service Unavailable", "draining\n");
    fixture.is_healthy = true;
    fixture.is_ready = true;
    assert_answer(get(&fixture, "/healthz"), "200 OK", "ok\n");
    assert_answer(get(&fixture, "/readyz?verbose=1"), "200 OK", "ok\n");
    assert_int_equal(admin_http_counters(fixture.server)->requests, 5);
    assert_int_equal(admin_http_counters(fixture.server)->requests_refused, 2);
    assert_int_equal(admin_http_counters(fixture.server)->connections, 5);
    tear_down(&fixture);
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_answer(get(&fixture, "/"), "404 Not Found",
                  "not found; there are /metrics, /healthz and /readyz\n");
    get(&fixture, "/metrics/");
    assert_memory_equal(fixture.answer, "HTTP/1.1 404 ", 13);
    assert_answer(ask(&fixture, "POST /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                                "Content-Length: 3\r\n\r\nabc"),
                  "405 Method Not Allowed", "only GET and HEAD\n");
    assert_non_null(strstr(fixture.answer, "Allow: GET, HEAD\r\n"));
    ask(&fixture, "nonsense\r\n\r\n");
    assert_null(strstr(fixture.answer, " 200 "));
    ask(&fixture, "GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    assert_null(strstr(fixture.answer, " 200 "));
    tear_down(&fixture);
}

static void head_is_answered_without_a_body(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_answer(ask(&fixture, "HEAD /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"),
                  "200 OK", "");
    assert_non_null(strstr(fixture.answer, "Content-Length: 14\r\n"));
    tear_down(&fixture);
}

static void a_connection_serves_several_requests(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    ask(&fixture, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
                  "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    const char *first = strstr(fixture.answer, "penstock_up 1\n");
    assert_non_null(first);
    assert_non_null(strstr(first + 1, "penstock_up 1\n"));
    assert_int_equal(admin_http_counters(fixture.server)->connections, 1);
    assert_int_equal(admin_http_counters(fixture.server)->requests, 2);
    tear_down(&fixture);
}

static void metrics_beyond_the_limit_or_the_budget_are_an_error(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.metrics_bytes = ADMIN_HTTP_ANSWER_BYTES_MAX;
    assert_answer(get(&fixture, "/metrics"), "500 Internal Server Error", "out of memory\n");
    fixture.metrics_bytes = 0;
    assert_answer(get(&fixture, "/metrics"), "200 OK", "penstock_up 1\n");
    tear_down(&fixture);
}

static void a_port_in_use_is_told(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct admin_http *second = NULL;
    assert_int_equal(start(&fixture, &second), -EADDRINUSE);
    assert_null(second);
    tear_down(&fixture);
}

static void idle_connections_do_not_hold_up_the_stop(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    int idle = connect_to(&fixture);
    int half = connect_to(&fixture);
    assert_int_equal(send(half, "GET /me", 7, MSG_NOSIGNAL), 7);
    fixture.is_healthy = true;
    assert_answer(get(&fixture, "/healthz"), "200 OK", "ok\n");
    tear_down(&fixture);
    char byte;
    assert_true(recv(idle, &byte, 1, 0) <= 0);
    assert_true(recv(half, &byte, 1, 0) <= 0);
    close(idle);
    close(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_real_port_is_told_and_the_three_paths_answer),
        cmocka_unit_test(anything_else_is_refused),
        cmocka_unit_test(head_is_answered_without_a_body),
        cmocka_unit_test(a_connection_serves_several_requests),
        cmocka_unit_test(metrics_beyond_the_limit_or_the_budget_are_an_error),
        cmocka_unit_test(a_port_in_use_is_told),
        cmocka_unit_test(idle_connections_do_not_hold_up_the_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
