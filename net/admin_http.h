/*
 * The administrator's HTTP server (libmicrohttpd): GET and HEAD of /metrics, /healthz and /readyz
 * on one listener. Anything else is answered 404 or 405.
 *
 * Owner: the gateway. Threads: start and stop by the gateway's; requests run on a thread of the
 * library's own, so that neither a slow scraper nor a long job of the helper thread holds the
 * other; the callbacks below are called there, never on a shard's thread. All of a request is
 * bounded: ADMIN_HTTP_CONNECTIONS_MAX connections, closed after ADMIN_HTTP_TIMEOUT_SECONDS without
 * activity.
 */
#ifndef PENSTOCK_NET_ADMIN_HTTP_H
#define PENSTOCK_NET_ADMIN_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "core/metrics.h"

struct admin_http;
struct heap_budget;
struct log;
struct text;

enum {
    ADMIN_HTTP_CONNECTIONS_MAX = 32,
    ADMIN_HTTP_TIMEOUT_SECONDS = 10,
    ADMIN_HTTP_ANSWER_BYTES_MAX = 16777216,
    ADMIN_HTTP_METRIC_COUNT = 3
};

struct admin_http_callbacks {
    void *context;
    /* Appends the body of /metrics. */
    void (*on_metrics)(void *context, struct text *text);
    /* True: answered 200; false: 503. A reason may be appended; the body is "ok" without one. */
    bool (*on_health)(void *context, struct text *text);
    bool (*on_ready)(void *context, struct text *text);
};

/* Values of admin_http_metrics. */
struct admin_http_counters {
    uint64_t requests;
    uint64_t requests_refused; /* answered 404, 405, 500 or 503 */
    uint64_t connections;      /* accepted */
};

extern const struct metric admin_http_metrics[ADMIN_HTTP_METRIC_COUNT];

struct admin_http_options {
    struct heap_budget *budget; /* answers are made under it */
    struct log *log;
    struct admin_http_callbacks callbacks;
};

/* Binds *address (port 0 takes a free one), which is updated with the real port, and serves. 0 with
 * *out_server, or -errno: what socket, bind or listen said (-EADDRINUSE), -ENOMEM. */
int admin_http_start(const struct admin_http_options *options, struct sockaddr_storage *address,
                     socklen_t address_bytes, struct admin_http **out_server);

/* Closes the listener and every connection, waits for callbacks under way. NULL is allowed. */
void admin_http_stop(struct admin_http *server);

/* The values that admin_http_metrics describes, for metrics_register without a shard. */
const struct admin_http_counters *admin_http_counters(const struct admin_http *server);

#endif
