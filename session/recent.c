/*
 * The ring of recent hand-overs; see recent.h.
 */
#include "session/recent.h"

#include "core/base.h"
#include "core/heap.h"
#include "session/topic.h"

static struct recent_entry *entry_at(const struct recent *recent, uint64_t position)
{
    return &recent->entries[position & (recent->entries_max - 1)];
}

static uint64_t bytes_of(const struct record *record)
{
    return record_memory_bytes(record->topic_bytes, record->fields_bytes, record->payload_bytes);
}

static void drop_oldest(struct recent *recent)
{
    struct record *record = entry_at(recent, recent->first)->record;
    recent->bytes -= bytes_of(record);
    recent->first++;
    record_release(recent->heap, record);
}

void recent_deinit(struct recent *recent)
{
    while (recent->entries != NULL && recent->first != recent->next)
        drop_oldest(recent);
    heap_free(recent->heap, recent->entries);
    heap_free(recent->heap, recent->last_of_partition);
    *recent = (struct recent){0};
}

int recent_init(struct recent *recent, struct heap *heap, uint32_t entries_max, uint32_t bytes_max,
                uint16_t partition_count)
{
    uint32_t entries = 64;
    while (entries < entries_max)
        entries *= 2;
    *recent = (struct recent){
        .heap = heap, .entries_max = entries, .bytes_max = bytes_max, .first = 1, .next = 1};
    recent->entries = heap_alloc(heap, entries * sizeof(struct recent_entry));
    recent->last_of_partition = heap_zalloc(heap, partition_count * sizeof(uint64_t));
    if (recent->entries != NULL && recent->last_of_partition != NULL)
        return 0;
    recent_deinit(recent);
    return -ENOMEM;
}

uint64_t recent_push(struct recent *recent, struct record *record, struct topic *topic)
{
    uint64_t bytes = bytes_of(record);
    while (recent->first != recent->next && (recent->next - recent->first >= recent->entries_max ||
                                             recent->bytes + bytes > recent->bytes_max))
        drop_oldest(recent);
    uint64_t position = recent->next++;
    *entry_at(recent, position) = (struct recent_entry){
        .record = record_acquire(record),
        .next = topic->is_cached ? 0 : RECENT_UNKNOWN,
    };
    recent->bytes += bytes;
    uint64_t *last = &recent->last_of_partition[record->partition];
    if (*last >= recent->first)
        entry_at(recent, *last)->next_of_partition = position;
    *last = position;
    if (topic->is_cached) {
        if (topic->recent_last >= recent->first)
            entry_at(recent, topic->recent_last)->next = position;
        topic->recent_last = position;
    }
    return position;
}

const struct recent_entry *recent_at(const struct recent *recent, uint64_t position)
{
    bool is_there = position >= recent->first && position < recent->next;
    return is_there ? entry_at(recent, position) : NULL;
}

void recent_forget_topic(struct recent *recent, const struct topic *topic)
{
    if (topic->recent_last >= recent->first && topic->recent_last != 0)
        entry_at(recent, topic->recent_last)->next = RECENT_UNKNOWN;
}
