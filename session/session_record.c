/*
 * Stored forms of a durable session; see session_record.h, and README.md for the layouts.
 */
#include "session/session_record.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/wire.h"
#include "session/catch_up.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/session.h"
#include "session/session_store.h"
#include "session/window.h"

enum {
    OWN_FIXED_BYTES = 1 + 1 + 16 + 8 + 8 + 8 + 1 + 8 + 2 + 2 + 2,
    OWN_ATTACHED = 1,
    PROGRESS_FIXED_BYTES = 16 + 8 + 2 + 2,
    POSITION_BYTES = 2 + 8,
    IN_FLIGHT_BYTES = 2 + 2 + 1 + 1 + 4 + 8,
    INBOUND_BYTES = 2 + 8,
    BLOCK_FIXED_BYTES = 1 + 2 + 2,
    FILTER_FIXED_BYTES = 1 + 1 + 1 + 2
};

static bool is_retained_entry(const struct window_entry *entry)
{
    return entry->state != WINDOW_FREE && entry->sequence == 0;
}

/* Retained values in flight are not stored: the filter is marked, and the values are sent again.
 * Only a packet id of QoS 2 is, as one to be released: until then its receiver would take another
 * message under it for a repetition. */
static bool is_stored_entry(const struct window_entry *entry)
{
    return entry->state != WINDOW_FREE && (entry->sequence != 0 || entry->qos == 2);
}

static uint32_t in_flight_count(const struct session *session)
{
    uint32_t count = 0;
    for (uint32_t i = 0; session->window != NULL && i < session->window->capacity; i++)
        count += is_stored_entry(&session->window->entries[i]);
    return count;
}

static uint32_t inbound_count(const struct session *session)
{
    return session->inbound == NULL ? 0 : session->inbound->open_count;
}

/* In flight and open ids. */
static size_t unfinished_bytes(const struct session *session)
{
    return 2 + (size_t)in_flight_count(session) * IN_FLIGHT_BYTES + 4 +
           (size_t)inbound_count(session) * INBOUND_BYTES;
}

size_t session_record_own_bytes(const struct hub *hub, const struct session *session)
{
    return OWN_FIXED_BYTES + hub->partition_count * sizeof(uint64_t) + unfinished_bytes(session);
}

/* In no particular order: each says how long ago it was sent, in sendings. */
static void encode_in_flight(const struct session *session, struct wire_writer *writer)
{
    wire_write_u16(writer, (uint16_t)in_flight_count(session));
    const struct window *window = session->window;
    for (uint32_t i = 0; window != NULL && i < window->capacity; i++) {
        const struct window_entry *entry = &window->entries[i];
        if (!is_stored_entry(entry))
            continue;
        wire_write_u16(writer, entry->packet_id);
        wire_write_u16(writer, entry->partition);
        bool is_retained = is_retained_entry(entry);
        wire_write_u8(writer, is_retained ? WINDOW_RELEASED : entry->state);
        wire_write_u8(writer, entry->qos);
        wire_write_u32(writer, window->next_order - entry->order);
        wire_write_u64(writer, is_retained ? UINT64_MAX : entry->sequence);
    }
}

static void encode_inbound(void *context, uint16_t packet_id, uint64_t generation)
{
    const uint64_t flags = INBOUND_UNLOGGED | INBOUND_DOUBTFUL;
    bool is_in_doubt = (generation & flags) != 0;
    wire_write_u16(context, packet_id);
    wire_write_u64(context, (generation & ~flags) | (is_in_doubt ? INBOUND_UNLOGGED : 0));
}

static void encode_unfinished(const struct session *session, struct wire_writer *writer)
{
    encode_in_flight(session, writer);
    wire_write_u32(writer, inbound_count(session));
    inbound_iterate(session, encode_inbound, writer);
}

static uint16_t next_packet_id(const struct session *session)
{
    return session->window == NULL ? session->next_packet_id : session->window->next_packet_id;
}

