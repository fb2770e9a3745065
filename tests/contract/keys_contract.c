/*
 * The embedded keys: gets, commits, lists, expiry, room, and what a restart finds.
 */
#include "keys_contract.h"

#include <stdio.h>

#include "core/random.h"

static void requests_of_a_port_are_carried_out_and_answered_in_order(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[3];
    struct asked_get gets[3];
    static const char *const values[] = {"1", "2", NULL};
    for (uint32_t index = 0; index < 3; index++) {
        keys_begin_commit(keys, &commits[index]);
        keys_add(&commits[index], "k", values[index]);
        keys_submit_commit(keys, 0, &commits[index]);
        keys_submit_get(keys, 0, &gets[index], "k");
    }
    assert_int_equal(keys->answers, 0);
    keys_settle(keys);
    for (uint32_t index = 0; index < 3; index++) {
        assert_int_equal(commits[index].number, 2 * index + 1);
        assert_int_equal(gets[index].number, 2 * index + 2);
        assert_string_equal(gets[index].value, values[index] != NULL ? values[index] : "");
        assert_int_equal(gets[index].status, values[index] != NULL ? BROKER_OK : BROKER_NOT_FOUND);
    }
    assert_int_equal(keys_counters(keys).batches, 1);
}

static void what_waits_in_all_ports_is_one_batch(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[6];
    static const char *const names[] = {"a", "b", "c", "d", "e", "f"};
    for (uint32_t index = 0; index < 6; index++) {
        keys_begin_commit(keys, &commits[index]);
        keys_add(&commits[index], names[index], "x");
        keys_submit_commit(keys, index % KEYS_PORTS, &commits[index]);
    }
    keys_settle(keys);
    assert_int_equal(keys->answers, 6);
    assert_int_equal(keys_counters(keys).batches, 1);
    keys_assert_list(keys, "", "a=x b=x c=x d=x e=x f=x ");
    keys_assert_value(keys, "f", "x");
    assert_int_equal(keys_counters(keys).batches, 1); /* reads commit nothing */
}

static void a_conflict_harms_no_other_commit_of_its_batch(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[4];
    uint64_t revision = keys_put(keys, "guard", "1");
    for (uint32_t index = 0; index < 4; index++)
        keys_begin_commit(keys, &commits[index]);
    keys_add(&commits[0], "a", "1")->expected_revision = 0;
    keys_add(&commits[1], "b", "1");
    keys_add(&commits[1], "a", "2")->expected_revision = 0; /* not any more */
    commits[2].commit.guard_key = keys_bytes("guard");
    commits[2].commit.guard_revision = revision + 1;
    keys_add(&commits[2], "c", "1");
    commits[3].commit.guard_key = keys_bytes("guard");
    commits[3].commit.guard_revision = revision;
    keys_add(&commits[3], "d", "1");
    keys_add(&commits[3], "guard", NULL);
    for (uint32_t index = 0; index < 4; index++)
        keys_submit_commit(keys, 0, &commits[index]);
    keys_settle(keys);
    assert_int_equal(commits[0].commit.status, BROKER_OK);
    assert_int_equal(commits[1].commit.status, BROKER_CONFLICT);
    assert_int_equal(commits[2].commit.status, BROKER_CONFLICT);
    assert_int_equal(commits[3].commit.status, BROKER_OK);
    assert_int_equal(keys_counters(keys).batches, 2);
    keys_assert_list(keys, "", "a=1 d=1 ");
}

static void a_commit_that_names_a_key_twice_leaves_the_last_value(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commit;
    keys_begin_commit(keys, &commit);
    keys_add(&commit, "ok", "1")->time_to_live_ms = 1000;
    keys_add(&commit, "ok", "22")->time_to_live_ms = 2000;
    keys_submit_commit(keys, 0, &commit);
    keys_settle(keys);
    keys_assert_value(keys, "ok", "22");
    assert_int_equal(keys_counters(keys).key_count, 1);
    assert_int_equal(keys_counters(keys).kind_count, 1);
    keys_advance(keys, 3000);
    assert_int_equal(keys_counters(keys).key_count, 0);
    assert_int_equal(keys_counters(keys).key_bytes, 0);
}

