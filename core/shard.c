/*
 * The loop of a shard; see shard.h for the numbered turn. This file owns no data but the shard's
 * own.
 */
#include "core/shard.h"

#include "core/base.h"
#include "core/heap.h"

int shard_create(const struct shard_options *options, struct shard **out_shard)
{
    ps_assert(options->count >= 1 && options->count <= SHARD_COUNT_MAX);
    ps_assert(options->index < options->count);
    struct shard *shard = heap_zalloc(options->heap, sizeof(*shard));
    if (shard == NULL)
        return -ENOMEM;
    shard->index = options->index;
    shard->count = options->count;
    shard->ring = options->ring;
    shard->heap = options->heap;
    shard->start_ns = ring_now_ns(options->ring);
    shard->now_ns = shard->start_ns;
    shard->wall_ms = ring_wall_ms(options->ring);
    shard->has_more = true;
    shard->inboxes = heap_zalloc(options->heap, options->count * sizeof(struct mailbox *));
    if (shard->inboxes == NULL)
        goto fail;
    for (uint32_t from = 0; from < options->count; from++) {
        if (mailbox_create(options->heap, options->mailbox_entries_max,
                           options->mailbox_reserved_max, options->mailbox_bytes_max,
                           &shard->inboxes[from]) != 0)
            goto fail;
    }
    *out_shard = shard;
    return 0;
fail:
    shard_destroy(shard);
    return -ENOMEM;
}

void shard_destroy(struct shard *shard)
{
    if (shard == NULL)
        return;
    struct heap *heap = shard->heap;
    for (uint32_t from = 0; shard->inboxes != NULL && from < shard->count; from++)
        mailbox_destroy(heap, shard->inboxes[from]);
    heap_free(heap, shard->inboxes);
    heap_free(heap, shard);
}

void shard_connect(struct shard *shard, struct shard *const *peers)
{
    shard->peers = peers;
}

void shard_add_step(struct shard *shard, const struct shard_step *step)
{
    ps_assert(shard->step_count < SHARD_STEPS_MAX);
    shard->steps[shard->step_count++] = *step;
}

uint64_t shard_deadline(const struct shard *shard)
{
    uint64_t deadline = UINT64_MAX;
    for (uint32_t i = 0; i < shard->step_count; i++) {
        const struct shard_step *step = &shard->steps[i];
        if (step->deadline != NULL)
            deadline = ps_min_u64(deadline, step->deadline(step->context, shard));
    }
    return deadline;
}

/* Announces sleep to every producer. False when mail came meanwhile: everything is awake again. */
static bool inboxes_sleep(struct shard *shard)
{
    for (uint32_t from = 0; from < shard->count; from++) {
        if (mailbox_sleep(shard->inboxes[from]))
            continue;
        for (uint32_t i = 0; i < from; i++)
            mailbox_awake(shard->inboxes[i]);
        return false;
    }
    return true;
}

static void inboxes_awake(struct shard *shard)
{
    for (uint32_t from = 0; from < shard->count; from++)
        mailbox_awake(shard->inboxes[from]);
}

/* The turn that began at `now_ns` has ended. */
static void count_turn(struct shard *shard, uint64_t end_ns)
{
    uint64_t turn_ns = end_ns - shard->now_ns;
    shard->counters.busy_ns += turn_ns;
    shard->counters.longest_turn_ns = ps_max_u64(shard->counters.longest_turn_ns, turn_ns);
}

/* Step 1. Result: the number of events, or -errno. */
static int wait_for_events(struct shard *shard, bool may_sleep)
{
    if (!may_sleep || shard->has_more || !inboxes_sleep(shard))
        return ring_wait(shard->ring, 0, shard->events, SHARD_EVENTS_MAX);
    count_turn(shard, ring_now_ns(shard->ring));
    shard->counters.sleeps++;
    int count = ring_wait(shard->ring, shard_deadline(shard), shard->events, SHARD_EVENTS_MAX);
    inboxes_awake(shard);
    return count;
}

/* Step 5. */
static void flush_mail(struct shard *shard)
{
    while (shard->flush_mask != 0) {
        uint32_t to = (uint32_t)__builtin_ctzll(shard->flush_mask);
        shard->flush_mask &= shard->flush_mask - 1;
        bool is_asleep = mailbox_flush(shard->peers[to]->inboxes[shard->index]);
        if (is_asleep && to != shard->index) {
            shard->counters.doorbells++;
            shard_wake(shard->peers[to]);
        }
    }
}

bool shard_turn(struct shard *shard, bool may_sleep)
{
    uint64_t sleeps = shard->counters.sleeps;
    int count = wait_for_events(shard, may_sleep);
    ps_assert(count >= 0); /* a ring that cannot wait has lost completions: a loop would spin */
    uint64_t now_ns = ring_now_ns(shard->ring);
    if (shard->counters.sleeps == sleeps && shard->counters.turns != 0)
        count_turn(shard, now_ns);
    shard->counters.turns++;
    shard->now_ns = now_ns;
    shard->wall_ms = ring_wall_ms(shard->ring);
    shard->tick = (uint32_t)((shard->now_ns - shard->start_ns) / (SHARD_TICK_MS * 1000000ULL));
    for (int i = 0; i < count; i++)
        shard->on_event(shard->event_context, &shard->events[i]);
    bool has_more = count == SHARD_EVENTS_MAX;
    for (uint32_t i = 0; i < shard->step_count; i++)
        has_more |= shard->steps[i].run(shard->steps[i].context, shard);
    flush_mail(shard);
    shard->has_more = has_more || !mailbox_is_quiet(shard->inboxes[shard->index]);
    return shard->has_more;
}

void shard_run(struct shard *shard)
{
    while (!atomic_load_explicit(&shard->is_stopping, memory_order_acquire))
        shard_turn(shard, true);
}

void shard_stop(struct shard *shard)
{
    atomic_store_explicit(&shard->is_stopping, true, memory_order_release);
    shard_wake(shard);
}

void shard_wake(struct shard *shard)
{
    ring_wake(shard->ring);
}

bool shard_post(struct shard *shard, uint32_t to, const struct mail *mail, uint32_t bytes)
{
    if (!mailbox_post(shard->peers[to]->inboxes[shard->index], mail, bytes)) {
        shard->counters.mail_refused++;
        return false;
    }
    shard->counters.mail_posted++;
    shard->flush_mask |= 1ULL << to;
    return true;
}

bool shard_post_reserved(struct shard *shard, uint32_t to, const struct mail *mail, uint32_t bytes)
{
    if (!mailbox_post_reserved(shard->peers[to]->inboxes[shard->index], mail, bytes)) {
        shard->counters.mail_refused++;
        return false;
    }
    shard->counters.mail_posted++;
    shard->flush_mask |= 1ULL << to;
    return true;
}
