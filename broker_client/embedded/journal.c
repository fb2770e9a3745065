/*
 * The journal: records, batches, writes and what follows from their failure; see journal_internal.h
 * and, for the positions, journal_state_internal.h. Segments are journal_segment.c's.
 *
 * Thread: the handle's shard. Waits for no disk but in journal_destroy.
 */
#include "core/base.h"
#include "core/disk.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/ring.h"
#include "journal_state_internal.h"

static struct record **pending_at(const struct journal *journal, uint64_t position)
{
    return &journal->pending[position & (JOURNAL_PENDING_MAX - 1)];
}

static void batch_clear(struct journal *journal, struct journal_batch *batch)
{
    heap_free(journal->heap, batch->own);
    batch->own = NULL;
    batch->writer = NULL;
    batch->records = 0;
    batch->bytes = 0;
    batch->is_full = false;
}

static unsigned char *batch_bytes(const struct journal *journal, const struct journal_batch *batch)
{
    unsigned char *buffer = batch->own != NULL ? batch->own : batch->fixed;
    return buffer + journal->header_bytes;
}

/* Begins a batch whose first record has that many bytes; false: there is no place for it now. */
static bool batch_begin(struct journal *journal, struct journal_batch *batch, uint64_t record_bytes)
{
    uint64_t bytes = SEGMENT_BATCH_HEADER_BYTES + record_bytes;
    struct journal_writer *writer = journal_segment_for(journal, bytes);
    if (writer == NULL)
        return false;
    if (bytes > JOURNAL_BATCH_BYTES_MAX) {
        batch->own =
            heap_alloc_aligned(journal->heap, SEGMENT_PAGE_BYTES, journal->header_bytes + bytes);
        if (batch->own == NULL)
            return false;
    }
    uint64_t room = ps_max_u64(JOURNAL_BATCH_BYTES_MAX, bytes);
    batch->writer = writer;
    batch->room = (uint32_t)ps_min_u64(room, writer->segment->capacity - writer->end);
    batch->bytes = SEGMENT_BATCH_HEADER_BYTES;
    batch->first = journal->encoded;
    batch->begun_ns = journal->now_ns;
    return true;
}

/* Encodes a record behind those that have gathered; false: it does not fit. */
static bool batch_put(struct journal *journal, const struct record *record)
{
    struct journal_batch *batch = journal->gathering;
    uint64_t bytes = segment_record_bytes(record);
    if (ps_unlikely(batch->is_full))
        return false;
    if (ps_unlikely(batch->records == 0)) {
        if (!batch_begin(journal, batch, bytes))
            return false;
    } else if (ps_unlikely(bytes > batch->room - batch->bytes)) {
        batch->is_full = true;
        return false;
    }
    unsigned char *out = batch_bytes(journal, batch) + batch->bytes;
    memset(out + bytes - SEGMENT_ALIGNMENT, 0, SEGMENT_ALIGNMENT); /* the filling */
    uint64_t seed = segment_record_seed(batch->writer->segment->seed, record->partition);
    ps_assert(record_encode(record, seed, out, bytes) > 0);
    batch->bytes += (uint32_t)bytes;
    batch->records++;
    journal->encoded++;
    return true;
}

int journal_add(struct journal *journal, struct record *record)
{
    if (ps_unlikely(journal->encoded != journal->added ||
                    journal->added - journal->kept == JOURNAL_PENDING_MAX))
        return -EAGAIN;
    if (!batch_put(journal, record))
        return -EAGAIN;
    *pending_at(journal, journal->added++) = record;
    return 0;
}

/* Tells what is committed up to `position`. With `is_kept` the journal goes on needing it. */
static void tell_committed(struct journal *journal, uint64_t position, bool is_kept)
{
    while (journal->committed < position) {
        uint64_t begin = journal->committed & (JOURNAL_PENDING_MAX - 1);
        uint64_t count = ps_min_u64(position - journal->committed, JOURNAL_PENDING_MAX - begin);
        struct record **records = &journal->pending[begin];
        if (is_kept)
            for (uint64_t i = 0; i < count; i++)
                record_acquire(records[i]);
        journal->committed += count;
        if (!is_kept)
            journal->kept = journal->committed;
        journal->events.on_committed(journal->events.context, records, (uint32_t)count);
    }
}

