/*
 * The broker's contract: keys, their revisions, commits and lists.
 */
#include "broker_contract_internal.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"

static void a_value_is_seen_through_every_handle(void **state)
{
    struct contract *contract = *state;
    uint64_t revision = put(contract, "k", "value");
    assert_true(revision > 0);
    assert_int_equal(assert_value(contract, "k", "value"), revision);
    assert_value(contract, "kk", NULL);
}

static void a_new_value_replaces_the_old_one_with_a_higher_revision(void **state)
{
    struct contract *contract = *state;
    uint64_t first = put(contract, "k", "one");
    put(contract, "other", "x");
    uint64_t second = put(contract, "k", "a longer one");
    assert_true(second > first);
    assert_int_equal(assert_value(contract, "k", "a longer one"), second);
}

static void a_value_may_be_empty_and_a_key_any_bytes(void **state)
{
    struct contract *contract = *state;
    unsigned char key[BROKER_KEY_BYTES_MAX];
    struct broker_commit commit;
    struct broker_get get;
    put(contract, "empty", "");
    assert_value(contract, "empty", "");
    for (uint32_t index = 0; index < sizeof(key); index++)
        key[index] = (unsigned char)(255 - index);
    prepare_commit(contract, &commit);
    add_write(&commit, "", "x");
    add_write(&commit, "", "y");
    commit.writes[0].key = (struct broker_bytes){key, sizeof(key)};
    commit.writes[1].key = (struct broker_bytes){"\0", 1};
    commit_as(contract, &commit, BROKER_OK);
    prepare_get(contract, &get, "");
    get.keys[0] = commit.writes[0].key;
    get.keys[1] = commit.writes[1].key;
    get.count = 2;
    assert_int_equal(broker_get(contract->brokers[0], &get), 0);
    finish(contract, &get.request);
    assert_int_equal(get.values[0].revision, commit.writes[0].revision);
    assert_int_equal(get.values[1].revision, commit.writes[1].revision);
}

static void keys_of_wrong_length_are_refused(void **state)
{
    struct contract *contract = *state;
    char key[BROKER_KEY_BYTES_MAX + 1] = {0};
    struct broker_get get;
    struct broker_commit commit;
    prepare_get(contract, &get, "");
    assert_int_equal(broker_get(contract->brokers[0], &get), -EINVAL);
    prepare_commit(contract, &commit);
    add_write(&commit, "", "x")->key = (struct broker_bytes){key, sizeof(key)};
    assert_int_equal(broker_commit(contract->brokers[0], &commit), -EINVAL);
    commit.writes[0].key.count = 1;
    commit.guard_key = (struct broker_bytes){key, sizeof(key)};
    assert_int_equal(broker_commit(contract->brokers[0], &commit), -EINVAL);
    settle(contract);
    assert_int_equal(contract->calls, 0);
}

static void many_keys_are_got_at_once(void **state)
{
    struct contract *contract = *state;
    static const char *const names[] = {"a", "b", "c", "d"};
    struct broker_get get;
    put(contract, "a", "1");
    put(contract, "c", "2");
    prepare_get(contract, &get, "a");
    get.count = BROKER_KEYS_MAX;
    for (uint32_t index = 0; index < BROKER_KEYS_MAX; index++)
        get.keys[index] = bytes_of(names[index % 4]);
    assert_int_equal(broker_get(contract->brokers[0], &get), 0);
    finish(contract, &get.request);
    for (uint32_t index = 0; index < BROKER_KEYS_MAX; index++) {
        bool is_there = index % 2 == 0;
        assert_int_equal(get.values[index].status, is_there ? BROKER_OK : BROKER_NOT_FOUND);
        assert_int_equal(get.values[index].revision != 0, is_there);
        assert_int_equal(get.values[index].value.count, is_there);
    }
}

static void a_deleted_key_is_gone_and_may_come_again(void **state)
{
    struct contract *contract = *state;
    uint64_t first = put(contract, "k", "x");
    uint64_t deleted = delete_key(contract, "k");
    assert_true(deleted > first);
    assert_value(contract, "k", NULL);
    assert_int_equal(delete_key(contract, "k"), 0); /* there is nothing to delete */
    assert_true(put(contract, "k", "y") > deleted);
    assert_value(contract, "k", "y");
}

