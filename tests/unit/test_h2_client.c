/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream side of HTTP/2, against an upstream that speaks frame by frame: what requests
 * become, what answers become, what each end of a stream and of the conn means.
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
#include "proxy/http/h2_client.h"
#include "tests/unit/h2_frames.h"

enum { ASKS = 8, HEAD_MS = 5000, BUFFER = 65535 };

struct fixture;

/* One request and who made it. */
struct ask {
    struct fixture *f;
    struct stream *stream;
    char name;
};

struct fixture {
    struct wire w;
    struct h2_frames peer;
    struct h2_client_options options;
    struct h2_client *client;
    struct ask asks[ASKS];
    struct http_head head;
    struct list_node list; /* of the client, while it has room */
    unsigned n_asks;
    bool hoard; /* what comes is not credited */
    char log[8192];
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

static void release(struct ask *a, enum reason reason)
{
    struct stream *s = TAKE(a->stream);
    s->ops->release(s, reason);
}

/* ---- the streams' owner ---- */

static void on_head(struct stream *s, struct http_head *head)
{
    static const char *const kinds[] = {"none", "length", "chunked", "close", "tunnel"};
    struct ask *a = s->owner;
    note(a->f, "%c %u %s", a->name, head->status, kinds[head->body]);
    for (unsigned i = 0; i < head->n_fields; i++)
        if (!(head->fields[i].flags & FIELD_DROPPED))
            note(a->f, " %.*s=%.*s", head->fields[i].name_len, head->fields[i].name,
                 (int)head->fields[i].value_len, head->fields[i].value);
    note(a->f, "|");
}

static void on_body(struct stream *s, struct chain *body)
{
    struct ask *a = s->owner;
    size_t n = body->bytes;
    a->f->body_len += n;
    if (n <= 16) {
        note(a->f, "%c ", a->name);
        for (const struct slice *it = body->head; it != NULL; it = it->next)
            note(a->f, "%.*s", (int)it->len, it->ptr);
        note(a->f, "|");
    }
    chain_clear(body);
    if (!a->f->hoard)
        s->ops->credit(s, n);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    struct ask *a = s->owner;
    note(a->f, "%c end", a->name);
    for (unsigned i = 0; trailers != NULL && i < trailers->n_fields; i++)
        note(a->f, " %.*s=%.*s", trailers->fields[i].name_len, trailers->fields[i].name,
             (int)trailers->fields[i].value_len, trailers->fields[i].value);
    note(a->f, "|");
    release(a, REASON_DONE);
}

static void on_drained(struct stream *s, size_t n)
{
    struct ask *a = s->owner;
    note(a->f, "%c drained %zu|", a->name, n);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct ask *a = s->owner;
    note(a->f, "%c %s%s%s|", a->name, reason_row(reason)->name, s->reused ? " reused" : "",
         s->answered ? " answered" : "");
    release(a, reason);
}

static const struct stream_events events = {
    .head = on_head, .body = on_body, .end = on_end, .drained = on_drained, .aborted = on_aborted};

/* ---- the conn's owner ---- */

static void on_room(void *ctx, struct h2_client *cl)
{
    struct fixture *f = ctx;
    assert_ptr_equal(cl, f->client);
    note(f, "room %u|", h2_client_streams(cl));
    list_unlink(h2_client_link(cl));
    list_push_back(&f->list, h2_client_link(cl));
}

static void on_closed(void *ctx, struct h2_client *cl, enum reason reason)
{
    struct fixture *f = ctx;
    assert_ptr_equal(cl, f->client);
    f->client = NULL;
    note(f, "closed %s|", reason_row(reason)->name);
}

static const struct h2_client_owner callbacks = {.room = on_room, .closed = on_closed};

/* ---- a test's life ---- */

static void run(struct fixture *f)
{
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
}

static void begin(struct fixture *f, size_t capacity)
{
    wire_init(&f->w, capacity);
    list_init(&f->list);
    h2_frames_init(&f->peer, &f->w);
    f->client = h2_client_new(&f->w.r, &f->options, &callbacks, f);
    list_push_back(&f->list, h2_client_link(f->client));
    wire_attach(&f->w, h2_client_conn(f->client), true);
    conn_expect(h2_client_conn(f->client), f->options.connect_ms);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
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
        .buffer = BUFFER,
        .conn_buffer = 1 << 20,
    };
    begin(f, 1 << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->n_asks; i++)
        if (f->asks[i].stream != NULL)
            release(&f->asks[i], REASON_INTERNAL);
    run(f);
    if (f->client != NULL && !conn_closed(h2_client_conn(f->client)))
        h2_client_retire(f->client, REASON_DONE);
    run(f);
    assert_null(f->client);
    h2_frames_fini(&f->peer);
    wire_fini(&f->w);
    free(f);
    return 0;
}

