/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See h1_owner.h. Owns the conn under test, until it says that it is closed.
 */
#include "tests/unit/h1_owner.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"

const char *owner_notes(struct owner *f)
{
    return notes_take(&f->notes);
}

void owner_release(struct owner *f, enum reason reason)
{
    struct stream *s = TAKE(f->stream);
    s->ops->release(s, reason);
}

/* ---- the stream's owner ---- */

static void on_head(struct stream *s, struct http_head *head)
{
    struct owner *f = s->owner;
    notes_add(&f->notes, "%u|", head->status);
}

static void on_body(struct stream *s, struct chain *body)
{
    struct owner *f = s->owner;
    size_t n = notes_body(&f->notes, body);
    if (f->credit)
        s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct owner *f = s->owner;
    notes_end(&f->notes, trailers);
    if (f->release_on_end)
        owner_release(f, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    struct owner *f = s->owner;
    notes_add(&f->notes, "drained %zu|", n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct owner *f = s->owner;
    notes_add(&f->notes, "aborted %s%s%s|", reason_row(reason)->name, s->reused ? " reused" : "",
              s->answered ? " answered" : "");
    owner_release(f, reason);
}

static const struct stream_events events = {
    .head = on_head, .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

/* ---- the conn's owner ---- */

static void on_idle(void *ctx, struct h1_client *cl)
{
    struct owner *f = ctx;
    assert_ptr_equal(cl, f->client);
    f->idle = true;
    h1_client_keep(cl, 55000);
    notes_add(&f->notes, "idle|");
}

static void on_unlisted(void *ctx)
{
    struct owner *f = ctx;
    notes_add(&f->notes, "unlisted|");
}

static void on_outlived(void *ctx)
{
    struct owner *f = ctx;
    notes_add(&f->notes, "outlived|");
}

static void on_closes_after(void *ctx, uint64_t ms)
{
    struct owner *f = ctx;
    notes_add(&f->notes, "closes after %llu|", (unsigned long long)ms);
}

static void on_closed(void *ctx, struct h1_client *cl, enum reason reason)
{
    struct owner *f = ctx;
    (void)reason;
    assert_ptr_equal(cl, f->client);
    f->client = NULL;
    f->idle = false;
    notes_add(&f->notes, "closed|");
}

static const struct h1_client_owner callbacks = {
    .idle = on_idle,
    .unlisted = on_unlisted,
    .outlived = on_outlived,
    .closes_after = on_closes_after,
    .closed = on_closed,
};

/* ---- a test's life ---- */

void owner_run(struct owner *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
}

static void begin(struct owner *f, size_t capacity)
{
    wire_init(&f->w, capacity);
    f->client = h1_client_new(&f->w.r, &f->options, &callbacks, f);
    wire_attach(&f->w, h1_client_conn(f->client), true);
    conn_expect(h1_client_conn(f->client), f->options.connect_ms); /* as h1_client_dial does */
    f->notes.body_len = 0;
    f->notes.body[0] = '\0';
}

int owner_setup(void **state)
{
    struct owner *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->credit = f->release_on_end = true;
    f->options = (struct h1_client_options){
        .limits = {.body_bytes = UINT64_MAX,
                   .header_bytes = 8192,
                   .target_bytes = 4096,
                   .headers = 100},
        .connect_ms = 1000,
        .response_idle_ms = 60000,
        .write_stall_ms = 30000,
        .buffer = OWNER_BUFFER,
    };
    begin(f, 65536);
    *state = f;
    return 0;
}

static void end(struct owner *f)
{
    if (f->stream != NULL)
        owner_release(f, REASON_INTERNAL);
    else if (f->client != NULL && !conn_closed(h1_client_conn(f->client)))
        h1_client_close(f->client, REASON_DONE);
    owner_run(f);
    assert_null(f->client);
    wire_fini(&f->w);
}

int owner_teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

void owner_rewire(struct owner *f, size_t capacity)
{
    end(f);
    f->notes.log[0] = '\0';
    begin(f, capacity);
}

/* ---- requests ---- */

void owner_open_stream(struct owner *f)
{
    f->idle = false;
    f->stream = h1_client_open(f->client, &events, f, OWNER_HEAD_MS);
}

void owner_send_head(struct owner *f, const char *method, enum body_kind body, bool upgrade)
{
    struct http_head *head = calloc(1, sizeof(*head));
    assert_non_null(head);
    head->method = span_str(method);
    head->path = SPAN_LIT("/");
    head->is_head = strcmp(method, "HEAD") == 0;
    head->body = (uint8_t)body;
    if (upgrade)
        head->upgrade = SPAN_LIT("x");
    http_head_add(head, FIELD_HOST, SPAN_LIT("Host"), SPAN_LIT("h"));
    f->stream->ops->send_head(f->stream, head);
    free(head);
}

void owner_send_bytes(struct owner *f, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &f->w.r.bufs, bytes, n);
    f->stream->ops->send_body(f->stream, &body);
}

void owner_connect_up(struct owner *f)
{
    pair_connect(f->w.pair, 0, 0);
    wire_settle(&f->w);
}

/* A whole request on a conn that is up. */
void owner_ask(struct owner *f, const char *method)
{
    owner_open_stream(f);
    owner_send_head(f, method, BODY_NONE, false);
    f->stream->ops->send_end(f->stream, NULL);
    owner_run(f);
}

void owner_ask_up(struct owner *f, const char *method)
{
    owner_connect_up(f);
    owner_ask(f, method);
}
