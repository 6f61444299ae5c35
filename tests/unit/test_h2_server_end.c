/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How HTTP/2 client conns and their streams end: resets, cut answers, early answers, clients that
 * go, clocks, draining.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/h2_service.h"

static const char *const get[] = {":method", "GET",   ":scheme", "http", ":authority",
                                  "h",       ":path", "/",       NULL};
static const char *const post[] = {":method", "POST",  ":scheme", "http", ":authority",
                                   "h",       ":path", "/",       NULL};

#define END (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)

static void by_hand(struct h2_service *f)
{
    h2_rewire(f, 65536, false);
    h2_preface(f);
    h2_frames(f);
}

/* ---- streams ---- */

static void a_reset_aborts_the_exchange_and_nothing_else(void **state)
{
    struct h2_service *f = *state;
    int32_t one = h2_get(f, "/1");
    h2_get(f, "/2");
    h2_notes(f);
    nghttp2_submit_rst_stream(f->ng, NGHTTP2_FLAG_NONE, one, NGHTTP2_CANCEL);
    h2_run(f);
    assert_string_equal(h2_notes(f), "0 aborted client_reset|");
    h2_answer(&f->served[1], "2");
    h2_run(f);
    assert_string_equal(h2_seen(f), "3 :status=200|3 content-length=1|3 '2'|3 end|");
}

static void a_request_that_is_reset_at_once_is_never_begun(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    /* HEADERS of one indexed block and RST_STREAM in one read */
    uint8_t wire[9 + 6 + 13] = {0, 0, 6, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0x84, 0x41, 1, 'h'};
    uint8_t rst[13] = {0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 8};
    memcpy(wire + 15, rst, sizeof(rst));
    wire_say_bytes(&f->w, wire, sizeof(wire));
    h2_run(f);
    assert_string_equal(h2_notes(f), "");
    assert_int_equal(f->w.r.slabs[SLAB_H2_STREAM].in_use, 0);
}

static void an_answer_that_is_cut_is_reset_behind_what_was_queued(void **state)
{
    struct h2_service *f = *state;
    h2_get(f, "/");
    h2_send_head(&f->served[0], 200, BODY_LENGTH, 10);
    h2_send_bytes(&f->served[0], "half", 4);
    h2_release(&f->served[0], REASON_UPSTREAM_RESET);
    h2_run(f);
    assert_string_equal(h2_seen(f), "1 :status=200|1 content-length=10|1 'half'|1 reset 2|");
    h2_get(f, "/"); /* the conn goes on */
    h2_answer(&f->served[1], "");
    h2_run(f);
    assert_true(strstr(h2_seen(f), "3 end|") != NULL);
}

static void an_early_answer_ends_the_request_without_an_error(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, post);
    h2_answer(&f->served[0], "no");
    h2_run(f);
    assert_string_equal(h2_frames(f), "headers 1|data 1 end|reset 1 0|");
    h2_frame(f, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "late", 4); /* on its way: ignored */
    h2_headers(f, END, 3, get);
    h2_answer(&f->served[1], "yes");
    h2_run(f);
    assert_true(strstr(h2_frames(f), "headers 3|data 3 end|") != NULL);
}

static void a_body_that_stalls_is_answered(void **state)
{
    struct h2_service *f = *state;
    f->keep_on_abort = true;
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, post);
    h2_notes(f);
    wire_pass(&f->w, 59000);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "x", 1);
    wire_pass(&f->w, 59000);
    assert_string_equal(h2_notes(f), "");
    wire_pass(&f->w, 2000);
    assert_string_equal(h2_notes(f), "0 aborted body_timeout|");
    h2_send_head(&f->served[0], 408, BODY_LENGTH, 0);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_BODY_TIMEOUT);
    h2_run(f);
    assert_string_equal(h2_frames(f), "headers 1 end|reset 1 0|");
}

/* Nobody has taken what came, but there is room for more. */
static void a_body_that_was_given_more_window_may_stall(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, H2_FIRST_WINDOW);
    by_hand(f);
    f->credit = false;
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, post);
    h2_frame(f, NGHTTP2_DATA, 0, 1, bytes, H2_FIRST_WINDOW / 2);
    assert_string_equal(h2_frames(f), "window 1|");
    h2_notes(f);
    wire_pass(&f->w, 61000);
    assert_string_equal(h2_notes(f), "0 aborted body_timeout|");
    free(bytes);
}

