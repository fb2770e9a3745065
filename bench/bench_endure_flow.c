/*
 * The packets of pairs that come and go: what a publisher sends and sends again, what is answered,
 * and the judgement of every delivery; see bench_endure.h.
 */
#include <stdio.h>

#include "bench_endure.h"
#include "net/mqtt_encode.h"

enum { TOPIC_BYTES_MAX = BENCH_TEXT_BYTES_MAX + 32, ACK_BYTES = 4 };

static struct bench_operation *operation_at(const struct bench_run *run, struct bench_pair *pair,
                                            uint64_t number)
{
    return &pair->operations[number % run->options->inflight];
}

static uint16_t packet_id_of(uint64_t number)
{
    return (uint16_t)(number % BENCH_PACKET_IDS + 1);
}

static size_t write_ack(struct bench_run *run, uint32_t connection, enum mqtt_type type,
                        uint16_t packet_id)
{
    unsigned char *room = bench_output_room(run, connection, ACK_BYTES);
    if (room != NULL)
        mqtt_encode_ack(type, packet_id, room);
    return ACK_BYTES;
}

/* The PUBLISH of an operation. Answers its bytes. */
static size_t write_publish(struct bench_run *run, uint32_t connection, uint64_t number,
                            bool is_dup)
{
    uint32_t index = connection - run->endure->pair_count;
    const struct bench_operation *operation = operation_at(run, &run->endure->pairs[index], number);
    char topic[TOPIC_BYTES_MAX];
    int topic_bytes = snprintf(topic, sizeof(topic), "%s/%u/%s", run->options->topic, index,
                               operation->is_retained ? "state" : "m");
    uint32_t payload_bytes = (uint32_t)run->options->payload_bytes;
    const struct mqtt_publish publish = {
        .qos = bench_endure_publish_qos(run, index),
        .is_dup = is_dup,
        .is_retain = operation->is_retained,
        .packet_id = packet_id_of(number),
        .topic = {(const unsigned char *)topic, (uint32_t)topic_bytes},
        .payload = {NULL, payload_bytes},
    };
    const struct bench_stamp stamp = {
        .run = run->run_id,
        .publisher = index | (operation->is_retained ? BENCH_RETAINED_FLAG : 0),
        .sequence = operation->sequence,
        .time_ns = operation->time_ns,
    };
    size_t head_bytes = mqtt_encode_publish_head(&publish, MQTT_3_1_1, NULL);
    unsigned char *room = bench_output_room(run, connection, head_bytes + payload_bytes);
    if (room == NULL)
        return 0;
    mqtt_encode_publish_head(&publish, MQTT_3_1_1, room);
    memcpy(room + head_bytes, run->payload, payload_bytes);
    bench_stamp_write(&stamp, room + head_bytes);
    return head_bytes + payload_bytes;
}

/* What an earlier connection left open, in its order. DUP says that the server may know it; to a
 * session that is new it is no repetition. */
static size_t write_again(struct bench_run *run, uint32_t connection, struct bench_pair *pair)
{
    uint64_t number = pair->sent++;
    if (number >= pair->answered)
        return write_publish(run, connection, number, pair->is_publisher_resumed);
    if (operation_at(run, pair, number)->is_over)
        return 0;
    return write_ack(run, connection, MQTT_PUBREL, packet_id_of(number));
}

static bool may_begin(const struct bench_run *run, const struct bench_pair *pair,
                      const struct bench_stream *stream)
{
    const struct bench_options *options = run->options;
    uint64_t undelivered = pair->messages - ps_min_u64(pair->messages, pair->ledger.next);
    bool has_window = options->window == 0 || undelivered < options->window;
    bool is_due = !stream->is_paced || stream->due > 0;
    return bench_publish_is_on(run) && has_window && is_due &&
           pair->begun - pair->first < options->inflight;
}

static void begin(struct bench_run *run, struct bench_pair *pair, struct bench_stream *stream)
{
    bool is_retained = pair->begun % BENCH_RETAINED_EVERY == 0;
    *operation_at(run, pair, pair->begun) = (struct bench_operation){
        .time_ns = run->now_ns,
        .sequence = is_retained ? pair->retained++ : pair->messages++,
        .is_retained = is_retained,
    };
    pair->begun++;
    if (is_retained)
        return;
    stream->due -= stream->is_paced;
    run->counters.sent++;
    run->counters.expected++;
}

