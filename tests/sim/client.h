/*
 * A simulated MQTT client over the simulated network: it does what its scenario lets it do, keeps
 * to the protocol, checks that the gateway does too (packet ids, order of acknowledgements, session
 * present), and tells the model what it did and received.
 *
 * It is a client with a memory: what it published and was not acknowledged it sends again when its
 * session is present, and QoS 2 packet ids that it received stay known until their PUBREL.
 *
 * Owner: the run. Nothing of it is shared.
 */
#ifndef PENSTOCK_TESTS_SIM_CLIENT_H
#define PENSTOCK_TESTS_SIM_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/random.h"
#include "net/mqtt_packet.h"
#include "sim/model.h"
#include "sim/network.h"
#include "sim/scenario.h"

enum {
    CLIENT_EVENTS = 48,        /* remembered for a report */
    CLIENT_OLDER_MAX = 4,      /* connections that the gateway still has to close */
    CLIENT_IN_FLIGHT_MAX = 256 /* unacknowledged publishes */
};

enum client_state {
    CLIENT_OFFLINE,
    CLIENT_CONNECTING, /* CONNECT is on its way, CONNACK is due */
    CLIENT_ONLINE,
    CLIENT_LEAVING /* DISCONNECT is on its way; the gateway closes */
};

/* What the gateway has of this ClientId, as far as the client can know. */
enum client_stored { STORED_NONE, STORED_DURABLE, STORED_UNKNOWN };

/* A queue of bytes; what is dropped at its front costs nothing. */
struct client_bytes {
    unsigned char *memory;
    unsigned char *bytes; /* the first one, in `memory` */
    uint32_t count;
    uint32_t max; /* of `memory` */
};

/* A publish of its own that is not done. */
struct client_publish {
    uint32_t message;
    uint16_t packet_id;
    uint8_t qos;
    bool is_received; /* PUBREC came: PUBREL goes out */
};

/* A delivery that is not done. */
struct client_delivery {
    uint16_t packet_id;
    uint8_t qos;
    bool is_acknowledged; /* QoS 2: PUBREC went out */
    bool is_forgotten;    /* QoS 2: released by a gateway that may have lost it to a crash */
};

struct client_ack {
    uint8_t type;
    uint16_t packet_id;
};

struct client_queue {
    struct client_ack *items;
    uint32_t first;
    uint32_t count; /* behind the last */
    uint32_t max;
};

struct client_event {
    uint64_t at_ns;
    uint64_t clock;
    uint32_t message; /* UINT32_MAX: none */
    uint32_t number;  /* topic, code or count, by kind */
    uint16_t packet_id;
    uint8_t kind; /* enum mqtt_type, or 0 with `text` */
    uint8_t qos;
    bool is_out;
    bool is_dup;
    bool is_retain;
    const char *text;
};

/* A SUBSCRIBE or UNSUBSCRIBE that waits for its answer. */
struct client_request {
    uint16_t packet_id; /* 0: free */
    bool is_subscribe;
    uint32_t count;
    uint32_t life;
    uint64_t asked_at;
    uint32_t entries[16]; /* entries, or filters of an UNSUBSCRIBE */
};

struct client {
    uint32_t number;
    const struct scenario *scenario;
    struct model *model;
    struct sim_world *world;
    const struct sockaddr_storage *address;
    struct random random;
    bool is_tracing;
    bool is_settling; /* no more news of its own; connects again if it has a session */
    char id[32];
    uint8_t level;
    bool is_anonymous;
    enum client_state state;
    enum client_stored stored;
    bool is_going;      /* for good */
    bool must_be_clean; /* a clean CONNECT of unknown outcome is repeated */
    uint32_t life;      /* UINT32_MAX: none */
    uint64_t next_action_ns;
    uint64_t begins_ns; /* where everybody subscribes first: other actions from here on */
    uint64_t ping_ns;   /* when a PINGREQ is due; UINT64_MAX: never */

    /* This connection. */
    struct sim_peer *peer;
    struct client_bytes out;
    struct client_bytes in;
    uint64_t connected_at; /* the model's clock */
    bool is_clean;
    bool is_resumed;
    bool is_silent;
    bool is_cut_off; /* the gateway has died, or begun to stop: it reads nothing more of this */
    uint16_t keepalive_seconds;
    uint32_t will; /* message, UINT32_MAX: none */
    uint64_t reads_again_ns;
    uint64_t acks_again_ns;
    uint64_t writes_whole_ns;
    struct client_queue expected; /* PUBACKs and PUBRECs due to its publishes, in order */
    struct client_queue releases; /* PUBCOMPs due, in order */
    struct client_queue acks;     /* of its own, not yet written */
    struct client_request requests[4];
    struct sim_peer *older[CLIENT_OLDER_MAX];

    /* The session. */
    struct client_publish publishes[CLIENT_IN_FLIGHT_MAX];
    uint32_t publish_count;
    struct client_delivery *deliveries;
    uint32_t delivery_count;
    uint32_t deliveries_max;
    uint16_t next_packet_id;
    bool has_subscribed;

    uint64_t qos_0_sent;
    uint64_t connect_count;
    uint64_t packets_received;
    struct client_event events[CLIENT_EVENTS];
    uint32_t event_count;
};

void client_init(struct client *client, uint32_t number, const struct scenario *scenario,
                 struct model *model, struct sim_world *world,
                 const struct sockaddr_storage *address);
void client_deinit(struct client *client);

/* Reads, writes and does what is due. True: something happened. */
bool client_step(struct client *client);

/* When it wants to be stepped although nothing comes; UINT64_MAX: never. */
uint64_t client_deadline_ns(const struct client *client);

/* The gateway is killed now. */
void client_on_crash(struct client *client, bool is_lossy);

/* The gateway is stopped in order from now on. */
void client_on_stop(struct client *client);

/* No more news: it sets everything right that is open, connecting again if it has a session. */
void client_settle(struct client *client);

/* Nothing is open: its publishes are acknowledged, its deliveries acknowledged, its requests
 * answered, older connections closed. */
bool client_is_at_rest(const struct client *client);

/* After settling: CONNECT with a clean session, then DISCONNECT, so that nothing stays. */
void client_leave_for_good(struct client *client);
bool client_has_left(const struct client *client);

/* Prints what it did and received last. */
void client_print_events(const struct client *client);

#endif
