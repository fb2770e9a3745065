/*
 * The queue between two shards; see mailbox.h. Indexes run freely modulo 2^32 and are masked on
 * use. Each side keeps what it last saw of the other, so that a post touches no foreign cache line
 * while there is room, nor a take while there is mail.
 *
 * Sleep is Dekker's handshake over `published` and `is_sleeping`: each side writes its own and then
 * reads the other's, all four sequentially consistent, so at least one of them sees the other. (Not
 * fences: the thread sanitizer does not know them, and on x86 the price is the same.)
 */
#include "core/mailbox.h"

#include <assert.h>

#include "core/base.h"
#include "core/heap.h"

static_assert(sizeof(struct mail) == 64, "a mail is a cache line");

int mailbox_create(struct heap *heap, uint32_t entries_max, uint32_t reserved_max, size_t bytes_max,
                   struct mailbox **out_mailbox)
{
    enum { ENTRIES_MIN = 64 };
    ps_assert(entries_max <= 1U << 30 && bytes_max > 0);
    uint32_t entries = ENTRIES_MIN;
    while (entries < entries_max)
        entries *= 2;
    ps_assert(reserved_max < entries);
    struct mailbox *mailbox = heap_alloc_aligned(heap, alignof(struct mailbox), sizeof(*mailbox));
    struct mail *mails =
        heap_alloc_aligned(heap, alignof(struct mail), (size_t)entries * sizeof(struct mail));
    if (mailbox == NULL || mails == NULL) {
        heap_free(heap, mailbox);
        heap_free(heap, mails);
        return -ENOMEM;
    }
    *mailbox = (struct mailbox){
        .mails = mails,
        .entries_max = entries,
        .reserved_max = reserved_max,
        .bytes_max = bytes_max,
    };
    *out_mailbox = mailbox;
    return 0;
}

void mailbox_destroy(struct heap *heap, struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    heap_free(heap, mailbox->mails);
    heap_free(heap, mailbox);
}

/* Free entries; looks at the consumer's side only when the last look says that there are too few.
 */
static uint32_t free_entries(struct mailbox *mailbox, uint32_t wanted)
{
    uint32_t free = mailbox->entries_max - (mailbox->tail - mailbox->seen_head);
    if (free < wanted) {
        mailbox->seen_head = atomic_load_explicit(&mailbox->consumed, memory_order_acquire);
        free = mailbox->entries_max - (mailbox->tail - mailbox->seen_head);
    }
    return free;
}

static void put(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes)
{
    struct mail *slot = &mailbox->mails[mailbox->tail & (mailbox->entries_max - 1)];
    *slot = *mail;
    slot->weight_bytes = weight_bytes;
    mailbox->tail++;
    mailbox->posted_bytes += weight_bytes;
}

/* True when the byte cap lets `weight_bytes` more in. */
static bool has_bytes(struct mailbox *mailbox, uint32_t weight_bytes)
{
    uint64_t waiting = mailbox->posted_bytes - mailbox->seen_consumed_bytes;
    if (waiting + weight_bytes <= mailbox->bytes_max)
        return true;
    mailbox->seen_consumed_bytes =
        atomic_load_explicit(&mailbox->consumed_bytes, memory_order_relaxed);
    waiting = mailbox->posted_bytes - mailbox->seen_consumed_bytes;
    return waiting == 0 || waiting + weight_bytes <= mailbox->bytes_max;
}

bool mailbox_post(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes)
{
    if (free_entries(mailbox, mailbox->reserved_max + 1) <= mailbox->reserved_max ||
        !has_bytes(mailbox, weight_bytes))
        return false;
    put(mailbox, mail, weight_bytes);
    return true;
}

bool mailbox_post_reserved(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes)
{
    if (free_entries(mailbox, 1) == 0)
        return false;
    put(mailbox, mail, weight_bytes);
    return true;
}

bool mailbox_flush(struct mailbox *mailbox)
{
    if (atomic_load_explicit(&mailbox->published, memory_order_relaxed) == mailbox->tail)
        return false;
    atomic_store_explicit(&mailbox->published, mailbox->tail, memory_order_seq_cst);
    if (atomic_load_explicit(&mailbox->is_sleeping, memory_order_seq_cst) == 0)
        return false;
    /* One doorbell per sleep. Should the consumer have woken and gone to sleep again meanwhile,
     * this takes back its new announcement, but the doorbell that follows ends that sleep too. */
    atomic_store_explicit(&mailbox->is_sleeping, 0, memory_order_relaxed);
    return true;
}

bool mailbox_has_room(struct mailbox *mailbox)
{
    mailbox->seen_head = atomic_load_explicit(&mailbox->consumed, memory_order_acquire);
    mailbox->seen_consumed_bytes =
        atomic_load_explicit(&mailbox->consumed_bytes, memory_order_relaxed);
    uint64_t entries = mailbox->tail - mailbox->seen_head;
    uint64_t entries_max = mailbox->entries_max - mailbox->reserved_max;
    uint64_t bytes = mailbox->posted_bytes - mailbox->seen_consumed_bytes;
    return entries * 4 <= entries_max * 3 && bytes <= mailbox->bytes_max / 4 * 3;
}

struct mail *mailbox_take(struct mailbox *mailbox)
{
    mailbox->is_held = false;
    if (mailbox->head == mailbox->seen_published) {
        mailbox->seen_published = atomic_load_explicit(&mailbox->published, memory_order_acquire);
        if (mailbox->head == mailbox->seen_published)
            return NULL;
    }
    struct mail *mail = &mailbox->mails[mailbox->head & (mailbox->entries_max - 1)];
    mailbox->head++;
    mailbox->taken_bytes += mail->weight_bytes;
    return mail;
}

void mailbox_untake(struct mailbox *mailbox)
{
    ps_assert(mailbox->head != atomic_load_explicit(&mailbox->consumed, memory_order_relaxed));
    mailbox->is_held = true;
    mailbox->head--;
    mailbox->taken_bytes -= mailbox->mails[mailbox->head & (mailbox->entries_max - 1)].weight_bytes;
}

void mailbox_give_back(struct mailbox *mailbox)
{
    if (atomic_load_explicit(&mailbox->consumed, memory_order_relaxed) == mailbox->head)
        return;
    atomic_store_explicit(&mailbox->consumed_bytes, mailbox->taken_bytes, memory_order_relaxed);
    atomic_store_explicit(&mailbox->consumed, mailbox->head, memory_order_release);
}

bool mailbox_sleep(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->is_sleeping, 1, memory_order_seq_cst);
    if (mailbox->head == atomic_load_explicit(&mailbox->published, memory_order_seq_cst) ||
        mailbox->is_held)
        return true;
    mailbox_awake(mailbox);
    return false;
}

void mailbox_awake(struct mailbox *mailbox)
{
    atomic_store_explicit(&mailbox->is_sleeping, 0, memory_order_relaxed);
}

bool mailbox_is_empty(const struct mailbox *mailbox)
{
    return mailbox->head == atomic_load_explicit(&mailbox->published, memory_order_acquire);
}
