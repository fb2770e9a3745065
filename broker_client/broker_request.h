/*
 * The requests that broker.h takes. Each is owned by its caller, who zeroes it once, fills it in,
 * and gets it back through on_done with the answer filled in. What "borrowed" names is valid until
 * on_done returns.
 */
#ifndef PENSTOCK_BROKER_CLIENT_BROKER_REQUEST_H
#define PENSTOCK_BROKER_CLIENT_BROKER_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_client/record.h"

enum {
    BROKER_APPEND_MAX = 256,       /* records in one append or relay */
    BROKER_PULL_RECORDS_MAX = 256, /* records in one answer to a pull */
    BROKER_KEY_BYTES_MAX = 480,
    BROKER_KEYS_MAX = 64,    /* keys in one get or commit */
    BROKER_LIST_MAX = 64,    /* entries in one page */
    BROKER_WRITES_MAX = 1024 /* in one commit that brings memory for them */
};

enum broker_status {
    BROKER_OK,
    BROKER_DUPLICATE, /* append: already there; the sequence is the first one's */
    BROKER_REFUSED,   /* nothing is done, and repeating is useless: too large, fenced */
    BROKER_UNKNOWN,   /* may or may not be stored: repeat with the same deduplication id */
    BROKER_CONFLICT, /* commit: an expected revision or the guard did not hold; nothing is stored */
    BROKER_NOT_FOUND, /* get: no such key */
    BROKER_FULL,      /* commit: no room for a new entry */
    BROKER_CANCELLED
};

struct broker_bytes {
    const void *bytes;
    uint32_t count;
};

/* What of a partition's records is wanted. A driver may answer with more; the caller filters. */
struct broker_hint {
    const struct broker_bytes *topics;   /* whole topic names */
    const struct broker_bytes *prefixes; /* literal levels: "a/b" covers "a/b" and "a/b/..." */
    uint16_t topic_count;
    uint16_t prefix_count;
    bool all;
};

/* Links a request into a driver's queue. `is_taken` is true from a call's 0 until just before
 * on_done. */
struct broker_request {
    struct broker_request *next;
    void *owner; /* the caller's */
    uint8_t kind;
    bool is_taken;
};

struct broker_result {
    enum broker_status status;
    uint64_t sequence;
};

/* The references stay the caller's; the driver takes its own. */
struct broker_append {
    struct broker_request request;
    void (*on_done)(struct broker_append *append);
    uint16_t partition;
    uint16_t count; /* 1 to BROKER_APPEND_MAX */
    struct record *records[BROKER_APPEND_MAX];
    struct broker_result results[BROKER_APPEND_MAX];
};

/* Committed records from `from` on. With `wait` the answer is withheld until there is a committed
 * record at or above `from`, or a relayed one (the long pull, the channel of a partition; one per
 * partition). Such a pull answers what the channel's hint covers; its own hint is not read. */
struct broker_pull {
    struct broker_request request;
    void (*on_done)(struct broker_pull *pull);
    struct broker_hint hint; /* its arrays must live until on_done */
    uint64_t from;
    uint32_t bytes_max; /* of the answer's records; at least one is given */
    uint16_t partition;
    uint16_t records_max; /* 1 to BROKER_PULL_RECORDS_MAX; 0: that maximum */
    bool wait;

    bool
        is_at_tail; /* answer: everything up to the leader's tail was looked at; next is that + 1 */
    uint16_t count;
    enum broker_status status;
    uint64_t next; /* looked at up to here, also when nothing matched */
    uint64_t
        removed; /* sequences in [from, next) that retention took before they could be looked at */
    struct record *records[BROKER_PULL_RECORDS_MAX]; /* ascending; borrowed */
};

struct broker_tail {
    struct broker_request request;
    void (*on_done)(struct broker_tail *tail);
    struct broker_hint hint; /* broker_channel_set only; its arrays must live until on_done */
    uint16_t partition;
    enum broker_status status;
    uint64_t tail;
};

struct broker_value {
    /* OK, NOT_FOUND, or REFUSED: it is there, but with the values before it larger than the driver
     * has memory for; ask for it alone. */
    enum broker_status status;
    uint64_t revision;         /* 0: there is no such key */
    struct broker_bytes value; /* borrowed */
};

struct broker_get {
    struct broker_request request;
    void (*on_done)(struct broker_get *get);
    bool from_leader;
    uint16_t count;
    struct broker_bytes keys[BROKER_KEYS_MAX]; /* must live until on_done */
    struct broker_value values[BROKER_KEYS_MAX];
};

enum broker_write_kind { BROKER_PUT, BROKER_DELETE };

#define BROKER_ANY_REVISION UINT64_MAX

struct broker_write {
    enum broker_write_kind kind;
    struct broker_bytes key;
    struct broker_bytes value;
    uint64_t expected_revision; /* BROKER_ANY_REVISION: whatever there is; 0: only if absent */
    uint64_t time_to_live_ms;   /* 0: for ever */
    uint64_t revision;          /* answer; 0: there was nothing to delete */
};

/* Several writes, each of another key, in one commit where broker_is_atomic(), else in order. With
 * a guard nothing is written unless that key has that revision (0: is absent). Keys and values must
 * live until on_done. */
struct broker_commit {
    struct broker_request request;
    void (*on_done)(struct broker_commit *commit);
    struct broker_bytes guard_key; /* count 0: no guard */
    uint64_t guard_revision;
    uint16_t count; /* 1 to BROKER_KEYS_MAX, of `many` 1 to BROKER_WRITES_MAX */
    enum broker_status status;
    struct broker_write *many; /* instead of `writes`; must live until on_done. NULL: `writes` */
    struct broker_write writes[BROKER_KEYS_MAX];
};

static inline struct broker_write *broker_commit_writes(struct broker_commit *commit)
{
    return commit->many != NULL ? commit->many : commit->writes;
}

static inline const struct broker_write *broker_commit_write(const struct broker_commit *commit,
                                                             uint32_t index)
{
    return commit->many != NULL ? &commit->many[index] : &commit->writes[index];
}

struct broker_entry {
    struct broker_bytes key;
    struct broker_bytes value;
    uint64_t revision;
};

/* Entries whose key begins with `prefix` and is above `after` (count 0: from the first), in key
 * order. */
struct broker_list {
    struct broker_request request;
    void (*on_done)(struct broker_list *list);
    struct broker_bytes prefix;
    struct broker_bytes after;
    uint32_t bytes_max;   /* of keys and values; at least one entry is given */
    uint16_t entries_max; /* 1 to BROKER_LIST_MAX */
    uint16_t count;
    bool is_last;              /* there is nothing after these */
    enum broker_status status; /* REFUSED: the first is larger than the driver has memory for */
    struct broker_entry entries[BROKER_LIST_MAX]; /* borrowed */
};

/* Every change of a key that begins with `prefix` with a revision above `after_revision`, until
 * broker_cancel, in the order of revisions. Of several changes of one key, only the last need be
 * told. A driver keeps deletions for a bounded while: a watch that begins before that is gapped,
 * and its caller lists the keys to learn which have gone. One that is under way misses none. */
struct broker_watch {
    struct broker_request request;
    void (*on_change)(struct broker_watch *watch, const struct broker_entry *entry,
                      bool is_deleted);
    void (*on_done)(struct broker_watch *watch); /* after broker_cancel */
    struct broker_bytes prefix;
    uint64_t after_revision; /* 0: everything that there is */
    bool is_gapped; /* answer, before the first on_change: deletions may have been forgotten */
};

#endif
