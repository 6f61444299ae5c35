/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/2 client conns, event by event: requests and answers, bodies and credit, trailers, tunnels.
 * How streams and conns end is in test_h2_server_end.c, what is refused in
 * test_h2_server_refused.c.
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
#include "tests/unit/h2_service.h"

static struct span field(struct http_head *head, const char *name)
{
    for (unsigned i = 0; i < head->n_fields; i++)
        if (span_eq_nocase(field_name(&head->fields[i]), span_str(name)))
            return field_value(&head->fields[i]);
    return span_of(NULL, 0);
}

#define assert_span(span, text) assert_true(span_eq((span), span_str(text)))

/* ---- requests and answers ---- */

static void a_request_is_answered_and_the_conn_kept(void **state)
{
    struct h2_service *f = *state;
    for (int i = 0; i < 3; i++) {
        char notes[64], seen[128];
        int32_t id = h2_get(f, "/a");
        snprintf(notes, sizeof(notes), "%d GET /a |%d end|", i, i);
        assert_string_equal(h2_notes(f), notes);
        h2_answer(&f->served[i], "hello");
        h2_run(f);
        snprintf(seen, sizeof(seen), "%d :status=200|%d content-length=5|%d 'hello'|%d end|", id,
                 id, id, id);
        assert_string_equal(h2_seen(f), seen);
        h2_notes(f);
    }
    assert_false(f->w.got_end);
}

static void an_idle_conn_owns_no_buffer(void **state)
{
    struct h2_service *f = *state;
    h2_get(f, "/");
    h2_answer(&f->served[0], "");
    h2_run(f);
    assert_int_equal(f->w.r.bufs.blocks, 0);
    assert_null(h2_server_conn(f->srv)->in);
}

static void the_head_looks_as_if_it_had_come_by_http1(void **state)
{
    struct h2_service *f = *state;
    const char *fields[] = {":method",
                            "PUT",
                            ":scheme",
                            "https",
                            ":authority",
                            "h.example:8",
                            ":path",
                            "/a/../%7eb?c=d",
                            "cookie",
                            "a=1",
                            "x-one",
                            "1",
                            "cookie",
                            "b=2",
                            "expect",
                            "100-continue",
                            "content-length",
                            "2",
                            "te",
                            "trailers",
                            NULL};
    h2_ask(f, fields, "xy", 2);
    struct http_head *head = f->served[0].head;
    assert_span(head->method, "PUT");
    assert_span(head->path, "/~b");
    assert_span(head->query, "c=d");
    assert_span(head->target, "/a/../%7eb?c=d");
    assert_span(head->authority, "h.example:8");
    assert_int_equal(head->version, 20);
    assert_int_equal(head->body, BODY_LENGTH);
    assert_int_equal(head->content_length, 2);
    assert_true(head->expect_continue && head->idempotent && head->has_query);
    assert_int_equal(head->fields[0].id, FIELD_HOST);
    assert_span(field(head, "host"), "h.example:8");
    assert_span(field(head, "cookie"), "a=1; b=2");
    assert_int_equal(head->n_fields, 6);
    h2_answer(&f->served[0], "");
    h2_run(f);
}

static void many_streams_are_served_at_once_in_any_order(void **state)
{
    struct h2_service *f = *state;
    for (int i = 0; i < 100; i++)
        h2_get(f, "/");
    assert_int_equal(f->n_served, 100);
    h2_seen(f);
    f->quiet = true;
    for (int i = 99; i >= 1; i--)
        h2_answer(&f->served[i], "x");
    f->quiet = false;
    h2_run(f);
    assert_true(strstr(h2_seen(f), "3 'x'|") != NULL);
    h2_answer(&f->served[0], "last");
    h2_run(f);
    assert_string_equal(h2_seen(f), "1 :status=200|1 content-length=4|1 'last'|1 end|");
}

