/*
 * The broker's contract suite: the harness; see broker_contract_internal.h.
 */
#include "broker_contract_internal.h"

#include <stdio.h>

#include "core/base.h"

enum { TURNS_MAX = 200000, TESTS_MAX = 128 };

struct broker *other_than_owner(struct contract *contract, uint16_t partition)
{
    return contract->brokers[(partition + 1U) % contract->handle_count];
}

static void wake(void *context)
{
    *(bool *)context = true;
}

bool turn_all(struct contract *contract)
{
    bool has_more = false;
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        contract->is_woken[index] = false;
        contract->is_turning = true;
        has_more |= broker_turn(contract->brokers[index], contract->now_ns, contract->wall_ms);
        contract->is_turning = false;
    }
    for (uint32_t index = 0; index < contract->handle_count; index++)
        has_more |= contract->is_woken[index];
    if (contract->driver->wait != NULL && !has_more)
        has_more = contract->driver->wait(contract->state);
    return has_more;
}

void settle(struct contract *contract)
{
    for (uint32_t turns = 0; turn_all(contract); turns++)
        assert_true(turns < TURNS_MAX);
}

void finish(struct contract *contract, const struct broker_request *request)
{
    bool has_more = true;
    for (uint32_t turns = 0; request->is_taken; turns++) {
        assert_true(turns < TURNS_MAX);
        assert_true(has_more || contract->driver->wait != NULL);
        has_more = turn_all(contract);
    }
}

void advance(struct contract *contract, uint64_t ms)
{
    contract->now_ns += ms * 1000000;
    contract->wall_ms += ms;
    settle(contract);
}

void called_back(struct contract *contract, const struct broker_request *request)
{
    assert_true(contract->is_turning);
    assert_false(request->is_taken);
    contract->calls++;
}

static void on_appended(struct broker_append *append)
{
    called_back(append->request.owner, &append->request);
}

static void release_held(struct contract *contract)
{
    while (contract->held_count > 0)
        record_release(&contract->heap, contract->held[--contract->held_count]);
}

static void on_pulled(struct broker_pull *pull)
{
    struct contract *contract = pull->request.owner;
    called_back(contract, &pull->request);
    release_held(contract);
    for (uint32_t index = 0; index < pull->count; index++)
        contract->held[contract->held_count++] = record_acquire(pull->records[index]);
}

static void on_tail(struct broker_tail *tail)
{
    called_back(tail->request.owner, &tail->request);
}

static void on_got(struct broker_get *get)
{
    called_back(get->request.owner, &get->request);
}

static void on_committed(struct broker_commit *commit)
{
    called_back(commit->request.owner, &commit->request);
}

static void on_listed(struct broker_list *list)
{
    called_back(list->request.owner, &list->request);
}

void prepare_append(struct contract *contract, struct broker_append *append, uint16_t partition)
{
    memset(append, 0, sizeof(*append));
    append->request.owner = contract;
    append->on_done = on_appended;
    append->partition = partition;
}

void prepare_pull(struct contract *contract, struct broker_pull *pull, uint16_t partition,
                  uint64_t from)
{
    memset(pull, 0, sizeof(*pull));
    pull->request.owner = contract;
    pull->on_done = on_pulled;
    pull->partition = partition;
    pull->from = from;
    pull->bytes_max = 1 << 20;
    pull->hint.all = true;
}

void prepare_tail(struct contract *contract, struct broker_tail *tail, uint16_t partition)
{
    memset(tail, 0, sizeof(*tail));
    tail->request.owner = contract;
    tail->on_done = on_tail;
    tail->partition = partition;
}

void prepare_get(struct contract *contract, struct broker_get *get, const char *key)
{
    memset(get, 0, sizeof(*get));
    get->request.owner = contract;
    get->on_done = on_got;
    get->from_leader = true;
    get->keys[0] = bytes_of(key);
    get->count = 1;
}

void prepare_commit(struct contract *contract, struct broker_commit *commit)
{
    memset(commit, 0, sizeof(*commit));
    commit->request.owner = contract;
    commit->on_done = on_committed;
}

void prepare_list(struct contract *contract, struct broker_list *list, const char *prefix)
{
    memset(list, 0, sizeof(*list));
    list->request.owner = contract;
    list->on_done = on_listed;
    list->prefix = bytes_of(prefix);
    list->bytes_max = 1 << 20;
    list->entries_max = BROKER_LIST_MAX;
}

