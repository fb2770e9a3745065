/*
 * The walk over a shard's cursors; see wanted.h.
 */
#include "session/wanted.h"

#include "core/base.h"
#include "core/heap.h"
#include "session/catch_up.h"
#include "session/hub.h"
#include "session/hub_mail.h"

struct wanted {
    uint64_t due_ns; /* of the next walk */
    uint32_t next;   /* index into the cursors' pool */
    bool is_looking;
    uint64_t *told;    /* by partition; 0 from the start on, as the owner takes it to be */
    uint64_t lowest[]; /* by partition, of the walk; UINT64_MAX: none */
};

int wanted_create(struct hub *hub, struct wanted **out_wanted)
{
    size_t count = hub->partition_count;
    struct wanted *wanted =
        heap_zalloc(hub->heap, sizeof(*wanted) + 2 * count * sizeof(wanted->lowest[0]));
    if (wanted == NULL)
        return -ENOMEM;
    wanted->told = wanted->lowest + count;
    *out_wanted = wanted;
    return 0;
}

void wanted_destroy(struct hub *hub, struct wanted *wanted)
{
    heap_free(hub->heap, wanted);
}

bool wanted_is_looking(const struct wanted *wanted)
{
    return wanted->is_looking;
}

/* A late shard reads for its live sessions, which have no cursors, from its floors. */
static void begin(struct hub *hub)
{
    struct wanted *wanted = hub->wanted;
    for (uint32_t p = 0; p < hub->partition_count; p++)
        wanted->lowest[p] = hub->lateness[p] == HUB_ON_TIME ? UINT64_MAX : hub->floors[p] + 1;
    wanted->next = 0;
    wanted->due_ns = hub->shard->now_ns + WANTED_MS * 1000000ULL;
    wanted->is_looking = true;
}

/* What finds no room is told at the next walk. */
static void tell(struct hub *hub)
{
    struct wanted *wanted = hub->wanted;
    for (uint32_t p = 0; p < hub->partition_count; p++) {
        if (wanted->lowest[p] == wanted->told[p])
            continue;
        const struct hub_mail mail = {
            .kind = HUB_MAIL_WANTED,
            .partition = (uint16_t)p,
            .sequence = wanted->lowest[p],
        };
        if (hub_post(hub, hub_owner_of(hub, (uint16_t)p), &mail, 0))
            wanted->told[p] = wanted->lowest[p];
    }
}

void wanted_step(struct hub *hub)
{
    struct wanted *wanted = hub->wanted;
    if (!wanted->is_looking) {
        if (hub->shard->now_ns < wanted->due_ns)
            return;
        begin(hub);
    }
    uint32_t end = pool_index_count(&hub->cursor_pool);
    uint32_t stop = (uint32_t)ps_min_u64(end, (uint64_t)wanted->next + WANTED_LOOKS_PER_TURN);
    for (; wanted->next < stop; wanted->next++) {
        const struct cursor *cursor = pool_peek(&hub->cursor_pool, wanted->next);
        bool is_behind = cursor != NULL && cursor->state != CURSOR_JOINED;
        if (is_behind && cursor->sequence < wanted->lowest[cursor->partition])
            wanted->lowest[cursor->partition] = cursor->sequence;
    }
    if (wanted->next < end)
        return;
    wanted->is_looking = false;
    tell(hub);
}
