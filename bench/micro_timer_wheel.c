/*
 * The timer wheel with up to a million timers: one moved to a later deadline, and time passing
 * while every timer that fires is added again, as keepalives are.
 */
#include <stdlib.h>

#include "core/base.h"
#include "core/timer_wheel.h"
#include "micro.h"

enum { KEEPALIVE_TICKS = 600, BUDGET = 4096 };

struct subject {
    struct timer_wheel wheel;
    struct timer *timers;
    uint64_t count;
    uint64_t next;
    uint64_t fired;
    uint32_t tick;
};

static struct timer *timer_at(void *context, uint32_t id)
{
    return &((struct subject *)context)->timers[id];
}

static void add_again(void *context, uint32_t id)
{
    struct subject *subject = context;
    subject->fired++;
    timer_wheel_add(&subject->wheel, id, subject->tick + KEEPALIVE_TICKS);
}

static void *create(uint64_t size)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    subject->timers = calloc(size, sizeof(struct timer));
    ps_assert(subject->timers != NULL);
    subject->count = size;
    timer_wheel_init(&subject->wheel, 0, timer_at, subject);
    for (uint64_t i = 0; i < size; i++)
        timer_wheel_add(&subject->wheel, (uint32_t)i,
                        (uint32_t)(1 + (i * 2654435761U >> 7) % KEEPALIVE_TICKS));
    return subject;
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    ps_assert(subject->wheel.count == subject->count);
    free(subject->timers);
    free(subject);
}

/* One add is one iteration: a timer at random, moved. */
static void run_move(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t i = 0; i < iterations; i++) {
        uint64_t number = subject->next++ * 0x9e3779b97f4a7c15ULL >> 20;
        timer_wheel_add(&subject->wheel, (uint32_t)(number % subject->count),
                        (uint32_t)(1 + number % KEEPALIVE_TICKS));
    }
}

/* One timer that fires and is added again is one iteration. */
static void run_advance(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    uint64_t end = subject->fired + iterations;
    while (subject->fired < end) {
        if (!timer_wheel_advance(&subject->wheel, subject->tick, BUDGET, add_again))
            subject->tick++;
    }
}

const struct micro_case micro_timer_wheel_cases[] = {
    {"timer_wheel/move/1000", create, destroy, run_move, 1000},
    {"timer_wheel/move/1000000", create, destroy, run_move, 1000000},
    {"timer_wheel/fire_and_add/1000", create, destroy, run_advance, 1000},
    {"timer_wheel/fire_and_add/1000000", create, destroy, run_advance, 1000000},
    {NULL, NULL, NULL, NULL, 0},
};
