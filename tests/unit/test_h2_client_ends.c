/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each end of a stream of HTTP/2 to an upstream means, and of its conn, and what ends with
 * time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/h2_asker.h"

/* ---- of a stream ---- */

static void a_reset_has_its_reason(void **state)
{
    struct asker *f = *state;
    static const struct {
        uint32_t code;
        const char *notes;
    } cases[] = {
        {2, "a upstream_stream_reset|room 0|"},
        {7, "b upstream_refused|room 0|"},
        {8, "c upstream_cancelled|room 0|"},
        {11, "d upstream_stream_reset|room 0|"},
    };
    asker_up(f);
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        asker_ask(f, "GET");
        h2_say_rst(&f->peer, i * 2 + 1, cases[i].code);
        NOTES(cases[i].notes);
    }
}

static void a_reset_in_the_middle_of_a_body(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    h2_say_data(&f->peer, 1, false, "abc");
    h2_say_rst(&f->peer, 1, 2);
    NOTES("a 200 chunked|a abc|a upstream_stream_reset answered|room 0|");
}

/* RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted. */
static void a_whole_answer_and_a_reset_without_error(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_send(a, "x", 1);
    asker_run(f);
    asker_notes(f);
    h2_say_headers(&f->peer, 1, true, ":status: 413\n");
    h2_say_rst(&f->peer, 1, 0);
    NOTES("a 413 none|a end|room 0|");
}

static void goaway_ends_what_it_does_not_cover(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    asker_ask(f, "POST");
    h2_say_goaway(&f->peer, 1, 0);
    NOTES("b upstream_goaway|");
    assert_false(h2_client_room(f->client));
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    asker_run(f);
    NOTES("a 204 none|a end|closed upstream_idle_closed|");
}

/* ---- of the conn ---- */

static void the_end_of_the_conn(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 3, false, ":status: 200\n");
    wire_close(&f->w, false);
    asker_run(f);
    NOTES("b 200 chunked|a upstream_closed|b response_incomplete answered|closed upstream_closed|");
}

static void what_did_not_leave_is_unsent(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    struct ask *b = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    b->stream->ops->send_end(b->stream, NULL);
    wire_close(&f->w, true); /* before the loop runs */
    asker_run(f);
    NOTES("a upstream_reset|b upstream_unsent|closed upstream_reset|");
}

static void refused_connections(void **state)
{
    struct asker *f = *state;
    asker_ask(f, "GET");
    pair_connect(f->w.pair, 0, UV_ECONNREFUSED);
    wire_settle(&f->w);
    NOTES("a connect_refused|closed connect_refused|");
}

static void connecting_takes_too_long(void **state)
{
    struct asker *f = *state;
    asker_ask(f, "GET");
    wire_pass(&f->w, 1100);
    NOTES("a connect_timeout|closed connect_timeout|");
}

static void garbage_ends_the_conn(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_got(&f->peer);
    h2_say(&f->peer, H2_DATA, 0, 0, "x", 1);
    GOT("GOAWAY 0 1|");
    asker_run(f);
    NOTES("a bad_response|closed bad_response|");
}

static void an_http1_upstream(void **state)
{
    struct asker *f = *state;
    pair_connect(f->w.pair, 0, 0);
    asker_ask(f, "GET");
    wire_say(&f->w, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
    asker_run(f);
    NOTES("a bad_response|closed bad_response|");
}

static void a_release_before_the_end_is_a_reset(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    struct ask *a = asker_ask(f, "GET");
    h2_got(&f->peer);
    asker_release(a, REASON_CLIENT_CLOSED);
    asker_run(f);
    GOT("RST 1 8|");
    NOTES("room 0|");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n"); /* was on its way */
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 3, true, ":status: 204\n");
    NOTES("b 204 none|b end|room 0|");
}

/* ---- with time ---- */

static void the_head_of_an_answer_takes_too_long(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    wire_pass(&f->w, 1000);
    h2_say_headers(&f->peer, 1, false, ":status: 103\n");
    asker_notes(f);
    wire_pass(&f->w, ASKER_HEAD_MS - 900);
    NOTES("a response_head_timeout answered|room 0|");
}

