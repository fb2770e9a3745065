/*
 * The broker's store of a simulated gateway; see store_sim.h.
 */
#include "sim/store_sim.h"

#include <errno.h>

#include "broker_client/memory.h"
#include "core/base.h"
#include "session/session_store.h"
#include "sim/key_file_sim.h"
#include "sim/network.h"

#define DIRECTORY "/data"

enum {
    HELPER_IDLE_MS = 200, /* at the latest it looks for periodic tasks */
    STARTS_CUT_OFF_MAX = 3,
    CALLS_MAX = 300,      /* to the disk, until it dies by itself */
    OPEN_CALLS_MAX = 120, /* the same within a start */
    COMMITS_MAX = 4
};

void store_sim_init(struct store_sim *store, struct sim_world *world,
                    const struct scenario *scenario, struct heap_budget *budget)
{
    store->scenario = scenario;
    store->world = world;
    heap_init(&store->heap, budget);
    random_init(&store->random, scenario->seed ^ 0x570e);
    if (!scenario->disk.is_used)
        return;
    store->keys = key_file_disk_create(DIRECTORY);
    key_file_disk_leave_out_sync(store->keys, scenario->disk.leaves_out_keys);
    sim_disk_set_faults(world, &scenario->disk.faults);
    store->trouble_ns = UINT64_MAX;
    if (scenario->disk.trouble_gap_ms != 0)
        store->trouble_ns = sim_world_now_ns(world) + scenario->disk.trouble_gap_ms * 1000000ULL;
}

void store_sim_deinit(struct store_sim *store)
{
    if (store->keys != NULL)
        key_file_disk_destroy(store->keys);
    if (store->memory != NULL)
        memory_store_destroy(store->memory);
    store->memory = NULL;
    heap_deinit(&store->heap);
}

static bool open_memory(struct store_sim *store, uint32_t shard_count)
{
    if (store->memory != NULL)
        return memory_store_set_shards(store->memory, (uint16_t)shard_count) == 0;
    struct memory_store_config config = store->scenario->store;
    config.shard_count = (uint16_t)shard_count;
    config.hash_seed = store->scenario->seed;
    return memory_store_create(&config, &store->heap, &store->memory) == 0;
}

static bool open_embedded(struct store_sim *store, uint32_t shard_count)
{
    const struct scenario *scenario = store->scenario;
    struct embedded_store_config config = scenario->disk.store;
    config.directory = DIRECTORY;
    config.tail_bytes *= shard_count;
    config.cache_bytes *= shard_count;
    config.partition_count = scenario->store.partition_count;
    config.partition_levels = scenario->store.partition_levels;
    config.deduplication_max = scenario->store.deduplication_max;
    config.shard_count = (uint16_t)shard_count;
    config.counted_kind = SESSION_STORE_KIND;
    config.random_seed = scenario->seed;
    int status = embedded_store_open(&config, &store->heap, NULL, &store->embedded, store->error);
    if (status < 0) {
        store->embedded = NULL;
        return false;
    }
    const struct embedded_recovery *found = embedded_store_recovery(store->embedded);
    store->segments += found->segments;
    store->torn_bytes += found->torn_bytes;
    store->indexes_damaged += found->indexes_damaged;
    store->helper_due_ns = sim_world_now_ns(store->world);
    return true;
}

enum trouble { TROUBLE_FULL, TROUBLE_ERRORS, TROUBLE_ONE_SYNC, TROUBLE_KEYS, TROUBLES };

static void fail_keys(struct store_sim *store, enum key_file_fault fault, int error, uint32_t count)
{
    if (!store->dies_with_keys)
        key_file_disk_fail(store->keys, fault, error, 0, count);
}

/* In mode written nothing is to be lost while power is there: but what a sync that failed has lost
 * may leave the cache, and with the process the only copy. */
