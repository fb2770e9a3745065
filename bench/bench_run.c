/*
 * A run: its phases and its turn; see bench_internal.h.
 *
 * OPENS -> WARMS -> MEASURES -> DRAINS -> LINGERS. It opens until every connection is up or given
 * up; drains until nothing is outstanding or nothing came for drain_ms; and lingers a moment, so
 * that a duplicate can still be seen. In the mode endure it CHECKS the retained values between.
 */
#include "bench/bench_run.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "bench_endure.h"
#include "core/hash.h"
#include "net/mqtt_encode.h"

enum { OPEN_STALL_MS = 15000, LINGER_MS = 100, NS_PER_MS = 1000000 };

static void read_use(const struct bench_run *run, struct bench_process_use *out_client,
                     struct bench_process_use *out_server)
{
    *out_server = (struct bench_process_use){0};
    bench_process_use((uint64_t)getpid(), out_client);
    if (run->options->server_pid != 0)
        bench_process_use(run->options->server_pid, out_server);
}

static void read_dirty(const struct bench_run *run, uint64_t *out_client, uint64_t *out_server)
{
    bench_process_dirty((uint64_t)getpid(), out_client);
    if (run->options->server_pid != 0)
        bench_process_dirty(run->options->server_pid, out_server);
}

static void enter_phase(struct bench_run *run, enum bench_phase phase)
{
    run->phase = phase;
    run->phase_start_ns = run->now_ns;
    run->progress_ns = run->now_ns;
}

static void begin_measuring(struct bench_run *run)
{
    enter_phase(run, BENCH_MEASURES);
    run->measure_start = run->counters;
    read_use(run, &run->client_start, &run->server_start);
}

static void begin_publishing(struct bench_run *run)
{
    struct bench_result *result = run->result;
    result->connect_ns = run->now_ns - run->start_ns;
    result->up = run->up;
    if (run->options->mode == BENCH_CONN)
        read_dirty(run, &result->client_dirty_up, &result->server_dirty_up);
    run->now_ns = ring_now_ns(run->ring);
    run->pace_start_ns = run->now_ns;
    enter_phase(run, BENCH_WARMS);
    for (uint32_t i = 0; i < run->stream_count; i++)
        bench_output_mark(run, run->streams[i].connection);
    if (run->options->warmup_ms == 0)
        begin_measuring(run);
}

static struct bench_counters counters_since(const struct bench_counters *before,
                                            const struct bench_counters *after)
{
    /* A struct of nothing but uint64_t. */
    struct bench_counters difference;
    const uint64_t *from = (const uint64_t *)(const void *)before;
    const uint64_t *to = (const uint64_t *)(const void *)after;
    uint64_t *out = (uint64_t *)(void *)&difference;
    for (size_t i = 0; i < sizeof(difference) / sizeof(uint64_t); i++)
        out[i] = to[i] - from[i];
    return difference;
}

static void end_measuring(struct bench_run *run)
{
    run->result->measure = counters_since(&run->measure_start, &run->counters);
    run->result->measure_ns = run->now_ns - run->phase_start_ns;
    enter_phase(run, BENCH_DRAINS);
    if (run->options->mode == BENCH_PUB)
        bench_connection_ping_all(run);
}

static bool is_drained(const struct bench_run *run)
{
    if (run->endure != NULL)
        return bench_endure_is_drained(run);
    bool is_read = run->options->mode != BENCH_PUB || run->pinged == 0;
    return is_read && run->outstanding == 0 && run->unacked == 0 && run->releases_due <= 0 &&
           run->blocked == 0 && run->dirty_count == 0;
}

/* What is to be published or awaited is, before the time is over. */
static bool is_done(const struct bench_run *run)
{
    bool is_served = run->options->missed > 0 && run->outstanding == 0;
    return is_served || bench_publish_is_over(run);
}

/* A signal ends the phase, and in the mode endure no other than this one. */
static bool take_interruption(struct bench_run *run)
{
    bool is_over = run->is_interrupted;
    if (run->endure == NULL)
        return is_over;
    run->is_interrupted = false;
    return is_over || bench_endure_has_given_up(run);
}

