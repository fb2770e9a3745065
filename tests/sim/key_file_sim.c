/*
 * The file of the keys in memory; see key_file_sim.h. A table is a sorted array. A transaction
 * changes it in place and writes down how to undo that; what is committed and not yet durable can
 * still be undone.
 */
#include "key_file_sim.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker_client/embedded/key_file.h"
#include "core/base.h"
#include "core/heap.h"

enum { DIRECTORY_BYTES_MAX = 256, ENTRY_BYTES = 32, PAGE_BYTES = 4096 };

struct entry {
    uint32_t key_bytes;
    uint32_t value_bytes;
    unsigned char bytes[]; /* key, value */
};

struct table {
    struct entry **entries;
    size_t count;
    size_t capacity;
    size_t at; /* of the last seek or next */
};

/* `old` was replaced by `new`; NULL: there was none, or there is none. */
struct undo {
    enum key_file_table table;
    struct entry *old;
    struct entry *new;
};

struct key_file_disk {
    struct key_file_disk *next;
    char directory[DIRECTORY_BYTES_MAX];
    struct table tables[KEY_FILE_TABLES];
    uint64_t bytes;
    struct undo *undos; /* oldest first */
    size_t undo_count;
    size_t undo_capacity;
    size_t undo_begin; /* of the transaction that is open */
    struct key_file *file;
    enum key_file_fault fault;
    int error;
    uint32_t skip_count;
    uint32_t fault_count;
    int opening_error;
    uint32_t opening_fault_count;
    uint64_t commits;
    uint64_t unsynced;
    bool is_left_out;
    bool is_stopped;
};

struct key_file {
    struct key_file_disk *disk;
    uint64_t bytes_max;
    bool is_synced;
    bool is_open; /* a transaction is */
    bool is_writing;
    bool is_broken; /* a commit failed */
};

static _Thread_local struct key_file_disk *disks;

struct key_file_disk *key_file_disk_create(const char *directory)
{
    struct key_file_disk *disk = calloc(1, sizeof(*disk));
    ps_assert(disk != NULL);
    int length = snprintf(disk->directory, sizeof(disk->directory), "%s", directory);
    ps_assert(length < DIRECTORY_BYTES_MAX);
    disk->next = disks;
    disks = disk;
    return disk;
}

/* Forgets how to undo what is before `end`. */
static void make_durable(struct key_file_disk *disk, size_t end)
{
    for (size_t index = 0; index < end; index++)
        free(disk->undos[index].old);
    disk->undo_count -= end;
    if (disk->undo_count > 0)
        memmove(disk->undos, disk->undos + end, disk->undo_count * sizeof(disk->undos[0]));
}

void key_file_disk_destroy(struct key_file_disk *disk)
{
    ps_assert(disk->file == NULL);
    struct key_file_disk **at = &disks;
    while (*at != disk)
        at = &(*at)->next;
    *at = disk->next;
    make_durable(disk, disk->undo_count);
    free(disk->undos);
    for (uint32_t table = 0; table < KEY_FILE_TABLES; table++) {
        for (size_t index = 0; index < disk->tables[table].count; index++)
            free(disk->tables[table].entries[index]);
        free(disk->tables[table].entries);
    }
    free(disk);
}

void key_file_disk_fail(struct key_file_disk *disk, enum key_file_fault fault, int error,
                        uint32_t skip_count, uint32_t count)
{
    disk->fault = fault;
    disk->error = error;
    disk->skip_count = skip_count;
    disk->fault_count = count;
}

void key_file_disk_fail_opening(struct key_file_disk *disk, int error, uint32_t count)
{
    disk->opening_error = error;
    disk->opening_fault_count = count;
}

void key_file_disk_leave_out_sync(struct key_file_disk *disk, bool is_left_out)
{
    disk->is_left_out = is_left_out;
}

bool key_file_disk_is_stopped(const struct key_file_disk *disk)
{
    return disk->is_stopped;
}

uint64_t key_file_disk_commits(const struct key_file_disk *disk)
{
    return disk->commits;
}

uint64_t key_file_disk_unsynced(const struct key_file_disk *disk)
{
    return disk->unsynced;
}

static int compare(const struct entry *entry, struct broker_bytes key)
{
    uint32_t common = ps_min_u32(entry->key_bytes, key.count);
    int order = common > 0 ? memcmp(entry->bytes, key.bytes, common) : 0;
    return order != 0 ? order : (entry->key_bytes > key.count) - (entry->key_bytes < key.count);
}

