/*
 * Pulls from closed segments, held against a model over seeded logs, hints, froms and limits; see
 * log_reader_fixture.h.
 */
#include "log_reader_suite.h"

#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "log_reader_fixture.h"

enum { BLOCK_BYTES = SEGMENT_INDEX_BLOCK_BYTES };

static const struct fixture_options ordinary = {.seed = 1,
                                                .segments = 6,
                                                .records = 600,
                                                .payload_max = 200,
                                                .large_chance = 8,
                                                .gap_chance = 4,
                                                .cache_bytes = 64 * BLOCK_BYTES,
                                                .filter_bytes_max = 1 << 20,
                                                .reads_max = FIXTURE_PULLS};

static void run_all(struct fixture *fixture, uint32_t rounds)
{
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++)
            fixture_pull_start(fixture_pull_make(fixture, slot, 0));
        fixture_finish(fixture);
    }
}

static void pulls_give_what_the_model_has(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        struct fixture_options options = ordinary;
        options.seed = seed;
        options.large_chance = seed % 2 == 0 ? 8 : 0;
        struct fixture *fixture = fixture_create(&options);
        run_all(fixture, 3);
        const struct log_reader_counters *counters = log_reader_counters(fixture->reader);
        assert_int_equal(counters->read_failures, 0);
        assert_int_equal(counters->damaged_blocks, 0);
        assert_true(counters->records > 0);
        assert_true(counters->blocks_shared > counters->blocks_fetched);
        fixture_destroy(fixture);
    }
}

static void a_cache_of_one_block_serves_every_pull(void **state)
{
    (void)state;
    for (uint32_t blocks = 0; blocks <= 3; blocks++) {
        struct fixture_options options = ordinary;
        options.seed = 10 + blocks;
        options.segments = 3;
        options.records = 400;
        options.cache_bytes = blocks * BLOCK_BYTES;
        struct fixture *fixture = fixture_create(&options);
        run_all(fixture, 1);
        fixture_destroy(fixture);
    }
}

static void an_answer_ends_after_a_number_of_segments(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 20;
    options.segments = FIXTURE_SEGMENTS_MAX;
    options.records = 60;
    struct fixture *fixture = fixture_create(&options);
    struct fixture_pull *own = fixture_pull_make(fixture, 0, 2);
    own->topics[0] = (struct broker_bytes){"nobody/publishes/this", 21};
    own->pull.hint.topic_count = 1;
    own->pull.partition = 0;
    own->pull.from = 0;
    fixture_pull_start(own);
    fixture_finish(fixture);
    assert_int_equal(own->given, 0);
    assert_int_equal(own->answers, (FIXTURE_SEGMENTS_MAX + 15) / 16);
    assert_int_equal(log_reader_counters(fixture->reader)->records, 0);
    run_all(fixture, 1);
    fixture_destroy(fixture);
}

static void few_open_files_serve_every_pull(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 5, 20};
    for (uint32_t index = 0; index < ps_array_count(counts); index++) {
        struct fixture_options options = ordinary;
        options.seed = 60 + index;
        options.segments = 12;
        options.records = 150;
        options.segments_open_max = counts[index];
        options.cache_bytes = counts[index] * 8 * BLOCK_BYTES;
        struct fixture *fixture = fixture_create(&options);
        run_all(fixture, 2);
        assert_int_equal(log_reader_counters(fixture->reader)->read_failures, 0);
        assert_true(atomic_load(&fixture->store.opens) >= options.segments);
        if (counts[index] > options.segments) /* each once */
            assert_int_equal(atomic_load(&fixture->store.opens), options.segments);
        fixture_destroy(fixture);
    }
}

/* Pulls what nobody has published, from the first segment on. */
static const struct fixture_pull *pull_absent(struct fixture *fixture)
{
    struct fixture_pull *own = fixture_pull_make(fixture, 0, 2);
    own->topics[0] = (struct broker_bytes){"nobody/publishes/this", 21};
    own->pull.hint.topic_count = 1;
    own->pull.partition = 0;
    own->pull.from = 0;
    fixture_pull_start(own);
    fixture_finish(fixture);
    assert_int_equal(own->given, 0);
    while (!log_reader_is_idle(fixture->reader))
        fixture_turn(fixture);
    return own;
}

