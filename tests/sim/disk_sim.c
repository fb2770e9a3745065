/*
 * core/disk.h on the simulated disk: descriptors, directories, faults and crashes. See disk_sim.h
 * for the rules and disk_sim_file.c for what a file holds. A world's; one thread.
 */
#include "disk_sim_internal.h"

#include <stdlib.h>

#include "core/base.h"
#include "network_internal.h"
#include "sim/network.h"

enum { ALWAYS = 65536 };

static struct sim_disk *current_disk(void)
{
    return sim_world_disk(sim_world_current());
}

struct sim_disk *sim_disk_create(uint64_t seed)
{
    struct sim_disk *disk = sim_alloc(sizeof(*disk));
    random_init(&disk->random, seed ^ 0x6469736bULL);
    disk->capacity = UINT64_MAX;
    disk->descriptors_max = SIM_DISK_DESCRIPTORS_MAX;
    return disk;
}

static void free_directory(struct sim_directory *directory)
{
    free(directory->names.entries);
    free(directory->durable.entries);
    free(directory->changes);
    free(directory->path);
    free(directory);
}

void sim_disk_destroy(struct sim_disk *disk)
{
    ps_assert(disk->job_count == 0);
    while (disk->files != NULL) {
        struct sim_file *file = disk->files;
        disk->files = file->next;
        sim_file_free(file);
    }
    while (disk->directories != NULL) {
        struct sim_directory *directory = disk->directories;
        disk->directories = directory->next;
        free_directory(directory);
    }
    free(disk->jobs);
    free(disk);
}

bool sim_disk_draw(struct sim_disk *disk, uint32_t chance)
{
    return chance != 0 && random_chance(&disk->random, chance, ALWAYS);
}

/* Names. */

static struct sim_name *find_name(const struct sim_names *names, const char *text)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (strcmp(names->entries[i].text, text) == 0)
            return &names->entries[i];
    }
    return NULL;
}

static void remove_name(struct sim_names *names, const char *text)
{
    struct sim_name *name = find_name(names, text);
    if (name != NULL)
        *name = names->entries[--names->count];
}

static void set_name(struct sim_names *names, const char *text, struct sim_file *file)
{
    struct sim_name *name = find_name(names, text);
    if (name == NULL) {
        if (names->count == names->capacity) {
            names->capacity = names->capacity == 0 ? 16 : names->capacity * 2;
            names->entries = realloc(names->entries, names->capacity * sizeof(*names->entries));
            ps_assert(names->entries != NULL);
        }
        name = &names->entries[names->count++];
        strcpy(name->text, text);
    }
    name->file = file;
}

static void copy_names(struct sim_names *to, const struct sim_names *from)
{
    to->count = 0;
    for (uint32_t i = 0; i < from->count; i++)
        set_name(to, from->entries[i].text, from->entries[i].file);
}

static void apply_change(struct sim_names *names, const struct sim_change *change)
{
    const struct sim_name *old = find_name(names, change->from);
    if (old != NULL && old->file == change->file)
        remove_name(names, change->from);
    if (change->to[0] != '\0')
        set_name(names, change->to, change->file);
}

/* Does it now, and keeps it for the directory's next sync. "" is no name. */
static void change_names(struct sim_directory *directory, const char *from, const char *to,
                         struct sim_file *file)
{
    if (directory->change_count == directory->change_capacity) {
        directory->change_capacity =
            directory->change_capacity == 0 ? 16 : directory->change_capacity * 2;
        directory->changes =
            realloc(directory->changes, directory->change_capacity * sizeof(struct sim_change));
        ps_assert(directory->changes != NULL);
    }
    struct sim_change *change = &directory->changes[directory->change_count++];
    *change = (struct sim_change){.file = file};
    strcpy(change->from, from);
    strcpy(change->to, to);
    apply_change(&directory->names, change);
}

static bool is_named(const struct sim_names *names, const struct sim_file *file)
{
    for (uint32_t i = 0; i < names->count; i++) {
        if (names->entries[i].file == file)
            return true;
    }
    return false;
}

static bool is_reachable(const struct sim_disk *disk, const struct sim_file *file)
{
    if (file->open_count != 0)
        return true;
    for (const struct sim_directory *at = disk->directories; at != NULL; at = at->next) {
        if (is_named(&at->names, file) || is_named(&at->durable, file))
            return true;
        for (uint32_t i = 0; i < at->change_count; i++) {
            if (at->changes[i].file == file)
                return true;
        }
    }
    return false;
}

