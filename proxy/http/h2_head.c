/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The meaning of an HTTP/2 head. Owns nothing; what it copies is held by the caller's chain. Conn's
 * thread.
 */
#include "proxy/http/h2_head.h"

#include "proxy/base/check.h"
#include "proxy/http/target.h"

/* ---- text ---- */

/* Room for n bytes, held by the head's chain once text_used says how many were used. */
static char *text_room(struct h2_reading *in, size_t n)
{
    struct block *b = *in->block;
    if (b == NULL || block_room(b) < n) {
        bool big = n > BLOCK_BYTES - sizeof(struct block);
        if (n > BLOCK_BIG_BYTES - sizeof(struct block))
            return NULL;
        block_drop(b);
        b = *in->block = block_get(in->pool, big);
    }
    return b->data + b->used;
}

static struct span text_used(struct h2_reading *in, char *at, size_t n)
{
    struct block *b = *in->block;
    DCHECK(at == b->data + b->used);
    b->used += (uint32_t)n;
    chain_append(in->text, b, at, n);
    return span_of(at, n);
}

static struct span text_keep(struct h2_reading *in, struct h2_text text)
{
    if (text.lasting || text.span.len == 0)
        return span_of(text.span.len > 0 ? text.span.ptr : "", text.span.len);
    char *at = text_room(in, text.span.len);
    if (at == NULL) {
        in->error = REASON_HEAD_TOO_LARGE;
        return span_of("", 0);
    }
    memcpy(at, text.span.ptr, text.span.len);
    return text_used(in, at, text.span.len);
}

/* ---- reading ---- */

void h2_read_begin(struct h2_reading *in, bool request, bool trailers)
{
    struct http_head *head = in->head;
    in->scheme = in->path = in->protocol = in->status = in->host = in->authority = span_of("", 0);
    in->bytes = in->crumbs = 0;
    in->error = REASON_NONE;
    in->has_protocol = in->has_host = false;
    in->trailers = trailers;
    head->version = 20;
    head->minor = 1;
    if (request && !trailers) {
        http_head_add(head, FIELD_HOST, SPAN_LIT("Host"), span_of("", 0));
        head->fields[0].flags = FIELD_DROPPED;
    }
}

static void read_pseudo(struct h2_reading *in, struct span name, struct span value)
{
    if (span_eq(name, SPAN_LIT(":method"))) {
        http_head_method(in->head, value);
    } else if (span_eq(name, SPAN_LIT(":scheme"))) {
        in->scheme = value;
    } else if (span_eq(name, SPAN_LIT(":path"))) {
        in->path = value;
    } else if (span_eq(name, SPAN_LIT(":authority"))) {
        in->authority = value;
    } else if (span_eq(name, SPAN_LIT(":protocol"))) {
        in->protocol = value;
        in->has_protocol = true;
    } else if (span_eq(name, SPAN_LIT(":status"))) {
        in->status = value;
    } else {
        in->error = REASON_BAD_FIELD;
    }
}

static enum reason read_length(struct http_head *head, struct span value)
{
    uint64_t n = 0;
    if (head->body == BODY_LENGTH || value.len == 0 || value.len > 18)
        return REASON_BAD_CONTENT_LENGTH;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return REASON_BAD_CONTENT_LENGTH;
        n = n * 10 + (uint64_t)(value.ptr[i] - '0');
    }
    head->content_length = n;
    head->body = BODY_LENGTH;
    return REASON_NONE;
}

static bool is_host(enum field_id id, const struct h2_reading *in)
{
    return id == FIELD_HOST && in->head->n_fields > 0 && in->head->fields[0].id == FIELD_HOST &&
           !in->trailers;
}

/* Host is told apart from the rest; its place is in front. */
static void read_host(struct h2_reading *in, struct span value)
{
    if (in->has_host)
        in->error = REASON_BAD_HOST;
    in->has_host = true;
    in->host = value;
}

