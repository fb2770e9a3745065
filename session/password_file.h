/*
 * User names and password hashes in the format of mosquitto_passwd, one user a line:
 *     user:$7$iterations$salt$hash    PBKDF2 with HMAC-SHA512
 *     user:$6$salt$hash               SHA512 of password and salt, once
 * salt and hash in base64; empty lines and lines that begin with '#' say nothing. The table is
 * immutable: SIGHUP loads a new one, and the old one goes when no check uses it any more.
 *
 * Threads: load and destroy by the start of the program or the helper thread, with that thread's
 * heap. password_check may be called by several threads at once, but it is slow work by intent (70
 * us at mosquitto_passwd's 101 iterations, 37 ms at 100,000): on the helper thread, never on a
 * shard's.
 */
#ifndef PENSTOCK_SESSION_PASSWORD_FILE_H
#define PENSTOCK_SESSION_PASSWORD_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct heap;
struct password_file;

enum {
    PASSWORD_FILE_BYTES_MAX = 67108864,
    PASSWORD_FILE_USERS_MAX = 1000000,
    PASSWORD_ITERATIONS_MAX = 10000000, /* of one hash: some ten seconds */
    PASSWORD_SALT_BYTES_MAX = 64,
    PASSWORD_HASH_BYTES = 64
};

/* 0 with *out_file, or -errno with one line in `error` that names the file, the line and what is
 * wrong: -EINVAL for content (also for a password that is not hashed, and for a user named twice),
 * -ENOMEM, or what reading the file said. */
int password_file_load(struct heap *heap, const char *path, struct password_file **out_file,
                       char *error, size_t error_bytes);

/* NULL is allowed. */
void password_file_destroy(struct heap *heap, struct password_file *file);

uint32_t password_file_user_count(const struct password_file *file);

/* True when the user is known and the password is right. Takes as long for an unknown user as for a
 * known one, and compares in constant time. The arguments are read and not kept. */
bool password_check(const struct password_file *file, const char *user, size_t user_bytes,
                    const void *password, size_t password_bytes);

#endif
