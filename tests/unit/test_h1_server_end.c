/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How a client's conn ends: closed by either side, cut, lingering, in time, and when the client or
 * the service goes away at any moment.
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
#include "tests/unit/h1_service.h"

/* ---- the end of a conn ---- */

static void close_is_honoured_from_either_side(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    service_answer(f, "x");
    service_run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx");
    assert_true(f->w.got_end);
    assert_string_equal(service_notes(f), "GET / |end|closed done|");
}

static void a_service_that_drains_closes(void **state)
{
    struct service *f = *state;
    f->keep = false;
    wire_say(&f->w, GET("/"));
    service_answer(f, "x");
    service_run(f);
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
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" GET("/2"));
    service_answer(f, "x");
    service_run(f);
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    assert_non_null(f->srv);
    wire_say(&f->w, GET("/3"));
    assert_non_null(f->srv);
    wire_end(&f->w);
    assert_null(f->srv);
    assert_string_equal(service_notes(f), "GET / |end|closed done|");
}

static void lingering_has_an_end(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nx");
    service_answer(f, "x");
    service_run(f);
    wire_pass(&f->w, 1900);
    assert_non_null(f->srv);
    wire_pass(&f->w, 200);
    assert_null(f->srv);
}

/* The last answer to a client that reads nothing yet. Returns the length of its body. */
static size_t answer_unread(struct service *f)
{
    static char bytes[3000];
    service_rewire(f, 1000);
    wire_read(&f->w, false);
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n\r\n");
    service_send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    service_send_bytes(f, bytes, sizeof(bytes));
    f->stream->ops->send_end(f->stream, NULL);
    service_release(f, REASON_DONE);
    service_run(f);
    return sizeof(bytes);
}

/* The time to linger counts from when the answer has left, not from when it was queued. */
static void a_slow_reader_gets_its_whole_answer_before_the_lingering(void **state)
{
    struct service *f = *state;
    size_t bytes = answer_unread(f);
    wire_pass(&f->w, 5000);
    assert_non_null(f->srv);
    wire_read(&f->w, true);
    assert_true(f->w.got_len > bytes);
    assert_true(f->w.got_end);
    wire_pass(&f->w, 2100);
    assert_null(f->srv);
}

/* Nor does the client's own end cut it. */
static void a_half_closed_client_gets_its_whole_answer_before_the_end(void **state)
{
    struct service *f = *state;
    size_t bytes = answer_unread(f);
    wire_end(&f->w);
    wire_read(&f->w, true);
    assert_true(f->w.got_len > bytes);
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    assert_null(f->srv);
}

static void a_cut_answer_is_not_forged_into_a_whole_one(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, GET("/"));
    service_send_head(f, 200, BODY_CHUNKED, 0);
    service_send_bytes(f, "half", 4);
    service_run(f);
    service_release(f, REASON_RESPONSE_INCOMPLETE);
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                                          "4\r\nhalf\r\n");
    assert_true(f->w.got_end);
    assert_non_null(f->srv); /* bytes that nobody reads would make a reset of the close */
    wire_end(&f->w);
    service_run(f);
    assert_true(strstr(service_notes(f), "closed response_incomplete|") != NULL);
}

/* A body that ends with the conn can only be cut by a reset. */
static void a_cut_answer_until_close_is_reset(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.0\r\n\r\n");
    service_send_head(f, 200, BODY_CLOSE, 0);
    service_send_bytes(f, "half", 4);
    service_run(f);
    service_release(f, REASON_RESPONSE_INCOMPLETE);
    service_run(f);
    assert_int_equal(f->w.got_error, UV_ECONNRESET);
}

