/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 messages, vector by vector. Each is read whole, cut in two at every place, byte by byte,
 * and the same again with what the parser keeps moved to another block at every cut: the record is
 * always the same.
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
#include "tests/unit/h1_feed.h"

struct vector {
    struct span in;
    const char *want;
    bool to_head, to_upgrade, tunnel;
};

#define S(text) SPAN_LIT(text)
#define HOST    "Host: h\r\n"

static const struct h1_limits wide = {
    .body_bytes = UINT64_MAX, .header_bytes = 32768, .target_bytes = 8192, .headers = 100};

/* ---- running ---- */

static struct h1_feed *feed_new(const struct vector *v, bool response,
                                const struct h1_limits *limits)
{
    struct h1_feed *f = malloc(sizeof(*f));
    assert_non_null(f);
    h1_feed_init(f, response, limits);
    f->to_head = v->to_head;
    f->to_upgrade = v->to_upgrade;
    f->tunnel = v->tunnel;
    return f;
}

static void feed_end(struct h1_feed *f, const struct vector *v, const char *how, size_t at)
{
    const char *got = h1_feed_text(f);
    if (strcmp(got, v->want) != 0)
        fail_msg("%s %zu of:\n%.*s\ngot:  %s\nwant: %s", how, at, (int)v->in.len, v->in.ptr, got,
                 v->want);
    h1_feed_fini(f);
    free(f);
}

static void run_whole(const struct vector *v, bool response, const struct h1_limits *limits)
{
    struct h1_feed *f = feed_new(v, response, limits);
    h1_feed_bytes(f, v->in.ptr, v->in.len, false);
    feed_end(f, v, "whole", 0);
}

static void run_split(const struct vector *v, bool response, const struct h1_limits *limits,
                      size_t at, bool move)
{
    struct h1_feed *f = feed_new(v, response, limits);
    h1_feed_bytes(f, v->in.ptr, at, false);
    h1_feed_bytes(f, v->in.ptr + at, v->in.len - at, move);
    feed_end(f, v, move ? "moved at" : "split at", at);
}

static void run_bytes(const struct vector *v, bool response, const struct h1_limits *limits,
                      bool move)
{
    struct h1_feed *f = feed_new(v, response, limits);
    for (size_t i = 0; i < v->in.len; i++)
        h1_feed_bytes(f, v->in.ptr + i, 1, move && i > 0);
    feed_end(f, v, move ? "moved byte by byte" : "byte by byte", 0);
}

static void run(const struct vector *v, bool response, const struct h1_limits *limits)
{
    run_whole(v, response, limits);
    for (size_t at = 1; at < v->in.len; at++) {
        run_split(v, response, limits, at, false);
        run_split(v, response, limits, at, true);
    }
    run_bytes(v, response, limits, false);
    run_bytes(v, response, limits, true);
}

static void run_all(const struct vector *vectors, size_t n, bool response)
{
    for (size_t i = 0; i < n; i++)
        run(&vectors[i], response, &wide);
}

#define REQUESTS(rows)  run_all((rows), ARRAY_LEN(rows), false)
#define RESPONSES(rows) run_all((rows), ARRAY_LEN(rows), true)

/* ---- requests ---- */

static void requests_are_understood(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S("GET / HTTP/1.1\r\n" HOST "\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|\n<>.\n"},
        {.in = S("GET /a/../b%7e?q=%7e&x HTTP/1.1\r\nhOsT: a.b:80\r\n\r\n"),
         .want = "GET /b~?q=%7e&x 1.1 host=a.b:80 none\nhOsT: a.b:80|\n<>.\n"},
        {.in = S("GET /? HTTP/1.1\r\n" HOST "\r\n"),
         .want = "GET /? 1.1 host=h none\nHost: h|\n<>.\n"},
        {.in = S("DELETE http://x.example:8080/p?q HTTP/1.1\r\n" HOST "\r\n"),
         .want = "DELETE /p?q 1.1 host=x.example:8080 none\nHost: x.example:8080|\n<>.\n"},
        {.in = S("GET http://x.example HTTP/1.1\r\n" HOST "\r\n"),
         .want = "GET / 1.1 host=x.example none\nHost: x.example|\n<>.\n"},
        {.in = S("GET http://x.example/a/./../b/%41 HTTP/1.1\r\n" HOST "\r\n"),
         .want = "GET /b/A 1.1 host=x.example none\nHost: x.example|\n<>.\n"},
        {.in = S("OPTIONS * HTTP/1.1\r\n" HOST "\r\n"),
         .want = "OPTIONS * 1.1 host=h none\nHost: h|\n<>.\n"},
        {.in = S("HEAD /x HTTP/1.1\r\nHost:\r\n\r\n"),
         .want = "HEAD /x 1.1 host= none\nHost: |\n<>.\n"},
        {.in = S("GET / HTTP/1.0\r\n\r\n"), .want = "GET / 1.0 host= none close\n\n<>.\n"},
        {.in = S("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"),
         .want = "GET / 1.0 host= none keep-alive\nConnection: Keep-Alive|\n<>.\n"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n"),
         .want = "GET / 1.1 host=h none close\nHost: h|Connection: close|\n<>.\n"},
        /* spaces around values go, inside stay; empty values and obs-text are values */
        {.in = S("GET / HTTP/1.1\r\n" HOST
                 "A:\r\nB: \t \r\nC:c\r\nD: \td  e\t \r\nE: \xc3\xa9\r\n\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|A: |B: |C: c|D: d  e|E: \xc3\xa9|\n<>.\n"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "!#$%&'*+-.^_`|~09azAZ: x\r\n\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|!#$%&'*+-.^_`|~09azAZ: x|\n<>.\n"},
        /* empty lines before a request are forgiven */
        {.in = S("\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|\n<>.\n"},
    };
    REQUESTS(rows);
}

static void request_bodies_are_delimited(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"),
         .want = "POST / 1.1 host=h length=5\nHost: h|Content-Length: 5|\n<hello>.\n"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhel"),
         .want = "POST / 1.1 host=h length=5\nHost: h|Content-Length: 5|\n<hel>"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"),
         .want = "POST / 1.1 host=h length=0\nHost: h|Content-Length: 0|\n<>.\n"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "content-length: 0002\r\n\r\nab"),
         .want = "GET / 1.1 host=h length=2\nHost: h|content-length: 0002|\n<ab>.\n"},
        {.in = S("POST / HTTP/1.0\r\nContent-Length: 1\r\n\r\nx"),
         .want = "POST / 1.0 host= length=1 close\nContent-Length: 1|\n<x>.\n"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                 "5\r\nhello\r\n00a\r\n, my world\r\nF\r\n0123456789abcde\r\n0\r\n\r\n"),
         .want = "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n"
                 "<hello, my world0123456789abcde>.\n"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: CHUNKED\r\n\r\n000\r\n\r\n"),
         .want = "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: CHUNKED|\n<>.\n"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                 "3;a;b=c;d=\"e f\"\r\nxyz\r\n0;last\r\n\r\n"),
         .want = "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n<xyz>.\n"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
                 "1\r\nx\r\n0\r\nA: 1\r\nB:\r\nC: c c \r\n\r\n"),
         .want = "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n"
                 "<x>.A: 1|B: |C: c c|\n"},
        {.in =
             S("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4\r\n\r\n\r\n\r\n0\r"),
         .want = "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n<\r\n\r\n>"},
        {.in = S("POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n"),
         .want = "POST / 1.1 host=h length=1 expect\n"
                 "Host: h|Expect: 100-continue|Content-Length: 1|\n<>"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|Expect: 100-continue|\n<>.\n"},
    };
    REQUESTS(rows);
}

