/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appending JSON (RFC 8259) writer into a buffer of the caller's.
 *
 * Never writes past the buffer, never writes half a token: the first token that does not fit and
 * all that follow are left out, and json_truncated says so. Commas are put in by the writer;
 * balanced begin and end calls are the caller's business. Allocates nothing. Any thread.
 */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "proxy/base/span.h"

struct json {
    char *buf;
    size_t len;
    size_t cap; /* lowered to len at the first token that does not fit */
    bool comma; /* the next key or value follows another */
    bool truncated;
};

/* Writes to buf, cap bytes of the caller's; no NUL is put behind. */
static inline void json_init(struct json *j, char *buf, size_t cap)
{
    *j = (struct json){.buf = buf, .cap = cap};
}

/* Something did not fit, and is missing from there on. */
static inline bool json_truncated(const struct json *j)
{
    return j->truncated;
}

/* What has been written; valid as long as the buffer. */
static inline struct span json_text(const struct json *j)
{
    return span_of(j->buf, j->len);
}

/* Room for n more bytes? If not, closes the writer for good. */
static inline bool json_room(struct json *j, size_t n)
{
    if (__builtin_expect(j->cap - j->len >= n, 1))
        return true;
    j->cap = j->len;
    j->truncated = true;
    return false;
}

/* Appends bytes as they are, outside of the comma logic. */
static inline void json_raw(struct json *j, const char *text, size_t len)
{
    if (!json_room(j, len))
        return;
    memcpy(j->buf + j->len, text, len);
    j->len += len;
}

/* A value of several; begin and end of each have to balance. */
/* Two names are jansson's too: it must find its own (json_read.h). */
#pragma GCC visibility push(hidden)
void json_object_begin(struct json *j);
void json_object_end(struct json *j);
void json_array_begin(struct json *j);
void json_array_end(struct json *j);

/* A member's name; a value must follow. name needs no escaping (it is ours). */
void json_key(struct json *j, const char *name);

/* A string of any bytes: control characters (C0, DEL, C1) and '"' and '\' are escaped, every byte
 * that is not part of valid UTF-8 becomes U+FFFD. */
void json_string(struct json *j, struct span s);
void json_cstring(struct json *j, const char *s);
void json_u64(struct json *j, uint64_t v);
void json_i64(struct json *j, int64_t v);
void json_bool(struct json *j, bool v);
void json_null(struct json *j);
#pragma GCC visibility pop

/* A number that is written already, as JSON has it. */
void json_number(struct json *j, struct span digits);

/* A duration given in microseconds as a number of milliseconds with one to three decimals: 413 is
 * 0.413, 1500 is 1.5, 0 is 0.0. */
void json_ms(struct json *j, uint64_t us);

/* What write writes, however long, in memory of malloc's: it is called again with more room if
 * there was too little. *len: its length. Never NULL. */
char *json_whole(void (*write)(struct json *, const void *ctx), const void *ctx, size_t *len);

/* Appends the longest prefix of s that is printable ASCII without '"' and '\'; returns its length.
 * Takes room for all of s for granted: ask json_room first. */
size_t json_raw_plain(struct json *j, struct span s);

/* As the values above, without commas or quotes: for writers with a layout of their own. */
void json_raw_escaped(struct json *j, struct span s);
void json_raw_u64(struct json *j, uint64_t v);
void json_raw_ms(struct json *j, uint64_t us);

#endif
