/*
 * The keys' file on LMDB: what is refused at the opening and how that is said, and that a process
 * that is killed loses nothing that it had acknowledged.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker_client/broker_driver.h"
#include "broker_client/embedded/key_file.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "core/wire_big.h"
#include "embedded_keys_internal.h"
#include "support/scratch_directory.h"

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    char directory[SCRATCH_PATH_BYTES];
    char path[SCRATCH_PATH_BYTES + 16];
    char error[512];
    struct key_file_options options;
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    scratch_directory_make(fixture->directory);
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/keys.mdb", fixture->directory);
    fixture->options = (struct key_file_options){.directory = fixture->directory,
                                                 .map_bytes = 16 << 20,
                                                 .is_synced = true,
                                                 .error = fixture->error,
                                                 .error_bytes = sizeof(fixture->error)};
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    scratch_directory_remove(fixture->directory);
    heap_deinit(&fixture->heap);
    int64_t left = heap_budget_bytes_used(&fixture->budget);
    free(fixture);
    return left == 0 ? 0 : -1;
}

static struct broker_bytes bytes_of(const char *text)
{
    return (struct broker_bytes){text, (uint32_t)strlen(text)};
}

static struct key_file *open_file(struct fixture *fixture)
{
    struct key_file *file = NULL;
    int status = key_file_open(&fixture->heap, &fixture->options, &file);
    assert_string_equal(fixture->error, "");
    assert_int_equal(status, 0);
    return file;
}

static void assert_refused(struct fixture *fixture, int status, const char *why)
{
    struct key_file *file = NULL;
    assert_int_equal(key_file_open(&fixture->heap, &fixture->options, &file), status);
    assert_null(file);
    assert_non_null(strstr(fixture->error, why));
    assert_non_null(strstr(fixture->error, fixture->path));
}

static void put(struct key_file *file, const char *key, const void *value, uint32_t value_bytes)
{
    assert_int_equal(key_file_put(file, KEY_FILE_KEYS, bytes_of(key),
                                  (struct broker_bytes){value, value_bytes},
                                  (struct broker_bytes){0}),
                     0);
}

/* So many that the file has pages beyond its first. */
static void fill(struct fixture *fixture)
{
    struct key_file *file = open_file(fixture);
    assert_int_equal(key_file_begin(file, true), 0);
    for (uint32_t index = 0; index < 2000; index++) {
        char key[16];
        char value[100] = {0};
        (void)snprintf(key, sizeof(key), "key %u", index);
        put(file, key, value, sizeof(value));
    }
    assert_int_equal(key_file_commit(file), 0);
    key_file_close(&fixture->heap, file);
}

static void a_transaction_is_seen_as_a_whole_or_not_at_all(void **state)
{
    struct fixture *fixture = *state;
    struct key_file *file = open_file(fixture);
    struct broker_bytes value;
    struct key_file_entry entry;
    assert_int_equal(key_file_begin(file, true), 0);
    put(file, "b", "12", 2);
    put(file, "a", "3", 1);
    assert_int_equal(key_file_get(file, KEY_FILE_KEYS, bytes_of("b"), &value), 0);
    assert_int_equal(key_file_get(file, KEY_FILE_EXPIRIES, bytes_of("b"), &value), -ENOENT);
    assert_int_equal(key_file_commit(file), 0);
    assert_int_equal(key_file_begin(file, true), 0);
    put(file, "c", "4", 1);
    assert_int_equal(key_file_delete(file, KEY_FILE_KEYS, bytes_of("a")), 0);
    assert_int_equal(key_file_delete(file, KEY_FILE_KEYS, bytes_of("a")), -ENOENT);
    key_file_abort(file);
    key_file_close(&fixture->heap, file);
    file = open_file(fixture);
    assert_int_equal(key_file_begin(file, false), 0);
    assert_int_equal(key_file_seek(file, KEY_FILE_KEYS, (struct broker_bytes){0}, &entry), 0);
    assert_memory_equal(entry.key.bytes, "a", 1);
    assert_int_equal(key_file_next(file, KEY_FILE_KEYS, &entry), 0);
    assert_memory_equal(entry.value.bytes, "12", 2);
    assert_int_equal(entry.value.count, 2);
    assert_int_equal(key_file_next(file, KEY_FILE_KEYS, &entry), -ENOENT);
    assert_int_equal(key_file_seek(file, KEY_FILE_KEYS, bytes_of("aa"), &entry), 0);
    assert_memory_equal(entry.key.bytes, "b", 1);
    assert_true(key_file_bytes_used(file) >= key_file_page_bytes(file));
    key_file_close(&fixture->heap, file);
}