static void the_body_of_an_answer_stalls(void **state)
{
    struct asker *f = *state;
    f->options.ping_ms = 0;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    asker_notes(f);
    wire_pass(&f->w, 60100);
    NOTES("a response_idle_timeout answered|room 0|");
}

static void an_answer_does_not_stall_while_the_request_moves(void **state)
{
    struct asker *f = *state;
    f->options.ping_ms = 0;
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_run(f);
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    asker_notes(f);
    for (int i = 0; i < 3; i++) {
        wire_pass(&f->w, 59000);
        asker_send(a, "x", 1);
        asker_run(f);
    }
    wire_pass(&f->w, 59000);
    NOTES("a drained 1|a drained 1|a drained 1|");
    wire_pass(&f->w, 2000);
    NOTES("a response_idle_timeout answered|room 0|");
}

static void the_upstream_gives_no_window(void **state)
{
    struct asker *f = *state;
    static char big[70000];
    f->options.ping_ms = 0;
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_send(a, big, sizeof(big));
    asker_run(f);
    asker_notes(f);
    h2_say_window(&f->peer, 0, 70000);
    asker_notes(f);
    wire_pass(&f->w, 30100);
    NOTES("a upstream_write_stall|room 0|");
    assert_false(h2_client_clogged(f->client));
}

/* Nobody else is to wait for it either. */
static void a_conn_without_window_takes_no_more(void **state)
{
    struct asker *f = *state;
    static char big[70000];
    f->options.ping_ms = 0;
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_send(a, big, sizeof(big));
    asker_run(f);
    h2_say_window(&f->peer, 1, 70000);
    asker_notes(f);
    assert_true(h2_client_room(f->client) && h2_client_clogged(f->client));
    asker_ask(f, "GET"); /* needs none */
    h2_say_headers(&f->peer, 3, true, ":status: 204\n");
    NOTES("b 204 none|b end|");
    wire_pass(&f->w, 30100);
    asker_run(f);
    NOTES("a upstream_write_stall|closed upstream_write_stall|");
}

static void a_quiet_upstream_is_pinged(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    struct ask *a = asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_run(f);
    h2_got(&f->peer);
    wire_pass(&f->w, 20100);
    GOT("PING|");
    NOTES("");
    wire_pass(&f->w, 299000);
    GOT("");
    f->peer.acks = false;
    wire_pass(&f->w, 1200);
    GOT("PING|");
    wire_pass(&f->w, 10100);
    NOTES("a upstream_silent|closed upstream_silent|");
    assert_null(a->stream);
}

/* What gRPC's servers take, who end the conn at the third PING in 5 minutes without data. */
static void a_part_of_an_answer_is_what_makes_pings_frequent(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_run(f);
    h2_got(&f->peer);
    wire_pass(&f->w, 20100);
    GOT("PING|");
    h2_say_window(&f->peer, 0, 1);
    wire_pass(&f->w, 299000);
    GOT("");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    wire_pass(&f->w, 20100);
    GOT("PING|");
    wire_pass(&f->w, 10000);
    h2_say_data(&f->peer, 1, false, "x");
    wire_pass(&f->w, 20100);
    GOT("PING|");
    wire_pass(&f->w, 20100);
    GOT("");
}

/* Its TCP says nothing for many minutes, and everybody else's requests would time out there too. */
static void a_conn_that_let_a_request_time_out_is_asked_at_once(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    f->peer.acks = false;
    asker_ask(f, "GET");
    wire_pass(&f->w, ASKER_HEAD_MS + 100);
    GOT("HEADERS 1 end " GET_A "|PING|RST 1 8|");
    NOTES("a response_head_timeout|");
    assert_false(h2_client_room(f->client) || list_linked(h2_client_link(f->client)));
    wire_pass(&f->w, 800);
    NOTES("");
    wire_pass(&f->w, 300);
    NOTES("closed upstream_silent|");
}

static void the_others_of_a_conn_that_is_gone_end_with_it(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    f->peer.acks = false;
    asker_ask(f, "GET");
    wire_pass(&f->w, ASKER_HEAD_MS - 1000);
    asker_ask(f, "GET");
    wire_pass(&f->w, 1100);
    NOTES("a response_head_timeout|");
    wire_pass(&f->w, 1100);
    NOTES("b upstream_silent|closed upstream_silent|");
}

