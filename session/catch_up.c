/*
 * Sessions that are behind; see catch_up.h. The list of sessions that can go on is a FIFO; each
 * gets what its window takes, or LOOKS_PER_SESSION entries of the recent ring, and goes to its end
 * if there is more. Who wants a read when none is to be had waits in a FIFO of its own.
 */
#include "session/catch_up.h"

#include <inttypes.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "session/delivery.h"
#include "session/hub.h"
#include "session/hub_mail.h"
#include "session/interest.h"
#include "session/late_read.h"
#include "session/progress.h"
#include "session/resend.h"
#include "session/retained_job.h"
#include "session/session.h"
#include "session/window.h"

enum {
    LOOKS_PER_SESSION = 512,
    SESSIONS_PER_STEP = 2048,
    READ_RECORDS_MIN = 8,
    READ_RECORDS_OF_MANY = 32 /* for one read of a session that is behind in several partitions */
};

static struct cursor *find(const struct session *session, uint16_t partition)
{
    struct cursor *cursor = session->cursors;
    while (cursor != NULL && cursor->partition != partition)
        cursor = cursor->next;
    return cursor;
}

static struct cursor *make(struct hub *hub, struct session *session, uint16_t partition,
                           uint64_t sequence)
{
    struct pool_handle handle;
    struct cursor *cursor = pool_acquire(&hub->cursor_pool, &handle);
    if (cursor == NULL)
        return NULL;
    cursor->index = handle.index;
    cursor->partition = partition;
    cursor->sequence = sequence;
    cursor->state = CURSOR_FAR;
    cursor->next = session->cursors;
    session->cursors = cursor;
    hub->counters.late_sessions++;
    progress_note(hub, session);
    return cursor;
}

static void end(struct hub *hub, struct session *session, struct cursor *cursor)
{
    struct cursor **link = &session->cursors;
    while (*link != cursor)
        link = &(*link)->next;
    *link = cursor->next;
    pool_release(&hub->cursor_pool, cursor->index);
    hub->counters.late_sessions--;
    if (session->cursors == NULL)
        session_forget_starts(hub, session);
}

void catch_up_clear(struct hub *hub, struct session *session)
{
    while (session->cursors != NULL)
        end(hub, session, session->cursors);
}

enum catch_up_verdict catch_up_admit(struct hub *hub, struct session *session,
                                     const struct record *record)
{
    struct cursor *cursor = find(session, record->partition);
    if (ps_likely(cursor == NULL))
        return CATCH_UP_LIVE;
    if (record->sequence < cursor->sequence)
        return CATCH_UP_SKIP;
    if (cursor->state != CURSOR_JOINED)
        return CATCH_UP_LATE;
    end(hub, session, cursor);
    return CATCH_UP_LIVE;
}

/* What is held up by unsent bytes alone has no acknowledgement to wait for. */
static void wait_for_drain(struct hub *hub, const struct session *session)
{
    if (session->state == SESSION_ATTACHED && session->connection->state == CONNECTION_OPEN &&
        window_count(session->window) < hub->limits->window_max &&
        connection_unsent_bytes(hub->net, session->connection) != 0)
        connection_notify_drained(hub->net, session->connection);
}

void catch_up_turn_late(struct hub *hub, struct session *session, const struct record *record,
                        uint64_t position)
{
    struct cursor *cursor = make(hub, session, record->partition, record->sequence);
    if (cursor == NULL) {
        if (session->connection != NULL && session->connection->state == CONNECTION_OPEN)
            connection_close(hub->net, session->connection, CONNECTION_CLOSED_MEMORY);
        return;
    }
    wait_for_drain(hub, session);
    if (delivery_is_open(hub, session)) /* memory was out: nothing else brings it back */
        catch_up_schedule(hub, session);
    if (position == 0)
        return;
    cursor->state = CURSOR_NEAR;
    cursor->position = position;
    bool is_single =
        session->subscription_count == 1 && !session->subscriptions->filter->is_pattern;
    cursor->scans = !is_single;
}

bool catch_up_start(struct hub *hub, struct session *session, uint16_t partition, uint64_t sequence)
{
    return make(hub, session, partition, sequence) != NULL;
}

void catch_up_set_position(struct session *session, uint16_t partition, uint64_t sequence)
{
    struct cursor *cursor = find(session, partition);
    ps_assert(cursor != NULL && cursor->state == CURSOR_FAR);
    cursor->sequence = sequence;
}

