/*
 * The helper thread; see helper_thread.h. One mutex guards the queue, another each port's list of
 * finished jobs; both are held for a few instructions, never while a job runs. The thread's loop is
 * helper_turn plus a wait, so that what a simulation runs is what production runs.
 */
#include "core/helper_thread.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "core/base.h"
#include "core/heap.h"

struct helper_periodic {
    helper_run *run;
    void *context;
    uint64_t period_ns;
    uint64_t due_ns;
};

/* First in, first out. */
struct job_list {
    struct helper_job *first;
    struct helper_job *last;
};

struct helper_port {
    struct helper *helper;
    helper_wake *wake;
    void *wake_context;
    pthread_mutex_t mutex;
    pthread_cond_t is_finished; /* under mutex: `finished` was empty and is not any more */
    struct job_list finished;   /* under mutex */
    uint32_t outstanding;       /* submitted and not yet taken; the port's thread only */
};

struct helper {
    uint32_t jobs_max;
    struct helper_counters counters; /* written under `mutex`, read by anybody */
    struct helper_periodic periodics[HELPER_PERIODICS_MAX]; /* immutable once started, but due_ns */
    uint32_t periodic_count;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    struct job_list queue; /* this and what follows under `mutex` */
    bool is_started;       /* written by the thread that starts and stops */
    uint32_t accepted;     /* submitted and not yet taken, or forgotten */
    bool is_stopping;
    bool is_signalled;
};

const struct metric helper_metrics[HELPER_METRIC_COUNT] = {
    {"penstock_helper_jobs_total", "Slow jobs accepted by the helper thread.", METRIC_COUNTER, NULL,
     offsetof(struct helper_counters, submitted)},
    {"penstock_helper_jobs_refused_total", "Slow jobs refused because too many waited.",
     METRIC_COUNTER, NULL, offsetof(struct helper_counters, refused)},
    {"penstock_helper_jobs_waiting", "Slow jobs accepted and not yet run.", METRIC_GAUGE, NULL,
     offsetof(struct helper_counters, waiting)},
    {"penstock_helper_longest_nanoseconds", "Longest run of a slow job or periodic task.",
     METRIC_GAUGE, NULL, offsetof(struct helper_counters, longest_ns)},
};

static void list_put(struct job_list *list, struct helper_job *job)
{
    job->next = NULL;
    if (list->first == NULL)
        list->first = job;
    else
        list->last->next = job;
    list->last = job;
}

static struct helper_job *list_take(struct job_list *list)
{
    struct helper_job *job = list->first;
    if (job != NULL)
        list->first = job->next;
    return job;
}

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

int helper_create(struct heap *heap, uint32_t jobs_max, struct helper **out_helper)
{
    struct helper *helper = heap_zalloc(heap, sizeof(*helper));
    if (helper == NULL)
        return -ENOMEM;
    helper->jobs_max = jobs_max == 0 ? HELPER_JOBS_MAX_DEFAULT : jobs_max;
    pthread_mutex_init(&helper->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&helper->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *out_helper = helper;
    return 0;
}

void helper_destroy(struct heap *heap, struct helper *helper)
{
    if (helper == NULL)
        return;
    ps_assert(!helper->is_started);
    helper_stop(helper);
    pthread_cond_destroy(&helper->changed);
    pthread_mutex_destroy(&helper->mutex);
    heap_free(heap, helper);
}

int helper_add_periodic(struct helper *helper, uint32_t period_ms, helper_run *run, void *context)
{
    ps_assert(period_ms > 0 && !helper->is_started);
    if (helper->periodic_count == HELPER_PERIODICS_MAX)
        return -ENOSPC;
    helper->periodics[helper->periodic_count++] = (struct helper_periodic){
        .run = run, .context = context, .period_ns = (uint64_t)period_ms * 1000000};
    return 0;
}

static void run_timed(struct helper *helper, helper_run *run, void *context)
{
    uint64_t begin_ns = clock_ns();
    run(context);
    uint64_t spent_ns = clock_ns() - begin_ns;
    if (spent_ns > metrics_get(&helper->counters.longest_ns))
        metrics_set(&helper->counters.longest_ns, spent_ns);
}

/* Runs the periodic tasks that are due, or all of them. Result: when the next one is due. */
static uint64_t run_periodics(struct helper *helper, uint64_t now_ns, bool is_forced)
{
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t i = 0; i < helper->periodic_count; i++) {
        struct helper_periodic *periodic = &helper->periodics[i];
        if (is_forced || periodic->due_ns <= now_ns) {
            run_timed(helper, periodic->run, periodic->context);
            periodic->due_ns = now_ns + periodic->period_ns;
        }
        next_ns = ps_min_u64(next_ns, periodic->due_ns);
    }
    return next_ns;
}

