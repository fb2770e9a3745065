/*
 * Gives a fuzz target every file of the folders that are named: what the fuzzer was seeded with and
 * what it once found. A folder may be absent; that no file at all is there is an error. Each input
 * stands in memory of its exact size, so that ASan sees a read beyond it.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/base.h"
#include "core/file.h"
#include "core/heap.h"

enum { INPUT_BYTES_MAX = 1 << 24 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void replay(const char *path)
{
    struct heap_budget budget = {0};
    struct heap heap;
    heap_init(&heap, &budget);
    char *bytes = NULL;
    size_t count = 0;
    int result = file_read(&heap, path, INPUT_BYTES_MAX, &bytes, &count);
    ps_assert(result == 0);
    uint8_t *input = malloc(count + (count == 0));
    ps_assert(input != NULL);
    memcpy(input, bytes, count);
    heap_free(&heap, bytes);
    heap_deinit(&heap);
    /* Named before it is tried: the last line says which one failed. */
    printf("%s\n", path);
    (void)fflush(stdout);
    ps_assert(LLVMFuzzerTestOneInput(input, count) == 0);
    free(input);
}

static int is_visible(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static uint32_t replay_folder(const char *folder)
{
    struct dirent **entries = NULL;
    int count = scandir(folder, &entries, is_visible, alphasort);
    if (count < 0)
        return 0;
    for (int i = 0; i < count; i++) {
        char path[4096];
        int bytes = snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        ps_assert(bytes > 0 && (size_t)bytes < sizeof(path));
        replay(path);
        free(entries[i]);
    }
    free(entries);
    return (uint32_t)count;
}

int main(int argument_count, char **arguments)
{
    uint32_t count = 0;
    for (int i = 1; i < argument_count; i++)
        count += replay_folder(arguments[i]);
    printf("%u inputs\n", count);
    return count == 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
