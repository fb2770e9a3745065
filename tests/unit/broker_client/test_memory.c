/*
 * What is the memory driver's own: slices, the pace of channels, forgetting, want of memory, and
 * handles on threads of their own. The rest is in the broker's contract suite.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker_client/memory.h"
#include "core/base.h"
#include "core/heap.h"

enum { SHARDS_MAX = 3, PARTITIONS = 6, TURNS_MAX = 100000 };

struct fixture {
    struct heap_budget budget;
    struct heap heap; /* of the store and of the tests' records */
    struct heap heaps[SHARDS_MAX];
    struct memory_store *store;
    struct broker *brokers[SHARDS_MAX];
    uint32_t shard_count;
    uint32_t wakes[SHARDS_MAX];
    uint64_t now_ns;
};

static void wake(void *context)
{
    ++*(uint32_t *)context;
}

static int open_handle(struct fixture *fixture, uint32_t shard, struct broker **out_broker)
{
    const struct broker_options options = {.heap = &fixture->heaps[shard],
                                           .shard_index = shard,
                                           .shard_count = fixture->shard_count,
                                           .wake = wake,
                                           .wake_context = &fixture->wakes[shard]};
    return memory_broker_create(fixture->store, &options, out_broker);
}

/* Result: 0 or -ENOMEM, then everything is undone. */
static int init(struct fixture *fixture, uint32_t shard_count, uint64_t memory_bytes,
                uint64_t fail_at)
{
    *fixture = (struct fixture){.shard_count = shard_count, .now_ns = 1};
    heap_init(&fixture->heap, &fixture->budget);
    heap_fail_at(&fixture->heap, fail_at);
    const struct memory_store_config config = {.memory_bytes = memory_bytes,
                                               .deduplication_ms = 60000,
                                               .partition_count = PARTITIONS,
                                               .partition_levels = 2,
                                               .shard_count = (uint16_t)shard_count,
                                               .hash_seed = 3};
    int status = memory_store_create(&config, &fixture->heap, &fixture->store);
    for (uint32_t shard = 0; status == 0 && shard < shard_count; shard++) {
        heap_init(&fixture->heaps[shard], &fixture->budget);
        heap_fail_at(&fixture->heaps[shard], fail_at);
        status = open_handle(fixture, shard, &fixture->brokers[shard]);
    }
    return status;
}

static void deinit(struct fixture *fixture)
{
    for (uint32_t shard = 0; shard < fixture->shard_count; shard++)
        if (fixture->brokers[shard] != NULL)
            broker_destroy(fixture->brokers[shard]);
    if (fixture->store != NULL)
        memory_store_destroy(fixture->store);
    for (uint32_t shard = 0; shard < fixture->shard_count; shard++)
        if (fixture->heaps[shard].budget != NULL)
            heap_deinit(&fixture->heaps[shard]);
    heap_deinit(&fixture->heap);
    assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
}

static bool turn(struct fixture *fixture, uint32_t shard)
{
    return broker_turn(fixture->brokers[shard], fixture->now_ns, 1700000000000);
}

static void settle(struct fixture *fixture, uint32_t shard)
{
    uint32_t turns = 0;
    while (turn(fixture, shard))
        assert_true(turns++ < TURNS_MAX);
}

static void on_appended(struct broker_append *append)
{
    (void)append;
}

static void on_pulled(struct broker_pull *pull)
{
    (void)pull;
}

static void on_tail(struct broker_tail *tail)
{
    (void)tail;
}

static void on_got(struct broker_get *get)
{
    ++*(uint32_t *)get->request.owner;
}

/* An append of `count` records of 1,000 bytes, or of one byte; NULL: there is no memory. */
static struct broker_append *make_append(struct heap *heap, uint16_t partition, uint16_t count,
                                         bool is_large)
{
    static const char payload[1000];
    struct broker_append *append = calloc(1, sizeof(*append));
    assert_non_null(append);
    append->on_done = on_appended;
    append->partition = partition;
    for (; append->count < count; append->count++) {
        const struct record_source source = {.topic = "t",
                                             .topic_bytes = 1,
                                             .payload = payload,
                                             .payload_bytes = is_large ? 1000 : 1};
        append->records[append->count] = record_create(heap, &source);
        if (append->records[append->count] == NULL)
            break;
    }
    return append;
}

