/*
 * Seeds of drawn scenarios that once failed, with what they showed. They are replayed always, so
 * what scenario_draw draws from a seed must not change: a new number is drawn after all others.
 */
#ifndef PENSTOCK_TESTS_SIM_KNOWN_SEEDS_H
#define PENSTOCK_TESTS_SIM_KNOWN_SEEDS_H

#include <stdint.h>

static const struct known_seed {
    uint64_t seed;
    const char *name;
} known_seeds[] = {
    {46, "a fan-out that an UNSUBSCRIBE came in between of goes on at what is still granted"},
    {36, "a fan-out that goes on over turns delivers once to whom the recent ring has served"},
    {91, "what is handed over while a resumed session waits for other owners is read by it"},
    {44, "a session held up by unsent bytes alone goes on when they are sent"},
    {59, "QoS 0 that waits for a retained one is not overtaken by the next retained one"},
    {4, "PUBRECs of PUBLISHes repeated on a new connection come in the order of these"},
    {63, "a subscription raised from QoS 0 gets nothing from before its first start"},
    {1, "a record below where one reader began is in the log's index for the next reader"},
    {34, "a SUBSCRIBE cut off before its answer starts no earlier than the session resumes"},
    {10, "a connection taken over while it stands in a batch of receives is not received into"},
    {12, "retained values come at the QoS that is granted when they come"},
    {8, "a packet id whose QoS 2 retained value was cut off is released before it is used again"},
    {1, "what is in flight comes again although its filter was unsubscribed"},
    {1300800456,
     "a repeated SUBSCRIBE cut off by a takeover gets values from above its first start"},
    {1150746073, "a filter is subscribed once although most of many others have gone"},
    {2569653923, "a takeover that is reset on its way leaves no older connection behind"},
    {6000061, "what retention takes from a session with overlapping filters is one loss a message"},
    {23022371, "the same at a window of one"},
    {23022410, "the same on four shards"},
    {174625445, "the busy part ends although there is always a client that trickles"},
};

/* The same for crash_drawn of sim.crash. */
static const struct known_seed known_crash_seeds[] = {
    {7000035, "a subscription lowered to QoS 0 that a crash undoes repeats what came meanwhile"},
};

/* The same for sim.durable. */
static const struct known_seed known_durable_seeds[] = {
    {93, "a pull that is read from the disk waits for no tick"},
    {130, "a tail that one segment fills goes on when that is left"},
    {149, "the same with three shards"},
    {162, "batches that a failed sync moved to the next segment are several in mode written"},
    {13459749, "packet ids at QoS 2 that a loss of power took from the store are released first"},
    {1560, "the same in mode written, with a wide window"},
    {32818200, "the same with a message that was on its way when the power went"},
    {500063, "what is released so goes before what is sent again, and beside the window"},
    {77000011, "a stop whose last writes the disk refuses is not said to have been in order"},
    {102595441, "a SUBACK that was on its way when the power went says nothing of what is stored"},
    {1660, "batches that wait for a segment on a full disk do not spin"},
    {70166,
     "a CONNACK that was on its way when the power went says nothing of the session after it"},
    {13459688, "a will comes although its client sent DISCONNECT to a gateway that had just died"},
    {60000401, "a stop that cannot write what was committed in memory did not end in order"},
    {60000406, "a stop waits for a connection that is on its way between two shards"},
    {244912291, "a failed sync takes what two segments have to the next one in mode written"},
    {15840975, "a resend that waits for the store's pause does not spin"},
};

#endif
