/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client conns, event by event, against a client on an in-memory wire and a service that writes
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
#include "proxy/http/h1_server.h"
#include "tests/unit/wire.h"

enum { BUFFER = 4096 };

struct fixture {
    struct wire w;
    struct h1_server_options options;
    struct list_node conns;
    struct h1_server *srv;
    struct stream *stream; /* of the request in progress */
    struct http_head *head;
    size_t credit;       /* what every body event gives back at once */
    bool keep;           /* what keep_alive answers */
    bool answer_at_once; /* in the request event */
    bool release_on_abort;
    bool quiet; /* nothing is noted */
    char log[4096];
    char body[65536];
    size_t body_len;
};

/* ---- the service ---- */

static void note(struct fixture *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct fixture *f, const char *format, ...)
{
    va_list args;
    size_t n = strlen(f->log);
    if (f->quiet)
        return;
    va_start(args, format);
    n += (size_t)vsnprintf(f->log + n, sizeof(f->log) - n, format, args);
    va_end(args);
    assert_true(n < sizeof(f->log));
}

/* The notes since the last call. */
static const char *notes(struct fixture *f)
{
    static char taken[sizeof(f->log)];
    memcpy(taken, f->log, sizeof(taken));
    f->log[0] = '\0';
    return taken;
}

static void send_head(struct fixture *f, unsigned status, enum body_kind body, uint64_t length)
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

static void send_bytes(struct fixture *f, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &f->w.r.bufs, bytes, n);
    f->stream->ops->send_body(f->stream, &body);
    assert_true(chain_empty(&body));
}

static void release(struct fixture *f, enum reason reason)
{
    struct stream *s = TAKE(f->stream);
    s->ops->release(s, reason);
}

/* Queues a whole answer, and lets go. */
static void answer(struct fixture *f, const char *body)
{
    send_head(f, 200, BODY_LENGTH, strlen(body));
    send_bytes(f, body, strlen(body));
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
}

/* Verbs in tests come from outside of the dispatch loop, which so has to run. */
static void run(struct fixture *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
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
    if (f->credit > 0)
        s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct fixture *f = s->owner;
    note(f, "end");
    for (unsigned i = 0; trailers != NULL && i < trailers->n_fields; i++)
        note(f, " %.*s", trailers->fields[i].name_len, trailers->fields[i].name);
    note(f, "|");
}

static void on_drained(struct stream *s, size_t n)
{
    note(s->owner, "drained %zu|", n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct fixture *f = s->owner;
    note(f, "aborted %s|", reason_row(reason)->name);
    if (f->release_on_abort)
        release(f, reason);
}

static const struct stream_events events = {
    .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

static void on_request(void *ctx, struct stream *s, struct http_head *head,
                       const struct http_peer *peer, enum reason reason)
{
    struct fixture *f = ctx;
    (void)peer;
    assert_null(f->stream);
    note(f, "%.*s %.*s %s|", (int)head->method.len, head->method.len ? head->method.ptr : "",
         (int)head->path.len, head->path.len ? head->path.ptr : "", reason_row(reason)->name);
    s->events = &events;
    s->owner = f;
    f->stream = s;
    f->head = head;
    if (f->answer_at_once)
        answer(f, "now");
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer)
{
    (void)peer;
    return ((struct fixture *)ctx)->keep;
}

static void on_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    (void)peer;
    struct fixture *f = ctx;
    f->srv = NULL;
    note(f, "closed %s|", reason_row(reason)->name);
}

static const struct http_service service = {
    .request = on_request, .keep_alive = on_keep_alive, .closed = on_closed};

/* ---- a test's life ---- */

static void begin(struct fixture *f, size_t capacity)
{
    struct http_peer peer = {.text_len = 0};
    wire_init(&f->w, capacity);
    list_init(&f->conns);
    f->srv = h1_server_new(&f->w.r, &f->options, &peer, &f->conns);
    wire_attach(&f->w, h1_server_conn(f->srv), false);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->keep = true;
    f->release_on_abort = true;
    f->options = (struct h1_server_options){
        .limits = {.body_bytes = UINT64_MAX,
                   .header_bytes = 8192,
                   .target_bytes = 4096,
                   .headers = 100},
        .head_ms = 10000,
        .idle_ms = 75000,
        .body_ms = 60000,
        .write_stall_ms = 30000,
        .buffer = BUFFER,
        .service = &service,
        .ctx = f,
    };
    begin(f, 65536);
    *state = f;
    return 0;
}

/* Another capacity of the wire than usual. */
static void rewire(struct fixture *f, size_t capacity)
{
    h1_server_abort(f->srv, REASON_SHUTDOWN);
    wire_settle(&f->w);
    wire_fini(&f->w);
    f->log[0] = '\0';
    begin(f, capacity);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->srv != NULL)
        h1_server_abort(f->srv, REASON_SHUTDOWN);
    wire_settle(&f->w);
    assert_null(f->stream);
    assert_null(f->srv);
    assert_true(list_empty(&f->conns));
    wire_fini(&f->w);
    free(f);
    return 0;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: h\r\n\r\n"

/* ---- a request and its answer ---- */

static void a_request_is_answered_and_the_conn_kept(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 3; i++) {
        wire_say(&f->w, GET("/a"));
        assert_string_equal(notes(f), "GET /a |end|");
        answer(f, "hello");
        run(f);
        assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }
    assert_false(f->w.got_end);
}

