/*
 * The io_uring ring: making and ending it, the bank, and the wait. See ring.h for the rules,
 * core/README.md for the measurements behind them. One shard's; its thread's, but for ring_wake and
 * the claim of room.
 */
#include "ring_uring_internal.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"

enum { DESCRIPTORS_MARGIN = 64, SOCKETS_PER_RING_MAX = 65536 };

static const unsigned setup_flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                                    IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
                                    IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;

uint64_t ring_user_data(enum ring_operation operation, struct ring_socket socket, uint8_t watch)
{
    return (uint64_t)operation << 56 | (uint64_t)socket.generation << 32 | (uint64_t)watch << 24 |
           socket.slot;
}

uint64_t ring_user_index(enum ring_operation operation, uint64_t data)
{
    return (uint64_t)operation << 56 | data;
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

uint64_t ring_now_ns(const struct ring *ring)
{
    (void)ring;
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t ring_wall_ms(const struct ring *ring)
{
    (void)ring;
    return clock_ns(CLOCK_REALTIME) / 1000000;
}

enum ring_mode ring_mode(const struct ring *ring)
{
    return ring->is_direct ? RING_MODE_DIRECT : RING_MODE_PLAIN;
}

uint32_t ring_sockets_max(const struct ring *ring)
{
    return ring->sockets_max;
}

const struct ring_counters *ring_counters(const struct ring *ring)
{
    return &ring->counters;
}

/* First integer of a small file such as a sysctl; `fallback` when it cannot be read. */
static long read_number(const char *path, const char *key, long fallback)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return fallback;
    char line[256];
    long value = fallback;
    size_t key_bytes = strlen(key);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (strncmp(line, key, key_bytes) == 0) {
            value = strtol(line + key_bytes, NULL, 10);
            break;
        }
    }
    fclose(file);
    return value;
}

static void explain_setup_error(int status, char *error, size_t error_bytes)
{
    static const char allow[] =
        "allow io_uring_setup, io_uring_enter and io_uring_register (in a container: its seccomp "
        "profile)";
    long disabled = read_number("/proc/sys/kernel/io_uring_disabled", "", 0);
    long seccomp = read_number("/proc/self/status", "Seccomp:", 0);
    if (status == -EPERM && disabled != 0)
        snprintf(error, error_bytes,
                 "io_uring is forbidden by kernel.io_uring_disabled=%ld; remedy: sysctl -w "
                 "kernel.io_uring_disabled=0, or with 1 a group in kernel.io_uring_group",
                 disabled);
    else if ((status == -EPERM || status == -ENOSYS || status == -EACCES) && seccomp != 0)
        snprintf(error, error_bytes, "io_uring is forbidden by a seccomp filter (%s); remedy: %s",
                 strerror(-status), allow);
    else if (status == -EPERM || status == -EACCES)
        snprintf(error, error_bytes,
                 "io_uring is forbidden by a security module (%s); remedy: a rule of SELinux or "
                 "AppArmor that permits io_uring to this program",
                 strerror(-status));
    else if (status == -ENOSYS)
        snprintf(error, error_bytes,
                 "this kernel is built without io_uring; remedy: one with CONFIG_IO_URING=y");
    else if (status == -EINVAL)
        snprintf(error, error_bytes,
                 "io_uring refuses the set-up flags; remedy: Linux 6.1 or newer");
    else if (status == -EMFILE)
        snprintf(error, error_bytes,
                 "RLIMIT_NOFILE is too small; remedy: raise it (ulimit -n, LimitNOFILE=)");
    else if (status == -ENOMEM)
        snprintf(error, error_bytes,
                 "io_uring_setup: no memory; remedy: raise RLIMIT_MEMLOCK (ulimit -l, "
                 "LimitMEMLOCK=) or the memory of this control group");
    else
        snprintf(error, error_bytes, "io_uring_setup: %s", strerror(-status));
}

