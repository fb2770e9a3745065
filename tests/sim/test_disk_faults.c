/*
 * A simulated disk that fails, is full, lies or is down, in simulated time and by its seed alone.
 * Crashes are in test_disk.c; what it shares with a real disk is proved by tests/contract/.
 */
#include "disk_fixture.h"

static void a_full_disk_takes_what_was_reserved(void **state)
{
    (void)state;
    struct disk_fixture f;
    disk_fixture_begin(&f, 1);
    sim_disk_set_capacity(f.world, 10 * SECTOR);
    assert_int_equal(disk_preallocate(f.fd, 8 * SECTOR), 0);
    uint64_t left = 0;
    assert_int_equal(disk_free_bytes(f.directory, &left), 0);
    assert_int_equal(left, 2 * SECTOR);
    int other = disk_fixture_open_file(&f, "1.seg");
    assert_int_equal(disk_preallocate(other, 3 * SECTOR), -ENOSPC);
    assert_int_equal(disk_truncate(other, 0), 0);
    disk_fixture_fill(f.fd, 0, 8, 'a');
    char bytes[3 * SECTOR] = {0};
    assert_int_equal(disk_write(other, bytes, sizeof(bytes), 0), -ENOSPC);
    assert_int_equal(sim_disk_used_bytes(f.world), 10 * SECTOR); /* a part was written */
    struct ring_file_request request;
    disk_fixture_submit(&f, &request, RING_FILE_WRITE_SYNCED, bytes, SECTOR, 8 * SECTOR);
    assert_ptr_equal(disk_fixture_take_at(&f, 2000), &request);
    assert_int_equal(request.result, -ENOSPC);
    assert_int_equal(ring_counters(f.ring)->file_errors, 1);
    sim_disk_set_capacity(f.world, 12 * SECTOR); /* room again */
    assert_int_equal(disk_write(other, bytes, sizeof(bytes), 0), 0);
    assert_int_equal(disk_remove(f.directory, "1.seg"), 0);
    assert_int_equal(disk_free_bytes(f.directory, &left), 0);
    assert_int_equal(left, SECTOR); /* open still */
    disk_close(other);
    assert_int_equal(disk_free_bytes(f.directory, &left), 0);
    assert_int_equal(left, 4 * SECTOR);
    assert_int_equal(sim_disk_counters(f.world)->full, 3);
    disk_fixture_end(&f);
}

static void the_nth_operation_of_a_class_fails_once(void **state)
{
    (void)state;
    struct disk_fixture f;
    disk_fixture_begin(&f, 1);
    int index = disk_fixture_open_file(&f, "0.idx");
    disk_fixture_fill(f.fd, 0, 4, 'a');
    sim_disk_fail(f.world, SIM_DISK_SYNC, SIM_DISK_JOURNAL, 2);
    sim_disk_fail(f.world, SIM_DISK_WRITE, SIM_DISK_INDEX, 1);
    sim_disk_fail(f.world, SIM_DISK_READ, SIM_DISK_ANY, 3);
    assert_int_equal(disk_sync(f.fd), 0);
    assert_int_equal(disk_sync(index), 0);
    assert_int_equal(disk_sync_directory(f.directory), 0);
    struct ring_file_request request;
    disk_fixture_submit(&f, &request, RING_FILE_SYNC, NULL, 0, 0);
    assert_ptr_equal(disk_fixture_take_at(&f, 2000), &request);
    assert_int_equal(request.result, -EIO);
    assert_int_equal(disk_sync(f.fd), 0);
    disk_fixture_fill(f.fd, 0, 1, 'b');
    char bytes[SECTOR];
    assert_int_equal(disk_write(index, bytes, 1, 0), -EIO);
    assert_int_equal(disk_write(index, bytes, 1, 0), 0);
    assert_int_equal(disk_fixture_sector_at(f.fd, 1), 'a');
    assert_int_equal(disk_fixture_sector_at(f.fd, 1), 'a');
    disk_fixture_submit(&f, &request, RING_FILE_READ, bytes, SECTOR, 0);
    assert_ptr_equal(disk_fixture_take_at(&f, 2000), &request);
    assert_int_equal(request.result, -EIO);
    assert_int_equal(disk_fixture_sector_at(f.fd, 1), 'a');
    assert_int_equal(sim_disk_counters(f.world)->errors, 3);
    disk_close(index);
    disk_fixture_end(&f);
}

