/*
 * Password files: what mosquitto_passwd makes is understood, and what is wrong is named.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"
#include "session/password_file.h"

#define HASH64                                                                                     \
    "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw=="
#define SALT12 "AAECAwQFBgcICQoL"

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct password_file *file;
    char error[512];
};

static void set_up(struct fixture *fixture)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
}

static void tear_down(struct fixture *fixture)
{
    password_file_destroy(&fixture->heap, fixture->file);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
}

static int load(struct fixture *fixture, const char *path)
{
    password_file_destroy(&fixture->heap, fixture->file);
    fixture->file = NULL;
    return password_file_load(&fixture->heap, path, &fixture->file, fixture->error,
                              sizeof(fixture->error));
}

/* Loads a text; the path stands as "F" in the error. */
static int load_text(struct fixture *fixture, const char *text)
{
    char path[] = "/tmp/penstock_password_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    int result = load(fixture, path);
    unlink(path);
    if (result != 0) {
        assert_memory_equal(fixture->error, path, strlen(path));
        memmove(fixture->error + 1, fixture->error + strlen(path),
                strlen(fixture->error) - strlen(path) + 1);
        fixture->error[0] = 'F';
    }
    return result;
}

static bool check(const struct fixture *fixture, const char *user, const char *password)
{
    return password_check(fixture->file, user, strlen(user), password, strlen(password));
}

static void a_file_of_mosquitto_passwd_opens_for_its_users(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(load(&fixture, PENSTOCK_FIXTURES "/mosquitto_passwd"), 0);
    assert_int_equal(password_file_user_count(fixture.file), 4);
    assert_true(check(&fixture, "alice", "wonderland"));
    assert_true(check(&fixture, "bob", ""));
    assert_true(check(&fixture, "user with space", "p\xc3\xa4 ss:word"));
    assert_true(check(&fixture, "old-user", "old-secret"));

    assert_false(check(&fixture, "alice", "Wonderland"));
    assert_false(check(&fixture, "alice", ""));
    assert_false(check(&fixture, "alice", "wonderlan"));
    assert_false(check(&fixture, "bob", "wonderland"));
    assert_false(check(&fixture, "old-user", "old-secreT"));
    assert_false(check(&fixture, "", ""));
    assert_false(check(&fixture, "alic", "wonderland"));
    assert_false(check(&fixture, "alice2", "wonderland"));
    assert_false(password_check(fixture.file, "bob", 3, NULL, 1u << 31));
    assert_true(password_check(fixture.file, "bob", 3, NULL, 0));
    tear_down(&fixture);
}

static void a_zero_byte_is_part_of_a_password(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(load(&fixture, PENSTOCK_FIXTURES "/mosquitto_passwd"), 0);
    assert_false(password_check(fixture.file, "alice", 5, "wonderland\0x", 12));
    assert_false(password_check(fixture.file, "old-user", 8, "old-secret\0", 11));
    assert_false(password_check(fixture.file, "alice\0", 6, "wonderland", 10));
    tear_down(&fixture);
}

static void comments_empty_lines_and_line_ends_say_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    assert_int_equal(load_text(&fixture, ""), 0);
    assert_int_equal(password_file_user_count(fixture.file), 0);
    assert_false(check(&fixture, "a", "b"));
    assert_int_equal(load_text(&fixture, "# c\r\n\n  \n b:$7$1$" SALT12 "$" HASH64 " \r\n"
                                         "a:$6$" SALT12 "$" HASH64),
                     0);
    assert_int_equal(password_file_user_count(fixture.file), 2);
    tear_down(&fixture);
}

