/*
 * The shared part of the memory driver; see memory_store_internal.h.
 *
 * Room: keys may take up to key_bytes_max; records may take what the keys leave of memory_bytes, so
 * they always have memory_bytes - key_bytes_max. A handle whose log is above its share, room /
 * shard_count, gives way first; one below it only when the room is used up in spite of that.
 */
#include "memory_store_internal.h"

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "core/heap.h"
#include "memory_window_internal.h"

enum {
    SWEEP_LOOKS_MAX = 256, /* entries looked at in one sweep */
    CHANGES_LOOKS_MAX = 256,
    FORGOTTEN_MAX = 1024, /* deletions forgotten by one commit to make room */
    DELETIONS_MIN = 2 * BROKER_KEYS_MAX,
    RECORD_BYTES_MIN = 1024,
    MEMORY_BYTES_MIN = 1 << 20
};

/* A shard's share of what keys never take holds a largest record, and all shares hold four. */
static uint32_t share_record(uint64_t log_bytes, uint16_t shard_count)
{
    uint64_t record_bytes = log_bytes / ps_max_u64(4, shard_count);
    record_bytes = ps_min_u64(record_bytes, RECORD_PAYLOAD_BYTES_MAX);
    return (uint32_t)ps_max_u64(record_bytes, RECORD_BYTES_MIN);
}

uint32_t memory_store_record_bytes_max(uint64_t memory_bytes, uint16_t shard_count)
{
    return share_record(memory_bytes - memory_bytes / 2, shard_count);
}

/* Fills in what is 0. Result: false when something is outside its range. */
static bool complete_config(struct memory_store_config *config)
{
    if (config->memory_bytes < MEMORY_BYTES_MIN || config->memory_bytes > INT64_MAX ||
        config->partition_count == 0 || config->shard_count == 0)
        return false;
    uint64_t memory_bytes = config->memory_bytes;
    config->key_bytes_max = broker_default(config->key_bytes_max, memory_bytes / 2);
    if (config->key_bytes_max >= memory_bytes)
        return false;
    uint32_t record_bytes = share_record(memory_bytes - config->key_bytes_max, config->shard_count);
    uint64_t window_ids = memory_bytes / 16 / config->partition_count /
                          (sizeof(struct memory_window_id) + sizeof(uint32_t));
    window_ids = ps_max_u64(ps_min_u64(window_ids, 8192), 64);
    config->record_bytes_max = (uint32_t)broker_default(config->record_bytes_max, record_bytes);
    config->deduplication_max = (uint32_t)broker_default(config->deduplication_max, window_ids);
    config->deduplication_ms = broker_default(config->deduplication_ms, 120000);
    config->append_queue_bytes =
        (uint32_t)broker_default(config->append_queue_bytes,
                                 ps_min_u64(memory_bytes / 32 / config->shard_count, UINT32_MAX));
    config->requests_max = (uint32_t)broker_default(config->requests_max, 1024);
    config->deleted_entries_max = (uint32_t)broker_default(config->deleted_entries_max, 16384);
    config->watches_max = (uint16_t)broker_default(config->watches_max, 16);
    return config->record_bytes_max <= record_bytes && config->deduplication_max <= 1U << 20 &&
           config->deleted_entries_max >= DELETIONS_MIN;
}

/* Makes the shards and the tails of their partitions. */
static int create_shards(struct memory_store *store)
{
    uint32_t shards = store->config.shard_count;
    uint32_t tails = (store->config.partition_count + shards - 1) / shards;
    const uint32_t tails_per_line = MEMORY_STORE_ALIGNMENT / sizeof(store->tails[0]);
    tails = (tails + tails_per_line - 1) / tails_per_line * tails_per_line;
    store->shards =
        heap_alloc_aligned(store->heap, MEMORY_STORE_ALIGNMENT, shards * sizeof(store->shards[0]));
    store->tails = heap_alloc_aligned(store->heap, MEMORY_STORE_ALIGNMENT,
                                      (size_t)shards * tails * sizeof(store->tails[0]));
    if (store->shards == NULL || store->tails == NULL) {
        heap_free(store->heap, store->shards);
        heap_free(store->heap, store->tails);
        return -ENOMEM;
    }
    memset(store->shards, 0, shards * sizeof(store->shards[0]));
    for (uint32_t tail = 0; tail < shards * tails; tail++)
        atomic_init(&store->tails[tail], 0);
    for (uint32_t shard = 0; shard < shards; shard++)
        store->shards[shard].tails = &store->tails[(size_t)shard * tails];
    return 0;
}