static void give_back(struct helper_port *port, struct helper_job *job)
{
    /* Copied first: once the job is in the list and the mutex open, its shard may take it and
     * destroy the port. */
    helper_wake *wake = port->wake;
    void *wake_context = port->wake_context;
    pthread_mutex_lock(&port->mutex);
    bool was_empty = port->finished.first == NULL;
    list_put(&port->finished, job);
    pthread_cond_signal(&port->is_finished);
    pthread_mutex_unlock(&port->mutex);
    if (was_empty && wake != NULL)
        wake(wake_context);
}

/* Runs one waiting job. False: there was none. */
static bool run_job(struct helper *helper)
{
    pthread_mutex_lock(&helper->mutex);
    struct helper_job *job = list_take(&helper->queue);
    if (job != NULL) {
        metrics_set(&helper->counters.waiting, helper->counters.waiting - 1);
        if (job->port == NULL)
            helper->accepted--;
    }
    pthread_mutex_unlock(&helper->mutex);
    if (job == NULL)
        return false;
    struct helper_port *port = job->port;
    run_timed(helper, job->run, job->context);
    if (port != NULL)
        give_back(port, job);
    return true;
}

/* Reads and forgets whether somebody signalled. */
static bool take_signal(struct helper *helper)
{
    pthread_mutex_lock(&helper->mutex);
    bool is_signalled = helper->is_signalled;
    helper->is_signalled = false;
    pthread_mutex_unlock(&helper->mutex);
    return is_signalled;
}

uint64_t helper_turn(struct helper *helper, uint64_t now_ns)
{
    uint64_t next_ns = run_periodics(helper, now_ns, take_signal(helper));
    while (run_job(helper))
        ;
    return next_ns;
}

/* Sleeps until there is something to do or `deadline_ns`. False: it is time to stop. */
static bool wait_for_work(struct helper *helper, uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                                .tv_nsec = (long)(deadline_ns % 1000000000)};
    pthread_mutex_lock(&helper->mutex);
    int result = 0;
    while (helper->queue.first == NULL && !helper->is_signalled && !helper->is_stopping &&
           result == 0) {
        if (deadline_ns == UINT64_MAX)
            result = pthread_cond_wait(&helper->changed, &helper->mutex);
        else
            result = pthread_cond_timedwait(&helper->changed, &helper->mutex, &deadline);
    }
    bool is_stopping = helper->is_stopping;
    pthread_mutex_unlock(&helper->mutex);
    return !is_stopping;
}

/* One job at a time between looks at the clock, so that a long queue does not hold up the log. */
static void *helper_main(void *argument)
{
    struct helper *helper = argument;
    uint64_t next_ns = 0;
    for (;;) {
        bool is_signalled = take_signal(helper);
        uint64_t now_ns = clock_ns();
        if (is_signalled || now_ns >= next_ns)
            next_ns = run_periodics(helper, now_ns, is_signalled);
        if (!run_job(helper) && !wait_for_work(helper, next_ns))
            return NULL;
    }
}

int helper_start(struct helper *helper)
{
    ps_assert(!helper->is_started);
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int result = pthread_create(&helper->thread, NULL, helper_main, helper);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result != 0)
        return -result;
    pthread_setname_np(helper->thread, "penstock-helper");
    pthread_mutex_lock(&helper->mutex);
    helper->is_started = true;
    pthread_mutex_unlock(&helper->mutex);
    return 0;
}

