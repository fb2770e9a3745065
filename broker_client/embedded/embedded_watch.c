/*
 * Watches on the embedded keys: the scan of a new one, and the news of each batch; see
 * embedded_watch_internal.h.
 *
 * There is no index by revision: a scan looks through all keys of the prefix, SCAN_KEYS_MAX of them
 * a step, and keeps the lowest revisions that it has met, SCAN_ITEMS_MAX of them. Where that was
 * not all, another scan follows for the rest. What changes under way has a revision above `until`
 * and comes later in any case, so an item whose key has another revision by now is passed over.
 */
#include "embedded_watch_internal.h"

#include "core/base.h"
#include "embedded_keys_parts_internal.h"

enum {
    SCAN_KEYS_MAX = 4096,     /* looked at in one step */
    SCAN_ITEMS_MAX = 65536,   /* kept at a time */
    SCAN_BYTES_MAX = 4 << 20, /* of these */
    PAGE_NEWS_MAX = 64,       /* told at a time */
    PAGE_BYTES_MAX = 256 << 10
};

struct scan_item {
    uint64_t revision;
    uint32_t key_bytes;
    unsigned char key[];
};

struct embedded_scan {
    struct scan_item **items; /* a heap, the highest revision first; then in ascending order */
    uint32_t count;
    uint32_t capacity;
    uint32_t next; /* to be told */
    uint64_t bytes;
    uint64_t covered; /* items hold everything from the watch's `told` up to here */
    uint64_t emitted; /* everything up to here is told */
    uint16_t at_bytes;
    bool is_sorted;                         /* the keys are looked through */
    unsigned char at[BROKER_KEY_BYTES_MAX]; /* the last key looked at */
};

struct embedded_news *embedded_news_create(struct heap *heap, struct broker_bytes key,
                                           struct broker_bytes value, uint64_t revision,
                                           bool is_deletion)
{
    struct embedded_news *news = heap_alloc(heap, sizeof(*news) + key.count + value.count);
    if (news == NULL)
        return NULL;
    *news = (struct embedded_news){.revision = revision,
                                   .value_bytes = value.count,
                                   .key_bytes = (uint16_t)key.count,
                                   .is_deletion = is_deletion};
    memcpy(news->bytes, key.bytes, key.count);
    if (value.count > 0)
        memcpy(news->bytes + key.count, value.bytes, value.count);
    return news;
}

static uint64_t bytes_of(const struct embedded_news *news)
{
    return sizeof(*news) + news->key_bytes + news->value_bytes;
}

static struct broker_bytes key_of(const struct embedded_news *news)
{
    return (struct broker_bytes){news->bytes, news->key_bytes};
}

void embedded_news_push(struct embedded_news_list *list, struct embedded_news *news)
{
    news->next = NULL;
    if (list->last != NULL)
        list->last->next = news;
    else
        list->first = news;
    list->last = news;
    list->bytes += bytes_of(news);
    list->count++;
}

struct embedded_news *embedded_news_pop(struct embedded_news_list *list)
{
    struct embedded_news *news = list->first;
    if (news == NULL)
        return NULL;
    list->first = news->next;
    if (list->first == NULL)
        list->last = NULL;
    list->bytes -= bytes_of(news);
    list->count--;
    return news;
}

void embedded_news_free(struct heap *heap, struct embedded_news_list *list)
{
    struct embedded_news *news;
    while ((news = embedded_news_pop(list)) != NULL)
        heap_free(heap, news);
}

static void append_list(struct embedded_news_list *list, struct embedded_news_list *more)
{
    struct embedded_news *news;
    while ((news = embedded_news_pop(more)) != NULL)
        embedded_news_push(list, news);
}

static void free_scan(struct heap *heap, struct embedded_watch *watch)
{
    struct embedded_scan *scan = watch->scan;
    if (scan == NULL)
        return;
    for (uint32_t index = scan->next; index < scan->count; index++)
        heap_free(heap, scan->items[index]);
    heap_free(heap, scan->items);
    heap_free(heap, scan);
    watch->scan = NULL;
}

void embedded_watch_free(struct heap *heap, struct embedded_watch *watch)
{
    free_scan(heap, watch);
    embedded_news_free(heap, &watch->queue);
    embedded_news_free(heap, &watch->later);
    heap_free(heap, watch);
}

static struct broker_bytes prefix_of(const struct embedded_watch *watch)
{
    return (struct broker_bytes){watch->prefix, watch->prefix_bytes};
}