struct record *make_record(struct contract *contract, const char *topic, const void *payload,
                           uint32_t payload_bytes)
{
    const struct record_source source = {.topic = topic,
                                         .topic_bytes = (uint32_t)strlen(topic),
                                         .payload = payload,
                                         .payload_bytes = payload_bytes,
                                         .flags = 1};
    struct record *record = record_create(&contract->heap, &source);
    assert_non_null(record);
    record->publish_ms = contract->wall_ms;
    return record;
}

uint32_t number_of(const struct record *record)
{
    uint32_t number = 0;
    assert_int_equal(record->payload_bytes, sizeof(number));
    memcpy(&number, record_payload(record), sizeof(number));
    return number;
}

uint64_t append_many(struct contract *contract, uint16_t partition, const char *topic,
                     uint32_t count)
{
    struct broker_append append;
    for (uint32_t done = 0; done < count; done += append.count) {
        prepare_append(contract, &append, partition);
        append.count = (uint16_t)ps_min_u32(count - done, BROKER_APPEND_MAX);
        for (uint32_t index = 0; index < append.count; index++) {
            uint32_t number = done + index;
            append.records[index] = make_record(contract, topic, &number, sizeof(number));
        }
        assert_int_equal(broker_append(owner_of(contract, partition), &append), 0);
        finish(contract, &append.request);
        for (uint32_t index = 0; index < append.count; index++) {
            assert_int_equal(append.results[index].status, BROKER_OK);
            record_release(&contract->heap, append.records[index]);
        }
    }
    return append.results[append.count - 1].sequence;
}

struct broker_result append_one(struct contract *contract, uint16_t partition,
                                struct record *record)
{
    struct broker_append append;
    prepare_append(contract, &append, partition);
    append.count = 1;
    append.records[0] = record;
    assert_int_equal(broker_append(owner_of(contract, partition), &append), 0);
    finish(contract, &append.request);
    record_release(&contract->heap, record);
    return append.results[0];
}

uint64_t append_bytes(struct contract *contract, uint16_t partition, uint32_t count)
{
    enum { AT_ONCE = 32 }; /* a driver that waits for a disk waits for each append */
    const char payload[1000] = {0};
    struct broker_append append;
    for (uint32_t done = 0; done < count; done += append.count) {
        prepare_append(contract, &append, partition);
        append.count = (uint16_t)ps_min_u32(count - done, AT_ONCE);
        for (uint32_t index = 0; index < append.count; index++)
            append.records[index] = make_record(contract, "t", payload, sizeof(payload));
        assert_int_equal(broker_append(owner_of(contract, partition), &append), 0);
        finish(contract, &append.request);
        for (uint32_t index = 0; index < append.count; index++) {
            assert_int_equal(append.results[index].status, BROKER_OK);
            record_release(&contract->heap, append.records[index]);
        }
    }
    return append.results[append.count - 1].sequence;
}

uint64_t tail_of(struct contract *contract, uint16_t partition)
{
    struct broker_tail tail;
    prepare_tail(contract, &tail, partition);
    assert_int_equal(broker_tail(owner_of(contract, partition), &tail), 0);
    finish(contract, &tail.request);
    assert_int_equal(tail.status, BROKER_OK);
    return tail.tail;
}

struct broker_bytes bytes_of(const char *text)
{
    return (struct broker_bytes){text, (uint32_t)strlen(text)};
}

struct broker_write *add_write(struct broker_commit *commit, const char *key, const char *value)
{
    struct broker_write *write = &commit->writes[commit->count++];
    *write = (struct broker_write){.kind = value != NULL ? BROKER_PUT : BROKER_DELETE,
                                   .key = bytes_of(key),
                                   .expected_revision = BROKER_ANY_REVISION};
    if (value != NULL)
        write->value = bytes_of(value);
    return write;
}

uint64_t commit_as(struct contract *contract, struct broker_commit *commit,
                   enum broker_status status)
{
    assert_int_equal(broker_commit(contract->brokers[0], commit), 0);
    finish(contract, &commit->request);
    assert_int_equal(commit->status, status);
    return commit->writes[0].revision;
}

uint64_t put(struct contract *contract, const char *key, const char *value)
{
    struct broker_commit commit;
    prepare_commit(contract, &commit);
    add_write(&commit, key, value);
    return commit_as(contract, &commit, BROKER_OK);
}

uint64_t delete_key(struct contract *contract, const char *key)
{
    return put(contract, key, NULL);
}