/* ---- requests ---- */

static struct http_head *head_of(struct fixture *f, const char *method, enum body_kind body)
{
    struct http_head *head = &f->head;
    http_head_init(head);
    http_head_method(head, span_str(method));
    head->path = SPAN_LIT("/a");
    head->body = (uint8_t)body;
    http_head_add(head, FIELD_HOST, SPAN_LIT("Host"), SPAN_LIT("h"));
    return head;
}

static struct ask *open_stream(struct fixture *f)
{
    assert_true(f->n_asks < ASKS && h2_client_room(f->client));
    struct ask *a = &f->asks[f->n_asks];
    *a = (struct ask){.f = f, .name = (char)('a' + f->n_asks++)};
    a->stream = h2_client_open(f->client, &events, a, HEAD_MS);
    return a;
}

static struct ask *ask_head(struct fixture *f, const struct http_head *head)
{
    struct ask *a = open_stream(f);
    a->stream->ops->send_head(a->stream, head);
    return a;
}

static struct ask *ask(struct fixture *f, const char *method)
{
    struct ask *a = ask_head(f, head_of(f, method, BODY_NONE));
    a->stream->ops->send_end(a->stream, NULL);
    run(f);
    return a;
}

static void send_bytes(struct ask *a, const void *bytes, size_t n)
{
    struct chain body;
    chain_init(&body);
    chain_copy_in(&body, &a->f->w.r.bufs, bytes, n);
    a->stream->ops->send_body(a->stream, &body);
}

/* Up, both sides' settings said. */
static void up(struct fixture *f)
{
    pair_connect(f->w.pair, 0, 0);
    wire_settle(&f->w);
    h2_say_setting(&f->peer, 0, 0);
    h2_got(&f->peer);
    run(f);
    h2_got(&f->peer);
    notes(f);
}

#define GOT(text)   assert_string_equal(h2_got(&f->peer), text)
#define NOTES(text) assert_string_equal(notes(f), text)
#define GET_A       ":method=GET :scheme=http :authority=h :path=/a"

static void requests_are_sent_before_the_settings_are_known(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET");
    assert_int_equal(f->w.got_len, 0); /* it is not up */
    f->peer.acks = false;
    pair_connect(f->w.pair, 0, 0);
    wire_settle(&f->w);
    GOT("preface|SETTINGS|WINDOW 0 983041|HEADERS 1 end " GET_A "|");
}

static void an_answer_of_known_length(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    GOT("HEADERS 1 end " GET_A "|");
    h2_say_headers(&f->peer, 1, false, ":status: 200\ncontent-length: 5\nx: y\n");
    h2_say_data(&f->peer, 1, true, "hello");
    NOTES("a 200 length content-length=5 x=y|a hello|a end|room 0|");
    GOT("");
}

static void an_answer_without_length_and_with_trailers(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\ncontent-type: application/grpc\n");
    h2_say_data(&f->peer, 1, false, "hi");
    h2_say_headers(&f->peer, 1, true, "grpc-status: 0\n");
    NOTES("a 200 chunked content-type=application/grpc|a hi|a end grpc-status=0|room 0|");
}

/* HTTP/1 has to be told that nothing follows. */
static void an_answer_that_ends_with_its_head_says_so(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, true, ":status: 404\n");
    NOTES("a 404 length content-length=0|a end|room 0|");
    ask(f, "HEAD");
    h2_say_headers(&f->peer, 3, true, ":status: 200\ncontent-length: 9\n");
    NOTES("b 200 none content-length=9|b end|room 0|");
    ask(f, "GET");
    h2_say_headers(&f->peer, 5, true, ":status: 204\n");
    NOTES("c 204 none|c end|room 0|");
}

