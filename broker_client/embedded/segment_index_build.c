/*
 * The index of a closed segment, as it is made; see segment_index_internal.h. Records are noted
 * with their up to four hashes as they come; at the end these are sorted, records of one hash
 * staying in their order, and all sections are written in one pass, postings and directory side by
 * side.
 *
 * Cost per record: some four hashes, three passes of a radix sort over 8 bytes for each; memory is
 * bounded by what the segment's bytes can hold of records (some 65 bytes each at the end).
 *
 * Owner and thread: the store's helper thread, or who opens the store. It blocks on the disk.
 */
#include <stddef.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "segment_index_format_internal.h"

enum {
    RADIX_BITS = 11,
    RADIX_SIZE = 1 << RADIX_BITS,
    RADIX_PASSES = 3,      /* cover 32 bits */
    WRITER_BLOCKS = 16,    /* of a section, written at once */
    CAPACITY_FIRST = 4096, /* of an array, in elements */
    ENTRIES_PER_RECORD = SEGMENT_INDEX_LEVELS + 1,
    NO_SLOT = UINT16_MAX
};

/* A hash under which a record stands. */
struct entry {
    uint32_t hash;
    uint32_t record;
};

struct place {
    uint32_t delta;  /* sequence - the partition's first */
    uint32_t offset; /* / SEGMENT_ALIGNMENT */
    uint32_t slot;   /* of the partition in the header */
};

struct id {
    struct record_id id;
    uint64_t publish_ms;
    uint32_t record;
};

/* An array that doubles. */
struct array {
    void *elements;
    uint32_t count;
    uint32_t capacity;
};

struct segment_index_builder {
    struct heap *heap;
    uint64_t hash_seed;
    uint64_t number;
    uint64_t seed;         /* of the segment */
    uint64_t record_bytes; /* of all partitions */
    uint32_t partition_count;
    uint32_t slot_count;                        /* partition numbers below have a slot or NO_SLOT */
    uint16_t *slots;                            /* by partition number */
    uint32_t *id_counts;                        /* by slot; all ids, not only the latest */
    struct segment_index_partition *partitions; /* by slot */
    uint32_t slot_capacity;                     /* of slots */
    uint32_t partition_capacity;                /* of id_counts and partitions */
    struct array places;
    struct array entries;
    struct array sorted; /* scratch, as large as entries */
    struct array ids;
};

/* Room for one more. */
static int array_grow(struct heap *heap, struct array *array, size_t element_bytes)
{
    if (array->count < array->capacity)
        return 0;
    uint32_t capacity = array->capacity == 0 ? CAPACITY_FIRST : array->capacity * 2;
    if (capacity < array->capacity)
        return -ENOMEM;
    void *elements = heap_realloc(heap, array->elements, capacity * element_bytes);
    if (elements == NULL)
        return -ENOMEM;
    array->elements = elements;
    array->capacity = capacity;
    return 0;
}

/* Room for the partitions of a header. */
static int reserve_partitions(struct segment_index_builder *builder, uint32_t partition_count,
                              uint32_t slot_count)
{
    struct heap *heap = builder->heap;
    if (slot_count > builder->slot_capacity) {
        uint16_t *slots = heap_realloc(heap, builder->slots, slot_count * sizeof(*slots));
        if (slots == NULL)
            return -ENOMEM;
        builder->slots = slots;
        builder->slot_capacity = slot_count;
    }
    if (partition_count > builder->partition_capacity) {
        uint32_t *id_counts =
            heap_realloc(heap, builder->id_counts, partition_count * sizeof(*id_counts));
        if (id_counts == NULL)
            return -ENOMEM;
        builder->id_counts = id_counts;
        struct segment_index_partition *partitions =
            heap_realloc(heap, builder->partitions, partition_count * sizeof(*partitions));
        if (partitions == NULL)
            return -ENOMEM;
        builder->partitions = partitions;
        builder->partition_capacity = partition_count;
    }
    return 0;
}