static void an_expected_revision_must_hold(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    uint64_t revision = put(contract, "k", "x");
    prepare_commit(contract, &commit);
    add_write(&commit, "k", "y")->expected_revision = revision;
    revision = commit_as(contract, &commit, BROKER_OK);
    prepare_commit(contract, &commit);
    add_write(&commit, "k", "z")->expected_revision = revision - 1;
    commit_as(contract, &commit, BROKER_CONFLICT);
    prepare_commit(contract, &commit);
    add_write(&commit, "k", NULL)->expected_revision = revision + 1;
    commit_as(contract, &commit, BROKER_CONFLICT);
    assert_int_equal(assert_value(contract, "k", "y"), revision);
    prepare_commit(contract, &commit);
    add_write(&commit, "k", NULL)->expected_revision = revision;
    commit_as(contract, &commit, BROKER_OK);
    assert_value(contract, "k", NULL);
}

static void expected_revision_0_creates_and_never_replaces(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    for (uint32_t round = 0; round < 2; round++) {
        prepare_commit(contract, &commit);
        add_write(&commit, "k", "x")->expected_revision = 0;
        commit_as(contract, &commit, BROKER_OK);
        prepare_commit(contract, &commit);
        add_write(&commit, "k", "y")->expected_revision = 0;
        commit_as(contract, &commit, BROKER_CONFLICT);
        assert_value(contract, "k", "x");
        delete_key(contract, "k");
    }
}

static void a_commit_is_written_as_a_whole_or_not_at_all(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    if (!broker_is_atomic(contract->brokers[0]))
        skip(); /* then the writes before the conflict stand */
    put(contract, "b", "old");
    prepare_commit(contract, &commit);
    add_write(&commit, "a", "new");
    add_write(&commit, "b", NULL);
    add_write(&commit, "c", "new")->expected_revision = 5;
    commit_as(contract, &commit, BROKER_CONFLICT);
    assert_value(contract, "a", NULL);
    assert_value(contract, "b", "old");
    assert_value(contract, "c", NULL);
    commit.writes[2].expected_revision = 0;
    commit_as(contract, &commit, BROKER_OK);
    assert_int_equal(assert_value(contract, "a", "new"), commit.writes[0].revision);
    assert_value(contract, "b", NULL);
    assert_int_equal(assert_value(contract, "c", "new"), commit.writes[2].revision);
    assert_true(commit.writes[0].revision < commit.writes[1].revision);
    assert_true(commit.writes[1].revision < commit.writes[2].revision);
}

/* So many that they need memory of their own. */
static void a_commit_of_many_writes_is_no_different(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    struct broker_write *many = calloc(BROKER_WRITES_MAX, sizeof(*many));
    char(*keys)[8] = calloc(BROKER_WRITES_MAX, sizeof(*keys));
    const uint32_t last = BROKER_WRITES_MAX - 1;
    assert_true(many != NULL && keys != NULL);
    prepare_commit(contract, &commit);
    commit.many = many;
    for (uint32_t index = 0; index <= last; index++) {
        snprintf(keys[index], sizeof(keys[index]), "m%04u", index);
        many[index] = (struct broker_write){.key = bytes_of(keys[index]),
                                            .value = bytes_of(keys[index]),
                                            .expected_revision = BROKER_ANY_REVISION};
    }
    commit.count = BROKER_WRITES_MAX;
    if (broker_is_atomic(contract->brokers[0])) {
        many[last].expected_revision = 5;
        commit_as(contract, &commit, BROKER_CONFLICT);
        assert_value(contract, "m0000", NULL);
        assert_value(contract, "m0500", NULL);
        many[last].expected_revision = 0;
    }
    commit_as(contract, &commit, BROKER_OK);
    for (uint32_t index = 0; index <= last; index += last / 3) {
        uint64_t revision = assert_value(contract, keys[index], keys[index]);
        assert_int_equal(revision, many[index].revision);
    }
    for (uint32_t index = 0; index <= last; index++) {
        assert_true(index == 0 || many[index].revision > many[index - 1].revision);
        many[index].kind = BROKER_DELETE;
        many[index].expected_revision = many[index].revision;
    }
    commit_as(contract, &commit, BROKER_OK);
    assert_value(contract, keys[0], NULL);
    assert_value(contract, keys[last], NULL);
    free(keys);
    free(many);
}