static void an_idle_conn_owns_no_buffer(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, GET("/"));
    answer(f, "");
    run(f);
    assert_int_equal(f->w.r.bufs.blocks, 0);
    assert_null(h1_server_conn(f->srv)->in);
}

static void what_the_service_sends_is_reported_as_drained(void **state)
{
    struct fixture *f = *state;
    rewire(f, 100);
    wire_say(&f->w, GET("/"));
    notes(f);
    wire_read(&f->w, false);
    char bytes[1000] = {0};
    send_head(f, 200, BODY_CHUNKED, 0);
    send_bytes(f, bytes, sizeof(bytes));
    run(f);
    notes(f); /* what fitted */
    wire_read(&f->w, true);
    assert_true(strstr(notes(f), "drained") != NULL);
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
    run(f);
    assert_int_equal(f->w.got_len, strlen("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") +
                                       strlen("3e8\r\n") + 1000 + strlen("\r\n0\r\n\r\n"));
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, GET("/1") GET("/2") GET("/3"));
    assert_string_equal(notes(f), "GET /1 |end|"); /* the next waits */
    answer(f, "1");
    run(f);
    assert_string_equal(notes(f), "GET /2 |end|");
    answer(f, "2");
    run(f);
    answer(f, "3");
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3");
}

static void answers_in_the_request_event_are_fine(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = true;
    wire_say(&f->w,
             GET("/1")
                 GET("/2") "POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" GET("/4"));
    assert_string_equal(notes(f), "GET /1 |GET /2 |POST /3 |GET /4 |");
    assert_false(f->w.got_end);
}

static void requests_behind_one_in_progress_pile_up_to_a_bound(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, GET("/1"));
    for (int i = 0; i < 4000 && pair_reading(f->w.pair, 0); i++)
        wire_say(&f->w, GET("/2"));
    assert_false(pair_reading(f->w.pair, 0));
    assert_true(conn_input(h1_server_conn(f->srv)).len < 40000);
    f->answer_at_once = f->quiet = true;
    answer(f, "1");
    run(f);
    assert_true(pair_reading(f->w.pair, 0));
    assert_null(f->stream);
}

/* A client that sends requests without reading the answers is not read from either. */
static void unread_answers_stop_the_reading(void **state)
{
    struct fixture *f = *state;
    rewire(f, 1024);
    wire_read(&f->w, false);
    f->answer_at_once = f->quiet = true;
    for (int i = 0; i < 20000 && pair_reading(f->w.pair, 0); i++)
        wire_say(&f->w, GET("/"));
    assert_false(pair_reading(f->w.pair, 0));
    assert_true(conn_input(h1_server_conn(f->srv)).len < 40000);
    assert_true(conn_unsent(h1_server_conn(f->srv)) < 2 * BUFFER);
    wire_read(&f->w, true); /* and goes on once it reads */
    assert_true(pair_reading(f->w.pair, 0));
    assert_int_equal(conn_input(h1_server_conn(f->srv)).len, 0);
}

/* ---- bodies and credit ---- */

