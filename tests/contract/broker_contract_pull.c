/*
 * The broker's contract: reads of a partition and its channel.
 */
#include "broker_contract_internal.h"
#include "core/base.h"

enum { SEEN_MAX = 4096 };

/* Pulls from `pull->from` on until the tail, through the limits that `pull` has. Result: how many
 * records, whose sequences must ascend, are marked in `out_seen`, indexed by sequence. */
static uint32_t pull_all(struct contract *contract, struct broker_pull *pull, bool *out_seen)
{
    uint32_t count = 0;
    uint64_t last = 0;
    memset(out_seen, 0, SEEN_MAX);
    for (uint32_t rounds = 0;; rounds++) {
        assert_true(rounds < SEEN_MAX);
        assert_int_equal(broker_pull(owner_of(contract, pull->partition), pull), 0);
        finish(contract, &pull->request);
        assert_int_equal(pull->status, BROKER_OK);
        assert_true(pull->next >= pull->from);
        for (uint32_t index = 0; index < pull->count; index++) {
            uint64_t sequence = pull->records[index]->sequence;
            assert_true(sequence > last && sequence >= pull->from && sequence < pull->next);
            assert_true(sequence < SEEN_MAX);
            out_seen[sequence] = true;
            last = sequence;
            count++;
        }
        if (pull->is_at_tail)
            return count;
        assert_true(pull->next > pull->from);
        pull->from = pull->next;
    }
}

static void a_record_comes_back_as_it_was_appended(void **state)
{
    struct contract *contract = *state;
    const struct record_source source = {.topic = "a/b",
                                         .topic_bytes = 3,
                                         .fields = "fields",
                                         .fields_bytes = 6,
                                         .payload = "pay\0load",
                                         .payload_bytes = 8,
                                         .flags = 2 | RECORD_RETAIN | RECORD_WILL};
    struct record *record = record_create(&contract->heap, &source);
    assert_non_null(record);
    record->partition = 4;
    record->packet_id = 77;
    record->publish_ms = 1234;
    record->expiry_ms = 5678;
    record->generation = 9;
    record->session_number = (struct record_id){10, 11};
    record->deduplication_id = (struct record_id){12, 13};
    append_one(contract, 4, record);
    struct broker_pull pull;
    prepare_pull(contract, &pull, 4, 1);
    assert_int_equal(broker_pull(owner_of(contract, 4), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 1);
    const struct record *found = pull.records[0];
    assert_int_equal(found->sequence, 1);
    assert_int_equal(found->topic_bytes, 3);
    assert_memory_equal(record_topic(found), "a/b", 3);
    assert_int_equal(found->fields_bytes, 6);
    assert_memory_equal(record_fields(found), "fields", 6);
    assert_int_equal(found->payload_bytes, 8);
    assert_memory_equal(record_payload(found), "pay\0load", 8);
    assert_int_equal(found->flags, 2 | RECORD_RETAIN | RECORD_WILL);
    assert_int_equal(found->partition, 4);
    assert_int_equal(found->packet_id, 77);
    assert_int_equal(found->publish_ms, 1234);
    assert_int_equal(found->expiry_ms, 5678);
    assert_int_equal(found->generation, 9);
    assert_true(record_id_equal(found->session_number, (struct record_id){10, 11}));
    assert_true(record_id_equal(found->deduplication_id, (struct record_id){12, 13}));
}

static void a_pull_gives_records_in_order_and_says_how_far_it_looked(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 1500);
    prepare_pull(contract, &pull, 0, 1001);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.status, BROKER_OK);
    assert_int_equal(pull.count, BROKER_PULL_RECORDS_MAX);
    assert_int_equal(pull.next, 1001 + BROKER_PULL_RECORDS_MAX);
    assert_false(pull.is_at_tail);
    assert_int_equal(pull.removed, 0);
    for (uint32_t index = 0; index < pull.count; index++) {
        assert_int_equal(pull.records[index]->sequence, 1001 + index);
        assert_int_equal(number_of(pull.records[index]), 1000 + index);
    }
    pull.from = pull.next;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 500 - BROKER_PULL_RECORDS_MAX);
    assert_int_equal(pull.next, 1501);
    assert_true(pull.is_at_tail);
}

static void from_0_is_from_the_first_record(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 3);
    prepare_pull(contract, &pull, 0, 0);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 3);
    assert_int_equal(pull.removed, 0);
    assert_int_equal(pull.next, 4);
}

static void at_the_tail_a_pull_without_wait_answers_at_once(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    for (uint32_t count = 0; count < 2; count++) {
        prepare_pull(contract, &pull, 0, count + 1);
        assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
        finish(contract, &pull.request);
        assert_int_equal(pull.status, BROKER_OK);
        assert_int_equal(pull.count, 0);
        assert_true(pull.is_at_tail);
        assert_int_equal(pull.next, count + 1);
        append_many(contract, 0, "t", 1);
    }
}

