/*
 * Hints as hashes, held against the contract of struct broker_hint by its bytes; the lowest
 * postings against a sorted list of all.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/random.h"
#include "read_plan_internal.h"

enum { SEED = 5, PARTITION = 3, ROUNDS = 300, HINTS = 8, TEXT_MAX = 16, ADDED_MAX = 600 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct random random;
    char texts[2 * HINTS][TEXT_MAX];
    struct broker_bytes topics[HINTS];
    struct broker_bytes prefixes[HINTS];
    struct broker_hint hint;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    ps_assert(fixture != NULL);
    heap_init(&fixture->heap, &fixture->budget);
    random_init(&fixture->random, SEED);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    heap_deinit(&fixture->heap);
    bool is_clean = heap_budget_bytes_used(&fixture->budget) == 0;
    free(fixture);
    return is_clean ? 0 : -1;
}

/* Slashes are frequent: empty levels, and more levels than are hashed. */
static uint32_t random_text(struct fixture *fixture, char *out)
{
    uint32_t count = (uint32_t)random_between(&fixture->random, 1, 9);
    for (uint32_t at = 0; at < count; at++)
        out[at] = "a/b/"[random_below(&fixture->random, 4)];
    out[count] = '\0';
    return count;
}

static struct read_plan *random_plan(struct fixture *fixture)
{
    fixture->hint = (struct broker_hint){.topics = fixture->topics, .prefixes = fixture->prefixes};
    fixture->hint.topic_count = (uint16_t)random_below(&fixture->random, HINTS + 1);
    fixture->hint.prefix_count = (uint16_t)random_below(&fixture->random, HINTS + 1);
    for (uint32_t at = 0; at < HINTS; at++) {
        char *topic = fixture->texts[at];
        char *prefix = fixture->texts[HINTS + at];
        fixture->topics[at] = (struct broker_bytes){topic, random_text(fixture, topic)};
        fixture->prefixes[at] = (struct broker_bytes){prefix, random_text(fixture, prefix)};
        if (random_chance(&fixture->random, 1, 8))
            fixture->prefixes[at].count = 0; /* an empty first level */
    }
    assert_false(read_plan_is_all(&fixture->hint));
    struct read_plan *plan = read_plan_create(&fixture->heap, SEED, PARTITION, &fixture->hint);
    assert_non_null(plan);
    return plan;
}

static bool is_covered(const struct broker_hint *hint, const char *topic)
{
    size_t count = strlen(topic);
    for (uint32_t at = 0; at < hint->topic_count; at++) {
        if (hint->topics[at].count == count && memcmp(hint->topics[at].bytes, topic, count) == 0)
            return true;
    }
    for (uint32_t at = 0; at < hint->prefix_count; at++) {
        uint32_t bytes = hint->prefixes[at].count;
        if (bytes <= count && memcmp(hint->prefixes[at].bytes, topic, bytes) == 0 &&
            (bytes == count || topic[bytes] == '/'))
            return true;
    }
    return false;
}

static void a_plan_covers_what_its_hints_say(void **state)
{
    struct fixture *fixture = *state;
    uint32_t covered = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct read_plan *plan = random_plan(fixture);
        for (uint32_t at = 1; at < plan->hint_count; at++)
            assert_true(plan->hints[at - 1].hash <= plan->hints[at].hash);
        for (uint32_t at = 0; at < 40; at++) {
            char topic[TEXT_MAX];
            const struct record_source source = {.topic = topic,
                                                 .topic_bytes = random_text(fixture, topic)};
            struct record *record = record_create(&fixture->heap, &source);
            assert_non_null(record);
            bool is_expected = is_covered(&fixture->hint, topic);
            assert_int_equal(read_plan_covers(plan, record), is_expected);
            covered += is_expected;
            record_release(&fixture->heap, record);
        }
        heap_free(&fixture->heap, plan);
    }
    assert_true(covered > ROUNDS);
}

/* Every topic that a hint covers stands in an index under a hash that the plan looks up. */
static void a_plan_looks_up_a_hash_of_every_topic_it_covers(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        struct read_plan *plan = random_plan(fixture);
        char topic[TEXT_MAX];
        uint32_t count = random_text(fixture, topic);
        bool is_found = false;
        for (uint32_t levels = 0; levels <= SEGMENT_INDEX_LEVELS; levels++) {
            uint32_t bytes = levels == 0 ? count : 0;
            for (uint32_t left = levels; left > 0; left--) {
                bytes += (uint32_t)strcspn(topic + bytes, "/");
                if (left > 1 && topic[bytes] != '/')
                    break;
                bytes += left > 1;
            }
            uint32_t hash = segment_index_hash(SEED, PARTITION, levels, topic, bytes);
            for (uint32_t at = 0; at < plan->hint_count; at++)
                is_found |= plan->hints[at].hash == hash;
        }
        assert_true(is_found || !is_covered(&fixture->hint, topic));
        heap_free(&fixture->heap, plan);
    }
}

static void more_hints_than_can_be_looked_up_are_everything(void **state)
{
    (void)state;
    struct broker_hint hint = {.topic_count = 1000, .prefix_count = 24};
    assert_false(read_plan_is_all(&hint));
    hint.prefix_count = 25;
    assert_true(read_plan_is_all(&hint));
    hint = (struct broker_hint){.all = true};
    assert_true(read_plan_is_all(&hint));
}

static int compare_sequences(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static void the_lowest_postings_are_kept_each_once(void **state)
{
    struct fixture *fixture = *state;
    static struct read_postings postings;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        uint64_t sequences[ADDED_MAX];
        uint32_t max = (uint32_t)random_between(&fixture->random, 1, BROKER_PULL_RECORDS_MAX);
        uint32_t added = (uint32_t)random_below(&fixture->random, ADDED_MAX + 1);
        read_postings_clear(&postings, max);
        for (uint32_t at = 0; at < added; at++) {
            sequences[at] = random_between(&fixture->random, 1, 1000);
            const struct read_posting posting = {.sequence = sequences[at],
                                                 .offset = sequences[at] * 8};
            bool is_useful = read_postings_add(&postings, posting);
            assert_true(is_useful || postings.entries[postings.count - 1].sequence < sequences[at]);
        }
        qsort(sequences, added, sizeof(sequences[0]), compare_sequences);
        uint32_t kept = 0;
        uint32_t different = 0;
        for (uint32_t at = 0; at < added; at++) {
            if (at > 0 && sequences[at] == sequences[at - 1])
                continue;
            different++;
            if (kept == max)
                continue;
            assert_int_equal(postings.entries[kept].sequence, sequences[at]);
            assert_int_equal(postings.entries[kept].offset, sequences[at] * 8);
            kept++;
        }
        assert_int_equal(postings.count, kept);
        assert_int_equal(postings.is_cut, different > max);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_plan_covers_what_its_hints_say, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_plan_looks_up_a_hash_of_every_topic_it_covers, set_up,
                                        tear_down),
        cmocka_unit_test(more_hints_than_can_be_looked_up_are_everything),
        cmocka_unit_test_setup_teardown(the_lowest_postings_are_kept_each_once, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