/* Answers false when the run is over. */
static bool advance_phase(struct bench_run *run)
{
    const struct bench_options *options = run->options;
    uint64_t in_phase_ms = (run->now_ns - run->phase_start_ns) / NS_PER_MS;
    uint64_t quiet_ms = (run->now_ns - run->progress_ns) / NS_PER_MS;
    bool is_over = take_interruption(run);
    switch (run->phase) {
    case BENCH_OPENS:
        if (run->undecided == 0 || quiet_ms > OPEN_STALL_MS || is_over)
            begin_publishing(run);
        return true;
    case BENCH_WARMS:
        if (in_phase_ms >= options->warmup_ms || is_over)
            begin_measuring(run);
        return true;
    case BENCH_MEASURES:
        if (in_phase_ms >= options->duration_ms || is_done(run) || is_over)
            end_measuring(run);
        return true;
    case BENCH_DRAINS:
        if (is_drained(run) || quiet_ms > options->drain_ms || is_over)
            enter_phase(run, run->endure != NULL ? BENCH_CHECKS : BENCH_LINGERS);
        return true;
    case BENCH_CHECKS:
        if (bench_endure_check_finally(run) || is_over ||
            in_phase_ms > options->away_ms + options->drain_ms)
            enter_phase(run, BENCH_LINGERS);
        return true;
    case BENCH_LINGERS:
        return in_phase_ms < LINGER_MS;
    }
    return false;
}

/* SIGINT and SIGTERM end the run early, with its summary. */
static void look_for_signals(struct bench_run *run)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    const struct timespec at_once = {0};
    if (sigtimedwait(&signals, NULL, &at_once) > 0)
        run->is_interrupted = true;
}

static void tick(struct bench_run *run)
{
    if (run->now_ns < run->tick_ns)
        return;
    run->tick_ns = run->now_ns + (uint64_t)BENCH_TICK_MS * NS_PER_MS;
    bench_connection_ping_due(run);
    look_for_signals(run);
    if (run->endure != NULL)
        bench_endure_turn(run);
    if (run->now_ns < run->report_ns)
        return;
    run->report_ns += run->options->progress_ms * NS_PER_MS;
    bench_report_progress(run);
}

static void handle_event(struct bench_run *run, const struct ring_event *event)
{
    ps_assert(event->socket.slot < run->slot_count);
    uint32_t index = run->by_slot[event->socket.slot];
    if (index == 0)
        return;
    index--;
    switch (event->kind) {
    case RING_CONNECTED:
        bench_connection_on_connected(run, index, event->result);
        return;
    case RING_READABLE:
        bench_receive_mark(run, index);
        return;
    case RING_WRITABLE:
        bench_output_unblock(run, index);
        return;
    case RING_ACCEPTED:
    case RING_ACCEPT_FAILED:
    case RING_MOVED_IN:
    case RING_MOVED_OUT:
        return;
    }
}

/* One turn. 0 or -errno. */
static int turn(struct bench_run *run)
{
    struct ring_event events[BENCH_EVENTS_MAX];
    if (run->phase == BENCH_OPENS && run->endure == NULL)
        bench_connection_open_more(run);
    bench_publish_pace(run);
    bench_output_flush(run);
    uint64_t deadline_ns = ps_min_u64(run->tick_ns, bench_publish_next_ns(run));
    if (run->dirty_count > 0 || run->readable_count > 0)
        deadline_ns = 0;
    int count = ring_wait(run->ring, deadline_ns, events, BENCH_EVENTS_MAX);
    run->now_ns = ring_now_ns(run->ring);
    for (int i = 0; i < count; i++)
        handle_event(run, &events[i]);
    uint64_t before = run->counters.deliveries + run->counters.acked;
    bench_receive_all(run);
    if (run->counters.deliveries + run->counters.acked != before)
        run->progress_ns = run->now_ns;
    tick(run);
    return count < 0 ? count : 0;
}

static void finish(struct bench_run *run)
{
    struct bench_result *result = run->result;
    struct bench_process_use client_end = {0};
    struct bench_process_use server_end = {0};
    read_use(run, &client_end, &server_end);
    if (run->endure != NULL)
        bench_endure_finish(run);
    result->client_use = bench_process_since(run->client_start, client_end);
    result->server_use = bench_process_since(run->server_start, server_end);
    struct bench_counters used = counters_since(&run->measure_start, &run->counters);
    result->used_messages = run->options->mode == BENCH_PUB ? used.sent : used.deliveries;
    result->all = run->counters;
    result->tally = run->tally;
    result->sockets = run->connection_count;
    result->up_end = run->up;
    bench_histogram_merge(&result->latency, &run->interval);
    uint64_t expected = run->counters.expected;
    result->undelivered = expected > run->tally.received ? expected - run->tally.received : 0;
    result->unacked = run->unacked;
}

