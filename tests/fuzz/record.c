/*
 * An encoded record as a file or a peer may hold it. The first byte chooses whether the length and
 * the checksum are made to fit, so that the fuzzer gets past them; what is accepted must encode to
 * the same bytes.
 */
#include <stdlib.h>

#include "broker_client/record.h"
#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "core/wire_little.h"

enum { SEED = 7, RECORD_BYTES_MIN = 88 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count);

static void make_it_fit(unsigned char *bytes, size_t count)
{
    wire_little_store_u32(bytes + 8, (uint32_t)count);
    wire_little_store_u64(bytes, hash_bytes_seeded(SEED, bytes + 8, count - 8));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t count)
{
    if (count == 0)
        return 0;
    struct heap_budget budget = {.bytes_max = 1 << 24};
    struct heap heap;
    heap_init(&heap, &budget);
    size_t input_bytes = count - 1;
    unsigned char *input = malloc(input_bytes + 1); /* exact, so that ASan sees a read beyond */
    ps_assert(input != NULL);
    memcpy(input, bytes + 1, input_bytes);
    if (bytes[0] % 2 == 1 && input_bytes >= RECORD_BYTES_MIN)
        make_it_fit(input, input_bytes);
    struct record *record = NULL;
    long taken = record_decode(&heap, SEED, input, input_bytes, &record);
    if (taken > 0) {
        unsigned char *output = malloc((size_t)taken);
        ps_assert(output != NULL && (size_t)taken <= input_bytes);
        ps_assert(record_encode(record, SEED, output, (size_t)taken) == taken);
        ps_assert(memcmp(output, input, (size_t)taken) == 0);
        record_release(&heap, record);
        free(output);
    }
    ps_assert(taken != 0);
    free(input);
    heap_deinit(&heap);
    ps_assert(heap_budget_bytes_used(&budget) == 0);
    return 0;
}
