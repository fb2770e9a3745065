/*
 * What every file of the house may use: assertions, small helpers, and the one place where the
 * compiler and the sanitizers are asked what they are. Stateless; callable from any thread.
 */
#ifndef PENSTOCK_CORE_BASE_H
#define PENSTOCK_CORE_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#define PS_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PS_ADDRESS_SANITIZER 1
#endif
#endif
#ifndef PS_ADDRESS_SANITIZER
#define PS_ADDRESS_SANITIZER 0
#endif

#if defined(__SANITIZE_THREAD__)
#define PS_THREAD_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PS_THREAD_SANITIZER 1
#endif
#endif
#ifndef PS_THREAD_SANITIZER
#define PS_THREAD_SANITIZER 0
#endif

/* 1 in builds with any sanitizer: heaps stand on malloc there, and freed memory is poisoned where
 * it can be. */
#if PS_ADDRESS_SANITIZER || PS_THREAD_SANITIZER
#define PS_SANITIZER 1
#else
#define PS_SANITIZER 0
#endif

#if PS_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#define ps_poison(address, bytes)   __asan_poison_memory_region((address), (bytes))
#define ps_unpoison(address, bytes) __asan_unpoison_memory_region((address), (bytes))
#else
#define ps_poison(address, bytes)   ((void)(address), (void)(bytes))
#define ps_unpoison(address, bytes) ((void)(address), (void)(bytes))
#endif

#define ps_likely(condition)   __builtin_expect(!!(condition), 1)
#define ps_unlikely(condition) __builtin_expect(!!(condition), 0)
#define ps_array_count(array)  (sizeof(array) / sizeof((array)[0]))
#define ps_container_of(pointer, type, member)                                                     \
    ((type *)(void *)((char *)(pointer)-offsetof(type, member)))
#define ps_printf(format_index, arguments_index)                                                   \
    __attribute__((format(printf, format_index, arguments_index)))

/* States what only a bug can break; stays on in release. Never for input from a peer, a file or the
 * broker. */
#define ps_assert(condition)                                                                       \
    do {                                                                                           \
        if (ps_unlikely(!(condition)))                                                             \
            ps_assert_failed(#condition, __FILE__, __LINE__);                                      \
    } while (0)

/* Prints the condition and its place to standard error and aborts. Never returns. */
_Noreturn void ps_assert_failed(const char *condition, const char *file, int line);

static inline uint32_t ps_min_u32(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

static inline uint32_t ps_max_u32(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

static inline uint64_t ps_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t ps_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

#endif