static bool concerns(const struct hub *hub, const struct session *session, uint16_t partition)
{
    const struct subscription *subscription = session->subscriptions;
    while (subscription != NULL && !interest_concerns(hub, subscription->filter, partition))
        subscription = subscription->next_of_session;
    return subscription != NULL;
}

void catch_up_resume(struct hub *hub, struct session *session, const uint64_t *from)
{
    struct cursor *next = NULL;
    for (struct cursor *cursor = session->cursors; cursor != NULL; cursor = next) {
        next = cursor->next;
        uint16_t partition = cursor->partition;
        uint64_t handed_over_next = hub->floors[partition] + 1;
        if (from[partition] == UINT64_MAX || !concerns(hub, session, partition))
            end(hub, session, cursor);
        else if (cursor->sequence >= from[partition] && cursor->sequence == handed_over_next)
            end(hub, session, cursor);
        else if (cursor->sequence >= from[partition] && cursor->sequence > handed_over_next)
            cursor->state = CURSOR_JOINED;
        /* Else it reads; what came while other owners had not answered was left to it, too. */
    }
}

uint64_t catch_up_position(const struct hub *hub, const struct session *session, uint16_t partition)
{
    const struct cursor *cursor = find(session, partition);
    return cursor == NULL ? delivery_floor(hub, session, partition) + 1 : cursor->sequence;
}

static void enter(struct hub *hub, struct hub_sessions *list, struct session *session)
{
    session->flags |= SESSION_IN_LATE;
    if (list == &hub->read_waits)
        session->flags |= SESSION_WAITS_READ;
    session->next_late = 0;
    session->previous_late = list->last;
    uint32_t number = session->handle.index + 1;
    if (list->last == 0)
        list->first = number;
    else
        session_at(hub, list->last)->next_late = number;
    list->last = number;
}

void catch_up_unschedule(struct hub *hub, struct session *session)
{
    if (!(session->flags & SESSION_IN_LATE))
        return;
    struct hub_sessions *list = session->flags & SESSION_WAITS_READ ? &hub->read_waits : &hub->late;
    if (session->previous_late == 0)
        list->first = session->next_late;
    else
        session_at(hub, session->previous_late)->next_late = session->next_late;
    if (session->next_late == 0)
        list->last = session->previous_late;
    else
        session_at(hub, session->next_late)->previous_late = session->previous_late;
    session->flags &= (uint16_t) ~(SESSION_IN_LATE | SESSION_WAITS_READ);
}

void catch_up_schedule(struct hub *hub, struct session *session)
{
    bool has_work =
        session->cursors != NULL || session->retained != NULL || session->resend != NULL;
    bool is_in_late = (session->flags & SESSION_IN_LATE) && !(session->flags & SESSION_WAITS_READ);
    if (!has_work || is_in_late)
        return;
    catch_up_unschedule(hub, session); /* what waits for a read may have something else to do */
    enter(hub, &hub->late, session);
}

void catch_up_on_subscribed(struct hub *hub, struct session *session)
{
    for (struct cursor *cursor = session->cursors; cursor != NULL; cursor = cursor->next) {
        if (cursor->state == CURSOR_NEAR)
            cursor->scans = true;
        if (cursor->state == CURSOR_READING) {
            cursor->read = NULL; /* its answer will find nobody */
            cursor->state = CURSOR_FAR;
        }
    }
    catch_up_schedule(hub, session);
}

/* Delivers a record that the cursor has come to, if it is the session's. False: the window is full,
 * or memory is out, and the cursor stays. */
static bool replay(struct hub *hub, struct session *session, struct cursor *cursor,
                   struct record *record)
{
    if (record->sequence < cursor->sequence)
        return true;
    int granted = delivery_granted(hub, session, record);
    uint8_t qos = granted <= 0 ? 0 : (uint8_t)ps_min_u32(record_qos(record), (uint32_t)granted);
    bool is_value = (record->flags & RECORD_VALUE_ONLY) != 0;
    if (qos != 0 && !is_value) {
        if (!delivery_is_open(hub, session) || !delivery_send(hub, session, record, qos, 0))
            return false;
        hub->counters.replayed++;
    }
    cursor->sequence = record->sequence + 1;
    delivery_note_had(hub, session, record);
    return true;
}

enum outcome {
    OUTCOME_DONE,  /* the session is live in this partition */
    OUTCOME_FULL,  /* its window is full: an acknowledgement goes on */
    OUTCOME_WAITS, /* an answer goes on */
    OUTCOME_MORE   /* there is more to look at now */
};

