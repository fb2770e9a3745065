/*
 * The tables of a shard's metrics; see gateway_metrics.h. Stateless but for the caller's snapshots.
 */
#include "session/gateway_metrics.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "core/log.h"
#include "session/version.h"

#define AT(field) offsetof(struct gateway_metrics_values, field)
#define COUNTER(name, help, labels, field)                                                         \
    {                                                                                              \
        name, help, METRIC_COUNTER, labels, AT(field)                                              \
    }
#define GAUGE(name, help, labels, field)                                                           \
    {                                                                                              \
        name, help, METRIC_GAUGE, labels, AT(field)                                                \
    }
#define PACKET(label, type)                                                                        \
    COUNTER("penstock_packets_received_total", "control packets received", "type=\"" label "\"",   \
            net.packets_in[type])
#define CLOSED(label, reason)                                                                      \
    COUNTER("penstock_connections_closed_total", "connections that ended", "reason=\"" label "\"", \
            net.closes[reason])
#define MALFORMED(label, reason)                                                                   \
    COUNTER("penstock_malformed_total", "packets that the codec refused", "reason=\"" label "\"",  \
            net.malformed[reason])
#define DROPPED(label, reason)                                                                     \
    COUNTER("penstock_dropped_total", "deliveries that were not made", "reason=\"" label "\"",     \
            hub.dropped[reason])

#define SENT(label, type)                                                                          \
    COUNTER("penstock_packets_sent_total", "control packets sent", "type=\"" label "\"",           \
            net.packets_out[type])
#define REFUSED(label, reason)                                                                     \
    COUNTER("penstock_connects_refused_total", "CONNECT answered with another code than 0",        \
            "reason=\"" label "\"", hub.connects_refused[reason])

