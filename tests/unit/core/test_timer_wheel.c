/*
 * Timers fire at their tick, whatever the revolution, the budget or the handler does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/base.h"
#include "core/random.h"
#include "core/timer_wheel.h"

enum { TIMERS = 500 };

struct fixture {
    struct timer_wheel wheel;
    struct timer timers[TIMERS];
    uint32_t fired[TIMERS];      /* how often */
    uint32_t fired_tick[TIMERS]; /* the wheel's tick then */
    uint32_t fired_count;
    uint32_t add_again_ticks;  /* the handler adds the timer again, this far ahead; 0: not */
    uint32_t remove_id_plus_1; /* the handler removes this one too */
};

static struct timer *timer_at(void *context, uint32_t id)
{
    struct fixture *fixture = context;
    assert_true(id < TIMERS);
    return &fixture->timers[id];
}

static void on_fire(void *context, uint32_t id)
{
    struct fixture *fixture = context;
    assert_false(timer_is_pending(&fixture->timers[id]));
    fixture->fired[id]++;
    fixture->fired_tick[id] = fixture->wheel.tick;
    fixture->fired_count++;
    if (fixture->add_again_ticks != 0)
        timer_wheel_add(&fixture->wheel, id, fixture->wheel.tick + fixture->add_again_ticks);
    if (fixture->remove_id_plus_1 != 0)
        timer_wheel_remove(&fixture->wheel, fixture->remove_id_plus_1 - 1);
}

static void set_up(struct fixture *fixture, uint32_t tick)
{
    memset(fixture, 0, sizeof(*fixture));
    timer_wheel_init(&fixture->wheel, tick, timer_at, fixture);
}

static bool advance(struct fixture *fixture, uint32_t tick)
{
    return timer_wheel_advance(&fixture->wheel, tick, UINT32_MAX, on_fire);
}

static void a_zeroed_timer_is_in_no_wheel(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    assert_int_equal(sizeof(struct timer), 12);
    assert_false(timer_is_pending(&fixture.timers[0]));
    timer_wheel_remove(&fixture.wheel, 0);
    timer_wheel_add(&fixture.wheel, 0, 5);
    assert_true(timer_is_pending(&fixture.timers[0]));
    timer_wheel_remove(&fixture.wheel, 0);
    assert_false(timer_is_pending(&fixture.timers[0]));
    assert_false(advance(&fixture, 100));
    assert_int_equal(fixture.fired_count, 0);
    struct timer timer;
    memset(&timer, 0xff, sizeof(timer));
    timer_clear(&timer);
    assert_false(timer_is_pending(&timer));
}

static void a_timer_fires_at_its_tick_and_once(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 10);
    timer_wheel_add(&fixture.wheel, 1, 15);
    advance(&fixture, 14);
    assert_int_equal(fixture.fired_count, 0);
    advance(&fixture, 15);
    assert_int_equal(fixture.fired[1], 1);
    assert_int_equal(fixture.fired_tick[1], 15);
    advance(&fixture, 5000);
    assert_int_equal(fixture.fired_count, 1);
    assert_int_equal(fixture.wheel.count, 0);
}

static void a_timer_of_a_later_revolution_stays(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    uint32_t deadline = 3 * TIMER_WHEEL_SLOTS + 7;
    timer_wheel_add(&fixture.wheel, 1, deadline);
    timer_wheel_add(&fixture.wheel, 2, 7);
    for (uint32_t tick = 1; tick < deadline; tick++)
        advance(&fixture, tick);
    assert_int_equal(fixture.fired[1], 0);
    assert_int_equal(fixture.fired[2], 1);
    advance(&fixture, deadline);
    assert_int_equal(fixture.fired[1], 1);
}