static void a_guard_must_hold(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    uint64_t revision = put(contract, "guard", "1");
    prepare_commit(contract, &commit);
    commit.guard_key = bytes_of("guard");
    commit.guard_revision = revision;
    add_write(&commit, "k", "x");
    commit_as(contract, &commit, BROKER_OK);
    put(contract, "guard", "2");
    commit.writes[0].value = bytes_of("y");
    commit_as(contract, &commit, BROKER_CONFLICT);
    commit.guard_revision = 0; /* it must be absent */
    commit_as(contract, &commit, BROKER_CONFLICT);
    assert_value(contract, "k", "x");
    delete_key(contract, "guard");
    commit_as(contract, &commit, BROKER_OK);
    assert_value(contract, "k", "y");
}

static void a_guard_may_be_written_by_its_own_commit(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    uint64_t revision = put(contract, "guard", "1");
    prepare_commit(contract, &commit);
    commit.guard_key = bytes_of("guard");
    commit.guard_revision = revision;
    add_write(&commit, "k", "x");
    add_write(&commit, "guard", "2");
    commit_as(contract, &commit, BROKER_OK);
    commit_as(contract, &commit, BROKER_CONFLICT);
    assert_value(contract, "guard", "2");
}

static void a_key_with_a_time_to_live_goes(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    struct broker_list list;
    prepare_commit(contract, &commit);
    add_write(&commit, "brief", "x")->time_to_live_ms = 5000;
    add_write(&commit, "long", "x")->time_to_live_ms = 4000000;
    add_write(&commit, "for ever", "x");
    commit_as(contract, &commit, BROKER_OK);
    advance(contract, 4900);
    assert_value(contract, "brief", "x");
    advance(contract, 200);
    assert_value(contract, "brief", NULL);
    assert_value(contract, "long", "x");
    prepare_list(contract, &list, "");
    assert_int_equal(broker_list(contract->brokers[0], &list), 0);
    finish(contract, &list.request);
    assert_int_equal(list.count, 2);
    prepare_commit(contract, &commit);
    add_write(&commit, "brief", "y")->expected_revision = 0;
    commit_as(contract, &commit, BROKER_OK);
    for (uint32_t hour = 0; hour < 2; hour++)
        advance(contract, 3600000);
    assert_value(contract, "long", NULL);
    assert_value(contract, "for ever", "x");
    assert_value(contract, "brief", "y");
    assert_int_equal(broker_counters(contract->brokers[0])->key_count, 2);
}

static void a_later_write_sets_the_time_to_live_anew(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    prepare_commit(contract, &commit);
    add_write(&commit, "a", "x")->time_to_live_ms = 1000;
    add_write(&commit, "b", "x")->time_to_live_ms = 1000;
    commit_as(contract, &commit, BROKER_OK);
    commit.writes[0].time_to_live_ms = 0;
    commit.writes[1].time_to_live_ms = UINT64_MAX;
    commit_as(contract, &commit, BROKER_OK);
    advance(contract, 10000);
    assert_value(contract, "a", "x");
    assert_value(contract, "b", "x");
}

static void keys_and_values_are_the_callers_again_after_on_done(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    char *key = strdup("key");
    char *value = strdup("value");
    prepare_commit(contract, &commit);
    add_write(&commit, key, value);
    commit_as(contract, &commit, BROKER_OK);
    memset(key, 'x', 3);
    memset(value, 'x', 5);
    free(key);
    free(value);
    assert_value(contract, "key", "value");
}

static void requests_of_one_handle_keep_their_order(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commits[2];
    struct broker_get get;
    for (uint32_t index = 0; index < 2; index++) {
        prepare_commit(contract, &commits[index]);
        add_write(&commits[index], "k", index == 0 ? "x" : "yy");
        assert_int_equal(broker_commit(contract->brokers[0], &commits[index]), 0);
    }
    prepare_get(contract, &get, "k");
    assert_int_equal(broker_get(contract->brokers[0], &get), 0);
    finish(contract, &get.request);
    assert_int_equal(commits[0].status, BROKER_OK);
    assert_int_equal(commits[1].status, BROKER_OK);
    assert_true(commits[0].writes[0].revision < commits[1].writes[0].revision);
    assert_int_equal(get.values[0].revision, commits[1].writes[0].revision);
}

/* A list whose answer is copied: the keys, each followed by '='and the value's first byte. */
struct copied_list {
    struct broker_list list;
    char text[2048];
    char last_key[BROKER_KEY_BYTES_MAX];
    uint32_t last_key_bytes;
};

