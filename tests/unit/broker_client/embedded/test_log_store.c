/*
 * The log store on the simulated disk: who may open a directory, what a start says of what it
 * finds, numbers, retention, removal, deduplication ids, and repair.
 */
#include "log_store_fixture.h"

/* ---- who may open it ---- */

static void a_second_gateway_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    struct log_store first = fixture->store;
    configure(fixture);
    refused(fixture, -EWOULDBLOCK, "another gateway has it");
    fixture->store = first;
    close_store(fixture, true);
    open_again(fixture);
    close_store(fixture, true);
}

static void what_is_fixed_at_creation_is_checked(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    assert_int_equal(fixture->store.hash_seed, 0xfeed);
    close_store(fixture, true);
    configure(fixture);
    fixture->store.config.partition_count = PARTITIONS + 1;
    refused(fixture, -EINVAL, "has 4 partitions, not 5");
    configure(fixture);
    fixture->store.config.partition_levels = 3;
    refused(fixture, -EINVAL, "broker.partition_levels");
    configure(fixture);
    fixture->store.config.random_seed = 1;
    assert_int_equal(try_open(fixture), 0);
    assert_int_equal(fixture->store.hash_seed, 0xfeed);
    close_store(fixture, true);
}

static void a_manifest_is_believed_only_as_it_was_written(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 0, 1, 1000);
    close_store(fixture, true);
    for (uint32_t at = 0; at < 90; at++) {
        if (!sim_disk_flip_bit(fixture->world, "manifest", at, 0))
            break;
        configure(fixture);
        int result = try_open(fixture);
        assert_true(result == -EBADMSG || result == -EPROTONOSUPPORT);
        assert_true(sim_disk_flip_bit(fixture->world, "manifest", at, 0));
    }
    remove_file("/data", "manifest");
    configure(fixture);
    refused(fixture, -EBADMSG, "manifest: missing");
}

/* ---- numbers ---- */

static void lost_numbers_are_refused_and_repaired_above_everything(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 2, 2, 1000);
    uint64_t next = fixture->writer.committed[2];
    close_store(fixture, true);
    remove_file("/data", "numbers");
    configure(fixture);
    refused(fixture, -EBADMSG, "numbers: missing");
    configure(fixture);
    fixture->store.config.is_repair = true;
    assert_int_equal(try_open(fixture), 0);
    assert_true(fixture->store.partitions[2].next >= next + LOG_STORE_RESERVE);
    assert_int_equal(fixture->store.partitions[2].jumps.jumps[0].from, next);
    assert_true(fixture->store.run > 1);
    close_store(fixture, true);
    assert_true(sim_disk_flip_bit(fixture->world, "numbers", 20, 1));
    configure(fixture);
    refused(fixture, -EBADMSG, "numbers: damaged");
}

static void numbers_of_garbage_are_damaged(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 2, 2, 1000);
    close_store(fixture, true);
    assert_true(sim_disk_flip_bit(fixture->world, "numbers", 8, 4)); /* of the format */
    configure(fixture);
    refused(fixture, -EBADMSG, "numbers: damaged, although there are segments; --repair");
}

static void a_long_tail_that_is_cut_is_a_warning(void **state)
{
    struct fixture *fixture = *state;
    configure(fixture);
    fixture->store.config.commit = EMBEDDED_COMMIT_MEMORY;
    assert_int_equal(try_open(fixture), 0);
    write_batch(fixture, 3, 1000);
    uint64_t offset = fixture->writer.offset;
    for (uint32_t index = 0; index < 3; index++)
        write_batch(fixture, 3, 1000);
    uint64_t number = fixture->writer.segment->number;
    crash(fixture);
    flip(fixture, number, "seg", offset + 500);
    open_again(fixture);
    assert_true(has_line(fixture, "level=warning event=log_tail_cut"));
    close_store(fixture, true);
}

