/*
 * The administrator's HTTP server; see admin_http.h. The socket is bound here rather than by
 * libmicrohttpd, so that a port in use is told with its reason.
 */
#include "net/admin_http.h"

#include <microhttpd.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/text.h"

enum { ADMIN_HTTP_CONNECTION_BYTES_MAX = 16384 };

struct admin_http {
    struct MHD_Daemon *daemon;
    struct log *log;
    struct admin_http_callbacks callbacks;
    struct admin_http_counters counters; /* written by the library's thread */
    struct heap heap;                    /* the library's thread's */
    struct text text;                    /* of the answer being made */
};

const struct metric admin_http_metrics[ADMIN_HTTP_METRIC_COUNT] = {
    {"penstock_admin_requests_total", "Requests to the administrator's HTTP server.",
     METRIC_COUNTER, NULL, offsetof(struct admin_http_counters, requests)},
    {"penstock_admin_requests_refused_total", "Those answered with an error.", METRIC_COUNTER, NULL,
     offsetof(struct admin_http_counters, requests_refused)},
    {"penstock_admin_connections_total", "Connections to the administrator's HTTP server.",
     METRIC_COUNTER, NULL, offsetof(struct admin_http_counters, connections)},
};

/* Fills server->text. Result: the status. */
typedef unsigned admin_http_answer(struct admin_http *server);

static unsigned answer_metrics(struct admin_http *server)
{
    server->callbacks.on_metrics(server->callbacks.context, &server->text);
    return MHD_HTTP_OK;
}

static unsigned answer_state(struct admin_http *server, bool is_good)
{
    if (server->text.count == 0)
        text_append(&server->text, is_good ? "ok" : "not ok");
    text_append(&server->text, "\n");
    return is_good ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned answer_health(struct admin_http *server)
{
    const struct admin_http_callbacks *callbacks = &server->callbacks;
    return answer_state(server, callbacks->on_health(callbacks->context, &server->text));
}

static unsigned answer_ready(struct admin_http *server)
{
    const struct admin_http_callbacks *callbacks = &server->callbacks;
    return answer_state(server, callbacks->on_ready(callbacks->context, &server->text));
}

struct route {
    const char *path;
    const char *content_type;
    admin_http_answer *answer;
};

static const struct route routes[] = {
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", answer_metrics},
    {"/healthz", "text/plain; charset=utf-8", answer_health},
    {"/readyz", "text/plain; charset=utf-8", answer_ready},
};

static const struct route *find_route(const char *path)
{
    for (size_t i = 0; i < ps_array_count(routes); i++) {
        if (strcmp(routes[i].path, path) == 0)
            return &routes[i];
    }
    return NULL;
}

/* Fills server->text and decides the status. */
static unsigned answer(struct admin_http *server, const struct route *route, const char *method)
{
    text_clear(&server->text);
    unsigned status;
    if (route == NULL) {
        status = MHD_HTTP_NOT_FOUND;
        text_append(&server->text, "not found; there are /metrics, /healthz and /readyz\n");
    } else if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        status = MHD_HTTP_METHOD_NOT_ALLOWED;
        text_append(&server->text, "only GET and HEAD\n");
    } else {
        status = route->answer(server);
    }
    if (server->text.error != 0) {
        text_clear(&server->text);
        text_append(&server->text, "out of memory\n");
        status = MHD_HTTP_INTERNAL_SERVER_ERROR;
    }
    return status;
}

static enum MHD_Result respond(struct admin_http *server, struct MHD_Connection *connection,
                               const struct route *route, unsigned status)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        server->text.count, server->text.bytes, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
                            route == NULL ? "text/plain; charset=utf-8" : route->content_type);
    MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* The library calls this when it has the headers, then for each piece of a body, then at the end.
 * A GET is answered at the end, so that the connection can go on. Anything else is answered at its
 * headers, which closes the connection unread; a GET with a body is closed without an answer. */