static void a_body_stops_where_the_credit_ends(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n");
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    assert_true(f->body_len >= BUFFER && f->body_len < 20000);
    assert_false(pair_reading(f->w.pair, 0));
    size_t before = f->body_len;
    f->stream->ops->credit(f->stream, 1);
    run(f);
    assert_true(f->body_len <= before + BLOCK_BYTES); /* the window is still shut */
    f->credit = 1;
    f->stream->ops->credit(f->stream, 20000);
    run(f);
    assert_int_equal(f->body_len, 20000);
    assert_string_equal(notes(f), "POST / |end|");
    answer(f, "");
    run(f);
}

static void what_is_held_for_a_body_is_bounded(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n");
    char *bytes = calloc(1, 50000);
    wire_say_bytes(&f->w, bytes, 50000);
    free(bytes);
    assert_in_range(f->body_len, BUFFER, BUFFER + BLOCK_BYTES); /* the last read may exceed it */
    wire_close(&f->w, true);
    f->stream->ops->credit(f->stream, 50000);
    run(f);
    assert_string_equal(notes(f), "POST / |aborted client_reset|closed client_reset|");
}

static void chunks_and_trailers_are_handed_up(void **state)
{
    struct fixture *f = *state;
    f->credit = 1;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_string_equal(notes(f), "POST / |");
    wire_say(&f->w, "2\r\nde\r\n0\r\nT: 1\r\n\r\n");
    assert_string_equal(f->body, "abcde");
    assert_string_equal(notes(f), "end T|");
    answer(f, "");
    run(f);
}

static void a_http_1_0_client_gets_no_chunks(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    send_head(f, 103, BODY_NONE, 0); /* nor interim responses */
    send_head(f, 200, BODY_CHUNKED, 0);
    send_bytes(f, "body", 4);
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody");
    assert_true(f->w.got_end);
}

static void a_http_1_0_client_may_keep_the_conn(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    answer(f, "x");
    run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx");
    assert_false(f->w.got_end);
}

static void head_and_304_have_no_body(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    answer(f, "hello");
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    wire_say(&f->w, GET("/"));
    send_head(f, 304, BODY_NONE, 0);
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 304 Not Modified\r\n\r\n");
}

/* ---- the end of a conn ---- */

static void close_is_honoured_from_either_side(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    answer(f, "x");
    run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    assert_true(f->w.got_end);
    assert_string_equal(notes(f), "GET / |end|closed done|");
}

static void a_service_that_drains_closes(void **state)
{
    struct fixture *f = *state;
    f->keep = false;
    wire_say(&f->w, GET("/"));
    answer(f, "x");
    run(f);
    assert_true(strstr(wire_take(&f->w), "Connection: close\r\n") != NULL);
    assert_true(f->w.got_end);
    assert_non_null(f->srv); /* the client may have sent its next request: no reset for that */
    wire_say(&f->w, GET("/next"));
    assert_int_equal(f->w.got_error, 0);
    wire_end(&f->w);
    assert_null(f->srv);
}

/* Bytes behind the last request: closing at once would reset the conn and eat the answer. */
static void a_conn_lingers_over_bytes_it_will_not_answer(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/2"));
    answer(f, "x");
    run(f);
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    assert_non_null(f->srv);
    wire_say(&f->w, GET("/3"));
    assert_non_null(f->srv);
    wire_end(&f->w);
    assert_null(f->srv);
    assert_string_equal(notes(f), "GET / |end|closed done|");
}

static void lingering_has_an_end(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nx");
    answer(f, "x");
    run(f);
    wire_pass(&f->w, 1900);
    assert_non_null(f->srv);
    wire_pass(&f->w, 200);
    assert_null(f->srv);
}

/* The time to linger counts from when the answer has left, not from when it was queued. */
static void a_slow_reader_gets_its_whole_answer_before_the_lingering(void **state)
{
    struct fixture *f = *state;
    static char bytes[3000];
    rewire(f, 1000);
    wire_read(&f->w, false);
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\r\n");
    send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    send_bytes(f, bytes, sizeof(bytes));
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
    run(f);
    wire_pass(&f->w, 5000);
    assert_non_null(f->srv);
    wire_read(&f->w, true);
    assert_true(f->w.got_len > sizeof(bytes));
    assert_true(f->w.got_end);
    wire_pass(&f->w, 2100);
    assert_null(f->srv);
}