/* Everything before `position` is on the disk. */
static void forget_kept(struct journal *journal, uint64_t position)
{
    for (; journal->kept < position; journal->kept++)
        record_release(journal->heap, *pending_at(journal, journal->kept));
}

void journal_pause(struct journal *journal, struct journal_pause *pause)
{
    journal->counters.failures++;
    pause->ms =
        pause->ms == 0 ? JOURNAL_PAUSE_FIRST_MS : ps_min_u32(2 * pause->ms, JOURNAL_PAUSE_MAX_MS);
    pause->until_ns = journal->now_ns + (uint64_t)pause->ms * 1000000;
}

void journal_fail(struct journal *journal, struct journal_pause *pause, const char *operation,
                  int error)
{
    journal_pause(journal, pause);
    if (journal->is_unhealthy)
        return;
    journal->is_unhealthy = true;
    if (journal->store->log != NULL)
        log_write(journal->store->log, LOG_ERROR, "log_disk_failed",
                  "shard=%u operation=%s error=\"%s\" what=\"nothing is acknowledged until it "
                  "heals\"",
                  journal->shard, operation, strerror(-error));
    journal->events.on_health(journal->events.context, false);
}

void journal_heal(struct journal *journal)
{
    journal->pause.ms = 0;
    if (!journal->is_unhealthy)
        return;
    journal->is_unhealthy = false;
    if (journal->store->log != NULL)
        log_write(journal->store->log, LOG_INFO, "log_disk_healed", "shard=%u", journal->shard);
    journal->events.on_health(journal->events.context, true);
}

static void finish_write(struct journal *journal)
{
    struct journal_batch *batch = journal->sent;
    struct journal_writer *writer = batch->writer;
    uint64_t ns = ring_now_ns(journal->ring) - journal->write_ns;
    journal->counters.sync_ns += ns;
    journal->counters.longest_sync_ns = ps_max_u64(journal->counters.longest_sync_ns, ns);
    journal->is_write_done = false;
    journal->sent = NULL;
    if (journal->write.result < 0 || journal->failure != 0) {
        if (journal->failure == 0)
            journal->failure = journal->write.result;
        return; /* the batch is encoded again, for another segment */
    }
    ps_assert((uint32_t)journal->write.result == journal->write.bytes);
    journal->counters.batches++;
    journal->counters.bytes += journal->write.bytes;
    writer->written_end = journal->write.offset + journal->write.bytes;
    uint64_t begun_ns = batch->begun_ns;
    journal->written = batch->first + batch->records;
    atomic_store_explicit(&writer->segment->newest_ms,
                          (*pending_at(journal, journal->written - 1))->publish_ms,
                          memory_order_relaxed);
    batch_clear(journal, batch);
    journal_heal(journal);
    switch (journal->commit) {
    case EMBEDDED_COMMIT_SYNCED:
        writer->synced_end = writer->written_end;
        tell_committed(journal, journal->written, false);
        break;
    case EMBEDDED_COMMIT_WRITTEN:
    case EMBEDDED_COMMIT_MEMORY:
        if (journal->unsynced_since_ns == UINT64_MAX)
            journal->unsynced_since_ns = begun_ns;
        tell_committed(journal, journal->written, true);
        break;
    }
}

static void finish_sync(struct journal *journal)
{
    struct journal_writer *writer = journal->sync_writer;
    journal->is_sync_done = false;
    journal->sync_writer = NULL;
    if (journal->sync.result < 0 || journal->failure != 0) {
        if (journal->failure == 0)
            journal->failure = journal->sync.result;
        return;
    }
    writer->synced_end = journal->sync_end;
    forget_kept(journal, journal->sync_position);
    bool is_more = journal->written > journal->kept;
    journal->unsynced_since_ns = is_more ? journal->now_ns : UINT64_MAX;
}

/* Goes back to what is synced. Called when nothing is under way any more. */
static void fall_back(struct journal *journal)
{
    const char *operation = journal->write.result < 0 ? "write" : "sync";
    journal_fail(journal, &journal->pause, operation, journal->failure);
    journal->failure = 0;
    journal->write.result = 0;
    for (size_t i = 0; i < ps_array_count(journal->batches); i++)
        batch_clear(journal, &journal->batches[i]);
    journal_segment_abandon(journal);
    journal->written = journal->kept;
    journal->encoded = journal->kept;
    journal->unsynced_since_ns = UINT64_MAX;
}

