/*
 * The files of closed segments: opened when somebody reads, bounded in number, the ones that were
 * not read for the longest time closed again, so that a log of any length leaves descriptors to
 * connections. Both files of a segment, its data and its index, are open or neither is.
 *
 *   closed --segment_files_open--> held <--> at rest      at rest: in the order of the last use
 *      ^                                        |
 *      '---------- room for another ------------'
 *
 * A segment without an index is its writer's, open, and does not count here. Who holds files has a
 * reference on the segment, or an extent, and lets go of them before it.
 *
 * Threads: as each function says; the store's mutex guards what they share. Files are opened and
 * closed by the helper thread, or who opens the store, never by a shard.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_FILES_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_SEGMENT_FILES_INTERNAL_H

#include "core/helper_thread.h"
#include "log_store_internal.h"

/* How many segments may have their files open, beside those that are written. */
static inline uint32_t segment_files_max(const struct log_store *store)
{
    enum { DEFAULT = 256 };
    uint32_t max = store->config.segments_open_max;
    return max > 0 ? max : DEFAULT;
}

/* Any thread. True: both files are open until segment_files_let_go. */
bool segment_files_hold(struct log_store *store, struct log_segment *segment);
void segment_files_let_go(struct log_store *store, struct log_segment *segment);

/* Opens what is closed, and holds it: 0; -EAGAIN: segments_open_max are held; or what the disk
 * said. Helper thread. */
int segment_files_open(struct log_store *store, struct log_segment *segment);

/* The files of a segment that gets its index count from here on; they are closed when there is no
 * room. Nobody has seen the index yet. Helper thread. */
void segment_files_adopt(struct log_store *store, struct log_segment *segment);

/* Closes them, whatever they are: nobody has the segment any more, or nobody but a start yet. */
void segment_files_close(struct log_store *store, struct log_segment *segment);

/* Opens files for one shard: what its reads want is gathered and opened in one job. Owner and
 * thread: the log reader; the handle's shard. */
enum { SEGMENT_OPENER_MAX = 16 /* segments of one job; more ask again */ };

struct segment_opener {
    struct log_store *store;
    struct helper_port *port; /* NULL: no helper, every file is open */
    struct helper_job job;
    struct log_segment *segments[SEGMENT_OPENER_MAX]; /* referenced */
    int results[SEGMENT_OPENER_MAX]; /* 0: held for the opener until segment_opener_finish */
    uint32_t count;
    bool is_out;
};

/* 0 or -ENOMEM. `wake` may be NULL, as for helper_port_create. */
int segment_opener_init(struct segment_opener *opener, struct log_store *store, struct heap *heap,
                        void (*wake)(void *), void *wake_context);
/* Waits for the job. */
void segment_opener_deinit(struct segment_opener *opener, struct heap *heap);

/* Asks for a segment's files; forgotten when a job is out or full: who asked does so again after
 * the next one. */
void segment_opener_want(struct segment_opener *opener, struct log_segment *segment);

/* Begins the job if there is something to open. -EAGAIN: the helper takes none, nothing is asked
 * for any more. */
int segment_opener_submit(struct segment_opener *opener);

/* True: the job is done, segments and results are there until segment_opener_finish. */
bool segment_opener_take(struct segment_opener *opener);
/* What became of a segment: 0, -errno, or 1: it was not asked for. */
int segment_opener_result(const struct segment_opener *opener, const struct log_segment *segment);
void segment_opener_finish(struct segment_opener *opener);

#endif