/* Copies what it finds, as the answer is borrowed. */
struct copied_get {
    struct broker_get get;
    char value[128];
};

static void on_got_copy(struct broker_get *get)
{
    struct copied_get *copied = ps_container_of(get, struct copied_get, get);
    const struct broker_value *value = &get->values[0];
    called_back(get->request.owner, &get->request);
    assert_true(value->value.count < sizeof(copied->value));
    if (value->value.count > 0)
        memcpy(copied->value, value->value.bytes, value->value.count);
    copied->value[value->value.count] = '\0';
}

uint64_t assert_value(struct contract *contract, const char *key, const char *value)
{
    uint64_t revision = 0;
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        struct copied_get copied;
        prepare_get(contract, &copied.get, key);
        copied.get.on_done = on_got_copy;
        assert_int_equal(broker_get(contract->brokers[index], &copied.get), 0);
        finish(contract, &copied.get.request);
        const struct broker_value *found = &copied.get.values[0];
        assert_int_equal(found->status, value != NULL ? BROKER_OK : BROKER_NOT_FOUND);
        assert_true(index == 0 || found->revision == revision);
        revision = found->revision;
        assert_int_equal(revision != 0, value != NULL);
        if (value != NULL)
            assert_string_equal(copied.value, value);
    }
    return revision;
}

static int set_up(void **state)
{
    struct contract *contract = *state;
    const struct contract kind = *contract;
    *contract = (struct contract){.driver = kind.driver,
                                  .handle_count = kind.handle_count,
                                  .is_small = kind.is_small,
                                  .now_ns = 1000000000,
                                  .wall_ms = 1700000000000};
    heap_init(&contract->heap, &contract->budget);
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        heap_init(&contract->heaps[index], &contract->budget);
        contract->options[index] =
            (struct broker_options){.heap = &contract->heaps[index],
                                    .shard_index = index,
                                    .shard_count = contract->handle_count,
                                    .wake = wake,
                                    .wake_context = &contract->is_woken[index]};
    }
    const struct broker_contract_options options = {.heap = &contract->heap,
                                                    .each = contract->options,
                                                    .handle_count = contract->handle_count,
                                                    .is_small = contract->is_small};
    contract->state = contract->driver->create(&options, contract->brokers);
    return 0;
}

void destroy_broker(struct contract *contract)
{
    if (contract->brokers[0] != NULL)
        contract->driver->destroy(contract->state, contract->brokers, contract->handle_count);
    memset(contract->brokers, 0, sizeof(contract->brokers));
}

static int tear_down(void **state)
{
    struct contract *contract = *state;
    release_held(contract);
    destroy_broker(contract);
    for (uint32_t index = 0; index < contract->handle_count; index++)
        heap_deinit(&contract->heaps[index]);
    heap_deinit(&contract->heap);
    if (heap_budget_bytes_used(&contract->budget) == 0)
        return 0;
    print_error("%ld bytes were not given back\n", (long)contract->budget.bytes_used);
    return -1;
}

static size_t add_tests(struct CMUnitTest *tests, size_t count, const struct CMUnitTest *part,
                        struct contract *contract)
{
    for (; part->name != NULL; part++) {
        ps_assert(count < TESTS_MAX);
        tests[count] = *part;
        tests[count].setup_func = set_up;
        tests[count].teardown_func = tear_down;
        tests[count++].initial_state = contract;
    }
    return count;
}

int broker_contract_run(const struct broker_contract_driver *driver)
{
    int failed = 0;
    for (uint32_t handles = 1; handles <= BROKER_CONTRACT_HANDLES_MAX; handles += 2) {
        struct contract contract = {.driver = driver, .handle_count = handles};
        struct contract small = {.driver = driver, .handle_count = handles, .is_small = true};
        struct CMUnitTest tests[TESTS_MAX];
        char name[64];
        size_t count = add_tests(tests, 0, broker_contract_log_tests, &contract);
        count = add_tests(tests, count, broker_contract_pull_tests, &contract);
        count = add_tests(tests, count, broker_contract_keys_tests, &contract);
        count = add_tests(tests, count, broker_contract_watch_tests, &contract);
        count = add_tests(tests, count, broker_contract_log_small_tests, &small);
        count = add_tests(tests, count, broker_contract_keys_small_tests, &small);
        (void)snprintf(name, sizeof(name), "%s, handles: %u", driver->name, handles);
        failed += _cmocka_run_group_tests(name, tests, count, NULL, NULL);
    }
    return failed;
}