/* The kernel's version, RLIMIT_NOFILE, and whether a ring can be had at all. */
static int check_system(uint32_t *out_descriptors, char *error, size_t error_bytes)
{
    struct utsname name;
    uname(&name);
    char *rest = name.release;
    long major = strtol(rest, &rest, 10);
    long minor = *rest == '.' ? strtol(rest + 1, NULL, 10) : 0;
    if (major < 6 || (major == 6 && minor < 1)) {
        snprintf(error, error_bytes, "kernel %s is too old; remedy: Linux 6.1 or newer",
                 name.release);
        return -ENOSYS;
    }
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (limit.rlim_cur < 256) {
        snprintf(error, error_bytes,
                 "RLIMIT_NOFILE is %llu, at least 256 are needed; remedy: raise it (ulimit -n, "
                 "LimitNOFILE=)",
                 (unsigned long long)limit.rlim_cur);
        return -EMFILE;
    }
    *out_descriptors = (uint32_t)ps_min_u64(limit.rlim_cur, 1U << 20);
    struct io_uring uring;
    struct io_uring_params parameters = {.flags = setup_flags, .cq_entries = 16};
    int status = io_uring_queue_init_params(8, &uring, &parameters);
    if (status < 0) {
        explain_setup_error(status, error, error_bytes);
        return status;
    }
    io_uring_queue_exit(&uring);
    return 0;
}

/* How many sockets there can be, in how many rings. Plain mode has one ring. */
static void size_bank(struct ring *ring, const struct ring_options *options, uint32_t descriptors)
{
    uint32_t sockets_max = ps_min_u32(options->sockets_max, RING_SLOTS_MAX);
    uint32_t plain = descriptors - DESCRIPTORS_MARGIN;
    plain -= ps_min_u32(plain / 2, options->descriptors_kept);
    plain = ps_max_u32(1, plain / ps_max_u32(1, options->ring_count));
    uint32_t per_ring = ring->is_direct ? ps_min_u32(descriptors, SOCKETS_PER_RING_MAX) : plain;
    if (ring->is_direct && options->sockets_per_ring_max != 0)
        per_ring = ps_min_u32(per_ring, options->sockets_per_ring_max);
    ring->sockets_per_ring = ps_min_u32(per_ring, sockets_max);
    uint32_t bank_max = (sockets_max + ring->sockets_per_ring - 1) / ring->sockets_per_ring;
    ring->bank_max = ring->is_direct ? ps_min_u32(bank_max, RING_BANK_MAX) : 1;
    uint64_t room = (uint64_t)ring->bank_max * ring->sockets_per_ring;
    ring->sockets_max = (uint32_t)ps_min_u64(sockets_max, room);
}

int ring_create(const struct ring_options *options, struct ring **out_ring, char *error,
                size_t error_bytes)
{
    ps_assert(options->sockets_max > 0);
    uint32_t descriptors = 0;
    int status = check_system(&descriptors, error, error_bytes);
    if (status < 0)
        return status;
    struct ring *ring = calloc(1, sizeof(*ring));
    if (ring == NULL) {
        snprintf(error, error_bytes, "out of memory");
        return -ENOMEM;
    }
    ring->is_direct = options->mode == RING_MODE_DIRECT ||
                      (options->mode == RING_MODE_AUTO && ring_probe_direct());
    size_bank(ring, options, descriptors);
    ring->wake_fd = -1;
    for (uint32_t i = 0; i < RING_LISTENERS_MAX; i++)
        ring->listener_fds[i] = -1;
    ring->wake_fd = eventfd(0, EFD_CLOEXEC);
    if (ring->wake_fd < 0) {
        status = -errno;
        snprintf(error, error_bytes, "eventfd: %s", strerror(errno));
        ring_destroy(ring);
        return status;
    }
    *out_ring = ring;
    return 0;
}

static void arm_wake(struct ring *ring)
{
    struct io_uring_sqe *entry = ring_bank_entry(ring, ring->bank[0]);
    io_uring_prep_read(entry, ring->wake_fd, &ring->wake_value, sizeof(ring->wake_value), 0);
    entry->user_data = ring_user_index(RING_OP_WAKE, 0);
}

int ring_start(struct ring *ring)
{
    int status = ring_bank_add(ring, true);
    if (status < 0)
        return status;
    ring->thread_id = gettid();
    io_uring_register_ring_fd(&ring->bank[0]->uring);
    arm_wake(ring);
    ring_bank_submit(ring, ring->bank[0]);
    return 0;
}

/* Plain mode: closes the descriptors that only this ring knows. What has completed and was not
 * reaped says which these are; nothing can be submitted any more, least of all from another thread.
 */