static void pipelined_requests_come_in_order(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S("GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n"),
         .want = "GET /1 1.1 host=h none\nHost: h|\n<>.\nGET /2 1.1 host=h none\nHost: h|\n<>.\n"},
        {.in = S("POST /1 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc\r\n"
                 "POST /2 HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
                 "GET /3 HTTP/1.0\r\n\r\n"),
         .want = "POST /1 1.1 host=h length=3\nHost: h|Content-Length: 3|\n<abc>.\n"
                 "POST /2 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n<x>.\n"
                 "GET /3 1.0 host= none close\n\n<>.\n"},
        /* a body that looks like a request is a body */
        {.in = S("POST / HTTP/1.1\r\n" HOST
                 "Content-Length: 18\r\n\r\nGET / HTTP/1.1\r\n\r\nBAD\r\n"),
         .want = "POST / 1.1 host=h length=18\nHost: h|Content-Length: 18|\n"
                 "<GET / HTTP/1.1\r\n\r\n>.\n!bad_request_line"},
        /* the next one is judged by itself */
        {.in = S("GET / HTTP/1.1\r\n" HOST "\r\nGET / HTTP/1.1\r\n\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|\n<>.\n!missing_host"},
    };
    REQUESTS(rows);
}

static void upgrades_become_tunnels_only_when_granted(void **state)
{
    (void)state;
#define UPGRADE(protocol) \
    "GET /c HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: " protocol "\r\n"
#define UPGRADE_HEAD(protocol, known) \
    "GET /c 1.1 host=h none" known "\nHost: h|Connection: Upgrade|Upgrade: " protocol "|\n"
    static const struct vector rows[] = {
        {.in = S(UPGRADE("websocket") "\r\n\0GET\r\n"),
         .want = UPGRADE_HEAD("websocket", " upgrade=websocket") "<>.\n!bad_request_line"},
        {.in = S(UPGRADE("websocket") "\r\nraw\r\nbytes"),
         .want = UPGRADE_HEAD("websocket", " upgrade=websocket") "<raw\r\nbytes>",
         .tunnel = true},
        /* without Connection: upgrade, or for HTTP/2, it is no upgrade */
        {.in = S(UPGRADE("h2c") "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n"),
         .want = UPGRADE_HEAD("h2c", "") "<>.\nGET /2 1.1 host=h none\nHost: h|\n<>.\n",
         .tunnel = true},
        {.in = S(UPGRADE("foo, H2C") "\r\n"), .want = UPGRADE_HEAD("foo, H2C", "") "<>.\n"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "Upgrade: websocket\r\n\r\nGET / HTTP/1.0\r\n\r\n"),
         .want = "GET / 1.1 host=h none\nHost: h|Upgrade: websocket|\n<>.\n"
                 "GET / 1.0 host= none close\n\n<>.\n"},
        {.in = S("GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
         .want = "GET / 1.0 host= none close\nConnection: upgrade|Upgrade: x|\n<>.\n"},
        /* an upgrade with a body: the body first */
        {.in = S("POST / HTTP/1.1\r\n" HOST
                 "Connection: upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nab"),
         .want = "POST / 1.1 host=h length=2 upgrade=x\n"
                 "Host: h|Connection: upgrade|Upgrade: x|Content-Length: 2|\n<ab>.\n"},
        {.in = S("POST / HTTP/1.1\r\n" HOST
                 "Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                 "2\r\nab\r\n0\r\n\r\n"),
         .want = "POST / 1.1 host=h chunked upgrade=x\n"
                 "Host: h|Connection: upgrade|Upgrade: x|Transfer-Encoding: chunked|\n<ab>.\n"},
    };
    REQUESTS(rows);
}

static void connection_drops_what_it_names_and_no_more(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S("GET / HTTP/1.1\r\n" HOST
                 "X-A: 1\r\nConnection: x-a, X-B\r\nx-b: 2\r\nx-A: 3\r\nX-C: 4\r\n\r\n"),
         .want = "GET / 1.1 host=h none\n"
                 "Host: h|{X-A: 1}|Connection: x-a, X-B|{x-b: 2}|{x-A: 3}|X-C: 4|\n<>.\n"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "Connection: close, host, cookie\r\nCookie: c\r\n\r\n"),
         .want = "GET / 1.1 host=h none close\nHost: h|Connection: close, host, cookie|Cookie: c|\n"
                 "<>.\n"},
        {.in = S("GET / HTTP/1.1\r\n" HOST
                 "Connection: ,,a ,\t\r\nConnection: CLOSE\r\nA: 1\r\n\r\n"),
         .want = "GET / 1.1 host=h none close\n"
                 "Host: h|Connection: ,,a ,|Connection: CLOSE|{A: 1}|\n<>.\n"},
    };
    REQUESTS(rows);
}

