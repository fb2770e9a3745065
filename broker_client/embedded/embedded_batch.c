/*
 * One batch at the file of the keys: gets, commits and lists in the order that their shards wish,
 * and the removal of what has expired; see embedded_keys_parts_internal.h. Helper's thread only.
 *
 * A commit is checked before anything of it is written, so that one that does not fit or conflicts
 * harms no other. Only when the file itself finds no room half way is the transaction given up; the
 * batch is then run again without that commit, and a commit that finds no room alone is refused.
 *
 * Tables: keys: key -> revision, expiry (0: never), value. expiries: expiry, key -> nothing. meta:
 * "state" -> the state. Integers are big-endian, so that expiries are in the order of time.
 */
#include "core/base.h"
#include "core/wire_big.h"
#include "embedded_keys_parts_internal.h"

enum {
    RECORD_HEAD_BYTES = 16,
    EXPIRY_BYTES = 8,
    ENTRY_BYTES = 64, /* that a key counts for beside its own and its value's */
    STATE_BYTES = 48,
    SWEEP_KEYS_MAX = 256,
    LIST_LOOKS_MAX = 1024 /* expired entries among them */
};

_Static_assert(BROKER_KEY_BYTES_MAX + EXPIRY_BYTES <= KEY_FILE_KEY_BYTES_MAX,
               "every key has its place among the expiries");

static const struct broker_bytes state_key = {"state", 5};

/* What a key held before a write. */
struct old_value {
    uint64_t revision;
    uint64_t expires_ms;
    uint64_t bytes;
    bool is_there;
};

bool embedded_record_read(struct broker_bytes stored, struct embedded_record *out_record)
{
    const unsigned char *bytes = stored.bytes;
    if (stored.count < RECORD_HEAD_BYTES)
        return false;
    *out_record = (struct embedded_record){
        .revision = wire_load_u64(bytes),
        .expires_ms = wire_load_u64(bytes + 8),
        .value = {bytes + RECORD_HEAD_BYTES, stored.count - RECORD_HEAD_BYTES},
    };
    return true;
}

int embedded_state_load(struct embedded_keys *keys, struct embedded_state *out_state)
{
    struct broker_bytes stored;
    int status = key_file_get(keys->file, KEY_FILE_META, state_key, &stored);
    if (status < 0)
        return status;
    const unsigned char *bytes = stored.bytes;
    if (stored.count < 4)
        return -EBADMSG;
    if (wire_load_u32(bytes) != EMBEDDED_KEYS_FORMAT)
        return -EPROTO;
    if (stored.count != STATE_BYTES)
        return -EBADMSG;
    *out_state = (struct embedded_state){
        .counted_kind = (char)wire_load_u32(bytes + 4),
        .number = wire_load_u64(bytes + 8),
        .revision = wire_load_u64(bytes + 16),
        .key_count = wire_load_u64(bytes + 24),
        .key_bytes = wire_load_u64(bytes + 32),
        .kind_count = wire_load_u64(bytes + 40),
    };
    return 0;
}

int embedded_state_store(struct embedded_keys *keys, const struct embedded_state *state)
{
    unsigned char bytes[STATE_BYTES];
    wire_store_u32(bytes, EMBEDDED_KEYS_FORMAT);
    wire_store_u32(bytes + 4, (unsigned char)state->counted_kind);
    wire_store_u64(bytes + 8, state->number);
    wire_store_u64(bytes + 16, state->revision);
    wire_store_u64(bytes + 24, state->key_count);
    wire_store_u64(bytes + 32, state->key_bytes);
    wire_store_u64(bytes + 40, state->kind_count);
    return key_file_put(keys->file, KEY_FILE_META, state_key,
                        (struct broker_bytes){bytes, sizeof(bytes)}, (struct broker_bytes){0});
}

int embedded_batch_next_expiry(struct embedded_keys *keys, uint64_t *out_ms)
{
    struct key_file_entry entry;
    int status = key_file_seek(keys->file, KEY_FILE_EXPIRIES, (struct broker_bytes){0}, &entry);
    if (status == -ENOENT) {
        *out_ms = UINT64_MAX;
        return 0;
    }
    if (status < 0)
        return status;
    if (entry.key.count <= EXPIRY_BYTES)
        return -EBADMSG;
    *out_ms = wire_load_u64(entry.key.bytes);
    return 0;
}

