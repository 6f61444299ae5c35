/* SPDX-License-Identifier: Apache-2.0 */
/* The start of a client's conn: who gets it, when, and how it ends before anybody has it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "proxy/http/front.h"
#include "proxy/net/addr.h"
#include "tests/unit/h1_service.h"

enum { PROXY_MS = 3000 };

struct fixture {
    struct wire w;
    struct h1_server_options h1;
    struct h2_server_options h2;
    struct front_options options;
    struct tls_stats tls_stats;
    struct list_node conns;
    struct stream *stream;
    char to[NET_ADDR_TEXT]; /* where the last request says that it came to */
    struct notes notes;
};

/* What was noted since the last call. */
static const char *notes(struct fixture *f)
{
    return notes_take(&f->notes);
}

static void on_aborted(struct stream *s, enum reason reason)
{
    struct fixture *f = s->owner;
    notes_add(&f->notes, "aborted %s|", reason_row(reason)->name);
    f->stream = NULL;
    s->ops->release(s, reason);
}

static void on_end(struct stream *s, struct http_head *trailers)
{
    (void)s;
    (void)trailers;
}

static const struct stream_events events = {.end = on_end, .aborted = on_aborted};

static void on_request(void *ctx, struct stream *s, struct http_head *head,
                       const struct http_peer *peer, enum reason reason)
{
    struct fixture *f = ctx;
    struct net_addr from, to;
    http_peer_ends(peer, &from, &to);
    net_addr_print(&to, f->to);
    notes_add(&f->notes, "%.*s from %.*s%s %s|", (int)head->path.len,
              head->path.len ? head->path.ptr : "", peer->text_len, peer->text,
              peer->trusted ? ", trusted" : "", reason_row(reason)->name);
    s->events = &events;
    s->owner = f;
    f->stream = s;
}

static bool on_keep_alive(void *ctx, const struct http_peer *peer, bool promised)
{
    (void)promised;
    (void)ctx;
    (void)peer;
    return true;
}

static void on_closed(void *ctx, const struct http_peer *peer, enum reason reason)
{
    struct fixture *f = ctx;
    (void)peer;
    notes_add(&f->notes, "closed %s|", reason_row(reason)->name);
}

static const struct http_service service = {
    .request = on_request, .keep_alive = on_keep_alive, .closed = on_closed};

/* Only who is behind the proxy at 192.0.2.0/24 is. */
static bool trusts(const void *listener, const struct net_addr *client)
{
    (void)listener;
    return client->u.sa.sa_family == AF_INET &&
           (ntohl(client->u.in.sin_addr.s_addr) & 0xffffff00u) == 0xc0000200u;
}

static void begin(struct fixture *f, struct front_wants wants)
{
    struct net_addr addr;
    struct http_peer peer;
    wire_init(&f->w, 65536);
    list_init(&f->conns);
    assert_true(net_addr_ip(&addr, "10.0.0.1", 5));
    http_peer_init(&peer, &addr, f, false);
    assert_true(net_addr_ip(&addr, "10.0.0.2", 80));
    http_peer_reached(&peer, &addr);
    wire_attach(&f->w, front_conn(front_new(&f->w.r, &f->options, wants, &peer, &f->conns)), false);
}

/* Whatever is left ends, once, and all memory comes back. */
static void end(struct fixture *f)
{
    list_for_each_safe (node, &f->conns)
        client_conn_abort(client_conn_at(node), REASON_SHUTDOWN);
    wire_settle(&f->w);
    assert_null(f->stream);
    assert_true(list_empty(&f->conns));
    wire_fini(&f->w);
    f->notes.log[0] = '\0';
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->h1 = service_options(&service, f);
    f->h2 = (struct h2_server_options){
        .limits = f->h1.limits,
        .head_ms = SERVICE_HEAD_MS,
        .idle_ms = 75000,
        .body_ms = 60000,
        .write_stall_ms = 30000,
        .max_streams = H2_MAX_STREAMS,
        .stream_window = H2_STREAM_WINDOW,
        .conn_window = H2_CONN_WINDOW,
        .service = &service,
        .ctx = f,
    };
    f->options = (struct front_options){.h1 = &f->h1,
                                        .h2 = &f->h2,
                                        .handshake_ms = PROXY_MS,
                                        .tls_stats = &f->tls_stats,
                                        .trusts = trusts};
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    free(*state);
    return 0;
}

static const struct front_wants plain, proxied = {.proxy_header = true};

#define LINE "PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n"

