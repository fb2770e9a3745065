/*
 * A configuration file's text, parsed by libconfuse. The text is checked first, because the library
 *   - counts comment lines twice, and reads through a NULL on an empty first comment,
 *   - drops '*', '+' and '|' silently where they stand outside quotes, or gives them a meaning,
 *   - replaces ${NAME} by an environment variable, or by nothing,
 *   - ends the process when its input cannot be read (so it only ever gets memory),
 *   - lets a repeated key win silently, and forgets an empty list,
 *   - takes the end of the file for the end of a section.
 * So comments are blanked, the characters above must stand in quotes, and each value is seen by a
 * callback, which refuses the second one of a key.
 *
 * Thread: one at a time in the process; the library's scanner is global.
 */
#include <confuse.h>
#include <stdio.h>

#include "core/base.h"
#include "core/heap.h"
#include "core/log.h"
#include "core/text.h"

#include "config_internal.h"

struct config_parse {
    struct heap *heap;
    struct config *config;
    const char *path;
    char *error;
    size_t error_bytes;
    int result;                         /* 0, or what the first error was */
    bool is_seen[CONFIG_KEYS_MAX];      /* by key: has a value in the file */
    struct text lists[CONFIG_KEYS_MAX]; /* by key: items so far, with commas between */
};

/* Neither of libconfuse's callbacks is given a context, so it stands here while cfg_parse_buf runs.
 */
static _Thread_local struct config_parse *parsing;

/* Remembers the first error; the later ones are its consequences. Result: the first one's. */
static int fail(struct config_parse *parse, int result, int line, const char *format, ...)
    ps_printf(4, 5);

static int fail(struct config_parse *parse, int result, int line, const char *format, ...)
{
    if (parse->result != 0)
        return parse->result;
    parse->result = result;
    int count = snprintf(parse->error, parse->error_bytes, "%s:%d: ", parse->path, line);
    if (count >= 0 && (size_t)count < parse->error_bytes) {
        va_list arguments;
        va_start(arguments, format);
        vsnprintf(parse->error + count, parse->error_bytes - (size_t)count, format, arguments);
        va_end(arguments);
    }
    /* The library's messages quote names as they are. */
    for (char *at = parse->error; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?';
    }
    return result;
}

/* ---- The check of the text ---- */

struct scan {
    char *at;
    int line;
    int open_braces;
    char quote;  /* 0 outside quotes */
    char before; /* the last characters outside quotes and white space; 'x' for any word */
    char before_that;
};

static bool is_space(char character)
{
    return character == ' ' || character == '\t' || character == '\r' || character == '\n';
}

static void blank_comment(struct scan *scan)
{
    while (scan->at[0] != '\0' && scan->at[0] != '\n')
        *scan->at++ = ' ';
    scan->at--;
}

static int scan_quoted(struct config_parse *parse, struct scan *scan)
{
    char character = scan->at[0];
    if (character == '\n')
        return fail(parse, -EINVAL, scan->line, "a quote is not closed on its line");
    if (character == '$' && scan->at[1] == '{' && scan->quote == '"')
        return fail(parse, -EINVAL, scan->line,
                    "\"${\" has no meaning here; write \"\\${\" for the text");
    if (character == '\\' && scan->at[1] != '\0' && scan->at[1] != '\n')
        scan->at++;
    else if (character == scan->quote)
        scan->quote = 0;
    return 0;
}

static int scan_plain(struct config_parse *parse, struct scan *scan)
{
    char character = scan->at[0];
    if (character == '#') {
        blank_comment(scan);
        return 0;
    }
    if (is_space(character))
        return 0;
    if (strchr("*+|()", character) != NULL || (character == '$' && scan->at[1] == '{'))
        return fail(parse, -EINVAL, scan->line, "'%c' must stand in quotes", character);
    if (character == '/' && scan->at[1] == '/' && (scan->before != 'x' || is_space(scan->at[-1])))
        return fail(parse, -EINVAL, scan->line, "a comment begins with '#'");
    if (character == '}' && scan->before == '{' && scan->before_that == '=')
        return fail(parse, -EINVAL, scan->line, "an empty list is written as \"\"");
    if (character == '"' || character == '\'')
        scan->quote = character;
    if (character == '{')
        scan->open_braces++;
    else if (character == '}')
        scan->open_braces--;
    scan->before_that = scan->before;
    scan->before = strchr("={},", character) != NULL ? character : 'x';
    return 0;
}

