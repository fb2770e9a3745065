/*
 * Sessions that come back, driven byte by byte: what their clients do at once behind CONNECT.
 */
#include "sim/peers.h"

static int set_up(void **state)
{
    struct fixture *f = peers_describe();
    f->scenario.broker_delay_us_max = 1; /* what is asked of it is answered later */
    f->scenario.hub_limits.unreleased_max = 64;
    peers_start(f);
    wait_ms(f, 10);
    *state = f;
    return 0;
}

static void hear_these(struct fixture *f, struct sim_peer *peer, const void *bytes, uint32_t count)
{
    unsigned char heard[256];
    assert_true(count <= sizeof(heard));
    hear_all(f, peer, heard, count);
    assert_memory_equal(heard, bytes, count);
}

/* It is served: PINGREQ has its answer, and nothing else came. */
static void try_ping(struct fixture *f, struct sim_peer *peer)
{
    static const unsigned char ping[] = {0xc0, 0};
    static const unsigned char pong[] = {0xd0, 0};
    say_all(f, peer, ping, sizeof(ping));
    hear_these(f, peer, pong, sizeof(pong));
}

/* A client may send the acknowledgements that it owes right behind its CONNECT. */
static void a_retained_value_acknowledged_before_it_is_sent_again_is_not_asked_for(void **state)
{
    struct fixture *f = *state;
    static const unsigned char subscribe[] = {0x82, 8, 0, 3, 0, 3, 'r', '/', '+', 2};
    static const unsigned char suback[] = {0x90, 3, 0, 3, 2};
    static const unsigned char values[] = {0x33, 8, 0, 3, 'r', '/', '1', 0, 8, 'a',
                                           0x33, 8, 0, 3, 'r', '/', '2', 0, 9, 'b'};
    struct sim_peer *writer = connect_peer(f);
    unsigned char heard[8];
    say_all(f, writer, values, sizeof(values));
    hear_all(f, writer, heard, sizeof(heard));
    sim_client_close(writer);
    for (uint32_t acknowledged = 0; acknowledged < 2; acknowledged++) {
        struct sim_peer *peer = connect_durable(f);
        say_all(f, peer, subscribe, sizeof(subscribe));
        hear_these(f, peer, suback, sizeof(suback));
        unsigned char first[2][10];
        hear_all(f, peer, first[0], 10);
        hear_all(f, peer, first[1], 10);
        static const unsigned char unsubscribe[] = {0xa2, 7, 0, 4, 0, 3, 'r', '/', '+'};
        static const unsigned char unsuback[] = {0xb0, 2, 0, 4}; /* and nothing more is due */
        say_all(f, peer, unsubscribe, sizeof(unsubscribe));
        hear_these(f, peer, unsuback, sizeof(unsuback));
        sim_client_close(peer);
        wait_ms(f, 100);
        const unsigned char *id = &first[acknowledged][7];
        const unsigned char packets[] = {0x10, 13, 0, 4, 'M', 'Q',  'T', 'T',   4,    0,
                                         0,    0,  0, 1, 'd', 0x40, 2,   id[0], id[1]};
        static const unsigned char connack[] = {0x20, 2, 1, 0};
        peer = sim_client_connect(f->world, &f->gateway.address);
        assert_non_null(peer);
        say_all(f, peer, packets, sizeof(packets));
        hear_these(f, peer, connack, sizeof(connack));
        unsigned char *other = first[1 - acknowledged];
        other[0] |= 8;
        hear_these(f, peer, other, 10);
        const unsigned char rest[] = {0x40, 2, other[7], other[8]};
        say_all(f, peer, rest, sizeof(rest));
        wait_ms(f, 100);
        try_ping(f, peer);
        sim_client_close(peer);
        wait_ms(f, 100);
    }
}

/* A QoS 2 PUBLISH to "t" with this packet id, which is its payload too. */
static void publish_once(struct fixture *f, struct sim_peer *peer, unsigned char id, bool is_again)
{
    const unsigned char packet[] = {is_again ? 0x3c : 0x34, 6, 0, 1, 't', 0, id, id};
    say_all(f, peer, packet, sizeof(packet));
}

static void hear_received(struct fixture *f, struct sim_peer *peer, unsigned char id)
{
    const unsigned char pubrec[] = {0x50, 2, 0, id};
    hear_these(f, peer, pubrec, sizeof(pubrec));
}

static struct sim_peer *crash_and_connect(struct fixture *f, struct sim_peer *peer)
{
    gateway_sim_crash(&f->gateway, &f->scenario, 1);
    f->gateway.slow_brokers.keeps_keys = false;
    sim_client_close(peer);
    wait_ms(f, 100);
    return connect_durable(f);
}

/* The log has messages of which the store knows nothing, and what the client sends first when it
 * is back is others: again and again, while the gateway dies in between. */
static void what_was_logged_before_a_crash_is_known_behind_new_messages(void **state)
{
    struct fixture *f = *state;
    struct sim_peer *peer = connect_durable(f);
    wait_ms(f, 100);
    f->gateway.slow_brokers.keeps_keys = true;
    for (unsigned char id = 1; id <= 4; id++)
        publish_once(f, peer, id, false);
    wait_ms(f, 100);
    assert_int_equal(f->gateway.hubs[0]->counters.committed, 4);
    peer = crash_and_connect(f, peer);
    publish_once(f, peer, 10, false);
    hear_received(f, peer, 10);
    publish_once(f, peer, 1, true);
    hear_received(f, peer, 1);
    f->gateway.slow_brokers.keeps_keys = true;
    publish_once(f, peer, 2, true);
    wait_ms(f, 100);
    publish_once(f, peer, 11, false);
    wait_ms(f, 100);
    /* 11 is not in the log before the store knows of it. */
    assert_int_equal(f->gateway.hubs[0]->counters.committed, 1);
    peer = crash_and_connect(f, peer);
    publish_once(f, peer, 12, false);
    hear_received(f, peer, 12);
    static const unsigned char again[] = {1, 2, 3, 4, 10, 11};
    for (uint32_t i = 0; i < sizeof(again); i++) {
        publish_once(f, peer, again[i], true);
        hear_received(f, peer, again[i]);
    }
    assert_int_equal(f->gateway.hubs[0]->counters.committed, 2); /* 11 and 12 */
    try_ping(f, peer);
    sim_client_close(peer);
    wait_ms(f, 100);
}

#define resume_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        resume_test(a_retained_value_acknowledged_before_it_is_sent_again_is_not_asked_for),
        resume_test(what_was_logged_before_a_crash_is_known_behind_new_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