static void interim_heads_come_before_the_final_one(void **state)
{
    struct h2_service *f = *state;
    h2_get(f, "/");
    h2_send_head(&f->served[0], 103, BODY_NONE, 0);
    h2_send_head(&f->served[0], 204, BODY_NONE, 0);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_string_equal(h2_seen(f), "1 :status=103|1 :status=204|1 end|");
}

static void a_head_request_gets_no_body(void **state)
{
    struct h2_service *f = *state;
    const char *fields[] = {":method", "HEAD",  ":scheme", "http", ":authority",
                            "h",       ":path", "/",       NULL};
    h2_ask(f, fields, NULL, 0);
    h2_answer(&f->served[0], "hello");
    h2_run(f);
    assert_string_equal(h2_seen(f), "1 :status=200|1 content-length=5|1 end|");
}

static void answers_in_the_request_event_are_fine(void **state)
{
    struct h2_service *f = *state;
    f->answer_at_once = true;
    h2_get(f, "/");
    assert_string_equal(h2_seen(f), "1 :status=200|1 content-length=3|1 'now'|1 end|");
    h2_post(f, "/", "abc", 3);
    assert_true(strstr(h2_seen(f), "3 'now'|3 end|") != NULL);
    assert_int_equal(h2_server_conn(f->srv)->reactor->slabs[SLAB_H2_STREAM].in_use, 0);
}

static void every_split_of_a_request_is_the_same(void **state)
{
    struct h2_service *f = *state;
    f->answer_at_once = true;
    h2_rewire(f, 65536, false);
    pair_limit(f->w.pair, 0, 1);
    h2_preface(f);
    const char *fields[] = {":method", "POST",  ":scheme", "http", ":authority",
                            "h",       ":path", "/",       NULL};
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, fields);
    assert_string_equal(h2_notes(f), "0 POST / |");
    assert_true(strstr(h2_frames(f), "headers 1|data 1 end|") != NULL);
}

/* ---- bodies ---- */

static void a_body_comes_whole_and_credit_makes_room(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, 300000);
    h2_post(f, "/", bytes, 300000);
    assert_int_equal(f->served[0].body_len, 300000);
    assert_string_equal(h2_notes(f), "0 POST / |0 end|");
    h2_answer(&f->served[0], "");
    h2_run(f);
    free(bytes);
}

static void a_body_stops_where_the_credit_ends(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, 300000);
    f->credit = false;
    h2_post(f, "/", bytes, 300000);
    assert_int_equal(f->served[0].body_len, H2_STREAM_WINDOW);
    f->served[0].stream->ops->credit(f->served[0].stream, 40000);
    h2_run(f);
    assert_int_equal(f->served[0].body_len, H2_STREAM_WINDOW + 40000);
    f->credit = true;
    f->served[0].stream->ops->credit(f->served[0].stream, 100000);
    h2_run(f);
    assert_int_equal(f->served[0].body_len, 300000);
    h2_answer(&f->served[0], "");
    h2_run(f);
    free(bytes);
}

/* What a released stream has not credited is given back to the others. */
static void the_window_of_the_conn_survives_streams_that_are_dropped(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, 65000);
    f->credit = false;
    for (unsigned i = 0; i < 60; i++) {
        h2_post(f, "/", bytes, 65000);
        assert_int_equal(f->served[i].body_len, 65000);
        h2_answer(&f->served[i], "");
        h2_run(f);
        h2_notes(f);
        h2_seen(f);
    }
    free(bytes);
}

enum { WIDE = H2_WIDE_BYTES / (H2_STREAM_WINDOW - H2_FIRST_WINDOW) };