static void an_idle_conn_may_be_closed_by_either_side(void **state)
{
    struct service *f = *state;
    client_conn_close_idle(h1_server_client(f->srv)); /* its first request may be on the way */
    service_run(f);
    assert_false(f->w.got_end);
    wire_say(&f->w, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    service_answer(f, "x");
    service_run(f);
    client_conn_close_idle(h1_server_client(f->srv));
    service_run(f);
    assert_true(f->w.got_end);
    assert_string_equal(service_notes(f), "GET / |end|closed draining|");
    wire_fini(&f->w);
    service_begin(f, 65536);
    wire_end(&f->w);
    assert_string_equal(service_notes(f), "closed client_closed|");
}

/* A conn that was just accepted may have its request on the way, but not for long. */
static void a_new_conn_has_a_moment_for_its_first_request(void **state)
{
    struct service *f = *state;
    client_conn_close_idle(h1_server_client(f->srv));
    service_run(f);
    wire_pass(&f->w, 900);
    assert_false(f->w.got_end);
    wire_pass(&f->w, 200);
    assert_true(f->w.got_end);
    assert_null(f->srv);
}

static void a_busy_conn_is_not_idle(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GE");
    client_conn_close_idle(h1_server_client(f->srv));
    service_run(f);
    assert_non_null(f->srv);
    wire_say(&f->w, "T / HTTP/1.1\r\nHost: h\r\n\r\n");
    client_conn_close_idle(h1_server_client(f->srv));
    service_run(f);
    service_answer(f, "x");
    service_run(f);
    assert_non_null(f->srv);
}

/* ---- time ---- */

static void a_silent_conn_is_closed_without_a_word(void **state)
{
    struct service *f = *state;
    wire_pass(&f->w, 9900);
    assert_non_null(f->srv);
    wire_pass(&f->w, 200);
    assert_string_equal(service_notes(f), "closed idle_timeout|");
    assert_int_equal(f->w.got_len, 0);
}

static void an_idle_conn_has_the_idle_timeout(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, GET("/"));
    service_answer(f, "x");
    service_run(f);
    wire_pass(&f->w, 74900);
    assert_non_null(f->srv);
    wire_pass(&f->w, 200);
    assert_string_equal(service_notes(f), "GET / |end|closed idle_timeout|");
}

static void a_head_has_its_time_from_its_first_byte(void **state)
{
    struct service *f = *state;
    wire_pass(&f->w, 9000);
    wire_say(&f->w, "G");
    wire_pass(&f->w, 9000);
    wire_say(&f->w, "E"); /* more bytes buy no more time */
    wire_pass(&f->w, 900);
    assert_string_equal(service_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(service_notes(f), "  head_timeout|");
    service_answer(f, "late");
    service_run(f);
    assert_true(f->w.got_end);
    wire_end(&f->w);
}

/* Also when the request before it was answered in the very call that read its first byte. */
static void a_pipelined_head_has_the_same_time(void **state)
{
    struct service *f = *state;
    f->answer_at_once = 200;
    wire_say(&f->w, "GET /1 HTTP/1.1\r\n");
    wire_say(&f->w, "Host: h\r\n\r\nGET /2 HTTP/1.1\r\nHo");
    assert_string_equal(service_notes(f), "GET /1 |");
    wire_pass(&f->w, 10100);
    assert_string_equal(service_notes(f), "GET  head_timeout|");
    wire_end(&f->w);
}

static void a_body_has_its_time_between_bytes(void **state)
{
    struct service *f = *state;
    f->credit = 1;
    f->release_on_abort = false;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        wire_pass(&f->w, 59000);
        wire_say(&f->w, "x");
    }
    assert_string_equal(service_notes(f), "POST / |");
    wire_pass(&f->w, 60100);
    assert_string_equal(service_notes(f), "aborted body_timeout|");
    service_answer(f, "late");
    service_run(f);
    wire_end(&f->w);
}

/* Then the answer's own silence counts: who only listens is not late. */
static void a_body_has_no_time_of_its_own_once_it_is_answered(void **state)
{
    struct service *f = *state;
    char *bytes = calloc(1, 8000);
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8002\r\n\r\nx");
    wire_pass(&f->w, 59000);
    service_send_head(f, 200, BODY_LENGTH, 2);
    service_run(f);
    wire_pass(&f->w, 100000);
    wire_say_bytes(&f->w, bytes, 8000);
    free(bytes);
    wire_pass(&f->w, 100000);
    f->stream->ops->credit(f->stream, 8001);
    service_run(f);
    wire_pass(&f->w, 100000);
    service_send_bytes(f, "ok", 2);
    f->stream->ops->send_end(f->stream, NULL);
    service_release(f, REASON_DONE);
    service_run(f);
    assert_string_equal(service_notes(f), "POST / |");
    wire_pass(&f->w, 59000); /* what is still to come is not waited for for ever */
    assert_non_null(f->srv);
    wire_pass(&f->w, 2000);
    wire_pass(&f->w, 2100);
    assert_null(f->srv);
    assert_string_equal(service_notes(f), "closed body_timeout|");
}

static void a_body_that_waits_for_credit_is_not_late(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n");
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    wire_pass(&f->w, 300000);
    assert_string_equal(service_notes(f), "POST / |");
    f->credit = 1;
    f->stream->ops->credit(f->stream, 20000);
    service_run(f);
    service_answer(f, "");
    service_run(f);
}

