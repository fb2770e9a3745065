/*
 * The files of closed segments; see segment_files_internal.h.
 */
#include "segment_files_internal.h"

#include "core/base.h"
#include "core/disk.h"

/* Two descriptors that are to be closed outside of the mutex. */
struct descriptors {
    int data;
    int index;
};

static void close_both(const struct descriptors *files)
{
    if (files->data >= 0)
        disk_close(files->data);
    if (files->index >= 0)
        disk_close(files->index);
}

static struct descriptors take_files(struct log_segment *segment)
{
    struct descriptors files = {segment->fd, segment->index_fd};
    segment->fd = segment->index_fd = -1;
    return files;
}

static void rest_add(struct log_store *store, struct log_segment *segment)
{
    segment->older = store->newest_open;
    segment->newer = NULL;
    *(store->newest_open != NULL ? &store->newest_open->newer : &store->oldest_open) = segment;
    store->newest_open = segment;
}

static void rest_remove(struct log_store *store, struct log_segment *segment)
{
    *(segment->older != NULL ? &segment->older->newer : &store->oldest_open) = segment->newer;
    *(segment->newer != NULL ? &segment->newer->older : &store->newest_open) = segment->older;
}

/* Counts one more segment, if need be instead of the one that was read the longest time ago, whose
 * files are then the caller's to close. False: all are held. With the mutex. */
static bool take_room(struct log_store *store, struct descriptors *out_files)
{
    *out_files = (struct descriptors){-1, -1};
    if (store->open_count < segment_files_max(store)) {
        store->open_count++;
        return true;
    }
    struct log_segment *oldest = store->oldest_open;
    if (oldest == NULL)
        return false;
    rest_remove(store, oldest);
    oldest->is_counted = false;
    *out_files = take_files(oldest);
    return true;
}

bool segment_files_hold(struct log_store *store, struct log_segment *segment)
{
    pthread_mutex_lock(&store->mutex);
    bool is_open = segment->fd >= 0 && segment->index_fd >= 0;
    if (is_open && segment->holds++ == 0 && segment->is_counted)
        rest_remove(store, segment);
    pthread_mutex_unlock(&store->mutex);
    return is_open;
}

void segment_files_let_go(struct log_store *store, struct log_segment *segment)
{
    pthread_mutex_lock(&store->mutex);
    ps_assert(segment->holds > 0);
    if (--segment->holds == 0 && segment->is_counted)
        rest_add(store, segment);
    pthread_mutex_unlock(&store->mutex);
}

static int open_both(const struct log_store *store, uint64_t number, struct descriptors *out_files)
{
    char name[SEGMENT_NAME_BYTES];
    struct descriptors files = {-1, -1};
    segment_name(number, "seg", name);
    int result = disk_open(store->log_directory, name, DISK_OPEN_READ, &files.data);
    segment_name(number, "idx", name);
    if (result == 0)
        result = disk_open(store->log_directory, name, DISK_OPEN_READ, &files.index);
    if (result == 0)
        *out_files = files;
    else
        close_both(&files);
    return result;
}

int segment_files_open(struct log_store *store, struct log_segment *segment)
{
    if (segment_files_hold(store, segment))
        return 0;
    struct descriptors old;
    struct descriptors files;
    pthread_mutex_lock(&store->mutex);
    bool has_room = take_room(store, &old);
    pthread_mutex_unlock(&store->mutex);
    if (!has_room)
        return -EAGAIN;
    close_both(&old);
    int result = open_both(store, segment->number, &files);
    pthread_mutex_lock(&store->mutex);
    if (result == 0) {
        segment->fd = files.data;
        segment->index_fd = files.index;
        segment->is_counted = true;
        segment->holds = 1;
        atomic_fetch_add_explicit(&store->opens, 1, memory_order_relaxed);
    } else {
        store->open_count--;
    }
    pthread_mutex_unlock(&store->mutex);
    return result;
}

void segment_files_adopt(struct log_store *store, struct log_segment *segment)
{
    struct descriptors old;
    pthread_mutex_lock(&store->mutex);
    ps_assert(segment->holds == 0 && !segment->is_counted);
    if (take_room(store, &old)) {
        segment->is_counted = true;
        rest_add(store, segment);
    } else {
        old = take_files(segment);
    }
    pthread_mutex_unlock(&store->mutex);
    close_both(&old);
}

void segment_files_close(struct log_store *store, struct log_segment *segment)
{
    pthread_mutex_lock(&store->mutex);
    ps_assert(segment->holds == 0);
    if (segment->is_counted) {
        rest_remove(store, segment);
        store->open_count--;
        segment->is_counted = false;
    }
    const struct descriptors files = take_files(segment);
    pthread_mutex_unlock(&store->mutex);
    close_both(&files);
}

/* ---- of one shard ---- */

static void run_open(void *context)
{
    struct segment_opener *opener = context;
    for (uint32_t at = 0; at < opener->count; at++)
        opener->results[at] = segment_files_open(opener->store, opener->segments[at]);
}

int segment_opener_init(struct segment_opener *opener, struct log_store *store, struct heap *heap,
                        void (*wake)(void *), void *wake_context)
{
    *opener = (struct segment_opener){.store = store};
    if (store->helper == NULL)
        return 0;
    return helper_port_create(heap, store->helper, wake, wake_context, &opener->port);
}

void segment_opener_deinit(struct segment_opener *opener, struct heap *heap)
{
    if (opener->port == NULL)
        return;
    if (opener->is_out)
        ps_assert(helper_take_last(opener->port) == &opener->job);
    segment_opener_finish(opener);
    helper_port_destroy(heap, opener->port);
}

int segment_opener_result(const struct segment_opener *opener, const struct log_segment *segment)
{
    for (uint32_t at = 0; at < opener->count; at++) {
        if (opener->segments[at] == segment)
            return opener->results[at];
    }
    return 1;
}

void segment_opener_want(struct segment_opener *opener, struct log_segment *segment)
{
    ps_assert(opener->port != NULL);
    if (opener->is_out || opener->count == SEGMENT_OPENER_MAX ||
        segment_opener_result(opener, segment) != 1)
        return;
    log_segment_acquire(segment);
    opener->results[opener->count] = -ECANCELED;
    opener->segments[opener->count++] = segment;
}

int segment_opener_submit(struct segment_opener *opener)
{
    if (opener->is_out || opener->count == 0)
        return 0;
    opener->job = (struct helper_job){.run = run_open, .context = opener};
    opener->is_out = helper_submit(opener->store->helper, opener->port, &opener->job) == 0;
    if (opener->is_out)
        return 0;
    segment_opener_finish(opener);
    return -EAGAIN;
}

bool segment_opener_take(struct segment_opener *opener)
{
    return opener->is_out && helper_take(opener->port) != NULL;
}

void segment_opener_finish(struct segment_opener *opener)
{
    for (uint32_t at = 0; at < opener->count; at++) {
        if (opener->results[at] == 0)
            segment_files_let_go(opener->store, opener->segments[at]);
        log_segment_release(opener->store, opener->segments[at]);
    }
    opener->count = 0;
    opener->is_out = false;
}
