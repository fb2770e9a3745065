/*
 * What the tests of the embedded keys stand on; see keys_contract.h.
 */
#include "keys_contract.h"

#include <stdio.h>

enum { ROUNDS_MAX = 10000, TESTS_MAX = 64 };

static void wake(void *context)
{
    (*(uint32_t *)context)++;
}

static void on_health(void *context, bool is_healthy)
{
    struct keys *keys = context;
    keys->health_changes++;
    for (uint32_t port = 0; port < KEYS_PORTS; port++)
        keys->is_healthy[port] = is_healthy;
}

void keys_open(struct keys *keys)
{
    int status = helper_create(&keys->heap, 0, &keys->helper);
    assert_int_equal(status, 0);
    keys->options.heap = &keys->heap;
    keys->options.helper = keys->helper;
    keys->options.error = keys->error;
    keys->options.error_bytes = sizeof(keys->error);
    status = embedded_keys_open(&keys->options, &keys->keys);
    assert_string_equal(keys->error, "");
    assert_int_equal(status, 0);
    for (uint32_t port = 0; port < KEYS_PORTS; port++) {
        keys->is_healthy[port] = true;
        const struct embedded_keys_port_options options = {.heap = &keys->heaps[port],
                                                           .wake = wake,
                                                           .wake_context = &keys->wakes,
                                                           .on_health = on_health,
                                                           .health_context = keys};
        status = embedded_keys_port_create(keys->keys, &options, &keys->ports[port]);
        assert_int_equal(status, 0);
    }
}

void keys_close(struct keys *keys)
{
    for (uint32_t port = 0; port < KEYS_PORTS; port++)
        if (keys->ports[port] != NULL)
            embedded_keys_port_destroy(keys->ports[port]);
    memset(keys->ports, 0, sizeof(keys->ports));
    helper_stop(keys->helper);
    embedded_keys_close(keys->keys);
    helper_destroy(&keys->heap, keys->helper);
    keys->keys = NULL;
    keys->helper = NULL;
}

void keys_reopen(struct keys *keys)
{
    keys_close(keys);
    keys_open(keys);
}

int keys_set_up(void **state)
{
    struct keys *keys = calloc(1, sizeof(*keys));
    assert_non_null(keys);
    heap_init(&keys->heap, &keys->budget);
    for (uint32_t port = 0; port < KEYS_PORTS; port++)
        heap_init(&keys->heaps[port], &keys->budget);
    keys->wall_ms = 1700000000000;
    keys->options.directory = keys_contract_begin();
    keys->options.map_bytes = 64 << 20;
    keys->options.counted_kind = 'o';
    keys_open(keys);
    *state = keys;
    return 0;
}

int keys_tear_down(void **state)
{
    struct keys *keys = *state;
    if (keys->keys != NULL)
        keys_close(keys);
    for (uint32_t port = 0; port < KEYS_PORTS; port++)
        heap_deinit(&keys->heaps[port]);
    heap_deinit(&keys->heap);
    int64_t left = heap_budget_bytes_used(&keys->budget);
    if (left != 0)
        print_error("%ld bytes were not given back\n", (long)left);
    free(keys);
    keys_contract_end();
    return left == 0 ? 0 : -1;
}

int keys_run_tests(const char *name, const struct CMUnitTest *tests)
{
    struct CMUnitTest all[TESTS_MAX];
    size_t count = 0;
    for (; tests[count].name != NULL; count++) {
        assert_true(count < TESTS_MAX);
        all[count] = tests[count];
        all[count].setup_func = keys_set_up;
        all[count].teardown_func = keys_tear_down;
    }
    return _cmocka_run_group_tests(name, all, count, NULL, NULL);
}

void keys_help(struct keys *keys)
{
    helper_turn(keys->helper, 0);
}

void keys_turn_ports(struct keys *keys)
{
    for (uint32_t port = 0; port < KEYS_PORTS; port++)
        if (keys->ports[port] != NULL)
            (void)embedded_keys_port_turn(keys->ports[port], keys->wall_ms);
}