static size_t conns(const struct fixture *f)
{
    size_t n = 0;
    for (const struct list_node *node = f->conns.next; node != &f->conns; node = node->next)
        n++;
    return n;
}

static void a_request_gets_through(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    wire_say(&f->w, GET("/a"));
    assert_string_equal(notes(f), "/a from 10.0.0.1:5 |");
    assert_int_equal(conns(f), 1);
    end(f);
}

static void it_may_be_cut_anywhere(void **state)
{
    static const char text[] = "PUT /a HTTP/1.1\r\nHost: h\r\n\r\n";
    struct fixture *f = *state;
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        begin(f, plain);
        wire_say_bytes(&f->w, text, cut);
        assert_string_equal(notes(f), "");
        wire_say(&f->w, text + cut);
        assert_string_equal(notes(f), "/a from 10.0.0.1:5 |");
        end(f);
    }
}

static void who_says_nothing_is_closed_without_a_word(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    wire_pass(&f->w, SERVICE_HEAD_MS - 1);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 60);
    assert_string_equal(notes(f), "closed idle_timeout|");
    assert_string_equal(wire_take(&f->w), "");
    end(f);
}

static void who_goes_before_a_word_is_closed(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    wire_end(&f->w);
    assert_string_equal(notes(f), "closed client_closed|");
    end(f);
    begin(f, plain);
    wire_close(&f->w, true);
    assert_string_equal(notes(f), "closed client_reset|");
    end(f);
}

static void a_head_that_does_not_end_is_408(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    wire_pass(&f->w, SERVICE_HEAD_MS - 1);
    wire_say(&f->w, "P");
    wire_pass(&f->w, SERVICE_HEAD_MS - 1);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 60);
    assert_string_equal(notes(f), " from 10.0.0.1:5 head_timeout|");
    f->stream->ops->release(TAKE(f->stream), REASON_HEAD_TIMEOUT);
    end(f);
}

static void a_closing_worker_waits_a_second_for_a_request(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    client_conn_close_idle(client_conn_at(f->conns.next));
    wire_pass(&f->w, 900);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 160);
    assert_string_equal(notes(f), "closed idle_timeout|");
    end(f);
}

static void an_abort_ends_it(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    client_conn_abort(client_conn_at(f->conns.next), REASON_SHUTDOWN);
    wire_settle(&f->w);
    assert_string_equal(notes(f), "closed shutdown|");
    end(f);
}

/* ---- HTTP/2 with prior knowledge ---- */

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* The first frame of the server's, which comes unasked. */
static bool got_settings(const struct fixture *f)
{
    return f->w.got_len >= 9 && f->w.got[3] == 4 && f->w.got[4] == 0;
}

static void the_preface_goes_to_http_2(void **state)
{
    static const char text[] = PREFACE;
    struct fixture *f = *state;
    begin(f, plain);
    wire_say_bytes(&f->w, text, sizeof(text) - 1);
    assert_true(got_settings(f));
    assert_int_equal(conns(f), 1);
    end(f);
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        begin(f, plain);
        wire_say_bytes(&f->w, text, cut);
        assert_int_equal(f->w.got_len, 0);
        wire_say(&f->w, text + cut);
        assert_true(got_settings(f));
        end(f);
    }
}

static void a_byte_off_the_preface_is_http_1(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof(PREFACE) - 1; i++) {
        char text[] = PREFACE;
        text[i] ^= 1;
        begin(f, plain);
        wire_say(&f->w, text);
        assert_false(got_settings(f));
        if (f->stream != NULL)
            f->stream->ops->release(TAKE(f->stream), REASON_BAD_VERSION);
        end(f);
    }
}

static void a_preface_that_does_not_end_is_408(void **state)
{
    struct fixture *f = *state;
    begin(f, plain);
    wire_pass(&f->w, SERVICE_HEAD_MS - 1);
    wire_say(&f->w, "PRI * HT");
    wire_pass(&f->w, SERVICE_HEAD_MS - 100);
    wire_say(&f->w, "TP");
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 200);
    assert_string_equal(notes(f), " from 10.0.0.1:5 head_timeout|");
    f->stream->ops->release(TAKE(f->stream), REASON_HEAD_TIMEOUT);
    end(f);
    begin(f, plain);
    wire_say(&f->w, "PRI * HT");
    wire_end(&f->w);
    assert_string_equal(notes(f), "closed client_closed|");
    end(f);
}

static void behind_a_proxy_header_too(void **state)
{
    struct fixture *f = *state;
    begin(f, proxied);
    wire_say(&f->w, LINE PREFACE);
    assert_true(got_settings(f));
    end(f);
}