static void free_shards(struct memory_store *store)
{
    heap_free(store->heap, store->shards);
    heap_free(store->heap, store->tails);
}

int memory_store_create(const struct memory_store_config *config, struct heap *heap,
                        struct memory_store **out_store)
{
    struct memory_store_config complete = *config;
    if (!complete_config(&complete))
        return -EINVAL;
    struct memory_store *store = heap_zalloc(heap, sizeof(*store));
    if (store == NULL)
        return -ENOMEM;
    store->config = complete;
    store->heap = heap;
    if (create_shards(store) < 0) {
        heap_free(heap, store);
        return -ENOMEM;
    }
    store->kept = heap_zalloc(heap, complete.partition_count * sizeof(store->kept[0]));
    if (store->kept == NULL) {
        free_shards(store);
        heap_free(heap, store);
        return -ENOMEM;
    }
    memory_keys_init(&store->keys, complete.hash_seed);
    store->keys.counted_kind = complete.counted_kind;
    memory_link_init(&store->watches);
    pthread_mutex_init(&store->mutex, NULL);
    *out_store = store;
    return 0;
}

void memory_store_destroy(struct memory_store *store)
{
    for (uint32_t shard = 0; shard < store->config.shard_count; shard++)
        ps_assert(!store->shards[shard].is_open);
    for (uint32_t partition = 0; partition < store->config.partition_count; partition++) {
        struct memory_kept *kept = &store->kept[partition];
        if (!kept->is_there)
            continue;
        memory_window_deinit(&kept->window);
        memory_log_deinit(&kept->log);
    }
    ps_assert(store->kept_account.bytes == 0 && store->kept_account.records == 0);
    memory_keys_deinit(&store->keys, store->heap);
    pthread_mutex_destroy(&store->mutex);
    free_shards(store);
    heap_free(store->heap, store->kept);
    heap_free(store->heap, store);
}

int memory_store_set_shards(struct memory_store *store, uint16_t shard_count)
{
    for (uint32_t shard = 0; shard < store->config.shard_count; shard++)
        ps_assert(!store->shards[shard].is_open);
    struct memory_store next = {.config = store->config, .heap = store->heap};
    next.config.shard_count = shard_count;
    struct memory_store_config asked = next.config;
    if (!complete_config(&asked))
        return -EINVAL;
    if (create_shards(&next) < 0)
        return -ENOMEM;
    free_shards(store);
    store->config.shard_count = shard_count;
    store->shards = next.shards;
    store->tails = next.tails;
    return 0;
}

static void lock(struct memory_store *store)
{
    int status = pthread_mutex_lock(&store->mutex);
    ps_assert(status == 0);
}

/* Publishes what the handles read without the lock, then gives it back. */
static void unlock(struct memory_store *store)
{
    const struct memory_keys *keys = &store->keys;
    atomic_store_explicit(&store->key_bytes, keys->bytes, memory_order_relaxed);
    atomic_store_explicit(&store->key_count, keys->count, memory_order_relaxed);
    atomic_store_explicit(&store->kind_count, keys->kind_count, memory_order_relaxed);
    atomic_store_explicit(&store->kind_expired, keys->kind_expired, memory_order_relaxed);
    atomic_store_explicit(&store->revision, keys->revision, memory_order_relaxed);
    atomic_store_explicit(&store->swept_s, keys->swept_s, memory_order_relaxed);
    pthread_mutex_unlock(&store->mutex);
}

int memory_store_open(struct memory_store *store, const struct broker_options *options)
{
    struct memory_store_shard *shard = &store->shards[options->shard_index];
    lock(store);
    bool is_open = shard->is_open;
    if (!is_open) {
        shard->wake = options->wake;
        shard->wake_context = options->wake_context;
        shard->is_open = true;
    }
    unlock(store);
    return is_open ? -EINVAL : 0;
}

