/*
 * The file of the keys on LMDB; see key_file.h. The only file that includes it.
 *
 * Opened without LMDB's lock file: one thread of one process uses it, one transaction at a time,
 * and the directory is locked. So there are no readers to go stale, and no lock file to be mapped
 * on a disk that is full, where touching it would be a SIGBUS. Tools of LMDB must not be run on the
 * file while it is in use.
 *
 * LMDB keeps no checksums: a page that was changed behind its back is not noticed as such, and a
 * page that the disk cannot read is a SIGBUS. What is checked at the opening is that it is LMDB's,
 * whole in length, and that its tables are there.
 */
#include "broker_client/embedded/key_file.h"

#include <fcntl.h>
#include <lmdb.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"

enum { PATH_BYTES_MAX = 4096, FILE_MODE = 0640, FREE_TABLE = 0, MAIN_TABLE = 1, META_PAGES = 2 };

static const char *const table_names[KEY_FILE_TABLES] = {"meta", "keys", "expiries"};

struct key_file {
    MDB_env *env;
    MDB_txn *transaction; /* NULL: none is open */
    MDB_dbi tables[KEY_FILE_TABLES];
    MDB_cursor *cursors[KEY_FILE_TABLES]; /* of the transaction, made when first used */
    uint32_t page_bytes;
    bool is_writing;
};

static int errno_of(int status)
{
    switch (status) {
    case MDB_SUCCESS:
        return 0;
    case MDB_NOTFOUND:
        return -ENOENT;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL: /* more pages at once than it has lists for */
        return -EDQUOT;
    case MDB_PANIC:
        return -EIO;
    default:
        /* LMDB's own are negative; what is left of them speaks of damage. */
        return status > 0 ? -status : -EBADMSG;
    }
}

static MDB_val value_of(struct broker_bytes bytes)
{
    /* LMDB takes what it only reads through the type that it also answers with. */
    union {
        const void *from;
        void *to;
    } pointer = {.from = bytes.bytes};
    return (MDB_val){.mv_size = bytes.count, .mv_data = pointer.to};
}

static struct broker_bytes bytes_of(MDB_val value)
{
    return (struct broker_bytes){value.mv_data, (uint32_t)value.mv_size};
}

/* Makes the tables if there are none, unless they must be there, and opens them. What was made is
 * synced whatever the mode: a file without tables beside a log says that the keys are gone. */
static int open_tables(struct key_file *file, bool must_exist)
{
    for (unsigned flags = MDB_RDONLY;; flags = 0) {
        MDB_txn *transaction = NULL;
        int status = mdb_txn_begin(file->env, NULL, flags, &transaction);
        for (uint32_t table = 0; status == 0 && table < KEY_FILE_TABLES; table++)
            status = mdb_dbi_open(transaction, table_names[table], flags == 0 ? MDB_CREATE : 0,
                                  &file->tables[table]);
        if (status == 0) {
            status = mdb_txn_commit(transaction);
            return status == 0 && flags == 0 ? mdb_env_sync(file->env, 1) : status;
        }
        if (transaction != NULL)
            mdb_txn_abort(transaction);
        MDB_stat stat;
        if (status != MDB_NOTFOUND || flags == 0 || mdb_env_stat(file->env, &stat) != 0)
            return status;
        if (stat.ms_entries != 0)
            return MDB_CORRUPTED; /* some of the tables are there, or somebody else's */
        if (must_exist)
            return ENOENT;
    }
}

static int sync_directory(const char *directory)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int status = fsync(fd) < 0 ? -errno : 0;
    close(fd);
    return status;
}

/* False when the file ends before the pages that it says it has. */
static bool is_whole(struct key_file *file)
{
    MDB_envinfo info;
    struct stat stat;
    int fd = -1;
    if (mdb_env_info(file->env, &info) != 0 || mdb_env_get_fd(file->env, &fd) != 0 ||
        fstat(fd, &stat) < 0)
        return false;
    return (uint64_t)stat.st_size >= (info.me_last_pgno + 1) * (uint64_t)file->page_bytes;
}

static int absent(const char **out_why)
{
    *out_why = "missing or empty, although there are segments; restore a copy of it, or --repair "
               "begins new keys: sessions, retained messages and wills are lost then";
    return -ENOENT;
}

/* Result as of key_file_open; *out_why points to a text that stays. */
static int open_environment(struct key_file *file, const struct key_file_options *options,
                            const char *path, const char **out_why)
{
    struct stat there;
    /* LMDB makes a file that is not there, and takes an empty one as new. */
    if (options->must_exist && (stat(path, &there) < 0 ? errno == ENOENT : there.st_size == 0))
        return absent(out_why);
    int status = mdb_env_create(&file->env);
    if (status == 0)
        status = mdb_env_set_maxdbs(file->env, KEY_FILE_TABLES);
    if (status == 0)
        status = mdb_env_set_mapsize(file->env, options->map_bytes);
    const unsigned flags = MDB_NOSUBDIR | MDB_NOLOCK | (options->is_synced ? 0 : MDB_NOMETASYNC);
    if (status == 0)
        status = mdb_env_open(file->env, path, flags, FILE_MODE);
    if (status != 0) {
        *out_why = status == ENOMEM ? "so much address space is not to be had (ulimit -v)"
                                    : mdb_strerror(status);
        return errno_of(status);
    }
    MDB_stat stat;
    status = mdb_env_stat(file->env, &stat);
    if (status == 0) {
        file->page_bytes = stat.ms_psize;
        if (!is_whole(file)) {
            *out_why = "it is damaged: it ends before its last page";
            return -EBADMSG;
        }
        status = open_tables(file, options->must_exist);
    }
    if (status == ENOENT)
        return absent(out_why);
    if (status != 0) {
        *out_why = mdb_strerror(status);
        return errno_of(status);
    }
    status = sync_directory(options->directory);
    if (status < 0)
        *out_why = "its directory cannot be synced";
    return status;
}

