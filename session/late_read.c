/*
 * Reads for those who are behind; see late_read.h. This file makes and ends them on the shard's
 * side; the owner's side is owner_read.c.
 */
#include "session/late_read.h"

#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_topic.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/session.h"

/* Fills in the hint from a session's subscriptions, with copies of their texts. False: too many of
 * them, or memory is out; the hint is then "all". */
static bool hint_subscriptions(struct hub *hub, const struct session *session,
                               struct late_read *read)
{
    struct broker_hint *hint = &read->pull.hint;
    if (session->subscription_count > LATE_READ_FILTERS_MAX)
        return false;
    size_t bytes = 1;
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session)
        bytes += subscription->filter->bytes;
    read->texts = heap_alloc(hub->heap, bytes);
    if (read->texts == NULL)
        return false;
    char *at = read->texts;
    for (subscription = session->subscriptions; subscription != NULL;
         subscription = subscription->next_of_session) {
        const struct filter *filter = subscription->filter;
        uint32_t count = filter->bytes;
        if (filter->is_pattern)
            count = mqtt_filter_literal_bytes(filter->text, filter->bytes);
        if (count == 0)
            return false;
        memcpy(at, filter->text, count);
        struct broker_bytes *text = filter->is_pattern ? &read->prefixes[hint->prefix_count++]
                                                       : &read->topics[hint->topic_count++];
        *text = (struct broker_bytes){.bytes = at, .count = count};
        at += count;
    }
    return true;
}

uint32_t late_read_room(const struct hub *hub)
{
    bool is_paused = hub->shard->now_ns < hub->reads_due_ns;
    uint32_t max = hub->limits->reads_max;
    return is_paused || hub->read_count >= max ? 0 : max - hub->read_count;
}

struct late_read *late_read_start(struct hub *hub, const struct session *session,
                                  enum late_read_purpose purpose, uint16_t partition, uint64_t from,
                                  uint16_t records_max)
{
    /* The shard's own read is never refused: everybody there waits for it, and there is one a
     * partition. */
    if (purpose != LATE_READ_SHARD && late_read_room(hub) == 0)
        return NULL;
    struct late_read *read = heap_zalloc(hub->heap, sizeof(*read));
    if (read == NULL)
        return NULL;
    read->pull.partition = partition;
    read->pull.from = from;
    read->pull.bytes_max = LATE_READ_BYTES_MAX;
    read->pull.records_max = records_max;
    read->pull.hint.topics = read->topics;
    read->pull.hint.prefixes = read->prefixes;
    /* What is in flight is completed although its subscription has gone [MQTT-3.10.4-3]. */
    bool is_hinted = session != NULL && purpose != LATE_READ_RESEND;
    read->pull.hint.all = !is_hinted || !hint_subscriptions(hub, session, read);
    read->purpose = (uint8_t)purpose;
    read->from_shard = hub->shard->index;
    if (session != NULL)
        read->session = session->handle;
    hub->read_count++;
    hub->counters.reads++;
    const struct hub_mail mail = {.kind = HUB_MAIL_READ, .partition = partition, .pointer = read};
    hub_request(hub, hub_owner_of(hub, partition), &mail, &read->room);
    return read;
}

void late_read_finish(struct hub *hub, struct late_read *read)
{
    for (uint32_t i = 0; i < read->pull.count; i++) {
        if (read->pull.records[i] != NULL)
            record_release(hub->heap, read->pull.records[i]);
    }
    heap_free(hub->heap, read->texts);
    heap_free(hub->heap, read);
    hub->read_count--;
}
