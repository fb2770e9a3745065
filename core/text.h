/*
 * Text that grows: what the slow side of the house (metrics, --print-config, reports) writes into.
 * Failures are sticky: a writer appends without looking and asks once at the end.
 *
 * Owner and thread: whoever owns the heap. Never used on the way of a message.
 */
#ifndef PENSTOCK_CORE_TEXT_H
#define PENSTOCK_CORE_TEXT_H

#include <stddef.h>

#include "core/base.h"

struct heap;

struct text {
    struct heap *heap;
    char *bytes;     /* always ends with a NUL that `count` leaves out; NULL while empty */
    size_t count;    /* bytes of text */
    size_t capacity; /* bytes of memory */
    size_t bytes_max;
    int error; /* 0, or the first failure: -ENOMEM, or -EFBIG beyond bytes_max; appends do nothing
                  from there */
};

void text_init(struct text *text, struct heap *heap, size_t bytes_max);
void text_deinit(struct text *text);

/* Empties it and forgets the error; keeps the memory. */
void text_clear(struct text *text);

void text_append(struct text *text, const char *format, ...) ps_printf(2, 3);
void text_append_bytes(struct text *text, const char *bytes, size_t count);

/* The text as a string, "" while it is empty. Valid until the next append. */
const char *text_string(const struct text *text);

#endif
