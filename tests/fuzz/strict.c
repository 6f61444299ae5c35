/* SPDX-License-Identifier: Apache-2.0 */
/* The second reader. Owns the decoded body; must never include anything of weir's. Any thread. */
#include "tests/fuzz/strict.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct cursor {
    const char *at, *end;
    struct strict_msg *m;
    struct strict_options options;
};

static enum strict_verdict bad(struct cursor *c, const char *why)
{
    c->m->wrong = why;
    return STRICT_BAD;
}

static bool is_token(struct strict_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        char b = t.at[i];
        bool alnum = (b >= '0' && b <= '9') || (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z');
        if (!alnum && (b == '\0' || strchr("!#$%&'*+-.^_`|~", b) == NULL))
            return false;
    }
    return t.len > 0;
}

static bool is_text(struct strict_text t)
{
    for (size_t i = 0; i < t.len; i++) {
        unsigned char b = (unsigned char)t.at[i];
        if ((b < 0x20 && b != '\t') || b == 0x7f)
            return false;
    }
    return true;
}

static struct strict_text trim(struct strict_text t)
{
    while (t.len > 0 && (t.at[0] == ' ' || t.at[0] == '\t')) {
        t.at++;
        t.len--;
    }
    while (t.len > 0 && (t.at[t.len - 1] == ' ' || t.at[t.len - 1] == '\t'))
        t.len--;
    return t;
}

bool strict_is(struct strict_text text, const char *s)
{
    return text.len == strlen(s) && strncasecmp(text.at, s, text.len) == 0;
}

/* The next line, without its CRLF. A CR or LF that is not part of one is wrong. */
static enum strict_verdict line(struct cursor *c, struct strict_text *out)
{
    for (const char *p = c->at; p < c->end; p++) {
        if (*p == '\n')
            return bad(c, "a line ends in LF alone");
        if (*p != '\r')
            continue;
        if (p + 1 == c->end)
            return STRICT_MORE;
        if (p[1] != '\n')
            return bad(c, "a CR that no LF follows");
        *out = (struct strict_text){c->at, (size_t)(p - c->at)};
        c->at = p + 2;
        return STRICT_WHOLE;
    }
    return STRICT_MORE;
}

static enum strict_verdict fields(struct cursor *c, struct strict_field *to, size_t *n)
{
    struct strict_text l;
    enum strict_verdict v;
    while ((v = line(c, &l)) == STRICT_WHOLE && l.len > 0) {
        const char *colon = memchr(l.at, ':', l.len);
        if (colon == NULL)
            return bad(c, "a field without a colon");
        struct strict_field f = {
            {l.at, (size_t)(colon - l.at)},
            trim((struct strict_text){colon + 1, (size_t)(l.at + l.len - colon - 1)})};
        if (!is_token(f.name))
            return bad(c, "a field's name is no token");
        if (!is_text(f.value))
            return bad(c, "a field's value has a control character");
        if (*n == STRICT_FIELDS)
            return bad(c, "more fields than anybody sends");
        to[(*n)++] = f;
    }
    return v;
}

struct strict_text strict_field(const struct strict_msg *m, const char *name)
{
    struct strict_text found = {NULL, 0};
    for (size_t i = 0; i < m->n_fields; i++) {
        if (!strict_is(m->fields[i].name, name))
            continue;
        if (found.at != NULL)
            return (struct strict_text){NULL, 0};
        found = m->fields[i].value;
    }
    return found;
}

static size_t count(const struct strict_msg *m, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < m->n_fields; i++)
        n += strict_is(m->fields[i].name, name);
    return n;
}

/* Does a comma-separated field have the element? */
static bool names(const struct strict_msg *m, const char *field, const char *element)
{
    for (size_t i = 0; i < m->n_fields; i++) {
        if (!strict_is(m->fields[i].name, field))
            continue;
        struct strict_text v = m->fields[i].value;
        for (size_t start = 0, j = 0; j <= v.len; j++) {
            if (j < v.len && v.at[j] != ',')
                continue;
            if (strict_is(trim((struct strict_text){v.at + start, j - start}), element))
                return true;
            start = j + 1;
        }
    }
    return false;
}

