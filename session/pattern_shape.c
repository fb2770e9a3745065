/*
 * Shapes in a hash table, two bits per level packed into words; see pattern_shape.h. A pattern's
 * words are made while they are hashed and compared, so that removing one needs no memory.
 */
#include "session/pattern_shape.h"

#include "core/base.h"
#include "core/hash.h"
#include "core/heap.h"
#include "topic_level_internal.h"

enum level_kind { LEVEL_NONE, LEVEL_LITERAL, LEVEL_PLUS, LEVEL_HASH };

enum { LEVEL_KIND_BITS = 2, WORD_BITS = 64 };

struct pattern_shape {
    uint32_t references;
    uint32_t word_count;
    uint64_t words[]; /* first level in the lowest bits; what follows the last is LEVEL_NONE */
};

/* Reads a pattern as words. */
struct shape_cursor {
    const char *text;
    uint32_t bytes;
    uint32_t position; /* where the next level starts; beyond `bytes`: done */
};

static bool next_word(struct shape_cursor *cursor, uint64_t *out_word)
{
    if (cursor->position > cursor->bytes)
        return false;
    uint64_t word = 0;
    for (uint32_t shift = 0; shift < WORD_BITS && cursor->position <= cursor->bytes;
         shift += LEVEL_KIND_BITS) {
        uint32_t start = cursor->position;
        uint32_t end = topic_level_end(cursor->text, cursor->bytes, start);
        enum level_kind kind = LEVEL_LITERAL;
        if (topic_level_is(cursor->text, start, end, '+'))
            kind = LEVEL_PLUS;
        else if (topic_level_is(cursor->text, start, end, '#'))
            kind = LEVEL_HASH;
        word |= (uint64_t)kind << shift;
        cursor->position = end + 1;
    }
    *out_word = word;
    return true;
}

static uint64_t shape_hash(const struct pattern_shapes *shapes, struct shape_cursor cursor,
                           uint32_t *out_word_count)
{
    uint64_t hash = shapes->seed;
    uint64_t word = 0;
    uint32_t count = 0;
    for (; next_word(&cursor, &word); count++)
        hash = hash_bytes_seeded(hash, &word, sizeof word);
    *out_word_count = count;
    return hash;
}

static bool shape_matches(const void *item, const void *key)
{
    const struct pattern_shape *shape = item;
    struct shape_cursor cursor = *(const struct shape_cursor *)key;
    uint64_t word = 0;
    uint32_t count = 0;
    for (; next_word(&cursor, &word); count++) {
        if (count >= shape->word_count || shape->words[count] != word)
            return false;
    }
    return count == shape->word_count;
}

void pattern_shape_init(struct pattern_shapes *shapes, struct heap *heap, uint64_t seed)
{
    *shapes = (struct pattern_shapes){.heap = heap, .seed = seed};
    table_init(&shapes->table, heap);
}

void pattern_shape_deinit(struct pattern_shapes *shapes)
{
    ps_assert(shapes->table.count == 0);
    table_deinit(&shapes->table);
}

int pattern_shape_add(struct pattern_shapes *shapes, const char *pattern, uint32_t bytes)
{
    struct shape_cursor cursor = {.text = pattern, .bytes = bytes};
    uint32_t word_count = 0;
    uint64_t hash = shape_hash(shapes, cursor, &word_count);
    struct pattern_shape *shape = table_find(&shapes->table, hash, shape_matches, &cursor);
    if (shape != NULL) {
        shape->references++;
        return 0;
    }
    shape = heap_alloc(shapes->heap, sizeof *shape + word_count * sizeof(uint64_t));
    if (shape == NULL)
        return -ENOMEM;
    shape->references = 1;
    shape->word_count = word_count;
    for (uint32_t i = 0; i < word_count; i++)
        (void)next_word(&cursor, &shape->words[i]);
    int result = table_insert(&shapes->table, hash, shape);
    if (result < 0)
        heap_free(shapes->heap, shape);
    return result;
}

void pattern_shape_remove(struct pattern_shapes *shapes, const char *pattern, uint32_t bytes)
{
    struct shape_cursor cursor = {.text = pattern, .bytes = bytes};
    uint32_t word_count = 0;
    uint64_t hash = shape_hash(shapes, cursor, &word_count);
    struct pattern_shape *shape = table_find(&shapes->table, hash, shape_matches, &cursor);
    ps_assert(shape != NULL);
    if (--shape->references > 0)
        return;
    bool was_there = table_remove(&shapes->table, hash, shape);
    ps_assert(was_there);
    heap_free(shapes->heap, shape);
}
