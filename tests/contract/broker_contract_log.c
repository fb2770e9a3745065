/*
 * The broker's contract: appends, deduplication, tails, trim, retention, and what holds of every
 * request.
 */
#include "broker_contract_internal.h"
#include "core/base.h"

static void sequences_start_at_1_and_follow_the_order_of_appends(void **state)
{
    struct contract *contract = *state;
    struct broker_append appends[3];
    for (uint32_t index = 0; index < 3; index++) {
        prepare_append(contract, &appends[index], 0);
        appends[index].count = 2;
        appends[index].records[0] = make_record(contract, "a/b", "x", 1);
        appends[index].records[1] = make_record(contract, "a/c", "y", 1);
        assert_int_equal(broker_append(owner_of(contract, 0), &appends[index]), 0);
    }
    for (uint32_t index = 0; index < 3; index++) {
        finish(contract, &appends[index].request);
        for (uint32_t record = 0; record < 2; record++) {
            assert_int_equal(appends[index].results[record].status, BROKER_OK);
            assert_int_equal(appends[index].results[record].sequence, 2 * index + record + 1);
            record_release(&contract->heap, appends[index].records[record]);
        }
    }
    assert_int_equal(broker_counters(owner_of(contract, 0))->appended_records, 6);
}

static void partitions_count_for_themselves(void **state)
{
    struct contract *contract = *state;
    for (uint16_t partition = 0; partition < BROKER_CONTRACT_PARTITIONS; partition++)
        assert_int_equal(append_many(contract, partition, "t", partition + 1U), partition + 1);
    for (uint16_t partition = 0; partition < BROKER_CONTRACT_PARTITIONS; partition++)
        assert_int_equal(tail_of(contract, partition), partition + 1);
}

static void only_its_owner_may_use_a_partition(void **state)
{
    struct contract *contract = *state;
    struct broker *other = contract->brokers[0];
    uint16_t partition =
        contract->handle_count > 1 ? 1 : BROKER_CONTRACT_PARTITIONS; /* there is no such one */
    struct broker_append append;
    struct broker_pull pull;
    struct broker_tail tail;
    prepare_append(contract, &append, partition);
    prepare_pull(contract, &pull, partition, 1);
    prepare_tail(contract, &tail, partition);
    append.count = 1;
    append.records[0] = make_record(contract, "t", "x", 1);
    assert_int_equal(broker_append(other, &append), -EINVAL);
    assert_int_equal(broker_relay(other, partition, append.records, 1), -EINVAL);
    assert_int_equal(broker_pull(other, &pull), -EINVAL);
    assert_int_equal(broker_channel_set(other, &tail), -EINVAL);
    assert_int_equal(broker_trim(other, partition, 1), -EINVAL);
    settle(contract);
    assert_int_equal(contract->calls, 0);
    record_release(&contract->heap, append.records[0]);
}

static void an_answer_comes_once_from_a_turn_never_from_the_call(void **state)
{
    struct contract *contract = *state;
    struct broker_tail tail;
    prepare_tail(contract, &tail, 0);
    assert_int_equal(broker_tail(contract->brokers[0], &tail), 0);
    assert_int_equal(contract->calls, 0); /* and called_back asserts that a turn is under way */
    assert_true(tail.request.is_taken);
    finish(contract, &tail.request);
    settle(contract);
    assert_int_equal(contract->calls, 1);
}

static void on_appended_again(struct broker_append *append)
{
    struct contract *contract = append->request.owner;
    called_back(contract, &append->request);
    if (contract->calls < 5)
        assert_int_equal(broker_append(owner_of(contract, append->partition), append), 0);
}

static void a_request_may_be_used_again_from_its_on_done(void **state)
{
    struct contract *contract = *state;
    struct broker_append append;
    prepare_append(contract, &append, 1);
    append.on_done = on_appended_again;
    append.count = 1;
    append.records[0] = make_record(contract, "t", "x", 1);
    append.records[0]->deduplication_id = (struct record_id){1, 2};
    assert_int_equal(broker_append(owner_of(contract, 1), &append), 0);
    settle(contract);
    assert_int_equal(contract->calls, 5);
    assert_int_equal(append.results[0].status, BROKER_DUPLICATE);
    assert_int_equal(tail_of(contract, 1), 1);
    record_release(&contract->heap, append.records[0]);
}

