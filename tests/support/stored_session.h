/*
 * A session that is only read from and written to its stored form: a hub with nothing but what that
 * needs. Shared by the unit tests and the fuzz target of session/session_record.c; a program that
 * includes it wraps interest_drop, for there are no owners to tell. For tests only.
 */
#ifndef PENSTOCK_TESTS_SUPPORT_STORED_SESSION_H
#define PENSTOCK_TESTS_SUPPORT_STORED_SESSION_H

#include "core/base.h"
#include "core/heap.h"
#include "session/catch_up.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/progress.h"
#include "session/retained_due.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/window.h"

enum { STORED_PARTITIONS = 3 };

struct stored_fixture {
    struct heap_budget budget;
    struct heap heap;
    struct hub_limits limits;
    uint64_t floors[STORED_PARTITIONS];
    struct hub hub;
    struct session session;
};

void __wrap_interest_drop(struct hub *hub, const struct filter *filter);

void __wrap_interest_drop(struct hub *hub, const struct filter *filter)
{
    (void)hub;
    (void)filter;
}

static inline void stored_set_up(struct stored_fixture *fixture)
{
    memset(fixture, 0, sizeof(*fixture));
    heap_init(&fixture->heap, &fixture->budget);
    struct hub *hub = &fixture->hub;
    fixture->limits =
        (struct hub_limits){.window_max = 16, .inbound_max = 16, .unreleased_max = 16};
    fixture->session.state = SESSION_OPENING;
    hub->heap = &fixture->heap;
    hub->limits = &fixture->limits;
    hub->floors = fixture->floors;
    hub->partition_count = STORED_PARTITIONS;
    struct topic_index_options options = {
        .heap = &fixture->heap, .seed = 1, .topics_max = 16, .filters_max = 1 << 20};
    int result = topic_index_init(&hub->index, &options);
    ps_assert(result == 0);
    pool_init(&hub->subscription_pool, &fixture->heap, sizeof(struct subscription), 1 << 20);
    pool_init(&hub->cursor_pool, &fixture->heap, sizeof(struct cursor), 1 << 20);
    pool_init(&hub->due_pool, &fixture->heap, sizeof(struct retained_due), 1 << 20);
    result = progress_create(hub, &hub->progress);
    ps_assert(result == 0);
    bool is_made = session_store_create(hub, &fixture->session);
    ps_assert(is_made);
}

static inline void stored_tear_down(struct stored_fixture *fixture)
{
    struct hub *hub = &fixture->hub;
    while (fixture->session.subscriptions != NULL)
        session_unsubscribe(hub, &fixture->session, fixture->session.subscriptions);
    catch_up_clear(hub, &fixture->session);
    window_destroy(&fixture->heap, fixture->session.window);
    inbound_destroy(hub, &fixture->session);
    session_store_destroy(hub, &fixture->session);
    progress_destroy(hub, hub->progress);
    pool_deinit(&hub->subscription_pool);
    pool_deinit(&hub->cursor_pool);
    pool_deinit(&hub->due_pool);
    topic_index_deinit(&hub->index);
    ps_assert(heap_bytes_net(&fixture->heap) == 0);
    heap_deinit(&fixture->heap);
}

#endif
