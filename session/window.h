/*
 * The flight window: a session's unacknowledged QoS 1 and 2 deliveries. An entry names its record
 * by partition and sequence and holds no message: what has to be sent again is read again. A
 * retained value is named by its topic too, since the store may have it when the log has not.
 *
 * Entries stand in an array whose size is a power of two, at packet id modulo size; packet ids are
 * handed out round-robin by counters of the session, past those whose place is taken. The array
 * grows with use up to the session's window and goes when nothing is in flight.
 *
 * Owner and thread: the session.
 */
#ifndef PENSTOCK_SESSION_WINDOW_H
#define PENSTOCK_SESSION_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;

enum window_state {
    WINDOW_FREE,
    WINDOW_PUBLISHED, /* PUBLISH is out; PUBACK or PUBREC is due */
    WINDOW_RELEASED   /* QoS 2: PUBREL is out; PUBCOMP is due */
};

struct window_topic {
    uint64_t due; /* number of the retained_due that it is of */
    uint32_t bytes;
    char text[];
};

struct window_entry {
    uint64_t sequence;          /* UINT64_MAX: of a message that is gone, to be released */
    struct window_topic *topic; /* of a retained value; else NULL */
    uint32_t order;             /* in which PUBLISHes were sent, or PUBRELs */
    uint16_t packet_id;
    uint16_t partition;
    uint8_t state;
    uint8_t qos;
};

struct window {
    uint32_t capacity;
    uint32_t count;
    uint32_t next_order;
    struct window_entry entries[];
};

/* An entry with a packet id of its own, state PUBLISHED; NULL: memory is out. *window may be NULL
 * before and moves when it grows. The caller has checked the count against the session's window.
 * The packet id is *next_packet_id or the next after it that is free; the counter goes on behind
 * it. */
struct window_entry *window_take(struct heap *heap, struct window **window,
                                 uint16_t *next_packet_id);

/* The same with a given packet id, which is free: for a stored session. */
struct window_entry *window_put(struct heap *heap, struct window **window, uint16_t packet_id);

/* The entry in flight with this packet id, or NULL. */
struct window_entry *window_find(struct window *window, uint16_t packet_id);

/* PUBREC came for a QoS 2 entry. PUBRELs are sent again in the order of these calls
 * [MQTT-4.6.0-4]. */
void window_mark_released(struct window *window, struct window_entry *entry);

/* The entry is of a retained value of this topic, for the retained_due of this number. False:
 * memory is out. */
bool window_set_topic(struct heap *heap, struct window_entry *entry, uint64_t due,
                      const void *topic, uint32_t bytes);

/* The entry goes. */
void window_release(struct heap *heap, struct window *window, struct window_entry *entry);

/* Everything goes; NULL is allowed. */
void window_destroy(struct heap *heap, struct window *window);

static inline uint32_t window_count(const struct window *window)
{
    return window == NULL ? 0 : window->count;
}

#endif