static const struct metric table[] = {
    GAUGE("penstock_connections", "connections open now", NULL, net.connections),
    GAUGE("penstock_clients", "clients connected now", NULL, net.clients),
    COUNTER("penstock_accepts_total", "connections accepted", NULL, net.accepts),
    COUNTER("penstock_accepts_refused_total", "connections refused before CONNECT", NULL,
            net.accepts_refused),
    COUNTER("penstock_accepts_over_source_total", "connections closed: too many from their source",
            NULL, net.accepts_over_source),
    COUNTER("penstock_accepts_delayed_total", "turns in which the accept rate was used up", NULL,
            net.accepts_delayed),
    COUNTER("penstock_publishers_held_total", "times that a client met its publish rate", NULL,
            net.publishers_held),
    GAUGE("penstock_overload_level", "0: none, 1: slow accepts, to 5: who does not drain is closed",
          NULL, net.overload_level),
    COUNTER("penstock_overloaded_turns_total", "turns in which overload left publishers unread",
            NULL, net.overloaded_turns),
    COUNTER("penstock_connects_total", "CONNECT answered with code 0", NULL, hub.connects),
    REFUSED("client_id", HUB_REFUSED_CLIENT_ID),
    REFUSED("unavailable", HUB_REFUSED_UNAVAILABLE),
    REFUSED("connections", HUB_REFUSED_CONNECTIONS),
    REFUSED("overload", HUB_REFUSED_OVERLOAD),
    REFUSED("credentials", HUB_REFUSED_CREDENTIALS),
    REFUSED("not_authorized", HUB_REFUSED_NOT_AUTHORIZED),
    COUNTER("penstock_takeovers_total", "connections closed by a later one of the same client",
            NULL, hub.takeovers),
    COUNTER("penstock_takeovers_delayed_total", "takeovers that had to wait", NULL,
            hub.takeovers_delayed),
    COUNTER("penstock_subscriptions_refused_total", "filters answered with 0x80", NULL,
            hub.subscriptions_refused),
    COUNTER("penstock_moves_total", "connections moved to their home shard", "result=\"ok\"",
            net.moves_in),
    COUNTER("penstock_moves_total", "", "result=\"failed\"", net.moves_failed),
    CLOSED("disconnect", CONNECTION_CLOSED_DISCONNECT),
    CLOSED("peer", CONNECTION_CLOSED_PEER),
    CLOSED("keepalive", CONNECTION_CLOSED_KEEPALIVE),
    CLOSED("connect_timeout", CONNECTION_CLOSED_CONNECT_TIMEOUT),
    CLOSED("malformed", CONNECTION_CLOSED_MALFORMED),
    CLOSED("protocol", CONNECTION_CLOSED_PROTOCOL),
    CLOSED("too_large", CONNECTION_CLOSED_TOO_LARGE),
    CLOSED("refused", CONNECTION_CLOSED_REFUSED),
    CLOSED("taken_over", CONNECTION_CLOSED_TAKEN_OVER),
    CLOSED("limit", CONNECTION_CLOSED_LIMIT),
    CLOSED("overload", CONNECTION_CLOSED_OVERLOAD),
    CLOSED("memory", CONNECTION_CLOSED_MEMORY),
    CLOSED("shutdown", CONNECTION_CLOSED_SHUTDOWN),
    CLOSED("move_failed", CONNECTION_CLOSED_MOVE_FAILED),
    MALFORMED("type", MQTT_BAD_TYPE),
    MALFORMED("flags", MQTT_BAD_FLAGS),
    MALFORMED("remaining_length", MQTT_BAD_REMAINING_LENGTH),
    MALFORMED("too_large", MQTT_TOO_LARGE),
    MALFORMED("truncated", MQTT_TRUNCATED),
    MALFORMED("trailing_bytes", MQTT_TRAILING_BYTES),
    MALFORMED("utf8", MQTT_BAD_UTF8),
    MALFORMED("protocol_name", MQTT_BAD_PROTOCOL_NAME),
    MALFORMED("protocol_level", MQTT_BAD_PROTOCOL_LEVEL),
    MALFORMED("connect_flags", MQTT_BAD_CONNECT_FLAGS),
    MALFORMED("qos", MQTT_BAD_QOS),
    MALFORMED("dup", MQTT_BAD_DUP),
    MALFORMED("packet_id", MQTT_BAD_PACKET_ID),
    MALFORMED("topic", MQTT_BAD_TOPIC),
    MALFORMED("filter", MQTT_BAD_FILTER),
    MALFORMED("empty_list", MQTT_EMPTY_LIST),
    MALFORMED("properties", MQTT_BAD_PROPERTIES),
    MALFORMED("code", MQTT_BAD_CODE),
    PACKET("connect", MQTT_CONNECT),
    PACKET("publish", MQTT_PUBLISH),
    PACKET("puback", MQTT_PUBACK),
    PACKET("pubrec", MQTT_PUBREC),
    PACKET("pubrel", MQTT_PUBREL),
    PACKET("pubcomp", MQTT_PUBCOMP),
    PACKET("subscribe", MQTT_SUBSCRIBE),
    PACKET("unsubscribe", MQTT_UNSUBSCRIBE),
    PACKET("pingreq", MQTT_PINGREQ),
    PACKET("disconnect", MQTT_DISCONNECT),
    SENT("connack", MQTT_CONNACK),
    SENT("publish", MQTT_PUBLISH),
    SENT("puback", MQTT_PUBACK),
    SENT("pubrec", MQTT_PUBREC),
    SENT("pubrel", MQTT_PUBREL),
    SENT("pubcomp", MQTT_PUBCOMP),
    SENT("suback", MQTT_SUBACK),
    SENT("unsuback", MQTT_UNSUBACK),
    SENT("pingresp", MQTT_PINGRESP),
    COUNTER("penstock_publish_received_bytes_total", "payload bytes of publishes received", NULL,
            net.publish_bytes_in),
    COUNTER("penstock_publish_sent_bytes_total", "payload bytes of publishes sent", NULL,
            net.publish_bytes_out),
    COUNTER("penstock_received_bytes_total", "bytes received from clients", NULL, net.bytes_in),
    COUNTER("penstock_sent_bytes_total", "bytes sent to clients", NULL, net.bytes_out),
    COUNTER("penstock_sends_total", "sends given to the kernel", NULL, net.sends),
    COUNTER("penstock_sends_short_total", "sends that left something over", NULL, net.sends_short),
    GAUGE("penstock_unsent_bytes", "bytes that wait for slow receivers", NULL, net.unsent_bytes),
    COUNTER("penstock_pressed_turns_total",
            "turns in which subscribers with much to take kept publishers unread", NULL,
            net.pressed_turns),
    COUNTER("penstock_publish_retries_total", "publishes that waited for room", NULL, net.retries),
    COUNTER("penstock_publishes_total", "publishes accepted", "qos=\"0\"", hub.accepted[0]),
    COUNTER("penstock_publishes_total", "", "qos=\"1\"", hub.accepted[1]),
    COUNTER("penstock_publishes_total", "", "qos=\"2\"", hub.accepted[2]),
    COUNTER("penstock_wills_total", "wills published", NULL, hub.wills),
    COUNTER("penstock_rejected_total", "publishes not accepted", "reason=\"topic\"",
            hub.rejected[HUB_REJECT_TOPIC]),
    COUNTER("penstock_rejected_total", "", "reason=\"too_large\"",
            hub.rejected[HUB_REJECT_TOO_LARGE]),
    COUNTER("penstock_rejected_total", "", "reason=\"sys\"", hub.rejected[HUB_REJECT_SYS]),
    COUNTER("penstock_rejected_total", "", "reason=\"broker\"", hub.rejected[HUB_REJECT_BROKER]),
    COUNTER("penstock_rejected_total", "", "reason=\"unreleased\"",
            hub.rejected[HUB_REJECT_UNRELEASED]),
    COUNTER("penstock_duplicates_total", "publishes that were known already", NULL, hub.duplicates),
    COUNTER("penstock_committed_total", "records committed by this shard's partitions", NULL,
            hub.committed),
    COUNTER("penstock_relayed_total", "QoS 0 records passed on without the log", NULL, hub.relayed),
    COUNTER("penstock_handovers_total", "records that came to this shard", NULL, hub.handovers),
    COUNTER("penstock_matched_total", "deliveries after matching", NULL, hub.matched),
    COUNTER("penstock_deliveries_total", "deliveries written", "kind=\"live\",qos=\"0\"",
            hub.queued[0]),
    COUNTER("penstock_deliveries_total", "", "kind=\"live\",qos=\"1\"", hub.queued[1]),
    COUNTER("penstock_deliveries_total", "", "kind=\"live\",qos=\"2\"", hub.queued[2]),
    COUNTER("penstock_deliveries_total", "", "kind=\"replayed\"", hub.replayed),
    COUNTER("penstock_deliveries_total", "", "kind=\"retained\",qos=\"0\"", hub.retained[0]),
    COUNTER("penstock_deliveries_total", "", "kind=\"retained\",qos=\"1\"", hub.retained[1]),
    COUNTER("penstock_deliveries_total", "", "kind=\"retained\",qos=\"2\"", hub.retained[2]),
    COUNTER("penstock_deliveries_loaded_total", "deliveries in flight that came out of the store",
            NULL, hub.loaded),
    COUNTER("penstock_deliveries_returned_total",
            "deliveries in flight when their session left memory or gave them up", NULL,
            hub.returned),
    COUNTER("penstock_deliveries_total", "", "kind=\"resent\"", hub.resent),
    COUNTER("penstock_turned_late_total", "deliveries left to a cursor", NULL, hub.turned_late),
    COUNTER("penstock_finished_total", "deliveries acknowledged", NULL, hub.finished),
    DROPPED("pending", HUB_DROP_PENDING),
    DROPPED("mailbox", HUB_DROP_MAILBOX),
    DROPPED("memory", HUB_DROP_MEMORY),
    DROPPED("retention", HUB_DROP_RETENTION),
    DROPPED("retention_shard", HUB_DROP_RETENTION_SHARD),
    DROPPED("retention_channel", HUB_DROP_RETENTION_CHANNEL),
    DROPPED("closed", HUB_DROP_CLOSED),
    DROPPED("overload", HUB_DROP_OVERLOAD),
    DROPPED("waiting", HUB_DROP_WAITING),
    GAUGE("penstock_sessions", "sessions in memory", NULL, hub.sessions),
    GAUGE("penstock_sessions_stored_in_memory", "of these, those that the store has too", NULL,
          hub.stored_sessions),
    GAUGE("penstock_sessions_stored", "sessions in the store, their clients connected or not", NULL,
          broker.kind_count),
    COUNTER("penstock_sessions_expired_total", "stored sessions whose time was over", NULL,
            broker.kind_expired),
    GAUGE("penstock_subscriptions", "subscriptions of sessions in memory", NULL, hub.subscriptions),
    GAUGE("penstock_retained_values", "topics with a retained value", NULL, hub.retained_values),
    COUNTER("penstock_retained_refused_total", "retained values beyond the limit or without memory",
            NULL, hub.retained_refused),
    GAUGE("penstock_in_flight", "deliveries not acknowledged yet", NULL, hub.in_flight),
    GAUGE("penstock_late_cursors", "partitions in which sessions are behind", NULL,
          hub.late_sessions),
    COUNTER("penstock_reads_total", "reads of the log for late sessions", NULL, hub.reads),
    COUNTER("penstock_read_records_total", "records that those reads gave", NULL, hub.read_records),
    COUNTER("penstock_shard_lates_total", "times that a full mailbox made a shard late", NULL,
            hub.shard_lates),
    COUNTER("penstock_store_failures_total", "writes and reads of sessions that failed", NULL,
            hub.store_failures),
    GAUGE("penstock_broker_healthy", "1, or 0 while the shard's broker cannot commit", NULL,
          broker_healthy),
    GAUGE("penstock_broker_failing", "shards whose broker cannot commit", NULL, broker_failing),
    GAUGE("penstock_log_records", "records in the log", NULL, broker.log_records),
    GAUGE("penstock_log_bytes", "bytes of the log", NULL, broker.log_bytes),
    GAUGE("penstock_keys", "entries of the key-value store", NULL, broker.key_count),
    GAUGE("penstock_key_bytes", "bytes of the key-value store", NULL, broker.key_bytes),
    COUNTER("penstock_retention_records_total", "records removed by retention", NULL,
            broker.retention_records),
    COUNTER("penstock_broker_queue_full_total", "requests that the broker's queue refused", NULL,
            broker.queue_full),
    COUNTER("penstock_broker_full_commits_total", "commits that the store had no room for", NULL,
            broker.full_commits),
    COUNTER("penstock_broker_refused_reads_total", "reads of keys too large for an answer", NULL,
            broker.refused_reads),
    COUNTER("penstock_log_batches_total", "batches written to the log", NULL, broker.batches),
    COUNTER("penstock_log_batch_bytes_total", "bytes of these batches", NULL, broker.batch_bytes),
    COUNTER("penstock_log_sync_ns_total", "time from a batch's submission to its being stored",
            NULL, broker.sync_ns),
    GAUGE("penstock_log_longest_sync_ns", "the longest of these times", NULL,
          broker.longest_sync_ns),
    COUNTER("penstock_log_stalled_ns_total", "time in which there was no segment to write to", NULL,
            broker.stalled_ns),
    COUNTER("penstock_log_segments_total", "segments begun", NULL, broker.segments_begun),
    COUNTER("penstock_disk_failures_total", "reads, writes and syncs that failed", NULL,
            broker.disk_failures),
    COUNTER("penstock_damaged_blocks_total", "blocks read whose checksum did not hold", NULL,
            broker.damaged_blocks),
    GAUGE("penstock_log_file_bytes", "size of all segments", NULL, broker.file_bytes),
    GAUGE("penstock_log_held_bytes", "of these, kept beyond retention for who needs them", NULL,
          broker.held_bytes),
    GAUGE("penstock_log_open_segments", "closed segments whose files are open", NULL,
          broker.open_segments),
    COUNTER("penstock_log_segment_opens_total", "times that such files were opened for a reader",
            NULL, broker.segment_opens),
    GAUGE("penstock_log_tail_bytes", "memory of recent records", NULL, broker.tail_bytes),
    COUNTER("penstock_log_full_tails_total", "times that there was no room for recent records",
            NULL, broker.full_tails),
    COUNTER("penstock_log_channel_waits_total",
            "turns in which appends waited until subscribers had what is before them", NULL,
            broker.channel_waits),
    GAUGE("penstock_log_waiting_reads", "reads behind those that the disk is asked for", NULL,
          broker.waiting_reads),
    COUNTER("penstock_blocks_fetched_total", "blocks of the log read from the disk", NULL,
            broker.blocks_fetched),
    COUNTER("penstock_blocks_shared_total", "blocks that a reader found in memory", NULL,
            broker.blocks_shared),
    GAUGE("penstock_filter_bytes", "memory of filters over closed segments", NULL,
          broker.filter_bytes),
    COUNTER("penstock_filters_loaded_total", "filters read from the disk", NULL,
            broker.filters_loaded),
    COUNTER("penstock_segments_skipped_total", "segments that a filter kept a late reader out of",
            NULL, broker.segments_skipped),
    COUNTER("penstock_key_batches_total", "commits of the key-value store's file", NULL,
            broker.key_batches),
    COUNTER("penstock_key_failures_total", "times that the key-value store's file failed", NULL,
            broker.key_failures),
    GAUGE("penstock_longest_key_commit_ns", "the longest of these commits", NULL,
          broker.longest_key_commit_ns),
    COUNTER("penstock_deduplication_early_total", "ids forgotten before their time, by number",
            NULL, broker.early_ids),
    COUNTER("penstock_appends_total", "batches given to the log", NULL, owner.appends),
    COUNTER("penstock_append_retries_total", "records given again, their fate unknown", NULL,
            owner.retries),
    COUNTER("penstock_late_marks_total", "times that an owner found a shard's mailbox full", NULL,
            owner.late_marks),
    COUNTER("penstock_retained_writes_total", "retained values written", NULL,
            owner.retained_writes),
    COUNTER("penstock_retained_failures_total", "writes and reads of retained values that failed",
            NULL, owner.retained_failures),
    COUNTER("penstock_turns_total", "turns of the loop", NULL, shard.turns),
    COUNTER("penstock_sleeps_total", "turns that slept", NULL, shard.sleeps),
    COUNTER("penstock_doorbells_total", "sleeping shards woken", NULL, shard.doorbells),
    COUNTER("penstock_mail_total", "mails posted", NULL, shard.mail_posted),
    COUNTER("penstock_mail_refused_total", "posts that found a full mailbox", NULL,
            shard.mail_refused),
    GAUGE("penstock_longest_turn_ns", "longest turn so far", NULL, shard.longest_turn_ns),
    COUNTER("penstock_ring_enters_total", "io_uring_enter calls", NULL, ring.enters),
    COUNTER("penstock_ring_completions_total", "completions", NULL, ring.completions),
    COUNTER("penstock_ring_overflows_total", "completion queue overflows", NULL, ring.overflows),
    COUNTER("penstock_ring_receives_total", "receives", NULL, ring.receives),
    COUNTER("penstock_ring_stale_total", "completions of closed sockets", NULL, ring.stale),
    COUNTER("penstock_file_reads_total", "reads of files", NULL, ring.file_reads),
    COUNTER("penstock_file_writes_total", "writes to files", NULL, ring.file_writes),
    COUNTER("penstock_file_syncs_total", "syncs of files, with a write or alone", NULL,
            ring.file_syncs),
    COUNTER("penstock_file_bytes_read_total", "bytes read from files", NULL, ring.file_bytes_read),
    COUNTER("penstock_file_bytes_written_total", "bytes written to files", NULL,
            ring.file_bytes_written),
    COUNTER("penstock_file_errors_total", "reads, writes and syncs of files that failed", NULL,
            ring.file_errors),
    COUNTER("penstock_busy_ns_total", "time not spent waiting", NULL, shard.busy_ns),
    GAUGE("penstock_sockets", "sockets in the rings", NULL, ring.sockets),
    GAUGE("penstock_rings", "rings in the bank", NULL, ring.rings),
    COUNTER("penstock_topics_evicted_total", "topic table entries evicted", NULL,
            index.topics_evicted),
};

