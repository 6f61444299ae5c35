/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes of a body that go past the parser: whichever of them do, messages begin and end where they
 * did. Each vector is cut in two at every place, with any number of bytes going past at once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "proxy/base/check.h"
#include "tests/unit/h1_feed.h"

#define HOST "Host: h\r\n"

static const struct h1_limits limits = {
    .body_bytes = UINT64_MAX, .header_bytes = 32768, .target_bytes = 8192, .headers = 100};

struct row {
    const char *in, *want;
    bool response, tunnel, to_head;
};

static void run_row(const struct row *row, size_t at, size_t skip)
{
    struct h1_feed *f = malloc(sizeof(*f));
    assert_non_null(f);
    h1_feed_init(f, row->response, &limits);
    f->skip = skip;
    f->tunnel = row->tunnel;
    f->to_head = row->to_head;
    h1_feed_bytes(f, row->in, at, false);
    h1_feed_bytes(f, row->in + at, strlen(row->in) - at, false);
    assert_string_equal(h1_feed_text(f), row->want);
    h1_feed_fini(f);
    free(f);
}

static void run(const struct row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t at = 1; at < strlen(rows[i].in); at++)
            for (size_t skip = 0; skip < 12; skip++)
                run_row(&rows[i], at, skip);
}

static void a_body_with_a_length_ends_where_it_does(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.in = "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n0123456789"
               "GET /2 HTTP/1.1\r\n" HOST "\r\n",
         .want = "POST /1 1.1 host=h length=10\nHost: h|Content-Length: 10|\n<0123456789>.\n"
                 "GET /2 1.1 host=h none\nHost: h|\n<>.\n"},
        {.in = "POST /1 HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\n01234567",
         .want = "POST /1 1.1 host=h length=10\nHost: h|Content-Length: 10|\n<01234567>"},
        {.in = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTPHTTP/1.1 204 No\r\n\r\n",
         .want = "200 OK 1.1 length=4\nContent-Length: 4|\n<HTTP>.\n204 No 1.1 none\n\n<>.\n",
         .response = true},
    };
    run(rows, ARRAY_LEN(rows));
}

static void what_has_no_body_has_nothing_to_skip(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.in = "HTTP/1.1 304 Not\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 No\r\n\r\n",
         .want = "304 Not 1.1 none\nContent-Length: 9|\n<>.\n204 No 1.1 none\n\n<>.\n",
         .response = true},
        {.in = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
         .want = "200 OK 1.1 none\nContent-Length: 9|\n<>.\n200 OK 1.1 none\n\n<>.\n",
         .response = true,
         .to_head = true},
        {.in = "POST / HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\nGET / HTTP/1.0\r\n\r\n",
         .want = "POST / 1.1 host=h length=0\nHost: h|Content-Length: 0|\n<>.\n"
                 "GET / 1.0 host= none close\n\n<>.\n"},
    };
    run(rows, ARRAY_LEN(rows));
}

/* The parser has to see chunks: nothing goes past it. */
static void chunks_are_seen(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.in = "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
               "5\r\nhello\r\n00a\r\n, my world\r\n0\r\nA: 1\r\n\r\nGET / HTTP/1.0\r\n\r\n",
         .want = "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n"
                 "<hello, my world>.A: 1|\nGET / 1.0 host= none close\n\n<>.\n"},
    };
    run(rows, ARRAY_LEN(rows));
}

static void a_body_without_an_end_is_all_that_comes(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {.in = "HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
         .want = "200 OK 1.1 until-close\n\n<HTTP/1.1 200 OK\r\n\r\n>",
         .response = true},
        {.in = "GET / HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: x\r\n\r\nGET / \n",
         .want = "GET / 1.1 host=h none upgrade=x\nHost: h|Connection: upgrade|Upgrade: x|\n"
                 "<GET / \n>",
         .tunnel = true},
    };
    run(rows, ARRAY_LEN(rows));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_with_a_length_ends_where_it_does),
        cmocka_unit_test(what_has_no_body_has_nothing_to_skip),
        cmocka_unit_test(chunks_are_seen),
        cmocka_unit_test(a_body_without_an_end_is_all_that_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
