/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The incremental HTTP/1 parser. Owns the heads it fills until they are taken, and the slices of
 * the body; must never call up, and never believes llhttp where a check of its own is cheap.
 */
#include "proxy/http/h1_parser.h"

#include <string.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_head.h"

#define EXTENSIONS_MAX 4096 /* bytes of chunk extensions in one message: nobody uses them */
#define EMPTY_MAX      64   /* bytes of empty lines before a request */
#define COMPACT_MAX    256  /* smaller pieces of a chunked body are moved together */

static int fail(struct h1_parser *p, enum reason reason)
{
    if (p->error == REASON_NONE)
        p->error = (uint16_t)reason;
    return HPE_USER;
}

/* A client's mistake has its own reason; whatever is wrong with a response is a bad response. */
static int fail_field(struct h1_parser *p, enum reason reason)
{
    return fail(p, p->response ? REASON_BAD_RESPONSE : reason);
}

static struct http_head *head_new(struct h1_parser *p)
{
    struct http_head *head = slab_get(p->heads);
    CHECK(head != NULL);
    http_head_init(head);
    return head;
}

/* ---- what llhttp reports ---- */

static struct http_head *filling(const struct h1_parser *p)
{
    return p->head_done ? p->trailers : p->head;
}

/* llhttp versions differ in how they treat a lone LF or a folded line, so look at the bytes: a
 * field begins right after CRLF. The two bytes before it are in the block, for the head began. */
static bool begins_line(const struct h1_parser *p, const char *at)
{
    return at - 2 >= p->block->data && at[-1] == '\n' && at[-2] == '\r';
}

static int on_field(llhttp_t *ll, const char *at, size_t len)
{
    struct h1_parser *p = ll->data;
    if (p->head_done && p->trailers == NULL) {
        p->trailers = head_new(p);
        p->start = at;
        p->in_value = true;
    }
    struct http_head *head = filling(p);
    if (p->in_value || head->n_fields == 0) {
        if (p->start != at && !begins_line(p, at))
            return fail_field(p, REASON_BAD_LINE_ENDING);
        if (head->n_fields >= p->limits->headers || head->n_fields >= HTTP_MAX_FIELDS)
            return fail(p, p->response ? REASON_RESPONSE_HEAD_TOO_LARGE : REASON_TOO_MANY_FIELDS);
        p->in_value = false;
        head->fields[head->n_fields++] = (struct http_field){.name = at};
    }
    struct http_field *f = &head->fields[head->n_fields - 1];
    if (f->name + f->name_len != at || f->name_len + len > UINT16_MAX)
        return fail_field(p, REASON_BAD_FIELD);
    f->name_len = (uint16_t)(f->name_len + len);
    return 0;
}

static int on_value(llhttp_t *ll, const char *at, size_t len)
{
    struct h1_parser *p = ll->data;
    struct http_head *head = filling(p);
    struct http_field *f = &head->fields[head->n_fields - 1];
    if (!p->in_value) {
        p->in_value = true;
        f->value = at;
    }
    if (f->value + f->value_len != at) /* a value in two pieces is a folded one */
        return fail_field(p, REASON_BAD_FIELD);
    f->value_len += (uint32_t)len;
    return 0;
}

static void finish_fields(struct http_head *head)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        struct http_field *f = &head->fields[i];
        struct span value = span_trim(field_value(f));
        f->value = value.ptr != NULL ? value.ptr : "";
        f->value_len = (uint32_t)value.len;
        f->id = (uint8_t)field_lookup(field_name(f));
    }
}

/* The status line lies between the start and the first CR; llhttp has seen it, but forgivingly. */
static enum reason check_status(struct h1_parser *p)
{
    const char *end = memchr(p->start, '\r', (size_t)(p->end - p->start));
    if (end == NULL)
        return REASON_BAD_RESPONSE;
    return h1_check_status_line(span_of(p->start, (size_t)(end - p->start)), p->head);
}

/* Is the complete head or trailer section, up to and with its empty line, over the limit? That line
 * comes soon after the last value; llhttp places an empty value behind the CRLF, hence the two
 * bytes back. */
static bool section_too_large(const struct h1_parser *p, const struct http_head *head)
{
    const char *last = p->start;
    if ((size_t)(p->end - p->start) <= p->limits->header_bytes)
        return false; /* nor is all that there is */
    if (head->n_fields > 0) {
        const struct http_field *f = &head->fields[head->n_fields - 1];
        last = f->value != NULL ? f->value + f->value_len - 2 : f->name + f->name_len;
    }
    const char *end = memmem(last, (size_t)(p->end - last), "\r\n\r\n", 4);
    return (size_t)((end != NULL ? end + 4 : p->end) - p->start) > p->limits->header_bytes;
}

