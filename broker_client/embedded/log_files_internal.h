/*
 * The two small files of a data directory, as broker_client/README.md lays them out: the manifest,
 * written once, and the numbers, replaced whole. Each is written so that a crash leaves the old or
 * the new one.
 *
 * Thread: whoever opens or closes the store, its helper thread between. Blocks on the disk.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_FILES_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_LOG_FILES_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "log_jumps_internal.h"

struct heap;

struct log_manifest {
    uint16_t partition_count;
    uint16_t partition_levels;
    uint64_t hash_seed;
};

/* 0, -ENOENT, -EBADMSG (damaged), -EPROTONOSUPPORT (another format), or what the disk said. */
int log_manifest_read(int directory, struct log_manifest *out_manifest);
int log_manifest_write(int directory, const struct log_manifest *manifest);

/* Of one partition: sequences from `reserved` on may not be given to a record, nor may those below
 * `floor`, whatever the log holds. */
struct log_number {
    uint64_t reserved;
    uint64_t floor;
    struct log_jumps jumps;
};

struct log_numbers {
    uint64_t run;
    uint32_t format; /* of the file, when it is another */
    uint8_t commit;  /* enum embedded_commit */
    bool is_clean;
    uint16_t partition_count;
    struct log_number partitions[];
};

/* NULL: memory is out. Everything else is zero. */
struct log_numbers *log_numbers_create(struct heap *heap, uint16_t partition_count);

/* Into one that was made for that many partitions. Results as log_manifest_read. */
int log_numbers_read(int directory, struct heap *heap, struct log_numbers *numbers);
int log_numbers_write(int directory, struct heap *heap, const struct log_numbers *numbers);

#endif
