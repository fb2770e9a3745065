/*
 * The log alone against a model, on the simulated disk: random batches of random shards, failed
 * writes and syncs, indexes made and not made, and crashes at any operation, of the process or of
 * the power, in any commit mode, with other shard counts afterwards. What was synced is there, what
 * is there was written, and no number is given twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/random.h"
#include "log_scan_internal.h"
#include "segment_files_internal.h"
#include "sim/disk_sim.h"
#include "sim/network.h"
#include "support/log_writer.h"

enum {
    PARTITIONS = 6,
    JUMP_BITS = 20,
    JUMPS_MAX = 8,
    RUN_MAX = 4096,
    SEQUENCES_MAX = JUMPS_MAX * RUN_MAX,
    SHARDS_MAX = 4,
    SEEDS = 24,
    LIVES = 7
};

/* What the model knows of a sequence. */
enum state { FREE, TRIED, COMMITTED, SYNCED };

struct known {
    uint64_t value; /* of the latest attempt */
    uint8_t state;
};

struct partition {
    struct known *known; /* known_at */
    uint64_t high;       /* no sequence from here on was ever given */
    uint64_t begun;      /* where the life before began */
};

struct fixture {
    struct sim_world *world;
    struct random random;
    struct heap_budget budget;
    struct heap heap;
    struct log_store store;
    struct log_writer writers[SHARDS_MAX];
    struct partition partitions[PARTITIONS];
    uint64_t next_value;
    char error[EMBEDDED_ERROR_BYTES];
};

/* Sequences jump by a million at a time, and there are few between two jumps. */
static struct known *known_at(struct fixture *fixture, uint32_t partition, uint64_t sequence)
{
    uint64_t jump = sequence >> JUMP_BITS;
    assert_true(jump < JUMPS_MAX && sequence % (1 << JUMP_BITS) < RUN_MAX);
    return &fixture->partitions[partition].known[jump * RUN_MAX + sequence % RUN_MAX];
}

static void begin_world(struct fixture *fixture, uint64_t seed)
{
    const struct sim_options options = {.seed = seed, .start_ns = 1000, .start_wall_ms = 1000};
    memset(fixture, 0, sizeof(*fixture));
    fixture->world = sim_world_create(&options);
    random_init(&fixture->random, seed);
    heap_init(&fixture->heap, &fixture->budget);
    fixture->next_value = 1;
    for (uint32_t index = 0; index < PARTITIONS; index++) {
        fixture->partitions[index].known = calloc(SEQUENCES_MAX, sizeof(struct known));
        fixture->partitions[index].high = 1;
    }
}

static void end_world(struct fixture *fixture)
{
    for (uint32_t index = 0; index < PARTITIONS; index++)
        free(fixture->partitions[index].known);
    sim_world_destroy(fixture->world);
    heap_deinit(&fixture->heap);
    assert_int_equal(heap_budget_bytes_used(&fixture->budget), 0);
}

static int open_store(struct fixture *fixture, enum embedded_commit commit, uint16_t shards)
{
    memset(&fixture->store, 0, sizeof(fixture->store));
    fixture->store.config = (struct embedded_store_config){.directory = "/data",
                                                           .commit = commit,
                                                           .partition_count = PARTITIONS,
                                                           .partition_levels = 2,
                                                           .shard_count = shards,
                                                           .random_seed = 99};
    fixture->store.heap = &fixture->heap;
    fixture->store.helper_heap = &fixture->heap;
    int result = log_store_open(&fixture->store, fixture->error);
    if (result < 0)
        return result;
    for (uint16_t shard = 0; shard < shards; shard++) {
        log_writer_init(&fixture->writers[shard], &fixture->store, &fixture->heap, shard);
        fixture->writers[shard].is_synced = commit == EMBEDDED_COMMIT_SYNCED;
    }
    return 0;
}

/* ---- what a recovery has found, against the model ---- */

struct reading {
    struct fixture *fixture;
    uint64_t next[PARTITIONS];
    uint64_t found[PARTITIONS];
};

