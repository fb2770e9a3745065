/*
 * The keys of the embedded driver on LMDB, the helper's work on the caller's thread: puts that
 * replace a value and gets, in batches of so many requests, among 100,000 keys of 20 bytes with
 * values of 64 (and a time to live, as a session's keys have one). Time per iteration is one
 * request's part of its batch, the commit's syncs in it; CPU time leaves the waiting out. Below
 * TMPDIR or /tmp: what is measured is that file system and its disk.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "embedded_keys_internal.h"
#include "micro.h"

enum { KEYS = 100000, KEY_BYTES = 20, VALUE_BYTES = 64, BATCH_MAX = 1024, FOR_MS = 86400000 };

#define WALL_MS UINT64_C(1700000000000)

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct helper *helper;
    struct embedded_keys *keys;
    struct embedded_keys_port *port;
    uint32_t batch;
    uint32_t answered;
    uint64_t next;
    char path[64];
    char value[VALUE_BYTES];
    char names[BATCH_MAX][KEY_BYTES + 4];
    struct broker_commit commits[BATCH_MAX];
    struct broker_get gets[BATCH_MAX];
};

static void expect(int status)
{
    ps_assert(status == 0);
}

static void on_committed(struct broker_commit *commit)
{
    struct subject *subject = commit->request.owner;
    ps_assert(commit->status == BROKER_OK);
    subject->answered++;
}

static void on_got(struct broker_get *get)
{
    struct subject *subject = get->request.owner;
    ps_assert(get->values[0].status == BROKER_OK && get->values[0].value.count == VALUE_BYTES);
    subject->answered++;
}

static void submit(struct subject *subject, struct broker_request *request,
                   enum broker_request_kind kind)
{
    request->owner = subject;
    request->kind = (uint8_t)kind;
    request->is_taken = true;
    expect(embedded_keys_port_submit(subject->port, request));
}

/* Until everything is answered. */
static void finish(struct subject *subject, uint32_t count)
{
    while (subject->answered < count) {
        (void)embedded_keys_port_turn(subject->port, WALL_MS);
        helper_turn(subject->helper, 0);
    }
    subject->answered = 0;
}

/* Scattered, so that no two in succession are near each other. */
static struct broker_bytes choose_key(struct subject *subject, uint32_t index, bool is_scattered)
{
    uint64_t number = subject->next++;
    if (is_scattered)
        number = number * UINT64_C(0x9e3779b97f4a7c15);
    (void)snprintf(subject->names[index], sizeof(subject->names[0]), "oclient-%012lu",
                   number % KEYS);
    return (struct broker_bytes){subject->names[index], KEY_BYTES};
}

static void put(struct subject *subject, uint32_t count, bool is_scattered)
{
    for (uint32_t index = 0; index < count; index++) {
        struct broker_commit *commit = &subject->commits[index];
        commit->on_done = on_committed;
        commit->count = 1;
        commit->writes[0] = (struct broker_write){.key = choose_key(subject, index, is_scattered),
                                                  .value = {subject->value, VALUE_BYTES},
                                                  .expected_revision = BROKER_ANY_REVISION,
                                                  .time_to_live_ms = FOR_MS + subject->next % 1000};
        submit(subject, &commit->request, BROKER_REQUEST_COMMIT);
    }
    finish(subject, count);
}

static void get(struct subject *subject, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++) {
        struct broker_get *get = &subject->gets[index];
        get->on_done = on_got;
        get->count = 1;
        get->keys[0] = choose_key(subject, index, true);
        submit(subject, &get->request, BROKER_REQUEST_GET);
    }
    finish(subject, count);
}

static void *create(uint64_t batch)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL && batch <= BATCH_MAX);
    const char *base = getenv("TMPDIR");
    (void)snprintf(subject->path, sizeof(subject->path), "%s/penstock_micro_XXXXXX",
                   base == NULL ? "/tmp" : base);
    ps_assert(mkdtemp(subject->path) != NULL);
    char error[256] = "";
    heap_init(&subject->heap, &subject->budget);
    expect(helper_create(&subject->heap, 0, &subject->helper));
    const struct embedded_keys_options options = {.directory = subject->path,
                                                  .counted_kind = 'o',
                                                  .heap = &subject->heap,
                                                  .helper = subject->helper,
                                                  .error = error,
                                                  .error_bytes = sizeof(error)};
    expect(embedded_keys_open(&options, &subject->keys));
    const struct embedded_keys_port_options port = {.heap = &subject->heap};
    expect(embedded_keys_port_create(subject->keys, &port, &subject->port));
    for (uint32_t done = 0; done < KEYS; done += 1000)
        put(subject, 1000, false);
    subject->batch = (uint32_t)batch;
    return subject;
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    char file[96];
    (void)snprintf(file, sizeof(file), "%s/keys.mdb", subject->path);
    embedded_keys_port_destroy(subject->port);
    helper_stop(subject->helper);
    embedded_keys_close(subject->keys);
    helper_destroy(&subject->heap, subject->helper);
    heap_deinit(&subject->heap);
    ps_assert(unlink(file) == 0 && rmdir(subject->path) == 0);
    free(subject);
}

static void run_put(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t done = 0; done < iterations; done += subject->batch)
        put(subject, subject->batch, true);
}

static void run_get(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t done = 0; done < iterations; done += subject->batch)
        get(subject, subject->batch);
}

const struct micro_case micro_keys_cases[] = {
    {"keys_put/1", create, destroy, run_put, 1},
    {"keys_put/128", create, destroy, run_put, 128},
    {"keys_put/1024", create, destroy, run_put, 1024},
    {"keys_get/1", create, destroy, run_get, 1},
    {"keys_get/128", create, destroy, run_get, 128},
    {"keys_get/1024", create, destroy, run_get, 1024},
    {NULL, NULL, NULL, NULL, 0},
};
