/*
 * A journal's segments: one is prepared ahead by the helper thread, one is current, one may have
 * been left and wait for its last sync; after it, it is retired and the helper thread indexes it in
 * slices.
 *
 *   prepare job -> spare -> current -> leaving -> retired -> index job -> on_indexed
 *                               `----failure----------^ up to its last synced batch, when what was
 *                                                       committed behind it is written again
 *
 * Thread: the handle's shard, but for the two run functions.
 */
#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "core/ring.h"
#include "journal_state_internal.h"

enum { OPEN_AGE_SHARE = 8, OPEN_MIN_MS = 60000 };

static void run_prepare(void *context)
{
    struct journal_job *job = context;
    /* What has gone gives its room back first. */
    log_store_retain(job->journal->store, ring_wall_ms(job->journal->ring));
    job->status = log_store_prepare(job->journal->store, job->bytes, &job->segment);
}

static void run_index(void *context)
{
    struct journal_job *job = context;
    job->status = log_store_index(job->journal->store, job->segment, job->bytes, &job->state);
}

/* Hands a job to the helper thread, which has it if it is_out. */
static void submit(struct journal *journal, struct journal_job *job)
{
    job->is_out = helper_submit(journal->store->helper, journal->port, &job->job) == 0;
    if (!job->is_out)
        job->pause.until_ns = journal->now_ns + JOURNAL_PAUSE_FIRST_MS * 1000000ULL;
}

static void drop(struct journal *journal, struct log_segment *segment)
{
    log_segment_drop(journal->store, segment);
    log_segment_release(journal->store, segment);
}

/* A segment that is not written any more goes to its index, when what it has is written up to
 * `until`; one of which nothing counts goes. */
static void retire(struct journal *journal, struct journal_writer *writer, uint64_t until)
{
    if (writer->synced_end == 0 && until == 0) {
        drop(journal, writer->segment);
    } else {
        ps_assert(journal->retired_count < JOURNAL_RETIRED_MAX);
        journal->retired[journal->retired_count++] =
            (struct journal_retired){writer->segment, writer->synced_end, until};
    }
    *writer = (struct journal_writer){0};
}

/* The current segment gets no more batches. False: the one left before is not synced yet. */
static bool leave(struct journal *journal)
{
    if (journal->leaving->segment != NULL)
        return false;
    struct journal_writer *free = journal->leaving;
    journal->leaving = journal->current;
    journal->current = free;
    journal->events.on_left(journal->events.context);
    return true;
}

static uint64_t capacity_for(const struct journal *journal, uint64_t bytes)
{
    uint64_t needed = journal->header_bytes + bytes;
    needed = (needed + SEGMENT_PAGE_BYTES - 1) & ~(uint64_t)(SEGMENT_PAGE_BYTES - 1);
    return ps_max_u64(needed, journal->store->config.segment_bytes);
}

/* A record waits for a segment. */
static void stall(struct journal *journal)
{
    if (!journal->is_stalled)
        journal->stalled_since_ns = journal->now_ns;
    journal->is_stalled = true;
}

struct journal_writer *journal_segment_for(struct journal *journal, uint64_t bytes)
{
    struct journal_writer *writer = journal->current;
    if (writer->segment != NULL) {
        if (!writer->is_closing && writer->end + bytes <= writer->segment->capacity)
            return writer;
        if (!leave(journal)) /* its sync ends in a turn of its own */
            return NULL;
        writer = journal->current;
    }
    /* Each segment that is written may have to be retired at any time. */
    bool has_room = journal->retired_count + 2 <= JOURNAL_RETIRED_MAX;
    if (journal->spare == NULL || !has_room ||
        journal->header_bytes + bytes > journal->spare->capacity) {
        journal->capacity_wanted = capacity_for(journal, bytes);
        stall(journal);
        return NULL;
    }
    *writer = (struct journal_writer){.segment = journal->spare, .end = journal->header_bytes};
    journal->spare = NULL;
    journal->capacity_wanted = 0;
    if (journal->is_stalled)
        journal->counters.stalled_ns += journal->now_ns - journal->stalled_since_ns;
    journal->is_stalled = false;
    return writer;
}

/* Gives a segment up that has perhaps batches which are not synced. Where such are committed a
 * start finds them there, should this process die before they are written again. */
