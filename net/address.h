/*
 * Socket addresses as text: "127.0.0.1:1883", "[::1]:1883", "localhost:1883", ":1883" (every
 * address). Stateless. Resolves names, so not on a shard's thread.
 */
#ifndef PENSTOCK_NET_ADDRESS_H
#define PENSTOCK_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { ADDRESS_TEXT_BYTES = 64 };

/* 0; -EINVAL: not HOST:PORT; -ENOENT: an unknown host. */
int address_parse(const char *text, struct sockaddr_storage *out_address, socklen_t *out_bytes);

/* Writes at most ADDRESS_TEXT_BYTES with the final NUL. */
void address_format(const struct sockaddr_storage *address, char out_text[ADDRESS_TEXT_BYTES]);

/* The port of an IPv4 or IPv6 address. */
uint16_t address_port(const struct sockaddr_storage *address);

/* True for 127.0.0.0/8, also mapped into IPv6, and for ::1. */
bool address_is_loopback(const struct sockaddr_storage *address);

#endif