static void on_listed_copy(struct broker_list *list)
{
    struct copied_list *copied = ps_container_of(list, struct copied_list, list);
    called_back(list->request.owner, &list->request);
    copied->text[0] = '\0';
    for (uint32_t index = 0; index < list->count; index++) {
        const struct broker_entry *entry = &list->entries[index];
        size_t used = strlen(copied->text);
        (void)snprintf(copied->text + used, sizeof(copied->text) - used, "%.*s=%.*s ",
                       (int)entry->key.count, (const char *)entry->key.bytes,
                       (int)entry->value.count, (const char *)entry->value.bytes);
        assert_true(entry->revision > 0);
        memcpy(copied->last_key, entry->key.bytes, entry->key.count);
        copied->last_key_bytes = entry->key.count;
    }
}

static void list(struct contract *contract, struct copied_list *copied, const char *prefix)
{
    prepare_list(contract, &copied->list, prefix);
    copied->list.on_done = on_listed_copy;
    assert_int_equal(broker_list(contract->brokers[contract->handle_count - 1], &copied->list), 0);
    finish(contract, &copied->list.request);
    assert_int_equal(copied->list.status, BROKER_OK);
}

static void a_list_gives_the_keys_of_a_prefix_in_order(void **state)
{
    struct contract *contract = *state;
    struct copied_list copied;
    static const char *const keys[] = {"b", "ab", "a", "abc", "abd", "ac", "aa"};
    for (uint32_t index = 0; index < ps_array_count(keys); index++)
        put(contract, keys[index], "x");
    list(contract, &copied, "ab");
    assert_string_equal(copied.text, "ab=x abc=x abd=x ");
    assert_true(copied.list.is_last);
    list(contract, &copied, "");
    assert_string_equal(copied.text, "a=x aa=x ab=x abc=x abd=x ac=x b=x ");
    list(contract, &copied, "abcd");
    assert_int_equal(copied.list.count, 0);
    assert_true(copied.list.is_last);
    delete_key(contract, "abc");
    list(contract, &copied, "ab");
    assert_string_equal(copied.text, "ab=x abd=x ");
}

static void a_list_begins_after_a_key(void **state)
{
    struct contract *contract = *state;
    struct copied_list copied;
    static const char *const after[] = {"", "a", "b1", "b15", "b3", "z"};
    static const char *const expected[] = {
        "b1=x b2=x b3=x ", "b1=x b2=x b3=x ", "b2=x b3=x ", "b2=x b3=x ", "", ""};
    put(contract, "a", "x");
    put(contract, "b1", "x");
    put(contract, "b2", "x");
    put(contract, "b3", "x");
    put(contract, "c", "x");
    for (uint32_t index = 0; index < ps_array_count(after); index++) {
        prepare_list(contract, &copied.list, "b");
        copied.list.on_done = on_listed_copy;
        copied.list.after = bytes_of(after[index]);
        assert_int_equal(broker_list(contract->brokers[0], &copied.list), 0);
        finish(contract, &copied.list.request);
        assert_string_equal(copied.text, expected[index]);
        assert_true(copied.list.is_last);
    }
}

static void pages_of_a_list_give_every_key_once(void **state)
{
    struct contract *contract = *state;
    enum { KEYS = 500 };
    struct broker_commit commit;
    static char names[BROKER_KEYS_MAX][16];
    for (uint32_t done = 0; done < KEYS; done += commit.count) {
        prepare_commit(contract, &commit);
        while (commit.count < 50) {
            char *name = names[commit.count];
            /* In no particular order: 77 and 500 have no common factor. */
            (void)snprintf(name, sizeof(names[0]), "k%03u", (done + commit.count) * 77 % KEYS);
            add_write(&commit, name, "v");
        }
        commit_as(contract, &commit, BROKER_OK);
    }
    for (uint32_t way = 0; way < 2; way++) {
        struct copied_list copied;
        char after[BROKER_KEY_BYTES_MAX];
        uint32_t count = 0;
        prepare_list(contract, &copied.list, "k");
        copied.list.on_done = on_listed_copy;
        copied.list.entries_max = way == 0 ? 7 : BROKER_LIST_MAX;
        copied.list.bytes_max = way == 0 ? 1 << 20 : 5 * 3 + 1; /* an entry has 5 bytes */
        do {
            assert_int_equal(broker_list(contract->brokers[0], &copied.list), 0);
            finish(contract, &copied.list.request);
            assert_true(copied.list.count > 0 && copied.list.count <= (way == 0 ? 7 : 3));
            for (uint32_t index = 0; index < copied.list.count; index++) {
                char expected[16];
                (void)snprintf(expected, sizeof(expected), "k%03u=v ", count++);
                assert_memory_equal(copied.text + 7 * index, expected, 7);
            }
            memcpy(after, copied.last_key, copied.last_key_bytes);
            copied.list.after = (struct broker_bytes){after, copied.last_key_bytes};
        } while (!copied.list.is_last);
        assert_int_equal(count, KEYS);
    }
}

