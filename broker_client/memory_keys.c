/*
 * Entries of the memory driver's key-value store; see memory_keys_internal.h.
 *
 * A key's level in the skip list comes from its seeded hash: a new value of a key has the level of
 * the old one and takes its place, and nobody can choose keys that make the list slow.
 */
#include "memory_keys_internal.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"

enum { CLOCKS_DIFFER_S = 2 }; /* as handles of one gateway see it */

/* Where a key is or would be: for each level the pointer to the first entry that is not below it.
 */
struct place {
    struct memory_entry **slots[MEMORY_KEYS_LEVELS_MAX];
};

uint64_t memory_entry_bytes(const struct memory_entry *entry)
{
    return sizeof(*entry) + entry->level_count * sizeof(entry->next[0]) + entry->key_bytes +
           entry->value_bytes;
}

static uint8_t level_count_of(uint64_t hash)
{
    return (uint8_t)(1 + __builtin_ctzll(hash | 1ULL << 2 * (MEMORY_KEYS_LEVELS_MAX - 1)) / 2);
}

struct memory_entry *memory_entry_create(struct heap *heap, uint64_t hash_seed,
                                         struct broker_bytes key, struct broker_bytes value,
                                         uint64_t expires_ms)
{
    uint8_t level_count = level_count_of(hash_bytes_seeded(hash_seed, key.bytes, key.count));
    size_t links_bytes = level_count * sizeof(struct memory_entry *);
    struct memory_entry *entry =
        heap_alloc(heap, sizeof(*entry) + links_bytes + key.count + value.count);
    if (entry == NULL)
        return NULL;
    memset(entry, 0, sizeof(*entry));
    atomic_init(&entry->references, 1);
    entry->expires_ms = expires_ms;
    entry->key_bytes = (uint16_t)key.count;
    entry->value_bytes = value.count;
    entry->level_count = level_count;
    unsigned char *bytes = (unsigned char *)&entry->next[level_count];
    memcpy(bytes, key.bytes, key.count);
    if (value.count > 0)
        memcpy(bytes + key.count, value.bytes, value.count);
    return entry;
}

void memory_entry_release(struct heap *heap, struct memory_entry *entry)
{
    if (entry == NULL)
        return;
    uint32_t before = atomic_fetch_sub_explicit(&entry->references, 1, memory_order_acq_rel);
    ps_assert(before > 0);
    if (before == 1)
        heap_free(heap, entry);
}

void memory_keys_init(struct memory_keys *keys, uint64_t hash_seed)
{
    memset(keys, 0, sizeof(*keys));
    keys->hash_seed = hash_seed;
    memory_link_init(&keys->changes);
    memory_link_init(&keys->deletions);
    for (uint32_t second = 0; second < MEMORY_KEYS_SECONDS; second++)
        memory_link_init(&keys->seconds[second].entries);
}

void memory_keys_deinit(struct memory_keys *keys, struct heap *heap)
{
    struct memory_link *link = keys->changes.next;
    while (link != &keys->changes) {
        struct memory_entry *entry = ps_container_of(link, struct memory_entry, change.link);
        ps_assert(entry->change.revision != 0);
        link = link->next;
        memory_entry_release(heap, entry);
    }
}

/* Below, at or above zero, as memcmp. */
static int compare(const struct memory_entry *entry, struct broker_bytes key)
{
    int order = memcmp(memory_entry_key(entry), key.bytes, ps_min_u32(entry->key_bytes, key.count));
    if (order != 0)
        return order;
    return (entry->key_bytes > key.count) - (entry->key_bytes < key.count);
}

/* Result: the first entry that is not below `key`, or NULL. */
static struct memory_entry *locate(struct memory_keys *keys, struct broker_bytes key,
                                   struct place *out_place)
{
    struct memory_entry **row = keys->heads;
    const struct memory_entry *not_below = NULL; /* known from the level above */
    for (uint32_t level = MEMORY_KEYS_LEVELS_MAX; level-- > 0;) {
        while (row[level] != NULL && row[level] != not_below && compare(row[level], key) < 0)
            row = row[level]->next;
        not_below = row[level];
        out_place->slots[level] = &row[level];
    }
    return *out_place->slots[0];
}

struct memory_entry *memory_keys_find(struct memory_keys *keys, struct broker_bytes key)
{
    struct place place;
    struct memory_entry *entry = locate(keys, key, &place);
    return entry != NULL && compare(entry, key) == 0 ? entry : NULL;
}

struct memory_entry *memory_keys_above(struct memory_keys *keys, struct broker_bytes key,
                                       bool is_inclusive)
{
    static const unsigned char nothing;
    if (key.count == 0)
        key.bytes = &nothing; /* memcmp and memcpy take no null pointer */
    struct place place;
    struct memory_entry *entry = locate(keys, key, &place);
    if (entry != NULL && !is_inclusive && compare(entry, key) == 0)
        entry = entry->next[0];
    return entry;
}

static void join_second(struct memory_keys *keys, struct memory_entry *entry)
{
    if (entry->expires_ms == 0)
        return;
    /* What would go into a second that is swept already waits in the next one: handles read the
     * clock at slightly different times. */
    uint64_t expires_s = ps_max_u64(entry->expires_ms / 1000, keys->swept_s + keys->is_sweeping);
    entry->second = (uint16_t)(expires_s % MEMORY_KEYS_SECONDS);
    struct memory_second *second = &keys->seconds[entry->second];
    memory_link_insert_before(&second->entries, &entry->group);
    second->count++;
}

