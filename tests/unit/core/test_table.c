/*
 * The table finds what was inserted and nothing else, while it grows and shrinks, with equal hashes
 * and without memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/random.h"
#include "core/table.h"

struct item {
    uint64_t key;
    bool is_in; /* the model: whether the table must hold it */
    uint32_t visits;
};

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct table table;
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    table_init(&fixture->table, &fixture->heap);
}

static void tear_down(struct fixture *fixture)
{
    table_deinit(&fixture->table);
    assert_int_equal(heap_bytes_net(&fixture->heap), 0);
    heap_deinit(&fixture->heap);
}

static uint64_t hash_of(uint64_t key)
{
    return hash_bytes(&key, sizeof(key));
}

static bool has_key(const void *item, const void *key)
{
    return ((const struct item *)item)->key == *(const uint64_t *)key;
}

static struct item *find(const struct table *table, uint64_t key)
{
    return table_find(table, hash_of(key), has_key, &key);
}

static void an_empty_table_takes_no_memory_and_finds_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct item item = {.key = 1};
    assert_null(find(&fixture.table, 1));
    assert_false(table_remove(&fixture.table, hash_of(1), &item));
    assert_int_equal(heap_bytes_net(&fixture.heap), 0);
    tear_down(&fixture);
}

static void only_the_very_item_is_removed(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct item first = {.key = 1}, same = {.key = 1};
    assert_int_equal(table_insert(&fixture.table, hash_of(1), &first), 0);
    assert_false(table_remove(&fixture.table, hash_of(1), &same));
    assert_false(table_remove(&fixture.table, hash_of(2), &first));
    assert_ptr_equal(find(&fixture.table, 1), &first);
    assert_true(table_remove(&fixture.table, hash_of(1), &first));
    assert_null(find(&fixture.table, 1));
    assert_false(table_remove(&fixture.table, hash_of(1), &first));
    tear_down(&fixture);
}

static void count_max_refuses_and_a_removal_makes_room(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    fixture.table.count_max = 3;
    struct item items[4] = {{.key = 0}, {.key = 1}, {.key = 2}, {.key = 3}};
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(table_insert(&fixture.table, hash_of(i), &items[i]), 0);
    assert_int_equal(table_insert(&fixture.table, hash_of(3), &items[3]), -ENOSPC);
    assert_null(find(&fixture.table, 3));
    assert_true(table_remove(&fixture.table, hash_of(1), &items[1]));
    assert_int_equal(table_insert(&fixture.table, hash_of(3), &items[3]), 0);
    assert_int_equal(fixture.table.count, 3);
    tear_down(&fixture);
}

static bool count_visit(void *context, void *item)
{
    (void)context;
    ((struct item *)item)->visits++;
    return true;
}

static bool stop_at_third(void *context, void *item)
{
    (void)item;
    return ++*(uint32_t *)context < 3;
}

static void iteration_visits_each_item_once_and_stops_when_told(void **state)
{
    (void)state;
    enum { COUNT = 5000 };
    static struct item items[COUNT];
    struct fixture fixture;
    set_up(&fixture);
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i] = (struct item){.key = i};
        assert_int_equal(table_insert(&fixture.table, hash_of(i), &items[i]), 0);
    }
    table_iterate(&fixture.table, count_visit, NULL);
    for (uint64_t i = 0; i < COUNT; i++)
        assert_int_equal(items[i].visits, 1);
    uint32_t visited = 0;
    table_iterate(&fixture.table, stop_at_third, &visited);
    assert_int_equal(visited, 3);
    tear_down(&fixture);
}

/* The budget of a connection counts on it: 17 bytes an entry in all but small tables. */
static void entries_cost_at_most_17_bytes(void **state)
{
    (void)state;
    enum { COUNT = 60000, FROM = 8000 };
    static struct item items[COUNT];
    struct fixture fixture;
    set_up(&fixture);
    int64_t bytes = 0, entries = 0;
    for (uint64_t i = 0; i < COUNT; i++) {
        items[i].key = i;
        assert_int_equal(table_insert(&fixture.table, hash_of(i), &items[i]), 0);
        if (i >= FROM) {
            int64_t count = (int64_t)i + 1;
            assert_true(heap_bytes_net(&fixture.heap) <= count * 17);
            bytes += heap_bytes_net(&fixture.heap);
            entries += count;
        }
    }
    assert_true(bytes <= entries * 16);
    for (uint64_t i = 0; i < COUNT - FROM; i++) {
        assert_true(table_remove(&fixture.table, hash_of(i), &items[i]));
        int64_t count = COUNT - (int64_t)i - 1;
        assert_true(heap_bytes_net(&fixture.heap) <= count * 20);
    }
    for (uint64_t i = COUNT - FROM; i < COUNT; i++)
        assert_true(table_remove(&fixture.table, hash_of(i), &items[i]));
    assert_int_equal(fixture.table.count, 0);
    assert_true(heap_bytes_net(&fixture.heap) < 8192);
    tear_down(&fixture);
}

