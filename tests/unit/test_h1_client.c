/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upstream conns, event by event, against an upstream on an in-memory wire and an owner that writes
 * down what it is told. Time is the test's; the reactor's end checks that all memory came back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/h1_client.h"
#include "tests/unit/wire.h"

enum { BUFFER = 4096, HEAD_MS = 5000 };

struct fixture {
    struct wire w;
    struct h1_client_options options;
    struct h1_client *client;
    struct stream *stream;
    bool idle; /* the client is in our hands */
    bool credit, release_on_end;
    char log[4096];
    char body[65536];
    size_t body_len;
};

static void note(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct fixture *f, const char *format, ...)
{
    va_list args;
    size_t n = strlen(f->log);
    va_start(args, format);
    n += (size_t)vsnprintf(f->log + n, sizeof(f->log) - n, format, args);
    va_end(args);
    assert_true(n < sizeof(f->log));
}

static const char *notes(struct fixture *f)
{
    static char taken[sizeof(f->log)];
    memcpy(taken, f->log, sizeof(taken));
    f->log[0] = '\0';
    return taken;
}

static void release(struct fixture *f, enum reason reason)
{
    struct stream *s = TAKE(f->stream);
    s->ops->release(s, reason);
}

/* ---- the stream's owner ---- */

static void on_head(struct stream *s, struct http_head *head)
{
    note(s->owner, "%u|", head->status);
}