static void what_was_answered_is_there_after_a_restart(void **state)
{
    struct keys *keys = *state;
    uint64_t first = keys_put(keys, "o1", "a");
    uint64_t second = keys_put_for(keys, "o2", "b", 60000);
    keys_put(keys, "gone", "x");
    uint64_t last = keys_put(keys, "gone", NULL);
    struct embedded_keys_counters before = keys_counters(keys);
    assert_int_equal(before.key_count, 2);
    assert_int_equal(before.kind_count, 2);
    assert_true(before.longest_commit_ns > 0);
    keys_reopen(keys);
    assert_int_equal(keys_counters(keys).key_count, 2);
    assert_int_equal(keys_counters(keys).key_bytes, before.key_bytes);
    assert_int_equal(keys_counters(keys).kind_count, 2);
    assert_int_equal(keys_assert_value(keys, "o1", "a"), first);
    assert_int_equal(keys_assert_value(keys, "o2", "b"), second);
    keys_assert_value(keys, "gone", NULL);
    assert_true(keys_put(keys, "new", "x") > last); /* no revision is given twice */
    keys_advance(keys, 60000);
    keys_assert_value(keys, "o2", NULL);
    assert_int_equal(keys_counters(keys).kind_count, 1);
}

static void what_was_not_answered_may_be_lost_but_only_as_a_whole(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[2];
    for (uint32_t index = 0; index < 2; index++) {
        keys_begin_commit(keys, &commits[index]);
        keys_add(&commits[index], index == 0 ? "a1" : "b1", "x");
        keys_add(&commits[index], index == 0 ? "a2" : "b2", "x");
        keys_submit_commit(keys, 0, &commits[index]);
        if (index == 0) {
            keys_turn_ports(keys);
            keys_help(keys); /* committed, and never called back */
        }
    }
    keys_reopen(keys);
    assert_int_equal(keys->answers, 0);
    keys_assert_list(keys, "", "a1=x a2=x ");
}

static void keys_of_another_kind_are_counted_anew(void **state)
{
    struct keys *keys = *state;
    keys_put(keys, "o1", "x");
    keys_put(keys, "p1", "x");
    keys_put(keys, "p2", "x");
    assert_int_equal(keys_counters(keys).kind_count, 1);
    keys->options.counted_kind = 'p';
    keys_reopen(keys);
    assert_int_equal(keys_counters(keys).kind_count, 2);
    keys_put(keys, "p3", "x");
    keys_reopen(keys);
    assert_int_equal(keys_counters(keys).kind_count, 3);
    keys->options.counted_kind = 0;
    keys_reopen(keys);
    assert_int_equal(keys_counters(keys).kind_count, 0);
}

static void requests_beyond_the_limit_are_refused_and_taken_again_later(void **state)
{
    struct keys *keys = *state;
    enum { REQUESTS = 8 };
    keys_close(keys);
    keys->options.requests_max = REQUESTS;
    keys_open(keys);
    struct asked_get gets[REQUESTS];
    struct asked_get more = {.get = {.request = {.kind = BROKER_REQUEST_GET}}};
    for (uint32_t index = 0; index < REQUESTS; index++)
        keys_submit_get(keys, 0, &gets[index], "k");
    assert_int_equal(embedded_keys_port_submit(keys->ports[0], &more.get.request), -EAGAIN);
    keys_submit_get(keys, 1, &more, "k"); /* another port has room of its own */
    keys_settle(keys);
    assert_int_equal(keys->answers, REQUESTS + 1);
    keys_submit_get(keys, 0, &more, "k");
    keys_settle(keys);
    assert_int_equal(keys->answers, REQUESTS + 2);
}

