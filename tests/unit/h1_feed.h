/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds an HTTP/1 parser as a conn does, in any pieces, moving what it keeps to other blocks on
 * request, and writes down what it recorded. Two feeds of the same bytes must read the same. Shared
 * by unit tests and the fuzzer; one thread.
 *
 * The record of a message, without the line breaks:
 *   GET /path?query 1.1 host=authority length=5 [close] [keep-alive] [expect] [upgrade=x]
 *   200 Phrase 1.1 length=5 ...
 *   Name: value|Name: value|      ({...} around fields that are not to be forwarded)
 *   <body>.                       (without the dot: not yet complete)
 *   Name: value|                  (trailers)
 * or !reason instead of what is missing. The body of a message that fails is not written down.
 */
#ifndef WEIR_TESTS_H1_FEED_H
#define WEIR_TESTS_H1_FEED_H

#include "proxy/http/h1_parser.h"

struct h1_feed {
    struct buf_pool pool;
    struct slab heads;
    struct h1_parser parser;
    struct block *in;
    uint32_t pos, keep;
    struct {
        char *data;
        size_t len, cap;
    } text, body;
    bool in_body; /* a head was written, its end not yet */
    bool tunnel;  /* upgrades are granted */
    bool to_head, to_upgrade;
    size_t skip;  /* bytes of body that go past the parser at once, as from a pipe; 0 = none */
    uint8_t kind; /* enum body_kind of the message */
};

/* limits must outlive the feed. */
void h1_feed_init(struct h1_feed *f, bool response, const struct h1_limits *limits);

/* Appends bytes to the input and lets the parser take what it wants. move: what it keeps first
 * moves to another block, and where it was is overwritten. */
void h1_feed_bytes(struct h1_feed *f, const char *bytes, size_t n, bool move);

/* The record of all there was, NUL-terminated; valid until fini. Call it once, at the end. */
const char *h1_feed_text(struct h1_feed *f);

/* CHECKs that all memory came back. */
void h1_feed_fini(struct h1_feed *f);

#endif
