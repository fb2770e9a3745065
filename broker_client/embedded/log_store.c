/*
 * The log of a data directory while it is served: segments are prepared, indexed, retained and
 * removed; numbers are reserved. See log_store_internal.h; what a start finds is in log_recovery.c.
 *
 * A segment's life:
 *   prepared --(its writer)--> written --log_store_index--> indexed --(last extent)--> dropped
 *      --(last reference)--> doomed --log_store_retain--> removed
 * It stays in the store's list until it is removed. The list, and the list of the doomed, change
 * under the mutex, which is never held over IO.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "core/log.h"
#include "log_files_internal.h"
#include "log_recovery_internal.h"
#include "log_scan_internal.h"
#include "segment_files_internal.h"

enum {
    PATH_BYTES_MAX = 4096,
    SPARE_AGE_MAX = 3,    /* calls of log_store_retain */
    SLICE_BYTES = 1 << 20 /* of a segment, read and hashed in a slice: some 2 ms */
};

/* ---- segments ---- */

struct log_segment *log_segment_create(const struct log_store *store, struct heap *heap,
                                       uint64_t number)
{
    struct log_segment *segment = heap_zalloc(heap, sizeof(*segment));
    if (segment == NULL)
        return NULL;
    segment->number = number;
    segment->seed = segment_seed(store->hash_seed, number);
    segment->fd = -1;
    segment->index_fd = -1;
    atomic_init(&segment->references, 1); /* the list's */
    return segment;
}

void log_segment_destroy(struct log_store *store, struct heap *heap, struct log_segment *segment)
{
    segment_files_close(store, segment);
    segment_index_destroy(heap, atomic_load(&segment->index));
    heap_free(heap, segment);
}

int log_segment_open(const struct log_store *store, struct log_segment *segment)
{
    ps_assert(segment->fd < 0);
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment->number, "seg", name);
    return disk_open(store->log_directory, name, DISK_OPEN_WRITE, &segment->fd);
}

void log_segment_acquire(struct log_segment *segment)
{
    uint32_t before = atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
    ps_assert(before > 0);
}

void log_segment_release(struct log_store *store, struct log_segment *segment)
{
    uint32_t before = atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel);
    ps_assert(before > 0);
    if (before > 1)
        return;
    pthread_mutex_lock(&store->mutex);
    segment->next_doomed = store->doomed;
    store->doomed = segment;
    pthread_mutex_unlock(&store->mutex);
}

void log_segment_drop(struct log_store *store, struct log_segment *segment)
{
    ps_assert(atomic_load(&segment->extent_count) == 0);
    log_segment_release(store, segment);
}

/* At the end of the list: numbers ascend. */
void log_store_append(struct log_store *store, struct log_segment *segment)
{
    pthread_mutex_lock(&store->mutex);
    ps_assert(store->last == NULL || store->last->number < segment->number);
    if (store->last == NULL)
        store->first = segment;
    else
        store->last->next = segment;
    store->last = segment;
    pthread_mutex_unlock(&store->mutex);
}

static void list_remove(struct log_store *store, struct log_segment *segment)
{
    pthread_mutex_lock(&store->mutex);
    struct log_segment *before = NULL;
    struct log_segment *at = store->first;
    while (at != segment) {
        ps_assert(at != NULL);
        before = at;
        at = at->next;
    }
    if (before == NULL)
        store->first = segment->next;
    else
        before->next = segment->next;
    if (store->last == segment)
        store->last = before;
    pthread_mutex_unlock(&store->mutex);
}

/* ---- preparing ---- */

static int prepare_file(struct log_store *store, const char *name, uint64_t capacity, int *out_fd)
{
    int fd = -1;
    int result = disk_open(store->log_directory, name, DISK_OPEN_CREATE_NEW, &fd);
    if (result < 0)
        return result;
    result = disk_preallocate(fd, capacity);
    if (result == 0)
        result = disk_sync(fd);
    if (result == 0)
        result = disk_sync_directory(store->log_directory);
    if (result < 0) {
        disk_close(fd);
        disk_remove(store->log_directory, name);
        return result;
    }
    *out_fd = fd;
    return 0;
}

