/*
 * The table of configuration keys; see gateway_config.h. Stateless.
 */
#include "session/gateway_config.h"

#include "core/base.h"
#include "core/mailbox.h"
#include "core/shard.h"
#include "core/system_memory.h"
#include "core/topology.h"
#include "session/recent.h"

enum {
    /* Of a small message: so many entries are needed for such to fill session.recent_bytes_max. */
    RECENT_ENTRY_BYTES = 128,
    /* Tables and buffers of a shard that starts: 870 KiB where measured, and room to make them. */
    SHARD_BYTES_MIN = 1 << 20,
    /* Of the embedded broker and one shard: batches that gather and that are written. */
    SHARD_BATCHES_BYTES = 2 << 20,
    SHARD_TAIL_BYTES_MIN = 2 << 20,
    SHARD_CACHE_BYTES_MIN = 256 << 10,
    TAIL_BYTES_DEFAULT = 128 << 20,
    CACHE_BYTES_DEFAULT = 32 << 20
};

#define AT(field) offsetof(struct gateway_config, field)

static const char *const log_levels[] = {"debug", "info", "warning", "error", "fatal", NULL};
static const char *const broker_types[] = {"embedded", "memory", NULL};
static const char *const commits[] = {"synced", "written", "memory", NULL};
static const char *const ring_modes[] = {"auto", "direct", "plain", NULL};

