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
 * Takes the next element off a comma-separated list, trimmed. Returns false when nothing is left;
 * empty elements are returned as empty spans, so that a caller may reject or skip them.
 */
static inline bool span_next_element(struct span *list, struct span *element)
{
    if (list->ptr == NULL)
        return false;
    const char *comma = list->len ? memchr(list->ptr, ',', list->len) : NULL;
    size_t n = comma ? (size_t)(comma - list->ptr) : list->len;
    *element = span_trim(span_of(list->ptr, n));
    if (comma) {
        list->ptr += n + 1;
        list->len -= n + 1;
    } else {
        *list = span_of(NULL, 0);
    }
    return true;
}

#endif