static void a_list_gives_one_entry_however_few_bytes_are_wanted(void **state)
{
    struct contract *contract = *state;
    struct copied_list copied;
    put(contract, "k1", "a long value");
    put(contract, "k2", "x");
    prepare_list(contract, &copied.list, "k");
    copied.list.on_done = on_listed_copy;
    copied.list.bytes_max = 1;
    assert_int_equal(broker_list(contract->brokers[0], &copied.list), 0);
    finish(contract, &copied.list.request);
    assert_string_equal(copied.text, "k1=a long value ");
    assert_false(copied.list.is_last);
}

static void cancelled_requests_for_keys_are_answered(void **state)
{
    struct contract *contract = *state;
    struct broker *broker = contract->brokers[0];
    struct broker_get get;
    struct broker_commit commit;
    struct broker_list list;
    put(contract, "k", "old");
    uint32_t calls_before = contract->calls;
    prepare_get(contract, &get, "k");
    prepare_commit(contract, &commit);
    add_write(&commit, "k", "new");
    prepare_list(contract, &list, "");
    assert_int_equal(broker_get(broker, &get), 0);
    assert_int_equal(broker_commit(broker, &commit), 0);
    assert_int_equal(broker_list(broker, &list), 0);
    broker_cancel(broker, &commit.request);
    broker_cancel(broker, &list.request);
    broker_cancel(broker, &get.request);
    assert_int_equal(contract->calls, calls_before);
    settle(contract);
    assert_int_equal(contract->calls, calls_before + 3);
    assert_true(get.values[0].status == BROKER_CANCELLED || get.values[0].status == BROKER_OK);
    assert_true(list.status == BROKER_CANCELLED || list.status == BROKER_OK);
    assert_value(contract, "k", commit.status == BROKER_CANCELLED ? "old" : "new");
}

static void a_full_queue_of_requests_refuses_and_then_takes_again(void **state)
{
    struct contract *contract = *state;
    enum { REQUESTS = 100000 };
    struct broker_tail *tails = calloc(REQUESTS, sizeof(*tails));
    assert_non_null(tails);
    uint32_t taken = 0;
    int status = 0;
    for (; taken < REQUESTS; taken++) {
        prepare_tail(contract, &tails[taken], 0);
        status = broker_tail(contract->brokers[0], &tails[taken]);
        if (status < 0)
            break;
    }
    assert_int_equal(status, -EAGAIN);
    assert_false(tails[taken].request.is_taken);
    settle(contract);
    assert_int_equal(contract->calls, taken);
    assert_int_equal(broker_tail(contract->brokers[0], &tails[taken]), 0);
    settle(contract);
    free(tails);
}

static void every_handle_may_write_and_the_counters_count_keys_once(void **state)
{
    struct contract *contract = *state;
    char key[] = "k0";
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        struct broker_commit commit;
        key[1] = (char)('0' + index);
        prepare_commit(contract, &commit);
        add_write(&commit, key, "x");
        assert_int_equal(broker_commit(contract->brokers[index], &commit), 0);
        finish(contract, &commit.request);
        assert_int_equal(commit.status, BROKER_OK);
        assert_value(contract, key, "x");
    }
    settle(contract);
    uint64_t count = 0;
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        count += broker_counters(contract->brokers[index])->key_count;
        bytes += broker_counters(contract->brokers[index])->key_bytes;
    }
    assert_int_equal(count, contract->handle_count);
    assert_true(bytes > 0);
}

