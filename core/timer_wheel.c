/*
 * The timer wheel; see timer_wheel.h. A slot holds the timers whose deadline is congruent to it, of
 * whatever revolution: those of a later one are looked at and left. A walk that runs out of budget
 * leaves a cursor, which removals move on when it stands on the timer that goes.
 */
#include "core/timer_wheel.h"

#include "core/base.h"

enum { SLOT_MASK = TIMER_WHEEL_SLOTS - 1 };

/* In `previous`: the first of its slot. In the cursor: the walk stands behind the slot's last. */
#define TIMER_END UINT32_MAX

void timer_clear(struct timer *timer)
{
    *timer = (struct timer){.previous = 0};
}

bool timer_is_pending(const struct timer *timer)
{
    return timer->previous != 0;
}

void timer_wheel_init(struct timer_wheel *wheel, uint32_t tick, timer_wheel_at *at, void *context)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->at = at;
    wheel->context = context;
    wheel->tick = tick;
}

void timer_wheel_add(struct timer_wheel *wheel, uint32_t id, uint32_t deadline_tick)
{
    ps_assert(id < TIMER_WHEEL_ID_MAX);
    struct timer *timer = wheel->at(wheel->context, id);
    if (timer_is_pending(timer))
        timer_wheel_remove(wheel, id);
    /* What is already due goes into the slot that the next advance begins with. */
    uint32_t slot_tick = deadline_tick;
    if ((int32_t)(deadline_tick - wheel->tick) <= 0)
        slot_tick = wheel->tick + 1;
    timer->deadline_tick = slot_tick;
    uint32_t *head = &wheel->heads[slot_tick & SLOT_MASK];
    timer->previous = TIMER_END;
    timer->next = *head;
    if (*head != 0)
        wheel->at(wheel->context, *head - 1)->previous = id + 1;
    *head = id + 1;
    wheel->occupied[(slot_tick & SLOT_MASK) / 64] |= 1ULL << (slot_tick % 64);
    wheel->count++;
}

void timer_wheel_remove(struct timer_wheel *wheel, uint32_t id)
{
    struct timer *timer = wheel->at(wheel->context, id);
    if (!timer_is_pending(timer))
        return;
    uint32_t slot = timer->deadline_tick & SLOT_MASK;
    if (wheel->cursor == id + 1)
        wheel->cursor = timer->next == 0 ? TIMER_END : timer->next;
    if (timer->previous == TIMER_END)
        wheel->heads[slot] = timer->next;
    else
        wheel->at(wheel->context, timer->previous - 1)->next = timer->next;
    if (timer->next != 0)
        wheel->at(wheel->context, timer->next - 1)->previous = timer->previous;
    if (wheel->heads[slot] == 0)
        wheel->occupied[slot / 64] &= ~(1ULL << (slot % 64));
    timer_clear(timer);
    wheel->count--;
}

/* Walks the slot of `tick` from the cursor on. True when the budget ended before the slot did. */
static bool walk_slot(struct timer_wheel *wheel, uint32_t tick, uint32_t *budget,
                      timer_wheel_fire *fire)
{
    if (wheel->cursor == 0)
        wheel->cursor = wheel->heads[tick & SLOT_MASK];
    while (wheel->cursor != 0 && wheel->cursor != TIMER_END) {
        if (*budget == 0)
            return true;
        (*budget)--;
        uint32_t id = wheel->cursor - 1;
        struct timer *timer = wheel->at(wheel->context, id);
        if ((int32_t)(timer->deadline_tick - tick) > 0) {
            wheel->cursor = timer->next == 0 ? TIMER_END : timer->next;
            continue;
        }
        timer_wheel_remove(wheel, id); /* moves the cursor on */
        fire(wheel->context, id);
    }
    wheel->cursor = 0;
    return false;
}

/* The first tick after wheel->tick and up to `last` whose slot is occupied; last + 1 when there is
 * none. */
static uint32_t next_occupied(const struct timer_wheel *wheel, uint32_t last)
{
    uint32_t tick = wheel->tick + 1;
    while ((int32_t)(tick - last) <= 0) {
        uint64_t word = wheel->occupied[(tick & SLOT_MASK) / 64] >> (tick % 64);
        if (word != 0) {
            tick += (uint32_t)__builtin_ctzll(word);
            return (int32_t)(tick - last) <= 0 ? tick : last + 1;
        }
        tick += 64 - tick % 64;
    }
    return last + 1;
}

bool timer_wheel_advance(struct timer_wheel *wheel, uint32_t tick, uint32_t budget,
                         timer_wheel_fire *fire)
{
    if (wheel->cursor != 0 && walk_slot(wheel, wheel->tick, &budget, fire))
        return true;
    while (wheel->count != 0 && (int32_t)(tick - wheel->tick) > 0) {
        uint32_t due = next_occupied(wheel, tick);
        if ((int32_t)(due - tick) > 0)
            break;
        wheel->tick =
            due; /* what a handler adds for the past goes into the next slot, not this one */
        if (walk_slot(wheel, due, &budget, fire))
            return true;
    }
    if ((int32_t)(tick - wheel->tick) > 0)
        wheel->tick = tick;
    return false;
}

bool timer_wheel_next(const struct timer_wheel *wheel, uint32_t *out_tick)
{
    if (wheel->count == 0)
        return false;
    *out_tick = next_occupied(wheel, wheel->tick + TIMER_WHEEL_SLOTS);
    return true;
}