static void on_body(struct stream *s, struct chain *body)
{
    struct fixture *f = s->owner;
    size_t n = body->bytes;
    for (const struct slice *slice = body->head; slice != NULL; slice = slice->next) {
        assert_true(f->body_len + slice->len < sizeof(f->body));
        memcpy(f->body + f->body_len, slice->ptr, slice->len);
        f->body_len += slice->len;
    }
    f->body[f->body_len] = '\0';
    chain_clear(body);
    if (f->credit)
        s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct fixture *f = s->owner;
    note(f, "end");
    for (unsigned i = 0; trailers != NULL && i < trailers->n_fields; i++)
        note(f, " %.*s", trailers->fields[i].name_len, trailers->fields[i].name);
    note(f, "|");
    if (f->release_on_end)
        release(f, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    note(s->owner, "drained %zu|", n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct fixture *f = s->owner;
    note(f, "aborted %s%s%s|", reason_row(reason)->name, s->reused ? " reused" : "",
         s->answered ? " answered" : "");
    release(f, reason);
}

static const struct stream_events events = {
    .head = on_head, .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

/* ---- the conn's owner ---- */

static void on_idle(void *ctx, struct h1_client *cl)
{
    struct fixture *f = ctx;
    assert_ptr_equal(cl, f->client);
    f->idle = true;
    h1_client_keep(cl, 55000);
    note(f, "idle|");
}

static void on_unlisted(void *ctx)
{
    note(ctx, "unlisted|");
}

static void on_outlived(void *ctx)
{
    note(ctx, "outlived|");
}

static void on_closes_after(void *ctx, uint64_t ms)
{
    note(ctx, "closes after %llu|", (unsigned long long)ms);
}

static void on_closed(void *ctx, struct h1_client *cl, enum reason reason)
{
    struct fixture *f = ctx;
    (void)reason;
    assert_ptr_equal(cl, f->client);
    f->client = NULL;
    f->idle = false;
    note(f, "closed|");
}

static const struct h1_client_owner owner = {
    .idle = on_idle,
    .unlisted = on_unlisted,
    .outlived = on_outlived,
    .closes_after = on_closes_after,
    .closed = on_closed,
};

/* ---- a test's life ---- */

static void run(struct fixture *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
}

static void begin(struct fixture *f, size_t capacity)
{
    wire_init(&f->w, capacity);
    f->client = h1_client_new(&f->w.r, &f->options, &owner, f);
    wire_attach(&f->w, h1_client_conn(f->client), true);
    conn_expect(h1_client_conn(f->client), f->options.connect_ms); /* as h1_client_dial does */
    f->body_len = 0;
    f->body[0] = '\0';
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
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
        .buffer = BUFFER,
    };
    begin(f, 65536);
    *state = f;
    return 0;
}

static void end(struct fixture *f)
{
    if (f->stream != NULL)
        release(f, REASON_INTERNAL);
    else if (f->client != NULL && !conn_closed(h1_client_conn(f->client)))
        h1_client_close(f->client, REASON_DONE);
    run(f);
    assert_null(f->client);
    wire_fini(&f->w);
}

static int teardown(void **state)
{
    end(*state);
    free(*state);
    return 0;
}

static void rewire(struct fixture *f, size_t capacity)
{
    end(f);
    f->log[0] = '\0';
    begin(f, capacity);
}

/* ---- requests ---- */

static void open_stream(struct fixture *f)
{
    f->idle = false;
    f->stream = h1_client_open(f->client, &events, f, HEAD_MS);
}

static void send_head(struct fixture *f, const char *method, enum body_kind body, bool upgrade)
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

static void send_bytes(struct fixture *f, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &f->w.r.bufs, bytes, n);
    f->stream->ops->send_body(f->stream, &body);
}

static void connect_up(struct fixture *f)
{
    pair_connect(f->w.pair, 0, 0);
    wire_settle(&f->w);
}

/* A whole request on a conn that is up. */
static void ask(struct fixture *f, const char *method)
{
    open_stream(f);
    send_head(f, method, BODY_NONE, false);
    f->stream->ops->send_end(f->stream, NULL);
    run(f);
}

static void ask_up(struct fixture *f, const char *method)
{
    connect_up(f);
    ask(f, method);
}

#define OK_5 "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

static void a_request_waits_for_the_connection(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET");
    assert_string_equal(wire_take(&f->w), "");
    assert_true((f->stream)->connected_us == 0);
    connect_up(f);
    assert_string_equal(wire_take(&f->w), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true((f->stream)->connected_us > 0);
    wire_say(&f->w, OK_5);
    assert_string_equal(f->body, "hello");
    assert_string_equal(notes(f), "200|end|idle|");
}

static void a_conn_serves_one_request_after_the_other(void **state)
{
    struct fixture *f = *state;
    connect_up(f);
    for (int i = 0; i < 3; i++) {
        ask(f, "GET");
        assert_int_equal(f->stream->reused, i > 0);
        assert_string_equal(wire_take(&f->w), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        wire_say(&f->w, OK_5);
        assert_string_equal(notes(f), "200|end|idle|");
        assert_int_equal(f->w.r.bufs.blocks, 0); /* an idle conn owns no buffer */
    }
}

static void bodies_are_framed_as_announced(void **state)
{
    struct fixture *f = *state;
    connect_up(f);
    open_stream(f);
    send_head(f, "POST", BODY_CHUNKED, false);
    send_bytes(f, "hello", 5);
    f->stream->ops->send_end(f->stream, NULL);
    run(f);
    assert_string_equal(wire_take(&f->w),
                        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "5\r\nhello\r\n0\r\n\r\n");
    assert_string_equal(notes(f), "drained 5|");
    wire_say(&f->w, OK_5);
}

static void responses_are_handed_up_as_they_come(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
    assert_string_equal(notes(f), "100|103|");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_string_equal(notes(f), "200|");
    assert_string_equal(f->body, "abc");
    wire_say(&f->w, "0\r\nT: 1\r\n\r\n");
    assert_string_equal(notes(f), "end T|idle|");
}

static void byte_by_byte_is_the_same(void **state)
{
    struct fixture *f = *state;
    connect_up(f);
    pair_limit(f->w.pair, 0, 1);
    ask(f, "GET");
    wire_say(&f->w, "HTTP/1.1 100 Continue\r\n\r\n" OK_5);
    assert_string_equal(f->body, "hello");
    assert_string_equal(notes(f), "100|200|end|idle|");
}

static void head_has_no_body(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "HEAD");
    wire_say(&f->w, "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_string_equal(notes(f), "103|200|end|idle|");
}

/* ---- conns that must not be reused ---- */

static void some_conns_are_not_kept(void **state)
{
    static const char *const responses[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK_5 "surplus",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        rewire(f, 65536);
        ask_up(f, "GET");
        wire_say(&f->w, responses[i]);
        assert_string_equal(notes(f), "200|end|closed|");
    }
}

static void a_conn_whose_request_is_not_whole_is_not_kept(void **state)
{
    struct fixture *f = *state;
    connect_up(f);
    open_stream(f);
    send_head(f, "POST", BODY_CHUNKED, false);
    run(f);
    wire_say(&f->w, OK_5);
    assert_string_equal(notes(f), "200|end|closed|");
}

static void a_conn_that_is_let_go_early_is_not_kept(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    release(f, REASON_CLIENT_CLOSED);
    run(f);
    assert_string_equal(notes(f), "closed|");
}

static void a_body_until_close_ends_with_the_conn(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\n\r\nall ");
    wire_say(&f->w, "of it");
    assert_string_equal(notes(f), "200|");
    wire_end(&f->w);
    assert_string_equal(f->body, "all of it");
    assert_string_equal(notes(f), "end|closed|");
}

static void a_body_until_close_that_is_reset_is_not_whole(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\n\r\nhalf");
    wire_close(&f->w, true);
    assert_string_equal(notes(f), "200|aborted upstream_reset answered|closed|");
}

/* ---- idle ---- */

static void an_idle_conn_that_the_upstream_closes_goes(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    notes(f);
    wire_pass(&f->w, 5000);
    wire_end(&f->w);
    assert_string_equal(notes(f), "closes after 5000|closed|");
}

static void an_idle_conn_is_closed_in_time(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    notes(f);
    wire_pass(&f->w, 54900);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "outlived|closed|");
    assert_true(f->w.got_end);
}

static void an_idle_conn_that_speaks_is_not_trusted(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    notes(f);
    wire_say(&f->w, OK_5);
    assert_string_equal(notes(f), "closed|");
}

static void an_idle_conn_in_a_list_leaves_it(void **state)
{
    struct fixture *f = *state;
    struct list_node list;
    list_init(&list);
    ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    notes(f);
    list_push_front(&list, h1_client_link(f->client));
    wire_close(&f->w, true);
    assert_true(list_empty(&list));
    assert_string_equal(notes(f), "closes after 0|unlisted|closed|");
}

static void keep_alive_timeout_is_told(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nKeep-Alive: max=5, timeout=7\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(notes(f), "closes after 7000|200|end|idle|");
}

/* ---- an upstream that fails, at every state ---- */

static void a_connection_that_fails_has_a_reason(void **state)
{
    static const struct {
        int status;
        const char *want;
    } rows[] = {
        {UV_ECONNREFUSED, "aborted connect_refused|closed|"},
        {UV_EHOSTUNREACH, "aborted connect_failed|closed|"},
        {UV_ETIMEDOUT, "aborted connect_timeout|closed|"},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        rewire(f, 65536);
        ask(f, "GET");
        pair_connect(f->w.pair, 0, rows[i].status);
        wire_settle(&f->w);
        assert_string_equal(notes(f), rows[i].want);
    }
}

static void connecting_has_a_time(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET");
    wire_pass(&f->w, 900);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "aborted connect_timeout|closed|");
}

static const struct {
    const char *said; /* before it fails */
    const char *ended, *reset;
} failures[] = {
    {"", "aborted upstream_closed|closed|", "aborted upstream_reset|closed|"},
    {"HTT", "aborted upstream_closed answered|closed|", "aborted upstream_reset answered|closed|"},
    {"HTTP/1.1 100 C\r\n\r\n", "100|aborted upstream_closed answered|closed|",
     "100|aborted upstream_reset answered|closed|"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
     "200|aborted response_incomplete answered|closed|",
     "200|aborted upstream_reset answered|closed|"},
    {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
     "200|aborted response_incomplete answered|closed|",
     "200|aborted upstream_reset answered|closed|"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
     "200|aborted response_incomplete answered|closed|",
     "200|aborted upstream_reset answered|closed|"},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT",
     "200|aborted response_incomplete answered|closed|",
     "200|aborted upstream_reset answered|closed|"},
};

