/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request targets and hosts, by one table of byte classes. A target that is in normal form already,
 * as nearly all are, is only looked at; the first octet that is not starts a copy into scratch.
 * Pure, owns nothing, any thread; no input is trusted.
 */
#include "proxy/http/target.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "proxy/base/check.h"

enum {
    UNRESERVED = 1, /* ALPHA DIGIT - . _ ~ */
    SUB_DELIM = 2,
    PCHAR_REST = 4, /* ':' and '@', that a pchar may be beyond the two above */
    SLASH = 8,
    QUESTION = 16,
    HEX = 32,
    DOT = 64,
    PLAIN = 128, /* may stand anywhere in a path: needs no look */
};

#define PCHAR_PLAIN (UNRESERVED | SUB_DELIM | PCHAR_REST)
#define QUERY_PLAIN (PCHAR_PLAIN | SLASH | QUESTION)
#define NAME_PLAIN  (UNRESERVED | SUB_DELIM)

/* clang-format off */
static const uint8_t classes[256] = {
    ['0' ... '9'] = PLAIN | UNRESERVED | HEX,
    ['A' ... 'F'] = PLAIN | UNRESERVED | HEX, ['G' ... 'Z'] = PLAIN | UNRESERVED,
    ['a' ... 'f'] = PLAIN | UNRESERVED | HEX, ['g' ... 'z'] = PLAIN | UNRESERVED,
    ['-'] = PLAIN | UNRESERVED, ['_'] = PLAIN | UNRESERVED, ['~'] = PLAIN | UNRESERVED,
    ['.'] = UNRESERVED | DOT,
    ['!'] = PLAIN | SUB_DELIM, ['$'] = PLAIN | SUB_DELIM, ['&'] = PLAIN | SUB_DELIM,
    ['\''] = PLAIN | SUB_DELIM, ['('] = PLAIN | SUB_DELIM, [')'] = PLAIN | SUB_DELIM,
    ['*'] = PLAIN | SUB_DELIM, ['+'] = PLAIN | SUB_DELIM, [','] = PLAIN | SUB_DELIM,
    [';'] = PLAIN | SUB_DELIM, ['='] = PLAIN | SUB_DELIM,
    [':'] = PLAIN | PCHAR_REST, ['@'] = PLAIN | PCHAR_REST, ['/'] = PLAIN | SLASH,
    ['?'] = QUESTION,
};
/* clang-format on */

