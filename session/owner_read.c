/*
 * The owner's side of reads; see late_read.h. The read is the owner's from its mail until its
 * answer.
 */
#include "core/base.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/late_read.h"
#include "session/owner.h"

/* "Up to the tail" means: everything that was handed over before this answer is below `next`, and
 * everything from `next` on will be handed over after it. A shard that is late gets no hand-overs,
 * so that only its own read may say so, and then ends its lateness. */
static bool is_up_to_tail(struct owner_partition *partition, const struct late_read *read)
{
    if (read->pull.status != BROKER_OK || read->pull.next <= partition->handed_over)
        return false;
    uint64_t shard_bit = 1ULL << read->from_shard;
    if (!(partition->late_shards & shard_bit))
        return true;
    if (read->purpose != LATE_READ_SHARD)
        return false;
    partition->late_shards &= ~shard_bit;
    return true;
}

static void answer(struct owner *owner, struct late_read *read)
{
    read->is_up_to_tail = is_up_to_tail(owner_partition(owner, read->pull.partition), read);
    const struct hub_mail mail = {
        .kind = HUB_MAIL_READ_ANSWER,
        .partition = read->pull.partition,
        .pointer = read,
    };
    hub_answer(owner->hub, read->from_shard, &mail);
}

static void unlink_read(struct late_read *read)
{
    *read->link = read->next;
    if (read->next != NULL)
        read->next->link = read->link;
}

static void on_pulled(struct broker_pull *pull)
{
    struct owner *owner = pull->request.owner;
    struct late_read *read = ps_container_of(pull, struct late_read, pull);
    unlink_read(read);
    for (uint32_t i = 0; i < pull->count; i++) {
        record_acquire(pull->records[i]);
        if (pull->records[i]->topic_hash == 0)
            pull->records[i]->topic_hash =
                topic_index_hash(&owner->index, (const char *)record_topic(pull->records[i]),
                                 pull->records[i]->topic_bytes);
    }
    answer(owner, read);
}

void owner_read(struct owner *owner, struct late_read *read)
{
    read->pull.on_done = on_pulled;
    read->pull.request.owner = owner;
    read->pull.wait = false;
    if (broker_pull(owner->hub->broker, &read->pull) == 0) {
        read->next = owner->reads;
        read->link = &owner->reads;
        if (read->next != NULL)
            read->next->link = &read->next;
        owner->reads = read;
        return;
    }
    /* The queue is full: the reader comes again. */
    read->pull.count = 0;
    read->pull.removed = 0;
    read->pull.next = read->pull.from;
    read->pull.status = BROKER_UNKNOWN;
    answer(owner, read);
}
