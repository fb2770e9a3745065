/*
 * Checks of a configuration as a whole; see gateway_check.h. Stateless.
 */
#include "session/gateway_check.h"

#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "core/config.h"
#include "core/log.h"
#include "core/topology.h"
#include "net/address.h"
#include "session/gateway.h"
#include "session/gateway_config.h"
#include "session/password_file.h"

enum { ORIGIN_BYTES = 320 };

static int check_address(const struct config *config, const char *key, const char *text,
                         struct sockaddr_storage *out_address, char *error)
{
    socklen_t bytes = 0;
    int status = address_parse(text, out_address, &bytes);
    if (status == 0)
        return 0;
    char origin[ORIGIN_BYTES];
    config_origin(config, key, origin, sizeof(origin));
    snprintf(error, GATEWAY_ERROR_BYTES,
             status == -ENOENT
                 ? "%s%s: '%.128s' is no host that is known here; allowed: HOST:PORT"
                 : "%s%s: '%.128s' is no address; allowed: HOST:PORT, [IPV6]:PORT or :PORT, with "
                   "ports 0 to 65535",
             origin, key, text);
    return -EINVAL;
}

/* One address and port cannot be listened on twice; port 0 takes a free one each time. */
static int check_not_among_listen(const struct config *config, const char *key, const char *text,
                                  const struct sockaddr_storage *address, uint32_t count,
                                  char *error)
{
    const struct gateway_config *values = config_values(config);
    for (uint32_t i = 0; i < count; i++) {
        struct sockaddr_storage other;
        socklen_t bytes = 0;
        if (address_port(address) == 0 ||
            address_parse(values->listen.items[i], &other, &bytes) != 0 ||
            memcmp(address, &other, sizeof(other)) != 0)
            continue;
        char origin[ORIGIN_BYTES];
        config_origin(config, key, origin, sizeof(origin));
        snprintf(error, GATEWAY_ERROR_BYTES,
                 "%s%s: '%.128s' is an address of listen already; allowed: each address once",
                 origin, key, text);
        return -EINVAL;
    }
    return 0;
}

static int check_listen(const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    const struct config_list *list = &values->listen;
    for (uint32_t i = 0; i < list->count; i++) {
        struct sockaddr_storage address;
        int status = check_address(config, "listen", list->items[i], &address, error);
        if (status == 0)
            status = check_not_among_listen(config, "listen", list->items[i], &address, i, error);
        if (status < 0)
            return status;
    }
    return 0;
}

static int check_admin(const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    const char *text = values->admin_listen;
    if (text[0] == '\0')
        return 0;
    struct sockaddr_storage address;
    int status = check_address(config, "admin.listen", text, &address, error);
    if (status < 0)
        return status;
    return check_not_among_listen(config, "admin.listen", text, &address, values->listen.count,
                                  error);
}

/* 0, or the errno that says why one cannot write into this directory. */
static int try_directory(const char *path)
{
    struct stat status;
    if (stat(path, &status) < 0)
        return errno;
    if (!S_ISDIR(status.st_mode))
        return ENOTDIR;
    return access(path, R_OK | W_OK | X_OK) < 0 ? errno : 0;
}

/* A directory that is not there yet is made at the start, in one that is there. */
static int check_data_dir(const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    int reason = values->data_dir[0] == '\0' ? EINVAL : try_directory(values->data_dir);
    if (reason == ENOENT) {
        char parent[4096];
        snprintf(parent, sizeof(parent), "%s", values->data_dir);
        reason = try_directory(dirname(parent));
    }
    if (reason == 0 || values->broker_type == GATEWAY_BROKER_MEMORY)
        return 0;
    char origin[ORIGIN_BYTES];
    config_origin(config, "data_dir", origin, sizeof(origin));
    snprintf(error, GATEWAY_ERROR_BYTES,
             "%sdata_dir: '%.128s': %s; allowed: a directory to write to, or a new one", origin,
             values->data_dir, strerror(reason));
    return -EINVAL;
}

