/*
 * Growing text; see text.h. Grows by doubling, so that a render costs a handful of allocations.
 */
#include "core/text.h"

#include <stdarg.h>
#include <stdio.h>

#include "core/heap.h"

enum { TEXT_BYTES_MIN = 1024 };

void text_init(struct text *text, struct heap *heap, size_t bytes_max)
{
    *text = (struct text){.heap = heap, .bytes_max = bytes_max};
}

void text_deinit(struct text *text)
{
    heap_free(text->heap, text->bytes);
    *text = (struct text){0};
}

void text_clear(struct text *text)
{
    text->count = 0;
    text->error = 0;
    if (text->bytes != NULL)
        text->bytes[0] = '\0';
}

/* True when `count` more bytes and the NUL fit. */
static bool make_room(struct text *text, size_t count)
{
    if (text->error != 0)
        return false;
    if (count > text->bytes_max - text->count) {
        text->error = -EFBIG;
        return false;
    }
    size_t needed = text->count + count + 1;
    if (needed <= text->capacity)
        return true;
    size_t capacity = text->capacity == 0 ? TEXT_BYTES_MIN : text->capacity;
    while (capacity < needed)
        capacity *= 2;
    char *bytes = heap_realloc(text->heap, text->bytes, capacity);
    if (bytes == NULL) {
        text->error = -ENOMEM;
        return false;
    }
    text->bytes = bytes;
    text->capacity = capacity;
    return true;
}

void text_append(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_list again;
    va_start(arguments, format);
    va_copy(again, arguments);
    size_t room = text->capacity - text->count;
    char *end = text->bytes == NULL ? NULL : text->bytes + text->count;
    int count = vsnprintf(end, room, format, arguments);
    ps_assert(count >= 0);
    if (!make_room(text, (size_t)count)) {
        if (end != NULL)
            *end = '\0';
    } else {
        if ((size_t)count >= room)
            vsnprintf(text->bytes + text->count, (size_t)count + 1, format, again);
        text->count += (size_t)count;
    }
    va_end(again);
    va_end(arguments);
}

void text_append_bytes(struct text *text, const char *bytes, size_t count)
{
    if (!make_room(text, count))
        return;
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    text->bytes[text->count] = '\0';
}

const char *text_string(const struct text *text)
{
    return text->bytes == NULL ? "" : text->bytes;
}
