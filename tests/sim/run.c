/*
 * One run; see run.h. The driver's loop is the one that network.h describes: turns and moves until
 * nobody has more to do now, then time passes.
 *
 * Parts: busy (clients do what the scenario says) - settling (faults end, everybody sets right what
 * is open, until nothing moves) - checks - leaving (every session goes) - the end, with nothing
 * left.
 */
#include "sim/run.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "sim/checker.h"
#include "sim/client.h"
#include "sim/crash.h"
#include "sim/gateway_sim.h"
#include "sim/ledger.h"

enum {
    ROUND_NS = 2000,
    ROUNDS_MAX = 200000,    /* at one moment: beyond it somebody spins */
    MATCHED_MAX = 80000,    /* deliveries: ends the busy part, so that no seed takes minutes */
    OVERDUE_MS = 100,       /* simulated: what a moment may add to the busy part */
    SETTLE_MS_MAX = 120000, /* simulated */
    QUIET_MS = 2500,        /* without a packet: at rest; more than twice the positions' interval */
    LEAVE_MS_MAX = 20000,
    STOP_MS_MAX = 60000,
    LOSS_MS = 200,  /* beside the window of a crash */
    HEAL_MS = 20000 /* pauses of a broker whose disk failed */
};

#define START_NS      1000000000ULL
#define START_WALL_MS 1700000000000ULL

struct run {
    const struct scenario *scenario;
    struct sim_world *world;
    struct gateway_sim gateway;
    struct model *model;
    struct client *clients;
    struct crash_plan crashes;
    struct gateway_sim_end end; /* how the gateway ends, if it does */
    uint64_t stop_until_ns;
    struct random random;
    bool is_stuck;
    bool is_unbalanced;
};

static void draw_texts(struct run *run)
{
    static const char *const words[] = {"a", "b", "c", "d", "ee", "f", "", "$x"};
    const struct scenario *scenario = run->scenario;
    struct random *random = &run->random;
    for (uint32_t tries = 0; tries < 1000 && run->model->topic_count < scenario->topic_count;
         tries++) {
        char text[MODEL_TEXT_BYTES] = "";
        uint32_t levels = (uint32_t)random_between(random, 1, 4);
        for (uint32_t level = 0; level < levels; level++) {
            uint32_t range = level == 0 ? 8 : 7;
            if (level != 0)
                strcat(text, "/");
            strcat(text, words[random_below(random, random_chance(random, 9, 10) ? 6 : range)]);
        }
        if (text[0] != '\0')
            model_add_topic(run->model, text);
    }
    for (uint32_t tries = 0; tries < 1000 && run->model->filter_count < scenario->filter_count;
         tries++) {
        char text[MODEL_TEXT_BYTES] = "";
        const char *topic = run->model->topics[random_below(random, run->model->topic_count)];
        bool is_exact = random_chance(random, 1, 2);
        while (topic != NULL) {
            const char *end = strchr(topic, '/');
            size_t length = end == NULL ? strlen(topic) : (size_t)(end - topic);
            if (!is_exact && random_chance(random, 1, 4)) {
                strcat(text, "#");
                break;
            }
            if (!is_exact && random_chance(random, 1, 3))
                strcat(text, "+");
            else
                strncat(text, topic, length);
            if (end != NULL)
                strcat(text, "/");
            topic = end == NULL ? NULL : end + 1;
        }
        model_add_filter(run->model, text);
    }
    model_match_all(run->model);
}

