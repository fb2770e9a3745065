/*
 * The partition log in memory: appending, removing, reading; see memory_log_internal.h.
 *
 *   first                                                    next
 *     v                                                        v
 *   [ . . # # # # # # ][ # # # # # # # # ] ... [ # # # # # # . . ]      blocks of 1,024 references
 *
 * Block n holds the sequences 1,024 n + 1 and up, and stands at blocks[n mod block_capacity]. Those
 * exist from the block of `first` to the last one before `unreserved`: while they hold a kept
 * sequence, are the one that `next` falls into, or were reserved.
 */
#include "memory_log_internal.h"

#include "broker_client/broker_driver.h"
#include "core/base.h"
#include "core/heap.h"

enum { BLOCKS_FIRST = 8 }; /* of a new log's ring */

static uint64_t block_number(uint64_t sequence)
{
    return (sequence - 1) / MEMORY_LOG_BLOCK_RECORDS;
}

static uint32_t block_position(uint64_t sequence)
{
    return (uint32_t)((sequence - 1) % MEMORY_LOG_BLOCK_RECORDS);
}

static struct memory_log_block **block_place(struct memory_log *log, uint64_t number)
{
    return &log->blocks[number & (log->block_capacity - 1)];
}

static uint64_t record_log_bytes(const struct record *record)
{
    return record_memory_bytes(record->topic_bytes, record->fields_bytes, record->payload_bytes);
}

void memory_log_init(struct memory_log *log, struct heap *heap, struct memory_log_account *account,
                     uint64_t hash_seed)
{
    *log = (struct memory_log){.heap = heap, .account = account, .hash_seed = hash_seed};
    memory_log_start(log, 1);
}

void memory_log_start(struct memory_log *log, uint64_t sequence)
{
    ps_assert(log->blocks == NULL && sequence > 0);
    log->first = sequence;
    log->next = sequence;
    log->unreserved = sequence - block_position(sequence);
}

static void block_free(struct memory_log *log, struct memory_log_block *block)
{
    memory_log_block_forget(log, block);
    if (log->spare == NULL) {
        log->spare = block;
        return;
    }
    log->account->bytes -= sizeof(*block);
    heap_free(log->heap, block);
}

void memory_log_deinit(struct memory_log *log)
{
    memory_log_remove(log, log->next, UINT32_MAX);
    for (uint64_t number = block_number(log->first); number < block_number(log->unreserved);
         number++)
        block_free(log, *block_place(log, number));
    if (log->spare != NULL) {
        log->account->bytes -= sizeof(*log->spare);
        heap_free(log->heap, log->spare);
    }
    log->account->bytes -= log->block_capacity * sizeof(struct memory_log_block *);
    heap_free(log->heap, log->blocks);
}

/* Blocks that exist, the spare one apart: from that of `first` on. */
static uint64_t block_count(const struct memory_log *log)
{
    return block_number(log->unreserved) - block_number(log->first);
}

/* What the log takes but for indexes. */
static struct memory_log_account measure(const struct memory_log *log)
{
    uint64_t blocks = block_count(log) + (log->spare != NULL);
    struct memory_log_account own = {
        .bytes = blocks * sizeof(struct memory_log_block) +
                 log->block_capacity * sizeof(struct memory_log_block *),
        .records = log->next - log->first,
    };
    for (uint64_t sequence = log->first; sequence < log->next; sequence++)
        own.bytes += record_log_bytes(memory_log_at(log, sequence));
    return own;
}

void memory_log_move(struct memory_log *log, struct heap *heap, struct memory_log_account *account)
{
    for (uint64_t i = 0; i < block_count(log); i++)
        memory_log_block_forget(log, *block_place(log, block_number(log->first) + i));
    const struct memory_log_account own = measure(log);
    log->account->bytes -= own.bytes;
    log->account->records -= own.records;
    account->bytes += own.bytes;
    account->records += own.records;
    log->account = account;
    log->heap = heap;
}

/* Makes the ring of blocks twice as long. */
static int ring_grow(struct memory_log *log)
{
    uint32_t capacity = log->block_capacity > 0 ? 2 * log->block_capacity : BLOCKS_FIRST;
    struct memory_log_block **blocks = heap_zalloc(log->heap, capacity * sizeof(*blocks));
    if (blocks == NULL)
        return -ENOMEM;
    if (log->blocks != NULL)
        for (uint64_t number = block_number(log->first); number < block_number(log->unreserved);
             number++)
            blocks[number & (capacity - 1)] = *block_place(log, number);
    log->account->bytes += (capacity - log->block_capacity) * sizeof(*blocks);
    heap_free(log->heap, log->blocks);
    log->blocks = blocks;
    log->block_capacity = capacity;
    return 0;
}

/* Makes the first block that is not there yet. */
static int block_start(struct memory_log *log)
{
    uint64_t number = block_number(log->unreserved);
    if (number - block_number(log->first) >= log->block_capacity && ring_grow(log) < 0)
        return -ENOMEM;
    struct memory_log_block *block = log->spare;
    if (block == NULL) {
        block = heap_alloc(log->heap, sizeof(*block));
        if (block == NULL)
            return -ENOMEM;
        log->account->bytes += sizeof(*block);
    }
    log->spare = NULL;
    block->topics = NULL;
    block->prefixes = NULL;
    *block_place(log, number) = block;
    log->unreserved += MEMORY_LOG_BLOCK_RECORDS;
    return 0;
}

