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

/* One cache line. The layers above lay their own structure of up to MAIL_BYTES over `bytes`, which
 * is aligned to 8. */
enum { MAIL_BYTES = 56 };

struct mail {
    alignas(64) uint32_t weight_bytes; /* filled in by mailbox_post */
    uint32_t reserved;
    unsigned char bytes[MAIL_BYTES];
};

/* One cache line per writer and reader: what the producer writes with each post shares none with
 * what the consumer polls. */
struct mailbox {
    /* Immutable. */
    alignas(64) struct mail *mails;
    uint32_t entries_max; /* a power of two */
    uint32_t reserved_max;
    size_t bytes_max;
    /* The producer's own. */
    alignas(64) uint32_t tail; /* posted, perhaps not yet published */
    uint32_t seen_head;        /* `consumed` as last seen */
    uint64_t posted_bytes;
    uint64_t seen_consumed_bytes;
    /* Written by the producer, read by the consumer. */
    alignas(64) _Atomic uint32_t published;
    /* The consumer's own. */
    alignas(64) uint32_t head; /* taken, perhaps not yet given back */
    uint32_t seen_published;
    uint64_t taken_bytes;
    bool is_held; /* the next mail could not be handled */
    /* Written by the consumer, read by the producer. */
    alignas(64) _Atomic uint32_t consumed;
    _Atomic uint64_t consumed_bytes;
    /* Set by the consumer, read after each flush and taken back by the producer. */
    alignas(64) _Atomic uint32_t is_sleeping;
};

/* Any thread, before the two begin. entries_max is rounded up to a power of two, at least 64, and
 * stays above reserved_max; bytes_max > 0. 0 or -ENOMEM. */
int mailbox_create(struct heap *heap, uint32_t entries_max, uint32_t reserved_max, size_t bytes_max,
                   struct mailbox **out_mailbox);

/* Any thread, after the two have ended. Mail in it is forgotten; NULL is allowed. */
void mailbox_destroy(struct heap *heap, struct mailbox *mailbox);

/* Producer. Copies the mail. False when fewer than reserved_max entries
 * would stay free, or the byte cap would be passed (a mail heavier than the cap passes when it is
 * the only one). */
bool mailbox_post(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes);

/* Producer. May use every entry and ignores the byte cap: for answers whose room a request
 * reserved. False when there is no entry at all. */
bool mailbox_post_reserved(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes);

/* Producer. Publishes what was posted. True when the consumer sleeps: the caller must ring its
 * doorbell, and is told so once per sleep. */
bool mailbox_flush(struct mailbox *mailbox);

/* Producer: a quarter of what mailbox_post may use is free, in entries and in bytes, so that trying
 * again after a refusal is worth it. */
bool mailbox_has_room(struct mailbox *mailbox);

/* Consumer. The next mail, or NULL; it stays valid until mailbox_give_back. */
struct mail *mailbox_take(struct mailbox *mailbox);

/* Consumer. The last taken mail, not yet given back, was not handled: take gives it again. Until
 * then what is here does not keep the consumer awake: it knows what it waits for. */
void mailbox_untake(struct mailbox *mailbox);

/* Consumer. Gives the room of every taken mail back to the producer. */
void mailbox_give_back(struct mailbox *mailbox);

/* Consumer. Announces sleep; false when mail is there after all (then it is awake again), unless
 * it is held up by one that was untaken. After
 * true every flush of mail rings, until mailbox_awake. */
bool mailbox_sleep(struct mailbox *mailbox);
void mailbox_awake(struct mailbox *mailbox);

/* Consumer. Nothing published is left to take. */
bool mailbox_is_empty(const struct mailbox *mailbox);

/* Consumer. The same, or it is held up by one that was untaken. */
static inline bool mailbox_is_quiet(const struct mailbox *mailbox)
{
    return mailbox->is_held || mailbox_is_empty(mailbox);
}

/* By a thread that is both: nothing was posted that was not taken. */
static inline bool mailbox_is_clear(const struct mailbox *mailbox)
{
    return mailbox->head == mailbox->tail;
}

#endif
