/*
 * Manifest and numbers of a data directory; see log_files_internal.h. Stateless.
 */
#include "log_files_internal.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/wire_little.h"

enum {
    MANIFEST_FORMAT = 1,
    MANIFEST_BYTES_MAX = 512,
    NUMBERS_FORMAT = 2,
    NUMBERS_COMMIT_MAX = 2,
    AT_CHECKSUM = 0,
    AT_FORMAT = 8,
    AT_COMMIT = 12,
    AT_CLEAN = 13,
    AT_PARTITION_COUNT = 14,
    AT_RUN = 16,
    AT_JUMP_COUNT = 24,
    AT_PARTITIONS = 32,
    PARTITION_BYTES = 16,
    JUMP_BYTES = 24
};

/* The new file is written beside the old one, synced, and takes its name. */
static int replace(int directory, const char *name, const void *bytes, size_t count)
{
    char name_new[32];
    snprintf(name_new, sizeof(name_new), "%s.new", name);
    /* What an attempt before left is not written again: its sync may have failed. */
    int result = disk_remove(directory, name_new);
    int fd = -1;
    if (result == 0 || result == -ENOENT)
        result = disk_open(directory, name_new, DISK_OPEN_CREATE_NEW, &fd);
    if (result < 0)
        return result;
    result = disk_write(fd, bytes, count, 0);
    if (result == 0)
        result = disk_sync(fd);
    disk_close(fd);
    if (result < 0) {
        disk_remove(directory, name_new);
        return result;
    }
    result = disk_rename(directory, name_new, name);
    return result < 0 ? result : disk_sync_directory(directory);
}

/* At most bytes_max bytes; a file that is longer gives -EBADMSG. */
static int read_whole(int directory, const char *name, void *buffer, size_t bytes_max,
                      size_t *out_count)
{
    int fd = -1;
    int result = disk_open(directory, name, DISK_OPEN_READ, &fd);
    if (result < 0)
        return result;
    uint64_t bytes = 0;
    result = disk_size(fd, &bytes);
    if (result == 0 && bytes > bytes_max)
        result = -EBADMSG;
    if (result == 0)
        result = disk_read(fd, buffer, bytes_max, 0, out_count);
    disk_close(fd);
    return result;
}

static uint32_t print_manifest(const struct log_manifest *manifest, char *text)
{
    int used = snprintf(text, MANIFEST_BYTES_MAX,
                        "penstock-data %d\npartitions %u\npartition_levels %u\n"
                        "hash_seed %016" PRIx64 "\n",
                        MANIFEST_FORMAT, manifest->partition_count, manifest->partition_levels,
                        manifest->hash_seed);
    used += snprintf(text + used, MANIFEST_BYTES_MAX - (size_t)used, "checksum %016" PRIx64 "\n",
                     hash_bytes(text, (size_t)used));
    return (uint32_t)used;
}

int log_manifest_write(int directory, const struct log_manifest *manifest)
{
    char text[MANIFEST_BYTES_MAX];
    uint32_t count = print_manifest(manifest, text);
    return replace(directory, "manifest", text, count);
}

int log_manifest_read(int directory, struct log_manifest *out_manifest)
{
    char text[MANIFEST_BYTES_MAX + 1];
    size_t count = 0;
    int result = read_whole(directory, "manifest", text, MANIFEST_BYTES_MAX, &count);
    if (result < 0)
        return result;
    text[count] = '\0';
    unsigned format = 0;
    unsigned partitions = 0;
    unsigned levels = 0;
    uint64_t hash_seed = 0;
    if (sscanf(text, "penstock-data %u", &format) != 1)
        return -EBADMSG;
    if (format != MANIFEST_FORMAT)
        return -EPROTONOSUPPORT;
    if (sscanf(text, "penstock-data %u partitions %u partition_levels %u hash_seed %" SCNx64,
               &format, &partitions, &levels, &hash_seed) != 4 ||
        partitions == 0 || partitions > UINT16_MAX || levels > UINT16_MAX)
        return -EBADMSG;
    /* It is written in one way only, so what it says must print to the same bytes. */
    struct log_manifest manifest = {(uint16_t)partitions, (uint16_t)levels, hash_seed};
    char expected[MANIFEST_BYTES_MAX];
    if (print_manifest(&manifest, expected) != count || memcmp(expected, text, count) != 0)
        return -EBADMSG;
    *out_manifest = manifest;
    return 0;
}

struct log_numbers *log_numbers_create(struct heap *heap, uint16_t partition_count)
{
    struct log_numbers *numbers =
        heap_zalloc(heap, sizeof(*numbers) + (size_t)partition_count * sizeof(struct log_number));
    if (numbers != NULL)
        numbers->partition_count = partition_count;
    return numbers;
}

static size_t numbers_bytes(const struct log_numbers *numbers, uint32_t jump_count)
{
    return AT_PARTITIONS + (size_t)numbers->partition_count * PARTITION_BYTES +
           (size_t)jump_count * JUMP_BYTES;
}

