/*
 * The configuration of a gateway: one structure of values and the one table of keys that describes
 * it. What a key means stands in the table's help, which --print-config prints.
 */
#ifndef PENSTOCK_SESSION_GATEWAY_CONFIG_H
#define PENSTOCK_SESSION_GATEWAY_CONFIG_H

#include "core/config.h"
#include "net/net.h"
#include "session/hub.h"

struct topology;

enum { GATEWAY_MAILBOX_ENTRIES_MAX = 32768 }; /* between two shards */

enum gateway_broker { GATEWAY_BROKER_EMBEDDED, GATEWAY_BROKER_MEMORY };

struct gateway_config {
    struct config_list listen;
    const char *data_dir;
    uint64_t shards;
    uint32_t log_level;
    uint32_t ring_mode;
    const char *admin_listen;
    uint64_t memory_bytes_max;

    uint64_t connections_max;
    uint64_t accepts_per_second_max;
    uint64_t connect_timeout_ms;
    uint64_t packet_bytes_max;
    uint64_t pending_bytes_max;
    uint64_t input_bytes_per_turn_max;
    uint64_t keepalive_seconds_max;
    uint64_t linger_ms;
    uint64_t backlog;
    uint64_t connections_per_source_max;
    bool is_loopback_limited;
    uint64_t source_prefix_ipv4;
    uint64_t source_prefix_ipv6;
    uint64_t publish_messages_per_second_max;
    uint64_t publish_bytes_per_second_max;
    uint64_t overload_memory_percent;
    uint64_t overload_drift_ms;

    uint64_t session_expiry_ms;
    uint64_t retained_max;
    uint64_t takeovers_max;
    uint64_t takeover_delay_ms;
    uint64_t subscriptions_max;
    uint64_t window_max;
    uint64_t inbound_max;
    uint64_t unreleased_max;
    uint64_t client_id_bytes_max;
    uint64_t topic_bytes_max;
    uint64_t topic_levels_max;
    uint64_t topics_max;
    uint64_t filters_max;
    uint64_t recent_bytes_max;
    uint64_t reads_max;

    uint32_t broker_type;   /* enum gateway_broker */
    uint32_t broker_commit; /* enum embedded_commit */
    uint64_t broker_retention_bytes;
    uint64_t broker_retention_age_ms;
    uint64_t broker_hold_bytes;
    uint64_t broker_segment_bytes;
    uint64_t broker_tail_bytes;
    uint64_t broker_cache_bytes;
    uint64_t broker_key_bytes_max;
    uint64_t broker_memory_bytes;
    uint64_t broker_partitions;
    uint64_t broker_partition_levels;

    bool allow_anonymous;
    const char *password_file;
    uint64_t sys_interval_ms;
};

extern const struct config_key gateway_config_keys[];
extern const uint32_t gateway_config_key_count;

/* The real number of shards, and of bytes that they may have together. */
uint32_t gateway_config_shards(const struct gateway_config *config,
                               const struct topology *topology);
uint64_t gateway_config_memory_max(const struct gateway_config *config);

/* What the embedded broker's recent records and cached blocks may take of these, over all shards.
 */
uint64_t gateway_config_tail_bytes(const struct gateway_config *config, uint32_t shards);
uint64_t gateway_config_cache_bytes(const struct gateway_config *config, uint32_t shards);

/* What a start of so many shards takes of these bytes, before there is any client, and what its
 * broker takes with time. */
uint64_t gateway_config_memory_min(const struct gateway_config *config, uint32_t shards);

/* Fills in what net and hub read of it. `shards`: the real number. */
void gateway_config_net_limits(const struct gateway_config *config, uint32_t shards,
                               struct net_limits *out_limits);
void gateway_config_hub_limits(const struct gateway_config *config, struct hub_limits *out_limits);

#endif
