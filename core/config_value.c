/*
 * One value of the configuration: from text to the caller's struct and back. Stateless; see
 * config.h for the forms. Text comes from files and command lines: everything is validated.
 */
#include <stdio.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"

#include "config_internal.h"

struct suffix {
    const char *text;
    uint64_t factor;
};

/* From small to large; the first is also what a value without a suffix means, where it may lack. */
static const struct suffix bytes_suffixes[] = {
    {"", 1}, {"k", 1024}, {"M", 1048576}, {"G", 1073741824}};
static const struct suffix duration_suffixes[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
static const struct suffix integer_suffixes[] = {{"", 1}};

union value {
    uint64_t number;
    bool is_on;
    uint32_t choice;
    const char *string;
    struct config_list list;
};

static const struct suffix *suffixes_of(enum config_type type, size_t *out_count)
{
    if (type == CONFIG_BYTES) {
        *out_count = ps_array_count(bytes_suffixes);
        return bytes_suffixes;
    }
    if (type == CONFIG_DURATION) {
        *out_count = ps_array_count(duration_suffixes);
        return duration_suffixes;
    }
    *out_count = ps_array_count(integer_suffixes);
    return integer_suffixes;
}

/* With the largest suffix that leaves a whole number. */
static void format_number(const struct config_key *key, uint64_t number, char *out_text,
                          size_t text_bytes)
{
    size_t count;
    const struct suffix *suffixes = suffixes_of(key->type, &count);
    size_t best = 0;
    for (size_t i = 0; i < count; i++) {
        if (number % suffixes[i].factor == 0 && (number != 0 || suffixes[i].factor <= 1000))
            best = i;
    }
    snprintf(out_text, text_bytes, "%llu%s", (unsigned long long)(number / suffixes[best].factor),
             suffixes[best].text);
}

static void describe_choices(const struct config_key *key, char *out_range)
{
    size_t count = 0;
    for (uint32_t i = 0; key->choices[i] != NULL && count < CONFIG_RANGE_BYTES_MAX; i++)
        count += (size_t)snprintf(out_range + count, CONFIG_RANGE_BYTES_MAX - count, "%s%s",
                                  i == 0 ? "" : " or ", key->choices[i]);
}

static unsigned list_max(const struct config_key *key)
{
    return key->maximum == 0 ? CONFIG_LIST_MAX : (unsigned)key->maximum;
}

void config_describe_range(const struct config_key *key, char *out_range)
{
    char minimum[32];
    char maximum[32];
    switch (key->type) {
    case CONFIG_INTEGER:
    case CONFIG_BYTES:
    case CONFIG_DURATION:
        format_number(key, key->minimum, minimum, sizeof(minimum));
        format_number(key, key->maximum, maximum, sizeof(maximum));
        snprintf(out_range, CONFIG_RANGE_BYTES_MAX, "%s to %s%s%s", minimum, maximum,
                 key->unit == NULL ? "" : " ", key->unit == NULL ? "" : key->unit);
        return;
    case CONFIG_BOOLEAN:
        snprintf(out_range, CONFIG_RANGE_BYTES_MAX, "true or false");
        return;
    case CONFIG_STRING:
        if (key->maximum == 0)
            snprintf(out_range, CONFIG_RANGE_BYTES_MAX, "text");
        else
            snprintf(out_range, CONFIG_RANGE_BYTES_MAX, "text of at most %llu bytes",
                     (unsigned long long)key->maximum);
        return;
    case CONFIG_LIST:
        if (key->minimum == 0)
            snprintf(out_range, CONFIG_RANGE_BYTES_MAX, "up to %u texts without commas",
                     list_max(key));
        else
            snprintf(out_range, CONFIG_RANGE_BYTES_MAX, "%llu to %u texts without commas",
                     (unsigned long long)key->minimum, list_max(key));
        return;
    case CONFIG_CHOICE:
        describe_choices(key, out_range);
        return;
    }
}

/* What the form of a type is called, with its article. */
static const char *form_of(enum config_type type)
{
    switch (type) {
    case CONFIG_INTEGER:
        return "a whole number";
    case CONFIG_BYTES:
        return "a size (digits, perhaps with k, M or G)";
    case CONFIG_DURATION:
        return "a duration (digits with ms, s, m, h or d)";
    case CONFIG_BOOLEAN:
        return "a truth value";
    case CONFIG_STRING:
        return "a text";
    case CONFIG_LIST:
        return "a list of texts";
    case CONFIG_CHOICE:
        return "one of the choices";
    }
    return "";
}

/* -EINVAL, with the reason filled in. */
static int refuse(const struct config_key *key, const char *text, const char *complaint,
                  char *reason)
{
    char quoted[64];
    char range[CONFIG_RANGE_BYTES_MAX];
    config_describe_range(key, range);
    snprintf(reason, CONFIG_REASON_BYTES_MAX, "%s is %s%s; allowed: %s",
             log_quote(quoted, sizeof(quoted), text, strlen(text)), complaint,
             complaint[0] == 'n' ? form_of(key->type) : "", range);
    return -EINVAL;
}

/* Digits and a suffix. False: not in this form, or beyond 64 bits. */
static bool parse_number(const struct config_key *key, const char *text, uint64_t *out_number)
{
    uint64_t number = 0;
    const char *at = text;
    for (; *at >= '0' && *at <= '9'; at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (number > (UINT64_MAX - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    if (at == text)
        return false;
    if (number == 0 && *at == '\0') {
        *out_number = 0;
        return true;
    }
    size_t count;
    const struct suffix *suffixes = suffixes_of(key->type, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(at, suffixes[i].text) == 0) {
            if (number > UINT64_MAX / suffixes[i].factor)
                return false;
            *out_number = number * suffixes[i].factor;
            return true;
        }
    }
    return false;
}

static bool parse_boolean(const char *text, bool *out_is_on)
{
    static const char *const on[] = {"true", "yes", "on"};
    static const char *const off[] = {"false", "no", "off"};
    for (size_t i = 0; i < ps_array_count(on); i++) {
        if (strcmp(text, on[i]) == 0 || strcmp(text, off[i]) == 0) {
            *out_is_on = text[0] == on[i][0] && text[1] == on[i][1];
            return true;
        }
    }
    return false;
}

static bool parse_choice(const struct config_key *key, const char *text, uint32_t *out_choice)
{
    for (uint32_t i = 0; key->choices[i] != NULL; i++) {
        if (strcmp(text, key->choices[i]) == 0) {
            *out_choice = i;
            return true;
        }
    }
    return false;
}

/* Cuts `text` at its commas, in place, and drops the spaces around each item. Result: how many, or
 * -EINVAL when one is empty or there are too many. */
static int split(char *text, const char **items)
{
    int count = 0;
    if (text[0] == '\0')
        return 0;
    for (char *at = text; at != NULL;) {
        char *comma = strchr(at, ',');
        char *end = comma == NULL ? at + strlen(at) : comma;
        char *next = comma == NULL ? NULL : comma + 1;
        while (*at == ' ' || *at == '\t')
            at++;
        while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
            end--;
        if (end == at || count == CONFIG_LIST_MAX)
            return -EINVAL;
        *end = '\0';
        items[count++] = at;
        at = next;
    }
    return count;
}

/* One block: the items, then their bytes. */
static int parse_list(struct heap *heap, const struct config_key *key, const char *text,
                      void **out_block, struct config_list *out_list, char *reason)
{
    size_t text_bytes = strlen(text) + 1;
    const char **items = heap_alloc(heap, CONFIG_LIST_MAX * sizeof(*items) + text_bytes);
    if (items == NULL)
        return -ENOMEM;
    char *bytes = (char *)(items + CONFIG_LIST_MAX);
    memcpy(bytes, text, text_bytes);
    int count = split(bytes, items);
    if (count < 0) {
        heap_free(heap, items);
        return refuse(key, text, "not ", reason);
    }
    if ((uint32_t)count < key->minimum || (uint32_t)count > list_max(key)) {
        heap_free(heap, items);
        return refuse(key, text, "out of range", reason);
    }
    *out_block = items;
    *out_list = (struct config_list){.items = items, .count = (uint32_t)count};
    return 0;
}

static int parse(struct heap *heap, const struct config_key *key, struct config_item *item,
                 union value *value, char *reason)
{
    switch (key->type) {
    case CONFIG_INTEGER:
    case CONFIG_BYTES:
    case CONFIG_DURATION:
        if (!parse_number(key, item->text, &value->number))
            return refuse(key, item->text, "not ", reason);
        if (value->number < key->minimum || value->number > key->maximum)
            return refuse(key, item->text, "out of range", reason);
        return 0;
    case CONFIG_BOOLEAN:
        return parse_boolean(item->text, &value->is_on) ? 0
                                                        : refuse(key, item->text, "not ", reason);
    case CONFIG_CHOICE:
        return parse_choice(key, item->text, &value->choice)
                   ? 0
                   : refuse(key, item->text, "not ", reason);
    case CONFIG_STRING:
        if (key->maximum != 0 && strlen(item->text) > key->maximum)
            return refuse(key, item->text, "too long", reason);
        value->string = item->text;
        return 0;
    case CONFIG_LIST:
        return parse_list(heap, key, item->text, &item->block, &value->list, reason);
    }
    return -EINVAL;
}

static void store(const struct config_key *key, const union value *value, void *values)
{
    void *at = (char *)values + key->offset;
    switch (key->type) {
    case CONFIG_INTEGER:
    case CONFIG_BYTES:
    case CONFIG_DURATION:
        memcpy(at, &value->number, sizeof(value->number));
        return;
    case CONFIG_BOOLEAN:
        memcpy(at, &value->is_on, sizeof(value->is_on));
        return;
    case CONFIG_CHOICE:
        memcpy(at, &value->choice, sizeof(value->choice));
        return;
    case CONFIG_STRING:
        memcpy(at, &value->string, sizeof(value->string));
        return;
    case CONFIG_LIST:
        memcpy(at, &value->list, sizeof(value->list));
        return;
    }
}

int config_assign(struct heap *heap, struct config *config, uint32_t key_index, const char *text,
                  size_t text_bytes, char *reason)
{
    const struct config_key *key = &config->source->keys[key_index];
    struct config_item item = {.text = heap_alloc(heap, text_bytes + 1)};
    if (item.text == NULL)
        return -ENOMEM;
    memcpy(item.text, text, text_bytes);
    item.text[text_bytes] = '\0';
    union value value;
    int result = parse(heap, key, &item, &value, reason);
    if (result < 0) {
        config_item_clear(heap, &item);
        return result;
    }
    config_item_clear(heap, &config->items[key_index]);
    config->items[key_index] = item;
    store(key, &value, config->values);
    return 0;
}

void config_item_clear(struct heap *heap, struct config_item *item)
{
    heap_free(heap, item->text);
    heap_free(heap, item->block);
    *item = (struct config_item){0};
}

static bool is_same_list(const struct config_list *a, const struct config_list *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t i = 0; i < a->count; i++) {
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    }
    return true;
}

bool config_is_same(const struct config *a, const struct config *b, uint32_t key_index)
{
    const struct config_key *key = &a->source->keys[key_index];
    const void *in_a = (const char *)a->values + key->offset;
    const void *in_b = (const char *)b->values + key->offset;
    switch (key->type) {
    case CONFIG_INTEGER:
    case CONFIG_BYTES:
    case CONFIG_DURATION:
        return memcmp(in_a, in_b, sizeof(uint64_t)) == 0;
    case CONFIG_BOOLEAN:
        return memcmp(in_a, in_b, sizeof(bool)) == 0;
    case CONFIG_CHOICE:
        return memcmp(in_a, in_b, sizeof(uint32_t)) == 0;
    case CONFIG_STRING:
        return strcmp(a->items[key_index].text, b->items[key_index].text) == 0;
    case CONFIG_LIST:
        return is_same_list(in_a, in_b);
    }
    return false;
}