int memory_log_reserve(struct memory_log *log, uint64_t sequence)
{
    while (ps_unlikely(sequence >= log->unreserved))
        if (block_start(log) < 0)
            return -ENOMEM;
    return 0;
}

void memory_log_put(struct memory_log *log, struct record *record)
{
    ps_assert(record->sequence == log->next && log->next < log->unreserved);
    (*block_place(log, block_number(log->next)))->records[block_position(log->next)] = record;
    log->account->bytes += record_log_bytes(record);
    log->account->records++;
    log->next++;
}

int memory_log_append(struct memory_log *log, struct record *record)
{
    if (memory_log_reserve(log, log->next) < 0)
        return -ENOMEM;
    ps_assert(record->sequence == 0);
    record->sequence = log->next;
    memory_log_put(log, record);
    return 0;
}

uint32_t memory_log_remove(struct memory_log *log, uint64_t below, uint32_t count_max)
{
    uint64_t end = ps_min_u64(below, log->next);
    uint32_t removed = 0;
    for (; log->first < end && removed < count_max; removed++) {
        struct memory_log_block **place = block_place(log, block_number(log->first));
        struct record *record = (*place)->records[block_position(log->first)];
        log->account->bytes -= record_log_bytes(record);
        log->account->records--;
        record_release(log->heap, record);
        log->first++;
        if (block_position(log->first) == 0) {
            block_free(log, *place);
            *place = NULL;
        }
    }
    return removed;
}

/* Adds a record to an answer; false when it does not fit any more. */
static bool answer_add(struct broker_pull *pull, struct record *record, uint64_t *bytes)
{
    uint32_t records_max = pull->records_max;
    if (records_max == 0 || records_max > BROKER_PULL_RECORDS_MAX)
        records_max = BROKER_PULL_RECORDS_MAX;
    uint64_t bytes_after = *bytes + broker_record_bytes(record);
    if (pull->count == records_max || (pull->count > 0 && bytes_after > pull->bytes_max))
        return false;
    *bytes = bytes_after;
    pull->records[pull->count++] = record;
    return true;
}

/* Each read answers `pull->next` itself; `position` is where it begins. */
static void read_all(const struct memory_log *log, struct broker_pull *pull, uint64_t sequence)
{
    uint64_t bytes = 0;
    while (sequence < log->next && answer_add(pull, memory_log_at(log, sequence), &bytes))
        sequence++;
    pull->next = sequence;
}

/* Adds the marked records of a block. Result: the sequence where it stopped, `end` when all fitted.
 */
static uint64_t read_marked(const struct memory_log *log, struct broker_pull *pull,
                            const struct memory_log_marks *marks, uint64_t begin, uint64_t end,
                            uint64_t *bytes)
{
    uint64_t block_first = begin - block_position(begin);
    for (uint32_t word = block_position(begin) / 64; word < ps_array_count(marks->words); word++) {
        for (uint64_t bits = marks->words[word]; bits != 0; bits &= bits - 1) {
            uint64_t sequence = block_first + 64 * word + (unsigned)__builtin_ctzll(bits);
            if (!answer_add(pull, memory_log_at(log, sequence), bytes))
                return sequence;
        }
    }
    return end;
}

static void read_hinted(struct memory_log *log, struct broker_pull *pull, uint64_t sequence,
                        const struct memory_log_scratch *scratch, uint32_t *work_left)
{
    uint64_t bytes = 0;
    bool is_full = false;
    do {
        struct memory_log_block *block = *block_place(log, block_number(sequence));
        uint64_t block_end = sequence - block_position(sequence) + MEMORY_LOG_BLOCK_RECORDS;
        uint64_t end = ps_min_u64(block_end, log->next);
        struct memory_log_marks marks;
        uint32_t work = memory_log_block_mark(log, block, sequence, end, scratch, &marks);
        *work_left -= ps_min_u32(work, *work_left);
        uint64_t stopped = read_marked(log, pull, &marks, sequence, end, &bytes);
        is_full = stopped != end;
        sequence = stopped;
    } while (sequence < log->next && !is_full && *work_left > 0);
    pull->next = sequence;
}

void memory_log_read(struct memory_log *log, struct broker_pull *pull, bool is_channel,
                     struct memory_log_scratch *scratch, uint32_t *work_left)
{
    uint64_t from = ps_max_u64(pull->from, 1);
    uint64_t begin = ps_max_u64(from, log->first);
    pull->status = BROKER_OK;
    pull->count = 0;
    pull->removed = begin - from;
    pull->next = begin;
    if (begin < log->next) {
        if (is_channel || pull->hint.all ||
            !memory_log_hints_prepare(scratch, &pull->hint, log->hash_seed))
            read_all(log, pull, begin);
        else
            read_hinted(log, pull, begin, scratch, work_left);
    }
    *work_left -= ps_min_u32((uint32_t)pull->count + 1, *work_left);
    pull->is_at_tail = pull->next >= log->next;
}
