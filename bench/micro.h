/*
 * What a micro-benchmark is: C functions that micro.cc, the only C++ file of the house, registers
 * with google-benchmark. Each bench/micro_<subject>.c gives a table of cases, which micro.cc names.
 */
#ifndef PENSTOCK_BENCH_MICRO_H
#define PENSTOCK_BENCH_MICRO_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct micro_case {
    const char *name; /* NULL ends a table */

    /* Not measured: makes what `run` works on, of the given size. Never NULL. */
    void *(*create)(uint64_t size);
    void (*destroy)(void *subject);

    /* Measured: the operation, `iterations` times, without allocating for the harness's sake. */
    void (*run)(void *subject, uint64_t iterations);
    uint64_t size;
};

extern const struct micro_case micro_broker_cases[];
extern const struct micro_case micro_file_cases[];
extern const struct micro_case micro_keys_cases[];
extern const struct micro_case micro_mailbox_cases[];
extern const struct micro_case micro_memory_cases[];
extern const struct micro_case micro_message_cases[];
extern const struct micro_case micro_mqtt_cases[];
extern const struct micro_case micro_pull_cases[];
extern const struct micro_case micro_segment_cases[];
extern const struct micro_case micro_timer_wheel_cases[];
extern const struct micro_case micro_topic_index_cases[];

/* All of them; NULL ends it. */
extern const struct micro_case *const micro_tables[];

#ifdef __cplusplus
}
#endif

#endif