int segment_index_builder_reset(struct segment_index_builder *builder,
                                const struct segment_header *header,
                                const struct segment_partition *partitions)
{
    uint32_t count = header->partition_count;
    uint32_t slot_count = 1;
    for (uint32_t slot = 0; slot < count; slot++)
        if (partitions[slot].partition >= slot_count)
            slot_count = partitions[slot].partition + 1U;
    if (reserve_partitions(builder, count, slot_count) < 0)
        return -ENOMEM;
    builder->number = header->number;
    builder->seed = segment_seed(builder->hash_seed, header->number);
    builder->record_bytes = 0;
    builder->partition_count = count;
    builder->slot_count = slot_count;
    builder->places.count = builder->entries.count = builder->ids.count = 0;
    memset(builder->slots, 0xff, slot_count * sizeof(builder->slots[0])); /* NO_SLOT */
    for (uint32_t slot = 0; slot < count; slot++) {
        const struct segment_partition *of = &partitions[slot];
        builder->slots[of->partition] = (uint16_t)slot;
        builder->id_counts[slot] = 0;
        builder->partitions[slot] = (struct segment_index_partition){
            .partition = of->partition, .first = of->next, .next = of->next};
    }
    return 0;
}

struct segment_index_builder *
segment_index_builder_create(struct heap *heap, uint64_t hash_seed,
                             const struct segment_header *header,
                             const struct segment_partition *partitions)
{
    struct segment_index_builder *builder = heap_zalloc(heap, sizeof(*builder));
    if (builder == NULL)
        return NULL;
    builder->heap = heap;
    builder->hash_seed = hash_seed;
    if (segment_index_builder_reset(builder, header, partitions) < 0) {
        segment_index_builder_destroy(builder);
        return NULL;
    }
    return builder;
}

void segment_index_builder_destroy(struct segment_index_builder *builder)
{
    if (builder == NULL)
        return;
    struct heap *heap = builder->heap;
    heap_free(heap, builder->slots);
    heap_free(heap, builder->id_counts);
    heap_free(heap, builder->partitions);
    heap_free(heap, builder->places.elements);
    heap_free(heap, builder->entries.elements);
    heap_free(heap, builder->sorted.elements);
    heap_free(heap, builder->ids.elements);
    heap_free(heap, builder);
}

/* The hashes of a topic and of its prefixes. Result: how many. */
static uint32_t hash_topic(uint64_t hash_seed, const struct record_view *view, uint32_t *hashes)
{
    const unsigned char *topic = view->topic;
    uint32_t topic_bytes = view->topic_bytes;
    uint32_t count = 0;
    hashes[count++] = segment_index_hash(hash_seed, view->partition, 0, topic, topic_bytes);
    uint32_t position = 0;
    for (uint32_t levels = 1; levels <= SEGMENT_INDEX_LEVELS; levels++) {
        const unsigned char *slash = memchr(topic + position, '/', topic_bytes - position);
        uint32_t bytes = slash == NULL ? topic_bytes : (uint32_t)(slash - topic);
        hashes[count++] = segment_index_hash(hash_seed, view->partition, levels, topic, bytes);
        if (slash == NULL)
            break;
        position = bytes + 1;
    }
    return count;
}

static int add_id(struct segment_index_builder *builder, const struct record_view *view,
                  uint32_t slot, uint32_t record)
{
    if (record_id_is_zero(view->deduplication_id))
        return 0;
    if (array_grow(builder->heap, &builder->ids, sizeof(struct id)) < 0)
        return -ENOMEM;
    struct id *ids = builder->ids.elements;
    ids[builder->ids.count++] = (struct id){view->deduplication_id, view->publish_ms, record};
    builder->id_counts[slot]++;
    return 0;
}

int segment_index_builder_add(struct segment_index_builder *builder,
                              const struct segment_record *record)
{
    const struct record_view *view = &record->view;
    uint32_t slot =
        view->partition < builder->slot_count ? builder->slots[view->partition] : NO_SLOT;
    if (slot >= builder->partition_count)
        return -EBADMSG;
    struct segment_index_partition *of = &builder->partitions[slot];
    uint64_t first = of->records == 0 ? view->sequence : of->first;
    if (view->sequence < of->next || view->sequence - first > UINT32_MAX ||
        view->sequence == UINT64_MAX || record->offset % SEGMENT_ALIGNMENT != 0 ||
        record->offset / SEGMENT_ALIGNMENT > UINT32_MAX)
        return -EBADMSG;
    uint32_t hashes[ENTRIES_PER_RECORD];
    uint32_t hash_count = hash_topic(builder->hash_seed, view, hashes);
    if (array_grow(builder->heap, &builder->places, sizeof(struct place)) < 0)
        return -ENOMEM;
    uint32_t number = builder->places.count;
    for (uint32_t index = 0; index < hash_count; index++) {
        if (array_grow(builder->heap, &builder->entries, sizeof(struct entry)) < 0)
            return -ENOMEM;
        struct entry *entries = builder->entries.elements;
        entries[builder->entries.count++] = (struct entry){hashes[index], number};
    }
    if (add_id(builder, view, slot, number) < 0)
        return -ENOMEM;
    struct place *places = builder->places.elements;
    places[builder->places.count++] = (struct place){
        (uint32_t)(view->sequence - first), (uint32_t)(record->offset / SEGMENT_ALIGNMENT), slot};
    bool is_first = of->records == 0;
    uint64_t bytes = segment_padded(view->bytes);
    of->first = first;
    of->next = view->sequence + 1;
    of->records++;
    of->bytes += bytes;
    of->oldest_ms = is_first ? view->publish_ms : ps_min_u64(of->oldest_ms, view->publish_ms);
    of->newest_ms = ps_max_u64(of->newest_ms, view->publish_ms);
    builder->record_bytes += bytes;
    return 0;
}

