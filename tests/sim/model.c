/*
 * The reference model; see model.h. Simple on purpose: arrays that grow, and searches through them.
 */
#include "sim/model.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "sim/checker.h"

/* Room for one more element in an array that doubles; the new memory is zero. */
static void *grown(void *array, uint32_t count, uint32_t *max, size_t element_bytes)
{
    if (count < *max)
        return array;
    uint32_t larger = *max == 0 ? 16 : *max * 2;
    char *memory = realloc(array, larger * element_bytes);
    ps_assert(memory != NULL);
    memset(memory + *max * element_bytes, 0, (larger - *max) * element_bytes);
    *max = larger;
    return memory;
}

struct model *model_create(uint32_t client_count)
{
    struct model *model = calloc(1, sizeof(*model));
    ps_assert(model != NULL);
    model->client_count = client_count;
    model->clock = 1;
    model->failed_client = UINT32_MAX;
    return model;
}

void model_destroy(struct model *model)
{
    for (uint32_t i = 0; i < model->life_count; i++) {
        free(model->lives[i].entries);
        free(model->lives[i].receipts);
        free(model->lives[i].counts);
    }
    for (uint32_t i = 0; i < MODEL_TEXTS_MAX; i++) {
        free(model->by_topic[i].numbers);
        free(model->retained[i].numbers);
    }
    free(model->held_back);
    free(model->lives);
    free(model->messages);
    free(model);
}

static uint32_t add_text(char texts[][MODEL_TEXT_BYTES], uint32_t *count, const char *text)
{
    for (uint32_t i = 0; i < *count; i++) {
        if (strcmp(texts[i], text) == 0)
            return i;
    }
    ps_assert(*count < MODEL_TEXTS_MAX && strlen(text) < MODEL_TEXT_BYTES);
    strcpy(texts[*count], text);
    return (*count)++;
}

uint32_t model_add_topic(struct model *model, const char *text)
{
    return add_text(model->topics, &model->topic_count, text);
}

uint32_t model_add_filter(struct model *model, const char *text)
{
    return add_text(model->filters, &model->filter_count, text);
}

/* Length of the level that begins here. */
static size_t level_length(const char *text)
{
    const char *end = strchr(text, '/');
    return end == NULL ? strlen(text) : (size_t)(end - text);
}

/* Level by level; NULL stands for "no level left". */
static bool match_levels(const char *filter, const char *topic)
{
    if (filter == NULL)
        return topic == NULL;
    size_t filter_length = level_length(filter);
    if (filter_length == 1 && filter[0] == '#')
        return true;
    if (topic == NULL)
        return false;
    size_t topic_length = level_length(topic);
    bool is_plus = filter_length == 1 && filter[0] == '+';
    if (!is_plus && (filter_length != topic_length || memcmp(filter, topic, filter_length) != 0))
        return false;
    const char *filter_rest = filter[filter_length] == '/' ? filter + filter_length + 1 : NULL;
    const char *topic_rest = topic[topic_length] == '/' ? topic + topic_length + 1 : NULL;
    return match_levels(filter_rest, topic_rest);
}

bool model_text_matches(const char *filter, const char *topic)
{
    bool begins_with_wildcard = filter[0] == '#' || (filter[0] == '+');
    if (topic[0] == '$' && begins_with_wildcard) /* [MQTT-4.7.2-1] */
        return false;
    return match_levels(filter, topic);
}

void model_match_all(struct model *model)
{
    for (uint32_t f = 0; f < model->filter_count; f++) {
        for (uint32_t t = 0; t < model->topic_count; t++)
            model->matches[f][t] = model_text_matches(model->filters[f], model->topics[t]);
    }
}

uint32_t model_find_topic(const struct model *model, const unsigned char *text, uint32_t bytes)
{
    for (uint32_t i = 0; i < model->topic_count; i++) {
        if (strlen(model->topics[i]) == bytes && memcmp(model->topics[i], text, bytes) == 0)
            return i;
    }
    return UINT32_MAX;
}

