/*
 * A will: what a CONNECT asks to be published when its connection ends without DISCONNECT
 * [MQTT-3.1.2-8]. It has a key of its own in the store, written before CONNACK, so that it outlives
 * the gateway. Publishing is done under a deduplication id of its own, and the key goes only when
 * the log has the message: a claim that a crash cut off is repeated, and published once.
 *
 *   made --will_store--> stored --will_publish--> on its way --answer--> gone
 *                             \--will_forget--> gone
 *
 * Key: "w", client id, zero, run (8 bytes), a number (8) that is new for each CONNECT. Value: the
 * record. Keys of an earlier run are wills that a crash cut off.
 *
 * Owner and thread: a session or an opening, on its hub; on its way it belongs to the mail.
 */
#ifndef PENSTOCK_SESSION_WILL_H
#define PENSTOCK_SESSION_WILL_H

#include <stdbool.h>
#include <stdint.h>

#include "broker_client/broker.h"
#include "session/hub_mail.h"
#include "session/session_store.h"

struct hub;
struct mqtt_connect;
struct session;

struct will {
    struct record *record; /* NULL once it is on its way */
    struct outbox_mail room;
    bool is_stored; /* a write of its key was asked for */
    uint16_t key_bytes;
    char key[];
};

/* The will of a CONNECT of this client. NULL: memory is out. */
struct will *will_create(struct hub *hub, const struct mqtt_connect *connect, const void *client_id,
                         uint32_t client_id_bytes);

/* Writes its key; on_done is told of the session that asked. */
void will_store(struct hub *hub, struct will *will, struct session *session,
                session_store_done *on_done);

/* Publishes a will of an earlier run, as the store has it; one of this run is left alone. */
void will_recover(struct hub *hub, const void *key, uint32_t key_bytes, const void *value,
                  uint32_t value_bytes);

/* Takes over the will. */
void will_publish(struct hub *hub, struct will *will);

/* It is not wanted any more; its memory goes, and its key. NULL is no will. */
void will_forget(struct hub *hub, struct will *will);

/* Its memory goes, its key stays; for the end of a hub. NULL is no will. */
void will_destroy(struct hub *hub, struct will *will);

/* The owner's answer. */
void will_on_published(struct hub *hub, struct will *will, enum broker_status status);

#endif
