/*
 * The broker's contract: watches.
 */
#include "broker_contract_internal.h"

#include <stdio.h>

#include "core/base.h"

/* A watch that writes down what it is told: "+key=value " or "-key ". */
struct watcher {
    struct broker_watch watch;
    char text[4096];
    uint64_t revision;
    uint32_t changes; /* deletions among them */
    uint32_t deletions;
    uint32_t cancel_at; /* cancels itself at this change; 0: never */
    struct broker *broker;
    bool is_done;
};

static void on_change(struct broker_watch *watch, const struct broker_entry *entry, bool is_deleted)
{
    struct watcher *watcher = ps_container_of(watch, struct watcher, watch);
    struct contract *contract = watch->request.owner;
    assert_true(contract->is_turning);
    assert_false(watcher->is_done);
    assert_true(entry->revision > watcher->revision);
    watcher->revision = entry->revision;
    watcher->deletions += is_deleted;
    size_t used = strlen(watcher->text);
    if (is_deleted)
        (void)snprintf(watcher->text + used, sizeof(watcher->text) - used, "-%.*s ",
                       (int)entry->key.count, (const char *)entry->key.bytes);
    else
        (void)snprintf(watcher->text + used, sizeof(watcher->text) - used, "+%.*s=%.*s ",
                       (int)entry->key.count, (const char *)entry->key.bytes,
                       (int)entry->value.count, (const char *)entry->value.bytes);
    if (++watcher->changes == watcher->cancel_at)
        broker_cancel(watcher->broker, &watch->request);
}

static void on_ended(struct broker_watch *watch)
{
    called_back(watch->request.owner, &watch->request);
    ps_container_of(watch, struct watcher, watch)->is_done = true;
}

static void begin(struct contract *contract, struct watcher *watcher, struct broker *broker,
                  const char *prefix, uint64_t after)
{
    memset(watcher, 0, sizeof(*watcher));
    watcher->broker = broker;
    watcher->revision = after;
    watcher->watch.request.owner = contract;
    watcher->watch.on_change = on_change;
    watcher->watch.on_done = on_ended;
    watcher->watch.prefix = bytes_of(prefix);
    watcher->watch.after_revision = after;
    assert_int_equal(broker_watch(broker, &watcher->watch), 0);
}

static void end(struct contract *contract, struct watcher *watcher)
{
    broker_cancel(watcher->broker, &watcher->watch.request);
    finish(contract, &watcher->watch.request);
    assert_true(watcher->is_done);
}

static void assert_told(struct contract *contract, struct watcher *watcher, const char *text)
{
    settle(contract);
    assert_string_equal(watcher->text, text);
    watcher->text[0] = '\0';
}

static void a_watch_is_told_what_there_is_and_then_what_changes(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    put(contract, "k1", "a");
    put(contract, "x", "a");
    put(contract, "k2", "b");
    begin(contract, &watcher, contract->brokers[0], "k", 0);
    assert_told(contract, &watcher, "+k1=a +k2=b ");
    assert_false(watcher.watch.is_gapped);
    put(contract, "k1", "c");
    assert_told(contract, &watcher, "+k1=c ");
    put(contract, "y", "c");
    delete_key(contract, "k2");
    assert_told(contract, &watcher, "-k2 ");
    put(contract, "k2", "d");
    assert_told(contract, &watcher, "+k2=d ");
    assert_told(contract, &watcher, "");
    end(contract, &watcher);
}

static void a_watch_is_told_what_any_shard_writes(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    begin(contract, &watcher, contract->brokers[contract->handle_count - 1], "", 0);
    put(contract, "k", "a"); /* through the first handle */
    assert_told(contract, &watcher, "+k=a ");
    end(contract, &watcher);
}

static void a_watch_goes_on_where_another_one_ended(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    put(contract, "k1", "a");
    put(contract, "k2", "a");
    begin(contract, &watcher, contract->brokers[0], "k", 0);
    assert_told(contract, &watcher, "+k1=a +k2=a ");
    uint64_t revision = watcher.revision;
    end(contract, &watcher);
    put(contract, "k3", "b");
    delete_key(contract, "k1");
    begin(contract, &watcher, contract->brokers[0], "k", revision);
    assert_told(contract, &watcher, "+k3=b -k1 ");
    assert_false(watcher.watch.is_gapped);
    end(contract, &watcher);
    begin(contract, &watcher, contract->brokers[0], "k", watcher.revision);
    assert_told(contract, &watcher, "");
    put(contract, "k4", "c");
    assert_told(contract, &watcher, "+k4=c ");
    end(contract, &watcher);
}

