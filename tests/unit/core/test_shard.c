/*
 * The shard's turn, step by step, on the simulated ring: several shards on one thread.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/shard.h"
#include "sim/network.h"

enum { SHARDS = 3, ENTRIES_MAX = 64, RESERVED_MAX = 8, MS = 1000000 };

struct fixture {
    struct sim_world *world;
    struct heap_budget budget;
    struct heap heap;
    struct ring *rings[SHARDS];
    struct shard *shards[SHARDS];
    char trace[64]; /* what ran, in order */
    size_t trace_count;
    uint64_t seen_ns[4];
    uint64_t deadlines_ns[2];
    uint32_t more; /* turns in which the step asks for another */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    const struct sim_options options = {.seed = 3, .start_ns = 50 * MS, .start_wall_ms = 1000};
    f->world = sim_world_create(&options);
    heap_init(&f->heap, &f->budget);
    for (uint32_t i = 0; i < SHARDS; i++) {
        const struct ring_options ring_options = {.sockets_max = 8};
        char error[100];
        assert_int_equal(ring_create(&ring_options, &f->rings[i], error, sizeof(error)), 0);
        assert_int_equal(ring_start(f->rings[i]), 0);
        const struct shard_options shard_options = {
            .index = i,
            .count = SHARDS,
            .ring = f->rings[i],
            .heap = &f->heap,
            .mailbox_entries_max = ENTRIES_MAX,
            .mailbox_reserved_max = RESERVED_MAX,
            .mailbox_bytes_max = 1 << 20,
        };
        assert_int_equal(shard_create(&shard_options, &f->shards[i]), 0);
    }
    for (uint32_t i = 0; i < SHARDS; i++)
        shard_connect(f->shards[i], f->shards);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    for (uint32_t i = 0; i < SHARDS; i++) {
        shard_destroy(f->shards[i]);
        ring_destroy(f->rings[i]);
    }
    sim_world_destroy(f->world);
    assert_int_equal(heap_bytes_net(&f->heap), 0);
    heap_deinit(&f->heap);
    free(f);
    return 0;
}

static void trace(struct fixture *f, char what)
{
    assert_true(f->trace_count < sizeof(f->trace) - 1);
    f->trace[f->trace_count++] = what;
}

static void on_event(void *context, const struct ring_event *event)
{
    trace(context, event->kind == RING_ACCEPTED ? 'e' : '?');
}

static bool first_step(void *context, struct shard *shard)
{
    struct fixture *f = context;
    trace(f, '1');
    f->seen_ns[0] = shard->now_ns;
    sim_world_advance(f->world, sim_world_now_ns(f->world) + 7 * MS); /* time passes in the turn */
    return false;
}

static bool second_step(void *context, struct shard *shard)
{
    struct fixture *f = context;
    trace(f, '2');
    f->seen_ns[1] = shard->now_ns;
    return f->more != 0 && f->more-- != 0;
}

static uint64_t first_deadline(void *context, const struct shard *shard)
{
    (void)shard;
    return ((struct fixture *)context)->deadlines_ns[0];
}

static uint64_t second_deadline(void *context, const struct shard *shard)
{
    (void)shard;
    return ((struct fixture *)context)->deadlines_ns[1];
}

static void add_steps(struct fixture *f)
{
    struct shard *shard = f->shards[0];
    shard->on_event = on_event;
    shard->event_context = f;
    shard_add_step(shard, &(struct shard_step){"first", first_step, first_deadline, f});
    shard_add_step(shard, &(struct shard_step){"second", second_step, second_deadline, f});
    f->deadlines_ns[0] = UINT64_MAX;
    f->deadlines_ns[1] = UINT64_MAX;
}

static void a_turn_gives_events_then_runs_the_steps_in_their_order(void **state)
{
    struct fixture *f = *state;
    add_steps(f);
    struct sockaddr_storage address = {.ss_family = AF_INET};
    const struct ring_listen_options options = {.backlog = 4};
    uint32_t listener = 0;
    assert_int_equal(ring_listen(f->rings[0], &address, sizeof(address), true, &options, &listener),
                     0);
    ring_accept(f->rings[0], listener, 2);
    sim_client_connect(f->world, &address);
    sim_client_connect(f->world, &address);
    shard_turn(f->shards[0], true);
    shard_turn(f->shards[0], true);
    assert_string_equal(f->trace, "ee1212");
    assert_int_equal(f->shards[0]->counters.turns, 2);
}