bool bench_endure_fill(struct bench_run *run, uint32_t connection)
{
    struct bench_pair *pair = bench_endure_publisher(run, connection);
    struct bench_stream *stream = &run->streams[run->connections[connection].stream];
    size_t written = 0;
    while (run->connections[connection].state == BENCH_UP && written < BENCH_SEND_BYTES_MAX) {
        if (pair->sent < pair->begun) {
            written += write_again(run, connection, pair);
            continue;
        }
        if (!may_begin(run, pair, stream))
            return false;
        begin(run, pair, stream);
        pair->sent++;
        written += write_publish(run, connection, pair->begun - 1, false);
    }
    return run->connections[connection].state == BENCH_UP;
}

/* PUBACK or PUBREC: the server has taken responsibility. */
static void on_first_answer(struct bench_run *run, uint32_t connection, struct bench_pair *pair,
                            uint64_t number)
{
    struct bench_operation *operation = operation_at(run, pair, number);
    bool is_exact = bench_endure_publish_qos(run, connection - run->endure->pair_count) == 2;
    pair->answered++;
    if (operation->is_retained)
        pair->retained_acked = operation->sequence + 1;
    else
        pair->messages_acked = operation->sequence + 1;
    run->counters.acked += !operation->is_retained;
    operation->is_over = !is_exact;
    if (!is_exact)
        return;
    pair->is_publisher_secured = true;
    write_ack(run, connection, MQTT_PUBREL, packet_id_of(number));
}

void bench_endure_on_answer(struct bench_run *run, uint32_t connection, enum mqtt_type type,
                            uint16_t packet_id)
{
    struct bench_pair *pair = bench_endure_publisher(run, connection);
    if (pair == NULL || packet_id == 0 || run->connections[connection].state != BENCH_UP) {
        run->counters.bad_packets++;
        return;
    }
    uint64_t ahead =
        (packet_id - 1U + BENCH_PACKET_IDS - pair->first % BENCH_PACKET_IDS) % BENCH_PACKET_IDS;
    uint64_t number = pair->first + ahead;
    bool is_exact = bench_endure_publish_qos(run, connection - run->endure->pair_count) == 2;
    bool is_completion = type == MQTT_PUBCOMP;
    bool is_known =
        number < pair->sent && (is_completion ? number < pair->answered : number >= pair->answered);
    if (!is_known || (type == MQTT_PUBACK) == is_exact ||
        operation_at(run, pair, number)->is_over) {
        run->counters.bad_packets++;
        return;
    }
    if (is_completion) {
        operation_at(run, pair, number)->is_over = true;
    } else if (number == pair->answered) {
        on_first_answer(run, connection, pair, number);
    } else {
        run->endure->tally.answers_misordered++;
        return;
    }
    while (pair->first < pair->answered && operation_at(run, pair, pair->first)->is_over)
        pair->first++;
    run->progress_ns = run->now_ns;
    bench_output_mark(run, connection);
}

void bench_endure_on_release(struct bench_run *run, uint32_t connection, uint16_t packet_id)
{
    struct bench_pair *pair =
        connection < run->endure->pair_count ? &run->endure->pairs[connection] : NULL;
    if (pair == NULL || bench_endure_subscribe_qos(run, connection) < 2) {
        run->counters.bad_packets++;
        return;
    }
    /* One that is not open was released before its PUBCOMP got lost, or by a server that does not
     * know any more which ids it had used. */
    if (pair->open_ids != NULL) {
        pair->open_count -= pair->open_ids[packet_id] != 0;
        pair->open_ids[packet_id] = 0;
    }
    write_ack(run, connection, MQTT_PUBCOMP, packet_id);
    run->progress_ns = run->now_ns;
}

/* QoS 2: whether the message is new to the receiver, who knows the packet ids that were not
 * released (MQTT 4.3.3, method B). */
static bool is_open_id_new(struct bench_run *run, struct bench_pair *pair, uint16_t packet_id,
                           uint64_t sequence)
{
    uint32_t *open = &pair->open_ids[packet_id];
    uint32_t mark = (uint32_t)sequence + 1;
    if (*open == 0) {
        *open = mark;
        pair->open_count++;
        return true;
    }
    if (*open == mark)
        run->endure->tally.repeats_2++;
    else
        run->endure->tally.id_conflicts++;
    return false;
}

