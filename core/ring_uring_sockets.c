/*
 * Sockets on the io_uring ring: slots, listening and connecting, readiness, batches, closing and
 * moving. See ring.h. One shard's; its thread's.
 */
#include "ring_uring_internal.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
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
    slot->has_ended = false;
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
    ps_assert(listener < RING_LISTENERS_MAX && ring->listener_fds[listener] >= 0);
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
        entry->user_data = ring_user_index(RING_OP_ACCEPT, index);
        ring->accepts_armed++;
        armed++;
    }
    ring->counters.accepts_refused += count - armed;
    return armed;
}

void ring_cancel(struct ring *ring, struct bank_ring *bank, uint64_t request_data)
{
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    io_uring_prep_cancel64(entry, request_data, 0);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = ring_user_index(RING_OP_IGNORE, 0);
}

static void cancel_accepts(struct ring *ring, uint32_t listener, bool is_silent)
{
    for (uint32_t i = 0; i < RING_ACCEPTS_MAX; i++) {
        struct ring_accept_request *request = &ring->accepts[i];
        if (request->listener != listener + 1)
            continue;
        request->is_silent = is_silent;
        ring_cancel(ring, ring->bank[request->bank_index], ring_user_index(RING_OP_ACCEPT, i));
    }
}

/* Submits every ring that has something queued. */
static void submit_all(struct ring *ring)
{
    for (uint32_t i = 0; i < ring->bank_count; i++) {
        if (ring->bank[i]->is_queued)
            ring_bank_submit(ring, ring->bank[i]);
    }
}

void ring_accept_pause(struct ring *ring, uint32_t listener)
{
    ps_assert(listener < RING_LISTENERS_MAX && ring->listener_fds[listener] >= 0);
    cancel_accepts(ring, listener, false);
}

/* Takes the listener's events out of the queue; connections that were not told are closed. */
static void drop_accept_events(struct ring *ring, uint32_t listener)
{
    for (uint32_t i = ring->queue_count; i != 0; i--) {
        struct ring_event event = ring->queue[ring->queue_head];
        ring->queue_head = (ring->queue_head + 1) & (ring->queue_capacity - 1);
        ring->queue_count--;
        bool is_accept = event.kind == RING_ACCEPTED || event.kind == RING_ACCEPT_FAILED;
        if (!is_accept || event.listener != listener) {
            *ring_queue_event(ring, event.kind) = event;
        } else if (event.kind == RING_ACCEPTED) {
            ring->accepted_queued--;
            ring_slot_close(ring, event.socket, false);
        }
    }
}

void ring_listen_close(struct ring *ring, uint32_t listener)
{
    ps_assert(listener < RING_LISTENERS_MAX && ring->listener_fds[listener] >= 0);
    cancel_accepts(ring, listener, true);
    submit_all(ring);
    drop_accept_events(ring, listener);
    /* The cancelled requests hold the socket a little longer: it must not listen meanwhile. */
    shutdown(ring->listener_fds[listener], SHUT_RDWR);
    close(ring->listener_fds[listener]);
    ring->listener_fds[listener] = -1;
}

/* Puts a descriptor into the table of a ring. Its slot there, or -errno; the caller's descriptor is
 * closed. */
static int32_t install(struct ring *ring, struct bank_ring *bank, uint32_t index, int fd)
{
    int slot = fd; /* the kernel writes the slot over it */
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    io_uring_prep_files_update(entry, &slot, 1, (int)IORING_FILE_INDEX_ALLOC);
    entry->user_data = ring_user_index(RING_OP_INSTALL, 0);
    ring->install_result = INT64_MIN;
    ring_bank_submit(ring, bank);
    ring_bank_reap(ring, index);
    while (ring->install_result == INT64_MIN) {
        io_uring_get_events(&bank->uring);
        ring_bank_reap(ring, index);
    }
    close(fd);
    return ring->install_result < 0 ? (int32_t)ring->install_result : slot;
}

