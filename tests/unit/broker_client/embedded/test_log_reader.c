/*
 * The log reader on the simulated disk: what it does on any, in an order of answers that only the
 * seed knows, and what it does when reads fail or bits have flipped.
 */
#include <stdio.h>

#include "core/base.h"
#include "core/disk.h"
#include "core/log.h"
#include "core/ring.h"
#include "core/ring_file.h"
#include "log_reader_fixture.h"
#include "log_reader_suite.h"
#include "log_reader_world.h"
#include "sim/disk_sim.h"
#include "sim/network.h"

enum { BLOCK_BYTES = SEGMENT_INDEX_BLOCK_BYTES };

#define SECOND_NS UINT64_C(1000000000)

static struct sim_world *world;

static const struct sim_disk_faults slow = {.read_delay_max_ns = 500000};

void log_reader_world_begin(uint64_t seed)
{
    const struct sim_options options = {.seed = seed, .start_ns = 1000, .start_wall_ms = 1000};
    world = sim_world_create(&options);
    sim_disk_set_faults(world, &slow);
}

void log_reader_world_end(void)
{
    sim_world_destroy(world);
}

const char *log_reader_world_directory(void)
{
    return "/data";
}

void log_reader_world_wait(struct ring *ring, uint64_t deadline_ns)
{
    struct ring_event event;
    int result = ring_wait(ring, deadline_ns, &event, 1);
    ps_assert(result == 0);
    if (!sim_ring_has_event(ring))
        sim_world_advance(world, ps_min_u64(deadline_ns, sim_next_event_ns(world)));
}

static const struct fixture_options small = {.seed = 100,
                                             .segments = 3,
                                             .records = 300,
                                             .payload_max = 300,
                                             .large_chance = 12,
                                             .gap_chance = 4,
                                             .cache_bytes = 16 * BLOCK_BYTES,
                                             .filter_bytes_max = 1 << 20,
                                             .reads_max = FIXTURE_PULLS};

static uint64_t lines(const struct fixture *fixture)
{
    return log_counters(fixture->store.log)->lines;
}

/* Everything of one partition, from its beginning. */
static struct fixture_pull *pull_all(struct fixture *fixture, uint32_t slot, uint16_t partition)
{
    struct fixture_pull *own = fixture_pull_make(fixture, slot, 1);
    own->pull.partition = partition;
    own->pull.from = 0;
    own->pull.records_max = 0;
    own->pull.bytes_max = 1 << 20;
    fixture_pull_start(own);
    return own;
}

/* Until then, or until there is nothing to do any more. */
static void turns_until(struct fixture *fixture, uint64_t until_ns)
{
    for (uint32_t turn = 0; turn < 100000 && sim_world_now_ns(world) < until_ns &&
                            !log_reader_is_idle(fixture->reader);
         turn++)
        fixture_turn(fixture);
    assert_true(sim_world_now_ns(world) >= until_ns || log_reader_is_idle(fixture->reader));
}

static void a_read_that_fails_is_tried_again_after_a_pause(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 24; nth += 2) {
        struct fixture_options options = small;
        options.seed = 100 + nth % 3;
        struct fixture *fixture = fixture_create(&options);
        uint64_t begin_ns = sim_world_now_ns(world);
        sim_disk_fail(world, SIM_DISK_READ, SIM_DISK_ANY, nth);
        for (uint32_t slot = 0; slot < 3; slot++)
            fixture_pull_start(fixture_pull_make(fixture, slot, 0));
        pull_all(fixture, 3, 0);
        pull_all(fixture, 4, 1);
        fixture_finish(fixture);
        assert_int_equal(log_reader_counters(fixture->reader)->read_failures, 1);
        /* One that was fetched ahead fails before anybody asks for it. */
        assert_true(lines(fixture) <= 1);
        assert_true(lines(fixture) == 0 || sim_world_now_ns(world) - begin_ns >= SECOND_NS / 10);
        fixture_destroy(fixture);
    }
}