static void a_jump_over_revolutions_fires_in_order(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    timer_wheel_add(&fixture.wheel, 1, 5 * TIMER_WHEEL_SLOTS);
    timer_wheel_add(&fixture.wheel, 2, 9);
    timer_wheel_add(&fixture.wheel, 3, 1 << 20);
    advance(&fixture, 1 << 19);
    assert_int_equal(fixture.fired_tick[1], 5 * TIMER_WHEEL_SLOTS);
    assert_int_equal(fixture.fired_tick[2], 9);
    assert_int_equal(fixture.fired[3], 0);
    assert_int_equal(fixture.wheel.tick, 1 << 19);
}

static void a_deadline_that_has_passed_fires_at_the_next_tick(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1000);
    timer_wheel_add(&fixture.wheel, 1, 1000);
    timer_wheel_add(&fixture.wheel, 2, 3);
    advance(&fixture, 1000);
    assert_int_equal(fixture.fired_count, 0);
    advance(&fixture, 1001);
    assert_int_equal(fixture.fired[1], 1);
    assert_int_equal(fixture.fired[2], 1);
}

static void adding_again_moves_the_timer(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    timer_wheel_add(&fixture.wheel, 1, 10);
    timer_wheel_add(&fixture.wheel, 1, 20);
    assert_int_equal(fixture.wheel.count, 1);
    advance(&fixture, 19);
    assert_int_equal(fixture.fired_count, 0);
    advance(&fixture, 20);
    assert_int_equal(fixture.fired_count, 1);
}

static void the_budget_ends_an_advance_that_is_taken_up_again(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    for (uint32_t id = 0; id < 10; id++)
        timer_wheel_add(&fixture.wheel, id, 5 + id / 5); /* five at 5, five at 6 */
    uint32_t calls = 1;
    while (timer_wheel_advance(&fixture.wheel, 50, 3, on_fire)) {
        assert_int_equal(fixture.fired_count, calls * 3);
        calls++;
    }
    assert_int_equal(calls, 4);
    for (uint32_t id = 0; id < 10; id++) {
        assert_int_equal(fixture.fired[id], 1);
        assert_int_equal(fixture.fired_tick[id], 5 + id / 5);
    }
    assert_int_equal(fixture.wheel.tick, 50);
}

/* Between two calls the walk stands on a timer; it may go, and its whole slot with it. */
static void timers_go_while_the_walk_stands_on_them(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    for (uint32_t id = 0; id < 4; id++)
        timer_wheel_add(&fixture.wheel, id, 5); /* walked 3, 2, 1, 0 */
    assert_true(timer_wheel_advance(&fixture.wheel, 9, 1, on_fire));
    assert_int_equal(fixture.fired[3], 1);
    timer_wheel_remove(&fixture.wheel, 2);
    assert_true(timer_wheel_advance(&fixture.wheel, 9, 1, on_fire));
    assert_int_equal(fixture.fired[1], 1);
    timer_wheel_remove(&fixture.wheel, 0);
    assert_false(timer_wheel_advance(&fixture.wheel, 9, 1, on_fire));
    assert_int_equal(fixture.fired_count, 2);
    assert_int_equal(fixture.wheel.tick, 9);
}

static void a_handler_may_remove_the_next_and_add_itself(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    timer_wheel_add(&fixture.wheel, 1, 5);
    timer_wheel_add(&fixture.wheel, 2, 5); /* walked first */
    fixture.remove_id_plus_1 = 2;
    fixture.add_again_ticks = TIMER_WHEEL_SLOTS; /* into the slot that is walked */
    advance(&fixture, 5);
    assert_int_equal(fixture.fired[2], 1);
    assert_int_equal(fixture.fired_count, 1);
    assert_true(timer_is_pending(&fixture.timers[2]));
    assert_false(timer_is_pending(&fixture.timers[1]));
    fixture.add_again_ticks = 0;
    advance(&fixture, 5 + TIMER_WHEEL_SLOTS);
    assert_int_equal(fixture.fired[2], 2);
}