static void free_append(struct heap *heap, struct broker_append *append)
{
    for (uint32_t index = 0; index < append->count; index++)
        record_release(heap, append->records[index]);
    free(append);
}

static void append_many(struct fixture *fixture, uint16_t partition, uint32_t batches)
{
    uint32_t shard = partition % fixture->shard_count;
    for (uint32_t batch = 0; batch < batches; batch++) {
        struct broker_append *append = make_append(&fixture->heap, partition, 100, true);
        assert_int_equal(broker_append(fixture->brokers[shard], append), 0);
        settle(fixture, shard);
        assert_int_equal(append->results[99].status, BROKER_OK);
        free_append(&fixture->heap, append);
    }
}

static void a_turn_answers_a_bounded_number_of_requests(void **state)
{
    (void)state;
    enum { GETS = 200 };
    struct fixture fixture;
    assert_int_equal(init(&fixture, 1, 1 << 24, 0), 0);
    struct broker_get *gets = calloc(GETS, sizeof(*gets));
    assert_non_null(gets);
    uint32_t done = 0;
    for (uint32_t index = 0; index < GETS; index++) {
        gets[index].on_done = on_got;
        gets[index].request.owner = &done;
        gets[index].count = BROKER_KEYS_MAX;
        for (uint32_t key = 0; key < BROKER_KEYS_MAX; key++)
            gets[index].keys[key] = (struct broker_bytes){"k", 1};
        assert_int_equal(broker_get(fixture.brokers[0], &gets[index]), 0);
    }
    assert_true(turn(&fixture, 0));
    assert_true(done > 0 && done < GETS / 10);
    settle(&fixture, 0);
    assert_int_equal(done, GETS);
    free(gets);
    deinit(&fixture);
}

static void a_turn_commits_a_bounded_number_of_records(void **state)
{
    (void)state;
    enum { APPENDS = 20 };
    struct fixture fixture;
    struct broker_append *appends[APPENDS];
    assert_int_equal(init(&fixture, 1, 1 << 24, 0), 0);
    for (uint32_t index = 0; index < APPENDS; index++) {
        appends[index] = make_append(&fixture.heap, 0, 200, false);
        assert_int_equal(broker_append(fixture.brokers[0], appends[index]), 0);
    }
    const struct broker_counters *counters = broker_counters(fixture.brokers[0]);
    assert_true(turn(&fixture, 0));
    assert_int_equal(counters->log_records, BROKER_PULL_RECORDS_MAX);
    assert_true(appends[1]->request.is_taken); /* some of it is committed, some is not */
    settle(&fixture, 0);
    assert_int_equal(counters->log_records, APPENDS * 200);
    for (uint32_t index = 0; index < APPENDS; index++)
        free_append(&fixture.heap, appends[index]);
    deinit(&fixture);
}

static void an_append_that_is_cancelled_half_way_says_what_was_stored(void **state)
{
    (void)state;
    struct fixture fixture;
    assert_int_equal(init(&fixture, 1, 1 << 24, 0), 0);
    struct broker_append *first = make_append(&fixture.heap, 0, 200, false);
    struct broker_append *second = make_append(&fixture.heap, 0, 200, false);
    assert_int_equal(broker_append(fixture.brokers[0], first), 0);
    assert_int_equal(broker_append(fixture.brokers[0], second), 0);
    turn(&fixture, 0);
    broker_cancel(fixture.brokers[0], &second->request);
    assert_true(second->request.is_taken);
    settle(&fixture, 0);
    assert_false(second->request.is_taken);
    for (uint32_t index = 0; index < 200; index++) {
        assert_int_equal(second->results[index].status, index < 56 ? BROKER_OK : BROKER_CANCELLED);
        assert_int_equal(second->records[index]->sequence, index < 56 ? 201 + index : 0);
    }
    assert_int_equal(broker_counters(fixture.brokers[0])->appended_records, 256);
    append_many(&fixture, 0, 1);
    free_append(&fixture.heap, first);
    free_append(&fixture.heap, second);
    deinit(&fixture);
}

