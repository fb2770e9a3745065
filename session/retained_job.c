/*
 * Retained values on the shard's side; see retained_job.h.
 *
 * A job is a list of filters; the first one is worked on: partition by partition, page by page. A
 * page's records wait in the read until the window takes them.
 */
#include "session/retained_job.h"

#include "core/base.h"
#include "core/heap.h"
#include "session/catch_up.h"
#include "session/delivery.h"
#include "session/filter.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/interest.h"
#include "session/resend.h"
#include "session/retained_due.h"
#include "session/retained_read.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/window.h"

/* A value that was in flight at the resume. */
struct retained_had {
    uint64_t due;
    uint64_t sequence;
    uint16_t partition;
};

struct retained_job {
    struct retained_due *first; /* a reference each */
    struct retained_due *last;
    struct retained_read *page; /* came, and is not all delivered */
    uint32_t page_position;
    uint32_t partition; /* of the first filter, worked on */
    bool is_asking;     /* a read is under way */
    bool is_outdated;   /* the store has marks of what was delivered */
    uint64_t due_ns;    /* one failed: the next is asked for then */
    uint32_t serial;    /* of the read that is under way */
    uint32_t had_count;
    uint32_t had_capacity;
    struct retained_had *had;
    uint32_t after_bytes;
    unsigned char after[BROKER_KEY_BYTES_MAX];
};

static void free_page(struct hub *hub, struct retained_read *read, uint32_t from)
{
    for (uint32_t i = from; i < read->record_count; i++)
        record_release(hub->heap, read->records[i]);
    heap_free(hub->heap, read);
}

/* The first filter is done with. The job goes with the last one. */
static void drop_first(struct hub *hub, struct session *session)
{
    struct retained_job *job = session->retained;
    struct retained_due *due = job->first;
    job->first = due->next;
    if (job->first == NULL)
        job->last = NULL;
    job->partition = 0;
    job->after_bytes = 0;
    if (job->page != NULL)
        free_page(hub, job->page, job->page_position);
    job->page = NULL;
    job->is_asking = false; /* an answer that still comes is not the one that is waited for */
    retained_due_release(hub, due);
    if (job->first == NULL) {
        heap_free(hub->heap, job->had);
        heap_free(hub->heap, job);
        session->retained = NULL;
    }
}

void retained_job_abort(struct hub *hub, struct session *session)
{
    while (session->retained != NULL)
        drop_first(hub, session);
}

void retained_job_add(struct hub *hub, struct session *session, struct retained_due *due)
{
    if (session->retained == NULL)
        session->retained = heap_zalloc(hub->heap, sizeof(*session->retained));
    if (session->retained != NULL && session->retained->serial == 0)
        session->retained->serial = (uint32_t)hub_random(hub) | 1;
    struct retained_job *job = session->retained;
    if (job == NULL) {
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
        return;
    }
    due->references++;
    due->next = NULL;
    if (job->last == NULL)
        job->first = due;
    else
        job->last->next = due;
    job->last = due;
    catch_up_schedule(hub, session);
}

static bool ask(struct hub *hub, struct session *session)
{
    struct retained_job *job = session->retained;
    const struct filter *filter = job->first->filter;
    struct retained_read *read = heap_zalloc(hub->heap, sizeof(*read) + filter->bytes);
    if (read == NULL)
        return false;
    read->session = session->handle;
    read->from_shard = hub->shard->index;
    read->partition = (uint16_t)job->partition;
    read->after_bytes = job->after_bytes;
    memcpy(read->after, job->after, job->after_bytes);
    read->filter_bytes = filter->bytes;
    memcpy(read->filter, filter->text, filter->bytes);
    job->is_asking = true;
    read->serial = ++job->serial;
    const struct hub_mail mail = {
        .kind = HUB_MAIL_RETAINED,
        .partition = read->partition,
        .pointer = read,
    };
    hub_request(hub, hub_owner_of(hub, read->partition), &mail, &read->room);
    return true;
}

/* What lies at or above the sequence that the SUBSCRIBE's answer named comes by itself, or came
 * before the session was resumed; but what a session has missed is replayed above QoS 0 only. */
static bool comes_live(const struct hub *hub, const struct retained_due *due,
                       const struct record *record, uint8_t qos)
{
    uint16_t partition = record->partition;
    bool is_missed = due->is_resumed && qos == 0 && record->sequence <= hub->floors[partition];
    return due->cut != NULL && record->sequence >= due->cut->from[partition] && !is_missed;
}

void retained_job_note_had(struct hub *hub, struct session *session,
                           const struct window_entry *entry)
{
    struct retained_job *job = session->retained;
    if (job == NULL)
        return; /* nothing is due */
    if (job->had_count == job->had_capacity) {
        uint32_t capacity = job->had_capacity == 0 ? 16 : job->had_capacity * 2;
        struct retained_had *grown =
            heap_realloc(hub->heap, job->had, capacity * sizeof(struct retained_had));
        if (grown == NULL)
            return;
        job->had = grown;
        job->had_capacity = capacity;
    }
    job->had[job->had_count++] = (struct retained_had){
        .due = entry->topic->due,
        .sequence = entry->sequence,
        .partition = entry->partition,
    };
}

/* What was sent for an earlier SUBSCRIBE does not count: at QoS 2 a client that has it takes its
 * repetition for nothing, and this SUBSCRIBE would go without. */
static bool was_had(const struct retained_job *job, const struct record *record)
{
    for (uint32_t i = 0; i < job->had_count; i++) {
        const struct retained_had *had = &job->had[i];
        if (had->due == job->first->number && had->sequence == record->sequence &&
            had->partition == record->partition)
            return true;
    }
    return false;
}