const struct config_key gateway_config_keys[] = {
    {"listen", CONFIG_LIST, "127.0.0.1:1883", 1, NET_LISTENERS_MAX, NULL, NULL, false,
     "addresses to listen on, HOST:PORT; port 0 takes a free one", AT(listen)},
    {"data_dir", CONFIG_STRING, "./data", 0, 4095, NULL, NULL, false,
     "directory of what the gateway keeps: its log, and its sessions, retained values and wills",
     AT(data_dir)},
    {"shards", CONFIG_INTEGER, "0", 0, SHARD_COUNT_MAX, "threads", NULL, false,
     "event loop threads; 0: one per usable core", AT(shards)},
    {"log.level", CONFIG_CHOICE, "info", 0, 0, NULL, log_levels, true, "least level that is logged",
     AT(log_level)},
    {"ring.descriptors", CONFIG_CHOICE, "auto", 0, 0, NULL, ring_modes, false,
     "io_uring direct descriptors, plain ones, or what the probe at start finds", AT(ring_mode)},
    {"admin.listen", CONFIG_STRING, "", 0, 255, NULL, NULL, false,
     "HOST:PORT for GET /metrics, /healthz, /readyz; empty: off", AT(admin_listen)},
    {"memory.bytes_max", CONFIG_BYTES, "0", 0, UINT64_MAX >> 1, NULL, NULL, false,
     "memory of all shards together; 0: three quarters of what the host or its control group has",
     AT(memory_bytes_max)},

    {"connection.count_max", CONFIG_INTEGER, "1000000", 1, 100000000, "connections", NULL, false,
     "connections of the gateway; beyond it CONNECT is refused with code 3", AT(connections_max)},
    {"connection.accepts_per_second_max", CONFIG_INTEGER, "20000", 0, 10000000,
     "accepts per second", NULL, true,
     "accepted connections per second over all shards; 0: unlimited", AT(accepts_per_second_max)},
    {"connection.connect_timeout", CONFIG_DURATION, "10s", 100, 600000, NULL, NULL, true,
     "time in which CONNECT has to come", AT(connect_timeout_ms)},
    {"connection.packet_bytes_max", CONFIG_BYTES, "1M", 256, 268435461, NULL, NULL, true,
     "largest packet that is read", AT(packet_bytes_max)},
    {"connection.pending_bytes_max", CONFIG_BYTES, "1M", 4096, 1073741824, NULL, NULL, true,
     "unsent bytes of one connection; QoS 0 beyond it is dropped, QoS 1 and 2 wait in the log",
     AT(pending_bytes_max)},
    {"connection.input_bytes_per_turn_max", CONFIG_BYTES, "256k", 16384, 67108864, NULL, NULL, true,
     "bytes that a shard reads before it goes on with its other work",
     AT(input_bytes_per_turn_max)},
    {"connection.keepalive_max", CONFIG_INTEGER, "0", 0, 65535, "seconds", NULL, true,
     "longest keepalive; a client that asks for more or for none gets this; 0: as the client says",
     AT(keepalive_seconds_max)},
    {"connection.linger", CONFIG_DURATION, "1s", 0, 60000, NULL, NULL, true,
     "time for the last bytes of a connection that is being closed; at the gateway's end, without "
     "taking any",
     AT(linger_ms)},
    {"connection.per_source_max", CONFIG_INTEGER, "50000", 0, 100000000, "connections", NULL, true,
     "connections from one source address or prefix, what is above is closed at once; 0: any "
     "number",
     AT(connections_per_source_max)},
    {"connection.per_source_on_loopback", CONFIG_BOOLEAN, "no", 0, 0, NULL, NULL, true,
     "loopback addresses are sources too", AT(is_loopback_limited)},
    {"connection.source_prefix_ipv4", CONFIG_INTEGER, "32", 1, 32, "bits", NULL, false,
     "addresses that have these leading bits in common are one source", AT(source_prefix_ipv4)},
    {"connection.source_prefix_ipv6", CONFIG_INTEGER, "64", 1, 128, "bits", NULL, false,
     "the same for IPv6", AT(source_prefix_ipv6)},
    {"connection.publish_messages_per_second_max", CONFIG_INTEGER, "2000000", 0, 1000000000,
     "messages per second", NULL, true,
     "publishes of one connection; who is faster is read more slowly; 0: unlimited",
     AT(publish_messages_per_second_max)},
    {"connection.publish_bytes_per_second_max", CONFIG_BYTES, "512M", 0, 1099511627776, NULL, NULL,
     true, "bytes of publishes of one connection in a second, likewise; 0: unlimited",
     AT(publish_bytes_per_second_max)},
    {"overload.memory_percent", CONFIG_INTEGER, "80", 1, 100, "percent", NULL, true,
     "share of memory.bytes_max from which on a shard protects itself; 100: never",
     AT(overload_memory_percent)},
    {"overload.drift", CONFIG_DURATION, "100ms", 0, 60000, NULL, NULL, true,
     "mean length of a shard's turns from which on it protects itself; 0: never",
     AT(overload_drift_ms)},
    {"connection.backlog", CONFIG_INTEGER, "4096", 1, 1048576, "connections", NULL, false,
     "connections that wait to be accepted", AT(backlog)},

    {"session.expiry", CONFIG_DURATION, "7d", 1000, UINT64_MAX >> 1, NULL, NULL, true,
     "how long a session with clean session = 0 is kept without a connection",
     AT(session_expiry_ms)},
    {"session.takeovers_max", CONFIG_INTEGER, "10", 0, 1000000, "takeovers", NULL, true,
     "times in ten seconds that a ClientId's session passes to a new connection without a delay; "
     "0: "
     "any number",
     AT(takeovers_max)},
    {"session.takeover_delay", CONFIG_DURATION, "1s", 0, 60000, NULL, NULL, true,
     "what a new connection waits beyond that, so that two clients with one ClientId do not fight",
     AT(takeover_delay_ms)},
    {"session.subscriptions_max", CONFIG_INTEGER, "10000", 1, 1000000, "subscriptions", NULL, true,
     "subscriptions of one session", AT(subscriptions_max)},
    {"session.window_max", CONFIG_INTEGER, "256", 1, 32768, "messages", NULL, true,
     "unacknowledged QoS 1 and 2 deliveries of one session", AT(window_max)},
    {"session.inflight_in_max", CONFIG_INTEGER, "1024", 1, 65535, "messages", NULL, true,
     "unanswered QoS 1 and 2 publishes of one session; beyond it the client is left unread",
     AT(inbound_max)},
    {"session.unreleased_max", CONFIG_INTEGER, "4096", 1, 65535, "packet ids", NULL, true,
     "QoS 2 packet ids of one session that wait for PUBREL; a client that opens more is closed",
     AT(unreleased_max)},
    {"session.client_id_bytes_max", CONFIG_BYTES, "256", 23, 400, NULL, NULL, true,
     "length of a ClientId", AT(client_id_bytes_max)},
    {"topic.bytes_max", CONFIG_BYTES, "4096", 32, 65535, NULL, NULL, true,
     "length of a topic name or filter", AT(topic_bytes_max)},
    {"topic.levels_max", CONFIG_INTEGER, "200", 1, 65535, "levels", NULL, true,
     "levels of a topic name or filter", AT(topic_levels_max)},
    {"topic.cached_max", CONFIG_INTEGER, "262144", 16, 1000000000, "topics", NULL, false,
     "entries of each shard's topic table", AT(topics_max)},
    {"topic.filters_max", CONFIG_INTEGER, "20000000", 1, 1000000000, "filters", NULL, false,
     "different filters that each shard knows", AT(filters_max)},
    {"retained.count_max", CONFIG_INTEGER, "1000000", 0, 1000000000, "values", NULL, true,
     "retained values; beyond it a topic without one gets none; 0: any number", AT(retained_max)},
    {"session.recent_bytes_max", CONFIG_BYTES, "8M", 65536, 1073741824, NULL, NULL, false,
     "hand-overs that each shard keeps for sessions just behind", AT(recent_bytes_max)},
    {"session.reads_max", CONFIG_INTEGER, "64", 1, 4096, "reads", NULL, true,
     "reads of the log that a shard has under way for sessions that are behind", AT(reads_max)},

    {"broker.type", CONFIG_CHOICE, "embedded", 0, 0, NULL, broker_types, false,
     "where messages, sessions, retained values and wills are: on the disk below data_dir, or in "
     "memory, gone when the gateway ends",
     AT(broker_type)},
    {"broker.commit", CONFIG_CHOICE, "synced", 0, 0, NULL, commits, false,
     "when a message counts as stored, and is acknowledged: on the disk; written, which the "
     "gateway's death survives; taken into memory. The latter two are on the disk within a second",
     AT(broker_commit)},
    {"broker.retention_bytes", CONFIG_BYTES, "0", 0, UINT64_MAX >> 1, NULL, NULL, false,
     "size of the log, beyond which its oldest messages go; 0: half of the file system, at most "
     "10G",
     AT(broker_retention_bytes)},
    {"broker.retention_age", CONFIG_DURATION, "0", 0, UINT64_MAX >> 1, NULL, NULL, false,
     "age beyond which messages go, by whole segments: one is left an eighth of the age (at "
     "least a minute, or the age if that is less) after its first batch; 0: any",
     AT(broker_retention_age_ms)},
    {"broker.hold_bytes", CONFIG_BYTES, "0", 0, UINT64_MAX >> 1, NULL, NULL, false,
     "size of what is kept beyond that because a connected session has not had it yet; 0: an "
     "eighth of broker.retention_bytes",
     AT(broker_hold_bytes)},
    {"broker.segment_bytes", CONFIG_BYTES, "32M", 1048576, 1073741824, NULL, NULL, false,
     "size of a file of the log; messages go by whole files", AT(broker_segment_bytes)},
    {"broker.tail_bytes", CONFIG_BYTES, "0", 0, UINT64_MAX >> 1, NULL, NULL, false,
     "memory of the log's recent messages; 0: an eighth of memory.bytes_max, at most 128M",
     AT(broker_tail_bytes)},
    {"broker.cache_bytes", CONFIG_BYTES, "0", 0, UINT64_MAX >> 1, NULL, NULL, false,
     "memory of what sessions that are far behind read, and half as much for filters over the log; "
     "0: a 32nd of memory.bytes_max, at most 32M",
     AT(broker_cache_bytes)},
    {"broker.key_bytes_max", CONFIG_BYTES, "8G", 1048576, 1ULL << 44, NULL, NULL, false,
     "size on disk of sessions, retained values and wills; beyond it new ones are refused",
     AT(broker_key_bytes_max)},
    {"broker.memory_bytes", CONFIG_BYTES, "256M", 1048576, UINT64_MAX >> 1, NULL, NULL, false,
     "broker.type = memory: size of everything; the oldest messages go when it is full",
     AT(broker_memory_bytes)},
    {"broker.partitions", CONFIG_INTEGER, "16", 1, HUB_PARTITIONS_MAX, "partitions", NULL, false,
     "partitions of the log, as long as the data directory lives", AT(broker_partitions)},
    {"broker.partition_levels", CONFIG_INTEGER, "2", 0, 16, "levels", NULL, false,
     "topic levels that decide the partition, as long as the data directory lives; 0: the whole "
     "topic",
     AT(broker_partition_levels)},

    {"auth.allow_anonymous", CONFIG_BOOLEAN, "no", 0, 0, NULL, NULL, true,
     "clients without a user name also from other than loopback addresses, and beside a password "
     "file",
     AT(allow_anonymous)},
    {"auth.password_file", CONFIG_STRING, "", 0, 4095, NULL, NULL, true,
     "users and password hashes as mosquitto_passwd writes them; empty: none", AT(password_file)},
    {"sys.interval", CONFIG_DURATION, "10s", 0, 3600000, NULL, NULL, true,
     "how often $SYS topics are published; 0: never", AT(sys_interval_ms)},
};

