/*
 * A configuration file of any bytes: it is refused with one line, or accepted, and what is then
 * printed is read back as the same.
 */
#include "core/config.h"
#include "core/base.h"
#include "core/heap.h"
#include "core/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

struct settings {
    uint64_t expiry_ms;
    uint64_t count_max;
    uint64_t memory_bytes;
    bool is_anonymous;
    const char *data_dir;
    struct config_list listen;
    uint32_t commit;
};

static const char *const commits[] = {"synced", "written", "memory", NULL};

static const struct config_key keys[] = {
    {"session.expiry", CONFIG_DURATION, "7d", 0, 31536000000, NULL, NULL, true, "Time to live.",
     offsetof(struct settings, expiry_ms)},
    {"session.count_max", CONFIG_INTEGER, "1000", 1, 65535, "sessions", NULL, false, "How many.",
     offsetof(struct settings, count_max)},
    {"broker.memory_bytes", CONFIG_BYTES, "256M", 0, UINT64_MAX, NULL, NULL, false, "Memory.",
     offsetof(struct settings, memory_bytes)},
    {"broker.commit", CONFIG_CHOICE, "synced", 0, 0, NULL, commits, false, "When.",
     offsetof(struct settings, commit)},
    {"anonymous", CONFIG_BOOLEAN, "no", 0, 0, NULL, NULL, true, "Whether.",
     offsetof(struct settings, is_anonymous)},
    {"data_dir", CONFIG_STRING, "", 0, 200, NULL, NULL, false, "Where.",
     offsetof(struct settings, data_dir)},
    {"listen", CONFIG_LIST, "a,b", 0, 0, NULL, NULL, false, "Addresses.",
     offsetof(struct settings, listen)},
};

static const struct config_source source = {.keys = keys,
                                            .key_count = ps_array_count(keys),
                                            .values_bytes = sizeof(struct settings),
                                            .path = "fuzz.conf"};

static void assert_same(const struct settings *a, const struct settings *b)
{
    ps_assert(a->expiry_ms == b->expiry_ms && a->count_max == b->count_max);
    ps_assert(a->memory_bytes == b->memory_bytes && a->is_anonymous == b->is_anonymous);
    ps_assert(a->commit == b->commit && strcmp(a->data_dir, b->data_dir) == 0);
    ps_assert(a->listen.count == b->listen.count);
    for (uint32_t i = 0; i < a->listen.count; i++)
        ps_assert(strcmp(a->listen.items[i], b->listen.items[i]) == 0);
}

static void assert_reads_back(struct heap *heap, const struct config *config)
{
    char error[CONFIG_ERROR_BYTES_MAX];
    struct config *again;
    struct text printed;
    text_init(&printed, heap, CONFIG_FILE_BYTES_MAX);
    config_print(config, &printed);
    ps_assert(printed.error == 0);
    ps_assert(config_load_text(heap, &source, text_string(&printed), printed.count, &again, error,
                               sizeof(error)) == 0);
    assert_same(config_values(config), config_values(again));
    config_destroy(heap, again);
    text_deinit(&printed);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count > 65536)
        return 0;
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    char error[CONFIG_ERROR_BYTES_MAX] = "";
    struct config *config;
    int result =
        config_load_text(&heap, &source, (const char *)bytes, count, &config, error, sizeof(error));
    if (result == 0) {
        assert_reads_back(&heap, config);
        config_destroy(&heap, config);
    } else {
        ps_assert(result == -EINVAL);
        ps_assert(strlen(error) > 0 && strchr(error, '\n') == NULL);
    }
    ps_assert(heap.bytes_net == 0);
    heap_deinit(&heap);
    return 0;
}