static void a_partition_commits_no_faster_than_its_channel_is_fed(void **state)
{
    (void)state;
    enum { APPENDS = 12 };
    struct fixture fixture;
    struct broker_append *appends[APPENDS];
    struct broker_pull pull = {.on_done = on_pulled, .from = 1, .bytes_max = 9000, .wait = true};
    const struct broker_counters *counters;
    assert_int_equal(init(&fixture, 1, 1 << 24, 0), 0);
    counters = broker_counters(fixture.brokers[0]);
    for (uint32_t index = 0; index < APPENDS; index++) {
        appends[index] = make_append(&fixture.heap, 0, 30, true);
        assert_int_equal(broker_append(fixture.brokers[0], appends[index]), 0);
    }
    assert_int_equal(broker_pull(fixture.brokers[0], &pull), 0);
    for (uint32_t turns = 0; pull.next <= 30 * APPENDS; turns++) {
        assert_true(turns < 1000);
        assert_true(turn(&fixture, 0) || pull.next > 30 * APPENDS);
        /* At 8 records of 1,001 bytes an answer, it lags by what one turn commits, no more. */
        assert_true(counters->appended_records - (pull.next - 1) <= BROKER_PULL_RECORDS_MAX);
        if (pull.request.is_taken)
            continue;
        assert_int_equal(pull.removed, 0);
        pull.from = pull.next;
        assert_int_equal(broker_pull(fixture.brokers[0], &pull), 0);
    }
    for (uint32_t index = 0; index < APPENDS; index++)
        free_append(&fixture.heap, appends[index]);
    deinit(&fixture);
}

static void an_id_is_forgotten_after_its_time(void **state)
{
    (void)state;
    struct fixture fixture;
    assert_int_equal(init(&fixture, 1, 1 << 24, 0), 0);
    static const struct {
        uint64_t second;
        enum broker_status status;
    } cases[] = {{100, BROKER_OK}, {159, BROKER_DUPLICATE}, {162, BROKER_OK}};
    for (uint32_t index = 0; index < ps_array_count(cases); index++) {
        struct broker_append *append = make_append(&fixture.heap, 0, 1, false);
        append->records[0]->deduplication_id = (struct record_id){1, 2};
        fixture.now_ns = cases[index].second * 1000000000;
        assert_int_equal(broker_append(fixture.brokers[0], append), 0);
        settle(&fixture, 0);
        assert_int_equal(append->results[0].status, cases[index].status);
        free_append(&fixture.heap, append);
    }
    deinit(&fixture);
}

static void a_shard_has_one_handle(void **state)
{
    (void)state;
    struct fixture fixture;
    struct broker *second = NULL;
    assert_int_equal(init(&fixture, 2, 1 << 24, 0), 0);
    assert_int_equal(open_handle(&fixture, 1, &second), -EINVAL);
    fixture.shard_count = 3;
    assert_int_equal(open_handle(&fixture, 2, &second), -EINVAL);
    fixture.shard_count = 2;
    deinit(&fixture);
}

/* Handles of `shard_count` shards in place of those that are there. */
static void make_handles_again(struct fixture *fixture, uint32_t shard_count)
{
    for (uint32_t shard = 0; shard < fixture->shard_count; shard++)
        broker_destroy(fixture->brokers[shard]);
    fixture->shard_count = shard_count;
    assert_int_equal(memory_store_set_shards(fixture->store, (uint16_t)shard_count), 0);
    for (uint32_t shard = 0; shard < shard_count; shard++) {
        if (fixture->heaps[shard].budget == NULL)
            heap_init(&fixture->heaps[shard], &fixture->budget);
        assert_int_equal(open_handle(fixture, shard, &fixture->brokers[shard]), 0);
    }
}

/* Appends a record with an id to a partition. Result: what the driver says. */
static struct broker_result append_once(struct fixture *fixture, uint16_t partition, uint64_t id)
{
    struct broker_append *append = make_append(&fixture->heap, partition, 1, false);
    append->records[0]->deduplication_id = (struct record_id){1, id};
    uint32_t shard = partition % fixture->shard_count;
    assert_int_equal(broker_append(fixture->brokers[shard], append), 0);
    settle(fixture, shard);
    struct broker_result result = append->results[0];
    free_append(&fixture->heap, append);
    return result;
}