void model_fail(struct model *model, uint32_t client, const char *format, ...)
{
    if (model->failure_count++ == 0)
        model->failed_client = client;
    if (model->failure_count > MODEL_FAILURES_MAX)
        return;
    size_t used = strlen(model->report);
    int written = snprintf(model->report + used, sizeof(model->report) - used,
                           client == UINT32_MAX ? "  " : "  client %u: ", client);
    used += (size_t)written;
    if (used >= sizeof(model->report))
        return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(model->report + used, sizeof(model->report) - used, format, arguments);
    va_end(arguments);
    used = strlen(model->report);
    if (used + 1 < sizeof(model->report))
        strcpy(model->report + used, "\n");
}

static void list_add(struct model_list *list, uint32_t number)
{
    list->numbers = grown(list->numbers, list->count, &list->max, sizeof(uint32_t));
    list->numbers[list->count++] = number;
}

uint32_t model_add_message(struct model *model, const struct model_message *message)
{
    model->messages =
        grown(model->messages, model->message_count, &model->messages_max, sizeof(*message));
    model->messages[model->message_count] = *message;
    list_add(&model->by_topic[message->topic], model->message_count);
    if (message->is_retain)
        list_add(&model->retained[message->topic], model->message_count);
    return model->message_count++;
}

void model_sent(struct model *model, uint32_t message)
{
    struct model_message *sent = &model->messages[message];
    model->clock++;
    if (sent->sends++ == 0)
        sent->sent_at = model->clock;
}

void model_acked(struct model *model, uint32_t message)
{
    model->clock++;
    model->messages[message].acked_at = model->clock;
    model->messages[message].acked_ns = model->now_ns;
}

static unsigned char payload_byte(uint32_t message, uint32_t position)
{
    return (unsigned char)(message * 31 + position * 7 + (position >> 8));
}

void model_fill_payload(uint32_t message, unsigned char *out, uint32_t bytes)
{
    ps_assert(bytes >= MODEL_STAMP_BYTES);
    uint32_t check = ~message;
    memcpy(out, &message, sizeof(message));
    memcpy(out + sizeof(message), &check, sizeof(check));
    for (uint32_t i = MODEL_STAMP_BYTES; i < bytes; i++)
        out[i] = payload_byte(message, i);
}

uint32_t model_identify(const struct model *model, const unsigned char *payload, uint32_t bytes)
{
    uint32_t message = 0;
    uint32_t check = 0;
    if (bytes < MODEL_STAMP_BYTES)
        return UINT32_MAX;
    memcpy(&message, payload, sizeof(message));
    memcpy(&check, payload + sizeof(message), sizeof(check));
    if (check != ~message || message >= model->message_count ||
        model->messages[message].payload_bytes != bytes)
        return UINT32_MAX;
    for (uint32_t i = MODEL_STAMP_BYTES; i < bytes; i++) {
        if (payload[i] != payload_byte(message, i))
            return UINT32_MAX;
    }
    return message;
}

/* What a crash may take that is permitted to. */
static void lose_recent(struct model *model)
{
    for (uint32_t i = 0; i < model->message_count; i++) {
        struct model_message *message = &model->messages[i];
        message->may_be_lost |=
            message->acked_at == 0 || message->acked_ns + model->loss_window_ns >= model->now_ns;
    }
    for (uint32_t i = 0; i < model->life_count; i++) {
        struct model_life *life = &model->lives[i];
        for (uint32_t k = 0; k < life->entry_count; k++) {
            struct model_entry *entry = &life->entries[k];
            /* One that is due may be on its way. */
            entry->may_be_lost |= entry->last_suback_at < entry->last_subscribed_at ||
                                  entry->last_suback_ns + model->loss_window_ns >= model->now_ns;
        }
    }
}

