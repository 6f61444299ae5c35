/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an HTTP/1 message may at most have: at the limit it passes, one byte further it does not,
 * however the bytes come.
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
    struct h1_limits limits = vector_wide;
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
        assert_ends(&t, false, &vector_wide, over ? "!bad_chunk" : "<yyyy>.\n");
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
    assert_ends(&t, false, &vector_wide, "!bad_chunk");
}

static void empty_lines_have_a_bound(void **state)
{
    (void)state;
    for (int over = 0; over < 2; over++) {
        struct text t = {.len = 0};
        for (int i = 0; i < 32 + over; i++)
            text_add(&t, "\r\n");
        text_add(&t, "GET / HTTP/1.1\r\n" HOST "\r\n");
        assert_ends(&t, false, &vector_wide, over ? "!bad_request_line" : "<>.\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
