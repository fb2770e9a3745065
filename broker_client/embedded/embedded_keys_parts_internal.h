/*
 * What the parts of the embedded keys share: embedded_keys.c (the helper's job), embedded_batch.c
 * (requests on the file), embedded_watch.c (watches), embedded_keys_port.c (a shard's side).
 *
 * Who may touch what: a comment above each group of fields says `shard` (the port's), `helper` (the
 * job, of which one is in flight at a time; before and after that, who opens and closes), `mutex`,
 * or that it never changes. The helper holds the mutex to gather and to publish, never while it is
 * at the file.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_KEYS_PARTS_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_EMBEDDED_KEYS_PARTS_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "broker_client/broker_driver.h"
#include "broker_client/embedded/key_file.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "embedded_keys_internal.h"
#include "embedded_watch_internal.h"

enum {
    EMBEDDED_BATCH_TASKS_MAX = 1024,
    EMBEDDED_BATCH_WRITES_MAX = 4096,      /* a batch ends behind the commit that reaches it */
    EMBEDDED_BATCH_BYTES_MAX = 4 << 20,    /* of keys and values written; likewise */
    EMBEDDED_ANSWER_BYTES_MAX = 8 << 20,   /* of a batch; likewise */
    EMBEDDED_ANSWERED_BYTES_MAX = 16 << 20 /* of a port; it is served again when they are taken */
};

/* A request on its way. */
struct embedded_task {
    struct embedded_task *next;
    struct embedded_keys_port *port;
    struct broker_request *request;
    void *answer; /* the keys and values that the answer borrows; of the helper's heap */
    uint64_t answer_bytes;
    uint16_t resume_bytes; /* of a list under way: `answer` is the key after which it goes on */
    bool is_cancelled;     /* while in a batch: answered as cancelled if that comes to nothing */
    bool is_refused;       /* a commit for which the file had no room */
};

struct embedded_tasks {
    struct embedded_task *first;
    struct embedded_task *last;
    uint32_t count;
};

struct embedded_keys_port {
    struct embedded_keys *keys;
    struct embedded_keys_port_options options;
    struct embedded_task *tasks; /* shard: requests_max of them, and down to `is_healthy` */
    struct embedded_tasks free;
    struct embedded_tasks fresh; /* submitted since the last turn */
    struct embedded_tasks done;  /* to be called back */
    struct broker_queue ended;   /* watches to be called back */
    struct embedded_watch *watches;
    uint32_t watch_count;
    uint64_t freed_bytes; /* of answers, not yet taken off answered_bytes */
    uint64_t full_commits;
    uint64_t refused_reads;
    bool is_healthy;                 /* as was told */
    bool is_kicking;                 /* the helper has something to do for this port */
    bool has_backlog;                /* watches have to be looked at in the next turn */
    _Atomic bool is_called;          /* woken, and has not had its turn since */
    struct embedded_keys_port *next; /* mutex: this and what follows */
    struct embedded_tasks waiting;
    uint32_t in_batch_count; /* the first of those that wait */
    struct embedded_tasks answered;
    uint64_t answered_bytes;
};

/* What is stored beside the keys. */
struct embedded_state {
    uint64_t number;   /* of the batch; one that failed is there if this is its number or more */
    uint64_t revision; /* the last one given */
    uint64_t key_count;
    uint64_t key_bytes;
    uint64_t kind_count;
    char counted_kind; /* what it counts */
};

/* Of one round; a batch whose commit failed is kept until it is known whether it is stored. */
struct embedded_batch {
    struct embedded_task *tasks[EMBEDDED_BATCH_TASKS_MAX]; /* NULL: its port has gone */
    uint32_t count;
    uint32_t done_count; /* the first ones, that have their answers */
    uint64_t wall_ms;
    struct embedded_state next;
    struct embedded_news_list
        news; /* deletions, and with has_watches everything that was written */
    uint64_t answer_bytes;
    uint64_t growth_bytes; /* what the file may have grown by */
    uint64_t file_bytes;   /* before */
    uint64_t kind_expired;
    uint64_t next_expiry_ms;
    bool has_watches;
    bool is_writing;
    bool is_sweeping;
    bool is_probing; /* writes in any case, to see whether the disk does */
    bool is_dirty;   /* something was written */
    bool has_moved;  /* some request came on without being answered */
};