static void a_watch_is_told_the_last_of_several_changes(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    begin(contract, &watcher, contract->brokers[0], "k", 0);
    settle(contract);
    for (uint32_t count = 0; count < 10; count++)
        put(contract, "k", count < 9 ? "x" : "last");
    settle(contract);
    size_t length = strlen(watcher.text);
    assert_true(length >= 8);
    assert_string_equal(watcher.text + length - 8, "+k=last ");
    end(contract, &watcher);
}

static void a_watch_that_was_cancelled_is_told_nothing_more(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    begin(contract, &watcher, contract->brokers[0], "", 0);
    settle(contract);
    put(contract, "k", "a");
    settle(contract);
    uint32_t changes = watcher.changes;
    end(contract, &watcher);
    put(contract, "k", "b");
    settle(contract);
    assert_int_equal(watcher.changes, changes);
}

static void a_watch_may_be_cancelled_while_it_is_told(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    for (uint32_t count = 0; count < 5; count++)
        put(contract, &"abcde"[count], "x");
    begin(contract, &watcher, contract->brokers[0], "", 0);
    watcher.cancel_at = 2;
    finish(contract, &watcher.watch.request);
    assert_int_equal(watcher.changes, 2);
    settle(contract);
    assert_int_equal(watcher.changes, 2);
}

static void a_watch_is_told_that_a_key_has_expired(void **state)
{
    struct contract *contract = *state;
    struct watcher watcher;
    struct broker_commit commit;
    prepare_commit(contract, &commit);
    add_write(&commit, "k", "a")->time_to_live_ms = 1000;
    commit_as(contract, &commit, BROKER_OK);
    begin(contract, &watcher, contract->brokers[contract->handle_count - 1], "", 0);
    assert_told(contract, &watcher, "+k=a ");
    advance(contract, 500);
    assert_told(contract, &watcher, "");
    advance(contract, 500 + contract->driver->expiry_ms);
    assert_told(contract, &watcher, "-k ");
    end(contract, &watcher);
}

static void several_watches_are_told_independently(void **state)
{
    struct contract *contract = *state;
    struct watcher watchers[3];
    put(contract, "a", "1");
    put(contract, "b", "1");
    for (uint32_t index = 0; index < 3; index++)
        begin(contract, &watchers[index], contract->brokers[index % contract->handle_count],
              index == 1 ? "b" : "", 0);
    assert_told(contract, &watchers[0], "+a=1 +b=1 ");
    assert_told(contract, &watchers[1], "+b=1 ");
    assert_told(contract, &watchers[2], "+a=1 +b=1 ");
    end(contract, &watchers[0]);
    put(contract, "c", "2");
    assert_told(contract, &watchers[1], "");
    assert_told(contract, &watchers[2], "+c=2 ");
    end(contract, &watchers[1]);
    end(contract, &watchers[2]);
}

static void a_watch_that_is_under_way_misses_no_deletion(void **state)
{
    struct contract *contract = *state;
    enum { KEYS = 300 };
    struct watcher watcher;
    char key[16];
    begin(contract, &watcher, contract->brokers[contract->handle_count - 1], "d", 0);
    for (uint32_t count = 0; count < KEYS; count++) {
        (void)snprintf(key, sizeof(key), "d%u", count);
        put(contract, key, "x");
    }
    for (uint32_t count = 0; count < KEYS; count++) {
        (void)snprintf(key, sizeof(key), "d%u", count);
        delete_key(contract, key);
    }
    settle(contract);
    assert_int_equal(watcher.deletions, KEYS);
    end(contract, &watcher);
}

const struct CMUnitTest broker_contract_watch_tests[] = {
    cmocka_unit_test(a_watch_is_told_what_there_is_and_then_what_changes),
    cmocka_unit_test(a_watch_is_told_what_any_shard_writes),
    cmocka_unit_test(a_watch_goes_on_where_another_one_ended),
    cmocka_unit_test(a_watch_is_told_the_last_of_several_changes),
    cmocka_unit_test(a_watch_that_was_cancelled_is_told_nothing_more),
    cmocka_unit_test(a_watch_may_be_cancelled_while_it_is_told),
    cmocka_unit_test(a_watch_is_told_that_a_key_has_expired),
    cmocka_unit_test(several_watches_are_told_independently),
    cmocka_unit_test(a_watch_that_is_under_way_misses_no_deletion),
    {0},
};
