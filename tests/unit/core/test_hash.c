/*
 * The hash is xxh3, whose values are part of what gateways must agree on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/hash.h"

/* A partition's number derives from these: they may never change. */
static void unseeded_hashes_are_fixed_forever(void **state)
{
    (void)state;
    assert_int_equal(hash_bytes("", 0), 0x2d06800538d394c2ULL);
    assert_int_equal(hash_bytes("a", 1), 0xe6c632b61e964e1fULL);
    assert_int_equal(hash_bytes("abc", 3), 0x78af5f94892f3950ULL);
}

static void every_byte_and_the_length_count(void **state)
{
    (void)state;
    char bytes[300];
    memset(bytes, 'x', sizeof(bytes));
    for (size_t count = 1; count < sizeof(bytes); count++) {
        uint64_t hash = hash_bytes(bytes, count);
        assert_int_not_equal(hash, hash_bytes(bytes, count - 1));
        bytes[count / 2] ^= 1;
        assert_int_not_equal(hash, hash_bytes(bytes, count));
        bytes[count / 2] ^= 1;
        assert_int_equal(hash, hash_bytes(bytes, count));
    }
}

static void a_seed_gives_another_hash(void **state)
{
    (void)state;
    static const char topic[] = "plant/7/temperature";
    size_t count = sizeof(topic) - 1;
    assert_int_equal(hash_bytes_seeded(0, topic, count), hash_bytes(topic, count));
    assert_int_equal(hash_bytes_seeded(1, topic, count), hash_bytes_seeded(1, topic, count));
    assert_int_not_equal(hash_bytes_seeded(1, topic, count), hash_bytes(topic, count));
    assert_int_not_equal(hash_bytes_seeded(1, topic, count), hash_bytes_seeded(2, topic, count));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unseeded_hashes_are_fixed_forever),
        cmocka_unit_test(every_byte_and_the_length_count),
        cmocka_unit_test(a_seed_gives_another_hash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
