/*
 * Pairs that come and go: who they are, how they come back, and what their sessions are to be when
 * they do; see bench_endure.h.
 */
#include "bench_endure.h"

#include <stdio.h>

#include "core/hash.h"

enum {
    NS_PER_MS = 1000000,
    HANGS_MS = 20000, /* from the connect to being up */
    JITTER_MS = 100,
    JITTER_DOUBLINGS_MAX = 3,
    DELAY_MS = 20
};

enum { COMBINATIONS = 4 };

static const uint8_t publish_qos_of[COMBINATIONS] = {1, 2, 2, 1};
static const uint8_t subscribe_qos_of[COMBINATIONS] = {1, 2, 1, 2};

uint8_t bench_endure_publish_qos(const struct bench_run *run, uint32_t pair)
{
    uint64_t qos = run->options->qos;
    return qos > 0 ? (uint8_t)qos : publish_qos_of[pair % COMBINATIONS];
}

bool bench_endure_is_checker(const struct bench_run *run, uint32_t connection)
{
    return run->endure != NULL && connection == 2 * run->endure->pair_count;
}

static bool is_subscriber(const struct bench_run *run, uint32_t connection)
{
    return connection < run->endure->pair_count;
}

struct bench_pair *bench_endure_publisher(const struct bench_run *run, uint32_t connection)
{
    uint32_t count = run->endure->pair_count;
    bool is_publisher = connection >= count && connection < 2 * count;
    return is_publisher ? &run->endure->pairs[connection - count] : NULL;
}

uint8_t bench_endure_subscribe_qos(const struct bench_run *run, uint32_t connection)
{
    if (bench_endure_is_checker(run, connection))
        return 1;
    uint64_t qos = run->options->qos;
    return qos > 0 ? (uint8_t)qos : subscribe_qos_of[connection % COMBINATIONS];
}

/* Every second four pairs subscribe with a wildcard, that the server's patterns have work too. */
void bench_endure_filter(const struct bench_run *run, uint32_t connection, char *out,
                         size_t out_bytes)
{
    bool is_pattern = connection / COMBINATIONS % 2 == 1;
    if (bench_endure_is_checker(run, connection))
        snprintf(out, out_bytes, "%s/+/state", run->options->topic);
    else
        snprintf(out, out_bytes, "%s/%u/m%s", run->options->topic, connection,
                 is_pattern ? "/#" : "");
}

static int plan_pair(struct bench_run *run, uint32_t number)
{
    struct bench_pair *pair = &run->endure->pairs[number];
    bool is_exact =
        bench_endure_publish_qos(run, number) == 2 && bench_endure_subscribe_qos(run, number) == 2;
    pair->operations = heap_zalloc(&run->heap, run->options->inflight * sizeof(*pair->operations));
    if (is_exact)
        pair->open_ids = heap_zalloc(&run->heap, (BENCH_PACKET_IDS + 1) * sizeof(uint32_t));
    return pair->operations != NULL && (pair->open_ids != NULL) == is_exact ? 0 : -ENOMEM;
}

int bench_endure_plan(struct bench_run *run)
{
    struct bench_endure *endure = heap_zalloc(&run->heap, sizeof(*endure));
    run->endure = endure;
    if (endure == NULL)
        return -ENOMEM;
    uint32_t count = (uint32_t)run->options->connections;
    endure->pairs = heap_zalloc(&run->heap, count * sizeof(*endure->pairs));
    endure->lives = heap_zalloc(&run->heap, run->connection_count * sizeof(*endure->lives));
    if (endure->pairs == NULL || endure->lives == NULL)
        return -ENOMEM;
    endure->pair_count = count;
    int status = 0;
    for (uint32_t i = 0; i < count && status == 0; i++)
        status = plan_pair(run, i);
    for (uint32_t i = 0; i < run->connection_count; i++)
        run->connections[i].state = BENCH_AWAY;
    return status;
}

void bench_endure_release(struct bench_run *run)
{
    struct bench_endure *endure = run->endure;
    if (endure == NULL)
        return;
    for (uint32_t i = 0; i < endure->pair_count; i++) {
        struct bench_pair *pair = &endure->pairs[i];
        bench_ledger_release(&pair->ledger, &run->heap);
        heap_free(&run->heap, pair->operations);
        heap_free(&run->heap, pair->open_ids);
    }
    heap_free(&run->heap, endure->pairs);
    heap_free(&run->heap, endure->lives);
    heap_free(&run->heap, endure);
    run->endure = NULL;
}

