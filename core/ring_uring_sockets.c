/*
 * Sockets on the io_uring ring: slots, listening and connecting, readiness, batches, closing and
 * moving. See ring.h. One shard's; its thread's.
 */
#include "ring_uring_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <unistd.h>

#include "core/base.h"

struct bank_ring *ring_bank_of(const struct ring *ring, uint32_t slot)
{
    return ring->bank[slot / ring->sockets_per_ring];
}

struct ring_slot *ring_slot_of(const struct ring *ring, uint32_t slot)
{
    return &ring_bank_of(ring, slot)->slots[slot % ring->sockets_per_ring];
}

struct ring_slot *ring_slot_live(const struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = ring_slot_of(ring, socket.slot);
    bool is_live = (slot->flags & SLOT_OPEN) && (slot->generation & 0xffffffU) == socket.generation;
    return is_live ? slot : NULL;
}

struct ring_socket ring_slot_open(struct ring *ring, uint32_t index, int32_t result)
{
    struct bank_ring *bank = ring->bank[index];
    uint32_t local = (uint32_t)result;
    if (!ring->is_direct) {
        ps_assert(bank->free_head >= 0);
        local = (uint32_t)bank->free_head;
        bank->free_head = bank->slots[local].fd;
    }
    struct ring_slot *slot = &bank->slots[local];
    ps_assert(!(slot->flags & SLOT_OPEN));
    slot->fd = result;
    slot->flags = SLOT_OPEN;
    ring->counters.sockets++;
    return (struct ring_socket){
        .slot = index * ring->sockets_per_ring + local,
        .generation = slot->generation & 0xffffffU,
    };
}

void ring_entry_target(const struct ring *ring, struct io_uring_sqe *entry, uint32_t slot)
{
    if (ring->is_direct) {
        entry->fd = (int)(slot % ring->sockets_per_ring);
        entry->flags |= IOSQE_FIXED_FILE;
    } else {
        entry->fd = ring_slot_of(ring, slot)->fd;
    }
}

/* An address that is in use by another process must be refused although SO_REUSEPORT would share
 * it. */
static int check_address_free(const struct sockaddr_storage *address, socklen_t address_bytes)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    int status = bind(fd, (const struct sockaddr *)address, address_bytes) < 0 ? -errno : 0;
    if (status == 0 && listen(fd, 1) < 0)
        status = -errno;
    close(fd);
    return status;
}

static int set_listen_options(int fd, const struct ring_listen_options *options)
{
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)) < 0)
        return -errno;
    const struct {
        int level;
        int name;
        uint32_t value;
    } sizes[] = {
        {SOL_SOCKET, SO_SNDBUF, options->send_buffer_bytes},
        {SOL_SOCKET, SO_RCVBUF, options->receive_buffer_bytes},
        {IPPROTO_TCP, TCP_NOTSENT_LOWAT, options->unsent_low_water_bytes},
    };
    for (size_t i = 0; i < ps_array_count(sizes); i++) {
        int value = (int)sizes[i].value;
        if (value != 0 && setsockopt(fd, sizes[i].level, sizes[i].name, &value, sizeof(value)) < 0)
            return -errno;
    }
    return 0;
}

int ring_listen(struct ring *ring, struct sockaddr_storage *address, socklen_t address_bytes,
                bool is_first, const struct ring_listen_options *options, uint32_t *out_listener)
{
    uint32_t listener = 0;
    while (listener < RING_LISTENERS_MAX && ring->listener_fds[listener] >= 0)
        listener++;
    if (listener == RING_LISTENERS_MAX)
        return -EMFILE;
    int status = is_first ? check_address_free(address, address_bytes) : 0;
    if (status < 0)
        return status;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    status = set_listen_options(fd, options);
    if (status == 0 && bind(fd, (const struct sockaddr *)address, address_bytes) < 0)
        status = -errno;
    if (status == 0 && listen(fd, (int)options->backlog) < 0)
        status = -errno;
    socklen_t bound_bytes = sizeof(*address);
    if (status == 0 && getsockname(fd, (struct sockaddr *)address, &bound_bytes) < 0)
        status = -errno;
    if (status < 0) {
        close(fd);
        return status;
    }
    ring->listener_fds[listener] = fd;
    *out_listener = listener;
    return 0;
}