const uint32_t gateway_config_key_count = ps_array_count(gateway_config_keys);

uint32_t gateway_config_shards(const struct gateway_config *config, const struct topology *topology)
{
    uint32_t count = config->shards == 0 ? topology->core_count : (uint32_t)config->shards;
    return ps_min_u32(count, SHARD_COUNT_MAX);
}

uint64_t gateway_config_memory_max(const struct gateway_config *config)
{
    return config->memory_bytes_max != 0 ? config->memory_bytes_max : system_memory_bytes() / 4 * 3;
}

/* A share of all memory, within these bounds, unless a size is configured. */
static uint64_t share_of_memory(const struct gateway_config *config, uint64_t configured,
                                uint32_t share, uint64_t minimum, uint64_t maximum)
{
    uint64_t bytes = gateway_config_memory_max(config) / share;
    if (configured != 0)
        return ps_max_u64(configured, minimum);
    return ps_max_u64(minimum, ps_min_u64(bytes, maximum));
}

uint64_t gateway_config_tail_bytes(const struct gateway_config *config, uint32_t shards)
{
    return share_of_memory(config, config->broker_tail_bytes, 8,
                           (uint64_t)shards * SHARD_TAIL_BYTES_MIN, TAIL_BYTES_DEFAULT);
}

uint64_t gateway_config_cache_bytes(const struct gateway_config *config, uint32_t shards)
{
    return share_of_memory(config, config->broker_cache_bytes, 32,
                           (uint64_t)shards * SHARD_CACHE_BYTES_MIN, CACHE_BYTES_DEFAULT);
}