/* Nor does the client's own end cut it. */
static void a_half_closed_client_gets_its_whole_answer_before_the_end(void **state)
{
    struct fixture *f = *state;
    static char bytes[3000];
    rewire(f, 1000);
    wire_read(&f->w, false);
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\r\n");
    send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    send_bytes(f, bytes, sizeof(bytes));
    f->stream->ops->send_end(f->stream, NULL);
    release(f, REASON_DONE);
    run(f);
    wire_end(&f->w);
    wire_read(&f->w, true);
    assert_true(f->w.got_len > sizeof(bytes));
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    assert_null(f->srv);
}

static void a_cut_answer_is_not_forged_into_a_whole_one(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, GET("/"));
    send_head(f, 200, BODY_CHUNKED, 0);
    send_bytes(f, "half", 4);
    run(f);
    release(f, REASON_RESPONSE_INCOMPLETE);
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                          "4\r\nhalf\r\n");
    assert_true(f->w.got_end);
    assert_non_null(f->srv); /* bytes that nobody reads would make a reset of the close */
    wire_end(&f->w);
    run(f);
    assert_true(strstr(notes(f), "closed response_incomplete|") != NULL);
}

/* A body that ends with the conn can only be cut by a reset. */
static void a_cut_answer_until_close_is_reset(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.0\r\n\r\n");
    send_head(f, 200, BODY_CLOSE, 0);
    send_bytes(f, "half", 4);
    run(f);
    release(f, REASON_RESPONSE_INCOMPLETE);
    run(f);
    assert_int_equal(f->w.got_error, UV_ECONNRESET);
}

static void an_idle_conn_may_be_closed_by_either_side(void **state)
{
    struct fixture *f = *state;
    h1_server_close_idle(f->srv); /* its first request may be on the way */
    run(f);
    assert_false(f->w.got_end);
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    answer(f, "x");
    run(f);
    h1_server_close_idle(f->srv);
    run(f);
    assert_true(f->w.got_end);
    assert_string_equal(notes(f), "GET / |end|closed draining|");
    wire_fini(&f->w);
    begin(f, 65536);
    wire_end(&f->w);
    assert_string_equal(notes(f), "closed client_closed|");
}

/* A conn that was just accepted may have its request on the way, but not for long. */
static void a_new_conn_has_a_moment_for_its_first_request(void **state)
{
    struct fixture *f = *state;
    h1_server_close_idle(f->srv);
    run(f);
    wire_pass(&f->w, 900);
    assert_false(f->w.got_end);
    wire_pass(&f->w, 200);
    assert_true(f->w.got_end);
    assert_null(f->srv);
}

static void a_busy_conn_is_not_idle(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GE");
    h1_server_close_idle(f->srv);
    run(f);
    assert_non_null(f->srv);
    wire_say(&f->w, "T / HTTP/1.1\r\nHost: h\r\n\r\n");
    h1_server_close_idle(f->srv);
    run(f);
    answer(f, "x");
    run(f);
    assert_non_null(f->srv);
}

/* ---- refusals ---- */

static void a_bad_request_is_answered_once_and_closed(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\n\r\n" GET("/2"));
    assert_string_equal(notes(f), "GET  missing_host|");
    answer(f, "no");
    run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(notes(f), "closed done|");
}

static void a_body_that_breaks_a_rule_aborts_the_request(void **state)
{
    struct fixture *f = *state;
    f->release_on_abort = false;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    wire_say(&f->w, "zz\r\n");
    assert_string_equal(notes(f), "POST / |aborted bad_chunk|");
    answer(f, "no");
    run(f);
    assert_true(strstr(wire_take(&f->w), "Connection: close\r\n") != NULL);
    assert_true(f->w.got_end);
    wire_end(&f->w);
}

/* ---- time ---- */

static void a_silent_conn_is_closed_without_a_word(void **state)
{
    struct fixture *f = *state;
    wire_pass(&f->w, 9900);
    assert_non_null(f->srv);
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "closed idle_timeout|");
    assert_int_equal(f->w.got_len, 0);
}

