/*
 * The owner of partitions: appends, channels and hand-overs; see owner.h. Interest is in
 * owner_interest.c, reads are in owner_read.c, retained values in retained_writer.c.
 */
#include "session/owner.h"

#include <inttypes.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "session/delivery.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/late_read.h"
#include "session/retained_read.h"
#include "session/retained_writer.h"

enum { CHANNEL_BYTES_MAX = 1 << 20, POSITION_TICKS = 1000 / SHARD_TICK_MS };

/* A QoS 0 record that waits until a retained one of its topic is handed over. */
struct owner_waiting {
    struct owner_waiting *next;
    struct record *record;
    uint32_t behind; /* its partition's held_for when it came */
};

struct owner_partition *owner_partition(struct owner *owner, uint16_t partition)
{
    ps_assert(hub_owner_of(owner->hub, partition) == owner->hub->shard->index);
    return &owner->partitions[partition / owner->hub->shard->count];
}

static int create_partition(struct owner *owner, struct owner_partition *partition, uint16_t number)
{
    partition->partition = number;
    partition->channel = heap_zalloc(owner->hub->heap, sizeof(struct broker_pull));
    if (partition->channel == NULL)
        return -ENOMEM;
    broker_hold(owner->hub->broker, number, 0, 0); /* until the owner knows better */
    partition->channel->partition = number;
    partition->channel->request.owner = owner;
    return 0;
}

int owner_create(struct hub *hub, struct owner **out_owner)
{
    struct owner *owner = heap_zalloc(hub->heap, sizeof(*owner));
    if (owner == NULL)
        return -ENOMEM;
    owner->hub = hub;
    uint32_t shards = hub->shard->count;
    owner->partition_count = (hub->partition_count + shards - 1 - hub->shard->index) / shards;
    const struct topic_index_options options = {
        .heap = hub->heap,
        .seed = hub->shared->seed,
        .topics_max = hub->limits->topics_max,
        .filters_max = hub->limits->filters_max,
    };
    owner->partitions =
        heap_zalloc(hub->heap, (owner->partition_count + 1) * sizeof(struct owner_partition));
    owner->wanted =
        heap_zalloc(hub->heap, (owner->partition_count * shards + 1) * sizeof(uint64_t));
    if (owner->partitions == NULL || owner->wanted == NULL ||
        topic_index_init(&owner->index, &options) != 0) {
        heap_free(hub->heap, owner->wanted);
        heap_free(hub->heap, owner->partitions);
        heap_free(hub->heap, owner);
        return -ENOMEM;
    }
    int status = retained_writer_create(owner, &owner->retained);
    for (uint32_t i = 0; status == 0 && i < owner->partition_count; i++)
        status = create_partition(owner, &owner->partitions[i],
                                  (uint16_t)(i * shards + hub->shard->index));
    if (status == 0)
        status = owner_start_create(owner);
    if (status != 0) {
        owner_destroy(owner);
        return status;
    }
    *out_owner = owner;
    return 0;
}

static bool drop_filter(void *context, struct filter *filter)
{
    struct filter ***at = context;
    *(*at)++ = filter;
    return true;
}

/* Every shard's interest goes. */
static void drop_interest(struct owner *owner)
{
    uint64_t count = owner->index.filters.count;
    if (count == 0)
        return;
    struct heap *heap = owner->hub->heap;
    struct filter **filters = heap_alloc(heap, count * sizeof(struct filter *));
    if (filters == NULL)
        return;
    struct filter **end = filters;
    filter_iterate(&owner->index, drop_filter, &end);
    for (struct filter **filter = filters; filter != end; filter++) {
        if ((*filter)->is_active)
            topic_index_deactivate(&owner->index, *filter);
        (*filter)->shards = 0;
        filter_release(&owner->index, *filter);
    }
    heap_free(heap, filters);
}

static void free_append(struct owner *owner, struct owner_append *append)
{
    *append->link_of_all = append->next_of_all;
    if (append->next_of_all != NULL)
        append->next_of_all->link_of_all = append->link_of_all;
    for (uint32_t i = 0; i < append->append.count; i++) {
        record_release(owner->hub->heap, append->append.records[i]);
        heap_free(owner->hub->heap, append->publishers[i].own);
    }
    heap_free(owner->hub->heap, append);
}

