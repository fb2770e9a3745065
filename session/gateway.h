/*
 * A gateway: shards with their rings, heaps and hubs over one broker, the helper thread, the
 * listeners. gateway_store.c names the concrete broker drivers.
 *
 * Thread: all of it by the program's main thread; it waits there for signals while the shards run.
 */
#ifndef PENSTOCK_SESSION_GATEWAY_H
#define PENSTOCK_SESSION_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct gateway;
struct gateway_config;
struct heap;
struct log;

enum { GATEWAY_ERROR_BYTES = 512, GATEWAY_DRAIN_MS_MAX = 5000 };

/* The largest sum of topic and payload bytes that a record can have with this configuration. */
uint32_t gateway_record_bytes_max(const struct gateway_config *config);

/* Makes everything, listens, and starts the threads. 0 with *out_gateway, or -errno with one line
 * in `error` that says what cannot be had and how to get it. */
int gateway_start(struct heap *heap, const struct config *config, struct log *log,
                  struct gateway **out_gateway, char *error);

/* Cuts out of the data directory what is damaged, and logs what that was; serves nothing. 0, also
 * when nothing was wrong, or -errno with one line in `error`. */
int gateway_repair(struct heap *heap, const struct config *config, struct log *log, char *error);

/* Logs event=ready with the real addresses; from here on /readyz says so. */
void gateway_announce(struct gateway *gateway);

/* Takes over a newly read configuration's reloadable values; the older one must outlive this call
 * only. 0, or -errno with a line in `error` (password file), and nothing has changed. */
int gateway_reload(struct gateway *gateway, const struct config *config, char *error);

/* Closes the listeners and begins to let sends drain; returns at once. */
void gateway_stop_begin(struct gateway *gateway);

/* True when every connection is closed. */
bool gateway_is_drained(const struct gateway *gateway);

/* Ends the threads, whatever is still unsent, and frees everything. */
void gateway_stop(struct gateway *gateway);

#endif