static enum MHD_Result on_request(void *context, struct MHD_Connection *connection,
                                  const char *path, const char *method, const char *version,
                                  const char *body, size_t *body_bytes, void **request)
{
    (void)version;
    (void)body;
    struct admin_http *server = context;
    bool is_first_call = *request == NULL;
    bool is_read = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    *request = server;
    if (is_first_call)
        metrics_add(&server->counters.requests, 1);
    if (is_first_call && is_read)
        return MHD_YES;
    if (*body_bytes > 0)
        return MHD_NO;
    const struct route *route = find_route(path);
    unsigned status = answer(server, route, method);
    if (status != MHD_HTTP_OK)
        metrics_add(&server->counters.requests_refused, 1);
    return respond(server, connection, route, status);
}

static void on_connection(void *context, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    (void)connection;
    (void)socket_context;
    struct admin_http *server = context;
    if (code == MHD_CONNECTION_NOTIFY_STARTED)
        metrics_add(&server->counters.connections, 1);
}

static void on_library_message(void *context, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

/* What the library complains about is a peer's mistake or the system's want of something. */
static void on_library_message(void *context, const char *format, va_list arguments)
{
    struct admin_http *server = context;
    char message[256];
    char quoted[320];
    vsnprintf(message, sizeof(message), format, arguments);
    log_write(server->log, LOG_DEBUG, "admin_http", "text=%s",
              log_quote(quoted, sizeof(quoted), message, strlen(message)));
}

/* A listening socket, or -errno. */
static int listen_on(struct sockaddr_storage *address, socklen_t address_bytes)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    socklen_t real_bytes = sizeof(*address);
    if (bind(fd, (const struct sockaddr *)address, address_bytes) < 0 ||
        listen(fd, ADMIN_HTTP_CONNECTIONS_MAX) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &real_bytes) < 0) {
        int result = -errno;
        close(fd);
        return result;
    }
    return fd;
}

/* The library's thread inherits the signal mask: signals are for the gateway's thread. */
static struct MHD_Daemon *start_daemon(struct admin_http *server, int fd)
{
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *daemon = MHD_start_daemon(
        MHD_USE_AUTO_INTERNAL_THREAD | MHD_USE_ERROR_LOG | MHD_USE_ITC, 0, NULL, NULL, on_request,
        server, MHD_OPTION_EXTERNAL_LOGGER, on_library_message, server, MHD_OPTION_LISTEN_SOCKET,
        fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)ADMIN_HTTP_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)ADMIN_HTTP_TIMEOUT_SECONDS,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)ADMIN_HTTP_CONNECTION_BYTES_MAX,
        MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return daemon;
}

int admin_http_start(const struct admin_http_options *options, struct sockaddr_storage *address,
                     socklen_t address_bytes, struct admin_http **out_server)
{
    struct heap heap;
    heap_init(&heap, options->budget);
    struct admin_http *server = heap_zalloc(&heap, sizeof(*server));
    if (server == NULL) {
        heap_deinit(&heap);
        return -ENOMEM;
    }
    server->heap = heap;
    server->log = options->log;
    server->callbacks = options->callbacks;
    text_init(&server->text, &server->heap, ADMIN_HTTP_ANSWER_BYTES_MAX);
    int fd = listen_on(address, address_bytes);
    int result = fd;
    if (fd >= 0) {
        server->daemon = start_daemon(server, fd);
        if (server->daemon != NULL) {
            *out_server = server;
            return 0;
        }
        close(fd);
        result = -ENOMEM;
    }
    admin_http_stop(server);
    return result;
}

void admin_http_stop(struct admin_http *server)
{
    if (server == NULL)
        return;
    if (server->daemon != NULL)
        MHD_stop_daemon(server->daemon); /* closes the listening socket too */
    text_deinit(&server->text);
    struct heap heap = server->heap;
    heap_free(&heap, server);
    heap_deinit(&heap);
}

const struct admin_http_counters *admin_http_counters(const struct admin_http *server)
{
    return &server->counters;
}