const struct segment_index_partition *
segment_index_builder_partitions(const struct segment_index_builder *builder, uint32_t *out_count)
{
    *out_count = builder->partition_count;
    return builder->partitions;
}

/* Where each digit of each pass begins. */
static void count_digits(const struct entry *entries, uint32_t count,
                         uint32_t (*starts)[RADIX_SIZE])
{
    for (uint32_t index = 0; index < count; index++)
        for (uint32_t pass = 0; pass < RADIX_PASSES; pass++)
            starts[pass][entries[index].hash >> pass * RADIX_BITS & (RADIX_SIZE - 1)]++;
    for (uint32_t pass = 0; pass < RADIX_PASSES; pass++) {
        uint32_t sum = 0;
        for (uint32_t digit = 0; digit < RADIX_SIZE; digit++) {
            uint32_t here = starts[pass][digit];
            starts[pass][digit] = sum;
            sum += here;
        }
    }
}

/* Sorts by hash; equal ones stay in their order. The result is in builder->entries. */
static int sort_entries(struct segment_index_builder *builder)
{
    uint32_t count = builder->entries.count;
    if (builder->sorted.capacity < count) {
        size_t bytes = builder->entries.capacity * sizeof(struct entry);
        heap_free(builder->heap, builder->sorted.elements);
        builder->sorted.elements = heap_alloc(builder->heap, bytes);
        builder->sorted.capacity = builder->sorted.elements == NULL ? 0 : builder->entries.capacity;
    }
    uint32_t(*starts)[RADIX_SIZE] = heap_zalloc(builder->heap, RADIX_PASSES * sizeof(*starts));
    if (builder->sorted.capacity < count || starts == NULL) {
        heap_free(builder->heap, starts);
        return -ENOMEM;
    }
    count_digits(builder->entries.elements, count, starts);
    for (uint32_t pass = 0; pass < RADIX_PASSES; pass++) {
        const struct entry *from = builder->entries.elements;
        struct entry *to = builder->sorted.elements;
        for (uint32_t index = 0; index < count; index++)
            to[starts[pass][from[index].hash >> pass * RADIX_BITS & (RADIX_SIZE - 1)]++] =
                from[index];
        struct array swap = builder->entries;
        builder->entries = builder->sorted;
        builder->entries.count = count;
        builder->sorted = swap;
    }
    heap_free(builder->heap, starts);
    return 0;
}

/* Writes the blocks of one section, from its first on. */
struct section {
    int fd;
    uint64_t seed;  /* of the segment */
    uint32_t block; /* number of the first in the buffer */
    uint32_t full;  /* blocks of the buffer that are full */
    uint32_t used;  /* bytes of the one behind */
    int error;      /* the first one; nothing is written after it */
    unsigned char *buffer;
};

static int section_init(struct section *section, struct heap *heap, int fd, uint64_t seed,
                        uint32_t block)
{
    *section = (struct section){.fd = fd, .seed = seed, .block = block};
    section->buffer = heap_alloc(heap, WRITER_BLOCKS * SEGMENT_INDEX_BLOCK_BYTES);
    return section->buffer == NULL ? -ENOMEM : 0;
}

static void section_flush(struct section *section)
{
    if (section->error == 0 && section->full > 0)
        section->error = disk_write(section->fd, section->buffer,
                                    (size_t)section->full * SEGMENT_INDEX_BLOCK_BYTES,
                                    (uint64_t)section->block * SEGMENT_INDEX_BLOCK_BYTES);
    section->block += section->full;
    section->full = 0;
}