void session_record_own_encode(const struct hub *hub, const struct session *session, void *out,
                               size_t bytes)
{
    const struct stored_session *stored = session->stored;
    struct wire_writer writer;
    wire_writer_init(&writer, out, bytes);
    wire_write_u8(&writer, SESSION_STORE_FORMAT);
    wire_write_u8(&writer, stored->is_attached ? OWN_ATTACHED : 0);
    wire_write_u64(&writer, stored->number.high);
    wire_write_u64(&writer, stored->number.low);
    wire_write_u64(&writer, stored->epoch);
    wire_write_u64(&writer, session->generation);
    wire_write_u64(&writer, stored->line_run);
    wire_write_u8(&writer, stored->line_shard);
    wire_write_u64(&writer, stored->line_number);
    wire_write_u16(&writer, stored->block_count);
    wire_write_u16(&writer, next_packet_id(session));
    wire_write_u16(&writer, hub->partition_count);
    for (uint32_t p = 0; p < hub->partition_count; p++)
        wire_write_u64(&writer, catch_up_position(hub, session, (uint16_t)p));
    encode_unfinished(session, &writer);
    ps_assert(writer.fault == WIRE_FAULT_NONE && wire_writer_left(&writer) == 0);
}

static int decode_in_flight(struct hub *hub, struct session *session, struct wire_reader *reader)
{
    uint16_t count = wire_read_u16(reader);
    for (uint32_t i = 0; i < count; i++) {
        uint16_t packet_id = wire_read_u16(reader);
        uint16_t partition = wire_read_u16(reader);
        uint8_t state = wire_read_u8(reader);
        uint8_t qos = wire_read_u8(reader);
        uint32_t age = wire_read_u32(reader);
        uint64_t sequence = wire_read_u64(reader);
        bool is_in_flight = (state == WINDOW_PUBLISHED && (qos == 1 || qos == 2)) ||
                            (state == WINDOW_RELEASED && qos == 2);
        bool is_valid = reader->fault == WIRE_FAULT_NONE && packet_id != 0 && is_in_flight &&
                        partition < hub->partition_count && sequence != 0 &&
                        window_find(session->window, packet_id) == NULL;
        if (!is_valid)
            return -EBADMSG;
        struct window_entry *entry = window_put(hub->heap, &session->window, packet_id);
        if (entry == NULL)
            return -ENOMEM;
        entry->partition = partition;
        entry->state = state;
        entry->qos = qos;
        entry->sequence = sequence;
        entry->order = 0 - age;
        hub->counters.in_flight++;
        hub->counters.loaded++;
    }
    if (session->window != NULL)
        session->window->next_order = 0; /* younger than all of them */
    return 0;
}

static int decode_inbound(struct hub *hub, struct session *session, struct wire_reader *reader)
{
    uint32_t count = wire_read_u32(reader);
    uint16_t last_packet_id = 0; /* they stand in ascending order */
    for (uint32_t i = 0; i < count; i++) {
        uint16_t packet_id = wire_read_u16(reader);
        uint64_t generation = wire_read_u64(reader);
        bool is_in_doubt = (generation & INBOUND_UNLOGGED) != 0;
        generation &= ~INBOUND_UNLOGGED;
        if (reader->fault != WIRE_FAULT_NONE || packet_id <= last_packet_id || generation == 0 ||
            (generation & INBOUND_DOUBTFUL))
            return -EBADMSG;
        last_packet_id = packet_id;
        generation |= is_in_doubt ? INBOUND_DOUBTFUL : 0;
        if (!inbound_open(hub, session, packet_id, generation))
            return -ENOMEM;
    }
    return 0;
}

static int decode_unfinished(struct hub *hub, struct session *session, struct wire_reader *reader)
{
    int status = decode_in_flight(hub, session, reader);
    if (status == 0)
        status = decode_inbound(hub, session, reader);
    if (session->window != NULL)
        session->window->next_packet_id = session->next_packet_id;
    bool is_whole = reader->fault == WIRE_FAULT_NONE && wire_reader_left(reader) == 0;
    return status == 0 && !is_whole ? -EBADMSG : status;
}

int session_record_own_decode(struct hub *hub, struct session *session, const void *bytes,
                              size_t count)
{
    struct stored_session *stored = session->stored;
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    if (wire_read_u8(&reader) != SESSION_STORE_FORMAT)
        return -EBADMSG;
    uint8_t flags = wire_read_u8(&reader);
    if (flags > OWN_ATTACHED)
        return -EBADMSG;
    stored->was_attached = flags == OWN_ATTACHED;
    stored->number.high = wire_read_u64(&reader);
    stored->number.low = wire_read_u64(&reader);
    stored->epoch = wire_read_u64(&reader);
    session->generation = wire_read_u64(&reader);
    stored->line_run = wire_read_u64(&reader);
    stored->line_shard = wire_read_u8(&reader);
    stored->line_number = wire_read_u64(&reader);
    stored->block_count = wire_read_u16(&reader);
    session->next_packet_id = wire_read_u16(&reader);
    if (wire_read_u16(&reader) != hub->partition_count || reader.fault != WIRE_FAULT_NONE)
        return -EBADMSG;
    int status = 0;
    for (uint32_t p = 0; status == 0 && p < hub->partition_count; p++) {
        if (!catch_up_start(hub, session, (uint16_t)p, wire_read_u64(&reader)))
            status = -ENOMEM;
    }
    return status == 0 ? decode_unfinished(hub, session, &reader) : status;
}

