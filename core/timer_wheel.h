/*
 * A hashed timer wheel over numbers: the 12 bytes of a timer live in the caller's record, found by
 * its id. Made for lazy use: an owner stores when it was last active and looks at it when the timer
 * fires, instead of moving the timer each time.
 *
 * Ticks are the caller's unit, 32 bits, compared as differences: a deadline may lie 2^31 ticks
 * ahead. Owner and thread: one shard.
 */
#ifndef PENSTOCK_CORE_TIMER_WHEEL_H
#define PENSTOCK_CORE_TIMER_WHEEL_H

#include <stdbool.h>
#include <stdint.h>

struct heap;

enum { TIMER_WHEEL_SLOTS = 1024 };

/* All zero: in no wheel, so that a zeroed record needs no more. Ids are below TIMER_WHEEL_ID_MAX.
 */
#define TIMER_WHEEL_ID_MAX (UINT32_MAX - 1)

struct timer {
    uint32_t previous; /* 0: in no wheel; UINT32_MAX: first of its slot; else id + 1 */
    uint32_t next;     /* id + 1; 0: last of its slot */
    uint32_t deadline_tick;
};

typedef struct timer *timer_wheel_at(void *context, uint32_t id);

/* The timer is out of the wheel when it fires, and may be added again from here. */
typedef void timer_wheel_fire(void *context, uint32_t id);

struct timer_wheel {
    timer_wheel_at *at;
    void *context;
    uint32_t tick; /* everything due up to here has fired */
    uint32_t count;
    uint32_t cursor; /* id + 1: where the walk of the current slot goes on; 0: at its head */
    uint64_t occupied[TIMER_WHEEL_SLOTS / 64];
    uint32_t heads[TIMER_WHEEL_SLOTS]; /* id + 1; 0: empty */
};

void timer_wheel_init(struct timer_wheel *wheel, uint32_t tick, timer_wheel_at *at, void *context);

/* Makes a timer that is in no wheel; for memory that was not zeroed. */
void timer_clear(struct timer *timer);
bool timer_is_pending(const struct timer *timer);

/* Adds, or moves, the timer of `id`. A deadline that has passed counts as the tick after the one
 * that the wheel stands at, so that a handler which adds it again and again cannot hold up a tick.
 */
void timer_wheel_add(struct timer_wheel *wheel, uint32_t id, uint32_t deadline_tick);

/* Allowed for a timer that is in no wheel. */
void timer_wheel_remove(struct timer_wheel *wheel, uint32_t id);

/* Fires what is due up to `tick`, slot by slot in the order of deadlines, looking at no more than
 * `budget` timers (those of a later revolution count too). True when it stopped for want of budget:
 * call again. The handler may add and remove any timer. */
bool timer_wheel_advance(struct timer_wheel *wheel, uint32_t tick, uint32_t budget,
                         timer_wheel_fire *fire);

/* The next tick at which something may be due (at most one revolution ahead; perhaps only a timer
 * of a later one is there); false when the wheel is empty. */
bool timer_wheel_next(const struct timer_wheel *wheel, uint32_t *out_tick);

#endif