static void a_request_is_cancelled_unless_its_answer_is_on_its_way(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[3];
    for (uint32_t index = 0; index < 3; index++) {
        keys_begin_commit(keys, &commits[index]);
        keys_add(&commits[index], index == 0 ? "a" : index == 1 ? "b" : "c", "x");
    }
    keys_submit_commit(keys, 0, &commits[0]);
    embedded_keys_port_cancel(keys->ports[0], &commits[0].commit.request);
    keys_submit_commit(keys, 0, &commits[1]);
    keys_turn_ports(keys); /* it waits for the helper now */
    embedded_keys_port_cancel(keys->ports[0], &commits[1].commit.request);
    keys_submit_commit(keys, 0, &commits[2]);
    keys_turn_ports(keys);
    keys_help(keys);
    embedded_keys_port_cancel(keys->ports[0], &commits[2].commit.request);
    keys_settle(keys);
    assert_int_equal(keys->answers, 3);
    assert_int_equal(commits[0].commit.status, BROKER_CANCELLED);
    assert_int_equal(commits[1].commit.status, BROKER_CANCELLED);
    assert_int_equal(commits[2].commit.status, BROKER_OK);
    keys_assert_list(keys, "", "c=x ");
}

static void requests_of_a_port_that_goes_are_given_up(void **state)
{
    struct keys *keys = *state;
    struct asked_commit commits[2];
    struct asked_get get;
    struct asked_watch watch = {0};
    keys_put(keys, "k", "x");
    keys_submit_get(keys, 1, &get, "k");
    keys_submit_watch(keys, 1, &watch, "", 0);
    keys_turn_ports(keys);
    keys_help(keys); /* its answer is ready */
    for (uint32_t index = 0; index < 2; index++) {
        keys_begin_commit(keys, &commits[index]);
        keys_add(&commits[index], "k", "y");
        keys_submit_commit(keys, 1, &commits[index]);
        if (index == 0)
            keys_turn_ports(keys);
    }
    uint32_t answers = keys->answers;
    embedded_keys_port_destroy(keys->ports[1]);
    keys->ports[1] = NULL;
    keys_settle(keys);
    assert_int_equal(keys->answers, answers);
    struct asked_get after;
    keys_submit_get(keys, 0, &after, "k");
    keys_settle(keys);
    assert_string_equal(after.value, "x");
}

static void expired_keys_are_gone_at_once_and_removed_in_time(void **state)
{
    struct keys *keys = *state;
    enum { KEYS = 3000, A_COMMIT = 50 };
    static char names[KEYS][16];
    struct asked_commit *asked = malloc(sizeof(*asked));
    for (uint32_t done = 0; done < KEYS; done += A_COMMIT) {
        keys_begin_commit(keys, asked);
        for (uint32_t index = done; index < done + A_COMMIT; index++) {
            (void)snprintf(names[index], sizeof(names[0]), "o%05u", index);
            keys_add(asked, names[index], "x")->time_to_live_ms = 1000 + index / 1000;
        }
        keys_submit_commit(keys, 0, asked);
        keys_settle(keys);
    }
    free(asked);
    keys_put(keys, "o9", "stays");
    keys_put_for(keys, "q", "later", 5000);
    assert_int_equal(keys_counters(keys).key_count, KEYS + 2);
    keys->wall_ms += 1100;
    /* Before any of them is removed: the list comes in the same batch. */
    struct asked_list list;
    struct asked_get get;
    keys_submit_list(keys, 0, &list, "o");
    keys_submit_get(keys, 0, &get, "o00000");
    keys_settle(keys);
    assert_string_equal(list.text, "o9=stays ");
    assert_true(list.list.is_last);
    assert_int_equal(get.status, BROKER_NOT_FOUND);
    assert_int_equal(get.number, list.number + 1);
    keys_settle(keys);
    assert_int_equal(keys_counters(keys).key_count, 2);
    assert_int_equal(keys_counters(keys).kind_count, 1);
    assert_int_equal(keys_counters(keys).kind_expired, KEYS);
    assert_true(keys_counters(keys).batches > KEYS / A_COMMIT + 5); /* in parts */
    keys_advance(keys, 4000);
    assert_int_equal(keys_counters(keys).key_count, 1);
    assert_int_equal(keys_counters(keys).kind_expired, KEYS);
}