static int on_record(void *context, const struct segment_record *record)
{
    struct reading *reading = context;
    const struct record_view *view = &record->view;
    assert_true(view->partition < PARTITIONS);
    assert_true(view->sequence >= reading->next[view->partition]);
    reading->next[view->partition] = view->sequence + 1;
    reading->found[view->partition]++;
    struct known *known = known_at(reading->fixture, view->partition, view->sequence);
    uint64_t value;
    memcpy(&value, view->topic + view->topic_bytes, sizeof(value));
    assert_true(known->state != FREE);
    assert_int_equal(value, known->value);
    known->state |= 0x80; /* seen */
    return 0;
}

static void check_index_blocks(const struct log_segment *segment, const struct segment_index *index)
{
    static unsigned char block[SEGMENT_INDEX_BLOCK_BYTES];
    for (uint32_t number = 0; number < index->block_count; number++) {
        size_t count = 0;
        assert_int_equal(disk_read(segment->index_fd, block, sizeof(block),
                                   (uint64_t)number * sizeof(block), &count),
                         0);
        assert_int_equal(count, sizeof(block));
        assert_true(segment_index_block_check(segment->seed, number, block));
    }
}

static void read_segment(struct reading *reading, struct log_segment *segment)
{
    const struct segment_index *index = atomic_load(&segment->index);
    assert_non_null(index);
    assert_int_equal(segment_files_open(&reading->fixture->store, segment), 0);
    check_index_blocks(segment, index);
    struct log_scan scan;
    struct segment_header header;
    struct segment_partition *partitions = NULL;
    struct heap *heap = &reading->fixture->heap;
    assert_int_equal(
        log_scan_init(&scan, heap, segment->fd, segment->seed, segment->number, index->data_end),
        0);
    assert_int_equal(log_scan_header(&scan, &header, &partitions), 0);
    uint64_t before[PARTITIONS];
    memcpy(before, reading->found, sizeof(before));
    while (scan.offset < index->data_end)
        assert_int_equal(log_scan_next(&scan, reading, on_record), 0);
    assert_int_equal(index->partition_count, header.partition_count);
    for (uint32_t slot = 0; slot < index->partition_count; slot++) {
        const struct segment_index_partition *of = &index->partitions[slot];
        assert_int_equal(of->partition, partitions[slot].partition);
        assert_int_equal(of->records, reading->found[of->partition] - before[of->partition]);
    }
    heap_free(heap, partitions);
    log_scan_deinit(&scan);
    segment_files_let_go(&reading->fixture->store, segment);
}

static void check_extents(struct fixture *fixture, const struct reading *reading)
{
    for (uint32_t index = 0; index < PARTITIONS; index++) {
        const struct log_partition_state *state = &fixture->store.partitions[index];
        uint64_t records = 0;
        uint64_t next = 0;
        for (uint32_t at = 0; at < state->extent_count; at++) {
            const struct log_extent *extent = &state->extents[at];
            assert_true(extent->first >= next && extent->next > extent->first);
            next = extent->next;
            records += extent->records;
        }
        assert_int_equal(records, reading->found[index]);
        assert_true(next == reading->next[index]);
        assert_true(state->next >= next && state->next >= 1);
    }
}

/* From here on the log is what was found. */
static void check_recovery(struct fixture *fixture, enum embedded_commit commit, bool was_clean)
{
    struct reading reading = {.fixture = fixture};
    for (struct log_segment *at = fixture->store.first; at != NULL; at = at->next)
        read_segment(&reading, at);
    check_extents(fixture, &reading);
    for (uint32_t index = 0; index < PARTITIONS; index++) {
        struct partition *partition = &fixture->partitions[index];
        const struct log_partition_state *state = &fixture->store.partitions[index];
        bool is_exact = commit == EMBEDDED_COMMIT_SYNCED || was_clean;
        for (uint32_t at = 0; at < SEQUENCES_MAX; at++) {
            struct known *known = &partition->known[at];
            bool is_seen = known->state & 0x80;
            known->state &= 0x7f;
            if (known->state == SYNCED || (known->state == COMMITTED && was_clean))
                assert_true(is_seen);
            known->state = is_seen ? SYNCED : FREE;
        }
        if (!is_exact) /* whatever was handed out is below */
            assert_true(state->next >= partition->high);
        assert_true(state->next >= partition->begun);
        partition->begun = state->next;
        const struct log_jumps *jumps = &state->jumps;
        bool is_jump = jumps->count > 0 && jumps->jumps[jumps->count - 1].to == state->next;
        uint64_t end = reading.next[index];
        assert_true(end == 0 || end == state->next ||
                    (is_jump && end >= jumps->jumps[jumps->count - 1].from));
        partition->high = ps_max_u64(partition->high, state->next);
        assert_true(state->reserved >= state->next + LOG_STORE_RESERVE / 2);
    }
}