/* 0, also when there is no such key; -errno. What is read is borrowed from the file. */
static int look_up(struct embedded_keys *keys, struct broker_bytes key,
                   struct embedded_record *out_record, bool *out_is_there)
{
    struct broker_bytes stored;
    int status = key_file_get(keys->file, KEY_FILE_KEYS, key, &stored);
    *out_is_there = status == 0;
    *out_record = (struct embedded_record){0};
    if (status == -ENOENT)
        return 0;
    if (status == 0 && !embedded_record_read(stored, out_record))
        return -EBADMSG;
    return status;
}

/* Gives `task` memory for its answer. False: there is none. */
static bool make_answer(struct embedded_keys *keys, struct embedded_task *task, uint64_t bytes)
{
    void *answer = bytes > 0 ? heap_alloc(&keys->heap, bytes) : NULL;
    if (bytes > 0 && answer == NULL)
        return false;
    heap_free(&keys->heap, task->answer);
    task->answer = answer;
    task->answer_bytes = bytes;
    task->resume_bytes = 0;
    keys->batch.answer_bytes += bytes;
    return true;
}

/* Moves borrowed bytes to *at, which it advances. */
static void move_bytes(struct broker_bytes *bytes, unsigned char **at)
{
    if (bytes->count > 0)
        memcpy(*at, bytes->bytes, bytes->count);
    bytes->bytes = *at;
    *at += bytes->count;
}

/* An answer that no memory will ever be found for would stop everything behind it: what is larger
 * than answer_bytes_max is refused. */
static int run_get(struct embedded_keys *keys, struct embedded_task *task)
{
    struct broker_get *get = ps_container_of(task->request, struct broker_get, request);
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < get->count; index++) {
        struct embedded_record record;
        bool is_there;
        int status = look_up(keys, get->keys[index], &record, &is_there);
        if (status < 0)
            return status;
        get->values[index] = (struct broker_value){.status = BROKER_NOT_FOUND};
        if (!is_there || embedded_record_is_expired(&record, keys->batch.wall_ms))
            continue;
        get->values[index] = (struct broker_value){
            .status = BROKER_OK, .revision = record.revision, .value = record.value};
        if (bytes + record.value.count > keys->options.answer_bytes_max)
            get->values[index] =
                (struct broker_value){.status = BROKER_REFUSED, .revision = record.revision};
        bytes += get->values[index].value.count;
    }
    if (!make_answer(keys, task, bytes))
        return -EAGAIN;
    unsigned char *at = task->answer;
    for (uint32_t index = 0; index < get->count; index++)
        if (get->values[index].status == BROKER_OK)
            move_bytes(&get->values[index].value, &at);
    return 0;
}

/* Where a list begins, or goes on. -ENOENT: there is nothing. */
static int seek_list(struct embedded_keys *keys, const struct embedded_task *task,
                     const struct broker_list *list, struct key_file_entry *out_entry)
{
    struct broker_bytes after = list->after;
    if (task->resume_bytes > 0)
        after = (struct broker_bytes){task->answer, task->resume_bytes};
    bool is_after = after.count > 0 && broker_compare_bytes(after, list->prefix) >= 0;
    int status =
        key_file_seek(keys->file, KEY_FILE_KEYS, is_after ? after : list->prefix, out_entry);
    if (status == 0 && is_after && broker_compare_bytes(out_entry->key, after) == 0)
        status = key_file_next(keys->file, KEY_FILE_KEYS, out_entry);
    return status;
}

/* Fills in what fits, all borrowed from the file. *out_at is the last entry looked at when the list
 * has to go on from there (its key's count 0: it has not). */
