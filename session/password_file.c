/*
 * The password file; see password_file.h. A loaded file is one array of users, sorted by name, in
 * front of the file's own text, which the names point into.
 */
#include "session/password_file.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/file.h"
#include "core/heap.h"
#include "core/log.h"

enum {
    PASSWORD_ITERATIONS_DEFAULT = 101 /* of mosquitto_passwd; for unknown users of an empty file */
};

enum password_scheme {
    PASSWORD_SHA512, /* $6$ */
    PASSWORD_PBKDF2  /* $7$ */
};

struct password_user {
    const char *name; /* in the file's text */
    uint32_t name_bytes;
    uint32_t line;
    uint32_t iterations;
    uint8_t scheme; /* enum password_scheme */
    uint8_t salt_bytes;
    unsigned char salt[PASSWORD_SALT_BYTES_MAX];
    unsigned char hash[PASSWORD_HASH_BYTES];
};

struct password_file {
    char *text;
    struct password_user *users; /* sorted by name */
    uint32_t user_count;
    struct password_user nobody; /* what unknown users are checked against; matches nothing */
};

/* ---- Loading ---- */

struct loader {
    const char *path;
    uint32_t line;
    char *error;
    size_t error_bytes;
};

static int refuse(const struct loader *loader, const char *complaint)
{
    snprintf(loader->error, loader->error_bytes, "%s:%u: %s", loader->path, loader->line,
             complaint);
    return -EINVAL;
}

/* Standard base64 with padding, decoded as a whole. Result: bytes, or -EINVAL (also for more than
 * bytes_max). */
static int decode_base64(const char *text, size_t count, unsigned char *out_bytes, size_t bytes_max)
{
    unsigned char decoded[3 * ((PASSWORD_SALT_BYTES_MAX + PASSWORD_HASH_BYTES) / 2 + 3)];
    if (count == 0 || count % 4 != 0 || count / 4 * 3 > sizeof(decoded))
        return -EINVAL;
    size_t padding = 0;
    while (padding < 2 && text[count - 1 - padding] == '=')
        padding++;
    if (memchr(text, '=', count - padding) != NULL)
        return -EINVAL;
    int result = EVP_DecodeBlock(decoded, (const unsigned char *)text, (int)count);
    if (result < 0 || (size_t)result != count / 4 * 3 || (size_t)result - padding > bytes_max)
        return -EINVAL;
    memcpy(out_bytes, decoded, (size_t)result - padding);
    return result - (int)padding;
}

/* Takes the text up to the next '$' off the front of *at; what is left may be empty. */
static size_t take_field(const char **at, const char *end, const char **out_field)
{
    *out_field = *at;
    const char *dollar = memchr(*at, '$', (size_t)(end - *at));
    const char *stop = dollar == NULL ? end : dollar;
    size_t count = (size_t)(stop - *at);
    *at = dollar == NULL ? end : dollar + 1;
    return count;
}

static bool parse_iterations(const char *text, size_t count, uint32_t *out_iterations)
{
    uint32_t iterations = 0;
    if (count == 0 || count > 8)
        return false;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        iterations = iterations * 10 + (uint32_t)(text[i] - '0');
    }
    *out_iterations = iterations;
    return iterations > 0 && iterations <= PASSWORD_ITERATIONS_MAX;
}

