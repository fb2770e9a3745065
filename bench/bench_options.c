/*
 * The command line; see bench_options.h. One table says of each option what it takes, so that
 * reading, limits and messages cannot disagree.
 */
#include "bench/bench_options.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench_check.h"
#include "core/base.h"
#include "core/wire.h"

enum {
    CONNECTIONS_PER_ADDRESS = 8000,
    CONNECTIONS_ALONE = 20000,
    INFLIGHT_DEFAULT = 256,
    WINDOW_DEFAULT = 200
};

const char bench_usage[] =
    "usage: penstock-bench MODE [--OPTION VALUE]...\n"
    "modes:\n"
    "  conn       opens N connections and holds them; with --subscribe each has a subscription\n"
    "  pub, sub   N publishers or N subscribers, the other side being somebody else's\n"
    "  pairs      N publishers, each with a subscriber of its own\n"
    "  pingpong   N pairs, each answering the other's message\n"
    "  fanout     1 publisher, N subscribers\n"
    "  fanin      N publishers, 1 subscriber\n"
    "where to:\n"
    "  --host ADDRESS (127.0.0.1)   --port PORT (1883)\n"
    "  --addresses K    spread over K consecutive addresses from ADDRESS, which the server must\n"
    "                   listen on; default on 127.0.0.0/8: one per 8,000 of more than 20,000 "
    "connections, else 1\n"
    "  --username NAME  --password WORD\n"
    "how much:\n"
    "  --connections N (100)    pairs in the modes of pairs\n"
    "  --seconds S (10)         of measuring; fractions are allowed\n"
    "  --warmup S (0)           before it, not counted in the latencies\n"
    "  --drain S (5)            at the end, without progress, before a message counts as lost\n"
    "  --rate R                 messages a second of all publishers together (open loop);\n"
    "                           latency counts from when a message was to be sent\n"
    "  --window W               undelivered messages per publisher at most (closed loop); default\n"
    "                           200 without --rate, 1 for pingpong\n"
    "  --inflight I             unacknowledged messages per publisher at most (256)\n"
    "  --qos Q (0)              both ways      --payload BYTES (64)\n"
    "  --publishers P           sub: P publishers to tell apart; their topics come by wildcard\n"
    "how:\n"
    "  --topic PREFIX (bench)   topics are PREFIX/0, PREFIX/1 ...\n"
    "  --id PREFIX              ClientIds are PREFIX-0 ...; default bench-PID\n"
    "  --keepalive S (60)       --connect-rate R (unlimited)   --connecting N (256)\n"
    "  --durable                sessions that stay (clean session 0); without --id the ClientIds\n"
    "                           are bench-0 ..., so that the next run finds them again\n"
    "  --subscribe              conn: a subscription of its own for each connection\n"
    "  --cpu C                  run on this core\n"
    "  --server-pid PID         report that process's CPU time and memory too\n"
    "  --may-lose               a lost message is no failure\n"
    "  --json                   the summary as one JSON object       --quiet   no progress lines\n"
    "exit status: 0; 1 when a connection or a message was lost or a check failed; 2: bad usage\n";

static const char *const mode_names[BENCH_MODES] = {
    [BENCH_CONN] = "conn",         [BENCH_PUB] = "pub",       [BENCH_SUB] = "sub",
    [BENCH_PAIRS] = "pairs",       [BENCH_FANOUT] = "fanout", [BENCH_FANIN] = "fanin",
    [BENCH_PINGPONG] = "pingpong",
};

enum kind { KIND_TEXT, KIND_COUNT, KIND_SECONDS, KIND_FLAG };

static const struct option {
    const char *name;
    enum kind kind;
    size_t at;
    uint64_t min; /* KIND_SECONDS: milliseconds */
    uint64_t max;
} options_table[] = {
#define AT(field) offsetof(struct bench_options, field)
    {"host", KIND_TEXT, AT(host), 0, 0},
    {"port", KIND_COUNT, AT(port), 1, 65535},
    {"addresses", KIND_COUNT, AT(addresses), 1, 65536},
    {"username", KIND_TEXT, AT(user_name), 0, 0},
    {"password", KIND_TEXT, AT(password), 0, 0},
    {"connections", KIND_COUNT, AT(connections), 1, BENCH_CONNECTIONS_MAX},
    {"publishers", KIND_COUNT, AT(publishers), 1, BENCH_CONNECTIONS_MAX},
    {"seconds", KIND_SECONDS, AT(duration_ms), 1, 604800000},
    {"warmup", KIND_SECONDS, AT(warmup_ms), 0, 604800000},
    {"drain", KIND_SECONDS, AT(drain_ms), 0, 604800000},
    {"rate", KIND_COUNT, AT(rate), 1, 1000000000},
    {"window", KIND_COUNT, AT(window), 1, BENCH_WINDOW_MAX},
    {"inflight", KIND_COUNT, AT(inflight), 1, BENCH_INFLIGHT_MAX},
    {"qos", KIND_COUNT, AT(qos), 0, 2},
    {"payload", KIND_COUNT, AT(payload_bytes), BENCH_STAMP_BYTES, BENCH_PAYLOAD_BYTES_MAX},
    {"topic", KIND_TEXT, AT(topic), 0, 0},
    {"id", KIND_TEXT, AT(id), 0, 0},
    {"keepalive", KIND_COUNT, AT(keepalive_seconds), 0, 65535},
    {"connect-rate", KIND_COUNT, AT(connect_rate), 1, 10000000},
    {"connecting", KIND_COUNT, AT(connecting_max), 1, 65536},
    {"durable", KIND_FLAG, AT(is_durable), 0, 0},
    {"subscribe", KIND_FLAG, AT(has_subscription), 0, 0},
    {"cpu", KIND_COUNT, AT(cpu), 0, 1023},
    {"server-pid", KIND_COUNT, AT(server_pid), 1, UINT32_MAX},
    {"may-lose", KIND_FLAG, AT(may_lose), 0, 0},
    {"json", KIND_FLAG, AT(is_json), 0, 0},
    {"quiet", KIND_FLAG, AT(is_quiet), 0, 0},
    {"help", KIND_FLAG, AT(is_help), 0, 0},
#undef AT
};

