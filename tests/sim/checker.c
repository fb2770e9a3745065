/*
 * The rules but order; see checker.h. Everything is found by walking the model's arrays.
 */
#include "sim/checker.h"

#include <stdlib.h>

#include "core/base.h"
#include "sim/model.h"

static uint8_t lower(uint8_t a, uint8_t b)
{
    return a < b ? a : b;
}

/* The grants that a receipt may have come by: those asked for before it and not surely gone when it
 * came. A repetition with DUP may stem from any that there was. At QoS 2 a durable session's
 * message leaves when its packet id is stored, perhaps behind an UNSUBACK [MQTT-3.10.4-3]. */
static bool may_stand_behind(const struct model *model, const struct model_life *life,
                             const struct model_entry *entry, const struct model_receipt *receipt)
{
    if (entry->subscribed_at >= receipt->at || entry->ended_at == entry->subscribed_at)
        return false;
    bool may_have_begun = (entry->was_replaced || (receipt->qos != 0 && life->is_durable)) &&
                          model->messages[receipt->message].sent_at < entry->unsuback_at;
    return receipt->is_dup || entry->unsuback_at == 0 || may_have_begun;
}

/* Surely in force for this message, from its sending to its receipt. */
static bool surely_stands_behind(const struct model_entry *entry,
                                 const struct model_message *message)
{
    return entry->suback_at != 0 && entry->suback_at < message->sent_at && entry->ended_at == 0;
}

/* When the client first asked for what this entry goes on with at another QoS: a record that was
 * handed over late is granted by the newer SUBSCRIBE, but due from the older one on. */
static uint64_t first_asked_at(const struct model_life *life, uint32_t number)
{
    const struct model_entry *entry = &life->entries[number];
    uint64_t at = entry->subscribed_at;
    while (number-- != 0) {
        const struct model_entry *older = &life->entries[number];
        if (older->filter == entry->filter && older->ended_at == at)
            at = older->subscribed_at;
    }
    return at;
}

struct grant {
    bool is_any;
    bool is_after_ack; /* every SUBSCRIBE came after the message was acknowledged */
    uint8_t high;
    uint8_t low;
};

static struct grant grant_of(const struct model *model, const struct model_life *life,
                             const struct model_receipt *receipt)
{
    const struct model_message *message = &model->messages[receipt->message];
    struct grant grant = {.is_after_ack = true, .low = 2};
    uint8_t sure = 0;
    bool is_sure = false;
    for (uint32_t i = 0; i < life->entry_count; i++) {
        const struct model_entry *entry = &life->entries[i];
        if (!model->matches[entry->filter][message->topic] ||
            !may_stand_behind(model, life, entry, receipt))
            continue;
        uint8_t high = lower(message->qos, entry->qos_high);
        uint8_t low = lower(message->qos, entry->qos_low);
        grant.is_any = true;
        grant.high = high > grant.high ? high : grant.high;
        grant.low = lower(grant.low, low);
        if (message->acked_at == 0 || message->is_will ||
            first_asked_at(life, i) < message->acked_at)
            grant.is_after_ack = false;
        /* A retained value is sent for one filter, at what that one grants. */
        if (!receipt->is_retain && surely_stands_behind(entry, message)) {
            is_sure = true;
            sure = low > sure ? low : sure;
        }
    }
    if (is_sure)
        grant.low = sure;
    return grant;
}

static void check_grant(struct model *model, const struct model_life *life,
                        const struct model_receipt *receipt)
{
    const struct model_message *message = &model->messages[receipt->message];
    struct grant grant = grant_of(model, life, receipt);
    if (model_has_lost(model)) /* an UNSUBSCRIBE may be, too */
        return;
    if (!grant.is_any) {
        model_fail(model, life->client, "message %u on %s matches no subscription",
                   receipt->message, model->topics[message->topic]);
        return;
    }
    if (receipt->qos > grant.high || (receipt->qos < grant.low && !receipt->is_dup))
        model_fail(model, life->client,
                   "message %u on %s came at QoS %u, published at %u, expected %u to %u",
                   receipt->message, model->topics[message->topic], receipt->qos, message->qos,
                   grant.low, grant.high);
    if (grant.is_after_ack && !receipt->is_retain && !receipt->is_dup)
        model_fail(model, life->client,
                   "message %u on %s came live, but was acknowledged before it was subscribed",
                   receipt->message, model->topics[message->topic]);
}

