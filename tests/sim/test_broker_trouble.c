/*
 * The session layer over a broker that is slow, full or failing, driven byte by byte: what it is
 * told to keep, what is answered, and that nothing grows or spins meanwhile.
 */
#include "sim/peers.h"

#include <stdio.h>

#include "session/catch_up.h"
#include "session/owner.h"
#include "session/retained_topics.h"
#include "session/session.h"
#include "session/session_store.h"

enum { PARTITIONS = 4, WINDOW = 2, RETAINED_MAX = 3, MANY = 10000, FILTER_BYTES = 7 };

static int set_up(void **state)
{
    struct fixture *f = peers_describe();
    f->scenario.store.partition_count = PARTITIONS;
    f->scenario.broker_delay_us_max = 1;
    f->scenario.hub_limits.window_max = WINDOW;
    f->scenario.hub_limits.retained_max = RETAINED_MAX;
    f->scenario.hub_limits.recent_entries_max = 16;
    f->scenario.hub_limits.unreleased_max = 64;
    f->scenario.hub_limits.subscriptions_max = MANY;
    peers_start(f);
    wait_ms(f, 10);
    *state = f;
    return 0;
}

static const unsigned char pong[] = {0xd0, 0};

/* It is served: PINGREQ has its answer, and nothing else came. */
static void try_ping(struct fixture *f, struct sim_peer *peer)
{
    static const unsigned char ping[] = {0xc0, 0};
    unsigned char heard[2];
    say_all(f, peer, ping, sizeof(ping));
    hear_all(f, peer, heard, sizeof(heard));
    assert_memory_equal(heard, pong, sizeof(pong));
}

static void hear_these(struct fixture *f, struct sim_peer *peer, const void *bytes, uint32_t count)
{
    unsigned char heard[256];
    assert_true(count <= sizeof(heard));
    hear_all(f, peer, heard, count);
    assert_memory_equal(heard, bytes, count);
}

static void subscribe_t(struct fixture *f, struct sim_peer *peer, uint8_t code)
{
    static const unsigned char subscribe[] = {0x82, 6, 0, 3, 0, 1, 't', 1};
    const unsigned char suback[] = {0x90, 3, 0, 3, code};
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_these(f, peer, suback, sizeof(suback));
}

/* QoS 1 with this id, to a topic of one letter. Waits for its PUBACK. */
static void publish(struct fixture *f, struct sim_peer *peer, char topic, char value,
                    bool is_retained)
{
    const unsigned char packet[] = {is_retained ? 0x33 : 0x32, 6, 0, 1,
                                    (unsigned char)topic,      0, 9, (unsigned char)value};
    const unsigned char puback[] = {0x40, 2, 0, 9};
    say_all(f, peer, packet, sizeof(packet));
    hear_these(f, peer, puback, sizeof(puback));
}

static void forget_retained(struct fixture *f, struct sim_peer *peer, char topic)
{
    const unsigned char packet[] = {0x33, 5, 0, 1, (unsigned char)topic, 0, 9};
    const unsigned char puback[] = {0x40, 2, 0, 9};
    say_all(f, peer, packet, sizeof(packet));
    hear_these(f, peer, puback, sizeof(puback));
}

static uint16_t partition_of(const char *topic)
{
    return broker_partition(topic, (uint32_t)strlen(topic), PARTITIONS, 2);
}

static void expect_hold(const struct fixture *f, uint64_t needed_from, uint64_t wanted_from)
{
    uint16_t partition = partition_of("t");
    assert_int_equal(f->gateway.slow_brokers.holds[partition].needed_from, needed_from);
    assert_int_equal(f->gateway.slow_brokers.holds[partition].wanted_from, wanted_from);
}

static void retention_leaves_alone_what_retained_values_need(void **state)
{
    struct fixture *f = *state;
    struct slow_brokers *broker = &f->gateway.slow_brokers;
    wait_ms(f, 2100);
    expect_hold(f, 1, UINT64_MAX);
    struct sim_peer *peer = connect_peer(f);
    publish(f, peer, 't', '1', false);
    publish(f, peer, 't', '2', true);
    wait_ms(f, 500);
    broker->keeps_keys = true;
    publish(f, peer, 't', '3', true);
    publish(f, peer, 't', '4', false);
    for (uint32_t i = 0; i < 10; i++) {
        wait_ms(f, 400);
        try_ping(f, peer);
    }
    expect_hold(f, 3, UINT64_MAX);
    uint32_t calls = broker->holds[0].count;
    broker->keeps_keys = false;
    wait_ms(f, 400);
    try_ping(f, peer);
    wait_ms(f, 700);
    expect_hold(f, 5, UINT64_MAX);
    assert_true(broker->holds[0].count - calls <= 2); /* once a second */
    sim_client_close(peer);
}