void sim_disk_collect(struct sim_disk *disk)
{
    struct sim_file **link = &disk->files;
    while (*link != NULL) {
        struct sim_file *file = *link;
        if (is_reachable(disk, file)) {
            link = &file->next;
            continue;
        }
        *link = file->next;
        sim_file_free(file);
    }
}

static bool has_suffix(const char *text, const char *suffix)
{
    size_t bytes = strlen(text);
    size_t suffix_bytes = strlen(suffix);
    return bytes >= suffix_bytes && strcmp(text + bytes - suffix_bytes, suffix) == 0;
}

static uint32_t class_of_name(const char *text)
{
    if (has_suffix(text, ".seg"))
        return SIM_DISK_JOURNAL;
    if (strncmp(text, "manifest", strlen("manifest")) == 0)
        return SIM_DISK_MANIFEST;
    if (strncmp(text, "numbers", strlen("numbers")) == 0)
        return SIM_DISK_NUMBERS;
    if (has_suffix(text, ".idx") || has_suffix(text, ".new"))
        return SIM_DISK_INDEX;
    return SIM_DISK_OTHER;
}

uint32_t sim_disk_class_of(const struct sim_disk *disk, const struct sim_file *file)
{
    for (const struct sim_directory *at = disk->directories; at != NULL; at = at->next) {
        for (uint32_t i = 0; i < at->names.count; i++) {
            if (at->names.entries[i].file == file)
                return class_of_name(at->names.entries[i].text);
        }
    }
    return SIM_DISK_OTHER;
}

/* Descriptors. */

static int open_descriptor(struct sim_disk *disk, const struct sim_descriptor *descriptor,
                           int *out_fd)
{
    uint32_t index = 0;
    while (index < disk->descriptors_max && disk->descriptors[index].kind != SIM_DESCRIPTOR_FREE)
        index++;
    if (index == disk->descriptors_max)
        return -EMFILE;
    disk->descriptors[index] = *descriptor;
    if (descriptor->file != NULL)
        descriptor->file->open_count++;
    *out_fd = (int)index + SIM_DISK_FIRST_DESCRIPTOR;
    return 0;
}

struct sim_descriptor *sim_disk_descriptor(struct sim_disk *disk, int fd)
{
    ps_assert(fd >= SIM_DISK_FIRST_DESCRIPTOR &&
              fd < SIM_DISK_FIRST_DESCRIPTOR + SIM_DISK_DESCRIPTORS_MAX);
    struct sim_descriptor *descriptor = &disk->descriptors[fd - SIM_DISK_FIRST_DESCRIPTOR];
    ps_assert(descriptor->kind != SIM_DESCRIPTOR_FREE);
    return descriptor;
}

static void crash(struct sim_disk *disk, enum sim_disk_crash_kind kind);

/* Called by every call of core/disk.h. */
static void count_call(struct sim_disk *disk)
{
    if (disk->calls_to_crash != 0 && --disk->calls_to_crash == 0)
        crash(disk, disk->crash_to_come);
}

/* The file of a descriptor; NULL: the machine is down, or was since it was opened. */
static struct sim_file *file_of(struct sim_disk *disk, int fd, bool is_write)
{
    struct sim_descriptor *descriptor = sim_disk_descriptor(disk, fd);
    count_call(disk);
    if (disk->is_down || descriptor->kind == SIM_DESCRIPTOR_DEAD)
        return NULL;
    ps_assert(descriptor->kind == SIM_DESCRIPTOR_FILE);
    ps_assert(!is_write || descriptor->is_writable);
    return descriptor->file;
}

static struct sim_directory *directory_of(struct sim_disk *disk, int fd)
{
    struct sim_descriptor *descriptor = sim_disk_descriptor(disk, fd);
    count_call(disk);
    if (disk->is_down || descriptor->kind == SIM_DESCRIPTOR_DEAD)
        return NULL;
    ps_assert(descriptor->kind == SIM_DESCRIPTOR_DIRECTORY);
    return descriptor->directory;
}

