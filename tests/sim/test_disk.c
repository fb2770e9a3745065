/*
 * What a crash of the simulated disk may take and what it may not. What may be lost is looked for
 * over many seeds: it must be seen lost and seen kept, or the disk would be kinder than a real one.
 */
#include "disk_fixture.h"

static void what_was_synced_survives(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        char letters[17];
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 16, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_fill(f.fd, 4, 4, 'b');
        assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        disk_fixture_read_letters(f.fd, 16, letters);
        assert_string_equal(letters, "aaaabbbbaaaaaaaa");
        assert_int_equal(sim_disk_counters(f.world)->sectors_lost, 0);
        disk_fixture_end(&f);
    }
}

static void what_was_not_synced_is_old_or_new_sector_by_sector(void **state)
{
    (void)state;
    uint32_t all_old = 0;
    uint32_t all_new = 0;
    uint32_t reordered = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        char letters[17];
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 16, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_fill(f.fd, 0, 16, 'b');
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        disk_fixture_read_letters(f.fd, 16, letters);
        assert_int_equal(strspn(letters, "ab"), 16);
        all_old += strchr(letters, 'b') == NULL;
        all_new += strchr(letters, 'a') == NULL;
        reordered += strstr(letters, "ab") != NULL; /* the earlier one lost, the later one not */
        disk_fixture_end(&f);
    }
    assert_true(all_old > 0 && all_new > 0 && reordered > SEEDS / 4);
}

static void what_was_overwritten_may_have_been_on_the_disk_meanwhile(void **state)
{
    (void)state;
    uint32_t seen[3] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 1, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_fill(f.fd, 0, 1, 'b');
        disk_fixture_fill(f.fd, 0, 1, 'c');
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        seen[disk_fixture_sector_at(f.fd, 0) - 'a']++;
        disk_fixture_end(&f);
    }
    assert_true(seen[0] > 0 && seen[1] > 0 && seen[2] > 0);
}

static void the_death_of_the_process_loses_nothing_that_was_written(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        char letters[9];
        struct ring_file_request request;
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 8, 'a');
        const struct sim_disk_faults slow = {.sync_delay_max_ns = 1000 * MS};
        sim_disk_set_faults(f.world, &slow);
        disk_fixture_submit(&f, &request, RING_FILE_SYNC, NULL, 0, 0); /* under way then */
        int other = disk_fixture_open_file(&f, "1.seg");
        disk_fixture_fill(other, 0, 1, 'x');
        disk_fixture_crash(&f, SIM_DISK_CRASH_PROCESS);
        disk_fixture_read_letters(f.fd, 8, letters);
        assert_string_equal(letters, "aaaaaaaa");
        assert_int_equal(disk_open(f.directory, "1.seg", DISK_OPEN_READ, &other), 0);
        assert_int_equal(disk_fixture_sector_at(other, 0), 'x');
        disk_close(other);
        disk_fixture_end(&f);
    }
}

/* Which parts of a write that was under way are in the file afterwards. */
static void count_torn(enum sim_disk_crash_kind kind, uint32_t *out_none, uint32_t *out_all,
                       uint32_t *out_prefix, uint32_t *out_other)
{
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
        struct disk_fixture f;
        struct ring_file_request request;
        char letters[9];
        char bytes[8 * SECTOR];
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 8, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        memset(bytes, 'b', sizeof(bytes));
        const struct sim_disk_faults slow = {.write_delay_max_ns = 1000 * MS};
        sim_disk_set_faults(f.world, &slow);
        disk_fixture_submit(&f, &request, RING_FILE_WRITE_SYNCED, bytes, sizeof(bytes), 0);
        disk_fixture_crash(&f, kind);
        assert_int_equal(request.result, -EIO);
        disk_fixture_read_letters(f.fd, 8, letters);
        assert_int_equal(strspn(letters, "ab"), 8);
        size_t written = strspn(letters, "b");
        *out_none += strchr(letters, 'b') == NULL;
        *out_all += written == 8;
        *out_prefix += written > 0 && written < 8 && strspn(letters + written, "a") == 8 - written;
        *out_other += strstr(letters, "ab") != NULL;
        disk_fixture_end(&f);
    }
}

