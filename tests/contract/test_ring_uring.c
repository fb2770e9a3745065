/*
 * The io_uring ring passes the ring's contract, over loopback, in the mode that the argument names
 * (direct or plain). Direct is skipped where the kernel does not pass the probe for it.
 */
#include "ring_contract.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "core/base.h"
#include "core/wire.h"
#include "support/scratch_directory.h"

struct contract_peer {
    int fd;
};

struct contract_port {
    int fd;
    int filler; /* of a deaf one's backlog; -1: none */
};

static pthread_t waker;
static char scratch[SCRATCH_PATH_BYTES];

void contract_world_begin(void)
{
    scratch_directory_make(scratch);
}

void contract_world_end(void)
{
    scratch_directory_remove(scratch);
}

const char *contract_directory(void)
{
    return scratch;
}

void contract_pass_time(struct ring *ring, uint64_t deadline_ns)
{
    (void)ring;
    (void)deadline_ns;
}

static void *wake(void *ring)
{
    ring_wake(ring);
    return NULL;
}

void contract_wake_from_elsewhere(struct ring *ring)
{
    ps_assert(pthread_create(&waker, NULL, wake, ring) == 0);
}

void contract_wake_join(void)
{
    pthread_join(waker, NULL);
}

bool contract_can_reset(enum ring_mode mode)
{
    struct utsname name;
    uname(&name);
    char *rest = name.release;
    long major = strtol(rest, &rest, 10);
    long minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
    return mode == RING_MODE_PLAIN || major > 6 || (major == 6 && minor >= 7);
}

static struct contract_peer *peer_of(int fd)
{
    struct contract_peer *peer = malloc(sizeof(*peer));
    ps_assert(peer != NULL);
    peer->fd = fd;
    return peer;
}

struct contract_peer *contract_peer_connect(const struct sockaddr_storage *to)
{
    int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ps_assert(fd >= 0);
    if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) == 0)
        return peer_of(fd);
    ps_assert(errno == ECONNREFUSED);
    close(fd);
    return NULL;
}

int32_t contract_peer_send(struct contract_peer *peer, const void *bytes, uint32_t count)
{
    ssize_t sent = send(peer->fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent < 0 ? -errno : (int32_t)sent;
}

int32_t contract_peer_receive(struct contract_peer *peer, void *buffer, uint32_t bytes_max)
{
    ssize_t received = recv(peer->fd, buffer, bytes_max, MSG_DONTWAIT);
    return received < 0 ? -errno : (int32_t)received;
}

void contract_peer_shutdown(struct contract_peer *peer)
{
    shutdown(peer->fd, SHUT_WR);
}

void contract_peer_close(struct contract_peer *peer)
{
    close(peer->fd);
    free(peer);
}

void contract_peer_reset(struct contract_peer *peer)
{
    const struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(peer->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    contract_peer_close(peer);
}

struct contract_port *contract_port_open(struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ps_assert(fd >= 0);
    socklen_t address_bytes = sizeof(*address);
    if (bind(fd, (struct sockaddr *)address, sizeof(*address)) != 0 || listen(fd, 64) != 0) {
        ps_assert(errno == EADDRINUSE);
        close(fd);
        return NULL;
    }
    getsockname(fd, (struct sockaddr *)address, &address_bytes);
    struct contract_port *port = malloc(sizeof(*port));
    ps_assert(port != NULL);
    port->fd = fd;
    port->filler = -1;
    return port;
}

struct contract_port *contract_port_open_deaf(struct sockaddr_storage *address)
{
    struct contract_port *port = contract_port_open(address);
    ps_assert(port != NULL && listen(port->fd, 0) == 0);
    /* The one connection that fits: the kernel drops what asks for another. */
    port->filler = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ps_assert(connect(port->filler, (struct sockaddr *)address, sizeof(*address)) == 0);
    return port;
}

bool contract_port_is_asked(const struct contract_port *port)
{
    struct sockaddr_in address;
    socklen_t address_bytes = sizeof(address);
    getsockname(port->fd, (struct sockaddr *)&address, &address_bytes);
    FILE *file = fopen("/proc/net/tcp", "re");
    ps_assert(file != NULL);
    bool is_asked = false;
    char line[256];
    while (fgets(line, sizeof(line), file) != NULL) {
        unsigned remote_port = 0;
        unsigned state = 0;
        const unsigned syn_sent = 2;
        if (sscanf(line, "%*d: %*x:%*x %*x:%x %x", &remote_port, &state) == 2)
            is_asked |= state == syn_sent &&
                        remote_port == wire_load_u16((const unsigned char *)&address.sin_port);
    }
    fclose(file);
    return is_asked;
}

struct contract_peer *contract_port_accept(struct contract_port *port)
{
    int fd = accept4(port->fd, NULL, NULL, SOCK_CLOEXEC);
    return fd < 0 ? NULL : peer_of(fd);
}

void contract_port_close(struct contract_port *port)
{
    close(port->fd);
    if (port->filler >= 0)
        close(port->filler);
    free(port);
}

/* What the kernel offers: 0, or -errno with the reason told. */
static int probe(enum ring_mode *out_mode)
{
    const struct ring_options options = {.sockets_max = 4, .mode = RING_MODE_AUTO};
    struct ring *ring = NULL;
    char error[256] = "";
    int status = ring_create(&options, &ring, error, sizeof(error));
    if (status < 0) {
        printf("skipped: %s\n", error);
        return status;
    }
    *out_mode = ring_mode(ring);
    ring_destroy(ring);
    return 0;
}

int main(int argument_count, char **arguments)
{
    enum ring_mode offered = RING_MODE_PLAIN;
    if (argument_count != 2) {
        fprintf(stderr, "usage: %s direct|plain\n", arguments[0]);
        return 2;
    }
    if (probe(&offered) < 0)
        return 77;
    if (strcmp(arguments[1], "plain") == 0)
        return ring_contract_run(RING_MODE_PLAIN);
    if (offered != RING_MODE_DIRECT) {
        printf("skipped: this kernel keeps closed direct descriptors while requests are armed\n");
        return 77;
    }
    return ring_contract_run(RING_MODE_DIRECT);
}