static void acknowledge(struct fixture *f, struct sim_peer *peer)
{
    unsigned char heard[8];
    hear_all(f, peer, heard, sizeof(heard));
    const unsigned char puback[] = {0x40, 2, heard[5], heard[6]};
    say_all(f, peer, puback, sizeof(puback));
}

static void retention_is_told_what_connected_late_sessions_want(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *reader = connect_durable(f);
    subscribe_t(f, reader, 1);
    struct sim_peer *peer = connect_peer(f);
    for (char i = '1'; i <= '8'; i++)
        publish(f, peer, 't', i, false);
    sim_client_close(peer);
    wait_ms(f, 2100);
    expect_hold(f, 9, WINDOW + 1);
    acknowledge(f, reader);
    acknowledge(f, reader);
    wait_ms(f, 2100);
    expect_hold(f, 9, 2 * WINDOW + 1);
    /* One that is away is not waited for. */
    sim_client_close(reader);
    wait_ms(f, 2100);
    expect_hold(f, 9, UINT64_MAX);
    reader = connect_durable(f);
    for (uint32_t i = 0; i < 6; i++)
        acknowledge(f, reader);
    wait_ms(f, 2100);
    expect_hold(f, 9, UINT64_MAX);
    sim_client_close(reader);
}

static uint64_t retained_count(const struct fixture *f)
{
    return atomic_load(&f->gateway.hub_shared.retained_values);
}

static void retained_values_of_an_earlier_run_count(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_peer(f);
    for (char topic = 'a'; topic < 'a' + RETAINED_MAX; topic++)
        publish(f, peer, topic, '1', true);
    wait_ms(f, 50);
    sim_client_close(peer);
    assert_int_equal(retained_count(f), RETAINED_MAX);

    /* What comes and goes before the store is listed is not counted twice, or kept. */
    gateway_sim_crash(&f->gateway, &f->scenario, 1);
    assert_int_equal(retained_count(f), 0);
    f->gateway.slow_brokers.fails_reads = true;
    wait_ms(f, 50);
    peer = connect_peer(f);
    forget_retained(f, peer, 'a');
    publish(f, peer, 'b', '2', true);
    publish(f, peer, 'd', '2', true);
    publish(f, peer, 'e', '2', true);
    wait_ms(f, 50);
    assert_int_equal(f->gateway.hubs[0]->counters.retained_refused, 0);
    f->gateway.slow_brokers.fails_reads = false;
    wait_ms(f, 500);
    try_ping(f, peer);
    assert_int_equal(retained_count(f), 4); /* b, c, d, e */
    publish(f, peer, 'f', '3', true);
    wait_ms(f, 50);
    assert_int_equal(f->gateway.hubs[0]->counters.retained_refused, 1);
    forget_retained(f, peer, 'c');
    forget_retained(f, peer, 'd');
    wait_ms(f, 50);
    assert_int_equal(retained_count(f), 2);
    sim_client_close(peer);
}

static void what_retention_takes_before_the_channel_comes_is_counted(void **state)
{
    struct fixture *f = *state;
    const struct hub_counters *counters = &f->gateway.hubs[0]->counters;
    struct sim_peer *reader = connect_durable(f);
    subscribe_t(f, reader, 1);
    struct sim_peer *peer = connect_peer(f);
    publish(f, peer, 't', '1', false);
    acknowledge(f, reader);
    assert_int_equal(counters->dropped[HUB_DROP_RETENTION_CHANNEL], 0);
    f->gateway.slow_brokers.channel_removed = 5;
    publish(f, peer, 't', '2', false);
    acknowledge(f, reader);
    assert_int_equal(counters->dropped[HUB_DROP_RETENTION_CHANNEL], 5);
    publish(f, peer, 't', '3', true);
    acknowledge(f, reader);
    assert_int_equal(counters->dropped[HUB_DROP_RETENTION_CHANNEL], 5);
    sim_client_close(peer);
    sim_client_close(reader);
    wait_ms(f, 100);
}