static void numbers_go_on_after_the_last_record(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    assert_int_equal(fixture->store.partitions[1].next, 1);
    assert_int_equal(fixture->store.partitions[1].reserved, 1 + LOG_STORE_RESERVE);
    write_batch(fixture, 1, 1000);
    crash(fixture);
    open_again(fixture);
    assert_false(fixture->store.recovery.was_clean);
    assert_int_equal(fixture->store.partitions[1].next, 1 + BATCH);
    assert_int_equal(fixture->store.partitions[1].jumps.count, 0);
    assert_int_equal(atomic_load(&fixture->store.tails[1]), BATCH);
    assert_int_equal(fixture->store.recovery.records, BATCH);
    assert_int_equal(fixture->store.recovery.segments_scanned, 1);
    close_store(fixture, true);
}

static void after_unsynced_commits_numbers_jump_and_never_fall_back(void **state)
{
    struct fixture *fixture = *state;
    configure(fixture);
    fixture->store.config.commit = EMBEDDED_COMMIT_MEMORY;
    assert_int_equal(try_open(fixture), 0);
    write_batch(fixture, 1, 1000);
    assert_int_equal(log_store_reserve(&fixture->store, 1, 5000000), 0);
    assert_int_equal(log_store_reserve(&fixture->store, 1, 4000000), 0);
    crash(fixture);
    open_again(fixture);
    assert_int_equal(fixture->store.partitions[1].next, 5000000);
    assert_int_equal(fixture->store.partitions[1].jumps.count, 1);
    assert_int_equal(fixture->store.partitions[1].jumps.jumps[0].from, 1 + BATCH);
    assert_int_equal(fixture->store.partitions[1].jumps.jumps[0].to, 5000000);
    assert_int_equal(fixture->store.partitions[0].next, 1 + LOG_STORE_RESERVE);
    crash(fixture); /* nothing was written, and this run's commits are synced */
    open_again(fixture);
    assert_int_equal(fixture->store.partitions[1].next, 5000000);
    close_store(fixture, true);
}

static void a_clean_end_is_believed_and_checked(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t offset = fixture->writer.offset; /* of the last batch */
    write_batch(fixture, 3, 1000);
    uint64_t number = fixture->writer.segment->number;
    close_store(fixture, true);
    flip(fixture, number, "seg", offset + 500);
    configure(fixture);
    refused(fixture, -EBADMSG, "partition 3 ends at 8, but numbers says at 16");
    flip(fixture, number, "seg", offset + 500);
    open_again(fixture);
    assert_true(fixture->store.recovery.was_clean);
    assert_int_equal(fixture->store.partitions[3].next, 1 + 2 * BATCH);
    close_store(fixture, true);
}

/* ---- segments that are damaged ---- */

static void a_torn_tail_is_cut_and_named(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t offset = fixture->writer.offset;
    write_batch(fixture, 3, 1000);
    uint64_t number = fixture->writer.segment->number;
    crash(fixture);
    flip(fixture, number, "seg", offset + 500);
    open_again(fixture);
    assert_int_equal(fixture->store.partitions[3].next, 1 + BATCH);
    assert_true(fixture->store.recovery.torn_bytes > BATCH * PAYLOAD);
    char line[128];
    snprintf(line, sizeof(line), "event=log_tail_cut file=log/%016llx.seg offset=%llu bytes=",
             (unsigned long long)number, (unsigned long long)offset);
    assert_true(has_line(fixture, line));
    close_store(fixture, true);
    open_again(fixture); /* it was cut for good */
    assert_int_equal(fixture->store.recovery.torn_bytes, 0);
    assert_int_equal(fixture->store.recovery.segments_scanned, 0);
    close_store(fixture, true);
}

/* A client can know the number of a segment, and so what a batch behind its own would look like;
 * what it cannot know is the directory's seed. */