static uint8_t class_of(char c)
{
    return classes[(unsigned char)c];
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex_pair(const char *p, const char *end)
{
    return end - p >= 2 && (class_of(p[0]) & HEX) && (class_of(p[1]) & HEX);
}

static unsigned hex_value(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : (unsigned)((c | 0x20) - 'a' + 10);
}

static char hex_byte(const char *p)
{
    return (char)(hex_value(p[0]) << 4 | hex_value(p[1]));
}

static char hex_upper(char c)
{
    return c >= 'a' ? (char)(c - 0x20) : c;
}

/* The triplet whose digits are at p is in normal form: not an unreserved octet, upper case. */
static bool triplet_is_normal(const char *p)
{
    return p[0] < 'a' && p[1] < 'a' && !(class_of(hex_byte(p)) & UNRESERVED);
}

/* p is at a dot that follows a slash: is the segment "." or ".."? One with an encoded dot is found
 * by the copy, which the triplet starts: no triplet that decodes to a dot is normal. */
static bool is_dot_segment(const char *p, const char *end)
{
    p++;
    if (p < end && *p == '.')
        p++;
    return p == end || *p == '/' || *p == '?';
}

/* Walks the part of a path, from its '/', that is in normal form. */
static const char *scan_normal(const char *p, const char *end)
{
    for (; p < end; p++) {
        uint8_t class = class_of(*p);
        if (class & PLAIN)
            continue;
        if (class & DOT) {
            if (p[-1] == '/' && is_dot_segment(p, end))
                return p;
        } else if (*p == '%' && is_hex_pair(p + 1, end) && triplet_is_normal(p + 1)) {
            p += 2;
        } else {
            return p;
        }
    }
    return p;
}

/* A path being copied: out[0] is '/', segment is where the last one begins. */
struct copy {
    char *out;
    size_t len, segment;
};

/* Takes a dot segment that has just ended back (RFC 3986 section 5.2.4); the text then ends with
 * the slash before it, or for ".." with the one before its parent. False if it was no dot segment.
 */
static bool drop_dot_segment(struct copy *c)
{
    size_t n = c->len - c->segment;
    const char *s = c->out + c->segment;
    if (n == 0 || n > 2 || s[0] != '.' || s[n - 1] != '.')
        return false;
    c->len = c->segment;
    if (n == 2 && c->len > 1) {
        c->len--;
        while (c->out[c->len - 1] != '/')
            c->len--;
        c->segment = c->len;
    }
    return true;
}

static void end_segment(struct copy *c, bool slash)
{
    if (drop_dot_segment(c) || !slash)
        return;
    c->out[c->len++] = '/';
    c->segment = c->len;
}

/*
 * Copies the path [path, end) in normal form; up to rest it is known to be normal. Returns where
 * the path ends: at end, or at the first byte that no path may hold (a '?' is one). Never writes
 * more than it has read.
 */
static const char *copy_normal(struct copy *c, const char *path, const char *rest, const char *end)
{
    memcpy(c->out, path, (size_t)(rest - path));
    c->len = (size_t)(rest - path);
    c->segment = c->len;
    while (c->out[c->segment - 1] != '/')
        c->segment--;
    const char *p = rest;
    for (; p < end; p++) {
        if (*p == '/') {
            end_segment(c, true);
        } else if (class_of(*p) & PCHAR_PLAIN) {
            c->out[c->len++] = *p;
        } else if (*p == '%' && is_hex_pair(p + 1, end)) {
            char byte = hex_byte(p + 1), high = hex_upper(p[1]), low = hex_upper(p[2]);
            p += 2;
            if (class_of(byte) & UNRESERVED) {
                c->out[c->len++] = byte;
                continue;
            }
            c->out[c->len++] = '%';
            c->out[c->len++] = high;
            c->out[c->len++] = low;
        } else {
            break;
        }
    }
    end_segment(c, false);
    return p;
}

static enum target_error bad_byte(char c)
{
    return c == '%' ? TARGET_ERR_PERCENT : TARGET_ERR_BYTE;
}

static enum target_error check_query(struct span query)
{
    const char *end = query.ptr + query.len;
    for (const char *p = query.ptr; p < end; p++) {
        if (class_of(*p) & QUERY_PLAIN)
            continue;
        if (*p != '%' || !is_hex_pair(p + 1, end))
            return bad_byte(*p);
        p += 2;
    }
    return TARGET_OK;
}

/* text begins with '/': path-abempty [ "?" query ]. */
static enum target_error parse_path(struct span text, char *scratch, size_t scratch_len,
                                    struct target *out)
{
    const char *end = text.ptr + text.len;
    const char *stop = scan_normal(text.ptr, end);
    out->path = span_of(text.ptr, (size_t)(stop - text.ptr));
    if (stop < end && *stop != '?') {
        if (scratch_len < text.len)
            return TARGET_ERR_SCRATCH;
        struct copy c = {.out = scratch};
        stop = copy_normal(&c, text.ptr, stop, end);
        out->path = span_of(c.out, c.len);
    }
    if (stop == end)
        return TARGET_OK;
    if (*stop != '?')
        return bad_byte(*stop);
    out->has_query = true;
    out->query = span_of(stop + 1, (size_t)(end - stop - 1));
    return check_query(out->query);
}

/* digits only, at most 65535; with *value the number. */
static bool parse_port(struct span text, unsigned *value)
{
    *value = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_digit(text.ptr[i]))
            return false;
        *value = *value * 10 + (unsigned)(text.ptr[i] - '0');
        if (*value > 65535)
            return false;
    }
    return true;
}

static bool is_ipv6(struct span text)
{
    char buf[INET6_ADDRSTRLEN];
    struct in6_addr addr;
    if (text.len >= sizeof buf || memchr(text.ptr, 0, text.len))
        return false;
    memcpy(buf, text.ptr, text.len);
    buf[text.len] = 0;
    return inet_pton(AF_INET6, buf, &addr) == 1;
}

/* The length of the bracketed IPv6 address that host begins with; 0: not a valid one. */
static size_t literal_len(struct span host)
{
    const char *close = memchr(host.ptr, ']', host.len);
    if (!close || !is_ipv6(span_of(host.ptr + 1, (size_t)(close - host.ptr - 1))))
        return 0;
    return (size_t)(close - host.ptr + 1);
}

/* The length of the reg-name that host begins with. A dotted address is one by its bytes. */
static size_t reg_name_len(struct span host)
{
    const char *p = host.ptr, *end = host.ptr + host.len;
    for (; p < end; p++) {
        if (class_of(*p) & NAME_PLAIN)
            continue;
        if (*p != '%' || !is_hex_pair(p + 1, end))
            break;
        p += 2;
    }
    return (size_t)(p - host.ptr);
}

/* host is uri-host [ ":" port ] with a non-empty uri-host. */
static bool split_host(struct span host, struct span *name, bool *has_port, unsigned *port)
{
    size_t n = 0;
    if (host.len)
        n = host.ptr[0] == '[' ? literal_len(host) : reg_name_len(host);
    *name = span_of(host.ptr, n);
    if (n == 0)
        return false;
    if (n == host.len) {
        *has_port = false;
        return true;
    }
    struct span digits = span_of(host.ptr + n + 1, host.len - n - 1);
    *has_port = digits.len > 0;
    return host.ptr[n] == ':' && parse_port(digits, port);
}

