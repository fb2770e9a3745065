/*
 * A histogram of latencies in the manner of HdrHistogram: 64 equal buckets for each power of two,
 * so that a value is known to 1.6 % from a nanosecond to eighteen minutes, in a fixed 18 KB.
 *
 * Owner and thread: the caller's. Never allocates.
 */
#ifndef PENSTOCK_BENCH_HISTOGRAM_H
#define PENSTOCK_BENCH_HISTOGRAM_H

#include <stdint.h>

enum {
    BENCH_HISTOGRAM_SUB_BITS = 6, /* 2^6 buckets for each power of two */
    BENCH_HISTOGRAM_BITS_MAX = 40,
    BENCH_HISTOGRAM_BUCKETS = (BENCH_HISTOGRAM_BITS_MAX - BENCH_HISTOGRAM_SUB_BITS + 1)
                              << BENCH_HISTOGRAM_SUB_BITS
};

/* What is larger counts as this. */
#define BENCH_HISTOGRAM_VALUE_MAX ((1ULL << BENCH_HISTOGRAM_BITS_MAX) - 1)

/* All zero: empty. */
struct bench_histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t max;
    uint64_t buckets[BENCH_HISTOGRAM_BUCKETS];
};

void bench_histogram_record(struct bench_histogram *histogram, uint64_t value);

/* The smallest value that `per_million` of a million recorded ones do not exceed, rounded up to the
 * end of its bucket but never above the largest recorded; 0 when there is none. per_million is at
 * most 1,000,000. */
uint64_t bench_histogram_quantile(const struct bench_histogram *histogram, uint32_t per_million);

uint64_t bench_histogram_mean(const struct bench_histogram *histogram);

/* Adds what `other` recorded. */
void bench_histogram_merge(struct bench_histogram *histogram, const struct bench_histogram *other);

#endif