static void count_verdict(struct bench_run *run, const struct bench_ledger *ledger,
                          uint64_t sequence, enum bench_verdict verdict, bool is_exact)
{
    struct bench_endurance *tally = &run->endure->tally;
    tally->misordered += verdict == BENCH_LATE;
    if (verdict == BENCH_FIRST || verdict == BENCH_LATE)
        return;
    if (is_exact) {
        tally->duplicates_2 += verdict != BENCH_AGAIN_UNSECURED;
        tally->duplicates_2_unsecured += verdict == BENCH_AGAIN_UNSECURED;
        return;
    }
    tally->duplicates_1++;
    tally->duplicates_1_old += verdict == BENCH_AGAIN_OLD;
    tally->duplicates_1_resent += verdict == BENCH_AGAIN_RESENT || verdict == BENCH_AGAIN_UNSECURED;
    if (verdict == BENCH_AGAIN || verdict == BENCH_AGAIN_OLD)
        tally->outlived_ns =
            ps_max_u64(tally->outlived_ns, bench_ledger_outlived_ns(ledger, sequence));
}

static void take(struct bench_run *run, uint32_t connection, const struct bench_stamp *stamp,
                 const struct bench_delivery *delivery)
{
    struct bench_pair *pair = &run->endure->pairs[connection];
    if (stamp->publisher != connection) {
        run->counters.foreign++;
        return;
    }
    if (stamp->sequence >= pair->messages) {
        run->counters.corrupt++;
        return;
    }
    if (delivery->qos == 2 && pair->open_ids != NULL &&
        !is_open_id_new(run, pair, delivery->packet_id, stamp->sequence))
        return;
    enum bench_verdict verdict = BENCH_FIRST;
    if (bench_ledger_take(&pair->ledger, &run->heap, stamp->sequence, &verdict) < 0) {
        bench_connection_drop(run, connection, false);
        return;
    }
    count_verdict(run, &pair->ledger, stamp->sequence, verdict, pair->open_ids != NULL);
    if (verdict == BENCH_FIRST)
        bench_histogram_record(&run->interval, run->now_ns - stamp->time_ns);
    bench_output_mark(run, connection + run->endure->pair_count);
}

/* What the checker gets: of each pair the retained value, then what follows it; only what follows,
 * when that was published after its SUBSCRIBE and before the value was looked up. */
static void check_retained(struct bench_run *run, const struct bench_stamp *stamp, bool is_retain)
{
    struct bench_endure *endure = run->endure;
    uint32_t index = stamp->publisher & ~BENCH_RETAINED_FLAG;
    if ((stamp->publisher & BENCH_RETAINED_FLAG) == 0 || index >= endure->pair_count) {
        run->counters.foreign++;
        return;
    }
    struct bench_pair *pair = &endure->pairs[index];
    if (stamp->sequence >= pair->retained)
        run->counters.corrupt++;
    bool is_older = stamp->sequence + 1 < pair->check_value;
    if (!pair->is_check_due || (is_older && !is_retain))
        return;
    endure->tally.retained_lost += is_older;
    pair->is_check_due = false;
    endure->checks_due--;
    endure->check_progress_ns = run->now_ns;
}

void bench_endure_on_publish(struct bench_run *run, uint32_t connection,
                             const struct bench_delivery *delivery)
{
    bool is_checker = bench_endure_is_checker(run, connection);
    bool is_subscriber = connection < run->endure->pair_count;
    struct bench_stamp stamp;
    run->counters.deliveries += !is_checker;
    if (!bench_receive_is_intact(run, delivery)) {
        run->counters.corrupt++;
    } else {
        bench_stamp_read(delivery->payload, &stamp);
        if (stamp.run != run->run_id || (!is_checker && !is_subscriber))
            run->counters.foreign++;
        else if (is_checker)
            check_retained(run, &stamp, delivery->is_retain);
        else
            take(run, connection, &stamp, delivery);
    }
    uint8_t qos = 1;
    if (is_subscriber)
        qos = (uint8_t)ps_min_u64(bench_endure_publish_qos(run, connection),
                                  bench_endure_subscribe_qos(run, connection));
    run->counters.wrong_qos += delivery->qos != qos;
    if (delivery->qos > 0)
        write_ack(run, connection, delivery->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC,
                  delivery->packet_id);
}