void h2_read_field(struct h2_reading *in, struct h2_text name, struct h2_text value, bool secret)
{
    struct http_head *head = in->head;
    in->bytes += name.span.len + value.span.len + 4;
    if (in->bytes > in->limits->header_bytes && in->error == REASON_NONE)
        in->error = REASON_HEAD_TOO_LARGE;
    if (in->error != REASON_NONE)
        return;
    bool pseudo = name.span.len > 0 && name.span.ptr[0] == ':';
    enum field_id id = pseudo ? FIELD_OTHER : field_lookup(name.span);
    bool cookie = !pseudo && span_eq(name.span, SPAN_LIT("cookie"));
    unsigned others = head->n_fields - (in->crumbs > 1 ? in->crumbs - 1 : 0);
    if (!pseudo && !is_host(id, in) &&
        (head->n_fields >= HTTP_MAX_FIELDS ||
         (others >= in->limits->headers && !(cookie && in->crumbs > 0)))) {
        in->error = REASON_TOO_MANY_FIELDS;
        return;
    }
    struct span kept = text_keep(in, value);
    if (in->error != REASON_NONE)
        return;
    if (pseudo) {
        read_pseudo(in, name.span, kept);
    } else if (is_host(id, in)) {
        read_host(in, kept);
    } else {
        if (id == FIELD_CONTENT_LENGTH && !in->trailers)
            in->error = (uint16_t)read_length(head, kept);
        in->crumbs += cookie;
        struct span kept_name = text_keep(in, name);
        if (in->error != REASON_NONE)
            return;
        http_head_add(head, id, kept_name, kept);
        if (secret)
            head->fields[head->n_fields - 1].flags = FIELD_SECRET;
    }
}

static bool is_cookie(const struct http_field *f)
{
    return f->id == FIELD_OTHER && span_eq(field_name(f), SPAN_LIT("cookie"));
}

/* One Cookie field of all crumbs, where the first stood (RFC 9113 section 8.2.3). */
static void join_cookies(struct h2_reading *in)
{
    struct http_head *head = in->head;
    struct http_field *first = NULL;
    unsigned kept = 0;
    if (in->crumbs < 2)
        return;
    char *room = text_room(in, in->bytes); /* within limits.header_bytes: more than enough */
    if (room == NULL) {
        in->error = REASON_HEAD_TOO_LARGE;
        return;
    }
    char *at = room;
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http_field f = head->fields[i];
        if (!is_cookie(&f)) {
            head->fields[kept++] = f;
            continue;
        }
        if (first == NULL) {
            first = &head->fields[kept++];
            *first = f;
        } else {
            at = (char *)memcpy(at, "; ", 2) + 2;
            first->flags |= f.flags;
        }
        if (f.value_len > 0)
            at = (char *)memcpy(at, f.value, f.value_len) + f.value_len;
    }
    head->n_fields = (uint16_t)kept;
    CHECK(first != NULL && (size_t)(at - room) <= in->bytes); /* there are two crumbs */
    struct span joined = text_used(in, room, (size_t)(at - room));
    first->value = joined.ptr;
    first->value_len = (uint32_t)joined.len;
}

/* :authority wins; a Host that says something else makes the request malformed (RFC 9113 section
 * 8.3.1). */
static enum reason check_authority(struct h2_reading *in)
{
    struct http_head *head = in->head;
    struct span host = in->authority.len > 0 ? in->authority : in->host;
    if (host.len == 0)
        return REASON_MISSING_HOST;
    if (!host_valid(host, false) || (in->has_host && !span_eq_nocase(in->host, host)))
        return REASON_BAD_HOST;
    head->authority = host;
    head->fields[0].value = host.ptr;
    head->fields[0].value_len = (uint32_t)host.len;
    head->fields[0].flags = 0;
    return REASON_NONE;
}

static enum reason check_path(struct h2_reading *in)
{
    struct http_head *head = in->head;
    struct target t;
    bool options = span_eq(head->method, SPAN_LIT("OPTIONS"));
    head->target = in->path;
    if (in->path.len > in->limits->target_bytes)
        return REASON_TARGET_TOO_LONG;
    if (in->path.len == 0 || (in->path.ptr[0] != '/' && !span_eq(in->path, SPAN_LIT("*"))))
        return REASON_BAD_TARGET;
    if (!span_eq_nocase(in->scheme, SPAN_LIT("http")) &&
        !span_eq_nocase(in->scheme, SPAN_LIT("https")))
        return REASON_BAD_TARGET;
    char *scratch = text_room(in, in->path.len);
    if (scratch == NULL)
        return REASON_TARGET_TOO_LONG;
    if (target_parse(in->path, false, options, scratch, in->path.len, &t) != TARGET_OK)
        return REASON_BAD_TARGET;
    if (t.path.ptr >= scratch && t.path.ptr < scratch + in->path.len)
        text_used(in, scratch, in->path.len); /* it may begin anywhere in it */
    head->path = t.path;
    head->query = t.query;
    head->has_query = t.has_query;
    return REASON_NONE;
}