/* "$7$iterations$salt$hash" or "$6$salt$hash". 0 or -EINVAL. */
static int parse_hash(const struct loader *loader, const char *at, const char *end,
                      struct password_user *user)
{
    const char *field;
    if (end - at < 3 || at[0] != '$' || at[2] != '$' || (at[1] != '6' && at[1] != '7'))
        return refuse(loader, "the password is not hashed; allowed: $7$ and $6$ hashes, as "
                              "mosquitto_passwd makes them");
    user->scheme = at[1] == '6' ? PASSWORD_SHA512 : PASSWORD_PBKDF2;
    at += 3;
    if (user->scheme == PASSWORD_PBKDF2) {
        size_t count = take_field(&at, end, &field);
        if (!parse_iterations(field, count, &user->iterations))
            return refuse(loader, "wrong number of iterations; allowed: 1 to 10000000");
    }
    size_t salt_count = take_field(&at, end, &field);
    int salt_bytes = decode_base64(field, salt_count, user->salt, sizeof(user->salt));
    if (salt_bytes < 0)
        return refuse(loader, "wrong salt; allowed: 1 to 64 bytes in base64");
    user->salt_bytes = (uint8_t)salt_bytes;
    if (decode_base64(at, (size_t)(end - at), user->hash, sizeof(user->hash)) !=
        PASSWORD_HASH_BYTES)
        return refuse(loader, "wrong hash; allowed: 64 bytes in base64");
    return 0;
}