static void errors_by_chance_keep_to_their_classes(void **state)
{
    (void)state;
    struct disk_fixture f;
    disk_fixture_begin(&f, 1);
    int index = disk_fixture_open_file(&f, "0.idx");
    const struct sim_disk_faults faults = {
        .read_error = ALWAYS / 2,
        .write_error = ALWAYS / 2,
        .sync_error = ALWAYS / 2,
        .error_classes = SIM_DISK_INDEX,
    };
    sim_disk_set_faults(f.world, &faults);
    uint32_t errors = 0;
    for (uint32_t i = 0; i < 50; i++) {
        char byte = 'a';
        size_t count = 0;
        assert_int_equal(disk_write(f.fd, &byte, 1, 0), 0);
        assert_int_equal(disk_read(f.fd, &byte, 1, 0, &count), 0);
        assert_int_equal(disk_sync(f.fd), 0);
        assert_int_equal(disk_sync_directory(f.directory), 0);
        errors += disk_write(index, &byte, 1, 0) == -EIO;
        errors += disk_read(index, &byte, 1, 0, &count) == -EIO;
        errors += disk_sync(index) == -EIO;
    }
    assert_in_range(errors, 50, 100);
    assert_int_equal(sim_disk_counters(f.world)->errors, errors);
    disk_close(index);
    disk_fixture_end(&f);
}

static void a_bit_is_flipped_on_the_disk_too(void **state)
{
    (void)state;
    struct disk_fixture f;
    disk_fixture_begin(&f, 1);
    disk_fixture_fill(f.fd, 0, 2, 'a');
    assert_int_equal(disk_sync(f.fd), 0);
    assert_true(sim_disk_flip_bit(f.world, "0.seg", SECTOR + 3, 1));
    assert_false(sim_disk_flip_bit(f.world, "0.seg", 2 * SECTOR, 1));
    assert_false(sim_disk_flip_bit(f.world, "1.seg", 0, 1));
    for (uint32_t round = 0; round < 2; round++) {
        char bytes[5] = "";
        size_t count = 0;
        assert_int_equal(disk_read(f.fd, bytes, 4, SECTOR + 1, &count), 0);
        assert_string_equal(bytes, "aaca");
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
    }
    disk_fixture_end(&f);
}

static void a_sync_that_is_left_out_answers_and_does_nothing(void **state)
{
    (void)state;
    uint32_t lost = 0;
    uint32_t names_lost = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        struct ring_file_request request;
        char bytes[SECTOR];
        disk_fixture_begin(&f, seed);
        const struct sim_disk_faults faults = {
            .syncs_left_out = SIM_DISK_JOURNAL | SIM_DISK_DIRECTORY,
        };
        sim_disk_set_faults(f.world, &faults);
        int index = disk_fixture_open_file(&f, "0.idx");
        const struct sim_disk_faults journal_only = {.syncs_left_out = SIM_DISK_JOURNAL};
        if (seed % 2 == 0)
            sim_disk_set_faults(f.world, &journal_only);
        assert_int_equal(disk_sync_directory(f.directory), 0);
        memset(bytes, 'a', sizeof(bytes));
        disk_fixture_submit(&f, &request, RING_FILE_WRITE_SYNCED, bytes, SECTOR, 0);
        assert_ptr_equal(disk_fixture_take_at(&f, 2000), &request);
        assert_int_equal(request.result, SECTOR);
        assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_fill(index, 0, 1, 'i');
        assert_int_equal(disk_sync(index), 0);
        assert_int_equal(sim_disk_counters(f.world)->syncs_left_out, seed % 2 == 0 ? 2 : 3);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        lost += disk_fixture_sector_at(f.fd, 0) != 'a';
        int status = disk_open(f.directory, "0.idx", DISK_OPEN_READ, &index);
        names_lost += status == -ENOENT;
        assert_true(status == 0 || seed % 2 != 0);
        if (status == 0) {
            assert_int_equal(disk_fixture_sector_at(index, 0), 'i');
            disk_close(index);
        }
        disk_fixture_end(&f);
    }
    assert_true(lost > 0 && names_lost > 0);
}

