/*
 * The embedded keys: watches.
 */
#include "keys_contract.h"

#include <stdio.h>

static void assert_told(struct keys *keys, struct asked_watch *watch, const char *text)
{
    keys_settle(keys);
    assert_string_equal(watch->text, text);
    watch->text[0] = '\0';
}

static void a_watch_is_told_what_there_is_in_the_order_of_revisions(void **state)
{
    struct keys *keys = *state;
    struct asked_watch watch = {0};
    keys_put(keys, "kb", "1");
    keys_put(keys, "ka", "2");
    keys_put(keys, "x", "3");
    keys_put(keys, "kc", "4");
    keys_put(keys, "kb", "5");
    keys_put(keys, "ka", NULL);
    keys_submit_watch(keys, 1, &watch, "k", 0);
    assert_told(keys, &watch, "+kc=4 +kb=5 ");
    keys_put(keys, "kd", "6");
    keys_put(keys, "y", "7");
    keys_put(keys, "kc", NULL);
    assert_told(keys, &watch, "+kd=6 -kc ");
    keys_cancel_watch(keys, 1, &watch);
    keys_put(keys, "ke", "8");
    assert_told(keys, &watch, "");
}

static void a_watch_goes_on_with_the_deletions_since(void **state)
{
    struct keys *keys = *state;
    struct asked_watch watch = {0};
    keys_put(keys, "a", "1");
    uint64_t revision = keys_put(keys, "b", "1");
    keys_put(keys, "a", NULL);
    keys_put(keys, "c", "1");
    keys_put(keys, "b", NULL);
    keys_submit_watch(keys, 0, &watch, "", revision);
    assert_told(keys, &watch, "-a +c=1 -b ");
    assert_false(watch.watch.is_gapped);
    revision = watch.revision;
    keys_cancel_watch(keys, 0, &watch);
    keys_submit_watch(keys, 0, &watch, "", revision);
    assert_told(keys, &watch, "");
    keys_put(keys, "d", "1");
    assert_told(keys, &watch, "+d=1 ");
    keys_cancel_watch(keys, 0, &watch);
}

static void a_watch_from_before_a_restart_is_gapped(void **state)
{
    struct keys *keys = *state;
    struct asked_watch watch = {0};
    uint64_t revision = keys_put(keys, "a", "1");
    keys_put(keys, "b", "1");
    keys_put(keys, "a", NULL);
    keys_reopen(keys);
    keys_submit_watch(keys, 0, &watch, "", revision);
    assert_true(watch.watch.is_gapped);
    assert_told(keys, &watch, "+b=1 ");
    keys_cancel_watch(keys, 0, &watch);
    keys_submit_watch(keys, 0, &watch, "", 0);
    assert_false(watch.watch.is_gapped);
    assert_told(keys, &watch, "+b=1 ");
    keys_cancel_watch(keys, 0, &watch);
}

static void a_watch_is_told_of_what_expires(void **state)
{
    struct keys *keys = *state;
    struct asked_watch watch = {0};
    keys_put_for(keys, "a", "1", 1000);
    keys_submit_watch(keys, 1, &watch, "", 0);
    assert_told(keys, &watch, "+a=1 ");
    keys_advance(keys, 999);
    assert_told(keys, &watch, "");
    keys_advance(keys, 1);
    assert_told(keys, &watch, "-a ");
    keys_cancel_watch(keys, 1, &watch);
}

static char names[64][512];

/* Puts `count` keys "k<number>" with names of key_bytes, from `first` on, or deletes them. Only
 * port 0 has turns. */