/* Follows the recent ring from the cursor's position. */
static enum outcome run_near(struct hub *hub, struct session *session, struct cursor *cursor)
{
    for (uint32_t looks = 0; looks < LOOKS_PER_SESSION; looks++) {
        const struct recent_entry *entry = recent_at(&hub->recent, cursor->position);
        if (entry == NULL) {
            cursor->state = CURSOR_FAR;
            cursor->publish_ms = 0;
            return OUTCOME_WAITS;
        }
        if (!replay(hub, session, cursor, entry->record))
            return OUTCOME_FULL;
        cursor->scans |= entry->next == RECENT_UNKNOWN;
        uint64_t next = cursor->scans ? entry->next_of_partition : entry->next;
        if (next == 0)
            return OUTCOME_DONE;
        cursor->position = next;
    }
    return OUTCOME_MORE;
}

/* What the reads of the session's other partitions may bring: asking for the same room twice would
 * fetch what is then thrown away. */
static uint32_t records_asked(const struct session *session)
{
    uint32_t records = 0;
    const struct cursor *cursor = session->cursors;
    for (; cursor != NULL; cursor = cursor->next)
        records += cursor->state == CURSOR_READING ? cursor->read->pull.records_max : 0;
    return records;
}

/* Of the cursors that are to read, the one whose last record is the oldest; or NULL. So a session
 * goes through its partitions at one pace: they share segments, and what one partition's read has
 * fetched is still in the cache when the others come to it. */
static struct cursor *oldest_far(const struct session *session)
{
    struct cursor *oldest = NULL;
    for (struct cursor *cursor = session->cursors; cursor != NULL; cursor = cursor->next) {
        bool is_older = oldest == NULL || cursor->publish_ms < oldest->publish_ms;
        if (cursor->state == CURSOR_FAR && is_older)
            oldest = cursor;
    }
    return oldest;
}

/* It is behind in more than one partition, so far that it reads. */
static bool reads_many(const struct session *session)
{
    uint32_t count = 0;
    const struct cursor *cursor = session->cursors;
    for (; cursor != NULL && count < 2; cursor = cursor->next)
        count += cursor->state == CURSOR_FAR || cursor->state == CURSOR_READING;
    return count == 2;
}

/* Asks the owner for what comes next. */
static enum outcome run_far(struct hub *hub, struct session *session, struct cursor *cursor)
{
    uint32_t taken = window_count(session->window) + records_asked(session);
    if (!delivery_is_open(hub, session) || taken >= hub->limits->window_max)
        return OUTCOME_FULL;
    uint32_t room = hub->limits->window_max - taken;
    uint32_t most = reads_many(session) ? READ_RECORDS_OF_MANY : BROKER_PULL_RECORDS_MAX;
    uint16_t records_max =
        (uint16_t)ps_min_u32(most, room < READ_RECORDS_MIN ? READ_RECORDS_MIN : room);
    cursor->read = late_read_start(hub, session, LATE_READ_SESSION, cursor->partition,
                                   cursor->sequence, records_max);
    if (cursor->read == NULL) {
        hub->read_waiters++;
        return OUTCOME_WAITS;
    }
    cursor->state = CURSOR_READING;
    return OUTCOME_WAITS;
}

/* The cursors from the first to `last` had their turn: the others come before them the next time.
 */
static void rotate(struct session *session, struct cursor *last)
{
    struct cursor *first = session->cursors;
    if (last->next == NULL)
        return;
    struct cursor *end = last;
    while (end->next != NULL)
        end = end->next;
    session->cursors = last->next;
    end->next = first;
    last->next = NULL;
}

/* The cursors that follow the recent ring; OUTCOME_DONE: none of them has more to look at. */
static enum outcome run_near_cursors(struct hub *hub, struct session *session)
{
    enum outcome all = OUTCOME_DONE;
    struct cursor *next = NULL;
    for (struct cursor *cursor = session->cursors; cursor != NULL; cursor = next) {
        next = cursor->next;
        if (cursor->state != CURSOR_NEAR)
            continue;
        enum outcome outcome = run_near(hub, session, cursor);
        if (outcome == OUTCOME_FULL) {
            rotate(session, cursor);
            return OUTCOME_FULL;
        }
        if (outcome == OUTCOME_DONE)
            end(hub, session, cursor);
        else
            all = outcome;
    }
    return all;
}

