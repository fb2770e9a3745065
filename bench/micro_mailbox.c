/*
 * Mail from one shard to another: in batches within one thread, which is the cost of the calls, and
 * to a thread that takes it on another core, which is the cost of the cache lines between them.
 * The other thread spins: the figure counts only where two cores are free.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/mailbox.h"
#include "micro.h"

enum { ENTRIES_MAX = 4096, BYTES_MAX = 1 << 24 };

struct subject {
    struct heap_budget budget;
    struct heap heap;
    struct mailbox *mailbox;
    uint64_t batch;
    uint64_t posted;
    pthread_t thread;
    bool has_thread;
    _Atomic bool is_stopping;
    _Atomic uint64_t taken;
};

static void *create(uint64_t size)
{
    struct subject *subject = calloc(1, sizeof(*subject));
    ps_assert(subject != NULL);
    heap_init(&subject->heap, &subject->budget);
    subject->batch = size;
    int result = mailbox_create(&subject->heap, ENTRIES_MAX, 0, BYTES_MAX, &subject->mailbox);
    ps_assert(result == 0);
    return subject;
}

static uint64_t take_all(struct mailbox *mailbox)
{
    uint64_t count = 0;
    while (mailbox_take(mailbox) != NULL)
        count++;
    mailbox_give_back(mailbox);
    return count;
}

static void *consume(void *memory)
{
    struct subject *subject = memory;
    uint64_t taken = 0;
    while (!atomic_load_explicit(&subject->is_stopping, memory_order_relaxed)) {
        taken += take_all(subject->mailbox);
        atomic_store_explicit(&subject->taken, taken, memory_order_release);
    }
    return NULL;
}

static void *create_threaded(uint64_t size)
{
    struct subject *subject = create(size);
    subject->has_thread = pthread_create(&subject->thread, NULL, consume, subject) == 0;
    ps_assert(subject->has_thread);
    return subject;
}

static void destroy(void *memory)
{
    struct subject *subject = memory;
    atomic_store_explicit(&subject->is_stopping, true, memory_order_relaxed);
    if (subject->has_thread)
        pthread_join(subject->thread, NULL);
    ps_assert(subject->posted > 0);
    mailbox_destroy(&subject->heap, subject->mailbox);
    heap_deinit(&subject->heap);
    free(subject);
}

/* A batch posted and published, as far as there is room. */
static uint64_t post_batch(struct subject *subject, uint64_t left)
{
    struct mail mail = {0};
    uint64_t count = ps_min_u64(left, subject->batch);
    uint64_t posted = 0;
    while (posted < count && mailbox_post(subject->mailbox, &mail, 64))
        posted++;
    (void)mailbox_flush(subject->mailbox);
    subject->posted += posted;
    return posted;
}

static void run_within(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t left = iterations; left > 0;) {
        left -= post_batch(subject, left);
        subject->taken += take_all(subject->mailbox);
    }
}

/* Until the other thread has taken the last one. */
static void run_between(void *memory, uint64_t iterations)
{
    struct subject *subject = memory;
    for (uint64_t left = iterations; left > 0;)
        left -= post_batch(subject, left);
    while (atomic_load_explicit(&subject->taken, memory_order_acquire) != subject->posted)
        ;
}

const struct micro_case micro_mailbox_cases[] = {
    {"mailbox/within/batch_1", create, destroy, run_within, 1},
    {"mailbox/within/batch_64", create, destroy, run_within, 64},
    {"mailbox/between/batch_1", create_threaded, destroy, run_between, 1},
    {"mailbox/between/batch_64", create_threaded, destroy, run_between, 64},
    {NULL, NULL, NULL, NULL, 0},
};