static void the_next_tick_is_that_of_the_first_slot_in_use(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 100);
    uint32_t tick = 0;
    assert_false(timer_wheel_next(&fixture.wheel, &tick));
    timer_wheel_add(&fixture.wheel, 1, 100 + TIMER_WHEEL_SLOTS);
    assert_true(timer_wheel_next(&fixture.wheel, &tick));
    assert_int_equal(tick, 100 + TIMER_WHEEL_SLOTS);
    timer_wheel_add(&fixture.wheel, 2, 300);
    assert_true(timer_wheel_next(&fixture.wheel, &tick));
    assert_int_equal(tick, 300);
    timer_wheel_add(&fixture.wheel, 3, 101);
    assert_true(timer_wheel_next(&fixture.wheel, &tick));
    assert_int_equal(tick, 101);
    /* One of a later revolution is a false alarm at most once in a revolution. */
    timer_wheel_remove(&fixture.wheel, 3);
    timer_wheel_remove(&fixture.wheel, 2);
    timer_wheel_add(&fixture.wheel, 1, 110 + 2 * TIMER_WHEEL_SLOTS);
    assert_true(timer_wheel_next(&fixture.wheel, &tick));
    assert_int_equal(tick, 110);
}

/* Ticks wrap through 2^32; the model is one deadline per timer. */
static void a_random_walk_agrees_with_a_list_of_deadlines(void **state)
{
    (void)state;
    struct fixture fixture;
    for (uint64_t seed = 1; seed <= 4; seed++) {
        uint32_t start = UINT32_MAX - 20000;
        set_up(&fixture, start);
        struct random random;
        random_init(&random, seed);
        uint64_t now = start, deadlines[TIMERS] = {0}; /* 64 bits do not wrap; 0: none */
        for (int step = 0; step < 4000; step++) {
            uint32_t id = (uint32_t)random_below(&random, TIMERS);
            if (random_chance(&random, 3, 4)) {
                deadlines[id] = now + random_between(&random, 1, 3 * TIMER_WHEEL_SLOTS);
                timer_wheel_add(&fixture.wheel, id, (uint32_t)deadlines[id]);
            } else {
                deadlines[id] = 0;
                timer_wheel_remove(&fixture.wheel, id);
            }
            uint32_t next = 0;
            bool has_next = timer_wheel_next(&fixture.wheel, &next);
            now += random_below(&random, 20);
            uint32_t budget = (uint32_t)random_between(&random, 1, 8);
            while (timer_wheel_advance(&fixture.wheel, (uint32_t)now, budget, on_fire))
                ;
            uint32_t pending = 0;
            for (uint32_t i = 0; i < TIMERS; i++) {
                if (deadlines[i] != 0 && deadlines[i] <= now) {
                    assert_int_equal(fixture.fired[i], 1);
                    assert_int_equal(fixture.fired_tick[i], (uint32_t)deadlines[i]);
                    assert_true(has_next && (int32_t)(next - fixture.fired_tick[i]) <= 0);
                    deadlines[i] = 0;
                    fixture.fired[i] = 0;
                }
                assert_int_equal(fixture.fired[i], 0);
                assert_true(timer_is_pending(&fixture.timers[i]) == (deadlines[i] != 0));
                pending += deadlines[i] != 0;
            }
            assert_int_equal(fixture.wheel.count, pending);
        }
        assert_true(now > UINT32_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_timer_is_in_no_wheel),
        cmocka_unit_test(a_timer_fires_at_its_tick_and_once),
        cmocka_unit_test(a_timer_of_a_later_revolution_stays),
        cmocka_unit_test(a_jump_over_revolutions_fires_in_order),
        cmocka_unit_test(a_deadline_that_has_passed_fires_at_the_next_tick),
        cmocka_unit_test(adding_again_moves_the_timer),
        cmocka_unit_test(the_budget_ends_an_advance_that_is_taken_up_again),
        cmocka_unit_test(timers_go_while_the_walk_stands_on_them),
        cmocka_unit_test(a_handler_may_remove_the_next_and_add_itself),
        cmocka_unit_test(the_next_tick_is_that_of_the_first_slot_in_use),
        cmocka_unit_test(a_random_walk_agrees_with_a_list_of_deadlines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