static void a_write_moves_its_keys_expiry(void **state)
{
    struct keys *keys = *state;
    keys_put_for(keys, "a", "1", 1000);
    keys_put_for(keys, "a", "2", 5000);
    keys_put_for(keys, "b", "1", 1000);
    keys_put(keys, "b", "2");
    keys_put_for(keys, "c", "1", 1000);
    keys_put(keys, "c", NULL);
    keys_put_for(keys, "d", "1", UINT64_MAX);
    keys_advance(keys, 2000);
    keys_assert_list(keys, "", "a=2 b=2 d=1 ");
    keys_advance(keys, 4000);
    keys_assert_list(keys, "", "b=2 d=1 ");
    assert_int_equal(keys_counters(keys).key_count, 2);
}

/* Puts keys of 1 KiB until there is no room. Result: how many there are. */
static uint32_t fill(struct keys *keys, uint32_t first)
{
    char name[16];
    char value[1024];
    memset(value, 'v', sizeof(value));
    for (uint32_t count = first; count < 100000; count++) {
        struct asked_commit asked;
        (void)snprintf(name, sizeof(name), "k%06u", count);
        keys_begin_commit(keys, &asked);
        keys_add(&asked, name, "")->value = (struct broker_bytes){value, sizeof(value)};
        keys_submit_commit(keys, 0, &asked);
        keys_settle(keys);
        if (asked.commit.status == BROKER_FULL)
            return count;
        assert_int_equal(asked.commit.status, BROKER_OK);
    }
    fail_msg("the store is never full");
    return 0;
}

static void assert_full_store(struct keys *keys)
{
    char name[16];
    char value[1024];
    memset(value, 'w', sizeof(value));
    uint32_t count = fill(keys, 0);
    assert_true(count > 100);
    uint64_t full_commits = embedded_keys_port_full_commits(keys->ports[0]);
    assert_true(full_commits > 0);
    for (uint32_t index = 0; index < count; index++) {
        (void)snprintf(name, sizeof(name), "k%06u", index);
        keys_put_as(keys, name, (struct broker_bytes){value, sizeof(value)}, BROKER_OK);
    }
    keys_put_as(keys, "larger than any", (struct broker_bytes){value, 1024}, BROKER_FULL);
    for (uint32_t index = 0; index < count; index++) {
        (void)snprintf(name, sizeof(name), "k%06u", index);
        keys_put(keys, name, index % 2 == 0 ? NULL : "short");
    }
    for (uint32_t index = 1; index < count; index += 2) {
        (void)snprintf(name, sizeof(name), "k%06u", index);
        keys_put(keys, name, NULL);
    }
    assert_int_equal(keys_counters(keys).key_bytes, 0);
    uint32_t again = fill(keys, count) - count;
    assert_true(again > count - count / 10);
    assert_true(embedded_keys_port_full_commits(keys->ports[0]) > full_commits);
}

static void a_store_at_its_limit_takes_what_needs_no_room(void **state)
{
    struct keys *keys = *state;
    keys_close(keys);
    keys->options.key_bytes_max = 300000;
    keys_open(keys);
    assert_full_store(keys);
    assert_true(keys_counters(keys).key_bytes <= 300000);
}

static void a_file_at_its_limit_takes_what_needs_no_room(void **state)
{
    struct keys *keys = *state;
    keys_close(keys);
    keys->options.map_bytes = 1 << 20;
    keys->options.directory = (keys_contract_end(), keys_contract_begin());
    keys_open(keys);
    assert_full_store(keys);
}

static void batches_that_find_no_room_half_way_are_carried_out_in_parts(void **state)
{
    struct keys *keys = *state;
    enum { COMMITS = 64, ROUNDS = 20 };
    static char names[COMMITS][16];
    static char value[1800];
    struct asked_commit *asked = calloc(COMMITS, sizeof(*asked));
    uint32_t taken = 0;
    memset(value, 'v', sizeof(value));
    keys_close(keys);
    keys->options.map_bytes = 1 << 20;
    keys->options.directory = (keys_contract_end(), keys_contract_begin());
    keys_open(keys);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        for (uint32_t index = 0; index < COMMITS; index++) {
            (void)snprintf(names[index], sizeof(names[0]), "%08x",
                           (round * COMMITS + index) * 2654435761U);
            keys_begin_commit(keys, &asked[index]);
            keys_add(&asked[index], names[index], "")->value =
                (struct broker_bytes){value, sizeof(value)};
            keys_submit_commit(keys, index % KEYS_PORTS, &asked[index]);
        }
        keys_settle(keys);
        for (uint32_t index = 0; index < COMMITS; index++) {
            assert_true(asked[index].commit.status == BROKER_OK ||
                        asked[index].commit.status == BROKER_FULL);
            taken += asked[index].commit.status == BROKER_OK;
        }
    }
    assert_true(keys->is_healthy[0]);
    assert_true(taken > COMMITS && taken < COMMITS * ROUNDS);
    assert_int_equal(keys_counters(keys).key_count, taken);
    free(asked);
}

