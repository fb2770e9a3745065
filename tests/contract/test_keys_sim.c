/*
 * The embedded keys on the simulated file, and what a disk can do to them: it refuses a batch, it
 * fails a commit that is stored all the same, it stops, it forgets, it has no memory to spare.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/log.h"
#include "embedded_keys_parts_internal.h"
#include "keys_contract.h"
#include "sim/key_file_sim.h"

static struct key_file_disk *disk;

const char *keys_contract_begin(void)
{
    disk = key_file_disk_create("data");
    return "data";
}

void keys_contract_end(void)
{
    key_file_disk_destroy(disk);
}

/* Ends the gateway as a crash does, and starts the next one. */
static void crash(struct keys *keys, bool is_power_failure)
{
    keys_close(keys);
    key_file_disk_crash(disk, is_power_failure);
    keys_open(keys);
}

static void begin_put(struct keys *keys, struct asked_commit *asked, const char *key,
                      const char *value)
{
    keys_begin_commit(keys, asked);
    keys_add(asked, key, value)->expected_revision = 0;
}

/* How often an event is in a log. */
static uint32_t count_events(int fd, const char *event)
{
    char text[4096];
    ssize_t count = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(count >= 0);
    text[count] = '\0';
    uint32_t found = 0;
    for (const char *at = text; (at = strstr(at, event)) != NULL; at++)
        found++;
    return found;
}

static void a_batch_that_the_disk_refuses_waits_and_is_answered_when_it_passes(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[2];
    struct asked_get gets[3];
    struct log *log = NULL;
    const struct log_options options = {.fd = memfd_create("log", 0), .level = LOG_INFO};
    assert_int_equal(log_create(&keys->heap, &options, &log), 0);
    keys_close(keys);
    keys->options.log = log;
    keys_open(keys);
    keys_put(keys, "old", "1");
    key_file_disk_fail(disk, KEY_FILE_FAULT_WRITE, -ENOSPC, 0, UINT32_MAX);
    keys_submit_get(keys, 0, &gets[0], "old");
    begin_put(keys, &commits[0], "a", "1");
    keys_submit_commit(keys, 0, &commits[0]);
    keys_submit_get(keys, 0, &gets[1], "a");
    begin_put(keys, &commits[1], "a", "2");
    keys_submit_commit(keys, 1, &commits[1]);
    for (uint32_t step = 0; step < 60; step++)
        keys_advance(keys, 1000);
    assert_int_equal(commits[0].number, 0);
    assert_int_equal(commits[1].number, 0);
    assert_string_equal(gets[0].value, "1"); /* no commit of its port is before it */
    assert_int_equal(gets[1].number, 0);
    assert_false(keys->is_healthy[0]);
    assert_false(embedded_keys_port_is_healthy(keys->ports[0]));
    assert_int_equal(keys->health_changes, KEYS_PORTS);
    assert_int_equal(count_events(options.fd, "event=keys_failed"), 1);
    assert_int_equal(count_events(options.fd, "No space left on device"), 1);
    assert_int_equal(key_file_disk_commits(disk), 2); /* the empty file's, and the first put's */
    /* Pauses grow to 5 s, so a minute sees no more than these. */
    assert_in_range(keys_counters(keys).batch_failures, 12, 20);
    keys_submit_get(keys, 1, &gets[2], "old");
    keys_settle(keys);
    assert_int_equal(gets[2].number, 0); /* behind a commit of its port */
    key_file_disk_fail(disk, KEY_FILE_FAULT_NONE, 0, 0, 0);
    keys_advance(keys, 5000);
    assert_true(keys->is_healthy[0]);
    assert_int_equal(count_events(options.fd, "event=keys_recovered"), 1);
    assert_true((commits[0].commit.status == BROKER_OK) != (commits[1].commit.status == BROKER_OK));
    keys_assert_value(keys, "a", commits[0].commit.status == BROKER_OK ? "1" : "2");
    assert_string_equal(gets[2].value, "1");
    keys_close(keys);
    keys->options.log = NULL;
    log_destroy(&keys->heap, log);
    close(options.fd);
}

static void reads_go_on_while_commits_wait(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commit;
    struct asked_get get;
    struct asked_list list;
    keys_put(keys, "old", "1");
    key_file_disk_fail(disk, KEY_FILE_FAULT_WRITE, -EIO, 0, UINT32_MAX);
    begin_put(keys, &commit, "a", "1");
    keys_submit_commit(keys, 0, &commit);
    keys_settle(keys);
    assert_false(keys->is_healthy[1]);
    keys_submit_get(keys, 1, &get, "old");
    keys_submit_list(keys, 1, &list, "");
    keys_settle(keys);
    assert_string_equal(get.value, "1");
    assert_string_equal(list.text, "old=1 ");
    assert_int_equal(commit.number, 0);
    key_file_disk_fail(disk, KEY_FILE_FAULT_NONE, 0, 0, 0);
    keys_advance(keys, 99);
    assert_int_equal(commit.number, 0);
    keys_advance(keys, 1);
    assert_int_equal(commit.commit.status, BROKER_OK);
}

