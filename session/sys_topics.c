/*
 * $SYS topics; see sys_topics.h.
 */
#include "session/sys_topics.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/metrics.h"
#include "net/mqtt_topic.h"
#include "session/delivery.h"
#include "session/gateway_metrics.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/load_average.h"
#include "session/session.h"

enum { VALUE_BYTES = 48 };

enum sys_kind {
    SYS_SUM, /* of a metric over all shards */
    SYS_VERSION,
    SYS_UPTIME,
    SYS_TOTAL,        /* clients, connected or not */
    SYS_DISCONNECTED, /* sessions that wait for their clients */
    SYS_HEAP_PEAK,
    SYS_LOAD /* per minute, of a metric */
};

struct sys_topic {
    const char *topic;
    enum sys_kind kind;
    const char *metric; /* SYS_SUM and SYS_LOAD; NULL: made otherwise */
    const char *labels; /* of the metric; NULL: all */
    uint32_t window;    /* SYS_LOAD: index in load_average.per_minute */
};

#define SYS "$SYS/broker/"
#define SUM(topic, metric, labels)                                                                 \
    {                                                                                              \
        SYS topic, SYS_SUM, metric, labels, 0                                                      \
    }
#define MADE(topic, kind)                                                                          \
    {                                                                                              \
        SYS topic, kind, NULL, NULL, 0                                                             \
    }
/* Three topics in a row, which share the average of the first. */
#define LOAD(topic, metric, labels)                                                                \
    {SYS "load/" topic "/1min", SYS_LOAD, metric, labels, 0},                                      \
        {SYS "load/" topic "/5min", SYS_LOAD, metric, labels, 1},                                  \
    {                                                                                              \
        SYS "load/" topic "/15min", SYS_LOAD, metric, labels, 2                                    \
    }

static const char is_publish[] = "type=\"publish\"";

static const struct sys_topic topics[] = {
    MADE("version", SYS_VERSION),
    MADE("uptime", SYS_UPTIME),
    MADE("clients/total", SYS_TOTAL),
    SUM("clients/connected", "penstock_clients", NULL),
    SUM("clients/active", "penstock_clients", NULL),
    MADE("clients/disconnected", SYS_DISCONNECTED),
    MADE("clients/inactive", SYS_DISCONNECTED),
    SUM("clients/maximum", "penstock_clients_peak", NULL),
    SUM("clients/expired", "penstock_sessions_expired_total", NULL),
    SUM("messages/received", "penstock_packets_received_total", NULL),
    SUM("messages/sent", "penstock_packets_sent_total", NULL),
    SUM("messages/stored", "penstock_log_records", NULL),
    SUM("publish/messages/received", "penstock_packets_received_total", is_publish),
    SUM("publish/messages/sent", "penstock_packets_sent_total", is_publish),
    SUM("publish/messages/dropped", "penstock_dropped_total", NULL),
    SUM("publish/bytes/received", "penstock_publish_received_bytes_total", NULL),
    SUM("publish/bytes/sent", "penstock_publish_sent_bytes_total", NULL),
    SUM("bytes/received", "penstock_received_bytes_total", NULL),
    SUM("bytes/sent", "penstock_sent_bytes_total", NULL),
    SUM("subscriptions/count", "penstock_subscriptions", NULL),
    SUM("retained messages/count", "penstock_retained_values", NULL),
    SUM("store/messages/count", "penstock_log_records", NULL),
    SUM("store/messages/bytes", "penstock_log_bytes", NULL),
    SUM("store/failing", "penstock_broker_failing", NULL),
    SUM("heap/current size", "penstock_memory_bytes", NULL),
    MADE("heap/maximum size", SYS_HEAP_PEAK),
    LOAD("connections", "penstock_connects_total", NULL),
    LOAD("sockets", "penstock_accepts_total", NULL),
    LOAD("messages/received", "penstock_packets_received_total", NULL),
    LOAD("messages/sent", "penstock_packets_sent_total", NULL),
    LOAD("publish/received", "penstock_packets_received_total", is_publish),
    LOAD("publish/sent", "penstock_packets_sent_total", is_publish),
    LOAD("publish/dropped", "penstock_dropped_total", NULL),
    LOAD("bytes/received", "penstock_received_bytes_total", NULL),
    LOAD("bytes/sent", "penstock_sent_bytes_total", NULL),
};

enum { TOPIC_COUNT = sizeof(topics) / sizeof(topics[0]) };

struct sys_publisher {
    pthread_mutex_t mutex;
    struct metrics *metrics;
    uint64_t start_ms;
    uint64_t heap_peak;                     /* from here on the helper thread's alone */
    uint64_t load_ms;                       /* when the loads made their last step; monotonic */
    struct load_average loads[TOPIC_COUNT]; /* by topic; used at the first of three */
    char values[TOPIC_COUNT][VALUE_BYTES];  /* under the mutex */
};

static uint64_t sum(const struct sys_publisher *publisher, const char *metric)
{
    return metrics_sum(publisher->metrics, metric, NULL);
}

