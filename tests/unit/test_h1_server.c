/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Client conns, event by event: requests and answers, bodies and credit, refusals, early answers,
 * tunnels. How a conn ends is in test_h1_server_end.c.
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

/* ---- a request and its answer ---- */

static void a_request_is_answered_and_the_conn_kept(void **state)
{
    struct service *f = *state;
    for (int i = 0; i < 3; i++) {
        wire_say(&f->w, GET("/a"));
        assert_string_equal(service_notes(f), "GET /a |end|");
        service_answer(f, "hello");
        service_run(f);
        assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    }
    assert_false(f->w.got_end);
}

static void an_idle_conn_owns_no_buffer(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, GET("/"));
    service_answer(f, "");
    service_run(f);
    assert_int_equal(f->w.r.bufs.blocks, 0);
    assert_null(h1_server_conn(f->srv)->in);
}

static void what_the_service_sends_is_reported_as_drained(void **state)
{
    struct service *f = *state;
    service_rewire(f, 100);
    wire_say(&f->w, GET("/"));
    service_notes(f);
    wire_read(&f->w, false);
    char bytes[1000] = {0};
    service_send_head(f, 200, BODY_CHUNKED, 0);
    service_send_bytes(f, bytes, sizeof(bytes));
    service_run(f);
    service_notes(f); /* what fitted */
    wire_read(&f->w, true);
    assert_true(strstr(service_notes(f), "drained") != NULL);
    f->stream->ops->send_end(f->stream, NULL);
    service_release(f, REASON_DONE);
    service_run(f);
    assert_int_equal(f->w.got_len, strlen("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") +
                                       strlen("3e8\r\n") + 1000 + strlen("\r\n0\r\n\r\n"));
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, GET("/1") GET("/2") GET("/3"));
    assert_string_equal(service_notes(f), "GET /1 |end|"); /* the next waits */
    service_answer(f, "1");
    service_run(f);
    assert_string_equal(service_notes(f), "GET /2 |end|");
    service_answer(f, "2");
    service_run(f);
    service_answer(f, "3");
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n2"
                                          "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3");
}

static void answers_in_the_request_event_are_fine(void **state)
{
    struct service *f = *state;
    f->answer_at_once = 200;
    wire_say(&f->w,
             GET("/1")
                 GET("/2") "POST /3 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" GET("/4"));
    assert_string_equal(service_notes(f), "GET /1 |GET /2 |POST /3 |GET /4 |");
    assert_false(f->w.got_end);
}

static void requests_behind_one_in_progress_pile_up_to_a_bound(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, GET("/1"));
    for (int i = 0; i < 4000 && pair_reading(f->w.pair, 0); i++)
        wire_say(&f->w, GET("/2"));
    assert_false(pair_reading(f->w.pair, 0));
    assert_true(conn_input(h1_server_conn(f->srv)).len < 40000);
    f->answer_at_once = 200;
    f->notes.quiet = true;
    service_answer(f, "1");
    service_run(f);
    assert_true(pair_reading(f->w.pair, 0));
    assert_null(f->stream);
}

/* A client that sends requests without reading the answers is not read from either. */
static void unread_answers_stop_the_reading(void **state)
{
    struct service *f = *state;
    service_rewire(f, 1024);
    wire_read(&f->w, false);
    f->answer_at_once = 200;
    f->notes.quiet = true;
    for (int i = 0; i < 20000 && pair_reading(f->w.pair, 0); i++)
        wire_say(&f->w, GET("/"));
    assert_false(pair_reading(f->w.pair, 0));
    assert_true(conn_input(h1_server_conn(f->srv)).len < 40000);
    assert_true(conn_unsent(h1_server_conn(f->srv)) < 2 * SERVICE_BUFFER);
    wire_read(&f->w, true); /* and goes on once it reads */
    assert_true(pair_reading(f->w.pair, 0));
    assert_int_equal(conn_input(h1_server_conn(f->srv)).len, 0);
}

/* ---- bodies and credit ---- */

static void a_body_stops_where_the_credit_ends(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n");
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    assert_true(f->notes.body_len >= SERVICE_BUFFER && f->notes.body_len < 20000);
    assert_false(pair_reading(f->w.pair, 0));
    size_t before = f->notes.body_len;
    f->stream->ops->credit(f->stream, 1);
    service_run(f);
    assert_true(f->notes.body_len <= before + BLOCK_BYTES); /* the window is still shut */
    f->credit = 1;
    f->stream->ops->credit(f->stream, 20000);
    service_run(f);
    assert_int_equal(f->notes.body_len, 20000);
    assert_string_equal(service_notes(f), "POST / |end|");
    service_answer(f, "");
    service_run(f);
}

static void what_is_held_for_a_body_is_bounded(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50000\r\n\r\n");
    char *bytes = calloc(1, 50000);
    wire_say_bytes(&f->w, bytes, 50000);
    free(bytes);
    assert_in_range(f->notes.body_len, SERVICE_BUFFER,
                    SERVICE_BUFFER + BLOCK_BYTES); /* the last read may exceed it */
    wire_close(&f->w, true);
    f->stream->ops->credit(f->stream, 50000);
    service_run(f);
    assert_string_equal(service_notes(f), "POST / |aborted client_reset|closed client_reset|");
}