static void an_upstream_may_fail_at_any_time(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        for (int reset = 0; reset < 2; reset++) {
            rewire(f, 65536);
            ask_up(f, "GET");
            wire_say(&f->w, failures[i].said);
            wire_close(&f->w, reset);
            assert_string_equal(notes(f), reset ? failures[i].reset : failures[i].ended);
        }
    }
}

/* A stale conn: it says so, and the request is known not to have been read. */
static void a_stale_conn_is_told_apart(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    notes(f);
    ask(f, "GET");
    wire_close(&f->w, true);
    assert_string_equal(notes(f), "aborted upstream_reset reused|closed|");
    rewire(f, 65536);
    ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    notes(f);
    pair_fail_write(f->w.pair, 0, UV_EPIPE); /* not a byte leaves */
    pair_fail_read(f->w.pair, 0, UV_ECONNRESET);
    ask(f, "POST");
    assert_string_equal(notes(f), "aborted upstream_unsent reused|closed|");
}

/* An upstream that answers and closes without reading the whole request: the answer counts. */
static void an_answer_before_a_broken_write_is_delivered(void **state)
{
    struct fixture *f = *state;
    static char bytes[5000];
    rewire(f, 1000);
    connect_up(f);
    wire_read(&f->w, false);
    open_stream(f);
    send_head(f, "POST", BODY_CHUNKED, false);
    send_bytes(f, bytes, sizeof(bytes));
    run(f);
    notes(f);
    pair_fail_write(f->w.pair, 0, UV_EPIPE);
    wire_say(&f->w, "HTTP/1.1 413 Too\r\nContent-Length: 2\r\n\r\nno");
    assert_string_equal(notes(f), "413|end|closed|");
    assert_string_equal(f->body, "no");
}

