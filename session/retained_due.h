/*
 * The retained values of a filter are due: a SUBSCRIBE asked for them, and not all have been
 * delivered. A subscription names the one of its last SUBSCRIBE; of a durable session that is the
 * mark "retained due" that the store keeps, and begins again with a session that is resumed.
 *
 * One reference is the subscription's, one is held by who works on it: the SUBSCRIBE until it is
 * answered, then the list of retained_job.h. It goes with the last one.
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_RETAINED_DUE_H
#define PENSTOCK_SESSION_RETAINED_DUE_H

#include <stdbool.h>
#include <stdint.h>

struct filter;
struct hub;
struct session;
struct starts;
struct subscription;

struct retained_due {
    struct retained_due *next; /* of the list that works on it */
    struct filter *filter;     /* with a reference */
    struct starts *cut; /* with a reference: what the SUBSCRIBE's answer named; from there on values
                           come live. NULL: not known */
    uint64_t number;    /* its own for ever: values in flight name it */
    uint32_t index;     /* in its pool */
    uint32_t references;
    bool is_resumed;
    bool had_values; /* that were delivered */
};

/* With one reference. `number` 0: a new one. Acquires the filter and the cut (may be NULL). NULL:
 * memory is out. */
struct retained_due *retained_due_create(struct hub *hub, struct filter *filter, struct starts *cut,
                                         uint64_t number);
void retained_due_release(struct hub *hub, struct retained_due *due);

/* That of the subscription's last SUBSCRIBE, or NULL: everything was delivered. */
struct retained_due *retained_due_of(const struct hub *hub,
                                     const struct subscription *subscription);

/* The session came out of the store, with a cursor where it goes on: what is due and has no cut
 * there, since it was stored before its SUBSCRIBE was answered, gets the one that repeats nothing
 * which comes by itself. False: memory is out. */
bool retained_due_name_cuts(struct hub *hub, struct session *session);

/* The subscription names this one (NULL: none) and acquires it; the one before is released. */
void retained_due_set(struct hub *hub, struct subscription *subscription, struct retained_due *due);

#endif
