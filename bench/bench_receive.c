/*
 * Receiving: batches into one hot scratch, packets, and the check of every message; see
 * bench_internal.h. A slice of the scratch has room in front of what is received, where the start
 * of a packet that an earlier receive ended in is put back, so that packets are always contiguous.
 */
#include "bench_endure.h"
#include "core/wire.h"
#include "net/mqtt_decode.h"
#include "net/mqtt_encode.h"

enum { ROUNDS_MAX = 16 };

/* The last PUBLISH that was decoded: what begins with the same bytes has the same topic, length and
 * flags, and need not be decoded again. */
struct known_head {
    const unsigned char *bytes;
    uint32_t head_bytes; /* without the packet id; 0: nothing is known */
    uint32_t packet_bytes;
    uint32_t payload_at;
    struct bench_delivery delivery; /* but for where its payload is, and its packet id */
};

void bench_receive_mark(struct bench_run *run, uint32_t index)
{
    struct bench_connection *connection = &run->connections[index];
    if (connection->is_readable)
        return;
    connection->is_readable = true;
    run->readable[run->readable_count++] = index;
}

void bench_receive_release(struct bench_run *run, struct bench_connection *connection)
{
    if (connection->partial != NULL)
        buffer_release(&run->buffers, connection->partial, connection->partial_capacity);
    connection->partial = NULL;
    connection->partial_bytes = 0;
}

/* The flow of a delivery, or NULL when the connection does not expect it. */
static struct bench_flow *find_flow(struct bench_run *run,
                                    const struct bench_connection *connection,
                                    const struct bench_stamp *stamp)
{
    bool is_ours = run->options->mode == BENCH_SUB || stamp->run == run->run_id;
    bool is_awaited = run->options->missed == 0 || stamp->sequence < run->options->missed;
    uint32_t offset = stamp->publisher - connection->publisher_first;
    if (!is_ours || !is_awaited || offset >= connection->flow_count)
        return NULL;
    return &run->flows[connection->flow_first + offset];
}

static void record_latency(struct bench_run *run, const struct bench_connection *connection,
                           const struct bench_stamp *stamp)
{
    uint64_t sent_ns = stamp->time_ns;
    if (run->options->mode == BENCH_PINGPONG) {
        if (stamp->publisher < run->paced_count)
            return; /* only the way there and back is measured */
        const struct bench_stream *stream = &run->streams[connection->stream];
        sent_ns = stream->times[stamp->sequence % run->options->window];
    }
    bench_histogram_record(&run->interval, run->now_ns > sent_ns ? run->now_ns - sent_ns : 0);
}

bool bench_receive_is_intact(const struct bench_run *run, const struct bench_delivery *delivery)
{
    size_t rest = run->options->payload_bytes - BENCH_STAMP_BYTES;
    return delivery->payload_bytes == run->options->payload_bytes &&
           memcmp(delivery->payload + BENCH_STAMP_BYTES, run->payload + BENCH_STAMP_BYTES, rest) ==
               0;
}

/* --missed: a session got `count` messages of what waited for it, or they were passed over. */
static void serve(struct bench_run *run, struct bench_connection *connection, uint64_t count)
{
    connection->owed -= count;
    run->outstanding -= count;
    if (connection->owed > 0)
        return;
    bench_histogram_record(&run->interval, run->now_ns - run->start_ns);
    if (run->outstanding == 0)
        run->result->served_ns = run->now_ns - run->start_ns;
}

/* Checks and counts one delivery. */
static void take_message(struct bench_run *run, uint32_t index,
                         const struct bench_delivery *delivery)
{
    struct bench_connection *connection = &run->connections[index];
    run->counters.deliveries++;
    if (ps_unlikely(!bench_receive_is_intact(run, delivery))) {
        run->counters.corrupt++;
        return;
    }
    struct bench_stamp stamp;
    bench_stamp_read(delivery->payload, &stamp);
    struct bench_flow *flow = find_flow(run, connection, &stamp);
    if (ps_unlikely(flow == NULL)) {
        run->counters.foreign++;
        return;
    }
    bool has_stream = run->options->mode != BENCH_SUB;
    if (ps_unlikely(has_stream && stamp.sequence >= run->streams[stamp.publisher].sent)) {
        run->counters.corrupt++;
        return;
    }
    uint64_t first = flow->next;
    uint64_t settled = bench_flow_take(flow, stamp.sequence, &run->tally);
    if (run->options->missed > 0 && settled > 0)
        serve(run, connection, settled);
    else if (run->options->missed == 0 && run->phase != BENCH_WARMS)
        record_latency(run, connection, &stamp);
    if (has_stream && settled > 0)
        bench_publish_settle(run, stamp.publisher, first, settled);
}