static void write_many(struct keys *keys, uint32_t first, uint32_t count, uint32_t key_bytes,
                       const char *value)
{
    struct asked_commit *asked = malloc(sizeof(*asked));
    for (uint32_t done = 0; done < count; done += asked->commit.count) {
        keys_begin_commit(keys, asked);
        while (asked->commit.count < 64 && done + asked->commit.count < count) {
            char *name = names[asked->commit.count];
            /* Scattered: revisions are in another order than keys. */
            uint32_t number = (first + done + asked->commit.count) * 2654435761U;
            (void)snprintf(name, sizeof(names[0]), "k%08x%0*u", number,
                           (int)ps_min_u32(key_bytes - 9, 480), 0);
            keys_add(asked, name, value);
        }
        keys_submit_commit(keys, 0, asked);
        (void)embedded_keys_port_turn(keys->ports[0], keys->wall_ms);
        keys_help(keys);
        (void)embedded_keys_port_turn(keys->ports[0], keys->wall_ms);
        assert_int_equal(asked->commit.status, BROKER_OK);
    }
    free(asked);
}

static void a_scan_that_takes_several_goes_tells_everything_once(void **state)
{
    struct keys *keys = *state;
    /* So long and many that a scan cannot keep them all. */
    enum { KEYS = 10000, KEY_BYTES = 479 };
    struct asked_watch *watch = calloc(1, sizeof(*watch));
    watch->is_silent = true;
    write_many(keys, 0, KEYS, KEY_BYTES, "x");
    keys_submit_watch(keys, 1, watch, "k", 0);
    keys_settle(keys);
    assert_int_equal(watch->changes, KEYS);
    keys_put(keys, "k", "new");
    keys_settle(keys);
    assert_int_equal(watch->changes, KEYS + 1);
    keys_cancel_watch(keys, 1, watch);
    free(watch);
}

static void what_changes_during_a_scan_is_told_after_it(void **state)
{
    struct keys *keys = *state;
    enum { KEYS = 9000 };
    struct asked_watch *watch = calloc(1, sizeof(*watch));
    watch->is_silent = true;
    write_many(keys, 0, KEYS, 16, "x");
    keys_submit_watch(keys, 1, watch, "k", 0);
    for (uint32_t round = 0; round < 3; round++) {
        (void)embedded_keys_port_turn(keys->ports[1], keys->wall_ms);
        keys_help(keys); /* a page waits, and all that follows is known by revision and key */
        write_many(keys, 4000 + round * 64, 64, 16, round == 1 ? NULL : "y");
    }
    keys_settle(keys);
    assert_int_equal(watch->deletions, 64);
    assert_int_equal(watch->changes, KEYS);
    keys_cancel_watch(keys, 1, watch);
    free(watch);
}

static void more_than_may_wait_during_a_scan_is_told_by_another(void **state)
{
    struct keys *keys = *state;
    enum { KEYS = 2000, MORE = 20000 };
    struct asked_watch *watch = calloc(1, sizeof(*watch));
    watch->is_silent = true;
    write_many(keys, 0, KEYS, 40, "x");
    keys_submit_watch(keys, 1, watch, "k", 0);
    (void)embedded_keys_port_turn(keys->ports[1], keys->wall_ms);
    keys_help(keys);
    write_many(keys, KEYS, MORE, 40, "x");
    write_many(keys, 0, 500, 40, NULL);
    assert_true(heap_budget_bytes_used(&keys->budget) < 8 << 20);
    keys_settle(keys);
    assert_int_equal(watch->deletions, 500);
    assert_in_range(watch->changes, KEYS + MORE, KEYS + MORE + 500);
    keys_cancel_watch(keys, 1, watch);
    free(watch);
}

static void a_watch_that_falls_behind_is_told_the_last_of_everything(void **state)
{
    struct keys *keys = *state;
    enum { KEYS = 20000, DELETED = 3000 };
    struct asked_watch *watch = calloc(1, sizeof(*watch));
    keys_close(keys);
    keys->options.deleted_entries_max = 2000;
    keys_open(keys);
    watch->is_silent = true;
    keys_submit_watch(keys, 1, watch, "k", 0);
    keys_settle(keys);
    /* Its port has no turn meanwhile, and more comes than may wait for it. */
    write_many(keys, 0, KEYS, 40, "x");
    write_many(keys, 0, DELETED, 40, NULL);
    assert_true(heap_budget_bytes_used(&keys->budget) < 16 << 20);
    assert_int_equal(watch->changes, 0);
    keys_settle(keys);
    assert_true(watch->changes >= KEYS);
    assert_int_equal(watch->deletions, DELETED);
    uint64_t revision = keys_put(keys, "k", "x");
    keys_settle(keys);
    assert_int_equal(watch->revision, revision);
    keys_cancel_watch(keys, 1, watch);
    free(watch);
}