static void chunks_and_trailers_are_handed_up(void **state)
{
    struct service *f = *state;
    f->credit = 1;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_string_equal(service_notes(f), "POST / |");
    wire_say(&f->w, "2\r\nde\r\n0\r\nT: 1\r\n\r\n");
    assert_string_equal(f->notes.body, "abcde");
    assert_string_equal(service_notes(f), "end T|");
    service_answer(f, "");
    service_run(f);
}

static void a_http_1_0_client_gets_no_chunks(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    service_send_head(f, 103, BODY_NONE, 0); /* nor interim responses */
    service_send_head(f, 200, BODY_CHUNKED, 0);
    service_send_bytes(f, "body", 4);
    f->stream->ops->send_end(f->stream, NULL);
    service_release(f, REASON_DONE);
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbody");
    assert_true(f->w.got_end);
}

static void a_http_1_0_client_may_keep_the_conn(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    service_answer(f, "x");
    service_run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\nx");
    assert_false(f->w.got_end);
}

static void head_and_304_have_no_body(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    service_answer(f, "hello");
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    wire_say(&f->w, GET("/"));
    service_send_head(f, 304, BODY_NONE, 0);
    f->stream->ops->send_end(f->stream, NULL);
    service_release(f, REASON_DONE);
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 304 Not Modified\r\n\r\n");
}

/* As one from HTTP/2 may be, which needs no length. */
static void an_answer_that_ends_with_its_head_says_so(void **state)
{
    struct service *f = *state;
    static const char *const asks[] = {GET("/"), "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n"};
    static const char *const answers[] = {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
                                          "HTTP/1.1 404 Not Found\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        wire_say(&f->w, asks[i]);
        service_send_head(f, 404, BODY_NONE, 0);
        f->stream->ops->send_end(f->stream, NULL);
        service_release(f, REASON_DONE);
        service_run(f);
        assert_string_equal(wire_take(&f->w), answers[i]);
    }
}

/* ---- refusals ---- */

static void a_bad_request_is_answered_once_and_closed(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "GET / HTTP/1.1\r\n\r\n" GET("/2"));
    assert_string_equal(service_notes(f), "GET  missing_host|");
    service_answer(f, "no");
    service_run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(service_notes(f), "closed done|");
}

static void a_body_that_breaks_a_rule_aborts_the_request(void **state)
{
    struct service *f = *state;
    f->release_on_abort = false;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    wire_say(&f->w, "zz\r\n");
    assert_string_equal(service_notes(f), "POST / |aborted bad_chunk|");
    service_answer(f, "no");
    service_run(f);
    assert_true(strstr(wire_take(&f->w), "Connection: close\r\n") != NULL);
    assert_true(f->w.got_end);
    wire_end(&f->w);
}

/* ---- early answers ---- */

static void the_rest_of_an_answered_request_is_drained(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2000\r\n\r\n");
    service_answer(f, "early");
    service_run(f);
    char *bytes = calloc(1, 2000);
    wire_say_bytes(&f->w, bytes, 2000);
    free(bytes);
    service_notes(f);
    wire_say(&f->w, GET("/next"));
    assert_string_equal(service_notes(f), "GET /next |end|");
    service_answer(f, "");
    service_run(f);
}

#define CHUNKED_POST "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
#define REFUSED      "HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n"