/* The place of the first entry at or above `key`; *out_is_there: it has this key. */
static size_t find(const struct table *table, struct broker_bytes key, bool *out_is_there)
{
    size_t low = 0;
    size_t high = table->count;
    *out_is_there = false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = compare(table->entries[middle], key);
        *out_is_there |= order == 0;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct broker_bytes key_of(const struct entry *entry)
{
    return (struct broker_bytes){entry->bytes, entry->key_bytes};
}

static uint64_t bytes_of(const struct entry *entry)
{
    return entry != NULL ? (uint64_t)entry->key_bytes + entry->value_bytes + ENTRY_BYTES : 0;
}

/* Puts `new` in the place of the entry of `key`; NULL takes it out. Result: what was there. */
static struct entry *replace(struct key_file_disk *disk, enum key_file_table which,
                             struct broker_bytes key, struct entry *new)
{
    struct table *table = &disk->tables[which];
    bool is_there;
    size_t place = find(table, key, &is_there);
    struct entry *old = is_there ? table->entries[place] : NULL;
    disk->bytes += bytes_of(new) - bytes_of(old);
    if (old == NULL && new != NULL) {
        if (table->count == table->capacity) {
            table->capacity = 2 * table->capacity + 16;
            table->entries = realloc(table->entries, table->capacity * sizeof(table->entries[0]));
            ps_assert(table->entries != NULL);
        }
        memmove(&table->entries[place + 1], &table->entries[place],
                (table->count++ - place) * sizeof(table->entries[0]));
    } else if (old != NULL && new == NULL) {
        memmove(&table->entries[place], &table->entries[place + 1],
                (--table->count - place) * sizeof(table->entries[0]));
    }
    if (new != NULL)
        table->entries[place] = new;
    return old;
}

static void undo_to(struct key_file_disk *disk, size_t begin)
{
    while (disk->undo_count > begin) {
        struct undo undo = disk->undos[--disk->undo_count];
        const struct entry *named = undo.new != NULL ? undo.new : undo.old;
        struct entry *found = replace(disk, undo.table, key_of(named), undo.old);
        ps_assert(found == undo.new);
        free(undo.new);
    }
}

void key_file_disk_crash(struct key_file_disk *disk, bool is_power_failure)
{
    ps_assert(disk->file == NULL);
    disk->is_stopped = false;
    if (!is_power_failure)
        return;
    undo_to(disk, 0);
    disk->unsynced = 0;
}

/* True when a commit meets the fault. */
static bool meets_fault(struct key_file_disk *disk)
{
    if (disk->fault == KEY_FILE_FAULT_NONE || disk->fault_count == 0)
        return false;
    if (disk->skip_count > 0) {
        disk->skip_count--;
        return false;
    }
    disk->fault_count--;
    return true;
}

int key_file_open(struct heap *heap, const struct key_file_options *options,
                  struct key_file **out_file)
{
    struct key_file_disk *disk = disks;
    while (disk != NULL && strcmp(disk->directory, options->directory) != 0)
        disk = disk->next;
    int status = 0;
    if (disk == NULL) {
        status = -ENOENT;
    } else if (disk->is_stopped) {
        status = -EIO;
    } else if (disk->opening_fault_count > 0) {
        disk->opening_fault_count--;
        status = disk->opening_error;
    }
    if (status < 0) {
        (void)snprintf(options->error, options->error_bytes, "%s/keys: %s", options->directory,
                       strerror(-status));
        return status;
    }
    ps_assert(disk->file == NULL);
    struct key_file *file = heap_zalloc(heap, sizeof(*file));
    if (file == NULL)
        return -ENOMEM;
    file->disk = disk;
    file->bytes_max = options->map_bytes;
    file->is_synced = options->is_synced;
    disk->file = file;
    *out_file = file;
    return 0;
}

void key_file_close(struct heap *heap, struct key_file *file)
{
    if (file == NULL)
        return;
    if (file->is_open)
        key_file_abort(file);
    file->disk->file = NULL;
    heap_free(heap, file);
}

int key_file_begin(struct key_file *file, bool is_writing)
{
    ps_assert(!file->is_open);
    if (file->is_broken || file->disk->is_stopped)
        return -EIO;
    file->is_open = true;
    file->is_writing = is_writing;
    file->disk->undo_begin = file->disk->undo_count;
    return 0;
}

void key_file_abort(struct key_file *file)
{
    ps_assert(file->is_open);
    file->is_open = false;
    undo_to(file->disk, file->disk->undo_begin);
}

/* What the fault makes of a commit that meets it. */
static int fail_commit(struct key_file *file)
{
    struct key_file_disk *disk = file->disk;
    file->is_broken = true;
    switch (disk->fault) {
    case KEY_FILE_FAULT_SYNC:
        file->is_open = false;
        disk->unsynced++;
        return disk->error;
    case KEY_FILE_FAULT_CRASH_AFTER:
        file->is_open = false;
        make_durable(disk, disk->undo_count);
        disk->is_stopped = true;
        return -EIO;
    case KEY_FILE_FAULT_CRASH_BEFORE:
        key_file_abort(file);
        disk->is_stopped = true;
        return -EIO;
    case KEY_FILE_FAULT_NONE:
    case KEY_FILE_FAULT_WRITE:
        break;
    }
    key_file_abort(file);
    return disk->error;
}

int key_file_commit(struct key_file *file)
{
    struct key_file_disk *disk = file->disk;
    ps_assert(file->is_open && file->is_writing);
    if (meets_fault(disk))
        return fail_commit(file);
    file->is_open = false;
    disk->commits++;
    if (disk->is_left_out) {
        disk->unsynced++;
        return 0;
    }
    make_durable(disk, file->is_synced ? disk->undo_count : disk->undo_begin);
    disk->unsynced = file->is_synced ? 0 : 1;
    return 0;
}

static struct broker_bytes value_of(const struct entry *entry)
{
    return (struct broker_bytes){entry->bytes + entry->key_bytes, entry->value_bytes};
}

int key_file_get(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                 struct broker_bytes *out_value)
{
    ps_assert(file->is_open);
    if (file->disk->is_stopped)
        return -EIO;
    bool is_there;
    size_t place = find(&file->disk->tables[table], key, &is_there);
    if (!is_there)
        return -ENOENT;
    *out_value = value_of(file->disk->tables[table].entries[place]);
    return 0;
}

static int entry_at(struct table *table, struct key_file_entry *out_entry)
{
    if (table->at >= table->count)
        return -ENOENT;
    const struct entry *entry = table->entries[table->at];
    *out_entry = (struct key_file_entry){.key = key_of(entry), .value = value_of(entry)};
    return 0;
}

int key_file_seek(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                  struct key_file_entry *out_entry)
{
    ps_assert(file->is_open);
    if (file->disk->is_stopped)
        return -EIO;
    bool is_there;
    file->disk->tables[table].at = find(&file->disk->tables[table], key, &is_there);
    return entry_at(&file->disk->tables[table], out_entry);
}

int key_file_next(struct key_file *file, enum key_file_table table,
                  struct key_file_entry *out_entry)
{
    ps_assert(file->is_open);
    if (file->disk->is_stopped)
        return -EIO;
    file->disk->tables[table].at++;
    return entry_at(&file->disk->tables[table], out_entry);
}

static void remember(struct key_file_disk *disk, struct undo undo)
{
    if (disk->undo_count == disk->undo_capacity) {
        disk->undo_capacity = 2 * disk->undo_capacity + 16;
        disk->undos = realloc(disk->undos, disk->undo_capacity * sizeof(disk->undos[0]));
        ps_assert(disk->undos != NULL);
    }
    disk->undos[disk->undo_count++] = undo;
}

int key_file_put(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                 struct broker_bytes head, struct broker_bytes body)
{
    struct key_file_disk *disk = file->disk;
    ps_assert(file->is_open && file->is_writing);
    ps_assert(key.count > 0 && key.count <= KEY_FILE_KEY_BYTES_MAX);
    if (disk->is_stopped)
        return -EIO;
    struct entry *entry = malloc(sizeof(*entry) + key.count + head.count + body.count);
    ps_assert(entry != NULL);
    entry->key_bytes = key.count;
    entry->value_bytes = head.count + body.count;
    memcpy(entry->bytes, key.bytes, key.count);
    if (head.count > 0)
        memcpy(entry->bytes + key.count, head.bytes, head.count);
    if (body.count > 0)
        memcpy(entry->bytes + key.count + head.count, body.bytes, body.count);
    struct entry *old = replace(disk, table, key_of(entry), entry);
    remember(disk, (struct undo){.table = table, .old = old, .new = entry});
    return disk->bytes <= file->bytes_max ? 0 : -EDQUOT;
}

int key_file_delete(struct key_file *file, enum key_file_table table, struct broker_bytes key)
{
    ps_assert(file->is_open && file->is_writing);
    if (file->disk->is_stopped)
        return -EIO;
    struct entry *old = replace(file->disk, table, key, NULL);
    if (old == NULL)
        return -ENOENT;
    remember(file->disk, (struct undo){.table = table, .old = old});
    return 0;
}

uint64_t key_file_bytes_used(struct key_file *file)
{
    return file->disk->bytes;
}

uint32_t key_file_page_bytes(const struct key_file *file)
{
    (void)file;
    return PAGE_BYTES;
}