/* The store takes no larger values than that of a topic with one byte. */
static void fill_store(struct fixture *f)
{
    f->gateway.slow_brokers.value_bytes_max = 88 + 1 + 1;
}

static void a_topic_whose_value_finds_no_room_has_none(void **state)
{
    struct fixture *f = *state;
    static const unsigned char both[] = {0x33, 7, 0, 1, 't', 0, 2, 'x', 'y', /* too large */
                                         0x33, 6, 0, 1, 'u', 0, 3, 'z'};
    static const unsigned char pubacks[] = {0x40, 2, 0, 2, 0x40, 2, 0, 3};
    static const unsigned char subscribe[] = {0x82, 6, 0, 3, 0, 1, '+', 1};
    static const unsigned char given[] = {0x90, 3, 0, 3, 1, 0x33, 6, 0, 1, 'u', 0, 1, 'z'};
    struct sim_peer *peer = connect_peer(f);
    publish(f, peer, 't', '1', true);
    publish(f, peer, 'u', '1', true);
    wait_ms(f, 50);
    fill_store(f);
    say_all(f, peer, both, sizeof(both));
    hear_these(f, peer, pubacks, sizeof(pubacks));
    wait_ms(f, 50);
    assert_int_equal(f->gateway.hubs[0]->owner->counters.retained_failures, 1);
    assert_int_equal(retained_count(f), 1);
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_these(f, peer, given, sizeof(given));
    try_ping(f, peer);
    wait_ms(f, 500);
    try_ping(f, peer);
    wait_ms(f, 500);
    /* Nothing is on its way any more. */
    assert_true(gateway_sim_is_idle(&f->gateway));
    sim_client_close(peer);
}

static void a_durable_session_that_a_full_store_refuses_hears_code_3(void **state)
{
    struct fixture *f = *state;
    static const unsigned char connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    0,  0, 0, 0,   1,   'd'};
    static const unsigned char connack[] = {0x20, 2, 0, 3};
    fill_store(f);
    struct sim_peer *peer = sim_client_connect(f->world, &f->gateway.address);
    say_all(f, peer, connect, sizeof(connect));
    hear_these(f, peer, connack, sizeof(connack));
    sim_client_close(peer);
    /* A clean one needs nothing of it. */
    peer = connect_peer(f);
    try_ping(f, peer);
    sim_client_close(peer);
    f->gateway.slow_brokers.value_bytes_max = 0;
    peer = connect_durable(f);
    try_ping(f, peer);
    sim_client_close(peer);
}

static void a_full_store_refuses_filters_and_keeps_none_of_them(void **state)
{
    struct fixture *f = *state;
    struct hub *hub = f->gateway.hubs[0];
    struct sim_peer *peer = connect_durable(f);
    fill_store(f);
    subscribe_t(f, peer, 0x80);
    assert_int_equal(hub->counters.subscriptions, 0);
    try_ping(f, peer);
    wait_ms(f, 100);
    /* What a crash finds is what was answered. */
    f->gateway.slow_brokers.value_bytes_max = 0;
    gateway_sim_crash(&f->gateway, &f->scenario, 1);
    sim_client_close(peer);
    peer = connect_durable(f);
    assert_int_equal(f->gateway.hubs[0]->counters.subscriptions, 0);
    subscribe_t(f, peer, 1);
    sim_client_close(peer);
}

/* SUBSCRIBE of MANY filters; the last one is `last_bytes` longer. Hears its SUBACK. */
static void subscribe_many(struct fixture *f, struct sim_peer *peer, uint32_t last_bytes,
                           unsigned char code)
{
    const uint32_t bytes = 2 + MANY * (2 + FILTER_BYTES + 1) + last_bytes;
    unsigned char *packet = malloc(4 + bytes + 1);
    assert_non_null(packet);
    memset(packet, 'x', 4 + bytes);
    packet[0] = 0x82;
    packet[1] = (unsigned char)(0x80 | bytes % 128);
    packet[2] = (unsigned char)(0x80 | bytes / 128 % 128);
    packet[3] = (unsigned char)(bytes / 16384);
    packet[4] = 0;
    packet[5] = 3;
    unsigned char *at = packet + 6;
    for (uint32_t i = 0; i < MANY; i++) {
        uint32_t text_bytes = FILTER_BYTES + (i + 1 == MANY ? last_bytes : 0);
        *at++ = (unsigned char)(text_bytes / 256);
        *at++ = (unsigned char)text_bytes;
        char text[FILTER_BYTES + 1];
        snprintf(text, sizeof(text), "s/%05u", i);
        memcpy(at, text, FILTER_BYTES);
        at += text_bytes;
        *at++ = 1;
    }
    say_all(f, peer, packet, 4 + bytes);
    free(packet);
    unsigned char *suback = malloc(5 + MANY);
    assert_non_null(suback);
    hear_all(f, peer, suback, 5 + MANY);
    assert_int_equal(suback[0], 0x90);
    for (uint32_t i = 0; i < MANY; i++)
        assert_int_equal(suback[5 + i], code);
    free(suback);
}

