/*
 * Mail arrives once, in order, within its bounds; and no sleeper misses its doorbell.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/mailbox.h"
#include "core/random.h"

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct mailbox *mailbox;
};

static void set_up(struct fixture *fixture, uint32_t entries_max, uint32_t reserved_max,
                   size_t bytes_max)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    assert_int_equal(
        mailbox_create(&fixture->heap, entries_max, reserved_max, bytes_max, &fixture->mailbox), 0);
}

static void tear_down(struct fixture *fixture)
{
    mailbox_destroy(&fixture->heap, fixture->mailbox);
    assert_int_equal(heap_bytes_net(&fixture->heap), 0);
    heap_deinit(&fixture->heap);
}

static struct mail numbered(uint64_t number)
{
    struct mail mail = {0};
    memcpy(mail.bytes, &number, sizeof(number));
    memcpy(mail.bytes + MAIL_BYTES - sizeof(number), &number, sizeof(number));
    return mail;
}

static uint64_t number_of(const struct mail *mail)
{
    uint64_t first, last;
    memcpy(&first, mail->bytes, sizeof(first));
    memcpy(&last, mail->bytes + MAIL_BYTES - sizeof(last), sizeof(last));
    assert_int_equal(first, last);
    return first;
}

static bool post(struct mailbox *mailbox, uint64_t number, uint32_t weight_bytes)
{
    struct mail mail = numbered(number);
    return mailbox_post(mailbox, &mail, weight_bytes);
}

static bool post_reserved(struct mailbox *mailbox, uint64_t number, uint32_t weight_bytes)
{
    struct mail mail = numbered(number);
    return mailbox_post_reserved(mailbox, &mail, weight_bytes);
}

static void mail_is_seen_after_the_flush_and_not_before(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 0, 1000);
    assert_true(post(fixture.mailbox, 1, 10));
    assert_true(post(fixture.mailbox, 2, 20));
    assert_null(mailbox_take(fixture.mailbox));
    assert_true(mailbox_is_empty(fixture.mailbox));
    assert_false(mailbox_flush(fixture.mailbox)); /* nobody sleeps */
    assert_false(mailbox_is_empty(fixture.mailbox));
    struct mail *mail = mailbox_take(fixture.mailbox);
    assert_int_equal(number_of(mail), 1);
    assert_int_equal(mail->weight_bytes, 10);
    assert_int_equal((uintptr_t)mail % 64, 0);
    assert_int_equal(number_of(mailbox_take(fixture.mailbox)), 2);
    assert_null(mailbox_take(fixture.mailbox));
    tear_down(&fixture);
}

static void an_untaken_mail_comes_again(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 0, 1000);
    post(fixture.mailbox, 1, 100);
    post(fixture.mailbox, 2, 200);
    mailbox_flush(fixture.mailbox);
    mailbox_take(fixture.mailbox);
    mailbox_take(fixture.mailbox);
    mailbox_untake(fixture.mailbox);
    mailbox_give_back(fixture.mailbox);
    /* 200 bytes are still in there. */
    assert_false(post(fixture.mailbox, 3, 801));
    assert_true(post(fixture.mailbox, 3, 800));
    assert_int_equal(number_of(mailbox_take(fixture.mailbox)), 2);
    tear_down(&fixture);
}

static void an_untaken_mail_keeps_nobody_awake(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 0, 1000);
    post(fixture.mailbox, 1, 100);
    mailbox_flush(fixture.mailbox);
    assert_false(mailbox_is_quiet(fixture.mailbox));
    assert_false(mailbox_sleep(fixture.mailbox));
    mailbox_take(fixture.mailbox);
    mailbox_untake(fixture.mailbox);
    assert_true(mailbox_is_quiet(fixture.mailbox));
    assert_false(mailbox_is_empty(fixture.mailbox));
    assert_true(mailbox_sleep(fixture.mailbox));
    /* New mail rings all the same. */
    post(fixture.mailbox, 2, 100);
    assert_true(mailbox_flush(fixture.mailbox));
    assert_int_equal(number_of(mailbox_take(fixture.mailbox)), 1);
    assert_false(mailbox_is_quiet(fixture.mailbox));
    assert_int_equal(number_of(mailbox_take(fixture.mailbox)), 2);
    assert_true(mailbox_is_quiet(fixture.mailbox));
    tear_down(&fixture);
}