/* 300 records and one with an id in each partition, and one that waits. The reads leave indexes. */
static void handles_that_are_made_again_find_records_numbers_and_ids(void **state)
{
    (void)state;
    struct fixture fixture;
    assert_int_equal(init(&fixture, 2, 1 << 24, 0), 0);
    for (uint16_t partition = 0; partition < PARTITIONS; partition++) {
        append_many(&fixture, partition, 3);
        assert_int_equal(append_once(&fixture, partition, partition).status, BROKER_OK);
    }
    struct broker_append *waits = make_append(&fixture.heap, 1, 1, false);
    assert_int_equal(broker_append(fixture.brokers[1], waits), 0);
    static const uint32_t counts[] = {2, 1, 3};
    for (uint32_t round = 0; round < ps_array_count(counts); round++) {
        make_handles_again(&fixture, counts[round]);
        for (uint16_t partition = 0; partition < PARTITIONS; partition++) {
            struct broker *broker = fixture.brokers[partition % counts[round]];
            struct broker_tail tail = {.on_done = on_tail, .partition = partition};
            const struct broker_bytes topic = {"t", 1};
            struct broker_pull pull = {.on_done = on_pulled,
                                       .partition = partition,
                                       .from = 1,
                                       .bytes_max = 1 << 20,
                                       .hint = {.topics = &topic, .topic_count = 1}};
            assert_int_equal(broker_tail(broker, &tail), 0);
            assert_int_equal(broker_pull(broker, &pull), 0);
            settle(&fixture, partition % counts[round]);
            assert_int_equal(tail.tail, 301 + round);
            assert_int_equal(pull.removed, 0);
            assert_int_equal(pull.records[0]->sequence, 1);
            struct broker_result result = append_once(&fixture, partition, partition);
            assert_int_equal(result.status, BROKER_DUPLICATE);
            assert_int_equal(result.sequence, 301);
            assert_int_equal(append_once(&fixture, partition, 100 + round).sequence, 302 + round);
        }
    }
    free_append(&fixture.heap, waits); /* was given up with the handle that had taken it */
    deinit(&fixture);
}

static void a_shard_above_its_share_is_woken_to_make_room(void **state)
{
    (void)state;
    struct fixture fixture;
    assert_int_equal(init(&fixture, 2, 4 << 20, 0), 0);
    append_many(&fixture, 0, 50); /* 5 MB: all that there is */
    uint64_t held = broker_counters(fixture.brokers[0])->log_bytes;
    assert_int_equal(fixture.wakes[0], 0);
    append_many(&fixture, 1, 2);           /* less than what is kept free for this */
    assert_int_equal(fixture.wakes[0], 1); /* once, until it has had its turn */
    settle(&fixture, 0);
    uint64_t all = broker_counters(fixture.brokers[0])->log_bytes +
                   broker_counters(fixture.brokers[1])->log_bytes;
    assert_true(all <= 4 << 20);
    assert_true(broker_counters(fixture.brokers[0])->log_bytes < held);
    assert_int_equal(broker_counters(fixture.brokers[1])->retention_records, 0);
    deinit(&fixture);
}

static void on_committed(struct broker_commit *commit)
{
    (void)commit;
}

static void on_listed(struct broker_list *list)
{
    (void)list;
}

static void on_change(struct broker_watch *watch, const struct broker_entry *entry, bool is_deleted)
{
    (void)watch;
    (void)entry;
    (void)is_deleted;
}

static void on_watch_ended(struct broker_watch *watch)
{
    (void)watch;
}

