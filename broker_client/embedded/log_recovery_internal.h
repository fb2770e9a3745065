/*
 * What a start finds in a log. Recovery looks at every segment, the newest first, since a segment
 * counts only up to where the next one of a partition begins (log_examine.c); if nothing is
 * refused it cuts, syncs and indexes what had no index, and tells where each partition goes on
 * (log_recovery.c). Before that it changes nothing.
 *
 * Thread: the one that opens the store. Blocks on the disk.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_RECOVERY_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_RECOVERY_INTERNAL_H

#include "core/base.h"
#include "log_files_internal.h"
#include "log_store_internal.h"

enum recovery_verdict {
    RECOVERY_INDEXED, /* closed: its index is believed */
    RECOVERY_SCANNED, /* read whole, to be cut, synced and indexed */
    RECOVERY_NOTHING  /* nothing in it counts: it goes */
};

/* A segment file that is there. */
struct recovery_segment {
    uint64_t number;
    bool has_data;
    bool has_index;
    bool forgets_later; /* it is taken whole, and later ones, that were begun again, are not */
    bool is_forgotten;  /* one of those: RECOVERY_NOTHING */
    enum recovery_verdict verdict;
    uint16_t shard;              /* whose it was, when it was scanned */
    struct log_segment *segment; /* NULL until it was examined */
    uint64_t file_bytes;
    uint64_t data_end;
    uint64_t rewrite_from; /* from here to data_end it is written again before it is synced */
};

/* Of a partition, from the segments that were examined so far. */
struct recovery_partition {
    uint64_t limit;        /* older segments hold it up to here; UINT64_MAX: whatever they have */
    uint64_t limit_number; /* of the segment that says so */
    uint64_t end;          /* last sequence + 1; 0: no segment names it */
    uint64_t end_number;   /* of the newest segment that names it */
    uint32_t slot;         /* scratch of one examination: where the segment's header names it */
};

struct recovery {
    struct log_store *store;
    char *error;
    struct recovery_segment *segments; /* ascending */
    uint32_t segment_count;
    uint32_t segment_capacity;
    struct recovery_partition *partitions;
    bool has_numbers; /* those of the run before; else a new directory, or they are rebuilt */
};

/* A segment's number says its run. */
static inline uint64_t recovery_run(uint64_t number)
{
    return number >> 32;
}

/* Examines segments[position]; those above it were. Fills in its verdict, and what it says of its
 * partitions. 0, or -errno with the error's line. */
int log_examine(struct recovery *recovery, uint32_t position);

/* Of log_gaps.c: one warning about numbers that are missing between a partition's extents, or below
 * where a run that ended in order has left it, and that no start is known to have left out. Before
 * this start's own are added to the partitions' jumps. */
void log_gaps_tell(const struct recovery *recovery);

/* Recovery whole, into `store`: segments, partitions, numbers as the run before left them. 0 or
 * -errno with the error's line. */
int log_recover(struct log_store *store, char *error);

/* Of log_store.c: a segment with the list's reference, in no list. */
struct log_segment *log_segment_create(const struct log_store *store, struct heap *heap,
                                       uint64_t number);
void log_segment_destroy(struct log_store *store, struct heap *heap, struct log_segment *segment);
/* Opens the data file of one that has none open, for writing. 0 or -errno. */
int log_segment_open(const struct log_store *store, struct log_segment *segment);
void log_segment_publish(struct log_store *store, struct log_segment *segment,
                         struct segment_index *index, int index_fd);
void log_store_append(struct log_store *store, struct log_segment *segment);
/* A file that is gone is removed: 0, else -errno. */
int log_segment_remove_file(struct log_store *store, uint64_t number, const char *suffix);

/* Writes the line and gives `result` back. */
int log_store_refuse(const struct log_store *store, char *error, int result, const char *format,
                     ...) ps_printf(4, 5);

#endif
