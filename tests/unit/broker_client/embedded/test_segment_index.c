/*
 * The index of a segment: what a lookup gives is what a scan of all records would have given, for
 * whole topics and for prefixes; and a damaged index is never believed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "core/random.h"
#include "segment_index_format_internal.h"

enum { SEED = 31, NUMBER = 0x500000001, PARTITIONS = 3, TOPICS_MAX = 400, TOPIC_BYTES_MAX = 40 };

#define SEGMENT_SEED segment_seed(SEED, NUMBER)

static const struct segment_header header = {.number = NUMBER, .partition_count = PARTITIONS};
/* The middle one stays without records; the last is rare. */
static const struct segment_partition starts[PARTITIONS] = {{4, 100}, {0, 7}, {9, 1}};

struct fixture {
    struct heap_budget budget;
    uint32_t filter_loaded; /* the block that is_in_filter has; 0: none */
    struct heap heap;
    struct random random;
    char path[64];
    int directory;
    char topics[TOPICS_MAX][TOPIC_BYTES_MAX];
    struct segment_record *records;
    uint32_t count;
    struct segment_index *index;
    int fd;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    random_init(&fixture->random, SEED);
    snprintf(fixture->path, sizeof(fixture->path), "/tmp/penstock-index-XXXXXX");
    if (mkdtemp(fixture->path) == NULL || disk_open_directory(fixture->path, &fixture->directory))
        return -1;
    fixture->fd = -1;
    *state = fixture;
    return 0;
}

static int remove_it(void *context, const char *name)
{
    return disk_remove(((struct fixture *)context)->directory, name);
}

static void close_index(struct fixture *fixture)
{
    segment_index_destroy(&fixture->heap, fixture->index);
    fixture->index = NULL;
    fixture->filter_loaded = 0;
    if (fixture->fd >= 0)
        disk_close(fixture->fd);
    fixture->fd = -1;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    close_index(fixture);
    disk_list(fixture->directory, remove_it, fixture);
    disk_close(fixture->directory);
    rmdir(fixture->path);
    heap_deinit(&fixture->heap);
    bool is_clean = heap_budget_bytes_used(&fixture->budget) == 0;
    free(fixture->records);
    free(fixture);
    return is_clean ? 0 : -1;
}

/* Topics of 1 to 5 levels from a small alphabet, so that prefixes are shared, empty levels too. */
static void make_topics(struct fixture *fixture)
{
    for (uint32_t index = 0; index < TOPICS_MAX; index++) {
        char *topic = fixture->topics[index];
        size_t used = 0;
        uint64_t levels = random_between(&fixture->random, 1, 5);
        for (uint64_t level = 0; level < levels; level++)
            used += (size_t)snprintf(topic + used, TOPIC_BYTES_MAX - used, "%s%.*s",
                                     level > 0 ? "/" : "", (int)random_below(&fixture->random, 4),
                                     &"abcdabcd"[random_below(&fixture->random, 4)]);
        if (used == 0)
            memcpy(topic, "a", 2);
    }
}

static void make_records(struct fixture *fixture, uint32_t count)
{
    uint64_t next[PARTITIONS];
    for (uint32_t slot = 0; slot < PARTITIONS; slot++)
        next[slot] = starts[slot].next;
    uint64_t offset = SEGMENT_PAGE_BYTES;
    make_topics(fixture);
    fixture->records = calloc(count + 1, sizeof(*fixture->records));
    fixture->count = count;
    for (uint32_t number = 0; number < count; number++) {
        uint32_t slot = random_chance(&fixture->random, 1, 500) ? 2 : 0;
        next[slot] += random_chance(&fixture->random, 1, 50) ? 3 : 0;
        uint64_t topic = random_below(&fixture->random, TOPICS_MAX);
        topic = random_chance(&fixture->random, 1, 3) ? 0 : topic; /* one of them is dense */
        fixture->records[number] = (struct segment_record){
            .offset = offset,
            .view = {.sequence = next[slot]++,
                     .publish_ms = 1000 + random_below(&fixture->random, 1000),
                     .topic = (const unsigned char *)fixture->topics[topic],
                     .topic_bytes = (uint16_t)strlen(fixture->topics[topic]),
                     .bytes = (uint32_t)random_between(&fixture->random, 89, 300),
                     .partition = starts[slot].partition}};
        if (random_chance(&fixture->random, 9, 10))
            fixture->records[number].view.deduplication_id =
                (struct record_id){random_next(&fixture->random), number};
        offset += 320;
    }
}

