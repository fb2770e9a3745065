/*
 * The content of a simulated file, as written and as durable; see disk_sim.h. A chunk's dirty bit
 * says that a sector was written since a sync took it. A clean sector whose two copies differ is
 * under way in a sync, or was lost by one that failed.
 */
#include "disk_sim_internal.h"

#include <stdlib.h>

#include "core/base.h"

enum { KEEP_ALL = 65536, HALF = 65536 / 2, QUARTER = 65536 / 4 };

static void *allocate(size_t bytes)
{
    void *memory = calloc(1, bytes);
    ps_assert(memory != NULL);
    return memory;
}

static struct sim_chunk *find_chunk(const struct sim_file *file, uint64_t offset)
{
    uint64_t index = offset / SIM_CHUNK_BYTES;
    return index < file->chunk_capacity ? file->chunks[index] : NULL;
}

static struct sim_chunk *make_chunk(struct sim_file *file, uint64_t offset)
{
    uint64_t index = offset / SIM_CHUNK_BYTES;
    ps_assert(index < UINT32_MAX / 2);
    if (index >= file->chunk_capacity) {
        uint32_t capacity = file->chunk_capacity == 0 ? 16 : file->chunk_capacity;
        while (capacity <= index)
            capacity *= 2;
        struct sim_chunk **grown = allocate(capacity * sizeof(struct sim_chunk *));
        for (uint32_t i = 0; i < file->chunk_capacity; i++)
            grown[i] = file->chunks[i];
        free(file->chunks);
        file->chunks = grown;
        file->chunk_capacity = capacity;
    }
    if (file->chunks[index] == NULL)
        file->chunks[index] = allocate(sizeof(struct sim_chunk));
    return file->chunks[index];
}

static unsigned char *sector_of(unsigned char *bytes, uint32_t sector)
{
    return bytes + sector * SIM_DISK_SECTOR_BYTES;
}

static void make_durable(struct sim_chunk *chunk, uint32_t sector, const unsigned char *bytes)
{
    memcpy(sector_of(chunk->durable, sector), bytes, SIM_DISK_SECTOR_BYTES);
}

static bool differs(struct sim_chunk *chunk, uint32_t sector)
{
    return memcmp(sector_of(chunk->durable, sector), sector_of(chunk->written, sector),
                  SIM_DISK_SECTOR_BYTES) != 0;
}

void sim_file_read(const struct sim_file *file, void *buffer, size_t bytes, uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        size_t at = (size_t)((offset + done) % SIM_CHUNK_BYTES);
        size_t piece = (size_t)ps_min_u64(bytes - done, SIM_CHUNK_BYTES - at);
        const struct sim_chunk *chunk = find_chunk(file, offset + done);
        if (chunk == NULL)
            memset((char *)buffer + done, 0, piece);
        else
            memcpy((char *)buffer + done, chunk->written + at, piece);
        done += piece;
    }
}

/* A piece of one sector. What is overwritten may have reached the disk of itself before. */
static void write_sector(struct sim_disk *disk, struct sim_chunk *chunk, size_t at,
                         const void *bytes, size_t count)
{
    uint32_t sector = (uint32_t)(at / SIM_DISK_SECTOR_BYTES);
    uint8_t bit = (uint8_t)(1U << sector);
    if ((chunk->dirty & bit) != 0 && sim_disk_draw(disk, QUARTER))
        make_durable(chunk, sector, sector_of(chunk->written, sector));
    memcpy(chunk->written + at, bytes, count);
    chunk->dirty |= bit;
}

void sim_file_write(struct sim_disk *disk, struct sim_file *file, const void *buffer, size_t bytes,
                    uint64_t offset)
{
    for (size_t done = 0; done < bytes;) {
        uint64_t at = offset + done;
        size_t piece =
            (size_t)ps_min_u64(bytes - done, SIM_DISK_SECTOR_BYTES - at % SIM_DISK_SECTOR_BYTES);
        write_sector(disk, make_chunk(file, at), (size_t)(at % SIM_CHUNK_BYTES),
                     (const char *)buffer + done, piece);
        done += piece;
    }
    file->size = ps_max_u64(file->size, offset + bytes);
}

/* What is cut off reads as zeros when the file grows again. */
static void zero_tail(struct sim_disk *disk, struct sim_file *file, uint64_t size)
{
    static const unsigned char zeros[SIM_DISK_SECTOR_BYTES];
    for (uint64_t at = size; at < file->size;) {
        size_t piece =
            (size_t)ps_min_u64(file->size - at, SIM_DISK_SECTOR_BYTES - at % SIM_DISK_SECTOR_BYTES);
        struct sim_chunk *chunk = find_chunk(file, at);
        if (chunk != NULL)
            write_sector(disk, chunk, (size_t)(at % SIM_CHUNK_BYTES), zeros, piece);
        at += piece;
    }
}