/* What has come tells nothing of what is to come: only the end of the last chunk's lines does. */
static void an_error_inside_a_chunked_upload_says_that_the_conn_ends(void **state)
{
    static const char *const sent[] = {
        "", "1", "3\r\nab", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n", "3\r\nabc\r\n0\r\nX: y\r\n"};
    struct service *f = *state;
    f->credit = 1;
    for (unsigned i = 0; i < sizeof(sent) / sizeof(sent[0]); i++) {
        service_rewire(f, 65536);
        wire_say(&f->w, CHUNKED_POST);
        wire_say(&f->w, sent[i]);
        service_notes(f);
        service_answer_with(f, 404, "now");
        service_run(f);
        assert_string_equal(wire_take(&f->w), REFUSED "Connection: close\r\n\r\nnow");
        assert_true(f->w.got_end);
        wire_say(&f->w, "\r\n" GET("/never")); /* as it was told */
        assert_string_equal(service_notes(f), "");
        wire_end(&f->w);
        assert_string_equal(service_notes(f), "closed done|");
    }
}

static void an_error_behind_a_whole_chunked_upload_keeps_the_conn(void **state)
{
    struct service *f = *state;
    f->credit = 1;
    for (int i = 0; i < 2; i++) { /* answered behind the upload; before it is handed up */
        f->answer_at_once = i == 0 ? 0 : 404;
        wire_say(&f->w, CHUNKED_POST "3\r\nabc\r\n0\r\nX: y\r\n\r\n");
        if (i == 0)
            service_answer_with(f, 404, "now");
        service_run(f);
        assert_string_equal(wire_take(&f->w), REFUSED "\r\nnow");
        f->answer_at_once = 0;
        service_notes(f);
        wire_say(&f->w, GET("/next"));
        assert_string_equal(service_notes(f), "GET /next |end|");
        service_answer(f, "ok");
        service_run(f);
        assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

static void draining_has_a_bound(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    service_answer(f, "early");
    service_run(f);
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
    struct service *f = *state;
    wire_say(&f->w, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n");
    service_answer(f, "early");
    service_run(f);
    wire_pass(&f->w, 60100);
    wire_pass(&f->w, 2100);
    assert_null(f->srv);
    assert_string_equal(service_notes(f), "POST / |closed body_timeout|");
}

static void a_client_that_still_waits_for_a_100_is_closed(void **state)
{
    struct service *f = *state;
    wire_say(&f->w,
             "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    service_answer(f, "no");
    service_run(f);
    assert_true(strstr(wire_take(&f->w), "Connection: close\r\n") != NULL);
    assert_true(f->w.got_end);
    wire_end(&f->w);
}

static void interim_responses_are_sent(void **state)
{
    struct service *f = *state;
    f->credit = 1;
    wire_say(&f->w,
             "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    service_send_head(f, 100, BODY_NONE, 0);
    service_send_head(f, 103, BODY_NONE, 0);
    service_run(f);
    assert_string_equal(wire_take(&f->w),
                        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n");
    wire_say(&f->w, "hello");
    service_answer(f, "ok");
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
}

/* ---- tunnels ---- */

#define UPGRADE "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

static void nothing_is_tunnelled_before_the_101(void **state)
{
    struct service *f = *state;
    f->credit = 1;
    wire_say(&f->w, UPGRADE "early bytes");
    assert_string_equal(service_notes(f), "GET / |end|");
    assert_int_equal(f->notes.body_len, 0);
    service_send_head(f, 101, BODY_TUNNEL, 0);
    service_run(f);
    assert_string_equal(wire_take(&f->w), "HTTP/1.1 101 Switching Protocols\r\n"
                                          "Connection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_string_equal(f->notes.body, "early bytes");
    wire_say(&f->w, " and more");
    assert_string_equal(f->notes.body, "early bytes and more");
    service_release(f, REASON_TUNNEL_IDLE);
    service_run(f);
    assert_true(f->w.got_end);
}

static void a_tunnel_closes_one_direction_at_a_time(void **state)
{
    for (int ours_first = 0; ours_first < 2; ours_first++) {
        struct service *f = *state;
        service_rewire(f, 65536);
        f->notes.body_len = 0;
        f->credit = 1;
        wire_say(&f->w, UPGRADE);
        service_send_head(f, 101, BODY_TUNNEL, 0);
        service_run(f);
        service_notes(f);
        if (ours_first) {
            f->stream->ops->send_end(f->stream, NULL);
            service_run(f);
            assert_true(f->w.got_end);
            wire_say(&f->w, "still heard");
            assert_string_equal(f->notes.body, "still heard");
            wire_end(&f->w);
            assert_string_equal(service_notes(f), "end|");
        } else {
            wire_end(&f->w);
            assert_string_equal(service_notes(f), "end|");
            wire_take(&f->w);
            service_send_bytes(f, "still said", 10);
            service_run(f);
            assert_string_equal(wire_take(&f->w), "still said");
            f->stream->ops->send_end(f->stream, NULL);
            service_run(f);
        }
        service_release(f, REASON_DONE);
        service_run(f);
        assert_true(f->w.got_end);
        wire_pass(&f->w, 3000);
        assert_null(f->srv);
        wire_fini(&f->w);
        service_begin(f, 65536);
    }
}

static void a_tunnel_has_credit_too(void **state)
{
    struct service *f = *state;
    wire_say(&f->w, UPGRADE);
    service_send_head(f, 101, BODY_TUNNEL, 0);
    service_run(f);
    char *bytes = calloc(1, 20000);
    wire_say_bytes(&f->w, bytes, 20000);
    free(bytes);
    assert_in_range(f->notes.body_len, SERVICE_BUFFER, SERVICE_BUFFER + BLOCK_BYTES);
    assert_false(pair_reading(f->w.pair, 0));
    f->credit = 1;
    f->stream->ops->credit(f->stream, 20000);
    service_run(f);
    assert_int_equal(f->notes.body_len, 20000);
    service_release(f, REASON_TUNNEL_IDLE);
    service_run(f);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, service_setup, service_teardown)

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
        TEST(an_answer_that_ends_with_its_head_says_so),
        TEST(a_bad_request_is_answered_once_and_closed),
        TEST(a_body_that_breaks_a_rule_aborts_the_request),
        TEST(the_rest_of_an_answered_request_is_drained),
        TEST(an_error_inside_a_chunked_upload_says_that_the_conn_ends),
        TEST(an_error_behind_a_whole_chunked_upload_keeps_the_conn),
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