static void a_pause_ends_also_when_the_clock_was_set_back(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commit;
    key_file_disk_fail(disk, KEY_FILE_FAULT_WRITE, -EIO, 0, 1);
    begin_put(keys, &commit, "a", "1");
    keys_submit_commit(keys, 0, &commit);
    keys_settle(keys);
    assert_int_equal(commit.number, 0);
    keys->wall_ms -= 3600000;
    keys_settle(keys);
    assert_int_equal(commit.commit.status, BROKER_OK);
}

static void a_commit_that_failed_but_is_stored_is_answered_once_it_is_durable(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[2];
    struct asked_get get;
    struct asked_watch watch = {0};
    keys_submit_watch(keys, 1, &watch, "", 0);
    keys_settle(keys);
    uint64_t revision = keys_put(keys, "old", "1");
    key_file_disk_fail(disk, KEY_FILE_FAULT_SYNC, -EIO, 0, 3); /* and twice its confirmation */
    begin_put(keys, &commits[0], "a", "1");
    keys_submit_commit(keys, 0, &commits[0]);
    begin_put(keys, &commits[1], "a", "2");
    keys_submit_commit(keys, 0, &commits[1]);
    keys_settle(keys);
    keys_submit_get(keys, 1, &get, "a");
    keys_settle(keys);
    assert_int_equal(commits[0].number, 0);
    assert_int_equal(get.number, 0); /* what may not last is shown to nobody */
    keys_advance(keys, 100);
    keys_advance(keys, 200);
    assert_int_equal(commits[0].number, 0);
    assert_int_equal(key_file_disk_unsynced(disk), 3);
    assert_string_equal(watch.text, "+old=1 ");
    keys_advance(keys, 400);
    /* Not a conflict with itself. */
    assert_int_equal(commits[0].commit.status, BROKER_OK);
    assert_int_equal(commits[0].commit.writes[0].revision, revision + 1);
    assert_int_equal(commits[1].commit.status, BROKER_CONFLICT);
    assert_int_equal(get.revision, revision + 1);
    assert_string_equal(watch.text, "+old=1 +a=1 ");
    assert_true(keys->is_healthy[0]);
    crash(keys, true);
    assert_int_equal(keys_assert_value(keys, "a", "1"), revision + 1);
}

static void a_commit_that_failed_and_went_is_carried_out_again(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commit;
    keys_put(keys, "old", "1");
    key_file_disk_fail(disk, KEY_FILE_FAULT_SYNC, -EIO, 0, 1);
    begin_put(keys, &commit, "a", "1");
    keys_submit_commit(keys, 0, &commit);
    keys_settle(keys);
    assert_int_equal(commit.number, 0);
    crash(keys, true); /* nobody was told */
    keys_assert_value(keys, "a", NULL);
    keys_assert_value(keys, "old", "1");
    assert_int_equal(commit.number, 0);
}

static void what_cannot_be_opened_again_is_tried_until_it_can(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commit;
    struct asked_get get;
    key_file_disk_fail(disk, KEY_FILE_FAULT_SYNC, -EIO, 0, 1);
    begin_put(keys, &commit, "a", "1");
    keys_submit_commit(keys, 0, &commit);
    keys_turn_ports(keys);
    keys_help(keys);
    key_file_disk_fail(disk, KEY_FILE_FAULT_WRITE, -EIO, 0, 1); /* the confirmation's */
    key_file_disk_fail_opening(disk, -EIO, 4);
    keys_advance(keys, 100);
    keys_submit_get(keys, 1, &get, "a");
    for (uint32_t step = 0; step < 20 && commit.number == 0; step++)
        keys_advance(keys, 1000);
    assert_int_equal(commit.commit.status, BROKER_OK);
    assert_string_equal(get.value, "1");
    assert_true(keys->is_healthy[0]);
    crash(keys, true);
    keys_assert_value(keys, "a", "1");
}

static void a_file_that_cannot_be_opened_is_named(void **state)
{
    struct keys *keys = *state;
    struct embedded_keys *none = NULL;
    keys_close(keys);
    key_file_disk_fail_opening(disk, -EACCES, 1);
    assert_int_equal(helper_create(&keys->heap, 0, &keys->helper), 0);
    keys->options.helper = keys->helper;
    assert_int_equal(embedded_keys_open(&keys->options, &none), -EACCES);
    assert_non_null(strstr(keys->error, "Permission denied"));
    assert_null(none);
    helper_destroy(&keys->heap, keys->helper);
}

