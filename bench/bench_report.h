/*
 * What the load client prints: the summary of a run, as text or JSON.
 *
 * Thread: any. Keeps nothing.
 */
#ifndef PENSTOCK_BENCH_REPORT_H
#define PENSTOCK_BENCH_REPORT_H

#include <stdio.h>

#include "bench/bench_run.h"

/* A few lines for people. */
void bench_report_text(FILE *file, const struct bench_options *options,
                       const struct bench_result *result);

/* One object on one line; every number of the text and some more. */
void bench_report_json(FILE *file, const struct bench_options *options,
                       const struct bench_result *result);

#endif
