/*
 * Registers the tables of bench/micro_*.c with google-benchmark. Options are google-benchmark's:
 * `penstock-micro --benchmark_filter=topic`. A subject is made anew for each of the harness's runs.
 */
#include "micro.h"

#include <benchmark/benchmark.h>

namespace
{

void run_case(benchmark::State &state, const struct micro_case *item)
{
    void *subject = item->create(item->size);
    constexpr uint64_t batch = 1024;
    uint64_t done = 0;
    while (state.KeepRunningBatch(batch)) {
        item->run(subject, batch);
        done += batch;
    }
    state.SetItemsProcessed(static_cast<int64_t>(done));
    item->destroy(subject);
}

void register_cases(const struct micro_case *cases)
{
    for (const struct micro_case *item = cases; item->name != nullptr; item++)
        benchmark::RegisterBenchmark(item->name, run_case, item);
}

} // namespace

int main(int argc, char **argv)
{
    for (const struct micro_case *const *table = micro_tables; *table != nullptr; table++)
        register_cases(*table);
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv))
        return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
}