int key_file_open(struct heap *heap, const struct key_file_options *options,
                  struct key_file **out_file)
{
    char path[PATH_BYTES_MAX];
    const char *why = "its path is too long";
    int length = snprintf(path, sizeof(path), "%s/keys.mdb", options->directory);
    int status = length < (int)sizeof(path) ? 0 : -ENAMETOOLONG;
    struct key_file *file = heap_zalloc(heap, sizeof(*file));
    if (file == NULL) {
        why = "no memory";
        status = -ENOMEM;
    }
    if (status == 0)
        status = open_environment(file, options, path, &why);
    if (status == 0) {
        *out_file = file;
        return 0;
    }
    if (status == -ENOMEM)
        (void)snprintf(options->error, options->error_bytes, "%s: a map of %lu bytes: %s", path,
                       options->map_bytes, why);
    else
        (void)snprintf(options->error, options->error_bytes, "%s: %s%s", path, why,
                       status == -EBADMSG ? "; restore a copy of it, or move it away and --repair "
                                            "begins new keys"
                                          : "");
    key_file_close(heap, file);
    return status;
}

void key_file_close(struct heap *heap, struct key_file *file)
{
    if (file == NULL)
        return;
    if (file->transaction != NULL)
        key_file_abort(file);
    if (file->env != NULL)
        mdb_env_close(file->env);
    heap_free(heap, file);
}

int key_file_begin(struct key_file *file, bool is_writing)
{
    ps_assert(file->transaction == NULL);
    file->is_writing = is_writing;
    return errno_of(
        mdb_txn_begin(file->env, NULL, is_writing ? 0 : MDB_RDONLY, &file->transaction));
}

static void close_cursors(struct key_file *file)
{
    for (uint32_t table = 0; table < KEY_FILE_TABLES; table++) {
        if (file->cursors[table] != NULL)
            mdb_cursor_close(file->cursors[table]);
        file->cursors[table] = NULL;
    }
}

int key_file_commit(struct key_file *file)
{
    ps_assert(file->transaction != NULL && file->is_writing);
    close_cursors(file);
    MDB_txn *transaction = file->transaction;
    file->transaction = NULL; /* it is gone, whatever comes of it */
    return errno_of(mdb_txn_commit(transaction));
}

void key_file_abort(struct key_file *file)
{
    ps_assert(file->transaction != NULL);
    close_cursors(file);
    mdb_txn_abort(file->transaction);
    file->transaction = NULL;
}

int key_file_get(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                 struct broker_bytes *out_value)
{
    MDB_val key_value = value_of(key);
    MDB_val value;
    int status = mdb_get(file->transaction, file->tables[table], &key_value, &value);
    if (status == 0)
        *out_value = bytes_of(value);
    return errno_of(status);
}

static int move(struct key_file *file, enum key_file_table table, MDB_val key, MDB_cursor_op how,
                struct key_file_entry *out_entry)
{
    MDB_val value;
    int status = mdb_cursor_get(file->cursors[table], &key, &value, how);
    if (status == 0)
        *out_entry = (struct key_file_entry){.key = bytes_of(key), .value = bytes_of(value)};
    return errno_of(status);
}

int key_file_seek(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                  struct key_file_entry *out_entry)
{
    int status = 0;
    if (file->cursors[table] == NULL)
        status = mdb_cursor_open(file->transaction, file->tables[table], &file->cursors[table]);
    if (status != 0)
        return errno_of(status);
    return move(file, table, value_of(key), key.count > 0 ? MDB_SET_RANGE : MDB_FIRST, out_entry);
}

int key_file_next(struct key_file *file, enum key_file_table table,
                  struct key_file_entry *out_entry)
{
    ps_assert(file->cursors[table] != NULL);
    return move(file, table, (MDB_val){0}, MDB_NEXT, out_entry);
}

int key_file_put(struct key_file *file, enum key_file_table table, struct broker_bytes key,
                 struct broker_bytes head, struct broker_bytes body)
{
    ps_assert(file->is_writing && key.count > 0 && key.count <= KEY_FILE_KEY_BYTES_MAX);
    MDB_val key_value = value_of(key);
    MDB_val room = {.mv_size = (size_t)head.count + body.count};
    int status = mdb_put(file->transaction, file->tables[table], &key_value, &room, MDB_RESERVE);
    if (status != 0)
        return errno_of(status);
    if (head.count > 0)
        memcpy(room.mv_data, head.bytes, head.count);
    if (body.count > 0)
        memcpy((unsigned char *)room.mv_data + head.count, body.bytes, body.count);
    return 0;
}

int key_file_delete(struct key_file *file, enum key_file_table table, struct broker_bytes key)
{
    ps_assert(file->is_writing);
    MDB_val key_value = value_of(key);
    return errno_of(mdb_del(file->transaction, file->tables[table], &key_value, NULL));
}

static uint64_t pages_of(struct key_file *file, MDB_dbi table)
{
    MDB_stat stat;
    int status = mdb_stat(file->transaction, table, &stat);
    ps_assert(status == 0);
    return stat.ms_branch_pages + stat.ms_leaf_pages + stat.ms_overflow_pages;
}

uint64_t key_file_bytes_used(struct key_file *file)
{
    uint64_t pages = META_PAGES + pages_of(file, FREE_TABLE) + pages_of(file, MAIN_TABLE);
    for (uint32_t table = 0; table < KEY_FILE_TABLES; table++)
        pages += pages_of(file, file->tables[table]);
    return pages * file->page_bytes;
}

uint32_t key_file_page_bytes(const struct key_file *file)
{
    return file->page_bytes;
}