static void a_payload_like_a_batch_does_not_speak_against_a_torn_tail(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t number = fixture->writer.segment->number;
    uint64_t offset = fixture->writer.offset;
    const uint64_t seeds[] = {0, number, segment_seed(0, number), segment_seed(0xfeed + 1, number),
                              (number + 1) * 0x9e3779b97f4a7c15};
    unsigned char payload[ps_array_count(seeds) * SEGMENT_BATCH_HEADER_BYTES];
    const struct segment_batch batch = {.number = 2, .bytes = 4096, .records = 1};
    for (size_t at = 0; at < ps_array_count(seeds); at++)
        segment_batch_encode(seeds[at], &batch, payload + at * SEGMENT_BATCH_HEADER_BYTES);
    const struct log_writer_record record = {.partition = 3,
                                             .sequence = 1 + BATCH,
                                             .publish_ms = 1000,
                                             .topic = "eight/by",
                                             .payload = payload,
                                             .payload_bytes = sizeof(payload)};
    assert_int_equal(log_writer_batch(&fixture->writer, &record, 1), 0);
    crash(fixture);
    flip(fixture, number, "seg", offset + 20); /* the header's own bytes did not come that far */
    open_again(fixture);
    assert_int_equal(fixture->store.partitions[3].next, 1 + BATCH);
    assert_true(fixture->store.recovery.torn_bytes > sizeof(payload));
    close_store(fixture, true);
}

/* A failed sync leaves bytes that are read and are not on the disk, and no later sync writes them.
 */
static void what_a_failed_sync_left_is_written_before_it_counts(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    struct log_writer_record record = {
        .partition = 3, .sequence = 1 + BATCH, .payload_bytes = 40000, .value = 7};
    sim_disk_fail(fixture->world, SIM_DISK_SYNC, SIM_DISK_JOURNAL, 1);
    assert_int_equal(log_writer_try(&fixture->writer, &record, 1), -EIO);
    close_store(fixture, false); /* the process ends, the kernel goes on */
    open_again(fixture);
    assert_int_equal(fixture->store.recovery.records, BATCH + 1);
    sim_disk_crash(fixture->world, SIM_DISK_CRASH_POWER);
    close_store(fixture, false);
    sim_disk_restart(fixture->world);
    open_again(fixture);
    assert_int_equal(fixture->store.recovery.records, BATCH + 1);
    remove_index(fixture->store.first->number);
    close_store(fixture, true);
    open_again(fixture); /* read whole */
    assert_int_equal(fixture->store.recovery.records, BATCH + 1);
    close_store(fixture, true);
}

static void damage_before_the_tail_is_refused_and_repaired(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t offset = fixture->writer.offset;
    write_batch(fixture, 3, 1000);
    write_batch(fixture, 1, 1000);
    uint64_t number = fixture->writer.segment->number;
    crash(fixture);
    flip(fixture, number, "seg", offset + 500);
    char place[64];
    snprintf(place, sizeof(place), "at offset %llu; --repair", (unsigned long long)offset);
    configure(fixture);
    refused(fixture, -EBADMSG, "a damaged batch with valid ones behind it");
    assert_non_null(strstr(fixture->error, place));
    configure(fixture);
    fixture->store.config.is_repair = true;
    assert_int_equal(try_open(fixture), 0);
    assert_true(fixture->store.recovery.repaired_bytes > 2 * BATCH * PAYLOAD);
    assert_int_equal(fixture->store.recovery.records, BATCH);
    assert_true(has_line(fixture, "event=log_repaired"));
    assert_true(has_line(fixture, "partition=1 first=1 last=8 records_known=8"));
    assert_int_equal(fixture->store.partitions[3].next, 1 + LOG_STORE_RESERVE);
    close_store(fixture, true);
    open_again(fixture);
    assert_int_equal(fixture->store.recovery.records, BATCH);
    close_store(fixture, true);
}

static void a_torn_first_write_leaves_nothing(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t number = fixture->writer.segment->number;
    crash(fixture);
    flip(fixture, number, "seg", 100);
    open_again(fixture);
    assert_int_equal(fixture->store.recovery.segments, 0);
    assert_int_equal(fixture->store.partitions[3].next, 1);
    assert_int_equal(count_files(fixture), 0);
    close_store(fixture, true);
}