/* Puts keys of 1 KiB until the store is full. Result: how many are there. */
static uint32_t fill_store(struct contract *contract)
{
    char key[16];
    char value[1024];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    for (uint32_t count = 0; count < BROKER_CONTRACT_SMALL_KEYS_MAX; count++) {
        struct broker_commit commit;
        (void)snprintf(key, sizeof(key), "key %u", count);
        prepare_commit(contract, &commit);
        add_write(&commit, key, value);
        assert_int_equal(broker_commit(contract->brokers[0], &commit), 0);
        finish(contract, &commit.request);
        if (commit.status == BROKER_FULL)
            return count;
        assert_int_equal(commit.status, BROKER_OK);
    }
    fail_msg("the store is never full");
    return 0;
}

static void a_full_store_refuses_new_entries_and_nothing_else(void **state)
{
    struct contract *contract = *state;
    struct broker_commit commit;
    uint32_t count = fill_store(contract);
    settle(contract);
    assert_int_equal(broker_counters(contract->brokers[0])->key_count, count);
    char value[1024];
    memset(value, 'w', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    put(contract, "key 1", value); /* as long as the one before */
    put(contract, "key 0", "short");
    prepare_commit(contract, &commit);
    add_write(&commit, "small", "x");
    static const char letters[] = "abcdefghijklmnopqrst";
    for (uint32_t index = 0; index < 20; index++)
        add_write(&commit, &letters[index], value);
    commit_as(contract, &commit, BROKER_FULL);
    assert_int_equal(broker_counters(contract->brokers[0])->full_commits, 2);
    assert_value(contract, "small", NULL);
    delete_key(contract, "key 2");
    delete_key(contract, "key 3");
    put(contract, "new", value);
    assert_value(contract, "key 3", NULL);
}

static void keys_have_room_beside_a_log_that_is_full(void **state)
{
    struct contract *contract = *state;
    append_bytes(contract, 0, (uint32_t)(2 * contract->driver->small_log_bytes / 1000));
    uint32_t keys = fill_store(contract);
    settle(contract);
    assert_true(keys > 50);
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < contract->handle_count; index++)
        bytes += broker_counters(contract->brokers[index])->log_bytes +
                 broker_counters(contract->brokers[index])->key_bytes;
    assert_true(bytes <= contract->driver->small_log_bytes);
}

static void records_have_room_beside_a_store_that_is_full(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    fill_store(contract);
    append_bytes(contract, 0, 50);
    settle(contract);
    prepare_pull(contract, &pull, 0, 1);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 50);
}

const struct CMUnitTest broker_contract_keys_tests[] = {
    cmocka_unit_test(a_value_is_seen_through_every_handle),
    cmocka_unit_test(a_new_value_replaces_the_old_one_with_a_higher_revision),
    cmocka_unit_test(a_value_may_be_empty_and_a_key_any_bytes),
    cmocka_unit_test(keys_of_wrong_length_are_refused),
    cmocka_unit_test(many_keys_are_got_at_once),
    cmocka_unit_test(a_deleted_key_is_gone_and_may_come_again),
    cmocka_unit_test(an_expected_revision_must_hold),
    cmocka_unit_test(expected_revision_0_creates_and_never_replaces),
    cmocka_unit_test(a_commit_is_written_as_a_whole_or_not_at_all),
    cmocka_unit_test(a_commit_of_many_writes_is_no_different),
    cmocka_unit_test(a_guard_must_hold),
    cmocka_unit_test(a_guard_may_be_written_by_its_own_commit),
    cmocka_unit_test(a_key_with_a_time_to_live_goes),
    cmocka_unit_test(a_later_write_sets_the_time_to_live_anew),
    cmocka_unit_test(keys_and_values_are_the_callers_again_after_on_done),
    cmocka_unit_test(requests_of_one_handle_keep_their_order),
    cmocka_unit_test(a_list_gives_the_keys_of_a_prefix_in_order),
    cmocka_unit_test(a_list_begins_after_a_key),
    cmocka_unit_test(pages_of_a_list_give_every_key_once),
    cmocka_unit_test(a_list_gives_one_entry_however_few_bytes_are_wanted),
    cmocka_unit_test(cancelled_requests_for_keys_are_answered),
    cmocka_unit_test(a_full_queue_of_requests_refuses_and_then_takes_again),
    cmocka_unit_test(every_handle_may_write_and_the_counters_count_keys_once),
    {0},
};

const struct CMUnitTest broker_contract_keys_small_tests[] = {
    cmocka_unit_test(a_full_store_refuses_new_entries_and_nothing_else),
    cmocka_unit_test(keys_have_room_beside_a_log_that_is_full),
    cmocka_unit_test(records_have_room_beside_a_store_that_is_full),
    {0},
};