static void filters_step_over_what_others_published(void **state)
{
    (void)state;
    for (uint32_t open_max = 0; open_max <= 4; open_max += 2) {
        struct fixture_options options = ordinary;
        options.seed = 21;
        options.segments = FIXTURE_SEGMENTS_MAX;
        options.records = 60;
        options.segments_open_max = open_max;
        struct fixture *fixture = fixture_create(&options);
        const struct log_reader_counters *counters = log_reader_counters(fixture->reader);
        for (uint32_t round = 0; round < 20 && counters->filters_loaded < options.segments; round++)
            pull_absent(fixture);
        assert_int_equal(counters->filters_loaded, options.segments);
        assert_true(counters->filter_bytes > 0 &&
                    counters->filter_bytes <= options.filter_bytes_max);
        uint64_t skipped = counters->segments_skipped;
        uint64_t fetched = counters->blocks_fetched;
        uint64_t opens = atomic_load(&fixture->store.opens);
        const struct fixture_pull *own = pull_absent(fixture);
        assert_int_equal(own->answers, 1);
        assert_true(counters->segments_skipped - skipped >= options.segments * 9 / 10);
        assert_true(counters->blocks_fetched - fetched <= options.segments / 10);
        assert_true(atomic_load(&fixture->store.opens) - opens <= options.segments / 10);
        run_all(fixture, 2);
        fixture_destroy(fixture);
    }
}

static void filters_stay_within_their_room(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 22;
    options.segments = FIXTURE_SEGMENTS_MAX;
    options.records = 60;
    options.filter_bytes_max = 2 * BLOCK_BYTES;
    struct fixture *fixture = fixture_create(&options);
    const struct log_reader_counters *counters = log_reader_counters(fixture->reader);
    for (uint32_t round = 0; round < 12; round++) {
        pull_absent(fixture);
        assert_true(counters->filter_bytes <= options.filter_bytes_max);
    }
    assert_true(counters->filters_loaded > 0);
    run_all(fixture, 1);
    fixture_destroy(fixture);
    options.filter_bytes_max = 0;
    fixture = fixture_create(&options);
    for (uint32_t round = 0; round < 4; round++)
        pull_absent(fixture);
    assert_int_equal(log_reader_counters(fixture->reader)->filters_loaded, 0);
    fixture_destroy(fixture);
}

static void pulls_of_the_same_share_blocks(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 30;
    struct fixture *fixture = fixture_create(&options);
    for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++) {
        struct fixture_pull *own = fixture_pull_make(fixture, slot, 1);
        own->pull.partition = 0;
        own->pull.from = 0;
        own->pull.records_max = 0;
        own->pull.bytes_max = 1 << 20;
        fixture_pull_start(own);
    }
    fixture_finish(fixture);
    uint64_t blocks = 0;
    for (uint32_t segment = 0; segment < options.segments; segment++)
        blocks += fixture->data_ends[segment] / BLOCK_BYTES + 3;
    assert_true(log_reader_counters(fixture->reader)->blocks_fetched <= blocks);
    fixture_destroy(fixture);
}

static void more_reads_than_there_is_room_for_are_refused(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 40;
    options.reads_max = 2;
    struct fixture *fixture = fixture_create(&options);
    for (uint32_t slot = 0; slot < 2; slot++)
        fixture_pull_start(fixture_pull_make(fixture, slot, 0));
    struct fixture_pull *third = fixture_pull_make(fixture, 2, 0);
    assert_int_equal(log_reader_pull(fixture->reader, &third->pull), -EAGAIN);
    fixture_finish(fixture);
    assert_true(log_reader_is_idle(fixture->reader) ||
                log_reader_counters(fixture->reader)->blocks_fetched > 0);
    fixture_pull_start(third);
    fixture_finish(fixture);
    fixture_destroy(fixture);
}

static void a_cancelled_pull_is_the_callers_at_once(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 50;
    struct fixture *fixture = fixture_create(&options);
    for (uint32_t turns = 0; turns < 24; turns += 2) {
        for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++)
            fixture_pull_start(fixture_pull_make(fixture, slot, 0));
        for (uint32_t turn = 0; turn < turns; turn++)
            fixture_turn(fixture);
        for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot += 2) {
            struct fixture_pull *own = &fixture->pulls[slot];
            assert_int_equal(log_reader_cancel(fixture->reader, &own->pull), own->is_active);
            assert_false(log_reader_cancel(fixture->reader, &own->pull));
            assert_true(own->is_done || own->pull.count == 0);
            own->is_active = false;
        }
        fixture_finish(fixture);
    }
    fixture_destroy(fixture);
}

