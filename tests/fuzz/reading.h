/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message as weir's parser reads it, beside what the second reader (strict.h) makes of the same
 * bytes: what weir accepts must be what the other one sees. One thread.
 */
#ifndef WEIR_TESTS_READING_H
#define WEIR_TESTS_READING_H

#include "proxy/http/h1_parser.h"
#include "tests/fuzz/strict.h"

struct reading_options {
    bool response, to_head, to_upgrade;
    size_t cut; /* the parser gets so many bytes first, and then the rest; at most the length */
};

struct reading {
    bool head, done; /* weir's verdict; error otherwise, or neither: more is awaited */
    unsigned error;  /* enum reason */
    unsigned kind;   /* enum body_kind */
    char *body;
    size_t body_len;
    size_t used; /* bytes of the message */
};

/* Reads len bytes, at most 60000, with both, and aborts where they differ. r->body is the caller's
 * to free. */
void reading_compare(const char *wire, size_t len, struct reading_options options,
                     struct reading *r);

#endif