void bench_endure_finish(struct bench_run *run)
{
    struct bench_endurance *tally = &run->endure->tally;
    for (uint32_t i = 0; i < run->endure->pair_count; i++) {
        const struct bench_pair *pair = &run->endure->pairs[i];
        tally->received += pair->ledger.received;
        tally->acked += pair->messages_acked;
        tally->lost += bench_ledger_missing(&pair->ledger, pair->messages);
        tally->lost_acked += bench_ledger_missing(&pair->ledger, pair->messages_acked);
        tally->unreleased += pair->open_count;
        run->unacked += pair->begun - pair->first;
    }
    run->result->endurance = *tally;
    run->tally = (struct bench_tally){
        .received = tally->received,
        .duplicates = tally->duplicates_1 + tally->duplicates_2 + tally->duplicates_2_unsecured,
        .misordered = tally->misordered,
        .missing = tally->lost,
    };
}

/* Not good random numbers, but others for each connection and each time. */
static uint64_t draw(struct bench_run *run, uint64_t end)
{
    run->endure->random = hash_bytes_seeded(run->run_id, &run->endure->random, sizeof(uint64_t));
    return run->endure->random % end;
}

void bench_endure_on_loss(struct bench_run *run, uint32_t connection)
{
    struct bench_endure *endure = run->endure;
    struct bench_life *life = &endure->lives[connection];
    uint64_t jitter_ms = (uint64_t)JITTER_MS << ps_min_u64(life->failures, JITTER_DOUBLINGS_MAX);
    life->failures++;
    life->due_ns = run->now_ns + (DELAY_MS + draw(run, jitter_ms)) * NS_PER_MS;
    run->connections[connection].state = BENCH_AWAY;
    if (is_subscriber(run, connection))
        bench_ledger_disconnect(&endure->pairs[connection].ledger, run->now_ns);
    if (!bench_endure_is_checker(run, connection))
        return;
    /* It is to ask before the publishers have new values. */
    life->due_ns = run->now_ns + (uint64_t)DELAY_MS * NS_PER_MS;
    endure->is_check_under_way = false;
}

static void connect_due(struct bench_run *run)
{
    struct bench_life *lives = run->endure->lives;
    for (uint32_t i = 0; i < run->connection_count; i++) {
        struct bench_connection *connection = &run->connections[i];
        bool is_due = connection->state == BENCH_AWAY && lives[i].due_ns <= run->now_ns;
        if (is_due && run->connecting < run->options->connecting_max) {
            lives[i].since_ns = run->now_ns;
            if (!bench_connection_open(run, i))
                return;
        }
        bool is_between = connection->state != BENCH_AWAY && connection->state != BENCH_UP;
        if (is_between && run->now_ns - lives[i].since_ns > (uint64_t)HANGS_MS * NS_PER_MS)
            bench_connection_drop(run, i, true);
    }
}

/* The check ends when everything due has come, or nothing came for --drain. */
static void watch_check(struct bench_run *run)
{
    struct bench_endure *endure = run->endure;
    bool is_up = run->connections[2 * endure->pair_count].state == BENCH_UP;
    if (!endure->is_check_under_way || !is_up)
        return;
    uint64_t quiet_ms = (run->now_ns - endure->check_progress_ns) / NS_PER_MS;
    if (endure->checks_due > 0 && quiet_ms <= run->options->drain_ms)
        return;
    endure->is_check_under_way = false;
    endure->tally.retained_lost += endure->checks_due;
    endure->tally.retained_checks += endure->checks_due == 0;
}

void bench_endure_turn(struct bench_run *run)
{
    struct bench_endure *endure = run->endure;
    connect_due(run);
    watch_check(run);
    for (uint32_t i = 0; i < endure->pair_count; i++) {
        if (run->connections[i].state == BENCH_UP)
            bench_ledger_age(&endure->pairs[i].ledger, run->now_ns,
                             run->options->duplicate_age_ms * NS_PER_MS);
    }
    if (run->up > 0 || endure->last_up_ns == 0)
        endure->last_up_ns = run->now_ns;
}

bool bench_endure_has_given_up(const struct bench_run *run)
{
    struct bench_endure *endure = run->endure;
    if (endure->last_up_ns == 0)
        return false;
    uint64_t away_ms = (run->now_ns - endure->last_up_ns) / NS_PER_MS;
    endure->tally.given_up |= run->up == 0 && away_ms > run->options->away_ms;
    return endure->tally.given_up != 0;
}