static void a_conn_that_answers_its_ping_goes_on(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    f->peer.acks = false;
    asker_ask(f, "GET");
    wire_pass(&f->w, ASKER_HEAD_MS + 100);
    asker_notes(f);
    h2_say(&f->peer, H2_PING, H2_END, 0, "\0\0\0\0\0\0\0", 8);
    NOTES("room 0|");
    assert_true(h2_client_room(f->client));
    wire_pass(&f->w, 54000);
    NOTES("");
    wire_pass(&f->w, 1100);
    asker_run(f);
    NOTES("closed upstream_idle_timeout|");
}

/* Servers count the PINGs between two of their frames of answers. */
static void it_is_asked_once_until_it_answers_a_request(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    for (unsigned i = 0; i < 3; i++) {
        asker_ask(f, "GET");
        h2_got(&f->peer);
        wire_pass(&f->w, ASKER_HEAD_MS + 100);
        assert_int_equal(strncmp(h2_got(&f->peer), "PING|", 5) == 0, i == 0);
    }
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 7, true, ":status: 204\n");
    asker_ask(f, "GET");
    h2_got(&f->peer);
    wire_pass(&f->w, ASKER_HEAD_MS + 100);
    GOT("PING|RST 9 8|");
}

static void who_has_said_something_meanwhile_is_not_asked(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_begin(f, asker_head(f, "POST", BODY_CHUNKED));
    asker_ask(f, "GET");
    wire_pass(&f->w, ASKER_HEAD_MS - 100);
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    h2_got(&f->peer);
    wire_pass(&f->w, 200);
    GOT("RST 3 8|");
}

static void silence_within_an_answer_asks_too(void **state)
{
    struct asker *f = *state;
    f->options.ping_ms = 100000;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, false, ":status: 200\n");
    h2_got(&f->peer);
    wire_pass(&f->w, 60100);
    GOT("PING|RST 1 8|");
}

static void an_idle_conn_ends(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    asker_notes(f);
    h2_got(&f->peer);
    wire_pass(&f->w, 55100);
    GOT("GOAWAY 0 0|");
    asker_run(f);
    NOTES("closed upstream_idle_timeout|");
}

static void retiring_waits_for_the_last_stream(void **state)
{
    struct asker *f = *state;
    asker_up(f);
    asker_ask(f, "GET");
    h2_client_retire(f->client, REASON_DONE);
    asker_run(f);
    assert_false(h2_client_room(f->client));
    h2_say_headers(&f->peer, 1, true, ":status: 204\n");
    asker_run(f);
    NOTES("a 204 none|a end|closed done|");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, asker_setup, asker_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_reset_has_its_reason),
        TEST(a_reset_in_the_middle_of_a_body),
        TEST(a_whole_answer_and_a_reset_without_error),
        TEST(goaway_ends_what_it_does_not_cover),
        TEST(the_end_of_the_conn),
        TEST(what_did_not_leave_is_unsent),
        TEST(refused_connections),
        TEST(connecting_takes_too_long),
        TEST(garbage_ends_the_conn),
        TEST(an_http1_upstream),
        TEST(a_release_before_the_end_is_a_reset),
        TEST(the_head_of_an_answer_takes_too_long),
        TEST(the_body_of_an_answer_stalls),
        TEST(an_answer_does_not_stall_while_the_request_moves),
        TEST(the_upstream_gives_no_window),
        TEST(a_conn_without_window_takes_no_more),
        TEST(a_quiet_upstream_is_pinged),
        TEST(a_part_of_an_answer_is_what_makes_pings_frequent),
        TEST(a_conn_that_let_a_request_time_out_is_asked_at_once),
        TEST(the_others_of_a_conn_that_is_gone_end_with_it),
        TEST(a_conn_that_answers_its_ping_goes_on),
        TEST(it_is_asked_once_until_it_answers_a_request),
        TEST(who_has_said_something_meanwhile_is_not_asked),
        TEST(silence_within_an_answer_asks_too),
        TEST(an_idle_conn_ends),
        TEST(retiring_waits_for_the_last_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
