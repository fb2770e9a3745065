/*
 * Files on the kernel's file systems; see core/disk.h. Stateless: every call stands for itself, on
 * descriptors that are the caller's. All of it may block.
 */
#include "core/disk.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/base.h"

enum { DISK_ZEROS_BYTES = 64 * 1024, DISK_TRANSFER_BYTES_MAX = 1 << 30 };

static void check_name(const char *name)
{
    size_t bytes = strlen(name);
    ps_assert(bytes > 0 && bytes <= DISK_NAME_BYTES_MAX && strchr(name, '/') == NULL);
    ps_assert(strcmp(name, ".") != 0 && strcmp(name, "..") != 0);
}

/* Opens what stands relative to `at`, with one retry for each signal. Descriptor or -errno. */
static int open_at(int at, const char *name, int flags)
{
    int fd = -1;
    do {
        fd = openat(at, name, flags | O_CLOEXEC, 0640);
    } while (fd < 0 && errno == EINTR);
    return fd < 0 ? -errno : fd;
}

/* A descriptor of the same directory that shares neither lock nor position with it. */
static int open_again(int directory)
{
    return open_at(directory, ".", O_RDONLY | O_DIRECTORY);
}

/* The name of a directory in its parent. */
static int sync_parent(int directory)
{
    int parent = open_at(directory, "..", O_RDONLY | O_DIRECTORY);
    if (parent < 0)
        return parent;
    int status = disk_sync_directory(parent);
    close(parent);
    return status;
}

int disk_open_directory(const char *path, int *out_directory)
{
    int made = mkdir(path, 0750) < 0 ? -errno : 0;
    int directory = open_at(AT_FDCWD, path, O_RDONLY | O_DIRECTORY);
    if (directory < 0)
        return directory == -ENOENT && made < 0 ? made : directory;
    /* One that was there may have been made just before a crash; but who may not look into its
     * parent may still use it. */
    int status = sync_parent(directory);
    if (status < 0 && made == 0) {
        close(directory);
        return status;
    }
    *out_directory = directory;
    return 0;
}

int disk_lock(int directory, int *out_lock)
{
    int lock = open_again(directory);
    if (lock < 0)
        return lock;
    if (flock(lock, LOCK_EX | LOCK_NB) < 0) {
        int status = -errno;
        close(lock);
        return status;
    }
    *out_lock = lock;
    return 0;
}

/* 1: a regular file; 0: anything else, or gone meanwhile; -errno. */
static int is_file(int directory, const struct dirent *entry)
{
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_REG;
    struct stat status;
    if (fstatat(directory, entry->d_name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -errno;
    return S_ISREG(status.st_mode);
}

int disk_list(int directory, disk_on_name *on_name, void *context)
{
    int fd = open_again(directory);
    if (fd < 0)
        return fd;
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        int status = -errno;
        close(fd);
        return status;
    }
    int status = 0;
    while (status == 0) {
        errno = 0;
        const struct dirent *entry = readdir(stream);
        if (entry == NULL) {
            status = -errno;
            break;
        }
        status = is_file(fd, entry);
        if (status == 1)
            status = on_name(context, entry->d_name);
    }
    closedir(stream);
    return status;
}

int disk_open(int directory, const char *name, enum disk_open_mode mode, int *out_fd)
{
    static const int flags[] = {
        [DISK_OPEN_READ] = O_RDONLY,
        [DISK_OPEN_WRITE] = O_RDWR,
        [DISK_OPEN_CREATE] = O_RDWR | O_CREAT,
        [DISK_OPEN_CREATE_NEW] = O_RDWR | O_CREAT | O_EXCL,
    };
    check_name(name);
    int fd = open_at(directory, name, flags[mode]);
    if (fd < 0)
        return fd;
    struct stat status;
    int result = fstat(fd, &status) < 0 ? -errno : 0;
    if (result == 0 && S_ISDIR(status.st_mode))
        result = -EISDIR;
    if (result < 0) {
        close(fd);
        return result;
    }
    *out_fd = fd;
    return 0;
}

void disk_close(int fd)
{
    /* An error would be one of bytes that nobody has synced; the descriptor is gone either way. */
    close(fd);
}

int disk_size(int fd, uint64_t *out_bytes)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    *out_bytes = (uint64_t)status.st_size;
    return 0;
}

static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const unsigned char zeros[DISK_ZEROS_BYTES];
    int status = 0;
    for (uint64_t at = from; at < to && status == 0; at += DISK_ZEROS_BYTES)
        status = disk_write(fd, zeros, (size_t)ps_min_u64(to - at, DISK_ZEROS_BYTES), at);
    return status;
}

int disk_preallocate(int fd, uint64_t bytes)
{
    if (bytes == 0)
        return 0;
    int status = 0;
    do {
        status = fallocate(fd, 0, 0, (off_t)bytes) < 0 ? -errno : 0;
    } while (status == -EINTR);
    if (status != -EOPNOTSUPP && status != -ENOSYS)
        return status;
    uint64_t there = 0;
    status = disk_size(fd, &there);
    return status < 0 ? status : write_zeros(fd, there, bytes);
}

int disk_read(int fd, void *buffer, size_t bytes, uint64_t offset, size_t *out_bytes)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t count =
            pread(fd, (char *)buffer + done, ps_min_u64(bytes - done, DISK_TRANSFER_BYTES_MAX),
                  (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            break;
        done += (size_t)count;
    }
    *out_bytes = done;
    return 0;
}

int disk_write(int fd, const void *buffer, size_t bytes, uint64_t offset)
{
    size_t done = 0;
    while (done < bytes) {
        ssize_t count =
            pwrite(fd, (const char *)buffer + done,
                   ps_min_u64(bytes - done, DISK_TRANSFER_BYTES_MAX), (off_t)(offset + done));
        if (count < 0 && errno == EINTR)
            continue;
        if (count < 0)
            return -errno;
        if (count == 0)
            return -EIO; /* a regular file never answers so; a loop would not end */
        done += (size_t)count;
    }
    return 0;
}

/* A sync that a signal interrupted has told nothing and may be asked again. */
int disk_sync(int fd)
{
    int status = 0;
    do {
        status = fdatasync(fd) < 0 ? -errno : 0;
    } while (status == -EINTR);
    return status;
}

int disk_truncate(int fd, uint64_t bytes)
{
    uint64_t there = 0;
    int status = disk_size(fd, &there);
    if (status < 0)
        return status;
    if (bytes > there)
        return -EINVAL;
    do {
        status = ftruncate(fd, (off_t)bytes) < 0 ? -errno : 0;
    } while (status == -EINTR);
    return status;
}

int disk_remove(int directory, const char *name)
{
    check_name(name);
    return unlinkat(directory, name, 0) < 0 ? -errno : 0;
}

int disk_rename(int directory, const char *from, const char *to)
{
    check_name(from);
    check_name(to);
    return renameat(directory, from, directory, to) < 0 ? -errno : 0;
}

int disk_sync_directory(int directory)
{
    int status = 0;
    do {
        status = fsync(directory) < 0 ? -errno : 0;
    } while (status == -EINTR);
    return status;
}

int disk_free_bytes(int directory, uint64_t *out_bytes)
{
    struct statvfs status;
    if (fstatvfs(directory, &status) < 0)
        return -errno;
    *out_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return 0;
}