/* A new socket's slot or descriptor, or -errno. */
static int32_t make_socket(struct ring *ring, struct bank_ring *bank, uint32_t index, int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return ring->is_direct ? install(ring, bank, index, fd) : fd;
}

static struct ring_connect_request *free_connect_request(struct ring *ring)
{
    for (uint32_t i = 0; i < RING_CONNECTS_MAX; i++) {
        if (!ring->connects[i].is_used)
            return &ring->connects[i];
    }
    return NULL;
}

uint64_t ring_connect_forget(struct ring *ring, struct ring_socket socket)
{
    struct ring_connect_request *request = ring->connects;
    while (!request->is_used || request->socket.slot != socket.slot) {
        request++;
        ps_assert(request < ring->connects + RING_CONNECTS_MAX);
    }
    request->is_used = false;
    return request->token;
}

int ring_connect(struct ring *ring, const struct sockaddr_storage *address, socklen_t address_bytes,
                 uint64_t token, struct ring_socket *out_socket)
{
    uint32_t index = 0;
    struct ring_connect_request *request = free_connect_request(ring);
    struct bank_ring *bank = request == NULL ? NULL : ring_bank_claim(ring, true, &index);
    if (bank == NULL) {
        ring->counters.accepts_refused++;
        return request == NULL ? -EAGAIN : -ENFILE;
    }
    int32_t result = make_socket(ring, bank, index, address->ss_family);
    if (result < 0) {
        atomic_fetch_add_explicit(&bank->room, 1, memory_order_relaxed);
        return result;
    }
    struct ring_socket socket = ring_slot_open(ring, index, result);
    ring_slot_of(ring, socket.slot)->flags |= SLOT_BUSY;
    *request = (struct ring_connect_request){.socket = socket, .token = token, .is_used = true};
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    io_uring_prep_connect(entry, 0, (const struct sockaddr *)address, address_bytes);
    ring_entry_target(ring, entry, socket.slot);
    entry->user_data = ring_user_data(RING_OP_CONNECT, socket, 0);
    ring_bank_submit(ring, bank); /* the address need not outlive this call */
    *out_socket = socket;
    return 0;
}

/* The slot of a socket that the caller may use. */
static struct ring_slot *usable_slot(const struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL && (slot->flags & SLOT_BUSY) == 0);
    return slot;
}

static void arm_poll(struct ring *ring, struct ring_socket socket, enum ring_operation operation,
                     unsigned events, bool is_multishot)
{
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    io_uring_prep_poll_add(entry, 0, events);
    if (is_multishot)
        entry->len = IORING_POLL_ADD_MULTI;
    ring_entry_target(ring, entry, socket.slot);
    entry->user_data = ring_user_data(operation, socket, ring_slot_of(ring, socket.slot)->watch);
}

void ring_watch_readable(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = usable_slot(ring, socket);
    slot->flags |= SLOT_READ_PERSISTENT;
    if (slot->flags & SLOT_READ_ARMED)
        return;
    slot->flags |= SLOT_READ_ARMED;
    arm_poll(ring, socket, RING_OP_POLL_IN, POLLIN | POLLRDHUP, true);
}

void ring_watch_readable_once(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = usable_slot(ring, socket);
    if (slot->flags & SLOT_READ_ARMED)
        return;
    slot->flags |= SLOT_READ_ARMED;
    arm_poll(ring, socket, RING_OP_POLL_IN, POLLIN | POLLRDHUP, false);
}

void ring_watch_writable(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = usable_slot(ring, socket);
    if (slot->flags & SLOT_WRITE_ARMED)
        return;
    slot->flags |= SLOT_WRITE_ARMED;
    arm_poll(ring, socket, RING_OP_POLL_OUT, POLLOUT, false);
}

/* POLL_REMOVE costs a fraction of ASYNC_CANCEL, but answers -EALREADY when the poll has just been
 * woken and that is not processed yet: then it is cancelled (on_removed). What it has to tell until
 * then is stale. */