static void ten_thousand_filters_are_one_commit(void **state)
{
    struct fixture *f = *state;
    struct slow_brokers *broker = &f->gateway.slow_brokers;
    struct sim_peer *peer = connect_durable(f);
    uint64_t commits = broker->commits;
    uint64_t writes = broker->writes;
    subscribe_many(f, peer, 0, 1);
    assert_int_equal(broker->commits - commits, 1);
    assert_int_equal(broker->writes - writes,
                     1 + (MANY + SESSION_STORE_BLOCK_FILTERS - 1) / SESSION_STORE_BLOCK_FILTERS);
    gateway_sim_crash(&f->gateway, &f->scenario, 1);
    sim_client_close(peer);
    wait_ms(f, 100);
    peer = connect_durable(f);
    assert_int_equal(f->gateway.hubs[0]->counters.subscriptions, MANY);
    sim_client_close(peer);
    wait_ms(f, 100);
}

/* One of its blocks is too large: of the others nothing is stored either, at no time. */
static void a_commit_of_ten_thousand_filters_fails_as_a_whole(void **state)
{
    struct fixture *f = *state;
    struct slow_brokers *broker = &f->gateway.slow_brokers;
    struct sim_peer *peer = connect_durable(f);
    broker->value_bytes_max = 1600;
    uint64_t writes = broker->writes;
    subscribe_many(f, peer, 1500, 0x80);
    assert_int_equal(f->gateway.hubs[0]->counters.subscriptions, 0);
    wait_ms(f, 100);
    /* What is deleted then was never there: the blocks and the own record. */
    assert_true(broker->writes - writes <= 1 + MANY / SESSION_STORE_BLOCK_FILTERS + 1);
    gateway_sim_crash(&f->gateway, &f->scenario, 1);
    sim_client_close(peer);
    wait_ms(f, 100);
    peer = connect_durable(f);
    assert_int_equal(f->gateway.hubs[0]->counters.subscriptions, 0);
    sim_client_close(peer);
    wait_ms(f, 100);
}

static void qos_2_that_a_full_store_cannot_remember_ends_the_connection(void **state)
{
    struct fixture *f = *state;
    static const unsigned char publish_2[] = {0x34, 6, 0, 1, 't', 0, 1, '!'};
    struct sim_peer *peer = connect_durable(f);
    fill_store(f);
    say_all(f, peer, publish_2, sizeof(publish_2));
    unsigned char heard[16];
    wait_ms(f, 50);
    assert_int_equal(hear_some(peer, heard, sizeof(heard)), UINT32_MAX);
    sim_client_close(peer);
    /* Repeated when there is room, it is in the log once. */
    f->gateway.slow_brokers.value_bytes_max = 0;
    wait_ms(f, 1100);
    peer = connect_durable(f);
    static const unsigned char again[] = {0x3c, 6, 0, 1, 't', 0, 1, '!'};
    static const unsigned char pubrec[] = {0x50, 2, 0, 1};
    say_all(f, peer, again, sizeof(again));
    hear_these(f, peer, pubrec, sizeof(pubrec));
    assert_int_equal(f->gateway.hubs[0]->counters.committed, 1);
    sim_client_close(peer);
}