enum { LARGE_BYTES = 5 << 20 };

static void on_large(struct broker_get *get)
{
    struct asked_get *asked = ps_container_of(get, struct asked_get, get);
    asked->number = ++asked->owner->answers;
    assert_int_equal(get->values[0].value.count, LARGE_BYTES);
    const char *value = get->values[0].value.bytes;
    assert_true(value[0] == 'v' && memcmp(value, value + 1, LARGE_BYTES - 1) == 0);
}

static void answers_that_nobody_takes_are_bounded(void **state)
{
    struct keys *keys = *state;
    enum { GETS = 10, HELD_BYTES_MAX = 30 << 20 };
    struct asked_get gets[GETS];
    char *value = malloc(LARGE_BYTES);
    memset(value, 'v', LARGE_BYTES);
    keys_put_as(keys, "large", (struct broker_bytes){value, LARGE_BYTES}, BROKER_OK);
    free(value);
    keys->answers = 0;
    for (uint32_t index = 0; index < GETS; index++) {
        keys_submit_get(keys, 0, &gets[index], "large");
        gets[index].get.on_done = on_large;
    }
    keys_turn_ports(keys);
    for (uint32_t round = 0; round < 10; round++)
        keys_help(keys);
    assert_true(heap_bytes_net(&keys->heap) < 1 << 20);
    assert_true(heap_budget_bytes_used(&keys->budget) > LARGE_BYTES);
    assert_true(heap_budget_bytes_used(&keys->budget) < HELD_BYTES_MAX);
    keys_settle(keys);
    assert_int_equal(keys->answers, GETS);
    for (uint32_t index = 0; index < GETS; index++)
        assert_int_equal(gets[index].number, index + 1);
}

static void on_some(struct broker_get *get)
{
    struct asked_get *asked = ps_container_of(get, struct asked_get, get);
    asked->number = ++asked->owner->answers;
    asked->status = get->values[0].status;
}

/* An answer that memory will never be there for would keep everything behind it waiting. */
static void an_answer_that_never_fits_is_refused(void **state)
{
    struct keys *keys = *state;
    char *value = malloc(LARGE_BYTES);
    memset(value, 'v', LARGE_BYTES);
    keys_put_as(keys, "l/1", (struct broker_bytes){value, LARGE_BYTES}, BROKER_OK);
    keys_put_as(keys, "l/2", (struct broker_bytes){value, LARGE_BYTES}, BROKER_OK);
    uint64_t revision = keys_put(keys, "small", "one");
    free(value);
    keys_close(keys);
    keys->budget.bytes_max = LARGE_BYTES; /* lower than it was when they were written */
    keys_open(keys);
    struct asked_get get;
    struct asked_get other;
    struct asked_list list;
    keys_submit_get(keys, 0, &get, "l/1");
    get.get.on_done = on_some;
    get.get.keys[1] = keys_bytes("small");
    get.get.count = 2;
    keys_submit_list(keys, 0, &list, "l/");
    keys_submit_get(keys, 1, &other, "small");
    keys_settle(keys);
    assert_true(get.number > 0 && list.number > 0 && other.number > 0);
    assert_int_equal(get.get.values[0].status, BROKER_REFUSED);
    assert_int_equal(get.get.values[0].value.count, 0);
    assert_int_equal(get.get.values[1].status, BROKER_OK);
    assert_int_equal(get.get.values[1].revision, revision);
    assert_int_equal(list.list.status, BROKER_REFUSED);
    assert_int_equal(list.list.count, 0);
    assert_int_equal(other.status, BROKER_OK);
    assert_int_equal(embedded_keys_port_refused_reads(keys->ports[0]), 2);
    assert_int_equal(embedded_keys_port_refused_reads(keys->ports[1]), 0);
}

