/*
 * One partition's log in memory: appends, removals and whole reads, against plain arithmetic.
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
#include "memory_log_internal.h"

enum { SEED = 3, STEPS = 3000 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct memory_log_account account;
    struct memory_log log;
    struct memory_log_scratch scratch;
    struct broker_pull pull;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    memory_log_init(&fixture->log, &fixture->heap, &fixture->account, SEED);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_log_deinit(&fixture->log);
    heap_deinit(&fixture->heap);
    bool is_clean = fixture->account.bytes == 0 && fixture->account.records == 0 &&
                    heap_budget_bytes_used(&fixture->budget) == 0;
    free(fixture);
    return is_clean ? 0 : -1;
}

/* Record number s has s % 32 + 1 bytes of topic and none of payload. */
static struct record *make(struct fixture *fixture, uint64_t sequence)
{
    static const char topic[] = "abcdefghijklmnopqrstuvwxyz012345";
    const struct record_source source = {.topic = topic, .topic_bytes = sequence % 32 + 1};
    struct record *record = record_create(&fixture->heap, &source);
    assert_non_null(record);
    return record;
}

static void append(struct fixture *fixture, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++)
        assert_int_equal(memory_log_append(&fixture->log, make(fixture, fixture->log.next)), 0);
}

static void read_from(struct fixture *fixture, uint64_t from, uint16_t records_max,
                      uint32_t bytes_max)
{
    uint32_t work_left = 1000000;
    fixture->pull = (struct broker_pull){
        .from = from, .records_max = records_max, .bytes_max = bytes_max, .hint = {.all = true}};
    memory_log_read(&fixture->log, &fixture->pull, false, &fixture->scratch, &work_left);
    assert_int_equal(fixture->pull.status, BROKER_OK);
}

/* What an answer must be, computed from the log's two ends. */
static void assert_answer(const struct fixture *fixture)
{
    const struct broker_pull *pull = &fixture->pull;
    const struct memory_log *log = &fixture->log;
    uint64_t from = ps_max_u64(pull->from, 1);
    uint64_t begin = ps_max_u64(from, log->first);
    uint32_t records_max = pull->records_max != 0 ? pull->records_max : BROKER_PULL_RECORDS_MAX;
    uint64_t bytes = 0;
    uint64_t sequence = begin;
    for (uint32_t count = 0; sequence < log->next && count < records_max; count++, sequence++) {
        bytes += sequence % 32 + 1;
        if (count > 0 && bytes > pull->bytes_max)
            break;
        assert_true(count < pull->count);
        assert_int_equal(pull->records[count]->sequence, sequence);
        assert_int_equal(pull->records[count]->topic_bytes, sequence % 32 + 1);
    }
    assert_int_equal(pull->count, sequence - begin);
    assert_int_equal(pull->next, sequence);
    assert_int_equal(pull->removed, begin - from);
    assert_int_equal(pull->is_at_tail, sequence >= log->next);
}

static void random_operations_give_what_arithmetic_gives(void **state)
{
    struct fixture *fixture = *state;
    struct memory_log *log = &fixture->log;
    struct random random;
    random_init(&random, SEED);
    for (uint32_t step = 0; step < STEPS; step++) {
        uint64_t first = log->first;
        uint64_t next = log->next;
        uint32_t count = (uint32_t)random_below(&random, 40);
        if (random_chance(&random, 1, 2)) {
            append(fixture, count);
            assert_int_equal(log->next, next + count);
        } else {
            uint64_t below = random_below(&random, next + 100);
            uint64_t expected =
                ps_min_u64(count, ps_min_u64(below, next) - ps_min_u64(below, first));
            assert_int_equal(memory_log_remove(log, below, count), expected);
            assert_int_equal(log->first, first + expected);
        }
        assert_int_equal(memory_log_tail(log), log->next - 1);
        assert_int_equal(fixture->account.records, log->next - log->first);
        read_from(fixture, random_below(&random, log->next + 10),
                  (uint16_t)random_below(&random, BROKER_PULL_RECORDS_MAX + 1),
                  (uint32_t)random_below(&random, 5000));
        assert_answer(fixture);
    }
}