static void what_is_wrong_is_named_with_its_line(void **state)
{
    (void)state;
    static const char good[] = "a:$7$1$" SALT12 "$" HASH64 "\n";
    static const char plain[] = "F:2: the password is not hashed; allowed: $7$ and $6$ hashes, as "
                                "mosquitto_passwd makes them";
    static const char iterations[] = "F:2: wrong number of iterations; allowed: 1 to 10000000";
    static const char salt[] = "F:2: wrong salt; allowed: 1 to 64 bytes in base64";
    static const char hash[] = "F:2: wrong hash; allowed: 64 bytes in base64";
    static const char *const cases[][2] = {
        {"b", "F:2: no ':' after the user's name; allowed: user:hash"},
        {":$7$1$" SALT12 "$" HASH64,
         "F:2: wrong length of the user's name; allowed: 1 to 65535 bytes"},
        {"b:", plain},
        {"b:secret", plain},
        {"b:$8$1$" SALT12 "$" HASH64, plain},
        {"b:$7$0$" SALT12 "$" HASH64, iterations},
        {"b:$7$10000001$" SALT12 "$" HASH64, iterations},
        {"b:$7$4294967297$" SALT12 "$" HASH64, iterations},
        {"b:$7$-1$" SALT12 "$" HASH64, iterations},
        {"b:$7$", iterations},
        {"b:$7$1$", salt},
        {"b:$7$1$$" HASH64, salt},
        {"b:$6$A$" HASH64, salt},
        {"b:$6$A===$" HASH64, salt},
        {"b:$6$A=AA$" HASH64, salt},
        {"b:$6$" HASH64 "AAAA$" HASH64, salt},
        {"b:$6$" SALT12, hash},
        {"b:$6$" SALT12 "$" SALT12, hash},
        {"b:$6$" SALT12 "$" HASH64 "$", hash},
        {"b:$6$" SALT12 "$*" HASH64, hash},
        {"b:$6$" SALT12 "$" HASH64 HASH64 HASH64 HASH64, hash},
        {"a:$6$" SALT12 "$" HASH64, "F:2: user \"a\" stands in line 1 already"},
    };
    struct fixture fixture;
    set_up(&fixture);
    for (size_t i = 0; i < ps_array_count(cases); i++) {
        char text[1024];
        snprintf(text, sizeof(text), "%s%s", good, cases[i][0]);
        assert_int_equal(load_text(&fixture, text), -EINVAL);
        assert_string_equal(fixture.error, cases[i][1]);
    }
    assert_int_equal(load(&fixture, "/nowhere/passwords"), -ENOENT);
    assert_string_equal(fixture.error,
                        "/nowhere/passwords: cannot be read: No such file or directory");
    tear_down(&fixture);
}

static void many_users_are_found_by_name(void **state)
{
    (void)state;
    enum { USERS = 100 };
    struct fixture fixture;
    set_up(&fixture);
    static char text[USERS * 200];
    size_t count = 0;
    for (int i = USERS; i > 0; i--)
        count += (size_t)snprintf(text + count, sizeof(text) - count, "u%d:$6$%s\n", i,
                                  "DzSyij06Fb2RIGM5$uKs0RwisqsV+7SFG1hYyQ30/hU3tw9/nP+6n6qHj+"
                                  "FTAhEomr1wi1m5OCX4oK9jO04E6u5nPwXVV/XFaACWOaw==");
    assert_int_equal(load_text(&fixture, text), 0);
    for (int i = 0; i <= USERS + 1; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%d", i);
        assert_int_equal(check(&fixture, name, "old-secret"), i >= 1 && i <= USERS);
    }
    tear_down(&fixture);
}

static void missing_memory_is_told_and_leaves_nothing(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture);
    int result = -ENOMEM;
    uint32_t failures = 0;
    for (uint64_t allocation = 1; result == -ENOMEM; allocation++) {
        fixture.heap.fail_at = fixture.heap.allocations + allocation;
        result = load_text(&fixture, "a:$6$" SALT12 "$" HASH64);
        failures += result == -ENOMEM;
        if (result == -ENOMEM)
            assert_int_equal(fixture.heap.bytes_net, 0);
    }
    assert_int_equal(result, 0);
    assert_int_equal(failures, 3);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_of_mosquitto_passwd_opens_for_its_users),
        cmocka_unit_test(a_zero_byte_is_part_of_a_password),
        cmocka_unit_test(comments_empty_lines_and_line_ends_say_nothing),
        cmocka_unit_test(what_is_wrong_is_named_with_its_line),
        cmocka_unit_test(many_users_are_found_by_name),
        cmocka_unit_test(missing_memory_is_told_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