/* The cursors that are to read; OUTCOME_WAITS: answers go on, or room for reads. */
static enum outcome run_far_cursors(struct hub *hub, struct session *session)
{
    struct cursor *cursor = oldest_far(session);
    while (cursor != NULL) {
        if (run_far(hub, session, cursor) == OUTCOME_FULL) {
            rotate(session, session->cursors);
            return OUTCOME_FULL;
        }
        if (cursor->state == CURSOR_FAR)
            return OUTCOME_WAITS;
        cursor = oldest_far(session);
    }
    return OUTCOME_WAITS;
}

/* Takes one session on as far as it goes. True: it has more to do at once. Who comes first, the
 * recent ring or reads, changes with the order of the cursors, so that neither has all the room. */
static bool run_session(struct hub *hub, struct session *session)
{
    if (session->state != SESSION_ATTACHED || session->connection->state != CONNECTION_OPEN)
        return false;
    if (session->resend != NULL) {
        hub->read_waiters += !resend_continue(hub, session);
        return false;
    }
    bool has_more = session->retained != NULL && retained_job_run(hub, session);
    bool reads_first = session->cursors != NULL && session->cursors->state == CURSOR_FAR;
    enum outcome far = reads_first ? run_far_cursors(hub, session) : OUTCOME_WAITS;
    enum outcome near = far != OUTCOME_FULL ? run_near_cursors(hub, session) : OUTCOME_DONE;
    if (near != OUTCOME_FULL && far != OUTCOME_FULL)
        far = run_far_cursors(hub, session);
    if (near == OUTCOME_FULL || far == OUTCOME_FULL) {
        wait_for_drain(hub, session);
        hub->read_waiters += delivery_is_open(hub, session); /* memory was out: soon again */
    }
    return has_more || near == OUTCOME_MORE;
}

/* The cursor that waits for this read, or NULL when it went meanwhile. */
static struct cursor *cursor_of(struct session *session, const struct late_read *read)
{
    struct cursor *cursor = session == NULL ? NULL : find(session, read->pull.partition);
    return cursor != NULL && cursor->read == read ? cursor : NULL;
}

/* Retention took records of the partition before they could be looked at. Which of them were the
 * session's nobody knows any more. Logged once per session. */
static void on_session_loss(struct hub *hub, struct session *session, const struct late_read *read)
{
    hub->counters.dropped[HUB_DROP_RETENTION] += read->pull.removed;
    if (hub->log == NULL || (session->flags & SESSION_TOLD_LOSS))
        return;
    session->flags |= SESSION_TOLD_LOSS;
    char client_id[128];
    log_write(hub->log, LOG_WARNING, "retention",
              "client_id=%s partition=%u removed=%" PRIu64 " next=%" PRIu64,
              log_quote(client_id, sizeof(client_id), session->client_id, session->client_id_bytes),
              read->pull.partition, read->pull.removed, read->pull.next);
}

static void on_session_read(struct hub *hub, struct late_read *read)
{
    struct session *session = session_get(hub, read->session);
    struct cursor *cursor = cursor_of(session, read);
    if (cursor == NULL)
        return;
    cursor->read = NULL;
    cursor->state = CURSOR_FAR;
    if (read->pull.removed != 0 && read->pull.status == BROKER_OK)
        on_session_loss(hub, session, read);
    bool is_open = session->state == SESSION_ATTACHED;
    uint32_t i = 0;
    while (is_open && i < read->pull.count && replay(hub, session, cursor, read->pull.records[i]))
        i++;
    hub->counters.read_records += i;
    if (i > 0)
        cursor->publish_ms = read->pull.records[i - 1]->publish_ms;
    if (is_open && i == read->pull.count && read->pull.status == BROKER_OK) {
        if (read->pull.next > cursor->sequence)
            cursor->sequence = read->pull.next;
        if (read->is_up_to_tail)
            cursor->state = CURSOR_JOINED;
    }
    catch_up_schedule(hub, session);
}

/* The same for a whole shard: each of its live sessions may have lost something. How many would
 * have wanted a record that nobody has seen cannot be told, so records are counted, not deliveries.
 */
static void on_shard_loss(struct hub *hub, const struct late_read *read)
{
    hub->counters.dropped[HUB_DROP_RETENTION_SHARD] += read->pull.removed;
    if (hub->log != NULL)
        log_write(hub->log, LOG_WARNING, "retention",
                  "shard=%u partition=%u removed=%" PRIu64 " next=%" PRIu64, hub->shard->index,
                  read->pull.partition, read->pull.removed, read->pull.next);
}

