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
#include "session/late_read.h"
#include "session/session.h"
#include "session/window.h"

enum { READ_RECORDS = 64 };

struct resend_entry {
    struct record *record; /* NULL: not read yet, or not there */
    uint64_t sequence;
    uint32_t age; /* larger is older */
    uint16_t packet_id;
    uint16_t partition;
    bool is_settled; /* read, or known to be gone, or a PUBREL */
};

struct resend {
    struct late_read *read; /* under way */
    uint32_t count;
    struct resend_entry entries[];
};

static int oldest_first(const void *left, const void *right)
{
    const struct resend_entry *a = left;
    const struct resend_entry *b = right;
    return a->age < b->age ? 1 : a->age > b->age ? -1 : 0;
}

/* Takes the window's entries; retained values are not sent again from here. */
static void collect(struct session *session, struct resend *resend)
{
    const struct window *window = session->window;
    for (uint32_t i = 0; i < window->capacity; i++) {
        const struct window_entry *entry = &window->entries[i];
        if (entry->state == WINDOW_FREE || entry->sequence == 0)
            continue;
        resend->entries[resend->count++] = (struct resend_entry){
            .sequence = entry->sequence,
            .age = window->next_order - entry->order,
            .packet_id = entry->packet_id,
            .partition = entry->partition,
            .is_settled = entry->state == WINDOW_RELEASED,
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
        window_release(session->window, in_flight);
        return;
    }
    hub->counters.resent++;
    delivery_write(hub, session, entry->record, in_flight->qos, entry->packet_id, DELIVERY_DUP);
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

bool resend_continue(struct hub *hub, struct session *session)
{
    struct resend *resend = session->resend;
    if (resend->read != NULL)
        return true;
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
