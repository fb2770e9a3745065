/*
 * Pulls of an embedded handle: from the tail in memory, or below it through the reader; see
 * embedded_handle_internal.h.
 *
 *   1          oldest     covered            tail
 *   |  removed  |  extents   |                |
 *               '--- reader --- log.first ....'   from log.first on: memory
 *
 * Thread: the handle's shard.
 */
#include "core/base.h"
#include "embedded_handle_internal.h"

/* Answers from the tail what is at or above `begin`. */
static void read_tail(struct embedded_handle *handle, struct embedded_partition *partition,
                      struct broker_pull *pull, uint64_t begin, bool is_channel,
                      uint32_t *work_left)
{
    uint64_t from = pull->from;
    pull->from = begin;
    memory_log_read(&partition->log, pull, is_channel, &handle->scratch, work_left);
    pull->from = from;
}

bool embedded_read_begin(struct embedded_handle *handle, struct embedded_partition *partition,
                         struct broker_pull *pull, bool is_channel, uint32_t *work_left,
                         int *out_status)
{
    uint64_t from = ps_max_u64(pull->from, 1);
    uint64_t begin = ps_max_u64(from, embedded_oldest(partition));
    uint32_t count = partition->extent_count;
    *out_status = 0;
    if (begin >= partition->log.first || count == 0 ||
        partition->extents[count - 1].next <= begin) {
        begin = ps_max_u64(begin, partition->log.first);
        read_tail(handle, partition, pull, begin, is_channel, work_left);
        pull->removed = log_jumps_records(&partition->jumps, from, begin);
        return true;
    }
    if (is_channel) {
        partition->channel_hint = pull->hint;
        pull->hint = (struct broker_hint){.all = true};
    }
    uint64_t pull_from = pull->from;
    pull->removed = log_jumps_records(&partition->jumps, from, begin);
    pull->from = begin; /* the reader adds what goes from here on */
    *out_status = log_reader_pull(handle->reader, pull);
    pull->from = pull_from;
    if (*out_status == 0) {
        handle->reading_count++;
        handle->has_news = true; /* the reader looks at it in its turn */
    }
    if (is_channel) {
        partition->is_channel_reading = *out_status == 0;
        if (*out_status < 0)
            pull->hint = partition->channel_hint;
    }
    return false;
}

struct log_reader_partition embedded_read_partition(void *context, uint16_t number)
{
    const struct embedded_partition *partition = embedded_partition_of(context, number);
    return (struct log_reader_partition){.extents = partition->extents,
                                         .extent_count = partition->extent_count,
                                         .tail_first = partition->log.first};
}

void embedded_read_done(void *context, struct broker_pull *pull)
{
    struct embedded_handle *handle = context;
    struct embedded_partition *partition = embedded_partition_of(handle, pull->partition);
    bool is_channel = partition->channel == pull;
    handle->reading_count--;
    handle->has_news = true; /* for partitions and pulls, whose part of this turn is over */
    if (is_channel) {
        partition->channel = NULL;
        partition->is_channel_reading = false;
    } else {
        handle->taken_count--;
    }
    pull->is_at_tail = pull->next > memory_log_tail(&partition->log);
    if (pull->count == 0 && pull->next >= partition->log.first && !pull->is_at_tail) {
        /* It found nothing up to the tail: it goes on there, with the room of a whole answer. */
        uint64_t removed = pull->removed;
        uint32_t work_left = UINT32_MAX;
        read_tail(handle, partition, pull, pull->next, is_channel, &work_left);
        pull->removed += removed;
    }
    if (is_channel) {
        pull->hint = partition->channel_hint;
        if (partition->appends.count > 0)
            embedded_set_due(handle, partition);
    }
    broker_request_finish(&pull->request);
}
