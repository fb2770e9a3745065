/*
 * The simulated gateway and peers that are driven byte by byte: what a drawn scenario would meet
 * too seldom.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "session/catch_up.h"
#include "session/delivery.h"
#include "session/inbound.h"
#include "session/session.h"
#include "session/session_store.h"
#include "sim/peers.h"

static int set_up(void **state)
{
    struct fixture *f = peers_describe();
    f->scenario.hub_limits.subscriptions_max = 100000;
    f->scenario.store.memory_bytes = 16 << 20;
    f->scenario.store.key_bytes_max = 160 << 10;
    peers_start(f);
    *state = f;
    return 0;
}

static void a_publisher_that_is_left_unread_does_not_expire(void **state)
{
    struct fixture *f = *state;
    static const unsigned char publish[] = {0x30, 3, 0, 1, 't'};
    static const unsigned char ping[] = {0xc0, 0};
    static const unsigned char answers[] = {0xd0, 0, 0xd0, 0, 0xd0, 0, 0xd0, 0, 0xd0, 0, 0xd0, 0};
    struct sim_peer *peer = connect_peer(f);
    say(f, peer, publish, sizeof(publish));
    for (uint32_t i = 0; i < sizeof(answers) / 2; i++) {
        /* Subscribers somewhere have much to take, all the time. */
        atomic_store(&f->gateway.net_shared.pressed_until_ns[0],
                     sim_world_now_ns(f->world) + 600ULL * MS);
        say(f, peer, ping, sizeof(ping));
        wait_ms(f, 500);
        assert_false(sim_client_is_readable(peer));
    }
    wait_ms(f, 200);
    hear(peer, answers, sizeof(answers));
}

static void a_shard_that_is_late_without_memory_reads_when_there_is_some(void **state)
{
    struct fixture *f = *state;
    settle(f);
    struct hub *hub = f->gateway.hubs[0];
    heap_fail_at(hub->heap, 1);
    catch_up_on_shard_late(hub, 0, 1);
    heap_fail_at(hub->heap, 0);
    assert_int_equal(hub->late_partitions, 1);
    wait_ms(f, 100);
    assert_int_equal(hub->late_partitions, 0);
}

/* A SUBSCRIBE of `count` filters at QoS 1, "00000/xx..." from `first` on, each of FILTER_BYTES. Its
 * SUBACK must have this code for all. */
enum { FILTER_BYTES = 60 };

static void subscribe_many(struct fixture *f, struct sim_peer *peer, uint32_t first, uint32_t count,
                           uint8_t code)
{
    uint32_t body_bytes = 2 + count * (2 + FILTER_BYTES + 1);
    unsigned char *packet = calloc(1, body_bytes + 5);
    assert_non_null(packet);
    uint32_t at = 0;
    packet[at++] = 0x82;
    for (uint32_t left = body_bytes; left != 0; left >>= 7)
        packet[at++] = (unsigned char)((left & 127) | (left > 127 ? 128 : 0));
    packet[at + 1] = 9;
    at += 2;
    for (uint32_t i = 0; i < count; i++) {
        packet[at + 1] = FILTER_BYTES;
        memset(packet + at + 2, 'x', FILTER_BYTES);
        char number[16];
        snprintf(number, sizeof(number), "%06u/", first + i);
        memcpy(packet + at + 2, number, 7);
        packet[at + 2 + FILTER_BYTES] = 1;
        at += 2 + FILTER_BYTES + 1;
    }
    say_all(f, peer, packet, at);
    uint32_t head_bytes = 1 + (count + 2 > 127 ? 2 : 1) + 2;
    hear_all(f, peer, packet, head_bytes + count);
    assert_int_equal(packet[0], 0x90);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(packet[head_bytes + i], code);
    free(packet);
}

