/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Upstream conns, event by event: requests and responses, which conns are kept, credit, tunnels. An
 * upstream that fails or is late is in test_h1_client_fails.c.
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
#include "proxy/http/websocket.h"
#include "tests/unit/h1_owner.h"

static void a_request_waits_for_the_connection(void **state)
{
    struct owner *f = *state;
    owner_ask(f, "GET");
    assert_string_equal(wire_take(&f->w), "");
    assert_true((f->stream)->connected_us == 0);
    owner_connect_up(f);
    assert_string_equal(wire_take(&f->w), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_true((f->stream)->connected_us > 0);
    wire_say(&f->w, OK_5);
    assert_string_equal(f->notes.body, "hello");
    assert_string_equal(owner_notes(f), "200|end|idle|");
}

static void a_conn_serves_one_request_after_the_other(void **state)
{
    struct owner *f = *state;
    owner_connect_up(f);
    for (int i = 0; i < 3; i++) {
        owner_ask(f, "GET");
        assert_int_equal(f->stream->reused, i > 0);
        assert_string_equal(wire_take(&f->w), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        wire_say(&f->w, OK_5);
        assert_string_equal(owner_notes(f), "200|end|idle|");
        assert_int_equal(f->w.r.bufs.blocks, 0); /* an idle conn owns no buffer */
    }
}

static void bodies_are_framed_as_announced(void **state)
{
    struct owner *f = *state;
    owner_connect_up(f);
    owner_open_stream(f);
    owner_send_head(f, "POST", BODY_CHUNKED, false);
    owner_send_bytes(f, "hello", 5);
    f->stream->ops->send_end(f->stream, NULL);
    owner_run(f);
    assert_string_equal(wire_take(&f->w),
                        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
                        "5\r\nhello\r\n0\r\n\r\n");
    assert_string_equal(owner_notes(f), "drained 5|");
    wire_say(&f->w, OK_5);
}

static void responses_are_handed_up_as_they_come(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n");
    assert_string_equal(owner_notes(f), "100|103|");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_string_equal(owner_notes(f), "200|");
    assert_string_equal(f->notes.body, "abc");
    wire_say(&f->w, "0\r\nT: 1\r\n\r\n");
    assert_string_equal(owner_notes(f), "end T|idle|");
}

static void byte_by_byte_is_the_same(void **state)
{
    struct owner *f = *state;
    owner_connect_up(f);
    pair_limit(f->w.pair, 0, 1);
    owner_ask(f, "GET");
    wire_say(&f->w, "HTTP/1.1 100 Continue\r\n\r\n" OK_5);
    assert_string_equal(f->notes.body, "hello");
    assert_string_equal(owner_notes(f), "100|200|end|idle|");
}

static void head_has_no_body(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "HEAD");
    wire_say(&f->w, "HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_string_equal(owner_notes(f), "103|200|end|idle|");
}

/* ---- conns that must not be reused ---- */

static void some_conns_are_not_kept(void **state)
{
    static const char *const responses[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        OK_5 "surplus",
    };
    struct owner *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        owner_rewire(f, 65536);
        owner_ask_up(f, "GET");
        wire_say(&f->w, responses[i]);
        assert_string_equal(owner_notes(f), "200|end|closed|");
    }
}

static void a_conn_whose_request_is_not_whole_is_not_kept(void **state)
{
    struct owner *f = *state;
    owner_connect_up(f);
    owner_open_stream(f);
    owner_send_head(f, "POST", BODY_CHUNKED, false);
    owner_run(f);
    wire_say(&f->w, OK_5);
    assert_string_equal(owner_notes(f), "200|end|closed|");
}

static void a_conn_that_is_let_go_early_is_not_kept(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    owner_release(f, REASON_CLIENT_CLOSED);
    owner_run(f);
    assert_string_equal(owner_notes(f), "closed|");
}

static void a_body_until_close_ends_with_the_conn(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\n\r\nall ");
    wire_say(&f->w, "of it");
    assert_string_equal(owner_notes(f), "200|");
    wire_end(&f->w);
    assert_string_equal(f->notes.body, "all of it");
    assert_string_equal(owner_notes(f), "end|closed|");
}

static void a_body_until_close_that_is_reset_is_not_whole(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\n\r\nhalf");
    wire_close(&f->w, true);
    assert_string_equal(owner_notes(f), "200|aborted upstream_reset answered|closed|");
}

/* ---- idle ---- */

static void an_idle_conn_that_the_upstream_closes_goes(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    owner_notes(f);
    wire_pass(&f->w, 5000);
    wire_end(&f->w);
    assert_string_equal(owner_notes(f), "closes after 5000|closed|");
}

static void an_idle_conn_is_closed_in_time(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    owner_notes(f);
    wire_pass(&f->w, 54900);
    assert_string_equal(owner_notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(owner_notes(f), "outlived|closed|");
    assert_true(f->w.got_end);
}

static void an_idle_conn_that_speaks_is_not_trusted(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    owner_notes(f);
    wire_say(&f->w, OK_5);
    assert_string_equal(owner_notes(f), "closed|");
}

static void an_idle_conn_in_a_list_leaves_it(void **state)
{
    struct owner *f = *state;
    struct list_node list;
    list_init(&list);
    owner_ask_up(f, "GET");
    wire_say(&f->w, OK_5);
    owner_notes(f);
    list_push_front(&list, h1_client_link(f->client));
    wire_close(&f->w, true);
    assert_true(list_empty(&list));
    assert_string_equal(owner_notes(f), "closes after 0|unlisted|closed|");
}

static void keep_alive_timeout_is_told(void **state)
{
    struct owner *f = *state;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nKeep-Alive: max=5, timeout=7\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(owner_notes(f), "closes after 7000|200|end|idle|");
}

/* ---- credit ---- */

static void a_response_stops_where_the_credit_ends(void **state)
{
    struct owner *f = *state;
    f->credit = false;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n");
    char *bytes = calloc(1, 50000);
    wire_say_bytes(&f->w, bytes, 50000);
    free(bytes);
    assert_in_range(f->notes.body_len, OWNER_BUFFER, OWNER_BUFFER + BLOCK_BYTES);
    assert_false(pair_reading(f->w.pair, 0));
    wire_pass(&f->w, 300000); /* that is not the upstream's fault */
    assert_string_equal(owner_notes(f), "200|");
    f->credit = true;
    f->stream->ops->credit(f->stream, f->notes.body_len);
    owner_run(f);
    assert_int_equal(f->notes.body_len, 50000);
    assert_string_equal(owner_notes(f), "end|idle|");
}

/* What was read before the end is delivered before the end. */
static void an_end_waits_for_credit(void **state)
{
    struct owner *f = *state;
    f->credit = false;
    owner_ask_up(f, "GET");
    wire_say(&f->w, "HTTP/1.1 200 OK\r\n\r\n");
    char *bytes = calloc(1, 30000);
    wire_say_bytes(&f->w, bytes, 30000);
    free(bytes);
    wire_end(&f->w);
    assert_true(f->notes.body_len < 30000);
    assert_string_equal(owner_notes(f), "200|");
    f->credit = true;
    f->stream->ops->credit(f->stream, f->notes.body_len);
    owner_run(f);
    assert_int_equal(f->notes.body_len, 30000);
    assert_string_equal(owner_notes(f), "end|closed|");
}

/* ---- tunnels ---- */

#define SWITCH "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"

static void ask_upgrade(struct owner *f)
{
    f->release_on_end = false;
    owner_connect_up(f);
    owner_open_stream(f);
    owner_send_head(f, "GET", BODY_NONE, true);
    f->stream->ops->send_end(f->stream, NULL);
    owner_run(f);
    assert_string_equal(wire_take(&f->w),
                        "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
}

static void a_101_opens_a_tunnel(void **state)
{
    struct owner *f = *state;
    ask_upgrade(f);
    wire_say(&f->w, SWITCH "first bytes");
    assert_string_equal(f->notes.body, "first bytes");
    assert_string_equal(owner_notes(f), "101|");
    owner_send_bytes(f, "ours", 4);
    owner_run(f);
    assert_string_equal(wire_take(&f->w), "ours");
    wire_pass(&f->w, 1000000); /* the tunnel's idle time is the exchange's */
    owner_notes(f);
    wire_end(&f->w);
    assert_string_equal(owner_notes(f), "end|");
    owner_send_bytes(f, "last", 4);
    f->stream->ops->send_end(f->stream, NULL);
    owner_release(f, REASON_DONE);
    owner_run(f);
    assert_string_equal(wire_take(&f->w), "last");
    assert_true(f->w.got_end);
    assert_null(f->client);
}

static void a_tunnel_is_flushed_after_it_is_let_go(void **state)
{
    struct owner *f = *state;
    static char bytes[5000];
    owner_rewire(f, 1000);
    ask_upgrade(f);
    wire_say(&f->w, SWITCH);
    wire_read(&f->w, false);
    owner_send_bytes(f, bytes, sizeof(bytes));
    f->stream->ops->send_end(f->stream, NULL);
    wire_end(&f->w);
    owner_notes(f);
    owner_release(f, REASON_DONE);
    owner_run(f);
    assert_non_null(f->client);
    wire_read(&f->w, true);
    assert_int_equal(f->w.got_len, sizeof(bytes));
    assert_true(f->w.got_end);
    assert_int_equal(f->w.got_error, 0);
    assert_null(f->client);
}

static void an_upgrade_that_is_declined_is_an_ordinary_response(void **state)
{
    struct owner *f = *state;
    ask_upgrade(f);
    f->release_on_end = true;
    wire_say(&f->w, OK_5);
    assert_string_equal(owner_notes(f), "200|end|idle|");
}

/* ---- WebSocket of a client that speaks HTTP/2 ---- */

/* Asks as HTTP/2 does; returns what the upstream reads as the key. */
static struct span ask_websocket(struct owner *f)
{
    static const char start[] = "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\n"
                                "Upgrade: websocket\r\nSec-WebSocket-Key: ";
    struct http_head *head = calloc(1, sizeof(*head));
    assert_non_null(head);
    f->release_on_end = false;
    owner_connect_up(f);
    owner_open_stream(f);
    head->version = 20;
    head->method = SPAN_LIT("GET");
    head->path = SPAN_LIT("/");
    head->upgrade = SPAN_LIT("websocket");
    http_head_add(head, FIELD_HOST, SPAN_LIT("Host"), SPAN_LIT("h"));
    f->stream->ops->send_head(f->stream, head);
    f->stream->ops->send_end(f->stream, NULL);
    free(head);
    owner_run(f);
    const char *text = wire_take(&f->w);
    assert_int_equal(strncmp(text, start, sizeof(start) - 1), 0);
    assert_string_equal(text + sizeof(start) - 1 + WEBSOCKET_KEY, "\r\n\r\n");
    return span_of(text + sizeof(start) - 1, WEBSOCKET_KEY);
}

static void grant_websocket(struct owner *f, const char accept[WEBSOCKET_ACCEPT])
{
    char text[256];
    snprintf(text, sizeof(text),
             "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Accept: %.*s\r\n\r\n",
             WEBSOCKET_ACCEPT, accept);
    wire_say(&f->w, text);
}

static void a_key_of_ours_is_answered(void **state)
{
    struct owner *f = *state;
    char accept[WEBSOCKET_ACCEPT];
    websocket_accept(ask_websocket(f), accept);
    grant_websocket(f, accept);
    assert_string_equal(owner_notes(f), "101|");
    owner_release(f, REASON_TUNNEL_IDLE);
}

static void a_wrong_answer_to_our_key_is_a_bad_response(void **state)
{
    struct owner *f = *state;
    ask_websocket(f);
    grant_websocket(f, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_string_equal(owner_notes(f), "aborted bad_response answered|closed|");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, owner_setup, owner_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_waits_for_the_connection),
        TEST(a_conn_serves_one_request_after_the_other),
        TEST(bodies_are_framed_as_announced),
        TEST(responses_are_handed_up_as_they_come),
        TEST(byte_by_byte_is_the_same),
        TEST(head_has_no_body),
        TEST(some_conns_are_not_kept),
        TEST(a_conn_whose_request_is_not_whole_is_not_kept),
        TEST(a_conn_that_is_let_go_early_is_not_kept),
        TEST(a_body_until_close_ends_with_the_conn),
        TEST(a_body_until_close_that_is_reset_is_not_whole),
        TEST(an_idle_conn_that_the_upstream_closes_goes),
        TEST(an_idle_conn_is_closed_in_time),
        TEST(an_idle_conn_that_speaks_is_not_trusted),
        TEST(an_idle_conn_in_a_list_leaves_it),
        TEST(keep_alive_timeout_is_told),
        TEST(a_response_stops_where_the_credit_ends),
        TEST(an_end_waits_for_credit),
        TEST(a_101_opens_a_tunnel),
        TEST(a_tunnel_is_flushed_after_it_is_let_go),
        TEST(an_upgrade_that_is_declined_is_an_ordinary_response),
        TEST(a_key_of_ours_is_answered),
        TEST(a_wrong_answer_to_our_key_is_a_bad_response),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
