/*
 * Seeded logs, their model, and pulls held against it; see log_reader_fixture.h.
 */
#include "log_reader_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/helper_thread.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "log_reader_world.h"
#include "segment_files_internal.h"

enum {
    HASH_SEED = 77,
    LARGE_PAYLOAD_MAX = 60000,
    BATCH_RECORDS_MAX = 40,
    TURNS_MAX = 400000,
    SEGMENT_NUMBER_BASE = 1000,
    TWINS = 100000
};

#define STEP_NS UINT64_C(1000000000)

struct twin {
    uint32_t hash;
    uint32_t number;
};

static int compare_twins(const void *a, const void *b)
{
    uint32_t left = ((const struct twin *)a)->hash;
    uint32_t right = ((const struct twin *)b)->hash;
    return (left > right) - (left < right);
}

static struct twin make_twin(uint16_t partition, uint32_t number)
{
    char text[FIXTURE_TOPIC_BYTES_MAX];
    uint32_t count = (uint32_t)snprintf(text, sizeof(text), "twin%u", number);
    return (struct twin){segment_index_hash(HASH_SEED, partition, 0, text, count), number};
}

/* Of some 10^10 pairs of topics a few have the same 32 bits. */
static void make_twins(struct fixture *fixture)
{
    static struct twin twins[TWINS];
    for (uint32_t number = 0; number < TWINS; number++)
        twins[number] = make_twin(0, number);
    qsort(twins, TWINS, sizeof(twins[0]), compare_twins);
    for (uint32_t number = 0; number < 4 * TWINS; number++) {
        const struct twin twin = make_twin(1, number);
        const struct twin *other = bsearch(&twin, twins, TWINS, sizeof(twins[0]), compare_twins);
        if (other == NULL)
            continue;
        snprintf(fixture->topics[0], FIXTURE_TOPIC_BYTES_MAX, "twin%u", other->number);
        snprintf(fixture->topics[1], FIXTURE_TOPIC_BYTES_MAX, "twin%u", number);
        return;
    }
    fail_msg("no twins");
}

static void make_topics(struct fixture *fixture)
{
    static const char *const levels[] = {"a", "b", "c", "", "room", "b1"};
    for (uint32_t index = 0; index < FIXTURE_TOPICS; index++) {
        char *topic = fixture->topics[index];
        size_t used = 0;
        uint64_t depth = random_between(&fixture->random, 1, 5);
        for (uint64_t level = 0; level < depth; level++)
            used += (size_t)snprintf(
                topic + used, FIXTURE_TOPIC_BYTES_MAX - used, "%s%s", level > 0 ? "/" : "",
                levels[random_below(&fixture->random, ps_array_count(levels))]);
        if (used == 0)
            snprintf(topic, FIXTURE_TOPIC_BYTES_MAX, "a");
    }
    if (fixture->options.has_twins)
        make_twins(fixture);
}

static void fill_payload(const struct fixture_record *record, unsigned char *out)
{
    for (uint32_t at = 0; at < record->payload_bytes; at++)
        out[at] = (unsigned char)(record->sequence * 31 + record->salt + at * 7);
}

struct segment_writer {
    unsigned char *bytes;
    size_t count;
    size_t capacity;
    uint64_t seed;
    struct segment_header header;
    struct segment_partition partitions[FIXTURE_PARTITIONS];
    struct segment_index_builder *builder;
    size_t batch_at;
    struct segment_batch batch;
};

static unsigned char *writer_room(struct segment_writer *writer, size_t bytes)
{
    while (writer->count + bytes > writer->capacity) {
        writer->capacity = writer->capacity * 2 + 65536;
        writer->bytes = realloc(writer->bytes, writer->capacity);
        assert_non_null(writer->bytes);
    }
    unsigned char *room = writer->bytes + writer->count;
    memset(room, 0, bytes);
    writer->count += bytes;
    return room;
}