static void the_driver_takes_references_of_its_own(void **state)
{
    struct contract *contract = *state;
    struct broker_append append;
    prepare_append(contract, &append, 0);
    append.count = 1;
    append.records[0] = make_record(contract, "t", "kept", 4);
    assert_int_equal(broker_append(owner_of(contract, 0), &append), 0);
    record_release(&contract->heap, append.records[0]); /* not yet committed */
    finish(contract, &append.request);
    assert_int_equal(append.results[0].status, BROKER_OK);
}

static void a_record_with_an_id_is_stored_once(void **state)
{
    struct contract *contract = *state;
    const struct record_id id = {0x0123456789abcdef, 0xfedcba9876543210};
    struct broker_append append;
    append_many(contract, 2, "t", 3);
    prepare_append(contract, &append, 2);
    append.count = 3;
    for (uint32_t index = 0; index < 3; index++) {
        append.records[index] = make_record(contract, "t", "x", 1);
        append.records[index]->deduplication_id = id;
    }
    append.records[1]->deduplication_id.low++; /* both halves count */
    assert_int_equal(broker_append(owner_of(contract, 2), &append), 0);
    finish(contract, &append.request);
    assert_int_equal(append.results[0].status, BROKER_OK);
    assert_int_equal(append.results[0].sequence, 4);
    assert_int_equal(append.results[1].status, BROKER_OK);
    assert_int_equal(append.results[2].status, BROKER_DUPLICATE);
    assert_int_equal(append.results[2].sequence, 4);
    for (uint32_t index = 0; index < 3; index++)
        record_release(&contract->heap, append.records[index]);
    struct record *again = make_record(contract, "t", "x", 1);
    again->deduplication_id = id;
    struct broker_result result = append_one(contract, 2, again);
    assert_int_equal(result.status, BROKER_DUPLICATE);
    assert_int_equal(result.sequence, 4);
    assert_int_equal(tail_of(contract, 2), 5);
    assert_int_equal(broker_counters(owner_of(contract, 2))->duplicate_records, 2);
}

static void an_id_is_known_after_its_record_has_gone(void **state)
{
    struct contract *contract = *state;
    struct record *record = make_record(contract, "t", "x", 1);
    record->deduplication_id = (struct record_id){7, 7};
    append_one(contract, 0, record);
    assert_int_equal(broker_trim(owner_of(contract, 0), 0, 2), 0);
    settle(contract);
    record = make_record(contract, "t", "x", 1);
    record->deduplication_id = (struct record_id){7, 7};
    struct broker_result result = append_one(contract, 0, record);
    assert_int_equal(result.status, BROKER_DUPLICATE);
    assert_int_equal(result.sequence, 1);
}

static void records_without_an_id_are_all_stored(void **state)
{
    struct contract *contract = *state;
    for (uint32_t count = 1; count <= 3; count++)
        assert_int_equal(append_one(contract, 0, make_record(contract, "t", "x", 1)).sequence,
                         count);
}

static void many_ids_are_told_apart(void **state)
{
    struct contract *contract = *state;
    struct broker_append append;
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t batch = 0; batch < 4; batch++) {
            prepare_append(contract, &append, 3);
            append.count = BROKER_APPEND_MAX;
            for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++) {
                append.records[index] = make_record(contract, "t", "x", 1);
                append.records[index]->deduplication_id =
                    (struct record_id){1, batch * BROKER_APPEND_MAX + index};
            }
            assert_int_equal(broker_append(owner_of(contract, 3), &append), 0);
            finish(contract, &append.request);
            for (uint32_t index = 0; index < BROKER_APPEND_MAX; index++) {
                assert_int_equal(append.results[index].status,
                                 round == 0 ? BROKER_OK : BROKER_DUPLICATE);
                assert_int_equal(append.results[index].sequence,
                                 batch * BROKER_APPEND_MAX + index + 1);
                record_release(&contract->heap, append.records[index]);
            }
        }
    }
}

