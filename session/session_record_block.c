/*
 * Blocks of a durable session's filters; see session_record.h, and README.md for the layout.
 */
#include "core/base.h"
#include "core/wire.h"
#include "session/catch_up.h"
#include "session/filter.h"
#include "session/hub.h"
#include "session/retained_due.h"
#include "session/session.h"
#include "session/session_record.h"
#include "session/session_store.h"

enum {
    BLOCK_FIXED_BYTES = 1 + 2 + 2 + 2,
    FILTER_FIXED_BYTES = 1 + 1 + 2 + 2,
    DUE_BYTES = 8 + 2,
    VECTORS_MAX = 2 * SESSION_STORE_BLOCK_FILTERS /* a start and a cut each */
};

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

/* What a block's record is made of: its filters, and each vector that they name, once. Vectors are
 * named by their place and one; 0: none. */
struct block {
    const struct subscription *of[SESSION_STORE_BLOCK_FILTERS];
    uint32_t filter_count;
    struct starts *vectors[VECTORS_MAX];
    uint32_t vector_count;
};

static uint16_t vector_number(const struct block *block, const struct starts *vector)
{
    uint32_t i = 0;
    while (i < block->vector_count && block->vectors[i] != vector)
        i++;
    return vector == NULL ? 0 : (uint16_t)(i + 1);
}

static void add_vector(struct block *block, struct starts *vector)
{
    if (vector != NULL && vector_number(block, vector) > block->vector_count)
        block->vectors[block->vector_count++] = vector;
}

static struct starts *starts_of(const struct hub *hub, const struct session *session,
                                const struct subscription *subscription)
{
    return needs_starts(hub, session, subscription) ? subscription->starts : NULL;
}

/* Result: the bytes of the record. */
static size_t gather_block(const struct hub *hub, const struct session *session, uint16_t number,
                           struct block *out_block)
{
    out_block->filter_count = 0;
    out_block->vector_count = 0;
    size_t bytes = BLOCK_FIXED_BYTES;
    const struct subscription *subscription = session->subscriptions;
    for (; subscription != NULL; subscription = subscription->next_of_session) {
        if (subscription->block != number)
            continue;
        ps_assert(out_block->filter_count < SESSION_STORE_BLOCK_FILTERS);
        out_block->of[out_block->filter_count++] = subscription;
        add_vector(out_block, starts_of(hub, session, subscription));
        bytes += FILTER_FIXED_BYTES + subscription->filter->bytes;
        const struct retained_due *due = retained_due_of(hub, subscription);
        if (due == NULL)
            continue;
        add_vector(out_block, due->cut);
        bytes += DUE_BYTES;
    }
    bytes += out_block->vector_count * hub->partition_count * sizeof(uint64_t);
    return out_block->filter_count == 0 ? 0 : bytes;
}

size_t session_record_block_bytes(const struct hub *hub, const struct session *session,
                                  uint16_t block)
{
    struct block gathered;
    return gather_block(hub, session, block, &gathered);
}

static void encode_filter(const struct hub *hub, const struct session *session,
                          const struct block *block, const struct subscription *subscription,
                          struct wire_writer *writer)
{
    const struct retained_due *due = retained_due_of(hub, subscription);
    uint8_t flags = subscription->flags;
    wire_write_u8(writer, subscription->qos);
    wire_write_u8(writer, (uint8_t)(flags | (due != NULL ? SUBSCRIPTION_RETAINED_DUE : 0)));
    wire_write_u16(writer, vector_number(block, starts_of(hub, session, subscription)));
    if (due != NULL) {
        wire_write_u64(writer, due->number);
        wire_write_u16(writer, vector_number(block, due->cut));
    }
    wire_write_prefixed(writer, subscription->filter->text, subscription->filter->bytes);
}

void session_record_block_encode(const struct hub *hub, const struct session *session,
                                 uint16_t block, void *out, size_t bytes)
{
    struct block gathered;
    gather_block(hub, session, block, &gathered);
    struct wire_writer writer;
    wire_writer_init(&writer, out, bytes);
    wire_write_u8(&writer, SESSION_STORE_FILTERS_FORMAT);
    wire_write_u16(&writer, hub->partition_count);
    wire_write_u16(&writer, (uint16_t)gathered.vector_count);
    for (uint32_t i = 0; i < gathered.vector_count; i++) {
        for (uint32_t p = 0; p < hub->partition_count; p++)
            wire_write_u64(&writer, gathered.vectors[i]->from[p]);
    }
    wire_write_u16(&writer, (uint16_t)gathered.filter_count);
    for (uint32_t i = 0; i < gathered.filter_count; i++)
        encode_filter(hub, session, &gathered, gathered.of[i], &writer);
    ps_assert(writer.fault == WIRE_FAULT_NONE && wire_writer_left(&writer) == 0);
}

/* A filter as it is read; vectors are borrowed from the block. */
struct stored_filter {
    const unsigned char *text;
    uint32_t text_bytes;
    uint8_t qos;
    uint8_t flags;
    struct starts *starts;
    struct starts *cut;
    uint64_t due; /* 0: not named */
};