/* Blanks comments in `text` and refuses what libconfuse would misread. 0 or -EINVAL. */
static int check_text(struct config_parse *parse, char *text, size_t text_bytes)
{
    struct scan scan = {.at = text, .line = 1};
    for (; scan.at < text + text_bytes; scan.at++) {
        unsigned char byte = (unsigned char)scan.at[0];
        if ((byte < 0x20 && !is_space(scan.at[0])) || byte == 0x7f)
            return fail(parse, -EINVAL, scan.line, "a control character (byte %u)", byte);
        int result = scan.quote == 0 ? scan_plain(parse, &scan) : scan_quoted(parse, &scan);
        if (result < 0)
            return result;
        if (scan.at[0] == '\n')
            scan.line++;
    }
    if (scan.quote != 0)
        return fail(parse, -EINVAL, scan.line, "a quote is not closed on its line");
    if (scan.open_braces > 0)
        return fail(parse, -EINVAL, scan.line, "the file ends before a '{' is closed");
    return 0;
}

/* ---- libconfuse's callbacks ---- */

/* The names that may stand in a section ("" for the outermost level). False: there is no room for
 * all of them. */
static bool list_names(const struct config_source *source, const char *section, char *out_names,
                       size_t names_bytes)
{
    size_t section_bytes = strlen(section);
    size_t count = 0;
    out_names[0] = '\0';
    for (uint32_t i = 0; i < source->key_count && count < names_bytes; i++) {
        const char *name = source->keys[i].name;
        if (section_bytes > 0) {
            if (strncmp(name, section, section_bytes) != 0 || name[section_bytes] != '.')
                continue;
            name += section_bytes + 1;
        }
        count += (size_t)snprintf(out_names + count, names_bytes - count, "%s%s",
                                  count == 0 ? "" : ", ", name);
    }
    return count < names_bytes;
}

static void on_error(cfg_t *cfg, const char *format, va_list arguments)
    __attribute__((format(printf, 2, 0)));

static void on_error(cfg_t *cfg, const char *format, va_list arguments)
{
    struct config_parse *parse = parsing;
    bool is_section = strcmp(cfg_name(cfg), "root") != 0;
    const char *section = is_section ? cfg_name(cfg) : "";
    char message[256];
    if (strcmp(format, "no such option '%s'") == 0) {
        const char *name = va_arg(arguments, const char *);
        char quoted[64];
        const char *in = is_section ? " in " : "";
        log_quote(quoted, sizeof(quoted), name, strlen(name));
        if (list_names(parse->config->source, section, message, sizeof(message)))
            fail(parse, -EINVAL, cfg->line, "unknown key %s%s%s; allowed%s%s: %s", quoted, in,
                 section, in, section, message);
        else
            fail(parse, -EINVAL, cfg->line,
                 "unknown key %s%s%s; --print-config lists what is allowed", quoted, in, section);
        return;
    }
    vsnprintf(message, sizeof(message), format, arguments);
    fail(parse, -EINVAL, cfg->line, "%s%s%s", message, is_section ? " in section " : "", section);
}

/* Adds an item to what the file has said of a list so far. */
static int on_list_item(struct config_parse *parse, uint32_t index, int line, const char *value)
{
    struct text *list = &parse->lists[index];
    const char *name = parse->config->source->keys[index].name;
    if (strchr(value, ',') != NULL)
        return fail(parse, -EINVAL, line, "%s: an item of a list may not contain a comma", name);
    if (list->count > 0)
        text_append_bytes(list, ",", 1);
    text_append_bytes(list, value, strlen(value));
    return list->error == 0 ? 0 : fail(parse, list->error, line, "%s: out of memory", name);
}

/* Called for each value, and for each item of a list. */
static int on_value(cfg_t *cfg, cfg_opt_t *option, const char *value, void *result)
{
    struct config_parse *parse = parsing;
    uint32_t index = (uint32_t)option->def.number;
    const struct config_key *key = &parse->config->source->keys[index];
    bool is_next_item = key->type == CONFIG_LIST && option->nvalues > 1;
    if (parse->is_seen[index] && !is_next_item)
        return fail(parse, -EINVAL, cfg->line, "%s: stands twice in the file; allowed: once",
                    key->name);
    parse->is_seen[index] = true;
    if (key->type == CONFIG_LIST) {
        int added = on_list_item(parse, index, cfg->line, value);
        if (added < 0)
            return added;
        value = text_string(&parse->lists[index]);
    }
    char reason[CONFIG_REASON_BYTES_MAX];
    int assigned = config_assign(parse->heap, parse->config, index, value, strlen(value), reason);
    if (assigned == -ENOMEM)
        return fail(parse, assigned, cfg->line, "%s: out of memory", key->name);
    if (assigned < 0)
        return fail(parse, assigned, cfg->line, "%s: %s", key->name, reason);
    parse->config->items[index].line = (uint32_t)cfg->line;
    *(const char **)result = value;
    return 0;
}

