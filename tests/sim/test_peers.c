/*
 * The simulated gateway and peers that are driven byte by byte: what a drawn scenario would meet
 * too seldom.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "session/catch_up.h"
#include "sim/gateway_sim.h"

enum { MS = 1000000, TURNS_MAX = 100000 };

struct fixture {
    struct sim_world *world;
    struct gateway_sim gateway;
    struct scenario scenario;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    scenario_init(&f->scenario, 7);
    const struct sim_options options = {.seed = 7, .start_ns = 1000 * MS, .start_wall_ms = 1000};
    f->world = sim_world_create(&options);
    gateway_sim_start(&f->gateway, f->world, &f->scenario);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    int64_t left = gateway_sim_stop(&f->gateway);
    sim_world_destroy(f->world);
    free(f);
    return left == 0 ? 0 : -1;
}

/* Gives turns until nobody has anything to do at this moment. */
static void settle(struct fixture *f)
{
    uint32_t turns = 0;
    while (gateway_sim_turn(&f->gateway, 0))
        assert_true(++turns < TURNS_MAX);
}

static void wait_ms(struct fixture *f, uint32_t ms)
{
    for (uint32_t i = 0; i < ms; i += 10) {
        sim_world_advance(f->world, sim_world_now_ns(f->world) + 10 * MS);
        settle(f);
    }
}

static void say(struct fixture *f, struct sim_peer *peer, const void *bytes, uint32_t count)
{
    assert_int_equal(sim_client_send(peer, bytes, count), count);
    settle(f);
}

static void hear(struct sim_peer *peer, const void *bytes, uint32_t count)
{
    unsigned char heard[256];
    assert_int_equal(sim_client_receive(peer, heard, sizeof(heard)), count);
    assert_memory_equal(heard, bytes, count);
}

/* A clean session "p" with a keepalive of one second. */
static struct sim_peer *connect_peer(struct fixture *f)
{
    static const unsigned char connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    2,  0, 1, 0,   1,   'p'};
    static const unsigned char connack[] = {0x20, 2, 0, 0};
    struct sim_peer *peer = sim_client_connect(f->world, &f->gateway.address);
    assert_non_null(peer);
    settle(f);
    say(f, peer, connect, sizeof(connect));
    hear(peer, connack, sizeof(connack));
    return peer;
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

#define peer_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        peer_test(a_publisher_that_is_left_unread_does_not_expire),
        peer_test(a_shard_that_is_late_without_memory_reads_when_there_is_some),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
