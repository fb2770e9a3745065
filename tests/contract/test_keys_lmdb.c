/*
 * The embedded keys on LMDB, in a directory of the host; and with threads, as in production.
 */
#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include "keys_contract.h"
#include "support/scratch_directory.h"

static char scratch[SCRATCH_PATH_BYTES];

const char *keys_contract_begin(void)
{
    scratch_directory_make(scratch);
    return scratch;
}

void keys_contract_end(void)
{
    scratch_directory_remove(scratch);
}

enum { COUNTS = 200, WAIT_S_MAX = 30 };

/* A shard: adds one to a shared key, again and again, by compare and set. */
struct adder {
    struct keys *keys;
    uint32_t port;
    sem_t called;
    pthread_t thread;
    uint32_t conflicts;
    struct asked_get get;
    struct asked_commit commit;
    struct asked_watch watch;
};

static void wake(void *context)
{
    sem_post(&((struct adder *)context)->called);
}

/* Turns, and sleeps until it is woken, until `request` is answered. */
static void finish(struct adder *adder, const struct broker_request *request)
{
    struct embedded_keys_port *port = adder->keys->ports[adder->port];
    while (request->is_taken) {
        bool has_more = embedded_keys_port_turn(port, adder->keys->wall_ms);
        if (!request->is_taken || has_more)
            continue;
        struct timespec deadline;
        clock_gettime(CLOCK_REALTIME, &deadline);
        deadline.tv_sec += WAIT_S_MAX;
        int status = sem_timedwait(&adder->called, &deadline);
        ps_assert(status == 0);
    }
}

static void *add(void *argument)
{
    struct adder *adder = argument;
    adder->get.owner = adder->keys;
    for (uint32_t done = 0; done < COUNTS;) {
        keys_submit_get(adder->keys, adder->port, &adder->get, "sum");
        finish(adder, &adder->get.get.request);
        char text[16];
        unsigned long sum = strtoul(adder->get.value, NULL, 10);
        (void)snprintf(text, sizeof(text), "%lu", sum + 1);
        keys_begin_commit(adder->keys, &adder->commit);
        keys_add(&adder->commit, "sum", text)->expected_revision = adder->get.revision;
        keys_submit_commit(adder->keys, adder->port, &adder->commit);
        finish(adder, &adder->commit.commit.request);
        ps_assert(adder->commit.commit.status == BROKER_OK ||
                  adder->commit.commit.status == BROKER_CONFLICT);
        done += adder->commit.commit.status == BROKER_OK;
        adder->conflicts += adder->commit.commit.status == BROKER_CONFLICT;
    }
    return NULL;
}

static void shards_on_threads_of_their_own_share_one_store(void **state)
{
    struct keys *keys = *state;
    struct adder *adders = calloc(KEYS_PORTS, sizeof(*adders));
    char text[16];
    /* What the adders count as answers is each one's own. */
    struct keys each[KEYS_PORTS];
    for (uint32_t index = 0; index < KEYS_PORTS; index++) {
        struct adder *adder = &adders[index];
        const struct embedded_keys_port_options options = {
            .heap = &keys->heaps[index], .wake = wake, .wake_context = adder};
        embedded_keys_port_destroy(keys->ports[index]);
        sem_init(&adder->called, 0, 0);
        assert_int_equal(embedded_keys_port_create(keys->keys, &options, &keys->ports[index]), 0);
    }
    for (uint32_t index = 0; index < KEYS_PORTS; index++) {
        each[index] = *keys;
        adders[index].keys = &each[index];
        adders[index].port = index;
        adders[index].watch.is_silent = true;
        keys_submit_watch(&each[index], index, &adders[index].watch, "", 0);
    }
    assert_int_equal(helper_start(keys->helper), 0);
    for (uint32_t index = 0; index < KEYS_PORTS; index++)
        assert_int_equal(pthread_create(&adders[index].thread, NULL, add, &adders[index]), 0);
    for (uint32_t index = 0; index < KEYS_PORTS; index++)
        pthread_join(adders[index].thread, NULL);
    for (uint32_t index = 0; index < KEYS_PORTS; index++) {
        assert_true(adders[index].watch.changes > 0);
        embedded_keys_port_destroy(keys->ports[index]);
        keys->ports[index] = NULL;
        sem_destroy(&adders[index].called);
    }
    free(adders);
    keys_reopen(keys);
    (void)snprintf(text, sizeof(text), "%d", KEYS_PORTS * COUNTS);
    keys_assert_value(keys, "sum", text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_on_threads_of_their_own_share_one_store),
        {0},
    };
    /* Thousands of commits, which need not outlive the test: in memory, where that is to be had. */
    if (access("/dev/shm", W_OK) == 0)
        (void)setenv("TMPDIR", "/dev/shm", 0);
    return keys_contract_run() + keys_run_tests("keys and threads", tests);
}