static void a_record_that_is_too_large_is_refused_alone(void **state)
{
    struct contract *contract = *state;
    uint32_t bytes_max = broker_record_bytes_max(owner_of(contract, 0));
    assert_true(bytes_max >= 1 << 20); /* the default limit of a packet */
    char *payload = calloc(1, bytes_max);
    assert_non_null(payload);
    struct broker_append append;
    prepare_append(contract, &append, 0);
    append.count = 3;
    append.records[0] = make_record(contract, "t", "x", 1);
    append.records[1] = make_record(contract, "t", payload, bytes_max);
    append.records[2] = make_record(contract, "t", payload, bytes_max - 1); /* with its topic */
    assert_int_equal(broker_append(owner_of(contract, 0), &append), 0);
    finish(contract, &append.request);
    assert_int_equal(append.results[0].status, BROKER_OK);
    assert_int_equal(append.results[1].status, BROKER_REFUSED);
    assert_int_equal(append.results[2].status, BROKER_OK);
    assert_int_equal(append.results[2].sequence, 2);
    assert_int_equal(broker_counters(owner_of(contract, 0))->refused_records, 1);
    for (uint32_t index = 0; index < 3; index++)
        record_release(&contract->heap, append.records[index]);
    free(payload);
}

static void a_full_queue_refuses_and_then_takes_again(void **state)
{
    struct contract *contract = *state;
    enum { REQUESTS = 100000 };
    struct broker_append *appends = calloc(REQUESTS, sizeof(*appends));
    struct record *record = make_record(contract, "t", "x", 1);
    record->deduplication_id = (struct record_id){1, 1};
    assert_non_null(appends);
    uint32_t taken = 0;
    int status = 0;
    for (; taken < REQUESTS; taken++) {
        prepare_append(contract, &appends[taken], 0);
        appends[taken].count = 1;
        appends[taken].records[0] = record;
        status = broker_append(owner_of(contract, 0), &appends[taken]);
        if (status < 0)
            break;
    }
    assert_true(taken > 0 && taken < REQUESTS);
    assert_int_equal(status, -EAGAIN);
    assert_false(appends[taken].request.is_taken);
    assert_int_equal(broker_counters(owner_of(contract, 0))->queue_full, 1);
    settle(contract);
    assert_int_equal(contract->calls, taken);
    assert_int_equal(broker_append(owner_of(contract, 0), &appends[taken]), 0);
    settle(contract);
    assert_int_equal(contract->calls, taken + 1);
    assert_int_equal(tail_of(contract, 0), 1);
    record_release(&contract->heap, record);
    free(appends);
}

static void every_shard_learns_the_tail_of_an_answered_append(void **state)
{
    struct contract *contract = *state;
    for (uint16_t partition = 0; partition < BROKER_CONTRACT_PARTITIONS; partition++) {
        append_many(contract, partition, "t", 10U + partition);
        for (uint32_t index = 0; index < contract->handle_count; index++) {
            struct broker_tail tail;
            prepare_tail(contract, &tail, partition);
            assert_int_equal(broker_tail(contract->brokers[index], &tail), 0);
            finish(contract, &tail.request);
            assert_int_equal(tail.status, BROKER_OK);
            assert_int_equal(tail.tail, 10 + partition);
        }
    }
}

static void the_tail_of_an_unused_partition_is_0(void **state)
{
    struct contract *contract = *state;
    assert_int_equal(tail_of(contract, 5), 0);
}

static void what_is_trimmed_is_not_given_any_more(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    append_many(contract, 0, "t", 3000);
    assert_int_equal(broker_trim(owner_of(contract, 0), 0, 2501), 0);
    settle(contract);
    prepare_pull(contract, &pull, 0, 2501);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, BROKER_PULL_RECORDS_MAX);
    assert_int_equal(pull.removed, 0);
    assert_int_equal(tail_of(contract, 0), 3000);
    assert_int_equal(broker_counters(owner_of(contract, 0))->retention_records, 0);
    assert_int_equal(append_many(contract, 0, "t", 1), 3001);
}