static void section_end_block(struct section *section)
{
    unsigned char *block = section->buffer + (size_t)section->full * SEGMENT_INDEX_BLOCK_BYTES;
    memset(block + section->used, 0, SEGMENT_INDEX_PAYLOAD_BYTES - section->used);
    segment_index_block_seal(section->seed, section->block + section->full, block);
    section->used = 0;
    if (++section->full == WRITER_BLOCKS)
        section_flush(section);
}

/* Room for the next entry, which is in one block. */
static unsigned char *section_room(struct section *section, uint32_t bytes)
{
    if (section->used + bytes > SEGMENT_INDEX_PAYLOAD_BYTES)
        section_end_block(section);
    unsigned char *room =
        section->buffer + (size_t)section->full * SEGMENT_INDEX_BLOCK_BYTES + section->used;
    section->used += bytes;
    return room;
}

/* Writes the rest. 0 or the first error. */
static int section_finish(struct section *section)
{
    if (section->used > 0)
        section_end_block(section);
    section_flush(section);
    return section->error;
}

static void put_place(struct section *section, const struct place *place)
{
    unsigned char *room = section_room(section, SEGMENT_INDEX_PLACE_BYTES);
    wire_little_store_u32(room, place->delta);
    wire_little_store_u32(room + 4, place->offset);
}

/* Hashes ascend, and so do their buckets. */
static void put_filter(const struct segment_index_builder *builder,
                       const struct segment_index *index, struct section *section)
{
    const struct entry *entries = builder->entries.elements;
    uint32_t entry = 0;
    for (uint32_t number = 0; number < index->filter_buckets; number++) {
        unsigned char *bucket = section_room(section, SEGMENT_FILTER_BUCKET_BYTES);
        memset(bucket, 0, SEGMENT_FILTER_BUCKET_BYTES);
        for (; entry < builder->entries.count &&
               segment_filter_bucket(entries[entry].hash, index->filter_buckets) == number;
             entry++)
            segment_filter_add(bucket, entries[entry].hash);
    }
}

/* Of each partition every 32nd record, partition by partition: so each is given its part of the
 * section first, and they are gathered before they are written. The filter follows. */
static int write_sparse(const struct segment_index_builder *builder,
                        const struct segment_index *index, int fd)
{
    struct section section;
    uint32_t *counts = heap_zalloc(builder->heap, (builder->partition_count + 1) * sizeof(*counts));
    struct place *sparse =
        heap_alloc(builder->heap, ((size_t)index->sparse_count + 1) * sizeof(*sparse));
    int result = section_init(&section, builder->heap, fd, builder->seed, index->sparse_block);
    if (result == 0 && counts != NULL && sparse != NULL) {
        const struct place *places = builder->places.elements;
        for (uint32_t record = 0; record < builder->places.count; record++) {
            uint32_t slot = places[record].slot;
            uint32_t position = counts[slot]++;
            if (position % SEGMENT_INDEX_SPARSE_EVERY == 0)
                sparse[index->partitions[slot].sparse_first +
                       position / SEGMENT_INDEX_SPARSE_EVERY] = places[record];
        }
        for (uint32_t entry = 0; entry < index->sparse_count; entry++)
            put_place(&section, &sparse[entry]);
        put_filter(builder, index, &section);
        result = section_finish(&section);
    } else {
        result = -ENOMEM;
    }
    heap_free(builder->heap, section.buffer);
    heap_free(builder->heap, sparse);
    heap_free(builder->heap, counts);
    return result;
}

/* Entries of one hash, and what the directory says of them. */
struct group {
    uint32_t end;     /* entry behind the last */
    uint32_t records; /* a record whose prefixes meet in one hash counts once */
    bool is_dense;
};

static struct group find_group(const struct segment_index_builder *builder, uint32_t begin)
{
    const struct entry *entries = builder->entries.elements;
    const struct place *places = builder->places.elements;
    uint32_t slot = places[entries[begin].record].slot;
    struct group group = {.end = begin + 1, .records = 1};
    bool is_shared = false;
    while (group.end < builder->entries.count && entries[group.end].hash == entries[begin].hash) {
        if (entries[group.end].record != entries[group.end - 1].record)
            group.records++;
        is_shared |= places[entries[group.end].record].slot != slot;
        group.end++;
    }
    const struct segment_index_partition *of = &builder->partitions[slot];
    bool is_frequent = (uint64_t)group.records * SEGMENT_INDEX_DENSE_SHARE >= of->records &&
                       of->bytes * SEGMENT_INDEX_RARE_SHARE >= builder->record_bytes;
    group.is_dense = is_shared || is_frequent;
    return group;
}