void sim_disk_set_descriptors(struct sim_world *world, uint32_t max)
{
    ps_assert(max <= SIM_DISK_DESCRIPTORS_MAX);
    sim_world_disk(world)->descriptors_max = max;
}

uint32_t sim_disk_open_count(const struct sim_world *world)
{
    const struct sim_disk *disk = sim_world_disk(world);
    uint32_t count = 0;
    for (uint32_t i = 0; i < SIM_DISK_DESCRIPTORS_MAX; i++)
        count += disk->descriptors[i].kind != SIM_DESCRIPTOR_FREE;
    return count;
}

void disk_close(int fd)
{
    struct sim_disk *disk = current_disk();
    struct sim_descriptor *descriptor = sim_disk_descriptor(disk, fd);
    ps_assert(descriptor->requests == 0);
    if (descriptor->kind == SIM_DESCRIPTOR_LOCK)
        descriptor->directory->is_locked = false;
    if (descriptor->file != NULL)
        descriptor->file->open_count--;
    *descriptor = (struct sim_descriptor){0};
    sim_disk_collect(disk);
}

/* Faults. */

bool sim_disk_is_failing(struct sim_disk *disk, enum sim_disk_operation operation,
                         uint32_t class_bit)
{
    const uint32_t chances[SIM_DISK_OPERATIONS] = {
        [SIM_DISK_READ] = disk->faults.read_error,
        [SIM_DISK_WRITE] = disk->faults.write_error,
        [SIM_DISK_SYNC] = disk->faults.sync_error,
    };
    struct sim_disk_armed *armed = &disk->armed[operation];
    bool is_armed = armed->nth != 0 && (armed->classes & class_bit) != 0 && --armed->nth == 0;
    bool is_limited =
        disk->faults.error_classes != 0 && (disk->faults.error_classes & class_bit) == 0;
    bool is_failing = is_armed || (!is_limited && sim_disk_draw(disk, chances[operation]));
    disk->counters.errors += is_failing;
    return is_failing;
}

void sim_disk_set_faults(struct sim_world *world, const struct sim_disk_faults *faults)
{
    sim_world_disk(world)->faults = *faults;
}

const struct sim_disk_faults *sim_disk_faults(const struct sim_world *world)
{
    return &sim_world_disk(world)->faults;
}

void sim_disk_fail(struct sim_world *world, enum sim_disk_operation operation, uint32_t classes,
                   uint64_t nth)
{
    sim_world_disk(world)->armed[operation] =
        (struct sim_disk_armed){.nth = nth, .classes = classes};
}

void sim_disk_set_capacity(struct sim_world *world, uint64_t bytes)
{
    sim_world_disk(world)->capacity = bytes;
}

/* A removed file that is open still has its room; one that only a name to be lost leads to has not.
 */
static uint64_t used_bytes(const struct sim_disk *disk)
{
    uint64_t used = 0;
    for (const struct sim_file *file = disk->files; file != NULL; file = file->next) {
        bool is_there = file->open_count != 0;
        for (const struct sim_directory *at = disk->directories; at != NULL; at = at->next)
            is_there |= is_named(&at->names, file);
        used += is_there ? file->size : 0;
    }
    return used;
}

static uint64_t free_bytes(const struct sim_disk *disk)
{
    uint64_t used = used_bytes(disk);
    return disk->capacity > used ? disk->capacity - used : 0;
}

uint64_t sim_disk_used_bytes(const struct sim_world *world)
{
    return used_bytes(sim_world_disk(world));
}

const struct sim_disk_counters *sim_disk_counters(const struct sim_world *world)
{
    return &sim_world_disk(world)->counters;
}

bool sim_disk_flip_bit(struct sim_world *world, const char *name, uint64_t offset, uint32_t bit)
{
    const struct sim_disk *disk = sim_world_disk(world);
    for (const struct sim_directory *at = disk->directories; at != NULL; at = at->next) {
        const struct sim_name *found = find_name(&at->names, name);
        if (found == NULL || offset >= found->file->size)
            continue;
        sim_file_flip(found->file, offset, bit);
        return true;
    }
    return false;
}

/* Files. */

