/*
 * The owner's side of interest; see interest.h. An owner's index holds each filter once, with a bit
 * for each shard that wants it and one reference while any bit is set.
 */
#include "core/base.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/interest.h"
#include "session/owner.h"

static void add(struct owner *owner, struct interest_filter *wanted, uint64_t shard_bit)
{
    struct filter *filter = NULL;
    if (filter_acquire(&owner->index, wanted->text, wanted->bytes, &filter) != 0) {
        atomic_store_explicit(&wanted->is_refused, true, memory_order_relaxed);
        return;
    }
    if (filter->shards == 0)
        topic_index_activate(&owner->index, filter);
    else
        filter_release(&owner->index, filter); /* the reference of its first shard stays */
    filter->shards |= shard_bit;
}

static void drop(struct owner *owner, const struct interest_filter *unwanted, uint64_t shard_bit)
{
    struct filter *filter = filter_find(&owner->index, unwanted->text, unwanted->bytes);
    if (filter == NULL || !(filter->shards & shard_bit))
        return;
    filter->shards &= ~shard_bit;
    if (filter->shards != 0)
        return;
    topic_index_deactivate(&owner->index, filter);
    filter_release(&owner->index, filter);
}

static void answer(struct owner *owner, struct interest_request *request, bool is_drop)
{
    for (uint32_t i = 0; !is_drop && i < owner->partition_count; i++) {
        const struct owner_partition *partition = &owner->partitions[i];
        request->from[partition->partition] = partition->handed_over + 1;
    }
    const struct hub_mail mail = {
        .kind = is_drop ? HUB_MAIL_INTEREST_DROPPED : HUB_MAIL_INTEREST_ANSWER,
        .pointer = request,
    };
    hub_answer(owner->hub, request->from_shard, &mail);
}

/* Whether everything that was committed when the request came has been handed over. */
static bool is_caught_up(const struct owner *owner, const struct interest_request *request)
{
    for (uint32_t i = 0; i < owner->partition_count; i++) {
        const struct owner_partition *partition = &owner->partitions[i];
        if (partition->handed_over < request->from[partition->partition])
            return false;
    }
    return true;
}

/* A message that was acknowledged before the SUBSCRIBE is none of its live ones, and a retained one
 * is among its retained ones: so the answer waits until the channels have brought what the driver
 * has committed. Until then `from` holds the committed tail, and the room of the request's way here
 * is its place in the list. */
static void answer_when_caught_up(struct owner *owner, struct interest_request *request)
{
    for (uint32_t i = 0; i < owner->partition_count; i++)
        request->from[owner->partitions[i].partition] = owner->partitions[i].committed;
    if (is_caught_up(owner, request)) {
        answer(owner, request, false);
        return;
    }
    struct outbox_mail *waiting = &request->rooms[owner->hub->shard->index];
    *waiting = (struct outbox_mail){.next = owner->interest_waiting, .mail = {.pointer = request}};
    owner->interest_waiting = waiting;
}

void owner_interest_step(struct owner *owner)
{
    struct outbox_mail **link = &owner->interest_waiting;
    while (*link != NULL) {
        struct interest_request *request = (*link)->mail.pointer;
        if (!is_caught_up(owner, request)) {
            link = &(*link)->next;
            continue;
        }
        *link = (*link)->next; /* the request is the asker's from its answer on */
        answer(owner, request, false);
    }
}

void owner_interest_abort(struct owner *owner)
{
    while (owner->interest_waiting != NULL) {
        struct interest_request *request = owner->interest_waiting->mail.pointer;
        owner->interest_waiting = owner->interest_waiting->next;
        interest_discard(owner->hub, request);
    }
}

void owner_interest(struct owner *owner, struct interest_request *request, bool is_drop)
{
    struct hub *hub = owner->hub;
    uint64_t shard_bit = 1ULL << request->from_shard;
    /* A shard alone is handed everything over. */
    for (uint32_t i = 0; hub->shard->count > 1 && i < request->count; i++) {
        struct interest_filter *filter = &request->filters[i];
        if (is_drop)
            drop(owner, filter, shard_bit);
        else
            add(owner, filter, shard_bit);
    }
    if (is_drop)
        answer(owner, request, true);
    else
        answer_when_caught_up(owner, request);
}
