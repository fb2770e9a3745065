/*
 * Own records of durable sessions and their progress; see session_record.h, and README.md for the
 * layouts.
 */
#include "session/session_record.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/wire.h"
#include "net/mqtt_topic.h"
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
    IN_FLIGHT_RETAINED = 0x80, /* with the QoS: due and topic follow */
    TOPIC_FIXED_BYTES = 8 + 2,
    INBOUND_BYTES = 2 + 8
};

/* What has to be known for sending a retained value again; nothing, once it was received. */
static const struct window_topic *topic_of(const struct window_entry *entry)
{
    return entry->state == WINDOW_PUBLISHED ? entry->topic : NULL;
}

static size_t in_flight_bytes(const struct session *session)
{
    size_t bytes = 2;
    for (uint32_t i = 0; session->window != NULL && i < session->window->capacity; i++) {
        const struct window_entry *entry = &session->window->entries[i];
        const struct window_topic *topic = topic_of(entry);
        bytes += entry->state != WINDOW_FREE ? IN_FLIGHT_BYTES : 0;
        bytes += topic != NULL ? TOPIC_FIXED_BYTES + topic->bytes : 0;
    }
    return bytes;
}

static uint32_t inbound_count(const struct session *session)
{
    uint32_t open = session->inbound == NULL ? 0 : session->inbound->open_count;
    return open + (session->stored->next_repeated != 0);
}

/* In flight and open ids. */
static size_t unfinished_bytes(const struct session *session)
{
    return in_flight_bytes(session) + 4 + (size_t)inbound_count(session) * INBOUND_BYTES;
}

size_t session_record_own_bytes(const struct hub *hub, const struct session *session)
{
    return OWN_FIXED_BYTES + hub->partition_count * sizeof(uint64_t) + unfinished_bytes(session);
}

/* In no particular order: each says how long ago it was sent, in sendings. */
static void encode_in_flight(const struct session *session, struct wire_writer *writer)
{
    const struct window *window = session->window;
    wire_write_u16(writer, (uint16_t)window_count(window));
    for (uint32_t i = 0; window != NULL && i < window->capacity; i++) {
        const struct window_entry *entry = &window->entries[i];
        if (entry->state == WINDOW_FREE)
            continue;
        wire_write_u16(writer, entry->packet_id);
        wire_write_u16(writer, entry->partition);
        wire_write_u8(writer, entry->state);
        const struct window_topic *topic = topic_of(entry);
        wire_write_u8(writer, (uint8_t)(entry->qos | (topic != NULL ? IN_FLIGHT_RETAINED : 0)));
        wire_write_u32(writer, window->next_order - entry->order);
        wire_write_u64(writer, entry->sequence);
        if (topic == NULL)
            continue;
        wire_write_u64(writer, topic->due);
        wire_write_prefixed(writer, topic->text, topic->bytes);
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
    if (session->stored->next_repeated != 0)
        encode_inbound(writer, 0, session->stored->next_repeated);
    inbound_iterate(session, encode_inbound, writer);
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
    wire_write_u16(&writer, stored->blocks_named);
    wire_write_u16(&writer, session->stored->next_packet_id);
    wire_write_u16(&writer, hub->partition_count);
    for (uint32_t p = 0; p < hub->partition_count; p++)
        wire_write_u64(&writer, catch_up_position(hub, session, (uint16_t)p));
    encode_unfinished(session, &writer);
    ps_assert(writer.fault == WIRE_FAULT_NONE && wire_writer_left(&writer) == 0);
}

/* One delivery. 0, -EBADMSG, -ENOMEM. */
static int decode_delivery(struct hub *hub, struct session *session, struct wire_reader *reader)
{
    uint16_t packet_id = wire_read_u16(reader);
    uint16_t partition = wire_read_u16(reader);
    uint8_t state = wire_read_u8(reader);
    uint8_t qos = wire_read_u8(reader);
    uint32_t age = wire_read_u32(reader);
    uint64_t sequence = wire_read_u64(reader);
    bool is_retained = (qos & IN_FLIGHT_RETAINED) != 0;
    qos &= (uint8_t)~IN_FLIGHT_RETAINED;
    bool is_published = state == WINDOW_PUBLISHED && (qos == 1 || qos == 2);
    bool is_released = state == WINDOW_RELEASED && qos == 2 && !is_retained;
    uint64_t due = is_retained ? wire_read_u64(reader) : 0;
    uint32_t bytes = 0;
    const unsigned char *topic = is_retained ? wire_read_prefixed(reader, &bytes) : NULL;
    bool is_valid = reader->fault == WIRE_FAULT_NONE && packet_id != 0 &&
                    (is_published || is_released) && partition < hub->partition_count &&
                    sequence != 0 && window_find(session->window, packet_id) == NULL &&
                    (!is_retained || (due != 0 && mqtt_topic_is_valid(topic, bytes)));
    if (!is_valid)
        return -EBADMSG;
    struct window_entry *entry = window_put(hub->heap, &session->window, packet_id);
    if (entry == NULL)
        return -ENOMEM;
    hub->counters.in_flight++;
    hub->counters.loaded++;
    entry->partition = partition;
    entry->state = state;
    entry->qos = qos;
    entry->sequence = sequence;
    entry->order = 0 - age;
    bool is_whole = !is_retained || window_set_topic(hub->heap, entry, due, topic, bytes);
    return is_whole ? 0 : -ENOMEM;
}

static int decode_in_flight(struct hub *hub, struct session *session, struct wire_reader *reader)
{
    uint16_t count = wire_read_u16(reader);
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < count; i++)
        status = decode_delivery(hub, session, reader);
    if (session->window != NULL)
        session->window->next_order = 0; /* younger than all of them */
    return status;
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
        bool is_next_repeated = i == 0 && packet_id == 0 && generation != 0 && !is_in_doubt;
        if (is_next_repeated) {
            session->stored->next_repeated = generation;
            continue;
        }
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
    stored->blocks_named = stored->block_count;
    stored->next_packet_id = wire_read_u16(&reader);
    stored->kept_packet_id = stored->next_packet_id;
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
    wire_write_u16(&writer, session->stored->next_packet_id);
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
    window_destroy(hub->heap, session->window);
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
    session->stored->next_repeated = 0;
    session->stored->next_packet_id = wire_read_u16(&reader);
    session->stored->kept_packet_id = session->stored->next_packet_id;
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