static int collect_list(struct embedded_keys *keys, const struct embedded_task *task,
                        struct broker_list *list, struct broker_bytes *out_at, uint64_t *out_bytes)
{
    struct key_file_entry entry;
    uint64_t bytes_max = ps_min_u64(list->bytes_max, keys->options.answer_bytes_max);
    uint64_t bytes = 0;
    int status = seek_list(keys, task, list, &entry);
    for (uint32_t looks = 0; status == 0 && broker_has_prefix(entry.key, list->prefix);
         status = key_file_next(keys->file, KEY_FILE_KEYS, &entry)) {
        struct embedded_record record;
        if (!embedded_record_read(entry.value, &record))
            return -EBADMSG;
        bool is_expired = embedded_record_is_expired(&record, keys->batch.wall_ms);
        uint64_t more = (uint64_t)entry.key.count + record.value.count;
        if (!is_expired && list->count == 0 && more > keys->options.answer_bytes_max) {
            list->status = BROKER_REFUSED;
            list->is_last = false;
            break;
        }
        if (!is_expired &&
            (list->count == list->entries_max || (list->count > 0 && bytes + more > bytes_max))) {
            list->is_last = false;
            break;
        }
        if (!is_expired) {
            bytes += more;
            list->entries[list->count++] = (struct broker_entry){
                .key = entry.key, .value = record.value, .revision = record.revision};
        }
        if (++looks < LIST_LOOKS_MAX)
            continue;
        list->is_last = false;
        *out_at = entry.key;
        break;
    }
    *out_bytes = bytes;
    return status == -ENOENT ? 0 : status;
}

static int run_list(struct embedded_keys *keys, struct embedded_task *task)
{
    struct broker_list *list = ps_container_of(task->request, struct broker_list, request);
    struct broker_bytes at = {NULL, 0};
    uint64_t bytes;
    list->status = BROKER_OK;
    list->count = 0;
    list->is_last = true;
    int status = collect_list(keys, task, list, &at, &bytes);
    if (status < 0)
        return status;
    if (list->count == 0 && at.count > 0) {
        /* Nothing but expired keys so far: there is no key to tell where to go on from. */
        unsigned char *resume = heap_alloc(&keys->heap, at.count);
        if (resume == NULL)
            return -EAGAIN;
        memcpy(resume, at.bytes, at.count);
        heap_free(&keys->heap, task->answer);
        task->answer = resume;
        task->resume_bytes = (uint16_t)at.count;
        return -EINPROGRESS;
    }
    if (!make_answer(keys, task, bytes))
        return -EAGAIN;
    unsigned char *place = task->answer;
    for (uint32_t index = 0; index < list->count; index++) {
        move_bytes(&list->entries[index].key, &place);
        move_bytes(&list->entries[index].value, &place);
    }
    return 0;
}

static uint64_t entry_bytes(struct broker_bytes key, uint64_t value_bytes)
{
    return key.count + value_bytes + ENTRY_BYTES;
}

static int look_up_old(struct embedded_keys *keys, struct broker_bytes key,
                       struct old_value *out_old)
{
    struct embedded_record record;
    bool is_there;
    int status = look_up(keys, key, &record, &is_there);
    if (status < 0)
        return status;
    *out_old = (struct old_value){.is_there = is_there,
                                  .revision = record.revision,
                                  .expires_ms = record.expires_ms,
                                  .bytes = is_there ? entry_bytes(key, record.value.count) : 0};
    return 0;
}

static bool has_revision(const struct old_value *old, uint64_t wall_ms, uint64_t revision)
{
    bool is_expired = old->expires_ms != 0 && old->expires_ms <= wall_ms;
    return (is_expired ? 0 : old->revision) == revision;
}

/* Looks up what the writes replace. 0, -errno of the file, or -ESTALE: something is not as
 * expected. */
static int check_commit(struct embedded_keys *keys, const struct broker_commit *commit,
                        struct old_value *out_olds)
{
    uint64_t wall_ms = keys->batch.wall_ms;
    bool is_as_expected = true;
    if (commit->guard_key.count > 0) {
        int status = look_up_old(keys, commit->guard_key, &out_olds[0]);
        if (status < 0)
            return status;
        is_as_expected = has_revision(&out_olds[0], wall_ms, commit->guard_revision);
    }
    for (uint32_t index = 0; is_as_expected && index < commit->count; index++) {
        const struct broker_write *write = broker_commit_write(commit, index);
        int status = look_up_old(keys, write->key, &out_olds[index]);
        if (status < 0)
            return status;
        is_as_expected = write->expected_revision == BROKER_ANY_REVISION ||
                         has_revision(&out_olds[index], wall_ms, write->expected_revision);
    }
    return is_as_expected ? 0 : -ESTALE;
}

