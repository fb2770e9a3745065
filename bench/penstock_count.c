/*
 * Runs one micro-benchmark a given number of times, for a tool that counts instructions:
 * bench/count_instructions.py runs it under callgrind with N and with 2N iterations, whose
 * difference is what N iterations cost. Without arguments it names the cases.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "micro.h"

static const struct micro_case *find(const char *name)
{
    for (const struct micro_case *const *table = micro_tables; *table != NULL; table++) {
        for (const struct micro_case *item = *table; item->name != NULL; item++) {
            if (name == NULL)
                printf("%s\n", item->name);
            else if (strcmp(item->name, name) == 0)
                return item;
        }
    }
    return NULL;
}

int main(int argument_count, char **arguments)
{
    if (argument_count == 1) {
        (void)find(NULL);
        return EXIT_SUCCESS;
    }
    const struct micro_case *item = find(arguments[1]);
    uint64_t iterations = argument_count == 3 ? strtoull(arguments[2], NULL, 10) : 0;
    uint64_t size = argument_count == 3 && item != NULL ? item->size : 0;
    if (item == NULL || iterations == 0) {
        (void)fprintf(stderr, "usage: penstock-count [CASE ITERATIONS]\n");
        return 2;
    }
    void *subject = item->create(size);
    item->run(subject, iterations);
    item->destroy(subject);
    return EXIT_SUCCESS;
}
