/*
 * What a hub counts: the ledger of its shard, read by the metrics, the simulator and the tests.
 *
 * Owner and thread: the hub's; a reader on another thread reads the snapshot of gateway_metrics.h.
 */
#ifndef PENSTOCK_SESSION_HUB_COUNTERS_H
#define PENSTOCK_SESSION_HUB_COUNTERS_H

#include <stdint.h>

/* Why a publish was not accepted, or a delivery not made. */
enum hub_drop {
    HUB_DROP_PENDING, /* QoS 0: the subscriber's unsent bytes are at their limit */
    HUB_DROP_MAILBOX, /* QoS 0: a shard's mailbox was full; counted by record, not by delivery */
    HUB_DROP_MEMORY,
    HUB_DROP_RETENTION,       /* the log let go of it before a late session came to it */
    HUB_DROP_RETENTION_SHARD, /* or before a late shard did; counted by record, for whichever of the
                                 shard's sessions would have wanted it */
    HUB_DROP_RETENTION_CHANNEL, /* or before its partition's owner did; likewise, of any shard */
    HUB_DROP_CLOSED,            /* in send memory when the connection ended */
    HUB_DROP_OVERLOAD,          /* QoS 0: who does not drain, when memory is nearly out */
    HUB_DROP_WAITING,           /* QoS 0 behind an unfinished retained one, beyond the bound */
    HUB_DROPS
};

enum hub_reject {
    HUB_REJECT_TOPIC,      /* longer or deeper than allowed */
    HUB_REJECT_TOO_LARGE,  /* larger than the broker's largest record */
    HUB_REJECT_SYS,        /* $SYS is the gateway's own */
    HUB_REJECT_BROKER,     /* refused by the broker */
    HUB_REJECT_UNRELEASED, /* too many QoS 2 packet ids wait for PUBREL */
    HUB_REJECTS
};

/* Why a CONNECT was answered with another code than 0; what the codec refuses is not among these.
 */
enum hub_refusal {
    HUB_REFUSED_CLIENT_ID,      /* code 2 */
    HUB_REFUSED_UNAVAILABLE,    /* code 3: the store or memory */
    HUB_REFUSED_CONNECTIONS,    /* code 3: the gateway has as many as it may */
    HUB_REFUSED_OVERLOAD,       /* code 3 */
    HUB_REFUSED_CREDENTIALS,    /* code 4 */
    HUB_REFUSED_NOT_AUTHORIZED, /* code 5 */
    HUB_REFUSALS
};

/* Units: publishes as messages, deliveries as record x session. Written by the hub's thread only.
 */
struct hub_counters {
    uint64_t accepted[3]; /* publishes by QoS */
    uint64_t wills;
    uint64_t rejected[HUB_REJECTS];
    uint64_t duplicates; /* QoS 2 publishes that were known */
    uint64_t committed;
    uint64_t relayed;
    uint64_t handovers; /* records that came to this shard */
    uint64_t matched;   /* deliveries after matching */
    uint64_t queued[3]; /* written to a connection at the hand-over, by QoS */
    uint64_t turned_late;
    uint64_t replayed;
    uint64_t retained[3]; /* retained values written to a connection, by QoS */
    uint64_t resent;      /* with DUP, on resume */
    uint64_t loaded;      /* in flight, out of the store */
    uint64_t finished;    /* acknowledged deliveries */
    uint64_t returned;    /* in flight, when their session left memory or gave them up */
    uint64_t dropped[HUB_DROPS];
    uint64_t connects;
    uint64_t connects_refused[HUB_REFUSALS];
    uint64_t takeovers;
    uint64_t takeovers_delayed;
    uint64_t subscriptions_refused; /* answered with 0x80 */
    uint64_t sessions;              /* now */
    uint64_t stored_sessions;       /* now, of these: those that the store has too */
    uint64_t subscriptions;         /* now */
    uint64_t in_flight;             /* now, deliveries */
    uint64_t late_sessions;         /* now: cursors */
    uint64_t reads;
    uint64_t read_records;
    uint64_t shard_lates; /* times that a full mailbox made this shard late */
    uint64_t store_failures;
    uint64_t retained_values;  /* now, of this shard's partitions */
    uint64_t retained_refused; /* new values beyond retained_max, or without memory */
};

#endif