static void batch_begin(struct segment_writer *writer)
{
    writer->batch_at = writer->count;
    writer->batch.records = 0;
    writer_room(writer, SEGMENT_BATCH_HEADER_BYTES);
}

static void batch_end(struct segment_writer *writer)
{
    writer->batch.bytes = (uint32_t)(writer->count - writer->batch_at);
    segment_batch_encode(writer->seed, &writer->batch, writer->bytes + writer->batch_at);
    writer->batch.number++;
}

static void write_record(struct fixture *fixture, struct segment_writer *writer, uint16_t partition,
                         struct fixture_record *model)
{
    unsigned char *payload = malloc(model->payload_bytes + 1);
    assert_non_null(payload);
    fill_payload(model, payload);
    const char *topic = fixture->topics[model->topic];
    const struct record_source source = {.topic = topic,
                                         .topic_bytes = (uint32_t)strlen(topic),
                                         .payload = payload,
                                         .payload_bytes = model->payload_bytes,
                                         .flags = 1};
    struct record *record = record_create(&fixture->heap, &source);
    assert_non_null(record);
    record->partition = partition;
    record->sequence = model->sequence;
    model->offset = writer->count;
    size_t bytes = segment_record_bytes(record);
    unsigned char *room = writer_room(writer, bytes);
    long encoded = record_encode(record, segment_record_seed(writer->seed, partition), room, bytes);
    assert_true(encoded > 0);
    struct segment_record entry = {.offset = model->offset};
    assert_true(record_peek(room, &entry.view));
    assert_int_equal(segment_index_builder_add(writer->builder, &entry), 0);
    writer->batch.records++;
    record_release(&fixture->heap, record);
    free(payload);
}

static uint32_t random_payload(struct fixture *fixture)
{
    if (random_below(&fixture->random, 1024) < fixture->options.large_chance)
        return (uint32_t)random_below(&fixture->random, LARGE_PAYLOAD_MAX);
    return (uint32_t)random_below(&fixture->random, fixture->options.payload_max + 1);
}

/* Half of the records of some partitions have one topic, so that it is dense there. */
static uint32_t random_topic(struct fixture *fixture, uint32_t segment, uint16_t partition)
{
    if (partition == 1 && segment % 2 == 0 && random_chance(&fixture->random, 1, 2))
        return segment % FIXTURE_TOPICS;
    return (uint32_t)random_below(&fixture->random, FIXTURE_TOPICS);
}

static void add_model(struct fixture *fixture, struct segment_writer *writer, uint32_t segment,
                      uint16_t partition, uint64_t sequence)
{
    struct fixture_partition *part = &fixture->partitions[partition];
    if ((part->count & (part->count + 1)) == 0)
        part->records =
            realloc(part->records, sizeof(*part->records) * 2 * ((size_t)part->count + 1));
    assert_non_null(part->records);
    struct fixture_record *record = &part->records[part->count++];
    *record = (struct fixture_record){.sequence = sequence,
                                      .topic = random_topic(fixture, segment, partition),
                                      .payload_bytes = random_payload(fixture),
                                      .salt = segment * 3,
                                      .segment = segment};
    write_record(fixture, writer, partition, record);
}

/* A batch stood in this segment and failed: its records stand again in the next one, so that the
 * extent ends below them. */
static void take_back(struct fixture *fixture, uint32_t segment, uint16_t partition, uint64_t *next)
{
    struct fixture_partition *part = &fixture->partitions[partition];
    uint64_t back = random_below(&fixture->random, 6);
    while (back-- > 0 && part->count > 0 && part->records[part->count - 1].segment == segment) {
        *next = part->records[part->count - 1].sequence;
        part->count--;
    }
}

static void add_extent(struct fixture *fixture, uint32_t segment, uint16_t partition,
                       uint64_t first, uint64_t next)
{
    struct fixture_partition *part = &fixture->partitions[partition];
    if (first == next)
        return;
    part->extents[part->extent_count++] =
        (struct log_extent){.segment = &fixture->segments[segment], .first = first, .next = next};
}

