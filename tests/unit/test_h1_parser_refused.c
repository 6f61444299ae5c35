/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 requests that break a rule, vector by vector: each is refused for its reason.
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

/* Rows whose whole record is one reason. */
static void refused(const struct vector *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        assert_true(rows[i].want[0] == '!');
    vector_run_all(rows, n, false);
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
        vector_run(&v, false, &vector_wide);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_request_lines_are_refused),
        cmocka_unit_test(bad_targets_are_refused),
        cmocka_unit_test(bad_fields_are_refused),
        cmocka_unit_test(bad_line_endings_in_a_head_are_refused),
        cmocka_unit_test(a_host_must_be_there_once_and_valid),
        cmocka_unit_test(ambiguous_lengths_are_refused),
        cmocka_unit_test(bad_chunks_are_refused),
        cmocka_unit_test(bad_trailers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