static void deletions_beyond_the_limit_wait_for_a_scan_that_needs_them(void **state)
{
    struct keys *keys = *state;
    enum { KEYS = 600 };
    struct asked_watch *watch = calloc(1, sizeof(*watch));
    struct asked_commit commit;
    keys_close(keys);
    keys->options.deleted_entries_max = 128;
    keys_open(keys);
    uint64_t revision = keys_put(keys, "k", "x");
    write_many(keys, 0, KEYS, 16, "x");
    watch->is_silent = true;
    keys_submit_watch(keys, 1, watch, "k", revision);
    (void)embedded_keys_port_turn(keys->ports[1], keys->wall_ms);
    keys_help(keys); /* the first page waits for its port */
    write_many(keys, 0, 256, 16, NULL);
    keys_begin_commit(keys, &commit);
    keys_add(&commit, "k", NULL);
    keys_submit_commit(keys, 0, &commit);
    for (uint32_t round = 0; round < 10; round++) {
        (void)embedded_keys_port_turn(keys->ports[0], keys->wall_ms);
        keys_help(keys);
    }
    assert_int_equal(commit.number, 0);
    keys_settle(keys);
    assert_int_not_equal(commit.number, 0);
    keys_advance(keys, 20); /* what stalls is looked at again in a while */
    assert_int_equal(watch->deletions, 257);
    keys_cancel_watch(keys, 1, watch);
    write_many(keys, 256, 300, 16, NULL);
    keys_submit_watch(keys, 1, watch, "k", revision);
    assert_true(watch->watch.is_gapped);
    keys_settle(keys);
    keys_cancel_watch(keys, 1, watch);
    free(watch);
}

static void watches_beyond_the_limit_are_refused(void **state)
{
    struct keys *keys = *state;
    struct asked_watch *watches = calloc(3, sizeof(*watches));
    keys_close(keys);
    keys->options.watches_max = 2;
    keys_open(keys);
    keys_put(keys, "a", "1");
    keys_submit_watch(keys, 0, &watches[0], "", 0);
    keys_submit_watch(keys, 0, &watches[1], "a", 0);
    watches[2].watch.request.kind = BROKER_REQUEST_WATCH;
    assert_int_equal(embedded_keys_port_submit(keys->ports[0], &watches[2].watch.request), -EAGAIN);
    assert_told(keys, &watches[0], "+a=1 ");
    assert_told(keys, &watches[1], "+a=1 ");
    keys_cancel_watch(keys, 0, &watches[0]);
    keys_submit_watch(keys, 0, &watches[2], "b", 0);
    keys_put(keys, "b", "2");
    assert_told(keys, &watches[1], "");
    assert_told(keys, &watches[2], "+b=2 ");
    free((keys_close(keys), keys_open(keys), watches)); /* given up without a callback */
}

const struct CMUnitTest keys_contract_watch_tests[] = {
    cmocka_unit_test(a_watch_is_told_what_there_is_in_the_order_of_revisions),
    cmocka_unit_test(a_watch_goes_on_with_the_deletions_since),
    cmocka_unit_test(a_watch_from_before_a_restart_is_gapped),
    cmocka_unit_test(a_watch_is_told_of_what_expires),
    cmocka_unit_test(a_scan_that_takes_several_goes_tells_everything_once),
    cmocka_unit_test(what_changes_during_a_scan_is_told_after_it),
    cmocka_unit_test(more_than_may_wait_during_a_scan_is_told_by_another),
    cmocka_unit_test(a_watch_that_falls_behind_is_told_the_last_of_everything),
    cmocka_unit_test(deletions_beyond_the_limit_wait_for_a_scan_that_needs_them),
    cmocka_unit_test(watches_beyond_the_limit_are_refused),
    {0},
};
