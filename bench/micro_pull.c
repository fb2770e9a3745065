/*
 * Pulls of one exact topic over 40 closed segments of 16 Ki records, none of which has it: what a
 * late session of a quiet topic costs beside what others published. Each iteration asks for another
 * topic, from the first segment to the last, through the real ring; blocks of directories have a
 * cache of a third of what all of them are. The second case is without filters.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "log_reader_internal.h"
#include "micro.h"

enum {
    SEGMENTS = 40,
    RECORDS = 16384, /* of a segment */
    TOPICS = 13000,
    PARTITIONS = 4,
    HASH_SEED = 7,
    CACHE_BYTES = 2 << 20,
    FILTER_BYTES = 16 << 20
};

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct log_store store;
    struct ring *ring;
    struct log_reader *reader;
    struct log_segment segments[SEGMENTS];
    struct log_extent extents[SEGMENTS];
    struct broker_pull pull;
    struct broker_bytes topic;
    char path[32];
    char text[32];
    uint64_t end; /* sequence behind all */
    uint64_t asked;
    uint64_t answers;
    uint64_t pulls;
    bool is_answered;
};

static struct log_reader_partition on_partition(void *context, uint16_t partition)
{
    const struct subject *subject = context;
    (void)partition;
    return (struct log_reader_partition){subject->extents, SEGMENTS, subject->end};
}

static void on_read(void *context, struct broker_pull *pull)
{
    struct subject *subject = context;
    ps_assert(pull->status == BROKER_OK && pull->count == 0);
    subject->is_answered = true;
}

static void add_record(struct segment_index_builder *builder, uint32_t number, uint64_t first)
{
    uint32_t topic_number = number * 2654435761U % TOPICS;
    char topic[40];
    int topic_bytes =
        snprintf(topic, sizeof(topic), "site/%u/sensor%u", topic_number / 100, topic_number % 100);
    const struct segment_record record = {.offset = 4096 + (uint64_t)number * 232,
                                          .view = {.sequence = first + number / PARTITIONS,
                                                   .publish_ms = 1700000000000 + number,
                                                   .topic = (const unsigned char *)topic,
                                                   .topic_bytes = (uint16_t)topic_bytes,
                                                   .bytes = 230,
                                                   .partition = (uint16_t)(number % PARTITIONS)}};
    int result = segment_index_builder_add(builder, &record);
    ps_assert(result == 0);
}

static void make_segment(struct subject *subject, uint32_t at)
{
    struct log_segment *segment = &subject->segments[at];
    uint64_t first = 1 + (uint64_t)at * (RECORDS / PARTITIONS);
    segment->number = 1 + at;
    segment->seed = segment_seed(HASH_SEED, segment->number);
    atomic_init(&segment->references, 1);
    struct segment_partition partitions[PARTITIONS];
    for (uint16_t index = 0; index < PARTITIONS; index++)
        partitions[index] = (struct segment_partition){index, first};
    const struct segment_header header = {.number = segment->number, .partition_count = PARTITIONS};
    struct segment_index_builder *builder =
        segment_index_builder_create(&subject->heap, HASH_SEED, &header, partitions);
    ps_assert(builder != NULL);
    for (uint32_t number = 0; number < RECORDS; number++)
        add_record(builder, number, first);
    char name[SEGMENT_NAME_BYTES];
    segment_name(segment->number, "seg", name);
    int directory = subject->store.log_directory;
    int result = disk_open(directory, name, DISK_OPEN_CREATE_NEW, &segment->fd);
    struct segment_index *index = NULL;
    if (result == 0)
        result = segment_index_write(builder, directory, 4096 + RECORDS * 232, &index,
                                     &segment->index_fd);
    ps_assert(result == 0);
    segment_index_builder_destroy(builder);
    atomic_init(&segment->index, index);
    subject->extents[at] = (struct log_extent){
        .segment = segment, .first = first, .next = first + RECORDS / PARTITIONS};
    subject->end = subject->extents[at].next;
}