void owner_destroy(struct owner *owner)
{
    if (owner == NULL)
        return;
    struct heap *heap = owner->hub->heap;
    for (uint32_t i = 0; i < owner->partition_count; i++) {
        heap_free(heap, owner->partitions[i].channel);
    }
    while (owner->appends_all != NULL)
        free_append(owner, owner->appends_all);
    while (owner->reads != NULL) {
        struct late_read *read = owner->reads;
        owner->reads = read->next;
        read->pull.count = 0; /* what an answer lends is not acquired yet */
        late_read_finish(owner->hub, read);
    }
    while (owner->retained_reads != NULL) {
        struct retained_read *read = owner->retained_reads;
        owner->retained_reads = read->next;
        heap_free(heap, read);
    }
    owner_interest_abort(owner);
    while (owner->waiting_first != NULL) {
        struct owner_waiting *waiting = owner->waiting_first;
        owner->waiting_first = waiting->next;
        record_release(heap, waiting->record);
        heap_free(heap, waiting);
    }
    owner_start_destroy(owner);
    retained_writer_destroy(owner->retained);
    drop_interest(owner);
    topic_index_deinit(&owner->index);
    heap_free(heap, owner->wanted);
    heap_free(heap, owner->partitions);
    heap_free(heap, owner);
}

/* Shards that want this topic. */
static uint64_t shards_interested(struct owner *owner, const struct record *record)
{
    if (owner->hub->shard->count == 1)
        return 1; /* its own topic table says who wants it */
    const struct topic *topic = topic_resolve(&owner->index, (const char *)record_topic(record),
                                              record->topic_bytes, record->topic_hash);
    uint64_t shards = topic->exact == NULL ? 0 : topic->exact->shards;
    for (uint32_t i = 0; i < topic->pattern_count; i++)
        shards |= topic->patterns[i]->shards;
    return shards;
}

static uint32_t weight_of(const struct record *record)
{
    return (uint32_t)record_memory_bytes(record->topic_bytes, record->fields_bytes,
                                         record->payload_bytes);
}

/* A full mailbox: the shard reads the partition itself from this record on. */
static void mark_late(struct owner *owner, struct owner_partition *partition, uint32_t shard,
                      uint64_t sequence)
{
    partition->late_shards |= 1ULL << shard;
    owner->counters.late_marks++;
    const struct hub_mail mail = {
        .kind = HUB_MAIL_LATE,
        .partition = partition->partition,
        .sequence = sequence,
    };
    hub_answer(owner->hub, shard, &mail);
}

/* To one shard; takes over a reference. */
static void hand_over_to(struct owner *owner, struct owner_partition *partition, uint32_t shard,
                         struct record *record)
{
    struct hub *hub = owner->hub;
    owner->counters.handovers++;
    if (hub_is_direct(hub, shard) && hub->fan_out == NULL) {
        delivery_handover(hub, record);
        return;
    }
    const struct hub_mail mail = {
        .kind = HUB_MAIL_HANDOVER,
        .partition = partition->partition,
        .pointer = record,
    };
    if (hub_post(hub, shard, &mail, weight_of(record)))
        return;
    owner->counters.handovers--;
    if (record->sequence == 0)
        hub->counters.dropped[HUB_DROP_MAILBOX]++;
    else
        mark_late(owner, partition, shard, record->sequence);
    record_release(hub->heap, record);
}

void owner_hand_over(struct owner *owner, struct owner_partition *partition, struct record *record)
{
    uint64_t shards = shards_interested(owner, record) & ~partition->late_shards;
    if (shards == 0) {
        record_release(owner->hub->heap, record);
        return;
    }
    /* The last one gets the caller's reference: with one shard there is no other. */
    for (; (shards & (shards - 1)) != 0; shards &= shards - 1)
        hand_over_to(owner, partition, (uint32_t)__builtin_ctzll(shards), record_acquire(record));
    hand_over_to(owner, partition, (uint32_t)__builtin_ctzll(shards), record);
}

/* Takes over the record. */
static void hold_back(struct owner *owner, const struct owner_partition *partition,
                      struct record *record)
{
    struct heap *heap = owner->hub->heap;
    struct owner_waiting *waiting =
        owner->waiting_count < OWNER_WAITING_MAX ? heap_alloc(heap, sizeof(*waiting)) : NULL;
    if (waiting == NULL) {
        owner->hub->counters.dropped[HUB_DROP_WAITING]++;
        record_release(heap, record);
        return;
    }
    *waiting = (struct owner_waiting){.record = record, .behind = partition->held_for};
    if (owner->waiting_last == NULL)
        owner->waiting_first = waiting;
    else
        owner->waiting_last->next = waiting;
    owner->waiting_last = waiting;
    owner->waiting_count++;
}