void model_crash(struct model *model)
{
    if (model->loss_window_ns != 0)
        lose_recent(model);
    ps_assert(model->crash_count < MODEL_CRASHES_MAX);
    model->crashes[model->crash_count++] =
        (struct model_crash){.at = ++model->clock, .at_ns = model->now_ns};
    /* Whether the gateway forgot a will before it was killed nobody can tell. */
    for (uint32_t i = 0; i < model->message_count; i++) {
        struct model_message *message = &model->messages[i];
        if (message->is_forbidden && message->ended_ns + model->crash_window_ns >= model->now_ns)
            message->is_forbidden = false;
    }
}

/* Whether a subscription above QoS 0 was being ended or lowered when the crash came, and nobody had
 * acknowledged that: the message may have come at what was then left, QoS 0, and be due again at
 * what the store still granted. */
static bool was_end_under_way(const struct model *model, const struct model_life *life,
                              uint32_t topic, uint64_t received_at, uint64_t crashed_at)
{
    for (uint32_t i = 0; i < life->entry_count; i++) {
        const struct model_entry *entry = &life->entries[i];
        bool is_ending = entry->ended_at > entry->subscribed_at && entry->ended_at < received_at &&
                         (entry->unsuback_at == 0 || entry->unsuback_at > crashed_at);
        if (is_ending && entry->qos_high != 0 && model->matches[entry->filter][topic])
            return true;
    }
    return false;
}

/* What was delivered after the last checkpoint comes again, each copy in the log once, and without
 * DUP, as nobody knows that it was delivered. At QoS 2 it must not, and QoS 0 is not kept but for
 * wills, and for subscriptions that were above it. */
static bool is_repeated_by_crash(const struct model *model, const struct model_life *life,
                                 struct model_count *count, const struct model_receipt *receipt)
{
    const struct model_message *message = &model->messages[receipt->message];
    if (count->live_qos == 2 || count->first_at == 0)
        return false;
    for (uint32_t i = 0; i < model->crash_count; i++) {
        const struct model_crash *crash = &model->crashes[i];
        bool is_between = count->live_connected_at < crash->at && crash->at < receipt->connected_at;
        bool is_kept = count->live_qos == 1 || message->is_will ||
                       was_end_under_way(model, life, message->topic, count->live_at, crash->at);
        if (is_between && is_kept && crash->at_ns <= count->live_ns + model->crash_window_ns)
            count->repeatable = (uint16_t)(count->plain + count->repeated);
    }
    if (receipt->is_dup || count->repeatable == 0)
        return false;
    count->repeatable--;
    return true;
}

uint32_t model_life_begin(struct model *model, uint32_t client, bool is_durable)
{
    model->lives =
        grown(model->lives, model->life_count, &model->lives_max, sizeof(struct model_life));
    model->lives[model->life_count] = (struct model_life){
        .client = client,
        .is_durable = is_durable,
        .began_at = ++model->clock,
    };
    return model->life_count++;
}

void model_life_end(struct model *model, uint32_t life)
{
    model->lives[life].ended_at = ++model->clock;
}

/* The entry of this filter that has not ended, or NULL. */
static struct model_entry *find_entry(struct model_life *life, uint32_t filter)
{
    for (uint32_t i = 0; i < life->entry_count; i++) {
        if (life->entries[i].filter == filter && life->entries[i].ended_at == 0)
            return &life->entries[i];
    }
    return NULL;
}

uint32_t model_subscribe(struct model *model, uint32_t life_number, uint32_t filter, uint8_t qos)
{
    struct model_life *life = &model->lives[life_number];
    struct model_entry *entry = find_entry(life, filter);
    model->clock++;
    if (entry != NULL && (entry->qos_low == 0) == (qos == 0)) {
        entry->qos_low = qos < entry->qos_low ? qos : entry->qos_low;
        entry->qos_high = qos > entry->qos_high ? qos : entry->qos_high;
        entry->subscribes++;
        entry->last_subscribed_at = model->clock;
        return (uint32_t)(entry - life->entries);
    }
    if (entry != NULL) {
        entry->ended_at = model->clock;
        entry->ended_on = life->resumes;
        entry->was_replaced = true;
    }
    life->entries =
        grown(life->entries, life->entry_count, &life->entries_max, sizeof(struct model_entry));
    life->entries[life->entry_count] = (struct model_entry){
        .filter = filter,
        .subscribes = 1,
        .subscribed_at = model->clock,
        .last_subscribed_at = model->clock,
        .qos_low = qos,
        .qos_high = qos,
    };
    return life->entry_count++;
}

