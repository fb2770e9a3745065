/*
 * Writes and reads of durable sessions; see session_store.h. Every request to the broker is one
 * operation with its own memory; what the broker's queue refuses waits in the hub's list, in order.
 */
#include "session/session_store.h"

#include "core/base.h"
#include "core/heap.h"
#include "core/wire.h"
#include "session/exactly_once.h"
#include "session/hub.h"
#include "session/inbound.h"
#include "session/progress.h"
#include "session/session.h"
#include "session/session_record.h"

enum {
    KEY_BYTES_MAX = BROKER_KEY_BYTES_MAX,
    FIRST_PACKET_ID = 32768 /* at QoS 2; that of QoS 1 is far from it */
};

enum operation_kind { OPERATION_COMMIT, OPERATION_GET, OPERATION_LIST };

/* One request to the broker on behalf of a session. */
struct store_operation {
    struct store_operation *next; /* of those that the broker's queue refused */
    struct store_operation *next_of_all;
    struct store_operation **link_of_all;
    struct hub *hub;
    struct pool_handle session;
    enum operation_kind kind;
    bool is_wanted; /* look-up: load what is found */
    bool is_failed; /* a commit before it that wrote a part of the same was refused */
    struct store_operation *next_part; /* the commit that goes on where this one was full */
    session_store_done *on_done;
    session_store_found_done *on_found;
    void *context;
    uint32_t prefix_bytes; /* list: of the key */
    char key[KEY_BYTES_MAX];
    char after[KEY_BYTES_MAX];
    union {
        struct broker_commit commit;
        struct broker_get get;
        struct broker_list list;
    };
    uint32_t writes_max;
    void *many;    /* room for more writes, and pointers to their memory, than fit here */
    void **memory; /* keys and values of the writes */
    void *few[BROKER_KEYS_MAX];
};

static struct store_operation *create(struct hub *hub, struct session *session,
                                      enum operation_kind kind)
{
    struct store_operation *operation = heap_zalloc(hub->heap, sizeof(*operation));
    if (operation == NULL)
        return NULL;
    operation->hub = hub;
    operation->kind = kind;
    operation->writes_max = BROKER_KEYS_MAX;
    operation->memory = operation->few;
    operation->next_of_all = hub->store_all;
    operation->link_of_all = &hub->store_all;
    if (operation->next_of_all != NULL)
        operation->next_of_all->link_of_all = &operation->next_of_all;
    hub->store_all = operation;
    if (session != NULL)
        operation->session = session->handle;
    hub->store_count++;
    return operation;
}

static void destroy(struct store_operation *operation)
{
    struct heap *heap = operation->hub->heap;
    operation->hub->store_count--;
    *operation->link_of_all = operation->next_of_all;
    if (operation->next_of_all != NULL)
        operation->next_of_all->link_of_all = operation->link_of_all;
    uint32_t writes = operation->kind == OPERATION_COMMIT ? operation->commit.count : 0;
    for (uint32_t i = 0; i < writes; i++)
        heap_free(heap, operation->memory[i]);
    heap_free(heap, operation->many);
    heap_free(heap, operation);
}

static int start(struct store_operation *operation)
{
    struct broker *broker = operation->hub->broker;
    switch (operation->kind) {
    case OPERATION_COMMIT:
        return broker_commit(broker, &operation->commit);
    case OPERATION_GET:
        return broker_get(broker, &operation->get);
    case OPERATION_LIST:
        return broker_list(broker, &operation->list);
    }
    return -EINVAL;
}

static void ask(struct store_operation *operation)
{
    struct hub *hub = operation->hub;
    hub->wants_turn = true;
    if (hub->store_first == NULL && start(operation) == 0)
        return;
    operation->next = NULL;
    if (hub->store_last == NULL)
        hub->store_first = operation;
    else
        hub->store_last->next = operation;
    hub->store_last = operation;
}

void session_store_step(struct hub *hub)
{
    while (hub->store_first != NULL) {
        struct store_operation *operation = hub->store_first;
        if (start(operation) != 0)
            return;
        hub->store_first = operation->next;
        if (hub->store_first == NULL)
            hub->store_last = NULL;
    }
}

void session_store_abort(struct hub *hub)
{
    while (hub->store_all != NULL)
        destroy(hub->store_all);
    hub->store_first = NULL;
    hub->store_last = NULL;
}