static void a_disk_that_fails_often_slows_pulls_and_hides_nothing(void **state)
{
    (void)state;
    struct sim_disk_faults faults = slow;
    faults.read_error = 65536 / 10;
    for (uint64_t seed = 200; seed < 204; seed++) {
        struct fixture_options options = small;
        options.seed = seed;
        struct fixture *fixture = fixture_create(&options);
        sim_disk_set_faults(world, &faults);
        for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++)
            fixture_pull_start(fixture_pull_make(fixture, slot, 0));
        fixture_finish(fixture);
        assert_true(log_reader_counters(fixture->reader)->read_failures > 0);
        assert_true(lines(fixture) <= options.segments);
        fixture_destroy(fixture);
    }
}

static void a_damaged_record_is_waited_for_and_others_go_on(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(&small);
    const struct fixture_partition *part = &fixture->partitions[0];
    uint32_t at = 0;
    while (part->records[at].segment == 0 || part->records[at].payload_bytes < 100)
        at++;
    const struct fixture_record *damaged = &part->records[at];
    char name[SEGMENT_NAME_BYTES];
    segment_name(fixture->segments[damaged->segment].number, "seg", name);
    uint64_t place = damaged->offset + 88 + 50; /* in its payload */
    assert_true(sim_disk_flip_bit(world, name, place, 3));
    struct fixture_pull *own = pull_all(fixture, 0, 0);
    struct fixture_pull *other = pull_all(fixture, 1, 1);
    turns_until(fixture, sim_world_now_ns(world) + 60 * SECOND_NS);
    assert_true(other->is_done);
    assert_false(own->is_done);
    assert_int_equal(own->pull.from, damaged->sequence);
    /* 100 ms, doubling to 5 s: some 17 attempts in a minute. */
    uint64_t attempts = log_reader_counters(fixture->reader)->damaged_blocks;
    assert_true(attempts >= 12 && attempts <= 20);
    assert_int_equal(lines(fixture), 1);
    assert_true(log_reader_deadline_ns(fixture->reader) != UINT64_MAX);
    assert_true(sim_disk_flip_bit(world, name, place, 3));
    fixture_finish(fixture);
    assert_int_equal(log_reader_deadline_ns(fixture->reader), UINT64_MAX);
    fixture_destroy(fixture);
}

/* Else pulls that wait for damaged segments would have all the places, and nobody read any other.
 */
static void a_pull_that_waits_for_damage_holds_no_files(void **state)
{
    (void)state;
    struct fixture_options options = small;
    options.segments_open_max = 1;
    struct fixture *fixture = fixture_create(&options);
    const struct fixture_record *damaged = &fixture->partitions[0].records[3];
    char name[SEGMENT_NAME_BYTES];
    segment_name(fixture->segments[0].number, "seg", name);
    assert_true(sim_disk_flip_bit(world, name, damaged->offset, 0));
    struct fixture_pull *own = pull_all(fixture, 0, 0);
    turns_until(fixture, sim_world_now_ns(world) + SECOND_NS);
    assert_false(own->is_done);
    struct fixture_pull *other = pull_all(fixture, 1, 1);
    turns_until(fixture, sim_world_now_ns(world) + 120 * SECOND_NS);
    assert_true(other->is_done);
    assert_false(own->is_done); /* after more attempts than an answer looks at segments */
    assert_int_equal(own->answers, 1);
    assert_int_equal(lines(fixture), 1);
    assert_true(sim_disk_flip_bit(world, name, damaged->offset, 0));
    fixture_finish(fixture);
    fixture_destroy(fixture);
}

static void a_pull_that_waits_for_damage_goes_on_when_it_is_forgotten(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(&small);
    const struct fixture_record *damaged = &fixture->partitions[0].records[3];
    char name[SEGMENT_NAME_BYTES];
    segment_name(fixture->segments[0].number, "seg", name);
    assert_true(sim_disk_flip_bit(world, name, damaged->offset, 0));
    struct fixture_pull *own = pull_all(fixture, 0, 0);
    turns_until(fixture, sim_world_now_ns(world) + SECOND_NS);
    assert_false(own->is_done);
    fixture_forget(fixture, 0, 1);
    fixture_finish(fixture);
    assert_true(own->removed > 0);
    fixture_destroy(fixture);
}

static void move_index(const struct fixture *fixture, bool is_away)
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(fixture->segments[0].number, "idx", name);
    int result = is_away ? disk_rename(fixture->directory, name, "away")
                         : disk_rename(fixture->directory, "away", name);
    assert_int_equal(result, 0);
}

