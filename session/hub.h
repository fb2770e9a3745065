/*
 * The hub: everything that the session layer keeps on one shard. It joins the connection layer
 * below it, the shard's sessions and subscription tables, and the partitions that this shard owns.
 *
 * Steps of the turn, registered by hub_create around those of the connection layer (see
 * session/README.md): receive (net), mail, broker, catch-up, timers (net), housekeeping, send (net)
 *
 * Owner and thread: one shard. What other shards get of it goes through hub_mail.h.
 */
#ifndef PENSTOCK_SESSION_HUB_H
#define PENSTOCK_SESSION_HUB_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "core/pool.h"
#include "core/shard.h"
#include "core/table.h"
#include "net/net.h"
#include "session/damper.h"
#include "session/hub_counters.h"
#include "session/recent.h"
#include "session/topic_index.h"

struct authorizer;
struct hub_mail;
struct opening_wait;
struct log;
struct outbox_mail;
struct owner;
struct progress;
struct session;
struct store_operation;
struct subscribe_job;
struct sys_publisher;
struct wanted;

enum {
    HUB_PARTITIONS_MAX = 1024,
    HUB_PAUSE_MS = 10 /* until the broker is asked again for what it could not do */
};

/* Values of the configuration; those that SIGHUP may change are read at each use. */
struct hub_limits {
    uint32_t sessions_max;      /* per shard */
    uint32_t subscriptions_max; /* per session */
    uint32_t window_max;        /* unacknowledged deliveries of a session */
    uint32_t inbound_max;       /* unanswered publishes of a session */
    uint32_t unreleased_max;    /* QoS 2 packet ids of a session that wait for PUBREL */
    uint32_t client_id_bytes_max;
    uint32_t topic_bytes_max;
    uint32_t topic_levels_max;
    uint32_t pending_bytes_max;  /* unsent bytes of one connection */
    uint32_t topics_max;         /* entries of a topic table */
    uint32_t filters_max;        /* of a filter table */
    uint32_t recent_entries_max; /* hand-overs kept for near cursors */
    uint32_t recent_bytes_max;
    uint32_t fan_out_max;       /* subscribers looked at in one turn; 0: 16,384 */
    uint32_t reads_max;         /* reads of late sessions under way, per shard */
    uint64_t retained_max;      /* values of the gateway; 0: any number */
    uint32_t takeovers_max;     /* of one ClientId in DAMPER_WINDOW_MS without a delay; 0: any */
    uint32_t takeover_delay_ms; /* of those beyond */
    uint64_t session_expiry_ms; /* of a durable session without a connection */
    uint32_t sys_interval_ms;   /* 0: no $SYS topics */
    bool allow_anonymous;       /* also on other than loopback addresses */
};

/* Of a shard in a partition. */
enum hub_lateness {
    HUB_ON_TIME,
    HUB_READS,     /* its mailbox was full: it reads what it missed */
    HUB_WANTS_READ /* one could not be made, or failed: again soon */
};

/* Shared by the hubs of a gateway; immutable but for what is atomic. */
struct hub_shared {
    uint64_t seed; /* of all hashes of peers' strings */
    uint64_t run;  /* number of this gateway's run; names its checkpoint lines */
    struct hub **hubs;
    uint32_t hub_count;
    uint64_t start_ms;                /* wall time */
    _Atomic uint64_t retained_values; /* over all owners */
};

/* Sessions, linked by next_late and previous_late: index + 1; 0: none. */
struct hub_sessions {
    uint32_t first;
    uint32_t last;
};