static void a_machine_that_is_down_does_nothing(void **state)
{
    (void)state;
    struct disk_fixture f;
    struct ring_file_request requests[2];
    char bytes[SECTOR] = {0};
    int lock = -1;
    disk_fixture_begin(&f, 1);
    assert_int_equal(disk_lock(f.directory, &lock), 0);
    const struct sim_disk_faults slow = {.write_delay_max_ns = 1000 * MS};
    sim_disk_set_faults(f.world, &slow);
    disk_fixture_fill(f.fd, 0, 1, 'a');
    disk_fixture_submit(&f, &requests[0], RING_FILE_WRITE, bytes, SECTOR, 8 * SECTOR);
    sim_disk_crash(f.world, SIM_DISK_CRASH_PROCESS);
    assert_true(sim_ring_has_event(f.ring));
    disk_fixture_submit(&f, &requests[1], RING_FILE_WRITE, bytes, SECTOR, 0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_ptr_equal(ring_file_take(f.ring), &requests[i]);
        assert_int_equal(requests[i].result, -EIO);
    }
    int fd = -1;
    uint64_t size = 0;
    assert_int_equal(disk_write(f.fd, "x", 1, 0), -EIO);
    assert_int_equal(disk_sync(f.fd), -EIO);
    assert_int_equal(disk_size(f.fd, &size), -EIO);
    assert_int_equal(disk_open(f.directory, "1.seg", DISK_OPEN_CREATE, &fd), -EIO);
    assert_int_equal(disk_remove(f.directory, "0.seg"), -EIO);
    assert_int_equal(disk_rename(f.directory, "0.seg", "1.seg"), -EIO);
    assert_int_equal(disk_open_directory("/data", &fd), -EIO);
    disk_close(lock); /* what ends may still let go */
    disk_close(f.fd);
    ring_destroy(f.ring);
    sim_disk_restart(f.world); /* the directory was not closed: its descriptor is gone too */
    disk_fixture_open_all(&f);
    f.fd = disk_fixture_open_file(&f, "0.seg");
    assert_int_equal(disk_fixture_sector_at(f.fd, 0), 'a');
    assert_int_equal(disk_lock(f.directory, &lock), 0);
    disk_close(lock);
    disk_fixture_end(&f);
}

static void descriptors_have_a_limit(void **state)
{
    (void)state;
    struct disk_fixture f;
    disk_fixture_begin(&f, 1);
    static int fds[SIM_DISK_DESCRIPTORS_MAX];
    uint32_t count = 0;
    int status = 0;
    while (status == 0 && count < SIM_DISK_DESCRIPTORS_MAX) {
        status = disk_open(f.directory, "0.seg", DISK_OPEN_READ, &fds[count]);
        count += status == 0;
    }
    assert_int_equal(status, -EMFILE);
    assert_int_equal(count, SIM_DISK_DESCRIPTORS_MAX - 2);
    int fd = -1;
    assert_int_equal(disk_open(f.directory, "new", DISK_OPEN_CREATE, &fd), -EMFILE);
    disk_close(fds[--count]);
    assert_int_equal(disk_open(f.directory, "new", DISK_OPEN_READ, &fd), -ENOENT);
    while (count != 0)
        disk_close(fds[--count]);
    disk_fixture_end(&f);
}