static void remove_poll(struct ring *ring, struct ring_socket socket, uint8_t watch,
                        enum ring_operation poll, enum ring_operation removal)
{
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    io_uring_prep_poll_remove(entry, ring_user_data(poll, socket, watch));
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = ring_user_data(removal, socket, watch);
}

/* Ends what is armed on a slot. */
static void remove_polls(struct ring *ring, struct ring_socket socket, const struct ring_slot *slot)
{
    if (slot->flags & SLOT_READ_ARMED)
        remove_poll(ring, socket, slot->watch, RING_OP_POLL_IN, RING_OP_REMOVE_IN);
    if (slot->flags & SLOT_WRITE_ARMED)
        remove_poll(ring, socket, slot->watch, RING_OP_POLL_OUT, RING_OP_REMOVE_OUT);
}

void ring_unwatch(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = usable_slot(ring, socket);
    remove_polls(ring, socket, slot);
    slot->flags = SLOT_OPEN;
    slot->watch++;
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
        usable_slot(ring, request->socket);
        ps_assert(request->bytes_max > 0);
        struct io_uring_sqe *entry =
            ring_bank_entry(ring, ring_bank_of(ring, request->socket.slot));
        io_uring_prep_recv(entry, 0, request->buffer, request->bytes_max, MSG_DONTWAIT);
        ring_entry_target(ring, entry, request->socket.slot);
        entry->user_data = ring_user_index(RING_OP_RECEIVE, i);
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
    entry->user_data = ring_user_index(RING_OP_SEND, index);
    request->result = (int32_t)vectors_bytes(request->vectors, request->vector_count);
}

void ring_send_batch(struct ring *ring, struct ring_send *requests, uint32_t count)
{
    struct msghdr messages[SEND_MESSAGES_MAX];
    uint32_t message_count = 0;
    ring->sends = requests;
    for (uint32_t i = 0; i < count; i++) {
        usable_slot(ring, requests[i].socket);
        if (message_count == SEND_MESSAGES_MAX) {
            submit_all(ring);
            message_count = 0;
        }
        prepare_send(ring, &requests[i], i, &messages[message_count]);
        message_count += requests[i].vector_count != 1;
    }
    submit_all(ring);
    reap_all(ring);
    for (uint32_t i = 0; i < ring->bank_count; i++) {
        /* Failures beyond the completion queue wait in the kernel; they are answers too. */
        struct io_uring *uring = &ring->bank[i]->uring;
        while (__atomic_load_n(uring->sq.kflags, __ATOMIC_ACQUIRE) & IORING_SQ_CQ_OVERFLOW) {
            io_uring_get_events(uring);
            ring_bank_reap(ring, i);
        }
    }
    ring->sends = NULL;
    ring->counters.sends += count;
}

static const struct linger no_linger = {.l_onoff = 1, .l_linger = 0};

/* Makes the close that follows a reset. With direct descriptors it is asked of the ring, in whose
 * order it comes before the close; a kernel that cannot do it answers an error that nobody reads.
 */
static void prepare_reset(struct ring *ring, struct ring_socket socket)
{
    struct ring_slot *slot = ring_slot_of(ring, socket.slot);
    if (!ring->is_direct) {
        setsockopt(slot->fd, SOL_SOCKET, SO_LINGER, &no_linger, sizeof(no_linger));
        return;
    }
    const uint32_t option[2] = {SOL_SOCKET, SO_LINGER};
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    io_uring_prep_rw(IORING_OP_URING_CMD, entry, 0, NULL, 0, RING_SOCKET_SETSOCKOPT);
    memcpy(&entry->addr, option, sizeof(option));
    entry->splice_fd_in = sizeof(no_linger);
    entry->addr3 = (uintptr_t)&no_linger;
    ring_entry_target(ring, entry, socket.slot);
    entry->flags |= IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = ring_user_index(RING_OP_IGNORE, 0);
}