bool host_valid(struct span host, bool allow_empty)
{
    struct span name;
    bool has_port;
    unsigned port;
    if (host.len == 0)
        return allow_empty;
    return split_host(host, &name, &has_port, &port);
}

struct span host_name(struct span host)
{
    size_t n = host.len;
    while (n > 0 && is_digit(host.ptr[n - 1]))
        n--;
    /* A reg-name holds no colon, and an IPv6 address ends with its bracket. */
    return n > 0 && host.ptr[n - 1] == ':' ? span_of(host.ptr, n - 1) : host;
}

static enum target_error parse_authority_form(struct span raw, struct target *out)
{
    struct span name;
    bool has_port;
    unsigned port;
    out->form = TARGET_AUTHORITY;
    out->authority = raw;
    if (raw.ptr[0] == '/' || raw.ptr[0] == '*')
        return TARGET_ERR_FORM;
    /* RFC 9110 section 9.3.6: an empty or invalid port is refused; there is no port 0. */
    if (!split_host(raw, &name, &has_port, &port) || !has_port || port == 0)
        return TARGET_ERR_AUTHORITY;
    return TARGET_OK;
}

/* Takes the scheme and "://" off. */
static enum target_error take_scheme(struct span *raw, struct span *scheme)
{
    static const struct span http = {"http", 4}, https = {"https", 5};
    const char *colon = memchr(raw->ptr, ':', raw->len);
    if (!colon)
        return TARGET_ERR_FORM;
    struct span name = span_of(raw->ptr, (size_t)(colon - raw->ptr));
    struct span rest = span_of(colon + 1, raw->len - name.len - 1);
    if (!span_starts(rest, SPAN_LIT("//")))
        return TARGET_ERR_FORM;
    if (span_eq_nocase(name, http))
        *scheme = http;
    else if (span_eq_nocase(name, https))
        *scheme = https;
    else
        return TARGET_ERR_SCHEME;
    *raw = span_of(rest.ptr + 2, rest.len - 2);
    return TARGET_OK;
}

/* Takes the authority off, up to the first '/', '?' or '#'. */
static struct span take_authority(struct span *raw)
{
    size_t n = 0;
    while (n < raw->len && raw->ptr[n] != '/' && raw->ptr[n] != '?' && raw->ptr[n] != '#')
        n++;
    struct span authority = span_of(raw->ptr, n);
    *raw = span_of(raw->ptr + n, raw->len - n);
    return authority;
}

static enum target_error parse_absolute(struct span raw, bool is_options, char *scratch,
                                        size_t scratch_len, struct target *out)
{
    enum target_error error = take_scheme(&raw, &out->scheme);
    if (error)
        return error;
    out->form = TARGET_ABSOLUTE;
    out->authority = take_authority(&raw);
    if (!host_valid(out->authority, false))
        return TARGET_ERR_AUTHORITY;
    if (raw.len == 0 && is_options) {
        out->form = TARGET_ASTERISK;
        out->path = SPAN_LIT("*");
        return TARGET_OK;
    }
    if (raw.len > 0 && raw.ptr[0] == '/')
        return parse_path(raw, scratch, scratch_len, out);
    out->path = SPAN_LIT("/");
    if (raw.len == 0)
        return TARGET_OK;
    if (raw.ptr[0] != '?')
        return TARGET_ERR_BYTE;
    out->has_query = true;
    out->query = span_of(raw.ptr + 1, raw.len - 1);
    return check_query(out->query);
}

enum target_error target_parse(struct span raw, bool is_connect, bool is_options, char *scratch,
                               size_t scratch_len, struct target *out)
{
    *out = (struct target){.form = TARGET_ORIGIN};
    if (raw.len == 0)
        return TARGET_ERR_EMPTY;
    if (is_connect)
        return parse_authority_form(raw, out);
    if (raw.ptr[0] == '/')
        return parse_path(raw, scratch, scratch_len, out);
    if (raw.ptr[0] != '*' || raw.len > 1)
        return parse_absolute(raw, is_options, scratch, scratch_len, out);
    out->form = TARGET_ASTERISK;
    out->path = raw;
    return is_options ? TARGET_OK : TARGET_ERR_FORM;
}

const char *target_error_text(enum target_error error)
{
    static const char *const texts[] = {
        [TARGET_OK] = "valid",
        [TARGET_ERR_EMPTY] = "empty request target",
        [TARGET_ERR_FORM] = "request target in a form this method may not have",
        [TARGET_ERR_SCHEME] = "scheme is neither http nor https",
        [TARGET_ERR_AUTHORITY] = "invalid authority in the request target",
        [TARGET_ERR_BYTE] = "byte outside the grammar of a request target",
        [TARGET_ERR_PERCENT] = "'%' without two hexadecimal digits",
        [TARGET_ERR_SCRATCH] = "request target too long to normalise",
    };
    return (size_t)error < ARRAY_LEN(texts) && texts[error] ? texts[error] : "invalid";
}