static void a_large_body_that_has_ended_leaves_its_window_to_others(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, H2_STREAM_WINDOW);
    f->credit = false;
    for (unsigned i = 0; i <= WIDE; i++)
        h2_post(f, "/", bytes, H2_STREAM_WINDOW);
    assert_int_equal(f->served[WIDE].body_len, H2_FIRST_WINDOW);
    h2_answer(&f->served[0], "");
    h2_run(f);
    h2_post(f, "/", bytes, H2_STREAM_WINDOW);
    assert_int_equal(f->served[WIDE + 1].body_len, H2_STREAM_WINDOW);
    for (unsigned i = 1; i < WIDE + 2; i++)
        h2_answer(&f->served[i], "");
    h2_run(f);
    free(bytes);
}

/* What is known to be small needs no more, and what is not large yet gets none. */
static void a_small_body_has_a_small_window(void **state)
{
    struct h2_service *f = *state;
    const char *fields[] = {":method", "POST", ":scheme", "http", ":authority", "h",
                            ":path",   "/",    NULL,      NULL,   NULL};
    char *bytes = calloc(1, H2_FIRST_WINDOW);
    h2_rewire(f, 1 << 20, false);
    h2_preface(f);
    h2_frames(f);
    f->credit = false;
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, fields);
    h2_frame(f, NGHTTP2_DATA, 0, 1, bytes, H2_FIRST_WINDOW / 2 - 1);
    assert_string_equal(h2_frames(f), "");
    h2_frame(f, NGHTTP2_DATA, 0, 1, bytes, 1);
    assert_string_equal(h2_frames(f), "window 1|");
    fields[8] = "content-length";
    fields[9] = "16384";
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 3, fields);
    h2_frame(f, NGHTTP2_DATA, 0, 3, bytes, H2_FIRST_WINDOW / 2);
    assert_string_equal(h2_frames(f), "");
    free(bytes);
}

/* Until then its streams have what RFC 9113 gives them, and only the conn's window holds them. */
static void who_has_not_acknowledged_settings_gets_no_window_back(void **state)
{
    struct h2_service *f = *state;
    const char *fields[] = {":method", "POST",  ":scheme", "http", ":authority",
                            "h",       ":path", "/",       NULL};
    char *bytes = calloc(1, 16384);
    h2_rewire(f, 1 << 20, false);
    wire_say(&f->w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(f, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_frames(f);
    f->credit = false;
    for (unsigned i = 0; i < 11; i++) {
        h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, fields);
        for (unsigned n = 0; n < 3; n++)
            h2_frame(f, NGHTTP2_DATA, 0, 2 * i + 1, bytes, 16384);
    }
    assert_int_equal(f->served[10].body_len, 3 * 16384);
    assert_string_equal(h2_frames(f), "");
    h2_frame(f, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    assert_string_equal(h2_frames(f), "window|window 1|window 3|window 5|window 7|window 9|"
                                      "window 11|window 13|window 15|");
    free(bytes);
}

/* Behind a proxy others use the conn too. */
static void streams_whose_bodies_nobody_takes_hold_up_no_other(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, H2_STREAM_WINDOW);
    f->credit = false;
    f->quiet = true;
    for (unsigned i = 0; i < H2_MAX_STREAMS - 1; i++) {
        h2_post(f, "/", bytes, H2_STREAM_WINDOW);
        assert_int_equal(f->served[i].body_len, i < WIDE ? H2_STREAM_WINDOW : H2_FIRST_WINDOW);
    }
    h2_post(f, "/", "hello", 5);
    assert_string_equal(f->served[H2_MAX_STREAMS - 1].body, "hello");
    for (unsigned i = 0; i < H2_MAX_STREAMS; i++)
        h2_answer(&f->served[i], "");
    h2_run(f);
    free(bytes);
}

static void small_frames_do_not_hold_blocks(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 65536, false);
    h2_preface(f);
    const char *fields[] = {":method", "POST",  ":scheme", "http", ":authority",
                            "h",       ":path", "/",       NULL};
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, fields);
    for (int i = 0; i < 200; i++)
        h2_frame(f, NGHTTP2_DATA, 0, 1, "x", 1);
    assert_int_equal(f->served[0].body_len, 200);
    assert_true(f->w.r.bufs.blocks < 4);
}

