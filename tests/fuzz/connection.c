/*
 * A gateway of one or two shards over the simulated ring, and up to four clients that say whatever
 * bytes they like, in pieces. Whatever they do, every byte that they get is well-formed MQTT, the
 * number of turns until it is quiet has a bound, and in the end no connection, session, stream or
 * byte of memory is left.
 *
 * The first byte: two shards (1), short and failing receives and sends (2), small limits (4). Then
 * moves: a byte that says what (bits 0 to 2) and who (3 and 4), a byte with a number, and for a
 * send that many bytes.
 */
#include <stdlib.h>

#include "broker_client/memory.h"
#include "core/base.h"
#include "net/mqtt_decode.h"
#include "session/gateway_shard.h"
#include "sim/network.h"

enum {
    SHARDS_MAX = 2,
    CLIENTS = 4,
    OUTPUT_BYTES = 1 << 20,
    ROUNDS_MAX = 20000,
    INPUT_BYTES_MAX = 4096,
    MOVES_MAX = 256,
    MS = 1000000,
    END_MS = 120000 /* longer than any timeout */
};

enum move {
    MOVE_SEND_FIRST,
    MOVE_SEND_LAST = 3,
    MOVE_SHUTDOWN,
    MOVE_RESET,
    MOVE_TIME,
    MOVE_STALL /* stops reading, or goes on */
};

struct client {
    struct sim_peer *peer;
    bool is_stalled;
    unsigned char *output; /* what of the gateway's stream is not yet a whole packet */
    uint32_t output_bytes;
};

struct gateway_world {
    struct sim_world *world;
    struct sockaddr_storage address;
    uint32_t shard_count;
    struct heap_budget budget;
    struct heap heap;
    struct hub_limits hub_limits;
    struct net_limits net_limits;
    struct net_shared net_shared;
    struct hub_shared hub_shared;
    struct gateway_common common;
    struct memory_store *store;
    struct ring *rings[SHARDS_MAX];
    struct shard *peers[SHARDS_MAX];
    struct hub *hubs[SHARDS_MAX];
    struct gateway_shard shards[SHARDS_MAX];
    struct client clients[CLIENTS];
};

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void set_limits(struct gateway_world *gateway, bool is_small)
{
    gateway->net_limits = (struct net_limits){.connections_max = is_small ? 2 : 64,
                                              .packet_bytes_max = is_small ? 128 : 65536,
                                              .connect_timeout_ms = 5000,
                                              .pending_bytes_max = is_small ? 256 : 65536,
                                              .input_bytes_per_turn_max = is_small ? 64 : 65536,
                                              .linger_ms = 1000,
                                              .topic_bytes_max = is_small ? 8 : 1024,
                                              .topic_levels_max = is_small ? 3 : 64,
                                              .backlog = 16};
    gateway->hub_limits = (struct hub_limits){.sessions_max = is_small ? 3 : 64,
                                              .subscriptions_max = is_small ? 2 : 64,
                                              .window_max = is_small ? 1 : 16,
                                              .inbound_max = is_small ? 1 : 16,
                                              .unreleased_max = is_small ? 2 : 16,
                                              .client_id_bytes_max = is_small ? 4 : 256,
                                              .topic_bytes_max = is_small ? 8 : 1024,
                                              .topic_levels_max = is_small ? 3 : 64,
                                              .pending_bytes_max = is_small ? 256 : 65536,
                                              .topics_max = is_small ? 2 : 64,
                                              .filters_max = is_small ? 3 : 64,
                                              .recent_entries_max = is_small ? 2 : 64,
                                              .recent_bytes_max = 65536,
                                              .reads_max = is_small ? 1 : 8,
                                              .session_expiry_ms = 3600000,
                                              .allow_anonymous = true};
}

static int create_broker(void *store, const struct broker_options *options,
                         struct broker **out_broker)
{
    return memory_broker_create(store, options, out_broker);
}

static void set_faults(struct gateway_world *gateway, bool has_faults)
{
    struct sim_faults faults = {0};
    if (has_faults)
        faults = (struct sim_faults){.receive_short = 32768,
                                     .receive_again = 8192,
                                     .send_short = 32768,
                                     .send_again = 8192,
                                     .spurious_readable = 4096,
                                     .event_late = 8192,
                                     .move_failed = 4096,
                                     .delay_max_ns = MS};
    sim_world_set_faults(gateway->world, &faults);
}

