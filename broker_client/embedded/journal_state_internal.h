/*
 * The inside of a journal, shared by journal.c (records, batches, writes) and journal_segment.c
 * (segments: prepared, left, indexed). Positions count the records that were ever added:
 *
 *   kept <= sync position <= written <= encoded <= added       kept <= committed <= added
 *
 * kept..added are in `pending`. After a failure written and encoded fall back to kept, and
 * everything is encoded again for another segment.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_JOURNAL_STATE_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_JOURNAL_STATE_INTERNAL_H

#include "core/helper_thread.h"
#include "core/ring_file.h"
#include "journal_internal.h"

enum { JOURNAL_PAUSE_FIRST_MS = 100, JOURNAL_PAUSE_MAX_MS = 5000, JOURNAL_SYNC_MS = 500 };

/* A segment that batches go to: the current one, and one that was left and is not yet synced. */
struct journal_writer {
    struct log_segment *segment; /* NULL: none */
    uint64_t end;                /* behind the batches that were sent */
    uint64_t written_end;
    uint64_t synced_end; /* 0: nothing of it counts */
    uint64_t added;      /* position behind its last record */
    uint64_t begun_ns;   /* when its first batch was sent */
    uint64_t batches;
    bool is_closing;
};

struct journal_batch {
    unsigned char *fixed; /* room for a segment's header, then a batch */
    unsigned char *own;   /* the same for one larger record; NULL: none */
    struct journal_writer *writer;
    uint64_t first; /* position of its first record */
    uint64_t begun_ns;
    uint32_t records;
    uint32_t bytes;
    uint32_t room;
    bool is_full;
};

/* The pause before something is tried again. */
struct journal_pause {
    uint64_t until_ns;
    uint32_t ms; /* 0: the last attempt succeeded */
};

struct journal_retired {
    struct log_segment *segment;
    uint64_t data_end; /* 0: nothing of it counts */
    uint64_t until;    /* it has the only copy of what is committed before this position, if that is
                          not written elsewhere yet */
};

/* A job of the helper thread, and what it is about. */
struct journal_job {
    struct helper_job job;
    struct journal *journal;
    struct log_segment *segment;
    struct journal_pause pause;
    uint64_t bytes; /* capacity, or where the data ends */
    void *state;
    int status;
    bool is_out;
};

struct journal {
    struct log_store *store;
    struct ring *ring;
    struct heap *heap;
    struct helper_port *port;
    struct journal_events events;
    struct journal_counters counters;
    uint16_t shard;
    uint16_t partition_count; /* of the shard */
    uint32_t header_bytes;
    enum embedded_commit commit;
    struct segment_partition *partitions; /* scratch for a header */

    struct record **pending; /* ring by position, JOURNAL_PENDING_MAX */
    uint64_t kept;
    uint64_t committed;
    uint64_t written;
    uint64_t encoded;
    uint64_t added;
    uint64_t unsynced_since_ns;

    struct journal_batch batches[2];
    struct journal_batch *gathering;
    struct journal_batch *sent; /* NULL: no write is under way */
    struct journal_writer writers[2];
    struct journal_writer *current;
    struct journal_writer *leaving;

    struct ring_file_request write;
    struct ring_file_request sync;
    uint64_t write_ns; /* when it was submitted */
    uint64_t sync_position;
    uint64_t sync_end;
    struct journal_writer *sync_writer; /* NULL: no sync is under way */
    bool is_write_done;                 /* taken, and to be dealt with */
    bool is_sync_done;
    int failure; /* of a write or sync; dealt with when nothing is under way any more */
    struct journal_pause pause;
    bool is_unhealthy;

    struct log_segment *spare;
    uint64_t open_max_ns;     /* of a segment; UINT64_MAX: until it is full */
    uint64_t capacity_wanted; /* by a record that is larger than a usual segment; 0: none */
    uint64_t stalled_since_ns;
    bool is_stalled; /* a record found no segment */
    struct journal_job prepare;
    struct journal_job index;
    struct journal_retired retired[JOURNAL_RETIRED_MAX];
    uint32_t retired_count;
    uint64_t now_ns;
};

/* Where a batch of that many bytes goes: the current segment, or the next one when it does not fit.
 * NULL: not before a segment is prepared, or the one before is synced. */
struct journal_writer *journal_segment_for(struct journal *journal, uint64_t bytes);

/* Gives up both segments, whose batches are not all synced. */
void journal_segment_abandon(struct journal *journal);

/* Takes finished jobs, retires what is left and synced, begins jobs. */
void journal_segment_turn(struct journal *journal);
uint64_t journal_segment_deadline_ns(const struct journal *journal);

int journal_segment_init(struct journal *journal, void (*wake)(void *), void *wake_context);
/* Waits for the jobs; no others are begun. */
void journal_segment_stop(struct journal *journal);
void journal_segment_deinit(struct journal *journal);

/* At the end: syncs what was left and lets it go, prepares a segment if there is none that fits,
 * and waits for that. 0, or -errno; -ENOMEM when that was not what a record waited for. */
int journal_segment_make_room(struct journal *journal);

/* Counts a failure; the next attempt comes after a longer pause. */
void journal_pause(struct journal *journal, struct journal_pause *pause);

/* Notes a failure, says so once, and when the next attempt may come. */
void journal_fail(struct journal *journal, struct journal_pause *pause, const char *operation,
                  int error);
/* A batch is written: what failed before is over. */
void journal_heal(struct journal *journal);

#endif