void keys_settle(struct keys *keys)
{
    bool has_more = true;
    for (uint32_t round = 0; has_more; round++) {
        assert_true(round < ROUNDS_MAX);
        keys->wakes = 0;
        has_more = false;
        for (uint32_t port = 0; port < KEYS_PORTS; port++)
            if (keys->ports[port] != NULL)
                has_more |= embedded_keys_port_turn(keys->ports[port], keys->wall_ms);
        keys_help(keys);
        has_more |= keys->wakes > 0;
    }
}

void keys_advance(struct keys *keys, uint64_t ms)
{
    keys->wall_ms += ms;
    keys_settle(keys);
}

struct embedded_keys_counters keys_counters(const struct keys *keys)
{
    struct embedded_keys_counters counters;
    embedded_keys_counters(keys->keys, &counters);
    return counters;
}

struct broker_bytes keys_bytes(const char *text)
{
    return (struct broker_bytes){text, (uint32_t)strlen(text)};
}

static void prepare(struct broker_request *request, enum broker_request_kind kind)
{
    assert_false(request->is_taken);
    request->kind = (uint8_t)kind;
    request->is_taken = true;
    request->next = NULL;
}

static void submit(struct keys *keys, uint32_t port, struct broker_request *request)
{
    assert_int_equal(embedded_keys_port_submit(keys->ports[port], request), 0);
}

static void on_committed(struct broker_commit *commit)
{
    struct asked_commit *asked = ps_container_of(commit, struct asked_commit, commit);
    asked->number = ++asked->owner->answers;
}

void keys_begin_commit(struct keys *keys, struct asked_commit *asked)
{
    memset(asked, 0, sizeof(*asked));
    asked->owner = keys;
    asked->commit.on_done = on_committed;
}

struct broker_write *keys_add(struct asked_commit *asked, const char *key, const char *value)
{
    struct broker_write *write = &asked->commit.writes[asked->commit.count++];
    *write = (struct broker_write){.kind = value != NULL ? BROKER_PUT : BROKER_DELETE,
                                   .key = keys_bytes(key),
                                   .expected_revision = BROKER_ANY_REVISION};
    if (value != NULL)
        write->value = keys_bytes(value);
    return write;
}

void keys_submit_commit(struct keys *keys, uint32_t port, struct asked_commit *asked)
{
    prepare(&asked->commit.request, BROKER_REQUEST_COMMIT);
    submit(keys, port, &asked->commit.request);
}

static void on_got(struct broker_get *get)
{
    struct asked_get *asked = ps_container_of(get, struct asked_get, get);
    const struct broker_value *value = &get->values[0];
    asked->number = ++asked->owner->answers;
    asked->status = value->status;
    asked->revision = value->revision;
    asked->value_bytes = value->value.count;
    assert_true(value->value.count < sizeof(asked->value));
    if (value->value.count > 0)
        memcpy(asked->value, value->value.bytes, value->value.count);
    asked->value[value->value.count] = '\0';
}

void keys_submit_get(struct keys *keys, uint32_t port, struct asked_get *asked, const char *key)
{
    memset(asked, 0, sizeof(*asked));
    asked->owner = keys;
    asked->get.on_done = on_got;
    asked->get.count = 1;
    asked->get.keys[0] = keys_bytes(key);
    prepare(&asked->get.request, BROKER_REQUEST_GET);
    submit(keys, port, &asked->get.request);
}

static void on_listed(struct broker_list *list)
{
    struct asked_list *asked = ps_container_of(list, struct asked_list, list);
    asked->number = ++asked->owner->answers;
    size_t used = 0;
    asked->text[0] = '\0';
    for (uint32_t index = 0; index < list->count; index++) {
        const struct broker_entry *entry = &list->entries[index];
        used += (size_t)snprintf(asked->text + used, sizeof(asked->text) - used, "%.*s=%.*s ",
                                 (int)entry->key.count, (const char *)entry->key.bytes,
                                 (int)entry->value.count, (const char *)entry->value.bytes);
        assert_true(used < sizeof(asked->text));
    }
}

void keys_submit_list(struct keys *keys, uint32_t port, struct asked_list *asked,
                      const char *prefix)
{
    memset(asked, 0, sizeof(*asked));
    asked->owner = keys;
    asked->list.on_done = on_listed;
    asked->list.prefix = keys_bytes(prefix);
    asked->list.entries_max = BROKER_LIST_MAX;
    asked->list.bytes_max = 1 << 20;
    prepare(&asked->list.request, BROKER_REQUEST_LIST);
    submit(keys, port, &asked->list.request);
}