static void records_max_and_bytes_max_bound_an_answer(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "topic", 100); /* of 9 bytes each */
    prepare_pull(contract, &pull, 0, 1);
    pull.records_max = 7;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 7);
    assert_int_equal(pull.next, 8);
    prepare_pull(contract, &pull, 0, 1);
    pull.bytes_max = 9 * 5 + 8;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 5);
    assert_int_equal(pull.next, 6);
    prepare_pull(contract, &pull, 0, 1);
    pull.bytes_max = 1; /* one is given all the same */
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 1);
    assert_int_equal(pull.next, 2);
}

/* Appends 2,400 records over six topics in turn. Result: nothing; sequence s has topics[(s-1) % 6].
 */
static const char *const mixed_topics[] = {"a", "a/b", "a/b/c", "a/bc", "a/b/c/d/e", "x/y/z"};
enum { MIXED = 6, MIXED_RECORDS = 2400 };

static void append_mixed(struct contract *contract, uint16_t partition)
{
    struct broker_append append;
    for (uint32_t done = 0; done < MIXED_RECORDS; done += append.count) {
        prepare_append(contract, &append, partition);
        append.count = 240;
        for (uint32_t index = 0; index < append.count; index++)
            append.records[index] =
                make_record(contract, mixed_topics[(done + index) % MIXED], "x", 1);
        assert_int_equal(broker_append(owner_of(contract, partition), &append), 0);
        finish(contract, &append.request);
        for (uint32_t index = 0; index < append.count; index++)
            record_release(&contract->heap, append.records[index]);
    }
}

/* Asserts that a hinted read gives every record of the topics in `wanted` (a bit each). Others it
 * may give, but most must be left out where `is_narrow`. */
static void assert_hint(struct contract *contract, const struct broker_hint *hint, unsigned wanted,
                        bool is_narrow)
{
    static bool seen[SEEN_MAX];
    struct broker_pull pull;
    for (uint16_t records_max = 0; records_max <= 50; records_max += 50) {
        prepare_pull(contract, &pull, 0, 1);
        pull.hint = *hint;
        pull.records_max = records_max;
        uint32_t count = pull_all(contract, &pull, seen);
        assert_int_equal(pull.next, MIXED_RECORDS + 1);
        for (uint32_t sequence = 1; sequence <= MIXED_RECORDS; sequence++)
            if (wanted & 1U << (sequence - 1) % MIXED)
                assert_true(seen[sequence]);
        uint32_t least = (uint32_t)__builtin_popcount(wanted) * (MIXED_RECORDS / MIXED);
        assert_true(!is_narrow || count < least + MIXED_RECORDS / 10);
    }
}

static void a_hinted_pull_gives_every_record_that_its_hint_covers(void **state)
{
    struct contract *contract = *state;
    append_mixed(contract, 0);
    const struct broker_bytes topics[] = {bytes_of("a/b"), bytes_of("x/y/z"), bytes_of("none")};
    const struct broker_bytes shallow[] = {bytes_of("a/b")};
    const struct broker_bytes deep[] = {bytes_of("a/b/c/d"), bytes_of("x/y/z/none")};
    assert_hint(contract, &(struct broker_hint){.topics = topics, .topic_count = 3}, 0x22, true);
    assert_hint(contract, &(struct broker_hint){.prefixes = shallow, .prefix_count = 1}, 0x16,
                true);
    assert_hint(contract, &(struct broker_hint){.prefixes = deep, .prefix_count = 2}, 0x10, true);
    assert_hint(contract,
                &(struct broker_hint){
                    .topics = topics, .topic_count = 3, .prefixes = shallow, .prefix_count = 1},
                0x36, true);
    assert_hint(contract, &(struct broker_hint){.all = true}, 0x3f, false);
    assert_hint(contract, &(struct broker_hint){.all = false}, 0, false);
}

static void a_hint_with_very_many_topics_is_served(void **state)
{
    struct contract *contract = *state;
    enum { TOPICS = 5000 };
    append_mixed(contract, 0);
    struct broker_bytes *topics = calloc(TOPICS, sizeof(*topics));
    assert_non_null(topics);
    for (uint32_t index = 0; index < TOPICS; index++)
        topics[index] = bytes_of(mixed_topics[index % 2]);
    assert_hint(contract, &(struct broker_hint){.topics = topics, .topic_count = TOPICS}, 0x03,
                false);
    free(topics);
}

