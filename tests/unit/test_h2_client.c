/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The upstream side of HTTP/2, against an upstream that speaks frame by frame: what requests
 * become, what answers become, and whose windows are held.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/h2_asker.h"

/* ---- requests ---- */

static void requests_are_sent_before_the_settings_are_known(void **state)
{
    struct asker *f = *state;
    asker_ask(f, "GET");
    assert_int_equal(f->w.got_len, 0); /* it is not up */
    f->peer.acks = false;
    pair_connect(f->w.pair, 0, 0);
    wire_settle(&f->w);
    GOT("preface|SETTINGS|WINDOW 0 983041|HEADERS 1 end " GET_A "|");
}

static void te_and_fields_of_the_conn(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    struct http_head *head = asker_head(f, "GET", BODY_NONE);
    http_head_add(head, FIELD_TE, SPAN_LIT("TE"), SPAN_LIT("trailers"));
    http_head_add(head, FIELD_KEEP_ALIVE, SPAN_LIT("Keep-Alive"), SPAN_LIT("timeout=3"));
    http_head_add(head, FIELD_OTHER, SPAN_LIT("X-Y"), SPAN_LIT("z"));
    head->query = SPAN_LIT("q=1");
    head->has_query = true;
    asker_begin(f, head);
    asker_run(f);
    GOT("HEADERS 1 end " GET_A "?q=1 te=trailers x-y=z|");
}

static void a_request_head_that_nghttp2_does_not_send(void **state)
{
    struct asker *f = *state;
    static char big[70000];
    asker_up(f);
    memset(big, 'x', sizeof(big));
    struct http_head *head = asker_head(f, "GET", BODY_NONE);
    http_head_add(head, FIELD_OTHER, SPAN_LIT("X-Big"), span_of(big, 65000));
    http_head_add(head, FIELD_OTHER, SPAN_LIT("X-More"), span_of(big, 65000));
    asker_begin(f, head);
    asker_run(f);
    NOTES("a head_too_large|room 0|");
    GOT("");
}

/* ---- answers ---- */

static void an_answer_of_known_length(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    GOT("HEADERS 1 end " GET_A "|");
    h2_say_headers(&f->peer, 1, false, ":status: 200\ncontent-length: 5\nx: y\n");
    h2_say_data(&f->peer, 1, true, "hello");
    NOTES("a 200 length content-length=5 x=y|a hello|a end|room 0|");
    GOT("");
}

static void an_answer_without_length_and_with_trailers(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\ncontent-type: application/grpc\n");
    h2_say_data(&f->peer, 1, false, "hi");
    h2_say_headers(&f->peer, 1, true, "grpc-status: 0\n");
    NOTES("a 200 chunked content-type=application/grpc|a hi|a end grpc-status=0|room 0|");
}

static void an_answer_may_end_with_its_head(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, true, ":status: 404\n");
    NOTES("a 404 none|a end|room 0|");
    asker_ask(f, "HEAD");
    h2_say_headers(&f->peer, 3, true, ":status: 200\ncontent-length: 9\n");
    NOTES("b 200 none content-length=9|b end|room 0|");
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 5, true, ":status: 204\n");
    NOTES("c 204 none|c end|room 0|");
}

