/*
 * Checks of a configuration as a whole; see gateway_check.h. Stateless.
 */
#include "session/gateway_check.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "core/config.h"
#include "net/address.h"
#include "session/gateway.h"
#include "session/gateway_config.h"
#include "session/password_file.h"

enum { ORIGIN_BYTES = 320 };

static int check_address(const struct config *config, const char *key, const char *text,
                         char *error)
{
    struct sockaddr_storage address;
    socklen_t bytes = 0;
    int status = address_parse(text, &address, &bytes);
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

static int check_listen(const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    const struct config_list *list = &values->listen;
    if (list->count == 0 || list->count > NET_LISTENERS_MAX) {
        char origin[ORIGIN_BYTES];
        config_origin(config, "listen", origin, sizeof(origin));
        snprintf(error, GATEWAY_ERROR_BYTES, "%slisten: %u addresses; allowed: 1 to %d", origin,
                 list->count, NET_LISTENERS_MAX);
        return -EINVAL;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        int status = check_address(config, "listen", list->items[i], error);
        if (status < 0)
            return status;
    }
    return 0;
}

/* A directory that is not there yet is made by what first writes into it. */
static int check_data_dir(const struct config *config, char *error)
{
    const struct gateway_config *values = config_values(config);
    struct stat status;
    int reason = 0;
    if (values->data_dir[0] == '\0')
        reason = ENOENT;
    else if (stat(values->data_dir, &status) < 0)
        reason = errno == ENOENT ? 0 : errno;
    else if (!S_ISDIR(status.st_mode))
        reason = ENOTDIR;
    else if (access(values->data_dir, R_OK | W_OK | X_OK) < 0)
        reason = errno;
    if (reason == 0)
        return 0;
    char origin[ORIGIN_BYTES];
    config_origin(config, "data_dir", origin, sizeof(origin));
    snprintf(error, GATEWAY_ERROR_BYTES,
             "%sdata_dir: '%.128s': %s; allowed: a directory to write to", origin, values->data_dir,
             strerror(reason));
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
    const struct gateway_config *values = config_values(config);
    int status = check_listen(config, error);
    if (status == 0 && values->admin_listen[0] != '\0')
        status = check_address(config, "admin.listen", values->admin_listen, error);
    if (status == 0)
        status = check_data_dir(config, error);
    if (status == 0)
        status = check_passwords(heap, config, error);
    return status;
}