static void a_waiting_pull_is_answered_by_the_next_record(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 3);
    uint32_t calls_before = contract->calls;
    prepare_pull(contract, &pull, 0, 4);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    settle(contract);
    append_many(contract, 1, "t", 1); /* another partition */
    assert_true(pull.request.is_taken);
    assert_int_equal(contract->calls, calls_before + 1);
    append_many(contract, 0, "t", 2);
    finish(contract, &pull.request);
    assert_int_equal(pull.status, BROKER_OK);
    assert_int_equal(pull.count, 2);
    assert_int_equal(pull.records[0]->sequence, 4);
    assert_int_equal(pull.next, 6);
    assert_true(pull.is_at_tail);
}

static void a_waiting_pull_behind_the_tail_is_answered_at_once(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 300);
    prepare_pull(contract, &pull, 0, 1);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, BROKER_PULL_RECORDS_MAX);
    assert_false(pull.is_at_tail);
}

static void a_waiting_pull_is_told_of_what_was_removed(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 10);
    assert_int_equal(broker_trim(owner_of(contract, 0), 0, 11), 0);
    settle(contract);
    prepare_pull(contract, &pull, 0, 5);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 0);
    assert_int_equal(pull.removed, 6);
    assert_int_equal(pull.next, 11);
    assert_true(pull.is_at_tail);
}

static void a_partition_has_one_waiting_pull(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pulls[2];
    for (uint32_t index = 0; index < 2; index++) {
        prepare_pull(contract, &pulls[index], 0, 1);
        pulls[index].wait = true;
    }
    assert_int_equal(broker_pull(owner_of(contract, 0), &pulls[0]), 0);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pulls[1]), -EAGAIN);
    broker_cancel(owner_of(contract, 0), &pulls[0].request);
    finish(contract, &pulls[0].request);
    assert_int_equal(pulls[0].status, BROKER_CANCELLED);
    assert_int_equal(pulls[0].count, 0);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pulls[1]), 0);
    append_many(contract, 0, "t", 1);
    finish(contract, &pulls[1].request);
    assert_int_equal(pulls[1].count, 1);
    assert_int_equal(contract->calls, 3);
}

/* A channel as an owner keeps it: pulled again after every answer. */
struct channel {
    struct broker_pull pull;
    uint64_t seen;
};

static void on_channel(struct broker_pull *pull)
{
    struct channel *channel = ps_container_of(pull, struct channel, pull);
    struct contract *contract = pull->request.owner;
    called_back(contract, &pull->request);
    assert_int_equal(pull->status, BROKER_OK);
    assert_int_equal(pull->removed, 0);
    for (uint32_t index = 0; index < pull->count; index++)
        assert_int_equal(pull->records[index]->sequence, ++channel->seen);
    assert_int_equal(pull->next, channel->seen + 1);
    pull->from = pull->next;
    assert_int_equal(broker_pull(owner_of(contract, pull->partition), pull), 0);
}

static void a_channel_sees_every_record_in_order_however_fast_they_come(void **state)
{
    struct contract *contract = *state;
    enum { APPENDS = 64 };
    struct channel channel = {.seen = 0};
    struct broker_append *appends = calloc(APPENDS, sizeof(*appends));
    assert_non_null(appends);
    prepare_pull(contract, &channel.pull, 2, 1);
    channel.pull.on_done = on_channel;
    channel.pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 2), &channel.pull), 0);
    for (uint32_t index = 0; index < APPENDS; index++) {
        prepare_append(contract, &appends[index], 2);
        appends[index].count = (uint16_t)(BROKER_APPEND_MAX - index);
        for (uint32_t record = 0; record < appends[index].count; record++)
            appends[index].records[record] = make_record(contract, "t", "x", 1);
        int status = broker_append(owner_of(contract, 2), &appends[index]);
        if (status == -EAGAIN) {
            settle(contract);
            status = broker_append(owner_of(contract, 2), &appends[index]);
        }
        assert_int_equal(status, 0);
    }
    settle(contract);
    for (uint32_t index = 0; index < APPENDS; index++) {
        assert_false(appends[index].request.is_taken);
        for (uint32_t record = 0; record < appends[index].count; record++)
            record_release(&contract->heap, appends[index].records[record]);
    }
    assert_int_equal(channel.seen, tail_of(contract, 2));
    assert_int_equal(channel.seen, BROKER_APPEND_MAX * APPENDS - (APPENDS - 1) * APPENDS / 2);
    free(appends);
    destroy_broker(contract);
}