static void interim_heads_pass(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 103\nlink: </x>\n");
    NOTES("a 103 none link=</x>|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    NOTES("a 204 none|a end|room 0|");
}

static void say_interims(struct asker *f, int n)
{
    char fields[1100];
    snprintf(fields, sizeof(fields), ":status: 103\nx: %0200d\n", 0);
    for (int i = 0; i < n; i++)
        h2_say_headers(&f->peer, 1, false, fields);
    wire_settle(&f->w);
}

static void interim_heads_are_not_kept(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    uint32_t before = f->w.r.bufs.blocks;
    say_interims(f, 31);
    assert_int_equal(f->w.r.bufs.blocks, before);
    assert_non_null(strstr(asker_notes(f), "a 103 none x=000"));
    h2_say_headers(&f->peer, 1, false, ":status: 103\nlast: one\n");
    h2_say_headers(&f->peer, 1, true, ":status: 204\nx: y\n");
    NOTES("a 103 none last=one|a 204 none x=y|a end|room 0|");
}

/* However few of them there was time for. */
static void too_many_interim_heads_end_the_stream(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_got(&f->peer);
    say_interims(f, 100);
    assert_non_null(strstr(asker_notes(f), "|a bad_response answered|room 0|"));
    GOT("RST 1 1|");
}

/* Within one read: nghttp2 has not framed our reset yet. */
static void nothing_is_read_behind_a_malformed_head(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 101\n");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    h2_say_headers(&f->peer, 1, true, "x: y\n");
    NOTES("a bad_response|room 0|");
}

static void a_head_that_is_too_large(void **state)
{
    struct asker *f = *state;
    char fields[4000];
    asker_up(f);
    asker_ask(f, "GET");
    size_t n = (size_t)snprintf(fields, sizeof(fields), ":status: 200\n");
    for (int i = 0; i < 25; i++)
        n += (size_t)snprintf(fields + n, sizeof(fields) - n, "x-%d: y\n", i);
    h2_say_headers(&f->peer, 1, true, fields);
    NOTES("a response_head_too_large|room 0|");
}

static void malformed_answers_end_the_stream_alone(void **state)
{
    struct asker *f = *state;
    static const char *const heads[] = {
        ":status: 101\n",
        ":status: 99\n",
        "x: y\n",
        ":status: 200\nconnection: close\n",
        ":status: 200\nA: b\n",
        ":status: 200\ncontent-length: x\n",
    };
    asker_up(f);
    for (unsigned i = 0; i < ARRAY_LEN(heads); i++) {
        char want[64];
        asker_ask(f, "GET");
        h2_got(&f->peer);
        h2_say_headers(&f->peer, i * 2 + 1, true, heads[i]);
        snprintf(want, sizeof(want), "%c bad_response|room 0|", 'a' + (int)i);
        const char *got = asker_notes(f);
        char answered[64];
        snprintf(answered, sizeof(answered), "%c bad_response answered|room 0|", 'a' + (int)i);
        if (strcmp(got, answered) != 0)
            assert_string_equal(got, want);
        snprintf(want, sizeof(want), "RST %u 1|", i * 2 + 1);
        assert_string_equal(h2_got(&f->peer), want);
    }
}

/* ---- bodies ---- */

static void a_body_goes_out_with_trailers(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_send(a, "hello", 5);
    asker_run(f);
    GOT("HEADERS 1 :method=POST :scheme=http :authority=h :path=/a|DATA 1 hello|");
    NOTES("a drained 5|");
    struct http_head trailers;
    http_head_init(&trailers);
    http_head_add(&trailers, FIELD_OTHER, SPAN_LIT("X-Sum"), SPAN_LIT("1"));
    a->stream->ops->send_end(a->stream, &trailers);
    asker_run(f);
    GOT("HEADERS 1 end x-sum=1|");
}

static void a_body_waits_for_the_window(void **state)
{
    struct asker *f = *state;
    static char big[70000];
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_send(a, big, sizeof(big));
    a->stream->ops->send_end(a->stream, NULL);
    asker_run(f);
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
    struct asker *f = *state;
    char piece[16001];
    asker_up(f);
    struct ask *a = asker_ask(f, "GET");
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
    asker_run(f);
    GOT("WINDOW 1 64000|");
}

/* The conn's window comes back as bytes come, once, whoever holds them and however that ends. */
static void who_takes_nothing_holds_no_window_of_the_conn(void **state)
{
    struct asker *f = *state;
    char piece[16001];
    struct ask *a = NULL;
    asker_up(f);
    f->hoard = true;
    memset(piece, 'x', 16000);
    piece[16000] = '\0';
    for (unsigned i = 0; i < ASKER_ASKS; i++) {
        if (a != NULL)
            asker_release(a, REASON_CLIENT_CLOSED);
        a = asker_ask(f, "GET");
        h2_say_headers(&f->peer, i * 2 + 1, false, ":status: 200\n");
        for (int k = 0; k < 4; k++)
            h2_say_data(&f->peer, i * 2 + 1, false, piece);
        assert_null(strstr(h2_got(&f->peer), "WINDOW"));
    }
    a->stream->ops->credit(a->stream, 64000);
    asker_run(f);
    GOT("WINDOW 15 64000|");
    h2_say_data(&f->peer, 15, false, piece); /* half of 1 MiB */
    GOT("WINDOW 0 528000|");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, asker_setup, asker_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_sent_before_the_settings_are_known),
        TEST(te_and_fields_of_the_conn),
        TEST(a_request_head_that_nghttp2_does_not_send),
        TEST(an_answer_of_known_length),
        TEST(an_answer_without_length_and_with_trailers),
        TEST(an_answer_may_end_with_its_head),
        TEST(interim_heads_pass),
        TEST(interim_heads_are_not_kept),
        TEST(too_many_interim_heads_end_the_stream),
        TEST(nothing_is_read_behind_a_malformed_head),
        TEST(a_head_that_is_too_large),
        TEST(malformed_answers_end_the_stream_alone),
        TEST(a_body_goes_out_with_trailers),
        TEST(a_body_waits_for_the_window),
        TEST(what_is_not_credited_holds_the_sender),
        TEST(who_takes_nothing_holds_no_window_of_the_conn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
