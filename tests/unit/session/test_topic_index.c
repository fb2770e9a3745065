/*
 * The index against a model: random filters over a small alphabet come, go, and are switched on and
 * off between resolutions, with a table of few topics and with memory that comes and goes. The
 * model is a list of texts and a matcher of its own.
 */
#include "support/topic_index_fixture.h"

enum {
    FILTERS_MAX = 200,
    STEPS = 20000,
    LEVELS_MAX = 5,
    TEXT_MAX = 32,
    SEEDS = 4,
};

struct model_filter {
    char text[TEXT_MAX];
    struct filter *filter; /* NULL: the place is free */
    bool is_active;
};

struct model {
    uint64_t random;
    struct topic_index_fixture fixture;
    struct model_filter filters[FILTERS_MAX];
    bool has_memory;
    uint64_t matches_seen;
    uint64_t refused;
};

/* xorshift64* */
static uint32_t below(struct model *model, uint32_t limit)
{
    model->random ^= model->random >> 12;
    model->random ^= model->random << 25;
    model->random ^= model->random >> 27;
    return (uint32_t)((model->random * 0x2545f4914f6cdd1dULL) >> 33) % limit;
}

static void make_text(struct model *model, bool with_wildcards, char *text)
{
    static const char *const literals[] = {"a", "b", "", "$a"};
    do {
        text[0] = '\0';
        uint32_t levels = 1 + below(model, LEVELS_MAX);
        for (uint32_t i = 0; i < levels; i++) {
            if (i > 0)
                strcat(text, "/");
            uint32_t kind = with_wildcards ? below(model, 8) : 0;
            if (kind == 7 && i + 1 == levels)
                strcat(text, "#");
            else if (kind >= 5)
                strcat(text, "+");
            else
                strcat(text, literals[below(model, ps_array_count(literals))]);
        }
    } while (text[0] == '\0');
}

static bool levels_match(const char *filter, const char *topic)
{
    if (strcmp(filter, "#") == 0)
        return true;
    size_t filter_bytes = strcspn(filter, "/");
    size_t topic_bytes = strcspn(topic, "/");
    bool is_plus = filter_bytes == 1 && filter[0] == '+';
    if (!is_plus && (filter_bytes != topic_bytes || memcmp(filter, topic, topic_bytes) != 0))
        return false;
    filter += filter_bytes;
    topic += topic_bytes;
    if (*topic == '\0')
        return *filter == '\0' || strcmp(filter, "/#") == 0;
    return *filter == '/' && levels_match(filter + 1, topic + 1);
}

