/*
 * What a test does with a fixture's log: appends of drawn sizes, turns of everything, and at the
 * end the check that all that was acknowledged is there, where it was.
 *
 * Owner: the test.
 */
#ifndef PENSTOCK_TESTS_SIM_EMBEDDED_WORKLOAD_H
#define PENSTOCK_TESTS_SIM_EMBEDDED_WORKLOAD_H

#include "sim/embedded_fixture.h"

static inline void fixture_on_appended(struct broker_append *append)
{
    struct fixture_append *own = ps_container_of(append, struct fixture_append, append);
    struct embedded_fixture *f = own->fixture;
    for (uint32_t i = 0; i < append->count; i++) {
        assert_int_equal(append->results[i].status, BROKER_OK);
        f->is_acknowledged[append->partition][own->first + i] = true;
        f->sequence[append->partition][own->first + i] = append->results[i].sequence;
        f->acknowledged++;
    }
    fixture_release(f, own);
}

static inline struct record *fixture_record(struct embedded_fixture *f, uint32_t number)
{
    char payload[1 << 12] = {0};
    char topic[16];
    uint32_t bytes = (uint32_t)random_between(&f->random, sizeof(number), f->payload_bytes_max);
    memcpy(payload, &number, sizeof(number));
    snprintf(topic, sizeof(topic), "t/%u", number % 7);
    const struct record_source source = {.topic = topic,
                                         .topic_bytes = (uint32_t)strlen(topic),
                                         .payload = payload,
                                         .payload_bytes = bytes,
                                         .flags = 1};
    struct record *record = record_create(&f->heap, &source);
    assert_non_null(record);
    record->publish_ms = ring_wall_ms(f->rings[0]);
    record->deduplication_id = (struct record_id){number + 1, number};
    return record;
}

/* Begins an append of some records of a drawn partition, if one is free and the broker takes it. */
static inline void fixture_append(struct embedded_fixture *f)
{
    struct fixture_append *own = &f->appends[random_between(&f->random, 0, FIXTURE_APPENDS - 1)];
    if (!own->is_free)
        return;
    uint16_t partition = (uint16_t)random_between(&f->random, 0, FIXTURE_PARTITIONS - 1);
    memset(&own->append, 0, sizeof(own->append));
    own->append.on_done = fixture_on_appended;
    own->append.partition = partition;
    own->append.count = (uint16_t)random_between(&f->random, 1, 20);
    own->first = f->next_number[partition];
    own->is_free = false;
    assert_true(own->first + own->append.count < FIXTURE_NUMBERS_MAX);
    for (uint32_t i = 0; i < own->append.count; i++)
        own->append.records[i] = fixture_record(f, own->first + i);
    if (broker_append(f->brokers[partition % f->config.shard_count], &own->append) < 0)
        fixture_release(f, own);
    else
        f->next_number[partition] += own->append.count;
}

/* One turn of everything, then time passes until something is due. */
static inline void fixture_step(struct embedded_fixture *f)
{
    bool has_more = false;
    for (uint32_t i = 0; i < f->config.shard_count; i++) {
        struct ring_event events[4];
        assert_int_equal(ring_wait(f->rings[i], 0, events, 4), 0);
        has_more |= broker_turn(f->brokers[i], ring_now_ns(f->rings[i]), ring_wall_ms(f->rings[i]));
    }
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        has_more |= sim_ring_has_event(f->rings[i]);
    has_more |= embedded_store_helper_turn(f->store, sim_world_now_ns(f->world));
    uint64_t now_ns = sim_world_now_ns(f->world);
    uint64_t next_ns =
        ps_min_u64(sim_next_event_ns(f->world), now_ns + FIXTURE_STEP_MS * 1000000ULL);
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        next_ns = ps_min_u64(next_ns, broker_deadline_ns(f->brokers[i]));
    if (!has_more)
        sim_world_advance(f->world, ps_max_u64(next_ns, now_ns + 1000));
}

static inline bool fixture_is_idle(const struct embedded_fixture *f)
{
    for (uint32_t i = 0; i < f->config.shard_count; i++)
        if (!embedded_broker_is_idle(f->brokers[i]))
            return false;
    return true;
}

static inline void fixture_settle(struct embedded_fixture *f)
{
    for (uint32_t steps = 0; !fixture_is_idle(f); steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
}

/* Appends for that many steps. */
static inline void fixture_run(struct embedded_fixture *f, uint32_t steps)
{
    for (uint32_t step = 0; step < steps; step++) {
        fixture_append(f);
        fixture_append(f);
        fixture_step(f);
    }
}

static inline void fixture_on_pulled(struct broker_pull *pull)
{
    struct embedded_fixture *f = pull->request.owner;
    f->is_answered = true;
    for (uint32_t i = 0; i < pull->count; i++)
        record_acquire(pull->records[i]);
}

/* One pull that does not wait; its records are the caller's. */
static inline void fixture_pull(struct embedded_fixture *f, struct broker_pull *pull)
{
    f->is_answered = false;
    assert_int_equal(broker_pull(f->brokers[pull->partition % f->config.shard_count], pull), 0);
    for (uint32_t steps = 0; !f->is_answered; steps++) {
        assert_true(steps < FIXTURE_STEPS_MAX);
        fixture_step(f);
    }
}

/* Reads a whole partition: numbers ascend, all that was acknowledged is there where it was. */
static inline void fixture_check_partition(struct embedded_fixture *f, uint16_t partition)
{
    struct broker_pull pull = {.request = {.owner = f},
                               .on_done = fixture_on_pulled,
                               .hint = {.all = true},
                               .from = 1,
                               .bytes_max = 1 << 20,
                               .partition = partition};
    uint32_t next = 0; /* number */
    do {
        fixture_pull(f, &pull);
        assert_int_equal(pull.status, BROKER_OK);
        assert_int_equal(pull.removed, 0); /* retention takes nothing here */
        for (uint32_t i = 0; i < pull.count; i++) {
            uint32_t number = 0;
            memcpy(&number, record_payload(pull.records[i]), sizeof(number));
            assert_true(number >= next && number < f->next_number[partition]);
            for (; next < number; next++)
                assert_false(f->is_acknowledged[partition][next]);
            if (f->is_acknowledged[partition][number])
                assert_int_equal(pull.records[i]->sequence, f->sequence[partition][number]);
            next = number + 1;
            record_release(&f->heap, pull.records[i]);
        }
        assert_true(pull.is_at_tail || pull.next > pull.from);
        pull.from = pull.next;
    } while (!pull.is_at_tail);
    for (; next < f->next_number[partition]; next++)
        assert_false(f->is_acknowledged[partition][next]);
}

static inline void fixture_check(struct embedded_fixture *f)
{
    for (uint16_t partition = 0; partition < FIXTURE_PARTITIONS; partition++)
        fixture_check_partition(f, partition);
}

#endif
