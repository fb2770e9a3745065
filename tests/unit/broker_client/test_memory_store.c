/*
 * The key-value store that the handles of the memory driver share, against a plain array; its
 * limits, and its share of memory.
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
#include "memory_store_internal.h"

enum { SEED = 23, KEYS = 100, STEPS = 6000, KEY_BYTES = 8, WRITES_MAX = 6 };

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct broker_options options;
    struct memory_store *store;
    uint64_t wall_ms;
    struct broker_commit commit;
};

static const struct memory_store_config small = {.memory_bytes = 1 << 20,
                                                 .key_bytes_max = 40000,
                                                 .deleted_entries_max = 128,
                                                 .partition_count = 4,
                                                 .shard_count = 1,
                                                 .hash_seed = SEED};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    fixture->options = (struct broker_options){.heap = &fixture->heap, .shard_count = 1};
    fixture->wall_ms = 1700000000000;
    *state = fixture;
    return memory_store_create(&small, &fixture->heap, &fixture->store);
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    memory_store_destroy(fixture->store);
    heap_deinit(&fixture->heap);
    int64_t left = heap_budget_bytes_used(&fixture->budget);
    free(fixture);
    return left == 0 ? 0 : -1;
}

static struct broker_bytes bytes_of(const char *text)
{
    return (struct broker_bytes){text, (uint32_t)strlen(text)};
}

static void add_write(struct broker_commit *commit, const char *key, const char *value)
{
    commit->writes[commit->count++] =
        (struct broker_write){.kind = value != NULL ? BROKER_PUT : BROKER_DELETE,
                              .key = bytes_of(key),
                              .value = value != NULL ? bytes_of(value) : (struct broker_bytes){0},
                              .expected_revision = BROKER_ANY_REVISION};
}

static enum broker_status commit(struct fixture *fixture)
{
    memory_store_commit(fixture->store, &fixture->options, &fixture->commit, fixture->wall_ms);
    return fixture->commit.status;
}

static enum broker_status put(struct fixture *fixture, const char *key, const char *value)
{
    fixture->commit = (struct broker_commit){.count = 0};
    add_write(&fixture->commit, key, value);
    return commit(fixture);
}

struct model_key {
    char key[KEY_BYTES];
    uint64_t revision; /* 0: absent */
    uint64_t expires_ms;
};

static uint64_t revision_of(const struct fixture *fixture, const struct model_key *key)
{
    bool is_expired = key->expires_ms != 0 && key->expires_ms <= fixture->wall_ms;
    return is_expired ? 0 : key->revision;
}

/* What the model says of a commit. */
static bool is_as_expected(const struct fixture *fixture, const struct model_key *guard,
                           struct model_key *const *chosen)
{
    const struct broker_commit *commit = &fixture->commit;
    bool is_good = guard == NULL || revision_of(fixture, guard) == commit->guard_revision;
    for (uint32_t index = 0; index < commit->count; index++)
        is_good &= commit->writes[index].expected_revision == BROKER_ANY_REVISION ||
                   commit->writes[index].expected_revision == revision_of(fixture, chosen[index]);
    return is_good;
}

/* Mostly the right revision. */
static uint64_t guess(struct random *random, uint64_t revision)
{
    return random_chance(random, 9, 10) ? revision : revision + 1;
}