static uint32_t free_accept_request(const struct ring *ring)
{
    uint32_t i = 0;
    while (i < RING_ACCEPTS_MAX && ring->accepts[i].listener != 0)
        i++;
    return i;
}

uint32_t ring_accept(struct ring *ring, uint32_t listener, uint32_t count)
{
    uint32_t armed = 0;
    while (armed < count && ring->accepts_armed + ring->accepted_queued < RING_ACCEPTS_MAX) {
        uint32_t index = free_accept_request(ring);
        uint32_t bank_index = 0;
        struct bank_ring *bank =
            index == RING_ACCEPTS_MAX ? NULL : ring_bank_claim(ring, true, &bank_index);
        if (bank == NULL)
            break;
        struct ring_accept_request *request = &ring->accepts[index];
        *request = (struct ring_accept_request){
            .address_bytes = sizeof(request->address),
            .listener = listener + 1,
            .bank_index = bank_index,
        };
        struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
        io_uring_prep_accept(entry, ring->listener_fds[listener],
                             (struct sockaddr *)&request->address, &request->address_bytes,
                             ring->is_direct ? 0 : SOCK_CLOEXEC);
        if (ring->is_direct)
            entry->file_index = IORING_FILE_INDEX_ALLOC;
        entry->user_data = ring_user_data(RING_OP_ACCEPT, 0, index);
        ring->accepts_armed++;
        armed++;
    }
    return armed;
}

void ring_listen_close(struct ring *ring, uint32_t listener)
{
    for (uint32_t i = 0; i < RING_ACCEPTS_MAX; i++) {
        if (ring->accepts[i].listener != listener + 1)
            continue;
        struct io_uring_sqe *entry = ring_bank_entry(ring, ring->bank[ring->accepts[i].bank_index]);
        io_uring_prep_cancel64(entry, ring_user_data(RING_OP_ACCEPT, 0, i), 0);
        entry->user_data = ring_user_data(RING_OP_IGNORE, 0, 0);
    }
    for (uint32_t i = 0; i < ring->bank_count; i++) {
        if (ring->bank[i]->is_queued)
            ring_bank_submit(ring, ring->bank[i]);
    }
    close(ring->listener_fds[listener]);
    ring->listener_fds[listener] = -1;
}

/* A new socket's slot or descriptor, or -errno. */
static int32_t make_socket(struct ring *ring, struct bank_ring *bank, uint32_t index, int family)
{
    if (!ring->is_direct) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd < 0 ? -errno : fd;
    }
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    io_uring_prep_rw(IORING_OP_SOCKET, entry, family, NULL, 0, SOCK_STREAM);
    entry->file_index = IORING_FILE_INDEX_ALLOC;
    entry->user_data = ring_user_data(RING_OP_SOCKET, 0, 0);
    ring->socket_result = INT64_MIN;
    ring_bank_submit(ring, bank);
    for (;;) {
        ring_bank_reap(ring, index);
        if (ring->socket_result != INT64_MIN)
            return (int32_t)ring->socket_result;
        io_uring_get_events(&bank->uring);
    }
}