/* Rows whose whole record is one reason. */
static void refused(const struct vector *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(rows[i].want[0] == '!');
    run_all(rows, n, false);
}

#define REFUSED(rows) refused((rows), ARRAY_LEN(rows))

static void bad_request_lines_are_refused(void **state)
{
    (void)state;
#define LINE(text) S(text "\r\n" HOST "\r\n")
    static const struct vector rows[] = {
        {.in = LINE("GET"), .want = "!bad_request_line"},
        {.in = LINE("GET /"), .want = "!bad_request_line"},
        {.in = LINE("GET / "), .want = "!bad_request_line"},
        {.in = LINE("GET  HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET  / HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET /  HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET / HTTP/1.1 "), .want = "!bad_request_line"},
        {.in = LINE("GET / x HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE(" GET / HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET\t/\tHTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET / HTTP/1."), .want = "!bad_request_line"},
        {.in = LINE("GET / HTTP/11"), .want = "!bad_request_line"},
        {.in = LINE("GET / HTTP/1.1x"), .want = "!bad_request_line"},
        {.in = LINE("GET / http/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET / HTTP/1,1"), .want = "!bad_request_line"},
        {.in = LINE("GET / FTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("G(T / HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("G\0T / HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GETGETGETGETGETGETGETGETGETGETGETG / HTTP/1.1"), .want = "!bad_request_line"},
        {.in = LINE("GET / HTTP/2.0"), .want = "!bad_version"},
        {.in = LINE("GET / HTTP/1.2"), .want = "!bad_version"},
        {.in = LINE("GET / HTTP/0.9"), .want = "!bad_version"},
        {.in = LINE("GET / HTTP/3.1"), .want = "!bad_version"},
        {.in = S("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), .want = "!bad_version"},
        {.in = LINE("BREW / HTTP/1.1"), .want = "!unknown_method"},
        {.in = LINE("get / HTTP/1.1"), .want = "!unknown_method"},
        {.in = LINE("GETX / HTTP/1.1"), .want = "!unknown_method"},
        {.in = LINE("DESCRIBE / HTTP/1.1"), .want = "!unknown_method"},
        {.in = LINE("CONNECT h:443 HTTP/1.1"), .want = "!connect_method"},
        /* what is known before the line ends wins */
        {.in = S("GETGETGETGETGETGETGETGETGETGETGETG / HTTP/1.1\n"), .want = "!bad_request_line"},
        /* endings */
        {.in = S("GET / HTTP/1.1\n" HOST "\r\n"), .want = "!bad_line_ending"},
        {.in = S("GET / HTTP/1.1\r\r\n" HOST "\r\n"), .want = "!bad_line_ending"},
        {.in = S("GET /\r HTTP/1.1\r\n" HOST "\r\n"), .want = "!bad_line_ending"},
        {.in = S("\nGET / HTTP/1.1\r\n" HOST "\r\n"), .want = "!bad_line_ending"},
        {.in = S("\r\n\nGET / HTTP/1.1\r\n" HOST "\r\n"), .want = "!bad_line_ending"},
        {.in = S("\r\rGET / HTTP/1.1\r\n" HOST "\r\n"), .want = "!bad_line_ending"},
        {.in = S("\rGET / HTTP/1.1\r\n" HOST "\r\n"), .want = "!bad_line_ending"},
    };
    REFUSED(rows);
}

static void bad_targets_are_refused(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = LINE("GET x HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET * HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET h:80 HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /\x01 HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /\x7f HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /\0 HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /\xc3\xa9 HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /a\tb HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /%zz HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /%4 HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /a#b HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET /<x> HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET http:///x HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET http://u@h/x HTTP/1.1"), .want = "!bad_target"},
        {.in = LINE("GET http://h:x/ HTTP/1.1"), .want = "!bad_target"},
    };
    REFUSED(rows);
}

static void bad_fields_are_refused(void **state)
{
    (void)state;
#define FIELDS(text) S("GET / HTTP/1.1\r\n" text "\r\n")
    static const struct vector rows[] = {
        {.in = FIELDS(HOST "A : 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A\t: 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST ": 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A b: 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A(: 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A\0: 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "\xc3\xa9: 1\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A: a\0b\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A: a\x01\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A: a\x7f\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A: \x1b[0m\r\n"), .want = "!bad_field"},
        {.in = FIELDS(" A: 1\r\n" HOST), .want = "!bad_field"}, /* before the first field */
        {.in = FIELDS("\tA: 1\r\n" HOST), .want = "!bad_field"},
        {.in = FIELDS(HOST "A: 1\r\n folded\r\n"), .want = "!bad_field"}, /* obs-fold */
        {.in = FIELDS(HOST "A: 1\r\n\tfolded\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A:\r\n folded\r\n"), .want = "!bad_field"},
        {.in = FIELDS(HOST "A: 1\r\n \r\n"), .want = "!bad_field"},
    };
    REFUSED(rows);
}

static void bad_line_endings_in_a_head_are_refused(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = FIELDS("Host: h\nA: 1\r\n"), .want = "!bad_line_ending"},
        {.in = FIELDS(HOST "A: 1\n"), .want = "!bad_line_ending"},
        {.in = FIELDS(HOST "A:\n"), .want = "!bad_line_ending"},
        {.in = FIELDS(HOST "A: 1\rB: 2\r\n"), .want = "!bad_line_ending"},
        {.in = FIELDS(HOST "A: 1\r\r\n"), .want = "!bad_line_ending"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "\n"), .want = "!bad_line_ending"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "\rX"), .want = "!bad_line_ending"},
        {.in = S("GET / HTTP/1.1\r\n" HOST "\r\r\n"), .want = "!bad_line_ending"},
        {.in = FIELDS(HOST "Transfer-Encoding: chunked\nA: 1\r\n"), .want = "!bad_line_ending"},
        {.in = FIELDS(HOST "Content-Length: 1\nA: 1\r\n"), .want = "!bad_line_ending"},
    };
    REFUSED(rows);
}

static void a_host_must_be_there_once_and_valid(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = FIELDS("A: 1\r\n"), .want = "!missing_host"},
        {.in = FIELDS(""), .want = "!missing_host"},
        {.in = FIELDS("Host: a\r\nHost: a\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: a\r\nA: 1\r\nhost: b\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: a b\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: a/b\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: u@h\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: h:x\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: [::1\r\n"), .want = "!bad_host"},
        {.in = FIELDS("Host: \"h\"\r\n"), .want = "!bad_host"},
        {.in = S("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n"), .want = "!bad_host"},
        {.in = S("GET http://h/ HTTP/1.1\r\nA: 1\r\n\r\n"), .want = "!missing_host"},
        {.in = S("GET http://h/ HTTP/1.1\r\nHost: a b\r\n\r\n"), .want = "!bad_host"},
    };
    REFUSED(rows);
}

