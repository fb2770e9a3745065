/*
 * Jobs go to the helper and come back to the port they came from, started or not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <semaphore.h>

#include "core/heap.h"
#include "core/helper_thread.h"

#include "core/base.h"

struct work {
    struct helper_job job;
    uint32_t runs;
};

struct fixture {
    struct heap_budget budget;
    struct heap heap;
    struct helper *helper;
    struct helper_port *port;
    sem_t woken;
    uint32_t wakes;
    uint32_t ticks;
};

static void on_wake(void *context)
{
    struct fixture *fixture = context;
    fixture->wakes++;
    sem_post(&fixture->woken);
}

static void on_tick(void *context)
{
    struct fixture *fixture = context;
    fixture->ticks++;
    sem_post(&fixture->woken);
}

static void run_work(void *context)
{
    struct work *work = context;
    work->runs++;
}

static void set_up(struct fixture *fixture, uint32_t jobs_max)
{
    *fixture = (struct fixture){0};
    heap_init(&fixture->heap, &fixture->budget);
    sem_init(&fixture->woken, 0, 0);
    assert_int_equal(helper_create(&fixture->heap, jobs_max, &fixture->helper), 0);
    assert_int_equal(
        helper_port_create(&fixture->heap, fixture->helper, on_wake, fixture, &fixture->port), 0);
}

static void tear_down(struct fixture *fixture)
{
    helper_port_destroy(&fixture->heap, fixture->port);
    helper_destroy(&fixture->heap, fixture->helper);
    assert_int_equal(fixture->heap.bytes_net, 0);
    heap_deinit(&fixture->heap);
    sem_destroy(&fixture->woken);
}

static struct work new_work(void)
{
    return (struct work){.job = {.run = run_work}};
}

static int submit(struct fixture *fixture, struct work *work)
{
    work->job.context = work;
    return helper_submit(fixture->helper, fixture->port, &work->job);
}

static void jobs_come_back_in_order_with_one_wake(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    struct work works[3] = {new_work(), new_work(), new_work()};
    for (size_t i = 0; i < ps_array_count(works); i++)
        assert_int_equal(submit(&fixture, &works[i]), 0);
    assert_null(helper_take(fixture.port));
    assert_int_equal(helper_counters(fixture.helper)->waiting, 3);
    helper_turn(fixture.helper, 1);
    assert_int_equal(fixture.wakes, 1);
    for (size_t i = 0; i < ps_array_count(works); i++) {
        assert_ptr_equal(helper_take(fixture.port), &works[i].job);
        assert_int_equal(works[i].runs, 1);
    }
    assert_null(helper_take(fixture.port));
    assert_int_equal(helper_counters(fixture.helper)->waiting, 0);
    assert_int_equal(helper_counters(fixture.helper)->submitted, 3);
    tear_down(&fixture);
}

static void a_full_queue_refuses_until_a_completion_is_taken(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 2);
    struct work works[3] = {new_work(), new_work(), new_work()};
    assert_int_equal(submit(&fixture, &works[0]), 0);
    assert_int_equal(submit(&fixture, &works[1]), 0);
    assert_int_equal(submit(&fixture, &works[2]), -EAGAIN);
    helper_turn(fixture.helper, 1);
    assert_int_equal(submit(&fixture, &works[2]), -EAGAIN);
    assert_int_equal(helper_counters(fixture.helper)->refused, 2);
    assert_ptr_equal(helper_take(fixture.port), &works[0].job);
    assert_int_equal(submit(&fixture, &works[2]), 0);
    helper_turn(fixture.helper, 2);
    assert_ptr_equal(helper_take(fixture.port), &works[1].job);
    assert_ptr_equal(helper_take(fixture.port), &works[2].job);
    tear_down(&fixture);
}

/* Two jobs that release themselves, in a queue for one. */
static void release_counter(void *context)
{
    struct fixture *fixture = context;
    fixture->ticks++;
}

static void a_job_without_a_port_is_forgotten_before_it_runs(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 1);
    for (uint32_t i = 0; i < 2; i++) {
        struct helper_job *job = heap_alloc(&fixture.heap, sizeof(*job));
        *job = (struct helper_job){.run = release_counter, .context = &fixture};
        assert_int_equal(helper_submit(fixture.helper, NULL, job), 0);
        helper_turn(fixture.helper, 1);
        heap_free(&fixture.heap, job);
    }
    assert_int_equal(fixture.ticks, 2);
    tear_down(&fixture);
}