static void a_body_that_waits_for_credit_or_100_does_not_stall(void **state)
{
    struct h2_service *f = *state;
    const char *expects[] = {":method", "POST", ":scheme", "http",         ":authority", "h",
                             ":path",   "/",    "expect",  "100-continue", NULL};
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, expects);
    wire_pass(&f->w, 100000);
    assert_string_equal(h2_notes(f), "0 POST / |");
    h2_release(&f->served[0], REASON_SHUTDOWN);
    h2_run(f);
    char *bytes = calloc(1, 16384);
    f->credit = false;
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 3, post);
    for (int i = 0; i < 3; i++)
        h2_frame(f, NGHTTP2_DATA, 0, 3, bytes, 16384);
    free(bytes);
    wire_pass(&f->w, 100000);
    assert_string_equal(h2_notes(f), "1 POST / |");
    h2_release(&f->served[1], REASON_SHUTDOWN);
    h2_run(f);
}

static void a_body_that_was_asked_for_by_100_stalls(void **state)
{
    struct h2_service *f = *state;
    const char *expects[] = {":method", "POST", ":scheme", "http",         ":authority", "h",
                             ":path",   "/",    "expect",  "100-continue", NULL};
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, expects);
    wire_pass(&f->w, 100000);
    h2_notes(f);
    h2_send_head(&f->served[0], 100, BODY_NONE, 0);
    h2_run(f);
    wire_pass(&f->w, 59000);
    assert_string_equal(h2_notes(f), "");
    wire_pass(&f->w, 2000);
    assert_string_equal(h2_notes(f), "0 aborted body_timeout|");
}

/* As in a watch over gRPC: the silence of one who only listens is no stall. */
static void a_body_does_not_stall_once_it_is_answered(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, post);
    wire_pass(&f->w, 59000);
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0);
    h2_run(f);
    wire_pass(&f->w, 100000);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "x", 1);
    wire_pass(&f->w, 100000);
    h2_send_bytes(&f->served[0], "y", 1);
    h2_run(f);
    wire_pass(&f->w, 100000);
    assert_string_equal(h2_notes(f), "0 POST / |0 drained 1|");
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_string_equal(h2_frames(f), "headers 1|data 1|data 1 end|reset 1 0|");
}

static void a_body_over_the_limit_is_aborted(void **state)
{
    struct h2_service *f = *state;
    f->keep_on_abort = true;
    f->options.limits.body_bytes = 10;
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, post);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "0123456789", 10);
    h2_notes(f);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "x", 1);
    assert_string_equal(h2_notes(f), "0 aborted body_too_large|");
    h2_answer(&f->served[0], "413");
    h2_run(f);
    assert_string_equal(h2_frames(f), "headers 1|data 1 end|reset 1 0|");
}

/* The window of the stream, and that of the conn, stay shut. */
static void a_response_that_nobody_makes_room_for_is_reset(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, 100000);
    by_hand(f);
    h2_headers(f, END, 1, get);
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0);
    h2_send_bytes(&f->served[0], bytes, 100000);
    h2_run(f);
    h2_frames(f);
    h2_notes(f);
    wire_pass(&f->w, 29000);
    assert_string_equal(h2_notes(f), "");
    wire_pass(&f->w, 2000);
    assert_string_equal(h2_notes(f), "0 aborted client_write_stall|");
    assert_string_equal(h2_frames(f), "reset 1 8|");
    free(bytes);
}

/* An end without a byte needs no room, but nghttp2 waits for some; nothing else would end the
 * stream, or its conn. */
static void an_end_that_nobody_makes_room_for_is_reset(void **state)
{
    static const uint8_t no_window[6] = {0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE};
    struct h2_service *f = *state;
    by_hand(f);
    h2_frame(f, NGHTTP2_SETTINGS, 0, 0, no_window, sizeof(no_window));
    h2_headers(f, END, 1, get);
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_string_equal(h2_frames(f), "settings ack|headers 1|");
    wire_pass(&f->w, 29000);
    assert_string_equal(h2_frames(f), "");
    wire_pass(&f->w, 2000);
    assert_string_equal(h2_frames(f), "reset 1 8|");
}

/* ---- conns ---- */

