/*
 * What a configuration has to satisfy beyond the form of each value: addresses that exist, files
 * that can be read. Asked by --check, before every start and before a reload. It listens on
 * nothing and changes nothing.
 *
 * Thread: the program's main one; it reads files and resolves names.
 */
#ifndef PENSTOCK_SESSION_GATEWAY_CHECK_H
#define PENSTOCK_SESSION_GATEWAY_CHECK_H

struct config;
struct heap;
struct log;

/* 0, or -errno with one line in `error` (GATEWAY_ERROR_BYTES) that names where the value was
 * written, the key, and what is allowed. */
int gateway_check(struct heap *heap, const struct config *config, char *error);

/* Logs what is allowed but hardly meant, of a configuration that gateway_check has passed. */
void gateway_check_warn(const struct config *config, struct log *log);

#endif