static void make_reader(struct subject *subject, uint64_t filter_bytes)
{
    const struct ring_options options = {.sockets_max = 4, .mode = RING_MODE_PLAIN};
    char error[256] = "";
    int result = ring_create(&options, &subject->ring, error, sizeof(error));
    if (result == 0)
        result = ring_start(subject->ring);
    const struct log_reader_events events = {
        .context = subject, .partition = on_partition, .on_read = on_read};
    const struct log_reader_limits limits = {
        .cache_bytes = CACHE_BYTES, .filter_bytes_max = filter_bytes, .reads_max = 4};
    if (result == 0)
        result = log_reader_create(&subject->store, subject->ring, &subject->heap, &limits, &events,
                                   &subject->reader);
    ps_assert(result == 0);
}

static void *create(uint64_t filter_bytes)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    heap_init(&subject->heap, &subject->budget);
    snprintf(subject->path, sizeof(subject->path), "/tmp/penstock-micro-XXXXXX");
    const char *made = mkdtemp(subject->path);
    int result = disk_open_directory(subject->path, &subject->store.log_directory);
    ps_assert(made != NULL && result == 0);
    subject->store.hash_seed = HASH_SEED;
    pthread_mutex_init(&subject->store.mutex, NULL);
    for (uint32_t at = 0; at < SEGMENTS; at++)
        make_segment(subject, at);
    make_reader(subject, filter_bytes);
    return subject;
}

static int remove_file(void *context, const char *name)
{
    const struct subject *subject = context;
    return disk_remove(subject->store.log_directory, name);
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    const struct log_reader_counters *counters = log_reader_counters(subject->reader);
    fprintf(stderr, "%.1f answers and %.1f blocks fetched for each pull\n",
            (double)subject->answers / (double)subject->pulls,
            (double)counters->blocks_fetched / (double)subject->pulls);
    ring_destroy(subject->ring);
    log_reader_destroy(subject->reader);
    for (uint32_t at = 0; at < SEGMENTS; at++) {
        disk_close(subject->segments[at].fd);
        disk_close(subject->segments[at].index_fd);
        segment_index_destroy(&subject->heap, atomic_load(&subject->segments[at].index));
    }
    disk_list(subject->store.log_directory, remove_file, subject);
    disk_close(subject->store.log_directory);
    rmdir(subject->path);
    pthread_mutex_destroy(&subject->store.mutex);
    heap_deinit(&subject->heap);
    free(subject);
}

static void wait_for_answer(struct subject *subject)
{
    struct ring_file_request *request;
    while (!subject->is_answered) {
        while ((request = ring_file_take(subject->ring)) != NULL) {
            bool is_taken = log_reader_take(subject->reader, request);
            ps_assert(is_taken);
        }
        bool has_more = log_reader_turn(subject->reader, 512, ring_now_ns(subject->ring));
        struct ring_event event;
        if (!subject->is_answered)
            ring_wait(subject->ring, has_more ? 0 : UINT64_MAX, &event, 1);
    }
}

static void pull(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t iteration = 0; iteration < iterations; iteration++) {
        subject->topic = (struct broker_bytes){
            subject->text, (uint32_t)snprintf(subject->text, sizeof(subject->text), "site/%u/none",
                                              (uint32_t)(subject->asked++ * 2654435761U % 65536))};
        subject->pull = (struct broker_pull){
            .hint = {.topics = &subject->topic, .topic_count = 1}, .from = 1, .bytes_max = 65536};
        for (; subject->pull.next != subject->end; subject->pull.from = subject->pull.next) {
            subject->is_answered = false;
            int result = log_reader_pull(subject->reader, &subject->pull);
            ps_assert(result == 0);
            wait_for_answer(subject);
            subject->answers++;
        }
        subject->pulls++;
    }
}

const struct micro_case micro_pull_cases[] = {
    {"pull/exact_over_40_segments", create, destroy, pull, FILTER_BYTES},
    {"pull/exact_over_40_segments_no_filters", create, destroy, pull, 0},
    {NULL, NULL, NULL, NULL, 0},
};