static void close_descriptors(struct ring *ring, struct bank_ring *bank)
{
    struct io_uring_cqe *completion = NULL;
    while (io_uring_cq_ready(&bank->uring) != 0 &&
           io_uring_peek_cqe(&bank->uring, &completion) == 0) {
        enum ring_operation operation = (enum ring_operation)(completion->user_data >> 56);
        uint64_t data = completion->user_data & ((1ULL << 56) - 1);
        if (operation == RING_OP_CLOSE)
            bank->slots[data & (RING_SLOTS_MAX - 1)].flags = 0;
        else if (operation == RING_OP_MOVE_OUT && completion->res >= 0)
            bank->slots[ring->moves[data].socket.slot].flags = 0;
        else if ((operation == RING_OP_ACCEPT || operation == RING_OP_MOVE_IN) &&
                 completion->res >= 0)
            close(completion->res);
        io_uring_cqe_seen(&bank->uring, completion);
    }
    for (uint32_t slot = 0; slot < ring->sockets_per_ring; slot++) {
        if (bank->slots[slot].flags & (SLOT_OPEN | SLOT_CLOSING))
            close(bank->slots[slot].fd);
    }
}

void ring_destroy(struct ring *ring)
{
    if (ring == NULL)
        return;
    ring_file_drain(ring);
    for (uint32_t i = 0; i < ring->bank_count; i++) {
        struct bank_ring *bank = ring->bank[i];
        if (!ring->is_direct)
            close_descriptors(ring, bank);
        io_uring_queue_exit(&bank->uring);
        free(bank->slots);
        free(bank);
    }
    for (uint32_t i = 0; i < RING_LISTENERS_MAX; i++) {
        if (ring->listener_fds[i] >= 0)
            close(ring->listener_fds[i]);
    }
    if (ring->wake_fd >= 0)
        close(ring->wake_fd);
    free(ring->queue);
    free(ring->moves);
    free(ring);
}

int ring_bank_add(struct ring *ring, bool is_main)
{
    uint32_t index = ring->bank_count;
    /* The table has no slot above ring_sockets_max: the kernel would use it some day. */
    uint32_t sockets =
        ps_min_u32(ring->sockets_per_ring, ring->sockets_max - index * ring->sockets_per_ring);
    struct bank_ring *bank = calloc(1, sizeof(*bank));
    struct ring_slot *slots = calloc(ring->sockets_per_ring, sizeof(*slots));
    if (bank == NULL || slots == NULL) {
        free(bank);
        free(slots);
        return -ENOMEM;
    }
    struct io_uring_params parameters = {
        .flags = setup_flags,
        .cq_entries = is_main ? RING_MAIN_COMPLETIONS : RING_CHILD_COMPLETIONS,
    };
    int status = io_uring_queue_init_params(is_main ? RING_MAIN_ENTRIES : RING_CHILD_ENTRIES,
                                            &bank->uring, &parameters);
    if (status < 0)
        goto fail;
    if (ring->is_direct)
        status = io_uring_register_files_sparse(&bank->uring, sockets);
    if (status == 0 && !is_main)
        status = io_uring_register_eventfd(&bank->uring, ring->wake_fd);
    if (status < 0) {
        io_uring_queue_exit(&bank->uring);
        goto fail;
    }
    bank->slots = slots;
    for (uint32_t i = 0; i < ring->sockets_per_ring; i++)
        slots[i].fd = i + 1 < ring->sockets_per_ring ? (int32_t)i + 1 : -1;
    atomic_store_explicit(&bank->room, (int32_t)sockets, memory_order_relaxed);
    ring->bank[index] = bank;
    atomic_store_explicit(&ring->bank_count, index + 1, memory_order_release);
    ring->counters.rings++;
    return 0;
fail:
    free(bank);
    free(slots);
    return status;
}

static bool claim_room(struct bank_ring *bank)
{
    if (atomic_load_explicit(&bank->room, memory_order_relaxed) <= 0)
        return false;
    if (atomic_fetch_sub_explicit(&bank->room, 1, memory_order_relaxed) > 0)
        return true;
    atomic_fetch_add_explicit(&bank->room, 1, memory_order_relaxed);
    return false;
}