static void random_commit(struct fixture *fixture, struct model_key *model, struct random *random)
{
    struct broker_commit *commit_ = &fixture->commit;
    struct model_key *chosen[WRITES_MAX];
    struct model_key *guard = NULL;
    *commit_ = (struct broker_commit){.count = 0};
    uint64_t begin = random_below(random, KEYS);
    uint64_t count = random_between(random, 1, WRITES_MAX);
    for (uint64_t index = 0; index < count; index++) {
        struct model_key *key = &model[(begin + index * 17) % KEYS]; /* each another one */
        bool is_put = random_chance(random, 2, 3);
        chosen[index] = key;
        add_write(commit_, key->key, is_put ? "value" : NULL);
        if (random_chance(random, 1, 3))
            commit_->writes[index].expected_revision = guess(random, revision_of(fixture, key));
        if (is_put && random_chance(random, 1, 3))
            commit_->writes[index].time_to_live_ms = random_between(random, 1, 5000);
    }
    if (random_chance(random, 1, 3)) {
        guard = &model[random_below(random, KEYS)];
        commit_->guard_key = bytes_of(guard->key);
        commit_->guard_revision = guess(random, revision_of(fixture, guard));
    }
    bool is_good = is_as_expected(fixture, guard, chosen);
    assert_int_equal(commit(fixture), is_good ? BROKER_OK : BROKER_CONFLICT);
    for (uint64_t index = 0; is_good && index < count; index++) {
        const struct broker_write *write = &commit_->writes[index];
        bool is_put = write->kind == BROKER_PUT;
        chosen[index]->revision = is_put ? write->revision : 0;
        chosen[index]->expires_ms =
            write->time_to_live_ms != 0 ? fixture->wall_ms + write->time_to_live_ms : 0;
    }
}

static void assert_same(struct fixture *fixture, const struct model_key *model)
{
    struct memory_entry *held[BROKER_KEYS_MAX];
    struct broker_list list = {.entries_max = BROKER_LIST_MAX, .bytes_max = 1 << 20};
    uint32_t listed = 0;
    char after[KEY_BYTES];
    for (uint32_t index = 0; index < KEYS; index++) {
        struct broker_get get = {.count = 1, .keys = {bytes_of(model[index].key)}};
        uint32_t count = memory_store_get(fixture->store, &get, fixture->wall_ms, held);
        assert_int_equal(get.values[0].revision, revision_of(fixture, &model[index]));
        assert_int_equal(count, get.values[0].revision != 0);
        while (count > 0)
            memory_entry_release(&fixture->heap, held[--count]);
    }
    do {
        uint32_t count = memory_store_list(fixture->store, &list, fixture->wall_ms, held);
        for (uint32_t index = 0; index < count; index++, listed++) {
            while (listed < KEYS && revision_of(fixture, &model[listed]) == 0)
                listed++;
            assert_true(listed < KEYS);
            assert_memory_equal(list.entries[index].key.bytes, model[listed].key, KEY_BYTES - 1);
            assert_int_equal(list.entries[index].revision, model[listed].revision);
        }
        if (count > 0)
            memcpy(after, list.entries[count - 1].key.bytes, KEY_BYTES - 1);
        list.after = (struct broker_bytes){after, KEY_BYTES - 1};
        while (count > 0)
            memory_entry_release(&fixture->heap, held[--count]);
    } while (!list.is_last);
    while (listed < KEYS && revision_of(fixture, &model[listed]) == 0)
        listed++;
    assert_int_equal(listed, KEYS);
}

static void random_commits_give_what_a_plain_array_gives(void **state)
{
    struct fixture *fixture = *state;
    struct random random;
    struct model_key model[KEYS] = {{.revision = 0}};
    random_init(&random, SEED);
    for (uint32_t index = 0; index < KEYS; index++)
        (void)snprintf(model[index].key, KEY_BYTES, "key%04u", index);
    for (uint32_t step = 0; step < STEPS; step++) {
        random_commit(fixture, model, &random);
        fixture->wall_ms += random_below(&random, 100);
        if (random_chance(&random, 1, 4))
            memory_store_sweep(fixture->store, &fixture->options, fixture->wall_ms);
        if (step % 200 == 0)
            assert_same(fixture, model);
        assert_true(atomic_load(&fixture->store->key_bytes) <= small.key_bytes_max);
    }
    assert_same(fixture, model);
}

