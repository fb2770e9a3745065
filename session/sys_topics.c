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
#include "session/session.h"

enum { VALUE_BYTES = 32 };

struct sys_topic {
    const char *topic;
    const char *metric; /* summed over shards; NULL: made otherwise */
    const char *labels;
};

static const struct sys_topic topics[] = {
    {"$SYS/broker/version", NULL, NULL},
    {"$SYS/broker/uptime", NULL, NULL},
    {"$SYS/broker/clients/connected", "penstock_connections", NULL},
    {"$SYS/broker/clients/active", "penstock_connections", NULL},
    {"$SYS/broker/clients/total", "penstock_sessions", NULL},
    {"$SYS/broker/messages/received", "penstock_packets_received_total", NULL},
    {"$SYS/broker/messages/sent", "penstock_sends_total", NULL},
    {"$SYS/broker/publish/messages/received", "penstock_packets_received_total",
     "type=\"publish\""},
    {"$SYS/broker/publish/messages/sent", "penstock_deliveries_total", NULL},
    {"$SYS/broker/publish/messages/dropped", "penstock_dropped_total", NULL},
    {"$SYS/broker/bytes/received", "penstock_received_bytes_total", NULL},
    {"$SYS/broker/bytes/sent", "penstock_sent_bytes_total", NULL},
    {"$SYS/broker/subscriptions/count", "penstock_subscriptions", NULL},
    {"$SYS/broker/store/messages/count", "penstock_log_records", NULL},
    {"$SYS/broker/store/messages/bytes", "penstock_log_bytes", NULL},
};

enum { TOPIC_COUNT = sizeof(topics) / sizeof(topics[0]) };

struct sys_publisher {
    pthread_mutex_t mutex;
    struct metrics *metrics;
    uint64_t start_ms;
    char values[TOPIC_COUNT][VALUE_BYTES];
};

static void make_values(const struct sys_publisher *publisher,
                        char values[TOPIC_COUNT][VALUE_BYTES])
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t uptime = (uint64_t)now.tv_sec - publisher->start_ms / 1000;
    snprintf(values[0], VALUE_BYTES, "penstock version %s", gateway_version());
    snprintf(values[1], VALUE_BYTES, "%" PRIu64 " seconds", uptime);
    for (uint32_t i = 2; i < TOPIC_COUNT; i++)
        snprintf(values[i], VALUE_BYTES, "%" PRIu64,
                 metrics_sum(publisher->metrics, topics[i].metric, topics[i].labels));
}

void sys_publisher_refresh(struct sys_publisher *publisher)
{
    char values[TOPIC_COUNT][VALUE_BYTES];
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