struct bank_ring *ring_bank_claim(struct ring *ring, bool may_create, uint32_t *out_index)
{
    for (;;) {
        uint32_t count = atomic_load_explicit(&ring->bank_count, memory_order_acquire);
        for (uint32_t i = 0; i < count; i++) {
            if (claim_room(ring->bank[i])) {
                *out_index = i;
                return ring->bank[i];
            }
        }
        if (!may_create || count >= ring->bank_max || ring_bank_add(ring, false) < 0)
            return NULL;
    }
}

/* Others move sockets only to rings that exist, so the bank grows while it has room still. */
static void grow_ahead(struct ring *ring)
{
    uint32_t count = ring->bank_count;
    if (count == ring->bank_max || ring->is_growth_failed)
        return;
    int64_t wanted = ((int64_t)ring->sockets_per_ring + 1) / 2;
    int64_t room = 0;
    for (uint32_t i = count; i-- > 0 && room <= wanted;)
        room += atomic_load_explicit(&ring->bank[i]->room, memory_order_relaxed);
    if (room <= wanted)
        ring->is_growth_failed = ring_bank_add(ring, false) < 0;
}

void ring_bank_submit(struct ring *ring, struct bank_ring *bank)
{
    while (io_uring_sq_ready(&bank->uring) != 0) {
        ring->counters.enters++;
        int status = io_uring_submit(&bank->uring);
        if (status == -EINTR)
            continue;
        if (status == -EBUSY || status == -EAGAIN) {
            ring->counters.overflows++;
            io_uring_get_events(&bank->uring);
            for (uint32_t i = 0; i < ring->bank_count; i++)
                if (ring->bank[i] == bank)
                    ring_bank_reap(ring, i);
            continue;
        }
        ps_assert(status >= 0);
    }
    bank->is_queued = false;
}

struct io_uring_sqe *ring_bank_entry(struct ring *ring, struct bank_ring *bank)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&bank->uring);
    if (entry == NULL) {
        ring_bank_submit(ring, bank);
        entry = io_uring_get_sqe(&bank->uring);
        ps_assert(entry != NULL);
    }
    bank->is_queued = true;
    return entry;
}

