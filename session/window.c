/*
 * The flight window; see window.h.
 */
#include "session/window.h"

#include "core/base.h"
#include "core/heap.h"

enum { WINDOW_CAPACITY_MIN = 8, WINDOW_CAPACITY_MAX = 65536 };

static struct window_entry *place_of(struct window *window, uint16_t packet_id)
{
    return &window->entries[packet_id & (window->capacity - 1)];
}

static struct window *make(struct heap *heap, uint32_t capacity)
{
    struct window *window =
        heap_zalloc(heap, sizeof(*window) + capacity * sizeof(struct window_entry));
    if (window != NULL)
        window->capacity = capacity;
    return window;
}

/* Twice the size: two entries that had different places still have. */
static bool grow(struct heap *heap, struct window **window)
{
    struct window *old = *window;
    struct window *grown = make(heap, old->capacity * 2);
    if (grown == NULL)
        return false;
    grown->count = old->count;
    grown->next_order = old->next_order;
    for (uint32_t i = 0; i < old->capacity; i++) {
        if (old->entries[i].state != WINDOW_FREE)
            *place_of(grown, old->entries[i].packet_id) = old->entries[i];
    }
    heap_free(heap, old);
    *window = grown;
    return true;
}

/* Makes the window, or room in it. */
static bool make_room(struct heap *heap, struct window **window)
{
    if (*window == NULL)
        *window = make(heap, WINDOW_CAPACITY_MIN);
    if (*window == NULL)
        return false;
    ps_assert((*window)->count < WINDOW_CAPACITY_MAX - 1);
    return (*window)->count < (*window)->capacity || grow(heap, window);
}

static struct window_entry *occupy(struct window *window, struct window_entry *entry,
                                   uint16_t packet_id)
{
    *entry = (struct window_entry){
        .order = window->next_order++,
        .packet_id = packet_id,
        .state = WINDOW_PUBLISHED,
    };
    window->count++;
    return entry;
}

struct window_entry *window_take(struct heap *heap, struct window **window,
                                 uint16_t *next_packet_id)
{
    if (!make_room(heap, window))
        return NULL;
    struct window *at = *window;
    for (;;) {
        uint16_t packet_id = (*next_packet_id)++;
        if (packet_id == 0) /* [MQTT-2.3.1-1] */
            continue;
        struct window_entry *entry = place_of(at, packet_id);
        if (entry->state == WINDOW_FREE)
            return occupy(at, entry, packet_id);
    }
}

struct window_entry *window_put(struct heap *heap, struct window **window, uint16_t packet_id)
{
    if (!make_room(heap, window))
        return NULL;
    while (place_of(*window, packet_id)->state != WINDOW_FREE) {
        ps_assert(place_of(*window, packet_id)->packet_id != packet_id);
        if (!grow(heap, window))
            return NULL;
    }
    return occupy(*window, place_of(*window, packet_id), packet_id);
}

struct window_entry *window_find(struct window *window, uint16_t packet_id)
{
    if (window == NULL)
        return NULL;
    struct window_entry *entry = place_of(window, packet_id);
    bool is_it = entry->state != WINDOW_FREE && entry->packet_id == packet_id;
    return is_it ? entry : NULL;
}

void window_mark_released(struct window *window, struct window_entry *entry)
{
    ps_assert(entry->state != WINDOW_FREE && entry->qos == 2);
    if (entry->state == WINDOW_RELEASED)
        return;
    entry->state = WINDOW_RELEASED;
    entry->order = window->next_order++;
}

bool window_set_topic(struct heap *heap, struct window_entry *entry, uint64_t due,
                      const void *topic, uint32_t bytes)
{
    ps_assert(entry->topic == NULL);
    entry->topic = heap_alloc(heap, sizeof(*entry->topic) + bytes);
    if (entry->topic == NULL)
        return false;
    entry->topic->due = due;
    entry->topic->bytes = bytes;
    memcpy(entry->topic->text, topic, bytes);
    return true;
}

void window_destroy(struct heap *heap, struct window *window)
{
    for (uint32_t i = 0; window != NULL && i < window->capacity; i++)
        heap_free(heap, window->entries[i].topic);
    heap_free(heap, window);
}

void window_release(struct heap *heap, struct window *window, struct window_entry *entry)
{
    ps_assert(entry->state != WINDOW_FREE && window->count != 0);
    heap_free(heap, entry->topic);
    *entry = (struct window_entry){.state = WINDOW_FREE};
    window->count--;
}