/* A model of the store. */
enum { MODEL_KEYS = 60, MODEL_STEPS = 1500, MODEL_WRITES = 4 };

struct model_key {
    char name[8];
    char value[8];
    uint64_t revision; /* 0: absent */
    uint64_t expires_ms;
};

static uint64_t model_revision(const struct keys *keys, const struct model_key *key)
{
    bool is_expired = key->expires_ms != 0 && key->expires_ms <= keys->wall_ms;
    return is_expired ? 0 : key->revision;
}

static struct model_key *choose(struct model_key *model, struct random *random)
{
    return &model[random_below(random, MODEL_KEYS)];
}

/* Commits something and does the same to the model. */
static void step_model(struct keys *keys, struct model_key *model, struct random *random)
{
    struct asked_commit asked;
    struct model_key *chosen[MODEL_WRITES];
    bool is_good = true;
    keys_begin_commit(keys, &asked);
    if (random_below(random, 3) == 0) {
        const struct model_key *guard = choose(model, random);
        asked.commit.guard_key = keys_bytes(guard->name);
        asked.commit.guard_revision = model_revision(keys, guard) + (random_below(random, 8) == 0);
        is_good = asked.commit.guard_revision == model_revision(keys, guard);
    }
    uint32_t first = (uint32_t)random_below(random, MODEL_KEYS);
    uint32_t count = 1 + (uint32_t)random_below(random, MODEL_WRITES);
    for (uint32_t index = 0; index < count; index++) {
        struct model_key *key = chosen[index] = &model[(first + 7 * index) % MODEL_KEYS];
        char text[8];
        (void)snprintf(text, sizeof(text), "%u", (unsigned)random_below(random, 100000));
        bool is_put = random_below(random, 4) > 0;
        struct broker_write *write = keys_add(&asked, key->name, is_put ? "" : NULL);
        if (random_below(random, 2) == 0) {
            write->expected_revision = model_revision(keys, key) + (random_below(random, 12) == 0);
            is_good &= write->expected_revision == model_revision(keys, key);
        }
        write->time_to_live_ms = random_below(random, 3) == 0 ? random_below(random, 5000) : 0;
        static char values[MODEL_WRITES][8];
        memcpy(values[index], text, sizeof(text));
        write->value = keys_bytes(values[index]);
    }
    keys_submit_commit(keys, (uint32_t)random_below(random, KEYS_PORTS), &asked);
    keys_settle(keys);
    assert_int_equal(asked.commit.status, is_good ? BROKER_OK : BROKER_CONFLICT);
    for (uint32_t index = 0; is_good && index < count; index++) {
        const struct broker_write *write = &asked.commit.writes[index];
        struct model_key *key = chosen[index];
        bool is_put = write->kind == BROKER_PUT;
        assert_true(!is_put || write->revision > 0);
        key->revision = is_put ? write->revision : 0;
        key->expires_ms = write->time_to_live_ms > 0 ? keys->wall_ms + write->time_to_live_ms : 0;
        memcpy(key->value, is_put ? write->value.bytes : "", is_put ? write->value.count + 1 : 1);
    }
}

static void assert_model(struct keys *keys, const struct model_key *model)
{
    char expected[KEYS_TEXT_BYTES] = "";
    size_t used = 0;
    for (uint32_t index = 0; index < MODEL_KEYS; index++)
        if (model_revision(keys, &model[index]) > 0)
            used += (size_t)snprintf(expected + used, sizeof(expected) - used, "%s=%s ",
                                     model[index].name, model[index].value);
    char found[KEYS_TEXT_BYTES] = "";
    char after[8] = "";
    for (bool is_last = false; !is_last;) {
        struct asked_list list;
        keys_submit_list(keys, 0, &list, "");
        list.list.after = keys_bytes(after);
        list.list.entries_max = 7;
        keys_settle(keys);
        strcat(found, list.text);
        is_last = list.list.is_last;
        if (list.list.count > 0) {
            const char *last = list.text + strlen(list.text) - 1;
            while (last > list.text && last[-1] != ' ')
                last--;
            (void)snprintf(after, sizeof(after), "%.*s", (int)strcspn(last, "="), last);
        }
    }
    assert_string_equal(found, expected);
}