/* Says goodbye, so that the server need not guess: what is not taken at once is left out. */
static void disconnect_all(struct bench_run *run)
{
    for (uint32_t i = 0; i < run->connection_count; i++) {
        if (run->connections[i].state != BENCH_UP)
            continue;
        unsigned char *room = bench_output_room(run, i, 2);
        if (room != NULL)
            mqtt_encode_empty(MQTT_DISCONNECT, room);
    }
    bench_output_flush(run);
}

static int run_phases(struct bench_run *run)
{
    int status = 0;
    while (status == 0 && advance_phase(run))
        status = turn(run);
    finish(run);
    disconnect_all(run);
    return status;
}

static void begin(struct bench_run *run)
{
    read_dirty(run, &run->result->client_dirty_before, &run->result->server_dirty_before);
    snprintf(run->id_made, sizeof(run->id_made), "bench-%d", (int)getpid());
    run->id = run->options->id != NULL ? run->options->id : run->id_made;
    run->start_ns = run->now_ns = ring_now_ns(run->ring);
    run->run_id =
        (uint32_t)hash_bytes_seeded((uint64_t)getpid(), &run->start_ns, sizeof(run->start_ns));
    run->tick_ns = run->now_ns;
    run->report_ns = run->now_ns + run->options->progress_ms * NS_PER_MS;
    enter_phase(run, BENCH_OPENS);
}

int bench_run(const struct bench_options *options, struct bench_result *out_result, char *error,
              size_t error_bytes)
{
    struct bench_run *run = calloc(1, sizeof(*run));
    if (run == NULL)
        return -ENOMEM;
    *out_result = (struct bench_result){0};
    run->options = options;
    run->result = out_result;
    heap_init(&run->heap, &run->budget);
    const struct ring_options ring_options = {.sockets_max =
                                                  (uint32_t)bench_options_sockets(options)};
    int status = ring_create(&ring_options, &run->ring, error, error_bytes);
    if (status == 0) {
        status = ring_start(run->ring);
        if (status == 0)
            status = bench_plan(run);
        if (status == 0) {
            begin(run);
            status = run_phases(run);
        }
        if (status < 0)
            snprintf(error, error_bytes, "%s", strerror(-status));
        bench_plan_release(run);
        ring_destroy(run->ring);
    }
    heap_deinit(&run->heap);
    free(run);
    return status;
}

static bool is_endured(const struct bench_options *options, const struct bench_result *result)
{
    const struct bench_endurance *tally = &result->endurance;
    const struct bench_counters *all = &result->all;
    uint64_t strange = all->foreign + all->corrupt + all->wrong_qos + all->bad_packets;
    uint64_t repeated = tally->duplicates_1_old + tally->duplicates_2 + tally->id_conflicts;
    uint64_t unfinished = tally->unreleased + result->unacked + tally->given_up;
    uint64_t forgotten = tally->sessions_lost + tally->retained_lost;
    bool is_whole = tally->lost == 0 || options->may_lose;
    return strange + repeated + unfinished + forgotten == 0 && is_whole &&
           tally->misordered + tally->answers_misordered == 0 && result->up_end == result->sockets;
}

bool bench_result_is_good(const struct bench_options *options, const struct bench_result *result)
{
    if (options->mode == BENCH_ENDURE)
        return is_endured(options, result);
    const struct bench_counters *all = &result->all;
    bool is_connected = result->up == result->sockets && result->up_end == result->up;
    bool is_clean = all->foreign == 0 && all->corrupt == 0 && all->wrong_qos == 0 &&
                    all->bad_packets == 0 && all->pings_late == 0;
    bool is_ordered = result->tally.misordered == 0 && result->tally.duplicates == 0;
    bool is_whole = (result->undelivered == 0 && result->tally.missing == 0) || options->may_lose;
    uint64_t to_send = options->topics * options->rounds;
    is_whole = is_whole && (to_send == 0 || all->sent == to_send);
    return is_connected && is_clean && is_ordered && is_whole && result->unacked == 0;
}