int log_store_prepare(struct log_store *store, uint64_t capacity, struct log_segment **out_segment)
{
    uint64_t number = atomic_fetch_add(&store->segment_next, 1);
    struct log_segment *segment = log_segment_create(store, store->helper_heap, number);
    if (segment == NULL)
        return -ENOMEM;
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, "seg", name);
    int result = prepare_file(store, name, capacity, &segment->fd);
    if (result < 0) {
        log_segment_destroy(store, store->helper_heap, segment);
        return result;
    }
    segment->capacity = capacity;
    atomic_store(&segment->file_bytes, capacity);
    atomic_fetch_add(&store->segment_bytes, capacity);
    log_segment_acquire(segment);
    log_store_append(store, segment);
    *out_segment = segment;
    return 0;
}

/* ---- indexing ---- */

struct indexing {
    struct log_scan scan;
    struct segment_index_builder *builder;
    uint64_t data_end;
};

static int builder_add(void *context, const struct segment_record *record)
{
    int result = segment_index_builder_add(context, record);
    return result == -EBADMSG ? -EPROTO : result; /* of a scan -EBADMSG means another thing */
}

/* Under load one index follows another, and fresh memory costs more than all of the sorting: so a
 * builder is kept when its index is made, until it was not wanted for some seconds. */
static struct segment_index_builder *take_builder(struct log_store *store,
                                                  const struct segment_header *header,
                                                  const struct segment_partition *partitions)
{
    struct segment_index_builder *builder = store->spare_builder;
    store->spare_builder = NULL;
    if (builder == NULL)
        return segment_index_builder_create(store->helper_heap, store->hash_seed, header,
                                            partitions);
    if (segment_index_builder_reset(builder, header, partitions) == 0)
        return builder;
    segment_index_builder_destroy(builder);
    return NULL;
}

static void keep_builder(struct log_store *store, struct segment_index_builder *builder)
{
    if (builder == NULL)
        return;
    segment_index_builder_destroy(store->spare_builder);
    store->spare_builder = builder;
    store->spare_age = 0;
}

static void forget_builder(struct log_store *store)
{
    segment_index_builder_destroy(store->spare_builder);
    store->spare_builder = NULL;
}

void log_store_index_cancel(struct log_store *store, void **state)
{
    struct indexing *indexing = *state;
    *state = NULL;
    if (indexing == NULL)
        return;
    keep_builder(store, indexing->builder);
    log_scan_deinit(&indexing->scan);
    heap_free(store->helper_heap, indexing);
}

/* Cuts the file and makes sure of what is left; then everything is ready to be read. */
static int index_begin(struct log_store *store, const struct log_segment *segment,
                       uint64_t data_end, struct indexing *indexing)
{
    indexing->data_end = data_end;
    int result = log_scan_init(&indexing->scan, store->helper_heap, segment->fd, segment->seed,
                               segment->number, data_end);
    if (result == 0)
        result = disk_truncate(segment->fd, data_end);
    if (result == 0)
        result = disk_sync(segment->fd);
    if (result < 0)
        return result;
    struct segment_header header;
    struct segment_partition *partitions = NULL;
    result = log_scan_header(&indexing->scan, &header, &partitions);
    if (result < 0)
        return result == -ENODATA ? -EBADMSG : result;
    indexing->builder = take_builder(store, &header, partitions);
    heap_free(store->helper_heap, partitions);
    return indexing->builder == NULL ? -ENOMEM : -EAGAIN;
}

