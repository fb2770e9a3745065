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
    WINDOW_DEFAULT = 200,
    DURATION_DEFAULT_MS = 10000,
    DURATION_FINITE_MS = 600000 /* of runs that end by themselves */
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
    "  endure     N pairs of sessions that stay, at QoS 1 and 2, while the server is killed and\n"
    "             started again: they come back, and nothing acknowledged may be lost; SIGINT "
    "ends\n"
    "             publishing, a second one the draining\n"
    "where to:\n"
    "  --host ADDRESS (127.0.0.1)   --port PORT (1883)\n"
    "  --addresses K    spread over K consecutive addresses from ADDRESS, which the server must\n"
    "                   listen on; default on 127.0.0.0/8: one per 8,000 of more than 20,000 "
    "connections, else 1\n"
    "  --username NAME  --password WORD\n"
    "how much:\n"
    "  --connections N (100)    pairs in the modes of pairs\n"
    "  --seconds S (10)         of measuring; fractions are allowed; with --rounds and --missed "
    "at\n"
    "                           most, and 600\n"
    "  --warmup S (0)           before it, not counted in the latencies\n"
    "  --drain S (5)            at the end, without progress, before a message counts as lost\n"
    "  --rate R                 messages a second of all publishers together (open loop);\n"
    "                           latency counts from when a message was to be sent\n"
    "  --window W               undelivered messages per publisher at most (closed loop); default\n"
    "                           200 without --rate, 1 for pingpong\n"
    "  --inflight I             unacknowledged messages per publisher at most (256)\n"
    "  --qos Q (0)              both ways; endure: 1 or 2, default both in all combinations\n"
    "  --payload BYTES (64)\n"
    "  --publishers P           sub: P publishers to tell apart; their topics come by wildcard\n"
    "  --topics T               pub: the publishers share T topics, mixed; a subscriber knows the\n"
    "                           messages of each topic as those of a publisher of its own\n"
    "  --rounds M               pub: M messages to each of the T topics, then it ends\n"
    "  --missed M               sub: resumes sessions that stay, subscribes to nothing, and ends "
    "when\n"
    "                           each has the M messages of each of its publishers; the latency is\n"
    "                           the time from the first connect until a session has all\n"
    "how:\n"
    "  --topic PREFIX (bench)   topics are PREFIX/0, PREFIX/1 ...\n"
    "  --id PREFIX              ClientIds are PREFIX-0 ...; default bench-PID\n"
    "  --keepalive S (60)       --connect-rate R (unlimited)   --connecting N (256)\n"
    "  --durable                sessions that stay (clean session 0); without --id the ClientIds\n"
    "                           are bench-0 ..., so that the next run finds them again\n"
    "  --subscribe              conn: a subscription of its own for each connection\n"
    "  --filter FILTER          conn, sub: subscribe to this; what comes of other topics than\n"
    "                           PREFIX/... is counted apart\n"
    "  --away S (30)            endure: how long the server may be away\n"
    "  --duplicate-age-ms MS (3000)  endure: a duplicate at QoS 1 of a message that came before "
    "is\n"
    "                           counted apart: its connection had lasted that long since\n"
    "  --cpu C                  run on this core\n"
    "  --server-pid PID         report that process's CPU time and memory too\n"
    "  --may-lose               a lost message is no failure\n"
    "  --json                   the summary as one JSON object\n"
    "  --progress S (1)         between progress lines               --quiet   none\n"
    "exit status: 0; 1 when a connection or a message was lost or a check failed; 2: bad usage\n";