/* Thirty seconds in which the broker answers nothing. */
static void a_broker_that_stands_still_costs_patience_alone(void **state)
{
    enum { SUBSCRIBES = 500 };
    struct fixture *f = *state;
    struct hub *hub = f->gateway.hubs[0];
    struct sim_peer *quiet = connect_durable(f);
    struct sim_peer *eager = connect_peer(f);
    subscribe_t(f, quiet, 1);
    publish(f, eager, 't', '1', false);
    wait_ms(f, 500);
    f->gateway.slow_brokers.is_stalled = true;
    for (uint32_t i = 0; i < SUBSCRIBES; i++) {
        const unsigned char subscribe[] = {0x82,
                                           7,
                                           (unsigned char)(i >> 8),
                                           (unsigned char)i | 1,
                                           0,
                                           2,
                                           'a',
                                           (unsigned char)('a' + i % 26),
                                           1};
        sim_client_send(quiet, subscribe, sizeof(subscribe));
        settle(f);
    }
    uint64_t turns = f->gateway.turns;
    for (uint32_t i = 0; i < 300; i++) {
        wait_ms(f, 100);
        static const unsigned char ping[] = {0xc0, 0};
        say_all(f, eager, ping, sizeof(ping));
        assert_true(hub->store_count < 100);
    }
    turns = f->gateway.turns - turns;
    assert_true(turns < 2 * 30000 / 10 + 1000); /* steps of 10 ms */
    unsigned char pongs[600];
    hear_all(f, eager, pongs, sizeof(pongs));
    f->gateway.slow_brokers.is_stalled = false;
    unsigned char heard[8 + SUBSCRIBES * 5];
    hear_all(f, quiet, heard, sizeof(heard));
    uint32_t subacks = 0;
    for (uint32_t at = 0; at < sizeof(heard); at += heard[at + 1] + 2U)
        subacks += heard[at] == 0x90;
    assert_int_equal(subacks, SUBSCRIBES);
    try_ping(f, quiet);
    sim_client_close(quiet);
    sim_client_close(eager);
    wait_ms(f, 100);
}

static void reads_that_fail_are_tried_again_and_not_at_once(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *reader = connect_durable(f);
    subscribe_t(f, reader, 1);
    sim_client_close(reader);
    wait_ms(f, 100);
    struct sim_peer *peer = connect_peer(f);
    for (char i = '1'; i <= '4'; i++)
        publish(f, peer, 't', i, i == '4');
    f->gateway.slow_brokers.fails_reads = true;
    reader = connect_peer(f);
    static const unsigned char subscribe[] = {0x82, 6, 0, 3, 0, 1, 't', 1};
    say_all(f, reader, subscribe, sizeof(subscribe)); /* wants the retained value */
    struct sim_peer *late = NULL;
    f->gateway.slow_brokers.fails_reads = false;
    late = connect_durable(f);
    f->gateway.slow_brokers.fails_reads = true;
    uint64_t before = f->gateway.slow_brokers.reads;
    wait_ms(f, 500);
    uint64_t failed = f->gateway.slow_brokers.reads - before;
    assert_true(failed > 10 && failed < 300);
    f->gateway.slow_brokers.fails_reads = false;
    static const unsigned char value[] = {0x90, 3, 0, 3, 1, 0x33, 6, 0, 1, 't', 0, 1, '4'};
    hear_these(f, reader, value, sizeof(value));
    for (uint32_t i = 0; i < 4; i++)
        acknowledge(f, late);
    sim_client_close(late);
    sim_client_close(reader);
    sim_client_close(peer);
}

static void releases_without_end_end_the_connection(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_durable(f);
    f->gateway.slow_brokers.is_stalled = true;
    bool is_closed = false;
    for (uint32_t i = 0; i < 20000 && !is_closed; i++) {
        const unsigned char pubrel[] = {0x62, 2, (unsigned char)(i >> 8), (unsigned char)i | 1};
        unsigned char heard[16];
        sim_client_send(peer, pubrel, sizeof(pubrel));
        settle(f);
        is_closed = hear_some(peer, heard, sizeof(heard)) == UINT32_MAX;
    }
    assert_true(is_closed);
    f->gateway.slow_brokers.is_stalled = false;
    sim_client_close(peer);
    wait_ms(f, 100);
}

/* Retained values in flight when the connection goes, or the gateway: the store has the one, only
 * the log has the other [MQTT-4.4.0-1]. */