static void set_up(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    const struct sim_options options = {
        .seed = scenario->seed,
        .start_ns = START_NS,
        .start_wall_ms = START_WALL_MS,
        .buffer_bytes = scenario->buffer_bytes,
        .faults = scenario->faults,
    };
    random_init(&run->random, scenario->seed ^ 0x5eed);
    run->world = sim_world_create(&options);
    run->model = model_create(scenario->client_count);
    run->model->mutation = scenario->mutation;
    run->model->mutation_at = scenario->mutation_at;
    draw_texts(run);
    /* A checkpoint a second, and what holds it up. */
    run->model->crash_window_ns = (1500ULL + 4 * scenario->stall_ms_max) * 1000000ULL;
    if (scenario->disk.trouble_gap_ms != 0)
        run->model->crash_window_ns += (HEAL_MS + scenario->disk.trouble_ms_max) * 1000000ULL;
    if (scenario_is_lossy(scenario))
        run->model->loss_window_ns = LOSS_MS * 1000000ULL + run->model->crash_window_ns +
                                     3 * scenario->disk.faults.sync_delay_max_ns;
    crash_plan_init(&run->crashes, scenario, START_NS);
    gateway_sim_start(&run->gateway, run->world, scenario);
    run->clients = calloc(scenario->client_count, sizeof(struct client));
    ps_assert(run->clients != NULL);
    const char *trace = getenv("PENSTOCK_SIM_TRACE");
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        client_init(&run->clients[i], i, scenario, run->model, run->world, &run->gateway.address);
        run->clients[i].is_tracing = trace != NULL && trace[0] != '0';
    }
}

/* At the end of any turn; once it has failed it would do so for ever. */
static void check_ledger(struct run *run, uint32_t shard)
{
    char text[256];
    if (run->is_unbalanced ||
        ledger_balances(&run->gateway.hubs[shard]->counters, text, sizeof(text)))
        return;
    run->is_unbalanced = true;
    model_fail(run->model, UINT32_MAX, "ledger of shard %u: %s", shard, text);
}

static void begin_again(struct run *run)
{
    const struct gateway_sim_end *end = &run->end;
    uint64_t shards = end->shard_count;
    if (!end->is_clean) {
        for (uint32_t i = 0; i < run->scenario->client_count; i++)
            client_on_crash(&run->clients[i], run->model->loss_window_ns != 0);
        model_crash(run->model);
    }
    if (gateway_sim_begin_again(&run->gateway, run->scenario, end)) {
        /* A disk that fails while the gateway stops takes what a crash may take. */
        const struct store_sim *store = &run->gateway.store;
        bool is_cut_short = end->is_clean && store->embedded != NULL &&
                            !embedded_store_recovery(store->embedded)->was_clean;
        if (is_cut_short && run->model->loss_window_ns != 0) {
            for (uint32_t i = 0; i < run->scenario->client_count; i++)
                client_on_crash(&run->clients[i], true);
            model_crash(run->model);
        }
        /* It has its name when it is whole. */
        if (run->gateway.store.indexes_damaged != 0)
            model_fail(run->model, UINT32_MAX, "a start found a damaged index");
        return;
    }
    run->is_stuck = true;
    model_fail(run->model, UINT32_MAX, "the start with %" PRIu64 " shards was refused: %s", shards,
               run->gateway.store.error);
}

/* The gateway ends if it is time to, and begins again: at once if it is killed, when it is drained
 * if it is stopped. */
static void step_end(struct run *run)
{
    struct gateway_sim *gateway = &run->gateway;
    if (gateway->is_stopping) {
        if (gateway_sim_is_drained(gateway)) {
            begin_again(run);
        } else if (sim_world_now_ns(run->world) >= run->stop_until_ns) {
            model_fail(run->model, UINT32_MAX, "a gateway that is stopped is not drained");
            run->is_stuck = true;
        }
        return;
    }
    bool is_over = run->clients[0].is_settling && !store_sim_is_dead(&gateway->store);
    if (is_over || !crash_plan_step(&run->crashes, gateway))
        return;
    run->end = crash_plan_end(&run->crashes, gateway);
    if (!run->end.is_clean) {
        begin_again(run);
        return;
    }
    run->stop_until_ns = sim_world_now_ns(run->world) + STOP_MS_MAX * 1000000ULL;
    gateway_sim_begin_stop(gateway);
    for (uint32_t i = 0; i < run->scenario->client_count; i++)
        client_on_stop(&run->clients[i]);
}

/* One round: every shard and every client once, in an order that is drawn. True: something moved.
 */
