/* SPDX-License-Identifier: Apache-2.0 */
/* Authored responses. Owns nothing; runs on the thread of the stream. */
#include "proxy/reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "proxy/base/check.h"
#include "proxy/base/json.h"
#include "proxy/http/accept.h"
#include "proxy/http/grpc.h"

#define DETAIL_MAX 300

struct text {
    char bytes[2048]; /* a request id of 128 bytes may grow sixfold in JSON, a detail twofold */
    size_t len;
};

static struct span text_span(const struct text *t)
{
    return span_of(t->bytes, t->len);
}

__attribute__((format(printf, 2, 3))) static void text_print(struct text *t, const char *format,
                                                             ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(t->bytes, sizeof(t->bytes), format, args);
    va_end(args);
    CHECK(n >= 0 && (size_t)n < sizeof(t->bytes));
    t->len = (size_t)n;
}

static void error_body(struct text *t, const struct reason_row *row, struct span phrase,
                       const char *detail, struct span id, bool json)
{
    struct text message;
    text_print(&message, "%s%s%.*s", row->text, detail != NULL ? ": " : "", DETAIL_MAX,
               detail != NULL ? detail : "");
    if (!json) {
        text_print(t, "%u %.*s: %s\n%s%.*s%s", row->status, (int)phrase.len, phrase.ptr,
                   message.bytes, id.len > 0 ? "request id: " : "", (int)id.len, id.ptr,
                   id.len > 0 ? "\n" : "");
        return;
    }
    struct json j;
    json_init(&j, t->bytes, sizeof(t->bytes));
    json_object_begin(&j);
    json_key(&j, "status");
    json_u64(&j, row->status);
    json_key(&j, "error");
    json_cstring(&j, row->name);
    json_key(&j, "message");
    json_cstring(&j, message.bytes);
    if (id.len > 0) {
        json_key(&j, "request_id");
        json_string(&j, id);
    }
    json_object_end(&j);
    t->len = json_text(&j).len;
}

static void begin(struct http_head *head, unsigned status, struct span type, struct text *length,
                  size_t bytes)
{
    http_head_init(head);
    head->status = (uint16_t)status;
    head->phrase = http_status_phrase(status);
    head->body = BODY_LENGTH;
    head->content_length = bytes;
    text_print(length, "%zu", bytes);
    http_head_add(head, FIELD_CONTENT_TYPE, SPAN_LIT("Content-Type"), type);
    http_head_add(head, FIELD_CONTENT_LENGTH, SPAN_LIT("Content-Length"), text_span(length));
}

static void add_reason(struct http_head *head, const struct reason_row *row, struct text *status,
                       struct span id, struct span date)
{
    text_print(status, "weir; error=%s; details=\"%s\"", row->error, row->name);
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Proxy-Status"), text_span(status));
    if (id.len > 0)
        http_head_add(head, FIELD_X_REQUEST_ID, SPAN_LIT("X-Request-Id"), id);
    http_head_add(head, FIELD_DATE, SPAN_LIT("Date"), date);
}

/* Nothing but a head that is trailers as well, and ends the message. The rows' texts need no
 * percent-encoding. */
static void reply_grpc(struct reactor *r, struct stream *s, enum reason reason, struct span id)
{
    const struct reason_row *row = reason_row(reason);
    struct http_head head;
    struct text status, code;
    http_head_init(&head);
    head.status = 200;
    head.phrase = http_status_phrase(200);
    head.body = BODY_NONE;
    http_head_add(&head, FIELD_CONTENT_TYPE, SPAN_LIT("Content-Type"),
                  SPAN_LIT("application/grpc"));
    text_print(&code, "%u", grpc_status_of(reason));
    http_head_add(&head, FIELD_OTHER, SPAN_LIT("grpc-status"), text_span(&code));
    http_head_add(&head, FIELD_OTHER, SPAN_LIT("grpc-message"), span_str(row->text));
    add_reason(&head, row, &status, id, reactor_date(r));
    s->ops->send_head(s, &head);
    s->ops->send_end(s, NULL);
}

unsigned reply_status(const struct http_head *request, enum reason reason)
{
    return grpc_is_call(request) ? 200 : reason_row(reason)->status;
}

