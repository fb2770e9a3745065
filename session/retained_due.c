/*
 * What is due of a filter's retained values; see retained_due.h.
 */
#include "session/retained_due.h"

#include "core/base.h"
#include "session/catch_up.h"
#include "session/filter.h"
#include "session/hub.h"
#include "session/session.h"

struct retained_due *retained_due_create(struct hub *hub, struct filter *filter, struct starts *cut,
                                         uint64_t number)
{
    struct pool_handle handle;
    struct retained_due *due = pool_acquire(&hub->due_pool, &handle);
    if (due == NULL)
        return NULL;
    *due = (struct retained_due){
        .filter = filter,
        .cut = cut,
        .number = number != 0 ? number : hub_random(hub) | 1,
        .index = handle.index,
        .references = 1,
    };
    filter_retain(filter);
    if (cut != NULL)
        cut->references++;
    return due;
}

void retained_due_release(struct hub *hub, struct retained_due *due)
{
    if (--due->references != 0)
        return;
    filter_release(&hub->index, due->filter);
    starts_release(hub, due->cut);
    pool_release(&hub->due_pool, due->index);
}

struct retained_due *retained_due_of(const struct hub *hub, const struct subscription *subscription)
{
    return subscription->due == 0 ? NULL : pool_at(&hub->due_pool, subscription->due - 1);
}

void retained_due_set(struct hub *hub, struct subscription *subscription, struct retained_due *due)
{
    struct retained_due *before = retained_due_of(hub, subscription);
    subscription->due = due == NULL ? 0 : due->index + 1;
    if (due != NULL)
        due->references++;
    if (before != NULL)
        retained_due_release(hub, before);
}

/* Where the session goes on, and not before the subscription's start. */
static uint64_t cut_at_position(const struct hub *hub, const struct session *session,
                                const struct subscription *subscription, uint16_t partition)
{
    uint64_t position = catch_up_position(hub, session, partition);
    const struct starts *starts = subscription->starts;
    return starts == NULL ? position : ps_max_u64(position, starts->from[partition]);
}

bool retained_due_name_cuts(struct hub *hub, struct session *session)
{
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        struct retained_due *due = retained_due_of(hub, subscription);
        if (due == NULL)
            continue;
        if (due->cut == NULL)
            due->cut = starts_create(hub, UINT64_MAX);
        if (due->cut == NULL)
            return false;
        for (uint32_t p = 0; p < hub->partition_count; p++) {
            if (due->cut->from[p] == UINT64_MAX)
                due->cut->from[p] = cut_at_position(hub, session, subscription, (uint16_t)p);
        }
    }
    return true;
}