static void a_damaged_header_with_batches_is_refused(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    write_batch(fixture, 2, 1000);
    uint64_t number = fixture->writer.segment->number;
    crash(fixture);
    flip(fixture, number, "seg", 100);
    configure(fixture);
    refused(fixture, -EBADMSG, "a damaged header, at offset 0");
    configure(fixture);
    fixture->store.config.is_repair = true;
    assert_int_equal(try_open(fixture), 0);
    assert_int_equal(fixture->store.recovery.segments, 0);
    assert_true(has_line(fixture, "partition=3 first=1 last=8 records_known=8"));
    assert_true(has_line(fixture, "partition=2 first=1 last=8 records_known=8"));
    close_store(fixture, true);
}

static void a_later_segment_speaks_against_a_torn_tail(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t offset = fixture->writer.offset;
    write_batch(fixture, 3, 1000);
    uint64_t number = fixture->writer.segment->number;
    log_writer_leave(&fixture->writer);
    write_batch(fixture, 3, 1000);
    crash(fixture);
    flip(fixture, number, "seg", offset + 40);
    configure(fixture);
    refused(fixture, -EBADMSG, "a later segment goes on behind");
    configure(fixture);
    fixture->store.config.is_repair = true;
    assert_int_equal(try_open(fixture), 0);
    assert_true(has_line(fixture, "partition=3 first=9 last=16"));
    assert_int_equal(fixture->store.recovery.records, 2 * BATCH);
    close_store(fixture, true);
}

static void an_index_that_is_lost_or_damaged_is_made_again(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    uint64_t first = write_segment(fixture, 0, 3, 1000);
    uint64_t second = write_segment(fixture, 0, 2, 2000);
    close_store(fixture, true);
    open_again(fixture);
    close_store(fixture, true);
    remove_index(first);
    flip(fixture, second, "idx", 33);
    open_again(fixture);
    assert_int_equal(fixture->store.recovery.segments_scanned, 2);
    assert_int_equal(fixture->store.recovery.records, 5 * BATCH);
    close_store(fixture, true);
    open_again(fixture);
    assert_int_equal(fixture->store.recovery.segments_scanned, 0);
    assert_int_equal(fixture->store.recovery.records, 5 * BATCH);
    close_store(fixture, true);
    /* Such a segment was whole once. */
    remove_index(first);
    flip(fixture, first, "seg", 9000);
    configure(fixture);
    refused(fixture, -EBADMSG, "damaged batch");
}

static void an_index_that_names_more_than_there_is_is_refused(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_batch(fixture, 3, 1000);
    uint64_t offset = fixture->writer.offset;
    uint64_t number = write_segment(fixture, 3, 1, 1000);
    close_store(fixture, true);
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, "seg", name);
    int directory = -1;
    int fd = -1;
    assert_int_equal(disk_open_directory("/data/log", &directory), 0);
    assert_int_equal(disk_open(directory, name, DISK_OPEN_WRITE, &fd), 0);
    assert_int_equal(disk_truncate(fd, offset + 100), 0);
    disk_close(fd);
    disk_close(directory);
    configure(fixture);
    refused(fixture, -EBADMSG, "its index names bytes that the file has not");
    configure(fixture);
    fixture->store.config.is_repair = true;
    assert_int_equal(try_open(fixture), 0);
    assert_int_equal(fixture->store.recovery.records, BATCH);
    assert_true(has_line(fixture, "partition=3 first=9 last=16 records_known=8"));
    close_store(fixture, true);
}

