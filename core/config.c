/*
 * The configuration object; see config.h. Every value is kept as the text that it was written in
 * and parsed into the caller's struct; a reload is a new object made from the texts of two.
 */
#include "core/config.h"

#include <stdio.h>

#include "core/base.h"
#include "core/file.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/text.h"

#include "config_internal.h"

/* An object with nothing assigned. 0 or -ENOMEM. */
static int config_create(struct heap *heap, const struct config_source *source,
                         struct config **out_config)
{
    ps_assert(source->key_count <= CONFIG_KEYS_MAX);
    struct config *config = heap_zalloc(heap, sizeof(*config));
    if (config == NULL)
        return -ENOMEM;
    config->source = source;
    config->items = heap_zalloc(heap, (source->key_count + 1) * sizeof(*config->items));
    config->values = heap_zalloc(heap, source->values_bytes);
    if (config->items == NULL || config->values == NULL) {
        heap_free(heap, config->items);
        heap_free(heap, config->values);
        heap_free(heap, config);
        return -ENOMEM;
    }
    *out_config = config;
    return 0;
}

void config_destroy(struct heap *heap, struct config *config)
{
    if (config == NULL)
        return;
    for (uint32_t i = 0; i < config->source->key_count; i++)
        config_item_clear(heap, &config->items[i]);
    heap_free(heap, config->items);
    heap_free(heap, config->values);
    heap_free(heap, config);
}

static int assign_defaults(struct heap *heap, struct config *config)
{
    for (uint32_t i = 0; i < config->source->key_count; i++) {
        char reason[CONFIG_REASON_BYTES_MAX];
        const char *text = config->source->keys[i].value_default;
        int result = config_assign(heap, config, i, text, strlen(text), reason);
        if (result == -ENOMEM)
            return result;
        ps_assert(result == 0); /* the table is the program's */
    }
    return 0;
}

/* The key's index, or key_count. */
static uint32_t find_key(const struct config_source *source, const char *name, size_t name_bytes)
{
    uint32_t index = 0;
    for (; index < source->key_count; index++) {
        const char *candidate = source->keys[index].name;
        if (strlen(candidate) == name_bytes && memcmp(candidate, name, name_bytes) == 0)
            break;
    }
    return index;
}

static int assign_override(struct heap *heap, struct config *config, const char *override,
                           char *error, size_t error_bytes)
{
    const struct config_source *source = config->source;
    char quoted[128];
    const char *equals = strchr(override, '=');
    if (equals == NULL) {
        snprintf(error, error_bytes, "command line: %s: allowed: KEY=VALUE",
                 log_quote(quoted, sizeof(quoted), override, strlen(override)));
        return -EINVAL;
    }
    size_t name_bytes = (size_t)(equals - override);
    uint32_t index = find_key(source, override, name_bytes);
    if (index == source->key_count) {
        snprintf(error, error_bytes,
                 "command line: unknown key %s; --print-config lists what is allowed",
                 log_quote(quoted, sizeof(quoted), override, name_bytes));
        return -EINVAL;
    }
    char reason[CONFIG_REASON_BYTES_MAX];
    const char *value = equals + 1;
    int result = config_assign(heap, config, index, value, strlen(value), reason);
    if (result < 0)
        snprintf(error, error_bytes, "command line: %s: %s", source->keys[index].name,
                 result == -ENOMEM ? "out of memory" : reason);
    else
        config->items[index].line = CONFIG_LINE_COMMAND;
    return result;
}

int config_load_text(struct heap *heap, const struct config_source *source, const char *text,
                     size_t text_bytes, struct config **out_config, char *error, size_t error_bytes)
{
    struct config *config;
    int result = config_create(heap, source, &config);
    if (result < 0) {
        snprintf(error, error_bytes, "configuration: out of memory");
        return result;
    }
    result = assign_defaults(heap, config);
    if (result < 0)
        snprintf(error, error_bytes, "configuration: out of memory");
    if (result == 0 && text_bytes > 0)
        result =
            config_parse_file(heap, config, source->path, text, text_bytes, error, error_bytes);
    for (uint32_t i = 0; i < source->override_count && result == 0; i++)
        result = assign_override(heap, config, source->overrides[i], error, error_bytes);
    if (result < 0) {
        config_destroy(heap, config);
        return result;
    }
    *out_config = config;
    return 0;
}

int config_load(struct heap *heap, const struct config_source *source, struct config **out_config,
                char *error, size_t error_bytes)
{
    char *text = NULL;
    size_t text_bytes = 0;
    if (source->path != NULL) {
        int result = file_read(heap, source->path, CONFIG_FILE_BYTES_MAX, &text, &text_bytes);
        if (result < 0) {
            snprintf(error, error_bytes, "%s: cannot be read: %s", source->path, strerror(-result));
            return result;
        }
    }
    int result = config_load_text(heap, source, text, text_bytes, out_config, error, error_bytes);
    heap_free(heap, text);
    return result;
}

