/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a test's end of a stream was told: events as words, and the bytes of a body. For unit tests;
 * one thread.
 */
#ifndef WEIR_TESTS_NOTES_H
#define WEIR_TESTS_NOTES_H

#include "proxy/base/buf.h"
#include "proxy/http/msg.h"

struct notes {
    bool quiet; /* no words */
    char log[8192];
    char body[65536]; /* with a NUL behind it */
    size_t body_len;
};

void notes_add(struct notes *n, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The words since the last call; valid until the next. */
const char *notes_take(struct notes *n);

/* Takes all of a piece of a body. Returns how many bytes. */
size_t notes_body(struct notes *n, struct chain *body);

/* The end, with the names of the trailers, which may be NULL. */
void notes_end(struct notes *n, const struct http_head *trailers);

#endif