static uint32_t count_jumps(const struct log_numbers *numbers)
{
    uint32_t count = 0;
    for (uint32_t index = 0; index < numbers->partition_count; index++)
        count += numbers->partitions[index].jumps.count;
    return count;
}

static uint64_t numbers_checksum(const unsigned char *bytes, size_t count)
{
    return hash_bytes(bytes + AT_FORMAT, count - AT_FORMAT);
}

int log_numbers_write(int directory, struct heap *heap, const struct log_numbers *numbers)
{
    uint32_t jump_count = count_jumps(numbers);
    size_t count = numbers_bytes(numbers, jump_count);
    unsigned char *bytes = heap_zalloc(heap, count);
    if (bytes == NULL)
        return -ENOMEM;
    wire_little_store_u32(bytes + AT_FORMAT, NUMBERS_FORMAT);
    bytes[AT_COMMIT] = numbers->commit;
    bytes[AT_CLEAN] = numbers->is_clean;
    wire_little_store_u16(bytes + AT_PARTITION_COUNT, numbers->partition_count);
    wire_little_store_u64(bytes + AT_RUN, numbers->run);
    wire_little_store_u32(bytes + AT_JUMP_COUNT, jump_count);
    unsigned char *at = bytes + AT_PARTITIONS;
    for (uint32_t index = 0; index < numbers->partition_count; index++, at += PARTITION_BYTES) {
        wire_little_store_u64(at, numbers->partitions[index].reserved);
        wire_little_store_u64(at + 8, numbers->partitions[index].floor);
    }
    for (uint32_t index = 0; index < numbers->partition_count; index++) {
        const struct log_jumps *jumps = &numbers->partitions[index].jumps;
        for (uint32_t jump = 0; jump < jumps->count; jump++, at += JUMP_BYTES) {
            wire_little_store_u32(at, index);
            wire_little_store_u64(at + 8, jumps->jumps[jump].from);
            wire_little_store_u64(at + 16, jumps->jumps[jump].to);
        }
    }
    wire_little_store_u64(bytes + AT_CHECKSUM, numbers_checksum(bytes, count));
    int result = replace(directory, "numbers", bytes, count);
    heap_free(heap, bytes);
    return result;
}

/* False: one of them cannot be. */
static bool jumps_decode(const unsigned char *at, uint32_t count, struct log_numbers *numbers)
{
    for (uint32_t index = 0; index < numbers->partition_count; index++)
        numbers->partitions[index].jumps.count = 0;
    for (uint32_t jump = 0; jump < count; jump++, at += JUMP_BYTES) {
        uint32_t index = wire_little_load_u32(at);
        if (index >= numbers->partition_count)
            return false;
        log_jumps_add(&numbers->partitions[index].jumps, wire_little_load_u64(at + 8),
                      wire_little_load_u64(at + 16));
    }
    return true;
}

/* 0, -EBADMSG or -EPROTONOSUPPORT. */
static int numbers_decode(const unsigned char *bytes, size_t count, struct log_numbers *numbers)
{
    if (count < AT_PARTITIONS ||
        wire_little_load_u64(bytes + AT_CHECKSUM) != numbers_checksum(bytes, count))
        return -EBADMSG;
    numbers->format = wire_little_load_u32(bytes + AT_FORMAT);
    if (numbers->format != NUMBERS_FORMAT)
        return -EPROTONOSUPPORT;
    uint32_t jump_count = wire_little_load_u32(bytes + AT_JUMP_COUNT);
    if (count != numbers_bytes(numbers, jump_count) ||
        wire_little_load_u16(bytes + AT_PARTITION_COUNT) != numbers->partition_count ||
        bytes[AT_COMMIT] > NUMBERS_COMMIT_MAX || bytes[AT_CLEAN] > 1)
        return -EBADMSG;
    numbers->commit = bytes[AT_COMMIT];
    numbers->is_clean = bytes[AT_CLEAN] == 1;
    numbers->run = wire_little_load_u64(bytes + AT_RUN);
    const unsigned char *at = bytes + AT_PARTITIONS;
    for (uint32_t index = 0; index < numbers->partition_count; index++, at += PARTITION_BYTES)
        numbers->partitions[index] = (struct log_number){.reserved = wire_little_load_u64(at),
                                                         .floor = wire_little_load_u64(at + 8)};
    return jumps_decode(at, jump_count, numbers) ? 0 : -EBADMSG;
}

int log_numbers_read(int directory, struct heap *heap, struct log_numbers *numbers)
{
    size_t bytes_max = numbers_bytes(numbers, (uint32_t)numbers->partition_count * LOG_JUMPS_MAX);
    unsigned char *bytes = heap_alloc(heap, bytes_max);
    if (bytes == NULL)
        return -ENOMEM;
    size_t count = 0;
    int result = read_whole(directory, "numbers", bytes, bytes_max, &count);
    if (result == 0)
        result = numbers_decode(bytes, count, numbers);
    heap_free(heap, bytes);
    return result;
}