/* True when the commit adds nothing, or there is room for what it adds. */
static bool has_room(struct embedded_keys *keys, const struct broker_commit *commit,
                     const struct old_value *olds)
{
    struct embedded_batch *batch = &keys->batch;
    uint64_t added = 0;
    uint64_t replaced = 0;
    for (uint32_t index = 0; index < commit->count; index++) {
        const struct broker_write *write = broker_commit_write(commit, index);
        if (write->kind != BROKER_PUT)
            continue;
        if (write->value.count > UINT32_MAX - RECORD_HEAD_BYTES)
            return false;
        added += entry_bytes(write->key, write->value.count);
        replaced += olds[index].bytes;
    }
    if (added <= replaced)
        return true;
    uint64_t growth = added - replaced;
    if (batch->next.key_bytes + growth > keys->options.key_bytes_max)
        return false;
    /* Pages are half full at worst, but for those that a growing table is just dividing. */
    batch->growth_bytes += 2 * growth;
    return batch->file_bytes + batch->growth_bytes <= keys->file_bytes_max;
}

static int add_news(struct embedded_keys *keys, struct broker_bytes key, struct broker_bytes value,
                    bool is_deletion)
{
    struct embedded_batch *batch = &keys->batch;
    if (!is_deletion && !batch->has_watches)
        return 0;
    struct embedded_news *news =
        embedded_news_create(&keys->heap, key, value, batch->next.revision, is_deletion);
    if (news == NULL)
        return -ENOMEM;
    embedded_news_push(&batch->news, news);
    return 0;
}

static struct broker_bytes expiry_key(unsigned char *buffer, uint64_t expires_ms,
                                      struct broker_bytes key)
{
    wire_store_u64(buffer, expires_ms);
    memcpy(buffer + EXPIRY_BYTES, key.bytes, key.count);
    return (struct broker_bytes){buffer, EXPIRY_BYTES + key.count};
}

/* Makes the index of expiries agree with a key's new time; 0: never. */
static int move_expiry(struct embedded_keys *keys, struct broker_bytes key, uint64_t old_ms,
                       uint64_t new_ms)
{
    unsigned char buffer[KEY_FILE_KEY_BYTES_MAX];
    int status = 0;
    if (old_ms == new_ms)
        return 0;
    if (old_ms != 0)
        status = key_file_delete(keys->file, KEY_FILE_EXPIRIES, expiry_key(buffer, old_ms, key));
    if (status == -ENOENT)
        return -EBADMSG;
    if (status == 0 && new_ms != 0)
        status = key_file_put(keys->file, KEY_FILE_EXPIRIES, expiry_key(buffer, new_ms, key),
                              (struct broker_bytes){0}, (struct broker_bytes){0});
    return status;
}

static bool is_counted(const struct embedded_keys *keys, struct broker_bytes key)
{
    char kind = keys->options.counted_kind;
    return kind != 0 && *(const char *)key.bytes == kind;
}

static int put(struct embedded_keys *keys, struct broker_write *write, const struct old_value *old)
{
    struct embedded_batch *batch = &keys->batch;
    uint64_t expires_ms = write->time_to_live_ms != 0 ? batch->wall_ms + write->time_to_live_ms : 0;
    if (expires_ms < batch->wall_ms)
        expires_ms = 0; /* so long is for ever */
    batch->is_dirty = true;
    write->revision = ++batch->next.revision;
    unsigned char head[RECORD_HEAD_BYTES];
    wire_store_u64(head, write->revision);
    wire_store_u64(head + 8, expires_ms);
    int status = move_expiry(keys, write->key, old->expires_ms, expires_ms);
    if (status == 0)
        status = key_file_put(keys->file, KEY_FILE_KEYS, write->key,
                              (struct broker_bytes){head, sizeof(head)}, write->value);
    if (status < 0)
        return status;
    batch->next.key_bytes += entry_bytes(write->key, write->value.count) - old->bytes;
    batch->next.key_count += !old->is_there;
    batch->next.kind_count += !old->is_there && is_counted(keys, write->key);
    return add_news(keys, write->key, write->value, false);
}