static void ambiguous_lengths_are_refused(void **state)
{
    (void)state;
#define POST(text) S("POST / HTTP/1.1\r\n" HOST text "\r\n0\r\n\r\n")
    static const struct vector rows[] = {
        {.in = POST("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
         .want = "!length_conflict"},
        {.in = POST("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n"),
         .want = "!length_conflict"},
        {.in = POST("Transfer-Encoding: identity\r\nContent-Length: 1\r\n"),
         .want = "!length_conflict"},
        {.in = POST("Content-Length: 1\r\nContent-Length: 2\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 1\r\nContent-Length: 1\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 1, 1\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 1,\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: +1\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: -1\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 0x1\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 1 2\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 1a\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length:\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: \"1\"\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 18446744073709551617\r\n"), .want = "!bad_content_length"},
        {.in = POST("Content-Length: 99999999999999999999\r\n"), .want = "!bad_content_length"},
        {.in = POST("Transfer-Encoding: identity\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: gzip\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked, gzip\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked, chunked\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
         .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
         .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: xchunked\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunkedx\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked;q=1\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: \"chunked\"\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding:\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n"),
         .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: ,chunked\r\n"), .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: chunked,\r\n"), .want = "!bad_transfer_encoding"},
        {.in = S("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
         .want = "!bad_transfer_encoding"},
        {.in = POST("Transfer-Encoding: gzip, chunked\r\n"), .want = "!unknown_coding"},
        {.in = POST("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
         .want = "!unknown_coding"},
    };
    REFUSED(rows);
}

static void bad_chunks_are_refused(void **state)
{
    (void)state;
#define CHUNKED     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_OUT "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n"
    static const char *const bad = CHUNKED_OUT "!bad_chunk";
    static const struct span bodies[] = {
        S("\r\n"),
        S("x\r\nx\r\n0\r\n\r\n"),
        S("-1\r\nx\r\n"),
        S("+1\r\nx\r\n"),
        S(" 1\r\nx\r\n"),
        S("1 \r\nx\r\n"),
        S("1\t\r\nx\r\n"),
        S("0x1\r\nx\r\n"),
        S("1g\r\nx\r\n"),
        S(";a\r\nx\r\n"),
        S("10000000000000000\r\nx\r\n"), /* 2^64 */
        S("fffffffffffffffff\r\nx\r\n"),
        S("1\nx\r\n0\r\n\r\n"),
        S("1\r\nx\n0\r\n\r\n"),
        S("1\r\nxy\r\n0\r\n\r\n"),
        S("1\r\nx0\r\n\r\n"),
        S("1\rx\r\n"),
        S("1\r\nx\r0\r\n\r\n"),
        S("1;a\nx\r\n0\r\n\r\n"),
        S("1;a\rx\r\n0\r\n\r\n"),
        S("1;a=\"b\nc\"\r\nx\r\n"),
        S("1;a\0b\r\nx\r\n"),
        S("1;\x01\r\nx\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
        char text[256];
        size_t n = sizeof(CHUNKED) - 1;
        memcpy(text, CHUNKED, n);
        memcpy(text + n, bodies[i].ptr, bodies[i].len);
        struct vector v = {.in = span_of(text, n + bodies[i].len), .want = bad};
        run(&v, false, &wide);
    }
}

static void bad_trailers_are_refused(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S(CHUNKED "0\nA: 1\r\n\r\n"), .want = CHUNKED_OUT "!bad_chunk"},
        {.in = S(CHUNKED "0\r\nA : 1\r\n\r\n"), .want = CHUNKED_OUT "!bad_field"},
        {.in = S(CHUNKED "0\r\n A: 1\r\n\r\n"), .want = CHUNKED_OUT "!bad_field"},
        {.in = S(CHUNKED "0\r\nA: 1\r\n B: 1\r\n\r\n"), .want = CHUNKED_OUT "!bad_field"},
        {.in = S(CHUNKED "0\r\nA: 1\nB: 1\r\n\r\n"), .want = CHUNKED_OUT "!bad_line_ending"},
        {.in = S(CHUNKED "0\r\nA: 1\r\nB: 1\n\r\n"), .want = CHUNKED_OUT "!bad_line_ending"},
        {.in = S(CHUNKED "0\r\nA: 1\r\n\n"), .want = CHUNKED_OUT "!bad_line_ending"},
        {.in = S(CHUNKED "0\r\nA: \0\r\n\r\n"), .want = CHUNKED_OUT "!bad_field"},
        {.in = S(CHUNKED "0\r\n\n"), .want = CHUNKED_OUT "!bad_line_ending"},
        {.in = S(CHUNKED "0\r\n\rX"), .want = CHUNKED_OUT "!bad_line_ending"},
    };
    REQUESTS(rows);
}

/* ---- responses ---- */

static void responses_are_understood(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
         .want = "200 OK 1.1 length=2\nContent-Length: 2|\n<hi>.\n"},
        {.in = S("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
         .want = "200  1.1 length=0\nContent-Length: 0|\n<>.\n"},
        {.in = S("HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n"),
         .want = "200  1.1 length=0\nContent-Length: 0|\n<>.\n"},
        {.in = S("HTTP/1.1 299 Fine  by\tm\xc3\xa9 \r\nContent-Length: 0\r\n\r\n"),
         .want = "299 Fine  by\tm\xc3\xa9  1.1 length=0\nContent-Length: 0|\n<>.\n"},
        {.in = S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n"
                 "T: 1\r\n\r\n"),
         .want = "200 OK 1.1 chunked\nTransfer-Encoding: chunked|\n<abc>.T: 1|\n"},
        {.in = S("HTTP/1.1 200 OK\r\n\r\nto the end"),
         .want = "200 OK 1.1 until-close\n\n<to the end>"},
        {.in = S("HTTP/1.0 200 OK\r\n\r\nto the end\r\n\r\n"),
         .want = "200 OK 1.0 until-close close\n\n<to the end\r\n\r\n>"},
        {.in = S("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx"),
         .want =
             "200 OK 1.0 length=1 keep-alive\nConnection: keep-alive|Content-Length: 1|\n<x>.\n"},
        {.in = S("HTTP/1.1 200 OK\r\nConnection: close, x\r\nX: 1\r\nContent-Length: 1\r\n\r\nx"),
         .want =
             "200 OK 1.1 length=1 close\nConnection: close, x|{X: 1}|Content-Length: 1|\n<x>.\n"},
        /* one after the other on one conn */
        {.in = S("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
                 "HTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nb"),
         .want = "200 OK 1.1 length=1\nContent-Length: 1|\n<a>.\n"
                 "404 No 1.1 length=1\nContent-Length: 1|\n<b>.\n"},
    };
    RESPONSES(rows);
}