static void acknowledge(struct bench_run *run, uint32_t index, uint8_t qos, uint16_t packet_id)
{
    unsigned char *room = bench_output_room(run, index, 4);
    if (room != NULL)
        mqtt_encode_ack(qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, packet_id, room);
    run->releases_due += qos == 2;
}

static void on_publish(struct bench_run *run, uint32_t index, const struct bench_delivery *delivery)
{
    if (run->endure != NULL) {
        bench_endure_on_publish(run, index, delivery);
        return;
    }
    if (delivery->is_others) {
        run->counters.others++;
    } else {
        if (delivery->qos != run->options->qos)
            run->counters.wrong_qos++;
        take_message(run, index, delivery);
    }
    if (delivery->qos > 0)
        acknowledge(run, index, delivery->qos, delivery->packet_id);
}

static void on_release(struct bench_run *run, uint32_t index, uint16_t packet_id)
{
    if (run->endure != NULL) {
        bench_endure_on_release(run, index, packet_id);
        return;
    }
    run->releases_due--;
    unsigned char *room = bench_output_room(run, index, 4);
    if (room != NULL)
        mqtt_encode_ack(MQTT_PUBCOMP, packet_id, room);
}

/* Whether a topic lies under PREFIX/. */
static bool is_under_prefix(const struct bench_run *run, const struct mqtt_bytes *topic)
{
    size_t bytes = strlen(run->options->topic);
    return topic->count > bytes && topic->bytes[bytes] == '/' &&
           memcmp(topic->bytes, run->options->topic, bytes) == 0;
}

static void on_packet(struct bench_run *run, uint32_t index, const struct mqtt_packet *packet)
{
    switch (packet->type) {
    case MQTT_CONNACK:
        bench_connection_on_connack(run, index, &packet->connack);
        return;
    case MQTT_SUBACK:
        bench_connection_on_suback(run, index, &packet->codes);
        return;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBCOMP:
        if (run->endure != NULL)
            bench_endure_on_answer(run, index, packet->type, packet->ack.packet_id);
        else
            bench_publish_on_ack(run, index, packet->type, packet->ack.packet_id);
        return;
    case MQTT_PUBREL:
        on_release(run, index, packet->ack.packet_id);
        return;
    case MQTT_PINGRESP:
        bench_connection_on_pingresp(run, index);
        return;
    case MQTT_PUBLISH: /* handled before */
    case MQTT_CONNECT:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_UNSUBACK:
    case MQTT_PINGREQ:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
    case MQTT_PACKET_TYPES:
        break;
    }
    run->counters.bad_packets++;
}

/* One packet that is not known yet. Its bytes, or 0 when it is not whole. */
static uint32_t take_packet(struct bench_run *run, uint32_t index, const unsigned char *bytes,
                            size_t count, struct known_head *known)
{
    struct mqtt_frame frame;
    struct mqtt_packet packet;
    enum mqtt_frame_state state = mqtt_frame_find(bytes, count, run->headroom_bytes, &frame);
    if (state == MQTT_FRAME_NEEDS_MORE)
        return 0;
    if (state == MQTT_FRAME_BAD || mqtt_decode(bytes, &frame, MQTT_3_1_1, &packet) != MQTT_GOOD) {
        run->counters.bad_packets++;
        bench_connection_drop(run, index, false);
        return 0;
    }
    if (packet.type != MQTT_PUBLISH) {
        on_packet(run, index, &packet);
        return frame.packet_bytes;
    }
    const struct mqtt_publish *publish = &packet.publish;
    uint32_t payload_at = frame.packet_bytes - publish->payload.count;
    *known = (struct known_head){
        .bytes = bytes,
        .head_bytes = payload_at - (publish->qos > 0 ? 2 : 0),
        .packet_bytes = frame.packet_bytes,
        .payload_at = payload_at,
        .delivery = {.payload = bytes + payload_at,
                     .payload_bytes = publish->payload.count,
                     .packet_id = publish->packet_id,
                     .qos = publish->qos,
                     .is_retain = publish->is_retain,
                     .is_others =
                         run->options->filter != NULL && !is_under_prefix(run, &publish->topic)},
    };
    on_publish(run, index, &known->delivery);
    return frame.packet_bytes;
}