static void a_turn_has_one_clock(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    add_steps(f);
    sim_world_advance(f->world, 50 * MS + 340 * MS);
    shard_turn(shard, true);
    assert_int_equal(f->seen_ns[0], 390 * MS);
    assert_int_equal(f->seen_ns[1], 390 * MS);
    assert_int_equal(shard->tick, 3);
    assert_int_equal(shard->wall_ms, 1340);
    shard_turn(shard, true);
    assert_int_equal(f->seen_ns[1], 397 * MS);
}

static void a_shard_with_more_to_do_does_not_sleep(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    add_steps(f);
    f->more = 2;
    assert_true(shard_turn(shard, true)); /* the first turn of all looks before it sleeps */
    assert_true(shard_turn(shard, true));
    assert_false(shard_turn(shard, true));
    assert_int_equal(shard->counters.sleeps, 0);
    assert_false(shard_turn(shard, false)); /* may not */
    assert_int_equal(shard->counters.sleeps, 0);
    assert_false(shard_turn(shard, true));
    assert_int_equal(shard->counters.sleeps, 1);
}

static void turns_that_do_not_sleep_are_busy_time_too(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    add_steps(f);
    shard_turn(shard, true); /* what was before the first turn is nobody's */
    f->more = 2;
    for (uint32_t turn = 0; turn < 3; turn++)
        shard_turn(shard, true);
    assert_int_equal(shard->counters.busy_ns, 3 * 7 * MS);
    assert_int_equal(shard->counters.longest_turn_ns, 7 * MS);
}

static void the_earliest_deadline_counts(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    assert_true(shard_deadline(shard) == UINT64_MAX);
    add_steps(f);
    assert_true(shard_deadline(shard) == UINT64_MAX);
    f->deadlines_ns[1] = 900;
    assert_int_equal(shard_deadline(shard), 900);
    f->deadlines_ns[0] = 300;
    assert_int_equal(shard_deadline(shard), 300);
    shard_add_step(shard, &(struct shard_step){"third", second_step, NULL, f});
    assert_int_equal(shard_deadline(shard), 300);
}

static void mail_is_visible_after_the_turn_that_posted_it(void **state)
{
    struct fixture *f = *state;
    const struct mail mail = {.bytes = "hello"};
    struct mailbox *inbox = f->shards[1]->inboxes[0];
    assert_true(shard_post(f->shards[0], 1, &mail, 10));
    assert_true(mailbox_is_empty(inbox));
    assert_null(mailbox_take(inbox));
    assert_false(shard_turn(f->shards[0], true));
    assert_false(mailbox_is_empty(inbox));
    struct mail *taken = mailbox_take(inbox);
    assert_non_null(taken);
    assert_string_equal((const char *)taken->bytes, "hello");
    assert_null(mailbox_take(inbox));
    mailbox_give_back(inbox);
    assert_true(mailbox_is_empty(f->shards[2]->inboxes[0]));
    assert_int_equal(f->shards[0]->counters.mail_posted, 1);
}

static void mail_to_itself_keeps_a_shard_awake(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    assert_false(shard_turn(shard, true));
    const struct mail mail = {0};
    assert_true(shard_post(shard, 0, &mail, 1));
    assert_true(shard_turn(shard, true));
    assert_true(shard_turn(shard, true)); /* nobody took it */
    assert_non_null(mailbox_take(shard->inboxes[0]));
    mailbox_give_back(shard->inboxes[0]);
    assert_false(shard_turn(shard, true));
    assert_int_equal(shard->counters.doorbells, 0);
}