static void check_count(struct model *model, const struct model_life *life,
                        const struct model_receipt *receipt)
{
    const struct model_message *message = &model->messages[receipt->message];
    const struct model_count *count = model_count_of(life, receipt->message);
    if (receipt->is_dup && life->resumes == 0)
        model_fail(model, life->client, "message %u has DUP on a first connection",
                   receipt->message);
    if (receipt->is_retain || model_has_lost(model))
        return;
    bool is_once = receipt->qos == 2 || (message->qos == 2 && !receipt->is_dup);
    uint32_t times = receipt->qos == 2 ? count->plain + count->dup : count->plain;
    uint32_t times_max = is_once || message->sends == 0 ? 1 : message->sends;
    if (times > times_max)
        model_fail(model, life->client, "message %u on %s came %u times at QoS %u, sent %u times",
                   receipt->message, model->topics[message->topic], times, receipt->qos,
                   message->sends);
}

/* b surely stands behind a in the log. */
static bool is_surely_later(const struct model_message *a, const struct model_message *b)
{
    return a->acked_at != 0 && !a->is_will && !b->is_will && b->sent_at > a->acked_at;
}

/* Whether a retained value may have been the topic's at or after this time. */
static bool may_be_current(const struct model *model, uint32_t number, uint64_t at)
{
    const struct model_message *value = &model->messages[number];
    const struct model_list *list = &model->retained[value->topic];
    for (uint32_t i = 0; i < list->count; i++) {
        const struct model_message *other = &model->messages[list->numbers[i]];
        if (!other->is_will && other->acked_at != 0 && other->acked_at < at &&
            is_surely_later(value, other))
            return false;
    }
    return true;
}

static void check_retained(struct model *model, const struct model_life *life,
                           const struct model_receipt *receipt)
{
    const struct model_message *message = &model->messages[receipt->message];
    if (!message->is_retain) {
        model_fail(model, life->client, "message %u came with RETAIN but is no retained one",
                   receipt->message);
        return;
    }
    if (model_has_lost(model))
        return;
    uint32_t asked = 0;
    bool is_current = false;
    for (uint32_t i = 0; i < life->entry_count; i++) {
        const struct model_entry *entry = &life->entries[i];
        if (!model->matches[entry->filter][message->topic] || entry->subscribed_at >= receipt->at)
            continue;
        asked += entry->subscribes;
        is_current |= may_be_current(model, receipt->message, entry->subscribed_at);
    }
    const struct model_count *count = model_count_of(life, receipt->message);
    if (asked != 0 && !is_current)
        model_fail(model, life->client, "retained value %u on %s was superseded long before",
                   receipt->message, model->topics[message->topic]);
    uint32_t times_max = asked * (1 + life->resumes);
    if (count->retained > times_max)
        model_fail(model, life->client, "retained value %u on %s came %u times for %u filters",
                   receipt->message, model->topics[message->topic], count->retained, asked);
}

void checker_on_receipt(struct model *model, uint32_t life_number,
                        const struct model_receipt *receipt)
{
    const struct model_life *life = &model->lives[life_number];
    check_grant(model, life, receipt);
    check_count(model, life, receipt);
    if (receipt->is_retain)
        check_retained(model, life, receipt);
}

void checker_on_empty_receipt(struct model *model, uint32_t life_number, uint32_t topic,
                              bool is_retain, bool is_dup)
{
    const struct model_life *life = &model->lives[life_number];
    if (is_retain)
        model_fail(model, life->client, "an empty retained value came on %s", model->topics[topic]);
    if (model_has_lost(model))
        return;
    for (uint32_t i = 0; i < life->entry_count; i++) {
        const struct model_entry *entry = &life->entries[i];
        if (model->matches[entry->filter][topic] && (entry->unsuback_at == 0 || is_dup))
            return;
    }
    model_fail(model, life->client, "an empty message on %s matches no subscription",
               model->topics[topic]);
}