static void write_file(struct fixture *fixture, uint32_t segment, struct segment_writer *writer)
{
    struct log_segment *own = &fixture->segments[segment];
    char name[SEGMENT_NAME_BYTES];
    segment_name(own->number, "seg", name);
    assert_int_equal(disk_open(fixture->directory, name, DISK_OPEN_CREATE_NEW, &own->fd), 0);
    assert_int_equal(disk_write(own->fd, writer->bytes, writer->count, 0), 0);
    struct segment_index *index = NULL;
    assert_int_equal(segment_index_write(writer->builder, fixture->directory, writer->count, &index,
                                         &own->index_fd),
                     0);
    atomic_init(&own->index, index);
    atomic_init(&own->references, 1);
    fixture->data_ends[segment] = writer->count;
    if (fixture->options.segments_open_max > 0)
        segment_files_close(&fixture->store, own);
}

static void make_segment(struct fixture *fixture, uint32_t segment, uint64_t *next)
{
    struct segment_writer writer = {.header = {.number = SEGMENT_NUMBER_BASE + segment * 3,
                                               .run = 1,
                                               .shard_count = 1,
                                               .partition_count = FIXTURE_PARTITIONS}};
    uint64_t first[FIXTURE_PARTITIONS];
    for (uint16_t at = 0; at < FIXTURE_PARTITIONS; at++) {
        writer.partitions[at] = (struct segment_partition){at, next[at]};
        first[at] = next[at];
    }
    writer.seed = segment_seed(HASH_SEED, writer.header.number);
    fixture->segments[segment].number = writer.header.number;
    fixture->segments[segment].seed = writer.seed;
    writer.builder =
        segment_index_builder_create(&fixture->heap, HASH_SEED, &writer.header, writer.partitions);
    assert_non_null(writer.builder);
    unsigned char *room = writer_room(&writer, segment_header_bytes(FIXTURE_PARTITIONS));
    segment_header_encode(writer.seed, &writer.header, writer.partitions, room);
    uint32_t left = fixture->options.records;
    while (left > 0) {
        batch_begin(&writer);
        uint64_t count = ps_min_u64(left, random_between(&fixture->random, 1, BATCH_RECORDS_MAX));
        for (uint64_t at = 0; at < count; at++) {
            uint16_t partition = (uint16_t)random_below(&fixture->random, FIXTURE_PARTITIONS - 1);
            if (segment % 3 == 0 && random_chance(&fixture->random, 1, 150))
                partition = FIXTURE_PARTITIONS - 1;
            if (random_below(&fixture->random, 1024) < fixture->options.gap_chance)
                next[partition] += random_below(&fixture->random, 50);
            add_model(fixture, &writer, segment, partition, next[partition]++);
        }
        batch_end(&writer);
        left -= (uint32_t)count;
    }
    write_file(fixture, segment, &writer);
    for (uint16_t at = 0; at < FIXTURE_PARTITIONS; at++) {
        if (random_chance(&fixture->random, 1, 4) && segment + 1 < fixture->options.segments)
            take_back(fixture, segment, at, &next[at]);
        add_extent(fixture, segment, at, first[at], next[at]);
    }
    segment_index_builder_destroy(writer.builder);
    free(writer.bytes);
}

static struct log_reader_partition on_partition(void *context, uint16_t partition)
{
    const struct fixture *fixture = context;
    const struct fixture_partition *part = &fixture->partitions[partition];
    return (struct log_reader_partition){.extents = part->extents + part->extent_first,
                                         .extent_count = part->extent_count - part->extent_first,
                                         .tail_first = part->tail_first};
}

