/*
 * What a client publishes: from a PUBLISH to its record's owner, and the answers back.
 * Acknowledgements leave in the order of the PUBLISH packets [MQTT-4.6.0-2], whatever the order of
 * commits: each waits in a queue until it is due and first. QoS 2 packet ids that were received and
 * not yet released are known, so that a repeated PUBLISH is answered and not appended again
 * [MQTT-4.3.3-2].
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_INBOUND_H
#define PENSTOCK_SESSION_INBOUND_H

#include <stdbool.h>
#include <stdint.h>

#include "net/mqtt_packet.h"
#include "net/net.h"

struct hub;
struct hub_mail;
struct record;
struct session;

enum { INBOUND_PAGE_IDS = 256, INBOUND_PAGES = 256 };

enum inbound_state {
    INBOUND_WAITING, /* for the log */
    INBOUND_LOGGED,  /* QoS 2: for the session's record */
    INBOUND_DUE
};

struct inbound_answer {
    uint16_t packet_id;
    uint8_t qos : 2;
    uint8_t is_mute : 1; /* its connection is gone: nobody is told */
    uint8_t state;       /* enum inbound_state */
};

/* In a generation: the log has not answered yet. If the gateway is killed before it does, nobody
 * knows whether the log has the message: */
#define INBOUND_UNLOGGED (1ULL << 63)
/* the id was stored so. Its repetition is published again under the generation that it had, for the
 * log to know it; another message under the id is a new one. */
#define INBOUND_DOUBTFUL (1ULL << 62)

/* After a crash a QoS 2 publish is known by its id and generation. The store may not have learned
 * of it: then only the order tells, as publishes that come again in the order in which they came
 * [MQTT-4.4.0-1] get the numbers again that they had. But a client may send new messages before
 * those, or between. So a session that was resumed after a crash goes on with the numbers of the
 * ended run for what is repeated (DUP) and not open; what is new has numbers from far above, and
 * is announced: the store learns id and number before the log has the message, and the connection
 * is left unread until then. If the gateway dies once more, what the store has not learned of is
 * again of one kind and in one order. This ends when the client has had time to repeat what it
 * will. */
#define INBOUND_RECOVERY_STEP (1ULL << 32)

/* Generations of the QoS 2 packet ids of one page; 0: not open. It goes with its last open id. */
struct inbound_page {
    uint32_t open_count;
    uint64_t generations[INBOUND_PAGE_IDS];
};

struct inbound {
    struct inbound_answer *answers; /* a ring buffer */
    uint32_t capacity;              /* a power of two */
    uint32_t first;                 /* position of the oldest; positions run freely */
    uint32_t count;
    uint32_t open_count;         /* QoS 2 ids that are open */
    uint16_t announced_id;       /* of the publish that is given again then; 0: none */
    bool is_announced;           /* the store knows of it */
    struct inbound_page **pages; /* INBOUND_PAGES of them; NULL before the first QoS 2 publish */
};

/* A valid PUBLISH of an attached session. */
enum net_verdict inbound_publish(struct hub *hub, struct session *session,
                                 const struct mqtt_publish *publish);

/* PUBREL: the id is free again; PUBCOMP goes out in any case [MQTT-4.3.3-2]. */
void inbound_release(struct hub *hub, struct session *session, uint16_t packet_id);

/* The session came out of the store, and its gateway had ended without saving it. */
void inbound_recover(struct session *session);

/* A client may speak. */
void inbound_attach(struct hub *hub, struct session *session);

/* The store knows of the publish that was announced. */
void inbound_on_announced(struct hub *hub, struct session *session);

/* The owner's answer to a publish. */
void inbound_on_answer(struct hub *hub, const struct hub_mail *mail);

/* The answer at this position may be sent. */
void inbound_set_due(struct hub *hub, struct session *session, uint32_t position);

/* The log, or the store, owes an answer. */
bool inbound_is_waiting(const struct session *session);

/* The connection is gone: nobody waits for acknowledgements any more. Open ids stay, and answers
 * that are under way still tell which. */
void inbound_detach(struct hub *hub, struct session *session);
void inbound_destroy(struct hub *hub, struct session *session);

/* Marks a QoS 2 id as open; for a stored session. False: memory is out. */
bool inbound_open(struct hub *hub, struct session *session, uint16_t packet_id,
                  uint64_t generation);

/* Visits the ids that are open, in ascending order: as many as open_count. */
void inbound_iterate(const struct session *session,
                     void (*visit)(void *context, uint16_t packet_id, uint64_t generation),
                     void *context);

/* Fills in what routing needs: hash, partition, time. */
void inbound_address(struct hub *hub, struct record *record);

#endif