static void a_malformed_response_is_a_bad_one(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 2x0 OK\r\n\r\n");
    assert_string_equal(notes(f), "aborted bad_response answered|closed|");
    rewire(f, 65536);
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n");
    assert_string_equal(notes(f), "200|aborted bad_response answered|closed|");
    assert_string_equal(f->body, "x");
}

static void a_stream_may_be_let_go_at_any_time(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        rewire(f, 65536);
        ask_up(f, "GET");
        wire_say(&f->w, failures[i].said);
        notes(f);
        release(f, REASON_REQUEST_TIMEOUT);
        run(f);
        assert_string_equal(notes(f), "closed|");
    }
}

/* ---- time ---- */

static void the_response_head_has_its_time_from_the_requests_end(void **state)
{
    struct fixture *f = *state;
    connect_up(f);
    open_stream(f);
    send_head(f, "POST", BODY_CHUNKED, false);
    run(f);
    wire_pass(&f->w, 100000); /* the request is not whole: nothing is late */
    assert_string_equal(notes(f), "");
    f->stream->ops->send_end(f->stream, NULL);
    run(f);
    wire_pass(&f->w, HEAD_MS - 100);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "aborted response_head_timeout|closed|");
}

static void a_dialled_conn_has_the_time_from_when_it_is_up(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET");
    wire_pass(&f->w, 900);
    connect_up(f);
    wire_pass(&f->w, HEAD_MS - 100);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "aborted response_head_timeout|closed|");
}

static void a_response_has_its_time_between_bytes(void **state)
{
    struct fixture *f = *state;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        wire_pass(&f->w, 59000);
        wire_say(&f->w, "x");
    }
    assert_string_equal(notes(f), "200|");
    wire_pass(&f->w, 60100);
    assert_string_equal(notes(f), "aborted response_idle_timeout answered|closed|");
}

static void an_upstream_that_reads_nothing_is_given_up(void **state)
{
    struct fixture *f = *state;
    static char bytes[5000];
    rewire(f, 1000);
    connect_up(f);
    wire_read(&f->w, false);
    open_stream(f);
    send_head(f, "POST", BODY_CHUNKED, false);
    send_bytes(f, bytes, sizeof(bytes));
    run(f);
    notes(f);
    wire_pass(&f->w, 29900);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "aborted upstream_write_stall|closed|");
}

/* ---- credit ---- */

static void a_response_stops_where_the_credit_ends(void **state)
{
    struct fixture *f = *state;
    f->credit = false;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n");
    char *bytes = calloc(1, 50000);
    wire_say_bytes(&f->w, bytes, 50000);
    free(bytes);
    assert_in_range(f->body_len, BUFFER, BUFFER + BLOCK_BYTES);
    assert_false(pair_reading(f->w.pair, 0));
    wire_pass(&f->w, 300000); /* that is not the upstream's fault */
    assert_string_equal(notes(f), "200|");
    f->credit = true;
    f->stream->ops->credit(f->stream, f->body_len);
    run(f);
    assert_int_equal(f->body_len, 50000);
    assert_string_equal(notes(f), "end|idle|");
}