/* Work per operation is bounded by what it asks of the heap: a page or two, never the table. */
static void no_operation_rebuilds_the_table(void **state)
{
    (void)state;
    enum { COUNT = 40000 };
    static struct item items[COUNT];
    struct fixture fixture;
    set_up(&fixture);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t before = fixture.heap.allocations;
        items[i].key = i;
        assert_int_equal(table_insert(&fixture.table, hash_of(i), &items[i]), 0);
        /* Directory and its first array, two pages of a split, one that grows. */
        assert_in_range(fixture.heap.allocations - before, 0, 5);
    }
    assert_true(fixture.table.page_count >= COUNT / TABLE_PAGE_ENTRIES);
    for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t before = fixture.heap.allocations;
        assert_true(table_remove(&fixture.table, hash_of(i), &items[i]));
        assert_in_range(fixture.heap.allocations - before, 0, 2);
    }
    tear_down(&fixture);
}

/* A peer that could choose hashes could fill one page; it still works, only slowly, and ends in a
 * refusal. */
static void equal_hashes_fill_one_page_and_are_then_refused(void **state)
{
    (void)state;
    enum { COUNT = 50000 };
    static struct item items[COUNT];
    struct fixture fixture;
    set_up(&fixture);
    uint64_t count = 0;
    int status = 0;
    /* High bits of the tag differ, so that homes do; the page is always the same. */
    for (; count < COUNT && status == 0; count++) {
        items[count].key = count;
        status = table_insert(&fixture.table, (count % 65536) << 16, &items[count]);
    }
    assert_int_equal(status, -ENOSPC);
    count--;
    assert_int_equal(fixture.table.count, count);
    assert_true(count > 30000);
    for (uint64_t i = 0; i < count; i++)
        assert_ptr_equal(table_find(&fixture.table, i << 16, has_key, &i), &items[i]);
    for (uint64_t i = 0; i < count; i++)
        assert_true(table_remove(&fixture.table, i << 16, &items[i]));
    /* Entries of one and the same hash. */
    for (uint64_t i = 0; i < 300; i++)
        assert_int_equal(table_insert(&fixture.table, 7, &items[i]), 0);
    for (uint64_t i = 0; i < 300; i += 2)
        assert_true(table_remove(&fixture.table, 7, &items[i]));
    for (uint64_t i = 0; i < 300; i++)
        assert_true((table_find(&fixture.table, 7, has_key, &i) != NULL) == (i % 2 == 1));
    tear_down(&fixture);
}

/* A walk that drifts up and down through several doublings, with a budget that it exhausts (0:
 * none) and operations whose first allocation fails. */
static void walk(uint64_t seed, uint32_t steps, int64_t bytes_max, uint64_t failures_per_1000)
{
    enum { KEYS = 4000 };
    static struct item items[KEYS];
    memset(items, 0, sizeof(items));
    struct fixture fixture;
    set_up(&fixture);
    fixture.budget.bytes_max = bytes_max;
    struct random random;
    random_init(&random, seed);
    uint64_t count = 0, refused = 0;
    for (uint32_t step = 0; step < steps; step++) {
        struct item *item = &items[random_below(&random, KEYS)];
        item->key = (uint64_t)(item - items);
        heap_fail_at(&fixture.heap, random_chance(&random, failures_per_1000, 1000) ? 1 : 0);
        bool is_growing = step / 15000 % 2 == 0;
        if (!item->is_in && random_chance(&random, is_growing ? 9 : 1, 10)) {
            int status = table_insert(&fixture.table, hash_of(item->key), item);
            assert_true(status == 0 || (status == -ENOMEM && bytes_max > 0));
            item->is_in = status == 0;
            count += item->is_in;
            refused += !item->is_in;
        } else if (item->is_in && random_chance(&random, is_growing ? 1 : 9, 10)) {
            assert_true(table_remove(&fixture.table, hash_of(item->key), item));
            item->is_in = false;
            count--;
        }
        assert_int_equal(fixture.table.count, count);
        uint64_t key = random_below(&random, KEYS);
        assert_ptr_equal(find(&fixture.table, key), items[key].is_in ? &items[key] : NULL);
    }
    assert_true((refused > 0) == (bytes_max > 0));
    table_iterate(&fixture.table, count_visit, NULL);
    for (uint32_t i = 0; i < KEYS; i++)
        assert_int_equal(items[i].visits, items[i].is_in);
    tear_down(&fixture);
}

static void a_random_walk_agrees_with_the_model(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        walk(seed, 60000, 0, 0);
}

static void a_walk_through_want_of_memory_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 4; seed++)
        walk(seed, 60000, 40000, 300);
}

static void the_first_insert_survives_each_failing_allocation(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    struct item item = {.key = 1};
    uint64_t fail_at = 1;
    for (;; fail_at++) {
        heap_fail_at(&fixture.heap, fail_at);
        int status = table_insert(&fixture.table, hash_of(1), &item);
        if (status == 0)
            break;
        assert_int_equal(status, -ENOMEM);
        assert_null(find(&fixture.table, 1));
    }
    assert_in_range(fail_at, 2, 4);
    assert_ptr_equal(find(&fixture.table, 1), &item);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_table_takes_no_memory_and_finds_nothing),
        cmocka_unit_test(only_the_very_item_is_removed),
        cmocka_unit_test(count_max_refuses_and_a_removal_makes_room),
        cmocka_unit_test(iteration_visits_each_item_once_and_stops_when_told),
        cmocka_unit_test(entries_cost_at_most_17_bytes),
        cmocka_unit_test(no_operation_rebuilds_the_table),
        cmocka_unit_test(equal_hashes_fill_one_page_and_are_then_refused),
        cmocka_unit_test(a_random_walk_agrees_with_the_model),
        cmocka_unit_test(a_walk_through_want_of_memory_loses_nothing),
        cmocka_unit_test(the_first_insert_survives_each_failing_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
