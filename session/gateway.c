/*
 * The assembly of a gateway; see gateway.h.
 *
 * Start: the broker's store, then for each shard heap, ring, shard, broker handle, hub; listeners
 * on every shard; helper thread; shard threads, which meet at a barrier when their rings are
 * started. Stop runs the other way.
 */
#include "session/gateway.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/helper_thread.h"
#include "core/log.h"
#include "core/text.h"
#include "core/topology.h"
#include "net/address.h"
#include "net/admin_http.h"
#include "net/source_limit.h"
#include "session/authorizer.h"
#include "session/gateway_check.h"
#include "session/gateway_config.h"
#include "session/gateway_metrics.h"
#include "session/gateway_shard.h"
#include "session/gateway_store.h"
#include "session/hub.h"
#include "session/password_file.h"
#include "session/sys_topics.h"

enum {
    MAILBOX_RESERVED_MAX = 16384,
    MAILBOX_BYTES_MAX = 32 << 20,
    DESCRIPTORS_MARGIN = 128, /* for listeners, rings and the library's own */
    DESCRIPTORS_PER_RING_MAX = 65536,
    LOG_DRAIN_MS = 50,
    SYS_REFRESH_MS = 200
};

/* A shard with its thread. */
struct shard_thread {
    struct gateway_shard shard;
    struct gateway *gateway;
    struct gateway_common common; /* the gateway's, with limits of its own: */
    struct net_limits net_limits; /* replaced by the shard's thread when there are newer ones */
    struct hub_limits hub_limits;
    uint32_t limits_version;
    _Atomic uint32_t seen_version; /* the same, for the main thread to read at any time */
    struct gateway_metrics_values metrics;
    pthread_t thread;
    bool is_running;
    int status; /* of the ring's start */
    _Atomic bool is_done;
    bool is_shutting_down;
};

/* A password file that a reload has replaced. It goes when every shard has seen a later version, so
 * that no check begins with it any more, and a fence has come through the helper's queue behind
 * those that had begun. Looked at by each reload, so that a few are kept, not one for each. */
struct retired_passwords {
    struct retired_passwords *next;
    uint32_t version; /* limits_version that the reload made */
    bool is_fenced;
    struct helper_job fence;
    _Atomic bool is_passed;
    struct password_file *file;
};

struct gateway {
    struct heap *heap; /* the main thread's */
    struct log *log;
    const struct gateway_config *config;
    struct topology topology;
    struct heap_budget budget;
    struct heap helper_heap;
    struct gateway_store *store;
    struct helper *helper;
    struct metrics *metrics;
    struct sys_publisher *sys;
    struct password_file *passwords;
    struct retired_passwords *retired; /* older files, which a check under way may still use */
    struct admin_http *admin;
    struct sockaddr_storage admin_address;
    struct net_limits net_limits;
    struct hub_limits hub_limits;
    struct net_shared net_shared;
    struct source_limit *sources;
    struct hub_shared hub_shared;
    struct sockaddr_storage addresses[NET_LISTENERS_MAX];
    uint32_t address_count;
    uint32_t shard_count;
    struct gateway_common common;
    struct shard_thread *shards;
    struct hub **hubs;
    struct ring **rings;
    struct shard **peers;
    pthread_barrier_t started;
    _Atomic bool is_started;
    _Atomic bool is_stopping;
    pthread_mutex_t limits_mutex; /* net_limits and hub_limits, of which each shard has a copy */
    _Atomic uint32_t limits_version;
};

uint32_t gateway_record_bytes_max(const struct gateway_config *config)
{
    struct topology topology;
    topology_read(&topology);
    return gateway_store_record_bytes_max(config, gateway_config_shards(config, &topology));
}

static uint64_t random_word(void)
{
    uint64_t word = 0;
    ssize_t got = getrandom(&word, sizeof(word), 0);
    ps_assert(got == sizeof(word));
    return word;
}

/* Takes over what a reload has changed. */
static void copy_limits(struct shard_thread *own)
{
    struct gateway *gateway = own->gateway;
    uint32_t version = atomic_load_explicit(&gateway->limits_version, memory_order_acquire);
    if (ps_likely(version == own->limits_version))
        return;
    own->limits_version = version;
    pthread_mutex_lock(&gateway->limits_mutex);
    own->net_limits = gateway->net_limits;
    own->hub_limits = gateway->hub_limits;
    pthread_mutex_unlock(&gateway->limits_mutex);
    atomic_store_explicit(&own->seen_version, version, memory_order_release);
}

