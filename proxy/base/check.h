/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Assertions and typed objects.
 *
 * CHECK guards weir's own invariants and is always on; DCHECK is for costly ones and is compiled
 * into debug and sanitizer builds only. Neither may ever see what a peer sent: a peer's mistake
 * gets a reason (reason.h), not a crash. Any thread.
 */
#ifndef WEIR_BASE_CHECK_H
#define WEIR_BASE_CHECK_H

#include <stddef.h>
#include <stdint.h>

/* Prints file, line, function and the condition to stderr, then aborts. */
_Noreturn void check_fail(const char *file, int line, const char *func, const char *cond);

#define CHECK(cond) \
    (__builtin_expect(!!(cond), 1) ? (void)0 : check_fail(__FILE__, __LINE__, __func__, #cond))

#ifdef WEIR_DEBUG
#define DCHECK(cond) CHECK(cond)
#else
#define DCHECK(cond) ((void)sizeof(cond))
#endif

/* Every object that is reached through a void pointer carries its magic as its first member. */
#define MAGIC(a, b, c, d) \
    ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static inline void *check_magic(void *obj, uint32_t magic)
{
    CHECK(obj != NULL && *(const uint32_t *)obj == magic);
    return obj;
}

/* The checked way back from void *: CAST_OBJ(h1_server, data, H1_SERVER_MAGIC). */
#define CAST_OBJ(tag, ptr, magic) ((struct tag *)check_magic((ptr), (magic)))

/* From an embedded member to its owner. */
#define CONTAINER_OF(ptr, tag, member) \
    ((struct tag *)(void *)((char *)(ptr)-offsetof(struct tag, member)))

/* Moves ownership out of a pointer variable and nulls it. */
#define TAKE(ptr)                       \
    __extension__({                     \
        __typeof__(ptr) taken_ = (ptr); \
        (ptr) = NULL;                   \
        taken_;                         \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