static struct segment_index_builder *make_builder(struct fixture *fixture)
{
    struct segment_index_builder *builder =
        segment_index_builder_create(&fixture->heap, SEED, &header, starts);
    if (builder == NULL)
        return NULL;
    for (uint32_t number = 0; number < fixture->count; number++) {
        int result = segment_index_builder_add(builder, &fixture->records[number]);
        if (result == 0)
            continue;
        assert_int_equal(result, -ENOMEM);
        segment_index_builder_destroy(builder);
        return NULL;
    }
    return builder;
}

static void build(struct fixture *fixture, uint32_t count)
{
    make_records(fixture, count);
    struct segment_index_builder *builder = make_builder(fixture);
    assert_non_null(builder);
    struct segment_index *written = NULL;
    int fd = -1;
    assert_int_equal(segment_index_write(builder, fixture->directory, 123456, &written, &fd), 0);
    disk_close(fd);
    segment_index_builder_destroy(builder);
    assert_int_equal(segment_index_load(fixture->directory, &fixture->heap, SEGMENT_SEED, NUMBER,
                                        &fixture->index, &fixture->fd),
                     0);
    const struct segment_index *index = fixture->index;
    assert_int_equal(index->partition_count, written->partition_count);
    assert_memory_equal(index->partitions, written->partitions,
                        PARTITIONS * sizeof(index->partitions[0]));
    assert_memory_equal(index->fences, written->fences, index->fence_count * 4);
    assert_memory_equal(index, written, offsetof(struct segment_index, fences));
    segment_index_destroy(&fixture->heap, written);
}

static void read_block(struct fixture *fixture, uint32_t block, unsigned char *bytes)
{
    size_t count = 0;
    assert_int_equal(disk_read(fixture->fd, bytes, SEGMENT_INDEX_BLOCK_BYTES,
                               (uint64_t)block * SEGMENT_INDEX_BLOCK_BYTES, &count),
                     0);
    assert_int_equal(count, SEGMENT_INDEX_BLOCK_BYTES);
    assert_true(segment_index_block_check(SEGMENT_SEED, block, bytes));
    assert_false(segment_index_block_check(SEGMENT_SEED, block + 1, bytes));
    assert_false(segment_index_block_check(SEGMENT_SEED + 1, block, bytes));
}

static bool is_covered(const struct record_view *view, uint32_t levels, const char *text,
                       uint32_t text_bytes)
{
    if (view->topic_bytes < text_bytes || memcmp(view->topic, text, text_bytes) != 0)
        return false;
    return view->topic_bytes == text_bytes || (levels > 0 && view->topic[text_bytes] == '/');
}

/* Looks a text up in a partition, and compares with what every record says. Result: whether it was
 * dense. */
static bool look_up(struct fixture *fixture, uint32_t slot, uint32_t levels, const char *text,
                    uint32_t text_bytes)
{
    const struct segment_index *index = fixture->index;
    const struct segment_index_partition *of = &index->partitions[slot];
    static unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    uint32_t hash = segment_index_hash(SEED, of->partition, levels, text, text_bytes);
    struct segment_index_group group = {0};
    uint32_t block = segment_index_directory_block(index, hash);
    bool is_found = false;
    if (block != UINT32_MAX) {
        read_block(fixture, block, bytes);
        is_found = segment_index_find_group(index, block, bytes, hash, &group);
    }
    uint32_t matched = 0;
    uint32_t loaded = UINT32_MAX;
    for (uint32_t number = 0; number < fixture->count; number++) {
        const struct segment_record *record = &fixture->records[number];
        if (record->view.partition != of->partition ||
            !is_covered(&record->view, levels, text, text_bytes))
            continue;
        assert_true(is_found);
        uint32_t entry = group.first + matched++;
        if (group.first == SEGMENT_INDEX_DENSE)
            continue;
        assert_true(matched <= group.records);
        if (segment_index_posting_block(index, entry) != loaded) {
            loaded = segment_index_posting_block(index, entry);
            read_block(fixture, loaded, bytes);
        }
        struct segment_index_posting posting = segment_index_posting_read(index, of, entry, bytes);
        assert_int_equal(posting.sequence, record->view.sequence);
        assert_int_equal(posting.offset, record->offset);
    }
    assert_int_equal(matched, is_found ? group.records : 0);
    bool is_dense = is_found && group.first == SEGMENT_INDEX_DENSE;
    if (is_found)
        assert_int_equal(is_dense, matched * 4 >= of->records &&
                                       of->bytes * 64 >=
                                           index->partitions[0].bytes + index->partitions[2].bytes);
    return is_dense;
}