bool journal_take(struct journal *journal, struct ring_file_request *request)
{
    if (request == &journal->write)
        journal->is_write_done = true;
    else if (request == &journal->sync)
        journal->is_sync_done = true;
    else
        return false;
    return true;
}

/* Encodes what has no place yet, as far as there is one. */
static void encode_pending(struct journal *journal)
{
    while (journal->encoded < journal->added &&
           batch_put(journal, *pending_at(journal, journal->encoded)))
        ;
}

/* The same for what a failure left, once its pause is over. */
static void encode_again(struct journal *journal)
{
    if (ps_likely(journal->encoded == journal->added) ||
        (journal->pause.ms > 0 && journal->now_ns < journal->pause.until_ns))
        return;
    encode_pending(journal);
}

void journal_turn(struct journal *journal, uint64_t now_ns)
{
    journal->now_ns = now_ns;
    if (journal->is_write_done)
        finish_write(journal);
    if (journal->is_sync_done)
        finish_sync(journal);
    if (journal->failure != 0 && journal->sent == NULL && journal->sync_writer == NULL)
        fall_back(journal);
    if (journal->commit == EMBEDDED_COMMIT_MEMORY)
        tell_committed(journal, journal->added, true);
    journal_segment_turn(journal);
    encode_again(journal);
}

/* The sequences that a new segment begins with: those of the first records of each partition that
 * are not in an earlier one. */
static void fill_header(struct journal *journal, const struct journal_batch *batch,
                        unsigned char *out)
{
    uint16_t shard_count = journal->store->config.shard_count;
    struct segment_header header = {
        .number = batch->writer->segment->number,
        .run = journal->store->run,
        .created_ms = ring_wall_ms(journal->ring),
        .shard = journal->shard,
        .shard_count = shard_count,
        .partition_count = journal->partition_count,
    };
    uint16_t count = journal->events.fill_partitions(journal->events.context, journal->partitions,
                                                     journal->partition_count);
    ps_assert(count == journal->partition_count);
    for (uint64_t position = journal->added; position > batch->first; position--) {
        const struct record *record = *pending_at(journal, position - 1);
        struct segment_partition *of = &journal->partitions[record->partition / shard_count];
        ps_assert(of->partition == record->partition);
        of->next = record->sequence;
    }
    segment_header_encode(batch->writer->segment->seed, &header, journal->partitions, out);
}

/* The gathering batch as a request; its number and place are taken when it is sent. */
static struct ring_file_request prepare_write(struct journal *journal)
{
    const struct journal_batch *batch = journal->gathering;
    const struct journal_writer *writer = batch->writer;
    unsigned char *bytes = batch_bytes(journal, batch);
    const struct segment_batch header = {writer->batches, batch->bytes, batch->records};
    segment_batch_encode(writer->segment->seed, &header, bytes);
    struct ring_file_request request = {
        .fd = writer->segment->fd,
        .kind =
            journal->commit == EMBEDDED_COMMIT_SYNCED ? RING_FILE_WRITE_SYNCED : RING_FILE_WRITE,
        .buffer = bytes,
        .bytes = batch->bytes,
        .offset = writer->end,
        .owner = journal,
    };
    if (writer->batches == 0) {
        request.buffer = bytes - journal->header_bytes;
        request.bytes += journal->header_bytes;
        request.offset = 0;
        fill_header(journal, batch, request.buffer);
    }
    return request;
}

static void note_sent(struct journal *journal)
{
    struct journal_batch *batch = journal->gathering;
    struct journal_writer *writer = batch->writer;
    if (writer->batches == 0) {
        writer->begun_ns = journal->now_ns;
        journal->counters.segments++;
    }
    writer->batches++;
    writer->end += batch->bytes;
    writer->added = batch->first + batch->records;
    journal->gathering =
        batch == &journal->batches[0] ? &journal->batches[1] : &journal->batches[0];
    ps_assert(journal->gathering->records == 0);
}