void sim_file_resize(struct sim_disk *disk, struct sim_file *file, uint64_t size)
{
    if (size < file->size)
        zero_tail(disk, file, size);
    file->size = size;
}

/* The sectors of a chunk, of those in `sectors`, that have a byte between `from` and `to`. */
static uint8_t sectors_within(uint32_t index, uint8_t sectors, uint64_t from, uint64_t to)
{
    uint8_t within = 0;
    for (uint32_t sector = 0; sector < SIM_CHUNK_SECTORS; sector++) {
        uint64_t at = (uint64_t)index * SIM_CHUNK_BYTES + sector * SIM_DISK_SECTOR_BYTES;
        if (at < to && at + SIM_DISK_SECTOR_BYTES > from)
            within |= (uint8_t)(sectors & (1U << sector));
    }
    return within;
}

static void take_chunk(struct sim_sync *sync, uint32_t index, struct sim_chunk *chunk)
{
    uint8_t sectors = sectors_within(index, chunk->dirty, sync->from, sync->to);
    if (sectors == 0)
        return;
    struct sim_taken *taken = &sync->taken[sync->taken_count++];
    taken->chunk = index;
    taken->sectors = sectors;
    memcpy(taken->bytes, chunk->written, SIM_CHUNK_BYTES);
    chunk->dirty &= (uint8_t)~sectors;
}

struct sim_sync *sim_file_begin_sync(struct sim_file *file, uint64_t from, uint64_t to,
                                     bool is_failing)
{
    struct sim_sync *sync = allocate(sizeof(*sync));
    *sync = (struct sim_sync){
        .from = from,
        .to = to,
        .size = file->size,
        .is_failing = is_failing,
    };
    uint32_t dirty = 0;
    for (uint32_t i = 0; i < file->chunk_capacity; i++)
        dirty += file->chunks[i] != NULL && file->chunks[i]->dirty != 0;
    sync->taken = allocate((dirty + 1) * sizeof(*sync->taken));
    for (uint32_t i = 0; i < file->chunk_capacity; i++) {
        if (file->chunks[i] != NULL)
            take_chunk(sync, i, file->chunks[i]);
    }
    struct sim_sync **link = &file->syncs;
    while (*link != NULL)
        link = &(*link)->next;
    *link = sync;
    return sync;
}

/* One sector that a sync took reaches the disk, or with a failing sync perhaps not. */
static void land_sector(struct sim_disk *disk, struct sim_chunk *chunk,
                        const struct sim_taken *taken, uint32_t sector, uint32_t keep)
{
    const unsigned char *bytes = taken->bytes + sector * SIM_DISK_SECTOR_BYTES;
    if (keep == KEEP_ALL || sim_disk_draw(disk, keep)) {
        make_durable(chunk, sector, bytes);
        return;
    }
    disk->counters.sectors_lost++;
    uint8_t bit = (uint8_t)(1U << sector);
    bool is_current = (chunk->dirty & bit) == 0 &&
                      memcmp(sector_of(chunk->written, sector), bytes, SIM_DISK_SECTOR_BYTES) == 0;
    if (is_current && sim_disk_draw(disk, QUARTER)) /* out of the cache already */
        memcpy(sector_of(chunk->written, sector), sector_of(chunk->durable, sector),
               SIM_DISK_SECTOR_BYTES);
}

/* What a sync took reaches the disk, as far as it lies between `from` and `to`. */
static void land_sectors(struct sim_disk *disk, struct sim_file *file, struct sim_sync *sync,
                         uint64_t from, uint64_t to, uint32_t keep)
{
    for (uint32_t i = 0; i < sync->taken_count; i++) {
        struct sim_taken *taken = &sync->taken[i];
        uint8_t landing = sectors_within(taken->chunk, taken->sectors, from, to);
        taken->sectors &= (uint8_t)~landing;
        for (uint32_t sector = 0; sector < SIM_CHUNK_SECTORS; sector++) {
            if ((landing & (1U << sector)) != 0)
                land_sector(disk, file->chunks[taken->chunk], taken, sector, keep);
        }
    }
}

static void land_size(struct sim_disk *disk, struct sim_file *file, const struct sim_sync *sync,
                      uint32_t keep)
{
    if (!sync->is_size_over && (keep == KEEP_ALL || sim_disk_draw(disk, keep)))
        file->durable_size = sync->size;
}

