/*
 * An address as it may stand in a configuration file: refused, or understood and then printed in a
 * form that is understood as the same. Only numbers are hosts here: a name is unknown at once,
 * since the network is no part of this and a lookup would block.
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>

#include "core/base.h"
#include "net/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);
int __real_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result);
int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result);

int __wrap_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
                       struct addrinfo **result)
{
    struct addrinfo numeric = *hints;
    numeric.ai_flags |= AI_NUMERICHOST;
    return __real_getaddrinfo(node, service, &numeric, result);
}

static void assert_same(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
    ps_assert(a->ss_family == b->ss_family);
    if (a->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
        const struct sockaddr_in6 *again = (const struct sockaddr_in6 *)b;
        ps_assert(in6->sin6_port == again->sin6_port);
        ps_assert(memcmp(&in6->sin6_addr, &again->sin6_addr, sizeof(in6->sin6_addr)) == 0);
    } else {
        ps_assert(memcmp(a, b, sizeof(struct sockaddr_in)) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    char *text = malloc(count + 1);
    ps_assert(text != NULL);
    memcpy(text, bytes, count);
    text[count] = '\0';
    struct sockaddr_storage address;
    socklen_t address_bytes = 0;
    int result = address_parse(text, &address, &address_bytes);
    ps_assert(result == 0 || result == -EINVAL || result == -ENOENT);
    free(text);
    if (result != 0)
        return 0;
    ps_assert(address.ss_family == AF_INET || address.ss_family == AF_INET6);
    char printed[ADDRESS_TEXT_BYTES];
    address_format(&address, printed);
    struct sockaddr_storage again;
    ps_assert(address_parse(printed, &again, &address_bytes) == 0);
    assert_same(&address, &again);
    return 0;
}