/* Runs once a turn: snapshots for the readers, what a reload has changed, and the way out. */
static bool housekeeping(void *context, struct shard *shard)
{
    struct shard_thread *own = context;
    struct net *net = own->shard.hub->net;
    copy_limits(own);
    gateway_metrics_publish(&own->metrics, own->shard.hub, own->shard.broker, shard, shard->ring);
    if (!atomic_load_explicit(&own->gateway->is_stopping, memory_order_acquire))
        return false;
    if (!own->is_shutting_down) {
        own->is_shutting_down = true;
        own->shard.hub->is_stopping = true;
        net_shutdown(net);
    }
    if (net_counters(net)->connections == 0 && own->shard.hub->sessions.count == 0 &&
        hub_is_idle(own->shard.hub) &&
        gateway_store_is_idle(own->gateway->store, own->shard.broker)) {
        own->shard.hub->is_at_rest = true;
        atomic_store_explicit(&own->is_done, true, memory_order_release);
    }
    return false;
}

static int create_shard(struct gateway *gateway, uint32_t index, char *error)
{
    struct shard_thread *own = &gateway->shards[index];
    own->gateway = gateway;
    const struct ring_options ring = {
        .sockets_max = gateway->common.sockets_max,
        .mode = (enum ring_mode)gateway->config->ring_mode,
        .descriptors_kept = gateway_store_descriptors_max(gateway->store),
        .ring_count = gateway->shard_count,
    };
    int status = ring_create(&ring, &gateway->rings[index], error, GATEWAY_ERROR_BYTES);
    if (status < 0)
        return status;
    snprintf(error, GATEWAY_ERROR_BYTES,
             "memory.bytes_max: %" PRIi64 " bytes do not suffice to start %u shards; remedy: more, "
             "fewer shards, or a smaller session.recent_bytes_max",
             gateway->budget.bytes_max, gateway->shard_count);
    own->net_limits = gateway->net_limits;
    own->hub_limits = gateway->hub_limits;
    own->common = gateway->common;
    own->common.net_limits = &own->net_limits;
    own->common.hub_limits = &own->hub_limits;
    status = gateway_shard_create(&own->shard, &own->common, index, random_word());
    if (status < 0)
        return status;
    atomic_store_explicit(&own->shard.authorizer.file, gateway->passwords, memory_order_release);
    const struct shard_step step = {.name = "housekeeping", .run = housekeeping, .context = own};
    shard_add_step(own->shard.shard, &step);
    return gateway_metrics_register(gateway->metrics, &own->metrics, index);
}

static void *run_shard(void *context)
{
    struct shard_thread *own = context;
    struct shard *shard = own->shard.shard;
    struct topology_place place;
    topology_pin(&own->gateway->topology, shard->index, &place);
    own->status = ring_start(shard->ring);
    pthread_barrier_wait(&own->gateway->started);
    if (own->status == 0)
        shard_run(shard);
    return NULL;
}

static void explain_address(const char *key, const char *text, int status, char *error)
{
    const char *remedy = "";
    if (status == -EADDRINUSE)
        remedy = "; another program (or this one) listens there; port 0 takes a free one";
    else if (status == -EADDRNOTAVAIL)
        remedy = "; allowed: an address of this host";
    else if (status == -EACCES)
        remedy = "; ports below 1024 need CAP_NET_BIND_SERVICE";
    snprintf(error, GATEWAY_ERROR_BYTES, "%s: %.128s: %s%s", key, text, strerror(-status), remedy);
}

static int listen_on(struct gateway *gateway, const char *text, char *error)
{
    struct sockaddr_storage address;
    socklen_t bytes = 0;
    int status = address_parse(text, &address, &bytes);
    for (uint32_t i = 0; status == 0 && i < gateway->shard_count; i++)
        status = net_listen(gateway->hubs[i]->net, &address, bytes);
    if (status < 0) {
        explain_address("listen", text, status, error);
        return status;
    }
    gateway->addresses[gateway->address_count++] = address;
    return 0;
}

static int listen_all(struct gateway *gateway, char *error)
{
    const struct config_list *list = &gateway->config->listen;
    for (uint32_t i = 0; i < list->count; i++) {
        int status = listen_on(gateway, list->items[i], error);
        if (status < 0)
            return status;
    }
    return 0;
}

