/*
 * penstock, the daemon: command line, configuration, signals. Everything else is
 * session/gateway.c's.
 *
 * SIGHUP reads the configuration again. SIGTERM and SIGINT close the listeners, let sends drain for
 * GATEWAY_DRAIN_MS_MAX and end with status 0; a second one ends without waiting. What prevents a
 * start is told in one line on standard error, with status 2.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/base.h"
#include "core/config.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/text.h"
#include "session/gateway.h"
#include "session/gateway_check.h"
#include "session/gateway_config.h"
#include "session/gateway_metrics.h"

enum {
    OVERRIDES_MAX = 256,
    OVERRIDE_BYTES_MAX = 4352,
    CHANGE_BYTES_MAX = 512, /* of one line that tells a change */
    DRAIN_POLL_MS = 5,
    EXIT_BAD_START = 2
};

struct arguments {
    const char *config_path;
    char *overrides[OVERRIDES_MAX];
    uint32_t override_count;
    char listen[OVERRIDE_BYTES_MAX]; /* "listen=A,B" of all --listen */
    bool is_check;
    bool is_print;
    bool is_repair;
};

static const char usage[] =
    "usage: penstock [--config FILE] [--listen HOST:PORT]... [--data-dir DIR] [--shards N]\n"
    "                [--set KEY=VALUE]... [--check | --repair] [--print-config] [--version] "
    "[--help]\n";

/* A double quote would end the value that the text is to be. */
static const char *without_quotes(char *text)
{
    for (char *at = text; *at != '\0'; at++) {
        if (*at == '"')
            *at = '\'';
    }
    return text;
}

static void fail(struct log *log, char *what)
{
    log_write(log, LOG_FATAL, "start", "error=\"%s\"", without_quotes(what));
    exit(EXIT_BAD_START);
}

static void fail_on_option(struct log *log, const char *what, const char *option)
{
    char error[CONFIG_ERROR_BYTES_MAX];
    snprintf(error, sizeof(error), "%s '%.256s'; penstock --help tells what is allowed", what,
             option);
    fail(log, error);
}

static void add_override(struct log *log, struct arguments *arguments, const char *key,
                         const char *value)
{
    size_t bytes = strlen(key) + strlen(value) + 1;
    char *text = arguments->override_count == OVERRIDES_MAX ? NULL : malloc(bytes);
    if (text == NULL)
        fail_on_option(log, "too many options at", value);
    snprintf(text, bytes, "%s%s", key, value);
    arguments->overrides[arguments->override_count++] = text;
}

static void add_listen(struct log *log, struct arguments *arguments, const char *address)
{
    size_t used = strlen(arguments->listen);
    const char *before = used == 0 ? "listen=" : ",";
    int written = snprintf(arguments->listen + used, sizeof(arguments->listen) - used, "%s%s",
                           before, address);
    if (written < 0 || (size_t)written >= sizeof(arguments->listen) - used)
        fail_on_option(log, "too many addresses at --listen", address);
}

