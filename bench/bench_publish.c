/*
 * Streams: what each publisher may send, its windows, and the acknowledgements; see
 * bench_internal.h.
 */
#include <stdio.h>

#include "bench_endure.h"
#include "core/wire.h"
#include "net/mqtt_encode.h"

/* --topics: one's next is this many further, so that topics of any part of the range are mixed. */
enum { PACED_PER_TURN_MAX = 65536, TOPIC_STRIDE = 1000003 };

bool bench_publish_is_on(const struct bench_run *run)
{
    return run->phase == BENCH_WARMS || run->phase == BENCH_MEASURES;
}

bool bench_publish_is_over(const struct bench_run *run)
{
    return run->options->rounds > 0 &&
           run->counters.sent == run->options->topics * run->options->rounds;
}

/* The topics that a stream publishes to are those that equal its number modulo the streams. */
static uint64_t stream_topics(const struct bench_run *run, uint32_t index)
{
    return (run->options->topics - index + run->stream_count - 1) / run->stream_count;
}

uint64_t bench_publish_messages_max(const struct bench_run *run, uint32_t index)
{
    return run->options->rounds > 0 ? run->options->rounds * stream_topics(run, index) : UINT64_MAX;
}

/* Messages that the stream may send now, as far as windows and pace go. */
static uint64_t stream_credit(const struct bench_run *run, const struct bench_stream *stream)
{
    const struct bench_options *options = run->options;
    uint64_t credit = stream->messages_max - stream->sent;
    if (options->window > 0)
        credit = ps_min_u64(credit, options->window - (stream->sent - stream->settled));
    if (stream->is_paced)
        credit = ps_min_u64(credit, stream->due);
    if (stream->inflight != NULL)
        credit = ps_min_u64(credit, options->inflight - stream->unacked);
    return credit;
}

/* When a message of a paced stream was to be sent: the streams take turns. */
static uint64_t intended_ns(const struct bench_run *run, uint32_t stream, uint64_t sequence)
{
    double number = (double)sequence * run->paced_count + stream;
    return run->pace_start_ns + (uint64_t)(number * 1e9 / (double)run->options->rate);
}

static uint64_t send_time_ns(struct bench_run *run, uint32_t index, struct bench_stream *stream)
{
    bool is_timed = run->options->rate > 0 && index < run->paced_count;
    uint64_t time_ns = is_timed ? intended_ns(run, index, stream->sent) : run->now_ns;
    if (stream->times != NULL)
        stream->times[stream->sent % run->options->window] = time_ns;
    return time_ns;
}

/* The head of the stream's next message, without a packet id, and whose message of which number it
 * is. Answers its bytes. */
static uint32_t write_head(struct bench_run *run, uint32_t index, struct bench_stamp *stamp,
                           unsigned char *out)
{
    struct bench_stream *stream = &run->streams[index];
    const struct bench_options *options = run->options;
    if (options->topics == 0) {
        memcpy(out, stream->head, stream->head_bytes);
        return stream->head_bytes;
    }
    uint64_t count = stream_topics(run, index);
    uint64_t position = stream->sent % count;
    /* A step that shares a factor with the count would not reach all: then they come in order. */
    bool is_mixed = count % TOPIC_STRIDE != 0;
    uint64_t mixed = is_mixed ? position * TOPIC_STRIDE % count : position;
    stamp->publisher = (uint32_t)(index + mixed * run->stream_count);
    stamp->sequence = stream->sent / count;
    char topic[BENCH_TEXT_BYTES_MAX + 16];
    int bytes = snprintf(topic, sizeof(topic), "%s/%u", options->topic, stamp->publisher);
    const struct mqtt_publish publish = {
        .qos = (uint8_t)options->qos,
        .packet_id = options->qos > 0 ? 1 : 0,
        .topic = {(const unsigned char *)topic, (uint32_t)bytes},
        .payload = {NULL, (uint32_t)options->payload_bytes},
    };
    return (uint32_t)mqtt_encode_publish_head(&publish, MQTT_3_1_1, out);
}

/* Writes the stream's next message. Answers its bytes. */
static uint32_t write_message(struct bench_run *run, uint32_t index, unsigned char *out)
{
    struct bench_stream *stream = &run->streams[index];
    struct bench_stamp stamp = {
        .run = run->run_id,
        .publisher = index,
        .sequence = stream->sent,
        .time_ns = send_time_ns(run, index, stream),
    };
    uint32_t head_bytes = write_head(run, index, &stamp, out);
    if (stream->inflight != NULL) {
        uint32_t slot = (uint32_t)(stream->sent % run->options->inflight);
        stream->inflight[slot] =
            (struct bench_inflight){.time_ns = stamp.time_ns, .state = BENCH_AWAITS_FIRST};
        wire_store_u16(out + head_bytes - 2, (uint16_t)(slot + 1));
        stream->unacked++;
        run->unacked++;
    }
    memcpy(out + head_bytes, run->payload, run->options->payload_bytes);
    bench_stamp_write(&stamp, out + head_bytes);
    stream->sent++;
    stream->due -= stream->is_paced;
    run->counters.sent++;
    run->counters.expected += stream->receivers;
    run->outstanding += stream->receivers;
    return head_bytes + (uint32_t)run->options->payload_bytes;
}

/* Acknowledgements may come out of order, so the next packet id can be taken though others are
 * free. */
static bool is_next_id_free(const struct bench_run *run, const struct bench_stream *stream)
{
    return stream->inflight == NULL ||
           stream->inflight[stream->sent % run->options->inflight].state == BENCH_FREE;
}

