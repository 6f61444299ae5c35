/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What HTTP/2 clients may not do: malformed requests (RFC 9113 section 8), which end their stream;
 * what ends the conn (sections 4 to 6); what is only answered; floods.
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

#define END (NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM)
#define CONNECT_TO \
    ":method", "CONNECT", ":scheme", "http", ":authority", "h", ":path", "/", ":protocol"
#define MOST ":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/"

static const char *const get[] = {MOST, NULL};

static void by_hand(struct h2_service *f)
{
    h2_rewire(f, 65536, false);
    h2_preface(f);
    h2_frames(f);
}

/* Is it a stream error of type PROTOCOL_ERROR, with nothing answered, and the conn goes on? */
static void refused(struct h2_service *f, uint8_t flags, const char *const *fields)
{
    f->answer_at_once = true;
    by_hand(f);
    h2_headers(f, flags, 1, fields);
    assert_string_equal(h2_frames(f), "reset 1 1|");
    h2_headers(f, END, 3, get);
    assert_string_equal(h2_frames(f), "headers 3|data 3 end|");
}

static void malformed_requests_end_their_stream(void **state)
{
    static const char *const cases[][16] = {
        {MOST, "X-Upper", "1"},
        {MOST, "connection", "close"},
        {MOST, "keep-alive", "5"},
        {MOST, "proxy-connection", "close"},
        {MOST, "transfer-encoding", "chunked"},
        {MOST, "upgrade", "x"},
        {MOST, "te", "gzip"},
        {MOST, "x y", "1"},
        {MOST, "x", "a\r\nb: c"},
        {MOST, "x", " a"},
        {MOST, "", "a"},
        {MOST, "content-length", "1"}, /* and no body */
        {MOST, "content-length", "x"},
        {MOST, "content-length", "0", "content-length", "0"},
        {MOST, "host", "other"},
        {MOST, ":late", "1"},
        {MOST, "x", "1", ":path", "/"},
        {MOST, ":path", "/"},
        {MOST, ":status", "200"},
        {MOST, ":protocol", "websocket"}, /* without CONNECT */
        {":method", "GET", ":scheme", "http", ":authority", "h"},
        {":method", "GET", ":path", "/", ":authority", "h"},
        {":scheme", "http", ":path", "/", ":authority", "h"},
        {":method", "GET", ":scheme", "http", ":path", "/"},
        {":method", "GET", ":scheme", "http", ":path", "", ":authority", "h"},
        {":method", "GET", ":scheme", "http", ":path", "x", ":authority", "h"},
        {":method", "GET", ":scheme", "http", ":path", "*", ":authority", "h"},
        {":method", "G T", ":scheme", "http", ":path", "/", ":authority", "h"},
        {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "u@h"},
        {":method", "GET", ":scheme", "http", ":path", "/", ":authority", "h:x"},
        {":method", "CONNECT", ":scheme", "http", ":path", "/", ":authority", "h"},
        {":method", "CONNECT", ":authority", "h", ":protocol", "websocket"},
        {CONNECT_TO, "h2c"}, /* would carry requests past every check */
        {CONNECT_TO, "H2"},
        {CONNECT_TO, "HTTP"},
        {CONNECT_TO, "tls"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        refused(*state, END, cases[i]);
}

static void what_is_malformed_is_counted_by_its_reason(void **state)
{
    struct h2_service *f = *state;
    const char *bad[] = {MOST, "connection", "close", NULL};
    by_hand(f);
    f->keep_on_abort = true;
    h2_headers(f, END, 1, bad);
    assert_string_equal(h2_notes(f), "0 GET  bad_field|");
    h2_answer(&f->served[0], "is thrown away");
    h2_run(f);
    assert_string_equal(h2_frames(f), "reset 1 1|");
}

static void bodies_that_belie_their_length_end_their_stream(void **state)
{
    struct h2_service *f = *state;
    const char *post[] = {MOST, "content-length", "3", NULL};
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, post);
    h2_frame(f, NGHTTP2_DATA, 0, 1, "abcd", 4);
    assert_string_equal(h2_frames(f), "reset 1 1|");
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 3, post);
    h2_frame(f, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 3, "ab", 2);
    assert_string_equal(h2_frames(f), "reset 3 1|");
    assert_string_equal(h2_notes(f), "0 GET / |0 aborted h2_stream_error|"
                                     "1 GET / |1 aborted h2_stream_error|");
}

static void malformed_trailers_end_their_stream(void **state)
{
    struct h2_service *f = *state;
    const char *pseudo[] = {":path", "/", NULL};
    const char *fine[] = {"x", "1", NULL};
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, get);
    h2_headers(f, END, 1, pseudo);
    assert_string_equal(h2_frames(f), "reset 1 1|");
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 3, get);
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 3, fine); /* no END_STREAM */
    assert_string_equal(h2_frames(f), "reset 3 1|");
    assert_string_equal(h2_notes(f), "0 GET / |0 aborted h2_stream_error|"
                                     "1 GET / |1 aborted h2_stream_error|");
}

