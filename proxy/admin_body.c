/* SPDX-License-Identifier: Apache-2.0 */
/* Collecting a body. Owns it while it comes; must never keep more than was allowed. Control thread.
 */
#include "proxy/admin_body.h"

#include <stdlib.h>
#include <string.h>

#include "proxy/base/check.h"
#include "proxy/base/mem.h"

#define BODY_MAGIC MAGIC('a', 'b', 'o', 'd')

struct reading {
    uint32_t magic;
    struct admin_ask ask; /* without the request, whose head may be gone */
    char *text;
    size_t len, room, max;
    admin_body_fn *done;
    void *ctx;
};

static void reading_end(struct reading *r, enum reason reason)
{
    struct stream *s = r->ask.stream;
    free(r->text);
    free(r->ctx);
    r->magic = 0;
    free(r);
    s->ops->release(s, reason);
}

static void take(struct reading *r, const struct chain *body)
{
    if (r->len + body->bytes > r->room) {
        r->room = 2 * (r->len + body->bytes);
        r->text = mem_need(realloc(r->text, r->room));
    }
    for (const struct slice *it = body->head; it != NULL; it = it->next) {
        memcpy(r->text + r->len, it->ptr, it->len);
        r->len += it->len;
    }
}

static void on_body(struct stream *s, struct chain *body)
{
    struct reading *r = CAST_OBJ(reading, s->owner, BODY_MAGIC);
    size_t n = body->bytes;
    if (r->len + n > r->max) {
        chain_clear(body);
        admin_say(&r->ask, 413, "the body may have %zu bytes\n", r->max);
        reading_end(r, REASON_DONE);
        return;
    }
    take(r, body);
    chain_clear(body);
    s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct reading *r = CAST_OBJ(reading, s->owner, BODY_MAGIC);
    (void)trailers;
    r->done(&r->ask, r->ctx, span_of(r->text, r->len));
    reading_end(r, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    (void)s;
    (void)n;
}

static void on_aborted(struct stream *s, enum reason reason)
{
    reading_end(CAST_OBJ(reading, s->owner, BODY_MAGIC), reason);
}

static const struct stream_events reading_events = {
    .body = on_body,
    .end = on_end,
    .drained = on_drained,
    .aborted = on_aborted,
};

/* The client sends nothing before. */
static void ask_for_it(struct stream *s)
{
    struct http_head head;
    http_head_init(&head);
    head.status = 100;
    head.phrase = http_status_phrase(100);
    s->ops->send_head(s, &head);
}

void admin_body(const struct admin_ask *ask, size_t max, admin_body_fn *done, void *ctx)
{
    struct reading *r = mem_need(calloc(1, sizeof(*r)));
    r->magic = BODY_MAGIC;
    r->ask = *ask;
    r->ask.request = NULL;
    r->max = max;
    r->done = done;
    r->ctx = ctx;
    ask->stream->events = &reading_events;
    ask->stream->owner = r;
    if (ask->request->expect_continue)
        ask_for_it(ask->stream);
}
