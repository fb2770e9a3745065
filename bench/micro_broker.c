/*
 * The memory driver behind broker.h, one handle. A record: made, appended in batches of 256,
 * committed, given to the channel, and, the log being full, another one removed; beside it the
 * record alone, made and released. Keys: one got, one replaced by a value of the same size.
 */
#include <stdio.h>
#include <stdlib.h>

#include "broker_client/broker.h"
#include "broker_client/memory.h"
#include "core/base.h"
#include "core/heap.h"
#include "micro.h"

enum { KEY_BYTES_MAX = 32, VALUE_BYTES = 64, PAYLOAD_BYTES = 64 };

#define MEMORY_BYTES (UINT64_C(1) << 30)

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct memory_store *store;
    struct broker *broker;
    struct broker_append append;
    struct broker_pull channel;
    struct broker_get get;
    struct broker_commit commit;
    char key[KEY_BYTES_MAX];
    char value[VALUE_BYTES];
    uint64_t size;
    uint64_t next;
    uint64_t seen; /* by the channel */
    uint64_t now_ns;
    bool has_id;
};

static void on_appended(struct broker_append *append)
{
    (void)append;
}

static void on_channel(struct broker_pull *pull)
{
    struct subject *subject = ps_container_of(pull, struct subject, channel);
    subject->seen += pull->count;
    pull->from = pull->next;
    int status = broker_pull(subject->broker, pull);
    ps_assert(status == 0);
}

static void on_got(struct broker_get *get)
{
    ps_assert(get->values[0].status == BROKER_OK);
}

static void on_committed(struct broker_commit *commit)
{
    ps_assert(commit->status == BROKER_OK);
}

static void turn(struct subject *subject)
{
    subject->now_ns += 1000000;
    while (broker_turn(subject->broker, subject->now_ns, 1700000000000))
        continue;
}

static struct subject *create(uint64_t size, uint64_t memory_bytes)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    heap_init(&subject->heap, &subject->budget);
    const struct memory_store_config config = {.memory_bytes = memory_bytes,
                                               .partition_count = 1,
                                               .partition_levels = 2,
                                               .shard_count = 1,
                                               .hash_seed = 42};
    const struct broker_options options = {.heap = &subject->heap, .shard_count = 1};
    int status = memory_store_create(&config, &subject->heap, &subject->store);
    ps_assert(status == 0);
    status = memory_broker_create(subject->store, &options, &subject->broker);
    ps_assert(status == 0);
    subject->size = size;
    return subject;
}

static void destroy(void *context)
{
    struct subject *subject = context;
    broker_destroy(subject->broker);
    memory_store_destroy(subject->store);
    heap_deinit(&subject->heap);
    free(subject);
}

static struct record *make_record(struct subject *subject)
{
    static const char payload[PAYLOAD_BYTES];
    const struct record_source source = {.topic = "devices/0000000042/cmd",
                                         .topic_bytes = 22,
                                         .payload = payload,
                                         .payload_bytes = sizeof(payload),
                                         .flags = 1};
    struct record *record = record_create(&subject->heap, &source);
    ps_assert(record != NULL);
    return record;
}

static void run_append(void *context, uint64_t iterations)
{
    struct subject *subject = context;
    struct broker_append *append = &subject->append;
    for (uint64_t done = 0; done < iterations; done += BROKER_APPEND_MAX) {
        append->count = BROKER_APPEND_MAX;
        for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++) {
            append->records[index] = make_record(subject);
            if (subject->has_id)
                append->records[index]->deduplication_id = (struct record_id){1, ++subject->next};
        }
        int status = broker_append(subject->broker, append);
        ps_assert(status == 0);
        turn(subject);
        ps_assert(append->results[BROKER_APPEND_MAX - 1].status == BROKER_OK);
        for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++)
            record_release(&subject->heap, append->records[index]);
    }
}

static void *create_log(uint64_t size)
{
    struct subject *subject = create(size, size);
    subject->append.on_done = on_appended;
    subject->channel =
        (struct broker_pull){.on_done = on_channel, .from = 1, .bytes_max = 1 << 20, .wait = true};
    int status = broker_pull(subject->broker, &subject->channel);
    ps_assert(status == 0);
    while (broker_counters(subject->broker)->retention_records == 0)
        run_append(subject, BROKER_APPEND_MAX);
    return subject;
}

static void *create_log_with_ids(uint64_t size)
{
    struct subject *subject = create_log(size);
    subject->has_id = true;
    return subject;
}

/* As many records at a time as an append has, so that the allocator is used alike. */
static void run_record(void *context, uint64_t iterations)
{
    struct subject *subject = context;
    for (uint64_t done = 0; done < iterations; done += BROKER_APPEND_MAX) {
        for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++)
            subject->append.records[index] = make_record(subject);
        for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++)
            record_release(&subject->heap, subject->append.records[index]);
    }
}

/* Scattered, so that no two in succession are near each other. */
static void choose_key(struct subject *subject)
{
    uint64_t number = ++subject->next * UINT64_C(0x9e3779b97f4a7c15) % subject->size;
    (void)snprintf(subject->key, sizeof(subject->key), "oclient-%012lu", number);
}

static void put_key(struct subject *subject)
{
    subject->commit.writes[0].value = (struct broker_bytes){subject->value, VALUE_BYTES};
    int status = broker_commit(subject->broker, &subject->commit);
    ps_assert(status == 0);
    turn(subject);
}

static void *create_keys(uint64_t size)
{
    struct subject *subject = create(size, MEMORY_BYTES);
    subject->get.on_done = on_got;
    subject->get.count = 1;
    subject->get.keys[0] = (struct broker_bytes){subject->key, 20};
    subject->commit.on_done = on_committed;
    subject->commit.count = 1;
    subject->commit.writes[0].key = subject->get.keys[0];
    subject->commit.writes[0].expected_revision = BROKER_ANY_REVISION;
    int64_t bytes_before = subject->heap.bytes_net;
    for (uint64_t index = 0; index < size; index++) {
        (void)snprintf(subject->key, sizeof(subject->key), "oclient-%012lu", index);
        put_key(subject);
    }
    (void)fprintf(stderr, "%lu keys of 20 bytes, values of %d: %.1f bytes each\n", size,
                  VALUE_BYTES, (double)(subject->heap.bytes_net - bytes_before) / (double)size);
    return subject;
}

static void run_get(void *context, uint64_t iterations)
{
    struct subject *subject = context;
    for (uint64_t index = 0; index < iterations; index++) {
        choose_key(subject);
        int status = broker_get(subject->broker, &subject->get);
        ps_assert(status == 0);
        turn(subject);
    }
}

static void run_put(void *context, uint64_t iterations)
{
    struct subject *subject = context;
    for (uint64_t index = 0; index < iterations; index++) {
        choose_key(subject);
        put_key(subject);
    }
}

const struct micro_case micro_broker_cases[] = {
    {"broker_record_alone", create_log, destroy, run_record, 1 << 24},
    {"broker_append_and_channel", create_log, destroy, run_append, 1 << 24},
    {"broker_append_with_ids", create_log_with_ids, destroy, run_append, 1 << 24},
    {"broker_append_and_channel_256M", create_log, destroy, run_append, 1 << 28},
    {"broker_get/10000", create_keys, destroy, run_get, 10000},
    {"broker_put/10000", create_keys, destroy, run_put, 10000},
    {"broker_get/1000000", create_keys, destroy, run_get, 1000000},
    {"broker_put/1000000", create_keys, destroy, run_put, 1000000},
    {NULL, NULL, NULL, NULL, 0},
};
