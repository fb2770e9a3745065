/*
 * Entries in key order, in the order of revisions and by expiry, against a plain array.
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
#include "memory_keys_internal.h"

enum { KEYS = 300, STEPS = 20000, SEED = 5, KEY_BYTES = 16 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct memory_keys keys;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    memory_keys_init(&fixture->keys, SEED);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_keys_deinit(&fixture->keys, &fixture->heap);
    heap_deinit(&fixture->heap);
    int64_t left = heap_budget_bytes_used(&fixture->budget);
    free(fixture);
    return left == 0 ? 0 : -1;
}

static struct broker_bytes bytes_of(const char *text)
{
    return (struct broker_bytes){text, (uint32_t)strlen(text)};
}

static struct memory_entry *create(struct fixture *fixture, const char *key, uint64_t expires_ms)
{
    struct memory_entry *entry =
        memory_entry_create(&fixture->heap, SEED, bytes_of(key), bytes_of("value"), expires_ms);
    assert_non_null(entry);
    return entry;
}

static struct memory_entry *put(struct fixture *fixture, const char *key, uint64_t expires_ms)
{
    struct memory_entry *entry = create(fixture, key, expires_ms);
    memory_entry_release(&fixture->heap, memory_keys_put(&fixture->keys, entry));
    return entry;
}

static void delete_entry(struct fixture *fixture, struct memory_entry *entry, bool has_memory)
{
    struct memory_entry *deletion = NULL;
    const struct broker_bytes key = {memory_entry_key(entry), entry->key_bytes};
    if (has_memory)
        deletion = memory_entry_create(&fixture->heap, SEED, key, (struct broker_bytes){0}, 0);
    memory_entry_release(&fixture->heap, memory_keys_remove(&fixture->keys, entry, deletion));
}

static bool is_key(const struct memory_entry *entry, const char *key)
{
    return entry->key_bytes == strlen(key) &&
           memcmp(memory_entry_key(entry), key, entry->key_bytes) == 0;
}

struct model_key {
    char key[KEY_BYTES];
    uint64_t revision; /* 0: absent */
};

static int compare_model_keys(const void *a, const void *b)
{
    return strcmp(((const struct model_key *)a)->key, ((const struct model_key *)b)->key);
}

/* Walks the keys in order and compares them with the model, which is sorted. */
static void assert_same_order(struct fixture *fixture, const struct model_key *model)
{
    const struct memory_entry *entry =
        memory_keys_above(&fixture->keys, (struct broker_bytes){NULL, 0}, true);
    uint64_t count = 0;
    for (uint32_t index = 0; index < KEYS; index++) {
        if (model[index].revision == 0)
            continue;
        assert_non_null(entry);
        assert_true(is_key(entry, model[index].key));
        assert_int_equal(entry->change.revision, model[index].revision);
        entry = entry->next[0];
        count++;
    }
    assert_null(entry);
    assert_int_equal(fixture->keys.count, count);
}

/* Revisions ascend; bytes are the sum over all. */
static void assert_changes_are_in_order(struct fixture *fixture)
{
    uint64_t revision = 0;
    uint64_t bytes = 0;
    uint64_t count = 0;
    for (struct memory_link *link = fixture->keys.changes.next; link != &fixture->keys.changes;
         link = link->next) {
        struct memory_entry *entry = ps_container_of(link, struct memory_entry, change.link);
        assert_true(entry->change.revision > revision);
        revision = entry->change.revision;
        bytes += memory_entry_bytes(entry);
        count++;
    }
    assert_int_equal(fixture->keys.bytes, bytes);
    assert_int_equal(fixture->keys.count + fixture->keys.deletion_count, count);
}

static void random_operations_give_what_a_plain_array_gives(void **state)
{
    struct fixture *fixture = *state;
    struct model_key *model = calloc(KEYS, sizeof(*model));
    struct random random;
    random_init(&random, SEED);
    for (uint32_t index = 0; index < KEYS; index++) /* many are prefixes of others */
        (void)snprintf(model[index].key, KEY_BYTES, "%.*s%u", (int)random_below(&random, 3), "ab",
                       index);
    qsort(model, KEYS, sizeof(*model), compare_model_keys);
    for (uint32_t step = 0; step < STEPS; step++) {
        struct model_key *chosen = &model[random_below(&random, KEYS)];
        struct memory_entry *entry = memory_keys_find(&fixture->keys, bytes_of(chosen->key));
        assert_int_equal(entry != NULL ? entry->change.revision : 0, chosen->revision);
        if (entry == NULL || random_chance(&random, 1, 2)) {
            chosen->revision = put(fixture, chosen->key, 0)->change.revision;
        } else {
            delete_entry(fixture, entry, random_chance(&random, 3, 4));
            chosen->revision = 0;
        }
        while (fixture->keys.deletion_count > 10)
            memory_entry_release(&fixture->heap,
                                 memory_keys_forget_deletion(&fixture->keys, UINT64_MAX));
        if (step % 500 == 0) {
            assert_same_order(fixture, model);
            assert_changes_are_in_order(fixture);
        }
    }
    assert_same_order(fixture, model);
    free(model);
}

static void above_finds_the_neighbour(void **state)
{
    struct fixture *fixture = *state;
    put(fixture, "b", 0);
    put(fixture, "bb", 0);
    put(fixture, "d", 0);
    static const struct {
        const char *key;
        const char *above;
        const char *at_or_above;
    } cases[] = {{"", "b", "b"},     {"a", "b", "b"}, {"b", "bb", "b"},
                 {"ba", "bb", "bb"}, {"c", "d", "d"}, {"d", NULL, "d"}};
    for (uint32_t index = 0; index < ps_array_count(cases); index++) {
        for (uint32_t inclusive = 0; inclusive < 2; inclusive++) {
            const struct memory_entry *found =
                memory_keys_above(&fixture->keys, bytes_of(cases[index].key), inclusive);
            const char *expected = inclusive ? cases[index].at_or_above : cases[index].above;
            assert_int_equal(found != NULL, expected != NULL);
            assert_true(found == NULL || is_key(found, expected));
        }
    }
}

