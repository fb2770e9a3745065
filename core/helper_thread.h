/*
 * The one thread for slow work: password hashes, files, the log's descriptor, the embedded store. A
 * shard submits a job through its port, the helper runs jobs in the order of their submission and
 * gives each back to the port it came from, whose shard takes it in a step of its turn.
 *
 *   shard: helper_submit -> [queue, jobs_max] -> helper: job->run -> [port] -> wake(context)
 *   shard: helper_take   <------------------------------------------------------'
 *
 * Lifetime: 1. A job is embedded in the submitter's memory and belongs to the helper from
 * helper_submit until helper_take gives it back; nothing is copied or allocated. 2. Every accepted
 * job is run and given back, also when the thread is stopped. 3. A job without a port is forgotten
 * before its run is called, so that run may release it. 4. A port is deinitialized only when all of
 * its jobs were taken, and its wake can be called until helper_stop has returned.
 *
 * Limits: jobs_max jobs are accepted and not yet taken, over all ports; so a completion always has
 * room. Beyond that submit answers -EAGAIN, which is counted.
 *
 * Threads: as each function says. In a simulation nothing is started: helper_turn runs what waits
 * on the caller's thread.
 */
#ifndef PENSTOCK_CORE_HELPER_THREAD_H
#define PENSTOCK_CORE_HELPER_THREAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/metrics.h"

struct heap;
struct helper;
struct helper_port;

enum { HELPER_JOBS_MAX_DEFAULT = 4096, HELPER_PERIODICS_MAX = 16, HELPER_METRIC_COUNT = 4 };

/* Slow work, on the helper's thread. `context` is the job's. */
typedef void helper_run(void *context);

/* Tells a shard that its port has something to take (ring_wake). Called on the helper's thread,
 * only when the port was empty before. */
typedef void helper_wake(void *context);

/* `run` and `context` are the submitter's; the rest the helper's. */
struct helper_job {
    helper_run *run;
    void *context;
    struct helper_job *next;
    struct helper_port *port;
};

/* Values of helper_metrics. */
struct helper_counters {
    uint64_t submitted;
    uint64_t refused;    /* -EAGAIN */
    uint64_t waiting;    /* now: accepted and not yet run */
    uint64_t longest_ns; /* of one job or periodic task */
};

extern const struct metric helper_metrics[HELPER_METRIC_COUNT];

/* Any thread; its heap. `jobs_max` 0: HELPER_JOBS_MAX_DEFAULT. 0 or -ENOMEM. */
int helper_create(struct heap *heap, uint32_t jobs_max, struct helper **out_helper);

/* The thread must have been stopped or never started; jobs that wait are run now. */
void helper_destroy(struct heap *heap, struct helper *helper);

/* Calls run(context) about every period_ms (> 0) and at helper_signal, on the helper's thread, and
 * once more when it stops. Before helper_start. -ENOSPC: HELPER_PERIODICS_MAX. */
int helper_add_periodic(struct helper *helper, uint32_t period_ms, helper_run *run, void *context);

/* Starts the thread, with every signal blocked. 0 or -errno. */
int helper_start(struct helper *helper);

/* Any thread but the helper's. Refuses new jobs, runs the accepted ones, joins the thread. Their
 * completions can still be taken. Doing it twice does nothing. */
void helper_stop(struct helper *helper);

/* Any thread, also from within a job: the periodic tasks run as soon as the job under way is done.
 */
void helper_signal(struct helper *helper);

/* The thread that will submit; `wake` may be NULL (tests poll). 0 or -ENOMEM. */
int helper_port_create(struct heap *heap, struct helper *helper, helper_wake *wake,
                       void *wake_context, struct helper_port **out_port);
void helper_port_destroy(struct heap *heap, struct helper_port *port);

/* The port's thread; any thread with `port` NULL. 0; -EAGAIN: jobs_max; -ESHUTDOWN: stopping. */
int helper_submit(struct helper *helper, struct helper_port *port, struct helper_job *job);

/* The port's thread. The next finished job, in the order of submission, or NULL. */
struct helper_job *helper_take(struct helper_port *port);

/* The port's thread. The same, but waits for a job that is not finished; NULL: none is out. While
 * no thread is started it runs what waits. For the end of a port, where every job must be back. */
struct helper_job *helper_take_last(struct helper_port *port);

/* One round of the thread's loop, on the caller's thread, while none is started: the periodic tasks
 * that are due at now_ns (monotonic), then every job that waits. Result: the earliest time at which
 * a periodic task is due; UINT64_MAX: none. */
uint64_t helper_turn(struct helper *helper, uint64_t now_ns);

/* The values that helper_metrics describes, for metrics_register without a shard. */
const struct helper_counters *helper_counters(const struct helper *helper);

#endif