int ring_connect(struct ring *ring, const struct sockaddr_storage *address, socklen_t address_bytes,
                 uint64_t token, struct ring_socket *out_socket)
{
    (void)token;
    uint32_t index = 0;
    struct bank_ring *bank = ring_bank_claim(ring, true, &index);
    if (bank == NULL)
        return -ENFILE;
    int32_t result = make_socket(ring, bank, index, address->ss_family);
    if (result < 0) {
        atomic_fetch_add_explicit(&bank->room, 1, memory_order_relaxed);
        return result;
    }
    struct ring_socket socket = ring_slot_open(ring, index, result);
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    io_uring_prep_connect(entry, 0, (const struct sockaddr *)address, address_bytes);
    ring_entry_target(ring, entry, socket.slot);
    entry->user_data = ring_user_data(RING_OP_CONNECT, socket.generation, socket.slot);
    ring_bank_submit(ring, bank); /* the address need not outlive this call */
    *out_socket = socket;
    return 0;
}

static void arm_poll(struct ring *ring, struct ring_socket socket, enum ring_operation operation,
                     unsigned events, bool is_multishot)
{
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    io_uring_prep_poll_add(entry, 0, events);
    if (is_multishot)
        entry->len = IORING_POLL_ADD_MULTI;
    ring_entry_target(ring, entry, socket.slot);
    entry->user_data = ring_user_data(operation, socket.generation, socket.slot);
}

void ring_watch_readable(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL);
    slot->flags |= SLOT_READ_PERSISTENT;
    if (slot->flags & SLOT_READ_ARMED)
        return;
    slot->flags |= SLOT_READ_ARMED;
    arm_poll(ring, socket, RING_OP_POLL_IN, POLLIN | POLLRDHUP, true);
}

void ring_watch_readable_once(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL);
    if (slot->flags & SLOT_READ_ARMED)
        return;
    slot->flags |= SLOT_READ_ARMED;
    arm_poll(ring, socket, RING_OP_POLL_IN, POLLIN | POLLRDHUP, false);
}

void ring_watch_writable(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL);
    if (slot->flags & SLOT_WRITE_ARMED)
        return;
    slot->flags |= SLOT_WRITE_ARMED;
    arm_poll(ring, socket, RING_OP_POLL_OUT, POLLOUT, false);
}

/* Submits every ring that has something queued. */
static void submit_all(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->bank_count; i++) {
        if (ring->bank[i]->is_queued)
            ring_bank_submit(ring, ring->bank[i]);
    }
}

static void reap_all(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->bank_count; i++)
        ring_bank_reap(ring, i);
}

void ring_receive_batch(struct ring *ring, struct ring_receive *requests, uint32_t count)
{
    ring->receives = requests;
    ring->undecided = count;
    for (uint32_t i = 0; i < count; i++) {
        struct ring_receive *request = &requests[i];
        ps_assert(ring_slot_live(ring, request->socket) != NULL);
        struct io_uring_sqe *entry =
            ring_bank_entry(ring, ring_bank_of(ring, request->socket.slot));
        io_uring_prep_recv(entry, 0, request->buffer, request->bytes_max, MSG_DONTWAIT);
        ring_entry_target(ring, entry, request->socket.slot);
        entry->user_data = ring_user_data(RING_OP_RECEIVE, 0, i);
    }
    submit_all(ring);
    reap_all(ring);
    while (ring->undecided != 0) {
        for (uint32_t i = 0; i < ring->bank_count; i++)
            io_uring_get_events(&ring->bank[i]->uring);
        reap_all(ring);
    }
    ring->receives = NULL;
    ring->counters.receives += count;
}

static size_t vectors_bytes(const struct iovec *vectors, uint32_t count)
{
    size_t bytes = 0;
    for (uint32_t i = 0; i < count; i++)
        bytes += vectors[i].iov_len;
    return bytes;
}

enum { SEND_MESSAGES_MAX = 64 };