void model_suback(struct model *model, uint32_t life_number, uint32_t entry_number, uint8_t code)
{
    struct model_life *life = &model->lives[life_number];
    struct model_entry *entry = &life->entries[entry_number];
    model->clock++;
    if (code > 2) {
        entry->ended_at = entry->subscribed_at;
        entry->unsuback_at = model->clock;
        return;
    }
    if (model->mutation == MODEL_FORGETS_SUBSCRIPTION && model->mutation_at-- == 0) {
        entry->ended_at = entry->subscribed_at;
        entry->unsuback_at = entry->subscribed_at;
        return;
    }
    if (entry->suback_at == 0)
        entry->suback_at = model->clock;
    entry->last_suback_at = model->clock;
    entry->last_suback_ns = model->now_ns;
    /* What it took the place of is gone by now, if what ended that came before it on this very
     * connection. */
    for (uint32_t i = 0; i < life->entry_count; i++) {
        struct model_entry *older = &life->entries[i];
        if (older != entry && older->filter == entry->filter && older->ended_at != 0 &&
            older->unsuback_at == 0 && older->ended_at <= entry->subscribed_at &&
            older->ended_on == life->resumes)
            older->unsuback_at = model->clock;
    }
}

void model_unsubscribe(struct model *model, uint32_t life, uint32_t filter)
{
    struct model_entry *entry = find_entry(&model->lives[life], filter);
    model->clock++;
    if (entry != NULL) {
        entry->ended_at = model->clock;
        entry->ended_on = model->lives[life].resumes;
    }
}

void model_unsuback(struct model *model, uint32_t life_number, uint32_t filter, uint64_t asked_at)
{
    struct model_life *life = &model->lives[life_number];
    model->clock++;
    for (uint32_t i = 0; i < life->entry_count; i++) {
        struct model_entry *entry = &life->entries[i];
        if (entry->filter == filter && entry->ended_at != 0 && entry->unsuback_at == 0 &&
            entry->ended_at <= asked_at)
            entry->unsuback_at = model->clock;
    }
}

static uint32_t place_of(const struct model_count *counts, uint32_t max, uint32_t key)
{
    uint32_t place = (key * 2654435761U) & (max - 1);
    while (counts[place].key != 0 && counts[place].key != key)
        place = (place + 1) & (max - 1);
    return place;
}

const struct model_count *model_count_of(const struct model_life *life, uint32_t message)
{
    if (life->counts_max == 0)
        return NULL;
    const struct model_count *count =
        &life->counts[place_of(life->counts, life->counts_max, message + 1)];
    return count->key == 0 ? NULL : count;
}

static struct model_count *count_for(struct model_life *life, uint32_t message)
{
    if (life->count_used * 2 >= life->counts_max) {
        uint32_t larger = life->counts_max == 0 ? 64 : life->counts_max * 2;
        struct model_count *counts = calloc(larger, sizeof(*counts));
        ps_assert(counts != NULL);
        for (uint32_t i = 0; i < life->counts_max; i++) {
            if (life->counts[i].key != 0)
                counts[place_of(counts, larger, life->counts[i].key)] = life->counts[i];
        }
        free(life->counts);
        life->counts = counts;
        life->counts_max = larger;
    }
    struct model_count *count =
        &life->counts[place_of(life->counts, life->counts_max, message + 1)];
    if (count->key == 0) {
        count->key = message + 1;
        life->count_used++;
    }
    return count;
}

bool model_lose(struct model_life *life, uint32_t message)
{
    struct model_count *count = count_for(life, message);
    bool is_new = !count->is_lost;
    count->is_lost = true;
    return is_new;
}