static bool model_matches(const char *filter, const char *topic)
{
    if (topic[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
        return false;
    return levels_match(filter, topic);
}

struct walk_result {
    const struct topic *topic;
    uint32_t count;
};

static bool check_visit(void *context, struct filter *filter)
{
    struct walk_result *result = context;
    assert_true(fixture_names(result->topic, filter));
    result->count++;
    return true;
}

static void check_topic(struct model *model)
{
    char text[TEXT_MAX];
    make_text(model, false, text);
    const struct topic *topic = fixture_resolve(&model->fixture, text);
    assert_int_equal(topic->bytes, strlen(text));
    assert_memory_equal(topic->text, text, strlen(text));
    uint32_t expected_count = 0;
    for (uint32_t i = 0; i < FILTERS_MAX; i++) {
        const struct model_filter *entry = &model->filters[i];
        if (entry->filter == NULL)
            continue;
        bool is_match = entry->is_active && model_matches(entry->text, text);
        expected_count += is_match ? 1 : 0;
        if (fixture_names(topic, entry->filter) != is_match)
            fail_msg("filter %s, topic %s: expected %d", entry->text, text, is_match);
    }
    assert_int_equal(topic->pattern_count + (topic->exact != NULL ? 1 : 0), expected_count);
    struct walk_result result = {.topic = topic};
    topic_matches_walk(&model->fixture.index, text, (uint32_t)strlen(text), check_visit, &result);
    assert_int_equal(result.count, expected_count);
    model->matches_seen += expected_count;
}

/* Makes a filter in a free place, unless the model has its text already. */
static void try_acquire(struct model *model, struct model_filter *entry)
{
    char text[TEXT_MAX];
    make_text(model, true, text);
    struct topic_index *index = &model->fixture.index;
    uint32_t bytes = (uint32_t)strlen(text);
    struct filter *known = filter_find(index, text, bytes);
    struct filter *filter = NULL;
    int result = filter_acquire(index, text, bytes, &filter);
    if (known != NULL) {
        assert_int_equal(result, 0);
        assert_ptr_equal(filter, known);
        filter_release(index, filter);
        return;
    }
    if (result < 0) {
        assert_int_equal(result, -ENOMEM);
        assert_false(model->has_memory);
        model->refused++;
        return;
    }
    memcpy(entry->text, text, sizeof text);
    entry->filter = filter;
    entry->is_active = false;
}

static void change_filter(struct model *model)
{
    struct topic_index *index = &model->fixture.index;
    struct model_filter *entry = &model->filters[below(model, FILTERS_MAX)];
    if (entry->filter == NULL) {
        try_acquire(model, entry);
    } else if (!entry->is_active && below(model, 4) == 0) {
        filter_release(index, entry->filter);
        entry->filter = NULL;
    } else if (entry->is_active) {
        topic_index_deactivate(index, entry->filter);
        entry->is_active = false;
    } else {
        topic_index_activate(index, entry->filter);
        entry->is_active = true;
    }
}

static void run_model(uint64_t seed, uint32_t topics_max, bool memory_comes_and_goes)
{
    static struct model model;
    model = (struct model){.random = seed, .has_memory = true};
    fixture_start(&model.fixture, topics_max);
    for (uint32_t step = 0; step < STEPS; step++) {
        if (memory_comes_and_goes && below(&model, 50) == 0) {
            model.has_memory = !model.has_memory;
            fixture_set_memory(&model.fixture, model.has_memory);
        }
        if (below(&model, 3) == 0)
            change_filter(&model);
        else
            check_topic(&model);
        assert_true(model.fixture.index.topics.count <= topics_max);
    }
    assert_true(model.matches_seen > STEPS);
    assert_int_equal(model.refused > 0, memory_comes_and_goes);
    if (memory_comes_and_goes)
        assert_true(model.fixture.index.counters.topics_uncached > 0);
    for (uint32_t i = 0; i < FILTERS_MAX; i++) {
        if (model.filters[i].filter == NULL)
            continue;
        if (model.filters[i].is_active)
            topic_index_deactivate(&model.fixture.index, model.filters[i].filter);
        filter_release(&model.fixture.index, model.filters[i].filter);
    }
    assert_int_equal(model.fixture.index.trie.node_count, 0);
    fixture_stop(&model.fixture);
}

static void a_large_table_agrees_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_model(seed, 100000, false);
}

static void a_tiny_table_agrees_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_model(seed, (uint32_t)seed, false);
}

static void an_index_short_of_memory_agrees_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        run_model(seed, seed % 2 == 0 ? 3 : 100000, true);
}

static void equal_seeds_give_equal_hashes_and_others_do_not(void **state)
{
    (void)state;
    struct topic_index_fixture first;
    struct topic_index_fixture second;
    fixture_start(&first, 1);
    fixture_start(&second, 1);
    assert_int_equal(topic_index_hash(&first.index, "a/b", 3),
                     topic_index_hash(&second.index, "a/b", 3));
    fixture_stop(&second);
    struct topic_index_options options = first.index.options;
    options.heap = &second.heap;
    options.seed++;
    heap_init(&second.heap, &second.budget);
    assert_int_equal(topic_index_init(&second.index, &options), 0);
    assert_int_not_equal(topic_index_hash(&first.index, "a/b", 3),
                         topic_index_hash(&second.index, "a/b", 3));
    fixture_stop(&second);
    fixture_stop(&first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_large_table_agrees_with_the_model),
        cmocka_unit_test(a_tiny_table_agrees_with_the_model),
        cmocka_unit_test(an_index_short_of_memory_agrees_with_the_model),
        cmocka_unit_test(equal_seeds_give_equal_hashes_and_others_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