bool fixture_covers(const struct broker_hint *hint, const char *topic)
{
    if (hint->all)
        return true;
    size_t count = strlen(topic);
    for (uint32_t at = 0; at < hint->topic_count; at++) {
        if (hint->topics[at].count == count && memcmp(hint->topics[at].bytes, topic, count) == 0)
            return true;
    }
    for (uint32_t at = 0; at < hint->prefix_count; at++) {
        uint32_t bytes = hint->prefixes[at].count;
        if (bytes <= count && memcmp(hint->prefixes[at].bytes, topic, bytes) == 0 &&
            (topic[bytes] == '/' || bytes == count))
            return true;
    }
    return false;
}

static void check_record(const struct fixture *fixture, const struct fixture_record *model,
                         const struct record *record, uint16_t partition)
{
    const char *topic = fixture->topics[model->topic];
    assert_int_equal(record->sequence, model->sequence);
    assert_int_equal(record->partition, partition);
    assert_int_equal(record->topic_bytes, strlen(topic));
    assert_memory_equal(record_topic(record), topic, record->topic_bytes);
    assert_int_equal(record->payload_bytes, model->payload_bytes);
    unsigned char *payload = malloc(model->payload_bytes + 1);
    assert_non_null(payload);
    fill_payload(model, payload);
    assert_memory_equal(record_payload(record), payload, model->payload_bytes);
    free(payload);
}

/* The next record of the model that the pull is to give below `below`. */
static const struct fixture_record *expect(struct fixture_pull *own, uint64_t below)
{
    const struct fixture_partition *part = &own->fixture->partitions[own->pull.partition];
    while (own->model < part->count && part->records[own->model].sequence < below) {
        const struct fixture_record *record = &part->records[own->model++];
        if (record->sequence >= own->pull.from &&
            fixture_covers(&own->pull.hint, own->fixture->topics[record->topic]))
            return record;
    }
    return NULL;
}

/* What retention took from under a pull is told, and nothing of it is expected: before it was
 * looked at, and nothing found. */
static void skip_removed(struct fixture_pull *own)
{
    struct broker_pull *pull = &own->pull;
    if (pull->removed == 0)
        return;
    const struct fixture_partition *part = &own->fixture->partitions[pull->partition];
    uint64_t first = part->extents[part->extent_first].first;
    assert_null(expect(own, first - pull->removed));
    own->removed += pull->removed;
    pull->from = first;
    pull->removed = 0;
}

static void on_read(void *context, struct broker_pull *pull)
{
    struct fixture *fixture = context;
    struct fixture_pull *own = ps_container_of(pull, struct fixture_pull, pull);
    assert_true(own->is_active);
    assert_int_equal(pull->status, BROKER_OK);
    assert_false(pull->is_at_tail);
    skip_removed(own);
    assert_true(pull->next > pull->from || pull->next == own->end);
    assert_true(pull->next <= own->end);
    uint32_t max = pull->records_max == 0 ? BROKER_PULL_RECORDS_MAX : pull->records_max;
    assert_true(pull->count <= max);
    uint64_t bytes = 0;
    for (uint32_t at = 0; at < pull->count; at++) {
        const struct fixture_record *model = expect(own, pull->next);
        assert_non_null(model);
        check_record(fixture, model, pull->records[at], pull->partition);
        bytes += pull->records[at]->topic_bytes + (uint64_t)pull->records[at]->payload_bytes;
    }
    assert_null(expect(own, pull->next));
    assert_true(pull->count <= 1 || bytes <= pull->bytes_max);
    own->given += pull->count;
    own->answers++;
    own->is_done = pull->next == own->end || own->is_once;
    own->is_active = !own->is_done;
    const struct fixture_partition *part = &fixture->partitions[pull->partition];
    pull->from = ps_max_u64(pull->next, part->extents[part->extent_first].first);
    if (!own->is_done)
        assert_int_equal(log_reader_pull(fixture->reader, pull), 0);
}