static void drain_log(void *context)
{
    log_drain(context);
}

static void signal_helper(void *context)
{
    helper_signal(context);
}

static void render_metrics(void *context, struct text *text)
{
    const struct gateway *gateway = context;
    metrics_render_prometheus(gateway->metrics, text);
}

/* Names the shards whose broker cannot commit. False: there are such. */
static bool is_committing(const struct gateway *gateway, struct text *text)
{
    bool is_good = true;
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        const struct gateway_shard *shard = &gateway->shards[i].shard;
        if (!atomic_load_explicit(&shard->is_failing, memory_order_acquire))
            continue;
        text_append(text, "shard %u: the broker cannot commit\n", i);
        is_good = false;
    }
    return is_good;
}

/* It serves what it can; a restart would not help a full disk. */
static bool is_healthy(void *context, struct text *text)
{
    is_committing(context, text);
    return true;
}

static bool is_ready(void *context, struct text *text)
{
    const struct gateway *gateway = context;
    bool is_started = atomic_load_explicit(&gateway->is_started, memory_order_acquire);
    bool is_stopping = atomic_load_explicit(&gateway->is_stopping, memory_order_acquire);
    if (!is_started || is_stopping)
        text_append(text, is_stopping ? "stopping" : "starting");
    return is_committing(gateway, text) && is_started && !is_stopping;
}

static int start_admin(struct gateway *gateway, char *error)
{
    const char *text = gateway->config->admin_listen;
    if (text[0] == '\0')
        return 0;
    socklen_t bytes = 0;
    int status = address_parse(text, &gateway->admin_address, &bytes);
    const struct admin_http_options options = {
        .budget = &gateway->budget,
        .log = gateway->log,
        .callbacks = {gateway, render_metrics, is_healthy, is_ready},
    };
    if (status == 0)
        status = admin_http_start(&options, &gateway->admin_address, bytes, &gateway->admin);
    if (status < 0)
        explain_address("admin.listen", text, status, error);
    else
        status = metrics_register(gateway->metrics, admin_http_metrics, ADMIN_HTTP_METRIC_COUNT,
                                  admin_http_counters(gateway->admin), METRICS_NO_SHARD);
    return status;
}

static int load_passwords(struct gateway *gateway, const struct gateway_config *config,
                          struct password_file **out_file, char *error)
{
    *out_file = NULL;
    if (config->password_file[0] == '\0')
        return 0;
    return password_file_load(gateway->heap, config->password_file, out_file, error,
                              GATEWAY_ERROR_BYTES);
}

static int open_store(struct gateway *gateway, char *error)
{
    const struct gateway_store_options options = {
        .config = gateway->config,
        .shard_count = gateway->shard_count,
        .heap = gateway->heap,
        .log = gateway->log,
        .random_seed = random_word(),
    };
    int status = gateway_store_open(&options, &gateway->store, error);
    if (status == 0) {
        snprintf(error, GATEWAY_ERROR_BYTES, "a thread of the broker, or memory for it");
        status = gateway_store_start(gateway->store);
    }
    return status;
}

/* Everything that the shards share. */
static int create_shared(struct gateway *gateway, char *error)
{
    const struct gateway_config *config = gateway->config;
    gateway->budget.bytes_max = (int64_t)gateway_config_memory_max(config);
    heap_init(&gateway->helper_heap, &gateway->budget);
    topology_read(&gateway->topology);
    gateway->shard_count = gateway_config_shards(config, &gateway->topology);
    gateway_config_net_limits(config, gateway->shard_count, &gateway->net_limits);
    gateway_config_hub_limits(config, &gateway->hub_limits);
    uint32_t count = gateway->shard_count;
    gateway->shards = heap_zalloc(gateway->heap, count * sizeof(struct shard_thread));
    gateway->hubs = heap_zalloc(gateway->heap, count * sizeof(struct hub *));
    gateway->rings = heap_zalloc(gateway->heap, count * sizeof(struct ring *));
    gateway->peers = heap_zalloc(gateway->heap, count * sizeof(struct shard *));
    gateway->sources = heap_zalloc(gateway->heap, sizeof(*gateway->sources));
    snprintf(error, GATEWAY_ERROR_BYTES, "out of memory");
    if (gateway->sources == NULL || gateway->shards == NULL || gateway->hubs == NULL ||
        gateway->rings == NULL || gateway->peers == NULL)
        return -ENOMEM;
    source_limit_init(gateway->sources, random_word(), (uint8_t)config->source_prefix_ipv4,
                      (uint8_t)config->source_prefix_ipv6);
    gateway->net_shared.sources = gateway->sources;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    gateway->hub_shared = (struct hub_shared){
        .seed = random_word(),
        .run = random_word(),
        .hubs = gateway->hubs,
        .hub_count = count,
        .start_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
    };
    int status = open_store(gateway, error);
    if (status == 0)
        status = metrics_create(gateway->heap, &gateway->metrics);
    if (status == 0)
        status = sys_publisher_create(gateway->heap, gateway->metrics, gateway->hub_shared.start_ms,
                                      &gateway->sys);
    if (status == 0)
        status = helper_create(gateway->heap, 0, &gateway->helper);
    if (status == 0)
        status =
            gateway_metrics_register_common(gateway->metrics, &gateway->budget,
                                            &gateway->net_shared, gateway->helper, gateway->log);
    if (status == 0)
        status = load_passwords(gateway, config, &gateway->passwords, error);
    return status;
}