static void files_that_cannot_be_opened_are_tried_again(void **state)
{
    (void)state;
    struct fixture_options options = small;
    options.segments_open_max = 2;
    struct fixture *fixture = fixture_create(&options);
    const struct log_reader_counters *counters = log_reader_counters(fixture->reader);
    move_index(fixture, true);
    const struct fixture_pull *own = pull_all(fixture, 0, 0);
    turns_until(fixture, sim_world_now_ns(world) + SECOND_NS);
    assert_false(own->is_done);
    assert_true(counters->read_failures > 1);
    assert_int_equal(lines(fixture), 1);
    move_index(fixture, false);
    fixture_finish(fixture);
    assert_true(own->given > 0);
    fixture_destroy(fixture);
}

/* As connections may take them all for a while: that is no failure of the disk. */
static void descriptors_that_are_missing_are_waited_for(void **state)
{
    (void)state;
    struct fixture_options options = small;
    options.segments_open_max = 2;
    struct fixture *fixture = fixture_create(&options);
    sim_disk_set_descriptors(world, sim_disk_open_count(world) + 1);
    const struct fixture_pull *own = pull_all(fixture, 0, 0);
    turns_until(fixture, sim_world_now_ns(world) + SECOND_NS);
    assert_false(own->is_done);
    assert_int_equal(fixture->store.open_count, 0);
    sim_disk_set_descriptors(world, SIM_DISK_DESCRIPTORS_MAX);
    fixture_finish(fixture);
    assert_true(own->given > 0);
    assert_int_equal(log_reader_counters(fixture->reader)->read_failures, 0);
    assert_int_equal(lines(fixture), 0);
    fixture_destroy(fixture);
}

/* Not of the pulls that look into the directory then, as if there was none. */
static void a_damaged_filter_is_not_used(void **state)
{
    (void)state;
    struct fixture_options options = small;
    options.records = 2000;
    struct fixture *fixture = fixture_create(&options);
    const struct log_reader_counters *counters = log_reader_counters(fixture->reader);
    for (uint32_t segment = 0; segment < options.segments; segment++) {
        const struct segment_index *index = atomic_load(&fixture->segments[segment].index);
        char name[SEGMENT_NAME_BYTES];
        segment_name(fixture->segments[segment].number, "idx", name);
        assert_true(sim_disk_flip_bit(world, name, (uint64_t)index->filter_block * BLOCK_BYTES, 0));
    }
    for (uint32_t round = 0; round < 6; round++) {
        struct fixture_pull *own = fixture_pull_make(fixture, 0, 2);
        own->topics[0] = (struct broker_bytes){"nobody/publishes/this", 21};
        own->pull.hint.topic_count = 1;
        own->pull.from = 0;
        fixture_pull_start(own);
        fixture_finish(fixture);
        while (!log_reader_is_idle(fixture->reader))
            fixture_turn(fixture);
    }
    assert_true(counters->damaged_blocks > 0);
    assert_int_equal(counters->filters_loaded, 0);
    assert_int_equal(counters->filter_bytes, 0);
    fixture_destroy(fixture);
}

/* Whatever bit flips, in data or index: no answer is ever wrong, and the one that needs the bit
 * comes when it is right again. */
static void flipped_bits_never_give_a_wrong_answer(void **state)
{
    (void)state;
    for (uint64_t seed = 300; seed < 308; seed++) {
        struct fixture_options options = small;
        options.seed = seed;
        options.payload_max = 40;
        struct fixture *fixture = fixture_create(&options);
        log_reader_destroy(fixture->reader);
        for (uint32_t flip = 0; flip < 6; flip++) {
            uint32_t segment = (uint32_t)random_below(&fixture->random, options.segments);
            bool is_index = random_chance(&fixture->random, 1, 4);
            uint64_t bytes = is_index ? 4 * (uint64_t)BLOCK_BYTES : fixture->data_ends[segment];
            uint64_t offset = random_below(&fixture->random, bytes);
            uint32_t bit = (uint32_t)random_below(&fixture->random, 8);
            char name[SEGMENT_NAME_BYTES];
            segment_name(fixture->segments[segment].number, is_index ? "idx" : "seg", name);
            fixture_reader_create(fixture);
            assert_true(sim_disk_flip_bit(world, name, offset, bit));
            for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++)
                fixture_pull_start(fixture_pull_make(fixture, slot, slot % 2));
            turns_until(fixture, sim_world_now_ns(world) + 3 * SECOND_NS);
            assert_true(sim_disk_flip_bit(world, name, offset, bit));
            fixture_finish(fixture);
            for (uint32_t turn = 0; !log_reader_is_idle(fixture->reader) && turn < 1000; turn++)
                fixture_turn(fixture);
            log_reader_destroy(fixture->reader);
        }
        fixture->reader = NULL;
        fixture_destroy(fixture);
    }
}