static const char *const mode_names[BENCH_MODES] = {
    [BENCH_CONN] = "conn",         [BENCH_PUB] = "pub",       [BENCH_SUB] = "sub",
    [BENCH_PAIRS] = "pairs",       [BENCH_FANOUT] = "fanout", [BENCH_FANIN] = "fanin",
    [BENCH_PINGPONG] = "pingpong", [BENCH_ENDURE] = "endure",
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
    {"topics", KIND_COUNT, AT(topics), 1, BENCH_TOPICS_MAX},
    {"rounds", KIND_COUNT, AT(rounds), 1, 1000000000},
    {"missed", KIND_COUNT, AT(missed), 1, 1000000000},
    {"seconds", KIND_SECONDS, AT(duration_ms), 1, 604800000},
    {"warmup", KIND_SECONDS, AT(warmup_ms), 0, 604800000},
    {"drain", KIND_SECONDS, AT(drain_ms), 0, 604800000},
    {"progress", KIND_SECONDS, AT(progress_ms), 1, 604800000},
    {"away", KIND_SECONDS, AT(away_ms), 1, 604800000},
    {"duplicate-age-ms", KIND_COUNT, AT(duplicate_age_ms), 1, 604800000},
    {"rate", KIND_COUNT, AT(rate), 1, 1000000000},
    {"window", KIND_COUNT, AT(window), 1, BENCH_WINDOW_MAX},
    {"inflight", KIND_COUNT, AT(inflight), 1, BENCH_INFLIGHT_MAX},
    {"qos", KIND_COUNT, AT(qos), 0, 2},
    {"payload", KIND_COUNT, AT(payload_bytes), BENCH_STAMP_BYTES, BENCH_PAYLOAD_BYTES_MAX},
    {"topic", KIND_TEXT, AT(topic), 0, 0},
    {"filter", KIND_TEXT, AT(filter), 0, 0},
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

/* What belongs to another mode, or needs another option. */
static int judge(const struct bench_options *options, char *error, size_t error_bytes)
{
    enum bench_mode mode = options->mode;
    bool is_sub = mode == BENCH_SUB;
    const struct {
        bool is_wrong;
        const char *text;
    } faults[] = {
        {mode == BENCH_PUB && options->window != 0,
         "--window: a publisher alone does not see deliveries; use --inflight or --rate"},
        {options->publishers != 0 && !is_sub, "--publishers belongs to the mode sub"},
        {options->topics != 0 && mode != BENCH_PUB, "--topics belongs to the mode pub"},
        {options->topics != 0 && options->topics < options->connections,
         "--topics: there are more publishers than topics"},
        {options->rounds != 0 && options->topics == 0, "--rounds needs --topics"},
        {options->missed != 0 && !is_sub, "--missed belongs to the mode sub"},
        {options->filter != NULL && !is_sub && mode != BENCH_CONN,
         "--filter belongs to the modes conn and sub"},
        {options->filter != NULL && is_sub && options->publishers == 0,
         "--filter: in the mode sub it needs --publishers"},
        {options->password != NULL && options->user_name == NULL, "--password needs --username"},
    };
    for (size_t i = 0; i < ps_array_count(faults); i++) {
        if (faults[i].is_wrong) {
            snprintf(error, error_bytes, "%s", faults[i].text);
            return -EINVAL;
        }
    }
    return 0;
}

static int complete_addresses(struct bench_options *options, char *error, size_t error_bytes)
{
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

/* What follows from the other options. */
static void complete(struct bench_options *options)
{
    enum bench_mode mode = options->mode;
    bool is_loop = mode != BENCH_CONN && mode != BENCH_SUB && mode != BENCH_PUB;
    if (mode == BENCH_PINGPONG && options->window == 0)
        options->window = 1;
    if (is_loop && options->rate == 0 && options->window == 0)
        options->window = WINDOW_DEFAULT;
    if (options->duration_ms == 0)
        options->duration_ms =
            options->rounds + options->missed > 0 ? DURATION_FINITE_MS : DURATION_DEFAULT_MS;
    options->is_durable = options->is_durable || options->missed > 0 || mode == BENCH_ENDURE;
    if (options->is_durable && mode != BENCH_ENDURE && options->id == NULL)
        options->id = "bench";
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
        .drain_ms = 5000,
        .progress_ms = 1000,
        .away_ms = 30000,
        .duplicate_age_ms = 3000,
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
                 "a mode is missing: conn, pub, sub, pairs, pingpong, fanout, "
                 "fanin or endure");
        return -EINVAL;
    }
    int status = options.is_help ? 0 : judge(&options, error, error_bytes);
    if (status == 0 && !options.is_help) {
        complete(&options);
        status = complete_addresses(&options, error, error_bytes);
    }
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
    case BENCH_ENDURE:
        return 2 * options->connections + 1;
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
