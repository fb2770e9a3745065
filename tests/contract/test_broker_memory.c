/*
 * The memory driver under the broker's contract suite.
 */
#include "broker_client/memory.h"
#include "broker_contract.h"
#include "core/base.h"

enum { SMALL_BYTES = 1 << 20, LARGE_BYTES = 64 << 20 };

static void *create(const struct broker_contract_options *options, struct broker **out_brokers)
{
    const struct memory_store_config config = {
        .memory_bytes = options->is_small ? SMALL_BYTES : LARGE_BYTES,
        .partition_count = BROKER_CONTRACT_PARTITIONS,
        .partition_levels = 2,
        .shard_count = (uint16_t)options->handle_count,
        .hash_seed = 42,
    };
    struct memory_store *store = NULL;
    int status = memory_store_create(&config, options->heap, &store);
    ps_assert(status == 0);
    for (uint32_t index = 0; index < options->handle_count; index++) {
        status = memory_broker_create(store, &options->each[index], &out_brokers[index]);
        ps_assert(status == 0);
    }
    return store;
}

static void destroy(void *state, struct broker **brokers, uint32_t count)
{
    for (uint32_t index = 0; index < count; index++)
        broker_destroy(brokers[index]);
    memory_store_destroy(state);
}

int main(void)
{
    const struct broker_contract_driver driver = {.name = "memory",
                                                  .create = create,
                                                  .destroy = destroy,
                                                  .small_log_bytes = SMALL_BYTES,
                                                  .expiry_ms = 2000};
    return broker_contract_run(&driver);
}