static void a_request_in_progress_has_no_timeout_here(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, GET("/"));
    wire_pass(&f->w, 1000000);
    assert_string_equal(service_notes(f), "GET / |end|");
    service_answer(f, "");
    service_run(f);
}

static void a_client_that_reads_nothing_is_gone(void **state)
{
    struct service *f = *state;
    static char bytes[10000];
    service_rewire(f, 100);
    wire_read(&f->w, false);
    wire_say(&f->w, GET("/"));
    service_notes(f);
    service_send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    service_send_bytes(f, bytes, sizeof(bytes));
    service_run(f);
    service_notes(f);
    wire_pass(&f->w, 29900);
    assert_string_equal(service_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(service_notes(f), "aborted client_write_stall|closed client_write_stall|");
}

static void a_client_that_reads_a_little_is_not_gone(void **state)
{
    struct service *f = *state;
    static char bytes[10000];
    service_rewire(f, 100);
    pair_limit(f->w.pair, WIRE_PEER, 10);
    wire_read(&f->w, false);
    wire_say(&f->w, GET("/"));
    service_send_head(f, 200, BODY_LENGTH, sizeof(bytes));
    service_send_bytes(f, bytes, sizeof(bytes));
    service_run(f);
    for (int i = 0; i < 5; i++) {
        wire_pass(&f->w, 29000);
        f->w.peer->ops->read(f->w.peer, true);
        pair_step(f->w.pair);
        f->w.peer->ops->read(f->w.peer, false);
        wire_settle(&f->w);
    }
    assert_non_null(f->srv);
    wire_close(&f->w, true);
    service_run(f);
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
static void go(struct service *f, unsigned how, unsigned answered)
{
    if (f->stream != NULL && answered == 3) {
        service_answer(f, "whole");
    } else if (f->stream != NULL && answered > 0) {
        service_send_head(f, 200, BODY_LENGTH, 10);
        if (answered > 1)
            service_send_bytes(f, "half", 4);
    }
    service_run(f);
    if (how == 0)
        wire_end(&f->w);
    else if (how < 3)
        wire_close(&f->w, how == 2);
    else
        client_conn_abort(h1_server_client(f->srv), REASON_SHUTDOWN);
    service_run(f);
}

static void a_client_may_go_away_at_any_time(void **state)
{
    struct service *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        for (unsigned how = 0; how < 4; how++) {
            for (unsigned answered = 0; answered < 4; answered++) {
                service_rewire(f, 65536);
                wire_say(&f->w, states[i].say);
                bool busy = f->stream != NULL;
                go(f, how, answered);
                if (f->stream != NULL)
                    fail_msg("%s, %u, %u: not told", states[i].name, how, answered);
                if (busy && answered < 3)
                    assert_non_null(strstr(service_notes(f), "aborted"));
                wire_pass(&f->w, 100000); /* whatever lingers */
                if (f->srv != NULL)
                    fail_msg("%s, %u, %u: not closed", states[i].name, how, answered);
                wire_fini(&f->w);
                service_begin(f, 65536);
            }
        }
    }
}

/* ... and the service may let go at every state, with and without an answer. */
static void a_service_may_let_go_at_any_time(void **state)
{
    struct service *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        for (unsigned answered = 0; answered < 4; answered++) {
            service_rewire(f, 65536);
            wire_say(&f->w, states[i].say);
            go(f, 4, answered);
            if (f->stream != NULL)
                service_release(f, REASON_INTERNAL);
            service_run(f);
            wire_pass(&f->w, 1000000);
            wire_end(&f->w);
            service_run(f);
            assert_null(f->stream);
            assert_null(f->srv);
            wire_fini(&f->w);
            service_begin(f, 65536);
        }
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, service_setup, service_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        TEST(a_silent_conn_is_closed_without_a_word),
        TEST(an_idle_conn_has_the_idle_timeout),
        TEST(a_head_has_its_time_from_its_first_byte),
        TEST(a_pipelined_head_has_the_same_time),
        TEST(a_body_has_its_time_between_bytes),
        TEST(a_body_has_no_time_of_its_own_once_it_is_answered),
        TEST(a_body_that_waits_for_credit_is_not_late),
        TEST(a_request_in_progress_has_no_timeout_here),
        TEST(a_client_that_reads_nothing_is_gone),
        TEST(a_client_that_reads_a_little_is_not_gone),
        TEST(a_client_may_go_away_at_any_time),
        TEST(a_service_may_let_go_at_any_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
