/*
 * penstock-bench, the load client: command line and summary. Everything else is bench_run.c's.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench_options.h"
#include "bench/bench_report.h"
#include "bench/bench_run.h"

enum { EXIT_FAILED = 1, EXIT_BAD_START = 2 };

static int pin(uint64_t cpu)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET((size_t)cpu, &cpus);
    return sched_setaffinity(0, sizeof(cpus), &cpus) < 0 ? -errno : 0;
}

/* SIGINT and SIGTERM are looked for by the run. */
static void block_signals(void)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int count, char **words)
{
    struct bench_options options;
    static struct bench_result result;
    char error[BENCH_ERROR_BYTES_MAX] = "";
    if (bench_options_parse(count - 1, words + 1, &options, error, sizeof(error)) < 0) {
        fprintf(stderr, "penstock-bench: %s (--help tells more)\n", error);
        return EXIT_BAD_START;
    }
    if (options.is_help) {
        fputs(bench_usage, stdout);
        return 0;
    }
    int status = options.cpu == BENCH_CPU_ANY ? 0 : pin(options.cpu);
    if (status < 0) {
        fprintf(stderr, "penstock-bench: --cpu: %s\n", strerror(-status));
        return EXIT_BAD_START;
    }
    block_signals();
    if (bench_run(&options, &result, error, sizeof(error)) < 0) {
        fprintf(stderr, "penstock-bench: %s\n", error);
        return EXIT_FAILED;
    }
    if (options.is_json)
        bench_report_json(stdout, &options, &result);
    else
        bench_report_text(stdout, &options, &result);
    return bench_result_is_good(&options, &result) ? 0 : EXIT_FAILED;
}