static void a_commit_without_memory_writes_nothing_and_a_delete_needs_none(void **state)
{
    struct fixture *fixture = *state;
    assert_int_equal(put(fixture, "there", "old"), BROKER_OK);
    uint64_t revision = fixture->store->keys.revision;
    for (uint64_t fail_at = 1; fail_at <= 3; fail_at++) {
        fixture->commit = (struct broker_commit){.count = 0};
        add_write(&fixture->commit, "a", "1");
        add_write(&fixture->commit, "there", "new");
        add_write(&fixture->commit, "b", "2");
        heap_fail_at(&fixture->heap, fail_at);
        assert_int_equal(commit(fixture), BROKER_FULL);
        assert_int_equal(fixture->store->keys.revision, revision);
    }
    heap_fail_at(&fixture->heap, 1);
    assert_int_equal(put(fixture, "there", NULL), BROKER_OK);
    assert_int_equal(fixture->store->keys.count, 0);
    assert_int_equal(fixture->store->keys.deletion_count, 1); /* and the deletion is kept */
}

static void a_value_larger_than_the_store_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char *value = malloc(small.key_bytes_max + 1);
    assert_non_null(value);
    fixture->commit = (struct broker_commit){.count = 0};
    add_write(&fixture->commit, "k", "");
    fixture->commit.writes[0].value =
        (struct broker_bytes){value, (uint32_t)small.key_bytes_max + 1};
    uint64_t allocations = fixture->heap.allocations;
    assert_int_equal(commit(fixture), BROKER_FULL);
    assert_int_equal(fixture->heap.allocations, allocations);
    free(value);
}

static void deletions_make_room_for_entries(void **state)
{
    struct fixture *fixture = *state;
    char key[KEY_BYTES];
    uint32_t count = 0;
    for (;; count++) {
        (void)snprintf(key, sizeof(key), "%u", count);
        if (put(fixture, key, "v") != BROKER_OK)
            break;
    }
    for (uint32_t index = 0; index < 100; index++) {
        (void)snprintf(key, sizeof(key), "%u", index);
        assert_int_equal(put(fixture, key, NULL), BROKER_OK);
    }
    assert_int_equal(fixture->store->keys.deletion_count, 100);
    for (uint32_t index = 0; index < 100; index++) {
        (void)snprintf(key, sizeof(key), "%u", index);
        assert_int_equal(put(fixture, key, "w"), BROKER_OK);
    }
    assert_int_equal(fixture->store->keys.count, count);
}

/* Takes everything that a watch is to be told; result: how many deletions were among it. */
static uint32_t tell_all(struct fixture *fixture, struct memory_watch *watch)
{
    uint32_t deletions = 0;
    for (bool has_more = true; has_more;) {
        struct memory_news news[MEMORY_STORE_WATCH_ENTRIES_MAX];
        uint32_t count =
            memory_store_changes(fixture->store, watch, fixture->wall_ms, news, &has_more);
        while (count > 0) {
            deletions += news[--count].is_deletion;
            memory_entry_release(&fixture->heap, news[count].entry);
        }
    }
    return deletions;
}

static void deletions_are_kept_up_to_a_limit_and_then_a_watch_is_gapped(void **state)
{
    struct fixture *fixture = *state;
    char key[KEY_BYTES];
    for (uint32_t index = 0; index < 200; index++) {
        (void)snprintf(key, sizeof(key), "%u", index);
        assert_int_equal(put(fixture, key, "v"), BROKER_OK);
        assert_int_equal(put(fixture, key, NULL), BROKER_OK);
    }
    assert_int_equal(fixture->store->keys.deletion_count, small.deleted_entries_max);
    static const struct {
        uint64_t after;
        bool is_gapped;
        uint32_t deletions;
    } cases[] = {
        {0, false, 128}, {1, true, 128}, {143, true, 128}, {144, false, 128}, {398, false, 1}};
    for (uint32_t index = 0; index < ps_array_count(cases); index++) {
        struct broker_watch request = {.after_revision = cases[index].after};
        struct memory_watch watch = {.watch = &request};
        memory_store_watch(fixture->store, 0, &watch);
        assert_int_equal(request.is_gapped, cases[index].is_gapped);
        assert_int_equal(tell_all(fixture, &watch), cases[index].deletions);
        memory_store_unwatch(fixture->store, 0, &watch);
    }
}