/* Whether a life must have received a message by this subscription, if it lived long enough. */
static bool is_owed(const struct model_life *life, const struct model_entry *entry,
                    const struct model_message *message)
{
    if (message->is_empty || message->qos == 0 || message->sends == 0 || message->acked_at == 0 ||
        (message->is_will && !message->must_appear) || message->may_be_lost || entry->may_be_lost)
        return false;
    return entry->qos_low != 0 && entry->suback_at != 0 && entry->suback_at < message->sent_at &&
           (life->ended_at == 0 || message->sent_at < life->ended_at) &&
           (entry->ended_at == 0 || message->sent_at < entry->ended_at);
}

/* The first message of each publisher and QoS of one topic that is owed and did not come: message +
 * 1, by publisher and QoS. */
static uint32_t *gap_of(uint32_t *gaps, const struct model_message *message)
{
    return &gaps[message->publisher * 2 + message->qos - 1U];
}

/* Overlapping filters are owed one copy, which is lost once: the gateway counts deliveries. */
static void report_loss(struct model *model, struct model_life *life, uint32_t number,
                        const struct model_entry *entry, const char *how)
{
    const struct model_message *message = &model->messages[number];
    if (!model_lose(life, number) || model->lost++ < model->lost_allowed)
        return;
    model_fail(
        model, life->client,
        "message %u (QoS %u%s%s, publisher %u, sent at %llu, acknowledged at %llu) on %s was "
        "lost for filter %s (SUBACK at %llu, life %llu to %llu): %s",
        number, message->qos, message->is_retain ? ", retained" : "",
        message->is_will ? ", will" : "", message->publisher, (unsigned long long)message->sent_at,
        (unsigned long long)message->acked_at, model->topics[message->topic],
        model->filters[entry->filter], (unsigned long long)entry->suback_at,
        (unsigned long long)life->began_at, (unsigned long long)life->ended_at, how);
}

/* Losses of one subscription on one topic. What came of a publisher's messages came in order, so
 * that one that is missing before one that came is lost, even if the life ended early. */
static void check_loss(struct model *model, struct model_life *life,
                       const struct model_entry *entry, uint32_t topic, uint32_t *gaps)
{
    const struct model_list *list = &model->by_topic[topic];
    bool is_complete = life->ended_at == 0 && entry->ended_at == 0;
    memset(gaps, 0, model->client_count * 2 * sizeof(uint32_t));
    for (uint32_t i = 0; i < list->count; i++) {
        uint32_t number = list->numbers[i];
        const struct model_message *message = &model->messages[number];
        if (!is_owed(life, entry, message))
            continue;
        const struct model_count *count = model_count_of(life, number);
        bool is_received = count != NULL && count->first_at != 0;
        if (!is_received && is_complete)
            report_loss(model, life, number, entry, "the session was there until the end");
        if (is_complete || message->is_will || message->is_out_of_turn)
            continue;
        uint32_t *gap = gap_of(gaps, message);
        if (!is_received && *gap == 0)
            *gap = number + 1;
        bool came_in_time =
            is_received && (entry->ended_at == 0 || count->first_at < entry->ended_at);
        if (came_in_time && *gap != 0) {
            report_loss(model, life, *gap - 1, entry, "a later one came");
            *gap = 0;
        }
    }
}

static void check_losses(struct model *model)
{
    uint32_t *gaps = calloc((size_t)model->client_count * 2 + 1, sizeof(uint32_t));
    ps_assert(gaps != NULL);
    for (uint32_t i = 0; i < model->life_count; i++) {
        struct model_life *life = &model->lives[i];
        for (uint32_t k = 0; k < life->entry_count; k++) {
            for (uint32_t topic = 0; topic < model->topic_count; topic++) {
                if (model->matches[life->entries[k].filter][topic])
                    check_loss(model, life, &life->entries[k], topic, gaps);
            }
        }
    }
    free(gaps);
}