/* Gives the segment its index. */
void log_segment_publish(struct log_store *store, struct log_segment *segment,
                         struct segment_index *index, int index_fd)
{
    uint64_t before = atomic_load(&segment->file_bytes);
    uint64_t bytes = index->data_end + index->file_bytes;
    uint64_t newest_ms = 0;
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *partition = &index->partitions[slot];
        newest_ms = ps_max_u64(newest_ms, partition->newest_ms);
        if (partition->partition < store->config.partition_count)
            store->named[partition->partition] =
                ps_max_u64(store->named[partition->partition], segment->number);
    }
    atomic_store(&segment->newest_ms, newest_ms);
    atomic_store(&segment->file_bytes, bytes);
    atomic_fetch_add(&store->segment_bytes, bytes - before);
    segment->index_fd = index_fd;
    if (index_fd >= 0)
        segment_files_adopt(store, segment);
    atomic_store_explicit(&segment->index, index, memory_order_release);
}

static int index_slice(struct log_store *store, struct log_segment *segment,
                       struct indexing *indexing)
{
    struct log_scan *scan = &indexing->scan;
    uint64_t slice_end = ps_min_u64(scan->offset + SLICE_BYTES, indexing->data_end);
    while (scan->offset < slice_end) {
        int result = log_scan_next(scan, indexing->builder, builder_add);
        if (result < 0)
            return result == -ENODATA || result == -EPROTO ? -EBADMSG : result;
    }
    if (scan->offset < indexing->data_end)
        return -EAGAIN;
    struct segment_index *index = NULL;
    int index_fd = -1;
    int result = segment_index_write(indexing->builder, store->log_directory, indexing->data_end,
                                     &index, &index_fd);
    if (result == 0)
        log_segment_publish(store, segment, index, index_fd);
    return result;
}

/* A segment of which nothing counts: its index says so, in memory only, and the files go. */
static int index_nothing(struct log_store *store, struct log_segment *segment)
{
    const struct segment_header header = {.number = segment->number};
    struct segment_index_builder *builder =
        segment_index_builder_create(store->helper_heap, store->hash_seed, &header, NULL);
    if (builder == NULL)
        return -ENOMEM;
    struct segment_index *index = segment_index_plan(builder, 0);
    segment_index_builder_destroy(builder);
    if (index == NULL)
        return -ENOMEM;
    log_segment_publish(store, segment, index, -1);
    log_segment_drop(store, segment);
    return 0;
}

int log_store_index(struct log_store *store, struct log_segment *segment, uint64_t data_end,
                    void **state)
{
    ps_assert(atomic_load(&segment->index) == NULL);
    if (data_end == 0)
        return index_nothing(store, segment);
    struct indexing *indexing = *state;
    int result;
    if (indexing == NULL) {
        indexing = heap_zalloc(store->helper_heap, sizeof(*indexing));
        if (indexing == NULL)
            return -ENOMEM;
        *state = indexing;
        result = index_begin(store, segment, data_end, indexing);
    } else {
        ps_assert(indexing->data_end == data_end);
        result = index_slice(store, segment, indexing);
    }
    if (result != -EAGAIN)
        log_store_index_cancel(store, state);
    if (result == -ENOMEM)
        forget_builder(store);
    return result;
}

/* ---- retention and removal ---- */

/* Sequences up to where a segment ends are never given again, although it is the last that names
 * them. True: the numbers must be written before it goes. */
static bool raise_floors(struct log_store *store, const struct log_segment *segment)
{
    const struct segment_index *index = atomic_load(&segment->index);
    bool is_raised = false;
    for (uint32_t slot = 0; index != NULL && slot < index->partition_count; slot++) {
        const struct segment_index_partition *partition = &index->partitions[slot];
        struct log_number *number = &store->numbers->partitions[partition->partition];
        if (store->named[partition->partition] == segment->number &&
            number->floor < partition->next) {
            number->floor = partition->next;
            is_raised = true;
        }
    }
    return is_raised;
}

int log_segment_remove_file(struct log_store *store, uint64_t number, const char *suffix)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, suffix, name);
    int result = disk_remove(store->log_directory, name);
    return result == -ENOENT ? 0 : result;
}