/* Prepares one send; `message` is used when it has several pieces. */
static void prepare_send(struct ring *ring, struct ring_send *request, uint32_t index,
                         struct msghdr *message)
{
    const unsigned flags = MSG_DONTWAIT | MSG_WAITALL | MSG_NOSIGNAL;
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, request->socket.slot));
    if (request->vector_count == 1) {
        io_uring_prep_send(entry, 0, request->vectors[0].iov_base, request->vectors[0].iov_len,
                           (int)flags);
    } else {
        *message = (struct msghdr){
            .msg_iov = (struct iovec *)(uintptr_t)request->vectors,
            .msg_iovlen = request->vector_count,
        };
        io_uring_prep_sendmsg(entry, 0, message, flags);
    }
    ring_entry_target(ring, entry, request->socket.slot);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = ring_user_data(RING_OP_SEND, 0, index);
    request->result = (int32_t)vectors_bytes(request->vectors, request->vector_count);
}

void ring_send_batch(struct ring *ring, struct ring_send *requests, uint32_t count)
{
    struct msghdr messages[SEND_MESSAGES_MAX];
    uint32_t message_count = 0;
    ring->sends = requests;
    for (uint32_t i = 0; i < count; i++) {
        ps_assert(ring_slot_live(ring, requests[i].socket) != NULL);
        if (message_count == SEND_MESSAGES_MAX) {
            submit_all(ring);
            message_count = 0;
        }
        prepare_send(ring, &requests[i], i, &messages[message_count]);
        message_count += requests[i].vector_count != 1;
    }
    submit_all(ring);
    reap_all(ring);
    ring->sends = NULL;
    ring->counters.sends += count;
}

/* By ASYNC_CANCEL: POLL_REMOVE answers -EALREADY when the poll has just been woken and that is not
 * processed yet. A multishot poll then stays, and with it the socket without a FIN. */
static void remove_poll(struct ring *ring, struct ring_socket socket, enum ring_operation operation)
{
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    io_uring_prep_cancel64(entry, ring_user_data(operation, socket.generation, socket.slot), 0);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = ring_user_data(RING_OP_IGNORE, 0, 0);
}

void ring_close(struct ring *ring, struct ring_socket socket, bool is_reset)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL);
    if (slot->flags & SLOT_READ_ARMED)
        remove_poll(ring, socket, RING_OP_POLL_IN);
    if (slot->flags & SLOT_WRITE_ARMED)
        remove_poll(ring, socket, RING_OP_POLL_OUT);
    if (is_reset && !ring->is_direct) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    }
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    if (ring->is_direct) {
        io_uring_prep_close(entry, 0);
        entry->file_index = socket.slot % ring->sockets_per_ring + 1;
    } else {
        io_uring_prep_close(entry, slot->fd);
    }
    entry->user_data = ring_user_data(RING_OP_CLOSE, socket.generation, socket.slot);
    slot->flags = 0;
    slot->generation++;
    ring->counters.closes++;
    ring->counters.sockets--;
}

void ring_move(struct ring *ring, struct ring_socket socket, struct ring *target, uint64_t token)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL && token >> 56 == 0);
    ps_assert((slot->flags & (SLOT_READ_ARMED | SLOT_WRITE_ARMED)) == 0);
    ps_assert(ring->is_direct == target->is_direct);
    uint32_t index = 0;
    struct bank_ring *bank = ring_bank_claim(target, false, &index);
    if (bank == NULL) {
        struct ring_event *event = ring_queue_event(ring, RING_MOVED_OUT);
        event->socket = socket;
        event->result = -ENFILE;
        return;
    }
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    uint64_t data = (uint64_t)RING_OP_MOVE_IN << 56 | token;
    if (ring->is_direct) {
        io_uring_prep_rw(IORING_OP_MSG_RING, entry, bank->uring.ring_fd, NULL, 0, data);
        entry->addr = IORING_MSG_SEND_FD;
        entry->addr3 = socket.slot % ring->sockets_per_ring;
        entry->file_index = IORING_FILE_INDEX_ALLOC;
    } else {
        io_uring_prep_rw(IORING_OP_MSG_RING, entry, bank->uring.ring_fd, NULL, (unsigned)slot->fd,
                         data);
    }
    entry->user_data = ring_user_data(RING_OP_MOVE_OUT, socket.generation, socket.slot);
}