/* Bits of headers, of which a walk believes some before it can check them. */
static void flipped_headers_hide_no_record_from_a_walk(void **state)
{
    (void)state;
    struct fixture_options options = small;
    options.seed = 400;
    options.payload_max = 30;
    options.large_chance = 0;
    struct fixture *fixture = fixture_create(&options);
    log_reader_destroy(fixture->reader);
    for (uint32_t byte = 0; byte < 88; byte++) {
        uint16_t partition = (uint16_t)(byte % 3);
        const struct fixture_record *record =
            &fixture->partitions[partition].records[random_below(&fixture->random, 250)];
        uint32_t bit = (uint32_t)random_below(&fixture->random, 8);
        char name[SEGMENT_NAME_BYTES];
        segment_name(fixture->segments[record->segment].number, "seg", name);
        fixture_reader_create(fixture);
        assert_true(sim_disk_flip_bit(world, name, record->offset + byte, bit));
        for (uint16_t slot = 0; slot < 3; slot++)
            pull_all(fixture, slot, slot);
        turns_until(fixture, sim_world_now_ns(world) + SECOND_NS);
        assert_false(fixture->pulls[partition].is_done);
        assert_true(fixture->pulls[partition].pull.from <= record->sequence);
        assert_true(sim_disk_flip_bit(world, name, record->offset + byte, bit));
        fixture_finish(fixture);
        for (uint32_t turn = 0; !log_reader_is_idle(fixture->reader) && turn < 1000; turn++)
            fixture_turn(fixture);
        log_reader_destroy(fixture->reader);
    }
    fixture->reader = NULL;
    fixture_destroy(fixture);
}

/* A record that says it is another partition's, or has a sequence that fits into a gap: the two
 * that only the index can contradict. */
static void a_record_that_denies_itself_is_missed(void **state)
{
    (void)state;
    struct fixture_options options = small;
    options.seed = 500;
    options.payload_max = 30;
    options.large_chance = 0;
    options.gap_chance = 400;
    struct fixture *fixture = fixture_create(&options);
    log_reader_destroy(fixture->reader);
    for (uint32_t round = 0; round < 120; round++) {
        const struct fixture_record *record =
            &fixture->partitions[0].records[random_below(&fixture->random, 250)];
        uint64_t byte = record->offset + (round % 2 == 0 ? 14 : 16);
        uint32_t bit = (uint32_t)random_below(&fixture->random, round % 2 == 0 ? 2 : 6);
        char name[SEGMENT_NAME_BYTES];
        segment_name(fixture->segments[record->segment].number, "seg", name);
        fixture_reader_create(fixture);
        assert_true(sim_disk_flip_bit(world, name, byte, bit));
        for (uint32_t slot = 0; slot < 3; slot++) {
            struct fixture_pull *own = fixture_pull_make(fixture, slot, 1);
            own->pull.partition = 0;
            own->pull.from = slot == 0 ? 0 : record->sequence + 1 - slot;
            fixture_pull_start(own);
        }
        turns_until(fixture, sim_world_now_ns(world) + SECOND_NS);
        for (uint32_t slot = 0; slot < 3; slot++) {
            assert_false(fixture->pulls[slot].is_done);
            assert_true(fixture->pulls[slot].pull.from <= record->sequence);
        }
        assert_true(sim_disk_flip_bit(world, name, byte, bit));
        fixture_finish(fixture);
        for (uint32_t turn = 0; !log_reader_is_idle(fixture->reader) && turn < 1000; turn++)
            fixture_turn(fixture);
        log_reader_destroy(fixture->reader);
    }
    fixture->reader = NULL;
    fixture_destroy(fixture);
}

