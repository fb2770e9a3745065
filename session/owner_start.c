/*
 * The beginning of an owner: from where on its channels go on, and the wills that a crash cut off.
 *
 * A partition's channel begins behind "applied up to" (retained_writer.h), so that retained records
 * which the store does not have yet are applied again; nothing is handed over on the way.
 * Until every partition knows its beginning nothing is published, and no request for interest or
 * reads is answered, because the answer names a sequence; and until the channel has met the tail
 * that the log had at the start, requests for interest wait as they do behind an append
 * (owner_interest.c). Shard 0 then looks for wills of earlier runs and publishes them.
 */
#include "core/base.h"
#include "core/heap.h"
#include "core/wire.h"
#include "session/hub.h"
#include "session/owner.h"
#include "session/retained_writer.h"
#include "session/will.h"

struct owner_start {
    struct owner *owner;
    uint32_t next; /* partition, as an index into owner->partitions */
    bool is_asking;
    uint64_t due_ns; /* the broker could not say: it is asked again then */
    bool is_looking_for_wills;
    uint32_t tails; /* partitions whose tail is known */
    struct broker_get get;
    struct broker_tail tail;
    struct broker_list list;
    unsigned char keys[BROKER_KEYS_MAX][RETAINED_APPLIED_KEY_BYTES];
    uint32_t after_bytes;
    char after[BROKER_KEY_BYTES_MAX];
};

static void on_wills(struct broker_list *list);

/* Asked again after a pause. */
static void put_off(struct owner_start *start)
{
    start->due_ns = start->owner->hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
}

static void finish(struct owner *owner)
{
    heap_free(owner->hub->heap, owner->start);
    owner->start = NULL;
}

static void on_applied(struct broker_get *get)
{
    struct owner_start *start = ps_container_of(get, struct owner_start, get);
    struct owner *owner = start->owner;
    start->is_asking = false;
    for (uint32_t i = 0; i < get->count; i++) {
        const struct broker_value *value = &get->values[i];
        struct owner_partition *partition = &owner->partitions[start->next];
        if (value->status == BROKER_OK && value->value.count == sizeof(uint64_t))
            partition->handed_over = partition->applied = wire_load_u64(value->value.bytes);
        else if (value->status != BROKER_NOT_FOUND) {
            put_off(start);
            return;
        }
        start->next++;
    }
}

static void on_tail(struct broker_tail *tail)
{
    struct owner_start *start = ps_container_of(tail, struct owner_start, tail);
    struct owner *owner = start->owner;
    start->is_asking = false;
    if (tail->status != BROKER_OK) {
        put_off(start);
        return;
    }
    struct owner_partition *partition = &owner->partitions[start->tails++];
    partition->old_tail = tail->tail;
    partition->committed = ps_max_u64(partition->committed, tail->tail);
    if (start->tails < owner->partition_count)
        return;
    owner->is_started = true;
    start->is_looking_for_wills = owner->hub->shard->index == 0;
    if (!start->is_looking_for_wills)
        finish(owner);
}

static void ask_tail(struct owner_start *start)
{
    start->tail = (struct broker_tail){
        .on_done = on_tail,
        .partition = start->owner->partitions[start->tails].partition,
    };
    start->is_asking = broker_tail(start->owner->hub->broker, &start->tail) == 0;
}

static void ask_applied(struct owner_start *start)
{
    struct owner *owner = start->owner;
    struct broker_get *get = &start->get;
    *get = (struct broker_get){.on_done = on_applied, .from_leader = true};
    for (uint32_t i = start->next; i < owner->partition_count && get->count < BROKER_KEYS_MAX;
         i++) {
        retained_writer_applied_key(owner->partitions[i].partition, start->keys[get->count]);
        get->keys[get->count] =
            (struct broker_bytes){start->keys[get->count], RETAINED_APPLIED_KEY_BYTES};
        get->count++;
    }
    start->is_asking = broker_get(owner->hub->broker, get) == 0;
}

static void on_wills(struct broker_list *list)
{
    struct owner_start *start = ps_container_of(list, struct owner_start, list);
    struct owner *owner = start->owner;
    start->is_asking = false;
    if (list->status != BROKER_OK) {
        put_off(start);
        return;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        const struct broker_entry *entry = &list->entries[i];
        will_recover(owner->hub, entry->key.bytes, entry->key.count, entry->value.bytes,
                     entry->value.count);
    }
    if (list->is_last || list->count == 0) {
        finish(owner);
        return;
    }
    const struct broker_bytes *last = &list->entries[list->count - 1].key;
    memcpy(start->after, last->bytes, last->count);
    start->after_bytes = last->count;
}

static void ask_wills(struct owner_start *start)
{
    start->list = (struct broker_list){
        .on_done = on_wills,
        .prefix = {"w", 1},
        .after = {start->after, start->after_bytes},
        .bytes_max = 1 << 20,
        .entries_max = BROKER_LIST_MAX,
    };
    start->is_asking = broker_list(start->owner->hub->broker, &start->list) == 0;
}

int owner_start_create(struct owner *owner)
{
    owner->start = heap_zalloc(owner->hub->heap, sizeof(*owner->start));
    if (owner->start == NULL)
        return -ENOMEM;
    owner->start->owner = owner;
    /* A shard with no partition has nothing to ask. */
    owner->is_started = owner->partition_count == 0;
    if (owner->is_started)
        finish(owner);
    return 0;
}

void owner_start_destroy(struct owner *owner)
{
    heap_free(owner->hub->heap, owner->start);
    owner->start = NULL;
}

bool owner_start_is_asking(const struct owner *owner)
{
    return owner->start != NULL && owner->start->is_asking;
}

bool owner_start_has_more(const struct owner *owner)
{
    const struct owner_start *start = owner->start;
    return start != NULL && !start->is_asking && owner->hub->shard->now_ns >= start->due_ns;
}

void owner_start_step(struct owner *owner)
{
    struct owner_start *start = owner->start;
    if (start == NULL || start->is_asking || owner->hub->shard->now_ns < start->due_ns)
        return;
    if (start->is_looking_for_wills)
        ask_wills(start);
    else if (start->next < owner->partition_count)
        ask_applied(start);
    else
        ask_tail(start);
}
