/*
 * Checkpoint lines; see progress.h.
 *
 *   record: format u8, number u64, partitions u16, floor u64 each, sessions u32, each: its bytes
 * u32 and its progress (session_record.h); big-endian
 */
#include "session/progress.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/wire.h"
#include "session/catch_up.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/opening.h"
#include "session/session.h"
#include "session/session_record.h"
#include "session/session_store.h"
#include "session/window.h"

enum { PROGRESS_FORMAT = 1, HEAD_FIXED_BYTES = 1 + 8 + 2, REFRESH_SNAPSHOTS = 3600 };

struct progress_slot {
    uint64_t written;  /* number of its last record; 0: none */
    uint32_t attached; /* durable sessions of this slot */
    uint32_t sessions; /* of the snapshot that is being made */
    size_t bytes;
    bool had_sessions; /* its last record lists some */
};

struct progress {
    uint64_t number; /* of the last snapshot */
    uint64_t due_ns;
    uint64_t *floors;    /* of the last snapshot */
    uint32_t first;      /* sessions that were noted: index + 1 */
    uint32_t renew_next; /* session that is looked at next for renewal */
    uint64_t renew_credit;
    uint32_t writes; /* of lines, under way */
    struct progress_slot slots[PROGRESS_SLOTS];
};

static uint32_t slot_of(const void *client_id, uint32_t bytes)
{
    return (uint32_t)(hash_bytes_seeded(5, client_id, bytes) % PROGRESS_SLOTS);
}

static struct progress_slot *slot_of_session(struct progress *progress,
                                             const struct session *session)
{
    return &progress->slots[slot_of(session->client_id, session->client_id_bytes)];
}

int progress_create(struct hub *hub, struct progress **out_progress)
{
    size_t floors_bytes = hub->partition_count * sizeof(uint64_t);
    struct progress *progress = heap_zalloc(hub->heap, sizeof(*progress) + floors_bytes);
    if (progress == NULL)
        return -ENOMEM;
    progress->floors = (uint64_t *)(progress + 1);
    *out_progress = progress;
    return 0;
}

void progress_destroy(struct hub *hub, struct progress *progress)
{
    heap_free(hub->heap, progress);
}

uint64_t progress_next_number(const struct hub *hub)
{
    return hub->progress->number + 1;
}

void progress_count(struct hub *hub, const struct session *session, int change)
{
    struct progress_slot *slot = slot_of_session(hub->progress, session);
    slot->attached += (uint32_t)change;
}

void progress_note(struct hub *hub, struct session *session)
{
    if (session->stored == NULL || (session->flags & SESSION_NOTED))
        return;
    session->flags |= SESSION_NOTED;
    session->next_noted = hub->progress->first;
    session->previous_noted = 0;
    if (session->next_noted != 0)
        ((struct session *)pool_at(&hub->session_pool, session->next_noted - 1))->previous_noted =
            session->handle.index + 1;
    hub->progress->first = session->handle.index + 1;
}

void progress_forget(struct hub *hub, struct session *session)
{
    if (!(session->flags & SESSION_NOTED))
        return;
    session->flags &= (uint16_t)~SESSION_NOTED;
    if (session->previous_noted == 0)
        hub->progress->first = session->next_noted;
    else
        ((struct session *)pool_at(&hub->session_pool, session->previous_noted - 1))->next_noted =
            session->next_noted;
    if (session->next_noted != 0)
        ((struct session *)pool_at(&hub->session_pool, session->next_noted - 1))->previous_noted =
            session->previous_noted;
}

void progress_key(uint64_t run, uint8_t shard, const void *client_id, uint32_t bytes, char *out_key)
{
    out_key[0] = 'l';
    wire_store_u64((unsigned char *)out_key + 1, run);
    out_key[9] = (char)shard;
    out_key[10] = (char)slot_of(client_id, bytes);
}

/* Neither behind nor waiting for anything: at the floors. */
static bool is_settled(const struct session *session)
{
    return session->cursors == NULL && window_count(session->window) == 0 &&
           (session->inbound == NULL || session->inbound->open_count == 0) &&
           !(session->flags & SESSION_UNSAVED);
}

/* Whether its record names this line, and this snapshot does not leave it out. */
static bool is_listed(const struct session *session)
{
    return session->stored->is_attached && !(session->flags & SESSION_WROTE_ITSELF);
}

