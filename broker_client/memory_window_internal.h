/*
 * The deduplication window of one partition: the ids of its latest records with their sequences, in
 * a ring, found through chains by hash. Ids leave in the order they came, by number or by age, so a
 * chain is never unlinked: a walk ends where it meets what has left.
 *
 * Owner and thread: the shard that owns the partition.
 */
#ifndef PENSTOCK_BROKER_CLIENT_MEMORY_WINDOW_INTERNAL_H
#define PENSTOCK_BROKER_CLIENT_MEMORY_WINDOW_INTERNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/record.h"

struct heap;
struct memory_log_account;

struct memory_window_id {
    struct record_id id;
    uint64_t sequence;
    uint32_t added_s;
    uint32_t older; /* number of the next one in the chain */
};

struct memory_window {
    struct heap *heap;
    struct memory_log_account *account;
    struct memory_window_id *ids; /* ring by number */
    uint32_t *newest;             /* number at the head of each chain */
    uint64_t hash_seed;
    uint32_t capacity; /* of the ring, and chains; a power of two, or 0 */
    uint32_t count_max;
    uint32_t first; /* number of the oldest id; numbers wrap, differences count */
    uint32_t next;
};

void memory_window_init(struct memory_window *window, struct heap *heap,
                        struct memory_log_account *account, uint32_t count_max, uint64_t hash_seed);
void memory_window_deinit(struct memory_window *window);

/* Its memory is the business of this heap and this account from here on. */
void memory_window_move(struct memory_window *window, struct heap *heap,
                        struct memory_log_account *account);

/* Forgets what was added before `oldest_s`. */
void memory_window_expire(struct memory_window *window, uint32_t oldest_s);

/* The sequence that came with `id`; 0: it is not in the window. */
uint64_t memory_window_find(const struct memory_window *window, struct record_id id);

/* Makes room for one more id, so that memory_window_add cannot fail. 0 or -ENOMEM. */
int memory_window_reserve(struct memory_window *window);

/* The oldest one leaves when there are count_max; the result says so. */
bool memory_window_add(struct memory_window *window, struct record_id id, uint64_t sequence,
                       uint32_t now_s);

#endif