static struct log_segment *take_doomed(struct log_store *store)
{
    pthread_mutex_lock(&store->mutex);
    struct log_segment *doomed = store->doomed;
    store->doomed = NULL;
    pthread_mutex_unlock(&store->mutex);
    return doomed;
}

static void put_doomed_back(struct log_store *store, struct log_segment *segments)
{
    pthread_mutex_lock(&store->mutex);
    while (segments != NULL) {
        struct log_segment *next = segments->next_doomed;
        segments->next_doomed = store->doomed;
        store->doomed = segments;
        segments = next;
    }
    pthread_mutex_unlock(&store->mutex);
}

/* Data files first, and for good; an index that stays behind is an orphan that a start removes, but
 * data without its index would be looked at more strictly than what retention leaves can stand. */
static int remove_files(struct log_store *store, const struct log_segment *segments)
{
    bool must_write = false;
    for (const struct log_segment *at = segments; at != NULL; at = at->next_doomed)
        must_write |= raise_floors(store, at);
    int result = 0;
    if (must_write)
        result = log_numbers_write(store->directory, store->helper_heap, store->numbers);
    for (const struct log_segment *at = segments; at != NULL && result == 0; at = at->next_doomed)
        result = log_segment_remove_file(store, at->number, "seg");
    if (result == 0)
        result = disk_sync_directory(store->log_directory);
    for (const struct log_segment *at = segments; at != NULL && result == 0; at = at->next_doomed)
        result = log_segment_remove_file(store, at->number, "idx");
    return result;
}

static void remove_doomed(struct log_store *store)
{
    struct log_segment *segments = take_doomed(store);
    if (segments == NULL)
        return;
    int result = remove_files(store, segments);
    if (result < 0) {
        if (store->log != NULL)
            log_write(store->log, LOG_WARNING, "log_remove_failed", "error=%d segment=%016" PRIx64,
                      -result, segments->number);
        put_doomed_back(store, segments);
        return;
    }
    while (segments != NULL) {
        struct log_segment *next = segments->next_doomed;
        list_remove(store, segments);
        atomic_fetch_sub(&store->segment_bytes, atomic_load(&segments->file_bytes));
        log_segment_destroy(store, store->helper_heap, segments);
        segments = next;
    }
}

void log_store_retain(struct log_store *store, uint64_t wall_ms)
{
    remove_doomed(store);
    if (++store->spare_age > SPARE_AGE_MAX)
        forget_builder(store);
    const struct embedded_store_config *config = &store->config;
    pthread_mutex_lock(&store->mutex);
    uint64_t bytes = atomic_load(&store->segment_bytes);
    uint64_t retain_from = 0;
    bool is_old = config->retention_age_ms > 0;
    for (const struct log_segment *at = store->first; at != NULL; at = at->next) {
        bool is_indexed = atomic_load(&at->index) != NULL;
        uint64_t newest_ms = atomic_load(&at->newest_ms);
        bool is_needless = newest_ms == 0; /* nothing in it yet, or nothing that counts */
        is_old = is_old && (is_needless || newest_ms + config->retention_age_ms < wall_ms);
        bool is_much = config->retention_bytes > 0 && bytes > config->retention_bytes;
        if (!is_old && !is_much)
            break;
        if (!is_indexed) /* being written: its writer leaves it, it counts as one that stays */
            continue;
        bytes -= ps_min_u64(bytes, atomic_load(&at->file_bytes));
        retain_from = at->number + 1;
    }
    pthread_mutex_unlock(&store->mutex);
    if (retain_from > atomic_load(&store->retain_from))
        atomic_store(&store->retain_from, retain_from);
}

int log_store_reserve(struct log_store *store, uint16_t partition, uint64_t until)
{
    struct log_number *number = &store->numbers->partitions[partition];
    uint64_t before = number->reserved;
    if (until <= before)
        return 0;
    number->reserved = until;
    int result = log_numbers_write(store->directory, store->helper_heap, store->numbers);
    if (result < 0)
        number->reserved = before; /* more in the file than is used does no harm */
    return result;
}