static void a_lookup_gives_what_a_scan_would(void **state)
{
    struct fixture *fixture = *state;
    build(fixture, 12000);
    uint32_t dense = 0;
    for (uint32_t topic = 0; topic < TOPICS_MAX; topic++) {
        const char *text = fixture->topics[topic];
        uint32_t text_bytes = (uint32_t)strlen(text);
        for (uint32_t slot = 0; slot < PARTITIONS; slot += topic % 8 == 0 ? 1 : 3)
            dense += look_up(fixture, slot, 0, text, text_bytes);
        const char *end = text - 1;
        for (uint32_t levels = 1; levels <= SEGMENT_INDEX_LEVELS && end != NULL; levels++) {
            end = strchr(end + 1, '/');
            uint32_t bytes = end == NULL ? text_bytes : (uint32_t)(end - text);
            dense += look_up(fixture, 0, levels, text, bytes);
        }
    }
    assert_true(dense > 0);
    assert_false(look_up(fixture, 0, 0, "absent", 6));
}

static bool is_in_filter(struct fixture *fixture, uint32_t hash)
{
    const struct segment_index *index = fixture->index;
    static unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    uint32_t bucket = segment_filter_bucket(hash, index->filter_buckets);
    uint32_t byte = 0;
    uint32_t block = segment_filter_block(index, bucket, &byte);
    assert_true(block < index->directory_block);
    if (block != fixture->filter_loaded)
        read_block(fixture, block, bytes);
    fixture->filter_loaded = block;
    return segment_filter_has(bytes + byte, hash);
}

static void the_filter_has_every_hash_and_few_others(void **state)
{
    enum { OTHERS = 100000 };
    struct fixture *fixture = *state;
    build(fixture, 70000);
    static unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    const struct segment_index *index = fixture->index;
    for (uint32_t at = 0; at < index->directory_count; at++) {
        read_block(fixture, index->directory_block + at / SEGMENT_INDEX_GROUPS, bytes);
        assert_true(
            is_in_filter(fixture, wire_little_load_u32(bytes + at % SEGMENT_INDEX_GROUPS * 12)));
    }
    uint32_t wrong = 0;
    for (uint32_t at = 0; at < OTHERS; at++)
        wrong += is_in_filter(fixture, (uint32_t)random_next(&fixture->random));
    assert_true(wrong < OTHERS / 50);
}

/* An index of one partition, written and loaded. */
static void build_topics(struct fixture *fixture, uint32_t records, uint32_t topics)
{
    struct segment_index_builder *builder =
        segment_index_builder_create(&fixture->heap, SEED, &header, starts);
    assert_non_null(builder);
    for (uint32_t number = 0; number < records; number++) {
        char topic[32];
        int bytes = snprintf(topic, sizeof(topic), "t%u/%u", number % topics, number % topics % 7);
        const struct segment_record record = {.offset = 4096 + (uint64_t)number * 96,
                                              .view = {.sequence = starts[0].next + number,
                                                       .topic = (const unsigned char *)topic,
                                                       .topic_bytes = (uint16_t)bytes,
                                                       .bytes = 96,
                                                       .partition = starts[0].partition}};
        assert_int_equal(segment_index_builder_add(builder, &record), 0);
    }
    struct segment_index *written = NULL;
    int fd = -1;
    assert_int_equal(segment_index_write(builder, fixture->directory, 123456, &written, &fd), 0);
    disk_close(fd);
    segment_index_builder_destroy(builder);
    segment_index_destroy(&fixture->heap, written);
    assert_int_equal(segment_index_load(fixture->directory, &fixture->heap, SEGMENT_SEED, NUMBER,
                                        &fixture->index, &fixture->fd),
                     0);
}