void ring_slot_close(struct ring *ring, struct ring_socket socket, bool is_reset)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    struct bank_ring *bank = ring_bank_of(ring, socket.slot);
    remove_polls(ring, socket, slot);
    if (is_reset)
        prepare_reset(ring, socket);
    struct io_uring_sqe *entry = ring_bank_entry(ring, bank);
    if (ring->is_direct) {
        io_uring_prep_close(entry, 0);
        entry->file_index = socket.slot % ring->sockets_per_ring + 1;
    } else {
        io_uring_prep_close(entry, slot->fd);
    }
    entry->user_data = ring_user_data(RING_OP_CLOSE, socket, 0);
    slot->flags = ring->is_direct ? 0 : SLOT_CLOSING;
    slot->generation++;
    ring->counters.sockets--;
}

void ring_close(struct ring *ring, struct ring_socket socket, bool is_reset)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    ps_assert(slot != NULL);
    if (slot->flags & SLOT_BUSY) {
        /* Only a connect may be closed; it would hold the socket until it has timed out. */
        ring_connect_forget(ring, socket);
        ring_cancel(ring, ring_bank_of(ring, socket.slot),
                    ring_user_data(RING_OP_CONNECT, socket, 0));
    }
    ring_slot_close(ring, socket, is_reset);
    ring->counters.closes++;
}

static uint32_t acquire_move(struct ring *ring)
{
    if (ring->move_free == 0) {
        uint32_t capacity = ring->move_capacity == 0 ? 64 : ring->move_capacity * 2;
        struct ring_move_request *grown = realloc(ring->moves, capacity * sizeof(*grown));
        ps_assert(grown != NULL);
        for (uint32_t i = ring->move_capacity; i < capacity; i++)
            grown[i].next_free = i + 1 < capacity ? i + 2 : 0;
        ring->moves = grown;
        ring->move_free = ring->move_capacity + 1;
        ring->move_capacity = capacity;
    }
    uint32_t index = ring->move_free - 1;
    ring->move_free = ring->moves[index].next_free;
    return index;
}

static void refuse_move(struct ring *ring, struct ring_socket socket, uint64_t token)
{
    struct ring_event *event = ring_queue_event(ring, RING_MOVED_OUT);
    event->socket = socket;
    event->token = token;
    event->result = -ENFILE;
    ring->counters.moves_failed++;
}

void ring_move(struct ring *ring, struct ring_socket socket, struct ring *target, uint64_t token)
{
    struct ring_slot *slot = usable_slot(ring, socket);
    ps_assert(token >> 56 == 0 && ring->is_direct == target->is_direct);
    ps_assert((slot->flags & (SLOT_READ_ARMED | SLOT_WRITE_ARMED)) == 0);
    uint32_t target_index = 0;
    struct bank_ring *bank = ring_bank_claim(target, false, &target_index);
    if (bank == NULL) {
        refuse_move(ring, socket, token);
        return;
    }
    uint32_t index = acquire_move(ring);
    ring->moves[index] =
        (struct ring_move_request){.target = bank, .socket = socket, .token = token};
    slot->flags |= SLOT_BUSY;
    atomic_fetch_add_explicit(&target->moves_begun, 1, memory_order_release);
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring_bank_of(ring, socket.slot));
    uint64_t data = ring_user_index(RING_OP_MOVE_IN, token);
    if (ring->is_direct) {
        io_uring_prep_rw(IORING_OP_MSG_RING, entry, bank->uring.ring_fd, NULL, 0, data);
        entry->addr = IORING_MSG_SEND_FD;
        entry->addr3 = socket.slot % ring->sockets_per_ring;
        entry->file_index = IORING_FILE_INDEX_ALLOC;
    } else {
        io_uring_prep_rw(IORING_OP_MSG_RING, entry, bank->uring.ring_fd, NULL, (unsigned)slot->fd,
                         data);
    }
    entry->user_data = ring_user_index(RING_OP_MOVE_OUT, index);
}