int64_t sim_disk_read_file(struct sim_disk *disk, struct sim_file *file, void *buffer, size_t bytes,
                           uint64_t offset)
{
    disk->counters.reads++;
    if (sim_disk_is_failing(disk, SIM_DISK_READ, sim_disk_class_of(disk, file)))
        return -EIO;
    uint64_t there = file->size > offset ? file->size - offset : 0;
    uint64_t count = ps_min_u64(bytes, there);
    sim_file_read(file, buffer, (size_t)count, offset);
    return (int64_t)count;
}

int64_t sim_disk_write_file(struct sim_disk *disk, struct sim_file *file, const void *buffer,
                            size_t bytes, uint64_t offset)
{
    disk->counters.writes++;
    uint64_t count = bytes;
    int64_t result = (int64_t)bytes;
    if (sim_disk_is_failing(disk, SIM_DISK_WRITE, sim_disk_class_of(disk, file))) {
        uint64_t sectors = random_below(&disk->random, bytes / SIM_DISK_SECTOR_BYTES + 1);
        count = sectors * SIM_DISK_SECTOR_BYTES;
        result = -EIO;
    }
    uint64_t end_max = file->size + ps_min_u64(free_bytes(disk), UINT64_MAX - file->size);
    if (offset + count > end_max) {
        count = offset < end_max ? end_max - offset : 0;
        result = -ENOSPC;
        disk->counters.full++;
    }
    if (count != 0)
        sim_file_write(disk, file, buffer, (size_t)count, offset);
    return result;
}

struct sim_sync *sim_disk_begin_sync(struct sim_disk *disk, struct sim_file *file, uint64_t from,
                                     uint64_t to)
{
    uint32_t class_bit = sim_disk_class_of(disk, file);
    if ((disk->faults.syncs_left_out & class_bit) != 0) {
        disk->counters.syncs_left_out++;
        return NULL;
    }
    disk->counters.syncs++;
    bool is_failing = sim_disk_is_failing(disk, SIM_DISK_SYNC, class_bit);
    return sim_file_begin_sync(file, from, to, is_failing);
}

int sim_disk_end_sync(struct sim_disk *disk, struct sim_file *file, struct sim_sync *sync)
{
    if (sync == NULL)
        return 0;
    int result = sync->is_failing ? -EIO : 0;
    sim_file_end_sync(disk, file, sync);
    return result;
}

int disk_open(int directory_fd, const char *name, enum disk_open_mode mode, int *out_fd)
{
    struct sim_disk *disk = current_disk();
    struct sim_directory *directory = directory_of(disk, directory_fd);
    if (directory == NULL)
        return -EIO;
    ps_assert(name[0] != '\0' && strlen(name) <= DISK_NAME_BYTES_MAX && strchr(name, '/') == NULL);
    const struct sim_name *found = find_name(&directory->names, name);
    bool may_create = mode == DISK_OPEN_CREATE || mode == DISK_OPEN_CREATE_NEW;
    if (found != NULL && mode == DISK_OPEN_CREATE_NEW)
        return -EEXIST;
    if (found == NULL && !may_create)
        return -ENOENT;
    struct sim_file *file = found != NULL ? found->file : sim_alloc(sizeof(*file));
    const struct sim_descriptor descriptor = {
        .kind = SIM_DESCRIPTOR_FILE,
        .file = file,
        .is_writable = mode != DISK_OPEN_READ,
    };
    int status = open_descriptor(disk, &descriptor, out_fd);
    if (found != NULL)
        return status;
    if (status < 0) {
        free(file);
        return status;
    }
    struct sim_file **link = &disk->files;
    while (*link != NULL)
        link = &(*link)->next;
    *link = file;
    change_names(directory, "", name, file);
    return 0;
}

int disk_size(int fd, uint64_t *out_bytes)
{
    const struct sim_file *file = file_of(current_disk(), fd, false);
    if (file == NULL)
        return -EIO;
    *out_bytes = file->size;
    return 0;
}

int disk_preallocate(int fd, uint64_t bytes)
{
    struct sim_disk *disk = current_disk();
    struct sim_file *file = file_of(disk, fd, true);
    if (file == NULL)
        return -EIO;
    if (bytes <= file->size)
        return 0;
    disk->counters.writes++;
    if (sim_disk_is_failing(disk, SIM_DISK_WRITE, sim_disk_class_of(disk, file)))
        return -EIO;
    uint64_t more = ps_min_u64(bytes - file->size, free_bytes(disk));
    bool is_whole = more == bytes - file->size;
    sim_file_resize(disk, file, file->size + more);
    disk->counters.full += !is_whole;
    return is_whole ? 0 : -ENOSPC;
}