static void ordinary_mail_leaves_the_reserved_room(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 16, 1 << 20);
    uint64_t number = 0;
    while (post(fixture.mailbox, number, 1))
        number++;
    assert_int_equal(number, 48);
    while (post_reserved(fixture.mailbox, number, 1))
        number++;
    assert_int_equal(number, 64);
    mailbox_flush(fixture.mailbox);
    for (uint64_t i = 0; i < 64; i++)
        assert_int_equal(number_of(mailbox_take(fixture.mailbox)), i);
    /* Taken is not yet given back. */
    assert_false(post_reserved(fixture.mailbox, 64, 1));
    mailbox_give_back(fixture.mailbox);
    assert_true(post(fixture.mailbox, 64, 1));
    tear_down(&fixture);
}

static void the_byte_cap_holds_except_for_reserved_or_single_mail(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 4, 1000);
    assert_true(post(fixture.mailbox, 0, 5000)); /* the only one */
    assert_false(post(fixture.mailbox, 1, 1));
    assert_true(post_reserved(fixture.mailbox, 1, 5000));
    mailbox_flush(fixture.mailbox);
    mailbox_take(fixture.mailbox);
    mailbox_give_back(fixture.mailbox);
    assert_false(post(fixture.mailbox, 2, 0));
    mailbox_take(fixture.mailbox);
    mailbox_give_back(fixture.mailbox);
    assert_true(post(fixture.mailbox, 2, 600));
    assert_true(post(fixture.mailbox, 3, 400));
    assert_false(post(fixture.mailbox, 4, 1));
    assert_true(post(fixture.mailbox, 4, 0));
    tear_down(&fixture);
}

static void a_sleeper_is_rung_once(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 0, 1000);
    assert_true(mailbox_sleep(fixture.mailbox));
    assert_false(mailbox_flush(fixture.mailbox)); /* nothing new */
    post(fixture.mailbox, 1, 1);
    assert_true(mailbox_flush(fixture.mailbox));
    post(fixture.mailbox, 2, 1);
    assert_false(mailbox_flush(fixture.mailbox)); /* its doorbell rings already */
    mailbox_awake(fixture.mailbox);
    assert_false(mailbox_sleep(fixture.mailbox)); /* there is mail */
    post(fixture.mailbox, 3, 1);
    assert_false(mailbox_flush(fixture.mailbox));
    tear_down(&fixture);
}

static void creation_survives_every_failing_allocation(void **state)
{
    (void)state;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    struct mailbox *mailbox = NULL;
    uint64_t fail_at = 1;
    for (;; fail_at++) {
        heap_fail_at(&heap, fail_at);
        int status = mailbox_create(&heap, 64, 0, 1000, &mailbox);
        if (status == 0)
            break;
        assert_int_equal(status, -ENOMEM);
        assert_null(mailbox);
        assert_int_equal(heap_bytes_net(&heap), 0);
    }
    assert_int_equal(fail_at, 3);
    mailbox_destroy(&heap, mailbox);
    mailbox_destroy(&heap, NULL);
    assert_int_equal(heap_bytes_net(&heap), 0);
    heap_deinit(&heap);
}

/* Indexes run through 2^32 without a seam. */
static void indexes_wrap(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 0, 1000);
    struct mailbox *mailbox = fixture.mailbox;
    uint32_t start = UINT32_MAX - 100;
    mailbox->tail = mailbox->seen_head = mailbox->head = mailbox->seen_published = start;
    mailbox->published = mailbox->consumed = start;
    for (uint64_t number = 0; number < 200; number++) {
        uint32_t batch = 1 + (uint32_t)(number % 64);
        for (uint32_t i = 0; i < batch; i++)
            assert_true(post(mailbox, i, 1));
        mailbox_flush(mailbox);
        for (uint32_t i = 0; i < batch; i++)
            assert_int_equal(number_of(mailbox_take(mailbox)), i);
        assert_null(mailbox_take(mailbox));
        mailbox_give_back(mailbox);
    }
    tear_down(&fixture);
}

