/*
 * The simulated ring passes the ring's contract, in a world without faults, where only the disk
 * takes time.
 */
#include "ring_contract.h"

#include <stdio.h>

#include "core/base.h"
#include "sim/disk_sim.h"
#include "sim/network.h"

/* One world at a time; the contract's functions have no other way to it. */
static struct sim_world *world;

void contract_world_begin(void)
{
    const struct sim_options options = {.seed = 1, .start_ns = 1000, .start_wall_ms = 1000};
    const struct sim_disk_faults slow = {
        .read_delay_max_ns = 2000000,
        .write_delay_max_ns = 2000000,
        .sync_delay_max_ns = 2000000,
    };
    world = sim_world_create(&options);
    sim_disk_set_faults(world, &slow);
}

void contract_world_end(void)
{
    sim_world_destroy(world);
}

const char *contract_directory(void)
{
    return "/data";
}

void contract_pass_time(struct ring *ring, uint64_t deadline_ns)
{
    (void)ring;
    sim_world_advance(world, deadline_ns);
}

void contract_wake_from_elsewhere(struct ring *ring)
{
    ring_wake(ring);
    ps_assert(sim_ring_has_event(ring));
}

void contract_wake_join(void)
{
}

bool contract_can_reset(enum ring_mode mode)
{
    (void)mode;
    return true;
}

/* A contract_peer is a sim_peer by another name, a contract_port a sim_port. */
static struct sim_peer *sim_peer_of(struct contract_peer *peer)
{
    return (struct sim_peer *)peer;
}

struct contract_peer *contract_peer_connect(const struct sockaddr_storage *to)
{
    return (struct contract_peer *)sim_client_connect(world, to);
}

int32_t contract_peer_send(struct contract_peer *peer, const void *bytes, uint32_t count)
{
    return sim_client_send(sim_peer_of(peer), bytes, count);
}

int32_t contract_peer_receive(struct contract_peer *peer, void *buffer, uint32_t bytes_max)
{
    return sim_client_receive(sim_peer_of(peer), buffer, bytes_max);
}

void contract_peer_shutdown(struct contract_peer *peer)
{
    sim_client_shutdown(sim_peer_of(peer));
}

void contract_peer_close(struct contract_peer *peer)
{
    sim_client_close(sim_peer_of(peer));
}

void contract_peer_reset(struct contract_peer *peer)
{
    sim_client_reset(sim_peer_of(peer));
}

struct contract_port *contract_port_open(struct sockaddr_storage *address)
{
    return (struct contract_port *)sim_port_open(world, address);
}

struct contract_port *contract_port_open_deaf(struct sockaddr_storage *address)
{
    const struct sim_faults slow = {.delay_max_ns = 1ULL << 60};
    sim_world_set_faults(world, &slow);
    return contract_port_open(address);
}

/* A simulated connect that is closed goes at once. */
bool contract_port_is_asked(const struct contract_port *port)
{
    (void)port;
    return false;
}

struct contract_peer *contract_port_accept(struct contract_port *port)
{
    return (struct contract_peer *)sim_port_accept((struct sim_port *)port);
}

void contract_port_close(struct contract_port *port)
{
    sim_port_close((struct sim_port *)port);
}

int main(void)
{
    return ring_contract_run(RING_MODE_DIRECT) + ring_contract_run(RING_MODE_PLAIN);
}
