/*
 * Socket addresses as text; see address.h.
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/wire.h"

static unsigned port_of(const in_port_t *port)
{
    return wire_load_u16((const unsigned char *)port);
}

int address_parse(const char *text, struct sockaddr_storage *out_address, socklen_t *out_bytes)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    size_t host_bytes = colon == NULL ? 0 : (size_t)(colon - text);
    if (colon == NULL || host_bytes >= sizeof(host))
        return -EINVAL;
    char *end = NULL;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (colon[1] < '0' || colon[1] > '9' || *end != '\0' || port > 65535)
        return -EINVAL;
    if (host_bytes >= 2 && text[0] == '[' && text[host_bytes - 1] == ']') {
        text++;
        host_bytes -= 2;
    } else if (memchr(text, ':', host_bytes) != NULL) {
        return -EINVAL;
    }
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    const struct addrinfo hints = {
        .ai_flags = AI_PASSIVE | AI_NUMERICSERV,
        .ai_family = host_bytes == 0 ? AF_INET : AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
    };
    struct addrinfo *found = NULL;
    if (getaddrinfo(host_bytes == 0 ? NULL : host, colon + 1, &hints, &found) != 0)
        return -ENOENT;
    memset(out_address, 0, sizeof(*out_address));
    memcpy(out_address, found->ai_addr, found->ai_addrlen);
    *out_bytes = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

void address_format(const struct sockaddr_storage *address, char out_text[ADDRESS_TEXT_BYTES])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(out_text, ADDRESS_TEXT_BYTES, "[%s]:%u", host, port_of(&in6->sin6_port));
        return;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
    snprintf(out_text, ADDRESS_TEXT_BYTES, "%s:%u", host, port_of(&in->sin_port));
}

uint16_t address_port(const struct sockaddr_storage *address)
{
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    return (uint16_t)port_of(address->ss_family == AF_INET6 ? &in6->sin6_port : &in->sin_port);
}

bool address_is_loopback(const struct sockaddr_storage *address)
{
    if (address->ss_family == AF_INET6) {
        const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
        bool is_mapped = IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == 127;
        return IN6_IS_ADDR_LOOPBACK(in6) || is_mapped;
    }
    const struct sockaddr_in *in = (const struct sockaddr_in *)address;
    return ((const unsigned char *)&in->sin_addr)[0] == 127;
}