/* What of a batch has been gathered. */
struct embedded_gathered {
    uint64_t writes;
    uint64_t bytes;
};

struct embedded_keys {
    struct embedded_keys_options options; /* never changes, its defaults filled in */
    char *directory;
    uint64_t file_bytes_max;     /* commits that add to the file are refused beyond */
    struct heap heap;            /* helper: this and down to `pause_ms` */
    struct key_file *file;       /* NULL: could not be opened again */
    struct embedded_state state; /* the last one known to be durable */
    struct embedded_batch batch;
    bool is_batch_kept;
    bool is_failing;
    uint64_t failed_ms;
    uint64_t pause_ms;
    struct embedded_news_list deletions;
    struct helper_job job;
    _Atomic uint64_t wall_ms;        /* any thread: this and down to the mutex */
    _Atomic uint64_t next_expiry_ms; /* UINT64_MAX: nothing expires */
    _Atomic uint64_t kicked_ms;
    _Atomic bool is_healthy;
    _Atomic bool is_stalled; /* something waits that only time or a turn can help */
    _Atomic uint64_t key_count;
    _Atomic uint64_t key_bytes;
    _Atomic uint64_t kind_count;
    _Atomic uint64_t kind_expired;
    _Atomic uint64_t batches;
    _Atomic uint64_t batch_failures;
    _Atomic uint64_t longest_commit_ns;
    pthread_mutex_t mutex;
    pthread_cond_t idle;              /* the job has ended */
    struct embedded_keys_port *ports; /* mutex: this and what follows */
    struct embedded_watch *watches;
    uint64_t revision;           /* as of `state` */
    uint64_t forgotten_revision; /* of the last deletion that is not kept any more */
    bool is_scheduled;           /* the job is in flight */
    bool is_running;
};

void embedded_tasks_push(struct embedded_tasks *tasks, struct embedded_task *task);
struct embedded_task *embedded_tasks_pop(struct embedded_tasks *tasks);

/* Under the mutex: has the helper run the job, if it does not already. */
void embedded_keys_schedule(struct embedded_keys *keys);

/* Under the mutex: makes the port's shard have a turn, once until it had it. */
void embedded_keys_call(struct embedded_keys_port *port);

/* What a batch does at the file, on the helper's thread. */

/* Carries out the tasks of keys->batch, and the sweep, within a transaction that is left open for
 * the commit when the batch is dirty. Tasks behind done_count are for a later batch. 0, or -errno
 * of the file; nothing is open then. */
int embedded_batch_run(struct embedded_keys *keys);

/* After -EDQUOT, also of the commit: makes the batch smaller, so that it can be run again. False:
 * nothing is left that could be left out. */
bool embedded_batch_shrink(struct embedded_keys *keys);

/* Forgets what the batch made. */
void embedded_batch_reset(struct embedded_keys *keys);

/* In a transaction: the state that is stored. -ENOENT: there is none; -EPROTO: another format. */
int embedded_state_load(struct embedded_keys *keys, struct embedded_state *out_state);
int embedded_state_store(struct embedded_keys *keys, const struct embedded_state *state);

/* In a transaction: when the next key expires. */
int embedded_batch_next_expiry(struct embedded_keys *keys, uint64_t *out_ms);

/* A value as it is stored. */
struct embedded_record {
    uint64_t revision;
    uint64_t expires_ms; /* 0: never */
    struct broker_bytes value;
};

/* False: too short to be one. */
bool embedded_record_read(struct broker_bytes stored, struct embedded_record *out_record);

static inline bool embedded_record_is_expired(const struct embedded_record *record,
                                              uint64_t wall_ms)
{
    return record->expires_ms != 0 && record->expires_ms <= wall_ms;
}

#endif