static void what_is_forgotten_is_left_out_and_the_rest_comes(void **state)
{
    (void)state;
    for (uint32_t turns = 0; turns < 24; turns += 2) {
        struct fixture_options options = ordinary;
        options.seed = 60 + turns % 6;
        options.segments = 5;
        options.records = 300;
        struct fixture *fixture = fixture_create(&options);
        for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++) {
            struct fixture_pull *own = fixture_pull_make(fixture, slot, 0);
            own->pull.partition = (uint16_t)(slot % (FIXTURE_PARTITIONS - 1));
            fixture_pull_start(own);
        }
        for (uint16_t partition = 0; partition < FIXTURE_PARTITIONS - 1; partition++) {
            for (uint32_t turn = 0; turn < turns; turn++)
                fixture_turn(fixture);
            fixture_forget(fixture, partition, 1 + turns % 3);
        }
        fixture_finish(fixture);
        fixture_destroy(fixture);
    }
}

static void a_pull_from_the_tail_on_is_answered_with_nothing(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(&ordinary);
    for (uint32_t beyond = 0; beyond < 3; beyond++) {
        struct fixture_pull *own = fixture_pull_make(fixture, 0, 1);
        own->pull.partition = 0;
        own->pull.from = fixture->partitions[0].tail_first + beyond;
        fixture_pull_start(own);
        fixture_finish(fixture);
        assert_int_equal(own->given, 0);
        assert_int_equal(own->answers, 1);
    }
    fixture->partitions[0].tail_first = fixture->partitions[0].extents[2].first + 3;
    struct fixture_pull *own = fixture_pull_make(fixture, 0, 1);
    own->pull.partition = 0;
    fixture_pull_start(own);
    fixture_finish(fixture);
    fixture_destroy(fixture);
}

static void many_hints_find_the_same_as_few(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 70;
    struct fixture *fixture = fixture_create(&options);
    static struct broker_bytes topics[1025];
    static char others[1025][8];
    for (uint32_t at = 0; at < 1025; at++) {
        snprintf(others[at], sizeof(others[at]), "x%u", at);
        topics[at] = (struct broker_bytes){others[at], (uint32_t)strlen(others[at])};
        if (at % 40 == 0)
            topics[at] = (struct broker_bytes){fixture->topics[at % FIXTURE_TOPICS],
                                               (uint32_t)strlen(fixture->topics[at % 80])};
    }
    for (uint32_t partition = 0; partition < FIXTURE_PARTITIONS; partition++) {
        struct fixture_pull *own = fixture_pull_make(fixture, partition, 2);
        own->pull.partition = (uint16_t)partition;
        own->pull.hint.topics = topics;
        own->pull.hint.topic_count = 1024;
        fixture_pull_start(own);
    }
    fixture_finish(fixture);
    struct fixture_pull *own = fixture_pull_make(fixture, 0, 2);
    own->is_once = true;
    own->pull.hint.topics = topics;
    own->pull.hint.topic_count = 1025;
    own->pull.hint.all = true; /* what the model expects of more than can be looked up */
    fixture_pull_start(own);
    fixture_finish(fixture);
    fixture_destroy(fixture);
}

/* 32 bits of hash: now and then what is looked up is another partition's, in a segment that has
 * none of it. */
static void another_partitions_postings_are_passed_over(void **state)
{
    (void)state;
    struct fixture_options options = ordinary;
    options.seed = 80;
    options.segments = 30;
    options.records = 100;
    options.has_twins = true;
    struct fixture *fixture = fixture_create(&options);
    for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++) {
        struct fixture_pull *own = fixture_pull_make(fixture, slot, 2);
        uint32_t twin = slot % 2;
        own->topics[0] =
            (struct broker_bytes){fixture->topics[twin], (uint32_t)strlen(fixture->topics[twin])};
        own->pull.partition = (uint16_t)twin;
        own->pull.from = 0;
        if (slot < 4)
            own->pull.hint.topic_count = 1;
        fixture_pull_start(own);
    }
    fixture_finish(fixture);
    assert_int_equal(log_reader_counters(fixture->reader)->damaged_blocks, 0);
    fixture_destroy(fixture);
}

int log_reader_suite_run(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pulls_give_what_the_model_has),
        cmocka_unit_test(a_cache_of_one_block_serves_every_pull),
        cmocka_unit_test(an_answer_ends_after_a_number_of_segments),
        cmocka_unit_test(few_open_files_serve_every_pull),
        cmocka_unit_test(filters_step_over_what_others_published),
        cmocka_unit_test(filters_stay_within_their_room),
        cmocka_unit_test(pulls_of_the_same_share_blocks),
        cmocka_unit_test(more_reads_than_there_is_room_for_are_refused),
        cmocka_unit_test(a_cancelled_pull_is_the_callers_at_once),
        cmocka_unit_test(what_is_forgotten_is_left_out_and_the_rest_comes),
        cmocka_unit_test(a_pull_from_the_tail_on_is_answered_with_nothing),
        cmocka_unit_test(many_hints_find_the_same_as_few),
        cmocka_unit_test(another_partitions_postings_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