/* What was read before the end is delivered before the end. */
static void an_end_waits_for_credit(void **state)
{
    struct fixture *f = *state;
    f->credit = false;
    ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\n\r\n");
    char *bytes = calloc(1, 30000);
    wire_say_bytes(&f->w, bytes, 30000);
    free(bytes);
    wire_end(&f->w);
    assert_true(f->body_len < 30000);
    assert_string_equal(notes(f), "200|");
    f->credit = true;
    f->stream->ops->credit(f->stream, f->body_len);
    run(f);
    assert_int_equal(f->body_len, 30000);
    assert_string_equal(notes(f), "end|closed|");
}

/* ---- tunnels ---- */

#define SWITCH "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

static void ask_upgrade(struct fixture *f)
{
    f->release_on_end = false;
    connect_up(f);
    open_stream(f);
    send_head(f, "GET", BODY_NONE, true);
    f->stream->ops->send_end(f->stream, NULL);
    run(f);
    assert_string_equal(wire_take(&f->w),
                        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
}

static void a_101_opens_a_tunnel(void **state)
{
    struct fixture *f = *state;
    ask_upgrade(f);
    wire_say(&f->w, SWITCH "first bytes");
    assert_string_equal(f->body, "first bytes");
    assert_string_equal(notes(f), "101|");
    send_bytes(f, "ours", 4);
    run(f);
    assert_string_equal(wire_take(&f->w), "ours");
    wire_pass(&f->w, 1000000); /* the tunnel's idle time is the exchange's */
    notes(f);
    wire_end(&f->w);
    assert_string_equal(notes(f), "end|");
    send_bytes(f, "last", 4);
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
    run(f);
    assert_string_equal(wire_take(&f->w), "last");
    assert_true(f->w.got_end);
    assert_null(f->client);
}

static void a_tunnel_is_flushed_after_it_is_let_go(void **state)
{
    struct fixture *f = *state;
    static char bytes[5000];
    rewire(f, 1000);
    ask_upgrade(f);
    wire_say(&f->w, SWITCH);
    wire_read(&f->w, false);
    send_bytes(f, bytes, sizeof(bytes));
    f->stream->ops->send_end(f->stream, NULL);
    wire_end(&f->w);
    notes(f);
    release(f, REASON_DONE);
    run(f);
    assert_non_null(f->client);
    wire_read(&f->w, true);
    assert_int_equal(f->w.got_len, sizeof(bytes));
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    assert_null(f->client);
}

static void an_upgrade_that_is_declined_is_an_ordinary_response(void **state)
{
    struct fixture *f = *state;
    ask_upgrade(f);
    f->release_on_end = true;
    wire_say(&f->w, OK_5);
    assert_string_equal(notes(f), "200|end|idle|");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_waits_for_the_connection),
        TEST(a_conn_serves_one_request_after_the_other),
        TEST(bodies_are_framed_as_announced),
        TEST(responses_are_handed_up_as_they_come),
        TEST(byte_by_byte_is_the_same),
        TEST(head_has_no_body),
        TEST(some_conns_are_not_kept),
        TEST(a_conn_whose_request_is_not_whole_is_not_kept),
        TEST(a_conn_that_is_let_go_early_is_not_kept),
        TEST(a_body_until_close_ends_with_the_conn),
        TEST(a_body_until_close_that_is_reset_is_not_whole),
        TEST(an_idle_conn_that_the_upstream_closes_goes),
        TEST(an_idle_conn_is_closed_in_time),
        TEST(an_idle_conn_that_speaks_is_not_trusted),
        TEST(an_idle_conn_in_a_list_leaves_it),
        TEST(keep_alive_timeout_is_told),
        TEST(a_connection_that_fails_has_a_reason),
        TEST(connecting_has_a_time),
        TEST(an_upstream_may_fail_at_any_time),
        TEST(a_stale_conn_is_told_apart),
        TEST(an_answer_before_a_broken_write_is_delivered),
        TEST(a_malformed_response_is_a_bad_one),
        TEST(a_stream_may_be_let_go_at_any_time),
        TEST(the_response_head_has_its_time_from_the_requests_end),
        TEST(a_dialled_conn_has_the_time_from_when_it_is_up),
        TEST(a_response_has_its_time_between_bytes),
        TEST(an_upstream_that_reads_nothing_is_given_up),
        TEST(a_response_stops_where_the_credit_ends),
        TEST(an_end_waits_for_credit),
        TEST(a_101_opens_a_tunnel),
        TEST(a_tunnel_is_flushed_after_it_is_let_go),
        TEST(an_upgrade_that_is_declined_is_an_ordinary_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