/* ---- a life of the store ---- */

static void make_records(struct fixture *fixture, struct log_writer *writer,
                         struct log_writer_record *records, uint32_t count)
{
    uint64_t next[PARTITIONS];
    memcpy(next, writer->committed, sizeof(next));
    uint16_t shards = fixture->store.config.shard_count;
    for (uint32_t index = 0; index < count; index++) {
        uint64_t own =
            random_below(&fixture->random, (PARTITIONS - writer->shard + shards - 1U) / shards);
        uint16_t partition = (uint16_t)(writer->shard + own * shards);
        records[index] = (struct log_writer_record){
            .partition = partition,
            .sequence = next[partition]++,
            .value = fixture->next_value++,
            .publish_ms = 1000,
            .payload_bytes = (uint32_t)random_between(&fixture->random, 8, 700)};
        struct known *known = known_at(fixture, partition, records[index].sequence);
        *known = (struct known){records[index].value, TRIED};
        struct partition *of = &fixture->partitions[partition];
        of->high = ps_max_u64(of->high, records[index].sequence + 1);
    }
}

static bool write_batch(struct fixture *fixture, struct log_writer *writer)
{
    struct log_writer_record records[64];
    uint32_t count = (uint32_t)random_between(&fixture->random, 1, 64);
    if (random_chance(&fixture->random, 1, 2))
        count = count % 4 + 1;
    make_records(fixture, writer, records, count);
    if (log_writer_batch(writer, records, count) < 0)
        return false;
    for (uint32_t index = 0; index < count; index++)
        known_at(fixture, records[index].partition, records[index].sequence)->state =
            writer->is_synced ? SYNCED : COMMITTED;
    return true;
}

/* Modes written and memory: everything so far. */
static bool sync_all(struct fixture *fixture)
{
    for (uint16_t shard = 0; shard < fixture->store.config.shard_count; shard++) {
        struct log_writer *writer = &fixture->writers[shard];
        if (writer->segment != NULL && disk_sync(writer->segment->fd) < 0)
            return false;
    }
    for (uint32_t index = 0; index < PARTITIONS; index++)
        for (uint32_t at = 0; at < SEQUENCES_MAX; at++)
            if (fixture->partitions[index].known[at].state == COMMITTED)
                fixture->partitions[index].known[at].state = SYNCED;
    return true;
}

/* Writes for a while. False: the disk is gone. */
static bool live(struct fixture *fixture, uint32_t steps)
{
    uint16_t shards = fixture->store.config.shard_count;
    for (uint32_t step = 0; step < steps; step++) {
        struct log_writer *writer = &fixture->writers[random_below(&fixture->random, shards)];
        bool is_alive = true;
        if (writer->is_synced && random_chance(&fixture->random, 1, 12))
            sim_disk_fail(fixture->world,
                          random_chance(&fixture->random, 1, 2) ? SIM_DISK_SYNC : SIM_DISK_WRITE,
                          SIM_DISK_JOURNAL, 1);
        if (random_chance(&fixture->random, 1, 10))
            is_alive = log_writer_leave(writer) == 0;
        else if (writer->left_count > 0 && random_chance(&fixture->random, 1, 6))
            log_writer_index(writer);
        else if (random_chance(&fixture->random, 1, 10))
            is_alive = sync_all(fixture);
        else
            is_alive = write_batch(fixture, writer);
        if (!is_alive)
            return false;
    }
    return true;
}

