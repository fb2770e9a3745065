/*
 * Moments for a crash; see crash.h.
 */
#include "sim/crash.h"

#include <stdlib.h>

#include "core/base.h"
#include "session/owner.h"
#include "session/progress.h"

enum { ROUNDS_SOON = 4, ROUNDS_LATER = 80 };

static int ascending(const void *left, const void *right)
{
    const uint64_t *a = left;
    const uint64_t *b = right;
    return *a < *b ? -1 : *a > *b;
}

void crash_plan_init(struct crash_plan *plan, const struct scenario *scenario, uint64_t start_ns)
{
    *plan = (struct crash_plan){.scenario = scenario};
    random_init(&plan->random, scenario->seed ^ 0xc4a54);
    ps_assert(scenario->crash_count <= MODEL_CRASHES_MAX);
    for (uint32_t i = 0; i < scenario->crash_count; i++)
        plan->due_ns[i] =
            start_ns + random_below(&plan->random, scenario->duration_ms * 1000000ULL);
    qsort(plan->due_ns, scenario->crash_count, sizeof(uint64_t), ascending);
}

static uint64_t checkpoints_of(const struct gateway_sim *gateway)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        sum += progress_next_number(gateway->hubs[i]);
    return sum;
}

static bool is_writing(const struct gateway_sim *gateway)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        if (gateway->hubs[i]->store_count != 0)
            return true;
    }
    return false;
}

static bool is_appending(const struct gateway_sim *gateway)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        if (!owner_is_idle(gateway->hubs[i]->owner))
            return true;
    }
    return false;
}

static uint64_t counted(enum crash_moment moment, const struct gateway_sim *gateway)
{
    struct hub_counters counters;
    if (moment == CRASH_AFTER_CHECKPOINT)
        return checkpoints_of(gateway);
    gateway_sim_counters(gateway, &counters);
    return moment == CRASH_AFTER_WILL ? counters.wills : counters.connects;
}

static bool is_met(struct crash_plan *plan, const struct gateway_sim *gateway)
{
    enum crash_moment moment = plan->scenario->crash_moment;
    uint64_t before = plan->seen;
    switch (moment) {
    case CRASH_ANY_TIME:
        return true;
    case CRASH_AFTER_CHECKPOINT:
    case CRASH_AFTER_WILL:
    case CRASH_AFTER_CONNECT:
        plan->seen = counted(moment, gateway);
        return plan->seen != before;
    case CRASH_IN_WRITES:
        return is_writing(gateway);
    case CRASH_IN_APPENDS:
        return is_appending(gateway);
    case CRASH_IN_DISK_CALL:
    case CRASH_IN_KEY_COMMIT:
    case CRASH_MOMENTS_ON_DISK:
        break;
    }
    return true;
}

static bool is_due(const struct crash_plan *plan, const struct gateway_sim *gateway)
{
    return plan->done != plan->scenario->crash_count &&
           sim_world_now_ns(gateway->world) >= plan->due_ns[plan->done];
}

/* What the next end is. Runs in memory draw nothing here. */
static void draw_end(struct crash_plan *plan)
{
    const struct scenario_disk *disk = &plan->scenario->disk;
    plan->is_stop = disk->is_used && random_chance(&plan->random, disk->stop_chance, 100);
    plan->kind = SIM_DISK_CRASH_PROCESS;
    if (disk->is_used && random_chance(&plan->random, disk->power_chance, 100))
        plan->kind = SIM_DISK_CRASH_POWER;
}

static bool dies_by_itself(const struct crash_plan *plan)
{
    enum crash_moment moment = plan->scenario->crash_moment;
    return !plan->is_stop && (moment == CRASH_IN_DISK_CALL || moment == CRASH_IN_KEY_COMMIT);
}

static bool step_armed(struct crash_plan *plan, struct gateway_sim *gateway)
{
    if (!plan->is_armed)
        store_sim_die_soon(&gateway->store, plan->kind,
                           plan->scenario->crash_moment == CRASH_IN_KEY_COMMIT);
    plan->is_armed = true;
    if (!store_sim_is_dead(&gateway->store))
        return false;
    plan->is_armed = false;
    plan->done++;
    return true;
}

bool crash_plan_step(struct crash_plan *plan, struct gateway_sim *gateway)
{
    if (!is_due(plan, gateway))
        return false;
    if (!plan->has_met && !plan->is_armed)
        draw_end(plan);
    if (dies_by_itself(plan))
        return step_armed(plan, gateway);
    if (!plan->has_met) {
        plan->has_met = is_met(plan, gateway);
        bool is_soon = random_chance(&plan->random, 1, 2);
        plan->rounds_left =
            (uint32_t)random_below(&plan->random, is_soon ? ROUNDS_SOON : ROUNDS_LATER);
    }
    if (!plan->has_met || plan->rounds_left-- != 0)
        return false;
    plan->has_met = false;
    plan->done++;
    return true;
}

struct gateway_sim_end crash_plan_end(struct crash_plan *plan, const struct gateway_sim *gateway)
{
    struct gateway_sim_end end = {
        .shard_count = gateway->shard_count, .is_clean = plan->is_stop, .kind = plan->kind};
    if (plan->scenario->crash_changes_shards)
        end.shard_count = (uint32_t)random_between(&plan->random, 1, 4);
    return end;
}
