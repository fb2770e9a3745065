/*
 * Memory that may be used; see system_memory.h.
 */
#include "core/system_memory.h"

#include <stdio.h>
#include <unistd.h>

#include "core/base.h"

enum { PATH_BYTES = 4096, GROUP_BYTES = 2048 };

/* What memory.max of a group says; UINT64_MAX when it says "max" or there is none. */
static uint64_t limit_of(const char *root, const char *group)
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/sys/fs/cgroup%s/memory.max", root, group);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return UINT64_MAX;
    unsigned long long limit = 0;
    bool is_number = fscanf(file, "%llu", &limit) == 1 && limit != 0;
    fclose(file);
    return is_number ? limit : UINT64_MAX;
}

/* The process's group as a path, "" for the root or when it is not told. */
static void read_group(const char *root, char group[GROUP_BYTES])
{
    char path[PATH_BYTES];
    snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    group[0] = '\0';
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    char line[GROUP_BYTES];
    while (fgets(line, sizeof(line), file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(group, GROUP_BYTES, "%s", line[4] == '\0' ? "" : line + 3);
    }
    fclose(file);
}

uint64_t system_memory_bytes_below(const char *root, uint64_t host_bytes)
{
    char group[GROUP_BYTES];
    read_group(root, group);
    uint64_t bytes = ps_min_u64(host_bytes, limit_of(root, ""));
    /* A group is bounded by those above it too. */
    while (group[0] != '\0') {
        bytes = ps_min_u64(bytes, limit_of(root, group));
        char *last = strrchr(group, '/');
        ps_assert(last != NULL); /* a group's path begins with one */
        *last = '\0';
    }
    return bytes;
}

uint64_t system_memory_bytes(void)
{
    uint64_t pages = (uint64_t)sysconf(_SC_PHYS_PAGES);
    return system_memory_bytes_below("", pages * (uint64_t)sysconf(_SC_PAGESIZE));
}