void fixture_reader_create(struct fixture *fixture)
{
    const struct log_reader_events events = {
        .context = fixture, .partition = on_partition, .on_read = on_read};
    const struct log_reader_limits limits = {.cache_bytes = fixture->options.cache_bytes,
                                             .filter_bytes_max = fixture->options.filter_bytes_max,
                                             .reads_max = fixture->options.reads_max};
    assert_int_equal(log_reader_create(&fixture->store, fixture->ring, &fixture->heap, &limits,
                                       &events, &fixture->reader),
                     0);
}

struct fixture *fixture_create(const struct fixture_options *options)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    assert_non_null(fixture);
    fixture->options = *options;
    heap_init(&fixture->heap, &fixture->budget);
    random_init(&fixture->random, options->seed);
    log_reader_world_begin(options->seed);
    assert_int_equal(disk_open_directory(log_reader_world_directory(), &fixture->directory), 0);
    fixture->store.hash_seed = HASH_SEED;
    fixture->store.heap = &fixture->heap;
    fixture->log_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    const struct log_options log_options = {.fd = fixture->log_fd};
    assert_int_equal(log_create(&fixture->heap, &log_options, &fixture->store.log), 0);
    pthread_mutex_init(&fixture->store.mutex, NULL);
    fixture->store.log_directory = fixture->directory;
    fixture->store.config.segments_open_max = options->segments_open_max;
    if (options->segments_open_max > 0)
        assert_int_equal(helper_create(&fixture->heap, 0, &fixture->store.helper), 0);
    make_topics(fixture);
    uint64_t next[FIXTURE_PARTITIONS];
    for (uint32_t at = 0; at < FIXTURE_PARTITIONS; at++)
        next[at] = random_between(&fixture->random, 1, 100);
    for (uint32_t segment = 0; segment < options->segments; segment++)
        make_segment(fixture, segment, next);
    for (uint32_t at = 0; at < FIXTURE_PARTITIONS; at++)
        fixture->partitions[at].tail_first = next[at];
    const struct ring_options ring_options = {.sockets_max = 4, .mode = RING_MODE_PLAIN};
    char error[256];
    assert_int_equal(ring_create(&ring_options, &fixture->ring, error, sizeof(error)), 0);
    assert_int_equal(ring_start(fixture->ring), 0);
    fixture_reader_create(fixture);
    return fixture;
}

void fixture_destroy(struct fixture *fixture)
{
    ring_destroy(fixture->ring);
    if (fixture->reader != NULL)
        log_reader_destroy(fixture->reader);
    if (fixture->store.helper != NULL)
        helper_destroy(&fixture->heap, fixture->store.helper);
    for (uint32_t segment = 0; segment < fixture->options.segments; segment++) {
        struct log_segment *own = &fixture->segments[segment];
        assert_int_equal(atomic_load(&own->references), 1);
        segment_index_destroy(&fixture->heap, atomic_load(&own->index));
        segment_files_close(&fixture->store, own);
    }
    disk_close(fixture->directory);
    for (uint32_t at = 0; at < FIXTURE_PARTITIONS; at++)
        free(fixture->partitions[at].records);
    pthread_mutex_destroy(&fixture->store.mutex);
    log_destroy(&fixture->heap, fixture->store.log);
    close(fixture->log_fd);
    heap_deinit(&fixture->heap);
    assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
    free(fixture);
    log_reader_world_end();
}

/* A topic, or its first levels, or with one level more than any topic has. */
static struct broker_bytes random_text(struct fixture *fixture, bool is_prefix)
{
    const char *topic = fixture->topics[random_below(&fixture->random, FIXTURE_TOPICS)];
    struct broker_bytes text = {topic, (uint32_t)strlen(topic)};
    if (!is_prefix)
        return text;
    uint64_t levels = random_between(&fixture->random, 1, 5);
    for (uint32_t at = 0; at < text.count; at++) {
        if (topic[at] == '/' && --levels == 0) {
            text.count = at;
            break;
        }
    }
    return text;
}

