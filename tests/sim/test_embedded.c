/*
 * The embedded broker on the simulated disk: what was acknowledged is there after a stop, a crash
 * and a loss of power, with other shards too, and whatever the disk refuses meanwhile.
 */
#include "sim/embedded_workload.h"

enum { SEEDS = 40, STEPS = 150, MS = 1000000 };

static const struct sim_disk_faults slow = {
    .read_delay_max_ns = MS, .write_delay_max_ns = MS, .sync_delay_max_ns = 3 * MS};

static void everything_is_there_after_a_stop_with_any_shards(void **state)
{
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct embedded_fixture *f = fixture_begin(commit + 1, (enum embedded_commit)commit);
        sim_disk_set_faults(f->world, &slow);
        for (uint16_t shards = 1; shards <= FIXTURE_SHARDS_MAX; shards++) {
            fixture_start(f, shards);
            assert_true(shards == 1 || embedded_store_recovery(f->store)->was_clean);
            fixture_check(f);
            fixture_run(f, STEPS);
            fixture_settle(f);
            fixture_check(f);
            fixture_stop(f, true);
        }
        fixture_start(f, 2);
        fixture_check(f);
        assert_int_equal(f->unhealthy, 0);
        assert_true(f->acknowledged > 1000);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

/* Crashes at drawn instants, twice, and goes on with other shards. */
static void crash_often(enum embedded_commit commit, enum sim_disk_crash_kind kind)
{
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct embedded_fixture *f = fixture_begin(seed, commit);
        sim_disk_set_faults(f->world, &slow);
        for (uint32_t crash = 0; crash < 2; crash++) {
            fixture_start(f, (uint16_t)random_between(&f->random, 1, FIXTURE_SHARDS_MAX));
            fixture_run(f, (uint32_t)random_between(&f->random, 1, 2 * STEPS));
            fixture_crash(f, kind);
        }
        fixture_start(f, (uint16_t)random_between(&f->random, 1, FIXTURE_SHARDS_MAX));
        fixture_check(f);
        fixture_run(f, 10);
        fixture_settle(f);
        fixture_check(f);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

static void synced_a_loss_of_power_takes_nothing_acknowledged(void **state)
{
    (void)state;
    crash_often(EMBEDDED_COMMIT_SYNCED, SIM_DISK_CRASH_POWER);
}

static void written_the_death_of_the_process_takes_nothing_acknowledged(void **state)
{
    (void)state;
    crash_often(EMBEDDED_COMMIT_WRITTEN, SIM_DISK_CRASH_PROCESS);
}

static void a_failed_write_or_sync_heals_and_loses_nothing(void **state)
{
    (void)state;
    static const enum sim_disk_operation operations[] = {SIM_DISK_WRITE, SIM_DISK_SYNC};
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        for (size_t i = 0; i < ps_array_count(operations); i++) {
            struct embedded_fixture *f = fixture_begin(i + 1, (enum embedded_commit)commit);
            sim_disk_set_faults(f->world, &slow);
            fixture_start(f, 1);
            fixture_run(f, STEPS);
            /* Of the journal alone: the spare segment is there. */
            sim_disk_fail(f->world, operations[i], SIM_DISK_JOURNAL, 1);
            fixture_run(f, STEPS);
            for (uint32_t steps = 0; f->unhealthy == 0 || f->healthy < f->unhealthy; steps++) {
                assert_true(steps < FIXTURE_STEPS_MAX);
                fixture_run(f, 1);
            }
            assert_true(broker_is_healthy(f->brokers[0]));
            assert_true(broker_counters(f->brokers[0])->disk_failures > 0);
            fixture_settle(f);
            fixture_check(f);
            fixture_stop(f, true);
            fixture_start(f, 2);
            fixture_check(f);
            fixture_stop(f, true);
            fixture_end(f);
        }
    }
}

/* A power failure on top: a failed sync has marked pages clean that never reached the disk. */
static void a_disk_that_keeps_failing_loses_nothing_acknowledged(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct embedded_fixture *f = fixture_begin(seed, EMBEDDED_COMMIT_SYNCED);
        struct sim_disk_faults faults = slow;
        sim_disk_set_faults(f->world, &faults);
        fixture_start(f, 2);
        faults.write_error = 65536 / 50;
        faults.sync_error = 65536 / 50;
        faults.error_classes = SIM_DISK_JOURNAL | SIM_DISK_INDEX;
        sim_disk_set_faults(f->world, &faults);
        fixture_run(f, 4 * STEPS);
        sim_disk_set_faults(f->world, &slow);
        if (seed % 2 == 0)
            fixture_settle(f);
        fixture_crash(f, SIM_DISK_CRASH_POWER);
        fixture_start(f, 1);
        fixture_check(f);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

/* What is to be written again for another segment stays in the one before until it is. */
static void written_a_process_that_dies_when_a_write_has_failed_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct embedded_fixture *f = fixture_begin(seed, EMBEDDED_COMMIT_WRITTEN);
        sim_disk_set_faults(f->world, &slow);
        if (seed % 2 == 0) /* one that is synced in part; else it is written again to several */
            f->config.segment_bytes = 1 << 20;
        fixture_start(f, 1);
        fixture_run(f, 4 * STEPS);
        sim_disk_fail(f->world, SIM_DISK_WRITE, SIM_DISK_JOURNAL, 1);
        for (uint32_t steps = 0; f->unhealthy == 0; steps++) {
            assert_true(steps < FIXTURE_STEPS_MAX);
            fixture_run(f, 1);
        }
        for (uint64_t left = random_below(&f->random, 40); left != 0; left--)
            fixture_step(f);
        fixture_crash(f, SIM_DISK_CRASH_PROCESS);
        fixture_start(f, 1);
        fixture_check(f);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

static void a_full_disk_stops_acknowledgements_and_heals(void **state)
{
    (void)state;
    for (unsigned commit = EMBEDDED_COMMIT_SYNCED; commit <= EMBEDDED_COMMIT_MEMORY; commit++) {
        struct embedded_fixture *f = fixture_begin(7, (enum embedded_commit)commit);
        sim_disk_set_faults(f->world, &slow);
        fixture_start(f, 1);
        fixture_run(f, 20);
        sim_disk_set_capacity(f->world, sim_disk_used_bytes(f->world));
        for (uint32_t steps = 0; f->unhealthy == 0; steps++) {
            assert_true(steps < FIXTURE_STEPS_MAX);
            fixture_run(f, 1);
        }
        fixture_run(f, STEPS);
        uint32_t acknowledged = f->acknowledged;
        fixture_run(f, STEPS);
        assert_int_equal(f->acknowledged, acknowledged);
        assert_false(broker_is_healthy(f->brokers[0]));
        fixture_check(f); /* what is there is served */
        sim_disk_set_capacity(f->world, UINT64_MAX);
        fixture_settle(f);
        assert_true(f->acknowledged > acknowledged);
        assert_true(broker_is_healthy(f->brokers[0]));
        fixture_check(f);
        fixture_stop(f, true);
        fixture_start(f, 3);
        fixture_check(f);
        fixture_stop(f, true);
        fixture_end(f);
    }
}

static void a_record_larger_than_a_segment_has_one_of_its_own(void **state)
{
    (void)state;
    struct embedded_fixture *f = fixture_begin(9, EMBEDDED_COMMIT_SYNCED);
    f->config.segment_bytes = 65536;
    fixture_start(f, 1);
    fixture_run(f, 20);
    fixture_settle(f);
    char *payload = calloc(1, 900000);
    assert_non_null(payload);
    for (uint32_t i = 0; i < 3; i++) {
        uint16_t partition = (uint16_t)i;
        uint32_t number = f->next_number[partition]++;
        memcpy(payload, &number, sizeof(number));
        const struct record_source source = {.topic = "large",
                                             .topic_bytes = 5,
                                             .payload = payload,
                                             .payload_bytes = 900000,
                                             .flags = 1};
        struct fixture_append *own = &f->appends[0];
        memset(&own->append, 0, sizeof(own->append));
        own->append.on_done = fixture_on_appended;
        own->append.partition = partition;
        own->append.count = 1;
        own->append.records[0] = record_create(&f->heap, &source);
        own->first = number;
        own->is_free = false;
        assert_int_equal(broker_append(f->brokers[0], &own->append), 0);
        fixture_settle(f);
        fixture_run(f, 20);
        fixture_settle(f);
    }
    free(payload);
    assert_int_equal(f->unhealthy, 0);
    fixture_check(f);
    fixture_crash(f, SIM_DISK_CRASH_POWER);
    fixture_start(f, 2);
    fixture_check(f);
    fixture_stop(f, true);
    fixture_end(f);
}

static void fixture_on_repeated(struct broker_append *append)
{
    struct fixture_append *own = ps_container_of(append, struct fixture_append, append);
    fixture_release(own->fixture, own);
}

/* One record of a fixed id; the answer is the caller's to look at. */
static struct broker_result append_one(struct embedded_fixture *f, uint32_t number)
{
    struct fixture_append own = {.fixture = f};
    own.append.on_done = fixture_on_repeated;
    own.append.partition = 0;
    own.append.count = 1;
    own.append.records[0] = fixture_record(f, number);
    assert_int_equal(broker_append(f->brokers[0], &own.append), 0);
    for (uint32_t steps = 0; !own.is_free; steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
    return own.append.results[0];
}

/* [MQTT-4.3.3-2]: its publisher may come back long after the window. */
static void an_id_from_before_a_crash_is_known_however_late(void **state)
{
    (void)state;
    struct embedded_fixture *f = fixture_begin(77, EMBEDDED_COMMIT_SYNCED);
    fixture_start(f, 1);
    struct broker_result first = append_one(f, 5);
    assert_int_equal(first.status, BROKER_OK);
    fixture_crash(f, SIM_DISK_CRASH_POWER);
    sim_world_advance(f->world, sim_world_now_ns(f->world) + 3600 * 1000000000ULL);
    fixture_start(f, 2);
    struct broker_result again = append_one(f, 5);
    assert_int_equal(again.status, BROKER_DUPLICATE);
    assert_true(again.sequence == first.sequence);
    assert_int_equal(append_one(f, 6).status, BROKER_OK);
    fixture_settle(f);
    fixture_stop(f, true);
    fixture_end(f);
}

struct lagging {
    struct broker_append append;
    struct lagging_test *test;
};

/* Many records of one partition, and its channel. */
struct lagging_test {
    struct embedded_fixture *f;
    struct broker_pull channel;
    struct lagging appends[24];
    uint32_t done;
    uint64_t fed;
};

static void on_lagging(struct broker_append *append)
{
    struct lagging *own = ps_container_of(append, struct lagging, append);
    own->test->done++;
    for (uint32_t i = 0; i < append->count; i++)
        record_release(&own->test->f->heap, append->records[i]);
}

static void on_fed(struct broker_pull *pull)
{
    struct lagging_test *test = pull->request.owner;
    test->fed += pull->count;
    pull->from = pull->next;
    assert_int_equal(broker_pull(test->f->brokers[0], pull), 0);
}

/* Subscribers would end up reading from the disk else. */
static void a_partition_is_not_far_ahead_of_its_channel(void **state)
{
    (void)state;
    static struct lagging_test test;
    struct embedded_fixture *f = fixture_begin(3, EMBEDDED_COMMIT_SYNCED);
    f->config.segment_bytes = 4 << 20;
    f->config.tail_bytes = 32 << 20;
    fixture_start(f, 1);
    const struct sim_disk_faults slower = {.sync_delay_max_ns = 50 * MS};
    sim_disk_set_faults(f->world, &slower);
    test = (struct lagging_test){.f = f,
                                 .channel = {.request = {.owner = &test},
                                             .on_done = on_fed,
                                             .from = 1,
                                             .bytes_max = 1 << 20,
                                             .wait = true}};
    test.channel.hint.all = true;
    assert_int_equal(broker_pull(f->brokers[0], &test.channel), 0);
    for (uint32_t i = 0; i < ps_array_count(test.appends); i++) {
        struct lagging *own = &test.appends[i];
        own->test = &test;
        own->append.on_done = on_lagging;
        own->append.count = BROKER_APPEND_MAX;
        for (uint32_t at = 0; at < BROKER_APPEND_MAX; at++)
            own->append.records[at] = fixture_record(f, i * BROKER_APPEND_MAX + at);
        assert_int_equal(broker_append(f->brokers[0], &own->append), 0);
    }
    const struct broker_counters *counters = broker_counters(f->brokers[0]);
    for (uint32_t steps = 0; test.done < ps_array_count(test.appends); steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
    assert_true(counters->channel_waits > 0);
    fixture_settle(f);
    for (uint32_t steps = 0; test.fed < counters->appended_records; steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
    fixture_stop(f, true);
    fixture_end(f);
}

/* Nothing but the turns themselves and the disk, which is quick here, is waited for: an idle
 * gateway has no event that would bring the next turn. */
static void a_channel_that_begins_far_behind_waits_for_no_tick(void **state)
{
    (void)state;
    static struct lagging_test test;
    struct embedded_fixture *f = fixture_begin(4, EMBEDDED_COMMIT_SYNCED);
    f->config.segment_bytes = 64 << 10;
    f->config.tail_bytes = 256 << 10;
    fixture_start(f, 1);
    fixture_run(f, 400);
    fixture_settle(f);
    fixture_stop(f, true);
    fixture_start(f, 1);
    uint64_t tail = f->next_number[0];
    test = (struct lagging_test){.f = f,
                                 .channel = {.request = {.owner = &test},
                                             .on_done = on_fed,
                                             .from = 1,
                                             .bytes_max = 64 << 10,
                                             .wait = true}};
    test.channel.hint.all = true;
    uint64_t begun_ns = sim_world_now_ns(f->world);
    assert_int_equal(broker_pull(f->brokers[0], &test.channel), 0);
    for (uint32_t steps = 0; test.fed < tail; steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
    assert_true(broker_counters(f->brokers[0])->blocks_fetched > 0);
    assert_true(sim_world_now_ns(f->world) - begun_ns < FIXTURE_STEP_MS * MS);
    fixture_stop(f, true);
    fixture_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_there_after_a_stop_with_any_shards),
        cmocka_unit_test(synced_a_loss_of_power_takes_nothing_acknowledged),
        cmocka_unit_test(written_the_death_of_the_process_takes_nothing_acknowledged),
        cmocka_unit_test(a_failed_write_or_sync_heals_and_loses_nothing),
        cmocka_unit_test(a_disk_that_keeps_failing_loses_nothing_acknowledged),
        cmocka_unit_test(written_a_process_that_dies_when_a_write_has_failed_loses_nothing),
        cmocka_unit_test(a_full_disk_stops_acknowledgements_and_heals),
        cmocka_unit_test(a_record_larger_than_a_segment_has_one_of_its_own),
        cmocka_unit_test(an_id_from_before_a_crash_is_known_however_late),
        cmocka_unit_test(a_partition_is_not_far_ahead_of_its_channel),
        cmocka_unit_test(a_channel_that_begins_far_behind_waits_for_no_tick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
