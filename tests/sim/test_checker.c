/*
 * The checker can fail: a model that is told one thing wrong must be found out. Everything else of
 * these runs is as in those that pass.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "sim/checker.h"
#include "sim/ledger.h"
#include "sim/model.h"
#include "sim/run.h"

/* Durable sessions, wills and retained values, nothing that goes wrong. */
static void make_scenario(struct scenario *scenario, enum model_mutation mutation)
{
    scenario_init(scenario, 7);
    scenario->name = "mutation";
    scenario->shard_count = 2;
    scenario->qos_weights[0] = 0;
    scenario->grant_weights[0] = 0;
    scenario->will_chance = 50;
    scenario->retain_chance = 10;
    scenario->durable_chance = 100;
    scenario->weights[ACTION_DISCONNECT] = 6;
    scenario->weights[ACTION_UNSUBSCRIBE] = 0;
    scenario->mutation = mutation;
    scenario->mutation_at = 40;
}

/* What the checker says of a run with this mutation. */
static void run_mutated(enum model_mutation mutation, uint32_t at, const char *expected)
{
    struct scenario scenario;
    struct run_result result = {0};
    make_scenario(&scenario, mutation);
    scenario.mutation_at = at;
    assert_false(run_scenario(&scenario, true, &result));
    printf("%s", result.report);
    assert_non_null(strstr(result.report, expected));
}

static void an_honest_model_passes(void **state)
{
    (void)state;
    struct scenario scenario;
    struct run_result result = {0};
    make_scenario(&scenario, MODEL_HONEST);
    assert_true(run_scenario(&scenario, false, &result));
}

static void a_lost_message_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_FORGETS_RECEIPT, 40, "was lost for filter");
}

/* Losses of a client with overlapping filters that never received `messages` messages, of which
 * retention may have taken `allowed`. */
static uint32_t losses_found(uint32_t messages, uint64_t allowed)
{
    struct model *model = model_create(2);
    uint32_t topic = model_add_topic(model, "a/b");
    model_add_filter(model, "a/b");
    model_add_filter(model, "a/#");
    model_add_filter(model, "+/b");
    model_match_all(model);
    uint32_t life = model_life_begin(model, 0, true);
    for (uint32_t filter = 0; filter < model->filter_count; filter++)
        model_suback(model, life, model_subscribe(model, life, filter, 1), 1);
    for (uint32_t i = 0; i < messages; i++) {
        const struct model_message message = {
            .topic = topic, .publisher = 1, .qos = 1, .payload_bytes = MODEL_STAMP_BYTES};
        uint32_t number = model_add_message(model, &message);
        model_sent(model, number);
        model_acked(model, number);
    }
    model->lost_allowed = allowed;
    checker_finish(model);
    uint32_t found = model->failure_count;
    model_destroy(model);
    return found;
}

static void a_message_lost_for_several_filters_is_lost_once(void **state)
{
    (void)state;
    assert_int_equal(losses_found(3, 3), 0);
    assert_int_equal(losses_found(3, 2), 1);
    assert_int_equal(losses_found(3, 0), 3);
}

/* What is said of a client that lowers its subscription to QoS 0, receives a message so, and after
 * a crash `times` times at the QoS that it had before. */
static struct model *lower_and_crash(bool is_acknowledged, uint32_t times)
{
    struct model *model = model_create(2);
    const struct model_message message = {
        .topic = model_add_topic(model, "a"),
        .publisher = 1,
        .qos = 1,
        .payload_bytes = MODEL_STAMP_BYTES,
    };
    uint32_t filter = model_add_filter(model, "a");
    model_match_all(model);
    model->crash_window_ns = 1000;
    uint32_t life = model_life_begin(model, 0, true);
    struct model_receipt receipt = {.connected_at = model->clock};
    model_suback(model, life, model_subscribe(model, life, filter, 1), 1);
    receipt.message = model_add_message(model, &message);
    model_sent(model, receipt.message);
    uint32_t lowered = model_subscribe(model, life, filter, 0);
    if (is_acknowledged)
        model_suback(model, life, lowered, 0);
    model_receive(model, life, &receipt);
    model_crash(model);
    model->lives[life].resumes++;
    receipt.connected_at = ++model->clock;
    receipt.qos = 1;
    for (uint32_t i = 0; i < times; i++)
        model_receive(model, life, &receipt);
    return model;
}

static void a_lowered_subscription_that_a_crash_undoes_repeats_once(void **state)
{
    (void)state;
    struct model *model = lower_and_crash(false, 1);
    assert_int_equal(model->failure_count, 0);
    model_destroy(model);
    model = lower_and_crash(false, 2);
    assert_int_equal(model->failure_count, 1);
    assert_non_null(strstr(model->report, "came 2 times"));
    model_destroy(model);
    model = lower_and_crash(true, 1);
    assert_non_null(strstr(model->report, "came 2 times"));
    model_destroy(model);
}

static void a_message_that_comes_twice_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_REPEATS_RECEIPT, 40, "came 2 times");
}

static void two_messages_that_trade_places_are_found(void **state)
{
    (void)state;
    run_mutated(MODEL_SWAPS_RECEIPTS, 40, "no order of");
}

static void a_wrong_qos_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_RAISES_QOS, 40, "came at QoS");
}

static void a_wrong_retain_flag_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_FLIPS_RETAIN, 40, "RETAIN but is no retained one");
}

static void an_acknowledgement_of_nothing_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_INVENTS_ACK, 40, "was lost for filter");
}

static void a_delivery_without_subscription_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_FORGETS_SUBSCRIPTION, 3, "matches no subscription");
}

static void a_will_that_does_not_come_is_found(void **state)
{
    (void)state;
    run_mutated(MODEL_FORGETS_WILL, 0, ", will");
}

static void a_ledger_that_does_not_balance_is_found(void **state)
{
    (void)state;
    char text[256];
    struct hub_counters counters = {.matched = 5, .queued = {1, 2, 1}, .turned_late = 1};
    counters.finished = 2;
    counters.in_flight = 1;
    assert_true(ledger_balances(&counters, text, sizeof(text)));
    counters.finished = 3;
    assert_false(ledger_balances(&counters, text, sizeof(text)));
    counters.finished = 2;
    counters.matched = 6;
    assert_false(ledger_balances(&counters, text, sizeof(text)));
    counters.accepted[1] = 3;
    counters.committed = 3;
    assert_true(ledger_balances_at_rest(&counters, text, sizeof(text)));
    counters.wills = 1;
    assert_false(ledger_balances_at_rest(&counters, text, sizeof(text)));
    assert_false(ledger_is_empty(&counters, text, sizeof(text)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_honest_model_passes),
        cmocka_unit_test(a_lost_message_is_found),
        cmocka_unit_test(a_message_lost_for_several_filters_is_lost_once),
        cmocka_unit_test(a_lowered_subscription_that_a_crash_undoes_repeats_once),
        cmocka_unit_test(a_message_that_comes_twice_is_found),
        cmocka_unit_test(two_messages_that_trade_places_are_found),
        cmocka_unit_test(a_wrong_qos_is_found),
        cmocka_unit_test(a_wrong_retain_flag_is_found),
        cmocka_unit_test(an_acknowledgement_of_nothing_is_found),
        cmocka_unit_test(a_delivery_without_subscription_is_found),
        cmocka_unit_test(a_will_that_does_not_come_is_found),
        cmocka_unit_test(a_ledger_that_does_not_balance_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