static void what_the_service_sends_is_reported_as_drained_and_bounded(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 1000, true);
    h2_get(f, "/");
    wire_read(&f->w, false);
    h2_notes(f);
    f->hold_window = true;
    char *bytes = calloc(1, 200000);
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0);
    h2_send_bytes(&f->served[0], bytes, 200000);
    reactor_dispatch(&f->w.r);
    assert_string_equal(h2_notes(f), "0 drained 65535|");
    assert_true(conn_unsent(h2_server_conn(f->srv)) < 70000);
    wire_read(&f->w, true);
    f->hold_window = false;
    h2_run(f);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    nghttp2_session_consume(f->ng, 1, 65535);
    h2_run(f);
    assert_int_equal(f->got_body, 200000);
    free(bytes);
}

static void two_bodies_share_the_conn(void **state)
{
    struct h2_service *f = *state;
    char *bytes = calloc(1, 500000);
    f->quiet = true;
    h2_get(f, "/1");
    h2_get(f, "/2");
    for (int i = 0; i < 2; i++) {
        h2_send_head(&f->served[i], 200, BODY_CHUNKED, 0);
        h2_send_bytes(&f->served[i], bytes, 500000);
        h2_send_end(&f->served[i]);
        h2_release(&f->served[i], REASON_DONE);
    }
    h2_run(f);
    assert_int_equal(f->got_body, 1000000);
    assert_int_equal(f->w.r.slabs[SLAB_H2_STREAM].in_use, 0);
    free(bytes);
}

/* ---- trailers ---- */

static void trailers_of_a_request_are_handed_up(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 65536, false);
    h2_preface(f);
    const char *fields[] = {":method", "POST",  ":scheme", "http", ":authority",
                            "h",       ":path", "/",       NULL};
    const char *trailers[] = {"x-sum", "7", NULL};
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, fields);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "abc", 3);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, 1, trailers);
    assert_string_equal(h2_notes(f), "0 POST / |0 end x-sum=7|");
    assert_string_equal(f->served[0].body, "abc");
}

static void trailers_of_a_response_come_behind_its_body(void **state)
{
    struct h2_service *f = *state;
    struct http_head *trailers = calloc(1, sizeof(*trailers));
    char value[] = "12";
    h2_get(f, "/");
    http_head_add(trailers, FIELD_OTHER, SPAN_LIT("Grpc-Status"), span_of(value, 2));
    h2_send_head(&f->served[0], 200, BODY_CHUNKED, 0);
    h2_send_bytes(&f->served[0], "abc", 3);
    f->served[0].stream->ops->send_end(f->served[0].stream, trailers);
    memset(value, 'x', 2); /* they were copied */
    free(trailers);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_string_equal(h2_seen(f), "1 :status=200|1 'abc'|1 grpc-status=12|1 end|");
}

/* RFC 3986 section 3.1. */
static void a_scheme_may_be_in_capitals(void **state)
{
    static const char *const schemes[] = {"HTTP", "Https"};
    struct h2_service *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        const char *fields[] = {":method", "GET",   ":scheme", schemes[i], ":authority",
                                "h",       ":path", "/a",      NULL};
        h2_ask(f, fields, NULL, 0);
        h2_run(f);
        assert_string_equal(h2_notes(f), i == 0 ? "0 GET /a |0 end|" : "1 GET /a |1 end|");
    }
}

/* ---- tunnels (RFC 8441) ---- */

static const char *const websocket[] = {":method", "CONNECT", ":protocol",  "websocket",
                                        ":scheme", "http",    ":authority", "h",
                                        ":path",   "/chat",   NULL};