static void want_of_memory_delays_and_hides_nothing(void **state)
{
    (void)state;
    struct fixture *fixture = fixture_create(&small);
    log_reader_destroy(fixture->reader);
    uint64_t failures = fixture->heap.failures;
    for (uint64_t nth = 1; nth < 400; nth += nth < 60 ? 1 : 17) {
        fixture_reader_create(fixture);
        struct fixture_pull *own = pull_all(fixture, 0, 0);
        struct fixture_pull *hinted = fixture_pull_make(fixture, 1, 2);
        hinted->pull.partition = 1;
        fixture_pull_start(hinted);
        heap_fail_at(&fixture->heap, nth);
        fixture_finish(fixture);
        assert_true(own->given > 0);
        heap_fail_at(&fixture->heap, 0);
        for (uint32_t turn = 0; !log_reader_is_idle(fixture->reader) && turn < 1000; turn++)
            fixture_turn(fixture);
        log_reader_destroy(fixture->reader);
    }
    assert_true(fixture->heap.failures > failures + 50);
    fixture->reader = NULL;
    fixture_destroy(fixture);
}

/* Requests of somebody else on the same ring. */
static void fill_ring(struct fixture *fixture, struct ring_file_request *requests, char *bytes)
{
    for (uint32_t at = 0; at < RING_FILES_MAX; at++) {
        requests[at] = (struct ring_file_request){.fd = fixture->segments[0].fd,
                                                  .kind = RING_FILE_READ,
                                                  .buffer = &bytes[at],
                                                  .bytes = 1,
                                                  .owner = requests};
        assert_int_equal(ring_file_submit(fixture->ring, &requests[at]), 0);
    }
}

static void a_full_ring_is_tried_again_soon(void **state)
{
    (void)state;
    static struct ring_file_request requests[RING_FILES_MAX];
    static char bytes[RING_FILES_MAX];
    struct fixture *fixture = fixture_create(&small);
    fill_ring(fixture, requests, bytes);
    pull_all(fixture, 0, 0);
    fixture_pull_start(fixture_pull_make(fixture, 1, 2));
    log_reader_turn(fixture->reader, 512, sim_world_now_ns(world));
    assert_int_equal(log_reader_counters(fixture->reader)->blocks_fetched, 0);
    assert_true(log_reader_deadline_ns(fixture->reader) <= sim_world_now_ns(world) + 1000000);
    for (uint32_t taken = 0; taken < RING_FILES_MAX;) {
        const struct ring_file_request *request = ring_file_take(fixture->ring);
        if (request == NULL)
            log_reader_world_wait(fixture->ring, sim_world_now_ns(world) + SECOND_NS);
        else
            taken += request->owner == requests;
    }
    fixture_finish(fixture);
    assert_int_equal(lines(fixture), 0);
    fixture_destroy(fixture);
}

static void what_is_under_way_ends_with_the_ring(void **state)
{
    (void)state;
    for (uint32_t turns = 0; turns < 12; turns++) {
        struct fixture *fixture = fixture_create(&small);
        for (uint32_t slot = 0; slot < FIXTURE_PULLS; slot++)
            fixture_pull_start(fixture_pull_make(fixture, slot, 0));
        for (uint32_t turn = 0; turn < turns; turn++)
            fixture_turn(fixture);
        fixture_destroy(fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_read_that_fails_is_tried_again_after_a_pause),
        cmocka_unit_test(a_disk_that_fails_often_slows_pulls_and_hides_nothing),
        cmocka_unit_test(a_damaged_record_is_waited_for_and_others_go_on),
        cmocka_unit_test(a_pull_that_waits_for_damage_holds_no_files),
        cmocka_unit_test(a_pull_that_waits_for_damage_goes_on_when_it_is_forgotten),
        cmocka_unit_test(files_that_cannot_be_opened_are_tried_again),
        cmocka_unit_test(descriptors_that_are_missing_are_waited_for),
        cmocka_unit_test(a_damaged_filter_is_not_used),
        cmocka_unit_test(flipped_bits_never_give_a_wrong_answer),
        cmocka_unit_test(flipped_headers_hide_no_record_from_a_walk),
        cmocka_unit_test(a_record_that_denies_itself_is_missed),
        cmocka_unit_test(want_of_memory_delays_and_hides_nothing),
        cmocka_unit_test(a_full_ring_is_tried_again_soon),
        cmocka_unit_test(what_is_under_way_ends_with_the_ring),
    };
    return log_reader_suite_run() + cmocka_run_group_tests(tests, NULL, NULL);
}