/* ---- opening and closing ---- */

int log_store_refuse(const struct log_store *store, char *error, int result, const char *format,
                     ...)
{
    int used =
        snprintf(error, EMBEDDED_ERROR_BYTES, "data directory %s: ", store->config.directory);
    if (used < 0 || used >= EMBEDDED_ERROR_BYTES)
        return result;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error + used, EMBEDDED_ERROR_BYTES - (size_t)used, format, arguments);
    va_end(arguments);
    return result;
}

static int open_directories(struct log_store *store, char *error)
{
    int result = disk_open_directory(store->config.directory, &store->directory);
    if (result < 0)
        return log_store_refuse(store, error, result, "cannot be opened: %s", strerror(-result));
    result = disk_lock(store->directory, &store->lock);
    if (result == -EWOULDBLOCK)
        return log_store_refuse(store, error, result,
                                "another gateway has it; stop it, or use another directory");
    if (result < 0)
        return log_store_refuse(store, error, result, "cannot be locked: %s", strerror(-result));
    char path[PATH_BYTES_MAX];
    int used = snprintf(path, sizeof(path), "%s/log", store->config.directory);
    result = used < 0 || (size_t)used >= sizeof(path)
                 ? -ENAMETOOLONG
                 : disk_open_directory(path, &store->log_directory);
    if (result < 0)
        return log_store_refuse(store, error, result, "log: cannot be opened: %s",
                                strerror(-result));
    return 0;
}

static int stop_listing(void *context, const char *name)
{
    uint64_t number = 0;
    (void)context;
    return segment_name_parse(name, "seg", &number) ? 1 : 0;
}

/* 1: there is a segment. */
static int has_segments(struct log_store *store)
{
    return disk_list(store->log_directory, stop_listing, NULL);
}

static int make_manifest(struct log_store *store, char *error)
{
    int found = has_segments(store);
    if (found > 0)
        return log_store_refuse(store, error, -EBADMSG,
                                "manifest: missing, although there are segments; restore it from "
                                "a copy of the directory");
    const struct log_manifest manifest = {
        store->config.partition_count, store->config.partition_levels, store->config.random_seed};
    int result = found < 0 ? found : log_manifest_write(store->directory, &manifest);
    if (result < 0)
        return log_store_refuse(store, error, result, "manifest: cannot be written: %s",
                                strerror(-result));
    store->hash_seed = manifest.hash_seed;
    return 0;
}

static int open_manifest(struct log_store *store, char *error)
{
    struct log_manifest manifest;
    int result = log_manifest_read(store->directory, &manifest);
    if (result == -ENOENT)
        return make_manifest(store, error);
    if (result == -EPROTONOSUPPORT)
        return log_store_refuse(store, error, result,
                                "manifest: another format than this version reads (1)");
    if (result == -EBADMSG)
        return log_store_refuse(store, error, result,
                                "manifest: damaged; restore it from a copy of the directory");
    if (result < 0)
        return log_store_refuse(store, error, result, "manifest: cannot be read: %s",
                                strerror(-result));
    if (manifest.partition_count != store->config.partition_count)
        return log_store_refuse(store, error, -EINVAL,
                                "has %u partitions, not %u: broker.partitions is fixed when the "
                                "directory is made",
                                manifest.partition_count, store->config.partition_count);
    if (manifest.partition_levels != store->config.partition_levels)
        return log_store_refuse(store, error, -EINVAL,
                                "has partitions by %u levels, not %u: broker.partition_levels is "
                                "fixed when the directory is made",
                                manifest.partition_levels, store->config.partition_levels);
    store->hash_seed = manifest.hash_seed;
    return 0;
}

