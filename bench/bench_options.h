/*
 * The command line of penstock-bench: what it may say, read and judged.
 *
 * Owner and thread: the caller's. Texts point into the command line.
 */
#ifndef PENSTOCK_BENCH_OPTIONS_H
#define PENSTOCK_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum bench_mode {
    BENCH_CONN,     /* opens connections and holds them */
    BENCH_PUB,      /* N publishers; what they publish is somebody else's to receive */
    BENCH_SUB,      /* N subscribers of what somebody else publishes */
    BENCH_PINGPONG, /* N pairs that answer each other's messages */
    BENCH_PAIRS,    /* N publishers, each with a subscriber of its own */
    BENCH_FANOUT,   /* 1 publisher, N subscribers */
    BENCH_FANIN,    /* N publishers, 1 subscriber */
    BENCH_ENDURE,   /* N pairs of sessions that stay, over any number of the server's ends */
    BENCH_MODES
};

enum {
    BENCH_CONNECTIONS_MAX = 5000000,
    BENCH_WINDOW_MAX = 65536,
    BENCH_INFLIGHT_MAX = 65535,
    BENCH_TOPICS_MAX = 100000000,
    BENCH_TEXT_BYTES_MAX = 128,
    BENCH_ERROR_BYTES_MAX = 256
};

struct bench_options {
    enum bench_mode mode;
    const char *host;
    const char *topic;
    const char *id; /* NULL: bench-PID; of durable sessions NULL only in endure */
    const char *user_name;
    const char *password;
    const char *filter; /* conn, sub: subscribed to instead of the topics; NULL: the topics */
    uint64_t port;
    uint64_t addresses; /* 0: as many as the connections need */
    uint64_t connections;
    uint64_t publishers; /* sub: how many there are to tell apart; 0: one per connection */
    uint64_t topics;     /* pub: that all publishers share; 0: one each */
    uint64_t rounds;     /* pub: messages to each of these topics; 0: until the time is over */
    uint64_t missed;     /* sub: messages of each publisher that wait for the session; 0: any */
    uint64_t duration_ms;
    uint64_t warmup_ms;
    uint64_t drain_ms;
    uint64_t progress_ms;
    uint64_t away_ms;          /* endure: how long the server may be away */
    uint64_t duplicate_age_ms; /* endure: a duplicate of what is older counts apart */
    uint64_t rate;             /* messages a second of all publishers together; 0: closed loop */
    uint64_t window;           /* undelivered messages per publisher; 0: no bound */
    uint64_t inflight;
    uint64_t qos; /* endure: 0 means 1 and 2 in all four combinations */
    uint64_t payload_bytes;
    uint64_t keepalive_seconds;
    uint64_t connect_rate; /* 0: as fast as it goes */
    uint64_t connecting_max;
    uint64_t server_pid; /* 0: unknown */
    uint64_t cpu;        /* BENCH_CPU_ANY: not pinned */
    bool has_subscription;
    bool is_durable; /* CONNECT with clean session 0 */
    bool is_json;
    bool is_quiet;
    bool may_lose;
    bool is_help;
};

#define BENCH_CPU_ANY UINT64_MAX

extern const char bench_usage[];

/* "conn" and so on. Static memory. */
const char *bench_mode_name(enum bench_mode mode);

/* `words` without the program's name. 0 with *out_options (is_help: nothing else was judged), or
 * -EINVAL with a line in `error` that names the word and what is allowed. */
int bench_options_parse(int count, char *const *words, struct bench_options *out_options,
                        char *error, size_t error_bytes);

/* Sockets that the mode opens. */
uint64_t bench_options_sockets(const struct bench_options *options);

/* The address of the connection with this number: those of a loopback host are spread over
 * `addresses` consecutive ones. A pair of addresses has some 28,000 ports, and once the 14,000 of
 * one parity are taken the kernel walks over all of them at every connect (a millisecond), so the
 * default stays well below where there are many. 0, or -EINVAL when the host is not an IPv4 or IPv6
 * address. */
int bench_options_address(const struct bench_options *options, uint64_t connection,
                          struct sockaddr_storage *out_address, socklen_t *out_bytes);

#endif
