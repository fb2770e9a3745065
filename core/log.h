/*
 * The log: one line of key=value pairs per event, on one descriptor.
 *   ts=2026-01-02T03:04:05.678Z level=info event=ready listen=127.0.0.1:41883 shards=2 pid=123
 *
 * Two ways of writing. Direct (from log_create on): log_write writes the line before it returns;
 * for the start of a program, for tools and for simulations. Deferred (from log_defer on):
 * log_write copies the line into a bounded ring under a mutex that nobody holds while writing, and
 * log_drain, called by the helper thread, writes it out. A full ring drops the line and counts it;
 * the next drain says how many were lost. A fatal line is written before log_write returns in
 * either way.
 *
 * Threads: any, except where a line says otherwise. Created once; no part of it is global.
 */
#ifndef PENSTOCK_CORE_LOG_H
#define PENSTOCK_CORE_LOG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/base.h"
#include "core/metrics.h"

struct heap;
struct log;

enum {
    LOG_LINE_BYTES_MAX = 1024, /* with its newline; a longer line is cut and ends in " cut=1" */
    LOG_RING_BYTES_DEFAULT = 262144 /* some 2,000 lines between two drains */
};

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_FATAL, LOG_LEVELS };

/* Milliseconds since 1970. Called by any thread that logs. */
typedef uint64_t log_now_ms(void *context);

/* Tells the thread that drains that the ring is half full. Called by any thread that logs. */
typedef void log_wake(void *context);

struct log_options {
    int fd; /* stays the caller's */
    enum log_level level;
    uint32_t ring_bytes_max; /* rounded up to a power of two; 0: LOG_RING_BYTES_DEFAULT */
    log_now_ms *now_ms;      /* NULL: the system's clock */
    void *now_context;
};

/* Values of log_metrics, in its order. */
struct log_counters {
    uint64_t lines;         /* made, the dropped ones among them */
    uint64_t lines_dropped; /* the ring was full */
    uint64_t lines_cut;     /* were longer than LOG_LINE_BYTES_MAX */
    uint64_t write_errors;  /* writes that failed; what they should have written is lost */
};

enum { LOG_METRIC_COUNT = 4 };
extern const struct metric log_metrics[LOG_METRIC_COUNT];

/* `heap` is the creating thread's, which also destroys the log. 0 or -ENOMEM. */
int log_create(struct heap *heap, const struct log_options *options, struct log **out_log);

/* Writes what waits. NULL is allowed. Nobody else may use the log any more. */
void log_destroy(struct heap *heap, struct log *log);

/* Lines below `level` are not made. May be changed at any time. */
void log_set_level(struct log *log, enum log_level level);
bool log_is_enabled(const struct log *log, enum log_level level);

/* "debug", "info", "warning", "error", "fatal". */
const char *log_level_name(enum log_level level);

/* One line: ts, level and event, then what `format` makes, which must be "key=value" pairs with
 * spaces between ("" for none). Control characters in it become '?', so that an event is always one
 * line. Values from peers and files belong into log_quote. Never a payload, a password or a key. */
void log_write(struct log *log, enum log_level level, const char *event, const char *format, ...)
    ps_printf(4, 5);

/* A value as a quoted string, with '"', '\' and everything that is not printable ASCII escaped as
 * \xNN; what does not fit into buffer_bytes (at least 8) is left out and "..." says so. Result:
 * `buffer`, so that it can stand among the arguments of log_write. */
const char *log_quote(char *buffer, size_t buffer_bytes, const void *value, size_t value_bytes);

/* From here on lines wait in the ring for log_drain. `wake` (may be NULL) must be callable from any
 * thread until log_direct. */
void log_defer(struct log *log, log_wake *wake, void *wake_context);

/* Writes what waits; from here on lines are written directly again. Waits for a log_drain that is
 * under way. */
void log_direct(struct log *log);

/* Writes what waits in the ring; may block on the descriptor. A descriptor that would block
 * (O_NONBLOCK) keeps the rest for the next drain. */
void log_drain(struct log *log);

/* Bytes that wait in the ring. */
size_t log_waiting_bytes(struct log *log);

/* The values that log_metrics describes, for metrics_register without a shard. */
const struct log_counters *log_counters(const struct log *log);

#endif
