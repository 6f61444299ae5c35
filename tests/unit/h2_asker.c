/* SPDX-License-Identifier: Apache-2.0 */
/*
 * See h2_asker.h. Owns the conn under test, until it says that it is closed.
 */
#include "tests/unit/h2_asker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "proxy/base/check.h"

const char *asker_notes(struct asker *f)
{
    return notes_take(&f->notes);
}

void asker_release(struct ask *a, enum reason reason)
{
    struct stream *s = TAKE(a->stream);
    s->ops->release(s, reason);
}

/* ---- the streams' owner ---- */

static void on_head(struct stream *s, struct http_head *head)
{
    static const char *const kinds[] = {"none", "length", "chunked", "close", "tunnel"};
    struct ask *a = s->owner;
    notes_add(&a->f->notes, "%c %u %s", a->name, head->status, kinds[head->body]);
    for (unsigned i = 0; i < head->n_fields; i++)
        if (!(head->fields[i].flags & FIELD_DROPPED))
            notes_add(&a->f->notes, " %.*s=%.*s", head->fields[i].name_len, head->fields[i].name,
                      (int)head->fields[i].value_len, head->fields[i].value);
    notes_add(&a->f->notes, "|");
}

static void on_body(struct stream *s, struct chain *body)
{
    struct ask *a = s->owner;
    size_t n = body->bytes;
    a->f->body_len += n;
    if (n <= 16) {
        notes_add(&a->f->notes, "%c ", a->name);
        for (const struct slice *it = body->head; it != NULL; it = it->next)
            notes_add(&a->f->notes, "%.*s", (int)it->len, it->ptr);
        notes_add(&a->f->notes, "|");
    }
    chain_clear(body);
    if (!a->f->hoard)
        s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct ask *a = s->owner;
    notes_add(&a->f->notes, "%c end", a->name);
    for (unsigned i = 0; trailers != NULL && i < trailers->n_fields; i++)
        notes_add(&a->f->notes, " %.*s=%.*s", trailers->fields[i].name_len,
                  trailers->fields[i].name, (int)trailers->fields[i].value_len,
                  trailers->fields[i].value);
    notes_add(&a->f->notes, "|");
    asker_release(a, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    struct ask *a = s->owner;
    notes_add(&a->f->notes, "%c drained %zu|", a->name, n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct ask *a = s->owner;
    notes_add(&a->f->notes, "%c %s%s%s|", a->name, reason_row(reason)->name,
              s->reused ? " reused" : "", s->answered ? " answered" : "");
    asker_release(a, reason);
}

static const struct stream_events events = {
    .head = on_head, .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

/* ---- the conn's owner ---- */

static void on_room(void *ctx, struct h2_client *cl)
{
    struct asker *f = ctx;
    assert_ptr_equal(cl, f->client);
    notes_add(&f->notes, "room %u|", h2_client_streams(cl));
    list_unlink(h2_client_link(cl));
    list_push_back(&f->list, h2_client_link(cl));
}

static void on_takes(void *ctx, struct h2_client *cl, uint32_t streams)
{
    struct asker *f = ctx;
    assert_ptr_equal(cl, f->client);
    if (streams != UINT32_MAX)
        notes_add(&f->notes, "takes %u|", streams);
}

static void on_closed(void *ctx, struct h2_client *cl, enum reason reason)
{
    struct asker *f = ctx;
    assert_ptr_equal(cl, f->client);
    f->client = NULL;
    notes_add(&f->notes, "closed %s|", reason_row(reason)->name);
}

static const struct h2_client_owner callbacks = {
    .room = on_room, .takes = on_takes, .closed = on_closed};

/* ---- a test's life ---- */

void asker_run(struct asker *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
}

static void begin(struct asker *f, uint32_t takes)
{
    wire_init(&f->w, 1 << 20);
    list_init(&f->list);
    h2_frames_init(&f->peer, &f->w);
    f->n_asks = 0;
    f->client = h2_client_new(&f->w.r, &f->options, takes, &callbacks, f);
    list_push_back(&f->list, h2_client_link(f->client));
    wire_attach(&f->w, h2_client_conn(f->client), true);
    conn_expect(h2_client_conn(f->client), f->options.connect_ms);
}

int asker_setup(void **state)
{
    struct asker *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->options = (struct h2_client_options){
        .limits = {.body_bytes = UINT64_MAX,
                   .header_bytes = 4096,
                   .target_bytes = 4096,
                   .headers = 20},
        .connect_ms = 1000,
        .response_idle_ms = 60000,
        .write_stall_ms = 30000,
        .idle_ms = 55000,
        .ping_ms = 20000,
        .pong_ms = 10000,
        .max_streams = 4,
        .buffer = ASKER_BUFFER,
        .conn_buffer = 1 << 20,
    };
    begin(f, 0);
    *state = f;
    return 0;
}

static void end(struct asker *f)
{
    for (unsigned i = 0; i < f->n_asks; i++)
        if (f->asks[i].stream != NULL)
            asker_release(&f->asks[i], REASON_INTERNAL);
    asker_run(f);
    if (f->client != NULL && !conn_closed(h2_client_conn(f->client)))
        h2_client_retire(f->client, REASON_DONE);
    asker_run(f);
    assert_null(f->client);
    h2_frames_fini(&f->peer);
    wire_fini(&f->w);
}

int asker_teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

void asker_expects(struct asker *f, uint32_t takes)
{
    end(f);
    f->notes.log[0] = '\0';
    begin(f, takes);
}

/* ---- requests ---- */

struct http_head *asker_head(struct asker *f, const char *method, enum body_kind body)
{
    struct http_head *head = &f->head;
    http_head_init(head);
    http_head_method(head, span_str(method));
    head->path = SPAN_LIT("/a");
    head->body = (uint8_t)body;
    http_head_add(head, FIELD_HOST, SPAN_LIT("Host"), SPAN_LIT("h"));
    return head;
}

struct ask *asker_open(struct asker *f)
{
    assert_true(f->n_asks < ASKER_ASKS && h2_client_room(f->client));
    struct ask *a = &f->asks[f->n_asks];
    *a = (struct ask){.f = f, .name = (char)('a' + f->n_asks++)};
    a->stream = h2_client_open(f->client, &events, a, ASKER_HEAD_MS);
    return a;
}

struct ask *asker_begin(struct asker *f, const struct http_head *head)
{
    struct ask *a = asker_open(f);
    a->stream->ops->send_head(a->stream, head);
    return a;
}

struct ask *asker_ask(struct asker *f, const char *method)
{
    struct ask *a = asker_begin(f, asker_head(f, method, BODY_NONE));
    a->stream->ops->send_end(a->stream, NULL);
    asker_run(f);
    return a;
}

void asker_send(struct ask *a, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &a->f->w.r.bufs, bytes, n);
    a->stream->ops->send_body(a->stream, &body);
}

/* Up, both sides' settings said. */
void asker_up(struct asker *f)
{
    pair_connect(f->w.pair, 0, 0);
    wire_settle(&f->w);
    h2_say_setting(&f->peer, 0, 0);
    h2_got(&f->peer);
    asker_run(f);
    h2_got(&f->peer);
    asker_notes(f);
}