static bool is_write_due(const struct journal *journal)
{
    const struct journal_batch *batch = journal->gathering;
    if (journal->sent != NULL || batch->records == 0 || journal->failure != 0)
        return false;
    if (journal->commit != EMBEDDED_COMMIT_MEMORY || batch->is_full || batch->writer->is_closing)
        return true;
    uint64_t age_ns = journal->now_ns - batch->begun_ns;
    return age_ns >= JOURNAL_SYNC_MS * 1000000ULL ||
           journal->added - journal->kept >= JOURNAL_PENDING_MAX / 2;
}

/* The segment that has unsynced batches, the earlier one first; NULL: none, or it is not time. */
static struct journal_writer *find_sync_due(const struct journal *journal)
{
    if (journal->commit == EMBEDDED_COMMIT_SYNCED || journal->failure != 0 ||
        journal->sync_writer != NULL || journal->written == journal->kept)
        return NULL;
    bool is_left = journal->leaving->segment != NULL;
    struct journal_writer *writer = is_left ? journal->leaving : journal->current;
    bool is_whole = is_left && journal->written >= writer->added;
    uint64_t since_ns = journal->unsynced_since_ns;
    bool is_due = is_whole || journal->now_ns - since_ns >= JOURNAL_SYNC_MS * 1000000ULL ||
                  journal->written - journal->kept >= JOURNAL_PENDING_MAX / 4;
    return is_due && writer->written_end > writer->synced_end ? writer : NULL;
}

bool journal_send(struct journal *journal, uint64_t now_ns)
{
    journal->now_ns = now_ns;
    if (is_write_due(journal)) {
        journal->write = prepare_write(journal);
        if (ring_file_submit(journal->ring, &journal->write) < 0)
            return true;
        journal->sent = journal->gathering;
        journal->write_ns = ring_now_ns(journal->ring);
        note_sent(journal);
    }
    bool is_untold =
        journal->commit == EMBEDDED_COMMIT_MEMORY && journal->committed < journal->added;
    struct journal_writer *writer = find_sync_due(journal);
    if (writer == NULL)
        return is_untold;
    journal->sync = (struct ring_file_request){
        .fd = writer->segment->fd, .kind = RING_FILE_SYNC, .owner = journal};
    if (ring_file_submit(journal->ring, &journal->sync) < 0)
        return true;
    journal->sync_writer = writer;
    journal->sync_end = writer->written_end;
    journal->sync_position = ps_min_u64(journal->written, writer->added);
    return is_untold;
}

uint64_t journal_deadline_ns(const struct journal *journal)
{
    uint64_t deadline_ns = journal_segment_deadline_ns(journal);
    /* Once it is over, they wait for a segment, whose job tells. */
    if (journal->encoded < journal->added && journal->pause.ms > 0 &&
        journal->pause.until_ns > journal->now_ns)
        deadline_ns = ps_min_u64(deadline_ns, journal->pause.until_ns);
    if (journal->commit == EMBEDDED_COMMIT_SYNCED)
        return deadline_ns;
    if (journal->gathering->records > 0 && journal->sent == NULL)
        deadline_ns =
            ps_min_u64(deadline_ns, journal->gathering->begun_ns + JOURNAL_SYNC_MS * 1000000ULL);
    if (journal->sync_writer == NULL && journal->unsynced_since_ns != UINT64_MAX)
        deadline_ns =
            ps_min_u64(deadline_ns, journal->unsynced_since_ns + JOURNAL_SYNC_MS * 1000000ULL);
    return deadline_ns;
}

bool journal_is_idle(const struct journal *journal)
{
    return journal->committed == journal->added;
}

bool journal_is_at_rest(const struct journal *journal)
{
    return journal->kept == journal->added && !journal->prepare.is_out && !journal->index.is_out &&
           journal->retired_count == 0;
}

const struct journal_counters *journal_counters(const struct journal *journal)
{
    return &journal->counters;
}