static void filters_of_which_only_some_fit_the_store_are_refused(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_durable(f);
    subscribe_many(f, peer, 0, 5000, 0x80);
    assert_true(f->gateway.hubs[0]->counters.store_failures > 0);
    assert_int_equal(f->gateway.hubs[0]->counters.subscriptions, 0);
    /* What it had before goes on. */
    subscribe_many(f, peer, 0, 10, 1);
    subscribe_many(f, peer, 0, 5000, 0x80);
    assert_int_equal(f->gateway.hubs[0]->counters.subscriptions, 10);
}

static void unsubscribe(struct fixture *f, struct sim_peer *peer, uint32_t number)
{
    unsigned char packet[4 + 2 + FILTER_BYTES];
    unsigned char unsuback[4];
    memset(packet, 'x', sizeof(packet));
    const unsigned char head[] = {0xa2, 4 + FILTER_BYTES, 0, 8, 0, FILTER_BYTES};
    memcpy(packet, head, sizeof(head));
    char text[16];
    snprintf(text, sizeof(text), "%06u/", number);
    memcpy(packet + sizeof(head), text, 7);
    say_all(f, peer, packet, sizeof(packet));
    hear_all(f, peer, unsuback, sizeof(unsuback));
    assert_int_equal(unsuback[0], 0xb0);
}

static void what_comes_and_goes_in_a_session_needs_no_more_of_the_store(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_durable(f);
    for (uint32_t i = 0; i < 5 * SESSION_STORE_BLOCK_FILTERS; i++) {
        subscribe_many(f, peer, i, 1, 1);
        unsubscribe(f, peer, i);
    }
    subscribe_many(f, peer, 0, SESSION_STORE_BLOCK_FILTERS, 1);
    const struct session *session = session_find(f->gateway.hubs[0], "d", 1);
    assert_int_equal(session->stored->block_count, 1);
    /* As it was after it came out of the store, too. */
    sim_client_close(peer);
    wait_ms(f, 100);
    assert_null(session_find(f->gateway.hubs[0], "d", 1));
    peer = connect_durable(f);
    unsubscribe(f, peer, 5);
    subscribe_many(f, peer, 1000, 1, 1);
    session = session_find(f->gateway.hubs[0], "d", 1);
    assert_int_equal(session->stored->block_count, 1);
    subscribe_many(f, peer, 1001, 1, 1);
    assert_int_equal(session->stored->block_count, 2);
}

/* A record of the topic a/b/c/d at QoS 1, as an owner would hand it over. */
static struct record *make_record(struct hub *hub)
{
    const struct record_source source = {
        .topic = "a/b/c/d", .topic_bytes = 7, .payload = "!", .payload_bytes = 1, .flags = 1};
    struct record *record = record_create(hub->heap, &source);
    assert_non_null(record);
    inbound_address(hub, record);
    record->sequence = 1;
    return record;
}

static void a_message_is_delivered_without_memory_for_its_many_filters(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = "\x82\x52\x00\x09"
                                             "\x00\x07"
                                             "a/b/c/d\x01"
                                             "\x00\x07"
                                             "+/b/c/d\x01"
                                             "\x00\x07"
                                             "a/+/c/d\x01"
                                             "\x00\x07"
                                             "a/b/+/d\x01"
                                             "\x00\x07"
                                             "a/b/c/+\x01"
                                             "\x00\x03"
                                             "a/#\x01"
                                             "\x00\x05"
                                             "a/b/#\x01"
                                             "\x00\x07"
                                             "a/b/c/#\x01"
                                             "\x00\x03"
                                             "+/#\x01";
    static const unsigned char publish[] = {0x32, 12,  0,   7,   'a', '/', 'b',
                                            '/',  'c', '/', 'd', 0,   1,   '!'};
    unsigned char heard[64];
    struct sim_peer *peer = connect_durable(f);
    say_all(f, peer, subscribe, sizeof(subscribe) - 1);
    hear_all(f, peer, heard, 4 + 9);
    struct hub *hub = f->gateway.hubs[0];
    struct record *record = make_record(hub);
    topic_resolve(&hub->index, "a/b/c/d", 7, record->topic_hash); /* known before memory is out */
    heap_fail_at(hub->heap, 1);
    delivery_handover(hub, record);
    heap_fail_at(hub->heap, 0);
    assert_int_equal(hub->counters.dropped[HUB_DROP_MEMORY], 0);
    wait_ms(f, 50);
    hear_all(f, peer, heard, sizeof(publish));
    assert_memory_equal(heard, publish, sizeof(publish));
}