/* "o" own, "f" filters; then the client id; a block's key goes on with a zero and its number. */
static uint32_t write_key(const struct session *session, char kind, char *out)
{
    out[0] = kind;
    memcpy(out + 1, session->client_id, session->client_id_bytes);
    return 1U + session->client_id_bytes;
}

static uint32_t write_block_key(const struct session *session, uint16_t block, char *out)
{
    uint32_t bytes = write_key(session, 'f', out);
    out[bytes] = 0;
    wire_store_u16((unsigned char *)out + bytes + 1, block);
    return bytes + 3;
}

/* Adds a write with room for a value of that many bytes. NULL: memory is out. */
static void *add_write(struct store_operation *operation, enum broker_write_kind kind,
                       const char *key, uint32_t key_bytes, size_t value_bytes,
                       uint64_t time_to_live_ms)
{
    struct broker_commit *commit = &operation->commit;
    ps_assert(commit->count < operation->writes_max);
    char *memory = heap_alloc(operation->hub->heap, key_bytes + value_bytes);
    if (memory == NULL)
        return NULL;
    operation->memory[commit->count] = memory;
    memcpy(memory, key, key_bytes);
    broker_commit_writes(commit)[commit->count++] = (struct broker_write){
        .kind = kind,
        .key = {memory, key_bytes},
        .value = {memory + key_bytes, (uint32_t)value_bytes},
        .expected_revision = BROKER_ANY_REVISION,
        .time_to_live_ms = time_to_live_ms,
    };
    return memory + key_bytes;
}

/* Keeps count of the sessions in memory that the store has too. */
static void set_written(struct hub *hub, struct stored_session *stored, bool is_written)
{
    if (stored->is_written == is_written)
        return;
    stored->is_written = is_written;
    if (is_written)
        hub->counters.stored_sessions++;
    else
        hub->counters.stored_sessions--;
}

static bool add_own(struct store_operation *operation, struct session *session,
                    uint64_t time_to_live_ms)
{
    char key[KEY_BYTES_MAX];
    uint32_t key_bytes = write_key(session, SESSION_STORE_KIND, key);
    size_t bytes = session_record_own_bytes(operation->hub, session);
    void *value = add_write(operation, BROKER_PUT, key, key_bytes, bytes, time_to_live_ms);
    if (value == NULL)
        return false;
    session_record_own_encode(operation->hub, session, value, bytes);
    set_written(operation->hub, session->stored, true);
    return true;
}

static bool add_block(struct store_operation *operation, struct session *session, uint16_t block,
                      uint64_t time_to_live_ms)
{
    char key[KEY_BYTES_MAX];
    uint32_t key_bytes = write_block_key(session, block, key);
    size_t bytes = session_record_block_bytes(operation->hub, session, block);
    enum broker_write_kind kind = bytes == 0 ? BROKER_DELETE : BROKER_PUT;
    void *value = add_write(operation, kind, key, key_bytes, bytes, time_to_live_ms);
    if (value == NULL)
        return false;
    if (bytes != 0)
        session_record_block_encode(operation->hub, session, block, value, bytes);
    return true;
}

static void on_committed(struct broker_commit *commit)
{
    struct store_operation *operation = ps_container_of(commit, struct store_operation, commit);
    struct hub *hub = operation->hub;
    bool is_stored = commit->status == BROKER_OK;
    hub->counters.store_failures += !is_stored;
    is_stored &= !operation->is_failed;
    if (operation->next_part != NULL)
        operation->next_part->is_failed = !is_stored;
    if (operation->on_done != NULL)
        operation->on_done(hub, session_get(hub, operation->session), operation->context,
                           is_stored);
    destroy(operation);
}

/* With room for so many writes, at most BROKER_WRITES_MAX. */
static struct store_operation *create_commit(struct hub *hub, struct session *session,
                                             uint32_t writes_max)
{
    struct store_operation *operation = create(hub, session, OPERATION_COMMIT);
    if (operation == NULL)
        return NULL;
    operation->commit.on_done = on_committed;
    if (writes_max <= BROKER_KEYS_MAX)
        return operation;
    struct broker_write *many =
        heap_alloc(hub->heap, writes_max * (sizeof(struct broker_write) + sizeof(void *)));
    if (many == NULL) {
        destroy(operation);
        return NULL;
    }
    operation->many = many;
    operation->commit.many = many;
    operation->memory = (void **)(many + writes_max);
    operation->writes_max = writes_max;
    return operation;
}