static void repair_reads_what_an_index_vouches_for(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    uint64_t number = write_segment(fixture, 3, 3, 1000);
    uint64_t other = write_segment(fixture, 1, 3, 1000);
    close_store(fixture, true);
    flip(fixture, number, "seg", SEGMENT_PAGE_BYTES + 100);
    flip(fixture, other, "idx", 2 * SEGMENT_INDEX_BLOCK_BYTES + 5);
    open_again(fixture); /* closed segments are not read */
    assert_int_equal(fixture->store.recovery.records, 6 * BATCH);
    close_store(fixture, true);
    configure(fixture);
    fixture->store.config.is_repair = true;
    assert_int_equal(try_open(fixture), 0);
    assert_int_equal(fixture->store.recovery.records, 3 * BATCH);
    assert_true(has_line(fixture, "partition=3 first=1 last=24 records_known=24"));
    assert_int_equal(fixture->store.recovery.segments_scanned, 1);
    close_store(fixture, true);
}

/* ---- descriptors ---- */

static void a_log_of_many_segments_holds_few_files_open(void **state)
{
    enum { SEGMENTS = 60, OPEN_MAX = 5, OTHERS = 8 };
    struct fixture *fixture = *state;
    sim_disk_set_descriptors(fixture->world, 2 * OPEN_MAX + OTHERS);
    configure(fixture);
    fixture->store.config.segments_open_max = OPEN_MAX;
    assert_int_equal(try_open(fixture), 0);
    uint64_t last = 0;
    for (uint32_t index = 0; index < SEGMENTS; index++)
        last = write_segment(fixture, (uint16_t)(index % PARTITIONS), 1, 1000);
    close_store(fixture, true);
    remove_index(last); /* one that is read whole */
    configure(fixture);
    fixture->store.config.segments_open_max = OPEN_MAX;
    assert_int_equal(try_open(fixture), 0);
    assert_int_equal(fixture->store.recovery.segments, SEGMENTS);
    assert_int_equal(fixture->store.recovery.segments_scanned, 1);
    assert_int_equal(fixture->store.partitions[0].id_count, SEGMENTS / PARTITIONS * BATCH);
    close_store(fixture, true);
}

/* ---- preparing, retention ---- */

static void a_full_disk_leaves_no_segment(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    sim_disk_set_capacity(fixture->world, sim_disk_used_bytes(fixture->world) + 1000);
    struct log_segment *segment = NULL;
    assert_int_equal(log_store_prepare(&fixture->store, 1 << 20, &segment), -ENOSPC);
    assert_int_equal(count_files(fixture), 0);
    assert_int_equal(atomic_load(&fixture->store.segment_bytes), 0);
    sim_disk_set_capacity(fixture->world, UINT64_MAX);
    assert_int_equal(log_store_prepare(&fixture->store, 1 << 20, &segment), 0);
    assert_int_equal(segment->number, fixture->store.run << 32 | 1);
    log_segment_release(&fixture->store, segment);
    close_store(fixture, true);
    open_again(fixture);
    assert_int_equal(count_files(fixture), 0); /* never written */
    close_store(fixture, true);
}

/* Drops what is below retain_from, as the owners of the extents do. */
static void drop_extents(struct fixture *fixture)
{
    for (uint32_t index = 0; index < PARTITIONS; index++) {
        struct log_partition_state *partition = &fixture->store.partitions[index];
        uint32_t dropped = 0;
        while (dropped < partition->extent_count && partition->extents[dropped].segment->number <
                                                        atomic_load(&fixture->store.retain_from)) {
            struct log_segment *segment = partition->extents[dropped++].segment;
            if (atomic_fetch_sub(&segment->extent_count, 1) == 1)
                log_segment_drop(&fixture->store, segment);
            log_segment_release(&fixture->store, segment);
        }
        partition->extent_count -= dropped;
        for (uint32_t at = 0; at < partition->extent_count; at++)
            partition->extents[at] = partition->extents[at + dropped];
    }
}

