/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A borrowed run of bytes: pointer and length, no terminating NUL, never owned. Whoever hands out
 * a span says how long it stays valid. Pure; any thread.
 */
#ifndef WEIR_BASE_SPAN_H
#define WEIR_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
    const char *ptr;
    size_t len;
};

#define SPAN_LIT(s) ((struct span){(s), sizeof(s) - 1})

static inline struct span span_of(const char *ptr, size_t len)
{
    return (struct span){ptr, len};
}

static inline struct span span_str(const char *s)
{
    return (struct span){s, s ? strlen(s) : 0};
}

static inline bool span_eq(struct span a, struct span b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

/* Equal but for ASCII case, as field names and host names compare. */
static inline bool span_eq_nocase(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i]))
            return false;
    return true;
}

static inline bool span_starts(struct span s, struct span prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* Whether it begins so; then *s is the rest. */
static inline bool span_skip(struct span *s, struct span prefix)
{
    if (!span_starts(*s, prefix))
        return false;
    s->ptr += prefix.len;
    s->len -= prefix.len;
    return true;
}

/* Without leading and trailing SP and HTAB (RFC 9110 section 5.6.3, OWS). */
static inline struct span span_trim(struct span s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/*
 * Takes what is before the next `by` off the rest, trimmed. Returns false when nothing is left;
 * empty pieces are returned as empty spans, so that a caller may reject or skip them.
 */
static inline bool span_next_piece(struct span *rest, char by, struct span *piece)
{
    if (rest->ptr == NULL)
        return false;
    const char *end = rest->len ? memchr(rest->ptr, by, rest->len) : NULL;
    size_t n = end ? (size_t)(end - rest->ptr) : rest->len;
    *piece = span_trim(span_of(rest->ptr, n));
    if (end) {
        rest->ptr += n + 1;
        rest->len -= n + 1;
    } else {
        *rest = span_of(NULL, 0);
    }
    return true;
}

/* The same of a comma-separated list. */
static inline bool span_next_element(struct span *list, struct span *element)
{
    return span_next_piece(list, ',', element);
}

/* The value of a piece NAME=VALUE. False: it is another's, or has none. */
static inline bool span_value_of(struct span piece, struct span name, struct span *value)
{
    if (!span_starts(piece, name) || piece.len == name.len || piece.ptr[name.len] != '=')
        return false;
    *value = span_of(piece.ptr + name.len + 1, piece.len - name.len - 1);
    return true;
}

#endif
