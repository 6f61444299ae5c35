/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON writer. Owns nothing, allocates nothing but what json_whole returns, never writes past
 * the buffer. Most
 * strings need no escape, so they are tested and copied eight bytes at a time. Any thread.
 */
#include "proxy/base/json.h"

#include <stdlib.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define EVERY_BYTE(b) (UINT64_C(0x0101010101010101) * (b))
#define TOP_BITS      EVERY_BYTE(0x80)

/* Every byte printable ASCII other than '"' and '\'? */
static bool word_is_plain(uint64_t v)
{
    uint64_t quote = v ^ EVERY_BYTE('"'), backslash = v ^ EVERY_BYTE('\\');
    uint64_t control = v - EVERY_BYTE(0x20), del = v + EVERY_BYTE(1);
    uint64_t hit = v | del | (control & ~v) | ((quote - EVERY_BYTE(1)) & ~quote) |
                   ((backslash - EVERY_BYTE(1)) & ~backslash);
    return (hit & TOP_BITS) == 0;
}

static bool byte_is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/* Copies 4 to 8 bytes if they are all plain, as two halves that may overlap. */
static bool copy_short(char *dst, const char *src, size_t len)
{
    uint32_t head, tail;
    memcpy(&head, src, 4);
    memcpy(&tail, src + len - 4, 4);
    if (!word_is_plain((uint64_t)tail << 32 | head))
        return false;
    memcpy(dst, &head, 4);
    memcpy(dst + len - 4, &tail, 4);
    return true;
}

size_t json_raw_plain(struct json *j, struct span s)
{
    char *dst = j->buf + j->len;
    size_t i = 0;
    DCHECK(j->cap - j->len >= s.len);
    for (; i + 8 <= s.len; i += 8) {
        uint64_t v;
        memcpy(&v, s.ptr + i, 8);
        if (!word_is_plain(v))
            break;
        memcpy(dst + i, &v, 8);
    }
    if (s.len - i >= 4 && s.len - i < 8 && copy_short(dst + i, s.ptr + i, s.len - i))
        i = s.len;
    for (; i < s.len && byte_is_plain((unsigned char)s.ptr[i]); i++)
        dst[i] = s.ptr[i];
    j->len += i;
    return i;
}

static bool is_tail(const unsigned char *p)
{
    return (*p & 0xc0) == 0x80;
}

/* The length of the UTF-8 sequence of two bytes or more at p (Unicode table 3-7); 0 if there is
 * none: a stray or missing tail byte, an overlong form, a surrogate, or beyond U+10FFFF. */
static unsigned utf8_len(const unsigned char *p, size_t left)
{
    if (p[0] >= 0xc2 && p[0] <= 0xdf)
        return left >= 2 && is_tail(p + 1) ? 2 : 0;
    if (p[0] >= 0xe0 && p[0] <= 0xef) {
        unsigned char low = p[0] == 0xe0 ? 0xa0 : 0x80, high = p[0] == 0xed ? 0x9f : 0xbf;
        return left >= 3 && p[1] >= low && p[1] <= high && is_tail(p + 2) ? 3 : 0;
    }
    if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        unsigned char low = p[0] == 0xf0 ? 0x90 : 0x80, high = p[0] == 0xf4 ? 0x8f : 0xbf;
        return left >= 4 && p[1] >= low && p[1] <= high && is_tail(p + 2) && is_tail(p + 3) ? 4 : 0;
    }
    return 0;
}

