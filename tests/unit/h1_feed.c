/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds an HTTP/1 parser in pieces and writes down what it recorded. Owns all of it; one thread. */
#include "tests/unit/h1_feed.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"

#define PUT(buffer, bytes, n)                                     \
    do {                                                          \
        if ((buffer).len + (n) + 1 > (buffer).cap) {              \
            (buffer).cap = ((buffer).len + (n) + 1) * 2;          \
            (buffer).data = realloc((buffer).data, (buffer).cap); \
            CHECK((buffer).data != NULL);                         \
        }                                                         \
        if ((n) > 0)                                              \
            memcpy((buffer).data + (buffer).len, (bytes), (n));   \
        (buffer).len += (n);                                      \
        (buffer).data[(buffer).len] = '\0';                       \
    } while (0)

static void put_span(struct h1_feed *f, struct span s)
{
    PUT(f->text, s.ptr, s.len);
}

static void put_text(struct h1_feed *f, const char *s)
{
    put_span(f, span_str(s));
}

void h1_feed_init(struct h1_feed *f, bool response, const struct h1_limits *limits)
{
    memset(f, 0, sizeof(*f));
    buf_pool_init(&f->pool);
    slab_init(&f->heads, sizeof(struct http_head), 4);
    h1_parser_init(&f->parser, response, limits, &f->heads);
    PUT(f->text, "", 0);
    PUT(f->body, "", 0);
}

void h1_feed_fini(struct h1_feed *f)
{
    h1_parser_fini(&f->parser);
    block_drop(f->in);
    buf_pool_fini(&f->pool);
    slab_fini(&f->heads);
    free(f->text.data);
    free(f->body.data);
}

/* ---- the record ---- */

static void put_fields(struct h1_feed *f, const struct http_head *head)
{
    for (unsigned i = 0; i < head->n_fields; i++) {
        const struct http_field *field = &head->fields[i];
        bool dropped = field->flags & FIELD_DROPPED;
        CHECK(field->id == field_lookup(field_name(field)));
        put_text(f, dropped ? "{" : "");
        put_span(f, field_name(field));
        put_text(f, ": ");
        put_span(f, field_value(field));
        put_text(f, dropped ? "}|" : "|");
    }
}

static void put_first_line(struct h1_feed *f, const struct http_head *head)
{
    char number[16];
    if (f->parser.response) {
        snprintf(number, sizeof(number), "%u ", head->status);
        put_text(f, number);
        put_span(f, head->phrase);
    } else {
        put_span(f, head->method);
        put_text(f, " ");
        put_span(f, head->path);
        put_text(f, head->has_query ? "?" : "");
        put_span(f, head->query);
    }
    put_text(f, head->minor == 1 ? " 1.1" : " 1.0");
}

static void put_head(struct h1_feed *f, const struct http_head *head)
{
    static const char *const kinds[] = {" none", " length=", " chunked", " until-close", " tunnel"};
    char number[24];
    put_first_line(f, head);
    if (!f->parser.response) {
        put_text(f, " host=");
        put_span(f, head->authority);
        CHECK(head->is_head == span_eq(head->method, SPAN_LIT("HEAD")));
    }
    put_text(f, kinds[head->body]);
    if (head->body == BODY_LENGTH) {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)head->content_length);
        put_text(f, number);
    }
    put_text(f, head->close ? " close" : "");
    put_text(f, head->keep_alive ? " keep-alive" : "");
    put_text(f, head->expect_continue ? " expect" : "");
    put_text(f, head->upgrade.len > 0 ? " upgrade=" : "");
    put_span(f, head->upgrade);
    put_text(f, "\n");
    put_fields(f, head);
    put_text(f, "\n");
}

static void put_body(struct h1_feed *f)
{
    put_text(f, "<");
    put_span(f, span_of(f->body.data, f->body.len));
    put_text(f, ">");
    f->body.len = 0;
}

/* ---- what the parser recorded ---- */

static void harvest_head(struct h1_feed *f)
{
    struct http_head *head = TAKE(f->parser.head);
    put_head(f, head);
    f->kind = head->body;
    f->in_body = true;
    if (f->tunnel && head->upgrade.len > 0 && !f->parser.response && f->parser.done)
        h1_parser_tunnel(&f->parser);
    slab_put(&f->heads, head);
}

static void harvest_body(struct h1_feed *f)
{
    for (const struct slice *s = f->parser.body.head; s != NULL; s = s->next)
        PUT(f->body, s->ptr, s->len);
    chain_clear(&f->parser.body);
}

static void harvest_end(struct h1_feed *f)
{
    put_body(f);
    put_text(f, ".");
    struct http_head *trailers = TAKE(f->parser.trailers);
    if (trailers != NULL)
        put_fields(f, trailers);
    slab_put(&f->heads, trailers);
    put_text(f, "\n");
    f->in_body = false;
    h1_parser_reset(&f->parser);
}

/* What the parser says it need not see, it does not see. */
static size_t feed_skip(struct h1_feed *f, size_t len)
{
    uint64_t n = f->skip < len ? f->skip : len, opaque = h1_parser_opaque(&f->parser);
    n = n < opaque ? n : opaque;
    if (n == 0)
        return 0;
    chain_append(&f->parser.body, f->in, f->in->data + f->pos, n);
    h1_parser_skip(&f->parser, n);
    return n;
}

static void take(struct h1_feed *f)
{
    struct h1_parser *p = &f->parser;
    for (;;) {
        uint32_t len = f->in->used - f->pos;
        p->to_head = f->to_head;
        p->to_upgrade = f->to_upgrade;
        size_t used = feed_skip(f, len);
        if (used == 0)
            used = h1_parse(p, f->in, f->in->data + f->pos, len);
        CHECK(used <= len);
        f->pos += (uint32_t)used;
        const char *keep = h1_parser_keep(p);
        CHECK(keep == NULL || (keep >= f->in->data && keep <= f->in->data + f->pos));
        if (p->head_done && p->head != NULL)
            harvest_head(f);
        harvest_body(f);
        if (p->done)
            harvest_end(f);
        else if (used == 0)
            break;
        keep = h1_parser_keep(p);
        f->keep = keep != NULL ? (uint32_t)(keep - f->in->data) : f->pos;
    }
}

static void move_kept(struct h1_feed *f)
{
    struct block *old = f->in, *fresh = block_get(&f->pool, true);
    uint32_t kept = old->used - f->keep, at = 7 + f->keep % 5;
    CHECK(at + kept <= fresh->cap);
    memcpy(fresh->data + at, old->data + f->keep, kept);
    h1_parser_moved(&f->parser, fresh->data + at - (old->data + f->keep));
    memset(old->data, 0xee, old->cap);
    fresh->used = at + kept;
    f->pos = at + (f->pos - f->keep);
    f->keep = at;
    f->in = fresh;
    block_drop(old);
}

void h1_feed_bytes(struct h1_feed *f, const char *bytes, size_t n, bool move)
{
    if (f->in == NULL)
        f->in = block_get(&f->pool, true);
    if (move)
        move_kept(f);
    CHECK(n <= block_room(f->in));
    memcpy(f->in->data + f->in->used, bytes, n);
    f->in->used += (uint32_t)n;
    take(f);
}

const char *h1_feed_text(struct h1_feed *f)
{
    if (f->parser.error != REASON_NONE) {
        put_text(f, "!");
        put_text(f, reason_row((enum reason)f->parser.error)->name);
    } else if (f->in_body) {
        put_body(f);
    }
    return f->text.data;
}
