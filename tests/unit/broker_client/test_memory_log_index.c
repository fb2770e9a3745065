/*
 * Hinted reads of a partition's log: nothing that the hints cover is left out, and little is given
 * that they do not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/random.h"
#include "memory_log_internal.h"

enum { SEED = 17, TOPIC_MAX = 40, HINTS_MAX = 6, TOPICS = 400, LOG_RECORDS = 5000 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct memory_log_account account;
    struct memory_log log;
    struct memory_log_scratch scratch;
    struct random random;
    char topics[TOPICS][TOPIC_MAX];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    memory_log_init(&fixture->log, &fixture->heap, &fixture->account, SEED);
    random_init(&fixture->random, SEED);
    for (uint32_t index = 0; index < TOPICS; index++) {
        char *topic = fixture->topics[index];
        size_t used = 0;
        for (uint64_t level = random_between(&fixture->random, 1, 6); level > 0; level--)
            used += (size_t)snprintf(topic + used, TOPIC_MAX - used, "%s%.*s", used > 0 ? "/" : "",
                                     (int)random_below(&fixture->random, 3),
                                     &"abcab"[random_below(&fixture->random, 3)]);
        if (used == 0)
            memcpy(topic, "a", 2);
    }
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_log_deinit(&fixture->log);
    heap_deinit(&fixture->heap);
    bool is_clean = fixture->account.bytes == 0 && heap_budget_bytes_used(&fixture->budget) == 0;
    free(fixture);
    return is_clean ? 0 : -1;
}

static const char *random_topic(struct fixture *fixture)
{
    return fixture->topics[random_below(&fixture->random, TOPICS)];
}

static void append(struct fixture *fixture, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++) {
        const char *topic = random_topic(fixture);
        const struct record_source source = {.topic = topic,
                                             .topic_bytes = (uint32_t)strlen(topic)};
        struct record *record = record_create(&fixture->heap, &source);
        assert_non_null(record);
        assert_int_equal(memory_log_append(&fixture->log, record), 0);
    }
}

static bool is_covered(const struct broker_hint *hint, const struct record *record)
{
    const unsigned char *topic = record_topic(record);
    for (uint32_t index = 0; index < hint->topic_count; index++)
        if (hint->topics[index].count == record->topic_bytes &&
            memcmp(hint->topics[index].bytes, topic, record->topic_bytes) == 0)
            return true;
    for (uint32_t index = 0; index < hint->prefix_count; index++) {
        uint32_t bytes = hint->prefixes[index].count;
        if (bytes <= record->topic_bytes &&
            memcmp(hint->prefixes[index].bytes, topic, bytes) == 0 &&
            (bytes == record->topic_bytes || topic[bytes] == '/'))
            return true;
    }
    return false;
}

/* Reads from `from` to the tail as `hint` says. Result: records given that it does not cover. */
static uint32_t assert_complete(struct fixture *fixture, const struct broker_hint *hint,
                                uint64_t from, uint32_t work)
{
    uint32_t surplus = 0;
    struct broker_pull pull = {.from = from, .bytes_max = 1 << 20, .hint = *hint};
    for (uint32_t rounds = 0; rounds < LOG_RECORDS; rounds++) {
        uint32_t work_left = work;
        memory_log_read(&fixture->log, &pull, false, &fixture->scratch, &work_left);
        uint64_t sequence = ps_max_u64(pull.from, fixture->log.first);
        assert_int_equal(pull.removed, sequence - ps_max_u64(pull.from, 1));
        for (uint32_t index = 0; index < pull.count; index++, sequence++) {
            for (; sequence < pull.records[index]->sequence; sequence++)
                assert_false(is_covered(hint, memory_log_at(&fixture->log, sequence)));
            surplus += !is_covered(hint, pull.records[index]);
        }
        for (; sequence < pull.next; sequence++)
            assert_false(is_covered(hint, memory_log_at(&fixture->log, sequence)));
        if (pull.is_at_tail)
            return surplus;
        assert_true(pull.next > pull.from);
        pull.from = pull.next;
    }
    fail_msg("the read does not come to the tail");
    return 0;
}