/* What was left to a share of memory needs its least. */
static uint64_t broker_memory_min(const struct gateway_config *config, uint32_t shards)
{
    if (config->broker_type == GATEWAY_BROKER_MEMORY)
        return 0;
    uint64_t tail = ps_max_u64(config->broker_tail_bytes, (uint64_t)shards * SHARD_TAIL_BYTES_MIN);
    uint64_t cache =
        ps_max_u64(config->broker_cache_bytes, (uint64_t)shards * SHARD_CACHE_BYTES_MIN);
    return (uint64_t)shards * SHARD_BATCHES_BYTES + tail + cache;
}

uint64_t gateway_config_memory_min(const struct gateway_config *config, uint32_t shards)
{
    uint64_t mailbox = GATEWAY_MAILBOX_ENTRIES_MAX * sizeof(struct mail);
    uint64_t recent = config->recent_bytes_max / RECENT_ENTRY_BYTES * sizeof(struct recent_entry);
    return (uint64_t)shards * (SHARD_BYTES_MIN + recent + shards * mailbox) +
           broker_memory_min(config, shards);
}

void gateway_config_net_limits(const struct gateway_config *config, uint32_t shards,
                               struct net_limits *out_limits)
{
    uint32_t accepts = (uint32_t)config->accepts_per_second_max;
    *out_limits = (struct net_limits){
        .connections_max = (uint32_t)config->connections_max,
        .accepts_per_second_max = accepts == 0 ? 0 : (accepts + shards - 1) / shards,
        .packet_bytes_max = (uint32_t)config->packet_bytes_max,
        .connect_timeout_ms = (uint32_t)config->connect_timeout_ms,
        .pending_bytes_max = (uint32_t)config->pending_bytes_max,
        .input_bytes_per_turn_max = (uint32_t)config->input_bytes_per_turn_max,
        .keepalive_seconds_max = (uint32_t)config->keepalive_seconds_max,
        .linger_ms = (uint32_t)config->linger_ms,
        .topic_bytes_max = (uint32_t)config->topic_bytes_max,
        .topic_levels_max = (uint32_t)config->topic_levels_max,
        .backlog = (uint32_t)config->backlog,
        .connections_per_source_max = (uint32_t)config->connections_per_source_max,
        .is_loopback_limited = config->is_loopback_limited,
        .publish_rate = {config->publish_messages_per_second_max,
                         config->publish_bytes_per_second_max},
        .overload = {(uint32_t)config->overload_memory_percent,
                     (uint32_t)config->overload_drift_ms},
    };
}

void gateway_config_hub_limits(const struct gateway_config *config, struct hub_limits *out_limits)
{
    *out_limits = (struct hub_limits){
        .sessions_max = UINT32_MAX / 2,
        .subscriptions_max = (uint32_t)config->subscriptions_max,
        .window_max = (uint32_t)config->window_max,
        .inbound_max = (uint32_t)config->inbound_max,
        .unreleased_max = (uint32_t)config->unreleased_max,
        .client_id_bytes_max = (uint32_t)config->client_id_bytes_max,
        .topic_bytes_max = (uint32_t)config->topic_bytes_max,
        .topic_levels_max = (uint32_t)config->topic_levels_max,
        .pending_bytes_max = (uint32_t)config->pending_bytes_max,
        .topics_max = (uint32_t)config->topics_max,
        .filters_max = (uint32_t)config->filters_max,
        .recent_entries_max = (uint32_t)config->recent_bytes_max / RECENT_ENTRY_BYTES,
        .recent_bytes_max = (uint32_t)config->recent_bytes_max,
        .reads_max = (uint32_t)config->reads_max,
        .retained_max = config->retained_max,
        .takeovers_max = (uint32_t)config->takeovers_max,
        .takeover_delay_ms = (uint32_t)config->takeover_delay_ms,
        .session_expiry_ms = config->session_expiry_ms,
        .sys_interval_ms = (uint32_t)config->sys_interval_ms,
        .allow_anonymous = config->allow_anonymous,
    };
}