static enum strict_verdict framing(struct cursor *c)
{
    struct strict_msg *m = c->m;
    size_t lengths = count(m, "content-length"), codings = count(m, "transfer-encoding");
    if (lengths + codings > 1)
        return bad(c, "the length is said twice");
    if (codings == 1) {
        if (m->minor == 0 || !strict_is(strict_field(m, "transfer-encoding"), "chunked"))
            return bad(c, "a transfer coding other than chunked");
        m->kind = STRICT_CHUNKED;
    } else if (lengths == 1) {
        struct strict_text v = strict_field(m, "content-length");
        if (v.len == 0 || v.len > 18)
            return bad(c, "no Content-Length");
        for (size_t i = 0; i < v.len; i++) {
            if (v.at[i] < '0' || v.at[i] > '9')
                return bad(c, "a Content-Length that is no number");
            m->length = m->length * 10 + (uint64_t)(v.at[i] - '0');
        }
        m->kind = STRICT_LENGTH;
    }
    return STRICT_WHOLE;
}

static void take(struct cursor *c, size_t n)
{
    memcpy(c->m->body + c->m->body_len, c->at, n);
    c->m->body_len += n;
    c->at += n;
}

static int hex(char b)
{
    const char *digits = "0123456789abcdef";
    const char *at = b != '\0' ? strchr(digits, b >= 'A' && b <= 'F' ? b | 0x20 : b) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* The size of a chunk: digits, and nothing else unless extensions are forgiven. */
static enum strict_verdict chunk_size(struct cursor *c, uint64_t *size)
{
    struct strict_text l;
    enum strict_verdict v = line(c, &l);
    size_t i = 0;
    if (v != STRICT_WHOLE)
        return v;
    for (*size = 0; i < l.len && hex(l.at[i]) >= 0; i++) {
        if (*size >> 60 != 0)
            return bad(c, "a chunk larger than a number");
        *size = *size << 4 | (uint64_t)hex(l.at[i]);
    }
    if (i == 0)
        return bad(c, "a chunk without a size");
    if (i < l.len && !(c->options.forgiving && strchr("; \t", l.at[i]) != NULL && l.at[i] != '\0'))
        return bad(c, "a chunk's size is followed by something");
    return STRICT_WHOLE;
}

static enum strict_verdict chunked(struct cursor *c)
{
    for (;;) {
        uint64_t size;
        enum strict_verdict v = chunk_size(c, &size);
        if (v != STRICT_WHOLE)
            return v;
        if (size == 0)
            return fields(c, c->m->trailers, &c->m->n_trailers);
        size_t there = (size_t)(c->end - c->at);
        take(c, size < there ? (size_t)size : there);
        if (size > there || c->end - c->at < 1)
            return STRICT_MORE;
        if (c->at[0] != '\r' || (c->end - c->at >= 2 && c->at[1] != '\n'))
            return bad(c, "a chunk that does not end where it says");
        if (c->end - c->at < 2)
            return STRICT_MORE;
        c->at += 2;
    }
}

static enum strict_verdict body(struct cursor *c)
{
    struct strict_msg *m = c->m;
    size_t there = (size_t)(c->end - c->at);
    switch (m->kind) {
    case STRICT_CHUNKED:
        return chunked(c);
    case STRICT_LENGTH:
        take(c, m->length < there ? (size_t)m->length : there);
        return m->body_len == m->length ? STRICT_WHOLE : STRICT_MORE;
    case STRICT_CLOSE:
        take(c, there);
        return c->options.ended ? STRICT_WHOLE : STRICT_MORE;
    default:
        return STRICT_WHOLE;
    }
}

static bool version(struct cursor *c, struct strict_text v)
{
    if (v.len != 8 || memcmp(v.at, "HTTP/1.", 7) != 0 || (v.at[7] != '0' && v.at[7] != '1'))
        return false;
    c->m->minor = v.at[7] == '1';
    return true;
}

static enum strict_verdict request_line(struct cursor *c)
{
    struct strict_text l;
    enum strict_verdict v;
    do
        v = line(c, &l);
    while (v == STRICT_WHOLE && l.len == 0 && c->options.forgiving);
    if (v != STRICT_WHOLE)
        return v;
    const char *end = l.at + l.len, *space = memchr(l.at, ' ', l.len);
    const char *then = space != NULL ? memchr(space + 1, ' ', (size_t)(end - space - 1)) : NULL;
    if (then == NULL)
        return bad(c, "a request line without three parts");
    c->m->method = (struct strict_text){l.at, (size_t)(space - l.at)};
    c->m->target = (struct strict_text){space + 1, (size_t)(then - space - 1)};
    if (!is_token(c->m->method) ||
        !version(c, (struct strict_text){then + 1, (size_t)(end - then - 1)}))
        return bad(c, "a request line with a wrong method or version");
    for (size_t i = 0; i < c->m->target.len; i++)
        if (c->m->target.at[i] <= ' ' || c->m->target.at[i] >= 0x7f)
            return bad(c, "a target with a character that is none");
    return c->m->target.len > 0 ? STRICT_WHOLE : bad(c, "no target");
}

static enum strict_verdict status_line(struct cursor *c)
{
    struct strict_text l;
    enum strict_verdict v = line(c, &l);
    if (v != STRICT_WHOLE)
        return v;
    if (l.len < 12 || !version(c, (struct strict_text){l.at, 8}) || l.at[8] != ' ' ||
        (l.len > 12 && l.at[12] != ' ') || !is_text(l))
        return bad(c, "a status line that is none");
    for (size_t i = 9; i < 12; i++) {
        if (l.at[i] < '0' || l.at[i] > '9')
            return bad(c, "a status that is no number");
        c->m->status = c->m->status * 10 + (unsigned)(l.at[i] - '0');
    }
    return c->m->status >= 100 && c->m->status < 600 ? STRICT_WHOLE : bad(c, "no status");
}

static struct cursor begin(const char *wire, size_t n, struct strict_options options,
                           struct strict_msg *m)
{
    m->method = m->target = (struct strict_text){NULL, 0};
    m->status = m->minor = 0;
    m->n_fields = m->n_trailers = m->body_len = m->len = 0;
    m->head = false;
    m->kind = STRICT_NONE;
    m->length = 0;
    m->wrong = NULL;
    m->body = malloc(n + 1);
    if (m->body == NULL)
        abort();
    return (struct cursor){wire, wire + n, m, options};
}

enum strict_verdict strict_request(const char *wire, size_t n, struct strict_options options,
                                   struct strict_msg *m)
{
    struct cursor c = begin(wire, n, options, m);
    enum strict_verdict v = request_line(&c);
    if (v == STRICT_WHOLE)
        v = fields(&c, m->fields, &m->n_fields);
    if (v == STRICT_WHOLE && count(m, "host") != 1 && (m->minor == 1 || count(m, "host") > 1))
        v = bad(&c, "not one Host");
    if (v == STRICT_WHOLE)
        v = framing(&c);
    if (v == STRICT_WHOLE) {
        m->head = true;
        v = body(&c);
    }
    m->len = (size_t)(c.at - wire);
    return v;
}

enum strict_verdict strict_response(const char *wire, size_t n, struct strict_options options,
                                    struct strict_msg *m)
{
    struct cursor c = begin(wire, n, options, m);
    enum strict_verdict v = status_line(&c);
    if (v == STRICT_WHOLE)
        v = fields(&c, m->fields, &m->n_fields);
    if (v == STRICT_WHOLE && m->status == 101 &&
        (!options.to_upgrade || !names(m, "connection", "upgrade") || count(m, "upgrade") == 0))
        v = bad(&c, "an upgrade that nobody asked for");
    if (v == STRICT_WHOLE && m->status != 101)
        v = framing(&c);
    if (v == STRICT_WHOLE) {
        m->head = true;
        if (m->status == 101)
            m->kind = STRICT_TUNNEL;
        else if (options.to_head || m->status < 200 || m->status == 204 || m->status == 304)
            m->kind = STRICT_NONE;
        else if (m->kind == STRICT_NONE)
            m->kind = STRICT_CLOSE;
        v = body(&c);
    }
    m->len = (size_t)(c.at - wire);
    return v;
}

void strict_free(struct strict_msg *m)
{
    free(m->body);
    m->body = NULL;
}