static int on_head(llhttp_t *ll)
{
    struct h1_parser *p = ll->data;
    struct http_head *head = p->head;
    enum reason bad = p->response ? check_status(p) : REASON_NONE;
    if (section_too_large(p, head))
        bad = p->response ? REASON_RESPONSE_HEAD_TOO_LARGE : REASON_HEAD_TOO_LARGE;
    finish_fields(head);
    if (bad == REASON_NONE)
        bad = p->response ? h1_check_response(head, p->to_head, p->to_upgrade)
                          : h1_check_request(head);
    if (bad == REASON_NONE && head->body == BODY_LENGTH && !p->response &&
        head->content_length > p->limits->body_bytes)
        bad = REASON_BODY_TOO_LARGE;
    if (bad != REASON_NONE) {
        fail(p, bad);
        return -1;
    }
    p->head_done = true;
    p->start = NULL;
    if (head->body == BODY_TUNNEL) {
        p->raw = true;
        return 2;
    }
    /* Only an Upgrade that is passed on stops the parser at the end of the request. */
    ll->upgrade = !p->response && head->upgrade.len > 0;
    return p->response && head->body == BODY_NONE ? 1 : 0;
}

/* Appends to the body. Small chunks are moved together: each would else pin a slice. */
static int on_body(llhttp_t *ll, const char *at, size_t len)
{
    struct h1_parser *p = ll->data;
    p->body_bytes += len;
    if (!p->response && p->body_bytes > p->limits->body_bytes)
        return fail(p, REASON_BODY_TOO_LARGE);
    struct slice *last = p->body.tail;
    if (len <= COMPACT_MAX && last != NULL && last->block == p->block &&
        last->ptr + last->len < at && last->len < BLOCK_BYTES) {
        char *to = last->ptr + last->len;
        memmove(to, at, len); /* over chunk framing that is parsed and referred to by nobody */
        at = to;
    }
    chain_append(&p->body, p->block, at, len);
    return 0;
}

static int on_extension(llhttp_t *ll, const char *at, size_t len)
{
    (void)at;
    struct h1_parser *p = ll->data;
    p->skipped += (uint32_t)len;
    return p->skipped > EXTENSIONS_MAX ? fail_field(p, REASON_BAD_CHUNK) : 0;
}

static int on_done(llhttp_t *ll)
{
    struct h1_parser *p = ll->data;
    if (p->raw)
        return 0;
    if (p->trailers != NULL) {
        if (section_too_large(p, p->trailers))
            return fail(p, p->response ? REASON_RESPONSE_HEAD_TOO_LARGE : REASON_HEAD_TOO_LARGE);
        finish_fields(p->trailers);
    }
    p->start = NULL;
    p->done = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_head,
    .on_body = on_body,
    .on_chunk_extension_name = on_extension,
    .on_chunk_extension_value = on_extension,
    .on_message_complete = on_done,
};

/* ---- life ---- */

void h1_parser_init(struct h1_parser *p, bool response, const struct h1_limits *limits,
                    struct slab *heads)
{
    memset(p, 0, sizeof(*p));
    p->response = response;
    p->limits = limits;
    p->heads = heads;
    chain_init(&p->body);
}

void h1_parser_fini(struct h1_parser *p)
{
    slab_put(p->heads, TAKE(p->head));
    slab_put(p->heads, TAKE(p->trailers));
    chain_clear(&p->body);
}

void h1_parser_reset(struct h1_parser *p)
{
    h1_parser_fini(p);
    h1_parser_init(p, p->response, p->limits, p->heads);
}

void h1_parser_moved(struct h1_parser *p, ptrdiff_t delta)
{
    if (p->start == NULL)
        return;
    p->start += delta;
    struct http_head *head = filling(p);
    if (head->method.ptr != NULL)
        head->method.ptr += delta;
    if (head->target.ptr != NULL)
        head->target.ptr += delta;
    for (unsigned i = 0; i < head->n_fields; i++) {
        head->fields[i].name += delta;
        if (head->fields[i].value != NULL)
            head->fields[i].value += delta;
    }
}

/* ---- parsing ---- */

/* What llhttp's error means for the sender, given where it was. */
static enum reason error_of(const struct h1_parser *p, llhttp_errno_t err, const char *data)
{
    /* llhttp stands just behind a line feed that no CR went before. What lies before data may not
     * be there any more, so its last byte is remembered. */
    const char *at = p->ll.error_pos;
    bool at_lf =
        at != NULL && at > data && at[-1] == '\n' && (at - data > 1 ? at[-2] : p->last) != '\r';
    /* F_TRAILING: llhttp is past the last chunk, where fields and empty lines count again. */
    bool in_chunks = p->head_done && !(p->ll.flags & F_TRAILING);
    if (p->response)
        return REASON_BAD_RESPONSE;
    switch (err) {
    case HPE_CR_EXPECTED:
    case HPE_LF_EXPECTED:
    case HPE_STRICT: /* an LF missing after the empty line, or a chunk's data */
        return in_chunks ? REASON_BAD_CHUNK : REASON_BAD_LINE_ENDING;
    case HPE_INVALID_METHOD:
    case HPE_INVALID_CONSTANT: /* a method of RTSP or ICE: the version was found to be HTTP's */
        return REASON_UNKNOWN_METHOD;
    case HPE_INVALID_URL:
        return REASON_BAD_TARGET;
    case HPE_INVALID_CONTENT_LENGTH:
    case HPE_UNEXPECTED_CONTENT_LENGTH:
        return p->ll.flags & F_TRANSFER_ENCODING ? REASON_LENGTH_CONFLICT
                                                 : REASON_BAD_CONTENT_LENGTH;
    case HPE_INVALID_TRANSFER_ENCODING:
        return p->ll.flags & F_CONTENT_LENGTH ? REASON_LENGTH_CONFLICT
                                              : REASON_BAD_TRANSFER_ENCODING;
    case HPE_INVALID_CHUNK_SIZE:
        return REASON_BAD_CHUNK;
    default:
        if (in_chunks)
            return REASON_BAD_CHUNK;
        return at_lf ? REASON_BAD_LINE_ENDING : REASON_BAD_FIELD;
    }
}