static void describe_common(struct gateway *gateway)
{
    gateway->common = (struct gateway_common){
        .budget = &gateway->budget,
        .log = gateway->log,
        .brokers = {gateway->store, gateway_store_create_broker},
        .helper = gateway->helper,
        .sys = gateway->sys,
        .net_shared = &gateway->net_shared,
        .hub_shared = &gateway->hub_shared,
        .rings = gateway->rings,
        .peers = gateway->peers,
        .sockets_max = (uint32_t)gateway->config->connections_max + 1024,
        .mailbox_entries_max = GATEWAY_MAILBOX_ENTRIES_MAX,
        .mailbox_reserved_max = MAILBOX_RESERVED_MAX,
        .mailbox_bytes_max = MAILBOX_BYTES_MAX,
    };
}

static void refresh_sys(void *context)
{
    sys_publisher_refresh(context);
}

static int start_helper(struct gateway *gateway)
{
    int status = helper_add_periodic(gateway->helper, LOG_DRAIN_MS, drain_log, gateway->log);
    if (status == 0)
        status = helper_add_periodic(gateway->helper, SYS_REFRESH_MS, refresh_sys, gateway->sys);
    if (status == 0)
        status = helper_start(gateway->helper);
    if (status == 0)
        log_defer(gateway->log, signal_helper, gateway->helper);
    return status;
}

/* Starts the threads; they run when all rings have started. */
static int start_threads(struct gateway *gateway, char *error)
{
    pthread_barrier_init(&gateway->started, NULL, gateway->shard_count + 1);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        int status =
            pthread_create(&gateway->shards[i].thread, NULL, run_shard, &gateway->shards[i]);
        if (status != 0) {
            /* The others wait at the barrier for ever: there is no way back but the program's end.
             */
            log_write(gateway->log, LOG_FATAL, "start",
                      "error=\"a thread: %s; raise RLIMIT_NPROC (ulimit -u), TasksMax=\"",
                      strerror(status));
            _exit(2);
        }
        gateway->shards[i].is_running = true;
    }
    pthread_barrier_wait(&gateway->started);
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        if (gateway->shards[i].status < 0) {
            snprintf(error, GATEWAY_ERROR_BYTES, "io_uring on shard %u: %s", i,
                     strerror(-gateway->shards[i].status));
            return gateway->shards[i].status;
        }
    }
    return 0;
}

