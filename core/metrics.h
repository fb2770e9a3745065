/*
 * The registry of metrics. A layer describes its values in a const table; each shard keeps them as
 * 64-bit words that only its thread writes; the reader (admin, $SYS) takes each word with a relaxed
 * load. A shard never locks, and never knows that somebody reads.
 *
 * Two ways to write, both for the owning thread only:
 *   metrics_add, metrics_set    straight into the registered words
 *   metrics_publish             the hot path counts in a plain struct of its own, and a step copies
 *                               it as a whole into the registered words now and then
 * A word is whole at any time; two words read together may be of different moments.
 *
 * Threads: register, render and sum take the registry's mutex and may be called by any thread but a
 * running shard's. The described words must outlive the registry.
 */
#ifndef PENSTOCK_CORE_METRICS_H
#define PENSTOCK_CORE_METRICS_H

#include <stddef.h>
#include <stdint.h>

struct heap;
struct metrics;
struct text;

enum {
    METRICS_TABLES_MAX = 64,
    METRICS_NO_SHARD = 64 /* in place of a shard's index: a value of the whole gateway */
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE };

/* One value. Values that differ only in their labels form a family: same name and kind; the first
 * one's help counts. They may stand in several tables. */
struct metric {
    const char *name; /* "penstock_connections_closed_total" */
    const char *help; /* one line, without backslash */
    enum metric_kind kind;
    const char *labels; /* "reason=\"keepalive\"", or NULL */
    size_t offset;      /* of its uint64_t, in bytes from the registered values */
};

static inline void metrics_add(uint64_t *value, uint64_t count)
{
    __atomic_store_n(value, *value + count, __ATOMIC_RELAXED);
}

static inline void metrics_set(uint64_t *value, uint64_t now)
{
    __atomic_store_n(value, now, __ATOMIC_RELAXED);
}

/* Adds from several threads; for services that no shard owns. */
static inline void metrics_add_shared(uint64_t *value, uint64_t count)
{
    __atomic_fetch_add(value, count, __ATOMIC_RELAXED);
}

static inline uint64_t metrics_get(const uint64_t *value)
{
    return __atomic_load_n(value, __ATOMIC_RELAXED);
}

/* Copies a struct of nothing but uint64_t into its registered snapshot. `bytes` is a multiple of 8.
 */
void metrics_publish(void *out_snapshot, const void *counters, size_t bytes);

/* 0 or -ENOMEM. */
int metrics_create(struct heap *heap, struct metrics **out_metrics);
void metrics_destroy(struct heap *heap, struct metrics *metrics);

/* `values` is where the offsets of `table` count from. `shard`: 0 to METRICS_NO_SHARD. 0; -ENOSPC:
 * METRICS_TABLES_MAX tables; -EEXIST: this table has values for this shard already. */
int metrics_register(struct metrics *metrics, const struct metric *table, uint32_t count,
                     const void *values, uint32_t shard);

/* Appends everything in Prometheus' text format, version 0.0.4: HELP and TYPE once per family, one
 * line per value and shard, labelled shard="0" where there is one. */
void metrics_render_prometheus(struct metrics *metrics, struct text *text);

/* Sum over all shards of the values with this name; with `labels` (not NULL) only of those whose
 * label text is exactly that. 0 when there is none. */
uint64_t metrics_sum(struct metrics *metrics, const char *name, const char *labels);

#endif