static void some_responses_have_no_body_whatever_they_say(void **state)
{
    (void)state;
    static const struct vector rows[] = {
        {.in = S("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
         .want = "200 OK 1.1 none\nContent-Length: 5|\n<>.\n",
         .to_head = true},
        {.in = S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
         .want = "200 OK 1.1 none\nTransfer-Encoding: chunked|\n<>.\n",
         .to_head = true},
        {.in = S("HTTP/1.1 200 OK\r\n\r\n"), .want = "200 OK 1.1 none\n\n<>.\n", .to_head = true},
        {.in = S("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nHTTP/1.1 304 Not\r\n\r\n"),
         .want = "204 No 1.1 none\nContent-Length: 5|\n<>.\n304 Not 1.1 none\n\n<>.\n"},
        {.in = S("HTTP/1.1 304 Not\r\nTransfer-Encoding: chunked\r\n\r\n"),
         .want = "304 Not 1.1 none\nTransfer-Encoding: chunked|\n<>.\n"},
        {.in = S("HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"),
         .want = "100 Go on 1.1 none\n\n<>.\n103 Early 1.1 none\nLink: x|\n<>.\n"
                 "200 OK 1.1 length=1\nContent-Length: 1|\n<x>.\n"},
    };
    RESPONSES(rows);
}

static void a_101_is_for_those_who_asked(void **state)
{
    (void)state;
#define SWITCH "HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    static const struct vector rows[] = {
        {.in = S(SWITCH "\x81\x02hi HTTP/1.1"),
         .want = "101 Switching 1.1 tunnel upgrade=websocket\n"
                 "Connection: Upgrade|Upgrade: websocket|\n<\x81\x02hi HTTP/1.1>",
         .to_upgrade = true},
        {.in = S(SWITCH), .want = "!bad_response"},
        {.in = S("HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n"),
         .want = "!bad_response",
         .to_upgrade = true},
        {.in = S("HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n"),
         .want = "!bad_response",
         .to_upgrade = true},
        /* an upgrade that is not granted is an ordinary response */
        {.in = S(
             "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 1\r\n\r\nx"),
         .want = "200 OK 1.1 length=1\nConnection: upgrade|Upgrade: x|Content-Length: 1|\n<x>.\n",
         .to_upgrade = true},
    };
    RESPONSES(rows);
}