/* Partitions in which the session is not at the shard's floor. */
static uint16_t position_count(const struct hub *hub, const struct session *session)
{
    uint16_t count = 0;
    for (uint32_t p = 0; p < hub->partition_count; p++) {
        if (catch_up_position(hub, session, (uint16_t)p) != hub->floors[p] + 1)
            count++;
    }
    return count;
}

size_t session_record_progress_bytes(const struct hub *hub, const struct session *session)
{
    return PROGRESS_FIXED_BYTES + (size_t)position_count(hub, session) * POSITION_BYTES +
           unfinished_bytes(session);
}

void session_record_progress_encode(const struct hub *hub, const struct session *session, void *out,
                                    size_t bytes)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, bytes);
    wire_write_u64(&writer, session->stored->number.high);
    wire_write_u64(&writer, session->stored->number.low);
    wire_write_u64(&writer, session->generation);
    wire_write_u16(&writer, next_packet_id(session));
    wire_write_u16(&writer, position_count(hub, session));
    for (uint32_t p = 0; p < hub->partition_count; p++) {
        uint64_t position = catch_up_position(hub, session, (uint16_t)p);
        if (position == hub->floors[p] + 1)
            continue;
        wire_write_u16(&writer, (uint16_t)p);
        wire_write_u64(&writer, position);
    }
    encode_unfinished(session, &writer);
    ps_assert(writer.fault == WIRE_FAULT_NONE && wire_writer_left(&writer) == 0);
}

bool session_record_progress_is_of(const struct session *session, const void *bytes, size_t count)
{
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    struct record_id number = {.high = wire_read_u64(&reader)};
    number.low = wire_read_u64(&reader);
    return reader.fault == WIRE_FAULT_NONE && record_id_equal(number, session->stored->number);
}

void session_record_progress_clear(struct hub *hub, struct session *session)
{
    hub->counters.in_flight -= window_count(session->window);
    hub->counters.returned += window_count(session->window);
    heap_free(hub->heap, session->window);
    session->window = NULL;
    inbound_destroy(hub, session);
}

int session_record_progress_decode(struct hub *hub, struct session *session, const void *bytes,
                                   size_t count)
{
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    wire_read_bytes(&reader, 16);
    session->generation = wire_read_u64(&reader);
    session->next_packet_id = wire_read_u16(&reader);
    uint16_t positions = wire_read_u16(&reader);
    for (uint32_t i = 0; i < positions; i++) {
        uint16_t partition = wire_read_u16(&reader);
        uint64_t position = wire_read_u64(&reader);
        if (reader.fault != WIRE_FAULT_NONE || partition >= hub->partition_count)
            return -EBADMSG;
        catch_up_set_position(session, partition, position);
    }
    return decode_unfinished(hub, session, &reader);
}

int session_record_own_blocks(const void *bytes, size_t count, uint16_t *out_blocks)
{
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    if (wire_read_u8(&reader) != SESSION_STORE_FORMAT)
        return -EBADMSG;
    wire_read_bytes(&reader, 1 + 16 + 8 + 8 + 8 + 1 + 8);
    uint16_t blocks = wire_read_u16(&reader);
    if (reader.fault != WIRE_FAULT_NONE)
        return -EBADMSG;
    *out_blocks = blocks;
    return 0;
}

/* Starts matter only while the session has not come to them in every partition. Where an owner has
 * not answered yet, the one that answers the resumed session names it. */
static bool needs_starts(const struct hub *hub, const struct session *session,
                         const struct subscription *subscription)
{
    const struct starts *starts = subscription->starts;
    for (uint32_t p = 0; starts != NULL && p < hub->partition_count; p++) {
        if (starts->from[p] > catch_up_position(hub, session, (uint16_t)p))
            return true;
    }
    return false;
}