static void a_write_under_way_is_torn(void **state)
{
    (void)state;
    uint32_t none = 0;
    uint32_t all = 0;
    uint32_t prefix = 0;
    uint32_t other = 0;
    count_torn(SIM_DISK_CRASH_PROCESS, &none, &all, &prefix, &other);
    assert_true(none > 0 && all > 0 && prefix > 0 && other == 0);
    none = all = prefix = 0;
    count_torn(SIM_DISK_CRASH_POWER, &none, &all, &prefix, &other);
    assert_true(none > 0 && all > 0 && prefix > 0 && other > 0);
}

static void a_sync_covers_what_was_written_before_it_began(void **state)
{
    (void)state;
    uint32_t lost = 0;
    uint32_t kept = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        struct ring_file_request request;
        disk_fixture_begin(&f, seed);
        const struct sim_disk_faults slow = {.sync_delay_max_ns = 1000 * MS};
        sim_disk_set_faults(f.world, &slow);
        disk_fixture_fill(f.fd, 0, 2, 'a');
        disk_fixture_submit(&f, &request, RING_FILE_SYNC, NULL, 0, 0);
        disk_fixture_fill(f.fd, 1, 2, 'b');
        assert_ptr_equal(disk_fixture_take_at(&f, 2000ULL * MS), &request);
        assert_int_equal(request.result, 0);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        assert_int_equal(disk_fixture_sector_at(f.fd, 0), 'a');
        char overwritten = disk_fixture_sector_at(f.fd, 1);
        assert_true(overwritten == 'a' || overwritten == 'b');
        lost += overwritten == 'a';
        kept += overwritten == 'b';
        disk_fixture_end(&f);
    }
    assert_true(lost > 0 && kept > 0);
}

static void a_synced_write_covers_its_own_bytes(void **state)
{
    (void)state;
    uint32_t lost_before = 0;
    uint32_t lost_behind = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        struct ring_file_request request;
        char bytes[2 * SECTOR];
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 8, 'a');
        memset(bytes, 'b', sizeof(bytes));
        disk_fixture_submit(&f, &request, RING_FILE_WRITE_SYNCED, bytes, sizeof(bytes), 3 * SECTOR);
        assert_ptr_equal(disk_fixture_take_at(&f, 2000), &request);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        assert_int_equal(disk_fixture_file_size(f.fd), 8 * SECTOR);
        assert_int_equal(disk_fixture_sector_at(f.fd, 3), 'b');
        assert_int_equal(disk_fixture_sector_at(f.fd, 4), 'b');
        lost_before += disk_fixture_sector_at(f.fd, 2) == '.';
        lost_behind += disk_fixture_sector_at(f.fd, 5) == '.';
        disk_fixture_end(&f);
    }
    assert_true(lost_before > 0 && lost_behind > 0);
}

/* The later one waits for what the earlier one has under way. */
static void a_sync_that_ends_includes_an_earlier_one(void **state)
{
    (void)state;
    uint32_t overtaken = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        struct ring_file_request requests[2];
        disk_fixture_begin(&f, seed);
        const struct sim_disk_faults slow = {.sync_delay_max_ns = 1000 * MS};
        sim_disk_set_faults(f.world, &slow);
        disk_fixture_fill(f.fd, 0, 8, 'a');
        disk_fixture_submit(&f, &requests[0], RING_FILE_SYNC, NULL, 0, 0);
        disk_fixture_submit(&f, &requests[1], RING_FILE_SYNC, NULL, 0, 0);
        const struct ring_file_request *taken =
            disk_fixture_take_at(&f, sim_next_event_ns(f.world));
        assert_non_null(taken);
        overtaken += taken == &requests[1];
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        char letters[9];
        disk_fixture_read_letters(f.fd, 8, letters);
        if (taken == &requests[1])
            assert_string_equal(letters, "aaaaaaaa");
        disk_fixture_end(&f);
    }
    assert_true(overtaken > 0);
}