static void trimming_beyond_the_tail_empties_the_log_and_no_more(void **state)
{
    struct contract *contract = *state;
    append_many(contract, 0, "t", 5);
    assert_int_equal(broker_trim(owner_of(contract, 0), 0, 1000), 0);
    settle(contract);
    assert_int_equal(broker_counters(owner_of(contract, 0))->log_records, 0);
    assert_int_equal(tail_of(contract, 0), 5);
}

static void one_gateway_alone_relays_to_nobody(void **state)
{
    struct contract *contract = *state;
    struct broker_pull pull;
    prepare_pull(contract, &pull, 0, 1);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    struct record *record = make_record(contract, "t", "x", 1);
    assert_int_equal(broker_relay(owner_of(contract, 0), 0, &record, 1), 0);
    record_release(&contract->heap, record); /* the last reference: the driver has kept none */
    settle(contract);
    assert_true(pull.request.is_taken);
    assert_int_equal(broker_counters(owner_of(contract, 0))->relayed_records, 1);
    assert_int_equal(tail_of(contract, 0), 0);
    destroy_broker(contract);
}

static void one_gateway_alone_has_no_peers_and_keeps_its_lease(void **state)
{
    struct contract *contract = *state;
    struct broker *broker = contract->brokers[0];
    assert_int_equal(broker_control_send(broker, "other", bytes_of("hello")), -ENETUNREACH);
    assert_int_equal(broker_lease_refresh(broker, 1000), 0);
    assert_true(broker_is_healthy(broker));
}

static void the_handles_agree_on_partitions_and_limits(void **state)
{
    struct contract *contract = *state;
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        struct broker *broker = contract->brokers[index];
        assert_int_equal(broker_partition_count(broker), BROKER_CONTRACT_PARTITIONS);
        assert_int_equal(broker_partition_levels(broker),
                         broker_partition_levels(contract->brokers[0]));
        assert_int_equal(broker_record_bytes_max(broker),
                         broker_record_bytes_max(contract->brokers[0]));
    }
}

static void a_cancelled_append_is_answered_and_not_stored(void **state)
{
    struct contract *contract = *state;
    struct broker_append append;
    prepare_append(contract, &append, 0);
    append.count = 2;
    append.records[0] = make_record(contract, "t", "x", 1);
    append.records[1] = make_record(contract, "t", "y", 1);
    assert_int_equal(broker_append(owner_of(contract, 0), &append), 0);
    broker_cancel(owner_of(contract, 0), &append.request);
    assert_int_equal(contract->calls, 0);
    finish(contract, &append.request);
    uint64_t stored = 0;
    for (uint32_t index = 0; index < 2; index++) {
        /* Its answer may have been on its way. */
        assert_true(append.results[index].status == BROKER_CANCELLED ||
                    append.results[index].status == BROKER_OK);
        stored += append.results[index].status == BROKER_OK;
        record_release(&contract->heap, append.records[index]);
    }
    assert_int_equal(tail_of(contract, 0), stored);
}

static void a_cancelled_tail_is_answered(void **state)
{
    struct contract *contract = *state;
    struct broker_tail tails[2];
    for (uint32_t index = 0; index < 2; index++)
        prepare_tail(contract, &tails[index], 0);
    assert_int_equal(broker_tail(owner_of(contract, 0), &tails[0]), 0);
    assert_int_equal(broker_channel_set(owner_of(contract, 0), &tails[1]), 0);
    for (uint32_t index = 0; index < 2; index++)
        broker_cancel(owner_of(contract, 0), &tails[index].request);
    broker_cancel(owner_of(contract, 0), &tails[0].request); /* again does no harm */
    settle(contract);
    assert_int_equal(contract->calls, 2);
    for (uint32_t index = 0; index < 2; index++)
        assert_true(tails[index].status == BROKER_CANCELLED || tails[index].status == BROKER_OK);
}