void memory_store_close(struct memory_store *store, uint32_t shard_index)
{
    memory_store_account(store, shard_index, 0);
    lock(store);
    store->shards[shard_index].is_open = false;
    unlock(store);
}

/* Makes a handle's shard have a turn, once until it had it. Under the lock, so that the handle is
 * still there. */
static void call(struct memory_store_shard *shard)
{
    if (!shard->is_open || shard->wake == NULL)
        return;
    if (!atomic_exchange_explicit(&shard->is_called, true, memory_order_acq_rel))
        shard->wake(shard->wake_context);
}

static uint64_t log_room(const struct memory_store *store)
{
    uint64_t key_bytes = atomic_load_explicit(&store->key_bytes, memory_order_relaxed);
    return store->config.memory_bytes - ps_min_u64(key_bytes, store->config.memory_bytes);
}

/* The bytes from which on handles above their share give way. Several handles notice each other's
 * growth a turn late; the rest of the room is for that. */
static uint64_t log_bytes_wanted(const struct memory_store *store)
{
    uint64_t room = log_room(store);
    return store->config.shard_count == 1 ? room : room - room / 16;
}

uint64_t memory_store_share(const struct memory_store *store)
{
    return log_bytes_wanted(store) / store->config.shard_count;
}

static void call_those_above(struct memory_store *store, uint64_t share, uint32_t except)
{
    for (uint32_t index = 0; index < store->config.shard_count; index++) {
        struct memory_store_shard *shard = &store->shards[index];
        if (index == except ||
            atomic_load_explicit(&shard->log_bytes, memory_order_relaxed) <= share ||
            atomic_load_explicit(&shard->is_called, memory_order_relaxed))
            continue;
        lock(store);
        call(shard);
        unlock(store);
    }
}

uint64_t memory_store_account(struct memory_store *store, uint32_t shard_index, uint64_t log_bytes)
{
    struct memory_store_shard *shard = &store->shards[shard_index];
    uint64_t before = atomic_load_explicit(&shard->log_bytes, memory_order_relaxed);
    uint64_t all = atomic_load_explicit(&store->log_bytes, memory_order_relaxed);
    if (log_bytes != before) {
        atomic_store_explicit(&shard->log_bytes, log_bytes, memory_order_relaxed);
        uint64_t change = log_bytes - before; /* modulo 2^64 */
        all = change + atomic_fetch_add_explicit(&store->log_bytes, change, memory_order_relaxed);
    }
    uint64_t wanted = log_bytes_wanted(store);
    if (ps_likely(all <= wanted))
        return 0;
    uint64_t share = wanted / store->config.shard_count;
    if (log_bytes <= share) {
        call_those_above(store, share, shard_index);
        if (all <= log_room(store))
            return 0;
        share /= 2;
    }
    uint64_t above_share = log_bytes - ps_min_u64(log_bytes, share);
    return ps_min_u64(all - wanted, above_share);
}

/* What a key is now: NULL when it is not there or has expired. */
static struct memory_entry *current(struct memory_store *store, struct broker_bytes key,
                                    uint64_t wall_ms)
{
    struct memory_entry *entry = memory_keys_find(&store->keys, key);
    return entry != NULL && !memory_entry_is_expired(entry, wall_ms) ? entry : NULL;
}

static uint64_t current_revision(struct memory_store *store, struct broker_bytes key,
                                 uint64_t wall_ms)
{
    const struct memory_entry *entry = current(store, key, wall_ms);
    return entry != NULL ? entry->change.revision : 0;
}

uint32_t memory_store_get(struct memory_store *store, struct broker_get *get, uint64_t wall_ms,
                          struct memory_entry **out_held)
{
    uint32_t held = 0;
    lock(store);
    for (uint32_t index = 0; index < get->count; index++) {
        struct memory_entry *entry = current(store, get->keys[index], wall_ms);
        if (entry == NULL) {
            get->values[index] = (struct broker_value){.status = BROKER_NOT_FOUND};
            continue;
        }
        out_held[held++] = memory_entry_acquire(entry);
        get->values[index] = (struct broker_value){.status = BROKER_OK,
                                                   .revision = entry->change.revision,
                                                   .value = memory_entry_value(entry)};
    }
    unlock(store);
    return held;
}