/* What a SUBSCRIBE should have found on a topic. */
struct expectation {
    bool is_due;    /* a value was surely there, and nothing is unsure */
    bool is_served; /* the life received it, or something newer */
};

static struct expectation expect(const struct model *model, const struct model_life *life,
                                 const struct model_entry *entry, uint32_t topic)
{
    struct expectation expected = {0};
    const struct model_list *list = &model->retained[topic];
    for (uint32_t i = 0; i < list->count; i++) {
        const struct model_message *message = &model->messages[list->numbers[i]];
        if (message->sends == 0)
            continue;
        bool is_before = message->acked_at != 0 && !message->is_will &&
                         message->acked_at < entry->last_subscribed_at;
        if (is_before && !may_be_current(model, list->numbers[i], entry->last_subscribed_at))
            continue;
        /* What may be the value, or come after it, and need not arrive or cannot be told. */
        if (message->is_empty || message->qos == 0 || message->is_will || message->acked_at == 0)
            return (struct expectation){0};
        expected.is_due |= is_before;
        const struct model_count *count = model_count_of(life, list->numbers[i]);
        if (count != NULL && count->last_at > entry->last_subscribed_at)
            expected.is_served = true;
    }
    return expected;
}

static void check_retained_came(struct model *model, const struct model_life *life)
{
    if (life->ended_at != 0)
        return;
    for (uint32_t k = 0; k < life->entry_count; k++) {
        const struct model_entry *entry = &life->entries[k];
        if (entry->ended_at != 0 || entry->last_suback_at < entry->last_subscribed_at ||
            entry->qos_low == 0)
            continue;
        for (uint32_t topic = 0; topic < model->topic_count; topic++) {
            if (!model->matches[entry->filter][topic])
                continue;
            struct expectation expected = expect(model, life, entry, topic);
            if (expected.is_due && !expected.is_served)
                model_fail(model, life->client,
                           "SUBSCRIBE %s (at %llu) did not get the retained value of %s",
                           model->filters[entry->filter],
                           (unsigned long long)entry->last_subscribed_at, model->topics[topic]);
        }
    }
}

/* Wills that came before anybody knew that they must not. */
static void check_forbidden(struct model *model)
{
    for (uint32_t i = 0; i < model->life_count; i++) {
        const struct model_life *life = &model->lives[i];
        for (uint32_t k = 0; k < life->receipt_count; k++) {
            if (model->messages[life->receipts[k].message].is_forbidden && !model_has_lost(model))
                model_fail(model, life->client, "will %u was published although DISCONNECT came",
                           life->receipts[k].message);
        }
    }
}

void checker_finish(struct model *model)
{
    model->clock++;
    check_forbidden(model);
    for (uint32_t i = 0; i < model->message_count; i++) {
        struct model_message *message = &model->messages[i];
        if (message->is_will && message->must_appear)
            message->acked_at = model->clock;
    }
    check_losses(model);
    checker_check_order(model);
    for (uint32_t i = 0; i < model->life_count && !model->is_retained_unsure; i++)
        check_retained_came(model, &model->lives[i]);
}

/* -1: the life has no subscription for it. */
static int effective_qos(const struct model *model, const struct model_life *life,
                         const struct model_message *message)
{
    int effective = -1;
    for (uint32_t i = 0; i < life->entry_count; i++) {
        const struct model_entry *entry = &life->entries[i];
        int qos = lower(message->qos, entry->qos_high);
        if (model->matches[entry->filter][message->topic] && entry->suback_at != 0 &&
            entry->suback_at < message->sent_at && qos > effective)
            effective = qos;
    }
    return effective;
}

uint64_t checker_at_most_once_due(const struct model *model)
{
    uint64_t due = 0;
    for (uint32_t i = 0; i < model->message_count; i++) {
        for (uint32_t k = 0; k < model->life_count && model->messages[i].sends != 0; k++)
            due += effective_qos(model, &model->lives[k], &model->messages[i]) == 0;
    }
    return due;
}