static void a_broker_that_goes_gives_requests_up_without_a_callback(void **state)
{
    struct contract *contract = *state;
    struct broker_append append;
    struct broker_pull pull;
    struct broker_watch watch = {.after_revision = 0};
    struct broker_get get;
    prepare_append(contract, &append, 0);
    append.count = 1;
    append.records[0] = make_record(contract, "t", "x", 1);
    assert_int_equal(broker_append(owner_of(contract, 0), &append), 0);
    record_release(&contract->heap, append.records[0]);
    prepare_pull(contract, &pull, 0, 100);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    assert_int_equal(broker_watch(contract->brokers[0], &watch), 0);
    prepare_get(contract, &get, "k");
    assert_int_equal(broker_get(contract->brokers[0], &get), 0);
    destroy_broker(contract);
    assert_int_equal(contract->calls, 0); /* and the teardown sees that no memory is left */
}

static uint64_t used_bytes(const struct contract *contract)
{
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < contract->handle_count; index++)
        bytes += broker_counters(contract->brokers[index])->log_bytes +
                 broker_counters(contract->brokers[index])->key_bytes;
    return bytes;
}

static void a_full_log_loses_its_oldest_records_and_readers_are_told(void **state)
{
    struct contract *contract = *state;
    const struct broker_counters *counters = broker_counters(owner_of(contract, 0));
    uint64_t limit = contract->driver->small_log_bytes;
    uint64_t appended = 0;
    for (; appended < 4 * limit / 1000; appended += 100) {
        append_bytes(contract, 0, 100);
        settle(contract);
        assert_true(used_bytes(contract) <= limit);
    }
    assert_true(counters->retention_records > 0);
    assert_int_equal(counters->retention_records + counters->log_records, appended);
    struct broker_pull pull;
    prepare_pull(contract, &pull, 0, 11);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_true(pull.count > 0);
    assert_int_equal(pull.removed, counters->retention_records - 10);
    assert_int_equal(tail_of(contract, 0), appended);
}

static void the_oldest_of_all_partitions_go_first(void **state)
{
    struct contract *contract = *state;
    uint16_t other = (uint16_t)contract->handle_count; /* of the same owner as partition 0 */
    append_bytes(contract, 0, 20);
    advance(contract, 10000);
    append_bytes(contract, other, 20);
    advance(contract, 10000);
    const struct broker_counters *counters = broker_counters(owner_of(contract, 0));
    for (uint32_t round = 0; counters->retention_records < 30 && round < 10000; round++)
        append_bytes(contract, 0, 1);
    uint64_t removed = counters->retention_records;
    struct broker_pull pull;
    prepare_pull(contract, &pull, 0, 1);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    uint64_t of_first = pull.removed;
    prepare_pull(contract, &pull, other, 1);
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(of_first + pull.removed, removed);
    assert_true(of_first == 20 || (contract->driver->removes_segments && of_first > 20));
}

static void a_shard_that_fills_the_log_does_not_starve_the_others(void **state)
{
    struct contract *contract = *state;
    if (contract->handle_count == 1 || contract->driver->removes_segments)
        skip(); /* there is nobody to starve, or what goes is the oldest, whosever it is */
    uint64_t records = contract->driver->small_log_bytes / 1000;
    append_bytes(contract, 0, (uint32_t)records);
    append_bytes(contract, 1, (uint32_t)records / 12);
    append_bytes(contract, 0, (uint32_t)records);
    settle(contract);
    struct broker_pull pull;
    prepare_pull(contract, &pull, 1, 1);
    assert_int_equal(broker_pull(owner_of(contract, 1), &pull), 0);
    finish(contract, &pull.request);
    assert_int_equal(pull.removed, 0);
    assert_int_equal(broker_counters(owner_of(contract, 1))->retention_records, 0);
    assert_true(used_bytes(contract) <= contract->driver->small_log_bytes);
}