/* To the other gateways and to this one's shards. Takes over the record. */
static void relay(struct owner *owner, struct owner_partition *partition, struct record *record)
{
    struct hub *hub = owner->hub;
    hub->counters.relayed++;
    broker_relay(hub->broker, partition->partition, &record, 1);
    owner_hand_over(owner, partition, record);
}

/* A QoS 0 retained record was handed over, or refused: what waits behind it and behind no later one
 * goes. */
static void release_waiting(struct owner *owner, struct owner_partition *partition)
{
    partition->held_done++;
    struct owner_waiting **link = &owner->waiting_first;
    struct owner_waiting *last = NULL;
    while (*link != NULL) {
        struct owner_waiting *waiting = *link;
        bool is_free = waiting->record->partition == partition->partition &&
                       (int32_t)(partition->held_done - waiting->behind) >= 0;
        if (!is_free) {
            last = waiting;
            link = &waiting->next;
            continue;
        }
        *link = waiting->next;
        owner->waiting_count--;
        relay(owner, partition, waiting->record);
        heap_free(owner->hub->heap, waiting);
    }
    owner->waiting_last = last;
}

/* QoS 0: no log, no answer. Takes over the record. */
static void publish_at_most_once(struct owner *owner, struct owner_partition *partition,
                                 struct record *record)
{
    if (partition->held_done != partition->held_for)
        hold_back(owner, partition, record);
    else
        relay(owner, partition, record);
}

/* Behind those that wait; owner_step goes on with them. */
static void queue(struct owner *owner, struct owner_append *append)
{
    append->next = NULL;
    if (owner->submits_last == NULL)
        owner->submits_first = append;
    else
        owner->submits_last->next = append;
    owner->submits_last = append;
}

static void submit(struct owner *owner, struct owner_append *append)
{
    owner->counters.appends++;
    if (owner->submits_first != NULL || broker_append(owner->hub->broker, &append->append) != 0)
        queue(owner, append);
}

static void on_appended(struct broker_append *done);

/* The append that gathers for this partition; NULL: too many are under way. */
static struct owner_append *filling(struct owner *owner, struct owner_partition *partition)
{
    struct owner_append *append = partition->filling;
    if (append != NULL && append->append.count == BROKER_APPEND_MAX) {
        partition->filling = NULL;
        submit(owner, append);
        append = NULL;
    }
    if (append != NULL)
        return append;
    if (!owner_has_room(owner))
        return NULL;
    append = heap_alloc(owner->hub->heap, sizeof(*append));
    if (append == NULL)
        return NULL;
    memset(&append->append.request, 0, sizeof(append->append.request));
    append->append.on_done = on_appended;
    append->append.partition = partition->partition;
    append->append.count = 0;
    append->append.request.owner = append;
    append->owner = owner;
    append->next_of_all = owner->appends_all;
    append->link_of_all = &owner->appends_all;
    if (append->next_of_all != NULL)
        append->next_of_all->link_of_all = &append->next_of_all;
    owner->appends_all = append;
    owner->appends_under_way++;
    partition->filling = append;
    return append;
}

/* The gateway's own publish at QoS 0 is passed on: its memory goes back. */
static void answer_own(struct owner *owner, uint32_t shard, struct will *own)
{
    const struct hub_mail mail = {
        .kind = HUB_MAIL_PUBLISH_ANSWER,
        .status = BROKER_OK,
        .own = own,
    };
    hub_answer(owner->hub, shard, &mail);
}

bool owner_has_room(const struct owner *owner)
{
    return owner->is_started && owner->appends_under_way < OWNER_APPENDS_MAX &&
           !retained_writer_is_behind(owner->retained);
}

bool owner_publish(struct owner *owner, uint32_t from_shard, const struct hub_mail *mail)
{
    struct record *record = mail->pointer;
    struct owner_partition *partition = owner_partition(owner, record->partition);
    if (ps_unlikely(!owner->is_started))
        return false;
    bool is_retain = (record->flags & RECORD_RETAIN) != 0;
    if (record_qos(record) == 0 && !is_retain) {
        publish_at_most_once(owner, partition, record);
        if (mail->own != NULL)
            answer_own(owner, from_shard, mail->own);
        return true;
    }
    struct owner_append *append = filling(owner, partition);
    if (append == NULL)
        return false;
    if (record_qos(record) == 0)
        partition->held_for++;
    owner->hub->wants_turn = true; /* as a will's may, it perhaps comes after this turn's submit */
    uint32_t index = append->append.count++;
    append->append.records[index] = record;
    append->publishers[index].session = mail->session;
    append->publishers[index].position = mail->position;
    append->publishers[index].shard = from_shard;
    append->publishers[index].own = mail->own;
    return true;
}

