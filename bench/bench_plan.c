/*
 * Who publishes and who subscribes in each mode; see bench_internal.h.
 *
 * mode      connections                          streams       flows
 * conn      N                                    none          one each, if --subscribe
 * pub       N publishers                         N             none
 * sub       N subscribers                        none          P each, begun by what comes first
 * pairs     N subscribers, N publishers          N             one per subscriber
 * fanout    N subscribers, 1 publisher           1             one per subscriber
 * fanin     N publishers, 1 subscriber           N             N
 * pingpong  N that begin, N that answer          N, then N     one each
 * endure    N subscribers, N publishers, 1 more  N             none: bench_endure.h
 *
 * With --topics a stream of the mode pub publishes to every topic that equals its number modulo the
 * streams; with --missed a flow begins with its first message and ends with the last that is
 * awaited.
 */
#include <stdio.h>
#include <unistd.h>

#include "bench_endure.h"
#include "net/mqtt_encode.h"

enum { TOPIC_BYTES_MAX = BENCH_TEXT_BYTES_MAX + 16, CACHED_BYTES_MAX = 8 << 20 };

void bench_plan_filter(const struct bench_run *run, uint32_t connection, char *out,
                       size_t out_bytes)
{
    const struct bench_connection *subscriber = &run->connections[connection];
    bool is_pattern = run->options->mode == BENCH_FANIN || run->options->publishers > 0;
    if (run->endure != NULL)
        bench_endure_filter(run, connection, out, out_bytes);
    else if (run->options->filter != NULL)
        snprintf(out, out_bytes, "%s", run->options->filter);
    else if (is_pattern)
        snprintf(out, out_bytes, "%s/+", run->options->topic);
    else
        snprintf(out, out_bytes, "%s/%u", run->options->topic, subscriber->publisher_first);
}

uint8_t bench_plan_qos(const struct bench_run *run, uint32_t connection)
{
    return run->endure != NULL ? bench_endure_subscribe_qos(run, connection)
                               : (uint8_t)run->options->qos;
}

static int plan_stream(struct bench_run *run, uint32_t index)
{
    struct bench_stream *stream = &run->streams[index];
    const struct bench_options *options = run->options;
    char topic[TOPIC_BYTES_MAX];
    /* Of several topics the longest: room is made for it. */
    uint64_t number = options->topics > 0 ? options->topics - 1 : index;
    int topic_bytes = snprintf(topic, sizeof(topic), "%s/%u", options->topic, (uint32_t)number);
    stream->messages_max = bench_publish_messages_max(run, index);
    const struct mqtt_publish publish = {
        .qos = (uint8_t)options->qos,
        .packet_id = options->qos > 0 ? 1 : 0,
        .topic = {(const unsigned char *)topic, (uint32_t)topic_bytes},
        .payload = {NULL, (uint32_t)options->payload_bytes},
    };
    stream->head_bytes = (uint32_t)mqtt_encode_publish_head(&publish, MQTT_3_1_1, NULL);
    stream->head = heap_alloc(&run->heap, stream->head_bytes);
    if (stream->head == NULL)
        return -ENOMEM;
    mqtt_encode_publish_head(&publish, MQTT_3_1_1, stream->head);
    bool is_answer = options->mode == BENCH_PINGPONG && index >= run->paced_count;
    stream->is_paced = options->rate > 0 || is_answer;
    if (options->window > 0 && stream->receivers > 1)
        stream->arrivals = heap_zalloc(&run->heap, options->window * sizeof(*stream->arrivals));
    if (options->mode == BENCH_PINGPONG)
        stream->times = heap_zalloc(&run->heap, options->window * sizeof(*stream->times));
    if (options->qos > 0)
        stream->inflight = heap_zalloc(&run->heap, options->inflight * sizeof(*stream->inflight));
    bool is_whole = (stream->arrivals != NULL) == (options->window > 0 && stream->receivers > 1) &&
                    (stream->times != NULL) == (options->mode == BENCH_PINGPONG) &&
                    (stream->inflight != NULL) == (options->qos > 0);
    return is_whole ? 0 : -ENOMEM;
}

static void publishes(struct bench_run *run, uint32_t connection, uint32_t stream,
                      uint32_t receivers)
{
    run->connections[connection].stream = stream;
    run->streams[stream].connection = connection;
    run->streams[stream].receivers = receivers;
}

static void subscribes(struct bench_run *run, uint32_t connection, uint32_t publisher_first,
                       uint32_t count)
{
    struct bench_connection *subscriber = &run->connections[connection];
    subscriber->publisher_first = publisher_first;
    subscriber->flow_first = (uint32_t)run->flow_count;
    subscriber->flow_count = count;
    run->flow_count += count;
}

