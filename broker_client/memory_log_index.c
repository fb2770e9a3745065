/*
 * Which records of a block a reader's hints cover; see memory_log_internal.h. An index is a small
 * hash table of chains over the block's records, newest first, so that a walk ends where the reader
 * begins. Order does not matter: a walk sets bits. A chain entry carries 16 bits of the hash, so a
 * record that does not match is taken once in some 65,000 collisions, which the contract allows.
 */
#include "memory_log_internal.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"

enum { BUCKETS = 1024, INDEXED_PER_WORK = 1 };

struct index_entry {
    uint16_t next; /* entry + 1; 0: the end */
    uint16_t tag;
};

struct memory_log_index {
    uint16_t indexed_count;       /* records of the block that are in here, from its start */
    uint16_t heads[BUCKETS];      /* entry + 1; 0: empty */
    struct index_entry entries[]; /* record position * entries per record + which */
};

static size_t index_bytes(uint32_t entries_per_record)
{
    return sizeof(struct memory_log_index) +
           (size_t)entries_per_record * MEMORY_LOG_BLOCK_RECORDS * sizeof(struct index_entry);
}

static uint16_t tag_of(uint64_t hash)
{
    return (uint16_t)(hash >> 48);
}

static void index_add(struct memory_log_index *index, uint64_t hash, uint32_t entry)
{
    uint16_t *head = &index->heads[hash % BUCKETS];
    index->entries[entry] = (struct index_entry){*head, tag_of(hash)};
    *head = (uint16_t)(entry + 1);
}

/* Bytes of the first `levels` levels of `text`; 0 levels are left in *levels when it has as many.
 */
static uint32_t prefix_bytes(const unsigned char *text, uint32_t text_bytes, uint32_t *levels)
{
    uint32_t position = 0;
    for (;;) {
        const unsigned char *slash = memchr(text + position, '/', text_bytes - position);
        --*levels;
        if (slash == NULL)
            return text_bytes;
        if (*levels == 0)
            return (uint32_t)(slash - text);
        position = (uint32_t)(slash - text) + 1;
    }
}

static void add_topic(struct memory_log_index *index, uint32_t position,
                      const struct record *record, uint64_t seed)
{
    index_add(index, hash_bytes_seeded(seed, record_topic(record), record->topic_bytes), position);
}

/* One entry for each prefix of 1, 2 and 3 levels that the topic has. */
static void add_prefixes(struct memory_log_index *index, uint32_t position,
                         const struct record *record, uint64_t seed)
{
    const unsigned char *topic = record_topic(record);
    for (uint32_t level = 0; level < MEMORY_LOG_PREFIX_LEVELS; level++) {
        uint32_t levels_left = level + 1;
        uint32_t bytes = prefix_bytes(topic, record->topic_bytes, &levels_left);
        if (levels_left > 0)
            return;
        index_add(index, hash_bytes_seeded(seed, topic, bytes),
                  position * MEMORY_LOG_PREFIX_LEVELS + level);
    }
}

typedef void add_record(struct memory_log_index *index, uint32_t position,
                        const struct record *record, uint64_t seed);

/* Brings an index up to the block's first `count` records. Those below `first_kept` may be gone
 * already. NULL when there is no memory for it. */
static struct memory_log_index *index_update(struct memory_log *log,
                                             struct memory_log_index **index,
                                             uint32_t entries_per_record, add_record *add,
                                             const struct memory_log_block *block,
                                             uint32_t first_kept, uint32_t count, uint32_t *work)
{
    if (*index == NULL) {
        struct memory_log_index *created = heap_alloc(log->heap, index_bytes(entries_per_record));
        if (created == NULL)
            return NULL;
        created->indexed_count = 0;
        memset(created->heads, 0, sizeof(created->heads));
        log->account->bytes += index_bytes(entries_per_record);
        *index = created;
    }
    uint32_t begin = (*index)->indexed_count;
    if (begin < first_kept)
        begin = first_kept;
    for (uint32_t position = begin; position < count; position++)
        add(*index, position, block->records[position], log->hash_seed);
    if (begin < count) {
        *work += (count - begin) * entries_per_record * INDEXED_PER_WORK;
        (*index)->indexed_count = (uint16_t)count;
    }
    return *index;
}

static bool has_prefix(const struct record *record, const struct broker_bytes *prefix)
{
    if (record->topic_bytes < prefix->count)
        return false;
    const unsigned char *topic = record_topic(record);
    return memcmp(topic, prefix->bytes, prefix->count) == 0 &&
           (record->topic_bytes == prefix->count || topic[prefix->count] == '/');
}