int disk_read(int fd, void *buffer, size_t bytes, uint64_t offset, size_t *out_bytes)
{
    struct sim_disk *disk = current_disk();
    struct sim_file *file = file_of(disk, fd, false);
    int64_t result = file == NULL ? -EIO : sim_disk_read_file(disk, file, buffer, bytes, offset);
    if (result < 0)
        return (int)result;
    *out_bytes = (size_t)result;
    return 0;
}

int disk_write(int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    struct sim_disk *disk = current_disk();
    struct sim_file *file = file_of(disk, fd, true);
    int64_t result = file == NULL ? -EIO : sim_disk_write_file(disk, file, buffer, bytes, offset);
    return result < 0 ? (int)result : 0;
}

int disk_sync(int fd)
{
    struct sim_disk *disk = current_disk();
    struct sim_file *file = file_of(disk, fd, false);
    if (file == NULL)
        return -EIO;
    return sim_disk_end_sync(disk, file, sim_disk_begin_sync(disk, file, 0, UINT64_MAX));
}

int disk_truncate(int fd, uint64_t bytes)
{
    struct sim_disk *disk = current_disk();
    struct sim_file *file = file_of(disk, fd, true);
    if (file == NULL)
        return -EIO;
    if (bytes > file->size)
        return -EINVAL;
    sim_file_resize(disk, file, bytes);
    return 0;
}

/* Directories. */

int disk_open_directory(const char *path, int *out_directory)
{
    struct sim_disk *disk = current_disk();
    count_call(disk);
    if (disk->is_down)
        return -EIO;
    struct sim_directory **link = &disk->directories;
    while (*link != NULL && strcmp((*link)->path, path) != 0)
        link = &(*link)->next;
    if (*link == NULL) {
        *link = sim_alloc(sizeof(**link));
        (*link)->path = strdup(path);
        ps_assert((*link)->path != NULL);
    }
    const struct sim_descriptor descriptor = {
        .kind = SIM_DESCRIPTOR_DIRECTORY,
        .directory = *link,
    };
    return open_descriptor(disk, &descriptor, out_directory);
}

int disk_lock(int directory_fd, int *out_lock)
{
    struct sim_disk *disk = current_disk();
    struct sim_directory *directory = directory_of(disk, directory_fd);
    if (directory == NULL)
        return -EIO;
    if (directory->is_locked)
        return -EWOULDBLOCK;
    const struct sim_descriptor descriptor = {
        .kind = SIM_DESCRIPTOR_LOCK,
        .directory = directory,
    };
    int status = open_descriptor(disk, &descriptor, out_lock);
    directory->is_locked = status == 0;
    return status;
}

int disk_list(int directory_fd, disk_on_name *on_name, void *context)
{
    struct sim_disk *disk = current_disk();
    struct sim_directory *directory = directory_of(disk, directory_fd);
    if (directory == NULL)
        return -EIO;
    /* A copy, since the callee may remove; in an order that is drawn. */
    struct sim_names names = {0};
    copy_names(&names, &directory->names);
    int status = 0;
    while (names.count != 0 && status == 0) {
        uint32_t index = (uint32_t)random_below(&disk->random, names.count);
        struct sim_name name = names.entries[index];
        names.entries[index] = names.entries[--names.count];
        status = on_name(context, name.text);
    }
    free(names.entries);
    return status;
}

int disk_remove(int directory_fd, const char *name)
{
    struct sim_disk *disk = current_disk();
    struct sim_directory *directory = directory_of(disk, directory_fd);
    if (directory == NULL)
        return -EIO;
    const struct sim_name *found = find_name(&directory->names, name);
    if (found == NULL)
        return -ENOENT;
    change_names(directory, name, "", found->file);
    return 0;
}

int disk_rename(int directory_fd, const char *from, const char *to)
{
    struct sim_disk *disk = current_disk();
    struct sim_directory *directory = directory_of(disk, directory_fd);
    if (directory == NULL)
        return -EIO;
    ps_assert(to[0] != '\0' && strlen(to) <= DISK_NAME_BYTES_MAX && strchr(to, '/') == NULL);
    const struct sim_name *found = find_name(&directory->names, from);
    if (found == NULL)
        return -ENOENT;
    if (strcmp(from, to) != 0)
        change_names(directory, from, to, found->file);
    return 0;
}