static void requests_take_simulated_time(void **state)
{
    (void)state;
    struct disk_fixture f;
    struct ring_file_request request;
    char bytes[SECTOR] = {0};
    disk_fixture_begin(&f, 3);
    const struct sim_disk_faults slow = {
        .write_delay_max_ns = 1000 * MS,
        .sync_delay_max_ns = 1000 * MS,
    };
    sim_disk_set_faults(f.world, &slow);
    assert_int_equal(sim_next_event_ns(f.world), UINT64_MAX);
    disk_fixture_submit(&f, &request, RING_FILE_WRITE_SYNCED, bytes, SECTOR, 0);
    uint64_t written_ns = sim_next_event_ns(f.world);
    assert_in_range(written_ns, 1001, 1000ULL * MS + 1000);
    assert_int_equal(disk_fixture_file_size(f.fd), 0);
    assert_null(disk_fixture_take_at(&f, written_ns));
    assert_int_equal(disk_fixture_file_size(f.fd), SECTOR);
    uint64_t synced_ns = sim_next_event_ns(f.world);
    assert_in_range(synced_ns, written_ns + 1, written_ns + 1000ULL * MS);
    assert_null(disk_fixture_take_at(&f, synced_ns - 1));
    assert_false(sim_ring_has_event(f.ring));
    sim_world_advance(f.world, synced_ns);
    assert_true(sim_ring_has_event(f.ring));
    assert_ptr_equal(disk_fixture_take_at(&f, synced_ns), &request);
    assert_int_equal(sim_next_event_ns(f.world), UINT64_MAX);
    disk_fixture_end(&f);
}

/* Everything that a run leaves, as one number. */
static uint64_t run_of(uint64_t seed)
{
    struct disk_fixture f;
    struct ring_file_request requests[16];
    static char bytes[16][4 * SECTOR];
    disk_fixture_begin(&f, seed);
    const struct sim_disk_faults faults = {
        .write_error = ALWAYS / 8,
        .sync_error = ALWAYS / 8,
        .write_delay_max_ns = 10 * MS,
        .sync_delay_max_ns = 10 * MS,
    };
    sim_disk_set_faults(f.world, &faults);
    for (uint32_t i = 0; i < 16; i++) {
        memset(bytes[i], (int)('a' + i), sizeof(bytes[i]));
        disk_fixture_submit(&f, &requests[i], i % 2 == 0 ? RING_FILE_WRITE_SYNCED : RING_FILE_WRITE,
                            bytes[i], sizeof(bytes[i]), (uint64_t)i * SECTOR);
        sim_world_advance(f.world, sim_world_now_ns(f.world) + MS);
    }
    disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
    uint64_t number = disk_fixture_file_size(f.fd);
    for (uint32_t i = 0; i < 20; i++)
        number = number * 1000003 + (uint64_t)(unsigned char)disk_fixture_sector_at(f.fd, i);
    for (uint32_t i = 0; i < 16; i++)
        number = number * 1000003 + (uint64_t)(uint32_t)requests[i].result;
    disk_fixture_end(&f);
    return number;
}

static void a_seed_is_one_disk(void **state)
{
    (void)state;
    uint32_t different = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        assert_int_equal(run_of(seed), run_of(seed));
        different += run_of(seed) != run_of(seed + 1);
    }
    assert_true(different > 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_takes_what_was_reserved),
        cmocka_unit_test(the_nth_operation_of_a_class_fails_once),
        cmocka_unit_test(errors_by_chance_keep_to_their_classes),
        cmocka_unit_test(a_bit_is_flipped_on_the_disk_too),
        cmocka_unit_test(a_sync_that_is_left_out_answers_and_does_nothing),
        cmocka_unit_test(a_machine_that_is_down_does_nothing),
        cmocka_unit_test(descriptors_have_a_limit),
        cmocka_unit_test(requests_take_simulated_time),
        cmocka_unit_test(a_seed_is_one_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
