/*
 * What must hold of what the model was told. Some of it is looked at with each receipt, the rest
 * when a run has come to rest. Each rule speaks through model_fail.
 *
 * With each receipt: the topic matches a filter that the life may have; the QoS is the lower of
 * published and granted; RETAIN is set exactly on what a SUBSCRIBE fetched; a retained value was
 * not surely superseded before its SUBSCRIBE; nothing that was acknowledged before the SUBSCRIBE
 * comes live; QoS 2 comes once, QoS 1 once per PUBLISH unless with DUP after a resume; nothing new
 * after UNSUBACK. After a crash QoS 1 may come again without DUP if it had come within a window
 * before the crash.
 *
 * At rest: nothing acknowledged was lost for a subscription that was acknowledged before and kept
 * (counted against what retention took); what a life received of one publisher and topic has no
 * gap, also when it ended early; one order per topic and published QoS explains what every life
 * received, what every publisher sent and when it was acknowledged; retained values came; wills
 * came when they had to and only then.
 */
#ifndef PENSTOCK_TESTS_SIM_CHECKER_H
#define PENSTOCK_TESTS_SIM_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

struct model;
struct model_receipt;

void checker_on_receipt(struct model *model, uint32_t life, const struct model_receipt *receipt);
void checker_on_empty_receipt(struct model *model, uint32_t life, uint32_t topic, bool is_retain,
                              bool is_dup);

/* The run has come to rest: nobody has anything more to send. */
void checker_finish(struct model *model);

/* Deliveries at effective QoS 0 that a perfect gateway makes, for runs in which nobody goes and
 * every subscription was acknowledged before the first publish. */
uint64_t checker_at_most_once_due(const struct model *model);

/* The rule of order alone; part of checker_finish (checker_order.c). */
void checker_check_order(struct model *model);

#endif