static void malformed_responses_are_bad_responses(void **state)
{
    (void)state;
    static const struct span rows[] = {
        S("x"),
        S("\r\nHTTP/1.1 200 OK\r\n\r\n"),
        S("HTTP/1.1 200 OK\n\r\n\r\n"),
        S("HTTP/1.1 200 OK\nA: 1\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA: 1\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA: 1\r\n\n"),
        S("HTTP/1.1 200 OK\r\n\n"),
        S("HTTP/1.1 200 O\rK\r\n\r\n"),
        S("HTTP/1.1 200 O\0K\r\n\r\n"),
        S("HTTP/1.1 200 O\x01K\r\n\r\n"),
        S("HTTP/1.1 200 O\x7fK\r\n\r\n"),
        S("HTTP/1.1  200 OK\r\n\r\n"),
        S("HTTP/1.1 20 OK\r\n\r\n"),
        S("HTTP/1.1 2000 OK\r\n\r\n"),
        S("HTTP/1.1 2x0 OK\r\n\r\n"),
        S("HTTP/1.1 099 OK\r\n\r\n"),
        S("HTTP/1.1 600 OK\r\n\r\n"),
        S("HTTP/1.1 200OK\r\n\r\n"),
        S("HTTP/1.1\r\n\r\n"),
        S("HTTP/2.0 200 OK\r\n\r\n"),
        S("HTTP/1.2 200 OK\r\n\r\n"),
        S("HTTP/0.9 200 OK\r\n\r\n"),
        S("HTTPS/1.1 200 OK\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\n A: 1\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA : 1\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA: 1\r\n fold\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA: \0\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA: \x01\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\n: 1\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nA\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
        S("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
        S("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx"),
        S("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        S("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        S("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct vector v = {.in = rows[i], .want = "!bad_response"};
        run(&v, true, &wide);
    }
}

static void malformed_response_bodies_are_bad_responses(void **state)
{
    (void)state;
#define RESPONSE     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define RESPONSE_OUT "200 OK 1.1 chunked\nTransfer-Encoding: chunked|\n!bad_response"
    static const struct vector rows[] = {
        {.in = S(RESPONSE "x\r\n"), .want = RESPONSE_OUT},
        {.in = S(RESPONSE "1\nx\r\n"), .want = RESPONSE_OUT},
        {.in = S(RESPONSE "1\r\nxx\r\n"), .want = RESPONSE_OUT},
        {.in = S(RESPONSE "0\r\nA : 1\r\n\r\n"), .want = RESPONSE_OUT},
        {.in = S(RESPONSE "0\r\nA: 1\n\r\n"), .want = RESPONSE_OUT},
        {.in = S(RESPONSE "0\r\n\n"), .want = RESPONSE_OUT},
    };
    RESPONSES(rows);
}

/* ---- limits ---- */

/* Builds text in a growing buffer, for vectors that are too long to be written down. */
struct text {
    char bytes[40000];
    size_t len;
};

static void text_add(struct text *t, const char *s)
{
    size_t n = strlen(s);
    assert_true(t->len + n < sizeof(t->bytes));
    memcpy(t->bytes + t->len, s, n + 1);
    t->len += n;
}

static void text_fill(struct text *t, char c, size_t n)
{
    assert_true(t->len + n < sizeof(t->bytes));
    memset(t->bytes + t->len, c, n);
    t->len += n;
    t->bytes[t->len] = '\0';
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

/* The record ends in want, however the bytes come: whole, byte by byte, in pieces of 7 and 100. */
static void assert_ends(const struct text *in, bool response, const struct h1_limits *limits,
                        const char *want)
{
    static const size_t pieces[] = {40000, 1, 7, 100};
    for (size_t k = 0; k < ARRAY_LEN(pieces); k++) {
        struct h1_feed *f = malloc(sizeof(*f));
        assert_non_null(f);
        h1_feed_init(f, response, limits);
        for (size_t at = 0; at < in->len; at += pieces[k]) {
            size_t n = in->len - at < pieces[k] ? in->len - at : pieces[k];
            h1_feed_bytes(f, in->bytes + at, n, k == 2 && at > 0);
        }
        const char *got = h1_feed_text(f);
        if (!ends_with(got, want))
            fail_msg("in pieces of %zu: got %s, want %s", pieces[k], got, want);
        h1_feed_fini(f);
        free(f);
    }
}

static void a_head_may_be_as_large_as_the_limit(void **state)
{
    (void)state;
    static const char *const pads[] = {"x", " ", "\t"}; /* of a value, or around it */
    struct h1_limits limits = wide;
    limits.header_bytes = 1024;
    for (size_t k = 0; k < ARRAY_LEN(pads); k++) {
        for (int over = 0; over < 2; over++) {
            struct text t = {.len = 0};
            text_add(&t, "GET / HTTP/1.1\r\n" HOST "A: ");
            text_fill(&t, pads[k][0], 1024 + (size_t)over - t.len - 4);
            text_add(&t, "\r\n\r\n");
            assert_ends(&t, false, &limits, over ? "!head_too_large" : "<>.\n");
            t.len = 0;
            text_add(&t, "HTTP/1.1 204 No\r\nA: ");
            text_fill(&t, pads[k][0], 1024 + (size_t)over - t.len - 4);
            text_add(&t, "\r\n\r\n");
            assert_ends(&t, true, &limits, over ? "!response_head_too_large" : "<>.\n");
        }
    }
}

static void a_head_without_fields_has_a_limit_too(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    limits.header_bytes = 1024;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        text_add(&t, "GET /");
        text_fill(&t, 'x', 1024 + (size_t)over - 5 - 13);
        text_add(&t, " HTTP/1.0\r\n\r\n");
        assert_int_equal(t.len, 1024 + over);
        assert_ends(&t, false, &limits, over ? "!head_too_large" : "<>.\n");
        t.len = 0;
        text_add(&t, "HTTP/1.1 204 ");
        text_fill(&t, 'x', 1024 + (size_t)over - t.len - 4);
        text_add(&t, "\r\n\r\n");
        assert_ends(&t, true, &limits, over ? "!response_head_too_large" : "<>.\n");
    }
}

static void a_head_that_never_ends_is_refused_at_the_limit(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    limits.header_bytes = 1024;
    struct text t = {.len = 0};
    text_add(&t, "GET / HTTP/1.1\r\n" HOST "A: ");
    text_fill(&t, 'x', 1024 - t.len);
    assert_ends(&t, false, &limits, "");
    text_fill(&t, 'x', 1);
    assert_ends(&t, false, &limits, "!head_too_large");
    t.len = 0;
    text_add(&t, "GET / HTTP/1.1\r\n" HOST);
    text_fill(&t, 'x', 1025 - t.len); /* inside a name */
    assert_ends(&t, false, &limits, "!head_too_large");
}

static void fields_are_counted(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    limits.headers = 10;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        text_add(&t, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 0; i < 9 + over; i++)
            text_add(&t, "A: 1\r\n");
        text_add(&t, "\r\n");
        assert_ends(&t, false, &limits, over ? "!too_many_fields" : "<>.\n");
        t.len = 0;
        text_add(&t, "HTTP/1.1 204 No\r\n");
        for (int i = 0; i < 10 + over; i++)
            text_add(&t, "A: 1\r\n");
        text_add(&t, "\r\n");
        assert_ends(&t, true, &limits, over ? "!response_head_too_large" : "<>.\n");
        t.len = 0;
        text_add(&t, CHUNKED "0\r\n");
        for (int i = 0; i < 10 + over; i++)
            text_add(&t, "A: 1\r\n");
        text_add(&t, "\r\n");
        assert_ends(&t, false, &limits, over ? "!too_many_fields" : "|\n");
    }
}

static void fields_have_a_hard_bound(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    limits.headers = 100000;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        text_add(&t, "GET / HTTP/1.1\r\n" HOST);
        for (int i = 0; i < HTTP_MAX_FIELDS - 1 + over; i++)
            text_add(&t, "A: 1\r\n");
        text_add(&t, "\r\n");
        assert_ends(&t, false, &limits, over ? "!too_many_fields" : "<>.\n");
    }
}

static void a_target_may_be_as_long_as_the_limit(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    limits.target_bytes = 64;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        text_add(&t, "GET /");
        text_fill(&t, 'x', 63 + (size_t)over);
        text_add(&t, " HTTP/1.1\r\n" HOST "\r\n");
        assert_ends(&t, false, &limits, over ? "!target_too_long" : "<>.\n");
    }
    /* known before the line ends */
    struct text t = {.len = 0};
    text_add(&t, "GET /");
    text_fill(&t, 'x', 63);
    assert_ends(&t, false, &limits, "");
    text_fill(&t, 'x', 1);
    assert_ends(&t, false, &limits, "!target_too_long");
}

static void a_body_may_be_as_large_as_the_limit(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    struct text t = {.len = 0};
    limits.body_bytes = 10;
    text_add(&t, "POST / HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789");
    assert_ends(&t, false, &limits, "<0123456789>.\n");
    t.len = 0; /* refused by its announcement */
    text_add(&t, "POST / HTTP/1.1\r\n" HOST "Content-Length: 11\r\n\r\n");
    assert_ends(&t, false, &limits, "!body_too_large");
    t.len = 0;
    text_add(&t, CHUNKED "5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n");
    assert_ends(&t, false, &limits, "<0123456789>.\n");
    t.len = 0;
    text_add(&t, CHUNKED "5\r\n01234\r\n6\r\n567890");
    assert_ends(&t, false, &limits, "!body_too_large");
    t.len = 0; /* responses have no such limit */
    text_add(&t, "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n01234567890");
    assert_ends(&t, true, &limits, "<01234567890>.\n");
}

static void trailers_may_be_as_large_as_the_limit(void **state)
{
    (void)state;
    struct h1_limits limits = wide;
    limits.header_bytes = 1024;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        text_add(&t, CHUNKED "0\r\n");
        size_t start = t.len;
        text_add(&t, "A: ");
        text_fill(&t, 'x', 1024 + (size_t)over - (t.len - start) - 4);
        text_add(&t, "\r\n\r\n");
        assert_ends(&t, false, &limits, over ? "!head_too_large" : "x|\n");
        struct text r = {.len = 0};
        text_add(&r, RESPONSE "0\r\n");
        text_add(&r, t.bytes + start);
        assert_ends(&r, true, &limits, over ? "!response_head_too_large" : "x|\n");
    }
}

