/*
 * The histogram; see bench_histogram.h. Values below 64 have a bucket each; above, a value's
 * power of two selects a group of 64 buckets and the six bits after its first one the bucket.
 */
#include "bench/bench_histogram.h"

#include "core/base.h"

enum { SUB_COUNT = 1 << BENCH_HISTOGRAM_SUB_BITS };

static uint32_t bucket_of(uint64_t value)
{
    if (value < SUB_COUNT)
        return (uint32_t)value;
    uint32_t shift = 63U - (uint32_t)__builtin_clzll(value) - BENCH_HISTOGRAM_SUB_BITS;
    return (shift << BENCH_HISTOGRAM_SUB_BITS) + (uint32_t)(value >> shift);
}

/* The largest value of a bucket. */
static uint64_t bucket_end(uint32_t bucket)
{
    if (bucket < SUB_COUNT)
        return bucket;
    uint32_t shift = (bucket >> BENCH_HISTOGRAM_SUB_BITS) - 1;
    uint64_t first = SUB_COUNT + (bucket & (SUB_COUNT - 1));
    return ((first + 1) << shift) - 1;
}

void bench_histogram_record(struct bench_histogram *histogram, uint64_t value)
{
    uint64_t kept = ps_min_u64(value, BENCH_HISTOGRAM_VALUE_MAX);
    histogram->buckets[bucket_of(kept)]++;
    histogram->count++;
    histogram->sum += kept;
    histogram->max = ps_max_u64(histogram->max, kept);
}

uint64_t bench_histogram_quantile(const struct bench_histogram *histogram, uint32_t per_million)
{
    ps_assert(per_million <= 1000000);
    /* In two parts, so that no count overflows the product. */
    uint64_t rank = histogram->count / 1000000 * per_million +
                    (histogram->count % 1000000 * per_million + 999999) / 1000000;
    uint64_t seen = 0;
    for (uint32_t bucket = 0; bucket < BENCH_HISTOGRAM_BUCKETS; bucket++) {
        seen += histogram->buckets[bucket];
        if (seen >= rank && seen > 0)
            return ps_min_u64(bucket_end(bucket), histogram->max);
    }
    return 0;
}

uint64_t bench_histogram_mean(const struct bench_histogram *histogram)
{
    return histogram->count == 0 ? 0 : histogram->sum / histogram->count;
}

void bench_histogram_merge(struct bench_histogram *histogram, const struct bench_histogram *other)
{
    for (uint32_t bucket = 0; bucket < BENCH_HISTOGRAM_BUCKETS; bucket++)
        histogram->buckets[bucket] += other->buckets[bucket];
    histogram->count += other->count;
    histogram->sum += other->sum;
    histogram->max = ps_max_u64(histogram->max, other->max);
}