static void the_oldest_segments_go_by_bytes(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    for (uint32_t index = 0; index < 6; index++)
        write_segment(fixture, (uint16_t)(index % 2), 4, 1000);
    close_store(fixture, true);
    open_again(fixture);
    uint64_t each = atomic_load(&fixture->store.segment_bytes) / 6;
    fixture->store.config.retention_bytes = 4 * each + each / 2;
    log_store_retain(&fixture->store, 5000);
    assert_int_equal(atomic_load(&fixture->store.retain_from),
                     fixture->store.first->next->next->number);
    drop_extents(fixture);
    assert_int_equal(count_files(fixture), 12);
    log_store_retain(&fixture->store, 5000);
    assert_int_equal(count_files(fixture), 8);
    assert_true(atomic_load(&fixture->store.segment_bytes) <= 4 * each + each / 2);
    /* Files go only when nobody reads them any more. */
    struct log_segment *held = fixture->store.first;
    log_segment_acquire(held);
    fixture->store.config.retention_bytes = 1;
    log_store_retain(&fixture->store, 5000);
    drop_extents(fixture);
    log_store_retain(&fixture->store, 5000);
    assert_int_equal(count_files(fixture), 2);
    log_segment_release(&fixture->store, held);
    log_store_retain(&fixture->store, 5000);
    assert_int_equal(count_files(fixture), 0);
    assert_int_equal(atomic_load(&fixture->store.segment_bytes), 0);
    uint64_t next = fixture->store.partitions[0].next;
    fixture->writer.left_count = 0;
    log_store_close(&fixture->store, false);
    /* Nothing names the partitions any more, and their numbers go on all the same. */
    open_again(fixture);
    assert_int_equal(fixture->store.partitions[0].next, next);
    close_store(fixture, true);
}

static void segments_go_by_age(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 0, 2, 1000);
    write_segment(fixture, 0, 2, 2000);
    uint64_t third = write_segment(fixture, 0, 2, 9000);
    fixture->store.config.retention_age_ms = 1000;
    log_store_retain(&fixture->store, 1900);
    assert_int_equal(atomic_load(&fixture->store.retain_from), 0);
    log_store_retain(&fixture->store, 4000);
    assert_int_equal(atomic_load(&fixture->store.retain_from), third);
    close_store(fixture, true);
}

/* A failed sync takes three batches to the next segment, and the process dies when one is there. */
static void leave_begun_again(struct fixture *fixture)
{
    uint64_t first = fixture->writer.committed[1];
    fixture->writer.is_synced = false;
    for (uint32_t index = 0; index < 3; index++)
        write_batch(fixture, 1, 1000);
    assert_int_equal(log_writer_leave(&fixture->writer), 0);
    fixture->writer.committed[1] = first;
    write_batch(fixture, 1, 1000);
    crash(fixture);
}

/* Wherever a start ends that puts such a log in order: the next one is not refused, and what the
 * process's death left is there. */
static void a_segment_taken_whole_has_an_index_when_its_copy_is_gone(void **state)
{
    for (uint64_t round = 0; round < 160; round++) {
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
        struct fixture *fixture = *state;
        bool is_power = round % 2 == 1;
        configure(fixture);
        fixture->store.config.commit = EMBEDDED_COMMIT_MEMORY;
        assert_int_equal(try_open(fixture), 0);
        leave_begun_again(fixture);
        configure(fixture);
        sim_disk_crash_after(fixture->world,
                             is_power ? SIM_DISK_CRASH_POWER : SIM_DISK_CRASH_PROCESS,
                             1 + round / 2);
        if (try_open(fixture) == 0)
            close_store(fixture, false);
        if (!sim_disk_is_down(fixture->world))
            sim_disk_crash(fixture->world, SIM_DISK_CRASH_PROCESS);
        sim_disk_restart(fixture->world);
        open_again(fixture);
        assert_in_range(fixture->store.recovery.records, is_power ? 0 : 3 * BATCH, 3 * BATCH);
        close_store(fixture, true);
    }
}

