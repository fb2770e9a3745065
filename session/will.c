/*
 * Wills; see will.h.
 */
#include "session/will.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/wire.h"
#include "net/mqtt_packet.h"
#include "session/hub.h"
#include "session/inbound.h"

static struct record *make_record(struct hub *hub, const struct mqtt_connect *connect)
{
    const struct record_source source = {
        .topic = connect->will_topic.bytes,
        .payload = connect->will_payload.bytes,
        .topic_bytes = connect->will_topic.count,
        .payload_bytes = connect->will_payload.count,
        .flags =
            (uint8_t)(connect->will_qos | (connect->will_retain ? RECORD_RETAIN : 0) | RECORD_WILL),
    };
    return record_create(hub->heap, &source);
}

enum { NUMBERS_BYTES = 8 + 8 }; /* run and number, at a key's end */

/* With an empty key; takes over the record, NULL included. */
static struct will *create(struct hub *hub, struct record *record, uint32_t key_bytes)
{
    ps_assert(key_bytes <= BROKER_KEY_BYTES_MAX);
    struct will *will = record == NULL ? NULL : heap_zalloc(hub->heap, sizeof(*will) + key_bytes);
    if (will == NULL) {
        if (record != NULL)
            record_release(hub->heap, record);
        return NULL;
    }
    will->record = record;
    will->key_bytes = (uint16_t)key_bytes;
    return will;
}

struct will *will_create(struct hub *hub, const struct mqtt_connect *connect, const void *client_id,
                         uint32_t client_id_bytes)
{
    uint32_t key_bytes = 1 + client_id_bytes + 1 + NUMBERS_BYTES;
    struct will *will = create(hub, make_record(hub, connect), key_bytes);
    if (will == NULL)
        return NULL;
    will->key[0] = 'w';
    memcpy(will->key + 1, client_id, client_id_bytes);
    unsigned char *numbers = (unsigned char *)will->key + key_bytes - NUMBERS_BYTES;
    wire_store_u64(numbers, hub->shared->run);
    wire_store_u64(numbers + 8, hub_random(hub));
    will->record->deduplication_id = (struct record_id){
        .high = hash_bytes_seeded(3, will->key, key_bytes),
        .low = hash_bytes_seeded(4, will->key, key_bytes),
    };
    return will;
}

void will_store(struct hub *hub, struct will *will, struct session *session,
                session_store_done *on_done)
{
    size_t bytes = record_encoded_bytes(will->record);
    void *value = heap_alloc(hub->heap, bytes);
    if (value == NULL) {
        hub->counters.store_failures++;
        on_done(hub, session, NULL, false);
        return;
    }
    record_encode(will->record, 0, value, bytes);
    will->is_stored = true;
    session_store_put(hub, session, will->key, will->key_bytes, value, bytes, 0, on_done);
    heap_free(hub->heap, value);
}

void will_destroy(struct hub *hub, struct will *will)
{
    if (will == NULL)
        return;
    if (will->record != NULL)
        record_release(hub->heap, will->record);
    heap_free(hub->heap, will);
}

void will_forget(struct hub *hub, struct will *will)
{
    if (will == NULL)
        return;
    if (will->is_stored)
        session_store_remove(hub, will->key, will->key_bytes);
    will_destroy(hub, will);
}

void will_publish(struct hub *hub, struct will *will)
{
    struct record *record = will->record;
    will->record = NULL;
    hub->counters.wills++;
    inbound_address(hub, record);
    const struct hub_mail mail = {
        .kind = HUB_MAIL_PUBLISH,
        .partition = record->partition,
        .pointer = record,
        .own = will,
    };
    hub_request(hub, hub_owner_of(hub, record->partition), &mail, &will->room);
}

void will_recover(struct hub *hub, const void *key, uint32_t key_bytes, const void *value,
                  uint32_t value_bytes)
{
    bool is_whole = key_bytes > 1 + NUMBERS_BYTES && key_bytes <= BROKER_KEY_BYTES_MAX;
    const unsigned char *numbers = (const unsigned char *)key + key_bytes - NUMBERS_BYTES;
    if (is_whole && wire_load_u64(numbers) == hub->shared->run)
        return;
    struct record *record = NULL;
    if (!is_whole || record_decode(hub->heap, 0, value, value_bytes, &record) < 0) {
        hub->counters.store_failures++;
        return;
    }
    struct will *will = create(hub, record, key_bytes);
    if (will == NULL) {
        hub->counters.store_failures++;
        return;
    }
    memcpy(will->key, key, key_bytes);
    will->is_stored = true;
    will_publish(hub, will);
}

void will_on_published(struct hub *hub, struct will *will, enum broker_status status)
{
    /* Refused by the broker, it was counted by the owner; repeating it would be useless. */
    (void)status;
    will_forget(hub, will);
}