bool bench_publish_fill(struct bench_run *run, uint32_t index)
{
    if (run->endure != NULL)
        return bench_endure_fill(run, index);
    uint32_t number = run->connections[index].stream;
    struct bench_stream *stream = &run->streams[number];
    /* Answers go on while the run drains. */
    bool is_answer = number >= run->paced_count;
    if (run->connections[index].state != BENCH_UP || (!bench_publish_is_on(run) && !is_answer))
        return false;
    uint64_t credit = stream_credit(run, stream);
    size_t message_bytes = stream->head_bytes + run->options->payload_bytes;
    uint64_t fitting = ps_max_u64(1, BENCH_SEND_BYTES_MAX / message_bytes);
    uint64_t count = ps_min_u64(credit, fitting);
    for (uint64_t i = 0; i < count; i++) {
        if (!is_next_id_free(run, stream))
            return false;
        if (i == 0) {
            /* Room for all of them at once; what is not needed is given back below. */
            unsigned char *room = bench_output_room(run, index, (size_t)count * message_bytes);
            if (room == NULL)
                return false;
            run->connections[index].output_bytes -= (uint32_t)(count * message_bytes);
        }
        struct bench_connection *connection = &run->connections[index];
        connection->output_bytes +=
            write_message(run, number, connection->output + connection->output_bytes);
    }
    return credit > count;
}

void bench_publish_pace(struct bench_run *run)
{
    if (run->options->rate == 0 || run->paced_count == 0 || !bench_publish_is_on(run))
        return;
    double elapsed_s = (double)(run->now_ns - run->pace_start_ns) / 1e9;
    uint64_t due = (uint64_t)(elapsed_s * (double)run->options->rate) + 1;
    uint64_t end = ps_min_u64(due, run->paced + PACED_PER_TURN_MAX);
    for (; run->paced < end; run->paced++) {
        struct bench_stream *stream = &run->streams[run->paced % run->paced_count];
        stream->due++;
        bench_output_mark(run, stream->connection);
    }
}

uint64_t bench_publish_next_ns(const struct bench_run *run)
{
    if (run->options->rate == 0 || run->paced_count == 0 || !bench_publish_is_on(run))
        return UINT64_MAX;
    return run->pace_start_ns + (uint64_t)((double)run->paced * 1e9 / (double)run->options->rate) +
           1;
}

/* A message to several receivers is settled when each of them has got or missed it. */
static void settle_shared(struct bench_run *run, struct bench_stream *stream, uint64_t sequence,
                          uint64_t count)
{
    uint64_t window = run->options->window;
    for (uint64_t i = sequence; i < sequence + count; i++)
        stream->arrivals[i % window]++;
    while (stream->settled < stream->sent &&
           stream->arrivals[stream->settled % window] == stream->receivers) {
        stream->arrivals[stream->settled % window] = 0;
        stream->settled++;
    }
}

/* The receiver of one side's message answers it; the other side's message is settled by that. */
static void settle_answered(struct bench_run *run, uint32_t number, uint64_t count)
{
    bool is_question = number < run->paced_count;
    uint32_t other = is_question ? number + run->paced_count : number - run->paced_count;
    if (is_question) {
        run->streams[other].due += count;
    } else {
        run->streams[number].settled += count;
        run->streams[other].settled += count;
    }
    bench_output_mark(run, run->streams[other].connection);
}

void bench_publish_settle(struct bench_run *run, uint32_t number, uint64_t sequence, uint64_t count)
{
    struct bench_stream *stream = &run->streams[number];
    run->outstanding -= count;
    if (run->options->mode == BENCH_PINGPONG) {
        settle_answered(run, number, count);
        return;
    }
    if (stream->arrivals != NULL)
        settle_shared(run, stream, sequence, count);
    else
        stream->settled += count;
    bench_output_mark(run, stream->connection);
}

void bench_publish_on_ack(struct bench_run *run, uint32_t index, enum mqtt_type type,
                          uint16_t packet_id)
{
    uint32_t number = run->connections[index].stream;
    struct bench_stream *stream = number != BENCH_NO_STREAM ? &run->streams[number] : NULL;
    bool is_known = stream != NULL && stream->inflight != NULL && packet_id >= 1 &&
                    packet_id <= run->options->inflight;
    struct bench_inflight *inflight = is_known ? &stream->inflight[packet_id - 1] : NULL;
    enum bench_inflight_state awaited =
        type == MQTT_PUBCOMP ? BENCH_AWAITS_PUBCOMP : BENCH_AWAITS_FIRST;
    bool is_for_qos = (type == MQTT_PUBACK) == (run->options->qos == 1);
    if (!is_known || !is_for_qos || inflight->state != awaited) {
        run->counters.bad_packets++;
        return;
    }
    if (type == MQTT_PUBREC) {
        inflight->state = BENCH_AWAITS_PUBCOMP;
        unsigned char *room = bench_output_room(run, index, 4);
        if (room != NULL)
            mqtt_encode_ack(MQTT_PUBREL, packet_id, room);
        return;
    }
    inflight->state = BENCH_FREE;
    stream->unacked--;
    run->unacked--;
    run->counters.acked++;
    if (run->options->mode == BENCH_PUB && run->phase != BENCH_WARMS)
        bench_histogram_record(&run->interval, run->now_ns - inflight->time_ns);
    bench_output_mark(run, index);
}