static void an_extended_connect_becomes_a_tunnel(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 65536, false);
    h2_preface(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, websocket);
    assert_string_equal(h2_notes(f), "0 GET /chat |0 end|");
    assert_span(f->served[0].head->upgrade, "websocket");
    assert_int_equal(f->served[0].head->body, BODY_NONE);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "early", 5);
    assert_int_equal(f->served[0].body_len, 0); /* nothing is a tunnel yet */
    h2_send_head(&f->served[0], 101, BODY_TUNNEL, 0);
    h2_run(f);
    assert_string_equal(f->served[0].body, "early");
    h2_send_bytes(&f->served[0], "down", 4);
    h2_run(f);
    h2_frame(f, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 1, "up", 2);
    assert_string_equal(f->served[0].body, "earlyup");
    assert_string_equal(h2_notes(f), "0 drained 4|0 end|");
    assert_true(strstr(h2_frames(f), "headers 1|data 1|") != NULL);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_string_equal(h2_frames(f), "data 1 end|");
}

static void a_tunnel_that_is_not_granted_is_an_answer(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 65536, false);
    h2_preface(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, websocket);
    h2_send_head(&f->served[0], 403, BODY_LENGTH, 0);
    h2_send_end(&f->served[0]);
    h2_release(&f->served[0], REASON_DONE);
    h2_run(f);
    assert_true(strstr(h2_frames(f), "headers 1 end|reset 1 0|") != NULL);
}

/* Whatever a client sends, what is held of it is about what it sent: not a block for each frame. */
static void small_frames_share_blocks(void **state)
{
    static const size_t sizes[] = {1, 513, 3000};
    static const char *const post[] = {":method", "POST",  ":scheme", "http", ":authority",
                                       "h",       ":path", "/",       NULL};
    struct h2_service *f = *state;
    char bytes[3000] = {0};
    h2_rewire(f, 65536, false);
    h2_preface(f);
    f->hold_body = true;
    for (uint32_t i = 0; i < ARRAY_LEN(sizes); i++) {
        h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 2 * i + 1, post);
        h2_frames(f);
        uint32_t before = f->w.r.bufs.blocks;
        for (int n = 0; n < 20; n++)
            h2_frame(f, NGHTTP2_DATA, 0, 2 * i + 1, bytes, sizes[i]);
        assert_int_equal(f->held.bytes, 20 * sizes[i]);
        assert_in_range(f->w.r.bufs.blocks, before, before + 20 * sizes[i] / 16000 + 1);
        chain_clear(&f->held);
        h2_release(&f->served[i], REASON_SHUTDOWN);
        h2_run(f);
        assert_in_range(f->w.r.bufs.blocks, 0, before);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)
    const struct CMUnitTest tests[] = {
        T(a_request_is_answered_and_the_conn_kept),
        T(an_idle_conn_owns_no_buffer),
        T(the_head_looks_as_if_it_had_come_by_http1),
        T(many_streams_are_served_at_once_in_any_order),
        T(interim_heads_come_before_the_final_one),
        T(a_head_request_gets_no_body),
        T(answers_in_the_request_event_are_fine),
        T(every_split_of_a_request_is_the_same),
        T(a_body_comes_whole_and_credit_makes_room),
        T(a_body_stops_where_the_credit_ends),
        T(the_window_of_the_conn_survives_streams_that_are_dropped),
        T(a_large_body_that_has_ended_leaves_its_window_to_others),
        T(a_small_body_has_a_small_window),
        T(who_has_not_acknowledged_settings_gets_no_window_back),
        T(streams_whose_bodies_nobody_takes_hold_up_no_other),
        T(small_frames_do_not_hold_blocks),
        T(what_the_service_sends_is_reported_as_drained_and_bounded),
        T(two_bodies_share_the_conn),
        T(trailers_of_a_request_are_handed_up),
        T(trailers_of_a_response_come_behind_its_body),
        T(a_scheme_may_be_in_capitals),
        T(an_extended_connect_becomes_a_tunnel),
        T(a_tunnel_that_is_not_granted_is_an_answer),
        T(small_frames_share_blocks),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