static void requests_that_wait_for_the_disk_can_be_cancelled_and_given_up(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[4];
    for (uint32_t round = 0; round < 2; round++) {
        /* Once with nothing stored, once with the batch kept. */
        key_file_disk_fail(disk, round == 0 ? KEY_FILE_FAULT_WRITE : KEY_FILE_FAULT_SYNC, -EIO, 0,
                           UINT32_MAX);
        for (uint32_t index = 0; index < 4; index++) {
            begin_put(keys, &commits[index], &"abcd"[index], "x");
            keys_submit_commit(keys, index % 2, &commits[index]);
        }
        keys_settle(keys);
        keys_advance(keys, 100);
        embedded_keys_port_cancel(keys->ports[0], &commits[0].commit.request);
        keys_settle(keys);
        if (round == 0) {
            assert_int_equal(commits[0].commit.status, BROKER_CANCELLED);
            assert_int_not_equal(commits[0].number, 0);
        } else {
            assert_int_equal(commits[0].number, 0); /* it is stored, after all */
        }
        embedded_keys_port_destroy(keys->ports[1]);
        keys->ports[1] = NULL;
        key_file_disk_fail(disk, KEY_FILE_FAULT_NONE, 0, 0, 0);
        keys_advance(keys, 5000);
        assert_int_equal(commits[2].commit.status, BROKER_OK);
        assert_int_equal(commits[1].number, 0);
        if (round == 1)
            assert_int_equal(commits[0].commit.status, BROKER_OK);
        crash(keys, true);
        keys_put(keys, "cd", NULL);
        keys_assert_value(keys, "abcd", round == 0 ? NULL : "x");
    }
}

static void
what_is_cancelled_while_its_fate_is_unknown_is_cancelled_if_it_is_not_stored(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[2];
    key_file_disk_fail(disk, KEY_FILE_FAULT_WRITE, -EIO, 0, 1);
    key_file_disk_fail_opening(disk, -EIO, 1);
    for (uint32_t index = 0; index < 2; index++) {
        begin_put(keys, &commits[index], index == 0 ? "a" : "b", "x");
        keys_submit_commit(keys, 0, &commits[index]);
    }
    keys_settle(keys);
    embedded_keys_port_cancel(keys->ports[0], &commits[0].commit.request);
    keys_settle(keys);
    assert_int_equal(keys->answers, 0);
    keys_advance(keys, 100);
    assert_int_equal(commits[0].commit.status, BROKER_CANCELLED);
    assert_int_equal(commits[1].commit.status, BROKER_OK);
    assert_int_equal(keys->answers, 2);
    keys_assert_list(keys, "", "b=x ");
}

static void a_crash_at_a_commit_leaves_all_of_it_or_nothing(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[2];
    for (uint32_t round = 0; round < 4; round++) {
        bool is_after = round % 2 == 1;
        key_file_disk_fail(
            disk, is_after ? KEY_FILE_FAULT_CRASH_AFTER : KEY_FILE_FAULT_CRASH_BEFORE, 0, 0, 1);
        for (uint32_t index = 0; index < 2; index++) {
            keys_begin_commit(keys, &commits[index]);
            keys_add(&commits[index], index == 0 ? "a" : "b", "x");
            keys_add(&commits[index], index == 0 ? "c" : "d", "x");
            keys_submit_commit(keys, index, &commits[index]);
        }
        keys_settle(keys);
        assert_true(key_file_disk_is_stopped(disk));
        keys_advance(keys, 10000);
        assert_int_equal(commits[0].number, 0);
        crash(keys, round >= 2);
        keys_assert_list(keys, "", is_after ? "a=x b=x c=x d=x " : "");
        for (uint32_t index = 0; is_after && index < 4; index++)
            keys_put(keys, &"a\0b\0c\0d"[2 * index], NULL);
        assert_int_equal(keys_counters(keys).key_count, 0);
    }
}

static void a_sync_that_is_left_out_loses_what_was_acknowledged(void **state)
{
    struct keys *keys = *state;
    keys_put(keys, "a", "1");
    key_file_disk_leave_out_sync(disk, true);
    keys_put(keys, "a", "2");
    keys_put(keys, "b", "2");
    key_file_disk_leave_out_sync(disk, false);
    crash(keys, false);
    keys_assert_list(keys, "", "a=2 b=2 "); /* a crash of ours takes nothing */
    crash(keys, true);
    keys_assert_list(keys, "", "a=1 ");
}