static void interim_heads_pass(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 103\nlink: </x>\n");
    NOTES("a 103 none link=</x>|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|room 0|");
}

static void say_interims(struct fixture *f, int n)
{
    char fields[1100];
    snprintf(fields, sizeof(fields), ":status: 103\nx: %0200d\n", 0);
    for (int i = 0; i < n; i++)
        h2_say_headers(&f->peer, 1, false, fields);
    wire_settle(&f->w);
}

static void interim_heads_are_not_kept(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    uint32_t before = f->w.r.bufs.blocks;
    say_interims(f, 31);
    assert_int_equal(f->w.r.bufs.blocks, before);
    assert_non_null(strstr(notes(f), "a 103 none x=000"));
    h2_say_headers(&f->peer, 1, false, ":status: 103\nlast: one\n");
    h2_say_headers(&f->peer, 1, true, ":status: 204\nx: y\n");
    NOTES("a 103 none last=one|a 204 none x=y|a end|room 0|");
}

/* However few of them there was time for. */
static void too_many_interim_heads_end_the_stream(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_got(&f->peer);
    say_interims(f, 100);
    assert_non_null(strstr(notes(f), "|a bad_response answered|room 0|"));
    GOT("RST 1 1|");
}

/* Within one read: nghttp2 has not framed our reset yet. */
static void nothing_is_read_behind_a_malformed_head(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 101\n");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    h2_say_headers(&f->peer, 1, true, "x: y\n");
    NOTES("a bad_response|room 0|");
}

static void a_body_goes_out_with_trailers(void **state)
{
    struct fixture *f = *state;
    up(f);
    struct ask *a = ask_head(f, head_of(f, "POST", BODY_CHUNKED));
    send_bytes(a, "hello", 5);
    run(f);
    GOT("HEADERS 1 :method=POST :scheme=http :authority=h :path=/a|DATA 1 hello|");
    NOTES("a drained 5|");
    struct http_head trailers;
    http_head_init(&trailers);
    http_head_add(&trailers, FIELD_OTHER, SPAN_LIT("X-Sum"), SPAN_LIT("1"));
    a->stream->ops->send_end(a->stream, &trailers);
    run(f);
    GOT("HEADERS 1 end x-sum=1|");
}

static void a_body_waits_for_the_window(void **state)
{
    struct fixture *f = *state;
    static char big[70000];
    up(f);
    struct ask *a = ask_head(f, head_of(f, "POST", BODY_CHUNKED));
    send_bytes(a, big, sizeof(big));
    a->stream->ops->send_end(a->stream, NULL);
    run(f);
    NOTES("a drained 65535|");
    h2_say_window(&f->peer, 0, 100000);
    h2_say_window(&f->peer, 1, 100000);
    NOTES("a drained 4465|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|room 0|");
}

/* A reader that takes nothing holds one window, and the conn goes on for the others. */
static void what_is_not_credited_holds_the_sender(void **state)
{
    struct fixture *f = *state;
    char piece[16001];
    up(f);
    struct ask *a = ask(f, "GET");
    h2_got(&f->peer);
    f->hoard = true;
    memset(piece, 'x', 16000);
    piece[16000] = '\0';
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    for (int i = 0; i < 4; i++)
        h2_say_data(&f->peer, 1, false, piece);
    GOT("");
    assert_int_equal(f->body_len, 64000);
    a->stream->ops->credit(a->stream, 64000);
    run(f);
    GOT("WINDOW 1 64000|");
}

/* The conn's window comes back as bytes come, once, whoever holds them and however that ends. */
static void who_takes_nothing_holds_no_window_of_the_conn(void **state)
{
    struct fixture *f = *state;
    char piece[16001];
    struct ask *a = NULL;
    up(f);
    f->hoard = true;
    memset(piece, 'x', 16000);
    piece[16000] = '\0';
    for (unsigned i = 0; i < ASKS; i++) {
        if (a != NULL)
            release(a, REASON_CLIENT_CLOSED);
        a = ask(f, "GET");
        h2_say_headers(&f->peer, i * 2 + 1, false, ":status: 200\n");
        for (int k = 0; k < 4; k++)
            h2_say_data(&f->peer, i * 2 + 1, false, piece);
        assert_null(strstr(h2_got(&f->peer), "WINDOW"));
    }
    a->stream->ops->credit(a->stream, 64000);
    run(f);
    GOT("WINDOW 15 64000|");
    h2_say_data(&f->peer, 15, false, piece); /* half of 1 MiB */
    GOT("WINDOW 0 528000|");
}

