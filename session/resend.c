/*
 * Resending after a resume; see resend.h. The messages of a window are held only until all are
 * read, so that they leave in order; a window is small.
 */
#include "session/resend.h"

#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_encode.h"
#include "session/catch_up.h"
#include "session/delivery.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/late_read.h"
#include "session/retained_job.h"
#include "session/retained_read.h"
#include "session/session.h"
#include "session/window.h"

enum { READ_RECORDS = 64 };

struct resend_entry {
    struct record *record; /* NULL: not read yet, or not there */
    uint64_t sequence;
    uint32_t age; /* larger is older */
    uint16_t packet_id;
    uint16_t partition;
    bool is_settled;         /* read, or known to be gone, or a PUBREL */
    bool is_wanted_of_store; /* a retained value that the store was not asked for yet */
};

struct resend {
    struct late_read *read; /* under way */
    bool is_asking;         /* the store, for a retained value */
    uint64_t due_ns;        /* that failed: it is asked again then */
    uint32_t count;
    struct resend_entry entries[];
};

static int oldest_first(const void *left, const void *right)
{
    const struct resend_entry *a = left;
    const struct resend_entry *b = right;
    return a->age < b->age ? 1 : a->age > b->age ? -1 : 0;
}

/* Takes the window's entries. */
static void collect(struct session *session, struct resend *resend)
{
    const struct window *window = session->window;
    for (uint32_t i = 0; i < window->capacity; i++) {
        const struct window_entry *entry = &window->entries[i];
        if (entry->state == WINDOW_FREE)
            continue;
        bool is_published = entry->state == WINDOW_PUBLISHED;
        resend->entries[resend->count++] = (struct resend_entry){
            .sequence = entry->sequence,
            .age = window->next_order - entry->order,
            .packet_id = entry->packet_id,
            .partition = entry->partition,
            .is_settled = !is_published,
            .is_wanted_of_store = is_published && entry->topic != NULL,
        };
    }
    qsort(resend->entries, resend->count, sizeof(struct resend_entry), oldest_first);
}

static void send_release(struct hub *hub, struct session *session, uint16_t packet_id)
{
    unsigned char *out = connection_reserve(hub->net, session->connection, 4);
    if (out == NULL)
        return;
    mqtt_encode_ack(MQTT_PUBREL, packet_id, out);
    net_count_sent(hub->net, MQTT_PUBREL, 1, 0);
}

static void send_one(struct hub *hub, struct session *session, const struct resend_entry *entry)
{
    struct window_entry *in_flight = window_find(session->window, entry->packet_id);
    if (in_flight == NULL)
        return;
    if (in_flight->state == WINDOW_RELEASED) {
        send_release(hub, session, entry->packet_id);
        return;
    }
    if (entry->record == NULL && in_flight->qos == 2) {
        /* A client that received it knows its packet id until PUBREL, and would take another
         * message under it for a repetition. */
        hub->counters.dropped[HUB_DROP_RETENTION]++;
        in_flight->state = WINDOW_RELEASED;
        send_release(hub, session, entry->packet_id);
        return;
    }
    if (entry->record == NULL) {
        hub->counters.dropped[HUB_DROP_RETENTION]++;
        hub->counters.in_flight--;
        hub->counters.returned++;
        window_release(hub->heap, session->window, in_flight);
        return;
    }
    hub->counters.resent++;
    bool is_retained = in_flight->topic != NULL;
    uint8_t flags = is_retained ? DELIVERY_DUP | DELIVERY_RETAIN : DELIVERY_DUP;
    if (is_retained)
        retained_job_note_had(hub, session, in_flight);
    delivery_write(hub, session, entry->record, in_flight->qos, entry->packet_id, flags);
}

static void finish(struct hub *hub, struct session *session)
{
    struct resend *resend = session->resend;
    for (uint32_t i = 0; i < resend->count && session->connection->state == CONNECTION_OPEN; i++)
        send_one(hub, session, &resend->entries[i]);
    resend_abort(hub, session);
    catch_up_schedule(hub, session);
}

void resend_abort(struct hub *hub, struct session *session)
{
    struct resend *resend = session->resend;
    if (resend == NULL)
        return;
    for (uint32_t i = 0; i < resend->count; i++) {
        if (resend->entries[i].record != NULL)
            record_release(hub->heap, resend->entries[i].record);
    }
    heap_free(hub->heap, resend);
    session->resend = NULL;
}

void resend_start(struct hub *hub, struct session *session)
{
    ps_assert(session->resend == NULL);
    if (window_count(session->window) == 0)
        return;
    session->resend = heap_zalloc(
        hub->heap, sizeof(struct resend) + session->window->count * sizeof(struct resend_entry));
    if (session->resend == NULL) {
        connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
        return;
    }
    collect(session, session->resend);
    resend_continue(hub, session);
}

