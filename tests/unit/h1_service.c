/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See h1_service.h. Owns the conn under test, until it says that it is closed.
 */
#include "tests/unit/h1_service.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"

const char *service_notes(struct service *f)
{
    return notes_take(&f->notes);
}

void service_send_head(struct service *f, unsigned status, enum body_kind body, uint64_t length)
{
    struct http_head *head = calloc(1, sizeof(*head));
    char text[24];
    assert_non_null(head);
    head->status = (uint16_t)status;
    head->phrase = http_status_phrase(status);
    head->minor = 1;
    head->body = (uint8_t)body;
    head->content_length = length;
    if (body == BODY_LENGTH) {
        int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)length);
        http_head_add(head, FIELD_CONTENT_LENGTH, SPAN_LIT("Content-Length"),
                      span_of(text, (size_t)n));
    }
    if (body == BODY_TUNNEL)
        head->upgrade = SPAN_LIT("x");
    f->stream->ops->send_head(f->stream, head);
    free(head);
}

void service_send_bytes(struct service *f, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &f->w.r.bufs, bytes, n);
    f->stream->ops->send_body(f->stream, &body);
    assert_true(chain_empty(&body));
}

void service_release(struct service *f, enum reason reason)
{
    struct stream *s = TAKE(f->stream);
    s->ops->release(s, reason);
}

/* Queues a whole answer, and lets go. */
void service_answer(struct service *f, const char *body)
{
    service_answer_with(f, 200, body);
}

void service_answer_with(struct service *f, unsigned status, const char *body)
{
    service_send_head(f, status, BODY_LENGTH, strlen(body));
    service_send_bytes(f, body, strlen(body));
    f->stream->ops->send_end(f->stream, NULL);
    service_release(f, REASON_DONE);
}

/* Verbs in tests come from outside of the dispatch loop, which so has to run. */
void service_run(struct service *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
}

static void on_body(struct stream *s, struct chain *body)
{
    struct service *f = s->owner;
    size_t n = notes_body(&f->notes, body);
    if (f->credit > 0)
        s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct service *f = s->owner;
    notes_end(&f->notes, trailers);
}

static void on_drained(struct stream *s, size_t n)
{
    struct service *f = s->owner;
    notes_add(&f->notes, "drained %zu|", n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct service *f = s->owner;
    notes_add(&f->notes, "aborted %s|", reason_row(reason)->name);
    if (f->release_on_abort)
        service_release(f, reason);
}

static const struct stream_events events = {
    .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

static void on_request(void *ctx, struct stream *s, struct http_head *head,
                       const struct http_peer *peer, enum reason reason)
{
    struct service *f = ctx;
    (void)peer;
    assert_null(f->stream);
    notes_add(&f->notes, "%.*s %.*s %s|", (int)head->method.len,
              head->method.len ? head->method.ptr : "", (int)head->path.len,
              head->path.len ? head->path.ptr : "", reason_row(reason)->name);
    s->events = &events;
    s->owner = f;
    f->stream = s;
    f->head = head;
    if (f->answer_at_once)
        service_answer_with(f, f->answer_at_once, "now");
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer, bool promised)
{
    (void)promised;
    (void)peer;
    (void)promised;
    return ((struct service *)ctx)->keep;
}

static void on_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    (void)peer;
    struct service *f = ctx;
    f->srv = NULL;
    notes_add(&f->notes, "closed %s|", reason_row(reason)->name);
}

static const struct http_service callbacks = {
    .request = on_request, .keep_alive = on_keep_alive, .closed = on_closed};

/* ---- a test's life ---- */

struct h1_server_options service_options(const struct http_service *service, void *ctx)
{
    return (struct h1_server_options){
        .limits = {.body_bytes = UINT64_MAX,
                   .header_bytes = 8192,
                   .target_bytes = 4096,
                   .headers = 100},
        .head_ms = SERVICE_HEAD_MS,
        .idle_ms = 75000,
        .body_ms = 60000,
        .write_stall_ms = 30000,
        .buffer = SERVICE_BUFFER,
        .service = service,
        .ctx = ctx,
    };
}

void service_begin(struct service *f, size_t capacity)
{
    struct http_peer peer = {.text_len = 0};
    wire_init(&f->w, capacity);
    list_init(&f->conns);
    f->srv = h1_server_new(&f->w.r, &f->options, &peer, &f->conns);
    wire_attach(&f->w, h1_server_conn(f->srv), false);
}

int service_setup(void **state)
{
    struct service *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->keep = true;
    f->release_on_abort = true;
    f->options = service_options(&callbacks, f);
    service_begin(f, 65536);
    *state = f;
    return 0;
}

/* Another capacity of the wire than usual. */
void service_rewire(struct service *f, size_t capacity)
{
    if (f->srv != NULL)
        client_conn_abort(h1_server_client(f->srv), REASON_SHUTDOWN);
    wire_settle(&f->w);
    wire_fini(&f->w);
    f->notes.log[0] = '\0';
    service_begin(f, capacity);
}

int service_teardown(void **state)
{
    struct service *f = *state;
    if (f->srv != NULL)
        client_conn_abort(h1_server_client(f->srv), REASON_SHUTDOWN);
    wire_settle(&f->w);
    assert_null(f->stream);
    assert_null(f->srv);
    assert_true(list_empty(&f->conns));
    wire_fini(&f->w);
    free(f);
    return 0;
}
