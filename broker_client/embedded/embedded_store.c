/*
 * What the handles of the embedded driver share, put together: the log's store, the keys, and the
 * helper thread that alone waits for the disk; see embedded.h.
 *
 * Thread: the opener's. Nothing here is called while a handle exists but the helper's periodic task
 * and, in simulations, embedded_store_helper_turn.
 */
#include <stdio.h>

#include "broker_client/embedded/embedded.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "core/log.h"
#include "core/random.h"
#include "embedded_handle_internal.h"

enum {
    RETAIN_MS = 1000,
    SEGMENT_BYTES_LEAST = 65536,
    RECORD_FIELDS_AND_PAYLOAD = RECORD_PAYLOAD_BYTES_MAX,
    REQUESTS_MAX = 1024,
    READS_MAX = 64,
    DEDUPLICATION_MAX = 8192,
    DEDUPLICATION_MS = 120000,
    DELETED_ENTRIES_MAX = 16384,
    WATCHES_MAX = 16,
    SEGMENTS_OPEN_MAX = 256,
    DESCRIPTORS_SHARED = 8,   /* directories, lock, keys, a file that is replaced */
    DESCRIPTORS_PER_SHARD = 6 /* segments: a spare, the current, one left, those without index */
};

static void fill_defaults(struct embedded_store_config *config)
{
    const uint64_t mib = 1 << 20;
    config->segment_bytes = broker_default(config->segment_bytes, 32 * mib);
    config->tail_bytes = broker_default(config->tail_bytes, 128 * mib);
    config->cache_bytes = broker_default(config->cache_bytes, 32 * mib);
    config->filter_bytes_max = broker_default(config->filter_bytes_max, config->cache_bytes / 2);
    config->key_map_bytes = broker_default(config->key_map_bytes, 16384 * mib);
    config->deduplication_ms = broker_default(config->deduplication_ms, DEDUPLICATION_MS);
    config->deduplication_max =
        (uint32_t)broker_default(config->deduplication_max, DEDUPLICATION_MAX);
    config->record_bytes_max =
        (uint32_t)broker_default(config->record_bytes_max, RECORD_FIELDS_AND_PAYLOAD);
    config->append_queue_bytes = (uint32_t)broker_default(
        config->append_queue_bytes,
        ps_min_u64(config->tail_bytes / 8 / ps_max_u32(config->shard_count, 1), UINT32_MAX));
    config->requests_max = (uint32_t)broker_default(config->requests_max, REQUESTS_MAX);
    config->reads_max = (uint32_t)broker_default(config->reads_max, READS_MAX);
    config->segments_open_max =
        (uint32_t)broker_default(config->segments_open_max, SEGMENTS_OPEN_MAX);
    config->deleted_entries_max =
        (uint32_t)broker_default(config->deleted_entries_max, DELETED_ENTRIES_MAX);
    config->watches_max = (uint16_t)broker_default(config->watches_max, WATCHES_MAX);
}

static bool is_valid(const struct embedded_store_config *config)
{
    return config->partition_count > 0 && config->shard_count > 0 &&
           config->segment_bytes >= SEGMENT_BYTES_LEAST && config->deduplication_max <= 1U << 20 &&
           config->record_bytes_max <= RECORD_FIELDS_AND_PAYLOAD;
}

static void run_retain(void *context)
{
    struct embedded_store *store = context;
    uint64_t wall_ms = atomic_load_explicit(&store->wall_ms, memory_order_relaxed);
    if (wall_ms != 0)
        log_store_retain(&store->log, wall_ms);
}