static void fail(struct hub *hub, struct session *session, session_store_done *on_done,
                 void *context)
{
    hub->counters.store_failures++;
    if (on_done != NULL)
        on_done(hub, session, context, false);
}

bool session_store_create(struct hub *hub, struct session *session)
{
    session->stored = heap_zalloc(hub->heap, sizeof(*session->stored));
    if (session->stored == NULL)
        return false;
    session->stored->number = (struct record_id){hub_random(hub), hub_random(hub)};
    session->stored->next_packet_id = FIRST_PACKET_ID;
    session->stored->kept_packet_id = FIRST_PACKET_ID;
    return true;
}

void session_store_destroy(struct hub *hub, struct session *session)
{
    if (session->stored == NULL)
        return;
    set_written(hub, session->stored, false);
    if (session->stored->is_attached)
        progress_count(hub, session, -1);
    heap_free(hub->heap, session->stored->blocks);
    heap_free(hub->heap, session->stored);
    session->stored = NULL;
}

void session_store_mark(struct session *session, uint16_t block)
{
    ps_assert(block < session->stored->block_count);
    session->stored->blocks[block].is_marked = true;
}

void session_store_leave(struct session *session, uint16_t block)
{
    struct stored_session *stored = session->stored;
    session_store_mark(session, block);
    ps_assert(stored->blocks[block].filter_count != 0);
    stored->blocks[block].filter_count--;
    stored->block_next = (uint16_t)ps_min_u32(stored->block_next, block);
}

/* Room for what is known of `count` blocks. */
static bool make_blocks(struct hub *hub, struct stored_session *stored, uint32_t count)
{
    if (count <= stored->block_capacity)
        return true;
    uint32_t capacity = count < 8 ? 8 : count * 2;
    struct stored_block *grown = heap_realloc(hub->heap, stored->blocks, capacity * sizeof(*grown));
    if (grown == NULL)
        return false;
    memset(grown + stored->block_capacity, 0, (capacity - stored->block_capacity) * sizeof(*grown));
    stored->blocks = grown;
    stored->block_capacity = capacity;
    return true;
}

bool session_store_place(struct hub *hub, struct session *session, uint16_t *out_block)
{
    struct stored_session *stored = session->stored;
    uint32_t block = stored->block_next;
    while (block < stored->block_count &&
           stored->blocks[block].filter_count >= SESSION_STORE_BLOCK_FILTERS)
        block++;
    if (block == UINT16_MAX || !make_blocks(hub, stored, block + 1))
        return false;
    if (block == stored->block_count)
        stored->block_count++;
    stored->block_next = (uint16_t)block;
    stored->blocks[block].filter_count++;
    stored->blocks[block].is_marked = true;
    *out_block = (uint16_t)block;
    return true;
}

/* Several writes of one session: in one commit if the driver writes several keys as one, else in as
 * many as it takes. They are answered in order, so that the last one knows whether all were good.
 */
struct parts {
    struct hub *hub;
    struct session *session;
    struct store_operation *at;     /* being filled; NULL: memory is out */
    struct store_operation *before; /* asked for last, or NULL */
    bool is_whole;
};

static bool begin_parts(struct parts *parts, uint32_t writes)
{
    struct hub *hub = parts->hub;
    parts->is_whole = broker_is_atomic(hub->broker) && writes <= BROKER_WRITES_MAX;
    parts->at = create_commit(hub, parts->session, parts->is_whole ? writes : BROKER_KEYS_MAX);
    return parts->at != NULL;
}

static bool next_part(struct parts *parts)
{
    struct store_operation *full = parts->at;
    parts->at = create_commit(parts->hub, parts->session, BROKER_KEYS_MAX);
    full->next_part = parts->at;
    parts->before = full;
    ask(full);
    return parts->at != NULL;
}

static bool make_room(struct parts *parts)
{
    return parts->at->commit.count < parts->at->writes_max || next_part(parts);
}

/* Asks for the last one, or gives it up when there was no memory. */
static void end_parts(struct parts *parts, bool is_good, session_store_done *on_done, void *context)
{
    if (is_good) {
        parts->at->on_done = on_done;
        parts->at->context = context;
        ask(parts->at);
        return;
    }
    if (parts->at != NULL) {
        if (parts->before != NULL)
            parts->before->next_part = NULL;
        destroy(parts->at);
    }
    fail(parts->hub, parts->session, on_done, context);
}