static void shards_that_all_append_share_the_log(void **state)
{
    struct contract *contract = *state;
    uint32_t rounds = (uint32_t)(4 * contract->driver->small_log_bytes / 30000);
    for (uint32_t round = 0; round < rounds; round++)
        for (uint16_t partition = 0; partition < contract->handle_count; partition++)
            append_bytes(contract, partition, 30);
    settle(contract);
    for (uint32_t index = 0; index < contract->handle_count; index++) {
        const struct broker_counters *counters = broker_counters(contract->brokers[index]);
        assert_true(counters->log_bytes >
                    contract->driver->small_log_bytes / 4 / contract->handle_count);
    }
    assert_true(used_bytes(contract) <= contract->driver->small_log_bytes);
}

static void a_record_of_the_largest_size_reaches_the_channel_of_a_full_log(void **state)
{
    struct contract *contract = *state;
    append_bytes(contract, 0, (uint32_t)(contract->driver->small_log_bytes / 1000));
    uint64_t tail = tail_of(contract, 0);
    struct broker_pull pull;
    prepare_pull(contract, &pull, 0, tail + 1);
    pull.wait = true;
    assert_int_equal(broker_pull(owner_of(contract, 0), &pull), 0);
    uint32_t bytes_max = broker_record_bytes_max(owner_of(contract, 0));
    char *payload = calloc(1, bytes_max);
    assert_non_null(payload);
    struct broker_result result =
        append_one(contract, 0, make_record(contract, "t", payload, bytes_max - 1));
    free(payload);
    assert_int_equal(result.status, BROKER_OK);
    finish(contract, &pull.request);
    assert_int_equal(pull.count, 1);
    settle(contract);
    assert_true(used_bytes(contract) <= contract->driver->small_log_bytes);
}

const struct CMUnitTest broker_contract_log_tests[] = {
    cmocka_unit_test(sequences_start_at_1_and_follow_the_order_of_appends),
    cmocka_unit_test(partitions_count_for_themselves),
    cmocka_unit_test(only_its_owner_may_use_a_partition),
    cmocka_unit_test(an_answer_comes_once_from_a_turn_never_from_the_call),
    cmocka_unit_test(a_request_may_be_used_again_from_its_on_done),
    cmocka_unit_test(the_driver_takes_references_of_its_own),
    cmocka_unit_test(a_record_with_an_id_is_stored_once),
    cmocka_unit_test(an_id_is_known_after_its_record_has_gone),
    cmocka_unit_test(records_without_an_id_are_all_stored),
    cmocka_unit_test(many_ids_are_told_apart),
    cmocka_unit_test(a_record_that_is_too_large_is_refused_alone),
    cmocka_unit_test(a_full_queue_refuses_and_then_takes_again),
    cmocka_unit_test(every_shard_learns_the_tail_of_an_answered_append),
    cmocka_unit_test(the_tail_of_an_unused_partition_is_0),
    cmocka_unit_test(what_is_trimmed_is_not_given_any_more),
    cmocka_unit_test(trimming_beyond_the_tail_empties_the_log_and_no_more),
    cmocka_unit_test(one_gateway_alone_relays_to_nobody),
    cmocka_unit_test(one_gateway_alone_has_no_peers_and_keeps_its_lease),
    cmocka_unit_test(the_handles_agree_on_partitions_and_limits),
    cmocka_unit_test(a_cancelled_append_is_answered_and_not_stored),
    cmocka_unit_test(a_cancelled_tail_is_answered),
    cmocka_unit_test(a_broker_that_goes_gives_requests_up_without_a_callback),
    {0},
};

const struct CMUnitTest broker_contract_log_small_tests[] = {
    cmocka_unit_test(a_full_log_loses_its_oldest_records_and_readers_are_told),
    cmocka_unit_test(the_oldest_of_all_partitions_go_first),
    cmocka_unit_test(a_shard_that_fills_the_log_does_not_starve_the_others),
    cmocka_unit_test(shards_that_all_append_share_the_log),
    cmocka_unit_test(a_record_of_the_largest_size_reaches_the_channel_of_a_full_log),
    {0},
};