static void retained_values_in_flight_are_sent_again_under_their_ids(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = {0x82, 8, 0, 3, 0, 3, 'r', '/', '+', 2};
    static const unsigned char suback[] = {0x90, 3, 0, 3, 2};
    static const unsigned char values[] = {0x33, 8, 0, 3, 'r', '/', '1', 0, 8, 'a', /* QoS 1 */
                                           0x35, 8, 0, 3, 'r', '/', '2', 0, 9, 'b', /* QoS 2 */
                                           0x62, 2, 0, 9};
    struct sim_peer *writer = connect_peer(f);
    unsigned char heard[12];
    say_all(f, writer, values, sizeof(values));
    hear_all(f, writer, heard, sizeof(heard));
    struct sim_peer *peer = connect_durable(f);
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_these(f, peer, suback, sizeof(suback));
    unsigned char first[2][10];
    hear_all(f, peer, first[0], 10);
    hear_all(f, peer, first[1], 10);
    for (uint32_t round = 0; round < 3; round++) {
        if (round == 1) {
            sim_client_close(writer);
            gateway_sim_crash(&f->gateway, &f->scenario, 1);
            writer = connect_peer(f);
        }
        if (round == 2) { /* the store has newer ones now */
            say_all(f, writer, values, sizeof(values));
            hear_all(f, writer, heard, sizeof(heard));
        }
        wait_ms(f, 100);
        sim_client_close(peer);
        wait_ms(f, 100);
        peer = connect_durable(f);
        for (uint32_t i = 0; i < 2; i++) {
            unsigned char again[10];
            hear_all(f, peer, again, sizeof(again));
            first[i][0] |= 8;
            assert_memory_equal(again, first[i], sizeof(again));
        }
    }
    const unsigned char *one = (first[0][0] & 6) == 2 ? first[0] : first[1];
    const unsigned char *two = one == first[0] ? first[1] : first[0];
    const unsigned char answers[] = {0x40, 2, one[7], one[8], 0x50, 2, two[7], two[8]};
    const unsigned char pubrel[] = {0x62, 2, two[7], two[8]};
    const unsigned char pubcomp[] = {0x70, 2, two[7], two[8]};
    say_all(f, peer, answers, sizeof(answers));
    /* Their newer ones came behind them, live. */
    uint32_t messages = 0;
    bool is_released = false;
    while (messages < 2 || !is_released) {
        unsigned char head[4];
        unsigned char rest[6];
        hear_all(f, peer, head, sizeof(head));
        if (head[0] >> 4 == 3) {
            hear_all(f, peer, rest, sizeof(rest));
            assert_int_equal(head[0] & 9, 0); /* neither DUP nor RETAIN */
            messages++;
            continue;
        }
        assert_memory_equal(head, pubrel, sizeof(pubrel));
        is_released = true;
        say_all(f, peer, pubcomp, sizeof(pubcomp));
    }
    try_ping(f, peer);
    sim_client_close(peer);
    sim_client_close(writer);
    wait_ms(f, 100);
}

/* What is in flight for an earlier SUBSCRIBE is not the answer to a later one: at QoS 2 its
 * receiver has it, and takes the repetition for nothing [MQTT-3.8.4-3]. */
static void values_in_flight_for_one_subscribe_come_again_for_the_next(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = {0x82, 8, 0, 3, 0, 3, 'r', '/', '+', 2};
    static const unsigned char suback[] = {0x90, 3, 0, 3, 2};
    static const unsigned char values[] = {0x35, 8, 0, 3, 'r', '/', '1', 0, 8, 'a',
                                           0x35, 8, 0, 3, 'r', '/', '2', 0, 9, 'b'};
    struct sim_peer *writer = connect_peer(f);
    unsigned char heard[8];
    say_all(f, writer, values, sizeof(values));
    hear_all(f, writer, heard, sizeof(heard));
    sim_client_close(writer);
    struct sim_peer *peer = connect_durable(f);
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_these(f, peer, suback, sizeof(suback));
    unsigned char first[WINDOW * 10];
    hear_all(f, peer, first, sizeof(first));
    for (uint32_t round = 0; round < 2; round++) {
        /* The window is full: this one has its SUBACK and nothing else. */
        say_all(f, peer, subscribe, sizeof(subscribe));
        hear_these(f, peer, suback, sizeof(suback));
        try_ping(f, peer);
        if (round == 1)
            gateway_sim_crash(&f->gateway, &f->scenario, 1);
        sim_client_close(peer);
        wait_ms(f, 100);
        peer = connect_durable(f);
        for (uint32_t i = 0; i < WINDOW; i++)
            first[i * 10] |= 8;
        hear_these(f, peer, first, sizeof(first));
        for (uint32_t i = 0; i < WINDOW; i++) {
            const unsigned char *id = &first[i * 10 + 7];
            const unsigned char answers[] = {0x50, 2, id[0], id[1], 0x70, 2, id[0], id[1]};
            const unsigned char pubrel[] = {0x62, 2, id[0], id[1]};
            say_all(f, peer, answers, 4);
            hear_these(f, peer, pubrel, sizeof(pubrel));
            say_all(f, peer, answers + 4, 4);
            unsigned char again[10];
            hear_all(f, peer, again, sizeof(again));
            assert_int_equal(again[0], 0x35);
            assert_int_not_equal(again[8], id[1]);
            memcpy(&first[i * 10], again, sizeof(again));
        }
    }
    try_ping(f, peer);
    sim_client_close(peer);
    wait_ms(f, 100);
}