/* One line without its end. 0; 1: it names no user; -EINVAL. */
static int parse_line(const struct loader *loader, const char *line, const char *end,
                      struct password_user *user)
{
    while (end > line && (end[-1] == '\r' || end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if (end == line || line[0] == '#')
        return 1;
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (colon == NULL)
        return refuse(loader, "no ':' after the user's name; allowed: user:hash");
    if (colon == line || colon - line > UINT16_MAX)
        return refuse(loader, "wrong length of the user's name; allowed: 1 to 65535 bytes");
    *user = (struct password_user){
        .name = line, .name_bytes = (uint32_t)(colon - line), .line = loader->line};
    return parse_hash(loader, colon + 1, end, user);
}

static int compare_names(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    int order = memcmp(a, b, ps_min_u64(a_bytes, b_bytes));
    if (order != 0 || a_bytes == b_bytes)
        return order;
    return a_bytes < b_bytes ? -1 : 1;
}

static int compare_users(const void *a, const void *b)
{
    const struct password_user *first = a;
    const struct password_user *second = b;
    int order = compare_names(first->name, first->name_bytes, second->name, second->name_bytes);
    if (order != 0)
        return order;
    return first->line < second->line ? -1 : 1;
}

static int refuse_twins(struct loader *loader, const struct password_file *file)
{
    for (uint32_t i = 1; i < file->user_count; i++) {
        const struct password_user *before = &file->users[i - 1];
        const struct password_user *user = &file->users[i];
        if (compare_names(before->name, before->name_bytes, user->name, user->name_bytes) == 0) {
            char quoted[64];
            char complaint[128];
            loader->line = user->line;
            snprintf(complaint, sizeof(complaint), "user %s stands in line %u already",
                     log_quote(quoted, sizeof(quoted), user->name, user->name_bytes), before->line);
            return refuse(loader, complaint);
        }
    }
    return 0;
}

static int parse_text(struct loader *loader, struct password_file *file, size_t text_bytes)
{
    const char *at = file->text;
    const char *end = at + text_bytes;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *line_end = newline == NULL ? end : newline;
        loader->line++;
        int result = parse_line(loader, at, line_end, &file->users[file->user_count]);
        if (result < 0)
            return result;
        if (result == 0)
            file->user_count++;
        at = line_end + 1;
    }
    qsort(file->users, file->user_count, sizeof(*file->users), compare_users);
    return refuse_twins(loader, file);
}

/* Unknown users cost what the dearest known one does. */
static void make_nobody(struct password_file *file)
{
    file->nobody = (struct password_user){
        .scheme = PASSWORD_PBKDF2, .salt_bytes = 12, .iterations = PASSWORD_ITERATIONS_DEFAULT};
    for (uint32_t i = 0; i < file->user_count; i++) {
        if (file->users[i].iterations > file->nobody.iterations)
            file->nobody.iterations = file->users[i].iterations;
    }
}

static size_t count_lines(const char *text, size_t text_bytes)
{
    size_t count = 1;
    for (size_t i = 0; i < text_bytes; i++)
        count += text[i] == '\n';
    return count;
}

int password_file_load(struct heap *heap, const char *path, struct password_file **out_file,
                       char *error, size_t error_bytes)
{
    struct loader loader = {.path = path, .error = error, .error_bytes = error_bytes};
    char *text;
    size_t text_bytes;
    int result = file_read(heap, path, PASSWORD_FILE_BYTES_MAX, &text, &text_bytes);
    if (result < 0) {
        snprintf(error, error_bytes, "%s: cannot be read: %s", path, strerror(-result));
        return result;
    }
    size_t lines = count_lines(text, text_bytes);
    if (lines > PASSWORD_FILE_USERS_MAX) {
        heap_free(heap, text);
        snprintf(error, error_bytes, "%s: too many lines; allowed: %d", path,
                 PASSWORD_FILE_USERS_MAX);
        return -EINVAL;
    }
    struct password_file *file = heap_zalloc(heap, sizeof(*file));
    struct password_user *users = heap_alloc(heap, lines * sizeof(*users));
    if (file == NULL || users == NULL) {
        heap_free(heap, file);
        heap_free(heap, users);
        heap_free(heap, text);
        snprintf(error, error_bytes, "%s: out of memory", path);
        return -ENOMEM;
    }
    file->text = text;
    file->users = users;
    result = parse_text(&loader, file, text_bytes);
    if (result < 0) {
        password_file_destroy(heap, file);
        return result;
    }
    make_nobody(file);
    *out_file = file;
    return 0;
}

void password_file_destroy(struct heap *heap, struct password_file *file)
{
    if (file == NULL)
        return;
    heap_free(heap, file->users);
    heap_free(heap, file->text);
    heap_free(heap, file);
}

uint32_t password_file_user_count(const struct password_file *file)
{
    return file->user_count;
}

/* ---- Checking ---- */

static const struct password_user *find_user(const struct password_file *file, const char *name,
                                             size_t name_bytes)
{
    uint32_t low = 0;
    uint32_t high = file->user_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct password_user *user = &file->users[middle];
        int order = compare_names(user->name, user->name_bytes, name, name_bytes);
        if (order == 0)
            return user;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool hash_sha512(const struct password_user *user, const void *password,
                        size_t password_bytes, unsigned char *out_hash)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool is_done = context != NULL && EVP_DigestInit_ex(context, EVP_sha512(), NULL) == 1 &&
                   EVP_DigestUpdate(context, password, password_bytes) == 1 &&
                   EVP_DigestUpdate(context, user->salt, user->salt_bytes) == 1 &&
                   EVP_DigestFinal_ex(context, out_hash, NULL) == 1;
    EVP_MD_CTX_free(context);
    return is_done;
}

/* False when OpenSSL has no memory. */
static bool hash_password(const struct password_user *user, const void *password,
                          size_t password_bytes, unsigned char *out_hash)
{
    if (user->scheme == PASSWORD_SHA512)
        return hash_sha512(user, password, password_bytes, out_hash);
    return PKCS5_PBKDF2_HMAC(password, (int)password_bytes, user->salt, user->salt_bytes,
                             (int)user->iterations, EVP_sha512(), PASSWORD_HASH_BYTES,
                             out_hash) == 1;
}

bool password_check(const struct password_file *file, const char *user, size_t user_bytes,
                    const void *password, size_t password_bytes)
{
    if (password_bytes > UINT16_MAX) /* the protocol's limit */
        return false;
    unsigned char hash[PASSWORD_HASH_BYTES];
    const struct password_user *known = find_user(file, user, user_bytes);
    const struct password_user *asked = known == NULL ? &file->nobody : known;
    const void *secret = password_bytes == 0 ? "" : password;
    bool is_hashed = hash_password(asked, secret, password_bytes, hash);
    bool is_right = is_hashed && CRYPTO_memcmp(hash, asked->hash, sizeof(hash)) == 0;
    OPENSSL_cleanse(hash, sizeof(hash));
    return is_right && known != NULL;
}