/* Takes out a key that is there. */
static int remove_key(struct embedded_keys *keys, struct broker_bytes key, uint64_t bytes)
{
    struct embedded_batch *batch = &keys->batch;
    batch->is_dirty = true;
    batch->next.revision++;
    int status = key_file_delete(keys->file, KEY_FILE_KEYS, key);
    if (status < 0)
        return status == -ENOENT ? -EBADMSG : status;
    batch->next.key_bytes -= bytes;
    batch->next.key_count--;
    batch->next.kind_count -= is_counted(keys, key);
    return add_news(keys, key, (struct broker_bytes){0}, true);
}

static int delete_key(struct embedded_keys *keys, struct broker_write *write,
                      const struct old_value *old)
{
    write->revision = 0;
    if (!old->is_there)
        return 0;
    int status = move_expiry(keys, write->key, old->expires_ms, 0);
    if (status == 0)
        status = remove_key(keys, write->key, old->bytes);
    write->revision = keys->batch.next.revision;
    return status;
}

/* Callers name a key once in a commit; who does not, gets what the last write says. */
static bool is_repeated(const struct broker_commit *commit, uint32_t index)
{
    const struct broker_bytes key = broker_commit_write(commit, index)->key;
    for (uint32_t before = 0; before < index; before++)
        if (broker_compare_bytes(broker_commit_write(commit, before)->key, key) == 0)
            return true;
    return false;
}

/* Then no key is repeated; large commits are. */
static bool is_ascending(const struct broker_commit *commit)
{
    for (uint32_t index = 1; index < commit->count; index++)
        if (broker_compare_bytes(broker_commit_write(commit, index - 1)->key,
                                 broker_commit_write(commit, index)->key) >= 0)
            return false;
    return true;
}

static int run_commit(struct embedded_keys *keys, struct embedded_task *task)
{
    struct broker_commit *commit = ps_container_of(task->request, struct broker_commit, request);
    struct broker_write *writes = broker_commit_writes(commit);
    struct old_value olds[BROKER_WRITES_MAX];
    int status = check_commit(keys, commit, olds);
    if (status == -ESTALE) {
        commit->status = BROKER_CONFLICT;
        return 0;
    }
    if (status < 0)
        return status;
    if (task->is_refused || !has_room(keys, commit, olds)) {
        commit->status = BROKER_FULL;
        return 0;
    }
    bool may_repeat = !is_ascending(commit);
    for (uint32_t index = 0; status == 0 && index < commit->count; index++) {
        struct broker_write *write = &writes[index];
        if (may_repeat && is_repeated(commit, index))
            status = look_up_old(keys, write->key, &olds[index]);
        if (status == 0)
            status = write->kind == BROKER_PUT ? put(keys, write, &olds[index])
                                               : delete_key(keys, write, &olds[index]);
    }
    commit->status = BROKER_OK;
    return status;
}

/* 0; -EAGAIN: no memory for the answer, -EINPROGRESS: not finished; else -errno of the file. */
static int run_task(struct embedded_keys *keys, struct embedded_task *task)
{
    switch ((enum broker_request_kind)task->request->kind) {
    case BROKER_REQUEST_GET:
        return run_get(keys, task);
    case BROKER_REQUEST_COMMIT:
        return run_commit(keys, task);
    case BROKER_REQUEST_LIST:
        return run_list(keys, task);
    case BROKER_REQUEST_APPEND:
    case BROKER_REQUEST_PULL:
    case BROKER_REQUEST_TAIL:
    case BROKER_REQUEST_CHANNEL_SET:
    case BROKER_REQUEST_WATCH:
        break;
    }
    ps_assert(false); /* these never become tasks */
    return -EINVAL;
}

