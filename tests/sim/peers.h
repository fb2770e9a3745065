/*
 * Peers that a test drives byte by byte, against a simulated gateway of one shard: their fixture
 * and what they say and hear.
 */
#ifndef PENSTOCK_TESTS_SIM_PEERS_H
#define PENSTOCK_TESTS_SIM_PEERS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "sim/gateway_sim.h"

enum { MS = 1000000, TURNS_MAX = 100000, WAIT_MS_MAX = 5000 };

struct fixture {
    struct sim_world *world;
    struct gateway_sim gateway;
    struct scenario scenario;
};

/* A scenario to be changed; peers_start begins it. */
static inline struct fixture *peers_describe(void)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    scenario_init(&f->scenario, 7);
    return f;
}

static inline void peers_start(struct fixture *f)
{
    const struct sim_options options = {.seed = 7, .start_ns = 1000 * MS, .start_wall_ms = 1000};
    f->world = sim_world_create(&options);
    gateway_sim_start(&f->gateway, f->world, &f->scenario);
}

static inline int tear_down(void **state)
{
    struct fixture *f = *state;
    int64_t left = gateway_sim_stop(&f->gateway);
    sim_world_destroy(f->world);
    free(f);
    return left == 0 ? 0 : -1;
}

/* Gives turns until nobody has anything to do at this moment. */
static inline void settle(struct fixture *f)
{
    uint32_t turns = 0;
    while (gateway_sim_turn(&f->gateway, 0))
        assert_true(++turns < TURNS_MAX);
}

static inline void wait_ms(struct fixture *f, uint32_t ms)
{
    for (uint32_t i = 0; i < ms; i += 10) {
        sim_world_advance(f->world, sim_world_now_ns(f->world) + 10 * MS);
        settle(f);
    }
}

static inline void say(struct fixture *f, struct sim_peer *peer, const void *bytes, uint32_t count)
{
    assert_int_equal(sim_client_send(peer, bytes, count), count);
    settle(f);
}

static inline void hear(struct sim_peer *peer, const void *bytes, uint32_t count)
{
    unsigned char heard[256];
    assert_int_equal(sim_client_receive(peer, heard, sizeof(heard)), count);
    assert_memory_equal(heard, bytes, count);
}

/* Sends while the gateway takes. */
static inline void say_all(struct fixture *f, struct sim_peer *peer, const unsigned char *bytes,
                           uint32_t count)
{
    uint32_t sent = 0;
    for (uint32_t i = 0; sent < count && i < TURNS_MAX; i++) {
        int32_t taken = sim_client_send(peer, bytes + sent, count - sent);
        sent += taken > 0 ? (uint32_t)taken : 0;
        settle(f);
    }
    assert_int_equal(sent, count);
}

/* Receives exactly so much. */
static inline void hear_all(struct fixture *f, struct sim_peer *peer, unsigned char *out,
                            uint32_t count)
{
    uint32_t heard = 0;
    for (uint32_t i = 0; heard < count && i < WAIT_MS_MAX; i++) {
        int32_t got = sim_client_receive(peer, out + heard, count - heard);
        heard += got > 0 ? (uint32_t)got : 0;
        if (got <= 0)
            sim_world_advance(f->world, sim_world_now_ns(f->world) + MS);
        settle(f);
    }
    assert_int_equal(heard, count);
}

/* A clean session "p" with a keepalive of one second. */
static inline struct sim_peer *connect_peer(struct fixture *f)
{
    static const unsigned char connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    2,  0, 1, 0,   1,   'p'};
    static const unsigned char connack[] = {0x20, 2, 0, 0};
    unsigned char heard[4];
    struct sim_peer *peer = sim_client_connect(f->world, &f->gateway.address);
    assert_non_null(peer);
    settle(f);
    say_all(f, peer, connect, sizeof(connect));
    hear_all(f, peer, heard, sizeof(heard));
    assert_memory_equal(heard, connack, sizeof(connack));
    return peer;
}

/* A durable session "d". */
static inline struct sim_peer *connect_durable(struct fixture *f)
{
    static const unsigned char connect[] = {0x10, 13, 0, 4, 'M', 'Q', 'T', 'T',
                                            4,    0,  0, 0, 0,   1,   'd'};
    unsigned char connack[4];
    struct sim_peer *peer = sim_client_connect(f->world, &f->gateway.address);
    assert_non_null(peer);
    say_all(f, peer, connect, sizeof(connect));
    hear_all(f, peer, connack, sizeof(connack));
    assert_int_equal(connack[3], 0);
    return peer;
}

/* Reads and throws away what there is, as a client does that acknowledges nothing. */
static inline void drain(struct sim_peer *peer)
{
    unsigned char bytes[256];
    while (sim_client_receive(peer, bytes, sizeof(bytes)) > 0)
        continue;
}

/* Receives what comes until nothing does. Result: how many bytes; UINT32_MAX: it was closed. */
static inline uint32_t hear_some(struct sim_peer *peer, unsigned char *out, uint32_t bytes_max)
{
    uint32_t heard = 0;
    int32_t got = 0;
    while ((got = sim_client_receive(peer, out + heard, bytes_max - heard)) > 0)
        heard += (uint32_t)got;
    return got == -EAGAIN ? heard : UINT32_MAX;
}

#endif