/* Handles every whole packet; answers how many bytes they were. */
static size_t take_packets(struct bench_run *run, uint32_t index, const unsigned char *bytes,
                           size_t count)
{
    const struct bench_connection *connection = &run->connections[index];
    struct known_head known = {0};
    size_t at = 0;
    while (at < count && bench_connection_is_open(connection)) {
        const unsigned char *next = bytes + at;
        bool is_known = known.head_bytes > 0 && count - at >= known.packet_bytes &&
                        memcmp(next, known.bytes, known.head_bytes) == 0;
        struct bench_delivery *delivery = &known.delivery;
        bool has_id = delivery->qos > 0;
        uint16_t packet_id = is_known && has_id ? wire_load_u16(next + known.head_bytes) : 0;
        if (is_known && (!has_id || packet_id != 0)) {
            delivery->payload = next + known.payload_at;
            delivery->packet_id = packet_id;
            on_publish(run, index, delivery);
            at += known.packet_bytes;
            continue;
        }
        uint32_t taken = take_packet(run, index, next, count - at, &known);
        if (taken == 0)
            break;
        at += taken;
    }
    return at;
}

/* Keeps the start of a packet for the next receive. */
static void keep_partial(struct bench_run *run, uint32_t index, const unsigned char *bytes,
                         size_t count)
{
    struct bench_connection *connection = &run->connections[index];
    if (!bench_connection_is_open(connection))
        return;
    if (count == 0) {
        bench_receive_release(run, connection);
        return;
    }
    if (connection->partial == NULL) {
        size_t capacity = 0;
        connection->partial = buffer_acquire(&run->buffers, run->headroom_bytes, &capacity);
        connection->partial_capacity = (uint32_t)capacity;
    }
    if (connection->partial == NULL) {
        bench_connection_drop(run, index, false);
        return;
    }
    memcpy(connection->partial, bytes, count);
    connection->partial_bytes = (uint32_t)count;
}

static void on_received(struct bench_run *run, uint32_t index, const struct ring_receive *request)
{
    struct bench_connection *connection = &run->connections[index];
    run->counters.receives++;
    if (request->result == -EAGAIN)
        return;
    if (request->result <= 0) {
        bench_connection_drop(run, index, true);
        return;
    }
    uint32_t before = connection->partial_bytes;
    unsigned char *bytes = (unsigned char *)request->buffer - before;
    if (before > 0)
        memcpy(bytes, connection->partial, before);
    size_t count = before + (size_t)request->result;
    size_t taken = take_packets(run, index, bytes, count);
    keep_partial(run, index, bytes + taken, count - taken);
    bool is_full = (uint32_t)request->result == request->bytes_max;
    if (bench_connection_is_open(connection) && (request->has_more || is_full))
        bench_receive_mark(run, index);
}

static void receive_batch(struct bench_run *run, const uint32_t *indices, uint32_t count)
{
    struct ring_receive requests[BENCH_RECEIVES_MAX];
    for (uint32_t i = 0; i < count; i++) {
        requests[i] = (struct ring_receive){
            .socket = run->connections[indices[i]].socket,
            .buffer = run->scratch + i * run->slice_bytes + run->headroom_bytes,
            .bytes_max = BENCH_RECEIVE_BYTES_MAX,
        };
    }
    ring_receive_batch(run->ring, requests, count);
    run->now_ns = ring_now_ns(run->ring);
    for (uint32_t i = 0; i < count; i++)
        on_received(run, indices[i], &requests[i]);
}

/* One receive for each connection in the list; what has more stands in the list again. */
static void receive_round(struct bench_run *run)
{
    uint32_t *reading = run->readable;
    uint32_t reading_count = run->readable_count;
    run->readable = run->reading;
    run->reading = reading;
    run->readable_count = 0;
    uint32_t batch[BENCH_RECEIVES_MAX];
    uint32_t batch_count = 0;
    for (uint32_t i = 0; i < reading_count; i++) {
        struct bench_connection *connection = &run->connections[reading[i]];
        connection->is_readable = false;
        if (!bench_connection_is_open(connection))
            continue;
        uint32_t unsent = connection->output_bytes - connection->output_sent;
        if (connection->is_blocked && unsent > BENCH_OUTPUT_BYTES_MAX) {
            connection->is_parked = true;
            continue;
        }
        batch[batch_count++] = reading[i];
        if (batch_count == BENCH_RECEIVES_MAX) {
            receive_batch(run, batch, batch_count);
            batch_count = 0;
        }
    }
    if (batch_count > 0)
        receive_batch(run, batch, batch_count);
}

void bench_receive_all(struct bench_run *run)
{
    /* Several rounds before anything is sent: what one subscriber of many publishers received then
     * frees their windows in larger pieces. */
    for (uint32_t round = 0; round < ROUNDS_MAX && run->readable_count > 0; round++)
        receive_round(run);
}