static void put_postings(const struct segment_index_builder *builder, struct section *section,
                         uint32_t begin, uint32_t end)
{
    const struct entry *entries = builder->entries.elements;
    const struct place *places = builder->places.elements;
    for (uint32_t entry = begin; entry < end; entry++)
        if (entry == begin || entries[entry].record != entries[entry - 1].record)
            put_place(section, &places[entries[entry].record]);
}

/* Directory and postings, side by side; the directory's length is known, that of the postings comes
 * out. */
static int write_groups(const struct segment_index_builder *builder, struct segment_index *index,
                        int fd)
{
    struct section directory;
    struct section postings = {.buffer = NULL};
    int result = section_init(&directory, builder->heap, fd, builder->seed, index->directory_block);
    if (result == 0)
        result = section_init(&postings, builder->heap, fd, builder->seed, index->postings_block);
    uint32_t group_number = 0;
    uint32_t posting_count = 0;
    for (uint32_t begin = 0; begin < builder->entries.count && result == 0; group_number++) {
        struct group group = find_group(builder, begin);
        uint32_t hash = ((const struct entry *)builder->entries.elements)[begin].hash;
        unsigned char *room = section_room(&directory, SEGMENT_INDEX_GROUP_BYTES);
        wire_little_store_u32(room, hash);
        wire_little_store_u32(room + 4, group.records);
        wire_little_store_u32(room + 8, group.is_dense ? SEGMENT_INDEX_DENSE : posting_count);
        if (group_number % SEGMENT_INDEX_GROUPS == 0)
            index->fences[group_number / SEGMENT_INDEX_GROUPS] = hash;
        if (!group.is_dense) {
            put_postings(builder, &postings, begin, group.end);
            posting_count += group.records;
        }
        begin = group.end;
        result = directory.error != 0 ? directory.error : postings.error;
    }
    if (result == 0)
        result = section_finish(&directory);
    if (result == 0)
        result = section_finish(&postings);
    index->postings_count = posting_count;
    heap_free(builder->heap, directory.buffer);
    heap_free(builder->heap, postings.buffer);
    return result;
}

/* The latest SEGMENT_INDEX_IDS_MAX of each partition. */
static int write_ids(const struct segment_index_builder *builder, struct segment_index *index,
                     int fd)
{
    struct section section;
    uint32_t *seen = heap_zalloc(builder->heap, (builder->partition_count + 1) * sizeof(*seen));
    int result = section_init(&section, builder->heap, fd, builder->seed, index->ids_block);
    if (seen == NULL)
        result = -ENOMEM;
    const struct id *ids = builder->ids.elements;
    const struct place *places = builder->places.elements;
    for (uint32_t entry = 0; entry < builder->ids.count && result == 0; entry++) {
        const struct place *place = &places[ids[entry].record];
        const struct segment_index_partition *of = &builder->partitions[place->slot];
        if (builder->id_counts[place->slot] - seen[place->slot]++ > SEGMENT_INDEX_IDS_MAX)
            continue;
        unsigned char *room = section_room(&section, SEGMENT_INDEX_ID_BYTES);
        wire_little_store_u64(room, ids[entry].id.high);
        wire_little_store_u64(room + 8, ids[entry].id.low);
        wire_little_store_u64(room + 16, of->first + place->delta);
        wire_little_store_u16(room + 24, of->partition);
        wire_little_store_u16(room + 26, 0);
        wire_little_store_u32(room + 28, 0);
        wire_little_store_u64(room + 32, ids[entry].publish_ms);
        index->ids_count++;
        result = section.error;
    }
    if (result == 0)
        result = section_finish(&section);
    heap_free(builder->heap, section.buffer);
    heap_free(builder->heap, seen);
    return result;
}