/* ---- the PROXY protocol ---- */

static void the_header_says_who_it_is(void **state)
{
    struct fixture *f = *state;
    begin(f, proxied);
    wire_say(&f->w, LINE GET("/a"));
    assert_string_equal(notes(f), "/a from 192.0.2.7:56324, trusted |");
    assert_string_equal(f->to, "198.51.100.2:443");
    end(f);
    begin(f, proxied);
    wire_say(&f->w, "PROXY TCP6 2001:db8::7 ::1 1 2\r\n" GET("/a"));
    assert_string_equal(notes(f), "/a from [2001:db8::7]:1 |");
    assert_string_equal(f->to, "[::1]:2");
    end(f);
    begin(f, proxied);
    wire_say(&f->w, "PROXY UNKNOWN\r\n" GET("/a"));
    assert_string_equal(notes(f), "/a from 10.0.0.1:5 |");
    assert_string_equal(f->to, "10.0.0.2:80"); /* where it came to by itself */
    end(f);
}

static void the_header_may_be_cut_anywhere(void **state)
{
    static const char text[] = LINE "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
    struct fixture *f = *state;
    for (size_t cut = 1; cut < sizeof(text) - 1; cut++) {
        begin(f, proxied);
        wire_say_bytes(&f->w, text, cut);
        assert_string_equal(notes(f), "");
        wire_say(&f->w, text + cut);
        assert_string_equal(notes(f), "/a from 192.0.2.7:56324, trusted |");
        end(f);
    }
}

static void without_a_header_nothing_is_answered(void **state)
{
    struct fixture *f = *state;
    begin(f, proxied);
    wire_say(&f->w, GET("/a"));
    assert_string_equal(notes(f), "closed bad_proxy_header|");
    assert_string_equal(wire_take(&f->w), "");
    end(f);
    begin(f, proxied);
    wire_say(&f->w, "PROXY TCP4 192.0.2.7");
    wire_end(&f->w);
    assert_string_equal(notes(f), "closed bad_proxy_header|");
    end(f);
    begin(f, proxied);
    wire_end(&f->w);
    assert_string_equal(notes(f), "closed client_closed|");
    end(f);
}

static void a_header_that_does_not_end_is_too_late(void **state)
{
    struct fixture *f = *state;
    begin(f, proxied);
    wire_pass(&f->w, PROXY_MS - 1);
    wire_say(&f->w, "PROXY TCP4 ");
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 60);
    assert_string_equal(notes(f), "closed proxy_header_timeout|");
    end(f);
}

/* The clock of the request begins anew behind the header. */
static void the_request_has_its_own_time(void **state)
{
    struct fixture *f = *state;
    begin(f, proxied);
    wire_pass(&f->w, PROXY_MS - 1);
    wire_say(&f->w, LINE);
    wire_pass(&f->w, SERVICE_HEAD_MS - 1);
    assert_string_equal(notes(f), "");
    wire_pass(&f->w, 60);
    assert_string_equal(notes(f), "closed idle_timeout|");
    end(f);
}

/* A second header is a request line like any other: nobody downstream may say who it is. */
static void there_is_one_header(void **state)
{
    struct fixture *f = *state;
    begin(f, proxied);
    wire_say(&f->w, LINE LINE GET("/a"));
    assert_string_equal(notes(f), " from 192.0.2.7:56324, trusted bad_request_line|");
    f->stream->ops->release(TAKE(f->stream), REASON_BAD_REQUEST_LINE);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_request_gets_through, setup, teardown),
        cmocka_unit_test_setup_teardown(it_may_be_cut_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(who_says_nothing_is_closed_without_a_word, setup, teardown),
        cmocka_unit_test_setup_teardown(who_goes_before_a_word_is_closed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_head_that_does_not_end_is_408, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closing_worker_waits_a_second_for_a_request, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_abort_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(the_preface_goes_to_http_2, setup, teardown),
        cmocka_unit_test_setup_teardown(a_byte_off_the_preface_is_http_1, setup, teardown),
        cmocka_unit_test_setup_teardown(a_preface_that_does_not_end_is_408, setup, teardown),
        cmocka_unit_test_setup_teardown(behind_a_proxy_header_too, setup, teardown),
        cmocka_unit_test_setup_teardown(the_header_says_who_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(the_header_may_be_cut_anywhere, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_header_nothing_is_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(a_header_that_does_not_end_is_too_late, setup, teardown),
        cmocka_unit_test_setup_teardown(the_request_has_its_own_time, setup, teardown),
        cmocka_unit_test_setup_teardown(there_is_one_header, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