static bool is_to_be_written(const struct stored_session *stored, uint32_t block,
                             bool is_everything)
{
    return is_everything || stored->blocks[block].is_marked;
}

static uint32_t count_writes(const struct stored_session *stored, bool is_everything)
{
    uint32_t writes = 1;
    for (uint32_t block = 0; block < stored->block_count; block++)
        writes += is_to_be_written(stored, block, is_everything);
    return writes;
}

/* Writes marked (or all) blocks and the own record. In parts every step is legal: the own record
 * comes first as it is now, for blocks leave out the starts that the session has passed, but names
 * the blocks that it named before; and once more at the end, when all that it names is there. */
static void write_all(struct hub *hub, struct session *session, bool is_everything,
                      uint64_t time_to_live_ms, session_store_done *on_done, void *context)
{
    struct stored_session *stored = session->stored;
    struct parts parts = {.hub = hub, .session = session};
    uint32_t writes = count_writes(stored, is_everything);
    bool is_good = begin_parts(&parts, writes);
    if (is_good && !parts.is_whole && writes > 1 && stored->is_written)
        is_good = add_own(parts.at, session, time_to_live_ms) && next_part(&parts);
    for (uint32_t block = 0; is_good && block < stored->block_count; block++) {
        if (!is_to_be_written(stored, block, is_everything))
            continue;
        is_good =
            make_room(&parts) && add_block(parts.at, session, (uint16_t)block, time_to_live_ms);
        stored->blocks[block].is_marked = false;
    }
    stored->blocks_named = stored->block_count;
    is_good = is_good && make_room(&parts) && add_own(parts.at, session, time_to_live_ms);
    end_parts(&parts, is_good, on_done, context);
}

uint64_t session_store_attached_ms(const struct hub *hub)
{
    const uint64_t day_ms = 86400000;
    uint64_t expiry_ms = hub->limits->session_expiry_ms;
    return expiry_ms + ps_max_u64(expiry_ms / 2, day_ms);
}

/* The line's next snapshot is the first one that is later than what is written now. */
static void name_line(struct hub *hub, struct session *session)
{
    struct stored_session *stored = session->stored;
    if (!stored->is_attached)
        progress_count(hub, session, 1);
    stored->is_attached = true;
    stored->line_run = hub->shared->run;
    stored->line_shard = (uint8_t)hub->shard->index;
    stored->line_number = progress_next_number(hub);
}

void session_store_attach(struct hub *hub, struct session *session, session_store_done *on_done)
{
    session->stored->epoch++;
    name_line(hub, session);
    write_all(hub, session, true, session_store_attached_ms(hub), on_done, NULL);
}

void session_store_renew(struct hub *hub, struct session *session)
{
    name_line(hub, session);
    write_all(hub, session, true, session_store_attached_ms(hub), NULL, NULL);
}

void session_store_write_filters(struct hub *hub, struct session *session,
                                 session_store_done *on_done, void *context)
{
    name_line(hub, session);
    write_all(hub, session, false, session_store_attached_ms(hub), on_done, context);
}

void session_store_write_own(struct hub *hub, struct session *session, session_store_done *on_done)
{
    name_line(hub, session);
    struct store_operation *operation = create_commit(hub, session, 1);
    if (operation == NULL || !add_own(operation, session, session_store_attached_ms(hub))) {
        if (operation != NULL)
            destroy(operation);
        fail(hub, session, on_done, NULL);
        return;
    }
    operation->on_done = on_done;
    ask(operation);
}

void session_store_save(struct hub *hub, struct session *session, session_store_done *on_done,
                        void *context)
{
    struct stored_session *stored = session->stored;
    bool was_attached = stored->is_attached;
    stored->is_attached = false;
    write_all(hub, session, true, hub->limits->session_expiry_ms, on_done, context);
    stored->is_attached = was_attached; /* listed until that is committed */
}

