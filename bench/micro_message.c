/*
 * The way of a message without ring, broker and session: a PUBLISH is found and decoded, its topic
 * hashed and looked up, and for each subscriber a head is encoded. Each of 1,000 topics has one
 * exact subscriber of 1,000,000 filters in the index.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "micro.h"
#include "net/mqtt_decode.h"
#include "net/mqtt_encode.h"
#include "session/topic_index.h"

enum { TOPICS = 1000, STREAM_BYTES_MAX = 1 << 18, TEXT_MAX = 48, PAYLOAD_BYTES = 64 };

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct topic_index index;
    struct filter **filters;
    uint64_t filter_count;
    unsigned char *stream;
    uint32_t stream_bytes;
    uint32_t position;
    uint64_t found;
    unsigned char out[256];
};

static uint32_t write_topic(char *text, uint64_t number)
{
    return (uint32_t)snprintf(text, TEXT_MAX, "devices/%010lu/cmd", number);
}

static void write_stream(struct subject *subject)
{
    static const unsigned char payload[PAYLOAD_BYTES];
    for (uint64_t i = 0; i < TOPICS; i++) {
        char text[TEXT_MAX];
        uint32_t bytes = write_topic(text, i * (subject->filter_count / TOPICS));
        struct mqtt_publish publish = {.qos = 1,
                                       .packet_id = (uint16_t)(i + 1),
                                       .topic = {(const unsigned char *)text, bytes},
                                       .payload = {payload, sizeof(payload)}};
        subject->stream_bytes += (uint32_t)mqtt_encode_publish(
            &publish, MQTT_3_1_1, subject->stream + subject->stream_bytes);
        ps_assert(subject->stream_bytes < STREAM_BYTES_MAX - 256);
    }
}

static void *create(uint64_t size)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    heap_init(&subject->heap, &subject->budget);
    struct topic_index_options options = {.heap = &subject->heap,
                                          .seed = 42,
                                          .topics_max = UINT32_C(1) << 20,
                                          .filters_max = UINT32_C(1) << 24};
    int result = topic_index_init(&subject->index, &options);
    subject->filters = calloc(size, sizeof(struct filter *));
    subject->stream = malloc(STREAM_BYTES_MAX);
    ps_assert(result == 0 && subject->filters != NULL && subject->stream != NULL);
    subject->filter_count = size;
    for (uint64_t i = 0; i < size; i++) {
        char text[TEXT_MAX];
        uint32_t bytes = write_topic(text, i);
        result = filter_acquire(&subject->index, text, bytes, &subject->filters[i]);
        ps_assert(result == 0);
        topic_index_activate(&subject->index, subject->filters[i]);
    }
    write_stream(subject);
    return subject;
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ps_assert(subject->found > 0);
    for (uint64_t i = 0; i < subject->filter_count; i++) {
        topic_index_deactivate(&subject->index, subject->filters[i]);
        filter_release(&subject->index, subject->filters[i]);
    }
    topic_index_deinit(&subject->index);
    ps_assert(subject->heap.bytes_net == 0);
    heap_deinit(&subject->heap);
    free(subject->filters);
    free(subject->stream);
    free(subject);
}

static void deliver(struct subject *subject, const struct mqtt_publish *publish)
{
    const char *text = (const char *)publish->topic.bytes;
    uint64_t hash = topic_index_hash(&subject->index, text, publish->topic.count);
    const struct topic *topic = topic_resolve(&subject->index, text, publish->topic.count, hash);
    uint32_t receivers = topic->pattern_count + (topic->exact != NULL);
    for (uint32_t i = 0; i < receivers; i++) {
        struct mqtt_publish out = *publish;
        out.packet_id = (uint16_t)(subject->found % 1000 + 1);
        subject->found += mqtt_encode_publish_head(&out, MQTT_3_1_1, subject->out) > 0;
    }
}

static void run(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        const unsigned char *bytes = subject->stream + subject->position;
        struct mqtt_frame frame;
        struct mqtt_packet packet;
        enum mqtt_frame_state state = mqtt_frame_find(
            bytes, subject->stream_bytes - subject->position, STREAM_BYTES_MAX, &frame);
        ps_assert(state == MQTT_FRAME_WHOLE);
        enum mqtt_reason reason = mqtt_decode(bytes, &frame, MQTT_3_1_1, &packet);
        ps_assert(reason == MQTT_GOOD);
        deliver(subject, &packet.publish);
        subject->position += frame.packet_bytes;
        if (subject->position == subject->stream_bytes)
            subject->position = 0;
    }
}

const struct micro_case micro_message_cases[] = {
    {"message/decode_look_up_encode", create, destroy, run, 1000000},
    {NULL, NULL, NULL, NULL, 0},
};