static bool has_prefix(const struct memory_entry *entry, struct broker_bytes prefix)
{
    const struct broker_bytes key = {memory_entry_key(entry), entry->key_bytes};
    return broker_has_prefix(key, prefix);
}

uint32_t memory_store_list(struct memory_store *store, struct broker_list *list, uint64_t wall_ms,
                           struct memory_entry **out_held)
{
    list->status = BROKER_OK;
    list->count = 0;
    list->is_last = true;
    uint64_t bytes = 0;
    bool is_after = broker_compare_bytes(list->after, list->prefix) >= 0 && list->after.count > 0;
    lock(store);
    struct memory_entry *entry =
        memory_keys_above(&store->keys, is_after ? list->after : list->prefix, !is_after);
    for (; entry != NULL && has_prefix(entry, list->prefix); entry = entry->next[0]) {
        if (memory_entry_is_expired(entry, wall_ms))
            continue;
        bytes += (uint64_t)entry->key_bytes + entry->value_bytes;
        if (list->count == list->entries_max || (list->count > 0 && bytes > list->bytes_max)) {
            list->is_last = false;
            break;
        }
        out_held[list->count] = memory_entry_acquire(entry);
        list->entries[list->count++] =
            (struct broker_entry){.key = {memory_entry_key(entry), entry->key_bytes},
                                  .value = memory_entry_value(entry),
                                  .revision = entry->change.revision};
    }
    unlock(store);
    return list->count;
}

/* Entries that nobody will find any more, chained through `group`, to be released without the lock.
 */
struct gone {
    struct memory_entry *first;
};

static void gone_add(struct gone *gone, struct memory_entry *entry)
{
    if (entry == NULL)
        return;
    entry->group.next = gone->first != NULL ? &gone->first->group : NULL;
    gone->first = entry;
}

static void gone_release(struct gone *gone, struct heap *heap)
{
    while (gone->first != NULL) {
        struct memory_entry *entry = gone->first;
        gone->first = entry->group.next != NULL
                          ? ps_container_of(entry->group.next, struct memory_entry, group)
                          : NULL;
        memory_entry_release(heap, entry);
    }
}

/* The last revision that every watch has been told of. */
static uint64_t told_to_all(struct memory_store *store)
{
    uint64_t told = UINT64_MAX;
    for (struct memory_link *link = store->watches.next; link != &store->watches; link = link->next)
        told = ps_min_u64(told, ps_container_of(link, struct memory_watch, among_watches)->told);
    return told;
}

/* Forgets deletions beyond the limit. */
static void limit_deletions(struct memory_store *store, struct gone *gone)
{
    struct memory_keys *keys = &store->keys;
    if (keys->deletion_count <= store->config.deleted_entries_max)
        return;
    uint64_t told = told_to_all(store);
    while (keys->deletion_count > store->config.deleted_entries_max) {
        struct memory_entry *entry = memory_keys_forget_deletion(keys, told);
        if (entry == NULL)
            return;
        gone_add(gone, entry);
    }
}

static void remove_entry(struct memory_store *store, struct heap *heap, struct memory_entry *entry,
                         struct gone *gone)
{
    const struct broker_bytes key = {memory_entry_key(entry), entry->key_bytes};
    struct memory_entry *deletion =
        memory_entry_create(heap, store->keys.hash_seed, key, (struct broker_bytes){0}, 0);
    gone_add(gone, memory_keys_remove(&store->keys, entry, deletion));
    limit_deletions(store, gone);
}

/* Makes the entries of a commit's puts in `out_made`. False: one does not fit or there is no
 * memory; then there are none. */