/* Deletes `blocks` blocks and then the own record, without which no block counts. */
static void delete_keys(struct hub *hub, struct session *session, uint32_t blocks,
                        session_store_done *on_done, void *context)
{
    char key[KEY_BYTES_MAX];
    struct parts parts = {.hub = hub, .session = session};
    bool is_good = begin_parts(&parts, blocks + 1);
    for (uint32_t block = 0; is_good && block < blocks; block++) {
        uint32_t key_bytes = write_block_key(session, (uint16_t)block, key);
        is_good =
            make_room(&parts) && add_write(parts.at, BROKER_DELETE, key, key_bytes, 0, 0) != NULL;
    }
    uint32_t key_bytes = write_key(session, SESSION_STORE_KIND, key);
    is_good = is_good && make_room(&parts) &&
              add_write(parts.at, BROKER_DELETE, key, key_bytes, 0, 0) != NULL;
    end_parts(&parts, is_good, on_done, context);
}

void session_store_delete(struct hub *hub, struct session *session)
{
    if (session->stored == NULL)
        return;
    set_written(hub, session->stored, false);
    delete_keys(hub, session, session->stored->block_count, NULL, NULL);
}

void session_store_put(struct hub *hub, struct session *session, const char *key,
                       uint32_t key_bytes, const void *value, size_t value_bytes,
                       uint64_t time_to_live_ms, session_store_done *on_done)
{
    struct store_operation *operation = create_commit(hub, session, 1);
    void *room = operation == NULL ? NULL
                                   : add_write(operation, BROKER_PUT, key, key_bytes, value_bytes,
                                               time_to_live_ms);
    if (room == NULL) {
        if (operation != NULL)
            destroy(operation);
        fail(hub, session, on_done, NULL);
        return;
    }
    memcpy(room, value, value_bytes);
    operation->on_done = on_done;
    ask(operation);
}

void session_store_remove(struct hub *hub, const char *key, uint32_t key_bytes)
{
    struct store_operation *operation = create_commit(hub, NULL, 1);
    if (operation == NULL || add_write(operation, BROKER_DELETE, key, key_bytes, 0, 0) == NULL) {
        if (operation != NULL)
            destroy(operation);
        hub->counters.store_failures++;
        return;
    }
    ask(operation);
}

static void found(struct store_operation *operation, enum session_store_found what)
{
    struct hub *hub = operation->hub;
    struct session *session = session_get(hub, operation->session);
    if (what == SESSION_STORE_FAILED)
        hub->counters.store_failures++;
    operation->on_found(hub, session, operation->context, what);
    destroy(operation);
}

static void list_blocks(struct store_operation *operation);

static int load_block(struct hub *hub, struct session *session, uint16_t block,
                      const struct broker_bytes *value)
{
    uint32_t before = session->subscription_count;
    int status = session_record_block_decode(hub, session, block, value->bytes, value->count);
    uint32_t filters = session->subscription_count - before;
    session->stored->blocks[block].filter_count = (uint16_t)filters;
    return status;
}

static void on_listed(struct broker_list *list)
{
    struct store_operation *operation = ps_container_of(list, struct store_operation, list);
    struct hub *hub = operation->hub;
    struct session *session = session_get(hub, operation->session);
    int status = list->status == BROKER_OK && session != NULL ? 0 : -EIO;
    for (uint32_t i = 0; status == 0 && i < list->count; i++) {
        const struct broker_entry *entry = &list->entries[i];
        if (entry->key.count != operation->prefix_bytes + 2) {
            status = -EBADMSG;
            break;
        }
        const unsigned char *number =
            (const unsigned char *)entry->key.bytes + operation->prefix_bytes;
        uint16_t block = wire_load_u16(number);
        if (block < session->stored->block_count)
            status = load_block(hub, session, block, &entry->value);
    }
    if (status != 0) {
        found(operation, SESSION_STORE_FAILED);
        return;
    }
    if (list->is_last || list->count == 0) {
        bool was_attached = session->stored->was_attached;
        if (was_attached)
            inbound_recover(session);
        bool is_good = !was_attached || exactly_once_release_unknown(hub, session);
        found(operation, is_good ? SESSION_STORE_LOADED : SESSION_STORE_FAILED);
        return;
    }
    const struct broker_bytes *last = &list->entries[list->count - 1].key;
    memcpy(operation->after, last->bytes, last->count);
    uint32_t after_bytes = last->count;
    list_blocks(operation);
    operation->list.after = (struct broker_bytes){operation->after, after_bytes};
    ask(operation);
}

