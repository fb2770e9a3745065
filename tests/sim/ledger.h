/*
 * The ledgers: whatever comes in is counted again where it ends, so that nothing goes without a
 * reason. They are over the counters of a hub; units are deliveries (record x session), counted
 * after matching, and publishes.
 *
 *   at the end of any turn of a shard:
 *     matched = queued + turned late + dropped{pending, overload}
 *     queued + replayed + retained + loaded = finished + in flight + returned   (QoS 1 and 2)
 *   at rest, over all shards:
 *     accepted + wills = committed + relayed + duplicates + rejected + dropped{waiting}
 *
 * Memory is never out in a simulation, so dropped{memory} is 0.
 */
#ifndef PENSTOCK_TESTS_SIM_LEDGER_H
#define PENSTOCK_TESTS_SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>

struct hub_counters;

/* True, or false with what does not balance in `out`. */
bool ledger_balances(const struct hub_counters *counters, char *out, size_t out_bytes);
bool ledger_balances_at_rest(const struct hub_counters *sums, char *out, size_t out_bytes);

/* Nothing that counts what there is now may be left when every session has gone. */
bool ledger_is_empty(const struct hub_counters *sums, char *out, size_t out_bytes);

#endif