static bool one_round(struct run *run)
{
    const struct scenario *scenario = run->scenario;
    run->model->now_ns = sim_world_now_ns(run->world);
    step_end(run);
    uint32_t shard_count = run->gateway.shard_count;
    uint32_t count = shard_count + scenario->client_count;
    uint32_t first = (uint32_t)random_below(&run->random, count);
    bool has_moved = gateway_sim_turn_store(&run->gateway);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = (first + i) % count;
        if (number >= shard_count) {
            has_moved |= client_step(&run->clients[number - shard_count]);
            continue;
        }
        if (scenario->stall_chance != 0 && scenario->stall_ms_max != 0 &&
            !run->clients[0].is_settling &&
            random_chance(&run->random, scenario->stall_chance, 10000))
            run->gateway.stalled_until_ns[number] =
                sim_world_now_ns(run->world) +
                random_between(&run->random, 1, scenario->stall_ms_max) * 1000000ULL;
        if (gateway_sim_turn(&run->gateway, number)) {
            has_moved = true;
            check_ledger(run, number);
        }
    }
    /* Turns take time, so that who waits for another does not wait for ever in one moment. */
    sim_world_advance(run->world, sim_world_now_ns(run->world) + ROUND_NS);
    return has_moved;
}

static uint64_t next_moment_ns(const struct run *run)
{
    uint64_t next_ns =
        ps_min_u64(sim_next_event_ns(run->world), gateway_sim_deadline_ns(&run->gateway));
    for (uint32_t i = 0; i < run->scenario->client_count; i++)
        next_ns = ps_min_u64(next_ns, client_deadline_ns(&run->clients[i]));
    return next_ns;
}

/* Nobody may have something to do for ever. */
static void report_spin(struct run *run)
{
    run->is_stuck = true;
    model_fail(run->model, UINT32_MAX, "somebody spins at %" PRIu64 " ns",
               sim_world_now_ns(run->world));
    for (uint32_t i = 0; i < run->gateway.shard_count; i++) {
        const struct shard *shard = run->gateway.peers[i];
        if (gateway_sim_turn(&run->gateway, i))
            model_fail(run->model, UINT32_MAX, "shard %u: %s%s%s", i,
                       shard->has_more ? "a step has more, " : "",
                       sim_ring_has_event(shard->ring) ? "its ring has events, " : "",
                       shard_deadline(shard) <= sim_world_now_ns(run->world) ? "a deadline" : "");
        for (uint32_t k = 0; k < shard->step_count; k++) {
            if (shard->steps[k].run(shard->steps[k].context, run->gateway.peers[i]))
                model_fail(run->model, UINT32_MAX, "shard %u: step %s has more", i,
                           shard->steps[k].name);
        }
    }
    for (uint32_t i = 0; i < run->scenario->client_count; i++) {
        if (client_step(&run->clients[i]))
            model_fail(run->model, i, "has moved");
    }
}

/* Rises with whatever gets somewhere. */
static uint64_t progress_of(const struct run *run)
{
    struct hub_counters counters;
    gateway_sim_counters(&run->gateway, &counters);
    return run->model->clock + counters.handovers + counters.matched + counters.replayed +
           counters.read_records + counters.finished;
}

static uint64_t matched(const struct run *run)
{
    struct hub_counters counters;
    gateway_sim_counters(&run->gateway, &counters);
    return counters.matched;
}

/* Whether the busy part has to end in the middle of a moment: a client that trickles moves with
 * every round, others publish meanwhile, so that a moment could go on for ever. One that ends in
 * good time is not cut off, however much happens in it. */
static bool is_overdue(const struct run *run, uint64_t until_ns)
{
    return !run->clients[0].is_settling &&
           (sim_world_now_ns(run->world) >= until_ns + OVERDUE_MS * 1000000ULL ||
            matched(run) >= 2 * MATCHED_MAX);
}

/* Everything that can happen now, then time passes, at most to `until_ns`. */
static void one_moment(struct run *run, uint64_t until_ns)
{
    uint64_t progress = 0;
    for (uint32_t rounds = 0; one_round(run); rounds++) {
        if (rounds % 1024 == 0 && progress != progress_of(run)) {
            progress = progress_of(run);
            rounds = 0;
        }
        if (rounds % 1024 == 0 && is_overdue(run, until_ns))
            return;
        if (rounds >= ROUNDS_MAX) {
            report_spin(run);
            return;
        }
        if (run->model->failure_count >= MODEL_FAILURES_MAX)
            return;
    }
    uint64_t next_ns = ps_min_u64(next_moment_ns(run), until_ns);
    uint64_t now_ns = sim_world_now_ns(run->world);
    sim_world_advance(run->world, next_ns <= now_ns ? now_ns + 1000 : next_ns);
}