void gateway_metrics_publish(struct gateway_metrics_values *values, const struct hub *hub,
                             const struct broker *broker, const struct shard *shard,
                             const struct ring *ring)
{
    if (values->published_tick == shard->tick + 1)
        return;
    values->published_tick = shard->tick + 1;
    metrics_publish(&values->hub, &hub->counters, sizeof(values->hub));
    metrics_publish(&values->net, net_counters(hub->net), sizeof(values->net));
    metrics_publish(&values->shard, &shard->counters, sizeof(values->shard));
    metrics_publish(&values->ring, ring_counters(ring), sizeof(values->ring));
    metrics_publish(&values->broker, broker_counters(broker), sizeof(values->broker));
    const uint64_t is_healthy = broker_is_healthy(broker);
    const uint64_t is_failing = !is_healthy;
    metrics_publish(&values->broker_healthy, &is_healthy, sizeof(is_healthy));
    metrics_publish(&values->broker_failing, &is_failing, sizeof(is_failing));
    metrics_publish(&values->owner, &hub->owner->counters, sizeof(values->owner));
    metrics_publish(&values->index, &hub->index.counters, sizeof(values->index));
}

int gateway_metrics_register(struct metrics *metrics, const struct gateway_metrics_values *values,
                             uint32_t shard)
{
    return metrics_register(metrics, table, ps_array_count(table), values, shard);
}