/* It begins where the sparse entries end, wherever that is. */
static void the_filter_has_every_hash_in_whatever_block_it_begins(void **state)
{
    struct fixture *fixture = *state;
    static unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    uint32_t begun = 0;
    for (uint32_t sparse = SEGMENT_INDEX_PLACES - 6; sparse <= SEGMENT_INDEX_PLACES + 1; sparse++) {
        uint32_t topics = sparse % 2 == 0 ? 20000 : 700;
        build_topics(fixture, sparse * SEGMENT_INDEX_SPARSE_EVERY, topics);
        const struct segment_index *index = fixture->index;
        assert_int_equal(index->sparse_count, sparse);
        begun += index->filter_byte == 0;
        for (uint32_t at = 0; at < index->directory_count; at++) {
            if (at % SEGMENT_INDEX_GROUPS == 0)
                read_block(fixture, index->directory_block + at / SEGMENT_INDEX_GROUPS, bytes);
            uint32_t hash =
                wire_little_load_u32(bytes + at % SEGMENT_INDEX_GROUPS * SEGMENT_INDEX_GROUP_BYTES);
            assert_true(is_in_filter(fixture, hash));
        }
        close_index(fixture);
    }
    assert_int_equal(begun, 4);
}

static void sparse_entries_name_every_32nd_record(void **state)
{
    struct fixture *fixture = *state;
    build(fixture, 70000); /* more than a block of them */
    static unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    uint32_t seen[PARTITIONS] = {0};
    for (uint32_t number = 0; number < fixture->count; number++) {
        const struct segment_record *record = &fixture->records[number];
        uint32_t slot = record->view.partition == starts[0].partition ? 0 : 2;
        const struct segment_index_partition *of = &fixture->index->partitions[slot];
        uint32_t position = seen[slot]++;
        if (position % SEGMENT_INDEX_SPARSE_EVERY != 0)
            continue;
        uint32_t entry = of->sparse_first + position / SEGMENT_INDEX_SPARSE_EVERY;
        read_block(fixture, segment_index_sparse_block(fixture->index, entry), bytes);
        struct segment_index_posting place =
            segment_index_sparse_read(fixture->index, of, entry, bytes);
        assert_int_equal(place.sequence, record->view.sequence);
        assert_int_equal(place.offset, record->offset);
    }
    for (uint32_t slot = 0; slot < PARTITIONS; slot++) {
        const struct segment_index_partition *of = &fixture->index->partitions[slot];
        assert_int_equal(of->records, seen[slot]);
        assert_int_equal(of->sparse_count, (seen[slot] + 31) / 32);
    }
    assert_int_equal(fixture->index->partitions[1].first, starts[1].next);
    assert_int_equal(fixture->index->partitions[1].next, starts[1].next);
    assert_int_equal(fixture->index->data_end, 123456);
}

struct hashed {
    uint32_t hash;
    uint32_t text;
};

static int compare_hashed(const void *a, const void *b)
{
    uint32_t left = ((const struct hashed *)a)->hash;
    uint32_t right = ((const struct hashed *)b)->hash;
    return (left > right) - (left < right);
}

/* Two numbers that as texts have one hash in the first and in the last partition. */
static void find_shared_hash(char *first_text, char *last_text)
{
    enum { TEXTS = 400000 }; /* some 37 pairs */
    struct hashed *hashed[2];
    for (uint32_t side = 0; side < 2; side++) {
        hashed[side] = calloc(TEXTS, sizeof(*hashed[side]));
        for (uint32_t text = 0; text < TEXTS; text++) {
            int bytes = snprintf(first_text, TOPIC_BYTES_MAX, "%u", text);
            hashed[side][text] =
                (struct hashed){segment_index_hash(SEED, starts[2 * side].partition, 0, first_text,
                                                   (uint32_t)bytes),
                                text};
        }
        qsort(hashed[side], TEXTS, sizeof(*hashed[side]), compare_hashed);
    }
    uint32_t left = 0;
    uint32_t right = 0;
    while (hashed[0][left].hash != hashed[1][right].hash) {
        if (hashed[0][left].hash < hashed[1][right].hash)
            left++;
        else
            right++;
        assert_true(left < TEXTS && right < TEXTS);
    }
    snprintf(first_text, TOPIC_BYTES_MAX, "%u", hashed[0][left].text);
    snprintf(last_text, TOPIC_BYTES_MAX, "%u", hashed[1][right].text);
    free(hashed[0]);
    free(hashed[1]);
}