static void a_client_that_goes_aborts_what_it_asked_for(void **state)
{
    struct h2_service *f = *state;
    h2_get(f, "/1");
    h2_get(f, "/2");
    h2_notes(f);
    wire_end(&f->w);
    assert_string_equal(h2_notes(f),
                        "0 aborted client_closed|1 aborted client_closed|closed client_closed|");
}

static void a_reset_of_the_conn_aborts_what_it_carried(void **state)
{
    struct h2_service *f = *state;
    h2_get(f, "/1");
    h2_notes(f);
    wire_close(&f->w, true);
    assert_string_equal(h2_notes(f), "0 aborted client_reset|closed client_reset|");
}

/* The memory stays until the last of them is released. */
static void streams_may_outlive_the_conn(void **state)
{
    struct h2_service *f = *state;
    f->keep_on_abort = true;
    h2_get(f, "/1");
    h2_get(f, "/2");
    h2_notes(f);
    wire_close(&f->w, true);
    assert_string_equal(h2_notes(f), "0 aborted client_reset|1 aborted client_reset|");
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0); /* into the void */
    h2_send_bytes(&f->served[0], "x", 1);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_string_equal(h2_notes(f), "");
    h2_release(&f->served[1], REASON_CLIENT_RESET);
    h2_run(f);
    assert_string_equal(h2_notes(f), "closed client_reset|");
}

static void an_idle_conn_is_told_before_it_is_closed(void **state)
{
    struct h2_service *f = *state;
    f->answer_at_once = true;
    h2_get(f, "/");
    h2_seen(f);
    h2_notes(f);
    wire_pass(&f->w, 74000);
    h2_run(f);
    assert_string_equal(h2_seen(f), "");
    wire_pass(&f->w, 2000);
    h2_run(f);
    assert_string_equal(h2_seen(f), "goaway 1 0|");
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(h2_notes(f), "closed idle_timeout|");
}

static void a_conn_that_never_asks_is_closed(void **state)
{
    struct h2_service *f = *state;
    wire_pass(&f->w, 11000);
    h2_run(f);
    assert_true(f->w.got_end);
    wire_pass(&f->w, 3000);
    assert_string_equal(h2_notes(f), "closed idle_timeout|");
}

static void ping_for(struct h2_service *f, unsigned seconds)
{
    for (unsigned i = 0; i < seconds; i++) {
        h2_frame(f, NGHTTP2_PING, 0, 0, "12345678", 8);
        wire_pass(&f->w, 1000);
    }
    h2_run(f);
}

static void a_conn_that_only_pings_is_closed(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    ping_for(f, 9);
    assert_false(f->w.got_end);
    ping_for(f, 2);
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(h2_notes(f), "closed idle_timeout|");
}

static void between_requests_a_ping_is_none(void **state)
{
    struct h2_service *f = *state;
    f->answer_at_once = true;
    by_hand(f);
    ping_for(f, 5);
    h2_headers(f, END, 1, get);
    ping_for(f, 70);
    h2_headers(f, END, 3, get);
    ping_for(f, 74);
    assert_false(f->w.got_end);
    h2_notes(f);
    ping_for(f, 2);
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(h2_notes(f), "closed idle_timeout|");
}

static void settings_that_are_not_acknowledged_end_the_conn(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 65536, false);
    wire_say(&f->w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(f, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_headers(f, END, 1, get);
    h2_frames(f);
    wire_pass(&f->w, 11000);
    assert_string_equal(h2_frames(f), "goaway 4|");
    assert_string_equal(h2_notes(f), "0 GET / |0 end|0 aborted h2_settings_timeout|");
}

static void a_header_section_that_does_not_end_ends_the_conn(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_STREAM, 1, get);
    wire_pass(&f->w, 9000);
    h2_frame(f, NGHTTP2_CONTINUATION, 0, 1, "", 0); /* does not help */
    assert_string_equal(h2_frames(f), "");
    wire_pass(&f->w, 2000);
    assert_string_equal(h2_frames(f), "goaway 11|");
    wire_pass(&f->w, 3000);
    assert_string_equal(h2_notes(f), "closed head_timeout|");
}