const char *bench_mode_name(enum bench_mode mode)
{
    return mode < BENCH_MODES ? mode_names[mode] : "unknown";
}

static const struct option *find_option(const char *name, size_t name_bytes)
{
    for (size_t i = 0; i < ps_array_count(options_table); i++) {
        const char *known = options_table[i].name;
        if (strlen(known) == name_bytes && memcmp(known, name, name_bytes) == 0)
            return &options_table[i];
    }
    return NULL;
}

/* Digits, for KIND_SECONDS with up to three more after a point; answers false for anything else. */
static bool read_number(const char *text, bool is_seconds, uint64_t *out_value)
{
    uint64_t value = 0;
    uint32_t digits = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9' && digits < 18; at++, digits++)
        value = value * 10 + (uint64_t)(*at - '0');
    if (digits == 0 || digits == 18)
        return false;
    if (is_seconds) {
        uint64_t scale = 1000;
        value *= scale;
        if (*at == '.') {
            for (at++; *at >= '0' && *at <= '9' && scale > 1; at++) {
                scale /= 10;
                value += (uint64_t)(*at - '0') * scale;
            }
        }
    }
    *out_value = value;
    return *at == '\0';
}

static int set_option(const struct option *option, const char *value, struct bench_options *options,
                      char *error, size_t error_bytes)
{
    char *field = (char *)options + option->at;
    switch (option->kind) {
    case KIND_FLAG:
        *(bool *)field = true;
        return 0;
    case KIND_TEXT:
        if (strlen(value) == 0 || strlen(value) > BENCH_TEXT_BYTES_MAX) {
            snprintf(error, error_bytes, "--%s: between 1 and %d bytes are allowed", option->name,
                     BENCH_TEXT_BYTES_MAX);
            return -EINVAL;
        }
        *(const char **)(void *)field = value;
        return 0;
    case KIND_COUNT:
    case KIND_SECONDS:
        break;
    }
    bool is_seconds = option->kind == KIND_SECONDS;
    uint64_t number = 0;
    if (!read_number(value, is_seconds, &number) || number < option->min || number > option->max) {
        double scale = is_seconds ? 1000 : 1;
        snprintf(error, error_bytes, "--%s: \"%.64s\" is not a number from %.10g to %.10g",
                 option->name, value, (double)option->min / scale, (double)option->max / scale);
        return -EINVAL;
    }
    *(uint64_t *)(void *)field = number;
    return 0;
}

/* One option and, unless it is a flag or holds a '=', the word after it. */
static int take_word(int *index, int count, char *const *words, struct bench_options *options,
                     char *error, size_t error_bytes)
{
    const char *name = words[*index] + 2;
    size_t name_bytes = strcspn(name, "=");
    const struct option *option = find_option(name, name_bytes);
    if (option == NULL) {
        snprintf(error, error_bytes, "unknown option: %.64s", words[*index]);
        return -EINVAL;
    }
    const char *value = name[name_bytes] == '=' ? name + name_bytes + 1 : NULL;
    if (option->kind == KIND_FLAG && value != NULL) {
        snprintf(error, error_bytes, "--%s takes no value", option->name);
        return -EINVAL;
    }
    if (option->kind != KIND_FLAG && value == NULL) {
        if (*index + 1 == count) {
            snprintf(error, error_bytes, "--%s needs a value", option->name);
            return -EINVAL;
        }
        value = words[++*index];
    }
    return set_option(option, value, options, error, error_bytes);
}

static int take_mode(const char *word, struct bench_options *options, char *error,
                     size_t error_bytes)
{
    for (int mode = 0; mode < BENCH_MODES; mode++) {
        if (strcmp(word, mode_names[mode]) == 0 && options->mode == BENCH_MODES) {
            options->mode = (enum bench_mode)mode;
            return 0;
        }
    }
    snprintf(error, error_bytes, "unexpected word: %.64s", word);
    return -EINVAL;
}