static bool has_task_work(const struct io_uring *uring)
{
    unsigned flags = __atomic_load_n(uring->sq.kflags, __ATOMIC_ACQUIRE);
    return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

/* Lets one ring's deferred work run and takes its completions, when it has any. */
static void poll_bank_ring(struct ring *ring, uint32_t index)
{
    struct bank_ring *bank = ring->bank[index];
    if (bank->is_queued)
        ring_bank_submit(ring, bank);
    if (has_task_work(&bank->uring)) {
        ring->counters.enters++;
        io_uring_get_events(&bank->uring);
    }
    ring_bank_reap(ring, index);
}

/* Sleeps on the main ring; the others' completions reach it through the eventfd. */
static int sleep_until(struct ring *ring, uint64_t deadline_ns)
{
    uint64_t now_ns = ring_now_ns(ring);
    if (deadline_ns <= now_ns)
        return 0;
    uint64_t wait_ns = ps_min_u64(deadline_ns - now_ns, 3600000000000ULL);
    struct __kernel_timespec timeout = {
        .tv_sec = (int64_t)(wait_ns / 1000000000ULL),
        .tv_nsec = (long long)(wait_ns % 1000000000ULL),
    };
    struct io_uring_cqe *completion = NULL;
    ring->counters.enters++;
    int status =
        io_uring_submit_and_wait_timeout(&ring->bank[0]->uring, &completion, 1, &timeout, NULL);
    ring->bank[0]->is_queued = io_uring_sq_ready(&ring->bank[0]->uring) != 0;
    if (status >= 0 || status == -ETIME || status == -EINTR || status == -EBUSY ||
        status == -EAGAIN)
        return 0;
    return status;
}

/* Settles what giving this event means. False: it tells of a socket or a watch that is over. */
static bool take_event(struct ring *ring, const struct ring_event *event)
{
    if (event->kind == RING_ACCEPT_FAILED || event->kind == RING_MOVED_OUT)
        return true;
    struct ring_slot *slot = ring_slot_live(ring, event->socket);
    if (slot == NULL) {
        ring->counters.stale++;
        return false;
    }
    if (event->kind == RING_CONNECTED && event->result < 0)
        ring_slot_close(ring, event->socket, false);
    if (event->kind == RING_READABLE || event->kind == RING_WRITABLE) {
        uint8_t queued = event->kind == RING_READABLE ? SLOT_READ_QUEUED : SLOT_WRITE_QUEUED;
        if ((slot->flags & queued) == 0)
            return false; /* unwatched since */
        slot->flags &= (uint8_t)~queued;
    }
    return true;
}

static uint32_t give_events(struct ring *ring, struct ring_event *events, uint32_t events_max)
{
    uint32_t count = 0;
    while (count < events_max && ring->queue_count != 0) {
        const struct ring_event *event = &ring->queue[ring->queue_head];
        ring->queue_head = (ring->queue_head + 1) & (ring->queue_capacity - 1);
        ring->queue_count--;
        if (event->kind == RING_ACCEPTED)
            ring->accepted_queued--;
        if (take_event(ring, event))
            events[count++] = *event;
    }
    return count;
}

/* True when ring_wait has something to do or to tell at once. A child ring whose work did not fit
 * into one pass, or for which a handler has queued something, rings no eventfd for it. */
static bool is_busy(const struct ring *ring)
{
    if (ring->queue_count != 0 || ring->is_woken || ring->files_done_first != NULL ||
        io_uring_cq_ready(&ring->bank[0]->uring) != 0)
        return true;
    for (uint32_t i = 1; i < ring->bank_count; i++) {
        if (ring->bank[i]->is_queued || has_task_work(&ring->bank[i]->uring))
            return true;
    }
    return false;
}

/* The kernel's thread that writes or syncs for this shard may have to run on this core. A shard
 * that does not sleep lets it, once a turn: it would wait for the end of a slice else, some
 * milliseconds (perf/wildcard). */
static void yield_to_workers(struct ring *ring)
{
    if (ring->bank[0]->is_queued)
        ring_bank_submit(ring, ring->bank[0]);
    sched_yield();
}

int ring_wait(struct ring *ring, uint64_t deadline_ns, struct ring_event *events,
              uint32_t events_max)
{
    ps_assert(events_max > 0);
    grow_ahead(ring);
    for (uint32_t i = 1; i < ring->bank_count; i++)
        poll_bank_ring(ring, i);
    bool may_sleep = !is_busy(ring) && deadline_ns > ring_now_ns(ring);
    if (may_sleep) {
        int status = sleep_until(ring, deadline_ns);
        if (status < 0)
            return status;
        for (uint32_t i = 1; i < ring->bank_count; i++)
            poll_bank_ring(ring, i);
    }
    if (!may_sleep && ring->writes_begun != 0)
        yield_to_workers(ring);
    poll_bank_ring(ring, 0);
    ring->is_woken = false;
    return (int)give_events(ring, events, events_max);
}

void ring_wake(struct ring *ring)
{
    if (atomic_exchange_explicit(&ring->is_wake_pending, true, memory_order_acq_rel))
        return;
    uint64_t one = 1;
    ssize_t written = write(ring->wake_fd, &one, sizeof(one));
    ps_assert(written == sizeof(one));
}

struct ring_event *ring_queue_event(struct ring *ring, enum ring_event_kind kind)
{
    if (ring->queue_count == ring->queue_capacity) {
        uint32_t capacity = ring->queue_capacity == 0 ? 1024 : ring->queue_capacity * 2;
        struct ring_event *grown = malloc(capacity * sizeof(*grown));
        ps_assert(grown != NULL);
        for (uint32_t i = 0; i < ring->queue_count; i++)
            grown[i] = ring->queue[(ring->queue_head + i) & (ring->queue_capacity - 1)];
        free(ring->queue);
        ring->queue = grown;
        ring->queue_head = 0;
        ring->queue_capacity = capacity;
    }
    uint32_t at = (ring->queue_head + ring->queue_count++) & (ring->queue_capacity - 1);
    ring->queue[at] = (struct ring_event){.kind = kind};
    return &ring->queue[at];
}

/* Completions that concern the ring itself. It may be a batch that reaps this one: the next
 * ring_wait must know of it all the same. */
static void on_wake(struct ring *ring)
{
    /* An exchange and not a store: what a waker wrote before it found the flag set must be visible
     * to what is read after this. */
    atomic_exchange_explicit(&ring->is_wake_pending, false, memory_order_acq_rel);
    ring->is_woken = true;
    arm_wake(ring);
}

static void tell_accepted(struct ring *ring, const struct ring_accept_request *request,
                          uint32_t listener, struct ring_socket socket)
{
    struct ring_event *event = ring_queue_event(ring, RING_ACCEPTED);
    event->socket = socket;
    event->listener = listener;
    ring->counters.accepts++;
    ring->accepted_queued++;
    uint32_t peer = ring->peer_count++ % (2 * RING_ACCEPTS_MAX);
    ring->peers[peer] = request->address;
    event->peer = &ring->peers[peer];
}

static void on_accept(struct ring *ring, uint32_t index, uint64_t request_index, int32_t result)
{
    struct ring_accept_request *request = &ring->accepts[request_index];
    uint32_t listener = request->listener - 1;
    request->listener = 0;
    ring->accepts_armed--;
    if (result >= 0) {
        struct ring_socket socket = ring_slot_open(ring, index, result);
        if (request->is_silent)
            ring_slot_close(ring, socket, false);
        else
            tell_accepted(ring, request, listener, socket);
        return;
    }
    atomic_fetch_add_explicit(&ring->bank[index]->room, 1, memory_order_relaxed);
    if (request->is_silent)
        return;
    struct ring_event *event = ring_queue_event(ring, RING_ACCEPT_FAILED);
    event->listener = listener;
    event->result = result;
}

static void on_poll(struct ring *ring, const struct io_uring_cqe *completion,
                    struct ring_socket socket, bool is_write)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    bool is_over = (completion->flags & IORING_CQE_F_MORE) == 0;
    if (slot == NULL || slot->watch != (uint8_t)(completion->user_data >> 24)) {
        ring->counters.stale++;
        if (!is_over)
            ring_cancel(ring, ring_bank_of(ring, socket.slot), completion->user_data);
        return;
    }
    uint8_t armed = is_write ? SLOT_WRITE_ARMED : SLOT_READ_ARMED;
    uint8_t queued = is_write ? SLOT_WRITE_QUEUED : SLOT_READ_QUEUED;
    if (is_over) {
        slot->flags &= (uint8_t)~armed;
        if (!is_write && (slot->flags & SLOT_READ_PERSISTENT))
            ring_watch_readable(ring, socket);
    }
    /* SOCK_NONEMPTY does not tell of a reset behind the last bytes; one poll may tell of both. */
    bool is_end = completion->res > 0 && (completion->res & (POLLERR | POLLHUP | POLLRDHUP)) != 0;
    slot->has_ended |= is_end && !is_write;
    if (slot->flags & queued)
        return;
    slot->flags |= queued;
    ring_queue_event(ring, is_write ? RING_WRITABLE : RING_READABLE)->socket = socket;
}