static void periodic_tasks_run_when_due_or_signalled(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    const uint64_t ms = 1000000;
    assert_int_equal(helper_add_periodic(fixture.helper, 50, on_tick, &fixture), 0);
    assert_int_equal(helper_turn(fixture.helper, 1000 * ms), 1050 * ms);
    assert_int_equal(fixture.ticks, 1);
    assert_int_equal(helper_turn(fixture.helper, 1049 * ms), 1050 * ms);
    assert_int_equal(fixture.ticks, 1);
    assert_int_equal(helper_turn(fixture.helper, 1050 * ms), 1100 * ms);
    assert_int_equal(fixture.ticks, 2);
    helper_signal(fixture.helper);
    assert_int_equal(helper_turn(fixture.helper, 1060 * ms), 1110 * ms);
    assert_int_equal(fixture.ticks, 3);
    for (uint32_t i = 1; i < HELPER_PERIODICS_MAX; i++)
        assert_int_equal(helper_add_periodic(fixture.helper, 50, on_tick, &fixture), 0);
    assert_int_equal(helper_add_periodic(fixture.helper, 50, on_tick, &fixture), -ENOSPC);
    tear_down(&fixture);
}

static void the_thread_runs_jobs_and_wakes_the_port(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    assert_int_equal(helper_start(fixture.helper), 0);
    for (uint32_t i = 0; i < 100; i++) {
        struct work work = new_work();
        assert_int_equal(submit(&fixture, &work), 0);
        sem_wait(&fixture.woken);
        assert_ptr_equal(helper_take(fixture.port), &work.job);
        assert_int_equal(work.runs, 1);
    }
    helper_stop(fixture.helper);
    tear_down(&fixture);
}

static void the_thread_runs_periodic_tasks_on_time_and_on_signal(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    assert_int_equal(helper_add_periodic(fixture.helper, 1, on_tick, &fixture), 0);
    assert_int_equal(helper_start(fixture.helper), 0);
    for (uint32_t i = 0; i < 3; i++)
        sem_wait(&fixture.woken);
    helper_stop(fixture.helper);
    tear_down(&fixture);

    set_up(&fixture, 0);
    assert_int_equal(helper_add_periodic(fixture.helper, 3600000, on_tick, &fixture), 0);
    assert_int_equal(helper_start(fixture.helper), 0);
    sem_wait(&fixture.woken);
    helper_signal(fixture.helper);
    sem_wait(&fixture.woken);
    helper_stop(fixture.helper);
    assert_int_equal(fixture.ticks, 3);
    tear_down(&fixture);
}

enum { STOPPED_JOBS = 200 };

static void stopping_finishes_what_was_accepted(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, 0);
    assert_int_equal(helper_start(fixture.helper), 0);
    struct work works[STOPPED_JOBS];
    for (uint32_t i = 0; i < STOPPED_JOBS; i++) {
        works[i] = new_work();
        assert_int_equal(submit(&fixture, &works[i]), 0);
    }
    helper_stop(fixture.helper);
    struct work late = new_work();
    assert_int_equal(submit(&fixture, &late), -ESHUTDOWN);
    for (uint32_t i = 0; i < STOPPED_JOBS; i++)
        assert_ptr_equal(helper_take(fixture.port), &works[i].job);
    assert_null(helper_take(fixture.port));
    helper_stop(fixture.helper);
    tear_down(&fixture);
}

static void the_last_jobs_of_a_port_are_waited_for(void **state)
{
    (void)state;
    for (uint32_t is_started = 0; is_started < 2; is_started++) {
        struct fixture fixture;
        struct work works[3];
        set_up(&fixture, 4);
        if (is_started)
            assert_int_equal(helper_start(fixture.helper), 0);
        for (uint32_t i = 0; i < 3; i++) {
            works[i] = (struct work){.job = {.run = run_work, .context = &works[i]}};
            assert_int_equal(helper_submit(fixture.helper, fixture.port, &works[i].job), 0);
        }
        for (uint32_t i = 0; i < 3; i++) {
            assert_ptr_equal(helper_take_last(fixture.port), &works[i].job);
            assert_int_equal(works[i].runs, 1);
        }
        assert_null(helper_take_last(fixture.port));
        helper_stop(fixture.helper);
        tear_down(&fixture);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_come_back_in_order_with_one_wake),
        cmocka_unit_test(a_full_queue_refuses_until_a_completion_is_taken),
        cmocka_unit_test(a_job_without_a_port_is_forgotten_before_it_runs),
        cmocka_unit_test(periodic_tasks_run_when_due_or_signalled),
        cmocka_unit_test(the_thread_runs_jobs_and_wakes_the_port),
        cmocka_unit_test(the_thread_runs_periodic_tasks_on_time_and_on_signal),
        cmocka_unit_test(stopping_finishes_what_was_accepted),
        cmocka_unit_test(the_last_jobs_of_a_port_are_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