static void the_store_agrees_with_a_model(void **state)
{
    struct keys *keys = *state;
    struct model_key model[MODEL_KEYS] = {0};
    struct random random;
    random_init(&random, 71);
    for (uint32_t index = 0; index < MODEL_KEYS; index++)
        (void)snprintf(model[index].name, sizeof(model[0].name), "%c%03u",
                       index % 3 == 0 ? 'o' : 'n', index);
    /* In the order of their names, as a list has them. */
    for (uint32_t index = 1; index < MODEL_KEYS; index++)
        for (uint32_t at = index; at > 0 && strcmp(model[at].name, model[at - 1].name) < 0; at--) {
            struct model_key key = model[at];
            model[at] = model[at - 1];
            model[at - 1] = key;
        }
    for (uint32_t step = 0; step < MODEL_STEPS; step++) {
        step_model(keys, model, &random);
        if (random_below(&random, 4) == 0)
            keys_advance(keys, random_below(&random, 2000));
        if (step % 100 == 99)
            keys_reopen(keys);
        if (step % 20 != 19)
            continue;
        assert_model(keys, model);
        const struct model_key *key = choose(model, &random);
        bool is_there = model_revision(keys, key) > 0;
        assert_int_equal(keys_assert_value(keys, key->name, is_there ? key->value : NULL),
                         model_revision(keys, key));
    }
    keys_advance(keys, 10000);
    uint64_t count = 0;
    uint64_t kind_count = 0;
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < MODEL_KEYS; index++) {
        bool is_there = model_revision(keys, &model[index]) > 0;
        count += is_there;
        kind_count += is_there && model[index].name[0] == 'o';
        bytes += is_there ? 64 + strlen(model[index].name) + strlen(model[index].value) : 0;
    }
    assert_int_equal(keys_counters(keys).key_count, count);
    assert_int_equal(keys_counters(keys).kind_count, kind_count);
    assert_int_equal(keys_counters(keys).key_bytes, bytes);
}

static const struct CMUnitTest tests[] = {
    cmocka_unit_test(requests_of_a_port_are_carried_out_and_answered_in_order),
    cmocka_unit_test(what_waits_in_all_ports_is_one_batch),
    cmocka_unit_test(a_conflict_harms_no_other_commit_of_its_batch),
    cmocka_unit_test(a_commit_that_names_a_key_twice_leaves_the_last_value),
    cmocka_unit_test(what_was_answered_is_there_after_a_restart),
    cmocka_unit_test(what_was_not_answered_may_be_lost_but_only_as_a_whole),
    cmocka_unit_test(keys_of_another_kind_are_counted_anew),
    cmocka_unit_test(requests_beyond_the_limit_are_refused_and_taken_again_later),
    cmocka_unit_test(a_request_is_cancelled_unless_its_answer_is_on_its_way),
    cmocka_unit_test(requests_of_a_port_that_goes_are_given_up),
    cmocka_unit_test(expired_keys_are_gone_at_once_and_removed_in_time),
    cmocka_unit_test(a_write_moves_its_keys_expiry),
    cmocka_unit_test(a_store_at_its_limit_takes_what_needs_no_room),
    cmocka_unit_test(a_file_at_its_limit_takes_what_needs_no_room),
    cmocka_unit_test(batches_that_find_no_room_half_way_are_carried_out_in_parts),
    cmocka_unit_test(answers_that_nobody_takes_are_bounded),
    cmocka_unit_test(an_answer_that_never_fits_is_refused),
    cmocka_unit_test(the_store_agrees_with_a_model),
    {0},
};

int keys_contract_run(void)
{
    return keys_run_tests("keys", tests) + keys_run_tests("watches", keys_contract_watch_tests);
}