static void pages_of_what_is_deleted_are_used_again(void **state)
{
    struct fixture *fixture = *state;
    static char value[200000];
    fixture->options.map_bytes = 1 << 20;
    struct key_file *file = open_file(fixture);
    for (uint32_t round = 0; round < 30; round++) {
        assert_int_equal(key_file_begin(file, true), 0);
        put(file, "large", value, sizeof(value));
        assert_true(key_file_bytes_used(file) < 300000);
        assert_int_equal(key_file_commit(file), 0);
    }
    assert_int_equal(key_file_begin(file, true), 0);
    int status = 0;
    for (char key[] = "0"; status == 0 && key[0] < '9'; key[0]++)
        status = key_file_put(file, KEY_FILE_KEYS, bytes_of(key), (struct broker_bytes){0},
                              (struct broker_bytes){value, sizeof(value)});
    assert_int_equal(status, -EDQUOT);
    key_file_abort(file);
    assert_int_equal(key_file_begin(file, true), 0);
    put(file, "large", "x", 1);
    assert_int_equal(key_file_commit(file), 0);
    key_file_close(&fixture->heap, file);
}

static void a_new_file_may_not_be_read_by_everybody(void **state)
{
    struct fixture *fixture = *state;
    struct stat stat_;
    mode_t before = umask(0);
    key_file_close(&fixture->heap, open_file(fixture));
    umask(before);
    assert_int_equal(stat(fixture->path, &stat_), 0);
    assert_int_equal(stat_.st_mode & 0777, 0640);
}

static void address_space_that_is_not_to_be_had_is_named(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.map_bytes = UINT64_C(1) << 47;
    assert_refused(fixture, -ENOMEM, "address space");
    assert_non_null(strstr(fixture->error, "140737488355328"));
}

static void a_directory_that_is_not_there_is_named(void **state)
{
    struct fixture *fixture = *state;
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/none", fixture->directory);
    fixture->options.directory = fixture->path;
    assert_refused(fixture, -ENOENT, "No such file");
}

static void keys_that_must_be_there_are_not_made_anew(void **state)
{
    struct fixture *fixture = *state;
    fixture->options.must_exist = true;
    assert_refused(fixture, -ENOENT, "--repair");
    assert_int_equal(access(fixture->path, F_OK), -1);
    close(open(fixture->path, O_WRONLY | O_CREAT, 0600));
    assert_refused(fixture, -ENOENT, "missing or empty");
    fixture->options.must_exist = false;
    fixture->error[0] = '\0';
    key_file_close(&fixture->heap, open_file(fixture));
    fixture->options.must_exist = true;
    key_file_close(&fixture->heap, open_file(fixture));
}

static void a_file_that_was_cut_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct stat stat_;
    fill(fixture);
    assert_int_equal(stat(fixture->path, &stat_), 0);
    assert_int_equal(truncate(fixture->path, stat_.st_size / 2), 0);
    assert_refused(fixture, -EBADMSG, "ends before its last page; restore a copy");
    assert_null(strstr(fixture->error, "16777216")); /* no size of the file */
}

static void a_file_of_something_else_is_refused(void **state)
{
    struct fixture *fixture = *state;
    static char text[20000];
    memset(text, 'x', sizeof(text));
    int fd = open(fixture->path, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(fd, text, sizeof(text)), sizeof(text));
    close(fd);
    assert_refused(fixture, -EBADMSG, "MDB_INVALID");
}

/* Opens the embedded keys in the fixture's directory. */
static int open_keys(struct fixture *fixture, struct helper *helper, struct embedded_keys **out)
{
    const struct embedded_keys_options options = {.directory = fixture->directory,
                                                  .map_bytes = 16 << 20,
                                                  .heap = &fixture->heap,
                                                  .helper = helper,
                                                  .error = fixture->error,
                                                  .error_bytes = sizeof(fixture->error)};
    return embedded_keys_open(&options, out);
}

static void a_state_of_another_format_is_refused(void **state)
{
    struct fixture *fixture = *state;
    unsigned char format[4];
    struct embedded_keys *keys = NULL;
    struct key_file *file = open_file(fixture);
    wire_store_u32(format, EMBEDDED_KEYS_FORMAT + 1);
    assert_int_equal(key_file_begin(file, true), 0);
    assert_int_equal(key_file_put(file, KEY_FILE_META, bytes_of("state"),
                                  (struct broker_bytes){format, sizeof(format)},
                                  (struct broker_bytes){0}),
                     0);
    assert_int_equal(key_file_commit(file), 0);
    key_file_close(&fixture->heap, file);
    assert_int_equal(open_keys(fixture, NULL, &keys), -EBADMSG);
    assert_non_null(strstr(fixture->error, "another format than 1"));
    assert_null(keys);
}

static void keys_without_a_state_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct embedded_keys *keys = NULL;
    fill(fixture);
    assert_int_equal(open_keys(fixture, NULL, &keys), -EBADMSG);
    assert_non_null(strstr(fixture->error, "damaged"));
}