/* Its answer may come long after later ones, of other bytes, were answered. */
static void a_sync_that_is_answered_late_brings_nothing_old_back(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        struct ring_file_request request;
        disk_fixture_begin(&f, seed);
        const struct sim_disk_faults slow = {.sync_delay_max_ns = 1000 * MS};
        sim_disk_set_faults(f.world, &slow);
        disk_fixture_fill(f.fd, 0, 2, 'a');
        disk_fixture_submit(&f, &request, RING_FILE_SYNC, NULL, 0, 0);
        disk_fixture_fill(f.fd, 0, 2, 'b');
        assert_int_equal(disk_truncate(f.fd, SECTOR), 0);
        assert_int_equal(disk_sync(f.fd), 0);
        assert_ptr_equal(disk_fixture_take_at(&f, 2000ULL * MS), &request);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        assert_int_equal(disk_fixture_sector_at(f.fd, 0), 'b');
        assert_int_equal(disk_fixture_file_size(f.fd), SECTOR);
        disk_fixture_end(&f);
    }
}

static void a_failed_sync_makes_clean_and_loses(void **state)
{
    (void)state;
    uint32_t lost = 0;
    uint32_t kept = 0;
    uint32_t gone_from_the_cache = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        char letters[9];
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 8, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_fill(f.fd, 0, 8, 'b');
        sim_disk_fail(f.world, SIM_DISK_SYNC, SIM_DISK_ANY, 1);
        assert_int_equal(disk_sync(f.fd), -EIO);
        assert_int_equal(disk_sync(f.fd), 0); /* as if nothing had been */
        disk_fixture_read_letters(f.fd, 8, letters);
        gone_from_the_cache += strchr(letters, 'a') != NULL;
        disk_fixture_crash(&f, seed % 2 == 0 ? SIM_DISK_CRASH_POWER : SIM_DISK_CRASH_PROCESS);
        disk_fixture_read_letters(f.fd, 8, letters);
        assert_int_equal(strspn(letters, "ab"), 8);
        lost += strchr(letters, 'a') != NULL;
        kept += strchr(letters, 'b') != NULL;
        disk_fixture_end(&f);
    }
    assert_true(lost > SEEDS / 2 && kept > SEEDS / 2 && gone_from_the_cache > 0);
}

static void a_name_survives_when_its_directory_was_synced(void **state)
{
    (void)state;
    uint32_t seen[4] = {0}; /* 1.seg there: 1; 2.seg there: 2 */
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        disk_fixture_begin(&f, seed);
        int fds[3] = {disk_fixture_open_file(&f, "k.idx"), -1, -1};
        assert_int_equal(disk_sync_directory(f.directory), 0);
        fds[1] = disk_fixture_open_file(&f, "1.seg");
        fds[2] = disk_fixture_open_file(&f, "2.seg");
        disk_fixture_fill(fds[1], 0, 1, 'x');
        assert_int_equal(disk_sync(fds[1]), 0); /* its bytes, not its name */
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        int fd = -1;
        assert_int_equal(disk_open(f.directory, "k.idx", DISK_OPEN_READ, &fd), 0);
        disk_close(fd);
        uint32_t there = 0;
        if (disk_open(f.directory, "1.seg", DISK_OPEN_READ, &fd) == 0) {
            assert_int_equal(disk_fixture_sector_at(fd, 0), 'x');
            disk_close(fd);
            there |= 1;
        }
        if (disk_open(f.directory, "2.seg", DISK_OPEN_READ, &fd) == 0) {
            disk_close(fd);
            there |= 2;
        }
        seen[there]++;
        disk_fixture_end(&f);
    }
    for (uint32_t i = 0; i < ps_array_count(seen); i++)
        assert_true(seen[i] > 0);
}

static void a_rename_happens_wholly_or_not_at_all(void **state)
{
    (void)state;
    uint32_t seen[2] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        disk_fixture_begin(&f, seed);
        int fd = disk_fixture_open_file(&f, "manifest");
        disk_fixture_fill(fd, 0, 1, 'a');
        assert_int_equal(disk_sync(fd), 0);
        disk_close(fd);
        assert_int_equal(disk_sync_directory(f.directory), 0);
        fd = disk_fixture_open_file(&f, "manifest.new");
        disk_fixture_fill(fd, 0, 1, 'b');
        assert_int_equal(disk_sync(fd), 0);
        disk_close(fd);
        bool is_synced = seed % 4 == 0;
        assert_int_equal(disk_rename(f.directory, "manifest.new", "manifest"), 0);
        if (is_synced)
            assert_int_equal(disk_sync_directory(f.directory), 0);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        assert_int_equal(disk_open(f.directory, "manifest", DISK_OPEN_READ, &fd), 0);
        char letter = disk_fixture_sector_at(fd, 0);
        disk_close(fd);
        assert_true(letter == 'b' || (letter == 'a' && !is_synced));
        seen[letter - 'a']++;
        disk_fixture_end(&f);
    }
    assert_true(seen[0] > 0 && seen[1] > SEEDS / 4);
}