/* Reads one vector more. 0, -EBADMSG, -ENOMEM. */
static int decode_vector(struct hub *hub, struct block *block, struct wire_reader *reader)
{
    size_t bytes = hub->partition_count * sizeof(uint64_t);
    if (block->vector_count == VECTORS_MAX || wire_reader_left(reader) < bytes)
        return -EBADMSG;
    struct starts *vector = starts_create(hub, 0);
    if (vector == NULL)
        return -ENOMEM;
    for (uint32_t p = 0; p < hub->partition_count; p++)
        vector->from[p] = wire_read_u64(reader);
    block->vectors[block->vector_count++] = vector;
    return 0;
}

/* False: there is no such vector. */
static bool read_vector_number(const struct block *block, struct wire_reader *reader,
                               struct starts **out_vector)
{
    uint16_t number = wire_read_u16(reader);
    if (number > block->vector_count)
        return false;
    *out_vector = number == 0 ? NULL : block->vectors[number - 1];
    return true;
}

/* 0, -EBADMSG, -ENOMEM. In format 1 each filter had its starts with it, and what was due had
 * neither a number nor a cut. */
static int read_filter(struct hub *hub, struct block *block, uint8_t format,
                       struct wire_reader *reader, struct stored_filter *out)
{
    *out = (struct stored_filter){.qos = wire_read_u8(reader)};
    out->flags = wire_read_u8(reader);
    if (format == 1) {
        bool has_starts = wire_read_u8(reader) != 0;
        int status = has_starts ? decode_vector(hub, block, reader) : 0;
        if (status != 0)
            return status;
        out->starts = has_starts ? block->vectors[block->vector_count - 1] : NULL;
    } else {
        bool is_due = (out->flags & SUBSCRIPTION_RETAINED_DUE) != 0;
        bool is_good = read_vector_number(block, reader, &out->starts);
        out->due = is_due ? wire_read_u64(reader) : 0;
        is_good &= !is_due || (read_vector_number(block, reader, &out->cut) && out->due != 0);
        if (!is_good)
            return -EBADMSG;
    }
    out->text = wire_read_prefixed(reader, &out->text_bytes);
    return reader->fault != WIRE_FAULT_NONE || out->qos > 2 ? -EBADMSG : 0;
}

/* Makes the subscription that was stored. 0, -EBADMSG, -ENOMEM. */
static int take_filter(struct hub *hub, struct session *session, uint16_t block,
                       const struct stored_filter *stored)
{
    struct filter *filter = NULL;
    int status =
        filter_acquire(&hub->index, (const char *)stored->text, stored->text_bytes, &filter);
    if (status != 0)
        return status == -EINVAL ? -EBADMSG : status;
    const struct subscription *known = session_subscription(session, filter);
    struct subscription *subscription =
        known != NULL ? NULL : session_subscribe(hub, session, filter, stored->starts, stored->qos);
    if (subscription == NULL) {
        filter_release(&hub->index, filter);
        if (known == NULL)
            return -ENOMEM;
        /* In another block: it went from one to the other, and a crash left it in both. */
        return known->block == block ? -EBADMSG : 0;
    }
    subscription->block = block;
    subscription->flags = stored->flags & (uint8_t)~SUBSCRIPTION_RETAINED_DUE;
    session->flags |= stored->starts != NULL ? SESSION_HAS_STARTS : 0;
    if (!(stored->flags & SUBSCRIPTION_RETAINED_DUE))
        return 0;
    struct retained_due *due = retained_due_create(hub, filter, stored->cut, stored->due);
    if (due == NULL)
        return -ENOMEM;
    retained_due_set(hub, subscription, due);
    retained_due_release(hub, due);
    return 0;
}

int session_record_block_decode(struct hub *hub, struct session *session, uint16_t block,
                                const void *bytes, size_t count)
{
    struct block read = {.vector_count = 0};
    struct wire_reader reader;
    wire_reader_init(&reader, bytes, count);
    uint8_t format = wire_read_u8(&reader);
    bool is_known = format == 1 || format == SESSION_STORE_FILTERS_FORMAT;
    if (!is_known || wire_read_u16(&reader) != hub->partition_count)
        return -EBADMSG;
    uint16_t vectors = format == 1 ? 0 : wire_read_u16(&reader);
    int status = 0;
    for (uint32_t i = 0; status == 0 && i < vectors; i++)
        status = decode_vector(hub, &read, &reader);
    uint16_t filters = wire_read_u16(&reader);
    if (status == 0 && (reader.fault != WIRE_FAULT_NONE || filters > SESSION_STORE_BLOCK_FILTERS))
        status = -EBADMSG;
    for (uint32_t i = 0; status == 0 && i < filters; i++) {
        struct stored_filter filter;
        status = read_filter(hub, &read, format, &reader, &filter);
        if (status == 0)
            status = take_filter(hub, session, block, &filter);
    }
    for (uint32_t i = 0; i < read.vector_count; i++)
        starts_release(hub, read.vectors[i]);
    return status == 0 && wire_reader_left(&reader) != 0 ? -EBADMSG : status;
}