static void answer(struct owner *owner, const struct owner_append *append, uint32_t index)
{
    if (append->publishers[index].session.generation == 0 && append->publishers[index].own == NULL)
        return;
    const struct hub_mail mail = {
        .kind = HUB_MAIL_PUBLISH_ANSWER,
        .status = (uint8_t)append->append.results[index].status,
        .session = append->publishers[index].session,
        .position = append->publishers[index].position,
        .own = append->publishers[index].own,
        .sequence = append->append.results[index].sequence,
    };
    hub_answer(owner->hub, append->publishers[index].shard, &mail);
}

/* Takes the answered records out of an append; those in doubt stay, in order. Result: how many
 * stay. */
static uint16_t settle(struct owner *owner, struct owner_append *append)
{
    struct hub *hub = owner->hub;
    struct owner_partition *partition = owner_partition(owner, append->append.partition);
    uint16_t kept = 0;
    for (uint16_t i = 0; i < append->append.count; i++) {
        struct record *record = append->append.records[i];
        enum broker_status status = append->append.results[i].status;
        if (status == BROKER_UNKNOWN) {
            append->append.records[kept] = record;
            append->publishers[kept++] = append->publishers[i];
            continue;
        }
        if (status == BROKER_OK)
            hub->counters.committed++;
        else if (status == BROKER_DUPLICATE)
            hub->counters.duplicates++;
        else
            hub->counters.rejected[HUB_REJECT_BROKER]++;
        if (record_qos(record) == 0 && status != BROKER_OK)
            release_waiting(owner, partition);
        if (status != BROKER_REFUSED && append->append.results[i].sequence > partition->committed)
            partition->committed = append->append.results[i].sequence;
        answer(owner, append, i);
        record_release(hub->heap, record);
    }
    return kept;
}

static void on_appended(struct broker_append *done)
{
    struct owner_append *append = done->request.owner;
    struct owner *owner = append->owner;
    done->count = settle(owner, append);
    if (done->count != 0) {
        owner->counters.retries += done->count;
        owner->submits_due_ns = owner->hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
        queue(owner, append);
        return;
    }
    owner->appends_under_way--;
    free_append(owner, append);
}

/* A committed record, or one that another gateway relayed, came through the channel. False: its
 * retained value found no memory, and it is to be pulled again. */
static bool on_record(struct owner *owner, struct owner_partition *partition, struct record *record)
{
    if (record->topic_hash == 0) {
        record->topic_hash = topic_index_hash(&owner->index, (const char *)record_topic(record),
                                              record->topic_bytes);
    }
    if ((record->flags & RECORD_RETAIN) && !retained_writer_apply(owner->retained, record))
        return false;
    /* What an earlier run has handed over is read by those who have not had it. */
    bool is_old = record->sequence != 0 && record->sequence <= partition->old_tail;
    if (!(record->flags & RECORD_VALUE_ONLY) && !is_old)
        owner_hand_over(owner, partition, record_acquire(record));
    if (record->sequence != 0)
        partition->handed_over = record->sequence;
    if (record_qos(record) == 0 && record->sequence != 0 && !is_old &&
        partition->held_done != partition->held_for)
        release_waiting(owner, partition);
    return true;
}

/* Retention took records before the channel came to them: no shard is handed them, and what values
 * they had is lost. Runs of interest stay unbroken: nobody could read in the log what the shards'
 * rings lack. What an earlier run had handed over is counted by those who still wanted it. */
static void on_loss(struct owner *owner, struct owner_partition *partition,
                    const struct broker_pull *pull)
{
    struct hub *hub = owner->hub;
    if (pull->count != 0) /* should one of these not be taken now: not counted again */
        partition->handed_over = pull->records[0]->sequence - 1;
    if (pull->next <= partition->old_tail + 1)
        return;
    hub->counters.dropped[HUB_DROP_RETENTION_CHANNEL] += pull->removed;
    if (hub->log != NULL)
        log_write(hub->log, LOG_WARNING, "retention",
                  "partition=%u removed=%" PRIu64 " next=%" PRIu64, partition->partition,
                  pull->removed, pull->next);
}

static void on_channel(struct broker_pull *pull)
{
    struct owner *owner = pull->request.owner;
    struct owner_partition *partition = owner_partition(owner, pull->partition);
    partition->is_pulling = false;
    if (pull->status != BROKER_OK) {
        owner->pulls_due_ns = owner->hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
        return;
    }
    if (pull->removed != 0)
        on_loss(owner, partition, pull);
    for (uint32_t i = 0; i < pull->count; i++) {
        if (!on_record(owner, partition, pull->records[i]))
            return;
    }
    if (pull->next != 0 && pull->next - 1 > partition->handed_over)
        partition->handed_over = pull->next - 1;
}

