/*
 * A file of ordered tables with atomic, durable transactions: what the keys of the embedded driver
 * stand on. Two implementations, chosen at link time: key_file_lmdb.c (LMDB, one file "keys.mdb"),
 * and tests/sim/key_file_sim.c, in memory, with the faults of a disk.
 *
 *   open -> begin -> get, seek, next, put, delete -> commit or abort -> begin ... -> close
 *
 * One transaction at a time, reading or writing. It sees its own writes. What get, seek and next
 * answer is borrowed until the next put or delete, and at most until the transaction's end. After a
 * put or delete that failed the transaction can only be aborted. After a commit that failed
 * (but with -EDQUOT, which leaves things as they were) the
 * file must be closed and opened again: mostly nothing of the transaction is stored, but it may
 * also be there as a whole, and then not yet durable: the next commit that succeeds makes it so.
 *
 * Results: 0 or -errno; -ENOENT: no such entry; -EDQUOT: the tables have no room left within
 * map_bytes; -EBADMSG: the file is damaged; -ENOSPC, -EIO and the like: the disk's.
 *
 * Threads: one at a time. Processes: one; the caller has locked the directory.
 */
#ifndef PENSTOCK_BROKER_CLIENT_EMBEDDED_KEY_FILE_H
#define PENSTOCK_BROKER_CLIENT_EMBEDDED_KEY_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_client/broker_request.h"

struct heap;
struct key_file;

enum { KEY_FILE_KEY_BYTES_MAX = 511 };

enum key_file_table { KEY_FILE_META, KEY_FILE_KEYS, KEY_FILE_EXPIRIES, KEY_FILE_TABLES };

struct key_file_options {
    const char *directory; /* exists; the file is made in it, mode 0640 */
    uint64_t map_bytes;    /* of address space, and the most that the file grows to */
    bool must_exist;       /* -ENOENT when there is no file, or one without tables */
    bool is_synced; /* else a power failure may take the last commit back, never what is before */
    char *error;    /* where the reason goes when it cannot be opened */
    size_t error_bytes;
};

struct key_file_entry {
    struct broker_bytes key;
    struct broker_bytes value;
};

/* Opens the file, or makes an empty one, which no failure of the power makes unmade. `heap` is used
 * by whoever calls, and by key_file_close.
 * Beside the results above: -ENOMEM: it cannot be mapped. */
int key_file_open(struct heap *heap, const struct key_file_options *options,
                  struct key_file **out_file);

/* Ends a transaction that is open. NULL is allowed. */
void key_file_close(struct heap *heap, struct key_file *file);

int key_file_begin(struct key_file *file, bool is_writing);
int key_file_commit(struct key_file *file);
void key_file_abort(struct key_file *file);

int key_file_get(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                 struct broker_bytes *out_value);

/* The first entry at or above `key` (count 0: the first of all), and the one after the last that
 * seek or next answered in this table, between which nothing was written. */
int key_file_seek(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                  struct key_file_entry *out_entry);
int key_file_next(struct key_file *file, enum key_file_table table,
                  struct key_file_entry *out_entry);

/* The value is `head` followed by `body`, either of which may be empty; it replaces what there was.
 */
int key_file_put(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                 struct broker_bytes head, struct broker_bytes body);
int key_file_delete(struct key_file *file, enum key_file_table table, struct broker_bytes key);

/* In a transaction: what the tables take of map_bytes, and what a page of them takes. */
uint64_t key_file_bytes_used(struct key_file *file);
uint32_t key_file_page_bytes(const struct key_file *file);

#endif
