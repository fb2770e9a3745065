/*
 * Every table of micro-benchmarks; what is added to a bench/micro_<subject>.c stands here too.
 */
#include <stddef.h>

#include "micro.h"

const struct micro_case *const micro_tables[] = {
    micro_mqtt_cases,    micro_topic_index_cases, micro_message_cases, micro_timer_wheel_cases,
    micro_mailbox_cases, micro_memory_cases,      micro_broker_cases,  micro_file_cases,
    micro_keys_cases,    micro_segment_cases,     micro_pull_cases,    NULL,
};