static void an_idle_conn_has_the_idle_timeout(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, GET("/"));
    answer(f, "x");
    run(f);
    wire_pass(&f->w, 74900);
    assert_non_null(f->srv);
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "GET / |end|closed idle_timeout|");
}

static void a_head_has_its_time_from_its_first_byte(void **state)
{
    struct fixture *f = *state;
    wire_pass(&f->w, 9000);
    wire_say(&f->w, "G");
    wire_pass(&f->w, 9000);
    wire_say(&f->w, "E"); /* more bytes buy no more time */
    wire_pass(&f->w, 900);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "  head_timeout|");
    answer(f, "late");
    run(f);
    assert_true(f->w.got_end);
    wire_end(&f->w);
}

/* Also when the request before it was answered in the very call that read its first byte. */
static void a_pipelined_head_has_the_same_time(void **state)
{
    struct fixture *f = *state;
    f->answer_at_once = true;
    wire_say(&f->w, "GET /1 HTTP/1.1\r\n");
    wire_say(&f->w, "Host: h\r\n\r\nGET /2 HTTP/1.1\r\nHo");
    assert_string_equal(notes(f), "GET /1 |");
    wire_pass(&f->w, 10100);
    assert_string_equal(notes(f), "GET  head_timeout|");
    wire_end(&f->w);
}

static void a_body_has_its_time_between_bytes(void **state)
{
    struct fixture *f = *state;
    f->credit = 1;
    f->release_on_abort = false;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        wire_pass(&f->w, 59000);
        wire_say(&f->w, "x");
    }
    assert_string_equal(notes(f), "POST / |");
    wire_pass(&f->w, 60100);
    assert_string_equal(notes(f), "aborted body_timeout|");
    answer(f, "late");
    run(f);
    wire_end(&f->w);
}

static void a_body_that_waits_for_credit_is_not_late(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n");
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    wire_pass(&f->w, 300000);
    assert_string_equal(notes(f), "POST / |");
    f->credit = 1;
    f->stream->ops->credit(f->stream, 20000);
    run(f);
    answer(f, "");
    run(f);
}

static void a_request_in_progress_has_no_timeout_here(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, GET("/"));
    wire_pass(&f->w, 1000000);
    assert_string_equal(notes(f), "GET / |end|");
    answer(f, "");
    run(f);
}

static void a_client_that_reads_nothing_is_gone(void **state)
{
    struct fixture *f = *state;
    static char bytes[10000];
    rewire(f, 100);
    wire_read(&f->w, false);
    wire_say(&f->w, GET("/"));
    notes(f);
    send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    send_bytes(f, bytes, sizeof(bytes));
    run(f);
    notes(f);
    wire_pass(&f->w, 29900);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), "aborted client_write_stall|closed client_write_stall|");
}

static void a_client_that_reads_a_little_is_not_gone(void **state)
{
    struct fixture *f = *state;
    static char bytes[10000];
    rewire(f, 100);
    pair_limit(f->w.pair, WIRE_PEER, 10);
    wire_read(&f->w, false);
    wire_say(&f->w, GET("/"));
    send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    send_bytes(f, bytes, sizeof(bytes));
    run(f);
    for (int i = 0; i < 5; i++) {
        wire_pass(&f->w, 29000);
        f->w.peer->ops->read(f->w.peer, true);
        pair_step(f->w.pair);
        f->w.peer->ops->read(f->w.peer, false);
        wire_settle(&f->w);
    }
    assert_non_null(f->srv);
    wire_close(&f->w, true);
    run(f);
    wire_pass(&f->w, 60000);
}

/* ---- a client that goes away, at every state ---- */