/* A bit of everything; every request must be answered, with or without memory. */
static void use_everything(struct fixture *fixture)
{
    struct broker *broker = fixture->brokers[0];
    struct heap_budget budget = {.bytes_max = 0};
    struct heap heap; /* the records' own, which does not fail */
    heap_init(&heap, &budget);
    struct broker_append *append = make_append(&heap, 0, BROKER_APPEND_MAX, false);
    struct broker_append *later = make_append(&heap, 0, 1, false);
    struct broker_bytes topic = {"t", 1};
    struct broker_pull pull = {
        .on_done = on_pulled,
        .bytes_max = 1000,
        .hint = {.topics = &topic, .topic_count = 1, .prefixes = &topic, .prefix_count = 1}};
    struct broker_commit commit = {
        .on_done = on_committed,
        .count = 2,
        .writes = {
            {.key = topic, .value = topic, .expected_revision = BROKER_ANY_REVISION},
            {.kind = BROKER_DELETE, .key = {"u", 1}, .expected_revision = BROKER_ANY_REVISION}}};
    struct broker_commit other = {
        .on_done = on_committed,
        .count = 1,
        .writes = {{.key = {"u", 1}, .expected_revision = BROKER_ANY_REVISION}}};
    struct broker_list list = {.on_done = on_listed, .bytes_max = 1000, .entries_max = 10};
    struct broker_watch watch = {.on_change = on_change, .on_done = on_watch_ended};
    for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++)
        append->records[index]->deduplication_id = (struct record_id){1, index};
    bool is_watching = broker_watch(broker, &watch) == 0;
    assert_int_equal(broker_append(broker, append), 0);
    assert_int_equal(broker_append(broker, later), 0);
    assert_int_equal(broker_commit(broker, &other), 0);
    assert_int_equal(broker_commit(broker, &commit), 0);
    settle(fixture, 0);
    assert_int_equal(broker_pull(broker, &pull), 0);
    assert_int_equal(broker_list(broker, &list), 0);
    settle(fixture, 0);
    if (is_watching)
        broker_cancel(broker, &watch.request);
    settle(fixture, 0);
    assert_false(append->request.is_taken || pull.request.is_taken || commit.request.is_taken ||
                 list.request.is_taken || watch.request.is_taken);
    uint64_t stored = 0;
    bool is_gapped = false;
    for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++) {
        enum broker_status status = append->results[index].status;
        is_gapped |= status == BROKER_UNKNOWN;
        /* Nothing overtakes a record that has to be repeated. */
        assert_int_equal(status, is_gapped ? BROKER_UNKNOWN : BROKER_OK);
        stored += status == BROKER_OK;
        assert_int_equal(append->results[index].sequence, status == BROKER_OK ? stored : 0);
    }
    assert_true(!is_gapped || later->results[0].status == BROKER_UNKNOWN);
    stored += later->results[0].status == BROKER_OK;
    assert_int_equal(broker_counters(broker)->appended_records, stored);
    assert_int_equal(pull.status, BROKER_OK);
    assert_true(commit.status == BROKER_OK || commit.status == BROKER_FULL);
    assert_int_equal(list.count, (commit.status == BROKER_OK) +
                                     (commit.status != BROKER_OK && other.status == BROKER_OK));
    /* The log is told to let go before the heap of its records does. */
    assert_int_equal(broker_trim(broker, 0, UINT64_MAX), 0);
    settle(fixture, 0);
    free_append(&heap, append);
    free_append(&heap, later);
    heap_deinit(&heap);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    uint64_t failures = 1;
    for (uint64_t fail_at = 1; failures > 0; fail_at++) {
        struct fixture fixture;
        assert_true(fail_at < 1000);
        if (init(&fixture, 1, 1 << 24, fail_at) == 0)
            use_everything(&fixture);
        failures = fixture.heap.failures + fixture.heaps[0].failures;
        for (uint32_t shard = 0; shard < fixture.shard_count; shard++)
            if (fixture.brokers[shard] != NULL)
                broker_destroy(fixture.brokers[shard]);
        if (fixture.store != NULL)
            memory_store_destroy(fixture.store);
    }
}

/* A shard on a thread of its own: appends, and a counter in the store that all shards raise. */
struct thread {
    struct fixture *fixture;
    pthread_t id;
    uint32_t shard;
    uint32_t raised;
    uint32_t seen; /* changes that its watch was told */
    uint64_t value;
    uint64_t revision;
};

enum { RAISES = 300 };

static void on_thread_change(struct broker_watch *watch, const struct broker_entry *entry,
                             bool is_deleted)
{
    struct thread *thread = watch->request.owner;
    thread->seen += !is_deleted && entry->value.count == sizeof(uint64_t);
}

static void on_thread_got(struct broker_get *get)
{
    struct thread *thread = get->request.owner;
    const struct broker_value *value = &get->values[0];
    thread->revision = value->revision;
    thread->value = 0;
    if (value->status == BROKER_OK)
        memcpy(&thread->value, value->value.bytes, sizeof(thread->value));
}