static void deletions_are_forgotten_oldest_first_and_only_when_told(void **state)
{
    struct fixture *fixture = *state;
    delete_entry(fixture, put(fixture, "a", 0), true);
    delete_entry(fixture, put(fixture, "b", 0), false);
    assert_null(memory_keys_forget_deletion(&fixture->keys, 1));
    struct memory_entry *forgotten = memory_keys_forget_deletion(&fixture->keys, 2);
    assert_true(is_key(forgotten, "a"));
    assert_int_equal(fixture->keys.forgotten_revision, 2);
    memory_entry_release(&fixture->heap, forgotten);
    assert_null(memory_keys_forget_deletion(&fixture->keys, 3));
    forgotten = memory_keys_forget_deletion(&fixture->keys, UINT64_MAX);
    assert_true(is_key(forgotten, "b") && forgotten->is_deletion);
    memory_entry_release(&fixture->heap, forgotten);
    assert_int_equal(fixture->keys.bytes, 0);
}

/* Removes what has expired; result: how many. */
static uint32_t sweep(struct fixture *fixture, uint64_t wall_ms)
{
    uint32_t count = 0;
    for (uint32_t rounds = 0; rounds < 10000; rounds++) {
        uint32_t looks = 3;
        struct memory_entry *entry = memory_keys_next_expired(&fixture->keys, wall_ms, &looks);
        if (entry != NULL) {
            assert_true(memory_entry_is_expired(entry, wall_ms));
            delete_entry(fixture, entry, true);
            count++;
        } else if (!memory_keys_is_sweeping(&fixture->keys, wall_ms)) {
            return count;
        }
    }
    fail_msg("the sweep does not come to an end");
    return 0;
}

static void expired_entries_are_found_once_their_second_is_over(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t begin_ms = 1700000000000;
    char key[KEY_BYTES];
    assert_int_equal(sweep(fixture, begin_ms), 0);
    for (uint32_t index = 0; index < 3000; index++) { /* up to 50 minutes: thrice round the wheel */
        (void)snprintf(key, sizeof(key), "%u", index);
        put(fixture, key, begin_ms + 1000ULL * index + 1);
    }
    uint64_t gone = 0;
    for (uint64_t second = 0; second <= 3100; second += 7) {
        gone += sweep(fixture, begin_ms + 1000 * second);
        assert_int_equal(gone, ps_min_u64(second, 3000));
    }
    assert_int_equal(fixture->keys.count, 0);
}

static void a_jump_of_the_clock_expires_all_and_a_jump_back_harms_nothing(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t begin_ms = 1700000000000;
    sweep(fixture, begin_ms);
    put(fixture, "a", begin_ms + 5000);
    put(fixture, "b", begin_ms + 86400000);
    assert_int_equal(sweep(fixture, begin_ms + 90000000), 2);
    assert_int_equal(sweep(fixture, begin_ms), 0);
    put(fixture, "c", begin_ms + 3000);
    assert_int_equal(sweep(fixture, begin_ms + 2000), 0);
    assert_int_equal(sweep(fixture, begin_ms + 4000), 1);
}

static void an_entry_that_comes_into_a_swept_second_expires_in_the_next(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t begin_ms = 1700000000000;
    sweep(fixture, begin_ms);
    put(fixture, "late", begin_ms - 500);
    assert_int_equal(sweep(fixture, begin_ms + 1000), 1);
}

static void a_replaced_entry_does_not_expire(void **state)
{
    struct fixture *fixture = *state;
    const uint64_t begin_ms = 1700000000000;
    sweep(fixture, begin_ms);
    put(fixture, "a", begin_ms + 1500);
    put(fixture, "a", 0);
    put(fixture, "b", begin_ms + 1500);
    put(fixture, "b", begin_ms + 9000);
    assert_int_equal(sweep(fixture, begin_ms + 5000), 0);
    assert_int_equal(sweep(fixture, begin_ms + 10000), 1);
    assert_int_equal(fixture->keys.count, 1);
}

static void an_entry_is_readable_while_somebody_holds_it(void **state)
{
    struct fixture *fixture = *state;
    struct memory_entry *held = memory_entry_acquire(put(fixture, "k", 0));
    put(fixture, "k", 0);
    assert_true(is_key(held, "k"));
    assert_memory_equal(memory_entry_value(held).bytes, "value", 5);
    memory_entry_release(&fixture->heap, held);
}

static void an_entry_that_cannot_be_had_is_null(void **state)
{
    struct fixture *fixture = *state;
    heap_fail_at(&fixture->heap, 1);
    assert_null(memory_entry_create(&fixture->heap, SEED, bytes_of("k"), bytes_of("v"), 0));
    memory_entry_release(&fixture->heap, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_operations_give_what_a_plain_array_gives, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(above_finds_the_neighbour, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deletions_are_forgotten_oldest_first_and_only_when_told,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(expired_entries_are_found_once_their_second_is_over, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_jump_of_the_clock_expires_all_and_a_jump_back_harms_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_comes_into_a_swept_second_expires_in_the_next,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_replaced_entry_does_not_expire, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_entry_is_readable_while_somebody_holds_it, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_entry_that_cannot_be_had_is_null, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
