/*
 * A single-producer single-consumer queue of 64-byte mails from one shard to another (or to
 * itself), bounded by entries and by the bytes that its mails stand for. Posts become visible at
 * mailbox_flush, so that one turn's mail costs one release store and at most one doorbell.
 *
 * Threads: post and flush by the producer, the rest by the consumer, as each line says.
 */
#ifndef PENSTOCK_CORE_MAILBOX_H
#define PENSTOCK_CORE_MAILBOX_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

/* The layers above lay their own structure over `bytes`. */
struct mail {
    uint32_t weight_bytes; /* filled in by mailbox_post */
    uint32_t reserved;
    unsigned char bytes[56];
};

struct mailbox {
    /* The producer's. */
    alignas(64) _Atomic uint32_t published;
    uint32_t tail;      /* posted, perhaps not yet published */
    uint32_t seen_head; /* `consumed` as last seen */
    uint64_t posted_bytes;
    uint64_t seen_consumed_bytes;
    /* The consumer's. */
    alignas(64) _Atomic uint32_t consumed;
    _Atomic uint64_t consumed_bytes;
    uint32_t head; /* taken, perhaps not yet given back */
    uint32_t seen_published;
    uint64_t taken_bytes;
    /* The consumer's, read by the producer after each flush. */
    alignas(64) _Atomic uint32_t is_sleeping;
    /* Immutable. */
    alignas(64) struct mail *mails;
    void *allocation;
    uint32_t entries_max; /* a power of two */
    uint32_t reserved_max;
    size_t bytes_max;
};

/* entries_max is rounded up to a power of two. 0 or -ENOMEM. */
int mailbox_create(struct heap *heap, uint32_t entries_max, uint32_t reserved_max, size_t bytes_max,
                   struct mailbox **out_mailbox);
void mailbox_destroy(struct heap *heap, struct mailbox *mailbox);

/* Producer. False when fewer than reserved_max entries would stay free, or the byte cap is reached
 * by mail that is already there (one mail may exceed it). */
bool mailbox_post(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes);

/* Producer. May use every entry and ignores the byte cap: for answers whose room a request
 * reserved. */
bool mailbox_post_reserved(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes);

/* Producer. Publishes what was posted. True when the consumer sleeps and needs its doorbell. */
bool mailbox_flush(struct mailbox *mailbox);

/* Producer: share of the mailbox that is in use, in 1/256 (entries or bytes, whichever is fuller).
 */
uint32_t mailbox_fill(struct mailbox *mailbox);

/* Consumer. The next mail, or NULL; it stays valid until mailbox_give_back. */
struct mail *mailbox_take(struct mailbox *mailbox);

/* Consumer. The last taken mail was not handled: take gives it again. */
void mailbox_untake(struct mailbox *mailbox);

/* Consumer. Gives the room of every taken mail back to the producer. */
void mailbox_give_back(struct mailbox *mailbox);

/* Consumer. Announces sleep; false when mail is there after all (then it is awake again). */
bool mailbox_sleep(struct mailbox *mailbox);
void mailbox_awake(struct mailbox *mailbox);

/* Consumer. */
bool mailbox_is_empty(const struct mailbox *mailbox);

#endif
