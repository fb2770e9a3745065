/*
 * The queue between two shards; see mailbox.h. Indexes run freely modulo 2^32 and are masked on
 * use. The producer keeps what it last saw of the consumer, so that a post touches no foreign cache
 * line while there is room.
 */
#include "core/mailbox.h"

#include "core/base.h"
#include "core/heap.h"

int mailbox_create(struct heap *heap, uint32_t entries_max, uint32_t reserved_max, size_t bytes_max,
                   struct mailbox **out_mailbox)
{
    uint32_t entries = 64;
    while (entries < entries_max)
        entries *= 2;
    ps_assert(reserved_max < entries);
    struct mailbox *mailbox = heap_alloc(heap, sizeof(struct mailbox) + alignof(struct mailbox));
    struct mail *mails = heap_alloc(heap, (size_t)entries * sizeof(struct mail));
    if (mailbox == NULL || mails == NULL) {
        heap_free(heap, mailbox);
        heap_free(heap, mails);
        return -ENOMEM;
    }
    void *unaligned = mailbox;
    size_t misaligned = (uintptr_t)unaligned % alignof(struct mailbox);
    mailbox = (struct mailbox *)(void *)((char *)unaligned + alignof(struct mailbox) - misaligned);
    memset(mailbox, 0, sizeof(*mailbox));
    mailbox->allocation = unaligned;
    mailbox->mails = mails;
    mailbox->entries_max = entries;
    mailbox->reserved_max = reserved_max;
    mailbox->bytes_max = bytes_max;
    *out_mailbox = mailbox;
    return 0;
}

void mailbox_destroy(struct heap *heap, struct mailbox *mailbox)
{
    if (mailbox == NULL)
        return;
    heap_free(heap, mailbox->mails);
    heap_free(heap, mailbox->allocation);
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

bool mailbox_post(struct mailbox *mailbox, const struct mail *mail, uint32_t weight_bytes)
{
    if (free_entries(mailbox, mailbox->reserved_max + 1) <= mailbox->reserved_max)
        return false;
    if (mailbox->posted_bytes - mailbox->seen_consumed_bytes + weight_bytes > mailbox->bytes_max) {
        mailbox->seen_consumed_bytes =
            atomic_load_explicit(&mailbox->consumed_bytes, memory_order_relaxed);
        uint64_t waiting = mailbox->posted_bytes - mailbox->seen_consumed_bytes;
        if (waiting != 0 && waiting + weight_bytes > mailbox->bytes_max)
            return false;
    }
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
    atomic_store_explicit(&mailbox->published, mailbox->tail, memory_order_release);
    /* Pairs with the fence of mailbox_sleep: either the consumer sees this mail, or it is seen
     * asleep. */
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&mailbox->is_sleeping, memory_order_relaxed) != 0;
}

uint32_t mailbox_fill(struct mailbox *mailbox)
{
    mailbox->seen_head = atomic_load_explicit(&mailbox->consumed, memory_order_acquire);
    mailbox->seen_consumed_bytes =
        atomic_load_explicit(&mailbox->consumed_bytes, memory_order_relaxed);
    uint64_t entries = (uint64_t)(mailbox->tail - mailbox->seen_head) * 256 / mailbox->entries_max;
    uint64_t bytes =
        (mailbox->posted_bytes - mailbox->seen_consumed_bytes) * 256 / mailbox->bytes_max;
    return (uint32_t)ps_min_u64(256, ps_max_u64(entries, bytes));
}

struct mail *mailbox_take(struct mailbox *mailbox)
{
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
    atomic_store_explicit(&mailbox->is_sleeping, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    if (mailbox_is_empty(mailbox))
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