/* Removes some of the keys that have expired. */
static int sweep(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    for (uint32_t count = 0; count < SWEEP_KEYS_MAX; count++) {
        struct key_file_entry entry;
        unsigned char buffer[KEY_FILE_KEY_BYTES_MAX];
        int status = key_file_seek(keys->file, KEY_FILE_EXPIRIES, (struct broker_bytes){0}, &entry);
        if (status < 0)
            return status == -ENOENT ? 0 : status;
        if (entry.key.count <= EXPIRY_BYTES)
            return -EBADMSG;
        if (wire_load_u64(entry.key.bytes) > batch->wall_ms)
            return 0;
        memcpy(buffer, entry.key.bytes, entry.key.count);
        const struct broker_bytes indexed = {buffer, entry.key.count};
        const struct broker_bytes key = {buffer + EXPIRY_BYTES, entry.key.count - EXPIRY_BYTES};
        struct old_value old;
        status = look_up_old(keys, key, &old);
        if (status == 0 && (!old.is_there || old.expires_ms != wire_load_u64(buffer)))
            status = -EBADMSG; /* the index is written with its key */
        if (status == 0)
            status = key_file_delete(keys->file, KEY_FILE_EXPIRIES, indexed);
        if (status == 0)
            status = remove_key(keys, key, old.bytes);
        if (status < 0)
            return status;
        batch->kind_expired += is_counted(keys, key);
    }
    return 0;
}

void embedded_batch_reset(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    for (uint32_t index = 0; index < batch->done_count; index++) {
        struct embedded_task *task = batch->tasks[index];
        if (task == NULL)
            continue;
        heap_free(&keys->heap, task->answer);
        task->answer = NULL;
        task->answer_bytes = 0;
        task->resume_bytes = 0;
    }
    embedded_news_free(&keys->heap, &batch->news);
    batch->next = keys->state;
    batch->done_count = 0;
    batch->answer_bytes = 0;
    batch->growth_bytes = 0;
    batch->kind_expired = 0;
    batch->is_dirty = batch->is_probing;
}

/* The tasks in order, as far as there is room and memory for their answers. */
static int run_tasks(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    for (uint32_t index = 0; index < batch->count; index++) {
        int status = batch->answer_bytes < EMBEDDED_ANSWER_BYTES_MAX
                         ? run_task(keys, batch->tasks[index])
                         : -EINPROGRESS;
        batch->has_moved |= status == -EINPROGRESS;
        if (status == -EAGAIN || status == -EINPROGRESS)
            return 0;
        if (status < 0)
            return status;
        batch->done_count++;
    }
    return 0;
}

/* What follows the tasks, in a transaction that writes. */
static int finish_writing(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    int status = batch->is_sweeping ? sweep(keys) : 0;
    if (status < 0 || !batch->is_dirty)
        return status;
    batch->next.number++;
    status = embedded_state_store(keys, &batch->next);
    if (status == 0)
        status = embedded_batch_next_expiry(keys, &batch->next_expiry_ms);
    return status;
}

int embedded_batch_run(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    embedded_batch_reset(keys);
    int status = key_file_begin(keys->file, batch->is_writing);
    if (status < 0)
        return status;
    if (batch->is_writing)
        batch->file_bytes = key_file_bytes_used(keys->file);
    status = run_tasks(keys);
    if (status == 0 && batch->is_writing)
        status = finish_writing(keys);
    if (status < 0 || !batch->is_dirty)
        key_file_abort(keys->file);
    return status;
}

bool embedded_batch_shrink(struct embedded_keys *keys)
{
    struct embedded_batch *batch = &keys->batch;
    if (batch->is_sweeping) {
        batch->is_sweeping = false;
        return true;
    }
    if (batch->count == 0)
        return false;
    if (batch->done_count < batch->count && batch->done_count > 0) {
        batch->count = batch->done_count; /* the next one had no room */
        return true;
    }
    if (batch->count > 1) {
        batch->count = batch->done_count == 0 ? 1 : batch->count / 2;
        return true;
    }
    bool was_refused = batch->tasks[0]->is_refused;
    batch->tasks[0]->is_refused = true;
    return !was_refused;
}
