/*
 * Opening and closing of the configured broker; see gateway_store.h.
 */
#include "session/gateway_store.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>

#include "broker_client/embedded/embedded.h"
#include "broker_client/memory.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "session/gateway.h"
#include "session/gateway_config.h"
#include "session/session_store.h"

enum {
    RETENTION_SHARE = 2,
    HOLD_SHARE = 8,
    SEGMENTS_OPEN_MAX = 256,
    DESCRIPTORS_PER_SEGMENT_OPEN = 32 /* of RLIMIT_NOFILE: two of 32 are the log's */
};

#define RETENTION_BYTES_DEFAULT (10ULL << 30)

struct gateway_store {
    struct heap *heap;
    struct log *log;
    struct memory_store *memory; /* one of the two */
    struct embedded_store *embedded;
    uint64_t retention_bytes;
    uint32_t descriptors_max;
};

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

uint32_t gateway_store_record_bytes_max(const struct gateway_config *config, uint32_t shard_count)
{
    if (config->broker_type == GATEWAY_BROKER_MEMORY)
        return memory_store_record_bytes_max(config->broker_memory_bytes, (uint16_t)shard_count);
    /* Half of a shard's share of the tail holds it, and there are two halves. */
    uint64_t bytes =
        gateway_config_tail_bytes(config, shard_count) / 2 / ps_max_u32(2, shard_count);
    return (uint32_t)ps_min_u64(bytes, RECORD_PAYLOAD_BYTES_MAX);
}

static int open_memory(struct gateway_store *store, const struct gateway_store_options *options)
{
    const struct gateway_config *config = options->config;
    const struct memory_store_config memory = {
        .memory_bytes = config->broker_memory_bytes,
        .partition_count = (uint16_t)config->broker_partitions,
        .partition_levels = (uint16_t)config->broker_partition_levels,
        .shard_count = (uint16_t)options->shard_count,
        .counted_kind = SESSION_STORE_KIND,
        .hash_seed = options->random_seed,
    };
    return memory_store_create(&memory, store->heap, &store->memory);
}

/* Half of the file system, so that a small one is not filled: its size, not what is free now, which
 * the log itself takes. The directory may not be there yet; then it is its parent's. */
static uint64_t retention_bytes(const struct gateway_config *config)
{
    if (config->broker_retention_bytes != 0)
        return config->broker_retention_bytes;
    char path[4096];
    snprintf(path, sizeof(path), "%s", config->data_dir);
    struct statvfs found;
    if (statvfs(path, &found) < 0 && statvfs(dirname(path), &found) < 0)
        return RETENTION_BYTES_DEFAULT;
    uint64_t size = (uint64_t)found.f_blocks * found.f_frsize;
    return ps_min_u64(RETENTION_BYTES_DEFAULT, size / RETENTION_SHARE);
}

/* The limit is what a gateway raises it to when its rings are made. */
static uint32_t segments_open_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1;
    uint64_t max = ps_max_u64(1, limit.rlim_max / DESCRIPTORS_PER_SEGMENT_OPEN);
    return (uint32_t)ps_min_u64(max, SEGMENTS_OPEN_MAX);
}

uint32_t gateway_store_descriptors_max(const struct gateway_store *store)
{
    return store->descriptors_max;
}

static void log_recovery(const struct gateway_store *store, bool is_repair, uint64_t took_ms)
{
    const struct embedded_recovery *found = embedded_store_recovery(store->embedded);
    log_write(store->log, LOG_INFO, is_repair ? "repaired" : "recovered",
              "clean=%s segments=%" PRIu64 " scanned=%" PRIu64 " records=%" PRIu64 " bytes=%" PRIu64
              " torn_bytes=%" PRIu64 " cut_bytes=%" PRIu64 " ms=%" PRIu64,
              found->was_clean ? "yes" : "no", found->segments, found->segments_scanned,
              found->records, found->log_bytes, found->torn_bytes, found->repaired_bytes, took_ms);
}

