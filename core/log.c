/*
 * The log; see log.h. Two mutexes: `ring_mutex` guards the ring's indexes and is held for a memcpy
 * only; `write_mutex` serializes those who write to the descriptor and is taken first where both
 * are. Whoever drains writes from the ring's memory without ring_mutex: producers never touch what
 * lies between head and tail. A line written directly takes the same way, so that lines never mix.
 */
#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "core/heap.h"

struct log {
    int fd;
    _Atomic uint32_t level;
    _Atomic bool is_deferred;
    log_now_ms *now_ms;
    void *now_context;
    struct log_counters counters; /* written by any thread, with metrics_add_shared */
    pthread_mutex_t write_mutex;
    uint64_t dropped_told; /* of lines_dropped, already written as a line; under write_mutex */
    pthread_mutex_t ring_mutex;
    log_wake *wake; /* this and what follows under ring_mutex */
    void *wake_context;
    uint64_t head; /* bytes ever drained; an index when masked */
    uint64_t tail; /* bytes ever put in */
    uint32_t ring_bytes_max;
    char ring[];
};

const struct metric log_metrics[LOG_METRIC_COUNT] = {
    {"penstock_log_lines_total", "Log lines made.", METRIC_COUNTER, NULL,
     offsetof(struct log_counters, lines)},
    {"penstock_log_lines_dropped_total", "Log lines lost because the ring was full.",
     METRIC_COUNTER, NULL, offsetof(struct log_counters, lines_dropped)},
    {"penstock_log_lines_cut_total", "Log lines that were too long.", METRIC_COUNTER, NULL,
     offsetof(struct log_counters, lines_cut)},
    {"penstock_log_write_errors_total", "Writes of log lines that failed.", METRIC_COUNTER, NULL,
     offsetof(struct log_counters, write_errors)},
};

static uint64_t system_now_ms(void *context)
{
    (void)context;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int log_create(struct heap *heap, const struct log_options *options, struct log **out_log)
{
    uint32_t wanted =
        options->ring_bytes_max == 0 ? LOG_RING_BYTES_DEFAULT : options->ring_bytes_max;
    uint32_t bytes = 2 * LOG_LINE_BYTES_MAX;
    while (bytes < wanted && bytes < UINT32_MAX / 2)
        bytes *= 2;
    struct log *log = heap_zalloc(heap, sizeof(*log) + bytes);
    if (log == NULL)
        return -ENOMEM;
    log->fd = options->fd;
    log->ring_bytes_max = bytes;
    log->now_ms = options->now_ms == NULL ? system_now_ms : options->now_ms;
    log->now_context = options->now_context;
    log_set_level(log, options->level);
    pthread_mutex_init(&log->write_mutex, NULL);
    pthread_mutex_init(&log->ring_mutex, NULL);
    *out_log = log;
    return 0;
}

void log_destroy(struct heap *heap, struct log *log)
{
    if (log == NULL)
        return;
    log_direct(log);
    pthread_mutex_destroy(&log->ring_mutex);
    pthread_mutex_destroy(&log->write_mutex);
    heap_free(heap, log);
}

void log_set_level(struct log *log, enum log_level level)
{
    ps_assert(level < LOG_LEVELS);
    atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

bool log_is_enabled(const struct log *log, enum log_level level)
{
    return level >= atomic_load_explicit(&log->level, memory_order_relaxed);
}

const char *log_level_name(enum log_level level)
{
    static const char *const names[LOG_LEVELS] = {"debug", "info", "warning", "error", "fatal"};
    return names[level];
}

/* "2026-01-02T03:04:05.678Z". */
static void format_time(uint64_t wall_ms, char *out_text, size_t text_bytes)
{
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t count = strftime(out_text, text_bytes, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out_text + count, text_bytes - count, ".%03uZ", (unsigned)(wall_ms % 1000));
}

/* Writes the whole of `bytes`. Result: how much was taken or given up; less only when the
 * descriptor would block. */
static size_t write_fully(struct log *log, const char *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t result = write(log->fd, bytes + done, count - done);
        if (result >= 0) {
            done += (size_t)result;
        } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
            break;
        } else if (errno != EINTR) {
            metrics_add_shared(&log->counters.write_errors, 1);
            return count;
        }
    }
    return done;
}

/* Writes what waits; under write_mutex. */
static void drain_ring(struct log *log)
{
    for (;;) {
        pthread_mutex_lock(&log->ring_mutex);
        uint64_t head = log->head;
        uint64_t waiting = log->tail - head;
        pthread_mutex_unlock(&log->ring_mutex);
        if (waiting == 0)
            return;
        uint32_t index = (uint32_t)(head & (log->ring_bytes_max - 1));
        size_t count = ps_min_u64(waiting, log->ring_bytes_max - index);
        size_t done = write_fully(log, log->ring + index, count);
        pthread_mutex_lock(&log->ring_mutex);
        log->head += done;
        pthread_mutex_unlock(&log->ring_mutex);
        if (done < count)
            return;
    }
}

/* True when the line is in the ring; false when there is no room. */
static bool put_into_ring(struct log *log, const char *line, size_t count)
{
    pthread_mutex_lock(&log->ring_mutex);
    uint64_t waiting = log->tail - log->head;
    bool has_room = waiting + count <= log->ring_bytes_max;
    bool has_passed_half = false;
    if (has_room) {
        uint32_t index = (uint32_t)(log->tail & (log->ring_bytes_max - 1));
        size_t first = ps_min_u64(count, log->ring_bytes_max - index);
        memcpy(log->ring + index, line, first);
        memcpy(log->ring, line + first, count - first);
        log->tail += count;
        has_passed_half =
            waiting < log->ring_bytes_max / 2 && waiting + count >= log->ring_bytes_max / 2;
    }
    log_wake *wake = has_passed_half ? log->wake : NULL;
    void *wake_context = log->wake_context;
    pthread_mutex_unlock(&log->ring_mutex);
    if (wake != NULL)
        wake(wake_context);
    return has_room;
}