static void many_at_once(void **state)
{
    struct fixture *f = *state;
    up(f);
    for (int i = 0; i < 4; i++)
        ask(f, "GET");
    assert_false(h2_client_room(f->client));
    assert_int_equal(h2_client_streams(f->client), 4);
    h2_say_headers(&f->peer, 5, true, ":status: 204\n");
    NOTES("c 204 none|c end|room 3|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|"); /* it is listed already */
    assert_true(ask(f, "GET")->stream->reused);
}

static void the_peer_allows_fewer(void **state)
{
    struct fixture *f = *state;
    up(f);
    h2_say_setting(&f->peer, 3, 1);
    ask(f, "GET");
    assert_false(h2_client_room(f->client));
}

/* They were opened before it said so, and have not left. */
static void what_the_peer_does_not_allow_goes_elsewhere(void **state)
{
    struct fixture *f = *state;
    up(f);
    for (int i = 0; i < 3; i++)
        ask_head(f, head_of(f, "GET", BODY_NONE));
    h2_say_setting(&f->peer, 3, 1);
    GOT("SETTINGS ack|HEADERS 1 end " GET_A "|");
    NOTES("c upstream_refused reused|b upstream_refused reused|");
    assert_int_equal(h2_client_streams(f->client), 1);
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|room 0|");
    ask(f, "GET");
    GOT("HEADERS 7 end " GET_A "|");
    h2_say_headers(&f->peer, 7, true, ":status: 204\n");
    NOTES("d 204 none|d end|room 0|");
}

/* Going elsewhere costs a try then: perhaps nobody takes any. */
static void a_peer_that_allows_none(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask_head(f, head_of(f, "GET", BODY_NONE));
    h2_say_setting(&f->peer, 3, 0);
    GOT("SETTINGS ack|");
    NOTES("a upstream_refused|room 0|");
}

static void a_request_head_that_nghttp2_does_not_send(void **state)
{
    struct fixture *f = *state;
    static char big[70000];
    up(f);
    memset(big, 'x', sizeof(big));
    struct http_head *head = head_of(f, "GET", BODY_NONE);
    http_head_add(head, FIELD_OTHER, SPAN_LIT("X-Big"), span_of(big, 65000));
    http_head_add(head, FIELD_OTHER, SPAN_LIT("X-More"), span_of(big, 65000));
    ask_head(f, head);
    run(f);
    NOTES("a head_too_large|room 0|");
    GOT("");
}

static void te_and_fields_of_the_conn(void **state)
{
    struct fixture *f = *state;
    up(f);
    struct http_head *head = head_of(f, "GET", BODY_NONE);
    http_head_add(head, FIELD_TE, SPAN_LIT("TE"), SPAN_LIT("trailers"));
    http_head_add(head, FIELD_KEEP_ALIVE, SPAN_LIT("Keep-Alive"), SPAN_LIT("timeout=3"));
    http_head_add(head, FIELD_OTHER, SPAN_LIT("X-Y"), SPAN_LIT("z"));
    head->query = SPAN_LIT("q=1");
    head->has_query = true;
    ask_head(f, head);
    run(f);
    GOT("HEADERS 1 end " GET_A "?q=1 te=trailers x-y=z|");
}

/* ---- the ends of streams ---- */

static void a_reset_has_its_reason(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint32_t code;
        const char *notes;
    } cases[] = {
        {2, "a upstream_stream_reset|room 0|"},
        {7, "b upstream_refused|room 0|"},
        {8, "c upstream_stream_reset|room 0|"},
        {11, "d upstream_stream_reset|room 0|"},
    };
    up(f);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        ask(f, "GET");
        h2_say_rst(&f->peer, i * 2 + 1, cases[i].code);
        NOTES(cases[i].notes);
    }
}