/* Whatever allocation fails while it is published, and the connection with it perhaps. */
static void a_qos_2_publish_repeated_after_want_of_memory_is_logged_once(void **state)
{
    struct fixture *f = *state;
    static const unsigned char publish[] = {0x34, 6, 0, 1, 't', 0, 1, '!'};
    static const unsigned char repeated[] = {0x3c, 6, 0, 1, 't', 0, 1, '!'};
    static const unsigned char pubrel[] = {0x62, 2, 0, 1};
    struct hub *hub = f->gateway.hubs[0];
    for (uint64_t failing = 1; failing <= 24; failing++) {
        uint64_t committed = hub->counters.committed;
        unsigned char answer[4];
        struct sim_peer *peer = connect_durable(f);
        heap_fail_at(hub->heap, failing);
        say_all(f, peer, publish, sizeof(publish));
        heap_fail_at(hub->heap, 0);
        wait_ms(f, 20);
        sim_client_close(peer);
        wait_ms(f, 20);
        peer = connect_durable(f);
        say_all(f, peer, repeated, sizeof(repeated));
        hear_all(f, peer, answer, sizeof(answer));
        assert_int_equal(answer[0], 0x50);
        say_all(f, peer, pubrel, sizeof(pubrel));
        hear_all(f, peer, answer, sizeof(answer));
        assert_int_equal(answer[0], 0x70);
        sim_client_close(peer);
        wait_ms(f, 20);
        assert_int_equal(hub->counters.committed, committed + 1);
    }
}

static const unsigned char ping[] = {0xc0, 0};
static const unsigned char pong[] = {0xd0, 0};

/* The session "d" is there as it should be: it subscribes to "u" at QoS 2 and is sent what it
 * publishes there, all of it once. */
static void try_all(struct fixture *f, struct sim_peer *peer)
{
    static const unsigned char subscribe[] = {0x82, 6, 0, 3, 0, 1, 'u', 2};
    static const unsigned char publish[] = {0x34, 6, 0, 1, 'u', 0, 7, '?'};
    static const unsigned char pubrel[] = {0x62, 2, 0, 7};
    unsigned char heard[5 + 4 + 8 + 4];
    say_all(f, peer, subscribe, sizeof(subscribe));
    hear_all(f, peer, heard, 5);
    assert_int_equal(heard[0], 0x90);
    assert_int_equal(heard[4], 2);
    say_all(f, peer, publish, sizeof(publish));
    say_all(f, peer, pubrel, sizeof(pubrel));
    hear_all(f, peer, heard, 4 + 4 + 8); /* PUBREC, PUBCOMP and the message, in some order */
    unsigned char id[2] = {0, 0};
    for (uint32_t at = 0; at < 16; at += heard[at + 1] + 2U) {
        if (heard[at] == 0x34)
            memcpy(id, heard + at + 5, 2);
    }
    const unsigned char pubrec[] = {0x50, 2, id[0], id[1]};
    const unsigned char pubcomp[] = {0x70, 2, id[0], id[1]};
    say_all(f, peer, pubrec, sizeof(pubrec));
    hear_all(f, peer, heard, 4);
    assert_int_equal(heard[0], 0x62);
    say_all(f, peer, pubcomp, sizeof(pubcomp));
    say_all(f, peer, ping, sizeof(ping));
    hear_all(f, peer, heard, sizeof(pong));
    assert_memory_equal(heard, pong, sizeof(pong));
}