static void abandon(struct journal *journal, struct journal_writer *writer)
{
    bool has_committed =
        journal->commit != EMBEDDED_COMMIT_SYNCED && writer->written_end > writer->synced_end;
    retire(journal, writer, has_committed ? writer->added : 0);
}

void journal_segment_abandon(struct journal *journal)
{
    if (journal->leaving->segment != NULL)
        abandon(journal, journal->leaving);
    if (journal->current->segment == NULL)
        return;
    abandon(journal, journal->current);
    journal->events.on_left(journal->events.context);
}

bool journal_close_segment(struct journal *journal)
{
    struct journal_writer *writer = journal->current;
    bool is_used = writer->batches > 0 || journal->gathering->writer == writer;
    if (writer->segment == NULL || !is_used || writer->is_closing)
        return false;
    writer->is_closing = true;
    return true;
}

void journal_leave_below(struct journal *journal, uint64_t number)
{
    if (journal->current->segment != NULL && journal->current->segment->number < number)
        journal_close_segment(journal);
    if (journal->spare == NULL || journal->spare->number >= number)
        return;
    drop(journal, journal->spare);
    journal->spare = NULL;
}

static void finish_prepare(struct journal *journal)
{
    struct journal_job *job = &journal->prepare;
    if (job->status < 0) {
        journal_fail(journal, &job->pause, "prepare", job->status);
        return;
    }
    job->pause.ms = 0;
    journal->spare = job->segment;
    /* With nothing to write no write will tell that it goes on. */
    if (journal->encoded == journal->added && journal->pause.ms == 0)
        journal_heal(journal);
}

/* The first retired segment, which goes from the list. */
static struct log_segment *take_retired(struct journal *journal)
{
    struct log_segment *segment = journal->retired[0].segment;
    journal->retired_count--;
    memmove(&journal->retired[0], &journal->retired[1],
            journal->retired_count * sizeof(journal->retired[0]));
    return segment;
}

/* True: the job has more to do at once. */
static bool finish_index(struct journal *journal)
{
    struct journal_job *job = &journal->index;
    if (job->status == -EAGAIN)
        return true;
    if (job->status < 0) {
        journal_pause(journal, &job->pause);
        return false;
    }
    job->pause.ms = 0;
    job->segment = NULL;
    journal->events.on_indexed(journal->events.context, take_retired(journal));
    return false;
}

static void take_jobs(struct journal *journal)
{
    struct helper_job *done;
    while ((done = helper_take(journal->port)) != NULL) {
        struct journal_job *job = ps_container_of(done, struct journal_job, job);
        job->is_out = false;
        if (job == &journal->prepare)
            finish_prepare(journal);
        else if (finish_index(journal))
            submit(journal, job);
    }
}

static bool is_due(const struct journal *journal, const struct journal_job *job)
{
    return !job->is_out && journal->now_ns >= job->pause.until_ns;
}

static void begin_prepare(struct journal *journal)
{
    struct journal_job *job = &journal->prepare;
    if (journal->spare != NULL && journal->capacity_wanted > journal->spare->capacity) {
        drop(journal, journal->spare);
        journal->spare = NULL;
    }
    if (journal->spare != NULL || !is_due(journal, job))
        return;
    job->bytes = ps_max_u64(journal->capacity_wanted, journal->store->config.segment_bytes);
    submit(journal, job);
}

/* The first retired segment may be cut where its synced batches end: what was committed behind them
 * is written again, or there is no room, here or on the disk, for one more attempt to. */
static bool may_index(const struct journal *journal)
{
    const struct journal_job *prepare = &journal->prepare;
    bool is_disk_full = journal->spare == NULL && !prepare->is_out && prepare->status == -ENOSPC;
    return journal->retired_count > 0 &&
           (journal->retired[0].until <= journal->written || is_disk_full ||
            journal->retired_count + 2 > JOURNAL_RETIRED_MAX);
}

static void begin_index(struct journal *journal)
{
    struct journal_job *job = &journal->index;
    while (!job->is_out && may_index(journal) && journal->retired[0].data_end == 0)
        drop(journal, take_retired(journal));
    if (!may_index(journal) || !is_due(journal, job))
        return;
    job->segment = journal->retired[0].segment;
    job->bytes = journal->retired[0].data_end;
    submit(journal, job);
}