static void parse(struct log *log, int count, char **words, struct arguments *arguments)
{
    enum {
        CONFIG = 256,
        LISTEN,
        DATA_DIR,
        SHARDS,
        SET,
        CHECK,
        REPAIR,
        PRINT_CONFIG,
        VERSION,
        HELP
    };
    static const struct option options[] = {
        {"config", required_argument, NULL, CONFIG},
        {"listen", required_argument, NULL, LISTEN},
        {"data-dir", required_argument, NULL, DATA_DIR},
        {"shards", required_argument, NULL, SHARDS},
        {"set", required_argument, NULL, SET},
        {"check", no_argument, NULL, CHECK},
        {"repair", no_argument, NULL, REPAIR},
        {"print-config", no_argument, NULL, PRINT_CONFIG},
        {"version", no_argument, NULL, VERSION},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    int option = 0;
    opterr = 0;
    while ((option = getopt_long(count, words, ":", options, NULL)) != -1) {
        switch (option) {
        case CONFIG:
            arguments->config_path = optarg;
            break;
        case LISTEN:
            add_listen(log, arguments, optarg);
            break;
        case DATA_DIR:
            add_override(log, arguments, "data_dir=", optarg);
            break;
        case SHARDS:
            add_override(log, arguments, "shards=", optarg);
            break;
        case SET:
            add_override(log, arguments, "", optarg);
            break;
        case CHECK:
            arguments->is_check = true;
            break;
        case REPAIR:
            arguments->is_repair = true;
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
        case ':':
            fail_on_option(log, "a value is missing after", words[optind - 1]);
            break;
        default:
            fail_on_option(log, "unknown or ambiguous option", words[optind - 1]);
        }
    }
    if (optind < count)
        fail_on_option(log, "unexpected argument", words[optind]);
    if (arguments->listen[0] != '\0')
        add_override(log, arguments, "", arguments->listen);
}

/* What a reload would change, kept until it is known to succeed. */
struct change {
    struct change *next;
    bool is_applied;
    char line[CHANGE_BYTES_MAX];
};

struct changes {
    struct heap *heap;
    struct change *first;
    struct change **end;
};

static void on_change(void *context, const struct config_key *key, const char *before,
                      const char *after, bool is_applied)
{
    struct changes *changes = context;
    char old_value[160];
    char new_value[160];
    struct change *change = heap_zalloc(changes->heap, sizeof(*change));
    if (change == NULL)
        return; /* the reload itself will want memory too, and say so */
    change->is_applied = is_applied;
    snprintf(change->line, sizeof(change->line), "key=%s before=%s after=%s", key->name,
             log_quote(old_value, sizeof(old_value), before, strlen(before)),
             log_quote(new_value, sizeof(new_value), after, strlen(after)));
    *changes->end = change;
    changes->end = &change->next;
}

/* Frees what was noted, and tells it if `log` is given. */
static void end_changes(struct changes *changes, struct log *log)
{
    while (changes->first != NULL) {
        struct change *change = changes->first;
        changes->first = change->next;
        if (log != NULL)
            log_write(log, change->is_applied ? LOG_INFO : LOG_WARNING,
                      change->is_applied ? "config_changed" : "config_needs_restart", "%s",
                      change->line);
        heap_free(changes->heap, change);
    }
}

/* SIGHUP. What cannot be taken over leaves everything as it is. */
static struct config *reload(struct heap *heap, struct log *log, struct gateway *gateway,
                             struct config *running)
{
    char error[CONFIG_ERROR_BYTES_MAX];
    struct changes changes = {.heap = heap};
    changes.end = &changes.first;
    struct config *fresh = NULL;
    int status = config_reload(heap, running, on_change, &changes, &fresh, error, sizeof(error));
    if (status == 0)
        status = gateway_reload(gateway, fresh, error);
    end_changes(&changes, status == 0 ? log : NULL);
    if (status < 0) {
        log_write(log, LOG_ERROR, "reload_failed", "error=\"%s\"", without_quotes(error));
        config_destroy(heap, fresh);
        return running;
    }
    const struct gateway_config *values = config_values(fresh);
    const char *passwords = values->password_file;
    char quoted[256];
    if (passwords[0] == '\0')
        log_write(log, LOG_INFO, "reloaded", "%s", "");
    else
        log_write(log, LOG_INFO, "reloaded", "password_file=%s",
                  log_quote(quoted, sizeof(quoted), passwords, strlen(passwords)));
    config_destroy(heap, running);
    return fresh;
}

/* Waits until what is unsent has gone, for a second signal, or for GATEWAY_DRAIN_MS_MAX. */
static void drain(struct log *log, const struct gateway *gateway, const sigset_t *signals)
{
    const struct timespec pause = {.tv_nsec = DRAIN_POLL_MS * 1000000L};
    for (uint32_t waited_ms = 0; waited_ms < GATEWAY_DRAIN_MS_MAX; waited_ms += DRAIN_POLL_MS) {
        if (gateway_is_drained(gateway))
            return;
        int received = sigtimedwait(signals, NULL, &pause);
        if (received == SIGTERM || received == SIGINT) {
            log_write(log, LOG_WARNING, "stopping_at_once", "signal=%d", received);
            return;
        }
    }
    log_write(log, LOG_WARNING, "drain_ended", "after_ms=%d", GATEWAY_DRAIN_MS_MAX);
}

/* Runs until SIGTERM or SIGINT. */
static int run(struct heap *heap, struct log *log, struct config *config, const sigset_t *signals)
{
    char error[GATEWAY_ERROR_BYTES] = "";
    struct gateway *gateway = NULL;
    if (gateway_start(heap, config, log, &gateway, error) < 0) {
        log_write(log, LOG_FATAL, "start", "error=\"%s\"", without_quotes(error));
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
    gateway_stop_begin(gateway);
    drain(log, gateway, signals);
    gateway_stop(gateway);
    log_write(log, LOG_INFO, "stopped", "status=%d", 0);
    config_destroy(heap, config);
    return 0;
}

/* --print-config and --check. Result: the exit status. */
static int inspect(struct heap *heap, struct log *log, const struct config *config,
                   const struct arguments *arguments)
{
    char error[GATEWAY_ERROR_BYTES];
    if (arguments->is_print) {
        struct text text;
        text_init(&text, heap, 1 << 20);
        config_print(config, &text);
        fputs(text_string(&text), stdout);
        text_deinit(&text);
    }
    if (arguments->is_check) {
        if (gateway_check(heap, config, error) < 0) {
            log_write(log, LOG_FATAL, "check", "error=\"%s\"", without_quotes(error));
            return EXIT_BAD_START;
        }
        gateway_check_warn(config, log);
        printf("penstock: the configuration is good\n");
    }
    if (fflush(stdout) != 0 || ferror(stdout)) {
        log_write(log, LOG_FATAL, "print", "error=\"standard output: %s\"", strerror(errno));
        return EXIT_BAD_START;
    }
    return 0;
}

/* --repair. Result: the exit status. */
static int repair(struct heap *heap, struct log *log, const struct config *config)
{
    char error[GATEWAY_ERROR_BYTES] = "";
    int status = gateway_check(heap, config, error);
    if (status == 0)
        status = gateway_repair(heap, config, log, error);
    if (status < 0)
        log_write(log, LOG_FATAL, "repair", "error=\"%s\"", without_quotes(error));
    return status < 0 ? EXIT_BAD_START : 0;
}

/* A socket or a ring must not become the standard error that is written to. */
static void open_standard_streams(void)
{
    int fd = -1;
    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* SIGHUP waits for the start to be done; SIGTERM and SIGINT end a start as they end any program. */
static void set_signals_for_start(void)
{
    sigset_t hup;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    sigprocmask(SIG_BLOCK, &hup, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* The signals that the main thread waits for; no other thread is to have them. */
static void block_signals(sigset_t *signals)
{
    sigemptyset(signals);
    sigaddset(signals, SIGTERM);
    sigaddset(signals, SIGINT);
    sigaddset(signals, SIGHUP);
    sigprocmask(SIG_BLOCK, signals, NULL);
}

int main(int count, char **words)
{
    static struct arguments arguments;
    open_standard_streams();
    set_signals_for_start();
    static struct heap_budget budget;
    struct heap heap;
    heap_init(&heap, &budget);
    const struct log_options options = {.fd = STDERR_FILENO, .level = LOG_INFO};
    struct log *log = NULL;
    if (log_create(&heap, &options, &log) != 0)
        return EXIT_BAD_START;
    parse(log, count, words, &arguments);
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
        fail(log, error);
    int status = 0;
    if (arguments.is_print || arguments.is_check) {
        status = inspect(&heap, log, config, &arguments);
        config_destroy(&heap, config);
    } else if (arguments.is_repair) {
        status = repair(&heap, log, config);
        config_destroy(&heap, config);
    } else {
        const struct gateway_config *values = config_values(config);
        sigset_t signals;
        log_set_level(log, (enum log_level)values->log_level);
        block_signals(&signals);
        status = run(&heap, log, config, &signals);
    }
    log_destroy(&heap, log);
    for (uint32_t i = 0; i < arguments.override_count; i++)
        free(arguments.overrides[i]);
    heap_deinit(&heap);
    return status;
}