size_t reply_error(struct reactor *r, struct stream *s, const struct http_head *request,
                   enum reason reason, const char *detail, struct span id)
{
    const struct reason_row *row = reason_row(reason);
    struct http_head head;
    struct text body, length, status;
    struct chain chain;
    bool json = accept_prefers_json(request);
    CHECK(row->status >= 400);
    if (grpc_is_call(request)) {
        reply_grpc(r, s, reason, id);
        return 0;
    }
    error_body(&body, row, http_status_phrase(row->status), detail, id, json);
    begin(&head, row->status,
          json ? SPAN_LIT("application/json") : SPAN_LIT("text/plain; charset=utf-8"), &length,
          body.len);
    add_reason(&head, row, &status, id, reactor_date(r));
    if (row->status == 503)
        http_head_add(&head, FIELD_RETRY_AFTER, SPAN_LIT("Retry-After"), SPAN_LIT("1"));
    if (row->status == 405)
        http_head_add(&head, FIELD_OTHER, SPAN_LIT("Allow"),
                      SPAN_LIT("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    s->ops->send_head(s, &head);
    chain_init(&chain);
    chain_copy_in(&chain, &r->bufs, body.bytes, body.len);
    s->ops->send_body(s, &chain);
    s->ops->send_end(s, NULL);
    return request->is_head ? 0 : body.len;
}

/* What stands before the port. */
static struct span host_of(struct span authority)
{
    size_t len = 0;
    bool bracket = authority.len > 0 && authority.ptr[0] == '[';
    while (len < authority.len && authority.ptr[len] != (bracket ? ']' : ':'))
        len++;
    return span_of(authority.ptr, len + (bracket && len < authority.len));
}

/* https://host:port/path?query in the block, without the port that https has anyway; OPTIONS * has
 * no path of its own. */
static struct span https_url(const struct http_head *request, uint32_t port, struct block *block)
{
    char colon[12] = "";
    if (port != 443)
        snprintf(colon, sizeof(colon), ":%u", port);
    struct span host = host_of(request->authority);
    bool path = request->path.len > 0 && request->path.ptr[0] == '/';
    char *at = block->data + block->used;
    int n =
        snprintf(at, block->cap - block->used, "https://%.*s%s%.*s%s%.*s", (int)host.len, host.ptr,
                 colon, path ? (int)request->path.len : 1, path ? request->path.ptr : "/",
                 request->has_query ? "?" : "", (int)request->query.len, request->query.ptr);
    CHECK(n > 0 && (size_t)n < block->cap - block->used); /* it is shorter than its head was */
    block->used += (uint32_t)n;
    return span_of(at, (size_t)n);
}

bool reply_to_https(struct reactor *r, struct stream *s, const struct http_head *request,
                    uint32_t port, struct block **scratch)
{
    struct http_head head;
    struct text length;
    if (request->authority.len == 0)
        return false;
    if (*scratch == NULL)
        *scratch = block_get(&r->bufs, true);
    begin(&head, 308, SPAN_LIT("text/plain; charset=utf-8"), &length, 0);
    http_head_add(&head, FIELD_OTHER, SPAN_LIT("Location"), https_url(request, port, *scratch));
    http_head_add(&head, FIELD_DATE, SPAN_LIT("Date"), reactor_date(r));
    s->ops->send_head(s, &head);
    s->ops->send_end(s, NULL);
    return true;
}

void reply_send_fields(struct reactor *r, struct stream *s, unsigned status,
                       struct span content_type, const struct reply_field *fields, unsigned n,
                       struct chain *body)
{
    struct http_head head;
    struct text length;
    begin(&head, status, content_type, &length, body->bytes);
    http_head_add(&head, FIELD_DATE, SPAN_LIT("Date"), reactor_date(r));
    for (unsigned i = 0; i < n; i++)
        http_head_add(&head, FIELD_OTHER, fields[i].name, fields[i].value);
    s->ops->send_head(s, &head);
    s->ops->send_body(s, body);
    s->ops->send_end(s, NULL);
}

void reply_not_allowed(struct reactor *r, struct stream *s, struct span allow)
{
    const struct reply_field field = {SPAN_LIT("Allow"), allow};
    struct text text;
    struct chain body;
    text_print(&text, "here there is only: %.*s\n", (int)allow.len, allow.ptr);
    chain_init(&body);
    chain_copy_in(&body, &r->bufs, text.bytes, text.len);
    reply_send_fields(r, s, 405, SPAN_LIT("text/plain; charset=utf-8"), &field, 1, &body);
}

void reply_send(struct reactor *r, struct stream *s, unsigned status, struct span content_type,
                struct chain *body)
{
    reply_send_fields(r, s, status, content_type, NULL, 0, body);
}