/* ---- The library's tables, made from the caller's ---- */

struct options {
    uint32_t root_count;
    uint32_t section_count;
    cfg_opt_t root[2 * CONFIG_KEYS_MAX + 1]; /* keys by full name, and sections */
    cfg_opt_t members[2 * CONFIG_KEYS_MAX];  /* keys by short name: a run for each section */
    char section_names[CONFIG_KEYS_MAX][32];
};

static cfg_opt_t make_option(const char *name, enum config_type type, uint32_t index)
{
    return (cfg_opt_t){.name = name,
                       .type = CFGT_STR,
                       .flags = CFGF_NODEFAULT | (type == CONFIG_LIST ? CFGF_LIST : CFGF_NONE),
                       .def.number = (long)index,
                       .parsecb = on_value};
}

/* The run of a section's members, ended by an empty option. Result: how many slots it takes. */
static uint32_t make_members(const struct config_source *source, const char *section,
                             cfg_opt_t *members)
{
    size_t section_bytes = strlen(section);
    uint32_t count = 0;
    for (uint32_t i = 0; i < source->key_count; i++) {
        const char *name = source->keys[i].name;
        if (strncmp(name, section, section_bytes) == 0 && name[section_bytes] == '.')
            members[count++] = make_option(name + section_bytes + 1, source->keys[i].type, i);
    }
    members[count++] = (cfg_opt_t)CFG_END();
    return count;
}

static bool has_section(const struct options *options, const char *section)
{
    for (uint32_t i = 0; i < options->section_count; i++) {
        if (strcmp(options->section_names[i], section) == 0)
            return true;
    }
    return false;
}

static void make_options(const struct config_source *source, struct options *options)
{
    uint32_t member_count = 0;
    for (uint32_t i = 0; i < source->key_count; i++) {
        const char *name = source->keys[i].name;
        options->root[options->root_count++] = make_option(name, source->keys[i].type, i);
        const char *dot = strchr(name, '.');
        if (dot == NULL)
            continue;
        char *section = options->section_names[options->section_count];
        size_t section_bytes = (size_t)(dot - name);
        ps_assert(section_bytes < sizeof(options->section_names[0]));
        memcpy(section, name, section_bytes);
        section[section_bytes] = '\0';
        if (has_section(options, section))
            continue;
        options->section_count++;
        options->root[options->root_count++] = (cfg_opt_t){
            .name = section, .type = CFGT_SEC, .subopts = &options->members[member_count]};
        member_count += make_members(source, section, &options->members[member_count]);
    }
    options->root[options->root_count] = (cfg_opt_t)CFG_END();
}

static int run_library(struct config_parse *parse, const char *text, struct options *options)
{
    make_options(parse->config->source, options);
    cfg_t *cfg = cfg_init(options->root, CFGF_NONE);
    if (cfg == NULL)
        return fail(parse, -ENOMEM, 0, "out of memory");
    cfg_set_error_function(cfg, on_error);
    parsing = parse;
    int result = cfg_parse_buf(cfg, text);
    parsing = NULL;
    int line = cfg->line;
    cfg_free(cfg);
    if (result != CFG_SUCCESS)
        return fail(parse, -EINVAL, line, "cannot be understood");
    return parse->result;
}

int config_parse_file(struct heap *heap, struct config *config, const char *path, const char *text,
                      size_t text_bytes, char *error, size_t error_bytes)
{
    int result = -ENOMEM;
    struct config_parse *parse = heap_zalloc(heap, sizeof(*parse));
    struct options *options = heap_zalloc(heap, sizeof(*options));
    char *copy = heap_alloc(heap, text_bytes + 1);
    if (parse == NULL || options == NULL || copy == NULL) {
        snprintf(error, error_bytes, "%s: out of memory", path);
        goto done;
    }
    memcpy(copy, text, text_bytes);
    copy[text_bytes] = '\0';
    *parse = (struct config_parse){
        .heap = heap, .config = config, .path = path, .error = error, .error_bytes = error_bytes};
    for (uint32_t i = 0; i < CONFIG_KEYS_MAX; i++)
        text_init(&parse->lists[i], heap, CONFIG_FILE_BYTES_MAX);
    result = check_text(parse, copy, text_bytes);
    if (result == 0 && text_bytes > 0)
        result = run_library(parse, copy, options);
    for (uint32_t i = 0; i < CONFIG_KEYS_MAX; i++)
        text_deinit(&parse->lists[i]);
done:
    heap_free(heap, copy);
    heap_free(heap, options);
    heap_free(heap, parse);
    return result;
}