static void create_shards(struct gateway_world *gateway)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        const struct ring_options options = {.sockets_max = 64};
        char error[128];
        int result = ring_create(&options, &gateway->rings[i], error, sizeof(error));
        ps_assert(result == 0);
    }
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        int result = gateway_shard_create(&gateway->shards[i], &gateway->common, i, i + 1);
        ps_assert(result == 0);
        result = ring_start(gateway->rings[i]);
        ps_assert(result == 0);
    }
    gateway->address.ss_family = AF_INET;
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        int result = net_listen(gateway->hubs[i]->net, &gateway->address, sizeof(gateway->address));
        ps_assert(result == 0);
    }
}

static struct gateway_world *gateway_create(uint8_t kind)
{
    struct gateway_world *gateway = calloc(1, sizeof(*gateway));
    ps_assert(gateway != NULL);
    const struct sim_options sim = {.seed = 1, .start_wall_ms = 1, .buffer_bytes = 4096};
    gateway->world = sim_world_create(&sim);
    set_faults(gateway, (kind & 2) != 0);
    gateway->shard_count = 1 + (kind & 1);
    gateway->budget.bytes_max = 64 << 20;
    heap_init(&gateway->heap, &gateway->budget);
    set_limits(gateway, (kind & 4) != 0);
    gateway->hub_shared = (struct hub_shared){
        .seed = 1, .hubs = gateway->hubs, .hub_count = gateway->shard_count, .start_ms = 1};
    const struct memory_store_config store = {.memory_bytes = 1 << 20,
                                              .partition_count = 2,
                                              .partition_levels = 1,
                                              .shard_count = (uint16_t)gateway->shard_count,
                                              .hash_seed = 1};
    gateway->common = (struct gateway_common){.budget = &gateway->budget,
                                              .hub_limits = &gateway->hub_limits,
                                              .net_limits = &gateway->net_limits,
                                              .net_shared = &gateway->net_shared,
                                              .hub_shared = &gateway->hub_shared,
                                              .rings = gateway->rings,
                                              .peers = gateway->peers,
                                              .sockets_max = 64,
                                              .mailbox_entries_max = 256,
                                              .mailbox_reserved_max = 128,
                                              .mailbox_bytes_max = 1 << 20};
    int result = memory_store_create(&store, &gateway->heap, &gateway->store);
    gateway->common.brokers = (struct broker_maker){gateway->store, create_broker};
    ps_assert(result == 0);
    create_shards(gateway);
    return gateway;
}

static void gateway_destroy(struct gateway_world *gateway)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        gateway_shard_end_broker(&gateway->shards[i]);
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        gateway_shard_end_hub(&gateway->shards[i]);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        gateway_shard_destroy(&gateway->shards[i]);
        ring_destroy(gateway->rings[i]);
    }
    memory_store_destroy(gateway->store);
    ps_assert(sim_world_stream_count(gateway->world) == 0);
    sim_world_destroy(gateway->world);
    heap_deinit(&gateway->heap);
    ps_assert(heap_budget_bytes_used(&gateway->budget) == 0);
    free(gateway);
}

/* A packet that a server sends, as 3.1.1 has it; a client of level 5 gets one refusal, as 5.0. */
static void check_packet(const unsigned char *bytes, const struct mqtt_frame *frame)
{
    struct mqtt_packet packet;
    enum mqtt_reason reason = mqtt_decode(bytes, frame, MQTT_3_1_1, &packet);
    if (reason != MQTT_GOOD)
        reason = mqtt_decode(bytes, frame, MQTT_5_0, &packet);
    ps_assert(reason == MQTT_GOOD);
    bool is_from_client = packet.type == MQTT_CONNECT || packet.type == MQTT_SUBSCRIBE ||
                          packet.type == MQTT_UNSUBSCRIBE || packet.type == MQTT_PINGREQ ||
                          packet.type == MQTT_DISCONNECT;
    ps_assert(!is_from_client);
}

static void check_output(struct client *client)
{
    uint32_t at = 0;
    struct mqtt_frame frame;
    while (at < client->output_bytes) {
        enum mqtt_frame_state state =
            mqtt_frame_find(client->output + at, client->output_bytes - at, OUTPUT_BYTES, &frame);
        ps_assert(state != MQTT_FRAME_BAD);
        if (state == MQTT_FRAME_NEEDS_MORE)
            break;
        check_packet(client->output + at, &frame);
        at += frame.packet_bytes;
    }
    client->output_bytes -= at;
    memmove(client->output, client->output + at, client->output_bytes);
}

