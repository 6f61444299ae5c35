/* SPDX-License-Identifier: Apache-2.0 */
/* Authored responses. Owns nothing; runs on the thread of the stream. */
#include "proxy/reply.h"

#include <stdarg.h>
#include <stdio.h>

#include "proxy/base/check.h"
#include "proxy/base/json.h"

struct text {
    char bytes[1536]; /* a request id of 128 bytes may grow sixfold in JSON */
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

/* The quality that an Accept value gives a media type, in thousandths; ranges count less than the
 * type itself at equal quality. -1: not named. */
static int accept_quality(struct span accept, struct span type)
{
    struct span item;
    while (span_next_element(&accept, &item)) {
        const char *semi = item.len > 0 ? memchr(item.ptr, ';', item.len) : NULL;
        struct span name =
            span_trim(semi != NULL ? span_of(item.ptr, (size_t)(semi - item.ptr)) : item);
        if (!span_eq_nocase(name, type))
            continue;
        int q = 1000;
        for (size_t i = name.len; i + 2 < item.len; i++)
            if (ascii_lower(item.ptr[i]) == 'q' && item.ptr[i + 1] == '=') {
                q = item.ptr[i + 2] == '1' ? 1000 : 0;
                for (size_t j = i + 4, unit = 100; j < item.len && unit > 0; j++, unit /= 10)
                    if (item.ptr[j] >= '0' && item.ptr[j] <= '9')
                        q += (int)unit * (item.ptr[j] - '0');
                break;
            }
        return q;
    }
    return -1;
}

/* Does the client prefer JSON to plain text? */
static bool wants_json(const struct http_head *request)
{
    for (unsigned i = 0; i < request->n_fields; i++) {
        const struct http_field *f = &request->fields[i];
        if (f->id != FIELD_ACCEPT)
            continue;
        int json = accept_quality(field_value(f), SPAN_LIT("application/json"));
        int text = accept_quality(field_value(f), SPAN_LIT("text/plain"));
        if (text < 0)
            text = accept_quality(field_value(f), SPAN_LIT("text/*"));
        return json > 0 && json > text;
    }
    return false;
}

static void error_body(struct text *t, const struct reason_row *row, struct span phrase,
                       struct span id, bool json)
{
    if (!json) {
        text_print(t, "%u %.*s: %s\nrequest id: %.*s\n", row->status, (int)phrase.len, phrase.ptr,
                   row->text, (int)id.len, id.ptr);
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
    json_cstring(&j, row->text);
    json_key(&j, "request_id");
    json_string(&j, id);
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
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Content-Type"), type);
    http_head_add(head, FIELD_CONTENT_LENGTH, SPAN_LIT("Content-Length"), text_span(length));
}

size_t reply_error(struct reactor *r, struct stream *s, const struct http_head *request,
                   enum reason reason, struct span id)
{
    const struct reason_row *row = reason_row(reason);
    struct http_head head;
    struct text body, length, status;
    struct chain chain;
    bool json = wants_json(request);
    CHECK(row->status >= 400);
    error_body(&body, row, http_status_phrase(row->status), id, json);
    begin(&head, row->status,
          json ? SPAN_LIT("application/json") : SPAN_LIT("text/plain; charset=utf-8"), &length,
          body.len);
    text_print(&status, "weir; error=%s; details=\"%s\"", row->error, row->name);
    http_head_add(&head, FIELD_OTHER, SPAN_LIT("Proxy-Status"), text_span(&status));
    if (id.len > 0)
        http_head_add(&head, FIELD_X_REQUEST_ID, SPAN_LIT("X-Request-Id"), id);
    if (row->status == 503)
        http_head_add(&head, FIELD_RETRY_AFTER, SPAN_LIT("Retry-After"), SPAN_LIT("1"));
    if (row->status == 405)
        http_head_add(&head, FIELD_OTHER, SPAN_LIT("Allow"),
                      SPAN_LIT("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"));
    http_head_add(&head, FIELD_DATE, SPAN_LIT("Date"), reactor_date(r));
    s->ops->send_head(s, &head);
    chain_init(&chain);
    chain_copy_in(&chain, &r->bufs, body.bytes, body.len);
    s->ops->send_body(s, &chain);
    s->ops->send_end(s, NULL);
    return request->is_head ? 0 : body.len;
}

void reply_send(struct reactor *r, struct stream *s, unsigned status, struct span content_type,
                struct chain *body)
{
    struct http_head head;
    struct text length;
    begin(&head, status, content_type, &length, body->bytes);
    http_head_add(&head, FIELD_DATE, SPAN_LIT("Date"), reactor_date(r));
    s->ops->send_head(s, &head);
    s->ops->send_body(s, body);
    s->ops->send_end(s, NULL);
}