/* The first message that is not answered, or the next one where all are. */
static uint64_t first_unanswered(const struct bench_run *run, const struct bench_pair *pair)
{
    for (uint64_t n = pair->answered; n < pair->begun; n++) {
        const struct bench_operation *operation = &pair->operations[n % run->options->inflight];
        if (!operation->is_retained)
            return operation->sequence;
    }
    return pair->messages;
}

static void resume_publisher(struct bench_run *run, struct bench_pair *pair, bool is_present)
{
    uint64_t from = first_unanswered(run, pair);
    uint64_t margin = run->options->inflight; /* what the last time but one sent again */
    pair->sent = pair->first;
    pair->is_publisher_resumed = is_present;
    pair->ledger.resent =
        (struct bench_range){.from = from > margin ? from - margin : 0, .to = pair->messages};
    if (is_present)
        return;
    /* A session that nothing was answered for may be gone after a crash, and with it the knowledge
     * of what was received. */
    run->endure->tally.sessions_lost += pair->is_publisher_secured;
    pair->is_publisher_secured = false;
    pair->ledger.unsecured = (struct bench_range){.from = from, .to = pair->messages};
}

static void resume_subscriber(struct bench_run *run, struct bench_pair *pair, bool is_present)
{
    if (is_present)
        return;
    run->endure->tally.sessions_lost += pair->is_subscriber_secured;
    pair->is_subscriber_secured = false;
    if (pair->open_ids != NULL)
        memset(pair->open_ids, 0, (BENCH_PACKET_IDS + 1) * sizeof(uint32_t));
    pair->open_count = 0;
}

static void begin_check(struct bench_run *run)
{
    struct bench_endure *endure = run->endure;
    endure->checks_due = 0;
    for (uint32_t i = 0; i < endure->pair_count; i++) {
        struct bench_pair *pair = &endure->pairs[i];
        pair->is_check_due = pair->retained_acked > 0;
        pair->check_value = pair->retained_acked;
        endure->checks_due += pair->is_check_due;
    }
    endure->checks_begun++;
    endure->is_check_under_way = true;
    endure->check_progress_ns = run->now_ns;
}

void bench_endure_on_connack(struct bench_run *run, uint32_t connection,
                             const struct mqtt_connack *connack)
{
    bool is_accepted = connack->code == MQTT_CONNACK_ACCEPTED;
    if (run->connections[connection].state != BENCH_GREETING || !is_accepted) {
        run->counters.refused++;
        bench_connection_drop(run, connection, false);
        return;
    }
    struct bench_pair *publisher = bench_endure_publisher(run, connection);
    bool is_present = connack->is_session_present;
    if (publisher != NULL) {
        resume_publisher(run, publisher, is_present);
        bench_connection_arrive(run, connection);
        return;
    }
    if (bench_endure_is_checker(run, connection)) {
        run->counters.bad_packets += is_present; /* [MQTT-3.2.2-1] */
        begin_check(run);
        bench_connection_subscribe(run, connection);
        return;
    }
    struct bench_pair *pair = &run->endure->pairs[connection];
    resume_subscriber(run, pair, is_present);
    if (pair->is_subscriber_secured)
        bench_connection_arrive(run, connection);
    else
        bench_connection_subscribe(run, connection);
}

void bench_endure_on_up(struct bench_run *run, uint32_t connection)
{
    struct bench_endure *endure = run->endure;
    struct bench_life *life = &endure->lives[connection];
    endure->tally.reconnects += life->has_been_up;
    life->has_been_up = true;
    life->failures = 0;
    if (is_subscriber(run, connection))
        endure->pairs[connection].is_subscriber_secured = true;
    run->progress_ns = run->now_ns;
    endure->check_progress_ns = run->now_ns;
    bench_output_mark(run, connection);
}

bool bench_endure_is_drained(const struct bench_run *run)
{
    for (uint32_t i = 0; i < run->endure->pair_count; i++) {
        const struct bench_pair *pair = &run->endure->pairs[i];
        if (pair->first != pair->begun || pair->ledger.received != pair->messages ||
            pair->open_count > 0)
            return false;
    }
    return run->up == run->connection_count;
}

bool bench_endure_check_finally(struct bench_run *run)
{
    struct bench_endure *endure = run->endure;
    uint32_t checker = 2 * endure->pair_count;
    if (endure->check_final == 0) {
        endure->check_final = endure->checks_begun + 1;
        bench_connection_drop(run, checker, false);
    }
    return endure->checks_begun >= endure->check_final && !endure->is_check_under_way &&
           run->connections[checker].state == BENCH_UP;
}