/* Puts a copy where the watch will find it. False: too much waits there, or no memory. */
static bool copy_news(struct heap *heap, struct embedded_news_list *list,
                      const struct embedded_news *news)
{
    if (list->bytes > EMBEDDED_WATCH_QUEUE_BYTES_MAX)
        return false;
    const struct broker_bytes value = {news->bytes + news->key_bytes, news->value_bytes};
    struct embedded_news *copy =
        embedded_news_create(heap, key_of(news), value, news->revision, news->is_deletion);
    if (copy != NULL)
        embedded_news_push(list, copy);
    return copy != NULL;
}

/* Gives one watch what concerns it of a batch. */
static void publish_to(struct embedded_keys *keys, struct embedded_watch *watch,
                       const struct embedded_news_list *all, uint64_t revision)
{
    bool is_live = watch->state == EMBEDDED_WATCH_LIVE;
    if (watch->state == EMBEDDED_WATCH_NEW || watch->is_later_lost)
        return;
    for (const struct embedded_news *news = all->first; news != NULL; news = news->next) {
        if (news->revision <= watch->told || !broker_has_prefix(key_of(news), prefix_of(watch)))
            continue;
        if (copy_news(&keys->heap, is_live ? &watch->queue : &watch->later, news)) {
            watch->told = is_live ? news->revision : watch->told;
            continue;
        }
        if (is_live) {
            watch->state = EMBEDDED_WATCH_NEW; /* goes on from `told` */
            return;
        }
        embedded_news_free(&keys->heap, &watch->later);
        watch->is_later_lost = true;
        return;
    }
    if (is_live)
        watch->told = ps_max_u64(watch->told, revision);
    if (watch->queue.first != NULL)
        embedded_keys_call(watch->port);
}

/* Deletions at or below this revision are needed by nobody. */
static uint64_t needless_deletions(const struct embedded_keys *keys)
{
    uint64_t needless = UINT64_MAX;
    for (const struct embedded_watch *watch = keys->watches; watch != NULL;
         watch = watch->next_of_all) {
        if (watch->state != EMBEDDED_WATCH_LIVE)
            needless = ps_min_u64(needless, ps_max_u64(watch->told, watch->deletions_above));
    }
    return needless;
}

bool embedded_watch_is_behind(const struct embedded_keys *keys)
{
    return keys->deletions.count >= 2 * (uint64_t)keys->options.deleted_entries_max &&
           keys->deletions.first->revision > needless_deletions(keys);
}

void embedded_watch_publish(struct embedded_keys *keys, struct embedded_news_list *news,
                            uint64_t revision)
{
    for (struct embedded_watch *watch = keys->watches; watch != NULL; watch = watch->next_of_all)
        publish_to(keys, watch, news, revision);
    struct embedded_news *one;
    while ((one = embedded_news_pop(news)) != NULL) {
        if (one->is_deletion)
            embedded_news_push(&keys->deletions, one);
        else
            heap_free(&keys->heap, one);
    }
    uint64_t needless = needless_deletions(keys);
    while (keys->deletions.count > keys->options.deleted_entries_max &&
           keys->deletions.first->revision <= needless) {
        one = embedded_news_pop(&keys->deletions);
        keys->forgotten_revision = one->revision;
        heap_free(&keys->heap, one);
    }
}

/* The first watch that has to be scanned for; NULL: none. */
static struct embedded_watch *next_to_step(const struct embedded_keys *keys)
{
    struct embedded_watch *watch = keys->watches;
    while (watch != NULL && (watch->state == EMBEDDED_WATCH_LIVE || watch->queue.first != NULL))
        watch = watch->next_of_all;
    return watch;
}

bool embedded_watch_has_work(const struct embedded_keys *keys)
{
    return next_to_step(keys) != NULL;
}