static bool has_failed(const struct run *run)
{
    return run->is_stuck || run->model->failure_count >= MODEL_FAILURES_MAX;
}

static void be_busy(struct run *run)
{
    uint64_t until_ns = START_NS + run->scenario->duration_ms * 1000000ULL;
    while (sim_world_now_ns(run->world) < until_ns && !has_failed(run) &&
           matched(run) < MATCHED_MAX)
        one_moment(run, until_ns);
}

static uint64_t packets_received(const struct run *run)
{
    uint64_t packets = 0;
    for (uint32_t i = 0; i < run->scenario->client_count; i++)
        packets += run->clients[i].packets_received;
    return packets;
}

static uint32_t find_restless(const struct run *run)
{
    for (uint32_t i = 0; i < run->scenario->client_count; i++) {
        if (!client_is_at_rest(&run->clients[i]))
            return i;
    }
    return UINT32_MAX;
}

/* Until everybody is at rest and nothing came for a while. */
static void settle(struct run *run)
{
    const struct sim_faults none = {0};
    sim_world_set_faults(run->world, &none);
    store_sim_calm(&run->gateway.store);
    for (uint32_t i = 0; i < run->scenario->client_count; i++)
        client_settle(&run->clients[i]);
    uint64_t began_ns = sim_world_now_ns(run->world);
    uint64_t quiet_since_ns = began_ns;
    uint64_t packets = 0;
    while (!has_failed(run)) {
        uint64_t now_ns = sim_world_now_ns(run->world);
        bool is_at_rest = find_restless(run) == UINT32_MAX;
        if (packets_received(run) != packets || !is_at_rest)
            quiet_since_ns = now_ns;
        packets = packets_received(run);
        /* A slow store has a checkpoint to write now and then. */
        if (now_ns - quiet_since_ns >= QUIET_MS * 1000000ULL && gateway_sim_is_idle(&run->gateway))
            return;
        if (now_ns - began_ns >= SETTLE_MS_MAX * 1000000ULL) {
            uint32_t restless = find_restless(run);
            model_fail(run->model, restless, "does not come to rest (gateway %s)",
                       gateway_sim_is_idle(&run->gateway) ? "idle" : "busy");
            return;
        }
        one_moment(run, now_ns + 500000000ULL);
    }
}

/* QoS 0: received + dropped{reason} = sent, exactly; a full mailbox drops records, not deliveries.
 */
static void check_at_most_once(struct run *run, const struct hub_counters *counters)
{
    uint64_t sent = 0;
    for (uint32_t i = 0; i < run->scenario->client_count; i++)
        sent += run->clients[i].qos_0_sent;
    if (sent != counters->accepted[0])
        model_fail(run->model, UINT32_MAX, "%" PRIu64 " sent at QoS 0, %" PRIu64 " accepted", sent,
                   counters->accepted[0]);
    uint64_t received = run->model->received[0];
    uint64_t dropped = counters->dropped[HUB_DROP_PENDING] + counters->dropped[HUB_DROP_OVERLOAD];
    uint64_t due = checker_at_most_once_due(run->model);
    bool is_exact =
        counters->dropped[HUB_DROP_MAILBOX] == 0 && counters->dropped[HUB_DROP_WAITING] == 0;
    if (received != counters->queued[0] || received + dropped > due ||
        (is_exact && received + dropped != due))
        model_fail(run->model, UINT32_MAX,
                   "QoS 0: received %" PRIu64 " (queued %" PRIu64 ") + dropped %" PRIu64
                   " is not what was due, %" PRIu64,
                   received, counters->queued[0], dropped, due);
}

