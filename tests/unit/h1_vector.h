/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1 messages, and what a parser has to make of them. Each is read whole, cut in two at every
 * place, byte by byte, and the same again with what the parser keeps moved to another block at
 * every cut: the record is always the same. For unit tests; one thread.
 */
#ifndef WEIR_TESTS_H1_VECTOR_H
#define WEIR_TESTS_H1_VECTOR_H

#include "proxy/base/check.h"
#include "tests/unit/h1_feed.h"

struct vector {
    struct span in;
    const char *want; /* the record, as h1_feed.h says */
    bool to_head, to_upgrade, tunnel;
};

#define S(text) SPAN_LIT(text)
#define HOST    "Host: h\r\n"

#define CHUNKED     "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_OUT "POST / 1.1 host=h chunked\nHost: h|Transfer-Encoding: chunked|\n"

#define RESPONSE     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define RESPONSE_OUT "200 OK 1.1 chunked\nTransfer-Encoding: chunked|\n!bad_response"

/* Limits that no short message meets. */
extern const struct h1_limits vector_wide;

void vector_run(const struct vector *v, bool response, const struct h1_limits *limits);

/* n of them, with wide limits. */
void vector_run_all(const struct vector *vectors, size_t n, bool response);

#define REQUESTS(rows)  vector_run_all((rows), ARRAY_LEN(rows), false)
#define RESPONSES(rows) vector_run_all((rows), ARRAY_LEN(rows), true)

#endif
