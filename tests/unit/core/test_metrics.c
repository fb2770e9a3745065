/*
 * Registered values appear once per family in the text, and in the sums.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/metrics.h"
#include "core/text.h"

struct counters {
    uint64_t packets;
    uint64_t closed[2];
};

static const struct metric shard_table[] = {
    {"penstock_packets_total", "Packets.", METRIC_COUNTER, NULL,
     offsetof(struct counters, packets)},
    {"penstock_closed_total", "Closed connections.", METRIC_COUNTER, "reason=\"peer\"",
     offsetof(struct counters, closed[0])},
    {"penstock_closed_total", "", METRIC_COUNTER, "reason=\"limit\"",
     offsetof(struct counters, closed[1])},
};

static const struct metric gateway_table[] = {
    {"penstock_up", "Runs.", METRIC_GAUGE, NULL, 0},
    {"penstock_closed_total", "", METRIC_COUNTER, "reason=\"admin\"", 8},
};

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct metrics *metrics;
    struct text text;
    struct counters shards[2];
    uint64_t gateway[2];
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    text_init(&fixture->text, &fixture->heap, 65536);
    assert_int_equal(metrics_create(&fixture->heap, &fixture->metrics), 0);
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(metrics_register(fixture->metrics, shard_table,
                                          ps_array_count(shard_table), &fixture->shards[i], i),
                         0);
    assert_int_equal(metrics_register(fixture->metrics, gateway_table,
                                      ps_array_count(gateway_table), fixture->gateway,
                                      METRICS_NO_SHARD),
                     0);
}

static void tear_down(struct fixture *fixture)
{
    text_deinit(&fixture->text);
    metrics_destroy(&fixture->heap, fixture->metrics);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
}

static void a_family_is_described_once_and_lists_every_shard_and_table(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    metrics_add(&fixture.shards[0].packets, 3);
    metrics_add(&fixture.shards[0].packets, 4);
    metrics_set(&fixture.shards[1].closed[1], 18446744073709551615u);
    metrics_set(&fixture.gateway[0], 1);
    metrics_add_shared(&fixture.gateway[1], 5);
    metrics_render_prometheus(fixture.metrics, &fixture.text);
    assert_string_equal(text_string(&fixture.text),
                        "# HELP penstock_packets_total Packets.\n"
                        "# TYPE penstock_packets_total counter\n"
                        "penstock_packets_total{shard=\"0\"} 7\n"
                        "penstock_packets_total{shard=\"1\"} 0\n"
                        "# HELP penstock_closed_total Closed connections.\n"
                        "# TYPE penstock_closed_total counter\n"
                        "penstock_closed_total{shard=\"0\",reason=\"peer\"} 0\n"
                        "penstock_closed_total{shard=\"1\",reason=\"peer\"} 0\n"
                        "penstock_closed_total{shard=\"0\",reason=\"limit\"} 0\n"
                        "penstock_closed_total{shard=\"1\",reason=\"limit\"} 18446744073709551615\n"
                        "penstock_closed_total{reason=\"admin\"} 5\n"
                        "# HELP penstock_up Runs.\n"
                        "# TYPE penstock_up gauge\n"
                        "penstock_up 1\n");
    tear_down(&fixture);
}

static void sums_go_over_shards_and_labels(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    metrics_set(&fixture.shards[0].closed[0], 1);
    metrics_set(&fixture.shards[1].closed[0], 2);
    metrics_set(&fixture.shards[1].closed[1], 4);
    metrics_set(&fixture.gateway[0], 16);
    assert_int_equal(metrics_sum(fixture.metrics, "penstock_closed_total", NULL), 7);
    assert_int_equal(metrics_sum(fixture.metrics, "penstock_closed_total", "reason=\"peer\""), 3);
    assert_int_equal(metrics_sum(fixture.metrics, "penstock_closed_total", "reason=\"none\""), 0);
    assert_int_equal(metrics_sum(fixture.metrics, "penstock_up", ""), 16);
    assert_int_equal(metrics_sum(fixture.metrics, "penstock_nothing", NULL), 0);
    tear_down(&fixture);
}

static void a_struct_is_published_as_a_whole(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct counters live = {.packets = 9, .closed = {8, 7}};
    metrics_publish(&fixture.shards[1], &live, sizeof(live));
    assert_memory_equal(&fixture.shards[1], &live, sizeof(live));
    assert_int_equal(metrics_sum(fixture.metrics, "penstock_packets_total", NULL), 9);
    tear_down(&fixture);
}

static void registering_twice_or_too_much_is_refused(void **state)
{
    (void)state;
    static const struct metric tables[METRICS_TABLES_MAX + 1] = {
        [0 ... METRICS_TABLES_MAX] = {"penstock_many", "Many.", METRIC_GAUGE, NULL, 0}};
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(metrics_register(fixture.metrics, shard_table, ps_array_count(shard_table),
                                      &fixture.shards[0], 1),
                     -EEXIST);
    for (uint32_t i = 2; i < METRICS_TABLES_MAX; i++)
        assert_int_equal(metrics_register(fixture.metrics, &tables[i], 1, fixture.gateway, 0), 0);
    assert_int_equal(
        metrics_register(fixture.metrics, &tables[METRICS_TABLES_MAX], 1, fixture.gateway, 0),
        -ENOSPC);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_family_is_described_once_and_lists_every_shard_and_table),
        cmocka_unit_test(sums_go_over_shards_and_labels),
        cmocka_unit_test(a_struct_is_published_as_a_whole),
        cmocka_unit_test(registering_twice_or_too_much_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