static void assign(struct bench_run *run)
{
    const struct bench_options *options = run->options;
    uint32_t count = (uint32_t)options->connections;
    for (uint32_t i = 0; i < count; i++) {
        switch (options->mode) {
        case BENCH_CONN:
            subscribes(run, i, i, options->has_subscription ? 1 : 0);
            break;
        case BENCH_PUB:
            publishes(run, i, i, 0);
            break;
        case BENCH_SUB:
            if (options->publishers > 0)
                subscribes(run, i, 0, (uint32_t)options->publishers);
            else
                subscribes(run, i, i, 1);
            break;
        case BENCH_PAIRS:
            subscribes(run, i, i, 1);
            publishes(run, count + i, i, 1);
            break;
        case BENCH_FANOUT:
            subscribes(run, i, 0, 1);
            break;
        case BENCH_FANIN:
            publishes(run, i, i, 1);
            break;
        case BENCH_PINGPONG:
            publishes(run, i, i, 1);
            subscribes(run, i, count + i, 1);
            publishes(run, count + i, count + i, 1);
            subscribes(run, count + i, i, 1);
            break;
        case BENCH_ENDURE:
            publishes(run, count + i, i, 0);
            break;
        case BENCH_MODES:
            break;
        }
    }
    if (options->mode == BENCH_FANOUT)
        publishes(run, count, 0, count);
    if (options->mode == BENCH_FANIN)
        subscribes(run, count, 0, count);
}

static uint64_t stream_count_of(const struct bench_options *options)
{
    switch (options->mode) {
    case BENCH_CONN:
    case BENCH_SUB:
        return 0;
    case BENCH_PUB:
    case BENCH_PAIRS:
    case BENCH_FANIN:
    case BENCH_ENDURE:
        return options->connections;
    case BENCH_FANOUT:
        return 1;
    case BENCH_PINGPONG:
        return 2 * options->connections;
    case BENCH_MODES:
        break;
    }
    return 0;
}

static void *zalloc_many(struct bench_run *run, uint64_t count, size_t bytes)
{
    return heap_zalloc(&run->heap, (size_t)(count + 1) * bytes);
}

static int plan_memory(struct bench_run *run)
{
    const struct bench_options *options = run->options;
    run->payload = heap_alloc(&run->heap, options->payload_bytes);
    run->headroom_bytes = ((uint32_t)options->payload_bytes + TOPIC_BYTES_MAX + 16 + 63) / 64 * 64;
    run->slice_bytes = run->headroom_bytes + BENCH_RECEIVE_BYTES_MAX;
    run->scratch = heap_alloc_aligned(&run->heap, 64, BENCH_RECEIVES_MAX * run->slice_bytes);
    run->connections = zalloc_many(run, run->connection_count, sizeof(*run->connections));
    run->readable = zalloc_many(run, run->connection_count, sizeof(*run->readable));
    run->reading = zalloc_many(run, run->connection_count, sizeof(*run->reading));
    run->dirty = zalloc_many(run, run->connection_count, sizeof(*run->dirty));
    run->flushing = zalloc_many(run, run->connection_count, sizeof(*run->flushing));
    run->streams = zalloc_many(run, run->stream_count, sizeof(*run->streams));
    if (run->payload == NULL || run->scratch == NULL || run->connections == NULL ||
        run->readable == NULL || run->reading == NULL || run->dirty == NULL ||
        run->flushing == NULL || run->streams == NULL)
        return -ENOMEM;
    bench_payload_fill(run->payload, options->payload_bytes);
    for (uint32_t i = 0; i < run->connection_count; i++)
        run->connections[i].stream = BENCH_NO_STREAM;
    return 0;
}

int bench_plan(struct bench_run *run)
{
    const struct bench_options *options = run->options;
    run->connection_count = (uint32_t)bench_options_sockets(options);
    run->undecided = run->connection_count;
    run->stream_count = (uint32_t)stream_count_of(options);
    run->paced_count =
        options->mode == BENCH_PINGPONG ? (uint32_t)options->connections : run->stream_count;
    buffer_cache_init(&run->buffers, &run->heap, CACHED_BYTES_MAX);
    int status = plan_memory(run);
    if (status < 0)
        return status;
    assign(run);
    for (uint32_t i = 0; i < run->stream_count && status == 0; i++)
        status = plan_stream(run, i);
    run->flows = zalloc_many(run, run->flow_count, sizeof(*run->flows));
    if (status < 0 || run->flows == NULL)
        return -ENOMEM;
    bool is_open = options->mode == BENCH_SUB && options->missed == 0;
    for (uint64_t i = 0; i < run->flow_count && is_open; i++)
        run->flows[i].next = BENCH_FLOW_OPEN;
    for (uint32_t i = 0; i < run->connection_count && options->missed > 0; i++)
        run->connections[i].owed = run->connections[i].flow_count * options->missed;
    run->outstanding = run->counters.expected = run->flow_count * options->missed;
    return options->mode == BENCH_ENDURE ? bench_endure_plan(run) : 0;
}

void bench_plan_release(struct bench_run *run)
{
    for (uint32_t i = 0; run->connections != NULL && i < run->connection_count; i++) {
        bench_output_release(run, &run->connections[i]);
        bench_receive_release(run, &run->connections[i]);
    }
    for (uint32_t i = 0; run->streams != NULL && i < run->stream_count; i++) {
        heap_free(&run->heap, run->streams[i].head);
        heap_free(&run->heap, run->streams[i].arrivals);
        heap_free(&run->heap, run->streams[i].times);
        heap_free(&run->heap, run->streams[i].inflight);
    }
    bench_endure_release(run);
    void *const parts[] = {run->payload, run->scratch, run->connections, run->readable,
                           run->reading, run->dirty,   run->flushing,    run->by_slot,
                           run->streams, run->flows};
    for (size_t i = 0; i < ps_array_count(parts); i++)
        heap_free(&run->heap, parts[i]);
    buffer_cache_deinit(&run->buffers);
}