/* Publishes to itself what is said, with every allocation failing in its turn, then begins anew. */
static void fail_each(struct fixture *f, const void *bytes, uint32_t count, uint32_t failing_max)
{
    struct hub *hub = f->gateway.hubs[0];
    for (uint64_t failing = 1; failing <= failing_max; failing++) {
        struct sim_peer *peer = connect_durable(f);
        heap_fail_at(hub->heap, failing);
        say_all(f, peer, bytes, count);
        heap_fail_at(hub->heap, 0);
        wait_ms(f, 1100);
        drain(peer);
        sim_client_close(peer);
        wait_ms(f, 1100);
        assert_null(session_find(hub, "d", 1));
        static const unsigned char clean[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                              4,    2,  0, 0, 0,   1,   'd'};
        unsigned char connack[4];
        peer = sim_client_connect(f->world, &f->gateway.address);
        say_all(f, peer, clean, sizeof(clean));
        hear_all(f, peer, connack, sizeof(connack));
        sim_client_close(peer);
        wait_ms(f, 20);
        peer = connect_durable(f);
        try_all(f, peer);
        sim_client_close(peer);
        wait_ms(f, 1100);
        assert_null(session_find(hub, "d", 1));
        assert_int_equal(hub->counters.sessions, 0);
        assert_int_equal(hub->counters.in_flight, 0);
        assert_true(gateway_sim_is_idle(&f->gateway));
    }
}

static void subscriptions_and_deliveries_survive_want_of_memory(void **state)
{
    struct fixture *f = *state;
    static const unsigned char all[] = {
        0x82, 12, 0, 3, 0,   1,   't', 2,   0,  3, '+', '/', '#', 1, /* SUBSCRIBE */
        0x33, 6,  0, 1, 't', 0,   7,   '?',                          /* retained, QoS 2 */
        0x62, 2,  0, 7,                                              /* PUBREL */
        0x32, 6,  0, 1, 't', 0,   8,   '?',                          /* QoS 1 */
        0x30, 4,  0, 1, 't', '?',                                    /* QoS 0 */
        0x82, 6,  0, 4, 0,   1,   't', 1,                            /* SUBSCRIBE again */
        0xa2, 7,  0, 5, 0,   3,   '+', '/', '#'};                    /* UNSUBSCRIBE */
    fail_each(f, all, sizeof(all), 60);
}

/* Tries to come back with every allocation failing in its turn; then comes back, and has what came
 * meanwhile. */
static void a_session_that_could_not_be_resumed_is_kept(void **state)
{
    struct fixture *f = *state;
    static const unsigned char connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    0,  0, 0, 0,   1,   'd'};
    static const unsigned char subscribe[] = {0x82, 12, 0, 3, 0, 1, 't', 1, 0, 3, '+', '/', '#', 2};
    static const unsigned char publish[] = {0x32, 6, 0, 1, 't', 0, 8, '?'};
    struct hub *hub = f->gateway.hubs[0];
    struct sim_peer *peer = connect_durable(f);
    say_all(f, peer, subscribe, sizeof(subscribe));
    for (uint64_t failing = 1; failing <= 60; failing++) {
        say_all(f, peer, publish, sizeof(publish));
        wait_ms(f, 20);
        drain(peer); /* a delivery that is not acknowledged */
        sim_client_close(peer);
        wait_ms(f, 1100);
        assert_null(session_find(hub, "d", 1));
        peer = sim_client_connect(f->world, &f->gateway.address);
        heap_fail_at(hub->heap, failing);
        say_all(f, peer, connect, sizeof(connect));
        heap_fail_at(hub->heap, 0);
        wait_ms(f, 1100);
        sim_client_close(peer);
        wait_ms(f, 1100);
        assert_null(session_find(hub, "d", 1));
        peer = sim_client_connect(f->world, &f->gateway.address);
        say_all(f, peer, connect, sizeof(connect));
        unsigned char heard[4 + 8 + 4];
        hear_all(f, peer, heard, 4 + 8);
        assert_int_equal(heard[2], 1); /* session present */
        assert_int_equal(heard[3], 0);
        assert_int_equal(heard[4] | 8, 0x3a);
        const unsigned char puback[] = {0x40, 2, heard[9], heard[10]};
        say_all(f, peer, puback, sizeof(puback));
        say_all(f, peer, ping, sizeof(ping));
        hear_all(f, peer, heard, sizeof(pong)); /* and nothing else */
        assert_memory_equal(heard, pong, sizeof(pong));
        assert_int_equal(hub->counters.in_flight, 0);
    }
    sim_client_close(peer);
}