/* One thread does what a shard does with its mail to itself, against a model in plain counters. */
static void a_random_walk_keeps_order_and_bounds(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 8, 5000);
    struct mailbox *mailbox = fixture.mailbox;
    struct random random;
    random_init(&random, 11);
    uint64_t posted = 0, published = 0, taken = 0, given = 0;
    uint64_t weights = 0, weights_of[64];
    for (int step = 0; step < 50000; step++) {
        uint32_t weight = (uint32_t)random_below(&random, 400);
        uint64_t waiting = posted - given;
        switch (random_below(&random, 6)) {
        case 0:
        case 1: {
            bool fits = waiting < 64 - 8 && (weights == 0 || weights + weight <= 5000);
            assert_true(post(mailbox, posted, weight) == fits);
            if (fits) {
                weights_of[posted++ % 64] = weight;
                weights += weight;
            }
            break;
        }
        case 2:
            assert_true(post_reserved(mailbox, posted, weight) == (waiting < 64));
            if (waiting < 64) {
                weights_of[posted++ % 64] = weight;
                weights += weight;
            }
            break;
        case 3:
            mailbox_flush(mailbox);
            published = posted;
            break;
        case 4: {
            struct mail *mail = mailbox_take(mailbox);
            assert_true((mail != NULL) == (taken < published));
            if (mail != NULL)
                assert_int_equal(number_of(mail), taken++);
            break;
        }
        case 5:
            mailbox_give_back(mailbox);
            for (; given < taken; given++)
                weights -= weights_of[given % 64];
            break;
        }
        assert_true(mailbox_is_empty(mailbox) == (taken == published));
    }
    assert_true(taken > 1000);
    tear_down(&fixture);
}

/* The two sides of the stress: a semaphore of one stands for the consumer's ring. */
struct stress {
    struct mailbox *mailbox;
    pthread_mutex_t mutex;
    pthread_cond_t rung;
    bool is_rung;
    uint64_t count;
    uint64_t announcements;
    uint64_t doorbells;
};

static void ring_doorbell(struct stress *stress)
{
    pthread_mutex_lock(&stress->mutex);
    stress->is_rung = true;
    pthread_cond_signal(&stress->rung);
    pthread_mutex_unlock(&stress->mutex);
    stress->doorbells++;
}

static void await_doorbell(struct stress *stress)
{
    pthread_mutex_lock(&stress->mutex);
    while (!stress->is_rung)
        pthread_cond_wait(&stress->rung, &stress->mutex);
    stress->is_rung = false;
    pthread_mutex_unlock(&stress->mutex);
}

static void *produce(void *context)
{
    struct stress *stress = context;
    struct random random;
    random_init(&random, 3);
    for (uint64_t number = 0; number < stress->count;) {
        uint64_t batch = random_between(&random, 1, 20);
        while (batch-- > 0 && number < stress->count &&
               post(stress->mailbox, number, (uint32_t)(number % 100)))
            number++;
        if (mailbox_flush(stress->mailbox))
            ring_doorbell(stress);
        if (random_chance(&random, 1, 8))
            sched_yield();
    }
    return NULL;
}

/* Were a doorbell missed, this test would end by its time limit. */
static void two_threads_lose_nothing_and_sleep_safely(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 64, 8, 2000);
    struct stress stress = {.mailbox = fixture.mailbox, .count = 200000};
    pthread_mutex_init(&stress.mutex, NULL);
    pthread_cond_init(&stress.rung, NULL);
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, &stress), 0);
    uint64_t expected = 0;
    while (expected < stress.count) {
        struct mail *mail = mailbox_take(stress.mailbox);
        if (mail != NULL) {
            assert_int_equal(number_of(mail), expected);
            assert_int_equal(mail->weight_bytes, expected % 100);
            expected++;
            if (expected % 7 == 0)
                mailbox_give_back(stress.mailbox);
            continue;
        }
        mailbox_give_back(stress.mailbox);
        stress.announcements++;
        if (mailbox_sleep(stress.mailbox)) {
            await_doorbell(&stress);
            mailbox_awake(stress.mailbox);
        }
    }
    assert_int_equal(pthread_join(producer, NULL), 0);
    assert_true(mailbox_is_empty(stress.mailbox));
    assert_true(stress.doorbells <= stress.announcements);
    pthread_cond_destroy(&stress.rung);
    pthread_mutex_destroy(&stress.mutex);
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_is_seen_after_the_flush_and_not_before),
        cmocka_unit_test(an_untaken_mail_comes_again),
        cmocka_unit_test(an_untaken_mail_keeps_nobody_awake),
        cmocka_unit_test(ordinary_mail_leaves_the_reserved_room),
        cmocka_unit_test(the_byte_cap_holds_except_for_reserved_or_single_mail),
        cmocka_unit_test(a_sleeper_is_rung_once),
        cmocka_unit_test(creation_survives_every_failing_allocation),
        cmocka_unit_test(indexes_wrap),
        cmocka_unit_test(a_random_walk_keeps_order_and_bounds),
        cmocka_unit_test(two_threads_lose_nothing_and_sleep_safely),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
