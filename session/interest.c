/*
 * The asking side of interest; see interest.h. The owner's side is owner_interest.c.
 */
#include "session/interest.h"

#include "core/base.h"
#include "core/heap.h"
#include "net/mqtt_topic.h"
#include "session/filter.h"
#include "session/hub.h"
#include "session/hub_mail.h"

/* True when everything that a filter can match lies in one partition. */
static bool has_one_partition(const struct hub *hub, const struct filter *filter)
{
    if (!filter->is_pattern)
        return true;
    /* "a/#" matches "a" too, which has fewer levels than "a/b" and is hashed whole: with L literal
     * levels before the '#', the topic without it has exactly L levels, and so the same hash. */
    return hub->partition_levels != 0 && filter->literal_levels >= hub->partition_levels;
}

bool interest_concerns(const struct hub *hub, const struct filter *filter, uint16_t partition)
{
    if (!has_one_partition(hub, filter))
        return true;
    return broker_partition(filter->text, filter->bytes, hub->partition_count,
                            hub->partition_levels) == partition;
}

struct interest_request *interest_create(struct hub *hub, const struct filter *const *filters,
                                         uint32_t count)
{
    size_t text_bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        text_bytes += filters[i]->bytes;
    struct interest_request *request =
        heap_zalloc(hub->heap, sizeof(*request) + hub->partition_count * sizeof(uint64_t) +
                                   hub->shard->count * sizeof(struct outbox_mail) +
                                   count * sizeof(struct interest_filter) + text_bytes);
    if (request == NULL)
        return NULL;
    request->from = (uint64_t *)(request + 1);
    request->rooms = (struct outbox_mail *)(request->from + hub->partition_count);
    request->filters = (struct interest_filter *)(request->rooms + hub->shard->count);
    char *text = (char *)(request->filters + count);
    for (uint32_t i = 0; i < count; i++) {
        memcpy(text, filters[i]->text, filters[i]->bytes);
        request->filters[i].text = text;
        request->filters[i].bytes = filters[i]->bytes;
        text += filters[i]->bytes;
    }
    for (uint32_t p = 0; p < hub->partition_count; p++)
        request->from[p] = UINT64_MAX;
    request->count = count;
    request->from_shard = hub->shard->index;
    return request;
}

bool interest_is_refused(const struct interest_request *request, uint32_t index)
{
    return atomic_load_explicit(&request->filters[index].is_refused, memory_order_relaxed);
}

void interest_destroy(struct hub *hub, struct interest_request *request)
{
    heap_free(hub->heap, request);
}

/* A bit for each owner that one of the filters concerns. */
static uint64_t owners_concerned(const struct hub *hub, const struct interest_request *request)
{
    uint64_t owners = 0;
    uint64_t all = hub->shard->count == 64 ? UINT64_MAX : (1ULL << hub->shard->count) - 1;
    for (uint32_t i = 0; i < request->count && owners != all; i++) {
        const struct interest_filter *filter = &request->filters[i];
        uint32_t literal_levels = 0;
        bool is_pattern = mqtt_filter_is_pattern(filter->text, filter->bytes);
        if (is_pattern) {
            uint32_t literal_bytes = mqtt_filter_literal_bytes(filter->text, filter->bytes);
            literal_levels =
                literal_bytes == 0 ? 0 : mqtt_topic_levels(filter->text, literal_bytes);
        }
        if (is_pattern && (hub->partition_levels == 0 || literal_levels < hub->partition_levels)) {
            owners = all;
            break;
        }
        uint16_t partition = broker_partition(filter->text, filter->bytes, hub->partition_count,
                                              hub->partition_levels);
        owners |= 1ULL << hub_owner_of(hub, partition);
    }
    return owners;
}

void interest_send(struct hub *hub, struct interest_request *request, bool is_drop)
{
    uint64_t owners = owners_concerned(hub, request);
    request->waiting = (uint32_t)__builtin_popcountll(owners);
    ps_assert(request->waiting != 0);
    const struct hub_mail mail = {
        .kind = is_drop ? HUB_MAIL_INTEREST_DROP : HUB_MAIL_INTEREST,
        .pointer = request,
    };
    for (uint32_t to = 0; to < hub->shard->count; to++) {
        if (owners & 1ULL << to)
            hub_request(hub, to, &mail, &request->rooms[to]);
    }
}

/* What the owner had handed over when it answered came here before the answer did, unless this
 * shard is late there. */
static void raise_floors(struct hub *hub, const struct interest_request *request, uint32_t owner)
{
    for (uint32_t p = owner; p < hub->partition_count; p += hub->shard->count) {
        uint64_t from = request->from[p];
        if (from != UINT64_MAX && hub->lateness[p] == HUB_ON_TIME && from - 1 > hub->floors[p])
            hub->floors[p] = from - 1;
    }
}

void interest_on_answer(struct hub *hub, struct interest_request *request, uint32_t owner)
{
    raise_floors(hub, request, owner);
    if (request->on_part != NULL)
        request->on_part(hub, request, owner);
    if (--request->waiting == 0)
        request->on_done(hub, request);
}

static void on_dropped(struct hub *hub, struct interest_request *request)
{
    interest_destroy(hub, request);
}

void interest_drop(struct hub *hub, const struct filter *filter)
{
    if (hub->is_ending)
        return;
    struct interest_request *request = interest_create(hub, &filter, 1);
    if (request == NULL)
        return;
    request->on_done = on_dropped;
    interest_send(hub, request, true);
}

void interest_discard(struct hub *hub, struct interest_request *request)
{
    if (--request->waiting == 0)
        interest_destroy(hub, request);
}
