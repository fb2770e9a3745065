/*
 * The subscription index at up to a million subscriptions: a topic that is in the table, one that
 * must be matched, and a filter that comes and goes. Prints the bytes that a subscription takes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "micro.h"
#include "session/topic_index.h"

enum { TEXT_MAX = 48, PROBES = 65536, HOT_TOPICS = 1024 };

struct probe {
    char text[TEXT_MAX];
    uint32_t bytes;
    uint64_t hash;
};

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct topic_index index;
    struct filter **filters;
    uint64_t filter_count;
    struct probe *probes; /* topics of random clients */
    uint64_t next;
    uint64_t found; /* keeps the compiler from leaving the work out */
};

static void *allocate(size_t count, size_t bytes)
{
    void *memory = calloc(count, bytes);
    ps_assert(memory != NULL);
    return memory;
}

static uint64_t scatter(uint64_t i)
{
    return i * 0x9e3779b97f4a7c15ULL >> 20;
}

/* `size` filters made of `format` with the client's number, all active. */
static struct subject *create(uint64_t size, bool is_pattern, uint64_t probe_clients)
{
    struct subject *subject = allocate(1, sizeof *subject);
    heap_init(&subject->heap, &subject->budget);
    struct topic_index_options options = {.heap = &subject->heap,
                                          .seed = 42,
                                          .topics_max = UINT32_C(1) << 20,
                                          .filters_max = UINT32_C(1) << 24};
    int result = topic_index_init(&subject->index, &options);
    ps_assert(result == 0);
    subject->filters = allocate(size, sizeof(struct filter *));
    subject->filter_count = size;
    int64_t bytes_before = subject->heap.bytes_net;
    for (uint64_t i = 0; i < size; i++) {
        char text[TEXT_MAX];
        int bytes =
            snprintf(text, sizeof text, is_pattern ? "devices/%010lu/#" : "devices/%010lu/cmd", i);
        result = filter_acquire(&subject->index, text, (uint32_t)bytes, &subject->filters[i]);
        ps_assert(result == 0);
        topic_index_activate(&subject->index, subject->filters[i]);
    }
    (void)fprintf(stderr, "%lu %s filters: %.1f bytes each\n", size,
                  is_pattern ? "pattern" : "exact",
                  (double)(subject->heap.bytes_net - bytes_before) / (double)size);
    subject->probes = allocate(PROBES, sizeof(struct probe));
    for (uint64_t i = 0; i < PROBES; i++) {
        struct probe *probe = &subject->probes[i];
        probe->bytes = (uint32_t)snprintf(probe->text, sizeof probe->text, "devices/%010lu/cmd",
                                          scatter(i % probe_clients) % size);
        probe->hash = topic_index_hash(&subject->index, probe->text, probe->bytes);
        /* Into the table, so that topic_resolve is measured without making entries. */
        (void)topic_resolve(&subject->index, probe->text, probe->bytes, probe->hash);
    }
    return subject;
}

static void *create_exact(uint64_t size)
{
    return create(size, false, PROBES);
}

static void *create_exact_hot(uint64_t size)
{
    return create(size, false, HOT_TOPICS);
}

static void *create_pattern(uint64_t size)
{
    return create(size, true, PROBES);
}

static void *create_pattern_hot(uint64_t size)
{
    return create(size, true, HOT_TOPICS);
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ps_assert(subject->found > 0);
    for (uint64_t i = 0; i < subject->filter_count; i++) {
        topic_index_deactivate(&subject->index, subject->filters[i]);
        filter_release(&subject->index, subject->filters[i]);
    }
    topic_index_deinit(&subject->index);
    ps_assert(subject->heap.bytes_net == 0);
    heap_deinit(&subject->heap);
    free(subject->filters);
    free(subject->probes);
    free(subject);
}

static void run_resolve(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        const struct probe *probe = &subject->probes[subject->next++ % PROBES];
        const struct topic *topic =
            topic_resolve(&subject->index, probe->text, probe->bytes, probe->hash);
        subject->found += topic->pattern_count + (topic->exact != NULL ? 1 : 0);
    }
}

static bool count_visit(void *context, struct filter *filter)
{
    struct subject *subject = context;
    subject->found += filter->is_active;
    return true;
}

static void run_match(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        const struct probe *probe = &subject->probes[subject->next++ % PROBES];
        topic_matches_walk(&subject->index, probe->text, probe->bytes, count_visit, subject);
    }
}

/* A client goes and another comes, each with a filter of its own. */
static void run_replace(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    struct topic_index *index = &subject->index;
    for (uint64_t i = 0; i < iterations; i++) {
        uint64_t number = subject->next++;
        struct filter **place = &subject->filters[scatter(number) % subject->filter_count];
        topic_index_deactivate(index, *place);
        filter_release(index, *place);
        char text[TEXT_MAX] = "devices/##########/new/+";
        for (uint64_t digit = 17; digit > 7; digit--, number /= 10)
            text[digit] = (char)('0' + number % 10);
        int result = filter_acquire(index, text, (uint32_t)strlen(text), place);
        ps_assert(result == 0);
        topic_index_activate(index, *place);
        subject->found++;
    }
}

const struct micro_case micro_topic_index_cases[] = {
    {"topic_resolve/exact/hot", create_exact_hot, destroy, run_resolve, 1000000},
    {"topic_resolve/exact/spread", create_exact, destroy, run_resolve, 1000000},
    {"topic_resolve/pattern/hot", create_pattern_hot, destroy, run_resolve, 1000000},
    {"topic_resolve/pattern/spread", create_pattern, destroy, run_resolve, 1000000},
    {"topic_match/exact", create_exact, destroy, run_match, 1000000},
    {"topic_match/pattern", create_pattern, destroy, run_match, 1000000},
    {"filter_replace/pattern", create_pattern, destroy, run_replace, 1000000},
    {NULL, NULL, NULL, NULL, 0},
};
