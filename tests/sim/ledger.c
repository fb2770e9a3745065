/*
 * The ledgers; see ledger.h.
 */
#include "sim/ledger.h"

#include <inttypes.h>
#include <stdio.h>

#include "session/hub.h"

bool ledger_balances(const struct hub_counters *counters, char *out, size_t out_bytes)
{
    uint64_t queued = counters->queued[0] + counters->queued[1] + counters->queued[2];
    uint64_t dropped = counters->dropped[HUB_DROP_PENDING] + counters->dropped[HUB_DROP_OVERLOAD];
    if (counters->matched != queued + counters->turned_late + dropped) {
        snprintf(out, out_bytes,
                 "matched %" PRIu64 " is not queued %" PRIu64 " + turned late %" PRIu64
                 " + dropped %" PRIu64,
                 counters->matched, queued, counters->turned_late, dropped);
        return false;
    }
    uint64_t sent = counters->queued[1] + counters->queued[2] + counters->replayed +
                    counters->retained[1] + counters->retained[2] + counters->loaded;
    if (sent != counters->finished + counters->in_flight + counters->returned) {
        snprintf(out, out_bytes,
                 "queued, replayed, retained and loaded %" PRIu64 " is not finished %" PRIu64
                 " + in flight %" PRIu64 " + returned %" PRIu64,
                 sent, counters->finished, counters->in_flight, counters->returned);
        return false;
    }
    if (counters->dropped[HUB_DROP_MEMORY] == 0)
        return true;
    snprintf(out, out_bytes, "memory was out");
    return false;
}

bool ledger_balances_at_rest(const struct hub_counters *sums, char *out, size_t out_bytes)
{
    uint64_t accepted = sums->accepted[0] + sums->accepted[1] + sums->accepted[2];
    uint64_t rejected = 0;
    for (uint32_t i = 0; i < HUB_REJECTS; i++)
        rejected += sums->rejected[i];
    uint64_t done = sums->committed + sums->relayed + sums->duplicates + rejected +
                    sums->dropped[HUB_DROP_WAITING];
    if (accepted + sums->wills == done)
        return true;
    snprintf(out, out_bytes,
             "accepted %" PRIu64 " + wills %" PRIu64 " is not committed %" PRIu64
             " + relayed %" PRIu64 " + duplicates %" PRIu64 " + rejected %" PRIu64
             " + waited too long %" PRIu64,
             accepted, sums->wills, sums->committed, sums->relayed, sums->duplicates, rejected,
             sums->dropped[HUB_DROP_WAITING]);
    return false;
}

bool ledger_is_empty(const struct hub_counters *sums, char *out, size_t out_bytes)
{
    if (sums->sessions == 0 && sums->subscriptions == 0 && sums->in_flight == 0 &&
        sums->late_sessions == 0 && sums->stored_sessions == 0)
        return true;
    snprintf(out, out_bytes,
             "left: %" PRIu64 " sessions, %" PRIu64 " of them stored, %" PRIu64
             " subscriptions, %" PRIu64 " in flight, %" PRIu64 " cursors",
             sums->sessions, sums->stored_sessions, sums->subscriptions, sums->in_flight,
             sums->late_sessions);
    return false;
}