static void close_store(struct fixture *fixture, bool is_clean)
{
    for (uint16_t shard = 0; shard < fixture->store.config.shard_count; shard++) {
        struct log_writer *writer = &fixture->writers[shard];
        log_writer_deinit(writer);
        for (uint32_t index = shard; is_clean && index < PARTITIONS;
             index += fixture->store.config.shard_count)
            atomic_store(&fixture->store.tails[index], writer->committed[index] - 1);
    }
    log_store_close(&fixture->store, is_clean);
}

static void crash(struct fixture *fixture)
{
    sim_disk_fail(fixture->world, SIM_DISK_WRITE, SIM_DISK_ANY, 0);
    sim_disk_fail(fixture->world, SIM_DISK_SYNC, SIM_DISK_ANY, 0);
    sim_disk_crash(fixture->world, random_chance(&fixture->random, 1, 3) ? SIM_DISK_CRASH_PROCESS
                                                                         : SIM_DISK_CRASH_POWER);
}

/* Starts, with crashes in the middle of it. */
static void start(struct fixture *fixture, enum embedded_commit commit, uint16_t shards)
{
    for (uint32_t attempt = 0; attempt < 4; attempt++) {
        bool is_sync = random_chance(&fixture->random, 1, 2);
        if (attempt < 3 && random_chance(&fixture->random, 1, 2))
            sim_disk_fail(fixture->world, is_sync ? SIM_DISK_SYNC : SIM_DISK_WRITE, SIM_DISK_ANY,
                          random_between(&fixture->random, 1, 20));
        int result = open_store(fixture, commit, shards);
        sim_disk_fail(fixture->world, SIM_DISK_SYNC, SIM_DISK_ANY, 0);
        sim_disk_fail(fixture->world, SIM_DISK_WRITE, SIM_DISK_ANY, 0);
        if (result == 0)
            return;
        if (result != -EIO)
            fail_msg("start: %d %s", result, fixture->error);
        crash(fixture);
        sim_disk_restart(fixture->world);
    }
    fail_msg("start: %s", fixture->error);
}

static void run_seed(struct fixture *fixture, uint64_t seed)
{
    begin_world(fixture, seed);
    enum embedded_commit commit = EMBEDDED_COMMIT_SYNCED;
    bool was_clean = true;
    for (uint32_t life_number = 0; life_number < LIVES; life_number++) {
        enum embedded_commit before = commit;
        commit = random_chance(&fixture->random, 2, 3) ? EMBEDDED_COMMIT_SYNCED
                                                       : EMBEDDED_COMMIT_WRITTEN;
        start(fixture, commit, (uint16_t)random_between(&fixture->random, 1, SHARDS_MAX));
        check_recovery(fixture, before, was_clean);
        bool is_short = random_chance(&fixture->random, 1, 3);
        bool is_alive = live(fixture, (uint32_t)random_below(&fixture->random, is_short ? 3 : 60));
        was_clean = is_alive && random_chance(&fixture->random, 1, 4) && sync_all(fixture);
        /* The process may also just end: the disk goes on with what it was given. */
        bool is_crash = !was_clean && random_chance(&fixture->random, 3, 4);
        if (is_crash)
            crash(fixture);
        close_store(fixture, was_clean);
        if (is_crash)
            sim_disk_restart(fixture->world);
        assert_int_equal(sim_disk_open_count(fixture->world), 0);
    }
    end_world(fixture);
}

static void a_log_survives_what_may_happen(void **state)
{
    struct fixture *fixture = *state;
    const char *one = getenv("PENSTOCK_LOG_SEED");
    uint64_t first = one != NULL ? strtoull(one, NULL, 0) : 1;
    uint64_t last = one != NULL ? first : SEEDS;
    for (uint64_t seed = first; seed <= last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run_seed(fixture, seed);
    }
}

static int set_up(void **state)
{
    *state = calloc(1, sizeof(struct fixture));
    return 0;
}

static int tear_down(void **state)
{
    free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_log_survives_what_may_happen, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
