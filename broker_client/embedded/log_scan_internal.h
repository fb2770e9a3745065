/*
 * Reads the batches of a segment file one after the other, through a buffer. Nothing of the file is
 * trusted: what is not a whole valid batch, of the number that is due, ends the scan.
 *
 * Owner: the caller, which gives the heap. Thread: whoever opens the store, or its helper thread.
 * Blocks on the disk.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_SCAN_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_SCAN_INTERNAL_H

#include "segment_internal.h"

struct heap;

/* Bytes that are read at once, unless a batch has more. */
enum { LOG_SCAN_BYTES = 1 << 20 };

struct log_scan {
    struct heap *heap;
    int fd;
    uint64_t seed;       /* of the segment */
    uint64_t number;     /* of the segment */
    uint64_t file_bytes; /* nothing is read from there on */
    uint64_t offset;     /* of the next batch */
    uint64_t batch;      /* its number */
    unsigned char *buffer;
    uint64_t buffer_offset; /* in the file */
    size_t buffer_count;
    size_t buffer_bytes;
};

/* `seed`: segment_seed of this number. `file_bytes` may be less than the file has. 0, -ENOMEM. */
int log_scan_init(struct log_scan *scan, struct heap *heap, int fd, uint64_t seed, uint64_t number,
                  uint64_t file_bytes);
void log_scan_deinit(struct log_scan *scan);

/* The segment's header; the scan then stands behind it. *out_partitions is the caller's to be freed
 * into the heap. 0, -ENODATA (never written), -EBADMSG (also a file that ends in it),
 * -EPROTONOSUPPORT, -ENOMEM, or what the disk said. */
int log_scan_header(struct log_scan *scan, struct segment_header *out_header,
                    struct segment_partition **out_partitions);

/* The next batch, which is told of as segment_batch_scan does; the scan then stands behind it. 0;
 * -ENODATA: no whole valid batch stands there; what on_record gave; -ENOMEM, or what the disk said.
 */
int log_scan_next(struct log_scan *scan, void *context,
                  int (*on_record)(void *context, const struct segment_record *record));

/* Looks behind the scan's place, or from `from` on, for a batch header with at least this number,
 * and for the last byte that is not zero; the scan then stands at what was found. 1: found; 0: not;
 * or -errno. *out_end is the offset behind the last such byte, or the scan's place. */
int log_scan_search(struct log_scan *scan, uint64_t from, uint64_t batch_min, uint64_t *out_end);

#endif
