/*
 * A topic index on a heap of its own, for tests: what is taken must be given back by the end.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_TOPIC_INDEX_FIXTURE_H
#define PENSTOCK_TESTS_SUPPORT_TOPIC_INDEX_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/heap.h"
#include "session/topic_index.h"

struct topic_index_fixture {
    struct heap_budget budget;
    struct heap heap;
    struct topic_index index;
    uint64_t evicted_user_sum; /* of the `user` fields of evicted topics */
};

static inline void fixture_on_evict(void *context, struct topic *topic)
{
    struct topic_index_fixture *fixture = context;
    fixture->evicted_user_sum += topic->user;
}

static inline int fixture_try_start(struct topic_index_fixture *fixture, uint32_t topics_max,
                                    uint64_t fail_at)
{
    fixture->budget = (struct heap_budget){.bytes_max = 0};
    fixture->evicted_user_sum = 0;
    heap_init(&fixture->heap, &fixture->budget);
    fixture->heap.fail_at = fail_at;
    struct topic_index_options options = {.heap = &fixture->heap,
                                          .seed = 0x5eed,
                                          .topics_max = topics_max,
                                          .filters_max = 100000,
                                          .on_evict = fixture_on_evict,
                                          .context = fixture};
    return topic_index_init(&fixture->index, &options);
}

static inline void fixture_start(struct topic_index_fixture *fixture, uint32_t topics_max)
{
    assert_int_equal(fixture_try_start(fixture, topics_max, 0), 0);
}

static inline void fixture_stop(struct topic_index_fixture *fixture)
{
    topic_index_deinit(&fixture->index);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
}

/* From here on no allocation succeeds, or all do. */
static inline void fixture_set_memory(struct topic_index_fixture *fixture, bool is_there)
{
    fixture->budget.bytes_max = is_there ? 0 : 1;
}

static inline struct filter *fixture_subscribe(struct topic_index_fixture *fixture,
                                               const char *text)
{
    struct filter *filter = NULL;
    assert_int_equal(filter_acquire(&fixture->index, text, (uint32_t)strlen(text), &filter), 0);
    topic_index_activate(&fixture->index, filter);
    return filter;
}

static inline void fixture_unsubscribe(struct topic_index_fixture *fixture, struct filter *filter)
{
    topic_index_deactivate(&fixture->index, filter);
    filter_release(&fixture->index, filter);
}

static inline struct topic *fixture_resolve(struct topic_index_fixture *fixture, const char *text)
{
    uint32_t bytes = (uint32_t)strlen(text);
    return topic_resolve(&fixture->index, text, bytes,
                         topic_index_hash(&fixture->index, text, bytes));
}

/* True when the resolved topic names the filter. */
static inline bool fixture_names(const struct topic *topic, const struct filter *filter)
{
    if (topic->exact == filter)
        return true;
    for (uint32_t i = 0; i < topic->pattern_count; i++) {
        if (topic->patterns[i] == filter)
            return true;
    }
    return false;
}

#endif