static void on_committed(struct broker_commit *commit)
{
    assert_int_equal(commit->status, BROKER_OK);
}

/* The child: writes the number of each commit to the pipe when it is acknowledged, until it is
 * killed. Every commit has two keys that belong together. */
static _Noreturn void write_until_killed(struct fixture *fixture, int pipe_fd)
{
    struct helper *helper = NULL;
    struct embedded_keys *keys = NULL;
    struct embedded_keys_port *port = NULL;
    const struct embedded_keys_port_options options = {.heap = &fixture->heap};
    int status = helper_create(&fixture->heap, 0, &helper);
    ps_assert(status == 0);
    status = open_keys(fixture, helper, &keys);
    ps_assert(status == 0);
    status = embedded_keys_port_create(keys, &options, &port);
    ps_assert(status == 0 && helper_start(helper) == 0);
    static struct broker_commit commit;
    for (uint64_t number = 1;; number++) {
        commit = (struct broker_commit){
            .request = {.kind = BROKER_REQUEST_COMMIT, .is_taken = true},
            .on_done = on_committed,
            .count = 2,
            .writes = {{.key = bytes_of("first"), .value = {&number, sizeof(number)}},
                       {.key = bytes_of("second"), .value = {&number, sizeof(number)}}}};
        for (uint32_t index = 0; index < 2; index++)
            commit.writes[index].expected_revision = BROKER_ANY_REVISION;
        status = embedded_keys_port_submit(port, &commit.request);
        ps_assert(status == 0);
        while (commit.request.is_taken)
            (void)embedded_keys_port_turn(port, 1700000000000);
        ssize_t count = write(pipe_fd, &number, sizeof(number));
        ps_assert(count == sizeof(number));
    }
}

struct asked {
    struct broker_get get;
    uint64_t numbers[2];
};

static void on_got(struct broker_get *get)
{
    struct asked *asked = ps_container_of(get, struct asked, get);
    for (uint32_t index = 0; index < 2; index++)
        if (get->values[index].status == BROKER_OK)
            memcpy(&asked->numbers[index], get->values[index].value.bytes, sizeof(uint64_t));
}

/* Result: the number that both keys hold. */
static uint64_t read_number(struct fixture *fixture)
{
    struct helper *helper = NULL;
    struct embedded_keys *keys = NULL;
    struct embedded_keys_port *port = NULL;
    const struct embedded_keys_port_options options = {.heap = &fixture->heap};
    struct asked asked = {.get = {.request = {.kind = BROKER_REQUEST_GET, .is_taken = true},
                                  .on_done = on_got,
                                  .count = 2,
                                  .keys = {bytes_of("first"), bytes_of("second")}}};
    assert_int_equal(helper_create(&fixture->heap, 0, &helper), 0);
    assert_int_equal(open_keys(fixture, helper, &keys), 0);
    assert_int_equal(embedded_keys_port_create(keys, &options, &port), 0);
    assert_int_equal(embedded_keys_port_submit(port, &asked.get.request), 0);
    for (uint32_t round = 0; asked.get.request.is_taken; round++) {
        assert_true(round < 10);
        (void)embedded_keys_port_turn(port, 1700000000000);
        helper_turn(helper, 0);
    }
    embedded_keys_port_destroy(port);
    helper_stop(helper);
    embedded_keys_close(keys);
    helper_destroy(&fixture->heap, helper);
    assert_int_equal(asked.numbers[0], asked.numbers[1]);
    return asked.numbers[0];
}

static void a_process_that_is_killed_loses_nothing_acknowledged(void **state)
{
    struct fixture *fixture = *state;
    enum { KILLS = 8 };
    for (uint32_t kill_index = 0; kill_index < KILLS; kill_index++) {
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(ends[0]);
            write_until_killed(fixture, ends[1]);
        }
        close(ends[1]);
        uint64_t acknowledged = 0;
        for (uint32_t seen = 0; seen <= 3 * kill_index; seen++)
            assert_int_equal(read(ends[0], &acknowledged, sizeof(acknowledged)),
                             sizeof(acknowledged));
        assert_int_equal(kill(child, SIGKILL), 0);
        uint64_t later;
        while (read(ends[0], &later, sizeof(later)) == sizeof(later))
            acknowledged = later;
        close(ends[0]);
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        uint64_t found = read_number(fixture);
        assert_in_range(found, acknowledged, acknowledged + 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_transaction_is_seen_as_a_whole_or_not_at_all, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(pages_of_what_is_deleted_are_used_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_file_may_not_be_read_by_everybody, set_up, tear_down),
        cmocka_unit_test_setup_teardown(address_space_that_is_not_to_be_had_is_named, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_is_not_there_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_that_must_be_there_are_not_made_anew, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_cut_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_of_something_else_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_state_of_another_format_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_without_a_state_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_process_that_is_killed_loses_nothing_acknowledged, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