void fixture_pull_start(struct fixture_pull *own)
{
    own->end = ps_max_u64(own->fixture->partitions[own->pull.partition].tail_first, own->pull.from);
    own->is_active = true;
    own->is_done = false;
    own->model = 0;
    assert_int_equal(log_reader_pull(own->fixture->reader, &own->pull), 0);
}

struct fixture_pull *fixture_pull_make(struct fixture *fixture, uint32_t slot, uint32_t kind)
{
    struct fixture_pull *own = &fixture->pulls[slot];
    *own = (struct fixture_pull){.fixture = fixture};
    if (kind == 0)
        kind = (uint32_t)random_between(&fixture->random, 1, 4);
    if (kind == 2 || kind == 4)
        own->pull.hint.topic_count = (uint16_t)random_between(&fixture->random, 1, 12);
    if (kind == 3 || kind == 4)
        own->pull.hint.prefix_count = (uint16_t)random_between(&fixture->random, 1, 6);
    for (uint32_t at = 0; at < own->pull.hint.topic_count; at++)
        own->topics[at] = random_text(fixture, false);
    for (uint32_t at = 0; at < own->pull.hint.prefix_count; at++)
        own->prefixes[at] = random_text(fixture, true);
    own->pull.hint.topics = own->topics;
    own->pull.hint.prefixes = own->prefixes;
    own->pull.hint.all = kind == 1;
    own->pull.partition = (uint16_t)random_below(&fixture->random, FIXTURE_PARTITIONS);
    const struct fixture_partition *part = &fixture->partitions[own->pull.partition];
    own->pull.from = random_chance(&fixture->random, 1, 3)
                         ? 0
                         : random_below(&fixture->random, part->tail_first);
    own->pull.records_max =
        (uint16_t)(random_chance(&fixture->random, 1, 2) ? random_between(&fixture->random, 1, 20)
                                                         : random_below(&fixture->random, 257));
    own->pull.bytes_max = (uint32_t)(random_chance(&fixture->random, 1, 3)
                                         ? random_between(&fixture->random, 1, 3000)
                                         : random_between(&fixture->random, 1, 1000000));
    return own;
}

void fixture_turn(struct fixture *fixture)
{
    struct ring_file_request *request;
    while ((request = ring_file_take(fixture->ring)) != NULL)
        assert_true(log_reader_take(fixture->reader, request));
    fixture->now_ns = ring_now_ns(fixture->ring);
    bool has_more = log_reader_turn(fixture->reader, 512, fixture->now_ns);
    struct helper *helper = fixture->store.helper;
    if (helper != NULL) {
        has_more |= metrics_get(&helper_counters(helper)->waiting) > 0;
        helper_turn(helper, fixture->now_ns);
        assert_true(fixture->store.open_count <= fixture->options.segments_open_max);
    }
    uint64_t deadline_ns =
        ps_min_u64(log_reader_deadline_ns(fixture->reader), fixture->now_ns + STEP_NS);
    if (log_reader_is_idle(fixture->reader))
        return;
    log_reader_world_wait(fixture->ring, has_more ? 0 : deadline_ns);
}

static bool is_active(const struct fixture *fixture)
{
    for (uint32_t at = 0; at < FIXTURE_PULLS; at++) {
        if (fixture->pulls[at].is_active)
            return true;
    }
    return false;
}

void fixture_finish(struct fixture *fixture)
{
    for (uint32_t turn = 0; is_active(fixture) && turn < TURNS_MAX; turn++)
        fixture_turn(fixture);
    assert_false(is_active(fixture));
}

void fixture_forget(struct fixture *fixture, uint16_t partition, uint32_t extents)
{
    struct fixture_partition *part = &fixture->partitions[partition];
    uint32_t first = part->extent_first + extents;
    ps_assert(first < part->extent_count);
    log_reader_forget(fixture->reader, partition, part->extents[first].first);
    part->extent_first = first;
}