static void memory_is_given_back_as_records_go(void **state)
{
    struct fixture *fixture = *state;
    append(fixture, 5000);
    uint64_t full = fixture->account.bytes;
    assert_true(full > 5000 * sizeof(struct record));
    memory_log_remove(&fixture->log, 5001, UINT32_MAX);
    assert_true(memory_log_is_empty(&fixture->log));
    /* What is left: the block that `next` falls into, one spare, and the ring of blocks. */
    assert_true(fixture->account.bytes < 3 * sizeof(struct memory_log_block));
    append(fixture, 5000);
    assert_int_equal(fixture->log.next, 10001);
}

static void a_log_may_wander_for_ever_in_a_small_ring(void **state)
{
    struct fixture *fixture = *state;
    for (uint32_t round = 0; round < 200; round++) {
        append(fixture, 500);
        memory_log_remove(&fixture->log, fixture->log.next - 100, UINT32_MAX);
    }
    assert_true(fixture->log.block_capacity <= 8);
    read_from(fixture, 1, 0, 1 << 20);
    assert_answer(fixture);
    assert_int_equal(fixture->pull.count, 100);
}

static void a_channels_read_ignores_the_hint(void **state)
{
    struct fixture *fixture = *state;
    uint32_t work_left = 1000;
    append(fixture, 10);
    fixture->pull = (struct broker_pull){.from = 3, .bytes_max = 1000};
    memory_log_read(&fixture->log, &fixture->pull, true, &fixture->scratch, &work_left);
    assert_answer(fixture);
    assert_int_equal(fixture->pull.count, 8);
}

static void an_append_without_memory_leaves_the_log_as_it_was(void **state)
{
    struct fixture *fixture = *state;
    struct memory_log *log = &fixture->log;
    uint32_t failures = 0;
    while (log->next < 20 * MEMORY_LOG_BLOCK_RECORDS) {
        struct record *record = make(fixture, log->next);
        uint64_t next = log->next;
        for (uint64_t fail_at = 1;; fail_at++) {
            heap_fail_at(&fixture->heap, fail_at);
            if (memory_log_append(log, record) == 0)
                break;
            assert_int_equal(record->sequence, 0);
            assert_int_equal(log->next, next);
            failures++;
        }
        heap_fail_at(&fixture->heap, 0);
    }
    assert_true(failures >= 20); /* one for each block, and those of the ring */
    assert_int_equal(memory_log_at(log, 1)->sequence, 1);
}

static void what_was_reserved_cannot_fail_wherever_the_log_begins(void **state)
{
    struct fixture *fixture = *state;
    struct memory_log *log = &fixture->log;
    const uint64_t begin = 5 * MEMORY_LOG_BLOCK_RECORDS + 700;
    const uint64_t end = begin + 3 * MEMORY_LOG_BLOCK_RECORDS;
    memory_log_start(log, begin);
    assert_int_equal(memory_log_tail(log), begin - 1);
    assert_int_equal(memory_log_reserve(log, end), 0);
    for (uint64_t sequence = begin; sequence < end; sequence++) {
        struct record *record = make(fixture, sequence);
        record->sequence = sequence;
        heap_fail_at(&fixture->heap, 1);
        memory_log_put(log, record);
        heap_fail_at(&fixture->heap, 0);
        assert_ptr_equal(memory_log_at(log, sequence), record);
    }
    assert_int_equal(fixture->account.records, end - begin);
    read_from(fixture, begin - 10, 3, UINT32_MAX);
    assert_int_equal(fixture->pull.removed, 10);
    assert_int_equal(fixture->pull.records[0]->sequence, begin);
    memory_log_remove(log, end, UINT32_MAX);
    append(fixture, 1);
    assert_int_equal(memory_log_at(log, end)->sequence, end);
} /* the tear-down sees that the blocks reserved beyond are given back */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_operations_give_what_arithmetic_gives, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(memory_is_given_back_as_records_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_may_wander_for_ever_in_a_small_ring, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_channels_read_ignores_the_hint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_append_without_memory_leaves_the_log_as_it_was, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_was_reserved_cannot_fail_wherever_the_log_begins,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
