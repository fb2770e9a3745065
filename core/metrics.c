/*
 * The registry of metrics; see metrics.h. Values are grouped by the table that describes them, so
 * that a family is found once and not once per shard. The mutex guards the groups, never a value.
 */
#include "core/metrics.h"

#include <pthread.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/text.h"

struct metrics_group {
    const struct metric *table;
    uint32_t count;
    const void *values[METRICS_NO_SHARD + 1]; /* by shard; NULL: none */
};

struct metrics {
    pthread_mutex_t mutex;
    uint32_t group_count;
    struct metrics_group groups[METRICS_TABLES_MAX];
};

void metrics_publish(void *out_snapshot, const void *counters, size_t bytes)
{
    ps_assert(bytes % sizeof(uint64_t) == 0);
    uint64_t *to = out_snapshot;
    const uint64_t *from = counters;
    for (size_t i = 0; i < bytes / sizeof(uint64_t); i++)
        metrics_set(&to[i], from[i]);
}

int metrics_create(struct heap *heap, struct metrics **out_metrics)
{
    struct metrics *metrics = heap_zalloc(heap, sizeof(*metrics));
    if (metrics == NULL)
        return -ENOMEM;
    pthread_mutex_init(&metrics->mutex, NULL);
    *out_metrics = metrics;
    return 0;
}

void metrics_destroy(struct heap *heap, struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    pthread_mutex_destroy(&metrics->mutex);
    heap_free(heap, metrics);
}

/* The table's group, made if need be; NULL when there is no room. */
static struct metrics_group *find_group(struct metrics *metrics, const struct metric *table,
                                        uint32_t count)
{
    for (uint32_t i = 0; i < metrics->group_count; i++) {
        if (metrics->groups[i].table == table) {
            ps_assert(metrics->groups[i].count == count);
            return &metrics->groups[i];
        }
    }
    if (metrics->group_count == METRICS_TABLES_MAX)
        return NULL;
    struct metrics_group *group = &metrics->groups[metrics->group_count++];
    group->table = table;
    group->count = count;
    return group;
}

int metrics_register(struct metrics *metrics, const struct metric *table, uint32_t count,
                     const void *values, uint32_t shard)
{
    ps_assert(shard <= METRICS_NO_SHARD);
    for (uint32_t i = 0; i < count; i++)
        ps_assert(table[i].offset % sizeof(uint64_t) == 0);
    int result = 0;
    pthread_mutex_lock(&metrics->mutex);
    struct metrics_group *group = find_group(metrics, table, count);
    if (group == NULL)
        result = -ENOSPC;
    else if (group->values[shard] != NULL)
        result = -EEXIST;
    else
        group->values[shard] = values;
    pthread_mutex_unlock(&metrics->mutex);
    return result;
}

static uint64_t value_of(const struct metrics_group *group, const struct metric *metric,
                         uint32_t shard)
{
    const char *values = group->values[shard];
    return metrics_get((const uint64_t *)(const void *)(values + metric->offset));
}

static void render_value(const struct metrics_group *group, const struct metric *metric,
                         uint32_t shard, struct text *text)
{
    unsigned long long value = value_of(group, metric, shard);
    const char *labels = metric->labels == NULL ? "" : metric->labels;
    if (shard != METRICS_NO_SHARD)
        text_append(text, "%s{shard=\"%u\"%s%s} %llu\n", metric->name, shard,
                    labels[0] == '\0' ? "" : ",", labels, value);
    else if (labels[0] != '\0')
        text_append(text, "%s{%s} %llu\n", metric->name, labels, value);
    else
        text_append(text, "%s %llu\n", metric->name, value);
}

/* The first metric with this name in groups `from_group` and later; from `from_index` on in the
 * first of these. Advances both to it. NULL: none. */
static const struct metric *next_of_family(const struct metrics *metrics, const char *name,
                                           uint32_t *from_group, uint32_t *from_index)
{
    for (; *from_group < metrics->group_count; (*from_group)++, *from_index = 0) {
        const struct metrics_group *group = &metrics->groups[*from_group];
        for (; *from_index < group->count; (*from_index)++) {
            if (strcmp(group->table[*from_index].name, name) == 0)
                return &group->table[*from_index];
        }
    }
    return NULL;
}

static void render_family(const struct metrics *metrics, uint32_t first_group, uint32_t first_index,
                          struct text *text)
{
    const struct metric *first = &metrics->groups[first_group].table[first_index];
    text_append(text, "# HELP %s %s\n# TYPE %s %s\n", first->name, first->help, first->name,
                first->kind == METRIC_COUNTER ? "counter" : "gauge");
    uint32_t group_index = first_group;
    uint32_t index = first_index;
    const struct metric *metric;
    while ((metric = next_of_family(metrics, first->name, &group_index, &index)) != NULL) {
        const struct metrics_group *group = &metrics->groups[group_index];
        for (uint32_t shard = 0; shard <= METRICS_NO_SHARD; shard++) {
            if (group->values[shard] != NULL)
                render_value(group, metric, shard, text);
        }
        index++;
    }
}

void metrics_render_prometheus(struct metrics *metrics, struct text *text)
{
    pthread_mutex_lock(&metrics->mutex);
    for (uint32_t i = 0; i < metrics->group_count; i++) {
        for (uint32_t j = 0; j < metrics->groups[i].count; j++) {
            uint32_t first_group = 0;
            uint32_t first_index = 0;
            next_of_family(metrics, metrics->groups[i].table[j].name, &first_group, &first_index);
            if (first_group == i && first_index == j)
                render_family(metrics, i, j, text);
        }
    }
    pthread_mutex_unlock(&metrics->mutex);
}

uint64_t metrics_sum(struct metrics *metrics, const char *name, const char *labels)
{
    uint64_t sum = 0;
    uint32_t group_index = 0;
    uint32_t index = 0;
    const struct metric *metric;
    pthread_mutex_lock(&metrics->mutex);
    while ((metric = next_of_family(metrics, name, &group_index, &index)) != NULL) {
        const struct metrics_group *group = &metrics->groups[group_index];
        const char *own = metric->labels == NULL ? "" : metric->labels;
        if (labels == NULL || strcmp(own, labels) == 0) {
            for (uint32_t shard = 0; shard <= METRICS_NO_SHARD; shard++) {
                if (group->values[shard] != NULL)
                    sum += value_of(group, metric, shard);
            }
        }
        index++;
    }
    pthread_mutex_unlock(&metrics->mutex);
    return sum;
}