static void take_receipt(struct model *model, uint32_t life_number,
                         const struct model_receipt *given)
{
    struct model_life *life = &model->lives[life_number];
    struct model_receipt receipt = *given;
    receipt.at = ++model->clock;
    struct model_count *count = count_for(life, receipt.message);
    if (receipt.is_retain) {
        count->retained++;
        model->received_retained++;
    } else {
        bool is_repeated = is_repeated_by_crash(model, life, count, &receipt);
        model->repeated += is_repeated;
        count->repeated = (uint16_t)(count->repeated + is_repeated);
        count->plain = (uint16_t)(count->plain + (!receipt.is_dup && !is_repeated));
        count->dup = (uint16_t)(count->dup + receipt.is_dup);
        if (count->first_at == 0)
            count->first_at = receipt.at;
        count->live_connected_at = receipt.connected_at;
        count->live_at = receipt.at;
        count->live_ns = model->now_ns;
        count->live_qos = receipt.qos;
        model->received[receipt.qos]++;
    }
    count->last_at = receipt.at;
    life->receipts =
        grown(life->receipts, life->receipt_count, &life->receipts_max, sizeof(receipt));
    life->receipts[life->receipt_count++] = receipt;
    checker_on_receipt(model, life_number, &receipt);
}

/* MODEL_SWAPS_RECEIPTS: two of one topic and QoS in a row trade places. True: dealt with. */
static bool swap(struct model *model, uint32_t life, const struct model_receipt *receipt)
{
    bool is_candidate = receipt->qos != 0 && !receipt->is_retain && !receipt->is_dup;
    if (model->held_back == NULL) {
        if (!is_candidate || model->mutation_at == UINT32_MAX || model->mutation_at-- != 0)
            return false;
        model->held_back = malloc(sizeof(*receipt));
        ps_assert(model->held_back != NULL);
        *model->held_back = *receipt;
        model->held_back_life = life;
        return true;
    }
    const struct model_message *held = &model->messages[model->held_back->message];
    const struct model_message *other = &model->messages[receipt->message];
    bool is_pair = is_candidate && life == model->held_back_life && held->topic == other->topic &&
                   held->qos == other->qos && held->publisher == other->publisher;
    if (!is_pair)
        return false;
    take_receipt(model, life, receipt);
    take_receipt(model, life, model->held_back);
    free(model->held_back);
    model->held_back = NULL;
    model->mutation_at = UINT32_MAX;
    return true;
}

void model_receive(struct model *model, uint32_t life, const struct model_receipt *receipt)
{
    struct model_receipt told = *receipt;
    bool is_due = false;
    bool is_plain = receipt->qos != 0 && !receipt->is_retain && !receipt->is_dup;
    if (model->mutation == MODEL_SWAPS_RECEIPTS && swap(model, life, receipt))
        return;
    bool counts_down = model->mutation == MODEL_FORGETS_RECEIPT ||
                       model->mutation == MODEL_REPEATS_RECEIPT ||
                       model->mutation == MODEL_RAISES_QOS || model->mutation == MODEL_FLIPS_RETAIN;
    if (counts_down && is_plain)
        is_due = model->mutation_at-- == 0;
    if (is_due && model->mutation == MODEL_FORGETS_RECEIPT)
        return;
    if (is_due && model->mutation == MODEL_RAISES_QOS)
        told.qos = told.qos == 1 ? 2 : 1;
    if (is_due && model->mutation == MODEL_FLIPS_RETAIN)
        told.is_retain = true;
    take_receipt(model, life, &told);
    if (is_due && model->mutation == MODEL_REPEATS_RECEIPT)
        take_receipt(model, life, &told);
}

void model_receive_empty(struct model *model, uint32_t life, uint32_t topic, bool is_retain,
                         bool is_dup)
{
    model->clock++;
    model->empty_received[topic]++;
    checker_on_empty_receipt(model, life, topic, is_retain, is_dup);
}