/* A poll could not be removed. -EALREADY: it is being woken, and when it then finds nothing to
 * tell, because a receive was faster, a standing one would stay, and with it the closed socket. */
static void on_removed(struct ring *ring, uint32_t index, enum ring_operation poll, uint64_t data,
                       int32_t result)
{
    if (result == -EALREADY)
        ring_cancel(ring, ring->bank[index], ring_user_index(poll, data));
}

static void on_received(struct ring *ring, struct ring_receive *request, int32_t result,
                        uint32_t flags)
{
    const struct ring_slot *slot = ring_slot_of(ring, request->socket.slot);
    bool has_bytes = (flags & IORING_CQE_F_SOCK_NONEMPTY) != 0;
    request->result = result;
    request->has_more = result > 0 && (has_bytes || slot->has_ended);
    ring->undecided--;
}

static void on_connect(struct ring *ring, struct ring_socket socket, int32_t result)
{
    struct ring_slot *slot = ring_slot_live(ring, socket);
    if (slot == NULL) {
        ring->counters.stale++;
        return;
    }
    slot->flags &= (uint8_t)~SLOT_BUSY;
    struct ring_event *event = ring_queue_event(ring, RING_CONNECTED);
    event->socket = socket;
    event->result = result;
    event->token = ring_connect_forget(ring, socket);
}

