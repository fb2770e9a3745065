/*
 * Watches on the embedded keys, and the news that they are told. A new watch is scanned for: the
 * keys of its prefix are looked through in slices, what is of interest is sorted by revision, and
 * told in pages. What is committed meanwhile waits, and follows. From then on it is live.
 *
 *   NEW -> SCAN -> LIVE
 *    ^------'-------'    too much waited: the next scan tells what was missed
 *
 * Deletions are kept in memory, oldest forgotten first, but not while a scan needs them.
 *
 * Who may touch what: as in embedded_keys_parts_internal.h.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_WATCH_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_WATCH_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "broker_client/broker_request.h"

struct embedded_keys;
struct embedded_keys_port;
struct heap;

enum {
    EMBEDDED_WATCH_QUEUE_BYTES_MAX = 1 << 20 /* news that wait for a watch; then it scans again */
};

/* A change: for watches, or a deletion that is kept. */
struct embedded_news {
    struct embedded_news *next;
    uint64_t revision;
    uint32_t value_bytes;
    uint16_t key_bytes;
    bool is_deletion;
    unsigned char bytes[]; /* key, value */
};

/* In the order of revisions. */
struct embedded_news_list {
    struct embedded_news *first;
    struct embedded_news *last;
    uint64_t bytes;
    uint64_t count;
};

struct embedded_scan;

enum embedded_watch_state {
    EMBEDDED_WATCH_NEW,  /* to be scanned for */
    EMBEDDED_WATCH_SCAN, /* up to `until` by scanning; what comes later waits in `later` */
    EMBEDDED_WATCH_LIVE  /* what is committed goes into `queue` */
};

struct embedded_watch {
    struct embedded_watch *next; /* shard: the port's */
    struct embedded_keys_port *port;
    struct broker_watch *watch;         /* shard */
    struct embedded_watch *next_of_all; /* mutex: this and what follows */
    enum embedded_watch_state state;
    uint64_t told;  /* everything up to this revision is in `queue` or was taken from there */
    uint64_t until; /* of the scan */
    uint64_t deletions_above; /* what was deleted before need not be told */
    struct embedded_news_list queue;
    struct embedded_news_list later;
    bool is_later_lost; /* there was too much; another scan follows */
    bool is_busy;       /* the helper is at its scan */
    bool is_ended;
    struct embedded_scan *scan; /* helper; shard when it has ended and is not busy */
    uint32_t prefix_bytes;      /* never changes, as the prefix */
    unsigned char prefix[];
};

/* NULL: no memory. */
struct embedded_news *embedded_news_create(struct heap *heap, struct broker_bytes key,
                                           struct broker_bytes value, uint64_t revision,
                                           bool is_deletion);
void embedded_news_push(struct embedded_news_list *list, struct embedded_news *news);
struct embedded_news *embedded_news_pop(struct embedded_news_list *list);
void embedded_news_free(struct heap *heap, struct embedded_news_list *list);

/* Under the mutex, on the helper's thread: gives the news of a batch that is durable to the watches
 * and to the deletions that are kept. */
void embedded_watch_publish(struct embedded_keys *keys, struct embedded_news_list *news,
                            uint64_t revision);

/* Under the mutex: a watch has to be scanned for. */
bool embedded_watch_has_work(const struct embedded_keys *keys);

/* Under the mutex: deletions that a scanning watch needs have piled up; what deletes has to wait.
 */
bool embedded_watch_is_behind(const struct embedded_keys *keys);

/* Goes one step on for one watch. 1: it did; 0: there was nothing to do, or no memory; -errno of
 * the file. */
int embedded_watch_step(struct embedded_keys *keys);

/* Frees a watch that no list holds any more. `heap` is the calling thread's. */
void embedded_watch_free(struct heap *heap, struct embedded_watch *watch);

#endif
