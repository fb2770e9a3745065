/*
 * The keys of the embedded driver: gets, commits, lists and watches, on disk, with the semantics of
 * the memory driver. One `embedded_keys` for all handles, one port per handle.
 *
 *   shard:  submit, submit ... turn -> [waiting] -> helper: one batch of all ports, one commit
 *   shard:  turn <- [answered, in the order submitted] <- wake(context) <-'
 *
 * 1. The requests of one port are carried out and answered in the order submitted; a get behind a
 *    commit sees it. A watch is told every change after the revision it names.
 * 2. Nothing is answered or told before its batch is durable. Revisions are never reused.
 * 3. A batch that the disk refuses is not answered but repeated as a whole, after pauses from
 *    100 ms to 5 s; meanwhile the ports are unhealthy, and reads with no commit of their port
 *    before them are answered.
 * 4. A request, its keys and its values are read on the helper's thread until on_done.
 *
 * Lifetime: embedded_keys_open -> ports -> helper_start ... every port destroyed -> helper_stop ->
 * embedded_keys_close -> helper_destroy. The helper is the store's own, so that nobody's slow work
 * delays a commit. Ports may come and go at any time in between.
 *
 * Threads: open and close by one thread; a port by its shard; the counters by any.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_KEYS_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_KEYS_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_client/broker_request.h"

struct embedded_keys;
struct embedded_keys_port;
struct heap;
struct helper;
struct log;

enum { EMBEDDED_KEYS_FORMAT = 1 /* of the tables; see broker_client/README.md */ };

/* 0 means the default where one is named. */
struct embedded_keys_options {
    const char *directory;        /* exists, and is locked for this process */
    uint64_t map_bytes;           /* of address space, at least 1 MiB; 16 GiB */
    uint64_t key_bytes_max;       /* keys, values and 64 bytes each; 7/8 of map_bytes, to which
                                     the pages of the file are limited in any case */
    uint64_t answer_bytes_max;    /* of one answer, beyond which it is refused; a quarter of the
                                     heap's budget */
    uint32_t requests_max;        /* taken per port, watches apart; 1,024 */
    uint32_t deleted_entries_max; /* deletions kept for watches; 16,384 */
    uint16_t watches_max;         /* per port; 16 */
    char counted_kind;            /* first byte of the keys of kind_count; 0: none */
    bool must_exist;  /* -ENOENT when there are no keys of an earlier run, instead of new ones */
    bool is_unsynced; /* a power failure may take back the last batch; a crash of ours never */
    struct heap *heap;
    struct helper *helper;
    struct log *log; /* NULL: nothing is said */
    char *error;     /* where the reason goes when it cannot be opened; at least one byte */
    size_t error_bytes;
};

/* 0; -EINVAL: an option outside its range; -EBADMSG: damaged, or of an unknown format; -ENOMEM: no
 * memory or address space; another -errno of the disk. `error` names the file and the reason. */
int embedded_keys_open(const struct embedded_keys_options *options,
                       struct embedded_keys **out_keys);
void embedded_keys_close(struct embedded_keys *keys);

struct embedded_keys_counters {
    uint64_t key_count; /* now; expired ones that are not removed yet among them */
    uint64_t key_bytes; /* now */
    uint64_t kind_count;
    uint64_t kind_expired; /* since the opening */
    uint64_t batches;      /* committed */
    uint64_t batch_failures;
    uint64_t longest_commit_ns;
};

/* Any thread. */
void embedded_keys_counters(const struct embedded_keys *keys, struct embedded_keys_counters *out);

struct embedded_keys_port_options {
    struct heap *heap;           /* the shard's */
    void (*wake)(void *context); /* makes the shard call turn soon; on the helper's thread */
    void *wake_context;
    void (*on_health)(void *context, bool is_healthy); /* from turn; NULL: nobody asks */
    void *health_context;
};

/* 0 or -ENOMEM. */
int embedded_keys_port_create(struct embedded_keys *keys,
                              const struct embedded_keys_port_options *options,
                              struct embedded_keys_port **out_port);

/* Requests that are out are given up without a callback; waits for a batch that is under way. */
void embedded_keys_port_destroy(struct embedded_keys_port *port);

/* Takes a GET, COMMIT, LIST or WATCH, whose `kind` is set. 0; -EAGAIN: requests_max or watches_max;
 * -ENOMEM: a watch. */
int embedded_keys_port_submit(struct embedded_keys_port *port, struct broker_request *request);

/* broker_cancel of a taken request of these four kinds. */
void embedded_keys_port_cancel(struct embedded_keys_port *port, struct broker_request *request);

/* Calls back what is answered, tells the watches, and hands what was submitted to the helper. Times
 * to live are counted, and expired keys removed, by the latest wall_ms of any port's turn, which
 * every port should have about once a second. Result: true while there is more to do at once. */
bool embedded_keys_port_turn(struct embedded_keys_port *port, uint64_t wall_ms);

bool embedded_keys_port_is_healthy(const struct embedded_keys_port *port);

/* Every request is answered; watches go on. */
bool embedded_keys_port_is_idle(const struct embedded_keys_port *port);

/* BROKER_FULL answers; gets and lists that were answered with BROKER_REFUSED. */
uint64_t embedded_keys_port_full_commits(const struct embedded_keys_port *port);
uint64_t embedded_keys_port_refused_reads(const struct embedded_keys_port *port);

#endif