int gateway_start(struct heap *heap, const struct config *config, struct log *log,
                  struct gateway **out_gateway, char *error)
{
    int status = gateway_check(heap, config, error);
    if (status < 0)
        return status;
    struct gateway *gateway = heap_zalloc(heap, sizeof(*gateway));
    if (gateway == NULL) {
        snprintf(error, GATEWAY_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    gateway->heap = heap;
    gateway->log = log;
    gateway->config = config_values(config);
    pthread_mutex_init(&gateway->limits_mutex, NULL);
    status = create_shared(gateway, error);
    describe_common(gateway);
    for (uint32_t i = 0; status == 0 && i < gateway->shard_count; i++)
        status = create_shard(gateway, i, error);
    if (status == 0)
        status = listen_all(gateway, error);
    if (status == 0)
        status = start_admin(gateway, error);
    if (status == 0)
        status = start_helper(gateway);
    if (status == 0)
        status = start_threads(gateway, error);
    if (status < 0) {
        gateway_stop(gateway);
        return status;
    }
    gateway_check_warn(config, log);
    *out_gateway = gateway;
    return 0;
}

/* RLIMIT_NOFILE bounds what a ring's own table holds, and the number of rings; without tables of
 * their own all connections share it. Enough to start, perhaps not for what is configured. */
static void warn_of_few_descriptors(const struct gateway *gateway)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    uint64_t used = DESCRIPTORS_MARGIN + (uint64_t)gateway_store_descriptors_max(gateway->store);
    uint64_t usable = limit.rlim_cur - ps_min_u64(limit.rlim_cur, used);
    if (ring_mode(gateway->rings[0]) == RING_MODE_DIRECT && usable < UINT32_MAX)
        usable *= ps_min_u64(limit.rlim_cur, DESCRIPTORS_PER_RING_MAX);
    if (usable >= gateway->config->connections_max)
        return;
    log_write(gateway->log, LOG_WARNING, "few_descriptors",
              "connections_max=%" PRIu64 " possible=%" PRIu64
              " remedy=\"raise RLIMIT_NOFILE, now %" PRIu64
              " (ulimit -n, LimitNOFILE=, tools/tune-host), or lower connection.count_max\"",
              gateway->config->connections_max, usable, (uint64_t)limit.rlim_cur);
}

void gateway_announce(struct gateway *gateway)
{
    warn_of_few_descriptors(gateway);
    gateway_store_announce(gateway->store, gateway->config);
    atomic_store_explicit(&gateway->is_started, true, memory_order_release);
    char line[LOG_LINE_BYTES_MAX] = "";
    size_t used = 0;
    for (uint32_t i = 0; i < gateway->address_count; i++) {
        char text[ADDRESS_TEXT_BYTES];
        address_format(&gateway->addresses[i], text);
        used += (size_t)snprintf(line + used, sizeof(line) - used, "listen=%s ", text);
    }
    if (gateway->admin != NULL) {
        char text[ADDRESS_TEXT_BYTES];
        address_format(&gateway->admin_address, text);
        used += (size_t)snprintf(line + used, sizeof(line) - used, "admin=%s ", text);
    }
    bool is_direct = ring_mode(gateway->rings[0]) == RING_MODE_DIRECT;
    log_write(gateway->log, LOG_INFO, "ready", "%sshards=%u descriptors=%s pid=%d", line,
              gateway->shard_count, is_direct ? "direct" : "plain", (int)getpid());
}

static void pass_fence(void *context)
{
    struct retired_passwords *retired = context;
    atomic_store_explicit(&retired->is_passed, true, memory_order_release);
}

static bool is_seen_by_all(const struct gateway *gateway, uint32_t version)
{
    for (uint32_t i = 0; i < gateway->shard_count; i++) {
        uint32_t seen =
            atomic_load_explicit(&gateway->shards[i].seen_version, memory_order_acquire);
        if ((int32_t)(seen - version) < 0)
            return false;
    }
    return true;
}

/* Frees the replaced password files that nobody uses any more. */
static void sweep_passwords(struct gateway *gateway)
{
    struct retired_passwords **link = &gateway->retired;
    while (*link != NULL) {
        struct retired_passwords *retired = *link;
        if (!retired->is_fenced && is_seen_by_all(gateway, retired->version)) {
            retired->fence = (struct helper_job){.run = pass_fence, .context = retired};
            retired->is_fenced = helper_submit(gateway->helper, NULL, &retired->fence) == 0;
        }
        if (!atomic_load_explicit(&retired->is_passed, memory_order_acquire)) {
            link = &retired->next;
            continue;
        }
        *link = retired->next;
        password_file_destroy(gateway->heap, retired->file);
        heap_free(gateway->heap, retired);
    }
}

int gateway_reload(struct gateway *gateway, const struct config *config, char *error)
{
    sweep_passwords(gateway);
    const struct gateway_config *values = config_values(config);
    struct password_file *passwords = NULL;
    int status = load_passwords(gateway, values, &passwords, error);
    if (status < 0)
        return status;
    struct retired_passwords *retired = heap_zalloc(gateway->heap, sizeof(*retired));
    if (retired == NULL) {
        password_file_destroy(gateway->heap, passwords);
        snprintf(error, GATEWAY_ERROR_BYTES, "out of memory");
        return -ENOMEM;
    }
    gateway->config = values;
    log_set_level(gateway->log, (enum log_level)values->log_level);
    pthread_mutex_lock(&gateway->limits_mutex);
    gateway_config_net_limits(values, gateway->shard_count, &gateway->net_limits);
    gateway_config_hub_limits(values, &gateway->hub_limits);
    pthread_mutex_unlock(&gateway->limits_mutex);
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        atomic_store_explicit(&gateway->shards[i].shard.authorizer.file, passwords,
                              memory_order_release);
    retired->version =
        atomic_fetch_add_explicit(&gateway->limits_version, 1, memory_order_release) + 1;
    retired->file = gateway->passwords;
    retired->next = gateway->retired;
    gateway->retired = retired;
    gateway->passwords = passwords;
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        shard_wake(gateway->shards[i].shard.shard);
    return 0;
}

int gateway_repair(struct heap *heap, const struct config *config, struct log *log, char *error)
{
    struct topology topology;
    topology_read(&topology);
    const struct gateway_config *values = config_values(config);
    const struct gateway_store_options options = {
        .config = values,
        .shard_count = gateway_config_shards(values, &topology),
        .heap = heap,
        .log = log,
        .random_seed = random_word(),
        .is_repair = true,
    };
    struct gateway_store *store = NULL;
    int status = gateway_store_open(&options, &store, error);
    /* Not clean: what comes next goes on above all numbers that were given to what was cut. */
    if (status == 0)
        gateway_store_close(store, false);
    return status;
}

void gateway_stop_begin(struct gateway *gateway)
{
    atomic_store_explicit(&gateway->is_stopping, true, memory_order_release);
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        shard_wake(gateway->shards[i].shard.shard);
}

bool gateway_is_drained(const struct gateway *gateway)
{
    bool is_done = true;
    for (uint32_t i = 0; i < gateway->shard_count; i++)
        is_done &= atomic_load_explicit(&gateway->shards[i].is_done, memory_order_acquire);
    return is_done;
}

static void stop_threads(struct gateway *gateway)
{
    for (uint32_t i = 0; gateway->shards != NULL && i < gateway->shard_count; i++) {
        if (gateway->shards[i].is_running) {
            shard_stop(gateway->shards[i].shard.shard);
            pthread_join(gateway->shards[i].thread, NULL);
        }
    }
}

static void destroy_shards(struct gateway *gateway)
{
    uint32_t count = gateway->shards == NULL ? 0 : gateway->shard_count;
    for (uint32_t i = 0; i < count; i++)
        gateway_shard_end_broker(&gateway->shards[i].shard);
    for (uint32_t i = 0; i < count; i++)
        gateway_shard_end_hub(&gateway->shards[i].shard);
    for (uint32_t i = 0; i < count; i++) {
        gateway_shard_destroy(&gateway->shards[i].shard);
        if (gateway->rings != NULL)
            ring_destroy(gateway->rings[i]);
    }
}

void gateway_stop(struct gateway *gateway)
{
    atomic_store_explicit(&gateway->is_stopping, true, memory_order_release);
    bool is_clean = gateway->shards != NULL && gateway_is_drained(gateway);
    stop_threads(gateway);
    /* The helper reads the counters of the administrator's server. */
    if (gateway->helper != NULL)
        helper_stop(gateway->helper);
    admin_http_stop(gateway->admin);
    log_direct(gateway->log);
    destroy_shards(gateway);
    if (gateway->helper != NULL)
        helper_destroy(gateway->heap, gateway->helper);
    gateway_store_close(gateway->store, is_clean);
    sys_publisher_destroy(gateway->heap, gateway->sys);
    if (gateway->metrics != NULL)
        metrics_destroy(gateway->heap, gateway->metrics);
    password_file_destroy(gateway->heap, gateway->passwords);
    while (gateway->retired != NULL) {
        struct retired_passwords *retired = gateway->retired;
        gateway->retired = retired->next;
        password_file_destroy(gateway->heap, retired->file);
        heap_free(gateway->heap, retired);
    }
    heap_free(gateway->heap, gateway->shards);
    heap_free(gateway->heap, gateway->hubs);
    heap_free(gateway->heap, gateway->rings);
    heap_free(gateway->heap, gateway->peers);
    heap_free(gateway->heap, gateway->sources);
    pthread_mutex_destroy(&gateway->limits_mutex);
    heap_free(gateway->heap, gateway);
}