static int open_keys(struct embedded_store *store, char *error)
{
    const struct embedded_store_config *config = &store->log.config;
    struct embedded_keys_options options = {
        .directory = config->directory,
        .map_bytes = config->key_map_bytes,
        .key_bytes_max = config->key_bytes_max,
        .requests_max = config->requests_max,
        .deleted_entries_max = config->deleted_entries_max,
        .watches_max = config->watches_max,
        .counted_kind = config->counted_kind,
        .must_exist = store->log.recovery.segments > 0, /* whose run had keys before them */
        .is_unsynced = config->commit != EMBEDDED_COMMIT_SYNCED,
        .heap = store->heap,
        .helper = store->log.helper,
        .log = store->log.log,
        .error = error,
        .error_bytes = EMBEDDED_ERROR_BYTES,
    };
    int status = embedded_keys_open(&options, &store->keys);
    if (status != -ENOENT || !options.must_exist || !config->is_repair)
        return status;
    options.must_exist = false;
    status = embedded_keys_open(&options, &store->keys);
    if (status == 0 && store->log.log != NULL)
        log_write(store->log.log, LOG_WARNING, "keys_begun",
                  "what=\"keys.mdb was missing or empty: sessions, retained messages and wills are "
                  "lost\"");
    return status;
}

static void free_store(struct embedded_store *store)
{
    struct heap *heap = store->heap;
    helper_destroy(heap, store->log.helper);
    heap_deinit(&store->helper_heap);
    heap_free(heap, store->directory);
    heap_free(heap, store);
}

static int make_store(const struct embedded_store_config *config, struct heap *heap,
                      struct log *log, struct embedded_store **out_store)
{
    size_t bytes = strlen(config->directory) + 1;
    struct embedded_store *store = heap_zalloc(heap, sizeof(*store));
    if (store == NULL)
        return -ENOMEM;
    store->heap = heap;
    heap_init(&store->helper_heap, heap->budget);
    store->directory = heap_alloc(heap, bytes);
    if (store->directory == NULL || helper_create(heap, 0, &store->log.helper) < 0) {
        free_store(store);
        return -ENOMEM;
    }
    memcpy(store->directory, config->directory, bytes);
    store->log.config = *config;
    store->log.config.directory = store->directory;
    store->log.heap = heap;
    store->log.helper_heap = &store->helper_heap;
    store->log.log = log;
    *out_store = store;
    return 0;
}

int embedded_store_open(const struct embedded_store_config *config, struct heap *heap,
                        struct log *log, struct embedded_store **out_store, char *error)
{
    struct embedded_store_config filled = *config;
    fill_defaults(&filled);
    if (!is_valid(&filled)) {
        snprintf(error, EMBEDDED_ERROR_BYTES, "a value of the embedded broker is out of range");
        return -EINVAL;
    }
    struct embedded_store *store = NULL;
    int status = make_store(&filled, heap, log, &store);
    if (status < 0) {
        snprintf(error, EMBEDDED_ERROR_BYTES, "%s: out of memory", filled.directory);
        return status;
    }
    status = log_store_open(&store->log, error);
    if (status < 0) {
        free_store(store);
        return status;
    }
    status = open_keys(store, error);
    if (status == 0) {
        status = helper_add_periodic(store->log.helper, RETAIN_MS, run_retain, store);
        ps_assert(status == 0);
        *out_store = store;
        return 0;
    }
    log_store_close(&store->log, false);
    free_store(store);
    return status;
}

uint32_t embedded_store_descriptors_max(const struct embedded_store_config *config)
{
    struct embedded_store_config filled = *config;
    fill_defaults(&filled);
    return 2 * filled.segments_open_max + DESCRIPTORS_PER_SHARD * filled.shard_count +
           DESCRIPTORS_SHARED;
}

const struct embedded_recovery *embedded_store_recovery(const struct embedded_store *store)
{
    return &store->log.recovery;
}

int embedded_store_start(struct embedded_store *store)
{
    return helper_start(store->log.helper);
}

bool embedded_store_helper_turn(struct embedded_store *store, uint64_t now_ns)
{
    bool has_jobs = metrics_get(&helper_counters(store->log.helper)->waiting) > 0;
    helper_turn(store->log.helper, now_ns);
    return has_jobs;
}

void embedded_store_close(struct embedded_store *store, bool is_clean)
{
    ps_assert(atomic_load_explicit(&store->handle_count, memory_order_acquire) == 0);
    helper_stop(store->log.helper);
    embedded_keys_close(store->keys);
    log_store_close(&store->log, is_clean);
    free_store(store);
}
