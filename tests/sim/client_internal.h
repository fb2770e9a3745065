/*
 * What the parts of a simulated client share: client.c (connections and bytes), client_act.c (what
 * it does), client_receive.c (what comes). See client.h.
 */
#ifndef PENSTOCK_TESTS_SIM_CLIENT_INTERNAL_H
#define PENSTOCK_TESTS_SIM_CLIENT_INTERNAL_H

#include "sim/client.h"

enum { CLIENT_NONE = UINT32_MAX };

static inline uint64_t client_now_ns(const struct client *client)
{
    return sim_world_now_ns(client->world);
}

static inline bool client_chance(struct client *client, uint32_t percent)
{
    return random_chance(&client->random, percent, 100);
}

/* Remembers an event and, tracing, prints it. */
void client_note(struct client *client, const struct client_event *event);
void client_say(struct client *client, const char *text, uint32_t number);

void client_queue_put(struct client_queue *queue, uint8_t type, uint16_t packet_id);
/* NULL: empty. Valid until the next put. */
struct client_ack *client_queue_take(struct client_queue *queue);

static inline bool client_queue_is_empty(const struct client_queue *queue)
{
    return queue->first == queue->count;
}

/* Room for `bytes` more bytes to write, which count as written. */
unsigned char *client_reserve(struct client *client, uint32_t bytes);

/* client.c */
void client_connect(struct client *client);
void client_end_connection(struct client *client, bool is_clean_end);
void client_take_over(struct client *client);

/* client_act.c */
bool client_act(struct client *client);
bool client_write_acks(struct client *client);
void client_resend(struct client *client);
void client_send_ping(struct client *client);
void client_send_disconnect(struct client *client);
void client_abandon_publishes(struct client *client);
void client_send_release(struct client *client, struct client_publish *publish);
bool client_subscribe(struct client *client, uint32_t count);

/* client_receive.c */
void client_on_packet(struct client *client, const struct mqtt_packet *packet);
void client_forget_deliveries(struct client *client, bool keeps_received);
uint32_t client_deliveries_open(const struct client *client);

#endif
