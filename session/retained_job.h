/*
 * Retained values for a session's subscriptions, on the shard's side: asked from the owners page by
 * page as the window allows, and delivered with RETAIN set [MQTT-3.3.1-8] after the SUBACK. Values
 * at or above the sequence from which the subscription holds come live and are left out.
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_RETAINED_JOB_H
#define PENSTOCK_SESSION_RETAINED_JOB_H

#include <stdbool.h>
#include <stdint.h>

struct filter;
struct hub;
struct retained_read;
struct session;
struct starts;

/* The filter was subscribed: its values are due, up to `starts`. */
void retained_job_add(struct hub *hub, struct session *session, struct filter *filter,
                      struct starts *starts);

/* Goes on; for the catch-up step. True: there is more to do at once. */
bool retained_job_run(struct hub *hub, struct session *session);

void retained_job_on_page(struct hub *hub, struct retained_read *read);

/* A page, or the request for one, that nobody will take. */
void retained_job_discard(struct hub *hub, struct retained_read *read);

/* The filter was unsubscribed. */
void retained_job_forget(struct hub *hub, struct session *session, const struct filter *filter);

/* The connection went: subscriptions whose values were not all acknowledged are marked, and
 * retained_job_resume begins them again. */
void retained_job_detach(struct hub *hub, struct session *session);
void retained_job_resume(struct hub *hub, struct session *session);

/* Everything is dropped. */
void retained_job_abort(struct hub *hub, struct session *session);

#endif