static void keep_pulling(struct owner *owner, struct owner_partition *partition)
{
    if (partition->is_pulling || !owner->is_started || retained_writer_is_behind(owner->retained) ||
        owner->hub->shard->now_ns < owner->pulls_due_ns)
        return;
    struct broker_pull *pull = partition->channel;
    pull->on_done = on_channel;
    pull->from = partition->handed_over + 1;
    pull->bytes_max = CHANNEL_BYTES_MAX;
    pull->records_max = BROKER_PULL_RECORDS_MAX;
    pull->wait = true;
    partition->is_pulling = broker_pull(owner->hub->broker, pull) == 0;
}

/* Every shard learns how far each partition is, although nothing of it concerned it. */
static void tell_positions(struct owner *owner)
{
    for (uint32_t i = 0; i < owner->partition_count; i++) {
        const struct owner_partition *partition = &owner->partitions[i];
        const struct hub_mail mail = {
            .kind = HUB_MAIL_POSITION,
            .partition = partition->partition,
            .sequence = partition->handed_over,
        };
        for (uint32_t shard = 0; shard < owner->hub->shard->count; shard++) {
            if (!(partition->late_shards & 1ULL << shard))
                hub_post(owner->hub, shard, &mail, 0);
        }
    }
}

void owner_set_wanted(struct owner *owner, uint32_t shard, uint16_t partition, uint64_t sequence)
{
    uint32_t shards = owner->hub->shard->count;
    ps_assert(hub_owner_of(owner->hub, partition) == owner->hub->shard->index);
    owner->wanted[partition / shards * shards + shard] = sequence;
}

/* What retention is to leave alone. What the channel has not brought yet may have retained values.
 */
static void tell_holds(struct owner *owner)
{
    uint32_t shards = owner->hub->shard->count;
    for (uint32_t i = 0; i < owner->partition_count; i++)
        owner->partitions[i].needed_from = owner->partitions[i].handed_over + 1;
    retained_writer_lower_needed(owner->retained);
    for (uint32_t i = 0; i < owner->partition_count; i++) {
        const struct owner_partition *partition = &owner->partitions[i];
        uint64_t wanted_from = UINT64_MAX;
        for (uint32_t shard = 0; shard < shards; shard++)
            wanted_from = ps_min_u64(wanted_from, owner->wanted[i * shards + shard]);
        broker_hold(owner->hub->broker, partition->partition, partition->needed_from, wanted_from);
    }
}

bool owner_waits(const struct owner *owner)
{
    return owner->submits_first != NULL || owner->hub->shard->now_ns < owner->pulls_due_ns ||
           retained_writer_waits(owner->retained) ||
           (owner->start != NULL && !owner_start_is_asking(owner));
}

bool owner_is_idle(const struct owner *owner)
{
    return !owner_start_is_asking(owner) && owner->appends_under_way == 0 &&
           owner->waiting_count == 0 && owner->interest_waiting == NULL &&
           !retained_writer_is_busy(owner->retained);
}

bool owner_step(struct owner *owner)
{
    struct hub *hub = owner->hub;
    owner_start_step(owner);
    while (owner->submits_first != NULL && hub->shard->now_ns >= owner->submits_due_ns) {
        struct owner_append *append = owner->submits_first;
        if (broker_append(hub->broker, &append->append) != 0)
            break;
        owner->submits_first = append->next;
        if (owner->submits_first == NULL)
            owner->submits_last = NULL;
    }
    for (uint32_t i = 0; i < owner->partition_count; i++) {
        struct owner_partition *partition = &owner->partitions[i];
        struct owner_append *append = partition->filling;
        if (append != NULL) {
            partition->filling = NULL;
            submit(owner, append);
        }
        keep_pulling(owner, partition);
    }
    bool has_more = broker_turn(hub->broker, hub->shard->now_ns, hub->shard->wall_ms);
    for (uint32_t i = 0; i < owner->partition_count; i++)
        keep_pulling(owner, &owner->partitions[i]);
    owner_interest_step(owner);
    if (owner->is_started && hub->shard->tick - owner->position_tick >= POSITION_TICKS) {
        owner->position_tick = hub->shard->tick;
        tell_positions(owner);
        tell_holds(owner);
        retained_writer_tell_applied(owner->retained);
    }
    return has_more || owner_start_has_more(owner);
}