static uint32_t mark_chain(const struct memory_log_index *index, uint32_t entries_per_record,
                           const struct memory_log_block *block, uint32_t position,
                           const struct memory_log_hint *hint, struct memory_log_marks *marks)
{
    uint32_t steps = 1;
    uint16_t tag = tag_of(hint->hash);
    for (uint32_t at = index->heads[hint->hash % BUCKETS]; at != 0; steps++) {
        const struct index_entry *entry = &index->entries[at - 1];
        uint32_t record_position = (at - 1) / entries_per_record;
        if (record_position < position)
            break;
        if (entry->tag == tag && (hint->deep_prefix == NULL ||
                                  has_prefix(block->records[record_position], hint->deep_prefix)))
            marks->words[record_position / 64] |= 1ULL << record_position % 64;
        at = entry->next;
    }
    return steps;
}

static void mark_all(struct memory_log_marks *marks, uint32_t position, uint32_t count)
{
    for (; position < count; position++)
        marks->words[position / 64] |= 1ULL << position % 64;
}

uint32_t memory_log_block_mark(struct memory_log *log, struct memory_log_block *block,
                               uint64_t begin, uint64_t end,
                               const struct memory_log_scratch *scratch,
                               struct memory_log_marks *out_marks)
{
    uint32_t position = (uint32_t)((begin - 1) % MEMORY_LOG_BLOCK_RECORDS);
    uint32_t count = position + (uint32_t)(end - begin);
    /* Another reader may begin lower than this one, so the index is of all that are there. */
    uint64_t block_begin = begin - position;
    uint32_t first_kept = (uint32_t)(ps_max_u64(log->first, block_begin) - block_begin);
    uint32_t work = 1;
    memset(out_marks, 0, sizeof(*out_marks));
    uint32_t topic_count = scratch->topic_count;
    if (topic_count > 0) {
        const struct memory_log_index *index =
            index_update(log, &block->topics, 1, add_topic, block, first_kept, count, &work);
        if (index == NULL)
            goto without_index;
        for (uint32_t hint = 0; hint < topic_count; hint++)
            work += mark_chain(index, 1, block, position, &scratch->hints[hint], out_marks);
    }
    if (scratch->prefix_count > 0) {
        const struct memory_log_index *index =
            index_update(log, &block->prefixes, MEMORY_LOG_PREFIX_LEVELS, add_prefixes, block,
                         first_kept, count, &work);
        if (index == NULL)
            goto without_index;
        for (uint32_t hint = topic_count; hint < topic_count + scratch->prefix_count; hint++)
            work += mark_chain(index, MEMORY_LOG_PREFIX_LEVELS, block, position,
                               &scratch->hints[hint], out_marks);
    }
    return work;
without_index:
    mark_all(out_marks, position, count);
    return work + count - position;
}

static struct memory_log_hint hash_prefix(const struct broker_bytes *prefix, uint64_t seed)
{
    uint32_t levels_left = MEMORY_LOG_PREFIX_LEVELS;
    uint32_t bytes = prefix_bytes(prefix->bytes, prefix->count, &levels_left);
    return (struct memory_log_hint){.hash = hash_bytes_seeded(seed, prefix->bytes, bytes),
                                    .deep_prefix = bytes < prefix->count ? prefix : NULL};
}

bool memory_log_hints_prepare(struct memory_log_scratch *scratch, const struct broker_hint *hint,
                              uint64_t hash_seed)
{
    if ((uint32_t)hint->topic_count + hint->prefix_count > MEMORY_LOG_HINTS_MAX)
        return false;
    scratch->topic_count = hint->topic_count;
    scratch->prefix_count = hint->prefix_count;
    struct memory_log_hint *next = scratch->hints;
    for (uint32_t index = 0; index < hint->topic_count; index++)
        *next++ =
            (struct memory_log_hint){.hash = hash_bytes_seeded(hash_seed, hint->topics[index].bytes,
                                                               hint->topics[index].count)};
    for (uint32_t index = 0; index < hint->prefix_count; index++)
        *next++ = hash_prefix(&hint->prefixes[index], hash_seed);
    return true;
}

static void index_free(struct memory_log *log, struct memory_log_index *index,
                       uint32_t entries_per_record)
{
    if (index == NULL)
        return;
    log->account->bytes -= index_bytes(entries_per_record);
    heap_free(log->heap, index);
}

void memory_log_block_forget(struct memory_log *log, struct memory_log_block *block)
{
    index_free(log, block->topics, 1);
    index_free(log, block->prefixes, MEMORY_LOG_PREFIX_LEVELS);
    block->topics = NULL;
    block->prefixes = NULL;
}