int disk_sync_directory(int directory_fd)
{
    struct sim_disk *disk = current_disk();
    struct sim_directory *directory = directory_of(disk, directory_fd);
    if (directory == NULL)
        return -EIO;
    if ((disk->faults.syncs_left_out & SIM_DISK_DIRECTORY) != 0) {
        disk->counters.syncs_left_out++;
        return 0;
    }
    disk->counters.syncs++;
    if (sim_disk_is_failing(disk, SIM_DISK_SYNC, SIM_DISK_DIRECTORY))
        return -EIO;
    copy_names(&directory->durable, &directory->names);
    directory->change_count = 0;
    sim_disk_collect(disk);
    return 0;
}

int disk_free_bytes(int directory_fd, uint64_t *out_bytes)
{
    struct sim_disk *disk = current_disk();
    if (directory_of(disk, directory_fd) == NULL)
        return -EIO;
    *out_bytes = free_bytes(disk);
    return 0;
}

/* Crashes. */

static void lose_names(struct sim_disk *disk, struct sim_directory *directory, uint32_t keep)
{
    for (uint32_t i = 0; i < directory->change_count; i++) {
        if (sim_disk_draw(disk, keep))
            apply_change(&directory->durable, &directory->changes[i]);
        else
            disk->counters.names_lost++;
    }
    directory->change_count = 0;
    copy_names(&directory->names, &directory->durable);
}

static void crash(struct sim_disk *disk, enum sim_disk_crash_kind kind)
{
    /* Now and then nothing or everything is lost, or nearly so: each is a state of its own. */
    static const uint32_t chances[] = {0, ALWAYS / 16, ALWAYS / 2, ALWAYS - ALWAYS / 16, ALWAYS};
    ps_assert(!disk->is_down);
    disk->calls_to_crash = 0;
    disk->counters.crashes++;
    sim_disk_tear_jobs(disk);
    disk->is_down = true;
    for (uint32_t i = 0; i < SIM_DISK_DESCRIPTORS_MAX; i++) {
        struct sim_descriptor *descriptor = &disk->descriptors[i];
        if (descriptor->kind == SIM_DESCRIPTOR_FREE)
            continue;
        if (descriptor->kind == SIM_DESCRIPTOR_LOCK)
            descriptor->directory->is_locked = false;
        if (descriptor->file != NULL)
            descriptor->file->open_count--;
        *descriptor = (struct sim_descriptor){.kind = SIM_DESCRIPTOR_DEAD};
    }
    uint32_t keep = chances[random_below(&disk->random, ps_array_count(chances))];
    uint32_t keep_names = chances[random_below(&disk->random, ps_array_count(chances))];
    for (struct sim_file *file = disk->files; file != NULL; file = file->next) {
        if (kind == SIM_DISK_CRASH_PROCESS)
            sim_file_on_process_death(disk, file);
        else
            sim_file_on_power_loss(disk, file, keep);
    }
    for (struct sim_directory *at = disk->directories; at != NULL; at = at->next) {
        if (kind == SIM_DISK_CRASH_POWER)
            lose_names(disk, at, keep_names);
    }
    sim_disk_collect(disk);
}

void sim_disk_crash(struct sim_world *world, enum sim_disk_crash_kind kind)
{
    crash(sim_world_disk(world), kind);
}

void sim_disk_crash_after(struct sim_world *world, enum sim_disk_crash_kind kind, uint64_t nth)
{
    struct sim_disk *disk = sim_world_disk(world);
    disk->crash_to_come = kind;
    disk->calls_to_crash = nth;
}

bool sim_disk_is_down(const struct sim_world *world)
{
    return sim_world_disk(world)->is_down;
}

void sim_disk_restart(struct sim_world *world)
{
    struct sim_disk *disk = sim_world_disk(world);
    ps_assert(disk->is_down);
    for (uint32_t i = 0; i < SIM_DISK_DESCRIPTORS_MAX; i++)
        disk->descriptors[i] = (struct sim_descriptor){0};
    disk->is_down = false;
}