/* The beginning of every line. Result: its bytes. */
static size_t format_head(const struct log *log, enum log_level level, const char *event,
                          char *line, size_t line_bytes)
{
    char time_text[48];
    format_time(log->now_ms(log->now_context), time_text, sizeof(time_text));
    int count = snprintf(line, line_bytes, "ts=%s level=%s event=%s", time_text,
                         log_level_name(level), event);
    return ps_min_u64((uint64_t)count, line_bytes - 1);
}

/* Ends a line: cut and marked if it was too long, one line in any case. Result: its bytes. */
static size_t finish_line(struct log *log, char *line, size_t count)
{
    static const char cut[] = " cut=1";
    size_t room = LOG_LINE_BYTES_MAX - 1;
    if (count > room) {
        count = room;
        memcpy(line + count - (sizeof(cut) - 1), cut, sizeof(cut) - 1);
        metrics_add_shared(&log->counters.lines_cut, 1);
    }
    for (size_t i = 0; i < count; i++) {
        unsigned char byte = (unsigned char)line[i];
        if (byte < 0x20 || byte == 0x7f)
            line[i] = '?';
    }
    line[count] = '\n';
    return count + 1;
}

/* Puts a line into the ring that says how many were lost since it was last said; under write_mutex.
 * Result: there is such a line. */
static bool put_dropped(struct log *log)
{
    uint64_t dropped = metrics_get(&log->counters.lines_dropped);
    if (dropped == log->dropped_told)
        return false;
    char line[LOG_LINE_BYTES_MAX];
    size_t count = format_head(log, LOG_WARNING, "log_dropped", line, sizeof(line));
    count += (size_t)snprintf(line + count, sizeof(line) - count, " lines=%llu",
                              (unsigned long long)(dropped - log->dropped_told));
    if (!put_into_ring(log, line, finish_line(log, line, count)))
        return false;
    log->dropped_told = dropped;
    return true;
}

void log_write(struct log *log, enum log_level level, const char *event, const char *format, ...)
{
    if (!log_is_enabled(log, level))
        return;
    char line[LOG_LINE_BYTES_MAX + 1];
    size_t count = format_head(log, level, event, line, LOG_LINE_BYTES_MAX);
    if (format[0] != '\0') {
        va_list arguments;
        va_start(arguments, format);
        int more = vsnprintf(line + count + 1, sizeof(line) - count - 1, format, arguments);
        va_end(arguments);
        if (more > 0) {
            line[count] = ' ';
            count += 1 + (size_t)more;
        }
    }
    count = finish_line(log, line, count);
    metrics_add_shared(&log->counters.lines, 1);
    bool is_direct =
        level == LOG_FATAL || !atomic_load_explicit(&log->is_deferred, memory_order_acquire);
    bool is_put = put_into_ring(log, line, count);
    if (!is_put && is_direct) {
        log_drain(log);
        is_put = put_into_ring(log, line, count);
    }
    if (!is_put)
        metrics_add_shared(&log->counters.lines_dropped, 1);
    if (is_direct)
        log_drain(log);
}

const char *log_quote(char *buffer, size_t buffer_bytes, const void *value, size_t value_bytes)
{
    static const char digits[] = "0123456789abcdef";
    ps_assert(buffer_bytes >= 8);
    const unsigned char *bytes = value;
    size_t room = buffer_bytes - 5; /* for "...", the closing quote and the NUL */
    size_t count = 0;
    size_t taken = 0;
    buffer[count++] = '"';
    for (; taken < value_bytes; taken++) {
        unsigned char byte = bytes[taken];
        bool is_plain = byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\';
        if (count + (is_plain ? 1 : 4) > room)
            break;
        if (is_plain) {
            buffer[count++] = (char)byte;
        } else {
            buffer[count++] = '\\';
            buffer[count++] = 'x';
            buffer[count++] = digits[byte >> 4];
            buffer[count++] = digits[byte & 15];
        }
    }
    if (taken < value_bytes) {
        memcpy(buffer + count, "...", 3);
        count += 3;
    }
    buffer[count++] = '"';
    buffer[count] = '\0';
    return buffer;
}

void log_defer(struct log *log, log_wake *wake, void *wake_context)
{
    pthread_mutex_lock(&log->ring_mutex);
    log->wake = wake;
    log->wake_context = wake_context;
    pthread_mutex_unlock(&log->ring_mutex);
    atomic_store_explicit(&log->is_deferred, true, memory_order_release);
}

void log_direct(struct log *log)
{
    atomic_store_explicit(&log->is_deferred, false, memory_order_release);
    pthread_mutex_lock(&log->ring_mutex);
    log->wake = NULL;
    pthread_mutex_unlock(&log->ring_mutex);
    log_drain(log);
}

void log_drain(struct log *log)
{
    pthread_mutex_lock(&log->write_mutex);
    drain_ring(log);
    if (put_dropped(log))
        drain_ring(log);
    pthread_mutex_unlock(&log->write_mutex);
}

size_t log_waiting_bytes(struct log *log)
{
    pthread_mutex_lock(&log->ring_mutex);
    size_t waiting = log->tail - log->head;
    pthread_mutex_unlock(&log->ring_mutex);
    return waiting;
}

const struct log_counters *log_counters(const struct log *log)
{
    return &log->counters;
}