static void a_channel_that_is_pulled_between_turns_is_never_left_behind(void **state)
{
    struct contract *contract = *state;
    enum { APPENDS = 3 };
    struct broker_append appends[APPENDS];
    struct broker_pull pull;
    append_many(contract, 0, "t", 1);
    prepare_pull(contract, &pull, 0, 1);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    for (uint32_t index = 0; index < APPENDS; index++) {
        prepare_append(contract, &appends[index], 0);
        appends[index].count = 200;
        for (uint32_t record = 0; record < 200; record++)
            appends[index].records[record] = make_record(contract, "t", "x", 1);
        assert_int_equal(broker_append(owner_of(contract, 0), &appends[index]), 0);
    }
    bool has_more = true;
    for (uint32_t turns = 0; has_more || contract->driver->wait != NULL; turns++) {
        assert_true(turns < SEEN_MAX);
        if (!pull.request.is_taken && pull.next > APPENDS * 200 + 1)
            break;
        has_more = turn_all(contract);
        if (pull.request.is_taken || pull.next > APPENDS * 200 + 1)
            continue;
        pull.from = pull.next;
        assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    }
    assert_int_equal(pull.next, APPENDS * 200 + 2);
    for (uint32_t index = 0; index < APPENDS; index++)
        for (uint32_t record = 0; record < 200; record++)
            record_release(&contract->heap, appends[index].records[record]);
}

static void a_channel_set_answers_the_tail_above_which_its_hint_is_fed(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    struct broker_tail set;
    const struct broker_bytes topics[] = {bytes_of("wanted")};
    append_many(contract, 0, "wanted", 5);
    prepare_tail(contract, &set, 0);
    set.hint = (struct broker_hint){.topics = topics, .topic_count = 1};
    assert_int_equal(broker_channel_set(owner_of(contract, 0), &set), 0);
    finish(contract, &set.request);
    assert_int_equal(set.status, BROKER_OK);
    assert_int_equal(set.tail, 5);
    append_many(contract, 0, "unwanted", 2);
    append_many(contract, 0, "wanted", 1);
    uint64_t found = 0;
    prepare_pull(contract, &pull, 0, set.tail + 1);
    pull.hint = (struct broker_hint){.all = false}; /* not read: the channel's counts */
    pull.wait = true;
    for (uint32_t rounds = 0; found == 0 && rounds < 10; rounds++) {
        assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
        finish(contract, &pull.request);
        for (uint32_t index = 0; index < pull.count; index++)
            if (pull.records[index]->topic_bytes == 6)
                found = pull.records[index]->sequence;
        pull.from = pull.next;
    }
    assert_int_equal(found, 8);
}

struct keeping_pull {
    struct broker_pull pull;
    struct record *kept;
};

static void on_pulled_and_kept(struct broker_pull *pull)
{
    called_back(pull->request.owner, &pull->request);
    ps_container_of(pull, struct keeping_pull, pull)->kept = record_acquire(pull->records[0]);
}

static void a_record_that_a_reader_acquired_outlives_the_log(void **state)
{
    struct contract *contract = *state;
    struct keeping_pull reader;
    append_many(contract, 0, "t", 1);
    prepare_pull(contract, &reader.pull, 0, 1);
    reader.pull.on_done = on_pulled_and_kept;
    assert_int_equal(broker_pull(owner_of(contract, 0), &reader.pull), 0);
    finish(contract, &reader.pull.request);
    assert_int_equal(broker_trim(owner_of(contract, 0), 0, 2), 0);
    settle(contract);
    assert_int_equal(number_of(reader.kept), 0);
    record_release(&contract->heap, reader.kept);
}

static void a_cancelled_pull_is_answered(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 1);
    prepare_pull(contract, &pull, 0, 1);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    broker_cancel(owner_of(contract, 0), &pull.request);
    assert_true(pull.request.is_taken);
    finish(contract, &pull.request);
    assert_true(pull.status == BROKER_OK || pull.status == BROKER_CANCELLED);
    assert_int_equal(pull.count, pull.status == BROKER_OK);
}

const struct CMUnitTest broker_contract_pull_tests[] = {
    cmocka_unit_test(a_record_comes_back_as_it_was_appended),
    cmocka_unit_test(a_pull_gives_records_in_order_and_says_how_far_it_looked),
    cmocka_unit_test(from_0_is_from_the_first_record),
    cmocka_unit_test(at_the_tail_a_pull_without_wait_answers_at_once),
    cmocka_unit_test(records_max_and_bytes_max_bound_an_answer),
    cmocka_unit_test(a_hinted_pull_gives_every_record_that_its_hint_covers),
    cmocka_unit_test(a_hint_with_very_many_topics_is_served),
    cmocka_unit_test(a_waiting_pull_is_answered_by_the_next_record),
    cmocka_unit_test(a_waiting_pull_behind_the_tail_is_answered_at_once),
    cmocka_unit_test(a_waiting_pull_is_told_of_what_was_removed),
    cmocka_unit_test(a_partition_has_one_waiting_pull),
    cmocka_unit_test(a_channel_sees_every_record_in_order_however_fast_they_come),
    cmocka_unit_test(a_channel_that_is_pulled_between_turns_is_never_left_behind),
    cmocka_unit_test(a_channel_set_answers_the_tail_above_which_its_hint_is_fed),
    cmocka_unit_test(a_record_that_a_reader_acquired_outlives_the_log),
    cmocka_unit_test(a_cancelled_pull_is_answered),
    {0},
};