/* Empty lines before a request are forgiven (RFC 9112 section 2.2), if they are CRLF. Returns how
 * many bytes they take. */
static size_t skip_empty(struct h1_parser *p, const char *data, size_t len)
{
    size_t n = 0;
    while (len - n >= 1 && data[n] == '\r') {
        if (len - n == 1)
            return n;
        if (data[n + 1] != '\n') {
            fail(p, REASON_BAD_LINE_ENDING);
            return n;
        }
        n += 2;
        p->skipped += 2;
    }
    if (n < len && data[n] == '\n')
        fail(p, REASON_BAD_LINE_ENDING);
    else if (p->skipped > EMPTY_MAX)
        fail(p, REASON_BAD_REQUEST_LINE);
    return n;
}

/* The first line is judged as a whole. False: it is wrong or not all there. */
static bool first_line(struct h1_parser *p, const char *data, size_t len)
{
    const char *lf = memchr(data, '\n', len);
    size_t n = lf != NULL ? (size_t)(lf + 1 - data) : len;
    enum reason bad =
        h1_check_request_line(span_of(data, n), lf != NULL, p->limits->target_bytes, p->head);
    if (bad == REASON_NONE && n > p->limits->header_bytes)
        bad = REASON_HEAD_TOO_LARGE;
    if (bad != REASON_NONE)
        fail(p, bad);
    p->line_done = lf != NULL;
    return p->line_done && bad == REASON_NONE;
}

/* Begins a message at the first byte of it. Returns how many bytes to skip before; p->start is NULL
 * as long as nothing of it is there. */
static size_t begin(struct h1_parser *p, const char *data, size_t len)
{
    size_t skip = 0;
    if (!p->response)
        skip = skip_empty(p, data, len);
    else if (data[0] != 'H')
        fail(p, REASON_BAD_RESPONSE);
    if (skip == len && p->error == REASON_NONE)
        return skip;
    p->began = true;
    if (p->head == NULL) {
        p->head = head_new(p);
        llhttp_init(&p->ll, p->response ? HTTP_RESPONSE : HTTP_REQUEST, &settings);
        p->ll.data = p;
    }
    if (p->error == REASON_NONE && data[skip] != '\r')
        p->start = data + skip;
    return skip;
}

static void check_size(struct h1_parser *p, const char *end)
{
    if (p->start == NULL || (size_t)(end - p->start) <= p->limits->header_bytes)
        return;
    fail(p, p->response ? REASON_RESPONSE_HEAD_TOO_LARGE : REASON_HEAD_TOO_LARGE);
}

/* In a tunnel there is nothing to parse. */
static size_t parse_raw(struct h1_parser *p, const char *data, size_t len)
{
    chain_append(&p->body, p->block, data, len);
    p->body_bytes += len;
    return len;
}

static size_t execute(struct h1_parser *p, const char *data, size_t len)
{
    llhttp_errno_t err = llhttp_execute(&p->ll, data, len);
    size_t used = err == HPE_OK ? len : (size_t)(llhttp_get_error_pos(&p->ll) - data);
    if (err != HPE_OK && err != HPE_PAUSED && err != HPE_PAUSED_UPGRADE && p->error == REASON_NONE)
        fail(p, error_of(p, err, data));
    if (p->error == REASON_NONE)
        check_size(p, data + used);
    if (used > 0)
        p->last = data[used - 1];
    return used;
}

size_t h1_parse(struct h1_parser *p, struct block *block, const char *data, size_t len)
{
    size_t skip = 0;
    if (len == 0 || p->error != REASON_NONE || p->done)
        return 0;
    p->block = block;
    p->end = data + len;
    if (p->raw)
        return parse_raw(p, data, len);
    if (p->start == NULL && !p->head_done) {
        skip = begin(p, data, len);
        if (p->start == NULL)
            return skip;
    }
    if (!p->response && !p->line_done) {
        if (!first_line(p, data + skip, len - skip))
            return skip;
    }
    return skip + execute(p, data + skip, len - skip);
}

void h1_parser_tunnel(struct h1_parser *p)
{
    CHECK(p->head_done && p->done);
    p->raw = true;
    p->done = false;
    p->start = NULL;
}