/* When the current segment has been written to for long enough; UINT64_MAX: it goes on. */
static uint64_t aged_ns(const struct journal *journal)
{
    const struct journal_writer *writer = journal->current;
    if (journal->open_max_ns == UINT64_MAX || writer->segment == NULL || writer->batches == 0 ||
        writer->is_closing)
        return UINT64_MAX;
    return writer->begun_ns + journal->open_max_ns;
}

void journal_segment_turn(struct journal *journal)
{
    take_jobs(journal);
    struct journal_writer *writer = journal->current;
    writer->is_closing |= aged_ns(journal) <= journal->now_ns;
    bool is_gathering = journal->gathering->records > 0 && journal->gathering->writer == writer;
    if (writer->segment != NULL && writer->is_closing && !is_gathering)
        leave(journal);
    writer = journal->leaving;
    if (writer->segment != NULL && journal->kept >= writer->added && journal->failure == 0)
        retire(journal, writer, 0);
    begin_prepare(journal);
    begin_index(journal);
}

uint64_t journal_segment_deadline_ns(const struct journal *journal)
{
    uint64_t deadline_ns = UINT64_MAX;
    if (journal->spare == NULL && !journal->prepare.is_out)
        deadline_ns = journal->prepare.pause.until_ns;
    if (may_index(journal) && !journal->index.is_out)
        deadline_ns = ps_min_u64(deadline_ns, journal->index.pause.until_ns);
    return ps_min_u64(deadline_ns, aged_ns(journal));
}

/* How long a segment stays open when messages go by age. */
static uint64_t open_max_ns(uint64_t age_ms)
{
    if (age_ms == 0)
        return UINT64_MAX;
    uint64_t ms = ps_max_u64(age_ms / OPEN_AGE_SHARE, ps_min_u64(age_ms, OPEN_MIN_MS));
    return ms < UINT64_MAX / 2000000 ? ms * 1000000 : UINT64_MAX;
}

int journal_segment_init(struct journal *journal, void (*wake)(void *), void *wake_context)
{
    journal->open_max_ns = open_max_ns(journal->store->config.retention_age_ms);
    journal->prepare = (struct journal_job){
        .job = {.run = run_prepare, .context = &journal->prepare}, .journal = journal};
    journal->index = (struct journal_job){.job = {.run = run_index, .context = &journal->index},
                                          .journal = journal};
    return helper_port_create(journal->heap, journal->store->helper, wake, wake_context,
                              &journal->port);
}

/* Runs a job and waits for it; on this thread when the helper has stopped. */
static void run_now(struct journal *journal, struct journal_job *job)
{
    if (helper_submit(journal->store->helper, journal->port, &job->job) < 0)
        job->job.run(job->job.context);
    else
        ps_assert(helper_take_last(journal->port) == &job->job);
}

static void run_cancel(void *context)
{
    struct journal_job *job = context;
    log_store_index_cancel(job->journal->store, &job->state);
}

void journal_segment_stop(struct journal *journal)
{
    struct journal_job *prepare = &journal->prepare;
    struct journal_job *index = &journal->index;
    while (helper_take_last(journal->port) != NULL)
        ;
    if (prepare->is_out && prepare->status == 0)
        journal->spare = prepare->segment;
    if (index->is_out && index->status == -EAGAIN) {
        index->job.run = run_cancel;
        run_now(journal, index);
    }
    prepare->is_out = false;
    index->is_out = false;
}

void journal_segment_deinit(struct journal *journal)
{
    helper_port_destroy(journal->heap, journal->port);
}

int journal_segment_make_room(struct journal *journal)
{
    struct journal_writer *left = journal->leaving;
    struct journal_job *prepare = &journal->prepare;
    bool was_left = left->segment != NULL;
    if (was_left) {
        int status = disk_sync(left->segment->fd);
        if (status < 0)
            return status;
        log_segment_release(journal->store, left->segment);
        *left = (struct journal_writer){0};
    }
    if (journal->spare != NULL && journal->capacity_wanted <= journal->spare->capacity)
        return was_left ? 0 : -ENOMEM;
    if (journal->spare != NULL)
        drop(journal, journal->spare);
    journal->spare = NULL;
    prepare->bytes = ps_max_u64(journal->capacity_wanted, journal->store->config.segment_bytes);
    run_now(journal, prepare);
    if (prepare->status == 0)
        journal->spare = prepare->segment;
    return prepare->status;
}