/* Swaps an item down to where it belongs among the first `count`. */
static void sift_down(struct embedded_scan *scan, uint32_t at, uint32_t count)
{
    for (;;) {
        uint32_t highest = at;
        for (uint32_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (scan->items[child]->revision > scan->items[highest]->revision)
                highest = child;
        if (highest == at)
            return;
        struct scan_item *item = scan->items[at];
        scan->items[at] = scan->items[highest];
        scan->items[highest] = item;
        at = highest;
    }
}

static void sift_up(struct embedded_scan *scan, uint32_t at)
{
    while (at > 0) {
        uint32_t parent = (at - 1) / 2;
        struct scan_item *item = scan->items[at];
        if (scan->items[parent]->revision >= item->revision)
            return;
        scan->items[at] = scan->items[parent];
        scan->items[parent] = item;
        at = parent;
    }
}

static void sort(struct embedded_scan *scan)
{
    for (uint32_t left = scan->count; left > 1; left--) {
        struct scan_item *highest = scan->items[0];
        scan->items[0] = scan->items[left - 1];
        scan->items[left - 1] = highest;
        sift_down(scan, 0, left - 1);
    }
    scan->is_sorted = true;
}

static bool is_full(const struct embedded_scan *scan)
{
    return scan->count == SCAN_ITEMS_MAX || scan->bytes >= SCAN_BYTES_MAX;
}

/* Lets the item with the highest revision go: it is for another scan. */
static void drop_highest(struct heap *heap, struct embedded_scan *scan)
{
    struct scan_item *item = scan->items[0];
    scan->covered = item->revision - 1;
    scan->bytes -= sizeof(*item) + item->key_bytes;
    scan->items[0] = scan->items[--scan->count];
    sift_down(scan, 0, scan->count);
    heap_free(heap, item);
}

/* Keeps a key that is of interest. False: no memory. */
static bool add_item(struct heap *heap, struct embedded_scan *scan, struct broker_bytes key,
                     uint64_t revision)
{
    while (is_full(scan) && revision < scan->items[0]->revision)
        drop_highest(heap, scan);
    if (is_full(scan)) {
        scan->covered = revision - 1;
        return true;
    }
    if (scan->count == scan->capacity) {
        uint32_t capacity = ps_min_u32(2 * scan->capacity + 64, SCAN_ITEMS_MAX);
        void *items = heap_realloc(heap, scan->items, capacity * sizeof(scan->items[0]));
        if (items == NULL)
            return false;
        scan->items = items;
        scan->capacity = capacity;
    }
    struct scan_item *item = heap_alloc(heap, sizeof(*item) + key.count);
    if (item == NULL)
        return false;
    item->revision = revision;
    item->key_bytes = key.count;
    memcpy(item->key, key.bytes, key.count);
    scan->items[scan->count] = item;
    scan->bytes += sizeof(*item) + key.count;
    sift_up(scan, scan->count++);
    return true;
}

/* Looks at the next keys. 0, -EAGAIN: no memory, or -errno of the file. */
static int collect(struct embedded_keys *keys, const struct embedded_watch *watch)
{
    struct embedded_scan *scan = watch->scan;
    const struct broker_bytes at = {scan->at, scan->at_bytes};
    const uint64_t wall_ms = atomic_load_explicit(&keys->wall_ms, memory_order_relaxed);
    struct key_file_entry entry;
    int status = key_file_begin(keys->file, false);
    if (status < 0)
        return status;
    status = key_file_seek(keys->file, KEY_FILE_KEYS, at.count > 0 ? at : prefix_of(watch), &entry);
    if (status == 0 && at.count > 0 && broker_compare_bytes(entry.key, at) == 0)
        status = key_file_next(keys->file, KEY_FILE_KEYS, &entry);
    uint32_t looks = 0;
    while (status == 0 && broker_has_prefix(entry.key, prefix_of(watch)) &&
           looks++ < SCAN_KEYS_MAX) {
        struct embedded_record record;
        if (!embedded_record_read(entry.value, &record) || entry.key.count > sizeof(scan->at)) {
            status = -EBADMSG;
            break;
        }
        bool is_wanted = record.revision > watch->told && record.revision <= scan->covered &&
                         !embedded_record_is_expired(&record, wall_ms);
        if (is_wanted && !add_item(&keys->heap, scan, entry.key, record.revision)) {
            status = -EAGAIN;
            break;
        }
        scan->at_bytes = (uint16_t)entry.key.count;
        memcpy(scan->at, entry.key.bytes, entry.key.count);
        status = key_file_next(keys->file, KEY_FILE_KEYS, &entry);
    }
    key_file_abort(keys->file);
    if (status == -ENOENT || (status == 0 && looks < SCAN_KEYS_MAX)) {
        sort(scan);
        return 0;
    }
    return status;
}

/* The first kept deletion from `news` on that the scan has to tell, or NULL. */
static const struct embedded_news *next_deletion(const struct embedded_watch *watch,
                                                 const struct embedded_news *news)
{
    const struct embedded_scan *scan = watch->scan;
    uint64_t above = ps_max_u64(scan->emitted, watch->deletions_above);
    while (news != NULL && news->revision <= scan->covered &&
           (news->revision <= above || !broker_has_prefix(key_of(news), prefix_of(watch))))
        news = news->next;
    return news != NULL && news->revision <= scan->covered ? news : NULL;
}

/* Puts the next item on the page, if its key is still what it was. 0, -EAGAIN or -errno. */
static int emit_item(struct embedded_keys *keys, struct embedded_scan *scan,
                     struct embedded_news_list *page, uint64_t wall_ms)
{
    struct scan_item *item = scan->items[scan->next];
    const struct broker_bytes key = {item->key, item->key_bytes};
    struct broker_bytes stored;
    struct embedded_record record;
    int status = key_file_get(keys->file, KEY_FILE_KEYS, key, &stored);
    if (status < 0 && status != -ENOENT)
        return status;
    if (status == 0) {
        if (!embedded_record_read(stored, &record))
            return -EBADMSG;
        if (record.revision == item->revision && !embedded_record_is_expired(&record, wall_ms)) {
            struct embedded_news *news =
                embedded_news_create(&keys->heap, key, record.value, record.revision, false);
            if (news == NULL)
                return -EAGAIN;
            embedded_news_push(page, news);
        }
    }
    scan->emitted = item->revision;
    scan->next++;
    heap_free(&keys->heap, item);
    return 0;
}

/* Makes the next page of what was collected, deletions among it. *out_is_last: nothing is left. */
static int emit(struct embedded_keys *keys, const struct embedded_watch *watch,
                struct embedded_news_list *page, bool *out_is_last)
{
    struct embedded_scan *scan = watch->scan;
    const uint64_t wall_ms = atomic_load_explicit(&keys->wall_ms, memory_order_relaxed);
    const struct embedded_news *deletion = keys->deletions.first;
    int status = key_file_begin(keys->file, false);
    if (status < 0)
        return status;
    for (uint32_t steps = 0; status == 0 && steps < 2 * PAGE_NEWS_MAX &&
                             page->count < PAGE_NEWS_MAX && page->bytes < PAGE_BYTES_MAX;
         steps++) {
        bool has_item = scan->next < scan->count;
        deletion = next_deletion(watch, deletion);
        if (!has_item && deletion == NULL) {
            scan->emitted = scan->covered;
            *out_is_last = true;
            break;
        }
        if (deletion == NULL ||
            (has_item && scan->items[scan->next]->revision < deletion->revision)) {
            status = emit_item(keys, scan, page, wall_ms);
            continue;
        }
        if (!copy_news(&keys->heap, page, deletion))
            status = -EAGAIN;
        else
            scan->emitted = deletion->revision;
    }
    key_file_abort(keys->file);
    return status;
}

/* Under the mutex: begins a scan. False: no memory. */
static bool begin_scan(struct embedded_keys *keys, struct embedded_watch *watch)
{
    watch->scan = heap_zalloc(&keys->heap, sizeof(*watch->scan));
    if (watch->scan == NULL)
        return false;
    watch->state = EMBEDDED_WATCH_SCAN;
    watch->until = ps_max_u64(keys->state.revision, watch->told);
    if (watch->deletions_above == UINT64_MAX)
        watch->deletions_above = watch->until;
    watch->scan->covered = watch->until;
    watch->scan->emitted = watch->told;
    watch->scan->is_sorted = keys->state.revision <= watch->told; /* there is nothing to look for */
    embedded_news_free(&keys->heap, &watch->later);
    watch->is_later_lost = false;
    return true;
}

/* Under the mutex: takes what a step has made over. */
static void end_step(struct embedded_keys *keys, struct embedded_watch *watch,
                     struct embedded_news_list *page, bool is_last)
{
    watch->is_busy = false;
    if (watch->is_ended) {
        embedded_news_free(&keys->heap, page);
        embedded_keys_call(watch->port); /* which frees it */
        return;
    }
    append_list(&watch->queue, page);
    watch->told = ps_max_u64(watch->told, watch->scan->emitted);
    if (is_last) {
        free_scan(&keys->heap, watch);
        bool is_all = watch->told >= watch->until && !watch->is_later_lost;
        watch->state = is_all ? EMBEDDED_WATCH_LIVE : EMBEDDED_WATCH_NEW;
        if (is_all) {
            append_list(&watch->queue, &watch->later);
            watch->told = ps_max_u64(watch->told, keys->state.revision);
        }
    }
    if (watch->queue.first != NULL)
        embedded_keys_call(watch->port);
}

int embedded_watch_step(struct embedded_keys *keys)
{
    struct embedded_news_list page = {0};
    bool is_last = false;
    pthread_mutex_lock(&keys->mutex);
    struct embedded_watch *watch = next_to_step(keys);
    bool is_ready =
        watch != NULL && (watch->state == EMBEDDED_WATCH_SCAN || begin_scan(keys, watch));
    if (is_ready)
        watch->is_busy = true;
    pthread_mutex_unlock(&keys->mutex);
    if (!is_ready)
        return 0;
    int status = watch->scan->is_sorted ? emit(keys, watch, &page, &is_last) : collect(keys, watch);
    bool has_page = page.count > 0;
    pthread_mutex_lock(&keys->mutex);
    end_step(keys, watch, &page, is_last);
    pthread_mutex_unlock(&keys->mutex);
    if (status == -EAGAIN)
        return has_page;
    return status < 0 ? status : 1;
}