void helper_stop(struct helper *helper)
{
    pthread_mutex_lock(&helper->mutex);
    bool was_stopping = helper->is_stopping;
    helper->is_stopping = true;
    pthread_cond_signal(&helper->changed);
    pthread_mutex_unlock(&helper->mutex);
    if (was_stopping)
        return;
    if (helper->is_started)
        pthread_join(helper->thread, NULL);
    pthread_mutex_lock(&helper->mutex);
    helper->is_started = false;
    pthread_mutex_unlock(&helper->mutex);
    /* The queue is closed: what a job might have submitted last is run here, and then the periodic
     * tasks, so that the log has everything. */
    while (run_job(helper))
        ;
    run_periodics(helper, clock_ns(), true);
}

void helper_signal(struct helper *helper)
{
    pthread_mutex_lock(&helper->mutex);
    helper->is_signalled = true;
    pthread_cond_signal(&helper->changed);
    pthread_mutex_unlock(&helper->mutex);
}

int helper_port_create(struct heap *heap, struct helper *helper, helper_wake *wake,
                       void *wake_context, struct helper_port **out_port)
{
    struct helper_port *port = heap_zalloc(heap, sizeof(*port));
    if (port == NULL)
        return -ENOMEM;
    port->helper = helper;
    port->wake = wake;
    port->wake_context = wake_context;
    pthread_mutex_init(&port->mutex, NULL);
    pthread_cond_init(&port->is_finished, NULL);
    *out_port = port;
    return 0;
}

void helper_port_destroy(struct heap *heap, struct helper_port *port)
{
    if (port == NULL)
        return;
    ps_assert(port->outstanding == 0);
    pthread_cond_destroy(&port->is_finished);
    pthread_mutex_destroy(&port->mutex);
    heap_free(heap, port);
}

int helper_submit(struct helper *helper, struct helper_port *port, struct helper_job *job)
{
    ps_assert(job->run != NULL);
    int result = 0;
    pthread_mutex_lock(&helper->mutex);
    if (helper->is_stopping) {
        result = -ESHUTDOWN;
    } else if (helper->accepted == helper->jobs_max) {
        result = -EAGAIN;
        metrics_add(&helper->counters.refused, 1);
    } else {
        job->port = port;
        list_put(&helper->queue, job);
        helper->accepted++;
        metrics_add(&helper->counters.submitted, 1);
        metrics_add(&helper->counters.waiting, 1);
        pthread_cond_signal(&helper->changed);
    }
    pthread_mutex_unlock(&helper->mutex);
    if (result == 0 && port != NULL)
        port->outstanding++;
    return result;
}

struct helper_job *helper_take(struct helper_port *port)
{
    if (port->outstanding == 0)
        return NULL;
    pthread_mutex_lock(&port->mutex);
    struct helper_job *job = list_take(&port->finished);
    pthread_mutex_unlock(&port->mutex);
    if (job == NULL)
        return NULL;
    port->outstanding--;
    pthread_mutex_lock(&port->helper->mutex);
    port->helper->accepted--;
    pthread_mutex_unlock(&port->helper->mutex);
    return job;
}

struct helper_job *helper_take_last(struct helper_port *port)
{
    if (port->outstanding == 0)
        return NULL;
    pthread_mutex_lock(&port->helper->mutex);
    bool is_threaded = port->helper->is_started;
    pthread_mutex_unlock(&port->helper->mutex);
    if (!is_threaded)
        while (run_job(port->helper))
            ;
    pthread_mutex_lock(&port->mutex);
    while (port->finished.first == NULL)
        pthread_cond_wait(&port->is_finished, &port->mutex);
    pthread_mutex_unlock(&port->mutex);
    return helper_take(port);
}

const struct helper_counters *helper_counters(const struct helper *helper)
{
    return &helper->counters;
}