static int open_embedded(struct gateway_store *store, const struct gateway_store_options *options,
                         char *error)
{
    const struct gateway_config *config = options->config;
    uint32_t shards = options->shard_count;
    store->retention_bytes = retention_bytes(config);
    const struct embedded_store_config embedded = {
        .directory = config->data_dir,
        .commit = (enum embedded_commit)config->broker_commit,
        .retention_bytes = store->retention_bytes,
        .retention_age_ms = config->broker_retention_age_ms,
        .hold_bytes = config->broker_hold_bytes != 0 ? config->broker_hold_bytes
                                                     : store->retention_bytes / HOLD_SHARE,
        .segment_bytes = config->broker_segment_bytes,
        .tail_bytes = gateway_config_tail_bytes(config, shards),
        .cache_bytes = gateway_config_cache_bytes(config, shards),
        .segments_open_max = segments_open_max(),
        .key_map_bytes = 2 * config->broker_key_bytes_max, /* LMDB's pages are seldom full */
        .key_bytes_max = config->broker_key_bytes_max,
        .record_bytes_max = gateway_store_record_bytes_max(config, shards),
        .partition_count = (uint16_t)config->broker_partitions,
        .partition_levels = (uint16_t)config->broker_partition_levels,
        .shard_count = (uint16_t)shards,
        .counted_kind = SESSION_STORE_KIND,
        .random_seed = options->random_seed,
        .is_repair = options->is_repair,
    };
    store->descriptors_max = embedded_store_descriptors_max(&embedded);
    uint64_t begin_ms = now_ms();
    _Static_assert((int)GATEWAY_ERROR_BYTES >= (int)EMBEDDED_ERROR_BYTES, "the driver's line fits");
    int status = embedded_store_open(&embedded, store->heap, store->log, &store->embedded, error);
    if (status == 0)
        log_recovery(store, options->is_repair, now_ms() - begin_ms);
    return status;
}

int gateway_store_open(const struct gateway_store_options *options,
                       struct gateway_store **out_store, char *error)
{
    snprintf(error, GATEWAY_ERROR_BYTES, "out of memory");
    struct gateway_store *store = heap_zalloc(options->heap, sizeof(*store));
    if (store == NULL)
        return -ENOMEM;
    store->heap = options->heap;
    store->log = options->log;
    int status = options->config->broker_type == GATEWAY_BROKER_MEMORY
                     ? open_memory(store, options)
                     : open_embedded(store, options, error);
    if (status < 0) {
        heap_free(options->heap, store);
        return status;
    }
    *out_store = store;
    return 0;
}

int gateway_store_start(struct gateway_store *store)
{
    return store->embedded == NULL ? 0 : embedded_store_start(store->embedded);
}

void gateway_store_close(struct gateway_store *store, bool is_clean)
{
    if (store == NULL)
        return;
    if (store->memory != NULL)
        memory_store_destroy(store->memory);
    if (store->embedded != NULL)
        embedded_store_close(store->embedded, is_clean);
    heap_free(store->heap, store);
}

int gateway_store_create_broker(void *store, const struct broker_options *options,
                                struct broker **out_broker)
{
    struct gateway_store *own = store;
    return own->memory != NULL ? memory_broker_create(own->memory, options, out_broker)
                               : embedded_broker_create(own->embedded, options, out_broker);
}

bool gateway_store_is_idle(const struct gateway_store *store, const struct broker *broker)
{
    return store->memory != NULL || embedded_broker_is_idle(broker);
}

void gateway_store_announce(const struct gateway_store *store, const struct gateway_config *config)
{
    if (store->memory != NULL) {
        log_write(store->log, LOG_INFO, "storage", "%s",
                  "kind=memory remark=\"sessions, retained values and messages that wait are lost "
                  "when the gateway ends\"");
        return;
    }
    static const char *const commits[] = {
        [EMBEDDED_COMMIT_SYNCED] = "synced",
        [EMBEDDED_COMMIT_WRITTEN] = "written",
        [EMBEDDED_COMMIT_MEMORY] = "memory",
    };
    char quoted[256];
    log_write(store->log, LOG_INFO, "storage",
              "kind=embedded data_dir=%s commit=%s retention_bytes=%" PRIu64,
              log_quote(quoted, sizeof(quoted), config->data_dir, strlen(config->data_dir)),
              commits[config->broker_commit], store->retention_bytes);
}