/* The methods that HTTP/1 upstreams can be told, as with HTTP/1 clients. */
static enum reason check_method(struct span method)
{
    static const struct span known[] = {
#define X(num, name, string) {#string, sizeof(#string) - 1},
        HTTP_METHOD_MAP(X)
#undef X
    };
    if (!token_valid(method))
        return REASON_BAD_REQUEST_LINE;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (span_eq(method, known[i]))
            return REASON_NONE;
    return REASON_UNKNOWN_METHOD;
}

/* An extended CONNECT asks for what an Upgrade field of a GET asks for. */
static enum reason read_upgrade(struct h2_reading *in)
{
    struct http_head *head = in->head;
    if (!token_valid(in->protocol) || !http_may_upgrade(in->protocol))
        return REASON_BAD_FIELD;
    http_head_method(head, SPAN_LIT("GET"));
    head->upgrade = in->protocol;
    http_head_drop(head, FIELD_CONTENT_LENGTH);
    head->content_length = 0;
    head->body = BODY_NONE;
    return REASON_NONE;
}

static void settle_body(struct http_head *head, bool end_stream)
{
    if (head->body == BODY_LENGTH)
        return;
    head->body = end_stream ? BODY_NONE : BODY_CHUNKED;
}

enum reason h2_read_request(struct h2_reading *in, bool end_stream)
{
    struct http_head *head = in->head;
    enum reason bad = (enum reason)in->error;
    if (bad == REASON_NONE)
        bad = check_authority(in);
    if (bad == REASON_NONE && head->is_connect && !in->has_protocol)
        return REASON_CONNECT_METHOD;
    if (bad == REASON_NONE)
        bad = check_method(head->method);
    if (bad == REASON_NONE)
        bad = check_path(in);
    if (bad != REASON_NONE)
        return bad;
    join_cookies(in);
    settle_body(head, end_stream);
    if (in->has_protocol && (bad = read_upgrade(in)) != REASON_NONE)
        return bad;
    struct http_field *expect = http_head_find(head, FIELD_EXPECT);
    head->expect_continue = expect != NULL && head->body != BODY_NONE &&
                            span_eq_nocase(field_value(expect), SPAN_LIT("100-continue"));
    if (head->body == BODY_LENGTH && head->content_length > in->limits->body_bytes)
        return REASON_BODY_TOO_LARGE;
    return (enum reason)in->error;
}

enum reason h2_read_response(struct h2_reading *in, bool to_head, bool end_stream)
{
    struct http_head *head = in->head;
    struct span s = in->status;
    if (in->error == REASON_HEAD_TOO_LARGE || in->error == REASON_TOO_MANY_FIELDS)
        return REASON_RESPONSE_HEAD_TOO_LARGE;
    if (in->error != REASON_NONE || s.len != 3)
        return REASON_BAD_RESPONSE;
    unsigned status = 0;
    for (size_t i = 0; i < 3; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return REASON_BAD_RESPONSE;
        status = status * 10 + (unsigned)(s.ptr[i] - '0');
    }
    if (status < 100 || status > 599 || status == 101)
        return REASON_BAD_RESPONSE;
    head->status = (uint16_t)status;
    head->phrase = http_status_phrase(status);
    settle_body(head, end_stream);
    if (to_head || status < 200 || status == 204 || status == 304)
        head->body = BODY_NONE;
    else if (end_stream && head->body == BODY_LENGTH && head->content_length > 0)
        return REASON_BAD_RESPONSE;
    return REASON_NONE;
}

enum reason h2_read_trailers(struct h2_reading *in)
{
    return (enum reason)in->error;
}

/* ---- writing ---- */

static nghttp2_nv nv_of(struct span name, struct span value)
{
    return (nghttp2_nv){
        .name = (uint8_t *)(uintptr_t)name.ptr,
        .value = (uint8_t *)(uintptr_t)(value.len > 0 ? value.ptr : ""),
        .namelen = name.len,
        .valuelen = value.len,
    };
}