static void a_reset_in_the_middle_of_a_body(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    h2_say_data(&f->peer, 1, false, "abc");
    h2_say_rst(&f->peer, 1, 2);
    NOTES("a 200 chunked|a abc|a upstream_stream_reset answered|room 0|");
}

/* RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted. */
static void a_whole_answer_and_a_reset_without_error(void **state)
{
    struct fixture *f = *state;
    up(f);
    struct ask *a = ask_head(f, head_of(f, "POST", BODY_CHUNKED));
    send_bytes(a, "x", 1);
    run(f);
    notes(f);
    h2_say_headers(&f->peer, 1, true, ":status: 413\n");
    h2_say_rst(&f->peer, 1, 0);
    NOTES("a 413 length content-length=0|a end|room 0|");
}

static void goaway_ends_what_it_does_not_cover(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    ask(f, "POST");
    h2_say_goaway(&f->peer, 1, 0);
    NOTES("b upstream_goaway|");
    assert_false(h2_client_room(f->client));
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    run(f);
    NOTES("a 204 none|a end|closed upstream_idle_closed|");
}

static void the_end_of_the_conn(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    ask(f, "GET");
    h2_say_headers(&f->peer, 3, false, ":status: 200\n");
    wire_close(&f->w, false);
    run(f);
    NOTES("b 200 chunked|a upstream_closed|b response_incomplete answered|closed upstream_closed|");
}

static void what_did_not_leave_is_unsent(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    struct ask *b = ask_head(f, head_of(f, "POST", BODY_CHUNKED));
    b->stream->ops->send_end(b->stream, NULL);
    wire_close(&f->w, true); /* before the loop runs */
    run(f);
    NOTES("a upstream_reset|b upstream_unsent|closed upstream_reset|");
}

static void refused_connections(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET");
    pair_connect(f->w.pair, 0, UV_ECONNREFUSED);
    wire_settle(&f->w);
    NOTES("a connect_refused|closed connect_refused|");
}

static void connecting_takes_too_long(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET");
    wire_pass(&f->w, 1100);
    NOTES("a connect_timeout|closed connect_timeout|");
}

static void malformed_answers_end_the_stream_alone(void **state)
{
    struct fixture *f = *state;
    static const char *const heads[] = {
        ":status: 101\n",
        ":status: 99\n",
        "x: y\n",
        ":status: 200\nconnection: close\n",
        ":status: 200\nA: b\n",
        ":status: 200\ncontent-length: x\n",
    };
    up(f);
    for (unsigned i = 0; i < ARRAY_LEN(heads); i++) {
        char want[64];
        ask(f, "GET");
        h2_got(&f->peer);
        h2_say_headers(&f->peer, i * 2 + 1, true, heads[i]);
        snprintf(want, sizeof(want), "%c bad_response|room 0|", 'a' + (int)i);
        const char *got = notes(f);
        char answered[64];
        snprintf(answered, sizeof(answered), "%c bad_response answered|room 0|", 'a' + (int)i);
        if (strcmp(got, answered) != 0)
            assert_string_equal(got, want);
        snprintf(want, sizeof(want), "RST %u 1|", i * 2 + 1);
        assert_string_equal(h2_got(&f->peer), want);
    }
}

static void a_head_that_is_too_large(void **state)
{
    struct fixture *f = *state;
    char fields[4000];
    up(f);
    ask(f, "GET");
    size_t n = (size_t)snprintf(fields, sizeof(fields), ":status: 200\n");
    for (int i = 0; i < 25; i++)
        n += (size_t)snprintf(fields + n, sizeof(fields) - n, "x-%d: y\n", i);
    h2_say_headers(&f->peer, 1, true, fields);
    NOTES("a response_head_too_large|room 0|");
}

static void garbage_ends_the_conn(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_got(&f->peer);
    h2_say(&f->peer, H2_DATA, 0, 0, "x", 1);
    GOT("GOAWAY 0 1|");
    run(f);
    NOTES("a bad_response|closed bad_response|");
}