static void client_end(struct client *client, bool is_reset)
{
    if (client->peer == NULL)
        return;
    if (is_reset)
        sim_client_reset(client->peer);
    else
        sim_client_close(client->peer);
    free(client->output);
    *client = (struct client){0};
}

/* True when something was read. */
static bool client_read(struct client *client)
{
    if (client->peer == NULL || client->is_stalled || !sim_client_is_readable(client->peer))
        return false;
    int32_t result = sim_client_receive(client->peer, client->output + client->output_bytes,
                                        OUTPUT_BYTES - client->output_bytes);
    if (result == -EAGAIN)
        return false;
    if (result <= 0) {
        client_end(client, false);
        return true;
    }
    client->output_bytes += (uint32_t)result;
    check_output(client);
    return true;
}

static bool turn(struct gateway_world *gateway)
{
    bool has_more = false;
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        has_more |= shard_turn(gateway->peers[i], false);
        has_more |= sim_ring_has_event(gateway->rings[i]);
    }
    for (uint32_t i = 0; i < CLIENTS; i++)
        has_more |= client_read(&gateway->clients[i]);
    return has_more;
}

/* Lets the gateway work until nothing is left to do before `until_ns`, and time pass until then. */
static void run_until(struct gateway_world *gateway, uint64_t until_ns)
{
    for (uint32_t round = 0; round < ROUNDS_MAX; round++) {
        if (turn(gateway))
            continue;
        uint64_t next_ns = sim_next_event_ns(gateway->world);
        for (uint32_t i = 0; i < gateway->shard_count; i++)
            next_ns = ps_min_u64(next_ns, shard_deadline(gateway->peers[i]));
        if (next_ns > until_ns) {
            sim_world_advance(gateway->world, until_ns);
            return;
        }
        sim_world_advance(gateway->world, next_ns);
    }
    ps_assert_failed("it does not come to rest", __FILE__, __LINE__);
}

static void run_ms(struct gateway_world *gateway, uint64_t ms)
{
    run_until(gateway, sim_world_now_ns(gateway->world) + ms * MS);
}

static void client_send(struct gateway_world *gateway, struct client *client, const uint8_t *bytes,
                        uint32_t count)
{
    if (client->peer == NULL) {
        client->peer = sim_client_connect(gateway->world, &gateway->address);
        if (client->peer == NULL)
            return;
        client->output = malloc(OUTPUT_BYTES);
        ps_assert(client->output != NULL);
    }
    /* What finds no room is lost: the stream is then as damaged as any. */
    (void)sim_client_send(client->peer, bytes, count);
}

static void play(struct gateway_world *gateway, const uint8_t *bytes, size_t count)
{
    size_t at = 0;
    for (uint32_t move = 0; at + 2 <= count && move < MOVES_MAX; move++) {
        uint8_t what = bytes[at] & 7;
        struct client *client = &gateway->clients[bytes[at] >> 3 & (CLIENTS - 1)];
        uint32_t number = bytes[at + 1];
        at += 2;
        if (what <= MOVE_SEND_LAST) {
            uint32_t length = (uint32_t)ps_min_u64(number, count - at);
            client_send(gateway, client, bytes + at, length);
            at += length;
        } else if (what == MOVE_SHUTDOWN && client->peer != NULL) {
            sim_client_shutdown(client->peer);
        } else if (what == MOVE_RESET) {
            client_end(client, true);
        } else if (what == MOVE_STALL) {
            client->is_stalled = client->peer != NULL && !client->is_stalled;
        }
        run_ms(gateway, what == MOVE_TIME ? number * 100 : 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0 || count > INPUT_BYTES_MAX)
        return 0;
    struct gateway_world *gateway = gateway_create(bytes[0]);
    play(gateway, bytes + 1, count - 1);
    for (uint32_t i = 0; i < CLIENTS; i++)
        client_end(&gateway->clients[i], i % 2 == 1);
    set_faults(gateway, false);
    run_ms(gateway, END_MS);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        struct hub *hub = gateway->hubs[i];
        ps_assert(net_counters(hub->net)->connections == 0);
        ps_assert(hub->counters.sessions == 0 && hub->counters.subscriptions == 0);
        ps_assert(hub_is_idle(hub));
    }
    gateway_destroy(gateway);
    return 0;
}
