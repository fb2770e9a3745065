/*
 * Files of one directory, as a log needs them: for the start of a program and for the helper
 * thread. What a shard does with files while it serves goes through core/ring_file.h, on the same
 * descriptors. In simulations tests/sim/disk_sim.c stands behind this header; one contract suite
 * (tests/contract/disk_contract.c) holds both to it.
 *
 * Names are those of files directly in the directory: no '/', neither "." nor "..", at most
 * DISK_NAME_BYTES_MAX bytes (asserted: they are never a peer's). Every function is done at once and
 * whole: it goes on after a short transfer and after EINTR. Results are 0 or -errno as the system
 * says it; -EIO, -ENOSPC and -EDQUOT can come from any that writes or syncs. Out-parameters are
 * written on success only.
 *
 * What survives a loss of power:
 *   1. Bytes and size of a file: what was written before a disk_sync (RING_FILE_SYNC,
 *      RING_FILE_WRITE_SYNCED) that succeeded. Of the rest each sector may be old or new, in no
 * order.
 *   2. That a file is there, gone or renamed: after a disk_sync_directory that succeeded. Of the
 * rest each operation happened wholly or not at all. A file's own sync says nothing of its name.
 *   3. After a failed sync of a file see core/ring_file.h: it is never synced again.
 * So a file is replaced by: create a new one, write, disk_sync, disk_rename over the old one,
 * disk_sync_directory. The death of the process alone loses nothing that was written.
 *
 * Thread: any but a shard's while it serves, since all of it may wait for the disk. Stateless: a
 * descriptor is its opener's until disk_close; nothing here protects one from two threads.
 */
#ifndef PENSTOCK_CORE_DISK_H
#define PENSTOCK_CORE_DISK_H

#include <stddef.h>
#include <stdint.h>

enum { DISK_NAME_BYTES_MAX = 255 };

enum disk_open_mode {
    DISK_OPEN_READ,      /* an existing file, for reading only */
    DISK_OPEN_WRITE,     /* an existing file, for reading and writing */
    DISK_OPEN_CREATE,    /* the same, or a new empty one (0640) */
    DISK_OPEN_CREATE_NEW /* a new empty one; -EEXIST when there is something of that name */
};

/* The directory, which is made when it is missing (0750, its name then synced to its parent, which
 * must exist). *out_directory is a descriptor of its own kind: for the functions here that take a
 * `directory`, and disk_close. -ENOTDIR, -ENOENT, -EACCES, -EROFS ... */
int disk_open_directory(const char *path, int *out_directory);

/* Takes the directory for oneself: -EWOULDBLOCK when it is taken, by another process or by this one
 * (even through the same descriptor). The lock is let go by disk_close(*out_lock) and by the end of
 * the process, however it comes; the directory may be closed meanwhile. */
int disk_lock(int directory, int *out_lock);

/* Result: 0 to go on; anything else ends the listing, which returns it. `name` is valid during the
 * call, which may remove or rename that file, but create none. */
typedef int disk_on_name(void *context, const char *name);

/* Tells the name of every regular file in the directory, in no order. 0, what on_name returned, or
 * -errno. */
int disk_list(int directory, disk_on_name *on_name, void *context);

/* *out_fd is closed on exec. -ENOENT, -EEXIST, -EISDIR, -EMFILE, -EACCES ... */
int disk_open(int directory, const char *name, enum disk_open_mode mode, int *out_fd);

/* Of descriptors, directories and locks. Everything synced or not stays as it is; no request of a
 * ring may be under way. */
void disk_close(int fd);

int disk_size(int fd, uint64_t *out_bytes);

/* Makes sure that the file is at least `bytes` long and that the disk has room for all of it, so
 * that no write below fails for want of room; what is new reads as zeros. A file system that cannot
 * reserve is given zeros to write. Takes milliseconds, or with zeros as long as writing them. After
 * -ENOSPC the file may be longer than it was: the caller removes or cuts it. */
int disk_preallocate(int fd, uint64_t bytes);

/* *out_bytes is less than `bytes` only at the end of the file; 0 beyond it. */
int disk_read(int fd, void *buffer, size_t bytes, uint64_t offset, size_t *out_bytes);

/* All of it, or -errno and any part of the range may have changed. A file that is shorter than
 * `offset` reads as zeros between. */
int disk_write(int fd, const void *buffer, size_t bytes, uint64_t offset);

/* fdatasync. */
int disk_sync(int fd);

/* Cuts the file to `bytes`; its room beyond is given back. -EINVAL when it is shorter than that. */
int disk_truncate(int fd, uint64_t bytes);

/* -ENOENT. What is open stays usable until its close, which then gives the room back. */
int disk_remove(int directory, const char *name);

/* `from` takes the name `to`; a file of that name is gone at the same instant. -ENOENT. */
int disk_rename(int directory, const char *from, const char *to);

int disk_sync_directory(int directory);

/* Bytes that this process could still have on the file system of the directory. A snapshot: only
 * disk_preallocate reserves. */
int disk_free_bytes(int directory, uint64_t *out_bytes);

#endif
