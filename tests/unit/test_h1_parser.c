/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 messages, vector by vector: what is understood, and what a bad response is. Requests that
 * are refused are in test_h1_parser_refused.c, limits in test_h1_parser_limits.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/unit/h1_vector.h"

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
        vector_run(&v, true, &vector_wide);
    }
}

static void malformed_response_bodies_are_bad_responses(void **state)
{
    (void)state;
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

/* ---- what stays where ---- */

static void many_small_chunks_make_one_slice(void **state)
{
    (void)state;
    struct buf_pool pool;
    struct slab heads;
    struct h1_parser p;
    buf_pool_init(&pool);
    slab_init(&heads, sizeof(struct http_head), 1);
    h1_parser_init(&p, false, &vector_wide, &heads);
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
    h1_feed_init(&f, false, &vector_wide);
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
        cmocka_unit_test(responses_are_understood),
        cmocka_unit_test(some_responses_have_no_body_whatever_they_say),
        cmocka_unit_test(a_101_is_for_those_who_asked),
        cmocka_unit_test(malformed_responses_are_bad_responses),
        cmocka_unit_test(malformed_response_bodies_are_bad_responses),
        cmocka_unit_test(many_small_chunks_make_one_slice),
        cmocka_unit_test(a_parser_after_an_error_takes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
