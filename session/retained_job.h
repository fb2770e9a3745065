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
struct retained_due;
struct retained_read;
struct session;
struct window_entry;

/* These values are to be delivered now. Acquires the due. Without memory the connection is closed.
 */
void retained_job_add(struct hub *hub, struct session *session, struct retained_due *due);

/* Goes on; for the catch-up step. True: there is more to do at once. */
bool retained_job_run(struct hub *hub, struct session *session);

void retained_job_on_page(struct hub *hub, struct retained_read *read);

/* The resumed session is sent this retained value again, as it was in flight: the due that it was
 * sent for leaves it out. Without memory it comes once more. */
void retained_job_note_had(struct hub *hub, struct session *session,
                           const struct window_entry *entry);

/* A page, or the request for one, that nobody will take. */
void retained_job_discard(struct hub *hub, struct retained_read *read);

/* The filter was unsubscribed. */
void retained_job_forget(struct hub *hub, struct session *session, const struct filter *filter);

/* Nothing is worked on any more: the connection went, or the session. What its subscriptions name
 * stays due, and retained_job_resume begins it again; what is in flight is sent again by resend.h.
 */
void retained_job_abort(struct hub *hub, struct session *session);
void retained_job_resume(struct hub *hub, struct session *session);

#endif