static void a_hash_of_two_partitions_is_read_whole(void **state)
{
    struct fixture *fixture = *state;
    make_records(fixture, 500);
    find_shared_hash(fixture->topics[1], fixture->topics[2]);
    bool is_placed[PARTITIONS] = {false};
    for (uint32_t number = 0; number < fixture->count; number++) {
        struct record_view *view = &fixture->records[number].view;
        uint32_t slot = view->partition == starts[0].partition ? 0 : 2;
        if (is_placed[slot])
            continue;
        view->topic = (const unsigned char *)fixture->topics[slot == 0 ? 1 : 2];
        view->topic_bytes = (uint16_t)strlen((const char *)view->topic);
        is_placed[slot] = true;
    }
    assert_true(is_placed[0] && is_placed[2]);
    struct segment_index_builder *builder = make_builder(fixture);
    assert_int_equal(
        segment_index_write(builder, fixture->directory, 1, &fixture->index, &fixture->fd), 0);
    segment_index_builder_destroy(builder);
    uint32_t hash = segment_index_hash(SEED, starts[0].partition, 0, fixture->topics[1],
                                       (uint32_t)strlen(fixture->topics[1]));
    unsigned char bytes[SEGMENT_INDEX_BLOCK_BYTES];
    uint32_t block = segment_index_directory_block(fixture->index, hash);
    read_block(fixture, block, bytes);
    struct segment_index_group group;
    assert_true(segment_index_find_group(fixture->index, block, bytes, hash, &group));
    assert_int_equal(group.first, SEGMENT_INDEX_DENSE);
}

struct ids_seen {
    struct fixture *fixture;
    uint32_t at; /* the record from which the next one is looked for */
    uint32_t count;
};

static void on_id(void *context, const struct segment_index_id *id)
{
    struct ids_seen *seen = context;
    const struct record_view *view = &seen->fixture->records[seen->at].view;
    while (!record_id_equal(view->deduplication_id, id->id))
        view = &seen->fixture->records[++seen->at].view;
    assert_int_equal(view->sequence, id->sequence);
    assert_int_equal(view->partition, id->partition);
    assert_int_equal(view->publish_ms, id->publish_ms);
    seen->count++;
}

static void the_latest_ids_of_each_partition_are_kept(void **state)
{
    struct fixture *fixture = *state;
    build(fixture, 12000);
    struct ids_seen seen = {.fixture = fixture};
    assert_int_equal(
        segment_index_load_ids(fixture->fd, &fixture->heap, fixture->index, &seen, on_id), 0);
    uint32_t rare = 0;
    uint32_t with_id = 0;
    for (uint32_t number = 0; number < fixture->count; number++) {
        bool has_id = !record_id_is_zero(fixture->records[number].view.deduplication_id);
        with_id += has_id;
        rare += has_id && fixture->records[number].view.partition == starts[2].partition;
    }
    assert_true(with_id - rare > SEGMENT_INDEX_IDS_MAX);
    assert_int_equal(seen.count, SEGMENT_INDEX_IDS_MAX + rare);
    assert_int_equal(seen.count, fixture->index->ids_count);
}

static void an_index_of_nothing_is_an_index(void **state)
{
    struct fixture *fixture = *state;
    build(fixture, 0);
    assert_int_equal(fixture->index->directory_count, 0);
    assert_int_equal(segment_index_directory_block(fixture->index, 5), UINT32_MAX);
    assert_int_equal(fixture->index->file_bytes, SEGMENT_INDEX_BLOCK_BYTES);
}

static void records_out_of_order_or_of_others_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct segment_index_builder *builder =
        segment_index_builder_create(&fixture->heap, SEED, &header, starts);
    struct segment_record record = {.offset = 4096,
                                    .view = {.sequence = 100,
                                             .topic = (const unsigned char *)"t",
                                             .topic_bytes = 1,
                                             .bytes = 89,
                                             .partition = 4}};
    assert_int_equal(segment_index_builder_add(builder, &record), 0);
    assert_int_equal(segment_index_builder_add(builder, &record), -EBADMSG);
    record.view.sequence = 100 + (UINT64_C(1) << 32);
    assert_int_equal(segment_index_builder_add(builder, &record), -EBADMSG);
    record.view.sequence = 200;
    record.offset = 4097;
    assert_int_equal(segment_index_builder_add(builder, &record), -EBADMSG);
    record.offset = 4096;
    record.view.partition = 9;
    record.view.sequence = 0;
    assert_int_equal(segment_index_builder_add(builder, &record), -EBADMSG);
    record.view.partition = 5;
    record.view.sequence = 200;
    assert_int_equal(segment_index_builder_add(builder, &record), -EBADMSG);
    record.view.partition = 10;
    assert_int_equal(segment_index_builder_add(builder, &record), -EBADMSG);
    uint32_t count = 0;
    const struct segment_index_partition *partitions =
        segment_index_builder_partitions(builder, &count);
    assert_int_equal(count, PARTITIONS);
    assert_int_equal(partitions[0].records, 1);
    assert_int_equal(partitions[0].next, 101);
    segment_index_builder_destroy(builder);
}