/* A name of ours, which lasts and is in lower case. */
static nghttp2_nv nv_named(struct span name, struct span value)
{
    nghttp2_nv nv = nv_of(name, value);
    nv.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    return nv;
}

static nghttp2_nv nv_of_field(const struct http_field *f)
{
    nghttp2_nv nv = f->id != FIELD_OTHER ? nv_named(field_text(f->id), field_value(f))
                                         : nv_of(field_name(f), field_value(f));
    if (f->flags & FIELD_SECRET || field_varies(f->id))
        nv.flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    return nv;
}

/* Has HTTP/2 a place for it? */
static bool field_speaks_h2(const struct http_field *f)
{
    switch (f->id) {
    case FIELD_CONNECTION:
    case FIELD_KEEP_ALIVE:
    case FIELD_PROXY_CONNECTION:
    case FIELD_TRANSFER_ENCODING:
    case FIELD_UPGRADE:
    case FIELD_HTTP2_SETTINGS:
    case FIELD_HOST:
        return false;
    case FIELD_TE:
        return span_eq_nocase(field_value(f), SPAN_LIT("trailers"));
    default:
        return true;
    }
}

size_t h2_write_fields(const struct http_head *head, nghttp2_nv *nv)
{
    size_t n = 0;
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *f = &head->fields[i];
        if (!(f->flags & FIELD_DROPPED) && field_speaks_h2(f))
            nv[n++] = nv_of_field(f);
    }
    return n;
}

size_t h2_write_response(const struct http_head *head, nghttp2_nv *nv, char digits[3])
{
    digits[0] = (char)('0' + head->status / 100 % 10);
    digits[1] = (char)('0' + head->status / 10 % 10);
    digits[2] = (char)('0' + head->status % 10);
    nv[0] = nv_named(SPAN_LIT(":status"), span_of(digits, 3));
    return 1 + h2_write_fields(head, nv + 1);
}

static struct span put_path(const struct http_head *head, char *at)
{
    char *start = at;
    memcpy(at, head->path.ptr, head->path.len);
    at += head->path.len;
    if (head->has_query) {
        *at++ = '?';
        if (head->query.len > 0)
            memcpy(at, head->query.ptr, head->query.len);
        at += head->query.len;
    }
    return span_of(start, (size_t)(at - start));
}

size_t h2_write_request(const struct http_head *head, struct span scheme, nghttp2_nv *nv,
                        char *path)
{
    size_t n = 0;
    struct span authority = head->authority;
    bool extended = head->upgrade.len > 0;
    for (unsigned i = 0; i < head->n_fields; i++)
        if (head->fields[i].id == FIELD_HOST && !(head->fields[i].flags & FIELD_DROPPED))
            authority = field_value(&head->fields[i]);
    nv[n++] = nv_named(SPAN_LIT(":method"), extended ? SPAN_LIT("CONNECT") : head->method);
    nv[n++] = nv_named(SPAN_LIT(":scheme"), scheme);
    if (authority.len > 0)
        nv[n++] = nv_named(SPAN_LIT(":authority"), authority);
    nv[n++] = nv_named(SPAN_LIT(":path"), put_path(head, path));
    if (extended)
        nv[n++] = nv_named(SPAN_LIT(":protocol"), head->upgrade);
    return n + h2_write_fields(head, nv + n);
}

struct h2_trailers *h2_trailers_copy(struct recycle *pieces, const struct http_head *head)
{
    nghttp2_nv nv[H2_NV_MAX];
    size_t n = head != NULL ? h2_write_fields(head, nv) : 0, bytes = 0;
    if (n == 0)
        return NULL;
    for (size_t i = 0; i < n; i++)
        bytes += nv[i].namelen + nv[i].valuelen;
    struct h2_trailers *t = mem_need(recycle_get(pieces, sizeof(*t) + n * sizeof(nv[0]) + bytes));
    uint8_t *at = (uint8_t *)(t->nv + n);
    t->n = n;
    for (size_t i = 0; i < n; i++) {
        t->nv[i] = nv[i];
        if (!(nv[i].flags & NGHTTP2_NV_FLAG_NO_COPY_NAME)) {
            t->nv[i].name = memcpy(at, nv[i].name, nv[i].namelen);
            at += nv[i].namelen;
        }
        t->nv[i].value = memcpy(at, nv[i].value, nv[i].valuelen);
        at += nv[i].valuelen;
    }
    return t;
}