static const struct {
    const char *name, *say;
} states[] = {
    {"before anything", ""},
    {"in a request line", "GET /"},
    {"in a head", "GET / HTTP/1.1\r\nHo"},
    {"in a body", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc"},
    {"in a chunk", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"},
    {"in trailers",
     "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nTrail: er"},
    {"after a request", GET("/")},
    {"in the next request", GET("/") "GET /2 HT"},
};

/* how: 0 its end, 1 close, 2 reset, 3 our own abort. answered: 0 not, 1 a head, 2 half, 3 whole. */
static void go(struct fixture *f, unsigned how, unsigned answered)
{
    if (f->stream != NULL && answered == 3) {
        answer(f, "whole");
    } else if (f->stream != NULL && answered > 0) {
        send_head(f, 200, BODY_LENGTH, 10);
        if (answered > 1)
            send_bytes(f, "half", 4);
    }
    run(f);
    if (how == 0)
        wire_end(&f->w);
    else if (how < 3)
        wire_close(&f->w, how == 2);
    else
        h1_server_abort(f->srv, REASON_SHUTDOWN);
    run(f);
}

static void a_client_may_go_away_at_any_time(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        for (unsigned how = 0; how < 4; how++) {
            for (unsigned answered = 0; answered < 4; answered++) {
                rewire(f, 65536);
                wire_say(&f->w, states[i].say);
                bool busy = f->stream != NULL;
                go(f, how, answered);
                if (f->stream != NULL)
                    fail_msg("%s, %u, %u: not told", states[i].name, how, answered);
                if (busy && answered < 3)
                    assert_non_null(strstr(notes(f), "aborted"));
                wire_pass(&f->w, 100000); /* whatever lingers */
                if (f->srv != NULL)
                    fail_msg("%s, %u, %u: not closed", states[i].name, how, answered);
                wire_fini(&f->w);
                begin(f, 65536);
            }
        }
    }
}

/* ... and the service may let go at every state, with and without an answer. */
static void a_service_may_let_go_at_any_time(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        for (unsigned answered = 0; answered < 4; answered++) {
            rewire(f, 65536);
            wire_say(&f->w, states[i].say);
            go(f, 4, answered);
            if (f->stream != NULL)
                release(f, REASON_INTERNAL);
            run(f);
            wire_pass(&f->w, 1000000);
            wire_end(&f->w);
            run(f);
            assert_null(f->stream);
            assert_null(f->srv);
            wire_fini(&f->w);
            begin(f, 65536);
        }
    }
}

/* ---- early answers ---- */

static void the_rest_of_an_answered_request_is_drained(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
    answer(f, "early");
    run(f);
    char *bytes = calloc(1, 2000);
    wire_say_bytes(&f->w, bytes, 2000);
    free(bytes);
    notes(f);
    wire_say(&f->w, GET("/next"));
    assert_string_equal(notes(f), "GET /next |end|");
    answer(f, "");
    run(f);
}

static void draining_has_a_bound(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    answer(f, "early");
    run(f);
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    wire_pass(&f->w, 2100);
    assert_null(f->srv);
}

static void draining_has_a_time(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    answer(f, "early");
    run(f);
    wire_pass(&f->w, 60100);
    wire_pass(&f->w, 2100);
    assert_null(f->srv);
    assert_string_equal(notes(f), "POST / |closed body_timeout|");
}

static void a_client_that_still_waits_for_a_100_is_closed(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w,
             "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    answer(f, "no");
    run(f);
    assert_true(strstr(wire_take(&f->w), "Connection: close\r\n") != NULL);
    assert_true(f->w.got_end);
    wire_end(&f->w);
}

