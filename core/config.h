/*
 * Configuration, driven by one table of keys that the caller owns; this file knows no key by name.
 *
 * A file names keys in sections or, the same, by their dotted names (libconfuse's syntax):
 *     session { expiry = 7d }          # comment
 *     session.expiry = 7d
 *     listen = {"127.0.0.1:1883", "[::1]:1883"}
 * and an override as "session.expiry=7d", a list as "listen=127.0.0.1:1883,[::1]:1883". Later
 * overrides of a key replace earlier ones; in the file a key may stand once. Values:
 *     integer    digits, unit as the key says        duration   digits with ms, s, m, h or d
 *     bytes      digits, perhaps with k, M or G (x 1024)    boolean   true/false, yes/no, on/off
 *     string     text            list   texts without commas           choice   one of the key's
 *
 * A struct config is immutable: SIGHUP makes a new one (config_reload), the gateway hands it to
 * whom it concerns, and destroys the old one when nobody reads it any more.
 *
 * Threads: an object may be read by any; load, reload, print and destroy by one thread at a time in
 * the process (libconfuse's scanner is global), never a shard's: they read files.
 */
#ifndef PENSTOCK_CORE_CONFIG_H
#define PENSTOCK_CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct heap;
struct text;

enum {
    CONFIG_FILE_BYTES_MAX = 1048576,
    CONFIG_KEYS_MAX = 512,
    CONFIG_LIST_MAX = 64,        /* items of one list */
    CONFIG_ERROR_BYTES_MAX = 512 /* room enough for any error line */
};

enum config_type {
    CONFIG_INTEGER,  /* uint64_t */
    CONFIG_BYTES,    /* uint64_t, bytes */
    CONFIG_DURATION, /* uint64_t, ms */
    CONFIG_BOOLEAN,  /* bool */
    CONFIG_STRING,   /* const char *, never NULL, at most `maximum` bytes (0: any) */
    CONFIG_LIST,     /* struct config_list, at most `maximum` items (0: CONFIG_LIST_MAX) */
    CONFIG_CHOICE    /* uint32_t, index in `choices` */
};

struct config_list {
    const char *const *items;
    uint32_t count;
};

struct config_key {
    const char *name; /* "section.name" or "name": lower case, digits, '_' */
    enum config_type type;
    const char *value_default; /* as text, in the form of an override; must be valid */
    uint64_t minimum;          /* of integers, of bytes and durations in their small unit; of a
                                * list 1 when it may not be empty */
    uint64_t maximum;
    const char *unit;           /* of an integer, for people: "messages"; NULL: none */
    const char *const *choices; /* CONFIG_CHOICE: ends with NULL */
    bool is_reloadable;         /* SIGHUP may change it */
    const char *help;           /* one line */
    size_t offset;              /* of the value in the caller's struct */
};

/* Immutable and the caller's, like what it points to, as long as any config made from it. */
struct config_source {
    const struct config_key *keys;
    uint32_t key_count;
    size_t values_bytes;          /* size of the caller's struct */
    const char *path;             /* NULL: no file */
    const char *const *overrides; /* "key=value", from --set */
    uint32_t override_count;
};

/* Reads defaults, then the file, then the overrides. 0 with *out_config (config_destroy), or -errno
 * with one line in `error` that names the file and its line or the override, the key, and what is
 * allowed: -EINVAL for content, -ENOMEM, or what reading the file said. */
int config_load(struct heap *heap, const struct config_source *source, struct config **out_config,
                char *error, size_t error_bytes);

/* The same with the file's text given; `path` only names it. For tests and fuzzing. */
int config_load_text(struct heap *heap, const struct config_source *source, const char *text,
                     size_t text_bytes, struct config **out_config, char *error,
                     size_t error_bytes);

/* NULL is allowed. Everything that values point to goes too. */
void config_destroy(struct heap *heap, struct config *config);

/* The caller's struct, filled in. */
const void *config_values(const struct config *config);

/* A key's value as it was written, for instance "7d"; NULL: no such key. */
const char *config_text(const struct config *config, const char *name);

/* Where a key's value was written, for the beginning of a message: "penstock.conf:3: ", "command
 * line: ", or "" when it is the default. */
void config_origin(const struct config *config, const char *name, char *out_text,
                   size_t text_bytes);

/* Told for each key whose value has changed. `is_applied`: the new config has the new value; false:
 * the key needs a restart, and the new config keeps the running one's. */
typedef void config_change(void *context, const struct config_key *key, const char *before,
                           const char *after, bool is_applied);

/* Reads everything again, as `running` was read. On success *out_config differs from `running` in
 * reloadable keys only, and `on_change` was called for every difference; on an error nothing has
 * happened. Results as config_load. */
int config_reload(struct heap *heap, const struct config *running, config_change *on_change,
                  void *context, struct config **out_config, char *error, size_t error_bytes);

/* Appends every key with its value, default, range and help, in the syntax of a file, so that the
 * output can be used as one. */
void config_print(const struct config *config, struct text *text);

#endif
