/*
 * Interest: which shards of this gateway want a topic. A shard asks the owners concerned for its
 * first subscriber of a filter, and at every SUBSCRIBE to learn from which sequences on it holds;
 * it tells them of its last one. One request serves all filters of a SUBSCRIBE and goes to each
 * owner concerned, who writes the sequences of its own partitions into it.
 *
 * Owner: the shard that made it; the owners read it, and write only `from` of their own partitions
 * and is_refused.
 */
#ifndef PENSTOCK_SESSION_INTEREST_H
#define PENSTOCK_SESSION_INTEREST_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/pool.h"

struct filter;
struct hub;
struct outbox_mail;
struct session;

struct interest_filter {
    const char *text; /* in the request's own memory */
    uint32_t bytes;
    _Atomic bool is_refused; /* answer: an owner has no room for it */
};

struct interest_request {
    void (*on_done)(struct hub *hub,
                    struct interest_request *request); /* every owner has answered */
    void (*on_part)(struct hub *hub, struct interest_request *request,
                    uint32_t owner); /* may be NULL */
    void *context;
    struct pool_handle session;
    uint32_t from_shard;
    uint32_t waiting; /* owners that have not answered */
    uint32_t count;
    struct interest_filter *filters;
    struct outbox_mail *rooms; /* by owner */
    uint64_t *from;            /* by partition: first sequence that will be handed over; answer */
};

/* Whether records that match the filter can come from this partition. */
bool interest_concerns(const struct hub *hub, const struct filter *filter, uint16_t partition);

/* A request for `count` filters, for interest_send. NULL: memory is out. */
struct interest_request *interest_create(struct hub *hub, const struct filter *const *filters,
                                         uint32_t count);

/* Posts it to every owner that one of its filters concerns. on_done frees it with interest_destroy.
 */
void interest_send(struct hub *hub, struct interest_request *request, bool is_drop);
void interest_destroy(struct hub *hub, struct interest_request *request);

/* An owner cannot keep the filter at this index: nothing of its partitions will be handed over. */
bool interest_is_refused(const struct interest_request *request, uint32_t index);

/* Tells the owners that nobody here wants the filter any more. Without memory the interest stays:
 * the owner then hands over what nobody takes. */
void interest_drop(struct hub *hub, const struct filter *filter);

/* A mail with this request, or with its answer, will reach nobody any more: the gateway ends. */
void interest_discard(struct hub *hub, struct interest_request *request);

/* An answer came from an owner. */
void interest_on_answer(struct hub *hub, struct interest_request *request, uint32_t owner);

#endif