static int create_batches(struct journal *journal)
{
    for (size_t i = 0; i < ps_array_count(journal->batches); i++) {
        journal->batches[i].fixed = heap_alloc_aligned(
            journal->heap, SEGMENT_PAGE_BYTES, journal->header_bytes + JOURNAL_BATCH_BYTES_MAX);
        if (journal->batches[i].fixed == NULL)
            return -ENOMEM;
    }
    journal->pending = heap_alloc(journal->heap, JOURNAL_PENDING_MAX * sizeof(journal->pending[0]));
    journal->partitions =
        heap_alloc(journal->heap, (journal->partition_count + 1U) * sizeof(journal->partitions[0]));
    return journal->pending != NULL && journal->partitions != NULL ? 0 : -ENOMEM;
}

static void free_journal(struct journal *journal)
{
    for (size_t i = 0; i < ps_array_count(journal->batches); i++) {
        batch_clear(journal, &journal->batches[i]);
        heap_free(journal->heap, journal->batches[i].fixed);
    }
    heap_free(journal->heap, journal->pending);
    heap_free(journal->heap, journal->partitions);
    heap_free(journal->heap, journal);
}

int journal_create(struct log_store *store, struct ring *ring, struct heap *heap, uint16_t shard,
                   void (*wake)(void *), void *wake_context, const struct journal_events *events,
                   struct journal **out_journal)
{
    struct journal *journal = heap_zalloc(heap, sizeof(*journal));
    if (journal == NULL)
        return -ENOMEM;
    uint16_t shard_count = store->config.shard_count;
    journal->store = store;
    journal->ring = ring;
    journal->heap = heap;
    journal->shard = shard;
    journal->events = *events;
    journal->commit = store->config.commit;
    journal->partition_count =
        (uint16_t)((store->config.partition_count + shard_count - 1U - shard) / shard_count);
    journal->header_bytes = segment_header_bytes(journal->partition_count);
    journal->gathering = &journal->batches[0];
    journal->current = &journal->writers[0];
    journal->leaving = &journal->writers[1];
    journal->unsynced_since_ns = UINT64_MAX;
    int status = create_batches(journal);
    if (status == 0)
        status = journal_segment_init(journal, wake, wake_context);
    if (status < 0) {
        free_journal(journal);
        return status;
    }
    *out_journal = journal;
    return 0;
}

/* Writes and syncs what is committed and not synced, on this thread. */
static int flush_now(struct journal *journal)
{
    while (journal->written < journal->added) {
        encode_pending(journal);
        if (journal->gathering->records == 0) {
            int status = journal_segment_make_room(journal);
            if (status < 0)
                return status;
            continue;
        }
        struct journal_batch *batch = journal->gathering;
        const struct ring_file_request write = prepare_write(journal);
        int status = disk_write(write.fd, write.buffer, write.bytes, write.offset);
        if (status < 0)
            return status;
        note_sent(journal);
        batch->writer->written_end = write.offset + write.bytes;
        journal->written = batch->first + batch->records;
        batch_clear(journal, batch);
    }
    for (size_t i = 0; i < ps_array_count(journal->writers); i++) {
        struct journal_writer *writer = &journal->writers[i];
        int status = writer->segment != NULL && writer->written_end > writer->synced_end
                         ? disk_sync(writer->segment->fd)
                         : 0;
        if (status < 0)
            return status;
    }
    return 0;
}

void journal_destroy(struct journal *journal)
{
    ring_file_drain(journal->ring);
    bool is_under_way = journal->sent != NULL || journal->sync_writer != NULL;
    journal_segment_stop(journal);
    if (journal->commit != EMBEDDED_COMMIT_SYNCED && journal->kept < journal->added) {
        /* How a request ended that was under way nobody has heard: as if it had failed. */
        journal->sent = NULL;
        journal->sync_writer = NULL;
        if (is_under_way || journal->failure != 0)
            fall_back(journal);
        int status = flush_now(journal);
        if (status < 0) {
            atomic_store(&journal->store->is_cut_short, true);
            journal_fail(journal, &journal->pause, "flush", status);
        }
    }
    forget_kept(journal, journal->added);
    for (size_t i = 0; i < ps_array_count(journal->writers); i++)
        if (journal->writers[i].segment != NULL)
            log_segment_release(journal->store, journal->writers[i].segment);
    if (journal->spare != NULL)
        log_segment_release(journal->store, journal->spare);
    for (uint32_t i = 0; i < journal->retired_count; i++)
        log_segment_release(journal->store, journal->retired[i].segment);
    journal_segment_deinit(journal);
    free_journal(journal);
}
