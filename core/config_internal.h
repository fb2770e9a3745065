/*
 * What the files of the configuration share: config.c (the object), config_value.c (one value as
 * text), config_file.c (a file's text, through libconfuse).
 */
#ifndef PENSTOCK_CORE_CONFIG_INTERNAL_H
#define PENSTOCK_CORE_CONFIG_INTERNAL_H

#include "core/config.h"

enum { CONFIG_REASON_BYTES_MAX = 384, CONFIG_RANGE_BYTES_MAX = 256 };

#define CONFIG_LINE_COMMAND UINT32_MAX /* the value comes from an override */

struct config_item {
    char *text;    /* as written; strings are read from here */
    void *block;   /* items of a list and their bytes; NULL for other types */
    uint32_t line; /* of the file; CONFIG_LINE_COMMAND; 0: the default */
};

struct config {
    const struct config_source *source;
    struct config_item *items; /* by key */
    void *values;              /* the caller's struct */
};

/* Gives a key the value that `text` names. 0; -EINVAL with `reason` (CONFIG_REASON_BYTES_MAX),
 * which says what is wrong and what is allowed; -ENOMEM. On an error the key keeps its value. */
int config_assign(struct heap *heap, struct config *config, uint32_t key_index, const char *text,
                  size_t text_bytes, char *reason);

/* Frees what a key holds. */
void config_item_clear(struct heap *heap, struct config_item *item);

/* What a key allows, for people: "1s to 365d". CONFIG_RANGE_BYTES_MAX. */
void config_describe_range(const struct config_key *key, char *out_range);

/* True when the key has the same value in both, however it was written. */
bool config_is_same(const struct config *a, const struct config *b, uint32_t key_index);

/* Assigns what the text of a file says. 0, or -errno with `error` as config_load has it. */
int config_parse_file(struct heap *heap, struct config *config, const char *path, const char *text,
                      size_t text_bytes, char *error, size_t error_bytes);

#endif