static void chunk_extensions_have_a_bound(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        text_add(&t, CHUNKED);
        for (int i = 0; i < 4; i++) {
            text_add(&t, "1;");
            text_fill(&t, 'x', 1024 + (size_t)(over && i == 3));
            text_add(&t, "\r\ny\r\n");
        }
        text_add(&t, "0\r\n\r\n");
        assert_ends(&t, false, &wide, over ? "!bad_chunk" : "<yyyy>.\n");
    }
}

static void short_chunk_extensions_have_a_bound(void **state)
{
    (void)state;
    struct text t = {.len = 0};
    text_add(&t, CHUNKED "1");
    for (int i = 0; i < 9000; i++)
        text_add(&t, ";a");
    text_add(&t, "\r\ny\r\n0\r\n\r\n");
    assert_ends(&t, false, &wide, "!bad_chunk");
}

static void empty_lines_have_a_bound(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        for (int i = 0; i < 32 + over; i++)
            text_add(&t, "\r\n");
        text_add(&t, "GET / HTTP/1.1\r\n" HOST "\r\n");
        assert_ends(&t, false, &wide, over ? "!bad_request_line" : "<>.\n");
    }
}

/* ---- what stays where ---- */

static void many_small_chunks_make_one_slice(void **state)
{
    (void)state;
    struct buf_pool pool;
    struct slab heads;
    struct h1_parser p;
    buf_pool_init(&pool);
    slab_init(&heads, sizeof(struct http_head), 1);
    h1_parser_init(&p, false, &wide, &heads);
    struct block *b = block_get(&pool, false);
    b->used = (uint32_t)snprintf(b->data, b->cap, CHUNKED);
    for (int i = 0; i < 500; i++)
        b->used +=
            (uint32_t)snprintf(b->data + b->used, b->cap - b->used, "1\r\n%c\r\n", 'a' + i % 26);
    assert_int_equal(h1_parse(&p, b, b->data, b->used), b->used);
    assert_int_equal(p.body.bytes, 500);
    assert_ptr_equal(p.body.head, p.body.tail);
    for (int i = 0; i < 500; i++)
        assert_int_equal(p.body.head->ptr[i], 'a' + i % 26);
    h1_parser_fini(&p);
    block_drop(b);
    buf_pool_fini(&pool);
    slab_fini(&heads);
}