/* From here on this run's. */
static int begin_run(struct log_store *store, char *error)
{
    struct log_numbers *numbers = store->numbers;
    numbers->run++;
    numbers->commit = (uint8_t)store->config.commit;
    numbers->is_clean = false;
    for (uint32_t index = 0; index < numbers->partition_count; index++) {
        struct log_partition_state *state = &store->partitions[index];
        numbers->partitions[index].floor = state->next;
        numbers->partitions[index].jumps = state->jumps;
        numbers->partitions[index].reserved = state->next + LOG_STORE_RESERVE;
        state->reserved = numbers->partitions[index].reserved;
        atomic_store(&store->tails[index], state->next - 1);
    }
    int result = log_numbers_write(store->directory, store->heap, numbers);
    if (result < 0)
        return log_store_refuse(store, error, result, "numbers: cannot be written: %s",
                                strerror(-result));
    store->run = numbers->run;
    atomic_store(&store->segment_next, store->run << 32);
    return 0;
}

static void free_everything(struct log_store *store)
{
    for (struct log_segment *at = store->first; at != NULL;) {
        struct log_segment *next = at->next;
        log_segment_destroy(store, store->heap, at);
        at = next;
    }
    store->first = store->last = store->doomed = NULL;
    forget_builder(store);
    for (uint32_t index = 0; store->partitions != NULL && index < store->config.partition_count;
         index++) {
        heap_free(store->heap, store->partitions[index].extents);
        heap_free(store->heap, store->partitions[index].ids);
    }
    heap_free(store->heap, store->partitions);
    heap_free(store->heap, (void *)(uintptr_t)store->tails); /* its elements are _Atomic */
    heap_free(store->heap, store->numbers);
    heap_free(store->heap, store->named);
    store->partitions = NULL;
    store->tails = NULL;
    store->numbers = NULL;
    store->named = NULL;
    if (store->log_directory >= 0)
        disk_close(store->log_directory);
    if (store->lock >= 0)
        disk_close(store->lock);
    if (store->directory >= 0)
        disk_close(store->directory);
    store->directory = store->log_directory = store->lock = -1;
    pthread_mutex_destroy(&store->mutex);
}

static int allocate(struct log_store *store, char *error)
{
    uint16_t count = store->config.partition_count;
    store->partitions = heap_zalloc(store->heap, count * sizeof(store->partitions[0]));
    store->tails = heap_zalloc(store->heap, count * sizeof(store->tails[0]));
    store->named = heap_zalloc(store->heap, count * sizeof(store->named[0]));
    store->numbers = log_numbers_create(store->heap, count);
    if (store->partitions == NULL || store->tails == NULL || store->named == NULL ||
        store->numbers == NULL)
        return log_store_refuse(store, error, -ENOMEM, "memory is out");
    return 0;
}

int log_store_open(struct log_store *store, char *error)
{
    ps_assert(store->config.partition_count > 0);
    store->directory = store->log_directory = store->lock = -1;
    pthread_mutex_init(&store->mutex, NULL);
    error[0] = '\0';
    int result = open_directories(store, error);
    if (result == 0)
        result = open_manifest(store, error);
    if (result == 0)
        result = allocate(store, error);
    if (result == 0)
        result = log_recover(store, error);
    if (result == 0)
        result = begin_run(store, error);
    atomic_store(&store->opens, 0); /* readers' alone from here on */
    if (result < 0)
        free_everything(store);
    return result;
}

void log_store_close(struct log_store *store, bool is_clean)
{
    remove_doomed(store);
    if (is_clean && !atomic_load(&store->is_cut_short)) {
        struct log_numbers *numbers = store->numbers;
        numbers->is_clean = true;
        for (uint32_t index = 0; index < numbers->partition_count; index++)
            numbers->partitions[index].floor = atomic_load(&store->tails[index]) + 1;
        int result = log_numbers_write(store->directory, store->heap, numbers);
        if (result < 0 && store->log != NULL)
            log_write(store->log, LOG_ERROR, "numbers_failed", "error=%d", -result);
    }
    free_everything(store);
}