static void on_change(struct broker_watch *watch, const struct broker_entry *entry, bool is_deleted)
{
    struct asked_watch *asked = ps_container_of(watch, struct asked_watch, watch);
    assert_false(asked->is_ended);
    assert_true(entry->revision > asked->revision);
    asked->revision = entry->revision;
    asked->changes++;
    asked->deletions += is_deleted;
    if (asked->is_silent)
        return;
    size_t used = strlen(asked->text);
    int length = is_deleted
                     ? snprintf(asked->text + used, sizeof(asked->text) - used, "-%.*s ",
                                (int)entry->key.count, (const char *)entry->key.bytes)
                     : snprintf(asked->text + used, sizeof(asked->text) - used, "+%.*s=%.*s ",
                                (int)entry->key.count, (const char *)entry->key.bytes,
                                (int)entry->value.count, (const char *)entry->value.bytes);
    assert_true(used + (size_t)length < sizeof(asked->text));
}

static void on_ended(struct broker_watch *watch)
{
    ps_container_of(watch, struct asked_watch, watch)->is_ended = true;
}

void keys_submit_watch(struct keys *keys, uint32_t port, struct asked_watch *asked,
                       const char *prefix, uint64_t after)
{
    bool is_silent = asked->is_silent;
    memset(asked, 0, sizeof(*asked));
    asked->is_silent = is_silent;
    asked->owner = keys;
    asked->revision = after;
    asked->watch.on_change = on_change;
    asked->watch.on_done = on_ended;
    asked->watch.prefix = keys_bytes(prefix);
    asked->watch.after_revision = after;
    prepare(&asked->watch.request, BROKER_REQUEST_WATCH);
    submit(keys, port, &asked->watch.request);
}

void keys_cancel_watch(struct keys *keys, uint32_t port, struct asked_watch *asked)
{
    embedded_keys_port_cancel(keys->ports[port], &asked->watch.request);
    keys_settle(keys);
    assert_true(asked->is_ended);
}

static uint64_t commit_one(struct keys *keys, struct asked_commit *asked, enum broker_status status)
{
    keys_submit_commit(keys, 0, asked);
    keys_settle(keys);
    assert_int_not_equal(asked->number, 0);
    assert_int_equal(asked->commit.status, status);
    return asked->commit.writes[0].revision;
}

uint64_t keys_put(struct keys *keys, const char *key, const char *value)
{
    return keys_put_for(keys, key, value, 0);
}

uint64_t keys_put_for(struct keys *keys, const char *key, const char *value, uint64_t ms)
{
    struct asked_commit asked;
    keys_begin_commit(keys, &asked);
    keys_add(&asked, key, value)->time_to_live_ms = ms;
    return commit_one(keys, &asked, BROKER_OK);
}

uint64_t keys_put_as(struct keys *keys, const char *key, struct broker_bytes value,
                     enum broker_status status)
{
    struct asked_commit asked;
    keys_begin_commit(keys, &asked);
    keys_add(&asked, key, "")->value = value;
    return commit_one(keys, &asked, status);
}

uint64_t keys_assert_value(struct keys *keys, const char *key, const char *value)
{
    uint64_t revision = 0;
    for (uint32_t port = 0; port < KEYS_PORTS; port++) {
        struct asked_get asked;
        keys_submit_get(keys, port, &asked, key);
        keys_settle(keys);
        assert_int_not_equal(asked.number, 0);
        assert_int_equal(asked.status, value != NULL ? BROKER_OK : BROKER_NOT_FOUND);
        assert_string_equal(asked.value, value != NULL ? value : "");
        assert_true(port == 0 || asked.revision == revision);
        revision = asked.revision;
    }
    return revision;
}

void keys_assert_list(struct keys *keys, const char *prefix, const char *text)
{
    struct asked_list asked;
    keys_submit_list(keys, 1, &asked, prefix);
    keys_settle(keys);
    assert_int_not_equal(asked.number, 0);
    assert_string_equal(asked.text, text);
    assert_true(asked.list.is_last);
}