static void an_http1_upstream(void **state)
{
    struct fixture *f = *state;
    pair_connect(f->w.pair, 0, 0);
    ask(f, "GET");
    wire_say(&f->w, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    run(f);
    NOTES("a bad_response|closed bad_response|");
}

static void a_release_before_the_end_is_a_reset(void **state)
{
    struct fixture *f = *state;
    up(f);
    struct ask *a = ask(f, "GET");
    h2_got(&f->peer);
    release(a, REASON_CLIENT_CLOSED);
    run(f);
    GOT("RST 1 8|");
    NOTES("room 0|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n"); /* was on its way */
    ask(f, "GET");
    h2_say_headers(&f->peer, 3, true, ":status: 204\n");
    NOTES("b 204 none|b end|room 0|");
}

/* ---- clocks ---- */

static void the_head_of_an_answer_takes_too_long(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    wire_pass(&f->w, 1000);
    h2_say_headers(&f->peer, 1, false, ":status: 103\n");
    notes(f);
    wire_pass(&f->w, HEAD_MS - 900);
    NOTES("a response_head_timeout answered|room 0|");
}

static void the_body_of_an_answer_stalls(void **state)
{
    struct fixture *f = *state;
    f->options.ping_ms = 0;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    notes(f);
    wire_pass(&f->w, 60100);
    NOTES("a response_idle_timeout answered|room 0|");
}

static void the_upstream_gives_no_window(void **state)
{
    struct fixture *f = *state;
    static char big[70000];
    f->options.ping_ms = 0;
    up(f);
    struct ask *a = ask_head(f, head_of(f, "POST", BODY_CHUNKED));
    send_bytes(a, big, sizeof(big));
    run(f);
    notes(f);
    wire_pass(&f->w, 30100);
    NOTES("a upstream_write_stall|room 0|");
}

static void a_quiet_upstream_is_pinged(void **state)
{
    struct fixture *f = *state;
    up(f);
    struct ask *a = ask_head(f, head_of(f, "POST", BODY_CHUNKED));
    run(f);
    h2_got(&f->peer);
    wire_pass(&f->w, 20100);
    GOT("PING|");
    NOTES("");
    wire_pass(&f->w, 20100);
    f->peer.acks = false;
    GOT("PING|");
    wire_pass(&f->w, 10100);
    NOTES("a upstream_silent|closed upstream_silent|");
    assert_null(a->stream);
}

static void an_idle_conn_ends(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    notes(f);
    h2_got(&f->peer);
    wire_pass(&f->w, 55100);
    GOT("GOAWAY 0 0|");
    run(f);
    NOTES("closed upstream_idle_timeout|");
}

static void retiring_waits_for_the_last_stream(void **state)
{
    struct fixture *f = *state;
    up(f);
    ask(f, "GET");
    h2_client_retire(f->client, REASON_DONE);
    run(f);
    assert_false(h2_client_room(f->client));
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    run(f);
    NOTES("a 204 none|a end|closed done|");
}

/* ---- upgrades ---- */

static struct ask *upgrade(struct fixture *f)
{
    struct http_head *head = head_of(f, "GET", BODY_NONE);
    head->upgrade = SPAN_LIT("websocket");
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Sec-WebSocket-Key"), SPAN_LIT("k"));
    http_head_add(head, FIELD_OTHER, SPAN_LIT("Sec-WebSocket-Version"), SPAN_LIT("13"));
    struct ask *a = ask_head(f, head);
    a->stream->ops->send_end(a->stream, NULL);
    run(f);
    return a;
}

#define EXTENDED                                                                        \
    "HEADERS 1 :method=CONNECT :scheme=http :authority=h :path=/a :protocol=websocket " \
    "sec-websocket-version=13|"

static void an_upgrade_becomes_a_tunnel(void **state)
{
    struct fixture *f = *state;
    pair_connect(f->w.pair, 0, 0);
    struct ask *a = upgrade(f); /* before the settings are known */
    h2_say_setting(&f->peer, 8, 1);
    GOT("preface|SETTINGS|WINDOW 0 983041|SETTINGS ack|" EXTENDED);
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    NOTES("a 101 tunnel|");
    send_bytes(a, "ping", 4);
    run(f);
    GOT("DATA 1 ping|");
    h2_say_data(&f->peer, 1, false, "pong");
    NOTES("a drained 4|a pong|");
    a->stream->ops->send_end(a->stream, NULL);
    run(f);
    GOT("DATA 1 end |");
    h2_say_data(&f->peer, 1, true, "");
    NOTES("a end|room 0|");
}

static void an_upgrade_that_is_refused(void **state)
{
    struct fixture *f = *state;
    up(f);
    h2_say_setting(&f->peer, 8, 1);
    h2_got(&f->peer);
    notes(f);
    upgrade(f);
    h2_say_headers(&f->peer, 1, true, ":status: 403\n");
    NOTES("a 403 length content-length=0|a end|room 0|");
    GOT(EXTENDED "RST 1 8|");
}

static void an_upstream_without_extended_connect_sees_no_upgrade(void **state)
{
    struct fixture *f = *state;
    up(f);
    upgrade(f);
    GOT("HEADERS 1 end " GET_A " sec-websocket-key=k sec-websocket-version=13|");
    h2_say_headers(&f->peer, 1, true, ":status: 426\n");
    NOTES("a 426 length content-length=0|a end|room 0|");
}

/* There is no place for it in an extended CONNECT: its bytes would be the tunnel's. */
static void an_upgrade_with_a_body_is_a_request_like_any_other(void **state)
{
    struct fixture *f = *state;
    pair_connect(f->w.pair, 0, 0);
    struct http_head *head = head_of(f, "POST", BODY_LENGTH);
    head->content_length = 4;
    head->upgrade = SPAN_LIT("websocket");
    struct ask *a = ask_head(f, head);
    send_bytes(a, "body", 4);
    a->stream->ops->send_end(a->stream, NULL);
    h2_say_setting(&f->peer, 8, 1);
    run(f);
    GOT("preface|SETTINGS|WINDOW 0 983041|HEADERS 1 :method=POST :scheme=http :authority=h "
        ":path=/a|DATA 1 end body|SETTINGS ack|");
    h2_say_headers(&f->peer, 1, true, ":status: 200\n");
    NOTES("a drained 4|a 200 length content-length=0|a end|room 0|");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_sent_before_the_settings_are_known),
        TEST(an_answer_of_known_length),
        TEST(an_answer_without_length_and_with_trailers),
        TEST(an_answer_that_ends_with_its_head_says_so),
        TEST(interim_heads_pass),
        TEST(interim_heads_are_not_kept),
        TEST(too_many_interim_heads_end_the_stream),
        TEST(nothing_is_read_behind_a_malformed_head),
        TEST(a_body_goes_out_with_trailers),
        TEST(a_body_waits_for_the_window),
        TEST(what_is_not_credited_holds_the_sender),
        TEST(who_takes_nothing_holds_no_window_of_the_conn),
        TEST(many_at_once),
        TEST(what_the_peer_does_not_allow_goes_elsewhere),
        TEST(a_peer_that_allows_none),
        TEST(a_request_head_that_nghttp2_does_not_send),
        TEST(the_peer_allows_fewer),
        TEST(te_and_fields_of_the_conn),
        TEST(a_reset_has_its_reason),
        TEST(a_reset_in_the_middle_of_a_body),
        TEST(a_whole_answer_and_a_reset_without_error),
        TEST(goaway_ends_what_it_does_not_cover),
        TEST(the_end_of_the_conn),
        TEST(what_did_not_leave_is_unsent),
        TEST(refused_connections),
        TEST(connecting_takes_too_long),
        TEST(malformed_answers_end_the_stream_alone),
        TEST(a_head_that_is_too_large),
        TEST(garbage_ends_the_conn),
        TEST(an_http1_upstream),
        TEST(a_release_before_the_end_is_a_reset),
        TEST(the_head_of_an_answer_takes_too_long),
        TEST(the_body_of_an_answer_stalls),
        TEST(the_upstream_gives_no_window),
        TEST(a_quiet_upstream_is_pinged),
        TEST(an_idle_conn_ends),
        TEST(retiring_waits_for_the_last_stream),
        TEST(an_upgrade_becomes_a_tunnel),
        TEST(an_upgrade_that_is_refused),
        TEST(an_upstream_without_extended_connect_sees_no_upgrade),
        TEST(an_upgrade_with_a_body_is_a_request_like_any_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