static void a_watch_that_is_under_way_keeps_deletions_beyond_the_limit(void **state)
{
    struct fixture *fixture = *state;
    char key[KEY_BYTES];
    struct broker_watch request = {.after_revision = 0};
    struct memory_watch watch = {.watch = &request};
    memory_store_watch(fixture->store, 0, &watch);
    uint32_t deleted = 0;
    for (enum broker_status status = BROKER_OK; status == BROKER_OK; deleted++) {
        (void)snprintf(key, sizeof(key), "%u", deleted);
        status = put(fixture, key, "v");
        if (status == BROKER_OK)
            assert_int_equal(put(fixture, key, NULL), BROKER_OK);
    }
    deleted--; /* the store is full of what the watch has not been told: that bounds it */
    assert_true(deleted > small.deleted_entries_max);
    assert_true(atomic_load(&fixture->store->key_bytes) <= small.key_bytes_max);
    assert_int_equal(tell_all(fixture, &watch), deleted);
    assert_int_equal(put(fixture, "k", "v"), BROKER_OK);
    memory_store_unwatch(fixture->store, 0, &watch);
}

static void a_config_outside_its_range_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct memory_store_config configs[6];
    struct memory_store *store = NULL;
    for (uint32_t index = 0; index < ps_array_count(configs); index++)
        configs[index] = small;
    configs[0].memory_bytes = 1000;
    configs[1].partition_count = 0;
    configs[2].shard_count = 0;
    configs[3].key_bytes_max = configs[3].memory_bytes;
    configs[4].record_bytes_max = (uint32_t)configs[4].memory_bytes;
    configs[5].deleted_entries_max = 127;
    for (uint32_t index = 0; index < ps_array_count(configs); index++)
        assert_int_equal(memory_store_create(&configs[index], &fixture->heap, &store), -EINVAL);
    for (uint64_t fail_at = 1; fail_at <= 3; fail_at++) {
        heap_fail_at(&fixture->heap, fail_at);
        assert_int_equal(memory_store_create(&small, &fixture->heap, &store), -ENOMEM);
    }
    assert_null(store);
}

static void the_largest_record_grows_with_memory_up_to_the_protocols(void **state)
{
    struct fixture *fixture = *state;
    static const struct {
        uint64_t memory_bytes;
        uint16_t shard_count;
        uint32_t record_bytes_max;
    } cases[] = {{256 << 20, 1, 32 << 20},
                 {256 << 20, 4, 32 << 20},
                 {256 << 20, 64, 2 << 20},
                 {UINT64_C(4) << 30, 4, RECORD_PAYLOAD_BYTES_MAX}};
    for (uint32_t index = 0; index < ps_array_count(cases); index++) {
        struct memory_store *store = NULL;
        const struct memory_store_config config = {.memory_bytes = cases[index].memory_bytes,
                                                   .partition_count = 16,
                                                   .shard_count = cases[index].shard_count};
        assert_int_equal(memory_store_create(&config, &fixture->heap, &store), 0);
        assert_int_equal(store->config.record_bytes_max, cases[index].record_bytes_max);
        memory_store_destroy(store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_commits_give_what_a_plain_array_gives, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(
            a_commit_without_memory_writes_nothing_and_a_delete_needs_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_value_larger_than_the_store_is_refused, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(deletions_make_room_for_entries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deletions_are_kept_up_to_a_limit_and_then_a_watch_is_gapped,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_watch_that_is_under_way_keeps_deletions_beyond_the_limit,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_config_outside_its_range_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_largest_record_grows_with_memory_up_to_the_protocols,
                                        set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