static void a_segment_of_which_nothing_counts_goes(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    struct log_segment *segment = NULL;
    assert_int_equal(log_store_prepare(&fixture->store, 1 << 16, &segment), 0);
    void *slice = NULL;
    assert_int_equal(log_store_index(&fixture->store, segment, 0, &slice), 0);
    assert_non_null(atomic_load(&segment->index));
    log_segment_release(&fixture->store, segment);
    log_store_retain(&fixture->store, 1000);
    assert_int_equal(count_files(fixture), 0);
    close_store(fixture, true);
}

/* ---- deduplication ids ---- */

static void the_latest_ids_are_found_again(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 0, 2, 1000); /* too old */
    write_segment(fixture, 0, 3, 500000);
    write_segment(fixture, 1, 1, 500000);
    write_batch(fixture, 0, 500100); /* scanned */
    crash(fixture);
    configure(fixture);
    fixture->store.config.deduplication_ms = 10000;
    fixture->store.config.deduplication_max = 20;
    assert_int_equal(try_open(fixture), 0);
    const struct log_partition_state *partition = &fixture->store.partitions[0];
    assert_int_equal(partition->id_count, 20);
    for (uint32_t index = 0; index < 20; index++) {
        assert_int_equal(partition->ids[index].sequence, 6 * BATCH - 20 + 1 + index);
        assert_int_equal(partition->ids[index].id.low, partition->ids[index].sequence);
    }
    assert_int_equal(fixture->store.partitions[1].id_count, BATCH);
    assert_int_equal(fixture->store.partitions[2].id_count, 0);
    close_store(fixture, true);
}

static void opening_fails_cleanly_without_memory(void **state)
{
    struct fixture *fixture = *state;
    open_again(fixture);
    write_segment(fixture, 0, 2, 1000);
    write_batch(fixture, 1, 1000);
    crash(fixture);
    uint64_t number = 1;
    for (;; number++) {
        configure(fixture);
        heap_fail_at(&fixture->heap, number);
        int result = try_open(fixture);
        if (result == 0)
            break;
        assert_int_equal(result, -ENOMEM);
        assert_true(fixture->error[0] != '\0');
        assert_int_equal(sim_disk_open_count(fixture->world), 0);
        assert_true(number < 300);
    }
    heap_fail_at(&fixture->heap, 0);
    assert_true(number > 10);
    assert_int_equal(fixture->store.recovery.records, 3 * BATCH);
    close_store(fixture, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_second_gateway_is_told_so),
        TEST(what_is_fixed_at_creation_is_checked),
        TEST(a_manifest_is_believed_only_as_it_was_written),
        TEST(lost_numbers_are_refused_and_repaired_above_everything),
        TEST(numbers_of_garbage_are_damaged),
        TEST(a_long_tail_that_is_cut_is_a_warning),
        TEST(numbers_go_on_after_the_last_record),
        TEST(after_unsynced_commits_numbers_jump_and_never_fall_back),
        TEST(a_clean_end_is_believed_and_checked),
        TEST(a_torn_tail_is_cut_and_named),
        TEST(a_payload_like_a_batch_does_not_speak_against_a_torn_tail),
        TEST(what_a_failed_sync_left_is_written_before_it_counts),
        TEST(damage_before_the_tail_is_refused_and_repaired),
        TEST(a_torn_first_write_leaves_nothing),
        TEST(a_damaged_header_with_batches_is_refused),
        TEST(a_later_segment_speaks_against_a_torn_tail),
        TEST(an_index_that_is_lost_or_damaged_is_made_again),
        TEST(an_index_that_names_more_than_there_is_is_refused),
        TEST(repair_reads_what_an_index_vouches_for),
        TEST(a_log_of_many_segments_holds_few_files_open),
        TEST(a_full_disk_leaves_no_segment),
        TEST(the_oldest_segments_go_by_bytes),
        TEST(segments_go_by_age),
        TEST(a_segment_taken_whole_has_an_index_when_its_copy_is_gone),
        TEST(a_segment_of_which_nothing_counts_goes),
        TEST(the_latest_ids_are_found_again),
        TEST(opening_fails_cleanly_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