/* A topic cut at a random slash, or whole. */
static struct broker_bytes random_prefix(struct fixture *fixture)
{
    const char *topic = random_topic(fixture);
    uint32_t bytes = (uint32_t)strlen(topic);
    for (uint64_t cuts = random_below(&fixture->random, 4); cuts > 0; cuts--) {
        uint32_t cut = bytes;
        while (cut > 0 && topic[cut] != '/')
            cut--;
        bytes = cut > 0 ? cut : bytes;
    }
    return (struct broker_bytes){topic, bytes};
}

static void random_hints_leave_nothing_out(void **state)
{
    struct fixture *fixture = *state;
    uint32_t surplus = 0;
    for (uint32_t round = 0; round < 150; round++) {
        struct broker_bytes topics[HINTS_MAX];
        struct broker_bytes prefixes[HINTS_MAX];
        struct broker_hint hint = {.topics = topics, .prefixes = prefixes};
        append(fixture, (uint32_t)random_below(&fixture->random, 100));
        memory_log_remove(&fixture->log, fixture->log.first + random_below(&fixture->random, 60),
                          UINT32_MAX);
        hint.topic_count = (uint16_t)random_below(&fixture->random, HINTS_MAX + 1);
        hint.prefix_count = (uint16_t)random_below(&fixture->random, HINTS_MAX + 1);
        for (uint32_t index = 0; index < HINTS_MAX; index++) {
            const char *topic = random_topic(fixture);
            topics[index] = (struct broker_bytes){topic, (uint32_t)strlen(topic)};
            prefixes[index] = random_prefix(fixture);
        }
        surplus += assert_complete(fixture, &hint,
                                   random_below(&fixture->random, 2) *
                                       random_below(&fixture->random, fixture->log.next),
                                   round % 3 == 0 ? 1 : 100000);
    }
    assert_true(surplus < 50); /* chance collisions of 16 bits */
}

static void an_index_keeps_up_with_a_block_that_fills(void **state)
{
    struct fixture *fixture = *state;
    struct broker_bytes topic = {fixture->topics[0], (uint32_t)strlen(fixture->topics[0])};
    const struct broker_hint hint = {.topics = &topic, .topic_count = 1};
    for (uint32_t count = 0; count < 2500; count += 25) {
        append(fixture, 25);
        assert_complete(fixture, &hint, count, 1000);
    }
}

static void without_memory_for_an_index_everything_is_given(void **state)
{
    struct fixture *fixture = *state;
    struct broker_bytes topic = {"nobody publishes here", 21};
    append(fixture, 200);
    for (uint32_t kind = 0; kind < 2; kind++) {
        const struct broker_hint hint = {.topics = &topic,
                                         .topic_count = kind == 0,
                                         .prefixes = &topic,
                                         .prefix_count = kind == 1};
        heap_fail_at(&fixture->heap, 1);
        assert_int_equal(assert_complete(fixture, &hint, 1, 1000), 200);
        heap_fail_at(&fixture->heap, 0);
        assert_int_equal(assert_complete(fixture, &hint, 1, 1000), 0);
    }
}

static void the_work_of_a_read_is_bounded(void **state)
{
    struct fixture *fixture = *state;
    struct broker_bytes topic = {"nobody publishes here", 21};
    append(fixture, LOG_RECORDS);
    struct broker_pull pull = {
        .from = 1, .bytes_max = 1 << 20, .hint = {.topics = &topic, .topic_count = 1}};
    uint32_t work_left = 1500;
    memory_log_read(&fixture->log, &pull, false, &fixture->scratch, &work_left);
    assert_int_equal(work_left, 0);
    assert_false(pull.is_at_tail);
    assert_true(pull.next > 1 && pull.next <= 1 + 2 * MEMORY_LOG_BLOCK_RECORDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_hints_leave_nothing_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_index_keeps_up_with_a_block_that_fills, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(without_memory_for_an_index_everything_is_given, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(the_work_of_a_read_is_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