/* Nor do the values of an earlier SUBSCRIBE that are delivered while a later one waits for the
 * store leave nothing due for that one. */
static void the_end_of_a_subscribe_leaves_the_next_ones_values_due(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = {0x82, 10, 0, 3, 0, 5, 'r', '/', '1', '/', '+', 1};
    static const unsigned char suback[] = {0x90, 3, 0, 3, 1};
    enum { VALUES = 3, BYTES = 12 };
    struct sim_peer *writer = connect_peer(f);
    for (unsigned char i = 0; i < VALUES; i++) {
        const unsigned char value[BYTES] = {0x33, 10, 0, 5, 'r', '/', '1', '/', 'a' + i, 0, 8, '!'};
        static const unsigned char puback[] = {0x40, 2, 0, 8};
        say_all(f, writer, value, sizeof(value));
        hear_these(f, writer, puback, sizeof(puback));
    }
    sim_client_close(writer);
    struct sim_peer *peer = connect_durable(f);
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_these(f, peer, suback, sizeof(suback));
    unsigned char values[VALUES][BYTES];
    hear_all(f, peer, values[0], WINDOW * BYTES);
    f->gateway.slow_brokers.keeps_keys = true;
    say_all(f, peer, subscribe, sizeof(subscribe));
    const unsigned char puback[] = {0x40, 2, values[0][9], values[0][10]};
    say_all(f, peer, puback, sizeof(puback));
    hear_all(f, peer, values[2], BYTES); /* all of the first SUBSCRIBE's */
    sim_client_close(peer);
    wait_ms(f, 100);
    f->gateway.slow_brokers.keeps_keys = false;
    peer = connect_durable(f);
    uint32_t again[VALUES] = {0};
    uint32_t fresh[VALUES] = {0};
    for (uint32_t i = 0; i < VALUES - 1 + VALUES; i++) {
        unsigned char value[BYTES];
        hear_all(f, peer, value, sizeof(value));
        bool is_dup = (value[0] & 8) != 0;
        assert_int_equal(is_dup, i < VALUES - 1);
        (*(is_dup ? &again : &fresh))[value[8] - 'a']++;
        const unsigned char acknowledged[] = {0x40, 2, value[9], value[10]};
        say_all(f, peer, acknowledged, sizeof(acknowledged));
    }
    for (uint32_t i = 0; i < VALUES; i++)
        assert_int_equal(fresh[i], 1);
    assert_int_equal(again[values[0][8] - 'a'], 0);
    try_ping(f, peer);
    sim_client_close(peer);
    wait_ms(f, 100);
}

/* Hears a PUBLISH to a topic of three letters with one byte and goes on with it to the end. Result:
 * its first byte. */
static unsigned char take_value(struct fixture *f, struct sim_peer *peer)
{
    unsigned char value[10];
    hear_all(f, peer, value, sizeof(value));
    uint8_t qos = (value[0] >> 1) & 3;
    const unsigned char answer[] = {qos == 2 ? 0x50 : 0x40, 2, value[7], value[8]};
    const unsigned char pubrel[] = {0x62, 2, value[7], value[8]};
    const unsigned char pubcomp[] = {0x70, 2, value[7], value[8]};
    say_all(f, peer, answer, sizeof(answer));
    if (qos == 2) {
        hear_these(f, peer, pubrel, sizeof(pubrel));
        say_all(f, peer, pubcomp, sizeof(pubcomp));
    }
    return value[0];
}

/* The session has passed them when the gateway is killed, and its subscription's values are still
 * marked as due in the store: up to where its SUBSCRIBE began, not up to where it goes on. */
