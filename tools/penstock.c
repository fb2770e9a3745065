/*
 * penstock, the daemon: command line, configuration, signals. Everything else is
 * session/gateway.c's.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base.h"
#include "core/config.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/text.h"
#include "session/gateway.h"
#include "session/gateway_config.h"
#include "session/gateway_metrics.h"

enum { OVERRIDES_MAX = 256, OVERRIDE_BYTES_MAX = 4352, EXIT_BAD_START = 2 };

struct arguments {
    const char *config_path;
    char *overrides[OVERRIDES_MAX];
    uint32_t override_count;
    char listen[OVERRIDE_BYTES_MAX]; /* "listen=A,B" of all --listen */
    bool is_check;
    bool is_print;
};

static const char usage[] =
    "usage: penstock [--config FILE] [--listen HOST:PORT]... [--data-dir DIR] [--shards N]\n"
    "                [--set KEY=VALUE]... [--check] [--print-config] [--version] [--help]\n";

static void fail(const char *what)
{
    fprintf(stderr, "level=fatal event=start error=\"%s\"\n", what);
    exit(EXIT_BAD_START);
}

static void add_override(struct arguments *arguments, const char *key, const char *value)
{
    if (arguments->override_count == OVERRIDES_MAX)
        fail("too many options");
    size_t bytes = strlen(key) + strlen(value) + 1;
    char *text = malloc(bytes);
    if (text == NULL)
        fail("out of memory");
    snprintf(text, bytes, "%s%s", key, value);
    arguments->overrides[arguments->override_count++] = text;
}

static void add_listen(struct arguments *arguments, const char *address)
{
    size_t used = strlen(arguments->listen);
    const char *before = used == 0 ? "listen=" : ",";
    int written = snprintf(arguments->listen + used, sizeof(arguments->listen) - used, "%s%s",
                           before, address);
    if (written < 0 || (size_t)written >= sizeof(arguments->listen) - used)
        fail("--listen: too many addresses");
}

static void parse(int count, char **words, struct arguments *arguments)
{
    enum { CONFIG = 256, LISTEN, DATA_DIR, SHARDS, SET, CHECK, PRINT_CONFIG, VERSION, HELP };
    static const struct option options[] = {
        {"config", required_argument, NULL, CONFIG},
        {"listen", required_argument, NULL, LISTEN},
        {"data-dir", required_argument, NULL, DATA_DIR},
        {"shards", required_argument, NULL, SHARDS},
        {"set", required_argument, NULL, SET},
        {"check", no_argument, NULL, CHECK},
        {"print-config", no_argument, NULL, PRINT_CONFIG},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int option = 0;
    while ((option = getopt_long(count, words, "", options, NULL)) != -1) {
        switch (option) {
        case CONFIG:
            arguments->config_path = optarg;
            break;
        case LISTEN:
            add_listen(arguments, optarg);
            break;
        case DATA_DIR:
            add_override(arguments, "data_dir=", optarg);
            break;
        case SHARDS:
            add_override(arguments, "shards=", optarg);
            break;
        case SET:
            add_override(arguments, "", optarg);
            break;
        case CHECK:
            arguments->is_check = true;
            break;
        case PRINT_CONFIG:
            arguments->is_print = true;
            break;
        case VERSION:
            printf("penstock %s\n", gateway_version());
            exit(0);
        case HELP:
            fputs(usage, stdout);
            exit(0);
        default:
            fputs(usage, stderr);
            exit(EXIT_BAD_START);
        }
    }
    if (optind < count) {
        fprintf(stderr, "unexpected argument: %s\n%s", words[optind], usage);
        exit(EXIT_BAD_START);
    }
    if (arguments->listen[0] != '\0')
        add_override(arguments, "", arguments->listen);
}

static void on_change(void *context, const struct config_key *key, const char *before,
                      const char *after, bool is_applied)
{
    char old_value[256];
    char new_value[256];
    log_write(context, is_applied ? LOG_INFO : LOG_WARNING,
              is_applied ? "config_changed" : "config_needs_restart", "key=%s before=%s after=%s",
              key->name, log_quote(old_value, sizeof(old_value), before, strlen(before)),
              log_quote(new_value, sizeof(new_value), after, strlen(after)));
}

/* SIGHUP. What cannot be taken over leaves everything as it is. */
static struct config *reload(struct heap *heap, struct log *log, struct gateway *gateway,
                             struct config *running)
{
    char error[CONFIG_ERROR_BYTES_MAX];
    struct config *fresh = NULL;
    int status = config_reload(heap, running, on_change, log, &fresh, error, sizeof(error));
    if (status == 0)
        status = gateway_reload(gateway, fresh, error);
    if (status < 0) {
        log_write(log, LOG_ERROR, "reload_failed", "error=\"%s\"", error);
        config_destroy(heap, fresh);
        return running;
    }
    log_write(log, LOG_INFO, "reloaded", "%s", "");
    config_destroy(heap, running);
    return fresh;
}

/* Runs until SIGTERM or SIGINT. */
static int run(struct heap *heap, struct log *log, struct config *config, const sigset_t *signals)
{
    char error[GATEWAY_ERROR_BYTES] = "";
    struct gateway *gateway = NULL;
    if (gateway_start(heap, config, log, &gateway, error) < 0) {
        log_write(log, LOG_FATAL, "start", "error=\"%s\"", error);
        config_destroy(heap, config);
        return EXIT_BAD_START;
    }
    gateway_announce(gateway);
    int received = 0;
    for (;;) {
        if (sigwait(signals, &received) != 0)
            continue;
        if (received != SIGHUP)
            break;
        config = reload(heap, log, gateway, config);
    }
    log_write(log, LOG_INFO, "stopping", "signal=%d", received);
    int status = gateway_stop(gateway);
    log_write(log, LOG_INFO, "stopped", "status=%d", status);
    config_destroy(heap, config);
    return status == 0 ? 0 : 1;
}

int main(int count, char **words)
{
    static struct arguments arguments;
    parse(count, words, &arguments);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    static struct heap_budget budget;
    struct heap heap;
    heap_init(&heap, &budget);
    const struct config_source source = {
        .keys = gateway_config_keys,
        .key_count = gateway_config_key_count,
        .values_bytes = sizeof(struct gateway_config),
        .path = arguments.config_path,
        .overrides = (const char *const *)arguments.overrides,
        .override_count = arguments.override_count,
    };
    char error[CONFIG_ERROR_BYTES_MAX];
    struct config *config = NULL;
    if (config_load(&heap, &source, &config, error, sizeof(error)) < 0)
        fail(error);
    if (arguments.is_print) {
        struct text text;
        text_init(&text, &heap, 1 << 20);
        config_print(config, &text);
        fputs(text_string(&text), stdout);
        text_deinit(&text);
    }
    int status = 0;
    if (!arguments.is_print && !arguments.is_check) {
        const struct gateway_config *values = config_values(config);
        const struct log_options options = {.fd = STDERR_FILENO,
                                            .level = (enum log_level)values->log_level};
        struct log *log = NULL;
        if (log_create(&heap, &options, &log) != 0)
            fail("out of memory");
        status = run(&heap, log, config, &signals);
        log_destroy(&heap, log);
    } else {
        config_destroy(&heap, config);
    }
    for (uint32_t i = 0; i < arguments.override_count; i++)
        free(arguments.overrides[i]);
    heap_deinit(&heap);
    return status;
}