static const struct metric shared_table[] = {
    {"penstock_clients_peak", "most clients connected at one time", METRIC_GAUGE, NULL,
     offsetof(struct net_shared, connections_peak)},
};

static const struct metric memory_table[] = {
    {"penstock_memory_bytes", "memory in use, within 64 KiB per thread", METRIC_GAUGE, NULL,
     offsetof(struct heap_budget, bytes_used)},
    {"penstock_memory_bytes_max", "memory.bytes_max, or what was found for it", METRIC_GAUGE, NULL,
     offsetof(struct heap_budget, bytes_max)},
};

int gateway_metrics_register_common(struct metrics *metrics, const struct heap_budget *budget,
                                    const struct net_shared *shared, const struct helper *helper,
                                    const struct log *log)
{
    int status = metrics_register(metrics, memory_table, ps_array_count(memory_table), budget,
                                  METRICS_NO_SHARD);
    if (status == 0)
        status = metrics_register(metrics, shared_table, ps_array_count(shared_table), shared,
                                  METRICS_NO_SHARD);
    if (status == 0)
        status = metrics_register(metrics, helper_metrics, HELPER_METRIC_COUNT,
                                  helper_counters(helper), METRICS_NO_SHARD);
    if (status == 0)
        status = metrics_register(metrics, log_metrics, LOG_METRIC_COUNT, log_counters(log),
                                  METRICS_NO_SHARD);
    return status;
}

const char *gateway_version(void)
{
    return PENSTOCK_VERSION;
}
