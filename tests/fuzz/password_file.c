/*
 * A password file of any bytes: it is refused with one line, or loaded, and then answers for
 * whatever user is asked. Files that ask for many iterations are loaded and not asked.
 */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/base.h"
#include "core/heap.h"
#include "session/password_file.h"

enum { DIGITS_MAX = 3 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static bool asks_for_much(const uint8_t *bytes, size_t count)
{
    uint32_t digits = 0;
    for (size_t i = 0; i < count && digits <= DIGITS_MAX; i++)
        digits = bytes[i] >= '0' && bytes[i] <= '9' ? digits + 1 : 0;
    return digits > DIGITS_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    int fd = memfd_create("passwords", MFD_CLOEXEC);
    ps_assert(fd >= 0);
    ps_assert(write(fd, bytes, count) == (ssize_t)count);
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    struct heap_budget budget = {.bytes_max = 1 << 24};
    struct heap heap;
    heap_init(&heap, &budget);
    struct password_file *file = NULL;
    char error[512] = "";
    int result = password_file_load(&heap, path, &file, error, sizeof(error));
    ps_assert((result == 0) == (file != NULL));
    if (result != 0) {
        ps_assert(result == -EINVAL || result == -ENOMEM);
        ps_assert(strlen(error) > 0 && strchr(error, '\n') == NULL);
    } else if (!asks_for_much(bytes, count)) {
        const uint8_t *colon = count > 0 ? memchr(bytes, ':', count) : NULL;
        size_t name_bytes = colon == NULL ? 0 : (size_t)(colon - bytes);
        ps_assert(!password_check(file, (const char *)bytes, name_bytes, "no hash of this", 15));
    }
    password_file_destroy(&heap, file);
    ps_assert(heap.bytes_net == 0);
    heap_deinit(&heap);
    close(fd);
    return 0;
}