static struct session *at(const struct hub *hub, uint32_t number)
{
    return pool_at(&hub->session_pool, number - 1);
}

/* Drops who is settled, sums up who is not. A session for which its slot has no room writes its own
 * record instead, which names the snapshot after this one. */
static void gather(struct hub *hub)
{
    struct progress *progress = hub->progress;
    uint32_t next = 0;
    for (uint32_t number = progress->first; number != 0; number = next) {
        struct session *session = at(hub, number);
        next = session->next_noted;
        session->flags &= (uint16_t)~SESSION_WROTE_ITSELF;
        if (session->flags & SESSION_UNSAVED)
            opening_save(hub, session);
        if (is_settled(session)) {
            progress_forget(hub, session);
            continue;
        }
        if (!is_listed(session))
            continue;
        struct progress_slot *slot = slot_of_session(progress, session);
        size_t bytes = 4 + session_record_progress_bytes(hub, session);
        if (slot->bytes + bytes > PROGRESS_RECORD_BYTES_MAX) {
            session->flags |= SESSION_WROTE_ITSELF;
            session_store_write_own(hub, session, NULL);
            continue;
        }
        slot->bytes += bytes;
        slot->sessions++;
    }
}

static bool is_wanted(const struct progress *progress, const struct progress_slot *slot,
                      bool floors_moved)
{
    if (slot->sessions != 0 || slot->had_sessions)
        return true;
    bool is_old = progress->number - slot->written >= REFRESH_SNAPSHOTS;
    return slot->attached != 0 && (floors_moved || slot->written == 0 || is_old);
}

struct slot_writer {
    struct wire_writer writer;
    unsigned char *memory; /* NULL: this slot is not written */
    size_t bytes;
};

static void begin_slot(struct hub *hub, const struct progress_slot *slot, struct slot_writer *out)
{
    out->bytes = HEAD_FIXED_BYTES + hub->partition_count * sizeof(uint64_t) + 4 + slot->bytes;
    out->memory = heap_alloc(hub->heap, out->bytes);
    if (out->memory == NULL) {
        hub->counters.store_failures++;
        return;
    }
    wire_writer_init(&out->writer, out->memory, out->bytes);
    wire_write_u8(&out->writer, PROGRESS_FORMAT);
    wire_write_u64(&out->writer, hub->progress->number);
    wire_write_u16(&out->writer, hub->partition_count);
    for (uint32_t p = 0; p < hub->partition_count; p++)
        wire_write_u64(&out->writer, hub->floors[p]);
    wire_write_u32(&out->writer, slot->sessions);
}

static void list_sessions(struct hub *hub, struct slot_writer *writers)
{
    for (uint32_t number = hub->progress->first; number != 0;) {
        struct session *session = at(hub, number);
        number = session->next_noted;
        struct slot_writer *out = &writers[slot_of(session->client_id, session->client_id_bytes)];
        if (out->memory == NULL || !is_listed(session))
            continue;
        size_t bytes = session_record_progress_bytes(hub, session);
        wire_write_u32(&out->writer, (uint32_t)bytes);
        unsigned char *room = wire_write_room(&out->writer, bytes);
        ps_assert(room != NULL);
        session_record_progress_encode(hub, session, room, bytes);
    }
}

/* A full store: everything is written again at the next snapshot. */
static void on_line_written(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    (void)session;
    (void)context;
    hub->progress->writes--;
    for (uint32_t i = 0; !is_stored && i < PROGRESS_SLOTS; i++)
        hub->progress->slots[i].had_sessions = true;
}

static void write_slot(struct hub *hub, uint32_t index, struct slot_writer *out)
{
    struct progress_slot *slot = &hub->progress->slots[index];
    ps_assert(out->writer.fault == WIRE_FAULT_NONE && wire_writer_left(&out->writer) == 0);
    char key[PROGRESS_KEY_BYTES];
    progress_key(hub->shared->run, (uint8_t)hub->shard->index, NULL, 0, key);
    key[PROGRESS_KEY_BYTES - 1] = (char)index;
    hub->progress->writes++;
    session_store_put(hub, NULL, key, PROGRESS_KEY_BYTES, out->memory, out->bytes,
                      session_store_attached_ms(hub), on_line_written);
    heap_free(hub->heap, out->memory);
    slot->written = hub->progress->number;
    slot->had_sessions = slot->sessions != 0;
}