static void a_removed_file_comes_back_when_the_removal_is_lost(void **state)
{
    (void)state;
    uint32_t back = 0;
    uint32_t gone = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 1, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        assert_int_equal(disk_remove(f.directory, "0.seg"), 0);
        disk_close(f.fd);
        assert_int_equal(sim_disk_used_bytes(f.world), 0);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        back += f.fd >= 0;
        gone += f.fd < 0;
        if (f.fd >= 0)
            assert_int_equal(disk_fixture_sector_at(f.fd, 0), 'a');
        disk_fixture_end(&f);
    }
    assert_true(back > 0 && gone > 0);
}

static void a_size_survives_with_a_sync_of_the_file(void **state)
{
    (void)state;
    uint32_t seen[2] = {0};
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        disk_fixture_begin(&f, seed);
        assert_int_equal(disk_preallocate(f.fd, 8 * SECTOR), 0);
        assert_int_equal(disk_sync(f.fd), 0);
        assert_int_equal(disk_preallocate(f.fd, 16 * SECTOR), 0);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        uint64_t size = disk_fixture_file_size(f.fd);
        assert_true(size == 8 * SECTOR || size == 16 * SECTOR);
        seen[size == 16 * SECTOR]++;
        assert_int_equal(disk_fixture_sector_at(f.fd, 0), '.');
        disk_fixture_end(&f);
    }
    assert_true(seen[0] > 0 && seen[1] > 0);
}

static void what_was_cut_off_may_come_back_until_it_is_synced(void **state)
{
    (void)state;
    uint32_t back = 0;
    uint32_t cut = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct disk_fixture f;
        bool is_synced = seed % 2 == 0;
        disk_fixture_begin(&f, seed);
        disk_fixture_fill(f.fd, 0, 8, 'a');
        assert_int_equal(disk_sync(f.fd), 0);
        assert_int_equal(disk_truncate(f.fd, 2 * SECTOR), 0);
        if (is_synced)
            assert_int_equal(disk_sync(f.fd), 0);
        disk_fixture_crash(&f, SIM_DISK_CRASH_POWER);
        uint64_t size = disk_fixture_file_size(f.fd);
        assert_true(size == 2 * SECTOR || (size == 8 * SECTOR && !is_synced));
        back += size == 8 * SECTOR && disk_fixture_sector_at(f.fd, 7) == 'a';
        cut += size == 2 * SECTOR && !is_synced;
        assert_int_equal(disk_truncate(f.fd, 2 * SECTOR), 0);
        assert_int_equal(disk_preallocate(f.fd, 8 * SECTOR), 0);
        assert_int_equal(disk_fixture_sector_at(f.fd, 1), 'a');
        assert_int_equal(disk_fixture_sector_at(f.fd, 7), '.');
        disk_fixture_end(&f);
    }
    assert_true(back > 0 && cut > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_synced_survives),
        cmocka_unit_test(what_was_not_synced_is_old_or_new_sector_by_sector),
        cmocka_unit_test(what_was_overwritten_may_have_been_on_the_disk_meanwhile),
        cmocka_unit_test(the_death_of_the_process_loses_nothing_that_was_written),
        cmocka_unit_test(a_write_under_way_is_torn),
        cmocka_unit_test(a_sync_covers_what_was_written_before_it_began),
        cmocka_unit_test(a_synced_write_covers_its_own_bytes),
        cmocka_unit_test(a_sync_that_ends_includes_an_earlier_one),
        cmocka_unit_test(a_sync_that_is_answered_late_brings_nothing_old_back),
        cmocka_unit_test(a_failed_sync_makes_clean_and_loses),
        cmocka_unit_test(a_name_survives_when_its_directory_was_synced),
        cmocka_unit_test(a_rename_happens_wholly_or_not_at_all),
        cmocka_unit_test(a_removed_file_comes_back_when_the_removal_is_lost),
        cmocka_unit_test(a_size_survives_with_a_sync_of_the_file),
        cmocka_unit_test(what_was_cut_off_may_come_back_until_it_is_synced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