static void leave(struct run *run)
{
    for (uint32_t i = 0; i < run->scenario->client_count; i++)
        client_leave_for_good(&run->clients[i]);
    uint64_t until_ns = sim_world_now_ns(run->world) + LEAVE_MS_MAX * 1000000ULL;
    struct hub_counters counters;
    char text[256];
    while (!has_failed(run) && sim_world_now_ns(run->world) < until_ns) {
        bool have_left = true;
        for (uint32_t i = 0; i < run->scenario->client_count; i++)
            have_left &= client_has_left(&run->clients[i]);
        gateway_sim_counters(&run->gateway, &counters);
        if (have_left && counters.sessions == 0 && gateway_sim_is_idle(&run->gateway)) {
            if (!ledger_is_empty(&counters, text, sizeof(text)))
                model_fail(run->model, UINT32_MAX, "%s", text);
            return;
        }
        one_moment(run, sim_world_now_ns(run->world) + 100000000ULL);
    }
    model_fail(run->model, UINT32_MAX, "%" PRIu64 " sessions do not go", counters.sessions);
}

static void tear_down(struct run *run)
{
    int64_t left = gateway_sim_stop(&run->gateway);
    /* What a killed gateway had handed to broker and mailboxes is gone with it, but not given back.
     */
    if (left != 0 && run->model->crash_count == 0)
        model_fail(run->model, UINT32_MAX, "%" PRId64 " bytes are still allocated", left);
    bool has_ended_well = run->model->failure_count == 0;
    uint32_t streams = sim_world_stream_count(run->world);
    if (has_ended_well && streams != 0)
        model_fail(run->model, UINT32_MAX, "%u streams are still open", streams);
    sim_world_destroy(run->world);
}

static void report(const struct run *run)
{
    char line[512];
    scenario_describe(run->scenario, line, sizeof(line));
    fprintf(stderr, "FAILED %s\n%u failures:\n%s", line, run->model->failure_count,
            run->model->report);
    if (run->model->failed_client < run->scenario->client_count) {
        client_print_events(&run->clients[run->model->failed_client]);
        gateway_sim_print_session(&run->gateway, run->clients[run->model->failed_client].id);
    }
    fprintf(stderr, "again: PENSTOCK_SIM_SEED=%" PRIu64 " build/asan/tests/sim.gateway\n",
            run->scenario->seed);
}

bool run_scenario(const struct scenario *scenario, bool is_quiet, struct run_result *out_result)
{
    struct run *run = calloc(1, sizeof(*run));
    ps_assert(run != NULL);
    run->scenario = scenario;
    set_up(run);
    be_busy(run);
    settle(run);
    gateway_sim_counters(&run->gateway, &out_result->counters);
    run->model->lost_allowed = gateway_sim_lost(&run->gateway);
    /* The newer value that should have come live in its place may be what retention took. */
    run->model->is_retained_unsure = gateway_sim_retained_failures(&run->gateway) != 0 ||
                                     run->model->lost_allowed != 0 || model_has_lost(run->model);
    char text[256];
    if (!has_failed(run) && !ledger_balances_at_rest(&out_result->counters, text, sizeof(text)))
        model_fail(run->model, UINT32_MAX, "ledger at rest: %s", text);
    if (!has_failed(run))
        checker_finish(run->model);
    if (!has_failed(run) && scenario->subscribes_first)
        check_at_most_once(run, &out_result->counters);
    out_result->simulated_ms = (sim_world_now_ns(run->world) - START_NS) / 1000000;
    if (run->model->failure_count == 0)
        leave(run);
    out_result->turns = run->gateway.turns;
    out_result->crashes = run->model->crash_count;
    out_result->repeated = run->model->repeated;
    uint32_t before = run->model->failure_count;
    if (before != 0 && !is_quiet)
        report(run);
    tear_down(run);
    if (before == 0 && run->model->failure_count != 0 && !is_quiet)
        fprintf(stderr, "FAILED seed %" PRIu64 " at its end:\n%s", scenario->seed,
                run->model->report);
    out_result->failures = run->model->failure_count;
    out_result->publishes = run->model->message_count;
    out_result->receipts = run->model->received[0] + run->model->received[1] +
                           run->model->received[2] + run->model->received_retained;
    for (uint32_t i = 0; i < scenario->client_count; i++) {
        out_result->connects += run->clients[i].connect_count;
        client_deinit(&run->clients[i]);
    }
    snprintf(out_result->report, sizeof(out_result->report), "%s", run->model->report);
    model_destroy(run->model);
    free(run->clients);
    free(run);
    return out_result->failures == 0;
}
