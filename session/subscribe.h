/*
 * SUBSCRIBE and UNSUBSCRIBE: any number of filters in one exchange with the owners, one write to
 * the store and one acknowledgement. A subscription stands in the tables at once and covers nothing
 * until the owner of a partition has named the sequence from which it holds there.
 *
 * Owner and thread: the session's hub.
 */
#ifndef PENSTOCK_SESSION_SUBSCRIBE_H
#define PENSTOCK_SESSION_SUBSCRIBE_H

#include "net/net.h"

struct hub;
struct session;

enum net_verdict subscribe_on_subscribe(struct hub *hub, struct session *session,
                                        const struct mqtt_filters *filters);
enum net_verdict subscribe_on_unsubscribe(struct hub *hub, struct session *session,
                                          const struct mqtt_filters *filters);

/* Gives up those under way; for hub_destroy. */
void subscribe_abort(struct hub *hub);

#endif
