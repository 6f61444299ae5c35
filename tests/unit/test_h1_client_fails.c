/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upstream conns whose upstream fails, at every state, or takes too long.
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
#include "tests/unit/h1_owner.h"

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
    struct owner *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        owner_rewire(f, 65536);
        owner_ask(f, "GET");
        pair_connect(f->w.pair, 0, rows[i].status);
        wire_settle(&f->w);
        assert_string_equal(owner_notes(f), rows[i].want);
    }
}

static void connecting_has_a_time(void **state)
{
    struct owner *f = *state;
    owner_ask(f, "GET");
    wire_pass(&f->w, 900);
    assert_string_equal(owner_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(owner_notes(f), "aborted connect_timeout|closed|");
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
    struct owner *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        for (int reset = 0; reset < 2; reset++) {
            owner_rewire(f, 65536);
            owner_ask_up(f, "GET");
            wire_say(&f->w, failures[i].said);
            wire_close(&f->w, reset);
            assert_string_equal(owner_notes(f), reset ? failures[i].reset : failures[i].ended);
        }
    }
}

/* A stale conn: it says so, and the request is known not to have been read. */
static void a_stale_conn_is_told_apart(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    owner_notes(f);
    owner_ask(f, "GET");
    wire_close(&f->w, true);
    assert_string_equal(owner_notes(f), "aborted upstream_reset reused|closed|");
    owner_rewire(f, 65536);
    owner_ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    owner_notes(f);
    pair_fail_write(f->w.pair, 0, UV_EPIPE); /* not a byte leaves */
    pair_fail_read(f->w.pair, 0, UV_ECONNRESET);
    owner_ask(f, "POST");
    assert_string_equal(owner_notes(f), "aborted upstream_unsent reused|closed|");
}

/* The beginning of an upload to an upstream that reads nothing. */
static void upload_unread(struct owner *f)
{
    static char bytes[5000];
    owner_rewire(f, 1000);
    owner_connect_up(f);
    wire_read(&f->w, false);
    owner_open_stream(f);
    owner_send_head(f, "POST", BODY_CHUNKED, false);
    owner_send_bytes(f, bytes, sizeof(bytes));
    owner_run(f);
    owner_notes(f);
}

/* An upstream that answers and closes without reading the whole request: the answer counts. */
static void an_answer_before_a_broken_write_is_delivered(void **state)
{
    struct owner *f = *state;
    upload_unread(f);
    pair_fail_write(f->w.pair, 0, UV_EPIPE);
    wire_say(&f->w, "HTTP/1.1 413 Too\r\nContent-Length: 2\r\n\r\nno");
    assert_string_equal(owner_notes(f), "413|end|closed|");
    assert_string_equal(f->notes.body, "no");
}

static void a_malformed_response_is_a_bad_one(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 2x0 OK\r\n\r\n");
    assert_string_equal(owner_notes(f), "aborted bad_response answered|closed|");
    owner_rewire(f, 65536);
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\nzz\r\n");
    assert_string_equal(owner_notes(f), "200|aborted bad_response answered|closed|");
    assert_string_equal(f->notes.body, "x");
}

static void a_stream_may_be_let_go_at_any_time(void **state)
{
    struct owner *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(failures); i++) {
        owner_rewire(f, 65536);
        owner_ask_up(f, "GET");
        wire_say(&f->w, failures[i].said);
        owner_notes(f);
        owner_release(f, REASON_REQUEST_TIMEOUT);
        owner_run(f);
        assert_string_equal(owner_notes(f), "closed|");
    }
}

/* ---- time ---- */

static void the_response_head_has_its_time_from_the_requests_end(void **state)
{
    struct owner *f = *state;
    owner_connect_up(f);
    owner_open_stream(f);
    owner_send_head(f, "POST", BODY_CHUNKED, false);
    owner_run(f);
    wire_pass(&f->w, 100000); /* the request is not whole: nothing is late */
    assert_string_equal(owner_notes(f), "");
    f->stream->ops->send_end(f->stream, NULL);
    owner_run(f);
    wire_pass(&f->w, OWNER_HEAD_MS - 100);
    assert_string_equal(owner_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(owner_notes(f), "aborted response_head_timeout|closed|");
}

static void a_dialled_conn_has_the_time_from_when_it_is_up(void **state)
{
    struct owner *f = *state;
    owner_ask(f, "GET");
    wire_pass(&f->w, 900);
    owner_connect_up(f);
    wire_pass(&f->w, OWNER_HEAD_MS - 100);
    assert_string_equal(owner_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(owner_notes(f), "aborted response_head_timeout|closed|");
}

static void a_response_has_its_time_between_bytes(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        wire_pass(&f->w, 59000);
        wire_say(&f->w, "x");
    }
    assert_string_equal(owner_notes(f), "200|");
    wire_pass(&f->w, 60100);
    assert_string_equal(owner_notes(f), "aborted response_idle_timeout answered|closed|");
}

static void a_response_does_not_stall_while_the_request_moves(void **state)
{
    struct owner *f = *state;
    owner_connect_up(f);
    owner_open_stream(f);
    owner_send_head(f, "POST", BODY_CHUNKED, false);
    owner_run(f);
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    for (int i = 0; i < 3; i++) {
        wire_pass(&f->w, 59000);
        owner_send_bytes(f, "x", 1);
        owner_run(f);
    }
    wire_pass(&f->w, 59000);
    assert_string_equal(owner_notes(f), "200|drained 1|drained 1|drained 1|");
    wire_pass(&f->w, 2000);
    assert_string_equal(owner_notes(f), "aborted response_idle_timeout answered|closed|");
}

static void an_upstream_that_reads_nothing_is_given_up(void **state)
{
    struct owner *f = *state;
    upload_unread(f);
    wire_pass(&f->w, 29900);
    assert_string_equal(owner_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(owner_notes(f), "aborted upstream_write_stall|closed|");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
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
        TEST(a_response_does_not_stall_while_the_request_moves),
        TEST(an_upstream_that_reads_nothing_is_given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