/* Asks for the value of this topic. False: not now. */
static bool ask_store(struct hub *hub, struct session *session, const struct resend_entry *entry,
                      const struct window_topic *topic)
{
    struct resend *resend = session->resend;
    struct retained_read *read = NULL;
    if (hub->shard->now_ns >= resend->due_ns)
        read = heap_zalloc(hub->heap, sizeof(*read) + topic->bytes);
    if (read == NULL)
        return false;
    read->session = session->handle;
    read->from_shard = hub->shard->index;
    read->partition = entry->partition;
    read->is_of_resend = true;
    read->serial = entry->packet_id;
    read->filter_bytes = topic->bytes;
    memcpy(read->filter, topic->text, topic->bytes);
    resend->is_asking = true;
    const struct hub_mail mail = {
        .kind = HUB_MAIL_RETAINED,
        .partition = read->partition,
        .pointer = read,
    };
    hub_request(hub, hub_owner_of(hub, read->partition), &mail, &read->room);
    return true;
}

void resend_on_value(struct hub *hub, struct retained_read *read)
{
    struct session *session = session_get(hub, read->session);
    struct resend *resend = session == NULL ? NULL : session->resend;
    struct resend_entry *entry = NULL;
    for (uint32_t i = 0; resend != NULL && resend->is_asking && i < resend->count; i++) {
        if (resend->entries[i].packet_id == read->serial && resend->entries[i].is_wanted_of_store)
            entry = &resend->entries[i];
    }
    if (entry == NULL)
        return; /* of an older connection of the session */
    resend->is_asking = false;
    if (read->is_failed) {
        resend->due_ns = hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
        catch_up_schedule(hub, session);
        return;
    }
    entry->is_wanted_of_store = false;
    for (uint32_t i = 0; i < read->record_count && !entry->is_settled; i++) {
        if (read->records[i]->sequence != entry->sequence)
            continue; /* a newer one: perhaps the log still has this one */
        entry->record = record_acquire(read->records[i]);
        entry->is_settled = true;
    }
    catch_up_schedule(hub, session);
}

bool resend_continue(struct hub *hub, struct session *session)
{
    struct resend *resend = session->resend;
    if (resend->read != NULL || resend->is_asking)
        return true;
    for (uint32_t i = 0; i < resend->count; i++) {
        struct resend_entry *entry = &resend->entries[i];
        if (!entry->is_wanted_of_store)
            continue;
        const struct window_entry *in_flight = window_find(session->window, entry->packet_id);
        if (in_flight == NULL || in_flight->topic == NULL) { /* acknowledged meanwhile */
            entry->is_wanted_of_store = false;
            entry->is_settled = true;
            continue;
        }
        bool is_asked = ask_store(hub, session, entry, in_flight->topic);
        if (!is_asked)
            catch_up_schedule(hub, session);
        return is_asked;
    }
    const struct resend_entry *missing = NULL;
    for (uint32_t i = 0; i < resend->count && missing == NULL; i++) {
        if (!resend->entries[i].is_settled)
            missing = &resend->entries[i];
    }
    if (missing == NULL) {
        finish(hub, session);
        return true;
    }
    uint64_t from = missing->sequence;
    for (uint32_t i = 0; i < resend->count; i++) {
        const struct resend_entry *entry = &resend->entries[i];
        if (!entry->is_settled && entry->partition == missing->partition && entry->sequence < from)
            from = entry->sequence;
    }
    resend->read =
        late_read_start(hub, session, LATE_READ_RESEND, missing->partition, from, READ_RECORDS);
    if (resend->read == NULL)
        catch_up_schedule(hub, session);
    return resend->read != NULL;
}

/* Gives a read's records to the entries that want them. */
static void settle(struct resend *resend, const struct late_read *read)
{
    const struct broker_pull *pull = &read->pull;
    for (uint32_t i = 0; i < resend->count; i++) {
        struct resend_entry *entry = &resend->entries[i];
        if (entry->is_settled || entry->partition != pull->partition ||
            entry->sequence >= pull->next)
            continue;
        entry->is_settled = true;
        for (uint32_t k = 0; k < pull->count; k++) {
            if (pull->records[k]->sequence == entry->sequence)
                entry->record = record_acquire(pull->records[k]);
        }
    }
}

void resend_on_read(struct hub *hub, struct late_read *read)
{
    struct session *session = session_get(hub, read->session);
    struct resend *resend = session == NULL ? NULL : session->resend;
    if (resend == NULL || resend->read != read)
        return;
    resend->read = NULL;
    if (read->pull.status == BROKER_OK)
        settle(resend, read);
    resend_continue(hub, session);
}