static bool is_kept_in_cache(const struct store_sim *store)
{
    return store->scenario->disk.store.commit == EMBEDDED_COMMIT_WRITTEN &&
           !scenario_is_lossy(store->scenario);
}

static void begin_trouble(struct store_sim *store)
{
    struct sim_disk_faults faults = store->scenario->disk.faults;
    struct random *random = &store->random;
    store->is_in_trouble = true;
    switch ((enum trouble)random_below(random, TROUBLES)) {
    case TROUBLE_FULL:
        sim_disk_set_capacity(store->world, sim_disk_used_bytes(store->world));
        fail_keys(store, KEY_FILE_FAULT_WRITE, -ENOSPC, (uint32_t)random_below(random, 3));
        return;
    case TROUBLE_ERRORS:
        faults.read_error = (uint32_t)random_below(random, 20000);
        faults.write_error = (uint32_t)random_below(random, 20000);
        faults.sync_error = (uint32_t)random_below(random, 20000);
        if (is_kept_in_cache(store))
            faults.sync_error = 0;
        sim_disk_set_faults(store->world, &faults);
        return;
    case TROUBLE_ONE_SYNC: {
        uint64_t nth = random_between(random, 1, 5);
        if (!is_kept_in_cache(store))
            sim_disk_fail(store->world, SIM_DISK_SYNC, SIM_DISK_ANY, nth);
        return;
    }
    case TROUBLE_KEYS: {
        bool is_sync = random_chance(random, 1, 2);
        fail_keys(store, is_sync ? KEY_FILE_FAULT_SYNC : KEY_FILE_FAULT_WRITE, -EIO,
                  (uint32_t)random_between(random, 1, 3));
        return;
    }
    case TROUBLES:
        break;
    }
}

static void end_trouble(struct store_sim *store)
{
    store->is_in_trouble = false;
    sim_disk_set_capacity(store->world, UINT64_MAX);
    sim_disk_set_faults(store->world, &store->scenario->disk.faults);
    sim_disk_fail(store->world, SIM_DISK_SYNC, SIM_DISK_ANY, 0);
    fail_keys(store, KEY_FILE_FAULT_NONE, 0, 0);
}

static void turn_trouble(struct store_sim *store)
{
    const struct scenario_disk *disk = &store->scenario->disk;
    uint64_t ms = 0;
    if (store->is_in_trouble) {
        end_trouble(store);
        ms = random_between(&store->random, 1, 2ULL * disk->trouble_gap_ms);
    } else {
        begin_trouble(store);
        ms = random_between(&store->random, 1, disk->trouble_ms_max);
    }
    store->trouble_ns = sim_world_now_ns(store->world) + ms * 1000000;
}

/* A start that a full or failing disk refuses is tried again on one that has healed. */
static bool open_and_heal(struct store_sim *store, uint32_t shard_count)
{
    if (open_embedded(store, shard_count))
        return true;
    if (!store->is_in_trouble || sim_disk_is_down(store->world))
        return false;
    turn_trouble(store);
    return open_embedded(store, shard_count);
}

bool store_sim_open(struct store_sim *store, uint32_t shard_count)
{
    return store->scenario->disk.is_used ? open_and_heal(store, shard_count)
                                         : open_memory(store, shard_count);
}

static enum sim_disk_crash_kind draw_kind(struct store_sim *store)
{
    return random_chance(&store->random, store->scenario->disk.power_chance, 100)
               ? SIM_DISK_CRASH_POWER
               : SIM_DISK_CRASH_PROCESS;
}

void store_sim_restart(struct store_sim *store)
{
    store_sim_close(store, false);
    store->dies_with_keys = false;
    if (store->keys == NULL)
        return;
    sim_disk_restart(store->world);
    key_file_disk_crash(store->keys, store->death == SIM_DISK_CRASH_POWER);
}