static uint64_t clock_ms(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* The two counts are of different moments: a difference below 0 is none. */
static uint64_t count_disconnected(const struct sys_publisher *publisher)
{
    uint64_t stored = sum(publisher, "penstock_sessions_stored");
    uint64_t here = sum(publisher, "penstock_sessions_stored_in_memory");
    return stored > here ? stored - here : 0;
}

static void make_value(const struct sys_publisher *publisher, uint32_t index,
                       char value[VALUE_BYTES])
{
    const struct sys_topic *topic = &topics[index];
    uint64_t number = 0;
    switch (topic->kind) {
    case SYS_SUM:
        number = metrics_sum(publisher->metrics, topic->metric, topic->labels);
        break;
    case SYS_VERSION:
        snprintf(value, VALUE_BYTES, "penstock version %s", gateway_version());
        return;
    case SYS_UPTIME:
        snprintf(value, VALUE_BYTES, "%" PRIu64 " seconds",
                 (clock_ms(CLOCK_REALTIME) - publisher->start_ms) / 1000);
        return;
    case SYS_TOTAL:
        number = sum(publisher, "penstock_clients") + count_disconnected(publisher);
        break;
    case SYS_DISCONNECTED:
        number = count_disconnected(publisher);
        break;
    case SYS_HEAP_PEAK:
        number = publisher->heap_peak;
        break;
    case SYS_LOAD:
        snprintf(value, VALUE_BYTES, "%.2f",
                 publisher->loads[index - topic->window].per_minute[topic->window]);
        return;
    }
    snprintf(value, VALUE_BYTES, "%" PRIu64, number);
}

static void make_values(const struct sys_publisher *publisher,
                        char values[TOPIC_COUNT][VALUE_BYTES])
{
    for (uint32_t i = 0; i < TOPIC_COUNT; i++)
        make_value(publisher, i, values[i]);
}

static void step_loads(struct sys_publisher *publisher)
{
    uint64_t now_ms = clock_ms(CLOCK_MONOTONIC);
    uint64_t elapsed_ms = now_ms - publisher->load_ms;
    if (elapsed_ms < LOAD_STEP_MS)
        return;
    publisher->load_ms = now_ms;
    for (uint32_t i = 0; i < TOPIC_COUNT; i++) {
        if (topics[i].kind != SYS_LOAD || topics[i].window != 0)
            continue;
        uint64_t total = metrics_sum(publisher->metrics, topics[i].metric, topics[i].labels);
        load_average_step(&publisher->loads[i], total, elapsed_ms);
    }
}

void sys_publisher_refresh(struct sys_publisher *publisher)
{
    char values[TOPIC_COUNT][VALUE_BYTES];
    step_loads(publisher);
    publisher->heap_peak =
        ps_max_u64(publisher->heap_peak, sum(publisher, "penstock_memory_bytes"));
    make_values(publisher, values);
    pthread_mutex_lock(&publisher->mutex);
    memcpy(publisher->values, values, sizeof(values));
    pthread_mutex_unlock(&publisher->mutex);
}

int sys_publisher_create(struct heap *heap, struct metrics *metrics, uint64_t start_ms,
                         struct sys_publisher **out_publisher)
{
    struct sys_publisher *publisher = heap_zalloc(heap, sizeof(*publisher));
    if (publisher == NULL)
        return -ENOMEM;
    pthread_mutex_init(&publisher->mutex, NULL);
    publisher->metrics = metrics;
    publisher->start_ms = start_ms;
    publisher->load_ms = clock_ms(CLOCK_MONOTONIC);
    make_values(publisher, publisher->values);
    *out_publisher = publisher;
    return 0;
}

void sys_publisher_destroy(struct heap *heap, struct sys_publisher *publisher)
{
    if (publisher == NULL)
        return;
    pthread_mutex_destroy(&publisher->mutex);
    heap_free(heap, publisher);
}

/* A record of one value, addressed; NULL: memory is out. */
static struct record *make_record(struct hub *hub, uint32_t index)
{
    char value[VALUE_BYTES];
    pthread_mutex_lock(&hub->sys->mutex);
    memcpy(value, hub->sys->values[index], sizeof(value));
    pthread_mutex_unlock(&hub->sys->mutex);
    const struct record_source source = {
        .topic = topics[index].topic,
        .topic_bytes = (uint32_t)strlen(topics[index].topic),
        .payload = value,
        .payload_bytes = (uint32_t)strlen(value),
        .flags = RECORD_RELAYED,
    };
    struct record *record = record_create(hub->heap, &source);
    if (record != NULL)
        inbound_address(hub, record);
    return record;
}

void sys_topics_step(struct hub *hub)
{
    uint64_t interval_ns = (uint64_t)hub->limits->sys_interval_ms * 1000000ULL;
    if (hub->sys == NULL || interval_ns == 0)
        return;
    if (hub->sys_next == 0 && hub->shard->now_ns < hub->sys_due_ns)
        return;
    hub->sys_due_ns = hub->shard->now_ns + interval_ns;
    while (hub->sys_next < TOPIC_COUNT) {
        if (hub->fan_out != NULL)
            return; /* goes on when the fan-out under way is done */
        struct record *record = make_record(hub, hub->sys_next++);
        if (record != NULL)
            delivery_handover(hub, record);
    }
    hub->sys_next = 0;
}

void sys_topics_greet(struct hub *hub, struct session *session, const struct filter *filter)
{
    if (hub->sys == NULL || hub->limits->sys_interval_ms == 0 || filter->text[0] != '$')
        return;
    for (uint32_t i = 0; i < TOPIC_COUNT; i++) {
        const char *topic = topics[i].topic;
        if (!mqtt_topic_matches(filter->text, filter->bytes, topic, (uint32_t)strlen(topic)))
            continue;
        struct record *record = make_record(hub, i);
        if (record == NULL)
            return;
        delivery_write(hub, session, record, 0, 0, DELIVERY_RETAIN);
        record_release(hub->heap, record);
    }
}