struct hub {
    struct shard *shard;
    struct heap *heap;
    struct net *net;
    struct broker *broker;
    struct log *log; /* NULL: nothing is logged */
    struct authorizer *authorizer;
    const struct hub_limits *limits;
    const struct net_limits *net_limits;
    struct net_shared *net_shared;
    struct hub_shared *shared;
    struct owner *owner;
    struct progress *progress;
    struct wanted *wanted;
    struct topic_index index; /* filters to this shard's subscribers */
    struct table sessions;    /* by client id */
    struct pool session_pool;
    struct pool subscription_pool;
    struct pool cursor_pool;
    struct pool due_pool; /* retained_due.h */
    struct recent recent;
    uint16_t partition_count;
    uint16_t partition_levels;
    uint64_t *floors;  /* by partition: everything up to here was handed over and fanned out */
    uint8_t *lateness; /* by partition, enum hub_lateness */
    uint32_t late_partitions;
    uint32_t late_unread;           /* of these, those that have no read under way: it failed */
    uint64_t job;                   /* number of the fan-out under way, or of the last one */
    struct fan_out *fan_out;        /* NULL, or a large one that goes on in the next turn */
    uint32_t fan_out_left;          /* subscribers that this turn still looks at */
    struct hub_sessions late;       /* those that can catch up now */
    struct hub_sessions read_waits; /* those that wait for a free read, or for memory */
    uint32_t read_waiters;          /* counted so in this turn's step */
    uint32_t read_count;            /* reads under way */
    uint64_t reads_due_ns;          /* one failed: none is begun before */
    uint32_t wanting_first;         /* sessions whose QoS 2 steps want a write: index + 1 */
    uint32_t retry_first;           /* sessions whose publish waits for room: index + 1 */
    uint64_t full_owners; /* those that refused a publish since they were all tried again */
    struct outbox_mail *outbox_first;
    struct outbox_mail *outbox_last;
    uint32_t *answers_due;               /* by shard: requests whose answer's room is reserved */
    uint32_t answers_max;                /* of each */
    struct store_operation *store_first; /* refused by the broker's full queue */
    struct store_operation *store_last;
    struct store_operation *store_all; /* reads and writes of sessions under way */
    uint32_t store_count;              /* reads and writes of sessions under way, these included */
    struct subscribe_job *subscribe_jobs; /* SUBSCRIBEs and UNSUBSCRIBEs under way */
    struct damper damper;
    struct opening_wait
        *delayed_first; /* takeovers that have to wait, in the order of their time */
    struct opening_wait *delayed_last;
    bool is_stopping;          /* nothing is begun in the background any more */
    bool is_at_rest;           /* the gateway stops and nothing is under way: no snapshots now */
    bool is_ending;            /* hub_destroy: nobody is told anything any more */
    bool holds_mail;           /* some could not be handled and is looked at again soon */
    bool wants_turn;           /* something was asked of the broker after its step */
    struct sys_publisher *sys; /* shared; NULL: no $SYS */
    uint64_t sys_due_ns;
    uint32_t sys_next; /* entry of the round under way */
    uint64_t random_state;
    struct hub_counters counters;
};

struct hub_options {
    struct shard *shard;
    struct heap *heap;
    struct broker *broker;
    struct log *log;
    struct authorizer *authorizer;
    const struct hub_limits *limits;
    const struct net_limits *net_limits;
    struct net_shared *net_shared;
    struct hub_shared *shared;
    struct ring *const *rings;
    uint32_t sockets_max;
    struct sys_publisher *sys;
    uint64_t random_seed;
};

/* 0 or -ENOMEM. */
int hub_create(const struct hub_options *options, struct hub **out_hub);

/* Ends every session without a trace; connections close. The broker's handle is the caller's, and
 * gone by now: what it was asked is freed. */
void hub_destroy(struct hub *hub);

/* The shard that a ClientId's session lives on. */
uint32_t hub_home_shard(const struct hub *hub, const void *client_id, uint32_t bytes);

uint32_t hub_owner_of(const struct hub *hub, uint16_t partition);

/* Posts a request to an owner. What finds no room waits in `room`, in order; that memory is the
 * hub's until the answer. */
void hub_request(struct hub *hub, uint32_t to, const struct hub_mail *mail,
                 struct outbox_mail *room);

/* Source, owner and destination are this shard, and no mail is before what comes now: it needs no
 * queue. */
static inline bool hub_is_direct(const struct hub *hub, uint32_t to)
{
    return to == hub->shard->index && mailbox_is_clear(hub->shard->inboxes[to]);
}

/* A publish, or a record that an owner hands over; a publish is done here and now when it stays on
 * this shard and nothing is before it. False when there is no room: the caller tries again after a
 * later turn. */
bool hub_post(struct hub *hub, uint32_t to, const struct hub_mail *mail, uint32_t bytes);

/* Nothing is under way any more that would be lost with the hub: requests, appends, writes. */
bool hub_is_idle(const struct hub *hub);

/* An owner's answer, into the room that the request reserved. */
void hub_answer(struct hub *hub, uint32_t to, const struct hub_mail *mail);

uint64_t hub_random(struct hub *hub);

#endif