static void interim_responses_are_sent(void **state)
{
    struct fixture *f = *state;
    f->credit = 1;
    wire_say(&f->w,
             "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    send_head(f, 100, BODY_NONE, 0);
    send_head(f, 103, BODY_NONE, 0);
    run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
    wire_say(&f->w, "hello");
    answer(f, "ok");
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

/* ---- tunnels ---- */

#define UPGRADE "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

static void nothing_is_tunnelled_before_the_101(void **state)
{
    struct fixture *f = *state;
    f->credit = 1;
    wire_say(&f->w, UPGRADE "early bytes");
    assert_string_equal(notes(f), "GET / |end|");
    assert_int_equal(f->body_len, 0);
    send_head(f, 101, BODY_TUNNEL, 0);
    run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 101 Switching Protocols\r\n"
                                          "Connection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_string_equal(f->body, "early bytes");
    wire_say(&f->w, " and more");
    assert_string_equal(f->body, "early bytes and more");
    release(f, REASON_TUNNEL_IDLE);
    run(f);
    assert_true(f->w.got_end);
}

static void a_tunnel_closes_one_direction_at_a_time(void **state)
{
    for (int ours_first = 0; ours_first < 2; ours_first++) {
        struct fixture *f = *state;
        rewire(f, 65536);
        f->body_len = 0;
        f->credit = 1;
        wire_say(&f->w, UPGRADE);
        send_head(f, 101, BODY_TUNNEL, 0);
        run(f);
        notes(f);
        if (ours_first) {
            f->stream->ops->send_end(f->stream, NULL);
            run(f);
            assert_true(f->w.got_end);
            wire_say(&f->w, "still heard");
            assert_string_equal(f->body, "still heard");
            wire_end(&f->w);
            assert_string_equal(notes(f), "end|");
        } else {
            wire_end(&f->w);
            assert_string_equal(notes(f), "end|");
            wire_take(&f->w);
            send_bytes(f, "still said", 10);
            run(f);
            assert_string_equal(wire_take(&f->w), "still said");
            f->stream->ops->send_end(f->stream, NULL);
            run(f);
        }
        release(f, REASON_DONE);
        run(f);
        assert_true(f->w.got_end);
        wire_pass(&f->w, 3000);
        assert_null(f->srv);
        wire_fini(&f->w);
        begin(f, 65536);
    }
}

static void a_tunnel_has_credit_too(void **state)
{
    struct fixture *f = *state;
    wire_say(&f->w, UPGRADE);
    send_head(f, 101, BODY_TUNNEL, 0);
    run(f);
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    assert_in_range(f->body_len, BUFFER, BUFFER + BLOCK_BYTES);
    assert_false(pair_reading(f->w.pair, 0));
    f->credit = 1;
    f->stream->ops->credit(f->stream, 20000);
    run(f);
    assert_int_equal(f->body_len, 20000);
    release(f, REASON_TUNNEL_IDLE);
    run(f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_and_the_conn_kept),
        TEST(an_idle_conn_owns_no_buffer),
        TEST(what_the_service_sends_is_reported_as_drained),
        TEST(pipelined_requests_are_answered_in_order),
        TEST(answers_in_the_request_event_are_fine),
        TEST(requests_behind_one_in_progress_pile_up_to_a_bound),
        TEST(unread_answers_stop_the_reading),
        TEST(a_body_stops_where_the_credit_ends),
        TEST(what_is_held_for_a_body_is_bounded),
        TEST(chunks_and_trailers_are_handed_up),
        TEST(a_http_1_0_client_gets_no_chunks),
        TEST(a_http_1_0_client_may_keep_the_conn),
        TEST(head_and_304_have_no_body),
        TEST(close_is_honoured_from_either_side),
        TEST(a_service_that_drains_closes),
        TEST(a_conn_lingers_over_bytes_it_will_not_answer),
        TEST(lingering_has_an_end),
        TEST(a_slow_reader_gets_its_whole_answer_before_the_lingering),
        TEST(a_half_closed_client_gets_its_whole_answer_before_the_end),
        TEST(a_cut_answer_is_not_forged_into_a_whole_one),
        TEST(a_cut_answer_until_close_is_reset),
        TEST(an_idle_conn_may_be_closed_by_either_side),
        TEST(a_new_conn_has_a_moment_for_its_first_request),
        TEST(a_busy_conn_is_not_idle),
        TEST(a_bad_request_is_answered_once_and_closed),
        TEST(a_body_that_breaks_a_rule_aborts_the_request),
        TEST(a_silent_conn_is_closed_without_a_word),
        TEST(an_idle_conn_has_the_idle_timeout),
        TEST(a_head_has_its_time_from_its_first_byte),
        TEST(a_pipelined_head_has_the_same_time),
        TEST(a_body_has_its_time_between_bytes),
        TEST(a_body_that_waits_for_credit_is_not_late),
        TEST(a_request_in_progress_has_no_timeout_here),
        TEST(a_client_that_reads_nothing_is_gone),
        TEST(a_client_that_reads_a_little_is_not_gone),
        TEST(a_client_may_go_away_at_any_time),
        TEST(a_service_may_let_go_at_any_time),
        TEST(the_rest_of_an_answered_request_is_drained),
        TEST(draining_has_a_bound),
        TEST(draining_has_a_time),
        TEST(a_client_that_still_waits_for_a_100_is_closed),
        TEST(interim_responses_are_sent),
        TEST(nothing_is_tunnelled_before_the_101),
        TEST(a_tunnel_closes_one_direction_at_a_time),
        TEST(a_tunnel_has_credit_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