/* Delivers one value. False: the window or the send memory is full. */
static bool deliver(struct hub *hub, struct session *session, struct record *record,
                    uint8_t granted)
{
    const struct retained_due *due = session->retained->first;
    uint8_t qos = (uint8_t)ps_min_u32(record_qos(record), granted);
    if (comes_live(hub, due, record, qos) || was_had(session->retained, record))
        return true;
    if (!delivery_is_open(hub, session))
        return false;
    bool is_sent = qos == 0 ? delivery_write(hub, session, record, 0, 0, DELIVERY_RETAIN)
                            : delivery_send(hub, session, record, qos, due->number);
    hub->counters.retained[qos] += is_sent;
    session->retained->first->had_values |= is_sent;
    return is_sent;
}

/* False: it has to wait. */
static bool deliver_page(struct hub *hub, struct session *session)
{
    struct retained_job *job = session->retained;
    struct retained_read *page = job->page;
    /* At what is granted now: another SUBSCRIBE may have changed it since. */
    const struct subscription *subscription = session_subscription(session, job->first->filter);
    while (job->page_position < page->record_count) {
        struct record *record = page->records[job->page_position];
        if (subscription != NULL && !deliver(hub, session, record, subscription->qos)) {
            if (session->connection->state == CONNECTION_OPEN && session->connection->send != NULL)
                connection_notify_drained(hub->net, session->connection);
            hub->read_waiters += delivery_is_open(hub, session); /* memory was out: soon again */
            return false;
        }
        record_release(hub->heap, record);
        job->page_position++;
    }
    job->page = NULL;
    if (page->is_last) {
        job->partition++;
        job->after_bytes = 0;
    } else {
        job->after_bytes = page->after_bytes;
        memcpy(job->after, page->after, page->after_bytes);
    }
    heap_free(hub->heap, page);
    return true;
}

/* The first filter's values were delivered: its mark goes, also in the store, so that they do not
 * come again after a crash. When there were none, none come again either. */
static void finish_first(struct hub *hub, struct session *session)
{
    struct retained_job *job = session->retained;
    struct subscription *subscription = session_subscription(session, job->first->filter);
    /* Unless a repeated SUBSCRIBE wants them once more. */
    if (subscription != NULL && retained_due_of(hub, subscription) == job->first) {
        retained_due_set(hub, subscription, NULL);
        bool is_stored = session->stored != NULL && !session_is_clean(session);
        if (is_stored && job->first->had_values) {
            session_store_mark(session, subscription->block);
            job->is_outdated = true;
        }
    }
    bool is_due = job->first->next == NULL && job->is_outdated;
    drop_first(hub, session);
    if (is_due)
        session_store_write_filters(hub, session, NULL, NULL);
}

bool retained_job_run(struct hub *hub, struct session *session)
{
    struct retained_job *job = session->retained;
    if (job->is_asking || (job->page != NULL && !deliver_page(hub, session)))
        return false;
    while (job->partition < hub->partition_count &&
           !interest_concerns(hub, job->first->filter, (uint16_t)job->partition))
        job->partition++;
    if (job->partition < hub->partition_count) {
        bool is_asked = hub->shard->now_ns >= job->due_ns && ask(hub, session);
        hub->read_waiters += !is_asked; /* soon again */
        return false;
    }
    finish_first(hub, session);
    return session->retained != NULL;
}

void retained_job_on_page(struct hub *hub, struct retained_read *read)
{
    struct session *session = session_get(hub, read->session);
    struct retained_job *job = session == NULL ? NULL : session->retained;
    bool is_awaited = job != NULL && job->is_asking && job->serial == read->serial;
    if (read->is_of_resend) {
        resend_on_value(hub, read);
        free_page(hub, read, 0);
        return;
    }
    if (!is_awaited || read->is_failed) {
        free_page(hub, read, 0);
        if (is_awaited) {
            job->is_asking = false;
            job->due_ns = hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
            catch_up_schedule(hub, session);
        }
        return;
    }
    for (uint32_t i = 0; i < read->record_count; i++) {
        struct record *record = read->records[i];
        record->topic_hash =
            topic_index_hash(&hub->index, (const char *)record_topic(record), record->topic_bytes);
    }
    job->is_asking = false;
    job->page = read;
    job->page_position = 0;
    catch_up_schedule(hub, session);
}

void retained_job_discard(struct hub *hub, struct retained_read *read)
{
    free_page(hub, read, 0);
}

void retained_job_forget(struct hub *hub, struct session *session, const struct filter *filter)
{
    if (session->retained == NULL)
        return;
    struct retained_due *due = session->retained->first->next;
    struct retained_due *previous = session->retained->first;
    while (due != NULL) {
        struct retained_due *next = due->next;
        if (due->filter == filter) {
            previous->next = next;
            if (session->retained->last == due)
                session->retained->last = previous;
            retained_due_release(hub, due);
        } else {
            previous = due;
        }
        due = next;
    }
    if (session->retained->first->filter != filter)
        return;
    drop_first(hub, session);
    catch_up_schedule(hub, session); /* the page that was awaited would have gone on */
}

void retained_job_resume(struct hub *hub, struct session *session)
{
    struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL && session->connection->state == CONNECTION_OPEN;
         subscription = subscription->next_of_session) {
        struct retained_due *due = retained_due_of(hub, subscription);
        if (due == NULL)
            continue;
        due->is_resumed = true;
        retained_job_add(hub, session, due);
    }
}
