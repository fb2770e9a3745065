/*
 * The codec: packets decoded one by one and as a stream, and encoded. Views only: what is measured
 * touches the packet and nothing else.
 */
#include <stdlib.h>

#include "core/base.h"
#include "micro.h"
#include "net/mqtt_decode.h"
#include "net/mqtt_encode.h"

enum { STREAM_BYTES = 65536, PACKET_BYTES_MAX = 1024, FILTERS = 8 };

struct subject {
    unsigned char *bytes;
    uint32_t count;    /* of the stream */
    uint32_t position; /* where the next packet begins */
    uint64_t found;    /* keeps the compiler from leaving the work out */
    struct mqtt_publish publish;
    unsigned char payload[PACKET_BYTES_MAX];
    unsigned char out[PACKET_BYTES_MAX * 2];
};

static const unsigned char topic[] = "plant/7/line/3/temperature";

static struct mqtt_publish publish_of(const struct subject *subject, uint8_t qos, uint32_t bytes)
{
    return (struct mqtt_publish){
        .qos = qos,
        .packet_id = qos > 0 ? 77 : 0,
        .topic = {topic, sizeof(topic) - 1},
        .payload = {subject->payload, bytes},
    };
}

static size_t encode_subscribe(unsigned char *out)
{
    struct mqtt_filter filters[FILTERS];
    for (uint32_t i = 0; i < FILTERS; i++)
        filters[i] = (struct mqtt_filter){.text = {topic, sizeof(topic) - 1}, .qos = 1};
    return mqtt_encode_filters(true, 9, filters, FILTERS, MQTT_3_1_1, out);
}

static struct subject *create(void)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    subject->bytes = malloc(STREAM_BYTES);
    ps_assert(subject->bytes != NULL);
    return subject;
}

static void *create_publish(uint64_t qos)
{
    struct subject *subject = create();
    subject->publish = publish_of(subject, (uint8_t)qos, 64);
    while (subject->count + PACKET_BYTES_MAX < STREAM_BYTES)
        subject->count += (uint32_t)mqtt_encode_publish(&subject->publish, MQTT_3_1_1,
                                                        subject->bytes + subject->count);
    return subject;
}

static void *create_subscribe(uint64_t size)
{
    (void)size;
    struct subject *subject = create();
    while (subject->count + PACKET_BYTES_MAX < STREAM_BYTES)
        subject->count += (uint32_t)encode_subscribe(subject->bytes + subject->count);
    return subject;
}

/* What a busy connection sends: of ten packets five PUBLISH at QoS 1, two at QoS 0, two PUBACK, and
 * a PINGREQ. */
static void *create_mixed(uint64_t payload_bytes)
{
    struct subject *subject = create();
    for (uint32_t i = 0; subject->count + PACKET_BYTES_MAX < STREAM_BYTES; i++) {
        unsigned char *out = subject->bytes + subject->count;
        struct mqtt_publish publish =
            publish_of(subject, i % 10 < 5 ? 1 : 0, (uint32_t)payload_bytes);
        if (i % 10 < 7)
            subject->count += (uint32_t)mqtt_encode_publish(&publish, MQTT_3_1_1, out);
        else if (i % 10 < 9)
            subject->count += (uint32_t)mqtt_encode_ack(MQTT_PUBACK, (uint16_t)(i % 1000 + 1), out);
        else
            subject->count += (uint32_t)mqtt_encode_empty(MQTT_PINGREQ, out);
    }
    return subject;
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ps_assert(subject->found > 0);
    free(subject->bytes);
    free(subject);
}

static void run_decode(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        struct mqtt_frame frame;
        struct mqtt_packet packet;
        const unsigned char *bytes = subject->bytes + subject->position;
        enum mqtt_frame_state state =
            mqtt_frame_find(bytes, subject->count - subject->position, PACKET_BYTES_MAX, &frame);
        ps_assert(state == MQTT_FRAME_WHOLE);
        enum mqtt_reason reason = mqtt_decode(bytes, &frame, MQTT_3_1_1, &packet);
        ps_assert(reason == MQTT_GOOD);
        subject->found += packet.type;
        subject->position += frame.packet_bytes;
        if (subject->position == subject->count)
            subject->position = 0;
    }
}

static void run_encode_publish_head(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        subject->publish.packet_id = (uint16_t)(i % 1000 + 1);
        subject->found += mqtt_encode_publish_head(&subject->publish, MQTT_3_1_1, subject->out);
    }
}

static void run_encode_publish(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++)
        subject->found += mqtt_encode_publish(&subject->publish, MQTT_3_1_1, subject->out);
}

static void run_encode_ack(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++)
        subject->found += mqtt_encode_ack(MQTT_PUBACK, (uint16_t)(i % 1000 + 1), subject->out);
}

const struct micro_case micro_mqtt_cases[] = {
    {"mqtt_decode/publish_qos_0", create_publish, destroy, run_decode, 0},
    {"mqtt_decode/publish_qos_1", create_publish, destroy, run_decode, 1},
    {"mqtt_decode/subscribe_8", create_subscribe, destroy, run_decode, 0},
    {"mqtt_decode/mixed", create_mixed, destroy, run_decode, 64},
    {"mqtt_encode/publish_head", create_publish, destroy, run_encode_publish_head, 1},
    {"mqtt_encode/publish_64", create_publish, destroy, run_encode_publish, 1},
    {"mqtt_encode/puback", create_publish, destroy, run_encode_ack, 1},
    {NULL, NULL, NULL, NULL, 0},
};