static void forget_sync(struct sim_file *file, struct sim_sync *sync)
{
    struct sim_sync **link = &file->syncs;
    while (*link != sync)
        link = &(*link)->next;
    *link = sync->next;
    free(sync->taken);
    free(sync);
}

void sim_file_end_sync(struct sim_disk *disk, struct sim_file *file, struct sim_sync *sync)
{
    /* A sync waits for what earlier ones have under way of the same bytes. */
    for (struct sim_sync *at = file->syncs; at != sync->next; at = at->next) {
        land_sectors(disk, file, at, sync->from, sync->to, at->is_failing ? HALF : KEEP_ALL);
        at->is_size_over |= at != sync;
    }
    land_size(disk, file, sync, sync->is_failing ? HALF : KEEP_ALL);
    forget_sync(file, sync);
}

void sim_file_flip(struct sim_file *file, uint64_t offset, uint32_t bit)
{
    struct sim_chunk *chunk = make_chunk(file, offset);
    chunk->written[offset % SIM_CHUNK_BYTES] ^= (unsigned char)(1U << bit);
    chunk->durable[offset % SIM_CHUNK_BYTES] ^= (unsigned char)(1U << bit);
}

void sim_file_on_process_death(struct sim_disk *disk, struct sim_file *file)
{
    while (file->syncs != NULL) {
        struct sim_sync *sync = file->syncs;
        for (uint32_t i = 0; i < sync->taken_count && !sync->is_failing; i++)
            file->chunks[sync->taken[i].chunk]->dirty |= sync->taken[i].sectors;
        forget_sync(file, sync);
    }
    for (uint32_t i = 0; i < file->chunk_capacity; i++) {
        struct sim_chunk *chunk = file->chunks[i];
        for (uint32_t sector = 0; chunk != NULL && sector < SIM_CHUNK_SECTORS; sector++) {
            bool is_lost = (chunk->dirty & (1U << sector)) == 0 && differs(chunk, sector);
            if (is_lost && sim_disk_draw(disk, HALF))
                memcpy(sector_of(chunk->written, sector), sector_of(chunk->durable, sector),
                       SIM_DISK_SECTOR_BYTES);
        }
    }
}

static void settle_chunk(struct sim_disk *disk, struct sim_chunk *chunk, uint32_t keep)
{
    for (uint32_t sector = 0; sector < SIM_CHUNK_SECTORS; sector++) {
        if (!differs(chunk, sector))
            continue;
        bool is_dirty = (chunk->dirty & (1U << sector)) != 0;
        if (is_dirty && sim_disk_draw(disk, keep))
            make_durable(chunk, sector, sector_of(chunk->written, sector));
        else
            disk->counters.sectors_lost += is_dirty; /* a clean one was counted when it was lost */
        memcpy(sector_of(chunk->written, sector), sector_of(chunk->durable, sector),
               SIM_DISK_SECTOR_BYTES);
    }
    chunk->dirty = 0;
}

/* Beyond the end nothing is left, whatever stood there. */
static void clear_beyond(struct sim_file *file)
{
    for (uint32_t i = 0; i < file->chunk_capacity; i++) {
        struct sim_chunk *chunk = file->chunks[i];
        uint64_t begin = (uint64_t)i * SIM_CHUNK_BYTES;
        if (chunk == NULL || begin + SIM_CHUNK_BYTES <= file->size)
            continue;
        size_t kept = file->size > begin ? (size_t)(file->size - begin) : 0;
        memset(chunk->written + kept, 0, SIM_CHUNK_BYTES - kept);
        memset(chunk->durable + kept, 0, SIM_CHUNK_BYTES - kept);
    }
}

void sim_file_on_power_loss(struct sim_disk *disk, struct sim_file *file, uint32_t keep)
{
    while (file->syncs != NULL) {
        struct sim_sync *sync = file->syncs;
        uint32_t chance = sync->is_failing ? HALF : keep;
        land_sectors(disk, file, sync, 0, UINT64_MAX, chance);
        land_size(disk, file, sync, chance);
        forget_sync(file, sync);
    }
    for (uint32_t i = 0; i < file->chunk_capacity; i++) {
        if (file->chunks[i] != NULL)
            settle_chunk(disk, file->chunks[i], keep);
    }
    if (file->size != file->durable_size && sim_disk_draw(disk, keep))
        file->durable_size = file->size;
    file->size = file->durable_size;
    clear_beyond(file);
}

void sim_file_free(struct sim_file *file)
{
    while (file->syncs != NULL)
        forget_sync(file, file->syncs);
    for (uint32_t i = 0; i < file->chunk_capacity; i++)
        free(file->chunks[i]);
    free(file->chunks);
    free(file);
}