static int check_memory(const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    struct topology topology;
    topology_read(&topology); /* one core where it cannot be told */
    uint32_t shards = gateway_config_shards(values, &topology);
    uint64_t least = gateway_config_memory_min(values, shards);
    if (gateway_config_memory_max(values) >= least)
        return 0;
    char origin[ORIGIN_BYTES];
    config_origin(config, "memory.bytes_max", origin, sizeof(origin));
    snprintf(error, GATEWAY_ERROR_BYTES,
             "%smemory.bytes_max: %" PRIu64 " bytes are too few for %u shards; allowed: at least "
             "%" PRIu64 "k, and what clients are to have",
             origin, gateway_config_memory_max(values), shards, (least + 1023) / 1024);
    return -EINVAL;
}

static int check_passwords(struct heap *heap, const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    if (values->password_file[0] == '\0')
        return 0;
    char origin[ORIGIN_BYTES];
    config_origin(config, "auth.password_file", origin, sizeof(origin));
    int used = snprintf(error, GATEWAY_ERROR_BYTES, "%sauth.password_file: ", origin);
    struct password_file *file = NULL;
    int status = password_file_load(heap, values->password_file, &file, error + used,
                                    GATEWAY_ERROR_BYTES - (size_t)used);
    if (status == 0)
        password_file_destroy(heap, file);
    return status;
}

int gateway_check(struct heap *heap, const struct config *config, char *error)
{
    int status = check_listen(config, error);
    if (status == 0)
        status = check_admin(config, error);
    if (status == 0)
        status = check_data_dir(config, error);
    if (status == 0)
        status = check_memory(config, error);
    if (status == 0)
        status = check_passwords(heap, config, error);
    return status;
}

static bool was_written(const struct config *config, const char *key)
{
    char origin[ORIGIN_BYTES];
    config_origin(config, key, origin, sizeof(origin));
    return origin[0] != '\0';
}

static void warn_of_data_dir(const struct config *config, struct log *log)
{
    const struct gateway_config *values = config_values(config);
    if (values->broker_type != GATEWAY_BROKER_MEMORY || !was_written(config, "data_dir"))
        return;
    char quoted[256];
    log_write(log, LOG_WARNING, "data_dir_unused",
              "data_dir=%s reason=\"broker.type = memory keeps everything in memory\"",
              log_quote(quoted, sizeof(quoted), values->data_dir, strlen(values->data_dir)));
}

/* Without users and without leave for clients that name none only loopback is served. */
static void warn_of_anonymous(const struct gateway_config *values, struct log *log)
{
    if (values->allow_anonymous || values->password_file[0] != '\0')
        return;
    for (uint32_t i = 0; i < values->listen.count; i++) {
        struct sockaddr_storage address;
        socklen_t bytes = 0;
        const char *text = values->listen.items[i];
        if (address_parse(text, &address, &bytes) != 0 || address_is_loopback(&address))
            continue;
        char quoted[160];
        log_write(log, LOG_WARNING, "clients_refused",
                  "listen=%s reason=\"there are no users, so that clients from other than loopback "
                  "addresses are refused\" remedy=\"set auth.password_file, or "
                  "auth.allow_anonymous=yes\"",
                  log_quote(quoted, sizeof(quoted), text, strlen(text)));
    }
}

/* A packet that is read but that no record can hold ends its connection. */
static void warn_of_large_packets(const struct gateway_config *values, struct log *log)
{
    uint32_t largest = gateway_record_bytes_max(values);
    if (values->packet_bytes_max <= largest)
        return;
    log_write(log, LOG_WARNING, "packets_too_large",
              "packet_bytes_max=%" PRIu64 " record_bytes_max=%u remedy=\"lower "
              "connection.packet_bytes_max, or raise %s\"",
              values->packet_bytes_max, largest,
              values->broker_type == GATEWAY_BROKER_MEMORY ? "broker.memory_bytes"
                                                           : "broker.tail_bytes");
}

void gateway_check_warn(const struct config *config, struct log *log)
{
    const struct gateway_config *values = config_values(config);
    warn_of_data_dir(config, log);
    warn_of_anonymous(values, log);
    warn_of_large_packets(values, log);
}