static bool make_entries(struct memory_store *store, struct heap *heap,
                         const struct broker_commit *commit, uint64_t wall_ms,
                         struct memory_entry **out_made)
{
    bool is_good = true;
    for (uint32_t index = 0; index < commit->count; index++) {
        const struct broker_write *write = broker_commit_write(commit, index);
        out_made[index] = NULL;
        if (!is_good || write->kind == BROKER_DELETE)
            continue;
        uint64_t expires_ms = write->time_to_live_ms != 0 ? wall_ms + write->time_to_live_ms : 0;
        if (expires_ms < wall_ms)
            expires_ms = 0; /* so long is for ever */
        if (write->value.count <= store->config.key_bytes_max)
            out_made[index] = memory_entry_create(heap, store->keys.hash_seed, write->key,
                                                  write->value, expires_ms);
        is_good = out_made[index] != NULL;
    }
    for (uint32_t index = 0; !is_good && index < commit->count; index++) {
        memory_entry_release(heap, out_made[index]);
        out_made[index] = NULL;
    }
    return is_good;
}

static bool is_as_expected(struct memory_store *store, const struct broker_commit *commit,
                           uint64_t wall_ms)
{
    if (commit->guard_key.count > 0 &&
        current_revision(store, commit->guard_key, wall_ms) != commit->guard_revision)
        return false;
    for (uint32_t index = 0; index < commit->count; index++) {
        const struct broker_write *write = broker_commit_write(commit, index);
        if (write->expected_revision != BROKER_ANY_REVISION &&
            current_revision(store, write->key, wall_ms) != write->expected_revision)
            return false;
    }
    return true;
}

/* Bytes of the entries that a commit replaces. */
static uint64_t replaced_bytes(struct memory_store *store, const struct broker_commit *commit,
                               struct memory_entry *const *made)
{
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < commit->count; index++) {
        const struct memory_entry *entry =
            made[index] != NULL
                ? memory_keys_find(&store->keys, broker_commit_write(commit, index)->key)
                : NULL;
        bytes += entry != NULL ? memory_entry_bytes(entry) : 0;
    }
    return bytes;
}

/* True when there is room, perhaps by forgetting deletions, or when the commit takes none. */
static bool make_room(struct memory_store *store, const struct broker_commit *commit,
                      struct memory_entry *const *made, struct gone *gone)
{
    struct memory_keys *keys = &store->keys;
    uint64_t bytes_max = store->config.key_bytes_max;
    uint64_t added = 0;
    for (uint32_t index = 0; index < commit->count; index++)
        added += made[index] != NULL ? memory_entry_bytes(made[index]) : 0;
    if (ps_likely(keys->bytes + added <= bytes_max))
        return true;
    uint64_t replaced = replaced_bytes(store, commit, made);
    if (added <= replaced)
        return true;
    uint64_t told = told_to_all(store);
    for (uint32_t forgotten = 0; keys->bytes + added - replaced > bytes_max; forgotten++) {
        struct memory_entry *entry =
            forgotten < FORGOTTEN_MAX ? memory_keys_forget_deletion(keys, told) : NULL;
        if (entry == NULL)
            return false;
        gone_add(gone, entry);
    }
    return true;
}

static void apply(struct memory_store *store, struct heap *heap, struct broker_commit *commit,
                  struct memory_entry **made, struct gone *gone)
{
    struct broker_write *writes = broker_commit_writes(commit);
    for (uint32_t index = 0; index < commit->count; index++) {
        struct broker_write *write = &writes[index];
        write->revision = 0;
        if (made[index] != NULL) {
            gone_add(gone, memory_keys_put(&store->keys, made[index]));
            made[index] = NULL;
            write->revision = store->keys.revision;
            continue;
        }
        struct memory_entry *entry = memory_keys_find(&store->keys, write->key);
        if (entry == NULL)
            continue;
        remove_entry(store, heap, entry, gone);
        write->revision = store->keys.revision;
    }
}

static void call_watchers(struct memory_store *store, uint32_t except)
{
    for (uint32_t index = 0; index < store->config.shard_count; index++)
        if (index != except && store->shards[index].watch_count > 0)
            call(&store->shards[index]);
}