static int write_header(const struct segment_index_builder *builder,
                        const struct segment_index *index, int fd)
{
    uint64_t bytes = segment_index_header_bytes(index->partition_count, index->fence_count);
    struct section section;
    unsigned char *header = heap_alloc(builder->heap, bytes);
    int result = section_init(&section, builder->heap, fd, builder->seed, 0);
    if (header == NULL)
        result = -ENOMEM;
    if (result == 0) {
        segment_index_header_encode(index, header);
        for (uint64_t at = 0; at < bytes; at += SEGMENT_INDEX_PAYLOAD_BYTES) {
            uint32_t part = (uint32_t)ps_min_u64(bytes - at, SEGMENT_INDEX_PAYLOAD_BYTES);
            memcpy(section_room(&section, part), header + at, part);
        }
        result = section_finish(&section);
    }
    heap_free(builder->heap, section.buffer);
    heap_free(builder->heap, header);
    return result;
}

struct segment_index *segment_index_plan(const struct segment_index_builder *builder,
                                         uint64_t data_end)
{
    const struct entry *entries = builder->entries.elements;
    uint32_t groups = builder->entries.count > 0;
    for (uint32_t entry = 1; entry < builder->entries.count; entry++)
        groups += entries[entry].hash != entries[entry - 1].hash;
    struct segment_index *index =
        segment_index_alloc(builder->heap, builder->partition_count,
                            segment_index_blocks(groups, SEGMENT_INDEX_GROUPS));
    if (index == NULL)
        return NULL;
    index->seed = builder->seed;
    index->number = builder->number;
    index->data_end = data_end;
    index->directory_count = groups;
    for (uint32_t slot = 0; slot < builder->partition_count; slot++) {
        struct segment_index_partition *partition = &index->partitions[slot];
        *partition = builder->partitions[slot];
        partition->sparse_first = index->sparse_count;
        partition->sparse_count =
            segment_index_blocks(partition->records, SEGMENT_INDEX_SPARSE_EVERY);
        index->sparse_count += partition->sparse_count;
    }
    return index;
}

static int write_sections(const struct segment_index_builder *builder, struct segment_index *index,
                          int fd)
{
    if (!segment_index_lay_out(index))
        return -EFBIG;
    int result = write_sparse(builder, index, fd);
    if (result == 0)
        result = write_groups(builder, index, fd);
    if (result == 0 && !segment_index_lay_out(index))
        result = -EFBIG;
    if (result == 0)
        result = write_ids(builder, index, fd);
    if (result == 0 && !segment_index_lay_out(index))
        result = -EFBIG;
    if (result == 0)
        result = write_header(builder, index, fd);
    return result;
}

/* A new file under the name `name_new`, whole and synced. */
static int write_new(const struct segment_index_builder *builder, int directory,
                     const char *name_new, struct segment_index *index, int *out_fd)
{
    /* What an attempt before left is not written again: its sync may have failed. */
    int result = disk_remove(directory, name_new);
    int fd = -1;
    if (result == 0 || result == -ENOENT)
        result = disk_open(directory, name_new, DISK_OPEN_CREATE_NEW, &fd);
    if (result < 0)
        return result;
    result = write_sections(builder, index, fd);
    if (result == 0)
        result = disk_sync(fd);
    if (result == 0) {
        *out_fd = fd;
        return 0;
    }
    disk_close(fd);
    disk_remove(directory, name_new); /* it may hold the room that is missing */
    return result;
}

static int write_file(const struct segment_index_builder *builder, int directory,
                      struct segment_index *index, int *out_fd)
{
    char name_new[SEGMENT_NAME_BYTES];
    char name[SEGMENT_NAME_BYTES];
    segment_name(builder->number, "new", name_new);
    segment_name(builder->number, "idx", name);
    int fd = -1;
    int result = write_new(builder, directory, name_new, index, &fd);
    if (result < 0)
        return result;
    result = disk_rename(directory, name_new, name);
    if (result == 0)
        result = disk_sync_directory(directory);
    if (result < 0)
        disk_close(fd);
    else
        *out_fd = fd;
    return result;
}

int segment_index_write(struct segment_index_builder *builder, int directory, uint64_t data_end,
                        struct segment_index **out_index, int *out_fd)
{
    int result = sort_entries(builder);
    if (result < 0)
        return result;
    struct segment_index *index = segment_index_plan(builder, data_end);
    if (index == NULL)
        return -ENOMEM;
    result = write_file(builder, directory, index, out_fd);
    if (result < 0)
        segment_index_destroy(builder->heap, index);
    else
        *out_index = index;
    return result;
}