static void raw_unicode(struct json *j, unsigned code)
{
    static const char hex[] = "0123456789abcdef";
    char text[6] = {
        '\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15]};
    json_raw(j, text, sizeof text);
}

static void raw_ascii_escape(struct json *j, unsigned char c)
{
    static const char letters[128] = {['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
                                      ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};
    if (!letters[c]) {
        raw_unicode(j, c);
        return;
    }
    char text[2] = {'\\', letters[c]};
    json_raw(j, text, sizeof text);
}

/* Writes the character at the front of s, which is not plain; returns its length in bytes. */
static size_t raw_special(struct json *j, struct span s)
{
    const unsigned char *p = (const unsigned char *)s.ptr;
    if (p[0] < 0x80) {
        raw_ascii_escape(j, p[0]);
        return 1;
    }
    unsigned n = utf8_len(p, s.len);
    if (n == 0) {
        raw_unicode(j, 0xfffd);
        return 1;
    }
    if (p[0] == 0xc2 && p[1] < 0xa0)
        raw_unicode(j, p[1]);
    else
        json_raw(j, s.ptr, n);
    return n;
}

void json_raw_escaped(struct json *j, struct span s)
{
    size_t start = j->len;
    while (s.len > 0 && json_room(j, s.len)) {
        size_t n = json_raw_plain(j, s);
        s = span_of(s.ptr + n, s.len - n);
        if (s.len == 0)
            return;
        n = raw_special(j, s);
        s = span_of(s.ptr + n, s.len - n);
    }
    if (j->truncated)
        j->cap = j->len = start;
}

void json_raw_u64(struct json *j, uint64_t v)
{
    char text[20], *p = text + sizeof text;
    do
        *--p = (char)('0' + v % 10);
    while (v /= 10);
    json_raw(j, p, (size_t)(text + sizeof text - p));
}

void json_raw_ms(struct json *j, uint64_t us)
{
    unsigned rest = (unsigned)(us % 1000);
    char text[24], *p = text + sizeof text;
    /* From the right: up to two zeros at the end are left out. */
    for (unsigned digits = 3, keep = rest % 100 == 0  ? 1
                                     : rest % 10 == 0 ? 2
                                                      : 3;
         digits > 0; digits--, rest /= 10)
        if (digits <= keep)
            *--p = (char)('0' + rest % 10);
    *--p = '.';
    us /= 1000;
    do
        *--p = (char)('0' + us % 10);
    while (us /= 10);
    json_raw(j, p, (size_t)(text + sizeof text - p));
}

/* A value or a key comes: separates it from what came before at this depth. */
static void separate(struct json *j)
{
    if (j->comma)
        json_raw(j, ",", 1);
    j->comma = true;
}

static void begin(struct json *j, const char *brace)
{
    separate(j);
    json_raw(j, brace, 1);
    j->comma = false;
}

static void end(struct json *j, const char *brace)
{
    json_raw(j, brace, 1);
    j->comma = true;
}

void json_object_begin(struct json *j)
{
    begin(j, "{");
}

void json_object_end(struct json *j)
{
    end(j, "}");
}

void json_array_begin(struct json *j)
{
    begin(j, "[");
}

void json_array_end(struct json *j)
{
    end(j, "]");
}

void json_key(struct json *j, const char *name)
{
    size_t len = strlen(name);
    separate(j);
    if (!json_room(j, len + 3))
        return;
    char *p = j->buf + j->len;
    *p++ = '"';
    memcpy(p, name, len);
    memcpy(p + len, "\":", 2);
    j->len += len + 3;
    j->comma = false;
}

void json_string(struct json *j, struct span s)
{
    separate(j);
    size_t start = j->len;
    json_raw(j, "\"", 1);
    json_raw_escaped(j, s);
    json_raw(j, "\"", 1);
    if (j->truncated)
        j->cap = j->len = j->len < start ? j->len : start;
}

void json_cstring(struct json *j, const char *s)
{
    json_string(j, span_str(s));
}

void json_u64(struct json *j, uint64_t v)
{
    separate(j);
    json_raw_u64(j, v);
}

void json_number(struct json *j, struct span digits)
{
    separate(j);
    json_raw(j, digits.ptr, digits.len);
}

void json_i64(struct json *j, int64_t v)
{
    char text[20];
    struct json number;
    json_init(&number, text, sizeof text);
    if (v < 0)
        json_raw(&number, "-", 1);
    json_raw_u64(&number, v < 0 ? -(uint64_t)v : (uint64_t)v);
    separate(j);
    json_raw(j, text, number.len);
}

void json_bool(struct json *j, bool v)
{
    separate(j);
    json_raw(j, v ? "true" : "false", v ? 4 : 5);
}

void json_null(struct json *j)
{
    separate(j);
    json_raw(j, "null", 4);
}

void json_ms(struct json *j, uint64_t us)
{
    separate(j);
    json_raw_ms(j, us);
}

char *json_whole(void (*write)(struct json *, const void *ctx), const void *ctx, size_t *len)
{
    struct json j;
    for (size_t size = 16384;; size *= 2) {
        char *text = mem_need(malloc(size));
        json_init(&j, text, size);
        write(&j, ctx);
        *len = j.len;
        if (!json_truncated(&j))
            return text;
        free(text);
    }
}
