/*
 * The embedded driver under the broker's contract suite, on the real ring and the host's disk, in
 * the commit mode that its argument names. No helper thread: its jobs run while the suite waits.
 */
#include <stdlib.h>
#include <string.h>

#include "broker_client/embedded/embedded.h"
#include "broker_contract.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/ring.h"
#include "support/scratch_directory.h"

enum {
    SMALL_BYTES = 4 << 20,
    SMALL_RETENTION_BYTES = 3 << 20,
    SMALL_SEGMENT_BYTES = 256 << 10,
    SMALL_TAIL_BYTES = 3 << 20,
    SMALL_RECORD_BYTES = 128 << 10,
    RECORD_BYTES = 2 << 20,
    KEY_BYTES = 512 << 10,
    WAIT_NS = 1000000
};

struct fixture {
    struct embedded_store *store;
    struct ring *rings[BROKER_CONTRACT_HANDLES_MAX];
    struct broker *brokers[BROKER_CONTRACT_HANDLES_MAX];
    uint32_t count;
    char directory[SCRATCH_PATH_BYTES];
};

static enum embedded_commit commit_mode;

static void open_store(struct fixture *fixture, const struct broker_contract_options *options)
{
    char error[EMBEDDED_ERROR_BYTES];
    struct embedded_store_config config = {
        .directory = fixture->directory,
        .commit = commit_mode,
        .partition_count = BROKER_CONTRACT_PARTITIONS,
        .partition_levels = 2,
        .shard_count = (uint16_t)options->handle_count,
        .segment_bytes = 1 << 20,
        .tail_bytes = 16 << 20,
        .key_map_bytes = 64 << 20,
        .record_bytes_max = RECORD_BYTES,
        .random_seed = 42,
    };
    if (options->is_small) {
        config.retention_bytes = SMALL_RETENTION_BYTES;
        config.segment_bytes = SMALL_SEGMENT_BYTES;
        config.tail_bytes = SMALL_TAIL_BYTES;
        config.record_bytes_max = SMALL_RECORD_BYTES;
        config.key_bytes_max = KEY_BYTES;
    }
    int status = embedded_store_open(&config, options->heap, NULL, &fixture->store, error);
    if (status < 0)
        fprintf(stderr, "%s\n", error);
    ps_assert(status == 0);
}

static void *create(const struct broker_contract_options *options, struct broker **out_brokers)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    ps_assert(fixture != NULL);
    scratch_directory_make(fixture->directory);
    open_store(fixture, options);
    fixture->count = options->handle_count;
    for (uint32_t i = 0; i < options->handle_count; i++) {
        char error[256];
        const struct ring_options ring = {.sockets_max = 1};
        int status = ring_create(&ring, &fixture->rings[i], error, sizeof(error));
        if (status < 0)
            fprintf(stderr, "%s\n", error);
        ps_assert(status == 0 && ring_start(fixture->rings[i]) == 0);
        struct broker_options each = options->each[i];
        each.ring = fixture->rings[i];
        status = embedded_broker_create(fixture->store, &each, &fixture->brokers[i]);
        ps_assert(status == 0);
        out_brokers[i] = fixture->brokers[i];
    }
    return fixture;
}

static void destroy(void *state, struct broker **brokers, uint32_t count)
{
    struct fixture *fixture = state;
    for (uint32_t i = 0; i < count; i++)
        broker_destroy(brokers[i]);
    embedded_store_close(fixture->store, true);
    for (uint32_t i = 0; i < count; i++)
        ring_destroy(fixture->rings[i]);
    scratch_directory_remove(fixture->directory);
    free(fixture);
}

static bool wait_for_disk(void *state)
{
    struct fixture *fixture = state;
    bool goes_on = embedded_store_helper_turn(fixture->store, ring_now_ns(fixture->rings[0]));
    for (uint32_t i = 0; i < fixture->count; i++) {
        struct ring_event events[4];
        struct ring *ring = fixture->rings[i];
        bool is_busy = !embedded_broker_is_idle(fixture->brokers[i]);
        uint64_t deadline_ns = is_busy && !goes_on ? ring_now_ns(ring) + WAIT_NS : 0;
        goes_on |= is_busy;
        ps_assert(ring_wait(ring, deadline_ns, events, 4) >= 0);
    }
    return goes_on;
}

int main(int argc, char **argv)
{
    static const char *const modes[] = {"synced", "written", "memory"};
    const char *mode = argc > 1 ? argv[1] : modes[0];
    char name[64];
    while (strcmp(modes[commit_mode], mode) != 0)
        ps_assert(++commit_mode < ps_array_count(modes));
    snprintf(name, sizeof(name), "embedded, %s", mode);
    const struct broker_contract_driver driver = {.name = name,
                                                  .create = create,
                                                  .destroy = destroy,
                                                  .wait = wait_for_disk,
                                                  .small_log_bytes = SMALL_BYTES,
                                                  .removes_segments = true,
                                                  .expiry_ms = 3000};
    return broker_contract_run(&driver);
}