/* What follows from the other options. */
static int complete(struct bench_options *options, char *error, size_t error_bytes)
{
    bool is_loop = options->mode != BENCH_CONN && options->mode != BENCH_SUB;
    if (options->mode == BENCH_PINGPONG && options->window == 0)
        options->window = 1;
    if (is_loop && options->mode != BENCH_PUB && options->rate == 0 && options->window == 0)
        options->window = WINDOW_DEFAULT;
    if (options->mode == BENCH_PUB && options->window != 0) {
        snprintf(error, error_bytes,
                 "--window: a publisher alone does not see deliveries; use --inflight or --rate");
        return -EINVAL;
    }
    if (options->publishers != 0 && options->mode != BENCH_SUB) {
        snprintf(error, error_bytes, "--publishers belongs to the mode sub");
        return -EINVAL;
    }
    if (options->password != NULL && options->user_name == NULL) {
        snprintf(error, error_bytes, "--password needs --username");
        return -EINVAL;
    }
    if (options->is_durable && options->id == NULL)
        options->id = "bench";
    struct sockaddr_storage address;
    socklen_t address_bytes;
    if (options->addresses == 0) {
        bool is_loopback = strncmp(options->host, "127.", 4) == 0;
        uint64_t sockets = bench_options_sockets(options);
        options->addresses = is_loopback && sockets > CONNECTIONS_ALONE
                                 ? (sockets + CONNECTIONS_PER_ADDRESS - 1) / CONNECTIONS_PER_ADDRESS
                                 : 1;
    }
    if (bench_options_address(options, 0, &address, &address_bytes) < 0) {
        snprintf(error, error_bytes, "--host: \"%.64s\" is not an IPv4 or IPv6 address",
                 options->host);
        return -EINVAL;
    }
    if (address.ss_family == AF_INET6 && options->addresses > 1) {
        snprintf(error, error_bytes, "--addresses: only IPv4 addresses are spread");
        return -EINVAL;
    }
    return 0;
}

int bench_options_parse(int count, char *const *words, struct bench_options *out_options,
                        char *error, size_t error_bytes)
{
    struct bench_options options = {
        .mode = BENCH_MODES,
        .host = "127.0.0.1",
        .topic = "bench",
        .port = 1883,
        .connections = 100,
        .duration_ms = 10000,
        .drain_ms = 5000,
        .inflight = INFLIGHT_DEFAULT,
        .payload_bytes = 64,
        .keepalive_seconds = 60,
        .connecting_max = 256,
        .cpu = BENCH_CPU_ANY,
    };
    for (int index = 0; index < count; index++) {
        int status = strncmp(words[index], "--", 2) == 0
                         ? take_word(&index, count, words, &options, error, error_bytes)
                         : take_mode(words[index], &options, error, error_bytes);
        if (status < 0)
            return status;
    }
    if (options.mode == BENCH_MODES && !options.is_help) {
        snprintf(error, error_bytes,
                 "a mode is missing: conn, pub, sub, pairs, pingpong, fanout "
                 "or fanin");
        return -EINVAL;
    }
    int status = options.is_help ? 0 : complete(&options, error, error_bytes);
    if (status == 0)
        *out_options = options;
    return status;
}

uint64_t bench_options_sockets(const struct bench_options *options)
{
    switch (options->mode) {
    case BENCH_CONN:
    case BENCH_PUB:
    case BENCH_SUB:
        return options->connections;
    case BENCH_PINGPONG:
    case BENCH_PAIRS:
        return 2 * options->connections;
    case BENCH_FANOUT:
    case BENCH_FANIN:
        return options->connections + 1;
    case BENCH_MODES:
        break;
    }
    return 0;
}

int bench_options_address(const struct bench_options *options, uint64_t connection,
                          struct sockaddr_storage *out_address, socklen_t *out_bytes)
{
    struct sockaddr_in ipv4 = {.sin_family = AF_INET};
    struct sockaddr_in6 ipv6 = {.sin6_family = AF_INET6};
    *out_address = (struct sockaddr_storage){0};
    if (inet_pton(AF_INET, options->host, &ipv4.sin_addr) == 1) {
        unsigned char *address = (unsigned char *)&ipv4.sin_addr;
        wire_store_u32(address,
                       wire_load_u32(address) + (uint32_t)(connection % options->addresses));
        wire_store_u16((unsigned char *)&ipv4.sin_port, (uint16_t)options->port);
        memcpy(out_address, &ipv4, sizeof(ipv4));
        *out_bytes = sizeof(ipv4);
        return 0;
    }
    if (inet_pton(AF_INET6, options->host, &ipv6.sin6_addr) == 1) {
        wire_store_u16((unsigned char *)&ipv6.sin6_port, (uint16_t)options->port);
        memcpy(out_address, &ipv6, sizeof(ipv6));
        *out_bytes = sizeof(ipv6);
        return 0;
    }
    return -EINVAL;
}