const void *config_values(const struct config *config)
{
    return config->values;
}

const char *config_text(const struct config *config, const char *name)
{
    uint32_t index = find_key(config->source, name, strlen(name));
    return index == config->source->key_count ? NULL : config->items[index].text;
}

void config_origin(const struct config *config, const char *name, char *out_text, size_t text_bytes)
{
    const struct config_source *source = config->source;
    uint32_t index = find_key(source, name, strlen(name));
    uint32_t line = index == source->key_count ? 0 : config->items[index].line;
    if (line == 0)
        snprintf(out_text, text_bytes, "%s", "");
    else if (line == CONFIG_LINE_COMMAND)
        snprintf(out_text, text_bytes, "command line: ");
    else
        snprintf(out_text, text_bytes, "%s:%u: ", source->path, line);
}

/* The config that follows `running` when the file and overrides say `wanted`. 0 or -ENOMEM. */
static int merge(struct heap *heap, const struct config *running, const struct config *wanted,
                 struct config **out_config)
{
    const struct config_source *source = running->source;
    struct config *merged;
    int result = config_create(heap, source, &merged);
    for (uint32_t i = 0; i < source->key_count && result == 0; i++) {
        char reason[CONFIG_REASON_BYTES_MAX];
        const struct config *from = source->keys[i].is_reloadable ? wanted : running;
        const char *text = from->items[i].text;
        result = config_assign(heap, merged, i, text, strlen(text), reason);
        ps_assert(result != -EINVAL); /* it was valid before */
        if (result < 0)
            config_destroy(heap, merged);
        else
            merged->items[i].line = from->items[i].line;
    }
    if (result == 0)
        *out_config = merged;
    return result;
}

int config_reload(struct heap *heap, const struct config *running, config_change *on_change,
                  void *context, struct config **out_config, char *error, size_t error_bytes)
{
    const struct config_source *source = running->source;
    struct config *wanted;
    int result = config_load(heap, source, &wanted, error, error_bytes);
    if (result < 0)
        return result;
    result = merge(heap, running, wanted, out_config);
    if (result < 0)
        snprintf(error, error_bytes, "configuration: out of memory");
    for (uint32_t i = 0; i < source->key_count && result == 0; i++) {
        if (!config_is_same(running, wanted, i))
            on_change(context, &source->keys[i], running->items[i].text, wanted->items[i].text,
                      source->keys[i].is_reloadable);
    }
    config_destroy(heap, wanted);
    return result;
}

/* A text as libconfuse reads it back. */
static void print_quoted(struct text *text, const char *value, size_t value_bytes)
{
    text_append_bytes(text, "\"", 1);
    for (size_t i = 0; i < value_bytes; i++) {
        unsigned char byte = (unsigned char)value[i];
        if (byte < 0x20 || byte == 0x7f)
            text_append(text, "\\x%02x", byte);
        else if (byte == '"' || byte == '\\' || byte == '$')
            text_append(text, "\\%c", byte);
        else
            text_append_bytes(text, value + i, 1);
    }
    text_append_bytes(text, "\"", 1);
}

static void print_list(struct text *text, const struct config_list *list)
{
    for (uint32_t i = 0; i < list->count; i++) {
        text_append(text, i == 0 ? "{" : ", ");
        print_quoted(text, list->items[i], strlen(list->items[i]));
    }
    text_append(text, list->count == 0 ? "\"\"" : "}");
}

void config_print(const struct config *config, struct text *text)
{
    for (uint32_t i = 0; i < config->source->key_count; i++) {
        const struct config_key *key = &config->source->keys[i];
        const char *value = config->items[i].text;
        char range[CONFIG_RANGE_BYTES_MAX];
        config_describe_range(key, range);
        size_t help_bytes = strlen(key->help);
        bool is_sentence = help_bytes != 0 && key->help[help_bytes - 1] == '.';
        text_append(text, "# %s%s Default: %s. Allowed: %s.%s\n%s = ", key->help,
                    is_sentence ? "" : ".",
                    key->value_default[0] == '\0' ? "none" : key->value_default, range,
                    key->is_reloadable ? " SIGHUP applies changes." : "", key->name);
        if (key->type == CONFIG_STRING)
            print_quoted(text, value, strlen(value));
        else if (key->type == CONFIG_LIST)
            print_list(text, (const void *)((const char *)config->values + key->offset));
        else
            text_append(text, "%s", value);
        text_append(text, "\n");
    }
}