/* Whatever allocation fails: a will whose CONNECT was accepted is published once, another never. */
static void a_will_is_published_once_in_want_of_memory(void **state)
{
    struct fixture *f = *state;
    static const unsigned char connect[] = {0x10, 19, 0, 4,   'M', 'Q', 'T', 'T', 4, 0x2e, 0,
                                            0,    0,  1, 'w', 0,   1,   't', 0,   1, '!'};
    struct hub *hub = f->gateway.hubs[0];
    for (uint64_t failing = 1; failing <= 40; failing++) {
        uint64_t committed = hub->counters.committed;
        unsigned char connack[4] = {0, 0, 0, 5};
        struct sim_peer *peer = sim_client_connect(f->world, &f->gateway.address);
        assert_non_null(peer);
        heap_fail_at(hub->heap, failing);
        sim_client_send(peer, connect, sizeof(connect));
        wait_ms(f, 20);
        int32_t heard = sim_client_receive(peer, connack, sizeof(connack));
        bool is_accepted = heard == (int32_t)sizeof(connack) && connack[3] == 0;
        sim_client_reset(peer);
        wait_ms(f, 20);
        heap_fail_at(hub->heap, 0);
        wait_ms(f, 100);
        assert_int_equal(hub->counters.committed, committed + is_accepted);
        assert_int_equal(hub->counters.sessions, 0);
        assert_true(gateway_sim_is_idle(&f->gateway));
    }
}

/* Whatever allocation fails: who is granted a subscription and stays gets the value and what is
 * published next, and who is not granted it gets neither. */
static void a_grant_is_kept_in_want_of_memory(void **state)
{
    struct fixture *f = *state;
    static const unsigned char retained[] = {0x33, 6, 0, 1, 't', 0, 1, 'r'};
    static const unsigned char live[] = {0x32, 6, 0, 1, 't', 0, 2, 'l'};
    static const unsigned char subscribe[] = {0x82, 6, 0, 3, 0, 1, 't', 1};
    struct hub *hub = f->gateway.hubs[0];
    struct sim_peer *publisher = connect_durable(f);
    say_all(f, publisher, retained, sizeof(retained));
    for (uint64_t failing = 1; failing <= 40; failing++) {
        struct sim_peer *peer = connect_peer(f);
        unsigned char heard[256];
        heap_fail_at(hub->heap, failing);
        say(f, peer, subscribe, sizeof(subscribe));
        wait_ms(f, 20);
        heap_fail_at(hub->heap, 0);
        say_all(f, publisher, live, sizeof(live));
        wait_ms(f, 50);
        drain(publisher);
        uint32_t count = hear_some(peer, heard, sizeof(heard));
        if (count != UINT32_MAX) {
            assert_int_equal(heard[0], 0x90);
            bool is_granted = heard[4] == 1;
            assert_int_equal(count, is_granted ? 5 + 8 + 8 : 5);
        }
        sim_client_close(peer);
        wait_ms(f, 50);
        assert_int_equal(hub->counters.sessions, 1);
        assert_int_equal(hub->counters.subscriptions, 0);
        assert_int_equal(hub->counters.in_flight, 0);
    }
    sim_client_close(publisher);
}

/* Whatever allocation fails while a second connection takes the session over: a third one has it.
 */