static void leave_second(struct memory_keys *keys, struct memory_entry *entry)
{
    if (entry->expires_ms == 0)
        return;
    memory_link_remove(&entry->group);
    keys->seconds[entry->second].count--;
}

static void append_change(struct memory_keys *keys, struct memory_entry *entry)
{
    entry->change.revision = ++keys->revision;
    memory_link_insert_before(&keys->changes, &entry->change.link);
    keys->bytes += memory_entry_bytes(entry);
}

static void drop_change(struct memory_keys *keys, struct memory_entry *entry)
{
    memory_link_remove(&entry->change.link);
    keys->bytes -= memory_entry_bytes(entry);
}

/* 1 for an entry of the kind that is counted. */
static uint64_t kind_weight(const struct memory_keys *keys, const struct memory_entry *entry)
{
    return entry->key_bytes != 0 && *(const char *)memory_entry_key(entry) == keys->counted_kind;
}

struct memory_entry *memory_keys_put(struct memory_keys *keys, struct memory_entry *entry)
{
    struct place place;
    const struct broker_bytes key = {memory_entry_key(entry), entry->key_bytes};
    struct memory_entry *at = locate(keys, key, &place);
    struct memory_entry *replaced = at != NULL && compare(at, key) == 0 ? at : NULL;
    ps_assert(replaced == NULL || replaced->level_count == entry->level_count);
    for (uint32_t level = 0; level < entry->level_count; level++) {
        entry->next[level] = replaced != NULL ? replaced->next[level] : *place.slots[level];
        *place.slots[level] = entry;
    }
    if (replaced != NULL) {
        leave_second(keys, replaced);
        drop_change(keys, replaced);
    } else {
        keys->count++;
        keys->kind_count += kind_weight(keys, entry);
    }
    join_second(keys, entry);
    append_change(keys, entry);
    return replaced;
}

struct memory_entry *memory_keys_remove(struct memory_keys *keys, struct memory_entry *entry,
                                        struct memory_entry *deletion)
{
    struct place place;
    struct memory_entry *found =
        locate(keys, (struct broker_bytes){memory_entry_key(entry), entry->key_bytes}, &place);
    ps_assert(found == entry);
    for (uint32_t level = 0; level < entry->level_count; level++)
        *place.slots[level] = entry->next[level];
    keys->count--;
    keys->kind_count -= kind_weight(keys, entry);
    leave_second(keys, entry);
    drop_change(keys, entry);
    struct memory_entry *kept = deletion != NULL ? deletion : entry;
    kept->is_deletion = true;
    append_change(keys, kept);
    memory_link_insert_before(&keys->deletions, &kept->group);
    keys->deletion_count++;
    return deletion != NULL ? entry : NULL;
}

struct memory_entry *memory_keys_forget_deletion(struct memory_keys *keys, uint64_t told)
{
    if (memory_link_is_empty(&keys->deletions))
        return NULL;
    struct memory_entry *oldest = ps_container_of(keys->deletions.next, struct memory_entry, group);
    if (oldest->change.revision > told)
        return NULL;
    keys->forgotten_revision = oldest->change.revision;
    memory_link_remove(&oldest->group);
    drop_change(keys, oldest);
    keys->deletion_count--;
    return oldest;
}

bool memory_keys_is_sweeping(const struct memory_keys *keys, uint64_t wall_ms)
{
    return keys->swept_s < wall_ms / 1000;
}

/* Sets out for second `swept_s`, which is over. After a jump of the clock every second of the wheel
 * is looked at once. */
static void begin_second(struct memory_keys *keys, uint64_t now_s)
{
    if (now_s - keys->swept_s > MEMORY_KEYS_SECONDS)
        keys->swept_s = now_s - MEMORY_KEYS_SECONDS;
    keys->sweep_left = keys->seconds[keys->swept_s % MEMORY_KEYS_SECONDS].count;
    keys->is_sweeping = true;
}

struct memory_entry *memory_keys_next_expired(struct memory_keys *keys, uint64_t wall_ms,
                                              uint32_t *looks_left)
{
    uint64_t now_s = wall_ms / 1000;
    if (keys->swept_s > now_s + CLOCKS_DIFFER_S)
        keys->swept_s = now_s; /* the clock was set back: these seconds come again */
    while (keys->swept_s<now_s && * looks_left> 0) {
        --*looks_left;
        if (!keys->is_sweeping)
            begin_second(keys, now_s);
        struct memory_second *second = &keys->seconds[keys->swept_s % MEMORY_KEYS_SECONDS];
        if (keys->sweep_left == 0 || memory_link_is_empty(&second->entries)) {
            keys->is_sweeping = false;
            keys->swept_s++;
            continue;
        }
        keys->sweep_left--;
        struct memory_entry *entry =
            ps_container_of(second->entries.next, struct memory_entry, group);
        if (memory_entry_is_expired(entry, wall_ms))
            return entry;
        memory_link_remove(&entry->group);
        memory_link_insert_before(&second->entries, &entry->group);
    }
    return NULL;
}