size_t session_record_block_bytes(const struct hub *hub, const struct session *session,
                                  uint16_t block)
{
    size_t bytes = 0;
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        if (subscription->block != block)
            continue;
        bytes += FILTER_FIXED_BYTES + subscription->filter->bytes;
        if (needs_starts(hub, session, subscription))
            bytes += hub->partition_count * sizeof(uint64_t);
    }
    return bytes == 0 ? 0 : bytes + BLOCK_FIXED_BYTES;
}

/* Its retained values are due as long as one of them is in flight. */
static uint8_t flags_of(const struct session *session, const struct subscription *subscription)
{
    uint8_t flags = subscription->flags;
    for (uint32_t i = 0; session->window != NULL && i < session->window->capacity; i++) {
        const struct window_entry *entry = &session->window->entries[i];
        if (is_retained_entry(entry) && entry->filter == subscription->filter)
            flags |= SUBSCRIPTION_RETAINED_DUE;
    }
    return flags;
}

void session_record_block_encode(const struct hub *hub, const struct session *session,
                                 uint16_t block, void *out, size_t bytes)
{
    struct wire_writer writer;
    wire_writer_init(&writer, out, bytes);
    wire_write_u8(&writer, SESSION_STORE_FORMAT);
    wire_write_u16(&writer, hub->partition_count);
    unsigned char *count_at = wire_write_room(&writer, 2);
    uint16_t count = 0;
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        if (subscription->block != block)
            continue;
        bool has_starts = needs_starts(hub, session, subscription);
        wire_write_u8(&writer, subscription->qos);
        wire_write_u8(&writer, flags_of(session, subscription));
        wire_write_u8(&writer, has_starts);
        for (uint32_t p = 0; has_starts && p < hub->partition_count; p++)
            wire_write_u64(&writer, subscription->starts->from[p]);
        wire_write_prefixed(&writer, subscription->filter->text, subscription->filter->bytes);
        count++;
    }
    wire_store_u16(count_at, count);
    ps_assert(writer.fault == WIRE_FAULT_NONE && wire_writer_left(&writer) == 0);
}

static int decode_filter(struct hub *hub, struct session *session, uint16_t block,
                         struct wire_reader *reader)
{
    uint8_t qos = wire_read_u8(reader);
    uint8_t flags = wire_read_u8(reader);
    bool has_starts = wire_read_u8(reader) != 0;
    struct starts *starts = has_starts ? starts_create(hub, 0) : NULL;
    if (has_starts && starts == NULL)
        return -ENOMEM;
    for (uint32_t p = 0; has_starts && p < hub->partition_count; p++)
        starts->from[p] = wire_read_u64(reader);
    uint32_t text_bytes = 0;
    const unsigned char *text = wire_read_prefixed(reader, &text_bytes);
    struct filter *filter = NULL;
    struct subscription *subscription = NULL;
    int status = reader->fault != WIRE_FAULT_NONE || qos > 2 ? -EBADMSG : 0;
    if (status == 0)
        status = filter_acquire(&hub->index, (const char *)text, text_bytes, &filter);
    const struct subscription *known = status == 0 ? session_subscription(session, filter) : NULL;
    if (status == 0 && known == NULL) {
        subscription = session_subscribe(hub, session, filter, starts, qos);
        status = subscription == NULL ? -ENOMEM : 0;
    } else if (known != NULL && known->block == block) {
        status = -EBADMSG;
    } /* in another block: it went from one to the other, and a crash left it in both */
    if (filter != NULL && subscription == NULL)
        filter_release(&hub->index, filter);
    starts_release(hub, starts);
    if (subscription != NULL) {
        subscription->block = block;
        subscription->flags = flags;
        session->flags |= has_starts ? SESSION_HAS_STARTS : 0;
    }
    return status == -EINVAL ? -EBADMSG : status;
}

int session_record_block_decode(struct hub *hub, struct session *session, uint16_t block,
                                const void *bytes, size_t count)
{
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    if (wire_read_u8(&reader) != SESSION_STORE_FORMAT ||
        wire_read_u16(&reader) != hub->partition_count)
        return -EBADMSG;
    uint16_t filters = wire_read_u16(&reader);
    int status = reader.fault == WIRE_FAULT_NONE ? 0 : -EBADMSG;
    for (uint32_t i = 0; status == 0 && i < filters; i++)
        status = decode_filter(hub, session, block, &reader);
    return status == 0 && wire_reader_left(&reader) != 0 ? -EBADMSG : status;
}
