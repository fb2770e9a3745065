/*
 * The log of a data directory, shared by the handles: its manifest, its reserved numbers, its
 * segments, what recovery found, retention. Which partition is in which segments is told by
 * *extents*, a list per partition that belongs to the partition's owner.
 *
 * Owner: the store. Threads: open, recovery and close by the thread that opens the store; the rest
 * says. Blocking IO is done by jobs on the store's helper thread only.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_STORE_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_STORE_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "broker_client/embedded/embedded.h"
#include "log_jumps_internal.h"
#include "segment_index_internal.h"

struct helper;

/* Sequences reserved ahead for each partition: at a start, and when half of them is used. */
enum { LOG_STORE_RESERVE = 1 << 20 };

/* A segment file. References: one of the list, one per extent, one of its writer or job. When the
 * last one of a dropped segment is gone, log_store_retain removes its files. */
struct log_segment {
    uint64_t number;
    uint64_t seed; /* of its checksums and its index's */
    int fd;        /* -1: closed; who may use it and when: segment_files_internal.h */
    int index_fd;
    uint32_t holds;            /* of its files; under the store's mutex, as the next three */
    bool is_counted;           /* its files count among open_count */
    struct log_segment *older; /* counted and not held: by last use */
    struct log_segment *newer;
    _Atomic uint32_t references;
    _Atomic uint32_t extent_count; /* 0 after having had some: nobody wants it, the files go */
    _Atomic(struct segment_index *) index; /* NULL until it is closed and indexed; then immutable */
    _Atomic uint64_t file_bytes;           /* with its index */
    uint64_t capacity;                     /* of the segment that is being written */
    _Atomic uint64_t newest_ms;            /* 0: not known */
    struct log_segment *next; /* of the store's list, ascending by number; under its mutex */
    struct log_segment *next_doomed;
};

/* What one segment holds of one partition. */
struct log_extent {
    struct log_segment *segment;
    uint64_t first; /* sequence */
    uint64_t next;
    uint32_t records;
    uint64_t bytes;
};

/* What recovery knows of one partition; taken over by the handle that owns it. */
struct log_partition_state {
    struct log_extent *extents; /* ascending; of the store's heap */
    uint32_t extent_count;
    uint32_t extent_capacity;
    uint64_t next;          /* sequence of the next record */
    struct log_jumps jumps; /* below `next` */
    uint64_t reserved;      /* first sequence that may not be given without log_store_reserve */
    struct segment_index_id *ids; /* latest, ascending; for the deduplication window */
    uint32_t id_count;
};

struct log_store {
    struct embedded_store_config config;
    struct heap *heap;        /* the opener's; also of recovery */
    struct heap *helper_heap; /* the helper thread's */
    struct log *log;
    struct helper *helper;
    int directory;     /* the data directory, of core/disk.h */
    int log_directory; /* "log" in it */
    int lock;
    uint64_t hash_seed;
    uint64_t run; /* of this one; segments are numbered from run << 32 */
    struct embedded_recovery recovery;
    struct log_partition_state *partitions;
    _Atomic uint64_t *tails;         /* committed, by partition; written by the owner */
    _Atomic bool is_cut_short;       /* a journal ended with records that it could not write */
    _Atomic uint64_t segment_next;   /* number of the next segment */
    _Atomic uint64_t retain_from;    /* extents of segments below go, unless they are held */
    _Atomic uint64_t segment_bytes;  /* of all segment files and their indexes */
    _Atomic uint64_t opens;          /* of closed segments' files, for readers */
    pthread_mutex_t mutex;           /* of the lists */
    struct log_segment *oldest_open; /* segments whose files are open and not held */
    struct log_segment *newest_open;
    _Atomic uint32_t open_count; /* at most segments_open_max; written under the mutex */
    struct log_segment *first;
    struct log_segment *last;
    struct log_segment *doomed;                  /* to be removed by log_store_retain */
    struct log_numbers *numbers;                 /* what the file has; helper thread */
    struct segment_index_builder *spare_builder; /* for the next index; helper thread */
    uint32_t spare_age; /* calls of log_store_retain since it was put here */
    uint64_t *named;    /* by partition: the newest indexed segment that names it; helper thread */
};

/* Lock, manifest, numbers, recovery (log_recovery.c). As embedded_store_open. The caller has set
 * config, heap, helper_heap (used only by the caller's thread until this returns) and log (NULL:
 * none), the rest is zero. After an error nothing is held. Every segment found has its index. */
int log_store_open(struct log_store *store, char *error);

/* No helper runs any more, and no handle is there. With `is_clean`, and unless `is_cut_short`,
 * everything committed is synced: the numbers file then says so, and where each partition ends
 * (`tails`). */
void log_store_close(struct log_store *store, bool is_clean);

/* Makes a preallocated segment file of that capacity: created, its directory entry synced, all
 * zero, open for writing. Helper thread. Out: with one reference. 0 or -errno (-ENOSPC), nothing
 * left. */
int log_store_prepare(struct log_store *store, uint64_t capacity, struct log_segment **out_segment);

/* Indexes a segment that nobody writes any more, whose data ends at `data_end` (0: nothing counts;
 * what is behind is cut off), and gives it its index. In slices of some milliseconds: called again
 * while it answers -EAGAIN, with the same `state`, NULL at first. Helper thread. 0; or -errno: then
 * *state is NULL again and it may be called from the start (-EBADMSG: the file is damaged). A
 * segment without records gets an index without partitions' records and is dropped by this. */
int log_store_index(struct log_store *store, struct log_segment *segment, uint64_t data_end,
                    void **state);

/* Gives a slice's memory back, of a segment that will not be indexed. Helper thread. */
void log_store_index_cancel(struct log_store *store, void **state);

/* Looks which segments are too old or too many, and sets retain_from; removes what was dropped.
 * Helper thread; each second and when a segment was made. retain_from may lie above a segment that
 * is still written: its writer leaves it, and its extents go when it has its index. */
void log_store_retain(struct log_store *store, uint64_t wall_ms);

/* Makes sequences of this partition below `until` usable: durable in the numbers file. Helper
 * thread. 0 or -errno. What a start reserved is LOG_STORE_RESERVE. */
int log_store_reserve(struct log_store *store, uint16_t partition, uint64_t until);

void log_segment_acquire(struct log_segment *segment);
/* Any thread. */
void log_segment_release(struct log_store *store, struct log_segment *segment);
/* Any thread, once, when extent_count has become 0: gives the list's reference up, so that the
 * files go when nobody reads them any more. */
void log_segment_drop(struct log_store *store, struct log_segment *segment);

#endif