static void a_parser_after_an_error_takes_nothing(void **state)
{
    (void)state;
    struct h1_feed f;
    h1_feed_init(&f, false, &wide);
    h1_feed_bytes(&f, "X\r\n", 3, false);
    assert_int_equal(f.parser.error, REASON_BAD_REQUEST_LINE);
    assert_int_equal(h1_parse(&f.parser, f.in, f.in->data, f.in->used), 0);
    assert_int_equal(f.parser.error, REASON_BAD_REQUEST_LINE);
    h1_parser_reset(&f.parser);
    h1_feed_bytes(&f, "", 0, false);
    h1_feed_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_understood),
        cmocka_unit_test(request_bodies_are_delimited),
        cmocka_unit_test(pipelined_requests_come_in_order),
        cmocka_unit_test(upgrades_become_tunnels_only_when_granted),
        cmocka_unit_test(connection_drops_what_it_names_and_no_more),
        cmocka_unit_test(bad_request_lines_are_refused),
        cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(bad_fields_are_refused),
        cmocka_unit_test(bad_line_endings_in_a_head_are_refused),
        cmocka_unit_test(a_host_must_be_there_once_and_valid),
        cmocka_unit_test(ambiguous_lengths_are_refused),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(bad_trailers_are_refused),
        cmocka_unit_test(responses_are_understood),
        cmocka_unit_test(some_responses_have_no_body_whatever_they_say),
        cmocka_unit_test(a_101_is_for_those_who_asked),
        cmocka_unit_test(malformed_responses_are_bad_responses),
        cmocka_unit_test(malformed_response_bodies_are_bad_responses),
        cmocka_unit_test(a_head_may_be_as_large_as_the_limit),
        cmocka_unit_test(a_head_without_fields_has_a_limit_too),
        cmocka_unit_test(a_head_that_never_ends_is_refused_at_the_limit),
        cmocka_unit_test(fields_are_counted),
        cmocka_unit_test(fields_have_a_hard_bound),
        cmocka_unit_test(a_target_may_be_as_long_as_the_limit),
        cmocka_unit_test(a_body_may_be_as_large_as_the_limit),
        cmocka_unit_test(trailers_may_be_as_large_as_the_limit),
        cmocka_unit_test(chunk_extensions_have_a_bound),
        cmocka_unit_test(short_chunk_extensions_have_a_bound),
        cmocka_unit_test(empty_lines_have_a_bound),
        cmocka_unit_test(many_small_chunks_make_one_slice),
        cmocka_unit_test(a_parser_after_an_error_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