static void values_that_came_live_do_not_come_again_after_a_crash(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = {0x82, 8, 0, 3, 0, 3, 'r', '/', '+', 2};
    static const unsigned char suback[] = {0x90, 3, 0, 3, 2};
    static const unsigned char values[] = {0x33, 8, 0, 3, 'r', '/', '1', 0, 8, 'a', /* QoS 1 */
                                           0x35, 8, 0, 3, 'r', '/', '2', 0, 9, 'b', /* QoS 2 */
                                           0x62, 2, 0, 9};
    struct sim_peer *peer = connect_durable(f);
    for (uint32_t round = 0; round < 3; round++) {
        if (round != 1) { /* the second time with the mark of the first one's */
            say_all(f, peer, subscribe, sizeof(subscribe));
            hear_these(f, peer, suback, sizeof(suback));
        }
        for (uint32_t i = 0; round == 2 && i < 2; i++) /* this SUBSCRIBE's */
            assert_int_equal(take_value(f, peer) & 9, 1);
        struct sim_peer *writer = connect_peer(f);
        unsigned char heard[12];
        say_all(f, writer, values, sizeof(values));
        hear_all(f, writer, heard, sizeof(heard));
        sim_client_close(writer);
        for (uint32_t i = 0; i < 2; i++)
            assert_int_equal(take_value(f, peer) & 9, 0);
        wait_ms(f, 1100); /* a checkpoint */
        try_ping(f, peer);
        gateway_sim_crash(&f->gateway, &f->scenario, 1);
        sim_client_close(peer);
        wait_ms(f, 100);
        peer = connect_durable(f);
        wait_ms(f, 100);
        try_ping(f, peer);
    }
    sim_client_close(peer);
    wait_ms(f, 100);
}

/* Nor those that were delivered as retained, when the store has taken their mark away. */
static void values_that_were_delivered_do_not_come_again_after_a_crash(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = {0x82, 8, 0, 3, 0, 3, 'r', '/', '+', 2};
    static const unsigned char suback[] = {0x90, 3, 0, 3, 2};
    static const unsigned char values[] = {0x33, 8, 0, 3, 'r', '/', '1', 0, 8, 'a', /* QoS 1 */
                                           0x35, 8, 0, 3, 'r', '/', '2', 0, 9, 'b', /* QoS 2 */
                                           0x62, 2, 0, 9};
    struct sim_peer *writer = connect_peer(f);
    unsigned char heard[12];
    say_all(f, writer, values, sizeof(values));
    hear_all(f, writer, heard, sizeof(heard));
    sim_client_close(writer);
    struct sim_peer *peer = connect_durable(f);
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_these(f, peer, suback, sizeof(suback));
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(take_value(f, peer) & 9, 1);
    wait_ms(f, 1100); /* a checkpoint */
    for (uint32_t round = 0; round < 2; round++) {
        gateway_sim_crash(&f->gateway, &f->scenario, 1);
        sim_client_close(peer);
        wait_ms(f, 100);
        peer = connect_durable(f);
        wait_ms(f, 100);
        try_ping(f, peer);
    }
    sim_client_close(peer);
    wait_ms(f, 100);
}

#define trouble_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        trouble_test(retention_leaves_alone_what_retained_values_need),
        trouble_test(retention_is_told_what_connected_late_sessions_want),
        trouble_test(retained_values_of_an_earlier_run_count),
        trouble_test(a_topic_whose_value_finds_no_room_has_none),
        trouble_test(a_durable_session_that_a_full_store_refuses_hears_code_3),
        trouble_test(a_full_store_refuses_filters_and_keeps_none_of_them),
        trouble_test(qos_2_that_a_full_store_cannot_remember_ends_the_connection),
        trouble_test(a_broker_that_stands_still_costs_patience_alone),
        trouble_test(reads_that_fail_are_tried_again_and_not_at_once),
        trouble_test(retained_values_in_flight_are_sent_again_under_their_ids),
        trouble_test(values_in_flight_for_one_subscribe_come_again_for_the_next),
        trouble_test(the_end_of_a_subscribe_leaves_the_next_ones_values_due),
        trouble_test(values_that_came_live_do_not_come_again_after_a_crash),
        trouble_test(values_that_were_delivered_do_not_come_again_after_a_crash),
        trouble_test(ten_thousand_filters_are_one_commit),
        trouble_test(a_commit_of_ten_thousand_filters_fails_as_a_whole),
        trouble_test(what_retention_takes_before_the_channel_comes_is_counted),
        trouble_test(releases_without_end_end_the_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