static void only_a_sleeper_hears_a_doorbell_and_once(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    const struct mail mail = {0};
    assert_true(shard_post(shard, 1, &mail, 1));
    shard_turn(shard, true);
    assert_int_equal(shard->counters.doorbells, 0); /* it is awake */
    assert_false(sim_ring_has_event(f->rings[1]));
    assert_non_null(mailbox_take(f->shards[1]->inboxes[0]));
    mailbox_give_back(f->shards[1]->inboxes[0]);
    /* As shard 1 does in its step 1, before its ring_wait. */
    assert_true(mailbox_sleep(f->shards[1]->inboxes[0]));
    for (uint32_t turn = 0; turn < 3; turn++) {
        for (uint32_t i = 0; i < 5; i++)
            assert_true(shard_post(shard, 1, &mail, 1));
        shard_turn(shard, true);
    }
    assert_int_equal(shard->counters.doorbells, 1);
    assert_true(sim_ring_has_event(f->rings[1]));
    assert_false(sim_ring_has_event(f->rings[2]));
    /* Mail that is there already keeps it from sleeping. */
    shard_turn(f->shards[1], true);
    uint64_t sleeps = f->shards[1]->counters.sleeps;
    shard_turn(f->shards[1], true);
    assert_int_equal(f->shards[1]->counters.sleeps, sleeps);
}

static void a_full_mailbox_refuses_and_keeps_the_reserved_room(void **state)
{
    struct fixture *f = *state;
    struct shard *shard = f->shards[0];
    const struct mail mail = {0};
    uint32_t count = 0;
    while (count <= ENTRIES_MAX && shard_post(shard, 1, &mail, 1))
        count++;
    assert_int_equal(count, ENTRIES_MAX - RESERVED_MAX);
    for (uint32_t i = 0; i < RESERVED_MAX; i++)
        assert_true(shard_post_reserved(shard, 1, &mail, 1));
    assert_false(shard_post_reserved(shard, 1, &mail, 1));
    assert_true(shard_post(shard, 2, &mail, 1)); /* another one has room */
    assert_int_equal(shard->counters.mail_refused, 2);
    assert_int_equal(shard->counters.mail_posted, ENTRIES_MAX + 1);
}

static void a_stopped_shard_runs_no_turn(void **state)
{
    struct fixture *f = *state;
    shard_stop(f->shards[0]);
    assert_true(sim_ring_has_event(f->rings[0])); /* whoever sleeps is woken for it */
    shard_run(f->shards[0]);
    assert_int_equal(f->shards[0]->counters.turns, 0);
}

static void a_shard_that_lacks_memory_is_not_made(void **state)
{
    struct fixture *f = *state;
    const struct shard_options options = {
        .count = 2,
        .ring = f->rings[0],
        .heap = &f->heap,
        .mailbox_entries_max = 64,
        .mailbox_bytes_max = 1024,
    };
    int64_t before = heap_bytes_net(&f->heap);
    int status = -ENOMEM;
    uint64_t failing = 0;
    while (status == -ENOMEM && failing < 100) {
        struct shard *shard = NULL;
        heap_fail_at(&f->heap, ++failing);
        status = shard_create(&options, &shard);
        assert_true(status == 0 || shard == NULL);
        heap_fail_at(&f->heap, 0);
        shard_destroy(shard);
        assert_int_equal(heap_bytes_net(&f->heap), before);
    }
    assert_int_equal(status, 0);
    assert_true(failing > 3);
}

#define shard_test(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        shard_test(a_turn_gives_events_then_runs_the_steps_in_their_order),
        shard_test(a_turn_has_one_clock),
        shard_test(a_shard_with_more_to_do_does_not_sleep),
        shard_test(turns_that_do_not_sleep_are_busy_time_too),
        shard_test(the_earliest_deadline_counts),
        shard_test(mail_is_visible_after_the_turn_that_posted_it),
        shard_test(mail_to_itself_keeps_a_shard_awake),
        shard_test(only_a_sleeper_hears_a_doorbell_and_once),
        shard_test(a_full_mailbox_refuses_and_keeps_the_reserved_room),
        shard_test(a_stopped_shard_runs_no_turn),
        shard_test(a_shard_that_lacks_memory_is_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