static void a_takeover_in_want_of_memory_leaves_the_session_usable(void **state)
{
    struct fixture *f = *state;
    static const unsigned char connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    0,  0, 0, 0,   1,   'd'};
    struct hub *hub = f->gateway.hubs[0];
    for (uint64_t failing = 1; failing <= 30; failing++) {
        struct sim_peer *first = connect_durable(f);
        struct sim_peer *second = sim_client_connect(f->world, &f->gateway.address);
        assert_non_null(second);
        heap_fail_at(hub->heap, failing);
        sim_client_send(second, connect, sizeof(connect));
        wait_ms(f, 20);
        heap_fail_at(hub->heap, 0);
        struct sim_peer *third = connect_durable(f);
        try_all(f, third);
        sim_client_close(first);
        sim_client_close(second);
        sim_client_close(third);
        wait_ms(f, 1100);
        assert_int_equal(hub->counters.sessions, 0);
        assert_true(gateway_sim_is_idle(&f->gateway));
    }
}

/* A peer that has subscribed to t and said far more there than a socket's buffer holds. It reads
 * nothing yet. Result: bytes that it is to be sent. */
static uint32_t flood_peer(struct fixture *f, struct sim_peer *peer)
{
    enum { MESSAGES = 40, BYTES = 10003 };
    static const unsigned char subscribe[] = {0x82, 6, 0, 1, 0, 1, 't', 0};
    static const unsigned char suback[] = {0x90, 3, 0, 1, 0};
    static unsigned char publish[3 + BYTES] = {0x30, 0x93, 0x4e, 0, 1, 't'};
    say(f, peer, subscribe, sizeof(subscribe));
    wait_ms(f, 10);
    hear(peer, suback, sizeof(suback));
    for (uint32_t i = 0; i < MESSAGES; i++)
        say_all(f, peer, publish, sizeof(publish));
    return MESSAGES * sizeof(publish);
}

static uint32_t hear_what_is_there(struct sim_peer *peer)
{
    static unsigned char heard[65536];
    uint32_t count = 0;
    int32_t got = 0;
    for (; (got = sim_client_receive(peer, heard, sizeof(heard))) > 0;)
        count += (uint32_t)got;
    return count;
}

static void at_a_shutdown_a_peer_that_goes_on_taking_gets_everything(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_peer(f);
    uint32_t due = flood_peer(f, peer);
    net_shutdown(f->gateway.hubs[0]->net);
    uint32_t heard = 0;
    for (uint32_t i = 0; i < 8; i++) { /* linger is one second, and this takes six */
        heard += hear_what_is_there(peer);
        assert_true(i > 2 || heard < due);
        wait_ms(f, 750);
    }
    assert_int_equal(heard, due);
    assert_int_equal(net_counters(f->gateway.hubs[0]->net)->connections, 0);
    sim_client_close(peer);
}

static void at_a_shutdown_a_peer_that_takes_nothing_is_not_waited_for(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_peer(f);
    flood_peer(f, peer);
    net_shutdown(f->gateway.hubs[0]->net);
    wait_ms(f, 900);
    assert_int_equal(net_counters(f->gateway.hubs[0]->net)->connections, 1);
    wait_ms(f, 300);
    assert_int_equal(net_counters(f->gateway.hubs[0]->net)->connections, 0);
    sim_client_close(peer);
}

#define peer_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        peer_test(at_a_shutdown_a_peer_that_goes_on_taking_gets_everything),
        peer_test(at_a_shutdown_a_peer_that_takes_nothing_is_not_waited_for),
        peer_test(a_publisher_that_is_left_unread_does_not_expire),
        peer_test(a_shard_that_is_late_without_memory_reads_when_there_is_some),
        peer_test(a_message_is_delivered_without_memory_for_its_many_filters),
        peer_test(what_comes_and_goes_in_a_session_needs_no_more_of_the_store),
        peer_test(a_qos_2_publish_repeated_after_want_of_memory_is_logged_once),
        peer_test(subscriptions_and_deliveries_survive_want_of_memory),
        peer_test(a_session_that_could_not_be_resumed_is_kept),
        peer_test(a_will_is_published_once_in_want_of_memory),
        peer_test(a_grant_is_kept_in_want_of_memory),
        peer_test(a_takeover_in_want_of_memory_leaves_the_session_usable),
        peer_test(filters_of_which_only_some_fit_the_store_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
