/*
 * Threads are put on the cores that the process may use, round and round.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/topology.h"

static void the_cores_are_those_of_the_affinity(void **state)
{
    (void)state;
    struct topology topology;
    assert_int_equal(topology_read(&topology), 0);
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_int_equal(topology.core_count, CPU_COUNT(&set));
    for (uint32_t i = 0; i < topology.core_count; i++) {
        assert_true(CPU_ISSET(topology.cores[i], &set));
        assert_true(i == 0 || topology.cores[i - 1] < topology.cores[i]);
    }
    assert_true(topology.node_count >= 1);
}

struct pinning {
    const struct topology *topology;
    uint32_t index;
    int status;
    struct topology_place place;
    cpu_set_t affinity;
    int running_on;
    int policy; /* of the thread's memory */
};

static void *pin_thread(void *context)
{
    struct pinning *pinning = context;
    pinning->status = topology_pin(pinning->topology, pinning->index, &pinning->place);
    sched_getaffinity(0, sizeof(pinning->affinity), &pinning->affinity);
    pinning->running_on = sched_getcpu();
    return NULL;
}

static void pin_in_a_thread(struct pinning *pinning)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, pin_thread, pinning), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void more_threads_than_cores_share_them_in_turn(void **state)
{
    (void)state;
    struct topology topology;
    assert_int_equal(topology_read(&topology), 0);
    for (uint32_t index = 0; index < topology.core_count * 2 + 1; index++) {
        struct pinning pinning = {.topology = &topology, .index = index};
        pin_in_a_thread(&pinning);
        assert_int_equal(pinning.status, 0);
        assert_int_equal(pinning.place.core, topology.cores[index % topology.core_count]);
        assert_int_equal(CPU_COUNT(&pinning.affinity), 1);
        assert_true(CPU_ISSET(pinning.place.core, &pinning.affinity));
        assert_int_equal(pinning.running_on, pinning.place.core);
        assert_true(pinning.place.node < topology.node_count);
    }
}

static void a_core_that_is_not_there_is_refused(void **state)
{
    (void)state;
    struct topology topology = {.core_count = 1, .node_count = 1, .cores = {1023}};
    struct pinning pinning = {.topology = &topology};
    cpu_set_t before;
    sched_getaffinity(0, sizeof(before), &before);
    if (CPU_ISSET(1023, &before))
        skip();
    pin_in_a_thread(&pinning);
    assert_int_equal(pinning.status, -22 /* -EINVAL */);
    assert_true(CPU_EQUAL(&before, &pinning.affinity));
}

static void *policy_thread(void *context)
{
    pin_thread(context);
    struct pinning *pinning = context;
    pinning->policy = -1;
    syscall(SYS_get_mempolicy, &pinning->policy, NULL, 0UL, NULL, 0UL);
    return NULL;
}

/* The kernel is asked as if there were two nodes; what it answers is told as it is. */
static void a_memory_preference_is_told_as_the_kernel_keeps_it(void **state)
{
    (void)state;
    struct topology topology;
    assert_int_equal(topology_read(&topology), 0);
    topology.node_count = 2;
    struct pinning pinning = {.topology = &topology};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, policy_thread, &pinning), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pinning.status, 0);
    enum { POLICY_PREFERRED = 1 }; /* MPOL_PREFERRED of linux/mempolicy.h */
    assert_true(pinning.place.is_memory_preferred == (pinning.policy == POLICY_PREFERRED));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cores_are_those_of_the_affinity),
        cmocka_unit_test(more_threads_than_cores_share_them_in_turn),
        cmocka_unit_test(a_core_that_is_not_there_is_refused),
        cmocka_unit_test(a_memory_preference_is_told_as_the_kernel_keeps_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