static int reload(struct fixture *fixture)
{
    close_index(fixture);
    return segment_index_load(fixture->directory, &fixture->heap, SEGMENT_SEED, NUMBER,
                              &fixture->index, &fixture->fd);
}

static void a_damaged_header_or_length_is_noticed(void **state)
{
    struct fixture *fixture = *state;
    build(fixture, 3000);
    uint64_t bytes = fixture->index->file_bytes;
    int fd = -1;
    char name[SEGMENT_NAME_BYTES];
    segment_name(NUMBER, "idx", name);
    assert_int_equal(disk_open(fixture->directory, name, DISK_OPEN_WRITE, &fd), 0);
    for (uint32_t at = 0; at < SEGMENT_INDEX_BLOCK_BYTES; at += 37) {
        unsigned char byte;
        size_t count;
        assert_int_equal(disk_read(fd, &byte, 1, at, &count), 0);
        byte ^= 4;
        assert_int_equal(disk_write(fd, &byte, 1, at), 0);
        assert_int_equal(reload(fixture), -EBADMSG);
        byte ^= 4;
        assert_int_equal(disk_write(fd, &byte, 1, at), 0);
    }
    assert_int_equal(reload(fixture), 0);
    unsigned char zero = 0;
    assert_int_equal(disk_write(fd, &zero, 1, bytes), 0);
    assert_int_equal(reload(fixture), -EBADMSG);
    assert_int_equal(disk_truncate(fd, bytes - SEGMENT_INDEX_BLOCK_BYTES), 0);
    assert_int_equal(reload(fixture), -EBADMSG);
    assert_int_equal(disk_truncate(fd, 100), 0);
    assert_int_equal(reload(fixture), -EBADMSG);
    disk_close(fd);
    assert_int_equal(disk_remove(fixture->directory, name), 0);
    assert_int_equal(reload(fixture), -ENOENT);
}

static void building_fails_cleanly_without_memory(void **state)
{
    struct fixture *fixture = *state;
    make_records(fixture, 6000);
    for (uint64_t number = 1;; number++) {
        heap_fail_at(&fixture->heap, number);
        struct segment_index_builder *builder = make_builder(fixture);
        int result = -ENOMEM;
        if (builder != NULL)
            result =
                segment_index_write(builder, fixture->directory, 1, &fixture->index, &fixture->fd);
        segment_index_builder_destroy(builder);
        if (result == 0)
            break;
        assert_int_equal(result, -ENOMEM);
        heap_deinit(&fixture->heap); /* settles the count */
        assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
        assert_true(number < 100);
    }
    for (uint64_t number = 1;; number++) {
        heap_fail_at(&fixture->heap, 0);
        close_index(fixture);
        heap_fail_at(&fixture->heap, number);
        int result = segment_index_load(fixture->directory, &fixture->heap, SEGMENT_SEED, NUMBER,
                                        &fixture->index, &fixture->fd);
        if (result == 0)
            break;
        assert_int_equal(result, -ENOMEM);
        assert_true(number < 10);
    }
    heap_fail_at(&fixture->heap, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_lookup_gives_what_a_scan_would, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hash_of_two_partitions_is_read_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_filter_has_every_hash_and_few_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_filter_has_every_hash_in_whatever_block_it_begins,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(sparse_entries_name_every_32nd_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_latest_ids_of_each_partition_are_kept, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_index_of_nothing_is_an_index, set_up, tear_down),
        cmocka_unit_test_setup_teardown(records_out_of_order_or_of_others_are_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_header_or_length_is_noticed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(building_fails_cleanly_without_memory, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