/* Not malformed for HTTP/2, but nothing weir would pass on. */
static void other_refusals_are_answers(void **state)
{
    static const struct {
        const char *fields[12];
        const char *notes;
    } cases[] = {
        {{":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/%zz"},
         "0 GET  bad_target|"},
        {{":method", "GET", ":scheme", "ftp", ":authority", "h", ":path", "/"},
         "0 GET  bad_target|"},
        {{":method", "BREW", ":scheme", "http", ":authority", "h", ":path", "/"},
         "0 BREW  unknown_method|"},
        {{":method", "CONNECT", ":authority", "h:1"}, "0 CONNECT  connect_method|"},
    };
    struct h2_service *f = *state;
    f->answer_at_once = true;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        by_hand(f);
        h2_headers(f, END, 1, cases[i].fields);
        assert_string_equal(h2_frames(f), "headers 1|data 1 end|");
        assert_string_equal(h2_notes(f), cases[i].notes);
    }
}

static void heads_over_the_limit_are_answered(void **state)
{
    struct h2_service *f = *state;
    const char *fields[] = {MOST, "x", NULL, NULL};
    char value[120];
    memset(value, 'a', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    fields[9] = value;
    f->answer_at_once = true;
    f->options.limits.header_bytes = 100;
    by_hand(f);
    h2_headers(f, END, 1, fields);
    assert_string_equal(h2_frames(f), "headers 1|data 1 end|");
    assert_string_equal(h2_notes(f), "0 GET  head_too_large|");
    f->options.limits.header_bytes = 8192;
    f->options.limits.headers = 2;
    const char *many[] = {MOST, "a", "1", "b", "2", NULL};
    by_hand(f);
    h2_headers(f, END, 1, many);
    assert_string_equal(h2_notes(f), "0 GET  too_many_fields|");
}

/* And are the only ones that end, whether the client knew of the limit or not. */
static void more_streams_than_allowed_are_refused(void **state)
{
    struct h2_service *f = *state;
    f->options.max_streams = 2;
    h2_rewire(f, 65536, false);
    wire_say(&f->w, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(f, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_headers(f, END, 1, get);
    h2_headers(f, END, 3, get);
    h2_frames(f);
    h2_headers(f, END, 5, get);
    assert_string_equal(h2_frames(f), "reset 5 7|");
    assert_int_equal(f->n_served, 2);
    h2_frame(f, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
    h2_headers(f, END, 7, get);
    assert_string_equal(h2_frames(f), "reset 7 7|");
    h2_frame(f, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\10", 4);
    h2_headers(f, END, 9, get);
    h2_headers(f, END, 11, get);
    assert_string_equal(h2_frames(f), "reset 11 7|");
    assert_int_equal(f->n_served, 3);
}

/* ---- what ends the conn ---- */

static void ends(struct h2_service *f, unsigned code)
{
    char want[32];
    snprintf(want, sizeof(want), "goaway %u|", code);
    const char *got = h2_frames(f);
    assert_true(strstr(got, want) != NULL);
    assert_true(f->w.got_end);
}

static void broken_framing_ends_the_conn(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    h2_headers(f, END, 1, get);
    h2_frame(f, NGHTTP2_DATA, 0, 0, "x", 1);
    ends(f, NGHTTP2_PROTOCOL_ERROR);
    assert_string_equal(h2_notes(f), "0 GET / |0 end|0 aborted h2_protocol_error|");
    wire_end(&f->w);
    assert_string_equal(h2_notes(f), "closed h2_protocol_error|");
    by_hand(f);
    h2_headers(f, END, 2, get); /* an even stream */
    ends(f, NGHTTP2_PROTOCOL_ERROR);
    by_hand(f);
    h2_frame(f, NGHTTP2_HEADERS, END, 1, "\xff\xff\xff\xff\xff\xff", 6);
    ends(f, NGHTTP2_COMPRESSION_ERROR);
    by_hand(f);
    h2_frame(f, NGHTTP2_PING, 0, 0, "short", 5);
    ends(f, NGHTTP2_FRAME_SIZE_ERROR);
    by_hand(f);
    h2_frame(f, NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4);
    ends(f, NGHTTP2_FLOW_CONTROL_ERROR);
    by_hand(f);
    h2_headers(f, NGHTTP2_FLAG_END_STREAM, 1, get);
    h2_frame(f, NGHTTP2_PING, 0, 0, "pingping", 8); /* within a header section */
    ends(f, NGHTTP2_PROTOCOL_ERROR);
}

static void a_bad_preface_ends_the_conn(void **state)
{
    struct h2_service *f = *state;
    h2_rewire(f, 65536, false);
    wire_say(&f->w, "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n");
    ends(f, NGHTTP2_PROTOCOL_ERROR);
}

/* ---- floods ---- */

static void reset_flood(struct h2_service *f)
{
    for (uint32_t i = 0; i < 1100 && !f->w.got_end; i++) {
        h2_headers(f, END, 2 * i + 1, get);
        h2_frame(f, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4);
    }
}

/* The client makes the server reset its streams (CVE-2025-8671). */
static void provoked_resets(struct h2_service *f)
{
    for (uint32_t i = 0; i < 1100 && !f->w.got_end; i++) {
        h2_headers(f, END, 2 * i + 1, get);
        h2_frame(f, NGHTTP2_WINDOW_UPDATE, 0, 2 * i + 1, "\x7f\xff\xff\xff", 4);
    }
}

static void settings_flood(struct h2_service *f)
{
    for (int i = 0; i < 200 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
}

static void ping_flood(struct h2_service *f)
{
    for (int i = 0; i < 700 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_PING, 0, 0, "pingping", 8);
}

static void empty_data_flood(struct h2_service *f)
{
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, get);
    for (int i = 0; i < 300 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_DATA, 0, 1, NULL, 0);
}

static void padded_data_flood(struct h2_service *f)
{
    h2_headers(f, NGHTTP2_FLAG_END_HEADERS, 1, get);
    for (int i = 0; i < 300 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, "\1\0", 2);
}

static void priority_flood(struct h2_service *f)
{
    for (int i = 0; i < 1100 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\x1", 5);
}

static void window_flood(struct h2_service *f)
{
    for (int i = 0; i < 2100 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\x1", 4);
}

static void continuation_flood(struct h2_service *f)
{
    h2_headers(f, NGHTTP2_FLAG_END_STREAM, 1, get);
    for (int i = 0; i < 20 && !f->w.got_end; i++)
        h2_frame(f, NGHTTP2_CONTINUATION, 0, 1, NULL, 0);
}

/* A large entry of the dynamic table, named again and again by one byte each. */
static void hpack_bomb(struct h2_service *f)
{
    uint8_t block[16000];
    size_t n = 0;
    memcpy(block, "\x82\x86\x84\x41\x1h", 6);
    n = 6;
    memcpy(block + n, "\x40\x1x\x7f\xa1\x1d", 6); /* x: 3872 bytes, indexed */
    n += 6;
    memset(block + n, 'a', 3872);
    n += 3872;
    memset(block + n, 0xbe, sizeof(block) - n);
    h2_frame(f, NGHTTP2_HEADERS, END, 1, block, sizeof(block));
}

static void floods_end_the_conn_and_say_why(void **state)
{
    static const struct {
        void (*flood)(struct h2_service *);
        const char *closed;
    } cases[] = {
        {reset_flood, "closed h2_reset_flood|"},
        {provoked_resets, "closed h2_reset_flood|"},
        {settings_flood, "closed h2_settings_flood|"},
        {ping_flood, "closed h2_ping_flood|"},
        {empty_data_flood, "closed h2_empty_data_flood|"},
        {padded_data_flood, "closed h2_empty_data_flood|"},
        {priority_flood, "closed h2_priority_flood|"},
        {window_flood, "closed h2_window_flood|"},
        {continuation_flood, "closed h2_continuation_flood|"},
        {hpack_bomb, "closed h2_hpack_bomb|"},
    };
    struct h2_service *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        by_hand(f);
        f->quiet = true;
        cases[i].flood(f);
        f->quiet = false;
        wire_take(&f->w);
        assert_true(f->w.got_end);
        wire_end(&f->w);
        assert_string_equal(h2_notes(f), cases[i].closed);
    }
}

/* The GOAWAY of a flood says so. */
static void a_flood_is_told_to_calm_down(void **state)
{
    struct h2_service *f = *state;
    by_hand(f);
    hpack_bomb(f);
    assert_string_equal(h2_frames(f), "goaway 11|");
}

static void what_is_slow_enough_is_no_flood(void **state)
{
    struct h2_service *f = *state;
    f->quiet = true;
    f->options.idle_ms = f->options.head_ms = 100000000;
    by_hand(f);
    for (uint32_t i = 0; i < 3000; i++) {
        h2_headers(f, END, 2 * i + 1, get);
        h2_frame(f, NGHTTP2_RST_STREAM, 0, 2 * i + 1, "\0\0\0\x8", 4);
        if (i % 30 == 0)
            wire_pass(&f->w, 1000);
        wire_take(&f->w);
    }
    assert_false(f->w.got_end);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, h2_setup, h2_teardown)
    const struct CMUnitTest tests[] = {
        T(malformed_requests_end_their_stream),
        T(what_is_malformed_is_counted_by_its_reason),
        T(bodies_that_belie_their_length_end_their_stream),
        T(malformed_trailers_end_their_stream),
        T(other_refusals_are_answers),
        T(heads_over_the_limit_are_answered),
        T(more_streams_than_allowed_are_refused),
        T(broken_framing_ends_the_conn),
        T(a_bad_preface_ends_the_conn),
        T(floods_end_the_conn_and_say_why),
        T(a_flood_is_told_to_calm_down),
        T(what_is_slow_enough_is_no_flood),
    };
#undef T
    return cmocka_run_group_tests(tests, NULL, NULL);
}
