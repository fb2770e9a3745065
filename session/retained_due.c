/*
 * What is due of a filter's retained values; see retained_due.h.
 */
#include "session/retained_due.h"

#include "core/base.h"
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