/* Prepares the list of the session's blocks. */
static void list_blocks(struct store_operation *operation)
{
    memset(&operation->list, 0, sizeof(operation->list));
    operation->kind = OPERATION_LIST;
    operation->list.on_done = on_listed;
    operation->list.prefix = (struct broker_bytes){operation->key, operation->prefix_bytes};
    operation->list.bytes_max = 1 << 20;
    operation->list.entries_max = BROKER_LIST_MAX;
}

static void load_filters(struct store_operation *operation, const struct session *session)
{
    operation->prefix_bytes = write_key(session, 'f', operation->key);
    operation->key[operation->prefix_bytes++] = 0;
    list_blocks(operation);
    ask(operation);
}

/* The checkpoint line of a gateway that ended with the session attached. */
static void on_got_line(struct broker_get *get)
{
    struct store_operation *operation = ps_container_of(get, struct store_operation, get);
    struct hub *hub = operation->hub;
    struct session *session = session_get(hub, operation->session);
    const struct broker_value *line = &get->values[0];
    int status = session == NULL ? -EIO : 0;
    if (status == 0 && line->status == BROKER_OK)
        status = progress_apply(hub, session, line->value.bytes, line->value.count);
    else if (line->status != BROKER_NOT_FOUND)
        status = -EIO;
    if (status == 0)
        load_filters(operation, session);
    else
        found(operation, SESSION_STORE_FAILED);
}

static void load_line(struct store_operation *operation, const struct session *session)
{
    const struct stored_session *stored = session->stored;
    progress_key(stored->line_run, stored->line_shard, session->client_id, session->client_id_bytes,
                 operation->key);
    memset(&operation->get, 0, sizeof(operation->get));
    operation->get.on_done = on_got_line;
    operation->get.from_leader = true;
    operation->get.count = 1;
    operation->get.keys[0] = (struct broker_bytes){operation->key, PROGRESS_KEY_BYTES};
    ask(operation);
}

/* The own record is there: loads it, and then the filters. */
static void load(struct store_operation *operation, struct session *session,
                 const struct broker_value *value)
{
    struct hub *hub = operation->hub;
    if (!session_store_create(hub, session) ||
        session_record_own_decode(hub, session, value->value.bytes, value->value.count) != 0 ||
        !make_blocks(hub, session->stored, session->stored->block_count)) {
        found(operation, SESSION_STORE_FAILED);
        return;
    }
    set_written(hub, session->stored, true);
    if (session->stored->was_attached)
        load_line(operation, session);
    else
        load_filters(operation, session);
}

/* What a clean CONNECT found is gone: before that the client must not hear that it is. */
static void on_deleted(struct hub *hub, struct session *session, void *context, bool is_stored)
{
    (void)hub;
    (void)session;
    found(context, is_stored ? SESSION_STORE_ABSENT : SESSION_STORE_FAILED);
}

static void on_got(struct broker_get *get)
{
    struct store_operation *operation = ps_container_of(get, struct store_operation, get);
    struct hub *hub = operation->hub;
    struct session *session = session_get(hub, operation->session);
    const struct broker_value value = get->values[0];
    if (value.status != BROKER_OK || session == NULL) {
        bool is_absent = value.status == BROKER_NOT_FOUND || session == NULL;
        found(operation, is_absent ? SESSION_STORE_ABSENT : SESSION_STORE_FAILED);
        return;
    }
    if (operation->is_wanted) {
        load(operation, session, &value);
        return;
    }
    uint16_t blocks = 0;
    session_record_own_blocks(value.value.bytes, value.value.count, &blocks);
    delete_keys(hub, session, blocks, on_deleted, operation);
}

void session_store_look_up(struct hub *hub, struct session *session, bool is_wanted,
                           session_store_found_done *on_done, void *context)
{
    struct store_operation *operation = create(hub, session, OPERATION_GET);
    if (operation == NULL) {
        hub->counters.store_failures++;
        on_done(hub, session, context, SESSION_STORE_FAILED);
        return;
    }
    operation->is_wanted = is_wanted;
    operation->on_found = on_done;
    operation->context = context;
    operation->get.on_done = on_got;
    operation->get.from_leader = true;
    operation->get.count = 1;
    operation->get.keys[0] = (struct broker_bytes){
        operation->key, write_key(session, SESSION_STORE_KIND, operation->key)};
    ask(operation);
}