void memory_store_commit(struct memory_store *store, const struct broker_options *options,
                         struct broker_commit *commit, uint64_t wall_ms)
{
    struct heap *heap = options->heap;
    struct memory_entry *made[BROKER_WRITES_MAX];
    struct gone gone = {NULL};
    commit->status = BROKER_FULL;
    if (!make_entries(store, heap, commit, wall_ms, made))
        return;
    lock(store);
    if (!is_as_expected(store, commit, wall_ms)) {
        commit->status = BROKER_CONFLICT;
    } else if (make_room(store, commit, made, &gone)) {
        apply(store, heap, commit, made, &gone);
        commit->status = BROKER_OK;
        call_watchers(store, options->shard_index);
    }
    unlock(store);
    gone_release(&gone, heap);
    for (uint32_t index = 0; index < commit->count; index++)
        memory_entry_release(heap, made[index]); /* of a commit that was refused */
}

void memory_store_watch(struct memory_store *store, uint32_t shard_index,
                        struct memory_watch *watch)
{
    struct broker_watch *request = watch->watch;
    watch->told = request->after_revision;
    watch->place.revision = 0;
    lock(store);
    request->is_gapped =
        request->after_revision > 0 && request->after_revision < store->keys.forgotten_revision;
    /* What it knows already is skipped as it is met, in slices. */
    struct memory_link *begin = request->after_revision >= store->keys.revision
                                    ? &store->keys.changes
                                    : store->keys.changes.next;
    memory_link_insert_before(begin, &watch->place.link);
    memory_link_insert_before(&store->watches, &watch->among_watches);
    store->shards[shard_index].watch_count++;
    unlock(store);
}

void memory_store_unwatch(struct memory_store *store, uint32_t shard_index,
                          struct memory_watch *watch)
{
    lock(store);
    memory_link_remove(&watch->place.link);
    memory_link_remove(&watch->among_watches);
    store->shards[shard_index].watch_count--;
    unlock(store);
}

uint32_t memory_store_changes(struct memory_store *store, struct memory_watch *watch,
                              uint64_t wall_ms, struct memory_news *out_news, bool *out_has_more)
{
    const struct broker_watch *request = watch->watch;
    uint32_t count = 0;
    lock(store);
    struct memory_link *link = watch->place.link.next;
    for (uint32_t looks = 0; link != &store->keys.changes && looks < CHANGES_LOOKS_MAX &&
                             count < MEMORY_STORE_WATCH_ENTRIES_MAX;
         looks++, link = link->next) {
        struct memory_entry *entry = ps_container_of(link, struct memory_entry, change.link);
        if (entry->change.revision <= request->after_revision)
            continue; /* another watch's place, or known */
        watch->told = entry->change.revision;
        if (has_prefix(entry, request->prefix) && !memory_entry_is_expired(entry, wall_ms))
            out_news[count++] = (struct memory_news){.entry = memory_entry_acquire(entry),
                                                     .revision = entry->change.revision,
                                                     .is_deletion = entry->is_deletion};
    }
    memory_link_remove(&watch->place.link);
    memory_link_insert_before(link, &watch->place.link);
    *out_has_more = link != &store->keys.changes;
    unlock(store);
    return count;
}

bool memory_store_sweep(struct memory_store *store, const struct broker_options *options,
                        uint64_t wall_ms)
{
    uint64_t swept_s = atomic_load_explicit(&store->swept_s, memory_order_relaxed);
    if (swept_s - wall_ms / 1000 <= 1)
        return false; /* done, by a handle whose clock may be a little ahead */
    struct gone gone = {NULL};
    uint32_t looks_left = SWEEP_LOOKS_MAX;
    lock(store);
    uint64_t revision = store->keys.revision;
    for (;;) {
        struct memory_entry *entry = memory_keys_next_expired(&store->keys, wall_ms, &looks_left);
        if (entry == NULL)
            break;
        uint64_t kind_count = store->keys.kind_count;
        remove_entry(store, options->heap, entry, &gone);
        store->keys.kind_expired += kind_count - store->keys.kind_count;
    }
    if (store->keys.revision != revision)
        call_watchers(store, options->shard_index);
    bool has_more = memory_keys_is_sweeping(&store->keys, wall_ms);
    unlock(store);
    gone_release(&gone, options->heap);
    return has_more;
}