/* A shard that is late itself takes what it reads as if it had been handed over. */
static void on_shard_read(struct hub *hub, struct late_read *read)
{
    uint16_t partition = read->pull.partition;
    if (read->pull.removed != 0 && read->pull.status == BROKER_OK)
        on_shard_loss(hub, read);
    for (uint32_t i = 0; i < read->pull.count; i++) {
        struct record *record = read->pull.records[i];
        read->pull.records[i] = NULL;
        /* A job that is not finished must be before the next record; the rest of a read is short.
         */
        while (!delivery_continue(hub))
            continue;
        if (record->sequence <= hub->floors[partition])
            record_release(hub->heap, record);
        else
            delivery_handover(hub, record);
    }
    /* The floor below and the end of lateness say that everybody has had them. */
    while (!delivery_continue(hub))
        continue;
    if (read->pull.status != BROKER_OK) {
        hub->lateness[partition] = HUB_WANTS_READ;
        hub->late_unread++;
        return;
    }
    uint64_t next = read->pull.next;
    if (next != 0 && next - 1 > hub->floors[partition])
        hub->floors[partition] = next - 1;
    if (!read->is_up_to_tail) {
        catch_up_on_shard_late(hub, partition, next);
        return;
    }
    hub->lateness[partition] = HUB_ON_TIME;
    hub->late_partitions--;
}

void catch_up_on_shard_late(struct hub *hub, uint16_t partition, uint64_t sequence)
{
    hub->late_partitions += hub->lateness[partition] == HUB_ON_TIME;
    const struct late_read *read =
        late_read_start(hub, NULL, LATE_READ_SHARD, partition, sequence, BROKER_PULL_RECORDS_MAX);
    hub->lateness[partition] = read == NULL ? HUB_WANTS_READ : HUB_READS;
    hub->late_unread += read == NULL;
}

/* Reads of the shard that could not be made. From the floors: no lower than what was missed. */
static void retry_shard_reads(struct hub *hub)
{
    if (hub->shard->now_ns < hub->reads_due_ns)
        return;
    for (uint32_t p = 0; p < hub->partition_count; p++) {
        if (hub->lateness[p] != HUB_WANTS_READ)
            continue;
        hub->late_unread--;
        catch_up_on_shard_late(hub, (uint16_t)p, hub->floors[p] + 1);
    }
}

/* Lets as many of those that wait for a read try again as there are reads to be had. */
static void admit_read_waiters(struct hub *hub)
{
    uint32_t room = late_read_room(hub);
    for (; room > 0 && hub->read_waits.first != 0; room--) {
        struct session *session = session_at(hub, hub->read_waits.first);
        catch_up_unschedule(hub, session);
        enter(hub, &hub->late, session);
    }
}

bool catch_up_step(struct hub *hub)
{
    if (hub->late_unread != 0)
        retry_shard_reads(hub);
    admit_read_waiters(hub);
    hub->read_waiters = 0;
    uint32_t last = hub->late.last;
    for (uint32_t count = 0; count < SESSIONS_PER_STEP && hub->late.first != 0; count++) {
        bool is_last = hub->late.first == last;
        uint32_t waiters = hub->read_waiters;
        struct session *session = session_at(hub, hub->late.first);
        catch_up_unschedule(hub, session);
        bool has_more = run_session(hub, session);
        if (has_more) {
            catch_up_schedule(hub, session);
        } else if (hub->read_waiters != waiters) {
            catch_up_unschedule(hub, session); /* a resend that could not go on asks to be here */
            enter(hub, &hub->read_waits, session);
        }
        if (is_last)
            break;
    }
    return hub->late.first != 0;
}

void catch_up_on_read(struct hub *hub, struct late_read *read)
{
    if (read->pull.status != BROKER_OK) /* else everybody would ask again in every turn */
        hub->reads_due_ns = hub->shard->now_ns + HUB_PAUSE_MS * 1000000ULL;
    switch ((enum late_read_purpose)read->purpose) {
    case LATE_READ_SESSION:
        on_session_read(hub, read);
        break;
    case LATE_READ_RESEND:
        resend_on_read(hub, read);
        break;
    case LATE_READ_SHARD:
        on_shard_read(hub, read);
        break;
    }
    late_read_finish(hub, read);
}