static void on_move_out(struct ring *ring, uint64_t index, int32_t result)
{
    struct ring_move_request move = ring->moves[index];
    ring->moves[index].next_free = ring->move_free;
    ring->move_free = (uint32_t)index + 1;
    struct ring_event *event = ring_queue_event(ring, RING_MOVED_OUT);
    event->socket = move.socket;
    event->token = move.token;
    event->result = result < 0 ? result : 0;
    struct ring_slot *slot = ring_slot_of(ring, move.socket.slot);
    slot->flags &= (uint8_t)~SLOT_BUSY;
    if (result < 0) {
        ring->counters.moves_failed++;
        atomic_fetch_add_explicit(&move.target->room, 1, memory_order_relaxed);
        return;
    }
    if (ring->is_direct) {
        ring_slot_close(ring, move.socket, false);
        return;
    }
    /* The descriptor is the target's from here: the slot goes without a close. */
    struct bank_ring *bank = ring_bank_of(ring, move.socket.slot);
    slot->flags = 0;
    slot->generation++;
    slot->fd = bank->free_head;
    bank->free_head = (int32_t)(move.socket.slot % ring->sockets_per_ring);
    atomic_fetch_add_explicit(&bank->room, 1, memory_order_relaxed);
    ring->counters.sockets--;
}

static void on_move_in(struct ring *ring, uint32_t index, uint64_t token, int32_t result)
{
    struct ring_socket socket = ring_slot_open(ring, index, result);
    (void)atomic_load_explicit(&ring->moves_begun, memory_order_acquire);
    struct ring_event *event = ring_queue_event(ring, RING_MOVED_IN);
    event->socket = socket;
    event->token = token;
    ring->counters.moves++;
}

static void on_close(struct ring *ring, uint32_t index, uint32_t slot)
{
    struct bank_ring *bank = ring->bank[index];
    if (!ring->is_direct) {
        ring_slot_of(ring, slot)->flags = 0;
        ring_slot_of(ring, slot)->fd = bank->free_head;
        bank->free_head = (int32_t)(slot % ring->sockets_per_ring);
    }
    atomic_fetch_add_explicit(&bank->room, 1, memory_order_relaxed);
}

static void dispatch(struct ring *ring, uint32_t index, const struct io_uring_cqe *completion)
{
    uint64_t data = completion->user_data & ((1ULL << 56) - 1);
    int32_t result = completion->res;
    const struct ring_socket socket = {
        .slot = (uint32_t)data & (RING_SLOTS_MAX - 1),
        .generation = (uint32_t)(data >> 32),
    };
    switch ((enum ring_operation)(completion->user_data >> 56)) {
    case RING_OP_IGNORE:
        break;
    case RING_OP_WAKE:
        on_wake(ring);
        break;
    case RING_OP_ACCEPT:
        on_accept(ring, index, data, result);
        break;
    case RING_OP_POLL_IN:
        on_poll(ring, completion, socket, false);
        break;
    case RING_OP_POLL_OUT:
        on_poll(ring, completion, socket, true);
        break;
    case RING_OP_REMOVE_IN:
        on_removed(ring, index, RING_OP_POLL_IN, data, result);
        break;
    case RING_OP_REMOVE_OUT:
        on_removed(ring, index, RING_OP_POLL_OUT, data, result);
        break;
    case RING_OP_RECEIVE:
        on_received(ring, &ring->receives[data], result, completion->flags);
        break;
    case RING_OP_SEND:
        ring->sends[data].result = result;
        ring->counters.sends_short++;
        break;
    case RING_OP_CONNECT:
        on_connect(ring, socket, result);
        break;
    case RING_OP_INSTALL:
        ring->install_result = result;
        break;
    case RING_OP_CLOSE:
        on_close(ring, index, socket.slot);
        break;
    case RING_OP_MOVE_OUT:
        on_move_out(ring, data, result);
        break;
    case RING_OP_MOVE_IN:
        on_move_in(ring, index, data, result);
        break;
    case RING_OP_FILE:
        ring_files_on_answer(ring, (uint32_t)data, result);
        break;
    }
}

void ring_bank_reap(struct ring *ring, uint32_t index)
{
    struct io_uring *uring = &ring->bank[index]->uring;
    struct io_uring_cqe *completion = NULL;
    while (io_uring_cq_ready(uring) != 0 && io_uring_peek_cqe(uring, &completion) == 0) {
        /* Given back before it is handled: a handler that finds the submission queue full may reap
         * too. */
        struct io_uring_cqe copy = *completion;
        io_uring_cqe_seen(uring, completion);
        ring->counters.completions++;
        dispatch(ring, index, &copy);
    }
}