bool store_sim_open_again(struct store_sim *store, uint32_t shard_count)
{
    uint32_t chance = store->scenario->disk.again_chance;
    if (!store->scenario->disk.is_used)
        return open_memory(store, shard_count);
    for (uint32_t i = 0; i < STARTS_CUT_OFF_MAX && random_chance(&store->random, chance, 100);
         i++) {
        store->death = draw_kind(store);
        sim_disk_crash_after(store->world, store->death,
                             random_between(&store->random, 1, OPEN_CALLS_MAX));
        bool is_open = open_and_heal(store, (uint32_t)random_between(&store->random, 1, 4));
        if (!is_open && !sim_disk_is_down(store->world))
            return false;
        store_sim_die(store, store->death); /* it may have been quicker */
        store_sim_restart(store);
        store->starts_cut_off++;
    }
    return open_and_heal(store, shard_count);
}

void store_sim_close(struct store_sim *store, bool is_clean)
{
    if (store->embedded != NULL)
        embedded_store_close(store->embedded, is_clean);
    store->embedded = NULL;
}

int store_sim_create_broker(void *context, const struct broker_options *options,
                            struct broker **out_broker)
{
    struct store_sim *store = context;
    return store->embedded != NULL ? embedded_broker_create(store->embedded, options, out_broker)
                                   : memory_broker_create(store->memory, options, out_broker);
}

bool store_sim_is_idle(const struct store_sim *store, const struct broker *broker)
{
    return store->embedded == NULL || embedded_broker_is_idle(broker);
}

void store_sim_wake(struct store_sim *store)
{
    if (store->embedded == NULL)
        return;
    uint64_t due_ns =
        sim_world_now_ns(store->world) +
        random_below(&store->random, store->scenario->disk.helper_delay_us_max * 1000ULL + 1);
    store->helper_due_ns = ps_min_u64(store->helper_due_ns, due_ns);
}

bool store_sim_turn(struct store_sim *store)
{
    uint64_t now_ns = sim_world_now_ns(store->world);
    if (store->embedded == NULL)
        return false;
    if (now_ns >= store->trouble_ns)
        turn_trouble(store);
    if (now_ns < store->helper_due_ns)
        return false;
    store->helper_due_ns = now_ns + HELPER_IDLE_MS * 1000000ULL;
    return embedded_store_helper_turn(store->embedded, now_ns);
}

uint64_t store_sim_due_ns(const struct store_sim *store)
{
    return store->embedded == NULL ? UINT64_MAX
                                   : ps_min_u64(store->helper_due_ns, store->trouble_ns);
}

void store_sim_calm(struct store_sim *store)
{
    if (store->keys == NULL)
        return;
    store->trouble_ns = UINT64_MAX;
    if (store_sim_is_dead(store))
        return;
    store->dies_with_keys = false;
    sim_disk_crash_after(store->world, SIM_DISK_CRASH_PROCESS, 0);
    end_trouble(store);
}

void store_sim_die(struct store_sim *store, enum sim_disk_crash_kind kind)
{
    if (store->keys == NULL || sim_disk_is_down(store->world))
        return;
    if (!key_file_disk_is_stopped(store->keys)) /* else it died as was said before */
        store->death = kind;
    sim_disk_crash(store->world, store->death);
}

void store_sim_die_soon(struct store_sim *store, enum sim_disk_crash_kind kind, bool with_keys)
{
    store->death = kind;
    store->dies_with_keys = with_keys;
    if (with_keys)
        key_file_disk_fail(store->keys,
                           random_chance(&store->random, 1, 2) ? KEY_FILE_FAULT_CRASH_BEFORE
                                                               : KEY_FILE_FAULT_CRASH_AFTER,
                           -EIO, (uint32_t)random_below(&store->random, COMMITS_MAX), 1);
    else
        sim_disk_crash_after(store->world, kind, random_between(&store->random, 1, CALLS_MAX));
}

bool store_sim_is_dead(const struct store_sim *store)
{
    return store->keys != NULL &&
           (sim_disk_is_down(store->world) || key_file_disk_is_stopped(store->keys));
}