static void unsynced_the_last_batch_alone_is_in_danger(void **state)
{
    struct keys *keys = *state;
    keys->options.is_unsynced = true;
    keys_reopen(keys);
    keys_put(keys, "a", "1");
    keys_put(keys, "b", "1");
    crash(keys, true);
    keys_assert_list(keys, "", "a=1 ");
}

/* Does one of everything; whatever fails for want of memory must have gone on by the end. */
static void use_everything(struct keys *keys)
{
    struct asked_commit commits[2];
    struct asked_get get;
    struct asked_list list;
    struct asked_watch watch = {0};
    keys_begin_commit(keys, &commits[0]);
    keys_add(&commits[0], "a", "1");
    keys_add(&commits[0], "b", "1");
    keys_begin_commit(keys, &commits[1]);
    keys_add(&commits[1], "a", NULL);
    keys_submit_watch(keys, 1, &watch, "", 0);
    keys_submit_commit(keys, 0, &commits[0]);
    keys_submit_get(keys, 0, &get, "a");
    keys_submit_list(keys, 0, &list, "");
    keys_submit_commit(keys, 0, &commits[1]);
    for (uint32_t step = 0; step < 10; step++)
        keys_advance(keys, 100);
    assert_int_equal(commits[0].commit.status, BROKER_OK);
    assert_int_equal(commits[1].commit.status, BROKER_OK);
    assert_string_equal(get.value, "1");
    assert_string_equal(list.text, "a=1 b=1 ");
    size_t length = strlen(watch.text);
    assert_true(length >= 4 && strstr(watch.text, "+b=1 ") != NULL);
    assert_string_equal(watch.text + length - 3, watch.deletions > 0 ? "-a " : "=1 ");
    keys_cancel_watch(keys, 1, &watch);
    keys_begin_commit(keys, &commits[0]);
    keys_add(&commits[0], "b", NULL);
    keys_submit_commit(keys, 0, &commits[0]);
    keys_settle(keys);
    keys_advance(keys, 100);
    assert_int_equal(commits[0].commit.status, BROKER_OK);
    assert_int_equal(keys_counters(keys).key_count, 0);
}

static void an_allocation_that_fails_delays_and_loses_nothing(void **state)
{
    struct keys *keys = *state;
    struct heap *heap = &keys->keys->heap;
    uint64_t failures = 1;
    for (uint64_t number = 1; failures > 0; number++) {
        assert_true(number < 1000);
        uint64_t before = heap->failures;
        heap_fail_at(heap, number);
        use_everything(keys);
        heap_fail_at(heap, 0);
        failures = heap->failures - before;
        assert_true(keys->is_healthy[0]);
    }
}

static void an_opening_without_memory_fails_whole(void **state)
{
    struct keys *keys = *state;
    int status = -ENOMEM;
    keys_close(keys);
    for (uint64_t number = 1; status < 0; number++) {
        struct embedded_keys *opened = NULL;
        assert_int_equal(helper_create(&keys->heap, 0, &keys->helper), 0);
        keys->options.helper = keys->helper;
        heap_fail_at(&keys->heap, number);
        status = embedded_keys_open(&keys->options, &opened);
        heap_fail_at(&keys->heap, 0);
        assert_true(status == 0 || status == -ENOMEM);
        if (status == 0)
            embedded_keys_close(opened);
        helper_destroy(&keys->heap, keys->helper);
    }
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_batch_that_the_disk_refuses_waits_and_is_answered_when_it_passes),
    cmocka_unit_test(reads_go_on_while_commits_wait),
    cmocka_unit_test(a_pause_ends_also_when_the_clock_was_set_back),
    cmocka_unit_test(a_commit_that_failed_but_is_stored_is_answered_once_it_is_durable),
    cmocka_unit_test(a_commit_that_failed_and_went_is_carried_out_again),
    cmocka_unit_test(what_cannot_be_opened_again_is_tried_until_it_can),
    cmocka_unit_test(a_file_that_cannot_be_opened_is_named),
    cmocka_unit_test(requests_that_wait_for_the_disk_can_be_cancelled_and_given_up),
    cmocka_unit_test(what_is_cancelled_while_its_fate_is_unknown_is_cancelled_if_it_is_not_stored),
    cmocka_unit_test(a_crash_at_a_commit_leaves_all_of_it_or_nothing),
    cmocka_unit_test(a_sync_that_is_left_out_loses_what_was_acknowledged),
    cmocka_unit_test(unsynced_the_last_batch_alone_is_in_danger),
    cmocka_unit_test(an_allocation_that_fails_delays_and_loses_nothing),
    cmocka_unit_test(an_opening_without_memory_fails_whole),
    {0},
};

int main(void)
{
    return keys_contract_run() + keys_run_tests("keys and a bad disk", tests);
}
