/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the admin's pages. Owns nothing; must never make a worker wait. Control thread. */
#include "proxy/admin_page.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/reply.h"

static struct span plain_text(void)
{
    return SPAN_LIT("text/plain; charset=utf-8");
}

void admin_refuse(const struct admin_ask *ask, unsigned status, const struct reply_field *field,
                  const char *text)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &ask->reactor->bufs, text, strlen(text));
    reply_send_fields(ask->reactor, ask->stream, status, plain_text(), field, 1, &body);
}

/* A page of ours is no other type than it says, is not kept, and is no other site's to know of. */
static void send_page(const struct admin_ask *ask, unsigned status, struct span type,
                      struct span text, struct span policy)
{
    const struct reply_field guards[] = {
        {SPAN_LIT("Cache-Control"), SPAN_LIT("no-store")},
        {SPAN_LIT("X-Content-Type-Options"), SPAN_LIT("nosniff")},
        {SPAN_LIT("Referrer-Policy"), SPAN_LIT("same-origin")},
        {SPAN_LIT("Content-Security-Policy"), policy},
    };
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &ask->reactor->bufs, text.ptr, text.len);
    reply_send_fields(ask->reactor, ask->stream, status, type, guards, ARRAY_LEN(guards), &body);
}

void admin_text(const struct admin_ask *ask, unsigned status, struct span type, struct span text)
{
    send_page(ask, status, type, text, SPAN_LIT("default-src 'none'; frame-ancestors 'none'"));
}

void admin_document(const struct admin_ask *ask, struct span type, struct span text,
                    struct span policy)
{
    send_page(ask, 200, type, text, policy);
}

void admin_say(const struct admin_ask *ask, unsigned status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    size_t len = (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1;
    admin_text(ask, status, plain_text(), span_of(text, len));
}

void admin_json(const struct admin_ask *ask, unsigned status,
                void (*write)(struct json *, const void *ctx), const void *ctx)
{
    size_t len;
    char *text = json_whole(write, ctx, &len);
    admin_text(ask, status, SPAN_LIT("application/json"), span_of(text, len));
    free(text);
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool admin_segment_is(struct span segment, struct span text)
{
    for (; segment.len > 0 && text.len > 0; text = span_of(text.ptr + 1, text.len - 1)) {
        bool coded = segment.ptr[0] == '%' && segment.len >= 3;
        int high = coded ? digit_of(segment.ptr[1]) : -1;
        int low = coded ? digit_of(segment.ptr[2]) : -1;
        bool valid = high >= 0 && low >= 0;
        size_t n = valid ? 3 : 1;
        if ((valid ? (char)(high << 4 | low) : segment.ptr[0]) != text.ptr[0])
            return false;
        segment = span_of(segment.ptr + n, segment.len - n);
    }
    return segment.len == 0 && text.len == 0;
}

void admin_decode(struct span from, char *out, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < from.len && n + 1 < room; i++, n++) {
        out[n] = from.ptr[i] == '+' ? ' ' : from.ptr[i];
        if (from.ptr[i] != '%' || i + 2 >= from.len)
            continue;
        int high = digit_of(from.ptr[i + 1]), low = digit_of(from.ptr[i + 2]);
        if (high < 0 || low < 0 || (high == 0 && low == 0))
            continue;
        out[n] = (char)(high << 4 | low);
        i += 2;
    }
    out[n] = '\0';
}

bool admin_parameter(struct span *query, const char *name, char *out, size_t room)
{
    struct span piece, value;
    while (span_next_piece(query, '&', &piece))
        if (span_value_of(piece, span_str(name), &value)) {
            admin_decode(value, out, room);
            return true;
        }
    return false;
}

/* ---- waiting ---- */

static void on_body(struct stream *s, struct chain *body)
{
    size_t n = body->bytes;
    chain_clear(body);
    s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    (void)s;
    (void)trailers;
}

static void on_drained(struct stream *s, size_t n)
{
    (void)s;
    (void)n;
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct admin_waiter *w = s->owner;
    admin_waiter_end(w, reason);
    w->gone(w);
}

static const struct stream_events waiter_events = {
    .body = on_body,
    .end = on_end,
    .drained = on_drained,
    .aborted = on_aborted,
};

void admin_wait(const struct admin_ask *ask, struct admin_waiter *w,
                void (*gone)(struct admin_waiter *))
{
    *w = (struct admin_waiter){ask->admin, ask->reactor, ask->view, ask->stream, gone};
    w->stream->events = &waiter_events;
    w->stream->owner = w;
}

struct admin_ask admin_waiter_ask(const struct admin_waiter *w)
{
    return (struct admin_ask){w->admin, w->reactor, w->view, w->stream, NULL, NULL};
}

void admin_waiter_end(struct admin_waiter *w, enum reason reason)
{
    struct stream *s = TAKE(w->stream);
    if (s != NULL)
        s->ops->release(s, reason);
}