static void finish(struct thread *thread, const struct broker_request *request)
{
    for (uint32_t turns = 0; request->is_taken; turns++) {
        turn(thread->fixture, thread->shard);
        ps_assert(turns < TURNS_MAX);
    }
}

static void raise_counter(struct thread *thread, struct broker *broker)
{
    struct broker_get get = {.on_done = on_thread_got, .count = 1, .keys = {{"counter", 7}}};
    get.request.owner = thread;
    int status = broker_get(broker, &get);
    ps_assert(status == 0);
    finish(thread, &get.request);
    thread->value++;
    struct broker_commit commit = {.on_done = on_committed,
                                   .count = 1,
                                   .writes = {{.key = {"counter", 7},
                                               .value = {&thread->value, sizeof(thread->value)},
                                               .expected_revision = thread->revision}}};
    status = broker_commit(broker, &commit);
    ps_assert(status == 0);
    finish(thread, &commit.request);
    thread->raised += commit.status == BROKER_OK;
}

static void *run_thread(void *context)
{
    struct thread *thread = context;
    struct broker *broker = thread->fixture->brokers[thread->shard];
    struct heap *heap = &thread->fixture->heaps[thread->shard];
    struct broker_watch watch = {.on_change = on_thread_change, .on_done = on_watch_ended};
    watch.request.owner = thread;
    int status = broker_watch(broker, &watch);
    ps_assert(status == 0);
    for (uint32_t round = 0; thread->raised < RAISES; round++) {
        ps_assert(round < TURNS_MAX);
        struct broker_append *append = make_append(heap, (uint16_t)thread->shard, 10, true);
        status = broker_append(broker, append);
        ps_assert(status == 0);
        raise_counter(thread, broker);
        finish(thread, &append->request);
        free_append(heap, append);
    }
    broker_cancel(broker, &watch.request);
    finish(thread, &watch.request);
    return NULL;
}

/* Every compare-and-set that was told to have held is in the sum. */
static void handles_on_threads_of_their_own_share_keys_and_memory(void **state)
{
    (void)state;
    struct fixture fixture;
    struct thread threads[SHARDS_MAX];
    assert_int_equal(init(&fixture, SHARDS_MAX, 2 << 20, 0), 0);
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        fixture.wakes[shard] = 0;
        threads[shard] = (struct thread){.fixture = &fixture, .shard = shard};
    }
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++)
        assert_int_equal(pthread_create(&threads[shard].id, NULL, run_thread, &threads[shard]), 0);
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++)
        assert_int_equal(pthread_join(threads[shard].id, NULL), 0);
    struct broker_get get = {.on_done = on_thread_got, .count = 1, .keys = {{"counter", 7}}};
    get.request.owner = &threads[0];
    assert_int_equal(broker_get(fixture.brokers[0], &get), 0);
    finish(&threads[0], &get.request);
    assert_int_equal(threads[0].value, SHARDS_MAX * RAISES);
    uint64_t bytes = 0;
    for (uint32_t shard = 0; shard < SHARDS_MAX; shard++) {
        settle(&fixture, shard);
        const struct broker_counters *counters = broker_counters(fixture.brokers[shard]);
        bytes += counters->log_bytes + counters->key_bytes;
        assert_true(counters->log_records > 0 && threads[shard].seen > 0);
        assert_int_equal(counters->appended_records - counters->retention_records,
                         counters->log_records);
    }
    assert_true(bytes <= 2 << 20);
    deinit(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_answers_a_bounded_number_of_requests),
        cmocka_unit_test(a_turn_commits_a_bounded_number_of_records),
        cmocka_unit_test(an_append_that_is_cancelled_half_way_says_what_was_stored),
        cmocka_unit_test(a_partition_commits_no_faster_than_its_channel_is_fed),
        cmocka_unit_test(an_id_is_forgotten_after_its_time),
        cmocka_unit_test(a_shard_has_one_handle),
        cmocka_unit_test(handles_that_are_made_again_find_records_numbers_and_ids),
        cmocka_unit_test(a_shard_above_its_share_is_woken_to_make_room),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(handles_on_threads_of_their_own_share_keys_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
