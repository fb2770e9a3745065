/*
 * A session's subscriptions: found by filter however many there are, and however they come and go.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "support/stored_session.h"

enum { MANY = 500 };

static struct subscription *subscribe(struct stored_fixture *fixture, uint32_t number)
{
    char text[32];
    int bytes = snprintf(text, sizeof(text), "filter/%u", number);
    struct filter *filter = NULL;
    assert_int_equal(filter_acquire(&fixture->hub.index, text, (uint32_t)bytes, &filter), 0);
    struct subscription *subscription =
        session_subscribe(&fixture->hub, &fixture->session, filter, NULL, 1);
    assert_non_null(subscription);
    return subscription;
}

static void check(struct stored_fixture *fixture, struct subscription *const *known)
{
    for (uint32_t i = 0; i < MANY; i++) {
        if (known[i] != NULL)
            assert_ptr_equal(session_subscription(&fixture->session, known[i]->filter), known[i]);
    }
}

/* Everything comes, half goes, some come back, all goes. */
static bool come_and_go(void)
{
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    struct subscription *known[MANY] = {0};
    for (uint32_t i = 0; i < MANY; i++)
        known[i] = subscribe(&fixture, i);
    check(&fixture, known);
    for (uint32_t i = 0; i < MANY; i += 2) {
        session_unsubscribe(&fixture.hub, &fixture.session, known[i]);
        known[i] = NULL;
    }
    check(&fixture, known);
    for (uint32_t i = 0; i < MANY; i += 4)
        known[i] = subscribe(&fixture, i);
    check(&fixture, known);
    bool has_table = fixture.session.by_filter != NULL;
    for (uint32_t i = MANY; i-- > 0;) {
        if (known[i] == NULL)
            continue;
        session_unsubscribe(&fixture.hub, &fixture.session, known[i]);
        known[i] = NULL;
        if (i % 16 == 0)
            check(&fixture, known);
    }
    assert_null(fixture.session.by_filter);
    stored_tear_down(&fixture);
    return has_table;
}

static void each_of_many_subscriptions_is_found(void **state)
{
    (void)state;
    assert_true(come_and_go());
}

/* Between few and many there may be a table or not: who comes then is found, too. */
static void who_comes_when_most_have_gone_is_found(void **state)
{
    (void)state;
    struct stored_fixture fixture;
    stored_set_up(&fixture);
    struct subscription *known[MANY] = {0};
    for (uint32_t i = 0; i < 40; i++)
        known[i] = subscribe(&fixture, i);
    for (uint32_t i = 0; i < 20; i++) {
        session_unsubscribe(&fixture.hub, &fixture.session, known[i]);
        known[i] = NULL;
    }
    for (uint32_t i = 100; i < 105; i++)
        known[i] = subscribe(&fixture, i);
    check(&fixture, known);
    stored_tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_of_many_subscriptions_is_found),
        cmocka_unit_test(who_comes_when_most_have_gone_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