static void a_client_that_reads_nothing_is_gone(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 100, true);
    h2_get(f, "/");
    h2_notes(f);
    wire_read(&f->w, false);
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0);
    h2_send_bytes(&f->served[0], f->seen, 10000);
    reactor_dispatch(&f->w.r);
    wire_settle(&f->w);
    h2_notes(f);
    wire_pass(&f->w, 31000);
    assert_string_equal(h2_notes(f), "0 aborted client_write_stall|closed client_write_stall|");
}

/* ---- draining ---- */

static void a_draining_conn_says_so_twice_and_loses_no_request(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    h2_headers(f, END, 1, get);
    client_conn_close_idle(h2_server_client(f->srv));
    h2_run(f);
    assert_string_equal(h2_frames(f), "goaway 0|ping|");
    h2_headers(f, END, 3, get); /* was on its way */
    assert_string_equal(h2_notes(f), "0 GET / |0 end|1 GET / |1 end|");
    h2_frame(f, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0, "goaway\0", 8);
    assert_string_equal(h2_frames(f), "goaway 0|");
    h2_headers(f, END, 5, get); /* too late: ignored */
    assert_string_equal(h2_notes(f), "");
    h2_answer(&f->served[0], "1");
    h2_run(f);
    assert_false(f->w.got_end);
    h2_answer(&f->served[1], "2");
    h2_run(f);
    assert_string_equal(h2_frames(f), "headers 1|data 1 end|headers 3|data 3 end|");
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(h2_notes(f), "closed draining|");
}

static void a_client_that_does_not_answer_the_ping_is_not_waited_for(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    client_conn_close_idle(h2_server_client(f->srv));
    h2_run(f);
    assert_string_equal(h2_frames(f), "goaway 0|ping|");
    wire_pass(&f->w, 1100);
    assert_string_equal(h2_frames(f), "goaway 0|");
    assert_true(f->w.got_end);
    wire_end(&f->w);
    assert_string_equal(h2_notes(f), "closed draining|");
}

static void a_conn_that_may_not_be_kept_drains_with_its_answer(void **state)
{
    struct h2_service *f = *state;
    f->keep = false;
    h2_get(f, "/");
    h2_answer(&f->served[0], "bye");
    h2_run(f);
    wire_pass(&f->w, 1100);
    h2_run(f);
    assert_true(strstr(h2_seen(f), "1 end|") != NULL);
    assert_true(f->w.got_end);
}

static void a_client_that_says_goaway_is_served_to_the_end(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    h2_headers(f, END, 1, get);
    h2_frame(f, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
    h2_answer(&f->served[0], "x");
    h2_run(f);
    assert_string_equal(h2_frames(f), "headers 1|data 1 end|");
    assert_true(f->w.got_end);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)
    const struct CMUnitTest tests[] = {
        T(a_reset_aborts_the_exchange_and_nothing_else),
        T(a_request_that_is_reset_at_once_is_never_begun),
        T(an_answer_that_is_cut_is_reset_behind_what_was_queued),
        T(an_early_answer_ends_the_request_without_an_error),
        T(a_body_that_stalls_is_answered),
        T(a_body_that_was_given_more_window_may_stall),
        T(a_body_that_waits_for_credit_or_100_does_not_stall),
        T(a_body_that_was_asked_for_by_100_stalls),
        T(a_body_does_not_stall_once_it_is_answered),
        T(a_body_over_the_limit_is_aborted),
        T(a_response_that_nobody_makes_room_for_is_reset),
        T(an_end_that_nobody_makes_room_for_is_reset),
        T(a_client_that_goes_aborts_what_it_asked_for),
        T(a_reset_of_the_conn_aborts_what_it_carried),
        T(streams_may_outlive_the_conn),
        T(an_idle_conn_is_told_before_it_is_closed),
        T(a_conn_that_never_asks_is_closed),
        T(a_conn_that_only_pings_is_closed),
        T(between_requests_a_ping_is_none),
        T(settings_that_are_not_acknowledged_end_the_conn),
        T(a_header_section_that_does_not_end_ends_the_conn),
        T(a_client_that_reads_nothing_is_gone),
        T(a_draining_conn_says_so_twice_and_loses_no_request),
        T(a_client_that_does_not_answer_the_ping_is_not_waited_for),
        T(a_conn_that_may_not_be_kept_drains_with_its_answer),
        T(a_client_that_says_goaway_is_served_to_the_end),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