/* What attached sessions have in the store is written again before its slack is used up: a few
 * sessions at each snapshot, so that all have their turn in half the slack. */
static void renew(struct hub *hub)
{
    struct progress *progress = hub->progress;
    uint64_t slack_ms = session_store_attached_ms(hub) - hub->limits->session_expiry_ms;
    uint64_t snapshots = ps_max_u64(1, slack_ms / 2 / PROGRESS_MS);
    uint32_t indexes = pool_index_count(&hub->session_pool);
    progress->renew_credit += indexes;
    for (; progress->renew_credit >= snapshots && indexes != 0;
         progress->renew_credit -= snapshots) {
        if (progress->renew_next >= indexes)
            progress->renew_next = 0;
        struct session *session = pool_peek(&hub->session_pool, progress->renew_next++);
        if (session != NULL && session->state == SESSION_ATTACHED && session->stored != NULL)
            session_store_renew(hub, session);
    }
}

void progress_step(struct hub *hub)
{
    struct progress *progress = hub->progress;
    /* A write that is begun when everybody has ended would be lost with the hub. */
    if (hub->shard->now_ns < progress->due_ns || hub->is_at_rest)
        return;
    progress->due_ns = hub->shard->now_ns + PROGRESS_MS * 1000000ULL;
    /* A store that is slow is not given the next ones before it has the last ones. */
    if (progress->writes != 0)
        return;
    /* A hand-over that is under way is in some sessions' hands and not in others'. */
    if (hub->fan_out != NULL) {
        progress->due_ns = hub->shard->now_ns;
        return;
    }
    progress->number++;
    size_t floors_bytes = hub->partition_count * sizeof(uint64_t);
    bool floors_moved = memcmp(progress->floors, hub->floors, floors_bytes) != 0;
    memcpy(progress->floors, hub->floors, floors_bytes);
    for (uint32_t i = 0; i < PROGRESS_SLOTS; i++) {
        progress->slots[i].bytes = 0;
        progress->slots[i].sessions = 0;
    }
    renew(hub);
    gather(hub);
    struct slot_writer writers[PROGRESS_SLOTS] = {0};
    for (uint32_t i = 0; i < PROGRESS_SLOTS; i++) {
        if (is_wanted(progress, &progress->slots[i], floors_moved))
            begin_slot(hub, &progress->slots[i], &writers[i]);
    }
    list_sessions(hub, writers);
    for (uint32_t i = 0; i < PROGRESS_SLOTS; i++) {
        if (writers[i].memory != NULL)
            write_slot(hub, i, &writers[i]);
    }
}

/* Every cursor at the floors that the reader stands before. */
static int start_at_floors(struct hub *hub, struct session *session, struct wire_reader *reader)
{
    catch_up_clear(hub, session);
    for (uint32_t p = 0; p < hub->partition_count; p++) {
        if (!catch_up_start(hub, session, (uint16_t)p, wire_read_u64(reader) + 1))
            return -ENOMEM;
    }
    return 0;
}

int progress_apply(struct hub *hub, struct session *session, const void *bytes, size_t count)
{
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    if (wire_read_u8(&reader) != PROGRESS_FORMAT)
        return -EBADMSG;
    uint64_t number = wire_read_u64(&reader);
    if (wire_read_u16(&reader) != hub->partition_count ||
        wire_reader_left(&reader) < hub->partition_count * sizeof(uint64_t) + 4)
        return -EBADMSG;
    if (number < session->stored->line_number)
        return 0;
    session_record_progress_clear(hub, session);
    int status = start_at_floors(hub, session, &reader);
    uint32_t sessions = wire_read_u32(&reader);
    for (uint32_t i = 0; status == 0 && i < sessions; i++) {
        uint32_t entry_bytes = wire_read_u32(&reader);
        const unsigned char *entry = wire_read_bytes(&reader, entry_bytes);
        if (entry == NULL || reader.fault != WIRE_FAULT_NONE)
            return -EBADMSG;
        if (session_record_progress_is_of(session, entry, entry_bytes))
            status = session_record_progress_decode(hub, session, entry, entry_bytes);
    }
    return status;
}
